/* container.c: modules that are made of others: sequential, list, residual. */
#include "nn/module.h"

#include <string.h>

#include "engine/text.h"

/* Where nothing is recorded nobody can ask for what lies between: each child's result is all that stays. */
static weir_tensor *forward_sequential(weir_module *m, weir_tensor *x)
{
	weir_ctx *w = weir_module_context(m);
	bool release = !weir_is_recording(w);
	weir_place start = weir_mark(w);

	for (int64_t i = 0; i < m->children && weir_ok(w); i++) {
		x = weir_forward(m->child[i], x);
		if (release) weir_rewind(w, start, &x, 1);
	}
	return x;
}

static const weir_module_type sequential_type = { .kind = "sequential",
						  .forward = forward_sequential,
						  .container = true };
static const weir_module_type list_type = { .kind = "list", .forward = forward_sequential, .container = true };

weir_module *weir_sequential_new(weir_ctx *w, const char *name)
{
	return weir_module_new(w, &sequential_type, name, 0);
}

weir_module *weir_list_new(weir_ctx *w, const char *name)
{
	return weir_module_new(w, &list_type, name, 0);
}

weir_module *weir_list_add(weir_module *list, weir_module *child)
{
	return weir_module_add(list, NULL, child);
}

weir_module *weir_list_at(const weir_module *list, int64_t i)
{
	return weir_module_at(list, i);
}

/* ---- x + scale · branch(x) ---- */

static weir_tensor *forward_residual(weir_module *m, weir_tensor *x)
{
	const double *scale = weir_module_data(m);
	weir_tensor *y = weir_forward(m->child[0], x);
	weir_text_buf a, b;

	if (!weir_ok(x->ctx)) return y;
	if (y->rank != x->rank || memcmp(y->shape, x->shape, x->rank * sizeof(*x->shape)) != 0)
		return weir_fail(x->ctx, WEIR_ERR_SHAPE,
				 "weir_residual: %s gives %s for x %s; both are added, so their shapes must be equal",
				 m->child[0]->path, weir__describe(y, &a), weir__describe(x, &b));
	return weir_add(x, *scale == 1 ? y : weir_affine(y, *scale, 0));
}

static void describe_residual(const weir_module *m, char *text, size_t size)
{
	const double *scale = weir_module_data(m);
	weir__text t;

	weir__text_fixed(&t, text, size);
	weir__text_str(&t, "scale=");
	weir__text_double(&t, *scale, 'p', 4);
}

static const weir_module_type residual_type = {
	.kind = "residual",
	.forward = forward_residual,
	.describe = describe_residual,
	.container = true,
};

weir_module *weir_residual_new(weir_ctx *w, weir_module *branch, double scale)
{
	weir_module *m;

	if (!weir__module_usable(branch, "weir_residual_new", "branch")) return weir__module_bad(w);
	m = weir_module_new(w, &residual_type, NULL, sizeof(double));
	if (weir_module_is_bad(m)) return m;
	*(double *)weir_module_data(m) = scale;
	weir_module_add(m, "branch", branch);
	return weir__module_finish(m);
}
