/* backward.c: reverse accumulation over the tape.
 *
 * The tape is the order: one loop from the last seed's index down, no recursion and no counters. Before it, one pass upward marks
 * the nodes that lead from what is asked for (parameters, or xs) to the seeds; only these get a gradient. A node's gradient is final
 * when the loop reaches it: its hooks run there, then its rule hands gradients to its operands, then its buffer goes back to the pool.
 *
 * Two ways through a rule. Fused: one pass over memory straight into the operands' gradient buffers. As tensor operations: when
 * the pass itself is recorded (create_graph), or where an operation has no fused twin. A gradient tensor in g[] is a header of its own, so that
 * its storage tells by its count whether it may be added to in place.
 *
 * Norms that hooks want are taken by the fused rule while it writes (kernels/squares.h), where it can: then the hook finds them ready. A rule
 * that has time to square what it reads (WEIR_OP_MEASURES) is run before the observers of its node are called.
 * It is longer than most because the loop and all that it calls are read together. */
#include "engine/backward.h"

#include <string.h>

#include "engine/hook.h"
#include "engine/op.h"
#include "engine/profile.h"
#include "engine/tape.h"
#include "kernels/squares.h"

typedef struct pass {
	weir_ctx *w;
	const weir_request *r;
	int64_t first, n; /* nodes first .. n - 1 take part */
	weir_tensor **g;  /* g[i - first]: gradient of node i so far, or NULL */
	double *norm;     /* norm[i - first]: its norm, where that is known already; NaN elsewhere */
	uint8_t *need;    /* need[i - first] */
	size_t g_bytes, norm_bytes, need_bytes;
	bool hooked;                           /* a hook wants the norm of every gradient */
	bool again;                            /* headers of used-up gradients serve again: nobody else has seen them */
	weir_tensor *spare[WEIR_MAX_RANK + 1]; /* those, by rank, linked by `in` */
	weir_tensor *whole; /* one of these with its memory, if that is little: the next of its shape */
	double *chunk;      /* room for weir_squares */
	size_t chunk_bytes;
	struct staged { /* gradients for accumulators: handed over only when the pass is through */
		weir_kept *k;
		weir_tensor *grad;
		double norm; /* or NaN */
	} * staged;
	int64_t n_staged, staged_capacity;
	int order;
} pass;

/* ---- which nodes take part ---- */

enum { NEED_PATH = 1, NEED_TARGET = 2 }; /* leads on to a target; is one */

static bool wanted_leaf(const weir_tensor *t)
{
	return t->kept && t->kept->param && !t->kept->frozen && t->op == &weir__op_param;
}

static bool in_range(const pass *p, const weir_tensor *x)
{
	return x->index >= p->first && x->index < p->n;
}

/* A pass beside the user's own leaves his values and the gradients that he retained alone. */
static bool beside(const weir_request *r)
{
	return r->no_hooks || r->tangent;
}

static bool retained(const pass *p, const weir_tensor *t)
{
	return (t->flags & WEIR_T_RETAIN) && !beside(p->r);
}

static void mark_needed(pass *p)
{
	const weir_request *r = p->r;

	memset(p->need, 0, (size_t)(p->n - p->first));
	for (int i = 0; i < r->nx; i++) {
		const weir_tensor *x = weir__node_of(r->xs[i]);

		if (x && in_range(p, x)) p->need[x->index - p->first] = NEED_TARGET;
	}
	for (int64_t i = p->first; i < p->n; i++) {
		const weir_tensor *t = p->w->tape[i];
		uint8_t *need = &p->need[i - p->first];

		if (!t || !(t->flags & WEIR_T_RECORDED) || !weir__is_float(t->dtype)) continue;
		if ((!r->nx && wanted_leaf(t)) || retained(p, t)) *need |= NEED_TARGET;
		if (t->op->flags & WEIR_OP_STOP) continue;
		for (int j = 0; j < t->nin && !(*need & NEED_PATH); j++) {
			const weir_tensor *x = t->in[j];

			if (in_range(p, x) && p->need[x->index - p->first] && (x->flags & WEIR_T_RECORDED))
				*need |= NEED_PATH;
		}
	}
}

