/* body_gemm.c: the register tile of the matrix product and the packing of its operands. See gemm.h for what
 * they promise.
 *
 * A tile of rows x nr elements of C is held in registers while k runs: each step loads one row of B's panel,
 * and for each row of the tile one element of A's, which is multiplied with it. The number of rows is a
 * constant of the code, so there is one function per number: no lane is spent on rows that aren't there.
 * Registers: AVX-512 14 x 2 sums, 2 of B, 1 of A; AVX2 6 x 2 sums (a vf is two), 2 of B, 1 of A.
 *
 * The file includes itself for f32 and for f64. */
#ifndef REAL

#include <math.h>
#include <string.h>

#include "kernels/gemm.h"
#include "kernels/vec.h"

#if defined(WEIR_KERN_AVX512)
enum { MR = 14, LANES_A = 16, VECTORS = 2, MAX_K = 384 };
#elif defined(WEIR_KERN_AVX2)
enum { MR = 6, LANES_A = 8, VECTORS = 1, MAX_K = 384 };
#else
enum { MR = 8, LANES_A = 8, VECTORS = 1, MAX_K = 256 };
#endif

#define ROWS_1(X) X(0)
#define ROWS_2(X) ROWS_1(X) X(1)
#define ROWS_3(X) ROWS_2(X) X(2)
#define ROWS_4(X) ROWS_3(X) X(3)
#define ROWS_5(X) ROWS_4(X) X(4)
#define ROWS_6(X) ROWS_5(X) X(5)
#define ROWS_7(X) ROWS_6(X) X(6)
#define ROWS_8(X) ROWS_7(X) X(7)
#define ROWS_9(X) ROWS_8(X) X(8)
#define ROWS_10(X) ROWS_9(X) X(9)
#define ROWS_11(X) ROWS_10(X) X(10)
#define ROWS_12(X) ROWS_11(X) X(11)
#define ROWS_13(X) ROWS_12(X) X(12)
#define ROWS_14(X) ROWS_13(X) X(13)

/* Transposes squares of vectors of 16 bytes; the compiler's own vectors, so that every target has them. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SQUARES 1
#endif
#endif

#define REAL float
#define NAME(x) x##_f32
#define V(x) vf_##x
#define VEC_T vf
#define NR (VECTORS * VF_LANES)
#define FMA fmaf
#define SIDE 4
#include "kernels/body_gemm.c"
#undef REAL
#undef NAME
#undef V
#undef VEC_T
#undef NR
#undef FMA
#undef SIDE

#define REAL double
#define NAME(x) x##_f64
#define V(x) vd_##x
#define VEC_T vd
#define NR (VECTORS * VD_LANES)
#define FMA fma
#define SIDE 2
#include "kernels/body_gemm.c"

#else /* one element type */

/* One tile of nr columns: to = (from or +0) + A B, + bias, + what was there. */
typedef void NAME(micro)(int64_t k, const REAL *a, const REAL *b, int64_t b_step, const REAL *from, int64_t from_rs,
			 REAL *to, int64_t to_rs, bool add, const REAL *bias);

#if defined(WEIR_KERN_GENERIC)

/* In plain loops that a compiler turns into vectors. Four steps of k stay in registers between a load and a
 * store of the sums. */
#define STEPS 4

static inline void NAME(run)(int rows, int64_t k, const REAL *a, const REAL *b, int64_t b_step, REAL *restrict sum)
{
	int64_t p = 0;

	for (; p + STEPS <= k; p += STEPS, a += STEPS * LANES_A, b += STEPS * b_step) {
		const REAL *b1 = b + b_step, *b2 = b1 + b_step, *b3 = b2 + b_step;

		for (int i = 0; i < rows; i++) {
			REAL a0 = a[i], a1 = a[LANES_A + i], a2 = a[2 * LANES_A + i], a3 = a[3 * LANES_A + i];

			for (int j = 0; j < NR; j++)
				sum[i * NR + j] =
					FMA(a3, b3[j], FMA(a2, b2[j], FMA(a1, b1[j], FMA(a0, b[j], sum[i * NR + j]))));
		}
	}
	for (; p < k; p++, a += LANES_A, b += b_step)
		for (int i = 0; i < rows; i++)
			for (int j = 0; j < NR; j++) sum[i * NR + j] = FMA(a[i], b[j], sum[i * NR + j]);
}

static void NAME(any_rows)(int64_t rows, int64_t k, const REAL *a, const REAL *b, int64_t b_step, const REAL *from,
			   int64_t from_rs, REAL *to, int64_t to_rs, bool add, const REAL *bias)
{
	REAL sum[MR * NR];

	for (int64_t i = 0; i < rows; i++)
		for (int j = 0; j < NR; j++) sum[i * NR + j] = from ? from[i * from_rs + j] : 0;
	if (rows == MR) NAME(run)(MR, k, a, b, b_step, sum);
	else NAME(run)((int)rows, k, a, b, b_step, sum);
	for (int64_t i = 0; i < rows; i++) {
		for (int j = 0; j < NR && bias; j++) sum[i * NR + j] += bias[j];
		for (int j = 0; j < NR; j++)
			to[i * to_rs + j] = add ? to[i * to_rs + j] + sum[i * NR + j] : sum[i * NR + j];
	}
}

