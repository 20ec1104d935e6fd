/* test_flow_births_random.c: random graphs of element by element operations with one planted fault, whose maker is therefore known. */
#include "tests/birth_check.h"

enum { OPS = 30, N = 5, GRAPHS = 150 };

typedef struct random_graph {
	weir_ctx *w;
	weir_dtype dtype;
	uint64_t state;
	weir_tensor *node[OPS + 1];
	int count;
} random_graph;

static unsigned draw(random_graph *g, unsigned below)
{
	g->state = g->state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(g->state >> 33) % below;
}

static weir_tensor *constant(const random_graph *g, double v)
{
	return weir_full(g->w, g->dtype, 1, (int64_t[]){ N }, v);
}

/* One more operation on values of 0.2 to 3, which gives such values. */
static weir_tensor *grow(random_graph *g)
{
	weir_tensor *a = g->node[draw(g, (unsigned)g->count)], *b = g->node[draw(g, (unsigned)g->count)];

	switch (draw(g, 12)) {
	case 0: return weir_affine(weir_add(a, b), 0.5, 0);
	case 1: return weir_affine(weir_mul(a, b), 0.2, 0.2);
	case 2: return weir_affine(weir_div(a, b), 0.1, 0.2);
	case 3: return weir_affine(weir_tanh(weir_sub(a, b)), 1, 1.5);
	case 4: return weir_affine(weir_sigmoid(a), 1, 0.5);
	case 5: return weir_sqrt(weir_maximum(a, b));
	case 6: return weir_affine(weir_exp(weir_neg(a)), 1, 0.3);
	case 7: return weir_affine(weir_log(a), 0.3, 1.5);
	case 8: return weir_affine(weir_pow(a, 1.5), 0.3, 0.5);
	case 9: return weir_where(weir_gt(a, b), a, b);
	case 10: return weir_minimum(weir_affine(a, 2, 0), b);
	default: return weir_affine(weir_relu(weir_affine(a, 1, -0.5)), 1, 0.4);
	}
}

typedef enum fault {
	LOG_ZERO,
	EXP,
	DIV_ZERO,
	ROOT,
	LOG_NEGATIVE,
	SLOPE,
	SHARES,
	SWALLOWED,
	SWALLOWED_LEFT_OUT,
	LEFT_OUT,
	FAULTS
} fault;

typedef struct planted {
	weir_tensor *bad;    /* goes on in the graph; or NULL */
	weir_tensor *beside; /* is added to the loss; or NULL */
	weir_tensor *maker;  /* NULL: nothing is to be found */
	bool backward, nan, gone;
} planted;

static planted makes_inf(weir_tensor *y)
{
	return (planted){ .bad = y, .maker = y };
}

static planted makes_nan(weir_tensor *y)
{
	return (planted){ .bad = y, .maker = y, .nan = true };
}

static planted plant(const random_graph *g, fault what, weir_tensor *x)
{
	bool f32 = g->dtype == WEIR_F32;
	weir_tensor *y, *z;

	switch (what) {
	case LOG_ZERO: return makes_inf(weir_log(weir_mul(x, constant(g, 0))));
	case EXP: return makes_inf(weir_exp(weir_affine(x, 1e4, 0)));
	case DIV_ZERO: return makes_inf(weir_div(x, weir_sub(x, x)));
	case ROOT: return makes_nan(weir_sqrt(weir_neg(x)));
	case LOG_NEGATIVE: return makes_nan(weir_log(weir_affine(x, -1, 0)));
	case SLOPE:
		y = weir_log(weir_affine(x, f32 ? 1e-36 : 1e-306, 0));
		return (planted){ .beside = weir_affine(y, 1e4, 0), .maker = y, .backward = true };
	case SHARES:
		y = weir_add(x, weir_neg(weir_detach(x)));
		z = weir_affine(y, f32 ? 2.5e38 : 1.2e308, 0);
		return (planted){ .beside = weir_add(weir_affine(y, f32 ? 2e38 : 1.5e308, 0), z),
				  .maker = y,
				  .backward = true };
	case SWALLOWED:
		y = weir_exp(weir_affine(weir_detach(x), 1e4, 0));
		return (planted){ .bad = weir_div(x, weir_tanh(y)), .maker = y, .gone = true };
	case SWALLOWED_LEFT_OUT:
		y = weir_tanh(weir_exp(weir_affine(weir_detach(x), 1e4, 0)));
		return (planted){ .bad = weir_where(weir_gt(x, constant(g, 100)), y, x) };
	default:
		y = weir_log(weir_neg(weir_detach(x)));
		return (planted){ .bad = weir_where(weir_gt(x, constant(g, 100)), y, x) };
	}
}

