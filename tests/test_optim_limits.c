/* test_optim_limits.c: what optimisers refuse, the ends of the number range, the same bits from every kernel, memory. */
#include "tests/nn_check.h"

#include <float.h>

#include "kernels/cpu.h"
#include "kernels/optim.h"
#include "kernels/threads.h"

enum { N = 30 }; /* weight [5, 5] and bias [5] */

static void step_in_hook(const weir_event *e, void *o)
{
	(void)e;
	weir_optim_step(o);
}

static void test_hook(void **unused)
{
	weir_ctx *w = open_as(WEIR_F32, 1, 0);
	weir_module *m = weir_linear_new(w, 2, 2, WEIR_INIT_HE);

	(void)unused;
	weir_on_grad(w, step_in_hook, weir_sgd_new(w, m, 0.1, 0), NULL);
	weir_backward(weir_sum_all(weir_forward(m, weir_zeros(w, WEIR_F32, 2, (int64_t[]){ 1, 2 }))));
	assert_error(w, WEIR_ERR_HOOK, "weir_optim_step: not allowed inside a hook");
	weir_close(w);
}

/* ---- refusals ------------------------------------------------------------------------------------------------------ */

static void check_unchanged(weir_module *m, weir_optim *o, const double *before, const double *state)
{
	double now[N];
	weir_tensor *v = weir_optim_state(o, weir_module_parameter(m, 0), 0);

	read_all(m, now);
	for (int64_t i = 0; i < weir_module_weights(m); i++) assert_true(now[i] == before[i]);
	for (int64_t i = 0; v && i < weir_numel(v); i++) assert_true(weir_get(v, i) == state[i]);
	assert_non_null(weir_grad_of(weir_module_parameter(m, 0)));
}

static void test_refused(void **unused)
{
	(void)unused;
	for (int kind = 0; kind < 4; kind++) {
		weir_dtype dtype = kind & 1 ? WEIR_F64 : WEIR_F32;
		weir_ctx *w = open_as(dtype, 1, 0);
		weir_module *m = weir_linear_new(w, 5, 5, WEIR_INIT_HE);
		weir_optim *o = kind & 2 ? weir_adam_new(w, m, 0.1) : weir_sgd_new(w, m, 0.1, 0.9);
		weir_tensor *weight = weir_module_parameter(m, 0), *bias = weir_module_parameter(m, 1), *g;
		double before[N], state[25], values[5] = { 1, 1, 1, 1, 1 },
					     top = dtype == WEIR_F32 ? (double)FLT_MAX : DBL_MAX;

		set_gradients(m, 1, 1);
		assert_true(weir_optim_step(o));
		read_all(m, before);
		weir_read_f64(weir_optim_state(o, weight, 0), state, 25);

		/* the last of all parameters has the fault, and the first stays as it was */
		for (int fault = 0; fault < 3; fault++) {
			set_gradients(m, 2, 1);
			values[3] = fault == 0 ? NAN : fault == 1 ? INFINITY : -INFINITY;
			g = weir_zeros(w, dtype, 1, (int64_t[]){ 5 });
			weir_write_f64(g, values, 5);
			weir_set_grad(bias, g);
			assert_false(weir_optim_step(o));
			assert_error(w, WEIR_ERR_NONFINITE, fault ? "the gradient of [5] " : "has 1 NaN and 0 inf");
			check_unchanged(m, o, before, state);
			assert_int_equal(weir_optim_steps(o), 1);
		}

		/* finite, but the result would not be */
		if (!(kind & 2)) {
			set_gradients(m, 2, 1);
			set_gradient(bias, top);
			weir_optim_set_lr(o, 1000);
			assert_false(weir_optim_step(o));
			assert_error(w, WEIR_ERR_NONFINITE, "the step would write an inf or NaN into [5] ");
			check_unchanged(m, o, before, state);
			weir_optim_set_lr(o, 0.1);
			/* near the end of the range, but inside it */
			set_gradients(m, 2, 1);
			set_gradient(bias, top / 2);
			assert_true(weir_optim_step(o));
			assert_true(isfinite(weir_get(bias, 0)) && fabs(weir_get(bias, 0)) > top / 100);
			read_all(m, before);
			weir_read_f64(weir_optim_state(o, weight, 0), state, 25);
		}

		/* a parameter that already holds a NaN, which the last step could not know */
		values[3] = NAN;
		assert_true(weir_write_f64(bias, values, 5));
		set_gradients(m, 2, 1);
		assert_false(weir_optim_step(o));
		assert_error(w, WEIR_ERR_NONFINITE, "the value of [5] ");
		assert_near(weir_get(weight, 3), before[3], 0);
		values[3] = 1;
		assert_true(weir_write_f64(bias, values, 5));
		assert_true(weir_optim_step(o));
		assert_int_equal(weir_close(w), 0);
	}
}

