/* test_flow_loss.c: what a loss of the test's making tells, and the figures of validation. */
#include "tests/flow_check.h"

#include "flow/flow.h"

typedef struct watched {
	weir_ctx *w;
	weir_tensor *p;
	weir_flow *f;
	const weir_flow_summary *s;
} watched;

static watched make(int64_t classes)
{
	watched n = { .w = open_ieee(WEIR_F64) };
	weir_flow_options o;

	n.p = weir_param_new(n.w, "p", WEIR_F64, 2, (int64_t[]){ 1, 1 });
	weir_write_f64(n.p, (double[]){ 1 }, 1);
	weir_flow_options_init(&o);
	o.classes = classes;
	n.f = weir_flow_watch(n.w, &o);
	n.s = weir_flow_summary_of(n.f);
	return n;
}

static void step(watched *n, double value)
{
	weir_tensor *loss;

	weir_tape_reset(n->w);
	loss = weir_sum_all(weir_matmul(weir_full(n->w, WEIR_F64, 2, (int64_t[]){ 1, 1 }, value), n->p));
	weir_backward(loss);
	weir_flow_step(n->f, loss);
	weir_zero_grad(n->p);
	assert_fine(n->w);
}

static void assert_sign(const watched *n, weir_loss_sign sign, int64_t steps)
{
	if (n->s->loss_sign != sign || n->s->loss_sign_steps != steps)
		fail_msg("step %lld: %s for %lld steps; want %s, %lld", (long long)n->s->step,
			 weir_loss_sign_name(n->s->loss_sign), (long long)n->s->loss_sign_steps,
			 weir_loss_sign_name(sign), (long long)steps);
}

static void guessing(void **state)
{
	watched n = make(10);

	(void)state;
	for (int i = 0; i < 300; i++) {
		step(&n, log(10) * (1 + 0.05 * noise(i, 5)));
		if (i < 199) assert_sign(&n, WEIR_LOSS_PLAIN, 0);
	}
	assert_int_equal(n.s->loss_sign, WEIR_LOSS_GUESSING);
	assert_in_range(n.s->loss_sign_steps, 200, 300);
	for (int i = 0; i < 100; i++) step(&n, log(10) * 0.9);
	assert_sign(&n, WEIR_LOSS_PLAIN, 0); /* it learns after all */
	close_fine(n.w);
}

/* 2 % below or above is another loss; so is ln(10) where there are no classes, or others. */
static void not_guessing(void **state)
{
	static const struct {
		int64_t classes;
		double loss;
		bool guess;
	} list[] = { { 10, 2.302585 * 0.985, true },
		     { 10, 2.302585 * 0.975, false },
		     { 10, 2.302585 * 1.025, false },
		     { 0, 2.302585, false },
		     { 9, 2.302585, false },
		     { 2, 0.6931, true },
		     { 1, 0, false },
		     { 1000000, 13.8155, true } };

	(void)state;
	for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
		watched n = make(list[k].classes);

		for (int i = 0; i < 250; i++) step(&n, list[k].loss);
		assert_sign(&n, list[k].guess ? WEIR_LOSS_GUESSING : WEIR_LOSS_PLAIN, list[k].guess ? 250 : 0);
		close_fine(n.w);
	}
}

/* Five times above three times the best; in any units; over after 200 calm steps. */
static void jumping(void **state)
{
	(void)state;
	for (double unit = 1e-100; unit < 1e101; unit *= 1e100) {
		watched n = make(0);

		for (int i = 0; i < 100; i++) {
			step(&n, unit * (i >= 50 && i % 5 == 0 ? 3.5 : 1));
			if (i < 70) assert_sign(&n, WEIR_LOSS_PLAIN, 0);
			else assert_sign(&n, WEIR_LOSS_JUMPING, i - 69);
		}
		for (int i = 0; i < 210; i++) step(&n, unit);
		assert_sign(&n, WEIR_LOSS_PLAIN, 0);
		close_fine(n.w);
	}
}

