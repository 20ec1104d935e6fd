/* backward.c: reverse accumulation over the tape.
 *
 * The tape is the order: one loop from the last seed's index down, no recursion and no counters. Before it, one pass upward marks
 * the nodes that lead from what is asked for (parameters, or xs) to the seeds; only these get a gradient. A node's gradient is final
 * when the loop reaches it: its hooks run there, then its rule hands gradients to its operands, then its memory serves the next.
 * pass.h lists the files that this one rests on. */
#include "engine/backward.h"

#include <string.h>

#include "engine/hook.h"
#include "engine/pass.h"
#include "engine/profile.h"
#include "kernels/squares.h"

/* ---- which nodes take part ---- */

/* A pass beside the user's own leaves his values and the gradients that he retained alone. */
static bool beside(const weir_request *r)
{
	return r->no_hooks || r->tangent;
}

/* A parameter whose accumulator the pass fills. */
static bool wanted_leaf(const weir_pass *p, const weir_tensor *t)
{
	return !p->r->nx && t->kept && t->kept->param && !t->kept->frozen && t->op == &weir__op_param;
}

static bool retained(const weir_pass *p, const weir_tensor *t)
{
	return (t->flags & WEIR_T_RETAIN) && !beside(p->r);
}

static void mark_targets(weir_pass *p)
{
	for (int i = 0; i < p->r->nx; i++) {
		const weir_tensor *x = weir__node_of(p->r->xs[i]);

		if (x && x->index >= p->first && x->index < p->n && (x->flags & WEIR_T_RECORDED))
			p->need[x->index - p->first] = WEIR_NEED_TARGET;
	}
}

/* Of a node that is a parameter's leaf, or retained. */
static uint8_t target(weir_pass *p, const weir_tensor *t)
{
	bool leaf = wanted_leaf(p, t);

	if (leaf && t->numel >= WEIR_CHUNK && weir__pass_optimised(p, t)) p->measured = true;
	return leaf || retained(p, t) ? WEIR_NEED_TARGET : 0;
}

static void mark_needed(weir_pass *p)
{
	weir_tensor *const *tape = p->w->tape + p->first;
	int64_t nodes = p->n - p->first;

	memset(p->need, 0, (size_t)nodes);
	mark_targets(p);
	p->measured = p->hooked;
	for (int64_t i = 0; i < nodes; i++) {
		const weir_tensor *t = tape[i];
		bool leads = false;

		if (!t || !(t->flags & WEIR_T_RECORDED) || !weir__is_float(t->dtype)) continue;
		if (t->kept || (t->flags & WEIR_T_RETAIN)) p->need[i] |= target(p, t);
		for (int j = 0; j < t->nin && !leads; j++) leads = weir__on_path(p, t->in[j]);
		if (leads && !(t->op->flags & WEIR_OP_STOP)) p->need[i] |= WEIR_NEED_PATH;
	}
	p->plain = !p->r->graph && !p->measured && !p->w->profile;
}

/* The lowest node that is asked for: nothing below it leads anywhere. So a vjp through one layer costs that layer, not the
 * tape. */
static int64_t lowest(const weir_ctx *w, const weir_request *r)
{
	int64_t first = r->nx ? w->length : 0;

	for (int i = 0; i < r->nx; i++) {
		const weir_tensor *x = weir__node_of(r->xs[i]);

		if (x && x->index >= 0 && x->index < first) first = x->index;
	}
	for (int64_t i = 0; i < w->retained && !beside(r); i++) {
		if (w->retained_list[i].t->index < first) first = w->retained_list[i].t->index;
	}
	return first;
}

/* ---- what becomes of a final gradient ---- */

/* Runs the hooks on the gradient of t. Returns the gradient to go on with, the bad tensor after an error. */
static weir_tensor *run_hooks(weir_pass *p, weir_tensor *t, weir_tensor *g)
{
	uint32_t version = g->store->version;
	weir_tensor *after = weir__hooks_backward(t, g, p->order, p->r->graph, weir__pass_norm(p, t->index));

	if (after == g && g->store->version == version) return g;
	weir__pass_set_norm(p, t->index, __builtin_nan(""));
	if (after != g && !weir_is_bad(after) && !p->r->graph) {
		after = after->contiguous ? weir__pass_alias(p, after) : weir_contiguous(after);
		weir__pass_drop(p, g);
	}
	return after;
}

/* To those who asked for it, who keep it. */
static bool deliver(weir_pass *p, weir_tensor *t, weir_tensor *g)
{
	const weir_request *r = p->r;

	for (int i = 0; i < r->nx; i++) {
		if (weir__node_of(r->xs[i]) == t) r->gxs[i] = g;
	}
	if (retained(p, t)) {
		for (int64_t i = 0; i < p->w->retained; i++) {
			if (p->w->retained_list[i].t == t) p->w->retained_list[i].grad = g;
		}
	}
	return !wanted_leaf(p, t) || weir__stage(p, t->kept, g, weir__pass_norm(p, t->index));
}

