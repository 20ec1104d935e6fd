/* test_dataset.c: data sets: the digits, arrays, CSV files; passes, splits, errors. Long, because every
 * refusal is a case of its own. */
#include <weir/io.h>

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static weir_ctx *w;
static char message[1024];
static int reports;

static void on_error(weir_ctx *ctx, weir_status status, const char *text, void *user)
{
	(void)ctx, (void)status, (void)user;
	snprintf(message, sizeof(message), "%s", text);
	reports++;
}

static weir_ctx *open_seeded(uint64_t seed)
{
	weir_options o;

	weir_options_init(&o);
	o.seed = seed;
	o.handler = on_error;
	o.threads = 1;
	return weir_open(&o);
}

static int setup(void **unused)
{
	(void)unused;
	w = open_seeded(7);
	message[0] = '\0';
	reports = 0;
	return weir_ok(w) ? 0 : -1;
}

static int teardown(void **unused)
{
	(void)unused;
	weir_close(w);
	return 0;
}

static void expect_error(weir_status status, const char *text)
{
	if (weir_error(w) != status || !strstr(message, text))
		fail_msg("got %s: %s\n  want %s: ...%s...", weir_status_name(weir_error(w)), message,
			 weir_status_name(status), text);
	weir_clear_error(w);
	message[0] = '\0';
}

static void expect_ok(void)
{
	if (!weir_ok(w)) fail_msg("%s", weir_error_text(w));
}

/* A set of n examples whose one feature is the example's number, as is the label modulo 3. */
static weir_dataset *numbered(int64_t n)
{
	static double x[2000];
	static int64_t label[2000];

	for (int64_t i = 0; i < n; i++) {
		x[i] = (double)i;
		label[i] = i % 3;
	}
	return weir_dataset_arrays(w, n, 1, WEIR_F64, x, 3, label);
}

/* The numbers of one pass; checks sizes of the minibatches on the way. */
static void pass(weir_dataset *set, int64_t batch, int64_t *order)
{
	int64_t n = weir_dataset_size(set), epoch = weir_dataset_epoch(set), at = 0;

	while (weir_dataset_epoch(set) == epoch) {
		weir_tensor *x, *y;
		int64_t want = n - at < batch ? n - at : batch;

		weir_tape_reset(w);
		assert_true(weir_dataset_next(set, batch, &x, &y));
		assert_int_equal(weir_extent(x, 0), want);
		assert_int_equal(weir_extent(x, 1), 1);
		assert_int_equal(weir_rank(y), 1);
		assert_int_equal(weir_extent(y, 0), want);
		for (int64_t i = 0; i < want; i++) {
			order[at + i] = (int64_t)weir_get(x, i);
			assert_int_equal((int64_t)weir_get(y, i), order[at + i] % 3);
		}
		at += want;
	}
	assert_int_equal(at, n);
}

static void expect_each_once(const int64_t *order, int64_t n)
{
	char seen[2000] = { 0 };

	for (int64_t i = 0; i < n; i++) {
		assert_in_range(order[i], 0, n - 1);
		if (seen[order[i]]++) fail_msg("example %lld comes twice", (long long)order[i]);
	}
}

static void test_digits(void **unused)
{
	weir_dataset *set = weir_dataset_digits(w), *wide = weir_dataset_digits_as(w, WEIR_F64);
	weir_tensor *x, *y, *xd, *yd;
	double sum = 0;
	int counts[10] = { 0 };

	(void)unused;
	assert_false(weir_dataset_is_bad(set));
	assert_int_equal(weir_dataset_size(set), 1797);
	assert_int_equal(weir_dataset_features(set), 64);
	assert_int_equal(weir_dataset_classes(set), 10);
	assert_int_equal(weir_dataset_targets(set), 0);
	assert_int_equal(weir_dataset_dtype(set), WEIR_F32);
	assert_int_equal(weir_dataset_dtype(wide), WEIR_F64);
	assert_ptr_equal(weir_dataset_context(set), w);
	assert_true(weir_dataset_all(set, &x, &y));
	assert_true(weir_dataset_all(wide, &xd, &yd));
	assert_int_equal(weir_dtype_of(x), WEIR_F32);
	assert_int_equal(weir_dtype_of(xd), WEIR_F64);
	assert_int_equal(weir_dtype_of(y), WEIR_I64);
	assert_string_equal(weir_name(x), "images");
	assert_string_equal(weir_name(y), "labels");
	assert_int_equal(weir_numel(x), 1797 * 64);
	for (int64_t i = 0; i < weir_numel(x); i++) {
		if (weir_get(x, i) != weir_get(xd, i)) fail_msg("pixel %lld", (long long)i);
		sum += weir_get(xd, i);
	}
	assert_true(sum == 561718 / 16.0);
	for (int64_t i = 0; i < 1797; i++) counts[(int)weir_get(y, i)]++;
	assert_int_equal(counts[3], 183);
	assert_true(weir_get(x, 3) == 13.0 / 16); /* the first image begins 0 0 5 13 */
	assert_true(weir_dataset_is_bad(weir_dataset_digits_as(w, WEIR_I32)));
	expect_error(WEIR_ERR_DTYPE, "weir_dataset_digits_as: dtype is i32");
}

