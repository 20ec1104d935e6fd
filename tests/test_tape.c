/* test_tape.c: ownership, staleness, errors, marks and rewinds, versions, memory. Long: many small tests. */
#include "tests/ops_check.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static weir_tensor *scalar(weir_ctx *w, double v)
{
	return weir_scalar(w, WEIR_F64, v);
}

/* ---- errors ---- */

static int handled;
static char handled_text[1024];

static void handler(weir_ctx *w, weir_status status, const char *message, void *user)
{
	(void)w, (void)status;
	assert_ptr_equal(user, &handled);
	handled++;
	snprintf(handled_text, sizeof handled_text, "%s", message);
}

static void first_error_sticks(void **state)
{
	weir_options o;
	weir_ctx *w;
	weir_tensor *a, *bad;

	(void)state;
	weir_options_init(&o);
	o.handler = handler;
	o.handler_user = &handled;
	w = weir_open(&o);
	handled = 0;
	a = weir_set_name(weir_zeros(w, WEIR_F32, SHAPE(64, 784)), "images");
	bad = weir_matmul(a, weir_set_name(weir_zeros(w, WEIR_F32, SHAPE(10, 512)), "fc2.weight"));
	assert_true(weir_is_bad(bad));
	assert_int_equal(handled, 1);
	assert_non_null(strstr(handled_text, "images"));
	assert_non_null(strstr(handled_text, "fc2.weight"));
	assert_non_null(strstr(handled_text, "[64, 784]"));
	assert_true(weir_is_bad(weir_relu(a))); /* every call does nothing */
	assert_true(isnan(weir_item(bad)));
	weir_backward(bad);
	assert_int_equal(handled, 1);
	assert_string_equal(weir_error_text(w), handled_text);
	weir_clear_error(w);
	assert_false(weir_is_bad(weir_relu(a)));
	assert_true(weir_is_bad(weir_relu(bad))); /* the bad tensor stays bad, and says so */
	assert_int_equal(weir_error(w), WEIR_ERR_ARGUMENT);
	assert_int_equal(handled, 2);
	assert_int_equal(weir_close(w), WEIR_ERR_ARGUMENT);
}

static void null_operands(void **state)
{
	weir_ctx *w = open_quiet(true);

	(void)state;
	assert_true(weir_is_bad(weir_relu(NULL)));
	assert_true(isnan(weir_item(NULL)));
	assert_true(weir_is_bad(weir_add(NULL, NULL)));
	assert_true(weir_is_bad(weir_add(scalar(w, 1), NULL)));
	expect_error(w, WEIR_ERR_ARGUMENT, "NULL", NULL);
	weir_backward(NULL);
	weir_print(NULL, stdout);
	weir_drop(NULL);
	close_clean(w);
}

static void two_contexts(void **state)
{
	weir_ctx *w = open_quiet(true), *v = open_quiet(true);

	(void)state;
	assert_true(weir_is_bad(weir_add(scalar(w, 1), scalar(v, 1))));
	expect_error(w, WEIR_ERR_CONTEXT, "weir_share", NULL);
	assert_true(weir_ok(v));
	close_clean(w);
	close_clean(v);
}

