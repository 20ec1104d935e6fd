/* test_flow_report.c: the forms of a report: table, JSON read back, DOT as Graphviz would read it.
 * It is longer than most because each form of the report is read as its users would. */
#include "tests/flow_check.h"

#include <unistd.h>

#include "flow/flow.h"
#include "tests/json_read.h"

static char text[1 << 20];

/* What was written to a temporary file since it was made. */
static const char *contents(FILE *file)
{
	size_t n;

	rewind(file);
	n = fread(text, 1, sizeof text - 1, file);
	text[n] = 0;
	fclose(file);
	return text;
}

static const char *report(const weir_flow *f, weir_flow_form form, const char *model)
{
	FILE *file = tmpfile();

	assert_non_null(file);
	assert_true(weir_flow_report(f, file, form, model));
	return contents(file);
}

static weir_module *network(weir_ctx *w, int layers, weir_init_kind init, double scale, weir_act act)
{
	weir_module *net = weir_sequential_new(w, "net");

	for (int i = 0; i < layers; i++) {
		weir_linear_options o;

		weir_linear_options_init(&o);
		o.init = init;
		o.init_scale = scale;
		weir_module_add(net, NULL, weir_linear_with(w, 4, 4, &o));
		if (act && i + 1 < layers) weir_module_add(net, NULL, weir_act_new(w, act));
	}
	return net;
}

static void step(weir_flow *f, weir_module *net, double input)
{
	weir_ctx *w = weir_module_context(net);
	weir_tensor *x, *loss;

	weir_tape_reset(w);
	x = weir_set_name(weir_full(w, WEIR_F32, 2, (int64_t[]){ 2, 4 }, input), "x \"quoted\" \\ \n");
	loss = weir_sum_all(weir_forward(net, x));
	weir_backward(loss);
	weir_flow_step(f, loss);
}

static void assert_number(const char *json, const char *path, double want, double tolerance)
{
	const char *v = json_find(json, path);

	if (!v) fail_msg("%s is not there, or the document is wrong:\n%.2000s", path, json);
	if (isnan(want)) assert_true(!strncmp(v, "null", 4));
	else assert_near(strtod(v, NULL), want, tolerance);
}

static void assert_text(const char *json, const char *path, const char *want)
{
	const char *v = json_find(json, path);

	if (!v || v[0] != '"' || strncmp(v + 1, want, strlen(want)) || v[1 + strlen(want)] != '"')
		fail_msg("%s is %.40s, want \"%s\"", path, v ? v : "not there", want);
}

