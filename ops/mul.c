/* mul: y = a · b, element by element.
 *
 *   shape      a and b broadcast; y has their common shape
 *   gradient   ga = gy · b,   gb = gy · a
 *   keeps      a, b
 *   numerics   rounded once
 */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_mul, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	if (need & 1) gx[0] = weir_mul(gy, y->in[1]);
	if (need & 2) gx[1] = weir_mul(gy, y->in[0]);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_mul, y->in[0], dst[0], (const weir_tensor *[]){ gy, y->in[1] }, 2, NULL);
	weir__run_map_dst(WEIR_MAP_mul, y->in[1], dst[1], (const weir_tensor *[]){ gy, y->in[0] }, 2, NULL);
}

const weir_op weir_op_mul = {
	.name = "mul",
	.arity = 2,
	.keeps = WEIR_KEEP_IN0 | WEIR_KEEP_IN1,
	.flags = WEIR_OP_ELEMENTWISE,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_mul(weir_tensor *a, weir_tensor *b)
{
	return weir__binary(&weir_op_mul, a, b);
}
