/* hook.c: hooks, the public way to look at what flows. One list, in the order set; a hook removed while hooks run is freed afterwards.
 * It is longer than most because setting hooks, calling them and taking the norms that they need are read together. */
#include "engine/hook.h"

#include <string.h>

#include "engine/op.h"
#include "engine/profile.h"
#include "engine/tape.h"
#include "kernels/squares.h"
#include "kernels/threads.h"

void weir_hook_options_init(weir_hook_options *o)
{
	*o = (weir_hook_options){ .wants = WEIR_WANT_NORM };
}

static void count(weir_ctx *w, const weir_hook *h, int by)
{
	if (h->t) return;
	if (h->options.forward) w->forward_hooks += by;
	else w->backward_hooks += by;
}

weir_hook *weir_hook_add(weir_ctx *w, weir_tensor *t, const weir_hook_options *o)
{
	size_t size = sizeof(weir_hook);
	weir_hook *h, **end;

	if (!weir_ok(w) || (t && !weir__alive(t, "weir_hook_add"))) return NULL;
	if (t && t->ctx != w) {
		weir_fail(w, WEIR_ERR_CONTEXT, "weir_hook_add: the tensor belongs to another context");
		return NULL;
	}
	if (!o || !o->observe == !o->replace) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_hook_add: a hook has exactly one of observe and replace");
		return NULL;
	}
	if (t && o->forward) {
		weir_fail(
			w, WEIR_ERR_ARGUMENT,
			"weir_hook_add: a forward hook is set on the context: a tensor is computed before it can be named");
		return NULL;
	}
	if (!(h = weir__pool_take(w, &size))) return NULL;
	*h = (weir_hook){ .ctx = w, .t = t, .options = *o };
	for (end = &w->hooks; *end; end = &(*end)->next) {}
	*end = h;
	if (t) {
		t->flags |= WEIR_T_HOOKED;
		if (weir__node_of(t)) weir__node_of(t)->flags |= WEIR_T_HOOKED;
	}
	count(w, h, 1);
	if (t || o->replace) w->special_hooks++;
	return h;
}

static weir_hook *on_context(weir_ctx *w, weir_observer *observe, void *user, void (*destroy)(void *user), bool forward)
{
	weir_hook_options o;

	weir_hook_options_init(&o);
	o.observe = observe;
	o.user = user;
	o.destroy = destroy;
	o.forward = forward;
	return weir_hook_add(w, NULL, &o);
}

weir_hook *weir_on_grad(weir_ctx *w, weir_observer *observe, void *user, void (*destroy)(void *user))
{
	return on_context(w, observe, user, destroy, false);
}

weir_hook *weir_on_forward(weir_ctx *w, weir_observer *observe, void *user, void (*destroy)(void *user))
{
	return on_context(w, observe, user, destroy, true);
}

/* Frees what was removed, unless hooks are running. */
static void purge(weir_ctx *w)
{
	if (!w->hooks_removed || w->in_hook) return;
	w->hooks_removed = false;
	for (weir_hook **p = &w->hooks; *p;) {
		weir_hook *h = *p;

		if (!h->removed) {
			p = &h->next;
			continue;
		}
		*p = h->next;
		if (h->t || h->options.replace) w->special_hooks--;
		if (h->options.destroy) h->options.destroy(h->options.user);
		weir__pool_give(w, h, sizeof *h);
	}
}

static void mark_removed(weir_hook *h)
{
	if (h->removed) return;
	if (!h->paused) count(h->ctx, h, -1);
	h->removed = true;
	h->ctx->hooks_removed = true;
}

void weir_hook_remove(weir_hook *hook)
{
	if (!hook) return;
	mark_removed(hook);
	purge(hook->ctx);
}

void weir_hook_set_wants(weir_hook *hook, unsigned wants)
{
	if (hook && hook->options.observe) hook->options.wants = wants;
}

void weir_hook_pause(weir_hook *hook, bool paused)
{
	if (!hook || hook->removed || hook->paused == paused) return;
	hook->paused = paused;
	count(hook->ctx, hook, paused ? -1 : 1);
}

void weir_no_hooks_begin(weir_ctx *w)
{
	if (w && w != weir__nowhere()) w->muted++;
}

void weir_no_hooks_end(weir_ctx *w)
{
	if (!w || w == weir__nowhere()) return;
	if (w->muted) w->muted--;
	else
		weir_fail(
			w, WEIR_ERR_ARGUMENT,
			"weir_no_hooks_end: no region is open; every weir_no_hooks_end() needs its weir_no_hooks_begin()");
}

void weir_hook_clock(weir_ctx *w, bool on)
{
	w->hook_clock = on;
}

void weir__hooks_charge(weir_ctx *w, int64_t n)
{
	if (!w->hook_clock) return;
	if (!(w->squares_rate > 0)) w->squares_rate = weir__squares_rate();
	w->hook_seconds += w->squares_rate * (double)n;
}

double weir_hook_seconds(const weir_ctx *w)
{
	return w->hook_seconds;
}

