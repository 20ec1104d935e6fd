/* theory.c: mean-field theory of wide random networks, to set beside what was measured.
 *
 * A layer a = f(z), z = W x + b, of many units: z is normal with mean square q = sigma_w² mean(x²) + sigma_b², and the gradient's mean
 * square is multiplied by chi = sigma_w² E f'(√q Z)² on its way back. ‖dL/dx‖² / ‖dL/da‖² is the same number whatever the layer's
 * shape: W [out, in] of independent entries of variance sigma_w² / in makes of a gradient g of its output one of in numbers with
 * mean square sigma_w² / in · ‖g‖² each.
 *
 * Expectations are sums over a grid in t, where √q z = sinh t for q > 1, and z = sinh t else: so the grid is fine where f bends and
 * reaches 9 deviations for any q. The trapezoidal rule is exact to the last digits for such integrands: analytic in a strip, with
 * nothing left at the ends. (Relu has its bend at the grid's middle, and a closed form.) */
#include "flow/dense.h"

#include "kernels/cpu.h"
#include "kernels/fpenv.h"
#include "kernels/reduce.h"

#define INFINITE __builtin_inf()

enum { HALF = 128, GRID = 2 * HALF + 1 };

static void map(weir_map op, double *y, const double *x, int64_t n)
{
	const void *in[1] = { x };

	weir__kernels()->map[op][1](y, in, n, NULL);
}

/* ---- moments ---- */

/* u = √q z on the grid, and the weight of each z. */
static void make_grid(double q, double *u, double *weight)
{
	double wide = q > 1 ? __builtin_sqrt(q) : 1, end = 9 * wide, step, t[GRID], e[GRID], sum = 0;
	double scale = q > 1 ? 1 : __builtin_sqrt(q);

	end += __builtin_sqrt(end * end + 1);
	map(WEIR_MAP_log, &step, &end, 1);
	step /= HALF;
	for (int i = 0; i < GRID; i++) t[i] = step * (i - HALF);
	map(WEIR_MAP_exp, e, t, GRID);
	for (int i = 0; i < GRID; i++) {
		double sinh = 0.5 * (e[i] - e[GRID - 1 - i]), z = sinh / wide;

		u[i] = scale * sinh;
		t[i] = -0.5 * z * z;
	}
	map(WEIR_MAP_exp, weight, t, GRID);
	for (int i = 0; i < GRID; i++) {
		weight[i] *= e[i] + e[GRID - 1 - i];
		sum += weight[i];
	}
	for (int i = 0; i < GRID; i++) weight[i] /= sum;
}

/* f and f' on the grid. */
static void evaluate(weir_act act, const double *u, double *f, double *slope)
{
	if (act == WEIR_ACT_GELU) {
		map(WEIR_MAP_normal_cdf, f, u, GRID);
		map(WEIR_MAP_normal_pdf, slope, u, GRID);
	} else {
		map(act == WEIR_ACT_TANH ? WEIR_MAP_tanh : WEIR_MAP_sigmoid, f, u, GRID);
	}
	for (int i = 0; i < GRID; i++) {
		switch (act) {
		case WEIR_ACT_GELU:
			slope[i] = f[i] + u[i] * slope[i];
			f[i] *= u[i];
			break;
		case WEIR_ACT_SILU:
			slope[i] = f[i] + u[i] * (f[i] * (1 - f[i]));
			f[i] *= u[i];
			break;
		case WEIR_ACT_TANH: slope[i] = 1 - f[i] * f[i]; break;
		default: slope[i] = f[i] * (1 - f[i]);
		}
	}
}

/* From q this large on, and for q = infinity, what stands far out is all that counts. */
static const double far = 1e24;

static void limits(weir_act act, double q, double *value2, double *slope2)
{
	bool bounded = act == WEIR_ACT_SIGMOID || act == WEIR_ACT_TANH;

	*value2 = act == WEIR_ACT_SIGMOID ? 0.5 : bounded ? 1 : 0.5 * q;
	*slope2 = bounded ? 0 : 0.5;
}

static void moments(weir_act act, double q, double *value2, double *slope2)
{
	double u[GRID], weight[GRID], f[GRID], slope[GRID], v = 0, s = 0;

	if (act == WEIR_ACT_IDENTITY || act == WEIR_ACT_RELU) {
		*slope2 = act == WEIR_ACT_RELU ? 0.5 : 1;
		*value2 = *slope2 * q;
		return;
	}
	if (q > far) {
		limits(act, q, value2, slope2);
		return;
	}
	make_grid(q, u, weight);
	evaluate(act, u, f, slope);
	for (int i = 0; i < GRID; i++) {
		v += weight[i] * f[i] * f[i];
		s += weight[i] * slope[i] * slope[i];
	}
	*value2 = v;
	*slope2 = s;
}

