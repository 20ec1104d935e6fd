/* team.h: the threads that a host thread has, as threads.c uses them. Two files make it, and a build has one of them:
 * team_openmp.c, by default, and with -DWEIR_OPENMP=OFF team.c, workers of the library's own. */
#ifndef WEIR_KERNELS_TEAM_H
#define WEIR_KERNELS_TEAM_H

#include <stdint.h>

#include "kernels/threads.h"

/* 0..n, cut into pieces of whole grains. */
typedef struct weir_region {
	int pieces;
	int64_t n, grain, grains;
	weir_task_fn *fn;
	void *arg;
	weir_piece_time *times; /* one for each piece, or NULL */
} weir_region;

/* fn(arg, begin, end), or nothing where begin = end. */
typedef struct weir_piece {
	weir_task_fn *fn;
	void *arg;
	int64_t begin, end;
	weir_piece_time *time; /* to be filled, or NULL */
} weir_piece;

weir_piece weir__piece(const weir_region *r, int i);
void weir__run_piece(const weir_piece *p);

/* Whether the calling thread can have a team of that many, itself included; makes it. Not again once it could not. */
bool weir__team_of(int threads);
int weir__team_refused(void); /* weir__threads_degraded() */

/* Is the calling thread one of a team at work, or of a parallel region of the host's OpenMP? */
bool weir__team_inside(void);

/* What became of a region. */
typedef struct weir_region_times {
	int64_t begun, done, end; /* done: the caller was through with piece 0 */
	int taken;                /* pieces, of the others, that the caller did too */
} weir_region_times;

/* Runs the pieces side by side, on a team that can be had. */
weir_region_times weir__team_run(const weir_region *r);

/* How long a region takes whose pieces are empty, each on a thread of its own: once. */
int64_t weir__team_ping(const weir_region *empty);

#endif
