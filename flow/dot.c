/* dot.c: the tape as a picture, in Graphviz' language.
 *
 * One box per node with operation, name, shape and gradient norm; one cluster per module path, nested as the modules are. A box is filled
 * by what its operation multiplies the gradient by on the way back, its pen is as wide as the gradient is large. */
#include <errno.h>
#include <string.h>

#include "engine/safe_write.h"
#include "engine/text.h"
#include "flow/flow.h"
#include "kernels/cpu.h"
#include "kernels/fpenv.h"

enum { LABEL_MAX = 400 }; /* bytes of a name in a label */

/* Where the text goes, and the range of log2 ‖g‖ that pen widths span. */
typedef struct sink {
	weir__text text;
	char buf[8192];
	FILE *file;
	weir__safe_file *safe;
	weir_ctx *w;
	const weir_flow *flow;
	double low, high;
} sink;

static void flush(sink *s)
{
	if (s->file) fwrite(s->text.data, 1, s->text.length, s->file);
	else weir__safe_write(s->safe, s->text.data, s->text.length);
	weir__text_clear(&s->text);
}

static double log2_of(double x)
{
	const void *in[1] = { &x };
	double y;

	weir__kernels()->map[WEIR_MAP_log][1](&y, in, 1, NULL);
	return y * 1.4426950408889634;
}

static double norm_at(const sink *s, const weir_tensor *t)
{
	weir_flow_node n;

	if (s->flow && weir_flow_node_of(s->flow, weir_node(t).index, &n)) return n.delta_norm;
	return weir_grad_norm(t);
}

static bool finite(double x)
{
	return x - x == 0;
}

static bool shown(const weir_tensor *t)
{
	weir_node_info info = weir_node(t);

	return t && info.recorded && info.order == 0;
}

/* Whether the value or the gradient of t holds an inf or NaN, as far as was measured. */
static bool poisoned(const sink *s, const weir_tensor *t)
{
	weir_flow_node n;
	double g = weir_grad_norm(t);

	if (g == g ? !finite(g) : false) return true;
	if (!s->flow || !weir_flow_node_of(s->flow, weir_node(t).index, &n)) return false;
	return n.out.nan + n.out.pos_inf + n.out.neg_inf + n.delta.nan + n.delta.pos_inf + n.delta.neg_inf > 0;
}

static void quoted(sink *s, const char *text)
{
	for (size_t i = 0; text[i] && i < LABEL_MAX; i++) {
		if (text[i] == '"' || text[i] == '\\') weir__text_str(&s->text, "\\");
		weir__text_bytes(&s->text, (unsigned char)text[i] < ' ' ? "?" : &text[i], 1);
	}
}

/* Blue where the gradient shrinks to a quarter or less, white where it passes, red where it grows fourfold or more. */
static void fill_colour(sink *s, double gain)
{
	static const int blue[3] = { 0x43, 0x93, 0xc3 }, red[3] = { 0xd6, 0x60, 0x4d };
	double x;
	const int *to;

	if (!(gain > 0) || !finite(gain)) {
		weir__text_str(&s->text, gain == 0 ? "#4393c3" : "white");
		return;
	}
	x = log2_of(gain) / 2;
	to = x < 0 ? blue : red;
	x = x < 0 ? -x : x;
	if (x > 1) x = 1;
	weir__text_format(&s->text, "#%02x%02x%02x", 255 + (int)(x * (to[0] - 255)), 255 + (int)(x * (to[1] - 255)), 255 + (int)(x * (to[2] - 255)));
}

/* What the operation multiplies the gradient by: that of its first differentiable operand which is no parameter, over its own. */
static double gain_of(const sink *s, const weir_tensor *t)
{
	for (int i = 0; i < weir_node(t).inputs; i++) {
		weir_tensor *x = weir_input(t, i);

		if (is_float(x) && shown(x) && !weir_is_param(weir_origin_of(x))) return norm_at(s, x) / norm_at(s, t);
	}
	return UNKNOWN;
}

static void node(sink *s, const weir_tensor *t)
{
	weir_node_info info = weir_node(t);
	double g = norm_at(s, t), gain = gain_of(s, t);
	const char *name = weir_name(t);
	bool leaf = !info.inputs, bad = poisoned(s, t);

	weir__text_format(&s->text, "n%lld [label=\"%s", (long long)info.index, info.op);
	if (name[0]) {
		weir__text_str(&s->text, "\\n");
		quoted(s, name);
	}
	weir__text_format(&s->text, "\\n%s ", weir_dtype_name(weir_dtype_of(t)));
	weir__text_shape(&s->text, weir_rank(t), weir_shape(t));
	if (g == g) {
		weir__text_str(&s->text, "\\n‖g‖ ");
		weir__text_double(&s->text, g, 'e', 2);
	}
	weir__text_str(&s->text, "\"");
	if (info.here[0]) {
		weir__text_str(&s->text, ", tooltip=\"");
		quoted(s, info.here);
		weir__text_str(&s->text, "\"");
	}
	if (leaf) weir__text_str(&s->text, weir_is_param(weir_origin_of((weir_tensor *)(uintptr_t)t)) ? ", shape=note" : ", shape=ellipse");
	weir__text_str(&s->text, ", fillcolor=\"");
	if (leaf) weir__text_str(&s->text, "#eeeeee");
	else fill_colour(s, gain);
	weir__text_str(&s->text, "\"");
	if (bad) {
		weir__text_str(&s->text, ", color=\"#ff0000\", penwidth=4");
	} else if (g > 0 && finite(g)) {
		double span = s->high - s->low, x = span > 0 ? (log2_of(g) - s->low) / span : 0.5;

		weir__text_str(&s->text, ", penwidth=");
		weir__text_double(&s->text, 0.5 + 3.5 * x, 'f', 2);
	}
	weir__text_str(&s->text, "];\n");
}

