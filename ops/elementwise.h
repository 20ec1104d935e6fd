/* elementwise.h: what the element-wise operations share. */
#ifndef WEIR_OPS_ELEMENTWISE_H
#define WEIR_OPS_ELEMENTWISE_H

#include "ops/common.h"

/* Checks a and b, broadcasts them, and applies op: the whole of a public function of two operands. The bad tensor
 * after reporting. */
weir_tensor *weir__binary(const weir_op *op, weir_tensor *a, weir_tensor *b);

/* Where a slope is infinite and no gradient arrives, 0 · inf would make a NaN of a gradient that nobody asked for:
 * that of where(x > 0, √x, 0) at 0. There the gradient is 0. q is what the plain rule gives: the mask is set where
 * gy is 0 and q is NaN. A rule puts something harmless in the place of its operands there before it computes, so
 * that its own derivatives are finite as well. */
weir_tensor *weir__unasked(weir_tensor *gy, weir_tensor *q);

/* x, but value where the mask is set. */
weir_tensor *weir__put(weir_tensor *mask, double value, weir_tensor *x);

/* x where it is NaN, else other: a gradient says so where it has no side to be on. */
weir_tensor *weir__nan_of(weir_tensor *x, weir_tensor *other);

/* The normal distribution's function Φ and its density φ, of which gelu's gradient is made. */
extern const weir_op weir_op_normal_cdf, weir_op_normal_pdf;
weir_tensor *weir__normal_cdf(weir_tensor *x);
weir_tensor *weir__normal_pdf(weir_tensor *x);

/* g · tanh'(x). */
extern const weir_op weir_op_tanh_vjp;
weir_tensor *weir__tanh_vjp(weir_tensor *g, weir_tensor *x);

#endif
