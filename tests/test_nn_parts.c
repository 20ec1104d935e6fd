/* test_nn_parts.c: memory of a deep forward, residual, activations, layer normalisation, penalty, minibatches, the summary.
 * Long because it has a few cases of each of many small parts. */
#include "tests/nn_check.h"

static weir_tensor *vector_of(weir_ctx *w, const double *v, int64_t n)
{
	return weir_from(w, WEIR_F64, 1, &n, v);
}

static void test_residual(void **unused)
{
	weir_ctx *w = open_as(WEIR_F64, 1, 0);
	weir_module *half = weir_residual_new(w, weir_tanh_new(w), 0.5),
		    *plain = weir_residual_new(w, weir_relu_new(w), 1);
	weir_module *odd = weir_residual_new(w, weir_linear_new(w, 2, 1, WEIR_INIT_HE), 1);
	weir_tensor *x = vector_of(w, (double[]){ 0.25, -2 }, 2);

	(void)unused;
	assert_near(weir_get(weir_forward(half, x), 1), -2 + 0.5 * tanh(-2), 1e-15);
	assert_near(weir_get(weir_forward(plain, x), 0), 0.5, 0);
	assert_string_equal(weir_module_path(weir_module_at(half, 0)), "residual.branch");
	assert_fine(w);
	weir_forward(odd, x);
	assert_error(w, WEIR_ERR_SHAPE, "residual.branch gives [1] f64 for x [2] f64");
	assert_int_equal(weir_close(w), 0);
}

static void test_activations(void **unused)
{
	weir_ctx *w = open_as(WEIR_F64, 1, 0);
	weir_module *const m[] = { weir_sigmoid_new(w), weir_tanh_new(w), weir_relu_new(w),
				   weir_gelu_new(w),    weir_silu_new(w), weir_identity_new(w) };
	static const char *const kinds[] = { "sigmoid", "tanh", "relu", "gelu", "silu", "identity" };
	static const weir_act acts[] = { WEIR_ACT_SIGMOID, WEIR_ACT_TANH, WEIR_ACT_RELU,
					 WEIR_ACT_GELU,    WEIR_ACT_SILU, WEIR_ACT_IDENTITY };
	double v[] = { -1.5, 0.3 };
	weir_tensor *x = vector_of(w, v, 2);

	(void)unused;
	for (int i = 0; i < 6; i++) {
		double z = v[0], s = 1 / (1 + exp(-z));
		double want[] = { s, tanh(z), 0, z * 0.5 * erfc(-z / sqrt(2)), z * s, z };
		weir_linear_options o;
		weir_module *l;

		assert_string_equal(weir_module_type_of(m[i])->kind, kinds[i]);
		assert_near(weir_get(weir_forward(m[i], x), 0), want[i], 1e-15);
		/* the same behind a linear layer */
		weir_linear_options_init(&o);
		o.init = WEIR_INIT_DIAGONAL;
		o.act = acts[i];
		o.bias = false;
		l = weir_linear_with(w, 2, 2, &o);
		assert_int_equal(weir_module_parameter_count(l), 1);
		assert_near(weir_get(weir_forward(l, x), 0), want[i], 1e-15);
	}
	x = weir_forward(weir_softmax_new(w, -1), x);
	assert_near(weir_get(x, 0), 1 / (1 + exp(1.8)), 1e-15);
	assert_fine(w);
	assert_int_equal(weir_close(w), 0);
}

