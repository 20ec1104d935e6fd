/* test_flow_free.c: where backward releases values (weir_options.free_values) the instrument tells the same as where it does not: every number of
 * every layer, the verdict, its range, cause and evidence, the census; in whole steps and in thin ones that an alarm made whole. */
#include "tests/flow_check.h"

#include <math.h>

enum { B = 12, N = 10, LAYERS = 6, STEPS = 18, EPOCH = 8 };

typedef struct net {
	weir_ctx *w;
	weir_module *list;
	weir_flow *f;
	weir_act act;
	weir_optim *optim;
} net;

static net make(bool frees, weir_act act, weir_init_kind init, weir_dtype dtype, int64_t every, int stretch)
{
	weir_flow_options o;
	weir_options c;
	net n = { .act = act };

	weir_options_init(&c);
	c.handler = NULL;
	c.threads = 1;
	c.seed = 7;
	c.ieee_subnormals = true;
	c.free_values = frees;
	n.w = weir_open(&c);
	weir_module_dtype(n.w, dtype);
	n.list = weir_list_new(n.w, "n");
	for (int i = 0; i < LAYERS; i++) weir_list_add(n.list, weir_linear_new(n.w, N, N, init));
	n.optim = weir_sgd_new(n.w, n.list, 1e-3, 0);
	weir_flow_options_init(&o);
	o.every = every;
	o.budget = 0;
	o.epoch = EPOCH;
	o.stretch = stretch;
	n.f = weir_flow_watch(n.w, &o);
	return n;
}

static void set(const net *n, int parameter, double factor, double add)
{
	weir_tensor *p = weir_module_parameter(n->list, parameter);
	double v[N * N];

	assert_true(weir_read_f64(p, v, weir_numel(p)));
	for (int64_t i = 0; i < weir_numel(p); i++) v[i] = factor * v[i] + add;
	assert_true(weir_write_f64(p, v, weir_numel(p)));
}

static weir_tensor *input(const net *n, int number)
{
	weir_tensor *x = weir_zeros(n->w, weir_dtype_of(weir_module_parameter(n->list, 0)), 2, (int64_t[]){ B, N });
	double v[B * N];

	for (int i = 0; i < B * N; i++) v[i] = noise(number, i);
	assert_true(weir_write_f64(x, v, B * N));
	return x;
}

/* An optimiser refuses gradients that are not finite. */
static bool is_broken(const net *n)
{
	for (int i = 0; i < 2 * LAYERS; i++) {
		const weir_tensor *g = weir_grad_of(weir_module_parameter(n->list, i));

		if (g && !isfinite(norm_by_hand(g))) return true;
	}
	return false;
}

static void step(const net *n, int number)
{
	weir_tensor *t, *loss;

	weir_tape_reset(n->w);
	t = input(n, number);
	for (int i = 0; i < LAYERS; i++) {
		t = weir_forward(weir_list_at(n->list, i), t);
		if (i + 1 < LAYERS) t = weir_act_apply(t, n->act);
	}
	weir_backward(loss = weir_mean_all(weir_square(t)));
	if (!is_broken(n)) weir_optim_step(n->optim);
	assert_fine(n->w);
	assert_true(weir_flow_step(n->f, loss));
	assert_fine(n->w);
}

static void same_number(const char *layer, const char *what, double kept, double freed)
{
	if (kept != freed && !(isnan(kept) && isnan(freed)))
		fail_msg("%s: %s is %.17g, with values freed %.17g", layer, what, kept, freed);
}

static void same(const net *kept, const net *freed)
{
	const weir_flow_summary *a = weir_flow_summary_of(kept->f), *b = weir_flow_summary_of(freed->f);

	if (a->verdict != b->verdict || a->first_layer != b->first_layer || a->last_layer != b->last_layer ||
	    strcmp(a->cause ? a->cause : "-", b->cause ? b->cause : "-") || strcmp(a->evidence, b->evidence))
		fail_msg("%s %lld..%lld, %s: %s; with values freed %s %lld..%lld, %s: %s",
			 weir_verdict_name(a->verdict), (long long)a->first_layer, (long long)a->last_layer,
			 a->cause ? a->cause : "-", a->evidence, weir_verdict_name(b->verdict),
			 (long long)b->first_layer, (long long)b->last_layer, b->cause ? b->cause : "-", b->evidence);
	assert_int_equal(a->measured, b->measured);
	assert_int_equal(weir_flow_layer_count(kept->f), weir_flow_layer_count(freed->f));
	for (int64_t i = 0; i < weir_flow_layer_count(kept->f); i++) {
		const weir_flow_layer *p = weir_flow_layer_at(kept->f, i), *q = weir_flow_layer_at(freed->f, i);

		assert_string_equal(p->op, q->op);
#define SAME(field) same_number(p->name, #field, (double)p->field, (double)q->field)
		SAME(out_norm), SAME(out_gain), SAME(delta_norm), SAME(gain), SAME(act_slope), SAME(act_slope_max);
		SAME(act_slope_limit), SAME(saturated), SAME(units), SAME(dead_units), SAME(out_zeros), SAME(zeros);
		SAME(param_grad_norm), SAME(weight_norm), SAME(theory_gain);
#undef SAME
	}
}

