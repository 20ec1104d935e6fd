/* test_flow_theory.c: mean-field theory: moments against plain integration, published figures, critical points, and the gain of layers
 * against what random weights do. */
#include "tests/flow_check.h"

static double plain(weir_act act, double u, bool slope)
{
	double s = 1 / (1 + exp(-u)), t = tanh(u), cdf = 0.5 * erfc(-u / sqrt(2)),
	       pdf = exp(-u * u / 2) / 2.5066282746310002;

	switch (act) {
	case WEIR_ACT_SIGMOID: return slope ? s * (1 - s) : s;
	case WEIR_ACT_TANH: return slope ? 1 - t * t : t;
	case WEIR_ACT_RELU: return slope ? u > 0 : u > 0 ? u : 0;
	case WEIR_ACT_GELU: return slope ? cdf + u * pdf : u * cdf;
	case WEIR_ACT_SILU: return slope ? s + u * s * (1 - s) : u * s;
	default: return slope ? 1 : u;
	}
}

/* Midpoints: no point falls on relu's bend. */
static double integral(weir_act act, double q, bool slope)
{
	double sum = 0, h = 1.0 / 1024;

	for (int i = -10 * 1024; i < 10 * 1024; i++) {
		double z = (i + 0.5) * h, f = plain(act, sqrt(q) * z, slope);

		sum += f * f * exp(-z * z / 2) * h;
	}
	return sum / 2.5066282746310002;
}

static void moments(void **state)
{
	static const double qs[] = { 0, 1e-12, 0.01, 0.3, 1, 2.7, 25, 1e4 };

	(void)state;
	for (weir_act act = WEIR_ACT_IDENTITY; act <= WEIR_ACT_SILU; act++) {
		for (size_t i = 0; i < sizeof qs / sizeof *qs; i++) {
			double v, s, q = qs[i], want = integral(act, q, false);

			weir_flow_moments(act, q, &v, &s);
			if (!(fabs(v - want) <= 1e-8 * want)) fail_msg("%d %g: %.17g, %.17g", (int)act, q, v, want);
			want = q == 0 && act == WEIR_ACT_RELU ? 0.5 : integral(act, q, true);
			if (!(fabs(s - want) <= 1e-6 * want))
				fail_msg("%d %g slope: %.17g, %.17g", (int)act, q, s, want);
		}
	}
}

/* Far out a bounded function is a step, and the others are a ramp; and what makes no sense has no moments. */
static void extremes(void **state)
{
	static const double qs[] = { 1e12, 1e23, 1e25, 1e300, INFINITY };
	double v, s;

	(void)state;
	for (size_t i = 0; i < sizeof qs / sizeof *qs; i++) {
		weir_flow_moments(WEIR_ACT_TANH, qs[i], &v, &s);
		assert_near(v, 1, 2e-6);
		assert_near(s, 0, 1e-6);
		weir_flow_moments(WEIR_ACT_SIGMOID, qs[i], &v, &s);
		assert_near(v, 0.5, 2e-6);
		weir_flow_moments(WEIR_ACT_GELU, qs[i], &v, &s);
		assert_near(s, 0.5, 2e-6);
		assert_true(qs[i] > 1e301 ? isinf(v) : fabs(v / qs[i] - 0.5) < 1e-6);
	}
	weir_flow_moments(WEIR_ACT_TANH, -1, &v, &s);
	assert_true(isnan(v) && isnan(s));
	weir_flow_moments(WEIR_ACT_TANH, NAN, &v, &s);
	assert_true(isnan(v) && isnan(s));
	weir_flow_moments((weir_act)17, 1, &v, &s);
	assert_true(isnan(v) && isnan(s));
}

/* Schoenholz et al. 2017: tanh, sigma_b² = 0.05. */
static void published(void **state)
{
	weir_flow_field r = weir_flow_theory(WEIR_ACT_TANH, 1, 0.05);

	(void)state;
	assert_true(r.converged);
	assert_near(r.q_star, 0.19359, 1e-5);
	assert_near(r.chi1, 0.75903, 1e-5);
	assert_near(r.xi, 3.627, 1e-3);
	assert_near(weir_flow_theory(WEIR_ACT_TANH, 1.5, 0.05).chi1, 0.93864, 1e-5);
	assert_near(weir_flow_theory(WEIR_ACT_TANH, 2.5, 0.05).chi1, 1.1335, 5e-5);
	assert_near(weir_flow_theory(WEIR_ACT_SIGMOID, 1, 0).chi1, 0.05572, 1e-5);
}

