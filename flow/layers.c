/* layers.c: which nodes make a layer. One pass up the tape; what a layer is stands in weir/flow.h. */
#include "flow/flow.h"

#include <string.h>

/* ---- what belongs together ---- */

static bool elementwise(const weir_tensor *t)
{
	return (weir_op_of(t)->flags & WEIR_OP_ELEMENTWISE) != 0;
}

bool weir__flow_bends(const weir_tensor *t)
{
	static const char *const straight[] = { "add",    "neg", "affine", "contiguous", "cast", "mul", "div",
						"detach", "pow", "exp",    "log",        "sqrt", "abs" };
	const char *op = weir_node(t).op;
	const weir_tensor *mask = weir_input(t, 0);

	if (!strcmp(op, "where")) return mask && !is_leaf(mask); /* by a comparison */
	for (size_t i = 0; i < sizeof straight / sizeof *straight; i++) {
		if (!strcmp(op, straight[i])) return false;
	}
	return elementwise(t) && is_float(t);
}

/* A number, maybe spread to a shape; or a mask, which is no operand of the derivative. */
static bool is_constant(const weir_tensor *x)
{
	if (!is_float(x)) return true;
	while (!is_leaf(x) && (weir_op_of(x)->flags & WEIR_OP_VIEW)) x = weir_input(x, 0);
	return is_leaf(x) && weir_numel(x) == 1 && !param_of(x);
}

static int64_t depth_at(const weir_flow *f, int64_t node)
{
	int64_t l = node >= 0 ? f->rec[node].from : -1;

	return l >= 0 ? f->layers[l].public.depth : 0;
}

/* Is path above the module that l stands for? */
static bool above(const char *path, const layer *l)
{
	size_t n = strlen(path);

	return !n || (!strncmp(l->public.name, path, n) && l->public.name[n] == '.');
}

/* The parameter of rank 2 or more by which t transforms something else, or NULL. */
static const weir_tensor *matrix_read(const weir_tensor *t)
{
	const weir_tensor *matrix = NULL;
	bool other = false;

	for (int i = 0; i < weir_node(t).inputs; i++) {
		const weir_tensor *x = weir_input(t, i), *p = param_of(x);

		if (p && weir_rank(p) >= 2) matrix = p;
		else if (!p && !(is_float(x) && is_constant(x))) other = true;
	}
	return other ? matrix : NULL;
}

/* The deepest of the layers whose output node t reads, of equals the last; or -1. */
static int64_t layer_before(const weir_flow *f, const weir_tensor *t)
{
	int64_t found = -1, deepest = -1;

	for (int i = 0; i < weir_node(t).inputs; i++) {
		int64_t at = weir_node(weir_input(t, i)).index, l = at >= 0 ? f->rec[at].layer : -1, depth;

		if (l < 0 || f->layers[l].last != at) continue;
		depth = f->layers[l].public.depth;
		if (depth < deepest || (depth == deepest && l < found)) continue;
		deepest = depth;
		found = l;
	}
	return found;
}

/* May an operation join node at with layer l's output? It is another layer's output, no deeper than l, or hangs on no layer at all; this
 * only where layers follow, since behind the last one it is the loss's target. */
static bool joins(const weir_flow *f, int64_t at, int64_t l)
{
	int64_t m = at >= 0 ? f->rec[at].layer : -1;

	if (at >= 0 && f->rec[at].from < 0) return f->layers_go_on;

	return m >= 0 && m != l && f->layers[m].last == at && f->layers[m].public.depth <= f->layers[l].public.depth;
}

/* How node t, which stands at or behind node from, reads layer l: the number of operands that come from l or from nodes behind from; -1
 * where another one is more than a constant. around: l's input is among them, and is added, or something else is joined: in
 * tanh(U x + W h) what the layer U makes with what W makes, in W h + x the data. */
