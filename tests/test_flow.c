/* test_flow.c: the instrument's numbers against independent computation, its verdicts on networks whose answer is known, and that
 * watching changes nothing. Births stand in test_flow_births.c, reports in test_flow_report.c, layers in test_flow_layers.c.
 * It is longer than most because one network is looked at from many sides. */
#include "tests/flow_check.h"

#include "kernels/fpenv.h"

enum { B = 16, N = 12, LAYERS = 6 };

typedef struct net {
	weir_module *list;
	weir_tensor *x, *z[100], *a[100]; /* of the last run: input, before and behind each activation */
	weir_tensor *loss;
} net;

static weir_module *linear(weir_ctx *w, int64_t in, int64_t out, weir_init_kind init, double scale)
{
	weir_linear_options o;

	weir_linear_options_init(&o);
	o.init = init;
	o.init_scale = scale;
	return weir_linear_with(w, in, out, &o);
}

static net make(weir_ctx *w, int layers, weir_init_kind init, double scale)
{
	net n = { .list = weir_list_new(w, "mlp") };

	for (int i = 0; i < layers; i++) weir_list_add(n.list, linear(w, N, N, init, scale));
	return n;
}

/* Forward and backward; the loss is scale times the mean of the squares. */
static void run(weir_ctx *w, net *n, weir_act act, double input, double scale)
{
	int layers = (int)weir_module_count(n->list);
	weir_tensor *x;

	weir_tape_reset(w);
	x = n->x = weir_affine(weir_normal(w, WEIR_F64, 2, (int64_t[]){ B, N }, 0, 1), input, 0);
	weir_retain_grad(x);
	for (int i = 0; i < layers; i++) {
		x = n->z[i] = weir_forward(weir_list_at(n->list, i), x);
		if (i + 1 < layers) x = weir_act_apply(x, act);
		n->a[i] = weir_retain_grad(x);
	}
	n->loss = weir_affine(weir_mean_all(weir_square(x)), scale, 0);
	weir_backward(n->loss);
}

static double gradient_by_hand(const weir_tensor *t)
{
	return norm_by_hand(weir_grad_of(t));
}

static void numbers(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	net n = make(w, LAYERS, WEIR_INIT_GLOROT, 1);
	weir_flow *f = watch_all(w);
	double slope_x = 0, slope_y = 0, xx = 0, xy = 0;

	(void)state;
	run(w, &n, WEIR_ACT_TANH, 1, 1);
	assert_true(weir_flow_step(f, n.loss));
	assert_int_equal(weir_flow_layer_count(f), LAYERS);
	for (int i = 0; i < LAYERS; i++) {
		const weir_flow_layer *p = weir_flow_layer_at(f, i);
		weir_tensor *weight = weir_module_parameter(n.list, 2 * i),
			    *bias = weir_module_parameter(n.list, 2 * i + 1);
		const weir_tensor *in = i ? n.a[i - 1] : n.x;
		double squares = 0, z[B * N], largest = 0;

		weir_read_f64(n.z[i], z, B * N);
		for (int k = 0; k < B * N; k++) {
			double d = 1 - tanh(z[k]) * tanh(z[k]);

			squares += d * d;
			largest = fmax(largest, d);
		}
		assert_near(p->out_norm, norm_by_hand(n.a[i]) / sqrt(B * N), 1e-12);
		assert_near(p->out_gain, norm_by_hand(n.a[i]) / norm_by_hand(in), 1e-12);
		assert_near(p->delta_norm, gradient_by_hand(n.a[i]), 1e-12);
		assert_near(p->gain, gradient_by_hand(in) / gradient_by_hand(n.a[i]), 1e-12);
		assert_near(p->weight_norm, norm_by_hand(weight), 1e-12);
		assert_near(p->param_grad_norm, hypot(gradient_by_hand(weight), gradient_by_hand(bias)), 1e-12);
		if (i + 1 < LAYERS) assert_near(p->act_slope, sqrt(squares / (B * N)), 1e-10);
		if (i + 1 < LAYERS) assert_near(p->act_slope_max, largest, 1e-10);
		assert_true(i + 1 < LAYERS ? p->act_slope_limit == 1 : isnan(p->act_slope));
		assert_true(p->out_zeros == 0 && p->zeros == 0 && !p->nonfinite && !p->out_nonfinite);
		assert_true(isnan(p->update_ratio)); /* nobody gave it */
		slope_x += i + 1;
		slope_y += log2(p->delta_norm);
	}
	for (int i = 0; i < LAYERS; i++) {
		double dx = i + 1 - slope_x / LAYERS,
		       dy = log2(weir_flow_layer_at(f, i)->delta_norm) - slope_y / LAYERS;

		xx += dx * dx;
		xy += dx * dy;
	}
	assert_near(weir_flow_summary_of(f)->bits_per_layer, -xy / xx, 1e-10);
	assert_near(weir_flow_summary_of(f)->gain_per_layer, exp2(-xy / xx), 1e-10);
	assert_near(weir_flow_summary_of(f)->total_gain, gradient_by_hand(n.x) / gradient_by_hand(n.a[LAYERS - 1]),
		    1e-12);
	assert_near(weir_flow_summary_of(f)->loss, weir_item(n.loss), 0);
	close_fine(w);
}

