/* gemm.h: C = A B, with bias, activation and accumulation in the same pass. gemm_plan.h carries one out.
 *
 * Every element of the product is one chain of fused multiply-adds from +0 in the order of k, whatever m, n,
 * the strides, the blocking, the instruction set and the number of threads: c[i][j] = fma(a[i][k-1],
 * b[k-1][j], … fma(a[i][0], b[0][j], +0)). Where k is cut into blocks the partial sums are stored and
 * reloaded, which is exact, so the cut doesn't show. Threads share out rows and columns, never k. */
#ifndef WEIR_KERNELS_GEMM_H
#define WEIR_KERNELS_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/types.h>

#include "kernels/squares.h"

/* Strides are in elements, any sign, 0 allowed for a and b: a transposed operand is one whose strides are
 * swapped. k = 0 gives +0. After the chain: + bias[j], then the result is written to c (WRITE), or added to
 * it as a separate addition (ADD), then act_out[i][j] = act(c[i][j]). Nothing that is written may overlap
 * anything else. */
typedef struct weir_gemm {
	int64_t m, n, k;
	const void *a; /* [m, k] */
	int64_t ars, acs;
	const void *b; /* [k, n] */
	int64_t brs, bcs;
	void *c; /* [m, n], rows contiguous */
	int64_t crs;
	weir_dst_mode mode;
	const void *bias; /* [n], or NULL */
	weir_map act;     /* of one input and no parameter, or WEIR_MAP_COUNT for none */
	void *act_out;    /* [m, n], rows contiguous */
	int64_t act_rs;
	weir_squares *
		squares; /* of c, or NULL: taken on the way where c is contiguous and no row of it is cut; else not done */
} weir_gemm;

/* Many products of the same sizes and strides, which differ in where their matrices are: those that g names are the
 * first. Each is what it would be by itself. Threads take whole products where there are enough. */
typedef struct weir_gemm_batch {
	weir_gemm g; /* without activation, bias and squares */
	int rank;    /* at most WEIR_MAX_RANK */
	const int64_t *shape;
	const int64_t *a_stride, *b_stride; /* of each axis, in elements, any sign, 0 allowed */
	int64_t c_stride;                   /* from each product to the next in row-major order */
} weir_gemm_batch;

size_t weir__gemm_batch_workspace(weir_dtype t, const weir_gemm_batch *batch, int threads);
void weir__gemm_batch(weir_dtype t, const weir_gemm_batch *batch, void *workspace, int threads);

/* Tiles side by side: at most mr rows and any number of columns of C, over one block of k. Element (i, p) of A is
 * a[i * a_rs + p * a_ks]. The columns of B lie next to each other, b[p * b_stride + j], and are there up to a whole vector
 * whatever cols is; or, turned, its steps do, b[j * b_stride + p], and only what is asked for is there. */
typedef struct weir_gemm_tile {
	int64_t k;
	int64_t rows, cols;
	const void *a;
	int64_t a_rs, a_ks;
	const void *b;
	int64_t b_stride;
	bool turned;      /* with at most `turned` rows */
	const void *from; /* the partial sums to go on from, or NULL to start from +0 */
	int64_t from_rs;
	void *to;
	int64_t to_rs;
	bool add;         /* add to what is there */
	const void *bias; /* or NULL */
} weir_gemm_tile;

/* Sums of C' = B' A' that are complete, and where they go: to[j * to_rs + i] = from[i * from_rs + j] + bias[i]. Rows of
 * `from` are there up to a whole vector. */
typedef struct weir_gemm_turn {
	int64_t rows, cols;
	const void *from;
	int64_t from_rs;
	void *to;
	int64_t to_rs;
	bool add;
	const void *bias; /* or NULL */
} weir_gemm_turn;

typedef struct weir_gemm_kernel {
	int mr;                      /* rows of the tallest tile */
	int lanes;                   /* of a vector, a power of two */
	const unsigned char *widths; /* [0..mr]: the widest tile of so many rows, in vectors: powers of two */
	int turned;                  /* so many rows can do with a B that is turned in registers */
	int lanes_a;                 /* mr rounded up: the width of a packed panel of A */
	int max_k;                   /* the longest block of k that keeps a panel of A in the first-level cache */
	void (*tile)(const weir_gemm_tile *t);

	/* dst[p * lanes + u] = src[u * lane_stride + p * step_stride] for p < k and u < used. Lanes from used
	 * on to a whole vector repeat the last one: what is computed from them is thrown away, and raises no
	 * exception that a real element doesn't raise. */
	void (*pack)(void *dst, int lanes, const void *src, int64_t lane_stride, int64_t step_stride, int64_t used,
		     int64_t k);
	void (*turn)(const weir_gemm_turn *t);
} weir_gemm_kernel;

#endif
