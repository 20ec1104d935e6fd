/* test_clip.c: clipping by norm, at every size that the types hold, and by value. */
#include "tests/nn_check.h"
#include "kernels/threads.h"

static void test_clip_norm(void **unused)
{
	static const double sizes[] = { 1, 1e20, 3e30, 3e37, 1e-20, 3e-30, 1e150, 1e300, 1e-200 };

	(void)unused;
	for (int f64 = 0; f64 < 2; f64++) {
		weir_ctx *w = open_as(f64 ? WEIR_F64 : WEIR_F32, 1, 0);
		weir_module *m = weir_linear_new(w, 9, 10, WEIR_INIT_HE); /* 100 entries */
		weir_tensor *weight = weir_module_parameter(m, 0), *bias = weir_module_parameter(m, 1);

		assert_near(weir_clip_norm(m, 1), 0, 0); /* without gradients */
		for (size_t s = 0; s < (f64 ? 9 : 6); s++) {
			double norm;

			set_gradient(weight, sizes[s]);
			set_gradient(bias, -sizes[s]);
			norm = weir_clip_norm(m, 20 * sizes[s]);
			if (!(fabs(norm / (10 * sizes[s]) - 1) < 1e-6))
				fail_msg("norm %g of 100 entries of %g", norm, sizes[s]);
			assert_near(weir_get(weir_grad_of(bias), 3) / sizes[s], -1, 1e-6); /* below: untouched */
			norm = weir_clip_norm(m, 5 * sizes[s]);
			assert_near(norm / (10 * sizes[s]), 1, 1e-6);
			assert_near(weir_get(weir_grad_of(weight), 7) / sizes[s], 0.5, 1e-6);
			assert_near(weir_get(weir_grad_of(bias), 3) / sizes[s], -0.5, 1e-6);
			assert_near(weir_clip_norm(m, 0.5), 5 * sizes[s], 1e-6);
			if (5 * sizes[s] > 0.5) assert_near(weir_get(weir_grad_of(weight), 7), 0.05, 1e-7);
			weir_tape_reset(w);
		}
		set_gradient(weight, 0);
		set_gradient(bias, 0);
		assert_near(weir_clip_norm(m, 0), 0, 0);
		for (int fault = 0; fault < 2; fault++) {
			weir_tensor *g = weir_full(w, f64 ? WEIR_F64 : WEIR_F32, 1, (int64_t[]){ 10 }, 1);
			double v[10] = { 1, 2, fault ? NAN : -INFINITY };

			set_gradient(weight, 3);
			weir_write_f64(g, v, 10);
			weir_set_grad(bias, g);
			weir_clip_norm(m, 1);
			assert_error(w, WEIR_ERR_NONFINITE, fault ? "the gradient of [10]" : "has 0 NaN and 1 inf");
			assert_near(weir_get(weir_grad_of(weight), 7), 3, 0);
			assert_near(weir_get(weir_grad_of(bias), 1), 2, 0);
		}
		weir_clip_norm(m, -1);
		assert_error(w, WEIR_ERR_ARGUMENT, "the limit is -1");
		weir_clip_norm(m, NAN);
		assert_error(w, WEIR_ERR_ARGUMENT, "the limit is nan");
		assert_int_equal(weir_close(w), 0);
	}
}

static void test_clip_value(void **unused)
{
	weir_ctx *w = open_as(WEIR_F32, 1, 0);
	weir_module *m = weir_linear_new(w, 2, 2, WEIR_INIT_HE);
	weir_tensor *weight = weir_module_parameter(m, 0), *g = weir_zeros(w, WEIR_F32, 2, (int64_t[]){ 2, 2 });

	(void)unused;
	weir_write_f64(g, (double[]){ 0.25, -7, INFINITY, 0.5 }, 4);
	weir_set_grad(weight, g);
	set_gradient(weir_module_parameter(m, 1), -0.75);
	assert_int_equal(weir_clip_value(m, 0.5), 4);
	assert_near(weir_get(weir_grad_of(weight), 0), 0.25, 0);
	assert_near(weir_get(weir_grad_of(weight), 1), -0.5, 0);
	assert_near(weir_get(weir_grad_of(weight), 2), 0.5, 0);
	assert_near(weir_get(weir_grad_of(weir_module_parameter(m, 1)), 1), -0.5, 0);
	weir_write_f64(g, (double[]){ 9, NAN, 1, 1 }, 4);
	weir_set_grad(weight, g);
	assert_int_equal(weir_clip_value(m, 0.5), 0);
	assert_error(w, WEIR_ERR_NONFINITE, "weir_clip_value: the gradient of [2, 2] f32 (linear.weight) has 1 NaN");
	assert_near(weir_get(weir_grad_of(weight), 0), 9, 0);
	assert_int_equal(weir_close(w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clip_norm),
		cmocka_unit_test(test_clip_value),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
