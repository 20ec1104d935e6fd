/* vanishing.c: c to the power of L, measured in networks of L layers that multiply by c, beside the same number computed; then what
 * sigmoid and ReLU do to the gradient of a network of 20 layers. Ends with 1 if measured and computed differ. */
#include <weir/weir.h>

#include <math.h>
#include <stdio.h>

/* One forward and backward through L layers diag(c) on ones: what comes out, and what comes back to the input. */
static bool power(double c, int depth, double *forward, double *backward)
{
	weir_ctx *w = weir_open(NULL);
	weir_module *net = weir_list_new(w, "mlp");
	weir_flow *flow = weir_flow_watch(w, NULL);
	weir_linear_options o;
	weir_tensor *x, *loss;

	weir_module_dtype(w, WEIR_F64);
	weir_linear_options_init(&o);
	o.init = WEIR_INIT_DIAGONAL;
	o.init_scale = c;
	for (int i = 0; i < depth; i++) weir_list_add(net, weir_linear_with(w, 2, 2, &o));
	x = weir_full(w, WEIR_F64, 2, (int64_t[]){ 1, 2 }, 1);
	loss = weir_sum_all(weir_forward(net, x));
	weir_backward(loss);
	weir_flow_step(flow, loss);
	*forward = weir_item(loss) / 2; /* of two ones */
	*backward = weir_flow_summary_of(flow)->total_gain;
	return weir_close(w) == 0;
}

static bool tables(void)
{
	static const double factors[] = { 0.5, 1.5, 0.9, 1.1 };
	static const int depths[] = { 5, 10, 50 };
	bool good = true;

	for (int i = 0; i < 4; i++) {
		printf("%g^L\n%6s %14s %14s %14s\n", factors[i], "L", "computed", "output", "gradient");
		for (int k = 0; k < 3; k++) {
			double want = pow(factors[i], depths[k]), forward = 0, backward = 0;
			bool ok = power(factors[i], depths[k], &forward, &backward) &&
				  fabs(forward / want - 1) < 1e-6 && fabs(backward / want - 1) < 1e-6;

			printf("%6d %14.6g %14.6g %14.6g%s\n", depths[k], want, forward, backward,
			       ok ? "" : "  differs");
			good = good && ok;
		}
		printf("\n");
	}
	return good;
}

/* 20 hidden layers of 32 on handwritten digits. */
static bool activation(const char *name, weir_act act, weir_init_kind init)
{
	enum { HIDDEN = 20 };
	weir_ctx *w = weir_open(NULL);
	weir_dataset *digits = weir_dataset_digits(w);
	weir_module *net = weir_list_new(w, "mlp");
	weir_flow *flow = weir_flow_watch(w, NULL);
	const weir_flow_summary *s;
	weir_tensor *x, *y, *loss;

	for (int i = 0; i <= HIDDEN; i++)
		weir_list_add(net, weir_linear_new(w, i ? 32 : 64, i < HIDDEN ? 32 : 10, init));
	weir_dataset_next(digits, 64, &x, &y);
	for (int i = 0; i <= HIDDEN; i++) {
		x = weir_forward(weir_list_at(net, i), x);
		if (i < HIDDEN) x = weir_act_apply(x, act);
	}
	loss = weir_cross_entropy(x, y);
	weir_backward(loss);
	if (weir_flow_step(flow, loss)) {
		s = weir_flow_summary_of(flow);
		printf("%-16s %10.3f %12.2e   %s%s%s\n", name, s->gain_per_layer, s->total_gain,
		       weir_verdict_name(s->verdict), s->cause ? ": " : "", s->cause ? s->cause : "");
	}
	return weir_close(w) == 0;
}

int main(void)
{
	bool good = tables();

	printf("the gradient of 20 layers %s %12s\n", "per layer", "in all");
	good = activation("sigmoid, Glorot", WEIR_ACT_SIGMOID, WEIR_INIT_GLOROT) && good;
	good = activation("ReLU, Glorot", WEIR_ACT_RELU, WEIR_INIT_GLOROT) && good;
	good = activation("ReLU, He", WEIR_ACT_RELU, WEIR_INIT_HE) && good;
	return good ? 0 : 1;
}
