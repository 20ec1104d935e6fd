/* memory.h: the allocator hook, the bump arena for node headers, the pool for values.
 *
 * Everything a context allocates goes through weir__alloc, which counts and obeys the memory limit. The arena gives headers that die
 * together; the pool gives 64-byte aligned blocks by size class and keeps what comes back, so that a steady training step never
 * reaches the allocator. */
#ifndef WEIR_ENGINE_MEMORY_H
#define WEIR_ENGINE_MEMORY_H

#include <weir/engine.h>

enum {
	WEIR_ALIGN = 64,
	WEIR_ARENA_CHUNK = 1 << 18, /* bytes of an arena chunk; chunks are aligned to their size */
	WEIR_ARENA_HEAD = 64,       /* bytes at a chunk's start that belong to the arena */
	WEIR_POOL_CLASSES = 4 * 48, /* four size classes per power of two */
	WEIR_SLAB = 1 << 16,        /* small blocks are cut from slabs of this size */
	WEIR_SLAB_MAX = 2048,       /* largest block cut from a slab */
};
#define WEIR_VALUE_MAX ((size_t)1 << 55) /* bytes: beyond, sizes could not be rounded */

/* NULL after reporting MEMORY. size is given back to weir__free. */
void *weir__alloc(weir_ctx *w, size_t size, size_t align);
void weir__free(weir_ctx *w, void *p, size_t size);
weir_allocator weir__allocator_of(const weir_ctx *w);
/* A counted copy of text on the context; NULL text gives "". */
char *weir__text_copy(weir_ctx *w, const char *text);
void weir__text_free(weir_ctx *w, char *text);

typedef struct weir_chunk {
	weir_ctx *ctx; /* at the chunk's start: a stale header's context is found by its address */
	struct weir_chunk *next;
	void *base; /* what the allocator gave */
	size_t size;
	bool retired; /* only stale headers in it; its pages may be gone */
} weir_chunk;

typedef struct weir_arena {
	weir_ctx *ctx;
	weir_chunk *first, *last, *now; /* now: where the next bytes come from */
	size_t used;                    /* bytes of now that are taken */
} weir_arena;

typedef struct weir_arena_place {
	weir_chunk *now;
	size_t used;
} weir_arena_place;

/* 16-byte aligned, at most WEIR_ARENA_CHUNK - WEIR_ARENA_HEAD bytes; NULL after reporting MEMORY. */
bool weir__arena_grow(weir_arena *a, size_t size); /* so that size bytes are left of `now` */
static inline void *weir__arena_take(weir_arena *a, size_t size)
{
	size_t begin = a->used;

	size = (size + 15) & ~(size_t)15;
	if (!a->now || begin + size > WEIR_ARENA_CHUNK) {
		if (!weir__arena_grow(a, size)) return NULL;
		begin = a->used;
	}
	a->used = begin + size;
	return (char *)a->now + begin;
}
weir_arena_place weir__arena_place(const weir_arena *a);
void weir__arena_rewind(weir_arena *a, weir_arena_place place);
void weir__arena_retire(weir_arena *a); /* check_stale: never hand out these addresses again */
void weir__arena_free(weir_arena *a);
weir_ctx *weir__chunk_context(const void *header);

typedef struct weir_free_block {
	struct weir_free_block *next;
} weir_free_block;

typedef struct weir_pool {
	weir_free_block *list[WEIR_POOL_CLASSES];
	struct weir_region *regions; /* what came from the allocator: slabs and large blocks */
	char *slab;                  /* rest of the newest slab */
	size_t slab_left;
	void *scratch; /* one block for what an operation needs while it runs: see weir__scratch_alloc */
	size_t scratch_size;
	bool scratch_used;
} weir_pool;

/* 64-byte aligned; *size is rounded up to the class and goes back to weir__pool_give. NULL after reporting MEMORY. */
void *weir__pool_take(weir_ctx *w, size_t *size);
void weir__pool_give(weir_ctx *w, void *p, size_t size);
void weir__pool_free(weir_ctx *w);
size_t weir__pool_rounded(size_t size); /* what a block of that size takes of the pool's memory */
/* Between the two the pool begins with no free block, so that what happens there takes of the allocator what it would take of a new context; at the
 * end the free blocks come back, and large ones that are new and not in use are freed. */
typedef struct weir_pool_aside {
	struct weir_free_block *list[WEIR_POOL_CLASSES];
	struct weir_region *regions; /* that were there already */
	size_t bytes;                /* in the free blocks */
} weir_pool_aside;
void weir__pool_set_aside(weir_ctx *w, weir_pool_aside *aside);
void weir__pool_bring_back(weir_ctx *w, weir_pool_aside *aside);
/* Before they come back: what the context would hold without them, and with both arenas as large as the larger. */
size_t weir__memory_needed(const weir_ctx *w, const weir_pool_aside *aside);

/* Memory for as long as an operation runs: for a forward or fused function. Large blocks come one after the other from a single one, which
 * grows to the largest and belongs to no size class: the workspaces of a step's products are of many sizes. NULL after reporting; *got goes back
 * to weir__scratch_free. */
void *weir__scratch_alloc(weir_ctx *w, size_t bytes, size_t *got);
void weir__scratch_free(weir_ctx *w, void *p, size_t got);

/* The size class of a block, and its size: four classes per power of two, all multiples of 64 bytes. */
static inline int weir__pool_class(size_t size, size_t *rounded)
{
	int e;

	if (size <= 256) {
		int c = size ? (int)((size - 1) / 64) : 0;

		*rounded = ((size_t)c + 1) * 64;
		return c;
	}
	e = 63 - __builtin_clzll(size - 1);
	*rounded = (((size - 1) >> (e - 2)) + 1) << (e - 2);
	return 4 + 4 * (e - 8) + (int)((size - 1) >> (e - 2)) - 4;
}

/* Take and give as far as they need no more than a list, inline for who takes a block per node: a block that came back, or NULL. */
static inline void *weir__pool_pop(weir_pool *pool, size_t size, size_t *rounded)
{
	weir_free_block **list = &pool->list[weir__pool_class(size, rounded)], *b = *list;

	if (b) *list = b->next;
	return b;
}

static inline void weir__pool_push(weir_pool *pool, void *p, size_t size)
{
	size_t rounded;
	weir_free_block **list = &pool->list[weir__pool_class(size, &rounded)], *b = p;

	b->next = *list;
	*list = b;
}

/* Objects of higher floors (modules, data sets, ...) that die with the context. */
typedef struct weir_owned {
	void (*destroy)(void *object);
	void *object;
	struct weir_owned *next, *prev;
} weir_owned;

/* Ties an object's life to the context. NULL after reporting. */
weir_owned *weir__own(weir_ctx *w, void *object, void (*destroy)(void *object));
void weir__disown(weir_ctx *w, weir_owned *o); /* forgets it without destroying */

#endif
