/* test_ops_elementwise.c: the element-wise operations against libm, against differences, and against themselves in
 * other layouts. */
#include "tests/ops_check.h"

/* ---- one operand ---- */

#define FUNCTION(name, expr)                     \
	static weir_tensor *name(weir_tensor *x) \
	{                                        \
		return expr;                     \
	}
FUNCTION(affine, weir_affine(x, 1.75, -0.3125))
FUNCTION(pow_3, weir_pow(x, 3.0))
FUNCTION(pow_minus_2, weir_pow(x, -2.0))
FUNCTION(pow_half, weir_pow(x, 0.5))
FUNCTION(pow_1_7, weir_pow(x, 1.7))
FUNCTION(pow_1, weir_pow(x, 1.0))
FUNCTION(pow_2, weir_pow(x, 2.0))
FUNCTION(pow_0, weir_pow(x, 0.0))
FUNCTION(leaky, weir_leaky_relu(x, 0.2))
FUNCTION(clamp, weir_clamp(x, -1.5, 2.5))
FUNCTION(same_type, weir_cast(x, weir_dtype_of(x)))

#define REFERENCE(name, expr)        \
	static double name(double x) \
	{                            \
		return expr;         \
	}
REFERENCE(r_affine, fma(1.75, x, -0.3125))
REFERENCE(r_neg, -x)
REFERENCE(r_pow_3, (x * x * x))
REFERENCE(r_pow_minus_2, 1.0 / (x * x))
REFERENCE(r_pow_1_7, pow(x, 1.7))
REFERENCE(r_one, x * 0.0 + 1.0)
REFERENCE(r_same, x)
REFERENCE(r_square, (x * x))
REFERENCE(r_sigmoid, x < 0.0 ? exp(x) / (1.0 + exp(x)) : 1.0 / (1.0 + exp(-x)))
REFERENCE(r_relu, x > 0.0 ? x : 0.0)
REFERENCE(r_softplus, fmax(x, 0.0) + log1p(exp(-fabs(x))))
REFERENCE(r_gelu, (double)((long double)x * 0.5L * erfcl(-(long double)x * 0.70710678118654752440084436210485L)))
REFERENCE(r_silu, (x * r_sigmoid(x)))
REFERENCE(r_leaky, x > 0.0 ? x : 0.2 * x)
REFERENCE(r_clamp, fmin(fmax(x, -1.5), 2.5))

typedef struct unary {
	const char *name;
	weir_tensor *(*f)(weir_tensor *x);
	double (*reference)(double x);
	double low, high;
	double ulps; /* of the value, in both types */
	bool kink;   /* at 0 */
	bool flat;   /* no gradient check: the derivative is 0 everywhere, or second differences are */
} unary;

static const unary unaries[] = {
	{ "neg", weir_neg, r_neg, -5, 5, 0, false, false },
	{ "affine", affine, r_affine, -5, 5, 1, false, false },
	{ "pow 3", pow_3, r_pow_3, -3, 3, 2, true, false },
	{ "pow -2", pow_minus_2, r_pow_minus_2, 0.3, 3, 2, false, false },
	{ "pow 0.5", pow_half, sqrt, 0.3, 3, 1, false, false },
	{ "pow 1.7", pow_1_7, r_pow_1_7, 0.3, 3, 2, false, false },
	{ "pow 1", pow_1, r_same, -3, 3, 0, false, false },
	{ "pow 2", pow_2, r_square, -3, 3, 1, false, false },
	{ "pow 0", pow_0, r_one, -3, 3, 0, false, true },
	{ "exp", weir_exp, exp, -8, 8, 2, false, false },
	{ "log", weir_log, log, 0.1, 8, 2, false, false },
	{ "sqrt", weir_sqrt, sqrt, 0.1, 8, 0.5, false, false },
	{ "abs", weir_abs, fabs, -5, 5, 0, true, false },
	{ "tanh", weir_tanh, tanh, -6, 6, 3, false, false },
	{ "sigmoid", weir_sigmoid, r_sigmoid, -8, 8, 3, false, false },
	{ "relu", weir_relu, r_relu, -5, 5, 0, true, false },
	{ "erf", weir_erf, erf, -2, 2, 3, false, false },
	{ "softplus", weir_softplus, r_softplus, -8, 8, 3, false, false },
	{ "gelu", weir_gelu, r_gelu, -6, 6, 4, false, false },
	{ "silu", weir_silu, r_silu, -6, 6, 4, false, false },
	{ "square", weir_square, r_square, -5, 5, 1, false, false },
	{ "leaky_relu", leaky, r_leaky, -5, 5, 1, true, false },
	{ "clamp", clamp, r_clamp, -5, 5, 0, false, false },
	{ "cast", same_type, r_same, -5, 5, 0, false, false },
};
enum { UNARIES = sizeof unaries / sizeof *unaries };

