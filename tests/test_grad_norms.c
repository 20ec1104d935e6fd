/* test_grad_norms.c: what hooks are told of norms, however a norm was come by: in the pass that wrote the gradient, or after it. */
#include "tests/nn_check.h"

#include "engine/tensor.h"
#include "kernels/reduce.h"
#include "kernels/threads.h"

enum { EVENTS = 400 };

/* What one backward pass told an observer. */
typedef struct told {
	int64_t n, index[EVENTS];
	double norm[EVENTS];
	const char *op[EVENTS];
	bool look; /* at the values */
} told;

static bool same(double a, double b)
{
	return !memcmp(&a, &b, sizeof a) || (isnan(a) && isnan(b));
}

static void observe(const weir_event *e, void *user)
{
	told *t = user;
	double want;

	assert_true(t->n < EVENTS);
	t->index[t->n] = e->index;
	t->op[t->n] = e->op;
	t->norm[t->n++] = e->norm;
	if (!t->look) return;
	want = weir__norm2(weir_dtype_of(e->value), weir_data(e->value), weir_numel(e->value), 1);
	if (!same(e->norm, want))
		fail_msg("%s (%s), %lld values: told %.17g, is %.17g", e->name, e->op, (long long)weir_numel(e->value),
			 e->norm, want);
}

/* Every way that a gradient comes about: one writer, several uses, one operand twice, shared weights, views, broadcasts, small ones. */
static weir_tensor *loss_of(weir_ctx *w, weir_module *const *layer, weir_tensor *x)
{
	weir_tensor *a = weir_relu(weir_forward(layer[0], x)), *b = weir_tanh(weir_forward(layer[1], a)), *c, *d;

	b = weir_add(a, b); /* a is used twice */
	c = weir_sigmoid(weir_forward(layer[1], b));
	c = weir_mul(c, c);
	d = weir_relu(weir_forward(layer[2], weir_sub(c, weir_mean(c, 1, (int[]){ 1 }, true))));
	d = weir_matmul(d, weir_transpose(d, 0, 1));
	(void)w;
	return weir_mean_all(weir_reshape(weir_relu(d), 1, (int64_t[]){ weir_numel(d) }));
}

typedef struct net {
	weir_ctx *w;
	weir_module *m, *layer[3];
	weir_tensor *x;
} net;

static net make(weir_dtype t, int threads, double scale)
{
	net n = { .w = open_as(t, threads, 3) };

	n.m = weir_list_new(n.w, "net");
	for (int i = 0; i < 3; i++) {
		n.layer[i] = weir_linear_new(n.w, 130, 130, WEIR_INIT_HE);
		weir_list_add(n.m, n.layer[i]);
	}
	n.x = weir_keep(weir_normal(n.w, t, 2, (int64_t[]){ 70, 130 }, 0, scale));
	return n;
}

static void told_is_true(void **state)
{
	(void)state;
	weir__threads_gate = 1e4;
	for (int i = 0; i < 2 * 3 * 3; i++) {
		net n = make(i % 2 ? WEIR_F64 : WEIR_F32, 1 + i / 2 % 3, (double[]){ 1, 1e-9, 1e18 }[i / 6]);
		static told t;

		t = (told){ .look = true };
		weir_on_grad(n.w, observe, &t, NULL);
		for (int pass = 0; pass < 2; pass++) {
			weir_tensor *loss = loss_of(n.w, n.layer, n.x);

			t.n = 0;
			weir_backward(loss);
			assert_fine(n.w);
			assert_true(t.n > 20);
			for (int64_t k = 0; k < t.n; k++)
				assert_true(same(weir_grad_norm(weir_tape_at(n.w, t.index[k])), t.norm[k]));
			weir_tape_reset(n.w);
		}
		assert_int_equal(weir_close(n.w), 0);
	}
	weir__threads_gate = 0;
}

/* What a hook wants changes neither the order of events nor any gradient. */
static void order_and_gradients_stay(void **state)
{
	static told with, without;
	net n = make(WEIR_F32, 1, 1);
	weir_hook *h;
	weir_tensor *loss = loss_of(n.w, n.layer, n.x), *g;
	float *plain;

	(void)state;
	with = without = (told){ 0 };
	h = weir_on_grad(n.w, observe, &without, NULL);
	weir_hook_set_wants(h, 0);
	weir_backward(loss);
	weir_hook_remove(h);
	g = (weir_tensor *)(uintptr_t)weir_grad_of(weir_module_parameter(n.m, 0));
	plain = malloc((size_t)weir_numel(g) * sizeof *plain);
	memcpy(plain, weir_data(g), (size_t)weir_numel(g) * sizeof *plain);
	for (int64_t i = 0; i < weir_module_parameter_count(n.m); i++) weir_zero_grad(weir_module_parameter(n.m, i));
	weir_on_grad(n.w, observe, &with, NULL);
	weir_backward(loss);
	assert_int_equal(with.n, without.n);
	for (int64_t i = 0; i < with.n; i++) {
		assert_int_equal(with.index[i], without.index[i]);
		assert_string_equal(with.op[i], without.op[i]);
		assert_true(without.norm[i] == 0);
	}
	g = (weir_tensor *)(uintptr_t)weir_grad_of(weir_module_parameter(n.m, 0));
	assert_memory_equal(plain, weir_data(g), (size_t)weir_numel(g) * sizeof *plain);
	free(plain);
	assert_int_equal(weir_close(n.w), 0);
}

