/* test_optim.c: optimisers against their formulas, and which parameters they step. */
#include "tests/nn_check.h"
#include "kernels/threads.h"

enum { STEPS = 20, N = 35 + 5 }; /* a weight [7, 5] and a bias [5] */

/* ---- against the formulas ---------------------------------------------------------------------------------------- */

/* Written from the formulas of nn.h, one number at a time. */
typedef struct reference {
	double w[N], m[N], v[N];
	int t;
} reference;

static void sgd_reference(reference *r, int k, const weir_sgd_options *o, double lr, double decay, double g)
{
	if (!o->decoupled) g += decay * r->w[k];
	if (o->momentum > 0) {
		r->v[k] = r->t == 1 ? g : o->momentum * r->v[k] + (1 - o->dampening) * g;
		g = o->nesterov ? g + o->momentum * r->v[k] : r->v[k];
	}
	r->w[k] = (o->decoupled ? 1 - lr * decay : 1) * r->w[k] - lr * g;
}

static void adam_reference(reference *r, int k, const weir_adam_options *o, double lr, double decay, double g)
{
	double mean, square;

	if (!o->decoupled) g += decay * r->w[k];
	r->m[k] = o->beta1 * r->m[k] + (1 - o->beta1) * g;
	r->v[k] = o->beta2 * r->v[k] + (1 - o->beta2) * g * g;
	mean = r->m[k] / (1 - pow(o->beta1, r->t));
	square = r->v[k] / (1 - pow(o->beta2, r->t));
	r->w[k] = (o->decoupled ? 1 - lr * decay : 1) * r->w[k] - lr * mean / (sqrt(square) + o->eps);
}

/* Twenty steps; with a group of its own for the bias when split. */
static void compare(const weir_sgd_options *sgd, const weir_adam_options *adam, bool split, weir_dtype dtype,
		    double tolerance)
{
	weir_ctx *w = open_as(dtype, 1, 0);
	weir_module *net = weir_list_new(w, "net"), *half = weir_list_new(w, "half");
	weir_optim *o;
	reference r = { .t = 0 };
	double lr = sgd ? sgd->lr : adam->lr, decay = sgd ? sgd->weight_decay : adam->weight_decay, got[N];

	weir_module_param(net, "weight", dtype, 2, (int64_t[]){ 7, 5 });
	weir_module_param(half, "bias", dtype, 1, (int64_t[]){ 5 });
	weir_module_add(net, "half", half);
	weir_init_fill(weir_module_parameter(net, 0), WEIR_INIT_HE, 1);
	o = sgd ? weir_sgd_with(w, net, sgd) : weir_adam_with(w, net, adam);
	if (split) assert_int_equal(weir_optim_group(o, half, 0.25, 0.2), 1);
	read_all(net, r.w);
	for (r.t = 1; r.t <= STEPS; r.t++) {
		if (r.t == 11) weir_optim_set_lr(o, lr /= 2);
		set_gradients(net, r.t, 1);
		for (int k = 0; k < N; k++) {
			double rate = split && k >= 35 ? 0.25 * lr : lr, lambda = k < 35 ? decay : split ? 0.2 : 0;
			double g = weir_get(weir_grad_of(weir_module_parameter(net, k >= 35)), k < 35 ? k : k - 35);

			if (sgd) sgd_reference(&r, k, sgd, rate, lambda, g);
			else adam_reference(&r, k, adam, rate, lambda, g);
		}
		assert_true(weir_optim_step(o));
		read_all(net, got);
		for (int k = 0; k < N; k++) assert_near(got[k], r.w[k], tolerance);
		assert_null(weir_grad_of(weir_module_parameter(net, 0))); /* used up */
	}
	assert_int_equal(weir_optim_steps(o), STEPS);
	assert_int_equal(weir_close(w), 0);
}

static void test_sgd(void **unused)
{
	static const struct {
		double momentum, dampening;
		bool nesterov;
	} forms[] = { { 0, 0, false }, { 0.9, 0, false }, { 0.9, 0, true }, { 0.8, 0.3, false } };

	(void)unused;
	for (size_t f = 0; f < sizeof(forms) / sizeof(*forms); f++) {
		for (int d = 0; d < 6; d++) {
			weir_sgd_options o;

			weir_sgd_options_init(&o);
			o.lr = 0.1;
			o.momentum = forms[f].momentum;
			o.dampening = forms[f].dampening;
			o.nesterov = forms[f].nesterov;
			o.weight_decay = d % 3 ? 0.3 : 0;
			o.decoupled = d % 3 == 2;
			compare(&o, NULL, d >= 3, WEIR_F64, 1e-12);
			compare(&o, NULL, d >= 3, WEIR_F32, 1e-5);
		}
	}
}