static void json(void **state)
{
	static const char *const of_layer[] = {
		"act_slope_limit", "saturated",    "theory_gain", "stretch_low",  "stretch_high",
		"alignment",       "units",        "dead_units",  "delta_median", "delta_spread",
		"spikes",          "spike",        "name",        "op",           "out_norm",
		"out_gain",        "delta_norm",   "gain",        "weight_norm",  "act_slope",
		"param_grad_norm", "update_ratio", "zeros",       "subnormals",   "nonfinite"
	};
	static const char *const of_step[] = { "measured",
					       "own_share",
					       "modules",
					       "theory.gain_per_layer",
					       "theory.q_star",
					       "theory.chi1",
					       "theory.xi",
					       "total.actual_bits",
					       "total.bound_bits",
					       "total.slack_bits",
					       "budget.f32.subnormal",
					       "budget.bf16.zero",
					       "budget.f16.overflow",
					       "norms.parameters",
					       "norms.gradients",
					       "norms.update",
					       "nonfinite",
					       "subnormal",
					       "spikes.gradient",
					       "spikes.loss",
					       "spikes.gradient_now",
					       "spikes.loss_now",
					       "loss_sign.sign",
					       "loss_sign.steps",
					       "losses.train",
					       "losses.validation",
					       "losses.gap",
					       "losses.penalty",
					       "evidence",
					       "range.first" };
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *net = network(w, 12, WEIR_INIT_DIAGONAL, 0.5, WEIR_ACT_TANH);
	const char *j;
	char path[64];

	(void)state;
	step(f, net, 1);
	j = report(f, WEIR_FLOW_JSON, "a \"model\"");
	assert_text(j, "schema", "weir.flow/1");
	assert_text(j, "model", "a \\\"model\\\"");
	assert_number(j, "parameters", 12 * 20, 0);
	assert_number(j, "step", 0, 0);
	assert_number(j, "loss", weir_flow_summary_of(f)->loss, 1e-12);
	assert_text(j, "subnormals", "ieee");
	for (int i = 0; i < 12; i++) {
		const weir_flow_layer *p = weir_flow_layer_at(f, i);

		for (size_t k = 0; k < sizeof of_layer / sizeof *of_layer; k++) {
			snprintf(path, sizeof path, "layers.%d.%s", i, of_layer[k]);
			assert_non_null(json_find(j, path));
		}
		snprintf(path, sizeof path, "layers.%d.gain", i);
		assert_number(j, path, p->gain, 1e-15);
		snprintf(path, sizeof path, "layers.%d.act_slope", i);
		assert_number(j, path, p->act_slope, 1e-15);
		snprintf(path, sizeof path, "layers.%d.name", i);
		assert_text(j, path, p->name);
	}
	assert_null(json_find(j, "layers.12"));
	assert_number(j, "slope.gain_per_layer", weir_flow_summary_of(f)->gain_per_layer, 1e-15);
	assert_number(j, "slope.bits_per_layer", weir_flow_summary_of(f)->bits_per_layer, 1e-15);
	assert_number(j, "slope.r2", weir_flow_summary_of(f)->r2, 1e-15);
	for (size_t k = 0; k < sizeof of_step / sizeof *of_step; k++) {
		if (!json_find(j, of_step[k])) fail_msg("%s is not there", of_step[k]);
	}
	assert_number(j, "total.gain", weir_flow_summary_of(f)->total_gain, 1e-15);
	assert_text(j, "verdict", "vanishing");
	assert_text(j, "cause", "initial weights");
	assert_number(j, "first_inf", NAN, 0);
	assert_number(j, "first_nan", NAN, 0);
	assert_number(j, "first_zero.backward", NAN, 0);
	close_fine(w);
}

/* What is not finite is null, and the births are objects. */
static void json_of_a_broken_step(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *net = network(w, 4, WEIR_INIT_DIAGONAL, 1e30, WEIR_ACT_IDENTITY);
	const char *j;

	(void)state;
	step(f, net, 1);
	j = report(f, WEIR_FLOW_JSON, NULL);
	assert_number(j, "model", NAN, 0);
	assert_number(j, "loss", NAN, 0);
	assert_text(j, "verdict", "non-finite");
	assert_text(j, "first_inf.layer", "net.1.linear");
	assert_text(j, "first_inf.op", "linear");
	assert_text(j, "first_inf.pass", "forward");
	assert_number(j, "first_inf.number", 2, 0);
	assert_number(j, "first_inf.depth", 2, 0);
	assert_text(j, "first_nan.layer", "net.2.linear");
	assert_non_null(strstr(report(f, WEIR_FLOW_TABLE, NULL), "first inf: net.1.linear (linear, "));
	close_fine(w);
}

static int lines_with(const char *s, const char *part)
{
	int n = 0;

	while ((s = strstr(s, part))) n++, s++;
	return n;
}

static void table(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	const char *t;

	(void)state;
	step(f, network(w, 100, WEIR_INIT_DIAGONAL, 0.5, WEIR_ACT_IDENTITY), 1);
	t = report(f, WEIR_FLOW_TABLE, "a model");
	assert_true(!strncmp(t, "a model\nstep 0   loss ", 22));
	assert_non_null(strstr(t, "IEEE subnormals"));
	assert_non_null(strstr(t, "slope    0.5000 per layer = -1.00 bits"));
	assert_non_null(strstr(t, "VERDICT  VANISHING, net.99 .. net.0\n"));
	assert_int_equal(lines_with(t, "\nnet."), 4); /* a hundred lines alike are five */
	assert_int_equal(lines_with(t, "more like it"), 1);
	assert_non_null(strstr(t, "... 96 more like it, net.2 to net.97"));

	step(f, network(w, 30, WEIR_INIT_GLOROT, 1, WEIR_ACT_TANH), 1);
	t = report(f, WEIR_FLOW_TABLE, NULL);
	assert_true(!strncmp(t, "30 layers, 600 parameters\nstep 1   loss ", 40));
	assert_int_equal(lines_with(t, "linear tanh\n"), 29); /* not alike: all of them */
	assert_int_equal(lines_with(t, " more like it"), 0);
	close_fine(w);
}

