/* threads.h: the one way to run a loop on several threads.
 *
 * The split is fixed: 0..n is cut into `threads` pieces of whole grains, the same pieces whether they run
 * side by side or one after the other, so a task whose pieces don't touch each other's output gives the same
 * bits either way.
 *
 * A region runs on exactly `threads` threads or serially. Serially when threads is 1 or n is one grain,
 * inside another region, in a child of fork() (libgomp would hang there), and when the threads can't be had:
 * libgomp calls exit(1) in that case, so before the first region of a host thread its workers are made once
 * by hand as a trial. */
#ifndef WEIR_KERNELS_THREADS_H
#define WEIR_KERNELS_THREADS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { WEIR__MAX_THREADS = 256 }; /* a larger number is taken as this one */

typedef void weir_task_fn(void *arg, int64_t begin, int64_t end);

/* Calls fn(arg, begin, end) for each non-empty piece of 0..n, each begin a multiple of grain (1 or more),
 * and returns when all are done. Workers run in the caller's floating-point mode and get their own back;
 * exception flags that they raise are raised in the caller. fn must not leave the region by longjmp. Returns
 * how many threads ran: 1 when serial, 0 when n <= 0. */
unsigned weir__parallel(int threads, int64_t n, int64_t grain, weir_task_fn *fn, void *arg);

/* That number: 4e6. Tests of what threads do lower it. */
extern double weir__threads_gate;

/* The number of threads that a piece of work deserves: `threads`, or 1 where it takes fewer floating-point operations than the gate, some
 * 20 µs. A team that is awake pays from 1e5 on; but where something else wants the processors, each region can cost a time slice: training
 * with products of 1.3e5 took 2.5 times as long on two threads as on one. */
static inline int weir__threads_for(int threads, double flops)
{
	return flops < weir__threads_gate ? 1 : threads;
}

/* 0, or the number of threads that could not be had when the calling host thread asked for them: its regions
 * of that size run serially. */
int weir__threads_degraded(void);

/* True in a child of fork() whose parent had run regions. */
bool weir__threads_forked(void);

/* pthread_create, which the trial calls; a test puts a failing one here. */
typedef int weir_thread_create_fn(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
extern weir_thread_create_fn *weir__thread_create;

#endif