/* <W_l, dL/dW_l> is the same for every l of a bias-free linear or ReLU network, so a parameter's gradient does not tell of depth; delta
 * does: diag(0.5) halves it per layer while the extremes of |dW| stay within a factor of two. */
static void balancedness(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_module *list = weir_list_new(w, "mlp");
	weir_flow *f = watch_all(w);
	weir_tensor *x = weir_normal(w, WEIR_F64, 2, (int64_t[]){ B, N }, 0, 1), *loss;
	double first = 0;

	(void)state;
	for (int i = 0; i < 20; i++)
		weir_list_add(list, weir_linear_with(
					    w, N, N,
					    &(weir_linear_options){ .init = WEIR_INIT_DIAGONAL, .init_scale = 0.5 }));
	for (int i = 0; i < 20; i++) x = weir_relu(weir_forward(weir_list_at(list, i), x));
	weir_backward(loss = weir_sum_all(x));
	assert_true(weir_flow_step(f, loss));
	for (int i = 0; i < 20; i++) {
		const weir_tensor *p = weir_module_parameter(list, i);
		double v[N * N], g[N * N], product = 0;

		weir_read_f64(p, v, N * N);
		weir_read_f64(weir_grad_of(p), g, N * N);
		for (int k = 0; k < N * N; k++) product += v[k] * g[k];
		if (i == 0) first = product;
		assert_near(product / first, 1, 1e-12);
		if (i > 0 && i < 19)
			assert_near(weir_flow_layer_at(f, i)->gain, 0.5, 1e-12); /* the last one also masks */
	}
	assert_near(weir_flow_layer_at(f, 0)->param_grad_norm / weir_flow_layer_at(f, 19)->param_grad_norm, 1, 1);
	assert_int_equal(weir_flow_verdict(f), WEIR_FLOW_VANISHING);
	close_fine(w);
}

typedef struct wanted {
	int layers;
	weir_init_kind init;
	double init_scale;
	weir_act act;
	double input;
	weir_verdict verdict;
	const char *cause;
} wanted;

