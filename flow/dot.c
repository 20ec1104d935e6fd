/* dot.c: the tape as a picture, in Graphviz' language.
 *
 * One box per node with operation, name, shape and gradient norm, in clusters nested as the modules are (dot_place.c). A box is filled
 * by what its operation multiplies the gradient by on the way back, its pen is as wide as the gradient is large. So that a deep
 * network becomes a column, the edge of an operation's first operand is heavy, and parameters stand beside who reads them.
 * It is longer than most because one picture is drawn from top to bottom here. */
#include "flow/dot.h"

#include <errno.h>
#include <string.h>

#include "engine/safe_write.h"
#include "engine/text.h"
#include "kernels/fpenv.h"

enum { LABEL_MAX = 511 }; /* bytes of a name in a label */

/* Where the text goes, and the range of log2 ‖g‖ that pen widths span. */
typedef struct sink {
	weir__text text;
	char buf[16384];
	FILE *file;
	weir__safe_file *safe;
	weir_ctx *w;
	const weir_flow *flow;
	double low, high;
	weir__dot_place *at;
	weir__dot_folds folds;
	int64_t n, least; /* nodes; alike blocks from which on they are folded, 0: never */
	const char *path; /* of the cluster that is open, length bytes */
	size_t length;
} sink;

static void put(sink *s, const char *text)
{
	weir__text_str(&s->text, text);
}

static void flush(sink *s)
{
	if (s->file) fwrite(s->text.data, 1, s->text.length, s->file);
	else weir__safe_write(s->safe, s->text.data, s->text.length);
	weir__text_clear(&s->text);
}

/* In loops over things of any number: the buffer has room for any one of them. */
static void make_room(sink *s)
{
	if (s->text.length > sizeof s->buf / 2) flush(s);
}

static void quoted(sink *s, const char *text, size_t n)
{
	char clean[LABEL_MAX + 1];

	if (n > strlen(text)) n = strlen(text);
	n = weir__flow_clean(clean, sizeof clean, text, n);
	for (size_t i = 0; i < n; i++) {
		if (clean[i] == '"' || clean[i] == '\\') put(s, "\\");
		weir__text_bytes(&s->text, &clean[i], 1);
	}
}

/* ---- numbers ---- */

static double norm_at(const sink *s, const weir_tensor *t)
{
	weir_flow_node n;

	if (s->flow && weir_flow_node_of(s->flow, weir_node(t).index, &n)) return n.delta_norm;
	return weir_grad_norm(t);
}

/* Whether the value or the gradient of t holds an inf or NaN, as far as was measured. */
static bool poisoned(const sink *s, const weir_tensor *t)
{
	weir_flow_node n;
	double g = weir_grad_norm(t);

	if (g == g && !is_finite(g)) return true;
	return s->flow && weir_flow_node_of(s->flow, weir_node(t).index, &n) &&
	       (weir__flow_nonfinite(&n.out) || weir__flow_nonfinite(&n.delta));
}

/* The operand that the gradient goes on to: the first that has one and is no parameter; or NULL. */
static const weir_tensor *main_operand(const weir_tensor *t)
{
	for (int i = 0; i < weir_node(t).inputs; i++) {
		const weir_tensor *x = weir_input(t, i);

		if (is_float(x) && weir__dot_shown(x) && !param_of(x)) return x;
	}
	return NULL;
}

/* What the operation multiplies the gradient by; NaN where others have a share in it. */
static double gain_of(const sink *s, const weir_tensor *t)
{
	const weir_tensor *x = main_operand(t);

	if (!x || s->at[weir_node(x).index].readers > 1) return UNKNOWN;
	return norm_at(s, x) / norm_at(s, t);
}

/* Blue where the gradient shrinks to a quarter or less, white where it passes, red where it grows fourfold or more. */
static void fill_colour(sink *s, double gain)
{
	static const int blue[3] = { 0x43, 0x93, 0xc3 }, red[3] = { 0xd6, 0x60, 0x4d };
	double x;
	const int *to;

	if (!(gain > 0) || !is_finite(gain)) {
		put(s, gain == 0 ? "#4393c3" : "white");
		return;
	}
	x = weir__flow_log2(gain) / 2;
	to = x < 0 ? blue : red;
	x = x < 0 ? -x : x;
	if (x > 1) x = 1;
	weir__text_format(&s->text, "#%02x%02x%02x", 255 + (int)(x * (to[0] - 255)), 255 + (int)(x * (to[1] - 255)),
			  255 + (int)(x * (to[2] - 255)));
}

