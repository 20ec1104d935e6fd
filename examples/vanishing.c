/* vanishing.c: a gradient is a product of layer Jacobians. In a linear net whose weights are c on the diagonal, L layers multiply it by c^L: measured
 * beside computed. Then twenty layers with sigmoid, whose slope is 1/4 at most, against ReLU with He initialisation. */
#include <weir/weir.h>

#include <math.h>
#include <stdio.h>

/* What a chain of layers multiplies the gradient of its output's sum by, and its output by. */
static double through(weir_ctx *w, double c, int depth, double *out)
{
	weir_tensor *weight = weir_zeros(w, WEIR_F64, 2, (int64_t[]){ 2, 2 });
	weir_tensor *x = weir_full(w, WEIR_F64, 2, (int64_t[]){ 1, 2 }, 1), *y = x, *g;

	weir_init_fill(weight, WEIR_INIT_DIAGONAL, c);
	for (int i = 0; i < depth; i++) y = weir_linear(y, weight, NULL);
	weir_grad(weir_sum_all(y), &x, 1, &g, 0);
	*out = weir_get(y, 0);
	return weir_get(g, 0);
}

/* The gain of the gradient from the last hidden layer to the first, for one batch of digits. */
static double deep(weir_ctx *w, weir_act act, weir_init_kind init)
{
	enum { DEPTH = 20, WIDTH = 64 };
	weir_dataset *set = weir_dataset_digits(w);
	weir_tensor *x, *y, *first = NULL, *last = NULL;
	double gain;

	weir_tape_reset(w);
	weir_dataset_next(set, 64, &x, &y);
	for (int i = 0; i < DEPTH; i++) {
		x = weir_act_apply(weir_forward(weir_linear_new(w, WIDTH, WIDTH, init), x), act);
		if (i == 0) first = weir_retain_grad(x);
		if (i == DEPTH - 1) last = weir_retain_grad(x);
	}
	x = weir_forward(weir_linear_new(w, WIDTH, 10, init), x);
	weir_backward(weir_cross_entropy(x, y));
	gain = weir_item(weir_norm((weir_tensor *)weir_grad_of(first), 0, NULL, false)) /
	       weir_item(weir_norm((weir_tensor *)weir_grad_of(last), 0, NULL, false));
	return weir_ok(w) ? gain : NAN;
}

int main(void)
{
	static const double factor[] = { 0.5, 1.5, 0.9, 1.1 };
	static const int depth[] = { 5, 10, 50 };
	weir_ctx *w = weir_open(NULL);
	int wrong = 0;

	printf("a linear net of L layers with c on the diagonal: what becomes of output and gradient\n\n");
	printf("%4s %4s  %-14s %-14s %-14s\n", "c", "L", "output", "gradient", "c^L");
	for (int i = 0; i < 4; i++) {
		for (int k = 0; k < 3; k++) {
			double out, gradient = through(w, factor[i], depth[k], &out), want = pow(factor[i], depth[k]);

			printf("%4.1f %4d  %-14.6g %-14.6g %-14.6g\n", factor[i], depth[k], out, gradient, want);
			if (!(fabs(out - want) <= 1e-6 * want && fabs(gradient - want) <= 1e-6 * want)) wrong = 1;
		}
	}

	double sigmoid = deep(w, WEIR_ACT_SIGMOID, WEIR_INIT_GLOROT), relu = deep(w, WEIR_ACT_RELU, WEIR_INIT_HE);

	printf("\n19 layers of 64 on handwritten digits: |gradient| at the first layer over that at the last\n\n");
	printf("sigmoid, Glorot  %-10.3g %.3f per layer (sigmoid' is at most 0.25)\n", sigmoid, pow(sigmoid, 1.0 / 19));
	printf("ReLU, He         %-10.3g %.3f per layer\n", relu, pow(relu, 1.0 / 19));
	if (!(sigmoid < 1e-8 && relu > 0.02 && relu < 50)) wrong = 1;
	return weir_close(w) || wrong;
}