/* Networks whose answer is known; and the same with the loss in other units. */
static void verdicts(void **state)
{
	static const wanted list[] = {
		{ 20, WEIR_INIT_GLOROT, 1, WEIR_ACT_SIGMOID, 1, WEIR_FLOW_VANISHING, "activation" },
		{ 20, WEIR_INIT_GLOROT, 1, WEIR_ACT_RELU, 1, WEIR_FLOW_VANISHING, "initial weights" },
		{ 10, WEIR_INIT_HE, 1, WEIR_ACT_RELU, 1, WEIR_FLOW_HEALTHY, NULL },
		{ 50, WEIR_INIT_DIAGONAL, 0.5, WEIR_ACT_IDENTITY, 1, WEIR_FLOW_VANISHING, "initial weights" },
		{ 50, WEIR_INIT_DIAGONAL, 1.5, WEIR_ACT_IDENTITY, 1, WEIR_FLOW_EXPLODING, "initial weights" },
		{ 60, WEIR_INIT_DIAGONAL, 0.9, WEIR_ACT_IDENTITY, 1, WEIR_FLOW_VANISHING, "initial weights" },
		{ 50, WEIR_INIT_DIAGONAL, 1, WEIR_ACT_IDENTITY, 1, WEIR_FLOW_HEALTHY, NULL },
		{ 10, WEIR_INIT_ORTHOGONAL, 1, WEIR_ACT_TANH, 0.1, WEIR_FLOW_HEALTHY, NULL },
		{ 60, WEIR_INIT_ORTHOGONAL, 0.92, WEIR_ACT_TANH, 0.1, WEIR_FLOW_VANISHING, "depth" },
		{ 80, WEIR_INIT_ORTHOGONAL, 1.58, WEIR_ACT_RELU, 1, WEIR_FLOW_EXPLODING, "depth" },
		{ 6, WEIR_INIT_DIAGONAL, 40, WEIR_ACT_TANH, 1, WEIR_FLOW_SATURATED, "initial weights" },
		{ 2, WEIR_INIT_ORTHOGONAL, 1, WEIR_ACT_TANH, 1000, WEIR_FLOW_SATURATED, "data scale" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		for (double scale = 1e-4; scale < 1e5; scale *= 1e4) {
			weir_ctx *w = open_ieee(WEIR_F64);
			net n = make(w, list[i].layers, list[i].init, list[i].init_scale);
			weir_flow *f = watch_all(w);
			const weir_flow_summary *s = weir_flow_summary_of(f);

			run(w, &n, list[i].act, list[i].input, scale);
			assert_true(weir_flow_step(f, n.loss));
			if (s->verdict != list[i].verdict || (s->cause == NULL) != (list[i].cause == NULL) ||
			    (s->cause && strcmp(s->cause, list[i].cause)))
				fail_msg(
					"network %zu, loss times %g: %s, %s (%s), %.4g per layer, %.3g in all; want %s, %s",
					i, scale, weir_verdict_name(s->verdict), s->cause ? s->cause : "-", s->evidence,
					s->gain_per_layer, s->total_gain, weir_verdict_name(list[i].verdict),
					list[i].cause ? list[i].cause : "-");
			close_fine(w);
		}
	}
}

static void fill(weir_tensor *p, double value)
{
	double v[N * N];

	for (int i = 0; i < N * N; i++) v[i] = value;
	assert_true(weir_write_f64(p, v, weir_numel(p)));
}

/* A ReLU layer that no sample passes, in an otherwise healthy network; and when training did it. */
static void dead_layer(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	net n = make(w, LAYERS, WEIR_INIT_HE, 1);
	weir_flow *f = watch_all(w);
	const weir_flow_summary *s = weir_flow_summary_of(f);

	(void)state;
	for (int i = 0; i < LAYERS; i++) fill(weir_module_parameter(n.list, 2 * i + 1), 0.1);
	run(w, &n, WEIR_ACT_RELU, 1, 1);
	assert_true(weir_flow_step(f, n.loss));
	assert_int_equal(s->verdict, WEIR_FLOW_HEALTHY);
	fill(weir_module_parameter(n.list, 2 * 3 + 1), -1000); /* the bias of layer 3 */
	run(w, &n, WEIR_ACT_RELU, 1, 1);
	assert_true(weir_flow_step(f, n.loss));
	assert_int_equal(s->verdict, WEIR_FLOW_DEAD);
	assert_string_equal(s->cause, "learning rate");
	assert_int_equal(s->first_layer, 3);
	assert_int_equal(s->last_layer, 3);
	assert_true(weir_flow_layer_at(f, 3)->out_zeros == 1 && weir_flow_layer_at(f, 3)->act_slope == 0);
	assert_non_null(strstr(s->evidence, "mlp.3"));
	assert_true(s->first_zero[1].found && s->first_zero[1].step == 1);
	assert_string_equal(s->first_zero[1].layer, "mlp.3");
	close_fine(w);
}

/* One bad batch is not for ever: the next whole measurement is not waited for. */
static void non_finite_is_over(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	net n = make(w, LAYERS, WEIR_INIT_HE, 1);
	weir_flow_options o;
	weir_flow *f;

	(void)state;
	weir_flow_options_init(&o);
	o.every = 1000;
	o.budget = 0;
	f = weir_flow_watch(w, &o);
	for (int step = 0; step < 5; step++) {
		run(w, &n, WEIR_ACT_RELU, step == 1 ? INFINITY : 1, 1);
		assert_true(weir_flow_step(f, n.loss));
		for (int i = 0; i < weir_module_parameter_count(n.list); i++)
			weir_zero_grad(weir_module_parameter(n.list, i));
		assert_int_equal(weir_flow_verdict(f) == WEIR_FLOW_NONFINITE, step == 1 || step == 2);
	}
	assert_int_equal(weir_flow_summary_of(f)->measured, 3);
	close_fine(w);
}

static void wrong_calls(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow_options o;

	(void)state;
	for (int k = 0; k < 6; k++) {
		weir_flow_options_init(&o);
		if (k == 0) o.exploding = NAN;
		if (k == 1) o.vanishing = 0;
		if (k == 2) o.every = 0;
		if (k == 3) o.budget = -1;
		if (k == 4) o.vanishing = 2 * o.exploding;
		if (k == 5) o.window = 0;
		assert_null(weir_flow_watch(w, &o));
		assert_error(w, WEIR_ERR_ARGUMENT, "an option makes no sense");
	}
	close_fine(w);
}

/* Watching, training and a user's retained gradients do not disturb each other. */
static uint64_t trained(bool watched, double *kept)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	net n = make(w, 4, WEIR_INIT_GLOROT, 1);
	weir_optim *optim = weir_sgd_new(w, n.list, 0.1, 0.9);
	weir_flow *f = watched ? watch_all(w) : NULL;
	uint64_t sum = 7;

	for (int step = 0; step < 30; step++) {
		run(w, &n, step % 2 ? WEIR_ACT_TANH : WEIR_ACT_GELU, 1, 1);
		if (f && step % 3) weir_flow_step(f, n.loss);
		assert_fine(w);
		kept[step] = gradient_by_hand(n.a[1]);
		weir_optim_step(optim);
		if (f && !(step % 3)) weir_flow_step(f, n.loss); /* either side of the optimiser */
		assert_fine(w);
	}
	for (int64_t i = 0; i < weir_module_parameter_count(n.list); i++) {
		const unsigned char *p = weir_data(weir_module_parameter(n.list, i));

		for (size_t k = 0; k < (size_t)weir_numel(weir_module_parameter(n.list, i)) * 8; k++)
			sum = (sum ^ p[k]) * UINT64_C(1099511628211);
	}
	close_fine(w);
	return sum;
}

