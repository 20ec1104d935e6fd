/* scope.h: the stack of layer names that nodes carry. Paths are interned: a node holds a number. nn pushes absolute
 * module paths on it, users push names; flow and pictures read paths back and never see a module. */
#ifndef WEIR_ENGINE_SCOPE_H
#define WEIR_ENGINE_SCOPE_H

#include <weir/engine.h>

typedef struct weir_scope {
	char *path;
	size_t length;
	uint32_t calls; /* on the tape calls_life */
	uint32_t calls_life;
} weir_scope;

typedef struct weir_scopes {
	weir_scope *list; /* list[0] is "" */
	uint32_t count, capacity;
	uint32_t *slot; /* hash table of list indices + 1 */
	uint32_t slots;
	struct weir_scope_frame {
		uint32_t scope, call;
		bool module; /* set by an absolute path */
	} * stack;
	uint32_t depth, stack_capacity;
	uint32_t lost; /* beginnings that had no memory */
} weir_scopes;

/* Enters path below the innermost user scope (module paths are whole: "mlp.3.linear"). Ends with weir_scope_end(). */
void weir__scope_begin_path(weir_ctx *w, const char *path);
static inline uint32_t weir__scope_now(const weir_scopes *s, uint32_t *call)
{
	static const struct weir_scope_frame none = { .scope = 0, .call = 1 };
	const struct weir_scope_frame *now = s->depth ? &s->stack[s->depth - 1] : &none;

	*call = now->call;
	return now->scope;
}
const char *weir__scope_path(const weir_ctx *w, uint32_t scope);
uint32_t weir__scope_number(weir_ctx *w, const char *path); /* known from now on; 0, which is also "", on failure */
void weir__scope_set(weir_ctx *w, uint32_t scope,
		     uint32_t call); /* for rules: pushes a known scope without counting a call */
bool weir__scopes_init(weir_ctx *w);
void weir__scopes_free(weir_ctx *w);

#endif