static void unary_values(void **state)
{
	weir_ctx *w = open_quiet(true);

	(void)state;
	for (int k = 0; k < 2 * UNARIES; k++) {
		const unary *u = &unaries[k / 2];
		weir_dtype t = k % 2 ? WEIR_F64 : WEIR_F32;
		weir_tensor *x = numbers(w, t, SHAPE(7, 37), u->low, u->high, u->kink), *y = u->f(x);

		expect_shape(y, SHAPE(7, 37));
		assert_int_equal(weir_dtype_of(y), t);
		for (int64_t i = 0; i < weir_numel(x); i++) {
			double right = u->reference(weir_get(x, i)), got = weir_get(y, i);
			double more = t == WEIR_F32 ? 0.5 : 0.0; /* the reference, rounded */

			if (near_by(got, t == WEIR_F32 ? (double)(float)right : right,
				    (u->ulps + more) * ulp(t, right)))
				continue;
			print_error("%s %s: f(%.17g) = %.17g, not %.17g\n", u->name, weir_dtype_name(t), weir_get(x, i),
				    got, right);
			fail();
		}
		weir_tape_reset(w);
	}
	close_clean(w);
}

static weir_tensor *call_unary(weir_tensor *const *xs, int n, void *user)
{
	const unary *u = user;

	(void)n;
	return u->f(xs[0]);
}

static void unary_gradients(void **state)
{
	weir_ctx *w = open_quiet(true);

	(void)state;
	for (int k = 0; k < UNARIES; k++) {
		unary u = unaries[k];
		weir_tensor *x = numbers(w, WEIR_F64, SHAPE(3, 4), u.low, u.high, u.kink);

		if (u.flat) continue;
		if (u.f == clamp)
			assert_true(weir_write_f64(
				x, (const double[]){ -5, -4, -3, -2, -1.2, -1, 0.5, 1, 2, 2.2, 3, 4 }, 12));
		expect_gradients(u.name, call_unary, &u, &x, 1);
		weir_tape_reset(w);
	}
	close_clean(w);
}

/* Fused rule and rule agree in both types, and add up when x is used twice. */
static void unary_fused(void **state)
{
	weir_ctx *w = open_quiet(true);

	(void)state;
	for (int k = 0; k < 2 * UNARIES; k++) {
		const unary *u = &unaries[k / 2];
		weir_dtype t = k % 2 ? WEIR_F64 : WEIR_F32;
		weir_tensor *x = numbers(w, t, SHAPE(5, 13), u->low / 2, u->high / 2, u->kink);
		weir_tensor *y = u->f(x), *gy = numbers(w, t, SHAPE(5, 13), -2, 2, false), *one, *two;

		expect_fused(u->name, y, gy, &x, 1, 4, u->f == weir_gelu || u->f == weir_silu ? 2 : 0);
		assert_true(weir_vjp(y, gy, &x, 1, &one, 0));
		assert_true(weir_vjp(weir_add(u->f(x), u->f(x)), gy, &x, 1, &two, 0));
		expect_close(u->name, two, weir_add(one, one), 2);
		weir_tape_reset(w);
	}
	close_clean(w);
}

/* The same elements in other layouts give the same bits, forward and backward. */
static void unary_layouts(void **state)
{
	weir_ctx *w = open_quiet(false);

	(void)state;
	for (int k = 0; k < 2 * UNARIES; k++) {
		const unary *u = &unaries[k / 2];
		weir_dtype t = k % 2 ? WEIR_F64 : WEIR_F32;
		weir_tensor *x = numbers(w, t, SHAPE(6, 35), u->low, u->high, u->kink), *g, *gt;
		weir_tensor *y = weir_transpose(u->f(x), 0, 1), *yt = u->f(weir_transpose(x, 0, 1));

		expect_close(u->name, y, yt, 0);
		expect_close(u->name, weir_slice(u->f(x), 1, 1, 34, 3), u->f(weir_slice(x, 1, 1, 34, 3)), 0);
		expect_close(u->name, weir_expand(u->f(weir_slice(x, 0, 2, 3, 1)), SHAPE(4, 35)),
			     u->f(weir_expand(weir_slice(x, 0, 2, 3, 1), SHAPE(4, 35))), 0);
		expect_close(u->name, weir_slice(weir_reshape(u->f(x), SHAPE(210)), 0, 7, 8, 1),
			     u->f(weir_slice(weir_reshape(x, SHAPE(210)), 0, 7, 8, 1)), 0);
		assert_true(weir_grad(weir_sum_all(y), &x, 1, &g, 0));
		assert_true(weir_grad(weir_sum_all(yt), &x, 1, &gt, 0));
		expect_close(u->name, g, gt, 0);
		weir_tape_reset(w);
	}
	close_clean(w);
}

static void unary_empty_and_scalar(void **state)
{
	weir_ctx *w = open_quiet(false);

	(void)state;
	for (int k = 0; k < 2 * UNARIES; k++) {
		const unary *u = &unaries[k / 2];
		weir_dtype t = k % 2 ? WEIR_F64 : WEIR_F32;
		weir_tensor *none = weir_zeros(w, t, SHAPE(3, 0)), *one = weir_scalar(w, t, 0.75), *y = u->f(none), *g;

		expect_shape(y, SHAPE(3, 0));
		assert_true(weir_grad(weir_sum_all(y), &none, 1, &g, u->flat ? WEIR_ALLOW_UNUSED : 0));
		if (g) expect_shape(g, SHAPE(3, 0));
		y = u->f(one);
		assert_int_equal(weir_rank(y), 0);
		assert_true(weir_grad(y, &one, 1, &g, u->flat ? WEIR_ALLOW_UNUSED : 0));
		if (g) assert_int_equal(weir_rank(g), 0);
		assert_true(near_by(weir_item(y), u->reference(0.75), 4 * ulp(t, 1)));
		weir_tape_reset(w);
	}
	close_clean(w);
}

