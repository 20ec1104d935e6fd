/* test_flow_whatif.c: repairs tried on copies: against networks that are built that way, training done by hand, and closed forms; and that
 * the user's own network stays as it is. Long: many small networks. */
#include "tests/flow_check.h"

#include "kernels/fpenv.h"

enum { B = 32, IN = 16, WIDE = 24, OUT = 4, DEEP = 20 };

typedef enum style { FLAT, BLOCKS, NORMED, AROUND, AROUND_SCALED } style;

/* A stack of linear layers with an activation between them: modules beside each other, or blocks of both. */
static weir_module *stack(weir_ctx *w, weir_act act, weir_init_kind init, style s)
{
	weir_module *m = weir_list_new(w, "mlp");

	for (int i = 0; i <= DEEP; i++) {
		int64_t in = i ? WIDE : IN, out = i < DEEP ? WIDE : OUT;
		weir_module *l = weir_linear_new(w, in, out, init), *b;

		if (i == DEEP || s == FLAT) {
			weir_list_add(m, l);
			if (i < DEEP) weir_list_add(m, weir_act_new(w, act));
			continue;
		}
		b = weir_sequential_new(w, NULL);
		weir_module_add(b, "linear", l);
		if (s == NORMED) weir_module_add(b, "norm", weir_layer_norm_new(w, out, 1e-5));
		weir_module_add(b, "act", weir_act_new(w, act));
		if (s >= AROUND && in == out) b = weir_residual_new(w, b, s == AROUND ? 1 : 1 / sqrt((double)DEEP + 1));
		weir_list_add(m, b);
	}
	return m;
}

static weir_tensor *noisy(weir_ctx *w, weir_dtype dtype, int64_t rows, int64_t columns)
{
	weir_tensor *t = weir_zeros(w, dtype, 2, (int64_t[]){ rows, columns });
	double *v = malloc((size_t)(rows * columns) * sizeof *v);

	assert_non_null(v);
	for (int64_t i = 0; i < rows * columns; i++) v[i] = 1.7 * noise((int)i, 5);
	assert_true(weir_write_f64(t, v, rows * columns));
	free(v);
	return t;
}

static weir_tensor *labels(weir_ctx *w)
{
	int64_t v[B];

	for (int i = 0; i < B; i++) v[i] = i % OUT;
	return weir_from(w, WEIR_I64, 1, (int64_t[]){ B }, v);
}

static weir_tensor *loss_of(weir_module *m, weir_dtype dtype)
{
	weir_ctx *w = weir_module_context(m);
	weir_tensor *x = noisy(w, dtype, B, IN);

	return weir_cross_entropy(weir_forward(m, x), labels(w));
}

static void measure(weir_flow *f, weir_tensor *loss)
{
	weir_backward(loss);
	assert_true(weir_flow_step(f, loss));
}

static void try_all(weir_flow *f, weir_tensor *loss, int64_t steps, double lr)
{
	weir_flow_whatif_options o;

	weir_flow_whatif_options_init(&o);
	o.steps = steps;
	o.lr = lr;
	if (!weir_flow_whatif(f, loss, &o)) fail_msg("%s", weir_error_text(weir_context(loss)));
}

static const weir_flow_trial *trial_of(const weir_flow *f, weir_repair r)
{
	for (int64_t i = 0; i < weir_flow_trial_count(f); i++) {
		const weir_flow_trial *t = weir_flow_trial_at(f, i);

		if (t->repair != r) continue;
		if (!t->ok) fail_msg("%s: %s", t->name, t->error);
		return t;
	}
	fail_msg("%s was not tried", weir_repair_name(r));
	return NULL;
}

static void assert_verdict(const weir_flow *f, weir_repair r, weir_verdict want)
{
	const weir_flow_trial *t = trial_of(f, r);

	if (!t->changed && r != WEIR_REPAIR_NONE) fail_msg("%s changed nothing", t->name);
	if (t->verdict != want)
		fail_msg("%s: %s, total %g; want %s", t->name, weir_verdict_name(t->verdict), t->total_gain,
			 weir_verdict_name(want));
}

/* ---- against networks that are built that way ---- */

/* The same weights in a network that has the repair. */
static void assert_as_built(const weir_flow *f, weir_repair r, weir_dtype dtype, weir_act act, style s)
{
	weir_ctx *w = open_ieee(dtype);
	weir_flow *g = watch_all(w);
	weir_tensor *loss = loss_of(stack(w, act, WEIR_INIT_GLOROT, s), dtype);
	const weir_flow_summary *want = weir_flow_summary_of(g);
	const weir_flow_trial *got = trial_of(f, r);
	double tolerance = dtype == WEIR_F64 ? 1e-9 : 1e-4;

	measure(g, loss);
	assert_true(got->changed);
	if (!(fabs(got->total_gain / want->total_gain - 1) <= tolerance) ||
	    !(fabs(got->gain_per_layer / want->gain_per_layer - 1) <= tolerance) ||
	    !(fabs(got->loss / want->loss - 1) <= tolerance) || got->verdict != want->verdict)
		fail_msg("%s: total %.9g, per layer %.9g, loss %.9g; built so: %.9g, %.9g, %.9g", got->name,
			 got->total_gain, got->gain_per_layer, got->loss, want->total_gain, want->gain_per_layer,
			 want->loss);
	weir_flow_stop(g);
	close_fine(w);
}

