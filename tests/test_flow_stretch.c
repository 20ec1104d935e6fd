/* test_flow_stretch.c: the stretching factor: intervals of sigma_max against known and separately computed ones, in layers and on any
 * piece of tape; what it must leave alone, and what it can't measure.
 * It is longer than most because every kind of layer has a singular value to compare with. */
#include "tests/flow_check.h"

enum { MOST = 4096 };

/* The largest singular value of a [rows, columns]: Jacobi rotations on AᵀA. */
static double sigma_by_hand(const double *a, int rows, int columns)
{
	double *m = calloc((size_t)(columns * columns), sizeof *m), largest = 0;

	assert_non_null(m);
	for (int i = 0; i < columns; i++) {
		for (int k = 0; k < columns; k++) {
			for (int r = 0; r < rows; r++) m[i * columns + k] += a[r * columns + i] * a[r * columns + k];
		}
	}
	for (int sweep = 0; sweep < 30; sweep++) {
		for (int p = 0; p < columns; p++) {
			for (int q = p + 1; q < columns; q++) {
				double apq = m[p * columns + q], theta, t, c, s;

				if (apq == 0) continue;
				theta = (m[q * columns + q] - m[p * columns + p]) / (2 * apq);
				t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
				c = 1 / sqrt(t * t + 1);
				s = t * c;
				for (int k = 0; k < columns; k++) {
					double x = m[k * columns + p], y = m[k * columns + q];

					m[k * columns + p] = c * x - s * y;
					m[k * columns + q] = s * x + c * y;
				}
				for (int k = 0; k < columns; k++) {
					double x = m[p * columns + k], y = m[q * columns + k];

					m[p * columns + k] = c * x - s * y;
					m[q * columns + k] = s * x + c * y;
				}
			}
		}
	}
	for (int i = 0; i < columns; i++) largest = fmax(largest, m[i * columns + i]);
	free(m);
	return sqrt(largest);
}

/* The same of dy/dx, all of it, row by row. */
static double true_sigma(weir_tensor *x, weir_tensor *y)
{
	weir_ctx *w = weir_context(y);
	int ny = (int)weir_numel(y), nx = (int)weir_numel(x);
	double *j = calloc((size_t)(nx * ny), sizeof *j), *e = calloc((size_t)ny, sizeof *e), sigma;

	assert_true(j && e);
	for (int i = 0; i < ny; i++) {
		weir_place place = weir_mark(w);
		weir_tensor *seed = weir_zeros(w, weir_dtype_of(y), weir_rank(y), weir_shape(y)), *g = NULL;

		e[i] = 1;
		weir_write_f64(seed, e, ny);
		e[i] = 0;
		assert_true(weir_vjp(y, seed, &x, 1, &g, WEIR_ALLOW_UNUSED | WEIR_NO_HOOKS));
		if (g) assert_true(weir_read_f64(g, j + i * nx, nx));
		weir_rewind(w, place, NULL, 0);
	}
	sigma = sigma_by_hand(j, ny, nx);
	free(j);
	free(e);
	return sigma;
}

static void assert_inside(const char *what, double low, double high, double sigma, double share)
{
	if (!(low <= sigma * (1 + 1e-6) && low >= sigma * share && high >= sigma * (1 - 1e-6)))
		fail_msg("%s: [%.9g, %.9g], sigma_max is %.9g", what, low, high, sigma);
}

static weir_flow_interval stretch(weir_tensor *x, weir_tensor *y)
{
	weir_flow_interval r;
	int64_t length = weir_tape_length(weir_context(y));

	assert_true(weir_flow_stretch(x, y, 500, 1e-10, MOST, NULL, &r));
	assert_int_equal(weir_tape_length(weir_context(y)), length);
	return r;
}

static void assert_stretch(const char *what, weir_tensor *x, weir_tensor *y, double sigma)
{
	weir_flow_interval r = stretch(x, y);

	assert_inside(what, r.low, r.high, sigma, 0.999);
}

static weir_tensor *leaf(weir_ctx *w, weir_dtype dtype, int rank, const int64_t *shape)
{
	return weir_normal(w, dtype, rank, shape, 0, 1);
}

