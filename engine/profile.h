/* profile.h: where a step's time goes: spans that nest, told to a context that keeps a profile (weir_profile_begin).
 *
 * What is worth a line of its own puts its work between weir__span_begin() and weir__span_end(). Where no profile is kept, each of the two is one
 * branch. Both are on every way through, also after errors: ends are matched with beginnings by their nesting alone. */
#ifndef WEIR_ENGINE_PROFILE_H
#define WEIR_ENGINE_PROFILE_H

#include "engine/context.h"

typedef enum weir_span_kind {
	WEIR_SPAN_FORWARD,  /* an operation */
	WEIR_SPAN_FUSED,    /* one whose value another made on the way */
	WEIR_SPAN_COMPOSED, /* a function made of operations: what it does between them */
	WEIR_SPAN_GRADIENT, /* an operation's gradient rule */
	WEIR_SPAN_BACKWARD, /* a pass back over the tape: what it does between rules */
	WEIR_SPAN_HOOKS,
	WEIR_SPAN_MODULE,
	WEIR_SPAN_CALL, /* any other call: an optimiser's step, the tape's reset, the next batch */
	WEIR_SPAN_KINDS
} weir_span_kind;

void weir__profile_push(weir_ctx *w);
/* y: the operation's result, whose shapes, source line and cost the event shows (none of a bad tensor); else NULL. need: of a gradient, bit i
 * for operand i. */
void weir__profile_pop(weir_ctx *w, weir_span_kind kind, const char *name, const weir_tensor *y, unsigned need);
/* WEIR_PROFILE: the first context that the process opens keeps a profile. */
void weir__profile_from_environment(weir_ctx *w);

static inline void weir__span_begin(weir_ctx *w)
{
	if (w->profile) weir__profile_push(w);
}

static inline void weir__span_end(weir_ctx *w, weir_span_kind kind, const char *name)
{
	if (w->profile) weir__profile_pop(w, kind, name, NULL, 0);
}

static inline void weir__span_end_of(weir_ctx *w, weir_span_kind kind, const weir_op *op, const weir_tensor *y,
				     unsigned need)
{
	if (w->profile) weir__profile_pop(w, kind, op->name, y, need);
}

#endif
