/* detach: y = x, without its history.
 *
 *   shape      y is a view of x
 *   gradient   none passes: x counts as a constant from here on
 *   keeps      nothing
 */
#include "ops/common.h"

static bool shape(weir_shaping *s)
{
	const weir_tensor *x = s->in[0];

	if (!weir__copy_shape(s, x)) return false;
	s->view = true;
	for (int i = 0; i < x->rank; i++) s->stride[i] = x->stride[i];
	return true;
}

const weir_op weir_op_detach = {
	.name = "detach",
	.arity = 1,
	.flags = WEIR_OP_STOP | WEIR_OP_VIEW,
	.shape = shape,
};

weir_tensor *weir_detach(weir_tensor *x)
{
	return weir__apply(&weir_op_detach, &x, 1, NULL);
}
