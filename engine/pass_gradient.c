/* pass_gradient.c: the memory of a pass's gradients, and adding up. See pass.h. */
#include "engine/pass.h"

/* The header of one that is used up, if there is one, made again like x. */
static weir_tensor *header_again(weir_pass *p, const weir_tensor *x)
{
	weir_tensor *t = p->spare[x->rank];

	if (!t) return NULL;
	p->spare[x->rank] = (weir_tensor *)(void *)t->in;
	weir__release_value(t);
	weir__header_again(t, x);
	return t;
}

weir_tensor *weir__pass_gradient_new(weir_pass *p, const weir_tensor *x)
{
	weir_tensor *t = header_again(p, x);

	if (!t) return weir__tensor_new(p->w, &weir__op_input, x->dtype, x->rank, x->shape);
	return weir__give_storage(t) ? t : p->w->bad;
}

void weir__pass_release(weir_pass *p, weir_tensor *g)
{
	bool again = p->again && !g->kept && g->op == &weir__op_input;

	if (p->r->graph || weir__is_bad(g)) return;
	weir__release_value(g);
	if (!again) return;
	g->in = (weir_tensor **)(void *)p->spare[g->rank];
	p->spare[g->rank] = g;
}

weir_tensor *weir__pass_alias(weir_pass *p, weir_tensor *x)
{
	weir_tensor *t = header_again(p, x);

	if (!t) return weir__tensor_view(x, &weir__op_input, x->rank, x->shape, x->stride, 0);
	weir__look_into(t, x, x->stride, 0);
	return t;
}

/* A copy of g, contiguous; g is given back. */
static weir_tensor *copied(weir_pass *p, weir_tensor *g)
{
	weir_tensor *c = weir__pass_gradient(p, g);

	if (weir__is_bad(c)) return c;
	weir__run_map(WEIR_MAP_copy, c, (const weir_tensor *const[]){ g }, 1, NULL);
	weir__pass_drop(p, g);
	return c;
}

weir_tensor *weir__pass_contiguous(weir_pass *p, weir_tensor *g)
{
	return p->r->graph || g->contiguous ? g : copied(p, g);
}

bool weir__pass_destination_copied(weir_pass *p, weir_tensor **slot, weir_grad_dst *dst)
{
	weir_tensor *mine = copied(p, *slot);

	if (weir__is_bad(mine)) return false;
	*slot = mine;
	dst->mode = WEIR_DST_ADD;
	dst->data = mine->store->data;
	return true;
}

bool weir__pass_overwrites(weir_pass *p, const weir_tensor *y, weir_tensor *gy, weir_grad_dst *dst)
{
	const weir_tensor *x = y->in[0];

	if (!(y->op->flags & WEIR_OP_OVERWRITES) || y->nin != 1 || !p->again ||
	    p->need[y->index - p->first] != WEIR_NEED_PATH)
		return false;
	if (!weir__on_path(p, x) || p->g[x->index - p->first] || !weir__exclusive(gy) || !weir__alike(gy, x))
		return false;
	p->g[x->index - p->first] = gy;
	p->taken = true;
	*dst = (weir_grad_dst){ .mode = WEIR_DST_WRITE, .data = weir__there(gy) };
	return true;
}

void weir__add_into(weir_tensor *dst, const weir_tensor *x)
{
	weir_grad_dst d = { .mode = WEIR_DST_ADD, .data = weir__at(dst) };

	weir__run_map_dst(WEIR_MAP_copy, dst, d, &x, 1, NULL);
}

bool weir__pass_accumulate(weir_pass *p, int64_t index, weir_tensor *more)
{
	weir_tensor **g = &p->g[index - p->first], *old = *g, *sum;

	if (!old) {
		*g = more;
		return true;
	}
	weir__pass_set_norm(p, index, __builtin_nan(""));
	if (p->r->graph) {
		*g = weir__add(old, more);
		return weir_ok(p->w);
	}
	if (weir__exclusive(old)) {
		weir__add_into(old, more);
	} else {
		sum = weir__pass_gradient(p, old);
		if (weir__is_bad(sum)) return false;
		weir__run_map(WEIR_MAP_add, sum, (const weir_tensor *const[]){ old, more }, 2, NULL);
		weir__pass_drop(p, old);
		*g = sum;
	}
	weir__pass_drop(p, more);
	return true;
}
