/* test_ops_linear.c: linear, linear_act, act_apply. Values and gradients are compared bit by bit with the stated order. */
#include "tests/ops_products.h"
#include "kernels/threads.h"

static weir_tensor *linear(weir_tensor *const *xs, int n, void *user)
{
	(void)user;
	return weir_linear(xs[0], xs[1], n > 2 ? xs[2] : NULL);
}

static void one_linear(weir_ctx *w, weir_dtype dtype, int lx, int lw, bool bias, int rank, const int64_t *shape,
		       int64_t out)
{
	int64_t in = shape[rank - 1], rows = 1;
	weir_tensor *x[3] = { rank > 1 ? draw_as(w, dtype, lx, rank, shape) : draw(w, dtype, rank, shape, -1, 1),
			      draw_as(w, dtype, lw, SHAPE(out, in)),
			      lx == SLICED ? weir_slice(draw(w, dtype, SHAPE(2 * out), -1, 1), 0, 0, 2 * out, 2)
					   : draw(w, dtype, SHAPE(out), -1, 1) };
	weir_tensor *y = linear(x, bias ? 3 : 2, NULL), *gy, *gx[3];
	double *vx = read_all(x[0]), *vw = read_all(x[1]), *vb = read_all(x[2]), *g, *want;
	int n = bias ? 3 : 2;

	for (int i = 0; i < rank - 1; i++) rows *= shape[i];
	assert_int_equal(weir_rank(y), rank);
	assert_int_equal(weir_extent(y, -1), out);
	assert_int_equal(weir_numel(y), rows * out);
	want = malloc(sizeof *want * (size_t)(rows * (in + out) + in * out + 1));
	chain(dtype, rows, out, in, vx, in, 1, vw, 1, in, want);
	for (int64_t i = 0; bias && i < rows * out; i++) {
		want[i] += vb[i % out];
		if (dtype == WEIR_F32) { /* the sum in f64 is exact, or near enough: rounded once */
			volatile float once = (float)want[i]; /* gcc 12 at -O3 loses a plain (double)(float) here */

			want[i] = (double)once;
		}
	}
	expect_bits(y, want);
	gy = draw(w, dtype, weir_rank(y), weir_shape(y), -1, 1);
	g = read_all(gy);
	for (unsigned flags = 0; flags <= WEIR_CREATE_GRAPH; flags += WEIR_CREATE_GRAPH) {
		assert_true(weir_vjp(y, gy, x, n, gx, flags));
		for (int i = 0; i < n; i++) expect_shape(gx[i], weir_rank(x[i]), weir_shape(x[i]));
		chain(dtype, rows, in, out, g, out, 1, vw, in, 1, want);
		expect_bits(gx[0], want);
		chain(dtype, out, in, rows, g, 1, out, vx, in, 1, want);
		expect_bits(gx[1], want);
		if (bias) expect_same_bits(gx[2], weir_sum(weir_reshape(gy, SHAPE(rows, out)), AXES(0), false));
	}
	free(vx);
	free(vw);
	free(vb);
	free(g);
	free(want);
}

static void linears(void **state)
{
	(void)state;
	for (int threads = 1; threads <= 3; threads += 2) {
		weir_ctx *w = open_ctx(true, threads);

		for (int l = 0; l < 2 * LAYOUTS * LAYOUTS; l++) {
			int lx = l / 2 / LAYOUTS, lw = l / 2 % LAYOUTS;

			for (int t = WEIR_F32; t <= WEIR_F64; t++) {
				one_linear(w, (weir_dtype)t, lx, lw, l % 2, SHAPE(7, 5), 4);
				one_linear(w, (weir_dtype)t, lx, lw, l % 2, SHAPE(33, 70), 18);
				one_linear(w, (weir_dtype)t, lx, lw, l % 2, SHAPE(2, 3, 5), 4);
				one_linear(w, (weir_dtype)t, lx, lw, l % 2, SHAPE(2, 2, 3, 5), 1);
				one_linear(w, (weir_dtype)t, lx, lw, l % 2, SHAPE(5), 3);
				one_linear(w, (weir_dtype)t, lx, lw, l % 2, SHAPE(1, 1), 1);
				one_linear(w, (weir_dtype)t, lx, lw, l % 2, SHAPE(0, 5), 3);
				one_linear(w, (weir_dtype)t, lx, lw, l % 2, SHAPE(4, 0), 3);
			}
			weir_tape_reset(w);
		}
		close_ctx(w);
	}
}

static void gradients(void **state)
{
	weir_ctx *w = open_ctx(true, 1);

	(void)state;
	for (int l = 0; l < LAYOUTS; l++) {
		weir_tensor *x[3] = { draw_as(w, WEIR_F64, l, SHAPE(2, 2, 3)),
				      draw_as(w, WEIR_F64, LAYOUTS - 1 - l, SHAPE(4, 3)),
				      draw(w, WEIR_F64, SHAPE(4), -1, 1) };

		expect_gradients(linear, NULL, x, 3, 2);
		expect_gradients(linear, NULL, x, 2, 2);
		expect_fused_is_rule(linear, NULL, x, 3, 4, NULL);
	}
	close_ctx(w);
}

