/* test_gemm.c: the matrix product against its definition, bit for bit.
 *
 * The reference is a naive chain of fma for each element. Every case runs with each instruction set that the
 * processor has, with 1 to 5 threads, from buffers with a margin around everything that is written; a
 * product must equal the reference whatever the blocking.
 * (Above 400 lines because the reference, the buffers and the cases only make sense together.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fenv.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/fpenv.h"
#include "kernels/gemm_plan.h"
#include "kernels/threads.h"

enum { MARGIN = 64 };

static uint64_t state = 1;

static uint64_t random_bits(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static int64_t random_below(int64_t n)
{
	return (int64_t)(random_bits() >> 11) % n;
}

/* Of both signs and of magnitudes so different that each order of summation rounds differently. */
static double random_value(void)
{
	double x = ldexp((double)(random_bits() >> 11), -53) - 0.5;

	return ldexp(x, (int)random_below(24) - 12);
}

typedef double value_fn(void);

static double special_value(void)
{
	static const double special[] = { INFINITY, -INFINITY, 3e38,    -3e38, 1.7e308, 1e-40,
					  1e-310,   1e-30,     -1e-160, 0.0,   -0.0,    1e-45 };

	if (random_below(40)) return random_value() + 3;
	return special[random_below((int64_t)(sizeof special / sizeof *special))];
}

static double nan_value(void)
{
	return random_below(60) ? random_value() : NAN;
}

static double tiny_value(void)
{
	return ldexp(random_value(), random_below(2) ? -70 : -538);
}

/* One element type at a time: elements are read and written as double, which is exact. */
static double get(weir_dtype t, const void *p, int64_t i)
{
	return t == WEIR_F32 ? (double)((const float *)p)[i] : ((const double *)p)[i];
}

static void set(weir_dtype t, void *p, int64_t i, double x)
{
	if (t == WEIR_F32) ((float *)p)[i] = (float)x;
	else ((double *)p)[i] = x;
}

static size_t size_of(weir_dtype t)
{
	return t == WEIR_F32 ? sizeof(float) : sizeof(double);
}

static bool same(double x, double y)
{
	return (isnan(x) && isnan(y)) || memcmp(&x, &y, sizeof x) == 0;
}

static void act_f32(void *y, const void *const *x, int64_t n, const double *p)
{
	(void)p;
	for (int64_t i = 0; i < n; i++) ((float *)y)[i] = ((const float *)x[0])[i] * 3;
}

static void act_f64(void *y, const void *const *x, int64_t n, const double *p)
{
	(void)p;
	for (int64_t i = 0; i < n; i++) ((double *)y)[i] = ((const double *)x[0])[i] * 3;
}

/* Valgrind keeps no exception flags: they are not compared there. */
static bool flags_are_kept(void)
{
	volatile double zero = 0, one = 1, result;

	feclearexcept(FE_ALL_EXCEPT);
	result = one / zero;
	(void)result;
	return fetestexcept(FE_DIVBYZERO) != 0;
}

typedef struct gemm_case {
	int64_t m, n, k;
	bool ta, tb, bias, act, add;
	int64_t spread; /* between neighbours of the operands, in elements; 0: every row the same one */
	value_fn *value;
} gemm_case;

typedef struct buffers {
	void *a, *b, *bias, *c0, *c, *z, *want_c, *want_z, *work;
	size_t c_bytes, work_bytes;
	int64_t crs, zrs;
} buffers;

static void *filled(weir_dtype t, int64_t n, value_fn *value)
{
	void *p = malloc((size_t)(n + 1) * size_of(t));

	assert_non_null(p);
	for (int64_t i = 0; i < n; i++) set(t, p, i, value());
	return p;
}

/* The definition, for each element type by itself: a compiler that converted a value of the other one ahead
 * of a branch would raise flags. */
