/* test_table.c: the table test, the specification of the operations. Every operation of weir_op_list() has a row; a row without an
 * operation, or an operation without a row, fails. For each: the value against a reference in double (f32 and f64), gradients of orders 1
 * and 2, the fused rule against the rule, strided operands, empty ones, and 1, 2, 3 and 8 threads bit for bit. Instruction sets and compilers:
 * bits_ops.c and bits_train.c. */
#include "tests/ops_check.h"

#include "tests/ops_table.h"
#include "kernels/threads.h"

static weir_tensor *run(weir_tensor *const *xs, int n, void *user)
{
	(void)n;
	return ((const row *)user)->apply(xs);
}

static bool differentiable(const row *r)
{
	return r->gradients;
}

/* ---- values ---- */

static void check_values(weir_ctx *w, const row *r, weir_dtype t)
{
	weir_tensor *xs[MAX_IN], *y;
	double *in[MAX_IN], *want, scale = 0;
	int64_t n;

	row_operands(w, r, t, false, xs);
	y = r->apply(xs);
	if (weir_is_bad(y)) fail_msg("%s: %s", r->name, weir_error_text(w));
	n = weir_numel(y);
	want = calloc((size_t)n + 1, sizeof *want);
	for (int i = 0; i < r->n; i++) {
		in[i] = malloc((size_t)(weir_numel(xs[i]) + 1) * sizeof(double));
		assert_true(weir_read_f64(xs[i], in[i], weir_numel(xs[i])));
	}
	r->reference(r, in, want);
	for (int64_t k = 0; k < n; k++) scale = fmax(scale, fabs(want[k]));
	for (int64_t k = 0; k < n; k++) {
		double got = weir_get(y, k), unit = t == WEIR_F32 ? 0x1p-23 : 0x1p-52,
		       room = r->ulps * unit * fmax(fabs(want[k]), r->elementwise ? 0 : scale);

		if (near_by(got, want[k], room + (t == WEIR_F32 ? 1e-37 : 1e-300))) continue;
		fail_msg("%s %s: element %lld is %.17g, should be %.17g", r->name, weir_dtype_name(t), (long long)k,
			 got, want[k]);
	}
	for (int i = 0; i < r->n; i++) free(in[i]);
	free(want);
}

/* ---- strides: each operand as the transpose of its transposed copy, and as every other element of a longer one ---- */

static weir_tensor *strided(weir_tensor *x)
{
	int order[WEIR_MAX_RANK], rank = weir_rank(x);

	if (rank == 0) return x;
	if (rank == 1) { /* every other element */
		int64_t n = weir_extent(x, 0), wide[2] = { n, 2 };
		weir_tensor *two = weir_expand(weir_reshape(x, 2, (int64_t[]){ n, 1 }), 2, wide);

		return weir_slice(weir_reshape(weir_contiguous(two), 1, (int64_t[]){ 2 * n }), 0, 0, 2 * n, 2);
	}
	for (int i = 0; i < rank; i++) order[i] = rank - 1 - i;
	return weir_permute(weir_contiguous(weir_permute(x, rank, order)), rank, order);
}

static void same_bits(const char *what, const char *name, const weir_tensor *a, const weir_tensor *b)
{
	size_t bytes = (size_t)weir_numel(a) * weir_dtype_size(weir_dtype_of(a));
	char *p = malloc(bytes + 1), *q = malloc(bytes + 1);

	assert_int_equal(weir_numel(a), weir_numel(b));
	assert_true(weir_read(a, p, bytes) && weir_read(b, q, bytes));
	for (int64_t i = 0; i < weir_numel(a); i++) {
		size_t size = weir_dtype_size(weir_dtype_of(a));
		double x = weir_get(a, i), y = weir_get(b, i);

		if ((isnan(x) && isnan(y)) || !memcmp(p + (size_t)i * size, q + (size_t)i * size, size)) continue;
		fail_msg("%s: %s: element %lld: %.17g and %.17g", name, what, (long long)i, x, y);
	}
	free(p);
	free(q);
}

/* Value and gradients of the row, the cotangent of ones scaled by place so that every element counts. */
static weir_tensor *value_and_gradients(const row *r, weir_tensor *const *xs, weir_tensor **gx, int *n)
{
	weir_tensor *y = r->apply(xs), *gy, *targets[MAX_IN];
	weir_ctx *w = weir_context(xs[0]);

	*n = 0;
	if (weir_is_bad(y)) fail_msg("%s: %s", r->name, weir_error_text(w));
	if (!differentiable(r)) return y;
	gy = weir_zeros(w, weir_dtype_of(y), weir_rank(y), weir_shape(y));
	for (int64_t i = 0; i < weir_numel(y); i++) {
		double v = 1.0 + 0.125 * (double)(i % 5);

		if (weir_dtype_of(y) == WEIR_F32) ((float *)weir_data_mut(gy, NULL))[i] = (float)v;
		else ((double *)weir_data_mut(gy, NULL))[i] = v;
	}
	*n = row_reals(r, xs, targets);
	assert_true(weir_vjp(y, gy, targets, *n, gx, 0));
	return y;
}

