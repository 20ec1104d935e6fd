/* threads.c: how a loop is cut, and whether its pieces run side by side. See threads.h; the threads themselves are team.h's.
 *
 * Whether a region pays is measured. An empty region of the library's own team costs 0.1 µs between processors that share a cache and 0.4 µs
 * between processors that don't, one of OpenMP's 0.25 to 1 µs; and where the signal takes four times as long, so does the data that the pieces
 * hand to each other: the least work worth a region is in proportion to that cost. Where something else wants the processors, a thread can
 * lose its own in the middle of a piece, and the region waits for a time slice. The time lost so is measured too, and regions then rest for
 * many times as long, so that two threads are hardly slower than one on the busiest machine. */
#include "kernels/threads.h"

#include <limits.h>
#include <math.h>
#include <stdatomic.h>
#include <time.h>

#include "kernels/team.h"

enum {
	LATE = 20000,          /* ns that a worker is charged which was woken for nothing */
	DEBT = 500000,         /* ns lost that make regions rest; being cold after a rest costs less */
	CREDIT = 1000000,      /* ns won that make the last rest forgotten, and the most that is counted */
	REST = 32,             /* the rest is so many times what was lost, and twice the last one at least */
	MOST_REST = 200000000, /* ns */
	PINGS = 12,            /* empty regions in a measurement, of which the fastest counts */
	AGAIN = 4096,          /* regions, run or not, until the next */
};

/* The least work of a region, for each ns that an empty one takes. */
static const double WORTH = 9000;
/* The least work of a region anywhere: what makes a team, and has it measured again. */
static const double LEAST = 5e5;

double weir__threads_gate = 0;
_Thread_local weir_region_watch *weir__region_watch = NULL;

/* What a host thread knows of its regions. */
typedef struct experience {
	int pieces;   /* of the team that was timed; 0: none was */
	double least; /* work */
	int until_timed;
	int64_t won; /* ns, against doing the pieces one after the other; negative: lost */
	bool resting;
	int64_t rest, rest_until;
} experience;

static _Thread_local experience mine;
static _Thread_local bool serial;
static atomic_bool forked;

int64_t weir__clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Where piece i begins, and i - 1 ends: grains * i / pieces, without overflow. */
static int64_t cut(const weir_region *r, int i)
{
	int64_t each = r->grains / r->pieces, rest = r->grains % r->pieces;
	int64_t at = each * i + rest * i / r->pieces;

	return at == r->grains ? r->n : at * r->grain;
}

weir_piece weir__piece(const weir_region *r, int i)
{
	return (weir_piece){ r->fn, r->arg, cut(r, i), cut(r, i + 1), r->times ? &r->times[i] : NULL };
}

void weir__run_piece(const weir_piece *p)
{
	if (p->time) *p->time = (weir_piece_time){ .thread = &mine, .begin = weir__clock() };
	if (p->begin < p->end) p->fn(p->arg, p->begin, p->end);
	if (p->time) p->time->end = weir__clock();
}

static void run_serially(const weir_region *r)
{
	bool outer = serial;

	serial = true;
	for (int i = 0; i < r->pieces; i++) {
		weir_piece p = weir__piece(r, i);

		weir__run_piece(&p);
	}
	serial = outer;
}

bool weir__threads_forked(void)
{
	return atomic_load_explicit(&forked, memory_order_relaxed);
}

int weir__threads_degraded(void)
{
	return weir__team_refused();
}

static void after_fork_in_child(void)
{
	atomic_store_explicit(&forked, true, memory_order_relaxed);
}

static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, after_fork_in_child);
}

static bool free_to_run(void)
{
	return !serial && !weir__threads_forked() && !weir__team_inside();
}

static bool side_by_side(const weir_region *r)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (r->pieces == 1 || r->grains == 1 || !free_to_run()) return false;
	pthread_once(&once, watch_forks);
	return weir__team_of(r->pieces);
}

static void nothing(void *arg, int64_t begin, int64_t end)
{
	(void)arg, (void)begin, (void)end;
}

static void time_team(experience *e, int pieces)
{
	weir_region r = { .pieces = pieces, .n = pieces, .grain = 1, .grains = pieces, .fn = nothing };
	int64_t fastest = INT64_MAX;

	for (int i = 0; i < PINGS; i++) {
		int64_t took = weir__team_ping(&r);

		if (took < fastest) fastest = took;
	}
	e->pieces = pieces;
	e->least = WORTH * (double)fastest;
	e->until_timed = AGAIN;
}

/* The pieces are alike, so one after the other they would take what the caller's takes, times their number. */
static void learn(experience *e, const weir_region_times *t, int pieces)
{
	e->won += (t->done - t->begun) * pieces - (t->end - t->begun) - (t->taken ? LATE : 0);
	if (e->won > CREDIT) {
		e->won = CREDIT;
		e->rest = 0;
	} else if (e->won < -DEBT) {
		e->rest = 2 * e->rest > REST * -e->won ? 2 * e->rest : REST * -e->won;
		if (e->rest > MOST_REST) e->rest = MOST_REST;
		e->rest_until = t->end + e->rest;
		e->resting = true;
		e->won = 0;
	}
}

int weir__threads_for(int threads, double flops)
{
	double least = mine.least > LEAST ? mine.least : LEAST;

	if (threads > 1 && flops >= LEAST) mine.until_timed--;
	if (mine.resting) least = (double)INFINITY;
	if (weir__threads_gate > 0) least = weir__threads_gate;
	return flops < least ? 1 : threads;
}

unsigned weir__parallel(int threads, int64_t n, int64_t grain, weir_task_fn *fn, void *arg)
{
	weir_region r = { .n = n, .grain = grain < 1 ? 1 : grain, .fn = fn, .arg = arg };
	weir_region_watch *watch = weir__region_watch;
	weir_region_times t;

	if (n <= 0) return 0;
	if (mine.resting && weir__clock() >= mine.rest_until) mine.resting = false;
	r.pieces = threads < 1 ? 1 : threads > WEIR__MAX_THREADS ? WEIR__MAX_THREADS : threads;
	r.grains = n / r.grain + (n % r.grain != 0);
	if (mine.until_timed <= 0 && mine.pieces && !mine.resting && free_to_run()) time_team(&mine, mine.pieces);
	if (!side_by_side(&r)) {
		run_serially(&r);
		return 1;
	}
	if (mine.pieces < r.pieces) time_team(&mine, r.pieces);
	r.times = watch ? watch->piece : NULL;
	t = weir__team_run(&r);
	if (watch) watch->seen(watch, r.pieces);
	learn(&mine, &t, r.pieces);
	return (unsigned)r.pieces;
}
