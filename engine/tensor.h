/* tensor.h: what a tensor is inside. Header (this struct), storage (reference-counted memory), and for kept tensors a record. */
#ifndef WEIR_ENGINE_TENSOR_H
#define WEIR_ENGINE_TENSOR_H

#include <weir/engine.h>

/* Memory that tensors look into. Views share it. */
typedef struct weir_storage {
	void *data;
	size_t size;                /* bytes of the value */
	int32_t refs;               /* tensors of the owner's context that look into it */
	uint32_t version;           /* counts writes; a node remembers the version that its rule will read */
	const char *writer;         /* who wrote last, for the message */
	struct weir_shared *shared; /* where another context reads it too */
	bool borrowed;              /* the memory is another context's */
} weir_storage;

enum {
	WEIR_T_BAD = 1,         /* the context's bad tensor */
	WEIR_T_KEPT = 2,        /* owned by the context */
	WEIR_T_RECORDED = 4,    /* a node that backward passes through */
	WEIR_T_NEEDED = 8,      /* a rule on the tape reads its value */
	WEIR_T_RELEASED = 16,   /* its value went back to the pool */
	WEIR_T_RETAIN = 32,     /* weir_retain_grad */
	WEIR_T_HOOKED = 64,     /* has hooks of its own */
	WEIR_T_PINNED = 128,    /* stays in the sweep that runs */
	WEIR_T_STANDS_IN = 256, /* was made a substitute: see weir_substitute_begin */
	WEIR_T_SHARED = 512,    /* another context's memory: read only */
};

enum { WEIR_LIFE_DEAD = 0, WEIR_LIFE_KEPT = 1, WEIR_LIFE_FIRST = 2 }; /* tape tensors carry the tape's number */

struct weir_tensor {
	weir_ctx *ctx;
	weir_storage *store;
	int64_t offset; /* of the first element, in elements */
	int64_t numel;
	int64_t *shape;    /* rank extents */
	int64_t *stride;   /* rank strides, in elements */
	const weir_op *op; /* what made it; weir__op_input or weir__op_param for leaves */
	const void *attr;
	weir_tensor **in;
	uint32_t *in_version;   /* of the storage of in[i] when y was made */
	const char *name;       /* given, or NULL */
	const char *here;       /* source line, or NULL */
	struct weir_kept *kept; /* of kept tensors; of their leaves on the tape: the kept tensor's */
	uint32_t life;          /* see WEIR_LIFE_ */
	uint32_t version;       /* of its own storage when it was made */
	int32_t index;          /* on the tape, or -1 */
	int32_t origin;         /* node whose rule made it, or -1 */
	uint32_t scope, call;
	uint16_t flags;
	uint8_t dtype, rank, contiguous, order;
	int32_t nin;
};

/* What a kept tensor has beside its header. */
typedef struct weir_kept {
	weir_tensor *t;
	weir_tensor *grad; /* accumulator's header, or NULL before the first gradient */
	weir_tensor *leaf; /* its node on the present tape */
	uint32_t leaf_life;
	weir_tensor *substitute; /* stands in for it, see weir_substitute_begin */
	weir_tensor *copy;       /* in the other context, while weir_replay_into() runs; else NULL */
	struct weir_hook *hooks;
	struct weir_kept *next, *prev;
	char *name;
	bool param, frozen;
	bool has_grad;    /* false: fresh, the first contribution writes */
	bool norm_wanted; /* by an optimiser, which reads it in place of the gradient: see weir__known_norm */
	double norm;      /* of grad, when its storage had norm_version; NaN where it is not known */
	uint32_t norm_version;
} weir_kept;

static inline bool weir__is_bad(const weir_tensor *t)
{
	return (t->flags & WEIR_T_BAD) != 0;
}

static inline size_t weir__size_of(int dtype)
{
	static const uint8_t size[] = { [WEIR_F32] = 4, [WEIR_F64] = 8, [WEIR_I32] = 4, [WEIR_I64] = 8, [WEIR_U8] = 1 };

	return size[dtype];
}

static inline bool weir__is_float(int dtype)
{
	return dtype == WEIR_F32 || dtype == WEIR_F64;
}

