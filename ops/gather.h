/* gather.h: what gather and scatter_add share: each is the gradient of the other.
 *
 * Both see their tensors as blocks [outer, extent, inner] around the axis, and an index that names places along it. */
#ifndef WEIR_OPS_GATHER_H
#define WEIR_OPS_GATHER_H

#include "ops/shape.h"

/* Checks for the shape rules: x has the axis, index is i32 or i64 of rank 1. */
bool weir__index_shape(weir_shaping *s, int64_t given_axis, int *axis);

/* The index as row-major i64 in scratch memory, each checked to lie in 0 .. extent - 1. NULL after reporting. */
int64_t *weir__index_begin(const weir_tensor *y, const weir_tensor *index, int64_t extent, int axis, size_t *got);

/* to[o, j, i] = from[o, index[j], i] for j < n, in row-major memory; ADD adds it instead. */
void weir__gather_rows(weir_ctx *w, weir_dtype t, weir_blocks from_blocks, const void *from, void *to,
		       const int64_t *index, int64_t n, weir_dst_mode mode);
/* to[o, index[j], i] += from[o, j, i] for j < n, in the order of j. */
void weir__scatter_rows(weir_ctx *w, weir_dtype t, weir_blocks to_blocks, const void *from, void *to,
			const int64_t *index, int64_t n);

#endif
