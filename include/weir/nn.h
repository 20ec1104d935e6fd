/* nn.h: modules, penalties, clipping, optimisers; initialisers stand in ops.h.
 *
 * A module is a tree of named children with named parameters and a forward function. The context owns modules and optimisers until
 * weir_close() or their own _drop. A constructor that fails returns the context's bad module or bad optimiser, never NULL; calls on
 * these do nothing but fail.
 *
 * Names. A module has a path, "mlp.3": its parent's path, a dot, and its name; a child without a name is called by its number.
 * Parameters are called path and name, "mlp.3.weight". Nodes of the tape that a forward makes carry the module's scope: its path, and
 * for a numbered child that is no container its kind behind it, "mlp.3.linear". */
#ifndef WEIR_NN_H
#define WEIR_NN_H

#include <weir/engine.h>
#include <weir/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_module weir_module;
typedef struct weir_optim weir_optim;

/* ---- modules ----------------------------------------------------------------------------------------------- */

/* What a kind of module is; write your own with it. It must outlive the context: make it static. */
typedef struct weir_module_type {
	const char *kind; /* "linear" */
	/* May use any operations and children. Its tensors other than the result may be gone after it returns: where nothing is
	 * recorded, a sequential around it releases them. */
	weir_tensor *(*forward)(weir_module *m, weir_tensor *x);
	void (*destroy)(void *data); /* frees what data points to; calls no function of this library; may be NULL */
	/* Adds "in=64, out=32" to the summary: writes at most size bytes, its NUL included; may be NULL. */
	void (*describe)(const weir_module *m, char *text, size_t size);
	bool container; /* the layers are its children: its kind is no part of a scope */
} weir_module_type;

/* A module of a kind; data_size zeroed bytes belong to it (weir_module_data). name: the path while it has no parent, or NULL for the
 * kind. Names are at most 255 bytes without control characters. */
WEIR_API weir_module *weir_module_new(weir_ctx *w, const weir_module_type *type, const char *name, size_t data_size);
WEIR_API void *weir_module_data(const weir_module *m);
WEIR_API const weir_module_type *weir_module_type_of(const weir_module *m);
WEIR_API weir_ctx *weir_module_context(const weir_module *m);
WEIR_API const char *weir_module_path(const weir_module *m);  /* "mlp.3" */
WEIR_API const char *weir_module_scope(const weir_module *m); /* "mlp.3.linear" */
WEIR_API bool weir_module_is_bad(const weir_module *m);       /* the module of a failed call */
/* Registers a child under name (no dots; NULL: its number). A module has one parent. Paths, scopes and parameter names of child and
 * all below change with it. Returns child. */
WEIR_API weir_module *weir_module_add(weir_module *m, const char *name, weir_module *child);
WEIR_API int64_t weir_module_count(const weir_module *m);              /* children */
WEIR_API weir_module *weir_module_at(const weir_module *m, int64_t i); /* child i */
/* The module whose path or scope is m's path, a dot, and this: "3" or "3.linear"; NULL if there is none. */
WEIR_API weir_module *weir_module_find(weir_module *m, const char *path);
/* Registers a new parameter "weight" or "bias" of zeros; its full name is the module's path, a dot, and this. */
WEIR_API weir_tensor *weir_module_param(weir_module *m, const char *name, weir_dtype dtype, int rank,
					const int64_t *shape);
/* Parameter number i of m and all below: a module's own before its children's, each in the order they were registered. NULL past the
 * end. */
WEIR_API weir_tensor *weir_module_parameter(const weir_module *m, int64_t i);
WEIR_API int64_t weir_module_parameter_count(const weir_module *m);
WEIR_API int64_t weir_module_weights(const weir_module *m); /* numbers in all parameters together */
WEIR_API void weir_train(weir_module *m, bool training);    /* mode of m and all below; new modules train */
WEIR_API bool weir_training(const weir_module *m);
WEIR_API void weir_module_freeze(weir_module *m, bool frozen); /* all parameters of m and below */
/* Frees m, all below, and their parameters before weir_close() does. m must have no parent. Optimisers forget these parameters. */
WEIR_API void weir_module_drop(weir_module *m);

