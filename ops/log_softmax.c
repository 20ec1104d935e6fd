/* log_softmax: y = x - max - ln Σ e^(x - max) along one axis.
 *
 *   shape      y has the shape of x; the operation works on the last axis, weir_log_softmax() swaps another with it
 *   gradient   gx = gy - e^y · Σ gy; 0 in a row of only -inf
 *   keeps      y
 *   numerics   right for any finite x, however large or far apart; entries of -inf give -inf; the sum is f64
 */
#include "ops/matrix.h"
#include "kernels/softmax.h"

static void forward(weir_tensor *y)
{
	const weir_tensor *x = y->in[0];
	weir_matrix m;

	if (!weir__matrix_of(x, true, &m)) return;
	weir__log_softmax((weir_dtype)y->dtype, m.rows, m.columns, m.data, weir_out(y), y->ctx->threads);
	weir__matrix_free(x, &m);
}

/* The probabilities of a row add up to 1, or to 0 where all entries are -inf. */
static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	int last[] = { -1 };
	weir_tensor *p = weir_exp(y);
	weir_tensor *none = weir_lt(weir_sum(p, 1, last, true), weir__constant(p, 0.5));
	weir_tensor *g = weir_sub(gy, weir_mul(p, weir_sum(gy, 1, last, true)));

	(void)need;
	gx[0] = weir_where(none, weir__constant(y, 0.0), g);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir_matrix m;

	weir__matrix_of(y, true, &m);
	weir__log_softmax_vjp((weir_dtype)y->dtype, m.rows, m.columns, m.data, weir__at(gy), dst[0].data, dst[0].mode,
			      y->ctx->threads);
}

const weir_op weir_op_log_softmax = {
	.name = "log_softmax",
	.arity = 1,
	.keeps = WEIR_KEEP_OUT,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_log_softmax(weir_tensor *x, int axis)
{
	return weir__along(&weir_op_log_softmax, x, axis);
}