static void watching_changes_nothing(void **state)
{
	double kept[2][30];

	(void)state;
	assert_true(trained(false, kept[0]) == trained(true, kept[1]));
	assert_memory_equal(kept[0], kept[1], sizeof kept[0]);
}

static double ratio_of(const weir_tensor *param, void *user)
{
	++*(int *)user;
	return weir_rank(param) == 2 ? 0.25 : -1;
}

static void update_ratios_and_steps(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	net n = make(w, 3, WEIR_INIT_GLOROT, 1);
	int asked = 0;
	weir_flow_options o;
	weir_flow *f;

	(void)state;
	weir_flow_options_init(&o);
	o.every = 1;
	o.budget = 0;
	o.update_ratio = ratio_of;
	o.user = &asked;
	o.first_step = 100;
	o.input_gradient = false;
	f = weir_flow_watch(w, &o);
	run(w, &n, WEIR_ACT_TANH, 1, 1);
	weir_flow_step(f, n.loss);
	assert_int_equal(asked, 3 + 6); /* the weights by layer, then all parameters */
	assert_true(weir_flow_layer_at(f, 2)->update_ratio == 0.25);
	assert_int_equal(weir_flow_summary_of(f)->step, 100);
	run(w, &n, WEIR_ACT_TANH, 1, 1);
	weir_flow_step(f, n.loss);
	assert_int_equal(weir_flow_summary_of(f)->step, 101);
	close_fine(w);
}

