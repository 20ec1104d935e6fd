/* test_nn.c: modules: trees, names, scopes, running, containers. */
#include "tests/nn_check.h"

static weir_tensor *vector_of(weir_ctx *w, const double *v, int64_t n)
{
	return weir_from(w, WEIR_F64, 1, &n, v);
}

/* ---- names ----------------------------------------------------------------------------------------------------- */

static void test_names(void **unused)
{
	weir_ctx *w = open_as(WEIR_F32, 1, 0);
	weir_module *mlp = weir_list_new(w, "mlp"), *block = weir_sequential_new(w, NULL),
		    *head = weir_linear_new(w, 3, 2, WEIR_INIT_HE);

	(void)unused;
	assert_string_equal(weir_module_path(block), "sequential");
	assert_string_equal(weir_name(weir_module_parameter(head, 0)), "linear.weight");
	weir_list_add(mlp, weir_linear_new(w, 4, 4, WEIR_INIT_HE));
	weir_list_add(mlp, weir_relu_new(w));
	weir_module_add(block, NULL, weir_linear_new(w, 4, 3, WEIR_INIT_HE));
	weir_module_add(block, "norm", weir_layer_norm_new(w, 3, 1e-5));
	assert_string_equal(weir_module_path(weir_module_at(block, 1)), "sequential.norm");
	assert_ptr_equal(weir_list_add(mlp, block), block);
	assert_ptr_equal(weir_module_add(mlp, "head", head), head);
	assert_fine(w);

	assert_string_equal(weir_module_path(weir_list_at(mlp, 0)), "mlp.0");
	assert_string_equal(weir_module_scope(weir_list_at(mlp, 0)), "mlp.0.linear");
	assert_string_equal(weir_module_scope(weir_list_at(mlp, 1)), "mlp.1.relu");
	assert_string_equal(weir_module_scope(block), "mlp.2");
	assert_string_equal(weir_module_scope(weir_module_at(block, 0)), "mlp.2.0.linear");
	assert_string_equal(weir_module_scope(weir_module_at(block, 1)), "mlp.2.norm");
	assert_string_equal(weir_module_scope(head), "mlp.head");

	static const char *const names[] = {
		"mlp.0.weight",      "mlp.0.bias",      "mlp.2.0.weight",  "mlp.2.0.bias",
		"mlp.2.norm.weight", "mlp.2.norm.bias", "mlp.head.weight", "mlp.head.bias"
	};
	assert_int_equal(weir_module_parameter_count(mlp), 8);
	for (int i = 0; i < 8; i++) assert_string_equal(weir_name(weir_module_parameter(mlp, i)), names[i]);
	assert_null(weir_module_parameter(mlp, 8));
	assert_null(weir_module_parameter(mlp, -1));
	assert_int_equal(weir_module_parameter_count(block), 4);
	assert_int_equal(weir_module_weights(mlp), 16 + 4 + 12 + 3 + 3 + 3 + 6 + 2);

	assert_ptr_equal(weir_module_find(mlp, "head"), head);
	assert_ptr_equal(weir_module_find(mlp, "2.0"), weir_module_at(block, 0));
	assert_ptr_equal(weir_module_find(mlp, "2.0.linear"), weir_module_at(block, 0));
	assert_ptr_equal(weir_module_find(block, "norm"), weir_module_at(block, 1));
	assert_null(weir_module_find(mlp, "2.1"));

	/* a list that is asked before it grows is asked again after */
	weir_list_add(mlp, weir_linear_new(w, 1, 1, WEIR_INIT_HE));
	assert_int_equal(weir_module_parameter_count(mlp), 10);
	assert_string_equal(weir_name(weir_module_parameter(mlp, 8)), "mlp.4.weight");
	assert_int_equal(weir_close(w), 0);
}

