/* test_flow_units.c: the census of dead units against a count by hand. */
#include "tests/flow_check.h"

enum { B = 24, N = 10, LAYERS = 3, STEPS = 60, EPOCH = 10 };

typedef struct net {
	weir_ctx *w;
	weir_module *list;
	weir_flow *f;
	weir_tensor *x, *z[LAYERS], *a[LAYERS];
} net;

static net make(weir_dtype dtype, weir_init_kind init, int64_t epoch, int64_t every)
{
	net n = { .w = open_steady(dtype) };
	weir_flow_options o;

	n.list = weir_list_new(n.w, "mlp");
	for (int i = 0; i < LAYERS; i++) weir_list_add(n.list, weir_linear_new(n.w, N, N, init));
	weir_flow_options_init(&o);
	o.epoch = epoch;
	o.every = every;
	o.budget = 0;
	n.f = weir_flow_watch(n.w, &o);
	return n;
}

static void set_bias(const net *n, int layer, int unit, double value)
{
	weir_tensor *bias = weir_module_parameter(n->list, 2 * layer + 1);
	double v[N];

	weir_read_f64(bias, v, N);
	v[unit] = value;
	assert_true(weir_write_f64(bias, v, N));
}

/* One step on x: linear and act, each layer but the last. */
static void step(net *n, weir_act act, const double *x)
{
	weir_dtype dtype = weir_dtype_of(weir_module_parameter(n->list, 0));
	weir_tensor *t, *loss;

	weir_tape_reset(n->w);
	t = weir_zeros(n->w, dtype, 2, (int64_t[]){ B, N });
	assert_true(weir_write_f64(t, x, B * N));
	n->x = t;
	for (int i = 0; i < LAYERS; i++) {
		t = n->z[i] = weir_forward(weir_list_at(n->list, i), t);
		t = n->a[i] = i + 1 < LAYERS ? weir_act_apply(t, act) : t;
	}
	weir_backward(loss = weir_mean_all(weir_square(t)));
	assert_fine(n->w);
	assert_true(weir_flow_step(n->f, loss));
	assert_fine(n->w);
}

static weir_flow_unit unit_of(const net *n, int layer, int unit)
{
	weir_flow_unit u;

	assert_true(weir_flow_unit_of(n->f, layer, unit, &u));
	return u;
}

static void assert_unit(const net *n, int layer, int unit, bool dead, int64_t died, int64_t revived)
{
	weir_flow_unit u = unit_of(n, layer, unit);

	if (u.dead != dead || u.died != died || u.revived != revived)
		fail_msg("layer %d, unit %d: dead %d, died %lld, revived %lld; want %d, %lld, %lld", layer, unit,
			 u.dead, (long long)u.died, (long long)u.revived, dead, (long long)died, (long long)revived);
}

/* Through layers that pass on what they get: unit 1 answers in the second step only, unit 2 never. */
static void idle_is_not_dead(void **state)
{
	net n = make(WEIR_F64, WEIR_INIT_DIAGONAL, 2, 16);
	double x[B * N];

	(void)state;
	for (int i = 0; i < B * N; i++) x[i] = i % N == 1 || i % N == 2 ? -1 : 0.5;
	step(&n, WEIR_ACT_RELU, x);
	assert_int_equal(weir_flow_layer_at(n.f, 0)->units, N);
	assert_int_equal(weir_flow_layer_at(n.f, 0)->dead_units, -1); /* no epoch has ended */
	assert_unit(&n, 0, 1, false, -1, -1);
	x[17 * N + 1] = 1e-300; /* one sample */
	step(&n, WEIR_ACT_RELU, x);
	assert_true(weir_flow_summary_of(n.f)->measured == 0);
	assert_int_equal(weir_flow_layer_at(n.f, 0)->dead_units, 1);
	assert_unit(&n, 0, 1, false, -1, -1);
	assert_unit(&n, 0, 2, true, 0, -1);
	assert_int_equal(weir_flow_layer_at(n.f, 2)->units, -1); /* no activation */
	assert_int_equal(weir_flow_layer_at(n.f, 2)->dead_units, -1);
	assert_false(weir_flow_unit_of(n.f, 2, 0, &(weir_flow_unit){ 0 }));
	assert_false(weir_flow_unit_of(n.f, 0, N, &(weir_flow_unit){ 0 }));
	assert_false(weir_flow_unit_of(n.f, 0, -1, &(weir_flow_unit){ 0 }));
	assert_false(weir_flow_unit_of(n.f, 3, 0, &(weir_flow_unit){ 0 }));
	close_fine(n.w);
}