#define MICRO(rows, ...) NAME(any_rows)(rows, __VA_ARGS__)

#else

#define PAIR_(a, b) a##b
#define PAIR(a, b) PAIR_(a, b)
#define LANES ((int)(sizeof(VEC_T) / sizeof(REAL)))

/* clang-format off */
#if defined(WEIR_KERN_AVX512)
#define BOTH(first, second) first; second;
#else
#define BOTH(first, second) first;
#endif

#define ZERO(i) BOTH(VEC_T s##i = V(zero)(), VEC_T t##i = V(zero)())
#define LOAD(i) BOTH(s##i = V(load)(from + (i) * from_rs), t##i = V(load)(from + (i) * from_rs + LANES))
#define STEP(i) { VEC_T x = V(set1)(a[i]); BOTH(s##i = V(fma)(x, b0, s##i), t##i = V(fma)(x, b1, t##i)) }
#define BIAS(i) BOTH(s##i = V(add)(s##i, b0), t##i = V(add)(t##i, b1))
#define ADD(i) BOTH(s##i = V(add)(V(load)(to + (i) * to_rs), s##i), \
		    t##i = V(add)(V(load)(to + (i) * to_rs + LANES), t##i))
#define STORE(i) BOTH(V(store)(to + (i) * to_rs, s##i), V(store)(to + (i) * to_rs + LANES, t##i))

#define DEFINE_MICRO(rows) \
	static void PAIR(NAME(micro), _##rows)(int64_t k, const REAL *a, const REAL *b, int64_t b_step, \
					       const REAL *from, int64_t from_rs, REAL *to, int64_t to_rs, \
					       bool add, const REAL *bias) \
	{ \
		ROWS_##rows(ZERO) \
		if (from) { \
			ROWS_##rows(LOAD) \
		} \
		for (; k > 0; k--, a += LANES_A, b += b_step) { \
			BOTH(VEC_T b0 = V(load)(b), VEC_T b1 = V(load)(b + LANES)) \
			ROWS_##rows(STEP) \
		} \
		if (bias) { \
			BOTH(VEC_T b0 = V(load)(bias), VEC_T b1 = V(load)(bias + LANES)) \
			ROWS_##rows(BIAS) \
		} \
		if (add) { \
			ROWS_##rows(ADD) \
		} \
		ROWS_##rows(STORE) \
	}
DEFINE_MICRO(1)
DEFINE_MICRO(2)
DEFINE_MICRO(3)
DEFINE_MICRO(4)
DEFINE_MICRO(5)
DEFINE_MICRO(6)
#if defined(WEIR_KERN_AVX512)
DEFINE_MICRO(7)
DEFINE_MICRO(8)
DEFINE_MICRO(9)
DEFINE_MICRO(10)
DEFINE_MICRO(11)
DEFINE_MICRO(12)
DEFINE_MICRO(13)
DEFINE_MICRO(14)
#endif

#define ENTRY(rows) PAIR(NAME(micro), _##rows),
static NAME(micro) *const NAME(micros)[MR] = {
	ENTRY(1) ENTRY(2) ENTRY(3) ENTRY(4) ENTRY(5) ENTRY(6)
#if defined(WEIR_KERN_AVX512)
	ENTRY(7) ENTRY(8) ENTRY(9) ENTRY(10) ENTRY(11) ENTRY(12) ENTRY(13) ENTRY(14)
#endif
};
/* clang-format on */

#define MICRO(rows, ...) NAME(micros)[(rows)-1](__VA_ARGS__)

#endif

/* The partial sums of a tile. Lanes beyond the last column repeat that column, as the packed B does. */
static const REAL *NAME(gather)(const weir_gemm_tile *t, REAL *full)
{
	const REAL *from = t->from;
	int64_t i = 0;

	if (!from) return NULL;
	do {
		for (int64_t j = 0; j < NR; j++)
			full[i * NR + j] = from[i * t->from_rs + (j < t->cols ? j : t->cols - 1) * t->from_cs];
	} while (++i < t->rows);
	return full;
}

/* A tile at the right edge, or of which the columns don't lie next to each other: by way of a full one on
 * the stack. */
static void NAME(edge_tile)(const weir_gemm_tile *t)
{
	const REAL *bias = t->bias;
	REAL *to = t->to, full[MR * NR];

	MICRO(t->rows, t->k, t->a, t->b, t->b_step, NAME(gather)(t, full), NR, full, NR, false, NULL);
	for (int64_t i = 0; i < t->rows; i++)
		for (int64_t j = 0; j < t->cols; j++) {
			REAL *y = to + i * t->to_rs + j * t->to_cs, x = full[i * NR + j];

			if (bias) x += bias[i * t->bias_rs + j * t->bias_cs];
			*y = t->add ? *y + x : x;
		}
}

