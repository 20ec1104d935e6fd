/* abs: y = |x|, element by element.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy sign(x); 0 where x is 0, NaN where x is NaN
 *   keeps      x
 *   numerics   exact
 */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_abs, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *x = y->in[0], *zero = weir__constant(x, 0.0);
	weir_tensor *rest = weir_where(weir_lt(x, zero), weir_neg(gy), weir__nan_of(x, zero));

	(void)need;
	gx[0] = weir_where(weir_gt(x, zero), gy, rest);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_abs_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y->in[0] }, 2, NULL);
}

const weir_op weir_op_abs = {
	.name = "abs",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.kinks = { 0.0 },
	.kink_count = 1,
};

weir_tensor *weir_abs(weir_tensor *x)
{
	return weir__apply(&weir_op_abs, &x, 1, NULL);
}
