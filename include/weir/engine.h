/* engine.h: contexts, errors, tensors, the tape, backward, hooks, replay.
 *
 * Ownership, one sentence each:
 *   a tensor that an operation or weir_from() makes belongs to the tape, until weir_tape_reset();
 *   a tensor that weir_keep() or weir_param_new() gave to the context lives until weir_drop() or weir_close();
 *   a context owns everything made in it; weir_close() frees it all.
 *
 * Threads: a context belongs to one thread at a time; any number of contexts run side by side.
 *
 * Errors: the first error of a context sticks. After it every call does nothing and returns the context's bad
 * tensor (never NULL), which reads as NaN, until weir_clear_error().
 * It is long because it is the whole contract of this floor. */
#ifndef WEIR_ENGINE_H
#define WEIR_ENGINE_H

#include <stdio.h>
#include <weir/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_ctx weir_ctx;
typedef struct weir_tensor weir_tensor;
typedef struct weir_op weir_op;
typedef struct weir_hook weir_hook;

/* ---- errors ---------------------------------------------------------------------------------------------- */

/* The list of errors, written once: name, what it means. */
#define WEIR_ERRORS(X)                                                                \
	X(ARGUMENT, "an argument that makes no sense")                                \
	X(SHAPE, "shapes that do not fit together")                                   \
	X(DTYPE, "an element type that the operation does not take")                  \
	X(AXIS, "an axis that the tensor does not have")                              \
	X(INDEX, "an index or label out of range")                                    \
	X(STALE, "a tensor whose tape was reset, or that was dropped")                \
	X(CONTEXT, "tensors of two contexts in one operation")                        \
	X(VERSION, "a value that was changed between forward and backward")           \
	X(GRADIENT, "a gradient that does not exist")                                 \
	X(NONFINITE, "an inf or NaN where one would do harm")                         \
	X(HOOK, "a call that is not allowed inside a hook, or a hook's wrong result") \
	X(MEMORY, "out of memory, or over the memory limit")                          \
	X(LIMIT, "a limit of the library")                                            \
	X(IO, "a file that can't be read or written")                                 \
	X(FORMAT, "a file or text whose content is wrong")                            \
	X(INTERNAL, "a bug in the library")

typedef enum weir_status {
	WEIR_OK,
#define WEIR_ERROR_ENUM_(name, text) WEIR_ERR_##name,
	WEIR_ERRORS(WEIR_ERROR_ENUM_)
#undef WEIR_ERROR_ENUM_
		WEIR_STATUS_COUNT
} weir_status;

/* A name such as "WEIR_ERR_SHAPE", and its meaning; static strings. */
WEIR_API const char *weir_status_name(weir_status status);
WEIR_API const char *weir_status_text(weir_status status);

/* Called at once with the first error; message is valid during the call. */
typedef void weir_error_handler(weir_ctx *w, weir_status status, const char *message, void *user);

WEIR_API bool weir_ok(const weir_ctx *w);                /* no error has stuck */
WEIR_API weir_status weir_error(const weir_ctx *w);      /* the first error, or WEIR_OK */
WEIR_API const char *weir_error_text(const weir_ctx *w); /* its message, "" if none; valid until cleared */
WEIR_API void weir_clear_error(weir_ctx *w);             /* the context is usable again */

/* Reports an error as the library does; the place for a breakpoint. Returns the bad tensor. Only the first sticks.
 * fmt takes integers and text only (no floating point), whatever the locale. */
WEIR_API weir_tensor *weir_fail(weir_ctx *w, weir_status status, const char *fmt, ...) WEIR_PRINTF(3, 4);

/* ---- contexts -------------------------------------------------------------------------------------------- */

/* The allocator hook covers the library's own memory. alloc returns size bytes aligned to align, or NULL. */
typedef struct weir_allocator {
	void *(*alloc)(void *user, size_t size, size_t align);
	void (*free)(void *user, void *p, size_t size);
	void *user;
} weir_allocator;

typedef struct weir_options {
	uint64_t seed;               /* everything random hangs on it; 0 is a seed like any other */
	int threads;                 /* threads of a parallel region; 0: OMP_NUM_THREADS, or all processors */
	bool ieee_subnormals;        /* gradual underflow; false: kernels flush subnormals to zero */
	bool check_stale;            /* catch every use of a stale tensor, however old; costs address space */
	bool free_values;            /* WEIR_FREE_VALUES: backward releases each value after its last use */
	size_t memory_limit;         /* bytes the context may hold; 0: no limit */
	weir_error_handler *handler; /* NULL: errors are silent; default: one line on standard error */
	void *handler_user;
	weir_allocator allocator;
} weir_options;

