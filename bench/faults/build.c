/* build.c: makes a network of the list. Layer K is the module "net.K"; the
 * steps of a recurrent network are the calls of "cell". */
#include "bench/faults/faults.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double or_else(double x, double otherwise)
{
	return x != 0 ? x : otherwise;
}

int batch_of(const network *n)
{
	return n->batch ? n->batch : 16;
}

/* ---- blocks ---- */

typedef struct block {
	const network *n;
	fault fault;
	bool last;
	weir_tensor *w[4]; /* of what is made by hand */
	weir_module *linear, *gate, *norm, *norm2, *q, *k, *v, *o, *up, *down;
} block;

/* 1, 0, 1, 0, ... along the last axis. */
static weir_tensor *every_other(const weir_tensor *a)
{
	double v[256];
	int64_t n = weir_shape(a)[1];
	weir_tensor *t = weir_full(weir_context(a), weir_dtype_of(a), 1, &n, 0);

	for (int64_t i = 0; i < n; i++) v[i] = (double)(~i & 1);
	weir_write_f64(t, v, n);
	return t;
}

static weir_tensor *extra(const block *b, weir_tensor *z, weir_tensor *a)
{
	weir_ctx *w = weir_context(a);
	weir_tensor *zero = weir_scalar(w, weir_dtype_of(a), 0);

	switch (b->fault) {
	case LOG_OF_RELU: return weir_log(a);
	case EXP: return weir_exp(weir_affine(a, b->n->by, 0));
	case ROOT: return weir_pow(weir_mul(a, every_other(a)), 0.5);
	case MASKED_ROOT: return weir_pow(a, 0.5);
	case OVER_NORM: a = weir_affine(a, 0, 0); return weir_div(a, weir_norm(a, 1, (const int[]){ -1 }, true));
	case MASKED_LOG: /* for z <= 0 the first operand is NaN and the second is taken */
		return weir_where(weir_gt(z, zero), weir_add(a, weir_mul(weir_log(z), zero)), a);
	default: return a;
	}
}

/* 0 for a token and those before it, -inf for those behind. */
static weir_tensor *triangle(const weir_tensor *scores)
{
	double v[64 * 64];
	int64_t n = weir_extent(scores, -1);
	weir_tensor *t = weir_full(weir_context(scores), weir_dtype_of(scores), 2, (int64_t[]){ n, n }, 0);

	for (int64_t i = 0; i < n * n; i++) v[i] = i % n > i / n ? -INFINITY : 0;
	weir_write_f64(t, v, n * n);
	return t;
}

/* [samples, tokens, width] as [samples, heads, tokens, width / heads], and back. */
static weir_tensor *split(weir_tensor *x, int64_t heads)
{
	const int64_t *s = weir_shape(x);

	x = weir_reshape(x, 4, (int64_t[]){ s[0], s[1], heads, s[2] / heads });
	return weir_permute(x, 4, (const int[]){ 0, 2, 1, 3 });
}

static weir_tensor *join(weir_tensor *x)
{
	const int64_t *s = weir_shape(x);
	int64_t shape[] = { s[0], s[2], s[1] * s[3] };

	return weir_reshape(weir_permute(x, 4, (const int[]){ 0, 2, 1, 3 }), 3, shape);
}

static weir_tensor *attention(const network *n, weir_tensor *q, weir_tensor *k, weir_tensor *v)
{
	weir_tensor *y;

	if (n->heads) {
		q = split(q, n->heads);
		k = split(k, n->heads);
		v = split(v, n->heads);
	}
	y = weir_affine(weir_matmul(q, weir_transpose(k, -1, -2)), 1 / sqrt((double)weir_extent(q, -1)), 0);
	if (n->causal) y = weir_add(y, triangle(y));
	y = weir_matmul(weir_softmax(y, -1), v);
	return n->heads ? join(y) : y;
}

static weir_tensor *attend(const block *b, weir_tensor *x)
{
	weir_tensor *q = weir_forward(b->q, x), *k = weir_forward(b->k, x), *v = weir_forward(b->v, x);

	return weir_forward(b->o, attention(b->n, q, k, v));
}

