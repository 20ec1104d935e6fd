/* gradcheck.c: is a gradient right? Compares derivatives by the tape with differences of values.
 *
 * Both orders compare the Jacobian of a function F with central differences of F:
 *
 *   order 1    F = f, of xs
 *   order 2    F = the gradient of v · f by the tape, of xs and v; v, the incoming gradient, is random and counts as
 *              input number n. It shows rules that take for a constant what depends on x or on gy
 *
 * Differences are taken with steps h, h/2, h/4, ... and extrapolated to h = 0 (Ridders 1982: Neville's scheme in h²),
 * which also says how far each can be trusted. F is evaluated between a mark and a rewind of the tape, on copies, which
 * also stand in for kept xs that f reaches by another way: xs are never written to. Numbers on this side of the tape
 * are f64. */
#include "ops/gradcheck.h"

#include <string.h>

/* Reproducible random numbers in ±[0.5, 1.5): splitmix64. */
static void randomise(double *v, int64_t n, uint64_t seed)
{
	for (int64_t i = 0; i < n; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15u;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
		z = (z ^ z >> 27) * 0x94d049bb133111ebu;
		z ^= z >> 31;
		v[i] = ((double)(z >> 12) * 0x1p-52 + 0.5) * (z & 1 ? -1.0 : 1.0);
	}
}

/* ---- differences ---- */

/* Derivatives of F for inputs begin .. end moving along c->along. False after an error. */
static bool differences(weir__check *c, weir_dtype dtype, int64_t begin, int64_t end, double h)
{
	bool more = true;

	for (int64_t r = 0; r < c->rows; r++) c->numeric[r] = weir__ridders_new();
	for (int level = 0; more && level < WEIR__LEVELS; level++, h *= 0.5) {
		double width = 2.0 * h;

		for (int side = 0; side < 2; side++) {
			memcpy(c->moved, c->x, (size_t)c->inputs * sizeof *c->x);
			for (int64_t j = begin; j < end; j++) {
				c->moved[j] += side ? -h * c->along[j] : h * c->along[j];
				if (dtype == WEIR_F32) c->moved[j] = (double)(float)c->moved[j];
			}
			if (end == begin + 1)
				width = side ? (width - c->moved[begin]) / c->along[begin] : c->moved[begin];
			if (!weir__check_values(c, c->moved, side ? c->minus : c->plus)) return false;
		}
		more = false;
		for (int64_t r = 0; r < c->rows; r++) {
			double d = 0.0, bend = 0.0;

			for (int64_t k = c->o->full ? r : 0; k < (c->o->full ? r + 1 : c->outputs); k++) {
				double weight = c->o->full ? 1.0 : c->weight[k];

				d += weight * (c->plus[k] - c->minus[k]);
				bend += weight * (c->plus[k] - 2.0 * c->base[k] + c->minus[k]);
			}
			weir__ridders_add(&c->numeric[r], d / width, 0.01 * c->o->tolerance);
			bend = weir__size(2.0 * bend / width);
			c->numeric[r].stays_bent = bend > 0.75 * c->numeric[r].bend;
			c->numeric[r].bend = bend;
			more |= !c->numeric[r].done;
		}
	}
	return true;
}

/* ---- comparing ---- */

/* Differences resolve no more than the rounding of F's values over the step: below that entries are judged as absolute. */
static double resolution(const weir__check *c, int64_t r, double h)
{
	double size = c->o->full ? weir__size(c->base[r]) : 0.0;

	for (int64_t k = 0; !c->o->full && k < c->outputs; k++) size += weir__size(c->weight[k] * c->base[k]);
	return 128.0 * 0x1p-52 * size / (h * c->o->tolerance);
}

static void compare(weir__check *c, int k, int64_t element, int64_t r, double a, double scale)
{
	const weir__ridders *e = &c->numeric[r];
	double larger = weir__size(a) > weir__size(e->best) ? weir__size(a) : weir__size(e->best);
	double error = weir__size(a - e->best) / (larger > scale ? larger : scale);
	weir__derivative d = { c->order, c->number[k], element, r, a, e->best, e->error };

	if (a == e->best) error = 0.0;
	if (error != error) error = __builtin_inf();
	c->r->checked++;
	if (c->o->log)
		weir__gradcheck_log(c->o->log, &d, c->n, c->number[k] < c->n ? weir_name(c->xs[c->number[k]]) : "");
	if (error <= c->r->worst && c->r->checked > 1) return;
	c->r->worst = error;
	c->r->signed_error = a - e->best;
	c->r->analytic = a;
	c->r->numeric = e->best;
	c->r->numeric_error = e->error;
	c->r->order = c->order;
	c->r->tensor = c->number[k];
	c->r->element = element;
	c->kink = e->stays_bent && e->bend > 0.1 * larger;
}

