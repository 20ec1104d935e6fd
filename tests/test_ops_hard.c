/* test_ops_hard.c: element-wise operations where the usual formulas give 0, NaN or inf: far out, at kinks, ties and
 * poles. */
#include "tests/ops_check.h"

#define FUNCTION(name, expr)                     \
	static weir_tensor *name(weir_tensor *x) \
	{                                        \
		return expr;                     \
	}
FUNCTION(pow_half, weir_pow(x, 0.5))
FUNCTION(pow_0, weir_pow(x, 0.0))
FUNCTION(pow_1, weir_pow(x, 1.0))
FUNCTION(pow_2, weir_pow(x, 2.0))
FUNCTION(clamp, weir_clamp(x, -1.5, 2.5))

/* Ties, zeros, NaN. */
static void extremes_at_ties(void **state)
{
	weir_ctx *w = open_quiet(true);
	const double av[] = { 1, 2, 3, 0.0, -0.0, NAN, 1, NAN }, bv[] = { 2, 1, 3, -0.0, 0.0, 1, NAN, NAN };

	(void)state;
	for (int k = 0; k < 2; k++) {
		weir_dtype t = k ? WEIR_F64 : WEIR_F32;
		weir_tensor *xs[2] = { weir_zeros(w, t, SHAPE(8)), weir_zeros(w, t, SHAPE(8)) }, *y,
			    *gy = weir_full(w, t, SHAPE(8), 2), *g[2];

		weir_write_f64(xs[0], av, 8);
		weir_write_f64(xs[1], bv, 8);
		y = weir_maximum(xs[0], xs[1]);
		expect_values(y, 8, (const double[]){ 2, 2, 3, 0, 0, NAN, NAN, NAN });
		assert_false(signbit(weir_get(y, 3)) || signbit(weir_get(y, 4)));
		assert_true(weir_vjp(y, gy, xs, 2, g, 0));
		expect_values(g[0], 8, (const double[]){ 0, 2, 1, 1, 1, NAN, NAN, NAN });
		expect_values(g[1], 8, (const double[]){ 2, 0, 1, 1, 1, NAN, NAN, NAN });
		expect_fused("maximum", y, gy, xs, 2, 0, 0);
		y = weir_minimum(xs[0], xs[1]);
		expect_values(y, 8, (const double[]){ 1, 1, 3, 0, 0, NAN, NAN, NAN });
		assert_true(signbit(weir_get(y, 3)) && signbit(weir_get(y, 4)));
		assert_true(weir_vjp(y, gy, xs, 2, g, 0));
		expect_values(g[0], 8, (const double[]){ 2, 0, 1, 1, 1, NAN, NAN, NAN });
		expect_fused("minimum", y, gy, xs, 2, 0, 0);
		weir_tape_reset(w);
	}
	close_clean(w);
}

/* f(x), with its derivative, in type t. */
static double value(weir_ctx *w, weir_dtype t, weir_tensor *(*f)(weir_tensor *x), double x)
{
	return weir_item(f(weir_scalar(w, t, x)));
}

static double slope(weir_ctx *w, weir_dtype t, weir_tensor *(*f)(weir_tensor *x), double x, bool rule)
{
	weir_tensor *in = weir_scalar(w, t, x), *g;

	assert_true(weir_grad(f(in), &in, 1, &g, rule ? WEIR_CREATE_GRAPH : 0));
	return weir_item(g);
}

static double curvature(weir_ctx *w, weir_dtype t, weir_tensor *(*f)(weir_tensor *x), double x)
{
	weir_tensor *in = weir_scalar(w, t, x), *g, *gg;

	assert_true(weir_grad(f(in), &in, 1, &g, WEIR_CREATE_GRAPH));
	assert_true(weir_grad(g, &in, 1, &gg, WEIR_ALLOW_UNUSED));
	return gg ? weir_item(gg) : 0.0;
}

static void expect_relative(const char *what, double got, double right, double tolerance)
{
	if (fabs(got - right) <= tolerance * fabs(right)) return;
	print_error("%s: %.17g instead of %.17g\n", what, got, right);
	fail();
}

