/* custom_op.c: an operation of your own, y = x³, through the same door as the library's.
 *
 * It says how its result is shaped, how it is computed, which values its gradient rule needs, and the rule: once in
 * tensor operations, so that it can be differentiated again, and once in a single pass over memory, for speed. The
 * gradient check compares both orders with differences of values. docs/adding-an-op.md tells how to add one to the
 * library itself. */
#include <stdio.h>
#include <weir/weir.h>

static bool shape(weir_shaping *s)
{
	if (!weir_same_shape(s)) return false; /* fills type, rank and shape from the operand */
	if (s->dtype == WEIR_F64) return true;
	weir_fail(s->ctx, WEIR_ERR_DTYPE, "cube: x is %s; it takes f64", weir_dtype_name(s->dtype));
	return false;
}

static void forward(weir_tensor *y)
{
	const double *x = weir_data(weir_input(y, 0));
	double *out = weir_out(y);

	for (int64_t i = 0; i < weir_numel(y); i++) out[i] = x[i] * x[i] * x[i];
}

/* gx = gy · 3 x² */
static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	weir_tensor *x = weir_input(y, 0);

	(void)need; /* bit 0 is set: with one operand, nobody asks otherwise */
	gx[0] = weir_mul(gy, weir_affine(weir_mul(x, x), 3.0, 0.0));
}

/* The same, without a tape and in one pass. dst says where to, and whether to write or to add. */
static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	const double *x = weir_data(weir_input(y, 0)), *g = weir_data(gy);
	double *gx = dst[0].data;

	for (int64_t i = 0; i < weir_numel(y); i++) {
		double here = g[i] * 3.0 * x[i] * x[i];

		if (dst[0].mode == WEIR_DST_WRITE) gx[i] = here;
		if (dst[0].mode == WEIR_DST_ADD) gx[i] += here;
	}
}

static const weir_op cube_op = {
	.name = "cube",
	.arity = 1,
	.keeps = WEIR_KEEP_IN0,
	.flags = WEIR_OP_ELEMENTWISE,
	.shape = shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

static weir_tensor *cube(weir_tensor *x)
{
	x = weir_contiguous(x); /* the loops above read row by row; a view may lie otherwise */
	return weir_op_apply(&cube_op, &x, 1, NULL);
}

/* What is checked: cube inside an expression, with an operand that is used twice. */
static weir_tensor *function(weir_tensor *const *xs, int n, void *user)
{
	weir_tensor *y = cube(xs[0]); /* C leaves open which argument of a call comes first */

	(void)n;
	(void)user;
	return weir_mul(y, weir_sigmoid(xs[0]));
}

int main(void)
{
	weir_ctx *w = weir_open(NULL);
	weir_tensor *x = weir_from(w, WEIR_F64, 1, (const int64_t[]){ 4 }, (const double[]){ -1.5, -0.25, 0.5, 2.0 }),
		    *g;
	bool passed = true;

	weir_print(cube(x), stdout);
	if (weir_grad(weir_sum_all(cube(x)), &x, 1, &g, 0)) weir_print(g, stdout);
	for (int order = 1; order <= 2; order++) {
		weir_gradcheck_options o;
		weir_gradcheck_result r;

		weir_gradcheck_options_init(&o);
		o.order = order;
		r = weir_gradcheck(function, NULL, &x, 1, &o);
		printf("order %d: %s, %s\n", order, r.passed ? "passed" : "FAILED", r.advice);
		passed = passed && r.passed;
	}
	return weir_close(w) || !passed;
}
