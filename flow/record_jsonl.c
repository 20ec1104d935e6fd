/* record_jsonl.c: JSON lines. Each line is written with one call, so that whatever ends the process, at most the last line is lost.
 *
 * The first line, and another one wherever the layers change, says what the arrays of the lines below it are about:
 *   {"schema": "weir.flow.steps/1", "layers": [names, input side first], "calls": [which call of the module], "ops": [operations]}
 * Every other line is a step:
 *   {"step", "time" (seconds since 1970), "loss", "loss_is" ("nan", "inf", "-inf": only where the loss is not finite), "grad_norm" (over all
 *    parameters), "measured" (as a whole; else verdict, counts and gains per layer are of the last step that was),
 *    "verdict", "gain_per_layer", "total_gain", "input_delta_norm", "delta": [per layer], "gain": [per layer] (both null where the step had
 *    other layers), "nonfinite_layers" (whose gradient has an inf or NaN), "nonfinite", "subnormals" (counts in all layers' gradients),
 *    "own_share", "train_loss", "validation_loss" (where known),
 *    "spikes": [layers, from 1] (where there are any), "grad_spike", "loss_spike": true (where there is one), "loss_sign" (where there is one),
 *    where it was measured as a whole, per layer: "out_norm", "weight_norm", "update_ratio", "act_slope", "saturated", "dead_units",
 *    "births": [{"what": "first_inf", "first_nan" or "first_overflow", "layer", "op", "here", "pass", "step"}] (when new)}
 * What is not finite or not known is null. */
#include <fcntl.h>

#include "engine/json_write.h"
#include "flow/record.h"

enum { TOLD = 3 };
enum { LINE = 6144, PER_LAYER = 210 }; /* bytes that a line has at most: seven numbers of a layer, a count, a spike */

typedef struct lines {
	uint64_t layers; /* which the last header named */
	bool told[TOLD]; /* of the first inf, NaN, overflow */
} lines;

static uint64_t layers_key(const weir_flow *f)
{
	uint64_t key = 14695981039346656037u ^ (uint64_t)f->count;

	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		key = (key ^ (uint64_t)(uintptr_t)p->name ^ (uint64_t)p->call << 48) * 1099511628211u;
		for (const char *c = p->op; *c; c++) key = (key ^ (unsigned char)*c) * 1099511628211u;
	}
	return key ? key : 1;
}

static void header(const weir_flow *f, weir__json *j)
{
	weir__json_begin_object(j);
	weir__json_put_string(j, "schema", "weir.flow.steps/1");
	weir__json_put_array(j, "layers");
	for (int64_t i = 0; i < f->count; i++) weir__json_string(j, f->layers[i].public.name);
	weir__json_end(j);
	weir__json_put_array(j, "calls");
	for (int64_t i = 0; i < f->count; i++) weir__json_int(j, f->layers[i].public.call);
	weir__json_end(j);
	weir__json_put_array(j, "ops");
	for (int64_t i = 0; i < f->count; i++) weir__json_string(j, f->layers[i].public.op);
	weir__json_end(j);
	weir__json_end(j);
}

static void column(const weir_flow *f, weir__json *j, const char *key, size_t offset)
{
	weir__json_put_array(j, key);
	for (int64_t i = 0; i < f->count; i++)
		weir__json_double(j, *(const double *)(const void *)((const char *)&f->layers[i].public + offset));
	weir__json_end(j);
}

static void whole_columns(const weir_flow *f, weir__json *j)
{
	column(f, j, "out_norm", offsetof(weir_flow_layer, out_norm));
	column(f, j, "weight_norm", offsetof(weir_flow_layer, weight_norm));
	column(f, j, "update_ratio", offsetof(weir_flow_layer, update_ratio));
	column(f, j, "act_slope", offsetof(weir_flow_layer, act_slope));
	column(f, j, "saturated", offsetof(weir_flow_layer, saturated));
	weir__json_put_array(j, "dead_units");
	for (int64_t i = 0; i < f->count; i++) {
		if (f->layers[i].public.dead_units < 0) weir__json_null(j);
		else weir__json_int(j, f->layers[i].public.dead_units);
	}
	weir__json_end(j);
}

