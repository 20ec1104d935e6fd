/* The driver of element-wise kernels: layouts of every kind against plain indexing, modes, threads; copies; casts. Long: many small tests. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/fpenv.h"
#include "kernels/map.h"
#include "kernels/threads.h"

enum { POOL = 1 << 20, LARGE = 300000 };

static uint64_t state = 3;

static uint64_t random_bits(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * UINT64_C(2685821657736338717) >> 11;
}

static int below(int n)
{
	return (int)(random_bits() % (uint64_t)n);
}

/* ---- layouts ---- */

/* An operand of random layout inside `pool`: axes in any order, gaps, broadcasts, steps backwards. */
static weir_strided any_layout(int rank, const int64_t *shape, int64_t *stride, const uint8_t *pool, size_t size,
			       bool broadcasts)
{
	int order[WEIR_MAX_RANK];
	int64_t step = 1, offset = 0, gaps = 1;
	int plain = below(3); /* 0: row-major without gaps */

	for (int i = 0; i < rank; i++) order[i] = i;
	for (int i = rank - 1; i > 0 && plain; i--) {
		int j = below(i + 1), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (int i = rank - 1; i >= 0; i--) {
		int d = order[i];

		if (plain == 2 && below(3) == 0 && gaps < 64) {
			step *= 2;
			gaps *= 2;
		}
		stride[d] = step;
		step *= shape[d] > 0 ? shape[d] : 1;
		if (plain == 2 && broadcasts && below(3) == 0) {
			stride[d] = 0;
		} else if (plain == 2 && below(3) == 0 && shape[d] > 0) {
			offset += stride[d] * (shape[d] - 1);
			stride[d] = -stride[d];
		}
	}
	assert_true(step < POOL);
	return (weir_strided){ pool + offset * (int64_t)size, stride };
}

static int64_t any_shape(int *rank, int64_t *shape)
{
	int64_t count = 1;

	*rank = below(WEIR_MAX_RANK + 1);
	for (int d = 0; d < *rank; d++) {
		int64_t most = 6000 / count, wish = below(3) ? 5 : 700;

		if (most > wish) most = wish;
		shape[d] = most > 1 ? 1 + below((int)most) : 1;
		if (below(60) == 0) shape[d] = 0;
		count *= shape[d];
		if (count == 0) {
			for (int e = d + 1; e < *rank; e++) shape[e] = 2;
			return 0;
		}
	}
	return count;
}

/* Where element i of the row-major order lies. */
static int64_t offset_at(int rank, const int64_t *shape, const int64_t *stride, int64_t i)
{
	int64_t offset = 0;

	for (int d = rank - 1; d >= 0; d--) {
		offset += i % shape[d] * stride[d];
		i /= shape[d];
	}
	return offset;
}

static uint8_t *pools[3], *bytes_pool, *want, *got;

static int make_pools(void **unused)
{
	(void)unused;
	for (int a = 0; a < 3; a++) {
		pools[a] = malloc(POOL * 8);
		if (!pools[a]) return -1;
		for (int i = 0; i < POOL; i++) {
			/* Good as two floats and as a double. */
			float two[2] = { (float)below(2001) / 256 - 4, (float)below(2001) / 256 - 4 };

			memcpy(pools[a] + 8 * i, two, 8);
		}
	}
	bytes_pool = malloc(POOL);
	want = malloc((LARGE + 8) * 8);
	got = malloc((LARGE + 8) * 8);
	if (!bytes_pool || !want || !got) return -1;
	for (int i = 0; i < POOL; i++) bytes_pool[i] = (uint8_t)below(2);
	return 0;
}

static int free_pools(void **unused)
{
	(void)unused;
	for (int a = 0; a < 3; a++) free(pools[a]);
	free(bytes_pool);
	free(want);
	free(got);
	return 0;
}

static const double params[2] = { 1.5, 0.25 };

static void check_layouts(weir_map id, weir_dtype t)
{
	const weir_map_info *info = &weir__map_info[id];
	int64_t shape[WEIR_MAX_RANK], stride[3][WEIR_MAX_RANK], count;
	size_t size = t == WEIR_F64 ? 8 : 4, ysize = info->output == 'B' ? 1 : size;
	weir_strided x[3] = { { 0 } };
	int rank;
	weir_dst_mode mode = info->output == 'B' || below(2) ? WEIR_DST_WRITE : WEIR_DST_ADD;

	count = any_shape(&rank, shape);
	for (int a = 0; info->inputs[a]; a++)
		x[a] = info->inputs[a] == 'B' ? any_layout(rank, shape, stride[a], bytes_pool, 1, true)
					      : any_layout(rank, shape, stride[a], pools[a], size, true);
	memcpy(want, pools[1], ((size_t)count + 8) * 8);
	memcpy(got, want, ((size_t)count + 8) * 8);
	for (int64_t i = 0; i < count; i++) {
		const void *at[3] = { 0 };
		uint8_t one[8], *to = want + (size_t)i * ysize;

		for (int a = 0; info->inputs[a]; a++)
			at[a] = (const uint8_t *)x[a].data +
				offset_at(rank, shape, stride[a], i) * (info->inputs[a] == 'B' ? 1 : (int64_t)size);
		weir__kernels()->map[id][t](one, at, 1, params);
		if (mode == WEIR_DST_ADD)
			weir__kernels()->map[WEIR_MAP_add][t](to, (const void *const[]){ to, one }, 1, NULL);
		else memcpy(to, one, ysize);
	}
	weir__map(id, t, rank, shape, got, mode, x, params, 1 + below(3));
	if (memcmp(want, got, ((size_t)count + 8) * 8) != 0)
		fail_msg("%s in type %d, rank %d, %lld elements", info->name, t, rank, (long long)count);
	weir__map(id, t, rank, shape, got, WEIR_DST_SKIP, x, params, 1);
	assert_memory_equal(want, got, ((size_t)count + 8) * 8);
}

static void test_layouts(void **unused)
{
	static const weir_map ids[] = { WEIR_MAP_add,       WEIR_MAP_affine, WEIR_MAP_fill, WEIR_MAP_mul,
					WEIR_MAP_copy,      WEIR_MAP_where,  WEIR_MAP_lt,   WEIR_MAP_where_vjp_a,
					WEIR_MAP_div_vjp_b, WEIR_MAP_tanh,   WEIR_MAP_pow };

	(void)unused;
	for (int round = 0; round < 40; round++) {
		for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
			check_layouts(ids[i], WEIR_F32);
			check_layouts(ids[i], WEIR_F64);
		}
	}
}

