/* flow_check.h: what the tests of the instrument share. */
#ifndef WEIR_TESTS_FLOW_CHECK_H
#define WEIR_TESTS_FLOW_CHECK_H

#include "tests/nn_check.h"

static MAY_BE_UNUSED weir_ctx *open_with(weir_dtype dtype, bool steady)
{
	weir_options o;
	weir_ctx *w;

	weir_options_init(&o);
	o.handler = NULL;
	o.threads = 1;
	o.seed = 7;
	o.ieee_subnormals = true;
	if (steady) o.check_stale = false; /* on in debug builds, it never uses an address twice */
	w = weir_open(&o);
	weir_module_dtype(w, dtype);
	return w;
}

/* A context in IEEE mode without a handler whose new weights are of this type. */
static MAY_BE_UNUSED weir_ctx *open_ieee(weir_dtype dtype)
{
	return open_with(dtype, false);
}

/* The same, in which a step like those before takes no memory. */
static MAY_BE_UNUSED weir_ctx *open_steady(weir_dtype dtype)
{
	return open_with(dtype, true);
}

/* Every step measured as a whole, whatever it costs. */
static MAY_BE_UNUSED weir_flow *watch_all(weir_ctx *w)
{
	weir_flow_options o;

	weir_flow_options_init(&o);
	o.every = 1;
	o.budget = 0;
	return weir_flow_watch(w, &o);
}

static MAY_BE_UNUSED void close_fine(weir_ctx *w)
{
	assert_fine(w);
	assert_int_equal(weir_close(w), 0);
}

static MAY_BE_UNUSED const weir_flow_layer *layer_named(const weir_flow *f, const char *name, int64_t call)
{
	for (int64_t i = 0; i < weir_flow_layer_count(f); i++) {
		const weir_flow_layer *p = weir_flow_layer_at(f, i);

		if (!strcmp(p->name, name) && p->call == call) return p;
	}
	fail_msg("there is no layer %s, call %lld", name, (long long)call);
	return NULL;
}

/* The layers as one text: "mlp.0: linear relu; mlp.1: linear"; which call it is behind a #. */
static MAY_BE_UNUSED const char *layers_text(const weir_flow *f)
{
	static char text[4096];
	size_t n = 0;

	text[0] = 0;
	for (int64_t i = 0; i < weir_flow_layer_count(f) && n < sizeof text - 200; i++) {
		const weir_flow_layer *p = weir_flow_layer_at(f, i);

		n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? "; " : "", p->name);
		if (p->call > 1) n += (size_t)snprintf(text + n, sizeof text - n, "#%lld", (long long)p->call);
		n += (size_t)snprintf(text + n, sizeof text - n, ": %s", p->op);
	}
	return text;
}

static MAY_BE_UNUSED void backward_step(weir_flow *f, weir_tensor *loss)
{
	weir_backward(loss);
	weir_flow_step(f, loss);
}

/* backward, flow step; the layers must read so. */
static MAY_BE_UNUSED void assert_layers(weir_flow *f, weir_tensor *loss, const char *want)
{
	backward_step(f, loss);
	assert_fine(weir_context(loss));
	assert_string_equal(layers_text(f), want);
}

/* The Euclidean norm, in plain f64. */
static MAY_BE_UNUSED double norm_by_hand(const weir_tensor *t)
{
	double sum = 0, *v = malloc((size_t)(weir_numel(t) + 1) * sizeof *v);

	assert_non_null(v);
	assert_true(weir_read_f64(t, v, weir_numel(t)));
	for (int64_t i = 0; i < weir_numel(t); i++) sum += v[i] * v[i];
	free(v);
	return sqrt(sum);
}

#endif
