/* test_flow_births_places.c: what a birth certificate says beyond the maker: element, operands, the way to the loss or a parameter; which
 * of several gradient rules it was; overflows that are gone again. It is long because of its table of cases. */
#include "tests/birth_check.h"

#include <fenv.h>

typedef weir_tensor *function(weir_tensor *p);

static weir_tensor *other(weir_tensor *p, const char *name, int rank, const int64_t *shape, const double *values)
{
	weir_tensor *q = weir_param_new(weir_context(p), name, weir_dtype_of(p), rank, shape);

	assert_true(weir_write_f64(q, values, weir_numel(q)));
	return q;
}

/* ---- the textbook's ways to an inf or NaN ---- */

static weir_tensor *log_of_zero(weir_tensor *p)
{
	return weir_log(weir_relu(weir_affine(p, 1, -2)));
}

static weir_tensor *zero_by_zero(weir_tensor *p)
{
	weir_tensor *z = weir_mul(p, like(p, 0));

	return weir_div(z, z);
}

static weir_tensor *inf_less_inf(weir_tensor *p)
{
	weir_tensor *e = weir_exp(weir_affine(p, 1000, 0));

	return weir_sub(e, e);
}

static weir_tensor *naive_softmax(weir_tensor *p)
{
	weir_tensor *e = weir_exp(weir_affine(p, 300, 0));

	return weir_mul(like(p, 1), weir_div(e, weir_sum(e, 1, (int[]){ 0 }, true)));
}

static weir_tensor *naive_normalisation(weir_tensor *p)
{
	weir_tensor *x = weir_affine(p, 0, 5), *c = weir_sub(x, weir_mean(x, 1, (int[]){ 0 }, true));

	return weir_div(c, weir_sqrt(weir_mean(weir_mul(c, c), 1, (int[]){ 0 }, true)));
}

static weir_tensor *slope_of_root(weir_tensor *p)
{
	return weir_sqrt(weir_mul(p, like(p, 0)));
}

static weir_tensor *product(weir_tensor *p)
{
	weir_tensor *m = other(p, "fc.weight", 2, (int64_t[]){ 3, 3 }, (double[]){ 1, 0, 0, 0, 1, 0, 0, 0, 2e38 });

	return weir_linear(weir_reshape(p, 2, (int64_t[]){ 1, 3 }), m, NULL);
}

static weir_tensor *broadcast(weir_tensor *p)
{
	weir_tensor *m = other(p, "m", 2, (int64_t[]){ 2, 1 }, (double[]){ 1, 1e38 });

	return weir_mul(m, weir_affine(p, 2, 0));
}

static weir_tensor *slope_of_power(weir_tensor *p)
{
	weir_tensor *x = weir_affine(p, 1e-30, 0);
	weir_tensor *a = weir_tanh(x), *b = weir_pow(x, -1), *c = weir_sqrt(x), *d = weir_exp(x);

	return weir_add(weir_add(d, c), weir_add(b, a));
}

/* Each share of the gradient is finite, their sum is not. */
static weir_tensor *two_shares(weir_tensor *p)
{
	weir_tensor *x = weir_affine(p, 1e-3, 0), *less = weir_affine(x, 2.5e38, 0), *more = weir_affine(x, 3e38, 0);

	return weir_add(more, less);
}

static weir_tensor *opposite_shares(weir_tensor *p)
{
	weir_tensor *x = weir_affine(p, 1e-30, 0), *one = weir_pow(x, -1), *other = weir_pow(x, -1);

	return weir_add(one, weir_neg(other));
}

/* What was not chosen has gradient 0; times NaN that is NaN. */
static weir_tensor *masked_forward_only(weir_tensor *p)
{
	weir_tensor *x = weir_affine(p, 1, -2);

	return weir_where(weir_gt(x, like(p, 0)), weir_mul(weir_log(x), weir_affine(p, 1, 0)), x);
}

static weir_tensor *masked(weir_tensor *p)
{
	weir_tensor *x = weir_affine(p, 1, -2);

	return weir_where(weir_gt(x, like(p, 0)), weir_log(weir_detach(x)), x);
}

