/* test_flow_births_places.c: what a birth certificate says beyond the maker: element, operands, the way to the loss or a parameter; which
 * of several gradient rules it was; overflows that are gone again; and steps that were not to be measured. */
#include "tests/birth_check.h"

typedef weir_tensor *function(weir_tensor *p);

static weir_tensor *like(weir_tensor *p, double v)
{
	return weir_full(weir_context(p), weir_dtype_of(p), weir_rank(p), weir_shape(p), v);
}

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

	return weir_add(weir_add(weir_exp(x), weir_sqrt(x)), weir_add(weir_pow(x, -1), weir_tanh(x)));
}

/* Each share of the gradient is finite, their sum is not. */
static weir_tensor *two_shares(weir_tensor *p)
{
	weir_tensor *x = weir_affine(p, 1e-3, 0);

	return weir_add(weir_affine(x, 3e38, 0), weir_affine(x, 2.5e38, 0));
}

static weir_tensor *opposite_shares(weir_tensor *p)
{
	weir_tensor *x = weir_affine(p, 1e-30, 0);

	return weir_add(weir_pow(x, -1), weir_neg(weir_pow(x, -1)));
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
		  "backward net (add) [3] f32 [0] = nan; from pow -inf, from pow inf; net affine > p; 0 others",
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(certificates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
