/* options.c: the command line. Every option is one row of a table: name, what it takes, what it does, its default in words. */
#include "tools/tool.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/number.h"

/* Distance of two words: insertions, deletions, replacements. */
static int distance(const char *a, const char *b)
{
	int row[64];
	int n = (int)strlen(b);

	if (n > 62 || strlen(a) > 62) return 99;
	for (int j = 0; j <= n; j++) row[j] = j;
	for (int i = 0; a[i]; i++) {
		int diagonal = row[0];

		row[0] = i + 1;
		for (int j = 0; j < n; j++) {
			int above = row[j + 1], best = diagonal + (a[i] != b[j]);

			if (above + 1 < best) best = above + 1;
			if (row[j] + 1 < best) best = row[j] + 1;
			diagonal = above;
			row[j + 1] = best;
		}
	}
	return row[n];
}

void complain(const char *what, const char *word, const char *const *choices, int n)
{
	int best = -1, near = 4;

	for (int i = 0; i < n; i++) {
		int d = distance(word, choices[i]);

		if (d < near) {
			near = d;
			best = i;
		}
	}
	fprintf(stderr, "weir: %s \"%s\"", what, word);
	if (best >= 0) fprintf(stderr, "; did you mean \"%s\"?", choices[best]);
	else if (n) {
		fprintf(stderr, "; it is one of");
		for (int i = 0; i < n; i++) fprintf(stderr, "%s %s", i ? "," : "", choices[i]);
	}
	fputc('\n', stderr);
}

static const char *const acts[] = { "identity", "sigmoid", "tanh", "relu", "gelu", "silu" };
static const char *const inits[] = { "glorot", "he", "orthogonal", "diag:0.5" };
static const char *const norms[] = { "none", "layer" };
static const char *const residuals[] = { "none", "plain", "scaled" };
static const char *const losses[] = { "ce", "mse", "sum" };
static const char *const opts[] = { "sgd", "adam", "adamw" };
static const char *const dtypes[] = { "f32", "f64" };
static const char *const modes[] = { "ieee", "flush" };

#define COUNT_OF(a) ((int)(sizeof(a) / sizeof *(a)))

static int choose(const char *option, const char *word, const char *const *choices, int n)
{
	char what[64];

	for (int i = 0; i < n; i++) {
		if (!strcmp(word, choices[i])) return i;
	}
	snprintf(what, sizeof what, "unknown value for %s:", option);
	complain(what, word, choices, n);
	return -1;
}

static bool bad_number(const char *option, const char *word, const char *rule)
{
	fprintf(stderr, "weir: %s takes %s, not \"%s\"\n", option, rule, word);
	return false;
}

static bool real(const char *option, const char *word, double low, bool open, double *out, const char *rule)
{
	size_t used;

	if (weir__parse_double(word, strlen(word), 0, out, &used) == WEIR__PARSED && used == strlen(word) && (open ? *out > low : *out >= low)) return true;
	return bad_number(option, word, rule);
}

static bool whole(const char *option, const char *word, int64_t low, int64_t high, int64_t *out, const char *rule)
{
	size_t used;

	if (weir__parse_int64(word, strlen(word), out, &used) == WEIR__PARSED && used == strlen(word) && *out >= low && *out <= high) return true;
	return bad_number(option, word, rule);
}

/* ---- the model's short form: mlp:64-32x20-10 ---- */

static bool bad_model(const char *text, size_t at, const char *rule)
{
	fprintf(stderr, "weir: model \"%s\", character %zu: %s; a model is written mlp:64-32x20-10: 64 inputs, 20 hidden layers of 32, 10 outputs\n", text,
		at + 1, rule);
	return false;
}

static bool parse_model(options *o)
{
	static const char *const kinds[] = { "mlp:64-32x20-10" };
	const char *text = o->model;
	size_t at = 4, n = strlen(text);
	int64_t count = 0, capacity = 0;

	if (strncmp(text, "mlp:", 4)) {
		complain("unknown model", text, kinds, 1);
		return false;
	}
	while (true) {
		int64_t width, times = 1;
		size_t used;

		if (weir__parse_int64(text + at, n - at, &width, &used) != WEIR__PARSED || text[at] == '+' || width < 1 || width > 1000000)
			return bad_model(text, at, "a width from 1 to 1000000 should stand here");
		at += used;
		if (text[at] == 'x') {
			at++;
			if (weir__parse_int64(text + at, n - at, &times, &used) != WEIR__PARSED || times < 1 || times > MAX_LAYERS)
				return bad_model(text, at, "how many such layers, 1 to 20000, should stand here");
			at += used;
		}
		if (count + times > MAX_LAYERS + 1) return bad_model(text, at, "more than 20000 layers");
		if (count + times > capacity) {
			int64_t more = 2 * (count + times);
			int64_t *bigger = realloc(o->width, (size_t)more * sizeof *bigger);

			if (!bigger) return bad_model(text, at, "out of memory");
			o->width = bigger;
			capacity = more;
		}
		while (times-- > 0) o->width[count++] = width;
		if (!text[at]) break;
		if (text[at] != '-') return bad_model(text, at, "- should stand here");
		at++;
	}
	if (count < 2) return bad_model(text, at, "inputs and outputs, at least, should be there");
	o->layers = count - 1;
	return true;
}

