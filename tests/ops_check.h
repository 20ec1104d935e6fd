/* ops_check.h: what the tests of operations share: contexts, tensors of made-up numbers, comparisons that print
 * both sides. */
#ifndef WEIR_TESTS_OPS_CHECK_H
#define WEIR_TESTS_OPS_CHECK_H

#include <weir/weir.h>

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

#ifdef __GNUC__
#define UNUSED_OK __attribute__((unused))
#else
#define UNUSED_OK
#endif

static UNUSED_OK weir_ctx *open_quiet(bool ieee)
{
	weir_options o;

	weir_options_init(&o);
	o.handler = NULL;
	o.ieee_subnormals = ieee;
	o.threads = 2;
	return weir_open(&o);
}

/* Closes a context in which nothing may have gone wrong. */
static UNUSED_OK void close_clean(weir_ctx *w)
{
	if (!weir_ok(w)) print_error("left over: %s\n", weir_error_text(w));
	assert_int_equal(weir_close(w), 0);
}

/* The error that must have stuck, and parts that its message must have, ended by NULL; the context is usable again. */
static UNUSED_OK void expect_error(weir_ctx *w, weir_status status, ...)
{
	va_list parts;
	const char *part;

	if (weir_error(w) != status)
		print_error("expected %s, got %s: %s\n", weir_status_name(status), weir_status_name(weir_error(w)),
			    weir_error_text(w));
	assert_int_equal(weir_error(w), status);
	va_start(parts, status);
	while ((part = va_arg(parts, const char *))) {
		if (!strstr(weir_error_text(w), part)) {
			print_error("\"%s\" is not in: %s\n", part, weir_error_text(w));
			fail();
		}
	}
	va_end(parts);
	weir_clear_error(w);
	assert_true(weir_ok(w));
	assert_true(weir_item(weir_add(weir_scalar(w, WEIR_F64, 1.0), weir_scalar(w, WEIR_F64, 2.0))) == 3.0);
}

static UNUSED_OK uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Uniform in low .. high. */
static UNUSED_OK double draw_in(uint64_t *state, double low, double high)
{
	return low + (high - low) * (double)(draw(state) >> 11) * 0x1p-53;
}

/* A leaf of numbers in low .. high, none nearer than 0.01 to 0 where apart is set. */
static UNUSED_OK weir_tensor *numbers(weir_ctx *w, weir_dtype t, int rank, const int64_t *shape, double low,
				      double high, bool apart)
{
	static uint64_t state = 42;
	weir_tensor *x = weir_zeros(w, t, rank, shape);
	int64_t n = weir_numel(x);
	double *v = malloc((size_t)(n + 1) * sizeof *v);

	assert_non_null(v);
	for (int64_t i = 0; i < n; i++) {
		do v[i] = draw_in(&state, low, high);
		while (apart && fabs(v[i]) < 0.01);
	}
	assert_true(weir_write_f64(x, v, n));
	free(v);
	return x;
}

/* The distance between numbers of the size of x. */
static UNUSED_OK double ulp(weir_dtype t, double x)
{
	if (t == WEIR_F32) {
		float f = fabsf((float)x);

		return f < FLT_MIN ? 0x1p-149 : (double)(nextafterf(f, INFINITY) - f);
	}
	x = fabs(x);
	return x < DBL_MIN ? 0x1p-1074 : nextafter(x, INFINITY) - x;
}

static UNUSED_OK bool near_by(double a, double b, double tolerance)
{
	return (isnan(a) && isnan(b)) || a == b || fabs(a - b) <= tolerance;
}

/* a and b have one shape and differ by at most ulps of their own size, or of `size` where that is larger. */
static UNUSED_OK void expect_close_to(const char *what, const weir_tensor *a, const weir_tensor *b, double ulps,
				      double size)
{
	assert_int_equal(weir_numel(a), weir_numel(b));
	assert_int_equal(weir_dtype_of(a), weir_dtype_of(b));
	for (int64_t i = 0; i < weir_numel(a); i++) {
		double x = weir_get(a, i), y = weir_get(b, i);

		if (near_by(x, y, ulps * ulp(weir_dtype_of(a), fmax(size, fmax(fabs(x), fabs(y)))))) continue;
		print_error("%s: element %lld: %.17g and %.17g\n", what, (long long)i, x, y);
		fail();
	}
}

static UNUSED_OK void expect_close(const char *what, const weir_tensor *a, const weir_tensor *b, double ulps)
{
	expect_close_to(what, a, b, ulps, 0.0);
}

static UNUSED_OK void expect_shape(const weir_tensor *t, int rank, const int64_t *shape)
{
	assert_int_equal(weir_rank(t), rank);
	for (int i = 0; i < rank; i++) assert_int_equal(weir_shape(t)[i], shape[i]);
}

static UNUSED_OK void expect_values(const weir_tensor *t, int64_t n, const double *v)
{
	assert_int_equal(weir_numel(t), n);
	for (int64_t i = 0; i < n; i++) {
		if (weir_get(t, i) == v[i] || (isnan(v[i]) && isnan(weir_get(t, i)))) continue;
		print_error("element %lld: %.17g instead of %.17g\n", (long long)i, weir_get(t, i), v[i]);
		fail();
	}
}

/* Gradients of orders 1 and 2 against differences. */
static UNUSED_OK void expect_gradients(const char *what, weir_function *f, void *user, weir_tensor *const *xs, int n)
{
	for (int order = 1; order <= 2; order++) {
		weir_gradcheck_options o;
		weir_gradcheck_result r;

		weir_gradcheck_options_init(&o);
		o.order = order;
		o.tolerance = order == 1 ? 1e-8 : 1e-6;
		r = weir_gradcheck(f, user, xs, n, &o);
		if (r.passed && r.checked > 0) continue;
		print_error("%s, order %d: %s; %s\n", what, order, r.advice,
			    n && xs[0] ? weir_error_text(weir_context(xs[0])) : "");
		fail();
	}
}

/* The fused rule and the rule in tensor operations give the same gradients, up to ulps of what they add up. */
static UNUSED_OK void expect_fused(const char *what, weir_tensor *y, weir_tensor *gy, weir_tensor *const *xs, int n,
				   double ulps, double size)
{
	weir_tensor *fused[4], *rule[4];

	assert_true(weir_vjp(y, gy, xs, n, fused, 0));
	/* the graph of the rule is not needed, its way of computing is */
	assert_true(weir_vjp(y, gy, xs, n, rule, WEIR_CREATE_GRAPH));
	for (int i = 0; i < n; i++) expect_close_to(what, fused[i], rule[i], ulps, size);
}

#endif