/* ---- any piece of tape ---- */

static void known(void **state)
{
	(void)state;
	for (weir_dtype dtype = WEIR_F32; dtype <= WEIR_F64; dtype++) {
		weir_ctx *w = open_ieee(dtype);
		weir_tensor *x = leaf(w, dtype, 2, (int64_t[]){ 5, 6 }), *W, *b;
		weir_flow_interval r;

		r = stretch(x, weir_affine(x, -3, 1));
		assert_near(r.low, 3, 1e-6);
		assert_near(r.high, 3, 1e-6);
		r = stretch(x, x);
		assert_near(r.low, 1, 1e-6);
		assert_near(r.high, 1, 1e-6);
		W = weir_zeros(w, dtype, 2, (int64_t[]){ 6, 6 });
		weir_init_fill(W, WEIR_INIT_ORTHOGONAL, 1);
		r = stretch(x, weir_matmul(x, W));
		assert_near(r.low, 1, 1e-6);
		assert_true(r.high >= 1 && r.high <= sqrt(6));
		assert_int_equal(r.iterations, 1);
		/* each axis mixed with another one */
		assert_stretch("sum", x, weir_sum(x, 1, (int[]){ 1 }, false), sqrt(6));
		assert_stretch("sum over the batch", x, weir_sum(x, 1, (int[]){ 0 }, false), sqrt(5));
		assert_stretch("sum of all", x, weir_sum_all(x), sqrt(30));
		assert_stretch("twice", x, weir_add(x, x), 2);
		/* a path that leads elsewhere */
		b = leaf(w, dtype, 2, (int64_t[]){ 5, 6 });
		assert_stretch("nothing", x, weir_exp(b), 0);
		assert_stretch("zero", x, weir_relu(weir_affine(weir_abs(x), -1, -1)), 0);
		close_fine(w);
	}
}

static void random_matrices(void **state)
{
	static const int sizes[][2] = { { 1, 1 }, { 1, 7 }, { 7, 1 }, { 8, 12 }, { 16, 16 } };

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		int out = sizes[i][0], in = sizes[i][1];
		weir_tensor *x = leaf(w, WEIR_F64, 2, (int64_t[]){ 3, in }),
			    *W = leaf(w, WEIR_F64, 2, (int64_t[]){ out, in });
		double v[256], sigma;

		assert_true(weir_read_f64(W, v, out * in));
		sigma = sigma_by_hand(v, out, in);
		assert_stretch("matrix", x, weir_linear(x, W, NULL), sigma);
		assert_stretch("on the right", W, weir_matmul(W, weir_transpose(x, 0, 1)),
			       true_sigma(W, weir_matmul(W, weir_transpose(x, 0, 1))));
		close_fine(w);
	}
}

static weir_tensor *attention(weir_tensor *x, weir_tensor *const W[3])
{
	weir_tensor *q = weir_matmul(x, W[0]), *k = weir_matmul(x, W[1]), *v = weir_matmul(x, W[2]);

	return weir_matmul(weir_softmax(weir_matmul(q, weir_transpose(k, -1, -2)), -1), v);
}

static void composed(void **state)
{
	(void)state;
	for (weir_dtype dtype = WEIR_F32; dtype <= WEIR_F64; dtype++) {
		weir_ctx *w = open_ieee(dtype);
		weir_tensor *x = leaf(w, dtype, 2, (int64_t[]){ 4, 6 }), *W[3], *y, *c;
		weir_module *norm = weir_layer_norm_new(w, 6, 1e-5), *linear = weir_linear_new(w, 6, 6, WEIR_INIT_HE);

		for (int i = 0; i < 3; i++) W[i] = leaf(w, dtype, 2, (int64_t[]){ 6, 6 });
		y = weir_relu(weir_linear(x, W[0], NULL));
		assert_stretch("relu", x, y, true_sigma(x, y));
		y = weir_forward(norm, x);
		assert_stretch("layer norm", x, y, true_sigma(x, y));
		y = weir_add(x, weir_tanh(weir_forward(linear, x)));
		assert_stretch("residual", x, y, true_sigma(x, y));
		y = attention(x, W); /* mixes the first axis */
		assert_stretch("attention", x, y, true_sigma(x, y));
		y = weir_softmax(x, 0);
		assert_stretch("softmax over the batch", x, y, true_sigma(x, y));
		x = leaf(w, dtype, 3, (int64_t[]){ 3, 4, 6 });
		y = attention(x, W);
		assert_stretch("batched attention", x, y, true_sigma(x, y));
		/* what reaches one place only, from the last one: no probe may miss it */
		c = weir_slice(x, 0, 2, 3, 1);
		y = weir_add(x, weir_concat((weir_tensor *[]){ c, weir_affine(c, 0, 0), c }, 3, 0));
		assert_stretch("one reaches another", x, y, true_sigma(x, y));
		close_fine(w);
	}
}