/* Of operations alone, outside of any module's scope. */
static weir_tensor *by_hand(weir_module *m, weir_tensor *x)
{
	const block *b = weir_module_data(m);
	const network *n = b->n;
	weir_tensor *a, *q, *k, *v;

	if (b->last) return weir_linear(x, b->w[0], NULL);
	if (n->family == HAND_RESIDUAL) {
		a = weir_linear(weir_act_apply(weir_linear(x, b->w[0], NULL), n->act), b->w[1], NULL);
	} else {
		q = weir_linear(x, b->w[0], NULL);
		k = weir_linear(x, b->w[1], NULL);
		v = weir_linear(x, b->w[2], NULL);
		a = weir_linear(attention(n, q, k, v), b->w[3], NULL);
	}
	return weir_add(n->skip == 1 ? x : weir_affine(x, n->skip, 0), weir_affine(a, n->branch, 0));
}

static weir_tensor *forward_block(weir_module *m, weir_tensor *x)
{
	const block *b = weir_module_data(m);
	const network *n = b->n;
	weir_tensor *z, *a;

	if (n->family == ATTENTION) return attend(b, x);
	if (n->family == TRANSFORMER) {
		x = weir_add(x, attend(b, weir_forward(b->norm, x)));
		a = weir_act_apply(weir_forward(b->up, weir_forward(b->norm2, x)), n->act);
		return weir_add(x, weir_forward(b->down, a));
	}
	if (b->last) {
		z = weir_forward(b->linear, x);
		if (n->loss == SIGMOID_CE) return weir_sigmoid(z);
		return n->loss == LOG_SOFTMAX ? weir_log_softmax(z, -1) : z;
	}
	z = n->family == PRE_NORM ? weir_forward(b->linear, weir_forward(b->norm, x)) : weir_forward(b->linear, x);
	if (n->family == NORMED) z = weir_forward(b->norm, z);
	a = extra(b, z, weir_act_apply(z, n->act));
	if (n->family == RESIDUAL || n->family == PRE_NORM)
		return weir_add(n->skip == 1 ? x : weir_affine(x, n->skip, 0), weir_affine(a, n->branch, 0));
	if (n->family == HIGHWAY) {
		weir_tensor *g = weir_sigmoid(weir_affine(weir_forward(b->gate, x), 1, n->gate));

		return weir_add(weir_mul(g, a), weir_mul(weir_affine(g, -1, 1), x));
	}
	return a;
}

static const weir_module_type block_type = { .kind = "block", .forward = forward_block, .container = true };

static weir_module *linear(weir_module *m, const char *name, int64_t in, int64_t out, weir_init_kind init, double scale)
{
	weir_linear_options o;

	weir_linear_options_init(&o);
	o.init = init;
	o.init_scale = scale;
	return weir_module_add(m, name, weir_linear_with(weir_module_context(m), in, out, &o));
}

static void add_attention(block *b, weir_module *m, int64_t c)
{
	const network *n = b->n;
	bool plain = n->family == ATTENTION; /* every token attends to all alike, so that the gain is the values' */

	b->q = linear(m, "q", c, c, plain ? WEIR_INIT_ZEROS : WEIR_INIT_GLOROT, 1);
	b->k = linear(m, "k", c, c, plain ? WEIR_INIT_ZEROS : WEIR_INIT_GLOROT, 1);
	b->v = linear(m, "v", c, c, n->init, or_else(n->scale, 1));
	b->o = linear(m, "o", c, c, n->init, or_else(n->scale, 1));
	if (plain) return;
	b->norm = weir_module_add(m, "norm1", weir_layer_norm_new(weir_module_context(m), c, 1e-5));
	b->norm2 = weir_module_add(m, "norm2", weir_layer_norm_new(weir_module_context(m), c, 1e-5));
	b->up = linear(m, "up", c, 4 * c, n->init, 1);
	b->down = linear(m, "down", 4 * c, c, n->init, 1);
}

/* Width behind layer i: a straight line to the middle and back, in powers. */
static int64_t width_behind(const network *n, int i)
{
	double t = 1 - fabs(2.0 * (i + 1) / n->depth - 1);
	bool classes = n->loss == CROSS_ENTROPY || n->loss == LOG_SOFTMAX || n->loss == TWO_HEADS;

	if (i + 1 == n->depth && n->family != RECURRENT && n->family != LSTM)
		return classes ? CLASSES : n->loss == SIGMOID_CE ? 1 : n->width;
	return n->waist ? (int64_t)lrint(n->width * pow((double)n->waist / n->width, t)) : n->width;
}

bool is_by_hand(const network *n)
{
	return n->family == HAND_RESIDUAL || n->family == HAND_ATTENTION;
}

