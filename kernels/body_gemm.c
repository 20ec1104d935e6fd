/* body_gemm.c: the register tile of the matrix product and the packing of its operands. See gemm.h for what
 * they promise.
 *
 * A tile of C is held in registers while k runs: each step loads one row of B in whole vectors, and for each row of
 * the tile one element of A, which is multiplied with them. Rows and vectors are constants of the code, so there is
 * one function for each pair and no lane is spent on rows that aren't there: AVX-512 has 1 to 14 rows by 1 to 16
 * vectors, AVX2 1 to 6 by 1 to 4 (of two registers). A tile of few rows is wider, or its multipliers would wait for
 * each other. A is read in place whatever its strides: rows go in threes, one pointer each, which is what fits
 * into an x86 address (p, p + s, p + 2 s). Where the steps of B lie next to each other and few rows read it, its vectors are
 * made in registers, a few steps at a time, and used at once. In the generic kernels the same are plain loops over up to 8 rows.
 *
 * The file includes itself for f32 and for f64. It is long for the lists of rows and vectors that make the functions. */
#ifndef REAL

#include <math.h>
#include <string.h>

#include "kernels/gemm.h"
#include "kernels/vec.h"

/* WIDTHS: by the number of rows, the widest tile, in vectors. TURNED_ROWS: so many rows at most read a B that is turned in
 * registers; up to TURNED_PAIRS of them take two vectors at a time. */
#if defined(WEIR_KERN_AVX512)
enum { MR = 14, LANES_A = 16, MAX_K = 384, TURNED_ROWS = 8, TURNED_PAIRS = 4 };
#define WIDTHS 0, 16, 8, 4, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2
#elif defined(WEIR_KERN_AVX2)
enum { MR = 6, LANES_A = 16, MAX_K = 384, TURNED_ROWS = 4, TURNED_PAIRS = 2 };
#define WIDTHS 0, 4, 2, 1, 1, 1, 1
#else
enum { MR = 8, LANES_A = 16, MAX_K = 256, TURNED_ROWS = 4, TURNED_PAIRS = 0 };
#define WIDTHS 0, 1, 1, 1, 1, 1, 1, 1, 1
#endif

/* X(row, the first row of its three, its place among them, and one more argument handed on). */
#define ROWS_1(X, w) X(0, 0, 0, w)
#define ROWS_2(X, w) ROWS_1(X, w) X(1, 0, 1, w)
#define ROWS_3(X, w) ROWS_2(X, w) X(2, 0, 2, w)
#define ROWS_4(X, w) ROWS_3(X, w) X(3, 3, 0, w)
#define ROWS_5(X, w) ROWS_4(X, w) X(4, 3, 1, w)
#define ROWS_6(X, w) ROWS_5(X, w) X(5, 3, 2, w)
#define ROWS_7(X, w) ROWS_6(X, w) X(6, 6, 0, w)
#define ROWS_8(X, w) ROWS_7(X, w) X(7, 6, 1, w)
#define ROWS_9(X, w) ROWS_8(X, w) X(8, 6, 2, w)
#define ROWS_10(X, w) ROWS_9(X, w) X(9, 9, 0, w)
#define ROWS_11(X, w) ROWS_10(X, w) X(10, 9, 1, w)
#define ROWS_12(X, w) ROWS_11(X, w) X(11, 9, 2, w)
#define ROWS_13(X, w) ROWS_12(X, w) X(12, 12, 0, w)
#define ROWS_14(X, w) ROWS_13(X, w) X(13, 12, 1, w)

/* X(the first row of each three). */
#define THREES_1(X) X(0)
#define THREES_2(X) X(0)
#define THREES_3(X) X(0)
#define THREES_4(X) THREES_3(X) X(3)
#define THREES_5(X) THREES_4(X)
#define THREES_6(X) THREES_4(X)
#define THREES_7(X) THREES_6(X) X(6)
#define THREES_8(X) THREES_7(X)
#define THREES_9(X) THREES_7(X)
#define THREES_10(X) THREES_9(X) X(9)
#define THREES_11(X) THREES_10(X)
#define THREES_12(X) THREES_10(X)
#define THREES_13(X) THREES_12(X) X(12)
#define THREES_14(X) THREES_13(X)