static void range(sink *s)
{
	s->low = s->high = UNKNOWN;
	for (int64_t i = 0; i < s->n; i++) {
		const weir_tensor *t = weir_tape_at(s->w, i);
		double g = weir__dot_shown(t) ? norm_at(s, t) : UNKNOWN;

		if (!(g > 0) || !is_finite(g)) continue;
		g = weir__flow_log2(g);
		if (!(s->low <= g)) s->low = g;
		if (!(s->high >= g)) s->high = g;
	}
}

/* ---- one node ---- */

/* Data that nothing reads is no part of the network. */
static bool drawn(const sink *s, const weir_tensor *t)
{
	return weir__dot_shown(t) && (!is_leaf(t) || s->at[weir_node(t).index].readers);
}

/* What the cluster around does not say already: the node's own name, else the rest of its module's path. */
static void name_line(sink *s, const weir_tensor *t)
{
	weir_node_info info = weir_node(t);
	const weir__dot_place *p = &s->at[info.index];
	const char *name = weir_name(t), *path = info.scope;
	size_t n = strlen(path);

	if (name[0] && n && !strncmp(name, path, n) && name[n] == '.') name += n + 1; /* mlp.3.linear.weight */
	else if (p->length && !strncmp(name, p->path, p->length) && name[p->length] == '.')
		name += p->length + 1; /* mlp.3.weight */
	if (!name[0] && n > p->length && !memcmp(path, p->path, p->length)) name = path + p->length + (p->length > 0);
	if (!name[0] || !strcmp(name, info.op)) return;
	put(s, "\\n");
	quoted(s, name, LABEL_MAX);
}

static void node(sink *s, const weir_tensor *t)
{
	weir_node_info info = weir_node(t);
	double g = norm_at(s, t);
	bool leaf = !info.inputs, param = param_of(t) && leaf, bad = poisoned(s, t);

	weir__text_format(&s->text, "n%lld [label=\"", (long long)info.index);
	quoted(s, info.op, LABEL_MAX);
	name_line(s, t);
	weir__text_format(&s->text, "\\n%s ", weir_dtype_name(weir_dtype_of(t)));
	weir__text_shape(&s->text, weir_rank(t), weir_shape(t));
	if (g == g) {
		put(s, "\\n‖g‖ ");
		weir__text_double(&s->text, g, 'e', 2);
	}
	put(s, "\", tooltip=\"");
	quoted(s, info.name, LABEL_MAX);
	if (info.here[0]) {
		put(s, ", ");
		quoted(s, info.here, LABEL_MAX);
	}
	put(s, leaf ? param ? "\", shape=note" : "\", shape=ellipse" : "\"");
	put(s, ", fillcolor=\"");
	if (leaf) put(s, "#eeeeee");
	else fill_colour(s, gain_of(s, t));
	put(s, "\"");
	if (bad) {
		put(s, ", color=\"#ff0000\", penwidth=4");
	} else if (g > 0 && is_finite(g)) {
		double span = s->high - s->low, x = span > 0 ? (weir__flow_log2(g) - s->low) / span : 0.5;

		put(s, ", penwidth=");
		weir__text_double(&s->text, 0.5 + 3 * x, 'f', 2);
	} else {
		put(s, ", color=\"#aaaaaa\", fontcolor=\"#666666\""); /* the gradient does not come here */
	}
	put(s, "];\n");
}

/* Parameters in line with the operation that reads them first. */
static void in_line(sink *s, const weir_tensor *t)
{
	bool any = false;

	for (int k = 0; k < weir_node(t).inputs; k++) {
		const weir_tensor *x = weir_input(t, k);
		int64_t i = weir_node(x).index;

		if (!weir__dot_shown(x) || !is_leaf(x) || !param_of(x) || s->at[i].first != weir_node(t).index ||
		    s->at[i].fold >= 0)
			continue;
		if (s->at[i].length != s->length || memcmp(s->at[i].path, s->path, s->length)) continue;
		weir__text_format(&s->text, "%sn%lld; ", any ? "" : "{ rank=same; ", (long long)i);
		any = true;
		make_room(s);
	}
	if (any) weir__text_format(&s->text, "n%lld; }\n", (long long)weir_node(t).index);
}

/* n7, or f0 for a node in a fold. */
static void node_name(sink *s, int64_t i)
{
	bool folded = s->at[i].fold >= 0;

	weir__text_format(&s->text, "%s%lld", folded ? "f" : "n", (long long)(folded ? s->at[i].fold : i));
}

