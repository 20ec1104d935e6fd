/* test_ops_errors.c: what the operations say of wrong operands, with the context usable afterwards; source lines;
 * the list of operations. */
#include "tests/ops_check.h"

static void elementwise(void **state)
{
	weir_ctx *w = open_quiet(false), *other = open_quiet(false);
	weir_tensor *a = weir_set_name(weir_zeros(w, WEIR_F32, SHAPE(64, 784)), "images");
	weir_tensor *b = weir_set_name(weir_zeros(w, WEIR_F32, SHAPE(10, 512)), "fc2.weight");
	weir_tensor *d = weir_zeros(w, WEIR_F64, SHAPE(64, 784)), *i = weir_zeros(w, WEIR_I32, SHAPE(64, 784)), *bad;

	(void)state;
	bad = weir_mul(a, b);
	assert_true(weir_is_bad(bad) && isnan(weir_item(bad)));
	assert_string_equal(
		weir_error_text(w),
		"weir_mul: shapes do not broadcast: a is [64, 784] f32 (images), b is [10, 512] f32 (fc2.weight); aligned from the "
		"last axis, extents must be equal or 1");
	assert_true(weir_is_bad(weir_add(a, a))); /* it sticks */
	expect_error(w, WEIR_ERR_SHAPE, NULL);
	weir_sub(a, b);
	expect_error(w, WEIR_ERR_SHAPE, "weir_sub: shapes do not broadcast: ", NULL);
	weir_where(weir_gt(a, a), a, b);
	expect_error(w, WEIR_ERR_SHAPE, "weir_where: ", "c is [64, 784] u8", "a is [64, 784] f32 (images)",
		     "b is [10, 512]", NULL);
	weir_div(a, d);
	expect_error(w, WEIR_ERR_DTYPE, "weir_div: ", "f32", "f64", "weir_cast", NULL);
	weir_relu(i);
	expect_error(w, WEIR_ERR_DTYPE, "weir_relu: ", "i32", NULL);
	weir_gt(i, i);
	expect_error(w, WEIR_ERR_DTYPE, "weir_gt: ", "i32", NULL);
	weir_where(a, a, a);
	expect_error(w, WEIR_ERR_DTYPE, "weir_where: ", "c must be u8", NULL);
	weir_where(weir_gt(a, a), a, d);
	expect_error(w, WEIR_ERR_DTYPE, "weir_where: ", NULL);
	weir_gelu(i);
	expect_error(w, WEIR_ERR_DTYPE, "weir_gelu: ", NULL);
	weir_leaky_relu(i, 0.1);
	expect_error(w, WEIR_ERR_DTYPE, "weir_leaky_relu: ", NULL);
	weir_clamp(a, 1.5, -2);
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_clamp: low is 1.5, high is -2", NULL);
	weir_clamp(a, NAN, 1);
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_clamp", NULL);
	weir_mul(a, weir_zeros(other, WEIR_F32, SHAPE(64, 784)));
	expect_error(w, WEIR_ERR_CONTEXT, "weir_mul", NULL);
	assert_true(weir_is_bad(weir_mul(a, NULL)));
	assert_false(weir_ok(w));
	weir_clear_error(w);
	assert_true(weir_is_bad(weir_relu(NULL)));
	assert_true(weir_is_bad(weir_gelu(NULL)));
	assert_true(weir_is_bad(weir_softplus(bad)));
	weir_clear_error(w);
	weir_tape_reset(w);
	assert_true(weir_is_bad(weir_relu(a)));
	expect_error(w, WEIR_ERR_STALE, "weir_relu", NULL);
	assert_true(weir_is_bad(weir_mul(weir_zeros(w, WEIR_F32, SHAPE(64, 784)), a)));
	expect_error(w, WEIR_ERR_STALE, "weir_mul", NULL);
	close_clean(w);
	close_clean(other);
}

