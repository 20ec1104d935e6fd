/* births.c: the first operation that made an inf, a NaN, a subnormal number, or nothing but zeros.
 *
 * Maker and bearer. A node that has it while none of its operands has is the maker; one whose operand has it already is a bearer.
 * Where operation and operands are alike element by element, so are they compared. Backward it is the other way round: the
 * gradient of node t is made by the rules of the operations that read t, so where none of their gradients has it and t's has, the
 * rule of one of them is the maker: which, births_rule.c has found out while the gradients passed.
 *
 * Inf and NaN count only where they arrive: at the loss, or at a parameter's gradient. So they are traced from there: from
 * a bad parameter's gradient up to the rule that made it, from that operation's bad operands, or from a bad loss, down to the
 * first bad value. A NaN that where() masks lies on neither way. Underflow counts inside of layers only. */
#include "flow/births.h"

#include <string.h>

static bool is_one_of(const weir_tensor *t, const char *const *ops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(weir_node(t).op, ops[i])) return true;
	}
	return false;
}

static bool out_has(const weir_flow *f, const weir_tensor *t, enum kind kind)
{
	int64_t i = weir_node(t).index;

	return i >= 0 && is_float(t) && (weir__births_kinds(&f->rec[i].out, weir_numel(t)) & 1u << kind);
}

static bool delta_has(const weir_flow *f, const weir_tensor *t, enum kind kind)
{
	int64_t i = weir_node(t).index;

	return i >= 0 && f->rec[i].has_delta && (weir__births_kinds(&f->rec[i].delta, weir_numel(t)) & 1u << kind);
}

/* Its value was given back before anybody counted it. */
static bool unknown(const weir_flow *f, const weir_tensor *t)
{
	int64_t i = weir_node(t).index;
	const weir_stats *s = i >= 0 ? &f->rec[i].out : NULL;

	return s && is_float(t) && weir_node(t).released && !weir__births_kinds(s, 0) && !s->zeros && s->largest == 0;
}

/* ---- makers ---- */

static bool makes(const weir_flow *f, const weir_tensor *t, enum kind kind)
{
	bool clean = true;

	if (!t || !out_has(f, t, kind)) return false;
	for (int k = 0; clean && k < weir_node(t).inputs; k++) clean = !out_has(f, weir_input(t, k), kind);
	return clean || (kind <= NOT_A_NUMBER && weir__births_made_here(t, kind) >= 0);
}

/* What only chooses or moves makes nothing: where all that is known of its operand is that it is gone, that one is it. */
static int64_t below_choice(const weir_flow *f, int64_t i)
{
	const weir_tensor *t = weir_tape_at(f->w, i);
	bool moves = (weir_op_of(t)->flags & WEIR_OP_VIEW) || !strcmp(weir_node(t).op, "where");

	for (int k = 0; moves && k < weir_node(t).inputs; k++) {
		const weir_tensor *x = weir_input(t, k);

		if (unknown(f, x) && weir_node(x).inputs) return below_choice(f, weir_node(x).index);
	}
	return i;
}

/* Do all that read node i turn its -inf into finite numbers, as a softmax does, or join it with others for one that does? With so
 * many operations between at most. */
static bool absorbed(const weir_flow *f, int64_t i, int64_t root, int joins)
{
	static const char *const absorb[] = { "softmax", "log_softmax", "exp" }, *const join[] = { "add", "where" };
	const weir_tensor *t = weir_tape_at(f->w, i);
	bool read = false;

	for (int64_t c = i + 1; c <= root; c++) {
		const weir_tensor *reader = weir_tape_at(f->w, c);
		bool reads = false, goes_on;

		for (int k = 0; reader && k < weir_node(reader).inputs; k++)
			reads = reads || weir_input(reader, k) == t;
		if (!reads) continue;
		read = true;
		if (is_one_of(reader, absorb, sizeof absorb / sizeof *absorb)) continue;
		goes_on = (weir_op_of(reader)->flags & WEIR_OP_VIEW) ||
			  is_one_of(reader, join, sizeof join / sizeof *join);
		if (!goes_on || !joins || !absorbed(f, c, root, joins - 1)) return false;
	}
	return read;
}

/* A constant of -inf that masks entries of a softmax makes nothing. It does where a loss, which is inf by it, looks at a masked entry. */
static bool is_mask(const weir_flow *f, int64_t i, int64_t root)
{
	const weir_tensor *t = weir_tape_at(f->w, i);
	const weir_stats *s = &f->rec[i].out, *loss = &f->rec[root].out;

	if (!is_leaf(t) || param_of(t) || s->pos_inf || s->nan || loss->pos_inf || loss->neg_inf) return false;
	return absorbed(f, i, root, 6); /* spread, added, reshaped, moved to another axis */
}