static int reads(const weir_flow *f, const weir_tensor *t, int64_t l, int64_t from, bool *around, bool *param)
{
	const layer *p = &f->layers[l];
	int own = 0;

	*around = *param = false;
	for (int i = 0; i < weir_node(t).inputs; i++) {
		const weir_tensor *x = weir_input(t, i);
		int64_t at = weir_node(x).index;

		if (param_of(x)) *param = true;
		else if (at >= 0 && at == p->input && !strcmp(weir_node(t).op, "add")) *around = true;
		else if (is_constant(x)) continue;
		else if (at < from && joins(f, at, l)) *around = true;
		else if (!is_leaf(x) && (f->rec[at].layer == l || at >= from)) own++;
		else return -1;
	}
	return own ? own : -1;
}

/* The last of the nodes from i on that belong to layer l although they are made outside of it: one activation, or the addition
 * that leads around the layer; -1: there are none. An activation made of several operations shares a source line. */
static int64_t tail(const weir_flow *f, int64_t l, int64_t i, int64_t root)
{
	enum {
		AHEAD = 64
	}; /* operations without an end: a long chain, or many that read the layer, which each looks along */
	const char *line = "";
	int64_t end = -1, seen = 0;
	bool bent = false;

	for (int64_t j = i; j <= root && seen < AHEAD; j++) {
		const weir_tensor *t = weir_tape_at(f->w, j);
		weir_node_info info = weir_node(t);
		bool around, param, done;
		int own;

		if (!t || !info.inputs || !info.recorded || info.order || (is_float(t) && is_constant(t))) continue;
		if (!elementwise(t) || !above(info.scope, &f->layers[l]) || matrix_read(t)) break;
		own = reads(f, t, l, i, &around, &param);
		if (own < 0 || (param && f->layers[l].scope[0])) break; /* a bias belongs to a layer without a module */
		if (end >= 0 && !(line[0] ? !strcmp(line, info.here) : own > 1)) break;
		bent = bent || weir__flow_bends(t);
		done = is_float(t) && (bent || around || param);
		seen = done ? 0 : seen + 1;
		if (done && end < 0) line = info.here;
		if (done) end = j;
		if (done && !bent) break;
	}
	return end;
}

/* The last node of the module that begins with node i, if all of it is element-wise (or a view) on the output of layer l and has no
 * parameters: an activation as a module of its own. Else -1. */
static int64_t activation_module(const weir_flow *f, int64_t l, int64_t i, int64_t root)
{
	weir_node_info first = weir_node(weir_tape_at(f->w, i));
	size_t n = weir__flow_name_length(first.scope, 0);
	int64_t end = -1;

	for (int64_t j = i; j <= root; j++) {
		const weir_tensor *t = weir_tape_at(f->w, j);
		weir_node_info info = weir_node(t);
		bool around, param;

		if (!t || !info.inputs || !info.recorded || info.order || (is_float(t) && is_constant(t))) continue;
		if (strncmp(info.scope, first.scope, n) || (info.scope[n] && info.scope[n] != '.')) break;
		if (info.scope == first.scope && info.call != first.call) break;
		if (!elementwise(t) && !(weir_op_of(t)->flags & WEIR_OP_VIEW)) return -1;
		if (reads(f, t, l, i, &around, &param) < 0 || around || param) return -1;
		if (is_float(t)) end = j;
	}
	return end;
}

/* ---- filling layers ---- */

static int64_t begin_layer(weir_flow *f, const char *text, size_t n, const weir_tensor *t)
{
	layer_name *name = weir__flow_intern(f, text, n);
	void *list = f->layers;
	int64_t i = weir_node(t).index;

	if (!name || !weir__flow_grow(f->w, &list, f->count, &f->capacity, sizeof *f->layers)) return -1;
	f->layers = list;
	if (name->grouping != f->grouping) {
		name->grouping = f->grouping;
		name->calls = 0;
	}
	name->layer = f->count;
	f->layers[f->count] = (layer){ .public = { .name = name->text, .op = "", .call = ++name->calls, .depth = 1 },
				       .scope = weir_node(t).scope,
				       .call = weir_node(t).call,
				       .first = i,
				       .last = i,
				       .input = -1,
				       .z = -1,
				       .a = -1,
				       .chain_z = -1 };
	return f->count++;
}

