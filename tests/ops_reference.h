/* ops_reference.h: what the tests of reductions, products and losses share: contexts, operands, errors, gradients.
 *
 * Every function asserts, and prints both values where it fails. */
#ifndef WEIR_TESTS_OPS_REFERENCE_H
#define WEIR_TESTS_OPS_REFERENCE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <weir/ops.h>

static inline weir_ctx *open_ctx(bool ieee, int threads)
{
	weir_options o;

	weir_options_init(&o);
	o.handler = NULL;
	o.ieee_subnormals = ieee;
	o.threads = threads;
	return weir_open(&o);
}

static inline void close_ctx(weir_ctx *w)
{
	if (!weir_ok(w)) print_error("%s\n", weir_error_text(w));
	assert_int_equal(weir_close(w), 0);
}

/* In [low, high), the same in every run. */
static inline double uniform(double low, double high)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return low + (high - low) * ((double)(state >> 11) * 0x1p-53);
}

static inline void expect_ok(const weir_tensor *t)
{
	if (!weir_ok(weir_context(t))) fail_msg("%s", weir_error_text(weir_context(t)));
}

static inline weir_tensor *make(weir_ctx *w, weir_dtype dtype, int rank, const int64_t *shape, const double *values)
{
	weir_tensor *t = weir_zeros(w, dtype, rank, shape);

	assert_true(weir_write_f64(t, values, weir_numel(t)));
	return t;
}

#define VALUES(...)         \
	(double[])          \
	{                   \
		__VA_ARGS__ \
	}
#define SHAPE(...)                                                               \
	(int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]) \
	{                                                                        \
		__VA_ARGS__                                                      \
	}
#define AXES(...)                                                    \
	(int)(sizeof((int[]){ __VA_ARGS__ }) / sizeof(int)), (int[]) \
	{                                                            \
		__VA_ARGS__                                          \
	}

static inline weir_tensor *vector(weir_ctx *w, weir_dtype dtype, int64_t n, const double *values)
{
	return make(w, dtype, 1, &n, values);
}

static inline weir_tensor *draw(weir_ctx *w, weir_dtype dtype, int rank, const int64_t *shape, double low, double high)
{
	weir_tensor *t = weir_zeros(w, dtype, rank, shape);
	double *v = malloc(sizeof *v * (size_t)(weir_numel(t) + 1));

	for (int64_t i = 0; i < weir_numel(t); i++) v[i] = uniform(low, high);
	weir_write_f64(t, v, weir_numel(t));
	expect_ok(t);
	free(v);
	return t;
}

/* All elements as doubles, row-major; the caller frees. */
static inline double *read_all(const weir_tensor *t)
{
	double *v = malloc(sizeof *v * (size_t)(weir_numel(t) + 1));

	expect_ok(t);
	assert_true(weir_read_f64(t, v, weir_numel(t)));
	return v;
}

static inline bool same(double a, double b)
{
	return a == b ? signbit(a) == signbit(b) : isnan(a) && isnan(b);
}

/* Each |t - want| within tolerance; NaN and infinities must be alike. */
static inline void expect_near(const weir_tensor *t, int64_t n, const double *want, double tolerance)
{
	double *got = read_all(t);

	assert_int_equal(weir_numel(t), n);
	for (int64_t i = 0; i < n; i++) {
		if (same(got[i], want[i]) || got[i] == want[i] || fabs(got[i] - want[i]) <= tolerance) continue;
		print_error("element %lld: got %.17g, want %.17g within %.3g\n", (long long)i, got[i], want[i],
			    tolerance);
		fail();
	}
	free(got);
}

/* Same type, shape and values; NaNs are equal. */
static inline void expect_same_bits(const weir_tensor *a, const weir_tensor *b)
{
	double *x = read_all(a), *y = read_all(b);

	assert_int_equal(weir_dtype_of(a), weir_dtype_of(b));
	assert_int_equal(weir_rank(a), weir_rank(b));
	for (int i = 0; i < weir_rank(a); i++) assert_int_equal(weir_shape(a)[i], weir_shape(b)[i]);
	for (int64_t i = 0; i < weir_numel(a); i++) {
		if (same(x[i], y[i])) continue;
		print_error("element %lld: %.17g and %.17g differ\n", (long long)i, x[i], y[i]);
		fail();
	}
	free(x);
	free(y);
}

