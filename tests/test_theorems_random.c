/* test_theorems_random.c: what random weights do to a gradient, on average and in spread, read from the instrument. Each test stands
 * under its statement and that statement's source. Seeds are fixed, so nothing here depends on luck. */
#include "tests/theorem_check.h"

/* One sample, one direction behind it; the norm of the gradient by layer. */
static void observe_one(weir_flow *f, weir_module *net, int64_t width, weir_act act)
{
	weir_ctx *w = weir_module_context(net);
	weir_tensor *y;

	weir_tape_reset(w);
	y = through(net, gaussian(w, 1, width), act, NULL);
	observe(f, against(y, gaussian(w, 1, width)));
}

/* He et al. 2015: behind ReLU a layer multiplies the root mean square of the value by √(fan_in Var W / 2), and that of the gradient's
 * elements by √(fan_out Var W / 2). In square layers that is 1 both with Var W = 2 / fan_in, and 1/√2 with Glorot's 2 / (fan_in +
 * fan_out). */
static void he(void **state)
{
	static const struct {
		weir_init_kind init;
		double gain;
	} rows[] = { { WEIR_INIT_HE, 1 },
		     { WEIR_INIT_HE_UNIFORM, 1 },
		     { WEIR_INIT_GLOROT, 0.70710678118654752 },
		     { WEIR_INIT_GLOROT_NORMAL, 0.70710678118654752 } };
	enum { LAYERS = 20, N = 128, NETS = 20 };

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_module *net = chain(w, LAYERS, N, rows[i].init, 1);
		weir_flow *f = watch_all(w);
		sample back = { 0 }, out = { 0 };

		for (int k = 0; k < NETS; k++) {
			draw_again(net, rows[i].init, 1);
			observe_one(f, net, N, WEIR_ACT_RELU);
			for (int l = 0; l < LAYERS; l++) {
				take(&back, pow(weir_flow_layer_at(f, l)->gain, 2));
				take(&out, pow(weir_flow_layer_at(f, l)->out_gain, 2));
			}
		}
		within("root mean square gain", sqrt(mean_of(&back)), rows[i].gain, 0.03 * rows[i].gain);
		within("root mean square forward gain", sqrt(mean_of(&out)), rows[i].gain, 0.03 * rows[i].gain);
		close_fine(w);
	}
}

/* The same where the width changes. Var W = 2 / fan_in fixes the forward pass at 1, and leaves the root mean square of the gradient's
 * elements a gain of √(fan_out / fan_in). A norm has √fan_out of these in front of the layer and √fan_in behind: its gain, the one that the
 * instrument tells, is √(fan_in Var W / 2), 1 again. */
static void he_widths(void **state)
{
	static const int64_t widths[] = { 64, 256, 64 };
	enum { NETS = 300 };
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_module *net = weir_list_new(w, "mlp");
	weir_flow *f = watch_all(w);
	sample back[2] = { { 0 } }, out[2] = { { 0 } };

	(void)state;
	for (int l = 0; l < 2; l++)
		weir_list_add(net, weir_linear_with(w, widths[l], widths[l + 1],
						    &(weir_linear_options){ .init = WEIR_INIT_HE, .init_scale = 1 }));
	for (int k = 0; k < NETS; k++) {
		draw_again(net, WEIR_INIT_HE, 1);
		observe_one(f, net, widths[0], WEIR_ACT_RELU);
		for (int l = 0; l < 2; l++) {
			take(&back[l], pow(weir_flow_layer_at(f, l)->gain, 2));
			take(&out[l], pow(weir_flow_layer_at(f, l)->out_gain, 2));
		}
	}
	for (int l = 0; l < 2; l++) {
		double fans = sqrt((double)widths[l + 1] / (double)widths[l]), gain = sqrt(mean_of(&back[l]));

		relative("gain of the norm", gain, 1, 0.03);
		relative("gain of the elements' root mean square", gain * fans, l ? 0.5 : 2, 0.03);
		relative("forward gain", sqrt(mean_of(&out[l])), 1, 0.03);
	}
	close_fine(w);
}

/* Hanin 2018: in a He-initialised ReLU network E ‖dL/dx‖² / ‖dL/dy‖² is 1 at any depth. Hanin and Nica 2020: the logarithm is about
 * normal, with variance 5 Σ 1/n_l and mean of minus half of that: 2/n of it is the weights', 3/n the masks'. */