/* Runs m on x under m's scope. */
WEIR_API weir_tensor *weir_forward(weir_module *m, weir_tensor *x);
/* The same with other tensors in place of m's parameters: tensors[i] for weir_module_parameter(m, i), of the same shape and type; NULL
 * keeps it, and so does n for those from n on. Gradients go to the tensors given. */
WEIR_API weir_tensor *weir_forward_with(weir_module *m, weir_tensor *const *tensors, int64_t n, weir_tensor *x);

/* What training m takes of memory, in bytes. peak: what the context will hold of the allocator (weir_memory.held), as
 *
 *   parameters + gradients + moments + activations + the rest:
 *
 * the gradients of activations that are on their way at once, the operations' workspace, headers and tape, what the sizes of blocks round up,
 * and all else that the context holds at this moment: data sets, other modules, and what stands on the tape. */
typedef struct weir_memory_plan {
	size_t parameters;
	size_t gradients;   /* of parameters that are not frozen */
	size_t moments;     /* of the optimiser */
	size_t activations; /* values that a forward leaves for its backward, the input included */
	size_t peak;
} weir_memory_plan;

/* Fills plan for steps on inputs of this shape (its first axis is the batch) and an optimiser with so many moments: 0 for SGD, 1 with momentum, 2
 * for Adam; those that are there already are counted once. It is found by doing: one forward and one backward to the parameters, on zeros, in fresh
 * memory; then all is taken back: memory, tape and random streams are as before. Call it between weir_tape_reset() and the next forward. The loss is not part of it. Where nothing is recorded, or an
 * operation has no gradient, it is the peak of the forward alone. Errors: ARGUMENT (moments outside of 0 .. 2), and those of the forward; then all of
 * plan is 0. Returns weir_ok(). */
WEIR_API bool weir_module_memory(weir_module *m, int rank, const int64_t *shape, int moments, weir_memory_plan *plan);

/* A table of m: layer, kind, output shape, parameters, multiply-adds, bytes of activations, for an input of this shape; and the plan of
 * weir_module_memory(), with peaks for SGD, with momentum, and for Adam. Forward hooks see the forward. Returns weir_ok(). */
WEIR_API bool weir_summary(weir_module *m, int rank, const int64_t *shape, FILE *file);

/* New weights are of dtype f32; weir_module_dtype(w, WEIR_F64) changes that for modules made afterwards. */
WEIR_API void weir_module_dtype(weir_ctx *w, weir_dtype dtype);

/* y = x · Wᵀ + b over the last axis; weight [out, in], bias [out] of zeros. */
WEIR_API weir_module *weir_linear_new(weir_ctx *w, int64_t in, int64_t out, weir_init_kind init);
typedef struct weir_linear_options {
	weir_init_kind init;
	double init_scale;
	bool bias;
	weir_act act; /* fused behind the product; WEIR_ACT_IDENTITY: none */
} weir_linear_options;
WEIR_API void weir_linear_options_init(weir_linear_options *o); /* Glorot, scale 1, with bias, no activation */
WEIR_API weir_module *weir_linear_with(weir_ctx *w, int64_t in, int64_t out, const weir_linear_options *o);
WEIR_API weir_module *weir_sigmoid_new(weir_ctx *w);
WEIR_API weir_module *weir_tanh_new(weir_ctx *w);
WEIR_API weir_module *weir_relu_new(weir_ctx *w);
WEIR_API weir_module *weir_gelu_new(weir_ctx *w);
WEIR_API weir_module *weir_silu_new(weir_ctx *w);
WEIR_API weir_module *weir_identity_new(weir_ctx *w);
WEIR_API weir_module *weir_act_new(weir_ctx *w, weir_act act); /* one of these six */
WEIR_API weir_module *weir_softmax_new(weir_ctx *w, int axis);
/* (x - mean) / √(variance + eps) · weight + bias over the last axis, of this extent; weight 1, bias 0; Ba et al. 2016. The variance is
 * the population's. Right for entries of any size: 1e20 · (1, -1, 1, -1) gives (1, -1, 1, -1). */
