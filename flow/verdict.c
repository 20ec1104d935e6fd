/* verdict.c: slope over depth, total, verdict and cause.
 *
 * Every rule is a ratio (see rules.def), so a loss in other units gives the same verdict. The slope over depth tells what the norm of a
 * parameter's gradient cannot: in a linear net <W_l, dL/dW_l> is the same number for every l. */
#include "flow/flow.h"

#include <string.h>

#include "engine/text.h"

#define WEIR_RULE(name, value, reason) static const double rule_##name = value;
#include "flow/rules.def"

static bool usable(double x)
{
	return x > 0 && is_finite(x);
}

/* Least squares of log2 delta over the depth of the layers. Where numbers underflow, rounding makes the norm, not the layer: left out. */
static void fit(weir_flow *f)
{
	double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0, syy = 0, base = 0;
	weir_flow_summary *s = &f->sum;

	s->gain_per_layer = s->bits_per_layer = s->r2 = UNKNOWN;
	for (int pass = 0; pass < 2; pass++) { /* the means, then the products around them */
		for (int64_t i = 0; i < f->count; i++) {
			const weir_flow_layer *p = &f->layers[i].public;
			double x = (double)p->depth, y;

			if (!usable(p->delta_norm) || p->subnormals) continue;
			y = weir__flow_log2(p->delta_norm);
			if (pass) {
				x -= sx / n, y -= sy / n;
				sxx += x * x, sxy += x * y, syy += y * y;
			} else {
				n += 1, sx += x, sy += y;
				base = y * y > base ? y * y : base;
			}
		}
	}
	if (n < 2 || sxx <= 0) return;
	s->bits_per_layer = -sxy / sxx; /* backward is against the numbering */
	s->gain_per_layer = weir__flow_exp2(s->bits_per_layer);
	s->r2 = syy > 1e-24 * n * (1 + base) ? sxy * sxy / (sxx * syy) : 1;
}

/* The one line of evidence, to be filled. */
static weir__text begin(weir_flow *f)
{
	weir__text t;

	weir__text_fixed(&t, f->sum.evidence, sizeof f->sum.evidence);
	return t;
}

/* ---- the activations of all layers, taken together ---- */

typedef struct slopes {
	int64_t with, saturated, first,
		last; /* layers that have an activation, that are saturated; the first and last of these */
	double mean, largest, limit,
		lowest; /* mean rms f', largest f' seen, largest limit, lowest rms f' over its limit */
} slopes;

static bool is_saturated(const weir_flow *f, const weir_flow_layer *p)
{
	return p->act_slope < f->options.saturated_slope * p->act_slope_limit; /* false where either is unknown */
}

static slopes look_at_slopes(const weir_flow *f)
{
	slopes a = { .first = -1 };

	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		if (!(p->act_slope == p->act_slope)) continue;
		a.with++;
		a.mean += p->act_slope;
		if (p->act_slope_max > a.largest) a.largest = p->act_slope_max;
		if (p->act_slope_limit > a.limit) a.limit = p->act_slope_limit;
		if (!is_saturated(f, p)) continue;
		a.saturated++;
		if (a.first < 0) a.first = i;
		a.last = i;
	}
	if (a.with) a.mean /= (double)a.with;
	return a;
}

/* Root mean square of the first layer's input. */
static double input_size(const weir_flow *f)
{
	const weir_flow_layer *p = f->count ? &f->layers[0].public : NULL;

	return p && p->out_gain > 0 ? p->out_norm / p->out_gain : UNKNOWN;
}

/* ---- causes ---- */

/* The state is not that of the first step: training made it. */
static bool came_later(const weir_flow *f, weir_verdict now)
{
	return f->steps > 0 && f->verdict_first != now && f->verdict_first != WEIR_FLOW_NONE;
}

