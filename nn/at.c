/* at.c: weir_forward_at() and the like: the functions of nn.def with the source line of their caller. */
#include "nn/module.h"

#define WEIR_FN(type, name, params, args, context)             \
	WEIR_AT_PROTOTYPE(type, name, WEIR_AT_OPEN params)     \
	{                                                      \
		weir_ctx *w = (context);                       \
		const char *outer = weir__here_enter(w, here); \
		type y = weir_##name args;                     \
                                                               \
		w->here = outer;                               \
		return y;                                      \
	}
#define WEIR_AT_OPEN(...) __VA_ARGS__
#define WEIR_AT_PROTOTYPE(type, name, ...) type weir_##name##_at(const char *here, __VA_ARGS__)

#include "nn/nn.def"
