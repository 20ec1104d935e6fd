/* pass.h: one pass back over the tape, as the files that carry it out share it.
 *
 *   backward.c       which nodes take part, and the loop over them
 *   pass_rule.c      one node: its gradient rule
 *   pass_gradient.c  the memory of gradients, and adding up
 *   pass_norm.c      norms that rules take while they write
 *   accumulator.c    what parameters keep of it
 *
 * A gradient tensor in g[] is a header of its own, so that its storage tells by its count whether it may be added to in place. Of a
 * pass's gradients few are alive at a time: headers of those that are used up serve again, with their memory, if that is little, so that
 * a long tape needs few. What every node goes through stands here, inline. */
#ifndef WEIR_ENGINE_PASS_H
#define WEIR_ENGINE_PASS_H

#include "engine/backward.h"
#include "engine/op.h"
#include "engine/tape.h"

enum {
	WEIR_NEED_PATH = 1,   /* leads on to a target */
	WEIR_NEED_TARGET = 2, /* is one: its gradient is asked for */
};

typedef struct weir_pass {
	weir_ctx *w;
	const weir_request *r;
	int64_t first, n; /* nodes first .. n - 1 take part */
	weir_tensor **g;  /* g[i - first]: gradient of node i so far, or NULL */
	uint8_t *need;    /* need[i - first]: WEIR_NEED_; only of recorded nodes of a floating type */
	double *norm;     /* norm[i - first]: its norm, where that is known already; NaN elsewhere. NULL: none is */
	size_t g_bytes, norm_bytes, need_bytes;
	int order;
	bool watched;  /* there are hooks */
	bool hooked;   /* a hook on the context wants the norm of every gradient */
	bool measured; /* rules are to be asked for norms, by hooks or for an optimiser */
	bool plain;    /* fused rules are run, and no more: the pass is not recorded, not measured, not profiled */
	bool again;    /* used-up gradients serve again: nobody else has seen them */
	bool frees;    /* values go as soon as they are used up */
	bool taken;    /* the rule just run wrote over its node's gradient, which is its operand's from then on */
	/* Those, by rank, linked by `in`. One that still has a value has little, which serves one alike. */
	weir_tensor *spare[WEIR_MAX_RANK + 1];
	double *chunk; /* room for weir_squares */
	size_t chunk_bytes;
	struct weir_staged { /* gradients for accumulators: handed over only when the pass is through */
		weir_kept *k;
		weir_tensor *grad;
		double norm; /* or NaN */
	} * staged;
	int64_t n_staged, staged_capacity;
} weir_pass;

/* Does operand x of a node get a gradient? Operands are older than their node, so there is only a lower bound to look at. */
static inline bool weir__on_path(const weir_pass *p, const weir_tensor *x)
{
	return x->index >= p->first && p->need[x->index - p->first];
}

static inline double weir__pass_norm(const weir_pass *p, int64_t index)
{
	return p->norm ? p->norm[index - p->first] : __builtin_nan("");
}

static inline void weir__pass_set_norm(weir_pass *p, int64_t index, double norm)
{
	if (p->norm) p->norm[index - p->first] = norm;
}

/* ---- pass_gradient.c ---- */

/* May its memory be written in place? */
static inline bool weir__exclusive(const weir_tensor *t)
{
	return t->store->refs == 1 && t->contiguous && !t->kept && !t->store->shared;
}

/* Memory for a gradient of x; the bad tensor on failure. */
weir_tensor *weir__pass_gradient_new(weir_pass *p, const weir_tensor *x);
static inline weir_tensor *weir__pass_gradient(weir_pass *p, const weir_tensor *x)
{
	weir_tensor *t = p->spare[x->rank];

	if (!t || !t->store || !weir__alike(t, x)) return weir__pass_gradient_new(p, x);
	p->spare[x->rank] = (weir_tensor *)(void *)t->in;
	return t;
}

/* Gives a used-up gradient back. */
void weir__pass_release(weir_pass *p, weir_tensor *g);
static inline void weir__pass_drop(weir_pass *p, weir_tensor *g)
{
	enum { LITTLE = 1024 }; /* bytes */

	if (p->again && g->op == &weir__op_input && !g->flags && !g->offset && g->store->size <= LITTLE &&
	    weir__exclusive(g)) {
		g->in = (weir_tensor **)(void *)p->spare[g->rank];
		p->spare[g->rank] = g;
	} else {
		weir__pass_release(p, g);
	}
}

/* Another header on the same memory. */
weir_tensor *weir__pass_alias(weir_pass *p, weir_tensor *x);
/* g as contiguous memory; it is given back where that is another. */
weir_tensor *weir__pass_contiguous(weir_pass *p, weir_tensor *g);
/* dst += x, in dst's memory. */
void weir__add_into(weir_tensor *dst, const weir_tensor *x);
/* g[index] += more. more is this pass's own. */
bool weir__pass_accumulate(weir_pass *p, int64_t index, weir_tensor *more);