/* Which factor makes the slope: the activations' f', the weights, or that there are so many layers. Judged by what was measured. */
static const char *factor(weir_flow *f, weir_verdict v)
{
	slopes a = look_at_slopes(f);
	double g = f->sum.gain_per_layer;
	weir__text t = begin(f);

	if (came_later(f, v)) {
		weir__text_str(&t, "it was ");
		weir__text_str(&t, weir_verdict_name(f->verdict_first));
		weir__text_str(&t, " in the first step: training made it so");
		return "learning rate";
	}
	if (!a.with) {
		weir__text_str(&t, "no activation between the layers: the weights alone make the gain");
		return "initial weights";
	}
	weir__text_str(&t, "f' is at most ");
	weir__text_double(&t, a.largest, 'f', 3);
	weir__text_str(&t, " (root mean square ");
	weir__text_double(&t, a.mean, 'f', 3);
	if (v == WEIR_FLOW_VANISHING && a.largest < rule_flat_slope) {
		weir__text_str(&t, "): it shrinks the gradient whatever the weights");
		if (!a.saturated && a.limit > 0) weir__text_str(&t, "; not saturation");
		return "activation";
	}
	if (g <= rule_fair_gain && g * rule_fair_gain >= 1) {
		weir__text_str(&t, "); each layer passes ");
		weir__text_double(&t, 100 * g, 'f', 1);
		weir__text_str(&t, " %, none is to blame: it is their number");
		return "depth";
	}
	weir__text_str(&t, v == WEIR_FLOW_VANISHING ? "); the weights do not make up for it"
						    : "); the weights more than make up for it");
	return "initial weights";
}

static const char *saturation_cause(weir_flow *f)
{
	slopes a = look_at_slopes(f);
	double size = input_size(f);
	weir__text t = begin(f);

	weir__text_str(&t, "f' has a root mean square of ");
	weir__text_double(&t, a.mean, 'p', 2);
	weir__text_str(&t, " of a possible ");
	weir__text_double(&t, a.limit, 'p', 3);
	if (size > rule_large_input) {
		weir__text_str(&t, "; the inputs are large, root mean square ");
		weir__text_double(&t, size, 'p', 3);
		return "data scale";
	}
	weir__text_str(&t, ": the activations are saturated, ");
	weir__text_double(&t, (double)a.saturated, 'f', 0);
	weir__text_str(&t, " layers of ");
	weir__text_double(&t, (double)a.with, 'f', 0);
	return came_later(f, WEIR_FLOW_SATURATED) ? "learning rate" : "initial weights";
}

static const char *nonfinite_cause(weir_flow *f)
{
	const weir_flow_summary *s = &f->sum;
	bool inf = s->first_inf.found &&
		   (!s->first_nan.found || s->first_inf.step < s->first_nan.step ||
		    (s->first_inf.step == s->first_nan.step && s->first_inf.backward <= s->first_nan.backward));
	const weir_flow_birth *b = inf ? &s->first_inf : &s->first_nan;
	double size = input_size(f);
	weir__text t = begin(f);

	if (b->found) {
		weir__text_str(&t, inf ? "first inf in " : "first NaN in ");
		weir__text_str(&t, b->backward ? "the gradient of " : "");
		weir__text_str(&t, b->layer);
	} else {
		weir__text_str(&t, "the loss is not finite");
	}
	if (came_later(f, WEIR_FLOW_NONFINITE) || (b->found && b->step > f->options.first_step)) return "learning rate";
	if (b->found && !b->number && (!strcmp(b->op, "input") || !strcmp(b->op, "param"))) {
		weir__text_str(&t, ", which is no operation: it was there before");
		return strcmp(b->op, "input") ? "initial weights" : "data scale";
	}
	if (size > 1 / rule_vanishing * rule_large_input) return "data scale";
	return "initial weights";
}

/* ---- verdicts ---- */

/* The first layer whose activation passes nothing on for any sample of the batch, or -1. */
static int64_t dead_layer(const weir_flow *f)
{
	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		if (p->act_slope == 0 && p->out_zeros >= f->options.dead_share) return i;
	}
	return -1;
}

static bool any_nonfinite(const weir_flow *f)
{
	if (f->sum.nonfinite || f->loss_bad) return true;
	for (int64_t i = 0; i < f->records; i++) { /* masked values don't count, bad gradients of parameters do */
		const weir_tensor *t = weir_tape_at(f->w, i);
		const record *r = &f->rec[i];

		if (r->has_delta && r->delta.nan + r->delta.pos_inf + r->delta.neg_inf && t && is_leaf(t) &&
		    param_of(t))
			return true;
	}
	return false;
}