/* q* is a fixed point, whatever the activation; the iteration itself, run long enough, ends there. */
static void fixed_points(void **state)
{
	(void)state;
	for (weir_act act = WEIR_ACT_IDENTITY; act <= WEIR_ACT_SILU; act++) {
		for (int k = 1; k < 12; k++) {
			double sw = k % 4 * 0.45 + 0.1, sb = k / 4 * 0.4, q = 1, v, s;
			weir_flow_field r = weir_flow_theory(act, sw, sb);

			for (int i = 0; i < 3000 && q < 1e200; i++) {
				double was = q;

				weir_flow_moments(act, q, &v, &s);
				q = sw * v + sb;
				if (fabs(q - was) <= 1e-15 * q) break;
			}
			if (isinf(r.q_star) ? q < 1e3 || r.converged
					    : !(fabs(r.q_star - q) <= 1e-9 * (q + 1e-9)) &&
						      !(q < 1e-3 && r.q_star < 1e-9) /* as slow as 1 / n */)
				fail_msg("%d %g %g: %.17g, the iteration %.17g", (int)act, sw, sb, r.q_star, q);
		}
	}
}

static void special_fields(void **state)
{
	weir_flow_field r = weir_flow_theory(WEIR_ACT_RELU, 2, 0);

	(void)state;
	assert_true(r.converged && r.q_star == 1 && r.chi1 == 1 && isinf(r.xi));
	r = weir_flow_theory(WEIR_ACT_RELU, 2, 0.1);
	assert_true(!r.converged && isinf(r.q_star) && r.chi1 == 1);
	r = weir_flow_theory(WEIR_ACT_RELU, 1, 0.25);
	assert_near(r.q_star, 0.5, 1e-15);
	r = weir_flow_theory(WEIR_ACT_TANH, 0.5, 0);
	assert_true(r.converged && r.q_star == 0);
	assert_near(r.chi1, 0.5, 1e-15);
	r = weir_flow_theory(WEIR_ACT_GELU, 4, 0.1);
	assert_true(!r.converged && isinf(r.q_star));
	assert_near(r.chi1, 2, 1e-12);
	r = weir_flow_theory(WEIR_ACT_TANH, 0, 0);
	assert_true(r.converged && r.q_star == 0 && r.chi1 == 0 && r.xi == 0);
	r = weir_flow_theory(WEIR_ACT_TANH, 1e200, 1);
	assert_true(r.converged);
	assert_near(r.q_star / 1e200, 1, 1e-6);
	assert_true(isnan(weir_flow_theory(WEIR_ACT_TANH, -1, 0).chi1));
	assert_true(isnan(weir_flow_theory(WEIR_ACT_TANH, NAN, 0).q_star));
	assert_true(isnan(weir_flow_theory(WEIR_ACT_TANH, 1, INFINITY).q_star));
	assert_true(isnan(weir_flow_theory((weir_act)6, 1, 1).q_star));
}

static void critical(void **state)
{
	double sigmoid;

	(void)state;
	assert_near(weir_flow_critical(WEIR_ACT_TANH, 0.05), 1.76095, 1e-5);
	assert_near(weir_flow_critical(WEIR_ACT_TANH, 0), 1, 1e-6);
	assert_near(weir_flow_critical(WEIR_ACT_RELU, 0), 2, 1e-6);
	assert_near(weir_flow_critical(WEIR_ACT_RELU, 0.3), 2, 1e-6);
	assert_near(weir_flow_critical(WEIR_ACT_IDENTITY, 0), 1, 1e-6);
	/* Sigmoid needs weights beyond any initialiser's, and then it is there. */
	sigmoid = weir_flow_critical(WEIR_ACT_SIGMOID, 0);
	assert_true(sigmoid > 100 && sigmoid < 200);
	assert_near(weir_flow_theory(WEIR_ACT_SIGMOID, sigmoid, 0).chi1, 1, 1e-6);
	/* From q = 1 gelu's chi1 jumps from below 1 to above it, when q leaves for infinity. */
	assert_true(isnan(weir_flow_critical(WEIR_ACT_GELU, 0)));
	assert_near(weir_flow_theory(WEIR_ACT_GELU, weir_flow_critical(WEIR_ACT_GELU, 0.5), 0.5).chi1, 1, 1e-6);
	assert_near(weir_flow_theory(WEIR_ACT_SILU, weir_flow_critical(WEIR_ACT_SILU, 1), 1).chi1, 1, 1e-6);
	assert_true(isnan(weir_flow_critical(WEIR_ACT_TANH, -1)));
	assert_true(isnan(weir_flow_critical(WEIR_ACT_TANH, NAN)));
}

/* ---- layers ---- */

