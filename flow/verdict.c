/* verdict.c: slope over depth, total, verdict and cause.
 *
 * Every rule is a ratio, so that a loss in other units gives the same verdict. The slope over depth tells what the norm of a single
 * layer, or of a parameter's gradient, cannot: in a linear net <W_l, dL/dW_l> is the same number for every l. */
#include "flow/flow.h"

#include "kernels/cpu.h"

static double log2_of(double x)
{
	const void *in[1] = { &x };
	double y;

	weir__kernels()->map[WEIR_MAP_log][1](&y, in, 1, NULL);
	return y * 1.4426950408889634;
}

static double exp2_of(double x)
{
	double t = x * 0.69314718055994531, y;
	const void *in[1] = { &t };

	weir__kernels()->map[WEIR_MAP_exp][1](&y, in, 1, NULL);
	return y;
}

static bool usable(double x)
{
	return x > 0 && x - x == 0;
}

/* Least squares of log2 delta over the layers that have one. */
static void fit(weir_flow *f)
{
	double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0, syy = 0, d, vy;
	weir_flow_summary *s = &f->sum;

	s->gain_per_layer = s->bits_per_layer = s->r2 = UNKNOWN;
	for (int64_t i = 0; i < f->count; i++) {
		double x = (double)i, y;

		if (!usable(f->layers[i].public.delta_norm)) continue;
		y = log2_of(f->layers[i].public.delta_norm);
		n += 1, sx += x, sy += y, sxx += x * x, sxy += x * y, syy += y * y;
	}
	d = n * sxx - sx * sx;
	if (n < 2 || d <= 0) return;
	s->bits_per_layer = -(n * sxy - sx * sy) / d; /* backward is against the numbering */
	s->gain_per_layer = exp2_of(s->bits_per_layer);
	vy = n * syy - sy * sy;
	s->r2 = vy > 1e-12 * n * syy ? (n * sxy - sx * sy) * (n * sxy - sx * sy) / (d * vy) : 1;
}

/* Which factor makes the slope: the activations' f' or the weights. Judged by what was measured, not by names: an activation whose slope
 * stays below a half even at its steepest shrinks whatever the weights; one that is far below its own steepest is saturated; otherwise
 * the weights do not make up for the mean slope. */
static const char *factor(const weir_flow *f, char *evidence, size_t size)
{
	double slopes = 0, largest = 0, logs = 0;
	int with = 0, saturated = 0;

	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		if (!(p->act_slope == p->act_slope)) continue;
		with++;
		slopes += p->act_slope;
		if (usable(p->act_slope)) logs += log2_of(p->act_slope);
		if (p->act_slope_max > largest) largest = p->act_slope_max;
		if (p->act_slope < f->options.saturated_slope) saturated++;
	}
	if (with && largest < 0.5) {
		snprintf(evidence, size, "f' is at most %d/1000 (its root mean square %d/1000 on average): it shrinks whatever the weights; not saturation",
			 (int)(1000 * largest + 0.5), (int)(1000 * slopes / with + 0.5));
		return "activation";
	}
	if (with && 2 * saturated > with) {
		snprintf(evidence, size, "f' averages %d/1000 of a possible %d/1000: the activations are saturated", (int)(1000 * slopes / with + 0.5),
			 (int)(1000 * largest + 0.5));
		return "activation";
	}
	if (with)
		snprintf(evidence, size, "f' averages %d/1000, as such an activation should; the weights do not make up for it", (int)(1000 * slopes / with + 0.5));
	else
		snprintf(evidence, size, "no activation between the layers: the weights alone make the gain");
	(void)logs;
	return "initial weights";
}

static bool any_nonfinite(const weir_flow *f)
{
	if (!(f->sum.loss - f->sum.loss == 0)) return true;
	for (int64_t i = 0; i < f->count; i++) {
		if (f->layers[i].public.nonfinite || f->layers[i].public.out_nonfinite) return true;
	}
	return false;
}

/* The first layer whose activation passes nothing on for any sample of the batch, or -1. */
static int64_t dead_layer(const weir_flow *f)
{
	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		if (p->act_slope == 0 && p->out_zeros >= f->options.dead_share) return i;
	}
	return -1;
}