/* A frozen operand gets no gradient, and those of the others are the same. */
static void frozen(void **state)
{
	weir_ctx *w = open_ctx(true, 1);
	weir_tensor *weight = weir_param_new(w, "weight", WEIR_F32, SHAPE(2, 3)),
		    *bias = weir_param_new(w, "bias", WEIR_F32, SHAPE(2));
	weir_tensor *x = draw(w, WEIR_F32, SHAPE(4, 3), -1, 1);

	(void)state;
	weir_freeze(weight, true);
	weir_backward(weir_sum_all(weir_linear(x, weight, bias)));
	assert_null(weir_grad_of(weight));
	expect_near(weir_grad_of(bias), 2, VALUES(4, 4), 0);
	weir_freeze(weight, false);
	weir_backward(weir_sum_all(weir_linear(x, weight, bias)));
	assert_non_null(weir_grad_of(weight));
	expect_near(weir_grad_of(bias), 2, VALUES(8, 8), 0);
	close_ctx(w);
}

static void errors(void **state)
{
	weir_ctx *w = open_ctx(false, 1);
	weir_tensor *x = weir_set_name(weir_zeros(w, WEIR_F32, SHAPE(64, 784)), "images"),
		    *scalar = weir_scalar(w, WEIR_F32, 1);
	weir_tensor *weight = weir_param_new(w, "fc2.weight", WEIR_F32, SHAPE(10, 512));
	weir_tensor *good = weir_param_new(w, "fc1.weight", WEIR_F32, SHAPE(10, 784)),
		    *bias = weir_param_new(w, "fc1.bias", WEIR_F32, SHAPE(784));

	(void)state;
	expect_error(
		w, weir_linear(x, weight, NULL), WEIR_ERR_SHAPE,
		"weir_linear: inner sizes differ: x is [64, 784] f32 (images), weight is [10, 512] f32 (fc2.weight); the last axis of x "
		"must equal the last axis of weight");
	expect_error(
		w, weir_linear(scalar, weight, NULL), WEIR_ERR_SHAPE,
		"weir_linear: inner sizes differ: x is [] f32, weight is [10, 512] f32 (fc2.weight); the last axis of x must equal the "
		"last axis of weight");
	expect_error(
		w, weir_linear(x, bias, NULL), WEIR_ERR_SHAPE,
		"weir_linear: weight is not a matrix: x is [64, 784] f32 (images), weight is [784] f32 (fc1.bias); weight must be [out, "
		"in]");
	expect_error(
		w, weir_linear(x, good, bias), WEIR_ERR_SHAPE,
		"weir_linear: outer sizes differ: weight is [10, 784] f32 (fc1.weight), bias is [784] f32 (fc1.bias); bias must be [out] "
		"where weight is [out, in]");
	expect_error(
		w, weir_linear(weir_cast(x, WEIR_F64), good, NULL), WEIR_ERR_DTYPE,
		"weir_linear: element types differ: operand 0 is [64, 784] f64, operand 1 is [10, 784] f32 (fc1.weight); weir_cast() converts");
	expect_error(w, weir_linear(x, NULL, NULL), WEIR_ERR_ARGUMENT, "weir_linear: operand 1 is NULL");
	expect_error(
		w, weir_linear_act(x, weight, NULL, WEIR_ACT_RELU), WEIR_ERR_SHAPE,
		"weir_linear_act: inner sizes differ: x is [64, 784] f32 (images), weight is [10, 512] f32 (fc2.weight); the last axis of "
		"x must equal the last axis of weight");
	expect_error(w, weir_linear_act(x, good, NULL, (weir_act)77), WEIR_ERR_ARGUMENT,
		     "weir_act_apply: 77 is no activation; see weir_act");
	close_ctx(w);
}

/* ---- activations ---- */

static weir_tensor *linear_act(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	return weir_linear_act(xs[0], xs[1], xs[2], *(weir_act *)user);
}

static void count(const weir_event *e, void *user)
{
	(void)e;
	++*(int *)user;
}

static void activations(void **state)
{
	static weir_tensor *(*const f[])(weir_tensor * x) = { NULL,      weir_sigmoid, weir_tanh,
							      weir_relu, weir_gelu,    weir_silu };
	weir_ctx *w = open_ctx(true, 1);
	int together = 0, apart = 0;

	(void)state;
	for (int act = WEIR_ACT_IDENTITY; act <= WEIR_ACT_SILU; act++) {
		for (int t = WEIR_F64; t >= WEIR_F32; t--) {
			weir_tensor *x[3] = { draw(w, (weir_dtype)t, SHAPE(5, 3), -1, 1),
					      draw(w, (weir_dtype)t, SHAPE(4, 3), -1, 1),
					      draw(w, (weir_dtype)t, SHAPE(4), -1, 1) };
			weir_hook *hook = weir_on_forward(w, count, &together, NULL);
			weir_tensor *y = linear_act(x, 3, &act), *gy = draw(w, (weir_dtype)t, SHAPE(5, 4), -1, 1), *z,
				    *g[3], *h[3];

			weir_hook_remove(hook);
			hook = weir_on_forward(w, count, &apart, NULL);
			z = weir_linear(x[0], x[1], x[2]);
			z = f[act] ? f[act](z) : z;
			weir_hook_remove(hook);
			assert_int_equal(together, apart); /* the same nodes, with their events */
			expect_same_bits(y, z);
			expect_same_bits(y, weir_act_apply(weir_linear(x[0], x[1], x[2]), (weir_act)act));
			assert_true(weir_vjp(y, gy, x, 3, g, 0));
			assert_true(weir_vjp(z, gy, x, 3, h, 0));
			for (int i = 0; i < 3; i++) expect_same_bits(g[i], h[i]);
			if (t == WEIR_F64) expect_gradients(linear_act, &act, x, 3, 2);
			weir_tape_reset(w);
		}
	}
	close_ctx(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(linears), cmocka_unit_test(gradients),   cmocka_unit_test(frozen),
		cmocka_unit_test(errors),  cmocka_unit_test(activations),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