static void random_batch(double *x, int number)
{
	for (int i = 0; i < B * N; i++) x[i] = noise(number, i);
}

/* A unit is killed by its bias after the third epoch, and set free again: the steps are those of the epochs. */
static void killed_and_revived(weir_act act, weir_dtype dtype)
{
	net n = make(dtype, WEIR_INIT_HE, EPOCH, 16);
	double x[B * N];

	for (int i = 0; i < STEPS; i++) {
		if (i == 15) set_bias(&n, 1, 4, -1e6);
		if (i == 43) set_bias(&n, 1, 4, 0.5);
		random_batch(x, i);
		step(&n, act, x);
		if (i == 14) assert_unit(&n, 1, 4, false, -1, -1);
		if (i == 19)
			assert_int_equal(weir_flow_layer_at(n.f, 1)->dead_units, 0); /* it lived at the beginning */
		if (i == 28) assert_unit(&n, 1, 4, false, -1, -1);                   /* until the epoch is over */
		if (i == 29) assert_int_equal(weir_flow_layer_at(n.f, 1)->dead_units, 1);
		if (i == 42) assert_unit(&n, 1, 4, true, 20, -1);
		if (i == 43) assert_unit(&n, 1, 4, false, 20, 43);
		if (i == 48) assert_int_equal(weir_flow_layer_at(n.f, 1)->dead_units, 1); /* of the epoch before */
	}
	assert_unit(&n, 1, 4, false, 20, 43);
	assert_unit(&n, 1, 3, false, -1, -1);
	assert_int_equal(weir_flow_layer_at(n.f, 1)->dead_units, 0);
	assert_int_equal(weir_flow_layer_at(n.f, 0)->dead_units, 0);
	close_fine(n.w);
}

static void every_activation(void **state)
{
	(void)state;
	killed_and_revived(WEIR_ACT_RELU, WEIR_F64);
	killed_and_revived(WEIR_ACT_RELU, WEIR_F32);
	killed_and_revived(WEIR_ACT_GELU, WEIR_F64);
	killed_and_revived(WEIR_ACT_GELU, WEIR_F32);
	killed_and_revived(WEIR_ACT_SIGMOID, WEIR_F32); /* its slope underflows */
	killed_and_revived(WEIR_ACT_SILU, WEIR_F64);
	killed_and_revived(WEIR_ACT_TANH, WEIR_F64);
}

/* Counted by hand: what passed in which epoch. */
typedef struct count {
	bool passed[N], dead[N];
	int64_t died[N], revived[N];
} count;

static void count_step(count *c, const weir_tensor *a, int64_t number)
{
	double v[B * N];

	weir_read_f64(a, v, B * N);
	for (int i = 0; i < B * N; i++) {
		int u = i % N;

		if (v[i] == 0) continue;
		if (c->dead[u]) c->revived[u] = number;
		c->passed[u] = true;
		c->dead[u] = false;
	}
	if ((number + 1) % EPOCH) return;
	for (int u = 0; u < N; u++) {
		if (!c->passed[u] && !c->dead[u]) c->died[u] = number + 1 - EPOCH;
		c->dead[u] = !c->passed[u];
		c->passed[u] = false;
	}
}

