/* test_backward.c: reverse accumulation, its public faces, hooks, versions, replay and substitution. Long: many small tests. */
#include "tests/ops_check.h"

static weir_tensor *scalar(weir_ctx *w, double v)
{
	return weir_scalar(w, WEIR_F64, v);
}

static weir_tensor *param(weir_ctx *w, const char *name, double v)
{
	weir_tensor *p = weir_param_new(w, name, WEIR_F64, 0, NULL);

	assert_true(weir_write_f64(p, &v, 1));
	return p;
}

static void two_backwards_on_one_tape(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *p = param(w, "p", 3), *y = weir_mul(p, weir_mul(p, p)), *z = weir_mul(p, p);

	(void)state;
	assert_null(weir_grad_of(p));
	weir_backward(y);
	assert_true(weir_item(weir_grad_of(p)) == 27);
	weir_backward(y);
	assert_true(weir_item(weir_grad_of(p)) == 54);
	weir_backward(z); /* another root on the same tape */
	assert_true(weir_item(weir_grad_of(p)) == 60);
	assert_true(weir_item(y) == 27); /* values stay readable */
	weir_zero_grad(p);
	assert_null(weir_grad_of(p));
	weir_backward(z);
	assert_true(weir_item(weir_grad_of(p)) == 6);
	assert_true(weir_set_grad(p, scalar(w, 5)));
	assert_true(weir_item(weir_grad_of(p)) == 5);
	weir_tape_reset(w);
	weir_backward(weir_mul(p, p)); /* accumulates over tapes, too */
	assert_true(weir_item(weir_grad_of(p)) == 11);
	close_clean(w);
}

static void used_twice(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *p = param(w, "p", 2), *q = param(w, "q", 5), *y;

	(void)state;
	y = weir_add(weir_mul(p, p), weir_add(weir_mul(p, q), weir_add(p, p))); /* p² + pq + 2p */
	weir_backward(y);
	assert_true(weir_item(weir_grad_of(p)) == 11);
	assert_true(weir_item(weir_grad_of(q)) == 2);
	weir_tape_reset(w);
	weir_zero_grad(p);
	weir_freeze(p, true);
	weir_backward(weir_mul(p, q));
	assert_null(weir_grad_of(p));
	assert_true(weir_item(weir_grad_of(q)) == 4);
	close_clean(w);
}

/* A gradient that passes through unchanged to two places is two gradients, whatever is added to one of them; few elements are copied, more of
 * them shared. */
static void shared_gradients(void **state)
{
	(void)state;
	for (int64_t n = 255; n < 259; n++) {
		weir_ctx *w = open_quiet(true);
		weir_tensor *a = weir_full(w, WEIR_F64, SHAPE(n), 1), *b = weir_full(w, WEIR_F64, SHAPE(n), 2), *s, *y,
			    *g[3];

		s = weir_add(a, b); /* the gradient of s goes to a and b as it is */
		y = weir_sum_all(weir_add(weir_mul(a, a), weir_add(s, weir_reshape(s, 1, &n))));
		assert_true(weir_grad(y, (weir_tensor *[]){ a, b, s }, 3, g, 0));
		for (int k = 0; k < 3; k++) {
			double want[258];

			for (int i = 0; i < 258; i++) want[i] = k ? 2 : 4;
			expect_values(g[k], n, want);
		}
		close_clean(w);
	}
}

/* Used-up gradients serve again: for others of their shape as they are, for others of their rank by their header alone. */
static void shapes_in_turn(void **state)
{
	weir_options o;
	weir_tensor *p, *x;
	weir_ctx *w;

	(void)state;
	weir_options_init(&o);
	o.check_stale = false; /* which uses no header again */
	w = weir_open(&o);
	p = weir_param_new(w, "p", WEIR_F64, 1, (int64_t[]){ 6 });
	assert_true(weir_write_f64(p, (double[]){ 1, 2, 3, 4, 5, 6 }, 6));
	x = p;
	for (int k = 1; k < 4; k++) { /* k x, by way of shapes of both ranks and of two sizes */
		weir_tensor *m = weir_affine(weir_reshape(x, 2, (int64_t[]){ k, 6 / k }), k, 0);

		m = weir_concat((weir_tensor *[]){ m, weir_neg(m) }, 2, 0);
		x = weir_reshape(weir_slice(weir_affine(m, 1, 0), 0, 0, k, 1), 1, (int64_t[]){ 6 });
	}
	weir_backward(weir_sum_all(weir_mul(x, x))); /* Σ (6 p)² */
	expect_values(weir_grad_of(p), 6, (double[]){ 72, 144, 216, 288, 360, 432 });
	close_clean(w);
}

