/* test_replay_into.c: what led to a tensor executed again in another context: the same bits and the same structure, on copies.
 * It is longer than most because all that a tape can hold is copied once. */
#include "tests/nn_check.h"

static weir_ctx *open_with(int threads)
{
	return open_as(WEIR_F32, threads, 3);
}

static void close_both(weir_ctx *w, weir_ctx *to)
{
	assert_fine(w);
	assert_fine(to);
	assert_int_equal(weir_close(w), 0);
	assert_int_equal(weir_close(to), 0);
}

/* Elements and structure of two tapes that came from one another; the second may lack what root does not need. */
static void assert_same_node(const weir_tensor *a, const weir_tensor *b)
{
	weir_node_info x = weir_node(a), y = weir_node(b);
	int64_t n = weir_numel(a);

	assert_string_equal(y.op, x.op);
	assert_string_equal(y.scope, x.scope);
	assert_string_equal(y.here, x.here);
	assert_string_equal(weir_name(b), weir_name(a));
	assert_int_equal(y.call, x.call);
	assert_int_equal(y.order, x.order);
	assert_int_equal(y.inputs, x.inputs);
	assert_int_equal(y.recorded, x.recorded);
	assert_int_equal(weir_dtype_of(b), weir_dtype_of(a));
	assert_int_equal(weir_rank(b), weir_rank(a));
	assert_int_equal(weir_numel(b), n);
	if (x.released || y.released) return;
	for (int64_t i = 0; i < n; i++) {
		double u = weir_get(a, i), v = weir_get(b, i);

		if (memcmp(&u, &v, sizeof u))
			fail_msg("%s, element %lld: %.17g here, %.17g there", x.name, (long long)i, u, v);
	}
}

static void assert_same_tapes(const weir_ctx *a, const weir_ctx *b)
{
	int64_t j = 0;

	for (int64_t i = 0; i < weir_tape_length(a); i++) {
		if (!weir_tape_at(a, i)) continue;
		while (j < weir_tape_length(b) && !weir_tape_at(b, j)) j++;
		if (j == weir_tape_length(b)) fail_msg("node %lld has no copy", (long long)i);
		assert_same_node(weir_tape_at(a, i), weir_tape_at(b, j++));
	}
}

static const weir_tensor *param_named(const weir_ctx *w, const char *name)
{
	for (int64_t i = 0; i < weir_tape_length(w); i++) {
		weir_tensor *t = weir_tape_at(w, i), *p = t ? weir_origin_of(t) : NULL;

		if (p && weir_is_param(p) && !strcmp(weir_name(p), name)) return p;
	}
	fail_msg("there is no parameter %s", name);
	return NULL;
}

/* Backward on both: the same loss and the same gradients, and the original's own are as they would be without the copy. */
static void assert_same_gradients(weir_tensor *loss, weir_tensor *copy, const weir_module *m)
{
	assert_true(weir_item(copy) == weir_item(loss));
	weir_backward(copy);
	assert_fine(weir_context(copy));
	for (int64_t i = 0; i < weir_module_parameter_count(m); i++)
		assert_null(weir_grad_of(weir_module_parameter(m, i)));
	weir_backward(loss);
	for (int64_t i = 0; i < weir_module_parameter_count(m); i++) {
		const weir_tensor *p = weir_module_parameter(m, i), *q = param_named(weir_context(copy), weir_name(p));
		const weir_tensor *g = weir_grad_of(p), *h = weir_grad_of(q);

		assert_int_equal(!g, !h);
		for (int64_t k = 0; g && k < weir_numel(g); k++) {
			if (weir_get(g, k) != weir_get(h, k))
				fail_msg("%s, element %lld: %.17g and %.17g", weir_name(p), (long long)k,
					 weir_get(g, k), weir_get(h, k));
		}
	}
}

static weir_tensor *noisy(weir_ctx *w, weir_dtype dtype, int64_t rows, int64_t columns)
{
	weir_tensor *t = weir_zeros(w, dtype, 2, (int64_t[]){ rows, columns });
	double *v = malloc((size_t)(rows * columns) * sizeof *v);

	assert_non_null(v);
	for (int64_t i = 0; i < rows * columns; i++) v[i] = noise((int)i, 1);
	assert_true(weir_write_f64(t, v, rows * columns));
	free(v);
	return t;
}

