/* sqrt: y = √x, element by element.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy / (2 y); 0 where gy is 0, and 0 where x is 0
 *   keeps      y
 *   numerics   correctly rounded; NaN below 0. The slope at 0 is infinite; 0 stands in for it there, as in
 *              weir_norm() and weir_abs(), so that √(x²) has a gradient at 0. weir_pow(x, 0.5) has the infinite one
 */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_sqrt, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *g = weir__put(weir_eq(y, weir__constant(y, 0.0)), 0.0, gy);
	weir_tensor *off = weir__unasked(g, weir_div(g, y));

	(void)need;
	gx[0] = weir__put(off, 0.0, weir_div(g, weir_affine(weir__put(off, 1.0, y), 2.0, 0.0)));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_sqrt_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y }, 2, NULL);
}

const weir_op weir_op_sqrt = {
	.name = "sqrt",
	.arity = 1,
	.keeps = WEIR_KEEP_OUT,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.domain = { 0.2, 4.0 },
};

weir_tensor *weir_sqrt(weir_tensor *x)
{
	return weir__apply(&weir_op_sqrt, &x, 1, NULL);
}