static void test_passes(void **unused)
{
	int64_t first[100], second[100], again[100];
	weir_dataset *set = numbered(100);

	(void)unused;
	for (int64_t batch = 1; batch <= 150; batch += 7) {
		pass(set, batch, first);
		expect_each_once(first, 100);
		pass(set, batch, second);
		expect_each_once(second, 100);
		assert_memory_not_equal(first, second, sizeof(first)); /* shuffled anew */
	}
	assert_true(weir_dataset_rewind(set, 1));
	assert_int_equal(weir_dataset_epoch(set), 1);
	pass(set, 100, again);
	assert_true(weir_dataset_rewind(set, 1));
	pass(set, 9, second);
	assert_memory_equal(again, second, sizeof(again)); /* whatever the size of the minibatch */
	expect_ok();
}

static void test_order_hangs_on_the_seed_alone(void **unused)
{
	int64_t order[3][50];
	uint64_t seeds[3] = { 1, 1, 2 };
	weir_ctx *mine = w;

	(void)unused;
	for (int i = 0; i < 3; i++) {
		w = open_seeded(seeds[i]);
		weir_dataset *set = numbered(50);
		if (i == 1) weir_random_stream(w); /* others may draw numbers meanwhile */
		pass(set, 8, order[i]);
		weir_close(w);
	}
	w = mine;
	assert_memory_equal(order[0], order[1], sizeof(order[0]));
	assert_memory_not_equal(order[0], order[2], sizeof(order[0]));
}

/* Every example comes to every place about as often. */
static void test_shuffle_is_fair(void **unused)
{
	enum { N = 8, PASSES = 4000 };
	int count[N][N] = { { 0 } };
	int64_t order[N];
	weir_dataset *set = numbered(N);
	double worst = 0;

	(void)unused;
	for (int p = 0; p < PASSES; p++) {
		pass(set, N, order);
		for (int i = 0; i < N; i++) count[i][order[i]]++;
	}
	for (int i = 0; i < N; i++) {
		for (int k = 0; k < N; k++) {
			double z = (count[i][k] - PASSES / (double)N) / sqrt(PASSES / (double)N * (1 - 1.0 / N));

			if (fabs(z) > worst) worst = fabs(z);
		}
	}
	if (worst > 4.5) fail_msg("%.2f standard deviations off", worst);
}

static void test_split(void **unused)
{
	int64_t order[200];
	weir_dataset *set = numbered(200), *train, *validation, *a, *b;

	(void)unused;
	assert_true(weir_dataset_split(set, 0.75, &train, &validation));
	assert_int_equal(weir_dataset_size(train), 150);
	assert_int_equal(weir_dataset_size(validation), 50);
	assert_int_equal(weir_dataset_classes(validation), 3);
	assert_int_equal(weir_dataset_size(set), 200);
	assert_true(weir_dataset_split(train, 0.5, &a, &b)); /* and once more */
	weir_dataset_drop(set);
	weir_dataset_drop(train); /* the others stay whole */
	pass(a, 16, order);
	pass(b, 16, order + 75);
	pass(validation, 16, order + 150);
	expect_each_once(order, 200);
	pass(validation, 7, order);
	expect_ok();
}