static void free_value(weir_pass *p, weir_tensor *t)
{
	if (t->nin && t->index != p->n - 1 && !(t->flags & WEIR_T_RETAIN) && !t->kept) weir__release_value(t);
}

/* ---- the loop ---- */

/* t is a node, and g its gradient, final. */
static inline bool visit(weir_pass *p, weir_tensor *t, weir_tensor *g)
{
	uint8_t need = p->need[t->index - p->first];
	bool late = p->hooked && weir__pass_measures(p, t);

	if (!g->contiguous && weir__is_bad(g = weir__pass_contiguous(p, g))) return false;
	if (p->watched && !late && weir__is_bad(g = run_hooks(p, t, g))) return false;
	if ((need & WEIR_NEED_TARGET) && !deliver(p, t, g)) return false;
	if ((need & WEIR_NEED_PATH) && !weir__pass_rule(p, t, g)) return false;
	if (late && weir__is_bad(run_hooks(p, t, g))) return false;
	if (p->taken) p->taken = false;
	else if (!(need & WEIR_NEED_TARGET)) weir__pass_drop(p, g);
	if (p->frees) free_value(p, t);
	return true;
}

static bool loop(weir_pass *p)
{
	for (int64_t i = p->n; i-- > p->first;) {
		weir_tensor *g = p->g[i - p->first];

		if (g && !visit(p, p->w->tape[i], g)) return false;
	}
	return true;
}

static bool seed(weir_pass *p)
{
	for (int i = 0; i < p->r->ny; i++) {
		weir_tensor *y = weir__node_of(p->r->ys[i]), *gy = p->r->gys[i];

		if (!y || !weir__on_path(p, y)) continue;
		if (!p->r->graph) gy = weir__pass_alias(p, gy);
		if (weir_is_bad(gy) || !weir__pass_accumulate(p, y->index, gy)) return false;
	}
	return true;
}

/* ---- a pass ---- */

/* Memory for one entry per node, and what the pass as a whole says of each. */
static bool prepare(weir_pass *p)
{
	const weir_ctx *w = p->w;
	const weir_request *r = p->r;
	size_t nodes = (size_t)(p->n - p->first);

	p->g_bytes = nodes * sizeof *p->g;
	p->need_bytes = nodes;
	p->watched = !r->no_hooks && w->hooks;
	p->hooked = p->watched && weir__hooks_want_norms(w, p->order);
	p->again = !r->graph && !p->watched && !w->options.check_stale;
	p->frees = w->options.free_values && !r->graph && !beside(r);
	if (!(p->g = weir__pool_take(p->w, &p->g_bytes)) || !(p->need = weir__pool_take(p->w, &p->need_bytes)))
		return false;
	memset(p->g, 0, nodes * sizeof *p->g);
	return true;
}

static void give_back(weir_pass *p)
{
	weir_ctx *w = p->w;

	if (p->staged) weir__pool_give(w, p->staged, (size_t)p->staged_capacity * sizeof *p->staged);
	if (p->chunk) weir__pool_give(w, p->chunk, p->chunk_bytes);
	if (p->need) weir__pool_give(w, p->need, p->need_bytes);
	if (p->norm) weir__pool_give(w, p->norm, p->norm_bytes);
	if (p->g) weir__pool_give(w, p->g, p->g_bytes);
}

bool weir__backward(weir_ctx *w, const weir_request *r)
{
	weir_pass p = { .w = w, .r = r, .first = lowest(w, r) };
	bool ok = false;

	for (int i = 0; i < r->nx; i++) r->gxs[i] = NULL;
	for (int i = 0; i < r->ny; i++) {
		const weir_tensor *y = weir__node_of(r->ys[i]);

		if (y && y->index >= p.n) p.n = y->index + 1;
		if (y && y->order + 1 > p.order) p.order = y->order + 1;
	}
	if (p.n <= p.first) return weir_ok(w);
	weir__span_begin(w);
	if (prepare(&p)) {
		weir__enter(w);
		if (!r->graph) w->no_grad++;
		if (r->no_hooks) w->muted++; /* also for what the rules compute */
		mark_needed(&p);
		ok = seed(&p) && loop(&p) && weir__stage_room(&p);
		if (ok) weir__commit(&p);
		if (r->no_hooks) w->muted--;
		if (!r->graph) w->no_grad--;
		weir__leave(w);
	}
	give_back(&p);
	weir__span_end(w, WEIR_SPAN_BACKWARD, r->who);
	return ok;
}
