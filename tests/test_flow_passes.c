/* test_flow_passes.c: several backward passes in one step. Micro-batches give the report of the whole batch, however it is cut; the norms of parameters'
 * gradients are those of what the accumulators hold; two losses, on one tape or on two, count both.
 * Long, because each way to make a step of several passes is a case of its own. */
#include "tests/flow_check.h"

#include <math.h>

enum { ROWS = 24, N = 8, LAYERS = 5, STEPS = 5 };

typedef struct net {
	weir_ctx *w;
	weir_module *list;
	weir_flow *f;
	const weir_flow_summary *s;
	weir_act act;
} net;

static net make(weir_act act, weir_init_kind init, double scale, int64_t every, bool frees)
{
	weir_flow_options o;
	weir_options c;
	net n = { .act = act };

	weir_options_init(&c);
	c.handler = NULL;
	c.threads = 1;
	c.seed = 7;
	c.ieee_subnormals = true;
	c.check_stale = false;
	c.free_values = frees;
	n.w = weir_open(&c);
	weir_module_dtype(n.w, WEIR_F64);
	n.list = weir_list_new(n.w, "n");
	for (int i = 0; i < LAYERS; i++) {
		weir_linear_options l;

		weir_linear_options_init(&l);
		l.init = init;
		l.init_scale = scale;
		weir_list_add(n.list, weir_linear_with(n.w, N, N, &l));
	}
	weir_flow_options_init(&o);
	o.every = every;
	o.budget = 0;
	n.f = weir_flow_watch(n.w, &o);
	n.s = weir_flow_summary_of(n.f);
	return n;
}

static void forget_gradients(const net *n)
{
	for (int i = 0; i < 2 * LAYERS; i++) weir_zero_grad(weir_module_parameter(n->list, i));
}

/* What the network makes of these rows of batch number `number`. */
static weir_tensor *run(const net *n, int number, int row, int rows)
{
	weir_tensor *t = weir_zeros(n->w, WEIR_F64, 2, (int64_t[]){ rows, N });
	double v[ROWS * N];

	for (int i = 0; i < rows * N; i++) v[i] = noise(number, row * N + i);
	assert_true(weir_write_f64(t, v, rows * N));
	for (int i = 0; i < LAYERS; i++) {
		t = weir_forward(weir_list_at(n->list, i), t);
		if (i + 1 < LAYERS) t = weir_act_apply(t, n->act);
	}
	return t;
}

/* A step on batch `number` in so many micro-batches: each with its share of the mean, a tape and a backward. */
static void step(const net *n, int number, int pieces)
{
	weir_tensor *loss = NULL;

	forget_gradients(n);
	for (int k = 0; k < pieces; k++) {
		weir_tape_reset(n->w);
		loss = weir_mean_all(weir_square(run(n, number, k * (ROWS / pieces), ROWS / pieces)));
		loss = weir_affine(loss, 1.0 / pieces, 0);
		weir_backward(loss);
	}
	assert_fine(n->w);
	assert_true(weir_flow_step(n->f, loss));
	assert_fine(n->w);
}

static void near(const char *what, double have, double want)
{
	if (!(fabs(have - want) <= 1e-12 * fabs(want)) && !(isnan(have) && isnan(want)))
		fail_msg("%s is %.17g; want %.17g", what, have, want);
}

static double accumulated(const net *n)
{
	double sum = 0;

	for (int i = 0; i < 2 * LAYERS; i++) {
		const weir_tensor *g = weir_grad_of(weir_module_parameter(n->list, i));

		if (g) sum += norm_by_hand(g) * norm_by_hand(g);
	}
	return sqrt(sum);
}

static double accumulated_of(const net *n, int layer)
{
	return hypot(norm_by_hand(weir_grad_of(weir_module_parameter(n->list, 2 * layer))),
		     norm_by_hand(weir_grad_of(weir_module_parameter(n->list, 2 * layer + 1))));
}

