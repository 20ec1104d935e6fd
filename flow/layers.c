/* layers.c: from notes on nodes to numbers on layers.
 *
 * A layer is the run of nodes whose module path begins with the same name. Its output is its last node; an activation
 * called outside of any module right behind it (weir_relu(x) in a loop over linear layers) still belongs to it. Its input is the first
 * operand from outside that is no parameter. */
#include "flow/flow.h"

#include <string.h>

#include "kernels/reduce.h"

/* Length of the part of path that names the layer. */
static size_t layer_name(const char *path, int depth)
{
	int parts = 0;

	for (size_t i = 0, begin = 0;; i++) {
		bool number = true;

		if (path[i] && path[i] != '.') continue;
		parts++;
		for (size_t j = begin; j < i; j++) number = number && path[j] >= '0' && path[j] <= '9';
		if (!path[i] || (depth ? parts == depth : (number && i > begin))) {
			if (path[i] || depth || (number && i > begin)) return i;
			break;
		}
		begin = i + 1;
	}
	for (size_t i = 0, dots = 0;; i++) { /* no number in it: two components */
		if (!path[i] || (path[i] == '.' && ++dots == 2)) return i;
	}
}

/* A lasting copy of a layer's name. */
static char *intern(weir_flow *f, const char *text, size_t n)
{
	char name[512];
	void *list = f->names;

	if (n >= sizeof name) n = sizeof name - 1;
	memcpy(name, text, n);
	name[n] = 0;
	for (int64_t i = 0; i < f->n_names; i++) {
		if (!strcmp(f->names[i], name)) return f->names[i];
	}
	if (!weir__flow_grow(f->w, &list, f->n_names, &f->names_capacity, sizeof *f->names)) return NULL;
	f->names = list;
	if (!(f->names[f->n_names] = weir__text_copy(f->w, name))) return NULL;
	return f->names[f->n_names++];
}

/* Layers come in the order of first appearance; the one asked for is nearly always the last. */
static layer *layer_of(weir_flow *f, const char *path, size_t n)
{
	void *list = f->layers;
	char *name;

	for (int64_t i = f->count; i-- > 0;) {
		if (strlen(f->layers[i].name) == n && !memcmp(f->layers[i].name, path, n)) return &f->layers[i];
	}
	if (!weir__flow_grow(f->w, &list, f->count, &f->capacity, sizeof *f->layers)) return NULL;
	f->layers = list;
	if (!(name = intern(f, path, n))) return NULL;
	f->layers[f->count] = (layer){ .name = name, .first = -1, .last = -1, .input = -1, .z = -1, .a = -1 };
	return &f->layers[f->count++];
}

static bool is_leaf(const weir_tensor *t)
{
	return weir_node(t).inputs == 0;
}

static bool elementwise(const weir_tensor *t)
{
	return (weir_op_of(t)->flags & WEIR_OP_ELEMENTWISE) != 0;
}

/* An operation that bends: its f' is not the same everywhere. Products and sums only pass on. */
static bool bends(const weir_tensor *t)
{
	static const char *const straight[] = { "add", "neg", "affine", "contiguous", "cast", "mul", "div", "where", "detach" };

	for (size_t i = 0; i < sizeof straight / sizeof *straight; i++) {
		if (!strcmp(weir_node(t).op, straight[i])) return false;
	}
	return elementwise(t);
}

static void add_op(layer *l, const char *op)
{
	size_t n = strlen(l->ops);

	if (n + strlen(op) + 2 > sizeof l->ops) return;
	snprintf(l->ops + n, sizeof l->ops - n, "%s%s", n ? " " : "", op);
}

/* Follows activations: chains of element-wise nodes that all hang on one node z of the layer. */
static void follow_activation(layer *l, const weir_tensor *t, int64_t *z, int64_t *end, bool *bent)
{
	bool fits = elementwise(t);
	int64_t from = -1;

	for (int i = 0; fits && i < weir_node(t).inputs; i++) {
		const weir_tensor *x = weir_input(t, i);
		int64_t at = weir_node(x).index;

		if (is_leaf(x) || !is_float(x)) continue; /* a constant or a mask */
		if (*z >= 0 && (at == *z || (at > *z && at <= *end))) continue;
		if (from >= 0 && from != at) fits = false;
		from = at;
	}
	if (fits && from < 0 && *z >= 0) { /* goes on */
		*end = weir_node(t).index;
	} else if (fits && from >= 0) { /* begins anew behind node from */
		*z = from;
		*end = weir_node(t).index;
		*bent = false;
	} else {
		*z = -1;
		return;
	}
	*bent = *bent || bends(t);
	if (*bent) {
		l->z = *z;
		l->a = *end;
	}
}

static double norm_of(const weir_tensor *t)
{
	const void *data = weir_numel(t) && weir_is_contiguous(t) && !weir_node(t).released ? weir_data(t) : NULL;

	return data ? weir__norm2(weir_dtype_of(t), data, weir_numel(t), 1) : UNKNOWN;
}

static double rms(double norm, int64_t n)
{
	return n ? norm / __builtin_sqrt((double)n) : UNKNOWN;
}

/* a / b, or NaN where that is 0/0 or not finite. */
static double ratio(double a, double b)
{
	double r = a / b;

	return r - r == 0 ? r : UNKNOWN;
}

