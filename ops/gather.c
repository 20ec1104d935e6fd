/* gather: y[…, j, …] = x[…, index[j], …] along one axis.
 *
 *   shape      x's, with the length of index along axis; index is i32 or i64 of rank 1, each in 0 .. extent - 1
 *   gradient   gx = gy scattered back: added where an index repeats, in the order of the index
 *   keeps      index
 *   numerics   exact; any element type
 */
#include "ops/gather.h"

typedef struct gather_attr {
	int64_t axis;
} gather_attr;

static const weir_field fields[] = {
	{ "axis", WEIR_FIELD_INT, offsetof(gather_attr, axis), 0 },
	{ 0 },
};

static int axis_of(const weir_tensor *y)
{
	const gather_attr *a = y->attr;

	return (int)(a->axis < 0 ? a->axis + y->rank : a->axis);
}

static bool shape(weir_shaping *s)
{
	const gather_attr *a = s->attr;
	int axis;

	if (!weir__index_shape(s, a->axis, &axis)) return false;
	s->shape[axis] = s->in[1]->numel;
	return true;
}

static void forward(weir_tensor *y)
{
	const weir_tensor *x = y->in[0];
	int axis = axis_of(y);
	weir_blocks b = weir__blocks(x->rank, x->shape, axis);
	size_t got;
	int64_t *index = weir__index_begin(y, y->in[1], b.extent, axis, &got);
	weir_dense from;

	if (!index) return;
	from = weir__dense_begin(x);
	if (from.data)
		weir__gather_rows(y->ctx, (weir_dtype)x->dtype, b, from.data, weir_out(y), index, y->in[1]->numel,
				  WEIR_DST_WRITE);
	weir__dense_end(&from);
	weir__scratch_free(y->ctx, index, got);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	int axis = axis_of(y);

	if (need & 1) gx[0] = weir_scatter_add(gy, axis, y->in[1], y->in[0]->shape[axis]);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	const weir_tensor *x = y->in[0];
	int axis = axis_of(y);
	weir_blocks b = weir__blocks(x->rank, x->shape, axis);
	size_t got;
	int64_t *index;

	if (dst[0].mode == WEIR_DST_SKIP || !(index = weir__index_begin(y, y->in[1], b.extent, axis, &got))) return;
	if (dst[0].mode == WEIR_DST_WRITE) weir__zero(y->ctx, (weir_dtype)x->dtype, x->numel, dst[0].data);
	weir__scatter_rows(y->ctx, (weir_dtype)x->dtype, b, weir__at(gy), dst[0].data, index, y->in[1]->numel);
	weir__scratch_free(y->ctx, index, got);
}

const weir_op weir_op_gather = {
	.name = "gather",
	.arity = 2,
	.keeps = WEIR_KEEP_IN1,
	.attr_size = sizeof(gather_attr),
	.fields = fields,
	.shape = shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_gather(weir_tensor *x, int axis, weir_tensor *index)
{
	return weir__apply(&weir_op_gather, (weir_tensor *[]){ x, index }, 2, &(gather_attr){ axis });
}
