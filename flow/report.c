/* report.c: the last step's numbers in the terminal, and the entrance for all forms. What is not known is left out, or a dash in the table.
 * It is longer than most because each line of the report is a function of its own. */
#include "flow/report.h"

#include <string.h>

#include "engine/number.h"
#include "kernels/fpenv.h"

enum {
	WIDE = 150,     /* of lines that can be broken */
	NAME_MOST = 44, /* of a layer's name; its end tells more than its beginning */
	LABEL = 9,
};

static void pad(weir__text *t, size_t from, size_t width)
{
	size_t used = t->length - from;

	weir__text_repeat(t, ' ', used < width ? width - used : 1);
}

static void label(weir__text *t, const char *s)
{
	size_t from = t->length;

	weir__text_str(t, s);
	pad(t, from, LABEL);
}

static void flush(weir__text *t, FILE *file)
{
	while (t->length && t->data[t->length - 1] == ' ') t->data[--t->length] = 0;
	fwrite(t->data, 1, t->length, file);
	fputc('\n', file);
	weir__text_clear(t);
}

/* "   name 1.23e-04", where it is known. */
static bool figure(weir__text *t, const char *name, double x, char style, int digits)
{
	if (x != x) return false;
	weir__text_str(t, name);
	weir__text_double(t, x, style, digits);
	return true;
}

static void head(const weir_flow *f, weir__text *t, FILE *file, const char *model)
{
	const weir_flow_summary *s = &f->sum;

	if (model) {
		fputs(model, file); /* of any length */
	} else {
		weir__text_format(t, "%lld layers, ", (long long)f->count);
		weir__report_thousands(t, s->parameters);
		weir__text_str(t, " parameters");
	}
	flush(t, file);
	weir__text_format(t, "step %lld   loss ", (long long)s->step);
	weir__text_double(t, s->loss, 'p', 4);
	weir__text_str(t, "   |dL/dx| ");
	weir__report_number(t, s->input_delta_norm, 'e', 2);
	weir__text_format(t, "   non-finite %lld   subnormal %lld   %s", (long long)s->nonfinite,
			  (long long)s->subnormals,
			  s->subnormals_ieee ? "IEEE subnormals" : "subnormals flushed to zero");
	if (figure(t, "   measured at ", 100 * s->own_share, 'f', 1)) weir__text_str(t, " % of the step");
	flush(t, file);
	if (s->measured >= s->step || !f->count) return;
	weir__text_format(t, "layers as measured in step %lld, norms of this one", (long long)s->measured);
	flush(t, file);
}

/* ---- the table ---- */

typedef struct table {
	const weir_flow *f;
	unsigned shown;
	size_t name_width, width[WEIR__COLUMNS];
} table;

/* A long name loses its beginning, at a whole character. */
static void short_name(weir__text *t, const weir_flow_layer *p)
{
	char buf[1024];
	weir__text name;
	size_t cut;

	weir__text_fixed(&name, buf, sizeof buf);
	weir__report_name(&name, p);
	if (name.length <= NAME_MOST) {
		weir__text_str(t, buf);
		return;
	}
	cut = name.length - (NAME_MOST - 3);
	while (((unsigned char)buf[cut] & 0xc0) == 0x80) cut++;
	weir__text_str(t, "...");
	weir__text_str(t, buf + cut);
}

/* As wide as the widest cell that stands there. */
static void measure(table *b, const weir__lines *lines)
{
	char buf[256];
	weir__text t;

	weir__text_fixed(&t, buf, sizeof buf);
	b->name_width = strlen("layer");
	for (int c = 0; c < WEIR__COLUMNS; c++) b->width[c] = strlen(weir__column_name(c));
	for (int64_t i = 0; i < lines->count; i++) {
		const weir_flow_layer *p = &b->f->layers[lines->line[i].first].public;

		if (lines->line[i].last > lines->line[i].first) continue;
		short_name(&t, p);
		if (t.length > b->name_width) b->name_width = t.length;
		for (int c = 0; c < WEIR__COLUMNS; c++) {
			weir__text_clear(&t);
			weir__column_cell(&t, p, c);
			if (t.length > b->width[c]) b->width[c] = t.length;
		}
		weir__text_clear(&t);
	}
}