static void test_split_errors(void **unused)
{
	static const double bad[] = { 0, 1, -0.5, 1.5, NAN, INFINITY };
	weir_dataset *set = numbered(10), *a, *b;

	(void)unused;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_false(weir_dataset_split(set, bad[i], &a, &b));
		assert_true(weir_dataset_is_bad(a) && weir_dataset_is_bad(b));
		expect_error(WEIR_ERR_ARGUMENT, "it must lie between 0 and 1");
	}
	assert_false(weir_dataset_split(set, 0.01, &a, &b));
	expect_error(WEIR_ERR_ARGUMENT,
		     "of 10 examples, 0 would go to train and 10 to validation; neither may be empty");
	assert_false(weir_dataset_split(set, 0.5, &a, NULL));
	expect_error(WEIR_ERR_ARGUMENT, "validation is NULL");
}

static void test_regression(void **unused)
{
	const float x[] = { 1, 2, 3, 4, 5, 6 }, targets[] = { 10, 20, 30 };
	weir_dataset *set = weir_dataset_regression(w, 3, 2, 1, WEIR_F32, x, targets);
	weir_tensor *tx, *ty;

	(void)unused;
	assert_int_equal(weir_dataset_targets(set), 1);
	assert_int_equal(weir_dataset_classes(set), 0);
	assert_true(weir_dataset_all(set, &tx, &ty));
	assert_int_equal(weir_rank(ty), 2);
	assert_int_equal(weir_dtype_of(ty), WEIR_F32);
	assert_string_equal(weir_name(ty), "targets");
	assert_memory_equal(weir_data(tx), x, sizeof(x));
	assert_memory_equal(weir_data(ty), targets, sizeof(targets));
	assert_true(weir_dataset_next(set, 2, &tx, &ty));
	for (int64_t i = 0; i < 2; i++) assert_true(weir_get(ty, i) == 5 * (weir_get(tx, 2 * i) + 1));
	expect_ok();
}

static void test_array_errors(void **unused)
{
	const float x[] = { 1, 2, 3, 4 }, nan_x[] = { 1, 2, NAN, 4 };
	const double inf_x[] = { 1, 2, 3, -INFINITY };
	const int64_t labels[] = { 0, 4 }, negative[] = { 0, -1 }, huge[] = { INT64_MAX, 0 };
	const weir_dtype none = (weir_dtype)77;

	(void)unused;
	assert_int_equal(weir_dataset_classes(weir_dataset_arrays(w, 2, 2, WEIR_F32, x, 0, labels)), 5);
	assert_int_equal(weir_dataset_classes(weir_dataset_arrays(w, 2, 2, WEIR_F32, x, 9, labels)), 9);
	expect_ok();
	weir_dataset_arrays(w, 2, 2, WEIR_F32, nan_x, 0, labels);
	expect_error(WEIR_ERR_NONFINITE, "weir_dataset_arrays: x[1, 0] is nan; a data set holds finite numbers only");
	weir_dataset_arrays(w, 2, 2, WEIR_F64, inf_x, 0, labels);
	expect_error(WEIR_ERR_NONFINITE, "x[1, 1] is -inf");
	weir_dataset_regression(w, 2, 1, 2, WEIR_F32, x, nan_x);
	expect_error(WEIR_ERR_NONFINITE, "weir_dataset_regression: y[1, 0] is nan");
	weir_dataset_arrays(w, 2, 2, WEIR_F32, x, 4, labels);
	expect_error(WEIR_ERR_INDEX, "label 1 is 4, but there are 4 classes: 0 to 3");
	weir_dataset_arrays(w, 2, 2, WEIR_F32, x, 0, negative);
	expect_error(WEIR_ERR_INDEX, "label 1 is -1; labels count from 0");
	weir_dataset_arrays(w, 2, 2, WEIR_F32, x, 0, huge);
	expect_error(WEIR_ERR_INDEX, "label 0 is 9223372036854775807");
	weir_dataset_arrays(w, 2, 2, WEIR_F32, x, -1, labels);
	expect_error(WEIR_ERR_ARGUMENT, "classes is -1");
	weir_dataset_arrays(w, -2, 2, WEIR_F32, x, 0, labels);
	expect_error(WEIR_ERR_SHAPE, "-2 examples of 2 features");
	weir_dataset_arrays(w, INT64_MAX / 2, 8, WEIR_F32, x, 0, labels);
	expect_error(WEIR_ERR_SHAPE, "nor too many for memory");
	weir_dataset_arrays(w, 2, 2, WEIR_U8, x, 0, labels);
	expect_error(WEIR_ERR_DTYPE, "dtype is u8");
	weir_dataset_arrays(w, 2, 2, none, x, 0, labels);
	expect_error(WEIR_ERR_DTYPE, "f32 or f64");
	weir_dataset_arrays(w, 2, 2, WEIR_F32, NULL, 0, labels);
	expect_error(WEIR_ERR_ARGUMENT, "x is NULL");
	weir_dataset_arrays(w, 2, 2, WEIR_F32, x, 0, NULL);
	expect_error(WEIR_ERR_ARGUMENT, "labels is NULL");
}

