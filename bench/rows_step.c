/* rows_step.c: what surrounds the products: the optimiser alone, and the tape alone. */
#include "bench/rows.h"

/* ---- clipping and AdamW ------------------------------------------------------------------------------------------ */

typedef struct work {
	weir_ctx *w;
	weir_module *m;
	weir_optim *optim;
	int64_t steps;
} work;

static weir_tensor *no_forward(weir_module *m, weir_tensor *x)
{
	(void)m;
	return x;
}

static void *begin(const ask *a)
{
	static const weir_module_type holder = { .kind = "holder", .forward = no_forward };
	weir_adam_options o;
	work *t;

	if (a->count != 2) return NULL;
	t = bench_zeroed(sizeof *t);
	t->w = bench_open(a);
	t->m = weir_module_new(t->w, &holder, "net", 0);
	for (int64_t i = 0; i < a->n[0]; i++) {
		char name[24];
		weir_tensor *p, *g;

		snprintf(name, sizeof name, "p%d", (int)i);
		p = weir_module_param(t->m, name, WEIR_F32, 1, &a->n[1]);
		g = weir_zeros(t->w, WEIR_F32, 1, &a->n[1]);
		bench_die(t->w);
		fill(weir_data_mut(p, NULL), a->n[1], (uint32_t)(DATA_WEIGHTS + i), 1);
		fill(weir_data_mut(g, NULL), a->n[1], (uint32_t)(DATA_TENSOR_GRAD + i), 1);
		weir_set_grad(p, g);
		weir_tape_reset(t->w);
	}
	weir_adam_options_init(&o);
	o.lr = ADAM_RATE;
	o.weight_decay = ADAM_DECAY;
	o.decoupled = o.keep_grads = true;
	t->optim = weir_adam_with(t->w, t->m, &o);
	weir_optim_group(t->optim, t->m, 1, ADAM_DECAY); /* these are of rank 1, which by default are not decayed */
	return t;
}

static void step(work *t)
{
	weir_optim_clip_step(t->optim, clip_to(t->steps++));
}

static int check(void *state, double *values)
{
	work *t = state;

	for (int i = 0; i < CHECK_STEPS; i++) step(t);
	bench_die(t->w);
	return bench_samples(weir_module_parameter(t->m, 0), values);
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

const kind bench_adamw = { "adamw", begin, check, run, end };

/* ---- a chain of scalars ------------------------------------------------------------------------------------------ */

typedef struct chain {
	weir_ctx *w;
	weir_tensor *x;
	int64_t nodes;
	bool scale; /* y ← 1 · y + 0; else y ← y · x, both with x = 1 */
} chain;

static void *chain_begin(const ask *a)
{
	chain *c;

	if (a->count != 1) return NULL;
	c = bench_zeroed(sizeof *c);
	c->w = bench_open(a);
	c->nodes = a->n[0];
	c->scale = !strcmp(a->word, "scale");
	c->x = weir_param_new(c->w, "x", WEIR_F32, 0, NULL);
	weir_write_f64(c->x, (const double[]){ 1 }, 1);
	return c;
}

static void once(chain *c)
{
	weir_tensor *y = c->x;

	if (c->scale) {
		for (int64_t i = 0; i < c->nodes; i++) y = weir_affine(y, 1, 0);
	} else {
		for (int64_t i = 0; i < c->nodes; i++) y = weir_mul(y, c->x);
	}
	weir_zero_grad(c->x);
	weir_backward(y);
	weir_tape_reset(c->w);
}

static int chain_check(void *state, double *values)
{
	chain *c = state;

	once(c);
	values[0] = weir_item(weir_grad_of(c->x));
	bench_die(c->w);
	return 1;
}

static void chain_run(void *state, int64_t units)
{
	for (int64_t i = 0; i < units; i++) once(state);
}

static void chain_end(void *state)
{
	chain *c = state;

	bench_die(c->w);
	weir_close(c->w);
	free(c);
}

const kind bench_chain = { "chain", chain_begin, chain_check, chain_run, chain_end };
