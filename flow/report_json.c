/* report_json.c: the last step's numbers as one JSON object. What is not finite or not known is null.
 *
 *   {"schema": "weir.flow/1", "model": text or null, "parameters", "step", "measured" (step that layers and verdict are of), "loss",
 *    "subnormals": "ieee" or "flush", "own_share" (of the step's time, spent on measuring), "input_delta_norm",
 *    "layers": [from the input side to the output side: {"name", "call", "depth", "op", "out_norm", "out_gain", "delta_norm", "gain",
 *        "weight_norm", "act_slope", "act_slope_max", "act_slope_limit", "saturated" (share), "softmax_rows" (count), "softmax_slope",
 *        "softmax_shut" (share), "theory_gain",
 *        "stretch_low", "stretch_high", "alignment", "units", "dead_units", "delta_median", "delta_spread" (log2), "spikes", "spike",
 *        "param_grad_norm", "update_ratio",
 *        of the gradient at the output: "zeros" (share), "subnormals", "nonfinite" (counts),
 *        of the output: "out_zeros", "out_subnormals", "out_nonfinite"}],
 *    "modules": [called several times: {"name", "calls", "first", "last" (places in layers, from 1), "gain", "gain_per_call",
 *        "param_grad_norm", "weight_norm"}],
 *    "slope": {"gain_per_layer", "bits_per_layer", "r2"},
 *    "theory": {"gain_per_layer" (sqrt of chi1), "q_star" (null where q grows without bound), "chi1", "xi" (null
 *        where chi1 is 1 or above: nothing falls)},
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

/* -1: not known. */
static void known_count(weir__json *j, const char *key, int64_t x)
{
	weir__json_key(j, key);
	if (x < 0) weir__json_null(j);
	else weir__json_int(j, x);
}

static void layer_object(weir__json *j, const weir_flow_layer *p)
{
	weir__json_begin_object(j);
	weir__json_put_string(j, "name", p->name);
	weir__json_put_int(j, "call", p->call);
	weir__json_put_int(j, "depth", p->depth);
	weir__json_put_string(j, "op", p->op);
	weir__json_put_double(j, "out_norm", p->out_norm);
	weir__json_put_double(j, "out_gain", p->out_gain);
	weir__json_put_double(j, "delta_norm", p->delta_norm);
	weir__json_put_double(j, "gain", p->gain);
	weir__json_put_double(j, "weight_norm", p->weight_norm);
	weir__json_put_double(j, "act_slope", p->act_slope);
	weir__json_put_double(j, "act_slope_max", p->act_slope_max);
	weir__json_put_double(j, "act_slope_limit", p->act_slope_limit);
	weir__json_put_double(j, "saturated", p->saturated);
	weir__json_put_int(j, "softmax_rows", p->softmax_rows);
	weir__json_put_double(j, "softmax_slope", p->softmax_slope);
	weir__json_put_double(j, "softmax_shut", p->softmax_shut);
	weir__json_put_double(j, "theory_gain", p->theory_gain);
	weir__json_put_double(j, "stretch_low", p->stretch_low);
	weir__json_put_double(j, "stretch_high", p->stretch_high);
	weir__json_put_double(j, "alignment", p->alignment);
	known_count(j, "units", p->units);
	known_count(j, "dead_units", p->dead_units);
	weir__json_put_double(j, "delta_median", p->delta_median);
	weir__json_put_double(j, "delta_spread", p->delta_spread);
	weir__json_put_int(j, "spikes", p->spikes);
	weir__json_put_bool(j, "spike", p->spike);
	weir__json_put_double(j, "param_grad_norm", p->param_grad_norm);
	weir__json_put_double(j, "update_ratio", p->update_ratio);
	weir__json_put_double(j, "zeros", p->zeros);
	weir__json_put_int(j, "subnormals", p->subnormals);
	weir__json_put_int(j, "nonfinite", p->nonfinite);
	weir__json_put_double(j, "out_zeros", p->out_zeros);
	weir__json_put_int(j, "out_subnormals", p->out_subnormals);
	weir__json_put_int(j, "out_nonfinite", p->out_nonfinite);
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
	weir__json_put_string(j, "layer", b->layer);
	weir__json_put_string(j, "op", b->op);
	weir__json_put_string(j, "here", b->here);
	weir__json_put_string(j, "pass", b->backward ? "backward" : "forward");
	weir__json_put_int(j, "node", b->index);
	weir__json_put_int(j, "number", b->number);
	weir__json_put_int(j, "depth", b->depth);
	weir__json_put_int(j, "step", b->step);
	weir__json_put_string(j, "shape", b->shape);
	weir__json_put_int(j, "element", b->element);
	weir__text_fixed(&value, buf, sizeof buf);
	weir__text_double(&value, b->value, 'g', 0);
	weir__json_put_string(j, "value", b->shape ? buf : NULL);
	weir__json_put_string(j, "operands", b->operands);
	weir__json_key(j, "path");
	weir__json_begin_array(j);
	for (int64_t i = 0; b->path && i < b->path_length; i++) weir__json_string(j, b->path[i]);
	weir__json_end(j);
	weir__json_put_int(j, "propagators", b->propagators);
	weir__json_end(j);
}

