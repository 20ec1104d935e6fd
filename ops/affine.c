/* affine: y = scale · x + shift, element by element, for two numbers.
 *
 *   shape      y has the shape of x
 *   gradient   gx = scale · gy
 *   keeps      nothing
 *   numerics   one fused multiply-add: rounded once. scale and shift are rounded to the type of x first
 */
#include "ops/elementwise.h"

typedef struct affine_attr {
	double scale, shift; /* in the order of the kernel's parameters */
} affine_attr;

static const weir_field fields[] = {
	{ "scale", WEIR_FIELD_DOUBLE, offsetof(affine_attr, scale), 0 },
	{ "shift", WEIR_FIELD_DOUBLE, offsetof(affine_attr, shift), 0 },
	{ 0 },
};

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_affine, y, y->attr);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	const affine_attr *a = y->attr;

	(void)need;
	gx[0] = a->scale == 1.0 ? gy : weir_affine(gy, a->scale, 0.0);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	const affine_attr *a = y->attr;

	weir__run_map_dst(WEIR_MAP_affine, y->in[0], dst[0], (const weir_tensor *[]){ gy }, 1,
			  (const double[]){ a->scale, 0.0 });
}

const weir_op weir_op_affine = {
	.name = "affine",
	.arity = 1,
	.flags = WEIR_OP_ELEMENTWISE | WEIR_OP_OVERWRITES,
	.attr_size = sizeof(affine_attr),
	.fields = fields,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_affine(weir_tensor *x, double scale, double shift)
{
	return weir__apply(&weir_op_affine, &x, 1, &(affine_attr){ scale, shift });
}
