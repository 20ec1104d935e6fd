/* passes.c: several backward passes in one step.
 *
 * A step may have two losses on one tape, as a GAN has, or a tape and a backward for each micro-batch, whose gradients the accumulators add up
 * before the optimiser steps. What is reported is of all of them:
 *
 *   ‖dL/d parameter‖  of the accumulated gradient, which is what the optimiser will use: where an accumulator holds something already, the norm
 *                     of the sum is taken instead of that of the share
 *   ‖delta‖           of a node √Σ‖delta_k‖² over the passes. Micro-batches are rows of one batch, so this is the norm that the whole batch
 *                     would have had, however it is cut. Two losses on one tape are taken alike: of δ₁ + δ₂ the shares may cancel, as those
 *                     of two players do, while each of them flows; and each gain then is a mean of the gains of the passes
 *   loss              the sum of the losses: what the accumulated gradient is the gradient of
 *
 * An earlier tape's norms count if the present one has the same nodes; else they are of another graph, and only its parameters' sums are left. A pass
 * that is recorded (WEIR_CREATE_GRAPH) makes a graph for a later one and is no share of the step: the later one overwrites it. In a step of one
 * pass nothing here costs more than a look whether the accumulator is empty. */
#include "flow/flow.h"

#include "kernels/reduce.h"

static const weir_tensor *param_leaf(weir_tensor *t)
{
	const weir_tensor *p = t ? weir_origin_of(t) : NULL;

	return p && weir_is_param(p) ? p : NULL;
}

static double join(double a, double b)
{
	return b != b ? a : add_norm(a, b);
}

/* Each of n norms joins that of the same node. */
static void join_all(weir_flow *f, weir_norms *to, const double *from, int64_t n)
{
	while (to->count < n) {
		void *list = to->norm;

		if (!weir__flow_grow(f->w, &list, to->count, &to->capacity, sizeof *to->norm)) return;
		to->norm = list;
		to->norm[to->count++] = UNKNOWN;
	}
	for (int64_t i = 0; i < n; i++) to->norm[i] = join(to->norm[i], from[i]);
}

/* The pass at hand becomes one of the earlier ones, unless it was recorded. */
static void set_aside(weir_flow *f)
{
	weir_passes *p = &f->passes;

	if (!p->begun || p->recorded) return;
	join_all(f, &p->tape, f->norm, f->norms);
	f->norms = 0;
	p->loss += p->value;
	p->on_tape++;
}

void weir__flow_pass_begins(weir_flow *f, const weir_event *e)
{
	weir_passes *p = &f->passes;

	set_aside(f);
	p->begun = true;
	p->recorded = weir_is_recording(f->w);
	p->value = weir_numel(e->node) == 1 ? weir_item(e->node) : 0;
}

void weir__flow_tape_ends(weir_flow *f)
{
	weir_passes *p = &f->passes;

	set_aside(f);
	p->begun = false;
	if (!p->on_tape) return; /* no gradient came on it */
	if (p->shape != f->when.shape) p->earlier.count = 0;
	join_all(f, &p->earlier, p->tape.norm, p->tape.count);
	p->shape = f->when.shape;
	p->tape.count = p->on_tape = 0;
	p->tapes++;
}

void weir__flow_passes_forget(weir_flow *f)
{
	weir_passes *p = &f->passes;

	p->begun = p->several = false;
	p->loss = 0;
	p->tape.count = p->earlier.count = p->on_tape = p->tapes = p->n_params = 0;
}

/* A parameter on the present tape that has no gradient there, as where it is frozen meanwhile, has that of its last tape. */
static void params_of_earlier_tapes(weir_flow *f)
{
	const weir_passes *p = &f->passes;

	for (int64_t i = 0; i < f->norms; i++) {
		bool known = f->norm[i] == f->norm[i];
		const weir_tensor *param = known ? NULL : param_leaf(weir_tape_at(f->w, i));

		for (int64_t k = p->n_params; param && k-- > 0;) {
			if (p->params[k].param != param) continue;
			f->norm[i] = p->params[k].norm;
			if (i < f->records) f->rec[i].has_delta = true;
			break;
		}
	}
}