/* Where rows are too many to form, there is no upper bound; independent samples need only their own. */
static void rows(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_tensor *x = leaf(w, WEIR_F64, 2, (int64_t[]){ 64, 8 }), *W = leaf(w, WEIR_F64, 2, (int64_t[]){ 8, 8 });
	weir_flow_interval r;

	(void)state;
	assert_true(weir_flow_stretch(x, weir_linear(x, W, NULL), 50, 1e-6, 8, NULL, &r));
	assert_true(r.high >= r.low);
	assert_true(weir_flow_stretch(x, weir_linear(x, W, NULL), 50, 1e-6, 7, NULL, &r));
	assert_true(isnan(r.high) && r.low > 1);
	assert_true(weir_flow_stretch(x, weir_softmax(x, 0), 50, 1e-6, 511, NULL, &r));
	assert_true(isnan(r.high) && r.low > 0);
	assert_false(weir_flow_stretch(x, x, 0, 1e-6, 8, NULL, &r));
	assert_error(w, WEIR_ERR_ARGUMENT, "iterations is 0");
	assert_true(isnan(r.low));
	close_fine(w);
}

static void exponents(void **state)
{
	static const double sizes[] = { 1e-44, 1e-40, 1e-30, 1e30, 3e38 };
	static const double wide[] = { 5e-324, 1e-310, 1e-200, 1e200, 1e308 };

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		weir_ctx *w = open_ieee(WEIR_F32);
		double size = (float)sizes[i];
		weir_tensor *x = leaf(w, WEIR_F32, 2, (int64_t[]){ 3, 4 }), *c;
		weir_flow_interval r;

		c = weir_full(w, WEIR_F32, 2, (int64_t[]){ 3, 4 }, size);
		r = stretch(x, weir_mul(x, c));
		assert_near(r.low / size, 1, 1e-6);
		assert_near(r.high / size, 1, 1e-6);
		x = leaf(w, WEIR_F64, 2, (int64_t[]){ 3, 4 });
		c = weir_full(w, WEIR_F64, 2, (int64_t[]){ 3, 4 }, wide[i]);
		r = stretch(x, weir_mul(x, c));
		assert_near(r.low / wide[i], 1, 1e-6);
		assert_near(r.high / wide[i], 1, 1e-6);
		close_fine(w);
	}
}

static void warm_start(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_tensor *x = leaf(w, WEIR_F64, 2, (int64_t[]){ 2, 30 }), *W = leaf(w, WEIR_F64, 2, (int64_t[]){ 30, 30 }),
		    *y = weir_tanh(weir_linear(x, W, NULL));
	double v[60] = { 0 }, v2[60];
	weir_flow_interval cold, warm;

	(void)state;
	assert_true(weir_flow_stretch(x, y, 1000, 1e-6, MOST, v, &cold));
	memcpy(v2, v, sizeof v);
	assert_true(weir_flow_stretch(x, y, 1000, 1e-4, MOST, v, &warm));
	if (!(cold.iterations > 3 && warm.iterations == 1 && warm.low >= cold.low * (1 - 1e-3)))
		fail_msg("cold %d, %g; warm %d, %g", cold.iterations, cold.low, warm.iterations, warm.low);
	assert_true(weir_flow_stretch(x, y, 1, 0, MOST, v2, &warm));
	assert_near(warm.low / cold.low, 1, 1e-3);
	v[0] = NAN; /* no use: as if there were none */
	assert_true(weir_flow_stretch(x, y, 1000, 1e-6, MOST, v, &warm));
	assert_near(warm.low / cold.low, 1, 1e-4);
	close_fine(w);
}

