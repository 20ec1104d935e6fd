/* report_whatif.c: the trials of weir_flow_whatif(), in the table and in the JSON object:
 *
 *   "whatif": null where it was not run, else an array, in the order of weir_flow_trial_at(): the network as it is, then by merit:
 *       {"repair", "changed", "error": null or text, "total_gain", "gain_per_layer", "verdict": null where not measured, "loss",
 *        "loss_after", "update_norm", "nonfinite_steps", "operations", "cost"}
 *   "whatif_steps", "advice": 0 and null where it was not run */
#include "flow/report.h"
#include "flow/whatif.h"

enum { NAME = 51, NUMBER = 11, VERDICT = 12 };

static void fill(weir__text *t, size_t from, size_t width)
{
	size_t used = t->length - from;

	weir__text_repeat(t, ' ', used < width ? width - used : 1);
}

static void word(weir__text *t, const char *s, size_t width)
{
	size_t from = t->length;

	weir__text_str(t, s);
	fill(t, from, width);
}

static void figure(weir__text *t, double x, char style, int digits)
{
	size_t from = t->length;

	if (x == x) weir__text_double(t, x, style, digits);
	else weir__text_str(t, "-");
	fill(t, from, NUMBER);
}

static void end_line(weir__text *t, FILE *file)
{
	while (t->length && t->data[t->length - 1] == ' ') t->data[--t->length] = 0;
	weir__text_str(t, "\n");
	fwrite(t->data, 1, t->length, file);
	weir__text_clear(t);
}

static void head(const weir__whatif *s, weir__text *t, FILE *file)
{
	size_t from = t->length;

	if (s->steps) weir__text_format(t, "what-if  (same batch, %lld steps each)", (long long)s->steps);
	else weir__text_str(t, "what-if  (same batch, 1 forward + backward each)");
	fill(t, from, NAME);
	word(t, "total", NUMBER);
	word(t, "/layer", NUMBER);
	word(t, "verdict", VERDICT);
	word(t, "loss", NUMBER);
	if (s->steps) word(t, "then", NUMBER);
	if (s->steps) word(t, "|update|", NUMBER);
	weir__text_str(t, "cost");
	end_line(t, file);
}

static void line(const weir__whatif *s, const weir_flow_trial *p, weir__text *t, FILE *file)
{
	size_t from = t->length;

	weir__text_str(t, "  ");
	weir__text_str(t, p->name);
	fill(t, from, NAME);
	if (!p->ok) {
		weir__text_str(t, p->error);
		end_line(t, file);
		return;
	}
	figure(t, p->total_gain, 'e', 1);
	figure(t, p->gain_per_layer, 'f', 3);
	word(t, p->verdict == WEIR_FLOW_NONE ? "-" : weir_verdict_name(p->verdict), VERDICT);
	figure(t, p->loss, 'p', 4);
	if (s->steps && p->nonfinite_steps) word(t, "not finite", NUMBER);
	else if (s->steps) figure(t, p->loss_after, 'p', 4);
	if (s->steps) figure(t, p->update_norm, 'e', 1);
	figure(t, p->cost, 'f', 2);
	end_line(t, file);
}

void weir__flow_say_whatif(const weir_flow *f, weir__text *t, FILE *file)
{
	const weir__whatif *s = f->whatif;
	const char *comma = "  nothing to change: ";

	if (!s) return;
	head(s, t, file);
	for (int64_t i = 0; i < s->trials; i++) {
		if (s->trial[i].changed || !s->trial[i].ok || i == 0) line(s, &s->trial[i], t, file);
	}
	for (int64_t i = 1; i < s->trials; i++) {
		if (s->trial[i].changed || !s->trial[i].ok) continue;
		weir__text_str(t, comma);
		weir__text_str(t, s->trial[i].name);
		comma = "; ";
	}
	if (t->length) end_line(t, file);
	weir__text_str(t, "suggest  ");
	weir__text_str(t, s->advice);
	end_line(t, file);
}

/* ---- JSON ---- */

static void trial(weir__json *j, const weir_flow_trial *p)
{
	weir__json_begin_object(j);
	weir__json_put_string(j, "repair", p->name);
	weir__json_put_bool(j, "changed", p->changed);
	weir__json_put_string(j, "error", p->ok ? NULL : p->error);
	weir__json_put_double(j, "total_gain", p->total_gain);
	weir__json_put_double(j, "gain_per_layer", p->gain_per_layer);
	weir__json_put_string(j, "verdict", p->verdict == WEIR_FLOW_NONE ? NULL : weir_verdict_name(p->verdict));
	weir__json_put_double(j, "loss", p->loss);
	weir__json_put_double(j, "loss_after", p->loss_after);
	weir__json_put_double(j, "update_norm", p->update_norm);
	weir__json_put_int(j, "nonfinite_steps", p->nonfinite_steps);
	weir__json_put_double(j, "operations", p->operations);
	weir__json_put_double(j, "cost", p->cost);
	weir__json_end(j);
}

void weir__flow_json_whatif(const weir_flow *f, weir__json *j)
{
	const weir__whatif *s = f->whatif;

	weir__json_key(j, "whatif");
	if (s) weir__json_begin_array(j);
	else weir__json_null(j);
	for (int64_t i = 0; s && i < s->trials; i++) trial(j, &s->trial[i]);
	if (s) weir__json_end(j);
	weir__json_put_int(j, "whatif_steps", s ? s->steps : 0);
	weir__json_put_string(j, "advice", s ? s->advice : NULL);
}
