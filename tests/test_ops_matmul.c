/* test_ops_matmul.c: matmul. The reference is the stated order of operations, so values and gradients are compared bit by
 * bit. */
#include "tests/ops_products.h"
#include "kernels/threads.h"

static weir_tensor *matmul(weir_tensor *const *xs, int n, void *user)
{
	(void)n, (void)user;
	return weir_matmul(xs[0], xs[1]);
}

static void one_product(weir_ctx *w, weir_dtype dtype, int la, int lb, int64_t m, int64_t n, int64_t k)
{
	weir_tensor *x[2] = { draw_as(w, dtype, la, SHAPE(m, k)), draw_as(w, dtype, lb, SHAPE(k, n)) };
	weir_tensor *y = weir_matmul(x[0], x[1]), *gy = draw(w, dtype, SHAPE(m, n), -1, 1), *gx[2];
	double *a = read_all(x[0]), *b = read_all(x[1]), *g = read_all(gy);
	double *want = malloc(sizeof *want * (size_t)(m * n + m * k + k * n + 1));

	expect_shape(y, SHAPE(m, n));
	chain(dtype, m, n, k, a, k, 1, b, n, 1, want);
	expect_bits(y, want);
	for (unsigned flags = 0; flags <= WEIR_CREATE_GRAPH; flags += WEIR_CREATE_GRAPH) { /* fused, then the rule */
		assert_true(weir_vjp(y, gy, x, 2, gx, flags));
		expect_shape(gx[0], SHAPE(m, k));
		chain(dtype, m, k, n, g, n, 1, b, 1, n, want);
		expect_bits(gx[0], want);
		chain(dtype, k, n, m, a, 1, k, g, n, 1, want);
		expect_bits(gx[1], want);
	}
	free(a);
	free(b);
	free(g);
	free(want);
}

static void products(void **state)
{
	static const int64_t sizes[][3] = { { 1, 1, 1 },    { 3, 4, 5 }, { 17, 33, 7 }, { 40, 1, 70 },
					    { 1, 50, 300 }, { 2, 3, 0 }, { 0, 3, 2 },   { 65, 70, 129 } };

	(void)state;
	for (int threads = 1; threads <= 3; threads++) {
		weir_ctx *w = open_ctx(true, threads);

		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			for (int l = 0; l < LAYOUTS * LAYOUTS; l++) {
				one_product(w, WEIR_F32, l / LAYOUTS, l % LAYOUTS, sizes[i][0], sizes[i][1],
					    sizes[i][2]);
				one_product(w, WEIR_F64, l / LAYOUTS, l % LAYOUTS, sizes[i][0], sizes[i][1],
					    sizes[i][2]);
				weir_tape_reset(w);
			}
		}
		close_ctx(w);
	}
}

/* Batches: every matrix is the product of its own two, whatever way the operands broadcast and lie in memory. */
static void batches(void **state)
{
	static const struct {
		int ra, rb, ry;
		int64_t a[5], b[5], y[5];
	} cases[] = {
		{ 3, 3, 3, { 4, 2, 3 }, { 4, 3, 5 }, { 4, 2, 5 } },
		{ 3, 2, 3, { 4, 2, 3 }, { 3, 5 }, { 4, 2, 5 } },
		{ 2, 3, 3, { 2, 3 }, { 4, 3, 5 }, { 4, 2, 5 } },
		{ 4, 3, 4, { 3, 1, 2, 3 }, { 4, 3, 5 }, { 3, 4, 2, 5 } },
		{ 5, 4, 5, { 2, 1, 3, 2, 2 }, { 2, 1, 2, 3 }, { 2, 2, 3, 2, 3 } },
		{ 5, 2, 5, { 2, 1, 3, 2, 2 }, { 2, 3 }, { 2, 1, 3, 2, 3 } },
		{ 3, 3, 3, { 0, 2, 3 }, { 1, 3, 5 }, { 0, 2, 5 } },
		{ 4, 2, 4, { 2, 0, 2, 3 }, { 3, 5 }, { 2, 0, 2, 5 } },
		{ 3, 3, 3, { 2, 2, 0 }, { 2, 0, 5 }, { 2, 2, 5 } },
	};
	weir_ctx *w = open_ctx(true, 2);

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		for (int l = 0; l < LAYOUTS * LAYOUTS; l++) {
			int ra = cases[i].ra, rb = cases[i].rb, ry = cases[i].ry;
			int la = l / LAYOUTS, lb = l % LAYOUTS;
			weir_tensor *x[2] = { draw_as(w, WEIR_F64, la, ra, cases[i].a),
					      draw_as(w, WEIR_F64, lb, rb, cases[i].b) };
			int64_t m = cases[i].y[ry - 2], n = cases[i].y[ry - 1], k = cases[i].a[ra - 1];
			double *a = read_all(x[0]), *b = read_all(x[1]), *want;
			weir_tensor *y = weir_matmul(x[0], x[1]);
			int64_t count = weir_numel(y) / (m * n);

			expect_shape(y, ry, cases[i].y);
			want = malloc(sizeof *want * (size_t)(weir_numel(y) + 1));
			for (int64_t p = 0; p < count; p++) {
				int64_t rest = p, pa = 0, pb = 0, sa = 1, sb = 1;

				for (int d = 3; d <= ry;
				     d++) { /* which matrices: broadcasting, from the last leading axis on */
					int64_t index = rest % cases[i].y[ry - d];

					rest /= cases[i].y[ry - d];
					if (d <= ra)
						pa += (cases[i].a[ra - d] == 1 ? 0 : index) * sa,
							sa *= cases[i].a[ra - d];
					if (d <= rb)
						pb += (cases[i].b[rb - d] == 1 ? 0 : index) * sb,
							sb *= cases[i].b[rb - d];
				}
				chain(WEIR_F64, m, n, k, a + pa * m * k, k, 1, b + pb * k * n, n, 1, want + p * m * n);
			}
			expect_bits(y, want);
			if (weir_numel(y)) expect_gradients(matmul, NULL, x, 2, l % (LAYOUTS + 1) ? 1 : 2);
			expect_fused_is_rule(matmul, NULL, x, 2, 8, NULL);
			free(a);
			free(b);
			free(want);
			weir_tape_reset(w);
		}
	}
	close_ctx(w);
}

