/* test_theorems_training.c: what clipping, softmax and the L2 penalty must do, exactly. Each test stands under its statement and that
 * statement's source. */
#include "tests/theorem_check.h"

/* Both layers' gradients as one vector, in f64. */
static void read_gradients(weir_module *net, double *v)
{
	for (int64_t i = 0; i < weir_module_parameter_count(net); i++) {
		const weir_tensor *g = weir_grad_of(weir_module_parameter(net, i));

		assert_true(weir_read_f64(g, v, weir_numel(g)));
		v += weir_numel(g);
	}
}

static double length(const double *v, int n)
{
	double sum = 0;

	for (int i = 0; i < n; i++) sum += v[i] * v[i];
	return sqrt(sum);
}

/* Pascanu, Mikolov and Bengio 2013: clipping by the norm makes g' = g · min(1, c / ‖g‖): ‖g'‖ = min(‖g‖, c), the direction stays. */
static void clipping(void **state)
{
	enum { N = 10, ALL = 2 * N * N };

	(void)state;
	for (int i = 0; i < 4; i++) {
		weir_dtype dtype = i % 2 ? WEIR_F64 : WEIR_F32;
		double before[ALL], after[ALL], norm, limit, shrink, precision = i % 2 ? 1e-12 : 1e-6;
		weir_ctx *w = open_ieee(dtype);
		weir_module *net = chain(w, 2, N, WEIR_INIT_HE, 1);
		weir_tensor *x = weir_normal(w, dtype, 2, (int64_t[]){ 3, N }, 0, 1);

		weir_backward(weir_mean_all(weir_square(through(net, x, WEIR_ACT_TANH, NULL))));
		read_gradients(net, before);
		norm = length(before, ALL);
		limit = i / 2 ? 2 * norm : norm / 7;
		shrink = i / 2 ? 1 : 1.0 / 7;
		relative("the norm that clipping returns", weir_clip_norm(net, limit), norm, precision);
		read_gradients(net, after);
		relative("the norm behind clipping", length(after, ALL), fmin(norm, limit), precision);
		for (int k = 0; k < ALL; k++) relative("an entry", after[k], before[k] * shrink, precision);
		close_fine(w);
	}
}

/* Norms in f64: 100 entries of 1e20 have the norm 1e21, although the sum of their squares is beyond f32. */
static void clipping_beyond_the_type(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_module *net = chain(w, 1, 10, WEIR_INIT_DIAGONAL, 1);
	weir_flow *f = watch_all(w);
	weir_tensor *x = weir_full(w, WEIR_F32, 2, (int64_t[]){ 1, 10 }, 1e10);
	double g[100];

	(void)state;
	observe(f, weir_affine(weir_sum_all(weir_forward(net, x)), 1e10, 0)); /* dL/dW = 1e10 · 1e10 everywhere */
	relative("the report's |dL/dW|", weir_flow_layer_at(f, 0)->param_grad_norm, 1e21, 1e-6);
	relative("the report's norm of all gradients", weir_flow_summary_of(f)->param_grad_norm, 1e21, 1e-6);
	relative("the norm that clipping returns", weir_clip_norm(net, 1), 1e21, 1e-6);
	read_gradients(net, g);
	for (int k = 0; k < 100; k++) relative("an entry behind clipping to 1", g[k], 0.1, 1e-6);
	close_fine(w);
}

/* softmax(x + c) = softmax(x), for e^c cancels. The x are multiples of 1/512, so that x ± 1e4 is exact in f32: what is tested is softmax,
 * not the rounding of its input. */