static void both(weir__json *j, const char *key, const weir_flow_birth b[2])
{
	weir__json_put_object(j, key);
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
	weir__json_put_string(j, "first", f->layers[s->first_layer].public.name);
	weir__json_put_string(j, "last", f->layers[s->last_layer].public.name);
	weir__json_end(j);
}

static void modules(weir__json *j, const weir_flow *f)
{
	weir__json_key(j, "modules");
	weir__json_begin_array(j);
	for (int64_t i = 0; i < f->n_wholes; i++) {
		const weir_flow_whole *m = &f->wholes[i];

		weir__json_begin_object(j);
		weir__json_put_string(j, "name", m->name);
		weir__json_put_int(j, "calls", m->calls);
		weir__json_put_int(j, "first", m->first_layer + 1);
		weir__json_put_int(j, "last", m->last_layer + 1);
		weir__json_put_double(j, "gain", m->gain);
		weir__json_put_double(j, "gain_per_call", m->gain_per_call);
		weir__json_put_double(j, "param_grad_norm", m->param_grad_norm);
		weir__json_put_double(j, "weight_norm", m->weight_norm);
		weir__json_end(j);
	}
	weir__json_end(j);
}

static void over_depth(weir__json *j, const weir_flow_summary *s)
{
	weir__json_put_object(j, "slope");
	weir__json_put_double(j, "gain_per_layer", s->gain_per_layer);
	weir__json_put_double(j, "bits_per_layer", s->bits_per_layer);
	weir__json_put_double(j, "r2", s->r2);
	weir__json_end(j);
	weir__json_put_object(j, "theory");
	weir__json_put_double(j, "gain_per_layer", s->chi1 >= 0 ? __builtin_sqrt(s->chi1) : UNKNOWN);
	weir__json_put_double(j, "q_star", s->q_star);
	weir__json_put_double(j, "chi1", s->chi1);
	weir__json_put_double(j, "xi", s->xi < 0 ? UNKNOWN : s->xi);
	weir__json_end(j);
	weir__json_put_object(j, "total");
	weir__json_put_double(j, "gain", s->total_gain);
	weir__json_put_double(j, "actual_bits", s->actual_bits);
	weir__json_put_double(j, "bound_bits", s->bound_bits);
	weir__json_put_double(j, "slack_bits", s->slack_bits);
	weir__json_end(j);
}

static void budget(weir__json *j, const char *key, const weir_flow_budget *b)
{
	weir__json_put_object(j, key);
	weir__json_put_double(j, "subnormal", b->subnormal);
	weir__json_put_double(j, "zero", b->zero);
	weir__json_put_double(j, "overflow", b->overflow);
	weir__json_end(j);
}