/* Units whose bias wanders die and come back: the census is the same on thin and whole steps, and that by hand. */
static int64_t wandering(int64_t every)
{
	net n = make(WEIR_F32, WEIR_INIT_HE, EPOCH, every);
	count c[LAYERS - 1];
	double x[B * N];
	int64_t deaths = 0;

	memset(c, 0, sizeof c);
	for (int i = 0; i < (LAYERS - 1) * N; i++) c[i / N].died[i % N] = c[i / N].revived[i % N] = -1;
	for (int i = 0; i < 5 * STEPS; i++) {
		for (int l = 0; l + 1 < LAYERS; l++)
			for (int u = 0; u < N; u++) set_bias(&n, l, u, 4 * sin(0.02 * i * (u + 1) + l) - 2);
		random_batch(x, i);
		step(&n, WEIR_ACT_RELU, x);
		if (every > 1 && i % every == 1) assert_true(weir_flow_summary_of(n.f)->measured < i); /* thin */
		for (int l = 0; l + 1 < LAYERS; l++) {
			int64_t dead = 0;

			count_step(&c[l], n.a[l], i);
			for (int u = 0; u < N; u++) {
				assert_unit(&n, l, u, c[l].dead[u], c[l].died[u], c[l].revived[u]);
				dead += c[l].dead[u];
			}
			if ((i + 1) % EPOCH) continue;
			assert_int_equal(weir_flow_layer_at(n.f, l)->dead_units, dead);
			deaths += dead;
		}
	}
	assert_true(deaths > 20);
	close_fine(n.w);
	return deaths;
}

static void thin_and_whole_agree(void **state)
{
	(void)state;
	assert_int_equal(wandering(1), wandering(16));
}

/* To hold a budget not every step is looked at. It still finds who is dead, and who lives again within 16 steps. */
static void within_a_budget(void **state)
{
	weir_ctx *w = open_steady(WEIR_F32);
	weir_flow_options o;
	net n = { .w = w, .list = weir_list_new(w, "mlp") };
	double x[B * N];
	int64_t revived;

	(void)state;
	for (int i = 0; i < LAYERS; i++) weir_list_add(n.list, weir_linear_new(w, N, N, WEIR_INIT_HE));
	weir_flow_options_init(&o);
	o.epoch = 20;
	n.f = weir_flow_watch(w, &o);
	set_bias(&n, 1, 4, -1e6);
	for (int i = 0; i < 40; i++) {
		if (i == 23) set_bias(&n, 1, 4, 0.5);
		random_batch(x, i);
		step(&n, WEIR_ACT_RELU, x);
		if (i == 19) assert_unit(&n, 1, 4, true, 0, -1);
		if (i == 22) assert_unit(&n, 1, 4, true, 0, -1);
	}
	revived = unit_of(&n, 1, 4).revived;
	assert_in_range(revived, 23, 38);
	assert_unit(&n, 1, 4, false, 0, revived);
	for (int l = 0; l + 1 < LAYERS; l++) assert_int_equal(weir_flow_layer_at(n.f, l)->dead_units, 0);
	close_fine(w);
}

/* A cell that is called three times: what it passes on moves by one unit each time, so that three units live. */
static void cell(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_module *list = weir_list_new(w, "rnn");
	weir_flow *f = watch_all(w);
	weir_tensor *x, *h, *loss;
	double v[N * N] = { 0 };
	weir_flow_unit u;

	(void)state;
	weir_list_add(list, weir_linear_new(w, N, N, WEIR_INIT_ZEROS));
	for (int i = 0; i + 1 < N; i++) v[(i + 1) * N + i] = 1;
	weir_write_f64(weir_module_parameter(list, 0), v, N * N);
	h = x = weir_zeros(w, WEIR_F64, 2, (int64_t[]){ 2, N });
	memset(v, 0, sizeof v);
	v[0] = v[N] = 1;
	weir_write_f64(x, v, 2 * N);
	for (int t = 0; t < 3; t++) h = weir_relu(weir_forward(weir_list_at(list, 0), h));
	weir_backward(loss = weir_sum_all(h));
	assert_true(weir_flow_step(f, loss));
	assert_int_equal(weir_flow_layer_count(f), 3);
	weir_flow_epoch(f);
	weir_flow_epoch(f); /* of no steps: nothing */
	for (int call = 1; call <= 3; call++) {
		assert_int_equal(layer_named(f, "rnn.0", call)->units, N);
		assert_int_equal(layer_named(f, "rnn.0", call)->dead_units, N - 3);
	}
	for (int i = 0; i < N; i++) {
		assert_true(weir_flow_unit_of(f, 1, i, &u));
		assert_int_equal(u.dead, i < 1 || i > 3);
	}
	close_fine(w);
}

