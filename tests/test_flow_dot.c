/* test_flow_dot.c: how repeated blocks are folded in a picture. What a picture holds otherwise stands in test_flow_report.c. */
#include "tests/flow_check.h"

static char picture[1 << 20];

static const char *drawn(weir_ctx *w, const weir_dot_options *o)
{
	FILE *file = tmpfile();
	size_t n;

	assert_non_null(file);
	assert_true(weir_dot_print_with(w, o, file));
	rewind(file);
	n = fread(picture, 1, sizeof picture - 1, file);
	picture[n] = 0;
	fclose(file);
	return picture;
}

/* How often a part stands in the picture. */
static int times(const char *part)
{
	const char *s = picture;
	int n = 0;

	while ((s = strstr(s, part))) {
		n++;
		s += strlen(part);
	}
	return n;
}

static void assert_accepted(void)
{
	FILE *dot;

	if (system("command -v dot >/dev/null 2>&1")) return;
	dot = popen("dot -Tsvg -o /dev/null", "w");
	assert_non_null(dot);
	fputs(picture, dot);
	assert_int_equal(pclose(dot), 0);
}

/* A long run of like blocks is one box between its first and last; an odd one among them is drawn. */
static void like_blocks(void **state)
{
	enum { DEEP = 100, ODD = 60 };
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_module *list = weir_list_new(w, "deep");
	weir_flow *f = watch_all(w);
	weir_tensor *x = weir_normal(w, WEIR_F32, 2, (int64_t[]){ 4, 8 }, 0, 1), *loss;
	weir_dot_options o;

	(void)state;
	for (int i = 0; i < DEEP; i++) weir_list_add(list, weir_linear_new(w, 8, 8, WEIR_INIT_HE));
	for (int i = 0; i < DEEP; i++) {
		x = weir_forward(weir_list_at(list, i), x);
		x = i == ODD ? weir_tanh(x) : weir_relu(x);
	}
	loss = weir_mean_all(x);
	weir_backward(loss);
	assert_true(weir_flow_step(f, loss));
	weir_dot_options_init(&o);
	o.flow = f;
	assert_non_null(strstr(drawn(w, &o), "× 58\\ndeep.1 … deep.58"));
	assert_non_null(strstr(picture, "× 37\\ndeep.62 … deep.98"));
	assert_int_equal(times("label=\"linear"), 5); /* 0, 59, 60, 61, 99 */
	assert_int_equal(times("shape=box3d"), 2);
	assert_int_equal(times("-> f0"), 1);
	assert_int_equal(times("-> f1"), 1);
	assert_int_equal(times("f0 ->"), 1);
	assert_int_equal(times("f1 ->"), 1);
	assert_accepted();
	o.fold = 39;
	drawn(w, &o);
	assert_int_equal(times("shape=box3d"), 2);
	o.fold = 40;
	drawn(w, &o);
	assert_int_equal(times("shape=box3d"), 1);
	o.fold = 0;
	drawn(w, &o);
	assert_int_equal(times("label=\"linear"), DEEP);
	assert_int_equal(times("shape=box3d"), 0);
	assert_accepted();
	close_fine(w);
}

/* A pattern of two kinds of blocks is folded, too; the layer where an inf begins is not. */
static void patterns(void **state)
{
	enum { DEEP = 120 };
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_module *list = weir_list_new(w, "deep");
	weir_flow *f = watch_all(w);
	weir_tensor *x = weir_normal(w, WEIR_F32, 2, (int64_t[]){ 4, 8 }, 0, 1), *loss;
	weir_dot_options o;

	(void)state;
	for (int i = 0; i < DEEP; i++) weir_list_add(list, weir_linear_new(w, 8, 8, WEIR_INIT_GLOROT));
	for (int i = 0; i < DEEP; i++) {
		x = weir_forward(weir_list_at(list, i), x);
		x = i % 2 ? weir_tanh(x) : weir_sigmoid(x);
	}
	loss = weir_mean_all(x);
	weir_backward(loss);
	assert_true(weir_flow_step(f, loss));
	weir_dot_options_init(&o);
	o.flow = f;
	assert_non_null(strstr(drawn(w, &o), "× 58\\n"));
	assert_int_equal(times("label=\"linear"), 4);
	assert_accepted();
	close_fine(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(like_blocks), cmocka_unit_test(patterns) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