#define DEFINE_REFERENCE(T, fma_of_t)                                                                            \
	static void reference_##T(const weir_gemm *g, const buffers *f)                                          \
	{                                                                                                        \
		const T *a = g->a, *b = g->b, *bias = g->bias, *old = f->c0;                                     \
		T *c = f->want_c, *z = f->want_z;                                                                \
		for (int64_t i = 0; i < g->m; i++)                                                               \
			for (int64_t j = 0; j < g->n; j++) {                                                     \
				int64_t at = MARGIN + i * f->crs + j;                                            \
				T s = 0;                                                                         \
				for (int64_t p = 0; p < g->k; p++)                                               \
					s = fma_of_t(a[i * g->ars + p * g->acs], b[p * g->brs + j * g->bcs], s); \
				if (bias) s += bias[j];                                                          \
				if (g->mode == WEIR_DST_ADD) s = old[at] + s;                                    \
				c[at] = s;                                                                       \
				if (g->act != WEIR_MAP_COUNT) z[MARGIN + i * f->zrs + j] = s * 3;                \
			}                                                                                        \
	}

DEFINE_REFERENCE(float, fmaf)
DEFINE_REFERENCE(double, fma)

static void reference(weir_dtype t, const weir_gemm *g, const buffers *f)
{
	if (t == WEIR_F32) reference_float(g, f);
	else reference_double(g, f);
}

static void expect_same(weir_dtype t, const char *what, const void *got, const void *want, int64_t count,
			const gemm_case *x, const char *isa, int threads)
{
	for (int64_t i = 0; i < count; i++)
		if (!same(get(t, got, i), get(t, want, i)))
			fail_msg("%s[%lld] is %a, must be %a: %s %s, %lld x %lld x %lld, "
				 "ta %d tb %d bias %d act %d add %d spread %lld, %d threads",
				 what, (long long)(i - MARGIN), get(t, got, i), get(t, want, i), isa,
				 t == WEIR_F32 ? "f32" : "f64", (long long)x->m, (long long)x->n, (long long)x->k,
				 x->ta, x->tb, x->bias, x->act, x->add, (long long)x->spread, threads);
}

/* One run with one instruction set; the flags that it raised. */
static unsigned run(weir_dtype t, const char *isa, weir_gemm *g, buffers *f, const gemm_case *x, int threads)
{
	weir_kernels kernels = *weir__kernels_for(isa);
	weir_gemm_plan p;
	size_t canary = 64;
	unsigned char *work;
	unsigned flags;

	kernels.map[WEIR_MAP_relu][0] = act_f32;
	kernels.map[WEIR_MAP_relu][1] = act_f64;
	g->c = (char *)f->c + MARGIN * size_of(t);
	g->act_out = (char *)f->z + MARGIN * size_of(t);
	weir__gemm_plan(&p, &kernels, t, g, threads);
	f->work_bytes = weir__gemm_bytes(&p);
	f->work = aligned_alloc(64, (f->work_bytes + 2 * canary + 63) / 64 * 64);
	assert_non_null(f->work);
	work = f->work;
	memset(work, 0xff, f->work_bytes + 2 * canary); /* NaN, if it were read */
	memcpy(f->c, f->c0, f->c_bytes);
	memset(f->z, 0x55, f->c_bytes);
	weir__fp_clear();
	weir__gemm_run(&p, work + canary);
	flags = weir__fp_flags();
	for (size_t i = 0; i < canary; i++) {
		assert_int_equal(work[i], 0xff);
		assert_int_equal(work[canary + f->work_bytes + i], 0xff);
	}
	expect_same(t, "c", f->c, f->want_c, (int64_t)(f->c_bytes / size_of(t)), x, isa, threads);
	if (x->act) expect_same(t, "act_out", f->z, f->want_z, (int64_t)(f->c_bytes / size_of(t)), x, isa, threads);
	free(f->work);
	return flags;
}

