/* ggml.c: ggml as a contestant: training steps and chains of scalars. The graph of a training step, optimiser included, is built once and
 * computed again and again, which is how ggml is fastest; products go to its BLAS backend. It has no gradient of sigmoid: that is
 * composed of functions that have one. */
#include "bench/contestant.h"

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-blas.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TENSORS = 8192, MAX_LAYERS = 512 };

typedef struct work {
	struct ggml_context *fixed, *steps; /* parameters, data, momentum; the graph's tensors */
	struct ggml_tensor *w[2 * MAX_LAYERS], *v[2 * MAX_LAYERS], *x, *y, *rates, *loss;
	struct ggml_cgraph *graph;
	ggml_backend_buffer_t buffer;
	ggml_backend_t backends[2];
	ggml_backend_sched_t sched;
	int params;
} work;

static struct ggml_context *context(size_t tensors)
{
	return ggml_init((struct ggml_init_params){ .mem_size = tensors * ggml_tensor_overhead() +
								ggml_graph_overhead_custom(MAX_TENSORS, true),
						    .no_alloc = true });
}

static struct ggml_tensor *activate(struct ggml_context *c, char act, struct ggml_tensor *z)
{
	if (act == 'r') return ggml_relu(c, z);
	return ggml_exp(c, ggml_neg(c, ggml_softplus(c, ggml_neg(c, z))));
}

static void record(work *t, const ask *a)
{
	struct ggml_context *c = t->steps;
	struct ggml_tensor *z = t->x;

	t->graph = ggml_new_graph_custom(c, MAX_TENSORS, true);
	for (int i = 0; i < t->params; i += 2) {
		z = ggml_add(c, ggml_mul_mat(c, t->w[i], z), t->w[i + 1]);
		if (i + 2 < t->params) z = activate(c, a->word[0], z);
	}
	t->loss = ggml_cross_entropy_loss(c, z, t->y);
	ggml_set_loss(t->loss);
	ggml_set_output(t->loss);
	ggml_build_forward_expand(t->graph, t->loss);
	ggml_build_backward_expand(c, t->graph, NULL);
	for (int i = 0; i < t->params; i++) { /* v ← momentum · v + g, w ← w - lr · v */
		struct ggml_tensor *g = ggml_graph_get_grad(t->graph, t->w[i]);
		struct ggml_tensor *v = ggml_add_inplace(c, ggml_scale_inplace(c, t->v[i], (float)MOMENTUM), g);

		ggml_build_forward_expand(t->graph, ggml_opt_step_sgd(c, t->w[i], v, t->rates));
	}
}

/* Numbers into a tensor: scale · datum(stream, i), or zeros where scale is 0. */
static void set(struct ggml_tensor *t, uint32_t stream, double scale)
{
	int64_t n = ggml_nelements(t);
	float *x = calloc((size_t)n, sizeof *x);

	if (scale > 0) fill(x, n, stream, scale);
	ggml_backend_tensor_set(t, x, 0, ggml_nbytes(t));
	free(x);
}

static void set_labels(struct ggml_tensor *t)
{
	float *y = calloc(1, ggml_nbytes(t));

	for (int64_t i = 0; i < t->ne[1]; i++) y[i * t->ne[0] + i % t->ne[0]] = 1;
	ggml_backend_tensor_set(t, y, 0, ggml_nbytes(t));
	free(y);
}

