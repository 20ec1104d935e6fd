/* tanh: y = (e^x - e^-x) / (e^x + e^-x), element by element.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy · 4 s(2x) s(-2x), s the sigmoid
 *   keeps      x
 *   numerics   the slope is computed from x: 1 - y² would be 0 from |x| = 9.01 on in f32
 */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_map(WEIR_MAP_tanh, y, (const weir_tensor *[]){ y->in[0] }, 1, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *x = y->in[0];
	weir_tensor *s = weir_sigmoid(weir_affine(x, 2.0, 0.0)), *t = weir_sigmoid(weir_affine(x, -2.0, 0.0));

	(void)need;
	gx[0] = weir_mul(gy, weir_affine(weir_mul(s, t), 4.0, 0.0));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_tanh_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y->in[0] }, 2, NULL);
}

const weir_op weir_op_tanh = {
	.name = "tanh",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.domain = { -4.0, 4.0 },
};

weir_tensor *weir_tanh(weir_tensor *x)
{
	return weir_op_apply(&weir_op_tanh, &x, 1, NULL);
}
