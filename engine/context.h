/* context.h: what a context holds. */
#ifndef WEIR_ENGINE_CONTEXT_H
#define WEIR_ENGINE_CONTEXT_H

#include "engine/error.h"
#include "engine/memory.h"
#include "engine/scope.h"
#include "engine/tensor.h"
#include "kernels/fpenv.h"

enum { WEIR_MESSAGE = 1024 };

struct weir_ctx {
	weir_options options;
	int threads;

	weir_status status;
	char message[WEIR_MESSAGE];
	char who[64];      /* see weir__who */
	const char *outer; /* the composed function that runs, or NULL */
	weir_tensor *bad;

	weir_memory memory;
	weir_pool pool;
	weir_arena arena[2]; /* headers of this tape and of the one before, so that a stale one can still be told */
	int arena_now;
	weir_arena lasting; /* headers of kept tensors, hooks' and scopes' records */
	void *free_header;  /* dropped kept headers, for reuse after two resets */
	void *dropped[2];

	weir_tensor **tape; /* every tensor since the last reset, NULL where scratch was released */
	int64_t length, capacity;
	uint32_t life; /* number of this tape */
	struct weir_retained {
		weir_tensor *t, *grad; /* weir_retain_grad: of which node, and the gradient or NULL */
	} * retained_list;
	int64_t retained, retained_capacity;

	weir_kept *kept; /* list of kept tensors */
	weir_owned *owned;
	struct weir_hook *hooks; /* of the context, in the order set */
	bool hooks_removed;      /* some wait to be freed */
	double *grad_norm;       /* by tape index, NaN where not measured; see weir_grad_norm */
	int64_t grad_norms, grad_norm_capacity;
	int forward_hooks, backward_hooks; /* how many are set on the context */
	int special_hooks;                 /* how many replace, or are set on a tensor */
	bool hook_clock;
	double hook_seconds; /* spent in hooks while the clock was on */
	double squares_rate; /* seconds per value whose square is taken beside hooks; 0: not tried yet */

	weir_scopes scopes;
	const char *here; /* source line of the outermost call, or NULL */

	int no_grad;
	int in_hook;
	int muted;       /* weir_no_hooks_begin */
	int order;       /* order of nodes made now: 0, or k inside a rule of order k - 1 */
	int32_t rule_of; /* node whose rule runs, or -1 */
	int depth;       /* nesting of public calls, for the floating-point environment */
	weir_fp_state fp;

	struct weir_epilogue *epilogue; /* what the next weir_linear also computes, or NULL; see weir__may_fuse */
	weir_storage *given;            /* value of the next result, computed already, or NULL */

	uint64_t streams;             /* random streams given out */
	struct weir_profile *profile; /* or NULL: see profile.h */
	struct weir_substitution *substitution;
};

/* Around every call that computes: sets the library's floating-point mode, and restores the caller's at the outermost. */
static inline void weir__enter(weir_ctx *w)
{
	if (w->depth++ == 0) w->fp = weir__fp_enter(w->options.ieee_subnormals);
}

static inline void weir__leave(weir_ctx *w)
{
	if (--w->depth == 0) weir__fp_leave(w->fp);
}

/* What weir__usable checks, and that t is of w, without a word: whoever gets false asks the others, which report. The bad tensor has no
 * storage. */
static inline bool weir__ready(const weir_ctx *w, const weir_tensor *t)
{
	return t && t->ctx == w && t->store && (t->life == w->life || t->life == WEIR_LIFE_KEPT);
}

/* Source lines: the outermost place wins. */
static inline const char *weir__here_enter(weir_ctx *w, const char *here)
{
	const char *old = w->here;

	if (!old) w->here = here;
	return old;
}

#endif