/* ---- what other parts fill in, made up here: it is all printed ---- */

static char *const path[] = { "net.1 linear", "net.2 linear", "loss" };

static void make_up(weir_flow *f)
{
	weir_flow_summary *s = &f->sum;

	for (int64_t i = 0; i < f->count; i++) {
		weir_flow_layer *p = &f->layers[i].public;

		p->theory_gain = 0.1234;
		p->stretch_low = 0.5678;
		p->stretch_high = 0.9012;
		p->alignment = 0.34;
		p->saturated = 0.125;
		p->units = 64;
		p->dead_units = 7;
		p->update_ratio = 1e-3;
		p->spikes = i;
	}
	f->layers[2].public.spike = true;
	s->chi1 = 0.25;
	s->xi = 0.7213;
	s->q_star = 0.19;
	s->actual_bits = -40;
	s->bound_bits = 2000;
	s->slack_bits = 2040;
	s->f32 = (weir_flow_budget){ 50.2, 61, INFINITY };
	s->bf16 = (weir_flow_budget){ INFINITY, INFINITY, INFINITY };
	s->f16 = (weir_flow_budget){ 0, 3.7, UNKNOWN };
	s->own_share = 0.0061;
	s->param_norm = 12.5;
	s->param_grad_norm = 0.25;
	s->update_norm = 1e-3;
	s->grad_spikes = 3;
	s->loss_spike = true;
	s->loss_spikes = 2;
	s->loss_sign = WEIR_LOSS_GUESSING;
	s->loss_sign_steps = 300;
	s->train_loss = 0.5;
	s->validation_loss = 0.75;
	s->penalty = 0.125;
	s->first_overflow = (weir_flow_birth){
		.found = true, .layer = "net.1", .op = "mul", .here = "", .shape = "", .operands = ""
	};
	s->first_inf = (weir_flow_birth){ .found = true,
					  .backward = true,
					  .layer = "net.1.linear",
					  .op = "linear",
					  .here = "x.c:41",
					  .depth = 2,
					  .shape = "[2, 4] f32",
					  .element = 5,
					  .value = INFINITY,
					  .operands = "a[5] = 3e+38, b[5] = 10",
					  .path_length = 3,
					  .path = (const char *const *)path,
					  .propagators = 12 };
}