/* X(row, vector, is it the last). */
#define EACH_1(X, i) X(i, 0, 1)
#define EACH_2(X, i) X(i, 0, 0) X(i, 1, 1)
#define EACH_4(X, i) X(i, 0, 0) X(i, 1, 0) X(i, 2, 0) X(i, 3, 1)
#define EACH_8(X, i) X(i, 0, 0) X(i, 1, 0) X(i, 2, 0) X(i, 3, 0) X(i, 4, 0) X(i, 5, 0) X(i, 6, 0) X(i, 7, 1)
/* clang-format off */
#define EACH_16(X, i) \
	X(i, 0, 0) X(i, 1, 0) X(i, 2, 0) X(i, 3, 0) X(i, 4, 0) X(i, 5, 0) X(i, 6, 0) X(i, 7, 0) X(i, 8, 0) X(i, 9, 0) \
	X(i, 10, 0) X(i, 11, 0) X(i, 12, 0) X(i, 13, 0) X(i, 14, 0) X(i, 15, 1)
/* clang-format on */

#define REAL float
#define NAME(x) x##_f32
#define V(x) vf_##x
#define VEC_T vf
#define LANES VF_LANES
#define FMA fmaf
#include "kernels/body_gemm.c"
#undef REAL
#undef NAME
#undef V
#undef VEC_T
#undef LANES
#undef FMA

#define REAL double
#define NAME(x) x##_f64
#define V(x) vd_##x
#define VEC_T vd
#define LANES VD_LANES
#define FMA fma
#include "kernels/body_gemm.c"

#else /* one element type */

#define SIDE (LANES / 2)

/* The next SIDE columns of LANES rows of a matrix, each column a vector, where so many rows and columns are left. The last row
 * stands in the place of those that aren't there. */
VEC void NAME(columns)(VEC_T *r, const REAL *p, int64_t stride, int64_t rows, int64_t steps)
{
	REAL block[LANES * SIDE];

	if (rows >= LANES && steps >= SIDE) {
		V(columns)(r, p, stride);
		return;
	}
	for (int64_t i = 0; i < LANES && steps >= SIDE; i++)
		memcpy(block + i * SIDE, p + (i < rows ? i : rows - 1) * stride, SIDE * sizeof *p);
	for (int64_t j = 0; j < steps && steps < SIDE; j++)
		for (int64_t i = 0; i < LANES; i++) block[i * SIDE + j] = p[(i < rows ? i : rows - 1) * stride + j];
	V(columns)(r, block, SIDE);
}

/* One tile, n columns in its last vector: to = (from or +0) + A B, + bias, + what was there. Lanes from n on repeat
 * the column before them, as the packed B does, so that they raise no exception of their own. The stride of B leads from
 * step to step or, turned, from lane to lane. */
typedef void NAME(micro)(int64_t k, const REAL *a, int64_t a_rs, int64_t a_ks, const REAL *b, int64_t b_stride,
			 const REAL *from, int64_t from_rs, REAL *to, int64_t to_rs, bool add, const REAL *bias,
			 int64_t n);

#if defined(WEIR_KERN_GENERIC)

/* In plain loops that a compiler turns into vectors. Four steps of k stay in registers between a load and a
 * store of the sums. */
#define STEPS 4

