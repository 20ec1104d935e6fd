/* test_flow_softmax.c: softmaxes inside of a network that are shut: the numbers beside their formula, attention whose logits are too large,
 * and attention that is sharp, masked, or at the end of a network, and is not. Long, because each form of attention is a case of its own. */
#include "tests/flow_check.h"

#include "flow/verdict.h"

enum { BATCH = 4, TOKENS = 8, WIDTH = 16, CLASSES = 5 };

typedef enum hidden { NONE, CAUSAL_INF, CAUSAL_WHERE, CAUSAL_LARGE } hidden;

/* Blocks x + o(softmax(q kᵀ / √D + mask) v), and a head. */
typedef struct net {
	weir_ctx *w;
	weir_module *list;
	int blocks, heads;
	hidden mask;
	bool by_log, unscaled, first_axis;
	weir_flow *f;
	weir_tensor *loss;
	const weir_flow_summary *s;
} net;

static weir_module *part(const net *a, int block, int which)
{
	return weir_module_at(weir_list_at(a->list, block), which);
}

static net make_in(weir_ctx *w, int blocks, int heads)
{
	static const char *const names[] = { "q", "k", "v", "o" };
	net a = { .w = w, .blocks = blocks, .heads = heads };

	a.list = weir_list_new(a.w, "net");
	for (int i = 0; i < blocks; i++) {
		weir_module *b = weir_sequential_new(a.w, NULL);

		for (int k = 0; k < 4; k++)
			weir_module_add(b, names[k], weir_linear_new(a.w, WIDTH, WIDTH, WEIR_INIT_GLOROT));
		weir_list_add(a.list, b);
	}
	weir_list_add(a.list, weir_linear_new(a.w, WIDTH, CLASSES, WEIR_INIT_GLOROT));
	a.f = watch_all(a.w);
	a.s = weir_flow_summary_of(a.f);
	return a;
}

static net make(weir_dtype dtype, int blocks, int heads)
{
	return make_in(open_ieee(dtype), blocks, heads);
}

static void scale_weights(weir_module *m, double by)
{
	weir_tensor *p = weir_module_parameter(m, 0);
	int64_t n = weir_numel(p);
	double v[WIDTH * WIDTH];

	assert_true(weir_read_f64(p, v, n));
	for (int i = 0; i < n; i++) v[i] *= by;
	assert_true(weir_write_f64(p, v, n));
}

/* [BATCH, TOKENS, WIDTH] as [BATCH, heads, TOKENS, WIDTH / heads]. */
static weir_tensor *split(const net *a, weir_tensor *x)
{
	x = weir_reshape(x, 4, (int64_t[]){ BATCH, TOKENS, a->heads, WIDTH / a->heads });
	return weir_permute(x, 4, (const int[]){ 0, 2, 1, 3 });
}

/* 1 where row i may look at column k <= i; or 0 there and `closed` elsewhere. */
static weir_tensor *triangle(const net *a, weir_dtype dtype, double open, double closed)
{
	weir_tensor *t = weir_zeros(a->w, dtype, 2, (int64_t[]){ TOKENS, TOKENS });
	double v[TOKENS * TOKENS];

	for (int i = 0; i < TOKENS * TOKENS; i++) v[i] = i % TOKENS <= i / TOKENS ? open : closed;
	assert_true(weir_write_f64(t, v, TOKENS * TOKENS));
	return t;
}

static weir_tensor *masked(const net *a, weir_tensor *scores)
{
	weir_dtype dtype = weir_dtype_of(scores);

	switch (a->mask) {
	case CAUSAL_INF: return weir_add(scores, triangle(a, dtype, 0, -INFINITY));
	case CAUSAL_LARGE: return weir_add(scores, triangle(a, dtype, 0, -1e9));
	case CAUSAL_WHERE: return weir_where(triangle(a, WEIR_U8, 1, 0), scores, weir_scalar(a->w, dtype, -1e30));
	default: return scores;
	}
}