static bool makes_sense(weir_act act, double a, double b)
{
	return (unsigned)act <= WEIR_ACT_SILU && a >= 0 && b >= 0;
}

void weir_flow_moments(weir_act act, double q, double *value2, double *slope2)
{
	weir_fp_state saved = weir__fp_enter(true);

	*value2 = *slope2 = UNKNOWN;
	if (makes_sense(act, q, 0)) moments(act, q, value2, slope2);
	weir__fp_leave(saved);
}

/* ---- the fixed point ---- */

typedef struct field {
	weir_act act;
	double sigma_w2, sigma_b2;
} field;

/* How far q moves in one layer. */
static double drift(const field *p, double q)
{
	double v, s;

	moments(p->act, q, &v, &s);
	return p->sigma_w2 * v + p->sigma_b2 - q;
}

/* Between a and b, where drift has different signs: Illinois' variant of the rule of false position. */
static double root_between(const field *p, double a, double fa, double b, double fb)
{
	for (int i = 0; i < 200 && fa != 0 && fb != 0; i++) {
		double c = b - fb * ((b - a) / (fb - fa)), fc = drift(p, c), width = c - b;

		if (c == a || c == b) return c;
		if ((fc > 0) == (fb > 0)) {
			fa *= 0.5;
		} else {
			a = b;
			fa = fb;
		}
		b = c;
		fb = fc;
		if (width < 0) width = -width;
		if (width <= 1e-15 * c) return c;
	}
	return fa == 0 ? a : b;
}

/* A layer's map of q never falls with q, so q goes from 1 to the next fixed point on the side that it drifts to, and never beyond. On the
 * way one step of the map is safe; where it is shorter than an eighth of an octave, that is taken: no function here has two fixed points
 * so close together. */
static double fixed_point(const field *p)
{
	double q = 1, d = drift(p, q), sign = d, eighth = d > 0 ? 1.0905077326652577 : 0.91700404320467122;

	while (d != 0 && (d > 0) == (sign > 0)) {
		double next = q * eighth, was = q, d_was = d;

		if (d > 0 ? q + d > next : q + d < next) next = q + d;
		if (d > 0 && q > 1e6 && p->act >= WEIR_ACT_RELU && p->sigma_w2 > 2) return INFINITE;
		if (!is_finite(next)) return INFINITE;
		if (next < 1e-18 && p->sigma_b2 == 0) return 0;
		q = next;
		d = drift(p, q);
		if (d != 0 && (d > 0) != (sign > 0)) return root_between(p, was, d_was, q, d);
	}
	return q;
}

/* Identity and relu: q ← slope · q + sigma_b². */
static double line_fixed_point(double slope, double sigma_b2)
{
	if (slope < 1) return sigma_b2 / (1 - slope);
	return slope == 1 && sigma_b2 == 0 ? 1 : INFINITE;
}

static weir_flow_field theory(const field *p)
{
	weir_flow_field r = { UNKNOWN, UNKNOWN, UNKNOWN, false };
	double v, slope2, l;

	if (!makes_sense(p->act, p->sigma_w2, p->sigma_b2) || !is_finite(p->sigma_w2) || !is_finite(p->sigma_b2))
		return r;
	moments(p->act, 0, &v, &slope2);
	if (p->act == WEIR_ACT_IDENTITY || p->act == WEIR_ACT_RELU)
		r.q_star = line_fixed_point(p->sigma_w2 * slope2, p->sigma_b2);
	else r.q_star = fixed_point(p);
	r.converged = is_finite(r.q_star);
	moments(p->act, r.q_star, &v, &slope2);
	r.chi1 = p->sigma_w2 * slope2;
	map(WEIR_MAP_log, &l, &r.chi1, 1);
	r.xi = r.chi1 == 1 ? INFINITE : -1 / l;
	return r;
}

weir_flow_field weir_flow_theory(weir_act act, double sigma_w2, double sigma_b2)
{
	weir_fp_state saved = weir__fp_enter(true);
	weir_flow_field r = theory(&(field){ act, sigma_w2, sigma_b2 });

	weir__fp_leave(saved);
	return r;
}

/* chi1 - 1, or NaN. */
static double excess(weir_act act, double sigma_w2, double sigma_b2)
{
	return theory(&(field){ act, sigma_w2, sigma_b2 }).chi1 - 1;
}

/* chi1 is below 1 at 0.5, because no f' here exceeds 1.13. Where it jumps over 1, as gelu's and silu's may when q leaves for
 * infinity, there is no such point. */
