/* layer_norm.c: y = (x - mean) / √(variance + eps) · weight + bias over the last axis, of n entries.
 *
 * Composed of operations, so its gradients of any order follow from theirs. Right for entries of every size:
 *
 *   u = c x       c a power of two of at most 1 / (2 √n): exact, and neither u - mean nor a norm of them can overflow
 *   d = u - s, then d - mean(d)       s is the mean of u as a constant, rounded as it is: the second mean takes away what
 *                 the first one's rounding left, for entries such as 1e7 + (0, 1, 2, 4)
 *   r = ‖(d, c √(n eps))‖             √(Σd² + n c² eps) by the norm that is safe at every exponent
 *   y = d √n / r                      = c (x - mean) √n / (c √n √(variance + eps))
 *
 * y does not change when x is shifted, so a constant s leaves the gradient as it is. */
#include "nn/module.h"

#include <math.h>

#include "engine/text.h"

typedef struct layer_norm {
	weir_tensor *weight, *bias; /* [features] */
	int64_t features;
	double eps;
} layer_norm;

static weir_tensor *normalise(weir_tensor *x, double eps)
{
	static const int last[] = { -1 };
	double n = (double)x->shape[x->rank - 1], c = 0.5;
	int64_t column[WEIR_MAX_RANK];
	weir_tensor *d, *parts[2];

	while (c * c * 4 * n > 1) c *= 0.5;
	d = weir_affine(x, c, 0);
	d = weir_sub(d, weir_detach(weir_mean(d, 1, last, true)));
	d = weir_sub(d, weir_mean(d, 1, last, true));
	if (!weir_ok(x->ctx)) return d;
	for (int i = 0; i < x->rank; i++) column[i] = i < x->rank - 1 ? x->shape[i] : 1;
	parts[0] = d;
	parts[1] = weir_expand(weir__constant(x, c * sqrt(n * eps)), x->rank, column);
	return weir_div(d, weir_affine(weir_norm(weir_concat(parts, 2, -1), 1, last, true), 1 / sqrt(n), 0));
}

static weir_tensor *forward(weir_module *m, weir_tensor *x)
{
	const layer_norm *l = weir_module_data(m);
	weir_scratch s;
	weir_text_buf a, b;

	if (!x->rank || x->shape[x->rank - 1] != l->features)
		return weir_fail(x->ctx, WEIR_ERR_SHAPE,
				 "weir_layer_norm: x is %s, weight is %s; the last axis of x must equal weight's",
				 weir__describe(x, &a), weir__describe(l->weight, &b));
	s = weir__scratch_begin(x, "weir_layer_norm");
	return weir__scratch_end(&s, weir_add(weir_mul(normalise(x, l->eps), l->weight), l->bias));
}

static void describe(const weir_module *m, char *text, size_t size)
{
	const layer_norm *l = weir_module_data(m);
	weir__text t;

	weir__text_fixed(&t, text, size);
	weir__text_format(&t, "features=%lld, eps=", (long long)l->features);
	weir__text_double(&t, l->eps, 'p', 4);
}

static const weir_module_type type = { .kind = "layer_norm", .forward = forward, .describe = describe };

weir_module *weir_layer_norm_new(weir_ctx *w, int64_t features, double eps)
{
	weir_module *m;
	layer_norm *l;
	weir_number_text number;

	if (features < 1 || !(weir__is_size(eps) && eps > 0)) {
		weir_fail(w, WEIR_ERR_ARGUMENT,
			  "weir_layer_norm_new: features is %lld, eps is %s; features must be 1 or more, eps above 0",
			  (long long)features, weir__number(eps, &number));
		return weir__module_bad(w);
	}
	m = weir_module_new(w, &type, NULL, sizeof(layer_norm));
	if (weir_module_is_bad(m)) return m;
	l = weir_module_data(m);
	l->features = features;
	l->eps = eps;
	l->weight = weir_module_param(m, "weight", m->nn->dtype, 1, &features);
	l->bias = weir_module_param(m, "bias", m->nn->dtype, 1, &features);
	for (int64_t i = 0; weir_ok(w) && i < features; i++) weir__set(l->weight, i, 1);
	return weir__module_finish(m);
}
