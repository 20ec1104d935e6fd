/* The element-wise kernels: the same bits from every instruction set, length and position; errors in units of the last place
 * against libm in double and long double; exact operations against C; special values; exception flags. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/fpenv.h"
#include "kernels/threads.h"

static const char *const isa_names[] = { "generic", "avx2", "avx512" };
static const char *const type_names[] = { "f32", "f64" };

/* Parameters that each kernel is tried with. */
static const double pow_params[][2] = {
	{ 0 },   { 1 },  { 2 },    { 0.5 },    { -1 },     { 3 },        { -2 },        { 1.0 / 3 }, { -0.5 },
	{ 2.5 }, { -7 }, { 1e10 }, { 1e-300 }, { 0x1p60 }, { INFINITY }, { -INFINITY }, { NAN },
};
static const double affine_params[][2] = { { 1.5, -0.25 }, { 0, 3 }, { -1e-3, 1e30 } };
static const double clamp_params[][2] = { { -0.25, 1.5 } };

static int params_of(weir_map id, const double (**p)[2])
{
	bool is_pow = id == WEIR_MAP_pow || id == WEIR_MAP_pow_vjp;

	*p = is_pow ? pow_params : affine_params;
	if (id == WEIR_MAP_clamp || id == WEIR_MAP_clamp_vjp) *p = clamp_params;
	return is_pow                                         ? (int)(sizeof pow_params / sizeof *pow_params)
	       : id == WEIR_MAP_affine || id == WEIR_MAP_fill ? 3
							      : 1;
}

static uint64_t state = 7;

static uint64_t random_bits(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * UINT64_C(2685821657736338717);
}

static double uniform(double low, double high)
{
	return low + (double)(random_bits() >> 11) * 0x1p-53 * (high - low);
}

static const double specials[] = {
	0.0,      -0.0,     1,         -1,         2,           -2,          0.5,         -0.5,
	3,        -3,       INFINITY,  -INFINITY,  NAN,         FLT_MAX,     -FLT_MAX,    FLT_MIN,
	-FLT_MIN, 0x1p-149, -0x1p-149, 0x1.8p-130, -0x1.8p-130, 1 + 0x1p-23, 1 - 0x1p-24, 88.5,
	89,       -88,      -100,      -104,       100,         9.0109,      17,          20,
	40,       -40,      1e-8,      -1e-8,      1e10,        1e30,        -1e30,       DBL_MAX,
	-DBL_MAX, DBL_MIN,  -DBL_MIN,  0x1p-1074,  -0x1p-1074,  709.5,       710,         -708,
	-740,     -745.2,   -746,      800,        -800,        1e-200,      -1e-200,     1 + 0x1p-52,
};
enum { SPECIALS = sizeof specials / sizeof *specials };

/* An element that may be anything: a special value, a plain one, any bits. */
static double any_value(bool f64)
{
	uint64_t kind = random_bits() % 4, bits = random_bits();
	uint32_t bits32 = (uint32_t)bits;
	double d;
	float f;

	if (kind == 0) return specials[bits % SPECIALS];
	if (kind < 3) return uniform(-10, 10);
	memcpy(&d, &bits, 8);
	memcpy(&f, &bits32, 4);
	if (isnan(d) || isnan(f)) return NAN; /* a signalling one may raise flags */
	return f64 ? d : (double)f;
}

static void put(void *array, int i, bool f64, double v)
{
	if (f64) ((double *)array)[i] = v;
	else ((float *)array)[i] = (float)v;
}

static double get(const void *array, int i, bool f64)
{
	return f64 ? ((const double *)array)[i] : (double)((const float *)array)[i];
}

static bool same(double a, double b)
{
	return isnan(a) ? isnan(b) : memcmp(&a, &b, 8) == 0;
}

/* Three input arrays for kernel id: any values, or bytes. */
enum { MOST = 512 };
static _Alignas(64) uint8_t inputs[3][MOST * 8];

