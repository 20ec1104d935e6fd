/* test_flow_hostile.c: the instrument in the hands of somebody who does everything that the header does not forbid, and some that it does.
 * Each graph is measured whole and thin, by several flows at once, with all recorders; every form of the report stays well-formed. Long: a list of graphs. */
#include "tests/hostile_check.h"

enum { STEPS = 5 };

/* ---- graphs ---- */

typedef struct graph {
	weir_ctx *w;
	weir_tensor *p, *q, *b; /* [4, 4], [4, 4], [4] */
	int step;
} graph;

typedef weir_tensor *builder(graph *g);

static weir_tensor *data(graph *g, int64_t rows)
{
	weir_tensor *x = weir_zeros(g->w, WEIR_F32, 2, (int64_t[]){ rows, 4 });
	double v[256];

	for (int i = 0; i < 4 * rows; i++) v[i] = noise(i, g->step);
	assert_true(weir_write_f64(x, v, 4 * rows));
	return x;
}

static weir_tensor *one_leaf(graph *g)
{
	return weir_sum_all(weir_zeros(g->w, WEIR_F32, 0, NULL));
}

static weir_tensor *parameter_itself(graph *g)
{
	return weir_sum_all(g->p);
}

static weir_tensor *views_only(graph *g)
{
	return weir_reshape(weir_slice(weir_slice(weir_transpose(g->p, 0, 1), 0, 1, 2, 1), 1, 2, 3, 1), 0, NULL);
}

static weir_tensor *empty_tensors(graph *g)
{
	weir_tensor *x = weir_zeros(g->w, WEIR_F32, 2, (int64_t[]){ 0, 4 });

	return weir_add(weir_sum_all(weir_relu(weir_linear(x, g->p, g->b))), weir_sum_all(g->q));
}

static weir_tensor *only_empty_tensors(graph *g)
{
	weir_tensor *x = weir_zeros(g->w, WEIR_F32, 3, (int64_t[]){ 3, 0, 4 });

	for (int i = 0; i < 3; i++) x = weir_tanh(weir_linear(x, g->p, g->b));
	return weir_sum_all(x);
}

static weir_tensor *scalars(graph *g)
{
	weir_tensor *x = weir_sum_all(g->b);

	for (int i = 0; i < 10; i++) x = weir_sigmoid(weir_affine(x, 1.5, 0.1));
	return x;
}

static weir_tensor *no_parameters(graph *g)
{
	weir_tensor *x = weir_retain_grad(data(g, 3)), *y = x;

	for (int i = 0; i < 6; i++) y = weir_tanh(weir_mul(y, y));
	return weir_sum_all(y);
}

static weir_tensor *integers(graph *g)
{
	int64_t index[5] = { 0, 3, 3, 1, 0 };
	weir_tensor *i = weir_from(g->w, WEIR_I64, 1, (int64_t[]){ 5 }, index), *x = weir_gather(g->p, 0, i);
	weir_tensor *mask = weir_gt(x, weir_affine(x, 0, 0.1)), *most = weir_argmax(x, 1, false);

	x = weir_where(mask, x, weir_neg(x));
	return weir_add(weir_sum_all(x), weir_sum_all(weir_cast(weir_cast(most, WEIR_F64), WEIR_F32)));
}

static weir_tensor *twice_the_same(graph *g)
{
	weir_tensor *x = weir_linear(data(g, 3), g->p, NULL);

	x = weir_concat((weir_tensor *[]){ x, x, x }, 3, 0);
	x = weir_mul(weir_add(x, x), weir_maximum(x, x));
	return weir_sum_all(weir_matmul(x, weir_transpose(x, 0, 1)));
}

static weir_tensor *a_parameter_a_thousand_times(graph *g)
{
	weir_tensor *x = data(g, 2);

	for (int i = 0; i < 1000; i++) x = weir_add(weir_affine(x, 0.99, 0), weir_slice(g->p, 0, i % 2, i % 2 + 2, 1));
	return weir_sum_all(x);
}

