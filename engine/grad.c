/* grad.c: the public ways to differentiate. */
#include <string.h>

#include "engine/backward.h"
#include "engine/hook.h"
#include "engine/op.h"
#include "engine/tape.h"

/* y can be differentiated: recorded, and of a floating type. */
static bool differentiable(weir_tensor *y, const char *who)
{
	weir_text_buf text;
	const weir_tensor *node;

	if (!weir__alive(y, who)) return false;
	node = weir__node_of(y);
	if (!weir__is_float(y->dtype)) {
		weir_fail(y->ctx, WEIR_ERR_DTYPE, "%s: %s can't be differentiated; only f32 and f64 can", who,
			  weir__describe(y, &text));
	} else if (!node || !(node->flags & WEIR_T_RECORDED)) {
		weir_fail(
			y->ctx, WEIR_ERR_GRADIENT,
			"%s: %s was made without recording (inside weir_no_grad_begin(), or a hook), so it has no gradient",
			who, weir__describe(y, &text));
	} else {
		return true;
	}
	return false;
}

static bool one_element(const weir_tensor *y, const char *who, const char *instead)
{
	weir_text_buf text;

	if (y->numel == 1) return true;
	weir_fail(y->ctx, WEIR_ERR_SHAPE, "%s: %s has %lld elements; the gradient is that of one number: %s", who,
		  weir__describe(y, &text), (long long)y->numel, instead);
	return false;
}

/* Ones of y's type and shape, unrecorded. */
static weir_tensor *ones_like(const weir_tensor *y)
{
	weir_ctx *w = y->ctx;
	weir_tensor *one;

	w->no_grad++;
	one = weir_full(w, (weir_dtype)y->dtype, y->rank, y->shape, 1);
	w->no_grad--;
	return one;
}

/* Rewinds what a pass left behind, but for its results and retained gradients. */
static void clean_up(weir_ctx *w, weir_place place, weir_tensor **gxs, int n)
{
	weir_status status = w->status;
	weir_tensor **keep;
	size_t all = (size_t)n + (size_t)w->retained, bytes = all * sizeof *keep;

	w->status = WEIR_OK; /* rewind even after an error, which stays */
	if (!w->retained) {
		weir_rewind(w, place, gxs, n);
	} else if ((keep = weir__pool_take(w, &bytes))) {
		if (n) memcpy(keep, gxs, (size_t)n * sizeof *keep);
		for (int64_t i = 0; i < w->retained; i++) {
			weir_tensor *g = w->retained_list[i].grad;

			keep[n + i] = g && g->index >= place.index ? g : NULL;
		}
		weir_rewind(w, place, keep, (int)all);
		if (n) memcpy(gxs, keep, (size_t)n * sizeof *keep);
		for (int64_t i = 0; i < w->retained; i++) {
			if (keep[n + i]) w->retained_list[i].grad = keep[n + i];
		}
		weir__pool_give(w, keep, bytes);
	}
	if (status) w->status = status;
}

void weir_backward(weir_tensor *loss)
{
	weir_ctx *w = weir__ctx_of(loss);
	weir_place place;
	weir_tensor *one;
	weir_request r = { .ys = &loss, .ny = 1, .gys = &one, .who = "weir_backward" };

	if (weir__in_hook(w, "weir_backward") || !differentiable(loss, "weir_backward") ||
	    !one_element(loss, "weir_backward", "sum or mean it first"))
		return;
	place = weir_mark(w);
	one = ones_like(loss);
	if (!weir_is_bad(one)) weir__backward(w, &r);
	clean_up(w, place, NULL, 0);
}

/* The checks on xs, and what is said of a gradient that does not exist. */
static bool check_xs(weir_ctx *w, weir_tensor *const *xs, int n, const char *who)
{
	weir_text_buf text;

	if (n < 0 || (n && !xs)) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: n is %d and xs is %s", who, n, xs ? "a list" : "NULL");
		return false;
	}
	for (int i = 0; i < n; i++) {
		if (!xs[i]) {
			weir_fail(w, WEIR_ERR_ARGUMENT, "%s: xs[%d] is NULL", who, i);
			return false;
		}
		if (weir__ctx_of(xs[i]) != w) {
			weir_fail(w, WEIR_ERR_CONTEXT, "%s: xs[%d] belongs to another context", who, i);
			return false;
		}
		if (!weir__alive(xs[i], who)) return false;
		if (!weir__is_float(xs[i]->dtype)) {
			weir_fail(w, WEIR_ERR_DTYPE, "%s: xs[%d] is %s; only f32 and f64 have gradients", who, i,
				  weir__describe(xs[i], &text));
			return false;
		}
	}
	return true;
}

