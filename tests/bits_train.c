/* bits_train.c: 200 training steps, and one checksum of the weights: the same for every build, instruction set and number of threads,
 * and with the instrument on. */
#include <weir/weir.h>

#include <stdio.h>
#include <string.h>

#include "kernels/threads.h"

static uint64_t fold(uint64_t h, const void *data, size_t bytes)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * UINT64_C(1099511628211);
	return h;
}

static weir_module *network(weir_ctx *w, weir_act act, bool norm)
{
	weir_module *net = weir_sequential_new(w, "net");
	static const int64_t width[] = { 64, 48, 48, 40, 10 };

	for (int i = 0; i < 4; i++) {
		weir_module_add(net, NULL,
				weir_linear_new(w, width[i], width[i + 1], i & 1 ? WEIR_INIT_HE : WEIR_INIT_GLOROT));
		if (i == 3) break;
		if (norm) weir_module_add(net, NULL, weir_layer_norm_new(w, width[i + 1], 1e-5));
		weir_module_add(net, NULL, weir_act_new(w, act));
	}
	return net;
}

static uint64_t train(weir_dtype dtype, weir_act act, bool adam, bool ieee, bool watched)
{
	enum { STEPS = 200, BATCH = 35 }; /* a batch that fits no vector */
	weir_options o;
	weir_ctx *w;
	weir_dataset *set;
	weir_module *net;
	weir_optim *optim;
	weir_flow *flow;
	uint64_t h = UINT64_C(14695981039346656037);

	weir_options_init(&o);
	o.seed = 11;
	o.ieee_subnormals = ieee;
	w = weir_open(&o);
	set = weir_dataset_digits_as(w, dtype);
	weir_module_dtype(w, dtype);
	net = network(w, act, adam);
	optim = adam ? weir_adamw_new(w, net, 1e-3, 0.01) : weir_sgd_new(w, net, 0.05, 0.9);
	flow = watched ? weir_flow_watch(w, NULL) : NULL;
	for (int step = 0; step < STEPS && weir_ok(w); step++) {
		weir_tensor *x, *y, *loss, *penalty;
		double item;

		weir_tape_reset(w);
		weir_dataset_next(set, BATCH, &x, &y);
		/* one call after the other: C leaves the order of arguments to the compiler, and with it that of the tape */
		loss = weir_cross_entropy(weir_forward(net, x), y);
		penalty = weir_l2_penalty(net, 1e-4);
		loss = weir_add(loss, penalty);
		weir_backward(loss);
		if (flow) weir_flow_step(flow, loss);
		weir_clip_norm(net, 1.0);
		weir_optim_step(optim);
		item = weir_item(loss);
		h = fold(h, &item, sizeof item);
	}
	for (int64_t i = 0; i < weir_module_parameter_count(net); i++) {
		const weir_tensor *p = weir_module_parameter(net, i);

		h = fold(h, weir_data(p), (size_t)weir_numel(p) * weir_dtype_size(dtype));
	}
	return weir_close(w) ? 0 : h;
}

int main(void)
{
	static const struct {
		const char *name;
		weir_dtype dtype;
		weir_act act;
		bool adam, ieee;
	} runs[] = {
		{ "f32 relu sgd flush", WEIR_F32, WEIR_ACT_RELU, false, false },
		{ "f32 gelu norm adamw ieee", WEIR_F32, WEIR_ACT_GELU, true, true },
		{ "f64 tanh sgd ieee", WEIR_F64, WEIR_ACT_TANH, false, true },
	};
	int failed = 0;

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
		uint64_t plain = train(runs[i].dtype, runs[i].act, runs[i].adam, runs[i].ieee, false);
		uint64_t watched = i == 0 ? train(runs[i].dtype, runs[i].act, runs[i].adam, runs[i].ieee, true) : plain;

		printf("%s: %016llx\n", runs[i].name, (unsigned long long)plain);
		if (plain && plain == watched) continue;
		fprintf(stderr, "%s: %016llx without the instrument, %016llx with it\n", runs[i].name,
			(unsigned long long)plain, (unsigned long long)watched);
		failed = 1;
	}
	return failed;
}
