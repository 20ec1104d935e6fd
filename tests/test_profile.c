/* test_profile.c: the profile. Its file is read back: events nest, stand in order, and are those of the step; the table adds up; nothing that goes
 * wrong with a profile harms the training. Long because each way to go wrong is a case of its own on one reader of traces. */
#include "tests/ops_check.h"

#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/weir.h>

#include "tests/profile_check.h"

enum { BATCH = 4, IN = 6, MID = 5, OUT = 3 };

typedef struct net {
	weir_ctx *w;
	weir_module *m;
	weir_optim *optim;
	weir_tensor *x, *y;
} net;

static net make(weir_ctx *w, weir_act act)
{
	static const int64_t labels[BATCH] = { 0, 1, 2, 0 };
	net n = { .w = w, .m = weir_sequential_new(w, "net") };

	weir_module_add(n.m, NULL, weir_linear_new(w, IN, MID, WEIR_INIT_HE));
	weir_module_add(n.m, NULL, weir_act_new(w, act));
	weir_module_add(n.m, NULL, weir_linear_new(w, MID, OUT, WEIR_INIT_HE));
	n.optim = weir_sgd_new(w, n.m, 0.1, 0.9);
	n.x = weir_keep(weir_normal(w, WEIR_F32, 2, (int64_t[]){ BATCH, IN }, 0, 1));
	n.y = weir_keep(weir_from(w, WEIR_I64, 1, (int64_t[]){ BATCH }, labels));
	return n;
}

static double train_step(const net *n)
{
	weir_tensor *loss;

	weir_tape_reset(n->w);
	loss = weir_cross_entropy(weir_sub(weir_forward(n->m, n->x), weir_scalar(n->w, WEIR_F32, 0.5)), n->y);
	weir_backward(loss);
	weir_optim_step(n->optim);
	return weir_item(loss);
}

/* WEIR_PROFILE was set by main(): this test comes first. Only the first context is meant, and its own wish comes before the environment's. */
static void environment(void **state)
{
	weir_ctx *a = weir_open(NULL), *b = weir_open(NULL);
	read_event *list = calloc(MOST, sizeof *list);
	weir_profile_row row;
	net n = make(a, WEIR_ACT_TANH);
	int events;

	(void)state;
	unsetenv("WEIR_PROFILE");
	train_step(&n);
	assert_true(weir_profile_rows(a, &row, 1) > 0);
	assert_int_equal(weir_profile_rows(b, &row, 1), 0);
	assert_true(weir_profile_begin(a, "own.json"));
	events = read_events("environment.json", list);
	assert_int_equal(count(list, events, "forward", "tanh"), 1);
	train_step(&n);
	train_step(&n);
	close_clean(b);
	close_clean(a); /* writes it */
	events = read_events("own.json", list);
	assert_int_equal(count(list, events, "forward", "tanh"), 2);
	free(list);
}