static weir_tensor *attend(const net *a, int i, weir_tensor *x)
{
	weir_tensor *q = split(a, weir_forward(part(a, i, 0), x)), *k = split(a, weir_forward(part(a, i, 1), x)),
		    *v = split(a, weir_forward(part(a, i, 2), x)), *p = weir_matmul(q, weir_transpose(k, -1, -2));

	if (!a->unscaled) p = weir_affine(p, 1 / sqrt((double)WIDTH / a->heads), 0);
	p = masked(a, p);
	if (a->by_log) p = weir_exp(weir_log_softmax(p, -1));
	else if (a->first_axis) p = weir_transpose(weir_softmax(weir_transpose(p, -1, -2), -2), -1, -2);
	else p = weir_softmax(p, -1);
	x = weir_permute(weir_matmul(p, v), 4, (const int[]){ 0, 2, 1, 3 });
	return weir_forward(part(a, i, 3), weir_reshape(x, 3, (int64_t[]){ BATCH, TOKENS, WIDTH }));
}

static weir_tensor *data(const net *a, weir_dtype dtype, double size)
{
	weir_tensor *x = weir_zeros(a->w, dtype, 3, (int64_t[]){ BATCH, TOKENS, WIDTH });
	double v[BATCH * TOKENS * WIDTH];

	for (int i = 0; i < BATCH * TOKENS * WIDTH; i++) v[i] = size * 1.7 * noise(i, 3);
	assert_true(weir_write_f64(x, v, BATCH * TOKENS * WIDTH));
	return x;
}

static weir_tensor *labels(const net *a)
{
	int64_t v[BATCH];

	for (int i = 0; i < BATCH; i++) v[i] = i % CLASSES;
	return weir_from(a->w, WEIR_I64, 1, (int64_t[]){ BATCH }, v);
}

static void run(net *a, weir_dtype dtype, double size)
{
	weir_tensor *x, *y;

	weir_tape_reset(a->w);
	x = data(a, dtype, size);
	y = labels(a);
	for (int i = 0; i < a->blocks; i++) {
		weir_tensor *b = attend(a, i, x);

		x = weir_add(x, b);
	}
	x = weir_mean(x, 1, (const int[]){ 1 }, false);
	a->loss = weir_cross_entropy(weir_forward(weir_list_at(a->list, a->blocks), x), y);
	weir_backward(a->loss);
	assert_true(weir_flow_step(a->f, a->loss));
}

static void assert_verdict(const net *a, weir_verdict v, const char *cause, const char *first, const char *last)
{
	const weir_flow_summary *s = a->s;
	const char *from = weir_flow_layer_at(a->f, s->first_layer)->name,
		   *to = weir_flow_layer_at(a->f, s->last_layer)->name;

	if (s->verdict == v && (v <= WEIR_FLOW_HEALTHY ||
				(s->cause && !strcmp(s->cause, cause) && !strcmp(from, first) && !strcmp(to, last))))
		return;
	fail_msg("%s, %s, %s to %s (%s); want %s, %s, %s to %s", weir_verdict_name(s->verdict),
		 s->cause ? s->cause : "-", from, to, s->evidence, weir_verdict_name(v), cause ? cause : "-",
		 first ? first : "-", last ? last : "-");
}

/* ---- shut ---- */

static void large_queries_are_seen(void **state)
{
	static const double by[] = { 3e3, 1e5, 1e10 };

	(void)state;
	for (int i = 0; i < 3; i++) {
		for (int at = 0; at < 3; at++) {
			net a = make(i == 1 ? WEIR_F64 : WEIR_F32, 3, 1);
			char name[16];

			snprintf(name, sizeof name, "net.%d", at);
			scale_weights(part(&a, at, 0), by[i]);
			run(&a, i == 1 ? WEIR_F64 : WEIR_F32, 1);
			assert_verdict(&a, WEIR_FLOW_SATURATED, "initial weights", name, name);
			assert_non_null(strstr(a.s->evidence, "rows of softmax"));
			close_fine(a.w);
		}
	}
}

