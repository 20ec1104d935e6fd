/* tape.c: the tape as an array: pushing, resetting, marking and rewinding, scratch scopes, leaves of kept tensors.
 * It is longer than most because all that may point into the tape is named where the tape ends. */
#include "engine/tape.h"

#include <string.h>

#include "engine/hook.h"
#include "engine/op.h"
#include "engine/profile.h"
#include "kernels/threads.h"

const weir_op weir__op_input = { .name = "input" };
const weir_op weir__op_param = { .name = "param" };

typedef struct weir_substitution {
	struct weir_substitution *outer;
	weir_tensor **from;
	weir_tensor **before; /* what stood in for from[i] until now */
	int n;
	size_t bytes;
} weir_substitution;

bool weir__in_hook(weir_ctx *w, const char *who)
{
	if (!weir_ok(w)) return true;
	if (!w->in_hook) return false;
	weir_fail(w, WEIR_ERR_HOOK, "%s: not allowed inside a hook: the tape is in use", who);
	return true;
}

bool weir__tape_grow(weir_ctx *w)
{
	int64_t more = w->capacity ? 2 * w->capacity : 256;
	size_t size = (size_t)more * sizeof *w->tape;
	weir_tensor **bigger;

	if (more > INT32_MAX) {
		weir_fail(w, WEIR_ERR_LIMIT, "weir: more than %lld tensors on one tape; weir_tape_reset() once a step",
			  (long long)w->capacity);
		return false;
	}
	if (!(bigger = weir__pool_take(w, &size))) return false;
	if (w->length) memcpy(bigger, w->tape, (size_t)w->length * sizeof *w->tape);
	if (w->tape) weir__pool_give(w, w->tape, (size_t)w->capacity * sizeof *w->tape);
	w->tape = bigger;
	w->capacity = more;
	return true;
}

void weir__end_substitute(weir_tensor *t)
{
	weir_ctx *w = t->ctx;

	for (weir_substitution *s = w->substitution; s; s = s->outer) {
		for (int i = 0; i < s->n; i++) {
			weir_kept *k = s->from[i]->kept;

			if (k && k->substitute == t) k->substitute = w->bad;
			if (s->before[i] == t) s->before[i] = w->bad;
		}
	}
}

/* Ends a tape tensor: value back, header dead. */
static void end_tensor(weir_tensor *t)
{
	weir_kept *k = t->kept;

	if (t->flags & WEIR_T_STANDS_IN) weir__end_substitute(t);
	if (k && k->leaf == t) k->leaf = NULL;
	if (t->store) weir__storage_drop(t->ctx, t->store);
	t->store = NULL;
	t->kept = NULL;
	t->index = -1; /* its place may become another's */
	t->life = WEIR_LIFE_DEAD;
}

void weir_tape_reset(weir_ctx *w)
{
	uint32_t life;

	if (!w || weir__in_hook(w, "weir_tape_reset")) return;
	weir__span_begin(w);
	life = w->life;
	weir__hooks_rewind(w, 0);
	for (int64_t i = 0; i < w->length; i++) {
		if (!w->tape[i]) continue;
		end_tensor(w->tape[i]);
		w->tape[i]->life = life; /* older than the new tape: stale, and known to be */
	}
	w->length = 0;
	w->retained = 0;
	w->grad_norms = 0;
	w->life = life + 1 ? life + 1 : WEIR_LIFE_FIRST;
	if (w->options.check_stale) {
		weir__arena_retire(&w->arena[0]);
	} else {
		w->arena_now ^= 1;
		weir__arena_rewind(&w->arena[w->arena_now], (weir_arena_place){ NULL, 0 });
		while (w->dropped[1]) { /* dropped before the last reset: their headers may serve again */
			weir_tensor *t = w->dropped[1];

			w->dropped[1] = t->in;
			t->in = w->free_header;
			w->free_header = t;
		}
		w->dropped[1] = w->dropped[0];
		w->dropped[0] = NULL;
	}
	weir__threads_turn();
	weir__span_end(w, WEIR_SPAN_CALL, "weir_tape_reset");
}

