/* test_env.c: what the library does to the program around it: nothing. Floating-point environment, host threads, fork. */
#include "tests/ops_check.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/fpenv.h"
#include "kernels/threads.h"

/* ---- the caller's floating-point environment ---- */

/* Without arithmetic, which would raise flags of its own. */
static void fold(uint64_t *sum, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof bits);
	*sum = (*sum ^ bits) * UINT64_C(1099511628211);
}

/* Something of everything public; returns a number that hangs on all of it. */
static uint64_t all_of_it(weir_ctx *w)
{
	weir_tensor *x = weir_normal(w, WEIR_F32, SHAPE(40, 8), 0, 1), *y, *p, *g, *h, *v;
	weir_dataset *digits, *train, *validation;
	weir_module *net = weir_sequential_new(w, "net");
	weir_optim *sgd, *adam;
	weir_flow *flow = weir_flow_watch(w, NULL);
	FILE *null = fopen("/dev/null", "w");
	weir_gradcheck_result check;
	uint64_t sum = 7;

	weir_set_name(x, "x");
	y = weir_exp(weir_affine(x, 100, 0)); /* overflows, underflows */
	y = weir_add(weir_div(x, weir_mul(x, weir_scalar(w, WEIR_F32, 0))), y);
	y = weir_softmax(weir_log(weir_tanh(weir_sigmoid(weir_erf(weir_sqrt(weir_abs(x)))))), 0);
	y = weir_add(y, weir_cast(weir_cast(weir_mul(x, weir_scalar(w, WEIR_F32, 1e30)), WEIR_I32), WEIR_F32));
	y = weir_add(weir_add(weir_gelu(x), weir_silu(x)), weir_add(weir_softplus(x), weir_pow(x, 3)));
	h = weir_mean(weir_mul(y, y), 0, NULL, false);
	weir_grad(h, &x, 1, &g, WEIR_CREATE_GRAPH);
	weir_grad(weir_norm(g, 0, NULL, false), &x, 1, &g, 0);
	v = weir_jvp(y, &x, &x, 1, 0);
	fold(&sum, weir_item(weir_sum_all(v)));
	fold(&sum, weir_item(weir_var(y, 0, NULL, false, 1)));
	fold(&sum, weir_get(g, 3));
	weir_replay(h, NULL, 0);
	weir_print(y, null);
	check = weir_gradcheck(NULL, NULL, NULL, 0, NULL);
	fold(&sum, check.worst);
	weir_clear_error(w);
	p = weir_param_new(w, "p", WEIR_F32, SHAPE(16, 16));
	weir_init_fill(p, WEIR_INIT_ORTHOGONAL, 1);
	weir_init_fill(p, WEIR_INIT_HE, 1);
	weir_init_fill(p, WEIR_INIT_GLOROT, 1);
	digits = weir_dataset_digits(w);
	weir_dataset_split(digits, 0.8, &train, &validation);
	weir_module_add(net, NULL, weir_linear_new(w, 64, 16, WEIR_INIT_HE));
	weir_module_add(net, NULL, weir_layer_norm_new(w, 16, 1e-5));
	weir_module_add(net, NULL, weir_relu_new(w));
	weir_module_add(net, NULL, weir_linear_new(w, 16, 10, WEIR_INIT_HE));
	weir_summary(net, 2, (int64_t[]){ 8, 64 }, null);
	sgd = weir_sgd_new(w, net, 0.1, 0.9);
	adam = weir_adamw_new(w, net, 0.1, 0.01);
	weir_optim_track(adam, true);
	for (int i = 0; i < 3; i++) {
		weir_tensor *a, *b, *loss;

		weir_tape_reset(w);
		weir_dataset_next(train, 64, &a, &b);
		loss = weir_add(weir_cross_entropy(weir_forward(net, a), b), weir_l2_penalty(net, 1e-3));
		weir_backward(loss);
		weir_flow_step(flow, loss);
		fold(&sum, weir_clip_norm(net, 0.01));
		weir_clip_value(net, 1e-3);
		weir_optim_step(i & 1 ? adam : sgd);
		fold(&sum, weir_item(loss));
		weir_flow_report(flow, null, WEIR_FLOW_TABLE, "head");
		weir_flow_report(flow, null, WEIR_FLOW_JSON, NULL);
		weir_dot_print(w, flow, null);
	}
	weir_matmul(p, x); /* an error, with its message */
	weir_clear_error(w);
	weir_flow_stop(flow);
	fclose(null);
	return sum;
}