/* Every function that takes more than one tensor tells another context's from its own. */
static void two_contexts_everywhere(void **state)
{
	weir_ctx *w = open_quiet(true), *v = open_quiet(true);
	weir_tensor *p = weir_param_new(w, "p", WEIR_F64, 0, NULL), *q = scalar(v, 1), *l = weir_mul(p, p), *g;
	weir_module *m = weir_linear_new(w, 1, 1, WEIR_INIT_HE);
	weir_tensor *x = weir_zeros(w, WEIR_F32, SHAPE(1, 1)), *other = weir_zeros(v, WEIR_F32, SHAPE(1, 1));
	weir_place place = weir_mark(w);

	(void)state;
	weir_vjp(l, q, &p, 1, &g, 0);
	expect_error(w, WEIR_ERR_CONTEXT, "weir_vjp", "gy", NULL);
	weir_grad(l, &q, 1, &g, 0);
	expect_error(w, WEIR_ERR_CONTEXT, "weir_grad", NULL);
	weir_jvp(l, &p, &q, 1, 0);
	expect_error(w, WEIR_ERR_CONTEXT, "weir_jvp", NULL);
	assert_false(weir_set_grad(p, q));
	expect_error(w, WEIR_ERR_CONTEXT, "weir_set_grad", NULL);
	assert_true(weir_is_bad(weir_replay(l, &(weir_rule){ .op = "mul", .with = q }, 1)));
	expect_error(w, WEIR_ERR_CONTEXT, "weir_replay", NULL);
	assert_false(weir_substitute_begin(w, &p, &q, 1));
	expect_error(w, WEIR_ERR_CONTEXT, "weir_substitute_begin", NULL);
	assert_true(weir_is_bad(weir_forward_with(m, &other, 1, x)));
	expect_error(w, WEIR_ERR_CONTEXT, NULL);
	g = q;
	weir_rewind(w, place, &g, 1);
	assert_true(weir_is_bad(g));
	expect_error(w, WEIR_ERR_CONTEXT, "weir_rewind", NULL);
	close_clean(w);
	close_clean(v);
}

static void null_arguments(void **state)
{
	static const weir_op empty = { .name = "empty", .arity = 1 },
			     lazy = { .name = "lazy", .arity = 1, .shape = weir_same_shape };
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = weir_zeros(w, WEIR_F64, SHAPE(3)), *p = weir_param_new(w, "p", WEIR_F64, 0, NULL),
		    *l = weir_mul(p, p), *g;

	(void)state;
	assert_false(weir_read(x, NULL, 24));
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_read", NULL);
	assert_false(weir_read_f64(x, NULL, 3));
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_read_f64", NULL);
	assert_false(weir_write(x, NULL, 24));
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_write", NULL);
	assert_false(weir_write_f64(x, NULL, 3));
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_write_f64", NULL);
	assert_false(weir_grad(l, NULL, 1, &g, 0));
	expect_error(w, WEIR_ERR_ARGUMENT, "xs", NULL);
	assert_false(weir_grad(l, &p, 1, NULL, 0));
	expect_error(w, WEIR_ERR_ARGUMENT, "gxs", NULL);
	weir_replay(l, NULL, 1);
	expect_error(w, WEIR_ERR_ARGUMENT, "rules", NULL);
	weir_substitute_begin(w, &p, NULL, 1);
	expect_error(w, WEIR_ERR_ARGUMENT, "NULL", NULL);
	weir_op_apply(NULL, &x, 1, NULL);
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_op_apply", NULL);
	weir_op_apply(&empty, &x, 1, NULL);
	expect_error(w, WEIR_ERR_ARGUMENT, "empty", "shape rule", NULL);
	weir_op_apply(&lazy, &x, 1, NULL);
	expect_error(w, WEIR_ERR_ARGUMENT, "lazy", "forward", NULL);
	weir_sum(x, 100, (int[]){ 0 }, false);
	expect_error(w, WEIR_ERR_AXIS, "100 axes", NULL);
	close_clean(w);
}

