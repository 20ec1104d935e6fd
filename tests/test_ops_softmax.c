/* test_ops_softmax.c: softmax, log_softmax, cross_entropy, mse. */
#include "tests/ops_reference.h"
#include "kernels/threads.h"

typedef weir_tensor *along(weir_tensor *x, int axis);

static void reference(const double *x, int64_t n, int64_t step, double *p, double *log_p)
{
	long double m = x[0], s = 0;

	for (int64_t i = 1; i < n; i++) m = x[i * step] > m ? x[i * step] : m;
	for (int64_t i = 0; i < n; i++) s += expl(x[i * step] - m);
	for (int64_t i = 0; i < n; i++) {
		p[i * step] = (double)(expl(x[i * step] - m) / s);
		log_p[i * step] = (double)(x[i * step] - m - logl(s));
	}
}

/* x [3, 7, 5] in three layouts, along each axis. */
static weir_tensor *laid_out(weir_ctx *w, weir_dtype dtype, int layout)
{
	weir_tensor *x = draw(w, dtype, SHAPE(3, 7, 5), -4, 4);

	if (layout == 1) return weir_transpose(x, 0, 2);
	if (layout == 2) return weir_expand(weir_slice(x, 1, 0, 7, 2), SHAPE(2, 3, 4, 5));
	return x;
}

static void values(void **state)
{
	(void)state;
	for (int threads = 1; threads <= 3; threads += 2) {
		weir_ctx *w = open_ctx(true, threads);

		for (int k = 0; k < 2 * 3; k++) {
			weir_dtype dtype = k % 2 ? WEIR_F64 : WEIR_F32;
			weir_tensor *x = laid_out(w, dtype, k / 2);
			double *v = read_all(x), *p = read_all(x), *log_p = read_all(x),
			       eps = k % 2 ? 0x1p-52 : 0x1p-23;
			int64_t step = 1;

			for (int axis = weir_rank(x) - 1; axis >= 0; axis--) {
				int64_t n = weir_extent(x, axis);
				weir_tensor *y = weir_softmax(x, axis), *z = weir_log_softmax(x, axis - weir_rank(x));

				expect_shape(y, weir_rank(x), weir_shape(x));
				expect_shape(z, weir_rank(x), weir_shape(x));
				for (int64_t i = 0; i < weir_numel(x); i++)
					if (i / step % n == 0) reference(v + i, n, step, p + i, log_p + i);
				for (int64_t i = 0; i < weir_numel(x); i++) {
					if (fabs(weir_get(y, i) - p[i]) <= 2 * eps * p[i] &&
					    fabs(weir_get(z, i) - log_p[i]) <= 2 * eps * fabs(log_p[i]))
						continue;
					print_error(
						"axis %d, element %lld: softmax %.17g, want %.17g; log_softmax %.17g, want %.17g\n",
						axis, (long long)i, weir_get(y, i), p[i], weir_get(z, i), log_p[i]);
					fail();
				}
				step *= n;
			}
			free(v);
			free(p);
			free(log_p);
		}
		close_ctx(w);
	}
}