/* ---- the options ---- */

static bool set_act(options *o, const char *v) { int i = choose("--act", v, acts, COUNT_OF(acts)); o->act = (weir_act)i; return i >= 0; }
static bool set_norm(options *o, const char *v) { int i = choose("--norm", v, norms, COUNT_OF(norms)); o->norm = (tool_norm)i; return i >= 0; }
static bool set_residual(options *o, const char *v) { int i = choose("--residual", v, residuals, COUNT_OF(residuals)); o->residual = (tool_residual)i; return i >= 0; }
static bool set_loss(options *o, const char *v) { int i = choose("--loss", v, losses, COUNT_OF(losses)); o->loss = (tool_loss)(i + 1); return i >= 0; }
static bool set_opt(options *o, const char *v) { int i = choose("--opt", v, opts, COUNT_OF(opts)); o->opt = (tool_opt)i; return i >= 0; }
static bool set_dtype(options *o, const char *v) { int i = choose("--dtype", v, dtypes, COUNT_OF(dtypes)); o->dtype = (weir_dtype)i; return i >= 0; }
static bool set_subnormals(options *o, const char *v) { int i = choose("--subnormals", v, modes, COUNT_OF(modes)); o->ieee = i == 0; return i >= 0; }
static bool set_model(options *o, const char *v) { o->model = v; return true; }
static bool set_out(options *o, const char *v) { o->out = v; return true; }
static bool set_l2(options *o, const char *v) { return real("--l2", v, 0, false, &o->l2, "a number of 0 or more"); }
static bool set_decay(options *o, const char *v) { return real("--weight-decay", v, 0, false, &o->weight_decay, "a number of 0 or more"); }
static bool set_clip(options *o, const char *v) { return real("--clip", v, 0, true, &o->clip, "a number above 0"); }
static bool set_lr(options *o, const char *v) { return real("--lr", v, 0, false, &o->lr, "a number of 0 or more"); }
static bool set_momentum(options *o, const char *v) { return real("--momentum", v, 0, false, &o->momentum, "a number of 0 or more"); }
static bool set_steps(options *o, const char *v) { return whole("--steps", v, 0, INT64_MAX / 2, &o->steps, "a whole number of 0 or more"); }

static bool set_init(options *o, const char *v)
{
	int i;

	if (!strncmp(v, "diag:", 5)) {
		o->init = INIT_DIAGONAL;
		return real("--init diag:", v + 5, -INFINITY, false, &o->diagonal, "a number");
	}
	i = choose("--init", v, inits, COUNT_OF(inits));
	o->init = (tool_init)i;
	return i >= 0;
}

static bool set_batch(options *o, const char *v)
{
	if (!strcmp(v, "all")) o->batch = 0;
	else return whole("--batch", v, 1, INT32_MAX, &o->batch, "a whole number of 1 or more, or \"all\"");
	return true;
}

static bool set_seed(options *o, const char *v)
{
	int64_t s;

	if (!whole("--seed", v, 0, INT64_MAX, &s, "a whole number of 0 or more")) return false;
	o->seed = (uint64_t)s;
	return true;
}

static bool set_threads(options *o, const char *v)
{
	int64_t n;

	if (!whole("--threads", v, 1, 256, &n, "a whole number from 1 to 256")) return false;
	o->threads = (int)n;
	return true;
}

static bool set_data(options *o, const char *v)
{
	static const char *const names[] = { "digits", "random", "ones", "FILE.csv" };
	size_t n = strlen(v);

	for (int i = 0; i < 3; i++) {
		if (strcmp(v, names[i])) continue;
		o->data = (tool_data)(DATA_DIGITS + i);
		return true;
	}
	if (n > 4 && !strcmp(v + n - 4, ".csv")) {
		if (access(v, R_OK)) {
			fprintf(stderr, "weir: --data: %s: %s\n", v, strerror(errno));
			return false;
		}
		o->data = DATA_FILE;
		o->file = v;
		return true;
	}
	complain("unknown value for --data:", v, names, 4);
	return false;
}

