/* The errors of exp, log, tanh, sigmoid, erf, pow and their gradients in units of the last place, over dense samples, against long double; and
 * the same bits from every instruction set on those samples; gradients where they are delicate. tests/slow_ulp.c goes over every float. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/fpenv.h"

typedef long double real;

static real ref_exp(real x, real p)
{
	return (void)p, expl(x);
}
static real ref_log(real x, real p)
{
	return (void)p, logl(x);
}
static real ref_tanh(real x, real p)
{
	return (void)p, tanhl(x);
}
static real ref_erf(real x, real p)
{
	return (void)p, erfl(x);
}
static real ref_pow(real x, real p)
{
	return powl(x, p);
}

static real ref_sigmoid(real x, real p)
{
	real e = expl(-fabsl(x));

	return (void)p, x < 0 ? e / (1 + e) : 1 / (1 + e);
}

static real ref_sigmoid_slope(real x, real p)
{
	real e = expl(-fabsl(x));

	return (void)p, e / ((1 + e) * (1 + e));
}

static real ref_tanh_slope(real x, real p)
{
	return 4 * ref_sigmoid_slope(2 * x, p);
}
static real ref_erf_slope(real x, real p)
{
	return (void)p, 1.12837916709551257389615890312154517L * expl(-x * x);
}
static real ref_pow_slope(real x, real p)
{
	return p * powl(x, p - 1);
}

/* Samples: even over low..high, and over the exponents of high down to 2^-40 (the whole type's where low is 0). */
static const struct {
	weir_map id;
	real (*reference)(real x, real p);
	double low, high, p;
	double limit32, limit64;
} functions[] = {
	{ WEIR_MAP_exp, ref_exp, -104, 88, 0, 0.52, 1 },
	{ WEIR_MAP_exp, ref_exp, -745, 709, 0, 0.52, 1 },
	{ WEIR_MAP_exp, ref_exp, -1, 1, 0, 0.52, 1 },
	{ WEIR_MAP_log, ref_log, 0, 1e30, 0, 0.52, 1 },
	{ WEIR_MAP_log, ref_log, 0.5, 2, 0, 0.52, 1 },
	{ WEIR_MAP_tanh, ref_tanh, -11, 11, 0, 0.52, 0.75 },
	{ WEIR_MAP_tanh, ref_tanh, -20, 20, 0, 0.52, 0.75 },
	{ WEIR_MAP_tanh, ref_tanh, -1, 1, 0, 0.52, 0.75 },
	{ WEIR_MAP_sigmoid, ref_sigmoid, -104, 40, 0, 0.52, 1 },
	{ WEIR_MAP_sigmoid, ref_sigmoid, -745, 40, 0, 0.52, 1 },
	{ WEIR_MAP_sigmoid, ref_sigmoid, -5, 5, 0, 0.52, 0.75 },
	{ WEIR_MAP_erf, ref_erf, -6, 6, 0, 0.55, 1.35 },
	{ WEIR_MAP_erf, ref_erf, -1.2, 1.2, 0, 0.55, 1.35 },
	{ WEIR_MAP_pow, ref_pow, 0, 1e30, 0.3, 0.52, 0.6 },
	{ WEIR_MAP_pow, ref_pow, 0.5, 2, 29.7, 0.52, 0.6 },
	{ WEIR_MAP_pow, ref_pow, -3, 3, 3, 0.52, 0.6 },
	{ WEIR_MAP_pow, ref_pow, -3, 3, -4, 0.52, 0.6 },
	{ WEIR_MAP_pow, ref_pow, 0, 1e300, 0.9999, 0.52, 0.6 },
	{ WEIR_MAP_pow, ref_pow, 0.999, 1.001, 1e5, 0.52, 0.6 },
	{ WEIR_MAP_pow, ref_pow, 0, 1e20, 0.5, 0.52, 0.6 },
	{ WEIR_MAP_pow, ref_pow, -100, 100, 2, 0.52, 0.6 },
	{ WEIR_MAP_pow, ref_pow, -100, 100, -1, 0.52, 0.6 },
	{ WEIR_MAP_sigmoid_vjp, ref_sigmoid_slope, -104, 104, 0, 0.52, 1.5 },
	{ WEIR_MAP_sigmoid_vjp, ref_sigmoid_slope, -700, 700, 0, 0.52, 1.5 },
	{ WEIR_MAP_sigmoid_vjp, ref_sigmoid_slope, -3, 3, 0, 0.52, 1.5 },
	{ WEIR_MAP_tanh_vjp, ref_tanh_slope, -50, 50, 0, 0.52, 1.5 },
	{ WEIR_MAP_tanh_vjp, ref_tanh_slope, -1, 1, 0, 0.52, 1.5 },
	{ WEIR_MAP_erf_vjp, ref_erf_slope, -10, 10, 0, 0.52, 1.5 },
	{ WEIR_MAP_erf_vjp, ref_erf_slope, -26, 26, 0, 0.52, 1.5 },
	{ WEIR_MAP_pow_vjp, ref_pow_slope, -3, 3, 3, 0.52, 1.6 },
	{ WEIR_MAP_pow_vjp, ref_pow_slope, 0, 1e20, 0.5, 0.52, 1.6 },
};

