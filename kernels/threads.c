/* threads.c: the only file with OpenMP in it. See threads.h.
 *
 * A region costs one wake of the team: no locks, no queue, one atomic for the exception flags. */
#include "kernels/threads.h"

#include <limits.h>
#include <stdatomic.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "kernels/fpenv.h"

double weir__threads_gate = 4e6;
weir_thread_create_fn *weir__thread_create = pthread_create;

/* What this host thread knows of the teams it can have: sizes up to proven can be had, sizes from refused on
 * can't. */
static _Thread_local int proven = 1, refused = INT_MAX;
static _Thread_local bool inside;
static atomic_bool forked;

typedef struct region {
	int pieces;
	int64_t n, grain, grains;
	weir_task_fn *fn;
	void *arg;
} region;

static void run_piece(const region *r, int piece)
{
	/* grains * piece / pieces without overflow */
	int64_t each = r->grains / r->pieces, rest = r->grains % r->pieces;
	int64_t begin = (each * piece + rest * piece / r->pieces) * r->grain;
	int64_t end = (each * (piece + 1) + rest * (piece + 1) / r->pieces) * r->grain;

	if (end > r->n) end = r->n;
	if (begin < end) r->fn(r->arg, begin, end);
}

static void run_serially(const region *r)
{
	bool outer = inside;

	inside = true;
	for (int i = 0; i < r->pieces; i++) run_piece(r, i);
	inside = outer;
}

bool weir__threads_forked(void)
{
	return atomic_load_explicit(&forked, memory_order_relaxed);
}

int weir__threads_degraded(void)
{
	return refused == INT_MAX ? 0 : refused;
}

#ifdef _OPENMP

static void after_fork_in_child(void)
{
	atomic_store_explicit(&forked, true, memory_order_relaxed);
}

static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, after_fork_in_child);
}

/* A trial worker: stays until all have been made, so that they exist at the same time. */
static void *wait_for_all(void *gate)
{
	pthread_mutex_lock(gate);
	pthread_mutex_unlock(gate);
	return NULL;
}

static bool try_threads(int count)
{
	pthread_t made[WEIR__MAX_THREADS];
	pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	int n = 0;

	pthread_mutex_lock(&gate);
	while (n < count && weir__thread_create(&made[n], NULL, wait_for_all, &gate) == 0) n++;
	pthread_mutex_unlock(&gate);
	for (int i = 0; i < n; i++) pthread_join(made[i], NULL);
	pthread_mutex_destroy(&gate);
	return n == count;
}

/* Whether this host thread can have a team of that size. */
static bool team_to_be_had(int threads)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, watch_forks);
	if (inside || weir__threads_forked() || omp_in_parallel()) return false;
	if (threads <= proven) return true;
	if (threads >= refused) return false;
	if (try_threads(threads - 1)) proven = threads;
	else refused = threads;
	return threads <= proven;
}

static void run_in_parallel(const region *r)
{
	weir_fp_state mode = weir__fp_save();
	atomic_uint raised = 0;

#pragma omp parallel num_threads(r->pieces) default(none) shared(r, mode, raised)
	{
		weir_fp_state own = weir__fp_save();
		unsigned flags;

		weir__fp_adopt(mode);
		inside = true;
		/* The host may have limited the team (OMP_THREAD_LIMIT): every piece is run whatever its
		 * size. */
		for (int i = omp_get_thread_num(); i < r->pieces; i += omp_get_num_threads()) run_piece(r, i);
		inside = false;
		flags = weir__fp_flags();
		if (flags) atomic_fetch_or_explicit(&raised, flags, memory_order_relaxed);
		weir__fp_leave(own);
	}
	weir__fp_raise(atomic_load_explicit(&raised, memory_order_relaxed));
}

#else

static bool team_to_be_had(int threads)
{
	return threads <= proven;
}

static void run_in_parallel(const region *r)
{
	run_serially(r);
}

#endif

unsigned weir__parallel(int threads, int64_t n, int64_t grain, weir_task_fn *fn, void *arg)
{
	region r = { .n = n, .grain = grain < 1 ? 1 : grain, .fn = fn, .arg = arg };

	if (n <= 0) return 0;
	r.pieces = threads < 1 ? 1 : threads > WEIR__MAX_THREADS ? WEIR__MAX_THREADS : threads;
	r.grains = n / r.grain + (n % r.grain != 0);
	if (r.pieces > 1 && r.grains > 1 && team_to_be_had(r.pieces)) {
		run_in_parallel(&r);
		return (unsigned)r.pieces;
	}
	run_serially(&r);
	return 1;
}
