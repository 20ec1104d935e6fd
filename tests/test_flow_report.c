/* test_flow_report.c: the forms of a report: table, JSON read back, DOT as Graphviz would read it. */
#include "tests/flow_check.h"

#include <unistd.h>

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
	static const char *const of_layer[] = { "name",  "op",          "out_norm",  "out_gain",        "delta_norm",
						"gain",  "weight_norm", "act_slope", "param_grad_norm", "update_ratio",
						"zeros", "subnormals",  "nonfinite" };
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
	assert_int_equal(lines_with(t, "0.5000    "), 2 * 4); /* a hundred lines alike are five */
	assert_int_equal(lines_with(t, "more like it"), 1);
	assert_non_null(strstr(t, "... 96 more like it, net.2 to net.97"));

	step(f, network(w, 100, WEIR_INIT_GLOROT, 1, WEIR_ACT_TANH), 1);
	t = report(f, WEIR_FLOW_TABLE, NULL);
	assert_true(!strncmp(t, "100 layers, 2,000 parameters\nstep 1   loss ", 43));
	assert_int_equal(lines_with(t, "linear tanh\n"), 99); /* not alike: all of them */
	assert_int_equal(lines_with(t, " more"), 0);
	step(f, network(w, 300, WEIR_INIT_GLOROT, 1, WEIR_ACT_TANH), 1);
	t = report(f, WEIR_FLOW_TABLE, NULL);
	assert_int_equal(lines_with(t, "linear tanh\n"), 79); /* too many to read: the ends */
	assert_non_null(strstr(t, "... 220 more, net.80 to net.518, gain "));
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
		cmocka_unit_test(json),  cmocka_unit_test(json_of_a_broken_step),
		cmocka_unit_test(table), cmocka_unit_test(report_that_can_not_be_written),
		cmocka_unit_test(dot),   cmocka_unit_test(dot_without_a_flow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