static void NAME(tile)(const weir_gemm_tile *t)
{
	bool rows =
		t->to_cs == 1 && (!t->from || t->from_cs == 1) && (!t->bias || (t->bias_rs == 0 && t->bias_cs == 1));

	if (t->cols == NR && rows)
		MICRO(t->rows, t->k, t->a, t->b, t->b_step, t->from, t->from_rs, t->to, t->to_rs, t->add, t->bias);
	else NAME(edge_tile)(t);
}

#ifdef SQUARES

typedef REAL NAME(square) __attribute__((vector_size(16), aligned(sizeof(REAL)), may_alias));

/* The steps lie next to each other: squares of SIDE lanes and SIDE steps are turned in registers. A cache
 * line of each lane is done with before the next one is begun, and so is a line of the panel. Returns how
 * many steps it did. */
static int64_t NAME(pack_turned)(REAL *dst, int lanes, const REAL *src, int64_t lane_stride, int64_t used, int64_t fill,
				 int64_t k)
{
	int64_t whole = k / SIDE * SIDE, line = 64 / (int64_t)sizeof(REAL);

#define LANE(i) (src + (u + (i) < used ? u + (i) : used - 1) * lane_stride)
#define IN(q) (*(const NAME(square) *)((q) + p))
#define OUT(i) (*(NAME(square) *)(dst + (p + (i)) * lanes + u))
	for (int64_t p0 = 0; p0 < whole; p0 += line)
		for (int64_t u = 0; u < fill; u += SIDE) {
			const REAL *q0 = LANE(0), *q1 = LANE(1);
			int64_t end = p0 + line < whole ? p0 + line : whole;
#if SIDE == 4
			const REAL *q2 = LANE(2), *q3 = LANE(3);
#endif

			for (int64_t p = p0; p < end; p += SIDE) {
				NAME(square) x0 = IN(q0), x1 = IN(q1);
#if SIDE == 4
				NAME(square) x2 = IN(q2), x3 = IN(q3);
				NAME(square)
				a = __builtin_shufflevector(x0, x1, 0, 4, 1, 5),
				b = __builtin_shufflevector(x2, x3, 0, 4, 1, 5);
				NAME(square)
				c = __builtin_shufflevector(x0, x1, 2, 6, 3, 7),
				d = __builtin_shufflevector(x2, x3, 2, 6, 3, 7);

				OUT(0) = __builtin_shufflevector(a, b, 0, 1, 4, 5);
				OUT(1) = __builtin_shufflevector(a, b, 2, 3, 6, 7);
				OUT(2) = __builtin_shufflevector(c, d, 0, 1, 4, 5);
				OUT(3) = __builtin_shufflevector(c, d, 2, 3, 6, 7);
#else
				OUT(0) = __builtin_shufflevector(x0, x1, 0, 2);
				OUT(1) = __builtin_shufflevector(x0, x1, 1, 3);
#endif
			}
		}
#undef LANE
#undef IN
#undef OUT
	return whole;
}

#endif

/* n elements, 1 to 32, by two copies of a constant size that may overlap. */
static inline void NAME(copy)(REAL *y, const REAL *x, int64_t n)
{
#define TWICE(w)                                                      \
	do {                                                          \
		memcpy(y, x, (w) * sizeof(REAL));                     \
		memcpy(y + n - (w), x + n - (w), (w) * sizeof(REAL)); \
	} while (0)
	if (n >= 16) TWICE(16);
	else if (n >= 8) TWICE(8);
	else if (n >= 4) TWICE(4);
	else
		for (int64_t u = 0; u < n; u++) y[u] = x[u];
#undef TWICE
}

static void NAME(pack)(void *to, int lanes, const void *from, int64_t lane_stride, int64_t step_stride, int64_t used,
		       int64_t fill, int64_t k)
{
	REAL *dst = to;
	const REAL *src = from;
	int64_t p = 0;

#ifdef SQUARES
	if (step_stride == 1) p = NAME(pack_turned)(dst, lanes, src, lane_stride, used, fill, k);
#endif
	if (lane_stride == 1 && used == NR && lanes == NR)
		for (; p < k; p++) memcpy(dst + p * NR, src + p * step_stride, NR * sizeof(REAL));
	else if (lane_stride == 1)
		for (; p < k; p++) {
			NAME(copy)(dst + p * lanes, src + p * step_stride, used);
			for (int64_t u = used; u < fill; u++) dst[p * lanes + u] = src[p * step_stride + used - 1];
		}
	for (; p < k; p++)
		for (int64_t u = 0; u < fill; u++)
			dst[p * lanes + u] = src[(u < used ? u : used - 1) * lane_stride + p * step_stride];
}

const weir_gemm_kernel KERN(NAME(gemm)) = {
	.mr = MR,
	.nr = NR,
	.lanes_a = LANES_A,
	.max_k = MAX_K,
	.tile = NAME(tile),
	.pack = NAME(pack),
};

#undef MICRO
#undef STEPS
#undef PAIR_
#undef PAIR
#undef LANES
#undef BOTH
#undef ZERO
#undef LOAD
#undef STEP
#undef BIAS
#undef ADD
#undef STORE
#undef DEFINE_MICRO
#undef ENTRY
#endif
