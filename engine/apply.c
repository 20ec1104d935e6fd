/* apply.c: the door through which every operation goes. Checks, shape rule, header, forward, recording, hooks. */
#include <string.h>

#include "engine/hook.h"
#include "engine/op.h"
#include "engine/profile.h"
#include "engine/tape.h"

const char *weir__who(weir_ctx *w, const weir_op *op)
{
	if (w->outer) return w->outer;
	snprintf(w->who, sizeof w->who, "weir_%s", op->name);
	return w->who;
}

/* The context of the first operand that has one. */
static weir_ctx *context_of(weir_tensor *const *in, int n)
{
	for (int i = 0; i < n; i++) {
		if (in[i]) return weir__ctx_of(in[i]);
	}
	return weir__nowhere();
}

static bool check_operands(weir_ctx *w, const weir_op *op, weir_tensor *const *in, int n)
{
	if (op->arity >= 0 && n != op->arity) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %d operands; it takes %d", weir__who(w, op), n, op->arity);
		return false;
	}
	for (int i = 0; i < n; i++) {
		weir_text_buf text;
		weir_ctx *other;

		if (weir__ready(w, in[i])) continue;
		other = weir__ctx_of(in[i]);

		if (!in[i]) {
			weir_fail(w, WEIR_ERR_ARGUMENT, "%s: operand %d is NULL", weir__who(w, op), i);
			return false;
		}
		if (other != w) {
			weir_fail(
				w, WEIR_ERR_CONTEXT,
				"%s: operand %d, %s, belongs to another context; weir_share() lends a kept tensor to one",
				weir__who(w, op), i, weir__describe(in[i], &text));
			return false;
		}
		if (!weir__usable(in[i], weir__who(w, op))) return false;
	}
	return true;
}

/* The header of a result: operands, versions and attributes behind each other in the arena. */
static bool connect(weir_tensor *y, const weir_op *op, weir_tensor *const *in, int n, const void *attr)
{
	weir_ctx *w = y->ctx;
	size_t pointers = (size_t)n * sizeof *in, versions = ((size_t)n * sizeof(uint32_t) + 15) & ~(size_t)15;
	char *p = n || op->attr_size ? weir__arena_take(&w->arena[w->arena_now], versions + op->attr_size + pointers)
				     : NULL;

	if (n || op->attr_size) {
		if (!p) return false;
		y->in_version = (uint32_t *)(void *)p;
		if (op->attr_size) y->attr = memcpy(p + versions, attr, op->attr_size);
		y->in = (weir_tensor **)(void *)(p + versions + (op->attr_size + 7) / 8 * 8);
	}
	y->nin = n;
	for (int i = 0; i < n; i++) {
		y->in[i] = in[i];
		y->in_version[i] = in[i]->store->version;
		if (in[i]->order > y->order) y->order = in[i]->order;
	}
	if (w->order > y->order) y->order = (uint8_t)w->order;
	return true;
}

static void record(weir_tensor *y, const weir_op *op)
{
	y->flags |= WEIR_T_RECORDED;
	if (op->keeps & WEIR_KEEP_OUT) y->flags |= WEIR_T_NEEDED;
	for (int i = 0; i < y->nin; i++) {
		if (weir__keeps_in(op, i)) y->in[i]->flags |= WEIR_T_NEEDED;
	}
}

static weir_tensor *result(weir_shaping *s)
{
	weir_text_buf text;

	if (s->rank < 0 || s->rank > WEIR_MAX_RANK)
		return weir_fail(s->ctx, WEIR_ERR_LIMIT, "%s: the result has %d axes; a tensor has 0 to %d",
				 weir__who(s->ctx, s->op), s->rank, WEIR_MAX_RANK);
	if (weir__numel(s->rank, s->shape) < 0)
		return weir_fail(s->ctx, WEIR_ERR_SHAPE, "%s: the result's shape %s does not fit in memory",
				 weir__who(s->ctx, s->op), weir__shape_text(s->rank, s->shape, &text));
	if (s->view) return weir__tensor_view(s->in[0], s->op, s->rank, s->shape, s->stride, s->offset);
	return weir__tensor_new(s->ctx, s->op, (int)s->dtype, s->rank, s->shape);
}

/* A result whose value is there already. */
static weir_tensor *adopt(weir_shaping *s, weir_storage *value)
{
	weir_tensor held = { .ctx = s->ctx, .store = value, .dtype = (uint8_t)s->dtype }, *y;
	int64_t step = 1;

	for (int i = s->rank - 1; i >= 0; i--) {
		s->stride[i] = step;
		if (s->shape[i]) step *= s->shape[i];
	}
	y = weir__tensor_view(&held, s->op, s->rank, s->shape, s->stride, 0);
	weir__storage_drop(s->ctx, value); /* y holds it now */
	return y;
}