/* Opens the clusters of a module path: "mlp.3" is cluster "mlp" with cluster "mlp.3" in it. Returns how many. A cluster may be opened
 * again by its name, so nodes need not be sorted. */
static int open_clusters(sink *s, const char *path)
{
	int n = 0;

	for (size_t i = 0; path[0]; i++) {
		if (path[i] && path[i] != '.') continue;
		weir__text_str(&s->text, "subgraph \"cluster_");
		for (size_t j = 0; j < i; j++) quoted(s, (char[]){ path[j], 0 });
		weir__text_str(&s->text, "\" { label=\"");
		for (size_t j = 0; j < i; j++) quoted(s, (char[]){ path[j], 0 });
		weir__text_str(&s->text, "\"; ");
		n++;
		if (!path[i]) break;
	}
	return n;
}

static void range(sink *s, int64_t n)
{
	s->low = s->high = UNKNOWN;
	for (int64_t i = 0; i < n; i++) {
		const weir_tensor *t = weir_tape_at(s->w, i);
		double g = t && shown(t) ? norm_at(s, t) : UNKNOWN;

		if (!(g > 0) || !finite(g)) continue;
		g = log2_of(g);
		if (!(s->low <= g)) s->low = g;
		if (!(s->high >= g)) s->high = g;
	}
}

static void graph(sink *s)
{
	int64_t n = weir_tape_length(s->w);

	range(s, n);
	weir__text_str(&s->text, "digraph weir {\n"
				 "rankdir=TB; fontname=\"Helvetica\"; labelloc=t;\n"
				 "label=\"gradient flow: fill: what an operation multiplies the gradient by (blue shrinks, white passes, red grows); "
				 "pen: how large the gradient is; red pen: inf or NaN\";\n"
				 "node [shape=box, style=filled, fontname=\"Helvetica\", fontsize=10, fillcolor=white];\n"
				 "edge [color=\"#666666\", arrowsize=0.6];\n");
	for (int64_t i = 0; i < n; i++) {
		const weir_tensor *t = weir_tape_at(s->w, i);
		int open;

		if (!t || !shown(t)) continue;
		open = open_clusters(s, weir_node(t).scope);
		node(s, t);
		for (int k = 0; k < open; k++) weir__text_str(&s->text, "}");
		if (open) weir__text_str(&s->text, "\n");
		flush(s);
	}
	for (int64_t i = 0; i < n; i++) {
		const weir_tensor *t = weir_tape_at(s->w, i);

		for (int k = 0; t && shown(t) && k < weir_node(t).inputs; k++) {
			const weir_tensor *x = weir_input(t, k);

			if (!shown(x)) continue;
			weir__text_format(&s->text, "n%lld -> n%lld%s;\n", (long long)weir_node(x).index, (long long)i,
					  poisoned(s, x) && poisoned(s, t) ? " [color=\"#ff0000\", penwidth=3]" : "");
		}
		flush(s);
	}
	weir__text_str(&s->text, "}\n");
	flush(s);
}

static void run(sink *s)
{
	weir_fp_state saved = weir__fp_enter(true);

	weir__text_fixed(&s->text, s->buf, sizeof s->buf);
	graph(s);
	weir__fp_leave(saved);
}

bool weir_dot_print(weir_ctx *w, const weir_flow *f, FILE *file)
{
	sink s = { .w = w, .flow = f, .file = file };

	if (!weir_ok(w) || !file) return false;
	run(&s);
	if (!fflush(file) && !ferror(file)) return true;
	weir_fail(w, WEIR_ERR_IO, "weir_dot_print: the graph could not be written");
	return false;
}

bool weir_dot_write_flow(weir_ctx *w, const weir_flow *f, const char *path)
{
	weir__safe_file safe;
	sink s = { .w = w, .flow = f, .safe = &safe };

	if (!weir_ok(w)) return false;
	if (!path) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_dot_write: path is NULL");
		return false;
	}
	if (weir__safe_open(&safe, path)) run(&s);
	if (weir__safe_commit(&safe)) return true;
	weir_fail(w, WEIR_ERR_IO, "weir_dot_write: %s: %s: %s", path, weir__write_step_text(safe.error.step), strerror(safe.error.number));
	return false;
}

bool weir_dot_write(weir_ctx *w, const char *path)
{
	return weir_dot_write_flow(w, NULL, path);
}