static inline void NAME(run)(int rows, int64_t k, const REAL *a, int64_t a_rs, int64_t a_ks, const REAL *b,
			     int64_t b_ks, REAL *restrict sum)
{
	int64_t p = 0;

	for (; p + STEPS <= k; p += STEPS, a += STEPS * a_ks, b += STEPS * b_ks) {
		const REAL *b1 = b + b_ks, *b2 = b1 + b_ks, *b3 = b2 + b_ks;

		for (int i = 0; i < rows; i++) {
			const REAL *x = a + i * a_rs;
			REAL a0 = x[0], a1 = x[a_ks], a2 = x[2 * a_ks], a3 = x[3 * a_ks];

			for (int j = 0; j < LANES; j++) {
				REAL *s = sum + i * LANES + j;

				*s = FMA(a3, b3[j], FMA(a2, b2[j], FMA(a1, b1[j], FMA(a0, b[j], *s))));
			}
		}
	}
	for (; p < k; p++, a += a_ks, b += b_ks)
		for (int i = 0; i < rows; i++)
			for (int j = 0; j < LANES; j++) sum[i * LANES + j] = FMA(a[i * a_rs], b[j], sum[i * LANES + j]);
}

static inline void NAME(run_turned)(int rows, int64_t k, const REAL *a, int64_t a_rs, int64_t a_ks, const REAL *b,
				    int64_t b_ls, int64_t n, REAL *sum)
{
	for (; k > 0; k -= SIDE, a += SIDE * a_ks, b += SIDE) {
		VEC_T r[SIDE];
		REAL block[SIDE * LANES];

		NAME(columns)(r, b, b_ls, n, k);
		for (int p = 0; p < SIDE; p++) V(store)(block + p * LANES, r[p]);
		NAME(run)(rows, k < SIDE ? k : SIDE, a, a_rs, a_ks, block, LANES, sum);
	}
}

static void NAME(any_rows)(int64_t rows, bool turned, int64_t k, const REAL *a, int64_t a_rs, int64_t a_ks,
			   const REAL *b, int64_t b_stride, const REAL *from, int64_t from_rs, REAL *to, int64_t to_rs,
			   bool add, const REAL *bias, int64_t n)
{
	REAL sum[MR * LANES];

	for (int64_t i = 0; i < rows; i++)
		for (int j = 0; j < LANES; j++) sum[i * LANES + j] = from ? from[i * from_rs + (j < n ? j : n - 1)] : 0;
	if (turned) NAME(run_turned)((int)rows, k, a, a_rs, a_ks, b, b_stride, n, sum);
	else if (rows == MR) NAME(run)(MR, k, a, a_rs, a_ks, b, b_stride, sum);
	else NAME(run)((int)rows, k, a, a_rs, a_ks, b, b_stride, sum);
	for (int64_t i = 0; i < rows; i++) {
		for (int j = 0; j < n && bias; j++) sum[i * LANES + j] += bias[j];
		for (int j = 0; j < n; j++)
			to[i * to_rs + j] = add ? to[i * to_rs + j] + sum[i * LANES + j] : sum[i * LANES + j];
	}
}

#define MICRO(rows, vectors, turn, ...) NAME(any_rows)(rows, turn, __VA_ARGS__)

#else

#define PAIR_(a, b) a##b
#define PAIR(a, b) PAIR_(a, b)

/* n lanes of a vector, or all where it is whole. */
VEC VEC_T NAME(get)(const REAL *p, bool whole, int64_t n)
{
	return whole ? V(load)(p) : V(load_n)(p, n, p[n - 1]);
}

VEC void NAME(put)(REAL *p, VEC_T v, bool whole, int64_t n)
{
	if (whole) V(store)(p, v);
	else V(store_n)(p, v, n);
}

/* The row below. The compiler mustn't see through it, or it computes the addresses of all rows at once and runs out
 * of registers. */
VEC REAL *NAME(below)(const REAL *p, int64_t rs)
{
	p += rs;
	__asm__("" : "+r"(p));
	return (REAL *)(uintptr_t)p;
}