/* Two blocks: a rotation times 3, done at once, and one times 3.5 and 2.8, which is behind at first. */
static void the_slower_block_counts(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_tensor *x = leaf(w, WEIR_F64, 3, (int64_t[]){ 2, 1, 2 }), *c;
	weir_flow_interval r;

	(void)state;
	c = weir_from(w, WEIR_F64, 3, (int64_t[]){ 2, 2, 2 }, (double[]){ 1.8, 2.4, -2.4, 1.8, 2.1, 2.8, -2.24, 1.68 });
	assert_true(weir_flow_stretch(x, weir_matmul(x, c), 1000, 1e-4, MOST, (double[4]){ 1, 1, 0.05, 1 }, &r));
	assert_near(r.low, 3.5, 1e-3);
	close_fine(w);
}

static void count_event(const weir_event *e, void *user)
{
	(void)e;
	++*(int *)user;
}

/* Hooks of every kind, accumulators, retained gradients, random streams, recording: all as before. */
static void leaves_no_trace(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_module *m = weir_linear_new(w, 6, 6, WEIR_INIT_HE);
	weir_tensor *x = weir_retain_grad(leaf(w, WEIR_F64, 2, (int64_t[]){ 4, 6 })), *y, *loss;
	weir_hook_options h;
	weir_flow_interval r;
	double grad, kept;
	int events = 0;
	uint64_t stream;

	(void)state;
	weir_hook_options_init(&h);
	h.observe = count_event;
	h.user = &events;
	h.all_orders = true;
	weir_hook_add(w, NULL, &h);
	h.forward = true;
	weir_hook_add(w, NULL, &h);
	y = weir_gelu(weir_forward(m, x));
	loss = weir_sum_all(weir_softmax(y, 1));
	weir_backward(loss);
	grad = norm_by_hand(weir_grad_of(weir_module_parameter(m, 0)));
	kept = norm_by_hand(weir_grad_of(x));
	stream = weir_random_stream(w);
	events = 0;
	r = stretch(x, y);
	assert_int_equal(events, 0);
	assert_int_equal(weir_random_stream(w), stream + 1);
	assert_true(norm_by_hand(weir_grad_of(weir_module_parameter(m, 0))) == grad);
	assert_true(norm_by_hand(weir_grad_of(x)) == kept);
	weir_no_grad_begin(w);
	assert_true(stretch(x, y).low == r.low);
	assert_false(weir_is_recording(w));
	weir_no_grad_end(w);
	assert_true(weir_is_recording(w));
	weir_backward(loss);
	assert_near(norm_by_hand(weir_grad_of(weir_module_parameter(m, 0))), 2 * grad, 1e-12);
	close_fine(w);
}

/* What a gradient rule reads: there and as it was, or not. */
static void intact(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_module *m = weir_linear_new(w, 6, 6, WEIR_INIT_HE);
	weir_tensor *x = leaf(w, WEIR_F64, 2, (int64_t[]){ 4, 6 }), *y = weir_forward(m, x), *z = weir_affine(y, 2, 0);

	(void)state;
	assert_true(weir_is_intact(x) && weir_is_intact(y) && weir_is_intact(z));
	weir_data_mut(weir_module_parameter(m, 0), NULL);
	assert_true(!weir_is_intact(y) && weir_is_intact(z)); /* affine reads no value */
	assert_false(weir_is_intact(NULL));
	assert_false(weir_is_intact(weir_fail(w, WEIR_ERR_ARGUMENT, "a test")));
	weir_clear_error(w);
	close_fine(w);
}

/* ---- layers ---- */

static weir_flow *watch_stretch(weir_ctx *w, int iterations)
{
	weir_flow_options o;

	weir_flow_options_init(&o);
	o.every = 1;
	o.budget = 0;
	o.stretch = iterations;
	return weir_flow_watch(w, &o);
}

