/* tensor.c: headers and storage: making, keeping, dropping and sharing tensors, and the checks that every call makes of them. Values are read, written and
 * named in access.c. It is longer than most because all that counts references to storage is read together. */
#include "engine/tensor.h"

#include <stdatomic.h>
#include <string.h>

#include "engine/header.h"
#include "engine/hook.h"
#include "engine/op.h"
#include "engine/tape.h"

/* Memory that several contexts look into; the last one frees it, by the allocator it came from. */
typedef struct weir_shared {
	atomic_int refs;
	void *data;
	size_t size;
	weir_allocator allocator;
} weir_shared;

/* ---- storage ---- */

/* The block of a storage record: a value of up to LEAD bytes stands before the record, in the one cache line of both; one of up to INLINE_BYTES
 * behind it; a larger one has a block of its own. */
enum { LEAD = 16, INLINE_BYTES = 1024 };

_Static_assert(LEAD + sizeof(weir_storage) == WEIR_ALIGN, "a number and its record fill a cache line");

static size_t block_bytes(size_t bytes)
{
	return bytes > LEAD && bytes <= INLINE_BYTES ? WEIR_ALIGN + bytes : WEIR_ALIGN;
}

static weir_storage *record_at(char *block, size_t bytes, void *data)
{
	weir_storage *s = (weir_storage *)(void *)(block + LEAD);

	*s = (weir_storage){ .refs = 1, .size = bytes, .data = data };
	return s;
}

/* A storage record, with the value's place where that is in its block; else data is NULL. */
static weir_storage *record_new(weir_ctx *w, size_t bytes)
{
	size_t size = block_bytes(bytes);
	char *block = weir__pool_pop(&w->pool, size, &size);

	if (!block && !(block = weir__pool_take(w, &size))) return NULL;
	return record_at(block, bytes, bytes <= LEAD ? block : bytes <= INLINE_BYTES ? block + WEIR_ALIGN : NULL);
}

static void record_free(weir_ctx *w, weir_storage *s)
{
	weir__pool_push(&w->pool, (char *)s - LEAD, s->borrowed ? WEIR_ALIGN : block_bytes(s->size));
}

size_t weir__storage_bytes(size_t bytes)
{
	return weir__pool_rounded(block_bytes(bytes)) + (bytes > INLINE_BYTES ? weir__pool_rounded(bytes) : 0);
}

static __attribute__((noinline)) weir_storage *storage_of_many(weir_ctx *w, size_t bytes)
{
	weir_storage *s = record_new(w, bytes);
	size_t size = bytes;

	if (!s || s->data || (s->data = weir__pool_take(w, &size))) return s;
	record_free(w, s);
	return NULL;
}

weir_storage *weir__storage_new(weir_ctx *w, size_t bytes)
{
	size_t size;
	char *block = bytes <= LEAD ? weir__pool_pop(&w->pool, WEIR_ALIGN, &size) : NULL;
	weir_storage *s = block ? record_at(block, bytes, block) : storage_of_many(w, bytes);

	if (!s) return NULL;
	w->memory.values += bytes;
	if (w->memory.values > w->memory.values_peak) w->memory.values_peak = w->memory.values;
	return s;
}

static void shared_drop(weir_shared *sh)
{
	weir_allocator a = sh->allocator;

	if (atomic_fetch_sub_explicit(&sh->refs, 1, memory_order_acq_rel) > 1) return;
	a.free(a.user, sh->data, sh->size);
	a.free(a.user, sh, sizeof *sh);
}

static __attribute__((noinline)) void free_many(weir_ctx *w, weir_storage *s)
{
	if (s->shared) shared_drop(s->shared);
	else if (s->size > INLINE_BYTES) weir__pool_give(w, s->data, s->size);
	if (!s->borrowed) w->memory.values -= s->size;
	record_free(w, s);
}

void weir__storage_free(weir_ctx *w, weir_storage *s)
{
	if (s->size > LEAD || s->shared) {
		free_many(w, s);
		return;
	}
	w->memory.values -= s->size;
	weir__pool_push(&w->pool, (char *)s - LEAD, WEIR_ALIGN);
}

void weir__release_value(weir_tensor *t)
{
	if (!t->store) return;
	weir__storage_drop(t->ctx, t->store);
	t->store = NULL;
	t->flags |= WEIR_T_RELEASED;
}

/* ---- headers ---- */

int64_t weir__numel(int rank, const int64_t *shape)
{
	int64_t n = 1;
	bool empty = false;

	for (int i = 0; i < rank; i++) {
		if (shape[i] < 0) return -1;
		if (shape[i] == 0) empty = true;
		else if (__builtin_mul_overflow(n, shape[i], &n) || n > INT64_MAX / 16) return -1;
	}
	return empty ? 0 : n;
}

bool weir__contiguous(int rank, const int64_t *shape, const int64_t *stride)
{
	int64_t step = 1;

	for (int i = 0; i < rank; i++) {
		if (shape[i] == 0) return true;
	}
	for (int i = rank - 1; i >= 0; i--) {
		if (shape[i] != 1 && stride[i] != step) return false;
		step *= shape[i];
	}
	return true;
}

