/* spikes.c: is this step's norm out of line with those before it?
 *
 * For each layer's ‖delta‖, for the norm of all parameter gradients and for the loss, a window holds log₂ of the last values that were
 * finite and above 0. A value is judged against the window as it was before it came: its distance from the median, in 1.4826 median
 * absolute deviations (for a normal distribution that is its standard deviation). Neither is moved by single values however wild, so that
 * one step cannot hide the next, and one NaN disturbs nothing (means and z-scores keep it for ever).
 *
 * Decisions. Judging begins when half the window has come. A value that is not finite is a spike at any time, is counted and left out;
 * 0 is left out, and no spike: dead units and births tell of it. A loss is a spike only upwards: close to 0 its logarithm falls as far as
 * you like. Between two whole measurements median and deviation are taken again every 16th step, or where the old ones make the
 * value look half as far out as a spike is. */
#include "flow/flow.h"

#include <string.h>

#include "kernels/cpu.h"
#include "kernels/reduce.h"

enum { LEAST = 8, REFRESH = 16 };

static const int64_t most_length = INT64_C(1)
				   << 40; /* more memory than there is, and no overflow on the way to know it */

/* The least deviation, in bits: a series that repeats to the last bit but one has none, and each rounding would be a spike. This is a
 * factor of 1.035; with 10 deviations to a spike no change by less than 1.41 is one. It is no size of the loss. */
static const double floor_bits = 0.05;

typedef struct series {
	double *value;          /* a ring of log₂ */
	int64_t count, next;    /* values in it; where the next one goes */
	double median, spread;  /* as last taken; NaN before */
	int64_t age, next_call; /* values since then; the series of the same name's next call, or -1 */
	int64_t spikes;
} series;

typedef struct series_name {
	int64_t first, present; /* series of call 1; of the call met last in this pass over the layers */
	int64_t pass;
} series_name;

typedef struct weir__window {
	int64_t length;
	double *scratch; /* length values */
	series *list;
	int64_t count, capacity;
	series_name *names; /* by index into the flow's names */
	int64_t n_names, names_capacity;
	int64_t pass;

	/* By layer of the last whole measurement: its series, or -1; whether it had a gradient; norms and logarithms of this step. */
	int64_t *of;
	bool *has;
	double *norm, *log;
	int64_t layers, of_capacity, has_capacity, norm_capacity, log_capacity;

	int64_t *leaf; /* places of the parameters that had a gradient then */
	int64_t leaves, leaf_capacity;
	series grad, loss;
} weir__window;

/* ---- median ---- */

/* Moves the k-th smallest of n values to place k, none smaller behind it; no NaN among them. */
static double select_kth(double *v, int64_t n, int64_t k)
{
	for (int64_t low = 0, high = n - 1; low < high;) {
		double pivot = v[low + (high - low) / 2], t;
		int64_t i = low, j = high;

		while (i <= j) {
			while (v[i] < pivot) i++;
			while (v[j] > pivot) j--;
			if (i > j) break;
			t = v[i], v[i] = v[j], v[j] = t;
			i++, j--;
		}
		if (k <= j) high = j;
		else if (k >= i) low = i;
		else break;
	}
	return v[k];
}

double weir__flow_median(double *v, int64_t n)
{
	double high, low;

	if (!n) return UNKNOWN;
	high = select_kth(v, n, n / 2);
	if (n % 2) return high;
	low = v[0];
	for (int64_t i = 1; i < n / 2; i++) low = v[i] > low ? v[i] : low;
	return low == high ? low : 0.5 * low + 0.5 * high;
}

/* ---- one series ---- */

static void refresh(weir__window *s, series *e)
{
	memcpy(s->scratch, e->value, (size_t)e->count * sizeof *e->value);
	e->median = weir__flow_median(s->scratch, e->count);
	for (int64_t i = 0; i < e->count; i++) s->scratch[i] = __builtin_fabs(e->value[i] - e->median);
	e->spread = 1.4826 * weir__flow_median(s->scratch, e->count);
	e->age = 0;
}

static bool further(const series *e, double bits, double deviations, bool downwards)
{
	double d = bits - e->median, s = e->spread > floor_bits ? e->spread : floor_bits;

	return (downwards ? __builtin_fabs(d) : d) > deviations * s;
}

/* Takes in x, whose log₂ is bits; returns whether it is a spike. exact: median and spread are to be those that it is judged by. */
static bool take(weir_flow *f, series *e, double x, double bits, bool downwards, bool exact)
{
	weir__window *s = f->window;
	bool spike = !is_finite(x);

	if (2 * e->count >= s->length) {
		if (exact || e->age >= REFRESH || e->median != e->median ||
		    (!spike && x != 0 && further(e, bits, 0.5 * f->options.spike, true)))
			refresh(s, e);
		spike = spike || (x != 0 && further(e, bits, f->options.spike, downwards));
	}
	e->spikes += spike;
	if (!is_finite(x) || x == 0) return spike;
	e->value[e->next] = bits;
	e->next = e->next + 1 < s->length ? e->next + 1 : 0;
	if (e->count < s->length) e->count++;
	e->age++;
	return spike;
}

