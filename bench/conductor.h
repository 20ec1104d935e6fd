/* conductor.h: the parts of the conductor.
 *
 *   bench.c      options, and which row is played when
 *   player.c     a contestant as a running program
 *   reference.c  what the first results of any work must be, in double precision
 *   report.c     medians, ratios; the terminal, JSON, and the tables in docs/performance.md
 *   scaling.c    time and memory against width, batch, depth and nodes; their picture: scaling_svg.c */
#ifndef WEIR_BENCH_CONDUCTOR_H
#define WEIR_BENCH_CONDUCTOR_H

#include "bench/contestant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

enum { MAX_PLAYERS = 16, MAX_REPEATS = 101, THREAD_COUNTS = 2, ONE_THREAD = -1 };

/* ---- player.c ---------------------------------------------------------------------------------------------- */

/* A contestant: a program, and one process of it for each number of threads, started when it is first asked. */
typedef struct player {
	char name[32];      /* of its file */
	char greeting[128]; /* name and version, as it says them; "" before the first start */
	char path[1024];
	pid_t pid;
	FILE *to, *from;
	bool out; /* it does not start, or ended before its time: plays no more */
} player;

bool player_start(player *p, int threads);
void player_stop(player *p);
/* Asks, and returns the answer, valid until the next question; NULL where the player is gone. */
const char *player_ask(player *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool player_begin(player *p, int slot, const char *work);
double player_run(player *p, int slot, int64_t units); /* seconds; NaN where the player is gone */
double player_peak(const player *p); /* bytes of memory it held at most; NaN where the system does not tell */
/* All contestants in the folder peers/ beside `folder`, behind Weir's own; how many. */
int players_find(const char *folder, player *players);

/* ---- reference.c ------------------------------------------------------------------------------------------- */

/* Has the player, which has begun this work, check it, and compares what it answers. Where that is wrong, says so on standard output. */
bool reference_agrees(player *p, int slot, const char *work);

/* ---- report.c ---------------------------------------------------------------------------------------------- */

typedef enum unit { GFLOPS, RATE, MS, NS, TIMES, START, PEAK } unit;

typedef struct row {
	const char *name, *family;
	unit unit;
	double work, floor, goal[THREAD_COUNTS];
	const char *ask, *bare, *text;
} row;

extern const row rows[];
extern const int row_count;

/* What one contestant did in one row: seconds per unit (bytes for PEAK, a ratio for TIMES), one for each repetition. */
typedef struct series {
	int n;
	double sample[MAX_REPEATS];
} series;

typedef struct result {
	const row *row;
	int threads;
	series of[MAX_PLAYERS];
} result;

typedef struct results {
	const player *players;
	int player_count;
	result *list;
	int count;
} results;

void report_row(const results *all, const result *r); /* on standard output */
bool report_json(const results *all, const char *path);
/* Replaces what stands in the file between <!-- bench FAMILY --> and <!-- end -->: write(f, family, user) writes the new text, or returns
 * false and leaves the old. */
bool report_blocks(const char *path, bool (*write)(FILE *f, const char *family, const void *user), const void *user);
bool report_docs(const results *all, const char *path); /* so, the tables of the families that were played */
void report_machine(FILE *f);                           /* "2026-11-22, AMD EPYC" */

#endif