/* Fills o with the defaults: seed 0, threads 0, flush, no stale check (on in debug builds), a handler that writes one
 * line to standard error, the C allocator. */
WEIR_API void weir_options_init(weir_options *o);

/* Opens a context; o may be NULL for the defaults. Never NULL: where even the context can't be had, the
 * result carries the error WEIR_ERR_MEMORY. */
WEIR_API weir_ctx *weir_open(const weir_options *o);

/* Frees the context and all it owns. Returns 0, or the first error that stuck and was not cleared. NULL is allowed. */
WEIR_API int weir_close(weir_ctx *w);

typedef struct weir_memory {
	size_t held;              /* bytes held from the allocator, pool and arenas included */
	size_t peak;              /* largest value of held */
	size_t values;            /* bytes of values in use at this moment */
	size_t values_peak;       /* largest value of values since the last weir_memory_mark_peak() */
	uint64_t allocator_calls; /* calls of the allocator so far */
} weir_memory;

WEIR_API weir_memory weir_memory_of(const weir_ctx *w);
WEIR_API void weir_memory_mark_peak(weir_ctx *w); /* values_peak starts again from values */
WEIR_API int weir_threads(const weir_ctx *w);
WEIR_API bool weir_ieee_subnormals(const weir_ctx *w);
WEIR_API bool weir_frees_values(const weir_ctx *w); /* weir_options.free_values */
WEIR_API uint64_t weir_seed(const weir_ctx *w);
/* "0.1.0, gcc 12.2.0, ..." and the kernels in use, "avx512"; static strings. */
WEIR_API const char *weir_build_info(void);
WEIR_API const char *weir_kernels_in_use(void);

/* The number of a new random stream; two streams never overlap. The others give number `index` of a stream, which hangs on the seed and
 * these two alone. */
WEIR_API uint64_t weir_random_stream(weir_ctx *w);
WEIR_API uint64_t weir_random_bits(const weir_ctx *w, uint64_t stream, uint64_t index);
WEIR_API double weir_random_uniform(const weir_ctx *w, uint64_t stream, uint64_t index); /* in [0, 1), 53 bits */
WEIR_API double weir_random_normal(const weir_ctx *w, uint64_t stream, uint64_t index);  /* mean 0, variance 1 */

/* ---- tensors: create ------------------------------------------------------------------------------------- */

/* Tape-owned leaves. shape has rank extents (may be NULL for rank 0). Errors: SHAPE (negative extent, too many
 * elements), LIMIT (rank above WEIR_MAX_RANK), MEMORY. */
WEIR_API weir_tensor *weir_zeros(weir_ctx *w, weir_dtype dtype, int rank, const int64_t *shape);
WEIR_API weir_tensor *weir_full(weir_ctx *w, weir_dtype dtype, int rank, const int64_t *shape, double value);
WEIR_API weir_tensor *weir_scalar(weir_ctx *w, weir_dtype dtype, double value); /* rank 0 */
/* Copies data: row-major, in the type dtype, product-of-shape elements. */
WEIR_API weir_tensor *weir_from(weir_ctx *w, weir_dtype dtype, int rank, const int64_t *shape, const void *data);
/* Independent draws from one new random stream; f32 and f64. */
WEIR_API weir_tensor *weir_uniform(weir_ctx *w, weir_dtype dtype, int rank, const int64_t *shape, double low,
				   double high);
WEIR_API weir_tensor *weir_normal(weir_ctx *w, weir_dtype dtype, int rank, const int64_t *shape, double mean,
				  double std);

/* ---- tensors: look ---------------------------------------------------------------------------------------- */

