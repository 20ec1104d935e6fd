/* axes.c: see axes.h. */
#include "ops/axes.h"

#define AXES_FIELDS                                                                                   \
	{ "axes", WEIR_FIELD_INTS, offsetof(weir_axes_attr, axis), offsetof(weir_axes_attr, count) }, \
	{                                                                                             \
		"keepdim", WEIR_FIELD_BOOL, offsetof(weir_axes_attr, keepdim), 0                      \
	}

const weir_field weir__axes_fields[] = { AXES_FIELDS, { 0 } };
const weir_field weir__axes_mean_fields[] = {
	AXES_FIELDS,
	{ "mean", WEIR_FIELD_BOOL, offsetof(weir_axes_attr, mean), 0 },
	{ 0 },
};

static bool reduced(const weir_axes_attr *a, int axis)
{
	for (int64_t i = 0; i < a->count; i++)
		if (a->axis[i] == axis) return true;
	return false;
}

weir_tensor *weir__axes_apply(const weir_op *op, weir_tensor *x, int n, const int *axes, bool keepdim, bool mean)
{
	weir_ctx *w = weir__ctx_of(x);
	weir_axes_attr attr = { .keepdim = keepdim, .mean = mean };
	uint32_t mask;

	if (!weir__usable(x, weir__who(w, op)) || !weir__axes(w, weir__who(w, op), x, n, axes, &mask))
		return weir__bad(x);
	for (int i = 0; i < x->rank; i++)
		if (mask >> i & 1) attr.axis[attr.count++] = i;
	return weir__apply(op, &x, 1, &attr);
}

bool weir__axes_shape(weir_shaping *s)
{
	const weir_axes_attr *a = s->attr;
	const weir_tensor *x = s->in[0];

	if (!weir__need_float(s)) return false;
	s->dtype = x->dtype;
	s->rank = 0;
	for (int i = 0; i < x->rank; i++) {
		if (!reduced(a, i)) s->shape[s->rank++] = x->shape[i];
		else if (a->keepdim) s->shape[s->rank++] = 1;
	}
	return true;
}

bool weir__axes_shape_nonempty(weir_shaping *s, const char *what)
{
	const weir_axes_attr *a = s->attr;
	const weir_tensor *x = s->in[0];
	weir_text_buf text;

	for (int64_t i = 0; i < a->count; i++) {
		if (a->axis[i] >= x->rank || x->shape[a->axis[i]] > 0) continue;
		weir_fail(s->ctx, WEIR_ERR_SHAPE, "%s: axis %d is empty: x is %s; %s needs at least one element",
			  weir__who(s->ctx, s->op), (int)a->axis[i], weir__describe(x, &text), what);
		return false;
	}
	return weir__axes_shape(s);
}

void weir__axes_reduce(weir_tensor *y, weir_red red, weir_dtype t, const void *data, const int64_t *strides, void *out)
{
	const weir_axes_attr *a = y->attr;
	const weir_tensor *x = y->in[0];
	int64_t shape[2][WEIR_MAX_RANK],
		stride[2][WEIR_MAX_RANK]; /* [0] of the axes that stay, [1] of those that vanish */
	int rank[2] = { 0, 0 };

	for (int i = 0; i < x->rank; i++) {
		int k = reduced(a, i);

		shape[k][rank[k]] = x->shape[i];
		stride[k][rank[k]++] = strides[i];
	}
	weir__reduce(red, t, rank[0], shape[0], stride[0], rank[1], shape[1], stride[1], data, out, WEIR_DST_WRITE,
		     y->ctx->threads);
}

void weir__axes_forward(weir_tensor *y, weir_red red)
{
	const weir_tensor *x = y->in[0];

	weir__axes_reduce(y, red, (weir_dtype)x->dtype, weir__at(x), x->stride, weir_out(y));
}

weir_tensor *weir__axes_spread(weir_tensor *y, weir_tensor *g)
{
	const weir_axes_attr *a = y->attr;
	const weir_tensor *x = y->in[0];
	int64_t shape[WEIR_MAX_RANK];

	for (int i = 0; i < x->rank; i++) shape[i] = reduced(a, i) ? 1 : x->shape[i];
	if (!a->keepdim) g = weir_reshape(g, x->rank, shape);
	return weir_expand(g, x->rank, x->shape);
}

void weir__axes_strides(const weir_tensor *y, int64_t stride[WEIR_MAX_RANK])
{
	const weir_axes_attr *a = y->attr;
	const weir_tensor *x = y->in[0];
	int64_t step = 1;

	for (int i = x->rank - 1; i >= 0; i--) {
		stride[i] = reduced(a, i) ? 0 : step;
		if (!reduced(a, i)) step *= x->shape[i];
	}
}

int64_t weir__axes_extent(const weir_tensor *x, const weir_axes_attr *a)
{
	int64_t n = 1;

	for (int64_t i = 0; i < a->count; i++) n *= x->shape[a->axis[i]];
	return n;
}
