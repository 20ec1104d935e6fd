/* tape.h: recording. The tape is an array of tensors in the order they were made; that order is all that backward needs. */
#ifndef WEIR_ENGINE_TAPE_H
#define WEIR_ENGINE_TAPE_H

#include "engine/context.h"

/* What leaves are "made" by: data, and kept tensors or parameters on the tape. */
extern const weir_op weir__op_input, weir__op_param;

/* Puts a header on the tape. False after reporting. */
bool weir__tape_grow(weir_ctx *w);
static inline bool weir__tape_push(weir_ctx *w, weir_tensor *t)
{
	if (w->length == w->capacity && !weir__tape_grow(w)) return false;
	t->index = (int32_t)w->length;
	w->tape[w->length++] = t;
	return true;
}
/* The node that stands for t on this tape: t itself, or the leaf of a kept tensor (made if it is new). */
weir_tensor *weir__operand(weir_ctx *w, weir_tensor *t);
/* The same where that takes no more than a look; else NULL. */
static inline weir_tensor *weir__present_operand(weir_tensor *t)
{
	const weir_kept *k = t->kept;

	if (!(t->flags & WEIR_T_KEPT)) return t;
	if (!k || k->substitute) return NULL;
	if (k->leaf && k->leaf_life == t->ctx->life) return k->leaf;
	return t->ctx->no_grad ? t : NULL;
}
/* The node that stands for t if there is one, without making it. */
weir_tensor *weir__node_of(weir_tensor *t);
/* Releases and forgets what was made since place start but the kept ones; see weir__scratch_end. */
void weir__sweep(weir_ctx *w, int64_t start, weir_tensor *const *keep, int n);
void weir__tape_free(weir_ctx *w);

/* True, after reporting, where w is in error already, or inside a hook. */
bool weir__in_hook(weir_ctx *w, const char *who);

/* What t stands in for has nothing that does from now on, until the substitution ends: t goes. */
void weir__end_substitute(weir_tensor *t);

#endif
