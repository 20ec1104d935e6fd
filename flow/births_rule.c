/* births_rule.c: what can be found out only while gradients pass: which rule made what a gradient has and the gradients of its readers
 * have not. The gradients that came in there are gone at the end of the pass, and by the time of weir_flow_step() the optimiser may
 * have changed the weights. So this runs inside of the backward hook: the readers' gradients are computed again from the seed, each
 * reader's rule is run alone, and the first whose share has it is the maker. Where no share has it, but their sum does, the addition is.
 * No hooks are called, nothing is accumulated, the tape is rewound. */
#include "flow/births.h"

#include <string.h>

#include "kernels/reduce.h"

enum { READERS = 32, FUSED_MOST = 8, CLIMB_MOST = 64 };

unsigned weir__births_kinds(const weir_stats *s, int64_t n)
{
	return (s->pos_inf + s->neg_inf > 0 ? 1u << INF : 0) | (s->nan > 0 ? 1u << NOT_A_NUMBER : 0) |
	       (s->subnormals > 0 ? 1u << SUBNORMAL : 0) | (n > 0 && s->zeros == n ? 1u << ZERO : 0);
}

struct weir__birth_more *weir__births_more(weir_flow *f)
{
	size_t size = sizeof *f->more;

	if (!f->more) {
		if (!(f->more = weir__pool_take(f->w, &size))) return NULL;
		memset(f->more, 0, sizeof *f->more);
		f->more->step = -1;
	}
	if (f->more->step != f->steps) {
		f->more->step = f->steps;
		f->more->findings = 0;
		f->more->leaves = false;
		f->more->overflow = -1;
		f->more->early_inf = f->more->early_nan = false;
		f->more->early_life = 0;
		for (int64_t i = 0; i < f->records; i++) f->rec[i].bad &= (uint8_t)~LOOKED;
	}
	return f->more;
}

void weir__flow_births_free(weir_flow *f)
{
	if (f->more) weir__pool_give(f->w, f->more, sizeof *f->more);
}

const finding *weir__births_finding(const weir_flow *f, int64_t node, enum kind kind)
{
	const struct weir__birth_more *m = f->more;

	for (int i = 0; m && m->step == f->steps && i < m->findings; i++) {
		if (m->list[i].node == node && m->list[i].kind == kind) return &m->list[i];
	}
	return NULL;
}

/* Leaves have no event of their own: their values are looked at where something bad depends on them. */
void weir__births_look_at_leaf(weir_flow *f, const weir_tensor *t)
{
	const void *data = is_float(t) ? value_of(t) : NULL;
	record *r = &f->rec[weir_node(t).index];

	if (!data || (r->bad & LOOKED)) return;
	weir__stats(weir_dtype_of(t), data, weir_numel(t), &r->out, 1);
	r->bad |= LOOKED;
}

/* While weights are what the forward pass read. */
void weir__births_look_at_leaves(weir_flow *f)
{
	struct weir__birth_more *m = weir__births_more(f);

	if (!m || m->leaves || !weir__flow_record(f, f->pass.root)) return;
	m->leaves = true;
	for (int64_t i = 0; i <= f->pass.root; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		if (t && is_leaf(t)) weir__births_look_at_leaf(f, t);
	}
}

/* ---- the rule ---- */

/* The operations that read t, last first, as the pass meets them; -1: too many. */
static int readers_of(const weir_flow *f, const weir_tensor *t, weir_tensor **list)
{
	int n = 0;

	for (int64_t i = f->pass.root; i > weir_node(t).index; i--) {
		weir_tensor *c = weir_tape_at(f->w, i);
		weir_node_info info = weir_node(c);
		bool reads = false;

		if (!c || !info.recorded || !is_float(c) || (weir_op_of(c)->flags & WEIR_OP_STOP)) continue;
		for (int k = 0; k < info.inputs; k++) reads = reads || weir_input(c, k) == t;
		if (!reads) continue;
		if (n == READERS) return -1;
		list[n++] = c;
	}
	return n;
}

/* Nothing that a rule reads is gone. */
static bool intact(const weir_flow *f, int64_t from)
{
	for (int64_t i = from; i <= f->pass.root; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		if (t && weir_node(t).recorded && !weir_is_intact(t)) return false;
	}
	return true;
}

