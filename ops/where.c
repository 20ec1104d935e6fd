/* where: y = a where the mask c is set, else b, element by element.
 *
 *   shape      c (u8), a and b broadcast; y has their common shape
 *   gradient   ga = gy where c is set, else 0;   gb = 0 where c is set, else gy
 *   keeps      c
 *   numerics   a choice, not a product: what was not chosen may be inf or NaN
 */
#include "ops/elementwise.h"

static bool shape(weir_shaping *s)
{
	const weir_tensor *c = s->in[0], *a = s->in[1], *b = s->in[2];
	weir_text_buf cs, as, bs;

	if (c->dtype != WEIR_U8 || !weir__is_float(a->dtype) || a->dtype != b->dtype) {
		weir_fail(s->ctx, WEIR_ERR_DTYPE,
			  "%s: c is %s, a is %s, b is %s; c must be u8, a and b both f32 or both f64",
			  weir__who(s->ctx, s->op), weir__describe(c, &cs), weir__describe(a, &as),
			  weir__describe(b, &bs));
		return false;
	}
	for (int k = 1; k < 3; k++) {
		bool same = s->in[k]->rank == c->rank;

		for (int i = 0; same && i < c->rank; i++) same = s->in[k]->shape[i] == c->shape[i];
		if (same) continue;
		weir_fail(s->ctx, WEIR_ERR_SHAPE, "%s: shapes differ: c is %s, a is %s, b is %s",
			  weir__who(s->ctx, s->op), weir__describe(c, &cs), weir__describe(a, &as),
			  weir__describe(b, &bs));
		return false;
	}
	s->dtype = (weir_dtype)a->dtype;
	s->rank = a->rank;
	for (int i = 0; i < a->rank; i++) s->shape[i] = a->shape[i];
	return true;
}

static void forward(weir_tensor *y)
{
	weir__run_forward(WEIR_MAP_where, y, NULL);
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *c = y->in[0], *zero = weir__constant(gy, 0.0);

	if (need & 2) gx[1] = weir_where(c, gy, zero);
	if (need & 4) gx[2] = weir_where(c, zero, gy);
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir__run_map_dst(WEIR_MAP_where_vjp_a, y->in[1], dst[1], (const weir_tensor *[]){ gy, y->in[0] }, 2, NULL);
	weir__run_map_dst(WEIR_MAP_where_vjp_b, y->in[2], dst[2], (const weir_tensor *[]){ gy, y->in[0] }, 2, NULL);
}

const weir_op weir_op_where = {
	.name = "where",
	.arity = 3,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE,
	.shape = shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_where(weir_tensor *c, weir_tensor *a, weir_tensor *b)
{
	weir_ctx *w = weir__ctx_of(c);

	/* NULL is left to weir_op_apply, which tells it to the context of another. */
	if (c && a && b &&
	    (!weir__usable(c, weir__who(w, &weir_op_where)) || !weir__usable(a, weir__who(w, &weir_op_where)) ||
	     !weir__usable(b, weir__who(w, &weir_op_where)) ||
	     !weir__broadcast3(weir__who(w, &weir_op_where), &c, &a, &b)))
		return weir__bad(c);
	return weir__apply(&weir_op_where, (weir_tensor *[]){ c, a, b }, 3, NULL);
}
