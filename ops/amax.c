/* amax, amin: y = the largest or smallest x over some axes.
 *
 *   shape      x's without the reduced axes, or with extents of 1 there (keepdim); reducing an empty axis is an error
 *   gradient   gy in equal parts to the elements that equal y; where y is NaN, to all
 *   keeps      x, y
 *   numerics   exact; any NaN gives NaN. -0 < +0 for the value, equal for the gradient
 */
#include "ops/axes.h"
#include "ops/shape.h"
#include "kernels/map.h"

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

/* Where nothing has to be added, the destination itself holds the ones of those that win. */
static void share_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst, weir_map wins)
{
	const weir_tensor *x = y->in[0];
	weir_dtype t = (weir_dtype)x->dtype;
	int64_t parts = weir_numel(y), one = 1, spread[WEIR_MAX_RANK], dense[WEIR_MAX_RANK];
	size_t size = t == WEIR_F64 ? 8 : 4, got;
	bool write = dst.mode == WEIR_DST_WRITE;
	int threads = y->ctx->threads;
	char *share = weir__scratch_alloc(y->ctx, ((size_t)parts + (write ? 0 : (size_t)weir_numel(x))) * size, &got);
	void *ones;

	if (!share) return;
	ones = write ? dst.data : share + (size_t)parts * size;
	weir__axes_strides(y, spread);
	weir__dense_strides(x->rank, x->shape, dense);
	weir__map(wins, t, x->rank, x->shape, ones, WEIR_DST_WRITE,
		  (const weir_strided[]){ { weir__at(x), x->stride }, { weir__at(y), spread } }, NULL, threads);
	weir__axes_reduce(y, WEIR_RED_sum, t, ones, dense, share);
	weir__map(WEIR_MAP_div, t, 1, &parts, share, WEIR_DST_WRITE,
		  (const weir_strided[]){ { weir__at(gy), &one }, { share, &one } }, NULL, threads);
	weir__map(WEIR_MAP_mul, t, x->rank, x->shape, dst.data, dst.mode,
		  (const weir_strided[]){ { ones, dense }, { share, spread } }, NULL, threads);
	weir__scratch_free(y->ctx, share, got);
}

static void amax_vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	share_fused(y, gy, dst[0], WEIR_MAP_not_below);
}

static void amin_vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	share_fused(y, gy, dst[0], WEIR_MAP_not_above);
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
	.vjp_fused = amax_vjp_fused,
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
	.vjp_fused = amin_vjp_fused,
};

weir_tensor *weir_amax(weir_tensor *x, int n, const int *axes, bool keepdim)
{
	return weir__axes_apply(&weir_op_amax, x, n, axes, keepdim, false);
}

weir_tensor *weir_amin(weir_tensor *x, int n, const int *axes, bool keepdim)
{
	return weir__axes_apply(&weir_op_amin, x, n, axes, keepdim, false);
}
