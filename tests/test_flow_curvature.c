/* test_flow_curvature.c: eigenvalue and trace against matrices that are known, and against explicit Hessians. */
#include "tests/flow_check.h"

#include "kernels/fpenv.h"

enum { N = 6 };

/* ½ pᵀ A p, A = Q diag(values) Qᵀ with Q the reflection along a vector of ones and twos: a full matrix. */
static weir_tensor *quadratic(weir_ctx *w, weir_tensor *p, const double *values)
{
	double a[N * N], q[N][N], u[N], square = 0;

	for (int i = 0; i < N; i++) {
		u[i] = 1 + i % 2;
		square += u[i] * u[i];
	}
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) q[i][j] = (i == j) - 2 * u[i] * u[j] / square;
	for (int i = 0; i < N; i++) {
		for (int j = 0; j < N; j++) {
			a[i * N + j] = 0;
			for (int k = 0; k < N; k++) a[i * N + j] += q[i][k] * values[k] * q[j][k];
		}
	}
	return weir_affine(weir_sum_all(weir_mul(p, weir_matmul(weir_from(w, WEIR_F64, 2, (int64_t[]){ N, N }, a), p))),
			   0.5, 0);
}

static weir_tensor *vector(weir_ctx *w)
{
	weir_tensor *p = weir_param_new(w, "p", WEIR_F64, 2, (int64_t[]){ N, 1 });

	weir_write_f64(p, (double[]){ 1, -2, 3, 0.5, 0, 1 }, N);
	return p;
}

static void known_matrices(void **state)
{
	static const struct {
		double values[N], top, trace;
	} list[] = {
		{ { 5, 1, 0.5, 2, 0, 3 }, 5, 11.5 },
		{ { 1, -7, 0.5, 2, 3, 0 }, -7, -0.5 },          /* the largest is negative */
		{ { 4, -4, 0.5, 2, 3, -1 }, 4, 4.5 },           /* a saddle: the sign is either's */
		{ { 4, -3.99, 0.5, 2, 3, -1 }, 4, 4.51 },       /* hardly larger than its opposite */
		{ { 3, 3, 3, 3, 3, 3 }, 3, 18 },                /* every vector is one */
		{ { 1e-40, 2e-40, 0, 0, 0, 0 }, 2e-40, 3e-40 }, /* of any size */
		{ { 1e40, -2e40, 0, 0, 0, 0 }, -2e40, -1e40 },
	};

	(void)state;
	for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_tensor *p = vector(w), *loss = quadratic(w, p, list[k].values);
		weir_flow_curvature c;
		double size = fabs(list[k].top);

		assert_true(weir_flow_curvature_of(loss, &p, 1, 400, 1e-9, 4000, &c));
		if (!(c.residual <= 1e-9) || c.iterations >= 400)
			fail_msg("matrix %zu: %.17g, residual %g after %d iterations", k, c.top, c.residual,
				 c.iterations);
		assert_near(k == 2 ? fabs(c.top) / size : c.top / list[k].top, 1, 1e-12);
		if (!(fabs(c.trace - list[k].trace) <= 4 * c.trace_error + 1e-12 * size) ||
		    !(c.trace_error < 0.2 * size))
			fail_msg("matrix %zu: trace %.17g ± %g, want %.17g", k, c.trace, c.trace_error, list[k].trace);
		close_fine(w);
	}
}

/* Rademacher's signs give a diagonal matrix' trace without an error, whichever they are. */
static void diagonal_trace(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_tensor *p = vector(w),
		    *scale = weir_from(w, WEIR_F64, 2, (int64_t[]){ N, 1 }, (double[]){ 1, 2, 3, 4, 5, 6 });
	weir_flow_curvature c;

	(void)state;
	assert_true(weir_flow_curvature_of(weir_sum_all(weir_mul(scale, weir_square(p))), &p, 1, 0, 0, 3, &c));
	assert_near(c.trace, 42, 1e-12);
	assert_near(c.trace_error, 0, 1e-12);
	assert_true(isnan(c.top) && isnan(c.residual) && c.iterations == 0);
	close_fine(w);
}