/* A thousand layers without gradients hold the values of a few. */
static void test_deep_memory(void **unused)
{
	enum { LAYERS = 1000, WIDTH = 64, BATCH = 32 };
	weir_ctx *w = open_as(WEIR_F32, 1, 0);
	weir_module *net = weir_sequential_new(w, "deep");
	size_t held, one = (size_t)WIDTH * BATCH * sizeof(float);
	double quiet[BATCH];
	weir_tensor *x, *y;

	(void)unused;
	for (int i = 0; i < LAYERS; i++) {
		weir_linear_options o;

		weir_linear_options_init(&o);
		o.init = WEIR_INIT_ORTHOGONAL;
		if (i > 2) o.init = WEIR_INIT_DIAGONAL; /* orthogonal too, and quick */
		weir_list_add(net, weir_linear_with(w, WIDTH, WIDTH, &o));
		weir_list_add(net, weir_tanh_new(w));
	}
	x = weir_normal(w, WEIR_F32, 2, (int64_t[]){ BATCH, WIDTH }, 0, 1);
	weir_no_grad_begin(w);
	held = weir_memory_of(w).values;
	weir_memory_mark_peak(w);
	y = weir_forward(net, x);
	weir_no_grad_end(w);
	assert_fine(w);
	if (weir_memory_of(w).values_peak > held + 5 * one)
		fail_msg("peak %zu bytes above, one layer is %zu", weir_memory_of(w).values_peak - held, one);
	if (weir_memory_of(w).values > held + one) fail_msg("left %zu bytes", weir_memory_of(w).values - held);
	assert_true(weir_tape_length(w) < 10);
	for (int i = 0; i < BATCH; i++) quiet[i] = weir_get(y, i * WIDTH);
	y = weir_forward(net, x);
	for (int i = 0; i < BATCH; i++) assert_true(quiet[i] == weir_get(y, i * WIDTH));
	assert_int_equal(weir_close(w), 0);
}

/* ---- layer normalisation --------------------------------------------------------------------------------------------- */

static void norm_row(const double *x, int n, double eps, double *y)
{
	long double mean = 0, var = 0;

	for (int i = 0; i < n; i++) mean += (long double)x[i] / n;
	for (int i = 0; i < n; i++) var += (x[i] - mean) * (x[i] - mean) / n;
	for (int i = 0; i < n; i++) y[i] = (double)((x[i] - mean) / sqrtl(var + (long double)eps));
}

static void test_layer_norm_hard(void **unused)
{
	static const double rows[][4] = {
		{ 1e20, -1e20, 1e20, -1e20 },
		{ 3e38, -3e38, 3e38, -3e38 },
		{ 3e38, 3e38, 3e38, -3e38 },
		{ 1e6, 1e6 + 1, 1e6 + 2, 1e6 + 3 },
		{ 1e7, 1e7 + 1, 1e7 + 2, 1e7 + 4 },
		{ 5, 5, 5, 5 },
		{ 1e20, 1e20, 1e20, 1e20 },
		{ 0, 0, 0, 0 },
		{ 1e-3, 2e-3, -1e-3, 0 },
		{ 1e-20, 2e-20, -1e-20, 0 },
		{ 1, 2, 3, 1e30 },
	};
	enum { ROWS = sizeof(rows) / sizeof(*rows) };

	(void)unused;
	for (int f64 = 0; f64 < 2; f64++) {
		weir_ctx *w = f64 ? open_as(WEIR_F64, 1, 0) : open_as(WEIR_F32, 1, 0);
		weir_module *m = weir_layer_norm_new(w, 4, 1e-5);
		weir_tensor *x = weir_zeros(w, f64 ? WEIR_F64 : WEIR_F32, 2, (int64_t[]){ ROWS, 4 }), *y, *g;

		weir_write_f64(x, &rows[0][0], ROWS * 4);
		y = weir_forward(m, x);
		assert_true(weir_grad(weir_sum_all(weir_mul(y, weir_sigmoid(y))), &x, 1, &g, 0));
		assert_fine(w);
		for (int r = 0; r < ROWS; r++) {
			double want[4], in[4];

			for (int i = 0; i < 4; i++) in[i] = f64 ? rows[r][i] : (double)(float)rows[r][i];
			norm_row(in, 4, 1e-5, want);
			for (int i = 0; i < 4; i++) {
				double got = weir_get(y, r * 4 + i), slope = weir_get(g, r * 4 + i);

				if (!(fabs(got - want[i]) <=
				      (f64 ? 1e-14 : 1e-6) * fabs(want[i]) + (f64 ? 1e-15 : 1e-12)) ||
				    !isfinite(slope))
					fail_msg("row %d, %s: got %.17g, want %.17g, slope %g", r, f64 ? "f64" : "f32",
						 got, want[i], slope);
			}
		}
		assert_int_equal(weir_close(w), 0);
	}
}

