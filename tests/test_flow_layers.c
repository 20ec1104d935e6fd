/* test_flow_layers.c: what the instrument takes for a layer: modules, activations called outside of them, residual additions, calls
 * through time, and networks without any module. */
#include "tests/flow_check.h"

enum { B = 5, N = 6 };

static weir_tensor *input(weir_ctx *w)
{
	return weir_normal(w, WEIR_F32, 2, (int64_t[]){ B, N }, 0, 1);
}

static weir_module *square(weir_ctx *w)
{
	return weir_linear_new(w, N, N, WEIR_INIT_HE);
}

/* Linear layers in a list, with the activation in the user's loop: page one of the design. */
static void list_and_loop(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *net = weir_list_new(w, "mlp");
	weir_tensor *x;

	(void)state;
	for (int i = 0; i < 3; i++) weir_list_add(net, square(w));
	for (int step = 0; step < 2; step++) { /* and the same again on the next tape */
		weir_tape_reset(w);
		x = input(w);
		for (int i = 0; i < 3; i++) {
			x = weir_forward(weir_list_at(net, i), x);
			if (i < 2) x = weir_relu(x);
		}
		assert_layers(f, weir_add(weir_mean_all(weir_square(x)), weir_l2_penalty(net, 0.1)),
			      "mlp.0: linear relu; mlp.1: linear relu; mlp.2: linear");
	}
	assert_int_equal(weir_flow_summary_of(f)->parameters, 3 * (N * N + N));
	assert_near(weir_flow_layer_at(f, 1)->act_slope, sqrt(1 - weir_flow_layer_at(f, 1)->out_zeros),
		    1e-6); /* relu' is 0 or 1 */
	assert_true(isnan(weir_flow_layer_at(f, 2)->act_slope));
	close_fine(w);
}

/* Activations of several operations, on lines of their own or not. */
static void composed_activations(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *net = weir_list_new(w, "mlp");
	weir_tensor *x;

	(void)state;
	for (int i = 0; i < 5; i++) weir_list_add(net, square(w));
	x = weir_gelu(weir_forward(weir_list_at(net, 0), input(w)));
	x = weir_forward(weir_list_at(net, 1), x);
	x = weir_silu(x);
	x = weir_leaky_relu(weir_forward(weir_list_at(net, 2), x), 0.1);
	x = weir_softplus(weir_forward(weir_list_at(net, 3), x));
	x = weir_forward(weir_list_at(net, 4), x);
	x = weir_sigmoid(x);
	assert_layers(f, weir_neg(weir_mean_all(weir_log(x))),
		      "mlp.0: linear gelu; mlp.1: linear silu; mlp.2: linear leaky_relu; mlp.3: linear softplus; "
		      "mlp.4: linear sigmoid");
	assert_true(weir_flow_layer_at(f, 2)->act_slope_max == 1);
	close_fine(w);
}

static weir_module *sequential(weir_ctx *w, const char *name, int layers, weir_act act)
{
	weir_module *net = weir_sequential_new(w, name);

	for (int i = 0; i < layers; i++) {
		weir_module_add(net, NULL, square(w));
		if (i + 1 < layers) weir_module_add(net, NULL, weir_act_new(w, act));
	}
	return net;
}

/* An activation that is a module of its own belongs to the layer before it, unless the caller sets the depth. */
static void activation_modules(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *net = sequential(w, "net", 3, WEIR_ACT_GELU);
	weir_flow_options o;

	(void)state;
	assert_layers(f, weir_mean_all(weir_forward(net, input(w))),
		      "net.0: linear gelu; net.2: linear gelu; net.4: linear");
	weir_flow_stop(f);
	weir_flow_options_init(&o);
	o.every = 1;
	o.budget = 0;
	o.depth = 2;
	f = weir_flow_watch(w, &o);
	weir_tape_reset(w);
	assert_layers(f, weir_mean_all(weir_forward(net, input(w))),
		      "net.0: linear; net.1: gelu; net.2: linear; net.3: gelu; net.4: linear");
	weir_flow_stop(f);
	o.depth = 1;
	f = weir_flow_watch(w, &o);
	weir_tape_reset(w);
	assert_layers(f, weir_mean_all(weir_forward(net, input(w))), "net: linear gelu linear gelu linear");
	close_fine(w);
}