static bool begin_series(weir_flow *f, series *e, int64_t number)
{
	size_t bytes = (size_t)f->window->length * sizeof *e->value;

	*e = (series){ .median = UNKNOWN, .spread = UNKNOWN, .next_call = -1 };
	e->age = number % REFRESH; /* not all of them in the same step */
	return (e->value = weir__pool_take(f->w, &bytes));
}

static void free_series(const weir_flow *f, series *e)
{
	if (e->value) weir__pool_give(f->w, e->value, (size_t)f->window->length * sizeof *e->value);
}

/* ---- which layer has which: again after every whole measurement ---- */

static bool have_room(weir_flow *f, void **list, int64_t count, int64_t *capacity, size_t size)
{
	while (*capacity < count) {
		if (!weir__flow_grow(f->w, list, *capacity, capacity, size)) return false;
	}
	return true;
}

static bool room_for_layers(weir_flow *f)
{
	weir__window *s = f->window;
	void *of = s->of, *has = s->has, *norm = s->norm, *log = s->log;
	bool ok = have_room(f, &of, f->count, &s->of_capacity, sizeof *s->of) &&
		  have_room(f, &has, f->count, &s->has_capacity, sizeof *s->has) &&
		  have_room(f, &norm, f->count, &s->norm_capacity, sizeof *s->norm) &&
		  have_room(f, &log, f->count, &s->log_capacity, sizeof *s->log);

	s->of = of;
	s->has = has;
	s->norm = norm;
	s->log = log;
	return ok;
}

static int64_t new_series(weir_flow *f)
{
	weir__window *s = f->window;
	void *list = s->list;

	if (!weir__flow_grow(f->w, &list, s->count, &s->capacity, sizeof *s->list)) return -1;
	s->list = list;
	return begin_series(f, &s->list[s->count], s->count) ? s->count++ : -1;
}

/* The series of the next call of the name that a layer has. */
static int64_t series_of(weir_flow *f, const char *text)
{
	weir__window *s = f->window;
	const layer_name *name = weir__flow_intern(f, text, strlen(text));
	void *list = s->names;
	series_name *n;
	int64_t i, *from;

	if (!name) return -1;
	while (s->n_names <= name - f->names) {
		if (!weir__flow_grow(f->w, &list, s->n_names, &s->names_capacity, sizeof *s->names)) return -1;
		s->names = list;
		s->names[s->n_names++] = (series_name){ .first = -1 };
	}
	n = &s->names[name - f->names];
	from = n->pass == s->pass ? &s->list[n->present].next_call : &n->first;
	if ((i = *from) < 0) {
		int64_t before = n->pass == s->pass ? n->present : -1;

		if ((i = new_series(f)) < 0) return -1;
		if (before >= 0) s->list[before].next_call = i; /* the list may have moved */
		else n->first = i;
	}
	n->pass = s->pass;
	n->present = i;
	return i;
}

static bool assign(weir_flow *f)
{
	weir__window *s = f->window;

	s->layers = 0;
	s->pass++;
	if (!room_for_layers(f)) return false;
	for (int64_t i = 0; i < f->count; i++) {
		const layer *l = &f->layers[i];

		s->has[i] = l->last < f->records && f->rec[l->last].has_delta;
		if ((s->of[i] = series_of(f, l->public.name)) < 0) return false;
	}
	s->layers = f->count;
	return true;
}

/* ---- norms over all parameters ---- */

/* √Σx² without overflow on the way: the sum is sum · scale², scale the largest x so far; or not finite, if an x was. */
typedef struct running {
	double scale, sum;
} running;

static void add(running *r, double x)
{
	if (x != x || !is_finite(x)) r->scale = r->scale != r->scale ? r->scale : x;
	if (!(x > 0) || !is_finite(r->scale)) return;
	if (x > r->scale) {
		r->sum = 1 + r->sum * (r->scale / x) * (r->scale / x);
		r->scale = x;
	} else {
		r->sum += x / r->scale * (x / r->scale);
	}
}

static double root(const running *r)
{
	return is_finite(r->scale) ? r->scale * __builtin_sqrt(r->sum) : r->scale;
}

static bool param_leaf(const weir_tensor *t)
{
	return t && is_leaf(t) && param_of(t);
}

/* Which parameters have a gradient, their norm, and that of their updates. */
static bool measure_params(weir_flow *f)
{
	weir__window *s = f->window;
	running weights = { 0, 0 }, updates = { 0, 0 };
	bool any = false, known = false;

	s->leaves = 0;
	for (int64_t i = 0; i < f->records; i++) {
		weir_tensor *t = weir_tape_at(f->w, i);
		const void *data = param_leaf(t) ? value_of(t) : NULL;
		void *list = s->leaf;
		double norm, ratio;

		if (!param_leaf(t)) continue;
		if (f->rec[i].has_delta) {
			if (!weir__flow_grow(f->w, &list, s->leaves, &s->leaf_capacity, sizeof *s->leaf)) return false;
			s->leaf = list;
			s->leaf[s->leaves++] = i;
		}
		if (!data) continue;
		any = true;
		add(&weights, norm = weir__norm2(weir_dtype_of(t), data, weir_numel(t), 1));
		if (!f->options.update_ratio) continue;
		ratio = f->options.update_ratio(param_of(t), f->options.user);
		if (!(ratio >= 0) || !is_finite(ratio)) continue;
		known = true;
		add(&updates, ratio * norm);
	}
	f->sum.param_norm = any ? root(&weights) : UNKNOWN;
	f->sum.update_norm = known ? root(&updates) : UNKNOWN;
	return true;
}

