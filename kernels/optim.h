/* optim.h: one step of an optimiser over contiguous memory, in one pass.
 *
 * Both kernels read g, w and the states and write w and the states, element by element, in the type of the parameter; hyper-parameters are
 * f64 and rounded once. Where the gradients are clipped, g is what weir__clip_TYPE_ISA() would leave. The results may be the memory that was read. largest gets
 * the largest magnitude written to w_out, s_out[0] and s_out[1], NaN where one is written, so that the next step knows its operands without reading them. */
#ifndef WEIR_KERNELS_OPTIM_H
#define WEIR_KERNELS_OPTIM_H

#include <stdbool.h>
#include <stdint.h>

/* SGD, v = s[0], which is NULL without momentum:
 *
 *   g ← g + decay w
 *   v ← first ? g : keep1 v + gain1 g             keep1 is the momentum, gain1 is 1 - dampening
 *   d = nesterov ? g + keep1 v : v                without momentum: g
 *   w ← shrink w - rate d
 *
 * Adam, m = s[0], r = s[1]:
 *
 *   g ← g + decay w
 *   m ← keep1 m + gain1 g
 *   r ← √(keep2 r² + gain2 g²)                    computed scaled where a square would overflow or underflow
 *   w ← shrink w - rate m / (root r + eps)        0 / 0 is 0 */
typedef struct weir_update {
	const void *g, *w, *s[2];
	void *w_out, *s_out[2];
	double decay, shrink, rate, keep1, gain1, keep2, gain2, root, eps;
	double norm, limit; /* of all gradients together, and what it may be; norm 0: not clipped */
	bool nesterov, first;
} weir_update;

typedef void weir_update_fn(const weir_update *u, int64_t n, double *largest);

#endif
