/* test_squares.c: a norm taken while an array is written has the bits of weir__norm2 on the array, whoever wrote it, however it was cut. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cpu.h"
#include "kernels/gemm_plan.h"
#include "kernels/map.h"
#include "kernels/squares.h"
#include "kernels/threads.h"

enum { MOST = 70001 };

static _Alignas(64) char memory[4][MOST * 8];

/* Kinds of values: plain; half zeros; at both ends of the fast range and far outside of it; some that are not finite. */
enum { PLAIN, ZEROS, TINY, EDGES, HUGE_ONES, NONFINITE, KINDS };

static uint32_t state_of_random = 1;

static double uniform(void)
{
	state_of_random = state_of_random * 1664525u + 1013904223u;
	return (double)(state_of_random >> 8) * 0x1p-24;
}

static double value(int kind, bool wide, int64_t i)
{
	double v = 2 * uniform() - 1;

	switch (kind) {
	case ZEROS: return uniform() < 0.9 || i % 16 == 3 ? 0 : v;
	case TINY: return i % 640 < 128 ? v * 1e-16 : i % 640 < 256 ? v * (wide ? 1e-170 : 1e-30) : v;
	case EDGES: return i / 128 % 2 ? v * 1.2e-13 : v * 3e14;
	case HUGE_ONES: return v * (wide ? 1e200 : 1e25);
	case NONFINITE: return i == 77 ? (double)INFINITY : i == 5000 ? (double)NAN : v;
	default: return v;
	}
}

static void fill(void *to, weir_dtype t, int64_t n, int kind)
{
	for (int64_t i = 0; i < n; i++) {
		double v = value(kind, t == WEIR_F64, i);

		if (t == WEIR_F32) ((float *)to)[i] = (float)v;
		else ((double *)to)[i] = v;
	}
}

static void expect_norm(const weir_squares *s, const char *what, int kind, int64_t n, int threads)
{
	double want = weir__norm2(s->t, s->y, s->n, 1), got;

	if (!s->done) fail_msg("%s, kind %d, n %lld, %d threads: not done", what, kind, (long long)n, threads);
	got = weir__squares_norm(s, threads);
	if (memcmp(&got, &want, sizeof got) && !(isnan(got) && isnan(want)))
		fail_msg("%s, kind %d, n %lld, %d threads: got %.17g, want %.17g", what, kind, (long long)n, threads,
			 got, want);
}

static const int64_t sizes[] = { 1, 15, 16, 127, 128, 129, 2048, 4095, 4096, 4097, 8192, 12345, MOST };

static void maps(void **state)
{
	static const weir_map ids[] = { WEIR_MAP_relu_vjp, WEIR_MAP_tanh_vjp, WEIR_MAP_mul, WEIR_MAP_copy };
	static double chunk[MOST / WEIR_CHUNK + 1], gy_chunk[MOST / WEIR_CHUNK + 1];

	(void)state;
	weir__threads_gate = 1;
	for (size_t c = 0; c < sizeof ids / sizeof *ids * 2 * 2 * KINDS; c++) {
		weir_map id = ids[c % 4];
		weir_dtype t = c / 4 % 2 ? WEIR_F64 : WEIR_F32;
		weir_dst_mode mode = c / 8 % 2 ? WEIR_DST_ADD : WEIR_DST_WRITE;
		int kind = (int)(c / 16);
		int64_t one = 1;
		weir_strided x[2] = { { memory[0], &one }, { memory[1], &one } };

		for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
			int64_t n = sizes[k];
			int threads = (int[]){ 1, 2, 3, 8 }[k % 4];
			size_t bytes = (size_t)n * (t == WEIR_F64 ? 8 : 4);
			weir_squares from = { .t = t, .y = memory[0], .n = n, .chunk = gy_chunk };
			weir_squares s = { .t = t, .y = memory[2], .n = n, .chunk = chunk, .source = &from };

			fill(memory[0], t, n, kind);
			fill(memory[1], t, n, PLAIN);
			fill(memory[2], t, n, ZEROS);
			memcpy(memory[3], memory[2], bytes);
			weir__map(id, t, 1, &n, memory[3], mode, x, NULL, 1);
			weir__map_squares(id, t, 1, &n, memory[2], mode, x, NULL, &s, threads);
			assert_memory_equal(memory[2], memory[3], bytes);
			expect_norm(&s, weir__map_info[id].name, kind, n, threads);
			assert_true(from.done == (id == WEIR_MAP_relu_vjp && t == WEIR_F32 && mode == WEIR_DST_WRITE));
			if (from.done) expect_norm(&from, "gy of relu_vjp", kind, n, threads);
		}
	}
	weir__threads_gate = 0;
}

