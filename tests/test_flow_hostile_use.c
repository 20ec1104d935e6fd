/* test_flow_hostile_use.c: the instrument used wrongly, at the wrong moment, or beside others: bad arguments to every public function, steps
 * without a backward pass or with two, hooks that replace and remove, flows that end between steps; and that results are the same to the
 * last bit whatever is measured, and nothing is allocated in a steady step. Long: one small case after the other. */
#include "tests/hostile_check.h"

typedef struct net {
	weir_ctx *w;
	weir_module *m;
	weir_tensor *x;
} net;

static weir_module *mlp_from(weir_ctx *w, int layers, int first)
{
	static const weir_act acts[] = { WEIR_ACT_RELU, WEIR_ACT_TANH, WEIR_ACT_GELU };
	weir_module *m = weir_sequential_new(w, "mlp");

	for (int i = 0; i < layers; i++) {
		weir_module_add(m, NULL, weir_linear_new(w, 6, 6, WEIR_INIT_GLOROT));
		weir_module_add(m, NULL, weir_act_new(w, acts[(i + first) % 3]));
	}
	return m;
}

static weir_module *mlp(weir_ctx *w, int layers)
{
	return mlp_from(w, layers, 0);
}

static weir_tensor *batch(weir_ctx *w, int step)
{
	weir_tensor *x = weir_zeros(w, WEIR_F32, 2, (int64_t[]){ 8, 6 });
	double v[48];

	for (int i = 0; i < 48; i++) v[i] = noise(i, step);
	assert_true(weir_write_f64(x, v, 48));
	return x;
}

static net begin(void)
{
	net n = { .w = open_ieee(WEIR_F32) };

	n.m = mlp(n.w, 3);
	return n;
}

static weir_tensor *loss_of(net *n, int step)
{
	n->x = batch(n->w, step);
	return weir_mean_all(weir_square(weir_forward(n->m, n->x)));
}

static weir_tensor *loss_on(weir_ctx *w, weir_tensor *x, weir_tensor *y, void *user)
{
	(void)w;
	return weir_mse(weir_forward(user, x), y);
}

static weir_tensor *returns_null(weir_ctx *w, weir_tensor *x, weir_tensor *y, void *user)
{
	(void)w, (void)x, (void)y, (void)user;
	return NULL;
}

static weir_tensor *of_another(weir_ctx *w, weir_tensor *x, weir_tensor *y, void *user)
{
	(void)w, (void)x, (void)y;
	return user;
}

/* ---- arguments ---- */

static void no_flow(void **state)
{
	weir_flow_unit u;
	weir_flow_node n;
	weir_ctx *w = open_ieee(WEIR_F32);

	(void)state;
	assert_null(weir_flow_watch(NULL, NULL));
	weir_flow_stop(NULL);
	assert_false(weir_flow_step(NULL, weir_scalar(w, WEIR_F32, 1)));
	assert_false(weir_flow_stopped(NULL));
	weir_flow_request(NULL);
	weir_flow_epoch(NULL);
	weir_flow_validation(NULL, 1, 1, 1);
	assert_int_equal(weir_flow_layer_count(NULL), 0);
	assert_null(weir_flow_layer_at(NULL, 0));
	assert_null(weir_flow_summary_of(NULL));
	assert_int_equal(weir_flow_verdict(NULL), WEIR_FLOW_NONE);
	assert_int_equal(weir_flow_whole_count(NULL), 0);
	assert_null(weir_flow_whole_at(NULL, 0));
	assert_false(weir_flow_unit_of(NULL, 0, 0, &u));
	assert_false(weir_flow_report(NULL, stdout, WEIR_FLOW_TABLE, NULL));
	assert_false(weir_flow_node_of(NULL, 0, &n));
	assert_false(weir_flow_whatif(NULL, weir_scalar(w, WEIR_F32, 1), NULL));
	assert_int_equal(weir_flow_trial_count(NULL), 0);
	assert_null(weir_flow_trial_at(NULL, 0));
	assert_string_equal(weir_flow_advice(NULL), "");
	assert_false(weir_flow_record(NULL, WEIR_FLOW_RING, "x"));
	assert_false(weir_flow_read_ring(NULL, "x", stdout, false));
	assert_false(weir_dot_print(NULL, NULL, stdout));
	assert_false(weir_dot_write(NULL, "x"));
	assert_false(weir_dot_write_flow(NULL, NULL, "x"));
	assert_string_equal(weir_verdict_name((weir_verdict)99), "?");
	assert_string_equal(weir_loss_sign_name((weir_loss_sign)-1), "?");
	assert_string_equal(weir_repair_name((weir_repair)-1), "?");
	close_fine(w);
}

