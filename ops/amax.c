/* amax, amin: y = the largest or smallest x over some axes.
 *
 *   shape      x's without the reduced axes, or with extents of 1 there (keepdim); reducing an empty axis is an error
 *   gradient   gy in equal parts to the elements that equal y; where y is NaN, to all
 *   keeps      x, y
 *   numerics   exact; any NaN gives NaN. -0 < +0 for the value, equal for the gradient
 */
#include "ops/axes.h"

static bool amax_shape(weir_shaping *s)
{
	return weir__axes_shape_nonempty(s, "a maximum");
}

static bool amin_shape(weir_shaping *s)
{
	return weir__axes_shape_nonempty(s, "a minimum");
}

static void amax_forward(weir_tensor *y)
{
	weir__axes_forward(y, WEIR_RED_amax);
}

static void amin_forward(weir_tensor *y)
{
	weir__axes_forward(y, WEIR_RED_amin);
}

/* loses: 1 for the elements that y passed over. */
static weir_tensor *share(weir_tensor *y, weir_tensor *gy, weir_tensor *loses)
{
	const weir_axes_attr *a = y->attr;
	weir_tensor *x = y->in[0];
	weir_tensor *wins = weir_where(loses, weir__constant(x, 0.0), weir__constant(x, 1.0));
	int axes[WEIR_MAX_RANK];

	for (int64_t i = 0; i < a->count; i++) axes[i] = (int)a->axis[i];
	gy = weir_div(gy, weir_sum(wins, (int)a->count, axes, a->keepdim));
	return weir_mul(wins, weir__axes_spread(y, gy));
}

static void amax_vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)need;
	gx[0] = share(y, gy, weir_lt(y->in[0], weir__axes_spread(y, y)));
}

static void amin_vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)need;
	gx[0] = share(y, gy, weir_gt(y->in[0], weir__axes_spread(y, y)));
}

const weir_op weir_op_amax = {
	.name = "amax",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0 | WEIR_KEEP_OUT,
	.attr_size = sizeof(weir_axes_attr),
	.fields = weir__axes_fields,
	.shape = amax_shape,
	.forward = amax_forward,
	.vjp = amax_vjp,
};

const weir_op weir_op_amin = {
	.name = "amin",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0 | WEIR_KEEP_OUT,
	.attr_size = sizeof(weir_axes_attr),
	.fields = weir__axes_fields,
	.shape = amin_shape,
	.forward = amin_forward,
	.vjp = amin_vjp,
};

weir_tensor *weir_amax(weir_tensor *x, int n, const int *axes, bool keepdim)
{
	return weir__axes_apply(&weir_op_amax, x, n, axes, keepdim, false);
}

weir_tensor *weir_amin(weir_tensor *x, int n, const int *axes, bool keepdim)
{
	return weir__axes_apply(&weir_op_amin, x, n, axes, keepdim, false);
}
