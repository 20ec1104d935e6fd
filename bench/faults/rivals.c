/* rivals.c: the rules of other tools, as published, with the defaults that they come with. Each sees what it would see: gradients of
 * parameters, activations and what goes into them, the loss; TorchLens the gradient of every operation.
 *
 *   SageMaker Debugger  built-in rules of its documentation: VanishingGradient (mean |g| < 1e-7), ExplodingTensor (a NaN or inf), DeadRelu (a unit
 *                       active in less than 1 % of the samples; more than 50 % of a layer), SaturatedActivation (tanh beyond 9.4999,
 *                       sigmoid outside of -23 .. 16.99999), PoorWeightInitialization (variances of ReLU's inputs differ by
 *                       more than 10 between layers; its other condition, a range of gradients below 1e-3, would fire on nearly all)
 *   AutoTrainer         Zhang et al., ICSE 2021; monitor.py of its repository: first over last weight's gradient norm below 1e-3 with the first
 *                       below 1e-4, above 70; 70 % of all entries zero; NaN; a loss of 1e5. Its wait for bad accuracy is left out
 *   DeepDiagnosis       Wardat et al., ICSE 2022; callbacks.py of its repository: mean |g| < 1e-7; 70 % of outputs at most 0; |z| >= 5 in
 *                       more than half; a loss or gradient that is NaN or inf, a loss of 0
 *   TorchLens           gradient_flow_audit: the norm of an operation's gradient is 0, below 1e-7, above 1e4 or not finite */
#include "bench/faults/faults.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const rival_names[RIVALS] = { "SageMaker", "AutoTrainer", "DeepDiagnosis", "TorchLens" };

static void say(opinion *o, weir_verdict kind, int layer)
{
	if (layer >= 0 && (!o->says[kind] || o->first[kind] < 0)) o->first[kind] = o->last[kind] = layer;
	if (layer >= 0 && layer < o->first[kind]) o->first[kind] = layer;
	if (layer > o->last[kind]) o->last[kind] = layer;
	o->says[kind] = true;
}

/* ---- what they look at ---- */

typedef struct numbers {
	int64_t n, zeros, nonfinite;
	double mean_size, norm, variance;
} numbers;

static double *values_of(const weir_tensor *t)
{
	double *v = malloc((size_t)(weir_numel(t) + 1) * sizeof *v);

	weir_read_f64(t, v, weir_numel(t));
	return v;
}

static numbers look(const weir_tensor *t)
{
	double *v = values_of(t), sum = 0, squares = 0;
	numbers a = { .n = weir_numel(t) };

	for (int64_t i = 0; i < a.n; i++) {
		a.zeros += v[i] == 0;
		a.nonfinite += !isfinite(v[i]);
		a.mean_size += fabs(v[i]);
		a.norm = hypot(a.norm, v[i]);
		sum += v[i];
		squares += v[i] * v[i];
	}
	a.mean_size /= (double)a.n;
	a.variance = squares / (double)a.n - sum / (double)a.n * (sum / (double)a.n);
	free(v);
	return a;
}

static int64_t parameters(const run *r)
{
	return weir_module_parameter_count(r->net);
}

static const weir_tensor *gradient(const run *r, int64_t i)
{
	return weir_grad_of(weir_module_parameter(r->net, i));
}

static int layer_of(const run *r, int64_t i)
{
	return module_number(weir_name(weir_module_parameter(r->net, i)));
}

/* The next activation on the tape from node *at on: its name, its result, and what went into it. */
static const char *activation(const run *r, int64_t *at, const weir_tensor **z, const weir_tensor **a, int *layer)
{
	for (int64_t n = weir_tape_length(r->w); *at < n; ++*at) {
		const weir_tensor *t = weir_tape_at(r->w, *at);
		const char *op = t ? weir_node(t).op : "";

		if (strcmp(op, "relu") && strcmp(op, "tanh") && strcmp(op, "sigmoid")) continue;
		++*at;
		*a = t;
		*z = weir_input(t, 0);
		*layer = module_number(weir_node(t).scope);
		return op;
	}
	return NULL;
}

/* Share of entries outside of low .. high. */
static double outside(const weir_tensor *t, double low, double high)
{
	double *v = values_of(t);
	int64_t n = weir_numel(t), count = 0;

	for (int64_t i = 0; i < n; i++) count += v[i] <= low || v[i] >= high;
	free(v);
	return (double)count / (double)n;
}

/* Share of units (last axis) that are outside of low .. high in at least this share of the samples. */
static double units_outside(const weir_tensor *t, double low, double high, double share)
{
	int64_t units = weir_shape(t)[weir_rank(t) - 1], rows = weir_numel(t) / units, bad = 0;
	double *v = values_of(t);

	for (int64_t u = 0; u < units; u++) {
		int64_t count = 0;

		for (int64_t i = 0; i < rows; i++) count += v[i * units + u] <= low || v[i * units + u] >= high;
		bad += (double)count > share * (double)rows;
	}
	free(v);
	return (double)bad / (double)units;
}

/* ---- their rules ---- */