/* Nothing curved: a loss that is linear in one parameter, does not hang on the other, and one of no parameter at all. */
static void zero_hessian(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_tensor *p[2] = { vector(w), weir_param_new(w, "unused", WEIR_F32, 1, (int64_t[]){ 3 }) };
	weir_tensor *losses[] = { weir_sum_all(weir_affine(p[0], 3, 1)),
				  weir_sum_all(weir_full(w, WEIR_F64, 0, NULL, 2)) };
	weir_flow_curvature c;

	(void)state;
	for (int k = 0; k < 2; k++) {
		assert_true(weir_flow_curvature_of(losses[k], p, 2, 50, 1e-9, 5, &c));
		assert_true(c.top == 0 && c.residual == 0 && c.iterations == 1);
		assert_true(c.trace == 0 && c.trace_error == 0);
	}
	close_fine(w);
}

enum { IN = 3, HIDDEN = 4, OUT = 2, B = 9, P = IN * HIDDEN + HIDDEN + HIDDEN * OUT + OUT };

typedef struct model {
	weir_ctx *w;
	weir_module *net;
	weir_tensor *params[4], *loss;
	int hooks;
} model;

static model make(weir_dtype dtype)
{
	model m = { .w = open_ieee(dtype) };
	weir_tensor *x, *y;

	m.net = weir_list_new(m.w, "mlp");
	weir_list_add(m.net, weir_linear_new(m.w, IN, HIDDEN, WEIR_INIT_GLOROT));
	weir_list_add(m.net, weir_linear_new(m.w, HIDDEN, OUT, WEIR_INIT_GLOROT));
	for (int i = 0; i < 4; i++) m.params[i] = weir_module_parameter(m.net, i);
	x = weir_normal(m.w, dtype, 2, (int64_t[]){ B, IN }, 0, 1);
	y = weir_normal(m.w, dtype, 2, (int64_t[]){ B, OUT }, 0, 1);
	x = weir_tanh(weir_forward(weir_list_at(m.net, 0), x));
	m.loss = weir_mse(weir_forward(weir_list_at(m.net, 1), x), y);
	return m;
}

/* Row by row: the gradient of every element of the gradient. */
static void explicit_hessian(model *m, double h[P][P])
{
	weir_tensor *g[4];
	int row = 0;

	assert_true(weir_grad(m->loss, m->params, 4, g, WEIR_CREATE_GRAPH));
	for (int i = 0; i < 4; i++) {
		weir_tensor *flat = weir_reshape(g[i], 1, (int64_t[]){ -1 });

		for (int64_t k = 0; k < weir_numel(flat); k++, row++) {
			weir_tensor *gg[4];
			int column = 0;

			assert_true(weir_grad(weir_sum_all(weir_slice(flat, 0, k, k + 1, 1)), m->params, 4, gg,
					      WEIR_ALLOW_UNUSED));
			for (int j = 0; j < 4; j++) {
				int n = (int)weir_numel(m->params[j]);

				memset(&h[row][column], 0, (size_t)n * sizeof h[0][0]);
				if (gg[j]) weir_read_f64(gg[j], &h[row][column], n);
				column += n;
			}
		}
	}
	assert_int_equal(row, P);
}

/* All eigenvalues of a symmetric matrix by Jacobi's rotations. */
static void eigenvalues(double a[P][P], double *values)
{
	for (int sweep = 0; sweep < 60; sweep++) {
		for (int p = 0; p < P; p++) {
			for (int q = p + 1; q < P; q++) {
				double t = 0.5 * atan2(2 * a[p][q], a[q][q] - a[p][p]), c = cos(t), s = sin(t);

				for (int k = 0; k < P; k++) {
					double x = a[k][p], y = a[k][q];

					a[k][p] = c * x - s * y;
					a[k][q] = s * x + c * y;
				}
				for (int k = 0; k < P; k++) {
					double x = a[p][k], y = a[q][k];

					a[p][k] = c * x - s * y;
					a[q][k] = s * x + c * y;
				}
			}
		}
	}
	for (int i = 0; i < P; i++) values[i] = a[i][i];
}