static void make_inputs(weir_map id, bool f64, int n)
{
	const char *kinds = weir__map_info[id].inputs;

	for (int a = 0; kinds[a]; a++) {
		for (int i = 0; i < n; i++) {
			if (kinds[a] == 'B') inputs[a][i] = (uint8_t)(random_bits() % 3);
			else put(inputs[a], i, f64, any_value(f64));
		}
	}
}

/* The arrays from element `first` on. */
static void run(const weir_kernels *k, weir_map id, bool f64, void *y, int first, int n, const double *p)
{
	const char *kinds = weir__map_info[id].inputs;
	const void *x[3] = { 0 };

	for (int a = 0; kinds[a]; a++) x[a] = inputs[a] + first * (kinds[a] == 'B' ? 1 : f64 ? 8 : 4);
	k->map[id][f64](y, x, n, p);
}

static double result(const void *y, weir_map id, int i, bool f64)
{
	return weir__map_info[id].output == 'B' ? (double)((const uint8_t *)y)[i] : get(y, i, f64);
}

static void fail_at(const weir_kernels *k, weir_map id, bool f64, double p, int i, double got, double want,
		    const char *why)
{
	const char *kinds = weir__map_info[id].inputs;
	double in[3] = { 0 };

	for (int a = 0; kinds[a]; a++) in[a] = kinds[a] == 'B' ? inputs[a][i] : get(inputs[a], i, f64);
	fail_msg("%s_%s_%s(%a, %a, %a; %g) = %a, not %a: %s", weir__map_info[id].name, type_names[f64], k->isa, in[0],
		 in[1], in[2], p, got, want, why);
}

/* Every kernel, type, parameter, in both floating-point modes. */
static void each_kernel(void (*check)(weir_map id, bool f64, const double *p))
{
	for (int mode = 0; mode < 2; mode++) {
		weir_fp_state saved = weir__fp_enter(mode == 1);

		for (int id = 0; id < WEIR_MAP_COUNT; id++) {
			const double(*p)[2];
			int count = params_of((weir_map)id, &p);

			for (int i = 0; i < count; i++) {
				check((weir_map)id, false, p[i]);
				check((weir_map)id, true, p[i]);
			}
		}
		weir__fp_leave(saved);
	}
}

static void check_isas(weir_map id, bool f64, const double *p)
{
	static _Alignas(64) uint8_t want[MOST * 8], got[MOST * 8];
	size_t size = weir__map_info[id].output == 'B' ? 1 : f64 ? 8 : 4;

	for (int n = 0; n <= 70; n++) {
		make_inputs(id, f64, n + 1);
		run(weir__kernels_for("generic"), id, f64, want, 0, n, p);
		for (int s = 0; s < 3; s++) {
			const weir_kernels *k = weir__kernels_for(isa_names[s]);

			if (!k) continue;
			memset(got, 0x5a, sizeof got);
			run(k, id, f64, got, 0, n, p);
			for (int i = 0; i < n; i++) {
				if (!same(result(got, id, i, f64), result(want, id, i, f64)))
					fail_at(k, id, f64, *p, i, result(got, id, i, f64), result(want, id, i, f64),
						"generic differs");
			}
			for (size_t i = (size_t)n * size; i < sizeof got; i++) assert_int_equal(got[i], 0x5a);
		}
	}
}

static void test_same_bits_from_every_isa_and_length(void **unused)
{
	(void)unused;
	each_kernel(check_isas);
}

static void check_positions(weir_map id, bool f64, const double *p)
{
	static _Alignas(64) uint8_t all[MOST * 8], one[8 + MOST * 8];
	const weir_kernels *k = weir__kernels();

	make_inputs(id, f64, 100);
	run(k, id, f64, all, 0, 100, p);
	for (int first = 0; first < 100; first++) {
		int n = first % 3 ? 1 : 100 - first;
		uint8_t *to = one + (weir__map_info[id].output == 'B' ? first % 8 : first % 2 * (f64 ? 8 : 4));

		run(k, id, f64, to, first, n, p);
		for (int i = 0; i < n; i++) {
			double want = result(all, id, first + i, f64), got = result(to, id, i, f64);

			if (!same(got, want)) fail_at(k, id, f64, *p, first + i, got, want, "depends on position");
		}
	}
}

