/* reduce_walk.h: what reduce.c and reduce_walk.c share. Private to the reductions. */
#ifndef WEIR_KERNELS_REDUCE_WALK_H
#define WEIR_KERNELS_REDUCE_WALK_H

#include "kernels/cpu.h"
#include "kernels/reduce.h"

enum {
	WEIR_RED_WIDTH = WEIR_COLUMNS, /* the most outputs in a block */
	WEIR_RED_LEVELS = 16,          /* a block of more than one output has fewer than 2^16 chunks */
	WEIR_RED_PIECE = 512,          /* elements packed at a time */
};

/* The value of a subtree of chunks. */
typedef union weir_part {
	double sum;
	int64_t key;
} weir_part;

/* How outputs are taken: see reduce_walk.c. */
typedef enum weir_red_walk { WEIR_RED_COLUMNS, WEIR_RED_ROWS, WEIR_RED_SINGLE } weir_red_walk;

typedef struct weir_red_job {
	const weir_kernels *k;
	weir_red op;
	weir_dtype t;
	int d; /* index into the kernel table */
	weir_red_walk walk;
	bool keyed, square, fast;
	double scale[2]; /* of a second try: every value is multiplied by one, then by the other */
	int64_t size;    /* bytes of an element */
	int orank, rrank;
	int64_t oshape[WEIR_MAX_RANK], ostride[WEIR_MAX_RANK];
	int64_t rshape[WEIR_MAX_RANK], rstride[WEIR_MAX_RANK];
	int64_t outer, n, chunks;
	int64_t width, across, blocks; /* outputs in a block, blocks along the last axis, and in all */
	const char *x;
	void *y;
	weir_dst_mode mode;
} weir_red_job;

/* Where a walk along the reduced axes stands: p, with `left` elements until the last axis ends. */
typedef struct weir_red_cursor {
	int64_t at[WEIR_MAX_RANK], left;
	const char *p;
} weir_red_cursor;

/* The reduction of cols neighbouring outputs, the first of which starts at base. */
void weir__red_whole(const weir_red_job *j, const char *base, int64_t cols, weir_part *out, int threads);

/* Stands at logical index i of the output at base. */
void weir__red_seek(const weir_red_job *j, weir_red_cursor *c, const char *base, int64_t i);

/* The next elements in contiguous memory, at most n: in place where a run is long enough, else packed into buf, which holds
 * WEIR_RED_PIECE elements. A multiple of 16 unless it is all n, so that the next piece starts at lane 0. */
const void *weir__red_piece(const weir_red_job *j, weir_red_cursor *c, void *buf, int64_t n, int64_t *got);

#endif
