/* memory.c: see memory.h. */
#include "engine/memory.h"

#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "engine/context.h"

void *weir__alloc(weir_ctx *w, size_t size, size_t align)
{
	void *p = NULL;

	size_t limit = w->options.memory_limit;

	if (!limit || (w->memory.held <= limit && size <= limit - w->memory.held))
		p = w->options.allocator.alloc(w->options.allocator.user, size, align);
	if (!p) {
		weir_fail(w, WEIR_ERR_MEMORY,
			  "%s: out of memory: %zu bytes more, %zu are held, the limit is %zu (0: none)",
			  w->outer ? w->outer : "weir", size, w->memory.held, w->options.memory_limit);
		return NULL;
	}
	w->memory.allocator_calls++;
	w->memory.held += size;
	if (w->memory.held > w->memory.peak) w->memory.peak = w->memory.held;
	return p;
}

void weir__free(weir_ctx *w, void *p, size_t size)
{
	if (!p) return;
	w->memory.held -= size;
	w->options.allocator.free(w->options.allocator.user, p, size);
}

weir_allocator weir__allocator_of(const weir_ctx *w)
{
	return w->options.allocator;
}

char *weir__text_copy(weir_ctx *w, const char *text)
{
	size_t size = strlen(text ? text : "") + 1;
	char *copy = weir__pool_take(w, &size);

	if (copy) strcpy(copy, text ? text : "");
	return copy;
}

void weir__text_free(weir_ctx *w, char *text)
{
	if (text) weir__pool_give(w, text, strlen(text) + 1);
}

/* ---- arena ---- */

static weir_chunk *chunk_new(weir_arena *a)
{
	weir_chunk *c = weir__alloc(a->ctx, WEIR_ARENA_CHUNK, WEIR_ARENA_CHUNK);

	if (!c) return NULL;
	*c = (weir_chunk){ .ctx = a->ctx };
	if (a->last) a->last->next = c;
	else a->first = c;
	a->last = c;
	return c;
}

bool weir__arena_grow(weir_arena *a, size_t size)
{
	weir_chunk *next = a->now ? a->now->next : a->first;

	if (size > WEIR_ARENA_CHUNK - WEIR_ARENA_HEAD) {
		weir_fail(a->ctx, WEIR_ERR_LIMIT, "weir: %zu bytes for one node: too many operands, or too long a text",
			  size);
		return false;
	}
	if (!next && !(next = chunk_new(a))) return false;
	a->now = next;
	a->used = WEIR_ARENA_HEAD;
	return true;
}

weir_arena_place weir__arena_place(const weir_arena *a)
{
	return (weir_arena_place){ a->now, a->used };
}

void weir__arena_rewind(weir_arena *a, weir_arena_place place)
{
#ifndef NDEBUG
	for (weir_chunk *c = place.now ? place.now : a->first; c; c = c->next) { /* poison */
		size_t from = c == place.now ? place.used : WEIR_ARENA_HEAD,
		       to = c == a->now ? a->used : WEIR_ARENA_CHUNK;

		if (a->now) memset((char *)c + from, 0, to - from);
		if (c == a->now) break;
	}
#endif
	a->now = place.now;
	a->used = place.used;
}

void weir__arena_retire(weir_arena *a)
{
	for (weir_chunk *c = a->first; c && c != a->now; c = c->next) {
		if (c->retired) continue;
		c->retired = true;
#ifdef __linux__
		if (!a->ctx->options.allocator.user) madvise((char *)c + 4096, WEIR_ARENA_CHUNK - 4096, MADV_DONTNEED);
#endif
	}
}

void weir__arena_free(weir_arena *a)
{
	for (weir_chunk *c = a->first, *next; c; c = next) {
		next = c->next;
		weir__free(a->ctx, c, WEIR_ARENA_CHUNK);
	}
	a->first = a->last = a->now = NULL;
	a->used = 0;
}

weir_ctx *weir__chunk_context(const void *header)
{
	return ((const weir_chunk *)((uintptr_t)header & ~(uintptr_t)(WEIR_ARENA_CHUNK - 1)))->ctx;
}

/* ---- pool ---- */

typedef struct weir_region {
	struct weir_region *next;
	size_t size;
} weir_region;

static size_t size_of_class(int c)
{
	return c < 4 ? ((size_t)c + 1) * 64 : (size_t)(5 + c % 4) << (6 + (c - 4) / 4);
}

static void *region_new(weir_ctx *w, size_t size)
{
	weir_region *r = weir__alloc(w, size + WEIR_ALIGN, WEIR_ALIGN);

	if (!r) return NULL;
	r->size = size + WEIR_ALIGN;
	r->next = w->pool.regions;
	w->pool.regions = r;
	return (char *)r + WEIR_ALIGN;
}

