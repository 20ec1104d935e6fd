/* test_special_kernel.c: softplus, the normal distribution's function and density, and two gradients of
 * body_special.c, in ULP of the true value, which long double arithmetic gives. That every instruction set gives
 * the same bits is for test_map.c. */
#include "kernels/cpu.h"
#include "kernels/fpenv.h"
#include "kernels/table.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { N = 40000 };

static long double softplus(long double gy, long double x)
{
	(void)gy;
	return fmaxl(x, 0) + log1pl(expl(-fabsl(x)));
}

static long double softplus_vjp(long double gy, long double x)
{
	return gy * (x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x)));
}

static long double normal_cdf(long double gy, long double x)
{
	(void)gy;
	return erfcl(-x * 0.707106781186547524400844362104849039L) / 2;
}

static long double normal_cdf_vjp(long double gy, long double x)
{
	return gy * expl(-x * x / 2) * 0.398942280401432677939946059934381868L;
}

static long double normal_pdf(long double gy, long double x)
{
	(void)gy;
	return normal_cdf_vjp(1, x);
}

static long double gelu(long double gy, long double x)
{
	return x * normal_cdf(gy, x);
}

static long double gelu_vjp(long double gy, long double x)
{
	return gy * normal_cdf(gy, x) + x * normal_cdf_vjp(gy, x);
}

static long double silu(long double gy, long double x)
{
	(void)gy;
	return x < 0 ? x * expl(x) / (1 + expl(x)) : x / (1 + expl(-x));
}

static long double silu_vjp(long double gy, long double x)
{
	long double s = silu(gy, x) / x, other = expl(-x) / (1 + expl(-x));

	return x == 0 ? gy / 2 : gy * s * (1 + x * other);
}

/* least: a slope that goes through 0 is measured in places of this. */
static const struct row {
	weir_map id;
	bool has_gy;
	long double (*right)(long double gy, long double x);
	double ulps[2];
	double low[2], high[2];
	double least;
} rows[] = {
	{ WEIR_MAP_softplus, false, softplus, { 0.51, 2 }, { -104, -745 }, { 100, 100 }, 0 },
	{ WEIR_MAP_softplus_vjp, true, softplus_vjp, { 0.51, 2 }, { -100, -700 }, { 100, 100 }, 0 },
	{ WEIR_MAP_normal_cdf, false, normal_cdf, { 0.51, 1.5 }, { -14.4, -38.5 }, { 9, 10 }, 0 },
	{ WEIR_MAP_normal_cdf, false, normal_cdf, { 0.51, 1.5 }, { -14.4, -38.5 }, { -10, -30 }, 0 },
	{ WEIR_MAP_normal_cdf_vjp, true, normal_cdf_vjp, { 0.51, 2.5 }, { -14.4, -38.5 }, { 14.4, 38.5 }, 0 },
	{ WEIR_MAP_normal_pdf, false, normal_pdf, { 0.51, 2 }, { -14.4, -38.5 }, { 14.4, 38.5 }, 0 },
	{ WEIR_MAP_gelu, false, gelu, { 0.51, 2.5 }, { -14.4, -38.5 }, { 30, 100 }, 0 },
	{ WEIR_MAP_gelu_vjp, true, gelu_vjp, { 0.51, 4 }, { -3, -3 }, { 30, 100 }, 0.5 },
	{ WEIR_MAP_gelu_vjp, true, gelu_vjp, { 0.51, 4 }, { -14.4, -38.5 }, { -2, -2 }, 0 },
	{ WEIR_MAP_silu, false, silu, { 0.51, 2 }, { -104, -745 }, { 100, 100 }, 0 },
	{ WEIR_MAP_silu_vjp, true, silu_vjp, { 0.51, 4 }, { -3, -3 }, { 100, 100 }, 0.5 },
	{ WEIR_MAP_silu_vjp, true, silu_vjp, { 0.51, 4 }, { -100, -700 }, { -3, -3 }, 0 },
};

static double ulp_of(double right, bool f64)
{
	int e;

	frexp(right, &e);
	e -= f64 ? 53 : 24;
	return ldexp(1.0, e < (f64 ? -1074 : -149) ? (f64 ? -1074 : -149) : e);
}