static void a_step(void **state)
{
	weir_ctx *w = open_quiet(true);
	read_event *list = calloc(MOST, sizeof *list);
	net n = make(w, WEIR_ACT_TANH);
	int events, forward = 0;

	(void)state;
	train_step(&n);
	assert_true(weir_profile_begin(w, "step.json"));
	train_step(&n);
	for (int64_t i = 0; i < weir_tape_length(w); i++) {
		weir_tensor *t = weir_tape_at(w, i);

		forward += t && weir_node(t).inputs > 0;
	}
	assert_true(weir_profile_end(w));
	events = read_events("step.json", list);
	check_nesting(list, events);
	assert_int_equal(count(list, events, "forward", NULL) + count(list, events, "fused", NULL), forward);
	assert_int_equal(count(list, events, "forward", "linear"), 2);
	assert_int_equal(count(list, events, "gradient", "linear"), 2);
	assert_int_equal(count(list, events, "gradient", "tanh"), 1);
	assert_int_equal(count(list, events, "gradient", "cross_entropy"), 1);
	assert_int_equal(count(list, events, "backward", "weir_backward"), 1);
	assert_int_equal(count(list, events, "call", "weir_optim_step"), 1);
	assert_int_equal(count(list, events, "call", "weir_tape_reset"), 1);
	assert_int_equal(count(list, events, "module", "net"), 1);
	assert_int_equal(count(list, events, "module", "net.0.linear"), 1);
	assert_int_equal(count(list, events, "hooks", NULL), 0);
	for (int i = 0; i < events; i++) {
		const read_event *e = &list[i];
		bool first = !strcmp(e->scope, "net.0.linear");

		if (strcmp(e->name, "linear") != 0) continue;
		if (!strcmp(e->cat, "forward")) {
			assert_true(e->flops == 2.0 * BATCH * MID * (first ? IN : OUT));
			assert_true(strstr(e->source, "test_profile.c:") != NULL);
			if (first) assert_true(e->bytes == 4.0 * (BATCH * MID + BATCH * IN + MID * IN + MID));
		} else { /* the input of the first gets no gradient */
			assert_true(e->flops == (first ? 1 : 2) * 2.0 * BATCH * MID * (first ? IN : OUT));
		}
	}
	free(list);
	close_clean(w);
}

static void watch(const weir_event *e, void *user)
{
	(void)e, (void)user;
}

static void table(void **state)
{
	enum { STEPS = 7 };
	weir_ctx *w = open_quiet(true);
	net n = make(w, WEIR_ACT_GELU);
	weir_profile_row rows[64];
	double sum = 0;
	int64_t count_of_rows, calls = 0;
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	(void)state;
	weir_on_grad(w, watch, NULL, NULL);
	assert_true(weir_profile_begin(w, NULL));
	for (int i = 0; i < STEPS; i++) train_step(&n);
	count_of_rows = weir_profile_rows(w, rows, 64);
	assert_true(count_of_rows > 5 && count_of_rows < 64);
	for (int64_t i = 0; i < count_of_rows; i++) {
		if (i && rows[i].seconds > rows[i - 1].seconds)
			fail_msg("row %lld takes %g s, the one before %g", (long long)i, rows[i].seconds,
				 rows[i - 1].seconds);
		sum += rows[i].share;
		if (!strcmp(rows[i].name, "weir_sub")) calls = rows[i].calls;
		if (!strcmp(rows[i].name, "linear") && !strcmp(rows[i].kind, "forward"))
			assert_true(rows[i].flops == STEPS * 2.0 * BATCH * MID * (IN + OUT));
	}
	assert_int_equal(calls, STEPS);
	if (!(sum > 0 && sum <= 1)) fail_msg("the shares add up to %g", sum);
	assert_true(weir_profile_print(w, 3, file));
	fclose(file);
	assert_true(strstr(text, "GFLOP/s") && strstr(text, "\nothers ") && strstr(text, "\noutside "));
	free(text);
	assert_true(weir_profile_end(w));
	assert_int_equal(weir_profile_rows(w, rows, 64), 0);
	close_clean(w);
}

/* Training with a profile is training without it, and calls the allocator no more often. */
static void harmless(void **state)
{
	enum { STEPS = 20 };
	double loss[2][STEPS];

	(void)state;
	for (int with = 0; with < 2; with++) {
		weir_ctx *w = open_quiet(true);
		net n = make(w, WEIR_ACT_SILU);
		uint64_t calls = 0;

		if (with) assert_true(weir_profile_begin(w, "harmless.json"));
		for (int i = 0; i < STEPS; i++) {
			loss[with][i] = train_step(&n);
			if (i == 4) calls = weir_memory_of(w).allocator_calls;
		}
		assert_int_equal(weir_memory_of(w).allocator_calls, calls);
		close_clean(w);
	}
	assert_memory_equal(loss[0], loss[1], sizeof loss[0]);
}