static void test_threads(void **unused)
{
	static const int threads[] = { 1, 2, 3, 8 };
	static const int64_t shape[2] = { LARGE / 100, 100 }, dense[2] = { 100, 1 }, column[2] = { 1, 0 },
			     turned[2] = { 1, LARGE / 100 };
	const weir_strided layouts[][2] = {
		{ { pools[0], dense }, { pools[1], dense } },
		{ { pools[0], dense }, { pools[1], column } },
		{ { pools[0], turned }, { pools[1], dense } },
	};

	(void)unused;
	for (size_t l = 0; l < 3; l++) {
		for (int mode = WEIR_DST_WRITE; mode <= WEIR_DST_ADD; mode++) {
			for (size_t i = 0; i < 4; i++) {
				memcpy(got, pools[2], LARGE * 4);
				weir__map(WEIR_MAP_div, WEIR_F32, 2, shape, got, (weir_dst_mode)mode, layouts[l], NULL,
					  threads[i]);
				if (i) assert_memory_equal(got, want, LARGE * 4);
				memcpy(want, got, LARGE * 4);
			}
		}
	}
}

/* ReLU in place: an input may be the result. */
static void test_in_place(void **unused)
{
	static const int64_t shape[1] = { 3001 }, one[1] = { 1 };
	weir_strided x = { got, one };

	(void)unused;
	memcpy(got, pools[0], 3001 * 4);
	weir__kernels()->map[WEIR_MAP_relu][0](want, (const void *const[]){ pools[0] }, 3001, NULL);
	weir__map(WEIR_MAP_relu, WEIR_F32, 1, shape, got, WEIR_DST_WRITE, &x, NULL, 1);
	assert_memory_equal(got, want, 3001 * 4);
}

