/* test_optim_step.c: a step that clips is clipping and a step, to the bit; a step shared out among threads; going on from a checkpoint. */
#include "tests/nn_check.h"
#include "kernels/threads.h"

enum { WIDE = 200, ALL = WIDE * WIDE + WIDE + 7 };

/* Large enough for several threads, with small parameters beside. */
static weir_module *network(weir_ctx *w)
{
	weir_module *m = weir_list_new(w, "net");

	weir_list_add(m, weir_linear_new(w, WIDE, WIDE, WEIR_INIT_HE));
	weir_module_param(m, "scale", weir_dtype_of(weir_module_parameter(m, 0)), 1, (int64_t[]){ 7 });
	return m;
}

static weir_optim *optimiser(weir_module *m, bool adam, bool keep)
{
	weir_ctx *w = weir_module_context(m);
	weir_adam_options a;
	weir_sgd_options s;

	weir_adam_options_init(&a);
	a.lr = 0.01, a.weight_decay = 0.1, a.decoupled = true, a.keep_grads = keep;
	weir_sgd_options_init(&s);
	s.lr = 0.01, s.momentum = 0.9, s.weight_decay = 0.1, s.keep_grads = keep;
	return adam ? weir_adam_with(w, m, &a) : weir_sgd_with(w, m, &s);
}

static void random_gradients(weir_module *m, double size)
{
	weir_ctx *w = weir_module_context(m);

	for (int64_t i = 0; i < weir_module_parameter_count(m); i++) {
		weir_tensor *p = weir_module_parameter(m, i);

		assert_true(weir_set_grad(p, weir_normal(w, weir_dtype_of(p), weir_rank(p), weir_shape(p), 0, size)));
	}
	weir_tape_reset(w);
}

/* Parameters and states one after the other. */
static void read_training(weir_module *m, const weir_optim *o, double v[3][ALL])
{
	int64_t at = 0;

	memset(v, 0, 3 * sizeof v[0]);
	for (int64_t i = 0; i < weir_module_parameter_count(m); i++) {
		weir_tensor *p = weir_module_parameter(m, i);

		assert_true(weir_read_f64(p, v[0] + at, weir_numel(p)));
		for (int s = 0; s < 2; s++) {
			if (weir_optim_state(o, p, s))
				assert_true(weir_read_f64(weir_optim_state(o, p, s), v[1 + s] + at, weir_numel(p)));
		}
		at += weir_numel(p);
	}
	assert_int_equal(at, ALL);
}

static void assert_same(double (*got)[ALL], double (*want)[ALL], const char *what)
{
	for (int k = 0; k < 3; k++) {
		for (int i = 0; i < ALL; i++) {
			if (!(got[k][i] == want[k][i]) || signbit(got[k][i]) != signbit(want[k][i]))
				fail_msg("%s: number %d of %s is %.17g, not %.17g", what, i,
					 k ? "a state" : "the parameters", got[k][i], want[k][i]);
		}
	}
}

/* Four steps, some of them clipped, on so many threads. */
static void train_clipped(weir_dtype t, bool adam, int threads, bool fused, double norm[4], double v[3][ALL])
{
	weir_ctx *w = open_as(t, threads, 3);
	weir_module *m = network(w);
	weir_optim *o = optimiser(m, adam, false);

	for (int i = 0; i < 4; i++) {
		random_gradients(m, i == 1 ? 1e-6 : i == 2 ? 1e12 : 1);
		if (fused) {
			norm[i] = weir_optim_clip_step(o, 5);
		} else {
			norm[i] = weir_clip_norm(m, 5);
			assert_true(weir_optim_step(o));
		}
		assert_fine(w);
	}
	assert_int_equal(weir_optim_steps(o), 4);
	read_training(m, o, v);
	assert_int_equal(weir_close(w), 0);
}

