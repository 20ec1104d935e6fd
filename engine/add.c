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

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	for (int i = 0; i < 2; i++) weir__run_map_dst(WEIR_MAP_copy, y, dst[i], &gy, 1, NULL);
}

const weir_op weir_op_add = {
	.name = "add",
	.arity = 2,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_SHARES,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir__add(weir_tensor *a, weir_tensor *b)
{
	weir_tensor *in[] = { a, b };

	return weir__apply(&weir_op_add, in, 2, NULL);
}