/* Both have an inf, but that of the quotient is left out. */
static weir_tensor *other_inf(weir_tensor *p)
{
	weir_tensor *x = weir_div(p, weir_affine(p, 1, -1)), *y = weir_exp(weir_affine(p, 1000, 0));

	return weir_where(weir_gt(p, like(p, 2.5)), x, y);
}

/* ---- overflows that are gone again ---- */

static weir_tensor *one_over(weir_tensor *p)
{
	weir_tensor *x = weir_affine(p, 1e30, 0);

	return weir_div(like(p, 1), weir_affine(weir_mul(x, x), 1, 1));
}

static weir_tensor *squashed(weir_tensor *p)
{
	return weir_add(weir_tanh(weir_detach(weir_exp(weir_affine(p, 1000, 0)))), p);
}

static weir_tensor *squashed_masked(weir_tensor *p)
{
	weir_tensor *t = squashed(p);

	return weir_where(weir_gt(p, like(p, 100)), t, p);
}

static weir_tensor *squashed_not_read(weir_tensor *p)
{
	weir_tensor *x = weir_concat((weir_tensor *[]){ squashed(p), p }, 2, 0);

	return weir_slice(x, 0, 3, 6, 1);
}

static void certificates(void **state)
{
	static const struct {
		const char *name;
		function *make;
		const char *inf, *nan, *overflow;
	} list[] = {
		{ "log(0)", log_of_zero,
		  "forward net (log) [3] f32 [0] = -inf; relu[0] = 0; net log > sum > loss; 1 others", "none", "none" },
		{ "0/0", zero_by_zero, "none",
		  "forward net (div) [3] f32 [0] = nan; mul[0] = 0, mul[0] = 0; net div > sum > loss; 2 others",
		  "none" },
		{ "inf - inf", inf_less_inf,
		  "forward net (exp) [3] f32 [0] = inf; affine[0] = 1000; net exp > net add > sum > loss; 4 others",
		  "forward net (add) [3] f32 [0] = nan; exp[0] = inf, minus exp[0] = inf; net add > sum > loss; 1 others",
		  "none" },
		{ "naive softmax", naive_softmax,
		  "forward net (exp) [3] f32 [0] = inf; affine[0] = 300; net exp > net div > net mul > sum > loss; 6 others",
		  "forward net (div) [3] f32 [0] = nan; exp[0] = inf, sum[0] = inf; net div > net mul > sum > loss; 6 others",
		  "none" },
		{ "naive normalisation", naive_normalisation,
		  "backward net (div) [3] f32 [0] = inf; gradient[0] = 1, add[0] = 0, sqrt[0] = 0; net div > net add > net affine > p; 5 others",
		  "forward net (div) [3] f32 [0] = nan; add[0] = 0, sqrt[0] = 0; net div > sum > loss; 6 others",
		  "none" },
		{ "slope of the root", slope_of_root, "none", "none", "none" },
		{ "product", product,
		  "forward net (linear) [1, 3] f32 [2] = inf; p [1, 3] largest 3, fc.weight [3, 3] largest 2e+38; net linear > sum > loss; 1 others",
		  "none", "none" },
		{ "broadcast", broadcast,
		  "forward net (mul) [2, 3] f32 [4] = inf; m[1, 0] = 1e+38, affine[1] = 4; net mul > sum > loss; 1 others",
		  "none", "none" },
		{ "slope of the power", slope_of_power,
		  "backward net (pow) [3] f32 [0] = -inf; gradient[0] = 1, affine[0] = 1e-30, p = -1; net pow > net affine > p; 1 others",
		  "none", "none" },
		{ "two shares", two_shares,
		  "backward net (add) [3] f32 [0] = inf; from affine 3e+38, from affine 2.5e+38; net affine > p; 0 others",
		  "none", "none" },
		{ "opposite shares", opposite_shares, "none",
		  "backward net (add) [3] f32 [0] = nan; from pow inf, from pow -inf; net affine > p; 0 others",
		  "none" },
		{ "NaN in what is not chosen", masked_forward_only,
		  "forward net (log) [3] f32 [1] = -inf; affine[1] = 0; net log > net mul > net affine > p; 2 others",
		  "forward net (log) [3] f32 [0] = nan; affine[0] = -1; net log > net mul > net affine > p; 2 others",
		  "none" },
		{ "masked", masked, "none", "none", "none" },
		{ "other inf", other_inf,
		  "forward net (exp) [3] f32 [0] = inf; affine[0] = 1000; net exp > net where > sum > loss; 3 others",
		  "backward net (exp) [3] f32 [2] = nan; gradient[2] = 0, result[2] = inf; net exp > net affine > p; 1 others",
		  "none" },
		{ "1 / (1 + x^2)", one_over, "none", "none",
		  "forward net (mul) [3] f32 [0] = inf; affine[0] = 1e+30, affine[0] = 1e+30; net mul > net affine > net div > sum > loss; 3 others" },
		{ "squashed", squashed, "none", "none",
		  "forward net (exp) [3] f32 [0] = inf; affine[0] = 1000; net exp > net detach > net tanh > net add > sum > loss; 4 others" },
		{ "squashed and masked", squashed_masked, "none", "none", "none" },
		{ "squashed and not read", squashed_not_read, "none", "none", "none" },
	};
	int wrong = 0;

	(void)state;
	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		weir_ctx *w = open_ieee(WEIR_F32);
		weir_flow *f = watch_all(w);
		const weir_flow_summary *s = weir_flow_summary_of(f);
		weir_tensor *p = weir_param_new(w, "p", WEIR_F32, 1, (int64_t[]){ 3 }), *loss;
		const char *want[3] = { list[i].inf, list[i].nan, list[i].overflow };
		const weir_flow_birth *births[3] = { &s->first_inf, &s->first_nan, &s->first_overflow };

		weir_write_f64(p, (double[]){ 1, 2, 3 }, 3);
		weir_scope_begin(w, "net");
		loss = list[i].make(p);
		weir_scope_end(w);
		loss = weir_sum_all(loss);
		weir_backward(loss);
		weir_flow_step(f, loss);
		for (int k = 0; k < 3; k++) {
			const char *is = birth_text(births[k]);

			if (!strcmp(is, want[k])) continue;
			wrong++;
			print_error("%s, %s:\n  is   %s\n  want %s\n", list[i].name,
				    k == 0   ? "inf"
				    : k == 1 ? "NaN"
					     : "overflow",
				    is, want[k]);
		}
		close_fine(w);
	}
	assert_int_equal(wrong, 0);
}