/* Of the parameters that had a gradient in the last whole measurement; on another graph, of all whose gradient has a norm. */
static double grad_norm(const weir_flow *f, bool same)
{
	const weir__window *s = f->window;
	int64_t n = same ? s->leaves : f->norms, found = 0;
	running r = { 0, 0 };

	for (int64_t k = 0; k < n; k++) {
		int64_t i = same ? s->leaf[k] : k;
		double x = i < f->norms ? f->norm[i] : UNKNOWN;

		if (!same && (x != x || !param_leaf(weir_tape_at(f->w, i)))) continue;
		add(&r, x);
		found++;
	}
	return found ? root(&r) : UNKNOWN;
}

/* ---- one step ---- */

static void take_layers(weir_flow *f, bool whole)
{
	weir__window *s = f->window;
	const void *in[1] = { s->norm };

	for (int64_t i = 0; i < s->layers; i++) {
		double x = f->layers[i].public.delta_norm;

		s->norm[i] = x > 0 && is_finite(x) ? x : 1;
	}
	if (s->layers) weir__kernels()->map[WEIR_MAP_log][1](s->log, in, s->layers, NULL);
	for (int64_t i = 0; i < s->layers; i++) {
		weir_flow_layer *p = &f->layers[i].public;
		series *e = &s->list[s->of[i]];

		p->spike = s->has[i] && take(f, e, p->delta_norm, s->log[i] * 1.4426950408889634, true, whole);
		p->delta_median = e->median;
		p->delta_spread = e->spread;
		p->spikes = e->spikes;
	}
}

static bool begin(weir_flow *f)
{
	size_t bytes = sizeof *f->window;
	weir__window *s;

	if (f->window) return true;
	if (!(s = weir__pool_take(f->w, &bytes))) return false;
	*s = (weir__window){ .length = f->options.window < LEAST ? LEAST : f->options.window };
	if (s->length > most_length) s->length = most_length;
	f->window = s;
	bytes = (size_t)s->length * sizeof *s->scratch;
	if ((s->scratch = weir__pool_take(f->w, &bytes)) && begin_series(f, &s->grad, 0) &&
	    begin_series(f, &s->loss, 1))
		return true;
	weir__flow_spikes_free(f);
	return false;
}

void weir__flow_spikes(weir_flow *f)
{
	bool whole = f->sum.measured == f->sum.step, same = weir__flow_same_layers(f);
	weir_flow_summary *sum = &f->sum;
	double loss = __builtin_fabs(sum->loss), grad;

	if (!begin(f) || (whole && (!assign(f) || !measure_params(f)))) return;
	if (whole || same) take_layers(f, whole);
	grad = sum->param_grad_norm = grad_norm(f, whole || same);
	sum->grad_spike = (whole || same ? f->window->leaves > 0 : grad == grad) &&
			  take(f, &f->window->grad, grad, grad > 0 ? weir__flow_log2(grad) : 0, true, whole);
	sum->loss_spike = take(f, &f->window->loss, loss, loss > 0 ? weir__flow_log2(loss) : 0, false, whole);
	sum->grad_spikes = f->window->grad.spikes;
	sum->loss_spikes = f->window->loss.spikes;
}

void weir__flow_spikes_free(weir_flow *f)
{
	weir__window *s = f->window;

	if (!s) return;
	for (int64_t i = 0; i < s->count; i++) free_series(f, &s->list[i]);
	free_series(f, &s->grad);
	free_series(f, &s->loss);
	if (s->scratch) weir__pool_give(f->w, s->scratch, (size_t)s->length * sizeof *s->scratch);
	if (s->list) weir__pool_give(f->w, s->list, (size_t)s->capacity * sizeof *s->list);
	if (s->names) weir__pool_give(f->w, s->names, (size_t)s->names_capacity * sizeof *s->names);
	if (s->of) weir__pool_give(f->w, s->of, (size_t)s->of_capacity * sizeof *s->of);
	if (s->has) weir__pool_give(f->w, s->has, (size_t)s->has_capacity * sizeof *s->has);
	if (s->norm) weir__pool_give(f->w, s->norm, (size_t)s->norm_capacity * sizeof *s->norm);
	if (s->log) weir__pool_give(f->w, s->log, (size_t)s->log_capacity * sizeof *s->log);
	if (s->leaf) weir__pool_give(f->w, s->leaf, (size_t)s->leaf_capacity * sizeof *s->leaf);
	weir__pool_give(f->w, s, sizeof *s);
	f->window = NULL;
}