/* The eigenvalue of largest magnitude, and the trace. */
static double top_by_hand(model *m, double tolerance, double *trace)
{
	static double h[P][P];
	double values[P], top = 0;

	*trace = 0;
	explicit_hessian(m, h);
	for (int i = 0; i < P; i++) {
		*trace += h[i][i];
		for (int k = 0; k < i; k++) assert_near(h[i][k], h[k][i], tolerance);
	}
	eigenvalues(h, values);
	for (int i = 0; i < P; i++) top = fabs(values[i]) > fabs(top) ? values[i] : top;
	return top;
}

static void network_by_hand(void **state)
{
	model m = make(WEIR_F64);
	double trace, top = top_by_hand(&m, 1e-12, &trace);
	weir_flow_curvature c;

	(void)state;
	assert_true(weir_flow_curvature_of(m.loss, m.params, 4, 1000, 1e-8, 3000, &c));
	assert_near(c.top / top, 1, 1e-10);
	assert_true(c.residual <= 1e-8 && c.iterations < 1000);
	if (!(fabs(c.trace - trace) <= 4 * c.trace_error) || !(c.trace_error < 0.02 * trace))
		fail_msg("trace %.17g ± %g, want %.17g", c.trace, c.trace_error, trace);
	close_fine(m.w);
}

/* In f32, and with parameters of both types: as far as f32 goes. */
static void single_precision(void **state)
{
	model m = make(WEIR_F32);
	weir_tensor *p[2], *x, *loss;
	weir_flow_curvature c, d;
	double trace, top = top_by_hand(&m, 1e-5, &trace);

	(void)state;
	assert_true(weir_flow_curvature_of(m.loss, m.params, 4, 300, 1e-5, 20, &c));
	assert_true(c.residual <= 1e-5 && c.trace_error > 0);
	assert_near(c.top / top, 1, 1e-5);
	p[0] = weir_param_new(m.w, "a", WEIR_F32, 1, (int64_t[]){ 2 });
	p[1] = weir_param_new(m.w, "b", WEIR_F64, 1, (int64_t[]){ 2 });
	weir_write_f64(p[0], (double[]){ 1, 2 }, 2);
	weir_write_f64(p[1], (double[]){ 3, 4 }, 2);
	x = weir_mul(weir_cast(p[0], WEIR_F64), p[1]);
	loss = weir_add(weir_sum_all(x), weir_sum_all(weir_square(p[1]))); /* blocks [0 1; 1 2]: 1 ± √2 */
	assert_true(weir_flow_curvature_of(loss, p, 2, 300, 1e-6, 0, &d));
	assert_near(d.top, 1 + sqrt(2), 1e-6);
	assert_true(isnan(d.trace) && isnan(d.trace_error));
	close_fine(m.w);
}

static void count_event(const weir_event *e, void *user)
{
	(void)e;
	++*(int *)user;
}

static void leaves_no_trace(void **state)
{
	model m = make(WEIR_F64);
	weir_hook_options o;
	weir_flow_curvature a, b;
	uint64_t stream;
	int64_t length;
	double before[4];

	(void)state;
	weir_backward(m.loss);
	weir_hook_options_init(&o);
	o.all_orders = true;
	o.observe = count_event;
	o.user = &m.hooks;
	weir_hook_add(m.w, NULL, &o);
	o.forward = true;
	weir_hook_add(m.w, NULL, &o);
	for (int i = 0; i < 4; i++) before[i] = norm_by_hand(weir_grad_of(m.params[i]));
	stream = weir_random_stream(m.w);
	length = weir_tape_length(m.w);
	assert_true(weir_flow_curvature_of(m.loss, m.params, 4, 30, 1e-6, 10, &a));
	assert_true(weir_flow_curvature_of(m.loss, m.params, 4, 30, 1e-6, 10, &b));
	assert_true(a.top == b.top && a.residual == b.residual &&
		    a.trace == b.trace); /* its vectors are always the same */
	assert_int_equal(weir_tape_length(m.w), length);
	assert_true(weir_random_stream(m.w) == stream + 1);
	assert_int_equal(m.hooks, 0);
	for (int i = 0; i < 4; i++) assert_near(norm_by_hand(weir_grad_of(m.params[i])), before[i], 0);
	weir_backward(m.loss);
	for (int i = 0; i < 4; i++) assert_near(norm_by_hand(weir_grad_of(m.params[i])), 2 * before[i], 1e-12);
	assert_true(m.hooks > 0);
	close_fine(m.w);
}

