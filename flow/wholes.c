/* wholes.c: modules that were called several times in the step, as a recurrent cell is: all of their calls together. */
#include "flow/flow.h"

#include <string.h>

static double ratio(double a, double b)
{
	double r = a / b;

	return is_finite(r) ? r : UNKNOWN;
}

/* The n-th root. */
static double root(double x, int64_t n)
{
	return x > 0 ? weir__flow_exp2(weir__flow_log2(x) / (double)n) : x;
}

/* Does each call hang on the one before, as a cell's do? Calls side by side have no gain together. */
static bool in_a_row(const weir_flow *f, int64_t first, int64_t last)
{
	int64_t depth = 0;

	for (int64_t i = first; i <= last; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		if (p->name != f->layers[first].public.name) continue;
		if (p->depth <= depth) return false;
		depth = p->depth;
	}
	return true;
}

static bool add_whole(weir_flow *f, int64_t first, int64_t last)
{
	const weir_flow_layer *p = &f->layers[last].public;
	int64_t input = f->layers[first].input;
	void *list = f->wholes;
	double gain;

	if (!weir__flow_grow(f->w, &list, f->n_wholes, &f->wholes_capacity, sizeof *f->wholes)) return false;
	f->wholes = list;
	gain = input >= 0 && in_a_row(f, first, last) ? ratio(f->rec[input].delta_norm, p->delta_norm) : UNKNOWN;
	f->wholes[f->n_wholes++] = (weir_flow_whole){ .name = p->name,
						      .calls = p->call,
						      .first_layer = first,
						      .last_layer = last,
						      .gain = gain,
						      .gain_per_call = root(gain, p->call),
						      .param_grad_norm = p->param_grad_norm,
						      .weight_norm = p->weight_norm };
	for (int64_t i = first; i <= last; i++) { /* what each call adds to it is not kept */
		if (f->layers[i].public.name == p->name) f->layers[i].public.param_grad_norm = UNKNOWN;
	}
	return true;
}

/* The table of names knows how often each was called, and by which layer last. */
void weir__flow_wholes(weir_flow *f)
{
	f->n_wholes = 0;
	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;
		const layer_name *name;

		if (p->call != 1) continue;
		name = weir__flow_intern(f, p->name, strlen(p->name));
		if (!name) return;
		if (name->calls > 1 && name->grouping == f->grouping && !add_whole(f, i, name->layer)) return;
	}
}