static void test_next_errors(void **unused)
{
	weir_dataset *set = numbered(10), *empty = weir_dataset_arrays(w, 0, 3, WEIR_F32, NULL, 0, NULL);
	weir_dataset *bad;
	weir_tensor *x = NULL, *y = NULL;

	(void)unused;
	assert_false(weir_dataset_next(set, 0, &x, &y));
	assert_true(x && weir_is_bad(x) && y && weir_is_bad(y));
	expect_error(WEIR_ERR_ARGUMENT, "weir_dataset_next: batch is 0; it must be 1 or more");
	assert_false(weir_dataset_next(set, 4, &x, NULL));
	expect_error(WEIR_ERR_ARGUMENT, "weir_dataset_next: y is NULL");
	assert_int_equal(weir_dataset_size(empty), 0);
	assert_true(weir_dataset_all(empty, &x, &y)); /* of no examples: [0, 3] */
	assert_int_equal(weir_extent(x, 1), 3);
	assert_false(weir_dataset_next(empty, 4, &x, &y));
	expect_error(WEIR_ERR_ARGUMENT, "the data set has no examples");
	assert_false(weir_dataset_rewind(set, -1));
	expect_error(WEIR_ERR_ARGUMENT, "epoch is -1");

	bad = weir_dataset_digits_as(w, WEIR_U8);
	assert_true(bad && weir_dataset_is_bad(bad));
	assert_true(weir_dataset_is_bad(weir_dataset_digits(w))); /* the error sticks */
	assert_false(weir_dataset_next(set, 4, &x, &y));
	assert_true(weir_is_bad(x) && weir_is_bad(y));
	assert_true(isnan(weir_item(x)));
	assert_int_equal(reports, 5);
	expect_error(WEIR_ERR_DTYPE, "weir_dataset_digits_as");
	assert_int_equal(weir_dataset_size(bad), 0);
	assert_false(weir_dataset_next(bad, 4, &x, &y));
	assert_true(weir_is_bad(x) && weir_context(x) == w);
	expect_error(WEIR_ERR_ARGUMENT, "weir_dataset_next: this is the data set of a call that failed");
	weir_dataset_drop(bad);
	weir_dataset_drop(NULL);

	assert_true(weir_dataset_is_bad(weir_dataset_digits(NULL)));
	assert_false(weir_dataset_next(NULL, 4, &x, &y));
	assert_true(x && weir_is_bad(x));
	assert_true(weir_dataset_next(set, 4, &x, &y)); /* and this context goes on */
}

/* ---- CSV ---- */