enum { BLOCK = 4000, BLOCKS = 5 };

static uint64_t state = 99;

static double uniform(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (double)((state * UINT64_C(2685821657736338717)) >> 11) * 0x1p-53;
}

/* The distance of got from want, in units of the last of `digits` places; subnormals have the place of the smallest normal. */
static double ulps(double got, real want, int digits, int least)
{
	int e;

	if (isinf(got))
		return fabsl(want) >= ldexpl(1.0L - ldexpl(1.0L, -digits - 1), 3 - digits - least - 1)
			       ? 0
			       : (double)INFINITY;
	if (isnan(got) || isnan(want)) return isnan(got) && isnan(want) ? 0 : (double)INFINITY;
	if (want == 0) return got == 0 ? 0 : (double)INFINITY;
	frexpl(want, &e);
	e = e - digits < least ? least : e - digits;
	return (double)ldexpl(fabsl((real)got - want), -e);
}

static void check(size_t f, bool f64)
{
	static const char *const isas[] = { "generic", "avx2", "avx512" };
	static _Alignas(64) double x[BLOCK], gy[BLOCK], y[BLOCK], other[BLOCK];
	float *x32 = (float *)(void *)x, *gy32 = (float *)(void *)gy;
	double low = functions[f].low, high = functions[f].high, worst = 0, worst_x = 0;
	bool slope = weir__map_info[functions[f].id].inputs[1] != 0;
	const void *in[2] = { slope ? gy : x, x };
	size_t bytes = BLOCK * (f64 ? 8 : 4);

	for (int block = 0; block < BLOCKS; block++) {
		for (int i = 0; i < BLOCK; i++) {
			double u = uniform(), end = low < 0 && i & 2 ? low : high;
			double v = i & 1     ? low + u * (high - low)
				   : low > 0 ? 1 + (i & 2 ? -1 : 1) * exp2(-1 - 50 * u) * (high - 1)
					     : end * exp2(-(low == 0 ? f64 ? 1100 : 240 : 40) * u);

			if (f64) {
				x[i] = v;
				gy[i] = 1;
			} else {
				x32[i] = (float)v;
				gy32[i] = 1;
			}
		}
		weir__kernels()->map[functions[f].id][f64](y, in, BLOCK, (const double[2]){ functions[f].p });
		for (int i = 0; i < BLOCK; i++) {
			real at = f64 ? (real)x[i] : (real)x32[i];
			double got = f64 ? y[i] : (double)((float *)(void *)y)[i];
			double u = ulps(got, functions[f].reference(at, (real)functions[f].p), f64 ? 53 : 24,
					f64 ? -1074 : -149);

			if (u > worst) {
				worst = u;
				worst_x = (double)at;
			}
		}
		for (int s = 0; s < 3; s++) {
			const weir_kernels *k = weir__kernels_for(isas[s]);

			if (!k) continue;
			k->map[functions[f].id][f64](other, in, BLOCK, (const double[2]){ functions[f].p });
			assert_memory_equal(other, y, bytes);
		}
	}
	if (!(worst <= (f64 ? functions[f].limit64 : functions[f].limit32)))
		fail_msg("%s_%s: %.4f ULP at %a (samples %g..%g, p = %g), more than %.2f",
			 weir__map_info[functions[f].id].name, f64 ? "f64" : "f32", worst, worst_x, low, high,
			 functions[f].p, f64 ? functions[f].limit64 : functions[f].limit32);
}