/* Input number k, whose elements are begin .. begin + n. */
static bool check_input(weir__check *c, int k, int64_t begin, int64_t n, weir_dtype dtype)
{
	double largest = 0.0, mean = 0.0;

	for (int64_t j = begin; j < begin + n; j++) {
		mean += weir__size(c->x[j]) / (double)n;
		for (int64_t r = 0; r < c->rows; r++) {
			double a = weir__size(c->jacobian[r * c->inputs + j]);

			if (a > largest) largest = a;
		}
	}
	if (!(mean > 0.0)) mean = 1.0;
	for (int64_t j = begin; c->o->full && j < begin + n; j++) {
		double h = c->o->step * (weir__size(c->x[j]) > mean ? weir__size(c->x[j]) : mean);

		c->along[j] = 1.0;
		if (!differences(c, dtype, j, j + 1, h)) return false;
		for (int64_t r = 0; r < c->rows; r++) {
			double fine = resolution(c, r, h);

			compare(c, k, j - begin, r, c->jacobian[r * c->inputs + j],
				fine > 1e-3 * largest ? fine : 1e-3 * largest);
		}
	}
	if (!c->o->full && n) {
		double a = 0.0;

		if (!differences(c, dtype, begin, begin + n, c->o->step * mean)) return false;
		for (int64_t j = begin; j < begin + n; j++) a += c->jacobian[j] * c->along[j];
		compare(c, k, -1, 0, a, resolution(c, 0, c->o->step * mean));
	}
	return true;
}

/* Memory for one order, in one block. */
static void *reserve(weir__check *c, size_t *got)
{
	int64_t doubles, cells;
	size_t bytes;
	char *block;

	c->outputs = c->order == 2 ? c->inputs - c->y_numel : c->y_numel;
	c->rows = c->o->full ? c->outputs : 1;
	if (__builtin_mul_overflow(c->rows, c->inputs, &cells) ||
	    __builtin_add_overflow(cells, 2 * c->inputs + 4 * c->outputs, &doubles) ||
	    __builtin_mul_overflow((uint64_t)doubles, sizeof(double), &bytes) ||
	    __builtin_add_overflow(bytes, (size_t)c->rows * sizeof(weir__ridders), &bytes)) {
		weir_fail(c->w, WEIR_ERR_MEMORY,
			  "weir_gradcheck: the Jacobian, %lld by %lld, does not fit in memory; full = false checks "
			  "one direction",
			  (long long)c->outputs, (long long)c->inputs);
		return NULL;
	}
	if (!(block = weir__scratch_alloc(c->w, bytes + 1, got))) return NULL;
	c->jacobian = (double *)(void *)block;
	c->moved = c->jacobian + cells;
	c->along = c->moved + c->inputs;
	c->base = c->along + c->inputs;
	c->plus = c->base + c->outputs;
	c->minus = c->plus + c->outputs;
	c->weight = c->minus + c->outputs;
	c->numeric = (weir__ridders *)(void *)(c->weight + c->outputs);
	randomise(c->weight, c->outputs, 1);
	randomise(c->along, c->inputs, 2);
	return block;
}

static bool check_order(weir__check *c)
{
	size_t got;
	void *block = reserve(c, &got);
	int64_t begin = 0;
	int k = 0;
	bool ok = block && weir__check_values(c, c->x, c->base) && weir__check_jacobian(c);

	if (!block) return false;
	for (int i = 0; ok && i < c->n; i++) {
		const weir_tensor *x = c->xs[i];

		if (!weir__is_float(x->dtype)) continue;
		ok = check_input(c, k++, begin, x->numel, (weir_dtype)x->dtype);
		begin += x->numel;
	}
	if (ok && c->order == 2) ok = check_input(c, k, begin, c->y_numel, c->y_dtype);
	weir__scratch_free(c->w, block, got);
	return ok;
}

