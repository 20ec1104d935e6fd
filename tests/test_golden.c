/* test_golden.c: values and derivatives against closed forms, evaluated to 40 digits: 1e-6 in f32, 1e-12 in f64, relative. The functions' closed
 * forms are in the comments of ops.h; the numbers are those at the f64 nearest to the decimal x. */
#include "tests/ops_check.h"

/* f, x, f(x), f'(x), f''(x) */
static const struct golden {
	const char *name;
	double x, value, first, second;
} goldens[] = {
	{ "exp", -2.0e+1, 2.061153622438557828e-9, 2.061153622438557828e-9, 2.061153622438557828e-9 },
	{ "exp", -1.5, 2.2313016014842982893e-1, 2.2313016014842982893e-1, 2.2313016014842982893e-1 },
	{ "exp", 2.999999999999999889e-1, 1.349858807576003089, 1.349858807576003089, 1.349858807576003089 },
	{ "exp", 2.75, 1.564263188418817161e+1, 1.564263188418817161e+1, 1.564263188418817161e+1 },
	{ "exp", 3.0e+1, 1.0686474581524462147e+13, 1.0686474581524462147e+13, 1.0686474581524462147e+13 },
	{ "log", 1.0000000000000000208e-3, -6.9077552789821370312, 9.9999999999999997918e+2,
	  -9.9999999999999995837e+5 },
	{ "log", 6.9999999999999995559e-1, -3.5667494393873244235e-1, 1.4285714285714286621, -2.0408163265306125038 },
	{ "log", 1.25, 2.2314355131420975577e-1, 8.0e-1, -6.4e-1 },
	{ "log", 1.0e+1, 2.302585092994045684, 1.0e-1, -1.0e-2 },
	{ "log", 1.0e+6, 1.3815510557964274104e+1, 1.0e-6, -1.0e-12 },
	{ "sqrt", 1.0000000000000000208e-2, 1.0000000000000000104e-1, 4.999999999999999948, -2.4999999999999999219e+2 },
	{ "sqrt", 2.0, 1.4142135623730950488, 3.535533905932737622e-1, -8.838834764831844055e-2 },
	{ "sqrt", 1.2345e+4, 1.1110805551354051125e+2, 4.5001237551049214761e-3, -1.8226503665876555189e-7 },
	{ "tanh", -3.0, -9.9505475368673045133e-1, 9.8660371654401912732e-3, 1.9634494363042435638e-2 },
	{ "tanh", -1.0000000000000000208e-3, -9.9999966666680002076e-4, 9.9999900000066666629e-1,
	  1.9999973333356000401e-3 },
	{ "tanh", 5.0e-1, 4.621171572600097585e-1, 7.8644773296592741015e-1, -7.2686198138358727554e-1 },
	{ "tanh", 4.0, 9.9932929973906704379e-1, 1.34095068302589688e-3, -2.6801026141057863702e-3 },
	{ "tanh", 9.0108999999999994657, 9.9999997019688248596e-1, 5.9606234139857836315e-8,
	  -1.1921246472681247135e-7 },
	{ "sigmoid", -4.0e+1, 4.2483542552915889773e-18, 4.2483542552915889592e-18, 4.2483542552915889231e-18 },
	{ "sigmoid", -1.7e+1, 4.1399375473943306009e-8, 4.1399373760035016377e-8, 4.1399370332218579021e-8 },
	{ "sigmoid", -2.0, 1.1920292202211755594e-1, 1.0499358540350651735e-1, 7.9962501056153062524e-2 },
	{ "sigmoid", 5.0e-1, 6.2245933120185456464e-1, 2.3500371220159448907e-1, -5.7556794852320740559e-2 },
	{ "sigmoid", 3.0, 9.5257412682243321912e-1, 4.5176659730912132649e-2, -4.0891574660943478616e-2 },
	{ "sigmoid", 1.7e+1, 9.9999995860062452606e-1, 4.1399373760035016377e-8, -4.1399370332218579021e-8 },
	{ "erf", -2.5, -9.9959304798255504106e-1, 2.1782842303527097204e-3, 1.0891421151763548602e-2 },
	{ "erf", -1.0000000000000000208e-2, -1.1283415555849617151e-2, 1.1282663348205107996,
	  2.2565326696410216462e-2 },
	{ "erf", 6.9999999999999995559e-1, 6.7780119383741844228e-1, 6.9127486041053861503e-1,
	  -9.6778480457475399964e-1 },
	{ "erf", 1.5, 9.6610514647531072707e-1, 1.1893028922362937153e-1, -3.5679086767088811459e-1 },
	{ "gelu", -1.0e+1, -7.619853024160526066e-23, -7.6184000964648140857e-22, -7.5407066541722909594e-21 },
	{ "gelu", -6.0, -5.9195258702261888442e-9, -3.5468709453902014781e-8, -2.0658001689399170656e-7 },
	{ "gelu", -1.5, -1.0021080190328709901e-1, -1.2746919222997952542e-1, -3.2379398916472931904e-2 },
	{ "gelu", 2.999999999999999889e-1, 1.8537342665668578306e-1, 7.323277668271098549e-1,
	  7.2845072752960100848e-1 },
	{ "gelu", 2.0009999999999998899, 1.9555849139137711378, 1.0851238192171134981, -1.0798171724246639506e-1 },
	{ "gelu", 5.0, 4.999998566742140604, 1.0000071469460017923, -3.4194548838888847282e-5 },
	{ "silu", -3.0e+1, -2.8072868906517896862e-12, -2.7137106609631340013e-12, -2.6201344312742331341e-12 },
	{ "silu", -2.0, -2.3840584404423511188e-1, -9.0784248784895478757e-2, 5.006216869470690965e-2 },
	{ "silu", 4.000000000000000222e-1, 2.3947506404498081558e-1, 6.9479195840906367079e-1,
	  4.6155287483177487424e-1 },
	{ "silu", 6.0, 5.985164261060191354, 1.0123264325915255126, -9.792852189561731092e-3 },
	{ "softplus", -2.0e+1, 2.0611536203143807032e-9, 2.0611536181902035814e-9, 2.0611536139418493437e-9 },
	{ "softplus", -3.0, 4.8587351573742058759e-2, 4.7425873177566780879e-2, 4.5176659730912132649e-2 },
	{ "softplus", 2.5e-1, 8.2593941987884356221e-1, 5.6217650088579810403e-1, 2.4613408273759834759e-1 },
	{ "softplus", 2.05e+1, 2.0500000001250152866e+1, 9.9999999874984713518e-1, 1.2501528632609782561e-9 },
	{ "abs", -3.0, 3.0, -1.0, 0.0 },
	{ "abs", 2.5, 2.5, 1.0, 0.0 },
	{ "square", -1.75, 3.0625, -3.5, 2.0 },
	{ "square", 3.0, 9.0, 6.0, 2.0 },
	{ "pow2.5", 5.0e-1, 1.767766952966368811e-1, 8.838834764831844055e-1, 2.6516504294495532165 },
	{ "pow2.5", 3.0, 1.5588457268119895642e+1, 1.2990381056766579701e+1, 6.4951905283832898507 },
	{ "pow-3", -2.0, -1.25e-1, -1.875e-1, -3.75e-1 },
	{ "pow-3", 7.5e-1, 2.3703703703703703704, -9.4814814814814814815, 5.0567901234567901235e+1 },
};

