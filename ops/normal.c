/* normal_cdf: y = Φ(x), the normal distribution's function; normal_pdf: y = φ(x) = e^(-x²/2) / √(2π), its density.
 * Element by element. Private: gelu's gradient is made of them.
 *
 *   shape      y has the shape of x
 *   gradient   of Φ: gx = gy · φ(x);   of φ: gx = -gy · x φ(x)
 *   keeps      x; the density its y, too
 *   numerics   Φ keeps its digits however small it is, which (1 + erf(x / √2)) / 2 does not
 */
#include "ops/elementwise.h"

static void cdf_forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_normal_cdf, y, NULL);
}

static void cdf_vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)need;
	gx[0] = weir_mul(gy, weir__normal_pdf(y->in[0]));
}

static void cdf_vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_normal_cdf_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y->in[0] }, 2, NULL);
}

const weir_op weir_op_normal_cdf = {
	.name = "normal_cdf",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES,
	.shape = weir_same_shape,
	.forward = cdf_forward,
	.vjp = cdf_vjp,
	.vjp_fused = cdf_vjp_fused,
	.domain = { -4.0, 4.0 },
};

weir_tensor *weir__normal_cdf(weir_tensor *x)
{
	return weir__apply(&weir_op_normal_cdf, &x, 1, NULL);
}

static void pdf_forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_normal_pdf, y, NULL);
}

static void pdf_vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)need;
	gx[0] = weir_neg(weir_mul(gy, weir_mul(y->in[0], y)));
}

const weir_op weir_op_normal_pdf = {
	.name = "normal_pdf",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0 | WEIR_KEEP_OUT,
	.flags = WEIR_OP_ELEMENTWISE,
	.shape = weir_same_shape,
	.forward = pdf_forward,
	.vjp = pdf_vjp,
	.domain = { -4.0, 4.0 },
};

weir_tensor *weir__normal_pdf(weir_tensor *x)
{
	return weir__apply(&weir_op_normal_pdf, &x, 1, NULL);
}