static void look(const weir_event *e, void *user)
{
	(void)e;
	(*(int *)user)++;
}

static weir_tensor *(*const unary[])(weir_tensor *) = { weir_neg,  weir_log, weir_relu,    weir_sqrt,
							weir_gelu, weir_exp, weir_sigmoid, weir_silu,
							weir_erf,  weir_abs, weir_tanh,    weir_softplus };

/* The gradients of p and of what is retained on the way from it. */
static void through(weir_ctx *w, weir_tensor *p, size_t f, double *of_p, double *of_middle)
{
	weir_tensor *middle, *y;

	weir_zero_grad(p);
	middle = weir_affine(weir_affine(p, -1, 2), 0.5, 0.25);
	weir_retain_grad(middle);
	y = weir_pow(unary[f](unary[f](weir_exp(middle))), 2);
	weir_backward(weir_sum_all(weir_add(weir_affine(y, 3, 1), weir_mul(unary[f](y), middle))));
	assert_true(weir_read_f64(weir_grad_of(p), of_p, weir_numel(p)));
	assert_true(weir_read_f64(weir_grad_of(middle), of_middle, weir_numel(p)));
	weir_tape_reset(w);
}

/* Where nobody looks, the rule of one element each writes over the gradient that it reads; what comes out is the same. */
static void overwritten(void **state)
{
	enum { N = 300 };
	double from[N], alone[2][N], watched[2][N];
	weir_options o;
	int seen = 0;

	(void)state;
	weir_options_init(&o);
	o.check_stale = false; /* which lets nothing serve again */
	for (int i = 0; i < N; i++) from[i] = 0.01 * i - 1;
	for (size_t f = 0; f < sizeof unary / sizeof *unary; f++)
		for (int type = 0; type < 2; type++) {
			weir_ctx *w = weir_open(&o);
			weir_tensor *p = weir_param_new(w, "p", type ? WEIR_F64 : WEIR_F32, SHAPE(N));

			assert_true(weir_write_f64(p, from, N));
			through(w, p, f, alone[0], alone[1]);
			weir_on_grad(w, look, &seen, NULL);
			through(w, p, f, watched[0], watched[1]);
			assert_memory_equal(alone, watched, sizeof alone);
			if (!seen || !(fabs(alone[0][N / 3]) > 0))
				fail_msg("function %d: %d events, gradient %g", (int)f, seen, alone[0][N / 3]);
			close_clean(w);
		}
}

/* An operation of two operands that says so by mistake gets room for each gradient, as without. */
static void overwritten_of_two(void **state)
{
	enum { N = 300 };
	double a[N], b[N], want_a[N], want_b[N];
	weir_tensor *p, *q, *g[2];
	weir_op both;
	weir_options o;
	weir_ctx *w;

	(void)state;
	weir_options_init(&o);
	o.check_stale = false;
	w = weir_open(&o);
	p = weir_full(w, WEIR_F64, SHAPE(N), 2);
	q = weir_full(w, WEIR_F64, SHAPE(N), 3);
	both = *weir_op_of(weir_mul(p, q));
	both.flags |= WEIR_OP_OVERWRITES;
	for (int i = 0; i < N; i++) want_a[i] = 3, want_b[i] = 2;
	assert_true(weir_grad(weir_sum_all(weir_affine(weir_op_apply(&both, (weir_tensor *[]){ p, q }, 2, NULL), 1, 0)),
			      (weir_tensor *[]){ p, q }, 2, g, 0));
	assert_true(weir_read_f64(g[0], a, N) && weir_read_f64(g[1], b, N));
	assert_memory_equal(a, want_a, sizeof a);
	assert_memory_equal(b, want_b, sizeof b);
	close_clean(w);
}

