/* axes.h: what the operations that reduce axes share: sum (and mean), amax, amin, norm.
 *
 * The attribute is the list of axes that vanish. A public function checks axes and builds it (weir__axes_apply), the
 * shape rule reads it, and a gradient rule spreads a tensor of the result's shape back over the operand's
 * (weir__axes_spread). */
#ifndef WEIR_OPS_AXES_H
#define WEIR_OPS_AXES_H

#include "ops/common.h"
#include "kernels/reduce.h"

typedef struct weir_axes_attr {
	int64_t axis[WEIR_MAX_RANK]; /* ascending */
	int64_t count;
	bool keepdim;
	bool mean; /* sum only: divided by the number of elements, before the rounding */
} weir_axes_attr;

extern const weir_field weir__axes_fields[];      /* axes, keepdim */
extern const weir_field weir__axes_mean_fields[]; /* axes, keepdim, mean */

/* Checks x and the n axes (0: all), then applies op. The bad tensor after reporting. */
weir_tensor *weir__axes_apply(const weir_op *op, weir_tensor *x, int n, const int *axes, bool keepdim, bool mean);

bool weir__axes_shape(weir_shaping *s);
/* The same for operations that need at least one element to reduce. what: "a maximum". */
bool weir__axes_shape_nonempty(weir_shaping *s, const char *what);

void weir__axes_forward(weir_tensor *y, weir_red red);
/* The same over data of the shape of y's operand, into out, which is contiguous and of y's shape. */
void weir__axes_reduce(weir_tensor *y, weir_red red, weir_dtype t, const void *data, const int64_t *strides, void *out);

/* g, of y's shape, as a view of the shape of y's operand (repeated along the reduced axes). */
weir_tensor *weir__axes_spread(weir_tensor *y, weir_tensor *g);

/* Strides over the axes of y's operand of a contiguous array of y's shape: 0 along the reduced ones. */
void weir__axes_strides(const weir_tensor *y, int64_t stride[WEIR_MAX_RANK]);

/* How many elements of x make one of y. */
int64_t weir__axes_extent(const weir_tensor *x, const weir_axes_attr *a);

#endif