static void every_way_to_write_it(void **state)
{
	(void)state;
	for (int i = 0; i < 12; i++) {
		net a = make(WEIR_F32, 2, i < 6 ? 1 : 4);

		a.by_log = i % 3 == 1;
		a.first_axis = i % 3 == 2;
		a.mask = i % 2 ? CAUSAL_INF : NONE;
		scale_weights(part(&a, 1, 1), 1e5);
		run(&a, WEIR_F32, 1);
		assert_verdict(&a, WEIR_FLOW_SATURATED, "initial weights", "net.1", "net.1");
		close_fine(a.w);
	}
}

static void of_several_layers_the_range(void **state)
{
	net a = make(WEIR_F32, 4, 2);

	(void)state;
	scale_weights(part(&a, 1, 0), 1e5);
	scale_weights(part(&a, 3, 0), 1e5);
	run(&a, WEIR_F32, 1);
	assert_verdict(&a, WEIR_FLOW_SATURATED, "initial weights", "net.1", "net.3");
	close_fine(a.w);
}

/* Logits that their scale alone makes so large. */
static void without_the_root(void **state)
{
	net a = make(WEIR_F32, 2, 1);

	(void)state;
	a.unscaled = true;
	a.f->options.shut_rows = 0.3;
	for (int k = 0; k < 2; k++) scale_weights(part(&a, 0, k), 3);
	run(&a, WEIR_F32, 1);
	assert_verdict(&a, WEIR_FLOW_SATURATED, "scale of the logits", "net.0", "net.0");
	assert_non_null(strstr(a.s->evidence, "products of length 16 that are not divided by its root"));
	close_fine(a.w);
}

static void data_that_are_large(void **state)
{
	net a = make(WEIR_F32, 2, 1);

	(void)state;
	run(&a, WEIR_F32, 1e3);
	assert_int_equal(a.s->verdict, WEIR_FLOW_SATURATED);
	assert_string_equal(a.s->cause, "data scale");
	close_fine(a.w);
}

static void training_that_shuts_it(void **state)
{
	net a = make(WEIR_F32, 2, 1);

	(void)state;
	run(&a, WEIR_F32, 1);
	assert_verdict(&a, WEIR_FLOW_HEALTHY, NULL, NULL, NULL);
	scale_weights(part(&a, 0, 0), 1e5);
	run(&a, WEIR_F32, 1);
	assert_verdict(&a, WEIR_FLOW_SATURATED, "learning rate", "net.0", "net.0");
	close_fine(a.w);
}

/* ---- not shut ---- */

static void healthy_ones(void **state)
{
	static const double by[] = { 1, 10, 30 }; /* the last one sharp, and open in a third of its rows */

	(void)state;
	for (hidden m = NONE; m <= CAUSAL_LARGE; m++) {
		for (int i = 0; i < 3; i++) {
			net a = make(i == 1 ? WEIR_F64 : WEIR_F32, 3, i == 2 ? 4 : 1);

			a.mask = m;
			for (int k = 0; k < 3; k++) scale_weights(part(&a, k, 0), by[i]);
			run(&a, i == 1 ? WEIR_F64 : WEIR_F32, 1);
			assert_verdict(&a, WEIR_FLOW_HEALTHY, NULL, NULL, NULL);
			close_fine(a.w);
		}
	}
}

