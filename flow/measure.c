/* measure.c: a layer's numbers, from the notes on its nodes, its parameters, and one vjp through its activation. */
#include "flow/flow.h"

#include <string.h>

#include "flow/verdict.h"
#include "kernels/reduce.h"

static double norm_of(const weir_tensor *t)
{
	const void *data = value_of(t);

	return data ? weir__norm2(weir_dtype_of(t), data, weir_numel(t), 1) : UNKNOWN;
}

static double rms(double norm, int64_t n)
{
	return n ? norm / __builtin_sqrt((double)n) : UNKNOWN;
}

/* a / b, or NaN where that is 0/0 or not finite. */
static double ratio(double a, double b)
{
	double r = a / b;

	return is_finite(r) ? r : UNKNOWN;
}

/* The most that f' of the operations from node z to node a can be, if rules.def knows it. */
static double slope_limit(const weir_flow *f, const layer *l)
{
	static const struct {
		const char *op;
		double limit;
	} limits[] = {
#define WEIR_SLOPE(operation, limit) { #operation, limit },
#include "flow/rules.def"
	};
	const char *op = weir_node(weir_tape_at(f->w, l->a)).op;

	for (int64_t i = l->z + 1; i < l->a; i++) {
		if (takes_part(weir_tape_at(f->w, i)) && f->rec[i].layer == f->rec[l->a].layer)
			return UNKNOWN; /* of several operations */
	}
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		if (!strcmp(op, limits[i].op)) return limits[i].limit;
	}
	return UNKNOWN;
}

/* Share of the elements of slope that are next to nothing beside the most that they can be. */
static double flat_share(const weir_flow *f, const weir_tensor *slope, double limit)
{
	int64_t n = weir_numel(slope), flat = 0;
	double least = f->options.flat_derivative * limit;

	if (!(least > 0)) return UNKNOWN;
	if (weir_dtype_of(slope) == WEIR_F32) {
		const float *v = weir_data(slope);

		for (int64_t i = 0; i < n; i++) flat += v[i] < least && v[i] > -least;
	} else {
		const double *v = weir_data(slope);

		for (int64_t i = 0; i < n; i++) flat += v[i] < least && v[i] > -least;
	}
	return (double)flat / (double)n;
}

/* Was all between the layer's z and a computed again? Then f' is that of what was, by the chain rule. */
static bool all_again(const weir_flow *f, const layer *l, weir_tensor *const *again)
{
	for (int64_t i = l->z + 1; i <= l->a; i++) {
		if (takes_part(weir_tape_at(f->w, i)) && f->rec[i].layer == f->rec[l->a].layer && !again[i])
			return false;
	}
	return true;
}

/* The ends of the layer's last activation, with values to differentiate at; false where they are gone. */
static bool ends(const weir_flow *f, const layer *l, weir_tensor *const *again, weir_tensor **z, weir_tensor **a)
{
	*z = l->z >= 0 ? weir_tape_at(f->w, l->z) : NULL;
	*a = *z ? weir_tape_at(f->w, l->a) : NULL;
	if (!*a || !weir_numel(*a)) return false;
	if (weir_node(*a).released) {
		if (!again || !(*a = again[l->a])) return false;
		if (!again[l->z]) return !weir_node(*z).released;
		*z = again[l->z];
		return all_again(f, l, again);
	}
	return !weir_node(*z).released ||
	       (weir_input(*a, 0) == *z && weir_is_intact(*a)); /* a fused relu's is never kept */
}

