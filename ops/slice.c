/* slice: y = x[…, begin : end : step, …], every step-th place along one axis.
 *
 *   shape      extent ⌈(end - begin) / step⌉ along axis; negative begin and end count from the end; an error where
 *              0 <= begin <= end <= extent does not hold
 *   gradient   gx = zeros, but gy at the places that were taken
 *   keeps      nothing
 *   numerics   a view
 *
 * The gradient is the private operation unslice, whose gradient is slice. */
#include "ops/shape.h"

typedef struct slice_attr {
	int64_t axis, begin, end, step;
} slice_attr;

static const weir_field fields[] = {
	{ "axis", WEIR_FIELD_INT, offsetof(slice_attr, axis), 0 },
	{ "begin", WEIR_FIELD_INT, offsetof(slice_attr, begin), 0 },
	{ "end", WEIR_FIELD_INT, offsetof(slice_attr, end), 0 },
	{ "step", WEIR_FIELD_INT, offsetof(slice_attr, step), 0 },
	{ 0 },
};

/* The attribute with axis, begin and end counted from the front. */
static slice_attr resolved(const slice_attr *given, const weir_tensor *x)
{
	slice_attr a = *given;
	int64_t extent;

	if (a.axis < 0) a.axis += x->rank;
	extent = x->shape[a.axis];
	if (a.begin < 0) a.begin += extent;
	if (a.end < 0) a.end += extent;
	return a;
}

static bool shape(weir_shaping *s)
{
	const slice_attr *given = s->attr;
	const weir_tensor *x = s->in[0];
	const char *who = weir__who(s->ctx, s->op);
	weir_text_buf text;
	slice_attr a;
	int axis;

	if (!weir__axis(s->ctx, who, x, (int)given->axis, &axis)) return false;
	a = resolved(given, x);
	if (a.step < 1) {
		weir_fail(s->ctx, WEIR_ERR_ARGUMENT, "%s: step is %lld; it must be 1 or more", who, (long long)a.step);
		return false;
	}
	if (a.begin < 0 || a.end < a.begin || a.end > x->shape[axis]) {
		weir_fail(
			s->ctx, WEIR_ERR_INDEX,
			"%s: begin is %lld and end is %lld, but axis %d of x has extent %lld (x is %s); 0 <= begin <= end <= extent must hold, "
			"where negative ones count from the end",
			who, (long long)given->begin, (long long)given->end, axis, (long long)x->shape[axis],
			weir__describe(x, &text));
		return false;
	}
	weir__copy_shape(s, x);
	for (int i = 0; i < x->rank; i++) s->stride[i] = x->stride[i];
	s->view = true;
	s->shape[axis] = a.end == a.begin ? 0 : (a.end - a.begin - 1) / a.step + 1;
	s->offset = s->shape[axis] ? a.begin * x->stride[axis] : 0;
	if (s->shape[axis] > 1) s->stride[axis] *= a.step;
	return true;
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	const weir_tensor *x = y->in[0];
	slice_attr a = resolved(y->attr, x);

	(void)need;
	gx[0] = weir__unslice(gy, (int)a.axis, a.begin, a.step, x->shape[a.axis]);
}

/* Adds gy in its place instead of adding a tensor that is mostly zeros: n slices of one tensor then cost one
 * tensor, not n. */
static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	const weir_tensor *x = y->in[0];
	slice_attr a = resolved(y->attr, x);
	weir_place_in to = weir__place_in(x->rank, x->shape, (int)a.axis, a.begin, a.step);
	weir_strided in[2] = { { NULL, to.stride }, { weir__at(gy), gy->stride } };
	void *at, *sum = NULL;
	size_t got;

	if (dst[0].mode == WEIR_DST_SKIP) return;
	if (dst[0].mode == WEIR_DST_WRITE) weir__zero(x->ctx, (weir_dtype)x->dtype, x->numel, dst[0].data);
	if (!y->numel) return;
	in[0].data = at = (char *)dst[0].data + (size_t)to.offset * weir__size_of(x->dtype);
	if (dst[0].mode == WEIR_DST_ADD) {
		if (!(sum = weir__scratch_alloc(x->ctx, (size_t)y->numel * weir__size_of(x->dtype), &got))) return;
		weir__map(WEIR_MAP_add, (weir_dtype)x->dtype, y->rank, y->shape, sum, WEIR_DST_WRITE, in, NULL,
			  x->ctx->threads);
		in[1].data = sum;
	}
	weir__copy((weir_dtype)x->dtype, y->rank, y->shape, at, to.stride, &in[1], x->ctx->threads);
	if (sum) weir__scratch_free(x->ctx, sum, got);
}

const weir_op weir_op_slice = {
	.name = "slice",
	.arity = 1,
	.flags = WEIR_OP_VIEW,
	.attr_size = sizeof(slice_attr),
	.fields = fields,
	.shape = shape,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_slice(weir_tensor *x, int axis, int64_t begin, int64_t end, int64_t step)
{
	return weir__apply(&weir_op_slice, &x, 1, &(slice_attr){ axis, begin, end, step });
}