/* Of one type and shape? */
static inline bool weir__alike(const weir_tensor *a, const weir_tensor *b)
{
	if (a->dtype != b->dtype || a->rank != b->rank) return false;
	for (int i = 0; i < a->rank; i++) {
		if (a->shape[i] != b->shape[i]) return false;
	}
	return true;
}

/* n of them of one floating type and one shape? */
static inline bool weir__all_alike(weir_tensor *const *t, int n)
{
	for (int i = 1; i < n; i++) {
		if (!weir__alike(t[0], t[i])) return false;
	}
	return weir__is_float(t[0]->dtype);
}

/* Does the rule of op read operand i's value? */
static inline bool weir__keeps_in(const weir_op *op, int i)
{
	return i < 30 ? (op->keeps >> (i + 1)) & 1 : (op->keeps >> 31) & 1;
}

/* Address of the first element, of a tensor whose value is there. */
static inline void *weir__there(const weir_tensor *t)
{
	return (char *)t->store->data + (size_t)t->offset * weir__size_of(t->dtype);
}

/* Address of the first element; NULL only where there is none. */
static inline void *weir__at(const weir_tensor *t)
{
	return t->store && t->store->data ? (char *)t->store->data + (size_t)t->offset * weir__size_of(t->dtype) : NULL;
}

/* A usable tensor: alive, value there, no bad tensor. Reports STALE or ARGUMENT otherwise; who: "weir_item". */
bool weir__usable(const weir_tensor *t, const char *who);
/* Alive: its header may be read, but the value may have been released. */
bool weir__alive(const weir_tensor *t, const char *who);
/* Of this context; reports CONTEXT otherwise. what: "gy". NULL is none of it either, and reports ARGUMENT. */
bool weir__belongs(weir_ctx *w, const weir_tensor *t, const char *who, const char *what);
/* The context of any tensor, stale ones too; that of the nowhere context for NULL. */
weir_ctx *weir__ctx_of_any(const weir_tensor *t);
static inline weir_ctx *weir__ctx_of(const weir_tensor *t)
{
	return t && t->ctx ? t->ctx : weir__ctx_of_any(t);
}

/* A new tape tensor with fresh uninitialised storage, contiguous; for gradients and leaves. The bad tensor on failure. */
weir_tensor *weir__tensor_new(weir_ctx *w, const weir_op *op, int dtype, int rank, const int64_t *shape);
/* A header that looks into t's storage with another shape. */
weir_tensor *weir__tensor_view(weir_tensor *t, const weir_op *op, int rank, const int64_t *shape, const int64_t *stride,
			       int64_t offset);
/* Their parts: fresh storage; x's storage, with strides of t's own; a header made again in the place of one that nobody needs, on the same tape
 * and of the same rank. */
bool weir__give_storage(weir_tensor *t); /* false after reporting */
void weir__look_into(weir_tensor *t, const weir_tensor *x, const int64_t *stride, int64_t offset);
void weir__header_again(weir_tensor *t, const weir_tensor *like);
weir_storage *weir__storage_new(weir_ctx *w, size_t bytes);
size_t weir__storage_bytes(size_t bytes); /* that a storage for so many takes of the pool */
void weir__storage_free(weir_ctx *w, weir_storage *s);
static inline void weir__storage_drop(weir_ctx *w, weir_storage *s)
{
	if (s && --s->refs == 0) weir__storage_free(w, s);
}
void weir__release_value(weir_tensor *t);            /* gives the value back; the header stays */
int64_t weir__numel(int rank, const int64_t *shape); /* -1: negative extent or more than INT64_MAX / 16 elements */
bool weir__contiguous(int rank, const int64_t *shape, const int64_t *stride);
double weir__get(const weir_tensor *t, int64_t i); /* element i, row-major, no checks */
void weir__set(weir_tensor *t, int64_t i, double v);
int64_t weir__element_offset(const weir_tensor *t, int64_t i);

/* Kept tensors. */
/* The norm of a parameter's accumulator, as weir__norm2 would give it, where backward has left it; else NaN. */
double weir__known_norm(const weir_tensor *param);
size_t weir__kept_bytes(void); /* that a kept tensor takes beside its storage and its name */
weir_tensor *weir__kept_new(weir_ctx *w, int dtype, int rank, const int64_t *shape);
void weir__kept_free_all(weir_ctx *w);

#endif