static bool on_path(const pass *p, const weir_tensor *x)
{
	return in_range(p, x) && p->need[x->index - p->first] && weir__is_float(x->dtype);
}

/* ---- adding up ---- */

/* May its memory be written in place? */
static bool exclusive(const weir_tensor *t)
{
	return t->store->refs == 1 && t->contiguous && !t->kept && !t->store->shared;
}

/* Of a pass's gradients few are alive at a time: the header of one that is used up, if there is one, made again like x. */
static weir_tensor *header_again(pass *p, const weir_tensor *x)
{
	weir_tensor *t = p->spare[x->rank];

	if (!t) return NULL;
	p->spare[x->rank] = (weir_tensor *)(void *)t->in;
	weir__header_again(t, x);
	return t;
}

enum { LITTLE = 1024 }; /* bytes */

/* Memory for a gradient of x. */
static weir_tensor *gradient(pass *p, const weir_tensor *x)
{
	weir_tensor *t = p->whole;

	if (t && weir__alike(t, x)) {
		p->whole = NULL;
		return t;
	}
	t = header_again(p, x);
	if (!t) return weir__tensor_new(p->w, &weir__op_input, x->dtype, x->rank, x->shape);
	return weir__give_storage(t) ? t : p->w->bad;
}

/* Another header on the same memory. */
static weir_tensor *alias(pass *p, weir_tensor *x)
{
	weir_tensor *t = header_again(p, x);

	if (!t) return weir__tensor_view(x, &weir__op_input, x->rank, x->shape, x->stride, 0);
	weir__look_into(t, x, x->stride, 0);
	return t;
}

/* As gradient() makes them, and in little memory, so that to hold on to it costs nothing? */
static bool little(const weir_tensor *g)
{
	return exclusive(g) && !g->offset && !g->flags && !g->name && g->store->size <= LITTLE;
}

static void drop(pass *p, weir_tensor *g)
{
	bool again = p->again && !g->kept && g->op == &weir__op_input;

	if (p->r->graph || weir__is_bad(g)) return;
	if (again && !p->whole && little(g)) {
		p->whole = g;
		return;
	}
	weir__release_value(g);
	if (!again) return;
	g->in = (weir_tensor **)(void *)p->spare[g->rank];
	p->spare[g->rank] = g;
}

static void add_into(weir_tensor *dst, const weir_tensor *x)
{
	weir_grad_dst d = { .mode = WEIR_DST_ADD, .data = weir__at(dst) };

	weir__run_map_dst(WEIR_MAP_copy, dst, d, &x, 1, NULL);
}

static double norm_of(const pass *p, int64_t index)
{
	return p->norm ? p->norm[index - p->first] : __builtin_nan("");
}

static void set_norm(pass *p, int64_t index, double norm)
{
	if (p->norm) p->norm[index - p->first] = norm;
}

/* g[index] += more. more is this pass's own. */
static bool accumulate(pass *p, int64_t index, weir_tensor *more)
{
	weir_tensor **g = &p->g[index - p->first], *old = *g, *sum;

	if (!old) {
		*g = more;
		return true;
	}
	set_norm(p, index, __builtin_nan(""));
	if (p->r->graph) {
		*g = weir__add(old, more);
		return weir_ok(p->w);
	}
	if (exclusive(old)) {
		add_into(old, more);
	} else {
		sum = gradient(p, old);
		if (weir__is_bad(sum)) return false;
		weir__run_map(WEIR_MAP_add, sum, (const weir_tensor *const[]){ old, more }, 2, NULL);
		drop(p, old);
		*g = sum;
	}
	drop(p, more);
	return true;
}

/* ---- one node ---- */

static bool unchanged(const weir_tensor *v, uint32_t version)
{
	return v->store && v->store->version == version;
}

bool weir_is_intact(const weir_tensor *y)
{
	if (!y || weir_is_bad(y)) return false;
	if ((y->op->keeps & WEIR_KEEP_OUT) && !unchanged(y, y->version)) return false;
	for (int i = 0; i < y->nin; i++) {
		if (weir__keeps_in(y->op, i) && !unchanged(y->in[i], y->in_version[i])) return false;
	}
	return true;
}

