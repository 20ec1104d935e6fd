/* test_ops_reduce.c: sum, mean, amax, amin, argmax, var, norm: values, gradients, errors. */
#include "tests/ops_reference.h"
#include "kernels/threads.h"

typedef weir_tensor *reducer(weir_tensor *x, int n, const int *axes, bool keepdim);

static weir_tensor *var0(weir_tensor *x, int n, const int *axes, bool keepdim)
{
	return weir_var(x, n, axes, keepdim, 0);
}

static weir_tensor *var1(weir_tensor *x, int n, const int *axes, bool keepdim)
{
	return weir_var(x, n, axes, keepdim, 1);
}

static double ref_sum(const double *v, int64_t n)
{
	long double s = 0;

	for (int64_t i = 0; i < n; i++) s += v[i];
	return (double)s;
}

static double ref_mean(const double *v, int64_t n)
{
	return ref_sum(v, n) / (double)n;
}

static double ref_amax(const double *v, int64_t n)
{
	double m = v[0];

	for (int64_t i = 1; i < n; i++) m = fmax(m, v[i]);
	return m;
}

static double ref_amin(const double *v, int64_t n)
{
	double m = v[0];

	for (int64_t i = 1; i < n; i++) m = fmin(m, v[i]);
	return m;
}

static double ref_norm(const double *v, int64_t n)
{
	long double s = 0;

	for (int64_t i = 0; i < n; i++) s += (long double)v[i] * v[i];
	return (double)sqrtl(s);
}

static double ref_var(const double *v, int64_t n)
{
	long double m = 0, s = 0;

	for (int64_t i = 0; i < n; i++) m += v[i];
	m /= n;
	for (int64_t i = 0; i < n; i++) s += (v[i] - m) * (v[i] - m);
	return (double)(s / n);
}

static double ref_var1(const double *v, int64_t n)
{
	return ref_var(v, n) * (double)n / (double)(n - 1);
}

/* ulp: tolerance in units of the last place for operands between .5 and 2; in f64, whose sums have no wider type, 4
 * more. */
static const struct op {
	const char *name;
	reducer *f;
	double (*ref)(const double *v, int64_t n);
	double ulp;
	bool empty; /* may reduce no elements */
	int64_t least;
} ops[] = {
	{ "sum", weir_sum, ref_sum, 1, true, 0 },     { "mean", weir_mean, ref_mean, 1, false, 1 },
	{ "amax", weir_amax, ref_amax, 0, false, 1 }, { "amin", weir_amin, ref_amin, 0, false, 1 },
	{ "norm", weir_norm, ref_norm, 1, true, 0 },  { "var", var0, ref_var, 8, false, 1 },
	{ "var1", var1, ref_var1, 8, false, 2 },
};
enum { OPS = sizeof ops / sizeof *ops };

/* A view of x: 0 itself, 1 with its first and last axes swapped, 2 every second of its second axis, 3 repeated along a
 * new axis. */
static weir_tensor *laid_out(weir_tensor *x, int layout)
{
	int64_t shape[4];

	switch (layout) {
	case 1: return weir_transpose(x, 0, -1);
	case 2: return weir_slice(x, 1, 0, weir_extent(x, 1), 2);
	case 3:
		shape[0] = 3;
		for (int i = 0; i < weir_rank(x); i++) shape[i + 1] = weir_shape(x)[i];
		return weir_expand(x, weir_rank(x) + 1, shape);
	default: return x;
	}
}

