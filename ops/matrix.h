/* matrix.h: what the products and the row-wise operations share: tensors as matrices in memory, and one product. */
#ifndef WEIR_OPS_MATRIX_H
#define WEIR_OPS_MATRIX_H

#include "ops/common.h"
#include "kernels/gemm.h"

typedef struct weir_matrix {
	const void *data; /* NULL where there are no elements */
	int64_t rows, columns, row_stride, column_stride;
	void *copy; /* where a copy had to be made */
	size_t copy_size;
} weir_matrix;

/* Tensor [..., n] as a matrix of rows of n, the leading axes in row-major order: its own memory, or a contiguous
 * copy where one row stride doesn't reach all rows. Rank 0 is [1, 1], rank 1 one row. packed: rows must be contiguous
 * and follow each other. False after reporting MEMORY. weir__matrix_free after use. */
bool weir__matrix_of(const weir_tensor *t, bool packed, weir_matrix *m);
void weir__matrix_free(const weir_tensor *t, weir_matrix *m);

static inline weir_matrix weir__turned(const weir_matrix *m)
{
	return (weir_matrix){ .data = m->data,
			      .rows = m->columns,
			      .columns = m->rows,
			      .row_stride = m->column_stride,
			      .column_stride = m->row_stride };
}

/* dst = a · b (+ bias, added to each row, contiguous, or NULL), written or added. */
void weir__product(weir_ctx *w, int dtype, const weir_matrix *a, const weir_matrix *b, const void *bias,
		   const weir_grad_dst *dst);

/* c = a · b (+ bias), and, where e is not NULL, in the same pass e->value = e->act(c); c is contiguous. */
void weir__product_act(weir_ctx *w, int dtype, const weir_matrix *a, const weir_matrix *b, const void *bias, void *c,
		       weir_epilogue *e);

/* The same for each of the matrices that the leading axes of ta and tb number, which are alike; a and b are the first. */
void weir__products(const weir_tensor *ta, const weir_matrix *a, const weir_tensor *tb, const weir_matrix *b, void *c,
		    weir_dst_mode mode);

/* Multiply-adds of the product that made y: its elements times the last axis of the first operand. */
int64_t weir__multiply_adds(const weir_tensor *y);

/* Broadcasts all axes but the last two. False, without reporting, where they do not fit. */
bool weir__broadcast_leading(weir_tensor **a, weir_tensor **b);

/* op, which works along the last axis, along any axis of x: the two change places before and after it. */
weir_tensor *weir__along(const weir_op *op, weir_tensor *x, int axis);

/* t [..., n] as a tensor [rows, n]. */
weir_tensor *weir__flat(weir_tensor *t);

/* [B, classes] of 0, and 1 at the labels. */
weir_tensor *weir__one_hot(weir_tensor *labels, int64_t classes, weir_dtype dtype);

#endif
