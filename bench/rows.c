/* rows.c: Weir as a contestant: what its rows share, and the list of them. */
#include "bench/rows.h"

void *bench_zeroed(size_t size)
{
	void *p = calloc(1, size);

	if (!p) exit(1);
	return p;
}

void bench_die(const weir_ctx *w)
{
	if (weir_ok(w)) return;
	fprintf(stderr, "weir: %s\n", weir_error_text(w));
	exit(1);
}

weir_ctx *bench_open(const ask *a)
{
	weir_options o;

	weir_options_init(&o);
	o.threads = a->threads;
	return weir_open(&o);
}

weir_tensor *bench_leaf(weir_ctx *w, int rank, const int64_t *shape, uint32_t stream, double scale)
{
	weir_tensor *t = weir_keep(weir_zeros(w, WEIR_F32, rank, shape));

	bench_die(w);
	fill(weir_data_mut(t, NULL), weir_numel(t), stream, scale);
	return t;
}

int bench_samples(const weir_tensor *t, double *values)
{
	for (int i = 0; i < SAMPLES; i++) values[i] = weir_get(t, sample_at(i, weir_numel(t)));
	return SAMPLES;
}

weir_module *bench_mlp(weir_ctx *w, const ask *a, weir_act act, char letter)
{
	weir_module *m = weir_sequential_new(w, "net");

	for (int i = 1; i + 1 < a->count; i++) {
		weir_linear_options o;
		weir_module *layer;
		weir_tensor *weight;

		weir_linear_options_init(&o);
		o.init = WEIR_INIT_ZEROS;
		o.act = i + 2 < a->count ? act : WEIR_ACT_IDENTITY;
		layer = weir_module_add(m, NULL, weir_linear_with(w, a->n[i], a->n[i + 1], &o));
		weight = weir_module_parameter(layer, 0);
		bench_die(w);
		fill(weir_data_mut(weight, NULL), weir_numel(weight), (uint32_t)(DATA_WEIGHTS + i - 1),
		     weight_bound(letter, a->n[i]));
	}
	return m;
}

weir_tensor *bench_labels(weir_ctx *w, int64_t batch, int64_t classes)
{
	weir_tensor *y = weir_keep(weir_zeros(w, WEIR_I64, 1, &batch));
	int64_t *label = weir_data_mut(y, NULL);

	bench_die(w);
	for (int64_t i = 0; i < batch; i++) label[i] = i % classes;
	return y;
}

int main(int argc, char **argv)
{
	const kind kinds[] = { bench_gemm,  bench_train, bench_norms, bench_hvp,
			       bench_adamw, bench_chain, bench_map,   { 0 } };
	char name[128];

	snprintf(name, sizeof name, "Weir %.*s, %s kernels", (int)strcspn(weir_build_info(), ","), weir_build_info(),
		 weir_kernels_in_use());
	return serve(argc, argv, name, kinds);
}
