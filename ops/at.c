/* at.c: weir_NAME_at() for every line of ops.def: the plain function, with the caller's source line for the nodes
 * that it makes. The outermost line wins, so a line that a calling module noted stays. */
#include "ops/common.h"

/* After an error nothing is computed, so nothing is noted: not in the context that stands in for none, either, which is everybody's. */
static const char *enter(weir_ctx *w, const char *here)
{
	return w->status ? w->here : weir__here_enter(w, here);
}

static void leave(weir_ctx *w, const char *outer)
{
	if (w->here != outer) w->here = outer;
}

#define WEIR_UNPACK(...) __VA_ARGS__
#define WEIR_AT(ret, name, params, args, knows)                    \
	ret weir_##name##_at(const char *here, WEIR_UNPACK params) \
	{                                                          \
		weir_ctx *in_ctx = weir__ctx_of(knows);            \
		const char *outer_here = enter(in_ctx, here);      \
		ret result = weir_##name args;                     \
                                                                   \
		leave(in_ctx, outer_here);                         \
		return result;                                     \
	}

#define WEIR_PRIMITIVE WEIR_AT
#define WEIR_COMPOSED WEIR_AT
#include "ops/ops.def"
#undef WEIR_PRIMITIVE
#undef WEIR_COMPOSED
