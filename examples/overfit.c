/* overfit.c: 30 noisy points and a network that could learn them by heart. How much the L2 penalty ½ λ Σ‖W‖² lets it.
 *
 * Without a penalty the training error falls below the noise, 0.09, which no true model does: the network has learned the noise, the
 * validation error says so, and the curve through the points is steep. A penalty makes weights small, and with them the
 * slope that a network can have. Too much of it, and the network learns nothing. */
#include <weir/weir.h>
#include <stdio.h>

enum { TRAIN = 30, VALID = 300, GRID = 401, WIDTH = 48, STEPS = 5000 };
static const double NOISE = 0.3;

/* y = 4x³ - 3x with noise, at x drawn from [-1, 1]. Both are kept. */
static void draw(weir_ctx *w, int64_t n, weir_tensor **x, weir_tensor **y)
{
	const int64_t shape[] = { n, 1 };
	weir_tensor *u = weir_uniform(w, WEIR_F64, 2, shape, -1, 1);
	weir_tensor *curve = weir_sub(weir_affine(weir_pow(u, 3), 4, 0), weir_affine(u, 3, 0));

	*x = weir_keep(u);
	*y = weir_keep(weir_add(curve, weir_normal(w, WEIR_F64, 2, shape, 0, NOISE)));
}

/* Largest |dy/dx| over [-1, 1]. Each y depends on its own x alone, so the gradient of their sum holds all slopes. */
static double steepest(weir_ctx *w, weir_module *net)
{
	const int64_t shape[] = { GRID, 1 };
	double at[GRID];
	weir_tensor *x, *slope;

	for (int i = 0; i < GRID; i++) at[i] = 2.0 * i / (GRID - 1) - 1;
	x = weir_from(w, WEIR_F64, 2, shape, at);
	weir_grad(weir_sum_all(weir_forward(net, x)), &x, 1, &slope, 0);
	return weir_item(weir_amax(weir_abs(slope), 0, NULL, false));
}

/* Trains from the same start on the same points, whatever lambda is: all of it hangs on the context's seed. */
static int run(double lambda)
{
	weir_options o;
	weir_ctx *w;
	weir_module *net;
	weir_tensor *x, *y, *xv, *yv;
	weir_optim *adam;
	double train, valid;

	weir_options_init(&o);
	o.threads = 1; /* too little work to share; the numbers are the same with any */
	w = weir_open(&o);
	net = weir_sequential_new(w, "net");
	weir_module_dtype(w, WEIR_F64);
	weir_list_add(net, weir_linear_new(w, 1, WIDTH, WEIR_INIT_GLOROT));
	weir_list_add(net, weir_tanh_new(w));
	weir_list_add(net, weir_linear_new(w, WIDTH, WIDTH, WEIR_INIT_GLOROT));
	weir_list_add(net, weir_tanh_new(w));
	weir_list_add(net, weir_linear_new(w, WIDTH, 1, WEIR_INIT_GLOROT));
	adam = weir_adam_new(w, net, 0.01);
	draw(w, TRAIN, &x, &y);
	draw(w, VALID, &xv, &yv);

	for (int step = 0; step < STEPS && weir_ok(w); step++) {
		weir_tensor *
			loss; /* C leaves open which argument is computed first, and the order of a sum is the tape's */

		weir_tape_reset(w);
		loss = weir_mse(weir_forward(net, x), y);
		weir_backward(weir_add(loss, weir_l2_penalty(net, lambda)));
		weir_optim_step(adam);
	}

	weir_tape_reset(w);
	train = weir_item(weir_mse(weir_forward(net, x), y));
	valid = weir_item(weir_mse(weir_forward(net, xv), yv));
	printf("%-8g %8.4f %11.4f %8.4f %11.2f %11.2f\n", lambda, train, valid, valid - train,
	       weir_item(weir_l2_penalty(net, 2)), steepest(w, net));
	return weir_close(w);
}

int main(void)
{
	static const double lambdas[] = { 0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1 };
	int status = 0;

	printf("%d points, noise of variance %.2f; a network of %d tanh units in two layers\n\n", TRAIN, NOISE * NOISE,
	       2 * WIDTH);
	printf("lambda      train  validation      gap  sum |W|^2  steepest slope\n");
	for (size_t i = 0; i < sizeof(lambdas) / sizeof(*lambdas) && !status; i++) status = run(lambdas[i]);
	printf("\ntrue curve: slope 9 at its ends; errors below %.2f on the training points are noise learned by heart\n",
	       NOISE * NOISE);
	return status;
}