static weir_tensor *square_of(weir_ctx *w, weir_tensor *x, weir_tensor *y, void *user)
{
	(void)w;
	return weir_mse(weir_mul(x, user), y);
}

/* The caller's rounding mode and flags are his; noise is measured here, too. */
static void floating_point_is_the_callers(void **state)
{
#if defined(WEIR__FP_X86)
	model m = make(WEIR_F64);
	weir_tensor *p = weir_param_new(m.w, "p", WEIR_F64, 1, (int64_t[]){ 1 });
	weir_tensor *x = weir_full(m.w, WEIR_F64, 1, (int64_t[]){ 7 }, 0.3),
		    *y = weir_normal(m.w, WEIR_F64, 1, (int64_t[]){ 7 }, 0, 1);
	weir_fp_state outer = weir__fp_save(), before, after;
	weir_flow_curvature c, d;
	weir_flow_noise n;

	assert_true(weir_flow_curvature_of(m.loss, m.params, 4, 20, 1e-6, 5, &c));
	weir__fp_write(0x1f80 | 0x4000); /* rounding upwards, no flag raised */
	before = weir__fp_save();
	weir_flow_curvature_of(m.loss, m.params, 4, 20, 1e-6, 5, &d);
	weir_flow_noise_of(m.w, x, y, square_of, p, &p, 1, NULL, &n);
	after = weir__fp_save();
	weir__fp_leave(outer);
	assert_memory_equal(&before, &after, sizeof before);
	assert_true(c.top == d.top && c.trace == d.trace);
	assert_int_equal(n.samples, 7);
	close_fine(m.w);
#endif
	(void)state;
}

/* Not a number, said so. */
static void not_finite(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_tensor *p = vector(w);
	weir_flow_curvature c;

	(void)state;
	assert_true(weir_flow_curvature_of(weir_sum_all(weir_affine(weir_square(p), NAN, 0)), &p, 1, 50, 1e-9, 5, &c));
	assert_true(isnan(c.top) && isnan(c.residual) && c.iterations == 1 && isnan(c.trace) && isnan(c.trace_error));
	close_fine(w);
}

static void errors(void **state)
{
	model m = make(WEIR_F64);
	weir_tensor *label = weir_zeros(m.w, WEIR_I64, 1, (int64_t[]){ 3 }), *unrecorded;
	weir_flow_curvature c;
	int64_t length;

	(void)state;
	weir_no_grad_begin(m.w);
	unrecorded = weir_sum_all(m.params[0]);
	weir_no_grad_end(m.w);
	length = weir_tape_length(m.w);
	assert_false(weir_flow_curvature_of(m.loss, m.params, 0, 9, 0, 9, &c));
	assert_error(m.w, WEIR_ERR_ARGUMENT, "no parameters");
	assert_false(weir_flow_curvature_of(m.loss, NULL, 2, 9, 0, 9, &c));
	assert_error(m.w, WEIR_ERR_ARGUMENT, "params is NULL");
	assert_false(weir_flow_curvature_of(m.loss, &label, 1, 9, 0, 9, &c));
	assert_error(m.w, WEIR_ERR_ARGUMENT, "params[0] is i64");
	assert_false(weir_flow_curvature_of(unrecorded, m.params, 4, 9, 0, 9, &c));
	assert_error(m.w, WEIR_ERR_GRADIENT, "without recording");
	assert_true(isnan(c.top) && isnan(c.trace));
	assert_int_equal(weir_tape_length(m.w), length);
	close_fine(m.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_matrices),
		cmocka_unit_test(diagonal_trace),
		cmocka_unit_test(zero_hessian),
		cmocka_unit_test(network_by_hand),
		cmocka_unit_test(single_precision),
		cmocka_unit_test(leaves_no_trace),
		cmocka_unit_test(not_finite),
		cmocka_unit_test(errors),
		cmocka_unit_test(floating_point_is_the_callers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
