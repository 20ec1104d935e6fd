/* expand: y[i, j, …] = x[…], repeated along new leading axes and along axes of extent 1.
 *
 *   shape      as given; aligned from the last axis, each extent of x equals y's or is 1
 *   gradient   gx = Σ gy over the repeated axes
 *   keeps      nothing
 *   numerics   a view: strides of 0 repeat. The sum has the fixed order of weir_sum()
 */
#include "ops/shape.h"
#include "kernels/reduce.h"

static const weir_field fields[] = {
	{ "shape", WEIR_FIELD_INTS, offsetof(weir_extents_attr, extent), offsetof(weir_extents_attr, rank) },
	{ 0 },
};

static bool shape(weir_shaping *s)
{
	const weir_extents_attr *a = s->attr;
	const weir_tensor *x = s->in[0];
	int more = (int)a->rank - x->rank;
	bool fits = more >= 0;

	s->dtype = (weir_dtype)x->dtype;
	s->rank = (int)a->rank;
	s->view = true;
	for (int i = 0; fits && i < s->rank; i++) {
		int64_t from = i < more ? 1 : x->shape[i - more];

		s->shape[i] = a->extent[i];
		s->stride[i] = i < more || from != a->extent[i] ? 0 : x->stride[i - more];
		fits = a->extent[i] >= 0 && (from == 1 || from == a->extent[i]);
	}
	if (!fits) {
		weir_text_buf xs, to;

		weir_fail(
			s->ctx, WEIR_ERR_SHAPE,
			"%s: x is %s and can't be repeated to %s; aligned from the last axis, extents must be equal or x's 1",
			weir__who(s->ctx, s->op), weir__describe(x, &xs), weir__shape_text(s->rank, a->extent, &to));
	}
	return fits;
}

/* True for the axes of y along which x repeats. */
static bool repeats(const weir_tensor *y, int axis)
{
	const weir_tensor *x = y->in[0];
	int more = y->rank - x->rank;

	return axis < more || x->shape[axis - more] != y->shape[axis];
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	int axes[WEIR_MAX_RANK], n = 0;

	(void)need;
	for (int i = 0; i < y->rank; i++)
		if (repeats(y, i)) axes[n++] = i;
	if (n) gy = weir_sum(gy, n, axes, true); /* an empty list would mean all */
	gx[0] = weir_reshape(gy, y->in[0]->rank, y->in[0]->shape);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	int64_t extent[2][WEIR_MAX_RANK], stride[2][WEIR_MAX_RANK]; /* [0] of the axes of x, [1] of those that repeat */
	int rank[2] = { 0, 0 };

	for (int i = 0; i < y->rank; i++) {
		int k = repeats(y, i);

		extent[k][rank[k]] = gy->shape[i];
		stride[k][rank[k]++] = gy->stride[i];
	}
	weir__reduce(WEIR_RED_sum, (weir_dtype)gy->dtype, rank[0], extent[0], stride[0], rank[1], extent[1], stride[1],
		     weir__at(gy), dst[0].data, dst[0].mode, y->ctx->threads);
}

const weir_op weir_op_expand = {
	.name = "expand",
	.arity = 1,
	.flags = WEIR_OP_VIEW,
	.attr_size = sizeof(weir_extents_attr),
	.fields = fields,
	.shape = shape,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_expand(weir_tensor *x, int rank, const int64_t *extents)
{
	weir_ctx *w = weir__ctx_of(x);
	weir_extents_attr attr;

	if (!weir__take_extents(w, weir__who(w, &weir_op_expand), rank, extents, &attr)) return weir__bad(x);
	return weir__apply(&weir_op_expand, &x, 1, &attr);
}
