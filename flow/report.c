/* report.c: the last step's numbers, as a table for people. The JSON form stands in report_json.c. */
#include "flow/report.h"

#include <string.h>

#include "engine/text.h"
#include "kernels/fpenv.h"

enum {
	NAME_WIDTH = 14,
	COLUMN = 10,
	REPEATS = 8, /* lines alike from which on the middle ones are left out */
	SHOWN = 2,   /* of these at either end */
	LONG = 120,  /* layers from which on the middle is left out in any case */
	ENDS = 40,   /* and how many remain at either end */
};

static void pad(weir__text *t, size_t from, size_t width)
{
	size_t used = t->length - from;

	if (width) weir__text_repeat(t, ' ', used < width ? width - used : 1);
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

/* 22,474 */
static void thousands(weir__text *t, int64_t n)
{
	if (n >= 1000) {
		thousands(t, n / 1000);
		weir__text_format(t, ",%03d", (int)(n % 1000));
	} else {
		weir__text_int(t, n);
	}
}

static void head(const weir_flow *f, weir__text *t, FILE *file, const char *model)
{
	const weir_flow_summary *s = &f->sum;

	if (model) {
		fputs(model, file); /* of any length */
	} else {
		weir__text_format(t, "%lld layers, ", (long long)f->count);
		thousands(t, s->parameters);
		weir__text_str(t, " parameters");
	}
	flush(t, file);
	weir__text_format(t, "step %lld   loss ", (long long)s->step);
	weir__text_double(t, s->loss, 'p', 4);
	weir__text_str(t, "   |dL/dx| ");
	cell(t, s->input_delta_norm, 'e', 2, 0);
	weir__text_format(t, "   non-finite %lld   subnormal %lld   %s", (long long)s->nonfinite,
			  (long long)s->subnormals,
			  s->subnormals_ieee ? "IEEE subnormals" : "subnormals flushed to zero");
	flush(t, file);
}

/* ---- the table ---- */

static void columns(weir__text *t, FILE *file, size_t name_width)
{
	static const char *const names[] = { "|delta|", "gain",     "|dW|",  "|W|",  "rms f'",
					     "rms out", "out gain", "zero%", "upd/w" };

	label(t, "layer", name_width);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) label(t, names[i], COLUMN);
	weir__text_str(t, "operations");
	flush(t, file);
}

static void row_name(const weir_flow_layer *p, weir__text *t)
{
	weir__text_str(t, p->name);
	if (p->call > 1) weir__text_format(t, " #%lld", (long long)p->call);
}

/* What a layer does to what passes through it: the cells that repeat where layers are alike. */
static void factors(const weir_flow_layer *p, weir__text *t)
{
	cell(t, p->weight_norm, 'p', 4, COLUMN);
	cell(t, p->act_slope, 'f', 4, COLUMN);
}

static void remarks(const weir_flow_layer *p, weir__text *t)
{
	weir__text_str(t, p->op);
	if (p->out_nonfinite) weir__text_str(t, "   output not finite");
	if (p->nonfinite) weir__text_str(t, "   gradient not finite");
	if (p->out_subnormals) weir__text_str(t, "   output subnormal");
	if (p->subnormals) weir__text_str(t, "   gradient subnormal");
	if (p->out_zeros == 1) weir__text_str(t, "   output all zero");
	if (p->zeros == 1) weir__text_str(t, "   gradient all zero");
}

static void row(const weir_flow_layer *p, weir__text *t, FILE *file, size_t name_width)
{
	size_t from = t->length;

	row_name(p, t);
	pad(t, from, name_width);
	if (p->nonfinite) label(t, p->delta_norm == p->delta_norm ? "inf" : "nan", COLUMN);
	else cell(t, p->delta_norm, 'e', 2, COLUMN);
	cell(t, p->gain, 'f', 4, COLUMN);
	cell(t, p->param_grad_norm, 'e', 2, COLUMN);
	factors(p, t);
	if (p->out_nonfinite) label(t, p->out_norm == p->out_norm ? "inf" : "nan", COLUMN);
	else cell(t, p->out_norm, 'p', 4, COLUMN);
	cell(t, p->out_gain, 'f', 4, COLUMN);
	cell(t, 100 * p->out_zeros, 'f', 1, COLUMN);
	cell(t, p->update_ratio, 'e', 1, COLUMN);
	remarks(p, t);
	flush(t, file);
}

/* The lines of two layers read the same but for the norms, which follow from the gains. */
static bool alike(const weir_flow_layer *a, const weir_flow_layer *b)
{
	const weir_flow_layer *p[2] = { a, b };
	char buf[2][512];
	weir__text t[2];

	for (int i = 0; i < 2; i++) {
		weir__text_fixed(&t[i], buf[i], sizeof buf[i]);
		cell(&t[i], p[i]->gain, 'f', 4, COLUMN);
		cell(&t[i], p[i]->out_gain, 'f', 4, COLUMN);
		cell(&t[i], 100 * p[i]->out_zeros, 'f', 1, COLUMN);
		cell(&t[i], p[i]->update_ratio, 'e', 1, COLUMN);
		factors(p[i], &t[i]);
		remarks(p[i], &t[i]);
	}
	return t[0].length == t[1].length && !memcmp(buf[0], buf[1], t[0].length);
}

