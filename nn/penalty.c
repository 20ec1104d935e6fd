/* penalty.c: ½ λ Σ‖W‖²_F as part of the loss. */
#include "nn/module.h"

static weir_tensor *penalty(weir_tensor *const *w, int64_t n, double lambda, int least_rank, const char *who)
{
	weir_scratch s = weir__scratch_begin(w[0], who);
	weir_tensor *sum = NULL;

	for (int64_t i = 0; i < n && lambda > 0; i++) {
		weir_tensor *part;

		if (w[i]->rank < least_rank) continue;
		part = weir_sum_all(weir_square(w[i]));
		sum = sum ? weir_add(sum, part) : part;
	}
	sum = sum ? weir_affine(sum, 0.5 * lambda, 0) : weir__constant(w[0], 0);
	return weir__scratch_end(&s, sum);
}

static bool good_lambda(weir_ctx *w, double lambda, const char *who)
{
	weir_number_text number;

	if (weir__is_size(lambda)) return true;
	weir_fail(w, WEIR_ERR_ARGUMENT, "%s: lambda is %s; it must be finite and not negative", who,
		  weir__number(lambda, &number));
	return false;
}

weir_tensor *weir_l2_penalty(weir_module *m, double lambda)
{
	weir_ctx *w = weir_module_context(m);
	weir_tensor *const *all;
	int64_t n;

	if (!weir__module_usable(m, "weir_l2_penalty", "m") || !good_lambda(w, lambda, "weir_l2_penalty"))
		return weir__bad_of(w);
	all = weir__module_all(m, &n);
	if (!n) return weir_ok(w) ? weir_scalar(w, m->nn->dtype, 0) : weir__bad_of(w);
	return penalty(all, n, lambda, 2, "weir_l2_penalty");
}

weir_tensor *weir_l2_penalty_of(weir_tensor *const *params, int64_t n, double lambda)
{
	weir_ctx *w = weir__ctx_of(params && n > 0 ? params[0] : NULL);

	if (n <= 0 || !params)
		return weir_fail(w, WEIR_ERR_ARGUMENT,
				 "weir_l2_penalty_of: no tensors are given; their type and context must be known");
	if (!weir_ok(w) || !good_lambda(w, lambda, "weir_l2_penalty_of")) return weir__bad_of(w);
	for (int64_t i = 0; i < n; i++) {
		if (!params[i])
			return weir_fail(w, WEIR_ERR_ARGUMENT, "weir_l2_penalty_of: params[%lld] is NULL",
					 (long long)i);
		if (!weir__usable(params[i], "weir_l2_penalty_of")) return weir__bad_of(w);
	}
	return penalty(params, n, lambda, 0, "weir_l2_penalty_of");
}
