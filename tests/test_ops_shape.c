/* test_ops_shape.c: broadcasting and the operations that rearrange, pick and put together: expand, reshape,
 * permute, transpose, slice, concat, gather, scatter_add. */
#include "tests/ops_check.h"
#include "kernels/threads.h"

static weir_tensor *count_up(weir_ctx *w, weir_dtype t, int rank, const int64_t *shape)
{
	weir_tensor *x = weir_zeros(w, t, rank, shape);
	int64_t n = weir_numel(x);
	double *v = malloc((size_t)(n + 1) * sizeof *v);

	assert_non_null(v);
	for (int64_t i = 0; i < n; i++) v[i] = (double)i;
	assert_true(weir_write_f64(x, v, n));
	free(v);
	return x;
}

/* ---- functions for the gradient check ---- */

static weir_tensor *f_expand(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	(void)user;
	return weir_square(weir_expand(xs[0], SHAPE(4, 2, 3, 2)));
}

static weir_tensor *f_reshape(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	(void)user;
	return weir_reshape(weir_square(weir_reshape(xs[0], SHAPE(6, 2))), SHAPE(3, -1));
}

/* of a view that can't be reshaped in place */
static weir_tensor *f_reshape_copy(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	(void)user;
	return weir_square(weir_reshape(weir_transpose(xs[0], 0, 1), SHAPE(12)));
}

static weir_tensor *f_permute(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	(void)user;
	return weir_square(weir_permute(xs[0], AXES(2, 0, -2)));
}

static weir_tensor *f_slice(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	(void)user;
	/* overlapping ones, so that gradients add */
	return weir_mul(weir_slice(xs[0], 1, 1, 4, 2), weir_slice(xs[0], -1, -2, 4, 1));
}

static weir_tensor *f_concat(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	(void)user;
	return weir_square(weir_concat((weir_tensor *[]){ xs[0], weir_square(xs[1]), xs[0] }, 3, -1));
}

static weir_tensor *f_gather(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	return weir_square(weir_gather(xs[0], 1, user));
}

static weir_tensor *f_scatter(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	return weir_square(weir_scatter_add(xs[0], -2, user, 5));
}

/* ---- expand ---- */

static void expanding(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = count_up(w, WEIR_F32, SHAPE(2, 1, 3)), *y = weir_expand(x, SHAPE(2, 2, 2, 3)), *g;

	(void)state;
	expect_shape(y, SHAPE(2, 2, 2, 3));
	assert_true(weir_data(y) == weir_data(x)); /* a view */
	expect_values(y, 24,
		      (const double[]){ 0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5, 0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5 });
	assert_true(weir_grad(weir_sum_all(y), &x, 1, &g, 0));
	expect_values(g, 6, (const double[]){ 4, 4, 4, 4, 4, 4 });
	expect_fused("expand", y, numbers(w, WEIR_F32, SHAPE(2, 2, 2, 3), -1, 1, false), &x, 1, 0, 0);
	/* nothing new, rank 0, nothing at all, other types */
	expect_values(weir_expand(x, SHAPE(2, 1, 3)), 6, (const double[]){ 0, 1, 2, 3, 4, 5 });
	expect_values(weir_expand(weir_scalar(w, WEIR_I64, 7), SHAPE(2, 2)), 4, (const double[]){ 7, 7, 7, 7 });
	expect_shape(weir_expand(weir_scalar(w, WEIR_F32, 7), 0, NULL), 0, NULL);
	x = weir_scalar(w, WEIR_F64, 2);
	y = weir_expand(x, SHAPE(3, 0));
	expect_shape(y, SHAPE(3, 0));
	assert_true(weir_grad(weir_sum_all(y), &x, 1, &g, 0));
	assert_true(weir_item(g) == 0.0);
	x = numbers(w, WEIR_F64, SHAPE(2, 1, 2), -1, 1, false);
	expect_gradients("expand", f_expand, NULL, &x, 1);
	close_clean(w);
}

/* A long broadcast: the sum of a bias's gradient, exact where the numbers are whole. */
static void expanding_far(void **state)
{
	weir_ctx *w = open_quiet(false);
	weir_tensor *x = weir_full(w, WEIR_F32, SHAPE(40), 0.5), *g, *rule,
		    *gy = weir_zeros(w, WEIR_F32, SHAPE(5000, 40));
	weir_tensor *y = weir_expand(x, SHAPE(5000, 40));
	float *v = weir_data_mut(gy, NULL);

	(void)state;
	for (int i = 0; i < 5000 * 40; i++) v[i] = (float)(i % 40);
	assert_true(weir_vjp(y, gy, &x, 1, &g, 0));
	assert_true(weir_vjp(y, gy, &x, 1, &rule, WEIR_CREATE_GRAPH));
	expect_close("expand", g, rule, 0);
	for (int i = 0; i < 40; i++) assert_true(weir_get(g, i) == 5000.0 * i);
	close_clean(w);
}

