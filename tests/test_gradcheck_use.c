/* test_gradcheck_use.c: the gradient check passes what is right, leaves nothing behind, and knows its limits. */
#include "tests/ops_reference.h"

/* ---- what it leaves behind ---- */

static weir_tensor *product(weir_tensor *const *xs, int n, void *user)
{
	(void)n, (void)user;
	return weir_mul(weir_sigmoid(xs[0]), xs[1]);
}

static void leaves_nothing(void **state)
{
	weir_ctx *w = open_ctx(true, 1);
	weir_tensor *xs[2], *y;
	int64_t length;
	size_t values;
	double before[2][6], after[6];

	(void)state;
	xs[0] = weir_transpose(draw(w, WEIR_F64, SHAPE(3, 2), -1, 1), 0, 1);
	xs[1] = weir_param_new(w, "p", WEIR_F64, SHAPE(2, 3));
	weir_write_f64(xs[1], VALUES(0.1, -0.0, 1e-320, 3, 4, 5), 6);
	y = weir_sum_all(product(xs, 2, NULL));
	for (int i = 0; i < 2; i++) weir_read_f64(xs[i], before[i], 6);
	for (int full = 0; full < 2; full++) {
		weir_gradcheck_result r;

		length = weir_tape_length(w);
		values = weir_memory_of(w).values;
		r = check(product, NULL, xs, 2, 2, full);
		expect_result(&r, true, "right");
		assert_int_equal(weir_tape_length(w), length);
		assert_int_equal(weir_memory_of(w).values, values);
		assert_null(weir_grad_of(xs[1]));
		for (int i = 0; i < 2; i++) {
			weir_read_f64(xs[i], after, 6);
			assert_memory_equal(before[i], after, sizeof after);
		}
	}
	weir_backward(y); /* values that it needs count as unchanged */
	assert_non_null(weir_grad_of(xs[1]));
	close_ctx(w);
}

/* f may reach a kept tensor by another way than xs, as a module does. */
static weir_tensor *through_user(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	return weir_mul(xs[0], weir_exp(user));
}

static weir_tensor *with_labels(weir_tensor *const *xs, int n, void *user)
{
	(void)n, (void)user;
	return weir_cross_entropy(xs[1], xs[0]);
}

static weir_tensor *first_only(weir_tensor *const *xs, int n, void *user)
{
	(void)n, (void)user;
	return weir_exp(xs[0]);
}

static weir_tensor *same_tensor(weir_tensor *const *xs, int n, void *user)
{
	(void)n, (void)user;
	return xs[0];
}

static weir_tensor *plain_constant(weir_tensor *const *xs, int n, void *user)
{
	(void)n, (void)user;
	return weir_detach(xs[0]);
}

static void kinds_of_functions(void **state)
{
	weir_ctx *w = open_ctx(true, 1);
	weir_tensor *p = weir_param_new(w, "p", WEIR_F64, SHAPE(3)), *xs[2] = { draw(w, WEIR_F64, SHAPE(3), 1, 2), p };
	weir_gradcheck_result r;
	double nothing;

	(void)state;
	weir_write_f64(p, VALUES(0.5, -1, 2), 3);
	for (int full = 0; full < 2; full++) {
		r = check(through_user, p, xs, 2, 2, full);
		expect_result(&r, true, "right");
		xs[0] = make(w, WEIR_I32, SHAPE(2), VALUES(1, 0)); /* no derivative by whole numbers */
		xs[1] = draw(w, WEIR_F64, SHAPE(2, 3), -1, 1);
		r = check(with_labels, NULL, xs, 2, 2, full);
		expect_result(&r, true, "right");
		assert_int_equal(r.checked, full ? 6 + 6 * 7 : 3);
		xs[0] = make(w, WEIR_F64, 0, NULL, VALUES(0)); /* rank 0, value 0; the other unused */
		r = check(first_only, NULL, xs, 2, 2, full);
		expect_result(&r, true, "right");
		r = check(same_tensor, NULL, xs, 1, 2, full);
		expect_result(&r, true, "right");
		xs[0] = draw(w, WEIR_F64, SHAPE(3), 1, 2);
		xs[1] = p;
	}
	xs[0] = make(w, WEIR_F64, SHAPE(0, 2), &nothing);
	r = check(first_only, NULL, xs, 1, 2, true);
	expect_result(&r, true, "nothing to check");
	r = check(plain_constant, NULL, &p, 1, 1, true);
	expect_result(&r, false, "a dependence on x is lost");
	close_ctx(w);
}

/* ---- how the differences do ---- */

static weir_tensor *f_abs(weir_tensor *const *xs, int n, void *user)
{
	(void)n, (void)user;
	return weir_abs(xs[0]);
}

static weir_tensor *f_log(weir_tensor *const *xs, int n, void *user)
{
	(void)n, (void)user;
	return weir_log(xs[0]);
}

static weir_tensor *f_tanh(weir_tensor *const *xs, int n, void *user)
{
	(void)n, (void)user;
	return weir_tanh(xs[0]);
}