/* ---- two operands ---- */

#define REFERENCE_2(name, expr)                \
	static double name(double a, double b) \
	{                                      \
		return expr;                   \
	}
REFERENCE_2(r_add, a + b)
REFERENCE_2(r_sub, a - b)
REFERENCE_2(r_mul, a *b)
REFERENCE_2(r_div, a / b)

typedef struct binary {
	const char *name;
	weir_tensor *(*f)(weir_tensor *a, weir_tensor *b);
	double (*reference)(double a, double b);
} binary;

static const binary binaries[] = {
	{ "add", weir_add, r_add }, { "sub", weir_sub, r_sub },        { "mul", weir_mul, r_mul },
	{ "div", weir_div, r_div }, { "maximum", weir_maximum, fmax }, { "minimum", weir_minimum, fmin },
};
enum { BINARIES = sizeof binaries / sizeof *binaries };

static weir_tensor *call_binary(weir_tensor *const *xs, int n, void *user)
{
	const binary *f = user;

	(void)n;
	return f->f(xs[0], xs[1]);
}

static void binary_values(void **state)
{
	weir_ctx *w = open_quiet(true);

	(void)state;
	for (int k = 0; k < 2 * BINARIES; k++) {
		const binary *f = &binaries[k / 2];
		weir_dtype t = k % 2 ? WEIR_F64 : WEIR_F32;
		weir_tensor *a = numbers(w, t, SHAPE(5, 3, 7), -4, 4, true),
			    *b = numbers(w, t, SHAPE(3, 1), -4, 4, true), *y = f->f(a, b);

		expect_shape(y, SHAPE(5, 3, 7));
		for (int64_t i = 0; i < weir_numel(y); i++) {
			double right = f->reference(weir_get(a, i), weir_get(b, i / 7 % 3));

			assert_true(weir_get(y, i) == (t == WEIR_F32 ? (double)(float)right : right));
		}
		/* both repeat */
		y = f->f(weir_slice(a, 1, 0, 1, 1), weir_expand(b, SHAPE(1, 3, 1)));
		expect_shape(y, SHAPE(5, 3, 7));
		/* the other way round, a number, nothing */
		expect_close(f->name, f->f(weir_scalar(w, t, 2), b), f->f(weir_full(w, t, SHAPE(3, 1), 2), b), 0);
		expect_shape(f->f(b, weir_zeros(w, t, SHAPE(4, 3, 0))), SHAPE(4, 3, 0));
		weir_tape_reset(w);
	}
	close_clean(w);
}

static void binary_gradients(void **state)
{
	weir_ctx *w = open_quiet(true);

	(void)state;
	for (int k = 0; k < BINARIES; k++) {
		binary f = binaries[k];
		weir_tensor *xs[2] = { numbers(w, WEIR_F64, SHAPE(2, 3, 2), 0.3, 3, false),
				       numbers(w, WEIR_F64, SHAPE(3, 1), -3, -0.3, false) };
		weir_tensor *nought[2] = { weir_zeros(w, WEIR_F64, SHAPE(0, 2)),
					   numbers(w, WEIR_F64, SHAPE(1, 2), 1, 2, false) },
			    *g[2];

		expect_gradients(f.name, call_binary, &f, xs, 2);
		assert_true(weir_grad(weir_sum_all(f.f(nought[0], nought[1])), nought, 2, g, 0));
		expect_values(g[1], 2, (const double[]){ 0, 0 });
		weir_tape_reset(w);
	}
	close_clean(w);
}

static void binary_fused(void **state)
{
	weir_ctx *w = open_quiet(true);

	(void)state;
	for (int k = 0; k < 2 * BINARIES; k++) {
		const binary *f = &binaries[k / 2];
		weir_dtype t = k % 2 ? WEIR_F64 : WEIR_F32;
		weir_tensor *xs[2] = { numbers(w, t, SHAPE(5, 9), -3, 3, true),
				       numbers(w, t, SHAPE(5, 9), -3, 3, true) };
		weir_tensor *gy = numbers(w, t, SHAPE(5, 9), -2, 2, false);

		expect_fused(f->name, f->f(xs[0], xs[1]), gy, xs, 2, 4, 0);
		weir_tape_reset(w);
	}
	close_clean(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unary_values),
		cmocka_unit_test(unary_gradients),
		cmocka_unit_test(unary_fused),
		cmocka_unit_test(unary_layouts),
		cmocka_unit_test(unary_empty_and_scalar),
		cmocka_unit_test(binary_values),
		cmocka_unit_test(binary_gradients),
		cmocka_unit_test(binary_fused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