static void bad_losses(void **state)
{
	net n = begin(), other = begin();
	weir_flow *f = watch_everything(n.w, 1);
	weir_tensor *loss = loss_of(&n, 0), *many = weir_forward(n.m, n.x), *theirs = loss_of(&other, 0), *constant;

	(void)state;
	weir_backward(loss);
	assert_false(weir_flow_step(f, NULL));
	assert_error(n.w, WEIR_ERR_STALE, "weir_flow_step");
	assert_false(weir_flow_step(f, theirs));
	assert_error(n.w, WEIR_ERR_STALE, "weir_flow_step");
	assert_fine(other.w);
	assert_false(weir_flow_step(f, weir_sum_all(NULL)));
	weir_clear_error(n.w);
	assert_false(weir_flow_step(f, weir_module_parameter(n.m, 99)));
	weir_clear_error(n.w);
	/* several numbers are no loss */
	assert_false(weir_flow_step(f, many));
	assert_error(n.w, WEIR_ERR_SHAPE, "weir_flow_step: the loss has");
	assert_false(weir_flow_step(f, weir_argmax(many, 1, false)));
	assert_error(n.w, WEIR_ERR_SHAPE, "weir_flow_step: the loss has");
	/* no result, or not a number: they can be measured */
	constant = weir_scalar(n.w, WEIR_F64, NAN);
	assert_true(weir_flow_step(f, constant));
	check_outputs(n.w, f);
	assert_true(weir_flow_step(f, loss));
	assert_int_equal(weir_flow_layer_count(f), 3);
	weir_tape_reset(n.w);
	assert_false(weir_flow_step(f, loss));
	assert_error(n.w, WEIR_ERR_STALE, "before weir_tape_reset()");
	close_fine(n.w);
	close_fine(other.w);
}

static void bad_places(void **state)
{
	net n = begin();
	weir_flow *f = watch_everything(n.w, 1);
	weir_tensor *loss = loss_of(&n, 0);
	weir_flow_unit u;
	weir_flow_node node;

	(void)state;
	check_outputs(n.w, f); /* nothing measured */
	weir_backward(loss);
	weir_flow_step(f, loss);
	for (int k = 0; k < 4; k++) {
		int64_t i = (int64_t[]){ -1, INT64_MIN, INT64_MAX, 1000000 }[k];

		assert_null(weir_flow_layer_at(f, i));
		assert_null(weir_flow_whole_at(f, i));
		assert_null(weir_flow_trial_at(f, i));
		assert_false(weir_flow_unit_of(f, i, 0, &u));
		assert_false(weir_flow_unit_of(f, 0, i, &u));
		assert_false(weir_flow_node_of(f, i, &node));
	}
	assert_false(weir_flow_report(f, NULL, WEIR_FLOW_TABLE, NULL));
	assert_error(n.w, WEIR_ERR_ARGUMENT, "file is NULL");
	assert_false(weir_flow_report(f, stdout, (weir_flow_form)77, NULL));
	assert_error(n.w, WEIR_ERR_ARGUMENT, "no such form");
	assert_false(weir_flow_record(f, (weir_flow_recorder)7, "x"));
	assert_error(n.w, WEIR_ERR_ARGUMENT, "recorder");
	assert_false(weir_flow_record(f, WEIR_FLOW_RING, NULL));
	assert_error(n.w, WEIR_ERR_ARGUMENT, "path");
	assert_false(weir_flow_record(f, WEIR_FLOW_JSON_LINES, ""));
	assert_error(n.w, WEIR_ERR_ARGUMENT, "path");
	for (weir_flow_recorder k = WEIR_FLOW_JSON_LINES; k <= WEIR_FLOW_RING; k++) {
		assert_false(weir_flow_record(f, k, "/proc/no/such/place"));
		assert_error(n.w, WEIR_ERR_IO, "/proc/no");
	}
	assert_false(weir_flow_read_ring(n.w, NULL, stdout, false));
	assert_error(n.w, WEIR_ERR_ARGUMENT, "NULL");
	assert_false(weir_flow_read_ring(n.w, "no such file", stdout, false));
	assert_error(n.w, WEIR_ERR_IO, "no such file");
	assert_false(weir_flow_read_ring(n.w, ".", stdout, true));
	weir_clear_error(n.w);
	assert_false(weir_dot_write(n.w, NULL));
	assert_error(n.w, WEIR_ERR_ARGUMENT, "NULL");
	assert_false(weir_dot_write(n.w, "/proc/no/such/place"));
	assert_error(n.w, WEIR_ERR_IO, "/proc/no");
	assert_false(weir_dot_print(n.w, f, NULL));
	close_fine(n.w);
}

