/* test_flow_verdict.c: each rule of flow/rules.def fires just beyond its threshold and not just before it, whatever the unit of the loss; causes,
 * ranges, depth budget. Networks of diagonal layers have exactly the gains they are given; what can't be set that way (a census, a share) is
 * written into the measured layers, which are then judged again. bench/faults has the networks of every other kind.
 * It is longer than most because each rule is tried on both sides of its threshold. */
#include "tests/flow_check.h"

#include <math.h>

#include "flow/verdict.h"

enum { B = 4, N = 8, MOST = 80 };

static const double units_of_loss[] = { 1, 1e-4, 1e4, 0x1p-13, 0x1p13 };
enum { UNITS = sizeof units_of_loss / sizeof *units_of_loss };

typedef struct net {
	weir_ctx *w;
	weir_module *list;
	weir_flow *f;
	weir_tensor *loss;
	const weir_flow_summary *s;
} net;

/* n layers with these gains; one context, watched, not yet run. */
static net chain(int n, const double *gain)
{
	net a = { .w = open_ieee(WEIR_F64) };

	a.list = weir_list_new(a.w, "net");
	for (int i = 0; i < n; i++) {
		weir_linear_options o;

		weir_linear_options_init(&o);
		o.init = WEIR_INIT_DIAGONAL;
		o.init_scale = gain[i];
		weir_list_add(a.list, weir_linear_with(a.w, N, N, &o));
	}
	a.f = watch_all(a.w);
	a.s = weir_flow_summary_of(a.f);
	return a;
}

static void run(net *a, weir_act act, double input, double scale)
{
	int n = (int)weir_module_count(a->list);
	weir_tensor *x;

	weir_tape_reset(a->w);
	x = weir_full(a->w, WEIR_F64, 2, (int64_t[]){ B, N }, input);
	for (int i = 0; i < n; i++) {
		x = weir_forward(weir_list_at(a->list, i), x);
		if (i + 1 < n) x = weir_act_apply(x, act);
	}
	a->loss = weir_affine(weir_sum_all(x), scale, 0);
	weir_backward(a->loss);
	assert_true(weir_flow_step(a->f, a->loss));
}

/* The measured layers are judged again as those of a first step, after they were written to. */
static void judge_again(net *a)
{
	a->f->steps = 0;
	weir__flow_judge(a->f);
}

static void assert_verdict(const net *a, weir_verdict v, const char *cause, int first, int last)
{
	const weir_flow_summary *s = a->s;

	if (s->verdict != v || (s->cause == NULL) != (cause == NULL) || (cause && strcmp(s->cause, cause)) ||
	    (v > WEIR_FLOW_HEALTHY && (s->first_layer != first || s->last_layer != last)))
		fail_msg("%s, %s, layers %lld to %lld (%s); want %s, %s, %d to %d", weir_verdict_name(s->verdict),
			 s->cause ? s->cause : "-", (long long)s->first_layer, (long long)s->last_layer, s->evidence,
			 weir_verdict_name(v), cause ? cause : "-", first, last);
	if (v > WEIR_FLOW_HEALTHY) assert_true(s->evidence[0] != 0);
}

static void judge_chain(int n, const double *gain, weir_verdict v, const char *cause, int first, int last)
{
	for (int k = 0; k < UNITS; k++) {
		net a = chain(n, gain);

		run(&a, WEIR_ACT_IDENTITY, 1, units_of_loss[k]);
		assert_verdict(&a, v, cause, first, last);
		close_fine(a.w);
	}
}

/* ---- vanishing, exploding ---- */

