/* nn_check.h: what the tests of modules, initialisers and optimisers share: quiet contexts, and checks that print both sides. */
#ifndef WEIR_TESTS_NN_CHECK_H
#define WEIR_TESTS_NN_CHECK_H

#include <weir/weir.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef __GNUC__
#define MAY_BE_UNUSED __attribute__((unused))
#else
#define MAY_BE_UNUSED
#endif

/* A context without a handler whose new weights are of this type. */
static MAY_BE_UNUSED weir_ctx *open_as(weir_dtype dtype, int threads, uint64_t seed)
{
	weir_options o;
	weir_ctx *w;

	weir_options_init(&o);
	o.handler = NULL;
	o.threads = threads;
	o.seed = seed;
	w = weir_open(&o);
	weir_module_dtype(w, dtype);
	return w;
}

/* The error that must have stuck, with this in its message; the context is usable again. */
static MAY_BE_UNUSED void assert_error(weir_ctx *w, weir_status want, const char *part)
{
	if (weir_error(w) != want || !strstr(weir_error_text(w), part))
		fail_msg("want %s with \"%s\", got %s: \"%s\"", weir_status_name(want), part,
			 weir_status_name(weir_error(w)), weir_error_text(w));
	weir_clear_error(w);
}

static MAY_BE_UNUSED void assert_fine(weir_ctx *w)
{
	if (!weir_ok(w)) fail_msg("%s", weir_error_text(w));
}

/* Within tolerance times the larger of 1 and |want|. */
static MAY_BE_UNUSED void assert_near(double got, double want, double tolerance)
{
	if (!(fabs(got - want) <= tolerance * (fabs(want) > 1 ? fabs(want) : 1)))
		fail_msg("got %.17g, want %.17g", got, want);
}

/* A number in [-1, 1) that depends on a and b. */
static MAY_BE_UNUSED double noise(int a, int b)
{
	uint32_t h = (uint32_t)a * 2654435761u + (uint32_t)b * 40503u + 12345u;

	h = (h ^ h >> 15) * 2246822519u;
	h = (h ^ h >> 13) * 3266489917u;
	return (double)(h ^ h >> 16) / 2147483648.0 - 1;
}

static MAY_BE_UNUSED void set_gradient(weir_tensor *p, double value)
{
	assert_true(weir_set_grad(p, weir_full(weir_context(p), weir_dtype_of(p), weir_rank(p), weir_shape(p), value)));
}

/* Gives every parameter of m the gradient noise(step, place) · size. Resets the tape. */
static MAY_BE_UNUSED void set_gradients(weir_module *m, int step, double size)
{
	int at = 0;

	for (int64_t i = 0; i < weir_module_parameter_count(m); i++) {
		weir_tensor *p = weir_module_parameter(m, i);
		weir_tensor *g = weir_zeros(weir_context(p), weir_dtype_of(p), weir_rank(p), weir_shape(p));
		double v[64];

		for (int64_t k = 0; k < weir_numel(p); k++) v[k] = size * noise(step, at++);
		assert_true(weir_write_f64(g, v, weir_numel(p)));
		assert_true(weir_set_grad(p, g));
	}
	weir_tape_reset(weir_module_context(m));
}

/* All numbers of m's parameters, one after the other. */
static MAY_BE_UNUSED void read_all(weir_module *m, double *v)
{
	for (int64_t i = 0, at = 0; i < weir_module_parameter_count(m); i++) {
		weir_tensor *p = weir_module_parameter(m, i);

		weir_read_f64(p, v + at, weir_numel(p));
		at += weir_numel(p);
	}
}

#endif