static void creation_refuses(void **state)
{
	weir_ctx *w = open_quiet(true);

	(void)state;
	weir_zeros(w, WEIR_F32, 2, (int64_t[]){ 3, -1 });
	expect_error(w, WEIR_ERR_SHAPE, "[3, -1]", NULL);
	weir_zeros(w, WEIR_F32, 2, (int64_t[]){ INT64_MAX, 4 });
	expect_error(w, WEIR_ERR_SHAPE, NULL);
	weir_zeros(w, WEIR_F32, 9, (int64_t[9]){ 0 });
	expect_error(w, WEIR_ERR_LIMIT, "0 to 8", NULL);
	weir_zeros(w, (weir_dtype)17, 0, NULL);
	expect_error(w, WEIR_ERR_DTYPE, NULL);
	weir_zeros(w, WEIR_F32, 2, NULL);
	expect_error(w, WEIR_ERR_ARGUMENT, NULL);
	weir_from(w, WEIR_F32, 1, (int64_t[]){ 3 }, NULL);
	expect_error(w, WEIR_ERR_ARGUMENT, NULL);
	weir_normal(w, WEIR_I32, 1, (int64_t[]){ 3 }, 0, 1);
	expect_error(w, WEIR_ERR_DTYPE, NULL);
	weir_param_new(w, "p", WEIR_U8, 0, NULL);
	expect_error(w, WEIR_ERR_DTYPE, NULL);
	weir_zeros(w, WEIR_F64, 3, (int64_t[]){ 1 << 20, 1 << 20, 1 << 10 }); /* 8 PiB */
	expect_error(w, WEIR_ERR_MEMORY, "out of memory", NULL);
	weir_extent(scalar(w, 1), 0);
	expect_error(w, WEIR_ERR_AXIS, NULL);
	weir_get(scalar(w, 1), 1);
	expect_error(w, WEIR_ERR_INDEX, NULL);
	weir_item(weir_zeros(w, WEIR_F32, SHAPE(2)));
	expect_error(w, WEIR_ERR_SHAPE, "2 elements", NULL);
	weir_write_f64(weir_relu(scalar(w, 1)), (double[]){ 1 }, 1);
	expect_error(w, WEIR_ERR_ARGUMENT, "result of relu", NULL);
	weir_no_grad_end(w);
	expect_error(w, WEIR_ERR_ARGUMENT, NULL);
	weir_scope_end(w);
	expect_error(w, WEIR_ERR_ARGUMENT, NULL);
	close_clean(w);
}

/* ---- values ---- */

static void reading_and_writing(void **state)
{
	weir_ctx *w = open_quiet(false);
	static const weir_dtype types[] = { WEIR_F32, WEIR_F64, WEIR_I32, WEIR_I64, WEIR_U8 };
	double v[6] = { 0, 1, 2, 3, 4, 5 }, back[6];
	float tiny = 1e-42f;

	(void)state;
	for (int t = 0; t < 5; t++) {
		weir_tensor *x = weir_zeros(w, types[t], SHAPE(2, 3)), *y;

		assert_true(weir_write_f64(x, v, 6));
		assert_true(weir_read_f64(x, back, 6));
		assert_memory_equal(v, back, sizeof v);
		assert_true(weir_get(x, 4) == 4);
		y = weir_permute(x, 2, (int[]){ 1, 0 });
		assert_false(weir_is_contiguous(y));
		assert_true(weir_get(y, 1) == 3); /* [3, 2]: row 0 is 0, 3 */
		assert_true(weir_read_f64(y, back, 6));
		assert_memory_equal(back, ((double[]){ 0, 3, 1, 4, 2, 5 }), sizeof back);
		assert_true(weir_get(weir_contiguous(y), 1) == 3);
	}
	/* saturating, towards zero, NaN to 0 */
	weir_tensor *i = weir_zeros(w, WEIR_I32, SHAPE(4));
	assert_true(weir_write_f64(i, (double[]){ 1e300, -1e300, NAN, -1.9 }, 4));
	expect_values(i, 4, (double[]){ 2147483647, -2147483648.0, 0, -1 });
	i = weir_zeros(w, WEIR_I64, SHAPE(2));
	assert_true(weir_write_f64(i, (double[]){ 1e300, -1e300 }, 2));
	assert_true(((const int64_t *)weir_data(i))[0] == INT64_MAX && ((const int64_t *)weir_data(i))[1] == INT64_MIN);
	/* reading is exact in flush mode, too */
	assert_true(weir_item(weir_from(w, WEIR_F32, 0, NULL, &tiny)) == (double)tiny);
	close_clean(w);
}