static void as_built(void **state)
{
	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		weir_dtype dtype = kind & 1 ? WEIR_F64 : WEIR_F32;
		weir_ctx *w = open_ieee(dtype);
		weir_flow *f = watch_all(w);
		weir_tensor *loss =
			loss_of(stack(w, WEIR_ACT_SIGMOID, WEIR_INIT_GLOROT, kind & 2 ? FLAT : BLOCKS), dtype);
		const weir_flow_trial *none;

		measure(f, loss);
		assert_int_equal(weir_flow_trial_count(f), 0);
		assert_string_equal(weir_flow_advice(f), "");
		try_all(f, loss, 0, 0.01);
		none = weir_flow_trial_at(f, 0);
		assert_int_equal(none->repair, WEIR_REPAIR_NONE);
		assert_true(none->ok && !none->changed);
		assert_true(none->total_gain == weir_flow_summary_of(f)->total_gain); /* bit by bit */
		assert_true(none->gain_per_layer == weir_flow_summary_of(f)->gain_per_layer);
		assert_true(none->loss == weir_item(loss));
		assert_true(none->cost == 1);
		assert_int_equal(none->verdict, WEIR_FLOW_VANISHING);
		assert_as_built(f, WEIR_REPAIR_RELU, dtype, WEIR_ACT_RELU, BLOCKS);
		assert_as_built(f, WEIR_REPAIR_TANH, dtype, WEIR_ACT_TANH, BLOCKS);
		assert_as_built(f, WEIR_REPAIR_GELU, dtype, WEIR_ACT_GELU, BLOCKS);
		assert_as_built(f, WEIR_REPAIR_LAYER_NORM, dtype, WEIR_ACT_SIGMOID, NORMED);
		assert_as_built(f, WEIR_REPAIR_RESIDUAL, dtype, WEIR_ACT_SIGMOID, AROUND);
		if (!(kind & 2)) /* beside each other, too, they are DEEP + 1 layers */
			assert_as_built(f, WEIR_REPAIR_RESIDUAL_SCALED, dtype, WEIR_ACT_SIGMOID, AROUND_SCALED);
		assert_verdict(f, WEIR_REPAIR_TANH, WEIR_FLOW_HEALTHY);
		assert_verdict(f, WEIR_REPAIR_RELU_HE, WEIR_FLOW_HEALTHY);
		assert_verdict(f, WEIR_REPAIR_HE, WEIR_FLOW_VANISHING); /* no weights mend a sigmoid */
		assert_verdict(f, WEIR_REPAIR_GLOROT, WEIR_FLOW_VANISHING);
		assert_verdict(f, WEIR_REPAIR_ORTHOGONAL, WEIR_FLOW_VANISHING);
		assert_verdict(f, WEIR_REPAIR_LSUV, WEIR_FLOW_VANISHING);
		assert_verdict(f, WEIR_REPAIR_RELU, WEIR_FLOW_VANISHING); /* nor does ReLU on Glorot's */
		close_fine(w);
	}
}

/* The order is that of the measurement, and the advice is its head. */
static void order(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_tensor *loss = loss_of(stack(w, WEIR_ACT_SIGMOID, WEIR_INIT_GLOROT, BLOCKS), WEIR_F32);

	(void)state;
	measure(f, loss);
	for (int steps = 0; steps < 3; steps += 2) {
		bool mending = true;
		double last = 0;

		try_all(f, loss, steps, 0.01);
		assert_int_equal(weir_flow_trial_count(f), steps ? WEIR_REPAIR_CUSTOM : WEIR_REPAIR_CLIP);
		assert_memory_equal(weir_flow_advice(f), weir_flow_trial_at(f, 1)->name,
				    strlen(weir_flow_trial_at(f, 1)->name));
		for (int64_t i = 1; i < weir_flow_trial_count(f); i++) {
			const weir_flow_trial *t = weir_flow_trial_at(f, i);
			double d = steps ? t->loss_after : fabs(log2(t->gain_per_layer));

			if (mending && t->verdict != WEIR_FLOW_HEALTHY) {
				mending = false;
				last = 0;
			}
			assert_true(t->ok && t->changed);
			assert_true(mending == (t->verdict == WEIR_FLOW_HEALTHY));
			if (!(d >= last)) fail_msg("%s: %g after %g", t->name, d, last);
			last = d;
			assert_true(t->operations > 0 && t->cost > 0);
			assert_true(isfinite(t->loss_after) == (steps > 0));
			assert_true(isfinite(t->update_norm) == (steps > 0));
		}
		assert_false(mending);
	}
	close_fine(w);
}

