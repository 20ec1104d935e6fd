/* repairs_copy.c: the copy of a network that a plan changes: one rule of weir_replay_into(), called with every operation. */
#include "flow/whatif.h"

#include <string.h>

typedef struct build {
	weir__base *b;
	const weir__recipe *r;
	weir_ctx *to;
} build;

weir__spot *weir__param_spot(const weir__base *b, const weir_tensor *x)
{
	int64_t at;

	while (!is_leaf(x) && (weir_op_of(x)->flags & WEIR_OP_VIEW)) x = weir_input(x, 0);
	at = weir_node(x).index;
	return at >= 0 && at <= b->root && param_of(x) ? &b->spot[at] : NULL;
}

bool weir__same_shape(const weir_tensor *x, const weir_tensor *y)
{
	return weir_dtype_of(x) == weir_dtype_of(y) && weir_rank(x) == weir_rank(y) &&
	       !memcmp(weir_shape(x), weir_shape(y), (size_t)weir_rank(x) * sizeof(int64_t));
}

void weir__blend(weir_tensor *p, double keep, const weir_tensor *g, double take)
{
	void *to = weir_data_mut(p, "weir_flow_whatif");
	const void *from = g ? weir_data(g) : NULL;
	int64_t n = weir_numel(p);

	if (!to) return;
	for (int64_t i = 0; i < n && weir_dtype_of(p) == WEIR_F32; i++) {
		float *x = (float *)to + i;

		*x = (float)(keep * (double)*x - (from ? take * (double)((const float *)from)[i] : 0));
	}
	for (int64_t i = 0; i < n && weir_dtype_of(p) == WEIR_F64; i++) {
		double *x = (double *)to + i;

		*x = keep * *x - (from ? take * ((const double *)from)[i] : 0);
	}
}

/* Fresh weights, or a bias of 0, when a parameter is met first. */
static void draw(const build *c, const weir_tensor *x, weir_tensor *copy)
{
	weir__spot *s = is_leaf(x) ? weir__param_spot(c->b, x) : NULL;
	double scale = 1;

	if (!s || s->drawn) return;
	s->drawn = true;
	if (s->role == MATRIX &&
	    c->r->init == WEIR_INIT_HE) { /* for any layout: weir_init_fill() takes it for [out, in] */
		int64_t rest = weir_shape(x)[0] ? weir_numel(x) / weir_shape(x)[0] : 0;

		if (s->fan_in) scale = __builtin_sqrt((double)rest / (double)s->fan_in);
	}
	if (s->role == MATRIX) weir_init_fill(weir_origin_of(copy), c->r->init, scale);
	else if (s->role == BIAS) weir_init_fill(weir_origin_of(copy), WEIR_INIT_ZEROS, 1);
}

static weir_tensor *same_op(const weir_tensor *old, weir_tensor *const *in, int n)
{
	return weir_op_apply(weir_op_of(old), in, n, weir_attr(old));
}

/* LSUV: scales the weight that old multiplies by, so that the product has variance 1. */
static void scale_product(const build *c, const weir_tensor *old, weir_tensor *const *in, int n)
{
	for (int k = 0; k < n && !(weir_op_of(old)->flags & WEIR_OP_VIEW); k++) {
		weir__spot *s = weir__param_spot(c->b, weir_input(old, k));
		const weir_tensor *x = in[k];
		weir_place place;
		double variance;

		if (!s || s->role != MATRIX || s->scaled) continue;
		s->scaled = true;
		place = weir_mark(c->to);
		weir_no_grad_begin(c->to);
		variance = weir_item(weir_var(same_op(old, in, n), 0, NULL, false, 0));
		weir_no_grad_end(c->to);
		weir_rewind(c->to, place, NULL, 0);
		while (!is_leaf(x)) x = weir_input(x, 0);
		if (variance > 0 && is_finite(variance))
			weir__blend(param_of(x), 1 / __builtin_sqrt(variance), NULL, 0);
	}
}

static weir_tensor *normalise(weir_tensor *z)
{
	static const int last[] = { -1 };
	weir_tensor *d = weir_sub(z, weir_mean(z, 1, last, true));

	return weir_div(d, weir_sqrt(weir_affine(weir_mean(weir_square(d), 1, last, true), 1, 1e-5)));
}

/* The input of layer l beside its output y; outside of any module, so that it is read as a way around the layer. */
static weir_tensor *around(const build *c, int64_t l, weir_tensor *y)
{
	weir_tensor *x = c->b->spot[c->b->f->layers[l].input].now;

	if (!x || !weir_ok(c->to) || !weir__same_shape(x, y)) return y;
	weir_scope_end(c->to);
	if (c->r->scaled) y = weir_affine(y, 1 / __builtin_sqrt((double)c->b->f->count), 0);
	return weir_add(y, x);
}

/* What is known of the operands now. */
static void note(const build *c, const weir_tensor *old, weir_tensor *const *in, int n)
{
	for (int k = 0; k < n; k++) {
		int64_t at = weir_node(weir_input(old, k)).index;

		if (at < 0) continue;
		c->b->spot[at].now = in[k];
		if (c->r->draws) draw(c, weir_input(old, k), in[k]);
	}
}

/* An operation of an activation, on the normalised form of what the activation stands on. */
static weir_tensor *on_normal(const build *c, const weir_tensor *old, weir_tensor *const *in, int n, int64_t z)
{
	weir__spot *s = &c->b->spot[z];
	weir_tensor *few[MOST_INPUTS];

	if (!s->normal && s->now) s->normal = normalise(s->now);
	for (int k = 0; k < n; k++) few[k] = weir_node(weir_input(old, k)).index == z ? s->normal : in[k];
	return same_op(old, few, n);
}

/* What takes the place of node old; in: its operands' copies. What is normalised is so in the scope of what made it: one layer. */
static weir_tensor *rebuild(weir_tensor *old, weir_tensor *const *in, int n, void *user)
{
	const build *c = user;
	weir__spot *spot = c->b->spot, *s = &spot[weir_node(old).index];
	weir_tensor *y;

	note(c, old, in, n);
	if (!s->used) return in[0];
	if (c->r->lsuv) scale_product(c, old, in, n);
	if (s->bends >= 0) y = weir_act_apply(spot[s->bends].now, c->r->act);
	else y = s->chain >= 0 ? on_normal(c, old, in, n, s->chain) : same_op(old, in, n);
	if (s->wanted) s->normal = normalise(y);
	if (s->normalised) y = normalise(y);
	return s->closes >= 0 ? around(c, s->closes, y) : y;
}

weir_tensor *weir__repair_copy(weir__base *b, const weir__recipe *r, weir_ctx *to)
{
	build c = { b, r, to };
	weir_rule rule = { .apply = rebuild, .user = &c };

	return weir_replay_into(to, b->loss, &rule, 1);
}