/* What the rule of c gives operand k for gradient g of its result; NULL: nothing. By the way that the pass itself takes. */
static weir_tensor *share(weir_ctx *w, weir_tensor *c, int k, weir_tensor *g)
{
	const weir_op *op = weir_op_of(c);
	int n = weir_node(c).inputs;
	weir_tensor *x = weir_input(c, k), *result = NULL, **gx;
	size_t bytes = (size_t)n * sizeof *gx;

	if (op->vjp_fused && n <= FUSED_MOST) {
		weir_grad_dst dst[FUSED_MOST] = { { .mode = WEIR_DST_SKIP } };

		result = weir_zeros(w, weir_dtype_of(x), weir_rank(x), weir_shape(x));
		dst[k] = (weir_grad_dst){ .mode = WEIR_DST_WRITE, .data = weir_data_mut(result, NULL) };
		if (dst[k].data) op->vjp_fused(c, g, dst);
		return result;
	}
	if (!op->vjp || !(gx = weir__pool_take(w, &bytes))) return NULL;
	memset(gx, 0, bytes);
	op->vjp(c, g, k < 32 ? 1u << k : 1u << 31, gx);
	result = gx[k];
	weir__pool_give(w, gx, bytes);
	return result;
}

static bool all_zero(const weir_tensor *t)
{
	return !(weir__births_largest(t) != 0);
}

/* Shares of the gradient at one element, as they are added up. */
typedef struct sum {
	weir_dtype dtype;
	double value;
	int terms;
	weir__text text;
	char buf[sizeof((finding *)0)->operands];
} sum;

static void add(sum *s, const weir_tensor *reader, double v)
{
	s->value += v;
	if (s->dtype == WEIR_F32) s->value = (double)(float)s->value;
	weir__text_str(&s->text, s->terms++ ? ", from " : "from ");
	weir__text_str(&s->text, weir_node(reader).op);
	weir__text_str(&s->text, " ");
	weir__text_double(&s->text, v, 'p', 4);
}

/* Takes c's share. True where c is found to be the maker. */
static bool takes_blame(weir_ctx *w, finding *at, weir_tensor *c, weir_tensor *g, const weir_tensor *t, sum *s)
{
	for (int k = 0; k < weir_node(c).inputs && weir_ok(w); k++) {
		weir_tensor *x;
		double v;

		if (weir_input(c, k) != t || !(x = share(w, c, k, g)) || weir_is_bad(x)) continue;
		v = weir__births_value(x, at->element);
		add(s, c, v);
		if (at->kind == ZERO ? !all_zero(x) : !weir__births_is(v, weir_dtype_of(x), at->kind)) continue;
		at->maker = weir_node(c).index;
		weir__births_operands(c, g, at->element, at->operands, sizeof at->operands);
		return true;
	}
	return false;
}

/* The readers of t with their gradients. Returns how many; 0 where that can't be told. */
static int readers_with_gradients(weir_flow *f, const weir_tensor *t, weir_tensor **reader, weir_tensor **g)
{
	weir_tensor *root = weir_tape_at(f->w, f->pass.root), *seed;
	int n = readers_of(f, t, reader);

	if (n <= 0 || !intact(f, weir_node(t).index)) return 0;
	seed = weir_full(f->w, weir_dtype_of(root), weir_rank(root), weir_shape(root), f->pass.seed);
	return weir_vjp(root, seed, reader, n, g, WEIR_NO_HOOKS | WEIR_ALLOW_UNUSED) ? n : 0;
}

/* Where a reader made of gradients has it already, that reader: the instrument keeps no record of it. at is then of its gradient. */
static weir_tensor *climb(weir_tensor *const *reader, weir_tensor *const *g, int n, finding *at)
{
	for (int i = 0; i < n; i++) {
		double v;
		int64_t element = g[i] && weir_node(reader[i]).order ? weir__births_first(g[i], at->kind, &v) : -1;

		if (element < 0 || (at->kind == ZERO && !all_zero(g[i]))) continue;
		at->of = weir_node(reader[i]).index;
		at->element = element;
		at->value = v;
		return reader[i];
	}
	return NULL;
}