static weir_module *network(weir_ctx *w)
{
	weir_module *m = weir_sequential_new(w, "net"), *branch = weir_sequential_new(w, NULL);

	weir_module_add(m, NULL, weir_linear_new(w, 6, 5, WEIR_INIT_HE));
	weir_module_add(m, NULL, weir_gelu_new(w));
	weir_module_add(m, NULL, weir_layer_norm_new(w, 5, 1e-5));
	weir_module_add(branch, NULL, weir_linear_new(w, 5, 5, WEIR_INIT_GLOROT));
	weir_module_add(branch, NULL, weir_relu_new(w));
	weir_module_add(m, NULL, weir_residual_new(w, branch, 0.5));
	weir_module_add(m, NULL, weir_linear_new(w, 5, 4, WEIR_INIT_GLOROT));
	return m;
}

static void networks(void **state)
{
	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		weir_dtype dtype = kind & 1 ? WEIR_F64 : WEIR_F32;
		weir_ctx *w = open_as(dtype, 1, 7), *to = open_with(kind & 2 ? 3 : 1);
		weir_module *m = network(w);
		weir_tensor *x, *y, *loss, *copy;

		x = weir_set_name(noisy(w, dtype, 8, 6), "x");
		y = weir_from(w, WEIR_I64, 1, (int64_t[]){ 8 }, (int64_t[]){ 0, 1, 2, 3, 3, 2, 1, 0 });
		loss = weir_set_name(weir_cross_entropy(weir_forward(m, x), y), "loss");
		copy = weir_replay_into(to, loss, NULL, 0);
		assert_fine(to);
		assert_same_tapes(w, to);
		assert_same_gradients(loss, copy, m);
		close_both(w, to);
	}
}

/* Views, integer tensors, every element type, more operands than a few, a parameter used twice. */
static void operations(void **state)
{
	weir_ctx *w = open_with(1), *to = open_with(1);
	weir_tensor *p = weir_param_new(w, "p", WEIR_F64, 2, (int64_t[]){ 3, 4 }), *copy, *y, *many[11], *index;
	weir_tensor *mask, *grid = noisy(w, WEIR_F64, 3, 4);

	(void)state;
	weir_write_f64(p, (double[]){ 1, -2, 3, -4, 5, -6, 7, -8, 9, 10, 11, 12 }, 12);
	index = weir_from(w, WEIR_I32, 1, (int64_t[]){ 3 }, (int32_t[]){ 2, 0, 2 });
	mask = weir_from(w, WEIR_U8, 2, (int64_t[]){ 3, 1 }, (uint8_t[]){ 1, 0, 1 });
	y = weir_where(mask, weir_gather(p, 0, index), grid);
	y = weir_matmul(weir_slice(weir_transpose(y, 0, 1), 1, 0, 3, 2), weir_reshape(p, 2, (int64_t[]){ 2, 6 }));
	for (int i = 0; i < 11; i++) many[i] = weir_leaky_relu(weir_affine(y, i, 1), 0.1);
	y = weir_concat(many, 11, 1);
	y = weir_mul(y, weir_expand(weir_clamp(weir_scalar(w, WEIR_F64, 3), -2, 2), 2, weir_shape(y)));
	y = weir_cast(weir_sum(y, 1, (int[]){ 0 }, false), WEIR_F32);
	y = weir_add(y, weir_cast(weir_argmax(y, 0, true), WEIR_F32));
	y = weir_mean_all(weir_log_softmax(y, 0));
	copy = weir_replay_into(to, y, NULL, 0);
	assert_fine(to);
	assert_same_tapes(w, to);
	weir_backward(y);
	weir_backward(copy);
	for (int i = 0; i < 12; i++)
		assert_true(weir_get(weir_grad_of(p), i) == weir_get(weir_grad_of(param_named(to, "p")), i));
	close_both(w, to);
}

