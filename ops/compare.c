/* eq ne lt le gt ge: y = 1 where a compares so with b, else 0, element by element.
 *
 *   shape      a and b broadcast; y has their common shape and is u8
 *   gradient   none passes: a step is flat, and its jump has no slope
 *   keeps      nothing
 *   numerics   NaN is not equal to anything (ne gives 1), and neither below nor above; +0 equals -0
 */
#include "ops/elementwise.h"

static bool shape(weir_shaping *s)
{
	if (!weir_same_shape(s)) return false;
	s->dtype = WEIR_U8;
	return true;
}

#define COMPARISON(name_)                                         \
	static void name_##_forward(weir_tensor *y)               \
	{                                                         \
		weir__run_forward(WEIR_MAP_##name_, y, NULL);     \
	}                                                         \
                                                                  \
	const weir_op weir_op_##name_ = {                         \
		.name = #name_,                                   \
		.arity = 2,                                       \
		.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_STOP,      \
		.shape = shape,                                   \
		.forward = name_##_forward,                       \
	};                                                        \
                                                                  \
	weir_tensor *weir_##name_(weir_tensor *a, weir_tensor *b) \
	{                                                         \
		return weir__binary(&weir_op_##name_, a, b);      \
	}

COMPARISON(eq)
COMPARISON(ne)
COMPARISON(lt)
COMPARISON(le)
COMPARISON(gt)
COMPARISON(ge)