/* A tanh layer from in to out units with normal weights and biases; its measured gain, averaged over seeds, against theory. */
static void simulate(int64_t in, int64_t out, weir_act act, bool matmul)
{
	double gain = 0, expected = 0, lowest = 1e9, highest = 0;
	enum { NETS = 12 };

	for (int seed = 0; seed < NETS; seed++) {
		weir_ctx *w = open_as(WEIR_F64, 1, (uint64_t)seed + 40);
		weir_flow *f = watch_all(w);
		weir_tensor *W = weir_param_new(w, "l.weight", WEIR_F64, 2,
						matmul ? (int64_t[]){ in, out } : (int64_t[]){ out, in });
		weir_tensor *b = weir_param_new(w, "l.bias", WEIR_F64, 1, &out), *x, *y, *loss;
		const weir_flow_layer *p;

		weir_read_f64(weir_normal(w, WEIR_F64, 2, weir_shape(W), 0, sqrt(1.7 / (double)in)),
			      weir_data_mut(W, NULL), in * out);
		weir_read_f64(weir_normal(w, WEIR_F64, 1, &out, 0, 0.3), weir_data_mut(b, NULL), out);
		weir_tape_reset(w);
		x = weir_normal(w, WEIR_F64, 2, (int64_t[]){ 128, in }, 0, 0.8);
		weir_scope_begin(w, "l");
		y = matmul ? weir_add(weir_matmul(x, W), b) : weir_linear(x, W, b);
		y = weir_act_apply(y, act);
		weir_scope_end(w);
		weir_scope_begin(w, "loss");
		loss = weir_sum_all(weir_mul(y, weir_normal(w, WEIR_F64, 2, weir_shape(y), 0, 1)));
		weir_scope_end(w);
		weir_backward(loss);
		weir_flow_step(f, loss);
		p = layer_named(f, "l", 1);
		if (isnan(p->theory_gain)) fail_msg("%s has no theory", layers_text(f));
		gain += p->gain * p->gain / NETS;
		expected += p->theory_gain * p->theory_gain / NETS;
		lowest = p->theory_gain < lowest ? p->theory_gain : lowest;
		highest = p->theory_gain > highest ? p->theory_gain : highest;
		close_fine(w);
	}
	assert_true(lowest > 0.85 * highest);
	if (!(fabs(gain / expected - 1) < 0.04))
		fail_msg("%d to %d, activation %d: gain² %g, theory %g", (int)in, (int)out, (int)act, gain, expected);
}

static void layers(void **state)
{
	(void)state;
	for (weir_act act = WEIR_ACT_IDENTITY; act <= WEIR_ACT_SILU; act++) {
		simulate(64, 32, act, false);
		simulate(32, 64, act, act == WEIR_ACT_TANH || act == WEIR_ACT_GELU);
	}
}

static weir_tensor *chain(weir_ctx *w, weir_module *const *m, int n, int64_t in)
{
	weir_tensor *x = weir_normal(w, WEIR_F64, 2, (int64_t[]){ 16, in }, 0, 1);

	for (int i = 0; i < n; i++) x = weir_forward(m[i], x);
	return weir_mean_all(weir_square(x));
}

/* diag(0.5): the theory says 0.5 exactly; the summary is of the most frequent activation. */
static void summary(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	weir_linear_options o;
	const weir_flow_summary *s = weir_flow_summary_of(f);
	weir_module *seq = weir_sequential_new(w, "mlp"), *m[1] = { seq };
	weir_tensor *loss;

	(void)state;
	assert_true(isnan(s->chi1));
	weir_linear_options_init(&o);
	o.init = WEIR_INIT_DIAGONAL;
	o.init_scale = 0.5;
	for (int i = 0; i < 5; i++) {
		o.act = i < 3 ? WEIR_ACT_TANH : i == 3 ? WEIR_ACT_SILU : WEIR_ACT_IDENTITY;
		o.init_scale = i == 1 ? 1.2 : 0.5;
		weir_module_add(seq, NULL, weir_linear_with(w, 8, 8, &o));
	}
	weir_module_add(seq, NULL, weir_layer_norm_new(w, 8, 1e-5));
	loss = chain(w, m, 1, 8);
	weir_backward(loss);
	weir_flow_step(f, loss);
	assert_near(layer_named(f, "mlp.4", 1)->theory_gain, 0.5, 1e-14);
	assert_near(layer_named(f, "mlp.4", 1)->gain, 0.5, 1e-14);
	assert_true(layer_named(f, "mlp.0", 1)->theory_gain < 0.5);
	assert_true(isnan(layer_named(f, "mlp.5", 1)->theory_gain));
	assert_near(s->q_star, 0, 1e-15);
	assert_near(s->chi1, 0.25, 1e-14);
	assert_near(s->xi, -1 / log(0.25), 1e-12);
	close_fine(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moments),      cmocka_unit_test(extremes),       cmocka_unit_test(published),
		cmocka_unit_test(fixed_points), cmocka_unit_test(special_fields), cmocka_unit_test(critical),
		cmocka_unit_test(layers),       cmocka_unit_test(summary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
