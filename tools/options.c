/* options.c: the command line. Every option is one row of a table: name, what it takes, what it does, its default in words; before the table
 * stands one short function for each. It is long for the number of options alone. */
#include "tools/tool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/number.h"

#define COUNT_OF(a) ((int)(sizeof(a) / sizeof *(a)))

/* ---- values ---- */

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

	if (weir__parse_double(word, strlen(word), 0, out, &used) == WEIR__PARSED && used == strlen(word) &&
	    (open ? *out > low : *out >= low))
		return true;
	return bad_number(option, word, rule);
}

static bool whole(const char *option, const char *word, int64_t low, int64_t high, int64_t *out, const char *rule)
{
	size_t used;

	if (weir__parse_int64(word, strlen(word), out, &used) == WEIR__PARSED && used == strlen(word) && *out >= low &&
	    *out <= high)
		return true;
	return bad_number(option, word, rule);
}

static bool set_act(options *o, const char *v)
{
	static const char *const names[] = { "identity", "sigmoid", "tanh", "relu", "gelu", "silu" };
	int i = choose("--act", v, names, COUNT_OF(names));

	o->act = (weir_act)i;
	return i >= 0;
}

static bool set_init(options *o, const char *v)
{
	static const char *const names[] = { "glorot", "he", "orthogonal", "diag:0.5" };
	int i;

	if (!strncmp(v, "diag:", 5)) {
		o->init = INIT_DIAGONAL;
		return real("--init diag:", v + 5, -INFINITY, false, &o->diagonal, "a number");
	}
	i = choose("--init", v, names, COUNT_OF(names));
	o->init = (tool_init)i;
	return i >= 0;
}

static bool set_norm(options *o, const char *v)
{
	static const char *const names[] = { "none", "layer" };
	int i = choose("--norm", v, names, COUNT_OF(names));

	o->norm = (tool_norm)i;
	return i >= 0;
}

static bool set_residual(options *o, const char *v)
{
	static const char *const names[] = { "none", "plain", "scaled" };
	int i = choose("--residual", v, names, COUNT_OF(names));

	o->residual = (tool_residual)i;
	return i >= 0;
}

static bool set_loss(options *o, const char *v)
{
	static const char *const names[] = { "ce", "mse", "sum" };
	int i = choose("--loss", v, names, COUNT_OF(names));

	o->loss = (tool_loss)(i + LOSS_CE);
	return i >= 0;
}

static bool set_opt(options *o, const char *v)
{
	static const char *const names[] = { "sgd", "adam", "adamw" };
	int i = choose("--opt", v, names, COUNT_OF(names));

	o->opt = (tool_opt)i;
	return i >= 0;
}

static bool set_dtype(options *o, const char *v)
{
	static const char *const names[] = { "f32", "f64" };
	int i = choose("--dtype", v, names, COUNT_OF(names));

	o->dtype = (weir_dtype)i;
	return i >= 0;
}

static bool set_subnormals(options *o, const char *v)
{
	static const char *const names[] = { "ieee", "flush" };
	int i = choose("--subnormals", v, names, COUNT_OF(names));

	o->ieee = i == 0;
	return i >= 0;
}

static bool set_data(options *o, const char *v)
{
	static const char *const names[] = { "digits", "random", "ones", "FILE.csv" };
	size_t n = strlen(v);
	int i;

	if (n > 4 && !strcmp(v + n - 4, ".csv")) {
		o->data = DATA_FILE;
		o->file = v;
		return readable("--data", v);
	}
	if (strpbrk(v, "./") && strcmp(v, names[3])) { /* a file, but of which kind? */
		fprintf(stderr, "weir: --data: \"%s\": a data file is a table of numbers whose name ends in .csv\n", v);
		return false;
	}
	i = strcmp(v, names[3]) ? choose("--data", v, names, COUNT_OF(names)) : -1;
	o->data = (tool_data)(i + DATA_DIGITS);
	return i >= 0;
}

static bool set_model(options *o, const char *v)
{
	o->model = v;
	return true;
}

static bool set_out(options *o, const char *v)
{
	o->out = strcmp(v, "-") ? v : NULL;
	return !o->out || writable("-o", v);
}

static bool set_batch(options *o, const char *v)
{
	o->batch = 0;
	return !strcmp(v, "all") ||
	       whole("--batch", v, 1, INT32_MAX, &o->batch, "a whole number of 1 or more, or \"all\"");
}

