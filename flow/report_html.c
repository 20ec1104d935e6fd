/* report_html.c: the last step's numbers as one page: verdict, figures, diagrams, births, table. It needs no other file and no script, follows the
 * reader's choice of light or dark, and everything that comes from outside is escaped.
 * It is longer than most because it holds the page's text and style. */
#include <string.h>

#include "flow/report.h"

enum { WHOLE_TABLE = 2000 }; /* layers up to which those that are left out stand there, too, folded away */

static const char *const style =
	":root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1c2126;--soft:#626b74;--rule:#dfe2e5;--a:#1f5fbf;"
	"--b:#d9822b;--c:#5b8f3a;--bad:#c62828;--ok:#2e7d4f;--low:#dbe7f8;--high:#f9dcd6}\n"
	"@media(prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2024;--ink:#e4e7ea;--soft:#9aa4ad;--rule:#343a40;"
	"--a:#6ea8fe;--b:#f0a35e;--c:#93c572;--bad:#ff7b72;--ok:#5fc58a;--low:#1f3350;--high:#4d2822}}\n"
	"*{box-sizing:border-box}body{margin:0 auto;padding:24px 20px 48px;max-width:1180px;background:var(--bg);color:var(--ink);"
	"font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\"DejaVu Sans\",sans-serif}\n"
	"h1{font-size:22px;margin:0 0 2px}h2{font-size:16px;margin:28px 0 8px}p{margin:4px 0}.soft{color:var(--soft)}\n"
	".verdict{margin:16px 0;padding:14px 18px;border-left:6px solid var(--bad);border-radius:6px;background:var(--card)}\n"
	".verdict b{font-size:19px;color:var(--bad)}.healthy{border-color:var(--ok)}.healthy b{color:var(--ok)}\n"
	".none{border-color:var(--soft)}.none b{color:var(--soft)}\n"
	"dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:8px;margin:0}\n"
	"dl div{background:var(--card);border:1px solid var(--rule);border-radius:6px;padding:7px 12px}\n"
	"dt{font-size:12px;color:var(--soft)}dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}\n"
	"figure{margin:14px 0;padding:12px 12px 6px;background:var(--card);border:1px solid var(--rule);border-radius:6px}\n"
	"figcaption{font-weight:600}svg{display:block;width:100%;height:auto}svg text{fill:var(--soft);font-size:12px}\n"
	".key{font-weight:400;font-size:13px;margin-left:14px;color:var(--soft)}.key:before{content:\"\";display:inline-block;width:16px;"
	"height:3px;margin-right:5px;vertical-align:middle;background:currentColor}\n"
	".key.s0:before{background:var(--a)}.key.s1:before{background:var(--b)}.key.s2:before{background:var(--c)}\n"
	".end{text-anchor:end}.middle,.name{text-anchor:middle}.grid{stroke:var(--rule);stroke-width:1;fill:none}\n"
	".axis{stroke:var(--soft);fill:none}.line{stroke:var(--ink);stroke-dasharray:5 4;fill:none;opacity:.55}\n"
	".curve{fill:none;stroke-width:2;stroke-linejoin:round}.curve.s0{stroke:var(--a)}.curve.s1{stroke:var(--b)}\n"
	".curve.s2{stroke:var(--c)}.dot.s0{fill:var(--a)}.dot.s1{fill:var(--b)}.dot.s2{fill:var(--c)}.bad{fill:var(--bad)}\n"
	".scroll{overflow-x:auto;border:1px solid var(--rule);border-radius:6px;background:var(--card)}\n"
	"table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;width:100%}\n"
	"th,td{padding:3px 10px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}\n"
	"th{position:sticky;top:0;background:var(--card)}td:first-child,th:first-child,td:last-child,th:last-child{text-align:left}\n"
	"tr.odd td:first-child{color:var(--bad);font-weight:600}td.low{background:var(--low)}td.high{background:var(--high)}\n"
	"td.more{text-align:left;color:var(--soft)}details{margin-top:10px}summary{cursor:pointer}\n"
	"ul{margin:0;padding-left:20px}code{font-size:13px}\n";

void weir__html_text(FILE *file, const char *s)
{
	size_t n = s ? strlen(s) : 0, size;

	for (size_t i = 0; i < n; i += size) {
		unsigned char c = (unsigned char)s[i];

		size = weir__utf8(s + i, n - i);
		if (c == '&') fputs("&amp;", file);
		else if (c == '<') fputs("&lt;", file);
		else if (c == '>') fputs("&gt;", file);
		else if (c == '"') fputs("&quot;", file);
		else if (!size) fputs("\xef\xbf\xbd", file);
		else if (c < ' ' || c == 0x7f) fputc(' ', file);
		else fwrite(s + i, 1, size, file);
		if (!size) size = 1;
	}
}