static const char *put(const char *text, size_t n)
{
	FILE *f = fopen("data.csv", "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
	return "data.csv";
}

static const char *put_text(const char *text)
{
	return put(text, strlen(text));
}

static void test_csv(void **unused)
{
	weir_csv_options o;
	weir_dataset *set;
	weir_tensor *x, *y;

	(void)unused;
	set = weir_dataset_csv(w, put_text("a,b,label\n0.5,1,2\n-1,1e-3,0\n"), NULL);
	expect_ok();
	assert_int_equal(weir_dataset_size(set), 2);
	assert_int_equal(weir_dataset_features(set), 2);
	assert_int_equal(weir_dataset_classes(set), 3);
	assert_true(weir_dataset_all(set, &x, &y));
	assert_int_equal(weir_dtype_of(x), WEIR_F32);
	assert_true(weir_get(x, 0) == 0.5 && weir_get(x, 3) == (double)1e-3f);
	assert_true(weir_get(y, 0) == 2 && weir_get(y, 1) == 0);

	weir_csv_options_init(&o); /* the label first, bytes */
	o.target_column = 0;
	o.scale = 1.0 / 255;
	o.classes = 10;
	o.dtype = WEIR_F64;
	set = weir_dataset_csv(w, put_text("5,0,255\n3,51,0\n"), &o);
	expect_ok();
	assert_int_equal(weir_dataset_classes(set), 10);
	assert_true(weir_dataset_all(set, &x, &y));
	assert_true(weir_get(x, 1) == 255 * (1.0 / 255) && weir_get(x, 2) == 51 * (1.0 / 255));
	assert_true(weir_get(y, 0) == 5 && weir_get(y, 1) == 3);

	weir_csv_options_init(&o); /* two targets at the end, then in the middle */
	o.targets = 2;
	set = weir_dataset_csv(w, put_text("1,2,3,4\n5,6,7,8\n"), &o);
	assert_true(weir_dataset_all(set, &x, &y));
	assert_true(weir_get(x, 0) == 1 && weir_get(x, 3) == 6 && weir_get(y, 0) == 3 && weir_get(y, 3) == 8);
	o.target_column = -2;
	set = weir_dataset_csv(w, "data.csv", &o);
	assert_true(weir_dataset_all(set, &x, &y));
	assert_true(weir_get(x, 0) == 1 && weir_get(x, 1) == 4 && weir_get(y, 0) == 2 && weir_get(y, 1) == 3);
	o.target_column = 1;
	set = weir_dataset_csv(w, "data.csv", &o);
	assert_true(weir_dataset_all(set, &x, &y));
	assert_true(weir_get(y, 0) == 2);
	o.targets = 4; /* no features at all */
	o.target_column = -1;
	set = weir_dataset_csv(w, "data.csv", &o);
	assert_int_equal(weir_dataset_features(set), 0);
	expect_ok();
	unlink("data.csv");
}

static void test_csv_keeps_subnormals(void **unused)
{
	weir_csv_options o;
	weir_tensor *x, *y;
	float f;

	(void)unused;
	weir_csv_options_init(&o);
	o.targets = 1;
	assert_true(weir_dataset_all(weir_dataset_csv(w, put_text("1e-45,1e-39\n"), &o), &x, &y));
	memcpy(&f, weir_data(x), sizeof(f));
	assert_int_equal(memcmp(&f, &(float){ 1e-45f }, sizeof(f)), 0);
	memcpy(&f, weir_data(y), sizeof(f));
	assert_int_equal(memcmp(&f, &(float){ 1e-39f }, sizeof(f)), 0);
	unlink("data.csv");
}

static void test_csv_errors(void **unused)
{
	static const struct {
		const char *text, *want;
		weir_status status;
	} cases[] = {
		{ "", "weir_dataset_csv: data.csv: the file is empty", WEIR_ERR_FORMAT },
		{ "1,2\n3,abc\n", "weir_dataset_csv: data.csv: line 2, column 2: \"abc\" is not a number",
		  WEIR_ERR_FORMAT },
		{ "1,2\n3\n", "data.csv: line 2: 1 cell, but line 1 has 2", WEIR_ERR_FORMAT },
		{ "x,y\n1,nan\n", "data.csv: line 2, column 2: \"nan\" is not finite", WEIR_ERR_FORMAT },
		{ "x,y\n1,0.5\n", "data.csv: line 2, column 2: 0.5 is not a label; labels are whole numbers",
		  WEIR_ERR_INDEX },
		{ "1,0\n2,-1\n", "data.csv: line 2, column 2: -1 is not a label", WEIR_ERR_INDEX },
		{ "1,2147483648\n", "line 1, column 2: 2147483648 is not a label", WEIR_ERR_INDEX },
		{ "x,y\n1,0\n\"-1e39\",1\n", "data.csv: line 3, column 1: -1e+39 is too large for f32; use WEIR_F64",
		  WEIR_ERR_NONFINITE },
	};
	weir_csv_options o;

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_true(weir_dataset_is_bad(weir_dataset_csv(w, put_text(cases[i].text), NULL)));
		expect_error(cases[i].status, cases[i].want);
	}
	weir_dataset_csv(w, put("1,\0\n", 4), NULL);
	expect_error(WEIR_ERR_FORMAT, "line 1, column 2: a NUL byte");

	put_text("1e300,2,3\n4,5,6\n");
	weir_csv_options_init(&o);
	o.classes = 6;
	weir_dataset_csv(w, "data.csv", &o);
	expect_error(WEIR_ERR_NONFINITE, "line 1, column 1: 1e+300 is too large for f32");
	o.dtype = WEIR_F64;
	weir_dataset_csv(w, "data.csv", &o);
	expect_error(WEIR_ERR_INDEX, "line 2, column 3: 6 is not below the number of classes");
	o.scale = 1e10;
	weir_dataset_csv(w, "data.csv", &o);
	expect_error(WEIR_ERR_NONFINITE, "is too large when multiplied by scale");
	weir_csv_options_init(&o);
	o.target_column = 3;
	weir_dataset_csv(w, "data.csv", &o);
	expect_error(WEIR_ERR_ARGUMENT,
		     "the table has 3 columns; 1 of them can't be the target where target_column is 3");
	o.target_column = -4;
	weir_dataset_csv(w, "data.csv", &o);
	expect_error(WEIR_ERR_ARGUMENT, "target_column is -4");
	o.target_column = INT64_MIN;
	weir_dataset_csv(w, "data.csv", &o);
	expect_error(WEIR_ERR_ARGUMENT, "the table has 3 columns");
	o.target_column = INT64_MAX;
	weir_dataset_csv(w, "data.csv", &o);
	expect_error(WEIR_ERR_ARGUMENT, "the table has 3 columns");
	o.target_column = -1;
	o.targets = INT64_MAX;
	weir_dataset_csv(w, "data.csv", &o);
	expect_error(WEIR_ERR_ARGUMENT, "the table has 3 columns");
	weir_csv_options_init(&o);
	o.delimiter = '"';
	weir_dataset_csv(w, "data.csv", &o);
	expect_error(WEIR_ERR_ARGUMENT, "delimiter is character 34");
	weir_csv_options_init(&o);
	o.scale = NAN;
	weir_dataset_csv(w, "data.csv", &o);
	expect_error(WEIR_ERR_ARGUMENT, "scale is nan");
	o.scale = -INFINITY;
	weir_dataset_csv(w, "data.csv", &o);
	expect_error(WEIR_ERR_ARGUMENT, "scale is -inf");
	weir_csv_options_init(&o);
	o.dtype = WEIR_I64;
	weir_dataset_csv(w, "data.csv", &o);
	expect_error(WEIR_ERR_DTYPE, "dtype is i64");
	unlink("data.csv");
}