static weir_module *linear(weir_ctx *w, int64_t in, int64_t out, weir_act act)
{
	weir_linear_options o;

	weir_linear_options_init(&o);
	o.act = act;
	return weir_linear_with(w, in, out, &o);
}

static weir_module *add_linear(weir_ctx *w, weir_module *seq, int64_t in, int64_t out, weir_act act)
{
	return weir_module_add(seq, NULL, linear(w, in, out, act));
}

static weir_module *network(weir_ctx *w)
{
	weir_module *m = weir_sequential_new(w, "mlp");

	add_linear(w, m, 8, 12, WEIR_ACT_RELU);
	add_linear(w, m, 12, 6, WEIR_ACT_GELU);
	weir_module_add(m, NULL, weir_residual_new(w, linear(w, 6, 6, WEIR_ACT_TANH), 0.7));
	weir_module_add(m, NULL, weir_layer_norm_new(w, 6, 1e-5));
	add_linear(w, m, 6, 5, WEIR_ACT_IDENTITY);
	return m;
}

/* Every layer of a network, between where it begins and ends. */
static void layers(void **state)
{
	(void)state;
	for (weir_dtype dtype = WEIR_F32; dtype <= WEIR_F64; dtype++) {
		weir_ctx *w = open_ieee(dtype);
		weir_flow *f = watch_stretch(w, 300);
		weir_module *m;
		weir_tensor *x, *at[6];

		m = network(w);
		x = leaf(w, dtype, 2, (int64_t[]){ 7, 8 });
		at[0] = x;
		for (int i = 0; i < 5; i++) at[i + 1] = weir_forward(weir_module_at(m, i), at[i]);
		backward_step(f, weir_sum_all(weir_square(at[5])));
		assert_fine(w);
		for (int i = 0; i < 5; i++) {
			char name[16];
			const weir_flow_layer *p;

			snprintf(name, sizeof name, "mlp.%d", i);
			p = layer_named(f, name, 1);
			assert_inside(p->op, p->stretch_low, p->stretch_high, true_sigma(at[i], at[i + 1]), 0.999);
			assert_near(p->alignment, p->gain / p->stretch_low, 1e-12);
			assert_true(p->alignment <= 1 + 1e-6);
		}
		close_fine(w);
	}
}

/* Dense layers as one may write them out: a product, a bias, an activation; a batch of sequences; a view on the way in. After the
 * weights were halved they are recognised as dense, or they could not be measured. */
static void written_out(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_stretch(w, 300);
	weir_tensor *W = weir_param_new(w, "W", WEIR_F64, 2, (int64_t[]){ 6, 4 }),
		    *b = weir_param_new(w, "b", WEIR_F64, 1, (int64_t[]){ 4 }), *x, *y[4], *loss;
	double sigma[4], v[24];

	(void)state;
	weir_init_fill(W, WEIR_INIT_GLOROT_NORMAL, 1);
	x = leaf(w, WEIR_F64, 3, (int64_t[]){ 2, 3, 6 });
	for (int i = 0; i < 4; i++) {
		char name[32];

		snprintf(name, sizeof name, "l.%d", i);
		weir_scope_begin(w, name);
		if (i == 3) y[i] = weir_linear(weir_reshape(x, 2, (int64_t[]){ 6, 6 }), weir_transpose(W, 0, 1), b);
		else y[i] = weir_add(weir_matmul(x, W), b);
		if (i == 1) y[i] = weir_silu(y[i]);
		if (i == 2) y[i] = weir_affine(weir_leaky_relu(y[i], 0.1), 3, 0);
		weir_scope_end(w);
		sigma[i] = true_sigma(x, y[i]);
	}
	weir_scope_begin(w, "loss");
	loss = weir_sum_all(y[0]);
	for (int i = 1; i < 4; i++) loss = weir_add(loss, weir_sum_all(y[i]));
	weir_scope_end(w);
	weir_backward(loss);
	weir_read_f64(W, v, 24);
	for (int i = 0; i < 24; i++) v[i] *= 0.5;
	weir_write_f64(W, v, 24);
	weir_flow_step(f, loss);
	assert_fine(w);
	for (int i = 0; i < 4; i++) {
		const weir_flow_layer *p = weir_flow_layer_at(f, i);

		assert_inside(p->op, p->stretch_low, p->stretch_high, 0.5 * sigma[i], 0.999);
		assert_int_equal(isnan(p->theory_gain), i == 2);
	}
	close_fine(w);
}

