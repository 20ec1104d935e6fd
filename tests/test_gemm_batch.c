/* test_gemm_batch.c: a batch of products has the bits of the same products made one by one, whatever axes number them and
 * however many threads there are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cpu.h"
#include "kernels/gemm_plan.h"
#include "kernels/threads.h"

enum { MOST = 200000, CANARY = 64 };

static _Alignas(64) double a[MOST], b[MOST], c[MOST], want[MOST];
static _Alignas(64) unsigned char work[(1 << 22) + 2 * CANARY];

static void fill(void *p, weir_dtype t)
{
	static uint32_t state = 1;

	for (int i = 0; i < MOST; i++) {
		state = state * 1664525u + 1013904223u;
		if (t == WEIR_F32) ((float *)p)[i] = (float)((double)(state >> 8) * 0x1p-24 - 0.5);
		else ((double *)p)[i] = (double)(state >> 8) * 0x1p-24 - 0.5;
	}
}

/* One by one, on one thread. */
static void reference(weir_dtype t, const weir_gemm_batch *batch)
{
	int64_t size = t == WEIR_F32 ? 4 : 8, count = 1;

	for (int i = 0; i < batch->rank; i++) count *= batch->shape[i];
	for (int64_t n = 0; n < count; n++) {
		weir_gemm g = batch->g;
		weir_gemm_plan p;
		int64_t rest = n, in_a = 0, in_b = 0;

		for (int i = batch->rank - 1; i >= 0; rest /= batch->shape[i--]) {
			in_a += rest % batch->shape[i] * batch->a_stride[i];
			in_b += rest % batch->shape[i] * batch->b_stride[i];
		}
		g.a = (const char *)g.a + in_a * size;
		g.b = (const char *)g.b + in_b * size;
		g.c = (char *)want + n * batch->c_stride * size;
		weir__gemm_plan(&p, weir__kernels(), t, &g, 1);
		assert_true(weir__gemm_bytes(&p) <= sizeof work);
		weir__gemm_run(&p, work);
	}
}

static void check(weir_dtype t, const weir_gemm_batch *batch)
{
	reference(t, batch);
	for (int threads = 1; threads <= 9; threads += 1 + threads / 3) {
		size_t bytes = weir__gemm_batch_workspace(t, batch, threads);

		assert_true(bytes + 2 * CANARY <= sizeof work);
		memset(work, 0xff, sizeof work); /* NaN, if it were read */
		memset(c, 0x11, sizeof c);       /* small numbers */
		weir__gemm_batch(t, batch, work + CANARY, threads);
		for (int i = 0; i < CANARY; i++) {
			assert_int_equal(work[i], 0xff);
			assert_int_equal(work[CANARY + bytes + (size_t)i], 0xff);
		}
		for (size_t i = 0; i < sizeof c; i++)
			if (((unsigned char *)c)[i] != ((unsigned char *)want)[i])
				fail_msg("byte %zu is %02x, must be %02x: %s, rank %d, %lld x %lld x %lld, %d threads",
					 i, ((unsigned char *)c)[i], ((unsigned char *)want)[i],
					 t == WEIR_F32 ? "f32" : "f64", batch->rank, (long long)batch->g.m,
					 (long long)batch->g.n, (long long)batch->g.k, threads);
	}
}

/* m x k times k x n; turned: an operand's rows lie apart by 1 and its columns by its number of rows. */
static weir_gemm product(int64_t m, int64_t n, int64_t k, bool a_turned, bool b_turned)
{
	return (weir_gemm){
		.m = m,
		.n = n,
		.k = k,
		.a = a,
		.ars = a_turned ? 1 : k,
		.acs = a_turned ? m : 1,
		.b = b,
		.brs = b_turned ? 1 : n,
		.bcs = b_turned ? k : 1,
		.c = c,
		.crs = n,
		.mode = WEIR_DST_WRITE,
		.act = WEIR_MAP_COUNT,
	};
}

static void all_kinds(void **state)
{
	static const int64_t sizes[][3] = { { 8, 8, 8 }, { 33, 17, 9 }, { 1, 40, 30 }, { 40, 3, 30 }, { 30, 70, 0 } };
	static const int64_t shapes[][3] = { { 1, 1, 1 }, { 2, 1, 1 }, { 2, 3, 2 }, { 16, 1, 1 }, { 1, 7, 1 } };

	(void)state;
	for (int c0 = 0; c0 < 5 * 5 * 4 * 2 * 2; c0++) {
		const int64_t *s = sizes[c0 % 5], *shape = shapes[c0 / 5 % 5];
		int64_t m = s[0], n = s[1], k = s[2], of_a = m * k, of_b = k * n;
		/* the middle axis repeats b, the last one runs backward through a */
		int64_t a_stride[3] = { of_a * shape[1] * shape[2], of_a * shape[2], -of_a };
		int64_t b_stride[3] = { of_b * shape[2], 0, of_b };
		weir_dtype t = c0 / 100 % 2 ? WEIR_F64 : WEIR_F32;
		weir_gemm_batch batch = { .g = product(m, n, k, c0 / 25 & 1, c0 / 25 & 2),
					  .rank = 3,
					  .shape = shape,
					  .a_stride = a_stride,
					  .b_stride = b_stride,
					  .c_stride = m * n };

		batch.g.a = (const char *)a + (shape[2] - 1) * of_a * (t == WEIR_F32 ? 4 : 8);
		if (c0 / 200) batch.g.mode = WEIR_DST_ADD;
		fill(a, t);
		fill(b, t);
		memset(want, 0x11, sizeof want);
		check(t, &batch);
		if (shape[0] * shape[1] * shape[2] > 1) continue;
		batch.rank = 0; /* one product without an axis */
		memset(want, 0x11, sizeof want);
		check(t, &batch);
	}
}

/* Nothing to do: not an address is looked at. */
static void nothing(void **state)
{
	static const int64_t none[2] = { 3, 0 }, some[2] = { 3, 2 }, stride[2] = { 100, 10 };
	weir_gemm_batch batch = { .g = product(4, 4, 4, false, false),
				  .rank = 2,
				  .shape = none,
				  .a_stride = stride,
				  .b_stride = stride,
				  .c_stride = 16 };

	(void)state;
	batch.g.c = NULL;
	assert_int_equal(weir__gemm_batch_workspace(WEIR_F32, &batch, 2), 0);
	weir__gemm_batch(WEIR_F32, &batch, NULL, 2);
	batch.shape = some;
	batch.g.mode = WEIR_DST_SKIP;
	weir__gemm_batch(WEIR_F32, &batch, NULL, 2);
	batch.g.mode = WEIR_DST_WRITE;
	batch.g.k = 0;
	batch.g.a = batch.g.b = NULL;
	batch.g.c = c;
	fill(c, WEIR_F32);
	weir__gemm_batch(WEIR_F32, &batch, work, 2);
	for (int i = 0; i < 6 * 16; i++) assert_true(((float *)(void *)c)[i] == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(all_kinds), cmocka_unit_test(nothing) };

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