void weir__tape_free(weir_ctx *w)
{
	for (int64_t i = 0; i < w->length; i++) {
		if (w->tape[i]) end_tensor(w->tape[i]);
	}
	while (w->substitution) weir_substitute_end(w);
	w->length = 0;
}

int64_t weir_tape_length(const weir_ctx *w)
{
	return w ? w->length : 0;
}

weir_tensor *weir_tape_at(const weir_ctx *w, int64_t index)
{
	return w && index >= 0 && index < w->length ? w->tape[index] : NULL;
}

/* ---- marks and scratch ---- */

weir_place weir_mark(weir_ctx *w)
{
	weir_arena_place place;

	if (!w || w == weir__nowhere()) return (weir_place){ 0, 0, NULL, 0 };
	place = weir__arena_place(&w->arena[w->arena_now]);
	return (weir_place){ w->length, w->life, place.now, place.used };
}

/* What survives of a kept entry while its header's place is taken back. */
typedef struct survivor {
	weir_tensor header;
	int64_t shape[WEIR_MAX_RANK], stride[WEIR_MAX_RANK];
	char name[128];
} survivor;

static void save(survivor *s, const weir_tensor *t)
{
	s->header = *t;
	s->header.store->refs++;
	memcpy(s->shape, t->shape, t->rank * sizeof *t->shape);
	memcpy(s->stride, t->stride, t->rank * sizeof *t->stride);
	snprintf(s->name, sizeof s->name, "%s", t->name ? t->name : "");
}

static weir_tensor *restore(weir_ctx *w, survivor *s)
{
	weir_tensor *old = &s->header;
	weir_tensor held = { .ctx = w, .store = old->store, .offset = old->offset, .dtype = old->dtype };
	weir_tensor *t = weir__tensor_view(&held, &weir__op_input, old->rank, s->shape, s->stride, 0);

	weir__storage_drop(w, old->store); /* the view holds it now */
	if (weir_is_bad(t)) return t;
	t->order = old->order;
	t->here = old->here;
	t->scope = old->scope;
	t->call = old->call;
	if (weir_is_recording(w)) t->flags |= WEIR_T_RECORDED;
	if (s->name[0]) weir_set_name(t, s->name);
	return t;
}

/* Nodes were asked for in any order, and a gradient is younger than its node. */
static void forget_retained(weir_ctx *w, int64_t index)
{
	int64_t n = 0;

	for (int64_t i = 0; i < w->retained; i++) {
		struct weir_retained r = w->retained_list[i];

		if (r.t->index >= index) continue;
		if (r.grad && r.grad->index >= index) r.grad = NULL;
		w->retained_list[n++] = r;
	}
	w->retained = n;
}

void weir_rewind(weir_ctx *w, weir_place place, weir_tensor **keep, int n)
{
	size_t bytes = (size_t)(n > 0 ? n : 0) * sizeof(survivor);
	survivor *list = NULL;

	if (!w || w == weir__nowhere()) return;
	if (place.life != w->life || place.index > w->length) {
		weir_fail(w, WEIR_ERR_STALE,
			  "weir_rewind: the mark is stale: the tape was reset, or rewound to before it");
		return;
	}
	for (int i = 0; i < n; i++) { /* after an error memory is still given back, but nothing survives */
		if (keep[i] && (!weir__belongs(w, keep[i], "weir_rewind", "a tensor of keep") ||
				!weir__usable(keep[i], "weir_rewind")))
			keep[i] = w->bad;
	}
	if (n > 0 && !(list = weir__pool_take(w, &bytes))) return;
	for (int i = 0; i < n; i++) {
		if (keep[i] && keep[i]->index >= place.index) save(&list[i], keep[i]);
		else list[i].header.ctx = NULL;
	}
	weir__hooks_rewind(w, place.index);
	forget_retained(w, place.index);
	for (int64_t i = w->length; i-- > place.index;) {
		if (w->tape[i]) end_tensor(w->tape[i]);
	}
	w->length = place.index;
	if (w->grad_norms > w->length) w->grad_norms = w->length;
	if (!w->options.check_stale) {
		weir_arena_place to = { (weir_chunk *)(uintptr_t)place.header, place.used };

		weir__arena_rewind(&w->arena[w->arena_now], to);
	}
	for (int i = 0; i < n; i++) {
		if (keep[i] && list[i].header.ctx) keep[i] = restore(w, &list[i]);
	}
	if (list) weir__pool_give(w, list, bytes);
}