static void test_clip_step_is_both(void **unused)
{
	static double want[3][ALL], got[3][ALL];
	double want_norm[4], norm[4];
	char what[64];

	(void)unused;
	for (int form = 0; form < 4; form++) {
		weir_dtype t = form & 1 ? WEIR_F64 : WEIR_F32;

		train_clipped(t, form & 2, 1, false, want_norm, want);
		assert_true(want_norm[0] > 5 && want_norm[1] < 5 && want_norm[2] > 1e12);
		for (int threads = 1; threads <= 8; threads += threads < 3 ? 1 : 5) {
			for (int fused = 0; fused < 2; fused++) {
				snprintf(what, sizeof what, "form %d, %d threads%s", form, threads,
					 fused ? ", fused" : "");
				train_clipped(t, form & 2, threads, fused, norm, got);
				assert_memory_equal(norm, want_norm, sizeof norm);
				assert_same(got, want, what);
			}
		}
	}
}

/* What clipping makes small enough is no reason to refuse; gradients that are kept stay as they were. */
static void test_clip_step_saves(void **unused)
{
	weir_ctx *w = open_as(WEIR_F32, 1, 0);
	weir_module *m = weir_linear_new(w, 1, 1, WEIR_INIT_HE);
	weir_tensor *weight = weir_module_parameter(m, 0);
	weir_optim *o = optimiser(m, false, true);
	double before = weir_get(weight, 0);

	(void)unused;
	set_gradient(weight, 3e38);
	weir_optim_set_lr(o, 1e6);
	assert_false(weir_optim_step(o));
	assert_error(w, WEIR_ERR_NONFINITE, "clip the gradients");
	assert_near(weir_get(weight, 0), before, 0);
	weir_optim_set_lr(o, 0.5);
	assert_near(weir_optim_clip_step(o, 2) / 3e38, 1, 1e-6);
	assert_near(weir_get(weight, 0), before - 0.5 * (2 + 0.1 * before), 1e-6);
	assert_near(weir_get(weir_grad_of(weight), 0) / 3e38, 1, 1e-6);
	assert_int_equal(weir_close(w), 0);
}

static void test_clip_step_refuses(void **unused)
{
	static const double limits[] = { -1, NAN, INFINITY }, faults[] = { NAN, INFINITY };
	weir_ctx *w = open_as(WEIR_F64, 1, 0);
	weir_module *m = weir_linear_new(w, 2, 2, WEIR_INIT_HE);
	weir_tensor *weight = weir_module_parameter(m, 0), *bias = weir_module_parameter(m, 1);
	weir_optim *o = optimiser(m, true, false);
	double before = weir_get(weight, 1);

	(void)unused;
	for (int i = 0; i < 3; i++) {
		assert_true(isnan(weir_optim_clip_step(o, limits[i])));
		assert_error(w, WEIR_ERR_ARGUMENT, "weir_optim_clip_step: the limit is ");
	}
	for (int i = 0; i < 2; i++) {
		set_gradient(weight, 1);
		set_gradient(bias, faults[i]);
		assert_true(isnan(weir_optim_clip_step(o, 1)));
		assert_error(w, WEIR_ERR_NONFINITE, "(linear.bias)");
	}
	set_gradient(weight, 1.5e308);
	set_gradient(bias, 1.5e308);
	assert_true(isnan(weir_optim_clip_step(o, 1)));
	assert_error(w, WEIR_ERR_NONFINITE, "larger than f64 can hold");
	assert_near(weir_get(weight, 1), before, 0);
	assert_int_equal(weir_optim_steps(o), 0);
	assert_int_equal(weir_optim_steps_of(o, weight), 0);
	assert_int_equal(weir_close(w), 0);
}