static void test_flags_of_workers_reach_the_caller(void **unused)
{
	static const int64_t shape[1] = { LARGE }, one[1] = { 1 };
	weir_strided x = { got, one };
	weir_fp_state saved = weir__fp_enter(false);

	(void)unused;
	memset(got, 0, LARGE * 4);
	((float *)(void *)got)[LARGE - 1] = -1;
	for (int i = 0; i < LARGE - 1; i++) ((float *)(void *)got)[i] = 1;
	weir__fp_clear();
	weir__map(WEIR_MAP_log, WEIR_F32, 1, shape, want, WEIR_DST_WRITE, &x, NULL, 2);
	assert_int_equal(weir__fp_flags() & ~(unsigned)WEIR_FP_UNDERFLOW, WEIR_FP_INVALID);
	weir__fp_leave(saved);
}

/* ---- copies ---- */

static void test_copies(void **unused)
{
	static const size_t sizes[WEIR_DTYPE_COUNT] = { 4, 8, 4, 8, 1 };

	(void)unused;
	for (int round = 0; round < 200; round++) {
		int64_t shape[WEIR_MAX_RANK], from[WEIR_MAX_RANK], to[WEIR_MAX_RANK], count;
		int rank, t = round % WEIR_DTYPE_COUNT;
		weir_strided x, y;
		uint8_t *target;

		do {
			count = any_shape(&rank, shape);
			x = any_layout(rank, shape, from, pools[0], sizes[t], true);
			y = any_layout(rank, shape, to, got, sizes[t], false);
		} while (count * 64 > LARGE);
		target = got + ((const uint8_t *)y.data - got);
		memset(got, 7, LARGE * 8);
		memset(want, 7, LARGE * 8);
		for (int64_t i = 0; i < count; i++)
			memcpy(want + (target - got) + offset_at(rank, shape, to, i) * (int64_t)sizes[t],
			       (const uint8_t *)x.data + offset_at(rank, shape, from, i) * (int64_t)sizes[t], sizes[t]);
		weir__copy((weir_dtype)t, rank, shape, target, to, &x, 1 + round % 2);
		assert_memory_equal(got, want, LARGE * 8);
	}
}

/* ---- casts ---- */

static void cast(weir_dtype from, weir_dtype to, int64_t n, const void *x, void *y)
{
	weir__cast(from, to, 1, &n, y, &(weir_strided){ x, (const int64_t[]){ 1 } }, 1);
}

static void test_floats_to_integers(void **unused)
{
	static const double x[] = { 0,
				    -0.0,
				    0.99,
				    -0.99,
				    1.5,
				    -1.5,
				    255,
				    255.5,
				    256,
				    -1,
				    2147483647,
				    2147483648.0,
				    -2147483648.0,
				    -2147483649.0,
				    0x1p63,
				    -0x1p63,
				    1e30,
				    -1e30,
				    INFINITY,
				    -INFINITY,
				    NAN,
				    9007199254740993.0 };
	static const int32_t i32[] = { 0,         0,         0,         0,         1,         -1,
				       255,       255,       256,       -1,        INT32_MAX, INT32_MAX,
				       INT32_MIN, INT32_MIN, INT32_MAX, INT32_MIN, INT32_MAX, INT32_MIN,
				       INT32_MAX, INT32_MIN, 0,         INT32_MAX };
	static const int64_t i64[] = { 0,           0,
				       0,           0,
				       1,           -1,
				       255,         255,
				       256,         -1,
				       2147483647,  2147483648,
				       -2147483648, -2147483649,
				       INT64_MAX,   INT64_MIN,
				       INT64_MAX,   INT64_MIN,
				       INT64_MAX,   INT64_MIN,
				       0,           9007199254740992 };
	static const uint8_t u8[] = {
		0, 0, 0, 0, 1, 0, 255, 255, 255, 0, 255, 255, 0, 0, 255, 0, 255, 0, 255, 0, 0, 255
	};
	enum { N = sizeof x / sizeof *x };
	float f[N];
	int32_t got32[N];
	int64_t got64[N];
	uint8_t got8[N];
	weir_fp_state saved = weir__fp_enter(true);

	(void)unused;
	for (int i = 0; i < N; i++) f[i] = (float)x[i];
	weir__fp_clear();
	cast(WEIR_F64, WEIR_I32, N, x, got32);
	cast(WEIR_F64, WEIR_I64, N, x, got64);
	cast(WEIR_F64, WEIR_U8, N, x, got8);
	assert_memory_equal(got32, i32, sizeof i32);
	assert_memory_equal(got64, i64, sizeof i64);
	assert_memory_equal(got8, u8, sizeof u8);
	cast(WEIR_F32, WEIR_I32, N, f, got32);
	cast(WEIR_F32, WEIR_I64, N, f, got64);
	cast(WEIR_F32, WEIR_U8, N, f, got8);
	assert_memory_equal(got32, i32, sizeof i32);
	assert_memory_equal(got8, u8, sizeof u8);
	assert_int_equal(weir__fp_flags(), 0); /* the comparison below may raise some */
	for (int i = 0; i < N; i++) {
		double d = (double)f[i];
		int64_t expected = isnan(d) ? 0 : d >= 0x1p63 ? INT64_MAX : d <= -0x1p63 ? INT64_MIN : (int64_t)d;

		assert_true(got64[i] == expected);
	}
	weir__fp_leave(saved);
}

