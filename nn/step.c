/* step.c: one step of an optimiser, in two passes over the parameters.
 *
 * First, nothing is written: a step that would write an inf or NaN anywhere is refused as a whole. Each gradient's norm, which backward took
 * while it wrote it, bounds its largest magnitude (else the gradient is read for that); with those of parameter and states, which the step
 * before left behind, that bounds what will be written. Only where the bound is near the end of the type's range is the step computed for
 * trial.
 *
 * Then every gradient, parameter and state is read, and written, once: in one region for all of them, in which each thread has its share of
 * every large parameter, the same one in every step, so that it finds in its cache what it left there. Clipping is part of that pass. */
#include "nn/optim.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "engine/profile.h"
#include "engine/tape.h"
#include "kernels/cpu.h"
#include "kernels/reduce.h"
#include "kernels/threads.h"

enum { TOPS = 1 + WEIR_OPTIM_STATES, TRIAL = 512, GRAIN = 1024 };

/* Of one parameter, as weir__threads_for() counts: that of a product at a batch of 64. Where the product that made a gradient was one thread's,
 * a step shared out would only move it, and the parameter, to other caches, whatever the step itself gained. */
static const double WORK = 128;

static const weir_tensor *gradient(const weir_optim_slot *slot)
{
	return weir__moving_gradient(slot->p);
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

/* What the gradients are clipped to; norm 0: they are not. */
typedef struct clip {
	double norm, limit;
} clip;

/* All that the kernel reads. */
static weir_update update_of(const weir_optim *o, const weir_optim_slot *slot, const weir_tensor *g, clip c)
{
	const weir_optim_group_options *group = &o->group[slot->group];
	double rate = o->lr * group->lr_factor, decay = slot->p->rank >= 2 || group->any_rank ? group->weight_decay : 0;
	weir_update u = { .g = weir__at(g), .w = weir__at(slot->p), .rate = rate, .norm = c.norm, .limit = c.limit };

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
	weir__stats((weir_dtype)t->dtype, weir__at(t), t->numel, s, t->ctx->threads);
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

/* No element is larger than the norm, but for the rounding of that. Where that is not finite, the gradient is read. */
static bool bounded(const weir_optim_slot *slot, const weir_tensor *g, double *largest)
{
	double norm = weir__grad_norm(slot->p);
	weir_stats s;

	if (norm <= DBL_MAX) {
		*largest = norm * 1.000001;
		return true;
	}
	return all_finite(g, largest, &s) || refuse(slot, "the gradient", &s);
}

static bool harmless(const weir_optim *o, weir_optim_slot *slot, clip c)
{
	const weir_tensor *g;
	double largest;

	slot->moves = false;
	if (!weir__usable(slot->p, "weir_optim_step")) return false;
	g = gradient(slot);
	if (!g) return true;
	for (int i = 0; i < TOPS; i++) {
		if (written(slot, i) && !weir__usable(written(slot, i), "weir_optim_step")) return false;
	}
	slot->moves = true;
	slot->update = update_of(o, slot, g, c);
	if (!slot->p->numel) return true;
	if (!bounded(slot, g, &largest) || !look_again(slot)) return false;
	if (c.norm > 0) largest = largest / c.norm * c.limit * 1.000001;
	if (o->type->bound(o, slot, &slot->update, largest) <
	    (slot->p->dtype == WEIR_F32 ? (double)FLT_MAX / 4 : DBL_MAX / 4))
		return true;
	return trial(o, slot, slot->update);
}

/* ---- the second pass --------------------------------------------------------------------------------------------- */

/* Slots first .. first + n - 1, each cut into so many shares. */
typedef struct task {
	const weir_optim *o;
	weir_optim_slot *slot;
	int64_t n, shares;
} task;

/* Where share i of n elements begins, and i - 1 ends. */
static int64_t cut(int64_t n, int64_t i, int64_t shares)
{
	int64_t grains = (n + GRAIN - 1) / GRAIN, at = grains * i / shares * GRAIN;

	return at < n ? at : n;
}

static void run_part(const weir_optim *o, weir_optim_slot *slot, int64_t begin, int64_t end)
{
	weir_update u = slot->update;
	double largest[TOPS];

	advance(&u, begin, weir__size_of(slot->p->dtype));
	kernel_of(o, slot->p)(&u, end - begin, largest);
	for (int i = 0; i < TOPS; i++) {
		uint_least64_t bits, old = atomic_load(&slot->largest[i]);

		memcpy(&bits, &largest[i], sizeof(bits)); /* which compare like the numbers where none is negative */
		while (bits > old && !atomic_compare_exchange_weak(&slot->largest[i], &old, bits)) continue;
	}
}

static int shares_of(const weir_optim_slot *slot)
{
	return weir__threads_for(slot->p->ctx->threads, WORK * (double)slot->p->numel);
}

/* The shares first .. last - 1 of all; what is not shared belongs to the first. */
static void run_shares(void *arg, int64_t first, int64_t last)
{
	const task *t = arg;

	for (int64_t share = first; share < last; share++) {
		for (int64_t i = 0; i < t->n; i++) {
			weir_optim_slot *slot = &t->slot[i];
			int64_t n = slot->moves ? slot->p->numel : 0, of = slot->shared ? t->shares : 1;
			int64_t begin = cut(n, share, of), end = cut(n, share + 1, of);

			if (share < of && begin < end) run_part(t->o, slot, begin, end);
		}
	}
}

static void run(const weir_optim *o, weir_optim_slot *slot, int64_t n)
{
	task t = { .o = o, .slot = slot, .n = n, .shares = 1 };

	for (int64_t i = 0; i < n; i++) {
		int shares = slot[i].moves ? shares_of(&slot[i]) : 1;

		slot[i].shared = shares > 1;
		if (shares > 1) t.shares = shares;
	}
	weir__parallel((int)t.shares, t.shares, 1, run_shares, &t);
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

static void begin_write(weir_optim_slot *slot)
{
	slot->update.w_out = weir_data_mut(slot->p, "weir_optim_step");
	for (int i = 0; i < WEIR_OPTIM_STATES; i++) {
		if (slot->state[i]) slot->update.s_out[i] = weir_data_mut(slot->state[i], "weir_optim_step");
	}
	for (int i = 0; i < TOPS; i++) atomic_store_explicit(&slot->largest[i], 0, memory_order_relaxed);
}

static void end_write(weir_optim *o, weir_optim_slot *slot)
{
	for (int i = 0; i < TOPS; i++) {
		uint_least64_t bits = atomic_load_explicit(&slot->largest[i], memory_order_relaxed);

		memcpy(&slot->top[i], &bits, sizeof(bits));
		if (written(slot, i)) slot->version[i] = written(slot, i)->store->version;
	}
	slot->power1 *= o->adam.beta1;
	slot->power2 *= o->adam.beta2;
	slot->steps++;
	if (!o->keep_grads) weir_zero_grad(slot->p);
}

/* One by one, with a look at each before and after. */
static bool run_tracked(weir_optim *o)
{
	weir_ctx *w = o->nn->ctx;
	size_t bytes = 1;
	void *before;

	for (int64_t i = 0; i < o->slots; i++) {
		size_t size = (size_t)o->slot[i].p->numel * weir__size_of(o->slot[i].p->dtype);

		bytes = size > bytes ? size : bytes;
	}
	before = weir__scratch_alloc(w, bytes, &bytes);
	if (!before) return false;
	for (int64_t i = 0; i < o->slots; i++) {
		weir_optim_slot *slot = &o->slot[i];
		size_t size = (size_t)slot->p->numel * weir__size_of(slot->p->dtype);

		if (!slot->moves) continue;
		if (size) memcpy(before, weir__at(slot->p), size);
		begin_write(slot);
		run(o, slot, 1);
		slot->ratio = ratio(slot->p, before);
		end_write(o, slot);
	}
	weir__scratch_free(w, before, bytes);
	return true;
}

static void run_all(weir_optim *o)
{
	for (int64_t i = 0; i < o->slots; i++) {
		if (o->slot[i].moves) begin_write(&o->slot[i]);
	}
	run(o, o->slot, o->slots);
	for (int64_t i = 0; i < o->slots; i++) {
		if (o->slot[i].moves) end_write(o, &o->slot[i]);
	}
}

static weir_tensor *moving(const void *o, int64_t i)
{
	const weir_optim_slot *slot = &((const weir_optim *)o)->slot[i];

	return weir_ok(slot->p->ctx) && weir__usable(slot->p, "weir_optim_step") && gradient(slot) ? slot->p : NULL;
}

/* max_norm is infinite where nothing is clipped. Returns the norm of all gradients, which is then not taken: 0. */
static double step(weir_optim *o, double max_norm)
{
	weir_ctx *w = o->nn->ctx;
	clip c = { .limit = max_norm };
	double norm = 0;
	bool good = true;

	if (max_norm <= DBL_MAX) norm = weir__grads_norm(moving, o, o->slots);
	if (norm > max_norm) c.norm = norm;
	for (int64_t i = 0; i < o->slots && good; i++) good = harmless(o, &o->slot[i], c);
	if (good && !weir__is_size(norm)) {
		weir_fail(
			w, WEIR_ERR_NONFINITE,
			"weir_optim_clip_step: the norm of the gradients is larger than f64 can hold; nothing was changed");
		good = false;
	}
	if (good && o->track) good = run_tracked(o);
	else if (good) run_all(o);
	if (!good || !weir_ok(w)) return __builtin_nan("");
	o->steps++;
	return norm;
}

static double enter_and_step(weir_optim *o, double max_norm, const char *who)
{
	weir_ctx *w = o && o->nn ? o->nn->ctx : weir__nowhere();
	double norm;

	if (weir__in_hook(w, who)) return __builtin_nan("");
	if (o->bad) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: the optimiser is that of a call that failed", who);
		return __builtin_nan("");
	}
	weir__enter(w);
	weir__span_begin(w);
	norm = step(o, max_norm);
	weir__span_end(w, WEIR_SPAN_CALL, who);
	weir__leave(w);
	return norm;
}

bool weir_optim_step(weir_optim *o)
{
	return !isnan(enter_and_step(o, (double)INFINITY, "weir_optim_step"));
}

double weir_optim_clip_step(weir_optim *o, double max_norm)
{
	weir_number_text number;

	if (!o || o->bad || weir__is_size(max_norm)) return enter_and_step(o, max_norm, "weir_optim_clip_step");
	if (weir_ok(o->nn->ctx))
		weir_fail(o->nn->ctx, WEIR_ERR_ARGUMENT,
			  "weir_optim_clip_step: the limit is %s; it must be finite and not negative",
			  weir__number(max_norm, &number));
	return __builtin_nan("");
}