WEIR_API weir_ctx *weir_context(const weir_tensor *t);
WEIR_API bool weir_is_bad(const weir_tensor *t); /* the tensor of a failed call */
WEIR_API weir_dtype weir_dtype_of(const weir_tensor *t);
WEIR_API int weir_rank(const weir_tensor *t);
WEIR_API int64_t weir_extent(const weir_tensor *t, int axis); /* negative axes count from the end; AXIS error: 0 */
WEIR_API const int64_t *weir_shape(const weir_tensor *t);     /* weir_rank() extents, owned by t */
WEIR_API const int64_t *weir_strides(const weir_tensor *t);   /* in elements; 0 along a broadcast axis */
WEIR_API int64_t weir_numel(const weir_tensor *t);
WEIR_API bool weir_is_contiguous(const weir_tensor *t);
WEIR_API size_t weir_dtype_size(weir_dtype dtype);
WEIR_API const char *weir_dtype_name(weir_dtype dtype);

/* The name that messages, reports and pictures show: the given one, else "". The text is copied. */
WEIR_API const char *weir_name(const weir_tensor *t);
WEIR_API weir_tensor *weir_set_name(weir_tensor *t, const char *name); /* returns t */

/* Row-major first element (strides apply, see weir_strides). Valid until t's value is released. NULL after an error. */
WEIR_API const void *weir_data(const weir_tensor *t);
/* The same for writing: marks the value as changed, so that a backward that needs the old one is an error. writer is
 * named in that message; NULL: "weir_data_mut". */
WEIR_API void *weir_data_mut(weir_tensor *t, const char *writer);
/* The one element of a one-element tensor as double; NaN after an error. */
WEIR_API double weir_item(const weir_tensor *t);
/* Element number i in row-major order, as double. INDEX error: NaN. */
WEIR_API double weir_get(const weir_tensor *t, int64_t i);
/* Copies all elements out, row-major. bytes must be numel * size. Returns weir_ok(). */
WEIR_API bool weir_read(const weir_tensor *t, void *dst, size_t bytes);
WEIR_API bool weir_read_f64(const weir_tensor *t, double *dst, int64_t n); /* converts any type to double */
/* Overwrites all elements, row-major, in t's type; t must be a leaf or a parameter, not an operation's result. */
WEIR_API bool weir_write(weir_tensor *t, const void *src, size_t bytes);
WEIR_API bool weir_write_f64(weir_tensor *t, const double *src, int64_t n);
/* Prints name, type, shape and values, the middle of long axes left out. */
WEIR_API void weir_print(const weir_tensor *t, FILE *file);

/* ---- tensors: ownership ----------------------------------------------------------------------------------- */

/* Moves t to the context: the result outlives the tape; what an operation made becomes a leaf at the next reset. Go on
 * with the result: t itself still ends with its tape. */
WEIR_API weir_tensor *weir_keep(weir_tensor *t);
/* Gives a kept tensor or a parameter back; it is stale from now on. */
WEIR_API void weir_drop(weir_tensor *t);
/* Read-only use of another context's kept tensor or parameter: same memory, no copy. The owner must not write to it
 * while others read. Each context may be closed in any order. */
WEIR_API weir_tensor *weir_share(weir_ctx *w,
				 weir_tensor *t); /* while no other thread uses either; weir_data(t) moves */

/* ---- parameters ------------------------------------------------------------------------------------------- */

/* A kept leaf with an accumulator for its gradient, zero-filled; name such as "fc1.weight" is copied. */
WEIR_API weir_tensor *weir_param_new(weir_ctx *w, const char *name, weir_dtype dtype, int rank, const int64_t *shape);
WEIR_API bool weir_is_param(const weir_tensor *t);
/* The accumulated gradient, or NULL where none has arrived since it was used up; belongs to the parameter; also
 * the retained gradient of a tensor after weir_retain_grad(). */
WEIR_API const weir_tensor *weir_grad_of(const weir_tensor *t);
/* The norm of t's gradient in the last backward on this tape, where a hook had it measured; else NaN. */
WEIR_API double weir_grad_norm(const weir_tensor *t);
WEIR_API void weir_zero_grad(weir_tensor *param); /* forgets the accumulated gradient */
/* Overwrites the accumulated gradient; for clipping and for tests. grad: same type and shape. */
WEIR_API bool weir_set_grad(weir_tensor *param, const weir_tensor *grad);
WEIR_API void weir_freeze(weir_tensor *param, bool frozen); /* a frozen parameter gets no gradient */
WEIR_API bool weir_is_frozen(const weir_tensor *param);
/* Ask for the gradient of t to be kept by the backwards of this tape; read it by weir_grad_of(). Returns t. */
WEIR_API weir_tensor *weir_retain_grad(weir_tensor *t);

