/* concat: y = x0, x1, … behind each other along one axis.
 *
 *   shape      all but the extents along axis are equal; these add up
 *   gradient   gxi = the slice of gy that came from xi
 *   keeps      nothing
 *   numerics   exact; any element type
 */
#include "ops/shape.h"

typedef struct concat_attr {
	int64_t axis;
} concat_attr;

static const weir_field fields[] = {
	{ "axis", WEIR_FIELD_INT, offsetof(concat_attr, axis), 0 },
	{ 0 },
};

static int axis_of(const concat_attr *a, const weir_tensor *x)
{
	return (int)(a->axis < 0 ? a->axis + x->rank : a->axis);
}

static bool shape(weir_shaping *s)
{
	const concat_attr *a = s->attr;
	const weir_tensor *first = s->in[0];
	const char *who = weir__who(s->ctx, s->op);
	weir_text_buf ft, xt;
	int axis;

	if (!weir__axis(s->ctx, who, first, (int)a->axis, &axis)) return false;
	weir__copy_shape(s, first);
	for (int k = 1; k < s->n; k++) {
		const weir_tensor *x = s->in[k];
		bool fits = x->rank == first->rank;

		for (int i = 0; fits && i < x->rank; i++) fits = i == axis || x->shape[i] == first->shape[i];
		if (!fits || x->dtype != first->dtype) {
			weir_fail(
				s->ctx, fits ? WEIR_ERR_DTYPE : WEIR_ERR_SHAPE,
				"%s: operand 0 is %s, operand %d is %s; types and all extents but those of axis %d must be equal",
				who, weir__describe(first, &ft), k, weir__describe(x, &xt), axis);
			return false;
		}
		s->shape[axis] += x->shape[axis];
	}
	return true;
}

static void forward(weir_tensor *y)
{
	int axis = axis_of(y->attr, y);
	weir_place_in to = weir__place_in(y->rank, y->shape, axis, 0, 1);

	for (int k = 0; k < y->nin; k++) {
		const weir_tensor *x = y->in[k];
		weir_strided from = { weir__at(x), x->stride };
		char *at = (char *)weir_out(y) + (size_t)to.offset * weir__size_of(y->dtype);

		if (x->numel)
			weir__copy((weir_dtype)x->dtype, x->rank, x->shape, at, to.stride, &from, y->ctx->threads);
		to.offset += x->shape[axis] * to.stride[axis];
	}
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	int axis = axis_of(y->attr, y);
	int64_t begin = 0;

	for (int k = 0; k < y->nin; k++) {
		int64_t n = y->in[k]->shape[axis];

		/* The last bit of need stands for all operands from there on. */
		if (need >> (k < 31 ? k : 31) & 1) gx[k] = weir_slice(gy, axis, begin, begin + n, 1);
		begin += n;
	}
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	int axis = axis_of(y->attr, y);
	weir_strided from = { weir__at(gy), gy->stride };

	for (int k = 0; k < y->nin; k++) {
		const weir_tensor *x = y->in[k];
		int64_t skip = x->shape[axis] * gy->stride[axis];

		if (dst[k].mode != WEIR_DST_SKIP && x->numel)
			weir__map(WEIR_MAP_copy, (weir_dtype)x->dtype, x->rank, x->shape, dst[k].data, dst[k].mode,
				  &from, NULL, y->ctx->threads);
		from.data = (const char *)from.data + (size_t)skip * weir__size_of(x->dtype);
	}
}

const weir_op weir_op_concat = {
	.name = "concat",
	.arity = -1,
	.attr_size = sizeof(concat_attr),
	.fields = fields,
	.shape = shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_concat(weir_tensor *const *xs, int n, int axis)
{
	if (n < 1 || !xs) {
		weir_ctx *w = weir__ctx_of(NULL);

		return weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %d operands; it takes 1 or more",
				 weir__who(w, &weir_op_concat), n);
	}
	return weir_op_apply(&weir_op_concat, xs, n, &(concat_attr){ axis });
}