/* Recorded and unrecorded, gradients are the same where eps is nothing in f32: a row of equal entries then has an x̂ of 0 and a slope of
 * 1 / √eps, which f32 can't hold. */
static void test_layer_norm_small_eps(void **unused)
{
	static const double eps[] = { 1e-5, 1e-73, 1e-74, 1e-76, 1e-80, 1e-300 };
	enum { ROWS = 6, N = 4 };
	static const double x_rows[ROWS][N] = { { 5, 5, 5, 5 }, { 5, 5, 5, 5 },    { 0, 0, 0, 0 },
						{ 0, 0, 0, 0 }, { 1, 2, 3, 1e-3 }, { 1e-12, 2e-12, -1e-12, 0 } },
			    g_rows[ROWS][N] = { { 2, 2, 2, 2 },  { 1, -2, 3, 0.5 }, { 2, 2, 2, 2 },
						{ 1, 0, 0, -7 }, { 1, -2, 3, 0.5 }, { 1, -2, 3, 0.5 } };

	(void)unused;
	for (size_t k = 0; k < 2 * sizeof(eps) / sizeof(*eps); k++) {
		weir_dtype t = k % 2 ? WEIR_F64 : WEIR_F32;
		weir_ctx *w = open_as(t, 1, 0);
		weir_tensor *x = weir_zeros(w, t, 2, (int64_t[]){ ROWS, N }),
			    *gy = weir_zeros(w, t, 2, (int64_t[]){ ROWS, N }), *y, *got[2][3];
		weir_tensor *xs[] = { x, weir_full(w, t, 1, (int64_t[]){ N }, 1.5),
				      weir_zeros(w, t, 1, (int64_t[]){ N }) };

		weir_write_f64(x, &x_rows[0][0], ROWS * N);
		weir_write_f64(gy, &g_rows[0][0], ROWS * N);
		y = weir_layer_norm(x, xs[1], xs[2], eps[k / 2]);
		assert_true(weir_vjp(y, gy, xs, 3, got[0], 0));
		assert_true(weir_vjp(y, gy, xs, 3, got[1], WEIR_CREATE_GRAPH));
		for (int i = 0; i < 3; i++) {
			assert_int_equal(weir_dtype_of(got[1][i]), t);
			for (int64_t e = 0; e < weir_numel(got[0][i]); e++) {
				double a = weir_get(got[0][i], e), b = weir_get(got[1][i], e);

				if (!(a == b || fabs(a - b) <= (t == WEIR_F32 ? 1e-5 : 1e-13) * (fabs(a) + 1)))
					fail_msg("eps %g, %s, gradient %d, element %lld: %.9g, recorded %.9g",
						 eps[k / 2], t == WEIR_F32 ? "f32" : "f64", i, (long long)e, a, b);
			}
		}
		assert_true(
			weir_grad(weir_sum_all(weir_mul(got[1][1], got[1][1])), xs, 1, got[0], 0)); /* second order */
		assert_fine(w);
		assert_int_equal(weir_close(w), 0);
	}
}

static weir_tensor *norm_of(weir_tensor *const *xs, int n, void *m)
{
	weir_tensor *const given[] = { n > 1 ? xs[1] : NULL, n > 2 ? xs[2] : NULL };

	return weir_forward_with(m, given, 2, xs[0]);
}