static void update_with_a_live_tape(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_module *m = weir_linear_new(w, 2, 2, WEIR_INIT_HE);
	weir_optim *sgd = weir_sgd_new(w, m, 0.1, 0);
	weir_tensor *x = weir_full(w, WEIR_F32, SHAPE(1, 2), 1), *h, *loss;
	float before[4];

	(void)state;
	h = weir_forward(m, weir_forward(m, x)); /* the second product reads the weight in backward */
	loss = weir_sum_all(h);
	weir_backward(loss);
	assert_true(weir_optim_step(sgd));
	weir_backward(loss);
	expect_error(w, WEIR_ERR_VERSION, "linear.weight", "weir_optim_step", "weir_backward", NULL);
	assert_null(weir_grad_of(weir_module_parameter(m, 0))); /* nothing accumulated */
	weir_tape_reset(w);
	x = weir_full(w, WEIR_F32, SHAPE(1, 2), 1);
	loss = weir_sum_all(weir_mul(x, x));
	((float *)weir_data_mut(x, NULL))[0] = 3;
	assert_false(weir_grad(loss, &x, 1, &h, 0));
	expect_error(w, WEIR_ERR_VERSION, "weir_data_mut", NULL);
	/* a write to what no rule reads is allowed */
	x = weir_full(w, WEIR_F32, SHAPE(1, 2), 1);
	loss = weir_sum_all(weir_add(x, x));
	assert_true(weir_write(x, (float[]){ 5, 6 }, 8));
	assert_true(weir_grad(loss, &x, 1, &h, 0));
	(void)before;
	close_clean(w);
}

static void failing_backward_leaves_accumulators(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *p = param(w, "p", 2), *q = param(w, "q", 3), *y = weir_mul(weir_mul(p, p), weir_mul(q, q));

	(void)state;
	weir_backward(y);
	weir_data_mut(p, "the test");
	weir_backward(y); /* q's rule comes first and works, p's fails */
	expect_error(w, WEIR_ERR_VERSION, "the test", NULL);
	assert_true(weir_item(weir_grad_of(q)) == 24 && weir_item(weir_grad_of(p)) == 36);
	close_clean(w);
}

static void refusals(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = weir_full(w, WEIR_F64, SHAPE(3), 2), *g, *y, *i = weir_zeros(w, WEIR_I64, SHAPE(2)), *both[2];

	(void)state;
	weir_backward(x);
	expect_error(w, WEIR_ERR_SHAPE, "weir_backward", "3 elements", NULL);
	weir_backward(weir_argmax(x, 0, false));
	expect_error(w, WEIR_ERR_DTYPE, NULL);
	weir_no_grad_begin(w);
	y = weir_sum_all(weir_mul(x, x));
	g = weir_full(w, WEIR_F64, SHAPE(3), 5);
	weir_no_grad_end(w);
	weir_backward(y);
	expect_error(w, WEIR_ERR_GRADIENT, "without recording", NULL);
	assert_false(weir_grad(weir_sum_all(weir_mul(x, g)), (weir_tensor *[]){ x, g }, 2, both, 0));
	expect_error(w, WEIR_ERR_GRADIENT, "depend", "xs[1]", NULL); /* the same as when it is asked for alone */
	y = weir_sum_all(weir_detach(x));
	assert_false(weir_grad(y, &x, 1, &g, 0));
	expect_error(w, WEIR_ERR_GRADIENT, "depend", NULL);
	assert_true(weir_is_bad(g));
	assert_false(weir_vjp(x, NULL, &x, 1, &g, 0));
	expect_error(w, WEIR_ERR_ARGUMENT, "gy is NULL", NULL);
	assert_false(weir_vjp(x, scalar(w, 1), &x, 1, &g, 0));
	expect_error(w, WEIR_ERR_SHAPE, "must be alike", NULL);
	assert_false(weir_grad(weir_sum_all(x), &i, 1, &g, 0));
	expect_error(w, WEIR_ERR_DTYPE, "i64", NULL);
	weir_grad_of(scalar(w, 1));
	weir_zero_grad(x);
	expect_error(w, WEIR_ERR_ARGUMENT, "not a parameter", NULL);
	close_clean(w);
}

static void orders(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = scalar(w, 0.7), *y = weir_exp(weir_mul(x, x)), *g;
	static const double coefficient[5][5] = { { 1 }, { 0, 2 }, { 2, 0, 4 }, { 0, 12, 0, 8 }, { 12, 0, 48, 0, 16 } };

	(void)state;
	for (int order = 0; order < 5; order++) { /* d^n/dx^n of exp(x²) is a Hermite polynomial times it */
		double want = 0;

		for (int k = 4; k >= 0; k--) want = want * 0.7 + coefficient[order][k];
		want *= exp(0.49);
		assert_true(near_by(weir_item(y), want, 1e-12 * fabs(want)));
		assert_int_equal(weir_node(y).order, order);
		if (order < 4) assert_true(weir_grad(y, &x, 1, &g, WEIR_CREATE_GRAPH));
		y = g;
	}
	close_clean(w);
}

