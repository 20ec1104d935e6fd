/* theorem_check.h: what the tests of theorems share: comparisons that print what they got, wanted and allow, samples with their standard
 * error, chains of layers. */
#ifndef WEIR_TESTS_THEOREM_CHECK_H
#define WEIR_TESTS_THEOREM_CHECK_H

#include "tests/flow_check.h"

/* Within this distance of want. NaN never is. */
static MAY_BE_UNUSED void within(const char *what, double got, double want, double tolerance)
{
	if (!(fabs(got - want) <= tolerance))
		fail_msg("%s: got %.12g, want %.12g, tolerance %.3g", what, got, want, tolerance);
}

static MAY_BE_UNUSED void relative(const char *what, double got, double want, double tolerance)
{
	if (!(fabs(got - want) <= tolerance * fabs(want)))
		fail_msg("%s: got %.12g, want %.12g, tolerance %.3g of it: off by %.3g", what, got, want, tolerance,
			 fabs(got / want - 1));
}

/* Not above limit, but for rounding: a share `tolerance` of it. */
static MAY_BE_UNUSED void at_most(const char *what, double got, double limit, double tolerance)
{
	if (!(got <= limit * (1 + tolerance)))
		fail_msg("%s: got %.15g, want at most %.15g, tolerance %.3g of it", what, got, limit, tolerance);
}

static MAY_BE_UNUSED void above(const char *what, double got, double limit)
{
	if (!(got > limit)) fail_msg("%s: got %.12g, want more than %.12g", what, got, limit);
}

/* ---- samples ---- */

typedef struct sample {
	double n, sum, squares;
} sample;

static MAY_BE_UNUSED void take(sample *s, double x)
{
	s->n += 1;
	s->sum += x;
	s->squares += x * x;
}

static MAY_BE_UNUSED double mean_of(const sample *s)
{
	return s->sum / s->n;
}

static MAY_BE_UNUSED double variance_of(const sample *s)
{
	return (s->squares - s->sum * s->sum / s->n) / (s->n - 1);
}

/* The mean lies within three standard errors of want; limit: and that error is small enough to tell anything. */
static MAY_BE_UNUSED void three_errors(const char *what, const sample *s, double want, double limit)
{
	double error = sqrt(variance_of(s) / s->n);

	if (!(error < limit)) fail_msg("%s: the standard error of %.0f is %g, want below %g", what, s->n, error, limit);
	within(what, mean_of(s), want, 3 * error);
}

/* ---- networks ---- */

/* Linear layers without biases, called mlp.0 and so on, all of one width. */
static MAY_BE_UNUSED weir_module *chain(weir_ctx *w, int layers, int64_t width, weir_init_kind init, double scale)
{
	weir_module *net = weir_list_new(w, "mlp");
	weir_linear_options o;

	weir_linear_options_init(&o);
	o.bias = false;
	o.init = init;
	o.init_scale = scale;
	for (int i = 0; i < layers; i++) weir_list_add(net, weir_linear_with(w, width, width, &o));
	return net;
}

/* Draws all weights again. */
static MAY_BE_UNUSED void draw_again(weir_module *net, weir_init_kind init, double scale)
{
	for (int64_t i = 0; i < weir_module_parameter_count(net); i++)
		assert_true(weir_init_fill(weir_module_parameter(net, i), init, scale));
}

/* Each layer and the activation behind it; at[i] (may be NULL) is the input of layer i, at[layers] the output. */
static MAY_BE_UNUSED weir_tensor *through(weir_module *net, weir_tensor *x, weir_act act, weir_tensor **at)
{
	int64_t layers = weir_module_count(net);

	for (int64_t i = 0; i < layers; i++) {
		if (at) at[i] = x;
		x = weir_act_apply(weir_forward(weir_list_at(net, i), x), act);
	}
	if (at) at[layers] = x;
	return x;
}

/* A loss whose gradient at y is d, by a product that is no part of y's layer. */
static MAY_BE_UNUSED weir_tensor *against(weir_tensor *y, weir_tensor *d)
{
	return weir_matmul(weir_reshape(y, 2, (int64_t[]){ 1, -1 }), weir_reshape(d, 2, (int64_t[]){ -1, 1 }));
}

static MAY_BE_UNUSED weir_tensor *gaussian(weir_ctx *w, int64_t rows, int64_t columns)
{
	return weir_normal(w, WEIR_F64, 2, (int64_t[]){ rows, columns }, 0, 1);
}

/* backward and the instrument's step. */
static MAY_BE_UNUSED void observe(weir_flow *f, weir_tensor *loss)
{
	weir_backward(loss);
	weir_flow_step(f, loss);
	assert_fine(weir_context(loss));
}

#endif
