/* step.c: one step of an optimiser, in two passes over the parameters.
 *
 * First, nothing is written: a step that would write an inf or NaN anywhere is refused as a whole. Each gradient's norm, which backward took
 * while it wrote it, bounds its largest magnitude (else the gradient is read for that); with those of parameter and states, which the step
 * before left behind, that bounds what will be written. Only where the bound is near the end of the type's range is the step computed for
 * trial. Then every parameter and state is read and written once. */
#include "nn/optim.h"

#include <float.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/profile.h"
#include "engine/tape.h"
#include "kernels/cpu.h"
#include "kernels/reduce.h"
#include "kernels/threads.h"

enum { TOPS = 1 + WEIR_OPTIM_STATES, TRIAL = 512, GRAIN = 1024 };

static const weir_tensor *gradient(const weir_optim_slot *slot)
{
	return weir_is_frozen(slot->p) ? NULL : weir_grad_of(slot->p);
}

static weir_tensor *written(const weir_optim_slot *slot, int i)
{
	return i ? slot->state[i - 1] : slot->p;
}

static weir_update_fn *kernel_of(const weir_optim *o, const weir_tensor *p)
{
	weir_update_fn *const *pair =
		(weir_update_fn *const *)(const void *)((const char *)weir__kernels() + o->type->kernel);

	return pair[p->dtype];
}

/* All that the kernel reads. */
static weir_update update_of(const weir_optim *o, const weir_optim_slot *slot, const weir_tensor *g)
{
	const weir_optim_group_options *group = &o->group[slot->group];
	double rate = o->lr * group->lr_factor, decay = slot->p->rank >= 2 || group->any_rank ? group->weight_decay : 0;
	weir_update u = { .g = weir__at(g), .w = weir__at(slot->p), .rate = rate };

	u.decay = o->decoupled ? 0 : decay;
	u.shrink = o->decoupled ? 1 - rate * decay : 1;
	for (int i = 0; i < WEIR_OPTIM_STATES; i++) u.s[i] = slot->state[i] ? weir__at(slot->state[i]) : NULL;
	o->type->prepare(o, slot, &u);
	return u;
}

/* Moves all pointers by so many elements. */
static void advance(weir_update *u, int64_t elements, size_t size)
{
	size_t bytes = (size_t)elements * size;

	u->g = (const char *)u->g + bytes;
	u->w = (const char *)u->w + bytes;
	if (u->w_out) u->w_out = (char *)u->w_out + bytes;
	for (int i = 0; i < WEIR_OPTIM_STATES; i++) {
		if (u->s[i]) u->s[i] = (const char *)u->s[i] + bytes;
		if (u->s_out[i]) u->s_out[i] = (char *)u->s_out[i] + bytes;
	}
}

/* ---- the first pass ---------------------------------------------------------------------------------------------- */

static bool refuse(const weir_optim_slot *slot, const char *what, const weir_stats *s)
{
	weir_text_buf text;

	weir_fail(
		slot->p->ctx, WEIR_ERR_NONFINITE,
		"weir_optim_step: %s of %s has %lld NaN and %lld inf; a step would write them; nothing was changed; weir_optim_zero_grad() "
		"forgets the gradients",
		what, weir__describe(slot->p, &text), (long long)s->nan, (long long)(s->pos_inf + s->neg_inf));
	return false;
}

static bool all_finite(const weir_tensor *t, double *largest, weir_stats *s)
{
	weir__stats((weir_dtype)t->dtype, weir__at(t), t->numel, s,
		    weir__threads_for(t->ctx->threads, (double)t->numel));
	*largest = s->largest;
	return !s->nan && !s->pos_inf && !s->neg_inf;
}

/* Largest magnitudes of what will be overwritten, if somebody else wrote there since the last step. */
static bool look_again(weir_optim_slot *slot)
{
	static const char *const names[TOPS] = { "the value", "the optimiser's first state",
						 "the optimiser's second state" };
	weir_stats s;

	for (int i = 0; i < TOPS; i++) {
		const weir_tensor *t = written(slot, i);

		if (!t || (slot->known && slot->version[i] == t->store->version)) continue;
		if (!all_finite(t, &slot->top[i], &s)) return refuse(slot, names[i], &s);
		slot->version[i] = t->store->version;
	}
	slot->known = true;
	return true;
}

/* Computes the step without keeping it. */
static bool trial(const weir_optim *o, const weir_optim_slot *slot, weir_update u)
{
	double room[TOPS][TRIAL], largest[TOPS];
	weir_update_fn *kernel = kernel_of(o, slot->p);
	weir_text_buf text;

	u.w_out = room[0];
	for (int i = 0; i < WEIR_OPTIM_STATES; i++) u.s_out[i] = room[1 + i];
	for (int64_t at = 0; at < slot->p->numel; at += TRIAL) {
		weir_update part = u;

		advance(&part, at, weir__size_of(slot->p->dtype));
		part.w_out = u.w_out;
		for (int i = 0; i < WEIR_OPTIM_STATES; i++) part.s_out[i] = u.s_out[i];
		kernel(&part, slot->p->numel - at < TRIAL ? slot->p->numel - at : TRIAL, largest);
		for (int i = 0; i < TOPS; i++) {
			if (largest[i] <= DBL_MAX) continue;
			weir_fail(
				slot->p->ctx, WEIR_ERR_NONFINITE,
				"weir_optim_step: the step would write an inf or NaN into %s%s, although gradient and value are finite: they are "
				"too large; nothing was changed; clip the gradients or lower the learning rate",
				i ? "the optimiser's state of " : "", weir__describe(slot->p, &text));
			return false;
		}
	}
	return true;
}