static void hanin(void **state)
{
	enum { LAYERS = 20, N = 64, NETS = 1000 };
	weir_ctx *w = open_ieee(WEIR_F64);
	weir_module *net = chain(w, LAYERS, N, WEIR_INIT_HE, 1);
	weir_flow *f = watch_all(w);
	sample squares[LAYERS] = { { 0 } }, logs = { 0 };

	(void)state;
	for (int k = 0; k < NETS; k++) {
		double ratio = 1;

		draw_again(net, WEIR_INIT_HE, 1);
		observe_one(f, net, N, WEIR_ACT_RELU);
		for (int l = LAYERS - 1; l >= 0; l--) {
			ratio *= pow(weir_flow_layer_at(f, l)->gain, 2);
			take(&squares[l], ratio);
		}
		take(&logs, log(ratio));
	}
	for (int l = 0; l < LAYERS; l++) three_errors("mean square of the gradient", &squares[l], 1, 0.1);
	relative("variance of ln |grad|²", variance_of(&logs), 5.0 * LAYERS / N, 0.15);
	relative("mean of ln |grad|²", mean_of(&logs), -2.5 * LAYERS / N, 0.15);
	close_fine(w);
}

/* Newman 1986: in a product of Gaussian matrices (variance 1/n) each layer's squared gain is chi²_n / n, independent of all else, so
 * E ln gain = (psi(n/2) + ln(2/n)) / 2: below 0, although the mean square is 1. */
static void newman(void **state)
{
	static const struct {
		int64_t n;
		double mean; /* with psi(2) = 1 - 0.5772…, psi(8) = 2.0156… */
	} rows[] = { { 4, -0.13518142273 }, { 16, -0.03190003186 } };
	enum { LAYERS = 200, NETS = 100 };

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_module *net = chain(w, LAYERS, rows[i].n, WEIR_INIT_GLOROT_NORMAL, 1);
		weir_flow *f = watch_all(w);
		sample logs = { 0 }, squares = { 0 };

		for (int k = 0; k < NETS; k++) {
			draw_again(net, WEIR_INIT_GLOROT_NORMAL, 1);
			observe_one(f, net, rows[i].n, WEIR_ACT_IDENTITY);
			for (int l = 0; l < LAYERS; l++) {
				take(&logs, log(weir_flow_layer_at(f, l)->gain));
				take(&squares, pow(weir_flow_layer_at(f, l)->gain, 2));
			}
		}
		three_errors("mean of ln gain", &logs, rows[i].mean, 0.004);
		three_errors("mean of the squared gain", &squares, 1, 0.01);
		close_fine(w);
	}
}

/* The additions of an identity (He et al. 2016) and of a branch that is independent of it and has squared gain g² (in the mean): the mean square
 * of the gradient grows by 1 + g² per block, for the cross term has mean 0. g = 1: 2^L. g = 1/√L: (1 + 1/L)^L < e (Hanin and Rolnick 2018).
 * Measured: the mean over 20 networks of ‖dL/dx‖² / ‖dL/dy‖², branches of one linear layer, with ReLU in front of it or without. */
static void residual(void **state)
{
	enum { LAYERS = 10, N = 256, NETS = 20 };

	(void)state;
	for (int i = 0; i < 4; i++) {
		bool scaled = i % 2, relu = i / 2;
		double scale = scaled ? 1 / sqrt(LAYERS) : 1, want = pow(1 + scale * scale, LAYERS);
		weir_init_kind init = relu ? WEIR_INIT_HE : WEIR_INIT_GLOROT_NORMAL;
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_module *net = weir_list_new(w, "net");
		weir_flow *f = watch_all(w);
		sample growth = { 0 }, out = { 0 };

		for (int l = 0; l < LAYERS; l++) {
			weir_linear_options o = { .init = init, .init_scale = 1 };
			weir_module *branch = weir_sequential_new(w, NULL);

			if (relu) weir_module_add(branch, NULL, weir_relu_new(w));
			weir_module_add(branch, NULL, weir_linear_with(w, N, N, &o));
			weir_list_add(net, weir_residual_new(w, branch, scale));
		}
		for (int k = 0; k < NETS; k++) {
			double forward = 1;

			draw_again(net, init, 1);
			observe_one(f, net, N, WEIR_ACT_IDENTITY);
			within("blocks", (double)weir_flow_layer_count(f), LAYERS, 0);
			for (int l = 0; l < LAYERS; l++) forward *= pow(weir_flow_layer_at(f, l)->out_gain, 2);
			take(&growth, pow(weir_flow_summary_of(f)->total_gain, 2));
			take(&out, forward);
		}
		relative(scaled ? "growth, branch / √L" : "growth, branch gain 1", mean_of(&growth), want, 0.15);
		relative(scaled ? "forward, branch / √L" : "forward, branch gain 1", mean_of(&out), want, 0.15);
		close_fine(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(he),     cmocka_unit_test(he_widths), cmocka_unit_test(hanin),
		cmocka_unit_test(newman), cmocka_unit_test(residual),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