static void every_number(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	static weir_flow_whole whole = { "cell", 50, 0, 2, 1.25e-3, 0.875, 2, 3 };
	static const char *const shown[] = {
		"theory  smax    align  ",
		"0.1234  0.5678  0.34   ",
		"12.5  7/64  ",
		"1.0e-03  linear tanh   spike\n",
		"measured at 0.6 % of the step\n",
		"total    actual 9.09e-13   bound 10^602.1   slack 10^614.1x",
		"   theory 0.5000   depth scale xi 0.721 layers   fixed point q* 0.19\n",
		"budget   f32 subnormal after ~50 more such layers, zero after ~61; f16 subnormal already, zero after ~4\n",
		"module   cell, called 50 times: gain 0.8750 per call, 1.25e-03 in all   |dW| 2.00e+00   |W| 3\n",
		"norms    all weights 12.5   all gradients 2.50e-01   update 1.00e-03\n",
		"spikes   so far: gradient norm 3, loss 2 (now), 4 layers, most in net.8: 4\n",
		"loss     guessing for 300 steps, flat at ln(classes): a sign of vanishing gradients\n",
		"losses   train 0.5   validation 0.75   gap 0.25   L2 penalty 0.125\n",
		"overflow first inf: gradient of net.1.linear (linear, x.c:41), layer 2 from the output, step 0\n",
		"         [2, 4] f32, element 5 = inf, from a[5] = 3e+38, b[5] = 10; passed on by 12 operations\n",
		"         path: net.1 linear > net.2 linear > loss\n",
		"theory: gain by mean-field theory   smax: ",
	};
	const char *t;

	(void)state;
	step(f, network(w, 5, WEIR_INIT_GLOROT, 1, WEIR_ACT_TANH), 1);
	make_up(f);
	f->wholes = &whole;
	f->n_wholes = 1;
	t = report(f, WEIR_FLOW_TABLE, NULL);
	for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
		if (!strstr(t, shown[i])) fail_msg("\"%s\" is not in:\n%s", shown[i], t);
	}
	f->sum.xi = -1.233;
	f->sum.q_star = INFINITY;
	assert_non_null(strstr(report(f, WEIR_FLOW_TABLE, NULL), "   depth scale xi none   fixed point q* none\n"));
	t = report(f, WEIR_FLOW_JSON, NULL);
	assert_number(t, "theory.xi", NAN, 0);
	assert_number(t, "theory.q_star", NAN, 0);
	f->sum.xi = INFINITY;
	f->sum.q_star = 1;
	assert_non_null(strstr(report(f, WEIR_FLOW_TABLE, NULL), "   depth scale xi unlimited   fixed point q* 1\n"));
	t = report(f, WEIR_FLOW_JSON, NULL);
	assert_number(t, "layers.3.stretch_high", 0.9012, 0);
	assert_number(t, "layers.3.dead_units", 7, 0);
	assert_number(t, "layers.3.spikes", 3, 0);
	assert_number(t, "modules.0.gain_per_call", 0.875, 0);
	assert_number(t, "modules.0.last", 3, 0);
	assert_number(t, "theory.gain_per_layer", 0.5, 0);
	assert_number(t, "total.bound_bits", 2000, 0);
	assert_number(t, "budget.f32.subnormal", 50.2, 0);
	assert_number(t, "budget.bf16.subnormal", NAN, 0);
	assert_number(t, "losses.gap", 0.25, 0);
	assert_text(t, "loss_sign.sign", "guessing");
	assert_text(t, "first_inf.value", "inf");
	assert_text(t, "first_overflow.layer", "net.1");
	assert_text(t, "first_inf.operands", "a[5] = 3e+38, b[5] = 10");
	assert_text(t, "first_inf.path.2", "loss");
	assert_number(t, "first_inf.propagators", 12, 0);
	f->wholes = NULL;
	f->n_wholes = 0;
	close_fine(w);
}

/* Columns that nothing fills are not there, nor is what explains them. */
static void narrow(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	const char *t;

	(void)state;
	step(f, network(w, 3, WEIR_INIT_GLOROT, 1, WEIR_ACT_IDENTITY), 1);
	for (int64_t i = 0; i < f->count; i++) {
		weir_flow_layer *p = &f->layers[i].public;

		p->theory_gain = p->stretch_low = p->alignment = UNKNOWN;
		p->dead_units = p->units = -1;
	}
	t = report(f, WEIR_FLOW_TABLE, NULL);
	for (int c = 0; c < 6; c++) {
		static const char *const absent[] = { "theory  ", "smax", "rms f'", "sat%", "dead", "upd/w" };

		if (strstr(t, absent[c])) fail_msg("\"%s\" is in:\n%s", absent[c], t);
	}
	close_fine(w);
}

/* ---- a thousand layers ---- */

static int lines_of(const char *t)
{
	int n = 0;

	for (; *t; t++) n += *t == '\n';
	return n;
}

