/* noise.c: how much the samples' gradients disagree.
 *
 * One forward and backward per sample. The mean gradient and the sum of squared distances from it grow together (Welford 1962: with
 * d = g_i - mean before, mean += d / i, the sum grows by d · (g_i - mean after)), so that a small variance beside a large mean is not lost
 * in a difference of large numbers. From n samples
 *
 *   variance    S = Σ‖g_i - ḡ‖² / (n - 1): the trace of the covariance of one sample's gradient, unbiased; it equals
 *               n / (n - 1) · (mean ‖g_i‖² - ‖ḡ‖²)
 *   signal      ‖ḡ‖² - S / n: unbiased for the squared norm of the true gradient; ‖ḡ‖² itself is too large by the mean's own noise
 *   noise scale S over the signal (McCandlish et al. 2018, section 2.2 and appendix A.1)
 *
 * Where the signal comes out as 0 or less, it can't be told from noise with n samples, and the noise scale is inf. Squares are sums in
 * f64: they leave its range where gradients are above 1e154. */
#include "flow/flow.h"

#include <string.h>

#include "kernels/fpenv.h"
#include "kernels/reduce.h"

typedef struct noise {
	weir_ctx *w;
	weir_tensor *const *params;
	int64_t n, size, samples;
	weir_tensor **g;
	double *mean;   /* the gradient of all parameters, one after the other */
	double *norms;  /* ‖g_i‖ */
	double squares; /* mean of ‖g_i‖² */
	double spread;  /* Σ‖g_i - ḡ‖² */
} noise;

static weir_tensor *sample(weir_tensor *t, int64_t i)
{
	return weir_slice(t, 0, i, i + 1, 1);
}