typedef struct page {
	const weir_flow *f;
	FILE *file;
	weir__text t;
	char buf[4096];
} page;

/* What was put together, as text. */
static void text(page *g)
{
	weir__html_text(g->file, g->t.data);
	weir__text_clear(&g->t);
}

/* ---- above the diagrams ---- */

static void head(page *g, const char *model)
{
	const weir_flow_summary *s = &g->f->sum;

	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>",
	      g->file);
	weir__text_format(&g->t, "gradient flow: %s", weir_verdict_name(s->verdict));
	text(g);
	fputs("</title>\n<style>\n", g->file);
	fputs(style, g->file);
	fputs("</style></head><body>\n<h1>Gradient flow</h1>\n<p>", g->file);
	if (model) {
		weir__html_text(g->file, model); /* of any length */
	} else {
		weir__text_format(&g->t, "%lld layers, ", (long long)g->f->count);
		weir__report_thousands(&g->t, s->parameters);
		weir__text_str(&g->t, " parameters");
		text(g);
	}
	fputs("</p>\n<p class=\"soft\">", g->file);
	weir__text_format(&g->t, "step %lld, layers measured in step %lld; %s", (long long)s->step,
			  (long long)s->measured,
			  s->subnormals_ieee ? "IEEE subnormals" : "subnormals flushed to zero");
	text(g);
	fputs("</p>\n", g->file);
}

static void verdict(page *g)
{
	const weir_flow *f = g->f;
	const weir_flow_summary *s = &f->sum;

	fputs(s->verdict == WEIR_FLOW_HEALTHY ? "<div class=\"verdict healthy\"><b>"
	      : s->verdict == WEIR_FLOW_NONE  ? "<div class=\"verdict none\"><b>"
					      : "<div class=\"verdict\"><b>",
	      g->file);
	weir__text_str(&g->t, weir_verdict_name(s->verdict));
	text(g);
	fputs("</b>", g->file);
	if (s->verdict > WEIR_FLOW_HEALTHY && f->count) {
		weir__text_str(&g->t, ", ");
		weir__report_name(&g->t, &f->layers[s->last_layer].public);
		if (s->last_layer > s->first_layer) {
			weir__text_str(&g->t, " .. ");
			weir__report_name(&g->t, &f->layers[s->first_layer].public);
		}
		text(g);
	}
	if (s->cause) {
		fputs("<p>cause: <strong>", g->file);
		weir__html_text(g->file, s->cause);
		fputs("</strong></p>", g->file);
	}
	if (s->evidence[0]) {
		fputs("<p>", g->file);
		weir__html_text(g->file, s->evidence);
		fputs("</p>", g->file);
	}
	fputs("</div>\n", g->file);
}

/* What stands in the text, with its name; nothing where nothing does. */
static void figure(page *g, const char *name)
{
	if (g->t.length) {
		fputs("<div><dt>", g->file);
		weir__html_text(g->file, name);
		fputs("</dt><dd>", g->file);
		text(g);
		fputs("</dd></div>\n", g->file);
	}
	weir__text_clear(&g->t);
}

static void number(page *g, const char *name, double x, char style_of, int digits)
{
	if (x == x) weir__text_double(&g->t, x, style_of, digits);
	figure(g, name);
}

static void power(page *g, const char *name, double bits)
{
	if (bits == bits) weir__report_power(&g->t, bits);
	figure(g, name);
}

static void of_layers(page *g)
{
	const weir_flow_summary *s = &g->f->sum;

	number(g, "loss", s->loss, 'p', 4);
	number(g, "gradient at the input, |dL/dx|", s->input_delta_norm, 'e', 2);
	number(g, "gain in all", s->total_gain, 'e', 2);
	power(g, "bound on it, the product of smax", s->bound_bits);
	power(g, "slack: bound / actual", s->slack_bits);
	if (s->gain_per_layer == s->gain_per_layer) weir__report_ratio(&g->t, s->gain_per_layer);
	figure(g, "gain per layer (slope)");
	number(g, "bits per layer", s->bits_per_layer, 'f', 2);
	number(g, "R² of the slope", s->r2, 'f', 3);
	if (s->chi1 >= 0) weir__report_ratio(&g->t, __builtin_sqrt(s->chi1));
	figure(g, "theory: gain per layer, √χ₁");
	if (s->xi == s->xi) weir__report_depth_scale(&g->t, s->xi);
	figure(g, "theory: depth scale ξ, layers");
	if (s->q_star == s->q_star) weir__report_fixed_point(&g->t, s->q_star);
	figure(g, "theory: fixed point q*");
	weir__report_budget(&g->t, &s->f32, " more such layers");
	figure(g, "f32");
	weir__report_budget(&g->t, &s->bf16, " more such layers");
	figure(g, "bf16");
	weir__report_budget(&g->t, &s->f16, " more such layers");
	figure(g, "f16");
}