static void find_maker(weir_flow *f, weir_tensor *t, finding *at)
{
	weir_tensor *reader[READERS], *g[READERS] = { NULL }, *up = t;
	sum s = { .dtype = weir_dtype_of(t) };
	bool found = false;
	int n = 0;

	for (int steps = 0; up && steps < CLIMB_MOST; steps++) {
		t = up;
		n = at->element < 0 ? 0 : readers_with_gradients(f, t, reader, g);
		up = climb(reader, g, n, at);
	}
	weir__text_fixed(&s.text, s.buf, sizeof s.buf);
	for (int i = 0; i < n && !found; i++) found = g[i] && takes_blame(f->w, at, reader[i], g[i], t, &s);
	if (found || s.terms < 2 || !weir__births_is(s.value, s.dtype, at->kind)) return;
	at->maker = weir_node(t).index;
	at->sum = true;
	memcpy(at->operands, s.buf, sizeof at->operands);
}

static bool wanted(const weir_flow *f, const weir_tensor *t, enum kind kind)
{
	switch (kind) {
	case INF: return !f->sum.first_inf.found;
	case NOT_A_NUMBER: return !f->sum.first_nan.found;
	case SUBNORMAL: return !f->sum.first_subnormal[1].found && !param_of(t);
	default: return !f->sum.first_zero[1].found && !param_of(t);
	}
}

static void investigate(weir_flow *f, const weir_event *e, enum kind kind)
{
	struct weir__birth_more *m = weir__births_more(f);
	weir_ctx *w = f->w;
	weir_place place;
	finding *at = NULL;
	int alike = 0;

	if (!m || !wanted(f, e->node, kind)) return;
	for (int i = 0; i < m->findings; i++) {
		if (m->list[i].kind != kind) continue;
		alike++;
		if (m->list[i].node == e->index) at = &m->list[i]; /* of an earlier pass */
	}
	if (at && at->maker >= 0 && f->passes.on_tape) return; /* that one was the first */
	if (!at && alike == PER_KIND) return;
	if (!at) at = &m->list[m->findings++];
	*at = (finding){ .node = e->index, .kind = kind, .of = e->index, .maker = -1 };
	at->element = weir__births_first(e->value, kind, &at->value);
	if (f->pass.seed != f->pass.seed) return;
	place = weir_mark(w);
	weir_no_grad_begin(w);
	find_maker(f, e->node, at);
	weir_no_grad_end(w);
	weir_clear_error(w); /* it was fine before; then the maker is not known */
	weir_rewind(w, place, NULL, 0);
}

/* ---- events ---- */

bool weir__flow_births_pass(weir_flow *f, const weir_event *e)
{
	bool begins = e->index >= f->pass.last || f->life != f->pass.life;

	f->pass.last = e->index;
	if (!begins) return false;
	f->pass.root = e->index;
	f->pass.life = f->life;
	f->pass.seed = weir_numel(e->value) == 1 ? weir__births_value(e->value, 0) : UNKNOWN;
	if (!f->when.whole) return true;
	for (int64_t i = 0; i < f->records; i++) f->rec[i].above = 0;
	if (e->index < f->records && weir__flow_nonfinite(&f->rec[e->index].out)) weir__births_look_at_leaves(f);
	weir__births_overflow(f, e->index);
	return true;
}

void weir__flow_births_gradient(weir_flow *f, int64_t index, const weir_event *e)
{
	const weir_tensor *t = weir_tape_at(f->w, index);
	record *r = &f->rec[index];
	unsigned kinds = weir__births_kinds(&r->delta, weir_numel(t));

	r->born = (uint8_t)(kinds & ~r->above);
	r->above = 0;
	if (!kinds) return;
	for (int k = 0; k < weir_node(t).inputs; k++) {
		int64_t at = weir_node(weir_input(t, k)).index;

		if (at >= 0) f->rec[at].above |= (uint8_t)kinds;
	}
	if (kinds & (1u << INF | 1u << NOT_A_NUMBER)) weir__births_look_at_leaves(f);
	for (int k = 0; e && index < f->pass.root && k < KINDS; k++) {
		if (f->rec[index].born & 1u << k) investigate(f, e, (enum kind)k);
	}
}
