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
	int64_t fold;    /* number of the fold that it is drawn in, or -1 */
	int64_t drawn_to,
		drawn_from; /* the last fold that an edge from here, or to here, was drawn to or from; or -1 */
} weir__dot_place;

/* Alike blocks drawn as one box. */
typedef struct weir__dot_fold {
	int64_t first, last; /* nodes */
	int64_t times;       /* how often the pattern is repeated in there */
} weir__dot_fold;

typedef struct weir__dot_folds {
	weir__dot_fold *list;
	int64_t count, capacity;
} weir__dot_folds;

/* On the picture are the recorded nodes of the forward pass. */
static inline bool weir__dot_shown(const weir_tensor *t)
{
	weir_node_info info = weir_node(t);

	return t && info.recorded && !info.order;
}

/* Fills places of nodes 0 .. n - 1. */
void weir__dot_places(const weir_ctx *w, weir__dot_place *at, int64_t n);
/* Fills fold of places 0 .. n - 1, and f, whose list goes back to the pool: runs of at least `least` alike blocks. bad[i]: node i holds
 * an inf or NaN. False after an error. */
bool weir__dot_find_folds(weir_ctx *w, weir__dot_place *at, const bool *bad, int64_t n, int64_t least,
			  weir__dot_folds *f);

#endif
