/* watched.c: a program that acts on what the instrument says. A deep sigmoid network is measured before it is trained, repairs are tried on
 * copies, the best of the activations is taken, and training is watched: it halves its learning rate after a spike and ends where the
 * verdict is non-finite. */
#include <weir/weir.h>

#include <stdio.h>

enum { DEPTH = 12, WIDTH = 32, STEPS = 300 };

typedef struct training {
	weir_ctx *w;
	weir_dataset *set;
	weir_module *net;
	weir_flow *flow;
} training;

/* Called after a step whose verdict is not healthy: true ends the training. */
static bool stop(const weir_flow *flow, void *user)
{
	(void)user;
	return weir_flow_verdict(flow) == WEIR_FLOW_NONFINITE;
}

static training begin(weir_act act, weir_init_kind init)
{
	training t = { .w = weir_open(NULL) };
	weir_flow_options o;

	t.set = weir_dataset_digits(t.w);
	t.net = weir_sequential_new(t.w, "net");
	for (int i = 0; i <= DEPTH; i++) {
		weir_linear_options l;

		weir_linear_options_init(&l);
		l.init = init;
		l.act = i < DEPTH ? act : WEIR_ACT_IDENTITY;
		weir_module_add(t.net, NULL, weir_linear_with(t.w, i ? WIDTH : 64, i < DEPTH ? WIDTH : 10, &l));
	}
	weir_flow_options_init(&o);
	o.stop = stop;
	o.classes = 10;
	t.flow = weir_flow_watch(t.w, &o);
	return t;
}

/* Forward and backward on the next batch. */
static weir_tensor *pass(const training *t)
{
	weir_tensor *x, *y, *loss;

	weir_tape_reset(t->w);
	weir_dataset_next(t->set, 64, &x, &y);
	loss = weir_cross_entropy(weir_forward(t->net, x), y);
	weir_backward(loss);
	return loss;
}

/* One step of the network as it is, and what each repair would do to it. Returns the best activation tried. */
static weir_act advise(void)
{
	training t = begin(WEIR_ACT_SIGMOID, WEIR_INIT_GLOROT);
	weir_tensor *loss = pass(&t);
	weir_flow_whatif_options o;
	weir_act best = WEIR_ACT_SIGMOID;

	weir_flow_step(t.flow, loss);
	printf("sigmoid: %s, because of %s\n", weir_verdict_name(weir_flow_verdict(t.flow)),
	       weir_flow_summary_of(t.flow)->cause);
	weir_flow_whatif_options_init(&o);
	o.repairs = 1u << WEIR_REPAIR_TANH | 1u << WEIR_REPAIR_RELU_HE | 1u << WEIR_REPAIR_HE;
	weir_flow_whatif(t.flow, loss, &o);
	for (int64_t i = 0; i < weir_flow_trial_count(t.flow); i++) { /* best first, behind the network as it is */
		const weir_flow_trial *r = weir_flow_trial_at(t.flow, i);

		printf("  %-28s total gain %.1e, %.3f per layer\n", r->name, r->total_gain, r->gain_per_layer);
		if (best == WEIR_ACT_SIGMOID && r->verdict == WEIR_FLOW_HEALTHY)
			best = r->repair == WEIR_REPAIR_TANH ? WEIR_ACT_TANH : WEIR_ACT_RELU;
	}
	weir_close(t.w);
	return best;
}

int main(void)
{
	weir_act act = advise();
	training t = begin(act, act == WEIR_ACT_RELU ? WEIR_INIT_HE : WEIR_INIT_GLOROT);
	weir_optim *sgd = weir_sgd_new(t.w, t.net, 0.02, 0.9);
	double first = 0, last = 0;

	for (int step = 0; step < STEPS; step++) {
		weir_tensor *loss = pass(&t);
		const weir_flow_summary *s;

		weir_optim_step(sgd);
		if (!weir_flow_step(t.flow, loss)) break; /* an error, or stop() said so */
		s = weir_flow_summary_of(t.flow);
		if (s->grad_spike) weir_optim_set_lr(sgd, weir_optim_lr(sgd) / 2);
		if (step == 0) first = s->loss;
		last = s->loss;
		if (step % 100 == 99)
			printf("step %3d  loss %.4f  gain per layer %.3f  %s\n", step + 1, s->loss, s->gain_per_layer,
			       weir_verdict_name(s->verdict));
	}
	if (weir_flow_stopped(t.flow)) weir_flow_report(t.flow, stdout, WEIR_FLOW_TABLE, NULL);
	printf("%s: loss from %.2f to %.2f\n", act == WEIR_ACT_RELU ? "ReLU + He" : "tanh", first, last);
	return weir_close(t.w) || !(last < 0.5 * first);
}
