/* team.c: a team of workers that stays awake between the regions of a step; in builds with -DWEIR_OPENMP=OFF.
 *
 * Worker i does piece i of each region, the host piece 0. Host and worker speak through two cache lines: `call`, where the host writes a
 * piece and what it is, and `answer`, where the worker writes how far it has come. The state of a call is
 *
 *   IDLE      nothing to do: the worker watches the line for SPIN ns
 *   ASLEEP    nothing to do, and the worker waits to be woken
 *   OFFERED   here is a piece: whoever turns it to IDLE does it, worker or host
 *   QUIT      the worker ends
 *
 * A host that is through with its own piece takes back what no worker has begun. So a worker that gets no processor costs no more than the
 * offer. (With a region of OpenMP the host waits at its end for every thread to have been there, work or no work: on a busy machine that was
 * the larger part of a training step.) */
#include "kernels/team.h"

#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

#include "kernels/fpenv.h"

enum {
	SPIN = 200000, /* ns that a thread watches a line before it sleeps: a few times what waking costs */
	LOOK = 64,     /* looks at it between two at the clock */
	LINE = 64,
};

weir_thread_create_fn *weir__thread_create = pthread_create;

enum { IDLE, ASLEEP, OFFERED, QUIT };

/* Stands on the worker's own stack. */
typedef struct worker {
	struct {
		_Alignas(LINE) atomic_int state;
		unsigned round; /* of the region: even */
		weir_piece piece;
		weir_fp_state mode;
	} call;
	struct {
		_Alignas(LINE) atomic_uint round; /* the last one done; + 1 where the host sleeps until the next */
		unsigned raised;                  /* exception flags */
	} answer;
	_Alignas(LINE) struct worker *next;
	pthread_t thread;
	pthread_mutex_t lock; /* of falling asleep, either side */
	pthread_cond_t woken;
} worker;

/* The team of a host thread. */
typedef struct team {
	worker *first, *last;
	int size;    /* with the host */
	int refused; /* that many could not be had */
	unsigned round;
} team;

static _Thread_local team mine = { .size = 1, .refused = INT_MAX };
static _Thread_local bool inside;

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb");
#endif
}

static void wake(worker *w)
{
	pthread_mutex_lock(&w->lock);
	pthread_cond_signal(&w->woken);
	pthread_mutex_unlock(&w->lock);
}

static int state_of(worker *w)
{
	return atomic_load_explicit(&w->call.state, memory_order_acquire);
}

/* Does the caller get the piece that is offered? */
static bool take(worker *w)
{
	int offered = OFFERED;

	return state_of(w) == OFFERED && atomic_compare_exchange_strong(&w->call.state, &offered, IDLE);
}

static void tell(worker *w, int state)
{
	if (atomic_exchange(&w->call.state, state) == ASLEEP) wake(w);
}

/* ---- the worker's side ------------------------------------------------------------------------------------------- */

static void work(worker *w)
{
	unsigned round = w->call.round;

	weir__fp_adopt(w->call.mode);
	weir__run_piece(&w->call.piece);
	w->answer.raised = weir__fp_flags();
	if (atomic_exchange(&w->answer.round, round) & 1) wake(w);
}

