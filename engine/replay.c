/* replay.c: executing a tape again with substitutions, on the same tape or on another context's. */
#include <string.h>

#include "engine/op.h"
#include "engine/tape.h"

/* map[i]: what took the place of node i, or NULL where root does not depend on it. */
typedef struct replay {
	weir_ctx *from, *to;
	const char *who;
	const weir_rule *rules;
	int n;
	weir_tensor **map;
} replay;

/* Is path scope itself or below it? */
static bool in_scope(const char *path, const char *scope)
{
	size_t n = strlen(scope);

	return !strncmp(path, scope, n) && (path[n] == 0 || path[n] == '.');
}

static const weir_rule *match(const replay *p, const weir_tensor *t)
{
	for (int i = 0; i < p->n; i++) {
		const weir_rule *r = &p->rules[i];

		if (!r->with && !r->apply) continue;
		if (r->scope && !in_scope(weir__scope_path(t->ctx, t->scope), r->scope)) continue;
		if (r->op && strcmp(r->op, t->op->name)) continue;
		if (r->tensor && r->tensor != t && !(t->kept && r->tensor == t->kept->t)) continue;
		if (!r->scope && !r->op && !r->tensor && !t->nin) continue;
		return r;
	}
	return NULL;
}

/* A leaf of the other context with x's value and all that it says of itself. */
static weir_tensor *leaf(const replay *p, const weir_tensor *x)
{
	weir_ctx *to = p->to;
	weir_tensor *y = weir_zeros(to, (weir_dtype)x->dtype, x->rank, x->shape);

	if (weir_is_bad(y) || !weir_read(x, weir__at(y), (size_t)y->numel * weir__size_of(y->dtype))) return to->bad;
	if (!(x->flags & WEIR_T_RECORDED)) y->flags &= (uint16_t)~WEIR_T_RECORDED;
	y->here = x->here;
	y->order = x->order;
	y->scope = weir__scope_number(to, weir__scope_path(p->from, x->scope));
	y->call = x->call;
	if (weir_name(x)[0]) weir_set_name(y, weir_name(x));
	return x->flags & WEIR_T_RETAIN ? weir_retain_grad(y) : y;
}

static weir_tensor *parameter(const replay *p, weir_kept *k)
{
	const weir_tensor *x = k->t;
	weir_tensor *y = k->copy;

	if (y) return y;
	y = weir_param_new(p->to, k->name, (weir_dtype)x->dtype, x->rank, x->shape);
	if (weir_is_bad(y) || !weir_read(x, weir__at(y), (size_t)y->numel * weir__size_of(y->dtype))) return p->to->bad;
	weir_freeze(y, k->frozen);
	return k->copy = y;
}

/* What stands for x, which no rule replaces and nothing computes. */
static weir_tensor *given(const replay *p, weir_tensor *x)
{
	if (p->from == p->to) return x;
	if (!weir__usable(x, p->who)) return p->to->bad;
	return x->kept && x->kept->param ? parameter(p, x->kept) : leaf(p, x);
}

static bool is_gone(const weir_tensor *x)
{
	return x->life != WEIR_LIFE_KEPT && x->life != x->ctx->life;
}

static bool operands(const replay *p, weir_tensor *t, weir_tensor **in)
{
	for (int i = 0; i < t->nin; i++) {
		weir_tensor *x = t->in[i];

		in[i] = x->index >= 0 && p->map[x->index] ? p->map[x->index] : given(p, x);
		if (weir_is_bad(in[i])) return false;
	}
	return true;
}

/* In the scope, at the source line and of the order that t was made in. apply may end the scope. */
static weir_tensor *execute(const replay *p, weir_tensor *t, weir_tensor *const *in, const weir_rule *rule)
{
	weir_ctx *to = p->to;
	const char *here = to->here;
	uint32_t depth = to->scopes.depth, lost = to->scopes.lost;
	int order = to->order, no_grad = to->no_grad;
	weir_tensor *y;

	weir__scope_set(to, p->from == to ? t->scope : weir__scope_number(to, weir__scope_path(p->from, t->scope)),
			t->call);
	to->here = t->here;
	to->order = t->order;
	if (!(t->flags & WEIR_T_RECORDED)) to->no_grad++;
	y = rule ? rule->apply(t, in, t->nin, rule->user) : weir_op_apply(t->op, in, t->nin, t->attr);
	to->no_grad = no_grad;
	to->order = order;
	to->here = here;
	to->scopes.depth = depth;
	to->scopes.lost = lost;
	return y;
}

