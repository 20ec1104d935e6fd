/* composed.c: functions made of operations; they have no gradient code. Each begins and ends a scratch scope, which
 * names it in messages and gives back what no gradient rule needs. */
#include "ops/elementwise.h"

weir_tensor *weir_sub(weir_tensor *a, weir_tensor *b)
{
	weir_scratch s = weir__scratch_begin(a, "weir_sub");

	return weir__scratch_end(&s, weir_add(a, weir_neg(b))); /* the same bits as a subtraction */
}

weir_tensor *weir_square(weir_tensor *x)
{
	weir_scratch s = weir__scratch_begin(x, "weir_square");

	return weir__scratch_end(&s, weir_mul(x, x));
}