/* f' over the layer's last activation: the vjp of ones through element-wise nodes is the derivative itself. */
static void measure_slope(weir_flow *f, layer *l)
{
	weir_ctx *w = f->w;
	weir_tensor *z = l->z >= 0 ? weir_tape_at(w, l->z) : NULL, *a = z ? weir_tape_at(w, l->a) : NULL, *one, *slope = NULL;
	weir_place place;
	weir_stats s;

	l->public.act_slope = l->public.act_slope_max = UNKNOWN;
	if (!a || weir_node(z).released || weir_node(a).released || !weir_numel(a)) return;
	place = weir_mark(w);
	weir_no_grad_begin(w);
	one = weir_full(w, weir_dtype_of(a), weir_rank(a), weir_shape(a), 1);
	weir_no_grad_end(w);
	if (weir_vjp(a, one, &z, 1, &slope, WEIR_NO_HOOKS | WEIR_ALLOW_UNUSED) && slope) {
		l->public.act_slope = rms(norm_of(slope), weir_numel(slope));
		weir__stats(weir_dtype_of(slope), weir_data(slope), weir_numel(slope), &s, 1);
		l->public.act_slope_max = s.largest;
	}
	weir_rewind(w, place, NULL, 0);
}

/* √(a² + b²) without overflow; a NaN in a means "none so far". */
static double add_norm(double a, double b)
{
	double big, small;

	if (a != a) return b;
	if (b != b) return b;
	big = a > b ? a : b;
	small = a > b ? b : a;
	return big > 0 && big - big == 0 ? big * __builtin_sqrt(1 + small / big * (small / big)) : big;
}

static void measure_params(weir_flow *f, layer *l)
{
	weir_flow_layer *p = &l->public;

	p->weight_norm = p->param_grad_norm = p->update_ratio = UNKNOWN;
	for (int64_t i = l->first; i <= l->last; i++) {
		weir_tensor *t = weir_tape_at(f->w, i);

		for (int j = 0; t && j < weir_node(t).inputs; j++) {
			weir_tensor *x = weir_input(t, j), *param = weir_origin_of(x);
			int64_t at = weir_node(x).index;
			double u;

			if (!weir_is_param(param)) continue;
			if (at < f->records && f->rec[at].has_delta) p->param_grad_norm = add_norm(p->param_grad_norm, f->rec[at].delta_norm);
			if (weir_rank(param) < 2) continue;
			p->weight_norm = add_norm(p->weight_norm, norm_of(param));
			if (!f->options.update_ratio) continue;
			u = f->options.update_ratio(param, f->options.user);
			if (u == u && !(p->update_ratio > u)) p->update_ratio = u;
		}
	}
}

static void fill(weir_flow *f, layer *l)
{
	weir_flow_layer *p = &l->public;
	const weir_tensor *out = weir_tape_at(f->w, l->last), *in = l->input >= 0 ? weir_tape_at(f->w, l->input) : NULL;
	const record *r = weir__flow_record(f, l->last), *ri = in ? weir__flow_record(f, l->input) : NULL;
	double n = (double)weir_numel(out), in_norm;

	if (!r) return;
	r = &f->rec[l->last]; /* the second look may have moved the first */
	ri = in ? &f->rec[l->input] : NULL;
	p->name = l->name;
	p->op = l->ops;
	p->calls = l->call;
	p->out_norm = rms(r->out_norm, weir_numel(out));
	in_norm = !in ? UNKNOWN : ri->has_out ? ri->out_norm : norm_of(in);
	p->out_gain = in ? ratio(p->out_norm, rms(in_norm, weir_numel(in))) : UNKNOWN;
	p->delta_norm = r->delta_norm;
	p->gain = ri ? ratio(ri->delta_norm, r->delta_norm) : UNKNOWN;
	p->out_zeros = n > 0 ? (double)r->out.zeros / n : UNKNOWN;
	p->zeros = n > 0 && r->has_delta ? (double)r->delta.zeros / n : UNKNOWN;
	p->subnormals = r->delta.subnormals;
	p->nonfinite = r->delta.pos_inf + r->delta.neg_inf + r->delta.nan;
	p->out_subnormals = r->out.subnormals;
	p->out_nonfinite = r->out.pos_inf + r->out.neg_inf + r->out.nan;
	measure_params(f, l);
	measure_slope(f, l);
}

/* The layer that node t belongs to: by its path, or, outside of any, the layer before it whose output it bends. */
static layer *belongs(weir_flow *f, const weir_tensor *t, layer *before)
{
	weir_node_info info = weir_node(t);

	if (info.scope[0]) return layer_of(f, info.scope, layer_name(info.scope, f->options.depth));
	if (before && info.inputs == 1 && bends(t) && weir_node(weir_input(t, 0)).index == before->last) return before;
	return NULL;
}

void weir__flow_layers(weir_flow *f, int64_t root)
{
	int64_t z = -1, end = -1;
	bool bent = false;
	layer *l = NULL, *before = NULL;

	f->count = 0;
	for (int64_t i = 0; i <= root; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);
		weir_node_info info = weir_node(t);

		if (!t || !info.recorded || info.order || is_leaf(t)) continue;
		l = belongs(f, t, before);
		if (!l || !is_float(t)) continue;
		if (l->first < 0 || (info.scope[0] && info.call > l->call && l != before)) { /* its first call, or another one */
			l->first = i;
			l->call = info.call;
			l->input = -1;
			l->z = l->a = -1;
			l->ops[0] = 0;
			z = -1;
		}
		for (int j = 0; l->input < 0 && j < info.inputs; j++) {
			const weir_tensor *x = weir_input(t, j);
			int64_t at = weir_node(x).index;

			if (at < l->first && is_float(x) && !weir_is_param(weir_origin_of((weir_tensor *)(uintptr_t)x))) l->input = at;
		}
		l->last = i;
		if (!(weir_op_of(t)->flags & WEIR_OP_VIEW)) add_op(l, info.op);
		follow_activation(l, t, &z, &end, &bent);
		before = l;
	}
	for (int64_t i = 0; i < f->count; i++) fill(f, &f->layers[i]);
}
