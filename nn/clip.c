/* clip.c: norms of gradients, and making gradients smaller, all together by their norm or one by one by their value. */
#include "nn/module.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/profile.h"
#include "kernels/cpu.h"
#include "kernels/reduce.h"
#include "kernels/threads.h"

enum { GRAIN = 4096 };

const weir_tensor *weir__moving_gradient(const weir_tensor *param)
{
	return weir_is_frozen(param) ? NULL : weir_grad_of(param);
}

/* The gradients that would move m's parameters, for reading. */
typedef struct gradients {
	weir_tensor *const *p;
	int64_t n, i;
} gradients;

static const weir_tensor *next(gradients *all)
{
	while (all->i < all->n) {
		const weir_tensor *g = weir__moving_gradient(all->p[all->i++]);

		if (g) return g;
	}
	return NULL;
}

static gradients gradients_of(const weir_module *m)
{
	gradients all = { 0 };

	all.p = weir__module_all(m, &all.n);
	return all;
}

double weir__grad_norm(weir_tensor *param)
{
	const weir_tensor *g = weir_grad_of(param);
	double known = weir__known_norm(param);

	if (known == known) return known;
	known = weir__norm2((weir_dtype)g->dtype, weir__at(g), g->numel, g->ctx->threads);
	param->kept->norm = known;
	param->kept->norm_version = g->store->version;
	return known;
}

/* Norm of all: the norm of their norms. Where squares of these leave f64, they are taken again, scaled by the largest. */
double weir__grads_norm(weir_param_at *at, const void *some, int64_t n)
{
	double largest = 0, sum = 0;

	for (int64_t i = 0; i < n; i++) {
		weir_tensor *p = at(some, i);
		double norm = p ? weir__grad_norm(p) : 0;

		if (norm != norm) return norm;
		if (norm > largest) largest = norm;
		sum += norm * norm;
	}
	if (!weir__is_size(largest) || largest == 0) return largest;
	if (sum > 1e-270 && sum < 1e300) return sqrt(sum);
	sum = 0;
	for (int64_t i = 0; i < n; i++) {
		weir_tensor *p = at(some, i);
		double part = p ? weir__grad_norm(p) / largest : 0;

		sum += part * part;
	}
	return largest * sqrt(sum);
}

static weir_tensor *with_gradient(const void *params, int64_t i)
{
	weir_tensor *p = ((weir_tensor *const *)params)[i];

	return weir__moving_gradient(p) ? p : NULL;
}

static double total_norm(const weir_module *m)
{
	int64_t n;
	weir_tensor *const *all = weir__module_all(m, &n);

	return weir__grads_norm(with_gradient, all, n);
}

typedef struct clipping {
	weir_dtype dtype;
	void *g;
	double norm, limit;
	atomic_llong changed;
} clipping;

static void scale(void *arg, int64_t begin, int64_t end)
{
	const clipping *c = arg;

	weir__kernels()->clip[c->dtype]((char *)c->g + (size_t)begin * weir__size_of((int)c->dtype), end - begin,
					c->norm, c->limit);
}

static void limit(void *arg, int64_t begin, int64_t end)
{
	clipping *c = arg;
	long long changed = 0;

	if (c->dtype == WEIR_F32) {
		float *g = c->g, most = (float)c->limit;

		for (int64_t i = begin; i < end; i++) {
			changed += g[i] > most || g[i] < -most;
			g[i] = g[i] > most ? most : g[i] < -most ? -most : g[i];
		}
	} else {
		double *g = c->g, most = c->limit;

		for (int64_t i = begin; i < end; i++) {
			changed += g[i] > most || g[i] < -most;
			g[i] = g[i] > most ? most : g[i] < -most ? -most : g[i];
		}
	}
	atomic_fetch_add(&c->changed, changed);
}

static void each_element(const weir_tensor *g, weir_task_fn *fn, clipping *c, const char *who)
{
	weir_tensor *t = (weir_tensor *)g; /* an accumulator is read-only to users alone */

	c->dtype = (weir_dtype)g->dtype;
	c->g = weir_data_mut(t, who);
	if (c->g) weir__parallel(weir__threads_for(g->ctx->threads, 10 * (double)g->numel), g->numel, GRAIN, fn, c);
}

static bool good_limit(const weir_module *m, double most, const char *who)
{
	weir_number_text number;

	if (!weir__module_usable(m, who, "m")) return false;
	if (weir__is_size(most)) return true;
	weir_fail(m->nn->ctx, WEIR_ERR_ARGUMENT, "%s: the limit is %s; it must be finite and not negative", who,
		  weir__number(most, &number));
	return false;
}

/* The first parameter whose gradient has NaN, or with inf_too inf; reports. */
static void report(const weir_module *m, bool inf_too, const char *who)
{
	int64_t n;
	weir_tensor *const *all = weir__module_all(m, &n);
	weir_text_buf text;
	weir_stats s;

	for (int64_t i = 0; i < n; i++) {
		const weir_tensor *g = weir__moving_gradient(all[i]);

		if (!g) continue;
		weir__stats((weir_dtype)g->dtype, weir__at(g), g->numel, &s, 1);
		if (!s.nan && !(inf_too && (s.pos_inf || s.neg_inf))) continue;
		weir_fail(m->nn->ctx, WEIR_ERR_NONFINITE,
			  "%s: the gradient of %s has %lld NaN and %lld inf; no gradient was changed", who,
			  weir__describe(all[i], &text), (long long)s.nan, (long long)(s.pos_inf + s.neg_inf));
		return;
	}
	weir_fail(m->nn->ctx, WEIR_ERR_NONFINITE,
		  "%s: the norm of the gradients of %s is larger than f64 can hold; no gradient was changed", who,
		  m->path);
}

double weir_clip_norm(weir_module *m, double max_norm)
{
	weir_ctx *w = weir_module_context(m);
	clipping c = { .limit = max_norm };
	gradients all;
	const weir_tensor *g;

	if (!good_limit(m, max_norm, "weir_clip_norm")) return __builtin_nan("");
	weir__enter(w);
	weir__span_begin(w);
	all = gradients_of(m);
	c.norm = total_norm(m);
	if (!weir__is_size(c.norm)) {
		report(m, true, "weir_clip_norm");
	} else if (c.norm > max_norm) {
		while ((g = next(&all))) each_element(g, scale, &c, "weir_clip_norm");
	}
	weir__span_end(w, WEIR_SPAN_CALL, "weir_clip_norm");
	weir__leave(w);
	return c.norm;
}

int64_t weir_clip_value(weir_module *m, double most)
{
	weir_ctx *w = weir_module_context(m);
	clipping c = { .limit = most };
	gradients all;
	const weir_tensor *g;
	bool nan = false;

	if (!good_limit(m, most, "weir_clip_value")) return 0;
	weir__enter(w);
	weir__span_begin(w);
	for (all = gradients_of(m); (g = next(&all)) && !nan;) {
		weir_stats s;

		weir__stats((weir_dtype)g->dtype, weir__at(g), g->numel, &s, w->threads);
		nan = s.nan > 0;
	}
	if (nan) {
		report(m, false, "weir_clip_value");
	} else {
		all.i = 0;
		while ((g = next(&all))) each_element(g, limit, &c, "weir_clip_value");
	}
	weir__span_end(w, WEIR_SPAN_CALL, "weir_clip_value");
	weir__leave(w);
	return (int64_t)atomic_load(&c.changed);
}
