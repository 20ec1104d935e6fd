/* add: y = a + b, element by element, one shape.
 *
 *   gradient   ga = gy, gb = gy
 *   keeps      nothing
 *
 * The one operation of this floor: backward adds where a value is used twice. weir_add(), which broadcasts, stands in ops/. */
#include "engine/op.h"

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_add, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)y;
	if (need & 1) gx[0] = gy;
	if (need & 2) gx[1] = gy;
}

const weir_op weir_op_add = {
	.name = "add",
	.arity = 2,
	.flags = WEIR_OP_ELEMENTWISE,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
};

weir_tensor *weir__add(weir_tensor *a, weir_tensor *b)
{
	weir_tensor *in[] = { a, b };

	return weir__apply(&weir_op_add, in, 2, NULL);
}