/* The gradients along a chain are alive one at a time: a backward over it needs little memory beside its tables. */
static void gradients_of_a_chain(void **state)
{
	enum { NODES = 20000 };
	weir_options o;
	weir_ctx *w;
	weir_tensor *p, *y;
	size_t before, after;

	(void)state;
	weir_options_init(&o);
	o.check_stale = false; /* which uses no header again */
	w = weir_open(&o);
	y = p = param(w, "p", 1);
	for (int i = 0; i < NODES; i++) y = weir_affine(y, 1, 1);
	before = weir_memory_of(w).held;
	weir_backward(y);
	after = weir_memory_of(w).held;
	assert_true(weir_item(weir_grad_of(p)) == 1);
	if (after - before > 20 * NODES)
		fail_msg("backward took %zu bytes, %zu a node", after - before, (after - before) / NODES);
	assert_int_equal(weir_tape_length(w), NODES + 1);
	close_clean(w);
}

/* f = Σ x³ y: the Hessian times (v, u) by one pass over both gradients, and what a pass refuses. */
static void several_results(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = weir_from(w, WEIR_F64, SHAPE(2), (double[]){ 2, 3 });
	weir_tensor *y = weir_from(w, WEIR_F64, SHAPE(2), (double[]){ 5, 7 }), *xs[] = { x, y }, *g[2], *h[2];
	weir_tensor *v[] = { weir_from(w, WEIR_F64, SHAPE(2), (double[]){ 1, 10 }),
			     weir_from(w, WEIR_F64, SHAPE(2), (double[]){ 100, 1000 }) };
	int64_t length;

	(void)state;
	assert_true(weir_grad(weir_sum_all(weir_mul(weir_mul(x, weir_mul(x, x)), y)), xs, 2, g, WEIR_CREATE_GRAPH));
	length = weir_tape_length(w);
	assert_true(weir_vjps(w, g, v, 2, xs, 2, h, 0)); /* 6 x y v + 3 x² u; 3 x² v */
	assert_int_equal(weir_tape_length(w), length + 2);
	expect_values(h[0], 2, (double[]){ 60 + 1200, 1260 + 27000 });
	expect_values(h[1], 2, (double[]){ 12, 270 });
	assert_true(weir_vjps(w, &g[1], &v[0], 1, xs, 2, h, WEIR_ALLOW_UNUSED));
	expect_values(h[0], 2, (double[]){ 12, 270 });
	assert_null(h[1]);
	assert_true(weir_vjps(w, NULL, NULL, 0, xs, 2, h, WEIR_ALLOW_UNUSED));
	assert_true(!h[0] && !h[1]);
	assert_false(weir_vjps(w, g, v, -1, xs, 2, h, 0));
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_vjps", "ny is -1", NULL);
	assert_true(weir_is_bad(h[0]) && weir_is_bad(h[1]));
	assert_false(weir_vjps(w, g, NULL, 2, xs, 2, h, 0));
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_vjps", "a list is NULL", NULL);
	v[1] = weir_zeros(w, WEIR_F64, SHAPE(3));
	assert_false(weir_vjps(w, g, v, 2, xs, 2, h, 0));
	expect_error(w, WEIR_ERR_SHAPE, "weir_vjps", "must be alike", NULL);
	v[1] = NULL;
	assert_false(weir_vjps(w, g, v, 2, xs, 2, h, 0));
	expect_error(w, WEIR_ERR_ARGUMENT, "weir_vjps", "gy is NULL", NULL);
	assert_false(weir_vjps(NULL, g, v, 2, xs, 2, h, 0));
	close_clean(w);
}

static void forward_mode(void **state)
{
	weir_ctx *w = open_quiet(true);
	double xv[3] = { 0.3, -0.8, 1.1 }, vv[3] = { 1, -2, 0.5 };
	weir_tensor *x = weir_from(w, WEIR_F64, SHAPE(3), xv), *v = weir_from(w, WEIR_F64, SHAPE(3), vv), *y, *j;
	int64_t length;

	(void)state;
	y = weir_concat((weir_tensor *[]){ weir_mul(x, weir_tanh(x)),
					   weir_reshape(weir_sum_all(weir_mul(x, x)), 1, (int64_t[]){ 1 }) },
			2, 0);
	length = weir_tape_length(w);
	j = weir_jvp(y, &x, &v, 1, 0);
	assert_true(weir_ok(w));
	assert_int_equal(weir_tape_length(w), length + 1); /* no scratch is left behind */
	for (int i = 0; i < 3; i++) {
		double t = tanh(xv[i]);

		assert_true(near_by(weir_get(j, i), vv[i] * (t + xv[i] * (1 - t * t)), 1e-14));
	}
	assert_true(near_by(weir_get(j, 3), 2 * (0.3 + 1.6 + 0.55), 1e-14));
	assert_true(weir_is_bad(weir_jvp(y, &x, &y, 1, 0)));
	expect_error(w, WEIR_ERR_SHAPE, "weir_jvp", NULL);
	j = weir_jvp(weir_sum_all(weir_detach(x)), &x, &v, 1, 0); /* no way there: zero */
	assert_true(weir_item(j) == 0);
	close_clean(w);
}