/* ---- overflow inside of one operation ---- */

static void naive_forward(weir_tensor *y)
{
	const double *x = weir_data(weir_input(y, 0));
	double *out = weir_out(y);

	for (int64_t i = 0; i < weir_numel(y); i++) out[i] = 1 / (1 + x[i] * x[i]);
}

static void naive_vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)need;
	gx[0] = weir_mul(gy, weir_mul(weir_affine(weir_input(y, 0), -2, 0), weir_mul(y, y)));
}

static const weir_op naive = {
	.name = "naive",
	.arity = 1,
	.keeps = WEIR_KEEP_OUT | WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE,
	.shape = weir_same_shape,
	.forward = naive_forward,
	.vjp = naive_vjp,
};

/* Emulators of the processor may leave the flags out. */
static bool flags_work(void)
{
	volatile double big = 1e300, product;

	feclearexcept(FE_ALL_EXCEPT);
	product = big * big;
	(void)product;
	return fetestexcept(FE_OVERFLOW) != 0;
}

/* No value is an inf: the flags of the floating-point unit alone tell. */
static void only_a_flag(void **state)
{
	(void)state;
	if (!flags_work()) skip();
	for (int how = 0; how < 3; how++) { /* it counts; it is left out; there is nothing */
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_flow *f = watch_all(w);
		const weir_flow_summary *s = weir_flow_summary_of(f);
		weir_tensor *p = weir_param_new(w, "p", WEIR_F64, 1, (int64_t[]){ 2 }), *y, *loss;

		weir_write_f64(p, (double[]){ 1, how < 2 ? 1e200 : 1e100 }, 2);
		y = weir_op_apply(&naive, &p, 1, NULL);
		if (how == 1) y = weir_where(weir_gt(p, like(p, 1e300)), y, p);
		loss = weir_sum_all(y);
		weir_backward(loss);
		weir_flow_step(f, loss);
		assert_string_equal(
			birth_text(&s->first_overflow),
			how ? "none"
			    : "forward naive@1 (naive) [2] f64 [-1] = nan; p [2] largest 1e+200; naive@1 > sum@2 > loss; "
			      "1 others");
		assert_false(s->first_inf.found || s->first_nan.found);
		close_fine(w);
	}
}

