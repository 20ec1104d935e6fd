/* elementwise.c: see elementwise.h. */
#include "ops/elementwise.h"

weir_tensor *weir__unasked(weir_tensor *gy, weir_tensor *q)
{
	weir_tensor *zero = weir__constant(gy, 0.0);
	weir_tensor *nan = weir_where(weir_eq(gy, zero), q, zero);

	return weir_ne(nan, nan);
}

weir_tensor *weir__put(weir_tensor *mask, double value, weir_tensor *x)
{
	return weir_where(mask, weir__constant(x, value), x);
}

weir_tensor *weir__nan_of(weir_tensor *x, weir_tensor *other)
{
	return weir_where(weir_ne(x, x), weir_detach(x), other);
}
