/* relu: y = max(x, 0), element by element.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy where x > 0, else 0; NaN where x is NaN
 *   keeps      y, which is above 0 just where x is: the value of x can be given back
 *   numerics   exact; NaN stays NaN, -0 becomes +0
 */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_relu, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *zero = weir__constant(y, 0.0);

	(void)need;
	gx[0] = weir_where(weir_gt(y, zero), gy, weir__nan_of(y, zero));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_relu_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y }, 2, NULL);
}

const weir_op weir_op_relu = {
	.name = "relu",
	.arity = 1,
	.keeps = WEIR_KEEP_OUT,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES | WEIR_OP_MEASURES,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.kinks = { 0.0 },
	.kink_count = 1,
};

weir_tensor *weir_relu(weir_tensor *x)
{
	return weir__apply(&weir_op_relu, &x, 1, NULL);
}
