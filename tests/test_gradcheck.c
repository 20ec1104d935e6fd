/* test_gradcheck.c: the gradient check fails what is wrong, and says why. */
#include "tests/ops_reference.h"

/* Operations with wrong rules: y = x³. */

static void cube(weir_tensor *y)
{
	const weir_tensor *x = weir_input(y, 0);
	double *out = weir_out(y);

	for (int64_t i = 0; i < weir_numel(x); i++) out[i] = pow(((const double *)weir_data(x))[i], 3);
}

static weir_tensor *slope(weir_tensor *y)
{
	weir_tensor *x = weir_input(y, 0);

	return weir_affine(weir_mul(x, x), 3, 0);
}

static void right(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)need;
	gx[0] = weir_mul(gy, slope(y));
}

static void flipped(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	right(y, gy, need, gx);
	gx[0] = weir_neg(gx[0]);
}

static void factor(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	right(y, gy, need, gx);
	gx[0] = weir_affine(gx[0], 1 / 3., 0);
}

static void doubled(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	right(y, gy, need, gx);
	gx[0] = weir_add(gx[0], gx[0]);
}

static void lost(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)y, (void)gy, (void)need, (void)gx;
}

static void off(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	right(y, gy, need, gx);
	gx[0] = weir_add(gx[0], weir_affine(gy, 1e-5, 0));
}

/* First order right, second order wrong: x is taken for a constant in a part of the slope. */
static void forgets(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *x = weir_input(y, 0);

	(void)need;
	gx[0] = weir_mul(gy, weir_affine(weir_mul(x, weir_detach(x)), 3, 0));
}

static void forgets_gy(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	right(y, weir_detach(gy), need, gx);
}

static void squares_gy(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	right(y, weir_mul(gy, gy), need, gx);
}

static weir_tensor *cubed(weir_tensor *const *xs, int n, void *user)
{
	const weir_op op = {
		.name = "cube",
		.arity = 1,
		.flags = WEIR_OP_ELEMENTWISE,
		.keeps = WEIR_KEEP_IN0,
		.shape = weir_same_shape,
		.forward = cube,
		.vjp = *(void (**)(weir_tensor *, weir_tensor *, unsigned, weir_tensor *[]))user,
	};
	static weir_op made[16]; /* nodes point to their operation */
	static int count;

	(void)n;
	for (int i = 0; i < count; i++)
		if (made[i].vjp == op.vjp) return weir_op_apply(&made[i], xs, 1, NULL);
	made[count] = op;
	return weir_op_apply(&made[count++], xs, 1, NULL);
}

static void wrong_rules(void **state)
{
	static const struct {
		void (*vjp)(weir_tensor *, weir_tensor *, unsigned, weir_tensor *[]);
		int fails; /* at this order; 0: right */
		const char *words;
	} rules[] = {
		{ right, 0, "right" },
		{ flipped, 1, "a sign is flipped" },
		{ factor, 1, "analytic is numeric / 3" },
		{ doubled, 1, "analytic is numeric * 2" },
		{ lost, 1, "a dependence on x is lost" },
		{ off, 1, "no simple factor" },
		{ forgets, 2, "takes something that depends on x for a constant" },
		{ forgets_gy, 2, "takes the incoming gradient for a constant" },
		{ squares_gy, 1, "" },
	};
	weir_ctx *w = open_ctx(true, 1);

	(void)state;
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		for (int full = 0; full < 2; full++) {
			weir_tensor *x = make(w, WEIR_F64, SHAPE(2, 2), VALUES(0.5, -1, 2, 0.25));
			void (*vjp)(weir_tensor *, weir_tensor *, unsigned, weir_tensor *[]) = rules[i].vjp;
			weir_gradcheck_result r = check(cubed, &vjp, &x, 1, 1, full);

			expect_result(&r, rules[i].fails != 1, rules[i].fails == 1 ? rules[i].words : "right");
			if (rules[i].fails == 1)
				assert_true(r.order == 1 && r.tensor == 0 && (full ? r.element >= 0 : r.element == -1));
			assert_int_equal(r.checked, full ? 4 * 4 : 1);
			r = check(cubed, &vjp, &x, 1, 2, full);
			expect_result(&r, !rules[i].fails, rules[i].words);
			if (rules[i].fails) assert_int_equal(r.order, rules[i].fails);
			else assert_int_equal(r.checked, full ? 4 * 4 + 4 * 8 : 3);
			assert_true(r.passed == (r.worst <= 1e-7));
			assert_true(same(r.signed_error, r.analytic - r.numeric));
		}
	}
	close_ctx(w);
}

static void log_lines(void **state)
{
	weir_ctx *w = open_ctx(true, 1);
	weir_tensor *x = weir_set_name(vector(w, WEIR_F64, 2, VALUES(1, 2)), "weights");
	weir_gradcheck_options o;
	char text[2000];
	void (*vjp)(weir_tensor *, weir_tensor *, unsigned, weir_tensor *[]) = flipped;
	FILE *file = tmpfile();
	size_t n;

	(void)state;
	weir_gradcheck_options_init(&o);
	o.log = file;
	weir_gradcheck(cubed, &vjp, &x, 1, &o);
	o.order = 2;
	o.full = false;
	vjp = right;
	weir_gradcheck(cubed, &vjp, &x, 1, &o);
	rewind(file);
	n = fread(text, 1, sizeof text - 1, file);
	text[n] = 0;
	fclose(file);
	if (!strstr(text, "gradcheck: order 1: result 1 by x0[1] (weights): analytic -12, numeric 12 +- ") ||
	    !strstr(text, ", error -24\n") ||
	    !strstr(text, "gradcheck: order 1: result 1 by x0[0] (weights): analytic -0, numeric 0 +- 0, error -0\n") ||
	    !strstr(text, "gradcheck: order 2: gradient 0 by x0 along a direction (weights): analytic ") ||
	    !strstr(text, "gradcheck: order 2: gradient 0 by gy along a direction: analytic ")) {
		print_error("%s", text);
		fail();
	}
	close_ctx(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_rules),
		cmocka_unit_test(log_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