static void test_adam(void **unused)
{
	(void)unused;
	for (int d = 0; d < 6; d++) {
		weir_adam_options o;

		weir_adam_options_init(&o);
		o.lr = 0.05;
		o.weight_decay = d % 3 ? 0.3 : 0;
		o.decoupled = d % 3 == 2;
		compare(NULL, &o, d >= 3, WEIR_F64, 1e-12);
		compare(NULL, &o, d >= 3, WEIR_F32, 1e-5);
		o.beta1 = 0;
		o.beta2 = 0.5;
		o.eps = 0.1;
		compare(NULL, &o, d >= 3, WEIR_F64, 1e-12);
	}
}

static void test_short_forms(void **unused)
{
	weir_ctx *w = open_as(WEIR_F64, 1, 0);
	weir_module *m = weir_linear_new(w, 2, 2, WEIR_INIT_DIAGONAL);
	weir_optim *o = weir_sgd_new(w, m, 0.5, 0);

	(void)unused;
	set_gradients(m, 1, 1);
	weir_optim_step(o);
	assert_near(weir_get(weir_module_parameter(m, 0), 0), 1 - 0.5 * noise(1, 0), 1e-15);
	assert_null(weir_optim_state(o, weir_module_parameter(m, 0), 0));
	weir_optim_drop(o);
	weir_init_fill(weir_module_parameter(m, 0), WEIR_INIT_DIAGONAL, 1);
	o = weir_adamw_new(w, m, 0.25, 0.5);
	set_gradients(m, 1, 1);
	weir_optim_step(o);
	assert_near(weir_get(weir_module_parameter(m, 0), 0), (1 - 0.125) - 0.25 * (noise(1, 0) > 0 ? 1 : -1), 1e-7);
	assert_string_equal(weir_name(weir_optim_state(o, weir_module_parameter(m, 0), 1)),
			    "linear.weight.root_square");
	assert_near(weir_get(weir_optim_state(o, weir_module_parameter(m, 0), 1), 0), sqrt(0.001) * fabs(noise(1, 0)),
		    1e-15);
	assert_near(weir_optim_lr(o), 0.25, 0);
	assert_int_equal(weir_close(w), 0);
}

/* Under decay alone a weight follows (1 - lr λ)^t, in both forms. */
static void test_decay(void **unused)
{
	(void)unused;
	for (int decoupled = 0; decoupled < 2; decoupled++) {
		weir_ctx *w = open_as(WEIR_F64, 1, 0);
		weir_module *m = weir_linear_new(w, 3, 3, WEIR_INIT_HE);
		weir_tensor *weight = weir_module_parameter(m, 0), *bias = weir_module_parameter(m, 1);
		weir_sgd_options o;
		weir_optim *sgd;
		double start = weir_get(weight, 4), factor = 1;

		weir_sgd_options_init(&o);
		o.lr = 0.1;
		o.weight_decay = 0.5;
		o.decoupled = decoupled;
		sgd = weir_sgd_with(w, m, &o);
		weir_write_f64(bias, (double[]){ 2, 2, 2 }, 3);
		for (int t = 1; t <= 100; t++) {
			set_gradient(weight, 0);
			set_gradient(bias, 0);
			assert_true(weir_optim_step(sgd));
			factor *= 1 - 0.1 * 0.5;
			if (fabs(weir_get(weight, 4) / (start * factor) - 1) > 1e-10)
				fail_msg("step %d: %g", t, weir_get(weight, 4));
			weir_tape_reset(w);
		}
		assert_near(weir_get(bias, 1), 2, 0);
		assert_int_equal(weir_close(w), 0);
	}
}