/* ---- the tape --------------------------------------------------------------------------------------------- */

/* Forgets all that was recorded, keeps the memory for the next step. An error inside a hook. */
WEIR_API void weir_tape_reset(weir_ctx *w);
WEIR_API int64_t weir_tape_length(const weir_ctx *w);                 /* tensors on the tape */
WEIR_API weir_tensor *weir_tape_at(const weir_ctx *w, int64_t index); /* NULL where the value was scratch */

/* A place on the tape. weir_rewind() releases all that was made since, but for the n tensors of keep[], which are
 * replaced in place by leaves with the same values. NULL entries are allowed. Works after an error, too; then the n become bad. */
typedef struct weir_place {
	int64_t index;
	uint32_t life;
	const void *header;
	size_t used;
} weir_place;
WEIR_API weir_place weir_mark(weir_ctx *w);
WEIR_API void weir_rewind(weir_ctx *w, weir_place mark, weir_tensor **keep, int n);

/* Between the two nothing is recorded: no gradients. They nest. */
WEIR_API void weir_no_grad_begin(weir_ctx *w);
WEIR_API void weir_no_grad_end(weir_ctx *w);
WEIR_API bool weir_is_recording(const weir_ctx *w);

/* Named scopes: nodes made inside carry the path "outer.inner". */
WEIR_API void weir_scope_begin(weir_ctx *w, const char *name);
WEIR_API void weir_scope_end(weir_ctx *w);

/* What a node says of itself; strings live as long as the node. */
typedef struct weir_node_info {
	const char *op;    /* "matmul"; "input", "param" for leaves */
	const char *scope; /* module path "mlp.3.linear", or "" */
	const char *name;  /* given name, else scope, else op */
	const char *here;  /* "file.c:41", or "" */
	int64_t index;     /* place on the tape, or -1 */
	int64_t origin;    /* index of the node whose gradient rule made this one, or -1 */
	int64_t call;      /* how often this scope was entered on this tape, from 1 */
	int order;         /* 0: the user's; 1: made by a gradient rule; ... */
	int inputs;
	bool recorded; /* backward passes through it */
	bool released; /* its value went back to the pool */
} weir_node_info;
WEIR_API weir_node_info weir_node(const weir_tensor *t);
WEIR_API weir_tensor *weir_input(const weir_tensor *t, int i); /* operand i of the operation that made t, or NULL */
WEIR_API const weir_op *weir_op_of(const weir_tensor *t);
/* The parameter or kept tensor that a leaf on the tape stands for; t itself otherwise. */
WEIR_API weir_tensor *weir_origin_of(weir_tensor *t);

/* ---- gradients -------------------------------------------------------------------------------------------- */

enum {
	WEIR_CREATE_GRAPH = 1, /* record the gradient computation, so that it can be differentiated again */
	WEIR_ALLOW_UNUSED = 2, /* a gradient that does not exist is NULL instead of an error */
	WEIR_NO_HOOKS = 4,     /* call no hooks: for measuring beside what the user measures */
};

/* Adds d loss / d p to the accumulator of every parameter p that loss (one element) depends on and that is not frozen; where there is
 * none, that is no error. May run again on the same tape. A failing backward leaves all accumulators as they were. */
WEIR_API void weir_backward(weir_tensor *loss);

/* gxs[i] = d y / d xs[i], for y with one element. Nothing is accumulated. Results belong to the tape, and are for reading: they may share
 * memory with each other, and with gy of weir_vjp() (a + b hands on what it gets). To change one, weir_read_f64() it into memory of your own. */
WEIR_API bool weir_grad(weir_tensor *y, weir_tensor *const *xs, int n, weir_tensor **gxs, unsigned flags);
/* Vector-Jacobian product gxs[i] = gyᵀ · dy/dxs[i]; gy has y's shape and type. */
WEIR_API bool weir_vjp(weir_tensor *y, weir_tensor *gy, weir_tensor *const *xs, int n, weir_tensor **gxs,
		       unsigned flags);
/* The same for ny results in one pass: gxs[i] = Σ gys[j]ᵀ · dys[j]/dxs[i]; each gys[j] has the shape and type of ys[j]. With the gradients of one
 * weir_grad() for ys, recorded (WEIR_CREATE_GRAPH), and a vector for gys this is a Hessian-vector product. */