/* A value that the rule reads must be there, and be what it was. */
static bool check_value(const weir_tensor *y, const weir_tensor *v, uint32_t version, const char *who)
{
	weir_text_buf text;

	if (unchanged(v, version)) return true;
	if (v->store)
		weir_fail(
			y->ctx, WEIR_ERR_VERSION,
			"%s: %s was changed by %s after the forward pass, but the gradient of %s at %s needs the old value; run forward again, or backward before the change",
			who, weir__describe(v, &text), v->store->writer ? v->store->writer : "a write", y->op->name,
			y->here ? y->here : "an unknown line");
	else
		weir_fail(
			y->ctx, WEIR_ERR_STALE,
			"%s: the value of %s was released, but the gradient of %s needs it; a second backward on one tape needs weir_options.free_values off",
			who, weir__describe(v, &text), y->op->name);
	return false;
}

static bool check_kept_values(const weir_tensor *y, const char *who)
{
	if ((y->op->keeps & WEIR_KEEP_OUT) && !check_value(y, y, y->version, who)) return false;
	for (int i = 0; i < y->nin; i++) {
		if (weir__keeps_in(y->op, i) && !check_value(y, y->in[i], y->in_version[i], who)) return false;
	}
	return true;
}

/* Where the fused rule puts the gradient of operand x. */
static bool fused_destination(pass *p, weir_tensor *x, weir_grad_dst *dst)
{
	weir_tensor **slot = &p->g[x->index - p->first], *old = *slot, *mine;

	if (old && exclusive(old)) {
		*dst = (weir_grad_dst){ .mode = WEIR_DST_ADD, .data = weir__at(old) };
		return true;
	}
	mine = gradient(p, x);
	if (weir__is_bad(mine)) return false;
	*dst = (weir_grad_dst){ .mode = WEIR_DST_WRITE, .data = weir__at(mine) };
	if (old) {
		weir__run_map(WEIR_MAP_copy, mine, (const weir_tensor *const[]){ old }, 1, NULL);
		dst->mode = WEIR_DST_ADD;
		drop(p, old);
	}
	*slot = mine;
	return true;
}

enum { FEW = 8 };

/* Will the rule of x take the norm of x's gradient? Then it runs before the hooks, which may be observers only. */
static bool measures(const pass *p, const weir_tensor *x)
{
	return (x->op->flags & WEIR_OP_MEASURES) && p->hooked && !p->r->graph && !p->w->special_hooks &&
	       x->dtype == WEIR_F32 && x->numel >= WEIR_CHUNK && (p->need[x->index - p->first] & NEED_PATH);
}

/* A parameter whose optimiser wants the norm, hooks or not. */
static bool optimised(const pass *p, const weir_tensor *x)
{
	return x->kept && x->kept->norm_wanted && !p->r->nx;
}

/* Is it worth while to ask the rule of y for the norm of the gradient that it writes for operand i? */
static bool ask(const pass *p, const weir_tensor *y, const weir_grad_dst *dst, int i)
{
	const weir_tensor *x = y->in[i];

	if (!dst[i].data || x->numel < WEIR_CHUNK || !(p->hooked || optimised(p, x)) || measures(p, x)) return false;
	for (int j = 0; j < y->nin; j++) {
		if (j != i && dst[j].data == dst[i].data) return false;
	}
	return true;
}

/* Most passes over small tensors never need it. */
static bool prepare_norms(pass *p)
{
	size_t nodes = (size_t)(p->n - p->first);

	p->norm_bytes = nodes * sizeof *p->norm;
	if (!(p->norm = weir__pool_take(p->w, &p->norm_bytes))) return false;
	for (size_t i = 0; i < nodes; i++) p->norm[i] = __builtin_nan("");
	return true;
}