static void rearranging(void **state)
{
	weir_ctx *w = open_quiet(false);
	weir_tensor *x = weir_set_name(weir_zeros(w, WEIR_F32, SHAPE(3, 5)), "images"),
		    *i = weir_from(w, WEIR_I32, SHAPE(3), (const int32_t[]){ 0, 7, 1 });

	(void)state;
	weir_expand(x, SHAPE(3, 4));
	expect_error(w, WEIR_ERR_SHAPE, "weir_expand: x is [3, 5] f32 (images)", "[3, 4]", NULL);
	weir_expand(x, SHAPE(5));
	expect_error(w, WEIR_ERR_SHAPE, "weir_expand", NULL);
	weir_expand(x, SHAPE(-1, 3, 5));
	expect_error(w, WEIR_ERR_SHAPE, "weir_expand", NULL);
	weir_expand(x, SHAPE(1, 1, 1, 1, 1, 1, 1, 3, 5));
	expect_error(w, WEIR_ERR_LIMIT, "weir_expand: rank 9", NULL);
	weir_expand(x, 2, NULL);
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_expand", NULL);
	weir_expand(weir_zeros(w, WEIR_F32, SHAPE(1, 1)), SHAPE(INT64_MAX / 2, INT64_MAX / 2));
	expect_error(w, WEIR_ERR_SHAPE, "weir_expand", NULL);
	weir_reshape(x, SHAPE(4, 4));
	expect_error(w, WEIR_ERR_SHAPE, "weir_reshape: x is [3, 5] f32 (images)", "[4, 4]", NULL);
	weir_reshape(x, SHAPE(-1, -1));
	expect_error(w, WEIR_ERR_SHAPE, "weir_reshape", NULL);
	weir_reshape(x, SHAPE(4, -1));
	expect_error(w, WEIR_ERR_SHAPE, "weir_reshape", NULL);
	weir_reshape(x, SHAPE(-15, -1));
	expect_error(w, WEIR_ERR_SHAPE, "weir_reshape", NULL);
	weir_reshape(x, SHAPE(INT64_MAX, INT64_MAX, 15));
	expect_error(w, WEIR_ERR_SHAPE, "weir_reshape", NULL);
	weir_reshape(weir_zeros(w, WEIR_F32, SHAPE(0, 2)), SHAPE(0, -1)); /* anything would fit */
	expect_error(w, WEIR_ERR_SHAPE, "weir_reshape", NULL);
	weir_reshape(x, -1, (const int64_t[]){ 15 });
	expect_error(w, WEIR_ERR_LIMIT, "weir_reshape", NULL);
	weir_permute(x, AXES(0, 0));
	expect_error(w, WEIR_ERR_AXIS, "weir_permute: the order names axis 0 twice", "(images)", NULL);
	weir_permute(x, AXES(1, -1));
	expect_error(w, WEIR_ERR_AXIS, "weir_permute: the order names axis 1 twice", NULL);
	weir_permute(x, AXES(0));
	expect_error(w, WEIR_ERR_AXIS, "weir_permute", NULL);
	weir_permute(x, AXES(0, 2));
	expect_error(w, WEIR_ERR_AXIS, "weir_permute", "2", NULL);
	weir_permute(x, 2, NULL);
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_permute", NULL);
	weir_transpose(x, 0, 2);
	expect_error(w, WEIR_ERR_AXIS, "weir_transpose", "axis 2", NULL);
	weir_slice(x, 1, 2, 6, 1);
	expect_error(w, WEIR_ERR_INDEX,
		     "weir_slice: begin is 2 and end is 6, but axis 1 of x has extent 5 (x is [3, 5] f32 (images))",
		     NULL);
	weir_slice(x, 1, -6, 2, 1);
	expect_error(w, WEIR_ERR_INDEX, "weir_slice: begin is -6", NULL);
	weir_slice(x, 1, 3, 2, 1);
	expect_error(w, WEIR_ERR_INDEX, "weir_slice", NULL);
	weir_slice(x, 1, 0, 2, 0);
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_slice: step is 0", NULL);
	weir_slice(x, 2, 0, 1, 1);
	expect_error(w, WEIR_ERR_AXIS, "weir_slice", NULL);
	weir_slice(weir_scalar(w, WEIR_F32, 1), 0, 0, 1, 1);
	expect_error(w, WEIR_ERR_AXIS, "weir_slice", NULL);
	weir_slice(x, 1, INT64_MIN, INT64_MAX, 1);
	expect_error(w, WEIR_ERR_INDEX, "weir_slice", NULL);
	weir_concat((weir_tensor *[]){ x, weir_zeros(w, WEIR_F32, SHAPE(4, 4)) }, 2, 0);
	expect_error(w, WEIR_ERR_SHAPE, "weir_concat: operand 0 is [3, 5] f32 (images), operand 1 is [4, 4] f32", NULL);
	weir_concat((weir_tensor *[]){ x, weir_zeros(w, WEIR_F64, SHAPE(3, 5)) }, 2, 0);
	expect_error(w, WEIR_ERR_DTYPE, "weir_concat", NULL);
	weir_concat((weir_tensor *[]){ x, NULL }, 2, 0);
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_concat: operand 1 is NULL", NULL);
	weir_concat(&x, 1, 2);
	expect_error(w, WEIR_ERR_AXIS, "weir_concat", NULL);
	assert_true(weir_is_bad(weir_concat(&x, 0, 0)));
	assert_true(weir_is_bad(weir_concat(NULL, 3, 0)));
	weir_clear_error(w);
	weir_gather(x, 1, i);
	expect_error(w, WEIR_ERR_INDEX, "weir_gather: index 7 at place 1 is out of range: axis 1 has extent 5",
		     "0 .. 4", NULL);
	weir_gather(x, 0, weir_from(w, WEIR_I64, SHAPE(1), (const int64_t[]){ -1 }));
	expect_error(w, WEIR_ERR_INDEX, "weir_gather: index -1 at place 0", NULL);
	weir_gather(x, 0, x);
	expect_error(w, WEIR_ERR_DTYPE, "weir_gather: index is [3, 5] f32 (images); it must be i32 or i64", NULL);
	weir_gather(x, 0, weir_reshape(i, SHAPE(3, 1)));
	expect_error(w, WEIR_ERR_SHAPE, "weir_gather: index is [3, 1] i32", NULL);
	weir_gather(x, 2, i);
	expect_error(w, WEIR_ERR_AXIS, "weir_gather", NULL);
	weir_scatter_add(x, 0, i, 4);
	expect_error(w, WEIR_ERR_INDEX, "weir_scatter_add: index 7 at place 1 is out of range: axis 0 has extent 4",
		     NULL);
	weir_scatter_add(x, 1, i, 8);
	expect_error(w, WEIR_ERR_SHAPE, "weir_scatter_add: index is [3] i32, but x is [3, 5] f32 (images)", NULL);
	weir_scatter_add(x, 0, i, -8);
	expect_error(w, WEIR_ERR_SHAPE, "weir_scatter_add", NULL);
	weir_scatter_add(i, 0, i, 8);
	expect_error(w, WEIR_ERR_DTYPE, "weir_scatter_add: x is [3] i32", NULL);
	/* the index was changed between forward and backward */
	i = weir_from(w, WEIR_I32, SHAPE(1), (const int32_t[]){ 1 });
	{
		weir_tensor *y = weir_sum_all(weir_gather(x, 0, i)), *g;

		((int32_t *)weir_data_mut(i, "the test"))[0] = 2;
		assert_false(weir_grad(y, &x, 1, &g, 0));
		expect_error(w, WEIR_ERR_VERSION, "the test", "gather", NULL);
	}
	close_clean(w);
}

