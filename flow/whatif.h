/* whatif.h: what the files of what-if share.
 *
 *   whatif.c         the trials
 *   whatif_advice.c  their order, and what they advise
 *   repairs.c        where a repair would change the network
 *   repairs_copy.c   the changed copy
 *   whatif_steps.c   what one pass computes, and training steps, of a copy
 *
 * The user's tape is copied once, into a base, and measured there; every trial copies that. So the user's context is read once and never
 * written to, and the layers are known whatever the last step measured. */
#ifndef WEIR_FLOW_WHATIF_H
#define WEIR_FLOW_WHATIF_H

#include "flow/flow.h"
#include "kernels/fpenv.h"

/* What a repair changes in the network. */
typedef struct weir__recipe {
	bool draws, lsuv;
	weir_init_kind init;
	bool bends;
	weir_act act;
	bool norm, residual, scaled;
} weir__recipe;

/* Of a parameter, in the layers: to multiply by, to add, or one that stays as it is. */
typedef enum weir__role { NO_ROLE, MATRIX, BIAS, FIXED } weir__role;

enum { MOST_INPUTS = 8 }; /* of an operation of an activation */

/* What the plan says of a node, and what became of it. */
typedef struct weir__spot {
	weir_tensor *now;    /* what stands for it in the copy, as far as it was met */
	weir_tensor *normal; /* that, normalised */
	int64_t chain;       /* it is part of an activation on this node, whose normalised form it shall read; or -1 */
	int64_t bends;       /* it ends an activation on this node, which is replaced; or -1 */
	int64_t closes;      /* layer whose input is added to it; or -1 */
	int64_t fan_in;      /* of a parameter in the role of a matrix */
	weir__role role;
	bool used;       /* the changed loss depends on it */
	bool drawn;      /* of parameters: done */
	bool scaled;     /* LSUV, of parameters: done */
	bool wanted;     /* its normalised form is, by an activation on it */
	bool normalised; /* its output is, for all who read it */
} weir__spot;

typedef struct weir__base {
	weir_ctx *w;
	weir_flow *f;
	weir_tensor *loss;
	int64_t root;
	weir_fp_state caller; /* the mode that the caller's own model runs in */
	weir__spot *spot;     /* by place on its tape */
	bool *hidden;         /* by layer: it feeds another one */
} weir__base;

/* Room for the plans of repairs, as soon as base->f knows the layers. False after an error in base->w. */
bool weir__repair_begin(weir__base *b);
/* Where this recipe changes the base. Returns whether each part of it finds a place. */
bool weir__repair_plan(weir__base *b, const weir__recipe *r, weir_ctx *to);
/* The spot of the parameter that x, of the base, is, directly or through views; or NULL. */
weir__spot *weir__param_spot(const weir__base *b, const weir_tensor *x);
bool weir__same_shape(const weir_tensor *x, const weir_tensor *y); /* and element type */
/* The base's loss in context `to`, changed as planned. */
weir_tensor *weir__repair_copy(weir__base *b, const weir__recipe *r, weir_ctx *to);

/* p ← keep · p - take · g, rounded once; g may be NULL. */
void weir__blend(weir_tensor *p, double keep, const weir_tensor *g, double take);

/* Arithmetic operations of the forward pass; a backward pass has about twice as many. */
double weir__whatif_operations(const weir_tensor *loss);

/* Plain gradient descent, each step on the gradient clipped to norm clip (0: none), l2 included. */
typedef struct weir__descent {
	int64_t steps;
	double lr, clip, l2;
} weir__descent;
void weir__whatif_steps(weir_tensor *loss, const weir__descent *d, weir_flow_trial *t);

/* The trials of the last what-if, in a flow's memory. */
typedef struct weir__whatif {
	weir_flow_trial trial[WEIR_REPAIR_COUNT];
	int64_t trials, steps;
	char advice[256];
	char model_name[80];
} weir__whatif;

void weir__whatif_sort(weir__whatif *s);
void weir__whatif_advise(weir__whatif *s, weir_verdict verdict); /* the flow's, which may be of more than this pass */

#endif