static void *begin(const ask *a)
{
	const float rates[2] = { (float)LEARNING_RATE, 0 };
	work *t;

	if (a->count < 3 || a->count > MAX_LAYERS || a->word[0] == 't') return NULL;
	t = calloc(1, sizeof *t);
	t->params = 2 * (a->count - 2);
	t->fixed = context((size_t)(2 * t->params + 8));
	t->steps = context(MAX_TENSORS);
	for (int i = 0; i < t->params; i++) {
		const int64_t *width = &a->n[1 + i / 2];
		struct ggml_context *c = t->fixed;

		t->w[i] = i % 2 ? ggml_new_tensor_1d(c, GGML_TYPE_F32, width[1])
				: ggml_new_tensor_2d(c, GGML_TYPE_F32, width[0], width[1]);
		t->v[i] = ggml_dup_tensor(c, t->w[i]);
		ggml_set_param(t->w[i]);
	}
	t->x = ggml_new_tensor_2d(t->fixed, GGML_TYPE_F32, a->n[1], a->n[0]);
	t->y = ggml_new_tensor_2d(t->fixed, GGML_TYPE_F32, a->n[a->count - 1], a->n[0]);
	t->rates = ggml_new_tensor_1d(t->fixed, GGML_TYPE_F32, 2);
	t->backends[0] = ggml_backend_blas_init();
	t->backends[1] = ggml_backend_cpu_init();
	ggml_backend_blas_set_n_threads(t->backends[0], a->threads);
	ggml_backend_cpu_set_n_threads(t->backends[1], a->threads);
	t->buffer = ggml_backend_alloc_ctx_tensors(t->fixed, t->backends[1]);
	for (int i = 0; i < t->params; i++) {
		set(t->w[i], (uint32_t)(DATA_WEIGHTS + i / 2), i % 2 ? 0 : weight_bound(a->word[0], a->n[1 + i / 2]));
		set(t->v[i], 0, 0);
	}
	set(t->x, DATA_X, 1);
	set_labels(t->y);
	ggml_backend_tensor_set(t->rates, rates, 0, sizeof rates);
	record(t, a);
	t->sched = ggml_backend_sched_new(t->backends, NULL, 2, MAX_TENSORS, false, false);
	ggml_backend_sched_reset(t->sched);
	ggml_backend_sched_alloc_graph(t->sched, t->graph);
	ggml_graph_reset(t->graph); /* the loss's gradient is 1 */
	return t;
}

static double step(work *t)
{
	float loss;

	ggml_backend_sched_graph_compute(t->sched, t->graph);
	ggml_backend_tensor_get(t->loss, &loss, 0, sizeof loss);
	return (double)loss;
}

static int check(void *state, double *values)
{
	for (int i = 0; i < CHECK_STEPS; i++) values[i] = step(state);
	return CHECK_STEPS;
}

static void run(void *state, int64_t units)
{
	for (int64_t i = 0; i < units; i++) step(state);
}

static void end(void *state)
{
	work *t = state;

	ggml_backend_sched_free(t->sched);
	ggml_backend_buffer_free(t->buffer);
	ggml_backend_free(t->backends[0]);
	ggml_backend_free(t->backends[1]);
	ggml_free(t->steps);
	ggml_free(t->fixed);
	free(t);
}

/* ---- a chain of scalars ------------------------------------------------------------------------------------------ */

typedef struct chain {
	int64_t nodes;
	size_t size;
	void *memory;
	float gradient;
} chain;

static void *chain_begin(const ask *a)
{
	chain *c;
	size_t graph = (size_t)(4 * a->n[0] + 64);

	if (strcmp(a->word, "mul") != 0) return NULL;
	c = calloc(1, sizeof *c);
	c->nodes = a->n[0];
	/* A product, two products and a sum of its gradient; and the graph. */
	c->size = graph * (ggml_tensor_overhead() + 64) + 2 * ggml_graph_overhead_custom(graph, true);
	c->memory = malloc(c->size);
	return c;
}

static void chain_run(void *state, int64_t units)
{
	chain *c = state;

	for (int64_t i = 0; i < units; i++) {
		struct ggml_context *g = ggml_init((struct ggml_init_params){ c->size, c->memory, false });
		struct ggml_cgraph *graph = ggml_new_graph_custom(g, (size_t)(4 * c->nodes + 64), true);
		struct ggml_tensor *x = ggml_new_tensor_1d(g, GGML_TYPE_F32, 1), *y = x;

		ggml_set_param(x);
		*(float *)x->data = 1;
		for (int64_t k = 0; k < c->nodes; k++) {
			y = ggml_mul(g, y, x);
			ggml_build_forward_expand(graph, y); /* it visits operands recursively: never far this way */
		}
		ggml_set_loss(y);
		ggml_build_backward_expand(g, graph, NULL);
		ggml_graph_reset(graph);
		ggml_graph_compute_with_ctx(g, graph, 1);
		c->gradient = *(float *)ggml_graph_get_grad(graph, x)->data;
		ggml_free(g);
	}
}

static int chain_check(void *state, double *values)
{
	chain *c = state;

	chain_run(c, 1);
	values[0] = (double)c->gradient;
	return 1;
}

static void chain_end(void *state)
{
	chain *c = state;

	free(c->memory), free(c);
}

int main(int argc, char **argv)
{
	const kind kinds[] = { { "train", begin, check, run, end },
			       { "chain", chain_begin, chain_check, chain_run, chain_end },
			       { 0 } };
	char name[64];

	snprintf(name, sizeof name, "ggml %s with OpenBLAS", ggml_version());
	return serve(argc, argv, name, kinds);
}
