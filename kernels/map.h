/* map.h: element-wise work on operands of any layout.
 *
 * An operand is a pointer to its first element and one stride per axis, in elements, which may be 0 (broadcast) or negative. Axes that
 * lie together are merged; rows of unit stride go to the vector kernels as they are, other rows through a small buffer on the
 * stack to the same kernels. An element's bits depend on its inputs alone: not on layout, position, neighbours or threads.
 *
 * Rank 0 is one element; an extent of 0 is no work. threads is the most to use: little work runs on one (threads.h).
 * Results must not overlap inputs, except that y may be exactly an input of the same element size and dense layout. */
#ifndef WEIR_KERNELS_MAP_H
#define WEIR_KERNELS_MAP_H

#include <stdint.h>
#include <weir/types.h>

#include "kernels/cpu.h"
#include "kernels/squares.h"
#include "kernels/table.h"

typedef struct weir_strided {
	const void *data;
	const int64_t *stride; /* rank of them, in elements */
} weir_strided;

/* y = f(x[0], x[1], ...), for the kernel id in type t (WEIR_F32 or WEIR_F64); x has as many operands as weir__map_info[id].inputs has
 * letters, each of type t or, for a letter B, u8. y is dense, row-major, of type t, or u8 for a comparison. Mode ADD adds to y, in a
 * rounding of its own; it is not for comparisons. p: the kernel's parameters, or NULL. */
void weir__map(weir_map id, weir_dtype t, int rank, const int64_t *shape, void *y, weir_dst_mode mode,
	       const weir_strided *x, const double *p, int threads);

/* The same, and where s asks for the squares of y, it gets them; those of x[0] too (s->source), if the kernel can. */
void weir__map_squares(weir_map id, weir_dtype t, int rank, const int64_t *shape, void *y, weir_dst_mode mode,
		       const weir_strided *x, const double *p, weir_squares *s, int threads);

/* The same for at most WEIR_FEW elements, dense in every operand, and mode WRITE or ADD: straight to the kernel, because for so few all else costs
 * several times what the work does. */
enum { WEIR_FEW = 256, WEIR_MAP_INPUTS = 3 };
void weir__map_dense_add(weir_map id, weir_dtype t, int64_t n, void *y, const void *const *x, const double *p);
static inline void weir__map_dense(weir_map id, weir_dtype t, int64_t n, void *y, weir_dst_mode mode,
				   const void *const *x, const double *p)
{
	if (mode == WEIR_DST_WRITE) weir__kernels()->map[id][t](y, x, n, p);
	else weir__map_dense_add(id, t, n, y, x, p);
}

/* y = (to)x; y is dense. Floats to integers are truncated and saturated, NaN gives 0; integers to narrower ones are saturated. */
void weir__cast(weir_dtype from, weir_dtype to, int rank, const int64_t *shape, void *y, const weir_strided *x,
		int threads);

/* y = x, bit for bit, any type; y has strides of its own, and no two of its elements may be one. */
void weir__copy(weir_dtype t, int rank, const int64_t *shape, void *y, const int64_t *ystride, const weir_strided *x,
		int threads);

#endif
