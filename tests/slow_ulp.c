/* The largest error of the f32 functions over all 2^32 inputs, and of the f64 ones over many, in units of the last place.
 *
 *     slow_ulp [function]
 *
 * With no argument every function is tried: about a minute each. The best kernels of the processor are used (WEIR_ISA caps them); all
 * instruction sets give the same bits, which test_map.c checks. Fails where a limit is passed: 0.51 ULP for f32, those of the table for f64. */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cpu.h"

enum { N = 4096 };

static double sigmoid(double x)
{
	double e = exp(-fabs(x));

	return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

static long double sigmoid_long(long double x)
{
	long double e = expl(-fabsl(x));

	return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

static double softplus(double x)
{
	return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static long double softplus_long(long double x)
{
	return fmaxl(x, 0) + log1pl(expl(-fabsl(x)));
}

static double normal_cdf(double x)
{
	return erfc(-x * 0.70710678118654752440) / 2;
}

static long double normal_cdf_long(long double x)
{
	return erfcl(-x * 0.707106781186547524400844362104849039L) / 2;
}

static double gelu(double x)
{
	return isinf(x) && x < 0 ? 0 : x * normal_cdf(x);
}

static long double gelu_long(long double x)
{
	return x * normal_cdf_long(x);
}

static double silu(double x)
{
	return isinf(x) && x < 0 ? 0 : x * sigmoid(x);
}

static long double silu_long(long double x)
{
	return x * sigmoid_long(x);
}

static const struct {
	const char *name;
	weir_map id;
	double (*f32)(double);
	long double (*f64)(long double);
	double low, high; /* of the f64 samples */
	double limit64;
} functions[] = {
	{ "exp", WEIR_MAP_exp, exp, expl, -746, 710, 1.5 },
	{ "log", WEIR_MAP_log, log, logl, 0, 8, 1.5 },
	{ "tanh", WEIR_MAP_tanh, tanh, tanhl, -20, 20, 1.5 },
	{ "sigmoid", WEIR_MAP_sigmoid, sigmoid, sigmoid_long, -746, 40, 1.5 },
	{ "erf", WEIR_MAP_erf, erf, erfl, -6, 6, 1.5 },
	{ "softplus", WEIR_MAP_softplus, softplus, softplus_long, -745, 100, 2 },
	{ "normal_cdf", WEIR_MAP_normal_cdf, normal_cdf, normal_cdf_long, -38.5, 10, 2.5 },
	{ "gelu", WEIR_MAP_gelu, gelu, gelu_long, -38.5, 100, 3 },
	{ "silu", WEIR_MAP_silu, silu, silu_long, -745, 100, 2 },
};

/* The distance of got from want; a subnormal's place is that of the smallest normal. inf is right from half a place past the largest on. */
static double ulps_f32(float got, double want)
{
	uint64_t bits;
	int e;
	double inverse;

	if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : INFINITY;
	if (isinf(got)) return fabs(want) >= 0x1.ffffffp127 && (want > 0) == (got > 0) ? 0 : INFINITY;
	if (fabs(want) >= 0x1.ffffffp127) return INFINITY;
	memcpy(&bits, &want, 8);
	e = (int)(bits >> 52 & 0x7ff) - 1023;
	bits = (uint64_t)(1023 + 23 - (e < -126 ? -126 : e)) << 52;
	memcpy(&inverse, &bits, 8);
	return fabs((double)got - want) * inverse;
}

static double ulps_f64(double got, long double want)
{
	int e;

	if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : INFINITY;
	if (isinf(got)) return fabsl(want) > (long double)DBL_MAX && (want > 0) == (got > 0) ? 0 : INFINITY;
	if (isinf(want)) return INFINITY;
	if (want == 0) return got == 0 ? 0 : INFINITY;
	frexpl(want, &e);
	e -= 53;
	return (double)(fabsl((long double)got - want) / ldexpl(1.0L, e < -1074 ? -1074 : e));
}

static double worst_f32(weir_map_fn *kernel, double (*reference)(double), float *at)
{
	static float x[N], y[N];
	double worst = 0;

	for (uint64_t first = 0; first < UINT64_C(1) << 32; first += N) {
		for (uint32_t i = 0; i < N; i++) {
			uint32_t bits = (uint32_t)first + i;

			memcpy(&x[i], &bits, 4);
		}
		kernel(y, (const void *const[]){ x }, N, NULL);
		for (int i = 0; i < N; i++) {
			double u = ulps_f32(y[i], reference((double)x[i]));

			if (u > worst) {
				worst = u;
				*at = x[i];
			}
		}
	}
	return worst;
}

static double worst_f64(weir_map_fn *kernel, long double (*reference)(long double), double low, double high, double *at)
{
	static double x[N], y[N];
	uint64_t state = 1;
	double worst = 0;

	for (int round = 0; round < 2500; round++) {
		for (int i = 0; i < N; i++) {
			double u;

			state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
			u = (double)(state >> 11) * 0x1p-53;
			/* Half of them even over the range, half over the exponents. */
			x[i] = i & 1 ? low + u * (high - low) : (low < 0 && i & 2 ? low : high) * exp2(-40 * u);
		}
		kernel(y, (const void *const[]){ x }, N, NULL);
		for (int i = 0; i < N; i++) {
			double u = ulps_f64(y[i], reference((long double)x[i]));

			if (u > worst) {
				worst = u;
				*at = x[i];
			}
		}
	}
	return worst;
}

int main(int argc, char **argv)
{
	const weir_kernels *k = weir__kernels();
	int failures = 0;

	printf("kernels: %s\n", k->isa);
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		float at32 = 0;
		double at64 = 0, u;

		if (argc > 1 && strcmp(argv[1], functions[i].name) != 0) continue;
		u = worst_f64(k->map[functions[i].id][1], functions[i].f64, functions[i].low, functions[i].high, &at64);
		failures += !(u <= functions[i].limit64);
		printf("%-10s f64  %.4f ULP at %a\n", functions[i].name, u, at64);
		fflush(stdout);
		u = worst_f32(k->map[functions[i].id][0], functions[i].f32, &at32);
		failures += !(u <= 0.51);
		printf("%-10s f32  %.4f ULP at %a\n", functions[i].name, u, (double)at32);
		fflush(stdout);
	}
	return failures != 0;
}
