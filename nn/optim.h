/* optim.h: what an optimiser is inside. step.c runs steps, sgd.c and adam.c say what a step is. */
#ifndef WEIR_NN_OPTIM_H
#define WEIR_NN_OPTIM_H

#include <stdatomic.h>

#include "kernels/optim.h"
#include "kernels/table.h"
#include "nn/module.h"

enum { WEIR_OPTIM_STATES = 2 };

/* One parameter. top: largest magnitudes of parameter and states when their storages had these versions. update and largest are those of the
 * step that runs. */
typedef struct weir_optim_slot {
	weir_tensor *p, *state[WEIR_OPTIM_STATES];
	int group;
	int64_t steps;
	double power1, power2; /* beta1ᵗ, beta2ᵗ by repeated products */
	double top[1 + WEIR_OPTIM_STATES];
	uint32_t version[1 + WEIR_OPTIM_STATES];
	bool known, moves, shared; /* takes part in the step; by all threads */
	double ratio;
	weir_update update;
	atomic_uint_least64_t largest[1 + WEIR_OPTIM_STATES]; /* bits of f64: largest magnitudes */
} weir_optim_slot;

typedef struct weir_optim_group_options {
	double lr_factor, weight_decay;
	bool any_rank; /* decay parameters of rank 0 and 1 too */
} weir_optim_group_options;

typedef struct weir_optim_type {
	const char *name;                     /* of a constructor: "weir_sgd_new" */
	const char *state[WEIR_OPTIM_STATES]; /* names: "momentum" */
	/* Completes u, whose decay, shrink and rate are set, for the step that comes after slot->steps. */
	void (*prepare)(const weir_optim *o, const weir_optim_slot *slot, weir_update *u);
	/* No number that the step writes is larger than this in magnitude, for gradients up to g; may be inf or NaN. */
	double (*bound)(const weir_optim *o, const weir_optim_slot *slot, const weir_update *u, double g);
	size_t kernel; /* offset of the two kernels in weir_kernels */
} weir_optim_type;

struct weir_optim {
	weir_nn *nn; /* NULL: the bad optimiser of a context without memory */
	const weir_optim_type *type;
	weir_sgd_options sgd;
	weir_adam_options adam;
	double lr;
	bool bad, decoupled, keep_grads, track;
	int64_t steps;
	weir_optim_slot *slot;
	int64_t slots, slot_room;
	weir_optim_group_options *group;
	int64_t groups, group_room;
	weir_optim *next, *prev; /* in nn->optims */
};

/* An optimiser over all parameters of m, with the states that the type names; the bad one after reporting. lr and weight_decay are
 * checked here. */
weir_optim *weir__optim_new(weir_ctx *w, weir_module *m, const weir_optim_type *type, double lr, double weight_decay);

#endif