/* What finds no room in the trace stands in the table. */
static void full(void **state)
{
	enum { OPS = 500000, EACH = 1000 };
	weir_ctx *w = open_quiet(true);
	weir_profile_row row;
	char *text;
	double dropped;
	FILE *f;
	long size = 0;

	(void)state;
	assert_true(weir_profile_begin(w, "full.json"));
	for (int i = 0; i < OPS; i += EACH) {
		weir_tensor *x = weir_scalar(w, WEIR_F32, 1);

		for (int k = 0; k < EACH; k++) x = weir_neg(x);
		weir_tape_reset(w);
	}
	assert_int_equal(weir_profile_rows(w, &row, 1), 2);
	assert_string_equal(row.name, "neg");
	assert_int_equal(row.calls, OPS);
	assert_true(weir_profile_end(w));
	assert_true((f = fopen("full.json", "rb")) && !fseek(f, 0, SEEK_END) && (size = ftell(f)) > 0);
	rewind(f);
	text = calloc(1, (size_t)size + 1);
	assert_true(fread(text, 1, (size_t)size, f) == (size_t)size);
	fclose(f);
	dropped = number_at(text, "otherData.dropped");
	if (!(dropped > OPS / 10 && dropped < OPS)) fail_msg("%g of %d events were dropped", dropped, OPS);
	free(text);
	unlink("full.json");
	close_clean(w);
}

/* ---- side by side ---- */

static void *train_alone(void *act)
{
	weir_act a = *(weir_act *)act;
	weir_ctx *w = open_quiet(true);
	net n = make(w, a);

	if (!weir_profile_begin(w, a == WEIR_ACT_TANH ? "tanh.json" : "sigmoid.json")) return act;
	for (int i = 0; i < 50; i++) train_step(&n);
	return weir_close(w) ? act : NULL;
}

static void two_threads(void **state)
{
	static const char *const files[] = { "tanh.json", "sigmoid.json" }, *const ops[] = { "tanh", "sigmoid" };
	weir_act acts[] = { WEIR_ACT_TANH, WEIR_ACT_SIGMOID };
	read_event *list = calloc(MOST, sizeof *list);
	pthread_t thread[2];

	(void)state;
	for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&thread[i], NULL, train_alone, &acts[i]), 0);
	for (int i = 0; i < 2; i++) {
		void *failed;

		pthread_join(thread[i], &failed);
		assert_null(failed);
	}
	for (int i = 0; i < 2; i++) {
		int events = read_events(files[i], list);

		check_nesting(list, events);
		assert_int_equal(count(list, events, "forward", ops[i]), 50);
		assert_int_equal(count(list, events, "gradient", ops[i]), 50);
		assert_int_equal(count(list, events, "forward", ops[!i]), 0);
	}
	free(list);
}

/* ---- a child of fork() ---- */

/* Ends the child's copy of the context; as the child's exit code whether all went well. */
static int in_child(const net *n, bool keeps_own)
{
	bool good = train_step(n) > 0;

	if (keeps_own) good = weir_profile_begin(n->w, "child.json") && train_step(n) > 0 && good;
	return !(weir_close(n->w) == 0 && good);
}

/* The trace is the parent's: a child that inherited the profile leaves it alone, and may keep one of its own. */
static void forked(void **state)
{
	weir_ctx *w = open_quiet(true);
	read_event *list = calloc(MOST, sizeof *list);
	net n = make(w, WEIR_ACT_TANH);
	int events;

	(void)state;
	unlink("parent.json");
	assert_true(weir_profile_begin(w, "parent.json"));
	train_step(&n);
	for (int own = 0; own < 2; own++) {
		int code;
		pid_t child = fork();

		assert_true(child >= 0);
		if (!child) _exit(in_child(&n, own));
		assert_int_equal(waitpid(child, &code, 0), child);
		assert_int_equal(code, 0);
		if (access("parent.json", F_OK) == 0) fail_msg("child %d wrote its parent's trace", own);
	}
	events = read_events("child.json", list);
	assert_int_equal(count(list, events, "forward", "tanh"), 1);
	train_step(&n);
	close_clean(w);
	events = read_events("parent.json", list);
	assert_int_equal(count(list, events, "forward", "tanh"), 2);
	free(list);
}

