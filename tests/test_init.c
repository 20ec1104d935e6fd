/* test_init.c: initialisers: their distributions, their exact properties, and that they hang on the seed alone. */
#include "tests/nn_check.h"

/* All values of a new parameter; free() them. */
static double *filled(weir_ctx *w, weir_dtype dtype, int rank, const int64_t *shape, weir_init_kind kind, double scale)
{
	weir_tensor *t = weir_param_new(w, "weight", dtype, rank, shape);
	double *v = malloc(((size_t)weir_numel(t) + 1) * sizeof(double));

	assert_true(weir_init_fill(t, kind, scale));
	assert_true(weir_read_f64(t, v, weir_numel(t)));
	weir_drop(t);
	return v;
}

/* Mean 0 within five standard errors, this variance within five of its own, nothing beyond limit (0: none). */
static void check_spread(weir_init_kind kind, int rank, const int64_t *shape, double scale, double variance,
			 double kurtosis, double limit)
{
	weir_ctx *w = open_as(WEIR_F32, 1, 7);
	double *v = filled(w, WEIR_F64, rank, shape, kind, scale), sum = 0, squares = 0, largest = 0;
	int64_t n = 1;

	for (int i = 0; i < rank; i++) n *= shape[i];
	for (int64_t i = 0; i < n; i++) {
		sum += v[i];
		squares += v[i] * v[i];
		if (fabs(v[i]) > largest) largest = fabs(v[i]);
	}
	if (fabs(sum / (double)n) > 5 * sqrt(variance / (double)n))
		fail_msg("kind %d: mean %g", (int)kind, sum / (double)n);
	if (fabs(squares / (double)n / variance - 1) > 5 * sqrt((kurtosis - 1) / (double)n))
		fail_msg("kind %d: variance %g, want %g", (int)kind, squares / (double)n, variance);
	if (limit > 0 && !(largest <= limit && largest > 0.99 * limit))
		fail_msg("kind %d: largest %g, limit %g", (int)kind, largest, limit);
	free(v);
	assert_int_equal(weir_close(w), 0);
}

static void test_spread(void **unused)
{
	static const int64_t matrix[] = { 100, 300 }, kernel[] = { 40, 20, 5, 3 }; /* fans 300, 100; 300, 600 */

	(void)unused;
	check_spread(WEIR_INIT_GLOROT, 2, matrix, 1, 2.0 / 400, 1.8, sqrt(6.0 / 400));
	check_spread(WEIR_INIT_GLOROT_NORMAL, 2, matrix, 1, 2.0 / 400, 3, 0);
	check_spread(WEIR_INIT_HE, 2, matrix, 1, 2.0 / 300, 3, 0);
	check_spread(WEIR_INIT_HE_UNIFORM, 2, matrix, 1, 2.0 / 300, 1.8, sqrt(6.0 / 300));
	check_spread(WEIR_INIT_GLOROT, 4, kernel, 1, 2.0 / 900, 1.8, sqrt(6.0 / 900));
	check_spread(WEIR_INIT_HE, 4, kernel, 1, 2.0 / 300, 3, 0);
	check_spread(WEIR_INIT_HE, 2, matrix, 0.5, 0.25 * 2.0 / 300, 3, 0);
	check_spread(WEIR_INIT_HE_UNIFORM, 2, matrix, -2, 4 * 2.0 / 300, 1.8, 2 * sqrt(6.0 / 300));
}

