/* bits_norms.c: a checksum of all that a hook is told of norms over some training steps: the same for every build, instruction set and number
 * of threads. */
#include <weir/weir.h>

#include <stdio.h>
#include <string.h>

#include "kernels/threads.h"

static void note(const weir_event *e, void *user)
{
	uint64_t *h = user, bits;

	memcpy(&bits, &e->norm, sizeof bits);
	if (e->norm != e->norm) bits = 0x7ff8;
	*h = (*h ^ bits) * UINT64_C(1099511628211);
	*h ^= *h >> 29;
}

/* scale: of the inputs; small ones make gradients that leave the fast range of the norm. */
static bool train(weir_dtype dtype, weir_act act, double scale, uint64_t *h)
{
	enum { STEPS = 10, BATCH = 67, WIDTH = 131, DEPTH = 5 };
	weir_ctx *w = weir_open(NULL);
	weir_module *net;
	weir_optim *optim;
	weir_tensor *x, *goal;

	weir_module_dtype(w, dtype);
	net = weir_sequential_new(w, "net");
	for (int i = 0; i < DEPTH; i++) {
		weir_module_add(net, NULL, weir_linear_new(w, WIDTH, WIDTH, WEIR_INIT_HE));
		weir_module_add(net, NULL, weir_act_new(w, act));
	}
	optim = weir_sgd_new(w, net, 0.01, 0.9);
	x = weir_keep(weir_normal(w, dtype, 2, (int64_t[]){ BATCH, WIDTH }, 0, scale));
	goal = weir_keep(weir_normal(w, dtype, 2, (int64_t[]){ BATCH, WIDTH }, 0, scale));
	weir_on_grad(w, note, h, NULL);
	for (int step = 0; step < STEPS && weir_ok(w); step++) {
		weir_tape_reset(w);
		weir_backward(weir_affine(weir_mse(weir_forward(net, x), goal), scale, 0));
		weir_optim_step(optim);
	}
	return weir_close(w) == 0;
}

int main(void)
{
	static const struct {
		const char *name;
		weir_dtype dtype;
		weir_act act;
		double scale;
	} runs[] = {
		{ "f32 relu", WEIR_F32, WEIR_ACT_RELU, 1 },
		{ "f32 tanh, small", WEIR_F32, WEIR_ACT_TANH, 1e-6 },
		{ "f32 relu, tiny", WEIR_F32, WEIR_ACT_RELU, 1e-11 },
		{ "f64 sigmoid", WEIR_F64, WEIR_ACT_SIGMOID, 1 },
	};
	bool ok = true;

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
		uint64_t h = UINT64_C(14695981039346656037);

		ok = train(runs[i].dtype, runs[i].act, runs[i].scale, &h) && ok;
		printf("%s: %016llx\n", runs[i].name, (unsigned long long)h);
	}
	return !ok;
}