static weir_tensor *apply(const char *name, weir_tensor *x)
{
	if (!strcmp(name, "exp")) return weir_exp(x);
	if (!strcmp(name, "log")) return weir_log(x);
	if (!strcmp(name, "sqrt")) return weir_sqrt(x);
	if (!strcmp(name, "tanh")) return weir_tanh(x);
	if (!strcmp(name, "sigmoid")) return weir_sigmoid(x);
	if (!strcmp(name, "erf")) return weir_erf(x);
	if (!strcmp(name, "gelu")) return weir_gelu(x);
	if (!strcmp(name, "silu")) return weir_silu(x);
	if (!strcmp(name, "softplus")) return weir_softplus(x);
	if (!strcmp(name, "abs")) return weir_abs(x);
	if (!strcmp(name, "square")) return weir_square(x);
	if (!strcmp(name, "pow2.5")) return weir_pow(x, 2.5);
	if (!strcmp(name, "pow-3")) return weir_pow(x, -3);
	fail_msg("no function %s", name);
	return x;
}

static void expect(const char *name, const char *what, weir_dtype t, double x, double got, double want)
{
	double room = (t == WEIR_F32 ? 1e-6 : 1e-12) * fabs(want);

	if (!near_by(got, want, room))
		fail_msg("%s %s %s at %.17g: %.17g, should be %.17g", name, what, weir_dtype_name(t), x, got, want);
}