static void pair(net n[2], weir_act act, weir_init_kind init, weir_dtype dtype, int64_t every)
{
	for (int k = 0; k < 2; k++) n[k] = make(k == 1, act, init, dtype, every, 0);
}

static void close_pair(net n[2])
{
	for (int k = 0; k < 2; k++) close_fine(n[k].w);
}

static const weir_act acts[] = { WEIR_ACT_RELU, WEIR_ACT_TANH, WEIR_ACT_SIGMOID, WEIR_ACT_GELU, WEIR_ACT_SILU };
enum { ACTS = sizeof acts / sizeof *acts };

/* Biases that shut layer 2, in the first step: dead, or saturated, there and nowhere else. */
static void planted(void **state)
{
	(void)state;
	for (int k = 0; k < ACTS; k++) {
		const weir_flow_summary *s;
		net n[2];

		pair(n, acts[k], WEIR_INIT_HE, k % 2 ? WEIR_F64 : WEIR_F32, 1);
		for (int i = 0; i < 2; i++) {
			set(&n[i], 2 * 2 + 1, 0, acts[k] == WEIR_ACT_TANH ? 4 : -200);
			step(&n[i], 1);
		}
		same(&n[0], &n[1]);
		s = weir_flow_summary_of(n[1].f);
		if (acts[k] == WEIR_ACT_RELU) assert_int_equal(s->verdict, WEIR_FLOW_DEAD);
		if (acts[k] == WEIR_ACT_TANH) assert_int_equal(s->verdict, WEIR_FLOW_SATURATED);
		if (k < 2) assert_string_equal(weir_flow_layer_at(n[1].f, s->first_layer)->name, "n.2");
		for (int i = 0; i + 1 < LAYERS; i++) assert_true(weir_flow_layer_at(n[1].f, i)->act_slope >= 0);
		close_pair(n);
	}
}

/* The same faults in a step that was to be thin: the alarm comes when the values behind the fault are gone. */
static void planted_in_a_thin_step(void **state)
{
	(void)state;
	for (int k = 0; k < ACTS; k++) {
		net n[2];

		pair(n, acts[k], WEIR_INIT_HE, k % 2 ? WEIR_F32 : WEIR_F64, 1000);
		for (int i = 0; i < STEPS; i++) {
			for (int j = 0; j < 2; j++) {
				if (i == 5) set(&n[j], 2 * 2 + 1, 0, -2000);
				if (i == 9) set(&n[j], 2 * 2 + 1, 0, 0.1);
				if (i == 13) set(&n[j], 2 * 4, 1e-30, 0);
				if (i == 17) set(&n[j], 2 * 4, INFINITY, 0);
				step(&n[j], i);
			}
			same(&n[0], &n[1]);
			if (i == 5 && acts[k] == WEIR_ACT_RELU) {
				const weir_flow_summary *s = weir_flow_summary_of(n[1].f);

				assert_int_equal(s->measured, 5);
				assert_int_equal(s->verdict, WEIR_FLOW_DEAD);
				assert_string_equal(weir_flow_layer_at(n[1].f, s->first_layer)->name, "n.2");
			}
		}
		assert_true(weir_flow_summary_of(n[0].f)->measured >= 17);
		close_pair(n);
	}
}

/* Units die and come back in thin steps. */
static void census(void **state)
{
	int64_t deaths = 0;

	(void)state;
	for (int k = 0; k < ACTS; k++) {
		net n[2];

		pair(n, acts[k], WEIR_INIT_HE, WEIR_F32, 16);
		for (int i = 0; i < 5 * STEPS; i++) {
			for (int j = 0; j < 2; j++) {
				if (i % 20 == 3) set(&n[j], 2 * (i % 5) + 1, 0, i % 40 == 3 ? -1000 : 0.1);
				step(&n[j], i);
			}
			same(&n[0], &n[1]);
			for (int l = 0; l + 1 < LAYERS; l++) {
				for (int u = 0; u < N; u++) {
					weir_flow_unit a = { 0 }, b = { 0 };

					assert_true(weir_flow_unit_of(n[0].f, l, u, &a));
					assert_true(weir_flow_unit_of(n[1].f, l, u, &b));
					assert_true(a.dead == b.dead && a.died == b.died && a.revived == b.revived);
					deaths += a.dead;
				}
			}
		}
		close_pair(n);
	}
	assert_true(deaths > 100);
}