static void of_training(page *g)
{
	const weir_flow_summary *s = &g->f->sum;

	number(g, "norm of all weights", s->param_norm, 'p', 4);
	number(g, "norm of all gradients", s->param_grad_norm, 'e', 2);
	number(g, "norm of the update", s->update_norm, 'e', 2);
	weir__text_format(&g->t, "%lld non-finite, %lld subnormal", (long long)s->nonfinite, (long long)s->subnormals);
	figure(g, "numbers in the gradients");
	if (s->grad_spikes || s->loss_spikes)
		weir__text_format(&g->t, "gradient norm %lld%s, loss %lld%s", (long long)s->grad_spikes,
				  s->grad_spike ? " (now)" : "", (long long)s->loss_spikes,
				  s->loss_spike ? " (now)" : "");
	figure(g, "spikes so far");
	if (s->loss_sign != WEIR_LOSS_PLAIN)
		weir__text_format(&g->t, "%s for %lld steps", weir_loss_sign_name(s->loss_sign),
				  (long long)s->loss_sign_steps);
	figure(g, "the loss itself");
	number(g, "loss, training set", s->train_loss, 'p', 4);
	number(g, "loss, validation set", s->validation_loss, 'p', 4);
	number(g, "generalisation gap", s->validation_loss - s->train_loss, 'p', 4);
	number(g, "L2 penalty", s->penalty, 'p', 4);
	number(g, "gradient noise scale", s->noise.noise_scale, 'p', 3);
	number(g, "largest Hessian eigenvalue", s->curvature.top, 'p', 4);
	number(g, "trace of the Hessian", s->curvature.trace, 'p', 4);
	number(g, "measuring, % of the step", 100 * s->own_share, 'f', 1);
}

/* ---- births, modules, the table ---- */

static void births(page *g)
{
	const weir_flow_birth *b;
	const char *what, *thing;
	bool any = false;

	for (int i = 0; weir__report_birth_at(&g->f->sum, i, &b, &what, &thing); i++) {
		if (!b->found) continue;
		fputs(any ? "<li>" : "<h2>Where numbers broke</h2>\n<ul><li>", g->file);
		any = true;
		weir__text_format(&g->t, "%s: ", what);
		weir__report_birth(&g->t, thing, b);
		text(g);
		weir__report_origin(&g->t, b);
		if (g->t.length) fputs("<br><code>", g->file);
		if (g->t.length) text(g), fputs("</code>", g->file);
		weir__report_path(&g->t, b);
		if (g->t.length) fputs("<br><span class=\"soft\">path: ", g->file);
		if (g->t.length) text(g), fputs("</span>", g->file);
		fputs("</li>\n", g->file);
	}
	if (any) fputs("</ul>\n", g->file);
}

static void modules(page *g)
{
	if (g->f->n_wholes) fputs("<h2>Modules called several times</h2>\n<ul>", g->file);
	for (int64_t i = 0; i < g->f->n_wholes; i++) {
		const weir_flow_whole *m = &g->f->wholes[i];

		fputs("<li>", g->file);
		weir__text_format(&g->t, "%s, %lld calls: gain ", m->name, (long long)m->calls);
		weir__report_ratio(&g->t, m->gain_per_call);
		weir__text_str(&g->t, " per call, ");
		weir__report_number(&g->t, m->gain, 'e', 2);
		weir__text_str(&g->t, " in all");
		text(g);
		fputs("</li>\n", g->file);
	}
	if (g->f->n_wholes) fputs("</ul>\n", g->file);
}

static void row(page *g, const weir_flow_layer *p, unsigned shown)
{
	fputs(weir__report_odd(g->f, p) ? "<tr class=\"odd\"><td>" : "<tr><td>", g->file);
	weir__report_name(&g->t, p);
	text(g);
	for (int c = 0; c < WEIR__COLUMNS; c++) {
		bool gain = !strcmp(weir__column_name(c), "gain");

		if (!(shown >> c & 1)) continue;
		fputs(gain && p->gain < 0.5 ? "<td class=\"low\">"
		      : gain && p->gain > 2 ? "<td class=\"high\">"
					    : "<td>",
		      g->file);
		weir__column_cell(&g->t, p, c);
		text(g);
	}
	fputs("<td>", g->file);
	weir__report_remarks(&g->t, p);
	text(g);
	fputs("</tr>\n", g->file);
}