/* Values and slopes far out, right to the last digits. The numbers are those of mpmath. */
static void hard_values(void **state)
{
	weir_ctx *w = open_quiet(true);
	const double e32 = 0x1p-23, e64 = 0x1p-51;

	(void)state;
	for (int rule = 0; rule < 2; rule++) {
		bool r = rule;

		expect_relative("sigmoid'(17)", slope(w, WEIR_F32, weir_sigmoid, 17, r), 4.1399373760035016e-8,
				2 * e32);
		expect_relative("sigmoid'(20)", slope(w, WEIR_F32, weir_sigmoid, 20, r), 2.0611536139418493e-9,
				2 * e32);
		expect_relative("sigmoid'(40)", slope(w, WEIR_F32, weir_sigmoid, 40, r), 4.2483542552915890e-18,
				2 * e32);
		expect_relative("sigmoid'(-40)", slope(w, WEIR_F64, weir_sigmoid, -40, r), 4.2483542552915890e-18,
				2 * e64);
		expect_relative("tanh'(9.0109)", slope(w, WEIR_F32, weir_tanh, 9.0109, r), 5.9606288529114388e-8,
				3 * e32);
		expect_relative("tanh'(10)", slope(w, WEIR_F32, weir_tanh, 10, r), 8.2446144557673974e-9, 2 * e32);
		expect_relative("tanh'(-20)", slope(w, WEIR_F64, weir_tanh, -20, r), 1.6993417021166356e-17, 2 * e64);
		expect_relative("gelu'(-10)", slope(w, WEIR_F64, weir_gelu, -10, r), -7.6184000964648141e-22, 20 * e64);
		expect_relative("gelu'(-10)", slope(w, WEIR_F32, weir_gelu, -10, r), -7.6184000964648141e-22, 2 * e32);
		expect_relative("softplus'(-20)", slope(w, WEIR_F32, weir_softplus, -20, r), 2.0611536181902036e-9,
				2 * e32);
	}
	expect_relative("gelu(-6)", value(w, WEIR_F32, weir_gelu, -6), -5.9195258702261888e-9, e32);
	expect_relative("gelu(-10)", value(w, WEIR_F32, weir_gelu, -10), -7.6198530241605261e-23, e32);
	expect_relative("gelu(-13)", value(w, WEIR_F32, weir_gelu, -13), -7.9523137194148436e-38,
			4 * e32); /* Φ(-13) is subnormal */
	expect_relative("gelu(-30)", value(w, WEIR_F64, weir_gelu, -30), -1.4720141781444561e-196, 4 * e64);
	expect_relative("gelu(2.001)", value(w, WEIR_F64, weir_gelu, 2.001), 1.9555849139137711, e64);
	expect_relative("softplus(20.5)", value(w, WEIR_F64, weir_softplus, 20.5), 20.500000001250152866, e64);
	expect_relative("softplus(-20)", value(w, WEIR_F32, weir_softplus, -20), 2.0611536203143807e-9, e32);
	expect_relative("softplus(-700)", value(w, WEIR_F64, weir_softplus, -700), 9.8596765437597709e-305, 2 * e64);
	expect_relative("softplus(3e38)", value(w, WEIR_F32, weir_softplus, 3e38), 3e38, e32);
	expect_relative("silu(-80)", value(w, WEIR_F32, weir_silu, -80), -80 * 1.8048513878454152e-35, 2 * e32);
	expect_relative("exp(-100)", value(w, WEIR_F32, weir_exp, -100), 0x1.bp-145, 0); /* a subnormal */
	close_clean(w);
}

static weir_tensor *guarded_sqrt(weir_tensor *x)
{
	weir_tensor *zero = weir_scalar(weir_context(x), weir_dtype_of(x), 0);

	return weir_where(weir_gt(x, zero), weir_sqrt(x), zero);
}

static weir_tensor *guarded_log(weir_tensor *x)
{
	weir_tensor *zero = weir_scalar(weir_context(x), weir_dtype_of(x), 0);

	return weir_where(weir_gt(x, zero), weir_log(x), zero);
}

static weir_tensor *guarded_pow(weir_tensor *x)
{
	weir_tensor *zero = weir_scalar(weir_context(x), weir_dtype_of(x), 0);

	return weir_where(weir_gt(x, zero), weir_pow(x, 0.25), zero);
}

static weir_tensor *guarded_div(weir_tensor *x)
{
	weir_tensor *zero = weir_scalar(weir_context(x), weir_dtype_of(x), 0);

	return weir_where(weir_gt(x, zero), weir_div(weir_affine(x, 1, 1), x), zero);
}