static void test_errors(void **unused)
{
	weir_fp_state saved = weir__fp_enter(true);

	(void)unused;
	for (size_t f = 0; f < sizeof functions / sizeof *functions; f++) {
		check(f, false);
		check(f, true);
	}
	weir__fp_leave(saved);
}

static void test_gradients_where_they_are_delicate(void **unused)
{
	static const struct {
		weir_map id;
		double gy, x, p, want;
	} rows[] = {
		{ WEIR_MAP_sigmoid_vjp, 1, 17, 0, 4.1399373760035016e-08 },
		{ WEIR_MAP_sigmoid_vjp, 1, 40, 0, 4.248354255291589e-18 },
		{ WEIR_MAP_sigmoid_vjp, 1e30, -100, 0, 3.720075976020836e-14 },
		{ WEIR_MAP_sigmoid_vjp, 1, -INFINITY, 0, 0 },
		{ WEIR_MAP_tanh_vjp, 1, 10, 0, 8.244614455767397e-09 },
		{ WEIR_MAP_tanh_vjp, 1, 0, 0, 1 },
		{ WEIR_MAP_sqrt_vjp, 0, 0, 0, 0 },
		{ WEIR_MAP_log_vjp, 0, 0, 0, 0 },
		{ WEIR_MAP_pow_vjp, 0, 0, 0.5, 0 },
		{ WEIR_MAP_pow_vjp, 3, 0, 1, 3 },
		{ WEIR_MAP_pow_vjp, 3, -2, 2, -12 },
		{ WEIR_MAP_pow_vjp, 3, -2, 3, 36 },
		{ WEIR_MAP_pow_vjp, 3, 0, 0, 0 },
		{ WEIR_MAP_abs_vjp, 3, 0, 0, 0 },
		{ WEIR_MAP_relu_vjp, 3, 0, 0, 0 },
	};

	(void)unused;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		for (int f64 = 0; f64 < 2; f64++) {
			float gy32 = (float)rows[i].gy, x32 = (float)rows[i].x, y32 = 0;
			const void *in32[] = { &gy32, &x32 }, *in64[] = { &rows[i].gy, &rows[i].x };
			double y = 0;

			weir__kernels()->map[rows[i].id][f64](f64 ? (void *)&y : (void *)&y32, f64 ? in64 : in32, 1,
							      &rows[i].p);
			if (!f64) y = (double)y32;
			if (!(fabs(y - rows[i].want) <= fabs(rows[i].want) * (f64 ? 1e-13 : 2e-7)))
				fail_msg("%s_%s(%g, %g; %g) = %.17g, not %.17g", weir__map_info[rows[i].id].name,
					 f64 ? "f64" : "f32", rows[i].gy, rows[i].x, rows[i].p, y, rows[i].want);
		}
	}
}

static void test_ties_share_the_gradient(void **unused)
{
	static const weir_map ids[] = { WEIR_MAP_maximum_vjp_a, WEIR_MAP_maximum_vjp_b, WEIR_MAP_minimum_vjp_a,
					WEIR_MAP_minimum_vjp_b };
	static const float a[5] = { 1, 2, 3, 0.0f, NAN }, b[5] = { 2, 2, 1, -0.0f, 1 }, gy[5] = { 8, 8, 8, 8, 8 };
	static const float want[4][4] = { { 0, 4, 8, 4 }, { 8, 4, 0, 4 }, { 8, 4, 0, 4 }, { 0, 4, 8, 4 } };

	(void)unused;
	for (int m = 0; m < 4; m++) {
		float y[5];

		weir__kernels()->map[ids[m]][0](y, (const void *const[]){ gy, a, b }, 5, NULL);
		for (int i = 0; i < 4; i++) assert_float_equal(y[i], want[m][i], 0);
		assert_true(isnan(y[4]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_gradients_where_they_are_delicate),
		cmocka_unit_test(test_ties_share_the_gradient),
	};

	return cmocka_run_group_tests_name("map kernels: errors", tests, NULL, NULL);
}