static int begin_table(page *g, unsigned shown)
{
	int count = 2;

	fputs("<div class=\"scroll\"><table><thead><tr><th>layer", g->file);
	for (int c = 0; c < WEIR__COLUMNS; c++) {
		if (!(shown >> c & 1)) continue;
		fputs("<th title=\"", g->file);
		weir__html_text(g->file, weir__column_legend(c));
		fputs("\">", g->file);
		weir__html_text(g->file, weir__column_name(c));
		count++;
	}
	fputs("<th>operations</tr></thead><tbody>\n", g->file);
	return count;
}

static void end_table(page *g)
{
	fputs("</tbody></table></div>\n", g->file);
}

/* What repairs did that were tried. */
static void trial(page *g, const weir_flow_trial *p, bool changed)
{
	const struct {
		double x;
		char style;
		int digits;
	} cells[] = { { p->total_gain, 'e', 1 },
		      { p->gain_per_layer, 'f', 3 },
		      { p->loss, 'p', 4 },
		      { p->loss_after, 'p', 4 },
		      { p->cost, 'f', 2 } };

	fputs("<tr><td>", g->file);
	weir__html_text(g->file, p->name);
	for (size_t c = 0; c < sizeof cells / sizeof *cells; c++) {
		fputs("<td>", g->file);
		weir__report_number(&g->t, cells[c].x, cells[c].style, cells[c].digits);
		text(g);
	}
	fputs("<td>", g->file);
	weir__html_text(g->file, !p->ok                         ? p->error
				 : !changed                     ? "nothing to change"
				 : p->verdict == WEIR_FLOW_NONE ? "-"
								: weir_verdict_name(p->verdict));
	fputs("</tr>\n", g->file);
}

static void trials(page *g)
{
	int64_t n = weir_flow_trial_count(g->f);

	if (!n) return;
	fputs("<h2>What if: the same batch, with one thing changed</h2>\n<div class=\"scroll\"><table><thead><tr><th>repair"
	      "<th>gain in all<th>per layer<th>loss<th>loss after steps<th>time, times<th>verdict</tr></thead><tbody>\n",
	      g->file);
	for (int64_t i = 0; i < n; i++) {
		const weir_flow_trial *p = weir_flow_trial_at(g->f, i);

		trial(g, p, !i || p->changed);
	}
	end_table(g);
}

static void layers(page *g)
{
	const weir_flow *f = g->f;
	unsigned shown = weir__columns_shown(f);
	weir__lines lines;
	int columns;

	if (!f->count || !weir__report_lines(f, &lines)) return;
	fputs("<h2>Layers, from the input side to the output side</h2>\n", g->file);
	columns = begin_table(g, shown);
	for (int64_t i = 0; i < lines.count; i++) {
		const weir__line *l = &lines.line[i];

		if (l->first == l->last) {
			row(g, &f->layers[l->first].public, shown);
			continue;
		}
		weir__text_format(&g->t, "<tr><td class=\"more\" colspan=\"%d\">", columns);
		fputs(g->t.data, g->file);
		weir__text_clear(&g->t);
		weir__report_left_out(f, l, &g->t);
		text(g);
		fputs("</td></tr>\n", g->file);
	}
	end_table(g);
	fputs("<p class=\"soft\">", g->file);
	for (int c = 0; c < WEIR__COLUMNS; c++) {
		if (!(shown >> c & 1)) continue;
		weir__text_format(&g->t, "%s: %s. ", weir__column_name(c), weir__column_legend(c));
		text(g);
	}
	fputs("</p>\n", g->file);
	if (lines.count < f->count && f->count <= WHOLE_TABLE) {
		fputs("<details><summary>all layers</summary>\n", g->file);
		begin_table(g, shown);
		for (int64_t i = 0; i < f->count; i++) row(g, &f->layers[i].public, shown);
		end_table(g);
		fputs("</details>\n", g->file);
	}
	weir__report_lines_free(f, &lines);
}

void weir__flow_html(const weir_flow *f, FILE *file, const char *model)
{
	page g = { .f = f, .file = file };

	weir__text_fixed(&g.t, g.buf, sizeof g.buf);
	head(&g, model);
	verdict(&g);
	fputs("<dl>\n", file);
	of_layers(&g);
	of_training(&g);
	fputs("</dl>\n", file);
	weir__report_diagrams(f, file);
	births(&g);
	modules(&g);
	trials(&g);
	layers(&g);
	fputs("</body></html>\n", file);
}
