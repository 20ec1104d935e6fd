/* composed.c: functions made of operations; they have no gradient code. Each begins and ends a scratch scope, which
 * names it in messages and gives back what no gradient rule needs. */
#include "ops/elementwise.h"

#include "engine/number.h"

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

/* Derivative slope at 0. */
weir_tensor *weir_leaky_relu(weir_tensor *x, double slope)
{
	weir_scratch s = weir__scratch_begin(x, "weir_leaky_relu");

	if (!weir__usable(x, "weir_leaky_relu")) return weir__scratch_end(&s, weir__bad(x));
	return weir__scratch_end(&s, weir_where(weir_gt(x, weir__constant(x, 0.0)), x, weir_affine(x, slope, 0.0)));
}

/* Derivative 1 on low and on high, where minimum and maximum would share it with the bound. NaN stays NaN. */
weir_tensor *weir_clamp(weir_tensor *x, double low, double high)
{
	weir_scratch s = weir__scratch_begin(x, "weir_clamp");
	char lt[WEIR__NUMBER_MAX], ht[WEIR__NUMBER_MAX];
	weir_tensor *l, *h;

	if (!weir__usable(x, "weir_clamp")) return weir__scratch_end(&s, weir__bad(x));
	if (!(low <= high)) {
		weir__format_double(lt, sizeof lt, low, 'g', 0);
		weir__format_double(ht, sizeof ht, high, 'g', 0);
		return weir__scratch_end(&s,
					 weir_fail(x->ctx, WEIR_ERR_ARGUMENT,
						   "weir_clamp: low is %s, high is %s; low <= high must hold", lt, ht));
	}
	l = weir__constant(x, low);
	h = weir__constant(x, high);
	return weir__scratch_end(&s, weir_where(weir_lt(x, l), l, weir_where(weir_gt(x, h), h, x)));
}