void *weir__pool_take(weir_ctx *w, size_t *size)
{
	weir_pool *pool = &w->pool;
	void *b;
	size_t rounded;

	if (*size > WEIR_VALUE_MAX) {
		weir_fail(w, WEIR_ERR_MEMORY, "weir: out of memory: %zu bytes for one value", *size);
		return NULL;
	}
	b = weir__pool_pop(pool, *size, &rounded);
	*size = rounded;
	if (b) return b;
	if (rounded > WEIR_SLAB_MAX) return region_new(w, rounded);
	if (pool->slab_left < rounded) {
		while (pool->slab_left >= 64) { /* the rest becomes small blocks */
			weir__pool_give(w, pool->slab, 64);
			pool->slab += 64;
			pool->slab_left -= 64;
		}
		pool->slab = region_new(w, WEIR_SLAB - WEIR_ALIGN);
		pool->slab_left = pool->slab ? WEIR_SLAB - WEIR_ALIGN : 0;
		if (!pool->slab) return NULL;
	}
	b = pool->slab;
	pool->slab += rounded;
	pool->slab_left -= rounded;
	return b;
}

void weir__pool_give(weir_ctx *w, void *p, size_t size)
{
	if (p) weir__pool_push(&w->pool, p, size);
}

size_t weir__pool_rounded(size_t size)
{
	size_t rounded;

	weir__pool_class(size, &rounded);
	return rounded > WEIR_SLAB_MAX ? rounded + WEIR_ALIGN : rounded;
}

/* ---- a pool that begins anew ---- */

void weir__pool_set_aside(weir_ctx *w, weir_pool_aside *aside)
{
	weir_pool *pool = &w->pool;

	memcpy(aside->list, pool->list, sizeof pool->list);
	memset(pool->list, 0, sizeof pool->list);
	aside->regions = pool->regions;
	aside->bytes = 0;
	for (int c = 0; c < WEIR_POOL_CLASSES; c++) {
		size_t size = weir__pool_rounded(size_of_class(c));

		for (const weir_free_block *b = aside->list[c]; b; b = b->next) aside->bytes += size;
	}
}

static size_t chunks_of(const weir_arena *a)
{
	size_t n = 0;

	for (const weir_chunk *c = a->first; c; c = c->next) n++;
	return n;
}

size_t weir__memory_needed(const weir_ctx *w, const weir_pool_aside *aside)
{
	size_t a = chunks_of(&w->arena[0]), b = chunks_of(&w->arena[1]);

	return w->memory.held - aside->bytes + (a > b ? a - b : b - a) * WEIR_ARENA_CHUNK;
}

/* In the lowest bits of a region's size, while blocks come back. */
enum { NEW = 1, UNUSED = 2 };

static weir_region *region_of(void *block)
{
	return (weir_region *)(void *)((char *)block - WEIR_ALIGN);
}

/* Takes the blocks of new regions out of a list of large ones. */
static void leave_out_new(weir_free_block **list)
{
	while (*list) {
		weir_region *r = region_of(*list);

		if (r->size & NEW) {
			r->size |= UNUSED;
			*list = (*list)->next;
		} else {
			list = &(*list)->next;
		}
	}
}

void weir__pool_bring_back(weir_ctx *w, weir_pool_aside *aside)
{
	weir_pool *pool = &w->pool;

	for (weir_region *r = pool->regions; r != aside->regions; r = r->next) r->size |= NEW;
	for (int c = 0; c < WEIR_POOL_CLASSES; c++) {
		weir_free_block **end = &pool->list[c];

		if (size_of_class(c) > WEIR_SLAB_MAX) leave_out_new(end);
		while (*end) end = &(*end)->next;
		*end = aside->list[c];
	}
	for (weir_region **at = &pool->regions; *at != aside->regions;) {
		weir_region *r = *at;
		size_t marks = r->size & (NEW | UNUSED);

		r->size -= marks;
		if (marks & UNUSED) {
			*at = r->next;
			weir__free(w, r, r->size);
		} else {
			at = &r->next;
		}
	}
}

void *weir__scratch_alloc(weir_ctx *w, size_t bytes, size_t *got)
{
	weir_pool *pool = &w->pool;
	size_t rounded;

	*got = bytes;
	if (bytes <= WEIR_SLAB_MAX || bytes > WEIR_VALUE_MAX || pool->scratch_used) return weir__pool_take(w, got);
	if (bytes > pool->scratch_size) {
		weir__pool_class(bytes, &rounded);
		weir__free(w, pool->scratch, pool->scratch_size);
		pool->scratch_size = 0;
		if (!(pool->scratch = weir__alloc(w, rounded, WEIR_ALIGN))) return NULL;
		pool->scratch_size = rounded;
	}
	pool->scratch_used = true;
	return pool->scratch;
}

void weir__scratch_free(weir_ctx *w, void *p, size_t got)
{
	if (p && p == w->pool.scratch) w->pool.scratch_used = false;
	else weir__pool_give(w, p, got);
}

void weir__pool_free(weir_ctx *w)
{
	weir__free(w, w->pool.scratch, w->pool.scratch_size);
	for (weir_region *r = w->pool.regions, *next; r; r = next) {
		next = r->next;
		weir__free(w, r, r->size);
	}
	memset(&w->pool, 0, sizeof w->pool);
}