static const struct {
	const char *name, *takes;
	bool (*set)(options *o, const char *value);
	const char *help;
} table[] = {
	{ "--model", "TEXT", set_model, "mlp:IN-WIDTHxTIMES-...-OUT; default mlp:64-32x20-10" },
	{ "--act", "A", set_act, "sigmoid tanh relu gelu silu identity, between the layers; default sigmoid" },
	{ "--init", "I", set_init, "glorot he orthogonal diag:C (C where row = column); default glorot" },
	{ "--norm", "N", set_norm, "none layer (before the activation); default none" },
	{ "--residual", "R", set_residual, "none plain scaled (x + branch / sqrt L), where a layer's widths are equal; default none" },
	{ "--loss", "L", set_loss, "ce mse sum (of the outputs); default ce for classes, else mse" },
	{ "--l2", "LAMBDA", set_l2, "adds LAMBDA/2 times the sum of squared weights to the loss; default 0" },
	{ "--weight-decay", "LAMBDA", set_decay, "W <- (1 - lr LAMBDA) W - lr g, decoupled from the gradient; default 0" },
	{ "--clip", "C", set_clip, "scales the gradient down to norm C; default off" },
	{ "--opt", "O", set_opt, "sgd (with momentum) adam adamw (default weight decay 0.01); default sgd" },
	{ "--lr", "X", set_lr, "learning rate; default 0.1 for sgd, 0.001 for adam and adamw" },
	{ "--momentum", "X", set_momentum, "of sgd; default 0.9" },
	{ "--batch", "N", set_batch, "examples per step, or all; default 64" },
	{ "--steps", "N", set_steps, "training steps; default 0 for flow and graph (measured as initialised), 1000 for train" },
	{ "--seed", "N", set_seed, "everything random hangs on it; default 0" },
	{ "--dtype", "T", set_dtype, "f32 f64; default f32" },
	{ "--threads", "N", set_threads, "default: OMP_NUM_THREADS, or all processors" },
	{ "--subnormals", "M", set_subnormals, "ieee (gradual underflow) flush (to zero, faster); default ieee for flow and graph, else flush" },
	{ "--data", "D", set_data, "digits random ones FILE.csv (last column: label); default digits for 64 inputs and 10 outputs, else random" },
	{ "-o", "FILE", set_out, "graph: where the DOT goes; default standard output" },
};

void options_help(FILE *file, const char *command)
{
	(void)command;
	fputs("weir: measures how gradients flow through a network\n\n"
	      "  weir flow     the table of layers, the verdict and its cause; plain `weir flow` is a deep sigmoid network that does not learn\n"
	      "  weir train    trains, with the instrument on\n"
	      "  weir graph    the computation graph in DOT, coloured by the gradient: weir graph | dot -Tsvg > net.svg\n"
	      "  weir info     processor, kernels, threads, floating-point mode, versions\n"
	      "  weir demo     what `make demo` shows\n\n"
	      "options of flow, train and graph:\n", file);
	for (int i = 0; i < COUNT_OF(table); i++) fprintf(file, "  %-15s %-7s %s\n", table[i].name, table[i].takes, table[i].help);
	fputs("  --json                  flow: one object (schema weir.flow/1) instead of the table\n"
	      "  -h, --help              this text; --version: the version\n\n"
	      "exit: 0 done, 1 failed, 2 wrong call, 130 interrupted\n", file);
}

static bool parse_one(options *o, int argc, char **argv, int *i)
{
	const char *names[COUNT_OF(table) + 1], *word = argv[*i], *value = strchr(word, '=');
	size_t n = value && word[0] == '-' && word[1] == '-' ? (size_t)(value - word) : strlen(word);

	if (!strcmp(word, "--json")) {
		o->json = true;
		return true;
	}
	for (int k = 0; k < COUNT_OF(table); k++) {
		names[k] = table[k].name;
		if (strlen(table[k].name) != n || strncmp(word, table[k].name, n)) continue;
		if (word[n] == '=') return table[k].set(o, word + n + 1);
		if (*i + 1 >= argc) {
			fprintf(stderr, "weir: %s needs a value: %s\n", word, table[k].help);
			return false;
		}
		return table[k].set(o, argv[++*i]);
	}
	names[COUNT_OF(table)] = "--json";
	complain(word[0] == '-' ? "unknown option" : "unexpected word", word, names, word[0] == '-' ? COUNT_OF(table) + 1 : 0);
	return false;
}

bool options_parse(options *o, int argc, char **argv)
{
	bool training = !strcmp(argv[1], "train") || !strcmp(argv[1], "demo");

	*o = (options){ .command = argv[1], .model = "mlp:64-32x20-10", .act = WEIR_ACT_SIGMOID, .momentum = 0.9, .batch = 64,
			.steps = training ? 1000 : 0, .lr = -1, .weight_decay = -1, .ieee = !training };
	for (int i = 2; i < argc; i++) {
		if (!parse_one(o, argc, argv, &i)) return false;
	}
	if (o->lr < 0) o->lr = o->opt == OPT_SGD ? 0.1 : 0.001;
	if (o->weight_decay < 0) o->weight_decay = o->opt == OPT_ADAMW ? 0.01 : 0;
	return parse_model(o);
}

void options_free(options *o)
{
	free(o->width);
}