static void retained(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *p = param(w, "p", 2), *h = weir_retain_grad(weir_mul(p, p)), *y = weir_mul(h, h);

	(void)state;
	assert_null(weir_grad_of(h));
	weir_backward(y);
	assert_true(weir_item(weir_grad_of(h)) == 8);
	weir_backward(y);
	assert_true(weir_item(weir_grad_of(h)) == 8); /* that of the last backward */
	assert_true(weir_item(weir_grad_of(p)) == 64);
	weir_tape_reset(w);
	weir_backward(weir_mul(p, p));
	close_clean(w);
}

/* Whatever the order in which they were asked for, and wherever a rewind cuts. */
static void retained_and_rewound(void **state)
{
	weir_ctx *w = open_quiet(false);
	weir_tensor *p = param(w, "p", 2), *a = weir_mul(p, p), *y = weir_mul(a, a), *gp;
	weir_place place = weir_mark(w);

	(void)state;
	weir_retain_grad(weir_mul(a, a));
	weir_retain_grad(a);
	weir_rewind(w, place, NULL, 0); /* of the two only a is left */
	assert_null(weir_grad_of(weir_mul(a, a)));
	weir_backward(y);
	assert_true(weir_item(weir_grad_of(a)) == 8);
	weir_rewind(w, place, NULL, 0); /* takes the gradient, not the wish */
	assert_null(weir_grad_of(a));
	assert_true(weir_grad(y, &p, 1, &gp, 0));
	scalar(w, 77); /* has no place where the gradient stands */
	assert_non_null(weir_grad_of(a));
	assert_true(weir_item(weir_grad_of(a)) == 8 && weir_item(gp) == 32);
	assert_true(weir_grad(y, &a, 1, &gp, 0)); /* one gradient, two holders */
	assert_true(weir_item(weir_grad_of(a)) == 8 && weir_item(gp) == 8);
	weir_backward(weir_mul(y, y));
	assert_true(weir_item(weir_grad_of(a)) == 256);
	close_clean(w);
}

/* A Jacobian-vector product is two passes, whose gradients are no one's. */
static void retained_beside_forward_mode(void **state)
{
	weir_ctx *w = open_quiet(false);
	weir_tensor *p = param(w, "p", 2), *a = weir_retain_grad(weir_mul(p, p)), *y = weir_mul(a, a),
		    *v = weir_scalar(w, WEIR_F64, 1);

	(void)state;
	weir_backward(y);
	for (int graph = 0; graph < 2; graph++) {
		assert_true(weir_item(weir_jvp(y, &p, &v, 1, graph ? WEIR_CREATE_GRAPH : 0)) == 32);
		assert_non_null(weir_grad_of(a));
		assert_true(weir_item(weir_grad_of(a)) == 8);
	}
	close_clean(w);
}

/* ---- hooks ---- */

typedef struct seen {
	int count, destroyed, order;
	double norm;
	char names[512];
} seen;

static void observe(const weir_event *e, void *user)
{
	seen *s = user;
	size_t n = strlen(s->names);

	s->count++;
	s->norm = e->norm;
	s->order = e->order;
	snprintf(s->names + n, sizeof s->names - n, "%s%s", n ? " " : "", e->op);
}

static void destroyed(void *user)
{
	((seen *)user)->destroyed++;
}

static void observing(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *p = param(w, "p", 3), *y;
	seen s = { 0 }, f = { 0 };
	weir_hook *h = weir_on_grad(w, observe, &s, destroyed);

	(void)state;
	weir_on_forward(w, observe, &f, destroyed);
	weir_scope_begin(w, "outer");
	weir_scope_begin(w, "inner");
	y = weir_mul(p, p);
	weir_scope_end(w);
	weir_scope_end(w);
	assert_string_equal(weir_node(y).scope, "outer.inner");
	y = weir_exp(y);
	assert_string_equal(f.names, "mul exp");
	assert_true(f.norm == weir_item(y));
	weir_backward(y);
	assert_string_equal(s.names, "exp mul param"); /* each once, when final, from the root down */
	assert_true(s.norm == weir_item(weir_grad_of(p)));
	assert_true(weir_grad_norm(p) == s.norm);
	assert_int_equal(s.order, 1);
	assert_non_null(strstr(weir_node(y).here, "test_backward.c:"));
	weir_hook_remove(h);
	assert_int_equal(s.destroyed, 1);
	weir_backward(y);
	assert_int_equal(s.count, 3);
	close_clean(w);
	assert_int_equal(f.destroyed, 1);
}