/* s: one for each operand, and one for gy. */
static bool ask_norms(pass *p, const weir_tensor *y, const weir_tensor *gy, weir_grad_dst *dst, weir_squares *s)
{
	int64_t chunks = 0;
	size_t bytes;

	for (int i = 0; i < y->nin; i++) {
		const weir_tensor *x = y->in[i];

		if (!ask(p, y, dst, i)) continue;
		s[i] = (weir_squares){ .t = (weir_dtype)x->dtype, .y = dst[i].data, .n = x->numel };
		dst[i].squares = &s[i];
		chunks += weir__chunks(x->numel);
	}
	if (!chunks) return true;
	if (dst[0].squares && measures(p, y)) {
		s[y->nin] = (weir_squares){ .t = (weir_dtype)gy->dtype, .y = weir__at(gy), .n = gy->numel };
		dst[0].squares->source = &s[y->nin];
		chunks += weir__chunks(gy->numel);
	}
	if (!p->norm && !prepare_norms(p)) return false;
	bytes = (size_t)chunks * sizeof *p->chunk;
	if (bytes > p->chunk_bytes) {
		if (p->chunk) weir__pool_give(p->w, p->chunk, p->chunk_bytes);
		p->chunk_bytes = 0;
		if (!(p->chunk = weir__pool_take(p->w, &bytes))) return false;
		p->chunk_bytes = bytes;
	}
	for (int i = 0; i <= y->nin; i++) {
		if (i < y->nin ? !dst[i].squares : !dst[0].squares || !dst[0].squares->source) continue;
		chunks -= weir__chunks(s[i].n);
		s[i].chunk = p->chunk + chunks;
	}
	return true;
}

static void note_norm(pass *p, const weir_tensor *x, const weir_squares *s)
{
	weir_ctx *w = p->w;

	p->norm[x->index - p->first] = weir__squares_norm(s, w->threads);
	if (!optimised(p, x)) weir__hooks_charge(w, s->hidden ? s->n / 4 : s->n);
}

static void note_norms(pass *p, const weir_tensor *y, const weir_grad_dst *dst)
{
	const weir_squares *of_gy;

	if (!p->norm) return;
	of_gy = dst[0].squares ? dst[0].squares->source : NULL;
	if (of_gy && of_gy->done) note_norm(p, y, of_gy);
	for (int i = 0; i < y->nin; i++) {
		if (!dst[i].data) continue;
		p->norm[y->in[i]->index - p->first] = __builtin_nan("");
		if (dst[i].squares && dst[i].squares->done) note_norm(p, y->in[i], dst[i].squares);
	}
}

static bool run_fused(pass *p, weir_tensor *y, const weir_tensor *gy)
{
	weir_grad_dst few[FEW]; /* not cleared as a whole, which takes longer than a small rule */
	weir_squares squares[FEW + 1];

	for (int i = 0; i < y->nin; i++) {
		few[i] = (weir_grad_dst){ .mode = WEIR_DST_SKIP };
		if (on_path(p, y->in[i]) && !fused_destination(p, y->in[i], &few[i])) return false;
	}
	if (!ask_norms(p, y, gy, few, squares)) return false;
	y->op->vjp_fused(y, gy, few);
	note_norms(p, y, few);
	return weir_ok(p->w);
}

/* Hands the results of a rule on. gx[i] may be gy, an operand, or one tensor for several operands: each gets a header of its own. */
static bool hand_on(pass *p, weir_tensor *y, weir_tensor **gx, int64_t start)
{
	weir_text_buf a, b;

	for (int i = 0; i < y->nin; i++) {
		bool fresh = gx[i] && gx[i]->index >= start;

		if (!gx[i] || !on_path(p, y->in[i])) {
			gx[i] = NULL;
			continue;
		}
		if (!weir__alike(gx[i], y->in[i])) {
			weir_fail(p->w, WEIR_ERR_GRADIENT,
				  "%s: the rule of %s gave a gradient %s for operand %d, which is %s", p->r->who,
				  y->op->name, weir__describe(gx[i], &a), i, weir__describe(y->in[i], &b));
			return false;
		}
		for (int j = 0; j < i && fresh; j++) fresh = gx[j] != gx[i];
		if (!p->r->graph && !fresh) gx[i] = alias(p, gx[i]);
	}
	if (!p->r->graph && p->w->length > start) weir__sweep(p->w, start, gx, y->nin);
	for (int i = 0; i < y->nin; i++) {
		if (gx[i] && !accumulate(p, y->in[i]->index, gx[i])) return false;
	}
	return true;
}

