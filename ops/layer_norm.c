/* layer_norm: y = (x - mean) / √(variance + eps) · weight + bias over the last axis. A primitive: composed, it reads and writes memory ten times.
 *
 *   shape      x [..., n], weight [n], bias [n], y like x; eps above 0
 *   gradient   with x̂ what stands before weight, and g = gy · weight: gx = (g - mean(g) - x̂ mean(g x̂)) / √(variance + eps);
 *              gweight = Σ gy x̂ and gbias = Σ gy over all rows
 *   keeps      x, weight
 *   numerics   f64 for f32 too, rounded once; right for entries of every size, and where they differ in their last digits only
 */
#include "ops/matrix.h"
#include "kernels/layer_norm.h"

#include <float.h>
#include <math.h>

#include "engine/number.h"

typedef struct layer_norm_attr {
	double eps;
} layer_norm_attr;

static const weir_field fields[] = {
	{ "eps", WEIR_FIELD_DOUBLE, offsetof(layer_norm_attr, eps), 0 },
	{ 0 },
};

static bool shape(weir_shaping *s)
{
	static const char *const names[] = { "x", "weight", "bias" };
	const weir_tensor *x = s->in[0];
	weir_text_buf a, b;

	if (!weir__need_float(s)) return false;
	for (int i = 1; i < 3; i++) {
		const weir_tensor *p = s->in[i];

		if (x->rank && p->rank == 1 && p->shape[0] == x->shape[x->rank - 1]) continue;
		weir_fail(s->ctx, WEIR_ERR_SHAPE, "%s: x is %s, %s is %s; the last axis of x must equal %s's",
			  weir__who(s->ctx, s->op), weir__describe(x, &a), names[i], weir__describe(p, &b), names[i]);
		return false;
	}
	return weir__copy_shape(s, x);
}

static double eps_of(const weir_tensor *y)
{
	return ((const layer_norm_attr *)y->attr)->eps;
}

static void forward(weir_tensor *y)
{
	const weir_tensor *x = y->in[0];
	weir_matrix m[3] = { { 0 } };

	if (weir__matrix_of(x, true, &m[0]) && weir__matrix_of(y->in[1], true, &m[1]) &&
	    weir__matrix_of(y->in[2], true, &m[2]))
		weir__layer_norm((weir_dtype)y->dtype, m[0].rows, m[0].columns, m[0].data, m[1].data, m[2].data,
				 eps_of(y), weir_out(y), y->ctx->threads);
	for (int i = 0; i < 3; i++) weir__matrix_free(x, &m[i]);
}

/* x̂ and 1 / √(variance + eps) in operations that are right for entries of every size:
 *
 *   u = c x       c a power of two of at most 1 / (2 √n): exact, and neither u - mean nor a norm of them can overflow
 *   d = u - s, then d - mean(d)       s is the mean of u as a constant, rounded as it is: the second mean takes away what
 *                 the first one's rounding left. A shift doesn't change x̂, so its gradient is as it was
 *   r = ‖(d, c √(n eps))‖             √(Σd² + n c² eps) by the norm that is safe at every exponent
 *   x̂ = d √n / r */
static weir_tensor *normalise(weir_tensor *x, double eps, weir_tensor **slope)
{
	static const int last[] = { -1 };
	double n = (double)x->shape[x->rank - 1], c = 0.5;
	int64_t column[WEIR_MAX_RANK];
	weir_tensor *d, *length, *parts[2];

	while (c * c * 4 * n > 1) c *= 0.5;
	d = weir_affine(x, c, 0);
	d = weir_sub(d, weir_detach(weir_mean(d, 1, last, true)));
	d = weir_sub(d, weir_mean(d, 1, last, true));
	if (!weir_ok(x->ctx)) return d;
	for (int i = 0; i < x->rank; i++) column[i] = i < x->rank - 1 ? x->shape[i] : 1;
	parts[0] = d;
	parts[1] = weir_expand(weir__constant(x, c * sqrt(n * eps)), x->rank, column);
	length = weir_affine(weir_norm(weir_concat(parts, 2, -1), 1, last, true), 1 / sqrt(n), 0);
	*slope = weir_div(weir__constant(x, c), length);
	return weir_div(d, length);
}