static weir_tensor *doubled(const weir_event *e, void *user)
{
	++*(int *)user;
	return weir_affine(e->value, 2, 0);
}

static weir_tensor *plus_one(const weir_event *e, void *user)
{
	++*(int *)user;
	return weir_affine(e->value, 1, 1);
}

static void replacing(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = scalar(w, 3), *h = weir_mul(x, x), *y = weir_mul(h, h), *g;
	weir_hook_options o;
	seen s = { 0 };
	int calls = 0, context_calls = 0;

	(void)state;
	weir_hook_options_init(&o);
	o.replace = plus_one;
	o.user = &context_calls;
	weir_hook_add(w, NULL, &o); /* set first, but context hooks come after tensor hooks */
	o.replace = doubled;
	o.user = &calls;
	weir_hook_add(w, h, &o);
	o.replace = NULL;
	o.observe = observe;
	o.user = &s;
	weir_hook_add(w, h, &o);
	assert_true(weir_grad(y, &x, 1, &g, 0));
	/* y: 1 + 1 = 2; h: 2 · 18 = 36, doubled 72, plus one 73; x: 73 · 6 = 438 + 1 */
	assert_true(weir_item(g) == 439);
	assert_int_equal(calls, 1);
	assert_int_equal(context_calls, 3);
	assert_true(s.norm == 36); /* its norm before replacement */
	o.observe = NULL;
	weir_hook_add(w, NULL, &o);
	expect_error(w, WEIR_ERR_ARGUMENT, "exactly one", NULL);
	close_clean(w);
}

/* A replacing hook with create_graph: what it does is differentiated, too. */
static void replacing_with_create_graph(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = scalar(w, 3), *h = weir_mul(x, x), *g, *gg;
	weir_hook_options o;
	int calls = 0;

	(void)state;
	weir_hook_options_init(&o);
	o.replace = doubled;
	o.user = &calls;
	weir_hook_add(w, h, &o);
	assert_true(weir_grad(weir_mul(h, x), &x, 1, &g, WEIR_CREATE_GRAPH)); /* x · 2 · 2x + x² = 5x² */
	assert_true(weir_item(g) == 45);
	assert_true(weir_grad(g, &x, 1, &gg, 0)); /* 10x: hooks see order 1 unless they ask for more */
	assert_true(weir_item(gg) == 30);
	assert_int_equal(calls, 1);
	close_clean(w);
}

static void misuse(const weir_event *e, void *user)
{
	(void)user;
	weir_tape_reset(e->ctx);
}

static void misuse_backward(const weir_event *e, void *user)
{
	(void)user;
	weir_backward(e->node);
}

static weir_tensor *wrong_shape(const weir_event *e, void *user)
{
	(void)user;
	return weir_zeros(e->ctx, WEIR_F64, SHAPE(2));
}

static weir_tensor *nothing(const weir_event *e, void *user)
{
	(void)e, (void)user;
	return NULL;
}

static void removes_itself(const weir_event *e, void *user)
{
	(void)e;
	weir_hook_remove(*(weir_hook **)user);
}

static void hooks_misused(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_hook *h = weir_on_grad(w, misuse, NULL, NULL);
	weir_tensor *p = param(w, "p", 3), *y = weir_mul(p, p);
	weir_hook_options o;

	(void)state;
	weir_backward(y);
	expect_error(w, WEIR_ERR_HOOK, "weir_tape_reset", "hook", NULL);
	weir_hook_remove(h);
	h = weir_on_grad(w, misuse_backward, NULL, NULL);
	weir_backward(y);
	expect_error(w, WEIR_ERR_HOOK, "weir_backward", NULL);
	weir_hook_remove(h);
	weir_hook_options_init(&o);
	o.replace = wrong_shape;
	h = weir_hook_add(w, NULL, &o);
	weir_backward(y);
	expect_error(w, WEIR_ERR_HOOK, "[2] f64", "shape must be the same", NULL);
	weir_hook_remove(h);
	o.replace = nothing;
	h = weir_hook_add(w, NULL, &o);
	weir_backward(y);
	expect_error(w, WEIR_ERR_HOOK, "returned no tensor", NULL);
	weir_hook_remove(h);
	h = weir_on_grad(w, removes_itself, &h, NULL);
	weir_backward(y);
	assert_true(weir_item(weir_grad_of(p)) == 6); /* the failed ones left nothing */
	close_clean(w);
}