static void test_layer_norm(void **unused)
{
	weir_ctx *w = open_as(WEIR_F64, 1, 0);
	weir_module *m = weir_layer_norm_new(w, 7, 1e-3);
	weir_tensor *xs[3], *y;
	double in[7], want[7];
	weir_gradcheck_options o;
	weir_gradcheck_result r;

	(void)unused;
	xs[0] = weir_normal(w, WEIR_F64, 3, (int64_t[]){ 2, 3, 7 }, 0.3, 2);
	xs[1] = weir_normal(w, WEIR_F64, 1, (int64_t[]){ 7 }, 1, 0.2);
	xs[2] = weir_normal(w, WEIR_F64, 1, (int64_t[]){ 7 }, 0, 0.2);
	y = norm_of(xs, 3, m);
	for (int i = 0; i < 7; i++) in[i] = weir_get(xs[0], 35 + i);
	norm_row(in, 7, 1e-3, want);
	for (int i = 0; i < 7; i++)
		assert_near(weir_get(y, 35 + i), want[i] * weir_get(xs[1], i) + weir_get(xs[2], i), 1e-14);
	for (int order = 1; order <= 2; order++) {
		weir_gradcheck_options_init(&o);
		o.order = order;
		o.full = true;
		r = weir_gradcheck(norm_of, m, xs, 3, &o);
		if (!r.passed)
			fail_msg("order %d: analytic %.12g, numeric %.12g (%s)", order, r.analytic, r.numeric,
				 r.advice);
	}
	assert_fine(w);
	weir_forward(m, weir_zeros(w, WEIR_F64, 2, (int64_t[]){ 7, 6 }));
	assert_error(w, WEIR_ERR_SHAPE, "weir_layer_norm: x is [7, 6] f64, weight is [7] f64 (layer_norm.weight)");
	weir_forward(m, weir_zeros(w, WEIR_F64, 0, NULL));
	assert_error(w, WEIR_ERR_SHAPE, "weir_layer_norm: x is []");
	y = weir_forward(m, weir_zeros(w, WEIR_F64, 2, (int64_t[]){ 0, 7 }));
	assert_int_equal(weir_numel(y), 0);
	assert_fine(w);
	assert_int_equal(weir_close(w), 0);
}

/* Rows that are not there: gradients of zero for what all rows share, by either way through the rule. */
static void test_layer_norm_empty(void **unused)
{
	static const int64_t none[] = { 0, 3 };
	weir_ctx *w = open_as(WEIR_F32, 1, 0);
	weir_tensor *x = weir_zeros(w, WEIR_F32, 2, none), *weight = weir_full(w, WEIR_F32, 1, none + 1, 2),
		    *bias = weir_zeros(w, WEIR_F32, 1, none + 1), *xs[] = { x, weight, bias }, *g[3],
		    *y = weir_layer_norm(x, weight, bias, 1e-5);

	(void)unused;
	for (int graph = 0; graph < 2; graph++) {
		assert_true(weir_vjp(y, x, xs, 3, g, graph ? WEIR_CREATE_GRAPH : 0));
		for (int i = 0; i < 3; i++) {
			assert_int_equal(weir_numel(g[i]), weir_numel(xs[i]));
			for (int64_t k = 0; k < weir_numel(g[i]); k++) assert_true(weir_get(g[i], k) == 0);
		}
	}
	assert_int_equal(weir_close(w), 0);
}

/* ---- penalty --------------------------------------------------------------------------------------------------------- */