/* A header without storage. */
static weir_tensor *header_new(weir_ctx *w, const weir_op *op, int dtype, int rank, const int64_t *shape)
{
	weir_tensor *t = weir__arena_take(&w->arena[w->arena_now], weir__header_bytes(rank));

	if (!t) return w->bad;
	weir__header_init(t, w, op, dtype, rank, shape);
	weir__header_alone(t);
	return weir__onto_tape(w, t);
}

void weir__header_again(weir_tensor *t, const weir_tensor *like)
{
	int32_t index = t->index;

	weir__header_init(t, t->ctx, &weir__op_input, like->dtype, like->rank, like->shape);
	weir__header_alone(t);
	t->index = index;
}

bool weir__give_storage(weir_tensor *t)
{
	t->store = weir__storage_new(t->ctx, (size_t)t->numel * weir__size_of(t->dtype));
	return t->store != NULL;
}

void weir__look_into(weir_tensor *t, const weir_tensor *x, const int64_t *stride, int64_t offset)
{
	memcpy(t->stride, stride, t->rank * sizeof *stride);
	t->contiguous = weir__contiguous(t->rank, t->shape, stride);
	t->offset = x->offset + offset;
	t->store = x->store;
	t->store->refs++;
	t->version = t->store->version;
}

weir_tensor *weir__tensor_new(weir_ctx *w, const weir_op *op, int dtype, int rank, const int64_t *shape)
{
	weir_tensor *t = header_new(w, op, dtype, rank, shape);

	return weir__is_bad(t) || weir__give_storage(t) ? t : w->bad;
}

weir_tensor *weir__tensor_view(weir_tensor *x, const weir_op *op, int rank, const int64_t *shape, const int64_t *stride,
			       int64_t offset)
{
	weir_tensor *t = header_new(x->ctx, op, x->dtype, rank, shape);

	if (!weir__is_bad(t)) weir__look_into(t, x, stride, offset);
	return t;
}

size_t weir__kept_bytes(void)
{
	return weir__pool_rounded(sizeof(weir_kept)) + weir__header_bytes(WEIR_MAX_RANK);
}

/* Headers of kept tensors have room for any rank, so that dropped ones serve again. */
weir_tensor *weir__kept_new(weir_ctx *w, int dtype, int rank, const int64_t *shape)
{
	weir_tensor *t = w->free_header;
	size_t size = sizeof(weir_kept);
	weir_kept *k = weir__pool_take(w, &size);

	if (!k) return w->bad;
	if (t) w->free_header = (void *)t->in;
	else t = weir__arena_take(&w->lasting, weir__header_bytes(WEIR_MAX_RANK));
	if (!t) {
		weir__pool_give(w, k, size);
		return w->bad;
	}
	weir__header_init(t, w, &weir__op_input, dtype, rank, shape);
	weir__header_alone(t);
	t->life = WEIR_LIFE_KEPT;
	t->flags = WEIR_T_KEPT;
	*k = (weir_kept){ .t = t, .next = w->kept };
	if (w->kept) w->kept->prev = k;
	w->kept = k;
	t->kept = k;
	return t;
}

static void kept_free(weir_ctx *w, weir_kept *k)
{
	weir_tensor *t = k->t;

	if (t->flags & WEIR_T_STANDS_IN) weir__end_substitute(t);
	if (k->prev) k->prev->next = k->next;
	else w->kept = k->next;
	if (k->next) k->next->prev = k->prev;
	if (k->leaf && k->leaf_life == w->life) k->leaf->kept = NULL;
	if (k->grad && k->grad->kept) kept_free(w, k->grad->kept);
	weir__release_value(t);
	weir__text_free(w, k->name);
	weir__pool_give(w, k, sizeof *k);
	t->kept = NULL;
	t->name = NULL;
	t->life = WEIR_LIFE_DEAD;
}

void weir__kept_free_all(weir_ctx *w)
{
	while (w->kept) kept_free(w, w->kept);
}

weir_tensor *weir_keep(weir_tensor *t)
{
	weir_ctx *w = weir__ctx_of(t);
	weir_tensor *k;

	if (!weir__usable(t, "weir_keep")) return w->bad;
	if (t->kept) return t->kept->t;
	k = weir__kept_new(w, t->dtype, t->rank, t->shape);
	if (weir_is_bad(k)) return k;
	weir__look_into(k, t, t->stride, 0);
	k->kept->leaf = t; /* until the reset k stands for t, history and all */
	k->kept->leaf_life = w->life;
	t->kept = k->kept;
	if (t->name) weir_set_name(k, t->name);
	return k;
}