static void check_strides(weir_ctx *w, const row *r, weir_dtype t)
{
	weir_tensor *xs[MAX_IN], *moved[MAX_IN], *g[MAX_IN], *h[MAX_IN];
	int n, m;

	row_operands(w, r, t, false, xs);
	for (int i = 0; i < r->n; i++) moved[i] = strided(xs[i]);
	same_bits("strided value", r->name, value_and_gradients(r, xs, g, &n), value_and_gradients(r, moved, h, &m));
	for (int i = 0; i < n; i++) same_bits("strided gradient", r->name, g[i], h[i]);
}

/* ---- gradients ---- */

static void check_gradients(weir_ctx *w, const row *r)
{
	weir_tensor *xs[MAX_IN];

	row_operands(w, r, WEIR_F64, false, xs);
	for (int order = 1; order <= 2; order++) {
		weir_gradcheck_options o;
		weir_gradcheck_result c;

		if (order == 2 && r->linear) continue; /* the derivative of its gradient is 0 wherever it exists */
		weir_gradcheck_options_init(&o);
		o.order = order;
		o.full = true;
		o.tolerance = order == 1 ? 1e-8 : 1e-6;
		if (r->step > 0) o.step = r->step;
		c = weir_gradcheck(run, (void *)(uintptr_t)r, xs, r->n, &o);
		if (!c.passed)
			fail_msg(
				"%s, order %d: worst %g at operand %d element %lld: %.12g analytic, %.12g numeric; %s; %s",
				r->name, order, c.worst, c.tensor, (long long)c.element, c.analytic, c.numeric,
				c.advice, weir_error_text(w));
		assert_true(c.checked > 0);
	}
}

/* Fused against rule: 4 ULP of the sum of magnitudes, here the largest gradient times the terms that went into it. */
static void check_fused(weir_ctx *w, const row *r, weir_dtype t)
{
	weir_tensor *xs[MAX_IN], *targets[MAX_IN], *fused[MAX_IN], *rule[MAX_IN], *y, *gy;
	double unit = t == WEIR_F32 ? 0x1p-23 : 0x1p-52;
	int n;

	row_operands(w, r, t, false, xs);
	n = row_reals(r, xs, targets);
	y = r->apply(xs);
	gy = weir_uniform(w, weir_dtype_of(y), weir_rank(y), weir_shape(y), 0.5, 1.5);
	assert_true(weir_vjp(y, gy, targets, n, fused, 0));
	assert_true(weir_vjp(y, gy, targets, n, rule, WEIR_CREATE_GRAPH));
	for (int i = 0; i < n; i++) {
		double scale = 0;

		for (int64_t k = 0; k < weir_numel(rule[i]); k++) scale = fmax(scale, fabs(weir_get(rule[i], k)));
		for (int64_t k = 0; k < weir_numel(rule[i]); k++) {
			double a = weir_get(fused[i], k), b = weir_get(rule[i], k);

			if (near_by(a, b,
				    4 * unit * (r->elementwise ? fabs(b) : scale) * (r->terms > 0 ? r->terms : 1)))
				continue;
			fail_msg("%s %s: operand %d element %lld: fused %.17g, rule %.17g", r->name, weir_dtype_name(t),
				 i, (long long)k, a, b);
		}
	}
}

/* ---- threads ---- */

static void check_threads(const row *r, weir_dtype t)
{
	static const int threads[] = { 1, 2, 3, 8 };
	weir_tensor *first = NULL, *first_g[MAX_IN];
	weir_ctx *contexts[4];
	int n;

	for (int k = 0; k < 4; k++) {
		weir_options o;
		weir_tensor *xs[MAX_IN], *g[MAX_IN], *y;

		weir_options_init(&o);
		o.handler = NULL;
		o.threads = threads[k];
		contexts[k] = weir_open(&o);
		row_operands(contexts[k], r, t, true, xs);
		y = value_and_gradients(r, xs, g, &n);
		if (k == 0) {
			first = y;
			memcpy(first_g, g, sizeof g);
			continue;
		}
		same_bits("threads", r->name, first, y);
		for (int i = 0; i < n; i++) same_bits("threads, gradient", r->name, first_g[i], g[i]);
	}
	for (int k = 0; k < 4; k++) close_clean(contexts[k]);
}

/* ---- empty operands ---- */

