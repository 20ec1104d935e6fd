/* test_theorems_stretch.c: the largest singular values of the layers' Jacobians, and their product as a bound of the gain. Each test stands
 * under its statement and that statement's source. */
#include "tests/theorem_check.h"

static double stretch(weir_tensor *x, weir_tensor *y, int iterations)
{
	weir_flow_interval i = { 0 };

	weir_flow_stretch(x, y, iterations, 1e-14, 0, NULL, &i);
	assert_fine(weir_context(x));
	return i.low;
}

/* The instrument with its power iteration on. */
static weir_flow *watch_stretch(weir_ctx *w, int iterations)
{
	weir_flow_options o;

	weir_flow_options_init(&o);
	o.every = 1;
	o.budget = 0;
	o.stretch = iterations;
	return weir_flow_watch(w, &o);
}

typedef struct bounded {
	const char *name;
	weir_init_kind init;
	double scale;
	weir_act act;
	bool equal;
} bounded;

/* Submultiplicativity: ‖Jᵀd‖ <= ‖J‖ ‖d‖ <= ∏ ‖D_l‖ ‖d‖. Equal throughout where the layers are multiples of orthogonal matrices, and for
 * diagonal ones with one order of entries where d lies on the largest. The report's power iteration stops where one more of it changes
 * little: with a small gap below sigma_max that is a few percent too early. */
static void submultiplicativity(void **state)
{
	static const bounded nets[] = {
		{ "diagonal", WEIR_INIT_DIAGONAL, 1.25, WEIR_ACT_IDENTITY, true },
		{ "orthogonal", WEIR_INIT_ORTHOGONAL, 0.8, WEIR_ACT_IDENTITY, true },
		{ "Gaussian", WEIR_INIT_GLOROT_NORMAL, 1, WEIR_ACT_IDENTITY, false },
		{ "He-ReLU", WEIR_INIT_HE, 1, WEIR_ACT_RELU, false },
		{ "orthogonal tanh", WEIR_INIT_ORTHOGONAL, 1, WEIR_ACT_TANH, false },
	};
	enum { LAYERS = 8, N = 24, B = 4, ITERATIONS = 300 };

	(void)state;
	for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_module *net = chain(w, LAYERS, N, nets[i].init, nets[i].scale);
		weir_flow *f = watch_stretch(w, ITERATIONS);
		const weir_flow_summary *s = weir_flow_summary_of(f);
		weir_tensor *at[LAYERS + 1], *y;
		double bound = 1, whole;

		y = through(net, gaussian(w, B, N), nets[i].act, at);
		observe(f, against(y, gaussian(w, B, N)));
		for (int l = 0; l < LAYERS; l++) {
			const weir_flow_layer *p = weir_flow_layer_at(f, l);
			double largest = stretch(at[l], at[l + 1], ITERATIONS);

			at_most("gain of a layer", p->gain, largest, 1e-10);
			at_most("sigma_max", largest, p->stretch_high, 1e-10);
			at_most("gain of a layer, sigma_max from above", p->gain, p->stretch_high, 1e-10);
			relative("the report's sigma_max", p->stretch_low, largest, nets[i].equal ? 1e-10 : 0.03);
			relative("the report's alignment", p->alignment, p->gain / p->stretch_low, 1e-12);
			bound *= largest;
		}
		whole = stretch(at[0], at[LAYERS], ITERATIONS);
		at_most("total gain", s->total_gain, whole, 1e-10);
		at_most("sigma_max of the whole network", whole, bound, 1e-10);
		if (nets[i].equal) {
			relative(nets[i].name, s->total_gain, bound, 1e-10);
			relative(nets[i].name, whole, bound, 1e-10);
		}
		close_fine(w);
	}
}

static void submultiplicativity_of_unequal_diagonals(void **state)
{
	enum { LAYERS = 6, N = 5 };
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_module *net = chain(w, LAYERS, N, WEIR_INIT_ZEROS, 1);
	weir_flow *f = watch_stretch(w, 200);
	weir_tensor *at[LAYERS + 1], *y, *d = weir_zeros(w, WEIR_F64, 2, (int64_t[]){ 1, N });
	double bound = 1;

	(void)state;
	for (int l = 0; l < LAYERS; l++) {
		double v[N * N] = { 0 };

		for (int k = 0; k < N; k++) v[k * N + k] = (0.5 + 0.25 * l) / (1 + k);
		assert_true(weir_write_f64(weir_module_parameter(net, l), v, N * N));
		bound *= v[0];
	}
	assert_true(weir_write_f64(d, (double[N]){ 1 }, N));
	y = through(net, gaussian(w, 1, N), WEIR_ACT_IDENTITY, at);
	observe(f, against(y, d));
	for (int l = 0; l < LAYERS; l++)
		relative("sigma_max of a diagonal layer", weir_flow_layer_at(f, l)->stretch_low, 0.5 + 0.25 * l, 1e-4);
	relative("total gain along the largest entries", weir_flow_summary_of(f)->total_gain, bound, 1e-10);
	relative("sigma_max of the network", stretch(at[0], at[LAYERS], 200), bound, 1e-10);
	close_fine(w);
}

/* Bai and Yin 1993 (Geman 1980): sigma_max of an m × n matrix of entries with variance s² tends to s (√m + √n). He's s² = 2/n in a square
 * layer: 2√2. With the rows of half the units masked by ReLU, m = n/2: √2 + 1 = 2.414. So the most that a He layer can do to a gradient
 * is far above 1, which is what it does on average. */
static void bai_yin(void **state)
{
	static const double want[] = { 2.8284271247461903, 2.4142135623730951 };
	enum { N = 256, NETS = 4, ITERATIONS = 200 };

	(void)state;
	for (int relu = 0; relu < 2; relu++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_module *net = chain(w, 1, N, WEIR_INIT_HE, 1);
		weir_flow *f = watch_stretch(w, ITERATIONS);
		sample asked = { 0 }, reported = { 0 };

		for (int k = 0; k < NETS; k++) {
			weir_tensor *at[2], *y;

			weir_tape_reset(w);
			draw_again(net, WEIR_INIT_HE, 1);
			y = through(net, gaussian(w, 1, N), relu ? WEIR_ACT_RELU : WEIR_ACT_IDENTITY, at);
			observe(f, against(y, gaussian(w, 1, N)));
			take(&asked, stretch(at[0], at[1], ITERATIONS));
			take(&reported, weir_flow_layer_at(f, 0)->stretch_low);
		}
		relative(relu ? "sigma_max, ReLU" : "sigma_max", mean_of(&asked), want[relu], 0.03);
		relative("sigma_max in the report", mean_of(&reported), want[relu], 0.03);
		close_fine(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(submultiplicativity),
		cmocka_unit_test(submultiplicativity_of_unequal_diagonals),
		cmocka_unit_test(bai_yin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
