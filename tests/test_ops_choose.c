/* test_ops_choose.c: where, the comparisons, cast and detach: operations with operands or results of other types,
 * or without gradient. */
#include "tests/ops_check.h"

static weir_tensor *call_where(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	return weir_where(user, xs[0], xs[1]);
}

static void choosing(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *c = weir_from(w, WEIR_U8, SHAPE(2, 1), (const uint8_t[]){ 1, 0 }), *y, *kept;
	weir_tensor *xs[2] = { numbers(w, WEIR_F64, SHAPE(2, 3), -2, 2, false),
			       numbers(w, WEIR_F64, SHAPE(3), -2, 2, false) };

	(void)state;
	y = weir_where(c, xs[0], xs[1]);
	expect_shape(y, SHAPE(2, 3));
	for (int64_t i = 0; i < 6; i++)
		assert_true(weir_get(y, i) == (i < 3 ? weir_get(xs[0], i) : weir_get(xs[1], i - 3)));
	kept = weir_keep(c);
	expect_gradients("where", call_where, kept, xs, 2);
	expect_fused("where", y, numbers(w, WEIR_F64, SHAPE(2, 3), -1, 1, false), xs, 2, 0, 0);
	expect_shape(weir_where(c, weir_zeros(w, WEIR_F32, SHAPE(2, 0)), weir_scalar(w, WEIR_F32, 1)), SHAPE(2, 0));
	/* what is not chosen does not matter */
	y = weir_where(c, weir_from(w, WEIR_F32, SHAPE(2, 1), (const float[]){ 1, NAN }),
		       weir_from(w, WEIR_F32, SHAPE(2, 1), (const float[]){ INFINITY, 2 }));
	expect_values(y, 2, (const double[]){ 1, 2 });
	close_clean(w);
}

static void comparisons(void **state)
{
	weir_ctx *w = open_quiet(true);
	static const struct {
		const char *name;
		weir_tensor *(*f)(weir_tensor *a, weir_tensor *b);
		double right[6];
	} table[] = {
		{ "eq", weir_eq, { 0, 1, 0, 1, 0, 0 } }, { "ne", weir_ne, { 1, 0, 1, 0, 1, 1 } },
		{ "lt", weir_lt, { 1, 0, 0, 0, 0, 0 } }, { "le", weir_le, { 1, 1, 0, 1, 0, 0 } },
		{ "gt", weir_gt, { 0, 0, 1, 0, 0, 0 } }, { "ge", weir_ge, { 0, 1, 1, 1, 0, 0 } },
	};

	(void)state;
	for (int k = 0; k < 12; k++) {
		weir_dtype t = k % 2 ? WEIR_F64 : WEIR_F32;
		weir_tensor *a = weir_zeros(w, t, SHAPE(6)), *b = weir_zeros(w, t, SHAPE(6)), *y, *g;

		weir_write_f64(a, (const double[]){ 1, 2, 3, 0.0, NAN, NAN }, 6);
		weir_write_f64(b, (const double[]){ 2, 2, 2, -0.0, 1, NAN }, 6);
		y = table[k / 2].f(a, b);
		assert_int_equal(weir_dtype_of(y), WEIR_U8);
		expect_values(y, 6, table[k / 2].right);
		expect_shape(table[k / 2].f(weir_zeros(w, t, SHAPE(3, 1)), weir_zeros(w, t, SHAPE(2))), SHAPE(3, 2));
		/* no gradient passes, and none is invented */
		y = weir_sum_all(weir_cast(y, t));
		assert_false(weir_grad(y, &a, 1, &g, 0));
		expect_error(w, WEIR_ERR_GRADIENT, "weir_grad", NULL);
		assert_true(weir_grad(y, &a, 1, &g, WEIR_ALLOW_UNUSED) && !g);
		weir_tape_reset(w);
	}
	close_clean(w);
}

static weir_tensor *call_cast(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	(void)user;
	return weir_cast(weir_square(xs[0]), WEIR_F64);
}

static void casting(void **state)
{
	weir_ctx *w = open_quiet(true);
	const double v[] = { 0, 1.9, -1.9, 3e9, -3e9, 1e20, -1e20, NAN, INFINITY, -INFINITY };
	weir_tensor *x = weir_zeros(w, WEIR_F64, SHAPE(10)), *y, *g;

	(void)state;
	weir_write_f64(x, v, 10);
	expect_values(
		weir_cast(x, WEIR_I32), 10,
		(const double[]){ 0, 1, -1, INT32_MAX, INT32_MIN, INT32_MAX, INT32_MIN, 0, INT32_MAX, INT32_MIN });
	expect_values(weir_cast(x, WEIR_I64), 10,
		      (const double[]){ 0, 1, -1, 3e9, -3e9, 0x1p63, -0x1p63, 0, 0x1p63, -0x1p63 });
	expect_values(weir_cast(x, WEIR_U8), 10, (const double[]){ 0, 1, 0, 255, 0, 255, 0, 0, 255, 0 });
	expect_values(weir_cast(weir_slice(weir_cast(x, WEIR_U8), 0, 0, 4, 1), WEIR_F32), 4,
		      (const double[]){ 0, 1, 0, 255 });
	close_clean(w);
	w = open_quiet(true);
	x = numbers(w, WEIR_F64, SHAPE(2, 3), -2, 2, false);
	expect_gradients("cast", call_cast, NULL, &x, 1);
	/* the gradient has the type of the operand */
	y = weir_cast(weir_square(x), WEIR_F32);
	assert_true(weir_grad(weir_sum_all(y), &x, 1, &g, 0));
	assert_int_equal(weir_dtype_of(g), WEIR_F64);
	expect_close("cast", g, weir_affine(x, 2, 0), 0);
	/* through an integer there is none */
	y = weir_cast(weir_cast(x, WEIR_I32), WEIR_F64);
	assert_false(weir_grad(weir_sum_all(y), &x, 1, &g, 0));
	expect_error(w, WEIR_ERR_GRADIENT, NULL);
	/* strided */
	expect_close("cast", weir_transpose(weir_cast(x, WEIR_F32), 0, 1), weir_cast(weir_transpose(x, 0, 1), WEIR_F32),
		     0);
	weir_cast(x, (weir_dtype)17);
	expect_error(w, WEIR_ERR_DTYPE, "weir_cast", "17", NULL);
	close_clean(w);
}

static void detaching(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = numbers(w, WEIR_F64, SHAPE(2, 3), 1, 2, false), *y = weir_mul(x, weir_detach(x)), *g, *gg;

	(void)state;
	assert_true(weir_data(weir_detach(x)) == weir_data(x));
	expect_close("detach", weir_detach(weir_transpose(x, 0, 1)), weir_transpose(x, 0, 1), 0);
	assert_true(weir_grad(weir_sum_all(y), &x, 1, &g, WEIR_CREATE_GRAPH));
	expect_close("detach", g, x, 0);
	assert_true(weir_grad(weir_sum_all(g), &x, 1, &gg, WEIR_ALLOW_UNUSED));
	assert_null(gg);
	expect_values(weir_detach(weir_from(w, WEIR_I32, SHAPE(2), (const int32_t[]){ 4, 5 })), 2,
		      (const double[]){ 4, 5 });
	close_clean(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(choosing),
		cmocka_unit_test(comparisons),
		cmocka_unit_test(casting),
		cmocka_unit_test(detaching),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
