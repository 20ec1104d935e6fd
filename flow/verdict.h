/* verdict.h: what the files behind the verdict share: the way of the gradient. The rules' thresholds are options.
 *
 *   way.c      the nodes that all of the gradient passes, and where along them it shrinks or grows
 *   side.c     the same for chains of layers beside it
 *   slope.c    slope over depth, total gain, bound, depth budget
 *   cause.c    which factor is to blame, in words
 *   verdict.c  the rules in their order */
#ifndef WEIR_FLOW_VERDICT_H
#define WEIR_FLOW_VERDICT_H

#include "engine/text.h"
#include "flow/flow.h"

/* A node that all of the gradient passes on its way from the loss to the first layer's input, and what stands between it and the
 * one before. */
typedef struct waist {
	int64_t node;
	double bits;         /* log₂ of the gradient's norm; a number below every other where it is zero */
	double gain;         /* log₂ of what it is multiplied by between here and the one before */
	int64_t first, last; /* layers between; -1: none */
	bool zero;           /* there is no gradient here */
} waist;

/* at[from] .. at[n - 1], from the input to the outputs. */
typedef struct way {
	waist *at;
	int64_t n, capacity, from;
} way;

/* Finds the way. False where memory failed. */
bool weir__flow_way(weir_flow *f, way *y);
void weir__flow_way_free(weir_flow *f, way *y);
/* Whether the gradient shrinks (VANISHING) or grows (EXPLODING) too much along it, in all or in the middle; else HEALTHY. [lo, hi]: the
 * stretch of at[] that does it. */
weir_verdict weir__flow_judge_way(const weir_flow *f, const way *y, int64_t *lo, int64_t *hi);

/* The same for chains of layers that main leaves out, as on a branch: the first that is not HEALTHY, in y. */
weir_verdict weir__flow_judge_sides(weir_flow *f, const way *main, way *y, int64_t *lo, int64_t *hi);

/* The deepest layer that has a gradient, and the first one on its way back to the inputs, or -1. */
int64_t weir__flow_deepest(const weir_flow *f, int64_t *first);
void weir__flow_slope(weir_flow *f, const way *y);
bool weir__flow_total(weir_flow *f); /* whether there is a gradient at the deepest layer */
void weir__flow_budgets(weir_flow *f);

/* Root mean square of the first layer's input. */
double weir__flow_input_size(const weir_flow *f);
bool weir__flow_is_saturated(const weir_flow *f, int64_t layer); /* its activation is, or its softmax shut */
/* softmax.c: passes its softmax so little back that its logits are not learned? Why, with the evidence added to t. */
bool weir__flow_is_shut(const weir_flow *f, int64_t layer);
const char *weir__flow_shut_cause(const weir_flow *f, int64_t layer, weir__text *t);
/* The cause, and the evidence for it, which they write. y, lo, hi: of a VANISHING or EXPLODING one. */
const char *weir__flow_slope_cause(weir_flow *f, weir_verdict v, const way *y, int64_t lo, int64_t hi);
const char *weir__flow_saturation_cause(weir_flow *f);
const char *weir__flow_dead_cause(weir_flow *f, bool census);
const char *weir__flow_nonfinite_cause(weir_flow *f);
/* The inf or the NaN that came first, by step, pass and what hangs on what; one that is not found where there is none. */
const weir_flow_birth *weir__flow_first_bad(const weir_flow *f);

static inline bool usable(double x)
{
	return x > 0 && is_finite(x);
}

#endif
