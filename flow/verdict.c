/* verdict.c: the verdict, by the rules of rules.def in this order:
 *
 *   non-finite   an inf or NaN has reached the loss or a parameter's gradient: nothing else can be measured
 *   dead         a layer that passes nothing on: behind it there is no gradient to judge
 *   exploding    the gradient grows too far, in all or between any two nodes that all of it passes (way.c)
 *   saturated    a layer whose activation answers nothing; before vanishing, which it explains
 *   vanishing    as exploding
 *
 * Every rule is a ratio, so a loss in other units gives the same verdict; what is not known fires no rule. The slope over depth tells what
 * the norm of a parameter's gradient cannot: in a linear net <W_l, dL/dW_l> is the same number for every l. */
#include "flow/verdict.h"

#include <string.h>

#include "engine/text.h"

static void say(weir_flow *f, const char *text)
{
	weir__text t;

	weir__text_fixed(&t, f->sum.evidence, sizeof f->sum.evidence);
	weir__text_str(&t, text);
}

/* ---- dead ---- */

static bool all_zero(const weir_flow *f, int64_t node)
{
	const weir_tensor *t = node >= 0 ? weir_tape_at(f->w, node) : NULL;

	return t && f->rec[node].has_out && f->rec[node].out.zeros == weir_numel(t);
}

/* Its activation passes nothing on for any sample of the batch. One that got nothing but zeros, and makes nothing of them, is not the one. */
static bool is_dead(const weir_flow *f, int64_t l)
{
	int64_t at = f->layers[l].a;
	const weir_tensor *a = at >= 0 ? weir_tape_at(f->w, at) : NULL;

	if (!a || !(f->layers[l].public.act_slope == 0) || !f->rec[at].has_out) return false;
	if (f->passes.several && f->rec[f->layers[l].z].delta_norm > 0)
		return false; /* other passes come through: the values are those of the last one */
	if (!((double)f->rec[at].out.zeros >= f->options.dead_share * (double)weir_numel(a))) return false;
	if (!all_zero(f, f->layers[l].input)) return true;
	return f->rec[f->layers[l].z].has_out && !all_zero(f, f->layers[l].z);
}

static bool is_dead_for_an_epoch(const weir_flow *f, int64_t l)
{
	const weir_flow_layer *p = &f->layers[l].public;

	return p->units > 0 && p->dead_units >= 0 && (double)p->dead_units >= f->options.dead_units * (double)p->units;
}

/* ---- saturated ---- */

/* Bits beside those of way.c. */
enum { GATE = 16, OUTPUT = 32 };

/* Marks gates, whose value multiplies another one and may be shut, and the end of the output layer. */
static void mark_gates(weir_flow *f)
{
	int64_t first, last = weir__flow_deepest(f, &first);

	for (int64_t i = 0; i < f->records; i++) f->rec[i].way &= (uint8_t) ~(GATE | OUTPUT);
	if (last >= 0) f->rec[f->layers[last].last].way |= OUTPUT;
	for (int64_t i = 0; i < f->records; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i), *a, *b;
		int64_t at[2];

		if (!t || strcmp(weir_node(t).op, "mul")) continue;
		a = weir_input(t, 0);
		b = weir_input(t, 1);
		if (a == b) continue;
		at[0] = weir_node(a).index;
		at[1] = weir_node(b).index;
		if (at[0] >= 0 && !is_leaf(b) && !param_of(b)) f->rec[at[0]].way |= GATE;
		if (at[1] >= 0 && !is_leaf(a) && !param_of(a)) f->rec[at[1]].way |= GATE;
	}
}

bool weir__flow_is_saturated(const weir_flow *f, int64_t l)
{
	const weir_flow_layer *p = &f->layers[l].public;

	if (weir__flow_is_shut(f, l)) return true;
	if (!(p->act_slope < f->options.saturated_slope * p->act_slope_limit ||
	      p->saturated >= f->options.saturated_share))
		return false;
	if (f->rec[f->layers[l].last].way & OUTPUT) return false;
	return f->layers[l].a < 0 || !(f->rec[f->layers[l].a].way & GATE);
}

/* ---- ranges ---- */

/* From the first to the last layer that it holds for, into the summary; false where there is none. */
static bool find(weir_flow *f, bool (*holds)(const weir_flow *f, int64_t layer))
{
	int64_t first = -1, last = -1;

	for (int64_t i = 0; i < f->count; i++) {
		if (!holds(f, i)) continue;
		if (first < 0) first = i;
		last = i;
	}
	if (first < 0) return false;
	f->sum.first_layer = first;
	f->sum.last_layer = last;
	return true;
}

/* The layer of the operation that reads node i first, or that stands last before it. */
static int64_t layer_at(const weir_flow *f, int64_t node)
{
	const weir_tensor *t = weir_tape_at(f->w, node);

	if (!t) return -1;
	for (int64_t i = node; i < f->records; i++) {
		const weir_tensor *c = weir_tape_at(f->w, i);

		for (int k = 0; c && k < weir_node(c).inputs; k++) {
			const weir_tensor *x = weir_input(c, k);

			while (x != t && !is_leaf(x) && param_of(x)) x = weir_input(x, 0);
			if (x == t && f->rec[i].layer >= 0) return f->rec[i].layer;
		}
	}
	return f->rec[node].from >= 0 ? f->rec[node].from : f->count - 1;
}