/* Nodes carry the line of the outermost call; a composed function gives back what no rule needs. */
static void lines_and_scratch(void **state)
{
	weir_ctx *w = open_quiet(false);
	weir_tensor *x = weir_zeros(w, WEIR_F32, SHAPE(100)), *y;
	char line[32];
	int64_t before;

	(void)state;
	y = weir_sub(x, x);
	snprintf(line, sizeof line, ":%d", __LINE__ - 1);
	assert_non_null(strstr(weir_node(y).here, line));
	assert_non_null(strstr(weir_node(weir_input(y, 1)).here, line));
	assert_string_equal(weir_node(weir_input(y, 1)).op, "neg");
	y = (weir_relu)(x);
	assert_string_equal(weir_node(y).here, "");
	before = weir_tape_length(w);
	weir_no_grad_begin(w);
	y = weir_sub(x, x);
	weir_no_grad_end(w);
	assert_true(weir_ok(w) && weir_numel(y) == 100);
	assert_true(weir_tape_length(w) <= before + 2);
	assert_null(weir_tape_at(w, before)); /* the neg inside */
	close_clean(w);
}

/* The list has every operation once, with a shape rule and a forward or a view. */
static void list(void **state)
{
	const weir_op *const *ops = weir_op_list();
	int n = 0;

	(void)state;
	for (; ops[n]; n++) {
		assert_true(ops[n]->shape && (ops[n]->forward || (ops[n]->flags & WEIR_OP_VIEW)));
		assert_true(ops[n]->vjp || (ops[n]->flags & (WEIR_OP_STOP | WEIR_OP_NO_GRAD)));
		assert_true(!ops[n]->attr_size == !ops[n]->fields);
		for (int i = 0; i < n; i++) assert_string_not_equal(ops[i]->name, ops[n]->name);
	}
	assert_true(n > 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elementwise),
		cmocka_unit_test(rearranging),
		cmocka_unit_test(lines_and_scratch),
		cmocka_unit_test(list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