/* An edge from or to a fold is drawn once, one within a fold not at all. */
static bool edge_drawn(sink *s, int64_t from, int64_t to)
{
	weir__dot_place *a = &s->at[from], *b = &s->at[to];

	if (a->fold < 0 && b->fold < 0) return true;
	if (a->fold == b->fold) return false;
	if (b->fold >= 0 ? a->drawn_to == b->fold : b->drawn_from == a->fold) return false;
	a->drawn_to = b->fold >= 0 ? b->fold : a->drawn_to;
	b->drawn_from = a->fold >= 0 ? a->fold : b->drawn_from;
	return true;
}

static void edges(sink *s, const weir_tensor *t)
{
	const weir_tensor *heavy = main_operand(t);

	for (int k = 0; k < weir_node(t).inputs; k++) {
		const weir_tensor *x = weir_input(t, k);
		bool param = weir__dot_shown(x) && is_leaf(x) && param_of(x);

		if (!weir__dot_shown(x) || !edge_drawn(s, weir_node(x).index, weir_node(t).index)) continue;
		node_name(s, weir_node(x).index);
		put(s, " -> ");
		node_name(s, weir_node(t).index);
		if (poisoned(s, x) && poisoned(s, t)) put(s, " [color=\"#ff0000\", penwidth=2]");
		else if (x == heavy) put(s, " [weight=20]");
		else if (param) put(s, " [color=\"#bbbbbb\"]");
		put(s, ";\n");
		heavy = x == heavy ? NULL : heavy; /* x may be read twice */
		make_room(s);
	}
}

/* ---- clusters ---- */

/* Closes and opens clusters so that the one of place p is open. A cluster may be opened again by its name. */
static void go_to(sink *s, const weir__dot_place *p)
{
	size_t common = 0;

	for (size_t i = 0;; i++) { /* whole components that both share */
		bool end[2] = { i >= s->length || s->path[i] == '.', i >= p->length || p->path[i] == '.' };

		if (end[0] && end[1]) common = i;
		if (i >= s->length || i >= p->length || s->path[i] != p->path[i]) break;
	}
	for (size_t i = s->length; i > common; i--) {
		if (i == s->length || s->path[i] == '.') put(s, "}\n");
	}
	for (size_t i = common + 1; i <= p->length; i++) {
		if (i < p->length && p->path[i] != '.') continue;
		put(s, "subgraph \"cluster_");
		quoted(s, p->path, i);
		put(s, "\" { label=\"");
		quoted(s, p->path, i);
		put(s, "\";\n");
		make_room(s);
	}
	s->path = p->path;
	s->length = p->length;
}

static const char begin[] =
	"digraph weir {\n"
	"rankdir=TB; newrank=true; nodesep=0.25; ranksep=0.3; fontname=\"Helvetica\"; fontsize=11; labelloc=t; labeljust=l; "
	"style=rounded; color=\"#999999\";\n"
	"label=\"fill: what an operation multiplies the gradient by\\lblue shrinks, white passes, red grows\\l"
	"pen: how large the gradient is; red: inf or NaN\\l\";\n"
	"node [shape=box, style=filled, fontname=\"Helvetica\", fontsize=10, fillcolor=white, margin=\"0.12,0.05\"];\n"
	"edge [color=\"#666666\", arrowsize=0.6];\n";

/* A block's name: the path up to its first number. */
static void block_name(sink *s, int64_t i)
{
	quoted(s, s->at[i].path, weir__flow_name_length(s->at[i].path, 0));
}

/* The gradient that goes into a fold at its end, over the one that comes out at its beginning. */
static double fold_gain(const sink *s, const weir__dot_fold *f)
{
	double in = UNKNOWN, out = UNKNOWN;

	for (int64_t i = f->first; i <= f->last; i++) {
		const weir_tensor *t = weir_tape_at(s->w, i);
		const weir_tensor *x = weir__dot_shown(t) && !is_leaf(t) ? main_operand(t) : NULL;

		if (!x) continue;
		if (out != out && weir_node(x).index < f->first) out = norm_at(s, x);
		in = norm_at(s, t);
	}
	return out / in;
}

static void fold_box(sink *s, int64_t number)
{
	const weir__dot_fold *f = &s->folds.list[number];
	double gain = fold_gain(s, f);
	weir__dot_place parent = s->at[f->first];

	parent.length = weir__flow_name_length(parent.path, 0);
	while (parent.length && parent.path[parent.length - 1] != '.') parent.length--;
	if (parent.length) parent.length--;
	go_to(s, &parent);
	weir__text_format(&s->text, "f%lld [label=\"× %lld\\n", (long long)number, (long long)f->times);
	block_name(s, f->first);
	put(s, " … ");
	block_name(s, f->last);
	if (gain == gain) {
		put(s, "\\ngain in all ");
		weir__text_double(&s->text, gain, 'e', 2);
	}
	put(s, "\", shape=box3d, margin=\"0.3,0.2\", fillcolor=\"");
	fill_colour(s, gain > 0 && is_finite(gain) ? weir__flow_exp2(weir__flow_log2(gain) / (double)f->times) : gain);
	put(s, "\"];\n");
}