static void test_names_refused(void **unused)
{
	weir_ctx *w = open_as(WEIR_F32, 1, 0), *other = open_as(WEIR_F32, 1, 0);
	weir_module *a = weir_list_new(w, "a"), *b = weir_list_new(w, "b"), *c = weir_list_new(w, "c"), *bad;

	(void)unused;
	weir_module_add(a, "x", b);
	bad = weir_module_add(c, "x", b);
	assert_true(weir_module_is_bad(bad));
	assert_error(w, WEIR_ERR_ARGUMENT, "a.x is already a child of a; a module has one parent");
	weir_module_add(b, "y", a);
	assert_error(w, WEIR_ERR_ARGUMENT, "a can't be a child of a.x, which is below it");
	weir_module_add(a, NULL, a);
	assert_error(w, WEIR_ERR_ARGUMENT, "can't be a child");
	weir_module_add(a, "x", c);
	assert_error(w, WEIR_ERR_ARGUMENT, "a already has a child x");
	weir_module_add(a, "x.y", c);
	assert_error(w, WEIR_ERR_ARGUMENT, "has a dot");
	weir_module_add(a, "", c);
	assert_error(w, WEIR_ERR_ARGUMENT, "is empty");
	weir_module_add(a, "2", c);
	weir_module_add(a, NULL, weir_list_new(w, "d"));
	assert_error(w, WEIR_ERR_ARGUMENT, "a already has a child 2; give this one a name");
	weir_module_add(a, "z", weir_list_new(other, "d"));
	assert_error(w, WEIR_ERR_CONTEXT, "a and the child d belong to two contexts");
	weir_module_add(a, "z", NULL);
	assert_false(weir_ok(w) && weir_module_count(a) != 2);
	weir_clear_error(w);
	assert_true(weir_module_is_bad(weir_module_at(a, 2)));
	assert_error(w, WEIR_ERR_INDEX, "a has 2 children, there is no number 2");
	assert_true(weir_module_is_bad(weir_list_new(w, "bell\a")));
	assert_error(w, WEIR_ERR_ARGUMENT, "control characters");
	assert_true(weir_is_bad(weir_module_param(a, "w.x", WEIR_F32, 0, NULL)));
	assert_error(w, WEIR_ERR_ARGUMENT, "has a dot");
	weir_module_param(a, "w", WEIR_F32, 0, NULL);
	assert_true(weir_is_bad(weir_module_param(a, "w", WEIR_F32, 0, NULL)));
	assert_error(w, WEIR_ERR_ARGUMENT, "a already has a parameter w");
	assert_int_equal(weir_module_parameter_count(a), 1);
	assert_int_equal(weir_close(w), 0);
	assert_int_equal(weir_close(other), 0);
}

/* Called on its own, a child's nodes carry its whole path, below the scope of the user's that is open. */
static void test_scopes(void **unused)
{
	weir_ctx *w = open_as(WEIR_F32, 1, 0);
	weir_module *mlp = weir_list_new(w, "mlp");
	weir_tensor *x, *y;
	int64_t shape[] = { 2, 3 };

	(void)unused;
	weir_list_add(mlp, weir_linear_new(w, 3, 3, WEIR_INIT_HE));
	weir_list_add(mlp, weir_residual_new(w, weir_linear_new(w, 3, 3, WEIR_INIT_HE), 0.5));
	x = weir_zeros(w, WEIR_F32, 2, shape);
	y = weir_forward(weir_list_at(mlp, 0), x);
	assert_string_equal(weir_node(y).scope, "mlp.0.linear");
	assert_int_equal(weir_node(y).call, 1);
	assert_non_null(strstr(weir_node(y).here, "test_nn.c:"));
	weir_scope_begin(w, "encoder");
	y = weir_forward(mlp, y);
	assert_string_equal(weir_node(y).scope, "encoder.mlp.1");
	assert_string_equal(weir_node(weir_input(y, 0)).scope, "encoder.mlp.0.linear");
	assert_string_equal(weir_node(weir_input(weir_input(y, 1), 0)).scope, "encoder.mlp.1.branch");
	weir_scope_end(w);
	assert_string_equal(weir_node(weir_relu(y)).scope, "");
	y = weir_forward(weir_list_at(mlp, 0), x);
	assert_int_equal(weir_node(y).call, 2);
	assert_fine(w);

	/* a failing forward leaves no scope open */
	weir_forward(mlp, weir_zeros(w, WEIR_F32, 1, (int64_t[]){ 5 }));
	assert_error(w, WEIR_ERR_SHAPE, "mlp.0.weight");
	assert_string_equal(weir_node(weir_relu(y)).scope, "");
	assert_int_equal(weir_close(w), 0);
}