static void compare(const struct op *op, weir_tensor *x, unsigned mask, bool keepdim)
{
	int rank = weir_rank(x), axes[8], n = 0, kept = 0;
	int64_t count = 1, shape[8], outer = 1, step[8], last = 1;
	double *v = read_all(x), *group = malloc(sizeof *group * (size_t)(weir_numel(x) + 1)), eps;
	weir_tensor *y;

	for (int i = 0; i < rank; i++) {
		if (mask >> i & 1) {
			axes[n] = n % 2 ? i - rank : i; /* some from the end */
			n++;
			count *= weir_shape(x)[i];
			if (keepdim) shape[kept++] = 1;
		} else {
			outer *= weir_shape(x)[i];
			shape[kept++] = weir_shape(x)[i];
		}
	}
	for (int i = rank - 1; i >= 0; i--) {
		step[i] = mask >> i & 1 ? 0 : last;
		if (!(mask >> i & 1)) last *= weir_shape(x)[i];
	}
	y = op->f(x, n, axes, keepdim);
	expect_shape(y, kept, shape);
	assert_int_equal(weir_dtype_of(y), weir_dtype_of(x));
	eps = weir_dtype_of(x) == WEIR_F32 ? 0x1p-23 : 0x1p-52;
	for (int64_t o = 0; o < outer; o++) {
		int64_t found = 0;
		double want, got = weir_get(y, o),
			     ulp = op->ulp > 0 && weir_dtype_of(x) == WEIR_F64 ? op->ulp + 4 : op->ulp;

		for (int64_t i = 0; i < weir_numel(x); i++) {
			int64_t place = 0, rest = i;

			for (int k = rank - 1; k >= 0; k--) {
				place += rest % weir_shape(x)[k] * step[k];
				rest /= weir_shape(x)[k];
			}
			if (place == o) group[found++] = v[i];
		}
		assert_int_equal(found, count);
		want = op->ref(group, count);
		if (fabs(got - want) > ulp * eps * fabs(want)) {
			print_error("%s, axes %x of rank %d, output %lld: got %.17g, want %.17g\n", op->name, mask,
				    rank, (long long)o, got, want);
			fail();
		}
	}
	free(group);
	free(v);
}

static void values(void **state)
{
	(void)state;
	for (int threads = 1; threads <= 3; threads += 2) {
		weir_ctx *w = open_ctx(true, threads);

		for (int k = 0; k < OPS; k++) {
			for (int t = 0; t < 2; t++) {
				for (int layout = 0; layout < 4; layout++) {
					weir_tensor *x = laid_out(
						draw(w, t ? WEIR_F64 : WEIR_F32, SHAPE(3, 10, 17), 0.5, 2.0), layout);

					for (unsigned mask = 1; mask < 1u << weir_rank(x); mask++) {
						compare(&ops[k], x, mask, false);
						compare(&ops[k], x, mask, true);
					}
					weir_tape_reset(w);
				}
				compare(&ops[k], draw(w, t ? WEIR_F64 : WEIR_F32, SHAPE(20011), 0.5, 2.0), 1, false);
			}
		}
		close_ctx(w);
	}
}

static void small_shapes(void **state)
{
	weir_ctx *w = open_ctx(false, 1);
	double seven = 7, nothing;

	(void)state;
	for (int k = 0; k < OPS; k++) {
		weir_tensor *scalar = make(w, WEIR_F32, 0, NULL, &seven), *one = vector(w, WEIR_F64, 1, &seven);
		weir_tensor *none = make(w, WEIR_F32, SHAPE(3, 0, 2), &nothing), *y;

		if (ops[k].least < 2) {
			double want = ops[k].ref(&seven, 1);

			expect_shape(ops[k].f(scalar, 0, NULL, false), 0, NULL);
			expect_near(ops[k].f(scalar, 0, NULL, true), 1, &want, 0);
			expect_near(ops[k].f(one, 0, NULL, false), 1, &want, 0);
		}
		if (ops[k].empty) {
			y = ops[k].f(none, AXES(1), false);
			expect_shape(y, SHAPE(3, 2));
			expect_near(y, 6, VALUES(0, 0, 0, 0, 0, 0), 0);
			expect_near(ops[k].f(none, 0, NULL, false), 1, VALUES(0), 0);
		}
		if (ops[k].least < 2 || ops[k].empty) { /* nothing to reduce for: no elements, no error */
			y = ops[k].f(none, AXES(0), false);
			expect_shape(y, SHAPE(0, 2));
		}
	}
	expect_shape(weir_argmax(make(w, WEIR_F32, SHAPE(3, 0), &nothing), 0, true), SHAPE(1, 0));
	close_ctx(w);
}

