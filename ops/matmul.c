/* matmul: y = a · b for matrices on the last two axes.
 *
 *   shape      a [..., M, K], b [..., K, N], y [..., M, N]; the leading axes broadcast. A b of rank 2 serves all of a's
 *              matrices in one product of more rows, with one gradient instead of one per matrix
 *   gradient   ga = gy · bᵀ, gb = aᵀ · gy
 *   keeps      a, b
 *   numerics   each element is one chain of fused multiply-adds in the order of k, from +0
 *
 * Transposed operands are strides to the kernel and never copied. */
#include "ops/matrix.h"

#include <string.h>

static bool complain(weir_ctx *w, const char *what, const weir_tensor *a, const weir_tensor *b, const char *rule)
{
	weir_text_buf ta, tb;

	weir_fail(w, WEIR_ERR_SHAPE, "%s: %s: a is %s, b is %s; %s", weir__who(w, &weir_op_matmul), what,
		  weir__describe(a, &ta), weir__describe(b, &tb), rule);
	return false;
}

static bool check(weir_ctx *w, const weir_tensor *a, const weir_tensor *b)
{
	if (a->rank < 2 || b->rank < 2)
		return complain(w, "a rank below 2", a, b, "make a matrix of a vector with weir_reshape()");
	if (a->shape[a->rank - 1] != b->shape[b->rank - 2])
		return complain(w, "inner sizes differ", a, b, "the last axis of a must equal the last but one of b");
	return true;
}

static bool shape(weir_shaping *s)
{
	const weir_tensor *a = s->in[0], *b = s->in[1];

	if (!weir__need_float(s) || !check(s->ctx, a, b)) return false;
	if (b->rank > 2 && (a->rank != b->rank || memcmp(a->shape, b->shape, (size_t)(a->rank - 2) * sizeof *a->shape)))
		return complain(s->ctx, "leading axes differ", a, b, "they must be equal, or b of rank 2");
	weir__copy_shape(s, a);
	s->shape[s->rank - 1] = b->shape[b->rank - 1];
	return true;
}

/* The last two axes of t, of the first of its matrices. */
static weir_matrix last(const weir_tensor *t)
{
	return (weir_matrix){ .data = weir__at(t),
			      .rows = t->shape[t->rank - 2],
			      .columns = t->shape[t->rank - 1],
			      .row_stride = t->stride[t->rank - 2],
			      .column_stride = t->stride[t->rank - 1] };
}

static void forward(weir_tensor *y)
{
	weir_tensor *a = y->in[0], *b = y->in[1];
	weir_matrix ma, mb = last(b);

	if (b->rank > 2) {
		ma = last(a);
		weir__products(a, &ma, b, &mb, weir_out(y), WEIR_DST_WRITE);
	} else if (weir__matrix_of(a, false, &ma)) {
		weir__product(y->ctx, y->dtype, &ma, &mb, NULL,
			      &(weir_grad_dst){ .mode = WEIR_DST_WRITE, .data = weir_out(y) });
		weir__matrix_free(a, &ma);
	}
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *a = y->in[0], *b = y->in[1];

	if (need & 1) gx[0] = weir_matmul(gy, weir_transpose(b, -1, -2));
	if (!(need & 2)) return;
	if (b->rank > 2) gx[1] = weir_matmul(weir_transpose(a, -1, -2), gy);
	else gx[1] = weir_matmul(weir_transpose(weir__flat(a), -1, -2), weir__flat(gy));
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	weir_tensor *a = y->in[0], *b = y->in[1];
	weir_matrix g, ma, turned_a, mb = last(b), turned_b = weir__turned(&mb);

	if (b->rank > 2) {
		g = last(gy);
		ma = last(a);
		turned_a = weir__turned(&ma);
		if (dst[0].mode) weir__products(gy, &g, b, &turned_b, dst[0].data, dst[0].mode);
		if (dst[1].mode) weir__products(a, &turned_a, gy, &g, dst[1].data, dst[1].mode);
		return;
	}
	weir__matrix_of(gy, false, &g);
	if (dst[0].mode) weir__product(y->ctx, y->dtype, &g, &turned_b, NULL, &dst[0]);
	if (dst[1].mode && weir__matrix_of(a, false, &ma)) {
		turned_a = weir__turned(&ma);
		weir__product(y->ctx, y->dtype, &turned_a, &g, NULL, &dst[1]);
		weir__matrix_free(a, &ma);
	}
}

const weir_op weir_op_matmul = {
	.name = "matmul",
	.arity = 2,
	.keeps = WEIR_KEEP_IN0 | WEIR_KEEP_IN1,
	.shape = shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
	.multiply_adds = weir__multiply_adds,
};

weir_tensor *weir_matmul(weir_tensor *a, weir_tensor *b)
{
	const char *who = weir__who(weir__ctx_of(a), &weir_op_matmul);
	weir_scratch s;

	if (!weir__usable(a, who)) return weir__bad(a);
	if (!weir__usable(b, who)) return weir__bad(b);
	if (!check(a->ctx, a, b)) return weir__bad(a);
	if (b->rank == 2) return weir__apply(&weir_op_matmul, (weir_tensor *[]){ a, b }, 2, NULL);
	s = weir__scratch_begin(a, "weir_matmul");
	if (!weir__broadcast_leading(&a, &b)) {
		complain(a->ctx, "leading axes do not broadcast", a, b,
			 "counted from the last, each pair of extents must be equal, or one of them 1");
	}
	return weir__scratch_end(&s, weir__apply(&weir_op_matmul, (weir_tensor *[]){ a, b }, 2, NULL));
}