/* Every row may look at one place alone. */
static void nothing_to_choose(void **state)
{
	net a = make(WEIR_F32, 1, 1);
	weir_tensor *x, *q, *k, *p, *v;
	double m[TOKENS * TOKENS];

	(void)state;
	for (int i = 0; i < TOKENS * TOKENS; i++) m[i] = i % TOKENS == i / TOKENS ? 0 : -INFINITY;
	x = data(&a, WEIR_F32, 1);
	q = weir_forward(part(&a, 0, 0), x);
	k = weir_forward(part(&a, 0, 1), x);
	v = weir_forward(part(&a, 0, 2), x);
	p = weir_zeros(a.w, WEIR_F32, 2, (int64_t[]){ TOKENS, TOKENS });
	assert_true(weir_write_f64(p, m, TOKENS * TOKENS));
	p = weir_softmax(weir_add(weir_matmul(q, weir_transpose(k, -1, -2)), p), -1);
	a.loss = weir_sum_all(weir_square(weir_forward(part(&a, 0, 3), weir_matmul(p, v))));
	weir_backward(a.loss);
	assert_true(weir_flow_step(a.f, a.loss));
	assert_true(a.s->verdict != WEIR_FLOW_SATURATED);
	assert_int_equal(weir_flow_layer_at(a.f, 0)->softmax_rows, 0);
	assert_true(isnan(weir_flow_layer_at(a.f, 0)->softmax_slope));
	close_fine(a.w);
}

/* A classifier that is sure of itself, however its loss is written. */
static void outputs_may_be_sure(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++) {
		weir_ctx *w = open_ieee(WEIR_F32);
		weir_module *l = weir_linear_new(w, WIDTH, CLASSES, WEIR_INIT_GLOROT);
		weir_flow *f = watch_all(w);
		weir_tensor *x, *z, *p, *loss, *target;

		scale_weights(l, 1e4);
		x = weir_normal(w, WEIR_F32, 2, (int64_t[]){ 8, WIDTH }, 0, 1);
		target = weir_full(w, WEIR_F32, 2, (int64_t[]){ CLASSES, 1 }, 0.5);
		z = weir_forward(l, x);
		weir_scope_begin(w, "loss");
		if (i == 4) target = weir_square(target); /* the bins' values, whose mean is the output */
		p = i == 1 ? weir_exp(weir_log_softmax(z, -1)) : weir_softmax(z, -1);
		if (i == 2) loss = weir_sum_all(weir_mul(p, weir_log_softmax(z, -1))); /* entropy */
		else if (i >= 3) loss = weir_sum_all(weir_matmul(p, target));
		else loss = weir_sum_all(weir_square(weir_affine(p, 1, -0.2)));
		weir_scope_end(w);
		weir_backward(loss);
		assert_true(weir_flow_step(f, loss));
		assert_true(weir_flow_verdict(f) < WEIR_FLOW_VANISHING);
		assert_int_equal(weir_flow_layer_at(f, 0)->softmax_rows, 0);
		close_fine(w);
	}
}

/* Over all steps of a decoder, of which each looks at one place. */
static void calls_are_taken_together(void **state)
{
	net a = make(WEIR_F32, 2, 1);
	layer *l;

	(void)state;
	run(&a, WEIR_F32, 1);
	l = a.f->layers;
	l[0].public.softmax_shut = 1;
	l[1].public.softmax_shut = 0.5;
	assert_true(weir__flow_is_shut(a.f, 0));
	assert_false(weir__flow_is_shut(a.f, 1));
	l[1].public.name = l[0].public.name;
	assert_false(weir__flow_is_shut(a.f, 0));
	l[1].public.softmax_shut = 0.61;
	assert_true(weir__flow_is_shut(a.f, 0));
	close_fine(a.w);
}

/* ---- the numbers ---- */

static const double ninf = -INFINITY;

/* softmax(z) in place of attention's, for logits given by hand: [1, 3, 4], behind a parameter of ones. */
static const weir_flow_layer *of_logits(weir_flow *f, weir_dtype dtype, const double *z, const double *added)
{
	weir_ctx *w = f->w;
	weir_tensor *s = weir_zeros(w, dtype, 2, (int64_t[]){ 3, 4 }),
		    *m = weir_zeros(w, dtype, 2, (int64_t[]){ 3, 4 }),
		    *one = weir_param_new(w, "one", dtype, 2, (int64_t[]){ 4, 4 }),
		    *eye = weir_zeros(w, dtype, 2, (int64_t[]){ 4, 4 }), *loss;
	double v[16];

	for (int i = 0; i < 16; i++) v[i] = i % 5 == 0;
	assert_true(weir_write_f64(s, z, 12) && weir_write_f64(one, v, 16) && weir_write_f64(eye, v, 16));
	s = weir_linear(s, one, NULL);
	if (added) {
		assert_true(weir_write_f64(m, added, 12));
		s = weir_add(s, m);
	}
	loss = weir_sum_all(weir_square(weir_linear(weir_softmax(s, -1), one, NULL)));
	weir_backward(loss);
	assert_true(weir_flow_step(f, loss));
	assert_fine(w);
	return weir_flow_layer_at(f, 0);
}