/* wanted: bits of record.bad that the node must have; 0: it must be in a layer. */
static int64_t forward_maker(const weir_flow *f, int64_t root, enum kind kind, uint8_t wanted)
{
	for (int64_t i = 0; i <= root; i++) {
		if (wanted ? !(f->rec[i].bad & wanted) : f->rec[i].layer < 0) continue;
		if (makes(f, weir_tape_at(f->w, i), kind) && !(kind == INF && is_mask(f, i, root)))
			return below_choice(f, i);
	}
	return -1;
}

/* Passes gradients on as they are, so it makes nothing, unless by adding them up. */
static bool passes(const weir_tensor *t)
{
	static const char *const ops[] = { "add", "neg", "contiguous", "cast", "where" };

	return is_one_of(t, ops, sizeof ops / sizeof *ops) || (weir_op_of(t)->flags & WEIR_OP_VIEW) != 0;
}

/* Which of the operations that read t made what its gradient has, where births_rule.c could not try it out. One that works on bad values
 * already is the likeliest, one that passes on the least; of equals the last, which came first. */
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

static birth_origin backward_maker(const weir_flow *f, int64_t root, enum kind kind, uint8_t wanted)
{
	for (int64_t i = root; i-- > 0;) {
		const weir_tensor *t = weir_tape_at(f->w, i);
		const finding *found;
		int64_t maker;

		if (!t || !(f->rec[i].born & 1u << kind) || !delta_has(f, t, kind)) continue;
		if (wanted ? !(f->rec[i].bad & wanted) : param_of(t) != NULL) continue;
		found = weir__births_finding(f, i, kind);
		maker = found && found->maker >= 0 ? found->maker : reader_to_blame(f, t, root);
		if (maker >= 0 && (wanted || f->rec[maker].layer >= 0)) return (birth_origin){ i, maker };
	}
	return (birth_origin){ -1, -1 };
}

/* ---- inf and NaN ---- */

/* Marks bad gradients from parameters on upward. Returns whether there are any. */
static bool trace_gradients(weir_flow *f, int64_t root)
{
	bool any = false;

	for (int64_t i = 0; i <= root; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);
		record *r = &f->rec[i];
		bool arrives;

		r->bad &= LOOKED | TAINTED;
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

/* Marks bad values from those marked on downward, through what is not known. */
static void trace_values(weir_flow *f, int64_t root)
{
	for (int64_t i = root; i >= 0; i--) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		for (int k = 0; (f->rec[i].bad & BAD_OUT) && k < weir_node(t).inputs; k++) {
			const weir_tensor *x = weir_input(t, k);
			int64_t at = weir_node(x).index;

			if (at < 0) continue;
			if (is_leaf(x)) weir__births_look_at_leaf(f, x);
			if (f->rec[at].bad & BAD_OUT || !(weir__flow_nonfinite(&f->rec[at].out) || unknown(f, x)))
				continue;
			if ((f->rec[i].bad & RULE) || weir__births_carries(t, k)) f->rec[at].bad |= BAD_OUT;
		}
	}
}

/* What is followed from here on: whether values and gradients are marked so. */
static void mark(weir_flow *f, int64_t root, uint8_t out, uint8_t delta)
{
	for (int64_t i = 0; i <= root; i++) {
		record *r = &f->rec[i];
		bool value = out == TAINTED || weir__flow_nonfinite(&r->out) || unknown(f, weir_tape_at(f->w, i));

		r->bad &= (uint8_t) ~(HAS_OUT | HAS_DELTA);
		if ((r->bad & out) && value) r->bad |= HAS_OUT;
		if (r->bad & delta) r->bad |= HAS_DELTA;
	}
}

static void nonfinite_births(weir_flow *f, int64_t root)
{
	weir_flow_birth *births[2] = { &f->sum.first_inf, &f->sum.first_nan };
	bool gradients = trace_gradients(f, root);
	birth_origin rule[2] = { { -1, -1 }, { -1, -1 } };
	birth_lasting *to;

	if (!gradients && !f->loss_bad) return;
	for (int k = 0; gradients && k < 2; k++) {
		if ((rule[k] = backward_maker(f, root, k ? NOT_A_NUMBER : INF, BAD_DELTA)).maker < 0) continue;
		f->rec[rule[k].maker].bad |=
			BAD_OUT | RULE; /* its operands are looked at, whether or not its result is bad */
	}
	if (f->loss_bad) f->rec[root].bad |= BAD_OUT;
	trace_values(f, root);
	mark(f, root, BAD_OUT, BAD_DELTA);
	for (int k = 0; k < 2; k++) {
		enum kind kind = k ? NOT_A_NUMBER : INF;
		int64_t i = forward_maker(f, root, kind, BAD_OUT);
		int which = k ? BIRTH_NAN : BIRTH_INF;
		bool backward = i < 0;

		if (births[k]->found || (backward && rule[k].maker < 0)) continue;
		to = backward ? weir__births_note_gradient(f, births[k], which, rule[k], kind)
			      : weir__births_note_value(f, births[k], which, i, kind);
		if (!to) continue;
		weir__births_spread(f, root,
				    backward ? (birth_place){ rule[k].node, true, rule[k].maker }
					     : (birth_place){ i, false, i },
				    (int64_t[]){ rule[0].maker, rule[1].maker },
				    (int64_t[]){ rule[0].node, rule[1].node }, 2, to, births[k]);
	}
}