/* Broadcast operands, several axes; and an array that is not the one asked for. */
static void strided(void **state)
{
	int64_t shape[3] = { 7, 33, 41 }, of_a[3] = { 41, 0, 1 }, of_b[3] = { 0, 1, 33 };
	int64_t n = shape[0] * shape[1] * shape[2];
	weir_strided x[2] = { { memory[0], of_a }, { memory[1], of_b } };
	double chunk[4];
	weir_squares s = { .t = WEIR_F32, .y = memory[2], .n = n, .chunk = chunk };

	(void)state;
	weir__threads_gate = 1;
	fill(memory[0], WEIR_F32, n, PLAIN);
	fill(memory[1], WEIR_F32, n, PLAIN);
	weir__map_squares(WEIR_MAP_relu_vjp, WEIR_F32, 3, shape, memory[2], WEIR_DST_WRITE, x, NULL, &s, 2);
	expect_norm(&s, "strided relu_vjp", PLAIN, n, 2);
	s.done = false;
	s.y = memory[3];
	weir__map_squares(WEIR_MAP_mul, WEIR_F32, 3, shape, memory[2], WEIR_DST_WRITE, x, NULL, &s, 2);
	assert_false(s.done);
	weir__threads_gate = 0;
}

static void products(void **state)
{
	static const int64_t shape[][3] = { { 64, 128, 128 }, { 128, 128, 64 }, { 33, 784, 20 }, { 256, 100, 7 },
					    { 1, 5000, 3 },   { 61, 65, 1 },    { 300, 40, 200 } };
	static double chunk[MOST / WEIR_CHUNK + 1];
	static _Alignas(64) char work[1 << 24];

	(void)state;
	weir__threads_gate = 1;
	for (size_t c = 0; c < sizeof shape / sizeof *shape * 2 * 2 * KINDS; c++) {
		int64_t m = shape[c % 7][0], n = shape[c % 7][1], k = shape[c % 7][2];
		weir_dtype t = c / 7 % 2 ? WEIR_F64 : WEIR_F32;
		int kind = (int)(c / 28);
		weir_squares s = { .t = t, .y = memory[2], .n = m * n, .chunk = chunk };
		weir_gemm g = { .m = m,
				.n = n,
				.k = k,
				.a = memory[0],
				.ars = k,
				.acs = 1,
				.b = memory[1],
				.brs = n,
				.bcs = 1,
				.c = memory[2],
				.crs = n,
				.mode = c / 14 % 2 ? WEIR_DST_ADD : WEIR_DST_WRITE,
				.act = WEIR_MAP_COUNT,
				.squares = &s };
		weir_gemm_plan p;

		assert_true(m * n <= MOST && m * k <= MOST && n * k <= MOST);
		for (int threads = 1; threads <= 4; threads++) {
			fill(memory[0], t, m * k, kind);
			fill(memory[1], t, n * k, PLAIN);
			fill(memory[2], t, m * n, ZEROS);
			s.done = false;
			weir__gemm_plan(&p, weir__kernels(), t, &g, threads);
			assert_true(weir__gemm_bytes(&p) <= sizeof work);
			weir__gemm_run(&p, work);
			if (threads == 1 || s.done) expect_norm(&s, "gemm", kind, m * n, threads);
		}
	}
	weir__threads_gate = 0;
}

static void every_instruction_set(void **state)
{
	static const char *const sets[] = { "generic", "avx2", "avx512" };
	double lane[4][WEIR_LANES];

	(void)state;
	for (int i = 0; i < 6 * KINDS; i++) {
		bool both = i % 6 > 2;
		const weir_kernels *k = weir__kernels_for(sets[i % 3]);
		float *gy = (float *)(void *)memory[0], *x = (float *)(void *)memory[1],
		      *y = (float *)(void *)memory[2], *z = (float *)(void *)memory[3];

		for (int64_t n = 0; k && n <= 700; n += 1 + n % 37) {
			fill(gy, WEIR_F32, n, i / 6);
			fill(x, WEIR_F32, n, PLAIN);
			if (n > 200) x[200] = NAN;
			for (int l = 0; l < WEIR_LANES; l++) lane[0][l] = lane[1][l] = lane[2][l] = lane[3][l] = l;
			k->relu_vjp_sumsq(lane[0], both ? lane[2] : NULL, y, gy, x, n);
			if (both) k->lanes_sumsq_fast(lane[3], gy, n);
			k->map[WEIR_MAP_relu_vjp][0](z, (const void *[]){ gy, x }, n, NULL);
			k->lanes_sumsq_fast(lane[1], z, n);
			assert_memory_equal(y, z, (size_t)n * sizeof *y);
			for (int l = 0; l < 2 * WEIR_LANES; l++) {
				double is = lane[l < WEIR_LANES ? 0 : 2][l % WEIR_LANES];
				double want = lane[l < WEIR_LANES ? 1 : 3][l % WEIR_LANES];

				if (is != want && !(isnan(is) && isnan(want)))
					fail_msg("%s, kind %d, n %lld, lane %d of %s: %.17g, want %.17g", k->isa, i / 6,
						 (long long)n, l % WEIR_LANES, l < WEIR_LANES ? "y" : "gy", is, want);
			}
		}
	}
}

static void the_rate_is_a_time(void **state)
{
	double rate = weir__squares_rate();

	(void)state;
	assert_true(rate > 0 && rate < 1e-5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps),
		cmocka_unit_test(strided),
		cmocka_unit_test(products),
		cmocka_unit_test(every_instruction_set),
		cmocka_unit_test(the_rate_is_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
