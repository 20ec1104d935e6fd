/* setup.c: from options to context, data, network and optimiser; one training step; evaluation. */
#include "tools/tool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MADE = 512 }; /* examples of --data random */

/* Normal inputs; labels or normal targets. */
static weir_dataset *random_data(setup *s, int64_t in, int64_t out, bool labels)
{
	size_t size = weir_dtype_size(s->o->dtype);
	void *x = malloc((size_t)(MADE * in) * size), *y = malloc((size_t)(MADE * out) * size);
	int64_t *label = malloc(MADE * sizeof *label);
	weir_dataset *set = NULL;
	uint64_t a = weir_random_stream(s->w), b = weir_random_stream(s->w);

	if (x && y && label) {
		for (int64_t i = 0; i < MADE * in; i++) {
			double v = weir_random_normal(s->w, a, (uint64_t)i);

			if (s->o->dtype == WEIR_F32) ((float *)x)[i] = (float)v;
			else ((double *)x)[i] = v;
		}
		for (int64_t i = 0; i < MADE * out; i++) {
			double v = weir_random_normal(s->w, b, (uint64_t)i);

			if (s->o->dtype == WEIR_F32) ((float *)y)[i] = (float)v;
			else ((double *)y)[i] = v;
		}
		for (int64_t i = 0; i < MADE; i++) label[i] = (int64_t)(weir_random_bits(s->w, b, (uint64_t)i) % (uint64_t)out);
		set = labels ? weir_dataset_arrays(s->w, MADE, in, s->o->dtype, x, out, label)
			     : weir_dataset_regression(s->w, MADE, in, out, s->o->dtype, x, y);
	}
	free(x);
	free(y);
	free(label);
	return set;
}

static weir_dataset *ones_data(setup *s, int64_t in, int64_t out, bool labels)
{
	int64_t n = s->o->batch ? s->o->batch : 1;
	size_t size = weir_dtype_size(s->o->dtype);
	void *x = malloc((size_t)(n * (in > out ? in : out)) * size);
	int64_t *label = calloc((size_t)n, sizeof *label);
	weir_dataset *set = NULL;

	if (x && label) {
		for (int64_t i = 0; i < n * (in > out ? in : out); i++) {
			if (s->o->dtype == WEIR_F32) ((float *)x)[i] = 1;
			else ((double *)x)[i] = 1;
		}
		set = labels ? weir_dataset_arrays(s->w, n, in, s->o->dtype, x, out, label)
			     : weir_dataset_regression(s->w, n, in, out, s->o->dtype, x, x);
	}
	free(x);
	free(label);
	return set;
}

static bool load_data(setup *s)
{
	const options *o = s->o;
	int64_t in = o->width[0], out = o->width[o->layers];
	bool digits = o->data == DATA_DIGITS || (o->data == DATA_DEFAULT && in == 64 && out == 10);
	bool labels = o->loss == LOSS_CE || (o->loss == LOSS_DEFAULT && (digits || o->data == DATA_FILE));

	if (digits) {
		s->all = weir_dataset_digits_as(s->w, o->dtype);
	} else if (o->data == DATA_FILE) {
		weir_csv_options csv;

		weir_csv_options_init(&csv);
		csv.dtype = o->dtype;
		csv.targets = labels || o->loss == LOSS_SUM ? 0 : out;
		csv.target_column = csv.targets ? -csv.targets : csv.target_column;
		s->all = weir_dataset_csv(s->w, o->file, &csv);
	} else {
		s->all = o->data == DATA_ONES ? ones_data(s, in, out, labels) : random_data(s, in, out, labels);
	}
	if (!s->all || !weir_ok(s->w)) return false;
	if (weir_dataset_features(s->all) != in) {
		weir_fail(s->w, WEIR_ERR_SHAPE, "weir: model \"%s\" has %lld inputs, but the data has %lld features; write mlp:%lld-...", o->model, (long long)in,
			  (long long)weir_dataset_features(s->all), (long long)weir_dataset_features(s->all));
	} else if (labels && weir_dataset_classes(s->all) > out) {
		weir_fail(s->w, WEIR_ERR_SHAPE, "weir: model \"%s\" has %lld outputs, but the data has %lld classes", o->model, (long long)out,
			  (long long)weir_dataset_classes(s->all));
	} else if (o->loss == LOSS_MSE && digits) {
		weir_fail(s->w, WEIR_ERR_ARGUMENT, "weir: --loss mse needs targets, but the digits have class labels; use --loss ce");
	} else if (o->data == DATA_ONES) { /* nothing to split: all examples are the same */
		s->train = s->validation = s->all;
	} else {
		weir_dataset_split(s->all, 0.8, &s->train, &s->validation);
	}
	return weir_ok(s->w);
}