void weir_drop(weir_tensor *t)
{
	weir_ctx *w = weir__ctx_of(t);

	if (!t || w == weir__nowhere() || (t->flags & WEIR_T_BAD)) return;
	if (t->life != WEIR_LIFE_KEPT || !t->kept) { /* works after an error, too; what is gone already is one */
		if (t->life != w->life) weir__alive(t, "weir_drop");
		else
			weir_fail(
				w, WEIR_ERR_ARGUMENT,
				"weir_drop: this tensor belongs to the tape; only kept tensors and parameters can be dropped");
		return;
	}
	weir__hooks_of_kept(w, t);
	kept_free(w, t->kept);
	t->in = w->dropped[0];
	w->dropped[0] = t;
}

weir_tensor *weir_share(weir_ctx *w, weir_tensor *t)
{
	weir_ctx *from = weir__ctx_of(t);
	weir_storage *s = t ? t->store : NULL;
	weir_tensor *k;

	if (!weir_ok(w)) return w ? w->bad : weir__bad(t);
	if (!weir__usable(t, "weir_share"))
		return weir_fail(w, WEIR_ERR_ARGUMENT, "weir_share: the tensor can't be used: %s", from->message);
	if (!(t->flags & WEIR_T_KEPT))
		return weir_fail(
			w, WEIR_ERR_ARGUMENT,
			"weir_share: this tensor belongs to a tape and would end with it; share weir_keep(t) instead");
	if (!s->shared) { /* move the value to memory of its own, which no pool takes away */
		weir_allocator a = from->options.allocator;
		weir_shared *sh = a.alloc(a.user, sizeof *sh, WEIR_ALIGN);
		void *data = sh ? a.alloc(a.user, s->size + WEIR_ALIGN, WEIR_ALIGN) : NULL;

		if (!data) {
			if (sh) a.free(a.user, sh, sizeof *sh);
			return weir_fail(w, WEIR_ERR_MEMORY, "weir_share: out of memory: %zu bytes", s->size);
		}
		memcpy(data, s->data, s->size);
		*sh = (weir_shared){ .data = data, .size = s->size + WEIR_ALIGN, .allocator = a };
		atomic_init(&sh->refs, 1);
		if (s->size > INLINE_BYTES) weir__pool_give(from, s->data, s->size);
		s->data = data;
		s->shared = sh;
	}
	k = weir__kept_new(w, t->dtype, t->rank, t->shape);
	if (weir_is_bad(k)) return k;
	memcpy(k->stride, t->stride, (size_t)t->rank * sizeof *t->stride);
	k->contiguous = t->contiguous;
	k->offset = t->offset;
	k->flags |= WEIR_T_SHARED;
	k->store = record_new(w, 0);
	if (!k->store) {
		kept_free(w, k->kept);
		return w->bad;
	}
	*k->store =
		(weir_storage){ .data = s->data, .size = s->size, .refs = 1, .shared = s->shared, .borrowed = true };
	atomic_fetch_add_explicit(&s->shared->refs, 1, memory_order_relaxed);
	if (weir_name(t)[0]) weir_set_name(k, weir_name(t));
	return k;
}

/* ---- checks ---- */

weir_ctx *weir__ctx_of_any(const weir_tensor *t)
{
	return t ? weir__chunk_context(t) : weir__nowhere();
}

bool weir__alive(const weir_tensor *t, const char *who)
{
	weir_ctx *w = weir__ctx_of(t);
	weir_text_buf text;

	if (w->status) return false;
	if (t->life == WEIR_LIFE_KEPT ? !(t->flags & WEIR_T_BAD) : t->life == w->life) return true;
	if (t->flags & WEIR_T_BAD) {
		weir_fail(w, WEIR_ERR_ARGUMENT,
			  "%s: the operand is the bad tensor, which an earlier call that failed returned", who);
	} else if (t->life == WEIR_LIFE_DEAD || t->life > w->life) {
		weir_fail(
			w, WEIR_ERR_STALE,
			"%s: stale tensor: it was dropped, rewound, or its tape was reset; weir_keep() makes a tensor last",
			who);
	} else {
		weir_fail(
			w, WEIR_ERR_STALE,
			"%s: stale tensor: %s was made %u tape(s) ago; weir_tape_reset() ends all tensors of a tape, weir_keep() makes one last",
			who, weir__describe(t, &text), w->life - t->life);
	}
	return false;
}

bool weir__belongs(weir_ctx *w, const weir_tensor *t, const char *who, const char *what)
{
	if (!t) weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %s is NULL", who, what);
	else if (weir__ctx_of(t) != w)
		weir_fail(w, WEIR_ERR_CONTEXT,
			  "%s: %s belongs to another context; weir_share() lends a kept tensor to one", who, what);
	else return true;
	return false;
}

bool weir__usable(const weir_tensor *t, const char *who)
{
	weir_text_buf text;

	if (!weir__alive(t, who)) return false;
	if (t->store) return true;
	weir_fail(t->ctx, WEIR_ERR_STALE, "%s: the value of %s was released: %s", who, weir__describe(t, &text),
		  t->ctx->options.free_values
			  ? "weir_options.free_values lets backward release values after their last use"
			  : "it was scratch inside a composed function");
	return false;
}