static int64_t saturated_layers(const weir_flow *f, int64_t *with)
{
	int64_t n = 0;

	*with = 0;
	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		if (!(p->act_slope == p->act_slope)) continue;
		++*with;
		if (p->act_slope_max >= 0.5 && p->act_slope < f->options.saturated_slope) n++;
	}
	return n;
}

static const char *nonfinite_cause(const weir_flow *f, char *evidence, size_t size)
{
	const weir_flow_birth *b = f->sum.first_inf.found && (!f->sum.first_nan.found || f->sum.first_inf.index <= f->sum.first_nan.index ||
							      f->sum.first_inf.step < f->sum.first_nan.step) ? &f->sum.first_inf : &f->sum.first_nan;
	char ignore[8];

	if (b->found)
		snprintf(evidence, size, "first made %s by %s (%s%s%s) at step %lld", b->backward ? "in the gradient" : "in the forward pass", b->layer, b->op,
			 b->here[0] ? ", " : "", b->here, (long long)b->step);
	else snprintf(evidence, size, "the loss is not finite");
	if (b->found && b->step > 0) return "learning rate";
	return factor(f, ignore, sizeof ignore);
}

void weir__flow_judge(weir_flow *f)
{
	weir_flow_summary *s = &f->sum;
	const weir_flow_layer *first = f->count ? &f->layers[0].public : NULL, *last = f->count ? &f->layers[f->count - 1].public : NULL;
	int64_t in = f->count ? f->layers[0].input : -1, dead = dead_layer(f), with, saturated = saturated_layers(f, &with);
	double far;

	fit(f);
	s->nonfinite = s->subnormals = 0;
	for (int64_t i = 0; i < f->count; i++) {
		s->nonfinite += f->layers[i].public.nonfinite;
		s->subnormals += f->layers[i].public.subnormals;
	}
	s->input_delta_norm = in >= 0 && in < f->records ? f->rec[in].delta_norm : UNKNOWN;
	far = s->input_delta_norm == s->input_delta_norm ? s->input_delta_norm : first ? first->delta_norm : UNKNOWN;
	s->total_gain = last && last->delta_norm > 0 ? far / last->delta_norm : UNKNOWN;
	s->first_layer = 0;
	s->last_layer = f->count - 1;
	s->cause = NULL;
	s->evidence[0] = 0;
	if (!f->count) {
		s->verdict = WEIR_FLOW_NONE;
		snprintf(s->evidence, sizeof s->evidence, "no layers were seen: name them with modules or weir_scope_begin()");
	} else if (any_nonfinite(f)) {
		s->verdict = WEIR_FLOW_NONFINITE;
		s->cause = nonfinite_cause(f, s->evidence, sizeof s->evidence);
	} else if (dead >= 0) {
		s->verdict = WEIR_FLOW_DEAD;
		s->cause = f->steps ? "learning rate" : "initial weights";
		s->first_layer = s->last_layer = dead;
		snprintf(s->evidence, sizeof s->evidence, "every output of %s is zero on this batch, and so is its slope: nothing flows back through it",
			 f->layers[dead].name);
	} else if (s->total_gain < f->options.vanishing) {
		s->verdict = WEIR_FLOW_VANISHING;
		s->cause = factor(f, s->evidence, sizeof s->evidence);
	} else if (s->total_gain > f->options.exploding) {
		s->verdict = WEIR_FLOW_EXPLODING;
		s->cause = factor(f, s->evidence, sizeof s->evidence);
	} else if (with && 2 * saturated > with) {
		s->verdict = WEIR_FLOW_SATURATED;
		s->cause = factor(f, s->evidence, sizeof s->evidence);
	} else {
		s->verdict = WEIR_FLOW_HEALTHY;
	}
}

const char *weir_verdict_name(weir_verdict v)
{
	static const char *const names[] = { "none", "healthy", "vanishing", "exploding", "dead", "saturated", "non-finite" };

	return (unsigned)v < sizeof names / sizeof *names ? names[v] : "?";
}