void weir__sweep(weir_ctx *w, int64_t start, weir_tensor *const *keep, int n)
{
	for (int i = 0; i < n; i++) {
		if (keep[i]) keep[i]->flags |= WEIR_T_PINNED;
	}
	for (int64_t i = start; i < w->length; i++) {
		weir_tensor *t = w->tape[i];

		if (!t || (t->flags & (WEIR_T_PINNED | WEIR_T_RETAIN | WEIR_T_NEEDED)) || t->kept) continue;
		if (t->flags & WEIR_T_RECORDED) {
			if (t->nin) weir__release_value(t); /* a constant can't be computed again: replay needs it */
		} else {
			end_tensor(t);
			w->tape[i] = NULL;
		}
	}
	for (int i = 0; i < n; i++) {
		if (keep[i]) keep[i]->flags &= (uint16_t)~WEIR_T_PINNED;
	}
	while (w->length > start && !w->tape[w->length - 1]) w->length--;
}

weir_scratch weir__scratch_begin(const weir_tensor *x, const char *who)
{
	weir_ctx *w = weir__ctx_of(x);
	weir_scratch s = { w, w->length, w->outer, who };

	if (w == weir__nowhere()) return s;
	if (!w->outer) w->outer = who;
	weir__enter(w);
	weir__span_begin(w);
	return s;
}

weir_tensor *weir__scratch_end(weir_scratch *s, weir_tensor *y)
{
	weir_ctx *w = s->ctx;

	if (w == weir__nowhere()) return w->bad;
	weir__sweep(w, s->start, &y, 1);
	w->outer = s->outer;
	weir__span_end(w, WEIR_SPAN_COMPOSED, s->who);
	weir__leave(w);
	return y;
}

/* ---- recording on and off ---- */

void weir_no_grad_begin(weir_ctx *w)
{
	if (w && w != weir__nowhere()) w->no_grad++;
}

void weir_no_grad_end(weir_ctx *w)
{
	if (!w || w == weir__nowhere()) return;
	if (w->no_grad) w->no_grad--;
	else
		weir_fail(
			w, WEIR_ERR_ARGUMENT,
			"weir_no_grad_end: no region is open; every weir_no_grad_end() needs its weir_no_grad_begin()");
}

bool weir_is_recording(const weir_ctx *w)
{
	return w && !w->no_grad;
}

/* ---- kept tensors on the tape ---- */

weir_tensor *weir__node_of(weir_tensor *t)
{
	const weir_kept *k = t->kept;

	if (!(t->flags & WEIR_T_KEPT) || !k) return t;
	return k->leaf && k->leaf_life == t->ctx->life ? k->leaf : NULL;
}

weir_tensor *weir__operand(weir_ctx *w, weir_tensor *t)
{
	weir_tensor *leaf = weir__present_operand(t);
	weir_kept *k = t->kept;

	if (leaf || !k) return leaf ? leaf : t;
	if (k->substitute) return weir__operand(w, k->substitute);
	leaf = weir__tensor_view(t, k->param ? &weir__op_param : &weir__op_input, t->rank, t->shape, t->stride, 0);
	if (weir_is_bad(leaf)) return leaf;
	leaf->flags |= WEIR_T_RECORDED;
	leaf->kept = k;
	leaf->here = w->here;
	leaf->scope = weir__scope_now(&w->scopes, &leaf->call);
	k->leaf = leaf;
	k->leaf_life = w->life;
	return leaf;
}

