/* silu: y = x s(x), s(x) = 1 / (1 + e^-x); element by element. Elfwing et al. 2017. A primitive, as gelu is.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy · s(x) (1 + x s(-x))
 *   keeps      x
 *   numerics   digits are kept however small s is; -inf gives 0
 */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_silu, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *x = weir_clamp(y->in[0], -1e3, 1e3); /* there it is 0 or 1: at the ends 0 · inf would be NaN */
	weir_tensor *rest = weir_mul(x, weir_sigmoid(weir_neg(x)));

	(void)need;
	gx[0] = weir_mul(gy, weir_mul(weir_sigmoid(x), weir_affine(rest, 1.0, 1.0)));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_silu_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y->in[0] }, 2, NULL);
}

const weir_op weir_op_silu = {
	.name = "silu",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.domain = { -6.0, 6.0 },
};

weir_tensor *weir_silu(weir_tensor *x)
{
	return weir__apply(&weir_op_silu, &x, 1, NULL);
}