static weir_tensor *halved(const weir_event *e, void *user)
{
	(void)user;
	return strcmp(e->op, "exp") ? e->value : weir_affine(e->value, 0.5, 0);
}

static void forward_replacing(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = scalar(w, 1), *y, *g;
	weir_hook_options o;

	(void)state;
	weir_hook_options_init(&o);
	o.forward = true;
	o.replace = halved;
	weir_hook_add(w, NULL, &o);
	y = weir_exp(x);
	assert_true(near_by(weir_item(y), exp(1.0) / 2, 1e-15));
	assert_true(weir_grad(weir_neg(y), &x, 1, &g, 0));
	assert_true(weir_item(g) < 0);
	close_clean(w);
}

static weir_tensor *halve_linear(const weir_event *e, void *user)
{
	++*(int *)user;
	return strcmp(e->op, "linear") ? e->value : weir_affine(e->value, 0.5, 0);
}

static void runs_another(const weir_event *e, void *user)
{
	weir_tensor *p = user;

	if (!strcmp(e->op, "linear")) weir_linear(p, p, NULL); /* without hooks: this one is not called again */
}

/* linear_act computes both nodes in one pass; hooks see two, and one that replaces the first is heeded by the second. */
static void hooks_in_linear_act(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = weir_full(w, WEIR_F64, SHAPE(2, 3), 2), *p = weir_full(w, WEIR_F64, SHAPE(3, 3), 1), *y, *z;
	weir_hook_options o;
	weir_hook *h;
	int calls = 0;

	(void)state;
	y = weir_linear_act(x, p, NULL, WEIR_ACT_TANH);
	z = weir_tanh(weir_linear(x, p, NULL));
	assert_true(weir_get(y, 5) == weir_get(z, 5) && weir_get(y, 5) > 0.99);
	assert_string_equal(weir_node(weir_input(y, 0)).op, "linear");
	assert_true(weir_get(weir_input(y, 0), 0) == 6);
	h = weir_on_forward(w, runs_another, p, NULL); /* with a product of its own, of another size */
	y = weir_linear_act(x, p, NULL, WEIR_ACT_TANH);
	assert_true(weir_numel(y) == 6 && weir_get(y, 5) == weir_get(z, 5));
	weir_hook_remove(h);
	weir_hook_options_init(&o);
	o.forward = true;
	o.replace = halve_linear;
	o.user = &calls;
	weir_hook_add(w, NULL, &o);
	y = weir_linear_act(x, p, NULL, WEIR_ACT_RELU);
	assert_int_equal(calls, 2);
	assert_true(weir_get(y, 0) == 3);
	close_clean(w);
}

/* ---- replay and substitution ---- */

static weir_tensor *to_relu(weir_tensor *old, weir_tensor *const *in, int n, void *user)
{
	(void)old, (void)user;
	assert_int_equal(n, 1);
	return weir_relu(in[0]);
}

static void replaying(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *p = param(w, "p", 2), *x = scalar(w, -3), *y, *z;
	weir_rule rules[3] = { { .op = "sigmoid", .apply = to_relu },
			       { .tensor = x, .with = scalar(w, 5) },
			       { .scope = "a.b", .with = scalar(w, 7) } };

	(void)state;
	y = weir_sigmoid(weir_mul(p, x));
	weir_scope_begin(w, "a");
	weir_scope_begin(w, "bc"); /* no part of "a.b" */
	y = weir_neg(y);
	weir_scope_end(w);
	weir_scope_begin(w, "b");
	z = weir_add(y, x);
	weir_scope_end(w);
	weir_scope_end(w);
	assert_true(weir_item(weir_replay(y, NULL, 0)) == weir_item(y));
	assert_true(weir_item(weir_replay(y, rules, 1)) == 0);
	assert_true(weir_item(weir_replay(y, rules, 2)) == -10);
	assert_true(weir_item(weir_replay(z, rules, 3)) == 7);
	assert_string_equal(weir_node(weir_replay(y, rules, 1)).scope, "a.bc");
	weir_write_f64(p, (double[]){ 4 }, 1); /* parameters are read as they are now */
	assert_true(weir_item(weir_replay(y, rules, 2)) == -20);
	weir_tensor *again = weir_replay(y, rules, 2), *g;
	assert_true(weir_grad(again, &p, 1, &g, 0)); /* a tape like any other */
	assert_true(weir_item(g) == -5);
	close_clean(w);
}