static void layer_norm_is_a_layer(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *net = weir_sequential_new(w, "net");

	(void)state;
	weir_module_add(net, NULL, square(w));
	weir_module_add(net, NULL, weir_layer_norm_new(w, N, 1e-5));
	weir_module_add(net, NULL, weir_tanh_new(w));
	weir_module_add(net, NULL, square(w));
	backward_step(f, weir_mean_all(weir_forward(net, input(w))));
	assert_fine(w);
	assert_int_equal(weir_flow_layer_count(f), 3);
	assert_string_equal(weir_flow_layer_at(f, 1)->name, "net.1");
	assert_true(isnan(weir_flow_layer_at(f, 0)->act_slope)); /* the square root of a variance is no activation */
	assert_true(weir_flow_layer_at(f, 1)->act_slope > 0 && weir_flow_layer_at(f, 1)->act_slope_max <= 1);
	close_fine(w);
}

/* The addition around a branch belongs to it, so the gain is that of the whole block. */
static void residual_blocks(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	weir_module *net = weir_list_new(w, "net");
	weir_tensor *x = weir_normal(w, WEIR_F64, 2, (int64_t[]){ B, N }, 0, 1), *y[3];

	(void)state;
	for (int i = 0; i < 2; i++)
		weir_list_add(net, weir_residual_new(w, sequential(w, NULL, 2, WEIR_ACT_RELU), 0.5));
	weir_list_add(net, sequential(w, NULL, 2, WEIR_ACT_TANH));
	y[0] = weir_retain_grad(weir_forward(weir_list_at(net, 0), x));
	y[1] = weir_retain_grad(weir_forward(weir_list_at(net, 1), y[0]));
	y[2] = weir_retain_grad(
		weir_add(y[1], weir_affine(weir_forward(weir_list_at(net, 2), y[1]), 0.1, 0))); /* by hand */
	assert_layers(
		f, weir_mean_all(weir_square(y[2])),
		"net.0: linear relu linear affine add; net.1: linear relu linear affine add; net.2: linear tanh linear affine add");
	for (int i = 0; i < 3; i++)
		assert_near(weir_flow_layer_at(f, i)->delta_norm, norm_by_hand(weir_grad_of(y[i])), 1e-12);
	for (int i = 1; i < 3; i++)
		assert_near(weir_flow_layer_at(f, i)->gain,
			    norm_by_hand(weir_grad_of(y[i - 1])) / norm_by_hand(weir_grad_of(y[i])), 1e-12);
	assert_int_equal(weir_flow_verdict(f), WEIR_FLOW_HEALTHY);
	close_fine(w);
}

/* One cell called for each time step: as many layers, one behind the other. */
static void through_time(void **state)
{
	enum { T = 12 };
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	weir_module *cell = weir_linear_with(
		w, N, N, &(weir_linear_options){ .init = WEIR_INIT_DIAGONAL, .init_scale = 0.5, .bias = true });
	weir_tensor *h = weir_full(w, WEIR_F64, 2, (int64_t[]){ B, N }, 1);

	(void)state;
	for (int t = 0; t < T; t++)
		h = weir_add(weir_forward(cell, h), weir_full(w, WEIR_F64, 2, (int64_t[]){ B, N }, 0.1));
	backward_step(f, weir_sum_all(h));
	assert_fine(w);
	assert_int_equal(weir_flow_layer_count(f), T);
	for (int t = 0; t < T; t++) {
		const weir_flow_layer *p = weir_flow_layer_at(f, t);

		assert_string_equal(p->name, "linear");
		assert_int_equal(p->call, t + 1);
		assert_int_equal(p->depth, t + 1);
		assert_near(p->gain, 0.5, 1e-12);
	}
	assert_near(weir_flow_summary_of(f)->gain_per_layer, 0.5, 1e-12);
	assert_near(weir_flow_summary_of(f)->total_gain, pow(0.5, T), 1e-12);
	assert_int_equal(weir_flow_verdict(f), WEIR_FLOW_VANISHING);
	close_fine(w);
}

