/* report_json.c: the last step's numbers as one JSON object. What is not finite or not known is null.
 *
 *   {"schema": "weir.flow/1", "model": text or null, "parameters", "step", "measured" (step that layers and verdict are of), "loss",
 *    "subnormals": "ieee" or "flush", "own_share" (of the step's time, spent on measuring), "input_delta_norm",
 *    "layers": [from the input side to the output side: {"name", "call", "depth", "op", "out_norm", "out_gain", "delta_norm", "gain",
 *        "weight_norm", "act_slope", "act_slope_max", "act_slope_limit", "saturated" (share), "theory_gain",
 *        "stretch_low", "stretch_high", "alignment", "units", "dead_units", "delta_median", "delta_spread" (log2), "spikes", "spike",
 *        "param_grad_norm", "update_ratio",
 *        of the gradient at the output: "zeros" (share), "subnormals", "nonfinite" (counts),
 *        of the output: "out_zeros", "out_subnormals", "out_nonfinite"}],
 *    "modules": [called several times: {"name", "calls", "first", "last" (places in layers, from 1), "gain", "gain_per_call",
 *        "param_grad_norm", "weight_norm"}],
 *    "slope": {"gain_per_layer", "bits_per_layer", "r2"},
 *    "theory": {"gain_per_layer" (sqrt of chi1), "q_star", "chi1", "xi"},
 *    "total": {"gain", "actual_bits", "bound_bits", "slack_bits"},
 *    "budget": {"f32", "bf16", "f16": {"subnormal", "zero", "overflow": layers}},
 *    "norms": {"parameters", "gradients", "update"},
 *    "nonfinite", "subnormal": counts over all layers' gradients,
 *    "spikes": {"gradient", "loss": counts, "gradient_now", "loss_now"},
 *    "loss_sign": {"sign", "steps"}, "losses": {"train", "validation", "gap", "penalty"},
 *    "noise": {"samples", "grad_norm", "mean_square", "variance", "noise_scale", "norm_min", "norm_median", "norm_max"},
 *    "curvature": {"top", "residual", "iterations", "trace", "trace_error"}, (null numbers where not asked for)
 *    "verdict", "cause", "evidence", "range": null or {"first", "last"} (names),
 *    "first_inf", "first_nan", "first_overflow": null or a birth,
 *    "first_subnormal", "first_zero": {"forward", "backward": null or a birth}}
 *
 * A birth is {"layer", "op", "here", "pass": "forward" or "backward", "node", "number", "depth", "step", "shape", "element", "value" (text, for
 * it may be inf), "operands", "path": [text], "propagators"}: number is the place of its layer in "layers", from 1, and depth how
 * many layers were passed by then, its own included: from the inputs in the forward pass, from the outputs in the backward
 * pass. The depth at which 0.5^L underflows is read there. */
#include "engine/json_write.h"
#include "engine/number.h"
#include "flow/report.h"

static void number(weir__json *j, const char *key, double x)
{
	weir__json_key(j, key);
	weir__json_double(j, x);
}

static void count(weir__json *j, const char *key, int64_t x)
{
	weir__json_key(j, key);
	weir__json_int(j, x);
}

static void text(weir__json *j, const char *key, const char *s)
{
	weir__json_key(j, key);
	weir__json_string(j, s);
}

/* -1: not known. */
static void known_count(weir__json *j, const char *key, int64_t x)
{
	weir__json_key(j, key);
	if (x < 0) weir__json_null(j);
	else weir__json_int(j, x);
}

static void truth(weir__json *j, const char *key, bool x)
{
	weir__json_key(j, key);
	weir__json_bool(j, x);
}

static void object(weir__json *j, const char *key)
{
	weir__json_key(j, key);
	weir__json_begin_object(j);
}

