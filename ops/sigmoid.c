/* sigmoid: y = 1 / (1 + e^-x), element by element.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy · s(x) s(-x)
 *   keeps      x
 *   numerics   e^-|x|, so nothing overflows; s(x) s(-x) stays exact far out, where y (1 - y) rounds to 0
 */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_sigmoid, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *x = y->in[0];

	(void)need;
	gx[0] = weir_mul(gy, weir_mul(weir_sigmoid(x), weir_sigmoid(weir_neg(x))));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_sigmoid_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y->in[0] }, 2, NULL);
}

const weir_op weir_op_sigmoid = {
	.name = "sigmoid",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.domain = { -6.0, 6.0 },
};

weir_tensor *weir_sigmoid(weir_tensor *x)
{
	return weir__apply(&weir_op_sigmoid, &x, 1, NULL);
}