weir_tensor *weir_origin_of(weir_tensor *t)
{
	return t && t->kept && !(t->flags & WEIR_T_KEPT) ? t->kept->t : t;
}

bool weir_substitute_begin(weir_ctx *w, weir_tensor *const *from, weir_tensor *const *to, int n)
{
	size_t bytes = sizeof(weir_substitution) + 2 * (size_t)(n > 0 ? n : 0) * sizeof *from;
	weir_substitution *s;
	weir_text_buf a, b;

	if (!weir_ok(w)) return false;
	if (n > 0 && (!from || !to)) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_substitute_begin: n is %d, but a list is NULL", n);
		return false;
	}
	for (int i = 0; i < n; i++) {
		if (!weir__belongs(w, from[i], "weir_substitute_begin", "a tensor of from") ||
		    (to[i] && !weir__belongs(w, to[i], "weir_substitute_begin", "a tensor of to")))
			return false;
		if (!weir__usable(from[i], "weir_substitute_begin") ||
		    (to[i] && !weir__usable(to[i], "weir_substitute_begin")))
			return false;
		if (!(from[i]->flags & WEIR_T_KEPT)) {
			weir_fail(
				w, WEIR_ERR_ARGUMENT,
				"weir_substitute_begin: %s is no parameter or kept tensor; only these can be stood in for",
				weir__describe(from[i], &a));
			return false;
		}
		if (to[i] && !weir__alike(to[i], from[i])) {
			weir_fail(w, WEIR_ERR_SHAPE, "weir_substitute_begin: type or shape differ: %s in place of %s",
				  weir__describe(to[i], &a), weir__describe(from[i], &b));
			return false;
		}
	}
	if (!(s = weir__pool_take(w, &bytes))) return false;
	*s = (weir_substitution){ .outer = w->substitution, .from = (weir_tensor **)(s + 1), .n = n, .bytes = bytes };
	s->before = s->from + n;
	for (int i = 0; i < n; i++) {
		s->from[i] = from[i];
		s->before[i] = from[i]->kept->substitute;
		if (!to[i] || to[i] == from[i]) continue;
		from[i]->kept->substitute = to[i];
		to[i]->flags |= WEIR_T_STANDS_IN;
	}
	w->substitution = s;
	return true;
}

void weir_substitute_end(weir_ctx *w)
{
	weir_substitution *s = w ? w->substitution : NULL;

	if (!s) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_substitute_end: nothing is substituted");
		return;
	}
	for (int i = s->n; i-- > 0;) {
		if (s->from[i]->kept) s->from[i]->kept->substitute = s->before[i];
	}
	w->substitution = s->outer;
	weir__pool_give(w, s, s->bytes);
}

/* ---- what a node says of itself ---- */

weir_node_info weir_node(const weir_tensor *t)
{
	weir_node_info info = { .op = "", .scope = "", .name = "", .here = "", .index = -1, .origin = -1, .call = 1 };

	if (!t || !t->op || (t->life != WEIR_LIFE_KEPT && t->life != t->ctx->life)) return info;
	info.op = t->op->name;
	info.scope = weir__scope_path(t->ctx, t->scope);
	info.name = weir_name(t);
	if (!info.name[0]) info.name = info.scope[0] ? info.scope : info.op;
	info.here = t->here ? t->here : "";
	info.index = t->index;
	info.origin = t->origin;
	info.call = t->call;
	info.order = t->order;
	info.inputs = t->nin;
	info.recorded = (t->flags & WEIR_T_RECORDED) != 0;
	info.released = !t->store;
	return info;
}

weir_tensor *weir_input(const weir_tensor *t, int i)
{
	return t && i >= 0 && i < t->nin ? t->in[i] : NULL;
}

const weir_op *weir_op_of(const weir_tensor *t)
{
	return t ? t->op : NULL;
}

const void *weir_attr(const weir_tensor *t)
{
	return t ? t->attr : NULL;
}
