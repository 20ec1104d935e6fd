/* test_threads.c: regions, their guards, the floating-point mode inside and outside of them, and the choice of
 * an instruction set (above 400 lines for that: kernels/threads.h, fpenv.h and cpu.h are tested here). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernels/cpu.h"
#include "kernels/fpenv.h"
#include "kernels/threads.h"

enum { MANY = 10000 };

typedef struct log_of_pieces {
	unsigned char seen[MANY];
	unsigned char starts[MANY];
	atomic_int calls;
	int64_t grain, n;
	atomic_bool bad;
} log_of_pieces;

static void note(void *arg, int64_t begin, int64_t end)
{
	log_of_pieces *l = arg;

	if (begin >= end || begin % l->grain || (end % l->grain && end != l->n)) atomic_store(&l->bad, true);
	l->starts[begin] = 1;
	for (int64_t i = begin; i < end; i++) l->seen[i]++;
	atomic_fetch_add(&l->calls, 1);
}

typedef struct serial_run {
	log_of_pieces *log;
	int threads;
} serial_run;

static void run_inside(void *arg, int64_t begin, int64_t end)
{
	serial_run *r = arg;

	(void)end;
	if (begin == 0) weir__parallel(r->threads, r->log->n, r->log->grain, note, r->log);
}

/* Every index once, whole grains, and the same pieces whether they run side by side or, inside another
 * region, in turn. */
static void pieces(void **unused)
{
	static const int64_t sizes[] = { 1, 2, 5, 16, 17, 1000, MANY };
	static const int64_t grains[] = { 1, 3, 16, 4096 };
	static log_of_pieces side_by_side, in_turn;

	(void)unused;
	for (int threads = 1; threads <= 9; threads++)
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
			for (size_t g = 0; g < sizeof grains / sizeof *grains; g++) {
				log_of_pieces *both[] = { &side_by_side, &in_turn };

				for (int s = 0; s < 2; s++) {
					memset(both[s], 0, sizeof *both[s]);
					both[s]->grain = grains[g];
					both[s]->n = sizes[i];
				}
				assert_int_equal(weir__parallel(threads, sizes[i], grains[g], note, &side_by_side),
						 sizes[i] > grains[g] ? threads : 1);
				assert_false(side_by_side.bad);
				for (int64_t j = 0; j < sizes[i]; j++) assert_int_equal(side_by_side.seen[j], 1);
				assert_true(side_by_side.calls <= threads);
				weir__parallel(2, 2, 1, run_inside, &(serial_run){ &in_turn, threads });
				assert_memory_equal(side_by_side.starts, in_turn.starts, MANY);
				assert_memory_equal(side_by_side.seen, in_turn.seen, MANY);
			}
	assert_int_equal(weir__parallel(4, 0, 1, note, &in_turn), 0);
}

typedef struct nest {
	atomic_int inner_parallel, pieces_of_inner;
} nest;

