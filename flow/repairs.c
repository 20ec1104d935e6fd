/* repairs.c: where a repair would change a network: a plan that says for every node of the base what is to happen to it. */
#include "flow/whatif.h"

#include <string.h>

bool weir__repair_begin(weir__base *b)
{
	const weir_flow *f = b->f;
	size_t spots = (size_t)(b->root + 1) * sizeof *b->spot, layers = (size_t)f->count + 1;

	if (!(b->spot = weir__pool_take(b->w, &spots)) || !(b->hidden = weir__pool_take(b->w, &layers))) return false;
	memset(b->hidden, 0, (size_t)f->count + 1);
	for (int64_t i = 0; i <= b->root && i < f->records; i++) {
		const weir_tensor *t = weir_tape_at(b->w, i);

		for (int k = 0; f->rec[i].layer >= 0 && k < weir_node(t).inputs; k++) {
			int64_t at = weir_node(weir_input(t, k)).index, from = at >= 0 ? f->rec[at].from : -1;

			if (from >= 0 && from != f->rec[i].layer) b->hidden[from] = true;
		}
	}
	return true;
}

/* ---- which parameters are drawn anew ---- */

static bool named(const char *op, const char *const *list)
{
	while (*list && strcmp(op, *list)) list++;
	return *list != NULL;
}

/* What operation t makes of its operand k, a parameter. */
static weir__role role_of(const weir_tensor *t, int k, int64_t *fan_in)
{
	static const char *const lookups[] = { "gather", "scatter_add", "concat", NULL };
	const weir_tensor *x = weir_input(t, k), *p = param_of(x);
	const char *op = weir_node(t).op;
	int rank = weir_rank(x);

	if (weir_is_frozen(p) || named(op, lookups)) return FIXED;
	if (!strcmp(op, "linear") && k == 2) return BIAS;
	if (weir_op_of(t)->flags & WEIR_OP_ELEMENTWISE) return !strcmp(op, "add") && weir_rank(p) < 2 ? BIAS : NO_ROLE;
	if (weir_node(t).inputs < 2 || weir_rank(p) < 2 || rank < 2 || param_of(weir_input(t, !k))) return NO_ROLE;
	if (!strcmp(op, "matmul")) *fan_in = weir_shape(x)[k ? rank - 2 : rank - 1];
	else *fan_in = weir_numel(x) / (weir_shape(x)[0] ? weir_shape(x)[0] : 1);
	return MATRIX;
}

static bool plan_draws(weir__base *b)
{
	const weir_flow *f = b->f;
	bool any = false;

	for (int64_t i = 0; i <= b->root && i < f->records; i++) {
		const weir_tensor *t = weir_tape_at(b->w, i);

		for (int k = 0; f->rec[i].layer >= 0 && k < weir_node(t).inputs; k++) {
			weir__spot *s = weir__param_spot(b, weir_input(t, k));
			int64_t fan_in = 0;
			weir__role role = s ? role_of(t, k, &fan_in) : NO_ROLE;

			if (role == NO_ROLE || s->role == FIXED) continue;
			s->role = role;
			s->fan_in = fan_in;
		}
	}
	for (int64_t i = 0; i <= b->root; i++) any = any || b->spot[i].role == MATRIX;
	return any;
}

/* ---- where the other parts of a recipe go ---- */

enum { MOST_OPS = 16 }; /* of an activation */

static bool counts(const weir_tensor *t)
{
	return t && !is_leaf(t) && !(weir_op_of(t)->flags & WEIR_OP_VIEW);
}

/* The operations that weir_act_apply() is made of. */
static int ops_of_act(weir_ctx *w, weir_act act, const char **ops)
{
	weir_place place = weir_mark(w);
	weir_tensor *x = weir_zeros(w, WEIR_F32, 2, (int64_t[]){ 2, 2 });
	int n = 0;

	weir_act_apply(x, act);
	for (int64_t i = place.index; i < weir_tape_length(w) && n < MOST_OPS; i++) {
		if (counts(weir_tape_at(w, i))) ops[n++] = weir_op_of(weir_tape_at(w, i))->name;
	}
	weir_rewind(w, place, NULL, 0);
	return n;
}

