/* threads.c: how a loop is cut, and where its pieces run. See threads.h; the threads themselves are team.h's, and whether they pay
 * is gate.h's to know. */
#include "kernels/threads.h"

#include <stdatomic.h>
#include <time.h>

#include "kernels/gate.h"

_Thread_local weir_region_watch *weir__region_watch = NULL;

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
	if (p->time) *p->time = (weir_piece_time){ .thread = &serial, .begin = weir__clock() };
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

void weir__threads_turn(void)
{
	if (!free_to_run()) return;
	weir__gate_enter();
	weir__gate_turn();
}

unsigned weir__parallel(int threads, int64_t n, int64_t grain, weir_task_fn *fn, void *arg)
{
	weir_region r = { .n = n, .grain = grain < 1 ? 1 : grain, .fn = fn, .arg = arg };
	weir_region_watch *watch = weir__region_watch;
	weir_region_times t;

	if (n <= 0) return 0;
	r.pieces = threads < 1 ? 1 : threads > WEIR__MAX_THREADS ? WEIR__MAX_THREADS : threads;
	r.grains = n / r.grain + (n % r.grain != 0);
	if (free_to_run()) weir__gate_enter();
	if (!side_by_side(&r)) {
		run_serially(&r);
		return 1;
	}
	weir__gate_team(r.pieces);
	r.times = watch ? watch->piece : NULL;
	t = weir__team_run(&r);
	if (watch) watch->seen(watch, r.pieces);
	weir__gate_learn(&t, r.pieces);
	return (unsigned)r.pieces;
}