static void glorot_relu(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_tensor *loss = loss_of(stack(w, WEIR_ACT_RELU, WEIR_INIT_GLOROT, FLAT), WEIR_F32);
	const weir_flow_trial *t;

	(void)state;
	measure(f, loss);
	try_all(f, loss, 0, 0.01);
	assert_verdict(f, WEIR_REPAIR_NONE, WEIR_FLOW_VANISHING);
	assert_verdict(f, WEIR_REPAIR_GLOROT, WEIR_FLOW_VANISHING);
	assert_verdict(f, WEIR_REPAIR_HE, WEIR_FLOW_HEALTHY);
	assert_near(trial_of(f, WEIR_REPAIR_HE)->gain_per_layer, 1, 0.08);
	assert_near(trial_of(f, WEIR_REPAIR_GLOROT)->gain_per_layer, sqrt(0.5), 0.08);
	for (weir_repair r = WEIR_REPAIR_RELU; r <= WEIR_REPAIR_RELU_HE; r += WEIR_REPAIR_RELU_HE - WEIR_REPAIR_RELU) {
		t = trial_of(f, r); /* it has it already; with He that is HE alone */
		assert_false(t->changed);
		assert_true(t->total_gain != t->total_gain);
	}
	assert_null(strstr(weir_flow_advice(f), "ReLU"));
	close_fine(w);
}

/* Activations of several operations are known again; a residual that is there is not added twice. */
static void nothing_to_change(void **state)
{
	static const weir_act acts[] = { WEIR_ACT_TANH, WEIR_ACT_GELU, WEIR_ACT_SILU };

	(void)state;
	for (int i = 0; i < 3; i++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_flow *f = watch_all(w);
		weir_tensor *loss = loss_of(stack(w, acts[i], WEIR_INIT_GLOROT, i == 1 ? FLAT : AROUND), WEIR_F64);

		measure(f, loss);
		try_all(f, loss, 0, 0.01);
		assert_int_equal(trial_of(f, WEIR_REPAIR_TANH)->changed, acts[i] != WEIR_ACT_TANH);
		assert_int_equal(trial_of(f, WEIR_REPAIR_GELU)->changed, acts[i] != WEIR_ACT_GELU);
		assert_true(trial_of(f, WEIR_REPAIR_RELU)->changed);
		assert_int_equal(trial_of(f, WEIR_REPAIR_RESIDUAL)->changed, i == 1);
		assert_int_equal(trial_of(f, WEIR_REPAIR_RESIDUAL_SCALED)->changed, i == 1);
		close_fine(w);
	}
}

/* ---- steps, against training by hand ---- */

/* Loss after n steps of an optimiser of nn, and the mean of the norms of its updates. */
static double train(weir_repair r, int64_t n, double lr, double clip, double l2, double *update)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_module *m = stack(w, WEIR_ACT_TANH, WEIR_INIT_HE, BLOCKS);
	weir_sgd_options o;
	weir_optim *optim;
	double loss;

	weir_sgd_options_init(&o);
	o.lr = r == WEIR_REPAIR_LOWER_LR ? lr / 10 : lr;
	if (r == WEIR_REPAIR_L2) o.weight_decay = l2;
	optim = weir_sgd_with(w, m, &o);
	*update = 0;
	for (int64_t i = 0; i < n; i++) {
		weir_tensor *y = loss_of(m, WEIR_F64);
		double norm;

		if (r == WEIR_REPAIR_L2) y = weir_add(y, weir_l2_penalty(m, l2)); /* for the norm alone */
		weir_backward(y);
		norm = weir_clip_norm(m, r == WEIR_REPAIR_CLIP ? clip : 1e300);
		if (r == WEIR_REPAIR_CLIP && norm > clip) norm = clip;
		*update += o.lr * norm / (double)n;
		if (r == WEIR_REPAIR_L2) {
			weir_optim_zero_grad(optim);
			weir_backward(loss_of(m, WEIR_F64));
		}
		assert_true(weir_optim_step(optim));
		weir_tape_reset(w);
	}
	loss = weir_item(loss_of(m, WEIR_F64));
	close_fine(w);
	return loss;
}

static void steps(void **state)
{
	static const weir_repair list[] = { WEIR_REPAIR_NONE, WEIR_REPAIR_CLIP, WEIR_REPAIR_L2, WEIR_REPAIR_LOWER_LR };
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	weir_tensor *loss = loss_of(stack(w, WEIR_ACT_TANH, WEIR_INIT_HE, BLOCKS), WEIR_F64);
	weir_flow_whatif_options o;

	(void)state;
	measure(f, loss);
	weir_flow_whatif_options_init(&o);
	o.steps = 7;
	o.lr = 0.02;
	o.clip = 0.5;
	o.l2 = 0.3;
	assert_true(weir_flow_whatif(f, loss, &o));
	for (int i = 0; i < 4; i++) {
		const weir_flow_trial *t = trial_of(f, list[i]);
		double update, want = train(list[i], o.steps, o.lr, o.clip, o.l2, &update);

		if (!(fabs(t->loss_after - want) <= 1e-10 * want) || !(fabs(t->update_norm - update) <= 1e-10 * update))
			fail_msg("%s: loss %.17g, update %.17g; by hand %.17g, %.17g", t->name, t->loss_after,
				 t->update_norm, want, update);
		assert_int_equal(t->nonfinite_steps, 0);
	}
	close_fine(w);
}