static void printing(void **state)
{
	weir_ctx *w = open_quiet(true);
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	(void)state;
	weir_print(weir_set_name(weir_from(w, WEIR_F32, SHAPE(2, 2), (float[]){ 0.1f, 1, -2.5f, 1e10f }), "m"), f);
	weir_print(weir_zeros(w, WEIR_I64, SHAPE(20)), f);
	weir_print(scalar(w, NAN), f);
	weir_print(weir_zeros(w, WEIR_F32, SHAPE(0, 3)), f);
	fclose(f);
	assert_string_equal(
		text,
		"[2, 2] f32 (m)\n[[0.1, 1],\n [-2.5, 1e+10]]\n[20] i64\n[0, 0, 0, ..., 0, 0, 0]\n[] f64\nnan\n[0, 3] f32\n[]\n");
	free(text);
	close_clean(w);
}

/* ---- ownership ---- */

static void stale_tensors(void **state)
{
	(void)state;
	for (int check = 0; check < 2; check++) {
		weir_options o;
		weir_ctx *w;
		weir_tensor *old, *older;

		weir_options_init(&o);
		o.handler = NULL;
		o.check_stale = check;
		w = weir_open(&o);
		older = scalar(w, 1);
		weir_tape_reset(w);
		old = weir_set_name(scalar(w, 2), "old");
		if (check) { /* however old */
			for (int i = 0; i < 5000; i++) weir_add(scalar(w, 1), scalar(w, 2));
			for (int i = 0; i < 50; i++) {
				weir_tape_reset(w);
				for (int k = 0; k < 100; k++) scalar(w, k);
			}
			weir_relu(older);
			expect_error(w, WEIR_ERR_STALE, "weir_relu", "stale", NULL);
		} else {
			weir_tape_reset(w);
		}
		scalar(w, 3);
		weir_item(old);
		expect_error(w, WEIR_ERR_STALE, "weir_item", "weir_keep", NULL);
		weir_add(scalar(w, 1), old);
		expect_error(w, WEIR_ERR_STALE, "weir_add", NULL);
		close_clean(w);
	}
}

static void keeping(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = weir_keep(weir_set_name(scalar(w, 3), "x")), *y, *k, *g;

	(void)state;
	weir_tape_reset(w);
	assert_true(weir_item(x) == 3);
	assert_string_equal(weir_name(x), "x");
	y = weir_mul(x, x);
	k = weir_keep(y); /* keeps its history until the reset */
	assert_true(weir_grad(weir_mul(k, k), &x, 1, &g, 0));
	assert_true(weir_item(g) == 4 * 27);
	assert_true(weir_grad(weir_mul(k, k), &k, 1, &g, 0));
	assert_true(weir_item(g) == 18);
	weir_tape_reset(w);
	assert_true(weir_item(k) == 9); /* a leaf now */
	assert_true(weir_grad(weir_mul(k, x), &k, 1, &g, 0));
	assert_true(weir_item(g) == 3);
	assert_false(weir_grad(weir_mul(k, k), &x, 1, &g, 0));
	expect_error(w, WEIR_ERR_GRADIENT, "does not depend", "x", NULL);
	assert_true(weir_grad(weir_mul(k, k), &x, 1, &g, WEIR_ALLOW_UNUSED));
	assert_null(g);
	weir_drop(k);
	weir_item(k);
	expect_error(w, WEIR_ERR_STALE, NULL);
	weir_drop(weir_mul(x, x));
	expect_error(w, WEIR_ERR_ARGUMENT, "belongs to the tape", NULL);
	for (int i = 0; i < 100; i++) { /* headers of dropped tensors serve again */
		weir_drop(weir_keep(scalar(w, i)));
		weir_tape_reset(w);
	}
	assert_true(weir_item(x) == 3);
	close_clean(w);
}