/* The optimiser's step changes weights: dense layers are measured by the new ones, others not at all, and nothing is an error. */
static void after_an_update(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_stretch(w, 200);
	weir_module *m = network(w);
	weir_optim *opt = weir_sgd_new(w, m, 0.01, 0);

	(void)state;
	for (int step = 0; step < 4; step++) {
		weir_tensor *x = leaf(w, WEIR_F64, 2, (int64_t[]){ step == 2 ? 3 : 7, 8 }),
			    *loss = weir_mean_all(weir_square(weir_forward(m, x)));
		const weir_flow_layer *p;
		double W[30];

		weir_backward(loss);
		weir_optim_step(opt);
		weir_flow_step(f, loss);
		assert_fine(w);
		p = layer_named(f, "mlp.4", 1);
		weir_read_f64(weir_module_parameter(weir_module_at(m, 4), 0), W, 30);
		assert_inside("mlp.4", p->stretch_low, p->stretch_high, sigma_by_hand(W, 5, 6), 0.999);
		assert_true(layer_named(f, "mlp.0", 1)->stretch_low > 0);
		assert_true(isnan(layer_named(f, "mlp.3", 1)->stretch_low));
		weir_tape_reset(w);
	}
	close_fine(w);
}

static void dead_and_broken(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_stretch(w, 20);
	weir_module *m = weir_sequential_new(w, "mlp"), *dead, *broken;
	weir_tensor *loss;
	const weir_flow_layer *p;
	double bias[6] = { -1e3, -1e3, -1e3, -1e3, -1e3, -1e3 }, W[36] = { 1, NAN, INFINITY };

	(void)state;
	dead = add_linear(w, m, 6, 6, WEIR_ACT_RELU);
	broken = add_linear(w, m, 6, 6, WEIR_ACT_IDENTITY);
	weir_module_add(m, NULL, weir_layer_norm_new(w, 6, 1e-5));
	weir_write_f64(weir_module_parameter(dead, 1), bias, 6);
	weir_write_f64(weir_module_parameter(broken, 0), W, 36);
	loss = weir_sum_all(weir_forward(m, leaf(w, WEIR_F64, 2, (int64_t[]){ 5, 6 })));
	weir_backward(loss);
	weir_flow_step(f, loss);
	assert_fine(w);
	p = layer_named(f, "mlp.0", 1);
	assert_true(p->stretch_low == 0 && p->stretch_high == 0 && isnan(p->alignment));
	for (int i = 1; i < 3; i++) {
		p = weir_flow_layer_at(f, i);
		assert_true(isnan(p->stretch_low) && isnan(p->stretch_high));
	}
	close_fine(w);
}

/* Where backward releases values, layers are measured before it does. Measuring by hand releases nothing. */
static void released(void **state)
{
	weir_options o;
	weir_ctx *w;
	weir_flow *f;
	weir_module *m;
	weir_tensor *x, *y, *loss;
	weir_flow_interval r;

	(void)state;
	weir_options_init(&o);
	o.handler = NULL;
	o.free_values = true;
	w = weir_open(&o);
	f = watch_stretch(w, 20);
	m = network(w);
	x = leaf(w, WEIR_F32, 2, (int64_t[]){ 5, 8 });
	y = weir_forward(m, x);
	loss = weir_mean_all(weir_square(y));
	weir_flow_stretch(x, y, 50, 1e-5, 0, NULL, &r);
	assert_fine(w);
	assert_true(r.low > 0);
	weir_backward(loss);
	weir_flow_step(f, loss);
	assert_fine(w);
	assert_true(layer_named(f, "mlp.3", 1)->stretch_low > 0);
	assert_true(layer_named(f, "mlp.4", 1)->stretch_low > 0);
	close_fine(w);
}

