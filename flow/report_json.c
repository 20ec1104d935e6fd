/* report_json.c: the last step's numbers as one JSON object. What is not finite or not known is null.
 *
 *   {"schema": "weir.flow/1", "model": text or null, "parameters", "step", "loss", "subnormals": "ieee" or "flush", "input_delta_norm",
 *    "layers": [from the input side to the output side: {"name", "call", "depth", "op", "out_norm", "out_gain", "delta_norm", "gain",
 *        "weight_norm", "act_slope", "act_slope_max", "param_grad_norm", "update_ratio",
 *        of the gradient at the output: "zeros" (share), "subnormals", "nonfinite" (counts),
 *        of the output: "out_zeros", "out_subnormals", "out_nonfinite"}],
 *    "slope": {"gain_per_layer", "bits_per_layer", "r2"}, "total": {"gain"},
 *    "verdict", "cause", "evidence", "range": null or {"first", "last"} (names),
 *    "first_inf", "first_nan": null or a birth,
 *    "first_subnormal", "first_zero": {"forward", "backward": null or a birth}}
 *
 * A birth is {"layer", "op", "here", "pass": "forward" or "backward", "node", "number", "depth", "step"}: number is the place of its layer
 * in "layers", from 1, and depth how many layers were passed by then, its own included: from the inputs in the forward pass,
 * from the outputs in the backward pass. The depth at which 0.5^L underflows is read there. */
#include "engine/json_write.h"
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
	weir__json_end(j);
}

static void both(weir__json *j, const char *key, const weir_flow_birth b[2])
{
	weir__json_key(j, key);
	weir__json_begin_object(j);
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
	number(&j, "loss", s->loss);
	text(&j, "subnormals", s->subnormals_ieee ? "ieee" : "flush");
	number(&j, "input_delta_norm", s->input_delta_norm);
	weir__json_key(&j, "layers");
	weir__json_begin_array(&j);
	for (int64_t i = 0; i < f->count; i++) layer_object(&j, &f->layers[i].public);
	weir__json_end(&j);
	weir__json_key(&j, "slope");
	weir__json_begin_object(&j);
	number(&j, "gain_per_layer", s->gain_per_layer);
	number(&j, "bits_per_layer", s->bits_per_layer);
	number(&j, "r2", s->r2);
	weir__json_end(&j);
	weir__json_key(&j, "total");
	weir__json_begin_object(&j);
	number(&j, "gain", s->total_gain);
	weir__json_end(&j);
	text(&j, "verdict", weir_verdict_name(s->verdict));
	text(&j, "cause", s->cause);
	text(&j, "evidence", s->evidence);
	range(&j, f);
	birth(&j, "first_inf", &s->first_inf);
	birth(&j, "first_nan", &s->first_nan);
	both(&j, "first_subnormal", s->first_subnormal);
	both(&j, "first_zero", s->first_zero);
	weir__flow_json_whatif(f, &j);
	weir__json_end(&j);
	weir__json_finish(&j);
}
