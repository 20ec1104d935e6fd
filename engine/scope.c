/* scope.c: see scope.h. */
#include "engine/scope.h"

#include <string.h>

#include "engine/context.h"

static uint32_t hash(const char *s, size_t n)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 16777619u;
	return h ? h : 1;
}

/* Grows *list (count elements of size bytes in use) to hold one more. */
static bool grow(weir_ctx *w, void **list, uint32_t count, uint32_t *capacity, size_t size)
{
	uint32_t more = *capacity ? 2 * *capacity : 32;
	size_t bytes = more * size;
	void *bigger;

	if (count < *capacity) return true;
	bigger = weir__pool_take(w, &bytes);
	if (!bigger) return false;
	if (count) memcpy(bigger, *list, count * size);
	if (*list) weir__pool_give(w, *list, *capacity * size);
	*list = bigger;
	*capacity = more;
	return true;
}

static bool rehash(weir_ctx *w, weir_scopes *s)
{
	uint32_t slots = s->slots ? 2 * s->slots : 64;
	size_t bytes = slots * sizeof *s->slot;
	uint32_t *slot = weir__pool_take(w, &bytes);

	if (!slot) return false;
	memset(slot, 0, slots * sizeof *slot);
	for (uint32_t i = 0; i < s->count; i++) {
		uint32_t h = hash(s->list[i].path, s->list[i].length) & (slots - 1);

		while (slot[h]) h = (h + 1) & (slots - 1);
		slot[h] = i + 1;
	}
	if (s->slot) weir__pool_give(w, s->slot, s->slots * sizeof *s->slot);
	s->slot = slot;
	s->slots = slots;
	return true;
}

/* The number of a path, made where it is new. 0 on failure, which is also "". */
static uint32_t intern(weir_ctx *w, const char *path, size_t n)
{
	weir_scopes *s = &w->scopes;
	void *list = s->list;
	uint32_t h;
	char *copy;
	size_t bytes = n + 1;

	for (h = hash(path, n) & (s->slots - 1); s->slot[h]; h = (h + 1) & (s->slots - 1)) {
		const weir_scope *e = &s->list[s->slot[h] - 1];

		if (e->length == n && !memcmp(e->path, path, n)) return s->slot[h] - 1;
	}
	if (2 * (s->count + 1) > s->slots) {
		if (!rehash(w, s)) return 0;
		for (h = hash(path, n) & (s->slots - 1); s->slot[h];) h = (h + 1) & (s->slots - 1);
	}
	if (!grow(w, &list, s->count, &s->capacity, sizeof *s->list)) return 0;
	s->list = list;
	copy = weir__pool_take(w, &bytes);
	if (!copy) return 0;
	memcpy(copy, path, n);
	copy[n] = 0;
	s->list[s->count] = (weir_scope){ .path = copy, .length = n };
	s->slot[h] = ++s->count;
	return s->count - 1;
}

bool weir__scopes_init(weir_ctx *w)
{
	weir_scopes *s = &w->scopes;

	if (!rehash(w, s)) return false;
	intern(w, "", 0);
	return s->count == 1;
}

void weir__scopes_free(weir_ctx *w)
{
	weir_scopes *s = &w->scopes;

	for (uint32_t i = 0; i < s->count; i++) weir__pool_give(w, s->list[i].path, s->list[i].length + 1);
	memset(s, 0, sizeof *s);
}

const char *weir__scope_path(const weir_ctx *w, uint32_t scope)
{
	return scope < w->scopes.count ? w->scopes.list[scope].path : "";
}

static void push(weir_ctx *w, uint32_t scope, uint32_t call, bool module)
{
	weir_scopes *s = &w->scopes;
	void *stack = s->stack;

	if (!grow(w, &stack, s->depth, &s->stack_capacity, sizeof *s->stack)) {
		s->lost++; /* its end must not pop another's */
		return;
	}
	s->stack = stack;
	s->stack[s->depth].scope = scope;
	s->stack[s->depth].call = call;
	s->stack[s->depth++].module = module;
}

static void enter(weir_ctx *w, uint32_t base, const char *name, bool module)
{
	char path[512];
	const char *head = weir__scope_path(w, base), *dot = head[0] ? "." : "";
	size_t outer = strlen(head) + strlen(dot), n = outer + strlen(name);
	uint32_t id;
	weir_scope *scope;

	if (n >= sizeof path) {
		weir_fail(w, WEIR_ERR_LIMIT, "weir_scope_begin: the path %.60s%s%.60s... is longer than %zu bytes",
			  head, dot, name, sizeof path - 1);
		push(w, base, 1, module);
		return;
	}
	/* Every layer of every step comes by, and snprintf takes longer than a small operation. */
	strcpy(path, head);
	strcpy(path + strlen(head), dot);
	strcpy(path + outer, name);
	id = intern(w, path, n);
	scope = &w->scopes.list[id];
	if (scope->calls_life != w->life) {
		scope->calls_life = w->life;
		scope->calls = 0;
	}
	push(w, id, ++scope->calls, module);
}

uint32_t weir__scope_number(weir_ctx *w, const char *path)
{
	return intern(w, path, strlen(path));
}

/* Beginnings and ends work after an error, too, so that they stay in step. */
void weir_scope_begin(weir_ctx *w, const char *name)
{
	uint32_t call;

	if (!w || w == weir__nowhere()) return;
	if (!name || !name[0]) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_scope_begin: a scope needs a name");
		name = "unnamed";
	}
	enter(w, weir__scope_now(&w->scopes, &call), name, false);
}

void weir__scope_begin_path(weir_ctx *w, const char *path)
{
	const weir_scopes *s = &w->scopes;
	uint32_t base = 0;

	if (w == weir__nowhere()) return;
	for (uint32_t i = s->depth; i > 0; i--) {
		if (s->stack[i - 1].module) continue;
		base = s->stack[i - 1].scope;
		break;
	}
	enter(w, base, path, true);
}

void weir__scope_set(weir_ctx *w, uint32_t scope, uint32_t call)
{
	push(w, scope, call, true);
}

void weir_scope_end(weir_ctx *w)
{
	if (!w || w == weir__nowhere()) return;
	if (w->scopes.lost) w->scopes.lost--;
	else if (w->scopes.depth) w->scopes.depth--;
	else
		weir_fail(w, WEIR_ERR_ARGUMENT,
			  "weir_scope_end: no scope is open; every weir_scope_end() needs its weir_scope_begin()");
}
