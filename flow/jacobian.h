/* jacobian.h: a Jacobian dy/dx that is there only as what it makes of vectors: J v and Jᵀ u. */
#ifndef WEIR_FLOW_JACOBIAN_H
#define WEIR_FLOW_JACOBIAN_H

#include "flow/dense.h"

typedef struct jacobian {
	weir_ctx *w; /* where products are made */
	weir_place place;
	int lifted;                      /* regions without recording that were left for as long as this lives */
	weir_tensor *x, *y, *u, *pulled; /* of a piece of tape: pulled = Jᵀ u, recorded */
	weir_tensor *weight, *slope;     /* of a dense layer: f' [rows, out], or NULL */
	bool dense, turned;
	int64_t nx, ny;
	int64_t blocks; /* J is this many independent blocks, x and y one after the other; at least 1 */
	double scale;   /* vectors go in times this power of two, so that what comes out is in the type's range */
	double *room;   /* nx + ny numbers: vectors on their way in */
	size_t room_bytes;
} jacobian;

/* Of any operations from x to y on the present tape, which weir__jacobian_close takes back to where it was. */
bool weir__jacobian_open(jacobian *j, weir_tensor *x, weir_tensor *y);
/* Of a dense layer, by its weights as they are now; computed in c, a context of its own, in f64. False where its values are gone, too. */
bool weir__jacobian_open_dense(jacobian *j, weir_ctx *c, const dense *d, weir_tensor *out);
void weir__jacobian_close(jacobian *j);
/* out = J in, or Jᵀ in. False after an error. */
bool weir__jacobian_apply(jacobian *j, bool transposed, const double *in, double *out);
/* The same, with another scale where the result leaves the range of the type. */
bool weir__jacobian_apply_safely(jacobian *j, bool transposed, const double *in, double *out);
/* Sets blocks, for leading axes along which no element of x reaches another one of y. Found by probing with random vectors that are
 * zero in half of the places, so chosen that any two places are told apart: 2 log₂ n vjps. */
bool weir__jacobian_find_blocks(jacobian *j);
/* √(‖J‖₁ ‖J‖∞), the largest over the blocks; NaN where a block has more than most rows. */
bool weir__jacobian_bound(jacobian *j, int64_t most, double *bound);
/* Can a vjp pass from y to x, and be differentiated? */
bool weir__jacobian_intact(weir_ctx *w, weir_tensor *x, weir_tensor *y);
/* Number i of a fixed sequence, in [-1, 1). */
double weir__flow_noise(uint64_t i);

#endif