static inline void expect_shape(const weir_tensor *t, int rank, const int64_t *shape)
{
	expect_ok(t);
	assert_int_equal(weir_rank(t), rank);
	for (int i = 0; i < rank; i++) assert_int_equal(weir_shape(t)[i], shape[i]);
}

/* The call gave the bad tensor and this error; afterwards the context works again. */
static inline void expect_error(weir_ctx *w, const weir_tensor *result, weir_status status, const char *message)
{
	if (weir_error(w) != status || strcmp(weir_error_text(w), message)) {
		print_error("got  %s: %s\nwant %s: %s\n", weir_status_name(weir_error(w)), weir_error_text(w),
			    weir_status_name(status), message);
		fail();
	}
	if (result) assert_true(weir_is_bad(result));
	weir_clear_error(w);
	assert_true(weir_item(weir_sum_all(vector(w, WEIR_F32, 2, VALUES(1, 2)))) == 3.0);
	assert_true(weir_ok(w));
}

static inline weir_gradcheck_result check(weir_function *f, void *user, weir_tensor *const *xs, int n, int order,
					  bool full)
{
	weir_gradcheck_options o;

	weir_gradcheck_options_init(&o);
	o.order = order;
	o.full = full;
	return weir_gradcheck(f, user, xs, n, &o);
}

static inline void expect_result(const weir_gradcheck_result *r, bool passed, const char *words)
{
	if (r->passed == passed && strstr(r->advice, words)) return;
	print_error(
		"%s, order %d, input %d, element %lld: analytic %.17g, numeric %.17g +- %.1e, worst %.1e\n%s\nwanted: %s\n",
		r->passed ? "passed" : "failed", r->order, r->tensor, (long long)r->element, r->analytic, r->numeric,
		r->numeric_error, r->worst, r->advice, words);
	fail();
}

/* First and second order, every element. */
static inline void expect_gradients(weir_function *f, void *user, weir_tensor *const *xs, int n, int order)
{
	weir_gradcheck_options o;
	weir_gradcheck_result r;

	weir_gradcheck_options_init(&o);
	o.order = order;
	r = weir_gradcheck(f, user, xs, n, &o);
	if (r.passed) return;
	print_error("order %d, input %d, element %lld: analytic %.17g, numeric %.17g +- %.1e: %s\n", r.order, r.tensor,
		    (long long)r.element, r.analytic, r.numeric, r.numeric_error, r.advice);
	o.log = stderr;
	weir_gradcheck(f, user, xs, n, &o);
	fail();
}

/* The fused twin and the rule agree for a random gy, within factor ULP of magnitude[i][j] (NULL: of the gradient
 * itself); also where a second use of the operands adds to the first one's gradient. */
static inline void expect_fused_is_rule(weir_function *f, void *user, weir_tensor *const *xs, int n, double factor,
					double *const *magnitude)
{
	weir_ctx *w = weir_context(xs[0]);
	weir_tensor *fused[4], *rule[4], *y = f(xs, n, user),
					 *gy = draw(w, weir_dtype_of(y), weir_rank(y), weir_shape(y), -1.0, 1.0);
	double eps = weir_dtype_of(y) == WEIR_F32 ? 0x1p-23 : 0x1p-52;

	for (int uses = 1; uses <= 2; uses++) {
		assert_true(weir_vjp(y, gy, xs, n, fused, 0));
		assert_true(weir_vjp(y, gy, xs, n, rule, WEIR_CREATE_GRAPH));
		for (int i = 0; i < n; i++) {
			double *a = read_all(fused[i]), *b = read_all(rule[i]);

			for (int64_t j = 0; j < weir_numel(xs[i]); j++) {
				double size = magnitude && magnitude[i] ? uses * magnitude[i][j] : fabs(b[j]);

				if (same(a[j], b[j]) || fabs(a[j] - b[j]) <= factor * eps * size) continue;
				print_error("operand %d, element %lld, used %d times: fused %.17g, rule %.17g\n", i,
					    (long long)j, uses, a[j], b[j]);
				fail();
			}
			free(a);
			free(b);
		}
		y = weir_add(y, f(xs, n, user));
	}
}

#endif
