/* test_flow_html.c: the page: tags balanced, nothing from outside, everything escaped, numbers where they belong, and small enough. */
#include "tests/flow_check.h"

#include "flow/flow.h"

static char text[1 << 21];

static const char *page(const weir_flow *f, const char *model)
{
	FILE *file = tmpfile();
	size_t n;

	assert_non_null(file);
	assert_true(weir_flow_report(f, file, WEIR_FLOW_HTML, model));
	rewind(file);
	n = fread(text, 1, sizeof text - 1, file);
	text[n] = 0;
	fclose(file);
	return text;
}

static void run(weir_flow *f, int layers, weir_act act, double scale, const char *name)
{
	weir_ctx *w = f->w;
	weir_module *net = weir_sequential_new(w, name);
	weir_tensor *loss;

	for (int i = 0; i < layers; i++) {
		weir_linear_options o;

		weir_linear_options_init(&o);
		o.init = WEIR_INIT_DIAGONAL;
		o.init_scale = scale;
		weir_module_add(net, NULL, weir_linear_with(w, 4, 4, &o));
		if (act) weir_module_add(net, NULL, weir_act_new(w, act));
	}
	loss = weir_sum_all(weir_forward(net, weir_full(w, WEIR_F32, 2, (int64_t[]){ 2, 4 }, 1)));
	weir_backward(loss);
	weir_flow_step(f, loss);
}

static bool is_one_of(const char *name, size_t n, const char *list)
{
	for (const char *p = list; *p; p += strcspn(p, " ") + (p[strcspn(p, " ")] == ' ')) {
		if (strcspn(p, " ") == n && !strncmp(p, name, n)) return true;
	}
	return false;
}

/* Every tag that must be closed is, in order; ends of td, th, tr may be left out; attributes are quoted. */
static void check_tags(const char *s)
{
	const char *open[64];
	size_t length[64];
	int depth = 0;

	assert_true(!strncmp(s, "<!DOCTYPE html>\n", 16));
	for (s += 16; (s = strchr(s, '<')); s++) {
		bool end = s[1] == '/';
		const char *name = s + 1 + end, *close;
		size_t n = strcspn(name, " >/\n");
		bool quoted = false;

		for (close = name; *close && (quoted || *close != '>'); close++) quoted ^= *close == '"';
		if (!*close) fail_msg("a tag is not closed: %.80s", s);
		if (close[-1] == '/' || is_one_of(name, n, "meta td th tr br circle")) {
			if (!strncmp(name, "circle", 6) && !end) s = strstr(close, "</circle>") + 1;
			continue;
		}
		if (!end) {
			assert_true(depth < 64);
			open[depth] = name;
			length[depth++] = n;
		} else if (!depth--) {
			fail_msg("</%.*s> closes nothing", (int)n, name);
		} else if (length[depth] != n || strncmp(open[depth], name, n) != 0) {
			fail_msg("</%.*s> closes <%.*s>", (int)n, name, (int)length[depth], open[depth]);
		}
		s = close - 1;
	}
	assert_int_equal(depth, 0);
}

static int count(const char *s, const char *part)
{
	int n = 0;

	while ((s = strstr(s, part))) n++, s++;
	return n;
}

static void assert_has(const char *s, const char *part)
{
	if (!strstr(s, part)) fail_msg("\"%s\" is not in the page", part);
}

/* It asks for nothing and runs nothing. */
static void check_alone(const char *s)
{
	static const char *const outside[] = { "http:", "https:",  "//",   "<script", "<link",
					       "<img",  "@import", "url(", "onload",  "javascript" };

	for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
		if (strstr(s, outside[i])) fail_msg("\"%s\" is in the page", outside[i]);
	}
}

static void plain(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	const char *s;

	(void)state;
	run(f, 12, WEIR_ACT_TANH, 0.5, "net");
	for (int i = 0; i < 12; i++) f->layers[i].public.theory_gain = UNKNOWN;
	f->sum.chi1 = f->sum.xi = f->sum.q_star = UNKNOWN;
	s = page(f, "a model");
	check_tags(s);
	check_alone(s);
	assert_has(s, "<p>a model</p>");
	assert_has(s, "<b>vanishing</b>");
	assert_has(s, "cause: <strong>initial weights</strong>");
	assert_has(s, "prefers-color-scheme:dark");
	assert_int_equal(count(s, "<svg "), 3);
	assert_has(s, "10⁻");
	assert_int_equal(count(s, "<title>layer "), 12 + 12 + 13); /* a dot for each number */
	assert_has(s, "<td class=\"low\">");
	assert_null(strstr(s, "nan"));
	assert_null(strstr(s, "theory"));
	close_fine(w);
}

