/* forward.c: running modules. */
#include "nn/module.h"

#include "engine/profile.h"

/* x may go into m: usable, and of m's context. */
static bool takes(weir_module *m, const weir_tensor *x, const char *who)
{
	weir_ctx *w = weir_module_context(m);

	if (!weir__module_usable(m, who, "m")) return false;
	if (!x) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: x is NULL (into %s)", who, m->scope);
		return false;
	}
	if (!weir__usable(x, who)) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: x is the result of a call that failed (into %s)", who, m->scope);
		return false;
	}
	if (weir_context(x) != w) {
		weir_fail(w, WEIR_ERR_CONTEXT, "%s: %s and x belong to two contexts", who, m->scope);
		return false;
	}
	if (!m->type->forward) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %s is a %s, which has no forward; run its children", who, m->path,
			  m->type->kind);
		return false;
	}
	return true;
}

weir_tensor *weir__module_run(weir_module *m, weir_tensor *x, const char *who)
{
	weir_nn *nn = m->nn;
	uint32_t depth = nn->ctx->scopes.depth;
	weir_tensor *y;

	weir__scope_begin_path(nn->ctx, m->scope);
	m->running++;
	weir__span_begin(nn->ctx);
	if (nn->trace) nn->trace->before(nn->trace, m);
	y = m->type->forward(m, x);
	if (!y)
		y = weir_fail(nn->ctx, WEIR_ERR_ARGUMENT, "%s: the forward of %s (%s) returned NULL", who, m->path,
			      m->type->kind);
	if (nn->trace) nn->trace->after(nn->trace, m, y);
	weir__span_end(nn->ctx, WEIR_SPAN_MODULE, m->type->kind);
	m->running--;
	nn->ctx->scopes.depth = depth; /* also where a failing forward left scopes open */
	return weir_ok(nn->ctx) ? y : weir__bad_of(nn->ctx);
}

weir_tensor *weir_forward(weir_module *m, weir_tensor *x)
{
	if (!takes(m, x, "weir_forward")) return weir__bad_of(weir_module_context(m));
	return weir__module_run(m, x, "weir_forward");
}

weir_tensor *weir_forward_with(weir_module *m, weir_tensor *const *tensors, int64_t n, weir_tensor *x)
{
	weir_ctx *w = weir_module_context(m);
	weir_tensor *const *all;
	weir_tensor *y = weir__bad_of(w), **pairs;
	int64_t count;
	size_t got;
	int used = 0;

	if (!takes(m, x, "weir_forward_with")) return y;
	all = weir__module_all(m, &count);
	if (n < 0 || n > count || (n && !tensors))
		return weir_fail(w, WEIR_ERR_ARGUMENT,
				 "weir_forward_with: %s has %lld parameters, %lld tensors were given", m->path,
				 (long long)count, (long long)n);
	pairs = weir__scratch_alloc(w, (size_t)(2 * n + 1) * sizeof(*pairs), &got);
	if (!pairs) return y;
	for (int64_t i = 0; i < n; i++) {
		if (!tensors[i]) continue;
		pairs[used] = all[i];
		pairs[n + used++] = tensors[i];
	}
	if (weir_substitute_begin(w, pairs, pairs + n, used)) {
		y = weir__module_run(m, x, "weir_forward_with");
		weir_substitute_end(w);
	}
	weir__scratch_free(w, pairs, got);
	return y;
}