static double element(const void *data, bool wide, int64_t i)
{
	return wide ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

/* Adds the gradient of sample number k, from 0. */
static void add_sample(noise *s, int64_t k)
{
	double part[2] = { 0, 0 }, squares = 0, norm = 0;
	weir_fp_state saved = weir__fp_enter(true);
	int64_t at = 0;

	for (int64_t p = 0; p < s->n; at += weir_numel(s->params[p++])) {
		weir_tensor *g = s->g[p] ? weir_contiguous(s->g[p]) : NULL;
		const void *data = g ? weir_data(g) : NULL;
		bool wide = g && weir_dtype_of(g) == WEIR_F64;

		for (int64_t i = 0; i < weir_numel(s->params[p]); i++) {
			double x = data ? element(data, wide, i) : 0, d = x - s->mean[at + i];

			s->mean[at + i] += d / (double)(k + 1);
			squares += x * x;
			s->spread += d * (x - s->mean[at + i]);
		}
		part[1] = data ? weir__norm2(weir_dtype_of(g), data, weir_numel(g), 1) : 0;
		part[0] = norm;
		norm = weir__norm2(WEIR_F64, part, 2, 1);
	}
	s->norms[k] = norm;
	s->squares += (squares - s->squares) / (double)(k + 1);
	weir__fp_leave(saved);
}

static bool run_sample(noise *s, weir_tensor *x, weir_tensor *y, weir_flow_loss *loss, void *user, int64_t k)
{
	weir_place place = weir_mark(s->w);
	weir_tensor *l = loss(s->w, sample(x, k), sample(y, k), user);

	if (l && weir_ok(s->w) && weir_context(l) != s->w)
		weir_fail(s->w, WEIR_ERR_CONTEXT,
			  "weir_flow_noise_of: loss() returned a tensor of another context than it was given");
	if (!l) weir_fail(s->w, WEIR_ERR_ARGUMENT, "weir_flow_noise_of: loss() returned NULL; it must return a tensor");
	if (l && weir_ok(s->w) && weir_grad(l, s->params, (int)s->n, s->g, WEIR_NO_HOOKS | WEIR_ALLOW_UNUSED))
		add_sample(s, k);
	weir_rewind(s->w, place, NULL, 0);
	return weir_ok(s->w);
}

static void finish(noise *s, weir_flow_noise *out)
{
	weir_fp_state saved = weir__fp_enter(true);
	double n = (double)s->samples, signal;

	out->samples = s->samples;
	out->grad_norm = weir__norm2(WEIR_F64, s->mean, s->size, 1);
	out->mean_square = s->squares;
	out->variance = s->samples > 1 ? s->spread / (n - 1) : UNKNOWN;
	signal = out->grad_norm * out->grad_norm - out->variance / n;
	out->noise_scale =
		signal > 0 || signal != signal || out->variance == 0 ? out->variance / signal : __builtin_inf();
	weir__fp_leave(saved);
}

/* Smallest, middle and largest norm; unknown where one of them is NaN. */
static void order_norms(double *sorted, const noise *s, weir_flow_noise *out)
{
	weir_fp_state saved = weir__fp_enter(true);
	double low = s->norms[0], high = low;
	bool ok = true;

	for (int64_t i = 0; i < s->samples; i++) {
		double x = sorted[i] = s->norms[i];

		ok = ok && x == x;
		low = x < low ? x : low;
		high = x > high ? x : high;
	}
	if (ok) {
		out->norm_min = low;
		out->norm_max = high;
		out->norm_median = weir__flow_median(sorted, s->samples);
	}
	weir__fp_leave(saved);
}

static bool check(weir_ctx *w, weir_tensor *x, weir_tensor *y, weir_flow_loss *loss, weir_tensor *const *params,
		  int64_t n)
{
	static const char who[] = "weir_flow_noise_of";

	if (!weir_ok(w)) return false;
	if (!x || !y || !loss || !params || n <= 0) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %s; samples, targets, a loss and parameters are needed", who,
			  !x       ? "x is NULL"
			  : !y     ? "y is NULL"
			  : !loss  ? "loss is NULL"
			  : n <= 0 ? "there are no parameters"
				   : "params is NULL");
		return false;
	}
	for (int64_t i = 0; i < n; i++) {
		if (params[i] && weir_context(params[i]) != w) {
			weir_fail(w, WEIR_ERR_CONTEXT, "%s: params[%lld] belongs to another context", who,
				  (long long)i);
			return false;
		}
		if (params[i] && is_float(params[i])) continue;
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: params[%lld] is %s; only f32 and f64 have gradients", who,
			  (long long)i, params[i] ? weir_dtype_name(weir_dtype_of(params[i])) : "NULL");
		return false;
	}
	if (weir_context(x) != w || weir_context(y) != w) {
		weir_fail(w, WEIR_ERR_CONTEXT, "%s: x or y belongs to another context", who);
		return false;
	}
	if (!weir_rank(x) || !weir_rank(y) || weir_shape(x)[0] != weir_shape(y)[0] || !weir_shape(x)[0]) {
		weir_fail(w, WEIR_ERR_SHAPE,
			  "%s: x has %lld samples, y %lld; their first axes count samples: as many, and one at least",
			  who, (long long)(weir_rank(x) ? weir_shape(x)[0] : 0),
			  (long long)(weir_rank(y) ? weir_shape(y)[0] : 0));
		return false;
	}
	return true;
}

bool weir_flow_noise_of(weir_ctx *w, weir_tensor *x, weir_tensor *y, weir_flow_loss *loss, void *user,
			weir_tensor *const *params, int64_t n_params, double *norms, weir_flow_noise *out)
{
	noise s = { .w = w, .params = params, .n = n_params };
	size_t bytes;
	char *memory;

	*out = (weir_flow_noise){ 0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN };
	if (!check(w, x, y, loss, params, n_params)) return false;
	s.samples = weir_shape(x)[0];
	for (int64_t i = 0; i < n_params; i++) s.size += weir_numel(params[i]);
	bytes = (size_t)(s.size + 2 * s.samples) * sizeof(double) + (size_t)n_params * sizeof *s.g;
	if (!(memory = weir__pool_take(w, &bytes))) return false;
	s.mean = (double *)(void *)memory;
	s.norms = s.mean + s.size;
	s.g = (weir_tensor **)(void *)(s.norms + 2 * s.samples);
	memset(memory, 0, bytes);
	weir_no_hooks_begin(w);
	for (int64_t k = 0; k < s.samples && run_sample(&s, x, y, loss, user, k); k++) {}
	weir_no_hooks_end(w);
	if (weir_ok(w)) {
		finish(&s, out);
		order_norms(s.norms + s.samples, &s, out);
		if (norms) memcpy(norms, s.norms, (size_t)s.samples * sizeof *norms);
	}
	weir__pool_give(w, memory, bytes);
	return weir_ok(w);
}
