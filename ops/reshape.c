/* reshape: the elements of x, in row-major order, in another shape.
 *
 *   shape      as given; one extent may be -1: what is left of the number of elements
 *   gradient   gx = gy in the shape of x
 *   keeps      nothing
 *   numerics   a view where the strides of x allow, else a copy
 */
#include "ops/shape.h"

static const weir_field fields[] = {
	{ "shape", WEIR_FIELD_INTS, offsetof(weir_extents_attr, extent), offsetof(weir_extents_attr, rank) },
	{ 0 },
};

/* Strides with which a tensor of the new shape finds x's elements where they lie. Axes of x that lie behind each
 * other in memory make one run; each run must be cut up by a group of new axes. */
static bool view_strides(const weir_tensor *x, int rank, const int64_t *shape, int64_t *stride)
{
	/* Of the present run: its elements, those that new axes took, and their distance in memory. */
	int64_t run = 1, taken = 1, step = 1;
	int j = rank - 1;

	for (int i = x->rank; i-- > 0;) {
		if (x->shape[i] == 1) continue;
		if (taken == run) { /* a new run begins */
			run = taken = 1;
			step = x->stride[i];
		} else if (x->stride[i] != step * run) {
			return false;
		}
		run *= x->shape[i];
		for (; j >= 0 && (taken * shape[j] <= run) && (taken < run || shape[j] == 1); j--) {
			stride[j] = step * taken;
			taken *= shape[j];
		}
	}
	for (; j >= 0; j--) stride[j] = 1; /* extents of 1 */
	return taken == run;
}

/* The -1 filled in. */
static bool resolve(weir_shaping *s, const weir_extents_attr *a)
{
	const weir_tensor *x = s->in[0];
	int64_t known = 1, open = -1;
	bool fits = true;

	for (int i = 0; fits && i < s->rank; i++) {
		s->shape[i] = a->extent[i];
		if (a->extent[i] == -1 && open < 0) open = i;
		else fits = a->extent[i] >= 0 && !__builtin_mul_overflow(known, a->extent[i], &known);
	}
	if (fits && open >= 0) {
		fits = known > 0 && x->numel % known == 0;
		if (fits) s->shape[open] = x->numel / known;
	} else {
		fits = fits && known == x->numel;
	}
	return fits;
}

static bool shape(weir_shaping *s)
{
	const weir_extents_attr *a = s->attr;
	const weir_tensor *x = s->in[0];

	s->dtype = (weir_dtype)x->dtype;
	s->rank = (int)a->rank;
	if (!resolve(s, a)) {
		weir_text_buf xs, to;

		weir_fail(
			s->ctx, WEIR_ERR_SHAPE,
			"%s: x is %s and does not fit into %s; the numbers of elements must be equal, and at most one extent -1",
			weir__who(s->ctx, s->op), weir__describe(x, &xs), weir__shape_text(s->rank, a->extent, &to));
		return false;
	}
	if (x->contiguous || !x->numel) {
		s->view = true;
		weir__dense_strides(s->rank, s->shape, s->stride);
	} else {
		s->view = view_strides(x, s->rank, s->shape, s->stride);
	}
	return true;
}

static void forward(weir_tensor *y)
{
	const weir_tensor *x = y->in[0];
	weir_strided from = { weir__at(x), x->stride };
	int64_t stride[WEIR_MAX_RANK];

	weir__dense_strides(x->rank, x->shape, stride);
	weir__copy((weir_dtype)x->dtype, x->rank, x->shape, weir_out(y), stride, &from, y->ctx->threads);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)need;
	gx[0] = weir_reshape(gy, y->in[0]->rank, y->in[0]->shape);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_copy, y, dst[0], &gy, 1, NULL);
}

const weir_op weir_op_reshape = {
	.name = "reshape",
	.arity = 1,
	.flags = WEIR_OP_VIEW | WEIR_OP_SHARES,
	.attr_size = sizeof(weir_extents_attr),
	.fields = fields,
	.shape = shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_reshape(weir_tensor *x, int rank, const int64_t *extents)
{
	weir_ctx *w = weir__ctx_of(x);
	weir_extents_attr attr;

	if (!weir__take_extents(w, weir__who(w, &weir_op_reshape), rank, extents, &attr)) return weir__bad(x);
	return weir__apply(&weir_op_reshape, &x, 1, &attr);
}