static void hard(void **state)
{
	static const double sizes[] = { 3e38, -3e38, 1e4, 0 };
	weir_ctx *w = open_ctx(true, 1);

	(void)state;
	for (int t = WEIR_F32; t <= WEIR_F64; t++) {
		weir_dtype dtype = (weir_dtype)t;
		weir_tensor *x, *y, *g;

		for (int k = 0; k < 4; k++) {
			x = vector(w, dtype, 4, VALUES(sizes[k], sizes[k], sizes[k], sizes[k]));
			expect_near(weir_softmax(x, 0), 4, VALUES(.25, .25, .25, .25), 0);
			expect_near(weir_log_softmax(x, 0), 4, VALUES(-log(4), -log(4), -log(4), -log(4)), 1e-7);
			x = weir_reshape(x, SHAPE(1, 4));
			y = weir_cross_entropy(x, weir_zeros(w, WEIR_I32, SHAPE(1)));
			expect_near(y, 1, VALUES(log(4)), 1e-7);
			for (unsigned flags = 0; flags <= WEIR_CREATE_GRAPH; flags += WEIR_CREATE_GRAPH) {
				assert_true(weir_grad(y, &x, 1, &g, flags));
				expect_near(g, 4, VALUES(-.75, .25, .25, .25), 0);
			}
		}
		/* the same to the last bit when 10^4 is added to all: these are exact in f32 */
		expect_same_bits(weir_softmax(vector(w, dtype, 3, VALUES(1, 2.5, -3)), 0),
				 weir_softmax(vector(w, dtype, 3, VALUES(10001, 10002.5, 9997)), 0));
		expect_same_bits(weir_log_softmax(vector(w, dtype, 3, VALUES(1, 2.5, -3)), 0),
				 weir_log_softmax(vector(w, dtype, 3, VALUES(-9999, -9997.5, -10003)), 0));
		expect_near(weir_softmax(vector(w, dtype, 3, VALUES(-3e38, 3e38, 0)), 0), 3, VALUES(0, 1, 0), 0);
		expect_near(weir_log_softmax(vector(w, dtype, 2, VALUES(-1000, 1000)), 0), 2, VALUES(-2000, 0), 0);
		/* a small loss keeps its digits */
		x = make(w, dtype, SHAPE(1, 2), VALUES(0, 40));
		y = weir_cross_entropy(x, make(w, WEIR_I64, SHAPE(1), VALUES(1)));
		expect_near(y, 1, VALUES(exp(-40)), 1e-24);
		for (unsigned flags = 0; flags <= WEIR_CREATE_GRAPH; flags += WEIR_CREATE_GRAPH) {
			assert_true(weir_grad(y, &x, 1, &g, flags));
			expect_near(g, 2, VALUES(exp(-40), -exp(-40)), 1e-24);
		}
	}
	close_ctx(w);
}

/* Entries and rows of -inf, forward and both ways of the gradient; a weighted sum, because the plain one is constant. */
static void infinities(void **state)
{
	weir_ctx *w = open_ctx(true, 1);
	double inf = INFINITY, e = exp(-1), s = 1 + e;

	(void)state;
	for (int t = WEIR_F32; t <= WEIR_F64; t++) {
		weir_dtype dtype = (weir_dtype)t;
		weir_tensor *x = make(w, dtype, SHAPE(2, 3), VALUES(-inf, -inf, -inf, 1, -inf, 0)), *g;
		weir_tensor *weight = make(w, dtype, SHAPE(2, 3), VALUES(1, 2, 3, 4, 5, 6));
		weir_tensor *y = weir_softmax(x, 1), *z = weir_log_softmax(x, 1);
		double slope = e / (s * s);

		expect_near(y, 6, VALUES(0, 0, 0, 1 / s, 0, e / s), 1e-7);
		expect_near(z, 6, VALUES(-inf, -inf, -inf, -log(s), -inf, -1 - log(s)), 1e-7);
		for (unsigned flags = 0; flags <= WEIR_CREATE_GRAPH; flags += WEIR_CREATE_GRAPH) {
			assert_true(weir_vjp(y, weight, &x, 1, &g, flags));
			expect_near(g, 6, VALUES(0, 0, 0, -2 * slope, 0, 2 * slope), 1e-6);
			assert_true(weir_vjp(z, weight, &x, 1, &g, flags));
			expect_near(g, 6, VALUES(0, 0, 0, 4 - 15 / s, 5, 6 - 15 * e / s), 1e-5);
			y = weir_cross_entropy(x, make(w, WEIR_I32, SHAPE(2), VALUES(1, 0)));
			assert_true(same(weir_item(y), inf)); /* of the empty row */
			assert_true(weir_grad(y, &x, 1, &g, flags));
			expect_near(g, 6, VALUES(0, 0, 0, (1 / s - 1) / 2, 0, e / s / 2), 1e-7);
			y = weir_softmax(x, 1);
		}
		x = make(w, dtype, SHAPE(1, 3), VALUES(0, -inf, 0)); /* the label's own logit is -inf */
		y = weir_cross_entropy(x, make(w, WEIR_I32, SHAPE(1), VALUES(1)));
		assert_true(same(weir_item(y), inf));
		assert_true(weir_grad(y, &x, 1, &g, 0));
		expect_near(g, 3, VALUES(.5, -1, .5), 0);
		assert_true(weir_grad(y, &x, 1, &g, WEIR_CREATE_GRAPH));
		expect_near(g, 3, VALUES(.5, -1, .5), 0);
		/* not hidden */
		expect_near(weir_softmax(vector(w, dtype, 2, VALUES(NAN, 1)), 0), 2, VALUES(NAN, NAN), 0);
		expect_near(weir_log_softmax(vector(w, dtype, 2, VALUES(inf, 1)), 0), 2, VALUES(NAN, NAN), 0);
	}
	close_ctx(w);
}

