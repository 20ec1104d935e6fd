/* shape.h: what the operations that rearrange have in common. */
#ifndef WEIR_OPS_SHAPE_H
#define WEIR_OPS_SHAPE_H

#include "ops/common.h"

/* A list of extents or axes as an attribute. */
typedef struct weir_extents_attr {
	int64_t extent[WEIR_MAX_RANK];
	int64_t rank;
} weir_extents_attr;

/* Copies the caller's shape. False after reporting. */
bool weir__take_extents(weir_ctx *w, const char *who, int rank, const int64_t *shape, weir_extents_attr *attr);

/* A tensor's elements in row-major order: its own memory, or a copy in scratch memory, to be ended. */
typedef struct weir_dense {
	weir_ctx *ctx;
	const void *data; /* NULL: out of memory, reported; or there are no elements */
	void *scratch;
	size_t got;
} weir_dense;

weir_dense weir__dense_begin(const weir_tensor *t);
void weir__dense_end(weir_dense *d);

/* Strides of row-major memory. */
void weir__dense_strides(int rank, const int64_t *shape, int64_t *stride);

void weir__zero(weir_ctx *w, weir_dtype t, int64_t n, void *data);

/* A tensor as blocks around one axis: [outer, extent, inner]. */
typedef struct weir_blocks {
	int64_t outer, extent, inner;
} weir_blocks;

weir_blocks weir__blocks(int rank, const int64_t *shape, int axis);

/* Where a slice lies in row-major memory of this shape. */
typedef struct weir_place_in {
	int64_t offset; /* of the first element, in elements */
	int64_t stride[WEIR_MAX_RANK];
} weir_place_in;

weir_place_in weir__place_in(int rank, const int64_t *shape, int axis, int64_t begin, int64_t step);

/* The gradient of slice: zeros of extent along axis, with x at begin, begin + step, … */
extern const weir_op weir_op_unslice;
weir_tensor *weir__unslice(weir_tensor *x, int axis, int64_t begin, int64_t step, int64_t extent);

#endif
