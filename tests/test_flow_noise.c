/* test_flow_noise.c: per-sample gradients against closed forms, and that measuring them leaves everything as it was. */
#include "tests/flow_check.h"

static weir_tensor *half_square(weir_ctx *w, weir_tensor *x, weir_tensor *y, void *user)
{
	(void)w;
	return weir_affine(weir_mse(weir_matmul(x, user), y), 0.5, 0);
}

/* Regression y = w*·x + s·e, x and e standard normal: at w the covariance of a sample's gradient has the trace
 * (d + 1)‖w - w*‖² + d s², and the gradient itself is w - w*. */
static void regression_theorem(void **state)
{
	enum { D = 8, SAMPLES = 300000 };
	static double x[SAMPLES * D], y[SAMPLES];
	const double s = 0.7;

	(void)state;
	for (int seed = 1; seed <= 2; seed++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_tensor *p = weir_param_new(w, "w", WEIR_F64, 2, (int64_t[]){ D, 1 });
		uint64_t stream = weir_random_stream(w), index = (uint64_t)seed << 32;
		weir_tensor *xs, *ys;
		weir_flow_noise n;
		double v[D], distance = 0;

		for (int i = 0; i < D; i++) {
			v[i] = seed == 1 ? noise(i, 1) : 0.1 * i;
			distance += v[i] * v[i]; /* w* = 0 */
		}
		weir_write_f64(p, v, D);
		for (int i = 0; i < SAMPLES * D; i++) x[i] = weir_random_normal(w, stream, index++);
		for (int i = 0; i < SAMPLES; i++) y[i] = s * weir_random_normal(w, stream, index++);
		xs = weir_from(w, WEIR_F64, 2, (int64_t[]){ SAMPLES, D }, x);
		ys = weir_from(w, WEIR_F64, 2, (int64_t[]){ SAMPLES, 1 }, y);
		assert_true(weir_flow_noise_of(w, xs, ys, half_square, p, &p, 1, NULL, &n));
		assert_int_equal(n.samples, SAMPLES);
		assert_near(n.variance / ((D + 1) * distance + D * s * s), 1, 0.02);
		assert_near(n.grad_norm / sqrt(distance), 1, 0.02);
		assert_near(n.noise_scale / ((D + 1) + D * s * s / distance), 1, 0.04);
		close_fine(w);
	}
}

enum { S = 40, IN = 5, HIDDEN = 7, OUT = 3 };

typedef struct model {
	weir_ctx *w;
	weir_module *net;
	weir_tensor *params[6], *x, *y;
	int hooks;
} model;

static model make(weir_dtype dtype)
{
	model m = { .w = open_ieee(dtype) };

	m.net = weir_list_new(m.w, "mlp");
	weir_list_add(m.net, weir_linear_new(m.w, IN, HIDDEN, WEIR_INIT_HE));
	weir_list_add(m.net, weir_linear_new(m.w, HIDDEN, OUT, WEIR_INIT_HE));
	for (int i = 0; i < 4; i++) m.params[i] = weir_module_parameter(m.net, i);
	m.x = weir_normal(m.w, dtype, 2, (int64_t[]){ S, IN }, 0, 1);
	m.y = weir_normal(m.w, dtype, 2, (int64_t[]){ S, OUT }, 0, 1);
	return m;
}

