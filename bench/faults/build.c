/* build.c: makes a network of the list, trains it, plants its fault, runs one step under the instrument. Layer K is the module "net.K"; the
 * steps of a recurrent network are the calls of "cell". */
#include "bench/faults/faults.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t faults_seed;

enum { CLASSES = 10, TOKENS = 8, WORDS = 20 };

static double or_else(double x, double otherwise)
{
	return x != 0 ? x : otherwise;
}

static int batch_of(const network *n)
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

static weir_tensor *attend(const block *b, weir_tensor *x)
{
	weir_tensor *q = weir_forward(b->q, x), *k = weir_forward(b->k, x), *v = weir_forward(b->v, x), *scores;

	scores = weir_affine(weir_matmul(q, weir_transpose(k, -1, -2)), 1 / sqrt((double)b->n->width), 0);
	return weir_forward(b->o, weir_matmul(weir_softmax(scores, -1), v));
}

/* Of operations alone, outside of any module's scope. */
static weir_tensor *by_hand(weir_module *m, weir_tensor *x)
{
	const block *b = weir_module_data(m);
	const network *n = b->n;
	weir_tensor *a, *q, *k;

	if (b->last) return weir_linear(x, b->w[0], NULL);
	if (n->family == HAND_RESIDUAL) {
		a = weir_linear(weir_act_apply(weir_linear(x, b->w[0], NULL), n->act), b->w[1], NULL);
	} else {
		q = weir_linear(x, b->w[0], NULL);
		k = weir_linear(x, b->w[1], NULL);
		a = weir_softmax(weir_affine(weir_matmul(q, weir_transpose(k, -1, -2)), 1 / sqrt((double)n->width), 0),
				 -1);
		a = weir_linear(weir_matmul(a, weir_linear(x, b->w[2], NULL)), b->w[3], NULL);
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

static bool is_by_hand(const network *n)
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

static weir_tensor *recur(const run *r)
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

/* ---- data and loss ---- */

static void make_data(run *r)
{
	const network *n = r->n;
	weir_ctx *w = r->w;
	int64_t b = batch_of(n), labels[1024];
	bool recurrent = n->family == RECURRENT || n->family == LSTM,
	     tokens = n->family == ATTENTION || n->family == HAND_ATTENTION;
	int64_t shape[] = { recurrent ? n->depth : b,
			    recurrent                ? b
			    : n->family == ATTENTION ? TOKENS
						     : n->width,
			    n->width };
	int rank = recurrent || tokens ? 3 : 2;
	double size = or_else(n->input, 1);

	weir_no_grad_begin(w);
	if (n->family == TRANSFORMER) {
		for (int i = 0; i < b * TOKENS; i++) labels[i] = (i * 7) % WORDS;
		r->x = weir_keep(weir_from(w, WEIR_I64, 1, (int64_t[]){ b * TOKENS }, labels));
	} else {
		weir_tensor *x = size < 0 ? weir_full(w, n->dtype, rank, shape, 1)
					  : weir_affine(weir_normal(w, n->dtype, rank, shape, 0, 1), size, 0);

		r->x = weir_keep(n->positive ? weir_abs(x) : x);
	}
	for (int64_t i = 0; i < b; i++) labels[i] = i % CLASSES;
	if (n->loss == CROSS_ENTROPY || n->loss == LOG_SOFTMAX || n->loss == TWO_HEADS || recurrent ||
	    n->family == TRANSFORMER)
		r->y = weir_keep(weir_from(w, WEIR_I64, 1, &b, labels));
	else if (n->loss == SIGMOID_CE) r->y = weir_keep(weir_uniform(w, n->dtype, 2, (int64_t[]){ b, 1 }, 0, 1));
	else r->y = weir_keep(weir_normal(w, n->dtype, 2, (int64_t[]){ b, n->width }, 0, 1));
	weir_no_grad_end(w);
	weir_tape_reset(w);
}

static weir_tensor *forward(run *r)
{
	const network *n = r->n;
	weir_tensor *x = r->x, *second = NULL;
	int blocks = n->depth;

	if (n->family == RECURRENT || n->family == LSTM) return weir_cross_entropy(recur(r), r->y);
	if (n->family == TRANSFORMER) {
		weir_scope_begin(r->w, "embedding");
		x = weir_gather(weir_module_parameter(weir_list_at(r->net, blocks), 0), 0, x);
		x = weir_reshape(x, 3, (int64_t[]){ batch_of(n), TOKENS, n->width });
		weir_scope_end(r->w);
	}
	for (int i = 0; i < blocks; i++) {
		if (n->family == HAND_ATTENTION && i + 1 == blocks) x = weir_mean(x, 1, (const int[]){ 1 }, false);
		x = is_by_hand(n) ? by_hand(weir_list_at(r->net, i), x) : weir_forward(weir_list_at(r->net, i), x);
		if (n->loss == TWO_HEADS && i == n->depth / 2) second = x;
	}
	if (n->family == TRANSFORMER || (n->family == ATTENTION && n->loss == CROSS_ENTROPY))
		x = weir_forward(weir_list_at(r->net, weir_module_count(r->net) - 1),
				 weir_mean(x, 1, (const int[]){ 1 }, false));
	if (second) {
		x = weir_cross_entropy(x, r->y);
		return weir_add(x, weir_mean_all(weir_square(second)));
	}
	switch (n->loss) {
	case SUM: return weir_sum_all(x);
	case MSE: return weir_mse(x, r->y);
	case AUTOENCODER: return weir_mse(x, r->x);
	case SIGMOID_CE: {
		weir_tensor *y = weir_cast(weir_cast(weir_affine(r->y, 2, 0), WEIR_I64), n->dtype),
			    *p = weir_clamp(x, 1e-6, 1 - 1e-6);

		return weir_neg(weir_mean_all(weir_add(
			weir_mul(y, weir_log(p)), weir_mul(weir_affine(y, -1, 1), weir_log(weir_affine(p, -1, 1))))));
	}
	case LOG_SOFTMAX: {
		double hot[1024][CLASSES] = { { 0 } };
		weir_tensor *t = weir_full(r->w, n->dtype, 2, (int64_t[]){ batch_of(n), CLASSES }, 0);

		for (int i = 0; i < batch_of(n); i++) hot[i][i % CLASSES] = 1;
		weir_write_f64(t, hot[0], weir_numel(t));
		return weir_affine(weir_sum_all(weir_mul(x, t)), -1.0 / batch_of(n), 0);
	}
	default: return weir_cross_entropy(x, r->y);
	}
}

/* ---- faults ---- */

static void change(weir_tensor *p, double factor, double value, bool all)
{
	int64_t n = weir_numel(p);
	double *v = malloc((size_t)n * sizeof *v);

	weir_read_f64(p, v, n);
	for (int64_t i = 0; i < n; i++) v[i] = all ? value : factor * v[i];
	if (!all && factor == 1) v[n / 2] = value;
	weir_write_f64(p, v, n);
	free(v);
}

static weir_tensor *parameter(const run *r, int layer, int which)
{
	return weir_module_parameter(weir_list_at(r->net, layer), which);
}

static void plant(run *r)
{
	const network *n = r->n;

	switch (n->fault) {
	case SCALED: change(parameter(r, n->at, 0), n->by, 0, false); break;
	case COMPENSATED:
		change(parameter(r, n->at, 0), n->by, 0, false);
		change(parameter(r, n->at + 1, 0), 1 / n->by, 0, false);
		break;
	case ALL_HIDDEN:
		for (int i = 0; i + 1 < n->depth; i++) change(parameter(r, i, 0), n->by, 0, false);
		break;
	case BIASED: change(parameter(r, n->at, 1), 0, n->by, true); break;
	case BAD_WEIGHT: change(parameter(r, n->at, 0), 1, n->by, false); break;
	case BAD_INPUT: change(r->x, 1, n->by, false); break;
	case LOG_OF_RELU:
	case EXP:
	case ROOT:
	case MASKED_ROOT:
	case OVER_NORM:
	case MASKED_LOG: ((block *)weir_module_data(weir_list_at(r->net, n->at)))->fault = n->fault; break;
	default: break;
	}
}

/* The nearest number of the type, ties to even, gradual underflow, inf above its largest. */
double round_to(double x, fault type)
{
	int digits = type == ROUND_F16 ? 11 : 8, lowest = type == ROUND_F16 ? -24 : -133, e, unit;
	double limit = type == ROUND_F16 ? 65504 : 0x1.fep127, y;

	if (!(x - x == 0) || x == 0) return x;
	frexp(x, &e);
	unit = e - digits > lowest ? e - digits : lowest;
	y = ldexp(nearbyint(ldexp(x, -unit)), unit);
	return fabs(y) > limit ? copysign(INFINITY, x) : y;
}

/* Of what flows on, not of parameters, whose gradients are sums over the batch. */
static weir_tensor *round_gradient(const weir_event *e, void *user)
{
	int64_t n = weir_numel(e->value);
	weir_tensor *t;
	double *v;

	if (!weir_node(e->node).inputs) return e->value;
	t = weir_full(e->ctx, weir_dtype_of(e->value), weir_rank(e->value), weir_shape(e->value), 0);
	v = malloc((size_t)n * sizeof *v);
	weir_read_f64(e->value, v, n);
	for (int64_t i = 0; i < n; i++) v[i] = round_to(v[i], *(fault *)user);
	weir_write_f64(t, v, n);
	free(v);
	return t;
}

int layer_of_last_bits(const network *n, double loss_scale)
{
	double g = round_to((float)loss_scale, n->fault);

	for (int i = n->depth - 1; i > 0;
	     i--) { /* g is the gradient at the output of layer i; its rule makes the next */
		g = round_to((float)(g * n->scale), n->fault);
		if (g == 0 || g - g != 0) return i;
	}
	return -1;
}

/* ---- running ---- */

static void note_norm(const weir_event *e, void *user)
{
	run *r = user;

	if (e->order > 1 || e->index >= (int64_t)(sizeof r->node_norm / sizeof *r->node_norm)) return;
	while (r->nodes <= e->index) r->node_norm[r->nodes++] = NAN;
	r->node_norm[e->index] = e->norm;
}

static void must(const run *r, const char *what)
{
	if (weir_ok(r->w)) return;
	fprintf(stderr, "faults: %s: %s: %s\n", network_text(r->n), what, weir_error_text(r->w));
	exit(2);
}

static void train(run *r)
{
	weir_optim *optim = weir_adam_new(r->w, r->net, or_else(r->n->lr, 1e-2));

	for (int i = 0; i < r->n->steps; i++) {
		weir_tape_reset(r->w);
		weir_backward(forward(r));
		weir_optim_step(optim);
	}
	weir_optim_drop(optim);
	weir_tape_reset(r->w);
}

static void make(run *r)
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

void run_network(run *r, const network *n, double loss_scale)
{
	static fault type;
	weir_options o;
	weir_hook_options h;
	weir_tensor *loss;

	*r = (run){ .n = n };
	weir_options_init(&o);
	o.handler = NULL;
	o.threads = 1;
	o.seed = 100 + n->seed + 1000 * faults_seed;
	o.ieee_subnormals = true;
	r->w = weir_open(&o);
	weir_module_dtype(r->w, n->dtype);
	make(r);
	make_data(r);
	must(r, "making it");
	train(r);
	must(r, "training it");
	plant(r);
	r->flow = weir_flow_watch(r->w, NULL);
	weir_on_grad(r->w, note_norm, r, NULL);
	if (n->fault == ROUND_F16 || n->fault == ROUND_BF16) {
		type = n->fault;
		weir_hook_options_init(&h);
		h.observe = NULL;
		h.replace = round_gradient;
		h.user = &type;
		h.wants = 0;
		weir_hook_add(r->w, NULL, &h);
	}
	loss = forward(r);
	if (n->fault == LOG_OF_LOSS) loss = weir_log(weir_affine(loss, 0, 0));
	if (n->fault == UNUSED_NAN) weir_log(weir_affine(weir_mean_all(weir_square(r->x)), -1, 0));
	r->loss = weir_affine(loss, loss_scale, 0);
	weir_backward(r->loss);
	weir_flow_step(r->flow, r->loss);
	must(r, "running it");
}

void run_close(run *r)
{
	weir_close(r->w);
}

int module_number(const char *path)
{
	return strncmp(path, "net.", 4) ? -1 : atoi(path + 4);
}

const char *network_text(const network *n)
{
	static const char *const families[FAMILIES] = { "plain",     "normed", "residual",  "pre-norm",   "highway",
							"recurrent", "lstm",   "attention", "transformer" };
	static const char *const acts[] = { "linear", "sigmoid", "tanh", "relu", "gelu", "silu" };
	static const char *const inits[] = { "zeros",      "glorot",     "glorot normal", "he",
					     "he uniform", "orthogonal", "diagonal" };
	static char text[200];
	int k = snprintf(text, sizeof text, "%s %dx%d", families[n->family], n->depth, n->width);

	if (n->waist) k += snprintf(text + k, sizeof text - (size_t)k, "-%d-%d", n->waist, n->width);
	k += snprintf(text + k, sizeof text - (size_t)k, " %s %s", acts[n->act], inits[n->init]);
	if (n->scale != 0) k += snprintf(text + k, sizeof text - (size_t)k, " %g", n->scale);
	if (n->dtype == WEIR_F64) k += snprintf(text + k, sizeof text - (size_t)k, ", f64");
	if (n->batch) k += snprintf(text + k, sizeof text - (size_t)k, ", batch %d", n->batch);
	if (n->input != 0) k += snprintf(text + k, sizeof text - (size_t)k, ", data %g", fabs(n->input));
	if (n->steps) snprintf(text + k, sizeof text - (size_t)k, ", %d steps", n->steps);
	return text;
}
