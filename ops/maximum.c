/* maximum, minimum: y = the larger, or the smaller, of a and b, element by element.
 *
 *   shape      a and b broadcast; y has their common shape
 *   gradient   gy to the one chosen, half to each where they are equal; NaN to both where either is NaN
 *   keeps      a, b
 *   numerics   exact; NaN where either is; +0 is above -0 for the value, equal for the gradient
 */
#include "ops/elementwise.h"

static void run(weir_map id, weir_tensor *y)
{
	weir__run_forward(id, y, NULL);
}

/* above: whether the larger is chosen. */
static void rule(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[], bool above)
{
	weir_tensor *a = y->in[0], *b = y->in[1], *high = above ? a : b, *low = above ? b : a;
	weir_tensor *tie = weir_where(weir_eq(a, b), weir_affine(gy, 0.5, 0.0), weir__constant(gy, 0.0));
	weir_tensor *rest = weir__nan_of(a, weir__nan_of(b, tie));

	if (need & 1) gx[0] = weir_where(weir_gt(high, low), gy, rest);
	if (need & 2) gx[1] = weir_where(weir_gt(low, high), gy, rest);
}

static void fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[], weir_map to_a, weir_map to_b)
{
	const weir_tensor *a = y->in[0], *b = y->in[1];

	weir__run_map_dst(to_a, a, dst[0], (const weir_tensor *[]){ gy, a, b }, 3, NULL);
	weir__run_map_dst(to_b, b, dst[1], (const weir_tensor *[]){ gy, a, b }, 3, NULL);
}

#define CHOICE(op, above)                                                                       \
	static void op##_forward(weir_tensor *y)                                                \
	{                                                                                       \
		run(WEIR_MAP_##op, y);                                                          \
	}                                                                                       \
	static void op##_vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[]) \
	{                                                                                       \
		rule(y, gy, need, gx, above);                                                   \
	}                                                                                       \
	static void op##_vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])  \
	{                                                                                       \
		fused(y, gy, dst, WEIR_MAP_##op##_vjp_a, WEIR_MAP_##op##_vjp_b);                \
	}                                                                                       \
	const weir_op weir_op_##op = {                                                          \
		.name = #op,                                                                    \
		.arity = 2,                                                                     \
		.keeps = WEIR_KEEP_IN0 | WEIR_KEEP_IN1,                                         \
		.flags = WEIR_OP_ELEMENTWISE,                                                   \
		.shape = weir_same_shape,                                                       \
		.forward = op##_forward,                                                        \
		.vjp = op##_vjp,                                                                \
		.vjp_fused = op##_vjp_fused,                                                    \
	};                                                                                      \
	weir_tensor *weir_##op(weir_tensor *a, weir_tensor *b)                                  \
	{                                                                                       \
		return weir__binary(&weir_op_##op, a, b);                                       \
	}

CHOICE(maximum, true)
CHOICE(minimum, false)