static void differences(void **state)
{
	weir_ctx *w = open_ctx(true, 1);
	weir_tensor *x = vector(w, WEIR_F64, 3, VALUES(1, -1, 1e-9));
	weir_gradcheck_options o;
	weir_gradcheck_result r = check(f_abs, NULL, &x, 1, 1, true);

	(void)state;
	expect_result(&r, false, "a kink or a jump");
	assert_int_equal(r.element, 2);
	/* not defined at the first steps: they are left out */
	x = vector(w, WEIR_F64, 2, VALUES(1e-3, 0.5));
	r = check(f_log, NULL, &x, 1, 2, true);
	expect_result(&r, true, "right");
	/* the worst error of an analytic function is far below the tolerance, and the estimate says so */
	x = draw(w, WEIR_F64, SHAPE(20), -2, 2);
	r = check(f_tanh, NULL, &x, 1, 2, true);
	expect_result(&r, true, "right");
	assert_true(r.worst < 1e-8);
	/* f32: fails at the default tolerance in words, passes at a fair one */
	x = draw(w, WEIR_F32, SHAPE(20), -2, 2);
	weir_gradcheck_options_init(&o);
	r = weir_gradcheck(f_tanh, NULL, &x, 1, &o);
	expect_result(&r, false, "f32");
	o.tolerance = 1e-2;
	o.step = 0.1;
	r = weir_gradcheck(f_tanh, NULL, &x, 1, &o);
	expect_result(&r, true, "right");
	/* not finite */
	x = vector(w, WEIR_F64, 1, VALUES(NAN));
	r = check(f_tanh, NULL, &x, 1, 1, true);
	expect_result(&r, false, "not finite");
	assert_true(isinf(r.worst));
	x = vector(w, WEIR_F64, 1, VALUES(-1));
	r = check(f_log, NULL, &x, 1, 1, true);
	expect_result(&r, false, "not finite");
	close_ctx(w);
}

/* ---- errors ---- */

static weir_tensor *fails(weir_tensor *const *xs, int n, void *user)
{
	(void)n, (void)user;
	return weir_matmul(xs[0], xs[0]);
}

static weir_tensor *integers(weir_tensor *const *xs, int n, void *user)
{
	(void)n, (void)user;
	return weir_argmax(xs[0], 0, false);
}

static weir_tensor *other_shape(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	return weir_slice(xs[0], 0, 0, 1 + (*(int *)user)++ % 2, 1);
}

static void errors(void **state)
{
	weir_ctx *w = open_ctx(true, 1), *other = open_ctx(true, 1);
	weir_tensor *x = vector(w, WEIR_F64, 2, VALUES(1, 2)), *xs[2] = { x, vector(other, WEIR_F64, 1, VALUES(1)) };
	weir_gradcheck_options o;
	weir_gradcheck_result r;
	int calls = 0;
	int64_t length = weir_tape_length(w);

	(void)state;
	r = check(fails, NULL, &x, 1, 1, true);
	expect_result(&r, false, "the check could not run: weir_matmul: a rank below 2");
	assert_true(isinf(r.worst));
	assert_int_equal(weir_tape_length(w), length);
	expect_error(
		w, NULL, WEIR_ERR_SHAPE,
		"weir_matmul: a rank below 2: a is [2] f64, b is [2] f64; make a matrix of a vector with weir_reshape()");
	r = check(integers, NULL, &x, 1, 1, true);
	expect_error(w, NULL, WEIR_ERR_ARGUMENT,
		     "weir_gradcheck: f must return f32 or f64, and always of the same shape");
	r = check(other_shape, &calls, &x, 1, 1, true);
	expect_error(w, NULL, WEIR_ERR_ARGUMENT,
		     "weir_gradcheck: f must return f32 or f64, and always of the same shape");
	r = check(NULL, NULL, &x, 1, 1, true);
	expect_error(w, NULL, WEIR_ERR_ARGUMENT, "weir_gradcheck: f and at least one tensor in xs are needed");
	r = check(f_tanh, NULL, &x, 1, 3, true);
	expect_error(w, NULL, WEIR_ERR_ARGUMENT, "weir_gradcheck: order is 3; it must be 1 or 2");
	r = check(product, NULL, xs, 2, 1, true);
	expect_error(w, NULL, WEIR_ERR_CONTEXT, "weir_gradcheck: xs[1] belongs to another context than xs[0]");
	weir_gradcheck_options_init(&o);
	o.tolerance = 0;
	r = weir_gradcheck(f_tanh, NULL, &x, 1, &o);
	expect_error(w, NULL, WEIR_ERR_ARGUMENT, "weir_gradcheck: step and tolerance must be above 0");
	r = check(f_tanh, NULL, NULL, 0, 1, true); /* no context to tell it to */
	assert_false(r.passed);
	weir_no_grad_begin(w);
	r = check(f_tanh, NULL, &x, 1, 1, true);
	weir_no_grad_end(w);
	assert_false(r.passed);
	assert_int_equal(weir_error(w), WEIR_ERR_GRADIENT);
	weir_clear_error(w);
	r = check(f_tanh, NULL, &x, 1, 2, true);
	expect_result(&r, true, "right");
	close_ctx(other);
	close_ctx(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaves_nothing),
		cmocka_unit_test(kinds_of_functions),
		cmocka_unit_test(differences),
		cmocka_unit_test(errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
