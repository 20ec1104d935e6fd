/* one_hot: y[i, j] = 1 where j is label i, else 0. Private: the rule of cross_entropy stands on it.
 *
 *   shape      labels [B] of i32 or i64, each in 0 .. C-1 (checked by the caller), y [B, C] of f32 or f64
 *   gradient   none passes: labels are whole numbers
 *   keeps      nothing
 */
#include "ops/matrix.h"

typedef struct one_hot_attr {
	int64_t classes, dtype;
} one_hot_attr;

static bool shape(weir_shaping *s)
{
	const one_hot_attr *a = s->attr;

	s->dtype = (weir_dtype)a->dtype;
	s->rank = 2;
	s->shape[0] = s->in[0]->numel;
	s->shape[1] = a->classes;
	return true;
}

static void forward(weir_tensor *y)
{
	for (int64_t i = 0; i < y->numel; i++) weir__set(y, i, 0.0);
	for (int64_t i = 0; i < y->shape[0]; i++) {
		weir__set(y, i * y->shape[1] + (int64_t)weir__get(y->in[0], i), 1.0);
	}
}

static const weir_op one_hot = {
	.name = "one_hot",
	.arity = 1,
	.flags = WEIR_OP_STOP,
	.attr_size = sizeof(one_hot_attr),
	.shape = shape,
	.forward = forward,
};

weir_tensor *weir__one_hot(weir_tensor *labels, int64_t classes, weir_dtype dtype)
{
	return weir__apply(&one_hot, &labels, 1, &(one_hot_attr){ classes, dtype });
}
