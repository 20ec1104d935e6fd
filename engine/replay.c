/* replay.c: executing a tape again with substitutions. */
#include <string.h>

#include "engine/op.h"
#include "engine/tape.h"

/* Is path scope itself or below it? */
static bool in_scope(const char *path, const char *scope)
{
	size_t n = strlen(scope);

	return !strncmp(path, scope, n) && (path[n] == 0 || path[n] == '.');
}

static const weir_rule *match(const weir_rule *rules, int n, const weir_tensor *t)
{
	for (int i = 0; i < n; i++) {
		const weir_rule *r = &rules[i];

		if (!r->with && !r->apply) continue;
		if (r->scope && !in_scope(weir__scope_path(t->ctx, t->scope), r->scope)) continue;
		if (r->op && strcmp(r->op, t->op->name)) continue;
		if (r->tensor && r->tensor != t && !(t->kept && r->tensor == t->kept->t)) continue;
		if (!r->scope && !r->op && !r->tensor) continue;
		return r;
	}
	return NULL;
}

/* map[i]: what took the place of node i, or NULL where root does not depend on it. */
static weir_tensor *again(weir_ctx *w, weir_tensor *t, weir_tensor **map, const weir_rule *rule)
{
	enum { FEW = 8 };
	weir_tensor *few[FEW], **in = few, *y;
	size_t bytes = (size_t)t->nin * sizeof *in;
	const char *here = w->here;

	if (rule && rule->with)
		return weir__belongs(w, rule->with, "weir_replay", "a rule's with") ? rule->with : w->bad;
	if (!t->nin && !rule) return t;
	if (t->nin > FEW && !(in = weir__pool_take(w, &bytes))) return w->bad;
	for (int i = 0; i < t->nin; i++)
		in[i] = t->in[i]->index >= 0 && map[t->in[i]->index] ? map[t->in[i]->index] : t->in[i];
	w->here = t->here;
	weir__scope_set(w, t->scope, t->call);
	y = rule ? rule->apply(t, in, t->nin, rule->user) : weir_op_apply(t->op, in, t->nin, t->attr);
	if (w->scopes.depth) w->scopes.depth--;
	w->here = here;
	if (in != few) weir__pool_give(w, in, bytes);
	if (!weir_ok(w) || !weir__belongs(w, y, "weir_replay", "what a rule's apply returned")) return w->bad;
	if (t->name && !weir_is_bad(y) && y->index >= 0 && !y->name) weir_set_name(y, t->name);
	return y;
}

weir_tensor *weir_replay(weir_tensor *root, const weir_rule *rules, int n)
{
	weir_ctx *w = weir__ctx_of(root);
	weir_tensor **map, *y = w->bad;
	weir_tensor *node;
	size_t bytes;
	int64_t last;

	if (weir__in_hook(w, "weir_replay") || !weir__alive(root, "weir_replay")) return w->bad;
	if (n > 0 && !rules) return weir_fail(w, WEIR_ERR_ARGUMENT, "weir_replay: rules is NULL, but n is %d", n);
	node = weir__node_of(root);
	if (!node || node->index < 0) return root;
	last = node->index;
	bytes = (size_t)(last + 1) * sizeof *map;
	if (!(map = weir__pool_take(w, &bytes))) return w->bad;
	memset(map, 0, (size_t)(last + 1) * sizeof *map);
	map[last] = node;
	for (int64_t i = last; i >= 0; i--) { /* what root depends on stands for itself at first */
		if (!map[i]) continue;
		for (int j = 0; j < w->tape[i]->nin; j++) {
			weir_tensor *x = w->tape[i]->in[j];

			if (x->index >= 0 && x->index < i) map[x->index] = x;
		}
	}
	for (int64_t i = 0; i <= last && weir_ok(w); i++) {
		if (map[i]) map[i] = again(w, map[i], map, match(rules, n, map[i]));
	}
	if (weir_ok(w)) y = map[last];
	weir__pool_give(w, map, bytes);
	return y;
}