static void argmax(void **state)
{
	weir_ctx *w = open_ctx(false, 2);
	weir_tensor *x = make(w, WEIR_F32, SHAPE(2, 4), VALUES(1, 5, 5, 2, -3, NAN, 9, NAN)), *y;

	(void)state;
	y = weir_argmax(x, 1, false);
	assert_int_equal(weir_dtype_of(y), WEIR_I64);
	expect_shape(y, SHAPE(2));
	expect_near(y, 2, VALUES(1, 1), 0);
	y = weir_argmax(x, -2, true);
	expect_shape(y, SHAPE(1, 4));
	expect_near(y, 4, VALUES(0, 1, 1, 1), 0);
	expect_near(weir_argmax(weir_transpose(x, 0, 1), 0, false), 2, VALUES(1, 1), 0);
	expect_near(weir_argmax(vector(w, WEIR_F64, 2, VALUES(-0.0, 0.0)), 0, false), 1, VALUES(0), 0);
	close_ctx(w);
}

/* ---- gradients ---- */

struct task {
	const struct op *op;
	int layout, n;
	int axes[4];
	bool keepdim;
};

static weir_tensor *run(weir_tensor *const *xs, int n, void *user)
{
	const struct task *t = user;

	(void)n;
	return t->op->f(laid_out(xs[0], t->layout), t->n, t->axes, t->keepdim);
}

static void gradients(void **state)
{
	weir_ctx *w = open_ctx(true, 1);
	const struct task tasks[] = {
		{ NULL, 0, 0, { 0 }, false }, { NULL, 0, 1, { 1 }, true },    { NULL, 1, 2, { -1, 0 }, false },
		{ NULL, 2, 1, { 1 }, false }, { NULL, 3, 2, { 0, 2 }, true }, { NULL, 1, 1, { 0 }, false },
	};

	(void)state;
	for (int k = 0; k < OPS; k++) {
		for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++) {
			struct task t = tasks[i];
			weir_tensor *x = draw(w, WEIR_F64, SHAPE(2, 4, 3), -2.0, 2.0), *x32;

			t.op = &ops[k];
			expect_gradients(run, &t, &x, 1, 2);
			x32 = draw(w, WEIR_F32, SHAPE(2, 4, 3), -2.0, 2.0);
			if (k < 5) { /* what has a fused twin */
				expect_fused_is_rule(run, &t, &x, 1, 4, NULL);
				expect_fused_is_rule(run, &t, &x32, 1, 4, NULL);
			}
			weir_tape_reset(w);
		}
		if (ops[k].empty) {
			struct task t = { &ops[k], 0, 1, { 1 }, false };
			weir_tensor *x = weir_zeros(w, WEIR_F64, SHAPE(2, 0, 3)), *g;

			assert_true(weir_grad(weir_sum_all(run(&x, 1, &t)), &x, 1, &g, 0));
			expect_shape(g, SHAPE(2, 0, 3));
			assert_true(weir_grad(weir_sum_all(run(&x, 1, &t)), &x, 1, &g, WEIR_CREATE_GRAPH));
			expect_shape(g, SHAPE(2, 0, 3));
		}
	}
	close_ctx(w);
}

/* ---- errors ---- */