WEIR_API bool weir_vjps(weir_ctx *w, weir_tensor *const *ys, weir_tensor *const *gys, int ny, weir_tensor *const *xs,
			int n, weir_tensor **gxs, unsigned flags);
/* Are the values that y's gradient rule reads still there, and as they were in the forward pass? Where they are not, a vjp through y is
 * an error. */
WEIR_API bool weir_is_intact(const weir_tensor *y);
/* Jacobian-vector product sum_i dy/dxs[i] · vxs[i]: the vjp of the vjp. */
WEIR_API weir_tensor *weir_jvp(weir_tensor *y, weir_tensor *const *xs, weir_tensor *const *vxs, int n, unsigned flags);

/* ---- hooks ------------------------------------------------------------------------------------------------ */

enum {
	WEIR_WANT_NORM = 1,  /* norm */
	WEIR_WANT_STATS = 2, /* stats */
	WEIR_WANT_FLAGS = 4, /* fp_flags: what the operation raised (forward only) */
};

/* What a hook is told. Forward: value is the result. Backward: value is the gradient of node, final. */
typedef struct weir_event {
	weir_ctx *ctx;
	weir_tensor *node;
	weir_tensor *value;
	const char *name; /* as in weir_node_info */
	const char *op;
	const char *scope;
	const char *here;
	int64_t index;
	int64_t call;
	int order; /* 1 for the gradients of weir_backward; 2 for gradients of gradients; forward: 0, 1, ... */
	bool backward;
	double norm; /* Euclidean norm of value */
	weir_stats stats;
	unsigned fp_flags;
} weir_event;
typedef weir_event weir_grad_event;

typedef void weir_observer(const weir_event *e, void *user);
/* Returns the tensor to go on with: e->value, or another of the same shape and type. Forward: the node takes that value, its
 * gradient rule stays. Backward: that is the node's gradient from here on. */
typedef weir_tensor *weir_replacer(const weir_event *e, void *user);

typedef struct weir_hook_options {
	bool forward;           /* called when a node was computed instead of when its gradient is final */
	weir_observer *observe; /* exactly one of observe and replace */
	weir_replacer *replace;
	void *user;
	void (*destroy)(void *user); /* when the hook is removed; may be NULL */
	unsigned wants;
	bool all_orders; /* also for nodes and gradients of higher order */
} weir_hook_options;

/* observe nothing, wants the norm. */
WEIR_API void weir_hook_options_init(weir_hook_options *o);
/* On tensor t (until the tape is reset; for a parameter until dropped), or on the whole context where t is NULL.
 * Replacers run in the order set, tensor hooks before context hooks; observers see the final value, and its norm before
 * replacement. Observers may be called when the rule of their node has run already. Inside a hook operations run unrecorded unless
 * create_graph, and without hooks; reset and backward are errors there. */
WEIR_API weir_hook *weir_hook_add(weir_ctx *w, weir_tensor *t, const weir_hook_options *o);
WEIR_API void weir_hook_remove(weir_hook *hook);
/* What else a hook that observes wants from now on: 0, WEIR_WANT_NORM, ... */
WEIR_API void weir_hook_set_wants(weir_hook *hook, unsigned wants);
/* A paused hook is not called and costs nothing. */
WEIR_API void weir_hook_pause(weir_hook *hook, bool paused);
/* Between the two no hook is called, whatever is computed or differentiated. They nest. */
WEIR_API void weir_no_hooks_begin(weir_ctx *w);
WEIR_API void weir_no_hooks_end(weir_ctx *w);
/* Seconds spent in hooks and in measuring for them while the clock was on; reading the clock costs some 50 ns per event. Norms that are taken
 * while a gradient is written come in by their number of values, at a rate that was measured once. */
WEIR_API void weir_hook_clock(weir_ctx *w, bool on);
WEIR_API double weir_hook_seconds(const weir_ctx *w);
/* Short form: observe every gradient, with its norm. */
WEIR_API weir_hook *weir_on_grad(weir_ctx *w, weir_observer *observe, void *user, void (*destroy)(void *user));
WEIR_API weir_hook *weir_on_forward(weir_ctx *w, weir_observer *observe, void *user, void (*destroy)(void *user));

/* ---- profile ---------------------------------------------------------------------------------------------- */