/* A measurement that is asked for behind the forward pass cannot be had any more: the next step is measured. */
static void asked_too_late(void **state)
{
	net n = make(true, WEIR_ACT_TANH, WEIR_INIT_HE, WEIR_F32, 1000, 0);
	weir_tensor *x, *loss;

	(void)state;
	step(&n, 0);
	weir_tape_reset(n.w);
	x = weir_tanh(weir_forward(weir_list_at(n.list, 0), input(&n, 1)));
	weir_backward(loss = weir_sum_all(weir_square(x)));
	weir_flow_request(n.f);
	assert_true(weir_flow_step(n.f, loss));
	assert_int_equal(weir_flow_summary_of(n.f)->measured, 0);
	step(&n, 2);
	assert_int_equal(weir_flow_summary_of(n.f)->measured, 2);
	assert_true(weir_flow_layer_at(n.f, 0)->act_slope > 0);
	close_fine(n.w);
}

/* Watching changes no gradient, and leaves neither tape nor errors behind; a second network on the same tape keeps its numbers. */
static void two_networks_on_a_tape(void **state)
{
	double grad[2][2][N * N];

	(void)state;
	for (int watched = 0; watched < 2; watched++) {
		net n = make(true, WEIR_ACT_TANH, WEIR_INIT_HE, WEIR_F32, 1, 0);
		weir_tensor *loss[2];
		int64_t length;

		if (!watched) weir_flow_stop(n.f);
		for (int k = 0; k < 2; k++) {
			weir_tensor *x = weir_tanh(weir_forward(weir_list_at(n.list, 2 * k), input(&n, k)));

			x = weir_tanh(weir_forward(weir_list_at(n.list, 2 * k + 1), x));
			weir_backward(loss[k] = weir_sum_all(weir_square(x)));
		}
		length = weir_tape_length(n.w);
		if (watched) assert_true(weir_flow_step(n.f, loss[1]));
		assert_fine(n.w);
		assert_int_equal(weir_tape_length(n.w), length);
		assert_true(weir_is_recording(n.w));
		for (int k = 0; k < 2; k++) {
			const weir_tensor *g = weir_grad_of(weir_module_parameter(n.list, 4 * k));

			assert_true(weir_read_f64(g, grad[watched][k], N * N));
		}
		for (int i = 0; i < 4 && watched; i++) {
			if (!(weir_flow_layer_at(n.f, i)->act_slope > 0))
				fail_msg("layer %d: f' is %g", i, weir_flow_layer_at(n.f, i)->act_slope);
		}
		close_fine(n.w);
	}
	assert_memory_equal(grad[0], grad[1], sizeof grad[0]);
}

/* Before the weights are changed: of the forward pass, as they are where values are kept and the optimiser has not come yet. */
static void stretching_factors(void **state)
{
	(void)state;
	for (int k = 0; k < ACTS; k++) {
		double low[2][LAYERS], bound[2];

		for (int j = 0; j < 2; j++) {
			net n = make(j == 1, acts[k], WEIR_INIT_HE, WEIR_F64, 1, 40);
			weir_tensor *x = input(&n, 3), *loss;

			for (int i = 0; i < LAYERS; i++) {
				weir_tensor *y = weir_act_apply(weir_forward(weir_list_at(n.list, i), x), n.act);

				x = i == 3 ? weir_add(x, y) : y; /* not act(x Wᵀ + b) */
			}
			weir_backward(loss = weir_sum_all(x));
			assert_true(weir_flow_step(n.f, loss));
			for (int i = 0; i < LAYERS; i++) low[j][i] = weir_flow_layer_at(n.f, i)->stretch_low;
			bound[j] = weir_flow_summary_of(n.f)->bound_bits;
			close_fine(n.w);
		}
		for (int i = 0; i < LAYERS; i++) {
			if (!(low[0][i] > 0) || low[0][i] != low[1][i])
				fail_msg("layer %d: %.17g, with values freed %.17g", i, low[0][i], low[1][i]);
		}
		assert_true(bound[0] == bound[0] && bound[0] == bound[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(planted),
		cmocka_unit_test(planted_in_a_thin_step),
		cmocka_unit_test(census),
		cmocka_unit_test(asked_too_late),
		cmocka_unit_test(two_networks_on_a_tape),
		cmocka_unit_test(stretching_factors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