/* In place of layers begin .. end - 1. */
static void left_out(const weir_flow *f, weir__text *t, FILE *file, int64_t begin, int64_t end, bool same)
{
	double low = UNKNOWN, high = UNKNOWN;

	for (int64_t i = begin; i < end; i++) {
		double g = f->layers[i].public.gain;

		if (!(low <= g)) low = g == g ? g : low;
		if (!(high >= g)) high = g == g ? g : high;
	}
	weir__text_format(t, "  ... %lld more%s, ", (long long)(end - begin), same ? " like it" : "");
	row_name(&f->layers[begin].public, t);
	weir__text_str(t, " to ");
	row_name(&f->layers[end - 1].public, t);
	if (!same && low == low) {
		weir__text_str(t, ", gain ");
		weir__text_double(t, low, 'f', 4);
		weir__text_str(t, " to ");
		weir__text_double(t, high, 'f', 4);
	}
	flush(t, file);
}

static void rows(const weir_flow *f, weir__text *t, FILE *file)
{
	size_t width = NAME_WIDTH;
	bool is_long = f->count > LONG;

	for (int64_t i = 0; i < f->count; i++) {
		size_t n = strlen(f->layers[i].public.name) + 2;

		if (n > width) width = n < 60 ? n : 60;
	}
	columns(t, file, width);
	for (int64_t i = 0; i < f->count;) {
		int64_t j = i + 1;

		while (j < f->count && alike(&f->layers[i].public, &f->layers[j].public)) j++;
		if (j - i >= REPEATS) {
			for (int64_t k = i; k < i + SHOWN; k++) row(&f->layers[k].public, t, file, width);
			left_out(f, t, file, i + SHOWN, j - SHOWN, true);
			for (int64_t k = j - SHOWN; k < j; k++) row(&f->layers[k].public, t, file, width);
			i = j;
		} else if (is_long && i >= ENDS && i < f->count - ENDS) {
			left_out(f, t, file, i, f->count - ENDS, false);
			i = f->count - ENDS;
		} else {
			row(&f->layers[i].public, t, file, width);
			i++;
		}
	}
}

/* ---- what follows from it ---- */

static void legend(weir__text *t, FILE *file)
{
	static const char *const lines[] = {
		"|delta| gradient at the layer's output   gain: what the layer multiplies it by on its way back; 1 passes it unchanged",
		"|dW| gradient of its parameters   |W| its weights (Frobenius)   rms f' slope of its activation: W and f' make the gain",
		"rms out: its output   out gain: what it multiplies its input by   zero%: zeros in its output   upd/w: |last update| / |W|",
	};

	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		weir__text_str(t, lines[i]);
		flush(t, file);
	}
}

/* One line: what, the operation, and how many layers were passed until then. */
static void birth(weir__text *t, FILE *file, const char *what, const char *thing, const weir_flow_birth *b)
{
	if (!b->found) return;
	label(t, what, 9);
	weir__text_format(t, "first %s: %s%s (%s%s%s)", thing, b->backward ? "gradient of " : "", b->layer, b->op,
			  b->here[0] ? ", " : "", b->here);
	if (b->depth)
		weir__text_format(t, ", layer %lld from the %s", (long long)b->depth, b->backward ? "output" : "input");
	weir__text_format(t, ", step %lld", (long long)b->step);
	flush(t, file);
}

static void verdict(const weir_flow *f, weir__text *t, FILE *file)
{
	const weir_flow_summary *s = &f->sum;

	label(t, "VERDICT", 9);
	for (const char *c = weir_verdict_name(s->verdict); *c; c++)
		weir__text_bytes(t, &(char){ *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c }, 1);
	if (s->verdict > WEIR_FLOW_HEALTHY && f->count) {
		weir__text_str(t, ", ");
		row_name(&f->layers[s->last_layer].public, t);
		if (s->last_layer > s->first_layer) {
			weir__text_str(t, " .. ");
			row_name(&f->layers[s->first_layer].public, t);
		}
	}
	flush(t, file);
	if (!s->cause && !s->evidence[0]) return;
	label(t, "cause", 9);
	weir__text_str(t, s->cause ? s->cause : "");
	weir__text_str(t, s->cause && s->evidence[0] ? ": " : "");
	weir__text_str(t, s->evidence);
	flush(t, file);
}

static void conclusion(const weir_flow *f, weir__text *t, FILE *file)
{
	const weir_flow_summary *s = &f->sum;

	label(t, "total", 9);
	cell(t, s->total_gain, 'e', 2, 0);
	weir__text_str(t, "   what is left of the last layer's gradient at the first layer's input");
	flush(t, file);
	label(t, "slope", 9);
	cell(t, s->gain_per_layer, 'f', 4, 0);
	weir__text_str(t, " per layer = ");
	cell(t, s->bits_per_layer, 'f', 2, 0);
	weir__text_str(t, " bits   R2 ");
	cell(t, s->r2, 'f', 3, 0);
	flush(t, file);
	birth(t, file, "overflow", "inf", &s->first_inf);
	birth(t, file, "NaN", "NaN", &s->first_nan);
	for (int backward = 0; backward < 2; backward++) {
		birth(t, file, "underflow", "subnormal", &s->first_subnormal[backward]);
		birth(t, file, "zero", "nothing but zeros", &s->first_zero[backward]);
	}
	verdict(f, t, file);
}

bool weir_flow_report(const weir_flow *f, FILE *file, weir_flow_form form, const char *model)
{
	weir_fp_state saved;
	weir__text t;
	char buf[2048];

	if (!f || !file || !weir_ok(f->w)) return false;
	saved = weir__fp_enter(true);
	if (form == WEIR_FLOW_JSON) {
		weir__flow_json(f, file, model);
	} else {
		weir__text_fixed(&t, buf, sizeof buf);
		head(f, &t, file, model);
		rows(f, &t, file);
		legend(&t, file);
		conclusion(f, &t, file);
		weir__flow_say_whatif(f, &t, file);
	}
	weir__fp_leave(saved);
	if (!fflush(file) && !ferror(file)) return true;
	weir_fail(f->w, WEIR_ERR_IO, "weir_flow_report: the report could not be written");
	return false;
}
