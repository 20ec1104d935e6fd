/* test_predict.c: weir_module_memory() against what the allocator was asked for: a context predicts, another one trains, and the peak of its
 * allocator hook must be within 10 %. */
#include "kernels/threads.h"
#include "tests/nn_check.h"

typedef struct counting {
	size_t now, peak;
} counting;

static void *count_alloc(void *user, size_t size, size_t align)
{
	counting *c = user;

	c->now += size;
	if (c->now > c->peak) c->peak = c->now;
	return aligned_alloc(align, (size + align - 1) / align * align);
}

static void count_free(void *user, void *p, size_t size)
{
	((counting *)user)->now -= size;
	free(p);
}

typedef enum body { MLP, TANH, NORM, RESIDUAL, GELU, CUSTOM } body;

typedef struct network {
	const char *name;
	body body;
	int layers;
	int64_t in, width, out, batch;
	int moments; /* 0: SGD, 1: momentum, 2: Adam */
	weir_dtype dtype;
	int threads;
} network;

/* A module that a user wrote of operations: x · sigmoid(x) by hand, and a view. */
static weir_tensor *custom_forward(weir_module *m, weir_tensor *x)
{
	(void)m;
	return weir_permute(weir_permute(weir_mul(x, weir_sigmoid(x)), 2, (int[]){ 1, 0 }), 2, (int[]){ 1, 0 });
}

static const weir_module_type custom_type = { .kind = "custom", .forward = custom_forward };

static weir_module *linear(weir_ctx *w, int64_t in, int64_t out, weir_act act)
{
	weir_linear_options o;

	weir_linear_options_init(&o);
	o.act = act;
	return weir_linear_with(w, in, out, &o);
}

static weir_module *layer(weir_ctx *w, const network *n, int64_t in)
{
	weir_module *s;

	switch (n->body) {
	case MLP: return linear(w, in, n->width, WEIR_ACT_RELU);
	case TANH: return linear(w, in, n->width, WEIR_ACT_TANH);
	case GELU: return linear(w, in, n->width, WEIR_ACT_GELU);
	case NORM:
	case CUSTOM:
		s = weir_sequential_new(w, NULL);
		weir_module_add(s, NULL, linear(w, in, n->width, WEIR_ACT_IDENTITY));
		weir_module_add(s, NULL,
				n->body == NORM ? weir_layer_norm_new(w, n->width, 1e-5)
						: weir_module_new(w, &custom_type, NULL, 0));
		weir_module_add(s, NULL, weir_sigmoid_new(w));
		return s;
	case RESIDUAL:
		s = linear(w, in, n->width, WEIR_ACT_RELU);
		return in == n->width ? weir_residual_new(w, s, 0.5) : s;
	}
	return NULL;
}

static weir_module *build(weir_ctx *w, const network *n)
{
	weir_module *m;

	weir_module_dtype(w, n->dtype);
	m = weir_sequential_new(w, "net");
	for (int i = 0; i < n->layers; i++) weir_module_add(m, NULL, layer(w, n, i ? n->width : n->in));
	weir_module_add(m, NULL, weir_linear_new(w, n->layers ? n->width : n->in, n->out, WEIR_INIT_GLOROT));
	return m;
}

static weir_ctx *open_counting(counting *c, int threads)
{
	weir_options o;

	weir_options_init(&o);
	o.threads = threads;
	o.check_stale = false; /* which never gives headers back */
	o.allocator = (weir_allocator){ count_alloc, count_free, c };
	weir__threads_gate = 1e6; /* what is found out by trying differs from run to run, and workspaces with it */
	return weir_open(&o);
}

static size_t peak_of_training(const network *n)
{
	enum { STEPS = 4 };
	counting c = { 0, 0 };
	weir_ctx *w = open_counting(&c, n->threads);
	weir_module *m = build(w, n);
	weir_optim *o = n->moments == 2 ? weir_adam_new(w, m, 1e-3) : weir_sgd_new(w, m, 1e-3, n->moments ? 0.9 : 0);
	int64_t *labels = calloc((size_t)n->batch, sizeof *labels);
	size_t peak;

	for (int i = 0; i < STEPS; i++) {
		weir_tensor *x, *y;

		weir_tape_reset(w);
		x = weir_normal(w, n->dtype, 2, (int64_t[]){ n->batch, n->in }, 0, 1);
		y = weir_from(w, WEIR_I64, 1, &n->batch, labels);
		weir_backward(weir_cross_entropy(weir_forward(m, x), y));
		weir_optim_step(o);
	}
	peak = c.peak;
	assert_int_equal(peak, weir_memory_of(w).peak);
	free(labels);
	assert_int_equal(weir_close(w), 0);
	assert_int_equal(c.now, 0);
	return peak;
}

