/* gemm_plan.h: how a matrix product is cut. Decided once from sizes and strides (gemm_plan.c), carried out in gemm.c
 * and gemm_batch.c.
 *
 * Letters: m n k as in gemm.h, of the product as it is carried out. A lane is a row of A or a column of B; a step is one
 * of k. */
#ifndef WEIR_KERNELS_GEMM_PLAN_H
#define WEIR_KERNELS_GEMM_PLAN_H

#include "kernels/gemm.h"

typedef struct weir_gemm_operand {
	const char *p;
	int64_t lane, step; /* strides in elements */
} weir_gemm_operand;

typedef struct weir_gemm_plan {
	const weir_gemm_kernel *kernel;
	const weir_gemm *g;
	weir_map_fn *act;
	int64_t size; /* of an element */
	bool flipped; /* done as C' = B' A', and written turned */
	int64_t m, n, k;
	weir_gemm_operand a, b;
	char *c;
	int threads, grid_m, grid_n; /* no threads: there is nothing to do */
	int64_t panel, nr;           /* rows and columns of a tile */
	int64_t kc, nc, mc;          /* blocks */
	bool a_packed;               /* panel by panel */
	bool b_placed;               /* B is read in place but for what doesn't fill a vector */
	bool b_turned;               /* B is read in place and turned on the way */
	bool b_once;     /* a panel of B serves one panel of A: what must be packed is packed just before it is used */
	bool sums_apart; /* partial sums stand in the workspace */
	bool squares;    /* those of C are taken panel by panel */
	size_t a_bytes, b_bytes, sum_bytes; /* of one thread */
	char *workspace;
} weir_gemm_plan;

/* Plans a product, with as many threads as it deserves. Depends on the sizes, the strides, mode, threads and what
 * weir__threads_for() says. g must stay where it is. */
void weir__gemm_plan(weir_gemm_plan *p, const weir_kernels *kernels, weir_dtype t, const weir_gemm *g, int threads);

/* Bytes of workspace that it needs, aligned to 64; 0 is possible. */
static inline size_t weir__gemm_bytes(const weir_gemm_plan *p)
{
	return (size_t)p->threads * (p->a_bytes + p->b_bytes + p->sum_bytes);
}

/* Carries it out. No region may have run since it was planned. */
void weir__gemm_run(weir_gemm_plan *p, void *workspace);

/* Puts other matrices of the same sizes and strides in the place of g's. */
void weir__gemm_point(weir_gemm_plan *p, const void *a, const void *b, void *c);

static inline int64_t weir__min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t weir__ceil_div(int64_t a, int64_t b)
{
	return a / b + (a % b != 0);
}

#endif