static weir_module *linear(setup *s, int64_t in, int64_t out)
{
	static const weir_init_kind kinds[] = { WEIR_INIT_GLOROT, WEIR_INIT_HE, WEIR_INIT_ORTHOGONAL, WEIR_INIT_DIAGONAL };
	weir_linear_options l;

	weir_linear_options_init(&l);
	l.init = kinds[s->o->init];
	if (s->o->init == INIT_DIAGONAL) l.init_scale = s->o->diagonal;
	return weir_linear_with(s->w, in, out, &l);
}

static const char *const act_names[] = { "identity", "sigmoid", "tanh", "relu", "gelu", "silu" };

/* Layer i: linear, and between layers the norm, the activation and the way around. */
static weir_module *block(setup *s, int64_t i)
{
	const options *o = s->o;
	int64_t in = o->width[i], out = o->width[i + 1];
	weir_module *b = weir_sequential_new(s->w, NULL), *around;
	double scale = o->residual == RESIDUAL_SCALED ? 1 / sqrt((double)o->layers) : 1;

	weir_module_add(b, "linear", linear(s, in, out));
	if (i + 1 < o->layers) {
		if (o->norm == NORM_LAYER) weir_module_add(b, "norm", weir_layer_norm_new(s->w, out, 1e-5));
		if (o->act != WEIR_ACT_IDENTITY) weir_module_add(b, act_names[o->act], weir_act_new(s->w, o->act));
	}
	if (o->residual == RESIDUAL_NONE || in != out || i + 1 == o->layers) return b;
	around = weir_residual_new(s->w, b, scale);
	return around;
}

/* "64 inputs, 20 hidden layers of 32 (sigmoid), 10 outputs: 21 layers, 21,610 parameters; glorot; digits, batch 64; f32" */
static void describe(setup *s)
{
	static const char *const inits[] = { "glorot", "he", "orthogonal", "diagonal" };
	static const char *const datas[] = { "random data", "digits", "random data", "ones", "" };
	const options *o = s->o;
	bool digits = o->data == DATA_DIGITS || (o->data == DATA_DEFAULT && o->width[0] == 64 && o->width[o->layers] == 10);
	size_t n = sizeof s->text, at = (size_t)snprintf(s->text, n, "%lld inputs, ", (long long)o->width[0]);

	for (int64_t i = 1; i < o->layers && at < n;) {
		int64_t j = i;

		while (j < o->layers && o->width[j] == o->width[i]) j++;
		at += (size_t)snprintf(s->text + at, n - at, "%lld hidden layer%s of %lld, ", (long long)(j - i), j - i > 1 ? "s" : "", (long long)o->width[i]);
		i = j;
	}
	if (at < n)
		at += (size_t)snprintf(s->text + at, n - at, "%lld outputs (%s): %lld layers, %lld parameters; %s", (long long)o->width[o->layers], act_names[o->act],
				       (long long)o->layers, (long long)weir_module_weights(s->net), inits[o->init]);
	if (o->init == INIT_DIAGONAL && at < n) at += (size_t)snprintf(s->text + at, n - at, " %g", o->diagonal);
	if (o->norm == NORM_LAYER && at < n) at += (size_t)snprintf(s->text + at, n - at, "; layer norm");
	if (o->residual && at < n) at += (size_t)snprintf(s->text + at, n - at, "; residual%s", o->residual == RESIDUAL_SCALED ? " / sqrt L" : "");
	if (at < n)
		snprintf(s->text + at, n - at, "; %s, batch %lld; %s", o->data == DATA_FILE ? o->file : digits ? "digits" : datas[o->data], (long long)s->batch,
			 weir_dtype_name(o->dtype));
}

static void optimiser(setup *s)
{
	const options *o = s->o;

	if (o->opt == OPT_SGD) {
		weir_sgd_options g;

		weir_sgd_options_init(&g);
		g.lr = o->lr;
		g.momentum = o->momentum;
		g.weight_decay = o->weight_decay;
		g.decoupled = true;
		s->optim = weir_sgd_with(s->w, s->net, &g);
	} else {
		weir_adam_options a;

		weir_adam_options_init(&a);
		a.lr = o->lr;
		a.weight_decay = o->weight_decay;
		a.decoupled = true;
		s->optim = weir_adam_with(s->w, s->net, &a);
	}
	weir_optim_track(s->optim, true);
}