/* A rule that can be run but not differentiated, and one that is not there. */
static void fused_only(const weir_tensor *gy, weir_grad_dst dst)
{
	const double *g = weir_data(gy);
	double *gx = dst.data;

	for (int64_t i = 0; i < weir_numel(gy); i++) gx[i] = 2 * g[i] + (dst.mode == WEIR_DST_ADD ? gx[i] : 0);
}

static void twice_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	(void)y;
	fused_only(gy, dst[0]);
}

static void twice_forward(weir_tensor *y)
{
	const double *x = weir_data(weir_input(y, 0));
	double *out = weir_out(y);

	for (int64_t i = 0; i < weir_numel(y); i++) out[i] = 2 * x[i];
}

static const weir_op twice = { .name = "twice",
			       .arity = 1,
			       .flags = WEIR_OP_ELEMENTWISE,
			       .shape = weir_same_shape,
			       .forward = twice_forward,
			       .vjp_fused = twice_fused };

static void foreign_operations(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_stretch(w, 20);
	weir_tensor *x = leaf(w, WEIR_F64, 2, (int64_t[]){ 5, 8 }), *y, *loss;

	(void)state;
	weir_scope_begin(w, "own");
	y = weir_op_apply(&twice, &x, 1, NULL);
	weir_scope_end(w);
	weir_scope_begin(w, "next");
	loss = weir_sum_all(weir_tanh(y));
	weir_scope_end(w);
	weir_backward(loss);
	weir_flow_step(f, loss);
	assert_fine(w);
	assert_true(isnan(layer_named(f, "own", 1)->stretch_low));
	close_fine(w);
}

/* From the third step on measuring takes no memory from the allocator. */
static void steady(void **state)
{
	weir_ctx *w = open_steady(WEIR_F32);
	weir_flow *f = watch_stretch(w, 5);
	weir_module *m = network(w);
	uint64_t calls = 0;

	(void)state;
	for (int step = 0; step < 6; step++) {
		weir_tensor *loss =
			weir_mean_all(weir_square(weir_forward(m, leaf(w, WEIR_F32, 2, (int64_t[]){ 7, 8 }))));

		weir_backward(loss);
		weir_flow_step(f, loss);
		weir_tape_reset(w);
		if (step < 3) calls = weir_memory_of(w).allocator_calls;
	}
	assert_int_equal(weir_memory_of(w).allocator_calls, calls);
	close_fine(w);
}

/* Measuring changes no bit of training. */
static void changes_nothing(void **state)
{
	double end[2][400] = { { 0 } };

	(void)state;
	for (int with = 0; with < 2; with++) {
		weir_ctx *w = open_ieee(WEIR_F32);
		weir_flow *f = with ? watch_stretch(w, 10) : NULL;
		weir_module *m = network(w);
		weir_optim *opt = weir_sgd_new(w, m, 0.01, 0.9);

		assert_true(weir_module_weights(m) <= 400);
		for (int step = 0; step < 5; step++) {
			weir_tensor *loss =
				weir_mean_all(weir_square(weir_forward(m, leaf(w, WEIR_F32, 2, (int64_t[]){ 7, 8 }))));

			weir_backward(loss);
			if (step % 2) weir_optim_step(opt);
			if (f) weir_flow_step(f, loss);
			if (step % 2 == 0) weir_optim_step(opt);
			weir_tape_reset(w);
		}
		read_all(m, end[with]);
		close_fine(w);
	}
	for (int i = 0; i < 400; i++) assert_true(end[0][i] == end[1][i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known),
		cmocka_unit_test(random_matrices),
		cmocka_unit_test(composed),
		cmocka_unit_test(rows),
		cmocka_unit_test(exponents),
		cmocka_unit_test(warm_start),
		cmocka_unit_test(the_slower_block_counts),
		cmocka_unit_test(leaves_no_trace),
		cmocka_unit_test(intact),
		cmocka_unit_test(layers),
		cmocka_unit_test(written_out),
		cmocka_unit_test(after_an_update),
		cmocka_unit_test(dead_and_broken),
		cmocka_unit_test(released),
		cmocka_unit_test(foreign_operations),
		cmocka_unit_test(changes_nothing),
		cmocka_unit_test(steady),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
