/* reduce.h: sums, norms, largest and smallest, over any axes of strided memory.
 *
 * The order of a sum is fixed by the logical index i (row-major over the reduced axes, whatever the strides) and by nothing
 * else, so the strides, the threads and the instruction set never change a bit:
 *
 *   chunk    elements [4096 c, 4096 (c + 1)); the last one may be short
 *   lane     within a chunk, element i is added to lane i % 16, in the order of i; a lane starts at +0
 *   fold     lanes l and l + 8 are added, then l and l + 4, l and l + 2, l and l + 1: one value per chunk
 *   tree     a run of m > 1 chunks is the sum of its first p and of its other m - p, p the largest power of two below m
 *
 * Lanes, fold and tree are f64 for f32 too, and the result is rounded once. A whole subtree of 2^k chunks can be taken by
 * itself: that is how threads share one long sum. Largest and smallest need no order: they compare integer keys, which are
 * a total order with -0 < +0 and every NaN at the winning end, and are exact when subnormals are flushed.
 */
#ifndef WEIR_KERNELS_REDUCE_H
#define WEIR_KERNELS_REDUCE_H

#include <weir/types.h>

enum { WEIR_LANES = 16, WEIR_CHUNK = 4096 };

/* mean is sum / count, norm is √sumsq; both are right where sum and sumsq overflow or underflow in T. */
typedef enum weir_red {
	WEIR_RED_sum,
	WEIR_RED_mean,
	WEIR_RED_sumsq,
	WEIR_RED_norm,
	WEIR_RED_amax,   /* NaN if there is any; +0 beats -0 */
	WEIR_RED_amin,   /* NaN if there is any; -0 beats +0 */
	WEIR_RED_argmax, /* logical index of the first NaN if there is any, else of the first maximum (+0 = -0) */
} weir_red;

/* y[o] (+)= op over the r axes of x[o, r]. y is contiguous, row-major over the o axes, of type t, or i64 for argmax.
 * Strides count elements and may be 0 or negative; either rank may be 0. mode ADD is y = y + result, a separate addition
 * (not for argmax). t is f32 or f64; sum takes i32 and i64 too (in their own type, modulo 2^32 or 2^64) and u8 (y is i64).
 * Over no elements: sum, sumsq and norm are 0, mean, amax and amin NaN, argmax -1. */
void weir__reduce(weir_red op, weir_dtype t, int orank, const int64_t *oshape, const int64_t *ostride, int rrank,
		  const int64_t *rshape, const int64_t *rstride, const void *x, void *y, weir_dst_mode mode,
		  int threads);

/* Σx² of n contiguous values of f32 or f64. For f64 it is WEIR_RED_sumsq. For f32 it is fast, and not the same bits as
 * WEIR_RED_sumsq: blocks of 128 elements are taken as f32 chains of 8 FMAs per lane, p = fma(x, x, p) from +0, then
 * added to the f64 lanes. A block in which some lane has p outside [1e-25, 1e30], other than a lane of zeros, adds to each
 * lane its 8 squares in f64 instead, one after the other (a square of f32 is exact there). No flags are left behind.
 * (Flushing subnormals can move a lane's last f32 bit: squares below 1e-38 ahead of larger ones may break a rounding tie.) */
double weir__sumsq(weir_dtype t, const void *x, int64_t n, int threads);

/* Is a sum of squares in f64 as good as exact, its squares having neither overflown nor lost bits that count? NaN is what it is. */
static inline bool weir__sumsq_safe(double sum)
{
	return (sum >= 1e-270 && sum <= 1e300) || sum != sum;
}

/* √Σx²: the square root of weir__sumsq, and right at every exponent of f32 and f64: where the f64 sum leaves
 * [1e-270, 1e300], it is taken again on values scaled by a power of two. inf gives inf, NaN gives NaN. */
double weir__norm2(weir_dtype t, const void *x, int64_t n, int threads);

/* Counts over n contiguous values of f32 or f64, by integer compares: right when subnormals are flushed, too. */
void weir__stats(weir_dtype t, const void *x, int64_t n, weir_stats *out, int threads);

/* The fold of one chunk's lanes. */
static inline double weir__fold(const double lane[WEIR_LANES])
{
	double f[8];

	for (int l = 0; l < 8; l++) f[l] = lane[l] + lane[l + 8];
	for (int l = 0; l < 4; l++) f[l] += f[l + 4];
	return (f[0] + f[2]) + (f[1] + f[3]);
}

/* The tree, fed chunk by chunk: after chunk k, as many pairs of equal subtrees close as k + 1 has trailing zeros. */
typedef struct weir_tree {
	double top[64];
	int depth;
	int64_t chunks;
} weir_tree;

/* Empty; the room stays as it is. */
static inline void weir__tree_begin(weir_tree *t)
{
	t->depth = 0;
	t->chunks = 0;
}

static inline void weir__tree_add(weir_tree *t, double chunk)
{
	t->top[t->depth++] = chunk;
	for (int64_t k = ++t->chunks; !(k & 1); k >>= 1) {
		t->depth--;
		t->top[t->depth - 1] += t->top[t->depth];
	}
}

static inline double weir__tree_sum(weir_tree *t)
{
	if (!t->depth) return 0.0;
	for (; t->depth > 1; t->depth--) t->top[t->depth - 2] += t->top[t->depth - 1];
	return t->top[0];
}

#endif