/* A frozen parameter keeps the gradient it had: that makes no step, so it counts in no norm and stays as it is. */
static void test_clip_leaves_frozen(void **unused)
{
	weir_ctx *w = open_as(WEIR_F64, 1, 0);
	weir_module *m = weir_linear_new(w, 1, 1, WEIR_INIT_HE);
	weir_tensor *weight = weir_module_parameter(m, 0), *bias = weir_module_parameter(m, 1);
	weir_optim *o = optimiser(m, false, true);

	(void)unused;
	set_gradient(weight, 3);
	set_gradient(bias, -40);
	weir_freeze(bias, true);
	assert_near(weir_optim_clip_step(o, 1), 3, 0);
	assert_near(weir_clip_norm(m, 1), 3, 0);
	assert_near(weir_get(weir_grad_of(weight), 0), 1, 1e-15);
	assert_near(weir_get(weir_grad_of(bias), 0), -40, 0);
	assert_int_equal(weir_clip_value(m, 0.5), 1);
	assert_near(weir_get(weir_grad_of(bias), 0), -40, 0);
	set_gradient(bias, NAN);
	assert_near(weir_clip_norm(m, 1), 0.5, 0);
	weir_clip_value(m, 1);
	assert_fine(w);
	weir_freeze(bias, false);
	set_gradient(bias, -40);
	assert_near(weir_clip_norm(m, 1), hypot(0.5, 40), 1e-12);
	assert_int_equal(weir_close(w), 0);
}

/* With no gradient at all a step is a step of the optimiser, and none of a parameter's own, clipped or not. */
static void test_step_without_gradients(void **unused)
{
	(void)unused;
	for (int clip = 0; clip < 2; clip++) {
		weir_ctx *w = open_as(WEIR_F32, 1, 0);
		weir_module *m = weir_linear_new(w, 2, 2, WEIR_INIT_HE);
		weir_tensor *weight = weir_module_parameter(m, 0);
		weir_optim *o = optimiser(m, true, false);
		double before = weir_get(weight, 1);

		if (clip) assert_near(weir_optim_clip_step(o, 1), 0, 0);
		else assert_true(weir_optim_step(o));
		assert_fine(w);
		assert_int_equal(weir_optim_steps(o), 1);
		assert_int_equal(weir_optim_steps_of(o, weight), 0);
		assert_near(weir_get(weight, 1), before, 0);
		assert_int_equal(weir_close(w), 0);
	}
}

/* ---- going on from a checkpoint ---------------------------------------------------------------------------------------- */

static void copy(weir_tensor *to, const weir_tensor *from)
{
	static double v[ALL];

	assert_true(weir_read_f64(from, v, weir_numel(from)));
	assert_true(weir_write_f64(to, v, weir_numel(to)));
}

/* Parameters and states of o over m, as a file would bring them, and the numbers of steps. */
static weir_optim *restore(weir_module *m, bool adam, weir_module *from, const weir_optim *of, bool steps)
{
	weir_optim *o = optimiser(m, adam, false);

	for (int64_t i = 0; i < weir_module_parameter_count(m); i++) {
		weir_tensor *p = weir_module_parameter(m, i), *q = weir_module_parameter(from, i);

		copy(p, q);
		for (int s = 0; s < 2; s++) {
			if (weir_optim_state(o, p, s)) copy(weir_optim_state(o, p, s), weir_optim_state(of, q, s));
		}
	}
	if (!steps) return o;
	assert_true(weir_optim_set_steps(o, NULL, weir_optim_steps(of)));
	for (int64_t i = 0; i < weir_module_parameter_count(m); i++)
		assert_true(weir_optim_set_steps(o, weir_module_parameter(m, i),
						 weir_optim_steps_of(of, weir_module_parameter(from, i))));
	return o;
}

