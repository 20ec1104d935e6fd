/* side.c: chains of layers beside the deepest way: the shallower of two towers, a second network with a loss of its own, a head on a shared
 * trunk.
 *
 * A chain is a run of layers of which each reads the output of the one before, and nothing else of any layer, and is the only one that
 * reads it. All of the gradient passes each of its outputs, so they can be compared as on the way itself. Short ones are not judged: in
 * gates, queries and branches of residual blocks one or two layers with little gradient are common in networks that train well. */
#include "flow/verdict.h"

enum { SHORTEST = 4, NONE = -1, SEVERAL = -2 };

/* By layer: the one that alone reads its output, the one that it alone reads. */
typedef struct links {
	int64_t next, before;
	bool judged; /* it lies on the way, or in a chain that was looked at */
} links;

static void note(int64_t *at, int64_t value)
{
	*at = *at == NONE || *at == value ? value : SEVERAL;
}

/* Who reads whom. What is read inside of a layer, or by an operation outside of all layers, is no chain's end to go on from. */
static void link_layers(const weir_flow *f, links *l)
{
	for (int64_t i = 0; i < f->records; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);
		int64_t to = f->rec[i].layer;

		if (!t || !f->rec[i].has_delta || !weir_node(t).recorded || weir_node(t).order) continue;
		for (int k = 0; k < weir_node(t).inputs; k++) {
			int64_t at = weir_node(weir_input(t, k)).index, from = at >= 0 ? f->rec[at].layer : -1;

			if (from < 0 || from == to) continue;
			note(&l[from].next, to >= 0 && f->layers[from].last == at ? to : SEVERAL);
			if (to >= 0) note(&l[to].before, from);
		}
	}
}

static bool follows(const links *l, int64_t from, int64_t to)
{
	return to >= 0 && l[from].next == to && l[to].before == from;
}

/* The chain from layer first on, as a way. */
static bool walk(weir_flow *f, links *l, int64_t first, way *y)
{
	for (int64_t i = first;; i = l[i].next) {
		const record *r = &f->rec[f->layers[i].last];
		bool narrow = weir_dtype_of(weir_tape_at(f->w, f->layers[i].last)) == WEIR_F32;
		void *list = y->at;
		waist at = { .node = f->layers[i].last, .first = i, .last = i };

		l[i].judged = true;
		if (!is_finite(r->delta_norm)) return true;
		at.zero = r->delta_norm == 0;
		at.bits = at.zero ? (narrow ? -165 : -1090) : weir__flow_log2(r->delta_norm);
		at.gain = y->n ? y->at[y->n - 1].bits - at.bits : 0;
		if (!weir__flow_grow(f->w, &list, y->n, &y->capacity, sizeof *y->at)) return false;
		y->at = list;
		y->at[y->n++] = at;
		if (!follows(l, i, l[i].next) || l[l[i].next].judged) return true;
	}
}

weir_verdict weir__flow_judge_sides(weir_flow *f, const way *main, way *y, int64_t *lo, int64_t *hi)
{
	size_t bytes = (size_t)(f->count + 1) * sizeof(links);
	links *l = weir__pool_take(f->w, &bytes);
	weir_verdict v = WEIR_FLOW_HEALTHY;

	if (!l) return v;
	for (int64_t i = 0; i < f->count; i++) l[i] = (links){ NONE, NONE, false };
	link_layers(f, l);
	for (int64_t i = 0; i < main->n;
	     i++) { /* what lies between two of its nodes, as a tower does, is not judged yet */
		int64_t on = f->rec[main->at[i].node].layer;

		if (on >= 0) l[on].judged = true;
	}
	for (int64_t i = 0; i < f->count && v == WEIR_FLOW_HEALTHY; i++) {
		if (l[i].judged || (l[i].before >= 0 && follows(l, l[i].before, i) && !l[l[i].before].judged)) continue;
		y->n = y->from = 0;
		if (!walk(f, l, i, y)) break;
		if (y->n >= SHORTEST) v = weir__flow_judge_way(f, y, lo, hi);
	}
	weir__pool_give(f->w, l, bytes);
	return v;
}