/* Rows, or columns where there are more rows, have length scale and right angles between them. */
static void check_orthogonal(int rank, const int64_t *shape, double scale, weir_dtype dtype, double tolerance)
{
	weir_ctx *w = open_as(WEIR_F32, 1, 3);
	int64_t rows = shape[0], columns = 1;
	double *v = filled(w, dtype, rank, shape, WEIR_INIT_ORTHOGONAL, scale);

	for (int i = 1; i < rank; i++) columns *= shape[i];
	for (int64_t a = 0; a < rows && a < columns; a++) {
		for (int64_t b = 0; b <= a; b++) {
			double dot = 0, want = a == b ? scale * scale : 0;

			if (rows <= columns) {
				for (int64_t i = 0; i < columns; i++) dot += v[a * columns + i] * v[b * columns + i];
			} else {
				for (int64_t i = 0; i < rows; i++) dot += v[i * columns + a] * v[i * columns + b];
			}
			if (!(fabs(dot - want) <= tolerance))
				fail_msg("[%lld, %lld]: product of %lld and %lld is %.17g, want %g", (long long)rows,
					 (long long)columns, (long long)a, (long long)b, dot, want);
		}
	}
	free(v);
	assert_int_equal(weir_close(w), 0);
}

static void test_orthogonal(void **unused)
{
	static const int64_t shapes[][2] = { { 1, 1 },   { 1, 9 },    { 9, 1 },    { 2, 2 },     { 17, 17 },
					     { 64, 64 }, { 10, 100 }, { 100, 10 }, { 129, 130 }, { 200, 200 } };
	static const int64_t kernel[] = { 6, 2, 5, 3 }, tall[] = { 60, 2, 5, 3 };
	int positive = 0;

	(void)unused;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		check_orthogonal(2, shapes[i], 1, WEIR_F64, 1e-14);
		check_orthogonal(2, shapes[i], 1.5, WEIR_F32, 1e-6);
	}
	check_orthogonal(4, kernel, 1, WEIR_F64, 1e-14);
	check_orthogonal(4, tall, -0.5, WEIR_F64, 1e-14);

	/* Uniform over all: a 1 x 1 is 1 or -1 with even chances, which a QR without mended signs misses. */
	for (uint64_t seed = 0; seed < 100; seed++) {
		weir_ctx *w = open_as(WEIR_F32, 1, seed);
		double *v = filled(w, WEIR_F64, 2, (int64_t[]){ 1, 1 }, WEIR_INIT_ORTHOGONAL, 1);

		assert_true(fabs(v[0]) == 1);
		positive += v[0] > 0;
		free(v);
		weir_close(w);
	}
	if (positive < 25 || positive > 75) fail_msg("%d of 100 are +1", positive);
}

static void test_diagonal(void **unused)
{
	static const int64_t shapes[][2] = { { 3, 3 }, { 2, 5 }, { 5, 2 }, { 1, 4 }, { 0, 3 }, { 3, 0 } };
	weir_ctx *w = open_as(WEIR_F32, 1, 0);

	(void)unused;
	for (size_t s = 0; s < sizeof(shapes) / sizeof(*shapes); s++) {
		for (int f64 = 0; f64 < 2; f64++) {
			double *v = filled(w, f64 ? WEIR_F64 : WEIR_F32, 2, shapes[s], WEIR_INIT_DIAGONAL, 0.1);

			for (int64_t r = 0; r < shapes[s][0]; r++) {
				for (int64_t c = 0; c < shapes[s][1]; c++)
					assert_true(v[r * shapes[s][1] + c] == (r != c ? 0 : f64 ? 0.1 : (double)0.1f));
			}
			free(v);
		}
	}
	/* neither zeros nor a diagonal draws random numbers */
	uint64_t stream = weir_random_stream(w);
	free(filled(w, WEIR_F32, 2, shapes[0], WEIR_INIT_DIAGONAL, 2));
	free(filled(w, WEIR_F32, 2, shapes[0], WEIR_INIT_ZEROS, 2));
	assert_int_equal(weir_random_stream(w), stream + 1);
	assert_int_equal(weir_close(w), 0);
}