/* Bit i: operand i gets a gradient; the last bit stands for all from there on. */
static unsigned needed(const pass *p, const weir_tensor *y)
{
	unsigned need = 0;

	for (int i = 0; i < y->nin; i++) {
		if (on_path(p, y->in[i])) need |= i < 32 ? 1u << i : 1u << 31;
	}
	return need;
}

static bool run_rule(pass *p, weir_tensor *y, weir_tensor *gy)
{
	weir_ctx *w = p->w;
	weir_tensor *few[FEW] = { NULL }, **gx = few;
	size_t bytes = (size_t)y->nin * sizeof *gx;
	int64_t start = w->length;
	unsigned need;
	bool ok;

	if (y->nin > FEW) {
		if (!(gx = weir__pool_take(w, &bytes))) return false;
		memset(gx, 0, bytes);
	}
	need = needed(p, y);
	if (!p->r->graph) w->no_grad++;
	y->op->vjp(y, gy, need, gx);
	if (!p->r->graph) w->no_grad--;
	ok = weir_ok(w) && hand_on(p, y, gx, start);
	if (gx != few) weir__pool_give(w, gx, bytes);
	return ok;
}

/* Takes over the node's name, line and scope, so that what the rule makes can be traced back. */
static bool differentiate(pass *p, weir_tensor *y, weir_tensor *gy)
{
	weir_ctx *w = p->w;
	const char *here = w->here, *outer = w->outer;
	int order = w->order;
	int32_t rule_of = w->rule_of;
	bool ok;

	if (!y->nin || (y->op->flags & WEIR_OP_STOP)) return true;
	if (!y->op->vjp && !y->op->vjp_fused) {
		weir_fail(w, WEIR_ERR_GRADIENT, "%s: %s (%s) has no gradient", p->r->who, y->op->name,
			  weir_node(y).name);
		return false;
	}
	if (!check_kept_values(y, p->r->who)) return false;
	if (!p->r->graph && y->op->vjp_fused && y->nin <= FEW) return run_fused(p, y, gy);
	if (!y->op->vjp) {
		weir_fail(w, WEIR_ERR_GRADIENT, "%s: %s has a fused rule only, so it can't be differentiated twice",
			  p->r->who, y->op->name);
		return false;
	}
	w->here = y->here;
	w->outer = NULL;
	w->order = y->order + 1;
	w->rule_of = y->index;
	if (p->r->graph) weir__scope_set(w, y->scope, y->call);
	ok = run_rule(p, y, gy);
	if (p->r->graph && w->scopes.depth) w->scopes.depth--;
	w->here = here;
	w->outer = outer;
	w->order = order;
	w->rule_of = rule_of;
	return ok;
}

static bool differentiate_timed(pass *p, weir_tensor *y, weir_tensor *gy)
{
	bool ok;

	if (!p->w->profile) return differentiate(p, y, gy);
	weir__span_begin(p->w);
	ok = differentiate(p, y, gy);
	weir__span_end_of(p->w, WEIR_SPAN_GRADIENT, y->op, y, needed(p, y));
	return ok;
}

/* ---- what becomes of a final gradient ---- */

static bool stage(pass *p, weir_kept *k, weir_tensor *grad, double norm)
{
	if (p->n_staged == p->staged_capacity) {
		int64_t more = p->staged_capacity ? 2 * p->staged_capacity : 64;
		size_t bytes = (size_t)more * sizeof *p->staged;
		struct staged *bigger = weir__pool_take(p->w, &bytes);

		if (!bigger) return false;
		if (p->n_staged) memcpy(bigger, p->staged, (size_t)p->n_staged * sizeof *bigger);
		if (p->staged) weir__pool_give(p->w, p->staged, (size_t)p->staged_capacity * sizeof *p->staged);
		p->staged = bigger;
		p->staged_capacity = more;
	}
	p->staged[p->n_staged++] = (struct staged){ k, grad, norm };
	return true;
}

