/* hook.h: calling hooks. */
#ifndef WEIR_ENGINE_HOOK_H
#define WEIR_ENGINE_HOOK_H

#include "engine/context.h"

struct weir_hook {
	weir_ctx *ctx;
	weir_tensor *t; /* NULL: of the context */
	weir_hook_options options;
	bool removed, paused;
	weir_hook *next;
};

/* Runs the backward hooks of node on its final gradient; returns the gradient to go on with (the bad tensor after an error). order: of
 * the gradient. graph: hooks may record. norm: grad's, or NaN where it is not known yet. */
weir_tensor *weir__hooks_backward(weir_tensor *node, weir_tensor *grad, int order, bool graph, double norm);
/* True where a hook on the context wants the norm of every gradient of that order. */
bool weir__hooks_want_norms(const weir_ctx *w, int order);
/* n values were measured beside hooks: that counts as time spent in them. */
void weir__hooks_charge(weir_ctx *w, int64_t n);
/* Runs the forward hooks on a node just computed. */
void weir__hooks_forward(weir_tensor *node, unsigned fp_flags);
/* True where a forward hook wants the exception flags. */
bool weir__hooks_want_flags(const weir_ctx *w);
/* Removes the hooks of tape tensors from index on. */
void weir__hooks_rewind(weir_ctx *w, int64_t index);
void weir__hooks_of_kept(weir_ctx *w, weir_tensor *t); /* removes those of a dropped tensor */
void weir__hooks_free(weir_ctx *w);

#endif
