/* test_flow_births_thin.c: births in steps that were not to be measured, where no hook saw the values. */
#include "tests/birth_check.h"

static void forget_gradients(const weir_module *m)
{
	for (int64_t i = 0; i < weir_module_parameter_count(m); i++) weir_zero_grad(weir_module_parameter(m, i));
}

/* From step 7 on the weight of layer 5 is 1e30; between the gradient and the end of the step the weights change. */
static void thin_overflow(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) { /* forward, backward, free_values, seen through what weir_sub() gave back */
		weir_options o;
		weir_ctx *w;
		weir_flow *f;
		const weir_flow_summary *s;
		weir_module *net;
		weir_tensor *loss;

		weir_options_init(&o);
		o.handler = NULL;
		o.free_values = way == 2;
		w = weir_open(&o);
		f = weir_flow_watch(w, NULL);
		s = weir_flow_summary_of(f);
		net = chain(w, 8, 1);
		for (int step = 0; step < 10; step++) {
			weir_tensor *x = weir_full(w, WEIR_F32, 2, (int64_t[]){ 1, 2 }, way == 1 ? 0 : 1);

			if (step == 7)
				for (int l = 3; l < 5; l++)
					weir_write_f64(weir_module_parameter(net, 2 * l), (double[]){ 1e30, 0, 0, 1 },
						       4);
			x = weir_forward(net, x);
			if (way == 3) x = weir_sub(weir_full(w, WEIR_F32, 2, (int64_t[]){ 1, 2 }, 1), x);
			loss = weir_sum_all(x);
			forget_gradients(net);
			weir_backward(loss);
			if (step == 7) weir_write_f64(weir_module_parameter(net, 4), (double[]){ NAN, 0, 0, 1 }, 4);
			assert_true(weir_flow_step(f, loss));
			assert_int_equal(s->measured, step < 7 ? 0 : 7);
			assert_int_equal(s->verdict == WEIR_FLOW_NONFINITE, step == 7);
			assert_int_equal(s->first_inf.found, step >= 7);
			weir_tape_reset(w);
			if (step == 7) break;
		}
		assert_int_equal(s->first_inf.step, 7);
		assert_int_equal(s->first_inf.backward, way == 1);
		assert_string_equal(s->first_inf.layer, way == 1 ? "mlp.3.linear" : "mlp.4.linear");
		if (way == 0)
			assert_string_equal(
				birth_text(&s->first_inf),
				"forward mlp.4.linear (linear) [1, 2] f32 [0] = inf; linear [1, 2] largest 1e+30, mlp.4.weight [2, 2] "
				"largest 1e+30, mlp.4.bias [2] largest 0; mlp.4 linear > mlp.5 linear > mlp.6 linear > mlp.7 "
				"linear > sum > loss; 4 others");
		close_fine(w);
	}
}

/* A gradient that is NaN in every step, and gets no further, must not hide what spoils the weights later. */
static void thin_beside_harmless(void **state)
{
	(void)state;
	for (int backward = 0; backward < 2; backward++) {
		weir_ctx *w = open_ieee(WEIR_F32);
		weir_flow *f = weir_flow_watch(w, NULL);
		const weir_flow_summary *s = weir_flow_summary_of(f);
		weir_tensor *p = weir_param_new(w, "p", WEIR_F32, 1, (int64_t[]){ 3 });

		for (int step = 0; step < 8; step++) {
			double big = step < 7 ? 1 : 100;
			weir_tensor *u, *v, *y, *loss;

			weir_write_f64(p, (double[]){ 1, 2, 3 }, 3);
			u = weir_affine(p, 1, 0);
			v = weir_relu(weir_affine(u, 1, -100));
			y = weir_where(weir_gt(u, like(p, 50)),
				       weir_mul(v, weir_log(weir_affine(weir_detach(u), -1, 0))), u);
			if (backward) y = weir_add(y, weir_affine(weir_log(weir_affine(u, 1e-37, 0)), big, 0));
			else y = weir_add(y, weir_exp(weir_affine(u, big, 0)));
			loss = weir_sum_all(y);
			weir_zero_grad(p);
			weir_backward(loss);
			assert_true(isnan(weir_grad_norm(v)));
			weir_flow_step(f, loss);
			assert_int_equal(s->first_inf.found, step == 7);
			assert_int_equal(s->measured, step < 7 ? 0 : 7);
			assert_false(s->first_nan.found);
			weir_tape_reset(w);
		}
		assert_string_equal(s->first_inf.op, backward ? "log" : "exp");
		assert_int_equal(s->first_inf.backward, backward);
		close_fine(w);
	}
}

/* A gradient becomes subnormal, element by element, before any norm is tiny: the next step is measured and tells where. */
static void thin_underflow(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = weir_flow_watch(w, NULL);
	const weir_flow_summary *s = weir_flow_summary_of(f);
	weir_module *net = chain(w, 6, 1);

	(void)state;
	for (int step = 0; step < 6; step++) {
		weir_tensor *loss;

		if (step == 4) {
			weir_write_f64(weir_module_parameter(net, 0), (double[]){ 1e-30, 0, 0, 1e-37 }, 4);
			weir_write_f64(weir_module_parameter(net, 6), (double[]){ 1e-39, 0, 0, 0.1 }, 4);
		}
		loss = weir_sum_all(weir_forward(net, weir_full(w, WEIR_F32, 2, (int64_t[]){ 1, 2 }, 1)));
		forget_gradients(net);
		weir_backward(loss);
		assert_true(weir_flow_step(f, loss));
		assert_int_equal(s->measured, step < 4 ? 0 : step);
		assert_int_equal(s->first_subnormal[1].found, step == 5);
		weir_tape_reset(w);
	}
	assert_string_equal(s->first_subnormal[1].layer, "mlp.3.linear");
	assert_true(s->first_subnormal[1].backward && s->first_subnormal[1].element == 0);
	assert_string_equal(s->first_subnormal[0].layer, "mlp.3.linear");
	assert_int_equal(s->first_subnormal[0].step, 4);
	close_fine(w);
}

/* The loss is not finite and the user goes no further: no gradient is looked at. */
static void without_backward(void **state)
{
	(void)state;
	for (int thin = 0; thin < 2; thin++) {
		weir_ctx *w = open_ieee(WEIR_F32);
		weir_flow *f = weir_flow_watch(w, NULL);
		const weir_flow_birth *b = &weir_flow_summary_of(f)->first_inf;

		for (int step = 0; step <= thin; step++) {
			weir_tensor *p, *e, *loss;

			weir_tape_reset(w);
			p = weir_full(w, WEIR_F32, 1, (int64_t[]){ 3 }, step == thin ? 1 : 0);
			e = weir_exp(weir_affine(p, 1000, 0));
			loss = weir_sum_all(weir_sub(p, e)); /* whose -e is gone by now */
			weir_flow_step(f, loss);
		}
		assert_string_equal(b->op, "exp");
		assert_int_equal(b->step, thin);
		assert_string_equal(b->path[b->path_length - 1], "loss");
		close_fine(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(thin_overflow),
		cmocka_unit_test(thin_underflow),
		cmocka_unit_test(thin_beside_harmless),
		cmocka_unit_test(without_backward),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
