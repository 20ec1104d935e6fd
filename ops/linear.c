/* linear: y = x · weightᵀ + bias, the layer in every network.
 *
 *   shape      x [..., in], weight [out, in], bias [out] or absent, y [..., out]
 *   gradient   gx = gy · weight, gweight = gyᵀ · x, gbias = Σ gy over all rows
 *   keeps      x, weight
 *   numerics   each element is one chain of fused multiply-adds in the order of in, from +0, then + bias; gbias is a
 *              sum as in weir_sum()
 */
#include "ops/matrix.h"
#include "kernels/reduce.h"

static bool complain(weir_shaping *s, const char *what, int i, const char *a, int j, const char *b, const char *rule)
{
	weir_text_buf ta, tb;

	weir_fail(s->ctx, WEIR_ERR_SHAPE, "%s: %s: %s is %s, %s is %s; %s", weir__who(s->ctx, s->op), what, a,
		  weir__describe(s->in[i], &ta), b, weir__describe(s->in[j], &tb), rule);
	return false;
}

static bool shape(weir_shaping *s)
{
	const weir_tensor *x = s->in[0], *weight = s->in[1], *bias = s->n > 2 ? s->in[2] : NULL;

	if (!weir__need_float(s)) return false;
	if (weight->rank != 2)
		return complain(s, "weight is not a matrix", 0, "x", 1, "weight", "weight must be [out, in]");
	if (!x->rank || x->shape[x->rank - 1] != weight->shape[1])
		return complain(s, "inner sizes differ", 0, "x", 1, "weight",
				"the last axis of x must equal the last axis of weight");
	if (bias && (bias->rank != 1 || bias->shape[0] != weight->shape[0]))
		return complain(s, "outer sizes differ", 1, "weight", 2, "bias",
				"bias must be [out] where weight is [out, in]");
	weir__copy_shape(s, x);
	s->shape[s->rank - 1] = weight->shape[0];
	return true;
}

static weir_matrix matrix(const weir_tensor *weight)
{
	return (weir_matrix){ .data = weir__at(weight),
			      .rows = weight->shape[0],
			      .columns = weight->shape[1],
			      .row_stride = weight->stride[0],
			      .column_stride = weight->stride[1] };
}

static void forward(weir_tensor *y)
{
	weir_tensor *x = y->in[0], *bias = y->nin > 2 ? y->in[2] : NULL;
	weir_epilogue *also = y->ctx->epilogue;
	weir_matrix mx, mb = { 0 }, weight = matrix(y->in[1]);
	weir_matrix turned = weir__turned(&weight);

	y->ctx->epilogue = NULL; /* not for a weir_linear that a hook calls */
	if (!weir__matrix_of(x, false, &mx)) return;
	if (!bias || weir__matrix_of(bias, true, &mb)) {
		weir__product_act(y->ctx, y->dtype, &mx, &turned, mb.data, weir_out(y), also);
		if (bias) weir__matrix_free(bias, &mb);
	}
	weir__matrix_free(x, &mx);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *x = y->in[0], *weight = y->in[1], *g = weir__flat(gy);

	if (need & 1) gx[0] = weir_reshape(weir_matmul(g, weight), x->rank, x->shape);
	if (need & 2) gx[1] = weir_matmul(weir_transpose(g, 0, 1), weir__flat(x));
	if (need & 4) gx[2] = weir_sum(g, 1, (int[]){ 0 }, false);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir_tensor *x = y->in[0];
	weir_matrix g, turned, mx, weight = matrix(y->in[1]);
	int64_t one = 1;

	weir__matrix_of(gy, false, &g);
	turned = weir__turned(&g);
	if (dst[0].mode) weir__product(y->ctx, y->dtype, &g, &weight, NULL, &dst[0]);
	if (dst[1].mode && weir__matrix_of(x, false, &mx)) {
		weir__product(y->ctx, y->dtype, &turned, &mx, NULL, &dst[1]);
		weir__matrix_free(x, &mx);
	}
	if (y->nin > 2 && dst[2].mode)
		weir__reduce(WEIR_RED_sum, (weir_dtype)y->dtype, 1, &g.columns, &one, 1, &g.rows, &g.row_stride, g.data,
			     dst[2].data, dst[2].mode, y->ctx->threads);
}

const weir_op weir_op_linear = {
	.name = "linear",
	.arity = -1,
	.keeps = WEIR_KEEP_IN0 | WEIR_KEEP_IN1,
	.shape = shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.multiply_adds = weir__multiply_adds,
};

weir_tensor *weir_linear(weir_tensor *x, weir_tensor *weight, weir_tensor *bias)
{
	return weir__apply(&weir_op_linear, (weir_tensor *[]){ x, weight, bias }, bias ? 3 : 2, NULL);
}