static void sharing(void **state)
{
	weir_ctx *w = open_quiet(true), *v = open_quiet(true);
	weir_tensor *p = weir_param_new(w, "p", WEIR_F64, SHAPE(200, 3)), *q, *s;

	(void)state;
	weir_write_f64(p, (double[600]){ [7] = 5 }, 600);
	weir_share(v, weir_relu(p));
	expect_error(v, WEIR_ERR_ARGUMENT, "weir_keep", NULL);
	q = weir_share(v, p);
	assert_true(weir_get(q, 7) == 5);
	assert_ptr_equal(weir_data(q), weir_data(p));
	assert_string_equal(weir_name(q), "p");
	s = weir_sum_all(weir_mul(q, q));
	assert_true(weir_item(s) == 25);
	assert_null(weir_data_mut(q, NULL));
	expect_error(v, WEIR_ERR_ARGUMENT, "shared", NULL);
	close_clean(w); /* the owner goes first */
	assert_true(weir_get(q, 7) == 5);
	close_clean(v);
}

/* ---- marks ---- */

static void rewinding(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = weir_set_name(weir_full(w, WEIR_F32, SHAPE(100), 1), "x"), *y, *z, *keep[3];
	weir_place place = weir_mark(w), inner;

	(void)state;
	y = weir_set_name(weir_add(x, x), "y");
	z = weir_permute(weir_reshape(weir_mul(y, y), 2, (int64_t[]){ 4, 25 }), 2, (int[]){ 1, 0 });
	inner = weir_mark(w);
	weir_relu(z);
	keep[0] = y, keep[1] = NULL, keep[2] = z;
	weir_rewind(w, place, keep, 3);
	assert_null(keep[1]);
	assert_true(weir_get(keep[0], 99) == 2 && weir_get(keep[2], 99) == 4);
	assert_string_equal(weir_name(keep[0]), "y");
	assert_int_equal(weir_extent(keep[2], 0), 25);
	assert_int_equal(weir_tape_length(w), place.index + 2);
	weir_rewind(w, inner, NULL, 0);
	expect_error(w, WEIR_ERR_STALE, "mark", NULL);
	assert_true(weir_get(weir_add(x, keep[0]), 3) == 3);
	keep[0] = x; /* made before the mark: stays itself */
	weir_rewind(w, place, keep, 1);
	assert_ptr_equal(keep[0], x);
	weir_tape_reset(w);
	weir_rewind(w, place, NULL, 0);
	expect_error(w, WEIR_ERR_STALE, NULL);
	close_clean(w);
}

static void rewinding_a_leaf(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *p = weir_param_new(w, "p", WEIR_F64, 0, NULL);
	weir_place place = weir_mark(w);

	(void)state;
	weir_write_f64(p, (double[]){ 3 }, 1);
	for (int i = 0; i < 3; i++) { /* the leaf of p is rewound with the rest, and made again */
		weir_zero_grad(p);
		weir_backward(weir_mul(p, p));
		assert_true(weir_item(weir_grad_of(p)) == 6);
		weir_rewind(w, place, NULL, 0);
		assert_int_equal(weir_tape_length(w), place.index);
	}
	close_clean(w);
}

/* A 1,000-layer forward without gradients holds the memory of a few layers, by hand and in a Sequential. */
static void memory_without_gradients(void **state)
{
	enum { WIDTH = 64, BATCH = 256, LAYERS = 1000, LAYER = WIDTH * BATCH * 4 };
	weir_ctx *w = open_quiet(false);
	weir_module *net = weir_sequential_new(w, "deep");
	weir_tensor *x, *first, *p = weir_param_new(w, "p", WEIR_F32, SHAPE(WIDTH, WIDTH));
	size_t before;

	(void)state;
	for (int i = 0; i < LAYERS; i++) weir_module_add(net, NULL, weir_tanh_new(w));
	first = weir_full(w, WEIR_F32, SHAPE(BATCH, WIDTH), 0.5);
	weir_no_grad_begin(w);
	before = weir_memory_of(w).values;
	weir_memory_mark_peak(w);
	x = first;
	weir_place place = weir_mark(w);
	for (int i = 0; i < LAYERS; i++) {
		x = weir_gelu(weir_linear(x, p, NULL));
		weir_rewind(w, place, &x, 1);
	}
	assert_true(weir_memory_of(w).values_peak - before <= 6 * LAYER);
	weir_memory_mark_peak(w);
	before = weir_memory_of(w).values;
	x = weir_forward(net, first);
	assert_true(weir_get(x, 0) < 0.1);
	assert_true(weir_memory_of(w).values_peak - before <= 4 * LAYER);
	assert_true(weir_memory_of(w).held < 200 * (size_t)LAYER);
	weir_no_grad_end(w);
	close_clean(w);
}