static void test_position_is_nothing(void **unused)
{
	(void)unused;
	each_kernel(check_positions);
}

/* ---- flags: NaN out of no NaN is invalid, inf out of finite values a division by zero or overflow, and nothing else raises them ---- */

static bool wild(const double *in, int n)
{
	for (int i = 0; i < n; i++) {
		if (in[i] != 0 && isfinite(in[i]) && (fabs(in[i]) > 1e100 || fabs(in[i]) < 1e-100)) return true;
	}
	return false;
}

static void check_flags(weir_map id, bool f64, const double *p)
{
	const char *kinds = weir__map_info[id].inputs;
	bool has_p = id == WEIR_MAP_pow || id == WEIR_MAP_pow_vjp;

	if (has_p && isnan(*p)) return;
	make_inputs(id, f64, 300);
	for (int s = 0; s < 3; s++) {
		const weir_kernels *k = weir__kernels_for(isa_names[s]);

		for (int i = 0; k && i < 300; i++) {
			double y, in[3] = { 0 };
			bool any_nan = false, all_finite = !has_p || isfinite(*p), nan, inf;
			unsigned flags;
			_Alignas(64) uint8_t out[64];

			for (int a = 0; kinds[a]; a++) {
				if (kinds[a] == 'B') continue;
				in[a] = get(inputs[a], i, f64);
				any_nan = any_nan || isnan(in[a]);
				all_finite = all_finite && isfinite(in[a]);
			}
			/* These go through a product or power that a result of ordinary size may not show. */
			if ((id == WEIR_MAP_pow_vjp || id == WEIR_MAP_div_vjp_b || id == WEIR_MAP_norm_vjp) &&
			    (!all_finite || wild(in, 3)))
				continue;
			if (id == WEIR_MAP_add_mul && !all_finite) continue;
			if (id == WEIR_MAP_sqrt_vjp && fabs(in[1]) > (f64 ? DBL_MAX : (double)FLT_MAX) / 2) continue;
			weir__fp_clear();
			run(k, id, f64, out, i, 1, p);
			flags = weir__fp_flags();
			weir__fp_clear();
			y = result(out, id, 0, f64);
			nan = isnan(y) && !any_nan;
			inf = isinf(y) && all_finite;
			if (nan != !!(flags & WEIR_FP_INVALID)) fail_at(k, id, f64, *p, i, y, y, "invalid flag");
			if (inf != !!(flags & (WEIR_FP_DIVZERO | WEIR_FP_OVERFLOW)) && !nan && id != WEIR_MAP_fill)
				fail_at(k, id, f64, *p, i, y, y, "divide-by-zero and overflow flags");
			if ((flags & WEIR_FP_UNDERFLOW) && id != WEIR_MAP_pow_vjp && id != WEIR_MAP_add_mul &&
			    !(fabs(y) <= (f64 ? DBL_MIN : (double)FLT_MIN)))
				fail_at(k, id, f64, *p, i, y, y, "underflow flag");
			if (id == WEIR_MAP_leaky_relu_vjp) all_finite = isfinite(in[0]); /* x chooses only */
			if (flags && !all_finite && !nan)
				fail_at(k, id, f64, *p, i, y, y, "a flag where an input is not finite");
		}
	}
}

static void test_flags(void **unused)
{
	(void)unused;
	each_kernel(check_flags);
}

/* ---- values ---- */