static weir_tensor *doubled(const weir_event *e, void *user)
{
	(void)user;
	return weir_affine(e->value, 2, 0);
}

static weir_tensor *doubled_in_place(const weir_event *e, void *user)
{
	float *v = weir_data_mut(e->value, "doubled_in_place");

	(void)user;
	for (int64_t i = 0; i < weir_numel(e->value); i++) v[i] *= 2;
	return e->value;
}

/* norm and value of the last event of a tensor */
typedef struct seen {
	double norm, norm_of_value;
} seen;

static void see(const weir_event *e, void *user)
{
	seen *s = user;

	s->norm = e->norm;
	s->norm_of_value = weir__norm2(weir_dtype_of(e->value), weir_data(e->value), weir_numel(e->value), 1);
}

/* The norm that an observer is told is that before replacement, the value that after. What goes on is the replaced one, and the optimiser is
 * not told of a norm that is not its gradient's. */
static void replaced(void **state)
{
	net n = make(WEIR_F32, 1, 1);
	weir_tensor *p = weir_module_parameter(n.m, 0), *loss = loss_of(n.w, n.layer, n.x);
	weir_optim *sgd = weir_sgd_new(n.w, n.m, 0.1, 0.9);
	weir_replacer *const ways[] = { doubled, doubled_in_place };
	weir_hook_options o;
	double plain;
	seen s;

	(void)state;
	assert_non_null(sgd);
	weir_hook_options_init(&o);
	o.observe = see;
	o.user = &s;
	weir_hook_add(n.w, p, &o);
	weir_backward(loss);
	plain = weir__norm2(WEIR_F32, weir_data(weir_grad_of(p)), weir_numel(p), 1);
	assert_true(same(weir__known_norm(p), plain));
	assert_true(same(s.norm, plain) && same(s.norm_of_value, plain));
	o.observe = NULL;
	for (int i = 0; i < 2; i++) {
		weir_hook *h;

		weir_zero_grad(p);
		o.replace = ways[i];
		h = weir_hook_add(n.w, p, &o);
		weir_backward(loss);
		assert_true(isnan(weir__known_norm(p)));
		assert_true(same(weir__norm2(WEIR_F32, weir_data(weir_grad_of(p)), weir_numel(p), 1), 2 * plain));
		assert_true(same(s.norm, plain) && same(s.norm_of_value, 2 * plain));
		assert_true(same(weir_grad_norm(p), plain));
		weir_hook_remove(h);
	}
	assert_fine(n.w);
	assert_int_equal(weir_close(n.w), 0);
}

/* What backward leaves for the optimiser is forgotten when the gradient changes. */
static void known_while_it_holds(void **state)
{
	net n = make(WEIR_F32, 1, 1);
	weir_tensor *p = weir_module_parameter(n.m, 0), *loss = loss_of(n.w, n.layer, n.x);
	double norm, total;

	(void)state;
	weir_backward(loss);
	assert_true(isnan(weir__known_norm(p))); /* nobody wants it */
	weir_sgd_new(n.w, n.m, 0.1, 0.9);
	for (int64_t i = 0; i < weir_module_parameter_count(n.m); i++) weir_zero_grad(weir_module_parameter(n.m, i));
	assert_true(isnan(weir__known_norm(p)));
	weir_backward(loss);
	norm = weir__known_norm(p);
	assert_true(same(norm, weir__norm2(WEIR_F32, weir_data(weir_grad_of(p)), weir_numel(p), 1)));
	total = weir_clip_norm(n.m, 1e30);
	assert_true(same(weir__known_norm(p), norm));
	assert_true(weir_clip_norm(n.m, total / 2) == total);
	assert_true(isnan(weir__known_norm(p)));
	weir_backward(loss); /* added to what is there */
	assert_true(isnan(weir__known_norm(p)));
	assert_true(weir_set_grad(p, weir_full(n.w, WEIR_F32, 2, weir_shape(p), 1)));
	assert_true(isnan(weir__known_norm(p)));
	assert_fine(n.w);
	assert_int_equal(weir_close(n.w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(told_is_true),
		cmocka_unit_test(order_and_gradients_stay),
		cmocka_unit_test(replaced),
		cmocka_unit_test(known_while_it_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
