/* error.h: the first error sticks. Every error passes weir_fail (a place for a breakpoint). */
#ifndef WEIR_ENGINE_ERROR_H
#define WEIR_ENGINE_ERROR_H

#include <weir/engine.h>

/* The bad tensor of w: what a failed call returns; reads as NaN. */
weir_tensor *weir__bad_of(weir_ctx *w);
/* The context that stands in where there is none (NULL operand, weir_open out of memory). */
weir_ctx *weir__nowhere(void);

#endif