/* Growing by 3 a layer: plain descent leaves the numbers at once, clipped it goes on. */
static void exploding(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *m = weir_list_new(w, "mlp");
	weir_linear_options l;
	weir_tensor *loss;
	const weir_flow_trial *none, *clipped;

	(void)state;
	weir_linear_options_init(&l);
	l.init = WEIR_INIT_ORTHOGONAL;
	l.init_scale = 3;
	for (int i = 0; i < 12; i++) weir_list_add(m, weir_linear_with(w, IN, IN, &l));
	loss = weir_mean_all(weir_square(weir_forward(m, noisy(w, WEIR_F32, B, IN))));
	measure(f, loss);
	try_all(f, loss, 5, 0.01);
	none = trial_of(f, WEIR_REPAIR_NONE);
	clipped = trial_of(f, WEIR_REPAIR_CLIP);
	assert_int_equal(none->verdict, WEIR_FLOW_EXPLODING);
	assert_near(none->gain_per_layer, 3, 1e-4);
	assert_true(none->nonfinite_steps > 0 && none->loss_after != none->loss_after);
	assert_int_equal(clipped->nonfinite_steps, 0);
	assert_near(clipped->update_norm, 0.01, 1e-6);
	assert_true(clipped->loss_after < clipped->loss);
	assert_verdict(f, WEIR_REPAIR_ORTHOGONAL, WEIR_FLOW_HEALTHY);
	assert_near(trial_of(f, WEIR_REPAIR_ORTHOGONAL)->total_gain, 1, 1e-5);
	assert_false(trial_of(f, WEIR_REPAIR_TANH)->changed); /* there is no activation */
	close_fine(w);
}

/* ---- other networks ---- */

/* Fan-in is what a product sums over, whichever way round the weight lies. */
static void without_modules(void **state)
{
	enum { ROWS = 400, K = 64, N = 16 };

	(void)state;
	for (int transposed = 0; transposed < 2; transposed++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_flow *f = watch_all(w);
		weir_tensor *p =
			weir_param_new(w, "w", WEIR_F64, 2, transposed ? (int64_t[]){ N, K } : (int64_t[]){ K, N });
		weir_tensor *bias = weir_param_new(w, "b", WEIR_F64, 1, (int64_t[]){ N });
		weir_tensor *x = weir_normal(w, WEIR_F64, 2, (int64_t[]){ ROWS, K }, 0, 1), *loss;
		double s;

		for (int i = 0; i < N; i++) ((double *)weir_data_mut(bias, NULL))[i] = 100; /* is drawn as 0 */
		loss = weir_matmul(x, transposed ? weir_transpose(p, 0, 1) : p);
		loss = weir_mean_all(weir_square(weir_add(loss, bias)));
		s = weir_item(weir_mean_all(weir_square(x)));
		measure(f, loss);
		try_all(f, loss, 0, 0.01);
		assert_near(trial_of(f, WEIR_REPAIR_HE)->loss, 2 * s, 0.1);
		assert_near(trial_of(f, WEIR_REPAIR_GLOROT)->loss, 2 * s * K / (K + N), 0.1);
		assert_near(trial_of(f, WEIR_REPAIR_LSUV)->loss, 1, 0.02); /* variance + mean² */
		assert_false(trial_of(f, WEIR_REPAIR_RESIDUAL)->changed);  /* unequal widths */
		close_fine(w);
	}
}

/* Layers of matmul, add and an activation, without any name. */
static void plain_calls(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_tensor *x = noisy(w, WEIR_F32, B, IN), *loss;

	(void)state;
	for (int i = 0; i < 10; i++) {
		weir_tensor *p = weir_param_new(w, "", WEIR_F32, 2, (int64_t[]){ IN, IN });
		weir_tensor *b = weir_param_new(w, "", WEIR_F32, 1, (int64_t[]){ IN });

		weir_init_fill(p, WEIR_INIT_GLOROT, 1);
		x = weir_sigmoid(weir_add(weir_matmul(x, p), b));
	}
	loss = weir_mean_all(x);
	measure(f, loss);
	assert_int_equal(weir_flow_layer_count(f), 10);
	try_all(f, loss, 2, 0.01);
	assert_verdict(f, WEIR_REPAIR_NONE, WEIR_FLOW_VANISHING);
	assert_true(trial_of(f, WEIR_REPAIR_NONE)->total_gain == weir_flow_summary_of(f)->total_gain);
	assert_verdict(f, WEIR_REPAIR_TANH, WEIR_FLOW_HEALTHY);
	assert_verdict(f, WEIR_REPAIR_RESIDUAL, WEIR_FLOW_HEALTHY);
	assert_true(trial_of(f, WEIR_REPAIR_LAYER_NORM)->changed);
	/* the last activation makes the output: it stays */
	assert_true(trial_of(f, WEIR_REPAIR_TANH)->loss > 0.3);
	close_fine(w);
}

