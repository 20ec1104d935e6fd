/* cause.c: why: initial weights, activation, depth, learning rate or data scale, and in one line what that rests on. */
#include "flow/verdict.h"

#include <string.h>

#include "engine/text.h"

/* The one line of evidence, to be filled. */
static weir__text begin(weir_flow *f)
{
	weir__text t;

	weir__text_fixed(&t, f->sum.evidence, sizeof f->sum.evidence);
	return t;
}

static void number(weir__text *t, const char *before, double x, const char *behind)
{
	weir__text_str(t, before);
	weir__text_double(t, x, 'p', 3);
	weir__text_str(t, behind);
}

double weir__flow_input_size(const weir_flow *f)
{
	const weir_flow_layer *p = f->count ? &f->layers[0].public : NULL;

	return p && p->out_gain > 0 ? p->out_norm / p->out_gain : UNKNOWN;
}

/* ---- what training made ---- */

/* What grows until it overflows was one fault from the beginning; so was what was stuck until nothing came through. */
static bool same_story(weir_verdict first, weir_verdict now)
{
	if (first == WEIR_FLOW_EXPLODING || first == WEIR_FLOW_NONFINITE)
		return now == WEIR_FLOW_EXPLODING || now == WEIR_FLOW_NONFINITE;
	if (first == WEIR_FLOW_SATURATED || first == WEIR_FLOW_DEAD) return now == first || now == WEIR_FLOW_VANISHING;
	return now == first;
}

/* The state is not that of the first step: training made it. */
static bool came_later(const weir_flow *f, weir_verdict now)
{
	return f->steps > 0 && f->verdict_first != WEIR_FLOW_NONE && !same_story(f->verdict_first, now);
}

static const char *by_training(weir_flow *f, weir__text *t, const char *link)
{
	weir__text_str(t, link);
	weir__text_str(t, "it was ");
	weir__text_str(t, weir_verdict_name(f->verdict_first));
	weir__text_str(t, " in the first step: training made it so");
	return "learning rate";
}

/* ---- the activations of the layers to blame, taken together ---- */

typedef struct slopes {
	int64_t with;
	double mean, largest; /* mean rms f', largest f' seen */
} slopes;

static slopes look_at_slopes(const weir_flow *f, int64_t first, int64_t last)
{
	slopes a = { .with = 0 };

	for (int64_t i = first; i >= 0 && i <= last; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		if (!(p->act_slope == p->act_slope)) continue;
		a.with++;
		a.mean += p->act_slope;
		if (p->act_slope_max > a.largest) a.largest = p->act_slope_max;
	}
	if (a.with) a.mean /= (double)a.with;
	return a;
}

static const char *the_activation(weir__text *t, const slopes *a)
{
	number(t, "f' is at most ", a->largest, "");
	number(t, " (root mean square ", a->mean, "): it shrinks the gradient whatever the weights; not saturation");
	return "activation";
}

/* sigma_w of a layer with one matrix: √fan_in times the root mean square of its weights; NaN where it has none. */
static double weight_spread(const weir_flow *f, int64_t l)
{
	const weir_tensor *out = weir_tape_at(f->w, f->layers[l].last);
	int rank = weir_rank(out);

	return rank ? f->layers[l].public.weight_norm / __builtin_sqrt((double)weir_shape(out)[rank - 1]) : UNKNOWN;
}

/* One layer, or several side by side that can't be told apart: what they do, and what the others do. */
static void alone(const weir_flow *f, weir__text *t, const way *y, int64_t at)
{
	const weir_flow_layer *p = &f->layers[y->at[at].first].public, *to = &f->layers[y->at[at].last].public;
	int64_t others = y->n - 2 - y->from;
	double rest = y->at[y->from].bits - y->at[y->n - 1].bits - y->at[at].gain, sigma;

	weir__text_str(t, p->name);
	if (to != p) weir__text_format(t, " to %s together multiply", to->name);
	else weir__text_str(t, " alone multiplies");
	number(t, " the gradient by ", y->at[at - 1].zero ? 0 : weir__flow_exp2(y->at[at].gain), "");
	if (others > 0 && !y->at[at - 1].zero)
		number(t, ", the others by ", weir__flow_exp2(rest / (double)others), " each");
	sigma = to == p ? weight_spread(f, y->at[at].first) : UNKNOWN;
	if (sigma == sigma) number(t, "; its weights times sqrt fan-in: ", sigma, "");
}