/* One parameter for each original, in each call; a frozen one stays frozen; kept tensors become leaves. */
static void leaves(void **state)
{
	weir_ctx *w = open_with(1), *to = open_with(1);
	weir_tensor *p = weir_param_new(w, "p", WEIR_F32, 0, NULL), *q = weir_param_new(w, "", WEIR_F32, 0, NULL);
	weir_tensor *k = weir_keep(weir_set_name(weir_scalar(w, WEIR_F32, 5), "kept")), *y, *copy, *in[3] = { 0 };

	(void)state;
	weir_freeze(q, true);
	weir_write_f64(p, (double[]){ 2 }, 1);
	weir_write_f64(q, (double[]){ 3 }, 1);
	y = weir_mul(weir_add(weir_mul(p, p), q), weir_mul(k, p));
	copy = weir_replay_into(to, y, NULL, 0);
	assert_fine(to);
	assert_true(weir_item(copy) == 70);
	for (int64_t i = 0, n = 0; i < weir_tape_length(to); i++) {
		weir_tensor *t = weir_tape_at(to, i);

		if (weir_node(t).inputs) continue;
		assert_true(n < 3);
		in[n++] = weir_origin_of(t);
	}
	assert_false(weir_is_param(in[0]));
	assert_string_equal(weir_name(in[0]), "kept");
	assert_true(weir_is_param(in[1]) && !weir_is_frozen(in[1]));
	assert_true(weir_is_param(in[2]) && weir_is_frozen(in[2]));
	weir_backward(copy);
	assert_true(weir_item(weir_grad_of(in[1])) == 75); /* 5 (3 p² + q) */
	assert_null(weir_grad_of(in[2]));
	weir_write_f64(in[1], (double[]){ 9 }, 1);
	assert_true(weir_item(p) == 2); /* a copy */
	assert_ptr_not_equal(weir_replay_into(to, p, NULL, 0), in[1]);
	assert_true(weir_item(weir_replay_into(to, k, NULL, 0)) == 5);
	close_both(w, to);
}

/* A gradient that was asked for is asked for in the copy, too, of leaves and of results. */
static void retained(void **state)
{
	weir_ctx *w = open_with(1), *to = open_with(1);
	weir_tensor *x = weir_retain_grad(weir_scalar(w, WEIR_F64, 3)), *h = weir_retain_grad(weir_mul(x, x));
	weir_tensor *copy = weir_replay_into(to, weir_mul(h, h), NULL, 0);

	(void)state;
	assert_fine(to);
	weir_backward(copy);
	assert_true(weir_item(weir_grad_of(weir_input(copy, 0))) == 18);
	assert_true(weir_item(weir_grad_of(weir_input(weir_input(copy, 0), 0))) == 108);
	assert_null(weir_grad_of(x));
	close_both(w, to);
}

/* What was made where nothing was recorded passes no gradient in the copy either, nor in weir_replay(). */
static void unrecorded(void **state)
{
	weir_ctx *w = open_with(1), *to = open_with(1);
	weir_tensor *p = weir_param_new(w, "p", WEIR_F32, 0, NULL), *a, *b, *y, *copy, *g;

	(void)state;
	weir_write_f64(p, (double[]){ 3 }, 1);
	weir_no_grad_begin(w);
	a = weir_mul(p, p);
	b = weir_silu(a); /* what stands between is gone */
	weir_no_grad_end(w);
	y = weir_mul(weir_add(a, b), p);
	assert_false(weir_node(a).recorded);
	copy = weir_replay_into(to, y, NULL, 0);
	assert_fine(to);
	assert_true(weir_item(copy) == weir_item(y));
	weir_backward(y);
	weir_backward(copy);
	assert_true(weir_item(weir_grad_of(p)) == weir_item(weir_grad_of(param_named(to, "p"))));
	assert_true(weir_grad(weir_replay(y, NULL, 0), &p, 1, &g, 0));
	assert_true(weir_item(g) == weir_item(weir_grad_of(p)));
	weir_no_grad_begin(w);
	assert_true(weir_item(weir_replay_into(to, weir_mul(p, p), NULL, 0)) == 9);
	weir_no_grad_end(w);
	close_both(w, to);
}

