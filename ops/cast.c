/* cast: y = x in another element type.
 *
 *   shape      y has the shape of x
 *   gradient   gx = gy in the type of x, where both are floating point; none passes through an integer
 *   keeps      nothing
 *   numerics   to a float: nearest, ties to even; to an integer: towards zero, saturating, NaN to 0
 */
#include "ops/elementwise.h"

typedef struct cast_attr {
	int64_t dtype;
} cast_attr;

static const weir_field fields[] = {
	{ "dtype", WEIR_FIELD_INT, offsetof(cast_attr, dtype), 0 },
	{ 0 },
};

static bool shape(weir_shaping *s)
{
	const cast_attr *a = s->attr;

	if (!weir__copy_shape(s, s->in[0])) return false;
	s->dtype = (weir_dtype)a->dtype;
	return true;
}

static void forward(weir_tensor *y)
{
	const weir_tensor *x = y->in[0];
	weir_strided in = { weir__at(x), x->stride };

	weir__cast((weir_dtype)x->dtype, (weir_dtype)y->dtype, y->rank, y->shape, weir_out(y), &in, y->ctx->threads);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	const weir_tensor *x = y->in[0];

	(void)need;
	if (weir__is_float(x->dtype) && weir__is_float(y->dtype)) gx[0] = weir_cast(gy, (weir_dtype)x->dtype);
}

const weir_op weir_op_cast = {
	.name = "cast",
	.arity = 1,
	.flags = WEIR_OP_ELEMENTWISE,
	.attr_size = sizeof(cast_attr),
	.fields = fields,
	.shape = shape,
	.forward = forward,
	.vjp = vjp,
};

weir_tensor *weir_cast(weir_tensor *x, weir_dtype dtype)
{
	weir_ctx *w = weir__ctx_of(x);

	if ((unsigned)dtype >= WEIR_DTYPE_COUNT) {
		return weir_fail(w, WEIR_ERR_DTYPE, "%s: there is no element type number %d",
				 weir__who(w, &weir_op_cast), (int)dtype);
	}
	return weir__apply(&weir_op_cast, &x, 1, &(cast_attr){ dtype });
}
