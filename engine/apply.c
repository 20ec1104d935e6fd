/* apply.c: the door through which every operation goes. Checks, shape rule, header, forward, recording, hooks. */
#include <string.h>

#include "engine/header.h"
#include "engine/hook.h"
#include "engine/op.h"
#include "engine/profile.h"
#include "engine/tape.h"

const char *weir__who(weir_ctx *w, const weir_op *op)
{
	if (w->outer) return w->outer;
	static const char prefix[] = "weir_";
	size_t head = sizeof prefix - 1, n = strlen(op->name);

	if (n > sizeof w->who - sizeof prefix) n = sizeof w->who - sizeof prefix;
	memcpy(w->who, prefix, head); /* many operations ask, and snprintf takes as long as a small one */
	memcpy(w->who + head, op->name, n);
	w->who[head + n] = 0;
	return w->who;
}

/* ---- the result ---- */

/* Its header, made here and now: contiguous, without storage; operands, their versions and a copy of the attributes lie behind it. NULL where an
 * operand has no node yet. */
static inline __attribute__((always_inline)) weir_tensor *node_new(weir_ctx *w, const weir_op *op,
								   weir_tensor *const *in, int n, const void *attr,
								   int dtype, int rank, const int64_t *shape)
{
	size_t head = weir__header_bytes(rank), pad = (op->attr_size + 7) & ~(size_t)7;
	weir_tensor *y = weir__arena_take(&w->arena[w->arena_now],
					  head + pad + (size_t)n * (sizeof *y->in + sizeof *y->in_version));

	if (!y) return w->bad;
	weir__header_init(y, w, op, dtype, rank, shape);
	y->here = w->here;
	y->scope = weir__scope_now(&w->scopes, &y->call);
	y->origin = w->rule_of;
	y->order = (uint8_t)w->order;
	y->in = (weir_tensor **)(void *)((char *)y + head + pad);
	y->in_version = (uint32_t *)(void *)(y->in + n);
	y->nin = n;
	for (int i = 0; i < n; i++) {
		weir_tensor *x = weir__present_operand(in[i]);

		if (!x) return NULL;
		y->in[i] = x;
		y->in_version[i] = x->store->version;
		if (x->order > y->order) y->order = x->order;
	}
	if (op->attr_size) y->attr = memcpy((char *)y + head, attr, op->attr_size);
	return weir__onto_tape(w, y);
}

static bool check_result(const weir_shaping *s)
{
	weir_text_buf text;

	if (!s->view && !s->op->forward)
		weir_fail(s->ctx, WEIR_ERR_ARGUMENT, "%s: the operation has no forward function and is no view",
			  weir__who(s->ctx, s->op));
	else if (s->rank < 0 || s->rank > WEIR_MAX_RANK)
		weir_fail(s->ctx, WEIR_ERR_LIMIT, "%s: the result has %d axes; a tensor has 0 to %d",
			  weir__who(s->ctx, s->op), s->rank, WEIR_MAX_RANK);
	else if (weir__numel(s->rank, s->shape) < 0)
		weir_fail(s->ctx, WEIR_ERR_SHAPE, "%s: the result's shape %s does not fit in memory",
			  weir__who(s->ctx, s->op), weir__shape_text(s->rank, s->shape, &text));
	else return true;
	return false;
}

/* The result as the shape rule has it: without a value, or a view, or with the value that was given. */
static weir_tensor *by_rule(weir_ctx *w, const weir_op *op, weir_tensor *const *nodes, int n, const void *attr)
{
	weir_shaping s; /* not cleared as a whole, which takes longer than a small operation */
	weir_tensor *y;

	s.ctx = w;
	s.op = op;
	s.in = nodes;
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
	if (!check_result(&s)) return w->bad;
	y = node_new(w, op, nodes, n, attr, s.view ? nodes[0]->dtype : (int)s.dtype, s.rank, s.shape);
	if (weir__is_bad(y)) return y;
	if (w->given) {
		y->store = w->given;
		w->given = NULL;
	} else if (s.view) {
		weir__look_into(y, nodes[0], s.stride, s.offset);
	}
	return y;
}

/* Of kept tensors the node on the tape, or what stands in for them. False after reporting. */
static bool find_nodes(weir_ctx *w, const weir_op *op, weir_tensor *const *in, int n, weir_tensor **nodes)
{
	weir_text_buf text;

	for (int i = 0; i < n; i++) {
		nodes[i] = weir__operand(w, in[i]);
		if (nodes[i]->store) continue;
		weir_fail(
			w, WEIR_ERR_STALE,
			"%s: what stands in for %s is gone: it was dropped or rewound, its tape was reset, or its value released; weir_substitute_end() comes before that",
			weir__who(w, op), weir__describe(in[i], &text));
		return false;
	}
	return true;
}

