/* unslice: y = zeros, but x at the places begin, begin + step, … along one axis. Private: the gradient of slice.
 *
 *   shape      x's, with the given extent along axis
 *   gradient   gx = the slice of gy
 *   keeps      nothing
 *   numerics   exact
 */
#include "ops/shape.h"

typedef struct unslice_attr {
	int64_t axis, begin, step, extent;
} unslice_attr;

static const weir_field fields[] = {
	{ "axis", WEIR_FIELD_INT, offsetof(unslice_attr, axis), 0 },
	{ "begin", WEIR_FIELD_INT, offsetof(unslice_attr, begin), 0 },
	{ "step", WEIR_FIELD_INT, offsetof(unslice_attr, step), 0 },
	{ "extent", WEIR_FIELD_INT, offsetof(unslice_attr, extent), 0 },
	{ 0 },
};

static bool shape(weir_shaping *s)
{
	const unslice_attr *a = s->attr;
	const weir_tensor *x = s->in[0];
	weir_text_buf text;
	int64_t n;

	if (!weir__need_float(s)) return false;
	weir__copy_shape(s, x);
	n = a->axis < x->rank ? x->shape[a->axis] : -1;
	if (n < 0 || (n && a->begin + (n - 1) * a->step >= a->extent)) {
		weir_fail(s->ctx, WEIR_ERR_SHAPE, "%s: x is %s and does not fit into extent %lld along axis %lld",
			  weir__who(s->ctx, s->op), weir__describe(x, &text), (long long)a->extent, (long long)a->axis);
		return false;
	}
	s->shape[a->axis] = a->extent;
	return true;
}

static void forward(weir_tensor *y)
{
	const unslice_attr *a = y->attr;
	const weir_tensor *x = y->in[0];
	weir_place_in to = weir__place_in(y->rank, y->shape, (int)a->axis, a->begin, a->step);
	weir_strided from = { weir__at(x), x->stride };

	weir__zero(y->ctx, (weir_dtype)y->dtype, y->numel, weir_out(y));
	if (!x->numel) return;
	weir__copy((weir_dtype)x->dtype, x->rank, x->shape,
		   (char *)weir_out(y) + (size_t)to.offset * weir__size_of(y->dtype), to.stride, &from,
		   y->ctx->threads);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	const unslice_attr *a = y->attr;
	int64_t n = y->in[0]->shape[a->axis];
	int64_t begin = n ? a->begin : 0;

	(void)need;
	gx[0] = weir_slice(gy, (int)a->axis, begin, n ? begin + (n - 1) * a->step + 1 : 0, a->step);
}

const weir_op weir_op_unslice = {
	.name = "unslice",
	.arity = 1,
	.attr_size = sizeof(unslice_attr),
	.fields = fields,
	.shape = shape,
	.forward = forward,
	.vjp = vjp,
};

weir_tensor *weir__unslice(weir_tensor *x, int axis, int64_t begin, int64_t step, int64_t extent)
{
	return weir__apply(&weir_op_unslice, &x, 1, &(unslice_attr){ axis, begin, step, extent });
}
