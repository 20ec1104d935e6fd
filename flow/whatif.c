/* whatif.c: repairs tried on copies: what each changes, one trial, all of them. */
#include "flow/whatif.h"

#include <string.h>

#include "engine/text.h"

static const weir__recipe recipes[WEIR_REPAIR_COUNT] = {
	[WEIR_REPAIR_HE] = { .draws = true, .init = WEIR_INIT_HE },
	[WEIR_REPAIR_GLOROT] = { .draws = true, .init = WEIR_INIT_GLOROT },
	[WEIR_REPAIR_ORTHOGONAL] = { .draws = true, .init = WEIR_INIT_ORTHOGONAL },
	[WEIR_REPAIR_LSUV] = { .draws = true, .init = WEIR_INIT_ORTHOGONAL, .lsuv = true },
	[WEIR_REPAIR_RELU] = { .bends = true, .act = WEIR_ACT_RELU },
	[WEIR_REPAIR_TANH] = { .bends = true, .act = WEIR_ACT_TANH },
	[WEIR_REPAIR_GELU] = { .bends = true, .act = WEIR_ACT_GELU },
	[WEIR_REPAIR_RELU_HE] = { .bends = true, .act = WEIR_ACT_RELU, .draws = true, .init = WEIR_INIT_HE },
	[WEIR_REPAIR_LAYER_NORM] = { .norm = true },
	[WEIR_REPAIR_RESIDUAL] = { .residual = true },
	[WEIR_REPAIR_RESIDUAL_SCALED] = { .residual = true, .scaled = true },
};

const char *weir_repair_name(weir_repair r)
{
	static const char *const names[] = {
#define WEIR_REPAIR_NAME(name, text) text,
		WEIR_REPAIRS(WEIR_REPAIR_NAME)
	};

	return (unsigned)r < WEIR_REPAIR_COUNT ? names[r] : "?";
}

void weir_flow_whatif_options_init(weir_flow_whatif_options *o)
{
	*o = (weir_flow_whatif_options){ .repairs = (1u << WEIR_REPAIR_CUSTOM) - 1, .lr = 0.01, .clip = 1, .l2 = 1e-3 };
}

/* ---- one trial ---- */

static weir_ctx *open_copy(const weir_ctx *w, uint64_t seed)
{
	weir_options o;

	weir_options_init(&o);
	o.handler = NULL;
	o.seed = seed;
	o.threads = weir_threads(w);
	o.ieee_subnormals = weir_ieee_subnormals(w);
	o.allocator = weir__allocator_of(w);
	return weir_open(&o);
}

/* With the user's thresholds; measures everything once, and asks nobody. */
static weir_flow *watch_copy(const weir_flow *f, weir_ctx *w)
{
	weir_flow_options o = f->options;

	o.every = 1;
	o.budget = 0;
	o.stretch = 0;
	o.first_step = 0;
	o.update_ratio = NULL;
	o.stop = NULL;
	return weir_flow_watch(w, &o);
}

/* CLIP, L2 and LOWER_LR: the network stays as it is. */
static bool of_steps(weir_repair r)
{
	return r == WEIR_REPAIR_CLIP || r == WEIR_REPAIR_L2 || r == WEIR_REPAIR_LOWER_LR;
}

/* Backward, and the flow's numbers. */
static void measure(weir_flow *g, weir_tensor *loss, weir_flow_trial *t)
{
	weir_backward(loss);
	if (!weir_flow_step(g, loss)) return;
	t->total_gain = g->sum.total_gain;
	t->gain_per_layer = g->sum.gain_per_layer;
	t->verdict = g->sum.verdict;
	t->loss = g->sum.loss;
}

static weir_tensor *build(weir__base *b, weir_ctx *w, const weir_flow_whatif_options *o, weir_repair r)
{
	weir_tensor *loss;

	if (r != WEIR_REPAIR_CUSTOM) return weir__repair_copy(b, &recipes[r], w);
	weir__fp_leave(b->caller);
	loss = o->model(w, o->user);
	weir__fp_enter(true);
	if (weir_ok(w) && weir_context(loss) != w)
		return weir_fail(
			w, WEIR_ERR_CONTEXT,
			"weir_flow_whatif: the model's loss is not of the context that it was given; it builds all that it needs there");
	return loss;
}

static void say_error(weir_flow_trial *t, const char *message)
{
	weir__text text;

	t->ok = false;
	weir__text_fixed(&text, t->error, sizeof t->error);
	weir__text_str(&text, message);
}

static void run(const weir_flow *f, weir__base *b, const weir_flow_whatif_options *o, weir_flow_trial *t)
{
	weir_ctx *w = open_copy(f->w, o->seed);
	weir_repair r = t->repair;
	weir__descent d = { .steps = o->steps,
			    .lr = r == WEIR_REPAIR_LOWER_LR ? o->lr / 10 : o->lr,
			    .clip = r == WEIR_REPAIR_CLIP ? o->clip : 0,
			    .l2 = r == WEIR_REPAIR_L2 ? o->l2 : 0 };

	t->changed = weir__repair_plan(b, &recipes[r], w) && r != WEIR_REPAIR_NONE;
	if (weir_ok(w) && (t->changed || r == WEIR_REPAIR_NONE)) {
		weir_flow *g = of_steps(r) ? NULL : watch_copy(f, w);
		weir_tensor *loss = build(b, w, o, r);

		if (g) measure(g, loss, t);
		else t->loss = weir_item(loss);
		weir_flow_stop(g);
		if (weir_ok(w)) t->operations = weir__whatif_operations(loss);
		if (weir_ok(w) && o->steps) weir__whatif_steps(loss, &d, t);
	}
	if (!weir_ok(w)) say_error(t, weir_error_text(w));
	else if (!weir_ok(b->w)) say_error(t, weir_error_text(b->w));
	weir_clear_error(b->w);
	weir_close(w);
}