/* Where a fused rule puts the gradient of operand x, and of each. */
bool weir__pass_destination_copied(weir_pass *p, weir_tensor **slot, weir_grad_dst *dst);
static inline bool weir__pass_destination(weir_pass *p, const weir_tensor *x, weir_grad_dst *dst)
{
	weir_tensor **slot = &p->g[x->index - p->first];

	if (!*slot) {
		weir_tensor *mine = weir__pass_gradient(p, x);

		if (weir__is_bad(mine)) return false;
		*slot = mine;
		dst->mode = WEIR_DST_WRITE;
		dst->data = mine->store->data;
		return true;
	}
	if (!weir__exclusive(*slot)) return weir__pass_destination_copied(p, slot, dst);
	dst->mode = WEIR_DST_ADD;
	dst->data = weir__there(*slot);
	return true;
}

/* Where the rule of y may write over the gradient that it reads, which saves a third of the way through memory: lets it. For few elements
 * it is no gain: they would wait for what was just written. */
bool weir__pass_overwrites(weir_pass *p, const weir_tensor *y, weir_tensor *gy, weir_grad_dst *dst);

static inline bool weir__pass_destinations(weir_pass *p, const weir_tensor *y, weir_tensor *gy, weir_grad_dst *dst)
{
	if (y->numel > WEIR_FEW && weir__pass_overwrites(p, y, gy, dst)) return true;
	for (int i = 0; i < y->nin; i++) {
		dst[i] = (weir_grad_dst){ .mode = WEIR_DST_SKIP };
		if (weir__on_path(p, y->in[i]) && !weir__pass_destination(p, y->in[i], &dst[i])) return false;
	}
	return true;
}

/* ---- pass_rule.c ---- */

enum { WEIR_FEW_OPERANDS = 8 }; /* of an operation with a fused rule; the others are taken from the pool */

/* The first value that y's rule reads and that is not what it was when y was made, or NULL. */
static inline const weir_tensor *weir__lost_value(const weir_tensor *y)
{
	uint32_t keeps = y->op->keeps;

	if ((keeps & WEIR_KEEP_OUT) && (!y->store || y->store->version != y->version)) return y;
	for (int i = 0; i < y->nin && keeps > WEIR_KEEP_OUT; i++) {
		const weir_tensor *x = y->in[i];

		if (weir__keeps_in(y->op, i) && (!x->store || x->store->version != y->in_version[i])) return x;
	}
	return NULL;
}

static inline bool weir__pass_rule_fused(weir_pass *p, weir_tensor *y, weir_tensor *gy)
{
	weir_grad_dst dst[WEIR_FEW_OPERANDS]; /* not cleared as a whole, which takes longer than a small rule */

	if (!weir__pass_destinations(p, y, gy, dst)) return false;
	y->op->vjp_fused(y, gy, dst);
	return !p->w->status;
}

/* Has y a fused rule, and is it the better one? */
static inline bool weir__pass_fuses(const weir_tensor *y)
{
	return y->op->vjp_fused && y->nin <= WEIR_FEW_OPERANDS &&
	       (!(y->op->flags & WEIR_OP_SHARES) || y->numel <= WEIR_FEW);
}

/* Hands the gradient gy of y on to its operands. False after reporting. */
bool weir__pass_rule_any(weir_pass *p, weir_tensor *y, weir_tensor *gy);
static inline bool weir__pass_rule(weir_pass *p, weir_tensor *y, weir_tensor *gy)
{
	if (p->plain && weir__pass_fuses(y) && !weir__lost_value(y)) return weir__pass_rule_fused(p, y, gy);
	return weir__pass_rule_any(p, y, gy);
}

/* ---- pass_norm.c ---- */

/* Will the rule of x take the norm of x's gradient? Then it runs before the hooks, which may be observers only. */
bool weir__pass_measures(const weir_pass *p, const weir_tensor *x);
/* A parameter whose norm its optimiser wants, hooks or not. */
bool weir__pass_optimised(const weir_pass *p, const weir_tensor *x);
/* A fused rule that is asked for the norms of what it writes: s has room for one for each operand, and one for gy. */
bool weir__pass_ask_norms(weir_pass *p, const weir_tensor *y, const weir_tensor *gy, weir_grad_dst *dst,
			  weir_squares *s);
void weir__pass_note_norms(weir_pass *p, const weir_tensor *y, const weir_grad_dst *dst);

/* ---- accumulator.c ---- */

/* Puts a parameter's gradient aside. */
bool weir__stage(weir_pass *p, weir_kept *k, weir_tensor *grad, double norm);
/* Before anything is committed: a header for every accumulator, and memory of its own for every staged gradient. */
bool weir__stage_room(weir_pass *p);
/* Hands what was put aside to the accumulators. Cannot fail once there was room. */
void weir__commit(weir_pass *p);

#endif