static void test_csv_files(void **unused)
{
	(void)unused;
	weir_dataset_csv(w, NULL, NULL);
	expect_error(WEIR_ERR_ARGUMENT, "path is NULL");
	weir_dataset_csv(w, "missing.csv", NULL);
	expect_error(WEIR_ERR_IO, "weir_dataset_csv: missing.csv: opening the file: No such file or directory");
	weir_dataset_csv(w, ".", NULL);
	expect_error(WEIR_ERR_IO, "weir_dataset_csv: .: this is no regular file");
	weir_dataset_csv(w, "/dev/zero", NULL);
	expect_error(WEIR_ERR_IO, "/dev/zero: this is no regular file");
	unlink("pipe");
	assert_int_equal(mkfifo("pipe", 0600), 0);
	weir_dataset_csv(w, "pipe", NULL);
	expect_error(WEIR_ERR_IO, "pipe: this is no regular file");
	unlink("pipe");
}

/* ---- memory ---- */

struct faults {
	long left; /* calls until one fails; -1: none */
	size_t held;
};

static void *faulty_alloc(void *user, size_t size, size_t align)
{
	struct faults *f = user;
	void *p = f->left == 0 ? NULL : aligned_alloc(align, (size + align - 1) / align * align);

	if (f->left >= 0) f->left--;
	if (p) f->held += size;
	return p;
}

static void faulty_free(void *user, void *p, size_t size)
{
	((struct faults *)user)->held -= size;
	free(p);
}