static void test_penalty(void **unused)
{
	weir_ctx *w = open_as(WEIR_F64, 1, 0);
	weir_module *net = weir_list_new(w, "net");
	weir_tensor *weight, *p, *both[2];
	double sum = 0;

	(void)unused;
	assert_near(weir_item(weir_l2_penalty(net, 0.1)), 0, 0);
	weir_list_add(net, weir_linear_new(w, 3, 4, WEIR_INIT_HE));
	weir_list_add(net, weir_linear_new(w, 4, 2, WEIR_INIT_HE));
	weir_write_f64(weir_module_parameter(net, 1), (double[]){ 9, 9, 9, 9 }, 4); /* a bias does not count */
	for (int k = 0; k < 4; k += 2) {
		weight = weir_module_parameter(net, k);
		for (int64_t i = 0; i < weir_numel(weight); i++) sum += weir_get(weight, i) * weir_get(weight, i);
	}
	p = weir_l2_penalty(net, 0.3);
	assert_int_equal(weir_rank(p), 0);
	assert_near(weir_item(p), 0.15 * sum, 1e-15);
	weir_backward(p);
	weight = weir_module_parameter(net, 0);
	for (int64_t i = 0; i < 12; i++)
		assert_near(weir_get(weir_grad_of(weight), i), 0.3 * weir_get(weight, i), 1e-15);
	assert_null(weir_grad_of(weir_module_parameter(net, 1)));
	both[0] = weight;
	both[1] = weir_module_parameter(net, 1);
	sum = 0;
	for (int64_t i = 0; i < 12; i++) sum += weir_get(weight, i) * weir_get(weight, i);
	assert_near(weir_item(weir_l2_penalty_of(both, 2, 2)), sum + 4 * 81, 1e-14);
	weir_data_mut(weight, NULL);
	weir_write_f64(weir_module_parameter(net, 2), (double[8]){ INFINITY }, 8);
	assert_true(isinf(weir_item(weir_l2_penalty(net, 1e-3))));
	assert_near(weir_item(weir_l2_penalty(net, 0)), 0, 0);
	assert_fine(w);
	assert_true(weir_is_bad(weir_l2_penalty(net, -1)));
	assert_error(w, WEIR_ERR_ARGUMENT, "weir_l2_penalty: lambda is -1");
	weir_l2_penalty_of(both, 2, NAN);
	assert_error(w, WEIR_ERR_ARGUMENT, "lambda is nan");
	assert_int_equal(weir_close(w), 0);
}

/* The gradient of a minibatch is the mean of its samples' gradients, plus λW. */
static void test_minibatch(void **unused)
{
	enum { N = 23, IN = 5, HIDDEN = 6, CLASSES = 3 };
	static const int64_t batches[] = { 1, 7, N };
	const double lambda = 0.05;
	weir_ctx *w = open_as(WEIR_F64, 1, 0);
	weir_module *net = weir_sequential_new(w, "net");
	weir_tensor *x, *y, *p;
	int64_t labels[N];

	(void)unused;
	weir_list_add(net, weir_linear_new(w, IN, HIDDEN, WEIR_INIT_HE));
	weir_list_add(net, weir_tanh_new(w));
	weir_list_add(net, weir_linear_new(w, HIDDEN, CLASSES, WEIR_INIT_HE));
	x = weir_keep(weir_normal(w, WEIR_F64, 2, (int64_t[]){ N, IN }, 0, 1));
	for (int i = 0; i < N; i++) labels[i] = i * 7 % CLASSES;
	y = weir_keep(weir_from(w, WEIR_I64, 1, (int64_t[]){ N }, labels));
	for (int b = 0; b < 3; b++) {
		double sum[HIDDEN * IN + HIDDEN * CLASSES + HIDDEN + CLASSES] = { 0 };
		int at = 0;

		for (int64_t i = 0; i < batches[b]; i++) {
			weir_tape_reset(w);
			weir_backward(weir_cross_entropy(weir_forward(net, weir_slice(x, 0, i, i + 1, 1)),
							 weir_slice(y, 0, i, i + 1, 1)));
			at = 0;
			for (int k = 0; k < 4; k++) {
				p = weir_module_parameter(net, k);
				for (int64_t e = 0; e < weir_numel(p); e++) sum[at++] += weir_get(weir_grad_of(p), e);
				weir_zero_grad(p);
			}
		}
		weir_tape_reset(w);
		weir_backward(weir_add(weir_cross_entropy(weir_forward(net, weir_slice(x, 0, 0, batches[b], 1)),
							  weir_slice(y, 0, 0, batches[b], 1)),
				       weir_l2_penalty(net, lambda)));
		assert_fine(w);
		at = 0;
		for (int k = 0; k < 4; k++) {
			p = weir_module_parameter(net, k);
			for (int64_t e = 0; e < weir_numel(p); e++, at++)
				assert_near(weir_get(weir_grad_of(p), e),
					    sum[at] / (double)batches[b] +
						    (weir_rank(p) > 1 ? lambda * weir_get(p, e) : 0),
					    1e-12);
			weir_zero_grad(p);
		}
	}
	assert_int_equal(weir_close(w), 0);
}

/* ---- summary --------------------------------------------------------------------------------------------------------- */