static void softmax_shifts(void **state)
{
	enum { ROWS = 8, CLASSES = 10, ALL = ROWS * CLASSES };

	(void)state;
	for (int i = 0; i < 4; i++) {
		weir_dtype dtype = i % 2 ? WEIR_F64 : WEIR_F32;
		double v[ALL], shift = i / 2 ? -1e4 : 1e4;
		weir_ctx *w = open_ieee(dtype);
		weir_tensor *x = weir_zeros(w, dtype, 2, (int64_t[]){ ROWS, CLASSES }), *y, *p, *q, *lp, *lq, *gx, *gy;
		int32_t label[ROWS] = { 0, 9, 3, 4, 5, 1, 2, 8 };
		weir_tensor *labels = weir_from(w, WEIR_I32, 1, (int64_t[]){ ROWS }, label);

		for (int k = 0; k < ALL; k++) v[k] = rint(512 * 5 * noise(k, i)) / 512;
		assert_true(weir_write_f64(x, v, ALL));
		weir_retain_grad(x);
		y = weir_affine(x, 1, shift);
		for (int k = 0; k < ALL; k++) within("x + c in the type", weir_get(y, k), v[k] + shift, 0);
		p = weir_softmax(x, -1), q = weir_softmax(y, -1);
		lp = weir_log_softmax(x, -1), lq = weir_log_softmax(y, -1);
		assert_true(weir_grad(weir_cross_entropy(x, labels), &x, 1, &gx, 0));
		assert_true(weir_grad(weir_cross_entropy(y, labels), &y, 1, &gy, 0));
		for (int k = 0; k < ALL; k++) {
			relative("softmax of x + c", weir_get(q, k), weir_get(p, k), 1e-6);
			within("log softmax of x + c", weir_get(lq, k), weir_get(lp, k), 1e-6 * 10);
			within("gradient of the cross-entropy at x + c", weir_get(gy, k), weir_get(gx, k), 1e-6);
		}
		close_fine(w);
	}
}

/* n equal inputs give 1/n each, at the ends of the type, too, where e^c is far outside of it. */
static void softmax_of_equals(void **state)
{
	static const double c[2][4] = { { 3e38, -3e38, 88, 0 }, { 1.7e308, -1.7e308, 709, 0 } };

	(void)state;
	for (int i = 0; i < 2; i++) {
		for (int k = 0; k < 4; k++) {
			for (int64_t n = 1; n <= 1000; n *= 10) {
				weir_dtype dtype = i ? WEIR_F64 : WEIR_F32;
				weir_ctx *w = open_ieee(dtype);
				weir_tensor *x = weir_full(w, dtype, 1, &n, c[i][k]), *p = weir_softmax(x, 0),
					    *l = weir_log_softmax(x, 0);

				for (int64_t e = 0; e < n; e++) {
					relative("softmax", weir_get(p, e), 1 / (double)n, 1e-6);
					within("log softmax", weir_get(l, e), -log((double)n), 1e-6 * 7);
				}
				close_fine(w);
			}
		}
	}
}

/* ---- L2 ---- */

enum { SAMPLES = 40, D = 5 };

/* Solves a x = b by elimination with pivots; both are overwritten, b becomes x. */
static void solve(double a[D][D], double b[D])
{
	for (int k = 0; k < D; k++) {
		int best = k;

		for (int i = k; i < D; i++)
			if (fabs(a[i][k]) > fabs(a[best][k])) best = i;
		for (int j = 0; j < D; j++) {
			double t = a[k][j];

			a[k][j] = a[best][j];
			a[best][j] = t;
		}
		double t = b[k];

		b[k] = b[best];
		b[best] = t;
		for (int i = 0; i < D; i++) {
			double share = i == k ? 0 : a[i][k] / a[k][k];

			for (int j = 0; j < D; j++) a[i][j] -= share * a[k][j];
			b[i] -= share * b[k];
		}
	}
	for (int k = 0; k < D; k++) b[k] /= a[k][k];
}

/* The minimum of mean (Xw - y)² + ½ lambda ‖w‖²: w = (XᵀX + ½ n lambda I)⁻¹ Xᵀy. */
static void closed_form(const double *x, const double *y, double lambda, double *w)
{
	double a[D][D] = { { 0 } };

	for (int i = 0; i < D; i++) {
		w[i] = 0;
		a[i][i] = 0.5 * SAMPLES * lambda;
		for (int s = 0; s < SAMPLES; s++) {
			w[i] += x[s * D + i] * y[s];
			for (int j = 0; j < D; j++) a[i][j] += x[s * D + i] * x[s * D + j];
		}
	}
	solve(a, w);
}

