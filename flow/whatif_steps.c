/* whatif_steps.c: what a copy of a network costs, and where plain gradient descent takes it. Every pass replays the recorded loss
 * on the copy's own tape, which reads the parameters as they are then, and takes it back. */
#include <time.h>

#include "flow/whatif.h"

enum { FEWEST = 3, MOST = 10 };    /* times */
static const double enough = 0.02; /* seconds in all */

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

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

double weir__whatif_time(weir_tensor *loss)
{
	weir_ctx *w = weir_context(loss);
	weir_place place = weir_mark(w);
	double best = UNKNOWN, sum = 0;

	for (int i = 0; (i < FEWEST || (i < MOST && sum < enough)) && weir_ok(w); i++) {
		double began, t;

		forget_gradients(w, place.index);
		began = seconds();
		weir_backward(weir_replay(loss, NULL, 0));
		t = seconds() - began;
		weir_rewind(w, place, NULL, 0);
		if (!(best <= t)) best = t;
		sum += t;
	}
	forget_gradients(w, place.index);
	return weir_ok(w) ? best : UNKNOWN;
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