/* Activations: chains of element-wise nodes that all hang on one node z. */
static void follow_activation(const weir_flow *f, layer *l, const weir_tensor *t)
{
	bool fits = elementwise(t), goes_on = false;
	int64_t from = -1, i = weir_node(t).index;

	for (int k = 0; fits && k < weir_node(t).inputs; k++) {
		const weir_tensor *x = weir_input(t, k);
		int64_t at = weir_node(x).index;

		if (is_constant(x)) continue;
		if (param_of(x)) fits = false;
		else if (l->chain_z >= 0 && (at == l->chain_z || (at > l->chain_z && at <= l->chain_a &&
								  f->rec[at].layer == f->rec[i].layer)))
			goes_on = true;
		else if (from >= 0 && from != at) fits = false;
		else from = at;
	}
	if (!fits || (goes_on && from >= 0) || (!goes_on && from < 0)) {
		l->chain_z = -1;
		return;
	}
	if (!goes_on) {
		l->chain_z = from;
		l->bent = false;
	}
	l->chain_a = i;
	l->bent = l->bent || weir__flow_bends(t);
	if (l->bent &&
	    strcmp(weir_node(t).op, "affine") != 0) { /* a scale behind it, of a branch, is not the activation's */
		l->z = l->chain_z;
		l->a = l->chain_a;
	}
}

static void add_to_layer(weir_flow *f, int64_t number, const weir_tensor *t)
{
	layer *l = &f->layers[number];
	int64_t i = weir_node(t).index;
	size_t n = strlen(l->ops);

	f->rec[i].layer = f->rec[i].from = number;
	for (int k = 0; k < weir_node(t).inputs; k++) {
		const weir_tensor *x = weir_input(t, k);
		int64_t at = weir_node(x).index, d;

		if (at < 0 || f->rec[at].layer == number || !is_float(x) || param_of(x)) continue;
		d = depth_at(f, at);
		if (d + 1 > l->public.depth) l->public.depth = d + 1;
		if (l->input < 0 || d > depth_at(f, l->input)) l->input = at;
	}
	l->last = i;
	follow_activation(f, l, t);
	if (weir_op_of(t)->flags & WEIR_OP_VIEW) return;
	if (n + strlen(weir_node(t).op) + sizeof " ..." + 1 <= sizeof l->ops)
		snprintf(l->ops + n, sizeof l->ops - n, "%s%s", n ? " " : "", weir_node(t).op);
	else if (!n || l->ops[n - 1] != '.') memcpy(l->ops + n, " ...", sizeof " ...");
}

/* The layer that a node with a module path goes on with: that of its name, unless this is called again, or other layers below it came
 * in between; else -1. */
static int64_t present_layer(weir_flow *f, const weir_tensor *t, int64_t latest)
{
	weir_node_info info = weir_node(t);
	const layer_name *name = weir__flow_intern(f, info.scope, weir__flow_name_length(info.scope, f->options.depth));
	const layer *l = name && name->grouping == f->grouping ? &f->layers[name->layer] : NULL;

	if (!l || (info.scope == l->scope && info.call > l->call)) return -1;
	return latest == name->layer || latest < 0 || !above(name->text, &f->layers[latest]) ? name->layer : -1;
}