/* Each allocation fails in its turn: an error, no crash, nothing lost, and the context can be used again. */
static void test_out_of_memory(void **unused)
{
	int failures = 0;

	(void)unused;
	put_text("1,2,0\n3,4,1\n5,6,1\n");
	for (int call = 0; call < 60; call++) {
		struct faults f = { -1, 0 };
		weir_options o;
		weir_dataset *digits, *csv, *a, *b;
		weir_tensor *x, *y;
		weir_ctx *c;

		weir_options_init(&o);
		o.handler = on_error;
		o.threads = 1;
		o.allocator = (weir_allocator){ faulty_alloc, faulty_free, &f };
		c = weir_open(&o);
		assert_true(weir_ok(c));
		f.left = call;
		digits = weir_dataset_digits(c);
		csv = weir_dataset_csv(c, "data.csv", NULL);
		weir_dataset_split(digits, 0.8, &a, &b);
		weir_dataset_next(a, 600, &x, &y);
		weir_dataset_all(csv, &x, &y);
		failures += !weir_ok(c);
		if (!weir_ok(c)) assert_int_equal(weir_error(c), WEIR_ERR_MEMORY);
		f.left = -1;
		weir_clear_error(c);
		assert_true(weir_dataset_next(weir_dataset_digits(c), 600, &x, &y));
		weir_close(c);
		if (f.held) fail_msg("call %d: %zu bytes are lost", call, f.held);
	}
	assert_true(failures > 8);
	unlink("data.csv");
}

/* A steady loop takes nothing from the allocator. */
static void test_steady_state(void **unused)
{
	weir_dataset *set = weir_dataset_digits(w);
	weir_tensor *x, *y;
	uint64_t before = 0;

	(void)unused;
	for (int step = 0; step < 200; step++) {
		if (step == 60) before = weir_memory_of(w).allocator_calls;
		weir_tape_reset(w);
		weir_dataset_next(set, 64, &x, &y);
	}
	expect_ok();
#ifdef NDEBUG
	assert_int_equal(weir_memory_of(w).allocator_calls, before);
#else
	(void)before; /* the stale check never uses an address twice */
#endif
}

/* ---- files ---- */

static void expect_file(const char *path, const char *want)
{
	char buf[64];
	FILE *f = fopen(path, "r");
	size_t n;

	assert_non_null(f);
	n = fread(buf, 1, sizeof(buf) - 1, f);
	fclose(f);
	buf[n] = '\0';
	assert_string_equal(buf, want);
}

static void test_file(void **unused)
{
	weir_file *f = weir_file_create(w, "written");

	(void)unused;
	assert_true(weir_file_write(f, "one ", 4));
	assert_true(weir_file_write(f, "two", 3));
	assert_int_not_equal(access("written", F_OK), 0);
	assert_true(weir_file_commit(f));
	expect_file("written", "one two");
	f = weir_file_create(w, "written");
	assert_true(weir_file_write(f, "three", 5));
	weir_file_abandon(f);
	expect_file("written", "one two");
	f = weir_file_create(w, "written");
	weir_fail(w, WEIR_ERR_ARGUMENT, "something else went wrong");
	assert_false(weir_file_write(f, "x", 1));
	assert_false(weir_file_commit(f)); /* half a file replaces nothing */
	expect_file("written", "one two");
	weir_clear_error(w);
	weir_file_create(w, "written"); /* left open: weir_close removes what was begun */
	weir_close(w);
	w = open_seeded(1);
	expect_file("written", "one two");
	unlink("written");

	f = weir_file_create(w, "missing/file");
	assert_non_null(f);
	expect_error(WEIR_ERR_IO,
		     "weir_file_create: missing/file: opening the folder: No such file or directory (errno 2)");
	assert_false(weir_file_write(f, "x", 1));
	assert_false(weir_file_commit(f));
	assert_true(weir_ok(w));
	weir_file_create(w, NULL);
	expect_error(WEIR_ERR_ARGUMENT, "path is NULL");
	if (access("/dev/full", F_OK) == 0) {
		f = weir_file_create(w, "/dev/full");
		assert_false(weir_file_write(f, "x", 1));
		expect_error(WEIR_ERR_IO, "weir_file_write: /dev/full: writing: No space left on device");
		assert_false(weir_file_commit(f));
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_digits),
		TEST(test_passes),
		TEST(test_order_hangs_on_the_seed_alone),
		TEST(test_shuffle_is_fair),
		TEST(test_split),
		TEST(test_split_errors),
		TEST(test_regression),
		TEST(test_array_errors),
		TEST(test_next_errors),
		TEST(test_csv),
		TEST(test_csv_keeps_subnormals),
		TEST(test_csv_errors),
		TEST(test_csv_files),
		TEST(test_out_of_memory),
		TEST(test_steady_state),
		TEST(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