/* A stream that takes nothing. */
static void full_disks(void **state)
{
	net n = begin();
	weir_flow *f = watch_everything(n.w, 1);
	weir_tensor *loss = loss_of(&n, 0);

	(void)state;
	weir_backward(loss);
	weir_flow_step(f, loss);
	if (access("/dev/full", W_OK)) skip();
	for (int form = WEIR_FLOW_TABLE; form <= WEIR_FLOW_HTML; form++) {
		FILE *full = fopen("/dev/full", "w");

		assert_non_null(full);
		assert_false(weir_flow_report(f, full, (weir_flow_form)form, NULL));
		assert_error(n.w, WEIR_ERR_IO, "weir_flow_report");
		assert_false(weir_dot_print(n.w, f, full));
		assert_error(n.w, WEIR_ERR_IO, "weir_dot_print");
		fclose(full);
	}
	assert_true(weir_flow_record(f, WEIR_FLOW_JSON_LINES, "/dev/full"));
	weir_flow_request(f);
	assert_false(weir_flow_step(f, loss));
	assert_error(n.w, WEIR_ERR_IO, "/dev/full");
	assert_true(weir_flow_step(f, loss)); /* it has stopped, the flow has not */
	close_fine(n.w);
}

static void bad_requests(void **state)
{
	net n = begin(), other = begin();
	weir_tensor *loss = loss_of(&n, 0), *p = weir_module_parameter(n.m, 0), *y = weir_forward(n.m, n.x);
	weir_tensor *theirs = weir_module_parameter(other.m, 0),
		    *whole = weir_zeros(n.w, WEIR_I64, 1, (int64_t[]){ 8 });
	weir_tensor *list[2] = { p, NULL };
	weir_flow_interval s;
	weir_flow_noise q;
	weir_flow_curvature c;
	double norms[8];

	(void)state;
#define REFUSED(call)                                                                                         \
	do {                                                                                                  \
		if (call) fail_msg("%s: was not refused", #call);                                             \
		if (!weir_ok(n.w) && !weir_error_text(n.w)[0]) fail_msg("%s: an error without words", #call); \
		weir_clear_error(n.w);                                                                        \
		weir_clear_error(other.w);                                                                    \
	} while (0)
	REFUSED(weir_flow_stretch(NULL, NULL, 3, 0, 9, NULL, &s));
	REFUSED(weir_flow_stretch(NULL, y, 3, 0, 9, NULL, &s));
	REFUSED(weir_flow_stretch(y, y, 3, 0, 9, NULL, NULL));
	REFUSED(weir_flow_stretch(n.x, NULL, 3, 0, 9, NULL, &s));
	REFUSED(weir_flow_stretch(n.x, y, 0, 0, 9, NULL, &s));
	REFUSED(weir_flow_stretch(n.x, y, -1, 0, 9, NULL, &s));
	REFUSED(weir_flow_stretch(theirs, y, 3, 0, 9, NULL, &s));
	REFUSED(weir_flow_stretch(n.x, theirs, 3, 0, 9, NULL, &s));
	REFUSED(weir_flow_stretch(whole, y, 3, 0, 9, NULL, &s));
	REFUSED(weir_flow_stretch(n.x, whole, 3, 0, 9, NULL, &s));
	assert_true(weir_flow_stretch(n.x, y, 1, NAN, INT64_MIN, NULL, &s));
	assert_true(isnan(s.high) && s.low > 0);
	assert_true(weir_flow_stretch(p, y, 1, -1, INT64_MAX, NULL, &s));
	REFUSED(weir_flow_noise_of(NULL, n.x, y, loss_on, n.m, list, 1, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, NULL, y, loss_on, n.m, list, 1, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, n.x, NULL, loss_on, n.m, list, 1, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, n.x, y, NULL, n.m, list, 1, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, n.x, y, loss_on, n.m, NULL, 1, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, n.x, y, loss_on, n.m, list, 0, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, n.x, y, loss_on, n.m, list, -5, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, n.x, y, loss_on, n.m, list, 2, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, n.x, y, loss_on, n.m, &theirs, 1, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, n.x, y, loss_on, n.m, &whole, 1, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, n.x, weir_slice(y, 0, 0, 3, 1), loss_on, n.m, list, 1, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, loss, loss, loss_on, n.m, list, 1, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, n.x, y, returns_null, n.m, list, 1, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, n.x, y, of_another, theirs, list, 1, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, n.x, y, of_another, y, list, 1, norms, &q));
	REFUSED(weir_flow_noise_of(n.w, theirs, theirs, loss_on, n.m, list, 1, norms, &q));
	assert_true(weir_flow_noise_of(n.w, n.x, y, loss_on, n.m, list, 1, NULL, &q));
	REFUSED(weir_flow_curvature_of(NULL, list, 1, 1, 0, 1, &c));
	REFUSED(weir_flow_curvature_of(loss, NULL, 1, 1, 0, 1, &c));
	REFUSED(weir_flow_curvature_of(loss, list, 0, 1, 0, 1, &c));
	REFUSED(weir_flow_curvature_of(loss, list, -1, 1, 0, 1, &c));
	REFUSED(weir_flow_curvature_of(loss, list, 2, 1, 0, 1, &c));
	REFUSED(weir_flow_curvature_of(loss, &theirs, 1, 1, 0, 1, &c));
	REFUSED(weir_flow_curvature_of(loss, &whole, 1, 1, 0, 1, &c));
	REFUSED(weir_flow_curvature_of(y, list, 1, 1, 0, 1, &c));
	assert_true(weir_flow_curvature_of(loss, list, 1, -1, NAN, -1, &c));
	assert_true(isnan(c.top) && isnan(c.trace));
	assert_fine(n.w);
	assert_true(weir_is_recording(n.w));
	close_fine(n.w);
	close_fine(other.w);
}

static weir_tensor *bad_model(weir_ctx *w, void *user)
{
	(void)w;
	return user;
}

static void bad_whatifs(void **state)
{
	net n = begin(), other = begin();
	weir_flow *f = watch_everything(n.w, 1);
	weir_tensor *loss = loss_of(&n, 0), *theirs = loss_of(&other, 0);
	weir_flow_whatif_options o;

	(void)state;
	weir_flow_whatif_options_init(&o);
	REFUSED(weir_flow_whatif(f, NULL, NULL));
	REFUSED(weir_flow_whatif(f, theirs, NULL));
	REFUSED(weir_flow_whatif(f, weir_module_parameter(n.m, 0), NULL));
	o.steps = -1;
	REFUSED(weir_flow_whatif(f, loss, &o));
	o.steps = 0;
	o.lr = NAN;
	REFUSED(weir_flow_whatif(f, loss, &o));
	o.lr = 1;
	o.clip = 0;
	REFUSED(weir_flow_whatif(f, loss, &o));
	weir_flow_whatif(f, weir_forward(n.m, n.x), NULL); /* a loss of many elements */
	weir_clear_error(n.w);
	check_outputs(n.w, f);
	weir_flow_whatif_options_init(&o);
	o.repairs |= 1u << WEIR_REPAIR_CUSTOM;
	REFUSED(weir_flow_whatif(f, loss, &o)); /* without a model */
	o.model = bad_model;
	o.model_name = "a\nb\x1b[2J\xff, longer than it may be: 12345678901234567890123456789012345678901234567890";
	for (int k = 0; k < 2; k++) {
		o.user = k ? theirs : NULL;
		assert_true(weir_flow_whatif(f, loss, &o));
		assert_int_equal(weir_flow_trial_count(f), 13);
		check_outputs(n.w, f);
	}
	o.repairs = 0;
	assert_true(weir_flow_whatif(f, loss, &o));
	assert_int_equal(weir_flow_trial_count(f), 2); /* a model is tried always */
	o.model = NULL;
	assert_true(weir_flow_whatif(f, loss, &o));
	assert_int_equal(weir_flow_trial_count(f), 1);
	o.model = bad_model;
	o.lr = 1e300;
	o.steps = 3;
	o.repairs = UINT32_MAX;
	REFUSED(weir_flow_whatif(f, loss, &o)); /* no such repairs */
	o.repairs = (1u << WEIR_REPAIR_COUNT) - 1;
	assert_true(weir_flow_whatif(f, loss, &o));
	check_outputs(n.w, f);
	close_fine(n.w);
	close_fine(other.w);
}

/* Numbers of steps and thresholds that make no sense are refused, and the context goes on. */
static void senseless_options(void **state)
{
	static const double shares[] = { NAN, -1, 0 };
	net n = begin();

	(void)state;
	for (int k = 0; k < 3; k++) {
		for (int which = 0; which < 19; which++) {
			weir_flow_options o = all_options(1);
			double *const thresholds[] = { &o.vanishing,       &o.exploding,  &o.dead_share,
						       &o.dead_units,      &o.spike,      &o.saturated_slope,
						       &o.saturated_share, &o.flat_slope, &o.fair_share,
						       &o.flat_derivative, &o.main_share, &o.fair_gain,
						       &o.large_input };
			int64_t *const counts[] = { &o.every, &o.window, &o.epoch, &o.classes };

			if (which < 13) *thresholds[which] = shares[k];
			else if (which < 17) *counts[which - 13] = -1 - k;
			else if (which < 18) o.budget = k ? -1 : NAN;
			else o.exploding = o.vanishing;
			if (weir_flow_watch(n.w, &o)) fail_msg("option %d was taken, round %d", which, k);
			assert_error(n.w, WEIR_ERR_ARGUMENT, "weir_flow_watch");
		}
	}
	assert_non_null(weir_flow_watch(n.w, NULL));
	close_fine(n.w);
}

/* A window that no memory is large enough for is an error of that kind, whatever 8 · its length wraps to. */
static void window_without_end(void **state)
{
	static const int64_t lengths[] = { INT64_MAX, INT64_C(1) << 61, (INT64_C(1) << 61) + 1, INT64_C(1) << 50 };

	(void)state;
	for (int k = 0; k < 4; k++) {
		weir_options options;
		weir_flow_options o = all_options(1);
		net n = { .w = NULL };
		weir_tensor *loss;
		weir_flow *f;

		weir_options_init(&options);
		options.handler = NULL;
		options.memory_limit = 1 << 26;
		n.w = weir_open(&options);
		n.m = mlp(n.w, 2);
		o.window = lengths[k];
		f = weir_flow_watch(n.w, &o);
		loss = loss_of(&n, 0);
		weir_backward(loss);
		assert_false(weir_flow_step(f, loss));
		assert_error(n.w, WEIR_ERR_MEMORY, "");
		close_fine(n.w);
	}
}

/* ---- moments ---- */

static void backward_or_not(void **state)
{
	net n = begin();
	weir_flow *f = watch_everything(n.w, 2);

	(void)state;
	for (int step = 0; step < 24; step++) {
		weir_tensor *loss = loss_of(&n, step), *other = weir_sum_all(weir_forward(n.m, n.x));

		if (step % 4 > 0) weir_backward(loss);
		if (step % 4 > 1) weir_backward(other);
		if (step % 4 > 2) weir_backward(loss);
		weir_flow_step(f, loss);
		if (step % 3 == 1) weir_flow_step(f, other);
		assert_fine(n.w);
		check_outputs(n.w, f);
		weir_tape_reset(n.w);
	}
	close_fine(n.w);
}

static weir_tensor *doubled(const weir_event *e, void *user)
{
	int *calls = user;

	++*calls;
	return *calls % 7 ? weir_affine(e->value, 2, 0) : weir_affine(e->value, NAN, 0);
}

typedef struct removal {
	weir_hook *hook, *own;
	int calls;
} removal;

static void remove_hooks(const weir_event *e, void *user)
{
	removal *r = user;

	(void)e;
	if (++r->calls != 5) return;
	weir_hook_remove(r->hook);
	weir_hook_remove(r->own);
}

static void hooks_beside_it(void **state)
{
	net n = begin();
	weir_flow *f = watch_everything(n.w, 2);
	weir_hook_options h;
	removal r = { .calls = 0 };
	int calls = 0;

	(void)state;
	weir_hook_options_init(&h);
	h.replace = doubled;
	h.user = &calls;
	weir_hook_add(n.w, NULL, &h);
	r.hook = weir_on_grad(n.w, remove_hooks, &r, NULL);
	r.own = weir_on_forward(n.w, remove_hooks, &r, NULL);
	h.forward = true;
	r.hook = weir_hook_add(n.w, NULL, &h);
	for (int step = 0; step < 8; step++) {
		weir_tensor *loss = loss_of(&n, step);

		weir_backward(loss);
		assert_true(weir_flow_step(f, loss));
		check_outputs(n.w, f);
		weir_tape_reset(n.w);
	}
	close_fine(n.w);
}

typedef struct inside {
	weir_flow *f;
} inside;

static void step_in_hook(const weir_event *e, void *user)
{
	inside *i = user;

	if (e->index % 2) return;
	weir_flow_request(i->f);
	weir_flow_epoch(i->f);
	weir_flow_validation(i->f, 1, 2, 3);
}

static void requests_at_any_moment(void **state)
{
	net n = begin();
	weir_flow *f = watch_everything(n.w, 5);
	inside i = { .f = f };

	(void)state;
	weir_on_grad(n.w, step_in_hook, &i, NULL);
	weir_on_forward(n.w, step_in_hook, &i, NULL);
	for (int step = 0; step < 10; step++) {
		weir_tensor *loss;

		if (step % 2) weir_flow_request(f);
		loss = loss_of(&n, step);
		if (step % 3) weir_flow_request(f);
		weir_backward(loss);
		weir_flow_request(f);
		assert_true(weir_flow_step(f, loss));
		assert_int_equal(weir_flow_summary_of(f)->measured, step);
		weir_flow_request(f);
		weir_flow_epoch(f);
		check_outputs(n.w, f);
		if (step % 4) weir_tape_reset(n.w);
	}
	close_fine(n.w);
}

/* Flows begin and end between and within steps; the others see the same. */
static void flows_come_and_go(void **state)
{
	net n = begin();
	weir_flow *stays = watch_everything(n.w, 1), *goes = NULL, *third;

	(void)state;
	for (int step = 0; step < 12; step++) {
		weir_tensor *loss;

		if (step % 3 == 0) goes = watch_everything(n.w, 1 + step % 2);
		loss = loss_of(&n, step);
		third = watch_everything(n.w, 1); /* in the middle of a step */
		weir_backward(loss);
		assert_true(weir_flow_step(stays, loss));
		assert_true(weir_flow_step(third, loss));
		if (step % 3 == 2) weir_flow_stop(goes);
		else assert_true(weir_flow_step(goes, loss));
		weir_flow_stop(third);
		assert_int_equal(weir_flow_layer_count(stays), 3);
		assert_int_equal(weir_flow_summary_of(stays)->measured, step);
		for (int i = 0; i < 3; i++) assert_true(weir_flow_layer_at(stays, i)->delta_norm > 0);
		weir_tape_reset(n.w);
	}
	close_fine(n.w);
}

/* A network without resets: each step is taken back to a mark. */
static void steps_between_marks(void **state)
{
	net n = begin();
	weir_flow *f = watch_everything(n.w, 3), *every = watch_everything(n.w, 1);
	weir_place place = weir_mark(n.w);

	(void)state;
	for (int step = 0; step < 9; step++) {
		weir_tensor *loss = loss_of(&n, step);

		weir_backward(loss);
		assert_true(weir_flow_step(f, loss));
		assert_true(weir_flow_step(every, loss));
		for (int i = 0; i < 3; i++) {
			const weir_flow_layer *a = weir_flow_layer_at(f, i), *b = weir_flow_layer_at(every, i);

			if (a->delta_norm != b->delta_norm)
				fail_msg("step %d, layer %d: %.9g in a thin step, %.9g in a whole one", step, i,
					 a->delta_norm, b->delta_norm);
		}
		if (!(weir_flow_summary_of(every)->input_delta_norm > 0))
			fail_msg("step %d: the gradient of the input is not known", step);
		weir_rewind(n.w, place, NULL, 0);
	}
	close_fine(n.w);
}

/* The names and operations of a layer outlive the step, as the header says. */
static void strings_that_stay(void **state)
{
	weir_ctx *w = open_ieee(WEIR_F32);
	weir_flow *f = watch_everything(w, 1);
	weir_flow_layer first;

	(void)state;
	for (int step = 0; step < 3; step++) {
		weir_module *m = mlp_from(w, step ? 300 * step : 1, step);
		weir_tensor *loss = weir_sum_all(weir_forward(m, batch(w, 0)));

		weir_backward(loss);
		assert_true(weir_flow_step(f, loss));
		if (!step) first = *weir_flow_layer_at(f, 0);
		weir_tape_reset(w);
		weir_module_drop(m);
	}
	assert_string_equal(first.name, "mlp.0");
	assert_string_equal(first.op, "linear relu");
	close_fine(w);
}

/* ---- bits ---- */

enum { TRAINED = 50, MOST_NUMBERS = 1024 };

static int64_t train(int threads, bool watched, bool ieee, double *numbers)
{
	weir_options o;
	weir_ctx *w;
	weir_module *m;
	weir_optim *adam;
	weir_flow *f = NULL;
	int64_t count = 0;

	weir_options_init(&o);
	o.handler = NULL;
	o.threads = threads;
	o.seed = 3;
	o.ieee_subnormals = ieee;
	w = weir_open(&o);
	m = mlp(w, 4);
	adam = weir_adam_new(w, m, 1e-2);
	weir_optim_track(adam, true);
	for (int step = 0; step < TRAINED; step++) {
		weir_tensor *loss, *x, *params[1] = { weir_module_parameter(m, 0) };

		if (watched && step % 20 == 0) {
			weir_flow_stop(f);
			f = watch_everything(w, step ? 4 : 1);
			for (weir_flow_recorder k = WEIR_FLOW_JSON_LINES; k <= WEIR_FLOW_RING; k++) {
				static const char *const paths[] = { "bits.jsonl", "bits.board", "bits.ring" };

				assert_true(weir_flow_record(f, k, paths[k]));
			}
		}
		x = weir_normal(w, WEIR_F32, 2, (int64_t[]){ 64, 6 }, 0, 1);
		loss = weir_mean_all(weir_square(weir_sub(weir_forward(m, x), weir_affine(x, 0.5, 0))));
		weir_backward(loss);
		if (count + 1 < MOST_NUMBERS / 2) numbers[count++] = weir_item(loss);
		numbers[count++] = norm_by_hand(weir_grad_of(params[0]));
		if (watched && step == 30) {
			weir_flow_curvature c;
			weir_flow_interval s;

			assert_true(weir_flow_step(f, loss));
			assert_true(weir_flow_whatif(f, loss, NULL));
			assert_true(weir_flow_curvature_of(loss, params, 1, 2, 1e-3, 2, &c));
			assert_true(weir_flow_stretch(x, weir_input(loss, 0), 2, 1e-3, 8, NULL, &s));
			check_outputs(w, f);
		}
		assert_true(weir_optim_step(adam));
		if (watched) weir_flow_step(f, loss);
		weir_tape_reset(w);
	}
	for (int64_t i = 0; i < weir_module_parameter_count(m); i++) {
		weir_tensor *p = weir_module_parameter(m, i);

		assert_true(count + weir_numel(p) <= MOST_NUMBERS);
		weir_read_f64(p, numbers + count, weir_numel(p));
		count += weir_numel(p);
	}
	close_fine(w);
	return count;
}

static void bits_stay(void **state)
{
	static double plain[MOST_NUMBERS], watched[MOST_NUMBERS];

	(void)state;
	for (int ieee = 0; ieee < 2; ieee++) {
		int64_t n = train(1, false, ieee, plain);

		for (int threads = 1; threads <= 3; threads += 2) {
			assert_int_equal(train(threads, true, ieee, watched), n);
			for (int64_t i = 0; i < n; i++) {
				if (!memcmp(&plain[i], &watched[i], sizeof *plain)) continue;
				fail_msg("%d threads, number %lld: %.17g unwatched, %.17g watched", threads,
					 (long long)i, plain[i], watched[i]);
			}
		}
	}
}

/* ---- steady state ---- */

static void nothing_allocated(bool defaults, int64_t every)
{
	weir_ctx *w = open_steady(WEIR_F32);
	weir_module *m = mlp(w, 12);
	weir_flow_options o = all_options(every);
	weir_flow *f = weir_flow_watch(w, defaults ? NULL : &o);
	weir_optim *sgd = weir_sgd_new(w, m, 1e-3, 0.9);
	uint64_t calls = 0;

	for (int step = 0; step < 120; step++) {
		weir_tensor *loss;

		if (step == 70) calls = weir_memory_of(w).allocator_calls;
		if (step % 10 == 7) weir_flow_request(f);
		loss = weir_mean_all(weir_square(weir_forward(m, batch(w, step))));
		weir_backward(loss);
		weir_optim_step(sgd);
		assert_true(weir_flow_step(f, loss));
		weir_tape_reset(w);
	}
	assert_int_equal(weir_memory_of(w).allocator_calls, calls);
	close_fine(w);
}

static void steady(void **state)
{
	(void)state;
	nothing_allocated(true, 0);
	nothing_allocated(false, 1);
	nothing_allocated(false, 4);
}

/* A flow that begins and ends a thousand times leaves nothing behind. */
static void begun_and_ended(void **state)
{
	weir_ctx *w = open_steady(WEIR_F32);
	weir_module *m = mlp(w, 4);
	size_t held = 0;

	(void)state;
	for (int i = 0; i < 300; i++) {
		weir_flow *f = watch_everything(w, 1);
		weir_tensor *loss = weir_sum_all(weir_forward(m, batch(w, 1)));

		weir_backward(loss);
		assert_true(weir_flow_step(f, loss));
		if (i % 2) weir_flow_whatif(f, loss, &(weir_flow_whatif_options){ .repairs = 2, .lr = 1, .clip = 1 });
		weir_flow_stop(f);
		weir_tape_reset(w);
		if (i == 20) held = weir_memory_of(w).held;
	}
	assert_int_equal(weir_memory_of(w).held, held);
	close_fine(w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_flow),
		cmocka_unit_test(bad_losses),
		cmocka_unit_test(bad_places),
		cmocka_unit_test(full_disks),
		cmocka_unit_test(bad_requests),
		cmocka_unit_test(bad_whatifs),
		cmocka_unit_test(senseless_options),
		cmocka_unit_test(window_without_end),
		cmocka_unit_test(backward_or_not),
		cmocka_unit_test(hooks_beside_it),
		cmocka_unit_test(requests_at_any_moment),
		cmocka_unit_test(flows_come_and_go),
		cmocka_unit_test(steps_between_marks),
		cmocka_unit_test(strings_that_stay),
		cmocka_unit_test(bits_stay),
		cmocka_unit_test(steady),
		cmocka_unit_test(begun_and_ended),
	};

	if (argc > 1) cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