/* Gradients of gradients: the nodes that a rule made keep their order. */
static void higher_order(void **state)
{
	weir_ctx *w = open_with(1), *to = open_with(1);
	weir_tensor *p = weir_param_new(w, "p", WEIR_F64, 0, NULL), *y, *g, *copy;

	(void)state;
	weir_write_f64(p, (double[]){ 0.5 }, 1);
	y = weir_tanh(p);
	assert_true(weir_grad(y, &p, 1, &g, WEIR_CREATE_GRAPH));
	y = weir_add(y, weir_square(g));
	copy = weir_replay_into(to, y, NULL, 0);
	assert_true(weir_item(copy) == weir_item(y));
	weir_backward(y);
	weir_backward(copy);
	assert_true(weir_item(weir_grad_of(p)) == weir_item(weir_grad_of(param_named(to, "p"))));
	assert_int_equal(weir_node(copy).order, weir_node(y).order);
	close_both(w, to);
}

/* ---- rules ---- */

typedef struct seen {
	int calls;
	char ops[128];
} seen;

static weir_tensor *watch(weir_tensor *old, weir_tensor *const *in, int n, void *user)
{
	seen *s = user;

	s->calls++;
	strcat(strcat(s->ops, weir_node(old).op), " ");
	return weir_op_apply(weir_op_of(old), in, n, weir_attr(old));
}

static weir_tensor *outside(weir_tensor *old, weir_tensor *const *in, int n, void *user)
{
	weir_tensor *y = weir_op_apply(weir_op_of(old), in, n, weir_attr(old));

	(void)user;
	weir_scope_end(weir_context(y));
	return weir_neg(y);
}

static weir_tensor *of_the_source(weir_tensor *old, weir_tensor *const *in, int n, void *user)
{
	(void)in, (void)n, (void)user;
	return old;
}

static void rules(void **state)
{
	weir_ctx *w = open_with(1), *to = open_with(1);
	weir_tensor *p = weir_param_new(w, "p", WEIR_F32, 0, NULL), *x = weir_scalar(w, WEIR_F32, 4), *h, *y, *copy;
	seen s = { 0 };

	(void)state;
	weir_write_f64(p, (double[]){ 3 }, 1);
	weir_scope_begin(w, "a");
	weir_scope_begin(w, "b");
	h = weir_mul(p, x);
	weir_scope_end(w);
	weir_scope_end(w);
	y = weir_tanh(weir_neg(h));
	/* without a selector: every operation's result, no leaf; the first that matches wins */
	copy = weir_replay_into(to, y,
				(weir_rule[]){ { .op = "neg", .with = weir_scalar(to, WEIR_F32, 0.25) },
					       { .apply = watch, .user = &s } },
				2);
	assert_fine(to);
	assert_int_equal(s.calls, 2);
	assert_string_equal(s.ops, "mul tanh ");
	assert_true(weir_item(copy) == weir_item(weir_tanh(weir_scalar(w, WEIR_F32, 0.25))));
	s = (seen){ 0 };
	assert_true(weir_item(weir_replay(y, &(weir_rule){ .apply = watch, .user = &s }, 1)) == weir_item(y));
	assert_string_equal(s.ops, "mul neg tanh ");
	/* a rule may end the scope for what it makes behind the operation */
	copy = weir_replay_into(to, h, &(weir_rule){ .tensor = h, .apply = outside }, 1);
	assert_true(weir_item(copy) == -12);
	assert_string_equal(weir_node(copy).scope, "");
	assert_string_equal(weir_node(weir_input(copy, 0)).scope, "a.b");
	weir_scope_begin(to, "still");
	assert_string_equal(weir_node(weir_neg(copy)).scope, "still");
	weir_scope_end(to);
	/* a parameter is replaced by what belongs to the other context */
	copy = weir_replay_into(to, h, &(weir_rule){ .tensor = p, .with = weir_scalar(to, WEIR_F32, 5) }, 1);
	assert_true(weir_item(copy) == 20);
	assert_true(weir_is_bad(weir_replay_into(to, h, &(weir_rule){ .tensor = p, .with = p }, 1)));
	assert_error(to, WEIR_ERR_CONTEXT, "weir_replay_into: a rule's with");
	assert_true(weir_is_bad(weir_replay_into(to, h, &(weir_rule){ .apply = of_the_source }, 1)));
	assert_error(to, WEIR_ERR_CONTEXT, "what a rule's apply returned");
	close_both(w, to);
}