/* ---- nesting that the library does not expect ---- */

static weir_tensor *in_the_middle(weir_module *m, weir_tensor *x)
{
	weir_ctx *w = weir_module_context(m);
	weir_profile_row row;

	if (weir_profile_rows(w, &row, 1)) weir_profile_end(w);
	else weir_profile_begin(w, NULL);
	return weir_relu(x);
}

static weir_tensor *recurse(weir_module *m, weir_tensor *x)
{
	int *left = weir_module_data(m);

	return (*left)-- > 0 ? weir_forward(m, x) : weir_neg(x);
}

static void nesting(void **state)
{
	static const weir_module_type switching = { .kind = "switch", .forward = in_the_middle },
				      deep = { .kind = "deep", .forward = recurse };
	weir_ctx *w = open_quiet(true);
	weir_module *s = weir_module_new(w, &switching, NULL, 0), *d = weir_module_new(w, &deep, NULL, sizeof(int));
	weir_tensor *x = weir_scalar(w, WEIR_F32, 1);
	weir_profile_row rows[8];

	(void)state;
	weir_forward(s, x); /* begins inside of a span */
	assert_int_equal(weir_profile_rows(w, rows, 8), 1);
	assert_string_equal(rows[0].name, "relu");
	weir_forward(s, x); /* ends inside of one */
	assert_int_equal(weir_profile_rows(w, rows, 8), 0);
	*(int *)weir_module_data(d) = 300;
	assert_true(weir_profile_begin(w, NULL));
	weir_forward(d, x);
	assert_int_equal(weir_profile_rows(w, rows, 8), 1); /* the operation lies too deep */
	assert_string_equal(rows[0].kind, "module");
	assert_string_equal(rows[0].name, "deep");
	weir_neg(x);
	assert_int_equal(weir_profile_rows(w, rows, 8), 2);
	assert_true(weir_profile_end(w));
	close_clean(w);
}

/* ---- what goes wrong ---- */

static void begin_in_hook(const weir_event *e, void *user)
{
	*(bool *)user = weir_profile_begin(e->ctx, NULL);
}

static void refusals(void **state)
{
	weir_ctx *w = open_quiet(false);
	bool began = true;
	weir_tensor *x;

	(void)state;
	assert_false(weir_profile_end(w));
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_profile_end: no profile", NULL);
	assert_false(weir_profile_print(w, 0, stdout));
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_profile_print: no profile", NULL);
	assert_true(weir_profile_begin(w, NULL));
	assert_false(weir_profile_begin(w, NULL));
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_profile_begin: a profile is being kept already", NULL);
	assert_false(weir_profile_print(w, 0, NULL));
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_profile_print: file is NULL", NULL);
	assert_true(weir_profile_end(w));
	x = weir_param_new(w, "x", WEIR_F32, 0, NULL);
	weir_on_grad(w, begin_in_hook, &began, NULL);
	weir_backward(weir_neg(x));
	assert_false(began);
	expect_error(w, WEIR_ERR_HOOK, "weir_profile_begin", NULL);
	close_clean(w);
}

static void files(void **state)
{
	weir_ctx *w = open_quiet(false);

	(void)state;
	assert_false(weir_profile_begin(w, "no/such/folder.json"));
	expect_error(w, WEIR_ERR_IO, "weir_profile_begin: no/such/folder.json", NULL);
	weir_neg(weir_scalar(w, WEIR_F32, 1)); /* without a profile */
	assert_int_equal(mkdir("gone", 0700), 0);
	assert_true(weir_profile_begin(w, "gone/trace.json"));
	weir_neg(weir_scalar(w, WEIR_F32, 1));
	assert_int_equal(rmdir("gone"), 0); /* the trial at the beginning left nothing behind */
	assert_false(weir_profile_end(w));
	expect_error(w, WEIR_ERR_IO, "weir_profile_end: gone/trace.json", NULL);
	assert_int_equal(mkdir("gone", 0700), 0);
	assert_true(weir_profile_begin(w, "gone/trace.json"));
	assert_int_equal(rmdir("gone"), 0);
	assert_int_equal(weir_close(w), WEIR_ERR_IO);
}

