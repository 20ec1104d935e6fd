/* pass_rule.c: one node of a pass back: its gradient rule is run, and what it gives handed on to the operands. See pass.h.
 *
 * Two ways through a rule. Fused: one pass over memory straight into the operands' gradient buffers. As tensor operations: when
 * the pass itself is recorded (create_graph), or where an operation has no fused twin. */
#include <string.h>

#include "engine/pass.h"
#include "engine/profile.h"
#include "kernels/squares.h"

bool weir_is_intact(const weir_tensor *y)
{
	return y && !weir_is_bad(y) && !weir__lost_value(y);
}

static bool refuse_lost(const weir_tensor *y, const weir_tensor *v, const char *who)
{
	weir_text_buf text;

	if (v->store)
		weir_fail(
			y->ctx, WEIR_ERR_VERSION,
			"%s: %s was changed by %s after the forward pass, but the gradient of %s at %s needs the old value; run forward again, or backward before the change",
			who, weir__describe(v, &text), v->store->writer ? v->store->writer : "a write", y->op->name,
			y->here ? y->here : "an unknown line");
	else
		weir_fail(
			y->ctx, WEIR_ERR_STALE,
			"%s: the value of %s was released, but the gradient of %s needs it; a second backward on one tape needs weir_options.free_values off",
			who, weir__describe(v, &text), y->op->name);
	return false;
}

static bool run_fused_measured(weir_pass *p, weir_tensor *y, weir_tensor *gy)
{
	weir_grad_dst dst[WEIR_FEW_OPERANDS];
	weir_squares squares[WEIR_FEW_OPERANDS + 1];

	if (!weir__pass_destinations(p, y, gy, dst) || !weir__pass_ask_norms(p, y, gy, dst, squares)) return false;
	y->op->vjp_fused(y, gy, dst);
	weir__pass_note_norms(p, y, dst);
	return !p->w->status;
}

/* ---- in tensor operations ---- */

/* Hands the results of a rule on. gx[i] may be gy, an operand, or one tensor for several operands: each gets a header of its own. */
static bool hand_on(weir_pass *p, weir_tensor *y, weir_tensor **gx, int64_t start)
{
	weir_text_buf a, b;

	for (int i = 0; i < y->nin; i++) {
		bool fresh = gx[i] && gx[i]->index >= start;

		if (!gx[i] || !weir__on_path(p, y->in[i])) {
			gx[i] = NULL;
			continue;
		}
		if (!weir__alike(gx[i], y->in[i])) {
			weir_fail(p->w, WEIR_ERR_GRADIENT,
				  "%s: the rule of %s gave a gradient %s for operand %d, which is %s", p->r->who,
				  y->op->name, weir__describe(gx[i], &a), i, weir__describe(y->in[i], &b));
			return false;
		}
		for (int j = 0; j < i && fresh; j++) fresh = gx[j] != gx[i];
		if (!p->r->graph && !fresh) gx[i] = weir__pass_alias(p, gx[i]);
	}
	if (!p->r->graph && p->w->length > start) weir__sweep(p->w, start, gx, y->nin);
	for (int i = 0; i < y->nin; i++) {
		if (gx[i] && !weir__pass_accumulate(p, y->in[i]->index, gx[i])) return false;
	}
	return true;
}

/* Bit i: operand i gets a gradient; the last bit stands for all from there on. */
static unsigned needed(const weir_pass *p, const weir_tensor *y)
{
	unsigned need = 0;

	for (int i = 0; i < y->nin; i++) {
		if (weir__on_path(p, y->in[i])) need |= i < 32 ? 1u << i : 1u << 31;
	}
	return need;
}

static bool run_operations(weir_pass *p, weir_tensor *y, weir_tensor *gy)
{
	weir_ctx *w = p->w;
	weir_tensor *few[WEIR_FEW_OPERANDS] = { NULL }, **gx = few;
	size_t bytes = (size_t)y->nin * sizeof *gx;
	int64_t start = w->length;
	unsigned need;
	bool ok;

	if (y->nin > WEIR_FEW_OPERANDS) {
		if (!(gx = weir__pool_take(w, &bytes))) return false;
		memset(gx, 0, bytes);
	}
	need = needed(p, y);
	if (!p->r->graph) w->no_grad++;
	y->op->vjp(y, gy, need, gx);
	if (!p->r->graph) w->no_grad--;
	ok = weir_ok(w) && hand_on(p, y, gx, start);
	if (gx != few) weir__pool_give(w, gx, bytes);
	return ok;
}

/* Takes over the node's name, line and scope, so that what the rule makes can be traced back. */
static bool run_traced(weir_pass *p, weir_tensor *y, weir_tensor *gy)
{
	weir_ctx *w = p->w;
	const char *here = w->here, *outer = w->outer;
	int order = w->order;
	int32_t rule_of = w->rule_of;
	bool ok;

	if (!y->op->vjp) {
		if (y->op->vjp_fused)
			weir_fail(w, WEIR_ERR_GRADIENT,
				  "%s: %s has a fused rule only, so it can't be differentiated twice", p->r->who,
				  y->op->name);
		else
			weir_fail(w, WEIR_ERR_GRADIENT, "%s: %s (%s) has no gradient", p->r->who, y->op->name,
				  weir_node(y).name);
		return false;
	}
	w->here = y->here;
	w->outer = NULL;
	w->order = y->order + 1;
	w->rule_of = y->index;
	if (p->r->graph) weir__scope_set(w, y->scope, y->call);
	ok = run_operations(p, y, gy);
	if (p->r->graph && w->scopes.depth) w->scopes.depth--;
	w->here = here;
	w->outer = outer;
	w->order = order;
	w->rule_of = rule_of;
	return ok;
}

/* ---- either ---- */

static bool run(weir_pass *p, weir_tensor *y, weir_tensor *gy)
{
	const weir_tensor *lost = weir__lost_value(y);

	if (lost) return refuse_lost(y, lost, p->r->who);
	if (p->r->graph || !weir__pass_fuses(y)) return run_traced(p, y, gy);
	return p->measured ? run_fused_measured(p, y, gy) : weir__pass_rule_fused(p, y, gy);
}

bool weir__pass_rule_any(weir_pass *p, weir_tensor *y, weir_tensor *gy)
{
	bool ok;

	weir__span_begin(p->w);
	ok = run(p, y, gy);
	weir__span_end_of(p->w, WEIR_SPAN_GRADIENT, y->op, y, p->w->profile ? needed(p, y) : 0);
	return ok;
}