/* h = tanh(U x + W h): the sum and the activation belong to the deeper of the two layers, W, so that its gain is that of a time step. */
static void two_layers_joined(void **state)
{
	enum { T = 6 };
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	weir_module *net = weir_list_new(w, "rnn"), *u = weir_module_add(net, "u", square(w)),
		    *v = weir_module_add(net, "w", square(w));
	weir_tensor *h[T + 1], *x;

	(void)state;
	h[0] = weir_tanh(weir_forward(u, weir_normal(w, WEIR_F64, 2, (int64_t[]){ B, N }, 0, 1)));
	for (int t = 1; t <= T; t++) {
		x = weir_forward(u, weir_normal(w, WEIR_F64, 2, (int64_t[]){ B, N }, 0, 1));
		h[t] = weir_retain_grad(weir_tanh(weir_add(x, weir_forward(v, h[t - 1]))));
	}
	backward_step(f, weir_sum_all(h[T]));
	assert_fine(w);
	for (int t = 2; t <= T; t++) {
		const weir_flow_layer *p = layer_named(f, "rnn.w", t);

		assert_string_equal(p->op, "linear add tanh");
		assert_int_equal(p->depth, t + 1);
		assert_near(p->gain, norm_by_hand(weir_grad_of(h[t - 1])) / norm_by_hand(weir_grad_of(h[t])), 1e-12);
	}
	close_fine(w);
}

/* Data that is added or multiplied in, and the input of a block that is added to its last layer's output. */
static void data_joined(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *net = weir_list_new(w, "net");
	weir_tensor *x, *y;

	(void)state;
	for (int i = 0; i < 4; i++) weir_list_add(net, square(w));
	x = weir_relu(weir_add(weir_forward(weir_list_at(net, 0), input(w)), input(w)));
	y = weir_relu(weir_forward(weir_list_at(net, 1), x));
	y = weir_relu(weir_add(x, weir_forward(weir_list_at(net, 2), y)));
	y = weir_mul(y, input(w));
	y = weir_tanh(weir_forward(weir_list_at(net, 3), y));
	assert_layers(f, weir_mean_all(y),
		      "net.0: linear add relu; net.1: linear relu; net.2: linear add relu mul; net.3: linear tanh");
	close_fine(w);
}

/* A loss written by hand is no part of the last layer: its target hangs on no layer either. */
static void target_is_no_layer(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *net = sequential(w, "net", 2, WEIR_ACT_RELU);
	weir_tensor *y = weir_retain_grad(weir_tanh(weir_forward(net, input(w))));
	double size;

	(void)state;
	assert_layers(f, weir_mean_all(weir_square(weir_sub(y, input(w)))), "net.0: linear relu; net.2: linear tanh");
	size = norm_by_hand(y) / sqrt((double)weir_numel(y));
	assert_near(weir_flow_layer_at(f, 1)->out_norm, size, 1e-6);
	assert_near(weir_flow_layer_at(f, 1)->delta_norm, norm_by_hand(weir_grad_of(y)), 1e-6);
	close_fine(w);
}

/* Two passes side by side are no chain of twice the depth. */
static void side_by_side(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *net = sequential(w, "d", 2, WEIR_ACT_RELU);
	weir_tensor *a = weir_forward(net, input(w)), *b = weir_forward(net, input(w));

	(void)state;
	assert_layers(f, weir_add(weir_mean_all(weir_square(a)), weir_mean_all(weir_square(b))),
		      "d.0: linear relu; d.2: linear; d.0#2: linear relu; d.2#2: linear");
	for (int i = 0; i < 4; i++) assert_int_equal(weir_flow_layer_at(f, i)->depth, 1 + i % 2);
	close_fine(w);
}

static void named_and_nested(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *net = weir_sequential_new(w, "net"), *blocks = weir_list_new(w, NULL), *fc = square(w),
		    *alone = weir_linear_new(w, N, N, WEIR_INIT_HE);

	(void)state;
	weir_module_add(net, "embed", square(w));
	weir_module_add(net, "blocks", blocks);
	for (int i = 0; i < 2; i++) {
		weir_module *b = weir_sequential_new(w, NULL);

		weir_module_add(b, "up", square(w));
		weir_module_add(b, "act", weir_relu_new(w));
		weir_module_add(b, "down", square(w));
		weir_list_add(blocks, b);
	}
	weir_module_add(net, "head", fc);
	assert_layers(
		f, weir_mean_all(weir_forward(alone, weir_forward(net, input(w)))),
		"net.embed: linear; net.blocks.0: linear relu linear; net.blocks.1: linear relu linear; net.head: linear; linear: linear");
	close_fine(w);
}

/* relu called in the forward of a module of the user's own. */
static weir_tensor *own_forward(weir_module *m, weir_tensor *x)
{
	for (int64_t i = 0; i < weir_module_count(m); i++) x = weir_relu(weir_forward(weir_module_at(m, i), x));
	return weir_affine(x, 2, 1);
}