static planted build(random_graph *g, weir_tensor *p, weir_tensor *q, fault what, weir_tensor **loss)
{
	int at = 1 + (int)draw(g, OPS - 2);
	planted f = { .maker = NULL };
	weir_tensor *sum;

	g->node[0] = weir_affine(weir_add(p, q), 0.5, 0);
	for (g->count = 1; g->count <= OPS; g->count++) {
		if (g->count == at) {
			f = plant(g, what, g->node[draw(g, (unsigned)g->count)]);
			g->node[g->count] = f.bad ? f.bad : g->node[g->count - 1];
		} else {
			g->node[g->count] = grow(g);
		}
	}
	sum = g->node[OPS];
	for (int i = 0; i < OPS; i++) sum = weir_add(sum, weir_affine(g->node[i], 0.01, 0)); /* all of them count */
	if (f.beside) sum = weir_add(sum, f.beside);
	*loss = weir_sum_all(weir_add(sum, q));
	return f;
}

/* Does it matter? A gradient may meet a ReLU that is shut for all elements. */
static bool spoils(weir_tensor *loss, weir_tensor *p, weir_tensor *q)
{
	bool all = isfinite(weir_item(loss));

	for (int i = 0; i < N; i++)
		all = all && isfinite(weir_get(weir_grad_of(p), i)) && isfinite(weir_get(weir_grad_of(q), i));
	return !all;
}

static void assert_found(const weir_flow *f, planted want, int64_t maker, int64_t step, const char *what)
{
	const weir_flow_summary *s = weir_flow_summary_of(f);
	const weir_flow_birth *b = want.nan ? &s->first_nan : want.gone ? &s->first_overflow : &s->first_inf;

	if (!want.maker) {
		if (s->first_inf.found || s->first_nan.found || s->first_overflow.found)
			fail_msg("%s: found %s, %s, %s", what, birth_text(&s->first_inf), birth_text(&s->first_nan),
				 birth_text(&s->first_overflow));
		return;
	}
	if (want.gone) assert_false(s->first_inf.found || s->first_nan.found);
	else assert_false(s->first_overflow.found);
	if (!b->found || b->index != maker || b->backward != want.backward || b->step != step || b->element != 0 ||
	    !b->operands[0] || b->path_length < 2)
		fail_msg("%s: %s, node %lld, step %lld; want %s, node %lld, step %lld", what, birth_text(b),
			 (long long)b->index, (long long)b->step, want.backward ? "backward" : "forward",
			 (long long)maker, (long long)step);
}

/* thin: the fault comes at a step that is not to be measured, and before the flow sees its end the weights are overwritten. */
static void campaign(bool ieee, bool thin)
{
	int harmless = 0;

	for (unsigned k = 0; k < GRAPHS; k++) {
		fault what = (fault)(k % FAULTS);
		weir_dtype dtype = k / FAULTS % 2 ? WEIR_F64 : WEIR_F32;
		int steps = thin ? 8 : 1;
		weir_options o;
		weir_ctx *w;
		weir_flow *f;
		weir_tensor *p, *q, *loss;
		char name[64];

		weir_options_init(&o);
		o.handler = NULL;
		o.ieee_subnormals = ieee;
		w = weir_open(&o);
		f = thin ? weir_flow_watch(w, NULL) : watch_all(w);
		p = weir_param_new(w, "p", dtype, 1, (int64_t[]){ N });
		q = weir_param_new(w, "q", dtype, 1, (int64_t[]){ N });
		weir_write_f64(p, (double[]){ 0.5, 1, 1.5, 2, 2.5 }, N);
		weir_write_f64(q, (double[]){ 2, 0.7, 1.1, 0.9, 1.4 }, N);
		snprintf(name, sizeof name, "graph %u, fault %d, %s", k, what, dtype == WEIR_F32 ? "f32" : "f64");
		for (int step = 0; step < steps; step++) {
			bool bad = step == steps - 1;
			random_graph g = { .w = w, .dtype = dtype, .state = 1000 + k };
			planted want = build(&g, p, q, bad ? what : LEFT_OUT, &loss);
			int64_t maker = want.maker ? weir_node(want.maker).index : -1, length = weir_tape_length(w);

			if (thin && want.gone) want.maker = NULL; /* nothing makes this step a measured one */
			weir_zero_grad(p);
			weir_zero_grad(q);
			weir_backward(loss);
			assert_int_equal(weir_tape_length(w), length);
			if (want.maker && !want.gone && !spoils(loss, p, q)) {
				want.maker = NULL;
				harmless++;
			}
			if (thin && bad) weir_write_f64(q, (double[]){ NAN, INFINITY, NAN, 0, 1 }, N);
			weir_flow_step(f, loss);
			assert_int_equal(weir_tape_length(w), length);
			assert_fine(w);
			if (thin && (!bad || want.maker))
				assert_int_equal(weir_flow_summary_of(f)->measured, bad ? step : 0);
			assert_found(f, want, maker, step, name);
			weir_tape_reset(w);
		}
		weir_close(w);
	}
	assert_true(harmless < GRAPHS / 20);
}

static void measured_ieee(void **state)
{
	(void)state;
	campaign(true, false);
}

static void measured_flush(void **state)
{
	(void)state;
	campaign(false, false);
}

static void thin_ieee(void **state)
{
	(void)state;
	campaign(true, true);
}

static void thin_flush(void **state)
{
	(void)state;
	campaign(false, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(measured_ieee),
		cmocka_unit_test(measured_flush),
		cmocka_unit_test(thin_ieee),
		cmocka_unit_test(thin_flush),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