static void overflow_birth(weir_flow *f, int64_t root)
{
	const struct weir__birth_more *m = f->more;
	const weir_flow_summary *s = &f->sum;
	int64_t i = m && m->step == f->steps ? m->overflow : -1;
	birth_lasting *to;

	if (i < 0 || i > root || s->first_overflow.found) return;
	if (s->first_inf.found && s->first_inf.step == s->step && s->first_inf.index == i && !s->first_inf.backward)
		return;
	if (!(to = weir__births_note_value(f, &f->sum.first_overflow, BIRTH_OVERFLOW, i, INF))) return;
	mark(f, root, TAINTED, 0);
	weir__births_spread(f, root, (birth_place){ i, false, i }, NULL, NULL, 0, to, &f->sum.first_overflow);
}

/* ---- underflow ---- */

/* Followed are subnormal numbers and zeros alike. */
static void mark_small(weir_flow *f, int64_t root)
{
	for (int64_t i = 0; i <= root; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);
		record *r = &f->rec[i];

		r->bad &= (uint8_t) ~(HAS_OUT | HAS_DELTA);
		if (!t) continue;
		if (out_has(f, t, SUBNORMAL) || out_has(f, t, ZERO)) r->bad |= HAS_OUT;
		if (delta_has(f, t, SUBNORMAL) || delta_has(f, t, ZERO)) r->bad |= HAS_DELTA;
	}
}

static void small_value(weir_flow *f, int64_t root, enum kind kind, int which, weir_flow_birth *b)
{
	int64_t i = forward_maker(f, root, kind, 0);
	birth_lasting *to;

	if (i < 0 || !(to = weir__births_note_value(f, b, which, i, kind))) return;
	mark_small(f, root);
	weir__births_spread(f, root, (birth_place){ i, false, i }, NULL, NULL, 0, to, b);
}

static void small_gradient(weir_flow *f, int64_t root, enum kind kind, int which, weir_flow_birth *b)
{
	birth_origin from = backward_maker(f, root, kind, 0);
	birth_lasting *to;

	if (from.maker < 0 || !(to = weir__births_note_gradient(f, b, which, from, kind))) return;
	mark_small(f, root);
	weir__births_spread(f, root, (birth_place){ from.node, true, from.maker }, NULL, NULL, 0, to, b);
}

static void underflow(weir_flow *f, int64_t root, enum kind kind, int which, weir_flow_birth births[2])
{
	bool out = false, delta = false;

	for (int64_t i = 0; i <= root; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		if (!t) continue;
		out = out || (f->rec[i].layer >= 0 && out_has(f, t, kind));
		delta = delta || delta_has(f, t, kind);
	}
	if (out && !births[0].found) small_value(f, root, kind, which, &births[0]);
	if (delta && !births[1].found && (kind == ZERO || !f->when.partial))
		small_gradient(f, root, kind, which + 1, &births[1]);
}

/* The tape of a pass may be gone before the step ends: so who made a parameter's gradient inf or NaN is noted when this comes. Where it
 * stands to the end, this is done again with all that is known then. */
void weir__flow_births_early(weir_flow *f)
{
	struct weir__birth_more *m = weir__births_more(f);
	bool inf = f->sum.first_inf.found, nan = f->sum.first_nan.found;
	int64_t root = f->pass.root;

	if (!m || f->passes.recorded || (inf && nan) || m->early_life == f->life ||
	    weir_node(weir_tape_at(f->w, root)).order)
		return;
	if (!weir__flow_record(f, root) || !weir__flow_layers(f, root)) return;
	m->early_life = f->life;
	f->loss_bad = weir__flow_nonfinite(&f->rec[root].out);
	nonfinite_births(f, root);
	m->early_inf = !inf && f->sum.first_inf.found;
	m->early_nan = !nan && f->sum.first_nan.found;
}

static void forget_early(weir_flow *f)
{
	struct weir__birth_more *m = f->more;

	if (!m || m->step != f->steps || m->early_life != f->life) return;
	if (m->early_inf) f->sum.first_inf.found = false;
	if (m->early_nan) f->sum.first_nan.found = false;
}

void weir__flow_births(weir_flow *f, int64_t root)
{
	forget_early(f);
	if (!f->sum.first_inf.found || !f->sum.first_nan.found) nonfinite_births(f, root);
	overflow_birth(f, root);
	underflow(f, root, SUBNORMAL, BIRTH_SUBNORMAL, f->sum.first_subnormal);
	underflow(f, root, ZERO, BIRTH_ZERO, f->sum.first_zero);
}