/* Hoerl and Kennard 1970: ridge regression has a closed form; there the gradient of loss and penalty is 0, and gradient descent ends there,
 * with the penalty in the loss or as SGD's weight decay alike. */
static void ridge(void **state)
{
	static const double lambdas[] = { 0, 0.01, 0.3, 5 };

	(void)state;
	for (int i = 0; i < 8; i++) {
		double lambda = lambdas[i / 2], xs[SAMPLES * D], ys[SAMPLES], want[D];
		bool decay = i % 2;
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_module *net =
			weir_linear_with(w, D, 1, &(weir_linear_options){ .init = WEIR_INIT_HE, .init_scale = 1 });
		weir_tensor *weight = weir_module_parameter(net, 0);
		weir_sgd_options o;
		weir_optim *optim;

		for (int k = 0; k < SAMPLES * D; k++) xs[k] = 2 * noise(k, 1);
		for (int k = 0; k < SAMPLES; k++) ys[k] = 3 * xs[k * D] - xs[k * D + 3] + noise(k, 2);
		closed_form(xs, ys, lambda, want);
		weir_sgd_options_init(&o);
		o.lr = 0.1;
		o.weight_decay = decay ? lambda : 0;
		optim = weir_sgd_with(w, net, &o);
		for (int step = 0; step <= 1000; step++) {
			weir_tensor *x, *y, *loss;

			weir_tape_reset(w);
			if (step == 1000) assert_true(weir_write_f64(weight, want, D));
			x = weir_from(w, WEIR_F64, 2, (int64_t[]){ SAMPLES, D }, xs);
			y = weir_from(w, WEIR_F64, 2, (int64_t[]){ SAMPLES, 1 }, ys);
			loss = weir_mse(weir_forward(net, x), y);
			if (!decay || step == 1000) loss = weir_add(loss, weir_l2_penalty(net, lambda));
			weir_backward(loss);
			if (step < 1000) weir_optim_step(optim);
			for (int k = 0; k < D && step == 999; k++)
				within("weight after descent", weir_get(weight, k), want[k], 1e-10);
		}
		for (int k = 0; k < D; k++)
			within("gradient at the closed form", weir_get(weir_grad_of(weight), k), 0, 1e-10);
		close_fine(w);
	}
}

/* Weights under the penalty alone decay as (1 - lr lambda)^t, not as (1 - lambda)^t. That holds for plain SGD, and for decoupled decay
 * (Loshchilov and Hutter 2019), which shrinks by lr lambda whatever the gradient. A bias is not punished. */
static void decay(void **state)
{
	enum { N = 4, STEPS = 50, WAYS = 3 };
	static const double lr = 0.2, lambda = 0.1;

	(void)state;
	for (int way = 0; way < WAYS; way++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_module *net = weir_linear_new(w, N, N, WEIR_INIT_HE);
		weir_tensor *weight = weir_module_parameter(net, 0), *bias = weir_module_parameter(net, 1);
		weir_sgd_options o;
		weir_optim *optim;
		double start[N * N];

		assert_true(weir_read_f64(weight, start, N * N));
		assert_true(weir_write_f64(bias, start, N));
		weir_sgd_options_init(&o);
		o.lr = lr;
		o.weight_decay = way ? lambda : 0;
		o.decoupled = way == 2;
		optim = weir_sgd_with(w, net, &o);
		for (int t = 1; t <= STEPS; t++) {
			weir_tape_reset(w);
			if (way) set_gradient(weight, 0);
			else weir_backward(weir_l2_penalty(net, lambda));
			weir_optim_step(optim);
			for (int k = 0; k < N * N; k++)
				relative("weight", weir_get(weight, k), start[k] * pow(1 - lr * lambda, t), 1e-10);
		}
		for (int k = 0; k < N; k++) within("bias", weir_get(bias, k), start[k], 0);
		close_fine(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clipping),       cmocka_unit_test(clipping_beyond_the_type),
		cmocka_unit_test(softmax_shifts), cmocka_unit_test(softmax_of_equals),
		cmocka_unit_test(ridge),          cmocka_unit_test(decay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
