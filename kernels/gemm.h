/* gemm.h: C = A B, with bias, activation and accumulation in the same pass.
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

/* Bytes that weir__gemm needs for this product, aligned to 64; 0 is possible. t is WEIR_F32 or WEIR_F64.
 * Depends on the sizes, the strides, mode and threads alone. */
size_t weir__gemm_workspace(weir_dtype t, const weir_gemm *g, int threads);

/* Does it. Runs on fewer threads where the product is small. */
void weir__gemm(weir_dtype t, const weir_gemm *g, void *workspace, int threads);

/* The same two with the kernels of one instruction set, for tests. */
size_t weir__gemm_workspace_with(const weir_kernels *kernels, weir_dtype t, const weir_gemm *g, int threads);
void weir__gemm_with(const weir_kernels *kernels, weir_dtype t, const weir_gemm *g, void *workspace, int threads);

/* A tile: at most mr x nr elements of C over one block of k. a and b are packed (b may be in place):
 * a[p * lanes_a + i], b[p * b_step + j], where j runs to nr whatever cols is. */
typedef struct weir_gemm_tile {
	int64_t k;
	int64_t rows, cols;
	const void *a;
	const void *b;
	int64_t b_step;
	const void *from; /* the partial sums to go on from, or NULL to start from +0 */
	int64_t from_rs, from_cs;
	void *to;
	int64_t to_rs, to_cs;
	bool add;         /* add to what is there */
	const void *bias; /* or NULL */
	int64_t bias_rs, bias_cs;
} weir_gemm_tile;

typedef struct weir_gemm_kernel {
	int mr, nr;  /* the largest tile */
	int lanes_a; /* mr rounded up: the width of a packed panel of A; that of B is nr */
	int max_k;   /* the longest block of k that keeps a panel of A in the first-level cache */
	void (*tile)(const weir_gemm_tile *t);

	/* dst[p * lanes + u] = src[u * lane_stride + p * step_stride] for p < k and u < used. The lanes from
	 * used to fill repeat the last one: what is computed from them is thrown away, and raises no
	 * exception that a real element doesn't raise. */
	void (*pack)(void *dst, int lanes, const void *src, int64_t lane_stride, int64_t step_stride, int64_t used,
		     int64_t fill, int64_t k);
} weir_gemm_kernel;

#endif