static void outlier(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	const char *t;

	(void)state;
	step(f, network(w, 1000, WEIR_INIT_GLOROT, 1, WEIR_ACT_IDENTITY), 1);
	for (int64_t i = 0; i < 1000; i++) {
		weir_flow_layer *p = &f->layers[i].public;

		p->gain = 0.9 + 0.2 * (double)(i % 7) / 6;
		p->nonfinite = p->out_nonfinite = p->out_subnormals = p->subnormals = 0;
		p->delta_norm = 1;
	}
	t = report(f, WEIR_FLOW_TABLE, NULL);
	assert_int_equal(lines_with(t, " more like it, "), 1);
	assert_non_null(strstr(t, "... 996 more like it, net.2 to net.997, gain 0.9000 to 1.1000\n"));

	f->layers[500].public.gain = 2.5;
	t = report(f, WEIR_FLOW_TABLE, NULL);
	assert_non_null(strstr(t, "\nnet.500  1.00e+00  2.5000  "));
	assert_non_null(strstr(t, "... 498 more like it, net.2 to net.499, gain 0.9000 to 1.1000\n"));
	assert_non_null(strstr(t, "... 497 more like it, net.501 to net.997, gain 0.9000 to 1.1000\n"));

	f->layers[500].public.gain = 1;
	f->layers[600].public.nonfinite = 1;
	f->layers[700].public.gain = 0.3;
	f->layers[800].public.units = 4;
	f->layers[800].public.dead_units = 4;
	f->layers[900].public.saturated = 0.9;
	t = report(f, WEIR_FLOW_TABLE, NULL);
	for (int i = 600; i <= 900; i += 100) {
		char line[32];

		snprintf(line, sizeof line, "\nnet.%d ", i);
		if (!strstr(t, line)) fail_msg("layer %d has no line in:\n%s", i, t);
	}
	assert_null(strstr(t, "\nnet.500 "));
	assert_int_equal(lines_with(t, " more like it, "), 5);

	for (int64_t i = 400; i < 700; i++) f->layers[i].public.gain = 5; /* many odd ones in a row */
	t = report(f, WEIR_FLOW_TABLE, NULL);
	assert_non_null(strstr(t, "\nnet.400 "));
	assert_non_null(strstr(t, "\nnet.699 "));
	assert_non_null(strstr(t, " more, net.402 to net.597, gain 5.0000\n"));
	assert_true(lines_of(t) < 60);

	for (int64_t i = 0; i < 1000; i++) f->layers[i].public.gain = i * 37 % 11 < 3 ? 1e-9 * (double)(i % 5) : 1;
	assert_true(lines_of(report(f, WEIR_FLOW_TABLE, NULL)) <= 100); /* whatever comes */
	close_fine(w);
}

/* Blocks of several layers that repeat; and layers that have nothing in common. */
static void blocks(void **state)
{
	static const char *const ops[] = { "attention", "mlp gelu", "norm" };
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	const char *t;

	(void)state;
	step(f, network(w, 302, WEIR_INIT_GLOROT, 1, WEIR_ACT_IDENTITY), 1);
	for (int64_t i = 0; i < 302; i++) {
		weir_flow_layer *p = &f->layers[i].public;

		p->gain = i % 3 == 1 ? 4 : 1; /* no outliers: the one of each block is like that of the others */
		p->op = i < 300 ? ops[i % 3] : "linear";
		p->nonfinite = p->out_nonfinite = p->out_subnormals = p->subnormals = 0;
	}
	t = report(f, WEIR_FLOW_TABLE, NULL);
	assert_non_null(strstr(t, "... 294 more in blocks of 3 like these, net.3 to net.296, gain 1.0000 to 4.0000\n"));
	assert_int_equal(lines_with(t, "attention\n"), 2);
	assert_int_equal(lines_with(t, "linear\n"), 2);
	for (int64_t i = 0; i < 302; i++) {
		static char names[302][8];

		snprintf(names[i], sizeof names[i], "op%d", (int)i);
		f->layers[i].public.op = names[i];
	}
	t = report(f, WEIR_FLOW_TABLE, NULL);
	assert_non_null(strstr(t, "... 226 more, net.38 to net.263, gain "));
	assert_true(lines_of(t) <= 90);
	close_fine(w);
}

static void report_that_can_not_be_written(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	FILE *full = fopen("/dev/full", "w");

	(void)state;
	step(f, network(w, 3, WEIR_INIT_HE, 1, WEIR_ACT_RELU), 1);
	if (full) {
		assert_false(weir_flow_report(f, full, WEIR_FLOW_TABLE, NULL));
		assert_error(w, WEIR_ERR_IO, "weir_flow_report");
		clearerr(full);
		assert_false(weir_dot_print(w, f, full));
		assert_error(w, WEIR_ERR_IO, "weir_dot_print");
		fclose(full);
	}
	assert_false(weir_dot_write_flow(w, f, "/nonexistent/folder/x.dot"));
	assert_error(w, WEIR_ERR_IO, "/nonexistent/folder/x.dot");
	assert_false(weir_dot_write(w, NULL));
	assert_error(w, WEIR_ERR_ARGUMENT, "path");
	close_fine(w);
}