/* Marks the nodes of the activation from z to a; they read what stands in the place of z. */
static void mark_chain(weir__base *b, int64_t z, int64_t a)
{
	b->spot[a].chain = z;
	for (int64_t i = a; i > z; i--) {
		const weir_tensor *t = weir_tape_at(b->w, i);

		if (b->spot[i].chain != z) continue;
		if (weir_node(t).inputs > MOST_INPUTS) b->spot[i].chain = -1;
		for (int k = 0; k < weir_node(t).inputs; k++) {
			int64_t at = weir_node(weir_input(t, k)).index;

			if (at > z) b->spot[at].chain = z;
		}
	}
}

/* Is the marked activation made of just these operations? */
static bool same_ops(const weir__base *b, int64_t z, int64_t a, const char *const *ops, int n)
{
	int found = 0;

	for (int64_t i = z + 1; i <= a; i++) {
		if (b->spot[i].chain != z || !counts(weir_tape_at(b->w, i))) continue;
		if (found == n || strcmp(ops[found], weir_op_of(weir_tape_at(b->w, i))->name)) return false;
		found++;
	}
	return found == n;
}

static bool plan_bends(weir__base *b, weir_act act, weir_ctx *to)
{
	const char *ops[MOST_OPS];
	int n = ops_of_act(to, act, ops);
	bool any = false;

	for (int64_t l = 0; l < b->f->count; l++) {
		const layer *p = &b->f->layers[l];

		if (p->z < 0 || !b->hidden[l]) continue;
		mark_chain(b, p->z, p->a);
		if (same_ops(b, p->z, p->a, ops, n)) continue;
		b->spot[p->a].bends = p->z;
		any = true;
	}
	for (int64_t i = 0; i <= b->root; i++) b->spot[i].chain = -1;
	return any;
}

static bool plan_norms(weir__base *b)
{
	bool any = false;

	for (int64_t l = 0; l < b->f->count; l++) {
		const layer *p = &b->f->layers[l];
		const weir_tensor *z = weir_tape_at(b->w, p->z >= 0 ? p->z : p->last);

		if (!b->hidden[l] || !weir_rank(z) || weir_shape(z)[weir_rank(z) - 1] < 2) continue;
		if (p->z >= 0) {
			mark_chain(b, p->z, p->a);
			b->spot[p->z].wanted = true;
		} else {
			b->spot[p->last].normalised = true;
		}
		any = true;
	}
	return any;
}

/* Does the layer add its input to something already? */
static bool has_residual(const weir__base *b, int64_t l)
{
	const layer *p = &b->f->layers[l];

	for (int64_t i = p->first; i <= p->last; i++) {
		const weir_tensor *t = weir_tape_at(b->w, i);

		if (!t || b->f->rec[i].layer != l || strcmp(weir_node(t).op, "add")) continue;
		for (int k = 0; k < weir_node(t).inputs; k++) {
			if (weir_node(weir_input(t, k)).index == p->input) return true;
		}
	}
	return false;
}

static bool plan_residuals(weir__base *b)
{
	bool any = false;

	for (int64_t l = 0; l < b->f->count; l++) {
		const layer *p = &b->f->layers[l];

		if (!b->hidden[l] || p->input < 0 || has_residual(b, l)) continue;
		if (!weir__same_shape(weir_tape_at(b->w, p->input), weir_tape_at(b->w, p->last))) continue;
		b->spot[p->last].closes = l;
		any = true;
	}
	return any;
}

/* What the changed loss still depends on. */
static void mark_used(weir__base *b)
{
	b->spot[b->root].used = true;
	for (int64_t i = b->root; i >= 0; i--) {
		const weir_tensor *t = weir_tape_at(b->w, i);

		if (!b->spot[i].used) continue;
		if (b->spot[i].bends >= 0) {
			b->spot[b->spot[i].bends].used = true;
			continue;
		}
		for (int k = 0; k < weir_node(t).inputs; k++) {
			int64_t at = weir_node(weir_input(t, k)).index;

			if (at >= 0) b->spot[at].used = true;
		}
	}
}

bool weir__repair_plan(weir__base *b, const weir__recipe *r, weir_ctx *to)
{
	bool changed = true;

	for (int64_t i = 0; i <= b->root; i++) b->spot[i] = (weir__spot){ .chain = -1, .bends = -1, .closes = -1 };
	if (r->draws) changed = plan_draws(b) && changed;
	if (r->bends) changed = plan_bends(b, r->act, to) && changed;
	if (r->norm) changed = plan_norms(b) && changed;
	if (r->residual) changed = plan_residuals(b) && changed;
	mark_used(b);
	return changed;
}