static void check(weir_dtype t, const gemm_case *x, bool flags_too)
{
	static const char *const sets[] = { "generic", "avx2", "avx512" };
	static const int teams[] = { 1, 2, 3, 4, 5 };
	int64_t s = x->spread, rows = s ? 1 : 0;
	weir_gemm g = { .m = x->m,
			.n = x->n,
			.k = x->k,
			.mode = x->add ? WEIR_DST_ADD : WEIR_DST_WRITE,
			.act = x->act ? WEIR_MAP_relu : WEIR_MAP_COUNT };
	buffers f = { .crs = x->n + (s != 1 ? 5 : 0), .zrs = x->n + (s != 1 ? 3 : 0) };
	int64_t unit = s ? s : 1, elements = 2 * MARGIN + x->m * f.crs;
	unsigned want;

	f.a = filled(t, (x->m + 1) * (x->k + 1) * unit * 2, x->value);
	f.b = filled(t, (x->n + 1) * (x->k + 1) * unit * 2, x->value);
	f.bias = filled(t, x->n, x->value);
	f.c0 = filled(t, elements, random_value);
	f.c_bytes = (size_t)elements * size_of(t);
	f.c = malloc(f.c_bytes);
	f.z = malloc(f.c_bytes);
	f.want_c = malloc(f.c_bytes);
	f.want_z = malloc(f.c_bytes);
	g.a = f.a;
	g.b = f.b;
	g.bias = x->bias ? f.bias : NULL;
	g.ars = x->ta ? unit : (x->k + 1) * unit * rows;
	g.acs = x->ta ? (x->m + 1) * unit : unit;
	g.brs = x->tb ? unit : (x->n + 1) * unit;
	g.bcs = x->tb ? (x->k + 1) * unit * rows : unit;
	g.crs = f.crs;
	g.act_rs = f.zrs;
	memcpy(f.want_c, f.c0, f.c_bytes);
	memset(f.want_z, 0x55, f.c_bytes);
	weir__fp_clear();
	reference(t, &g, &f);
	want = weir__fp_flags();
	for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
		/* two teams for the generic set, which may have to emulate fma */
		for (size_t j = 0; j < sizeof teams / sizeof *teams && weir__kernels_for(sets[i]); j += i ? 1 : 2) {
			unsigned got = run(t, sets[i], &g, &f, x, teams[j]);

			if (flags_too && flags_are_kept() && got != want)
				fail_msg("flags %x, must be %x: %s %s, %lld x %lld x %lld, add %d, %d threads", got,
					 want, sets[i], t == WEIR_F32 ? "f32" : "f64", (long long)x->m, (long long)x->n,
					 (long long)x->k, x->add, teams[j]);
		}
	free(f.a), free(f.b), free(f.bias), free(f.c0), free(f.c), free(f.z), free(f.want_c), free(f.want_z);
}

static void check_both(const gemm_case *x, bool flags_too)
{
	check(WEIR_F32, x, flags_too);
	check(WEIR_F64, x, flags_too);
}

/* Every combination of small and ragged sizes around the widths of a tile. */
static void small_shapes(void **unused)
{
	static const int64_t sizes[] = { 0, 1, 2, 7, 15, 17, 33 };
	int count = (int)(sizeof sizes / sizeof *sizes);

	(void)unused;
	for (int i = 0; i < count; i++)
		for (int j = 0; j < count; j++)
			for (int k = 0; k < count; k++) {
				uint64_t r = random_bits() >> 20;
				gemm_case x = { sizes[i], sizes[j], sizes[k], r & 1, r & 2,
						r & 4,    r & 8,    r & 16,   1,     random_value };

				check_both(&x, true);
			}
}

/* Each size from 1 to 40 along each dimension, so that every number of rows, of columns in the last vector and of steps
 * behind the last whole group occurs in every orientation. */
static void every_edge(void **unused)
{
	static const int64_t others[] = { 5, 18, 39 };

	(void)unused;
	for (int d = 0; d < 3; d++)
		for (int64_t size = 1; size <= 40; size++)
			for (int turned = 0; turned < 4; turned++) {
				uint64_t r = random_bits() >> 20;
				int64_t s[3] = { others[r % 3], others[r / 3 % 3], others[r / 9 % 3] };

				s[d] = size;
				gemm_case x = { s[0],   s[1],    s[2],    turned & 1, turned & 2,
						r & 64, r & 128, r & 256, 1,          random_value };

				check_both(&x, true);
			}
}

/* Few rows make wide tiles, few columns a product that is done as its transpose. */
static void few_rows_or_columns(void **unused)
{
	static const int64_t shapes[][3] = { { 29, 99, 20 }, { 1, 300, 33 }, { 2, 273, 20 }, { 3, 130, 21 },
					     { 4, 127, 17 }, { 130, 3, 21 }, { 300, 2, 20 } };

	(void)unused;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		for (int turned = 0; turned < 4; turned++) {
			uint64_t r = random_bits() >> 20;
			gemm_case x = { shapes[i][0], shapes[i][1], shapes[i][2],
					turned & 1,   turned & 2,   r & 4,
					r & 8,        r & 16,       1 + (int64_t)(r & 32) / 32,
					random_value };

			check_both(&x, false);
		}
}

