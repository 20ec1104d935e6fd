/* dense.c: recognises act(x · Wᵀ + b) on the tape, in whichever operations it was written. */
#include "flow/dense.h"

#include <string.h>

static bool is_op(const weir_tensor *t, const char *op)
{
	return !strcmp(weir_node(t).op, op);
}

/* What t shows, through views that neither repeat nor leave out an element. */
static weir_tensor *behind(weir_tensor *t)
{
	while (t && !is_leaf(t) && (weir_op_of(t)->flags & WEIR_OP_VIEW)) {
		weir_tensor *x = weir_input(t, 0);

		if (weir_numel(x) != weir_numel(t)) break;
		t = x;
	}
	return t;
}

/* A parameter that t is all of. */
static weir_tensor *whole_param(weir_tensor *t, int rank)
{
	const weir_tensor *p = param_of(t);

	return p && weir_rank(p) == rank && weir_numel(p) == weir_numel(t) ? t : NULL;
}

/* t as a product of the layer's input and a parameter. */
static bool is_product(const layer *l, weir_tensor *t, dense *d)
{
	bool linear = is_op(t, "linear");

	if ((!linear && !is_op(t, "matmul")) || weir_node(behind(weir_input(t, 0))).index != l->input) return false;
	d->weight = whole_param(weir_input(t, 1), 2);
	if (!d->weight || weir_rank(t) < 1) return false;
	d->turned = !linear;
	d->bias = linear && weir_node(t).inputs > 2 ? whole_param(weir_input(t, 2), 1) : NULL;
	d->product = t;
	d->in = weir_extent(d->weight, linear ? 1 : 0);
	d->out = weir_extent(d->weight, linear ? 0 : 1);
	return weir_numel(t) > 0;
}

/* Element by element on what comes from node first on: then its Jacobian is diagonal. */
static bool is_diagonal(const weir_flow *f, const layer *l, const weir_tensor *t, int64_t first)
{
	if (!(weir_op_of(t)->flags & (WEIR_OP_ELEMENTWISE | WEIR_OP_VIEW))) return false;
	for (int k = 0; k < weir_node(t).inputs; k++) {
		weir_tensor *x = weir_input(t, k);
		int64_t at = weir_node(x).index;
		bool own = at >= first && at <= l->last && f->rec[at].layer == f->rec[l->last].layer;

		if (at == l->input) return false;
		if (own ? weir_numel(x) != weir_numel(t) : !is_leaf(x) && !param_of(x) && at < first) return false;
	}
	return true;
}

/* The bias of z, added by an operation of its own; returns what it is added to. */
static weir_tensor *without_bias(weir_tensor *z, dense *d)
{
	for (int k = 0; k < 2 && is_op(z, "add"); k++) {
		weir_tensor *x = weir_input(z, k), *p = param_of(x);

		if (!p || weir_numel(p) != d->out) continue;
		d->bias = p;
		return behind(weir_input(z, 1 - k));
	}
	return z;
}

static void name_activation(weir_tensor *a, dense *d)
{
	static const struct {
		const char *op;
		weir_act act;
	} acts[] = { { "sigmoid", WEIR_ACT_SIGMOID },
		     { "tanh", WEIR_ACT_TANH },
		     { "relu", WEIR_ACT_RELU },
		     { "gelu", WEIR_ACT_GELU },
		     { "silu", WEIR_ACT_SILU } };
	weir_tensor *z = a = behind(a);

	d->act = WEIR_ACT_IDENTITY;
	for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
		if (!is_op(a, acts[i].op)) continue;
		d->act = acts[i].act;
		z = behind(weir_input(a, 0));
	}
	d->known = z == d->product || without_bias(z, d) == d->product;
}

bool weir__flow_dense(const weir_flow *f, int64_t number, dense *d)
{
	const layer *l = &f->layers[number];

	*d = (dense){ 0 };
	if (l->input < 0) return false;
	for (int64_t i = l->first; i <= l->last; i++) {
		weir_tensor *t = weir_tape_at(f->w, i);

		if (!takes_part(t) || f->rec[i].layer != number) continue;
		if (d->product ? !is_diagonal(f, l, t, weir_node(d->product).index)
			       : !is_product(l, t, d) && !(weir_op_of(t)->flags & WEIR_OP_VIEW))
			return false;
	}
	if (!d->product) return false;
	name_activation(weir_tape_at(f->w, l->last), d);
	return true;
}
