/* dot.h: where the nodes of a tape stand in its picture. */
#ifndef WEIR_FLOW_DOT_H
#define WEIR_FLOW_DOT_H

#include "flow/flow.h"

/* A node is drawn in the cluster of this module: the first length bytes of path, which may be none. */
typedef struct weir__dot_place {
	const char *path;
	size_t length;
	int64_t readers; /* nodes that read it */
	int64_t first;   /* of them */
} weir__dot_place;

/* On the picture are the recorded nodes of the forward pass. */
static inline bool weir__dot_shown(const weir_tensor *t)
{
	weir_node_info info = weir_node(t);

	return t && info.recorded && !info.order;
}

/* Fills places of nodes 0 .. n - 1. */
void weir__dot_places(const weir_ctx *w, weir__dot_place *at, int64_t n);

#endif