static weir_tensor *hundred_branches(graph *g)
{
	weir_tensor *x = weir_relu(weir_linear(data(g, 3), g->p, g->b)), *all[100];

	for (int i = 0; i < 100; i++) all[i] = weir_tanh(weir_linear(x, i % 2 ? g->p : g->q, NULL));
	return weir_sum_all(weir_concat(all, 100, 1));
}

static weir_tensor *branches_side_by_side(graph *g)
{
	weir_tensor *x = weir_linear(data(g, 3), g->p, g->b), *all[40];

	for (int i = 0; i < 40; i++) all[i] = x;
	for (int k = 0; k < 5; k++) {
		for (int i = 0; i < 40; i++) all[i] = weir_sigmoid(weir_linear(all[i], k % 2 ? g->p : g->q, g->b));
	}
	return weir_sum_all(weir_concat(all, 40, 0));
}

/* Another width, batch and depth in every step. */
static weir_tensor *another_shape_each_time(graph *g)
{
	weir_tensor *x = data(g, 1 + g->step % 3);

	for (int i = 0; i < 1 + g->step % 4; i++) x = weir_relu(weir_linear(x, i % 2 ? g->p : g->q, g->b));
	if (g->step % 2) x = weir_slice(x, 1, 0, 1 + g->step % 3, 1);
	return weir_sum_all(x);
}

static weir_tensor *layers_come_and_go(graph *g)
{
	weir_tensor *x = data(g, 3);

	for (int i = 0; i < 9; i++) {
		char name[32];

		if ((i + g->step) % 3 == 0) continue;
		snprintf(name, sizeof name, "net.%d", i + 100 * g->step);
		weir_scope_begin(g->w, name);
		x = weir_tanh(weir_linear(x, g->p, g->b));
		weir_scope_end(g->w);
	}
	return weir_sum_all(x);
}

static weir_tensor *scopes_in_each_other(graph *g)
{
	weir_tensor *x = data(g, 3);

	for (int i = 0; i < 3; i++) {
		weir_scope_begin(g->w, "a");
		x = weir_linear(x, g->p, NULL);
		weir_scope_begin(g->w, "a");
		x = weir_linear(x, g->q, NULL);
		weir_scope_begin(g->w, "0");
		x = weir_tanh(weir_linear(x, g->p, g->b));
		weir_scope_end(g->w);
		weir_scope_end(g->w);
		x = weir_relu(x);
		weir_scope_end(g->w);
	}
	return weir_sum_all(x);
}

static weir_tensor *unrecorded_parts(graph *g)
{
	weir_tensor *x = weir_linear(data(g, 3), g->p, g->b), *y;

	weir_no_grad_begin(g->w);
	y = weir_relu(weir_linear(x, g->q, NULL));
	weir_no_grad_end(g->w);
	x = weir_mul(x, weir_detach(weir_sigmoid(weir_mul(x, y))));
	return weir_sum_all(weir_softmax(x, 1));
}

static weir_tensor *marks_inside(graph *g)
{
	weir_tensor *x = weir_relu(weir_linear(data(g, 3), g->p, g->b)), *y;

	for (int i = 0; i < 4; i++) {
		weir_place place = weir_mark(g->w);

		y = weir_tanh(weir_linear(x, g->q, NULL));
		weir_sum_all(weir_linear(y, g->q, NULL));
		if (i % 2) weir_rewind(g->w, place, &y, 1);
		else weir_rewind(g->w, place, NULL, 0);
	}
	return weir_sum_all(weir_mul(weir_linear(x, g->p, NULL), y));
}

static weir_tensor *loss_of_gradients(graph *g)
{
	weir_tensor *x = weir_retain_grad(data(g, 3)), *y = weir_sum_all(weir_tanh(weir_linear(x, g->p, g->b))), *gx;

	assert_true(weir_grad(y, &x, 1, &gx, WEIR_CREATE_GRAPH));
	return weir_add(y, weir_sum_all(weir_mul(gx, gx)));
}

static weir_tensor *only_gradients(graph *g)
{
	weir_tensor *y = weir_sum_all(weir_tanh(weir_linear(data(g, 3), g->p, g->b))), *gp;

	assert_true(weir_grad(y, &g->p, 1, &gp, WEIR_CREATE_GRAPH));
	return weir_norm(gp, 0, NULL, false);
}

