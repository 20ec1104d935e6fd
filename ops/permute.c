/* permute: the axes of x in another order. transpose: two of them swapped.
 *
 *   shape      axis i of y is axis order[i] of x
 *   gradient   gx = gy with the order undone
 *   keeps      nothing
 *   numerics   a view
 */
#include "ops/shape.h"

static const weir_field fields[] = {
	{ "order", WEIR_FIELD_INTS, offsetof(weir_extents_attr, extent), offsetof(weir_extents_attr, rank) },
	{ 0 },
};

static bool shape(weir_shaping *s)
{
	const weir_extents_attr *a = s->attr;
	const weir_tensor *x = s->in[0];
	unsigned seen = 0;
	weir_text_buf text;

	s->dtype = (weir_dtype)x->dtype;
	s->rank = x->rank;
	s->view = true;
	if (a->rank != x->rank) {
		weir_fail(s->ctx, WEIR_ERR_AXIS, "%s: the order names %d axes, but x is %s; it must name each once",
			  weir__who(s->ctx, s->op), (int)a->rank, weir__describe(x, &text));
		return false;
	}
	for (int i = 0; i < x->rank; i++) {
		int axis;

		if (!weir__axis(s->ctx, weir__who(s->ctx, s->op), x, (int)a->extent[i], &axis)) return false;
		if (seen >> axis & 1) {
			weir_fail(s->ctx, WEIR_ERR_AXIS,
				  "%s: the order names axis %d twice; x is %s, and each axis must be named once",
				  weir__who(s->ctx, s->op), axis, weir__describe(x, &text));
			return false;
		}
		seen |= 1u << axis;
		s->shape[i] = x->shape[axis];
		s->stride[i] = x->stride[axis];
	}
	return true;
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	const weir_extents_attr *a = y->attr;
	int undo[WEIR_MAX_RANK];

	(void)need;
	for (int i = 0; i < y->rank; i++) undo[a->extent[i] < 0 ? a->extent[i] + y->rank : a->extent[i]] = i;
	gx[0] = weir_permute(gy, y->rank, undo);
}

const weir_op weir_op_permute = {
	.name = "permute",
	.arity = 1,
	.flags = WEIR_OP_VIEW,
	.attr_size = sizeof(weir_extents_attr),
	.fields = fields,
	.shape = shape,
	.vjp = vjp,
};

weir_tensor *weir_permute(weir_tensor *x, int n, const int *order)
{
	weir_ctx *w = weir__ctx_of(x);
	int64_t axes[WEIR_MAX_RANK] = { 0 };
	weir_extents_attr attr;

	for (int i = 0; order && i < n && i < WEIR_MAX_RANK; i++) axes[i] = order[i];
	if (!weir__take_extents(w, weir__who(w, &weir_op_permute), n, order ? axes : NULL, &attr)) return weir__bad(x);
	return weir__apply(&weir_op_permute, &x, 1, &attr);
}

weir_tensor *weir_transpose(weir_tensor *x, int a, int b)
{
	weir_scratch s = weir__scratch_begin(x, "weir_transpose");
	int order[WEIR_MAX_RANK];

	if (!weir__usable(x, "weir_transpose") || !weir__axis(x->ctx, "weir_transpose", x, a, &a) ||
	    !weir__axis(x->ctx, "weir_transpose", x, b, &b))
		return weir__scratch_end(&s, weir__bad(x));
	for (int i = 0; i < x->rank; i++) order[i] = i == a ? b : i == b ? a : i;
	return weir__scratch_end(&s, weir_permute(x, x->rank, order));
}