static void test_other_casts(void **unused)
{
	static const int64_t wide[] = { 0,         -1,        255,       256,      INT32_MAX,
					INT32_MIN, INT64_MAX, INT64_MIN, 16777217, 9007199254740993 };
	static const int32_t to32[] = {
		0, -1, 255, 256, INT32_MAX, INT32_MIN, INT32_MAX, INT32_MIN, 16777217, INT32_MAX
	};
	static const uint8_t to8[] = { 0, 0, 255, 255, 255, 0, 255, 0, 255, 255 };
	enum { N = sizeof wide / sizeof *wide };
	static const double big[3] = { 1e300, 1 + 0x1p-24, -INFINITY };
	int32_t narrow[N];
	int64_t back[N];
	uint8_t bytes[N];
	double d[N];
	float f[N];

	(void)unused;
	cast(WEIR_I64, WEIR_I32, N, wide, narrow);
	assert_memory_equal(narrow, to32, sizeof to32);
	cast(WEIR_I64, WEIR_U8, N, wide, bytes);
	assert_memory_equal(bytes, to8, sizeof to8);
	cast(WEIR_I32, WEIR_U8, N, to32, bytes);
	assert_memory_equal(bytes, to8, sizeof to8);
	cast(WEIR_I32, WEIR_I64, N, to32, back);
	for (int i = 0; i < N; i++) assert_true(back[i] == to32[i]);
	cast(WEIR_I64, WEIR_F64, N, wide, d);
	for (int i = 0; i < N; i++) assert_true(d[i] == (double)wide[i]);
	cast(WEIR_I64, WEIR_F32, N, wide, f);
	for (int i = 0; i < N; i++) assert_true(f[i] == (float)wide[i]);
	cast(WEIR_I32, WEIR_F32, N, to32, f);
	for (int i = 0; i < N; i++) assert_true(f[i] == (float)to32[i]);
	cast(WEIR_U8, WEIR_F32, N, to8, f);
	for (int i = 0; i < N; i++) assert_true(f[i] == (float)to8[i]);
	cast(WEIR_F32, WEIR_F64, N, f, d);
	for (int i = 0; i < N; i++) assert_true(d[i] == (double)f[i]);
	cast(WEIR_F64, WEIR_F32, 3, big, f);
	assert_true(f[0] == INFINITY && f[1] == 1 && f[2] == -INFINITY);
	cast(WEIR_I64, WEIR_I64, N, wide, back);
	assert_memory_equal(back, wide, sizeof wide);
}

static void test_casts_of_any_layout(void **unused)
{
	(void)unused;
	for (int round = 0; round < 60; round++) {
		int64_t shape[WEIR_MAX_RANK], stride[WEIR_MAX_RANK], count;
		int rank;
		weir_strided x;
		double *y = (double *)(void *)got;

		count = any_shape(&rank, shape);
		x = any_layout(rank, shape, stride, pools[0], 4, true);
		y[count] = 3;
		weir__cast(WEIR_F32, WEIR_F64, rank, shape, y, &x, 2);
		for (int64_t i = 0; i < count; i++)
			assert_true(y[i] == (double)((const float *)x.data)[offset_at(rank, shape, stride, i)]);
		assert_true(y[count] == 3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layouts),     cmocka_unit_test(test_threads),
		cmocka_unit_test(test_in_place),    cmocka_unit_test(test_flags_of_workers_reach_the_caller),
		cmocka_unit_test(test_copies),      cmocka_unit_test(test_floats_to_integers),
		cmocka_unit_test(test_other_casts), cmocka_unit_test(test_casts_of_any_layout),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests_name("map driver", tests, make_pools, free_pools);
}
