/* mse: y = the mean of (x - t)², over all elements.
 *
 *   shape      x and t of one shape, not empty; y of rank 0
 *   gradient   gx = gy · 2 (x - t) / count, gt = -gx
 *   keeps      x, t
 *   numerics   x - t and its square are rounded, the mean is taken as in weir_mean()
 */
#include "ops/common.h"
#include "kernels/reduce.h"

static bool shape(weir_shaping *s)
{
	weir_text_buf text;

	if (!weir_same_shape(s)) return false;
	if (!weir__numel(s->rank, s->shape)) {
		weir_fail(s->ctx, WEIR_ERR_SHAPE,
			  "%s: there is nothing to take the mean of: x is %s; a mean needs at least one element",
			  weir__who(s->ctx, s->op), weir__describe(s->in[0], &text));
		return false;
	}
	s->rank = 0;
	return true;
}

/* x - t, contiguous; NULL after reporting. */
static void *difference(weir_tensor *y, size_t *got)
{
	const weir_tensor *x = y->in[0], *t = y->in[1];
	const weir_strided in[2] = { { weir__at(x), x->stride }, { weir__at(t), t->stride } };
	void *d = weir__scratch_alloc(y->ctx, (size_t)x->numel * weir__size_of(x->dtype), got);

	if (d)
		weir__map(WEIR_MAP_sub, (weir_dtype)x->dtype, x->rank, x->shape, d, WEIR_DST_WRITE, in, NULL,
			  y->ctx->threads);
	return d;
}

static void forward(weir_tensor *y)
{
	const weir_tensor *x = y->in[0];
	const int64_t one = 1;
	size_t got, got2;
	void *d = difference(y, &got), *square;
	const weir_strided in[2] = { { d, &one }, { d, &one } };

	if (!d) return;
	if ((square = weir__scratch_alloc(y->ctx, (size_t)x->numel * weir__size_of(x->dtype), &got2))) {
		weir__map(WEIR_MAP_mul, (weir_dtype)x->dtype, 1, &x->numel, square, WEIR_DST_WRITE, in, NULL,
			  y->ctx->threads);
		weir__reduce(WEIR_RED_mean, (weir_dtype)x->dtype, 0, NULL, NULL, 1, &x->numel, &one, square,
			     weir_out(y), WEIR_DST_WRITE, y->ctx->threads);
		weir__scratch_free(y->ctx, square, got2);
	}
	weir__scratch_free(y->ctx, d, got);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *x = y->in[0], *t = y->in[1];
	weir_tensor *g = weir_mul(weir_sub(x, t), weir_affine(gy, 2.0 / (double)x->numel, 0.0));

	if (need & 1) gx[0] = g;
	if (need & 2) gx[1] = weir_neg(g);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	const weir_tensor *x = y->in[0];
	const double scale = 2.0 / (double)x->numel * weir__get(gy, 0);
	const int64_t one = 1;
	size_t got;
	void *d = difference(y, &got);
	const weir_strided in = { d, &one };

	for (int i = 0; d && i < 2; i++) {
		const double p[2] = { i ? -scale : scale, 0.0 };

		if (dst[i].mode)
			weir__map(WEIR_MAP_affine, (weir_dtype)x->dtype, 1, &x->numel, dst[i].data, dst[i].mode, &in, p,
				  y->ctx->threads);
	}
	if (d) weir__scratch_free(y->ctx, d, got);
}

const weir_op weir_op_mse = {
	.name = "mse",
	.arity = 2,
	.keeps = WEIR_KEEP_IN0 | WEIR_KEEP_IN1,
	.shape = shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_mse(weir_tensor *x, weir_tensor *target)
{
	return weir__apply(&weir_op_mse, (weir_tensor *[]){ x, target }, 2, NULL);
}