static void range_of_birth(weir_flow *f)
{
	weir_flow_summary *s = &f->sum;
	const weir_flow_birth *b = weir__flow_first_bad(f);
	int64_t l;

	if (!b->found) return;
	l = b->number - 1;
	if (l < 0 && b->step == s->step && b->index < f->records) l = layer_at(f, b->index);
	if (l >= 0 && l < f->count) s->first_layer = s->last_layer = l;
}

/* ---- the verdict ---- */

static bool any_nonfinite(const weir_flow *f)
{
	if (f->loss_bad || (f->sum.nonfinite && !f->sum.parameters)) return true;
	for (int64_t i = 0; i < f->records; i++) { /* masked values don't count, bad gradients of parameters do */
		const weir_tensor *t = weir_tape_at(f->w, i);
		const record *r = &f->rec[i];

		if (r->has_delta && weir__flow_nonfinite(&r->delta) && t && is_leaf(t) && param_of(t)) return true;
	}
	return false;
}

/* What the deepest way does not show: the same rules for chains of layers beside it. */
static weir_verdict of_sides(weir_flow *f, const way *main)
{
	int64_t lo = 0, hi = 0;
	way y = { .n = 0 };
	weir_verdict v = weir__flow_judge_sides(f, main, &y, &lo, &hi);

	if (v != WEIR_FLOW_HEALTHY) {
		f->sum.first_layer = y.at[lo].first;
		f->sum.last_layer = y.at[hi].last;
		f->sum.cause = weir__flow_slope_cause(f, v, &y, lo, hi);
	}
	weir__flow_way_free(f, &y);
	return v;
}

/* Are the saturated layers the ones between these waists that let it explode? Logits so large that they shut a softmax multiply what its few
 * open rows pass back. */
static bool explains(const weir_flow *f, const waist *lo, const waist *hi)
{
	const weir_flow_summary *s = &f->sum;

	return s->first_layer <= lo->first && s->last_layer >= hi->last &&
	       (!(s->total_gain > f->options.exploding) || weir__flow_is_shut(f, s->first_layer));
}

static weir_verdict of_way(weir_flow *f, const way *y)
{
	weir_flow_summary *s = &f->sum;
	int64_t lo = 0, hi = 0;
	weir_verdict v = weir__flow_judge_way(f, y, &lo, &hi);

	if (find(f, weir__flow_is_saturated) && (v != WEIR_FLOW_EXPLODING || explains(f, &y->at[lo], &y->at[hi]))) {
		s->cause = weir__flow_saturation_cause(f);
		return WEIR_FLOW_SATURATED;
	}
	if (v == WEIR_FLOW_HEALTHY) return of_sides(f, y);
	if (lo == hi && y->at[lo].first < y->at[hi].last && of_sides(f, y) == v)
		return v; /* several layers side by side make it: one chain of them is to blame */
	if (y->at[lo].first >= 0) s->first_layer = y->at[lo].first;
	if (y->at[hi].last >= 0) s->last_layer = y->at[hi].last;
	s->cause = weir__flow_slope_cause(f, v, y, lo, hi);
	return v;
}

static weir_verdict judge(weir_flow *f, const way *y, bool gradient)
{
	weir_flow_summary *s = &f->sum;

	if (any_nonfinite(f)) {
		range_of_birth(f);
		s->cause = weir__flow_nonfinite_cause(f);
		return WEIR_FLOW_NONFINITE;
	}
	if (!f->count) {
		say(f, "no operation was seen; watch before the forward pass");
		return WEIR_FLOW_NONE;
	}
	if (find(f, is_dead)) {
		s->cause = weir__flow_dead_cause(f, false);
		return WEIR_FLOW_DEAD;
	}
	if (find(f, is_dead_for_an_epoch)) {
		s->cause = weir__flow_dead_cause(f, true);
		return WEIR_FLOW_DEAD;
	}
	if (!gradient) {
		if (!(s->total_gain == s->total_gain))
			say(f, "no gradient arrives at the last layer: no backward was seen, or it is zero");
		return WEIR_FLOW_NONE;
	}
	return of_way(f, y);
}

void weir__flow_judge(weir_flow *f)
{
	weir_flow_summary *s = &f->sum;
	way y;
	bool gradient;

	s->first_layer = 0;
	s->last_layer = f->count - 1;
	s->cause = NULL;
	s->evidence[0] = 0;
	if (weir__flow_way(f, &y)) {
		mark_gates(f);
		weir__flow_slope(f, &y);
		gradient = weir__flow_total(f);
		weir__flow_budgets(f);
		s->verdict = judge(f, &y, gradient);
	}
	weir__flow_way_free(f, &y);
}

const char *weir_verdict_name(weir_verdict v)
{
	static const char *const names[] = { "none", "healthy",   "vanishing", "exploding",
					     "dead", "saturated", "non-finite" };

	return (unsigned)v < sizeof names / sizeof *names ? names[v] : "?";
}