typedef struct faults {
	int calls; /* that still succeed */
} faults;

static void *failing_alloc(void *user, size_t size, size_t align)
{
	return ((faults *)user)->calls-- > 0 ? aligned_alloc(align, (size + align - 1) / align * align) : NULL;
}

static void plain_free(void *user, void *p, size_t size)
{
	(void)user, (void)size;
	free(p);
}

/* Memory for the profile can't be had; then the context goes on without it. */
static void memory(void **state)
{
	weir_options o;
	weir_ctx *w;
	bool seen = false;

	(void)state;
	weir_options_init(&o);
	o.handler = NULL;
	o.memory_limit = 8 << 20; /* less than a trace's buffer */
	unlink("memory.json");
	w = weir_open(&o);
	assert_false(weir_profile_begin(w, "memory.json"));
	expect_error(w, WEIR_ERR_MEMORY, "out of memory", NULL);
	assert_true(access("memory.json", F_OK) != 0);
	assert_true(weir_item(weir_neg(weir_scalar(w, WEIR_F32, 1))) == -1);
	assert_true(weir_profile_begin(w, NULL)); /* the table alone needs little */
	assert_true(weir_profile_end(w));
	close_clean(w);
	for (int allowed = 0; allowed < 3; allowed++) {
		faults left = { 1000 };

		weir_options_init(&o);
		o.handler = NULL;
		o.allocator = (weir_allocator){ failing_alloc, plain_free, &left };
		w = weir_open(&o);
		left.calls =
			allowed; /* of weir_profile_begin: its record, which may come with a slab, and the events */
		if (weir_profile_begin(w, "memory.json")) {
			left.calls = 1000;
			assert_true(weir_profile_end(w));
		} else {
			expect_error(w, WEIR_ERR_MEMORY, "out of memory", NULL);
			seen = true;
			left.calls = 1000;
		}
		assert_true(weir_item(weir_neg(weir_scalar(w, WEIR_F32, 1))) == -1);
		close_clean(w);
	}
	assert_true(seen);
}

/* A profile of what failed is written, too. */
static void after_an_error(void **state)
{
	weir_ctx *w = open_quiet(false);
	read_event *list = calloc(MOST, sizeof *list);
	int events;

	(void)state;
	assert_true(weir_profile_begin(w, "failed.json"));
	weir_neg(weir_scalar(w, WEIR_F32, 1));
	weir_add(weir_zeros(w, WEIR_F32, 1, (int64_t[]){ 2 }), weir_zeros(w, WEIR_F32, 1, (int64_t[]){ 3 }));
	assert_true(weir_error(w) == WEIR_ERR_SHAPE);
	weir_neg(weir_scalar(w, WEIR_F32, 1)); /* does nothing */
	assert_int_equal(weir_close(w), WEIR_ERR_SHAPE);
	events = read_events("failed.json", list);
	assert_int_equal(count(list, events, "forward", "neg"), 1);
	free(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(environment), cmocka_unit_test(a_step),         cmocka_unit_test(table),
		cmocka_unit_test(harmless),    cmocka_unit_test(full),           cmocka_unit_test(two_threads),
		cmocka_unit_test(nesting),     cmocka_unit_test(refusals),       cmocka_unit_test(files),
		cmocka_unit_test(memory),      cmocka_unit_test(after_an_error), cmocka_unit_test(forked),
	};

	setenv("WEIR_PROFILE", "environment.json", 1);
	return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
