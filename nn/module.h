/* module.h: what a module is inside, and what a context knows of its modules and optimisers.
 *
 * A context that uses this floor owns one weir_nn, and that owns all modules and optimisers. Parameters and optimiser state are kept
 * tensors of the engine: where weir_close() frees everything, in any order, nobody here touches them. */
#ifndef WEIR_NN_MODULE_H
#define WEIR_NN_MODULE_H

#include <float.h>
#include <math.h>

#include <weir/nn.h>

#include "engine/context.h"
#include "engine/op.h"

typedef struct weir_nn weir_nn;

typedef struct weir_module_param_slot {
	char *name; /* "weight" */
	weir_tensor *t;
} weir_module_param_slot;

struct weir_module {
	weir_nn *nn; /* NULL: the bad module of a context without memory */
	const weir_module_type *type;
	void *data;
	size_t data_size;
	char *name; /* in its parent, or the root's path */
	char *path, *scope;
	bool numbered; /* its name is its number */
	bool bad, training;
	int running; /* forwards that have not returned */
	weir_module *parent;
	int64_t place; /* among its parent's children */
	weir_module **child;
	int64_t children, child_room;
	weir_module_param_slot *param;
	int64_t params, param_room;
	weir_tensor **all; /* parameters of it and all below, as of nn->version == all_version */
	int64_t alls, all_room;
	uint64_t all_version;
	weir_module *next, *prev; /* in nn->modules */
};

/* Told of every forward below one that weir_summary runs. */
typedef struct weir_nn_trace {
	weir_ctx *ctx;
	void (*before)(struct weir_nn_trace *trace, weir_module *m);
	void (*after)(struct weir_nn_trace *trace, weir_module *m, weir_tensor *y);
} weir_nn_trace;

struct weir_nn {
	weir_ctx *ctx;
	weir_owned *owned;
	weir_dtype dtype; /* of new weights */
	weir_module bad;
	weir_optim *bad_optim;
	weir_module *modules;
	weir_optim *optims;
	uint64_t version; /* counts changes of trees and parameters */
	weir_nn_trace *trace;
};

/* That of w, made when there is none. NULL after reporting MEMORY. */
weir_nn *weir__nn(weir_ctx *w);

/* The bad module or optimiser of a context; never NULL. */
weir_module *weir__module_bad(weir_ctx *w);
weir_optim *weir__optim_bad(weir_ctx *w);

/* The end of a constructor: m, or where anything in it failed the bad module, with m taken apart again. */
weir_module *weir__module_finish(weir_module *m);

/* m can be used; reports otherwise, with arg "m", and is false in silence where an error has stuck already. */
bool weir__module_usable(const weir_module *m, const char *who, const char *arg);

/* The next module of the tree below root, parents before children; NULL at the end. */
weir_module *weir__module_next(const weir_module *root, const weir_module *m);

/* All parameters of m and below as a list that stands until a tree changes; NULL where there are none or memory ran out. */
weir_tensor *const *weir__module_all(const weir_module *m, int64_t *n);

/* Runs m's forward under its scope; x was checked. */
weir_tensor *weir__module_run(weir_module *m, weir_tensor *x, const char *who);

/* One forward of m on zeros, under trace, and where it can be a backward to all parameters; both are taken back, with what they drew of random
 * streams. plan: what they took of memory, without moments. */
bool weir__try_step(weir_module *m, int rank, const int64_t *shape, weir_nn_trace *trace, weir_memory_plan *plan);
void weir__plan_moments(const weir_module *m, int moments, weir_memory_plan *plan); /* adds so many */

/* The gradient that an optimiser would step with: the accumulated one, NULL where there is none or the parameter is frozen. */
const weir_tensor *weir__moving_gradient(const weir_tensor *param);
/* The norm of a parameter's accumulated gradient, which it must have: backward's, or taken and noted for the next who asks. */
double weir__grad_norm(weir_tensor *param);
/* Parameter i of some, NULL where it does not count. */
typedef weir_tensor *weir_param_at(const void *some, int64_t i);
/* The norm of all gradients of n parameters together; NaN and inf as they come. */
double weir__grads_norm(weir_param_at *at, const void *some, int64_t n);

bool weir__optims_have(const weir_nn *nn, const weir_tensor *p); /* is p one of an optimiser's? */
size_t weir__optim_list_bytes(int64_t n);                        /* what the list of n parameters takes */

/* Optimisers give these parameters up: they are about to be dropped. */
void weir__optims_forget(weir_nn *nn, const weir_module *root);
/* Frees the memory of every optimiser. */
void weir__optims_free(weir_nn *nn);

/* Makes room for one more of size bytes in an array; false after reporting. */
bool weir__nn_room(weir_ctx *w, void *array, int64_t count, int64_t *room, size_t size);
void weir__nn_free(weir_ctx *w, void *p, size_t size); /* p may be NULL */

/* "0.25" for messages: weir_fail takes integers and text only. */
typedef struct weir_number_text {
	char s[32];
} weir_number_text;
const char *weir__number(double x, weir_number_text *buf);

/* low <= x <= high; quiet: a NaN leaves no flag in the caller's floating-point environment. */
static inline bool weir__within(double x, double low, double high)
{
	return isgreaterequal(x, low) && islessequal(x, high);
}

/* Not negative, finite. */
static inline bool weir__is_size(double x)
{
	return weir__within(x, 0, DBL_MAX);
}

#endif
