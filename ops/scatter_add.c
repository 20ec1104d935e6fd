/* scatter_add: y[…, index[j], …] += x[…, j, …] along one axis, from zeros.
 *
 *   shape      x's, with the given extent along axis; index is i32 or i64 of rank 1, as long as x's axis; all in
 *              0 .. extent - 1
 *   gradient   gx = gy gathered by the same index
 *   keeps      index
 *   numerics   added in the order of the index
 */
#include "ops/gather.h"

typedef struct scatter_attr {
	int64_t axis, extent;
} scatter_attr;

static const weir_field fields[] = {
	{ "axis", WEIR_FIELD_INT, offsetof(scatter_attr, axis), 0 },
	{ "extent", WEIR_FIELD_INT, offsetof(scatter_attr, extent), 0 },
	{ 0 },
};

static int axis_of(const weir_tensor *y)
{
	const scatter_attr *a = y->attr;

	return (int)(a->axis < 0 ? a->axis + y->rank : a->axis);
}

static bool shape(weir_shaping *s)
{
	const scatter_attr *a = s->attr;
	const weir_tensor *x = s->in[0], *index = s->in[1];
	const char *who = weir__who(s->ctx, s->op);
	weir_text_buf xs, is;
	int axis;

	if (!weir__index_shape(s, a->axis, &axis)) return false;
	if (!weir__is_float(x->dtype)) {
		weir_fail(s->ctx, WEIR_ERR_DTYPE, "%s: x is %s; it must be f32 or f64", who, weir__describe(x, &xs));
		return false;
	}
	if (index->numel != x->shape[axis]) {
		weir_fail(s->ctx, WEIR_ERR_SHAPE,
			  "%s: index is %s, but x is %s; there must be one index for each place along axis %d", who,
			  weir__describe(index, &is), weir__describe(x, &xs), axis);
		return false;
	}
	s->shape[axis] = a->extent; /* a negative one is refused with the other results that don't fit */
	return true;
}

static void forward(weir_tensor *y)
{
	const weir_tensor *x = y->in[0];
	int axis = axis_of(y);
	weir_blocks b = weir__blocks(y->rank, y->shape, axis);
	size_t got;
	int64_t *index = weir__index_begin(y, y->in[1], b.extent, axis, &got);
	weir_dense from;

	if (!index) return;
	from = weir__dense_begin(x);
	weir__zero(y->ctx, (weir_dtype)y->dtype, y->numel, weir_out(y));
	if (from.data)
		weir__scatter_rows(y->ctx, (weir_dtype)y->dtype, b, from.data, weir_out(y), index, y->in[1]->numel);
	weir__dense_end(&from);
	weir__scratch_free(y->ctx, index, got);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	if (need & 1) gx[0] = weir_gather(gy, axis_of(y), y->in[1]);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	int axis = axis_of(y);
	weir_blocks b = weir__blocks(y->rank, y->shape, axis);
	size_t got;
	int64_t *index;

	if (dst[0].mode == WEIR_DST_SKIP || !(index = weir__index_begin(y, y->in[1], b.extent, axis, &got))) return;
	weir__gather_rows(y->ctx, (weir_dtype)y->dtype, b, weir__at(gy), dst[0].data, index, y->in[1]->numel,
			  dst[0].mode);
	weir__scratch_free(y->ctx, index, got);
}

const weir_op weir_op_scatter_add = {
	.name = "scatter_add",
	.arity = 2,
	.keeps = WEIR_KEEP_IN1,
	.attr_size = sizeof(scatter_attr),
	.fields = fields,
	.shape = shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_scatter_add(weir_tensor *x, int axis, weir_tensor *index, int64_t extent)
{
	return weir__apply(&weir_op_scatter_add, (weir_tensor *[]){ x, index }, 2, &(scatter_attr){ axis, extent });
}
