/* rows_map.c: passes over memory: element-wise functions, and softmax and layer normalisation over rows of ROW elements. */
#include "bench/rows.h"

enum { ROW = 1024 };

typedef struct work {
	weir_ctx *w;
	weir_module *norm;
	weir_tensor *x, *gy, *y; /* y: recorded, for the backward pass alone */
	weir_tensor *(*f)(struct work *m);
} work;

static weir_tensor *relu(work *m)
{
	return weir_relu(m->x);
}
static weir_tensor *sigmoid(work *m)
{
	return weir_sigmoid(m->x);
}
static weir_tensor *tanh_(work *m)
{
	return weir_tanh(m->x);
}
static weir_tensor *exp_(work *m)
{
	return weir_exp(m->x);
}
static weir_tensor *gelu(work *m)
{
	return weir_gelu(m->x);
}
static weir_tensor *softmax(work *m)
{
	return weir_softmax(m->x, -1);
}
static weir_tensor *layer_norm(work *m)
{
	return weir_forward(m->norm, m->x);
}

static weir_tensor *layer_norm_back(work *m)
{
	weir_tensor *xs[] = { m->x, weir_module_parameter(m->norm, 0), weir_module_parameter(m->norm, 1) }, *gxs[3];

	weir_vjp(m->y, m->gy, xs, 3, gxs, 0);
	return gxs[0];
}

static const struct {
	const char *name;
	weir_tensor *(*f)(work *m);
} functions[] = {
	{ "relu", relu }, { "sigmoid", sigmoid }, { "tanh", tanh_ },           { "exp", exp_ },
	{ "gelu", gelu }, { "softmax", softmax }, { "layernorm", layer_norm }, { "layernorm-back", layer_norm_back }
};

static void *begin(const ask *a)
{
	work *m = bench_zeroed(sizeof *m);
	int64_t shape[2] = { a->n[0] / ROW, ROW };

	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		if (!strcmp(functions[i].name, a->word)) m->f = functions[i].f;
	}
	if (!m->f) return free(m), NULL;
	m->w = bench_open(a);
	m->x = bench_leaf(m->w, 2, shape, DATA_X, 4);
	m->norm = weir_layer_norm_new(m->w, ROW, 1e-5);
	if (m->f == layer_norm_back) {
		m->gy = bench_leaf(m->w, 2, shape, DATA_GRAD, 1);
		m->y = layer_norm(m);
	} else {
		weir_no_grad_begin(m->w);
	}
	return m;
}

/* One pass; what it made is given back at once, as in a steady step. */
static int once(work *m, double *values)
{
	weir_place before = weir_mark(m->w);
	weir_tensor *y = m->f(m);
	int n = values ? bench_samples(y, values) : 0;

	weir_rewind(m->w, before, NULL, 0);
	return n;
}

static int check(void *state, double *values)
{
	return once(state, values);
}

static void run(void *state, int64_t units)
{
	for (int64_t i = 0; i < units; i++) once(state, NULL);
}

static void end(void *state)
{
	work *m = state;

	bench_die(m->w);
	weir_close(m->w);
	free(m);
}

const kind bench_map = { "map", begin, check, run, end };