static void count_piece(void *arg, int64_t begin, int64_t end)
{
	(void)begin;
	(void)end;
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void nested_task(void *arg, int64_t begin, int64_t end)
{
	nest *n = arg;

	(void)begin;
	(void)end;
	if (weir__parallel(4, 100, 1, count_piece, &n->pieces_of_inner) != 1) atomic_fetch_add(&n->inner_parallel, 1);
}

static void nested_is_serial(void **unused)
{
	static nest n;

	(void)unused;
	assert_int_equal(weir__parallel(2, 2, 1, nested_task, &n), 2);
	assert_int_equal(n.inner_parallel, 0);
	assert_int_equal(n.pieces_of_inner, 8); /* the same four pieces each time */
	assert_int_equal(weir__parallel(3, 3, 1, count_piece, &n.pieces_of_inner), 3);
}

/* Valgrind keeps neither exception flags nor the flush mode: what is about them is skipped there. */
static bool flags_are_kept(void)
{
	volatile double zero = 0, one = 1, result;

	feclearexcept(FE_ALL_EXCEPT);
	result = one / zero;
	(void)result;
	return fetestexcept(FE_DIVBYZERO) != 0;
}

static void raise_in_last(void *arg, int64_t begin, int64_t end)
{
	volatile double zero = 0, one = 1, result;

	(void)begin;
	if (end == *(const int64_t *)arg) result = one / zero;
	(void)result;
}

/* A flag raised in any piece is there afterwards; nothing else is, and what was there before stays. */
static void flags_come_home(void **unused)
{
	int64_t n = 8;
	weir_fp_state saved;

	(void)unused;
	if (!flags_are_kept()) skip();
	saved = weir__fp_enter(true);
	for (int threads = 1; threads <= 8; threads *= 2) {
		weir__fp_clear();
		weir__parallel(threads, n, 1, raise_in_last, &n);
		assert_int_equal(weir__fp_flags(), WEIR_FP_DIVZERO);
		weir__fp_clear();
		weir__fp_raise(WEIR_FP_INVALID);
		weir__parallel(threads, n, 1, raise_in_last, &n);
		assert_int_equal(weir__fp_flags(), WEIR_FP_DIVZERO | WEIR_FP_INVALID);
	}
	weir__fp_leave(saved);
	weir__fp_clear();
}

static void multiply_subnormal(void *arg, int64_t begin, int64_t end)
{
	volatile float tiny = 1e-39f;

	for (int64_t i = begin; i < end; i++) ((float *)arg)[i] = tiny * 0.5f;
}

/* Every worker flushes where the caller does and doesn't where it doesn't. */
static void workers_take_the_mode(void **unused)
{
	float y[8];

	(void)unused;
	if (!flags_are_kept()) skip();
	for (int round = 0; round < 6; round++) {
		bool ieee = round & 1;
		weir_fp_state saved = weir__fp_enter(ieee);

		weir__parallel(4, 8, 1, multiply_subnormal, y);
		weir__fp_leave(saved);
		for (int i = 0; i < 8; i++) {
			uint32_t bits;

			memcpy(&bits, &y[i], 4);
#if defined(WEIR__FP_X86) || defined(WEIR__FP_AARCH64)
			if (ieee) assert_int_not_equal(bits, 0);
			else assert_int_equal(bits, 0);
#else
			assert_int_not_equal(bits, 0);
#endif
		}
	}
}

/* The caller's mode and sticky flags come back bit for bit, whatever they were. */
static void environment_is_restored(void **unused)
{
	static const int rounding[] = { FE_TONEAREST, FE_UPWARD, FE_DOWNWARD };
	volatile double one = 1, tiny = 1e-30;

	(void)unused;
	if (!flags_are_kept()) skip();
	for (int i = 0; i < 12; i++) {
		weir_fp_state saved = weir__fp_save(), before, inside, after;
		int64_t n = 4;

		fesetround(rounding[i % 3]);
		feclearexcept(FE_ALL_EXCEPT);
		if (i & 1) feraiseexcept(FE_INEXACT | FE_UNDERFLOW);
		before = weir__fp_save();
		inside = weir__fp_enter(i & 2);
		assert_int_equal(weir__fp_flags(), 0);
		assert_true(one + tiny == one &&
			    -one - tiny == -one); /* not fegetround(): on x86 it asks the x87 unit */
		weir__parallel(i < 6 ? 1 : 4, n, 1, raise_in_last, &n);
		assert_int_equal(weir__fp_flags(), WEIR_FP_DIVZERO);
		weir__fp_leave(inside);
		after = weir__fp_save();
		assert_memory_equal(&before, &after, sizeof before);
		weir__fp_leave(saved);
	}
}

static double work_result;

static void work(void *arg, int64_t begin, int64_t end)
{
	double *sums = arg;

	for (int64_t i = begin; i < end; i++) {
		double s = 0;

		for (int j = 1; j < 200; j++) s += 1.0 / (double)(i * j + 1);
		sums[i] = s;
	}
}

static double sum_of(int threads)
{
	double sums[64], s = 0;

	weir__parallel(threads, 64, 1, work, sums);
	for (int i = 0; i < 64; i++) s += sums[i];
	return s;
}

/* A child of fork() has no team: it computes serially, to the same result, and ends by itself. */
static void forked_child_ends(void **unused)
{
	struct timespec pause = { 0, 10000000 };
	int status = 0;
	pid_t child, ended = 0;

	(void)unused;
	work_result = sum_of(2);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		double s = sum_of(2);

		_exit(weir__threads_forked() && memcmp(&s, &work_result, sizeof s) == 0 ? 0 : 1);
	}
	for (int i = 0; i < 1000 && ended == 0; i++) {
		ended = waitpid(child, &status, WNOHANG);
		if (ended == 0) nanosleep(&pause, NULL);
	}
	if (ended == 0) {
		kill(child, 9);
		waitpid(child, &status, 0);
		fail_msg("the child of fork() did not end within 10 s");
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_false(weir__threads_forked());
	assert_int_equal(weir__parallel(2, 64, 1, work, (double[64]){ 0 }), 2);
}

static void *host(void *arg)
{
	for (int i = 0; i < 50; i++) {
		double s = sum_of(1 + i % 4);

		if (memcmp(&s, &work_result, sizeof s) != 0 || weir__kernels() == NULL)
			atomic_store((atomic_bool *)arg, true);
	}
	return NULL;
}

static void many_host_threads(void **unused)
{
	pthread_t hosts[8];
	atomic_bool bad = false;

	(void)unused;
	work_result = sum_of(1);
	for (int i = 0; i < 8; i++) assert_int_equal(pthread_create(&hosts[i], NULL, host, &bad), 0);
	for (int i = 0; i < 8; i++) pthread_join(hosts[i], NULL);
	assert_false(bad);
}

static bool in_openmp;

/* Stands in for that of the OpenMP that a host may use. */
int omp_in_parallel(void);
int omp_in_parallel(void)
{
	return in_openmp;
}

static void serial_in_openmp(void **unused)
{
	atomic_int count = 0;

	(void)unused;
	in_openmp = true;
	assert_int_equal(weir__parallel(2, 100, 1, count_piece, &count), 1);
	in_openmp = false;
	assert_int_equal(weir__parallel(2, 100, 1, count_piece, &count), 2);
	assert_int_equal(count, 4);
}

#if defined(__linux__) && defined(WEIR_OWN_TEAM)

static int tasks(void)
{
	int n = 0;
	DIR *d = opendir("/proc/self/task");

	while (d && readdir(d)) n++;
	if (d) closedir(d);
	return n;
}

static void *host_of_five(void *most)
{
	assert_int_equal(weir__parallel(5, 64, 1, work, (double[64]){ 0 }), 5);
	*(int *)most = tasks();
	return NULL;
}

/* The workers of a host thread end with it, where they are the library's own. */
static void team_ends(void **unused)
{
	struct timespec pause = { 0, 1000000 };
	int before = tasks(), most = 0;
	pthread_t thread;

	(void)unused;
	assert_int_equal(pthread_create(&thread, NULL, host_of_five, &most), 0);
	pthread_join(thread, NULL);
	assert_in_range(most, before + 5, before + 5);
	for (int i = 0; i < 10000 && tasks() > before; i++) nanosleep(&pause, NULL);
	assert_int_equal(tasks(), before);
}

#endif

/* Piece 1 begins before piece 0 ends, and takes much longer, however long that took. */
typedef struct delay {
	atomic_bool begun, ended;
	struct timespec start;
} delay;

static int64_t since(const struct timespec *start)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)(t.tv_sec - start->tv_sec) * 1000000000 + t.tv_nsec - start->tv_nsec;
}