static weir_tensor *noisy_forward(weir_module *m, weir_tensor *x)
{
	return weir_add(x, weir_uniform(weir_module_context(m), weir_dtype_of(x), weir_rank(x), weir_shape(x), 0, 1));
}

static const weir_module_type noisy_type = { .kind = "noisy", .forward = noisy_forward };

static void test_summary(void **unused)
{
	weir_ctx *w = open_as(WEIR_F32, 1, 0);
	weir_module *net = weir_sequential_new(w, "net"), *spare;
	char text[4096];
	size_t n;
	FILE *file = tmpfile();
	int64_t length;
	weir_tensor *x;
	uint64_t stream;

	(void)unused;
	weir_list_add(net, weir_linear_new(w, 64, 32, WEIR_INIT_HE));
	weir_list_add(net, weir_relu_new(w));
	weir_list_add(net, weir_residual_new(w, weir_linear_new(w, 32, 32, WEIR_INIT_HE), 0.25));
	weir_list_add(net, weir_layer_norm_new(w, 32, 1e-5));
	weir_list_add(net, weir_linear_new(w, 32, 2, WEIR_INIT_HE));
	spare = weir_list_new(w, NULL);
	weir_module_add(weir_module_at(net, 1), "spare", spare);
	x = weir_zeros(w, WEIR_F32, 0, NULL);
	length = weir_tape_length(w);
	assert_true(weir_summary(net, 2, (int64_t[]){ 8, 64 }, file));
	assert_int_equal(weir_tape_length(w), length);
	rewind(file);
	n = fread(text, 1, sizeof(text) - 1, file);
	text[n] = 0;
	static const char *const lines[] = {
		"layer         kind                               output   parameters  multiply-adds  activations\n",
		"net           sequential                         [8, 2]\n",
		"net.0         linear in=64, out=32               [8, 32]       2,080         16,384      1.0 KiB\n",
		"net.1         relu                               [8, 32]                                 1.0 KiB\n",
		"net.1.spare   list                               not run\n",
		"net.2         residual scale=0.25                [8, 32]  ",
		"net.2.branch  linear in=32, out=32               [8, 32]       1,056          8,192      1.0 KiB\n",
		"net.3         layer_norm features=32, eps=1e-05  [8, 32]          64  ",
		"net.4         linear in=32, out=2                [8, 2]           66            512         64 B\n",
		"input [8, 64]; 3,266 parameters, 25,088 multiply-adds forward\n",
		"memory: parameters 12.8 KiB, gradients 12.8 KiB, activations ",
		"; peak with SGD ",
		" KiB, momentum ",
		" KiB, Adam ",
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		if (!strstr(text, lines[i])) fail_msg("no \"%s\" in\n%s", lines[i], text);
	}
	fclose(file);

	/* random streams go on as if nothing had been asked, and what came before stays usable */
	weir_list_add(net, weir_module_new(w, &noisy_type, NULL, 0));
	stream = weir_random_stream(w);
	file = tmpfile();
	assert_true(weir_summary(net, 2, (int64_t[]){ 1, 64 }, file));
	fclose(file);
	assert_int_equal(weir_random_stream(w), stream + 1);
	assert_near(weir_item(x), 0, 0);
	assert_fine(w);
	assert_false(weir_summary(net, 2, (int64_t[]){ 8, 63 }, stderr));
	assert_error(w, WEIR_ERR_SHAPE, "net.0.weight");
	assert_false(weir_summary(net, 2, (int64_t[]){ 8, 64 }, NULL));
	assert_error(w, WEIR_ERR_ARGUMENT, "file is NULL");
	assert_int_equal(weir_close(w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deep_memory),
		cmocka_unit_test(test_residual),
		cmocka_unit_test(test_activations),
		cmocka_unit_test(test_layer_norm_hard),
		cmocka_unit_test(test_layer_norm_small_eps),
		cmocka_unit_test(test_layer_norm),
		cmocka_unit_test(test_layer_norm_empty),
		cmocka_unit_test(test_penalty),
		cmocka_unit_test(test_minibatch),
		cmocka_unit_test(test_summary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
