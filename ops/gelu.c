/* gelu: y = x Φ(x), Φ the normal distribution's function; element by element. Hendrycks and Gimpel 2016, without their approximation.
 * A primitive: composed, it reads and writes memory twice as often, and rounds Φ on the way.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy · (Φ(x) + x φ(x)), φ the density
 *   keeps      x
 *   numerics   digits are kept however small Φ is; -inf gives 0
 */
#include "ops/elementwise.h"

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_gelu, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *x = weir_clamp(y->in[0], -1e3, 1e3); /* there it is 0 or 1: at the ends 0 · inf would be NaN */

	(void)need;
	gx[0] = weir_mul(gy, weir_add(weir__normal_cdf(x), weir_mul(x, weir__normal_pdf(x))));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_gelu_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y->in[0] }, 2, NULL);
}

const weir_op weir_op_gelu = {
	.name = "gelu",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.domain = { -6.0, 6.0 },
};

weir_tensor *weir_gelu(weir_tensor *x)
{
	return weir__apply(&weir_op_gelu, &x, 1, NULL);
}