static void functions(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
		const struct golden *k = &goldens[i];

		for (int t = 0; t < 2; t++) {
			weir_ctx *w = open_quiet(true);
			weir_tensor *x = weir_scalar(w, (weir_dtype)t, k->x), *y = apply(k->name, x), *g, *h;

			expect(k->name, "value", (weir_dtype)t, k->x, weir_item(y), k->value);
			assert_true(weir_grad(y, &x, 1, &g, 0)); /* the fused rule */
			expect(k->name, "derivative", (weir_dtype)t, k->x, weir_item(g), k->first);
			assert_true(weir_grad(y, &x, 1, &g, WEIR_CREATE_GRAPH));
			expect(k->name, "derivative by the rule", (weir_dtype)t, k->x, weir_item(g), k->first);
			if (weir_grad(g, &x, 1, &h, WEIR_ALLOW_UNUSED)) {
				/* in f32 x itself is rounded: near a zero of f'' that shows */
				if (t == WEIR_F64 || fabs(k->second) > 0.2 * fabs(k->first))
					expect(k->name, "second derivative", (weir_dtype)t, k->x, h ? weir_item(h) : 0,
					       k->second);
			}
			close_clean(w);
		}
	}
}

static void expect_all(const char *what, const weir_tensor *y, int64_t n, const double *want)
{
	assert_int_equal(weir_numel(y), n);
	for (int64_t i = 0; i < n; i++) expect(what, "element", weir_dtype_of(y), (double)i, weir_get(y, i), want[i]);
}