static weir_tensor *long_names(graph *g)
{
	char name[256];
	weir_tensor *x = data(g, 2);

	memset(name, 'n', 255);
	name[255] = 0;
	for (int i = 0; i < 2; i++) weir_scope_begin(g->w, name);
	x = weir_tanh(weir_linear(x, g->p, g->b));
	for (int i = 0; i < 2; i++) weir_scope_end(g->w);
	return weir_sum_all(weir_linear(x, g->q, NULL));
}

/* Quotes, markup, control characters, an escape sequence, halves of characters. */
static weir_tensor *strange_names(graph *g)
{
	static const char *const names[] = { "a\"b\\\"",           "<b>&amp;</b>", "two\nlines\ttab\r", "\x1b[2J\x7f",
					     "\xff\xfe half \xc3", "größe.7.漢字", "%s%n%d{}",          "'$(x)'`;--" };
	weir_tensor *x = data(g, 2);

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		weir_scope_begin(g->w, names[i]);
		x = weir_tanh(weir_linear(x, g->p, g->b));
		weir_set_name(x, names[i]);
		weir_scope_end(g->w);
		x = weir_set_name(weir_linear(x, g->q, NULL), names[i]);
	}
	return weir_sum_all(weir_affine(x, 1e-300, 0));
}

/* The same names on what makes an inf. */
static weir_tensor *strange_births(graph *g)
{
	weir_tensor *x = strange_names(g);

	weir_scope_begin(g->w, "\x1b[2J<b>\n\xc3");
	x = weir_log(weir_set_name(x, "zero\n\"<\xff"));
	weir_scope_end(g->w);
	return weir_mul(weir_sum_all(g->p), x);
}

static weir_tensor *many_operands(graph *g)
{
	weir_tensor *x = weir_linear(data(g, 3), g->p, NULL), **all = malloc(2000 * sizeof *all);

	assert_non_null(all);
	for (int i = 0; i < 2000; i++) all[i] = i % 3 ? weir_affine(x, 1, i) : g->q;
	x = weir_sum_all(weir_concat(all, 2000, 0));
	free(all);
	return x;
}

static weir_tensor *multiplied(graph *g, double by, weir_act act)
{
	weir_tensor *x = weir_affine(data(g, 3), by, 0);

	for (int i = 0; i < 6; i++)
		x = weir_act_apply(weir_affine(weir_linear(x, i % 2 ? g->p : g->q, g->b), by, 0), act);
	return weir_sum_all(x);
}

static weir_tensor *all_nan(graph *g)
{
	return multiplied(g, NAN, WEIR_ACT_TANH);
}

static weir_tensor *all_inf(graph *g)
{
	return multiplied(g, INFINITY, WEIR_ACT_RELU);
}

static weir_tensor *all_zero(graph *g)
{
	return multiplied(g, 0, WEIR_ACT_RELU);
}

static weir_tensor *all_subnormal(graph *g)
{
	return weir_affine(multiplied(g, 1e-7, WEIR_ACT_IDENTITY), 1e-30, 0);
}

static weir_tensor *all_huge(graph *g)
{
	return multiplied(g, 1e6, WEIR_ACT_GELU);
}

static weir_tensor *huge_f64(graph *g)
{
	weir_tensor *x = weir_cast(weir_linear(data(g, 3), g->p, g->b), WEIR_F64);

	for (int i = 0; i < 6; i++) x = weir_affine(x, 1e50, 0);
	for (int i = 0; i < 3; i++) x = weir_affine(weir_neg(x), i < 2 ? 1 : 1e7, 0);
	return weir_sum_all(x);
}

static weir_tensor *zero_weights(graph *g)
{
	weir_tensor *z = weir_affine(g->p, 0, 0), *x = data(g, 3);

	for (int i = 0; i < 4; i++) x = weir_sigmoid(weir_linear(x, z, NULL));
	return weir_sum_all(x);
}

static weir_tensor *masked_nan(graph *g)
{
	weir_tensor *x = weir_linear(data(g, 3), g->p, g->b), *bad = weir_log(weir_affine(weir_mul(x, x), -1, -1));

	return weir_sum_all(weir_where(weir_gt(x, weir_affine(x, 1, 1)), bad, x));
}

