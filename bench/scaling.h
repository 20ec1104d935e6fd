/* scaling.h: curves of time and memory, and their picture. */
#ifndef WEIR_BENCH_SCALING_H
#define WEIR_BENCH_SCALING_H

#include "bench/conductor.h"

enum { SWEEPS = 4, MAX_POINTS = 24 };

typedef struct sweep {
	const char *name, *text, *ask; /* ask: with one %lld */
	int64_t first, last, quick;    /* points; quick: the last that scaling_check() computes */
	int64_t step;                  /* each point is step times the one before; 0: 1, 3, 10, 30, ... */
	double exponent;               /* of the work */
} sweep;

typedef struct point {
	double x, seconds, bytes;
} point;

typedef struct curve {
	const sweep *sweep;
	int n;
	point at[MAX_POINTS];
} curve;

/* A point whose first results are not the reference's ends it: false. */
bool scaling(player *weir, double aim, int repeats, curve *curves);
bool scaling_check(player *weir); /* small points of each curve against the reference; no time is measured */
void scaling_table(FILE *f, const curve *curves); /* Markdown */
bool scaling_svg(const curve *curves, const char *path);

#endif
