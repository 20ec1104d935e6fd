/* backward.h: reverse accumulation, the one loop that everything differentiable goes through. */
#ifndef WEIR_ENGINE_BACKWARD_H
#define WEIR_ENGINE_BACKWARD_H

#include "engine/context.h"

/* What one pass is asked for. */
typedef struct weir_request {
	weir_tensor *const *ys; /* seeds: gradient gys[i] enters at ys[i] */
	weir_tensor *const *gys;
	int ny;
	weir_tensor *const *xs; /* whose gradients are wanted; none: accumulate into parameters */
	int nx;
	weir_tensor **gxs; /* results; NULL where y does not depend on xs[i] */
	bool graph;        /* record the pass */
	bool no_hooks;
	bool tangent; /* half of a Jacobian-vector product: its gradients are nobody's */
	const char *who;
} weir_request;

/* False after reporting. Results are tensors of the tape. */
bool weir__backward(weir_ctx *w, const weir_request *r);

#endif