static void errors(void **state)
{
	weir_ctx *w = open_ctx(false, 1), *other = open_ctx(false, 1);
	weir_tensor *v = weir_zeros(w, WEIR_F32, SHAPE(3)),
		    *m = weir_set_name(weir_zeros(w, WEIR_F32, SHAPE(3, 4)), "scores");
	weir_tensor *d = weir_zeros(w, WEIR_F64, SHAPE(4, 3)), *i = weir_zeros(w, WEIR_I32, SHAPE(4, 3));

	(void)state;
	expect_error(
		w, weir_matmul(v, m), WEIR_ERR_SHAPE,
		"weir_matmul: a rank below 2: a is [3] f32, b is [3, 4] f32 (scores); make a matrix of a vector with weir_reshape()");
	expect_error(
		w, weir_matmul(m, m), WEIR_ERR_SHAPE,
		"weir_matmul: inner sizes differ: a is [3, 4] f32 (scores), b is [3, 4] f32 (scores); the last axis of a must equal the "
		"last but one of b");
	expect_error(
		w, weir_matmul(weir_zeros(w, WEIR_F32, SHAPE(2, 5, 3)), weir_zeros(w, WEIR_F32, SHAPE(3, 3, 1))),
		WEIR_ERR_SHAPE,
		"weir_matmul: leading axes do not broadcast: a is [2, 5, 3] f32, b is [3, 3, 1] f32; counted from the last, each pair of "
		"extents must be equal, or one of them 1");
	expect_error(
		w, weir_matmul(m, d), WEIR_ERR_DTYPE,
		"weir_matmul: element types differ: operand 0 is [3, 4] f32 (scores), operand 1 is [4, 3] f64; weir_cast() converts");
	expect_error(w, weir_matmul(m, i), WEIR_ERR_DTYPE,
		     "weir_matmul: operand 1 is [4, 3] i32; it takes f32 or f64; weir_cast() converts");
	expect_error(
		w, weir_matmul(m, weir_zeros(other, WEIR_F32, SHAPE(4, 3))), WEIR_ERR_CONTEXT,
		"weir_matmul: operand 1, [4, 3] f32, belongs to another context; weir_share() lends a kept tensor to one");
	expect_error(
		w, weir_matmul(weir_zeros(w, WEIR_F32, SHAPE(2, 3, 4)), weir_zeros(other, WEIR_F32, SHAPE(2, 4, 3))),
		WEIR_ERR_CONTEXT,
		"weir_matmul: operand 1, [2, 4, 3] f32, belongs to another context; weir_share() lends a kept tensor to one");
	assert_true(weir_is_bad(weir_matmul(m, NULL)));
	weir_clear_error(w);
	assert_true(weir_is_bad(weir_matmul(NULL, m)));
	weir_clear_error(w);
	close_ctx(other);
	close_ctx(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(products),
		cmocka_unit_test(batches),
		cmocka_unit_test(errors),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