static weir_tensor *nan_in_odd_steps(graph *g)
{
	return multiplied(g, g->step % 2 ? NAN : 1, WEIR_ACT_SILU);
}

static weir_tensor *deep(graph *g)
{
	weir_tensor *x = data(g, 1);

	for (int i = 0; i < 1200; i++) x = weir_relu(weir_linear(x, i % 2 ? g->p : g->q, NULL));
	return weir_sum_all(x);
}

static weir_tensor *deep_without_matrices(graph *g)
{
	weir_tensor *x = g->b;

	for (int i = 0; i < 1500; i++) x = weir_mul(weir_sigmoid(x), g->b);
	return weir_sum_all(x);
}

static weir_tensor *frozen(graph *g)
{
	weir_freeze(g->p, true);
	weir_freeze(g->b, g->step % 2);
	return weir_sum_all(weir_linear(weir_tanh(weir_linear(data(g, 3), g->p, g->b)), g->q, NULL));
}

static weir_tensor *all_frozen(graph *g)
{
	weir_tensor *x = weir_retain_grad(data(g, 3));

	weir_freeze(g->p, true);
	weir_freeze(g->q, true);
	weir_freeze(g->b, true);
	return weir_sum_all(weir_linear(weir_tanh(weir_linear(x, g->p, g->b)), g->q, NULL));
}

static void copy(weir_tensor *y)
{
	memcpy(weir_out(y), weir_data(weir_contiguous(weir_input(y, 0))), (size_t)weir_numel(y) * sizeof(float));
}

static void pass_on(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	(void)y;
	if (need & 1) gx[0] = gy;
}

static weir_tensor *long_operations(graph *g)
{
	static const weir_op op = {
		.name = "an_operation_\"<&\\_with_a_name_that_is_longer_than_all_that_anybody_made_room_for_"
			"0123456789_0123456789_0123456789_0123456789",
		.arity = 1,
		.flags = WEIR_OP_ELEMENTWISE,
		.shape = weir_same_shape,
		.forward = copy,
		.vjp = pass_on
	};
	weir_tensor *x = weir_op_apply(&op, &g->p, 1, NULL);

	for (int i = 0; i < 3; i++) {
		weir_scope_begin(g->w, "net.0");
		x = weir_linear(weir_op_apply(&op, &x, 1, NULL), g->q, NULL);
		weir_scope_end(g->w);
	}
	return weir_sum_all(x);
}

static const struct {
	const char *name;
	builder *build;
} graphs[] = {
#define G(name)             \
	{                   \
#name, name \
	}
	G(one_leaf),
	G(parameter_itself),
	G(views_only),
	G(empty_tensors),
	G(only_empty_tensors),
	G(scalars),
	G(no_parameters),
	G(integers),
	G(twice_the_same),
	G(a_parameter_a_thousand_times),
	G(hundred_branches),
	G(branches_side_by_side),
	G(another_shape_each_time),
	G(layers_come_and_go),
	G(scopes_in_each_other),
	G(unrecorded_parts),
	G(marks_inside),
	G(loss_of_gradients),
	G(only_gradients),
	G(long_names),
	G(strange_names),
	G(strange_births),
	G(many_operands),
	G(all_nan),
	G(all_inf),
	G(all_zero),
	G(all_subnormal),
	G(all_huge),
	G(huge_f64),
	G(zero_weights),
	G(masked_nan),
	G(nan_in_odd_steps),
	G(deep),
	G(deep_without_matrices),
	G(frozen),
	G(all_frozen),
	G(long_operations),
#undef G
};
enum { GRAPHS = sizeof graphs / sizeof *graphs };