/* The penalty in the loss and L2 in the optimiser are the same thing: ridge regression, which has a closed form. */
static void test_ridge(void **unused)
{
	enum { ROWS = 12 };
	const double lambda = 0.1;

	(void)unused;
	for (int form = 0; form < 2; form++) {
		weir_ctx *w = open_as(WEIR_F64, 1, 0);
		weir_linear_options lo;
		weir_module *m;
		weir_sgd_options o;
		weir_optim *sgd;
		double x[ROWS][2], y[ROWS], a = 0, b = 0, c = 0, p = 0, q = 0;
		weir_tensor *xs, *ys;

		weir_linear_options_init(&lo);
		lo.bias = false;
		m = weir_linear_with(w, 2, 1, &lo);
		weir_sgd_options_init(&o);
		o.lr = 0.3;
		o.momentum = 0.5;
		if (form) o.weight_decay = lambda;
		sgd = weir_sgd_with(w, m, &o);
		for (int i = 0; i < ROWS; i++) {
			x[i][0] = noise(i, 1);
			x[i][1] = noise(i, 2);
			y[i] = 2 * x[i][0] - x[i][1] + 0.1 * noise(i, 3);
			/* normal equations of the mean square plus ½ λ w²: (2/n XᵀX + λ) w = 2/n Xᵀy */
			a += 2 * x[i][0] * x[i][0] / ROWS;
			b += 2 * x[i][0] * x[i][1] / ROWS;
			c += 2 * x[i][1] * x[i][1] / ROWS;
			p += 2 * x[i][0] * y[i] / ROWS;
			q += 2 * x[i][1] * y[i] / ROWS;
		}
		a += lambda;
		c += lambda;
		xs = weir_keep(weir_from(w, WEIR_F64, 2, (int64_t[]){ ROWS, 2 }, x));
		ys = weir_keep(weir_from(w, WEIR_F64, 2, (int64_t[]){ ROWS, 1 }, y));
		for (int step = 0; step < 500; step++) {
			weir_tensor *loss;

			weir_tape_reset(w);
			loss = weir_mse(weir_forward(m, xs), ys);
			weir_backward(form ? loss : weir_add(loss, weir_l2_penalty(m, lambda)));
			weir_optim_step(sgd);
		}
		assert_near(weir_get(weir_module_parameter(m, 0), 0), (p * c - q * b) / (a * c - b * b), 1e-10);
		assert_near(weir_get(weir_module_parameter(m, 0), 1), (q * a - p * b) / (a * c - b * b), 1e-10);
		assert_int_equal(weir_close(w), 0);
	}
}

/* ---- what a step does with parameters ------------------------------------------------------------------------------ */

static void test_which_parameters(void **unused)
{
	weir_ctx *w = open_as(WEIR_F64, 1, 0);
	weir_module *m = weir_linear_new(w, 2, 2, WEIR_INIT_DIAGONAL),
		    *stranger = weir_linear_new(w, 1, 1, WEIR_INIT_HE);
	weir_tensor *weight = weir_module_parameter(m, 0), *bias = weir_module_parameter(m, 1), *y;
	weir_sgd_options options;
	weir_optim *o, *keeps;

	(void)unused;
	o = weir_sgd_new(w, m, 0.5, 0.9);
	set_gradient(weight, 1);
	assert_true(weir_optim_step(o)); /* the bias has no gradient and stays */
	assert_near(weir_get(weight, 1), -0.5, 0);
	assert_near(weir_get(bias, 1), 0, 0);
	assert_true(weir_optim_step(o)); /* nobody has one any more, so momentum does not go on either */
	assert_near(weir_get(weight, 1), -0.5, 0);
	set_gradient(weight, 1);
	set_gradient(bias, 1);
	weir_freeze(weight, true);
	assert_true(weir_optim_step(o));
	assert_near(weir_get(weight, 1), -0.5, 0);
	assert_near(weir_get(bias, 1), -0.5, 0);
	weir_freeze(weight, false);
	weir_optim_zero_grad(o);
	assert_null(weir_grad_of(weight));

	weir_sgd_options_init(&options);
	options.keep_grads = true;
	keeps = weir_sgd_with(w, m, &options);
	set_gradient(weight, 1);
	assert_true(weir_optim_step(keeps));
	assert_non_null(weir_grad_of(weight));

	/* a second backward on the tape of before the step is an error that names tensor and writer */
	weir_tape_reset(w);
	y = weir_sum_all(weir_forward(m, weir_full(w, WEIR_F64, 2, (int64_t[]){ 3, 2 }, 1)));
	y = weir_square(y);
	weir_backward(y);
	assert_true(weir_optim_step(o));
	weir_tensor *x = weir_full(w, WEIR_F64, 2, (int64_t[]){ 3, 2 }, 1), *gx;
	y = weir_sum_all(weir_forward(m, x));
	assert_true(weir_grad(y, &x, 1, &gx, 0));
	set_gradient(weight, 1);
	assert_true(weir_optim_step(o));
	weir_grad(y, &x, 1, &gx, 0);
	assert_error(w, WEIR_ERR_VERSION, "linear.weight");
	weir_grad(y, &x, 1, &gx, 0);
	assert_error(w, WEIR_ERR_VERSION, "weir_optim_step");

	assert_int_equal(weir_optim_group(o, stranger, 1, 0), -1);
	assert_error(w, WEIR_ERR_ARGUMENT, "has none of the 2 parameters of linear");
	assert_null(weir_optim_state(o, weir_module_parameter(stranger, 0), 0));
	assert_true(isnan(weir_optim_update_ratio(o, weight)));
	weir_optim_track(o, true);
	weir_init_fill(weight, WEIR_INIT_DIAGONAL, 3);
	weir_optim_zero_grad(o);
	weir_optim_drop(o);
	o = weir_sgd_new(w, m, 0.5, 0);
	weir_optim_track(o, true);
	set_gradient(weight, 0.75);
	assert_true(weir_optim_step(o));
	assert_near(weir_optim_update_ratio(o, weight), 0.75 / sqrt(18), 1e-15);
	assert_true(isnan(weir_optim_update_ratio(o, bias)));
	assert_int_equal(weir_close(w), 0);
}

