/* flow_cost.c: what measuring costs. The same network three times in one run, bare, with the norm of every gradient taken (weir_on_grad), and
 * watched by the instrument as it is by default; their steps take turns in short blocks, so that whatever else the machine does hits all
 * three. A repetition makes new networks, in another order, so that where they happen to lie in memory evens out. Printed: median over the repetitions of
 * the ratio to the bare network, and its quartiles. All three must end at the same loss, to the bit.
 *
 * `said`: what the instrument itself reports of its share, from a run without interruption. flow_cost SECONDS NETWORK:
 * length of a repetition, default 0.8; which network of the list, from 1, default 0: all. */
#include "bench/bench.h"

#include <weir/weir.h>

#include <stdio.h>
#include <string.h>

enum { REPETITIONS = 15, ROUNDS = 8, WARM_UP = 40, MODES = 3 };
enum { BARE, NORMS, WATCHED };

typedef struct shape {
	const char *name;
	const int64_t *width;
	int layers;
	weir_act act;
} shape;

typedef struct net {
	weir_ctx *w;
	weir_module *m;
	weir_optim *optim;
	weir_flow *flow;
	weir_tensor *x, *y;
	double loss, sum; /* of the norms, so that they are used */
} net;

static void add(const weir_event *e, void *user)
{
	net *n = user;

	n->sum += e->norm;
}

static void make(net *n, const shape *s, int threads, int mode)
{
	enum { BATCH = 64 };
	int64_t labels[BATCH], batch = BATCH;
	weir_options o;

	weir_options_init(&o);
	o.threads = threads;
	*n = (net){ .w = weir_open(&o) };
	n->m = weir_sequential_new(n->w, "net");
	for (int i = 0; i < s->layers; i++) {
		weir_linear_options l;

		weir_linear_options_init(&l);
		l.init = WEIR_INIT_HE;
		l.act = i + 1 < s->layers ? s->act : WEIR_ACT_IDENTITY;
		weir_module_add(n->m, NULL, weir_linear_with(n->w, s->width[i], s->width[i + 1], &l));
	}
	n->optim = weir_sgd_new(n->w, n->m, 0.001, 0.9);
	for (int64_t i = 0; i < BATCH; i++) labels[i] = i % s->width[s->layers];
	n->x = weir_keep(weir_normal(n->w, WEIR_F32, 2, (int64_t[]){ BATCH, s->width[0] }, 0, 1));
	n->y = weir_keep(weir_from(n->w, WEIR_I64, 1, &batch, labels));
	if (mode == NORMS) weir_on_grad(n->w, add, n, NULL);
	if (mode == WATCHED) n->flow = weir_flow_watch(n->w, NULL);
}

/* Seconds. */
static double train(net *n, int64_t steps)
{
	double begin = now();

	for (int64_t i = 0; i < steps; i++) {
		weir_tensor *loss;

		weir_tape_reset(n->w);
		loss = weir_cross_entropy(weir_forward(n->m, n->x), n->y);
		weir_backward(loss);
		weir_optim_step(n->optim);
		if (n->flow) weir_flow_step(n->flow, loss);
		n->loss = weir_item(loss);
	}
	return now() - begin;
}

/* One repetition: seconds of each mode. False where the three didn't do the same. */
static bool repeat(const shape *s, int threads, int first, int64_t steps, double *seconds)
{
	net n[MODES];
	bool good = true;

	for (int i = 0; i < MODES; i++) make(&n[(first + i) % MODES], s, threads, (first + i) % MODES);
	for (int i = 0; i < MODES; i++) {
		seconds[i] = 0;
		train(&n[i], WARM_UP);
	}
	for (int r = 0; r < ROUNDS; r++) {
		for (int i = 0; i < MODES; i++) {
			int mode = (first + r + i) % MODES;

			seconds[mode] += train(&n[mode], steps / ROUNDS + 1);
		}
	}
	for (int i = 0; i < MODES; i++) {
		good = good && weir_ok(n[i].w) && !memcmp(&n[i].loss, &n[BARE].loss, sizeof n[i].loss) &&
		       n[i].loss == n[i].loss;
	}
	good = good && n[NORMS].sum > 0 && weir_flow_layer_count(n[WATCHED].flow) >= s->layers;
	for (int i = 0; i < MODES; i++) good = !weir_close(n[i].w) && good;
	return good;
}

static double said(const shape *s, int threads, int64_t steps)
{
	net n;
	double share;

	make(&n, s, threads, WATCHED);
	train(&n, WARM_UP + 3 * steps);
	share = weir_flow_summary_of(n.flow)->own_share;
	weir_close(n.w);
	return share;
}

static bool measure(const shape *s, int threads, double length)
{
	double bare[REPETITIONS], ratio[MODES][REPETITIONS], seconds[MODES];
	net trial;
	int64_t steps;

	make(&trial, s, threads, BARE);
	train(&trial, WARM_UP);
	steps = (int64_t)(length / MODES / (train(&trial, WARM_UP) / WARM_UP)) + ROUNDS;
	weir_close(trial.w);
	for (int r = 0; r < REPETITIONS; r++) {
		if (!repeat(s, threads, r % MODES, steps, seconds)) {
			printf("%s: a result is wrong\n", s->name);
			return false;
		}
		bare[r] = seconds[BARE] / (double)((steps / ROUNDS + 1) * ROUNDS);
		for (int i = 0; i < MODES; i++) ratio[i][r] = seconds[i] / seconds[BARE];
	}
	qsort(bare, REPETITIONS, sizeof *bare, by_size);
	printf("%-28s %7d %10.1f", s->name, threads, 1e6 * bare[REPETITIONS / 2]);
	for (int i = NORMS; i < MODES; i++) {
		qsort(ratio[i], REPETITIONS, sizeof *ratio[i], by_size);
		printf("   %.4f (%.4f %.4f)", ratio[i][REPETITIONS / 2], ratio[i][REPETITIONS / 4],
		       ratio[i][3 * REPETITIONS / 4]);
	}
	printf("   %.4f\n", said(s, threads, steps));
	fflush(stdout);
	return true;
}

int main(int argc, char **argv)
{
	static const int64_t mlp[] = { 784, 256, 128, 10 };
	static int64_t deep[51], tiny[22], wide[7];
	const shape shapes[] = {
		{ "50 x 128 ReLU", deep, 50, WEIR_ACT_RELU },
		{ "50 x 128 sigmoid", deep, 50, WEIR_ACT_SIGMOID },
		{ "MLP 784-256-128-10 ReLU", mlp, 3, WEIR_ACT_RELU },
		{ "21 x 32 ReLU", tiny, 21, WEIR_ACT_RELU },
		{ "6 x 1024 ReLU", wide, 6, WEIR_ACT_RELU },
	};
	double length = argc > 1 ? atof(argv[1]) : 0.8;
	size_t only = argc > 2 ? (size_t)atoi(argv[2]) : 0;
	bool good = true;

	for (int i = 0; i < 51; i++) deep[i] = 128;
	for (int i = 0; i < 22; i++) tiny[i] = 32;
	for (int i = 0; i < 7; i++) wide[i] = 1024;
	printf("batch 64, f32; ratio to the bare step: median (quartiles) of %d\n", REPETITIONS);
	printf("%-28s %7s %10s   %-24s   %-24s   %s\n", "network", "threads", "step, us", "every norm", "watched",
	       "said");
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		for (int threads = 1; threads <= 2 && (!only || only == i + 1); threads++)
			good = measure(&shapes[i], threads, length) && good;
	}
	return !good;
}
