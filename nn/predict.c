/* predict.c: what memory a training step will take: one forward and one backward, watched and taken back. */
#include "nn/optim.h"

#include <string.h>

/* Recorded, and every rule from start on is there: a backward would go through. */
static bool can_go_back(const weir_ctx *w, int64_t start, const weir_tensor *y)
{
	if (w->in_hook || !weir_is_recording(w) || !weir__is_float(y->dtype)) return false;
	for (int64_t i = start; i < weir_tape_length(w); i++) {
		const weir_tensor *t = weir_tape_at(w, i);

		if (!t || !t->nin || (t->op->flags & WEIR_OP_STOP)) continue;
		if ((t->op->flags & WEIR_OP_NO_GRAD) || (!t->op->vjp && !t->op->vjp_fused)) return false;
	}
	return true;
}

/* Gradients of all parameters at once, as they stand before an optimiser's step. */
static void go_back(weir_module *m, weir_tensor *y)
{
	weir_ctx *w = m->nn->ctx;
	weir_tensor *const *all;
	weir_tensor **xs;
	int64_t count;
	int n = 0;
	size_t got;

	all = weir__module_all(m, &count);
	if (!count || count > INT32_MAX / 2) return;
	if (!(xs = weir__scratch_alloc(w, 2 * (size_t)count * sizeof(*xs), &got))) return;
	for (int64_t i = 0; i < count; i++) {
		if (!weir_is_frozen(all[i])) xs[n++] = all[i];
	}
	if (n)
		weir_vjp(y, weir_full(w, (weir_dtype)y->dtype, y->rank, y->shape, 1), xs, n, xs + n,
			 WEIR_ALLOW_UNUSED | WEIR_NO_HOOKS);
	weir__scratch_free(w, xs, got);
}

static size_t value_bytes(const weir_tensor *t)
{
	return (size_t)t->numel * weir__size_of(t->dtype);
}

/* All that a moment of p takes: storage, header, name. */
static size_t moment_bytes(const weir_tensor *p)
{
	return weir__storage_bytes(value_bytes(p)) + weir__kept_bytes() + weir__pool_rounded(strlen(weir_name(p)) + 16);
}

/* Of p's gradient and its moments that are there already: the step has counted them, and those that it needs come on top. */
static size_t counted_already(const weir_nn *nn, weir_tensor *p)
{
	const weir_tensor *g = weir_grad_of(p);
	size_t bytes = g ? weir__storage_bytes(value_bytes(g)) : 0;

	for (const weir_optim *o = nn->optims; o; o = o->next) {
		for (int k = 0; k < WEIR_OPTIM_STATES; k++) {
			if (weir_optim_state(o, p, k)) bytes += moment_bytes(p);
		}
	}
	return bytes;
}

static void add_parameters(const weir_module *m, weir_memory_plan *plan)
{
	weir_tensor *const *all;
	int64_t count;

	all = weir__module_all(m, &count);
	for (int64_t i = 0; i < count; i++) {
		plan->parameters += value_bytes(all[i]);
		plan->peak -= counted_already(m->nn, all[i]);
		if (weir_is_frozen(all[i])) continue;
		plan->gradients += value_bytes(all[i]);
		if (!all[i]->kept->grad) plan->peak += weir__kept_bytes(); /* the accumulator's */
	}
	if (count && !weir__optims_have(m->nn, all[0])) plan->peak += weir__optim_list_bytes(count);
}

bool weir__try_step(weir_module *m, int rank, const int64_t *shape, weir_nn_trace *trace, weir_memory_plan *plan)
{
	weir_ctx *w = m->nn->ctx;
	weir_place place = weir_mark(w);
	uint64_t streams = w->streams;
	weir_nn_trace *outer = m->nn->trace;
	weir_tensor *first = weir_module_parameter(m, 0), *x, *y;
	size_t before = w->memory.values;
	int64_t start = weir_tape_length(w);
	weir_pool_aside aside;

	*plan = (weir_memory_plan){ .peak = 0 };
	weir__pool_set_aside(w, &aside);
	x = weir_zeros(w, first ? (weir_dtype)first->dtype : m->nn->dtype, rank, shape);
	m->nn->trace = trace;
	y = weir_forward(m, x);
	m->nn->trace = outer;
	plan->activations = w->memory.values - before;
	if (weir_ok(w) && can_go_back(w, start, y)) go_back(m, y);
	w->streams = streams;
	weir_rewind(w, place, NULL, 0);
	plan->peak = weir__memory_needed(w, &aside);
	weir__pool_bring_back(w, &aside);
	if (weir_ok(w)) add_parameters(m, plan);
	else *plan = (weir_memory_plan){ .peak = 0 };
	return weir_ok(w);
}

void weir__plan_moments(const weir_module *m, int moments, weir_memory_plan *plan)
{
	weir_tensor *const *all;
	int64_t count;

	all = weir__module_all(m, &count);
	for (int64_t i = 0; i < count; i++) {
		plan->moments += (size_t)moments * value_bytes(all[i]);
		plan->peak += (size_t)moments * moment_bytes(all[i]);
	}
}

bool weir_module_memory(weir_module *m, int rank, const int64_t *shape, int moments, weir_memory_plan *plan)
{
	weir_ctx *w = weir_module_context(m);

	if (plan) *plan = (weir_memory_plan){ .peak = 0 };
	if (!weir__module_usable(m, "weir_module_memory", "m")) return false;
	if (!plan || moments < 0 || moments > WEIR_OPTIM_STATES) {
		weir_fail(
			w, WEIR_ERR_ARGUMENT,
			"weir_module_memory: plan is %s, moments is %d; that is 0 for SGD, 1 with momentum, 2 for Adam",
			plan ? "given" : "NULL", moments);
		return false;
	}
	if (weir__try_step(m, rank, shape, m->nn->trace, plan)) weir__plan_moments(m, moments, plan);
	return weir_ok(w);
}