WEIR_API weir_module *weir_layer_norm_new(weir_ctx *w, int64_t features, double eps);
/* Children one after the other. Where nothing is recorded, what a child made, but for its result, is released before the next one runs,
 * so that a deep forward holds the memory of a few layers. */
WEIR_API weir_module *weir_sequential_new(weir_ctx *w, const char *name);
WEIR_API weir_module *weir_list_new(weir_ctx *w, const char *name);         /* holds modules; forward: as sequential */
WEIR_API weir_module *weir_list_add(weir_module *list, weir_module *child); /* under its number; returns child */
WEIR_API weir_module *weir_list_at(const weir_module *list, int64_t i);
WEIR_API weir_module *weir_residual_new(weir_ctx *w, weir_module *branch, double scale); /* x + scale · branch(x) */

/* ---- penalty and clipping ---------------------------------------------------------------------------------- */

/* ½ · lambda · Σ‖W‖²_F over the parameters of rank 2 and more of m (weights, not biases), in their own type; its gradient is lambda · W.
 * Rank 0; lambda = 0 gives a constant 0. */
WEIR_API weir_tensor *weir_l2_penalty(weir_module *m, double lambda);
WEIR_API weir_tensor *weir_l2_penalty_of(weir_tensor *const *params, int64_t n,
					 double lambda); /* over tensors of any rank */

/* Replaces all gradients of m by g · max_norm / ‖g‖ where ‖g‖ (over all together) exceeds max_norm. Returns ‖g‖ before. The gradients are those
 * that an optimiser would step with: what a frozen parameter still holds of the time before counts in no norm and stays as it is. A
 * non-finite norm is the error NONFINITE and touches nothing. */
WEIR_API double weir_clip_norm(weir_module *m, double max_norm);
/* Each entry of the same gradients into [-limit, limit]. Returns how many were changed. A NaN entry is the error NONFINITE and touches nothing; an
 * infinite one becomes the limit. */
WEIR_API int64_t weir_clip_value(weir_module *m, double limit);

/* ---- optimisers ----------------------------------------------------------------------------------------------
 * g is the accumulated gradient, W a parameter, λ its weight decay, t the steps that this parameter has made. Two forms of decay:
 *
 *   L2         g ← g + λW, before everything else: the gradient of ½λ‖W‖², as a penalty in the loss would give it
 *   decoupled  W ← (1 - lr λ) W - lr · (step made of g alone)
 *
 * For plain SGD they are the same. With momentum or Adam they are not: L2's λW goes through the momentum and is divided by Adam's
 * √v, so that weights with large gradients hardly decay; decoupled, every weight shrinks by the same factor, 1 - lr λ, per step
 * (Loshchilov and Hutter 2019). That factor contracts for 0 < lr λ < 2. */

/* v ← momentum · v + (1 - dampening) · g (the first time v ← g), and W ← W - lr · v; with nesterov, v is replaced there
 * by g + momentum · v. Without momentum W ← W - lr · g. As in PyTorch, after Sutskever et al. 2013. */
typedef struct weir_sgd_options {
	double lr, momentum, dampening;
	bool nesterov;       /* needs momentum above 0 and dampening 0 */
	double weight_decay; /* λ, see decoupled */
	bool decoupled;      /* false: L2 */
	bool keep_grads;     /* a step leaves the gradients in place */
} weir_sgd_options;

/* m ← beta1 · m + (1 - beta1) · g, v ← beta2 · v + (1 - beta2) · g², W ← W - lr · m̂ / (√v̂ + eps), m̂ = m / (1 - beta1ᵗ),
 * v̂ = v / (1 - beta2ᵗ); Kingma and Ba 2015. The state is √v, not v, and it is computed scaled, so that no gradient overflows or
 * underflows it: after one gradient of 1e21 in f32 training goes on. Where √v̂ + eps is 0 the step is 0. */
