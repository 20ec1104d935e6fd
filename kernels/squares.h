/* squares.h: the norm of an array, taken while it is being written.
 *
 * A second pass over a gradient that has left the first-level cache costs more than the arithmetic. So whoever writes an array says, stretch by
 * stretch, how far he has come, and the stretch is squared and added up at once. The order is that of weir__sumsq (reduce.h), chunk
 * by chunk, so the bits are those of weir__norm2 on the finished array. */
#ifndef WEIR_KERNELS_SQUARES_H
#define WEIR_KERNELS_SQUARES_H

#include "kernels/cpu.h"
#include "kernels/reduce.h"

/* What is to be measured: n contiguous values of f32 or f64 at y. */
typedef struct weir_squares {
	weir_dtype t;
	const void *y;
	int64_t n;
	double *chunk; /* room for the sum of each chunk: weir__chunks(n) */
	struct weir_squares
		*source; /* NULL, or of the array that y is computed from: a pass that reads all of it may do both */
	bool done;       /* set by who wrote all of y and measured it on the way; */
	bool hidden; /* and by one who did so while he waited for memory: then it cost a quarter of the rate below */
} weir_squares;

static inline int64_t weir__chunks(int64_t n)
{
	return (n + WEIR_CHUNK - 1) / WEIR_CHUNK;
}

/* Does s, which may be NULL, ask for just this array? */
static inline bool weir__squares_of(const weir_squares *s, weir_dtype t, const void *y, int64_t n)
{
	return s && s->y == y && s->n == n && s->t == t;
}

/* One writer's way upward through the chunks that lie in begin..end as a whole. */
typedef struct weir_squares_walk {
	const weir_squares *s;
	int64_t at, end;
	double lane[WEIR_LANES];
} weir_squares_walk;

void weir__squares_begin(weir_squares_walk *k, const weir_squares *s, int64_t begin, int64_t end);
/* All elements below `written` have their final values. */
void weir__squares_upto(weir_squares_walk *k, int64_t written);
/* The chunk around element i, where two ways met inside of it. */
void weir__squares_seam(const weir_squares *s, int64_t i);

/* The norm, when every chunk is there: weir__norm2(y). */
double weir__squares_norm(const weir_squares *s, int threads);

/* Seconds that measuring a value on the way costs, from a short trial: a clock around each stretch would cost more than the stretch. */
double weir__squares_rate(void);

#endif