static bool set_seed(options *o, const char *v)
{
	int64_t s = 0;
	bool ok = whole("--seed", v, 0, INT64_MAX, &s, "a whole number of 0 or more");

	o->seed = (uint64_t)s;
	return ok;
}

static bool set_threads(options *o, const char *v)
{
	int64_t n = 0;
	bool ok = whole("--threads", v, 1, 256, &n, "a whole number from 1 to 256");

	o->threads = (int)n;
	return ok;
}

static bool set_l2(options *o, const char *v)
{
	return real("--l2", v, 0, false, &o->l2, "a number of 0 or more");
}

static bool set_decay(options *o, const char *v)
{
	return real("--weight-decay", v, 0, false, &o->weight_decay, "a number of 0 or more");
}

static bool set_clip(options *o, const char *v)
{
	return real("--clip", v, 0, true, &o->clip, "a number above 0");
}

static bool set_lr(options *o, const char *v)
{
	return real("--lr", v, 0, false, &o->lr, "a number of 0 or more");
}

static bool set_momentum(options *o, const char *v)
{
	return real("--momentum", v, 0, false, &o->momentum, "a number from 0 to 1") &&
	       (o->momentum <= 1 || bad_number("--momentum", v, "a number from 0 to 1"));
}

static bool set_steps(options *o, const char *v)
{
	return whole("--steps", v, 0, INT64_MAX / 2, &o->steps, "a whole number of 0 or more");
}

static bool set_json(options *o, const char *v)
{
	(void)v;
	return o->json = true;
}

static bool set_record(options *o, const char *v)
{
	int kind = recorder_kind(v);

	if (kind < 0) {
		fprintf(stderr,
			"weir: --record: \"%s\": FILE.jsonl for JSON lines, FILE.ring for a ring, FOLDER/ for TensorBoard\n",
			v);
		return false;
	}
	if (o->records == MAX_RECORDS) {
		fprintf(stderr, "weir: --record: \"%s\": no more than %d of them\n", v, MAX_RECORDS);
		return false;
	}
	o->record[o->records++] = v;
	return kind == WEIR_FLOW_TENSORBOARD || writable("--record", v);
}

static bool set_read(options *o, const char *v)
{
	o->read = v;
	return readable("--read", v);
}

static bool set_html(options *o, const char *v)
{
	o->html = v;
	return writable("--html", v);
}

static bool set_profile(options *o, const char *v)
{
	o->profile = v;
	return writable("--profile", v);
}

static bool set_stretch(options *o, const char *v)
{
	int64_t n = 0;
	bool ok = whole("--stretch", v, 0, 10000, &n, "a whole number from 0 to 10000");

	o->stretch = (int)n;
	return ok;
}

/* Words with commas between them. */
static bool set_fail_on(options *o, const char *v)
{
	static const char *const names[] = { "vanishing", "exploding", "dead", "saturated", "nonfinite" };

	for (const char *end; *v; v = *end ? end + 1 : end) {
		char word[64];
		int i;

		end = v + strcspn(v, ",");
		snprintf(word, sizeof word, "%.*s", (int)(end - v), v);
		i = strcmp(word, "non-finite") ? choose("--fail-on", word, names, COUNT_OF(names)) : 4;
		if (i < 0) return false;
		o->fail_on |= 1u << (WEIR_FLOW_VANISHING + i);
	}
	return o->fail_on || choose("--fail-on", "", names, COUNT_OF(names)) >= 0;
}

static bool set_noise(options *o, const char *v)
{
	(void)v;
	return o->noise = true;
}

static bool set_curvature(options *o, const char *v)
{
	(void)v;
	return o->curvature = true;
}

static bool set_whatif(options *o, const char *v)
{
	(void)v;
	return o->whatif = true;
}

static bool set_whatif_steps(options *o, const char *v)
{
	o->whatif = true;
	return whole("--whatif-steps", v, 1, 1000000, &o->whatif_steps, "a whole number from 1 to 1000000");
}

static bool set_expand(options *o, const char *v)
{
	(void)v;
	return o->expand = true;
}

/* ---- the table ---- */

enum { NETWORK = COMMAND_FLOW | COMMAND_TRAIN | COMMAND_GRAPH };