static void delayed(void *arg, int64_t begin, int64_t end)
{
	delay *d = arg;
	int64_t until;

	(void)end;
	if (begin == 0) {
		while (!atomic_load(&d->begun)) sched_yield();
		atomic_store(&d->ended, true);
		return;
	}
	atomic_store(&d->begun, true);
	while (!atomic_load(&d->ended)) sched_yield();
	until = 3 * since(&d->start) + 20000000;
	while (since(&d->start) < until) nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
}

/* A region that waited for a worker in vain makes the next ones serial, for a while; a gate that a test has set is above that. */
static void lost_processor(void **unused)
{
	double gate = weir__threads_gate;

	(void)unused;
	weir__threads_gate = 0;
	for (int i = 0; i < 2; i++) {
		delay d = { .begun = false };

		/* a rest ends by itself, in a program, too, that runs no region while it lasts */
		while (weir__threads_for(2, 1e300) == 1) nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
		assert_int_equal(weir__threads_for(1, 1e300), 1);
		assert_int_equal(weir__threads_for(2, 0), 1);
		clock_gettime(CLOCK_MONOTONIC, &d.start);
		assert_int_equal(weir__parallel(2, 2, 1, delayed, &d), 2);
		assert_int_equal(weir__threads_for(2, 1e300), 1);
		weir__threads_gate = 10;
		assert_int_equal(weir__threads_for(2, 10), 2);
		assert_int_equal(weir__threads_for(2, 9), 1);
		weir__threads_gate = 0;
	}
	weir__threads_gate = gate;
}

/* A turn of the host: work of that size, after which more is to do where it was shared, or where it was not. */
static int turn(double work, bool shared_is_longer)
{
	atomic_int count = 0;
	int threads = weir__threads_for(2, work);

	weir__parallel(threads, 2, 1, count_piece, &count);
	if ((threads > 1) == shared_is_longer) nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
	weir__threads_turn();
	return threads;
}

/* Until ten of twelve turns have run on so many threads; other work in between, if any, takes as long either way. */
static void turns_until(int threads, double work, double between, bool shared_is_longer)
{
	for (int seen = 0; seen < 10;) {
		seen = 0;
		for (int i = 0; i < 12; i++) {
			seen += turn(work, shared_is_longer) == threads;
			weir__threads_for(2, between);
			if (between > 0) weir__threads_turn();
		}
	}
}

/* What makes turns shorter is found out and kept, for each size of work, whatever an empty region costs; and found out again when it changes.
 * Each of these ends, or the test does not. */