/* ---- a module of one's own --------------------------------------------------------------------------------------- */

static int destroyed;

typedef struct own {
	weir_tensor *gain;
	weir_module *self;
	int mode;
} own;

static weir_tensor *own_forward(weir_module *m, weir_tensor *x)
{
	own *o = weir_module_data(m);

	if (o->mode == 1) return NULL;
	if (o->mode == 2) weir_module_drop(m);
	return weir_mul(x, o->gain);
}

static void own_destroy(void *data)
{
	(void)data;
	destroyed++;
}

static const weir_module_type own_type = { .kind = "own", .forward = own_forward, .destroy = own_destroy };
static const weir_module_type inert_type = { .kind = "inert" };

static void test_own_module(void **unused)
{
	weir_ctx *w = open_as(WEIR_F64, 1, 0);
	weir_module *m = weir_module_new(w, &own_type, NULL, sizeof(own)), *second;
	own *o = weir_module_data(m);
	weir_tensor *x, *y;

	(void)unused;
	destroyed = 0;
	assert_null(o->self);
	o->gain = weir_module_param(m, "gain", WEIR_F64, 0, NULL);
	weir_write_f64(o->gain, (double[]){ 3 }, 1);
	x = vector_of(w, (double[]){ 1, 2 }, 2);
	y = weir_forward(m, x);
	assert_near(weir_get(y, 1), 6, 0);
	assert_string_equal(weir_node(y).scope, "own");
	assert_string_equal(weir_module_type_of(m)->kind, "own");

	o->mode = 1;
	assert_true(weir_is_bad(weir_forward(m, x)));
	assert_error(w, WEIR_ERR_ARGUMENT, "the forward of own (own) returned NULL");
	o->mode = 2;
	weir_forward(m, x);
	assert_error(w, WEIR_ERR_ARGUMENT, "the forward of own is running");
	o->mode = 0;
	weir_forward(weir_module_new(w, &inert_type, "still", 0), x);
	assert_error(w, WEIR_ERR_ARGUMENT, "still is a inert, which has no forward");
	weir_module_new(w, &(weir_module_type){ .kind = NULL }, NULL, 0);
	assert_error(w, WEIR_ERR_ARGUMENT, "type has no kind");

	second = weir_module_new(w, &own_type, "second", sizeof(own));
	assert_int_equal(destroyed, 0);
	weir_module_drop(second);
	assert_int_equal(destroyed, 1);
	assert_int_equal(weir_close(w), 0);
	assert_int_equal(destroyed, 2);
}

/* ---- failing constructors ------------------------------------------------------------------------------------------ */