static const struct {
	const char *name, *takes; /* takes: NULL for an option without a value */
	int commands;
	bool (*set)(options *o, const char *value);
	const char *help;
} table[] = {
	{ "--model", "TEXT", NETWORK, set_model, "mlp:IN-WIDTHxTIMES-...-OUT; default mlp:64-32x20-10" },
	{ "--act", "A", NETWORK, set_act, "sigmoid tanh relu gelu silu identity, between the layers; default sigmoid" },
	{ "--init", "I", NETWORK, set_init, "glorot he orthogonal diag:C (C where row = column); default glorot" },
	{ "--norm", "N", NETWORK, set_norm, "none layer (before the activation); default none" },
	{ "--residual", "R", NETWORK, set_residual,
	  "none plain scaled (x + branch / sqrt L), where a layer's widths are equal; default none" },
	{ "--loss", "L", NETWORK, set_loss,
	  "ce mse sum (of the outputs); default ce for digits and CSV files, else mse" },
	{ "--data", "D", NETWORK, set_data,
	  "digits random ones FILE.csv (last columns: label or targets); default digits for mlp:64-...-10, else random" },
	{ "--batch", "N", NETWORK, set_batch, "examples per step, or all; default 64" },
	{ "--steps", "N", NETWORK | COMMAND_DEMO, set_steps,
	  "training steps; default 0 for flow and graph (measured as initialised), 3000 for train and demo" },
	{ "--opt", "O", NETWORK, set_opt, "sgd (with momentum) adam adamw; default sgd" },
	{ "--lr", "X", NETWORK, set_lr,
	  "learning rate, which falls to 0 over the steps; default 0.01 for sgd, 0.001 for adam and adamw" },
	{ "--momentum", "X", NETWORK, set_momentum, "of sgd; default 0.9" },
	{ "--l2", "X", NETWORK, set_l2, "adds X/2 times the sum of squared weights to the loss; default 0" },
	{ "--weight-decay", "X", NETWORK, set_decay,
	  "W <- (1 - lr X) W - lr g, decoupled from the gradient; default 0, for adamw 0.01" },
	{ "--clip", "X", NETWORK, set_clip, "scales the gradient down to norm X; default off" },
	{ "--seed", "N", NETWORK | COMMAND_DEMO, set_seed, "everything random hangs on it; default 0" },
	{ "--dtype", "T", NETWORK, set_dtype, "f32 f64; default f32" },
	{ "--subnormals", "M", NETWORK, set_subnormals,
	  "ieee (gradual underflow) flush (to zero, faster); default ieee for flow and graph, else flush" },
	{ "--threads", "N", NETWORK | COMMAND_INFO | COMMAND_DEMO, set_threads,
	  "default OMP_NUM_THREADS, else 1 for a small network and all processors for a large one" },
	{ "--json", NULL, COMMAND_FLOW, set_json, "flow: one object (schema weir.flow/1) instead of the table" },
	{ "--record", "FILE", COMMAND_FLOW | COMMAND_TRAIN, set_record,
	  "flow, train: writes every step, by the name: FILE.jsonl JSON lines, FILE.ring the last 1000 steps, FOLDER/ TensorBoard; repeatable" },
	{ "--read", "FILE", COMMAND_FLOW, set_read,
	  "flow: prints what a ring file holds, and runs nothing; with --json as JSON lines" },
	{ "--html", "FILE", COMMAND_FLOW, set_html, "flow: writes the report as a page, too" },
	{ "--profile", "FILE", COMMAND_TRAIN, set_profile,
	  "train: where the steps' time goes: a table, and FILE for chrome://tracing or Perfetto" },
	{ "--stretch", "N", COMMAND_FLOW, set_stretch,
	  "flow: power iterations for each layer's stretching factor, 0 for none; default 30 for up to 200 layers, else 0" },
	{ "--fail-on", "LIST", COMMAND_FLOW | COMMAND_TRAIN, set_fail_on,
	  "flow, train: exit 3 where the last verdict is one of vanishing,exploding,dead,saturated,nonfinite" },
	{ "--noise", NULL, COMMAND_FLOW, set_noise,
	  "also each sample's gradient, and the gradient noise scale: the batch size where noise and signal balance" },
	{ "--curvature", NULL, COMMAND_FLOW, set_curvature, "also the Hessian's largest eigenvalue and trace" },
	{ "--whatif", NULL, COMMAND_FLOW, set_whatif,
	  "flow: tries repairs on copies (initialisations, activations, layer norm, residuals): what each would do" },
	{ "--whatif-steps", "N", COMMAND_FLOW, set_whatif_steps,
	  "flow: the same, then N steps of gradient descent each, at --lr; also clipping to --clip (1), L2 of --l2 (0.001), lr / 10" },
	{ "--expand", NULL, COMMAND_GRAPH, set_expand,
	  "graph: draws all blocks; else a long run of like ones is one box" },
	{ "-o", "FILE", COMMAND_GRAPH, set_out, "graph: where the DOT goes; default standard output" },
};

