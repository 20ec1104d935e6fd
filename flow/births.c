/* births.c: the first operation that made an inf, a NaN, a subnormal number, or nothing but zeros.
 *
 * Maker and bearer. A node that has it while none of its operands has is the maker; one whose operand has it already is a bearer.
 * Backward it is the other way round: the gradient of node t is made by the rules of the operations that read t, so where none of
 * their gradients has it and t's has, the rule of one of them is the maker.
 *
 * Inf and NaN count only where they arrive: at the loss, or at a parameter's gradient. So they are traced from there: from
 * a bad parameter's gradient up to the rule that made it, from that operation's bad operands, or from a bad loss, down to the
 * first bad value. A NaN that where() masks lies on neither way. Underflow counts inside of layers only. */
#include "flow/flow.h"

#include <string.h>

#include "kernels/reduce.h"

enum kind { INF, NOT_A_NUMBER, SUBNORMAL, ZERO };
enum { BAD_OUT = 1, BAD_DELTA = 2, READER_HAS = 4 };

static bool has(const weir_stats *s, enum kind kind, int64_t n)
{
	switch (kind) {
	case INF: return s->pos_inf + s->neg_inf > 0;
	case NOT_A_NUMBER: return s->nan > 0;
	case SUBNORMAL: return s->subnormals > 0;
	case ZERO: return n > 0 && s->zeros == n;
	}
	return false;
}

static bool out_has(const weir_flow *f, const weir_tensor *t, enum kind kind)
{
	int64_t i = weir_node(t).index;

	return i >= 0 && is_float(t) && has(&f->rec[i].out, kind, weir_numel(t));
}

static bool delta_has(const weir_flow *f, const weir_tensor *t, enum kind kind)
{
	int64_t i = weir_node(t).index;

	return i >= 0 && f->rec[i].has_delta && has(&f->rec[i].delta, kind, weir_numel(t));
}

/* ---- writing it down ---- */

static const char *lasting(char *to, size_t size, const char *text)
{
	snprintf(to, size, "%s", text);
	return to;
}

static void note(weir_flow *f, weir_flow_birth *b, int which, int64_t i, bool backward)
{
	weir_node_info info = weir_node(weir_tape_at(f->w, i));
	weir_tensor *param = param_of(weir_tape_at(f->w, i));
	birth_text *text = &f->text[which];
	int64_t l = f->rec[i].layer, deepest = 0;
	const char *name = param           ? weir_name(param)
			   : info.scope[0] ? info.scope
			   : l >= 0        ? f->layers[l].public.name
					   : info.name;

	for (int64_t k = 0; k < f->count; k++) {
		if (f->layers[k].public.depth > deepest) deepest = f->layers[k].public.depth;
	}
	*b = (weir_flow_birth){
		.found = true,
		.backward = backward,
		.index = i,
		.number = l + 1,
		.step = f->sum.step,
		.layer = lasting(text->layer, sizeof text->layer, name),
		.op = lasting(text->op, sizeof text->op, info.op),
		.here = lasting(text->here, sizeof text->here, info.here),
	};
	if (l >= 0) b->depth = backward ? deepest - f->layers[l].public.depth + 1 : f->layers[l].public.depth;
}

/* ---- makers ---- */

/* wanted: bits of record.bad that the node must have; 0: it must be in a layer. */
static int64_t forward_maker(const weir_flow *f, int64_t root, enum kind kind, uint8_t wanted)
{
	for (int64_t i = 0; i <= root; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);
		bool made;

		if (wanted ? !(f->rec[i].bad & wanted) : f->rec[i].layer < 0) continue;
		made = t && out_has(f, t, kind);
		for (int k = 0; made && k < weir_node(t).inputs; k++) made = !out_has(f, weir_input(t, k), kind);
		if (made) return i;
	}
	return -1;
}

/* Passes gradients on as they are, so it makes nothing, unless by adding them up. */
static bool passes(const weir_tensor *t)
{
	static const char *const ops[] = { "add", "neg", "contiguous", "cast", "where" };

	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
		if (!strcmp(weir_node(t).op, ops[i])) return true;
	}
	return (weir_op_of(t)->flags & WEIR_OP_VIEW) != 0;
}

/* Which of the operations that read t made what its gradient has. One that works on bad values already is the likeliest, one that
 * passes on the least; of equals the last, which came first. */
static int64_t reader_to_blame(const weir_flow *f, const weir_tensor *t, int64_t root)
{
	int64_t best = -1;
	int most = -1;

	for (int64_t i = weir_node(t).index + 1; i <= root; i++) {
		const weir_tensor *c = weir_tape_at(f->w, i);
		bool reads = false, bad = false;
		int score;

		if (!c || !f->rec[i].has_delta) continue;
		for (int k = 0; k < weir_node(c).inputs; k++) {
			int64_t at = weir_node(weir_input(c, k)).index;

			reads = reads || weir_input(c, k) == t;
			bad = bad || (at >= 0 && weir__flow_nonfinite(&f->rec[at].out));
		}
		if (!reads) continue;
		score = bad || weir__flow_nonfinite(&f->rec[i].out) ? 2 : !passes(c);
		if (score < most) continue;
		most = score;
		best = i;
	}
	return best;
}