/* A cell that is called for each time step: one parameter, drawn once. */
static void recurrent(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	weir_module *cell = weir_sequential_new(w, "cell");
	weir_tensor *h = noisy(w, WEIR_F64, B, IN), *loss;

	(void)state;
	weir_module_add(cell, NULL, weir_linear_new(w, IN, IN, WEIR_INIT_GLOROT));
	weir_module_add(cell, NULL, weir_sigmoid_new(w));
	for (int t = 0; t < 20; t++) h = weir_forward(cell, h);
	loss = weir_mean_all(weir_square(h));
	measure(f, loss);
	try_all(f, loss, 3, 0.01);
	assert_true(trial_of(f, WEIR_REPAIR_NONE)->total_gain == weir_flow_summary_of(f)->total_gain);
	assert_verdict(f, WEIR_REPAIR_NONE, WEIR_FLOW_VANISHING);
	assert_verdict(f, WEIR_REPAIR_RESIDUAL_SCALED, WEIR_FLOW_HEALTHY);
	assert_verdict(f, WEIR_REPAIR_ORTHOGONAL, WEIR_FLOW_VANISHING);
	close_fine(w);

	w = open_ieee(WEIR_F64); /* linear: an orthogonal cell keeps lengths */
	f = watch_all(w);
	cell = weir_linear_new(w, IN, IN, WEIR_INIT_GLOROT);
	h = noisy(w, WEIR_F64, B, IN);
	for (int t = 0; t < 20; t++) h = weir_forward(cell, h);
	loss = weir_mean_all(weir_square(h));
	measure(f, loss);
	try_all(f, loss, 0, 0.01);
	assert_near(trial_of(f, WEIR_REPAIR_ORTHOGONAL)->total_gain, 1, 1e-10);
	close_fine(w);
}

static weir_tensor *attention(weir_module *const *m, weir_tensor *x)
{
	weir_tensor *q = weir_forward(m[0], x), *k = weir_forward(m[1], x), *v = weir_forward(m[2], x);

	q = weir_softmax(weir_affine(weir_matmul(q, weir_transpose(k, -1, -2)), 1 / sqrt((double)IN), 0), -1);
	return weir_relu(weir_forward(m[3], weir_matmul(q, v)));
}

/* Looked-up rows and frozen weights stay as they are; attention is made of products and a softmax. */
static void attending(void **state)
{
	static const char *const names[] = { "q", "k", "v", "out" };
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *m[3][4];
	weir_tensor *table = weir_param_new(w, "table", WEIR_F32, 2, (int64_t[]){ 10, IN }), *x, *loss;
	const weir_flow_trial *t;

	(void)state;
	weir_init_fill(table, WEIR_INIT_HE, 1);
	x = weir_gather(table, 0, weir_from(w, WEIR_I32, 1, (int64_t[]){ 6 }, (int32_t[]){ 1, 5, 5, 2, 9, 0 }));
	for (int i = 0; i < 3; i++) {
		for (int k = 0; k < 4; k++) {
			m[i][k] = weir_sequential_new(w, names[k]);
			weir_module_add(m[i][k], "linear", weir_linear_new(w, IN, IN, WEIR_INIT_GLOROT));
		}
		x = attention(m[i], x);
	}
	loss = weir_mean_all(weir_square(x));
	measure(f, loss);
	try_all(f, loss, 2, 0.01);
	for (int64_t i = 0; i < weir_flow_trial_count(f); i++) {
		t = weir_flow_trial_at(f, i);
		if (!t->ok) fail_msg("%s: %s", t->name, t->error);
		assert_int_equal(t->nonfinite_steps, 0);
	}
	assert_true(trial_of(f, WEIR_REPAIR_HE)->changed);
	assert_true(trial_of(f, WEIR_REPAIR_TANH)->changed);
	close_fine(w);

	w = open_ieee(WEIR_F32);
	f = watch_all(w);
	table = weir_param_new(w, "table", WEIR_F32, 2, (int64_t[]){ 10, IN });
	weir_init_fill(table, WEIR_INIT_HE, 1);
	x = weir_gather(table, 0, weir_from(w, WEIR_I32, 1, (int64_t[]){ 2 }, (int32_t[]){ 1, 5 }));
	m[0][0] = weir_linear_new(w, IN, IN, WEIR_INIT_GLOROT);
	weir_module_freeze(m[0][0], true);
	loss = weir_mean_all(weir_square(weir_forward(m[0][0], x)));
	measure(f, loss);
	try_all(f, loss, 0, 0.01);
	assert_false(trial_of(f, WEIR_REPAIR_HE)->changed);
	close_fine(w);
}

/* Neither modules nor parameters; a lone node; nothing that learns. */
static void odd_networks(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	weir_tensor *x = weir_retain_grad(noisy(w, WEIR_F64, 4, 4)), *y = x;

	(void)state;
	for (int i = 0; i < 8; i++) y = weir_sigmoid(y);
	y = weir_sum_all(y);
	measure(f, y);
	try_all(f, y, 1, 0.01);
	assert_verdict(f, WEIR_REPAIR_NONE, WEIR_FLOW_VANISHING);
	assert_false(trial_of(f, WEIR_REPAIR_HE)->changed);
	assert_verdict(f, WEIR_REPAIR_TANH, WEIR_FLOW_HEALTHY);
	assert_verdict(f, WEIR_REPAIR_RESIDUAL, WEIR_FLOW_HEALTHY);
	weir_tape_reset(w);
	y = weir_sum_all(weir_scalar(w, WEIR_F64, 2));
	measure(f, y);
	try_all(f, y, 1, 0.01);
	assert_false(trial_of(f, WEIR_REPAIR_LAYER_NORM)->changed);
	close_fine(w);
}

/* ---- the caller's own ---- */

static weir_tensor *good_model(weir_ctx *w, void *user)
{
	weir_tensor *p = weir_param_new(w, "p", WEIR_F64, 2, (int64_t[]){ 3, 3 });

	++*(int *)user;
	weir_init_fill(p, WEIR_INIT_DIAGONAL, 1);
	return weir_mean_all(weir_square(weir_matmul(weir_full(w, WEIR_F64, 2, (int64_t[]){ 2, 3 }, 2), p)));
}

