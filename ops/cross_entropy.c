/* cross_entropy: y = the mean over a batch of -ln softmax(logits)[label].
 *
 *   shape      logits [B, C], labels [B] of i32 or i64, each in 0 .. C-1; B above 0; y of rank 0
 *   gradient   glogits = gy / B · (softmax(logits) - onehot(labels)); labels have none
 *   keeps      logits, labels
 *   numerics   right for any finite logits; a small loss keeps its digits, and so does the label's own gradient where
 *              its probability rounds to 1: it is minus the sum of the others. A label at -inf: +inf; a row of only
 *              -inf: +inf and gradient 0
 */
#include "ops/matrix.h"
#include "kernels/reduce.h"
#include "kernels/softmax.h"

static bool complain(weir_shaping *s, weir_status status, const char *what, const char *rule)
{
	weir_text_buf a, b;

	weir_fail(s->ctx, status, "%s: %s: logits is %s, labels is %s; %s", weir__who(s->ctx, s->op), what,
		  weir__describe(s->in[0], &a), weir__describe(s->in[1], &b), rule);
	return false;
}

static bool shape(weir_shaping *s)
{
	const weir_tensor *x = s->in[0], *labels = s->in[1];
	char what[96];

	if (!weir__is_float(x->dtype))
		return complain(s, WEIR_ERR_DTYPE, "logits are not numbers", "logits must be f32 or f64");
	if (labels->dtype != WEIR_I32 && labels->dtype != WEIR_I64)
		return complain(s, WEIR_ERR_DTYPE, "labels are not whole numbers", "labels must be i32 or i64");
	if (x->rank != 2 || labels->rank != 1 || x->shape[0] != labels->shape[0])
		return complain(s, WEIR_ERR_SHAPE, "shapes do not fit", "they must be [B, C] and [B]");
	if (!x->shape[0]) return complain(s, WEIR_ERR_SHAPE, "the batch is empty", "a mean needs at least one element");
	for (int64_t i = 0; i < labels->numel; i++) {
		int64_t label = labels->dtype == WEIR_I32 ? ((const int32_t *)weir__at(labels))[i * labels->stride[0]]
							  : ((const int64_t *)weir__at(labels))[i * labels->stride[0]];

		if (label >= 0 && label < x->shape[1]) continue;
		snprintf(what, sizeof what, "label %lld is %lld, but there are %lld classes", (long long)i,
			 (long long)label, (long long)x->shape[1]);
		return complain(s, WEIR_ERR_INDEX, what, "labels must lie in 0 .. C-1");
	}
	s->dtype = (weir_dtype)x->dtype;
	s->rank = 0;
	return true;
}

static void forward(weir_tensor *y)
{
	const weir_tensor *x = y->in[0], *labels = y->in[1];
	int64_t one = 1;
	size_t got;
	weir_matrix m, l = { 0 };
	void *loss = weir__scratch_alloc(y->ctx, (size_t)x->shape[0] * weir__size_of(x->dtype), &got);

	if (loss && weir__matrix_of(labels, true, &l) && weir__matrix_of(x, true, &m)) {
		weir__cross_entropy((weir_dtype)x->dtype, m.rows, m.columns, m.data, (weir_dtype)labels->dtype, l.data,
				    loss, y->ctx->threads);
		weir__reduce(WEIR_RED_mean, (weir_dtype)x->dtype, 0, NULL, NULL, 1, &m.rows, &one, loss, weir_out(y),
			     WEIR_DST_WRITE, y->ctx->threads);
		weir__matrix_free(x, &m);
	}
	weir__matrix_free(labels, &l);
	if (loss) weir__scratch_free(y->ctx, loss, got);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *x = y->in[0];
	weir_tensor *hot = weir__one_hot(y->in[1], x->shape[1], (weir_dtype)x->dtype);
	weir_tensor *others = weir_mul(weir_softmax(x, 1), weir_affine(hot, -1.0, 1.0));
	weir_tensor *own = weir_mul(hot, weir_sum(others, 1, (int[]){ 1 }, true));

	if (need & 1) gx[0] = weir_mul(weir_sub(others, own), weir_affine(gy, 1.0 / (double)x->shape[0], 0.0));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	const weir_tensor *x = y->in[0], *labels = y->in[1];
	double g = weir__get(gy, 0) / (double)x->shape[0];
	float g32 = (float)g;
	weir_matrix m, l = { 0 };

	if (weir__matrix_of(labels, true, &l) && weir__matrix_of(x, true, &m)) {
		weir__cross_entropy_vjp((weir_dtype)x->dtype, m.rows, m.columns, m.data, (weir_dtype)labels->dtype,
					l.data, x->dtype == WEIR_F32 ? (const void *)&g32 : &g, 0, dst[0].data,
					dst[0].mode, y->ctx->threads);
		weir__matrix_free(x, &m);
	}
	weir__matrix_free(labels, &l);
}

const weir_op weir_op_cross_entropy = {
	.name = "cross_entropy",
	.arity = 2,
	.keeps = WEIR_KEEP_IN0 | WEIR_KEEP_IN1,
	.shape = shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_cross_entropy(weir_tensor *logits, weir_tensor *labels)
{
	return weir__apply(&weir_op_cross_entropy, (weir_tensor *[]){ logits, labels }, 2, NULL);
}