static void graph(sink *s)
{
	int64_t boxes = 0;

	range(s);
	put(s, begin);
	for (int64_t i = 0; i < s->n; i++) {
		const weir_tensor *t = weir_tape_at(s->w, i);

		if (!drawn(s, t)) continue;
		if (s->at[i].fold == boxes) fold_box(s, boxes++);
		if (s->at[i].fold >= 0) continue;
		go_to(s, &s->at[i]);
		node(s, t);
		in_line(s, t);
		flush(s);
	}
	go_to(s, &(weir__dot_place){ .path = "" });
	for (int64_t i = 0; i < s->n; i++) {
		const weir_tensor *t = weir_tape_at(s->w, i);

		if (weir__dot_shown(t)) edges(s, t);
		flush(s);
	}
	put(s, "}\n");
	flush(s);
}

static void run(sink *s)
{
	weir_fp_state saved = weir__fp_enter(true);
	size_t bytes, bad_bytes;
	bool *bad;

	s->n = weir_tape_length(s->w);
	s->path = "";
	bytes = (size_t)(s->n + 1) * sizeof *s->at;
	bad_bytes = (size_t)(s->n + 1) * sizeof *bad;
	weir__text_fixed(&s->text, s->buf, sizeof s->buf);
	s->at = weir__pool_take(s->w, &bytes);
	bad = weir__pool_take(s->w, &bad_bytes);
	if (s->at && bad) {
		weir__dot_places(s->w, s->at, s->n);
		for (int64_t i = 0; i < s->n; i++)
			bad[i] = weir__dot_shown(weir_tape_at(s->w, i)) && poisoned(s, weir_tape_at(s->w, i));
		if (weir__dot_find_folds(s->w, s->at, bad, s->n, s->least, &s->folds)) graph(s);
		if (s->folds.list)
			weir__pool_give(s->w, s->folds.list, (size_t)s->folds.capacity * sizeof *s->folds.list);
	}
	if (bad) weir__pool_give(s->w, bad, bad_bytes);
	if (s->at) weir__pool_give(s->w, s->at, bytes);
	weir__fp_leave(saved);
}

void weir_dot_options_init(weir_dot_options *o)
{
	*o = (weir_dot_options){ .fold = 24 };
}

static sink sink_for(weir_ctx *w, const weir_dot_options *o)
{
	weir_dot_options defaults;

	weir_dot_options_init(&defaults);
	if (!o) o = &defaults;
	return (sink){ .w = w, .flow = o->flow, .least = o->fold };
}

bool weir_dot_print_with(weir_ctx *w, const weir_dot_options *o, FILE *file)
{
	sink s = sink_for(w, o);

	s.file = file;
	if (!weir_ok(w) || !file) return false;
	run(&s);
	if (!fflush(file) && !ferror(file)) return weir_ok(w);
	weir_fail(w, WEIR_ERR_IO, "weir_dot_print: the graph could not be written");
	return false;
}

bool weir_dot_write_with(weir_ctx *w, const weir_dot_options *o, const char *path)
{
	weir__safe_file safe;
	sink s = sink_for(w, o);

	s.safe = &safe;
	if (!weir_ok(w)) return false;
	if (!path) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_dot_write: path is NULL");
		return false;
	}
	if (weir__safe_open(&safe, path)) run(&s);
	if (!weir_ok(w)) {
		weir__safe_abandon(&safe);
		return false;
	}
	if (weir__safe_commit(&safe)) return true;
	weir_fail(w, WEIR_ERR_IO, "weir_dot_write: %s: %s: %s", path, weir__write_step_text(safe.error.step),
		  strerror(safe.error.number));
	return false;
}

bool weir_dot_write_flow(weir_ctx *w, const weir_flow *f, const char *path)
{
	weir_dot_options o;

	weir_dot_options_init(&o);
	o.flow = f;
	return weir_dot_write_with(w, &o, path);
}

bool weir_dot_print(weir_ctx *w, const weir_flow *f, FILE *file)
{
	weir_dot_options o;

	weir_dot_options_init(&o);
	o.flow = f;
	return weir_dot_print_with(w, &o, file);
}

bool weir_dot_write(weir_ctx *w, const char *path)
{
	return weir_dot_write_with(w, NULL, path);
}
