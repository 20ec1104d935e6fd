/* test_theorems_field.c: mean-field theory of wide random networks: its figures, against quadrature of the test's own, and against networks
 * drawn at random. Each test stands under its statement and that statement's source. */
#include "tests/theorem_check.h"

/* E f(√q Z)² and E f'(√q Z)² by the rule of equal steps, which is exact to rounding for smooth functions that die out so fast. */
static void moments(weir_act act, double q, double *value2, double *slope2)
{
	const double step = 1.0 / 64;
	double v = 0, s = 0;

	for (int i = -12 * 64; i <= 12 * 64; i++) {
		double z = i * step, p = step * exp(-z * z / 2) / sqrt(2 * acos(-1)), x = sqrt(q) * z;
		double f = act == WEIR_ACT_TANH ? tanh(x) : 1 / (1 + exp(-x));
		double d = act == WEIR_ACT_TANH ? 1 - f * f : f * (1 - f);

		v += p * f * f;
		s += p * d * d;
	}
	*value2 = v;
	*slope2 = s;
}

static void quadrature(void **state)
{
	static const double q[] = { 1e-6, 0.01, 0.19359, 1, 5, 30 };

	(void)state;
	for (size_t i = 0; i < sizeof q / sizeof *q; i++) {
		double value, slope, want_value, want_slope;

		for (int tanh = 0; tanh < 2; tanh++) {
			weir_act act = tanh ? WEIR_ACT_TANH : WEIR_ACT_SIGMOID;

			weir_flow_moments(act, q[i], &value, &slope);
			moments(act, q[i], &want_value, &want_slope);
			relative("E f²", value, want_value, 1e-5);
			relative("E f'²", slope, want_slope, 1e-5);
		}
		weir_flow_moments(WEIR_ACT_RELU, q[i], &value, &slope);
		relative("ReLU, E f²", value, q[i] / 2, 1e-6);
		relative("ReLU, E f'²", slope, 0.5, 1e-6);
		weir_flow_moments(WEIR_ACT_IDENTITY, q[i], &value, &slope);
		relative("identity, E f²", value, q[i], 1e-6);
		relative("identity, E f'²", slope, 1, 1e-6);
	}
}

/* Poole et al. 2016, Schoenholz et al. 2017: q* = sigma_w² E f(√q* Z)² + sigma_b²; chi1 = sigma_w² E f'(√q* Z)² is what a layer multiplies the
 * mean square of the gradient by, xi = -1 / ln chi1 the layers in which it falls by e. */
typedef struct figure {
	double sigma_w2, q_star, chi1, xi; /* NaN: no figure to compare with */
} figure;

static const double sigma_b2 = 0.05;

static const figure schoenholz[] = {
	{ 1, 0.19359, 0.75903, 3.627 },
	{ 1.5, NAN, 0.93864, NAN },
	{ 2.5, NAN, 1.1335, NAN },
};

static void fixed_points(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof schoenholz / sizeof *schoenholz; i++) {
		const figure *t = &schoenholz[i];
		weir_flow_field got = weir_flow_theory(WEIR_ACT_TANH, t->sigma_w2, sigma_b2);
		double q = 1, value, slope;

		for (int k = 0; k < 2000; k++) {
			moments(WEIR_ACT_TANH, q, &value, &slope);
			q = t->sigma_w2 * value + sigma_b2;
		}
		within("converged", got.converged, 1, 0);
		within("q*", got.q_star, q, 1e-5);
		within("chi1", got.chi1, t->sigma_w2 * slope, 1e-5);
		within("xi", got.xi, -1 / log(t->sigma_w2 * slope), 1e-3);
		within("the figure of chi1", got.chi1, t->chi1, i == 2 ? 5e-5 : 1e-5);
		if (t->q_star == t->q_star) within("the figure of q*", got.q_star, t->q_star, 1e-5);
		if (t->xi == t->xi) within("the figure of xi", got.xi, t->xi, 1e-3);
	}
	within("sigma_w² where chi1 is 1, sigma_b² = 0.05", weir_flow_critical(WEIR_ACT_TANH, sigma_b2), 1.76095, 1e-5);
}

