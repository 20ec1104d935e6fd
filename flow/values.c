/* values.c: what can be measured only while values are there, where weir_options.free_values takes them away.
 *
 * Backward then releases a value as soon as its gradient rule has run, so that none is left when the step ends. When a pass begins all
 * are still there: a whole measurement groups the tape into layers there, and takes f', stretching factors and softmaxes. The census looks
 * there on every step, if the tape is the one that its layers are of. Where an alarm makes a thin step a whole one in the middle of
 * a pass, look.c computes again what is gone already, and f' is taken from that.
 *
 * What was taken is kept by node until the step's end, when the layers are grouped for good. */
#include "flow/flow.h"

#include <string.h>

typedef struct taken {
	int64_t z, a, input;
	double act_slope, act_slope_max, act_slope_limit, saturated, stretch_low, stretch_high;
	int64_t softmax, softmax_rows;
	double softmax_slope, softmax_shut, softmax_spread;
} taken;

typedef struct weir__taken {
	taken *list;
	int64_t count, capacity;
	int64_t step;
	uint32_t life;  /* of the tape that the list is of */
	uint64_t shape; /* of the tape that the census's layers are of */
} weir__taken;

static weir__taken *state_of(weir_flow *f)
{
	size_t bytes = sizeof *f->taken;

	if (f->taken || !(f->taken = weir__pool_take(f->w, &bytes))) return f->taken;
	*f->taken = (weir__taken){ .step = -1 };
	return f->taken;
}

void weir__flow_values_free(weir_flow *f)
{
	weir__taken *s = f->taken;

	if (!s) return;
	if (s->list) weir__pool_give(f->w, s->list, (size_t)s->capacity * sizeof *s->list);
	weir__pool_give(f->w, s, sizeof *s);
}

/* What is on the tape up to node root. */
static uint64_t shape_of(const weir_flow *f, int64_t root)
{
	uint64_t h = (uint64_t)root;

	for (int64_t i = 0; i <= root; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		h = h * 1099511628211u + (uint64_t)(uintptr_t)weir_op_of(t) + (uint64_t)weir_numel(t);
	}
	return h;
}

static bool note(weir_flow *f, const layer *l)
{
	const weir_flow_layer *p = &l->public;
	weir__taken *s = f->taken;
	record *r = &f->rec[l->last];
	void *list = s->list;

	if (r->taken >= 0) return true;
	if (p->act_slope_max != p->act_slope_max && p->stretch_low != p->stretch_low && !p->softmax_rows) return true;
	if (!weir__flow_grow(f->w, &list, s->count, &s->capacity, sizeof *s->list)) return false;
	s->list = list;
	r->taken = s->count;
	s->list[s->count++] = (taken){
		.z = l->z,
		.a = l->a,
		.input = l->input,
		.act_slope = p->act_slope,
		.act_slope_max = p->act_slope_max,
		.act_slope_limit = p->act_slope_limit,
		.saturated = p->saturated,
		.stretch_low = p->stretch_low,
		.stretch_high = p->stretch_high,
		.softmax = l->softmax,
		.softmax_rows = p->softmax_rows,
		.softmax_slope = p->softmax_slope,
		.softmax_shut = p->softmax_shut,
		.softmax_spread = l->softmax_spread,
	};
	return true;
}

static void take(weir_flow *f, int64_t root, weir_tensor *const *again)
{
	weir__taken *s = state_of(f);

	if (!s || !weir__flow_record(f, root) || !weir__flow_layers(f, root)) return;
	if (s->step != f->steps || s->life != f->life) {
		s->step = f->steps;
		s->life = f->life;
		s->count = 0;
		for (int64_t i = 0; i < f->records; i++) f->rec[i].taken = -1;
	}
	for (int64_t i = 0; i < f->count; i++) weir__flow_act(f, &f->layers[i], again);
	weir__flow_stretch_factors(f);
	weir__flow_softmax_now(f);
	for (int64_t i = 0; i < f->count && note(f, &f->layers[i]);) i++;
}

void weir__flow_values_again(weir_flow *f, int64_t root, weir_tensor *const *again)
{
	if (f->frees) take(f, root, again);
}

void weir__flow_values_pass(weir_flow *f, int64_t root)
{
	weir__taken *s = f->frees ? state_of(f) : NULL;
	bool whole = f->when.whole;

	if (!s) return;
	if (whole) {
		take(f, root, NULL);
		s->shape = shape_of(f, root);
	}
	if (whole || (f->count && s->shape == shape_of(f, root))) weir__flow_units_look(f, whole);
	weir_clear_error(f->w); /* it was fine before; then less is known */
}

void weir__flow_values_give(const weir_flow *f, layer *l)
{
	const weir__taken *s = f->taken;
	int64_t at = s && s->step == f->steps && s->life == f->life ? f->rec[l->last].taken : -1;
	const taken *t = at >= 0 && at < s->count ? &s->list[at] : NULL;

	if (!t) return;
	if (t->z == l->z && t->a == l->a) {
		l->public.act_slope = t->act_slope;
		l->public.act_slope_max = t->act_slope_max;
		l->public.act_slope_limit = t->act_slope_limit;
		l->public.saturated = t->saturated;
	}
	if (t->softmax_rows) {
		l->softmax = t->softmax;
		l->softmax_spread = t->softmax_spread;
		l->public.softmax_rows = t->softmax_rows;
		l->public.softmax_slope = t->softmax_slope;
		l->public.softmax_shut = t->softmax_shut;
	}
	if (t->input == l->input) {
		l->public.stretch_low = t->stretch_low;
		l->public.stretch_high = t->stretch_high;
	}
}
