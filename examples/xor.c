/* xor.c: the smallest problem that one layer can't solve. Two layers, four points, plain gradient descent. */
#include <weir/weir.h>
#include <stdio.h>

int main(void)
{
	enum { STEPS = 2000 };
	static const float points[4][2] = { { 0, 0 }, { 0, 1 }, { 1, 0 }, { 1, 1 } };
	static const int32_t classes[4] = { 0, 1, 1, 0 };
	const int64_t points_shape[] = { 4, 2 }, classes_shape[] = { 4 };
	weir_ctx *w = weir_open(NULL);
	weir_module *net = weir_sequential_new(w, "xor");
	weir_tensor *x, *y;
	weir_optim *sgd;
	int right = 0;

	weir_list_add(net, weir_linear_new(w, 2, 8, WEIR_INIT_GLOROT));
	weir_list_add(net, weir_tanh_new(w));
	weir_list_add(net, weir_linear_new(w, 8, 2, WEIR_INIT_GLOROT));
	weir_summary(net, 2, points_shape, stdout);
	sgd = weir_sgd_new(w, net, 0.5, 0);

	/* these outlive the tape, which is reset at every step */
	x = weir_keep(weir_from(w, WEIR_F32, 2, points_shape, points));
	y = weir_keep(weir_from(w, WEIR_I32, 1, classes_shape, classes));

	for (int step = 1; step <= STEPS && weir_ok(w); step++) {
		weir_tensor *loss;

		weir_tape_reset(w);
		loss = weir_cross_entropy(weir_forward(net, x), y);
		weir_backward(loss);
		weir_optim_step(sgd);
		if (step == 1 || step % 500 == 0) printf("step %4d  loss %.5f\n", step, weir_item(loss));
	}

	weir_tensor *p = weir_softmax(weir_forward(net, x), -1), *best = weir_argmax(p, -1, false);

	for (int i = 0; i < 4; i++) {
		int class = (int)weir_get(best, i);

		printf("%g xor %g = %d  (certain to %.1f %%)\n", points[i][0], points[i][1], class,
		       100 * weir_get(p, 2 * i + class));
		right += class == classes[i];
	}
	return weir_close(w) || right < 4;
}
