/* test_theorems_products.c: what follows from the chain rule and from IEEE 754 alone, exactly: products of gains, the depths where
 * numbers leave their type, what parameter gradients can't tell. Each test stands under its statement and that statement's source. */
#include "tests/theorem_check.h"

enum { B = 16, N = 12 };

static const weir_dtype both[] = { WEIR_F32, WEIR_F64 };

static weir_tensor *ones(weir_ctx *w, weir_dtype dtype, int64_t width)
{
	return weir_full(w, dtype, 2, (int64_t[]){ 1, width }, 1);
}

/* The chain rule: through L layers diag(c) an output and its gradient at the input are both c^L. */
static void chain_rule(void **state)
{
	static const struct {
		double c;
		int layers;
		double product;
	} rows[] = {
		{ 0.5, 5, 0.03125 }, { 0.5, 10, 0.0009765625 },  { 0.5, 50, 8.8817841970012523e-16 },
		{ 1.5, 5, 7.59375 }, { 1.5, 10, 57.6650390625 }, { 1.5, 50, 637621500.21404958 },
	};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof rows / sizeof *rows; i++) {
		double c = rows[i / 2].c, want = rows[i / 2].product;
		weir_ctx *w = open_ieee(both[i % 2]);
		weir_module *net = chain(w, rows[i / 2].layers, 2, WEIR_INIT_DIAGONAL, c);
		weir_flow *f = watch_all(w);
		const weir_flow_summary *s = weir_flow_summary_of(f);
		weir_tensor *x = weir_retain_grad(ones(w, both[i % 2], 2)), *y = weir_forward(net, x);

		observe(f, weir_sum_all(y));
		for (int k = 0; k < 2; k++) {
			relative("output", weir_get(y, k), want, 1e-6);
			relative("input gradient", weir_get(weir_grad_of(x), k), want, 1e-6);
		}
		relative("the report's total gain", s->total_gain, want, 1e-6);
		relative("the report's |dL/dx|", s->input_delta_norm, sqrt(2) * want, 1e-6);
		relative("the report's gain per layer", s->gain_per_layer, c, 1e-6);
		for (int64_t l = 0; l < weir_flow_layer_count(f); l++)
			relative("a layer's gain", weir_flow_layer_at(f, l)->gain, c, 1e-6);
		close_fine(w);
	}
}

/* IEEE 754 leaves one answer to where c^L, rounded after each factor, becomes inf, subnormal and zero; 0: it never does. 0.9^L ends
 * on a subnormal that 0.9 rounds to itself. */
typedef struct limits {
	weir_dtype dtype;
	double c;
	int layers; /* of a network that is deep enough to show all of them */
	int inf, subnormal, zero;
} limits;

static const limits ieee[] = {
	{ WEIR_F32, 1.5, 225, 219, 0, 0 },    { WEIR_F32, 1.1, 940, 931, 0, 0 },
	{ WEIR_F32, 0.5, 160, 0, 127, 150 },  { WEIR_F32, 0.25, 80, 0, 64, 75 },
	{ WEIR_F32, 0.9, 1200, 0, 829, 0 },   { WEIR_F64, 1.5, 1760, 1751, 0, 0 },
	{ WEIR_F64, 1.1, 7455, 7448, 0, 0 },  { WEIR_F64, 0.5, 1080, 0, 1023, 1075 },
	{ WEIR_F64, 0.25, 545, 0, 512, 538 }, { WEIR_F64, 0.9, 7500, 0, 6724, 0 },
};

static const char *class_of(weir_dtype dtype, double x)
{
	if (x != x) return "NaN";
	if (isinf(x)) return "inf";
	if (x == 0) return "zero";
	return fabs(x) < (dtype == WEIR_F32 ? 0x1p-126 : 0x1p-1022) ? "subnormal" : "normal";
}

/* What c^layers is, as an output and as an input gradient, one weight used for all layers. */
static void assert_class(const limits *t, int layers, const char *want)
{
	weir_ctx *w = open_ieee(t->dtype);
	weir_tensor *weight = weir_param_new(w, "weight", t->dtype, 2, (int64_t[]){ 1, 1 }), *x, *y;

	assert_true(weir_write_f64(weight, &t->c, 1));
	x = y = weir_retain_grad(ones(w, t->dtype, 1));
	for (int i = 0; i < layers; i++) y = weir_linear(y, weight, NULL);
	weir_backward(y);
	if (strcmp(class_of(t->dtype, weir_item(y)), want) ||
	    strcmp(class_of(t->dtype, weir_item(weir_grad_of(x))), want))
		fail_msg("%s, %g^%d: output %g, input gradient %g, want both %s", weir_dtype_name(t->dtype), t->c,
			 layers, weir_item(y), weir_item(weir_grad_of(x)), want);
	close_fine(w);
}