static weir_tensor *loss_of(weir_ctx *w, weir_tensor *x, weir_tensor *y, void *user)
{
	model *m = user;

	(void)w;
	x = weir_tanh(weir_forward(weir_list_at(m->net, 0), x));
	return weir_mse(weir_forward(weir_list_at(m->net, 1), x), y);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Every number from gradients that are taken one by one, and the mean gradient from the whole batch. */
static void numbers_by_hand(void **state)
{
	enum { P = IN * HIDDEN + HIDDEN + HIDDEN * OUT + OUT };
	static double g[S][P];
	model m = make(WEIR_F64);
	double norms[S], mean[P] = { 0 }, mean_square = 0, variance = 0, square = 0;
	weir_flow_noise n;

	(void)state;
	for (int k = 0; k < S; k++) {
		weir_tensor *gs[4];
		int at = 0;

		assert_true(
			weir_grad(loss_of(m.w, weir_slice(m.x, 0, k, k + 1, 1), weir_slice(m.y, 0, k, k + 1, 1), &m),
				  m.params, 4, gs, 0));
		for (int i = 0; i < 4; at += (int)weir_numel(gs[i++]))
			weir_read_f64(gs[i], g[k] + at, weir_numel(gs[i]));
		for (int i = 0; i < P; i++) mean[i] += g[k][i] / S;
	}
	assert_true(weir_flow_noise_of(m.w, m.x, m.y, loss_of, &m, m.params, 4, norms, &n));
	for (int k = 0; k < S; k++) {
		double sum = 0;

		for (int i = 0; i < P; i++) {
			sum += g[k][i] * g[k][i];
			variance += (g[k][i] - mean[i]) * (g[k][i] - mean[i]) / (S - 1);
		}
		assert_near(norms[k], sqrt(sum), 1e-12);
		mean_square += sum / S;
	}
	for (int i = 0; i < P; i++) square += mean[i] * mean[i];
	assert_near(n.grad_norm, sqrt(square), 1e-12);
	assert_near(n.mean_square, mean_square, 1e-12);
	assert_near(n.variance, variance, 1e-12);
	assert_near(n.variance, S / (S - 1.0) * (mean_square - square), 1e-12);
	assert_near(n.noise_scale, variance / (square - variance / S), 1e-10);
	qsort(norms, S, sizeof *norms, by_size);
	assert_near(n.norm_min, norms[0], 0);
	assert_near(n.norm_median, 0.5 * norms[S / 2 - 1] + 0.5 * norms[S / 2], 0);
	assert_near(n.norm_max, norms[S - 1], 0);
	close_fine(m.w);
}

static void count_event(const weir_event *e, void *user)
{
	(void)e;
	++*(int *)user;
}

static void leaves_no_trace(void **state)
{
	model m = make(WEIR_F32);
	weir_tensor *kept = weir_retain_grad(weir_affine(m.x, 2, 0)), *loss;
	weir_flow_noise n;
	double before[4], streams;
	weir_flow *f;

	(void)state;
	f = watch_all(m.w);
	loss = loss_of(m.w, kept, m.y, &m);
	weir_backward(loss);
	weir_on_forward(m.w, count_event, &m.hooks, NULL);
	weir_on_grad(m.w, count_event, &m.hooks, NULL);
	for (int i = 0; i < 4; i++) before[i] = norm_by_hand(weir_grad_of(m.params[i]));
	for (int k = 0; k < 2; k++) { /* also where it fails half-way */
		int64_t length = weir_tape_length(m.w);
		double retained = norm_by_hand(weir_grad_of(kept));

		streams = (double)weir_random_stream(m.w);
		if (k) {
			assert_false(weir_flow_noise_of(m.w, m.x, m.x, loss_of, &m, m.params, 4, NULL, &n));
			assert_error(m.w, WEIR_ERR_SHAPE, "weir_mse");
			assert_true(isnan(n.variance));
		} else {
			assert_true(weir_flow_noise_of(m.w, m.x, m.y, loss_of, &m, m.params, 4, NULL, &n));
		}
		assert_true((double)weir_random_stream(m.w) == streams + 1);
		assert_int_equal(weir_tape_length(m.w), length);
		assert_int_equal(m.hooks, 0);
		for (int i = 0; i < 4; i++) assert_near(norm_by_hand(weir_grad_of(m.params[i])), before[i], 0);
		assert_near(norm_by_hand(weir_grad_of(kept)), retained, 0);
	}
	assert_true(weir_flow_step(f, loss)); /* the tape is what it was */
	assert_int_equal(weir_flow_layer_count(f), 2);
	weir_relu(m.x);
	assert_int_equal(m.hooks, 1); /* hooks are called again */
	close_fine(m.w);
}

/* One sample has no variance; equal ones have none to speak of, and a signal; opposite ones have no signal. */
static void few_samples(void **state)
{
	model m = make(WEIR_F64);
	weir_tensor *x, *y;
	weir_flow_noise n;
	double v[2 * IN], t[2 * OUT];

	(void)state;
	x = weir_slice(m.x, 0, 3, 4, 1);
	y = weir_slice(m.y, 0, 3, 4, 1);
	assert_true(weir_flow_noise_of(m.w, x, y, loss_of, &m, m.params, 4, NULL, &n));
	assert_int_equal(n.samples, 1);
	assert_true(isnan(n.variance) && isnan(n.noise_scale));
	assert_true(n.norm_min == n.norm_max && n.norm_median == n.norm_min);
	assert_near(n.grad_norm, n.norm_min, 1e-15);
	for (int i = 0; i < 2 * IN; i++) v[i] = noise(i % IN, 2);
	for (int i = 0; i < 2 * OUT; i++) t[i] = 1e6;
	x = weir_from(m.w, WEIR_F64, 2, (int64_t[]){ 2, IN }, v);
	y = weir_from(m.w, WEIR_F64, 2, (int64_t[]){ 2, OUT }, t);
	assert_true(weir_flow_noise_of(m.w, x, y, loss_of, &m, m.params, 4, NULL, &n));
	assert_true(n.variance == 0 && n.noise_scale == 0 && n.grad_norm > 1e5);
	for (int i = 0; i < OUT; i++) t[i] = -1e6;
	weir_write_f64(y, t, 2 * OUT);
	assert_true(weir_flow_noise_of(m.w, x, y, loss_of, &m, m.params, 4, NULL, &n));
	assert_true(n.noise_scale == INFINITY);
	close_fine(m.w);
}

/* Parameters of both types, one that the loss does not use, gradients that a square in f32 would not hold, NaN. */
static void sizes(void **state)
{
	static const double factors[] = { 1e-30, 1, 1e30 };

	(void)state;
	for (int k = 0; k < 3; k++) {
		weir_ctx *w = open_ieee(WEIR_F32);
		weir_tensor *p[2] = { weir_param_new(w, "p", WEIR_F32, 2, (int64_t[]){ 1, 1 }),
				      weir_param_new(w, "unused", WEIR_F64, 1, (int64_t[]){ 3 }) };
		weir_tensor *x = weir_full(w, WEIR_F32, 2, (int64_t[]){ 4, 1 }, 1), *y;
		float t[] = { -1, -2, -3, (float)-4 };
		weir_flow_noise n;

		for (int i = 0; i < 4; i++) t[i] = (float)(t[i] * factors[k]);
		y = weir_from(w, WEIR_F32, 2, (int64_t[]){ 4, 1 }, t);
		assert_true(
			weir_flow_noise_of(w, x, y, half_square, p[0], p, 2, NULL, &n)); /* at 1e30 the loss is inf */
		assert_near(n.grad_norm / factors[k], 2.5, 1e-6);
		assert_near(n.variance / (factors[k] * factors[k]), 5.0 / 3, 1e-6);
		assert_near(n.norm_median / factors[k], 2.5, 1e-6);
		weir_write(y, (float[]){ 1, NAN, 2, 3 }, sizeof t);
		assert_true(weir_flow_noise_of(w, x, y, half_square, p[0], p, 2, NULL, &n));
		assert_true(isnan(n.grad_norm) && isnan(n.variance) && isnan(n.norm_min) && isnan(n.norm_max));
		close_fine(w);
	}
}

static weir_tensor *nothing(weir_ctx *w, weir_tensor *x, weir_tensor *y, void *user)
{
	(void)w, (void)x, (void)y, (void)user;
	return NULL;
}

static void errors(void **state)
{
	model m = make(WEIR_F64);
	weir_ctx *other = open_ieee(WEIR_F64);
	weir_tensor *label = weir_zeros(m.w, WEIR_I64, 1, (int64_t[]){ S });
	weir_tensor *none = weir_zeros(m.w, WEIR_F64, 2, (int64_t[]){ 0, IN });
	weir_flow_noise n;

	(void)state;
	assert_false(weir_flow_noise_of(m.w, NULL, m.y, loss_of, &m, m.params, 4, NULL, &n));
	assert_error(m.w, WEIR_ERR_ARGUMENT, "x is NULL");
	assert_false(weir_flow_noise_of(m.w, m.x, NULL, loss_of, &m, m.params, 4, NULL, &n));
	assert_error(m.w, WEIR_ERR_ARGUMENT, "y is NULL");
	assert_false(weir_flow_noise_of(m.w, m.x, m.y, NULL, &m, m.params, 4, NULL, &n));
	assert_error(m.w, WEIR_ERR_ARGUMENT, "loss is NULL");
	assert_false(weir_flow_noise_of(m.w, m.x, m.y, loss_of, &m, m.params, 0, NULL, &n));
	assert_error(m.w, WEIR_ERR_ARGUMENT, "no parameters");
	assert_false(weir_flow_noise_of(m.w, m.x, m.y, loss_of, &m, &label, 1, NULL, &n));
	assert_error(m.w, WEIR_ERR_ARGUMENT, "params[0] is i64");
	assert_false(weir_flow_noise_of(m.w, m.x, weir_slice(m.y, 0, 1, S, 1), loss_of, &m, m.params, 4, NULL, &n));
	assert_error(m.w, WEIR_ERR_SHAPE, "x has 40 samples, y 39");
	assert_false(weir_flow_noise_of(m.w, none, none, loss_of, &m, m.params, 4, NULL, &n));
	assert_error(m.w, WEIR_ERR_SHAPE, "x has 0 samples");
	assert_false(weir_flow_noise_of(m.w, m.x, m.y, nothing, &m, m.params, 4, NULL, &n));
	assert_error(m.w, WEIR_ERR_ARGUMENT, "returned NULL");
	assert_false(weir_flow_noise_of(other, m.x, m.y, loss_of, &m, m.params, 4, NULL, &n));
	assert_error(other, WEIR_ERR_CONTEXT, "another context");
	close_fine(other);
	close_fine(m.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regression_theorem),
		cmocka_unit_test(numbers_by_hand),
		cmocka_unit_test(leaves_no_trace),
		cmocka_unit_test(few_samples),
		cmocka_unit_test(sizes),
		cmocka_unit_test(errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