/* Gradients of x and weight. */
static void rule(weir_tensor *x, weir_tensor *weight, weir_tensor *gy, double eps, unsigned need, weir_tensor *gx[])
{
	static const int first[] = { 0 }, last[] = { -1 };
	weir_tensor *slope = NULL, *hat = normalise(x, eps, &slope), *g;

	if (!weir_ok(x->ctx)) return;
	if (need & 2) gx[1] = weir_sum(weir__flat(weir_mul(gy, hat)), 1, first, false);
	if (!(need & 1)) return;
	g = weir_mul(gy, weight);
	gx[0] = weir_sub(g, weir_mean(g, 1, last, true));
	gx[0] = weir_sub(gx[0], weir_mul(hat, weir_mean(weir_mul(g, hat), 1, last, true)));
	gx[0] = weir_mul(gx[0], slope);
}

/* Where a row of equal entries has a length, c √eps, that f32 can't hold, nor 1 / √eps. c is no less than 1 / (4 √n). */
static bool too_small(const weir_tensor *x, double eps)
{
	double n = (double)x->shape[x->rank - 1];

	return x->dtype == WEIR_F32 && sqrt(eps) < 4 * sqrt(n) * (double)FLT_MIN;
}

static void rule_in_f64(weir_tensor *x, weir_tensor *weight, weir_tensor *gy, double eps, unsigned need,
			weir_tensor *gx[])
{
	rule(weir_cast(x, WEIR_F64), weir_cast(weight, WEIR_F64), weir_cast(gy, WEIR_F64), eps, need, gx);
	for (int i = 0; i < 2; i++) {
		if (gx[i]) gx[i] = weir_cast(gx[i], WEIR_F32);
	}
}

static void vjp(weir_tensor *y, weir_tensor *gy, unsigned need, weir_tensor *gx[])
{
	static const int first[] = { 0 };
	weir_tensor *x = y->in[0], *weight = y->in[1];
	double eps = eps_of(y);

	if (need & 4) gx[2] = weir_sum(weir__flat(gy), 1, first, false);
	if (!(need & 3)) return;
	if (!x->numel) { /* no mean to take: gy is as empty as all that follows */
		if (need & 2) gx[1] = weir_sum(weir__flat(gy), 1, first, false);
		if (need & 1) gx[0] = gy;
	} else if (too_small(x, eps)) {
		rule_in_f64(x, weight, gy, eps, need, gx);
	} else {
		rule(x, weight, gy, eps, need, gx);
	}
}

static void vjp_fused(weir_tensor *y, const weir_tensor *gy, weir_grad_dst dst[])
{
	const weir_tensor *x = y->in[0];
	const weir_layer_norm_grads grads = { .x_mode = dst[0].mode,
					      .weight_mode = dst[1].mode,
					      .bias_mode = dst[2].mode,
					      .x = dst[0].data,
					      .weight = dst[1].data,
					      .bias = dst[2].data };
	weir_matrix g, mx = { 0 }, weight = { 0 };
	size_t got = 0, bytes;
	void *work;

	weir__matrix_of(gy, true, &g);
	bytes = weir__layer_norm_workspace(g.rows, g.columns);
	work = weir__scratch_alloc(y->ctx, bytes ? bytes : 1, &got);
	if (work && weir__matrix_of(x, true, &mx) && weir__matrix_of(y->in[1], true, &weight))
		weir__layer_norm_vjp((weir_dtype)y->dtype, g.rows, g.columns, mx.data, weight.data, g.data, eps_of(y),
				     &grads, work, y->ctx->threads);
	weir__matrix_free(x, &mx);
	weir__matrix_free(x, &weight);
	if (work) weir__scratch_free(y->ctx, work, got);
}

const weir_op weir_op_layer_norm = {
	.name = "layer_norm",
	.arity = 3,
	.keeps = WEIR_KEEP_IN0 | WEIR_KEEP_IN1,
	.attr_size = sizeof(layer_norm_attr),
	.fields = fields,
	.shape = shape,
	.forward = forward,
	.vjp = vjp,
	.vjp_fused = vjp_fused,
};

weir_tensor *weir_layer_norm(weir_tensor *x, weir_tensor *weight, weir_tensor *bias, double eps)
{
	char text[WEIR__NUMBER_MAX];

	if (!(eps > 0) || isinf(eps)) {
		if (!weir__usable(x, "weir_layer_norm")) return weir__bad(x);
		weir__format_double(text, sizeof text, eps, 'g', 0);
		return weir_fail(x->ctx, WEIR_ERR_ARGUMENT, "weir_layer_norm: eps is %s; it must be above 0", text);
	}
	return weir__apply(&weir_op_layer_norm, (weir_tensor *[]){ x, weight, bias }, 3, &(layer_norm_attr){ eps });
}
