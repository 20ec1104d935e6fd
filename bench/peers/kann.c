/* kann.c: KANN as a contestant: training steps and chains of scalars. It has no SGD with momentum: the loop stands here. Threads are
 * OpenBLAS's: where KANN splits the batch among threads of its own, these wait for each other inside of OpenBLAS. */
#include "bench/contestant.h"

#include <cblas.h>
#include <kann.h>
#include <stdlib.h>
#include <string.h>

typedef struct work {
	kann_t *net;
	float *x, *y, *v; /* v: momentum */
	int64_t batch;
	double loss;
} work;

static void set_weights(work *t, const ask *a)
{
	int layer = 0;

	for (int i = 0; i < t->net->n; i++) {
		kad_node_t *p = t->net->v[i];

		if (!kad_is_var(p)) continue;
		if (p->n_d == 2) {
			fill(p->x, kad_len(p), (uint32_t)(DATA_WEIGHTS + layer),
			     weight_bound(a->word[0], a->n[layer + 1]));
			layer++;
		} else {
			memset(p->x, 0, (size_t)kad_len(p) * sizeof *p->x);
		}
	}
}

static void *begin(const ask *a)
{
	int64_t in = a->n[1], out = a->n[a->count - 1];
	kad_node_t *z;
	work *t;

	if (a->count < 3) return NULL;
	t = calloc(1, sizeof *t);
	z = kann_layer_input((int)in);
	t->batch = a->n[0];
	for (int i = 2; i + 1 < a->count; i++) {
		z = kann_layer_dense(z, (int)a->n[i]);
		z = a->word[0] == 'r' ? kad_relu(z) : a->word[0] == 't' ? kad_tanh(z) : kad_sigm(z);
	}
	t->net = kann_new(kann_layer_cost(z, (int)out, KANN_C_CEM), 0);
	set_weights(t, a);
	t->x = malloc((size_t)(t->batch * in) * sizeof *t->x);
	t->y = calloc((size_t)(t->batch * out), sizeof *t->y);
	t->v = calloc((size_t)kann_size_var(t->net), sizeof *t->v);
	fill(t->x, t->batch * in, DATA_X, 1);
	for (int64_t i = 0; i < t->batch; i++) t->y[i * out + i % out] = 1;
	openblas_set_num_threads(a->threads);
	kann_set_batch_size(t->net, (int)t->batch);
	kann_feed_bind(t->net, KANN_F_IN, 0, &t->x);
	kann_feed_bind(t->net, KANN_F_TRUTH, 0, &t->y);
	return t;
}

static void end(void *state)
{
	work *t = state;

	kann_delete(t->net);
	free(t->x), free(t->y), free(t->v), free(t);
}

static void run(void *state, int64_t units)
{
	work *t = state;
	int size = kann_size_var(t->net);
	float *restrict w = t->net->x, *restrict v = t->v;
	const float *restrict g = t->net->g;

	for (int64_t i = 0; i < units; i++) {
		t->loss = kann_cost(t->net, 0, 1);
		for (int k = 0; k < size; k++) {
			v[k] = (float)MOMENTUM * v[k] + g[k];
			w[k] -= (float)LEARNING_RATE * v[k];
		}
	}
}

static int check(void *state, double *values)
{
	work *t = state;

	for (int i = 0; i < CHECK_STEPS; i++) {
		run(t, 1);
		values[i] = t->loss;
	}
	return CHECK_STEPS;
}

/* ---- a chain of scalars ------------------------------------------------------------------------------------------ */

typedef struct chain {
	int64_t nodes;
	float x, g;
} chain;

static void *chain_begin(const ask *a)
{
	chain *c;

	if (strcmp(a->word, "mul") != 0) return NULL; /* it has nothing like y ← 1 · y + 0 */
	c = calloc(1, sizeof *c);
	c->nodes = a->n[0];
	c->x = 1;
	return c;
}

static void chain_run(void *state, int64_t units)
{
	chain *c = state;

	for (int64_t i = 0; i < units; i++) {
		kad_node_t *x = kad_var(&c->x, &c->g, 0), *y = x, **tape;
		int n;

		for (int64_t k = 0; k < c->nodes; k++) y = kad_mul(y, x);
		tape = kad_compile(&n, 1, y);
		kad_eval_at(n, tape, n - 1);
		c->g = 0;
		kad_grad(n, tape, n - 1);
		kad_delete(n, tape);
	}
}

static int chain_check(void *state, double *values)
{
	chain *c = state;

	chain_run(c, 1);
	values[0] = (double)c->g;
	return 1;
}

int main(int argc, char **argv)
{
	const kind kinds[] = { { "train", begin, check, run, end },
			       { "chain", chain_begin, chain_check, chain_run, free },
			       { 0 } };

	kann_verbose = 0;
	return serve(argc, argv, "KANN " KANN_VERSION " with OpenBLAS", kinds);
}
