/* run.c: data and loss of a network, training, the planted fault, and the one step under the instrument that is judged. */
#include "bench/faults/faults.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t faults_seed;
bool faults_free_values;

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
		x = run_layer(r, i, x);
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
	case MASKED_LOG: set_fault(r, n->at, n->fault); break;
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
	o.free_values = faults_free_values;
	r->w = weir_open(&o);
	weir_module_dtype(r->w, n->dtype);
	make_network(r);
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
	static const char *const families[FAMILIES] = {
		"plain", "normed",    "residual",         "pre-norm",          "highway",    "recurrent",
		"lstm",  "attention", "residual by hand", "attention by hand", "transformer"
	};
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