/* No element is larger than the norm, but for the rounding of that. Where backward has left none, or one that is not finite, the gradient
 * is read. */
static bool bounded(const weir_optim_slot *slot, const weir_tensor *g, double *largest)
{
	double norm = weir__known_norm(slot->p);
	weir_stats s;

	if (norm <= DBL_MAX) {
		*largest = norm * 1.000001;
		return true;
	}
	return all_finite(g, largest, &s) || refuse(slot, "the gradient", &s);
}

static bool harmless(const weir_optim *o, weir_optim_slot *slot)
{
	const weir_tensor *g;
	weir_update u;
	double largest;

	if (!weir__usable(slot->p, "weir_optim_step")) return false;
	g = gradient(slot);
	if (!g || !slot->p->numel) return true;
	for (int i = 0; i < TOPS; i++) {
		if (written(slot, i) && !weir__usable(written(slot, i), "weir_optim_step")) return false;
	}
	if (!bounded(slot, g, &largest) || !look_again(slot)) return false;
	u = update_of(o, slot, g);
	if (o->type->bound(o, slot, &u, largest) < (slot->p->dtype == WEIR_F32 ? (double)FLT_MAX / 4 : DBL_MAX / 4))
		return true;
	return trial(o, slot, u);
}

/* ---- the second pass --------------------------------------------------------------------------------------------- */

typedef struct task {
	weir_update u;
	weir_update_fn *kernel;
	size_t size;
	atomic_uint_least64_t top[TOPS]; /* bits of f64, which compare like the numbers where none is negative */
} task;

static void run(void *arg, int64_t begin, int64_t end)
{
	task *t = arg;
	weir_update u = t->u;
	double largest[TOPS];

	advance(&u, begin, t->size);
	t->kernel(&u, end - begin, largest);
	for (int i = 0; i < TOPS; i++) {
		uint_least64_t bits, old = atomic_load(&t->top[i]);

		memcpy(&bits, &largest[i], sizeof(bits));
		while (bits > old && !atomic_compare_exchange_weak(&t->top[i], &old, bits)) continue;
	}
}

/* ‖after - before‖ / ‖before‖ */
static double ratio(const weir_tensor *p, void *before)
{
	int64_t n = p->numel;
	double size = weir__norm2((weir_dtype)p->dtype, before, n, 1), change;

	if (p->dtype == WEIR_F32) {
		const float *after = weir__at(p);
		float *d = before;

		for (int64_t i = 0; i < n; i++) d[i] = after[i] - d[i];
	} else {
		const double *after = weir__at(p);
		double *d = before;

		for (int64_t i = 0; i < n; i++) d[i] = after[i] - d[i];
	}
	change = weir__norm2((weir_dtype)p->dtype, before, n, 1);
	return change > 0 ? change / size : 0;
}

/* before: room for a copy of any parameter where updates are tracked, else NULL. */
static void update(weir_optim *o, weir_optim_slot *slot, void *before)
{
	const weir_tensor *g = gradient(slot);
	weir_tensor *p = slot->p;
	task t = { .kernel = kernel_of(o, p), .size = weir__size_of(p->dtype) };

	if (!g) return;
	if (before && p->numel) memcpy(before, weir__at(p), (size_t)p->numel * t.size);
	t.u = update_of(o, slot, g);
	t.u.w_out = weir_data_mut(p, "weir_optim_step");
	for (int i = 0; i < WEIR_OPTIM_STATES; i++) {
		if (slot->state[i]) t.u.s_out[i] = weir_data_mut(slot->state[i], "weir_optim_step");
	}
	weir__parallel(weir__threads_for(p->ctx->threads, 10 * (double)p->numel), p->numel, GRAIN, run, &t);
	for (int i = 0; i < TOPS; i++) {
		uint_least64_t bits = atomic_load(&t.top[i]);

		memcpy(&slot->top[i], &bits, sizeof(bits));
		if (written(slot, i)) slot->version[i] = written(slot, i)->store->version;
	}
	slot->power1 *= o->adam.beta1;
	slot->power2 *= o->adam.beta2;
	slot->steps++;
	if (before) slot->ratio = ratio(p, before);
	if (!o->keep_grads) weir_zero_grad(p);
}

bool weir_optim_step(weir_optim *o)
{
	weir_ctx *w = o && o->nn ? o->nn->ctx : weir__nowhere();
	void *before = NULL;
	size_t bytes = 1;
	bool good = true;

	if (weir__in_hook(w, "weir_optim_step")) return false;
	if (o->bad) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_optim_step: the optimiser is that of a call that failed");
		return false;
	}
	weir__enter(w);
	weir__span_begin(w);
	for (int64_t i = 0; i < o->slots && good; i++) {
		size_t size = (size_t)o->slot[i].p->numel * weir__size_of(o->slot[i].p->dtype);

		good = harmless(o, &o->slot[i]);
		bytes = size > bytes ? size : bytes;
	}
	if (good && o->track) good = (before = weir__scratch_alloc(w, bytes, &bytes)) != NULL;
	for (int64_t i = 0; i < o->slots && good; i++) update(o, &o->slot[i], before);
	if (before) weir__scratch_free(w, before, bytes);
	weir__span_end(w, WEIR_SPAN_CALL, "weir_optim_step");
	weir__leave(w);
	if (!good || !weir_ok(w)) return false;
	o->steps++;
	return true;
}