/* One gradient of 1e21, then 1: the second moment overflows in the textbook's form, and the parameter stops for ever. */
static void test_adam_large_gradient(void **unused)
{
	(void)unused;
	for (int f64 = 0; f64 < 2; f64++) {
		weir_ctx *w = open_as(f64 ? WEIR_F64 : WEIR_F32, 1, 0);
		weir_module *m = weir_linear_new(w, 1, 1, WEIR_INIT_DIAGONAL);
		weir_tensor *p = weir_module_parameter(m, 0);
		weir_adam_options options;
		weir_optim *o;
		double huge = f64 ? 1e200 : 1e21, tiny = f64 ? 1e-200 : 1e-30, last;

		weir_adam_options_init(&options);
		options.beta1 = 0.5;
		options.beta2 = 0.9;
		o = weir_adam_with(w, m, &options);
		set_gradient(p, huge);
		assert_true(weir_optim_step(o));
		assert_near(weir_get(p, 0), 1 - 1e-3, 1e-6);
		assert_near(weir_get(weir_optim_state(o, p, 1), 0) / huge, sqrt(0.1), 1e-6);
		for (int i = 0; i < (f64 ? 12000 : 2000); i++) {
			set_gradient(p, 1);
			assert_true(weir_optim_step(o));
			weir_tape_reset(w);
		}
		/* the large one is forgotten: steps are of lr again */
		last = weir_get(p, 0);
		set_gradient(p, 1);
		assert_true(weir_optim_step(o));
		if (!(fabs(last - weir_get(p, 0) - 1e-3) < 1e-5))
			fail_msg("the last step was %g", last - weir_get(p, 0));

		/* and as small ones */
		options.eps = 0;
		weir_optim_drop(o);
		o = weir_adam_with(w, m, &options);
		weir_init_fill(p, WEIR_INIT_ZEROS, 1);
		set_gradient(p, tiny);
		assert_true(weir_optim_step(o));
		assert_near(weir_get(p, 0), -1e-3, 1e-9);
		set_gradient(weir_module_parameter(m, 1), 0); /* 0 / 0 */
		assert_true(weir_optim_step(o));
		assert_near(weir_get(weir_module_parameter(m, 1), 0), 0, 0);
		assert_int_equal(weir_close(w), 0);
	}
}

/* ---- the same bits --------------------------------------------------------------------------------------------------- */

static void fill_real(void *p, int f64, int i, double v)
{
	if (f64) ((double *)p)[i] = v;
	else ((float *)p)[i] = (float)v;
}

