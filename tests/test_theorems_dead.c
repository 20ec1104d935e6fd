/* test_theorems_dead.c: ReLU networks that are born dead.
 *
 * Lu, Shin, Su and Karniadakis 2019: with weights from a distribution that is symmetric around 0, and without biases, a ReLU layer of n units
 * gives zeros only with probability 2^-n, for each of its z is negative for every second draw; and behind zeros all is zero. For one
 * input (or the inputs on one ray from 0) the layers are independent, so that a network of L layers is dead for it with probability
 * 1 - (1 - 2^-n)^L exactly. For a set of inputs, dead means zero for all of them: that is rarer, and the formula is a bound. */
#include "tests/theorem_check.h"

enum { LAYERS = 10, NETS = 20000 };

/* Of NETS networks at once, the share whose output is zero for all of `inputs` random inputs. Their gradients are zero exactly there. */
static double share_of_dead(int64_t n, int64_t inputs, bool uniform)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_tensor *x = weir_normal(w, WEIR_F32, 3, (int64_t[]){ NETS, inputs, n }, 0, 1), *y = x, *gx, *out, *back;
	int64_t dead = 0;

	weir_retain_grad(x);
	for (int l = 0; l < LAYERS; l++) {
		int64_t shape[] = { NETS, n, n };

		y = weir_relu(weir_matmul(y, uniform ? weir_uniform(w, WEIR_F32, 3, shape, -1, 1)
						     : weir_normal(w, WEIR_F32, 3, shape, 0, 1)));
	}
	assert_true(weir_grad(weir_sum_all(y), &x, 1, &gx, 0));
	out = weir_amax(y, 2, (int[]){ 1, 2 }, false);
	back = weir_amax(weir_abs(gx), 2, (int[]){ 1, 2 }, false);
	for (int64_t k = 0; k < NETS; k++) {
		bool zero = weir_get(out, k) == 0;

		dead += zero;
		if (zero && weir_get(back, k) != 0)
			fail_msg("network %lld of width %lld is dead: got the gradient %g, want 0", (long long)k,
				 (long long)n, weir_get(back, k));
	}
	close_fine(w);
	return (double)dead / NETS;
}

static const struct {
	int64_t n;
	double probability;
} rows[] = { { 2, 0.9437 }, { 4, 0.4755 } };

static void one_input(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		double want = 1 - pow(1 - exp2(-(double)rows[i].n), LAYERS);

		within("the figure", rows[i].probability, want, 5e-5);
		within("dead networks, normal weights", share_of_dead(rows[i].n, 1, false), want, 0.01);
		within("dead networks, uniform weights", share_of_dead(rows[i].n, 1, true), want, 0.01);
	}
}

static void many_inputs(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		double dead = share_of_dead(rows[i].n, 16, false);

		at_most("networks dead for all of 16 inputs", dead, rows[i].probability - 0.02, 0);
		above("networks dead for all of 16 inputs", dead, 0.1);
	}
}

/* The instrument's verdict is dead for the networks that are, and for no other. */
static void verdict(void **state)
{
	enum { TRIES = 300, N = 4 };
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_module *net = chain(w, LAYERS, N, WEIR_INIT_HE, 1);
	weir_flow *f = watch_all(w);
	int dead = 0;

	(void)state;
	for (int k = 0; k < TRIES; k++) {
		weir_tensor *y;
		bool zero;

		weir_tape_reset(w);
		draw_again(net, WEIR_INIT_HE, 1);
		y = through(net, gaussian(w, 1, N), WEIR_ACT_RELU, NULL);
		observe(f, weir_sum_all(y));
		zero = norm_by_hand(y) == 0;
		dead += zero;
		if (zero != (weir_flow_verdict(f) == WEIR_FLOW_DEAD) ||
		    zero != (weir_flow_summary_of(f)->input_delta_norm == 0))
			fail_msg("network %d: |y| = %g, |dL/dx| = %g, got the verdict %s (%s), want %s", k,
				 norm_by_hand(y), weir_flow_summary_of(f)->input_delta_norm,
				 weir_verdict_name(weir_flow_verdict(f)), weir_flow_summary_of(f)->evidence,
				 zero ? "dead" : "another");
	}
	within("dead networks of 300", (double)dead / TRIES, rows[1].probability, 3 * sqrt(0.25 / TRIES));
	close_fine(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_input),
		cmocka_unit_test(many_inputs),
		cmocka_unit_test(verdict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