bool setup_make(setup *s, const options *o)
{
	weir_options w;

	*s = (setup){ .o = o };
	weir_options_init(&w);
	w.seed = o->seed;
	w.threads = o->threads;
	w.ieee_subnormals = o->ieee;
	s->w = weir_open(&w);
	if (!load_data(s)) return false;
	s->batch = o->batch && o->batch < weir_dataset_size(s->train) ? o->batch : weir_dataset_size(s->train);
	weir_module_dtype(s->w, o->dtype);
	s->net = weir_list_new(s->w, "mlp");
	for (int64_t i = 0; i < o->layers && weir_ok(s->w); i++) weir_list_add(s->net, block(s, i));
	optimiser(s);
	describe(s);
	return weir_ok(s->w);
}

void setup_free(setup *s)
{
	weir_close(s->w);
}

weir_tensor *setup_loss(const setup *s, weir_tensor *x, weir_tensor *y, weir_tensor **logits)
{
	weir_tensor *out = weir_forward(s->net, x), *loss;

	if (logits) *logits = out;
	if (s->o->loss == LOSS_SUM) loss = weir_sum_all(out);
	else if (weir_dtype_of(y) == WEIR_I64) loss = weir_cross_entropy(out, y);
	else loss = weir_mse(out, y);
	return s->o->l2 > 0 ? weir_add(loss, weir_l2_penalty(s->net, s->o->l2)) : loss;
}

/* Share of rows whose largest output is the label's; NaN where there are no labels. */
static double accuracy_of(weir_tensor *logits, weir_tensor *y)
{
	weir_tensor *best;
	int64_t n, right = 0;

	if (weir_dtype_of(y) != WEIR_I64) return NAN;
	best = weir_argmax(logits, -1, false);
	n = weir_numel(y);
	for (int64_t i = 0; i < n; i++) right += weir_get(best, i) == weir_get(y, i);
	return n ? (double)right / (double)n : NAN;
}

bool setup_evaluate(const setup *s, weir_dataset *set, double *loss, double *accuracy)
{
	weir_tensor *x, *y, *logits;

	weir_tape_reset(s->w);
	weir_no_grad_begin(s->w);
	if (weir_dataset_all(set, &x, &y)) {
		*loss = weir_item(setup_loss(s, x, y, &logits));
		*accuracy = accuracy_of(logits, y);
	}
	weir_no_grad_end(s->w);
	return weir_ok(s->w);
}

static double update_ratio(const weir_tensor *param, void *user)
{
	return weir_optim_update_ratio(((setup *)user)->optim, param);
}

weir_flow *setup_watch(setup *s)
{
	weir_flow_options o;

	weir_flow_options_init(&o);
	o.update_ratio = update_ratio;
	o.user = s;
	return weir_flow_watch(s->w, &o);
}

static double norm_of_gradients(const setup *s)
{
	double sum = 0;

	for (int64_t i = 0; i < weir_module_parameter_count(s->net); i++) {
		const weir_tensor *p = weir_module_parameter(s->net, i), *g = weir_grad_of(p);
		double n = g ? weir_grad_norm(p) : 0;

		sum += n == n ? n * n : 0;
	}
	return sqrt(sum);
}

bool setup_step(setup *s, weir_flow *f, bool update, double *loss, double *accuracy, double *grad_norm)
{
	weir_tensor *x, *y, *l, *logits;

	weir_tape_reset(s->w);
	if (!weir_dataset_next(s->train, s->batch, &x, &y)) return false;
	weir_set_name(x, "x");
	l = setup_loss(s, x, y, &logits);
	weir_backward(l);
	if (!weir_ok(s->w)) return false;
	*loss = weir_item(l);
	if (accuracy) *accuracy = accuracy_of(logits, y);
	if (grad_norm) *grad_norm = norm_of_gradients(s);
	if (f && !weir_flow_step(f, l)) return false;
	if (!update || !isfinite(*loss)) return weir_ok(s->w);
	if (s->o->clip > 0) weir_clip_norm(s->net, s->o->clip);
	weir_optim_step(s->optim);
	return weir_ok(s->w);
}