static void ieee_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof ieee / sizeof *ieee; i++) {
		const limits *t = &ieee[i];
		int first = t->inf ? t->inf : t->subnormal;

		assert_class(t, first - 1, "normal");
		assert_class(t, first, t->inf ? "inf" : "subnormal");
		if (t->zero) assert_class(t, t->zero - 1, "subnormal");
		assert_class(t, t->zero ? t->zero : t->layers, t->inf ? "inf" : t->zero ? "zero" : "subnormal");
	}
}

/* layer: from the input side, from 1; 0: there must be none. */
static void assert_birth(const limits *t, const char *what, const weir_flow_birth *b, bool backward, int layer)
{
	char name[32] = "";

	if (layer) snprintf(name, sizeof name, "mlp.%d.linear", backward ? t->layers - layer : layer - 1);
	if (b->found != (layer > 0) ||
	    (layer && (b->backward != backward || b->depth != layer || strcmp(b->layer, name))))
		fail_msg("%s, %g, first %s %s: got %s, depth %lld, in \"%s\"; want depth %d, in \"%s\"",
			 weir_dtype_name(t->dtype), t->c, what, backward ? "backward" : "forward",
			 !b->found     ? "none"
			 : b->backward ? "one backward"
				       : "one forward",
			 b->found ? (long long)b->depth : 0, b->found ? b->layer : "", layer, name);
}

/* The births in a network of width 2: input of ones, the loss is the sum, so that backward is the mirror image of forward. Off the
 * diagonal 0 · inf makes a NaN, one layer after the first inf. */
static void ieee_births(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof ieee / sizeof *ieee; i++) {
		const limits *t = &ieee[i];
		weir_ctx *w = open_ieee(t->dtype);
		weir_module *net = chain(w, t->layers, 2, WEIR_INIT_DIAGONAL, t->c);
		weir_flow *f = watch_all(w);
		const weir_flow_summary *s = weir_flow_summary_of(f);

		observe(f, weir_sum_all(weir_forward(net, ones(w, t->dtype, 2))));
		assert_birth(t, "inf", &s->first_inf, false, t->inf);
		assert_birth(t, "NaN", &s->first_nan, false, t->inf ? t->inf + 1 : 0);
		for (int backward = 0; backward < 2 && !t->inf; backward++) {
			assert_birth(t, "subnormal", &s->first_subnormal[backward], backward, t->subnormal);
			assert_birth(t, "zero", &s->first_zero[backward], backward, t->zero);
		}
		close_fine(w);
	}
}

/* The same overflow on the way back, where the input is zero and forward has nothing to overflow. At width 1 there is no 0 to multiply
 * the inf by but that of the input: no NaN in any delta. */
static void ieee_births_backward(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof ieee / sizeof *ieee; i++) {
		const limits *t = &ieee[i];

		for (int width = 1; width <= 2 && t->inf; width++) {
			weir_ctx *w = open_ieee(t->dtype);
			weir_module *net = chain(w, t->layers, width, WEIR_INIT_DIAGONAL, t->c);
			weir_flow *f = watch_all(w);
			const weir_flow_summary *s = weir_flow_summary_of(f);
			weir_tensor *x = weir_zeros(w, t->dtype, 2, (int64_t[]){ 1, width });

			observe(f, weir_sum_all(weir_forward(net, x)));
			assert_birth(t, "inf", &s->first_inf, true, t->inf);
			if (width == 2) assert_birth(t, "NaN", &s->first_nan, true, t->inf + 1);
			else above("|dL/dx|", s->input_delta_norm, 1e300);
			close_fine(w);
		}
	}
}

static double product(const weir_tensor *a, const weir_tensor *b)
{
	double sum = 0;

	for (int64_t i = 0; i < weir_numel(a); i++) sum += weir_get(a, i) * weir_get(b, i);
	return sum;
}

/* <W_l, dL/dW_l> is one number for all l of a network without biases whose activations are homogeneous of degree 1: it is the derivative
 * of the loss by the factor that multiplies layer l, and it doesn't matter where such a factor stands (Euler; balancedness: Du, Hu and Lee
 * 2018). So gradients of parameters can't see depth, and deltas can. */