static void all_forms(void **unused)
{
	static const int64_t shapes[][3] = { { 29, 41, 37 }, { 65, 10, 30 }, { 9, 70, 33 },
					     { 14, 32, 64 }, { 1, 100, 70 }, { 100, 1, 70 } };

	(void)unused;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		for (int bits = 0; bits < 32; bits++)
			for (int64_t spread = 0; spread < 3; spread++) {
				gemm_case x = { shapes[i][0], shapes[i][1], shapes[i][2], bits & 1, bits & 2,
						bits & 4,     bits & 8,     bits & 16,    spread,   random_value };

				check_both(&x, false);
			}
}

/* More than one block of k, of columns, of rows of partial sums. */
static void many_blocks(void **unused)
{
	static const int64_t shapes[][3] = { { 35, 37, 1000 }, { 5, 40, 900 },    { 100, 3, 801 }, { 300, 34, 390 },
					     { 1, 33, 1500 },  { 33, 1, 1500 },   { 1, 1, 3000 },  { 20, 700, 400 },
					     { 280, 17, 500 }, { 130, 150, 129 }, { 270, 80, 50 } };

	(void)unused;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		for (int bits = 0; bits < 8; bits++) {
			gemm_case x = { shapes[i][0], shapes[i][1], shapes[i][2], bits & 1, bits & 2,
					true,         true,         bits & 4,     1,        random_value };

			check_both(&x, false);
		}
}

/* x Wᵀ is done as W xᵀ where x has fewer vectors to turn; the sums stand in the workspace and are turned on their way to C. One or
 * more blocks of k and of rows. */
static void turned_results(void **unused)
{
	static const int64_t shapes[][3] = { { 33, 130, 50 }, { 64, 257, 33 }, { 17, 300, 129 }, { 9, 64, 20 } };

	(void)unused;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		for (int bits = 0; bits < 32; bits++) {
			gemm_case x = { shapes[i][0], shapes[i][1], shapes[i][2], bits & 1,  true,
					bits & 2,     bits & 4,     bits & 8,     bits / 16, random_value };

			check_both(&x, false);
		}
	for (int few = 0; few < 2; few++) {
		/* more columns of C' than the sums of one block may have */
		gemm_case x = { few ? 40000 : 5000, few ? 5 : 18, few ? 64 : 200, few, true, true, false, few, 1,
				random_value };

		check_both(&x, false);
	}
	for (int bits = 0; bits < 2; bits++) {
		gemm_case x = { 170, 260, 800, bits, true, true, true, !bits, 1, random_value };

		check_both(&x, false);
	}
}

/* A few rows turn B in registers, whole squares of it and what is left at its edges. */
static void turned_in_registers(void **unused)
{
	(void)unused;
	for (int64_t few = 1; few <= 9; few++)
		for (int64_t n = 15; n <= 50; n += 7)
			for (int64_t k = 6; k <= 25; k += 5) {
				uint64_t r = random_bits() >> 20;
				gemm_case rows = { few, n, k, r & 1, true, r & 2, r & 4, r & 8, 1, random_value };
				gemm_case columns = { n, few, k, false, r & 1, r & 2, r & 4, r & 8, 1, random_value };

				check_both(&rows, true);
				check_both(&columns, true);
			}
}

/* Rows 4,096 bytes apart share a few sets of the caches and make lower tiles. */
static void crowded_rows(void **unused)
{
	static const int64_t shapes[][3] = {
		{ 20, 100, 1023 }, { 1023, 100, 20 }, { 20, 1023, 30 }, { 270, 100, 1023 }, { 5, 40, 1023 }
	};

	(void)unused;
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		for (int bits = 0; bits < 4; bits++) {
			gemm_case x = { shapes[i][0], shapes[i][1], shapes[i][2], bits & 1, bits & 2,
					true,         false,        i == 3,       1,        random_value };

			check_both(&x, false);
		}
}

/* inf, overflow, subnormals and zeros anywhere: the values, and no flag that the definition doesn't raise. */
static void special_values(void **unused)
{
	value_fn *values[] = { special_value, nan_value, tiny_value };

	(void)unused;
	for (int round = 0; round < 120; round++) {
		uint64_t r = random_bits() >> 20;
		gemm_case x = { 1 + random_below(40),
				1 + random_below(70),
				random_below(round % 4 ? 40 : 900),
				r & 1,
				r & 2,
				r & 4,
				r & 8,
				r & 16,
				1,
				values[round % 3] };

		check_both(&x, true);
	}
}