void weir__flow_passes_end(weir_flow *f)
{
	weir_passes *p = &f->passes;
	weir_norms all = { f->norm, f->norms, f->norm_capacity };

	p->several = p->on_tape + p->tapes > 0;
	if (!p->several) return;
	if (p->shape != f->when.shape) p->earlier.count = 0;
	for (int64_t i = 0; i < p->earlier.count; i++) {
		if (param_leaf(weir_tape_at(f->w, i))) p->earlier.norm[i] = UNKNOWN; /* it is in the sum */
	}
	join_all(f, &all, p->tape.norm, p->tape.count);
	join_all(f, &all, p->earlier.norm, p->earlier.count);
	f->norm = all.norm;
	f->norms = all.count;
	f->norm_capacity = all.capacity;
	if (p->tapes) params_of_earlier_tapes(f);
	for (int64_t i = 0; i < f->records && i < f->norms; i++) {
		if (f->rec[i].has_delta) f->rec[i].delta_norm = f->norm[i];
	}
}

void weir__flow_passes_free(weir_flow *f)
{
	weir_passes *p = &f->passes;
	weir_norms *lists[] = { &p->tape, &p->earlier };

	if (p->params) weir__pool_give(f->w, p->params, (size_t)p->params_capacity * sizeof *p->params);
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		if (lists[i]->norm)
			weir__pool_give(f->w, lists[i]->norm, (size_t)lists[i]->capacity * sizeof *lists[i]->norm);
	}
}

/* ---- accumulated gradients ---- */

enum { CHUNK = 512 };

void weir__flow_add_counts(weir_stats *to, const weir_stats *s)
{
	to->largest = s->largest > to->largest ? s->largest : to->largest;
	to->subnormals += s->subnormals;
	to->pos_inf += s->pos_inf;
	to->neg_inf += s->neg_inf;
	to->nan += s->nan;
}

/* n elements of the sum, from i on, as the accumulator will hold them. */
static void add_up(weir_dtype dtype, const void *a, const void *b, int64_t i, int64_t n, void *sum)
{
	if (dtype == WEIR_F32) {
		for (int64_t k = 0; k < n; k++)
			((float *)sum)[k] = ((const float *)a)[i + k] + ((const float *)b)[i + k];
	} else {
		for (int64_t k = 0; k < n; k++)
			((double *)sum)[k] = ((const double *)a)[i + k] + ((const double *)b)[i + k];
	}
}

static void measure_sum(const weir_tensor *old, const weir_tensor *gradient, double *norm, weir_stats *counts)
{
	const void *a = value_of(old), *b = value_of(gradient);
	weir_dtype dtype = weir_dtype_of(old);
	int64_t n = a && b ? weir_numel(old) : 0;
	double sum[CHUNK];

	*norm = 0;
	*counts = (weir_stats){ 0 };
	for (int64_t i = 0; i < n; i += CHUNK) {
		int64_t m = n - i < CHUNK ? n - i : CHUNK;
		weir_stats s;
		double part;

		add_up(dtype, a, b, i, m, sum);
		part = weir__norm2(dtype, sum, m, 1);
		weir__stats(dtype, sum, m, &s, 1);
		if (is_finite(*norm)) *norm = add_norm(*norm, part);
		weir__flow_add_counts(counts, &s);
		counts->zeros += s.zeros;
	}
}

static void note_param(weir_flow *f, const weir_tensor *param, double norm)
{
	weir_passes *p = &f->passes;
	void *list = p->params;

	if (p->n_params == p->params_capacity) {
		if (!weir__flow_grow(f->w, &list, p->n_params, &p->params_capacity, sizeof *p->params)) return;
		p->params = list;
	}
	p->params[p->n_params++] = (struct weir_param_norm){ param, norm };
}

/* Runs at every event: a node of an operation costs it one call, a parameter two. */
bool weir__flow_accumulated(weir_flow *f, const weir_event *e, double *norm, weir_stats *counts)
{
	const weir_tensor *param = weir_origin_of(e->node), *old;

	if (param == e->node || f->passes.recorded) return false;
	old = weir_grad_of(param);
	if (old && !weir_is_param(param)) return false; /* a kept tensor's that was retained */
	if (old) measure_sum(old, e->value, norm, counts);
	if (e->index < f->passes.tape.count)
		f->passes.tape.norm[e->index] = UNKNOWN; /* it is in the sum, or was used up */
	note_param(f, param, *norm);
	return old != NULL;
}
