/* curvature.c: the Hessian H of a loss, seen through products with vectors alone.
 *
 * The gradient is recorded once; H·v is then one vjp of it with cotangent v (Pearlmutter 1994), at the price of a few backward passes,
 * and H is never formed.
 *
 * Top eigenvalue: power iteration. The estimate is the Rayleigh quotient v·Hv, whose error is the square of the residual. Where two
 * eigenvalues are of like magnitude and opposite sign, as at a saddle, the iteration swings between both for ever, but its last two vectors
 * span what it is left with: so H is also restricted to those two, whose products are there already, and the better of both pairs counts.
 *
 * Trace: Hutchinson's estimator (1990), the mean of z·Hz over vectors z of random signs; each is right in the mean, and their spread
 * gives the standard error.
 *
 * The vectors come from a sequence of their own: no random stream of the context is used up, and every call gives the same numbers. */
#include "flow/flow.h"

#include <string.h>

#include "kernels/fpenv.h"

static const char who[] = "weir_flow_curvature_of";

typedef struct hessian {
	weir_ctx *w;
	weir_tensor *const *params;
	int64_t n, size;
	weir_tensor **hv;      /* the last product, by parameter */
	weir_tensor *gradient; /* recorded: all in one vector */
	uint64_t draws;
} hessian;

/* SplitMix64 (Steele et al. 2014). */
static uint64_t draw(hessian *h)
{
	uint64_t z = ++h->draws * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static double dot(const double *a, const double *b, int64_t n)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
	return sum;
}

/* ---- products ---- */

/* Records the gradient, as one vector: of f64 where the parameters are of both types. */
static bool record_gradient(hessian *h, weir_tensor *loss)
{
	weir_tensor **g = h->hv;
	bool mixed = false;

	if (!weir_grad(loss, h->params, (int)h->n, g, WEIR_CREATE_GRAPH | WEIR_NO_HOOKS | WEIR_ALLOW_UNUSED))
		return false;
	for (int64_t i = 0; i < h->n; i++) mixed = mixed || weir_dtype_of(h->params[i]) != weir_dtype_of(h->params[0]);
	for (int64_t i = 0; i < h->n; i++) {
		const weir_tensor *p = h->params[i];

		if (!g[i]) g[i] = weir_zeros(h->w, weir_dtype_of(p), weir_rank(p), weir_shape(p));
		g[i] = weir_reshape(g[i], 1, (int64_t[]){ weir_numel(p) });
		if (mixed) g[i] = weir_cast(g[i], WEIR_F64);
	}
	h->gradient = weir_concat(g, (int)h->n, 0);
	return weir_ok(h->w);
}

/* hv = H v. */
static bool multiply(hessian *h, const double *v, double *hv)
{
	weir_place place = weir_mark(h->w);
	weir_tensor *t = weir_zeros(h->w, weir_dtype_of(h->gradient), 1, &h->size);
	int64_t at = 0;

	if (weir_ok(h->w) && weir_write_f64(t, v, h->size))
		weir_vjp(h->gradient, t, h->params, (int)h->n, h->hv, WEIR_NO_HOOKS | WEIR_ALLOW_UNUSED);
	for (int64_t i = 0; weir_ok(h->w) && i < h->n; at += weir_numel(h->params[i++])) {
		if (h->hv[i]) weir_read_f64(h->hv[i], hv + at, weir_numel(h->params[i]));
		else memset(hv + at, 0, (size_t)weir_numel(h->params[i]) * sizeof *hv);
	}
	weir_rewind(h->w, place, NULL, 0);
	return weir_ok(h->w);
}

/* ---- the eigenvalue ---- */

/* ‖a - lambda b‖ / |lambda| */
static double residual(const double *a, const double *b, double lambda, int64_t n)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++) sum += (a[i] - lambda * b[i]) * (a[i] - lambda * b[i]);
	sum = __builtin_sqrt(sum);
	return sum == 0 ? 0 : sum / __builtin_fabs(lambda);
}

/* H on the plane of the unit vectors u and v: its eigenvalue of largest magnitude, and the residual, of the vector x u + y v. */
static void on_plane(const double *u, const double *hu, const double *v, const double *hv, int64_t n,
		     weir_flow_curvature *out)
{
	double c = dot(u, v, n), s2 = 1 - c * c, s, a, b, d, half, root, top, x, y, norm, sum = 0;

	if (!(s2 > 1e-12)) return; /* hardly a plane */
	s = __builtin_sqrt(s2);
	/* q = (v - c u) / s completes u to an orthonormal pair; H on it is [a b; b d]. */
	a = dot(u, hu, n);
	b = (dot(v, hu, n) - c * a) / s;
	d = (dot(v, hv, n) - 2 * c * dot(u, hv, n) + c * c * a) / s2;
	half = 0.5 * (a - d);
	root = __builtin_sqrt(half * half + b * b);
	top = 0.5 * (a + d) + (a + d < 0 ? -root : root);
	x = __builtin_fabs(top - a) > __builtin_fabs(top - d)
		    ? b
		    : top - d; /* the eigenvector, of the rows of larger numbers */
	y = __builtin_fabs(top - a) > __builtin_fabs(top - d) ? top - a : b;
	norm = __builtin_sqrt(x * x + y * y);
	if (!(norm > 0) || top == 0) return;
	y /= norm * s;
	x = x / norm - c * y;
	for (int64_t i = 0; i < n; i++) {
		double r = x * hu[i] + y * hv[i] - top * (x * u[i] + y * v[i]);

		sum += r * r;
	}
	norm = __builtin_sqrt(sum) / __builtin_fabs(top);
	if (!(norm < out->residual)) return;
	out->top = top;
	out->residual = norm;
}