static weir_tensor *apply(weir_ctx *w, const weir_op *op, weir_tensor *const *in, int n, const void *attr)
{
	weir_shaping s; /* not cleared as a whole, which takes longer than a small operation */
	bool flags = w->forward_hooks && weir__hooks_want_flags(w);
	weir_storage *given = w->given;
	weir_tensor *y;

	s.ctx = w;
	s.op = op;
	s.in = in;
	s.n = n;
	s.attr = attr;
	s.dtype = WEIR_F32;
	s.rank = 0;
	s.view = false;
	s.offset = 0;
	if (!op->shape(&s)) {
		if (weir_ok(w))
			weir_fail(w, WEIR_ERR_SHAPE, "%s: the shape rule refused its operands", weir__who(w, op));
		return w->bad;
	}
	w->given = NULL;
	if (!s.view && !op->forward)
		return weir_fail(w, WEIR_ERR_ARGUMENT, "%s: the operation has no forward function and is no view",
				 weir__who(w, op));
	y = given ? adopt(&s, given) : result(&s);
	if (weir__is_bad(y) || !connect(y, op, in, n, attr)) return w->bad;
	y->here = w->here;
	y->scope = weir__scope_now(w, &y->call);
	y->origin = w->rule_of;
	if (flags && weir__fp_flags()) weir__fp_clear();
	if (!s.view && !given && op->forward) op->forward(y);
	if (w->status) return w->bad;
	if (!w->no_grad) record(y, op);
	if (w->forward_hooks && !w->in_hook && !w->muted) weir__hooks_forward(y, flags ? weir__fp_flags() : 0);
	return w->status ? w->bad : y;
}

/* A kept tensor's node, or what stands in for it. */
static weir_tensor *kept_operand(weir_ctx *w, weir_tensor *x, const weir_op *op)
{
	weir_tensor *node = weir__operand(w, x);
	weir_text_buf text;

	if (!node->store)
		weir_fail(
			w, WEIR_ERR_STALE,
			"%s: what stands in for %s is gone: it was dropped or rewound, its tape was reset, or its value released; weir_substitute_end() comes before that",
			weir__who(w, op), weir__describe(x, &text));
	return node;
}

weir_tensor *weir_op_apply(const weir_op *op, weir_tensor *const *in, int n, const void *attr)
{
	enum { FEW = 8 };
	weir_ctx *w = context_of(in, n);
	weir_tensor *few[FEW], **operands = few, *y = w->bad;
	size_t bytes = (size_t)n * sizeof *in;
	weir_span_kind kind;

	if (w->status) return w->bad;
	if (!op || !op->name || !op->shape)
		return weir_fail(w, WEIR_ERR_ARGUMENT, "weir_op_apply: the operation %s%s",
				 op && op->name ? op->name : "is NULL or has no name",
				 op && op->name ? " has no shape rule" : "");
	if (!check_operands(w, op, in, n)) return w->bad;
	if (n > FEW && !(operands = weir__pool_take(w, &bytes))) return w->bad;
	weir__enter(w);
	kind = w->given ? WEIR_SPAN_FUSED : WEIR_SPAN_FORWARD;
	weir__span_begin(w);
	for (int i = 0; i < n; i++) operands[i] = in[i]->flags & WEIR_T_KEPT ? kept_operand(w, in[i], op) : in[i];
	if (!w->status) y = apply(w, op, operands, n, attr);
	weir__span_end_of(w, kind, op, y, 0);
	weir__leave(w);
	if (operands != few) weir__pool_give(w, operands, bytes);
	return y;
}

void *weir_out(weir_tensor *y)
{
	return weir__at(y);
}

/* ---- copying ---- */

static bool copy_shape(weir_shaping *s)
{
	return weir__copy_shape(s, s->in[0]);
}

static void copy_forward(weir_tensor *y)
{
	const weir_tensor *x = y->in[0];
	weir_strided from = { weir__at(x), x->stride };

	weir__copy((weir_dtype)y->dtype, y->rank, y->shape, weir__at(y), y->stride, &from, y->ctx->threads);
}

static void copy_vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)y, (void)need;
	gx[0] = gy;
}

/* contiguous: y = x, in row-major memory of its own. The gradient passes through. */
static const weir_op contiguous_op = {
	.name = "contiguous",
	.arity = 1,
	.flags = WEIR_OP_ELEMENTWISE,
	.shape = copy_shape,
	.forward = copy_forward,
	.vjp = copy_vjp,
};

weir_tensor *weir_contiguous(weir_tensor *t)
{
	if (weir__usable(t, "weir_contiguous") && t->contiguous) return t;
	return weir_op_apply(&contiguous_op, &t, 1, NULL);
}