static void check_empty(weir_ctx *w, const row *r, weir_dtype t)
{
	weir_tensor *xs[MAX_IN], *g[MAX_IN], *targets[MAX_IN], *y;
	int n;

	if (!r->empty) return;
	for (int i = 0; i < r->n; i++) {
		int64_t shape[WEIR_MAX_RANK];

		for (int a = 0; a < r->in[i].rank; a++)
			shape[a] = a == r->in[i].rank - r->empty ? 0 : r->in[i].shape[a];
		xs[i] = weir_zeros(w,
				   r->in[i].kind == REAL   ? t
				   : r->in[i].kind == MASK ? WEIR_U8
							   : WEIR_I64,
				   r->in[i].rank, shape);
	}
	y = r->apply(xs);
	if (r->empty_error) {
		assert_true(weir_is_bad(y));
		assert_true(strlen(weir_error_text(w)) > 20);
		weir_clear_error(w);
		return;
	}
	if (weir_is_bad(y)) fail_msg("%s, empty: %s", r->name, weir_error_text(w));
	if (!differentiable(r)) return;
	n = row_reals(r, xs, targets);
	if (!weir_vjp(y, weir_zeros(w, weir_dtype_of(y), weir_rank(y), weir_shape(y)), targets, n, g, 0))
		fail_msg("%s, empty gradient: %s", r->name, weir_error_text(w));
	for (int i = 0; i < n; i++) assert_int_equal(weir_numel(g[i]), weir_numel(targets[i]));
}

static weir_ctx *open_one(bool ieee)
{
	weir_options o;

	weir_options_init(&o);
	o.handler = NULL;
	o.ieee_subnormals = ieee;
	o.threads = 1;
	return weir_open(&o);
}

static void every_operation_has_a_row(void **state)
{
	int listed = 0;

	(void)state;
	for (const weir_op *const *op = weir_op_list(); *op; op++, listed++) {
		bool found = false;

		for (int i = 0; i < row_count; i++) found = found || !strcmp(rows[i].op, (*op)->name);
		if (!found) fail_msg("%s has no row in ops_table.h", (*op)->name);
	}
	assert_true(listed >= 40);
	for (int i = 0; i < row_count; i++) { /* what a row calls itself is what gets applied */
		weir_ctx *w = open_one(true);
		weir_tensor *xs[MAX_IN];
		bool seen = false;

		row_operands(w, &rows[i], WEIR_F64, false, xs);
		rows[i].apply(xs);
		for (int64_t k = 0; k < weir_tape_length(w); k++)
			seen = seen || (weir_tape_at(w, k) && !strcmp(weir_node(weir_tape_at(w, k)).op, rows[i].op));
		if (!seen) fail_msg("the row %s never applies %s: %s", rows[i].name, rows[i].op, weir_error_text(w));
		close_clean(w);
	}
}

static void values(void **state)
{
	(void)state;
	for (int i = 0; i < row_count; i++) {
		for (int t = 0; t < 2; t++) {
			for (int ieee = 0; ieee < 2; ieee++) {
				weir_ctx *w = open_one(ieee);

				check_values(w, &rows[i], (weir_dtype)t);
				close_clean(w);
			}
		}
	}
}

static void gradients(void **state)
{
	(void)state;
	for (int i = 0; i < row_count; i++) {
		weir_ctx *w = open_one(true);

		if (differentiable(&rows[i])) check_gradients(w, &rows[i]);
		close_clean(w);
	}
}

static void fused(void **state)
{
	(void)state;
	for (int i = 0; i < row_count; i++) {
		for (int t = 0; t < 2; t++) {
			weir_ctx *w = open_one(true);

			if (differentiable(&rows[i])) check_fused(w, &rows[i], (weir_dtype)t);
			close_clean(w);
		}
	}
}

static void strides(void **state)
{
	(void)state;
	for (int i = 0; i < row_count; i++) {
		for (int t = 0; t < 2; t++) {
			weir_ctx *w = open_one(false);

			check_strides(w, &rows[i], (weir_dtype)t);
			close_clean(w);
		}
	}
}

static void empty(void **state)
{
	(void)state;
	for (int i = 0; i < row_count; i++) {
		weir_ctx *w = open_one(false);

		check_empty(w, &rows[i], WEIR_F32);
		close_clean(w);
	}
}

static void threads(void **state)
{
	(void)state;
	for (int i = 0; i < row_count; i++) {
		for (int t = 0; t < 2; t++) check_threads(&rows[i], (weir_dtype)t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_operation_has_a_row),
		cmocka_unit_test(values),
		cmocka_unit_test(gradients),
		cmocka_unit_test(fused),
		cmocka_unit_test(strides),
		cmocka_unit_test(empty),
		cmocka_unit_test(threads),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