static weir_tensor *again(const replay *p, weir_tensor *t)
{
	enum { FEW = 8 };
	weir_ctx *to = p->to;
	const weir_rule *rule = match(p, t);
	weir_tensor *few[FEW], **in = few, *y = to->bad;
	size_t bytes = (size_t)t->nin * sizeof *in;
	int64_t before = to->length;

	if (rule && rule->with) return weir__belongs(to, rule->with, p->who, "a rule's with") ? rule->with : to->bad;
	if (!t->nin && !rule) return given(p, t);
	for (int i = 0; i < t->nin; i++) { /* scratch of what was not recorded: only the value is left */
		if (!rule && is_gone(t->in[i])) return given(p, t);
	}
	if (t->nin > FEW && !(in = weir__pool_take(to, &bytes))) return to->bad;
	if (operands(p, t, in)) y = execute(p, t, in, rule);
	if (in != few) weir__pool_give(to, in, bytes);
	if (!weir_ok(to) || !weir__belongs(to, y, p->who, "what a rule's apply returned")) return to->bad;
	if (weir_is_bad(y) || y->index < before) return y;
	if (t->name && !y->name) weir_set_name(y, t->name);
	if (to == p->from || !(t->flags & WEIR_T_RETAIN) || !(y->flags & WEIR_T_RECORDED)) return y;
	return weir__is_float(y->dtype) ? weir_retain_grad(y) : y;
}

/* What root depends on stands for itself at first. */
static void mark(const replay *p, weir_tensor *root)
{
	p->map[root->index] = root;
	for (int64_t i = root->index; i >= 0; i--) {
		for (int j = 0; p->map[i] && j < p->map[i]->nin; j++) {
			weir_tensor *x = p->map[i]->in[j];

			if (x->index >= 0 && x->index < i) p->map[x->index] = x;
		}
	}
}

static weir_tensor *run(replay *p, weir_tensor *root)
{
	weir_ctx *to = p->to;
	weir_tensor *node, *y = to->bad;
	size_t bytes;

	if (!weir__alive(root, p->who)) return to->bad;
	if (p->n > 0 && !p->rules)
		return weir_fail(to, WEIR_ERR_ARGUMENT, "%s: rules is NULL, but n is %d", p->who, p->n);
	node = weir__node_of(root);
	if (!node || node->index < 0) return given(p, root);
	bytes = ((size_t)node->index + 1) * sizeof(weir_tensor *);
	if (!(p->map = weir__pool_take(to, &bytes))) return to->bad;
	memset(p->map, 0, ((size_t)node->index + 1) * sizeof(weir_tensor *));
	mark(p, node);
	for (int64_t i = 0; i <= node->index && weir_ok(to) && weir_ok(p->from); i++) {
		if (p->map[i]) p->map[i] = again(p, p->map[i]);
	}
	if (weir_ok(to) && weir_ok(p->from)) y = p->map[node->index];
	weir__pool_give(to, p->map, bytes);
	return y;
}

weir_tensor *weir_replay(weir_tensor *root, const weir_rule *rules, int n)
{
	weir_ctx *w = weir__ctx_of(root);
	replay p = { .from = w, .to = w, .who = "weir_replay", .rules = rules, .n = n };

	return weir__in_hook(w, p.who) ? w->bad : run(&p, root);
}

weir_tensor *weir_replay_into(weir_ctx *to, weir_tensor *root, const weir_rule *rules, int n)
{
	weir_ctx *from = weir__ctx_of(root);
	replay p = { .from = from, .to = to, .who = "weir_replay_into", .rules = rules, .n = n };
	weir_tensor *y;

	if (!to) return weir__nowhere()->bad;
	if (weir__in_hook(to, p.who)) return to->bad;
	if (!root) return weir_fail(to, WEIR_ERR_ARGUMENT, "weir_replay_into: root is NULL");
	if (from == to)
		return weir_fail(to, WEIR_ERR_CONTEXT,
				 "weir_replay_into: root is of the context that it is to be copied to; "
				 "weir_replay() executes again on the same tape");
	y = run(&p, root);
	for (weir_kept *k = from->kept; k; k = k->next) k->copy = NULL;
	return y;
}