static void test_bad_modules(void **unused)
{
	weir_ctx *w = open_as(WEIR_F32, 1, 0);
	weir_module *bad = weir_linear_new(w, -1, 3, WEIR_INIT_HE), *list;
	weir_tensor *x;

	(void)unused;
	assert_true(weir_module_is_bad(bad));
	assert_error(w, WEIR_ERR_ARGUMENT, "in is -1");
	assert_ptr_equal(weir_module_context(bad), w);
	x = weir_zeros(w, WEIR_F32, 0, NULL);
	assert_true(weir_is_bad(weir_forward(bad, x)));
	assert_error(w, WEIR_ERR_ARGUMENT, "m is the module of a call that failed");
	list = weir_list_new(w, "l");
	assert_true(weir_module_is_bad(weir_list_add(list, bad)));
	assert_error(w, WEIR_ERR_ARGUMENT, "child is the module of a call that failed");
	assert_int_equal(weir_module_count(list), 0);
	assert_true(weir_module_is_bad(weir_list_add(bad, list)));
	weir_clear_error(w);
	weir_module_drop(bad);
	assert_error(w, WEIR_ERR_ARGUMENT, "weir_module_drop");
	weir_train(bad, false);
	weir_clear_error(w);
	assert_int_equal(weir_module_parameter_count(bad), 0);
	assert_null(weir_module_parameter(bad, 0));
	assert_true(weir_module_is_bad(weir_layer_norm_new(w, 0, 1e-5)));
	assert_error(w, WEIR_ERR_ARGUMENT, "features is 0, eps is 1e-05");
	assert_true(weir_module_is_bad(weir_layer_norm_new(w, 4, 0)));
	weir_clear_error(w);
	assert_true(weir_module_is_bad(weir_act_new(w, (weir_act)77)));
	weir_clear_error(w);
	assert_true(weir_module_is_bad(weir_residual_new(w, bad, 1)));
	weir_clear_error(w);
	weir_module_dtype(w, WEIR_I32);
	assert_error(w, WEIR_ERR_DTYPE, "not i32");

	/* a residual gives a branch back that it can't have */
	weir_module *branch = weir_relu_new(w);
	weir_list_add(list, branch);
	assert_true(weir_module_is_bad(weir_residual_new(w, branch, 1)));
	assert_error(w, WEIR_ERR_ARGUMENT, "already a child");
	assert_string_equal(weir_module_path(branch), "l.0");

	/* without a context, or in one that carries an error, nothing happens */
	assert_true(weir_module_is_bad(weir_list_new(NULL, "x")));
	assert_true(weir_is_bad(weir_forward(NULL, x)));
	assert_true(weir_optim_is_bad(weir_sgd_new(NULL, list, 0.1, 0)));
	weir_fail(w, WEIR_ERR_ARGUMENT, "stuck");
	assert_true(weir_module_is_bad(weir_linear_new(w, 2, 2, WEIR_INIT_HE)));
	assert_true(weir_optim_is_bad(weir_sgd_new(w, list, 0.1, 0)));
	assert_error(w, WEIR_ERR_ARGUMENT, "stuck");
	weir_forward(list, NULL);
	assert_error(w, WEIR_ERR_ARGUMENT, "x is NULL (into l)");
	assert_int_equal(weir_close(w), 0);
}

/* ---- running ------------------------------------------------------------------------------------------------------- */

static void test_forward_with(void **unused)
{
	weir_ctx *w = open_as(WEIR_F64, 1, 0);
	weir_module *net = weir_sequential_new(w, "net");
	weir_tensor *x, *y, *other[4] = { NULL }, *want;
	int64_t shape[] = { 3, 2 };

	(void)unused;
	weir_list_add(net, weir_linear_new(w, 2, 3, WEIR_INIT_HE));
	weir_list_add(net, weir_linear_new(w, 3, 1, WEIR_INIT_HE));
	x = weir_normal(w, WEIR_F64, 2, (int64_t[]){ 5, 2 }, 0, 1);
	other[0] = weir_normal(w, WEIR_F64, 2, shape, 0, 1);
	other[3] = weir_full(w, WEIR_F64, 1, (int64_t[]){ 1 }, 7);
	y = weir_forward_with(net, other, 4, x);
	want = weir_linear(weir_linear(x, other[0], weir_module_parameter(net, 1)), weir_module_parameter(net, 2),
			   other[3]);
	for (int i = 0; i < 5; i++) assert_true(weir_get(y, i) == weir_get(want, i));
	/* gradients go to what was given, and to no parameter whose place it took */
	weir_tensor *g;
	assert_true(weir_grad(weir_sum_all(y), other, 1, &g, 0));
	weir_backward(weir_sum_all(y));
	assert_null(weir_grad_of(weir_module_parameter(net, 0)));
	assert_non_null(weir_grad_of(weir_module_parameter(net, 1)));
	assert_null(weir_grad_of(weir_module_parameter(net, 3)));
	/* afterwards the parameters are back */
	y = weir_forward(net, x);
	want = weir_linear(weir_linear(x, weir_module_parameter(net, 0), weir_module_parameter(net, 1)),
			   weir_module_parameter(net, 2), weir_module_parameter(net, 3));
	for (int i = 0; i < 5; i++) assert_true(weir_get(y, i) == weir_get(want, i));
	assert_true(weir_get(weir_forward_with(net, NULL, 0, x), 0) == weir_get(y, 0));
	assert_fine(w);
	weir_forward_with(net, other, 5, x);
	assert_error(w, WEIR_ERR_ARGUMENT, "net has 4 parameters, 5 tensors were given");
	other[0] = x;
	weir_forward_with(net, other, 1, x);
	assert_error(w, WEIR_ERR_SHAPE, "net.0.weight");
	assert_true(weir_get(weir_forward(net, x), 0) == weir_get(y, 0));
	assert_int_equal(weir_close(w), 0);
}

