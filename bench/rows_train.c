/* rows_train.c: training steps of an MLP, bare and with the norm of every gradient taken, and Hessian-vector products. */
#include "bench/rows.h"

typedef struct work {
	weir_ctx *w;
	weir_module *m;
	weir_optim *optim;
	weir_tensor *x, *y;
	double loss, logged; /* logged: sum of the norms, so that they are used */
	bool logs;
} work;

static void add_norm(const weir_event *e, void *user)
{
	((work *)user)->logged += e->norm;
}

static weir_act act_of(const char *word)
{
	return *word == 'r' ? WEIR_ACT_RELU : *word == 't' ? WEIR_ACT_TANH : WEIR_ACT_SIGMOID;
}

static void *begin(const ask *a)
{
	work *t;

	if (a->count < 3) return NULL;
	t = bench_zeroed(sizeof *t);
	t->w = bench_open(a);
	t->m = bench_mlp(t->w, a, act_of(a->word), a->word[0]);
	t->optim = weir_sgd_new(t->w, t->m, LEARNING_RATE, MOMENTUM);
	t->x = bench_leaf(t->w, 2, a->n, DATA_X, 1);
	t->y = bench_labels(t->w, a->n[0], a->n[a->count - 1]);
	t->logs = !strcmp(a->kind, "norms");
	if (t->logs) weir_on_grad(t->w, add_norm, t, NULL);
	return t;
}

static void step(work *t)
{
	weir_tensor *loss;

	weir_tape_reset(t->w);
	loss = weir_cross_entropy(weir_forward(t->m, t->x), t->y);
	weir_backward(loss);
	weir_optim_step(t->optim);
	t->loss = weir_item(loss);
}

static int check(void *state, double *values)
{
	work *t = state;
	int n = 0;

	while (n < CHECK_STEPS) step(t), values[n++] = t->loss;
	if (!t->logs) return n;
	values[n] = t->logged > 0 ? 0 : (double)NAN;
	for (int64_t i = 0; i < weir_module_parameter_count(t->m); i++)
		values[n] += weir_grad_norm(weir_module_parameter(t->m, i));
	return n + 1;
}

static void run(void *state, int64_t units)
{
	for (int64_t i = 0; i < units; i++) step(state);
}

static void end(void *state)
{
	work *t = state;

	bench_die(t->w);
	weir_close(t->w);
	free(t);
}

const kind bench_train = { "train", begin, check, run, end };
const kind bench_norms = { "norms", begin, check, run, end };

/* ---- Hessian-vector product: the gradient of gradient · v -------------------------------------------------------- */

enum { MAX_PARAMS = 64 };

typedef struct hessian {
	weir_ctx *w;
	weir_module *m;
	weir_tensor *x, *y;
	weir_tensor *param[MAX_PARAMS], *v[MAX_PARAMS], *gradient[MAX_PARAMS], *product[MAX_PARAMS];
	int n;
	bool reused;
	weir_place recorded; /* reused: the tape's end behind the gradient */
} hessian;

static void record(hessian *h)
{
	weir_tape_reset(h->w);
	weir_grad(weir_cross_entropy(weir_forward(h->m, h->x), h->y), h->param, h->n, h->gradient, WEIR_CREATE_GRAPH);
	h->recorded = weir_mark(h->w);
}

static void *hvp_begin(const ask *a)
{
	hessian *h;
	int64_t layers = a->count - 2;

	if (layers < 1 || 2 * layers > MAX_PARAMS) return NULL;
	h = bench_zeroed(sizeof *h);
	h->w = bench_open(a);
	h->m = bench_mlp(h->w, a, WEIR_ACT_TANH, 't');
	h->x = bench_leaf(h->w, 2, a->n, DATA_X, 1);
	h->y = bench_labels(h->w, a->n[0], a->n[a->count - 1]);
	h->n = (int)weir_module_parameter_count(h->m);
	for (int i = 0; i < h->n; i++) {
		h->param[i] = weir_module_parameter(h->m, i);
		h->v[i] = bench_leaf(h->w, weir_rank(h->param[i]), weir_shape(h->param[i]), (uint32_t)(DATA_VECTOR + i),
				     1);
	}
	h->reused = !strcmp(a->word, "reused");
	record(h);
	return h;
}

static void multiply(hessian *h)
{
	if (h->reused) weir_rewind(h->w, h->recorded, NULL, 0);
	else record(h);
	weir_vjps(h->w, h->gradient, h->v, h->n, h->param, h->n, h->product, 0);
}

/* Of the first weight's part of the product. */
static int hvp_check(void *state, double *values)
{
	hessian *h = state;

	multiply(h);
	bench_die(h->w);
	return bench_samples(h->product[0], values);
}

static void hvp_run(void *state, int64_t units)
{
	for (int64_t i = 0; i < units; i++) multiply(state);
}

static void hvp_end(void *state)
{
	hessian *h = state;

	bench_die(h->w);
	weir_close(h->w);
	free(h);
}

const kind bench_hvp = { "hvp", hvp_begin, hvp_check, hvp_run, hvp_end };
