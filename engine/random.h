/* random.h: random numbers by the array, for initialisers and leaves. */
#ifndef WEIR_ENGINE_RANDOM_H
#define WEIR_ENGINE_RANDOM_H

#include <weir/engine.h>

typedef enum weir_draw {
	WEIR_DRAW_UNIFORM,   /* in [0, 1) */
	WEIR_DRAW_SYMMETRIC, /* in [-1, 1) */
	WEIR_DRAW_NORMAL,
} weir_draw;

/* Numbers first .. first + n - 1 of a stream. */
void weir__random_numbers(const weir_ctx *w, uint64_t stream, uint64_t first, weir_draw draw, double *out, int64_t n);
/* t = a + b · numbers 0, 1, ... of the stream; t is contiguous, f32 or f64. a = -0.0 adds nothing, whatever the signs of zeros. */
void weir__random_fill(weir_tensor *t, uint64_t stream, weir_draw draw, double a, double b);

#endif