/* The library's own operations keep their overflows to themselves: none where the result is right. */
static void no_false_overflow(void **state)
{
	static const double values[] = { 0,    1,     -1,   1e4,   -1e4, 800,   -800,  100,
					 -100, 1e-30, 1e30, -1e30, 3e38, -3e38, 1e-40, 0.5 };
	enum { N = sizeof values / sizeof *values };

	(void)state;
	for (int k = 0; k < 12; k++) {
		weir_ctx *w = open_ieee(WEIR_F32);
		weir_flow *f = watch_all(w);
		weir_tensor *p = weir_param_new(w, "p", WEIR_F32, 2, (int64_t[]){ 1, N }), *y = p;

		weir_write_f64(p, values, N);
		switch (k) {
		case 0: y = weir_sigmoid(p); break;
		case 1: y = weir_tanh(p); break;
		case 2: y = weir_erf(p); break;
		case 3: y = weir_softplus(weir_affine(p, 1e-3, 0)); break;
		case 4: y = weir_gelu(weir_affine(p, 1e-3, 0)); break;
		case 5: y = weir_silu(weir_affine(p, 1e-3, 0)); break;
		case 6: y = weir_softmax(weir_affine(p, 0.4, 0), 1); break;
		case 7: y = weir_pow(weir_affine(weir_abs(p), 1, 1), -1.5); break;
		case 8: y = weir_norm(weir_affine(p, 1e-2, 0), 0, NULL, false); break;
		case 9: y = weir_sqrt(weir_abs(p)); break;
		case 10: y = weir_log(weir_affine(weir_abs(p), 1, 1e-20)); break;
		default: y = weir_mean_all(weir_affine(p, 0.5, 0)); break;
		}
		y = weir_sum_all(weir_affine(y, 1e-3, 0));
		weir_backward(y);
		weir_flow_step(f, y);
		if (weir_flow_summary_of(f)->first_overflow.found)
			fail_msg("case %d: %s", k, birth_text(&weir_flow_summary_of(f)->first_overflow));
		close_fine(w);
	}
}

/* ---- nothing is disturbed ---- */

static int calls[2];

static void count_calls(const weir_event *e, void *user)
{
	(void)user;
	calls[e->backward]++;
}

static double count_errors;

static void on_error(weir_ctx *w, weir_status status, const char *message, void *user)
{
	(void)w, (void)status, (void)message, (void)user;
	count_errors++;
}

/* Accumulators, retained gradients, tape, hooks and errors with the instrument are those without, where births of all sorts are found. */
static void nothing_disturbed(void **state)
{
	function *const list[] = { log_of_zero,    naive_softmax, naive_normalisation,
				   slope_of_power, two_shares,    masked_forward_only,
				   one_over,       squashed,      product };

	(void)state;
	for (size_t i = 0; i < 2 * sizeof list / sizeof *list; i++) {
		double grads[2][2][3];
		int seen[2][2];

		for (int watched = 0; watched < 2; watched++) {
			weir_options o;
			weir_ctx *w;
			weir_flow *f;
			weir_tensor *p, *x, *loss;
			int64_t length;

			weir_options_init(&o);
			o.handler = on_error;
			o.free_values = i & 1;
			w = weir_open(&o);
			weir_on_grad(w, count_calls, NULL, NULL);
			weir_on_forward(w, count_calls, NULL, NULL);
			f = watched ? watch_all(w) : NULL;
			p = weir_param_new(w, "p", WEIR_F32, 1, (int64_t[]){ 3 });
			weir_write_f64(p, (double[]){ 1, 2, 3 }, 3);
			calls[0] = calls[1] = 0;
			x = weir_retain_grad(weir_affine(p, 1, 0));
			loss = weir_sum_all(list[i / 2](x));
			weir_backward(loss);
			length = weir_tape_length(w);
			if (f) weir_flow_step(f, loss);
			assert_int_equal(weir_tape_length(w), length);
			assert_true(weir_is_recording(w));
			weir_read_f64(weir_grad_of(p), grads[watched][0], 3);
			weir_read_f64(weir_grad_of(x), grads[watched][1], 3);
			memcpy(seen[watched], calls, sizeof calls);
			close_fine(w);
		}
		assert_memory_equal(grads[0], grads[1], sizeof grads[0]);
		assert_memory_equal(seen[0], seen[1], sizeof seen[0]);
	}
	assert_true(count_errors == 0);
}

