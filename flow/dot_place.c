/* dot_place.c: in which cluster a node is drawn.
 *
 * In that of its module; but a module of a single operation gets none, and what is called outside of any module right behind one
 * (weir_relu() in a loop over linear layers) is drawn with it. A constant stands where it is read. */
#include "flow/dot.h"

#include <string.h>

static size_t parent_length(const char *path, size_t length)
{
	while (length > 0 && path[length - 1] != '.') length--;
	return length ? length - 1 : 0;
}

static bool same(const weir__dot_place *a, const weir__dot_place *b)
{
	return a->length == b->length && !memcmp(a->path, b->path, a->length);
}

/* Is path p above path q? */
static bool above(const weir__dot_place *p, const weir__dot_place *q)
{
	return p->length < q->length && !memcmp(p->path, q->path, p->length) && q->path[p->length] == '.';
}

/* Runs of nodes of one module; those with a single operation move to the parent, but beside the module's children. */
static void by_module(const weir_ctx *w, weir__dot_place *at, int64_t n)
{
	weir__dot_place before = { .path = "" }, none = before;
	int64_t begin = 0, ops = 0;

	for (int64_t i = 0; i <= n; i++) {
		const weir_tensor *t = i < n ? weir_tape_at(w, i) : NULL;
		const char *scope = weir_node(t).scope;

		if (i < n) at[i] = (weir__dot_place){ .path = scope, .length = strlen(scope) };
		if (i < n && !weir__dot_shown(t)) continue;
		if (i == n || !same(&at[begin], &at[i])) {
			weir__dot_place run = begin < n ? at[begin] : none;
			bool moves = ops < 2 && !above(&run, &before) && !(i < n && above(&run, &at[i]));

			for (int64_t k = begin; moves && k < i; k++)
				at[k].length = parent_length(at[k].path, at[k].length);
			before = run;
			begin = i;
			ops = 0;
		}
		ops += t && !is_leaf(t);
	}
}

/* Where all operands of t are drawn, if that is one place and t is element-wise. */
static weir__dot_place beside_operands(const weir__dot_place *at, const weir_tensor *t)
{
	weir__dot_place p = { .path = "" };

	for (int k = 0; (weir_op_of(t)->flags & WEIR_OP_ELEMENTWISE) && k < weir_node(t).inputs; k++) {
		const weir_tensor *x = weir_input(t, k);
		int64_t i = weir_node(x).index;

		if (i < 0 || is_leaf(x)) continue;
		if (p.length && !same(&p, &at[i])) return (weir__dot_place){ .path = "" };
		p = at[i];
	}
	p.readers = p.first = 0;
	return p;
}

void weir__dot_places(const weir_ctx *w, weir__dot_place *at, int64_t n)
{
	by_module(w, at, n);
	for (int64_t i = 0; i < n; i++) {
		const weir_tensor *t = weir_tape_at(w, i);

		if (!weir__dot_shown(t)) continue;
		if (!weir_node(t).scope[0] && !is_leaf(t)) at[i] = beside_operands(at, t);
		for (int k = 0; k < weir_node(t).inputs; k++) {
			const weir_tensor *x = weir_input(t, k);
			int64_t from = weir_node(x).index;

			if (from < 0 || at[from].readers++) continue;
			at[from].first = i;
			if (!is_leaf(x) || at[from].length || weir_numel(x) > 1 ||
			    weir_is_param(weir_origin_of((weir_tensor *)(uintptr_t)x)))
				continue;
			at[from].path = at[i].path;
			at[from].length = at[i].length;
		}
	}
}