/* ---- reshape ---- */

static void reshaping(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = count_up(w, WEIR_F64, SHAPE(2, 3, 4)), *t, *y;

	(void)state;
	y = weir_reshape(x, SHAPE(4, -1));
	expect_shape(y, SHAPE(4, 6));
	assert_true(weir_data(y) == weir_data(x));
	expect_shape(weir_reshape(x, SHAPE(-1)), SHAPE(24));
	expect_shape(weir_reshape(x, SHAPE(1, 24, 1, -1)), SHAPE(1, 24, 1, 1));
	expect_shape(weir_reshape(weir_scalar(w, WEIR_U8, 1), SHAPE(1, 1)), SHAPE(1, 1));
	expect_shape(weir_reshape(weir_zeros(w, WEIR_F32, SHAPE(1, 1)), 0, NULL), 0, NULL);
	expect_shape(weir_reshape(weir_zeros(w, WEIR_F32, SHAPE(0, 3)), SHAPE(3, 2, -1)), SHAPE(3, 2, 0));
	expect_shape(weir_reshape(weir_zeros(w, WEIR_F32, SHAPE(0, 3)), SHAPE(0, 5)), SHAPE(0, 5));
	/* strided: a view where runs allow it */
	t = weir_permute(x, AXES(1, 0, 2)); /* [3, 2, 4], runs 3 | 2 | 4 */
	y = weir_reshape(t, SHAPE(3, 2, 2, 1, 2));
	assert_true(weir_data(y) == weir_data(x));
	expect_close("reshape", weir_reshape(y, SHAPE(24)), weir_contiguous(weir_reshape(t, SHAPE(24))), 0);
	assert_true(weir_data(weir_reshape(t, SHAPE(24))) != weir_data(x));
	t = weir_slice(x, 0, 1, 2, 1);
	assert_true(weir_data(weir_reshape(t, SHAPE(12))) == weir_data(t));
	t = weir_expand(weir_slice(weir_reshape(x, SHAPE(24)), 0, 5, 6, 1), SHAPE(6));
	assert_true(weir_data(weir_reshape(t, SHAPE(2, 3))) == weir_data(t));
	expect_values(weir_reshape(t, SHAPE(2, 3)), 6, (const double[]){ 5, 5, 5, 5, 5, 5 });
	/* every split of every permutation reads the same elements */
	for (int p = 0; p < 6; p++) {
		static const int orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
						  { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
		static const int64_t splits[][4] = { { 24, 1, 1, 1 }, { 2, 12, 1, 1 }, { 3, 8, 1, 1 },
						     { 4, 6, 1, 1 },  { 2, 2, 6, 1 },  { 1, 2, 3, 4 },
						     { 4, 3, 1, 2 },  { 2, 2, 3, 2 },  { 6, 1, 4, 1 } };

		t = weir_permute(x, 3, orders[p]);
		for (size_t s = 0; s < sizeof splits / sizeof *splits; s++) {
			y = weir_reshape(t, 4, splits[s]);
			for (int64_t i = 0; i < 24; i++) assert_true(weir_get(y, i) == weir_get(t, i));
			y = weir_reshape(weir_slice(t, 2, 0, 1, 1), SHAPE(-1)); /* gaps */
			for (int64_t i = 0; i < weir_numel(y); i++)
				assert_true(weir_get(y, i) == weir_get(t, i * weir_extent(t, 2)));
		}
	}
	x = numbers(w, WEIR_F64, SHAPE(3, 4), -1, 1, false);
	expect_gradients("reshape", f_reshape, NULL, &x, 1);
	expect_gradients("reshape, copied", f_reshape_copy, NULL, &x, 1);
	close_clean(w);
}

/* ---- permute, transpose ---- */

static void permuting(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = count_up(w, WEIR_F32, SHAPE(2, 3, 4)), *y = weir_permute(x, AXES(2, 0, 1));

	(void)state;
	expect_shape(y, SHAPE(4, 2, 3));
	assert_true(weir_data(y) == weir_data(x));
	for (int i = 0; i < 24; i++) assert_true(weir_get(y, i) == (double)(i / 3 % 2 * 12 + i % 3 * 4 + i / 6));
	expect_close("permute", weir_permute(y, AXES(1, 2, 0)), x, 0);
	expect_close("transpose", weir_transpose(x, 0, -1), weir_permute(x, AXES(2, 1, 0)), 0);
	expect_close("transpose", weir_transpose(x, 1, 1), x, 0);
	expect_shape(weir_permute(weir_scalar(w, WEIR_U8, 1), 0, NULL), 0, NULL);
	expect_shape(weir_transpose(weir_zeros(w, WEIR_F64, SHAPE(0, 3)), 0, 1), SHAPE(3, 0));
	x = numbers(w, WEIR_F64, SHAPE(2, 3, 2), -1, 1, false);
	expect_gradients("permute", f_permute, NULL, &x, 1);
	close_clean(w);
}

/* ---- slice ---- */

static void slicing(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = count_up(w, WEIR_F32, SHAPE(3, 5)), *y = weir_slice(x, 1, 1, 5, 2), *g, *sum;

	(void)state;
	expect_values(y, 6, (const double[]){ 1, 3, 6, 8, 11, 13 });
	assert_true(weir_data(weir_slice(x, 0, 0, 3, 1)) == weir_data(x));
	expect_values(weir_slice(x, -2, -1, 3, 1), 5, (const double[]){ 10, 11, 12, 13, 14 });
	expect_values(weir_slice(weir_slice(x, 1, 0, 5, 2), 1, 1, 3, 1), 6, (const double[]){ 2, 4, 7, 9, 12, 14 });
	expect_values(weir_slice(weir_transpose(x, 0, 1), 0, 3, 4, 9), 3, (const double[]){ 3, 8, 13 });
	expect_shape(weir_slice(x, 1, 5, 5, 1), SHAPE(3, 0));
	expect_shape(weir_slice(x, 1, 2, -3, 4), SHAPE(3, 0));
	expect_shape(weir_slice(weir_zeros(w, WEIR_I32, SHAPE(0)), 0, 0, 0, 1), SHAPE(0));
	assert_true(weir_grad(weir_sum_all(weir_slice(x, 1, 5, 5, 1)), &x, 1, &g, 0));
	expect_close("slice of nothing", g, weir_zeros(w, WEIR_F32, SHAPE(3, 5)), 0);
	assert_true(weir_grad(weir_sum_all(y), &x, 1, &g, 0));
	expect_values(g, 15, (const double[]){ 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0 });
	expect_fused("slice", y, numbers(w, WEIR_F32, SHAPE(3, 2), -1, 1, false), &x, 1, 0, 0);
	/* several slices of one tensor add up, with and without a fused rule, whichever comes first */
	sum = weir_add(weir_sum_all(weir_square(weir_slice(x, 1, 0, 5, 2))),
		       weir_add(weir_sum_all(weir_slice(x, 0, 1, 3, 1)), weir_sum_all(weir_slice(x, 0, 0, 3, 2))));
	assert_true(weir_grad(sum, &x, 1, &g, 0));
	expect_values(g, 15,
		      (const double[]){ 0 + 1, 1, 4 + 1, 1, 8 + 1, 10 + 1, 1, 14 + 1, 1, 18 + 1, 20 + 2, 2, 24 + 2, 2,
					28 + 2 });
	x = numbers(w, WEIR_F64, SHAPE(3, 4), -1, 1, false);
	expect_gradients("slice", f_slice, NULL, &x, 1);
	close_clean(w);
}

/* ---- concat ---- */

static void joining(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *xs[3] = { count_up(w, WEIR_F64, SHAPE(2, 2)), weir_zeros(w, WEIR_F64, SHAPE(2, 0)),
			       weir_full(w, WEIR_F64, SHAPE(2, 1), 9) };
	weir_tensor *y = weir_concat(xs, 3, 1), *g[3], *many[70];

	(void)state;
	expect_shape(y, SHAPE(2, 3));
	expect_values(y, 6, (const double[]){ 0, 1, 9, 2, 3, 9 });
	expect_values(weir_concat(xs, 2, -1), 4, (const double[]){ 0, 1, 2, 3 });
	expect_values(weir_concat((weir_tensor *[]){ xs[0], weir_transpose(xs[0], 0, 1) }, 2, 0), 8,
		      (const double[]){ 0, 1, 2, 3, 0, 2, 1, 3 });
	expect_close("concat of one", weir_concat(xs, 1, 0), xs[0], 0);
	assert_true(weir_grad(weir_sum_all(weir_square(y)), xs, 3, g, 0));
	expect_values(g[0], 4, (const double[]){ 0, 2, 4, 6 });
	expect_shape(g[1], SHAPE(2, 0));
	expect_values(g[2], 2, (const double[]){ 18, 18 });
	expect_fused("concat", y, numbers(w, WEIR_F64, SHAPE(2, 3), -1, 1, false), xs, 3, 0, 0);
	expect_values(weir_concat((weir_tensor *[]){ weir_from(w, WEIR_U8, SHAPE(2), (const uint8_t[]){ 1, 2 }),
						     weir_from(w, WEIR_U8, SHAPE(1), (const uint8_t[]){ 3 }) },
				  2, 0),
		      3, (const double[]){ 1, 2, 3 });
	/* more operands than a word has bits */
	for (int i = 0; i < 70; i++) many[i] = weir_full(w, WEIR_F64, SHAPE(2), i);
	y = weir_concat(many, 70, 0);
	for (int i = 0; i < 140; i++) assert_true(weir_get(y, i) == (double)(i / 2));
	assert_true(weir_grad(weir_sum_all(weir_square(y)), &many[69], 1, g, 0));
	expect_values(g[0], 2, (const double[]){ 138, 138 });
	assert_true(weir_grad(weir_sum_all(weir_square(y)), &many[40], 1, g, WEIR_CREATE_GRAPH));
	expect_values(g[0], 2, (const double[]){ 80, 80 });
	xs[0] = numbers(w, WEIR_F64, SHAPE(2, 2), -1, 1, false);
	xs[1] = numbers(w, WEIR_F64, SHAPE(2, 3), -1, 1, false);
	expect_gradients("concat", f_concat, NULL, xs, 2);
	close_clean(w);
}

/* ---- gather, scatter_add ---- */

static void gathering(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = count_up(w, WEIR_F32, SHAPE(4, 3)),
		    *i = weir_from(w, WEIR_I64, SHAPE(5), (const int64_t[]){ 3, 0, 3, 1, 3 }), *y, *g;

	(void)state;
	y = weir_gather(x, 0, i);
	expect_shape(y, SHAPE(5, 3));
	expect_values(y, 15, (const double[]){ 9, 10, 11, 0, 1, 2, 9, 10, 11, 3, 4, 5, 9, 10, 11 });
	assert_true(weir_grad(weir_sum_all(weir_square(y)), &x, 1, &g, 0));
	expect_values(g, 12, (const double[]){ 0, 2, 4, 6, 8, 10, 0, 0, 0, 54, 60, 66 });
	expect_fused("gather", y, numbers(w, WEIR_F32, SHAPE(5, 3), -1, 1, false), &x, 1, 0, 0);
	i = weir_from(w, WEIR_I32, SHAPE(2), (const int32_t[]){ 2, 0 });
	expect_values(weir_gather(x, -1, i), 8, (const double[]){ 2, 0, 5, 3, 8, 6, 11, 9 });
	expect_close("gather of a view", weir_gather(weir_transpose(x, 0, 1), 0, i),
		     weir_transpose(weir_gather(x, 1, i), 0, 1), 0);
	expect_close(
		"gather by a view",
		weir_gather(x, 0,
			    weir_slice(weir_from(w, WEIR_I32, SHAPE(3), (const int32_t[]){ 3, 7, 1 }), 0, 0, 3, 2)),
		weir_gather(x, 0, weir_from(w, WEIR_I64, SHAPE(2), (const int64_t[]){ 3, 1 })), 0);
	expect_values(weir_gather(weir_from(w, WEIR_I32, SHAPE(3), (const int32_t[]){ 5, 6, 7 }), 0, i), 2,
		      (const double[]){ 7, 5 });
	expect_shape(weir_gather(x, 1, weir_zeros(w, WEIR_I32, SHAPE(0))), SHAPE(4, 0));
	assert_true(weir_grad(weir_sum_all(weir_gather(x, 1, weir_zeros(w, WEIR_I32, SHAPE(0)))), &x, 1, &g, 0));
	expect_close("gather of nothing", g, weir_zeros(w, WEIR_F32, SHAPE(4, 3)), 0);
	/* used twice: the second one adds */
	y = weir_add(weir_sum_all(weir_gather(x, 1, i)), weir_sum_all(weir_gather(x, 0, i)));
	assert_true(weir_grad(y, &x, 1, &g, 0));
	expect_values(g, 12, (const double[]){ 2, 1, 2, 1, 0, 1, 2, 1, 2, 1, 0, 1 });
	x = numbers(w, WEIR_F64, SHAPE(2, 3, 2), -1, 1, false);
	i = weir_keep(weir_from(w, WEIR_I32, SHAPE(4), (const int32_t[]){ 2, 0, 2, 1 }));
	expect_gradients("gather", f_gather, i, &x, 1);
	close_clean(w);
}

static void scattering(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = count_up(w, WEIR_F64, SHAPE(3, 2)),
		    *i = weir_from(w, WEIR_I32, SHAPE(3), (const int32_t[]){ 1, 3, 1 }), *y, *g;

	(void)state;
	y = weir_scatter_add(x, 0, i, 4);
	expect_values(y, 8, (const double[]){ 0, 0, 4, 6, 0, 0, 2, 3 });
	assert_true(weir_grad(weir_sum_all(weir_square(y)), &x, 1, &g, 0));
	expect_values(g, 6, (const double[]){ 8, 12, 4, 6, 8, 12 });
	expect_fused("scatter_add", y, numbers(w, WEIR_F64, SHAPE(4, 2), -1, 1, false), &x, 1, 0, 0);
	i = weir_from(w, WEIR_I32, SHAPE(2), (const int32_t[]){ 2, 0 });
	expect_values(weir_scatter_add(x, 1, i, 3), 9, (const double[]){ 1, 0, 0, 3, 0, 2, 5, 0, 4 });
	expect_close("scatter_add of a view", weir_scatter_add(weir_transpose(x, 0, 1), 0, i, 3),
		     weir_transpose(weir_scatter_add(x, 1, i, 3), 0, 1), 0);
	expect_shape(weir_scatter_add(weir_zeros(w, WEIR_F32, SHAPE(0, 2)), 0, weir_zeros(w, WEIR_I64, SHAPE(0)), 3),
		     SHAPE(3, 2));
	expect_shape(weir_scatter_add(weir_zeros(w, WEIR_F32, SHAPE(0, 2)), 0, weir_zeros(w, WEIR_I64, SHAPE(0)), 0),
		     SHAPE(0, 2));
	x = numbers(w, WEIR_F64, SHAPE(2, 4, 2), -1, 1, false);
	i = weir_keep(weir_from(w, WEIR_I64, SHAPE(4), (const int64_t[]){ 4, 0, 4, 1 }));
	expect_gradients("scatter_add", f_scatter, i, &x, 1);
	close_clean(w);
}

/* Large ones, so that they run in parallel: the same bits with 1, 2, 3 and 8 threads. */
static void threads(void **state)
{
	enum { ROWS = 97, COLS = 64, PICKS = 3001 };
	static float first[2][ROWS * COLS];

	(void)state;
	for (int k = 0; k < 4; k++) {
		weir_options o;
		weir_ctx *w;
		weir_tensor *x, *i, *y, *g, *part;
		int32_t *index;
		float *v;

		weir_options_init(&o);
		o.threads = (const int[]){ 1, 2, 3, 8 }[k];
		w = weir_open(&o);
		x = weir_param_new(w, "x", WEIR_F32, SHAPE(ROWS, COLS));
		v = weir_data_mut(x, NULL);
		for (int j = 0; j < ROWS * COLS; j++) v[j] = (float)(j % 1001) * 0.37f - 11.0f;
		i = weir_zeros(w, WEIR_I32, SHAPE(PICKS));
		index = weir_data_mut(i, NULL);
		for (int j = 0; j < PICKS; j++) index[j] = (int32_t)(j * 7919 % ROWS);
		y = weir_gather(x, 0, i);
		for (int j = 0; j < PICKS * COLS; j++)
			assert_true(((const float *)weir_data(y))[j] == v[index[j / COLS] * COLS + j % COLS]);
		assert_true(weir_grad(weir_sum_all(weir_mul(y, y)), &x, 1, &g, 0));
		part = weir_scatter_add(weir_transpose(y, 0, 1), 1, i, ROWS);
		part = weir_contiguous(weir_transpose(part, 0, 1));
		assert_true(weir_ok(w));
		if (!k) {
			memcpy(first[0], weir_data(g), sizeof first[0]);
			memcpy(first[1], weir_data(part), sizeof first[1]);
		}
		assert_memory_equal(first[0], weir_data(g), sizeof first[0]);
		assert_memory_equal(first[1], weir_data(part), sizeof first[1]);
		assert_int_equal(weir_close(w), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(expanding), cmocka_unit_test(expanding_far), cmocka_unit_test(reshaping),
		cmocka_unit_test(permuting), cmocka_unit_test(slicing),       cmocka_unit_test(joining),
		cmocka_unit_test(gathering), cmocka_unit_test(scattering),    cmocka_unit_test(threads),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