static void slopes_by_hand(void **state)
{
	/* p = (1/2, 1/4, 1/8, 1/8); even; one entry of 4 with next to all */
	static const double z[] = { 0.69314718055994531 * 3,
				    0.69314718055994531 * 2,
				    0.69314718055994531,
				    0.69314718055994531,
				    1,
				    1,
				    1,
				    1,
				    40,
				    0,
				    0,
				    0 };
	static const double first = (1 - (1 / 4. + 1 / 16. + 2 / 64.)) / (1 - 1 / 4.);

	(void)state;
	for (weir_dtype dtype = WEIR_F32; dtype <= WEIR_F64; dtype++) {
		weir_ctx *w = open_ieee(dtype);
		const weir_flow_layer *p = of_logits(watch_all(w), dtype, z, NULL);

		assert_int_equal(p->softmax_rows, 3);
		assert_near(p->softmax_slope, (first + 1 + 0) / 3, dtype == WEIR_F32 ? 1e-6 : 1e-14);
		assert_near(p->softmax_shut, 1 / 3., 1e-15);
		close_fine(w);
	}
}

static void masked_entries_do_not_count(void **state)
{
	static const double z[] = { 5, 5, 3, 900, 2, 1, 1, 2, 300, 0, 0, 0 };
	/* even over 2; one entry alone; 300 ahead, of two */
	static const double mask[3][12] = { { 0, 0, ninf, ninf, ninf, ninf, 0, ninf, 0, 0, ninf, ninf },
					    { 0, 0, -1e9, -1e9, -1e9, -1e9, 0, -1e9, 0, 0, -1e9, -1e9 },
					    { 7, 7, -1e4, -1e4, -1e4, -1e4, 7, -1e4, 7, 7, -1e4, -1e4 } };

	(void)state;
	for (int i = 0; i < 3; i++) {
		for (weir_dtype dtype = WEIR_F32; dtype <= WEIR_F64; dtype++) {
			weir_ctx *w = open_ieee(dtype);
			const weir_flow_layer *p = of_logits(watch_all(w), dtype, z, mask[i]);

			assert_int_equal(p->softmax_rows, 2);
			assert_near(p->softmax_slope, 0.5, 1e-6);
			assert_near(p->softmax_shut, 0.5, 1e-15);
			close_fine(w);
		}
	}
}

/* Both thresholds, just before and just beyond. */
static void thresholds(void **state)
{
	/* Two entries: slope 4 p (1 - p). */
	double z[12] = { 0 };

	(void)state;
	for (int i = 0; i < 2; i++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_flow *f = watch_all(w);
		double p = (i ? 0.24 : 0.26) * 1e-6;

		for (int r = 0; r < 3; r++) {
			z[4 * r] = log((1 - p) / p);
			z[4 * r + 2] = z[4 * r + 3] = ninf;
		}
		/* -inf from the start: the linear layer would make NaN of it */
		assert_near(of_logits(f, WEIR_F64, (double[]){ z[0], 0, 0, 0, z[0], 0, 0, 0, z[0], 0, 0, 0 },
				      (double[]){ 0, 0, ninf, ninf, 0, 0, ninf, ninf, 0, 0, ninf, ninf })
				    ->softmax_shut,
			    i, 1e-15);
		f->layers[0].public.softmax_shut = 0.79;
		assert_false(weir__flow_is_shut(f, 0));
		f->layers[0].public.softmax_shut = 0.81;
		assert_true(weir__flow_is_shut(f, 0));
		close_fine(w);
	}
}