static void cross_entropy_values(void **state)
{
	enum { B = 37, C = 11 };
	weir_ctx *w = open_ctx(true, 2);

	(void)state;
	for (int k = 0; k < 8; k++) {
		weir_dtype dtype = k & 1 ? WEIR_F64 : WEIR_F32, lt = k & 2 ? WEIR_I64 : WEIR_I32;
		weir_tensor *x = k & 4 ? weir_transpose(draw(w, dtype, SHAPE(C, B), -5, 5), 0, 1)
				       : draw(w, dtype, SHAPE(B, C), -5, 5);
		weir_tensor *labels = weir_zeros(w, lt, SHAPE(k & 4 ? 3 * B : B)), *y, *g;
		double *v = read_all(x), p[C], log_p[C], want[B * C], sum = 0, eps = k & 1 ? 0x1p-52 : 0x1p-23,
		       label[3 * B];

		for (int i = 0; i < 3 * B; i++) label[i] = i % C;
		weir_write_f64(labels, label, weir_numel(labels));
		if (k & 4) labels = weir_slice(labels, 0, 0, 3 * B, 3);
		weir_read_f64(labels, label, B);
		for (int i = 0; i < B; i++) {
			reference(v + (ptrdiff_t)i * C, C, 1, p, log_p);
			sum -= log_p[(int)label[i]];
			for (int j = 0; j < C; j++) want[i * C + j] = (p[j] - (j == (int)label[i])) / B;
		}
		y = weir_cross_entropy(x, labels);
		expect_shape(y, 0, NULL);
		expect_near(y, 1, VALUES(sum / B), 4 * eps * sum / B);
		assert_true(weir_grad(y, &x, 1, &g, 0));
		expect_near(g, B * C, want, 4 * eps / B);
		free(v);
	}
	close_ctx(w);
}

/* ---- gradients ---- */

static weir_tensor *softmax(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	return weir_softmax(xs[0], *(int *)user);
}

static weir_tensor *log_softmax(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	return weir_log_softmax(xs[0], *(int *)user);
}

static weir_tensor *cross_entropy(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	return weir_cross_entropy(xs[0], user);
}

static weir_tensor *mse(weir_tensor *const *xs, int n, void *user)
{
	(void)user;
	return weir_mse(xs[0], n > 1 ? xs[1] : xs[0]);
}

