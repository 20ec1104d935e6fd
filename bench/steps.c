/* steps.c: what a training step and a node cost. Each workload checks its result first, so that a fast wrong answer fails. Medians of 7 after a
 * warm-up; a claim is a ratio of two of these in one run. */
#include "bench/bench.h"

#include <weir/weir.h>

#include <stdio.h>

/* Median of 7 runs of f, which does `count` units of work, in seconds per unit. */
static double median(double (*f)(void *), void *arg)
{
	double t[7];

	f(arg);
	for (int i = 0; i < 7; i++) t[i] = f(arg);
	qsort(t, 7, sizeof *t, by_size);
	return t[3];
}

typedef struct net {
	weir_ctx *w;
	weir_module *m;
	weir_optim *optim;
	weir_flow *flow;
	weir_tensor *x, *y;
	int steps;
	bool norms;
	double loss;
} net;

static void ignore(const weir_event *e, void *user)
{
	(void)e, (void)user;
}

static net make(int threads, const int64_t *width, int layers, weir_act act, int64_t batch, bool norms)
{
	weir_options o;
	net n = { .steps = 20, .norms = norms };
	int64_t *labels = calloc((size_t)batch, sizeof *labels);

	weir_options_init(&o);
	o.threads = threads;
	n.w = weir_open(&o);
	n.m = weir_sequential_new(n.w, "net");
	for (int i = 0; i < layers; i++) {
		weir_linear_options l;

		weir_linear_options_init(&l);
		l.init = WEIR_INIT_HE;
		l.act = i + 1 < layers ? act : WEIR_ACT_IDENTITY;
		weir_module_add(n.m, NULL, weir_linear_with(n.w, width[i], width[i + 1], &l));
	}
	n.optim = weir_sgd_new(n.w, n.m, 0.01, 0.9);
	for (int64_t i = 0; i < batch; i++) labels[i] = i % width[layers];
	n.x = weir_keep(weir_normal(n.w, WEIR_F32, 2, (int64_t[]){ batch, width[0] }, 0, 1));
	n.y = weir_keep(weir_from(n.w, WEIR_I64, 1, &batch, labels));
	if (norms) weir_on_grad(n.w, ignore, NULL, NULL);
	free(labels);
	return n;
}

static double train(void *arg)
{
	net *n = arg;
	double begin = now();

	for (int i = 0; i < n->steps; i++) {
		weir_tensor *loss;

		weir_tape_reset(n->w);
		loss = weir_cross_entropy(weir_forward(n->m, n->x), n->y);
		weir_backward(loss);
		weir_optim_step(n->optim);
		n->loss = weir_item(loss);
	}
	return (now() - begin) / n->steps;
}

enum { NODES = 1000 };

static double chain(void *arg)
{
	net *n = arg;
	double begin = now();
	weir_tensor *y;

	weir_tape_reset(n->w);
	y = n->x;
	for (int i = 0; i < NODES; i++) y = weir_affine(y, 1, 1);
	weir_zero_grad(n->x);
	weir_backward(y);
	return (now() - begin) / NODES;
}

int main(void)
{
	static const int64_t mlp[] = { 784, 256, 128, 10 };
	int64_t deep[51];
	int failed = 0;

	for (int i = 0; i < 51; i++) deep[i] = 128;
	for (int threads = 1; threads <= 2; threads++) {
		net a = make(threads, mlp, 3, WEIR_ACT_RELU, 64, false),
		    b = make(threads, deep, 50, WEIR_ACT_RELU, 64, false);
		net c = make(threads, deep, 50, WEIR_ACT_RELU, 64, true),
		    d = make(threads, deep, 50, WEIR_ACT_SIGMOID, 64, false);
		double first, plain, norms;

		train(&a);
		first = a.loss;
		printf("%d thread%s\n", threads, threads > 1 ? "s" : "");
		printf("  MLP 784-256-128-10 ReLU, batch 64     %8.0f steps/s\n", 1 / median(train, &a));
		if (!(a.loss < first)) failed = 1;
		plain = median(train, &b);
		norms = median(train, &c);
		printf("  50 x Linear(128) ReLU, batch 64       %8.0f steps/s\n", 1 / plain);
		printf("  the same, every gradient's norm taken %8.3f times the step\n", norms / plain);
		printf("  50 x Linear(128) sigmoid, batch 64    %8.0f steps/s\n", 1 / median(train, &d));
		failed |= weir_close(a.w) | weir_close(b.w) | weir_close(c.w) | weir_close(d.w);
	}
	net e = { .w = weir_open(NULL) };
	e.x = weir_param_new(e.w, "x", WEIR_F32, 0, NULL);
	printf("tape: build, forward, backward, reset    %8.1f ns per node of %d\n", 1e9 * median(chain, &e), NODES);
	if (weir_item(weir_grad_of(e.x)) != 1) failed = 1;
	failed |= weir_close(e.w);
	if (failed) printf("a result is wrong\n");
	return failed;
}
