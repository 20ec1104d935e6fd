/* report.c: the last step's numbers, as a table for people. The JSON form stands in report_json.c. */
#include "flow/report.h"

#include <string.h>

#include "engine/text.h"

enum { NAME_WIDTH = 16, COLUMN = 10 };

static void pad(weir__text *t, size_t from, size_t width)
{
	size_t used = t->length - from;

	weir__text_repeat(t, ' ', used < width ? width - used : 1);
}

/* A number in a column; what is not known is a dash. */
static void cell(weir__text *t, double x, char style, int digits, size_t width)
{
	size_t from = t->length;

	if (x == x) weir__text_double(t, x, style, digits);
	else weir__text_str(t, "-");
	pad(t, from, width);
}

static void label(weir__text *t, const char *s, size_t width)
{
	size_t from = t->length;

	weir__text_str(t, s);
	pad(t, from, width);
}

static void flush(weir__text *t, FILE *file)
{
	while (t->length && t->data[t->length - 1] == ' ') t->data[--t->length] = 0;
	fwrite(t->data, 1, t->length, file);
	fputc('\n', file);
	weir__text_clear(t);
}

static void head(const weir_flow *f, weir__text *t, FILE *file)
{
	const weir_flow_summary *s = &f->sum;

	weir__text_format(t, "step %lld   loss ", (long long)s->step);
	cell(t, s->loss, 'p', 4, 0);
	weir__text_str(t, "  |dL/dx| ");
	cell(t, s->input_delta_norm, 'e', 2, 0);
	weir__text_format(t, "  non-finite %lld   subnormal %lld   %s   measuring took ", (long long)s->nonfinite, (long long)s->subnormals,
			  s->subnormals_ieee ? "IEEE subnormals" : "subnormals flushed to zero");
	weir__text_double(t, 100 * s->own_share, 'f', 1);
	weir__text_str(t, " % of the step");
	flush(t, file);
}

static void columns(weir__text *t, FILE *file)
{
	static const char *const names[] = { "|delta|", "gain", "|dW|", "|W|", "rms f'", "rms out", "out gain", "zero%", "upd/w", "" };

	label(t, "layer", NAME_WIDTH);
	for (int i = 0; names[i][0]; i++) label(t, names[i], COLUMN);
	weir__text_str(t, "operations");
	flush(t, file);
}

static void row(const weir_flow_layer *p, weir__text *t, FILE *file)
{
	size_t from = t->length;

	weir__text_str(t, p->name);
	if (p->calls > 1) weir__text_format(t, " (%lldx)", (long long)p->calls);
	pad(t, from, NAME_WIDTH);
	cell(t, p->delta_norm, 'e', 2, COLUMN);
	cell(t, p->gain, 'f', 4, COLUMN);
	cell(t, p->param_grad_norm, 'e', 2, COLUMN);
	cell(t, p->weight_norm, 'p', 4, COLUMN);
	cell(t, p->act_slope, 'f', 4, COLUMN);
	cell(t, p->out_norm, 'p', 4, COLUMN);
	cell(t, p->out_gain, 'f', 4, COLUMN);
	cell(t, 100 * p->out_zeros, 'f', 1, COLUMN);
	cell(t, p->update_ratio, 'e', 1, COLUMN);
	weir__text_str(t, p->op);
	if (p->nonfinite || p->out_nonfinite) weir__text_format(t, "   %lld non-finite", (long long)(p->nonfinite + p->out_nonfinite));
	if (p->subnormals || p->out_subnormals) weir__text_format(t, "   %lld subnormal", (long long)(p->subnormals + p->out_subnormals));
	flush(t, file);
}

/* Two layers that would print the same line but for the name. */
static bool alike(const weir_flow_layer *a, const weir_flow_layer *b)
{
	return a->delta_norm == b->delta_norm && a->out_norm == b->out_norm && a->nonfinite == b->nonfinite && a->out_nonfinite == b->out_nonfinite &&
	       a->weight_norm == b->weight_norm && a->subnormals == b->subnormals;
}