static double critical(weir_act act, double sigma_b2)
{
	double low = 0.5, high = 1, e = -1;

	while (high < 1e30 && (e = excess(act, high, sigma_b2)) < 0) {
		low = high;
		high *= 2;
	}
	if (!(e >= 0)) return UNKNOWN;
	for (int i = 0; i < 60 && e != 0; i++) {
		double middle = low + 0.5 * (high - low), now = excess(act, middle, sigma_b2);

		if (middle == low || middle == high) break;
		if (now < 0) {
			low = middle;
		} else {
			high = middle;
			e = now;
		}
	}
	return e < 1e-6 && excess(act, low, sigma_b2) > -1e-6 ? high : e == 0 ? high : UNKNOWN;
}

double weir_flow_critical(weir_act act, double sigma_b2)
{
	weir_fp_state saved = weir__fp_enter(true);
	double r = makes_sense(act, sigma_b2, 0) && is_finite(sigma_b2) ? critical(act, sigma_b2) : UNKNOWN;

	weir__fp_leave(saved);
	return r;
}

/* ---- the measured layers ---- */

static double mean_square(double norm, int64_t n)
{
	return norm * (norm / (double)n);
}

static double mean_square_of(const weir_tensor *t)
{
	const void *data = value_of(t);

	return data ? mean_square(weir__norm2(weir_dtype_of(t), data, weir_numel(t), 1), weir_numel(t)) : UNKNOWN;
}

/* The weights' mean is taken to be 0, as it is in the theory: then the mean square of its entries, which is what an even
 * gradient feels, is their variance. */
static bool fit_layer(const weir_flow *f, int64_t number, field *r)
{
	layer *l = &f->layers[number];
	const record *in;
	weir_tensor *x;
	double q, value2, slope2, gain;
	dense d;

	if (!weir__flow_dense(f, number, &d) || !d.known) return false;
	r->act = d.act;
	r->sigma_w2 = (double)d.in * mean_square_of(param_of(d.weight));
	r->sigma_b2 = d.bias ? mean_square_of(param_of(d.bias)) : 0;
	if (!is_finite(r->sigma_w2) || !is_finite(r->sigma_b2)) return false;
	x = weir_tape_at(f->w, l->input);
	in = &f->rec[l->input];
	q = in->has_out ? mean_square(in->out_norm, weir_numel(x)) : mean_square_of(x);
	q = r->sigma_w2 * q + r->sigma_b2;
	if (!makes_sense(r->act, q, 0)) return false;
	moments(r->act, q, &value2, &slope2);
	gain = __builtin_sqrt(r->sigma_w2 * slope2);
	l->public.theory_gain = is_finite(gain) ? gain : UNKNOWN;
	return true;
}

static double median(double *v, int64_t n)
{
	int64_t gap = 1;

	while (gap < n / 3) gap = 3 * gap + 1;
	for (; gap; gap /= 3) {
		for (int64_t i = gap; i < n; i++) {
			double x = v[i];
			int64_t j = i;

			for (; j >= gap && v[j - gap] > x; j -= gap) v[j] = v[j - gap];
			v[j] = x;
		}
	}
	return n % 2 ? v[n / 2] : 0.5 * v[n / 2 - 1] + 0.5 * v[n / 2];
}

static void summarise(weir_flow *f, const field *fit, int64_t n, double *room)
{
	int64_t count[WEIR_ACT_SILU + 1] = { 0 }, used = 0;
	weir_act most = WEIR_ACT_IDENTITY;
	double sigma_w2, sigma_b2;
	weir_flow_field r;

	for (int64_t i = 0; i < n; i++) count[fit[i].act]++;
	for (weir_act act = WEIR_ACT_IDENTITY; act <= WEIR_ACT_SILU; act++) {
		if (count[act] > count[most]) most = act;
	}
	for (int64_t i = 0; i < n; i++) {
		if (fit[i].act == most) room[used++] = fit[i].sigma_w2;
	}
	if (!used) return;
	sigma_w2 = median(room, used);
	used = 0;
	for (int64_t i = 0; i < n; i++) {
		if (fit[i].act == most) room[used++] = fit[i].sigma_b2;
	}
	sigma_b2 = median(room, used);
	r = theory(&(field){ most, sigma_w2, sigma_b2 });
	f->sum.q_star = r.q_star;
	f->sum.chi1 = r.chi1;
	f->sum.xi = r.xi;
}

void weir__flow_theory(weir_flow *f)
{
	size_t bytes = (size_t)f->count * (sizeof(field) + sizeof(double));
	field *fit;
	int64_t n = 0;

	f->sum.q_star = f->sum.chi1 = f->sum.xi = UNKNOWN;
	for (int64_t i = 0; i < f->count; i++) f->layers[i].public.theory_gain = UNKNOWN;
	if (!f->count || !(fit = weir__pool_take(f->w, &bytes))) return;
	for (int64_t i = 0; i < f->count; i++) n += fit_layer(f, i, &fit[n]);
	summarise(f, fit, n, (double *)(void *)(fit + f->count));
	weir__pool_give(f->w, fit, bytes);
}
