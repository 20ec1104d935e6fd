/* onednn.c: oneDNN as a contestant: products of matrices, by dnnl_sgemm and by the matmul primitive; whichever a trial finds faster. */
#include "bench/contestant.h"
#include "bench/bench.h"

#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <string.h>

typedef struct work {
	dnnl_dim_t m, k, n;
	bool ta, tb, primitive;
	float *a, *b, *c;
	dnnl_engine_t engine;
	dnnl_stream_t stream;
	dnnl_primitive_t matmul;
	dnnl_memory_t memory[3];
} work;

static void must(dnnl_status_t status)
{
	if (status == dnnl_success) return;
	fprintf(stderr, "oneDNN: status %d\n", (int)status);
	exit(1);
}

static float *array(int64_t n, uint32_t stream)
{
	float *x = aligned_alloc(64, (size_t)(n * 4 + 63) / 64 * 64);

	fill(x, n, stream, 1);
	return x;
}

static void make_primitive(work *g)
{
	const dnnl_dims_t dims[3] = { { g->m, g->k }, { g->k, g->n }, { g->m, g->n } };
	float *data[3] = { g->a, g->b, g->c };
	dnnl_memory_desc_t md[3];
	dnnl_matmul_desc_t d;
	dnnl_primitive_desc_t pd;

	for (int i = 0; i < 3; i++)
		must(dnnl_memory_desc_init_by_tag(&md[i], 2, dims[i], dnnl_f32,
						  (i == 0 && g->ta) || (i == 1 && g->tb) ? dnnl_ba : dnnl_ab));
	must(dnnl_matmul_desc_init(&d, &md[0], &md[1], NULL, &md[2]));
	must(dnnl_primitive_desc_create(&pd, &d, NULL, g->engine, NULL));
	must(dnnl_primitive_create(&g->matmul, pd));
	must(dnnl_primitive_desc_destroy(pd));
	for (int i = 0; i < 3; i++) must(dnnl_memory_create(&g->memory[i], &md[i], g->engine, data[i]));
}

static void run(void *state, int64_t units)
{
	work *g = state;
	const dnnl_exec_arg_t args[] = { { DNNL_ARG_SRC, g->memory[0] },
					 { DNNL_ARG_WEIGHTS, g->memory[1] },
					 { DNNL_ARG_DST, g->memory[2] } };

	for (int64_t i = 0; i < units; i++) {
		if (g->primitive) {
			must(dnnl_primitive_execute(g->matmul, g->stream, 3, args));
			must(dnnl_stream_wait(g->stream));
		} else {
			must(dnnl_sgemm(g->ta ? 'T' : 'N', g->tb ? 'T' : 'N', g->m, g->n, g->k, 1, g->a,
					g->ta ? g->m : g->k, g->b, g->tb ? g->k : g->n, 0, g->c, g->n));
		}
	}
}

/* The shortest of several trials of one way. */
static double trial(work *g, bool primitive)
{
	int64_t units = (int64_t)(1e9 / (2.0 * (double)(g->m * g->k * g->n))) + 1;
	double best = INFINITY;

	g->primitive = primitive;
	run(g, units);
	for (int i = 0; i < 5; i++) {
		double start = now();

		run(g, units);
		best = fmin(best, now() - start);
	}
	return best;
}

static void *begin(const ask *q)
{
	work *g = calloc(1, sizeof *g);

	g->m = q->n[0], g->k = q->n[1], g->n = q->n[2];
	g->ta = !strcmp(q->word, "tn"), g->tb = !strcmp(q->word, "nt");
	g->a = array(g->m * g->k, DATA_A);
	g->b = array(g->k * g->n, DATA_B);
	g->c = array(g->m * g->n, DATA_X);
	must(dnnl_engine_create(&g->engine, dnnl_cpu, 0));
	must(dnnl_stream_create(&g->stream, g->engine, dnnl_stream_default_flags));
	make_primitive(g);
	g->primitive = trial(g, true) < trial(g, false);
	return g;
}

static int check(void *state, double *values)
{
	work *g = state;

	run(g, 1);
	for (int i = 0; i < SAMPLES; i++) values[i] = g->c[sample_at(i, g->m * g->n)];
	return SAMPLES;
}

static void end(void *state)
{
	work *g = state;

	for (int i = 0; i < 3; i++) dnnl_memory_destroy(g->memory[i]);
	dnnl_primitive_destroy(g->matmul);
	dnnl_stream_destroy(g->stream);
	dnnl_engine_destroy(g->engine);
	free(g->a), free(g->b), free(g->c), free(g);
}

int main(int argc, char **argv)
{
	const kind kinds[] = { { "gemm", begin, check, run, end }, { 0 } };
	const dnnl_version_t *v = dnnl_version();
	char name[64];

	snprintf(name, sizeof name, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
	return serve(argc, argv, name, kinds);
}
