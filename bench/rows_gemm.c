/* rows_gemm.c: one product of matrices. */
#include "bench/rows.h"

typedef struct work {
	weir_ctx *w;
	weir_tensor *a, *b; /* leaves, as they lie in memory */
	char form;          /* of "nn", "nt", "tn": 'n', 't' (the second transposed), 'f' (the first) */
} work;

static void *begin(const ask *q)
{
	work *g = bench_zeroed(sizeof *g);
	int64_t m = q->n[0], k = q->n[1], n = q->n[2];

	if (q->count != 3) return free(g), NULL;
	g->form = !strcmp(q->word, "nt") ? 't' : !strcmp(q->word, "tn") ? 'f' : 'n';
	g->w = bench_open(q);
	weir_no_grad_begin(g->w);
	g->a = bench_leaf(g->w, 2, g->form == 'f' ? (int64_t[]){ k, m } : (int64_t[]){ m, k }, DATA_A, 1);
	g->b = bench_leaf(g->w, 2, g->form == 't' ? (int64_t[]){ n, k } : (int64_t[]){ k, n }, DATA_B, 1);
	return g;
}

static weir_tensor *multiply(const work *g)
{
	weir_tape_reset(g->w);
	if (g->form == 't') return weir_linear(g->a, g->b, NULL);
	return weir_matmul(g->form == 'f' ? weir_transpose(g->a, 0, 1) : g->a, g->b);
}

static int check(void *state, double *values)
{
	return bench_samples(multiply(state), values);
}

static void run(void *state, int64_t units)
{
	for (int64_t i = 0; i < units; i++) multiply(state);
}

static void end(void *state)
{
	work *g = state;

	bench_die(g->w);
	weir_close(g->w);
	free(g);
}

const kind bench_gemm = { "gemm", begin, check, run, end };