static void test_bad_options(void **unused)
{
	weir_ctx *w = open_as(WEIR_F32, 1, 0), *other = open_as(WEIR_F32, 1, 0);
	weir_module *m = weir_linear_new(w, 2, 2, WEIR_INIT_HE);
	weir_sgd_options s;
	weir_adam_options a;
	weir_optim *bad;

	(void)unused;
	bad = weir_sgd_new(w, m, -0.1, 0);
	assert_true(weir_optim_is_bad(bad));
	assert_error(w, WEIR_ERR_ARGUMENT, "the learning rate is -0.1, the weight decay is 0");
	assert_false(weir_optim_step(bad));
	assert_error(w, WEIR_ERR_ARGUMENT, "the optimiser is that of a call that failed");
	weir_optim_drop(bad);
	weir_clear_error(w);
	assert_true(weir_optim_is_bad(weir_sgd_new(w, m, NAN, 0)));
	weir_clear_error(w);
	assert_true(weir_optim_is_bad(weir_sgd_new(w, m, 0.1, 1.5)));
	assert_error(w, WEIR_ERR_ARGUMENT, "momentum is 1.5");
	weir_sgd_options_init(&s);
	s.nesterov = true;
	assert_true(weir_optim_is_bad(weir_sgd_with(w, m, &s)));
	assert_error(w, WEIR_ERR_ARGUMENT, "nesterov, which is set, needs momentum");
	weir_adam_options_init(&a);
	a.beta2 = 1;
	assert_true(weir_optim_is_bad(weir_adam_with(w, m, &a)));
	assert_error(w, WEIR_ERR_ARGUMENT, "betas are 0.9 and 1");
	assert_true(weir_optim_is_bad(weir_sgd_new(other, m, 0.1, 0)));
	assert_error(other, WEIR_ERR_CONTEXT, "linear belongs to another context");
	assert_true(weir_optim_is_bad(weir_sgd_new(w, NULL, 0.1, 0)));
	assert_false(weir_optim_step(NULL));
	weir_clear_error(w);
	bad = weir_sgd_new(w, m, 0.1, 0);
	weir_optim_set_lr(bad, INFINITY);
	assert_error(w, WEIR_ERR_ARGUMENT, "learning rate is inf");
	assert_near(weir_optim_lr(bad), 0.1, 0);
	assert_int_equal(weir_close(w), 0);
	assert_int_equal(weir_close(other), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sgd),         cmocka_unit_test(test_adam),
		cmocka_unit_test(test_short_forms), cmocka_unit_test(test_decay),
		cmocka_unit_test(test_ridge),       cmocka_unit_test(test_which_parameters),
		cmocka_unit_test(test_bad_options),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