static void test_seed(void **unused)
{
	static const int64_t shape[] = { 120, 90 };
	enum { N = 120 * 90 };

	(void)unused;
	for (int kind = WEIR_INIT_GLOROT; kind <= WEIR_INIT_ORTHOGONAL; kind++) {
		double *first[2] = { NULL, NULL };

		for (int threads = 1; threads <= 8; threads += threads < 3 ? 1 : 5) {
			weir_ctx *w = open_as(WEIR_F32, threads, 11), *other = open_as(WEIR_F32, threads, 12);
			double *a = filled(w, WEIR_F64, 2, shape, (weir_init_kind)kind, 1);
			double *b = filled(w, WEIR_F64, 2, shape, (weir_init_kind)kind, 1);
			double *c = filled(other, WEIR_F64, 2, shape, (weir_init_kind)kind, 1);
			weir_ctx *again = open_as(WEIR_F32, threads, 11);
			double *f32 = filled(again, WEIR_F32, 2, shape, (weir_init_kind)kind, 1);

			if (first[0]) {
				assert_memory_equal(first[0], a, N * sizeof(double));
				assert_memory_equal(first[1], b, N * sizeof(double));
			}
			assert_memory_not_equal(a, b, N * sizeof(double)); /* every call a stream of its own */
			assert_memory_not_equal(a, c, N * sizeof(double));
			for (int i = 0; i < N; i++) assert_true(f32[i] == (double)(float)a[i]); /* rounded once */
			free(first[0]), free(first[1]);
			first[0] = a, first[1] = b;
			free(c), free(f32);
			weir_close(w), weir_close(other), weir_close(again);
		}
		free(first[0]), free(first[1]);
	}
}

static void test_refused(void **unused)
{
	weir_ctx *w = open_as(WEIR_F32, 1, 0);
	weir_tensor *m = weir_param_new(w, "m", WEIR_F32, 2, (int64_t[]){ 2, 2 }),
		    *v = weir_param_new(w, "v", WEIR_F32, 1, (int64_t[]){ 2 });
	weir_tensor *cube = weir_param_new(w, "cube", WEIR_F32, 3, (int64_t[]){ 2, 2, 2 }),
		    *whole = weir_zeros(w, WEIR_I32, 2, (int64_t[]){ 2, 2 });

	(void)unused;
	assert_true(weir_init_fill(v, WEIR_INIT_ZEROS, 1));
	assert_false(weir_init_fill(v, WEIR_INIT_HE, 1));
	assert_error(w, WEIR_ERR_SHAPE, "t is [2] f32 (v); all initialisers but zeros need two axes");
	assert_false(weir_init_fill(cube, WEIR_INIT_DIAGONAL, 1));
	assert_error(w, WEIR_ERR_SHAPE, "cube");
	assert_false(weir_init_fill(m, WEIR_INIT_HE, NAN));
	assert_error(w, WEIR_ERR_ARGUMENT, "scale is nan");
	assert_false(weir_init_fill(m, WEIR_INIT_HE, -INFINITY));
	assert_error(w, WEIR_ERR_ARGUMENT, "scale is -inf");
	assert_false(weir_init_fill(m, WEIR_INIT_KIND_COUNT, 1));
	assert_error(w, WEIR_ERR_ARGUMENT, "no initialiser number");
	assert_false(weir_init_fill(whole, WEIR_INIT_ZEROS, 1));
	assert_error(w, WEIR_ERR_DTYPE, "i32");
	assert_false(weir_init_fill(weir_relu(m), WEIR_INIT_HE, 1));
	assert_error(w, WEIR_ERR_ARGUMENT, "the result of relu");
	assert_false(weir_init_fill(NULL, WEIR_INIT_HE, 1));

	/* a fill between forward and backward is seen */
	weir_tensor *y = weir_sum_all(weir_square(m));
	assert_true(weir_init_fill(m, WEIR_INIT_HE, 1));
	weir_backward(y);
	assert_error(w, WEIR_ERR_VERSION, "weir_init_fill");
	weir_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spread), cmocka_unit_test(test_orthogonal), cmocka_unit_test(test_diagonal),
		cmocka_unit_test(test_seed),   cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