static void sagemaker(const run *r, opinion *o)
{
	const weir_tensor *z, *a;
	double low = INFINITY, high = 0;
	const char *op;
	int layer;

	for (int64_t i = 0; i < parameters(r); i++) {
		numbers g;

		if (look(weir_module_parameter(r->net, i)).nonfinite) say(o, WEIR_FLOW_NONFINITE, layer_of(r, i));
		if (!gradient(r, i)) continue;
		g = look(gradient(r, i));
		if (g.nonfinite) say(o, WEIR_FLOW_NONFINITE, layer_of(r, i));
		else if (g.mean_size < 1e-7) say(o, WEIR_FLOW_VANISHING, layer_of(r, i));
	}
	if (!isfinite(weir_item(r->loss))) say(o, WEIR_FLOW_NONFINITE, -1);
	for (int64_t at = 0; (op = activation(r, &at, &z, &a, &layer));) {
		if (look(a).nonfinite) say(o, WEIR_FLOW_NONFINITE, layer);
		if (!strcmp(op, "relu")) {
			double variance = look(z).variance;

			low = fmin(low, variance);
			high = fmax(high, variance);
			if (units_outside(a, 0, INFINITY, 0.99) > 0.5) say(o, WEIR_FLOW_DEAD, layer);
		} else if (units_outside(z, *op == 't' ? -9.4999 : -23, *op == 't' ? 9.4999 : 16.99999, 0.99) > 0.5) {
			say(o, WEIR_FLOW_SATURATED, layer);
		}
	}
	if (high > 10 * low) { /* poor initialisation: it does not say which way, or where */
		say(o, WEIR_FLOW_VANISHING, -1);
		say(o, WEIR_FLOW_EXPLODING, -1);
	}
}

static void autotrainer(const run *r, opinion *o)
{
	double first = NAN, last = NAN;
	int64_t zeros = 0, n = 0;
	bool bad = !isfinite(weir_item(r->loss));

	for (int64_t i = 0; i < parameters(r); i++) {
		const weir_tensor *p = weir_module_parameter(r->net, i);
		numbers g;

		bad = bad || look(p).nonfinite;
		if (!gradient(r, i)) continue;
		g = look(gradient(r, i));
		bad = bad || g.nonfinite;
		zeros += g.zeros;
		n += g.n;
		if (weir_rank(p) < 2) continue;
		if (isnan(first)) first = g.norm;
		last = g.norm;
	}
	if (bad) say(o, WEIR_FLOW_NONFINITE, -1);
	else if ((double)zeros >= 0.7 * (double)n) say(o, WEIR_FLOW_DEAD, -1);
	else if (first / last > 70 || weir_item(r->loss) >= 1e5) say(o, WEIR_FLOW_EXPLODING, -1);
	else if (first / last < 1e-3 && first < 1e-4) say(o, WEIR_FLOW_VANISHING, -1);
}

static void deepdiagnosis(const run *r, opinion *o)
{
	const weir_tensor *z, *a;
	double loss = weir_item(r->loss);
	const char *op;
	int layer;

	if (!isfinite(loss) || loss == 0) say(o, WEIR_FLOW_NONFINITE, -1);
	for (int64_t i = 0; i < parameters(r); i++) {
		numbers g;

		if (!gradient(r, i) || weir_rank(gradient(r, i)) < 2) continue;
		g = look(gradient(r, i));
		if (g.nonfinite) say(o, WEIR_FLOW_NONFINITE, layer_of(r, i));
		else if (g.mean_size < 1e-7) say(o, WEIR_FLOW_VANISHING, layer_of(r, i));
	}
	for (int64_t at = 0; (op = activation(r, &at, &z, &a, &layer));) {
		if (!strcmp(op, "relu") ? outside(a, 0, INFINITY) >= 0.7 : outside(z, -5, 5) > 0.5)
			say(o, *op == 'r' ? WEIR_FLOW_DEAD : WEIR_FLOW_SATURATED, layer);
	}
}

static void torchlens(const run *r, opinion *o)
{
	for (int64_t i = 0; i < r->nodes && i < weir_tape_length(r->w); i++) {
		const weir_tensor *t = weir_tape_at(r->w, i);
		double g = r->node_norm[i];
		int layer;

		if (!t || !weir_node(t).inputs || i > weir_node(r->loss).index) continue;
		layer = module_number(weir_node(t).scope);
		if (isinf(g)) say(o, WEIR_FLOW_NONFINITE, layer);
		else if (g == 0) say(o, WEIR_FLOW_DEAD, layer);
		else if (g > 1e4) say(o, WEIR_FLOW_EXPLODING, layer);
		else if (g < 1e-7) say(o, WEIR_FLOW_VANISHING, layer);
	}
	if (!isfinite(weir_item(r->loss))) say(o, WEIR_FLOW_NONFINITE, -1);
}

void ask_rival(int rival, run *r, opinion *o)
{
	static void (*const rules[RIVALS])(const run *, opinion *) = { sagemaker, autotrainer, deepdiagnosis,
								       torchlens };

	memset(o, 0, sizeof *o);
	for (int i = 0; i <= WEIR_FLOW_NONFINITE; i++) o->first[i] = o->last[i] = -1;
	rules[rival](r, o);
}
