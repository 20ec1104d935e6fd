/* div: y = a / b, element by element.
 *
 *   shape      a and b broadcast; y has their common shape
 *   gradient   ga = gy / b,   gb = -(gy / b) (a / b); 0 where gy is 0, also where b is 0
 *   keeps      a, b
 *   numerics   rounded once; the gradient divides twice instead of squaring b, so b² need not be a number of the type
 */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_div, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *a = y->in[0], *b = y->in[1];
	weir_tensor *off = weir__unasked(gy, weir_mul(weir_div(gy, b), weir_div(a, b)));
	weir_tensor *safe = weir__put(off, 1.0, b);
	weir_tensor *ga = weir__put(off, 0.0, weir_div(gy, safe));

	if (need & 1) gx[0] = ga;
	if (need & 2) gx[1] = weir_neg(weir_mul(ga, weir_div(weir__put(off, 0.0, a), safe)));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	const weir_tensor *a = y->in[0], *b = y->in[1];

	/* The gradient of ln is gy / x with the same exception for gy = 0. */
	weir__run_map_dst(WEIR_MAP_log_vjp, a, dst[0], (const weir_tensor *[]){ gy, b }, 2, NULL);
	weir__run_map_dst(WEIR_MAP_div_vjp_b, b, dst[1], (const weir_tensor *[]){ gy, a, b }, 3, NULL);
}

const weir_op weir_op_div = {
	.name = "div",
	.arity = 2,
	.keeps = WEIR_KEEP_IN0 | WEIR_KEEP_IN1,
	.flags = WEIR_OP_ELEMENTWISE,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.domain = { 0.5, 3.0 },
};

weir_tensor *weir_div(weir_tensor *a, weir_tensor *b)
{
	return weir__binary(&weir_op_div, a, b);
}