/* ---- all of them ---- */

static bool check(weir_flow *f, const weir_tensor *loss, const weir_flow_whatif_options *o)
{
	weir_ctx *w = f->w;
	int64_t at = loss && weir_context(loss) == w ? weir_node(loss).index : -1;

	if (at < 0 || weir_tape_at(w, at) != loss)
		weir_fail(w, WEIR_ERR_STALE,
			  "weir_flow_whatif: the loss is not on the present tape; call it before weir_tape_reset()");
	else if (o->repairs >> WEIR_REPAIR_COUNT)
		weir_fail(
			w, WEIR_ERR_ARGUMENT,
			"weir_flow_whatif: repairs has the bit %d, which is no repair; bits are 1 << one of enum weir_repair",
			31 - __builtin_clz(o->repairs));
	else if ((o->repairs >> WEIR_REPAIR_CUSTOM & 1) && !o->model)
		weir_fail(
			w, WEIR_ERR_ARGUMENT,
			"weir_flow_whatif: repairs has WEIR_REPAIR_CUSTOM, but model is NULL; give it the function that builds it");
	else if (o->steps < 0)
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_flow_whatif: steps is %lld; it must be 0 or more",
			  (long long)o->steps);
	else if (!is_finite(o->lr) || !is_finite(o->l2) || !(o->clip > 0))
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_flow_whatif: lr and l2 must be finite, and clip a norm above 0");
	else return true;
	return false;
}

/* The one copy of the user's tape, measured. */
static bool make_base(const weir_flow *f, weir_tensor *loss, weir_fp_state caller, weir__base *b)
{
	weir_flow_trial unused;

	*b = (weir__base){ .w = open_copy(f->w, 0), .caller = caller };
	b->f = watch_copy(f, b->w);
	b->loss = weir_replay_into(b->w, loss, NULL, 0);
	if (!b->f || !weir_ok(b->w) || !weir_ok(f->w)) return false;
	measure(b->f, b->loss, &unused);
	b->root = weir_node(b->loss).index;
	return weir_ok(b->w) && weir__repair_begin(b);
}

static weir__whatif *memory(weir_flow *f)
{
	size_t size = sizeof *f->whatif;

	if (!f->whatif && (f->whatif = weir__pool_take(f->w, &size))) memset(f->whatif, 0, sizeof *f->whatif);
	return f->whatif;
}

static void try_all(const weir_flow *f, weir__base *b, const weir_flow_whatif_options *o, weir__whatif *s)
{
	const char *name = o->model_name ? o->model_name : weir_repair_name(WEIR_REPAIR_CUSTOM);

	weir__flow_clean(s->model_name, sizeof s->model_name, name, strlen(name));
	s->trials = 0;
	s->steps = o->steps;
	for (weir_repair r = WEIR_REPAIR_NONE; r < WEIR_REPAIR_COUNT; r++) {
		weir_flow_trial *t = &s->trial[s->trials];

		if (r != WEIR_REPAIR_NONE && !(o->repairs >> r & 1) && !(r == WEIR_REPAIR_CUSTOM && o->model)) continue;
		if (of_steps(r) && !o->steps) continue;
		*t = (weir_flow_trial){ .repair = r,
					.name = r == WEIR_REPAIR_CUSTOM ? s->model_name : weir_repair_name(r),
					.ok = true,
					.total_gain = UNKNOWN,
					.gain_per_layer = UNKNOWN,
					.loss = UNKNOWN,
					.loss_after = UNKNOWN,
					.update_norm = UNKNOWN,
					.operations = UNKNOWN };
		run(f, b, o, t);
		t->cost = t->operations / s->trial[0].operations;
		s->trials++;
	}
	weir__whatif_sort(s);
	weir__whatif_advise(s, f->sum.verdict);
}

bool weir_flow_whatif(weir_flow *f, weir_tensor *loss, const weir_flow_whatif_options *options)
{
	weir_flow_whatif_options o;
	weir_fp_state saved;
	weir__base b;
	weir__whatif *s;

	if (!f || !weir_ok(f->w)) return false;
	saved = weir__fp_enter(true);
	if (options) o = *options;
	else weir_flow_whatif_options_init(&o);
	if (check(f, loss, &o) && (s = memory(f))) {
		if (make_base(f, loss, saved, &b)) try_all(f, &b, &o, s);
		else if (weir_ok(f->w))
			weir_fail(f->w, weir_error(b.w), "weir_flow_whatif: the copy of the tape: %s",
				  weir_error_text(b.w));
		weir_flow_stop(b.f);
		weir_close(b.w);
	}
	weir__fp_leave(saved);
	return weir_ok(f->w);
}

int64_t weir_flow_trial_count(const weir_flow *f)
{
	return f && f->whatif ? f->whatif->trials : 0;
}

const weir_flow_trial *weir_flow_trial_at(const weir_flow *f, int64_t i)
{
	return i >= 0 && i < weir_flow_trial_count(f) ? &f->whatif->trial[i] : NULL;
}

const char *weir_flow_advice(const weir_flow *f)
{
	return f && f->whatif ? f->whatif->advice : "";
}

void weir__flow_whatif_free(weir_flow *f)
{
	if (f->whatif) weir__pool_give(f->w, f->whatif, sizeof *f->whatif);
}
