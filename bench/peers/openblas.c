/* openblas.c: OpenBLAS as a contestant: products of matrices. */
#include "bench/contestant.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct work {
	int m, k, n;
	enum CBLAS_TRANSPOSE ta, tb;
	float *a, *b, *c;
} work;

static float *array(int64_t n, uint32_t stream)
{
	float *x = aligned_alloc(64, (size_t)(n * 4 + 63) / 64 * 64);

	fill(x, n, stream, 1);
	return x;
}

static void *begin(const ask *q)
{
	work *g = calloc(1, sizeof *g);

	g->m = (int)q->n[0], g->k = (int)q->n[1], g->n = (int)q->n[2];
	g->ta = !strcmp(q->word, "tn") ? CblasTrans : CblasNoTrans;
	g->tb = !strcmp(q->word, "nt") ? CblasTrans : CblasNoTrans;
	g->a = array((int64_t)g->m * g->k, DATA_A);
	g->b = array((int64_t)g->k * g->n, DATA_B);
	g->c = array((int64_t)g->m * g->n, DATA_X);
	openblas_set_num_threads(q->threads);
	return g;
}

static void run(void *state, int64_t units)
{
	work *g = state;

	for (int64_t i = 0; i < units; i++) {
		cblas_sgemm(CblasRowMajor, g->ta, g->tb, g->m, g->n, g->k, 1, g->a, g->ta == CblasTrans ? g->m : g->k,
			    g->b, g->tb == CblasTrans ? g->k : g->n, 0, g->c, g->n);
	}
}

static int check(void *state, double *values)
{
	work *g = state;

	run(g, 1);
	for (int i = 0; i < SAMPLES; i++) values[i] = g->c[sample_at(i, (int64_t)g->m * g->n)];
	return SAMPLES;
}

static void end(void *state)
{
	work *g = state;

	free(g->a), free(g->b), free(g->c), free(g);
}

int main(int argc, char **argv)
{
	const kind kinds[] = { { "gemm", begin, check, run, end }, { 0 } };
	char name[128];

	const char *config = openblas_get_config(); /* "OpenBLAS 0.3.21 ..." */

	snprintf(name, sizeof name, "%.*s (%s)", (int)(9 + strcspn(config + 9, " ")), config, openblas_get_corename());
	return serve(argc, argv, name, kinds);
}