const char *weir__flow_slope_cause(weir_flow *f, weir_verdict v, const way *y, int64_t lo, int64_t hi)
{
	int64_t first = y->at[lo].first, last = y->at[hi].last;
	slopes a = look_at_slopes(f, first, last);
	double size = weir__flow_input_size(f), gain = 0, each;
	bool shrinks = v == WEIR_FLOW_VANISHING;
	weir__text t = begin(f);

	if (came_later(f, v)) return by_training(f, &t, "");
	for (int64_t i = lo; i <= hi; i++) gain += y->at[i].gain;
	gain = weir__flow_exp2(gain / (double)(hi - lo + 1));
	if (4 * (hi - lo + 1) >= 3 * (y->n - 1 - y->from) && f->sum.r2 > 0.9)
		gain = f->sum.gain_per_layer; /* of the whole way: the number that the report shows */
	if (shrinks && first == 0 && last == 0 && size > f->options.large_input && a.with &&
	    a.mean < f->options.flat_slope) {
		number(&t, "the inputs are large, root mean square ", size, "");
		number(&t, ": there f' is ", a.mean, "");
		return "data scale";
	}
	if (shrinks && a.with && a.largest < f->options.flat_slope) return the_activation(&t, &a);
	if (lo == hi && y->n - y->from > 2 && first >= 0) {
		alone(f, &t, y, lo);
		return "initial weights";
	}
	if (!a.with) {
		number(&t, "gain ", gain, " per layer; no activation between the layers: the weights alone make it");
		return "initial weights";
	}
	number(&t, "f' is at most ", a.largest, "");
	number(&t, " (root mean square ", a.mean, ")");
	each = weir__flow_exp2((y->at[y->from].bits - y->at[y->n - 1].bits) / (double)(y->n - 1 - y->from));
	if (each <= f->options.fair_gain && each * f->options.fair_gain >= 1 &&
	    2 * (hi - lo + 1) >= y->n - 1 - y->from) {
		number(&t, "; a layer passes ", 100 * each, " % on average, none is to blame: it is their number");
		return "depth";
	}
	if (!shrinks && a.mean * f->options.flat_slope > 1 && a.mean * a.mean > gain) {
		weir__text_str(&t, ": it makes more of the gain than the weights");
		return "activation";
	}
	number(&t, ", the gain ", gain,
	       shrinks ? "; the weights do not make up for it" : "; the weights more than make up for it");
	return "initial weights";
}

/* ---- units that answer nothing ---- */

static const char *shut_cause(weir_flow *f, weir__text *t)
{
	int64_t first = f->sum.first_layer;
	double size = weir__flow_input_size(f);
	const char *cause = weir__flow_shut_cause(f, first, t);

	if (size > f->options.large_input && first == 0) {
		number(t, "; the inputs are large, root mean square ", size, "");
		return "data scale";
	}
	return came_later(f, WEIR_FLOW_SATURATED) ? by_training(f, t, "; ") : cause;
}

const char *weir__flow_saturation_cause(weir_flow *f)
{
	int64_t first = f->sum.first_layer, last = f->sum.last_layer, with = 0, bad = 0;
	double size = weir__flow_input_size(f), slope = 0, limit = UNKNOWN;
	weir__text t = begin(f);

	if (weir__flow_is_shut(f, first)) return shut_cause(f, &t);
	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		if (!(p->act_slope_limit == p->act_slope_limit)) continue;
		with++;
		if (!weir__flow_is_saturated(f, i)) continue;
		bad++;
		slope += p->act_slope;
		limit = p->act_slope_limit;
	}
	number(&t, "f' has a root mean square of ", slope / (double)(bad ? bad : 1), "");
	number(&t, " of a possible ", limit, "");
	if (f->layers[first].public.saturated == f->layers[first].public.saturated && first == last)
		number(&t, ", and is next to nothing in ", 100 * f->layers[first].public.saturated,
		       " % of the outputs");
	weir__text_format(&t, ": %lld layer%s of %lld", (long long)bad, bad == 1 ? "" : "s", (long long)with);
	if (size > f->options.large_input && first == 0) {
		number(&t, "; the inputs are large, root mean square ", size, "");
		return "data scale";
	}
	return came_later(f, WEIR_FLOW_SATURATED) ? by_training(f, &t, "; ") : "initial weights";
}