/* ---- DOT ---- */

/* Brackets and quotes are balanced, and every edge joins nodes that are there. */
static void check_dot(const char *s)
{
	static bool seen[4096];
	int depth = 0, nodes = 0;
	bool quoted = false;

	memset(seen, 0, sizeof seen);
	for (const char *p = s; *p; p++) {
		if (*p == '\\' && quoted) p++;
		else if (*p == '"') quoted = !quoted;
		else if (!quoted && (*p == '{' || *p == '[')) depth++;
		else if (!quoted && (*p == '}' || *p == ']')) depth--;
		assert_true(depth >= 0);
	}
	assert_true(!quoted && !depth);
	for (const char *p = s; (p = strchr(p, '\n')); p++) {
		int a, b;

		if (sscanf(p, "\nn%d -> n%d", &a, &b) == 2) assert_true(seen[a] && seen[b]);
		else if (sscanf(p, "\nn%d [labe%c", &a, &(char){ 0 }) == 2) seen[a] = true, nodes++;
	}
	assert_true(nodes > 3);
}

static void dot(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *net = network(w, 3, WEIR_INIT_DIAGONAL, 0.5, WEIR_ACT_TANH);
	FILE *file = tmpfile();
	const char *t;
	char name[] = "flow-XXXXXX", command[128];
	int fd;

	(void)state;
	weir_module_add(net, NULL, weir_layer_norm_new(w, 4, 1e-5));
	step(f, net, 1);
	assert_non_null(file);
	assert_true(weir_dot_print(w, f, file));
	t = contents(file);
	check_dot(t);
	assert_non_null(strstr(t, "digraph weir {"));
	assert_int_equal(lines_with(t, "subgraph \"cluster_net\""), 1);
	assert_non_null(strstr(
		t, "subgraph \"cluster_net.5\"")); /* the norm: several operations; a linear stands in its parent */
	assert_non_null(strstr(t, "label=\"linear"));
	assert_non_null(strstr(t, "f32 [2, 4]"));
	assert_non_null(strstr(t, "‖g‖ "));
	assert_non_null(strstr(t, "net.0.weight"));
	assert_non_null(strstr(t, "x \\\"quoted\\\" \\\\ ?"));
	assert_non_null(strstr(t, "test_flow_report.c:"));
	assert_null(strstr(t, "#ff0000\", penwidth=4"));

	fd = mkstemp(name);
	assert_true(fd >= 0);
	close(fd);
	assert_true(weir_dot_write_flow(w, f, name));
	if (!system("command -v dot >/dev/null 2>&1")) {
		snprintf(command, sizeof command, "dot -Tsvg %s -o /dev/null", name);
		assert_int_equal(system(command), 0);
	}
	unlink(name);
	close_fine(w);
}

/* Without a flow: from the norms that hooks measured; without those, plain. The way of a NaN is red. */
static void dot_without_a_flow(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f;
	weir_module *net = network(w, 3, WEIR_INIT_DIAGONAL, 1e30, WEIR_ACT_IDENTITY);
	weir_tensor *loss;
	FILE *file = tmpfile();

	(void)state;
	loss = weir_sum_all(weir_forward(net, weir_full(w, WEIR_F32, 2, (int64_t[]){ 2, 4 }, 1)));
	weir_backward(loss);
	assert_true(weir_dot_print(w, NULL, file));
	check_dot(contents(file));
	assert_null(strstr(text, "‖g‖"));
	f = watch_all(w);
	step(f, net, 1);
	file = tmpfile();
	assert_true(weir_dot_print(w, f, file));
	check_dot(contents(file));
	assert_non_null(strstr(text, "color=\"#ff0000\", penwidth=4"));
	assert_non_null(strstr(text, " [color=\"#ff0000\", penwidth=2]"));
	close_fine(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json),         cmocka_unit_test(json_of_a_broken_step),
		cmocka_unit_test(every_number), cmocka_unit_test(narrow),
		cmocka_unit_test(outlier),      cmocka_unit_test(blocks),
		cmocka_unit_test(table),        cmocka_unit_test(report_that_can_not_be_written),
		cmocka_unit_test(dot),          cmocka_unit_test(dot_without_a_flow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
