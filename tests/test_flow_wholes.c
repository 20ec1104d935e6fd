/* test_flow_wholes.c: modules that are called several times in a step: all of their calls together. */
#include "tests/flow_check.h"

enum { TIMES = 50, WIDTH = 8 };

static void assert_ratio(double got, double want, double tolerance)
{
	if (!(fabs(got / want - 1) <= tolerance)) fail_msg("got %.17g, want %.17g", got, want);
}

/* A recurrent net without inputs; only its last state feeds the loss. */
static void through_time(void **state)
{
	(void)state;
	for (int activation = 0; activation < 2; activation++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_flow *f = watch_all(w);
		weir_module *cell = weir_sequential_new(w, "cell"), *head = weir_linear_new(w, WIDTH, 1, WEIR_INIT_HE);
		weir_tensor *h, *loss;
		const weir_flow_whole *p;
		double product = 1;

		weir_module_add(cell, NULL, weir_linear_new(w, WIDTH, WIDTH, WEIR_INIT_GLOROT));
		if (activation) weir_module_add(cell, NULL, weir_tanh_new(w));
		for (int step = 0; step < 2; step++) {
			h = weir_normal(w, WEIR_F64, 2, (int64_t[]){ 4, WIDTH }, 0, 1);
			for (int t = 0; t < TIMES; t++) h = weir_forward(cell, h);
			loss = weir_mean_all(weir_forward(head, h));
			weir_backward(loss);
			weir_flow_step(f, loss);
			assert_fine(w);
			assert_int_equal(weir_flow_whole_count(f), 1);
			p = weir_flow_whole_at(f, 0);
			assert_string_equal(p->name, "cell.0");
			assert_int_equal(p->calls, TIMES);
			product = 1;
			for (int t = 1; t <= TIMES; t++) product *= layer_named(f, "cell.0", t)->gain;
			assert_ratio(p->gain, product, 1e-10);
			assert_ratio(p->gain_per_call, pow(product, 1.0 / TIMES), 1e-10);
			assert_int_equal(weir_flow_layer_at(f, p->first_layer)->call, 1);
			assert_int_equal(weir_flow_layer_at(f, p->last_layer)->call, TIMES);
			for (int t = 1; t <= TIMES; t++)
				assert_true(isnan(layer_named(f, "cell.0", t)->param_grad_norm));
			assert_ratio(p->weight_norm, norm_by_hand(weir_module_parameter(cell, 0)), 1e-12);
			if (!step)
				assert_ratio(p->param_grad_norm,
					     hypot(norm_by_hand(weir_grad_of(weir_module_parameter(cell, 0))),
						   norm_by_hand(weir_grad_of(weir_module_parameter(cell, 1)))),
					     1e-12);
			weir_tape_reset(w);
		}
		close_fine(w);
	}
}

/* h ← tanh(U h + V x): the cell's state, its inputs outside of it. */
static void with_inputs(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	weir_module *u = weir_linear_new(w, WIDTH, WIDTH, WEIR_INIT_GLOROT), *all = weir_list_new(w, "rnn");
	weir_tensor *h, *loss;
	const weir_flow_whole *p;

	(void)state;
	weir_module_add(all, "u", u);
	h = weir_normal(w, WEIR_F64, 2, (int64_t[]){ 4, WIDTH }, 0, 1);
	for (int t = 0; t < TIMES; t++) h = weir_tanh(weir_forward(u, h));
	loss = weir_mean_all(h);
	weir_backward(loss);
	weir_flow_step(f, loss);
	assert_fine(w);
	assert_int_equal(weir_flow_whole_count(f), 1);
	p = weir_flow_whole_at(f, 0);
	assert_int_equal(p->calls, TIMES);
	assert_ratio(p->gain, weir_flow_summary_of(f)->total_gain, 1e-10);
	close_fine(w);
}

/* Modules that are called once are none; without modules there are none, too; a step without forgets those of the last. */
static void none(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	weir_module *m = weir_sequential_new(w, "mlp");
	weir_tensor *x, *loss;

	(void)state;
	for (int i = 0; i < 3; i++) weir_module_add(m, NULL, weir_linear_new(w, 4, 4, WEIR_INIT_HE));
	for (int calls = 2; calls >= 0; calls--) {
		x = weir_normal(w, WEIR_F64, 2, (int64_t[]){ 4, 4 }, 0, 1);
		for (int i = 0; i < calls; i++) x = weir_forward(m, x);
		loss = weir_sum_all(weir_square(x));
		weir_backward(loss);
		weir_flow_step(f, loss);
		assert_fine(w);
		assert_int_equal(weir_flow_whole_count(f), calls == 2 ? 3 : 0);
		weir_tape_reset(w);
	}
	assert_null(weir_flow_whole_at(f, 0));
	close_fine(w);
}

/* A gradient that vanishes on the way gives 0 for all calls, and no number where there is none. */
static void nothing_left(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *m = weir_linear_new(w, 4, 4, WEIR_INIT_ZEROS), *all = weir_list_new(w, "rnn");
	weir_tensor *h = weir_normal(w, WEIR_F32, 2, (int64_t[]){ 4, 4 }, 0, 1), *loss;
	const weir_flow_whole *p;

	(void)state;
	weir_module_add(all, "u", m);
	for (int i = 0; i < 3; i++) h = weir_forward(m, h);
	loss = weir_sum_all(h);
	weir_backward(loss);
	weir_flow_step(f, loss);
	assert_fine(w);
	p = weir_flow_whole_at(f, 0);
	assert_true(p && p->calls == 3 && p->gain == 0 && p->gain_per_call == 0);
	close_fine(w);
}

/* A cell with two states, as an LSTM's h and c: no node has all of the gradient, but behind the last call. The slope is the cell's all the same,
 * and not that of the head alone. */
static void two_states(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	weir_tensor *u = weir_param_new(w, "u", WEIR_F64, 2, (int64_t[]){ WIDTH, WIDTH }),
		    *v = weir_param_new(w, "v", WEIR_F64, 2, (int64_t[]){ WIDTH, WIDTH }), *h, *c, *loss;
	weir_module *head = weir_linear_new(w, WIDTH, WIDTH, WEIR_INIT_HE);
	double half[WIDTH * WIDTH] = { 0 };

	(void)state;
	for (int i = 0; i < WIDTH; i++) half[i * (WIDTH + 1)] = 0.5;
	assert_true(weir_write_f64(u, half, WIDTH * WIDTH) && weir_write_f64(v, half, WIDTH * WIDTH));
	h = weir_normal(w, WEIR_F64, 2, (int64_t[]){ 4, WIDTH }, 0, 1);
	c = weir_normal(w, WEIR_F64, 2, (int64_t[]){ 4, WIDTH }, 0, 1);
	for (int t = 0; t < TIMES; t++) {
		weir_scope_begin(w, "cell");
		c = weir_linear(c, v, NULL);
		h = weir_linear(weir_add(h, c), u, NULL);
		weir_scope_end(w);
	}
	loss = weir_sum_all(weir_forward(head, h));
	weir_backward(loss);
	assert_true(weir_flow_step(f, loss));
	assert_fine(w);
	assert_near(weir_flow_summary_of(f)->gain_per_layer, 0.5, 0.02);
	assert_true(weir_flow_summary_of(f)->f32.overflow == INFINITY);
	close_fine(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(through_time), cmocka_unit_test(with_inputs), cmocka_unit_test(none),
		cmocka_unit_test(nothing_left), cmocka_unit_test(two_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