static void refusals(void **state)
{
	weir_options o;
	weir_ctx *w = open_with(1), *to = open_with(1), *small;
	weir_tensor *x = weir_scalar(w, WEIR_F32, 4), *y = weir_neg(x), *large;

	(void)state;
	assert_true(weir_is_bad(weir_replay_into(w, y, NULL, 0)));
	assert_error(w, WEIR_ERR_CONTEXT, "weir_replay_into");
	assert_true(weir_is_bad(weir_replay_into(to, NULL, NULL, 0)));
	assert_error(to, WEIR_ERR_ARGUMENT, "root is NULL");
	assert_true(weir_is_bad(weir_replay_into(NULL, y, NULL, 0)));
	assert_true(weir_is_bad(weir_replay_into(to, y, NULL, 1)));
	assert_error(to, WEIR_ERR_ARGUMENT, "rules is NULL");
	large = weir_sum_all(weir_zeros(w, WEIR_F32, 1, (int64_t[]){ 1 << 22 }));
	weir_options_init(&o);
	o.handler = NULL;
	o.memory_limit = 4 << 20;
	small = weir_open(&o);
	assert_true(weir_is_bad(weir_replay_into(small, large, NULL, 0)));
	assert_error(small, WEIR_ERR_MEMORY, "");
	assert_fine(w); /* each keeps its own errors */
	assert_true(weir_item(weir_replay_into(small, y, NULL, 0)) == -4);
	weir_tape_reset(w);
	assert_true(weir_is_bad(weir_replay_into(to, y, NULL, 0)));
	assert_fine(to);
	assert_error(w, WEIR_ERR_STALE, "weir_replay_into");
	assert_int_equal(weir_close(small), 0);
	close_both(w, to);
}

/* Values that backward released are computed again; a leaf's are there. */
static void released(void **state)
{
	weir_options o;
	weir_ctx *w, *to = open_with(1);
	weir_tensor *p, *y;

	(void)state;
	weir_options_init(&o);
	o.handler = NULL;
	o.free_values = true;
	w = weir_open(&o);
	p = weir_param_new(w, "p", WEIR_F32, 0, NULL);
	weir_write_f64(p, (double[]){ 1.5 }, 1);
	y = weir_leaky_relu(weir_mul(weir_mul(p, p), weir_scalar(w, WEIR_F32, -2)), 0.5);
	weir_backward(y);
	assert_true(weir_item(weir_replay_into(to, y, NULL, 0)) == -2.25);
	close_both(w, to);
}

static void count(const weir_event *e, void *user)
{
	(void)e;
	++*(int *)user;
}

/* The original is only read: tape, gradients, random streams, hooks. */
static void untouched(void **state)
{
	weir_ctx *w = open_as(WEIR_F32, 1, 7), *same = open_as(WEIR_F32, 1, 7), *to = open_with(1);
	weir_module *m = network(w);
	weir_tensor *y;
	int64_t length;
	int calls = 0, before;

	(void)state;
	network(same);
	weir_on_grad(w, count, &calls, NULL);
	weir_on_forward(w, count, &calls, NULL);
	y = weir_sum_all(weir_forward(m, noisy(w, WEIR_F32, 3, 6)));
	weir_backward(y);
	before = calls;
	length = weir_tape_length(w);
	weir_backward(weir_replay_into(to, y, NULL, 0));
	assert_int_equal(calls, before);
	assert_int_equal(weir_tape_length(w), length);
	assert_true(weir_random_stream(w) == weir_random_stream(same));
	assert_int_equal(weir_close(same), 0);
	close_both(w, to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(networks),  cmocka_unit_test(operations), cmocka_unit_test(leaves),
		cmocka_unit_test(retained),  cmocka_unit_test(unrecorded), cmocka_unit_test(higher_order),
		cmocka_unit_test(rules),     cmocka_unit_test(refusals),   cmocka_unit_test(released),
		cmocka_unit_test(untouched),
	};

	return cmocka_run_group_tests_name("replay_into", tests, NULL, NULL);
}