/* f' over the layer's last activation: the vjp of ones through element-wise nodes is the derivative itself. */
void weir__flow_act(const weir_flow *f, layer *l, weir_tensor *const *again)
{
	weir_flow_layer *p = &l->public;
	weir_ctx *w = f->w;
	weir_tensor *z, *a, *one, *slope = NULL;
	weir_place place;
	weir_stats s;

	p->act_slope = p->act_slope_max = p->act_slope_limit = p->saturated = UNKNOWN;
	weir__flow_values_give(f, l);
	if (p->act_slope_max == p->act_slope_max || !ends(f, l, again, &z, &a)) return;
	place = weir_mark(w);
	weir_no_grad_begin(w);
	one = weir_full(w, weir_dtype_of(a), weir_rank(a), weir_shape(a), 1);
	weir_no_grad_end(w);
	if (weir_vjp(a, one, &z, 1, &slope, WEIR_NO_HOOKS | WEIR_ALLOW_UNUSED) && slope && value_of(slope)) {
		weir__stats(weir_dtype_of(slope), weir_data(slope), weir_numel(slope), &s, 1);
		p->act_slope = rms(norm_of(slope), weir_numel(slope));
		p->act_slope_max = s.largest;
		p->act_slope_limit = slope_limit(f, l);
		p->saturated = flat_share(f, slope, p->act_slope_limit);
	}
	weir_rewind(w, place, NULL, 0);
}

/* Parameter that leaf node at stands for, used by layer number l. */
static void count_param(weir_flow *f, int64_t l, weir_tensor *param, int64_t at)
{
	weir_flow_layer *p = &f->layers[l].public;
	const record *r = &f->rec[at];
	double u;

	if (r->counted == l) return;
	f->rec[at].counted = l;
	if (r->has_delta) p->param_grad_norm = add_norm(p->param_grad_norm, r->delta_norm);
	if (weir_rank(param) < 2) return;
	p->weight_norm = add_norm(p->weight_norm, norm_of(param));
	if (!f->options.update_ratio) return;
	u = f->options.update_ratio(param, f->options.user);
	if (u == u && !(p->update_ratio > u)) p->update_ratio = u;
}

static void count_params(weir_flow *f)
{
	for (int64_t i = 0; i < f->records; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		if (t && is_leaf(t) && param_of(t)) f->sum.parameters += weir_numel(t);
		for (int k = 0; f->rec[i].layer >= 0 && k < weir_node(t).inputs; k++) {
			const weir_tensor *x = weir_input(t, k);
			weir_tensor *param = param_of(x);

			while (param && !is_leaf(x)) x = weir_input(x, 0);
			if (param && weir_node(x).index >= 0)
				count_param(f, f->rec[i].layer, param, weir_node(x).index);
		}
	}
}

static void measure(weir_flow *f, layer *l)
{
	weir_flow_layer *p = &l->public;
	const weir_tensor *out = weir_tape_at(f->w, l->last), *in = weir_tape_at(f->w, l->input);
	const record *r = &f->rec[l->last], *from = in ? &f->rec[l->input] : NULL;
	int64_t n = weir_numel(out);

	p->out_norm = rms(r->out_norm, n);
	p->out_gain =
		in ? ratio(p->out_norm, rms(from->has_out ? from->out_norm : norm_of(in), weir_numel(in))) : UNKNOWN;
	p->delta_norm = r->delta_norm;
	p->gain = in ? ratio(from->delta_norm, r->delta_norm) : UNKNOWN;
	p->out_zeros = n ? (double)r->out.zeros / (double)n : UNKNOWN;
	p->zeros = n && r->has_delta ? (double)r->delta.zeros / (double)n : UNKNOWN;
	p->subnormals = r->delta.subnormals;
	p->nonfinite = r->delta.pos_inf + r->delta.neg_inf + r->delta.nan;
	p->out_subnormals = r->out.subnormals;
	p->out_nonfinite = r->out.pos_inf + r->out.neg_inf + r->out.nan;
	weir__flow_act(f, l, NULL);
}

void weir__flow_measure(weir_flow *f)
{
	f->sum.parameters = f->sum.nonfinite = f->sum.subnormals = 0;
	for (int64_t i = 0; i < f->count; i++) {
		weir_flow_layer *p = &f->layers[i].public;

		p->weight_norm = p->param_grad_norm = p->update_ratio = UNKNOWN;
	}
	count_params(f);
	for (int64_t i = 0; i < f->count; i++) {
		measure(f, &f->layers[i]);
		f->sum.nonfinite += f->layers[i].public.nonfinite;
		f->sum.subnormals += f->layers[i].public.subnormals;
	}
	weir__flow_wholes(f);
}