/* The range of layers whose own gain is on the wrong side of 1. */
static void range(weir_flow *f, bool shrinks)
{
	weir_flow_summary *s = &f->sum;
	int64_t first = -1, last = -1;

	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		if (!(shrinks ? p->gain < 1 || p->subnormals || p->delta_norm == 0 : p->gain > 1)) continue;
		if (first < 0) first = i;
		last = i;
	}
	if (first < 0) return;
	s->first_layer = first;
	s->last_layer = last;
}

/* From the deepest layer that has a gradient back to the first on its way; fills what the two say. Returns whether there is a gradient. */
static bool total(weir_flow *f)
{
	weir_flow_summary *s = &f->sum;
	int64_t last = -1, first, in;
	double far;

	s->total_gain = s->input_delta_norm = UNKNOWN;
	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		if (p->delta_norm == p->delta_norm && (last < 0 || p->depth >= f->layers[last].public.depth)) last = i;
	}
	if (last < 0) return false;
	for (first = last;;) {
		in = f->layers[first].input;
		if (in < 0 || f->rec[in].from < 0 || f->rec[in].from >= first) break;
		first = f->rec[in].from;
	}
	if (in >= 0) s->input_delta_norm = f->rec[in].delta_norm;
	far = s->input_delta_norm == s->input_delta_norm ? s->input_delta_norm : f->layers[first].public.delta_norm;
	if (f->layers[last].public.delta_norm > 0) s->total_gain = far / f->layers[last].public.delta_norm;
	return f->layers[last].public.delta_norm != 0;
}

static weir_verdict judge(weir_flow *f)
{
	weir_flow_summary *s = &f->sum;
	int64_t dead = dead_layer(f);
	slopes a = look_at_slopes(f);
	bool gradient = total(f);
	weir__text t = begin(f);

	if (any_nonfinite(f)) {
		s->cause = nonfinite_cause(f);
		return WEIR_FLOW_NONFINITE;
	}
	if (!f->count) {
		weir__text_str(&t, "no operation was seen; watch before the forward pass");
		return WEIR_FLOW_NONE;
	}
	if (dead >= 0) {
		s->cause = came_later(f, WEIR_FLOW_DEAD)      ? "learning rate"
			   : input_size(f) > rule_large_input ? "data scale"
							      : "initial weights";
		s->first_layer = s->last_layer = dead;
		weir__text_str(&t, "every output of ");
		weir__text_str(&t, f->layers[dead].public.name);
		weir__text_str(&t, " is zero on this batch, and so is its slope: nothing flows back through it");
		return WEIR_FLOW_DEAD;
	}
	if (!gradient) {
		weir__text_str(&t,
			       s->total_gain == s->total_gain
				       ? ""
				       : "no gradient arrives at the last layer: no backward was seen, or it is zero");
		return WEIR_FLOW_NONE;
	}
	if (2 * a.saturated > a.with) {
		s->cause = saturation_cause(f);
		s->first_layer = a.first;
		s->last_layer = a.last;
		return WEIR_FLOW_SATURATED;
	}
	if (s->total_gain < f->options.vanishing) {
		range(f, true);
		s->cause = factor(f, WEIR_FLOW_VANISHING);
		return WEIR_FLOW_VANISHING;
	}
	if (s->total_gain > f->options.exploding) {
		range(f, false);
		s->cause = factor(f, WEIR_FLOW_EXPLODING);
		return WEIR_FLOW_EXPLODING;
	}
	return WEIR_FLOW_HEALTHY;
}

void weir__flow_judge(weir_flow *f)
{
	weir_flow_summary *s = &f->sum;

	fit(f);
	s->first_layer = 0;
	s->last_layer = f->count - 1;
	s->cause = NULL;
	s->evidence[0] = 0;
	s->verdict = judge(f);
}

const char *weir_verdict_name(weir_verdict v)
{
	static const char *const names[] = { "none", "healthy",   "vanishing", "exploding",
					     "dead", "saturated", "non-finite" };

	return (unsigned)v < sizeof names / sizeof *names ? names[v] : "?";
}