static void gradients(void **state)
{
	weir_ctx *w = open_ctx(true, 1);
	weir_tensor *labels = make(w, WEIR_I64, SHAPE(5), VALUES(0, 2, 1, 2, 2)), *x, *xt[2];
	double size[3][24]; /* sums of magnitudes, |gy| being up to 1: of softmax, log_softmax, cross_entropy */

	(void)state;
	for (int i = 0; i < 24; i++) {
		size[0][i] = 2;
		size[1][i] = 5;
		size[2][i] = 2.0 / 5;
	}
	for (int axis = 0; axis < 3; axis++) {
		x = draw(w, WEIR_F64, SHAPE(2, 3, 4), -2, 2);
		expect_gradients(softmax, &axis, &x, 1, 2);
		expect_gradients(log_softmax, &axis, &x, 1, 2);
		for (int t = WEIR_F32; t <= WEIR_F64; t++) {
			x = draw(w, (weir_dtype)t, SHAPE(2, 3, 4), -2, 2);
			expect_fused_is_rule(softmax, &axis, &x, 1, 4, (double *[]){ size[0] });
			expect_fused_is_rule(log_softmax, &axis, &x, 1, 4, (double *[]){ size[1] });
		}
	}
	x = draw(w, WEIR_F64, SHAPE(5, 3), -2, 2);
	expect_gradients(cross_entropy, labels, &x, 1, 2);
	xt[0] = draw(w, WEIR_F64, SHAPE(2, 3), -2, 2);
	xt[1] = draw(w, WEIR_F64, SHAPE(2, 3), -2, 2);
	expect_gradients(mse, NULL, xt, 2, 2);
	for (int t = WEIR_F32; t <= WEIR_F64; t++) {
		x = draw(w, (weir_dtype)t, SHAPE(5, 3), -2, 2);
		expect_fused_is_rule(cross_entropy, labels, &x, 1, 4, (double *[]){ size[2] });
		xt[0] = weir_transpose(draw(w, (weir_dtype)t, SHAPE(3, 2), -2, 2), 0, 1);
		xt[1] = draw(w, (weir_dtype)t, SHAPE(2, 3), -2, 2);
		expect_fused_is_rule(mse, NULL, xt, 2, 4, NULL);
	}
	close_ctx(w);
}

static void mse_values(void **state)
{
	weir_ctx *w = open_ctx(true, 1);
	weir_tensor *x = draw(w, WEIR_F32, SHAPE(1), 0, 1), *g;

	(void)state;
	for (int t = WEIR_F32; t <= WEIR_F64; t++) {
		weir_tensor *a = make(w, (weir_dtype)t, SHAPE(2, 3), VALUES(1, 2, 3, 4, 5, 6)),
			    *b = make(w, (weir_dtype)t, SHAPE(3, 2), VALUES(1, 1, 1, 1, 1, 1));
		weir_tensor *y = weir_mse(a, weir_transpose(b, 0, 1)), *gs[2];

		expect_shape(y, 0, NULL);
		expect_near(y, 1, VALUES((0 + 1 + 4 + 9 + 16 + 25) / 6.0), 1e-6);
		assert_true(weir_grad(y, (weir_tensor *[]){ a, b }, 2, gs, 0));
		expect_near(gs[0], 6, VALUES(0, 1 / 3., 2 / 3., 1, 4 / 3., 5 / 3.), 1e-6);
		expect_near(gs[1], 6, VALUES(-0.0, -1, -1 / 3., -4 / 3., -2 / 3., -5 / 3.), 1e-6);
		expect_near(weir_mse(weir_scalar(w, (weir_dtype)t, 3), weir_scalar(w, (weir_dtype)t, 1)), 1, VALUES(4),
			    0);
	}
	expect_near(weir_mse(x, x), 1, VALUES(0), 0);
	assert_true(weir_grad(weir_mse(x, x), &x, 1, &g, 0));
	expect_near(g, 1, VALUES(0), 0);
	close_ctx(w);
}

/* No elements, one element. */
static void small_shapes(void **state)
{
	weir_ctx *w = open_ctx(false, 1);
	double nothing;
	weir_tensor *x = make(w, WEIR_F32, SHAPE(3, 0), &nothing), *g;

	(void)state;
	for (int axis = 0; axis < 2; axis++) {
		expect_shape(weir_softmax(x, axis), SHAPE(3, 0));
		assert_true(weir_grad(weir_sum_all(weir_log_softmax(x, axis)), &x, 1, &g, 0));
		expect_shape(g, SHAPE(3, 0));
	}
	expect_near(weir_softmax(vector(w, WEIR_F32, 1, VALUES(-7)), 0), 1, VALUES(1), 0);
	expect_near(weir_log_softmax(vector(w, WEIR_F64, 1, VALUES(70)), -1), 1, VALUES(0), 0);
	expect_near(weir_cross_entropy(make(w, WEIR_F32, SHAPE(1, 1), VALUES(5)), weir_zeros(w, WEIR_I32, SHAPE(1))), 1,
		    VALUES(0), 0);
	close_ctx(w);
}