static void floating_point_environment_is_the_callers(void **state)
{
	(void)state;
	for (int ieee = 0; ieee < 2; ieee++) {
		uint64_t results[3];

		for (int mode = 0; mode < 3; mode++) { /* as is; rounding upwards; everything sticky raised already */
			weir_fp_state outer = weir__fp_save(), before, after;
			weir_ctx *w;

#if defined(WEIR__FP_X86)
			weir__fp_write(mode == 1 ? 0x1f80 | 0x4000 : mode == 2 ? 0x1fbf : 0x1f80);
#endif
			before = weir__fp_save();
			w = open_quiet(ieee);
			results[mode] = all_of_it(w);
			weir_close(w);
			after = weir__fp_save();
			weir__fp_leave(outer);
			if (memcmp(&before, &after, sizeof before))
				print_error("mode %d, ieee %d: the floating-point registers changed\n", mode, ieee);
			assert_memory_equal(&before, &after, sizeof before);
		}
		assert_true(results[0] == results[1]); /* nor is his rounding ours */
		assert_true(results[0] == results[2]);
	}
}

/* ---- host threads ---- */

static double train_some(uint64_t seed, int threads)
{
	weir_options o;
	weir_ctx *w;
	weir_dataset *set;
	weir_module *net;
	weir_optim *sgd;
	double last = 0;

	weir_options_init(&o);
	o.seed = seed;
	o.threads = threads;
	w = weir_open(&o);
	set = weir_dataset_digits(w);
	net = weir_sequential_new(w, "net");
	weir_module_add(net, NULL, weir_linear_new(w, 64, 128, WEIR_INIT_HE));
	weir_module_add(net, NULL, weir_relu_new(w));
	weir_module_add(net, NULL, weir_linear_new(w, 128, 10, WEIR_INIT_HE));
	sgd = weir_sgd_new(w, net, 0.1, 0.9);
	for (int i = 0; i < 30; i++) {
		weir_tensor *x, *y, *loss;

		weir_tape_reset(w);
		weir_dataset_next(set, 128, &x, &y);
		loss = weir_cross_entropy(weir_forward(net, x), y);
		weir_backward(loss);
		weir_optim_step(sgd);
		last = weir_item(loss);
	}
	return weir_close(w) ? -1 : last;
}

static void *train_in_thread(void *arg)
{
	double *result = arg;

	*result = train_some(3, 2);
	return NULL;
}

static void two_contexts_in_two_threads(void **state)
{
	double alone = train_some(3, 1), results[4];
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, train_in_thread, &results[i]), 0);
	for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
	for (int i = 0; i < 4; i++) assert_true(results[i] == alone);
}

static void *use_context(void *arg)
{
	weir_ctx *w = arg;
	weir_tensor *x = weir_full(w, WEIR_F32, SHAPE(512, 512), 0.5);

	if (weir_get(weir_matmul(x, x), 0) != 128) return NULL;
	weir_backward(weir_sum_all(weir_mul(x, x)));
	return weir_ok(w) ? w : NULL;
}

static void one_context_from_another_thread(void **state)
{
	weir_ctx *w = open_quiet(false);
	pthread_t thread;
	void *result;

	(void)state;
	assert_non_null(use_context(w));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pthread_create(&thread, NULL, use_context, w), 0);
		pthread_join(thread, &result);
		assert_ptr_equal(result, w);
	}
	assert_non_null(use_context(w));
	close_clean(w);
}

/* N threads of inference on one copy of the weights. */
typedef struct reader {
	weir_ctx *w;
	weir_tensor *p;
	double sum;
} reader;

static void *read_shared(void *arg)
{
	reader *r = arg;

	for (int i = 0; i < 50; i++) {
		weir_tape_reset(r->w);
		r->sum = weir_item(weir_sum_all(weir_matmul(r->p, r->p)));
	}
	return NULL;
}

static void shared_weights(void **state)
{
	weir_ctx *owner = open_quiet(false);
	weir_tensor *p = weir_param_new(owner, "p", WEIR_F32, SHAPE(64, 64));
	reader readers[4];
	pthread_t threads[4];

	(void)state;
	weir_init_fill(p, WEIR_INIT_HE, 1);
	for (int i = 0; i < 4; i++) {
		readers[i].w = open_quiet(false);
		readers[i].p = weir_share(readers[i].w, p);
	}
	close_clean(owner);
	for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, read_shared, &readers[i]), 0);
	for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
	for (int i = 0; i < 4; i++) {
		assert_true(readers[i].sum == readers[0].sum);
		close_clean(readers[i].w);
	}
}

/* ---- fork ---- */

static void fork_computes(void **state)
{
	double here = train_some(5, 2);

	(void)state;
	for (int i = 0; i < 5; i++) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			alarm(60);
			_exit(train_some(5, 2) == here ? 0 : 1);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
	assert_true(train_some(5, 2) == here);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(floating_point_environment_is_the_callers),
		cmocka_unit_test(two_contexts_in_two_threads),
		cmocka_unit_test(one_context_from_another_thread),
		cmocka_unit_test(shared_weights),
		cmocka_unit_test(fork_computes),
	};

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	return cmocka_run_group_tests_name("env", tests, NULL, NULL);
}