/* A layer's name where there are no modules: the node's own, its parameter's without ".weight", or operation and place. */
static int64_t named_layer(weir_flow *f, const weir_tensor *t, const weir_tensor *param)
{
	const char *name = weir_name(t);
	char made[96];
	size_t n = strlen(name);

	if (!n && param && weir_name(param)[0]) {
		static const char weight[] = ".weight";

		name = weir_name(param);
		n = strlen(name);
		if (n >= sizeof weight && !strcmp(name + n + 1 - sizeof weight, weight)) n -= sizeof weight - 1;
	} else if (!n) {
		snprintf(made, sizeof made, "%.60s@%lld", weir_node(t).op, (long long)weir_node(t).index);
		name = made;
		n = strlen(made);
	}
	return begin_layer(f, name, n, t);
}

/* Neither modules nor parameters: then every node is a layer. */
static bool by_node(const weir_flow *f, int64_t root)
{
	for (int64_t i = 0; i <= root; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		if (takes_part(t) && (weir_node(t).scope[0] || matrix_read(t))) return false;
	}
	return true;
}

/* What comes from outside of any layer carries on which layer it hangs. */
static void pass_on(weir_flow *f, int64_t i, const weir_tensor *t)
{
	for (int k = 0; k < weir_node(t).inputs; k++) {
		int64_t at = weir_node(weir_input(t, k)).index;

		if (at >= 0 && f->rec[at].from >= 0 && depth_at(f, at) > depth_at(f, i))
			f->rec[i].from = f->rec[at].from;
	}
}

/* The layer that node i belongs to, begun where it is new; -1: none. until: how far what it brings along reaches. */
static int64_t layer_for(weir_flow *f, int64_t i, int64_t root, int64_t latest, int64_t *until)
{
	const weir_tensor *t = weir_tape_at(f->w, i), *matrix = matrix_read(t);
	const char *scope = weir_node(t).scope;
	int64_t before = layer_before(f, t), l = scope[0] ? present_layer(f, t, latest) : -1;

	if (l >= 0 && l == latest) return l;
	if (before >= 0) {
		bool inside = scope[0] && !above(scope, &f->layers[before]);

		if (!inside) *until = tail(f, before, i, root);
		else if (l < 0 && !f->options.depth) *until = activation_module(f, before, i, root);
		if (*until >= i) return before;
	}
	if (l >= 0) return l;
	if (scope[0]) return begin_layer(f, scope, weir__flow_name_length(scope, f->options.depth), t);
	return matrix ? named_layer(f, t, matrix) : -1;
}

/* The last node that reads a parameter matrix or stands in a module; -1: none does. */
static int64_t last_of_layers(const weir_flow *f, int64_t root)
{
	int64_t i = root;

	for (; i >= 0; i--) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		if (takes_part(t) && !param_of(t) && (matrix_read(t) || weir_node(t).scope[0])) break;
	}
	return i;
}

/* The public text lasts as long as the flow; the list of layers may move. */
static bool keep_ops(weir_flow *f)
{
	for (int64_t i = 0; i < f->count; i++) {
		layer *l = &f->layers[i];
		const layer_name *text = weir__flow_intern(f, l->ops, strlen(l->ops));

		if (!text) return false;
		l->public.op = text->text;
	}
	return true;
}

bool weir__flow_layers(weir_flow *f, int64_t root)
{
	bool nodes = by_node(f, root);
	int64_t latest = -1, until = -1, end = last_of_layers(f, root);

	f->count = 0;
	f->grouping++;
	for (int64_t i = 0; i < f->records; i++) f->rec[i].layer = f->rec[i].from = f->rec[i].counted = -1;
	for (int64_t i = 0; i <= root && weir_ok(f->w); i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);
		int64_t l = -1;

		if (!t) continue;
		f->layers_go_on = i < end;
		if (takes_part(t) && !param_of(t) && !is_constant(t))
			l = i <= until ? latest
			    : nodes    ? named_layer(f, t, NULL)
				       : layer_for(f, i, root, latest, &until);
		if (l < 0) {
			pass_on(f, i, t);
			continue;
		}
		add_to_layer(f, l, t);
		latest = l;
	}
	return keep_ops(f) && weir_ok(f->w);
}