static bool check_used(weir_ctx *w, weir_tensor *const *xs, int n, weir_tensor *const *gxs, unsigned flags,
		       const char *who)
{
	weir_text_buf text;

	for (int i = 0; i < n && !(flags & WEIR_ALLOW_UNUSED); i++) {
		if (gxs[i]) continue;
		weir_fail(
			w, WEIR_ERR_GRADIENT,
			"%s: the result does not depend on xs[%d], %s; WEIR_ALLOW_UNUSED gives NULL instead of this error",
			who, i, weir__describe(xs[i], &text));
		return false;
	}
	return true;
}

static void all_bad(weir_ctx *w, weir_tensor **gxs, int n)
{
	for (int i = 0; gxs && i < n; i++) gxs[i] = w->bad;
}

/* The checks on one result and its cotangent. */
static bool check_seed(weir_ctx *w, weir_tensor *y, const weir_tensor *gy, const char *who)
{
	weir_text_buf a, b;

	if (!weir__belongs(w, y, who, "a result") || !differentiable(y, who) || !weir__belongs(w, gy, who, "gy") ||
	    !weir__usable(gy, who))
		return false;
	if (weir__alike(gy, y)) return true;
	weir_fail(w, WEIR_ERR_SHAPE, "%s: gy is %s, but y is %s; they must be alike", who, weir__describe(gy, &a),
		  weir__describe(y, &b));
	return false;
}

/* One pass; unrecorded, what it made since place is rewound and the results are moved down. */
static bool pull_back(weir_ctx *w, weir_request *r, unsigned flags, weir_place place)
{
	bool ok = weir_ok(w);

	r->graph = flags & WEIR_CREATE_GRAPH;
	r->no_hooks = flags & WEIR_NO_HOOKS;
	if (ok && r->nx > 0 && !r->gxs) weir_fail(w, WEIR_ERR_ARGUMENT, "%s: gxs is NULL", r->who);
	for (int i = 0; ok && i < r->ny; i++) ok = check_seed(w, r->ys[i], r->gys[i], r->who);
	if (!weir_ok(w) || !check_xs(w, r->xs, r->nx, r->who)) {
		all_bad(w, r->gxs, r->nx);
		return false;
	}
	if (r->nx > 0 && (!weir__backward(w, r) || !check_used(w, r->xs, r->nx, r->gxs, flags, r->who))) {
		all_bad(w, r->gxs, r->nx);
		return false;
	}
	if (!r->graph) clean_up(w, place, r->gxs, r->nx);
	else weir__sweep(w, place.index, r->gxs, r->nx);
	return weir_ok(w);
}

bool weir_grad(weir_tensor *y, weir_tensor *const *xs, int n, weir_tensor **gxs, unsigned flags)
{
	weir_ctx *w = weir__ctx_of(y);
	weir_place place = weir_mark(w);
	weir_tensor *one = w->bad;
	weir_request r = { .ys = &y, .gys = &one, .ny = 1, .xs = xs, .nx = n, .gxs = gxs, .who = "weir_grad" };

	if (weir_ok(w) && differentiable(y, r.who) && one_element(y, r.who, "weir_vjp() takes a cotangent for more"))
		one = ones_like(y);
	/* what is recorded of the pass can be replayed, which needs its constants */
	if (!weir_is_bad(one) && (flags & WEIR_CREATE_GRAPH)) one->flags |= WEIR_T_RECORDED;
	return pull_back(w, &r, flags, place);
}

bool weir_vjp(weir_tensor *y, weir_tensor *gy, weir_tensor *const *xs, int n, weir_tensor **gxs, unsigned flags)
{
	weir_ctx *w = weir__ctx_of(y);
	weir_request r = { .ys = &y, .gys = &gy, .ny = 1, .xs = xs, .nx = n, .gxs = gxs, .who = "weir_vjp" };

	if (!gy) weir_fail(w, WEIR_ERR_ARGUMENT, "weir_vjp: gy is NULL; weir_grad() differentiates a single number");
	return pull_back(w, &r, flags, weir_mark(w));
}