static __attribute__((noinline)) weir_tensor *shaped(weir_ctx *w, const weir_op *op, weir_tensor *const *in, int n,
						     const void *attr)
{
	enum { FEW = 8 };
	weir_tensor *few[FEW], **nodes = few, *y = w->bad;
	size_t bytes = (size_t)n * sizeof *in;

	if (n > FEW && !(nodes = weir__pool_take(w, &bytes))) return w->bad;
	if (find_nodes(w, op, in, n, nodes)) y = by_rule(w, op, nodes, n, attr);
	if (nodes != few) weir__pool_give(w, nodes, bytes);
	return y;
}

static void record(weir_tensor *y, const weir_op *op)
{
	y->flags |= WEIR_T_RECORDED;
	if (!op->keeps) return;
	if (op->keeps & WEIR_KEEP_OUT) y->flags |= WEIR_T_NEEDED;
	for (int i = 0; i < y->nin; i++) {
		if (weir__keeps_in(op, i)) y->in[i]->flags |= WEIR_T_NEEDED;
	}
}

static weir_tensor *apply(weir_ctx *w, const weir_op *op, weir_tensor *const *in, int n, const void *attr)
{
	bool flags = w->forward_hooks && weir__hooks_want_flags(w);
	weir_tensor *y = NULL;

	if (op->shape == weir_same_shape && op->forward && !w->given && weir__all_alike(in, n))
		y = node_new(w, op, in, n, attr, in[0]->dtype, in[0]->rank, in[0]->shape);
	if (!y) y = shaped(w, op, in, n, attr);
	if (weir__is_bad(y)) return y;
	if (flags && weir__fp_flags()) weir__fp_clear();
	if (!y->store) {
		if (!weir__give_storage(y)) return w->bad;
		op->forward(y);
		if (w->status) return w->bad;
	}
	if (!w->no_grad) record(y, op);
	if (w->forward_hooks && !w->in_hook && !w->muted) weir__hooks_forward(y, flags ? weir__fp_flags() : 0);
	return w->status ? w->bad : y;
}

/* ---- the door ---- */

weir_tensor *weir__apply_ready(weir_ctx *w, const weir_op *op, weir_tensor *const *in, int n, const void *attr)
{
	weir_span_kind kind = w->given ? WEIR_SPAN_FUSED : WEIR_SPAN_FORWARD;
	weir_tensor *y;

	weir__enter(w);
	weir__span_begin(w);
	y = apply(w, op, in, n, attr);
	weir__span_end_of(w, kind, op, y, 0);
	weir__leave(w);
	return y;
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
	weir_text_buf text;

	if (op->arity >= 0 && n != op->arity) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %d operands; it takes %d", weir__who(w, op), n, op->arity);
		return false;
	}
	for (int i = 0; i < n; i++) {
		if (!in[i]) {
			weir_fail(w, WEIR_ERR_ARGUMENT, "%s: operand %d is NULL", weir__who(w, op), i);
			return false;
		}
		if (weir__ctx_of(in[i]) != w) {
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

/* What weir_op_apply() does for those who may have made a mistake. */
static __attribute__((noinline)) weir_tensor *apply_checked(const weir_op *op, weir_tensor *const *in, int n,
							    const void *attr)
{
	weir_ctx *w = context_of(in, n);

	if (w->status) return w->bad;
	if (!op || !op->name || !op->shape)
		return weir_fail(w, WEIR_ERR_ARGUMENT, "weir_op_apply: the operation %s%s",
				 op && op->name ? op->name : "is NULL or has no name",
				 op && op->name ? " has no shape rule" : "");
	return check_operands(w, op, in, n) ? weir__apply_ready(w, op, in, n, attr) : w->bad;
}

weir_tensor *weir_op_apply(const weir_op *op, weir_tensor *const *in, int n, const void *attr)
{
	const weir_ctx *w = n > 0 && in[0] ? in[0]->ctx : NULL;
	bool ready = w && !w->status && op && op->name && op->shape && n == op->arity;

	for (int i = 0; i < n && ready; i++) ready = weir__ready(w, in[i]);
	return ready ? weir__apply_ready(in[0]->ctx, op, in, n, attr) : apply_checked(op, in, n, attr);
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
	return weir__apply(&contiguous_op, &t, 1, NULL);
}