static void errors(void **state)
{
	weir_ctx *w = open_ctx(false, 1);
	double nothing;
	weir_tensor *x = weir_set_name(make(w, WEIR_F32, SHAPE(3, 0), &nothing), "images"), *g, *y;
	weir_tensor *labels = weir_zeros(w, WEIR_I64, SHAPE(3)), *ok = weir_zeros(w, WEIR_F64, SHAPE(2, 3));

	(void)state;
	expect_error(w, weir_mean(x, AXES(1), false), WEIR_ERR_SHAPE,
		     "weir_mean: axis 1 is empty: x is [3, 0] f32 (images); a mean needs at least one element");
	expect_error(w, weir_mean_all(x), WEIR_ERR_SHAPE,
		     "weir_mean: axis 1 is empty: x is [3, 0] f32 (images); a mean needs at least one element");
	expect_error(w, weir_amax(x, AXES(0, -1), false), WEIR_ERR_SHAPE,
		     "weir_amax: axis 1 is empty: x is [3, 0] f32 (images); a maximum needs at least one element");
	expect_error(w, weir_amin(x, 0, NULL, true), WEIR_ERR_SHAPE,
		     "weir_amin: axis 1 is empty: x is [3, 0] f32 (images); a minimum needs at least one element");
	expect_error(w, weir_argmax(x, 1, true), WEIR_ERR_SHAPE,
		     "weir_argmax: axis 1 is empty: x is [3, 0] f32 (images); an argmax needs at least one element");
	expect_error(w, weir_sum(x, AXES(2), false), WEIR_ERR_AXIS,
		     "weir_sum: axis 2 of [3, 0] f32 (images): there are 2 axes, so it must lie in -2 .. 1");
	expect_error(w, weir_norm(x, AXES(-3), false), WEIR_ERR_AXIS,
		     "weir_norm: axis -3 of [3, 0] f32 (images): there are 2 axes, so it must lie in -2 .. 1");
	expect_error(w, weir_sum(ok, AXES(1, -1), false), WEIR_ERR_AXIS, "weir_sum: axis -1 is given twice");
	expect_error(w, weir_sum(ok, 2, NULL, false), WEIR_ERR_ARGUMENT,
		     "weir_sum: 2 axes are given, and the list is NULL");
	expect_error(w, weir_argmax(weir_scalar(w, WEIR_F32, 1), 0, false), WEIR_ERR_AXIS,
		     "weir_argmax: axis 0 of [] f32: there are 0 axes, so it must lie in 0 .. -1");
	expect_error(w, weir_sum_all(labels), WEIR_ERR_DTYPE,
		     "weir_sum: operand 0 is [3] i64; it takes f32 or f64; weir_cast() converts");
	expect_error(w, weir_amax(labels, 0, NULL, false), WEIR_ERR_DTYPE,
		     "weir_amax: operand 0 is [3] i64; it takes f32 or f64; weir_cast() converts");
	expect_error(
		w, weir_var(ok, AXES(0), false, 2), WEIR_ERR_SHAPE,
		"weir_var: 2 elements with correction 2: x is [2, 3] f64; the correction must be 0 or more and smaller than the number "
		"of elements");
	expect_error(
		w, weir_var(ok, AXES(0), false, -1), WEIR_ERR_SHAPE,
		"weir_var: 2 elements with correction -1: x is [2, 3] f64; the correction must be 0 or more and smaller than the number "
		"of elements");
	expect_error(w, weir_var(labels, 0, NULL, false, 0), WEIR_ERR_DTYPE,
		     "weir_var: operand 0 is [3] i64; it takes f32 or f64; weir_cast() converts");
	y = weir_argmax(ok, 1, false);
	assert_false(weir_grad(weir_sum_all(weir_cast(y, WEIR_F64)), &ok, 1, &g, 0));
	expect_error(
		w, g, WEIR_ERR_GRADIENT,
		"weir_grad: the result does not depend on xs[0], [2, 3] f64; WEIR_ALLOW_UNUSED gives NULL instead of this error");
	assert_false(weir_grad(weir_argmax(vector(w, WEIR_F64, 1, VALUES(1)), 0, false), &ok, 1, &g, 0));
	expect_error(w, g, WEIR_ERR_DTYPE, "weir_grad: [] i64 can't be differentiated; only f32 and f64 can");

	/* after an error every call gives the bad tensor and leaves the first message */
	weir_mean_all(x);
	assert_true(weir_is_bad(weir_sum_all(ok)) && weir_is_bad(weir_var(ok, 0, NULL, false, 0)) &&
		    weir_is_bad(weir_argmax(ok, 0, false)));
	expect_error(w, NULL, WEIR_ERR_SHAPE,
		     "weir_mean: axis 1 is empty: x is [3, 0] f32 (images); a mean needs at least one element");
	close_ctx(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),    cmocka_unit_test(small_shapes), cmocka_unit_test(argmax),
		cmocka_unit_test(gradients), cmocka_unit_test(errors),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
