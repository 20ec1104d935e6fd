/* contestant.h: a contestant is a program that does work on request and says how long it took. Weir's (bench/rows.c) and those of the peers
 * (bench/peers/) speak the same protocol, line by line on standard input and output, and the conductor (bench/bench.c) lets them take
 * turns. A contestant is started with the number of threads as its argument and greets with its name and version. Then:
 *
 *   begin SLOT KIND WORD NUMBERS...   prepares work of a kind; answer "ready", or "no" where it has nothing of that kind
 *   check SLOT                        does the first few units of it; answer: numbers that the conductor compares with its reference
 *   run SLOT UNITS                    answer: seconds that UNITS units took
 *   end SLOT                          answer "ended"
 *
 * The kinds, what a unit is, and what a check answers:
 *
 *   gemm nn|nt|tn M K N               one product [M,K]·[K,N]; nt: the second is stored [N,K], tn: the first [K,M]; SAMPLES elements
 *   train ACT BATCH WIDTHS...         one training step of an MLP: reset, forward, cross-entropy, backward, SGD; the first CHECK_STEPS losses
 *   norms ACT BATCH WIDTHS...         the same with the norm of the gradient at every node taken; losses, then the sum of the parameters' norms
 *   hvp whole|reused BATCH WIDTHS...  Hessian times a vector, of a tanh MLP; reused: forward and gradient stay recorded; SAMPLES elements
 *   adamw clip TENSORS SIZE           clipping of the norm and a step of AdamW; SAMPLES parameters after CHECK_STEPS steps
 *   chain scale|mul NODES             tape of NODES scalar operations: build, forward, backward, free; the derivative
 *   map NAME N                        one pass over N elements; SAMPLES elements of the result
 *
 * All data are datum() of a stream and an index, so every contestant and the reference compute the same thing. */
#ifndef WEIR_BENCH_CONTESTANT_H
#define WEIR_BENCH_CONTESTANT_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SLOTS = 2, MAX_NUMBERS = 10016, SAMPLES = 8, CHECK_STEPS = 2, MAX_VALUES = 16, ROW_LENGTH = 1024 };

/* Streams of data. WEIGHTS and what is behind it are one stream per layer or tensor. */
enum { DATA_X = 1, DATA_A, DATA_B, DATA_GRAD, DATA_WEIGHTS = 100, DATA_VECTOR = 20000, DATA_TENSOR_GRAD = 40000 };

typedef struct ask {
	char kind[16], word[16];
	int64_t n[MAX_NUMBERS];
	int count;
	int threads;
} ask;

typedef struct kind {
	const char *name;
	void *(*begin)(const ask *a);              /* NULL where it has no such work */
	int (*check)(void *state, double *values); /* how many values */
	void (*run)(void *state, int64_t units);
	void (*end)(void *state);
} kind;

/* Reads "KIND WORD NUMBERS...", where 128x51 stands for 51 times 128. */
bool ask_parse(const char *text, int threads, ask *a);

/* Serves until standard input ends. kinds ends with a NULL name. The result is main's. */
int serve(int argc, char **argv, const char *name, const kind *kinds);

/* Uniform in [-1, 1), a multiple of 2⁻²³. */
static inline double datum(uint32_t stream, int64_t index)
{
	uint32_t x = (uint32_t)index * 2654435769u + stream * 2246822519u;

	x = (x ^ (x >> 15)) * 2146121005u;
	x = (x ^ (x >> 12)) * 2221713035u;
	x ^= x >> 15;
	return (double)(x >> 8) / 8388608 - 1;
}

static inline void fill(float *x, int64_t n, uint32_t stream, double scale)
{
	for (int64_t i = 0; i < n; i++) x[i] = (float)(scale * datum(stream, i));
}

/* Where sample number i of an array of n elements stands. */
static inline int64_t sample_at(int i, int64_t n)
{
	return (n - 1) * i / (SAMPLES - 1);
}

/* Weights are uniform in ± this: variance 2/in before ReLU, 1/in before tanh, and 1/(3 in), PyTorch's default, before sigmoid. */
static inline double weight_bound(char act, int64_t in)
{
	return sqrt((act == 'r' ? 6.0 : act == 't' ? 3.0 : 1.0) / (double)in);
}

#define LEARNING_RATE 0.01
#define MOMENTUM 0.9
#define ADAM_RATE 0.001
#define ADAM_DECAY 0.01
/* The norm that step number i (from 0) is clipped to: always below the one before, so that every step clips. */
static inline double clip_to(int64_t step)
{
	return 1000.0 / (double)(step + 1);
}

#ifdef __cplusplus
}
#endif

#endif
