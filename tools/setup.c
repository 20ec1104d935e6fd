/* setup.c: from options to context, data, network and optimiser; one training step; evaluation. */
#include "tools/tool.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/reduce.h"

/* ---- the network ---- */

static weir_module *linear(const setup *s, int64_t in, int64_t out)
{
	static const weir_init_kind kinds[] = { WEIR_INIT_GLOROT, WEIR_INIT_HE, WEIR_INIT_ORTHOGONAL,
						WEIR_INIT_DIAGONAL };
	weir_linear_options l;

	weir_linear_options_init(&l);
	l.init = kinds[s->o->init];
	if (s->o->init == INIT_DIAGONAL) l.init_scale = s->o->diagonal;
	return weir_linear_with(s->w, in, out, &l);
}

static const char *const act_names[] = { "identity", "sigmoid", "tanh", "relu", "gelu", "silu" };

/* Layer i: linear, and between layers the norm, the activation and the way around. */
static weir_module *block(const setup *s, int64_t i)
{
	const options *o = s->o;
	int64_t in = o->width[i], out = o->width[i + 1];
	weir_module *b = weir_sequential_new(s->w, NULL);

	weir_module_add(b, "linear", linear(s, in, out));
	if (i + 1 < o->layers) {
		if (o->norm == NORM_LAYER) weir_module_add(b, "norm", weir_layer_norm_new(s->w, out, 1e-5));
		if (o->act != WEIR_ACT_IDENTITY) weir_module_add(b, act_names[o->act], weir_act_new(s->w, o->act));
	}
	if (o->residual == RESIDUAL_NONE || in != out || i + 1 == o->layers) return b;
	return weir_residual_new(s->w, b, o->residual == RESIDUAL_SCALED ? 1 / sqrt((double)o->layers) : 1);
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

/* ---- the model in words ---- */

/* 22,474 */
static const char *thousands(int64_t n, char *text, size_t size)
{
	char digits[32];
	size_t length = (size_t)snprintf(digits, sizeof digits, "%lld", (long long)n), at = 0;

	for (size_t i = 0; i < length && at + 2 < size; i++) {
		if (i && (length - i) % 3 == 0) text[at++] = ',';
		text[at++] = digits[i];
	}
	text[at] = 0;
	return text;
}

static void say(setup *s, const char *fmt, ...) WEIR_PRINTF(2, 3);
static void say(setup *s, const char *fmt, ...)
{
	size_t n = strlen(s->text);
	va_list args;

	va_start(args, fmt);
	vsnprintf(s->text + n, sizeof s->text - n, fmt, args);
	va_end(args);
}

static void say_hidden(setup *s)
{
	enum { RUNS = 6 }; /* of equal widths that are spelled out */
	const options *o = s->o;
	int64_t runs = 0, low = INT64_MAX, high = 0;

	for (int64_t i = 1; i < o->layers; i++) {
		runs += i == 1 || o->width[i] != o->width[i - 1];
		low = o->width[i] < low ? o->width[i] : low;
		high = o->width[i] > high ? o->width[i] : high;
	}
	if (runs > RUNS)
		say(s, "%lld hidden layers of %lld to %lld, ", (long long)o->layers - 1, (long long)low,
		    (long long)high);
	for (int64_t i = 1, j; i < o->layers && runs <= RUNS; i = j) {
		for (j = i; j < o->layers && o->width[j] == o->width[i]; j++) {}
		say(s, "%lld hidden layer%s of %lld, ", (long long)(j - i), j - i > 1 ? "s" : "",
		    (long long)o->width[i]);
	}
}

/* "64 inputs, 20 hidden layers of 32, 10 outputs (sigmoid): 21 layers, 22,474 parameters; glorot; digits, batch 64; f32" */
static void describe(setup *s)
{
	static const char *const inits[] = { "glorot", "he", "orthogonal", "diagonal" };
	static const char *const datas[] = { "random data", "digits", "random data", "ones" };
	const options *o = s->o;
	char number[48];

	say(s, "%lld input%s, ", (long long)o->width[0], o->width[0] > 1 ? "s" : "");
	say_hidden(s);
	say(s, "%lld output%s", (long long)o->width[o->layers], o->width[o->layers] > 1 ? "s" : "");
	if (o->layers > 1) say(s, " (%s)", act_names[o->act]);
	say(s, ": %lld layer%s, %s parameters; %s", (long long)o->layers, o->layers > 1 ? "s" : "",
	    thousands(weir_module_weights(s->net), number, sizeof number), inits[o->init]);
	if (o->init == INIT_DIAGONAL) say(s, " %g", o->diagonal);
	if (o->norm == NORM_LAYER) say(s, "; layer norm");
	if (o->residual) say(s, "; residual%s", o->residual == RESIDUAL_SCALED ? " / sqrt L" : "");
	say(s, "; %s, batch %lld; %s",
	    o->data == DATA_FILE ? o->file
	    : data_is_digits(o)  ? "digits"
				 : datas[o->data],
	    (long long)s->batch, weir_dtype_name(o->dtype));
}

/* ---- made and freed ---- */

/* One line on standard error; but an update that would not be finite is what `weir train` reports in its own words. */
static void tell(weir_ctx *w, weir_status status, const char *message, void *user)
{
	const setup *s = user;

	(void)w;
	if (s->updating && status == WEIR_ERR_NONFINITE) return;
	fprintf(stderr, "%s%s\n", strncmp(message, "weir", 4) ? "weir: " : "", message);
}

/* Threads cost more than they give where every product is small. The result is the same bits either way. */
static int threads_for(const options *o)
{
	enum { SMALL = 1000000 }; /* multiply-adds of a layer and batch */
	double largest = 0;

	if (o->threads || getenv("OMP_NUM_THREADS")) return o->threads;
	for (int64_t i = 0; i < o->layers; i++) {
		double n = (double)o->width[i] * (double)o->width[i + 1] * (double)(o->batch ? o->batch : 1000);

		if (n > largest) largest = n;
	}
	return largest < SMALL ? 1 : 0;
}

bool setup_make(setup *s, const options *o)
{
	weir_options w;
	bool made = o->data != DATA_FILE && !data_is_digits(o), ok;

	*s = (setup){ .o = o };
	weir_options_init(&w);
	w.seed = o->seed;
	w.threads = threads_for(o);
	w.ieee_subnormals = o->ieee;
	w.handler = tell;
	w.handler_user = s;
	s->w = weir_open(&w);
	if (weir_error(s->w) == WEIR_ERR_MEMORY) fputs("weir: out of memory\n", stderr);
	ok = made || data_load(s);
	weir_module_dtype(s->w, o->dtype);
	s->net = weir_list_new(s->w, "mlp");
	for (int64_t i = 0; i < o->layers && weir_ok(s->w); i++) weir_list_add(s->net, block(s, i));
	optimiser(s);
	if (!ok || (made && !data_load(s)))
		return false; /* a network that does not fit in memory fails before its data is made */
	s->batch = o->batch && o->batch < weir_dataset_size(s->train) ? o->batch : weir_dataset_size(s->train);
	describe(s);
	return weir_ok(s->w);
}

int setup_status(const setup *s, bool made)
{
	weir_status e = weir_error(s->w);

	if (made) return EXIT_FAILED;
	return e == WEIR_ERR_MEMORY || e == WEIR_ERR_INTERNAL ? EXIT_FAILED : EXIT_USAGE;
}

void setup_free(setup *s)
{
	weir_close(s->w);
}

/* ---- running ---- */

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
static double accuracy_of(weir_tensor *logits, const weir_tensor *y)
{
	weir_tensor *best;
	int64_t n, right = 0;

	if (weir_dtype_of(y) != WEIR_I64) return NAN;
	weir_no_grad_begin(weir_context(logits));
	best = weir_argmax(logits, -1, false);
	weir_no_grad_end(weir_context(logits));
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
	weir_flow *f;

	weir_flow_options_init(&o);
	o.update_ratio = update_ratio;
	o.user = s;
	o.epoch = (weir_dataset_size(s->train) + s->batch - 1) / s->batch;
	if (s->o->loss != LOSS_SUM) o.classes = weir_dataset_classes(s->all);
	f = weir_flow_watch(s->w, &o);
	for (int i = 0; f && i < s->o->records; i++) {
		const char *path = s->o->record[i];

		if (!weir_flow_record(f, (weir_flow_recorder)recorder_kind(path), path)) return NULL;
	}
	return f;
}

void setup_request(const setup *s, weir_flow *f)
{
	enum {
		ITERATIONS = 30,
		FEW_LAYERS = 200
	}; /* of stretching factors: they cost as many passes through each layer */
	int few = s->o->layers <= FEW_LAYERS ? ITERATIONS : 0;

	if (s->o->command == COMMAND_FLOW) weir_flow_set_stretch(f, s->o->stretch >= 0 ? s->o->stretch : few);
	weir_flow_request(f);
}

int setup_judge(const setup *s, const weir_flow *f)
{
	if (s->o->fail_on >> weir_flow_verdict(f) & 1) return EXIT_VERDICT;
	return s->unrecorded ? EXIT_FAILED : 0;
}

static double norm_of_gradients(const setup *s)
{
	double sum = 0;

	for (int64_t i = 0; i < weir_module_parameter_count(s->net); i++) {
		const weir_tensor *g = weir_grad_of(weir_module_parameter(s->net, i));
		double n = g ? weir__norm2(weir_dtype_of(g), weir_data(g), weir_numel(g), 1) : 0;

		sum = hypot(sum, n); /* right at every exponent */
	}
	return sum;
}

/* The learning rate falls linearly, so that the last steps settle instead of jumping about. The optimiser refuses an update that is not
 * finite, and changes nothing. */
static bool update(setup *s, step *r)
{
	s->updating = true;
	if (s->o->clip > 0) weir_clip_norm(s->net, s->o->clip);
	weir_optim_set_lr(s->optim, s->o->lr * (1 - (double)s->done++ / (double)s->o->steps));
	weir_optim_step(s->optim);
	s->updating = false;
	if (weir_error(s->w) == WEIR_ERR_NONFINITE) {
		weir_clear_error(s->w);
		r->broken = true;
	}
	return weir_ok(s->w);
}

/* A recorder that can't write any more is no reason to give up what was trained so far. */
static bool go_on(setup *s)
{
	if (weir_error(s->w) != WEIR_ERR_IO || !s->o->records) return false;
	weir_clear_error(s->w);
	return s->unrecorded = true;
}

bool setup_step(setup *s, weir_flow *f, bool with_update, step *r)
{
	weir_tensor *x, *y, *loss, *logits;

	*r = (step){ .loss = NAN, .accuracy = NAN, .grad_norm = NAN };
	weir_tape_reset(s->w);
	weir_optim_zero_grad(s->optim); /* of a step that was only measured */
	if (!weir_dataset_next(s->train, s->batch, &x, &y)) return false;
	weir_set_name(x, "x");
	loss = setup_loss(s, x, y, &logits);
	weir_backward(loss);
	if (!weir_ok(s->w)) return false;
	r->x = x;
	r->y = y;
	r->loss_node = loss;
	r->loss = weir_item(loss);
	r->accuracy = accuracy_of(logits, y);
	r->grad_norm = norm_of_gradients(s);
	r->broken = !isfinite(r->loss) || !isfinite(r->grad_norm);
	if (f && !weir_flow_step(f, loss) && !go_on(s)) return false;
	return with_update && !r->broken ? update(s, r) : weir_ok(s->w);
}
