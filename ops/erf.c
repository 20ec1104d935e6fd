/* erf: y = 2/√π ∫₀ˣ e^(-t²) dt, element by element.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy · 2/√π e^(-x²)
 *   keeps      x
 *   numerics   what is left to ±1 far out is not in y: weir_gelu() does not use 1 + erf
 */
#include "ops/elementwise.h"

#define TWO_OVER_SQRT_PI 1.12837916709551257390

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_erf, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *x = y->in[0];

	(void)need;
	gx[0] = weir_mul(gy, weir_affine(weir_exp(weir_neg(weir_mul(x, x))), TWO_OVER_SQRT_PI, 0.0));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_erf_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y->in[0] }, 2, NULL);
}

const weir_op weir_op_erf = {
	.name = "erf",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.domain = { -2.0, 2.0 },
};

weir_tensor *weir_erf(weir_tensor *x)
{
	return weir__apply(&weir_op_erf, &x, 1, NULL);
}