/* Fractions, by hand. */
static void closed_forms(void **state)
{
	(void)state;
	for (int k = 0; k < 2; k++) {
		weir_dtype t = (weir_dtype)k;
		weir_ctx *w = open_quiet(true);
		const double ln2 = 0.69314718055994530942, ln3 = 1.0986122886681096914, ln6 = 1.7917594692280550008;
		weir_tensor *x, *y, *g, *gs[3], *a, *b, *c;

		x = weir_zeros(w, t, SHAPE(1, 3));
		weir_write_f64(x, (double[]){ 0, ln2, ln3 }, 3); /* softmax: 1/6, 2/6, 3/6 */
		y = weir_softmax(x, -1);
		expect_all("softmax", y, 3, (double[]){ 1.0 / 6, 1.0 / 3, 1.0 / 2 });
		expect_all("log_softmax", weir_log_softmax(x, -1), 3, (double[]){ -ln6, ln2 - ln6, ln3 - ln6 });
		g = weir_zeros(w, t, SHAPE(1, 3));
		weir_write_f64(g, (double[]){ 1, 0, 0 }, 3);
		assert_true(weir_vjp(y, g, &x, 1, gs, 0)); /* row 0 of diag(p) - ppᵀ */
		expect_all("softmax vjp", gs[0], 3, (double[]){ 5.0 / 36, -1.0 / 18, -1.0 / 12 });
		y = weir_cross_entropy(x, weir_from(w, WEIR_I64, SHAPE(1), (int64_t[]){ 2 }));
		expect_all("cross entropy", y, 1, (double[]){ ln2 });
		assert_true(weir_grad(y, &x, 1, gs, 0));
		expect_all("cross entropy gradient", gs[0], 3, (double[]){ 1.0 / 6, 1.0 / 3, -1.0 / 2 });

		a = weir_zeros(w, t, SHAPE(2, 2));
		b = weir_zeros(w, t, SHAPE(2, 2));
		c = weir_zeros(w, t, SHAPE(2));
		weir_write_f64(a, (double[]){ 1, 2, 3, 4 }, 4);
		weir_write_f64(b, (double[]){ 0.5, -1, 2, 0.25 }, 4);
		weir_write_f64(c, (double[]){ 10, 20 }, 2);
		expect_all("matmul", weir_matmul(a, b), 4, (double[]){ 4.5, -0.5, 9.5, -2 });
		y = weir_linear(a, b, c); /* a bᵀ + c */
		expect_all("linear", y, 4, (double[]){ 8.5, 22.5, 7.5, 27 });
		assert_true(weir_grad(weir_sum_all(weir_mul(y, y)), (weir_tensor *[]){ a, b, c }, 3, gs, 0));
		expect_all("linear gx", gs[0], 4, (double[]){ 98.5, -5.75, 115.5, -1.5 });
		expect_all("linear gW", gs[1], 4, (double[]){ 62, 94, 207, 306 });
		expect_all("linear gb", gs[2], 2, (double[]){ 32, 99 });

		expect_all("mse", weir_mse(a, b), 1, (double[]){ (0.25 + 9 + 1 + 14.0625) / 4 });
		expect_all("var", weir_var(a, 0, NULL, false, 0), 1, (double[]){ 1.25 });
		expect_all("sample var", weir_var(a, 0, NULL, false, 1), 1, (double[]){ 5.0 / 3 });
		expect_all("norm", weir_norm(a, 0, NULL, false), 1, (double[]){ 5.47722557505166113 });
		expect_all("mean", weir_mean(a, 1, (int[]){ 0 }, false), 2, (double[]){ 2, 3 });
		expect_all("clamp", weir_clamp(b, -0.5, 0.5), 4, (double[]){ 0.5, -0.5, 0.5, 0.25 });
		expect_all("leaky relu", weir_leaky_relu(b, 0.1), 4, (double[]){ 0.5, -0.1, 2, 0.25 });
		close_clean(w);
	}
}

/* 0.5^L and 1.5^L: the products of Jacobians of a deep linear net. */
static void products(void **state)
{
	static const double factor[] = { 0.5, 1.5, 0.9, 1.1 };

	(void)state;
	for (int f = 0; f < 4; f++) {
		for (int depth = 5; depth <= 50; depth = depth == 5 ? 10 : depth + 40) {
			weir_ctx *w = open_quiet(true);
			weir_tensor *p = weir_zeros(w, WEIR_F64, SHAPE(2, 2)),
				    *x = weir_full(w, WEIR_F64, SHAPE(1, 2), 1), *y = x, *g;
			double want = 1;

			weir_write_f64(p, (double[]){ factor[f], 0, 0, factor[f] }, 4);
			for (int i = 0; i < depth; i++) {
				y = weir_linear(y, p, NULL);
				want *= factor[f];
			}
			assert_true(weir_grad(weir_sum_all(y), &x, 1, &g, 0));
			expect_all("output", y, 2, (double[]){ want, want });
			expect_all("gradient", g, 2, (double[]){ want, want });
			close_clean(w);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(functions), cmocka_unit_test(closed_forms),
					    cmocka_unit_test(products) };

	return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
