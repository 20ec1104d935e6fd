/* second_order.c: gradients of gradients, three uses, each against its closed form.
 *
 * weir_grad() with WEIR_CREATE_GRAPH records the gradient computation on the tape like any other, so its result can be
 * differentiated again. */
#include <weir/weir.h>
#include <math.h>
#include <stdio.h>

enum { N = 3 };

static int compare(const char *what, double got, double want)
{
	int bad = !(fabs(got - want) <= 1e-12 * fmax(1.0, fabs(want)));

	printf("  %-12s %16.12f   closed form %16.12f%s\n", what, got, want, bad ? "   DIFFERS" : "");
	return bad;
}

/* f(x) = ¼ Σ x⁴ + ½ xᵀ A x. Its Hessian A + 3 diag(x²) is never formed: H v is the gradient of v · ∇f. */
static int hessian_vector_product(weir_ctx *w)
{
	static const double a[N][N] = { { 2, 1, 0 }, { 1, 3, -1 }, { 0, -1, 4 } }, at[N] = { 1, -2, 0.5 },
			    direction[N] = { 1, 1, -1 };
	weir_tensor *A = weir_from(w, WEIR_F64, 2, (int64_t[]){ N, N }, a);
	weir_tensor *x = weir_from(w, WEIR_F64, 2, (int64_t[]){ 1, N }, at);
	weir_tensor *v = weir_from(w, WEIR_F64, 2, (int64_t[]){ 1, N }, direction);
	weir_tensor *quartic = weir_affine(weir_sum_all(weir_pow(x, 4)), 0.25, 0);
	weir_tensor *f = weir_add(quartic, weir_affine(weir_sum_all(weir_mul(weir_matmul(x, A), x)), 0.5, 0));
	weir_tensor *g, *hv;
	int bad = 0;

	printf("Hessian-vector product\n");
	weir_grad(f, &x, 1, &g, WEIR_CREATE_GRAPH);
	weir_grad(weir_sum_all(weir_mul(g, v)), &x, 1, &hv, 0);
	for (int i = 0; i < N; i++) {
		double want = 3 * at[i] * at[i] * direction[i];

		for (int j = 0; j < N; j++) want += a[i][j] * direction[j];
		bad += compare("(H v)[i]", weir_get(hv, i), want);
	}
	return bad;
}

/* A penalty on the slope of a model d(x) = Σ w x² keeps ‖∇ₓd‖ near 1: p = (‖2 w x‖ - 1)². Training with it needs dp/dw, through the gradient. */
static int gradient_penalty(weir_ctx *w)
{
	static const double at[N] = { 1, -2, 0.5 }, weights[N] = { 0.5, 0.25, -1 };
	weir_tensor *x = weir_from(w, WEIR_F64, 1, (int64_t[]){ N }, at);
	weir_tensor *weight = weir_param_new(w, "weight", WEIR_F64, 1, (int64_t[]){ N });
	weir_tensor *g, *slope, *penalty;
	double norm = 0;
	int bad = 0;

	printf("gradient penalty\n");
	weir_write_f64(weight, weights, N);
	weir_grad(weir_sum_all(weir_mul(weight, weir_square(x))), &x, 1, &g, WEIR_CREATE_GRAPH);
	slope = weir_norm(g, 0, NULL, false);
	penalty = weir_square(weir_affine(slope, 1, -1));
	weir_backward(penalty); /* into weight's accumulator */
	for (int i = 0; i < N; i++) norm += 4 * weights[i] * weights[i] * at[i] * at[i];
	norm = sqrt(norm);
	bad += compare("penalty", weir_item(penalty), (norm - 1) * (norm - 1));
	for (int i = 0; i < N; i++)
		bad += compare("dp/dw[i]", weir_get(weir_grad_of(weight), i),
			       2 * (norm - 1) * 4 * weights[i] * at[i] * at[i] / norm);
	return bad;
}

/* Newton's method for f(x) = x - ln x, whose smallest value is at 1: each step is x - f'/f'' = 2x - x². */
static int newton(weir_ctx *w)
{
	double x0 = 0.5;
	int bad = 0;

	printf("Newton steps\n");
	for (int step = 0; step < 6; step++) {
		weir_tensor *x = weir_scalar(w, WEIR_F64, x0), *g, *h;

		weir_grad(weir_sub(x, weir_log(x)), &x, 1, &g, WEIR_CREATE_GRAPH);
		weir_grad(g, &x, 1, &h, 0);
		bad += compare("x", x0 - weir_item(g) / weir_item(h), 2 * x0 - x0 * x0);
		x0 -= weir_item(g) / weir_item(h);
		weir_tape_reset(w);
	}
	return bad + compare("minimum at", x0, 1);
}

int main(void)
{
	weir_ctx *w = weir_open(NULL);
	int bad = hessian_vector_product(w) + gradient_penalty(w) + newton(w);

	return weir_close(w) || bad;
}