/* Marks nodes that are read by one whose gradient has it. */
static void mark_readers(weir_flow *f, int64_t root, enum kind kind)
{
	for (int64_t i = 0; i <= root; i++) f->rec[i].bad &= (uint8_t)~READER_HAS;
	for (int64_t i = 0; i <= root; i++) {
		const weir_tensor *c = weir_tape_at(f->w, i);

		if (!c || !delta_has(f, c, kind)) continue;
		for (int k = 0; k < weir_node(c).inputs; k++) {
			int64_t at = weir_node(weir_input(c, k)).index;

			if (at >= 0) f->rec[at].bad |= READER_HAS;
		}
	}
}

static int64_t backward_maker(weir_flow *f, int64_t root, enum kind kind, uint8_t wanted)
{
	mark_readers(f, root, kind);
	for (int64_t i = root; i-- > 0;) {
		const weir_tensor *t = weir_tape_at(f->w, i);
		int64_t reader;

		if (!t || (f->rec[i].bad & READER_HAS) || !delta_has(f, t, kind)) continue;
		if (wanted ? !(f->rec[i].bad & wanted) : param_of(t) != NULL) continue;
		reader = reader_to_blame(f, t, root);
		if (reader >= 0 && (wanted || f->rec[reader].layer >= 0)) return reader;
	}
	return -1;
}

/* ---- inf and NaN ---- */

/* Leaves have no event of their own: their values are looked at where something bad depends on them. */
static void look_at_leaf(weir_flow *f, const weir_tensor *t)
{
	const void *data = is_float(t) ? value_of(t) : NULL;
	weir_stats s;

	if (!data) return;
	weir__stats(weir_dtype_of(t), data, weir_numel(t), &s, 1);
	f->rec[weir_node(t).index].out = s;
}

/* Marks bad gradients from parameters on upward. Returns whether there are any. */
static bool trace_gradients(weir_flow *f, int64_t root)
{
	bool any = false;

	for (int64_t i = 0; i <= root; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);
		record *r = &f->rec[i];
		bool arrives;

		r->bad = 0;
		if (!t || !r->has_delta || !weir__flow_nonfinite(&r->delta)) continue;
		arrives = is_leaf(t) && (!f->sum.parameters || param_of(t));
		for (int k = 0; !arrives && k < weir_node(t).inputs; k++) {
			int64_t at = weir_node(weir_input(t, k)).index;

			arrives = at >= 0 && (f->rec[at].bad & BAD_DELTA);
		}
		if (arrives) r->bad |= BAD_DELTA;
		any = any || arrives;
	}
	return any;
}

/* Marks bad values from those marked on downward. */
static void trace_values(weir_flow *f, int64_t root)
{
	for (int64_t i = root; i >= 0; i--) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		for (int k = 0; (f->rec[i].bad & BAD_OUT) && k < weir_node(t).inputs; k++) {
			const weir_tensor *x = weir_input(t, k);
			int64_t at = weir_node(x).index;

			if (at < 0) continue;
			if (is_leaf(x)) look_at_leaf(f, x);
			if (weir__flow_nonfinite(&f->rec[at].out)) f->rec[at].bad |= BAD_OUT;
		}
	}
}

static void nonfinite_births(weir_flow *f, int64_t root)
{
	weir_flow_birth *births[2] = { &f->sum.first_inf, &f->sum.first_nan };
	bool gradients = trace_gradients(f, root);
	int64_t rule[2] = { -1, -1 };

	if (!gradients && !f->loss_bad) return;
	for (int k = 0; gradients && k < 2; k++) {
		if ((rule[k] = backward_maker(f, root, k ? NOT_A_NUMBER : INF, BAD_DELTA)) < 0) continue;
		f->rec[rule[k]].bad |= BAD_OUT; /* its operands are looked at, whether or not its result is bad */
	}
	if (f->loss_bad) f->rec[root].bad |= BAD_OUT;
	trace_values(f, root);
	for (int k = 0; k < 2; k++) {
		int64_t i = forward_maker(f, root, k ? NOT_A_NUMBER : INF, BAD_OUT);

		if (births[k]->found || (i < 0 && rule[k] < 0)) continue;
		note(f, births[k], k ? BIRTH_NAN : BIRTH_INF, i >= 0 ? i : rule[k], i < 0);
	}
}

/* ---- underflow ---- */

static void underflow(weir_flow *f, int64_t root, enum kind kind, int which, weir_flow_birth births[2])
{
	bool out = false, delta = false;

	for (int64_t i = 0; i <= root; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		if (!t) continue;
		out = out || (f->rec[i].layer >= 0 && out_has(f, t, kind));
		delta = delta || delta_has(f, t, kind);
	}
	if (out && !births[0].found) {
		int64_t i = forward_maker(f, root, kind, 0);

		if (i >= 0) note(f, &births[0], which, i, false);
	}
	if (delta && !births[1].found) {
		int64_t i = backward_maker(f, root, kind, 0);

		if (i >= 0) note(f, &births[1], which + 1, i, true);
	}
}

void weir__flow_births(weir_flow *f, int64_t root)
{
	if (!f->sum.first_inf.found || !f->sum.first_nan.found) nonfinite_births(f, root);
	underflow(f, root, SUBNORMAL, BIRTH_SUBNORMAL, f->sum.first_subnormal);
	underflow(f, root, ZERO, BIRTH_ZERO, f->sum.first_zero);
}

void weir__flow_births_free(weir_flow *f)
{
	(void)f;
}
