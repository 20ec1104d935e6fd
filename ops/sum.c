/* sum: y = Σ x over some axes; with mean, y = Σ x / count.
 *
 *   shape      x's without the reduced axes, or with extents of 1 there (keepdim)
 *   gradient   gx = gy repeated along the reduced axes; with mean, gx = gy / count
 *   keeps      nothing
 *   numerics   16 lanes and a tree fixed by the logical index, f64 for f32 too, rounded once: a mean whose sum would
 *              overflow is right
 */
#include "ops/axes.h"
#include "kernels/map.h"

static bool shape(weir_shaping *s)
{
	const weir_axes_attr *a = s->attr;

	return a->mean ? weir__axes_shape_nonempty(s, "a mean") : weir__axes_shape(s);
}

static void forward(weir_tensor *y)
{
	const weir_axes_attr *a = y->attr;

	weir__axes_forward(y, a->mean ? WEIR_RED_mean : WEIR_RED_sum);
}

static double factor(const weir_tensor *y)
{
	const weir_axes_attr *a = y->attr;

	return a->mean ? 1.0 / (double)weir__axes_extent(y->in[0], a) : 1.0;
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	const weir_axes_attr *a = y->attr;

	(void)need;
	gx[0] = weir__axes_spread(y, a->mean ? weir_affine(gy, factor(y), 0.0) : gy);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	const weir_axes_attr *a = y->attr;
	const weir_tensor *x = y->in[0];
	const double p[2] = { factor(y), 0.0 };
	int64_t stride[WEIR_MAX_RANK];
	weir_strided g = { weir__at(gy), stride };

	weir__axes_strides(y, stride);
	weir__map(a->mean ? WEIR_MAP_affine : WEIR_MAP_copy, (weir_dtype)x->dtype, x->rank, x->shape, dst[0].data,
		  dst[0].mode, &g, p, y->ctx->threads);
}

const weir_op weir_op_sum = {
	.name = "sum",
	.arity = 1,
	.attr_size = sizeof(weir_axes_attr),
	.fields = weir__axes_mean_fields,
	.shape = shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_sum(weir_tensor *x, int n, const int *axes, bool keepdim)
{
	return weir__axes_apply(&weir_op_sum, x, n, axes, keepdim, false);
}

weir_tensor *weir_sum_all(weir_tensor *x)
{
	return weir_sum(x, 0, NULL, false);
}

weir_tensor *weir_mean(weir_tensor *x, int n, const int *axes, bool keepdim)
{
	weir_scratch s = weir__scratch_begin(x, "weir_mean");

	return weir__scratch_end(&s, weir__axes_apply(&weir_op_sum, x, n, axes, keepdim, true));
}

weir_tensor *weir_mean_all(weir_tensor *x)
{
	return weir_mean(x, 0, NULL, false);
}
