/* accumulator.c: the gradients that parameters accumulate: what a pass leaves there, and what users do with it.
 *
 * An accumulator is fresh until the first gradient after weir_zero_grad() or an optimiser's step; that one's memory it takes over, later ones are
 * added. A pass puts its gradients aside and hands them over when it is through, so that one that fails leaves accumulators as they were. */
#include <string.h>

#include "engine/pass.h"

/* ---- what a pass leaves ---- */

bool weir__stage(weir_pass *p, weir_kept *k, weir_tensor *grad, double norm)
{
	if (p->n_staged == p->staged_capacity) {
		int64_t more = p->staged_capacity ? 2 * p->staged_capacity : 64;
		size_t bytes = (size_t)more * sizeof *p->staged;
		struct weir_staged *bigger = weir__pool_take(p->w, &bytes);

		if (!bigger) return false;
		if (p->n_staged) memcpy(bigger, p->staged, (size_t)p->n_staged * sizeof *bigger);
		if (p->staged) weir__pool_give(p->w, p->staged, (size_t)p->staged_capacity * sizeof *p->staged);
		p->staged = bigger;
		p->staged_capacity = more;
	}
	p->staged[p->n_staged++] = (struct weir_staged){ k, grad, norm };
	return true;
}

bool weir__stage_room(weir_pass *p)
{
	for (int64_t i = 0; i < p->n_staged; i++) {
		weir_kept *k = p->staged[i].k;
		weir_tensor *g = p->staged[i].grad, *copy;

		if (!k->grad) {
			k->grad = weir__kept_new(p->w, k->t->dtype, k->t->rank, k->t->shape);
			if (weir_is_bad(k->grad)) {
				k->grad = NULL;
				return false;
			}
		}
		if (weir__exclusive(g) && !g->offset) continue;
		copy = weir__tensor_new(p->w, &weir__op_input, g->dtype, g->rank, g->shape);
		if (weir_is_bad(copy)) return false;
		weir__run_map(WEIR_MAP_copy, copy, (const weir_tensor *const[]){ g }, 1, NULL);
		p->staged[i].grad = copy;
	}
	return true;
}

/* A fresh accumulator takes the memory over, an old one is added to. */
void weir__commit(weir_pass *p)
{
	for (int64_t i = 0; i < p->n_staged; i++) {
		weir_kept *k = p->staged[i].k;
		weir_tensor *grad = p->staged[i].grad;

		k->norm = k->has_grad ? __builtin_nan("") : p->staged[i].norm;
		if (k->has_grad) {
			weir__add_into(k->grad, grad);
			k->grad->store->version++;
		} else {
			weir__release_value(k->grad);
			k->grad->store = grad->store;
			k->grad->offset = grad->offset;
			k->grad->flags &= (uint16_t)~WEIR_T_RELEASED;
			k->grad->store->refs++;
			k->has_grad = true;
		}
		k->norm_version = k->grad->store->version;
	}
}

/* ---- for users ---- */

bool weir_is_param(const weir_tensor *t)
{
	return t && t->kept && t->kept->param;
}

const weir_tensor *weir_grad_of(const weir_tensor *t)
{
	const weir_ctx *w;

	if (!t || !weir__alive(t, "weir_grad_of")) return NULL;
	w = t->ctx;
	if (t->kept && t->kept->param) return t->kept->has_grad ? t->kept->grad : NULL;
	for (int64_t i = 0; i < w->retained; i++) {
		const weir_tensor *r = w->retained_list[i].t;

		if (r == t || (t->kept && r->kept == t->kept)) return w->retained_list[i].grad;
	}
	return NULL;
}

static bool is_param(weir_tensor *t, const char *who)
{
	weir_text_buf text;

	if (!weir__alive(t, who)) return false;
	if (t->kept && t->kept->param) return true;
	weir_fail(t->ctx, WEIR_ERR_ARGUMENT, "%s: %s is not a parameter", who, weir__describe(t, &text));
	return false;
}

void weir_zero_grad(weir_tensor *param)
{
	if (!is_param(param, "weir_zero_grad") || !param->kept->has_grad) return;
	param->kept->has_grad = false;
	weir__release_value(param->kept->grad);
}

bool weir_set_grad(weir_tensor *param, const weir_tensor *grad)
{
	weir_kept *k;
	weir_storage *s;
	weir_text_buf a, b;

	if (!is_param(param, "weir_set_grad") || !weir__belongs(param->ctx, grad, "weir_set_grad", "the gradient") ||
	    !weir__usable(grad, "weir_set_grad"))
		return false;
	k = param->kept;
	if (!weir__alike(k->t, grad)) {
		weir_fail(param->ctx, WEIR_ERR_SHAPE,
			  "weir_set_grad: the gradient is %s, the parameter %s; they must be alike",
			  weir__describe(grad, &a), weir__describe(k->t, &b));
		return false;
	}
	if (!k->grad && weir_is_bad(k->grad = weir__kept_new(k->t->ctx, grad->dtype, grad->rank, grad->shape))) {
		k->grad = NULL;
		return false;
	}
	if (!(s = weir__storage_new(k->t->ctx, (size_t)grad->numel * weir__size_of(grad->dtype)))) return false;
	weir__copy((weir_dtype)grad->dtype, grad->rank, grad->shape, s->data, k->grad->stride,
		   &(weir_strided){ weir__at(grad), grad->stride }, k->t->ctx->threads);
	weir__release_value(k->grad);
	k->grad->store = s;
	k->grad->flags &= (uint16_t)~WEIR_T_RELEASED;
	k->has_grad = true;
	k->norm = __builtin_nan("");
	return true;
}

double weir__known_norm(const weir_tensor *param)
{
	const weir_kept *k = param->kept;

	if (!k || !k->has_grad || !k->grad->store || k->norm_version != k->grad->store->version)
		return __builtin_nan("");
	return k->norm;
}

void weir_freeze(weir_tensor *param, bool frozen)
{
	if (is_param(param, "weir_freeze")) param->kept->frozen = frozen;
}

bool weir_is_frozen(const weir_tensor *param)
{
	return param && param->kept && param->kept->frozen;
}