static weir_tensor *root_of_square(weir_tensor *x)
{
	return weir_sqrt(weir_mul(x, x));
}

static weir_tensor *reciprocal(weir_tensor *x)
{
	return weir_div(weir_scalar(weir_context(x), weir_dtype_of(x), 1), x);
}

/* Where no gradient arrives, an infinite slope does no harm: to no order, on neither way through a rule, and not in
 * the Jacobian-vector product. */
static void hard_gradients(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *(*const guarded[])(weir_tensor * x) = { guarded_sqrt, guarded_log, guarded_pow, guarded_div };

	(void)state;
	for (int k = 0; k < 16; k++) {
		weir_tensor *(*f)(weir_tensor * x) = guarded[k / 4];
		weir_dtype t = k % 2 ? WEIR_F64 : WEIR_F32;
		double x = k / 2 % 2 ? -1.0 : 0.0;
		weir_tensor *in = weir_scalar(w, t, x), *v = weir_scalar(w, t, 3);

		assert_true(slope(w, t, f, x, false) == 0.0);
		assert_true(slope(w, t, f, x, true) == 0.0);
		assert_true(curvature(w, t, f, x) == 0.0);
		assert_true(weir_item(weir_jvp(f(in), &in, &v, 1, 0)) == 0.0);
		/* elsewhere the jvp is the slope */
		in = weir_scalar(w, t, 0.7);
		expect_relative("jvp", weir_item(weir_jvp(f(in), &in, &v, 1, 0)), 3 * slope(w, t, f, 0.7, false),
				t == WEIR_F32 ? 1e-6 : 1e-14);
	}
	for (int k = 0; k < 2; k++) {
		weir_dtype t = k ? WEIR_F64 : WEIR_F32;

		for (int rule = 0; rule < 2; rule++) {
			bool r = rule;

			assert_true(slope(w, t, root_of_square, 0, r) == 0.0);
			assert_true(slope(w, t, weir_sqrt, 0, r) == 0.0);
			assert_true(slope(w, t, weir_abs, 0, r) == 0.0);
			assert_true(slope(w, t, weir_relu, 0, r) == 0.0);
			assert_true(slope(w, t, weir_log, 0, r) == (double)INFINITY);
			assert_true(slope(w, t, reciprocal, 0, r) == -(double)INFINITY);
			assert_true(slope(w, t, pow_half, 0, r) == (double)INFINITY);
			assert_true(slope(w, t, pow_1, 0, r) == 1.0);
			assert_true(slope(w, t, pow_2, 0, r) == 0.0);
			assert_true(isnan(slope(w, t, weir_abs, NAN, r)));
			assert_true(isnan(slope(w, t, weir_relu, NAN, r)));
			assert_true(isnan(slope(w, t, weir_log, NAN, r)));
		}
		assert_true(isnan(value(w, t, weir_relu, NAN)));
		assert_true(value(w, t, pow_0, NAN) == 1.0);
		assert_false(signbit(value(w, t, weir_relu, -0.0)));
		assert_true(value(w, t, weir_softplus, -INFINITY) == 0.0);
		assert_true(value(w, t, weir_softplus, INFINITY) == (double)INFINITY);
		assert_true(isnan(value(w, t, weir_softplus, NAN)));
		assert_true(isnan(value(w, t, weir_gelu, NAN)));
		assert_true(isnan(value(w, t, clamp, NAN)));
		assert_true(slope(w, t, clamp, -1.5, false) == 1.0); /* on the bounds, too */
		assert_true(slope(w, t, clamp, 2.5, false) == 1.0);
	}
	close_clean(w);
}

/* tanh''' (0) = -2: the rule has no |x| in it. */
static void third_order(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = weir_scalar(w, WEIR_F64, 0), *g = weir_tanh(x);

	(void)state;
	for (int order = 1; order <= 3; order++) {
		assert_true(weir_grad(g, &x, 1, &g, WEIR_CREATE_GRAPH));
		assert_true(weir_item(g) == (order == 1 ? 1.0 : order == 2 ? 0.0 : -2.0));
	}
	close_clean(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(extremes_at_ties),
		cmocka_unit_test(hard_values),
		cmocka_unit_test(hard_gradients),
		cmocka_unit_test(third_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