static graph begin(bool ieee, bool free_values, uint64_t seed)
{
	weir_options o;
	graph g = { .step = 0 };

	weir_options_init(&o);
	o.handler = NULL;
	o.threads = 1;
	o.seed = seed;
	o.ieee_subnormals = ieee;
	o.free_values = free_values;
	g.w = weir_open(&o);
	g.p = weir_param_new(g.w, "p.weight", WEIR_F32, 2, (int64_t[]){ 4, 4 });
	g.q = weir_param_new(g.w, "q.weight", WEIR_F32, 2, (int64_t[]){ 4, 4 });
	g.b = weir_param_new(g.w, "b", WEIR_F32, 1, (int64_t[]){ 4 });
	weir_init_fill(g.p, WEIR_INIT_ORTHOGONAL, 1);
	weir_init_fill(g.q, WEIR_INIT_GLOROT, 1);
	assert_true(weir_write_f64(g.b, (double[]){ 0.1, -0.2, 0.3, 0 }, 4));
	assert_fine(g.w);
	return g;
}

/* The error names the graph. */
static void fine(const graph *g, const char *name)
{
	if (!weir_ok(g->w)) fail_msg("%s, step %d: %s", name, g->step, weir_error_text(g->w));
}

static void check_numbers(const weir_flow *f)
{
	const weir_flow_summary *s = weir_flow_summary_of(f);

	assert_in_range(s->verdict, WEIR_FLOW_NONE, WEIR_FLOW_NONFINITE);
	for (int64_t i = 0; i < weir_flow_layer_count(f); i++) {
		const weir_flow_layer *p = weir_flow_layer_at(f, i);

		assert_true(p->name && p->name[0] && p->op);
		assert_true(p->call >= 1 && p->depth >= 1 && p->depth <= weir_flow_layer_count(f));
		assert_utf8("a layer's name", p->name, false);
	}
	if (s->verdict > WEIR_FLOW_HEALTHY && weir_flow_layer_count(f)) {
		assert_in_range(s->first_layer, 0, weir_flow_layer_count(f) - 1);
		assert_in_range(s->last_layer, 0, weir_flow_layer_count(f) - 1);
	}
	assert_utf8("evidence", s->evidence, false);
}

static void run_graph(int i, bool ieee, bool free_values)
{
	const char *name = graphs[i].name;
	graph g = begin(ieee, free_values, (uint64_t)i);
	weir_flow *whole = watch_everything(g.w, 1), *thin = watch_everything(g.w, 3),
		  *plain = weir_flow_watch(g.w, NULL);

	for (weir_flow_recorder k = WEIR_FLOW_JSON_LINES; k <= WEIR_FLOW_RING; k++) {
		static const char *const paths[] = { "hostile.jsonl", "hostile.board", "hostile.ring" };

		assert_true(weir_flow_record(whole, k, paths[k]));
	}
	for (g.step = 0; g.step < STEPS; g.step++) {
		weir_tensor *loss = graphs[i].build(&g);

		fine(&g, name);
		weir_backward(loss);
		fine(&g, name);
		if (g.step == 2) weir_flow_request(thin);
		weir_flow_step(whole, loss);
		weir_flow_step(thin, loss);
		weir_flow_step(plain, loss);
		fine(&g, name);
		check_numbers(whole);
		check_numbers(thin);
		if (g.step < 2 || g.step == STEPS - 1) check_outputs(g.w, whole);
		if (g.step == 3) check_outputs(g.w, thin);
		fine(&g, name);
		if (g.step == 1 && weir_tape_length(g.w) < 2000 && !free_values) {
			weir_flow_whatif(whole, loss, NULL);
			weir_clear_error(g.w); /* not every graph can be tried */
			check_outputs(g.w, whole);
		}
		weir_zero_grad(g.p);
		weir_zero_grad(g.q);
		weir_zero_grad(g.b);
		weir_tape_reset(g.w);
	}
	weir_flow_stop(plain);
	weir_flow_stop(whole);
	assert_true(check_json_lines("hostile.jsonl") >= STEPS);
	fine(&g, name);
	assert_int_equal(weir_close(g.w), 0); /* thin is still watching */
}

static const char *wanted;

static void every_graph(void **state)
{
	(void)state;
	for (int i = 0; i < GRAPHS; i++) {
		if (wanted && strcmp(wanted, graphs[i].name)) continue;
		if (wanted) print_message("%s\n", graphs[i].name);
		run_graph(i, true, false);
		run_graph(i, false, false);
		run_graph(i, true, true);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_graph) };

	wanted = argc > 1 ? argv[1] : NULL;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