/* clang-format off */
#define POINT(i) const REAL *a##i = a + (i) * a_rs;
#define NEXT(i) a##i += a_ks;
#define LOAD_B(i, v, last) VEC_T b##v = V(load)(b + (v) * LANES);
#define COLUMNS(i, v, last) \
	VEC_T r##v[SIDE]; \
	NAME(columns)(r##v, b + (v) * LANES * b_stride, b_stride, (last) ? n : LANES, k);
#define COLUMN(i, v, last) VEC_T b##v = r##v[p];
#define LOAD_BIAS(i, v, last) VEC_T b##v = NAME(get)(bias + (v) * LANES, whole || !(last), n);

#define ZERO(i, three, at, w) EACH_##w(ZERO_1, i)
#define LOAD(i, three, at, w) EACH_##w(LOAD_1, i) from = NAME(below)(from, from_rs);
#define STEP(i, three, at, w) { VEC_T x = V(set1)(a##three[(at) * a_rs]); EACH_##w(STEP_1, i) }
#define BIAS(i, three, at, w) EACH_##w(BIAS_1, i)
#define ADD(i, three, at, w) EACH_##w(ADD_1, i) to = NAME(below)(to, to_rs);
#define STORE(i, three, at, w) EACH_##w(STORE_1, i) to = NAME(below)(to, to_rs);
#define ZERO_1(i, v, last) VEC_T s##i##_##v = V(zero)();
#define LOAD_1(i, v, last) s##i##_##v = NAME(get)(from + (v) * LANES, whole || !(last), n);
#define STEP_1(i, v, last) s##i##_##v = V(fma)(x, b##v, s##i##_##v);
#define BIAS_1(i, v, last) s##i##_##v = V(add)(s##i##_##v, b##v);
#define ADD_1(i, v, last) s##i##_##v = V(add)(NAME(get)(to + (v) * LANES, whole || !(last), n), s##i##_##v);
#define STORE_1(i, v, last) NAME(put)(to + (v) * LANES, s##i##_##v, whole || !(last), n);

/* `what` once with whole vectors only, once with a last one that isn't. */
#define WHOLE_OR_NOT(what) \
	if (n == LANES) { \
		const bool whole = true; \
		what \
	} else { \
		const bool whole = false; \
		what \
	}

#define LOOP(rows, w) \
	for (; k > 0; k--, b += b_stride) { \
		EACH_##w(LOAD_B, 0) \
		ROWS_##rows(STEP, w) \
		THREES_##rows(NEXT) \
	}

/* SIDE steps of B at a time, turned in registers. */
#define LOOP_TURNED(rows, w) \
	for (; k > 0; k -= SIDE, b += SIDE) { \
		EACH_##w(COLUMNS, 0) \
		for (int p = 0; p < SIDE && p < k; p++) { \
			EACH_##w(COLUMN, 0) \
			ROWS_##rows(STEP, w) \
			THREES_##rows(NEXT) \
		} \
	}

#define DEFINE(name, loop, rows, w) \
	static void PAIR(NAME(name), _##rows##x##w)(int64_t k, const REAL *a, int64_t a_rs, int64_t a_ks, const REAL *b, \
						    int64_t b_stride, const REAL *from, int64_t from_rs, REAL *to, \
						    int64_t to_rs, bool add, const REAL *bias, int64_t n) \
	{ \
		THREES_##rows(POINT) \
		ROWS_##rows(ZERO, w) \
		if (from) { \
			WHOLE_OR_NOT(ROWS_##rows(LOAD, w)) \
		} \
		loop(rows, w) \
		if (bias) { \
			WHOLE_OR_NOT(EACH_##w(LOAD_BIAS, 0) ROWS_##rows(BIAS, w)) \
		} \
		if (add) { \
			REAL *first = to; \
\
			WHOLE_OR_NOT(ROWS_##rows(ADD, w)) \
			to = first; \
		} \
		WHOLE_OR_NOT(ROWS_##rows(STORE, w)) \
	}
#define DEFINE_MICRO(rows, w) DEFINE(micro, LOOP, rows, w)
#define DEFINE_TURNED(rows, w) DEFINE(turned, LOOP_TURNED, rows, w)
#define ENTRY(rows, w) [rows] = PAIR(NAME(micro), _##rows##x##w),
#define ENTRY_TURNED(rows, w) [rows] = PAIR(NAME(turned), _##rows##x##w),

#if defined(WEIR_KERN_AVX512)
#define MICROS_1(X) X(1, 1) X(2, 1) X(3, 1) X(4, 1) X(5, 1) X(6, 1) X(7, 1) X(8, 1) X(9, 1) X(10, 1) X(11, 1) X(12, 1) \
	X(13, 1) X(14, 1)
#define MICROS_2(X) X(1, 2) X(2, 2) X(3, 2) X(4, 2) X(5, 2) X(6, 2) X(7, 2) X(8, 2) X(9, 2) X(10, 2) X(11, 2) X(12, 2) \
	X(13, 2) X(14, 2)
#define MICROS_4(X) X(1, 4) X(2, 4) X(3, 4) X(4, 4)
#define MICROS_8(X) X(1, 8) X(2, 8)
#define MICROS_16(X) X(1, 16)
#define TURNED_1(X) X(1, 1) X(2, 1) X(3, 1) X(4, 1) X(5, 1) X(6, 1) X(7, 1) X(8, 1)
#define TURNED_2(X) X(1, 2) X(2, 2) X(3, 2) X(4, 2)
#else
#define MICROS_1(X) X(1, 1) X(2, 1) X(3, 1) X(4, 1) X(5, 1) X(6, 1)
#define MICROS_2(X) X(1, 2) X(2, 2)
#define MICROS_4(X) X(1, 4)
#define MICROS_8(X)
#define MICROS_16(X)
#define TURNED_1(X) X(1, 1) X(2, 1) X(3, 1) X(4, 1)
#define TURNED_2(X) X(1, 2) X(2, 2)
#endif
MICROS_1(DEFINE_MICRO)
MICROS_2(DEFINE_MICRO)
MICROS_4(DEFINE_MICRO)
MICROS_8(DEFINE_MICRO)
MICROS_16(DEFINE_MICRO)
TURNED_1(DEFINE_TURNED)
TURNED_2(DEFINE_TURNED)

/* [vectors][rows] */
static NAME(micro) *const NAME(micros)[17][MR + 1] = {
	[1] = { MICROS_1(ENTRY) }, [2] = { MICROS_2(ENTRY) }, [4] = { MICROS_4(ENTRY) },
#if defined(WEIR_KERN_AVX512)
	[8] = { MICROS_8(ENTRY) },
	[16] = { MICROS_16(ENTRY) },
#endif
};
static NAME(micro) *const NAME(turned_micros)[3][MR + 1] = { [1] = { TURNED_1(ENTRY_TURNED) }, [2] = { TURNED_2(ENTRY_TURNED) } };
/* clang-format on */

#define MICRO(rows, vectors, turn, ...) \
	((turn) ? NAME(turned_micros)[vectors][rows](__VA_ARGS__) : NAME(micros)[vectors][rows](__VA_ARGS__))

#endif

static const unsigned char NAME(widths)[] = { WIDTHS };

/* How many vectors the tile takes that comes next, where so many columns are left. */
static inline int64_t NAME(width)(const weir_gemm_tile *t, int64_t cols)
{
	int64_t v = t->turned ? (t->rows <= TURNED_PAIRS ? 2 : 1) : NAME(widths)[t->rows];

	while (v > 1 && (v - 1) * LANES >= cols) v /= 2;
	return v;
}

/* `cols` of a tile's columns from column `at` on, with so many vectors. Fields are read one by one: a copy of the whole
 * structure would have to wait until the stores that filled it have left the pipeline. */
static void NAME(part)(const weir_gemm_tile *t, int64_t vectors, int64_t at, int64_t cols)
{
	const REAL *from = t->from, *bias = t->bias, *b = (const REAL *)t->b + at * (t->turned ? t->b_stride : 1);

	MICRO(t->rows, vectors, t->turned, t->k, t->a, t->a_rs, t->a_ks, b, t->b_stride, from ? from + at : NULL,
	      t->from_rs, (REAL *)t->to + at, t->to_rs, t->add, bias ? bias + at : NULL, cols - (vectors - 1) * LANES);
}

static void NAME(tile)(const weir_gemm_tile *t)
{
	int64_t at = 0, left = t->cols, vectors, cols;

	for (; left > 0; at += cols, left -= cols) {
		vectors = NAME(width)(t, left);
		cols = left < vectors * LANES ? left : vectors * LANES;
		NAME(part)(t, vectors, at, cols);
	}
}

/* The steps lie next to each other. */
static void NAME(pack_turned)(REAL *dst, int lanes, const REAL *src, int64_t lane_stride, int64_t used, int64_t k)
{
	for (int64_t u = 0; u < used; u += LANES)
		for (int64_t p = 0; p < k; p += SIDE) {
			VEC_T r[SIDE];

			NAME(columns)(r, src + u * lane_stride + p, lane_stride, used - u, k - p);
			for (int i = 0; i < SIDE && p + i < k; i++) V(store)(dst + (p + i) * lanes + u, r[i]);
		}
}

static void NAME(turn)(const weir_gemm_turn *t)
{
	for (int64_t u = 0; u < t->rows; u += LANES) {
		const REAL *from = (const REAL *)t->from + u * t->from_rs, *bias = t->bias;
		int64_t n = t->rows - u < LANES ? t->rows - u : LANES, to_rs = t->to_rs;
		VEC_T b = bias ? V(load_n)(bias + u, n, bias[u + n - 1]) : V(zero)();
		REAL *to = (REAL *)t->to + u;
		bool add = t->add;

		for (int64_t j = 0; j < t->cols; j += SIDE) {
			VEC_T r[SIDE];

			NAME(columns)(r, from + j, t->from_rs, n, SIDE);
			for (int i = 0; i < SIDE && j + i < t->cols; i++, to += to_rs) {
				if (bias) r[i] = V(add)(r[i], b);
				if (add) r[i] = V(add)(V(load_n)(to, n, to[n - 1]), r[i]);
				V(store_n)(to, r[i], n);
			}
		}
	}
}

static void NAME(pack)(void *to, int lanes, const void *from, int64_t lane_stride, int64_t step_stride, int64_t used,
		       int64_t k)
{
	int64_t p = 0, whole = used / LANES * LANES, fill = (used + LANES - 1) / LANES * LANES;
	REAL *dst = to;
	const REAL *src = from;

	if (step_stride == 1) {
		NAME(pack_turned)(dst, lanes, src, lane_stride, used, k);
		return;
	}
	for (; p < k && lane_stride == 1; p++) {
		REAL *y = dst + p * lanes;
		const REAL *x = src + p * step_stride;

		for (int64_t u = 0; u < whole; u += LANES) V(store)(y + u, V(load)(x + u));
		if (whole < used) V(store)(y + whole, V(load_n)(x + whole, used - whole, x[used - 1]));
	}
	for (; p < k; p++)
		for (int64_t u = 0; u < fill; u++)
			dst[p * lanes + u] = src[(u < used ? u : used - 1) * lane_stride + p * step_stride];
}

const weir_gemm_kernel KERN(NAME(gemm)) = {
	.mr = MR,
	.lanes = LANES,
	.widths = NAME(widths),
	.lanes_a = LANES_A,
	.max_k = MAX_K,
	.turned = TURNED_ROWS,
	.tile = NAME(tile),
	.pack = NAME(pack),
	.turn = NAME(turn),
};

#undef SIDE
#undef MICRO
#undef STEPS
#undef PAIR_
#undef PAIR
#undef POINT
#undef NEXT
#undef WHOLE_OR_NOT
#undef LOAD_B
#undef LOAD_BIAS
#undef ZERO
#undef LOAD
#undef STEP
#undef BIAS
#undef ADD
#undef STORE
#undef ZERO_1
#undef LOAD_1
#undef STEP_1
#undef BIAS_1
#undef ADD_1
#undef STORE_1
#undef LOOP
#undef LOOP_TURNED
#undef COLUMNS
#undef COLUMN
#undef DEFINE
#undef DEFINE_MICRO
#undef DEFINE_TURNED
#undef ENTRY
#undef ENTRY_TURNED
#undef TURNED_1
#undef TURNED_2
#undef MICROS_1
#undef MICROS_2
#undef MICROS_4
#undef MICROS_8
#undef MICROS_16
#endif
