/* softmax: y = e^(x - max) / Σ e^(x - max) along one axis.
 *
 *   shape      y has the shape of x; the operation works on the last axis, weir_softmax() swaps another one with it
 *   gradient   gx = y · (gy - Σ gy · y)
 *   keeps      y
 *   numerics   right for any finite x, however large or far apart; entries of -inf give 0, a row of only -inf gives
 *              zeros and no gradient; the sum is f64
 */
#include "ops/matrix.h"
#include "kernels/softmax.h"

static void forward(weir_tensor *y)
{
	const weir_tensor *x = y->in[0];
	weir_matrix m;

	if (!weir__matrix_of(x, true, &m)) return;
	weir__softmax((weir_dtype)y->dtype, m.rows, m.columns, m.data, weir_out(y), y->ctx->threads);
	weir__matrix_free(x, &m);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *sum = weir_sum(weir_mul(gy, y), 1, (int[]){ -1 }, true);

	(void)need;
	gx[0] = weir_mul(y, weir_sub(gy, sum));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir_matrix m;

	weir__matrix_of(y, true, &m);
	weir__softmax_vjp((weir_dtype)y->dtype, m.rows, m.columns, m.data, weir__at(gy), dst[0].data, dst[0].mode,
			  y->ctx->threads);
}

const weir_op weir_op_softmax = {
	.name = "softmax",
	.arity = 1,
	.keeps = WEIR_KEEP_OUT,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_softmax(weir_tensor *x, int axis)
{
	return weir__along(&weir_op_softmax, x, axis);
}