bool weir_vjps(weir_ctx *w, weir_tensor *const *ys, weir_tensor *const *gys, int ny, weir_tensor *const *xs, int n,
	       weir_tensor **gxs, unsigned flags)
{
	weir_request r = { .ys = ys, .gys = gys, .ny = ny, .xs = xs, .nx = n, .gxs = gxs, .who = "weir_vjps" };

	if (!w) w = weir__nowhere();
	if (ny < 0 || (ny && (!ys || !gys)))
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_vjps: ny is %d, but a list is NULL", ny);
	return pull_back(w, &r, flags, weir_mark(w));
}

/* A rule is linear in its cotangent u, so d(vjp)/du, applied to v, is the Jacobian times v whatever the value of u. */
weir_tensor *weir_jvp(weir_tensor *y, weir_tensor *const *xs, weir_tensor *const *vxs, int n, unsigned flags)
{
	weir_ctx *w = weir__ctx_of(y);
	weir_tensor *u, *jv = NULL, **g;
	weir_place place;
	size_t bytes = 3 * (size_t)(n > 0 ? n : 1) * sizeof *g;
	weir_text_buf a, b;
	int used = 0;
	weir_request first = { .ys = &y, .gys = &u, .ny = 1, .xs = xs, .nx = n, .tangent = true, .who = "weir_jvp" };
	weir_request second = { .xs = &u,
				.nx = 1,
				.gxs = &jv,
				.graph = flags & WEIR_CREATE_GRAPH,
				.no_hooks = flags & WEIR_NO_HOOKS,
				.tangent = true,
				.who = "weir_jvp" };

	if (!weir_ok(w) || !differentiable(y, "weir_jvp") || !check_xs(w, xs, n, "weir_jvp")) return w->bad;
	for (int i = 0; i < n; i++) {
		if (!weir__belongs(w, vxs[i], "weir_jvp", "a tensor of vxs")) return w->bad;
		if (!weir__usable(vxs[i], "weir_jvp") || !weir__alike(vxs[i], xs[i]))
			return weir_fail(w, WEIR_ERR_SHAPE,
					 "weir_jvp: vxs[%d] is %s, but xs[%d] is %s; they must be alike", i,
					 weir__describe(vxs[i], &a), i, weir__describe(xs[i], &b));
	}
	if (!(g = weir__pool_take(w, &bytes))) return w->bad;
	first.gxs = g;
	place = weir_mark(w);
	u = weir_zeros(w, (weir_dtype)y->dtype, y->rank, y->shape);
	if (!weir_is_bad(u)) u->flags |= WEIR_T_RECORDED;
	if (pull_back(w, &first, WEIR_CREATE_GRAPH | WEIR_ALLOW_UNUSED | (flags & WEIR_NO_HOOKS), weir_mark(w))) {
		for (int i = 0; i < n; i++) { /* seeds: each gradient, with the tangent */
			if (!g[i]) continue;
			g[n + used] = g[i];
			g[2 * n + used++] = vxs[i];
		}
		second.ys = g + n;
		second.gys = g + 2 * n;
		second.ny = used;
		weir__backward(w, &second);
		if (weir_ok(w) && !jv) jv = weir_zeros(w, (weir_dtype)y->dtype, y->rank, y->shape);
		if (weir_ok(w) && !second.graph) weir_rewind(w, place, &jv, 1);
		else if (weir_ok(w)) weir__sweep(w, place.index, &jv, 1);
	}
	weir__pool_give(w, g, bytes);
	return weir_ok(w) && jv ? jv : w->bad;
}

weir_tensor *weir_retain_grad(weir_tensor *t)
{
	weir_ctx *w = weir__ctx_of(t);
	weir_tensor *node;

	if (!weir__alive(t, "weir_retain_grad")) return w->bad;
	node = weir__operand(w, t);
	if (!differentiable(node, "weir_retain_grad")) return w->bad;
	if (node->flags & WEIR_T_RETAIN) return t;
	if (w->retained == w->retained_capacity) {
		int64_t more = w->retained ? 2 * w->retained : 32;
		size_t bytes = (size_t)more * sizeof *w->retained_list;
		struct weir_retained *bigger = weir__pool_take(w, &bytes);

		if (!bigger) return w->bad;
		if (w->retained) memcpy(bigger, w->retained_list, (size_t)w->retained * sizeof *bigger);
		if (w->retained_list)
			weir__pool_give(w, w->retained_list, (size_t)w->retained_capacity * sizeof *bigger);
		w->retained_list = bigger;
		w->retained_capacity = more;
	}
	w->retained_list[w->retained++] = (struct weir_retained){ node, NULL };
	node->flags |= WEIR_T_RETAIN;
	return t;
}