/* One product without a reference: the flags that it raises with each instruction set. */
static void expect_silent(weir_gemm *g)
{
	static const char *const sets[] = { "generic", "avx2", "avx512" };

	for (int s = 0; s < 3; s++) {
		const weir_kernels *k = weir__kernels_for(sets[s]);
		weir_gemm_plan p;
		unsigned flags;
		void *work;

		if (!k) continue;
		weir__gemm_plan(&p, k, WEIR_F32, g, 1);
		work = aligned_alloc(64, weir__gemm_bytes(&p));
		assert_non_null(work);
		weir__fp_clear();
		weir__gemm_run(&p, work);
		flags = weir__fp_flags();
		if (flags_are_kept()) assert_int_equal(flags, 0);
		free(work);
	}
}

/* What fills a tile up to its width raises no flag of its own. */
static void padding_is_silent(void **unused)
{
	enum { M = 5, N = 7, K = 1000 };
	static float a[M * K], b[K * N], c[M * N];
	weir_gemm g = { .m = M,
			.n = N,
			.k = 3,
			.a = a,
			.ars = K,
			.acs = 1,
			.b = b,
			.brs = N,
			.bcs = 1,
			.c = c,
			.crs = N,
			.mode = WEIR_DST_WRITE,
			.act = WEIR_MAP_COUNT };

	(void)unused;
	/* inf times ones: inf times a zero would be invalid */
	for (int i = 0; i < M * K; i++) a[i] = INFINITY;
	for (int i = 0; i < K * N; i++) b[i] = 1;
	expect_silent(&g);
	for (int i = 0; i < M * N; i++) assert_true(isinf(c[i]));

	/* The last column falls far before it rises: a chain that begins with its second block of k would
	 * overflow. */
	for (int i = 0; i < M * K; i++) a[i] = 1;
	for (int i = 0; i < K * N; i++) b[i] = 0;
	b[N - 1] = -3e38f;
	b[(K - 2) * N + N - 1] = 3e38f;
	b[(K - 1) * N + N - 1] = 2e38f;
	g.k = K;
	expect_silent(&g);
	for (int i = 0; i < M; i++) assert_true(c[i * N + N - 1] == 2e38f);
}

/* The same bits again where subnormals are flushed, on operands that are full of them. */
static void flush_mode(void **unused)
{
	weir_fp_state saved = weir__fp_enter(false);

	(void)unused;
	for (int round = 0; round < 20; round++) {
		gemm_case x = { 1 + random_below(40),
				1 + random_below(70),
				random_below(100),
				round & 1,
				round & 2,
				true,
				false,
				round & 4,
				1,
				tiny_value };

		check_both(&x, false);
	}
	weir__fp_leave(saved);
}

/* c keeps its bits under SKIP, and -0 + +0 shows that ADD is an addition of its own. */
static void modes(void **unused)
{
	float a = -0.0f, b = 1, c = -0.0f;
	_Alignas(64) char work[1 << 16];
	weir_gemm g = { .m = 1,
			.n = 1,
			.k = 1,
			.a = &a,
			.b = &b,
			.c = &c,
			.crs = 1,
			.mode = WEIR_DST_SKIP,
			.act = WEIR_MAP_COUNT };
	weir_gemm_plan p;

	(void)unused;
	weir__gemm_plan(&p, weir__kernels(), WEIR_F32, &g, 1);
	assert_int_equal(weir__gemm_bytes(&p), 0);
	weir__gemm_run(&p, NULL);
	assert_true(signbit(c));
	g.mode = WEIR_DST_ADD;
	weir__gemm_plan(&p, weir__kernels(), WEIR_F32, &g, 1);
	assert_true(weir__gemm_bytes(&p) <= sizeof work);
	weir__gemm_run(&p, work);
	assert_false(signbit(c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_edge),          cmocka_unit_test(crowded_rows),
		cmocka_unit_test(few_rows_or_columns), cmocka_unit_test(small_shapes),
		cmocka_unit_test(all_forms),           cmocka_unit_test(many_blocks),
		cmocka_unit_test(special_values),      cmocka_unit_test(padding_is_silent),
		cmocka_unit_test(turned_results),      cmocka_unit_test(turned_in_registers),
		cmocka_unit_test(flush_mode),          cmocka_unit_test(modes),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