const char *weir__flow_dead_cause(weir_flow *f, bool census)
{
	const weir_flow_layer *p = &f->layers[f->sum.first_layer].public;
	double size = weir__flow_input_size(f);
	weir__text t = begin(f);

	if (census) {
		weir__text_format(&t, "%lld of %lld units of ", (long long)p->dead_units, (long long)p->units);
		weir__text_str(&t, p->name);
		weir__text_str(&t, " passed nothing for a whole epoch");
	} else {
		weir__text_str(&t, "every output of ");
		weir__text_str(&t, p->name);
		weir__text_str(
			&t, "'s activation is zero on this batch, and so is its slope: nothing flows back through it");
	}
	if (came_later(f, WEIR_FLOW_DEAD)) return by_training(f, &t, "; ");
	return size > f->options.large_input && f->sum.first_layer == 0 ? "data scale" : "initial weights";
}

/* ---- not finite ---- */

/* What layers multiply the values by on the way to layer number `end`, per layer; or, backward, the gradient from the outputs on. */
static double growth(const weir_flow *f, int64_t end, bool backward)
{
	double bits = 0, n = 0;

	for (int64_t i = backward ? end : 0; i < (backward || end > f->count ? f->count : end); i++) {
		const weir_flow_layer *p = &f->layers[i].public;
		double gain = backward ? p->gain : p->out_gain;

		if (!usable(gain)) continue;
		bits += weir__flow_log2(gain);
		n += 1;
	}
	return n > 0 ? weir__flow_exp2(bits / n) : UNKNOWN;
}

/* Operations that are not defined, or have no derivative, everywhere. */
static bool has_an_edge(const char *op)
{
	static const char *const ops[] = { "log", "div", "pow", "sqrt", "norm" };

	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
		if (!strcmp(op, ops[i])) return true;
	}
	return false;
}

/* Does node b hang on node a? True where that can't be told. */
static bool hangs_on(const weir_flow *f, int64_t b, int64_t a)
{
	size_t bytes = (size_t)(b + 1);
	bool *on = b > a ? weir__pool_take(f->w, &bytes) : NULL, does;

	if (!on) return b >= a;
	memset(on, 0, (size_t)b + 1);
	on[a] = true;
	for (int64_t i = a + 1; i <= b; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		for (int k = 0; t && k < weir_node(t).inputs; k++) {
			int64_t at = weir_node(weir_input(t, k)).index;

			on[i] = on[i] || (at >= a && on[at]);
		}
	}
	does = on[b];
	weir__pool_give(f->w, on, bytes);
	return does;
}

const weir_flow_birth *weir__flow_first_bad(const weir_flow *f)
{
	const weir_flow_birth *inf = &f->sum.first_inf, *nan = &f->sum.first_nan;

	if (!inf->found || !nan->found) return inf->found ? inf : nan;
	if (nan->step != inf->step) return nan->step < inf->step ? nan : inf;
	if (nan->backward != inf->backward) return inf->backward ? nan : inf;
	/* A mask of -inf does no harm: what it joins, NaN that it did not make, is the first. */
	if (nan->step == f->sum.step && !nan->backward && nan->index < f->records &&
	    (nan->index < inf->index || (!strcmp(inf->op, "input") && !hangs_on(f, nan->index, inf->index))))
		return nan;
	return inf;
}

const char *weir__flow_nonfinite_cause(weir_flow *f)
{
	const weir_flow_summary *s = &f->sum;
	const weir_flow_birth *b = weir__flow_first_bad(f);
	bool later = came_later(f, WEIR_FLOW_NONFINITE), leaf;
	double size = weir__flow_input_size(f), grows;
	weir__text t = begin(f);

	if (!b->found) {
		weir__text_str(&t, f->loss_bad ? "the loss is not finite"
					       : "an earlier gradient of this step is not finite");
		return later ? by_training(f, &t, "; ") : "initial weights";
	}
	leaf = !strcmp(b->op, "input") || !strcmp(b->op, "param");
	weir__text_str(&t, b == &s->first_inf ? "first inf in " : "first NaN in ");
	weir__text_str(&t, b->backward ? "the gradient of " : "");
	weir__text_str(&t, b->layer);
	if (leaf) weir__text_str(&t, ", which is no operation: it was there before");
	if (leaf && !strcmp(b->op, "input")) return "data scale";
	if (later) return by_training(f, &t, "; ");
	if (f->verdict_first == WEIR_FLOW_EXPLODING) weir__text_str(&t, "; it was exploding in the first step already");
	if (size > f->options.large_input / f->options.vanishing) return "data scale";
	if (has_an_edge(b->op)) {
		weir__text_str(&t, ", an operation that is not defined everywhere");
		return NULL;
	}
	grows = growth(f, b->number, b->backward);
	return grows > 1 && grows <= f->options.fair_gain ? "depth" : "initial weights";
}
