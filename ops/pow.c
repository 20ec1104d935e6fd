/* pow: y = x^p, element by element, for a number p.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy · p x^(p-1); 0 where gy is 0, and everywhere for p = 0
 *   keeps      x
 *   numerics   x < 0 gives NaN unless p is whole; x^0 = 1 for every x, NaN included. At x = 0 the slope is what it
 *              is: 0 for p > 1, 1 for p = 1, infinite for p < 1 (weir_sqrt() has 0 there)
 */
#include "ops/elementwise.h"

typedef struct pow_attr {
	double p;
} pow_attr;

static const weir_field fields[] = {
	{ "p", WEIR_FIELD_DOUBLE, offsetof(pow_attr, p), 0 },
	{ 0 },
};

static void forward(weir_tensor *y)
{
	const pow_attr *a = y->attr;

	weir__run_forward(WEIR_MAP_pow, y, &a->p);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	const pow_attr *a = y->attr;
	weir_tensor *x = y->in[0], *off, *slope;

	(void)need;
	if (a->p == 0.0) {
		gx[0] = weir_zeros(y->ctx, (weir_dtype)y->dtype, y->rank, y->shape);
		return;
	}
	off = weir__unasked(gy, weir_mul(gy, weir_pow(x, a->p - 1.0)));
	slope = weir_affine(weir_pow(weir__put(off, 1.0, x), a->p - 1.0), a->p, 0.0);
	gx[0] = weir__put(off, 0.0, weir_mul(gy, slope));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	const pow_attr *a = y->attr;

	weir__run_map_dst(WEIR_MAP_pow_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y->in[0] }, 2, &a->p);
}

const weir_op weir_op_pow = {
	.name = "pow",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES,
	.attr_size = sizeof(pow_attr),
	.fields = fields,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.domain = { 0.2, 3.0 },
};

weir_tensor *weir_pow(weir_tensor *x, double p)
{
	return weir__apply(&weir_op_pow, &x, 1, &(pow_attr){ p });
}