static void row(const table *b, const weir_flow_layer *p, weir__text *t, FILE *file)
{
	size_t from = t->length;

	if (p) short_name(t, p);
	else weir__text_str(t, "layer");
	pad(t, from, b->name_width + 2);
	for (int c = 0; c < WEIR__COLUMNS; c++) {
		if (!(b->shown >> c & 1)) continue;
		from = t->length;
		if (p) weir__column_cell(t, p, c);
		else weir__text_str(t, weir__column_name(c));
		pad(t, from, b->width[c] + 2);
	}
	if (p) weir__report_remarks(t, p);
	else weir__text_str(t, "operations");
	flush(t, file);
}

/* What the columns are that stand there. */
static void legend(const table *b, weir__text *t, FILE *file)
{
	for (int c = 0; c < WEIR__COLUMNS; c++) {
		size_t more = strlen(weir__column_name(c)) + strlen(weir__column_legend(c)) + 5;

		if (!(b->shown >> c & 1)) continue;
		if (t->length && t->length + more > WIDE) flush(t, file);
		weir__text_format(t, "%s%s: %s", t->length ? "   " : "", weir__column_name(c), weir__column_legend(c));
	}
	if (t->length) flush(t, file);
}

static void rows(const weir_flow *f, weir__text *t, FILE *file)
{
	table b = { .f = f, .shown = weir__columns_shown(f) };
	weir__lines lines;

	if (!f->count || !weir__report_lines(f, &lines)) return;
	measure(&b, &lines);
	row(&b, NULL, t, file);
	for (int64_t i = 0; i < lines.count; i++) {
		const weir__line *l = &lines.line[i];

		if (l->first == l->last) {
			row(&b, &f->layers[l->first].public, t, file);
			continue;
		}
		weir__text_str(t, "  ");
		weir__report_left_out(f, l, t);
		flush(t, file);
	}
	weir__report_lines_free(f, &lines);
	legend(&b, t, file);
}

/* ---- what follows from it ---- */

static void total_line(const weir_flow_summary *s, weir__text *t, FILE *file)
{
	label(t, "total");
	weir__text_str(t, "actual ");
	if (is_finite(s->actual_bits)) weir__report_power(t, s->actual_bits);
	else weir__report_number(t, s->total_gain, 'e', 2);
	if (s->bound_bits == s->bound_bits) {
		weir__text_str(t, "   bound ");
		weir__report_power(t, s->bound_bits);
		weir__text_str(t, "   slack ");
		weir__report_power(t, s->slack_bits);
		if (s->slack_bits == s->slack_bits) weir__text_str(t, "x");
	}
	weir__text_str(t, "   what is left of the last layer's gradient at the first layer's input");
	flush(t, file);
}

static void slope_line(const weir_flow_summary *s, weir__text *t, FILE *file)
{
	label(t, "slope");
	weir__report_ratio(t, s->gain_per_layer);
	weir__text_str(t, " per layer = ");
	weir__report_number(t, s->bits_per_layer, 'f', 2);
	weir__text_str(t, " bits   R2 ");
	weir__report_number(t, s->r2, 'f', 3);
	if (s->chi1 == s->chi1 && s->chi1 >= 0) {
		weir__text_str(t, "   theory ");
		weir__report_ratio(t, __builtin_sqrt(s->chi1));
	}
	if (s->xi == s->xi) weir__text_str(t, "   depth scale xi ");
	if (s->xi == s->xi) weir__report_depth_scale(t, s->xi);
	if (s->xi >= 0 && is_finite(s->xi)) weir__text_str(t, " layers");
	if (s->q_star == s->q_star) weir__text_str(t, "   fixed point q* ");
	if (s->q_star == s->q_star) weir__report_fixed_point(t, s->q_star);
	flush(t, file);
}

static void budget_line(const weir_flow_summary *s, weir__text *t, FILE *file)
{
	const struct {
		const char *name;
		const weir_flow_budget *budget;
	} types[] = { { "f32 ", &s->f32 }, { "bf16 ", &s->bf16 }, { "f16 ", &s->f16 } };
	bool some = false;

	if (s->r2 < 0.5) return; /* no slope that one could go on with */
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		size_t from = t->length;

		if (some) weir__text_str(t, "; ");
		else label(t, "budget");
		weir__text_str(t, types[i].name);
		if (weir__report_budget(t, types[i].budget, some ? "" : " more such layers")) {
			some = true;
			continue;
		}
		t->length = from;
		t->data[from] = 0;
	}
	if (some) flush(t, file);
}