static const struct {
	weir_act act;
	weir_init_kind init;
	double scale;
	weir_verdict verdict;
} kinds[] = {
	{ WEIR_ACT_TANH, WEIR_INIT_ORTHOGONAL, 1, WEIR_FLOW_HEALTHY },
	{ WEIR_ACT_SIGMOID, WEIR_INIT_GLOROT, 1, WEIR_FLOW_VANISHING },
	{ WEIR_ACT_IDENTITY, WEIR_INIT_ORTHOGONAL, 4, WEIR_FLOW_EXPLODING },
	{ WEIR_ACT_TANH, WEIR_INIT_ORTHOGONAL, 100, WEIR_FLOW_SATURATED },
	{ WEIR_ACT_RELU, WEIR_INIT_HE, 1, WEIR_FLOW_HEALTHY },
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void compare(const net *one, const net *cut, bool whole)
{
	near("loss", cut->s->loss, one->s->loss);
	near("‖all dW‖", cut->s->param_grad_norm, one->s->param_grad_norm);
	near("‖all dW‖", cut->s->param_grad_norm, accumulated(cut));
	assert_int_equal(cut->s->measured, one->s->measured);
	for (int i = 0; i < LAYERS; i++) {
		const weir_flow_layer *p = weir_flow_layer_at(one->f, i), *q = weir_flow_layer_at(cut->f, i);

		near("‖delta‖", q->delta_norm, p->delta_norm);
		if (!whole) continue;
		near("‖dW‖", q->param_grad_norm, p->param_grad_norm);
		near("‖dW‖", q->param_grad_norm, accumulated_of(cut, i));
		near("gain", q->gain, p->gain);
	}
	if (!whole) return;
	near("total gain", cut->s->total_gain, one->s->total_gain);
	near("gain per layer", cut->s->gain_per_layer, one->s->gain_per_layer);
	assert_int_equal(cut->s->verdict, one->s->verdict);
	assert_int_equal(cut->s->first_layer, one->s->first_layer);
	assert_int_equal(cut->s->last_layer, one->s->last_layer);
	assert_string_equal(cut->s->cause ? cut->s->cause : "-", one->s->cause ? one->s->cause : "-");
}

static void micro_batches(void **state)
{
	static const int cuts[] = { 2, 4, 12 };

	(void)state;
	for (int k = 0; k < KINDS; k++) {
		for (int c = 0; c < 6; c++) {
			net one = make(kinds[k].act, kinds[k].init, kinds[k].scale, 3, c & 1),
			    cut = make(kinds[k].act, kinds[k].init, kinds[k].scale, 3, c & 1);

			for (int i = 0; i < STEPS; i++) {
				step(&one, i, 1);
				step(&cut, i, cuts[c / 2]);
				compare(&one, &cut, i % 3 == 0);
				if (!i) assert_int_equal(cut.s->verdict, kinds[k].verdict);
			}
			close_fine(one.w);
			close_fine(cut.w);
		}
	}
}

/* √(‖delta of the one‖² + ‖delta of the other‖²), and the norm of the sum of the gradients. */
static void two_losses_on_a_tape(void **state)
{
	net alone = make(WEIR_ACT_TANH, WEIR_INIT_GLOROT, 1, 1, false),
	    n = make(WEIR_ACT_TANH, WEIR_INIT_GLOROT, 1, 2, false);
	double delta[2][LAYERS], loss[2];

	(void)state;
	for (int k = 0; k < 2; k++) {
		weir_tensor *y, *l;

		weir_tape_reset(alone.w);
		forget_gradients(&alone);
		y = run(&alone, 1, 0, ROWS);
		l = k ? weir_mean_all(weir_square(y)) : weir_sum_all(y);
		weir_backward(l);
		weir_flow_step(alone.f, l);
		loss[k] = alone.s->loss;
		for (int i = 0; i < LAYERS; i++) delta[k][i] = weir_flow_layer_at(alone.f, i)->delta_norm;
	}
	for (int i = 0; i < 4; i++) {
		weir_tensor *y, *first, *second;

		weir_tape_reset(n.w);
		forget_gradients(&n);
		y = run(&n, 1, 0, ROWS);
		first = weir_sum_all(y);
		second = weir_mean_all(weir_square(y));
		weir_backward(i < 2 ? first : second);
		weir_backward(i < 2 ? second : first);
		assert_true(weir_flow_step(n.f, i < 2 ? second : first));
		near("loss", n.s->loss, loss[0] + loss[1]);
		near("‖all dW‖", n.s->param_grad_norm, accumulated(&n));
		for (int l = 0; l < LAYERS; l++) {
			const weir_flow_layer *p = weir_flow_layer_at(n.f, l);

			near("‖delta‖", p->delta_norm, hypot(delta[0][l], delta[1][l]));
			if (n.s->measured == n.s->step) near("‖dW‖", p->param_grad_norm, accumulated_of(&n, l));
		}
	}
	assert_int_equal(n.s->verdict, WEIR_FLOW_HEALTHY);
	close_fine(alone.w);
	close_fine(n.w);
}

/* The losses of two players: what they ask of the shared layers cancels, but flows. */
static void opposed_losses(void **state)
{
	net n = make(WEIR_ACT_TANH, WEIR_INIT_GLOROT, 1, 1, false);
	weir_tensor *one, *other;

	(void)state;
	one = weir_mean_all(weir_square(run(&n, 1, 0, ROWS)));
	other = weir_neg(one);
	weir_backward(one);
	weir_backward(other);
	assert_true(weir_flow_step(n.f, other));
	for (int l = 0; l < LAYERS; l++) {
		assert_true(weir_flow_layer_at(n.f, l)->delta_norm > 0);
		assert_true(weir_flow_layer_at(n.f, l)->param_grad_norm == 0);
	}
	assert_true(n.s->loss == 0);
	assert_int_equal(n.s->verdict, WEIR_FLOW_HEALTHY);
	close_fine(n.w);
}

/* A discriminator's step, then a generator's through it: two tapes of different graphs. Layers are those of the last; weights that were frozen
 * there keep the norm of their own gradient. */
static void two_tapes(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	const weir_flow_summary *s = weir_flow_summary_of(f);
	weir_module *g = weir_list_new(w, "g"), *d = weir_list_new(w, "d");

	(void)state;
	for (int i = 0; i < 2; i++) {
		weir_list_add(g, weir_linear_new(w, N, N, WEIR_INIT_GLOROT));
		weir_list_add(d, weir_linear_new(w, N, N, WEIR_INIT_GLOROT));
	}
	for (int step = 0; step < 3; step++) {
		weir_tensor *z, *real, *loss;
		double loss_d, norm[4], norm_d[2], all = 0;

		weir_tape_reset(w);
		for (int i = 0; i < 4; i++) {
			weir_zero_grad(weir_module_parameter(g, i));
			weir_zero_grad(weir_module_parameter(d, i));
		}
		real = weir_full(w, WEIR_F64, 2, (int64_t[]){ ROWS, N }, 0.3);
		for (int i = 0; i < 2; i++) real = weir_tanh(weir_forward(weir_list_at(d, i), real));
		weir_backward(loss = weir_mean_all(weir_square(real)));
		loss_d = weir_item(loss);
		for (int i = 0; i < 4; i++) {
			norm[i] = norm_by_hand(weir_grad_of(weir_module_parameter(d, i)));
			all += norm[i] * norm[i];
			weir_freeze(weir_module_parameter(d, i), true);
		}
		for (int i = 0; i < 2; i++) norm_d[i] = hypot(norm[2 * i], norm[2 * i + 1]);
		weir_tape_reset(w);
		z = weir_full(w, WEIR_F64, 2, (int64_t[]){ ROWS, N }, -0.2);
		for (int i = 0; i < 2; i++) z = weir_tanh(weir_forward(weir_list_at(g, i), z));
		for (int i = 0; i < 2; i++) z = weir_tanh(weir_forward(weir_list_at(d, i), z));
		weir_backward(loss = weir_mean_all(z));
		assert_true(weir_flow_step(f, loss));
		near("loss", s->loss, loss_d + weir_item(loss));
		for (int i = 0; i < 2; i++) {
			near("‖dW‖", layer_named(f, i ? "d.1" : "d.0", 1)->param_grad_norm, norm_d[i]);
			assert_true(layer_named(f, i ? "g.1" : "g.0", 1)->param_grad_norm > 0);
		}
		for (int i = 0; i < 4; i++) {
			all += pow(norm_by_hand(weir_grad_of(weir_module_parameter(g, i))), 2);
			weir_freeze(weir_module_parameter(d, i), false);
		}
		near("‖all dW‖", s->param_grad_norm, sqrt(all));
		assert_int_equal(s->verdict, WEIR_FLOW_HEALTHY);
	}
	close_fine(w);
}

/* A pass that makes a graph for the next is no share of the step: the penalty's own pass covers it. */
static void gradient_penalty(void **state)
{
	double delta[2][LAYERS];

	(void)state;
	for (int k = 0; k < 2; k++) {
		net n = make(WEIR_ACT_TANH, WEIR_INIT_GLOROT, 1, 1, false);
		weir_tensor *y = run(&n, 1, 0, ROWS), *x = weir_tape_at(n.w, 0), *g, *loss = weir_sum_all(y);

		assert_true(weir_numel(x) == ROWS * N);
		if (k) {
			assert_true(weir_grad(loss, &x, 1, &g, WEIR_CREATE_GRAPH));
			loss = weir_add(loss, weir_affine(weir_sum_all(weir_square(g)), 1e-200, 0));
		}
		weir_backward(loss);
		assert_true(weir_flow_step(n.f, loss));
		for (int i = 0; i < LAYERS; i++) delta[k][i] = weir_flow_layer_at(n.f, i)->delta_norm;
		if (!k) assert_true(n.s->loss == weir_item(loss));
		close_fine(n.w);
	}
	for (int i = 0; i < LAYERS; i++) near("‖delta‖", delta[1][i], delta[0][i]);
}

/* What a micro-batch that is gone has spoilt: the first birth of the step, with its layer. */
static void birth_in_an_earlier_tape(void **state)
{
	(void)state;
	for (int kind = 0; kind < 8; kind++) {
		bool backward = kind & 1, thin = kind & 2, same_tape = kind & 4;
		net n = make(WEIR_ACT_TANH, WEIR_INIT_GLOROT, 1, 1000, false);
		const weir_flow_birth *b;

		if (thin) step(&n, 0, 1);
		weir_tape_reset(n.w);
		forget_gradients(&n);
		for (int k = 0; k < 3; k++) {
			weir_tensor *t = weir_full(n.w, WEIR_F64, 2, (int64_t[]){ 2, N }, 0.5), *loss;

			for (int i = 0; i < LAYERS; i++) {
				t = weir_forward(weir_list_at(n.list, i), t);
				weir_scope_begin(n.w, "odd");
				/* e^1000, and the slope of a root at 0, which is infinite */
				if (k == 1 && i == 2) t = weir_affine(t, 0, backward ? 0 : 1000);
				if (k == 1 && i == 2) t = backward ? weir_pow(t, 0.5) : weir_exp(t);
				weir_scope_end(n.w);
			}
			weir_backward(loss = weir_sum_all(t));
			if (k == 2) assert_true(weir_flow_step(n.f, loss));
			else if (!same_tape) weir_tape_reset(n.w);
		}
		b = backward && !n.s->first_inf.found ? &n.s->first_nan : &n.s->first_inf;
		if (n.s->verdict != WEIR_FLOW_NONFINITE)
			fail_msg("kind %d: %s, ‖all dW‖ %g, loss %g", kind, weir_verdict_name(n.s->verdict),
				 n.s->param_grad_norm, n.s->loss);
		if (!b->found || strcmp(b->op, backward ? "pow" : "exp") || b->backward != backward ||
		    b->step != n.s->step)
			fail_msg("kind %d: found %d, op %s, backward %d, step %lld: %s", kind, b->found,
				 b->found ? b->op : "-", b->backward, (long long)b->step, n.s->evidence);
		assert_true(!n.s->first_nan.found || n.s->first_nan.step == n.s->step);
		assert_fine(n.w);
		weir_tape_reset(n.w);
		step(&n, 1, 2); /* it is over */
		assert_true(isfinite(n.s->param_grad_norm));
		step(&n, 1, 2);
		assert_int_equal(n.s->verdict, WEIR_FLOW_HEALTHY);
		close_fine(n.w);
	}
}

/* A layer that is shut in the last micro-batch alone is not dead; in all of them it is. */
static void dead_in_all(void **state)
{
	(void)state;
	for (int all = 0; all < 2; all++) {
		net n = make(WEIR_ACT_RELU, WEIR_INIT_DIAGONAL, 1, 1, false);
		weir_tensor *loss = NULL;

		for (int k = 0; k < 4; k++) {
			weir_tensor *t;

			weir_tape_reset(n.w);
			t = weir_full(n.w, WEIR_F64, 2, (int64_t[]){ 3, N }, all || k == 3 ? -1 : 1);
			for (int i = 0; i < LAYERS; i++) {
				t = weir_forward(weir_list_at(n.list, i), t);
				if (i + 1 < LAYERS) t = weir_relu(t);
			}
			weir_backward(loss = weir_sum_all(t));
		}
		assert_true(weir_flow_step(n.f, loss));
		assert_int_equal(n.s->verdict, all ? WEIR_FLOW_DEAD : WEIR_FLOW_HEALTHY);
		if (all) assert_int_equal(n.s->first_layer, 0);
		close_fine(n.w);
	}
}

static void no_memory_in_the_long_run(void **state)
{
	net n = make(WEIR_ACT_GELU, WEIR_INIT_HE, 1, 4, false);
	uint64_t calls = 0;

	(void)state;
	for (int i = 0; i < 60; i++) {
		step(&n, i, 4);
		if (i == 30) calls = weir_memory_of(n.w).allocator_calls;
	}
	assert_int_equal(weir_memory_of(n.w).allocator_calls, calls);
	close_fine(n.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(micro_batches),    cmocka_unit_test(two_losses_on_a_tape),
		cmocka_unit_test(opposed_losses),   cmocka_unit_test(two_tapes),
		cmocka_unit_test(gradient_penalty), cmocka_unit_test(birth_in_an_earlier_tape),
		cmocka_unit_test(dead_in_all),      cmocka_unit_test(no_memory_in_the_long_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
