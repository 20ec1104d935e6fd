/* tanh: y = (e^x - e^-x) / (e^x + e^-x); tanh_vjp: y = g · tanh'(x), tanh'(x) = 4 s(2x) s(-2x), s the sigmoid. Element by element.
 *
 *   shape      y has the shape of x
 *   gradient   of tanh: gx = tanh_vjp(gy, x);   of tanh_vjp: gg = tanh_vjp(gy, x),   gx = -2 gy · y tanh(x)
 *   keeps      x; tanh_vjp its y, too
 *   numerics   the slope is computed from x: 1 - y² would be 0 from |x| = 9.01 on in f32
 *
 * tanh_vjp is private. It is a primitive because a slope made of other operations takes seven passes over memory and its derivative ten more:
 * 8 % of a Hessian-vector product. */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_tanh, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)need;
	gx[0] = weir__tanh_vjp(gy, y->in[0]);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_tanh_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y->in[0] }, 2, NULL);
}

const weir_op weir_op_tanh = {
	.name = "tanh",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.domain = { -4.0, 4.0 },
};

weir_tensor *weir_tanh(weir_tensor *x)
{
	return weir__apply(&weir_op_tanh, &x, 1, NULL);
}

static void slope_forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_tanh_vjp, y, NULL);
}

static void slope_vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *x = y->in[1];

	if (need & 1) gx[0] = weir__tanh_vjp(gy, x);
	if (need & 2) gx[1] = weir_mul(gy, weir_mul(y, weir_affine(weir_tanh(x), -2.0, 0.0)));
}

const weir_op weir_op_tanh_vjp = {
	.name = "tanh_vjp",
	.arity = 2,
	.keeps = WEIR_KEEP_OUT | WEIR_KEEP_IN1,
	.flags = WEIR_OP_ELEMENTWISE,
	.shape = weir_same_shape,
	.forward = slope_forward,
	.vjp = slope_vjp,
	.domain = { -4.0, 4.0 },
};

weir_tensor *weir__tanh_vjp(weir_tensor *g, weir_tensor *x)
{
	return weir__apply(&weir_op_tanh_vjp, (weir_tensor *[]){ g, x }, 2, NULL);
}