static void await_call(worker *w)
{
	int64_t until = 0;
	int idle = IDLE;

	do {
		for (int i = 0; i < LOOK; i++) {
			if (state_of(w) != IDLE) return;
			relax();
		}
		if (!until) until = weir__clock() + SPIN;
	} while (weir__clock() < until);
	pthread_mutex_lock(&w->lock);
	if (atomic_compare_exchange_strong(&w->call.state, &idle, ASLEEP))
		while (state_of(w) == ASLEEP) pthread_cond_wait(&w->woken, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

/* What a new worker and its host have to say to each other. */
typedef struct birth {
	worker *w;
	pthread_mutex_t lock;
	pthread_cond_t born;
} birth;

static void *live(void *arg)
{
	birth *b = arg;
	worker w = { .lock = PTHREAD_MUTEX_INITIALIZER, .woken = PTHREAD_COND_INITIALIZER };

	pthread_mutex_lock(&b->lock);
	b->w = &w;
	pthread_cond_signal(&b->born);
	pthread_mutex_unlock(&b->lock);
	inside = true;
	while (state_of(&w) != QUIT) {
		if (take(&w)) work(&w);
		else await_call(&w);
	}
	pthread_mutex_lock(&w.lock); /* until the host has let go of it */
	pthread_mutex_unlock(&w.lock);
	pthread_cond_destroy(&w.woken);
	pthread_mutex_destroy(&w.lock);
	return NULL;
}

/* ---- the host's side --------------------------------------------------------------------------------------------- */

static void offer(team *t, const weir_region *r)
{
	weir_fp_state mode = weir__fp_save();
	worker *w = t->first;

	t->round += 2;
	for (int i = 1; i < r->pieces; i++, w = w->next) {
		w->call.round = t->round;
		w->call.piece = weir__piece(r, i);
		w->call.mode = mode;
		tell(w, OFFERED);
	}
}

static unsigned await_answer(worker *w, unsigned round)
{
	int64_t until = 0;
	unsigned last;

	do {
		for (int i = 0; i < LOOK; i++) {
			if (atomic_load_explicit(&w->answer.round, memory_order_acquire) == round)
				return w->answer.raised;
			relax();
		}
		if (!until) until = weir__clock() + SPIN;
	} while (weir__clock() < until);
	pthread_mutex_lock(&w->lock);
	last = atomic_load(&w->answer.round);
	if (last != round && atomic_compare_exchange_strong(&w->answer.round, &last, last + 1))
		while (atomic_load(&w->answer.round) != round) pthread_cond_wait(&w->woken, &w->lock);
	pthread_mutex_unlock(&w->lock);
	return w->answer.raised;
}

weir_region_times weir__team_run(const weir_region *r)
{
	weir_region_times t = { .begun = weir__clock() };
	weir_piece first = weir__piece(r, 0);
	worker *w = mine.first;
	bool own[WEIR__MAX_THREADS];
	unsigned raised = 0;

	inside = true;
	offer(&mine, r);
	weir__run_piece(&first);
	t.done = weir__clock();
	for (int i = 1; i < r->pieces; i++, w = w->next) {
		own[i] = take(w);
		if (own[i]) weir__run_piece(&w->call.piece);
		t.taken += own[i];
	}
	w = mine.first;
	for (int i = 1; i < r->pieces; i++, w = w->next) {
		if (!own[i]) raised |= await_answer(w, mine.round);
	}
	inside = false;
	if (raised) weir__fp_raise(raised);
	t.end = weir__clock();
	return t;
}

int64_t weir__team_ping(const weir_region *empty)
{
	int64_t begun = weir__clock();
	worker *w = mine.first;

	offer(&mine, empty);
	for (int i = 1; i < empty->pieces; i++, w = w->next) await_answer(w, mine.round);
	return weir__clock() - begun;
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

static pthread_key_t end_of_host;

/* Under the lock, which the worker takes before it ends it: only then is nobody in wake() any more. */
static void quit(worker *w)
{
	pthread_mutex_lock(&w->lock);
	atomic_store(&w->call.state, QUIT);
	pthread_cond_signal(&w->woken);
	pthread_mutex_unlock(&w->lock);
}

/* A child of fork() has the list, but not the threads. */
static void end_team(void *of)
{
	team *t = of;

	while (t->first && !weir__threads_forked()) {
		worker *w = t->first;
		pthread_t thread = w->thread;

		t->first = w->next;
		quit(w);
		pthread_join(thread, NULL);
	}
	*t = (team){ .size = 1, .refused = INT_MAX };
}

static void make_key(void)
{
	pthread_key_create(&end_of_host, end_team);
}

/* Signals are the host's: its handlers don't run on a worker. */
static bool create(pthread_t *thread, birth *b)
{
	sigset_t all, own;
	int failed;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &own);
	failed = weir__thread_create(thread, NULL, live, b);
	pthread_sigmask(SIG_SETMASK, &own, NULL);
	return failed == 0;
}

static bool add_worker(team *t)
{
	birth b = { .lock = PTHREAD_MUTEX_INITIALIZER, .born = PTHREAD_COND_INITIALIZER };
	pthread_t thread;

	if (!create(&thread, &b)) return false;
	pthread_mutex_lock(&b.lock);
	while (!b.w) pthread_cond_wait(&b.born, &b.lock);
	pthread_mutex_unlock(&b.lock);
	b.w->thread = thread;
	*(t->last ? &t->last->next : &t->first) = b.w;
	t->last = b.w;
	t->size++;
	return true;
}

bool weir__team_of(int threads)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	team *t = &mine;

	if (threads >= t->refused) return false;
	if (threads <= t->size) return true;
	pthread_once(&once, make_key);
	pthread_setspecific(end_of_host, t);
	while (t->size < threads && add_worker(t)) continue;
	if (t->size < threads) t->refused = threads;
	return t->size >= threads;
}

int weir__team_refused(void)
{
	return mine.refused == INT_MAX ? 0 : mine.refused;
}

#if defined(__GNUC__) && defined(__ELF__)
extern int omp_in_parallel(void) __attribute__((weak)); /* there where the host uses OpenMP */
#else
#define omp_in_parallel ((int (*)(void))NULL)
#endif

bool weir__team_inside(void)
{
	return inside || (omp_in_parallel && omp_in_parallel());
}
