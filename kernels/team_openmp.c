/* team_openmp.c: the same as team.c on OpenMP's threads: the default, as programs may have a team of these already. The only file with OpenMP's pragmas.
 *
 * libgomp ends the process when it can't make threads, so before the first region of a size the workers are made once by hand. */
#include <limits.h>
#include <omp.h>
#include <stdatomic.h>

#include "kernels/fpenv.h"
#include "kernels/team.h"

weir_thread_create_fn *weir__thread_create = pthread_create;

/* Teams of up to proven can be had, from refused on they can't. */
static _Thread_local int proven = 1, refused = INT_MAX;
static _Thread_local bool inside;

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

bool weir__team_of(int threads)
{
	if (threads <= proven) return true;
	if (threads >= refused) return false;
	if (try_threads(threads - 1)) proven = threads;
	else refused = threads;
	return threads <= proven;
}

int weir__team_refused(void)
{
	return refused == INT_MAX ? 0 : refused;
}

bool weir__team_inside(void)
{
	return inside || omp_in_parallel();
}

weir_region_times weir__team_run(const weir_region *r)
{
	weir_region_times t = { .begun = weir__clock() };
	weir_fp_state mode = weir__fp_save();
	atomic_uint raised = 0;
	int64_t done = 0;

#pragma omp parallel num_threads(r->pieces) default(none) shared(r, mode, raised, done)
	{
		weir_fp_state own = weir__fp_save();
		unsigned flags;

		weir__fp_adopt(mode);
		inside = true;
		/* The host may have limited the team (OMP_THREAD_LIMIT): every piece is run whatever its size. */
		for (int i = omp_get_thread_num(); i < r->pieces; i += omp_get_num_threads()) {
			weir_piece p = weir__piece(r, i);

			weir__run_piece(&p);
		}
		inside = false;
		flags = weir__fp_flags();
		if (flags) atomic_fetch_or_explicit(&raised, flags, memory_order_relaxed);
		weir__fp_leave(own);
		if (omp_get_thread_num() == 0) done = weir__clock();
	}
	weir__fp_raise(atomic_load_explicit(&raised, memory_order_relaxed));
	t.done = done;
	t.end = weir__clock();
	return t;
}

int64_t weir__team_ping(const weir_region *empty)
{
	weir_region_times t = weir__team_run(empty);

	return t.end - t.begun;
}