static weir_tensor *too_large(weir_ctx *w, void *user)
{
	(void)user;
	return weir_sum_all(weir_zeros(w, WEIR_F64, 1, (int64_t[]){ (int64_t)1 << 52 }));
}

static weir_tensor *foreign(weir_ctx *w, void *user)
{
	(void)w;
	return user;
}

static void custom(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	weir_tensor *x = weir_scalar(w, WEIR_F64, 1), *loss = weir_sigmoid(x);
	weir_flow_whatif_options o;
	const weir_flow_trial *t;
	char name[] = "mine";
	int calls = 0;

	(void)state;
	measure(f, loss);
	weir_flow_whatif_options_init(&o);
	o.repairs = 1u << WEIR_REPAIR_CUSTOM;
	o.model = good_model;
	o.model_name = name;
	o.user = &calls;
	o.steps = 1;
	o.lr = 0.25;
	assert_true(weir_flow_whatif(f, loss, &o));
	name[0] = '?'; /* the text was copied */
	assert_int_equal(calls, 1);
	assert_int_equal(weir_flow_trial_count(f), 2);
	t = trial_of(f, WEIR_REPAIR_CUSTOM);
	assert_string_equal(t->name, "mine");
	assert_true(t->loss == 4);
	/* y_j = 2 Σ_i p_ij, dL/dp_ij = 2/6 · 2 rows · 2 · y_j = 8/3: each p falls by 2/3, each y by 4 */
	assert_near(t->loss_after, 4, 1e-12);
	assert_near(t->update_norm, 0.25 * 8, 1e-12);

	o.model = too_large;
	assert_true(weir_flow_whatif(f, loss, &o));
	assert_fine(w);
	t = weir_flow_trial_at(f, 1);
	assert_false(t->ok);
	assert_non_null(strstr(t->error, "memory"));
	o.model = foreign;
	o.user = loss;
	assert_true(weir_flow_whatif(f, loss, &o));
	t = weir_flow_trial_at(f, 1);
	assert_false(t->ok);
	assert_non_null(strstr(t->error, "context"));
	o.user = NULL;
	assert_true(weir_flow_whatif(f, loss, &o));
	assert_false(weir_flow_trial_at(f, 1)->ok);
	close_fine(w);
}

static void refusals(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64), *other = open_ieee(WEIR_F64);
	weir_flow *f = watch_all(w);
	weir_tensor *loss = weir_sigmoid(weir_scalar(w, WEIR_F64, 1));
	weir_flow_whatif_options o;

	(void)state;
	assert_false(weir_flow_whatif(NULL, loss, NULL));
	assert_int_equal(weir_flow_trial_count(NULL), 0);
	assert_null(weir_flow_trial_at(f, 0));
	measure(f, loss);
	weir_flow_whatif_options_init(&o);
	o.steps = -1;
	assert_false(weir_flow_whatif(f, loss, &o));
	assert_error(w, WEIR_ERR_ARGUMENT, "weir_flow_whatif: steps is -1");
	weir_flow_whatif_options_init(&o);
	o.lr = NAN;
	assert_false(weir_flow_whatif(f, loss, &o));
	assert_error(w, WEIR_ERR_ARGUMENT, "weir_flow_whatif: lr");
	assert_false(weir_flow_whatif(f, weir_scalar(other, WEIR_F64, 1), NULL));
	assert_error(w, WEIR_ERR_STALE, "weir_flow_whatif");
	assert_false(weir_flow_whatif(f, NULL, NULL));
	assert_error(w, WEIR_ERR_STALE, "weir_flow_whatif");
	assert_true(weir_flow_whatif(f, loss, NULL));
	assert_null(weir_flow_trial_at(f, -1));
	assert_null(weir_flow_trial_at(f, weir_flow_trial_count(f)));
	assert_string_equal(weir_repair_name(WEIR_REPAIR_RELU_HE), "ReLU + He initialisation");
	weir_tape_reset(w);
	assert_false(weir_flow_whatif(f, loss, NULL));
	assert_error(w, WEIR_ERR_STALE, "weir_flow_whatif");
	assert_int_equal(weir_close(other), 0);
	close_fine(w);
}

/* ---- untouched ---- */

static void count(const weir_event *e, void *user)
{
	(void)e;
	++*(int *)user;
}

static uint64_t mix(uint64_t h, const void *data, size_t n)
{
	for (size_t i = 0; i < n; i++) h = (h ^ ((const unsigned char *)data)[i]) * UINT64_C(1099511628211);
	return h;
}

static uint64_t mix_tensor(uint64_t h, const weir_tensor *t)
{
	return t ? mix(h, weir_data(t), (size_t)weir_numel(t) * weir_dtype_size(weir_dtype_of(t))) : h * 31;
}