/* The point: xs, and for order 2 a random v behind them. */
static bool point(weir__check *c, size_t *got)
{
	double *x;

	c->inputs = c->order == 2 ? c->y_numel : 0;
	for (int i = 0; i < c->n; i++)
		if (weir__is_float(c->xs[i]->dtype)) c->inputs += c->xs[i]->numel;
	c->x = x = weir__scratch_alloc(c->w, ((size_t)c->inputs + 1) * sizeof *x, got);
	if (!x) return false;
	for (int i = 0; i < c->n; i++) {
		if (!weir__is_float(c->xs[i]->dtype)) continue;
		weir_read_f64(c->xs[i], x, c->xs[i]->numel);
		x += c->xs[i]->numel;
	}
	if (c->order == 2) randomise(x, c->y_numel, 3);
	return weir_ok(c->w);
}

static bool usable(weir_ctx *w, weir_function *f, weir_tensor *const *xs, int n, const weir_gradcheck_options *o)
{
	if (!f || n < 1 || !xs)
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_gradcheck: f and at least one tensor in xs are needed");
	else if (o->order < 1 || o->order > 2)
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_gradcheck: order is %d; it must be 1 or 2", o->order);
	else if (!(o->step > 0.0) || !(o->tolerance > 0.0))
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_gradcheck: step and tolerance must be above 0");
	for (int i = 0; weir_ok(w) && i < n; i++) {
		if (!weir__usable(xs[i], "weir_gradcheck")) break;
		if (xs[i]->ctx != w)
			weir_fail(w, WEIR_ERR_CONTEXT, "weir_gradcheck: xs[%d] belongs to another context than xs[0]",
				  i);
	}
	return weir_ok(w);
}

/* The error stays. */
static void rewind_after_error(weir_ctx *w, weir_place mark)
{
	weir_status status = w->status;

	if (w == weir__nowhere()) return;
	w->status = WEIR_OK;
	weir_rewind(w, mark, NULL, 0);
	w->status = status;
}

void weir_gradcheck_options_init(weir_gradcheck_options *o)
{
	*o = (weir_gradcheck_options){ .order = 1, .full = true, .step = 1e-2, .tolerance = 1e-7 };
}

weir_gradcheck_result weir_gradcheck(weir_function *f, void *user, weir_tensor *const *xs, int n,
				     const weir_gradcheck_options *options)
{
	weir_gradcheck_result r = { .order = 1, .worst = 0.0 };
	weir_ctx *w = weir__ctx_of(n > 0 && xs ? xs[0] : NULL);
	weir_gradcheck_options o;
	weir__check c = { .w = w, .f = f, .user = user, .xs = xs, .n = n, .o = &o, .r = &r, .y_numel = -1 };
	size_t lists = 0, got = 0;
	weir_place mark = weir_mark(w);
	bool ok, f32 = false;

	weir_gradcheck_options_init(&o);
	if (options) o = *options;
	ok = usable(w, f, xs, n, &o) &&
	     (c.args = weir__scratch_alloc(w, (size_t)(n + 1) * (6 * sizeof *c.args + sizeof *c.number), &lists)) !=
		     NULL;
	if (ok) {
		c.kept = c.args + n + 1;
		c.stand_in = c.kept + n + 1;
		c.var = c.stand_in + n + 1;
		c.part = c.var + n + 1;
		c.g = c.part + n + 1;
		c.number = (int *)(void *)(c.g + n + 1);
	}
	for (int i = 0; ok && i < n; i++) f32 |= xs[i]->dtype == WEIR_F32;
	for (c.order = 1; ok && c.order <= o.order && r.worst <= o.tolerance; c.order++) {
		ok = point(&c, &got);
		if (ok && c.y_numel < 0) {
			ok = weir__check_apply(&c, c.x, 0); /* tells the shape of y */
			weir_rewind(w, mark, NULL, 0);
		}
		ok = ok && check_order(&c);
		if (c.x) weir__scratch_free(w, c.x, got);
		c.x = NULL;
	}
	if (c.args) weir__scratch_free(w, c.args, lists);
	r.passed = ok && r.worst <= o.tolerance;
	if (ok) {
		weir__gradcheck_advise(&r, n, f32, c.kink, o.tolerance);
	} else {
		r.worst = __builtin_inf();
		snprintf(r.advice, sizeof r.advice, "the check could not run: %.120s", weir_error_text(w));
		rewind_after_error(w, mark);
	}
	return r;
}