/* From here on the time of every span is taken: operations, gradient rules, backward passes, hooks, modules, composed functions, an optimiser's
 * step, the tape's reset. path: where weir_profile_end(), or else weir_close(), writes them as a trace that chrome://tracing and
 * Perfetto open; tried at once, but not replaced before the end. NULL: no file, for the table alone. The environment variable WEIR_PROFILE
 * does the same for the first context that a process opens, until that asks for a profile itself. A child of fork() keeps the table of what it
 * inherited, but writes no file until it begins a profile of its own, which it may at once. Reading the clock costs some 0.1 µs per span.
 * A trace holds 32 MiB of events; what comes after them stands in the table only, and is counted as "dropped". Errors: ARGUMENT (there is a
 * profile already), HOOK, IO, MEMORY. */
WEIR_API bool weir_profile_begin(weir_ctx *w, const char *path);
/* Writes the file and forgets the profile. The old file stays whole where it can't be replaced. Works after an error, too. Returns whether the
 * file was written; true also in a child of fork(), which leaves its parent's file to the parent. Errors: ARGUMENT (no profile), HOOK, IO. */
WEIR_API bool weir_profile_end(weir_ctx *w);

/* One line of the table: all spans of a kind and name. */
typedef struct weir_profile_row {
	const char *name; /* of the operation, module, function; valid until the profile ends */
	/* "forward", "fused", "gradient", "composed", "backward", "hooks", "module", "call": docs/profile.md says what they are. */
	const char *kind;
	int64_t calls;
	double seconds; /* its own: without the spans inside */
	double share;   /* of all the time since the profile began */
	double flops;   /* of matrix products; 0: none */
	double bytes;   /* values and gradients that it must read and write at least */
} weir_profile_row;
/* Up to n rows, those with the most time of their own first; returns how many there are, 0 where no profile is kept. */
WEIR_API int64_t weir_profile_rows(const weir_ctx *w, weir_profile_row *rows, int64_t n);
/* The table of the first n of them, of all where n is 0; the last lines are what the others took, and the time outside of all spans. Returns
 * whether it was written. Errors: ARGUMENT (no profile, or file is NULL), IO. */
WEIR_API bool weir_profile_print(weir_ctx *w, int64_t n, FILE *file);

/* ---- operations ------------------------------------------------------------------------------------------- */

/* One field of an attribute struct, for printing, pictures and export. */
typedef enum weir_field_type { WEIR_FIELD_INT, WEIR_FIELD_BOOL, WEIR_FIELD_DOUBLE, WEIR_FIELD_INTS } weir_field_type;
typedef struct weir_field {
	const char *name;
	weir_field_type
		type; /* INT: int64_t; BOOL: bool; DOUBLE: double; INTS: int64_t[WEIR_MAX_RANK], count fields apart */
	size_t offset;
	size_t count_offset; /* INTS: offset of the int64_t that holds how many */
} weir_field;

/* What a shape rule is given, and what it fills: dtype, rank, shape; view ops also view, stride, offset. */
typedef struct weir_shaping {
	weir_ctx *ctx;
	const weir_op *op;
	weir_tensor *const *in;
	int n;
	const void *attr;
	weir_dtype dtype;
	int rank;
	int64_t shape[WEIR_MAX_RANK];
	bool view;                     /* the result shares the storage of in[0] */
	int64_t stride[WEIR_MAX_RANK]; /* of a view, in elements */
	int64_t offset;                /* of a view, in elements from in[0]'s first */
} weir_shaping;

/* Where a fused rule puts the gradient of one operand: contiguous, of the operand's type and shape. */
typedef struct weir_grad_dst {
	weir_dst_mode mode;
	void *data;
	struct weir_squares *squares; /* the library's own: asks its kernels for the norm of what they write there */
} weir_grad_dst;

/* For weir_op.keeps: which values the gradient rule reads. */
#define WEIR_KEEP_OUT 1u /* the result's */
#define WEIR_KEEP_IN0 2u /* operand 0's, ... */
#define WEIR_KEEP_IN1 4u
#define WEIR_KEEP_IN2 8u
#define WEIR_KEEP_IN3 16u
#define WEIR_KEEP_ALL_IN 0xfffffffeu