/* All that a step may leave: weights, accumulated gradients, momentum, the tape with its retained gradients, the flow's own numbers. */
static uint64_t everything(const weir_ctx *w, const weir_module *m, const weir_optim *optim, const weir_flow *f)
{
	uint64_t h = 7;

	for (int64_t i = 0; i < weir_module_parameter_count(m); i++) {
		const weir_tensor *p = weir_module_parameter(m, i);

		h = mix_tensor(mix_tensor(h, p), weir_grad_of(p));
		h = mix_tensor(h, weir_optim_state(optim, p, 0));
	}
	for (int64_t i = 0; i < weir_tape_length(w); i++) {
		const weir_tensor *t = weir_tape_at(w, i);
		double norm = weir_grad_norm(t);

		h = mix(h, &t, sizeof t);
		if (t && !weir_node(t).released) h = mix_tensor(h, t);
		h = mix(h, &norm, sizeof norm);
	}
	for (int64_t i = 0; i < weir_flow_layer_count(f); i++)
		h = mix(h, &weir_flow_layer_at(f, i)->gain, sizeof(double));
	return mix(h, weir_flow_summary_of(f), sizeof(weir_flow_summary));
}

static void untouched(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32), *same = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_module *m = stack(w, WEIR_ACT_SIGMOID, WEIR_INIT_GLOROT, FLAT);
	weir_optim *optim = weir_sgd_new(w, m, 0.1, 0.9);
	weir_tensor *loss;
	weir_memory before, after;
	weir_fp_state fp, now;
	uint64_t was;
	int calls = 0, seen;

	(void)state;
	stack(same, WEIR_ACT_SIGMOID, WEIR_INIT_GLOROT, FLAT);
	weir_on_grad(w, count, &calls, NULL);
	weir_on_forward(w, count, &calls, NULL);
	weir_backward(loss_of(m, WEIR_F32));
	weir_optim_step(optim);
	weir_tape_reset(w);
	loss = loss_of(m, WEIR_F32);
	measure(f, loss);
	try_all(f, loss, 0, 0.01); /* takes its own memory */
	was = everything(w, m, optim, f);
	seen = calls;
	before = weir_memory_of(w);
	weir__fp_raise(WEIR_FP_DIVZERO);
	fp = weir__fp_save();
	weir_scope_begin(w, "open");
	try_all(f, loss, 3, 0.1);
	weir_scope_end(w);
	now = weir__fp_save();
	assert_memory_equal(&now, &fp, sizeof fp);
	weir__fp_clear();
	after = weir_memory_of(w);
	assert_true(everything(w, m, optim, f) == was);
	assert_int_equal(calls, seen);
	assert_memory_equal(&after, &before, sizeof after);
	assert_true(weir_random_stream(w) == weir_random_stream(same));
	assert_true(weir_is_recording(w));
	close_fine(same);
	close_fine(w);
}

/* A step that was measured thinly, or not at all, and values that backward released: the copy measures for itself. */
static void whatever_was_measured(void **state)
{
	weir_options o;
	weir_flow_options fo;
	weir_ctx *w;
	weir_flow *f;
	weir_module *m;
	weir_tensor *loss;

	(void)state;
	weir_options_init(&o);
	o.handler = NULL;
	o.free_values = true;
	o.threads = 2;
	w = weir_open(&o);
	weir_flow_options_init(&fo);
	fo.every = 1000;
	f = weir_flow_watch(w, &fo);
	m = stack(w, WEIR_ACT_SIGMOID, WEIR_INIT_GLOROT, BLOCKS);
	for (int i = 0; i < 3; i++) {
		weir_tape_reset(w);
		loss = loss_of(m, WEIR_F32);
		if (i == 1) { /* before any backward */
			try_all(f, loss, 0, 0.01);
			assert_verdict(f, WEIR_REPAIR_NONE, WEIR_FLOW_VANISHING);
		}
		measure(f, loss);
	}
	try_all(f, loss, 0, 0.01);
	assert_verdict(f, WEIR_REPAIR_NONE, WEIR_FLOW_VANISHING);
	assert_verdict(f, WEIR_REPAIR_TANH, WEIR_FLOW_HEALTHY);
	close_fine(w);
}

/* The report holds what was tried, and says so where nothing was. */
static void reported(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_all(w);
	weir_tensor *loss = loss_of(stack(w, WEIR_ACT_SIGMOID, WEIR_INIT_GLOROT, BLOCKS), WEIR_F32);
	char *text = NULL;
	size_t size = 0;
	FILE *file;

	(void)state;
	measure(f, loss);
	for (int form = 0; form < 4; form++) {
		if (form == 2) try_all(f, loss, 0, 0.01);
		assert_non_null(file = open_memstream(&text, &size));
		assert_true(weir_flow_report(f, file, form & 1 ? WEIR_FLOW_JSON : WEIR_FLOW_TABLE, NULL));
		fclose(file);
		if (form == 0) assert_null(strstr(text, "what-if"));
		if (form == 1) assert_non_null(strstr(text, "\"whatif\": null"));
		if (form >= 2) assert_non_null(strstr(text, weir_flow_advice(f)));
		if (form == 2) assert_non_null(strstr(text, "\nwhat-if  (same batch, 1 forward + backward each)"));
		if (form == 3) assert_non_null(strstr(text, "\"repair\": \"ReLU + He initialisation\""));
		free(text);
		text = NULL;
	}
	close_fine(w);
}