void weir__hooks_rewind(weir_ctx *w, int64_t index)
{
	for (weir_hook *h = w->hooks; h; h = h->next) {
		if (h->t && !(h->t->flags & WEIR_T_KEPT) && h->t->index >= index) mark_removed(h);
	}
	purge(w);
}

void weir__hooks_of_kept(weir_ctx *w, weir_tensor *t)
{
	for (weir_hook *h = w->hooks; h; h = h->next) {
		if (h->t == t) mark_removed(h);
	}
	purge(w);
}

void weir__hooks_free(weir_ctx *w)
{
	for (weir_hook *h = w->hooks; h; h = h->next) mark_removed(h);
	w->in_hook = 0;
	purge(w);
}

/* ---- calling them ---- */

static bool applies(const weir_hook *h, const weir_tensor *node, bool forward, bool of_tensor, int order)
{
	if (h->removed || h->paused || h->options.forward != forward || (h->t != NULL) != of_tensor) return false;
	if (of_tensor && h->t != node && !(node->kept && h->t == node->kept->t)) return false;
	return h->options.all_orders || order <= (forward ? 0 : 1);
}

/* An event on its way along the hooks. */
typedef struct running {
	weir_event e;
	unsigned have;         /* what of the value has been asked for */
	const weir_tensor *of; /* whose norm is known already, or NULL */
	double known;
} running;

static void begin_event(running *run, weir_tensor *node, weir_tensor *value, int order)
{
	const weir_ctx *w = node->ctx;
	weir_event *e = &run->e;

	run->have = 0;
	run->of = NULL;
	e->ctx = node->ctx;
	e->node = node;
	e->value = value;
	e->op = node->op->name;
	e->scope = weir__scope_path(w, node->scope);
	e->name = weir_name(node);
	if (!e->name[0]) e->name = e->scope[0] ? e->scope : e->op;
	e->here = node->here ? node->here : "";
	e->index = node->index;
	e->call = node->call;
	e->order = order;
	e->backward = false;
	e->norm = 0;
	e->stats = (weir_stats){ 0 };
	e->fp_flags = 0;
}

/* Notes a gradient's norm, for weir_grad_norm(). */
static void remember(weir_ctx *w, int64_t index, double norm)
{
	if (index < 0) return;
	if (index >= w->grad_norm_capacity) {
		int64_t more = w->capacity > index ? w->capacity : index + 1;
		size_t bytes = (size_t)more * sizeof norm;
		double *bigger = weir__pool_take(w, &bytes);

		if (!bigger) return;
		if (w->grad_norms) memcpy(bigger, w->grad_norm, (size_t)w->grad_norms * sizeof norm);
		if (w->grad_norm) weir__pool_give(w, w->grad_norm, (size_t)w->grad_norm_capacity * sizeof norm);
		w->grad_norm = bigger;
		w->grad_norm_capacity = more;
	}
	while (w->grad_norms <= index) w->grad_norm[w->grad_norms++] = __builtin_nan("");
	w->grad_norm[index] = norm;
}

double weir_grad_norm(const weir_tensor *t)
{
	const weir_ctx *w = weir__ctx_of(t);
	const weir_tensor *node;

	if (!weir__alive(t, "weir_grad_norm")) return __builtin_nan("");
	node = t->flags & WEIR_T_KEPT && t->kept && t->kept->leaf_life == w->life && t->kept->leaf ? t->kept->leaf : t;
	return node->index >= 0 && node->index < w->grad_norms ? w->grad_norm[node->index] : __builtin_nan("");
}

/* Norm and counts of the event's value, as far as wanted and not yet there. */
static void measure(running *run, unsigned wants)
{
	weir_event *e = &run->e;
	weir_ctx *w = e->ctx;
	weir_tensor *v = e->value;
	unsigned todo = wants & ~run->have & (WEIR_WANT_NORM | WEIR_WANT_STATS);
	bool known = (todo & WEIR_WANT_NORM) && v == run->of;
	int64_t start = w->length;

	if (!todo || !weir__is_float(v->dtype)) return;
	if (!v->contiguous) v = weir_contiguous(v);
	if (weir_is_bad(v)) return;
	if (known) e->norm = run->known;
	else if (todo & WEIR_WANT_NORM) e->norm = weir__norm2((weir_dtype)v->dtype, weir__at(v), v->numel, w->threads);
	if (todo & WEIR_WANT_STATS) weir__stats((weir_dtype)v->dtype, weir__at(v), v->numel, &e->stats, w->threads);
	if (v != e->value) weir__sweep(w, start, NULL, 0);
	if (e->backward && (todo & WEIR_WANT_NORM)) remember(w, e->index, e->norm);
	run->have |= todo;
}

