/* log: y = ln x, element by element.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy / x; 0 where gy is 0, also where x is 0
 *   keeps      x
 *   numerics   ln 0 = -inf, NaN below 0
 */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_log, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *x = y->in[0];
	weir_tensor *off = weir__unasked(gy, weir_div(gy, x));

	(void)need;
	gx[0] = weir__put(off, 0.0, weir_div(gy, weir__put(off, 1.0, x)));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_log_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y->in[0] }, 2, NULL);
}

const weir_op weir_op_log = {
	.name = "log",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.domain = { 0.2, 4.0 },
};

weir_tensor *weir_log(weir_tensor *x)
{
	return weir__apply(&weir_op_log, &x, 1, NULL);
}