/* What a copy computes is counted, so it is the same however busy the machine is. */
static void cost_by_hand(void **state)
{
	static const double layers = 2. * B * (IN * WIDE + (DEEP - 1) * WIDE * WIDE + WIDE * OUT),
			    units = (double)DEEP * B * WIDE;
	double first = 0;

	(void)state;
	for (int run = 0; run < 2; run++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_flow *f = watch_all(w);
		weir_tensor *loss = loss_of(stack(w, WEIR_ACT_RELU, WEIR_INIT_HE, FLAT), WEIR_F64);
		const weir_flow_trial *none, *wide;

		measure(f, loss);
		try_all(f, loss, 0, 0.01);
		none = trial_of(f, WEIR_REPAIR_NONE);
		wide = trial_of(f, WEIR_REPAIR_RESIDUAL);
		assert_near(none->operations, layers + units + B * OUT, 0);
		assert_near(wide->operations, none->operations + (DEEP - 1) * B * WIDE, 0);
		assert_near(wide->cost, wide->operations / none->operations, 1e-15);
		assert_true(trial_of(f, WEIR_REPAIR_HE)->cost == 1);
		if (run) assert_true(trial_of(f, WEIR_REPAIR_LAYER_NORM)->cost == first);
		first = trial_of(f, WEIR_REPAIR_LAYER_NORM)->cost;
		assert_true(first > 1 && first < 2);
		close_fine(w);
	}
}

/* Advice does not contradict a verdict that this pass alone does not show. */
static void dead_for_an_epoch(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_flow *f;
	weir_flow_options o;
	weir_module *m = weir_sequential_new(w, "mlp"), *l[2];
	weir_tensor *x, *loss = NULL;

	(void)state;
	weir_flow_options_init(&o);
	o.every = 1;
	o.budget = 0;
	o.dead_units = 0.4;
	f = weir_flow_watch(w, &o);
	for (int i = 0; i < 2; i++) weir_module_add(m, NULL, l[i] = weir_linear_new(w, IN, IN, WEIR_INIT_HE));
	for (int i = 0; i < IN / 2; i++) ((double *)weir_data_mut(weir_module_parameter(l[0], 1), NULL))[i] = -1e3;
	for (int step = 0; step < 2; step++) {
		weir_tape_reset(w);
		x = weir_relu(weir_forward(l[0], noisy(w, WEIR_F64, B, IN)));
		loss = weir_sum_all(weir_square(weir_forward(l[1], x)));
		measure(f, loss);
		try_all(f, loss, 0, 0.01);
		if (!step) assert_string_equal(weir_flow_advice(f), "nothing to mend");
		if (!step) weir_flow_epoch(f);
	}
	assert_int_equal(weir_flow_verdict(f), WEIR_FLOW_DEAD);
	assert_int_equal(trial_of(f, WEIR_REPAIR_NONE)->verdict, WEIR_FLOW_HEALTHY);
	assert_string_equal(weir_flow_advice(f),
			    "this pass alone is healthy, so no repair can be tried against what made the verdict dead");
	close_fine(w);
}

/* ---- the caller's allocator ---- */

typedef struct counted {
	int64_t calls, open;
} counted;

static void *count_alloc(void *user, size_t size, size_t align)
{
	counted *c = user;

	c->calls++;
	c->open++;
	return aligned_alloc(align, (size + align - 1) / align * align);
}

static void count_free(void *user, void *p, size_t size)
{
	counted *c = user;

	(void)size;
	c->open--;
	free(p);
}

/* Copies take their memory where the user's context does. */
static void by_his_allocator(void **state)
{
	counted c = { 0 };
	weir_options o;
	weir_ctx *w;
	weir_flow *f;
	weir_tensor *loss;
	int64_t before, own;

	(void)state;
	weir_options_init(&o);
	o.handler = NULL;
	o.allocator = (weir_allocator){ count_alloc, count_free, &c };
	w = weir_open(&o);
	f = watch_all(w);
	loss = loss_of(stack(w, WEIR_ACT_TANH, WEIR_INIT_GLOROT, FLAT), WEIR_F32);
	measure(f, loss);
	before = c.open;
	own = c.calls - (int64_t)weir_memory_of(w).allocator_calls;
	try_all(f, loss, 0, 0.01);
	own = c.calls - (int64_t)weir_memory_of(w).allocator_calls - own;
	if (own < 2 * weir_flow_trial_count(f)) fail_msg("%lld calls for the copies", (long long)own);
	assert_in_range(c.open - before, 0, 4); /* the trials' list; copies gave all back */
	close_fine(w);
	assert_int_equal(c.open, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_built),
		cmocka_unit_test(order),
		cmocka_unit_test(glorot_relu),
		cmocka_unit_test(nothing_to_change),
		cmocka_unit_test(steps),
		cmocka_unit_test(exploding),
		cmocka_unit_test(without_modules),
		cmocka_unit_test(plain_calls),
		cmocka_unit_test(recurrent),
		cmocka_unit_test(attending),
		cmocka_unit_test(odd_networks),
		cmocka_unit_test(custom),
		cmocka_unit_test(refusals),
		cmocka_unit_test(untouched),
		cmocka_unit_test(whatever_was_measured),
		cmocka_unit_test(reported),
		cmocka_unit_test(cost_by_hand),
		cmocka_unit_test(dead_for_an_epoch),
		cmocka_unit_test(by_his_allocator),
	};

	return cmocka_run_group_tests_name("flow_whatif", tests, NULL, NULL);
}
