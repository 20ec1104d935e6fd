/* leaky_relu: y = x where x > 0, else slope · x; element by element. A primitive, because composed it takes three passes each way.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy where x > 0, else slope · gy, at 0 too; NaN where x is NaN
 *   keeps      x, for y tells the sides apart only if slope is above 0
 *   numerics   one rounding
 */
#include "ops/elementwise.h"

typedef struct leaky_attr {
	double slope;
} leaky_attr;

static const weir_field fields[] = {
	{ "slope", WEIR_FIELD_DOUBLE, offsetof(leaky_attr, slope), 0 },
	{ 0 },
};

static void forward(weir_tensor *y)
{
	const leaky_attr *a = y->attr;

	weir__run_map(WEIR_MAP_leaky_relu, y, (const weir_tensor *[]){ y->in[0] }, 1, &a->slope);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	const leaky_attr *a = y->attr;
	weir_tensor *x = y->in[0];

	(void)need;
	gx[0] = weir_where(weir_gt(x, weir__constant(x, 0.0)), gy, weir__nan_of(x, weir_affine(gy, a->slope, 0.0)));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	const leaky_attr *a = y->attr;

	weir__run_map_dst(WEIR_MAP_leaky_relu_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y->in[0] }, 2,
			  &a->slope);
}

const weir_op weir_op_leaky_relu = {
	.name = "leaky_relu",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE,
	.attr_size = sizeof(leaky_attr),
	.fields = fields,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.kinks = { 0.0 },
	.kink_count = 1,
};

weir_tensor *weir_leaky_relu(weir_tensor *x, double slope)
{
	return weir_op_apply(&weir_op_leaky_relu, &x, 1, &(leaky_attr){ slope });
}
