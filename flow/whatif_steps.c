/* whatif_steps.c: how much a copy of a network computes, and where plain gradient descent takes it. Every pass replays the recorded loss
 * on the copy's own tape, which reads the parameters as they are then, and takes it back. */
#include "flow/whatif.h"

#include <string.h>

/* Parameter number *i on the tape or behind, each once; NULL behind the last. */
static weir_tensor *next_param(const weir_ctx *w, int64_t end, int64_t *i)
{
	while (*i < end) {
		const weir_tensor *t = weir_tape_at(w, (*i)++);
		weir_tensor *p = t && is_leaf(t) ? param_of(t) : NULL;

		if (p) return p;
	}
	return NULL;
}

static void forget_gradients(const weir_ctx *w, int64_t end)
{
	weir_tensor *p;

	for (int64_t i = 0; (p = next_param(w, end, &i));) weir_zero_grad(p);
}

/* Of a product of matrices two for each pair that is multiplied; of all else one for each element that is read or written, whichever are
 * more; of views none. */
static double operations_of(const weir_tensor *t)
{
	const char *op = weir_node(t).op;
	int64_t n = weir_numel(t);

	if (weir_op_of(t)->flags & WEIR_OP_VIEW) return 0;
	if (!strcmp(op, "matmul") || !strcmp(op, "linear"))
		return 2 * (double)n * (double)weir_extent(weir_input(t, 0), -1);
	for (int k = 0; k < weir_node(t).inputs; k++) {
		if (weir_numel(weir_input(t, k)) > n) n = weir_numel(weir_input(t, k));
	}
	return (double)n;
}

double weir__whatif_operations(const weir_tensor *loss)
{
	double sum = 0;

	for (int64_t i = 0; i <= weir_node(loss).index; i++) {
		const weir_tensor *t = weir_tape_at(weir_context(loss), i);

		if (t && !is_leaf(t) && weir_node(t).recorded) sum += operations_of(t);
	}
	return sum;
}

static double element(const weir_tensor *t, int64_t i)
{
	return weir_dtype_of(t) == WEIR_F32 ? (double)((const float *)weir_data(t))[i]
					    : ((const double *)weir_data(t))[i];
}

/* What the L2 term does to parameter p. */
static double decay(const weir_tensor *p, const weir__descent *d)
{
	return weir_rank(p) >= 2 ? d->l2 : 0;
}

/* The norm of all gradients together, the L2 term's included, right at every exponent; NaN where one is not finite. */
static double gradient_norm(const weir_ctx *w, int64_t end, const weir__descent *d)
{
	double largest = 0, sum = 0;
	weir_tensor *p;

	for (int pass = 0; pass < 2; pass++) {
		for (int64_t i = 0; (p = next_param(w, end, &i));) {
			const weir_tensor *g = weir_grad_of(p);

			for (int64_t k = 0; g && k < weir_numel(p); k++) {
				double x = element(g, k) + decay(p, d) * element(p, k);

				if (!is_finite(x)) return UNKNOWN;
				x = x < 0 ? -x : x;
				if (pass) sum += x / largest * (x / largest);
				else if (x > largest) largest = x;
			}
		}
		if (largest == 0) return 0;
	}
	return largest * __builtin_sqrt(sum);
}

/* One step; returns ‖update‖, NaN where a loss or gradient was not finite and nothing was changed. */
static double descend(weir_tensor *loss, weir_place place, const weir__descent *d)
{
	weir_ctx *w = weir_context(loss);
	weir_tensor *y = weir_replay(loss, NULL, 0), *p;
	double norm, lr = d->lr;

	if (!is_finite(weir_item(y))) return UNKNOWN;
	forget_gradients(w, place.index);
	weir_backward(y);
	norm = weir_ok(w) ? gradient_norm(w, place.index, d) : UNKNOWN;
	if (!is_finite(norm)) return UNKNOWN;
	if (d->clip > 0 && norm > d->clip) {
		lr *= d->clip / norm;
		norm = d->clip;
	}
	for (int64_t i = 0; (p = next_param(w, place.index, &i));) {
		if (weir_grad_of(p)) weir__blend(p, 1 - lr * decay(p, d), weir_grad_of(p), lr);
	}
	return d->lr * norm;
}

void weir__whatif_steps(weir_tensor *loss, const weir__descent *d, weir_flow_trial *t)
{
	weir_ctx *w = weir_context(loss);
	weir_place place = weir_mark(w);
	double sum = 0, u = 0;
	int64_t made = 0;

	while (made < d->steps && weir_ok(w)) {
		u = descend(loss, place, d);
		weir_rewind(w, place, NULL, 0);
		if (!is_finite(u)) break;
		sum += u;
		made++;
	}
	if (made) t->update_norm = sum / (double)made;
	t->nonfinite_steps = d->steps - made;
	if (made < d->steps || !weir_ok(w)) return;
	t->loss_after = weir_item(weir_replay(loss, NULL, 0));
	weir_rewind(w, place, NULL, 0);
}