static void turns_decide(void **unused)
{
	double gate = weir__threads_gate;

	(void)unused;
	/* little work: where it adds up to much, the team is timed again, and all begins anew if that took longer by far */
	weir__threads_gate = 0;
	turns_until(1, 8e6, 0, true);
	turns_until(2, 8e6, 0, false);
	turns_until(1, 1e6, 0, true);
	weir__threads_gate = gate;
}

static atomic_int allowed, made;

static int limited_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	if (atomic_fetch_sub(&allowed, 1) <= 0) return EAGAIN;
	atomic_fetch_add(&made, 1);
	return pthread_create(thread, attr, start, arg);
}

typedef struct refusal {
	unsigned ran[6];
	int degraded[6];
	int made[6];
} refusal;

static void *refused_host(void *arg)
{
	static const int asked[] = { 2, 6, 8, 4, 2, 3 };
	refusal *r = arg;

	for (int i = 0; i < 6; i++) {
		atomic_int count = 0;

		atomic_store(&allowed, 3);
		atomic_store(&made, 0);
		r->ran[i] = weir__parallel(asked[i], 100, 1, count_piece, &count);
		r->degraded[i] = weir__threads_degraded();
		r->made[i] = atomic_load(&made);
		if (count != asked[i]) r->ran[i] = 99;
	}
	return NULL;
}

/* Three more threads can be had at a time. Regions of more run serially, and say so; smaller ones still run in parallel; what could not be
 * had is not tried again. */
static void refused_threads(void **unused)
{
	static const unsigned ran[] = { 2, 1, 1, 4, 2, 3 };
	static const int degraded[] = { 0, 6, 6, 6, 6, 6 }, tried[] = { 1, 3, 0, 3, 0, 0 };
	pthread_t thread;
	refusal r;

	(void)unused;
	weir__thread_create = limited_create;
	assert_int_equal(pthread_create(&thread, NULL, refused_host, &r), 0);
	pthread_join(thread, NULL);
	weir__thread_create = pthread_create;
	for (int i = 0; i < 6; i++) {
		assert_int_equal(r.ran[i], ran[i]);
		assert_int_equal(r.degraded[i], degraded[i]);
		assert_in_range(r.made[i], 0, tried[i]);
	}
	assert_int_equal(weir__threads_degraded(), 0);
}

/* In a child, as the choice is made once: WEIR_ISA lowers it, and a word without meaning is ignored and remembered. */
static void check_cap(const char *wish, const char *most, bool ignored)
{
	int status = 0;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		const char *want = most;

		setenv("WEIR_ISA", wish, 1);
		if (strcmp(want, "avx512") == 0 && !weir__kernels_for("avx512")) want = "avx2";
		if (strcmp(want, "avx2") == 0 && !weir__kernels_for("avx2")) want = "generic";
		_exit(strcmp(weir__kernels()->isa, want) == 0 && weir__cpu()->isa_ignored == ignored &&
				      strcmp(weir__cpu()->isa_wish, wish) == 0
			      ? 0
			      : 1);
	}
	waitpid(child, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Runs first, before this process has chosen. */
static void isa_cap(void **unused)
{
	(void)unused;
	check_cap("generic", "generic", false);
	check_cap("avx2", "avx2", false);
	check_cap("avx512", "avx512", false);
	check_cap("sse9", "avx512", true);
	check_cap("", "avx512", false);
}

static void isa_names(void **unused)
{
	const weir_cpu *cpu = weir__cpu();

	(void)unused;
	assert_ptr_equal(weir__kernels_for("generic"), &weir__kernels_generic);
	assert_null(weir__kernels_for("sse9"));
	assert_true(!cpu->avx512 || cpu->avx2);
	assert_int_equal(weir__kernels_for("avx2") != NULL, cpu->avx2);
	assert_int_equal(weir__kernels_for("avx512") != NULL, cpu->avx512);
	if (!getenv("WEIR_ISA"))
		assert_string_equal(weir__kernels()->isa, cpu->avx512 ? "avx512" : cpu->avx2 ? "avx2" : "generic");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(isa_cap),
		cmocka_unit_test(pieces),
		cmocka_unit_test(nested_is_serial),
		cmocka_unit_test(flags_come_home),
		cmocka_unit_test(workers_take_the_mode),
		cmocka_unit_test(environment_is_restored),
		cmocka_unit_test(forked_child_ends),
		cmocka_unit_test(many_host_threads),
		cmocka_unit_test(refused_threads),
		cmocka_unit_test(serial_in_openmp),
#if defined(__linux__) && defined(WEIR_OWN_TEAM)
		cmocka_unit_test(team_ends),
#endif
		cmocka_unit_test(lost_processor),
		cmocka_unit_test(turns_decide),
		cmocka_unit_test(isa_names),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
