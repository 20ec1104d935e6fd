/* broadcast.c: operands of different shapes made one shape, and weir_add(), whose operation stands in engine/add.c.
 *
 * Axes are aligned from the last. Where extents differ, one of them must be 1: its operand is put behind an expand
 * view, which repeats without copying and whose gradient is a sum. */
#include "ops/elementwise.h"

#include <string.h>

enum { MOST = 3 };

/* The common shape of n tensors. False where there is none. */
static bool join(weir_tensor *const *const *t, int n, int *rank, int64_t *shape)
{
	*rank = 0;
	for (int k = 0; k < n; k++)
		if ((*t[k])->rank > *rank) *rank = (*t[k])->rank;
	for (int i = 0; i < *rank; i++) shape[i] = 1;
	for (int k = 0; k < n; k++) {
		const weir_tensor *x = *t[k];

		for (int i = 0; i < x->rank; i++) {
			int64_t *extent = &shape[*rank - x->rank + i];

			if (x->shape[i] == 1 || x->shape[i] == *extent) continue;
			if (*extent != 1) return false;
			*extent = x->shape[i];
		}
	}
	return true;
}

static bool refuse(const char *who, const char *names, weir_tensor *const *const *t, int n)
{
	weir_text_buf a, b, c;
	const char *x = weir__describe(*t[0], &a), *y = weir__describe(*t[1], &b);
	weir_ctx *w = weir__ctx_of(*t[0]);

	if (n == 2) {
		weir_fail(
			w, WEIR_ERR_SHAPE,
			"%s: shapes do not broadcast: %c is %s, %c is %s; aligned from the last axis, extents must be equal or 1",
			who, names[0], x, names[1], y);
	} else {
		weir_fail(
			w, WEIR_ERR_SHAPE,
			"%s: shapes do not broadcast: %c is %s, %c is %s, %c is %s; aligned from the last axis, extents must be equal or 1",
			who, names[0], x, names[1], y, names[2], weir__describe(*t[2], &c));
	}
	return false;
}

static bool broadcast(const char *who, const char *names, weir_tensor **const *t, int n)
{
	weir_tensor *const *in[MOST];
	int64_t shape[WEIR_MAX_RANK];
	int rank;

	for (int k = 0; k < n; k++) in[k] = t[k];
	if (!join(in, n, &rank, shape)) return refuse(who, names, in, n);
	for (int k = 0; k < n; k++) {
		weir_tensor *x = *t[k];

		if (x->rank == rank && !memcmp(x->shape, shape, (size_t)rank * sizeof *shape)) continue;
		*t[k] = weir_expand(x, rank, shape);
		if (weir_is_bad(*t[k])) return false;
	}
	return true;
}

bool weir__broadcast2(const char *who, weir_tensor **a, weir_tensor **b)
{
	return broadcast(who, "ab", (weir_tensor * *const[]){ a, b }, 2);
}

/* Called with (c, a, b) of weir_where(). */
bool weir__broadcast3(const char *who, weir_tensor **a, weir_tensor **b, weir_tensor **c)
{
	return broadcast(who, "cab", (weir_tensor * *const[]){ a, b, c }, 3);
}

/* For operands that differ, or that can't be used. */
static __attribute__((noinline)) weir_tensor *binary(const weir_op *op, weir_tensor *a, weir_tensor *b)
{
	weir_ctx *w = weir__ctx_of(a);

	/* NULL is left to weir_op_apply, which tells it to the context of the other. */
	if (a && b &&
	    (!weir__usable(a, weir__who(w, op)) || !weir__usable(b, weir__who(w, op)) ||
	     !weir__broadcast2(weir__who(w, op), &a, &b)))
		return weir__bad(a);
	return weir__apply(op, (weir_tensor *[]){ a, b }, 2, NULL);
}

weir_tensor *weir__binary(const weir_op *op, weir_tensor *a, weir_tensor *b)
{
	weir_ctx *w = a ? a->ctx : NULL;

	if (w && !w->status && weir__ready(w, a) && weir__ready(w, b) && weir__alike(a, b))
		return weir__apply_ready(w, op, (weir_tensor *[]){ a, b }, 2, NULL);
	return binary(op, a, b);
}

weir_tensor *weir_add(weir_tensor *a, weir_tensor *b)
{
	return weir__binary(&weir_op_add, a, b);
}
