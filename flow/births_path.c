/* births_path.c: where a birth spread to, and its shortest way to the loss or to a parameter.
 *
 * Two floors: values, which spread from operands to results, and gradients, which spread from results to operands. Stairs lead
 * down only where the gradient rule of an operation with a bad value made a bad gradient. */
#include "flow/births.h"

#include <string.h>

/* How it came to a value or a gradient: from where, in how many steps. Places: node i's value is i, its gradient i + n. */
typedef struct visit {
	int64_t from, steps, by; /* by: the operation whose rule is the stairs, or -1 */
} visit;

typedef struct walk {
	weir_flow *f;
	int64_t n;
	visit *v;
	int64_t start;
} walk;

static void come(walk *w, int64_t from, int64_t to, int64_t by)
{
	if (w->v[from].steps < 0 || (w->v[to].steps >= 0 && w->v[to].steps <= w->v[from].steps + 1)) return;
	w->v[to] = (visit){ from, w->v[from].steps + 1, by };
}

static void spread_values(walk *w)
{
	for (int64_t i = 0; i < w->n; i++) {
		const weir_tensor *t = weir_tape_at(w->f->w, i);

		for (int k = 0; t && (w->f->rec[i].bad & HAS_OUT) && k < weir_node(t).inputs; k++) {
			int64_t at = weir_node(weir_input(t, k)).index;

			if (at >= 0) come(w, at, i, -1);
		}
	}
}

static void take_stairs(walk *w, int64_t rule, int64_t born)
{
	const weir_tensor *t = weir_tape_at(w->f->w, rule);

	if (!t || born < 0) return;
	come(w, rule, w->n + born, rule);
	for (int k = 0; k < weir_node(t).inputs; k++) {
		int64_t at = weir_node(weir_input(t, k)).index;

		if (at >= 0) come(w, at, w->n + born, rule);
	}
}

static void spread_gradients(walk *w)
{
	for (int64_t i = w->n; i-- > 0;) {
		const weir_tensor *t = weir_tape_at(w->f->w, i);

		for (int k = 0; t && w->v[w->n + i].steps >= 0 && k < weir_node(t).inputs; k++) {
			int64_t at = weir_node(weir_input(t, k)).index;

			if (at >= 0 && (w->f->rec[at].bad & HAS_DELTA)) come(w, w->n + i, w->n + at, -1);
		}
	}
}

/* The loss, else the first parameter on the way back; -1: it gets nowhere. */
static int64_t target(const walk *w, int64_t root)
{
	if (w->v[root].steps >= 0) return root;
	for (int64_t i = w->n; i-- > 0;) {
		const weir_tensor *t = weir_tape_at(w->f->w, i);

		if (w->v[w->n + i].steps >= 0 && is_leaf(t) && (!w->f->sum.parameters || param_of(t))) return w->n + i;
	}
	return -1;
}

static int64_t others(const walk *w, int64_t maker)
{
	int64_t count = 0;

	for (int64_t i = 0; i < w->n; i++) {
		const weir_tensor *t = weir_tape_at(w->f->w, i);

		if (i != maker && t && !is_leaf(t) && (w->v[i].steps >= 0 || w->v[w->n + i].steps >= 0)) count++;
	}
	return count;
}

/* "mlp.3 relu"; of a leaf its name. */
static void label(const weir_flow *f, int64_t i, char *to, size_t size)
{
	const weir_tensor *t = weir_tape_at(f->w, i), *param = param_of(t);
	weir_node_info info = weir_node(t);
	int64_t l = f->rec[i].layer;
	const char *name = l >= 0 ? f->layers[l].public.name : info.name;
	size_t n = strlen(info.op);
	bool both = !is_leaf(t) && strcmp(name, info.op) && (strncmp(name, info.op, n) || name[n] != '@');
	char clean[160];
	weir__text text;

	if (is_leaf(t) && param) name = weir_name(param);
	if (!name[0]) name = info.op;
	weir__flow_clean(clean, sizeof clean, name, strlen(name));
	weir__text_fixed(&text, to, size);
	weir__text_str(&text, clean);
	if (!both) return;
	weir__text_str(&text, " ");
	weir__text_str(&text, info.op);
}

enum { LOSS = -1 };

/* The nodes of the way, last first, into list. Returns how many. */
static int64_t collect(const walk *w, int64_t root, int64_t maker, int64_t *list)
{
	int64_t p = target(w, root), n = 0;

	if (p < 0) return 0;
	if (p == root) list[n++] = LOSS;
	for (;; p = w->v[p].from) {
		list[n++] = p % w->n;
		if (w->v[p].by >= 0 && w->v[p].from != w->v[p].by) list[n++] = w->v[p].by;
		if (w->v[p].steps == 0) break;
	}
	if (w->start % w->n != maker) list[n++] = maker;
	return n;
}

static void write_path(const walk *w, const int64_t *list, int64_t length, birth_lasting *to, weir_flow_birth *b)
{
	int64_t gap = length > PATH_MOST ? length - 2 * PATH_END : 0;

	b->path_length = gap ? PATH_MOST : length;
	b->path = to->path;
	for (int64_t i = 0; i < b->path_length; i++) {
		char *entry = to->entry[i];
		int64_t node = list[length - 1 - (gap && i > PATH_END ? i + gap - 1 : i)];

		to->path[i] = entry;
		if (gap && i == PATH_END) snprintf(entry, sizeof *to->entry, "... %lld more", (long long)gap);
		else if (node == LOSS) snprintf(entry, sizeof *to->entry, "loss");
		else label(w->f, node, entry, sizeof *to->entry);
	}
}

void weir__births_spread(weir_flow *f, int64_t root, birth_place at, const int64_t *rule, const int64_t *born, int n,
			 birth_lasting *to, weir_flow_birth *b)
{
	walk w = { .f = f, .n = root + 1 };
	size_t bytes = 2 * (size_t)w.n * sizeof *w.v, room = (2 * (size_t)w.n + 4) * sizeof(int64_t);
	int64_t *list;

	if (at.node > root || !(w.v = weir__pool_take(f->w, &bytes))) return;
	for (int64_t i = 0; i < 2 * w.n; i++) w.v[i] = (visit){ -1, -1, -1 };
	w.start = at.backward ? w.n + at.node : at.node;
	w.v[w.start].steps = 0;
	if (!at.backward) spread_values(&w);
	for (int k = 0; k < n && !at.backward; k++) {
		if (rule[k] >= 0) take_stairs(&w, rule[k], born[k]);
	}
	spread_gradients(&w);
	b->propagators = others(&w, at.maker);
	if ((list = weir__pool_take(f->w, &room))) {
		write_path(&w, list, collect(&w, root, at.maker, list), to, b);
		weir__pool_give(f->w, list, room);
	}
	weir__pool_give(f->w, w.v, bytes);
}