/* The accumulator: a fresh one takes the memory over, an old one is added to. Cannot fail once room() was called. */
static void commit(pass *p)
{
	for (int64_t i = 0; i < p->n_staged; i++) {
		weir_kept *k = p->staged[i].k;
		weir_tensor *grad = p->staged[i].grad;

		k->norm = k->has_grad ? __builtin_nan("") : p->staged[i].norm;
		if (k->has_grad) {
			add_into(k->grad, grad);
			k->grad->store->version++;
		} else {
			weir__release_value(k->grad);
			k->grad->store = grad->store;
			k->grad->offset = grad->offset;
			k->grad->flags &= (uint16_t)~WEIR_T_RELEASED;
			k->grad->store->refs++;
			k->has_grad = true;
		}
		k->norm_version = k->grad->store->version;
	}
}

/* Before anything is committed: a header for every accumulator, and memory of its own for every staged gradient. */
static bool room(pass *p)
{
	for (int64_t i = 0; i < p->n_staged; i++) {
		weir_kept *k = p->staged[i].k;
		weir_tensor *g = p->staged[i].grad, *copy;

		if (!k->grad) {
			k->grad = weir__kept_new(p->w, k->t->dtype, k->t->rank, k->t->shape);
			if (weir_is_bad(k->grad)) {
				k->grad = NULL;
				return false;
			}
		}
		if (exclusive(g) && !g->offset) continue;
		copy = weir__tensor_new(p->w, &weir__op_input, g->dtype, g->rank, g->shape);
		if (weir_is_bad(copy)) return false;
		weir__run_map(WEIR_MAP_copy, copy, (const weir_tensor *const[]){ g }, 1, NULL);
		p->staged[i].grad = copy;
	}
	return true;
}

static weir_tensor *contiguous(pass *p, weir_tensor *g)
{
	weir_tensor *c;

	if (p->r->graph || g->contiguous) return g;
	c = gradient(p, g);
	if (weir__is_bad(c)) return c;
	weir__run_map(WEIR_MAP_copy, c, (const weir_tensor *const[]){ g }, 1, NULL);
	drop(p, g);
	return c;
}

/* Runs the hooks on the gradient of t. Returns the gradient to go on with; norm: its, or NaN. */
static weir_tensor *run_hooks(pass *p, weir_tensor *t, weir_tensor *g, double *norm)
{
	weir_tensor *after;
	uint32_t version;

	*norm = norm_of(p, t->index);
	if (p->r->no_hooks || !p->w->hooks) return g;
	version = g->store->version;
	after = weir__hooks_backward(t, g, p->order, p->r->graph, *norm);
	if (after != g || g->store->version != version) *norm = __builtin_nan("");
	if (after != g && !weir_is_bad(after) && !p->r->graph) {
		after = after->contiguous ? alias(p, after) : weir_contiguous(after);
		drop(p, g);
	}
	return after;
}

static bool deliver(pass *p, weir_tensor *t, weir_tensor *g, double norm, bool *keep)
{
	const weir_request *r = p->r;

	for (int i = 0; i < r->nx; i++) {
		if (weir__node_of(r->xs[i]) != t) continue;
		r->gxs[i] = g;
		*keep = true;
	}
	if (retained(p, t)) {
		for (int64_t i = 0; i < p->w->retained; i++) {
			if (p->w->retained_list[i].t == t) p->w->retained_list[i].grad = g;
		}
		*keep = true;
	}
	if (!r->nx && wanted_leaf(t)) {
		*keep = true;
		return stage(p, t->kept, g, norm);
	}
	return true;
}