static void test_kernels_agree(void **unused)
{
	static const char *const isas[] = { "generic", "avx2", "avx512" };
	static const double sizes[] = { 1, 1e-30, 1e30, 1e-38, 1e19 };
	enum { LONG = 67 };
	static double in[4][LONG], want[4][LONG], out[4][LONG];

	(void)unused;
	for (int c = 0; c < 2 * 2 * 5 * 3; c++) {
		int f64 = c & 1, adam = c >> 1 & 1, form = c / 20;
		double size = sizes[c / 4 % 5], largest[2][3];
		size_t bytes = LONG * (f64 ? sizeof(double) : sizeof(float));
		weir_update u = { .g = in[0],
				  .w = in[1],
				  .s = { in[2], in[3] },
				  .w_out = out[0],
				  .s_out = { out[1], out[2] },
				  .decay = form == 1 ? 0.01 : 0,
				  .shrink = form == 2 ? 0.99 : 1,
				  .rate = 0.1,
				  .keep1 = 0.9,
				  .gain1 = 0.1,
				  .keep2 = 0.999,
				  .gain2 = 0.001,
				  .root = 3,
				  .eps = 1e-8,
				  .norm = form == 1 ? 3 : 0,
				  .limit = 0.7,
				  .nesterov = form == 0,
				  .first = form == 2 };

		for (int i = 0; i < LONG; i++) {
			for (int k = 0; k < 4; k++)
				fill_real(in[k], f64, i,
					  (k == 1 ? 1 : size) * (k == 3 ? fabs(noise(i, c)) : noise(i, 7 * c + k)));
			if (i % 13 == 5) fill_real(in[0], f64, i, i % 2 ? 0.0 : 1e21);
		}
		for (int isa = 0; isa < 3; isa++) {
			const weir_kernels *k = weir__kernels_for(isas[isa]);

			if (!k) continue;
			memset(out, 0, sizeof(out));
			(adam ? k->adam_step : k->sgd_step)[f64](&u, LONG, largest[isa > 0]);
			memcpy(out[3], in[0], sizeof(out[3]));
			k->clip[f64](out[3], LONG, 3, 0.7);
			if (!isa) memcpy(want, out, sizeof(out));
			for (int r = 0; r < 4; r++) {
				if (memcmp(want[r], out[r], bytes))
					fail_msg("%s, %s, %s: result %d differs from generic", isas[isa],
						 adam ? "adam" : "sgd", f64 ? "f64" : "f32", r);
				if (r < 3 && memcmp(&largest[0][r], &largest[isa > 0][r], sizeof(double)))
					fail_msg("%s: largest %d is %g, not %g", isas[isa], r, largest[1][r],
						 largest[0][r]);
			}
		}
		/* largest is that of what was written */
		for (int r = 0; r < 3; r++) {
			double most = 0;

			for (int i = 0; i < LONG; i++) {
				double v = fabs(f64 ? out[r][i] : (double)((float *)(void *)out[r])[i]);

				most = v > most ? v : most;
			}
			assert_true(most == largest[0][r]);
		}
	}
}

static void test_threads_agree(void **unused)
{
	enum { WIDE = 300 };
	static double want[WIDE * WIDE], got[WIDE * WIDE];

	(void)unused;
	for (int adam = 0; adam < 2; adam++) {
		for (int threads = 1; threads <= 8; threads += threads < 3 ? 1 : 5) {
			weir_ctx *w = open_as(WEIR_F32, threads, 0);
			weir_module *m = weir_linear_new(w, WIDE, WIDE, WEIR_INIT_HE);
			weir_tensor *weight = weir_module_parameter(m, 0);
			weir_optim *o = adam ? weir_adamw_new(w, m, 0.01, 0.1) : weir_sgd_new(w, m, 0.01, 0.9);

			weir_optim_track(o, true);
			for (int step = 0; step < 3; step++) {
				assert_true(
					weir_set_grad(weight, weir_normal(w, WEIR_F32, 2, weir_shape(weight), 0, 1)));
				weir_clip_norm(m, 10);
				weir_clip_value(m, 0.05);
				assert_true(weir_optim_step(o));
			}
			got[0] = 0;
			assert_true(weir_read_f64(weight, threads == 1 ? want : got, WIDE * WIDE));
			if (threads > 1) assert_memory_equal(got, want, sizeof(want));
			assert_true(weir_optim_update_ratio(o, weight) > 0);
			assert_int_equal(weir_close(w), 0);
		}
	}
}