static void legend(weir__text *t, FILE *file)
{
	static const char *const lines[] = {
		"|delta| gradient at the layer's output; gain: what the layer multiplies it by on its way back, 1 passes it unchanged",
		"|dW| gradient of its parameters; |W| its weights (Frobenius); rms f' the activation's slope; rms out its output",
		"out gain: what the layer multiplies its input by; zero%: zeros in its output; upd/w: |last update| / |W|; - not known",
	};

	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		weir__text_str(t, lines[i]);
		flush(t, file);
	}
}

static void birth(weir__text *t, FILE *file, const char *what, const weir_flow_birth *b)
{
	if (!b->found) return;
	weir__text_format(t, "%s %s%s (%s%s%s) at step %lld", what, b->backward ? "the gradient of " : "", b->layer, b->op, b->here[0] ? ", " : "", b->here,
			  (long long)b->step);
	flush(t, file);
}

static void verdict(const weir_flow *f, weir__text *t, FILE *file)
{
	const weir_flow_summary *s = &f->sum;
	const char *name = weir_verdict_name(s->verdict);

	label(t, "total", 9);
	cell(t, s->total_gain, 'e', 2, 0);
	weir__text_str(t, " from the last layer's output back to the first layer's input");
	flush(t, file);
	label(t, "slope", 9);
	cell(t, s->gain_per_layer, 'f', 4, 0);
	weir__text_str(t, "/layer = ");
	cell(t, s->bits_per_layer, 'f', 2, 0);
	weir__text_str(t, " bits/layer   R2 ");
	cell(t, s->r2, 'f', 3, 0);
	flush(t, file);
	birth(t, file, "inf      first made in", &s->first_inf);
	birth(t, file, "NaN      first made in", &s->first_nan);
	label(t, "VERDICT", 9);
	for (const char *c = name; *c; c++) weir__text_bytes(t, &(char){ *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c }, 1);
	if (s->verdict > WEIR_FLOW_HEALTHY && f->count) {
		weir__text_format(t, ", %s", f->layers[s->last_layer].public.name);
		if (s->last_layer > s->first_layer) weir__text_format(t, " .. %s", f->layers[s->first_layer].public.name);
	}
	flush(t, file);
	if (s->cause) {
		label(t, "cause", 9);
		weir__text_str(t, s->cause);
		if (s->evidence[0]) weir__text_format(t, ": %s", s->evidence);
		flush(t, file);
	} else if (s->evidence[0]) {
		weir__text_str(t, s->evidence);
		flush(t, file);
	}
}

static void table(const weir_flow *f, FILE *file, const char *text)
{
	char buf[2048];
	weir__text t;

	weir__text_fixed(&t, buf, sizeof buf);
	if (text) {
		weir__text_str(&t, text);
		flush(&t, file);
	}
	head(f, &t, file);
	columns(&t, file);
	for (int64_t i = 0; i < f->count;) {
		int64_t j = i + 1;

		row(&f->layers[i].public, &t, file);
		while (j < f->count && alike(&f->layers[i].public, &f->layers[j].public)) j++;
		if (j - i > 3) { /* a stretch of the same, said once */
			weir__text_format(&t, "... %lld more like it, to %s", (long long)(j - i - 1), f->layers[j - 1].public.name);
			flush(&t, file);
			i = j;
		} else {
			i++;
		}
	}
	legend(&t, file);
	verdict(f, &t, file);
}

bool weir_flow_report(const weir_flow *f, FILE *file, weir_flow_form form, const char *text)
{
	weir_fp_state saved;

	if (!f || !file || !weir_ok(f->w)) return false;
	saved = weir__fp_enter(true);
	if (form == WEIR_FLOW_JSON) weir__flow_json(f, file);
	else table(f, file, text);
	weir__fp_leave(saved);
	if (fflush(file) || ferror(file)) {
		weir_fail(f->w, WEIR_ERR_IO, "weir_flow_report: the report could not be written");
		return false;
	}
	return true;
}