/* Norms are right where a sum of squares in f32 is not. */
static void extreme_norms(void **state)
{
	static const double sizes[] = { 1e30, 1e-30 };

	(void)state;
	for (int i = 0; i < 2; i++) {
		weir_ctx *w = open_ieee(WEIR_F32);
		weir_module *list = weir_list_new(w, "mlp");
		weir_flow *f = watch_all(w);
		weir_tensor *x = weir_full(w, WEIR_F32, 2, (int64_t[]){ B, N }, sizes[i]), *loss;

		weir_list_add(list, linear(w, N, N, WEIR_INIT_DIAGONAL, 1));
		x = weir_forward(weir_list_at(list, 0), x);
		weir_backward(loss = weir_affine(weir_sum_all(x), sizes[i], 0));
		weir_flow_step(f, loss);
		assert_near(weir_flow_layer_at(f, 0)->out_norm / sizes[i], 1, 1e-6);
		assert_near(weir_flow_layer_at(f, 0)->delta_norm / (sizes[i] * sqrt(B * N)), 1, 1e-6);
		close_fine(w);
	}
}

/* The caller's rounding mode, flags and flush mode are his. */
static void floating_point_is_the_callers(void **state)
{
#if defined(WEIR__FP_X86)
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_module *list = weir_list_new(w, "mlp");
	weir_flow *f = watch_all(w);
	weir_fp_state outer = weir__fp_save(), before, after;
	FILE *null = fopen("/dev/null", "w");
	weir_tensor *x;

	for (int i = 0; i < 3; i++) weir_list_add(list, linear(w, N, N, WEIR_INIT_HE, 1));
	x = weir_uniform(w, WEIR_F32, 2, (int64_t[]){ B, N }, 0, 1);
	for (int i = 0; i < 3; i++) x = weir_sigmoid(weir_forward(weir_list_at(list, i), x));
	x = weir_sum_all(x);
	weir_backward(x);
	weir__fp_write(0x1f80 | 0x4000); /* rounding upwards, no flag raised */
	before = weir__fp_save();
	weir_flow_step(f, x);
	weir_flow_report(f, null, WEIR_FLOW_TABLE, NULL);
	weir_flow_report(f, null, WEIR_FLOW_JSON, NULL);
	weir_dot_print(w, f, null);
	weir_dot_print(w, NULL, null);
	weir_flow_stop(watch_all(w));
	weir_flow_layer_at(f, 0);
	after = weir__fp_save();
	weir__fp_leave(outer);
	assert_memory_equal(&before, &after, sizeof before);
	fclose(null);
	close_fine(w);
#endif
	(void)state;
}

/* A request takes effect wherever it stands between two steps, and for one step. */
static void request(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	net n = make(w, LAYERS, WEIR_INIT_GLOROT, 1);
	weir_flow_options o;
	weir_flow *f;
	const weir_flow_summary *s;

	(void)state;
	weir_flow_options_init(&o);
	o.every = 1000;
	f = weir_flow_watch(w, &o);
	s = weir_flow_summary_of(f);
	for (int step = 0; step < 8; step++) {
		bool asked = step == 3 || step == 6;

		if (step == 6) weir_tape_reset(w);
		if (asked) weir_flow_request(f);
		if (asked) weir_flow_set_stretch(f, 20);
		run(w, &n, WEIR_ACT_TANH, 1, 1);
		assert_true(weir_flow_step(f, n.loss));
		assert_int_equal(s->measured, step < 3 ? 0 : step < 6 ? 3 : 6);
		if (!asked) continue;
		assert_near(s->input_delta_norm, gradient_by_hand(n.x), 1e-12);
		assert_near(weir_flow_layer_at(f, 0)->gain, gradient_by_hand(n.x) / gradient_by_hand(n.a[0]), 1e-12);
		assert_true(weir_flow_layer_at(f, 0)->stretch_low >= weir_flow_layer_at(f, 0)->gain * (1 - 1e-12));
		assert_true(weir_flow_layer_at(f, 0)->out_norm > 0);
	}
	close_fine(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),
		cmocka_unit_test(balancedness),
		cmocka_unit_test(verdicts),
		cmocka_unit_test(dead_layer),
		cmocka_unit_test(non_finite_is_over),
		cmocka_unit_test(wrong_calls),
		cmocka_unit_test(watching_changes_nothing),
		cmocka_unit_test(update_ratios_and_steps),
		cmocka_unit_test(extreme_norms),
		cmocka_unit_test(request),
		cmocka_unit_test(floating_point_is_the_callers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