static void substituting(void **state)
{
	weir_ctx *w = open_quiet(true);
	weir_tensor *p = param(w, "p", 2), *q = scalar(w, 10), *y, *g;

	(void)state;
	assert_true(weir_substitute_begin(w, &p, &q, 1));
	y = weir_mul(p, p);
	weir_substitute_end(w);
	assert_true(weir_item(y) == 100);
	assert_true(weir_grad(y, &q, 1, &g, 0));
	assert_true(weir_item(g) == 20);
	assert_true(weir_item(weir_mul(p, p)) == 4);
	assert_false(weir_substitute_begin(w, &q, &p, 1));
	expect_error(w, WEIR_ERR_ARGUMENT, "no parameter", NULL);
	g = weir_zeros(w, WEIR_F64, SHAPE(2));
	assert_false(weir_substitute_begin(w, &p, &g, 1));
	expect_error(w, WEIR_ERR_SHAPE, NULL);
	weir_substitute_end(w);
	expect_error(w, WEIR_ERR_ARGUMENT, NULL);
	close_clean(w);
}

/* A substitute that goes before its substitution ends is an error, not the memory that it stood in. */
static void substitute_gone(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) {
		weir_ctx *w = open_quiet(false);
		weir_place place = weir_mark(w);
		weir_tensor *p = param(w, "p", 3), *q = param(w, "q", 5), *to = way ? scalar(w, 7) : q;

		assert_true(weir_substitute_begin(w, &p, &to, 1));
		assert_true(weir_item(weir_neg(p)) == (way ? -7 : -5));
		if (way == 0) weir_drop(q);
		if (way == 1) weir_rewind(w, place, NULL, 0);
		for (int i = 0; i < way - 1; i++) weir_tape_reset(w);
		scalar(w, 77); /* where it stood */
		assert_true(weir_is_bad(weir_neg(p)));
		expect_error(w, WEIR_ERR_STALE, "stands in for [] f64 (p)", NULL);
		weir_substitute_end(w);
		assert_true(weir_item(weir_neg(p)) == -3);
		close_clean(w);
	}
}

static void free_values(void **state)
{
	weir_options o;
	weir_ctx *w;
	weir_tensor *p, *h, *y;

	(void)state;
	weir_options_init(&o);
	o.handler = NULL;
	o.free_values = true;
	w = weir_open(&o);
	p = param(w, "p", 2);
	h = weir_mul(p, p);
	y = weir_mul(h, h);
	weir_backward(y);
	assert_true(weir_item(weir_grad_of(p)) == 32);
	assert_true(weir_item(y) == 16); /* the root stays */
	weir_item(h);
	expect_error(w, WEIR_ERR_STALE, "released", "free_values", NULL);
	weir_backward(y);
	expect_error(w, WEIR_ERR_STALE, "free_values", NULL);
	close_clean(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_backwards_on_one_tape),
		cmocka_unit_test(used_twice),
		cmocka_unit_test(shared_gradients),
		cmocka_unit_test(shapes_in_turn),
		cmocka_unit_test(overwritten),
		cmocka_unit_test(overwritten_of_two),
		cmocka_unit_test(update_with_a_live_tape),
		cmocka_unit_test(failing_backward_leaves_accumulators),
		cmocka_unit_test(refusals),
		cmocka_unit_test(orders),
		cmocka_unit_test(gradients_of_a_chain),
		cmocka_unit_test(several_results),
		cmocka_unit_test(forward_mode),
		cmocka_unit_test(retained),
		cmocka_unit_test(retained_and_rewound),
		cmocka_unit_test(retained_beside_forward_mode),
		cmocka_unit_test(observing),
		cmocka_unit_test(replacing),
		cmocka_unit_test(replacing_with_create_graph),
		cmocka_unit_test(hooks_misused),
		cmocka_unit_test(forward_replacing),
		cmocka_unit_test(hooks_in_linear_act),
		cmocka_unit_test(replaying),
		cmocka_unit_test(substituting),
		cmocka_unit_test(substitute_gone),
		cmocka_unit_test(free_values),
	};

	return cmocka_run_group_tests_name("backward", tests, NULL, NULL);
}