static void test_modes(void **unused)
{
	weir_ctx *w = open_as(WEIR_F64, 1, 0);
	weir_module *net = weir_list_new(w, "net"), *deep = weir_list_new(w, NULL);
	weir_tensor *x;

	(void)unused;
	weir_list_add(net, weir_linear_new(w, 2, 2, WEIR_INIT_HE));
	weir_list_add(deep, weir_linear_new(w, 2, 2, WEIR_INIT_HE));
	weir_list_add(net, deep);
	assert_true(weir_training(weir_module_at(deep, 0)));
	weir_train(net, false);
	assert_false(weir_training(net) || weir_training(weir_module_at(deep, 0)));
	weir_train(deep, true);
	assert_true(!weir_training(net) && weir_training(weir_module_at(deep, 0)));

	weir_module_freeze(deep, true);
	assert_true(weir_is_frozen(weir_module_parameter(net, 2)) && !weir_is_frozen(weir_module_parameter(net, 0)));
	x = weir_normal(w, WEIR_F64, 2, (int64_t[]){ 3, 2 }, 0, 1);
	weir_backward(weir_sum_all(weir_forward(net, x)));
	assert_non_null(weir_grad_of(weir_module_parameter(net, 0)));
	assert_null(weir_grad_of(weir_module_parameter(net, 2)));
	assert_null(weir_grad_of(weir_module_parameter(net, 3)));
	weir_module_freeze(net, false);
	weir_tape_reset(w);
	x = weir_normal(w, WEIR_F64, 2, (int64_t[]){ 3, 2 }, 0, 1);
	weir_backward(weir_sum_all(weir_forward(net, x)));
	assert_non_null(weir_grad_of(weir_module_parameter(net, 2)));
	assert_int_equal(weir_close(w), 0);
}

static void test_drop(void **unused)
{
	weir_ctx *w = open_as(WEIR_F64, 1, 0);
	weir_module *keep = weir_linear_new(w, 2, 2, WEIR_INIT_HE), *net;
	size_t before = weir_memory_of(w).values;
	weir_optim *o;
	weir_tensor *x;

	(void)unused;
	net = weir_list_new(w, "net");
	for (int i = 0; i < 3; i++) {
		weir_module *seq = weir_sequential_new(w, NULL);

		weir_module_add(seq, "a", weir_linear_new(w, 50, 50, WEIR_INIT_HE));
		weir_module_add(seq, "b", weir_relu_new(w));
		weir_list_add(net, seq);
	}
	o = weir_adam_new(w, net, 0.1);
	assert_true(weir_memory_of(w).values > before + 9 * 2500 * 8);
	weir_module_drop(weir_module_at(net, 1));
	assert_error(w, WEIR_ERR_ARGUMENT, "net.1 is a child of net");
	weir_module_drop(net);
	assert_fine(w);
	assert_int_equal(weir_memory_of(w).values, before);
	assert_true(weir_optim_step(o)); /* of nothing */
	weir_tape_reset(w);
	x = weir_zeros(w, WEIR_F64, 1, (int64_t[]){ 2 });
	weir_forward(keep, x);
	assert_fine(w);
	assert_int_equal(weir_close(w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),       cmocka_unit_test(test_names_refused),
		cmocka_unit_test(test_scopes),      cmocka_unit_test(test_own_module),
		cmocka_unit_test(test_bad_modules), cmocka_unit_test(test_forward_with),
		cmocka_unit_test(test_modes),       cmocka_unit_test(test_drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