enum {
	WEIR_OP_ELEMENTWISE = 1, /* result element i depends on operand elements i only */
	WEIR_OP_NO_GRAD = 2,     /* declared to have no gradient: asking for one is an error */
	WEIR_OP_STOP = 4,        /* declared to pass none on: gradients end here in silence (detach, comparisons) */
	WEIR_OP_VIEW = 8,        /* shares its operand's storage */
	WEIR_OP_MEASURES = 16,   /* the library's own: its fused rule takes the norm of gy while it reads it */
	WEIR_OP_SHARES =
		32, /* the library's own: its rule hands gy's memory on, its fused rule copies: for few elements only */
	WEIR_OP_OVERWRITES =
		64, /* of one operand, else without effect: where its fused rule is to write, it may be given the memory of gy to write into */
};

/* One operation. See docs/adding-an-op.md. */
struct weir_op {
	const char *name;
	int arity;                /* number of operands, or -1 for any */
	unsigned keeps;           /* WEIR_KEEP_... */
	unsigned flags;           /* WEIR_OP_... */
	size_t attr_size;         /* bytes of the attribute struct copied to the node */
	const weir_field *fields; /* its description, ended by a NULL name; NULL if none */
	/* Fills the result's type and shape, or calls weir_fail and returns false. */
	bool (*shape)(weir_shaping *s);
	/* Computes y's value from its operands; y is contiguous and uninitialised. NULL for views. */
	void (*forward)(weir_tensor *y);
	/* The gradient in tensor operations: gx[i] for every bit i of need; the others stay NULL. A NULL left where
	 * need asks means zero gradient. */
	void (*vjp)(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[]);
	/* The same in one pass over memory; optional; gy is contiguous. */
	void (*vjp_fused)(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[]);
	/* Multiply-adds of the matrix product that made y; NULL: it is none. */
	int64_t (*multiply_adds)(const weir_tensor *y);
	double domain[2]; /* where the tests draw operands from; both 0: any */
	double kinks[4];  /* points without a derivative, that the tests keep away from; kink_count of them */
	int kink_count;
};

/* The door through which every operation goes, ours and yours. attr (attr_size bytes) is copied. */
WEIR_API weir_tensor *weir_op_apply(const weir_op *op, weir_tensor *const *in, int n, const void *attr);
WEIR_API const void *weir_attr(const weir_tensor *t);
/* A shape rule for operations on one or more operands of one floating type and one shape. */
WEIR_API bool weir_same_shape(weir_shaping *s);
/* The value of a result, for a forward function to fill. */
WEIR_API void *weir_out(weir_tensor *y);
/* Operand or tensor i as a contiguous tensor: itself, or a copy. */
WEIR_API weir_tensor *weir_contiguous(weir_tensor *t);

/* ---- replay ----------------------------------------------------------------------------------------------- */

/* One substitution. A rule applies to nodes that match all of its non-NULL selectors: scope (the path or a prefix of it
 * up to a dot), op (by name), tensor (that very node, kept tensor or parameter); without any, to every operation's result. What happens:
 * with (a tensor takes the node's place), or apply (called with the old node and its new operands; returns what takes its place; runs in
 * the old node's scope, which it may end). */
typedef struct weir_rule {
	const char *scope;
	const char *op;
	weir_tensor *tensor;
	weir_tensor *with;
	weir_tensor *(*apply)(weir_tensor *old, weir_tensor *const *in, int n, void *user);
	void *user;
} weir_rule;

/* Executes again what led to root, on the same tape, with substitutions; the first matching rule wins. Returns the
 * new root. Parameters are read with their present values. What was not recorded is executed, but not recorded again. */
WEIR_API weir_tensor *weir_replay(weir_tensor *root, const weir_rule *rules, int n);

/* The same in another context, on copies: each parameter becomes a parameter of `to` with its name, value and frozen state, one for each
 * original however often it is used; other leaves become leaves. Scopes, call counts, names, source lines and weir_retain_grad()
 * stay as they were. with and apply give tensors of `to`. The original's context is only read: no hook of it is called. Either
 * context keeps its own errors; after any of them the result is the bad tensor of `to`. Not while another thread uses either. */
WEIR_API weir_tensor *weir_replay_into(weir_ctx *to, weir_tensor *root, const weir_rule *rules, int n);

/* Until ended, operations that are given from[i] use to[i] in its place (same type and shape). They nest. */
WEIR_API bool weir_substitute_begin(weir_ctx *w, weir_tensor *const *from, weir_tensor *const *to, int n);
WEIR_API void weir_substitute_end(weir_ctx *w);

#ifdef __cplusplus
}
#endif

#endif