/* A step in steady state asks the allocator for nothing. */
static void test_no_malloc(void **unused)
{
	weir_options options;
	weir_ctx *w;
	weir_module *net;
	weir_optim *o;
	uint64_t calls = 0;

	(void)unused;
	weir_options_init(&options);
	options.check_stale = false; /* on in debug builds, it never uses an address twice */
	w = weir_open(&options);
	net = weir_sequential_new(w, "net");
	for (int i = 0; i < 5; i++) {
		weir_list_add(net, weir_linear_new(w, 20, 20, WEIR_INIT_HE));
		weir_list_add(net, weir_layer_norm_new(w, 20, 1e-5));
		weir_list_add(net, weir_gelu_new(w));
	}
	o = weir_adam_new(w, net, 1e-3);
	for (int step = 0; step < 30; step++) {
		weir_tensor *y;

		weir_tape_reset(w);
		y = weir_forward(net, weir_normal(w, WEIR_F32, 2, (int64_t[]){ 32, 20 }, 0, 1));
		weir_backward(weir_add(weir_mean_all(weir_square(y)), weir_l2_penalty(net, 1e-3)));
		weir_clip_norm(net, 1);
		assert_true(weir_optim_step(o));
		if (step == 10) calls = weir_memory_of(w).allocator_calls;
	}
	if (weir_memory_of(w).allocator_calls != calls)
		fail_msg("%llu calls in 19 steps", (unsigned long long)(weir_memory_of(w).allocator_calls - calls));
	assert_int_equal(weir_close(w), 0);
}

/* ---- running out of memory ------------------------------------------------------------------------------------------- */

typedef struct meter {
	int64_t left, held;
} meter;

static void *meter_alloc(void *user, size_t size, size_t align)
{
	meter *m = user;
	void *p = m->left-- > 0 ? aligned_alloc(align < 16 ? 16 : align, (size + align + 15) / 16 * 16 / align * align)
				: NULL;

	m->held += p != NULL;
	return p;
}

static void meter_free(void *user, void *p, size_t size)
{
	meter *m = user;

	(void)size;
	m->held -= p != NULL;
	free(p);
}

static void test_out_of_memory(void **unused)
{
	(void)unused;
	for (int64_t left = 0;; left++) {
		meter m = { .left = left };
		weir_options o;
		weir_ctx *w;
		weir_module *net;
		weir_optim *adam;
		bool good;

		weir_options_init(&o);
		o.handler = NULL;
		o.threads = 1;
		o.allocator = (weir_allocator){ meter_alloc, meter_free, &m };
		w = weir_open(&o);
		net = weir_list_new(w, "net");
		for (int i = 0; i < 3; i++) weir_list_add(net, weir_linear_new(w, 150, 150, WEIR_INIT_DIAGONAL));
		weir_list_add(net, weir_residual_new(w, weir_layer_norm_new(w, 150, 1e-5), 0.5));
		weir_module_drop(weir_sequential_new(w, "spare"));
		adam = weir_adam_new(w, net, 1e-3);
		weir_optim_group(adam, weir_list_at(net, 0), 1, 0);
		weir_backward(weir_sum_all(
			weir_square(weir_forward(net, weir_full(w, WEIR_F32, 2, (int64_t[]){ 9, 150 }, 1)))));
		weir_optim_track(adam, true);
		good = weir_optim_step(adam);
		assert_int_equal(good, weir_ok(w));
		if (!good) assert_int_equal(weir_error(w), WEIR_ERR_MEMORY);
		weir_close(w);
		if (m.held) fail_msg("%lld blocks leaked after %lld allocations", (long long)m.held, (long long)left);
		if (good) break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hook),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_adam_large_gradient),
		cmocka_unit_test(test_kernels_agree),
		cmocka_unit_test(test_threads_agree),
		cmocka_unit_test(test_no_malloc),
		cmocka_unit_test(test_out_of_memory),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