/* What a composed function needs only inside goes back to the pool at its end. */
static void scratch(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = weir_full(w, WEIR_F64, SHAPE(1000), 0.5);
	size_t before = weir_memory_of(w).values;

	(void)state;
	weir_no_grad_begin(w);
	weir_sub(weir_silu(x), x);
	weir_no_grad_end(w);
	assert_true(weir_memory_of(w).values - before <= 2 * 8000 + 64);
	close_clean(w);
}

/* A training step in steady state makes no call to the allocator. */
static void no_malloc_in_a_steady_step(void **state)
{
	weir_options o;
	weir_ctx *w;
	weir_dataset *set;
	weir_module *net;
	weir_optim *optim;
	weir_flow *flow;
	uint64_t calls = 0;

	(void)state;
	weir_options_init(&o);
	o.handler = NULL;
	o.check_stale = false; /* which never uses an address twice */
	w = weir_open(&o);
	set = weir_dataset_digits(w);
	net = weir_sequential_new(w, "net");
	weir_module_add(net, NULL, weir_linear_new(w, 64, 32, WEIR_INIT_HE));
	weir_module_add(net, NULL, weir_layer_norm_new(w, 32, 1e-5));
	weir_module_add(net, NULL, weir_gelu_new(w));
	weir_module_add(net, NULL, weir_linear_new(w, 32, 10, WEIR_INIT_HE));
	optim = weir_adamw_new(w, net, 1e-3, 0.01);
	flow = weir_flow_watch(w, NULL);
	for (int step = 0; step < 60; step++) {
		weir_tensor *x, *y, *loss;

		if (step == 35)
			calls = weir_memory_of(w).allocator_calls; /* an epoch, with its short last batch, has passed */
		weir_tape_reset(w);
		weir_dataset_next(set, 64, &x, &y);
		loss = weir_add(weir_cross_entropy(weir_forward(net, x), y), weir_l2_penalty(net, 1e-4));
		weir_backward(loss);
		weir_clip_norm(net, 1);
		weir_flow_step(flow, loss);
		weir_optim_step(optim);
	}
	assert_true(weir_ok(w));
	assert_int_equal(weir_memory_of(w).allocator_calls, calls);
	close_clean(w);
}

static void memory_limit(void **state)
{
	weir_options o;
	weir_ctx *w;

	(void)state;
	weir_options_init(&o);
	o.handler = NULL;
	o.memory_limit = 4 << 20;
	o.check_stale = false; /* which takes memory for good */
	w = weir_open(&o);
	assert_true(weir_ok(w));
	weir_zeros(w, WEIR_F64, SHAPE(1 << 20));
	expect_error(w, WEIR_ERR_MEMORY, "limit", NULL);
	assert_true(weir_memory_of(w).held <= o.memory_limit);
	while (weir_ok(w)) weir_zeros(w, WEIR_F32, SHAPE(10)); /* to the brim */
	for (int i = 0; i < 4; i++) {                          /* and usable again */
		weir_clear_error(w);
		weir_tape_reset(w);
		assert_false(weir_is_bad(weir_zeros(w, WEIR_F32, SHAPE(10))));
	}
	close_clean(w);
	o.memory_limit = 100; /* not even the context */
	w = weir_open(&o);
	assert_false(weir_ok(w));
	assert_int_equal(weir_close(w), WEIR_ERR_MEMORY);
}