static void spikes(const weir_flow *f, weir__json *j)
{
	const weir_flow_summary *s = &f->sum;
	bool any = false;

	for (int64_t i = 0; i < f->count; i++) {
		if (!f->layers[i].public.spike) continue;
		if (!any) weir__json_put_array(j, "spikes");
		any = true;
		weir__json_int(j, i + 1);
	}
	if (any) weir__json_end(j);
	if (s->grad_spike) weir__json_key(j, "grad_spike"), weir__json_bool(j, true);
	if (s->loss_spike) weir__json_key(j, "loss_spike"), weir__json_bool(j, true);
	if (s->loss_sign != WEIR_LOSS_PLAIN) weir__json_put_string(j, "loss_sign", weir_loss_sign_name(s->loss_sign));
}

static void births(const weir_flow *f, weir__json *j, lines *own)
{
	const weir_flow_birth *const all[] = { &f->sum.first_inf, &f->sum.first_nan, &f->sum.first_overflow };
	static const char *const names[] = { "first_inf", "first_nan", "first_overflow" };
	bool any = false;

	for (int i = 0; i < TOLD; i++) {
		const weir_flow_birth *b = all[i];

		if (!b->found || own->told[i]) continue;
		if (!any) weir__json_put_array(j, "births");
		any = own->told[i] = true;
		weir__json_begin_object(j);
		weir__json_put_string(j, "what", names[i]);
		weir__json_put_string(j, "layer", b->layer);
		weir__json_put_string(j, "op", b->op);
		weir__json_put_string(j, "here", b->here);
		weir__json_put_string(j, "pass", b->backward ? "backward" : "forward");
		weir__json_key(j, "step");
		weir__json_int(j, b->step);
		weir__json_end(j);
	}
	if (any) weir__json_end(j);
}

static void losses(const weir_flow_summary *s, weir__json *j)
{
	weir__json_put_double(j, "loss", s->loss);
	if (!is_finite(s->loss))
		weir__json_put_string(j, "loss_is", s->loss != s->loss ? "nan" : s->loss > 0 ? "inf" : "-inf");
	if (s->train_loss == s->train_loss) weir__json_put_double(j, "train_loss", s->train_loss);
	if (s->validation_loss == s->validation_loss) weir__json_put_double(j, "validation_loss", s->validation_loss);
}

static void layers(const weir_flow *f, weir__json *j, const weir__step *step)
{
	int64_t bad = 0;

	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		bad += p->nonfinite > 0 || (p->delta_norm == p->delta_norm && !is_finite(p->delta_norm));
	}
	if (step->layers) {
		column(f, j, "delta", offsetof(weir_flow_layer, delta_norm));
		column(f, j, "gain", offsetof(weir_flow_layer, gain));
	} else {
		weir__json_put_string(j, "delta", NULL);
		weir__json_put_string(j, "gain", NULL);
	}
	weir__json_put_int(j, "nonfinite_layers", bad);
	weir__json_put_int(j, "nonfinite", f->sum.nonfinite);
	weir__json_put_int(j, "subnormals", f->sum.subnormals);
}

static void step(weir_flow *f, weir__recorder *r, const weir__step *st)
{
	const weir_flow_summary *s = &f->sum;
	lines *own = r->own;
	uint64_t key = st->whole ? layers_key(f) : own->layers;
	weir__json j;

	weir__json_to_text(&j, &r->text, WEIR__JSON_LINES);
	if (key != own->layers) {
		header(f, &j);
		weir__record_reserve(&r->text, LINE + PER_LAYER * (size_t)f->count);
	}
	own->layers = key;
	weir__json_begin_object(&j);
	weir__json_put_int(&j, "step", s->step);
	weir__json_put_double(&j, "time", 1e-9 * (double)st->time);
	losses(s, &j);
	weir__json_put_double(&j, "grad_norm", st->grad_norm);
	weir__json_put_bool(&j, "measured", st->whole);
	weir__json_put_string(&j, "verdict", weir_verdict_name(s->verdict));
	weir__json_put_double(&j, "gain_per_layer", s->gain_per_layer);
	weir__json_put_double(&j, "total_gain", s->total_gain);
	weir__json_put_double(&j, "input_delta_norm", s->input_delta_norm);
	layers(f, &j, st);
	weir__json_put_double(&j, "own_share", s->own_share);
	spikes(f, &j);
	if (st->whole) whole_columns(f, &j);
	births(f, &j, own);
	weir__json_end(&j);
	weir__record_write(f, r);
}

bool weir__record_jsonl(weir_flow *f, weir__recorder *r)
{
	r->step = step;
	if (!weir__record_own(f, r, sizeof(lines))) return false;
	r->fd = weir__record_open(f, r->path, O_WRONLY | O_CREAT | O_TRUNC);
	return r->fd >= 0;
}
