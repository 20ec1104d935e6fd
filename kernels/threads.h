/* threads.h: the one way to run a loop on several threads.
 *
 * The split is fixed: 0..n is cut into `threads` pieces of whole grains, the same pieces whether they run
 * side by side or one after the other, so a task whose pieces don't touch each other's output gives the same
 * bits either way, and no choice that hangs on time can change one.
 *
 * Each host thread has a team of its own, made when it first needs one and ended with it. Between the regions of a training step
 * the library's own team stays awake, a fifth of a millisecond at most; then it sleeps (OpenMP's does as its runtime is told).
 * Serially run: one grain, a region inside another region or inside a parallel region of the host's OpenMP, a child of fork(),
 * and where the threads can't be had. */
#ifndef WEIR_KERNELS_THREADS_H
#define WEIR_KERNELS_THREADS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { WEIR__MAX_THREADS = 256 }; /* a larger number is taken as this one */

typedef void weir_task_fn(void *arg, int64_t begin, int64_t end);

/* Calls fn(arg, begin, end) for each non-empty piece of 0..n, each begin a multiple of grain (1 or more),
 * and returns when all are done. Workers run in the caller's floating-point mode; exception flags that they
 * raise are raised in the caller. fn must not leave the region by longjmp. Returns how many threads the pieces were offered to: 1 when
 * serial, 0 when n <= 0. */
unsigned weir__parallel(int threads, int64_t n, int64_t grain, weir_task_fn *fn, void *arg);

/* The number of threads that a piece of work deserves: `threads`, or 1 where the work is too little. flops is the work, in operations of a
 * matrix product at full speed, some 150 in a ns; a loop that is slower counts its own as more. What is enough is measured (gate.c): what a
 * region costs here, and what turns take. Where something else wants the processors, the answer is 1
 * for a while. The answer to one host thread changes only in weir__parallel() and weir__threads_turn(). */
int weir__threads_for(int threads, double flops);

/* A turn of the calling host thread ends, and the next begins: what a program does again and again, a training step. */
void weir__threads_turn(void);

/* 0: as measured. Tests of what threads do set the least number of operations here, and then nothing else counts. */
extern double weir__threads_gate;

/* 0, or the number of threads that could not be had when the calling host thread asked for them: its regions
 * of that size run serially. */
int weir__threads_degraded(void);

/* True in a child of fork() whose parent had run regions. */
bool weir__threads_forked(void);

/* When a piece of a region ran, and on which thread: an address that tells it from the other living ones. */
typedef struct weir_piece_time {
	const void *thread;
	int64_t begin, end; /* of weir__clock() */
} weir_piece_time;

/* Who watches the regions that a host thread runs side by side: fills `piece` while they run, and calls seen(watch, pieces) on the host thread
 * after each. Piece 0 is the host's. NULL: nobody, and no clock is read. */
typedef struct weir_region_watch {
	void (*seen)(struct weir_region_watch *watch, int pieces);
	weir_piece_time piece[WEIR__MAX_THREADS];
} weir_region_watch;
extern _Thread_local weir_region_watch *weir__region_watch;

/* Nanoseconds of a clock that only goes forward. */
int64_t weir__clock(void);

/* pthread_create; a test puts a failing one here. */
typedef int weir_thread_create_fn(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
extern weir_thread_create_fn *weir__thread_create;

#endif