static void wholes(const weir_flow *f, weir__text *t, FILE *file)
{
	for (int64_t i = 0; i < f->n_wholes; i++) {
		const weir_flow_whole *m = &f->wholes[i];

		label(t, "module");
		weir__text_format(t, "%s, called %lld times", m->name, (long long)m->calls);
		if (m->gain == m->gain) {
			weir__text_str(t, ": gain ");
			weir__report_ratio(t, m->gain_per_call);
			weir__text_str(t, " per call, ");
			weir__report_number(t, m->gain, 'e', 2);
			weir__text_str(t, " in all");
		}
		figure(t, "   |dW| ", m->param_grad_norm, 'e', 2);
		figure(t, "   |W| ", m->weight_norm, 'p', 4);
		flush(t, file);
	}
}

static void births(const weir_flow_summary *s, weir__text *t, FILE *file)
{
	const weir_flow_birth *b;
	const char *what, *thing;

	for (int i = 0; weir__report_birth_at(s, i, &b, &what, &thing); i++) {
		if (!b->found) continue;
		label(t, what);
		weir__report_birth(t, thing, b);
		flush(t, file);
		label(t, "");
		weir__report_origin(t, b);
		if (t->length > LABEL) flush(t, file);
		weir__text_clear(t);
		label(t, "");
		weir__text_str(t, "path: ");
		weir__report_path(t, b);
		if (b->path && b->path_length > 0) flush(t, file);
		weir__text_clear(t);
	}
}

static void norms_line(const weir_flow_summary *s, weir__text *t, FILE *file)
{
	bool some;

	label(t, "norms");
	some = figure(t, "all weights ", s->param_norm, 'p', 4);
	some |= figure(t, some ? "   all gradients " : "all gradients ", s->param_grad_norm, 'e', 2);
	some |= figure(t, some ? "   update " : "update ", s->update_norm, 'e', 2);
	if (some) flush(t, file);
	weir__text_clear(t);
}

static void spikes_line(const weir_flow *f, weir__text *t, FILE *file)
{
	const weir_flow_summary *s = &f->sum;
	int64_t layers = 0, most = 0;

	for (int64_t i = 0; i < f->count; i++) {
		layers += f->layers[i].public.spikes > 0;
		if (f->layers[i].public.spikes > f->layers[most].public.spikes) most = i;
	}
	if (!layers && !s->grad_spikes && !s->loss_spikes) return;
	label(t, "spikes");
	weir__text_format(t, "so far: gradient norm %lld%s, loss %lld%s", (long long)s->grad_spikes,
			  s->grad_spike ? " (now)" : "", (long long)s->loss_spikes, s->loss_spike ? " (now)" : "");
	if (layers) {
		weir__text_format(t, ", %lld layer%s, most in ", (long long)layers, layers > 1 ? "s" : "");
		weir__report_name(t, &f->layers[most].public);
		weir__text_format(t, ": %lld", (long long)f->layers[most].public.spikes);
	}
	flush(t, file);
}

static void loss_lines(const weir_flow_summary *s, weir__text *t, FILE *file)
{
	static const char *const means[] = {
		[WEIR_LOSS_GUESSING] = ", flat at ln(classes): a sign of vanishing gradients",
		[WEIR_LOSS_JUMPING] = ": a sign of exploding gradients",
		[WEIR_LOSS_NONFINITE] = "",
	};

	if (s->loss_sign != WEIR_LOSS_PLAIN) {
		label(t, "loss");
		weir__text_format(t, "%s for %lld step%s%s", weir_loss_sign_name(s->loss_sign),
				  (long long)s->loss_sign_steps, s->loss_sign_steps == 1 ? "" : "s",
				  means[s->loss_sign]);
		flush(t, file);
	}
	if (s->train_loss != s->train_loss && s->validation_loss != s->validation_loss) return;
	label(t, "losses");
	weir__text_str(t, "train ");
	weir__report_number(t, s->train_loss, 'p', 4);
	weir__text_str(t, "   validation ");
	weir__report_number(t, s->validation_loss, 'p', 4);
	figure(t, "   gap ", s->validation_loss - s->train_loss, 'p', 4);
	figure(t, "   L2 penalty ", s->penalty, 'p', 4);
	flush(t, file);
}

