/* at.c: weir_NAME_at() for every line of ops.def: the plain function, with the caller's source line for the nodes
 * that it makes. The outermost line wins, so a line that a calling module noted stays. */
#include "ops/common.h"

/* Where the line is to be noted, or NULL: an outer one stands there. After an error nothing is computed, so nothing is noted: not in the context
 * that stands in for none, either, which is everybody's. */
static inline weir_ctx *notes(const weir_tensor *t)
{
	weir_ctx *w = t ? t->ctx : NULL;

	return w && !w->status && !w->here ? w : NULL;
}

#define WEIR_UNPACK(...) __VA_ARGS__
#define WEIR_AT(ret, name, params, args, knows)                    \
	ret weir_##name##_at(const char *here, WEIR_UNPACK params) \
	{                                                          \
		weir_ctx *in_ctx = notes(knows);                   \
		ret result;                                        \
                                                                   \
		if (!in_ctx) return weir_##name args;              \
		in_ctx->here = here;                               \
		result = weir_##name args;                         \
		in_ctx->here = NULL;                               \
		return result;                                     \
	}

#define WEIR_PRIMITIVE WEIR_AT
#define WEIR_COMPOSED WEIR_AT
#include "ops/ops.def"
#undef WEIR_PRIMITIVE
#undef WEIR_COMPOSED
