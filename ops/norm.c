/* norm: y = √Σx² over some axes. A primitive: Σx² leaves the range of the type long before its root does.
 *
 *   shape      x's without the reduced axes, or with extents of 1 there (keepdim)
 *   gradient   gx = gy · x / y, and 0 where y = 0
 *   keeps      x, y
 *   numerics   right at every exponent; x / y comes before the product, so no square is made on the way back either (in f64, where
 *              that is so, the fused rule of f32 divides last). Flushed subnormals are zeros here too
 */
#include "ops/axes.h"
#include "kernels/map.h"

static void forward(weir_tensor *y)
{
	weir__axes_forward(y, WEIR_RED_norm);
}

/* At y = 0, x / 1 · 0: the value and all its derivatives are 0, without a division by zero. */
static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *zero = weir_eq(y, weir__constant(y, 0.0));
	weir_tensor *length = weir_where(zero, weir__constant(y, 1.0), y);
	weir_tensor *g = weir_where(zero, weir__constant(y, 0.0), gy);

	(void)need;
	gx[0] = weir_mul(weir_div(y->in[0], weir__axes_spread(y, length)), weir__axes_spread(y, g));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	const weir_tensor *x = y->in[0];
	int64_t spread[WEIR_MAX_RANK];

	weir__axes_strides(y, spread);
	weir__map(
		WEIR_MAP_norm_vjp, (weir_dtype)x->dtype, x->rank, x->shape, dst[0].data, dst[0].mode,
		(const weir_strided[]){ { weir__at(gy), spread }, { weir__at(x), x->stride }, { weir__at(y), spread } },
		NULL, y->ctx->threads);
}

const weir_op weir_op_norm = {
	.name = "norm",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0 | WEIR_KEEP_OUT,
	.attr_size = sizeof(weir_axes_attr),
	.fields = weir__axes_fields,
	.shape = weir__axes_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_norm(weir_tensor *x, int n, const int *axes, bool keepdim)
{
	return weir__axes_apply(&weir_op_norm, x, n, axes, keepdim, false);
}