static void start(hessian *h, double *v)
{
	double norm;

	for (int64_t i = 0; i < h->size; i++) v[i] = (double)(draw(h) >> 11) * 0x1p-52 - 1;
	norm = __builtin_sqrt(dot(v, v, h->size));
	for (int64_t i = 0; i < h->size; i++) v[i] /= norm;
}

/* room: four vectors. */
static bool iterate(hessian *h, double *room, int iterations, double tolerance, weir_flow_curvature *out)
{
	double *u = room, *hu = u + h->size, *v = hu + h->size, *hv = v + h->size;

	start(h, v);
	while (out->iterations < iterations) {
		double norm, *t;

		if (!multiply(h, v, hv)) return false;
		out->top = dot(v, hv, h->size);
		out->residual = residual(hv, v, out->top, h->size);
		if (out->iterations++) on_plane(u, hu, v, hv, h->size, out);
		norm = __builtin_sqrt(dot(hv, hv, h->size));
		if (!(norm > 0) || !is_finite(norm) || out->residual <= tolerance) break;
		t = u, u = v, v = t;
		t = hu, hu = hv, hv = t;
		for (int64_t i = 0; i < h->size; i++) v[i] = hu[i] / norm;
	}
	return true;
}

/* ---- the trace ---- */

/* room: two vectors. */
static bool probe(hessian *h, double *room, int probes, weir_flow_curvature *out)
{
	double *z = room, *hz = z + h->size, mean = 0, squares = 0;

	for (int k = 1; k <= probes; k++) {
		uint64_t bits = 0;
		double x, d;

		for (int64_t i = 0; i < h->size; i++, bits >>= 1) {
			if (i % 64 == 0) bits = draw(h);
			z[i] = bits & 1 ? 1 : -1;
		}
		if (!multiply(h, z, hz)) return false;
		x = dot(z, hz, h->size);
		d = x - mean;
		mean += d / k;
		squares += d * (x - mean);
	}
	out->trace = mean;
	out->trace_error = probes > 1 ? __builtin_sqrt(squares / (probes - 1) / probes) : UNKNOWN;
	return true;
}

/* ---- the call ---- */

static bool check(weir_tensor *loss, weir_tensor *const *params, int64_t n)
{
	weir_ctx *w = weir_context(loss);

	if (!weir_ok(w)) return false;
	if (!loss || !params || n <= 0) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %s; a loss and parameters are needed", who,
			  !loss    ? "loss is NULL"
			  : n <= 0 ? "there are no parameters"
				   : "params is NULL");
		return false;
	}
	for (int64_t i = 0; i < n; i++) {
		if (params[i] && is_float(params[i])) continue;
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: params[%lld] is %s; only f32 and f64 have gradients", who,
			  (long long)i, params[i] ? weir_dtype_name(weir_dtype_of(params[i])) : "NULL");
		return false;
	}
	return true;
}

bool weir_flow_curvature_of(weir_tensor *loss, weir_tensor *const *params, int64_t n_params, int iterations,
			    double tolerance, int probes, weir_flow_curvature *out)
{
	hessian h = { .w = weir_context(loss), .params = params, .n = n_params };
	weir_fp_state saved;
	weir_place place;
	size_t bytes;
	char *memory;

	*out = (weir_flow_curvature){ UNKNOWN, UNKNOWN, 0, UNKNOWN, UNKNOWN };
	if (!check(loss, params, n_params)) return false;
	for (int64_t i = 0; i < n_params; i++) h.size += weir_numel(params[i]);
	bytes = 4 * (size_t)h.size * sizeof(double) + (size_t)n_params * sizeof *h.hv;
	if (!(memory = weir__pool_take(h.w, &bytes))) return false;
	h.hv = (weir_tensor **)(void *)(memory + 4 * (size_t)h.size * sizeof(double));
	saved = weir__fp_enter(true);
	place = weir_mark(h.w);
	weir_no_hooks_begin(h.w);
	if (record_gradient(&h, loss) &&
	    iterate(&h, (double *)(void *)memory, h.size ? iterations : 0, tolerance, out) && probes > 0)
		probe(&h, (double *)(void *)memory, probes, out);
	weir_rewind(h.w, place, NULL, 0);
	weir_no_hooks_end(h.w);
	weir__fp_leave(saved);
	weir__pool_give(h.w, memory, bytes);
	return weir_ok(h.w);
}

void weir_flow_tell(weir_flow *f, const weir_flow_noise *noise, const weir_flow_curvature *curvature)
{
	if (!f) return;
	if (noise) f->sum.noise = *noise;
	if (curvature) f->sum.curvature = *curvature;
}
