/* layer_norm.h: layer normalisation over rows, with its gradients.
 *
 * x, y, gy and gx are contiguous [rows, n] of f32 or f64, weight and bias [n]. Per row, all in f64 for f32 too and rounded once:
 *
 *   d_i = x_i - k                          k is x_0 for f32; for f64, whose d_i is not exact, the row's mean as it rounds
 *   v   = (Σd² - (Σd)²/n) / n              the variance. (x_0 - mean)² <= n v, so the difference costs f32 nothing
 *   x̂_i = (d_i - Σd/n) / √(v + eps)
 *   y_i = x̂_i weight_i + bias_i
 *
 * and backward, with g_i = gy_i weight_i:
 *
 *   Σgx̂  = (Σgd - Σg Σd/n) / √(v + eps)    a g d is added in one rounding
 *   gx_i = (g_i - Σg/n - x̂_i Σgx̂/n) / √(v + eps)
 *   gweight = Σ gy x̂,  gbias = Σ gy        over the rows; a gy x̂ is added in one rounding
 *
 * Sums are those of reduce.h: along a row the index is i, over the rows it is the row. Rows of f64 beyond 2^400 or below 2^-400 are
 * scaled by a power of two, so no square leaves the range; f32 has room to spare in f64. inf or NaN in a row makes it NaN. */
#ifndef WEIR_KERNELS_LAYER_NORM_H
#define WEIR_KERNELS_LAYER_NORM_H

#include <stddef.h>
#include <weir/types.h>

/* y may be x. */
void weir__layer_norm(weir_dtype t, int64_t rows, int64_t n, const void *x, const void *weight, const void *bias,
		      double eps, void *y, int threads);

/* Three gradients, each written, added in a rounding of its own, or skipped. */
typedef struct weir_layer_norm_grads {
	weir_dst_mode x_mode, weight_mode, bias_mode;
	void *x, *weight, *bias;
} weir_layer_norm_grads;

/* Bytes of memory that the gradients take on the way. */
size_t weir__layer_norm_workspace(int64_t rows, int64_t n);
/* work: that much, aligned for double. */
void weir__layer_norm_vjp(weir_dtype t, int64_t rows, int64_t n, const void *x, const void *weight, const void *gy,
			  double eps, const weir_layer_norm_grads *g, void *work, int threads);

#endif