/* What was measured on request. */
static void on_request(const weir_flow_summary *s, weir__text *t, FILE *file)
{
	const weir_flow_noise *n = &s->noise;
	const weir_flow_curvature *c = &s->curvature;

	if (n->samples) {
		label(t, "noise");
		weir__text_format(t, "gradients of %lld samples ", (long long)n->samples);
		weir__report_number(t, n->norm_min, 'e', 2);
		figure(t, " to ", n->norm_max, 'e', 2);
		figure(t, ", median ", n->norm_median, 'e', 2);
		figure(t, "   their mean ", n->grad_norm, 'e', 2);
		weir__text_str(t, "   noise scale ");
		if (n->noise_scale > 1e300) weir__text_str(t, "beyond this batch: no signal is left in its mean");
		else weir__report_number(t, n->noise_scale, 'p', 3);
		flush(t, file);
	}
	if (c->top == c->top || c->trace == c->trace) {
		label(t, "Hessian");
		weir__text_str(t, "largest eigenvalue ");
		weir__report_number(t, c->top, 'p', 4);
		figure(t, " (residual ", c->residual, 'e', 1);
		weir__text_str(t, c->residual == c->residual ? ")   trace " : "   trace ");
		weir__report_number(t, c->trace, 'p', 4);
		figure(t, " +- ", c->trace_error, 'p', 2);
		flush(t, file);
	}
}

static void verdict(const weir_flow *f, weir__text *t, FILE *file)
{
	const weir_flow_summary *s = &f->sum;

	label(t, "VERDICT");
	for (const char *c = weir_verdict_name(s->verdict); *c; c++)
		weir__text_bytes(t, &(char){ *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c }, 1);
	if (s->verdict > WEIR_FLOW_HEALTHY && f->count) {
		weir__text_str(t, ", ");
		weir__report_name(t, &f->layers[s->last_layer].public);
		if (s->last_layer > s->first_layer) {
			weir__text_str(t, " .. ");
			weir__report_name(t, &f->layers[s->first_layer].public);
		}
	}
	flush(t, file);
	if (!s->cause && !s->evidence[0]) return;
	label(t, "cause");
	weir__text_str(t, s->cause ? s->cause : "");
	weir__text_str(t, s->cause && s->evidence[0] ? ": " : "");
	weir__text_str(t, s->evidence);
	flush(t, file);
}

static void table_form(const weir_flow *f, FILE *file, const char *model)
{
	const weir_flow_summary *s = &f->sum;
	weir__text t;
	char buf[4096];

	weir__text_fixed(&t, buf, sizeof buf);
	head(f, &t, file, model);
	rows(f, &t, file);
	total_line(s, &t, file);
	slope_line(s, &t, file);
	budget_line(s, &t, file);
	wholes(f, &t, file);
	norms_line(s, &t, file);
	spikes_line(f, &t, file);
	loss_lines(s, &t, file);
	births(s, &t, file);
	on_request(&f->sum, &t, file);
	verdict(f, &t, file);
	weir__flow_say_whatif(f, &t, file);
}

bool weir_flow_report(const weir_flow *f, FILE *file, weir_flow_form form, const char *model)
{
	weir_fp_state saved;

	if (!f || !weir_ok(f->w)) return false;
	if (!file || (unsigned)form > WEIR_FLOW_HTML) {
		weir_fail(f->w, WEIR_ERR_ARGUMENT, "weir_flow_report: %s",
			  file ? "there is no such form; it is one of enum weir_flow_form" : "file is NULL");
		return false;
	}
	saved = weir__fp_enter(true);
	if (form == WEIR_FLOW_JSON) weir__flow_json(f, file, model);
	else if (form == WEIR_FLOW_HTML) weir__flow_html(f, file, model);
	else table_form(f, file, model);
	weir__fp_leave(saved);
	if (!fflush(file) && !ferror(file)) return weir_ok(f->w);
	weir_fail(f->w, WEIR_ERR_IO, "weir_flow_report: the report could not be written");
	return false;
}