typedef struct weir_adam_options {
	double lr, beta1, beta2, eps, weight_decay;
	bool decoupled; /* AdamW */
	bool keep_grads;
} weir_adam_options;

WEIR_API void weir_sgd_options_init(weir_sgd_options *o);   /* lr 0.01, all else off */
WEIR_API void weir_adam_options_init(weir_adam_options *o); /* lr 1e-3, betas 0.9 and 0.999, eps 1e-8, no decay */

/* Over all parameters of m at this moment. Weight decay applies to parameters of rank 2 and more, unless a group says otherwise. */
WEIR_API weir_optim *weir_sgd_new(weir_ctx *w, weir_module *m, double lr, double momentum);
WEIR_API weir_optim *weir_sgd_with(weir_ctx *w, weir_module *m, const weir_sgd_options *o);
WEIR_API weir_optim *weir_adam_new(weir_ctx *w, weir_module *m, double lr);
WEIR_API weir_optim *weir_adamw_new(weir_ctx *w, weir_module *m, double lr, double weight_decay);
WEIR_API weir_optim *weir_adam_with(weir_ctx *w, weir_module *m, const weir_adam_options *o);
WEIR_API bool weir_optim_is_bad(const weir_optim *o); /* the optimiser of a failed call */
/* One step with the accumulated gradients, which are used up. A parameter without a gradient, or frozen, stays; where that is all of
 * them, it is a step all the same (weir_optim_steps), as a schedule counts. A step that would write an inf or NaN into any parameter or
 * state is the error NONFINITE and changes nothing. Returns weir_ok(). */
WEIR_API bool weir_optim_step(weir_optim *o);
/* weir_clip_norm() over o's parameters, and the step, in one pass over memory, to the same bits; gradients that are kept stay as
 * they were. Frozen parameters count in neither. Returns the norm before, 0 of no gradient. Errors: ARGUMENT (max_norm negative or not
 * finite), NONFINITE (as those two functions); then NaN, and nothing was changed. */
WEIR_API double weir_optim_clip_step(weir_optim *o, double max_norm);
WEIR_API void weir_optim_zero_grad(weir_optim *o);
WEIR_API int64_t weir_optim_steps(const weir_optim *o); /* that went well, of either function */
/* The steps that parameter p has made: fewer, where it was frozen or had no gradient; -1 where it is none of o's. */
WEIR_API int64_t weir_optim_steps_of(const weir_optim *o, const weir_tensor *p);
/* Says that so many steps were made, by o and all of its parameters, or where p is not NULL by p alone. With the states of weir_optim_state()
 * written back, that is how training goes on from a checkpoint as if it had not been interrupted: Adam's bias correction and
 * momentum's first step hang on it. Errors: ARGUMENT (steps not in 0 .. 2⁶² - 1, p none of o's). Returns whether it was set. */
WEIR_API bool weir_optim_set_steps(weir_optim *o, const weir_tensor *p, int64_t steps);
WEIR_API double weir_optim_lr(const weir_optim *o);
WEIR_API void weir_optim_set_lr(weir_optim *o, double lr); /* of every group, times the group's factor */
/* Moves the parameters of part (a module below) to a group of their own: lr times lr_factor, this weight decay for all of its
 * parameters of any rank. Returns the group's number; the first, 0, holds the rest. After an error: -1. */
WEIR_API int weir_optim_group(weir_optim *o, weir_module *part, double lr_factor, double weight_decay);
/* ‖last update‖ / ‖W before it‖ of parameter p, NaN before the first step with tracking on (weir_optim_track). */
WEIR_API void weir_optim_track(weir_optim *o, bool on);
WEIR_API double weir_optim_update_ratio(const weir_optim *o, const weir_tensor *p);
/* The optimiser's state of parameter p: SGD's momentum v or Adam's m (i = 0), Adam's √v (i = 1); NULL where there is none. */
WEIR_API weir_tensor *weir_optim_state(const weir_optim *o, const weir_tensor *p, int i);
WEIR_API void weir_optim_drop(weir_optim *o);

#ifdef __cplusplus
}
#endif

#include <weir/here_nn.h>

#endif
