/* test_flow_births.c: who made the first inf, NaN, subnormal, zero: forward and backward, and what does no harm is not reported. */
#include "tests/birth_check.h"

static void assert_birth(const weir_flow_birth *b, const char *what, bool backward, const char *layer, const char *op,
			 int64_t depth)
{
	if (!b->found) fail_msg("%s: none was found; want %s (%s)", what, layer, op);
	if (b->backward != backward || strcmp(b->layer, layer) || strcmp(b->op, op) || b->depth != depth)
		fail_msg("%s: %s, %s (%s), depth %lld; want %s, %s (%s), depth %lld", what,
			 b->backward ? "backward" : "forward", b->layer, b->op, (long long)b->depth,
			 backward ? "backward" : "forward", layer, op, (long long)depth);
}

/* The depths at which c^L leaves the range of its type; 0: it never does. IEEE 754 leaves no other answer. */
static void depths(void **state)
{
	static const struct {
		weir_dtype dtype;
		double c;
		int layers, inf, subnormal, zero;
	} list[] = {
		{ WEIR_F32, 1.5, 225, 219, 0, 0 },    { WEIR_F32, 1.1, 940, 931, 0, 0 },
		{ WEIR_F32, 0.5, 160, 0, 127, 150 },  { WEIR_F32, 0.25, 80, 0, 64, 75 },
		{ WEIR_F32, 0.9, 1200, 0, 829, 0 },   { WEIR_F64, 1.5, 1760, 1751, 0, 0 },
		{ WEIR_F64, 1.1, 7455, 7448, 0, 0 },  { WEIR_F64, 0.5, 1080, 0, 1023, 1075 },
		{ WEIR_F64, 0.25, 545, 0, 512, 538 }, { WEIR_F64, 0.9, 7500, 0, 6724, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		weir_ctx *w = open_ieee(list[i].dtype);
		weir_module *net = chain(w, list[i].layers, list[i].c);
		weir_flow *f = watch_all(w);
		const weir_flow_summary *s = weir_flow_summary_of(f);
		weir_tensor *loss =
			weir_sum_all(weir_forward(net, weir_full(w, list[i].dtype, 2, (int64_t[]){ 1, 2 }, 1)));
		char layer[32], mirror[32];

		weir_backward(loss);
		weir_flow_step(f, loss);
		for (int k = 0; k < 3;
		     k++) { /* forward and backward are mirror images: the input is ones, and so is dL/dy */
			int want = k == 0 ? list[i].inf : k == 1 ? list[i].subnormal : list[i].zero;
			const weir_flow_birth *forward = k == 0   ? &s->first_inf
							 : k == 1 ? &s->first_subnormal[0]
								  : &s->first_zero[0];
			const weir_flow_birth *backward = k == 1 ? &s->first_subnormal[1] : &s->first_zero[1];

			snprintf(layer, sizeof layer, "mlp.%d.linear", want - 1);
			snprintf(mirror, sizeof mirror, "mlp.%d.linear", list[i].layers - want);
			if (want) assert_birth(forward, "forward", false, layer, "linear", want);
			else assert_false(forward->found);
			if (k && want) assert_birth(backward, "backward", true, mirror, "linear", want);
			else if (k) assert_false(backward->found);
			if (want) assert_int_equal(forward->number, want);
		}
		snprintf(layer, sizeof layer, "mlp.%d.linear", list[i].inf);
		if (list[i].inf)
			assert_birth(&s->first_nan, "NaN", false, layer, "linear", list[i].inf + 1); /* from 0 * inf */
		if (list[i].inf) assert_int_equal(s->verdict, WEIR_FLOW_NONFINITE);
		assert_near(s->gain_per_layer, list[i].c, 1e-6);
		close_fine(w);
	}
}

/* The forward pass is all zeros; the gradient overflows on its way back. The maker is the operation whose rule made it. */
static void backward_overflow(void **state)
{
	enum { LAYERS = 225 };
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_module *net = chain(w, LAYERS, 1.5);
	weir_flow *f = watch_all(w);
	const weir_flow_summary *s = weir_flow_summary_of(f);
	weir_tensor *loss = weir_sum_all(weir_forward(net, weir_zeros(w, WEIR_F32, 2, (int64_t[]){ 1, 2 })));

	(void)state;
	weir_backward(loss);
	weir_flow_step(f, loss);
	assert_birth(&s->first_inf, "inf", true, "mlp.6.linear", "linear", 219);
	assert_birth(&s->first_nan, "NaN", true, "mlp.5.linear", "linear", 220); /* inf · 0 */
	assert_int_equal(s->verdict, WEIR_FLOW_NONFINITE);
	assert_non_null(strstr(s->evidence, "mlp.6"));
	close_fine(w);
}

/* 1 / x at 1e-200: the forward pass is finite, its slope is not. */
static void maker_is_the_rule(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	const weir_flow_summary *s = weir_flow_summary_of(f);
	weir_tensor *p = weir_param_new(w, "p", WEIR_F64, 1, (int64_t[]){ 3 }), *root, *loss;

	(void)state;
	weir_write_f64(p, (double[]){ 4, 1e-200, 9 }, 3);
	weir_scope_begin(w, "first");
	root = weir_affine(p, 1, 0);
	weir_scope_end(w);
	weir_scope_begin(w, "second");
	root = weir_pow(root, -1);
	weir_scope_end(w);
	weir_scope_begin(w, "third");
	loss = weir_sum_all(weir_affine(root, 2, 0));
	weir_scope_end(w);
	weir_backward(loss);
	weir_flow_step(f, loss);
	assert_birth(&s->first_inf, "inf", true, "second", "pow", 2);
	assert_false(s->first_nan.found);
	assert_non_null(strstr(s->first_inf.here, "test_flow_births.c:"));
	assert_int_equal(s->verdict, WEIR_FLOW_NONFINITE);
	close_fine(w);
}

/* 1 / exp(1000) is 0 and the loss finite; but backward meets 0 · inf. The inf was made forward, the NaN backward. */
static void inf_that_hides(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	const weir_flow_summary *s = weir_flow_summary_of(f);
	weir_tensor *p = weir_param_new(w, "p", WEIR_F64, 0, NULL), *e, *y;

	(void)state;
	weir_write_f64(p, (double[]){ 1000 }, 1);
	weir_scope_begin(w, "e");
	e = weir_exp(p);
	weir_scope_end(w);
	weir_scope_begin(w, "over");
	y = weir_mul(e, weir_div(weir_scalar(w, WEIR_F64, 1), weir_mul(e, e))); /* inf · 0 */
	weir_scope_end(w);
	y = weir_where(weir_eq(y, y), y,
		       weir_scalar(w, WEIR_F64, 0)); /* the NaN does not reach the loss, but it does the parameter */
	weir_backward(y);
	assert_true(weir_item(y) == 0);
	weir_flow_step(f, y);
	assert_true(isnan(weir_item(weir_grad_of(p))));
	assert_birth(&s->first_inf, "inf", false, "e", "exp", 1);
	assert_true(s->first_nan.found);
	close_fine(w);
}

/* A NaN and an inf that where() masks reach neither the loss nor a parameter: no word of them. */
static void masked(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	const weir_flow_summary *s = weir_flow_summary_of(f);
	weir_tensor *p = weir_param_new(w, "p", WEIR_F64, 1, (int64_t[]){ 3 }), *x, *bad, *y;

	(void)state;
	weir_write_f64(p, (double[]){ 4, -1, 0 }, 3);
	weir_scope_begin(w, "net");
	x = weir_affine(p, 1, 0);
	bad = weir_log(weir_detach(x)); /* NaN and -inf */
	y = weir_where(weir_gt(x, weir_zeros(w, WEIR_F64, 1, (int64_t[]){ 3 })), bad, x);
	weir_scope_end(w);
	y = weir_sum_all(y);
	weir_backward(y);
	weir_flow_step(f, y);
	assert_true(isfinite(weir_item(y)));
	assert_false(s->first_nan.found);
	assert_false(s->first_inf.found);
	assert_int_not_equal(s->verdict, WEIR_FLOW_NONFINITE);

	/* The same without the mask, in the next step. */
	weir_tape_reset(w);
	weir_zero_grad(p);
	weir_scope_begin(w, "net");
	y = weir_sum_all(weir_log(weir_affine(p, 1, 0)));
	weir_scope_end(w);
	weir_backward(y);
	weir_flow_step(f, y);
	assert_birth(&s->first_nan, "NaN", false, "net", "log", 1);
	assert_birth(&s->first_inf, "inf", false, "net", "log", 1);
	assert_int_equal(s->first_nan.step, 1);
	assert_string_equal(s->cause, "learning rate"); /* the first step was fine */
	close_fine(w);
}

/* What comes in bad was made by no operation: the data, or the parameter, is named. */
static void bad_from_outside(void **state)
{
	for (int which = 0; which < 2; which++) {
		weir_ctx *w = open_ieee(WEIR_F32);
		weir_flow *f = watch_all(w);
		const weir_flow_summary *s = weir_flow_summary_of(f);
		weir_module *net = chain(w, 3, 1);
		weir_tensor *x = weir_set_name(weir_full(w, WEIR_F32, 2, (int64_t[]){ 1, 2 }, which ? 1 : NAN),
					       "pixels"),
			    *loss;

		if (which) weir_write_f64(weir_module_parameter(net, 2), (double[]){ 1, INFINITY, 0, 1 }, 4);
		loss = weir_sum_all(weir_forward(net, x));
		weir_backward(loss);
		weir_flow_step(f, loss);
		if (which) assert_birth(&s->first_inf, "inf", false, "mlp.1.weight", "param", 0);
		else assert_birth(&s->first_nan, "NaN", false, "pixels", "input", 0);
		assert_string_equal(s->cause, which ? "initial weights" : "data scale");
		close_fine(w);
	}
	(void)state;
}

/* The first one stays the first, whatever later steps bring. */
static void first_stays(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	const weir_flow_summary *s = weir_flow_summary_of(f);
	weir_module *net = chain(w, 2, 1);

	(void)state;
	for (int step = 0; step < 4; step++) {
		weir_tensor *x, *loss;

		weir_tape_reset(w);
		x = weir_full(w, WEIR_F32, 2, (int64_t[]){ 1, 2 }, 1);
		x = weir_forward(weir_list_at(net, 0), x);
		if (step == 3) x = weir_affine(x, 1e38, 0), x = weir_mul(x, x);
		if (step == 1) x = weir_exp(weir_affine(x, 100, 0));
		loss = weir_sum_all(weir_forward(weir_list_at(net, 1), x));
		for (int k = 0; k < 4; k++)
			weir_zero_grad(weir_module_parameter(net, k)); /* they would be judged, too */
		weir_backward(loss);
		weir_flow_step(f, loss);
		assert_int_equal(s->first_inf.found, step >= 1);
		if (step >= 1) assert_string_equal(s->first_inf.op, "exp");
		if (step >= 1) assert_int_equal(s->first_inf.step, 1);
		assert_int_equal(s->verdict == WEIR_FLOW_NONFINITE, step & 1);
	}
	close_fine(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(depths),
		cmocka_unit_test(backward_overflow),
		cmocka_unit_test(maker_is_the_rule),
		cmocka_unit_test(inf_that_hides),
		cmocka_unit_test(masked),
		cmocka_unit_test(bad_from_outside),
		cmocka_unit_test(first_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
