/* test_flow_spikes.c: spikes of norms that are set by hand, against medians by hand; norms over all parameters.
 *
 * The network is one linear layer whose gradient at the output is a number of the test's choice: loss = scale · sum(output). */
#include "tests/flow_check.h"

#include "flow/flow.h"

enum { B = 4, N = 3, WINDOW = 16 };

typedef struct bench {
	weir_ctx *w;
	weir_module *list;
	weir_flow *f;
	const weir_flow_summary *s;
} bench;

static double ratio_of(const weir_tensor *param, void *user)
{
	(void)user;
	return weir_rank(param) == 2 ? 0.25 : 0.5;
}

static bench make(int64_t every)
{
	bench b = { .w = open_steady(WEIR_F64) };
	weir_flow_options o;

	b.list = weir_list_new(b.w, "mlp");
	for (int i = 0; i < 2; i++) weir_list_add(b.list, weir_linear_new(b.w, N, N, WEIR_INIT_DIAGONAL));
	weir_flow_options_init(&o);
	o.every = every;
	o.budget = 0;
	o.window = WINDOW;
	o.update_ratio = ratio_of;
	b.f = weir_flow_watch(b.w, &o);
	b.s = weir_flow_summary_of(b.f);
	return b;
}

/* The gradient of each element of the output is size; input: all elements of x. */
static void step_on(bench *b, double size, double input)
{
	weir_tensor *x, *loss;

	weir_tape_reset(b->w);
	x = weir_full(b->w, WEIR_F64, 2, (int64_t[]){ B, N }, input);
	x = weir_forward(weir_list_at(b->list, 1), weir_forward(weir_list_at(b->list, 0), x));
	weir_backward(loss = weir_mul(weir_sum_all(x), weir_scalar(b->w, WEIR_F64, size)));
	assert_fine(b->w);
	assert_true(weir_flow_step(b->f, loss));
	for (int64_t i = 0; i < weir_module_parameter_count(b->list); i++)
		weir_zero_grad(weir_module_parameter(b->list, i));
	assert_fine(b->w);
}