static weir_module *add_block(weir_module *net, const network *n, int i, int64_t in, int64_t out)
{
	weir_ctx *w = weir_module_context(net);
	weir_module *m = weir_module_new(w, &block_type, NULL, sizeof(block));
	block *b = weir_module_data(m);
	bool attention = n->family == ATTENTION || n->family == TRANSFORMER;

	*b = (block){ .n = n, .last = i + 1 == n->depth && !attention };
	weir_list_add(net, m);
	if (is_by_hand(n)) {
		for (int k = 0; k < (b->last ? 1 : n->family == HAND_RESIDUAL ? 2 : 4); k++) {
			static const char *const names[] = { "w0", "w1", "w2", "w3" };

			b->w[k] = weir_module_param(m, names[k], n->dtype, 2,
						    (int64_t[]){ b->last ? out : n->width, n->width });
			weir_init_fill(b->w[k], n->init, or_else(n->scale, 1));
		}
		return m;
	}
	if (attention) {
		add_attention(b, m, n->width);
		return m;
	}
	b->linear =
		linear(m, "linear", in, out, n->init || !b->last ? n->init : WEIR_INIT_GLOROT, or_else(n->scale, 1));
	if (n->family == HIGHWAY && !b->last) b->gate = linear(m, "gate", in, out, WEIR_INIT_GLOROT, 0.1);
	if (n->family == NORMED || n->family == PRE_NORM)
		b->norm = weir_module_add(m, "norm", weir_layer_norm_new(w, n->family == NORMED ? out : in, 1e-5));
	return m;
}

/* ---- recurrent ---- */

static void add_cell(weir_module *net, const network *n)
{
	bool lstm = n->family == LSTM;

	linear(net, "x", n->width, lstm ? 4 * n->width : n->width, WEIR_INIT_GLOROT, 1);
	linear(net, "h", n->width, lstm ? 4 * n->width : n->width, lstm ? WEIR_INIT_GLOROT : n->init,
	       or_else(n->scale, 1));
	linear(net, "head", n->width, CLASSES, WEIR_INIT_GLOROT, 1);
}

static weir_tensor *gate(weir_tensor *z, int i)
{
	int64_t n = weir_shape(z)[1] / 4;

	return weir_slice(z, 1, i * n, (i + 1) * n, 1);
}

weir_tensor *recur(const run *r)
{
	const network *n = r->n;
	weir_ctx *w = r->w;
	int64_t shape[] = { batch_of(n), n->width };
	weir_tensor *h = weir_full(w, weir_dtype_of(r->x), 2, shape, 0), *c = h;

	for (int t = 0; t < n->depth; t++) {
		weir_tensor *x = weir_reshape(weir_slice(r->x, 0, t, t + 1, 1), 2, shape), *z;

		weir_scope_begin(w, "cell");
		z = weir_add(weir_forward(weir_module_at(r->net, 0), x), weir_forward(weir_module_at(r->net, 1), h));
		if (n->family == LSTM) {
			c = weir_add(weir_mul(weir_sigmoid(weir_affine(gate(z, 0), 1, n->gate)), c),
				     weir_mul(weir_sigmoid(gate(z, 1)), weir_tanh(gate(z, 2))));
			h = weir_mul(weir_sigmoid(gate(z, 3)), weir_tanh(c));
		} else {
			h = weir_act_apply(z, n->act);
		}
		weir_scope_end(w);
	}
	return weir_forward(weir_module_at(r->net, 2), h);
}

weir_tensor *run_layer(const run *r, int i, weir_tensor *x)
{
	weir_module *m = weir_list_at(r->net, i);

	return is_by_hand(r->n) ? by_hand(m, x) : weir_forward(m, x);
}

void set_fault(const run *r, int layer, fault kind)
{
	((block *)weir_module_data(weir_list_at(r->net, layer)))->fault = kind;
}

/* ---- the whole ---- */

void make_network(run *r)
{
	const network *n = r->n;
	bool recurrent = n->family == RECURRENT || n->family == LSTM;
	int64_t in = n->width;

	r->net = weir_list_new(r->w, recurrent ? "cell" : "net");
	if (recurrent) add_cell(r->net, n);
	for (int i = 0; i < n->depth && !recurrent; i++) {
		int64_t out = width_behind(n, i);

		add_block(r->net, n, i, in, out);
		in = out;
	}
	if (n->family == TRANSFORMER)
		weir_init_fill(weir_module_parameter(linear(r->net, NULL, n->width, WORDS, WEIR_INIT_GLOROT, 1), 0),
			       WEIR_INIT_GLOROT, 3);
	if (n->family == TRANSFORMER || (n->family == ATTENTION && n->loss == CROSS_ENTROPY))
		linear(r->net, NULL, n->width, CLASSES, WEIR_INIT_GLOROT, 1);
}
