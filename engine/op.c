/* op.c: what the files of operations share: checks, messages, running element-wise kernels. */
#include "engine/op.h"

#include <assert.h>
#include <string.h>

#include "engine/text.h"

const char *weir__shape_text(int rank, const int64_t *shape, weir_text_buf *buf)
{
	weir__text t;

	weir__text_fixed(&t, buf->s, sizeof buf->s);
	weir__text_shape(&t, rank, shape);
	return buf->s;
}

const char *weir__describe(const weir_tensor *t, weir_text_buf *buf)
{
	weir__text text;
	const char *name = weir_name(t);

	weir__text_fixed(&text, buf->s, sizeof buf->s);
	weir__text_shape(&text, t->rank, t->shape);
	weir__text_str(&text, " ");
	weir__text_str(&text, weir_dtype_name((weir_dtype)t->dtype));
	if (name[0]) {
		weir__text_str(&text, " (");
		weir__text_str(&text, name);
		weir__text_str(&text, ")");
	}
	return buf->s;
}

bool weir__need_same_dtype(weir_shaping *s, int a, int b)
{
	weir_text_buf x, y;

	if (s->in[a]->dtype == s->in[b]->dtype) return true;
	weir_fail(s->ctx, WEIR_ERR_DTYPE,
		  "%s: element types differ: operand %d is %s, operand %d is %s; weir_cast() converts",
		  weir__who(s->ctx, s->op), a, weir__describe(s->in[a], &x), b, weir__describe(s->in[b], &y));
	return false;
}

bool weir__need_float(weir_shaping *s)
{
	weir_text_buf x;

	for (int i = 0; i < s->n; i++) {
		if (!weir__is_float(s->in[i]->dtype)) {
			weir_fail(s->ctx, WEIR_ERR_DTYPE,
				  "%s: operand %d is %s; it takes f32 or f64; weir_cast() converts",
				  weir__who(s->ctx, s->op), i, weir__describe(s->in[i], &x));
			return false;
		}
		if (!weir__need_same_dtype(s, 0, i)) return false;
	}
	return true;
}

bool weir__axis(weir_ctx *w, const char *who, const weir_tensor *x, int axis, int *out)
{
	weir_text_buf text;

	*out = axis < 0 ? axis + x->rank : axis;
	if (*out >= 0 && *out < x->rank) return true;
	weir_fail(w, WEIR_ERR_AXIS, "%s: axis %d of %s: there are %d axes, so it must lie in %d .. %d", who, axis,
		  weir__describe(x, &text), x->rank, -x->rank, x->rank - 1);
	*out = 0;
	return false;
}

bool weir__axes(weir_ctx *w, const char *who, const weir_tensor *x, int n, const int *axes, uint32_t *mask)
{
	*mask = n ? 0 : (1u << x->rank) - 1;
	if (n > x->rank) {
		weir_text_buf text;

		weir_fail(w, WEIR_ERR_AXIS, "%s: %d axes are given, but %s has %d", who, n, weir__describe(x, &text),
			  x->rank);
		return false;
	}
	if (n < 0 || (n && !axes)) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %d axes are given, and the list is %s", who, n,
			  axes ? "not NULL" : "NULL");
		return false;
	}
	for (int i = 0; i < n; i++) {
		int a;

		if (!weir__axis(w, who, x, axes[i], &a)) return false;
		if (*mask >> a & 1) {
			weir_fail(w, WEIR_ERR_AXIS, "%s: axis %d is given twice", who, axes[i]);
			return false;
		}
		*mask |= 1u << a;
	}
	return true;
}

bool weir__copy_shape(weir_shaping *s, const weir_tensor *x)
{
	s->dtype = (weir_dtype)x->dtype;
	s->rank = x->rank;
	for (int i = 0; i < x->rank; i++) s->shape[i] = x->shape[i];
	return true;
}

bool weir_same_shape(weir_shaping *s)
{
	weir_text_buf a, b;
	const weir_tensor *x = s->in[0];
	int i = 1;

	if (weir__all_alike(s->in, s->n)) return weir__copy_shape(s, x);
	while (i < s->n && weir__alike(x, s->in[i])) i++;
	if (weir__need_float(s))
		weir_fail(s->ctx, WEIR_ERR_SHAPE, "%s: shapes differ: operand 0 is %s, operand %d is %s",
			  weir__who(s->ctx, s->op), weir__describe(x, &a), i, weir__describe(s->in[i], &b));
	return false;
}

enum { MAX_OPERANDS = 4 };

/* Apart, so that few elements do not pay for all that many need. */
static __attribute__((noinline)) void run_many(weir_map id, const weir_tensor *like, weir_dst_mode mode, void *data,
					       struct weir_squares *squares, const weir_tensor *const *x, int n,
					       const double *p)
{
	weir_strided in[MAX_OPERANDS];

	for (int i = 0; i < n && i < MAX_OPERANDS; i++) in[i] = (weir_strided){ weir__at(x[i]), x[i]->stride };
	weir__map_squares(id, (weir_dtype)like->dtype, like->rank, like->shape, data, mode, in, p, squares,
			  like->ctx->threads);
}

/* Are they few and dense? Then at[i] is where operand i lies. */
static inline bool few_dense(const weir_tensor *like, const weir_tensor *const *x, int n, const void **at)
{
	if (like->numel > WEIR_FEW) return false;
	for (int i = 0; i < n; i++) {
		if (!x[i]->contiguous) return false;
		at[i] = weir__there(x[i]);
	}
	return true;
}

void weir__run_map_into(weir_map id, const weir_tensor *like, weir_dst_mode mode, void *data,
			struct weir_squares *squares, const weir_tensor *const *x, int n, const double *p)
{
	const void *at[MAX_OPERANDS];

	assert(n <= MAX_OPERANDS);
	if (!squares && few_dense(like, x, n, at))
		weir__map_dense(id, (weir_dtype)like->dtype, like->numel, data, mode, at, p);
	else run_many(id, like, mode, data, squares, x, n, p);
}

void weir__run_forward(weir_map id, weir_tensor *y, const double *p)
{
	const weir_tensor *const *x = (const weir_tensor *const *)y->in;
	const weir_tensor *like =
		weir__is_float(y->dtype) ? y : x[0]; /* the kernel of a mask is that of what is compared */
	const void *at[MAX_OPERANDS];

	assert(y->nin <= MAX_OPERANDS);
	if (few_dense(like, x, y->nin, at))
		weir__map_dense(id, (weir_dtype)like->dtype, like->numel, y->store->data, WEIR_DST_WRITE, at, p);
	else run_many(id, like, WEIR_DST_WRITE, y->store->data, NULL, x, y->nin, p);
}