void options_help(FILE *file)
{
	fputs("weir: measures how gradients flow through a network\n\n"
	      "  weir flow     the table of layers, the verdict and its cause; plain `weir flow` is a deep sigmoid network that does not learn\n"
	      "  weir train    trains, with the instrument on\n"
	      "  weir graph    the computation graph in DOT, coloured by the gradient: weir graph | dot -Tsvg > net.svg\n"
	      "  weir info     processor, kernels, threads, floating-point mode, versions\n"
	      "  weir demo     what `make demo` shows\n\n"
	      "options of flow, train and graph:\n",
	      file);
	for (int i = 0; i < COUNT_OF(table); i++)
		fprintf(file, "  %-15s %-7s %s\n", table[i].name, table[i].takes ? table[i].takes : "", table[i].help);
	fputs("  -h, --help              this text; --version: the version\n\n"
	      "exit: 0 done, 1 failed, 2 wrong call, 3 a verdict of --fail-on, 130 interrupted\n",
	      file);
}

/* ---- parsing ---- */

static bool not_here(const char *name, int commands)
{
	static const char *const names[] = { "flow", "train", "graph", "info", "demo" };
	const char *comma = "";

	fprintf(stderr, "weir: %s is an option of ", name);
	for (int i = 0; i < COUNT_OF(names); i++) {
		if (!(commands & 1 << i)) continue;
		fprintf(stderr, "%s%s", comma, names[i]);
		comma = ", ";
	}
	fputs(" only\n", stderr);
	return false;
}

static bool unknown(const options *o, const char *word)
{
	const char *names[COUNT_OF(table) + 1];
	int n = 0;

	for (int k = 0; k < COUNT_OF(table); k++) {
		if (table[k].commands & (int)o->command) names[n++] = table[k].name;
	}
	names[n++] = "--help";
	if (word[0] == '-') complain("unknown option", word, names, n);
	else
		fprintf(stderr, "weir: unexpected word \"%s\"; options begin with --, as in --model mlp:64-32x20-10\n",
			word);
	return false;
}

static bool parse_one(options *o, int argc, char **argv, int *i)
{
	const char *word = argv[*i], *value = strchr(word, '=');
	size_t n = value && word[0] == '-' && word[1] == '-' ? (size_t)(value - word) : strlen(word);

	for (int k = 0; k < COUNT_OF(table); k++) {
		if (strlen(table[k].name) != n || strncmp(word, table[k].name, n)) continue;
		if (!(table[k].commands & (int)o->command)) return not_here(table[k].name, table[k].commands);
		if (!table[k].takes && !word[n]) return table[k].set(o, NULL);
		if (!table[k].takes) break;
		if (word[n] == '=') return table[k].set(o, word + n + 1);
		if (*i + 1 < argc) return table[k].set(o, argv[++*i]);
		fprintf(stderr, "weir: %s needs a value: %s\n", word, table[k].help);
		return false;
	}
	return unknown(o, word);
}

bool options_parse(options *o, tool_command command, int argc, char **argv)
{
	bool training = command & (COMMAND_TRAIN | COMMAND_DEMO);

	*o = (options){ .command = command,
			.model = "mlp:64-32x20-10",
			.act = WEIR_ACT_SIGMOID,
			.momentum = 0.9,
			.batch = 64,
			.steps = training ? 3000 : 0,
			.lr = -1,
			.weight_decay = -1,
			.stretch = -1,
			.ieee = !training };
	for (int i = 2; i < argc; i++) {
		if (!parse_one(o, argc, argv, &i)) return false;
	}
	if (o->lr < 0) o->lr = o->opt == OPT_SGD ? 0.01 : 0.001;
	if (o->weight_decay < 0) o->weight_decay = o->opt == OPT_ADAMW ? 0.01 : 0;
	return model_parse(o);
}

void options_free(options *o)
{
	free(o->width);
}
