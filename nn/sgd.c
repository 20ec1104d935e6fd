/* sgd.c: stochastic gradient descent. The update itself is kernels/body_optim_type.h. */
#include "nn/optim.h"

static void prepare(const weir_optim *o, const weir_optim_slot *slot, weir_update *u)
{
	u->keep1 = o->sgd.momentum;
	u->gain1 = 1 - o->sgd.dampening;
	u->nesterov = o->sgd.nesterov;
	u->first = slot->steps == 0;
}

static double bound(const weir_optim *o, const weir_optim_slot *slot, const weir_update *u, double g)
{
	double d, v = 0;

	(void)o;
	d = g = g + u->decay * slot->top[0];
	if (slot->state[0]) {
		v = u->keep1 * slot->top[1] + g;
		d = v + (u->nesterov ? u->keep1 * v + g : 0);
	}
	return slot->top[0] * (1 + (u->shrink < 0 ? -u->shrink : u->shrink)) + v + d + u->rate * d;
}

static const weir_optim_type plain = {
	.name = "weir_sgd_new",
	.prepare = prepare,
	.bound = bound,
	.kernel = offsetof(weir_kernels, sgd_step),
};
static const weir_optim_type with_momentum = {
	.name = "weir_sgd_new",
	.state = { "momentum" },
	.prepare = prepare,
	.bound = bound,
	.kernel = offsetof(weir_kernels, sgd_step),
};

void weir_sgd_options_init(weir_sgd_options *o)
{
	if (o) *o = (weir_sgd_options){ .lr = 0.01 };
}

static bool good(weir_ctx *w, const weir_sgd_options *o)
{
	weir_number_text a, b;

	if (weir__within(o->momentum, 0, 1) && weir__within(o->dampening, 0, 1) &&
	    (!o->nesterov || (o->momentum > 0 && o->dampening == 0)))
		return true;
	weir_fail(w, WEIR_ERR_ARGUMENT,
		  "weir_sgd_new: momentum is %s, dampening is %s; both lie in 0 .. 1, and nesterov%s needs momentum "
		  "above 0 and dampening 0",
		  weir__number(o->momentum, &a), weir__number(o->dampening, &b), o->nesterov ? ", which is set," : "");
	return false;
}

weir_optim *weir_sgd_with(weir_ctx *w, weir_module *m, const weir_sgd_options *options)
{
	weir_sgd_options defaults;
	weir_optim *o;

	weir_sgd_options_init(&defaults);
	if (!options) options = &defaults;
	if (!weir_ok(w) || !good(w, options)) return weir__optim_bad(w);
	o = weir__optim_new(w, m, options->momentum > 0 ? &with_momentum : &plain, options->lr, options->weight_decay);
	if (o->bad) return o;
	o->sgd = *options;
	o->decoupled = options->decoupled;
	o->keep_grads = options->keep_grads;
	return o;
}

weir_optim *weir_sgd_new(weir_ctx *w, weir_module *m, double lr, double momentum)
{
	weir_sgd_options o;

	weir_sgd_options_init(&o);
	o.lr = lr;
	o.momentum = momentum;
	return weir_sgd_with(w, m, &o);
}