/* A penalty on a gradient: the pass goes over gradients, too. */
static void second_order(void **state)
{
	(void)state;
	for (int bad = 0; bad < 3; bad++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_flow *f = watch_all(w);
		const weir_flow_summary *s = weir_flow_summary_of(f);
		weir_tensor *p = weir_param_new(w, "p", WEIR_F64, 1, (int64_t[]){ 3 }), *y, *g, *loss;

		weir_write_f64(p, (double[]){ 1, bad == 2 ? 1e-130 : 2, 3 }, 3);
		y = bad == 1 ? weir_log(weir_affine(p, 1, -2)) : weir_pow(p, -1);
		weir_grad(weir_sum_all(y), &p, 1, &g, WEIR_CREATE_GRAPH);
		loss = weir_sum_all(weir_mul(g, g));
		weir_backward(loss);
		weir_flow_step(f, loss);
		assert_int_equal(s->first_inf.found || s->first_nan.found, bad > 0);
		if (bad == 1) assert_string_equal(s->first_inf.op, "div"); /* 1 / 0, the slope of the logarithm */
		if (bad == 2) assert_string_equal(s->first_inf.op, "mul"); /* (1e260)² */
		assert_int_equal(s->first_inf.backward, bad == 3);
		close_fine(w);
	}
}

static weir_tensor *overwrite(const weir_event *e, void *user)
{
	(void)user;
	return weir_full(e->ctx, WEIR_F32, weir_rank(e->value), weir_shape(e->value), INFINITY);
}

/* A hook of the user's made it: no rule can be shown to have, so the likeliest is named, and nothing is said of operands. */
static void replaced_gradient(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	const weir_flow_birth *b = &weir_flow_summary_of(f)->first_inf;
	weir_tensor *p = weir_param_new(w, "p", WEIR_F32, 1, (int64_t[]){ 3 }), *x = weir_affine(p, 2, 0), *loss;
	weir_hook_options h;

	(void)state;
	weir_hook_options_init(&h);
	h.replace = overwrite;
	weir_hook_add(w, x, &h);
	loss = weir_sum_all(weir_exp(x));
	weir_backward(loss);
	weir_flow_step(f, loss);
	assert_string_equal(birth_text(b), "backward exp@2 (exp) [3] f32 [0] = inf; ; exp@2 > affine@1 > p; 1 others");
	close_fine(w);
}

/* ---- the way ---- */

static void long_way(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	const weir_flow_birth *b = &weir_flow_summary_of(f)->first_inf;
	weir_module *net = chain(w, 300, 1.5);
	weir_tensor *loss = weir_sum_all(weir_forward(net, weir_full(w, WEIR_F32, 2, (int64_t[]){ 1, 2 }, 1)));

	(void)state;
	weir_backward(loss);
	weir_flow_step(f, loss);
	assert_int_equal(b->path_length, 17);
	assert_string_equal(b->path[0], "mlp.218 linear");
	assert_string_equal(b->path[7], "mlp.225 linear");
	assert_string_equal(b->path[8], "... 68 more"); /* 226 .. 293 */
	assert_string_equal(b->path[9], "mlp.294 linear");
	assert_string_equal(b->path[14], "mlp.299 linear");
	assert_string_equal(b->path[15], "sum");
	assert_string_equal(b->path[16], "loss");
	assert_int_equal(b->propagators, 300 - 219 + 1);
	weir_tape_reset(w); /* the texts outlive the tape */
	assert_string_equal(b->shape, "[1, 2] f32");
	close_fine(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(certificates),      cmocka_unit_test(only_a_flag),
		cmocka_unit_test(no_false_overflow), cmocka_unit_test(nothing_disturbed),
		cmocka_unit_test(second_order),      cmocka_unit_test(long_way),
		cmocka_unit_test(replaced_gradient),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