static void layer_object(weir__json *j, const weir_flow_layer *p)
{
	weir__json_begin_object(j);
	text(j, "name", p->name);
	count(j, "call", p->call);
	count(j, "depth", p->depth);
	text(j, "op", p->op);
	number(j, "out_norm", p->out_norm);
	number(j, "out_gain", p->out_gain);
	number(j, "delta_norm", p->delta_norm);
	number(j, "gain", p->gain);
	number(j, "weight_norm", p->weight_norm);
	number(j, "act_slope", p->act_slope);
	number(j, "act_slope_max", p->act_slope_max);
	number(j, "act_slope_limit", p->act_slope_limit);
	number(j, "saturated", p->saturated);
	number(j, "theory_gain", p->theory_gain);
	number(j, "stretch_low", p->stretch_low);
	number(j, "stretch_high", p->stretch_high);
	number(j, "alignment", p->alignment);
	known_count(j, "units", p->units);
	known_count(j, "dead_units", p->dead_units);
	number(j, "delta_median", p->delta_median);
	number(j, "delta_spread", p->delta_spread);
	count(j, "spikes", p->spikes);
	truth(j, "spike", p->spike);
	number(j, "param_grad_norm", p->param_grad_norm);
	number(j, "update_ratio", p->update_ratio);
	number(j, "zeros", p->zeros);
	count(j, "subnormals", p->subnormals);
	count(j, "nonfinite", p->nonfinite);
	number(j, "out_zeros", p->out_zeros);
	count(j, "out_subnormals", p->out_subnormals);
	count(j, "out_nonfinite", p->out_nonfinite);
	weir__json_end(j);
}

static void birth(weir__json *j, const char *key, const weir_flow_birth *b)
{
	char buf[WEIR__NUMBER_MAX];
	weir__text value;

	weir__json_key(j, key);
	if (!b->found) {
		weir__json_null(j);
		return;
	}
	weir__json_begin_object(j);
	text(j, "layer", b->layer);
	text(j, "op", b->op);
	text(j, "here", b->here);
	text(j, "pass", b->backward ? "backward" : "forward");
	count(j, "node", b->index);
	count(j, "number", b->number);
	count(j, "depth", b->depth);
	count(j, "step", b->step);
	text(j, "shape", b->shape);
	count(j, "element", b->element);
	weir__text_fixed(&value, buf, sizeof buf);
	weir__text_double(&value, b->value, 'g', 0);
	text(j, "value", b->shape ? buf : NULL);
	text(j, "operands", b->operands);
	weir__json_key(j, "path");
	weir__json_begin_array(j);
	for (int64_t i = 0; b->path && i < b->path_length; i++) weir__json_string(j, b->path[i]);
	weir__json_end(j);
	count(j, "propagators", b->propagators);
	weir__json_end(j);
}

static void both(weir__json *j, const char *key, const weir_flow_birth b[2])
{
	object(j, key);
	birth(j, "forward", &b[0]);
	birth(j, "backward", &b[1]);
	weir__json_end(j);
}

static void range(weir__json *j, const weir_flow *f)
{
	const weir_flow_summary *s = &f->sum;

	weir__json_key(j, "range");
	if (s->verdict <= WEIR_FLOW_HEALTHY || !f->count) {
		weir__json_null(j);
		return;
	}
	weir__json_begin_object(j);
	text(j, "first", f->layers[s->first_layer].public.name);
	text(j, "last", f->layers[s->last_layer].public.name);
	weir__json_end(j);
}

static void modules(weir__json *j, const weir_flow *f)
{
	weir__json_key(j, "modules");
	weir__json_begin_array(j);
	for (int64_t i = 0; i < f->n_wholes; i++) {
		const weir_flow_whole *m = &f->wholes[i];

		weir__json_begin_object(j);
		text(j, "name", m->name);
		count(j, "calls", m->calls);
		count(j, "first", m->first_layer + 1);
		count(j, "last", m->last_layer + 1);
		number(j, "gain", m->gain);
		number(j, "gain_per_call", m->gain_per_call);
		number(j, "param_grad_norm", m->param_grad_norm);
		number(j, "weight_norm", m->weight_norm);
		weir__json_end(j);
	}
	weir__json_end(j);
}

static void over_depth(weir__json *j, const weir_flow_summary *s)
{
	object(j, "slope");
	number(j, "gain_per_layer", s->gain_per_layer);
	number(j, "bits_per_layer", s->bits_per_layer);
	number(j, "r2", s->r2);
	weir__json_end(j);
	object(j, "theory");
	number(j, "gain_per_layer", s->chi1 >= 0 ? __builtin_sqrt(s->chi1) : UNKNOWN);
	number(j, "q_star", s->q_star);
	number(j, "chi1", s->chi1);
	number(j, "xi", s->xi);
	weir__json_end(j);
	object(j, "total");
	number(j, "gain", s->total_gain);
	number(j, "actual_bits", s->actual_bits);
	number(j, "bound_bits", s->bound_bits);
	number(j, "slack_bits", s->slack_bits);
	weir__json_end(j);
}

