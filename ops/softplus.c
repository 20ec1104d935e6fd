/* softplus: y = ln(1 + e^x), element by element.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy · sigmoid(x)
 *   keeps      x
 *   numerics   max(x, 0) + ln(1 + e^-|x|), the sum inside the logarithm in two words: keeps its digits on both sides
 */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_softplus, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)need;
	gx[0] = weir_mul(gy, weir_sigmoid(y->in[0]));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_softplus_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y->in[0] }, 2, NULL);
}

const weir_op weir_op_softplus = {
	.name = "softplus",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.domain = { -6.0, 6.0 },
};

weir_tensor *weir_softplus(weir_tensor *x)
{
	return weir__apply(&weir_op_softplus, &x, 1, NULL);
}
