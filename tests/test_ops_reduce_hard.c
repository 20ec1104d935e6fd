/* test_ops_reduce_hard.c: reductions of what is very large, very small, very long, or no number. */
#include "tests/ops_reference.h"

static void hard(void **state)
{
	weir_ctx *w = open_ctx(true, 2);
	weir_tensor *x, *y, *g;
	double ones[] = { 1 };

	(void)state;
	expect_near(weir_mean_all(vector(w, WEIR_F32, 2, VALUES(3e38, 3e38))), 1, VALUES((double)3e38f), 0);
	expect_near(weir_mean_all(vector(w, WEIR_F64, 2, VALUES(1.7e308, 1.7e308))), 1, VALUES(1.7e308), 0);
	expect_near(weir_norm(vector(w, WEIR_F32, 2, VALUES(3e30, 4e30)), 0, NULL, false), 1, VALUES((double)5e30f),
		    1e24);
	expect_near(weir_norm(vector(w, WEIR_F64, 2, VALUES(3e200, 4e200)), 0, NULL, false), 1, VALUES(5e200), 1e185);
	expect_near(weir_norm(vector(w, WEIR_F64, 2, VALUES(3e-200, 4e-200)), 0, NULL, false), 1, VALUES(5e-200),
		    1e-215);
	for (int k = 0; k < 4; k++) {
		const double size[] = { 1e30, 1e-30, 1e200, 1e-200 };

		x = vector(w, k < 2 ? WEIR_F32 : WEIR_F64, 2, VALUES(3 * size[k], 4 * size[k]));
		y = weir_norm(x, 0, NULL, false);
		expect_near(y, 1, VALUES(5 * size[k]), 5 * size[k] * 1e-6);
		assert_true(weir_grad(y, &x, 1, &g, 0));
		expect_near(g, 2, VALUES(.6, .8), 1e-7);
		assert_true(weir_grad(y, &x, 1, &g, WEIR_CREATE_GRAPH));
		expect_near(g, 2, VALUES(.6, .8), 1e-7);
	}
	/* 10^8 ones, in a row and in a square with two strides of 0 */
	x = vector(w, WEIR_F32, 1, ones);
	expect_near(weir_sum_all(weir_expand(x, SHAPE(100000000))), 1, VALUES(1e8), 0);
	expect_near(weir_norm(weir_expand(x, SHAPE(10000, 10000)), 0, NULL, false), 1, VALUES(1e4), 0);
	/* a variance keeps its digits far from 0, where the mean can't be represented */
	expect_near(weir_var(vector(w, WEIR_F32, 4, VALUES(1e6, 1e6 + 1, 1e6 + 2, 1e6 + 3)), 0, NULL, false, 0), 1,
		    VALUES(1.25), 1e-6);
	expect_near(weir_var(vector(w, WEIR_F32, 4, VALUES(16777216, 16777216, 16777216, 16777218)), 0, NULL, false, 0),
		    1, VALUES(0.75), 1e-6);
	expect_near(weir_var(vector(w, WEIR_F64, 3, VALUES(0.1, 0.1, 0.1)), 0, NULL, false, 1), 1, VALUES(0), 0);
	close_ctx(w);
}

static void specials(void **state)
{
	weir_ctx *w = open_ctx(true, 1);
	weir_tensor *x, *g;

	(void)state;
	expect_near(weir_amax(vector(w, WEIR_F32, 3, VALUES(1, NAN, 2)), 0, NULL, false), 1, VALUES(NAN), 0);
	expect_near(weir_amin(vector(w, WEIR_F64, 3, VALUES(1, NAN, 2)), 0, NULL, false), 1, VALUES(NAN), 0);
	expect_near(weir_amax(vector(w, WEIR_F32, 2, VALUES(-INFINITY, INFINITY)), 0, NULL, false), 1, VALUES(INFINITY),
		    0);
	assert_true(same(weir_item(weir_amax(vector(w, WEIR_F32, 2, VALUES(-0.0, 0.0)), 0, NULL, false)), 0.0));
	assert_true(same(weir_item(weir_amin(vector(w, WEIR_F32, 2, VALUES(0.0, -0.0)), 0, NULL, false)), -0.0));
	expect_near(weir_sum_all(vector(w, WEIR_F32, 2, VALUES(INFINITY, -INFINITY))), 1, VALUES(NAN), 0);
	expect_near(weir_norm(vector(w, WEIR_F32, 2, VALUES(-INFINITY, 1)), 0, NULL, false), 1, VALUES(INFINITY), 0);

	x = make(w, WEIR_F64, SHAPE(2, 3), VALUES(1, 3, 3, 2, 2, 2));
	assert_true(weir_grad(weir_sum_all(weir_amax(x, AXES(1), false)), &x, 1, &g, 0));
	expect_near(g, 6, VALUES(0, .5, .5, 1. / 3, 1. / 3, 1. / 3), 1e-16);
	assert_true(weir_grad(weir_sum_all(weir_amin(x, AXES(1), false)), &x, 1, &g, 0));
	expect_near(g, 6, VALUES(1, 0, 0, 1. / 3, 1. / 3, 1. / 3), 1e-16);
	assert_true(weir_grad(weir_amin(x, 0, NULL, false), &x, 1, &g, 0));
	expect_near(g, 6, VALUES(1, 0, 0, 0, 0, 0), 0);
	x = vector(w, WEIR_F32, 4, VALUES(1, NAN, 3, 4));
	assert_true(weir_grad(weir_amax(x, 0, NULL, true), &x, 1, &g, 0));
	expect_near(g, 4, VALUES(.25, .25, .25, .25), 0);
	x = make(w, WEIR_F32, 0, NULL, VALUES(4));
	assert_true(weir_grad(weir_amax(x, 0, NULL, true), &x, 1, &g, 0));
	expect_near(g, 1, VALUES(1), 0);
	close_ctx(w);
}

/* At 0 the norm has a kink: its gradient is 0 there, and so are all further ones. */
static void norm_at_zero(void **state)
{
	weir_ctx *w = open_ctx(true, 1);
	weir_tensor *x = make(w, WEIR_F32, SHAPE(2, 2), VALUES(0, 0, 3, 4)), *g, *gg;

	(void)state;
	assert_true(weir_grad(weir_sum_all(weir_norm(x, AXES(1), false)), &x, 1, &g, WEIR_CREATE_GRAPH));
	expect_near(g, 4, VALUES(0, 0, .6, .8), 1e-7);
	assert_true(weir_grad(weir_sum_all(weir_mul(g, g)), &x, 1, &gg, 0));
	expect_near(gg, 4, VALUES(0, 0, 0, 0), 1e-7); /* |g| is 1 wherever it isn't 0 */
	close_ctx(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hard),
		cmocka_unit_test(specials),
		cmocka_unit_test(norm_at_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
