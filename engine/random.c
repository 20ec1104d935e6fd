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

double weir_random_uniform(const weir_ctx *w, uint64_t stream, uint64_t index)
{
	double x;

	weir__random_numbers(w, stream, index, WEIR_DRAW_UNIFORM, &x, 1);
	return x;
}

double weir_random_normal(const weir_ctx *w, uint64_t stream, uint64_t index)
{
	double x;

	weir__random_numbers(w, stream, index, WEIR_DRAW_NORMAL, &x, 1);
	return x;
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
