/* dense.h: layers that are one parameter matrix with element-wise operations behind it, as theory.c and stretch.c want them. */
#ifndef WEIR_FLOW_DENSE_H
#define WEIR_FLOW_DENSE_H

#include "flow/flow.h"

typedef struct dense {
	weir_tensor *product; /* x · Wᵀ (+ b), [..., out] */
	weir_tensor *weight;  /* as the product reads it: [out, in], or [in, out] where turned */
	bool turned;
	weir_tensor *bias; /* parameter, or NULL */
	int64_t in, out;
	bool known;   /* what follows is act, and nothing else */
	weir_act act; /* IDENTITY: nothing follows */
} dense;

/* Is number i's Jacobian, for each row of its input, a matrix and a diagonal one? */
bool weir__flow_dense(const weir_flow *f, int64_t i, dense *d);

#endif
