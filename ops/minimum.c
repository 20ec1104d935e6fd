/* minimum: y = the smaller of a and b, element by element.
 *
 *   shape      a and b broadcast; y has their common shape
 *   gradient   gy to the smaller, half to each where they are equal; NaN to both where either is NaN
 *   keeps      a, b
 *   numerics   exact; NaN where either is; +0 is above -0 for the value, equal for the gradient
 */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_map(WEIR_MAP_minimum, y, (const weir_tensor *[]){ y->in[0], y->in[1] }, 2, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *a = y->in[0], *b = y->in[1];
	weir_tensor *tie = weir_where(weir_eq(a, b), weir_affine(gy, 0.5, 0.0), weir__constant(gy, 0.0));
	weir_tensor *rest = weir__nan_of(a, weir__nan_of(b, tie));

	if (need & 1) gx[0] = weir_where(weir_lt(a, b), gy, rest);
	if (need & 2) gx[1] = weir_where(weir_lt(b, a), gy, rest);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	const weir_tensor *a = y->in[0], *b = y->in[1];

	weir__run_map_dst(WEIR_MAP_minimum_vjp_a, a, dst[0], (const weir_tensor *[]){ gy, a, b }, 3, NULL);
	weir__run_map_dst(WEIR_MAP_minimum_vjp_b, b, dst[1], (const weir_tensor *[]){ gy, a, b }, 3, NULL);
}

const weir_op weir_op_minimum = {
	.name = "minimum",
	.arity = 2,
	.keeps = WEIR_KEEP_IN0 | WEIR_KEEP_IN1,
	.flags = WEIR_OP_ELEMENTWISE,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_minimum(weir_tensor *a, weir_tensor *b)
{
	return weir__binary(&weir_op_minimum, a, b);
}
