/* births_overflow.c: an overflow or a division by zero that is gone again before the loss: 1 / (1 + x²) where x² is inf.
 *
 * Whether the loss hangs on it is tried out: what overflowed is replaced by NaN, and what depends on it is computed again, with all
 * masks and indices as they were. Where the NaN arrives at the loss, so did the overflow; where() leaves out what it did not choose.
 * This runs when a backward pass begins, inside of its first hook: no other hook sees it, and the tape is rewound. */
#include "flow/births.h"

#include <string.h>

#include "kernels/reduce.h"

enum { TRIES = 4, FEW = 8 };

static bool bad_operand(weir_flow *f, const weir_tensor *t)
{
	bool bad = false;

	for (int k = 0; k < weir_node(t).inputs && !bad; k++) {
		const weir_tensor *x = weir_input(t, k);
		int64_t at = weir_node(x).index;

		if (at < 0 || !is_float(x)) continue;
		if (is_leaf(x)) weir__births_look_at_leaf(f, x);
		bad = weir__flow_nonfinite(&f->rec[at].out);
	}
	return bad;
}

static bool suspicious(const weir_flow *f, const weir_tensor *t)
{
	const record *r = t && takes_part(t) ? &f->rec[weir_node(t).index] : NULL;

	if (!r || !r->has_out) return false;
	return r->out.pos_inf + r->out.neg_inf > 0 ||
	       (!r->out.nan && (r->flags & (WEIR_FP_OVERFLOW | WEIR_FP_DIVZERO)));
}

static bool overflows(weir_flow *f, const weir_tensor *t)
{
	const weir_stats *out = &f->rec[weir_node(t).index].out;

	return !bad_operand(f, t) || (out->pos_inf + out->neg_inf > 0 && weir__births_made_here(t, INF) >= 0);
}

/* A copy of t with NaN for every inf; where it has none, for every element: which one overflowed is not known. */
static weir_tensor *spoilt(const weir_tensor *t, bool all)
{
	weir_tensor *copy = weir_zeros(weir_context(t), weir_dtype_of(t), weir_rank(t), weir_shape(t));
	void *to = weir_data_mut(copy, NULL);

	for (int64_t i = 0; to && i < weir_numel(t); i++) {
		double v = weir__births_value(t, i);

		if (all || weir__births_is(v, weir_dtype_of(t), INF)) v = UNKNOWN;
		if (weir_dtype_of(t) == WEIR_F32) ((float *)to)[i] = (float)v;
		else ((double *)to)[i] = v;
	}
	return copy;
}

static bool more_nan(const weir_tensor *t, weir_tensor *other)
{
	weir_stats a, b;
	const void *x = weir_data(weir_contiguous((weir_tensor *)(uintptr_t)t)), *y = weir_data(weir_contiguous(other));

	if (!x || !y || !weir_numel(t)) return false;
	weir__stats(weir_dtype_of(t), x, weir_numel(t), &a, 1);
	weir__stats(weir_dtype_of(t), y, weir_numel(t), &b, 1);
	return b.nan > a.nan;
}

/* t computed again from the other operands; NULL where none of them is another, or it makes no difference. */
static weir_tensor *again(const weir_flow *f, const weir_tensor *t, weir_tensor *const *other)
{
	int n = weir_node(t).inputs;
	weir_tensor *few[FEW], **in = few, *y = NULL;
	size_t bytes = (size_t)n * sizeof *in;
	bool differs = false, gone = false;

	if (!is_float(t)) return NULL;
	if (n > FEW && !(in = weir__pool_take(f->w, &bytes))) return NULL;
	for (int k = 0; k < n; k++) {
		int64_t at = weir_node(weir_input(t, k)).index;

		in[k] = at >= 0 && other[at] ? other[at] : weir_input(t, k);
		differs = differs || in[k] != weir_input(t, k);
		if (at < 0 || (!other[at] && weir_tape_at(f->w, at) != in[k]) || weir_node(in[k]).released) gone = true;
	}
	if (differs && !gone && !weir_node(t).released) y = weir_op_apply(weir_op_of(t), in, n, weir_attr(t));
	if (y && (weir_is_bad(y) || !more_nan(t, y))) y = NULL;
	if (in != few) weir__pool_give(f->w, in, bytes);
	return y;
}

/* Does the value of node root hang on what overflowed at node maker? Then the way is TAINTED. */
static bool reaches(weir_flow *f, int64_t maker, int64_t root)
{
	weir_ctx *w = f->w;
	weir_tensor **other;
	size_t bytes = (size_t)(root + 1) * sizeof *other;
	const weir_stats *out = &f->rec[maker].out;
	weir_place place;
	bool arrives;

	if (!weir__births_readable(weir_tape_at(w, maker)) || !(other = weir__pool_take(w, &bytes))) return false;
	memset(other, 0, (size_t)(root + 1) * sizeof *other);
	for (int64_t i = 0; i <= root; i++) f->rec[i].bad &= (uint8_t)~TAINTED;
	place = weir_mark(w);
	weir_no_grad_begin(w);
	other[maker] = spoilt(weir_tape_at(w, maker), out->pos_inf + out->neg_inf == 0);
	for (int64_t i = maker; i <= root && weir_ok(w); i++) {
		const weir_tensor *t = weir_tape_at(w, i);

		if (i > maker && t && !is_leaf(t)) other[i] = again(f, t, other);
		if (other[i]) f->rec[i].bad |= TAINTED;
	}
	arrives = weir_ok(w) && other[root];
	weir_no_grad_end(w);
	weir_clear_error(w);
	weir_rewind(w, place, NULL, 0);
	weir__pool_give(w, other, bytes);
	return arrives;
}

void weir__births_overflow(weir_flow *f, int64_t root)
{
	struct weir__birth_more *m;
	int tries = 0;

	if (f->sum.first_overflow.found || root >= f->records || weir__flow_nonfinite(&f->rec[root].out)) return;
	for (int64_t i = 0; i <= root && tries < TRIES; i++) {
		if (!suspicious(f, weir_tape_at(f->w, i))) continue;
		if (!(m = weir__births_more(f)) || m->overflow >= 0) return;
		if (!overflows(f, weir_tape_at(f->w, i))) continue;
		tries++;
		if (reaches(f, i, root)) m->overflow = i;
	}
}