static void balancedness(void **state)
{
	static const struct {
		weir_act act;
		weir_init_kind init;
		double scale;
	} nets[] = {
		{ WEIR_ACT_IDENTITY, WEIR_INIT_DIAGONAL, 0.5 },
		{ WEIR_ACT_IDENTITY, WEIR_INIT_GLOROT, 0.5 },
		{ WEIR_ACT_RELU, WEIR_INIT_HE, 0.5 },
		{ WEIR_ACT_RELU, WEIR_INIT_HE, 2 },
	};
	enum { LAYERS = 20 };

	(void)state;
	for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_module *net = chain(w, LAYERS, N, nets[i].init, nets[i].scale);
		weir_flow *f = watch_all(w);
		weir_tensor *weight[LAYERS];
		double low = INFINITY, high = 0, bottom, top;

		observe(f, weir_mean_all(weir_square(through(net, gaussian(w, B, N), nets[i].act, NULL))));
		for (int l = 0; l < LAYERS; l++) {
			weight[l] = weir_module_parameter(net, l);
			low = fmin(low, product(weight[l], weir_grad_of(weight[l])));
			high = fmax(high, product(weight[l], weir_grad_of(weight[l])));
		}
		within("spread of <W, dL/dW> over the layers", high / low, 1, 1e-12);
		bottom = weir_flow_layer_at(f, 0)->delta_norm;
		top = weir_flow_layer_at(f, LAYERS - 1)->delta_norm;
		above("the largest of two deltas over the other", fmax(bottom / top, top / bottom), 1000);
		if (i) {
			close_fine(w);
			continue;
		}
		relative("delta of the first layer over that of the last", bottom / top, 0x1p-19, 1e-12);
		relative("|dL/dW| of the first layer over that of the last",
			 weir_flow_layer_at(f, 0)->param_grad_norm / weir_flow_layer_at(f, LAYERS - 1)->param_grad_norm,
			 1, 1e-12);
		close_fine(w);
	}
}

/* Pascanu, Mikolov and Bengio 2013: a recurrent network whose weight has ‖W‖ < 1/gamma, gamma the largest |f'|, vanishes: no gain is above
 * gamma ‖W‖. gamma is 1 for tanh, 1/4 for sigmoid. drive: a bias that holds z at 0, where f' is gamma: there the bound is the gain. */
static void pascanu(void **state)
{
	static const struct {
		weir_act act;
		double norm, gamma;
	} rows[] = { { WEIR_ACT_SIGMOID, 3.9, 0.25 }, { WEIR_ACT_TANH, 0.99, 1 } };
	enum { STEPS = 200 };

	(void)state;
	for (int i = 0; i < 4; i++) {
		bool drive = i % 2;
		weir_act act = rows[i / 2].act;
		double bound = rows[i / 2].norm * rows[i / 2].gamma, bias[N] = { 0 };
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_module *cell = weir_linear_with(w, N, N,
						     &(weir_linear_options){ .init = WEIR_INIT_ORTHOGONAL,
									     .init_scale = rows[i / 2].norm,
									     .bias = true });
		weir_flow *f = watch_all(w);
		weir_tensor *weight = weir_module_parameter(cell, 0), *d = gaussian(w, 1, N), *h = gaussian(w, 1, N);

		if (drive) h = weir_full(w, WEIR_F64, 2, (int64_t[]){ 1, N }, act == WEIR_ACT_SIGMOID ? 0.5 : 0);
		for (int k = 0; k < N * N && drive; k++) bias[k / N] -= weir_get(weight, k) * weir_get(h, k % N);
		assert_true(weir_write_f64(weir_module_parameter(cell, 1), bias, N));
		for (int t = 0; t < STEPS; t++) h = weir_act_apply(weir_forward(cell, h), act);
		observe(f, against(h, d));
		within("calls of the cell", (double)weir_flow_layer_count(f), STEPS, 0);
		for (int t = 0; t < STEPS; t++) {
			at_most("gain of a step", weir_flow_layer_at(f, t)->gain, bound, 1e-12);
			if (drive) relative("gain where z is 0", weir_flow_layer_at(f, t)->gain, bound, 1e-9);
		}
		at_most("total gain", weir_flow_summary_of(f)->total_gain, pow(bound, STEPS), 1e-9);
		if (act == WEIR_ACT_SIGMOID && weir_flow_verdict(f) != WEIR_FLOW_VANISHING)
			fail_msg("total gain %g: got the verdict %s, want vanishing",
				 weir_flow_summary_of(f)->total_gain, weir_verdict_name(weir_flow_verdict(f)));
		close_fine(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chain_rule),           cmocka_unit_test(ieee_values),  cmocka_unit_test(ieee_births),
		cmocka_unit_test(ieee_births_backward), cmocka_unit_test(balancedness), cmocka_unit_test(pascanu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