static void over_steps(weir__json *j, const weir_flow_summary *s)
{
	weir__json_put_object(j, "norms");
	weir__json_put_double(j, "parameters", s->param_norm);
	weir__json_put_double(j, "gradients", s->param_grad_norm);
	weir__json_put_double(j, "update", s->update_norm);
	weir__json_end(j);
	weir__json_put_int(j, "nonfinite", s->nonfinite);
	weir__json_put_int(j, "subnormal", s->subnormals);
	weir__json_put_object(j, "spikes");
	weir__json_put_int(j, "gradient", s->grad_spikes);
	weir__json_put_int(j, "loss", s->loss_spikes);
	weir__json_put_bool(j, "gradient_now", s->grad_spike);
	weir__json_put_bool(j, "loss_now", s->loss_spike);
	weir__json_end(j);
	weir__json_put_object(j, "loss_sign");
	weir__json_put_string(j, "sign", weir_loss_sign_name(s->loss_sign));
	weir__json_put_int(j, "steps", s->loss_sign_steps);
	weir__json_end(j);
	weir__json_put_object(j, "noise");
	weir__json_put_int(j, "samples", s->noise.samples);
	weir__json_put_double(j, "grad_norm", s->noise.grad_norm);
	weir__json_put_double(j, "mean_square", s->noise.mean_square);
	weir__json_put_double(j, "variance", s->noise.variance);
	weir__json_put_double(j, "noise_scale", s->noise.noise_scale);
	weir__json_put_double(j, "norm_min", s->noise.norm_min);
	weir__json_put_double(j, "norm_median", s->noise.norm_median);
	weir__json_put_double(j, "norm_max", s->noise.norm_max);
	weir__json_end(j);
	weir__json_put_object(j, "curvature");
	weir__json_put_double(j, "top", s->curvature.top);
	weir__json_put_double(j, "residual", s->curvature.residual);
	weir__json_put_int(j, "iterations", s->curvature.iterations);
	weir__json_put_double(j, "trace", s->curvature.trace);
	weir__json_put_double(j, "trace_error", s->curvature.trace_error);
	weir__json_end(j);
	weir__json_put_object(j, "losses");
	weir__json_put_double(j, "train", s->train_loss);
	weir__json_put_double(j, "validation", s->validation_loss);
	weir__json_put_double(j, "gap", s->validation_loss - s->train_loss);
	weir__json_put_double(j, "penalty", s->penalty);
	weir__json_end(j);
}

void weir__flow_json(const weir_flow *f, FILE *file, const char *model)
{
	const weir_flow_summary *s = &f->sum;
	weir__json j;

	weir__json_to_file(&j, file, WEIR__JSON_PRETTY);
	weir__json_begin_object(&j);
	weir__json_put_string(&j, "schema", "weir.flow/1");
	weir__json_put_string(&j, "model", model);
	weir__json_put_int(&j, "parameters", s->parameters);
	weir__json_put_int(&j, "step", s->step);
	weir__json_put_int(&j, "measured", s->measured);
	weir__json_put_double(&j, "loss", s->loss);
	weir__json_put_string(&j, "subnormals", s->subnormals_ieee ? "ieee" : "flush");
	weir__json_put_double(&j, "own_share", s->own_share);
	weir__json_put_double(&j, "input_delta_norm", s->input_delta_norm);
	weir__json_key(&j, "layers");
	weir__json_begin_array(&j);
	for (int64_t i = 0; i < f->count; i++) layer_object(&j, &f->layers[i].public);
	weir__json_end(&j);
	modules(&j, f);
	over_depth(&j, s);
	weir__json_put_object(&j, "budget");
	budget(&j, "f32", &s->f32);
	budget(&j, "bf16", &s->bf16);
	budget(&j, "f16", &s->f16);
	weir__json_end(&j);
	over_steps(&j, s);
	weir__json_put_string(&j, "verdict", weir_verdict_name(s->verdict));
	weir__json_put_string(&j, "cause", s->cause);
	weir__json_put_string(&j, "evidence", s->evidence);
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