static const weir_module_type own_type = { .kind = "own", .forward = own_forward, .container = true };

static void own_module(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *net = weir_module_new(w, &own_type, "net", 0);

	(void)state;
	for (int i = 0; i < 2; i++) weir_module_add(net, NULL, square(w));
	assert_layers(f, weir_mean_all(weir_forward(net, input(w))), "net.0: linear relu; net.1: linear relu affine");
	close_fine(w);
}

/* Parameters without modules: every use of a matrix begins a layer. */
static void parameters_alone(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_tensor *w1 = weir_param_new(w, "w1.weight", WEIR_F32, 2, (int64_t[]){ N, N }),
		    *b1 = weir_param_new(w, "w1.bias", WEIR_F32, 1, (int64_t[]){ N });
	weir_tensor *w2 = weir_param_new(w, "", WEIR_F32, 2, (int64_t[]){ N, N }), *h, *penalty;

	(void)state;
	weir_init_fill(w1, WEIR_INIT_HE, 1);
	weir_init_fill(w2, WEIR_INIT_HE, 1);
	h = weir_tanh(weir_add(weir_matmul(input(w), w1), b1));
	h = weir_set_name(weir_matmul(h, weir_transpose(w2, 0, 1)), "scores");
	penalty = weir_add(weir_sum_all(weir_mul(w1, w1)), weir_sum_all(weir_square(w2)));
	assert_layers(f, weir_add(weir_mean_all(weir_square(h)), penalty), "w1: matmul add tanh; scores: matmul");
	assert_near(weir_flow_layer_at(f, 0)->weight_norm, norm_by_hand(w1), 1e-6);
	assert_near(weir_flow_layer_at(f, 1)->weight_norm, norm_by_hand(w2), 1e-6);
	assert_true(weir_flow_layer_at(f, 0)->gain > 0); /* dL/dx was asked for */
	close_fine(w);
}

/* Neither modules nor parameters: every node is a layer. */
static void nodes_alone(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_tensor *x = weir_retain_grad(input(w));

	(void)state;
	x = weir_set_name(weir_affine(x, 0.5, 0), "half");
	x = weir_tanh(x);
	assert_layers(f, weir_sum_all(x), "half: affine; tanh@2: tanh; sum@3: sum");
	assert_near(weir_flow_layer_at(f, 0)->gain, 0.5, 1e-7);
	close_fine(w);
}

/* Nothing that is differentiated, and a step before any backward: no verdict, no crash. */
static void nothing_to_see(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_module *net = sequential(w, "net", 2, WEIR_ACT_RELU);
	weir_tensor *loss;
	weir_flow *f;

	(void)state;
	loss = weir_mean_all(weir_forward(net, input(w)));
	f = watch_all(w); /* too late */
	assert_int_equal(weir_flow_layer_count(f), 0);
	assert_int_equal(weir_flow_verdict(f), WEIR_FLOW_NONE);
	assert_true(weir_flow_step(f, loss));
	assert_int_equal(weir_flow_verdict(f), WEIR_FLOW_NONE);
	assert_null(weir_flow_layer_at(f, 99));
	assert_null(weir_flow_layer_at(f, -1));
	weir_tape_reset(w);
	assert_false(weir_flow_step(f, loss)); /* of another tape */
	assert_error(w, WEIR_ERR_STALE, "weir_flow_step");
	weir_no_grad_begin(w); /* an evaluation is not seen */
	weir_forward(net, input(w));
	weir_no_grad_end(w);
	loss = weir_mean_all(weir_forward(net, input(w)));
	weir_backward(loss);
	assert_true(weir_flow_step(f, loss));
	assert_string_equal(layers_text(f), "net.0: linear relu; net.2: linear");
	close_fine(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(list_and_loop),      cmocka_unit_test(composed_activations),
		cmocka_unit_test(activation_modules), cmocka_unit_test(layer_norm_is_a_layer),
		cmocka_unit_test(residual_blocks),    cmocka_unit_test(through_time),
		cmocka_unit_test(side_by_side),       cmocka_unit_test(named_and_nested),
		cmocka_unit_test(own_module),         cmocka_unit_test(parameters_alone),
		cmocka_unit_test(nodes_alone),        cmocka_unit_test(nothing_to_see),
		cmocka_unit_test(two_layers_joined),  cmocka_unit_test(data_joined),
		cmocka_unit_test(target_is_no_layer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