/* What rises to where it began has not jumped; nor has a loss below 0, where three times is less. */
static void not_jumping(void **state)
{
	static const double sizes[][2] = { { 10, 1 }, { -5, -5 }, { -1, -8 }, { 1, -1 } };

	(void)state;
	for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
		watched n = make(0);

		for (int i = 0; i < 100; i++) step(&n, i < 10 || i % 10 == 9 ? sizes[k][0] : sizes[k][1]);
		assert_sign(&n, WEIR_LOSS_PLAIN, 0);
		close_fine(n.w);
	}
}

static void not_finite(void **state)
{
	watched n = make(10);

	(void)state;
	step(&n, INFINITY); /* the first one already */
	assert_sign(&n, WEIR_LOSS_NONFINITE, 1);
	step(&n, NAN);
	assert_sign(&n, WEIR_LOSS_NONFINITE, 2);
	for (int i = 0; i < 200; i++) step(&n, log(10));
	assert_sign(&n, WEIR_LOSS_GUESSING, 200); /* and is forgotten */
	step(&n, NAN);
	assert_sign(&n, WEIR_LOSS_NONFINITE, 1);
	step(&n, log(10));
	assert_sign(&n, WEIR_LOSS_GUESSING, 201);
	close_fine(n.w);
}

/* Each number that these signs hang on is an option. */
static void options_move_them(void **state)
{
	watched n = make(10);
	weir_flow_options *o = &n.f->options;

	(void)state;
	o->guess_steps = 5;
	for (int i = 0; i < 5; i++) step(&n, log(10) * 1.01);
	assert_sign(&n, WEIR_LOSS_GUESSING, 5);
	o->guess_share = 0.005;
	step(&n, log(10) * 1.01);
	assert_sign(&n, WEIR_LOSS_PLAIN, 0);
	o->loss_smoothing = 1; /* the last loss alone */
	step(&n, log(10));
	assert_sign(&n, WEIR_LOSS_PLAIN, 0);
	for (int i = 0; i < 4; i++) step(&n, log(10));
	assert_sign(&n, WEIR_LOSS_GUESSING, 5);
	o->jumps = 1;
	step(&n, 1);
	step(&n, 2.9);
	assert_sign(&n, WEIR_LOSS_PLAIN, 0);
	o->jump_best = 2.5;
	step(&n, 2.9); /* but not above twice where it began */
	assert_sign(&n, WEIR_LOSS_PLAIN, 0);
	o->jump_first = 1.1;
	step(&n, 2.9);
	assert_sign(&n, WEIR_LOSS_JUMPING, 1);
	o->calm_steps = 2;
	step(&n, 1);
	step(&n, 1);
	assert_sign(&n, WEIR_LOSS_PLAIN, 0);
	close_fine(n.w);
}

static void validation(void **state)
{
	watched n = make(0);

	(void)state;
	assert_true(isnan(n.s->train_loss) && isnan(n.s->validation_loss) && isnan(n.s->penalty));
	weir_flow_validation(n.f, 0.25, 0.75, 0.125);
	step(&n, 1);
	assert_true(n.s->train_loss == 0.25 && n.s->validation_loss == 0.75 && n.s->penalty == 0.125);
	weir_flow_validation(n.f, 0.5, NAN, 0);
	assert_true(n.s->train_loss == 0.5 && isnan(n.s->validation_loss) && n.s->penalty == 0);
	weir_flow_validation(NULL, 1, 1, 1);
	close_fine(n.w);
}

static void names(void **state)
{
	(void)state;
	assert_string_equal(weir_loss_sign_name(WEIR_LOSS_PLAIN), "plain");
	assert_string_equal(weir_loss_sign_name(WEIR_LOSS_GUESSING), "guessing");
	assert_string_equal(weir_loss_sign_name(WEIR_LOSS_JUMPING), "jumping");
	assert_string_equal(weir_loss_sign_name(WEIR_LOSS_NONFINITE), "non-finite");
	assert_string_equal(weir_loss_sign_name((weir_loss_sign)77), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guessing),    cmocka_unit_test(not_guessing), cmocka_unit_test(jumping),
		cmocka_unit_test(not_jumping), cmocka_unit_test(not_finite),   cmocka_unit_test(options_move_them),
		cmocka_unit_test(validation),  cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
