/* random.c: the context's random numbers. Number i of stream s under a seed is a function of (seed, s, i) alone; the generator and the
 * normal distribution stand in kernels/body_random.c. */
#include "engine/random.h"

#include "engine/context.h"
#include "kernels/cpu.h"

enum { SOME = 256 };

uint64_t weir_random_stream(weir_ctx *w)
{
	return weir_ok(w) ? w->streams++ : 0;
}

uint64_t weir_random_bits(const weir_ctx *w, uint64_t stream, uint64_t index)
{
	uint64_t two[2];

	weir__kernels()->random_blocks(two, w->options.seed, stream, index >> 1, 1);
	return two[index & 1];
}

/* The tails' numbers hang on no mode: gradual underflow, as everywhere in IEEE arithmetic. */
void weir__random_numbers(const weir_ctx *w, uint64_t stream, uint64_t first, weir_draw draw, double *out, int64_t n)
{
	const weir_kernels *kernels = weir__kernels();
	weir_fp_state saved = weir__fp_enter(true);

	(draw == WEIR_DRAW_NORMAL ? kernels->random_normal : kernels->random_uniform)(out, w->options.seed, stream,
										      first, n);
	for (int64_t i = 0; i < n && draw == WEIR_DRAW_SYMMETRIC; i++) out[i] = 2 * out[i] - 1;
	weir__fp_leave(saved);
}

/* Numbers drawn one by one come in runs: from the second of a stream's numbers in order on, the thread draws the next ones with it, as an array. What
 * a number is hangs on no run, so runs need no care: neither where a stream is left, nor where it is drawn from by several threads. */
enum { RUN = 64 };

typedef struct run {
	uint64_t seed, stream, first;
	int n; /* 0: nothing drawn yet */
	double x[RUN];
} run;

static double draw_one(const weir_ctx *w, uint64_t stream, uint64_t index, weir_draw draw)
{
	static _Thread_local run of[2][2]; /* of two distributions, and of two streams that are drawn from by turns */
	run *r = &of[draw == WEIR_DRAW_NORMAL][stream & 1];
	bool same = r->n && r->stream == stream && r->seed == w->options.seed;
	uint64_t at = index - r->first;

	if (!same || at >= (uint64_t)r->n) {
		bool next = same && at == (uint64_t)r->n && index <= UINT64_MAX - RUN;

		r->n = !next ? 1 : 4 * r->n < RUN ? 4 * r->n : RUN;
		r->seed = w->options.seed;
		r->stream = stream;
		r->first = index;
		weir__random_numbers(w, stream, index, draw, r->x, r->n);
		at = 0;
	}
	return r->x[at];
}

double weir_random_uniform(const weir_ctx *w, uint64_t stream, uint64_t index)
{
	return draw_one(w, stream, index, WEIR_DRAW_UNIFORM);
}

double weir_random_normal(const weir_ctx *w, uint64_t stream, uint64_t index)
{
	return draw_one(w, stream, index, WEIR_DRAW_NORMAL);
}

void weir__random_fill(weir_tensor *t, uint64_t stream, weir_draw draw, double a, double b)
{
	double x[SOME];
	weir_cast_fn *round = weir__kernels()->cast[WEIR_F64][t->dtype];

	for (int64_t at = 0; at < t->numel; at += SOME) {
		int64_t n = t->numel - at < SOME ? t->numel - at : SOME;

		weir__random_numbers(t->ctx, stream, (uint64_t)at, draw, x, n);
		for (int64_t i = 0; i < n; i++) x[i] = a + b * x[i];
		round((char *)weir__at(t) + (size_t)at * weir__size_of(t->dtype), x, n);
	}
}