static double input(uint64_t *state, double low, double high, int i)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	if (i % 4 || high < 0) {
		double u = (double)(*state >> 11) * 0x1p-53;

		return low + (high - low) * u;
	}
	return ldexp((double)(int64_t)*state * 0x1p-63, -(int)(*state >> 20 & 31)); /* near 0 */
}

static void values(void **unused)
{
	static float xf[2][N], yf[N];
	static double xd[2][N], yd[N];
	weir_fp_state saved = weir__fp_enter(true);
	uint64_t state = 3;

	(void)unused;
	for (size_t r = 0; r < 2 * sizeof rows / sizeof *rows; r++) {
		const struct row *row = &rows[r / 2];
		bool f64 = r % 2;
		const void *x[2] = { row->has_gy ? (f64 ? (void *)xd[0] : (void *)xf[0])
						 : (f64 ? (void *)xd[1] : (void *)xf[1]),
				     f64 ? (void *)xd[1] : (void *)xf[1] };
		double worst = 0, at = 0;

		for (int i = 0; i < N; i++) {
			xd[0][i] = xf[0][i] = (float)input(&state, -3, 3, 1);
			xd[1][i] = input(&state, row->low[f64], row->high[f64], i);
			xf[1][i] = (float)xd[1][i];
		}
		weir__kernels()->map[row->id][f64](f64 ? (void *)yd : (void *)yf, x, N, NULL);
		for (int i = 0; i < N; i++) {
			double v = f64 ? xd[1][i] : (double)xf[1][i], got = f64 ? yd[i] : (double)yf[i];
			long double right = row->right(xd[0][i], v);
			double most = fmax(fabs((double)right), row->least * fabs(row->has_gy ? xd[0][i] : 1));
			double off = (double)fabsl((long double)got - right) / ulp_of(most, f64);

			if (off <= worst) continue;
			worst = off;
			at = v;
		}
		if (worst > row->ulps[f64]) {
			print_error("%s %s: %.3f ULP at %.17g\n", weir__map_info[row->id].name, f64 ? "f64" : "f32",
				    worst, at);
			weir__fp_leave(saved);
			fail();
		}
	}
	weir__fp_leave(saved);
}

static void ends(void **unused)
{
	static const double x[] = { -(double)INFINITY, (double)INFINITY, -1e30, 1e30, 0.0 };
	static const struct {
		weir_map id;
		double right[5];
	} table[] = {
		{ WEIR_MAP_softplus, { 0, (double)INFINITY, 0, 1e30, 0.69314718055994530942 } },
		{ WEIR_MAP_normal_cdf, { 0, 1, 0, 1, 0.5 } },
		{ WEIR_MAP_normal_pdf, { 0, 0, 0, 0, 0.39894228040143267794 } },
		{ WEIR_MAP_gelu, { 0, (double)INFINITY, 0, 1e30, 0 } },
		{ WEIR_MAP_silu, { 0, (double)INFINITY, 0, 1e30, 0 } },
		{ WEIR_MAP_gelu_vjp, { 0, 1, 0, 1, 0.5 } },
		{ WEIR_MAP_silu_vjp, { 0, 1, 0, 1, 0.5 } },
	};
	weir_fp_state saved = weir__fp_enter(true);

	(void)unused;
	for (int k = 0; k < 35; k++) {
		double out, right = table[k / 5].right[k % 5];
		float out_f, in_f = (float)x[k % 5], right_f = (float)right;
		static const float one_f = 1;
		static const double one = 1;
		bool slope = weir__map_info[table[k / 5].id].inputs[1] != 0;
		const void *in[2] = { slope ? &one : &x[k % 5], &x[k % 5] },
			   *in32[2] = { slope ? &one_f : &in_f, &in_f };

		if (right > 1e20 && right < 1e40) right_f = in_f;
		weir__kernels()->map[table[k / 5].id][1](&out, in, 1, NULL);
		weir__kernels()->map[table[k / 5].id][0](&out_f, in32, 1, NULL);
		assert_true(out == right);
		assert_true(out_f == right_f);
	}
	weir__fp_leave(saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(values), cmocka_unit_test(ends) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
