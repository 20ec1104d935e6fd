/* exp: y = e^x, element by element.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy · y
 *   keeps      y
 *   numerics   overflows to inf above ln of the largest number, underflows to 0
 */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_exp, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)need;
	gx[0] = weir_mul(gy, y);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_mul, y->in[0], dst[0], (const weir_tensor *[]){ gy, y }, 2, NULL);
}

const weir_op weir_op_exp = {
	.name = "exp",
	.arity = 1,
	.keeps = WEIR_KEEP_OUT,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.domain = { -4.0, 4.0 },
};

weir_tensor *weir_exp(weir_tensor *x)
{
	return weir__apply(&weir_op_exp, &x, 1, NULL);
}