/* Every allocation of a small training step fails once: an error, no crash, and the context goes on. */
static int64_t allowed;

static void *failing_alloc(void *user, size_t size, size_t align)
{
	(void)user;
	if (allowed-- <= 0) return NULL;
	return aligned_alloc(align, (size + align - 1) / align * align);
}

static void failing_free(void *user, void *p, size_t size)
{
	(void)user, (void)size;
	free(p);
}

static void allocation_failures(void **state)
{
	int failures = 0;

	(void)state;
	for (int64_t k = 0; k < 400; k++) {
		weir_options o;
		weir_ctx *w;
		weir_tensor *x, *p, *loss;

		weir_options_init(&o);
		o.handler = NULL;
		o.threads = 1;
		o.allocator = (weir_allocator){ failing_alloc, failing_free, &allowed };
		allowed = k;
		w = weir_open(&o);
		x = weir_full(w, WEIR_F32, SHAPE(50, 60), 0.5);
		p = weir_param_new(w, "p", WEIR_F32, SHAPE(70, 60));
		loss = weir_sum_all(weir_softmax(weir_gelu(weir_linear(x, p, NULL)), -1));
		weir_backward(loss);
		if (weir_error(w) == WEIR_OK) {
			assert_int_equal(weir_close(w), 0);
			break;
		}
		failures++;
		assert_int_equal(weir_error(w), WEIR_ERR_MEMORY);
		weir_clear_error(w);
		allowed = INT64_MAX;
		if (weir_ok(w)) { /* not where the context itself could not be had */
			weir_tape_reset(w);
			assert_true(weir_item(weir_add(weir_scalar(w, WEIR_F64, 1), weir_scalar(w, WEIR_F64, 2))) == 3);
		}
		weir_close(w);
	}
	assert_in_range(failures, 8, 399);
}

/* ---- depth ---- */

/* A chain of a million nodes goes backward under a stack of 256 KiB: in a child of its own, for the stack. */
static void a_million_nodes(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (child == 0) {
		struct rlimit small = { 256 << 10, 256 << 10 };
		char program[4096];
		ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);

		if (n <= 0 || setrlimit(RLIMIT_STACK, &small)) _exit(3);
		program[n] = 0;
		execl(program, program, "--chain", (char *)NULL);
		_exit(4);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int chain(void)
{
	enum { NODES = 1000000 };
	weir_ctx *w = open_quiet(false);
	weir_tensor *p = weir_param_new(w, "p", WEIR_F32, 0, NULL), *y;
	int failed = 0;

	for (int round = 0; round < 2; round++) {
		weir_tape_reset(w);
		weir_zero_grad(p);
		y = p;
		for (int i = 0; i < NODES; i++) y = weir_affine(y, 1, 1);
		weir_backward(y);
		failed |= !weir_ok(w) || weir_item(y) != NODES || weir_item(weir_grad_of(p)) != 1;
	}
	failed |= weir_close(w) != 0;
	return failed;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_error_sticks),
		cmocka_unit_test(null_operands),
		cmocka_unit_test(two_contexts),
		cmocka_unit_test(two_contexts_everywhere),
		cmocka_unit_test(null_arguments),
		cmocka_unit_test(creation_refuses),
		cmocka_unit_test(reading_and_writing),
		cmocka_unit_test(printing),
		cmocka_unit_test(stale_tensors),
		cmocka_unit_test(keeping),
		cmocka_unit_test(sharing),
		cmocka_unit_test(rewinding),
		cmocka_unit_test(rewinding_a_leaf),
		cmocka_unit_test(memory_without_gradients),
		cmocka_unit_test(scratch),
		cmocka_unit_test(no_malloc_in_a_steady_step),
		cmocka_unit_test(memory_limit),
		cmocka_unit_test(allocation_failures),
		cmocka_unit_test(a_million_nodes),
	};

	if (argc > 1 && !strcmp(argv[1], "--chain")) return chain();
	return cmocka_run_group_tests_name("tape", tests, NULL, NULL);
}