static void budget(weir__json *j, const char *key, const weir_flow_budget *b)
{
	object(j, key);
	number(j, "subnormal", b->subnormal);
	number(j, "zero", b->zero);
	number(j, "overflow", b->overflow);
	weir__json_end(j);
}

static void over_steps(weir__json *j, const weir_flow_summary *s)
{
	object(j, "norms");
	number(j, "parameters", s->param_norm);
	number(j, "gradients", s->param_grad_norm);
	number(j, "update", s->update_norm);
	weir__json_end(j);
	count(j, "nonfinite", s->nonfinite);
	count(j, "subnormal", s->subnormals);
	object(j, "spikes");
	count(j, "gradient", s->grad_spikes);
	count(j, "loss", s->loss_spikes);
	truth(j, "gradient_now", s->grad_spike);
	truth(j, "loss_now", s->loss_spike);
	weir__json_end(j);
	object(j, "loss_sign");
	text(j, "sign", weir_loss_sign_name(s->loss_sign));
	count(j, "steps", s->loss_sign_steps);
	weir__json_end(j);
	object(j, "noise");
	count(j, "samples", s->noise.samples);
	number(j, "grad_norm", s->noise.grad_norm);
	number(j, "mean_square", s->noise.mean_square);
	number(j, "variance", s->noise.variance);
	number(j, "noise_scale", s->noise.noise_scale);
	number(j, "norm_min", s->noise.norm_min);
	number(j, "norm_median", s->noise.norm_median);
	number(j, "norm_max", s->noise.norm_max);
	weir__json_end(j);
	object(j, "curvature");
	number(j, "top", s->curvature.top);
	number(j, "residual", s->curvature.residual);
	count(j, "iterations", s->curvature.iterations);
	number(j, "trace", s->curvature.trace);
	number(j, "trace_error", s->curvature.trace_error);
	weir__json_end(j);
	object(j, "losses");
	number(j, "train", s->train_loss);
	number(j, "validation", s->validation_loss);
	number(j, "gap", s->validation_loss - s->train_loss);
	number(j, "penalty", s->penalty);
	weir__json_end(j);
}

void weir__flow_json(const weir_flow *f, FILE *file, const char *model)
{
	const weir_flow_summary *s = &f->sum;
	weir__json j;

	weir__json_to_file(&j, file, WEIR__JSON_PRETTY);
	weir__json_begin_object(&j);
	text(&j, "schema", "weir.flow/1");
	text(&j, "model", model);
	count(&j, "parameters", s->parameters);
	count(&j, "step", s->step);
	count(&j, "measured", s->measured);
	number(&j, "loss", s->loss);
	text(&j, "subnormals", s->subnormals_ieee ? "ieee" : "flush");
	number(&j, "own_share", s->own_share);
	number(&j, "input_delta_norm", s->input_delta_norm);
	weir__json_key(&j, "layers");
	weir__json_begin_array(&j);
	for (int64_t i = 0; i < f->count; i++) layer_object(&j, &f->layers[i].public);
	weir__json_end(&j);
	modules(&j, f);
	over_depth(&j, s);
	object(&j, "budget");
	budget(&j, "f32", &s->f32);
	budget(&j, "bf16", &s->bf16);
	budget(&j, "f16", &s->f16);
	weir__json_end(&j);
	over_steps(&j, s);
	text(&j, "verdict", weir_verdict_name(s->verdict));
	text(&j, "cause", s->cause);
	text(&j, "evidence", s->evidence);
	range(&j, f);
	birth(&j, "first_inf", &s->first_inf);
	birth(&j, "first_nan", &s->first_nan);
	birth(&j, "first_overflow", &s->first_overflow);
	both(&j, "first_subnormal", s->first_subnormal);
	both(&j, "first_zero", s->first_zero);
	weir__flow_json_whatif(f, &j);
	weir__json_end(&j);
	weir__json_finish(&j);
}