static void thresholds_of_the_total(void **state)
{
	(void)state;
	judge_chain(4, (double[]){ 1, 1, 0.0101, 1 }, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	judge_chain(4, (double[]){ 1, 1, 0.0099, 1 }, WEIR_FLOW_VANISHING, "initial weights", 2, 2);
	judge_chain(4, (double[]){ 1, 99, 1, 1 }, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	judge_chain(4, (double[]){ 1, 101, 1, 1 }, WEIR_FLOW_EXPLODING, "initial weights", 1, 1);
	judge_chain(5, (double[]){ 0.5, 0.5, 0.5, 0.5, 0.5 }, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	judge_chain(5, (double[]){ 0.233, 0.233, 0.233, 0.233, 0.233 }, WEIR_FLOW_VANISHING, "initial weights", 0, 4);
}

static void options_move_them(void **state)
{
	static const double gain[] = { 1, 0.5, 0.5, 1 };
	net a = chain(4, gain);

	(void)state;
	run(&a, WEIR_ACT_IDENTITY, 1, 1);
	assert_verdict(&a, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	a.f->options.vanishing = 0.26;
	judge_again(&a);
	assert_verdict(&a, WEIR_FLOW_VANISHING, "initial weights", 1, 2);
	close_fine(a.w);
}

/* The ends are alike, the middle is not: by what the gradient, which comes from the last layer, meets first. */
static void in_the_middle(void **state)
{
	(void)state;
	judge_chain(6, (double[]){ 1, 1, 101, 1 / 101., 1, 1 }, WEIR_FLOW_VANISHING, "initial weights", 3, 3);
	judge_chain(6, (double[]){ 1, 1, 99, 1 / 99., 1, 1 }, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	judge_chain(6, (double[]){ 1, 1, 1 / 101., 101, 1, 1 }, WEIR_FLOW_EXPLODING, "initial weights", 3, 3);
	judge_chain(6, (double[]){ 1, 1, 1 / 99., 99, 1, 1 }, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	/* Neither end is a hundredth of the last, but one of the other. */
	judge_chain(4, (double[]){ 1, 1 / 200., 20, 1 }, WEIR_FLOW_VANISHING, "initial weights", 1, 1);
	judge_chain(8, (double[]){ 1, 2, 8, 8, 1 / 8., 1 / 8., 1 / 8., 1 }, WEIR_FLOW_VANISHING, "initial weights", 4,
		    6);
}

/* ---- the range ---- */

/* bits[i] are lost in layer i. */
static void assert_range(int n, const double *bits, int first, int last)
{
	double gain[MOST] = { 0 };

	for (int i = 0; i < n; i++) gain[i] = exp2(-bits[i]);
	judge_chain(n, gain, WEIR_FLOW_VANISHING, "initial weights", first, last);
	for (int i = 0; i < n; i++) gain[i] = exp2(bits[i]);
	judge_chain(n, gain, WEIR_FLOW_EXPLODING, "initial weights", first, last);
}

static void ranges(void **state)
{
	double bits[11];

	(void)state;
	assert_range(8, (double[]){ 0, 0, 1, 1, 1, 1, 1, 2 }, 2, 7);
	assert_range(8, (double[]){ 1, 1, 1, 1, 1, 1, 1, 1 }, 0, 7);
	assert_range(9, (double[]){ 0, 4, 0.1, -0.2, 4, 0, 0.3, 0, 0 }, 1, 4); /* two bad ones, far apart */
	/* A fair share: the layer at the end loses b of the average (8 + b) / 5, half of which is b at 8 / 9. */
	assert_range(6, (double[]){ 0, 0.85, 2, 2, 2, 2 }, 2, 5);
	assert_range(6, (double[]){ 0, 0.95, 2, 2, 2, 2 }, 1, 5);
	/* The main share: one of 10 bits alone makes 70 % of all while the ten others lose less than 3 / 7 each. */
	for (int i = 0; i < 11; i++) bits[i] = i == 6 ? 10 : 0.4;
	assert_range(11, bits, 6, 6);
	for (int i = 0; i < 11; i++) bits[i] = i == 6 ? 10 : 0.46;
	assert_range(11, bits, 0, 10);
}

/* ---- activations ---- */

static void saturation(void **state)
{
	static const double gain[] = { 1, 1, 1, 1, 1 };
	net a = chain(5, gain);
	weir_flow_layer *p;

	(void)state;
	run(&a, WEIR_ACT_TANH, 0.01, 1);
	p = &a.f->layers[2].public;
	assert_verdict(&a, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	assert_true(p->saturated == 0 && p->act_slope_limit == 1);
	p->saturated = 0.79;
	judge_again(&a);
	assert_verdict(&a, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	p->saturated = 0.81;
	judge_again(&a);
	assert_verdict(&a, WEIR_FLOW_SATURATED, "initial weights", 2, 2);
	p->saturated = NAN;
	p->act_slope = 0.031;
	judge_again(&a);
	assert_verdict(&a, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	p->act_slope = 0.029;
	judge_again(&a);
	assert_verdict(&a, WEIR_FLOW_SATURATED, "initial weights", 2, 2);
	p->act_slope_limit = NAN; /* not known: no rule fires */
	judge_again(&a);
	assert_verdict(&a, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	close_fine(a.w);
}

/* The share of outputs whose derivative is below 1 % of its most: tanh'(z) = 0.01 at z = atanh(√0.99). */
static void flat_derivative(void **state)
{
	double edge = atanh(sqrt(0.99));

	(void)state;
	for (int k = 0; k < 2; k++) {
		net a = chain(3, (double[]){ 1, 1, 1 });

		run(&a, WEIR_ACT_TANH, edge + (k ? 1e-6 : -1e-6), 1);
		assert_true(weir_flow_layer_at(a.f, 0)->saturated == k);
		assert_true(weir_flow_layer_at(a.f, 1)->saturated == 0);
		assert_true(isnan(weir_flow_layer_at(a.f, 2)->saturated));
		assert_verdict(&a, WEIR_FLOW_SATURATED, "initial weights", 0,
			       0); /* the root mean square is 0.01 in both */
		close_fine(a.w);
	}
}

static void large_input(void **state)
{
	(void)state;
	for (int k = 0; k < 2; k++) {
		net a = chain(3, (double[]){ 1, 1, 1 });

		run(&a, WEIR_ACT_TANH, k ? 10.1 : 9.9, 1);
		assert_verdict(&a, WEIR_FLOW_SATURATED, k ? "data scale" : "initial weights", 0, 0);
		close_fine(a.w);
	}
}

/* An output may be sure of itself, and a gate may be shut. */
static void outputs_and_gates(void **state)
{
	net a = chain(3, (double[]){ 1, 1, 1 });
	weir_tensor *x, *g;

	(void)state;
	x = weir_full(a.w, WEIR_F64, 2, (int64_t[]){ B, N }, 0.1);
	for (int i = 0; i < 2; i++) x = weir_forward(weir_list_at(a.list, i), x);
	a.loss = weir_sum_all(weir_sigmoid(weir_affine(weir_forward(weir_list_at(a.list, 2), x), 200, 0)));
	weir_backward(a.loss);
	assert_true(weir_flow_step(a.f, a.loss));
	assert_verdict(&a, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	assert_true(a.s->total_gain > 0);
	weir_tape_reset(a.w);
	x = weir_full(a.w, WEIR_F64, 2, (int64_t[]){ B, N }, 20);
	g = weir_tanh(weir_forward(weir_list_at(a.list, 0), x));
	x = weir_add(weir_mul(g, weir_forward(weir_list_at(a.list, 1), x)), x);
	weir_backward(a.loss = weir_sum_all(weir_forward(weir_list_at(a.list, 2), x)));
	assert_true(weir_flow_step(a.f, a.loss));
	assert_verdict(&a, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	close_fine(a.w);
}

static void dead(void **state)
{
	net a = chain(4, (double[]){ 1, 1, -1, 1 }); /* layer 2 turns the sign of what ReLU let through */
	weir_flow_layer *p;

	(void)state;
	run(&a, WEIR_ACT_RELU, 1, 1);
	assert_verdict(&a, WEIR_FLOW_DEAD, "initial weights", 2, 2);
	assert_true(isnan(a.s->gain_per_layer) && isnan(a.s->bits_per_layer)); /* it ends at a layer: no slope */
	assert_true(a.s->total_gain == 0);
	a.f->options.dead_share = 1.001; /* more than all */
	judge_again(&a);
	assert_int_equal(a.s->verdict, WEIR_FLOW_VANISHING);
	close_fine(a.w);

	a = chain(4, (double[]){ 1, 1, 1, 1 });
	run(&a, WEIR_ACT_RELU, 1, 1);
	p = &a.f->layers[1].public;
	p->units = 10;
	p->dead_units = -1;
	judge_again(&a);
	assert_verdict(&a, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	p->dead_units = 8;
	judge_again(&a);
	assert_verdict(&a, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	p->dead_units = 9;
	judge_again(&a);
	assert_verdict(&a, WEIR_FLOW_DEAD, "initial weights", 1, 1);
	close_fine(a.w);
}

/* A linear layer with a ReLU in the same pass, whose z is never kept, and one inside of a residual block, whose sum is not zero. */
static void dead_wherever_it_stands(void **state)
{
	(void)state;
	for (int residual = 0; residual < 2; residual++) {
		net a = { .w = open_ieee(WEIR_F32) };
		weir_tensor *x = weir_full(a.w, WEIR_F32, 2, (int64_t[]){ B, N }, 1);
		weir_linear_options o;

		weir_linear_options_init(&o);
		o.init = WEIR_INIT_DIAGONAL;
		o.act = WEIR_ACT_RELU;
		a.list = weir_list_new(a.w, "net");
		a.f = watch_all(a.w);
		a.s = weir_flow_summary_of(a.f);
		for (int i = 0; i < 5; i++) {
			weir_module *m = weir_list_add(a.list, weir_linear_with(a.w, N, N, &o));
			weir_tensor *h;

			if (i == 2)
				weir_write_f64(weir_module_parameter(m, 1),
					       (double[N]){ -9, -9, -9, -9, -9, -9, -9, -9 }, N);
			h = weir_forward(m, x);
			x = residual ? weir_add(x, weir_affine(h, 0.1, 0)) : h;
		}
		weir_backward(a.loss = weir_sum_all(x));
		assert_true(weir_flow_step(a.f, a.loss));
		assert_verdict(&a, WEIR_FLOW_DEAD, "initial weights", 2, 2);
		assert_true(weir_flow_layer_at(a.f, 1)->act_slope == 1);
		close_fine(a.w);
	}
}

/* A mask of -inf before a softmax, used before and behind the layer that makes the NaN, is not to blame for it. */
static void a_mask_is_not_to_blame(void **state)
{
	net a = chain(3, (double[]){ 1, 1, 1 });
	weir_tensor *x = weir_full(a.w, WEIR_F64, 2, (int64_t[]){ B, N }, 1), *least, *keep;

	(void)state;
	least = weir_full(a.w, WEIR_F64, 0, NULL, -INFINITY);
	keep = weir_gt(weir_from(a.w, WEIR_F64, 1, (int64_t[]){ N }, (double[N]){ 1, 1, 1, 1, 1, 1, 0, 0 }),
		       weir_scalar(a.w, WEIR_F64, 0.5));
	((double *)weir_data_mut(weir_module_parameter(weir_list_at(a.list, 1), 0), NULL))[3] = NAN;
	for (int i = 0; i < 3; i++)
		x = weir_softmax(weir_where(keep, weir_forward(weir_list_at(a.list, i), x), least), -1);
	weir_backward(a.loss = weir_sum_all(x));
	assert_true(weir_flow_step(a.f, a.loss));
	assert_verdict(&a, WEIR_FLOW_NONFINITE, "initial weights", 1, 1);
	assert_non_null(strstr(a.s->evidence, "net.1.weight"));
	assert_false(a.s->first_inf.found); /* nor named as an inf */
	close_fine(a.w);
}

/* But it is where the loss looks at a masked entry: that is where its inf comes from. */
static void a_mask_that_is(void **state)
{
	net a = chain(1, (double[]){ 1 });
	weir_tensor *x = weir_full(a.w, WEIR_F64, 2, (int64_t[]){ B, N }, 1), *mask;

	(void)state;
	mask = weir_from(a.w, WEIR_F64, 1, (int64_t[]){ N }, (double[N]){ 0, 0, 0, 0, 0, 0, 0, -INFINITY });
	x = weir_log_softmax(weir_add(weir_forward(weir_list_at(a.list, 0), x), mask), -1);
	x = weir_slice(x, 1, 6, 8, 1);
	weir_backward(a.loss = weir_neg(weir_sum_all(x)));
	assert_true(weir_flow_step(a.f, a.loss));
	assert_int_equal(a.s->verdict, WEIR_FLOW_NONFINITE);
	assert_true(a.s->first_inf.found);
	assert_string_equal(a.s->first_inf.op, "input");
	close_fine(a.w);
}

/* ---- causes ---- */

/* Nothing is said to be multiplied by 1e-300 that is 0, of layers side by side none is named alone, and the gradient's growth is measured
 * where it is the gradient that overflows. */
static void evidence_says_what_is(void **state)
{
	net a = chain(4, (double[]){ 1, 1, 1, 0 });
	weir_tensor *x, *h;

	(void)state;
	run(&a, WEIR_ACT_TANH, 0.1, 1);
	assert_verdict(&a, WEIR_FLOW_VANISHING, "initial weights", 3, 3);
	assert_non_null(strstr(a.s->evidence, "net.3 alone multiplies the gradient by 0;"));
	close_fine(a.w);

	a = chain(5, (double[]){ 1, 1, 1, 1e5, 1 });
	x = weir_full(a.w, WEIR_F64, 2, (int64_t[]){ B, N }, 1e-9);
	for (int i = 0; i < 2; i++) x = weir_forward(weir_list_at(a.list, i), x);
	h = weir_forward(weir_list_at(a.list, 2), x);
	x = weir_add(x, weir_tanh(weir_forward(weir_list_at(a.list, 3), h)));
	weir_backward(a.loss = weir_sum_all(weir_forward(weir_list_at(a.list, 4), x)));
	assert_true(weir_flow_step(a.f, a.loss));
	assert_verdict(&a, WEIR_FLOW_EXPLODING, "initial weights", 2, 3);
	assert_non_null(strstr(a.s->evidence, "net.2 to net.3 together multiply"));
	close_fine(a.w);

	a = chain(10, (double[]){ 1e40, 1e40, 1e40, 1e40, 1e40, 1e40, 1e40, 1e40, 1e40, 1 });
	x = weir_from(a.w, WEIR_F64, 2, (int64_t[]){ 1, N }, (double[N]){ 0.98, 0, 0.98, 0, 0.98, 0, 0.98, 0 });
	for (int i = 0; i < 10; i++) x = weir_tanh(weir_forward(weir_list_at(a.list, i), x));
	weir_backward(a.loss = weir_sum_all(x));
	assert_true(weir_flow_step(a.f, a.loss));
	assert_int_equal(a.s->verdict, WEIR_FLOW_NONFINITE);
	assert_true(a.s->first_inf.found && a.s->first_inf.backward);
	assert_string_equal(a.s->cause, "initial weights");
	close_fine(a.w);
}

/* Where tanh is straight, the gain of a layer is its weight: 1.1 per layer or one over it is nobody's fault. */
static void depth_or_weights(void **state)
{
	static const struct {
		double gain;
		const char *cause;
	} list[] = {
		{ 1 / 1.09, "depth" }, { 1 / 1.11, "initial weights" }, { 1.09, "depth" }, { 1.11, "initial weights" }
	};

	(void)state;
	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		double gain[MOST];
		net a;

		for (int k = 0; k < MOST; k++) gain[k] = list[i].gain;
		a = chain(MOST, gain);
		run(&a, WEIR_ACT_TANH, 1e-9, 1);
		assert_verdict(&a, list[i].gain < 1 ? WEIR_FLOW_VANISHING : WEIR_FLOW_EXPLODING, list[i].cause, 0,
			       MOST - 1);
		close_fine(a.w);
	}
}

/* An activation whose derivative is nowhere a half shrinks the gradient whatever the weights. */
static void flat_slope(void **state)
{
	net a = chain(6, (double[]){ 0.1, 0.1, 0.1, 0.1, 0.1, 1 });

	(void)state;
	run(&a, WEIR_ACT_TANH, 1e-9, 1);
	assert_verdict(&a, WEIR_FLOW_VANISHING, "initial weights", 0, 4);
	for (int i = 0; i < 5; i++) a.f->layers[i].public.act_slope_max = 0.51;
	judge_again(&a);
	assert_verdict(&a, WEIR_FLOW_VANISHING, "initial weights", 0, 4);
	for (int i = 0; i < 5; i++) a.f->layers[i].public.act_slope_max = 0.49;
	judge_again(&a);
	assert_verdict(&a, WEIR_FLOW_VANISHING, "activation", 0, 4);
	close_fine(a.w);
	a = chain(6, (double[]){ 1, 1, 1, 1, 1, 1 });
	run(&a, WEIR_ACT_SIGMOID, 1, 1);
	assert_verdict(&a, WEIR_FLOW_VANISHING, "activation", 0, 4);
	close_fine(a.w);
}

static void set_weights(const net *a, int at, double value)
{
	weir_tensor *p = weir_module_parameter(a->list, 2 * at);
	double v[N * N] = { 0 };

	for (int i = 0; i < N; i++) v[i * N + i] = value;
	assert_true(weir_write_f64(p, v, N * N));
}

/* What was so in the first step was not made by training; what overflows had been exploding. */
static void stories(void **state)
{
	net a = chain(4, (double[]){ 1, 1, 1, 1 });

	(void)state;
	run(&a, WEIR_ACT_IDENTITY, 1, 1);
	assert_verdict(&a, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	set_weights(&a, 1, 1000);
	run(&a, WEIR_ACT_IDENTITY, 1, 1);
	assert_verdict(&a, WEIR_FLOW_EXPLODING, "learning rate", 1, 1);
	set_weights(&a, 2, INFINITY);
	run(&a, WEIR_ACT_IDENTITY, 1, 1);
	assert_verdict(&a, WEIR_FLOW_NONFINITE, "learning rate", 2, 2);
	close_fine(a.w);

	a = chain(4, (double[]){ 1, 1000, 1, 1 });
	run(&a, WEIR_ACT_IDENTITY, 1, 1);
	assert_verdict(&a, WEIR_FLOW_EXPLODING, "initial weights", 1, 1);
	set_weights(&a, 1, 1e200);
	set_weights(&a, 2, 1e200);
	run(&a, WEIR_ACT_IDENTITY, 1, 1);
	assert_verdict(&a, WEIR_FLOW_NONFINITE, "initial weights", 2, 2);
	assert_non_null(strstr(a.s->evidence, "exploding in the first step"));
	close_fine(a.w);

	a = chain(4, (double[]){ 1, 1, 1, 1 });
	run(&a, WEIR_ACT_RELU, 1, 1);
	set_weights(&a, 2, -1);
	run(&a, WEIR_ACT_RELU, 1, 1);
	assert_verdict(&a, WEIR_FLOW_DEAD, "learning rate", 2, 2);
	close_fine(a.w);

	a = chain(4, (double[]){ 1, 1, 1, 1 });
	run(&a, WEIR_ACT_IDENTITY, 1, 1);
	run(&a, WEIR_ACT_IDENTITY, NAN, 1); /* bad data comes when it comes */
	assert_verdict(&a, WEIR_FLOW_NONFINITE, "data scale", 0, 0);
	close_fine(a.w);
}

/* ---- every number is the same in another unit of the loss ---- */

static void powers_of_two_change_no_bit(void **state)
{
	weir_flow_summary want;

	(void)state;
	for (int k = -40; k <= 40; k += 20) {
		net a = chain(6, (double[]){ 0.3, 0.7, 0.2, 1.3, 0.05, 0.9 });

		run(&a, WEIR_ACT_SIGMOID, 0.7, exp2(k));
		if (k == -40) want = *a.s;
		assert_int_equal(a.s->verdict, want.verdict);
		assert_true(a.s->total_gain == want.total_gain);
		assert_near(a.s->bits_per_layer, want.bits_per_layer, 1e-12);
		assert_string_equal(a.s->evidence, want.evidence);
		assert_string_equal(a.s->cause, want.cause);
		assert_true(a.s->first_layer == want.first_layer && a.s->last_layer == want.last_layer);
		close_fine(a.w);
	}
}

/* ---- bound and budget ---- */

static void bound(void **state)
{
	net a = chain(5, (double[]){ 0.5, 0.5, 0.5, 0.5, 0.5 });

	(void)state;
	run(&a, WEIR_ACT_IDENTITY, 1, 1);
	for (int i = 0; i < 5; i++) a.f->layers[i].public.stretch_low = 0.75;
	judge_again(&a);
	assert_near(a.s->actual_bits, -5, 1e-12);
	assert_near(a.s->bound_bits, 5 * log2(0.75), 1e-12);
	assert_near(a.s->slack_bits, 5 * log2(1.5), 1e-12);
	a.f->layers[3].public.stretch_low = NAN;
	judge_again(&a);
	assert_near(a.s->actual_bits, -5, 1e-12);
	assert_true(isnan(a.s->bound_bits) && isnan(a.s->slack_bits));
	close_fine(a.w);
}

static void assert_budget(weir_flow_budget b, double subnormal, double zero, double overflow)
{
	assert_true(isinf(subnormal) ? b.subnormal == subnormal : fabs(b.subnormal - subnormal) < 1e-6);
	assert_true(isinf(zero) ? b.zero == zero : fabs(b.zero - zero) < 1e-6);
	assert_true(isinf(overflow) ? b.overflow == overflow : fabs(b.overflow - overflow) < 1e-6);
}

/* From elements of c^L: how many more layers of c. */
static void budget(void **state)
{
	double gain[20];
	net a;

	(void)state;
	for (int i = 0; i < 20; i++) gain[i] = 0.5;
	a = chain(20, gain);
	run(&a, WEIR_ACT_IDENTITY, 1, 1); /* elements of 2^-20 */
	assert_budget(a.s->f32, 106, 129, INFINITY);
	assert_budget(a.s->bf16, 106, 113, INFINITY);
	assert_budget(a.s->f16, 0, 4, INFINITY);
	close_fine(a.w);
	for (int i = 0; i < 20; i++) gain[i] = 2;
	a = chain(10, gain);
	run(&a, WEIR_ACT_IDENTITY, 1, 1); /* 2^10 */
	assert_budget(a.s->f32, INFINITY, INFINITY, 118);
	assert_budget(a.s->f16, INFINITY, INFINITY, log2(65504) - 10);
	close_fine(a.w);
	a = chain(17, gain);
	run(&a, WEIR_ACT_IDENTITY, 1, 1); /* 2^17 */
	assert_budget(a.s->f16, INFINITY, INFINITY, 0);
	close_fine(a.w);
	for (int i = 0; i < 20; i++) gain[i] = 1;
	a = chain(5, gain);
	run(&a, WEIR_ACT_IDENTITY, 1, 1);
	assert_budget(a.s->f16, INFINITY, INFINITY, INFINITY);
	close_fine(a.w);
	a = chain(1, gain); /* one layer has no slope */
	run(&a, WEIR_ACT_IDENTITY, 1, 1);
	assert_true(isnan(a.s->f32.subnormal) && isnan(a.s->f16.zero) && isnan(a.s->bf16.overflow));
	close_fine(a.w);
}

/* ---- which nodes are compared ---- */

/* What goes around is no end: x + branch, of operations alone, with a branch that passes next to nothing. */
static void branches(void **state)
{
	net a = chain(6, (double[]){ 1e-3, 1, 1e-3, 1, 1e-3, 1 });
	weir_tensor *x = weir_full(a.w, WEIR_F64, 2, (int64_t[]){ B, N }, 0.1), *h;

	(void)state;
	for (int i = 0; i < 6; i += 2) {
		h = weir_tanh(weir_forward(weir_list_at(a.list, i), x));
		x = weir_add(x, weir_forward(weir_list_at(a.list, i + 1), h));
	}
	weir_backward(a.loss = weir_sum_all(weir_square(x)));
	assert_true(weir_flow_step(a.f, a.loss));
	assert_verdict(&a, WEIR_FLOW_HEALTHY, NULL, 0, 0);
	close_fine(a.w);

	a = chain(6, (double[]){ 1, 1, 1, 1e4, 1, 1 }); /* a strong one: its block */
	x = weir_full(a.w, WEIR_F64, 2, (int64_t[]){ B, N }, 0.1);
	for (int i = 0; i < 6; i += 2) {
		h = weir_tanh(weir_forward(weir_list_at(a.list, i), x));
		x = weir_add(x, weir_forward(weir_list_at(a.list, i + 1), h));
	}
	weir_backward(a.loss = weir_sum_all(x));
	assert_true(weir_flow_step(a.f, a.loss));
	assert_int_equal(a.s->verdict, WEIR_FLOW_EXPLODING);
	assert_true(a.s->first_layer == 2 && a.s->last_layer == 3);
	close_fine(a.w);
}

static weir_module *tower(weir_ctx *w, const char *name, int layers, weir_act act, weir_init_kind init, double scale)
{
	weir_module *m = weir_sequential_new(w, name);
	weir_linear_options o;

	weir_linear_options_init(&o);
	o.init = init;
	o.init_scale = scale;
	o.act = act;
	for (int i = 0; i < layers; i++) weir_module_add(m, NULL, weir_linear_with(w, 16, 16, &o));
	return m;
}

/* The shallower of two towers is judged, too, whether their outputs meet or each has a loss; one that is healthy, or short, is not blamed. */
static void beside_the_deepest_way(void **state)
{
	const struct {
		int layers;
		weir_act act;
		weir_init_kind init;
		double scale;
		weir_verdict want;
	} sides[] = {
		{ 10, WEIR_ACT_SIGMOID, WEIR_INIT_GLOROT, 1, WEIR_FLOW_VANISHING },
		{ 10, WEIR_ACT_RELU, WEIR_INIT_HE, 1, WEIR_FLOW_HEALTHY },
		{ 8, WEIR_ACT_IDENTITY, WEIR_INIT_DIAGONAL, 3, WEIR_FLOW_EXPLODING },
		{ 3, WEIR_ACT_IDENTITY, WEIR_INIT_DIAGONAL, 1e-3, WEIR_FLOW_HEALTHY }, /* as short as a gate */
	};

	(void)state;
	for (int k = 0; k < 8; k++) {
		bool two_losses = k >= 4;
		weir_ctx *w = open_ieee(WEIR_F32);
		weir_flow *f = watch_all(w);
		weir_module *good = tower(w, "good", 14, WEIR_ACT_RELU, WEIR_INIT_HE, 1),
			    *side = tower(w, "side", sides[k % 4].layers, sides[k % 4].act, sides[k % 4].init,
					  sides[k % 4].scale);
		weir_tensor *x = weir_normal(w, WEIR_F32, 2, (int64_t[]){ 32, 16 }, 0, 1), *a = weir_forward(good, x),
			    *b = weir_forward(side, x), *loss;
		const weir_flow_summary *s = weir_flow_summary_of(f);

		if (two_losses) {
			a = weir_mean_all(weir_square(a));
			b = weir_mean_all(weir_square(b));
			loss = weir_add(a, b);
		} else {
			loss = weir_mean_all(weir_square(weir_add(a, b)));
		}
		weir_backward(loss);
		assert_true(weir_flow_step(f, loss));
		if (s->verdict != sides[k % 4].want)
			fail_msg("side %d, %s: %s, want %s", k % 4, two_losses ? "two losses" : "one loss",
				 weir_verdict_name(s->verdict), weir_verdict_name(sides[k % 4].want));
		if (s->verdict != WEIR_FLOW_HEALTHY) {
			assert_memory_equal(weir_flow_layer_at(f, s->first_layer)->name, "side.", 5);
			assert_memory_equal(weir_flow_layer_at(f, s->last_layer)->name, "side.", 5);
		}
		close_fine(w);
	}
}

/* A head of zeros passes nothing back at first; once it has moved, what was said of the first step does not stand until the next whole one. */
static void it_is_over(void **state)
{
	net a = chain(4, (double[]){ 1, 1, 1, 0 });
	weir_tensor *head = weir_module_parameter(weir_list_at(a.list, 3), 0);
	double v[N * N] = { 0 };

	(void)state;
	weir_flow_stop(a.f);
	a.f = weir_flow_watch(a.w, NULL); /* as it is by default: a whole measurement now and then */
	a.s = weir_flow_summary_of(a.f);
	run(&a, WEIR_ACT_IDENTITY, 1, 1);
	assert_true(a.s->verdict != WEIR_FLOW_HEALTHY);
	for (int i = 0; i < N; i++) v[i * N + i] = 1;
	weir_tape_reset(a.w);
	assert_true(weir_write_f64(head, v, N * N));
	run(&a, WEIR_ACT_IDENTITY, 1, 1); /* sees that a gradient arrives, and asks for the next step */
	run(&a, WEIR_ACT_IDENTITY, 1, 1);
	assert_int_equal(a.s->verdict, WEIR_FLOW_HEALTHY);
	assert_int_equal(a.s->measured, 2);
	assert_int_equal(weir_close(a.w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(thresholds_of_the_total),
		cmocka_unit_test(options_move_them),
		cmocka_unit_test(in_the_middle),
		cmocka_unit_test(ranges),
		cmocka_unit_test(saturation),
		cmocka_unit_test(flat_derivative),
		cmocka_unit_test(large_input),
		cmocka_unit_test(outputs_and_gates),
		cmocka_unit_test(dead),
		cmocka_unit_test(dead_wherever_it_stands),
		cmocka_unit_test(a_mask_is_not_to_blame),
		cmocka_unit_test(a_mask_that_is),
		cmocka_unit_test(evidence_says_what_is),
		cmocka_unit_test(depth_or_weights),
		cmocka_unit_test(flat_slope),
		cmocka_unit_test(stories),
		cmocka_unit_test(powers_of_two_change_no_bit),
		cmocka_unit_test(bound),
		cmocka_unit_test(budget),
		cmocka_unit_test(beside_the_deepest_way),
		cmocka_unit_test(branches),
		cmocka_unit_test(it_is_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