static bool spiked(const bench *b)
{
	return weir_flow_layer_at(b->f, 1)->spike;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median_by_hand(double *v, int n)
{
	qsort(v, (size_t)n, sizeof *v, by_size);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static void medians(void **state)
{
	double v[100], sorted[100];

	(void)state;
	for (int n = 1; n < 100; n++) {
		for (int kind = 0; kind < 4; kind++) {
			for (int i = 0; i < n; i++)
				v[i] = kind == 0   ? noise(n, i)
				       : kind == 1 ? i
				       : kind == 2 ? n - i
						   : floor(3 * noise(n, i));
			memcpy(sorted, v, sizeof v);
			assert_near(weir__flow_median(v, n), median_by_hand(sorted, n), 0);
			qsort(v, (size_t)n, sizeof *v, by_size);
			assert_memory_equal(v, sorted, (size_t)n * sizeof *v); /* the same numbers still */
		}
	}
	assert_true(isnan(weir__flow_median(v, 0)));
}

/* Median and spread of a window on every step, and who is a spike, by hand. */
static void numbers_by_hand(void **state)
{
	bench b = make(1);
	double window[WINDOW], v[WINDOW];
	int64_t spikes = 0;
	int seen = 0;

	(void)state;
	for (int i = 0; i < 100; i++) {
		double size = exp2(noise(i, 3)) * (i == 30 || i == 70 ? 1e6 : i == 50 ? 1e-7 : 1);
		double bits = log2(size * sqrt(B * N)), median, spread;
		const weir_flow_layer *p;
		int n = seen < WINDOW ? seen : WINDOW;

		step_on(&b, size, 1);
		p = weir_flow_layer_at(b.f, 1);
		assert_near(log2(p->delta_norm), bits, 1e-12);
		if (n < WINDOW / 2) {
			assert_true(isnan(p->delta_median) && isnan(p->delta_spread) && !p->spike);
		} else {
			memcpy(v, window, sizeof v);
			median = median_by_hand(v, n);
			for (int k = 0; k < n; k++) v[k] = fabs(window[k] - median);
			spread = 1.4826 * median_by_hand(v, n);
			assert_near(p->delta_median, median, 1e-12);
			assert_near(p->delta_spread, spread, 1e-12);
			assert_int_equal(p->spike, fabs(bits - median) > 10 * fmax(spread, 0.05));
			assert_int_equal(p->spike, i == 30 || i == 50 || i == 70);
			spikes += p->spike;
		}
		window[seen++ % WINDOW] = bits;
	}
	assert_int_equal(spikes, 3);
	assert_int_equal(weir_flow_layer_at(b.f, 1)->spikes, 3);
	assert_int_equal(weir_flow_layer_at(b.f, 0)->spikes, 3);
	close_fine(b.w);
}

/* Thin steps find the same. */
static void on_thin_steps(void **state)
{
	bench thin = make(16), whole = make(1);
	int64_t measured = 0;

	(void)state;
	for (int i = 0; i < 200; i++) {
		double size = exp2(noise(i, 3)) * (i % 41 == 40 ? 1e5 : 1);

		step_on(&thin, size, 1);
		step_on(&whole, size, 1);
		measured += thin.s->measured == i;
		assert_int_equal(spiked(&thin), spiked(&whole));
		assert_int_equal(spiked(&thin), i % 41 == 40);
		assert_int_equal(thin.s->grad_spike, i % 41 == 40);
		assert_int_equal(whole.s->grad_spike, i % 41 == 40);
		assert_int_equal(thin.s->loss_spike, whole.s->loss_spike);
		assert_near(thin.s->param_grad_norm, whole.s->param_grad_norm, 1e-15);
	}
	assert_true(measured < 20);
	assert_int_equal(weir_flow_layer_at(thin.f, 0)->spikes, 4);
	assert_int_equal(thin.s->grad_spikes, 4);
	close_fine(thin.w);
	close_fine(whole.w);
}

/* One NaN, one inf: spikes, and forgotten. Zeros are left out. */
static void nothing_sticks(void **state)
{
	static const double bad[] = { NAN, INFINITY, 0 };

	(void)state;
	for (int every = 1; every <= 16; every += 15) {
		for (int k = 0; k < 3; k++) {
			bench b = make(every);

			for (int i = 0; i < 40; i++)
				step_on(&b, i == 20 ? bad[k] : i == 35 ? 1e3 : 1 + 0.01 * noise(i, 1), 1);
			assert_int_equal(weir_flow_layer_at(b.f, 1)->spikes, k < 2 ? 2 : 1);
			assert_int_equal(b.s->grad_spikes, k < 2 ? 2 : 1);
			assert_int_equal(b.s->loss_spikes, k < 2 ? 2 : 1);
			assert_near(weir_flow_layer_at(b.f, 1)->delta_median, log2(sqrt(B * N)), 0.02);
			assert_true(weir_flow_layer_at(b.f, 1)->delta_spread < 0.05);
			close_fine(b.w);
		}
	}
}

/* The first steps are no spikes, but for what is not finite; afterwards NaN for ever is one each time. */
static void beginning(void **state)
{
	bench b = make(16);

	(void)state;
	for (int i = 0; i < WINDOW / 2; i++) {
		step_on(&b, i % 2 ? 1e10 : 1e-10, 1);
		assert_false(spiked(&b) || b.s->grad_spike || b.s->loss_spike);
	}
	step_on(&b, NAN, 1);
	assert_true(spiked(&b) && b.s->grad_spike && b.s->loss_spike);
	for (int i = 0; i < 40; i++) step_on(&b, NAN, 1);
	assert_true(spiked(&b) && b.s->grad_spike && b.s->loss_spike);
	assert_int_equal(weir_flow_layer_at(b.f, 1)->spikes, 41);
	assert_int_equal(b.s->grad_spikes, 41);
	assert_int_equal(b.s->loss_spikes, 41);
	close_fine(b.w);
}

/* A constant series has no deviation: rounding is no spike, a factor of two is. It does not hang on the size. */
static void constant_series(void **state)
{
	(void)state;
	for (double size = 1e-200; size < 1e201; size *= 1e100) {
		bench b = make(16);

		for (int i = 0; i < 30; i++) {
			step_on(&b, size * (i == 25 ? 1 + 1e-12 : i == 26 ? 1.3 : i == 28 ? 2 : 1), 1);
			assert_int_equal(spiked(&b), i == 28);
		}
		close_fine(b.w);
	}
}

/* After a jump to another level that lasts, this level is the normal one. */
static void new_level(void **state)
{
	bench b = make(16);

	(void)state;
	for (int i = 0; i < 60; i++) step_on(&b, exp2((i < 30 ? 0 : 30) + 0.3 * noise(i, 1)), 1);
	assert_false(spiked(&b));
	assert_in_range(weir_flow_layer_at(b.f, 1)->spikes, 1, WINDOW);
	close_fine(b.w);
}

/* A loss that falls all at once to nearly nothing is no spike. */
static void loss_upwards(void **state)
{
	bench b = make(1);

	(void)state;
	for (int i = 0; i < 30; i++) {
		step_on(&b, 1, i == 20 ? 1e-9 : i == 25 ? 1e9 : 1);
		assert_int_equal(b.s->loss_spike, i == 25);
	}
	assert_int_equal(b.s->loss_spikes, 1);
	close_fine(b.w);
}

static void norms_of_all_parameters(void **state)
{
	bench b = make(4);

	(void)state;
	for (int i = 0; i < 8; i++) {
		double grads = 0, weights = 0, updates = 0, size = i == 5 ? 1e200 : i == 6 ? 1e-200 : 1 + i;
		weir_tensor *x, *loss;

		weir_tape_reset(b.w);
		for (int64_t k = 0; k < 4; k++) {
			weir_tensor *p = weir_module_parameter(b.list, k);

			weir_zero_grad(p);
			if (i == 2 && k % 2) assert_true(weir_write_f64(p, (double[]){ 1, 2, 3 }, N));
		}
		x = weir_full(b.w, WEIR_F64, 2, (int64_t[]){ B, N }, 1.5);
		x = weir_forward(weir_list_at(b.list, 1), weir_forward(weir_list_at(b.list, 0), x));
		weir_backward(loss = weir_mul(weir_sum_all(x), weir_scalar(b.w, WEIR_F64, size)));
		assert_true(weir_flow_step(b.f, loss));
		for (int64_t k = 0; k < 4; k++) {
			weir_tensor *p = weir_module_parameter(b.list, k);
			weir_tensor *unit = weir_affine((weir_tensor *)(uintptr_t)weir_grad_of(p), 1 / size, 0);

			grads = hypot(grads, norm_by_hand(unit));
			weights = hypot(weights, norm_by_hand(p));
			updates = hypot(updates, norm_by_hand(p) * (weir_rank(p) == 2 ? 0.25 : 0.5));
		}
		assert_near(b.s->param_grad_norm / size / grads, 1, 1e-12);
		if (b.s->measured != i) continue;
		assert_near(b.s->param_norm, weights, 1e-12);
		assert_near(b.s->update_norm, updates, 1e-12);
	}
	close_fine(b.w);
}

/* Calls of one cell have windows of their own. */
static void calls_apart(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_module *list = weir_list_new(w, "rnn");
	weir_flow *f = watch_all(w);

	(void)state;
	weir_list_add(list, weir_linear_with(w, N, N,
					     &(weir_linear_options){ .init = WEIR_INIT_DIAGONAL, .init_scale = 0.5 }));
	for (int i = 0; i < 50; i++) {
		weir_tensor *h, *loss;
		int calls = i < 40 ? 3 : 5;

		weir_tape_reset(w);
		h = weir_full(w, WEIR_F64, 2, (int64_t[]){ B, N }, 1);
		for (int t = 0; t < calls; t++) h = weir_forward(weir_list_at(list, 0), h);
		weir_backward(loss = weir_sum_all(h));
		assert_true(weir_flow_step(f, loss));
		if (i != 39) continue;
		for (int call = 1; call <= 3; call++)
			assert_near(layer_named(f, "rnn.0", call)->delta_median, log2(sqrt(B * N)) - (3 - call), 1e-12);
	}
	assert_int_equal(layer_named(f, "rnn.0", 3)->spikes, 10); /* it halves twice more */
	assert_int_equal(layer_named(f, "rnn.0", 5)->spikes, 0);
	close_fine(w);
}

static void no_memory_in_the_long_run(void **state)
{
	bench b = make(16);
	uint64_t calls = 0;

	(void)state;
	for (int i = 0; i < 300; i++) {
		step_on(&b, 1 + i % 7, 1);
		if (i == 100) calls = weir_memory_of(b.w).allocator_calls;
	}
	assert_int_equal(weir_memory_of(b.w).allocator_calls, calls);
	close_fine(b.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(medians),
		cmocka_unit_test(numbers_by_hand),
		cmocka_unit_test(on_thin_steps),
		cmocka_unit_test(nothing_sticks),
		cmocka_unit_test(beginning),
		cmocka_unit_test(constant_series),
		cmocka_unit_test(new_level),
		cmocka_unit_test(loss_upwards),
		cmocka_unit_test(calls_apart),
		cmocka_unit_test(norms_of_all_parameters),
		cmocka_unit_test(no_memory_in_the_long_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
