/* softmax.h: softmax, its logarithm and cross entropy over rows, with their gradients.
 *
 * Every array is contiguous: x, y, gx and gy are [rows, n] of f32 or f64. Per row, with m the largest entry:
 *
 *   e_i = exp(x_i - m)      the difference is taken exactly, so a shift of all x changes nothing but its own rounding
 *   s   = k + Σ e_i         k counts the entries equal to m, the sum is over the others: for f32 in the order of reduce.h, in f64;
 *                           for f64 in 16 lanes of two words over the whole row, then reduce.h's fold, so its error is nothing
 *   log s                   as log1p(Σ) when k = 1: a small loss keeps all its digits
 *
 * Special rows, forward and gradient:
 *
 *   -inf entries            probability 0, logarithm -inf, loss +inf when they are the label
 *   all entries -inf        softmax 0, log_softmax -inf, cross entropy +inf; all gradients 0 (no NaN for a fully masked row)
 *   +inf or NaN anywhere    the whole row is NaN
 *
 * A row is one thread's work, the same bits whatever the threads and the instruction set. Mode ADD is gx = gx + result, a
 * separate addition. */
#ifndef WEIR_KERNELS_SOFTMAX_H
#define WEIR_KERNELS_SOFTMAX_H

#include <weir/types.h>

/* y_i = e_i / s. y may be x. */
void weir__softmax(weir_dtype t, int64_t rows, int64_t n, const void *x, void *y, int threads);

/* y_i = (x_i - m) - log s. y may be x. */
void weir__log_softmax(weir_dtype t, int64_t rows, int64_t n, const void *x, void *y, int threads);

/* gx_i = y_i (gy_i - Σ y gy), from softmax's y. gx may be y or gy in mode WRITE. */
void weir__softmax_vjp(weir_dtype t, int64_t rows, int64_t n, const void *y, const void *gy, void *gx,
		       weir_dst_mode mode, int threads);

/* gx_i = gy_i - exp(y_i) Σ gy, from log_softmax's y. gx may be y or gy in mode WRITE. */
void weir__log_softmax_vjp(weir_dtype t, int64_t rows, int64_t n, const void *y, const void *gy, void *gx,
			   weir_dst_mode mode, int threads);

/* loss[row] = log s - (x[label] - m). labels are i32 or i64 (lt) and lie in 0 .. n - 1: checked by the caller. */
void weir__cross_entropy(weir_dtype t, int64_t rows, int64_t n, const void *x, weir_dtype lt, const void *labels,
			 void *loss, int threads);

/* gx_i = (e_i / s - [i = label]) g. g[row * gstep]: gstep is 1, or 0 for one g. The label's own entry is taken from the sum of the
 * others, so it keeps its digits where its probability rounds to 1. gx is none of the inputs. */
void weir__cross_entropy_vjp(weir_dtype t, int64_t rows, int64_t n, const void *x, weir_dtype lt, const void *labels,
			     const void *g, int64_t gstep, void *gx, weir_dst_mode mode, int threads);

#endif