static void full(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	static weir_flow_whole whole = { "cell", 50, 0, 2, 1.25e-3, 0.875, 2, 3 };
	static char *const way[] = { "<net.1> linear", "loss" };
	const char *s;

	(void)state;
	run(f, 6, WEIR_ACT_TANH, 0.5, "net");
	for (int64_t i = 0; i < 6; i++) {
		f->layers[i].public.theory_gain = 0.3;
		f->layers[i].public.stretch_low = 0.7;
	}
	f->layers[2].public.nonfinite = 3;
	f->layers[3].public.delta_norm = 0;
	f->sum.bound_bits = -3;
	f->sum.slack_bits = 5;
	f->sum.f32 = (weir_flow_budget){ 50, 61, INFINITY };
	f->sum.first_inf = (weir_flow_birth){ .found = true,
					      .layer = "net.1",
					      .op = "linear",
					      .here = "x.c:41",
					      .shape = "[2, 4] f32",
					      .value = INFINITY,
					      .operands = "a[5] < 3e+38",
					      .path_length = 2,
					      .path = (const char *const *)way };
	f->wholes = &whole;
	f->n_wholes = 1;
	s = page(f, NULL);
	f->wholes = NULL;
	f->n_wholes = 0;
	check_tags(s);
	assert_has(s, "6 layers, ");
	assert_has(s, "<span class=\"key s1\">theory</span> <span class=\"key s2\">smax</span>");
	assert_has(s, "bound, the product of smax</span>");
	assert_has(s, "<dt>f32</dt><dd>subnormal after ~50 more such layers, zero after ~61</dd>");
	assert_has(s, "element 0 = inf, from a[5] &lt; 3e+38</code>");
	assert_has(s, "path: &lt;net.1&gt; linear &gt; loss</span>");
	assert_has(s, "cell, 50 calls: gain 0.8750 per call");
	assert_has(s, "<title>layer 3: not finite</title>");
	assert_has(s, "<title>layer 4: zero</title>");
	assert_has(s, "<tr class=\"odd\"><td>net.4<");
	close_fine(w);
}

/* Names and models are text, whatever stands in them. */
static void escaped(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	const char *s;

	(void)state;
	run(f, 3, WEIR_ACT_TANH, 0.5, "<i>&\"net\"");
	s = page(f, "<script>alert(\"1 & 2\")</script>\x01\xff");
	check_tags(s);
	assert_null(strstr(s, "<script"));
	assert_null(strstr(s, "<i>"));
	assert_has(s, "<p>&lt;script&gt;alert(&quot;1 &amp; 2&quot;)&lt;/script&gt; \xef\xbf\xbd</p>");
	assert_has(s, "&lt;i&gt;&amp;&quot;net&quot;");
	close_fine(w);
}

static void large_and_small(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	const char *s;

	(void)state;
	s = page(f, NULL); /* before any step */
	check_tags(s);
	run(f, 1, WEIR_ACT_IDENTITY, 0.5, "one");
	check_tags(page(f, NULL));
	assert_null(strstr(text, "nan"));
	weir_tape_reset(w);
	run(f, 9, WEIR_ACT_IDENTITY, 1, "level"); /* axes of next to no range */
	for (int i = 0; i < 9; i++) f->layers[i].public.gain = 1 + i * 0x1p-52;
	check_tags(page(f, NULL));
	for (int i = 0; i < 9; i++) f->layers[i].public.delta_norm = 5e-324 * i, f->layers[i].public.gain = 1e300;
	check_tags(page(f, NULL));
	weir_tape_reset(w);
	run(f, 1000, WEIR_ACT_TANH, 1.01, "net");
	s = page(f, "many");
	check_tags(s);
	if (strlen(s) >= 1000000) fail_msg("the page of 1,000 layers has %zu bytes", strlen(s));
	assert_has(s, "<details><summary>all layers</summary>");
	assert_true(count(s, "<tr") >= 1000);
	weir_tape_reset(w);
	run(f, 300, WEIR_ACT_IDENTITY, 1e30, "broken");
	check_tags(page(f, "broken"));
	assert_has(text, "<b>non-finite</b>");
	close_fine(w);
}

static void io_error(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	FILE *to = fopen("/dev/full", "w");

	(void)state;
	run(f, 3, WEIR_ACT_TANH, 0.5, "net");
	if (to) {
		assert_false(weir_flow_report(f, to, WEIR_FLOW_HTML, NULL));
		assert_error(w, WEIR_ERR_IO, "weir_flow_report");
		fclose(to);
	}
	close_fine(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),           cmocka_unit_test(full),     cmocka_unit_test(escaped),
		cmocka_unit_test(large_and_small), cmocka_unit_test(io_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
