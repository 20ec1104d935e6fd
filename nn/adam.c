/* adam.c: Adam and AdamW. The update itself is kernels/body_optim_type.h.
 *
 * The bias corrections 1 - betaᵗ come from products in f64, one per step, not from pow: they are the same on every machine. */
#include "nn/optim.h"

#include <math.h>

static void prepare(const weir_optim *o, const weir_optim_slot *slot, weir_update *u)
{
	u->keep1 = o->adam.beta1;
	u->gain1 = 1 - o->adam.beta1;
	u->keep2 = o->adam.beta2;
	u->gain2 = 1 - o->adam.beta2;
	u->rate /= 1 - slot->power1 * o->adam.beta1;
	u->root = 1 / sqrt(1 - slot->power2 * o->adam.beta2);
	u->eps = o->adam.eps;
}

/* m and r are averages, so no larger than what goes into them, but for rounding. */
static double bound(const weir_optim *o, const weir_optim_slot *slot, const weir_update *u, double g)
{
	double m, r;

	(void)o;
	g += u->decay * slot->top[0];
	m = slot->top[1] + g;
	r = slot->top[2] + g;
	return slot->top[0] * (1 + (u->shrink < 0 ? -u->shrink : u->shrink)) + m + r * (1 + u->root) + u->eps +
	       u->rate * m / u->eps;
}

static const weir_optim_type type = {
	.name = "weir_adam_new",
	.state = { "mean", "root_square" },
	.prepare = prepare,
	.bound = bound,
	.kernel = offsetof(weir_kernels, adam_step),
};

void weir_adam_options_init(weir_adam_options *o)
{
	if (o) *o = (weir_adam_options){ .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8 };
}

static bool good(weir_ctx *w, const weir_adam_options *o)
{
	weir_number_text a, b, c;

	if (weir__within(o->beta1, 0, 1) && o->beta1 < 1 && weir__within(o->beta2, 0, 1) && o->beta2 < 1 &&
	    weir__is_size(o->eps))
		return true;
	weir_fail(
		w, WEIR_ERR_ARGUMENT,
		"weir_adam_new: the betas are %s and %s, eps is %s; betas lie in 0 .. 1, without 1, and eps is finite "
		"and not negative",
		weir__number(o->beta1, &a), weir__number(o->beta2, &b), weir__number(o->eps, &c));
	return false;
}

weir_optim *weir_adam_with(weir_ctx *w, weir_module *m, const weir_adam_options *options)
{
	weir_adam_options defaults;
	weir_optim *o;

	weir_adam_options_init(&defaults);
	if (!options) options = &defaults;
	if (!weir_ok(w) || !good(w, options)) return weir__optim_bad(w);
	o = weir__optim_new(w, m, &type, options->lr, options->weight_decay);
	if (o->bad) return o;
	o->adam = *options;
	o->decoupled = options->decoupled;
	o->keep_grads = options->keep_grads;
	return o;
}

weir_optim *weir_adam_new(weir_ctx *w, weir_module *m, double lr)
{
	weir_adam_options o;

	weir_adam_options_init(&o);
	o.lr = lr;
	return weir_adam_with(w, m, &o);
}

weir_optim *weir_adamw_new(weir_ctx *w, weir_module *m, double lr, double weight_decay)
{
	weir_adam_options o;

	weir_adam_options_init(&o);
	o.lr = lr;
	o.weight_decay = weight_decay;
	o.decoupled = true;
	return weir_adam_with(w, m, &o);
}