static bool loop(pass *p)
{
	weir_ctx *w = p->w;

	for (int64_t i = p->n; i-- > p->first;) {
		weir_tensor *t = w->tape[i], *g = p->g[i - p->first];
		bool keep = false, late;
		double norm = __builtin_nan("");

		if (!g) continue;
		g = contiguous(p, g);
		if (weir__is_bad(g)) return false;
		late = measures(p, t);
		if (!late) g = run_hooks(p, t, g, &norm);
		if (weir__is_bad(g) || !deliver(p, t, g, norm, &keep)) return false;
		if ((p->need[i - p->first] & NEED_PATH) && !differentiate_timed(p, t, g)) return false;
		if (late && weir_is_bad(run_hooks(p, t, g, &norm))) return false;
		if (!keep) drop(p, g);
		if (w->options.free_values && !p->r->graph && !beside(p->r) && t->nin && i != p->n - 1 &&
		    !(t->flags & WEIR_T_RETAIN) && !t->kept)
			weir__release_value(t);
	}
	return true;
}

static bool seed(pass *p)
{
	for (int i = 0; i < p->r->ny; i++) {
		weir_tensor *y = weir__node_of(p->r->ys[i]), *gy = p->r->gys[i];

		if (!y || !on_path(p, y)) continue;
		if (!p->r->graph) gy = alias(p, gy);
		if (weir_is_bad(gy) || !accumulate(p, y->index, gy)) return false;
	}
	return true;
}

/* The lowest node that is asked for: nothing below it leads anywhere. So a vjp through one layer costs that layer, not the
 * tape. */
static int64_t lowest(const weir_ctx *w, const weir_request *r)
{
	int64_t first = r->nx ? w->length : 0;

	for (int i = 0; i < r->nx; i++) {
		const weir_tensor *x = weir__node_of(r->xs[i]);

		if (x && x->index >= 0 && x->index < first) first = x->index;
	}
	for (int64_t i = 0; i < w->retained && !beside(r); i++) {
		if (w->retained_list[i].t->index < first) first = w->retained_list[i].t->index;
	}
	return first;
}

/* Memory for one entry per node. */
static bool prepare(pass *p)
{
	size_t nodes = (size_t)(p->n - p->first);

	p->g_bytes = nodes * sizeof *p->g;
	p->need_bytes = nodes;
	p->hooked = !p->r->no_hooks && weir__hooks_want_norms(p->w, p->order);
	p->again = !p->w->options.check_stale && (p->r->no_hooks || !p->w->hooks);
	if (!(p->g = weir__pool_take(p->w, &p->g_bytes)) || !(p->need = weir__pool_take(p->w, &p->need_bytes)))
		return false;
	memset(p->g, 0, nodes * sizeof *p->g);
	return true;
}

bool weir__backward(weir_ctx *w, const weir_request *r)
{
	pass p = { .w = w, .r = r, .first = lowest(w, r) };
	bool ok = false;

	for (int i = 0; i < r->nx; i++) r->gxs[i] = NULL;
	for (int i = 0; i < r->ny; i++) {
		const weir_tensor *y = weir__node_of(r->ys[i]);

		if (y && y->index >= p.n) p.n = y->index + 1;
		if (y && y->order + 1 > p.order) p.order = y->order + 1;
	}
	if (p.n <= p.first) return weir_ok(w);
	weir__span_begin(w);
	if (prepare(&p)) {
		weir__enter(w);
		if (!r->graph) w->no_grad++;
		if (r->no_hooks) w->muted++; /* also for what the rules compute */
		mark_needed(&p);
		ok = seed(&p) && loop(&p) && room(&p);
		if (ok) commit(&p);
		if (r->no_hooks) w->muted--;
		if (!r->graph) w->no_grad--;
		weir__leave(w);
	}
	if (p.whole) weir__release_value(p.whole);
	if (p.staged) weir__pool_give(w, p.staged, (size_t)p.staged_capacity * sizeof *p.staged);
	if (p.chunk) weir__pool_give(w, p.chunk, p.chunk_bytes);
	if (p.need) weir__pool_give(w, p.need, p.need_bytes);
	if (p.norm) weir__pool_give(w, p.norm, p.norm_bytes);
	if (p.g) weir__pool_give(w, p.g, p.g_bytes);
	weir__span_end(w, WEIR_SPAN_BACKWARD, r->who);
	return ok;
}