static void test_resume(void **unused)
{
	static double want[3][ALL], got[3][ALL];

	(void)unused;
	for (int adam = 0; adam < 2; adam++) {
		weir_ctx *w = open_as(WEIR_F32, 1, 5), *with = open_as(WEIR_F32, 1, 5),
			 *without = open_as(WEIR_F32, 1, 5);
		weir_module *m = network(w), *n[2] = { network(with), network(without) };
		weir_optim *o = optimiser(m, adam, false), *p[2];

		weir_freeze(weir_module_parameter(m, 2), true);
		for (int i = 0; i < 7; i++) {
			if (i == 4) weir_freeze(weir_module_parameter(m, 2), false);
			random_gradients(m, 1);
			assert_true(weir_optim_step(o));
		}
		assert_int_equal(weir_optim_steps(o), 7);
		assert_int_equal(weir_optim_steps_of(o, weir_module_parameter(m, 0)), 7);
		assert_int_equal(weir_optim_steps_of(o, weir_module_parameter(m, 2)), 3);
		for (int k = 0; k < 2; k++) p[k] = restore(n[k], adam, m, o, k == 0);
		assert_int_equal(weir_optim_steps(p[0]), 7);
		assert_int_equal(weir_optim_steps_of(p[0], weir_module_parameter(n[0], 2)), 3);
		for (int i = 0; i < 3; i++) {
			set_gradient(weir_module_parameter(m, 2), i);
			set_gradient(weir_module_parameter(n[0], 2), i);
			set_gradient(weir_module_parameter(n[1], 2), i);
			assert_true(weir_optim_step(o) && weir_optim_step(p[0]) && weir_optim_step(p[1]));
		}
		read_training(m, o, want);
		read_training(n[0], p[0], got);
		assert_same(got, want, "gone on");
		read_training(n[1], p[1], got);
		assert_memory_not_equal(got, want, sizeof want);
		assert_int_equal(weir_close(w) | weir_close(with) | weir_close(without), 0);
	}
}

/* The power is that of repeated products however large the number of steps, and 0 after enough of them. */
static void test_set_steps(void **unused)
{
	weir_ctx *w = open_as(WEIR_F64, 1, 0);
	weir_module *m = weir_linear_new(w, 1, 1, WEIR_INIT_HE);
	weir_tensor *weight = weir_module_parameter(m, 0);
	weir_optim *o = weir_adam_new(w, m, 0.25);
	double before = weir_get(weight, 0);

	(void)unused;
	assert_true(weir_optim_set_steps(o, NULL, INT64_MAX / 2));
	set_gradient(weight, 3);
	assert_true(weir_optim_step(o)); /* no correction any more: m = 0.1 g, √v = √0.001 g */
	assert_near(weir_get(weight, 0), before - 0.25 * 0.1 / sqrt(0.001), 1e-7);
	assert_int_equal(weir_optim_steps(o), INT64_MAX / 2 + 1);
	assert_false(weir_optim_set_steps(o, NULL, -1));
	assert_error(w, WEIR_ERR_ARGUMENT,
		     "weir_optim_set_steps: steps is -1; it must lie in 0 .. 4611686018427387903");
	for (int i = 0; i < 2; i++) { /* steps to come are counted, too */
		assert_false(weir_optim_set_steps(o, weight, i ? INT64_MAX : INT64_MAX / 2 + 1));
		assert_error(w, WEIR_ERR_ARGUMENT, "it must lie in 0 .. 4611686018427387903");
	}
	assert_false(weir_optim_set_steps(o, weir_module_parameter(weir_linear_new(w, 1, 1, WEIR_INIT_HE), 0), 4));
	assert_error(w, WEIR_ERR_ARGUMENT, "weir_optim_set_steps: p is no parameter of the optimiser");
	assert_int_equal(weir_optim_steps_of(o, NULL), -1);
	assert_int_equal(weir_optim_steps_of(NULL, weight), -1);
	assert_int_equal(weir_close(w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clip_step_is_both),
		cmocka_unit_test(test_clip_step_saves),
		cmocka_unit_test(test_clip_step_refuses),
		cmocka_unit_test(test_clip_leaves_frozen),
		cmocka_unit_test(test_step_without_gradients),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_set_steps),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