/* The operations that C has, in the type itself. False: not one of them. */
static bool exact(weir_map id, bool f64, const double *in, double *y)
{
	double a = in[0], b = in[1], c = in[2];
	bool nan = isnan(a) || isnan(b);

	switch (id) {
	case WEIR_MAP_copy: *y = a; return true;
	case WEIR_MAP_add: *y = f64 ? a + b : (double)((float)a + (float)b); return true;
	case WEIR_MAP_sub: *y = f64 ? a - b : (double)((float)a - (float)b); return true;
	case WEIR_MAP_mul: *y = f64 ? a * b : (double)((float)a * (float)b); return true;
	case WEIR_MAP_add_mul: *y = f64 ? a + b * c : (double)((float)a + (float)b * (float)c); return true;
	case WEIR_MAP_div: *y = f64 ? a / b : (double)((float)a / (float)b); return true;
	case WEIR_MAP_neg: *y = -a; return true;
	case WEIR_MAP_abs: *y = fabs(a); return true;
	case WEIR_MAP_sqrt: *y = f64 ? sqrt(a) : (double)sqrtf((float)a); return true;
	case WEIR_MAP_relu: *y = a > 0 || isnan(a) ? a : 0; return true;
	case WEIR_MAP_maximum: *y = nan ? NAN : a > b || (a == b && !signbit(a)) ? a : b; return true;
	case WEIR_MAP_minimum: *y = nan ? NAN : a < b || (a == b && signbit(a)) ? a : b; return true;
	case WEIR_MAP_eq: *y = a == b; return true;
	case WEIR_MAP_ne: *y = a != b; return true;
	case WEIR_MAP_lt: *y = a < b; return true;
	case WEIR_MAP_le: *y = a <= b; return true;
	case WEIR_MAP_gt: *y = a > b; return true;
	case WEIR_MAP_ge: *y = a >= b; return true;
	case WEIR_MAP_leaky_relu: *y = a > 0 ? a : isfinite(a) ? 0 : NAN; return true; /* a slope of 0 */
	case WEIR_MAP_relu_vjp: *y = b > 0 ? a : isnan(b) ? b : 0; return true;
	case WEIR_MAP_abs_vjp: *y = b > 0 ? a : b < 0 ? -a : isnan(b) ? b : 0; return true;
	case WEIR_MAP_log_vjp: *y = a == 0 ? a : f64 ? a / b : (double)((float)a / (float)b); return true;
	default: return false;
	}
}

static void test_exact_operations(void **unused)
{
	weir_fp_state saved = weir__fp_enter(true);

	(void)unused;
	for (int id = 0; id < WEIR_MAP_COUNT; id++) {
		for (int f64 = 0; f64 < 2; f64++) {
			static _Alignas(64) uint8_t y[MOST * 8];
			double want, probe[3] = { 0 };

			if (!exact((weir_map)id, f64, probe, &want)) continue;
			make_inputs((weir_map)id, f64, MOST);
			run(weir__kernels(), (weir_map)id, f64, y, 0, MOST, (const double[2]){ 0 });
			for (int i = 0; i < MOST; i++) {
				double in[3] = { get(inputs[0], i, f64), get(inputs[1], i, f64),
						 get(inputs[2], i, f64) },
				       got = result(y, (weir_map)id, i, f64);

				exact((weir_map)id, f64, in, &want);
				if (!same(got, want))
					fail_at(weir__kernels(), (weir_map)id, f64, 0, i, got, want, "C differs");
			}
		}
	}
	weir__fp_leave(saved);
}

static void test_pow_of_special_values(void **unused)
{
	weir_fp_state saved = weir__fp_enter(true);

	(void)unused;
	for (size_t i = 0; i < sizeof pow_params / sizeof *pow_params; i++) {
		for (int f64 = 0; f64 < 2; f64++) {
			for (int j = 0; j < SPECIALS; j++) {
				double x, y, want, out;

				put(inputs[0], 0, f64, specials[j]);
				x = get(inputs[0], 0, f64);
				run(weir__kernels(), WEIR_MAP_pow, f64, &out, 0, 1, pow_params[i]);
				y = get(&out, 0, f64);
				want = pow(x, pow_params[i][0]);
				if (!f64) want = (double)(float)want;
				if (same(y, want)) continue;
				if (isfinite(want) && want != 0 &&
				    fabs(y - want) <= fabs(want) * (f64 ? 0x1p-51 : 0x1p-22) + 0x1p-1074)
					continue;
				fail_at(weir__kernels(), WEIR_MAP_pow, f64, pow_params[i][0], 0, y, want,
					"C's pow differs");
			}
		}
	}
	weir__fp_leave(saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_bits_from_every_isa_and_length),
		cmocka_unit_test(test_position_is_nothing),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_exact_operations),
		cmocka_unit_test(test_pow_of_special_values),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests_name("map kernels", tests, NULL, NULL);
}