static void run_replacers(running *run, bool of_tensor)
{
	weir_event *e = &run->e;
	weir_ctx *w = e->ctx;

	for (weir_hook *h = w->hooks; h && weir_ok(w); h = h->next) {
		weir_tensor *r;
		weir_text_buf a, b;

		if (!h->options.replace || !applies(h, e->node, !e->backward, of_tensor, e->order)) continue;
		measure(run, h->options.wants);
		r = h->options.replace(e, h->options.user);
		if (!weir_ok(w)) return;
		if (!r || r->ctx != w || !weir__usable(r, "weir_hook")) {
			weir_fail(
				w, WEIR_ERR_HOOK,
				"weir_hook: the replacing hook on %s returned no tensor of this context; return e->value to change nothing",
				e->name);
			return;
		}
		if (!weir__alike(r, e->value)) {
			weir_fail(
				w, WEIR_ERR_HOOK,
				"weir_hook: the replacing hook on %s returned %s in place of %s; type and shape must be the same",
				e->name, weir__describe(r, &a), weir__describe(e->value, &b));
			return;
		}
		e->value = r;
	}
}

static void run_observers(running *run, bool of_tensor)
{
	const weir_event *e = &run->e;
	weir_ctx *w = e->ctx;

	for (weir_hook *h = w->hooks; h && weir_ok(w); h = h->next) {
		if (!h->options.observe || !applies(h, e->node, !e->backward, of_tensor, e->order)) continue;
		measure(run, h->options.wants);
		h->options.observe(e, h->options.user);
	}
}

/* The norm that observers see is that before replacement; so it is taken first where any of them wants it. */
static void measure_first(running *run)
{
	const weir_event *e = &run->e;
	unsigned wants = 0;
	bool replaced = false;

	for (const weir_hook *h = e->ctx->hooks; h; h = h->next) {
		if (!applies(h, e->node, !e->backward, false, e->order) &&
		    !applies(h, e->node, !e->backward, true, e->order))
			continue;
		if (h->options.observe) wants |= h->options.wants;
		else replaced = true;
	}
	if (replaced) measure(run, wants & WEIR_WANT_NORM);
}

static weir_tensor *call_hooks(running *run, bool record)
{
	weir_ctx *w = run->e.ctx;
	const char *outer = w->outer;
	int64_t begin = w->hook_clock ? weir__clock() : 0;

	weir__span_begin(w);
	w->in_hook++;
	w->outer = NULL;
	if (!record) w->no_grad++;
	if (w->special_hooks) {
		measure_first(run);
		run_replacers(run, true);
		run_replacers(run, false);
		run_observers(run, true);
	}
	run_observers(run, false);
	if (!record) w->no_grad--;
	w->outer = outer;
	w->in_hook--;
	purge(w);
	if (w->hook_clock) w->hook_seconds += 1e-9 * (double)(weir__clock() - begin);
	weir__span_end(w, WEIR_SPAN_HOOKS, "hooks");
	return weir_ok(w) ? run->e.value : w->bad;
}

weir_tensor *weir__hooks_backward(weir_tensor *node, weir_tensor *grad, int order, bool graph, double norm)
{
	running run;

	if (node->ctx->in_hook || node->ctx->muted) return grad;
	if (!node->ctx->backward_hooks && !(node->flags & WEIR_T_HOOKED) &&
	    !(node->kept && (node->kept->t->flags & WEIR_T_HOOKED)))
		return grad;
	begin_event(&run, node, grad, order);
	run.e.backward = true;
	run.known = norm;
	if (norm == norm) run.of = grad;
	return call_hooks(&run, graph);
}

bool weir__hooks_want_norms(const weir_ctx *w, int order)
{
	for (const weir_hook *h = w->hooks; h; h = h->next) {
		if (applies(h, NULL, false, false, order) && (h->options.wants & WEIR_WANT_NORM)) return true;
	}
	return false;
}

bool weir__may_fuse(const weir_ctx *w)
{
	for (const weir_hook *h = w->hooks; h; h = h->next) {
		if (h->options.forward && !h->removed && !h->paused &&
		    (h->options.replace || (h->options.wants & WEIR_WANT_FLAGS)))
			return false;
	}
	return true;
}

bool weir__hooks_want_flags(const weir_ctx *w)
{
	for (const weir_hook *h = w->hooks; h; h = h->next) {
		if (h->options.forward && !h->removed && !h->paused && (h->options.wants & WEIR_WANT_FLAGS))
			return true;
	}
	return false;
}

void weir__hooks_forward(weir_tensor *node, unsigned fp_flags)
{
	weir_ctx *w = node->ctx;
	int64_t start = w->length;
	weir_tensor *r;
	running run;

	begin_event(&run, node, node, node->order);
	run.e.fp_flags = fp_flags;
	r = call_hooks(&run, false);
	if (weir_is_bad(r) || r == node) return;
	if (node->store->refs > 1 || !node->contiguous) { /* a view: the replaced value gets memory of its own */
		weir_storage *own = weir__storage_new(w, (size_t)node->numel * weir__size_of(node->dtype));
		int64_t step = 1;

		if (!own) return;
		weir__storage_drop(w, node->store);
		node->store = own;
		node->offset = 0;
		node->version = own->version;
		for (int i = node->rank - 1; i >= 0; i--) {
			node->stride[i] = step;
			if (node->shape[i]) step *= node->shape[i];
		}
		node->contiguous = 1;
	}
	weir__copy((weir_dtype)node->dtype, node->rank, node->shape, weir__at(node), node->stride,
		   &(weir_strided){ weir__at(r), r->stride }, w->threads);
	weir__sweep(w, start, NULL, 0);
}