/* Another fault than death. */
static void nonfinite_passes(void **state)
{
	static const weir_act acts[] = { WEIR_ACT_RELU, WEIR_ACT_SIGMOID };

	(void)state;
	for (int k = 0; k < 2; k++) {
		net n = make(WEIR_F64, WEIR_INIT_DIAGONAL, 1, 16);
		double x[B * N];

		random_batch(x, 1);
		for (int u = 0; u < N; u++) set_bias(&n, 0, u, -1e6);
		step(&n, acts[k], x);
		assert_int_equal(weir_flow_layer_at(n.f, 0)->dead_units, N);
		x[5] = NAN;
		step(&n, acts[k], x);
		assert_int_equal(weir_flow_layer_at(n.f, 0)->dead_units, 0);
		assert_unit(&n, 0, 0, false, 0, 1);
		close_fine(n.w);
	}
}

/* A network that changes: its new widths count from the next epoch on; a layer that is not run is not known to be dead. */
static void changing_network(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	weir_tensor *x, *loss;

	(void)state;
	for (int i = 0; i < 12; i++) {
		int64_t width = i < 6 ? 4 : 7;

		weir_tape_reset(w);
		x = weir_full(w, WEIR_F64, 2, (int64_t[]){ B, width }, i % 2 ? -1 : 1);
		weir_scope_begin(w, "block.0");
		x = weir_relu(weir_mul(x, weir_scalar(w, WEIR_F64, 2)));
		weir_scope_end(w);
		if (i < 3) {
			weir_scope_begin(w, "block.1");
			x = weir_relu(weir_affine(x, 3, 0));
			weir_scope_end(w);
		}
		weir_backward(loss = weir_sum_all(x));
		assert_true(weir_flow_step(f, loss));
		if (i % 4 == 3) weir_flow_epoch(f);
		if (i == 3 || i == 11) {
			assert_int_equal(layer_named(f, "block.0", 1)->units, width);
			assert_int_equal(layer_named(f, "block.0", 1)->dead_units, 0);
		}
		if (i == 7) assert_int_equal(layer_named(f, "block.0", 1)->units, 4); /* the epoch's */
	}
	close_fine(w);
}

static void no_memory_in_the_long_run(void **state)
{
	net n = make(WEIR_F32, WEIR_INIT_HE, EPOCH, 16);
	double x[B * N];
	uint64_t calls = 0;

	(void)state;
	for (int i = 0; i < 4 * STEPS; i++) {
		random_batch(x, i);
		step(&n, i % 32 < 16 ? WEIR_ACT_RELU : WEIR_ACT_GELU, x);
		if (i == 2 * STEPS) calls = weir_memory_of(n.w).allocator_calls;
	}
	assert_int_equal(weir_memory_of(n.w).allocator_calls, calls);
	close_fine(n.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_is_not_dead),
		cmocka_unit_test(every_activation),
		cmocka_unit_test(thin_and_whole_agree),
		cmocka_unit_test(within_a_budget),
		cmocka_unit_test(cell),
		cmocka_unit_test(nonfinite_passes),
		cmocka_unit_test(changing_network),
		cmocka_unit_test(no_memory_in_the_long_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
