/* look.c: a step that was to be thin, and turned out to be worth measuring as a whole: its values and gradients are looked at after the
 * fact. So are the values of a loss made of gradients, when it is not finite: hooks see the forward pass only. Best inside of the
 * backward hook, where values are still what the forward pass made. What composed operations gave back already is computed again,
 * without hooks. */
#include "flow/flow.h"

#include <string.h>

#include "kernels/reduce.h"

enum { FEW = 8 };

/* The value of t computed again; again[]: the same for nodes before it. NULL where an operand is gone. */
static weir_tensor *compute(const weir_tensor *t, weir_tensor *const *again)
{
	weir_tensor *in[FEW], *y;
	int n = weir_node(t).inputs;

	if (n > FEW) return NULL;
	for (int k = 0; k < n; k++) {
		int64_t at = weir_node(weir_input(t, k)).index;

		in[k] = at >= 0 && again[at] ? again[at] : weir_input(t, k);
		if (weir_node(in[k]).released ||
		    (in[k] == weir_input(t, k) && weir_tape_at(weir_context(t), at) != in[k]))
			return NULL;
	}
	y = weir_op_apply(weir_op_of(t), in, n, weir_attr(t));
	return weir_is_bad(y) ? NULL : y;
}

/* Nodes made of gradients are looked at for births alone. */
static void look(record *r, const weir_tensor *t, bool part)
{
	const void *data = value_of(t);

	if (!data) return;
	weir__stats(weir_dtype_of(t), data, weir_numel(t), &r->out, 1);
	if (!part) return;
	r->out_norm = weir__norm2(weir_dtype_of(t), data, weir_numel(t), 1);
	r->has_out = true;
}

static void look_at_all(weir_flow *f, int64_t root, weir_tensor **again)
{
	for (int64_t i = 0; i <= root && weir_ok(f->w); i++) {
		weir_tensor *t = weir_tape_at(f->w, i);
		record *r = weir__flow_record(f, i);
		bool part = takes_part(t);

		if (!r) return;
		if (r->has_out || !t || is_leaf(t) || !is_float(t) || !weir_node(t).recorded) continue;
		if (weir_node(t).released) t = again[i] = compute(t, again);
		if (t && !weir_is_contiguous(t)) t = weir_contiguous(t);
		if (t) look(r, t, part);
	}
}

void weir__flow_look_at_values(weir_flow *f, int64_t root, bool inside)
{
	weir_ctx *w = f->w;
	weir_tensor **again;
	size_t bytes = (size_t)(root + 1) * sizeof *again;
	bool thin = !f->when.whole;
	weir_place place;
	int lifted = 0;

	if (f->when.looked) return;
	f->when.looked = true;
	if (thin) f->records = 0; /* of an earlier step */
	if (!(again = weir__pool_take(w, &bytes))) return;
	memset(again, 0, (size_t)(root + 1) * sizeof *again);
	place = weir_mark(w);
	weir_no_hooks_begin(w);
	for (; f->frees && !weir_is_recording(w); lifted++) weir_no_grad_end(w); /* to be differentiated */
	if (!f->frees) weir_no_grad_begin(w);
	look_at_all(f, root, again);
	if (thin && inside) weir__flow_values_again(f, root, again);
	if (!f->frees) weir_no_grad_end(w);
	for (; lifted > 0; lifted--) weir_no_grad_begin(w);
	weir_no_hooks_end(w);
	weir_clear_error(w); /* it was fine before; then less is known */
	weir_rewind(w, place, NULL, 0);
	weir__pool_give(w, again, bytes);
}

void weir__flow_take_norms(weir_flow *f, int64_t from, int64_t to)
{
	for (int64_t i = to < f->norms ? to : f->norms - 1; i >= from; i--) {
		const weir_tensor *t = weir_tape_at(f->w, i);
		record *r = weir__flow_record(f, i);

		if (!r || !t || r->has_delta || f->norm[i] != f->norm[i]) continue;
		r->delta_norm = f->norm[i];
		r->has_delta = f->when.partial = true;
		if (f->norm[i] == 0) r->delta.zeros = weir_numel(t);
		else if (f->norm[i] != f->norm[i]) r->delta.nan = 1; /* at least; with or without an inf */
		else if (!is_finite(f->norm[i])) r->delta.pos_inf = 1;
		weir__flow_births_gradient(f, i, NULL);
	}
}