/* The critical lines: ReLU passes the mean square of the gradient at sigma_w² = 2 (He et al. 2015), tanh without biases at 1, as a linear
 * network; sigmoid at sigma_w = 1 is far below: 1/16 is the most it could have. */
static void critical_lines(void **state)
{
	weir_flow_field relu = weir_flow_theory(WEIR_ACT_RELU, 2, 0),
			sigmoid = weir_flow_theory(WEIR_ACT_SIGMOID, 1, 0);

	(void)state;
	within("ReLU, critical sigma_w²", weir_flow_critical(WEIR_ACT_RELU, 0), 2, 1e-6);
	within("ReLU, chi1 at 2", relu.chi1, 1, 1e-6);
	within("ReLU, chi1 at 1", weir_flow_theory(WEIR_ACT_RELU, 1, 0).chi1, 0.5, 1e-6);
	within("tanh, critical sigma_w²", weir_flow_critical(WEIR_ACT_TANH, 0), 1, 1e-6);
	within("identity, critical sigma_w²", weir_flow_critical(WEIR_ACT_IDENTITY, 0), 1, 1e-6);
	within("sigmoid, chi1 at 1", sigmoid.chi1, 0.05572, 1e-4);
}

/* A layer with biases of this variance, weights of sigma_w² / fan_in. */
static void draw(weir_module *net, double sigma_w2, double variance)
{
	for (int64_t l = 0; l < weir_module_count(net); l++) {
		weir_tensor *bias = weir_module_parameter(net, 2 * l + 1);
		int64_t n = weir_numel(bias);
		double v[512];

		assert_true(n <= 512);
		assert_true(weir_init_fill(weir_module_parameter(net, 2 * l), WEIR_INIT_GLOROT_NORMAL, sqrt(sigma_w2)));
		assert_true(weir_read_f64(weir_normal(weir_context(bias), WEIR_F64, 1, &n, 0, sqrt(variance)), v, n));
		assert_true(weir_write_f64(bias, v, n));
	}
}

/* In tanh networks of width 400 and depth 20 whose input has the fixed point's size, the gain per layer is √chi1, by the slope, by each
 * layer's theory_gain and by the summary's chi1. */
static void simulated(void **state)
{
	enum { LAYERS = 20, N = 400, NETS = 6 };
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_module *net = weir_list_new(w, "mlp");
	weir_flow *f = watch_all(w);
	const weir_flow_summary *s = weir_flow_summary_of(f);

	(void)state;
	for (int l = 0; l < LAYERS; l++) weir_list_add(net, weir_linear_new(w, N, N, WEIR_INIT_ZEROS));
	for (size_t i = 0; i < sizeof schoenholz / sizeof *schoenholz; i++) {
		double sigma_w2 = schoenholz[i].sigma_w2, want = sqrt(schoenholz[i].chi1);
		weir_flow_field theory = weir_flow_theory(WEIR_ACT_TANH, sigma_w2, sigma_b2);
		sample slope = { 0 }, chi1 = { 0 }, layers = { 0 };

		for (int k = 0; k < NETS; k++) {
			weir_tensor *x, *y;

			weir_tape_reset(w);
			draw(net, sigma_w2, sigma_b2);
			x = weir_affine(gaussian(w, 1, N), sqrt((theory.q_star - sigma_b2) / sigma_w2), 0);
			y = through(net, x, WEIR_ACT_TANH, NULL);
			observe(f, against(y, gaussian(w, 1, N)));
			take(&slope, s->gain_per_layer);
			take(&chi1, s->chi1);
			for (int l = 1; l < LAYERS; l++) take(&layers, weir_flow_layer_at(f, l)->theory_gain);
		}
		within("gain per layer", mean_of(&slope), want, 0.03);
		within("the layers' theory", mean_of(&layers), want, 0.03);
		within("the summary's √chi1", sqrt(mean_of(&chi1)), want, 0.03);
	}
	close_fine(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quadrature),
		cmocka_unit_test(fixed_points),
		cmocka_unit_test(critical_lines),
		cmocka_unit_test(simulated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
