/* argmax: y = the index of the largest x along one axis, the first of equals; i64.
 *
 *   shape      x's without the axis, or with an extent of 1 there (keepdim); an empty axis is an error
 *   gradient   none: asking for it is an error
 *   keeps      nothing
 *   numerics   a NaN counts as the largest; -0 equals +0
 */
#include "ops/common.h"
#include "kernels/reduce.h"

typedef struct argmax_attr {
	int64_t axis;
	bool keepdim;
} argmax_attr;

static const weir_field fields[] = {
	{ "axis", WEIR_FIELD_INT, offsetof(argmax_attr, axis), 0 },
	{ "keepdim", WEIR_FIELD_BOOL, offsetof(argmax_attr, keepdim), 0 },
	{ 0 },
};

static bool shape(weir_shaping *s)
{
	const argmax_attr *a = s->attr;
	const weir_tensor *x = s->in[0];
	weir_text_buf text;

	if (!weir__need_float(s)) return false;
	if (!x->shape[a->axis]) {
		weir_fail(s->ctx, WEIR_ERR_SHAPE, "%s: axis %d is empty: x is %s; an argmax needs at least one element",
			  weir__who(s->ctx, s->op), (int)a->axis, weir__describe(x, &text));
		return false;
	}
	s->dtype = WEIR_I64;
	s->rank = 0;
	for (int i = 0; i < x->rank; i++) {
		if (i != a->axis) s->shape[s->rank++] = x->shape[i];
		else if (a->keepdim) s->shape[s->rank++] = 1;
	}
	return true;
}

static void forward(weir_tensor *y)
{
	const argmax_attr *a = y->attr;
	const weir_tensor *x = y->in[0];
	int64_t kept[WEIR_MAX_RANK], stride[WEIR_MAX_RANK];
	int rank = 0;

	for (int i = 0; i < x->rank; i++) {
		if (i == a->axis) continue;
		kept[rank] = x->shape[i];
		stride[rank++] = x->stride[i];
	}
	weir__reduce(WEIR_RED_argmax, (weir_dtype)x->dtype, rank, kept, stride, 1, &x->shape[a->axis],
		     &x->stride[a->axis], weir__at(x), weir_out(y), WEIR_DST_WRITE, y->ctx->threads);
}

const weir_op weir_op_argmax = {
	.name = "argmax",
	.arity = 1,
	.flags = WEIR_OP_NO_GRAD,
	.attr_size = sizeof(argmax_attr),
	.fields = fields,
	.shape = shape,
	.forward = forward,
};

weir_tensor *weir_argmax(weir_tensor *x, int axis, bool keepdim)
{
	weir_ctx *w = weir__ctx_of(x);
	argmax_attr attr = { .keepdim = keepdim };
	int normal;

	if (!weir__usable(x, weir__who(w, &weir_op_argmax)) ||
	    !weir__axis(w, weir__who(w, &weir_op_argmax), x, axis, &normal))
		return weir__bad(x);
	attr.axis = normal;
	return weir__apply(&weir_op_argmax, &x, 1, &attr);
}
