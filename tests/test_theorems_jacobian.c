/* test_theorems_jacobian.c: how far a whole network's Jacobian is from an isometry, formed row by row through weir_vjp. */
#include "tests/theorem_check.h"

/* The eigenvalues of JJᵀ, J = dy/dx at one input: variance over squared mean. The batch holds the input N times, and row i of the vjp of the
 * unit matrix is row i of J. */
static double spread(weir_module *net, int64_t n, weir_act act)
{
	weir_ctx *w = weir_module_context(net);
	int64_t square[] = { n, n };
	weir_tensor *x, *y, *unit, *jacobian, *gram;
	double mean, squares;

	weir_tape_reset(w);
	x = weir_contiguous(weir_expand(gaussian(w, 1, n), 2, square));
	x = weir_retain_grad(x);
	y = through(net, x, act, NULL);
	unit = weir_zeros(w, WEIR_F64, 2, square);
	assert_true(weir_init_fill(unit, WEIR_INIT_DIAGONAL, 1));
	assert_true(weir_vjp(y, unit, &x, 1, &jacobian, 0));
	gram = weir_matmul(jacobian, weir_transpose(jacobian, 0, 1));
	mean = pow(norm_by_hand(jacobian), 2) / (double)n;
	squares = pow(norm_by_hand(gram), 2) / (double)n;
	assert_fine(w);
	return squares / (mean * mean) - 1;
}

/* Saxe, McClelland and Ganguli 2014: orthogonal linear networks are isometries at any depth. Pennington, Schoenholz and Ganguli 2017: wide
 * networks of L layers have eigenvalues of JJᵀ with variance over squared mean L (1/p - 1 - s), p the share of active units (1; ReLU 1/2),
 * s = -1 for Gaussian weights, 0 for orthogonal ones. */
static void pennington(void **state)
{
	enum { LAYERS = 5, N = 400, NETS = 4 };
	static const struct {
		const char *name;
		weir_init_kind init;
		weir_act act;
		double spread;
	} rows[] = {
		{ "linear Gaussian", WEIR_INIT_GLOROT_NORMAL, WEIR_ACT_IDENTITY, LAYERS },
		{ "linear orthogonal", WEIR_INIT_ORTHOGONAL, WEIR_ACT_IDENTITY, 0 },
		{ "ReLU, Gaussian", WEIR_INIT_HE, WEIR_ACT_RELU, 2 * LAYERS },
		{ "ReLU, orthogonal", WEIR_INIT_ORTHOGONAL, WEIR_ACT_RELU, LAYERS },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		weir_ctx *w = open_ieee(WEIR_F64);
		weir_module *net = chain(w, LAYERS, N, rows[i].init, 1);
		sample s = { 0 };

		for (int k = 0; k < (rows[i].spread > 0 ? NETS : 1); k++) {
			if (k) draw_again(net, rows[i].init, 1);
			take(&s, spread(net, N, rows[i].act));
		}
		within(rows[i].name, mean_of(&s), rows[i].spread, rows[i].spread > 0 ? 0.05 * rows[i].spread : 1e-10);
		close_fine(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(pennington) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
