/* digits.c: page one. Twenty hidden layers learn handwritten digits; the last step shows the norm of every gradient. */
/* clang-format off */
#include <weir/weir.h>
#include <stdio.h>

/* Called once per node, at the moment its gradient is final. */
static void log_norm(const weir_grad_event *e, void *file)
{
	fprintf(file, "%-20s %-10s |g| = %.3e\n", e->name, e->op, e->norm);
}

int main(void)
{
	enum { DEPTH = 20, STEPS = 1000 };
	weir_ctx     *w   = weir_open(NULL);              /* never NULL */
	weir_dataset *set = weir_dataset_digits(w);       /* ships with the library */
	weir_module  *net = weir_list_new(w, "mlp");

	for (int i = 0; i <= DEPTH; i++)                  /* He initialisation, made for ReLU */
		weir_list_add(net, weir_linear_new(w, i ? 32 : 64, i < DEPTH ? 32 : 10, WEIR_INIT_HE));
	weir_optim *sgd = weir_sgd_new(w, net, 0.002, 0.9); /* lr, momentum */

	for (int step = 1; step <= STEPS && weir_ok(w); step++) {
		weir_tensor *x, *y, *loss;

		weir_tape_reset(w);                       /* forgets the last step, keeps its memory */
		weir_dataset_next(set, 64, &x, &y);
		for (int i = 0; i <= DEPTH; i++) {        /* this loop is the graph */
			x = weir_forward(weir_list_at(net, i), x);
			if (i < DEPTH) x = weir_relu(x);
		}
		loss = weir_cross_entropy(x, y);
		loss = weir_add(loss, weir_l2_penalty(net, 1e-4));
		if (step == STEPS) weir_on_grad(w, log_norm, stderr, NULL);
		weir_backward(loss);
		weir_optim_step(sgd);                     /* uses up the gradients */
		if (step % 100 == 0) printf("step %4d  loss %.4f\n", step, weir_item(loss));
	}
	weir_dot_write(w, "mlp.dot");                     /* the last tape, coloured by gradient */
	return weir_close(w);                             /* 0, or the first error */
}