static weir_ctx *open_freeing(void)
{
	weir_options o;

	weir_options_init(&o);
	o.handler = NULL;
	o.threads = 1;
	o.free_values = true;
	return weir_open(&o);
}

/* Where backward releases values, softmaxes are looked at before: the same verdict, layer and cause. */
static void gone_values(void **state)
{
	(void)state;
	for (int kind = 0; kind < 3; kind++) {
		net a = make_in(open_freeing(), 2, 1);

		if (kind == 1) scale_weights(part(&a, 1, 0), 1e5);
		a.unscaled = kind == 2;
		if (kind == 2) a.f->options.shut_rows = 0.3;
		for (int k = 0; k < 2 && kind == 2; k++) scale_weights(part(&a, 0, k), 3);
		run(&a, WEIR_F32, 1);
		if (kind == 0) assert_verdict(&a, WEIR_FLOW_HEALTHY, NULL, NULL, NULL);
		if (kind == 1) assert_verdict(&a, WEIR_FLOW_SATURATED, "initial weights", "net.1", "net.1");
		if (kind == 2) assert_verdict(&a, WEIR_FLOW_SATURATED, "scale of the logits", "net.0", "net.0");
		close_fine(a.w);
	}
}

/* A mask inside of the layer's scope, or made by operations there, is no score: the same rows count, with the same numbers. */
static void masks_where_values_go(void **state)
{
	(void)state;
	for (hidden m = NONE; m <= CAUSAL_LARGE; m++) {
		weir_flow_layer got[2];

		for (int frees = 0; frees < 2; frees++) {
			net a = make_in(frees ? open_freeing() : weir_open(NULL), 1, 2);
			weir_tensor *x, *p;

			a.mask = m;
			x = data(&a, WEIR_F32, 1);
			weir_scope_begin(a.w, "block");
			p = weir_softmax(masked(&a, weir_matmul(split(&a, weir_forward(part(&a, 0, 0), x)),
								weir_transpose(split(&a, x), -1, -2))),
					 -1);
			a.loss = weir_mean_all(weir_square(weir_matmul(p, split(&a, weir_forward(part(&a, 0, 2), x)))));
			weir_scope_end(a.w);
			weir_backward(a.loss);
			assert_true(weir_flow_step(a.f, a.loss));
			got[frees] = (weir_flow_layer){ 0 };
			for (int64_t i = 0; i < weir_flow_layer_count(a.f); i++) {
				if (weir_flow_layer_at(a.f, i)->softmax_rows) got[frees] = *weir_flow_layer_at(a.f, i);
			}
			close_fine(a.w);
		}
		assert_int_equal(got[0].softmax_rows, 2 * BATCH * (m == NONE ? TOKENS : TOKENS - 1));
		assert_int_equal(got[1].softmax_rows, got[0].softmax_rows);
		assert_true(got[1].softmax_slope == got[0].softmax_slope);
		assert_true(got[1].softmax_shut == got[0].softmax_shut);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(large_queries_are_seen),
		cmocka_unit_test(every_way_to_write_it),
		cmocka_unit_test(of_several_layers_the_range),
		cmocka_unit_test(without_the_root),
		cmocka_unit_test(data_that_are_large),
		cmocka_unit_test(training_that_shuts_it),
		cmocka_unit_test(healthy_ones),
		cmocka_unit_test(nothing_to_choose),
		cmocka_unit_test(outputs_may_be_sure),
		cmocka_unit_test(calls_are_taken_together),
		cmocka_unit_test(slopes_by_hand),
		cmocka_unit_test(masked_entries_do_not_count),
		cmocka_unit_test(thresholds),
		cmocka_unit_test(gone_values),
		cmocka_unit_test(masks_where_values_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
