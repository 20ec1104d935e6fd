/* clamp: y = low where x < low, high where x > high, else x; element by element. A primitive, because composed it takes five passes.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy where low <= x <= high, where minimum and maximum would share it with the bound; else 0; NaN where x is NaN
 *   keeps      x
 *   numerics   exact; NaN stays NaN
 */
#include "ops/elementwise.h"

#include "engine/number.h"

typedef struct clamp_attr {
	double bound[2]; /* low, high */
} clamp_attr;

static const weir_field fields[] = {
	{ "low", WEIR_FIELD_DOUBLE, offsetof(clamp_attr, bound[0]), 0 },
	{ "high", WEIR_FIELD_DOUBLE, offsetof(clamp_attr, bound[1]), 0 },
	{ 0 },
};

static void forward(weir_tensor *y)
{
	const clamp_attr *a = y->attr;

	weir__run_map(WEIR_MAP_clamp, y, (const weir_tensor *[]){ y->in[0] }, 1, a->bound);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	const clamp_attr *a = y->attr;
	weir_tensor *x = y->in[0], *zero = weir__constant(gy, 0.0);
	weir_tensor *inside = weir_where(weir_gt(x, weir__constant(x, a->bound[1])), zero, weir__nan_of(x, gy));

	(void)need;
	gx[0] = weir_where(weir_lt(x, weir__constant(x, a->bound[0])), zero, inside);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	const clamp_attr *a = y->attr;

	weir__run_map_dst(WEIR_MAP_clamp_vjp, y->in[0], dst[0], (const weir_tensor *[]){ gy, y->in[0] }, 2, a->bound);
}

const weir_op weir_op_clamp = {
	.name = "clamp",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE,
	.attr_size = sizeof(clamp_attr),
	.fields = fields,
	.shape = weir_same_shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_clamp(weir_tensor *x, double low, double high)
{
	char lt[WEIR__NUMBER_MAX], ht[WEIR__NUMBER_MAX];

	if (!weir__usable(x, "weir_clamp")) return weir__bad(x);
	if (!(low <= high)) {
		weir__format_double(lt, sizeof lt, low, 'g', 0);
		weir__format_double(ht, sizeof ht, high, 'g', 0);
		return weir_fail(x->ctx, WEIR_ERR_ARGUMENT, "%s: low is %s, high is %s; low <= high must hold",
				 weir__who(x->ctx, &weir_op_clamp), lt, ht);
	}
	return weir_op_apply(&weir_op_clamp, &x, 1, &(clamp_attr){ { low, high } });
}