static weir_memory_plan prediction(const network *n, bool optimiser_first)
{
	counting c = { 0, 0 };
	weir_ctx *w = open_counting(&c, n->threads);
	weir_module *m = build(w, n);
	weir_memory_plan plan;

	if (optimiser_first) weir_adam_new(w, m, 1e-3);
	assert_true(weir_module_memory(m, 2, (int64_t[]){ n->batch, n->in }, n->moments, &plan));
	assert_int_equal(weir_tape_length(w), 0);
	assert_int_equal(weir_close(w), 0);
	return plan;
}

static void peaks(void **state)
{
	static const network networks[] = {
		{ "the MLP of the benchmarks", MLP, 2, 784, 256, 10, 64, 1, WEIR_F32, 1 },
		{ "the same on two threads", MLP, 2, 784, 256, 10, 64, 1, WEIR_F32, 2 },
		{ "deep", MLP, 50, 128, 128, 128, 64, 1, WEIR_F32, 1 },
		{ "deep, two threads", MLP, 50, 128, 128, 128, 64, 0, WEIR_F32, 2 },
		{ "deep and thin", MLP, 400, 16, 16, 4, 8, 1, WEIR_F32, 1 },
		{ "tiny", MLP, 1, 4, 3, 2, 1, 0, WEIR_F32, 1 },
		{ "tiny, Adam, f64", MLP, 2, 7, 5, 3, 3, 2, WEIR_F64, 2 },
		{ "wide", MLP, 1, 1000, 1500, 100, 1, 2, WEIR_F32, 2 },
		{ "wide, batch 512", MLP, 1, 500, 700, 10, 512, 0, WEIR_F32, 2 },
		{ "large batch, thin", TANH, 6, 20, 20, 5, 512, 2, WEIR_F32, 1 },
		{ "tanh", TANH, 10, 200, 150, 10, 128, 1, WEIR_F32, 2 },
		{ "tanh, f64", TANH, 10, 200, 150, 10, 100, 2, WEIR_F64, 2 },
		{ "gelu", GELU, 8, 100, 120, 10, 256, 1, WEIR_F32, 1 },
		{ "layer norm", NORM, 8, 64, 100, 10, 300, 1, WEIR_F32, 2 },
		{ "layer norm, batch 1", NORM, 12, 64, 100, 10, 1, 2, WEIR_F32, 1 },
		{ "residual", RESIDUAL, 20, 96, 96, 10, 77, 2, WEIR_F32, 2 },
		{ "a user's module", CUSTOM, 7, 90, 60, 10, 200, 1, WEIR_F32, 1 },
		{ "one layer", MLP, 0, 300, 0, 200, 50, 1, WEIR_F32, 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
		const network *n = &networks[i];
		size_t peak = peak_of_training(n);
		weir_memory_plan plan = prediction(n, false), again = prediction(n, true);
		double off = (double)plan.peak / (double)peak - 1;

		if (!(fabs(off) <= 0.1))
			fail_msg("%s: predicted %zu bytes, it took %zu: %+.1f %%", n->name, plan.peak, peak, 100 * off);
		off = (double)again.peak / (double)plan.peak - 1; /* an optimiser's moments count once */
		if (!(fabs(off) <= 0.05))
			fail_msg("%s: predicted %zu bytes, and %zu with an optimiser there", n->name, plan.peak,
				 again.peak);
		if (getenv("WEIR_SHOW"))
			print_message("%-28s predicted %10zu  took %10zu  %+.2f %%\n", n->name, plan.peak, peak,
				      100 * ((double)plan.peak / (double)peak - 1));
	}
}

/* In the midst of training: the same figure, gradients of parameters or not. */
static void while_training(void **state)
{
	static const network n = { "", MLP, 6, 128, 128, 10, 64, 1, WEIR_F32, 1 };
	counting c = { 0, 0 };
	weir_ctx *w = open_counting(&c, 1);
	weir_module *m = build(w, &n);
	weir_optim *o = weir_sgd_new(w, m, 1e-9, 0.9);
	int64_t shape[] = { 64, 128 };
	weir_memory_plan before, after, frozen, grown;
	uint64_t stream, calls = 0;
	size_t held;

	(void)state;
	assert_true(weir_module_memory(m, 2, shape, 1, &before));
	for (int i = 0; i < 3; i++) {
		weir_tape_reset(w);
		weir_backward(weir_sum_all(weir_forward(m, weir_normal(w, WEIR_F32, 2, shape, 0, 1))));
		if (i < 2) weir_optim_step(o);
	}
	weir_tape_reset(w);
	stream = weir_random_stream(w);
	held = weir_memory_of(w).held;
	assert_true(weir_module_memory(m, 2, shape, 1, &after));
	assert_int_equal(weir_memory_of(w).held, held); /* it was in fresh memory, which went back */
	assert_int_equal(weir_random_stream(w), stream + 1);
	if (!(fabs((double)after.peak / (double)before.peak - 1) < 0.02))
		fail_msg("%zu bytes before training, %zu in its midst", before.peak, after.peak);
	assert_int_equal(before.parameters, 4 * weir_module_weights(m));
	assert_int_equal(before.gradients, before.parameters);
	assert_int_equal(before.moments, before.parameters);
	assert_non_null(weir_grad_of(weir_module_parameter(m, 0))); /* it is left alone */
	for (int i = 0; i < 3; i++) {                               /* the blocks that were there are there again */
		weir_tape_reset(w);
		weir_backward(weir_sum_all(weir_forward(m, weir_normal(w, WEIR_F32, 2, shape, 0, 1))));
		weir_optim_step(o);
		if (i == 0) calls = weir_memory_of(w).allocator_calls;
	}
	assert_int_equal(weir_memory_of(w).allocator_calls, calls);
	assert_true(weir_memory_of(w).held <=
		    held + 6 * 128 * 129 * 4 + 4096); /* gradients were added to, not replaced */
	weir_tape_reset(w);
	weir_module_freeze(m, true);
	weir_optim_zero_grad(o);
	assert_true(weir_module_memory(m, 2, shape, 1, &frozen));
	assert_int_equal(frozen.gradients, 0);
	assert_true(frozen.peak + before.gradients <= before.peak + before.gradients / 4);
	assert_true(weir_module_memory(m, 2, (int64_t[]){ 512, 128 }, 1, &grown));
	assert_true(grown.activations == 8 * before.activations && grown.peak > before.peak);
	assert_int_equal(weir_close(w), 0);
}

/* Nothing is recorded, or the result has no gradient: the forward alone. */
static weir_tensor *choose(weir_module *m, weir_tensor *x)
{
	(void)m;
	return weir_argmax(x, -1, false);
}

static const weir_module_type choosing = { .kind = "choose", .forward = choose };

static void forward_alone(void **state)
{
	weir_ctx *w = open_as(WEIR_F32, 1, 0);
	weir_module *m = weir_sequential_new(w, "net");
	int64_t shape[] = { 200, 100 };
	weir_memory_plan training, plan;

	(void)state;
	for (int i = 0; i < 5; i++) weir_module_add(m, NULL, linear(w, 100, 100, WEIR_ACT_RELU));
	weir_no_grad_begin(w);
	assert_true(weir_module_memory(m, 2, shape, 0, &plan));
	weir_no_grad_end(w);
	assert_true(weir_module_memory(m, 2, shape, 0, &training));
	assert_true(plan.peak < training.peak && plan.activations < training.activations);
	weir_module_add(m, NULL, weir_module_new(w, &choosing, NULL, 0));
	assert_true(weir_module_memory(m, 2, shape, 0, &plan));
	assert_true(plan.peak < training.peak);
	assert_fine(w);
	assert_false(weir_module_memory(m, 2, shape, 3, &plan));
	assert_error(w, WEIR_ERR_ARGUMENT, "moments is 3");
	assert_false(weir_module_memory(m, 2, shape, 1, NULL));
	assert_error(w, WEIR_ERR_ARGUMENT, "plan is NULL");
	assert_false(weir_module_memory(m, 2, (int64_t[]){ 200, 99 }, 1, &plan));
	assert_error(w, WEIR_ERR_SHAPE, "net.0.weight");
	assert_int_equal(plan.peak, 0);
	assert_int_equal(weir_close(w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(peaks), cmocka_unit_test(while_training),
					    cmocka_unit_test(forward_alone) };

	return cmocka_run_group_tests_name("predict", tests, NULL, NULL);
}
