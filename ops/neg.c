/* neg: y = -x, element by element.
 *
 *   shape      y has the shape of x
 *   gradient   gx = -gy
 *   keeps      nothing
 *   numerics   exact, the sign bit of zeros and NaNs included
 */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_neg, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)y;
	(void)need;
	gx[0] = weir_neg(gy);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_neg, y->in[0], dst[0], (const weir_tensor *[]){ gy }, 1, NULL);
}

const weir_op weir_op_neg = {
	.name = "neg",
	.arity = 1,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_neg(weir_tensor *x)
{
	return weir__apply(&weir_op_neg, &x, 1, NULL);
}