static void errors(void **state)
{
	weir_ctx *w = open_ctx(false, 1);
	weir_tensor *x = weir_set_name(weir_zeros(w, WEIR_F32, SHAPE(3, 10)), "logits"),
		    *i = weir_zeros(w, WEIR_I32, SHAPE(3));
	weir_tensor *scalar = weir_scalar(w, WEIR_F32, 1);

	(void)state;
	expect_error(
		w, weir_cross_entropy(x, weir_set_name(make(w, WEIR_I64, SHAPE(3), VALUES(9, 10, 0)), "digits")),
		WEIR_ERR_INDEX,
		"weir_cross_entropy: label 1 is 10, but there are 10 classes: logits is [3, 10] f32 (logits), labels is [3] i64 (digits); "
		"labels must lie in 0 .. C-1");
	expect_error(
		w, weir_cross_entropy(x, make(w, WEIR_I32, SHAPE(3), VALUES(0, 0, -1))), WEIR_ERR_INDEX,
		"weir_cross_entropy: label 2 is -1, but there are 10 classes: logits is [3, 10] f32 (logits), labels is [3] i32; labels must "
		"lie in 0 .. C-1");
	expect_error(
		w, weir_cross_entropy(x, weir_zeros(w, WEIR_F32, SHAPE(3))), WEIR_ERR_DTYPE,
		"weir_cross_entropy: labels are not whole numbers: logits is [3, 10] f32 (logits), labels is [3] f32; labels must be i32 or "
		"i64");
	expect_error(
		w, weir_cross_entropy(i, i), WEIR_ERR_DTYPE,
		"weir_cross_entropy: logits are not numbers: logits is [3] i32, labels is [3] i32; logits must be f32 or f64");
	expect_error(
		w, weir_cross_entropy(x, weir_zeros(w, WEIR_I32, SHAPE(4))), WEIR_ERR_SHAPE,
		"weir_cross_entropy: shapes do not fit: logits is [3, 10] f32 (logits), labels is [4] i32; they must be [B, C] and [B]");
	expect_error(
		w, weir_cross_entropy(weir_zeros(w, WEIR_F32, SHAPE(0, 10)), weir_zeros(w, WEIR_I32, SHAPE(0))),
		WEIR_ERR_SHAPE,
		"weir_cross_entropy: the batch is empty: logits is [0, 10] f32, labels is [0] i32; a mean needs at least one element");
	expect_error(w, weir_softmax(x, 2), WEIR_ERR_AXIS,
		     "weir_softmax: axis 2 of [3, 10] f32 (logits): there are 2 axes, so it must lie in -2 .. 1");
	expect_error(w, weir_log_softmax(scalar, 0), WEIR_ERR_AXIS,
		     "weir_log_softmax: axis 0 of [] f32: there are 0 axes, so it must lie in 0 .. -1");
	expect_error(w, weir_softmax(i, 0), WEIR_ERR_DTYPE,
		     "weir_softmax: operand 0 is [3] i32; it takes f32 or f64; weir_cast() converts");
	expect_error(w, weir_softmax(weir_zeros(w, WEIR_I32, SHAPE(3, 2)), 0), WEIR_ERR_DTYPE,
		     "weir_softmax: operand 0 is [2, 3] i32; it takes f32 or f64; weir_cast() converts");
	expect_error(w, weir_mse(x, scalar), WEIR_ERR_SHAPE,
		     "weir_mse: shapes differ: operand 0 is [3, 10] f32 (logits), operand 1 is [] f32");
	expect_error(w, weir_mse(weir_zeros(w, WEIR_F32, SHAPE(0)), weir_zeros(w, WEIR_F32, SHAPE(0))), WEIR_ERR_SHAPE,
		     "weir_mse: there is nothing to take the mean of: x is [0] f32; a mean needs at least one element");
	close_ctx(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),       cmocka_unit_test(hard),
		cmocka_unit_test(infinities),   cmocka_unit_test(cross_entropy_values),
		cmocka_unit_test(gradients),    cmocka_unit_test(mse_values),
		cmocka_unit_test(small_shapes), cmocka_unit_test(errors),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
