/* flow.c: watching. Two context hooks note the norm and the counts of every value and every gradient, by place on the tape;
 * weir_flow_step() turns these notes into layers, births and a verdict.
 * It is longer than most because hooks, step and their state are read together. */
#include "flow/flow.h"

#include <string.h>

#include "kernels/cpu.h"
#include "kernels/fpenv.h"
#include "kernels/reduce.h"
#include "kernels/threads.h"

static const int64_t never = INT64_MAX / 4;

double weir__flow_log2(double x)
{
	const void *in[1] = { &x };
	double y;

	weir__kernels()->map[WEIR_MAP_log][1](&y, in, 1, NULL);
	return y * 1.4426950408889634;
}

double weir__flow_exp2(double x)
{
	double t = x * 0.69314718055994531, y;
	const void *in[1] = { &t };

	weir__kernels()->map[WEIR_MAP_exp][1](&y, in, 1, NULL);
	return y;
}

bool weir__flow_grow(weir_ctx *w, void **list, int64_t count, int64_t *capacity, size_t size)
{
	int64_t more = *capacity ? 2 * *capacity : 64;
	size_t bytes = (size_t)more * size;
	void *bigger;

	if (count < *capacity) return true;
	if (!(bigger = weir__pool_take(w, &bytes))) return false;
	if (count) memcpy(bigger, *list, (size_t)count * size);
	if (*list) weir__pool_give(w, *list, (size_t)*capacity * size);
	*list = bigger;
	*capacity = more;
	return true;
}

static const record nothing = {
	.out_norm = UNKNOWN, .delta_norm = UNKNOWN, .layer = -1, .from = -1, .counted = -1, .taken = -1
};

record *weir__flow_record(weir_flow *f, int64_t index)
{
	void *list = f->rec;

	while (f->records <= index) {
		if (!weir__flow_grow(f->w, &list, f->records, &f->rec_capacity, sizeof *f->rec)) return NULL;
		f->rec = list;
		f->rec[f->records++] = nothing;
	}
	return &f->rec[index];
}

/* Notes of another tape, or from behind the place that the tape was rewound to, are void. Leaves have no event of their own, so
 * those just before the node that has one are new, too. */
static void forget_old(weir_flow *f, int64_t index)
{
	uint32_t life = weir_mark(f->w).life;

	if (life != f->life) {
		if (f->when.begun) weir__flow_tape_ends(f);
		f->life = life;
		f->records = f->norms = 0;
		f->input_asked = false;
		f->when.alarm = 0;
		f->when.looked = f->when.partial = false;
		f->when.shape = 0;
	} else if (index < f->records) {
		f->records = index;
		while (index-- > 0 && is_leaf(weir_tape_at(f->w, index))) f->rec[index] = nothing;
	}
}

/* At a step's first gradient: on a tape that was rewound, or goes on, those of the step before are still there. */
static void begin_gradients(weir_flow *f)
{
	if (f->when.begun) return;
	f->when.begun = true;
	f->when.shape = 0;
	f->norms = 0;
	weir__flow_passes_forget(f);
}

/* The first operation of a layer on this tape: its input's gradient is the instrument's dL/dx. */
static void ask_input(weir_flow *f, const weir_event *e)
{
	bool in_layer = e->scope[0];
	weir_tensor *input = NULL;

	if (f->input_asked || !f->options.input_gradient) return;
	for (int i = 0; i < weir_node(e->node).inputs; i++) {
		weir_tensor *x = weir_input(e->node, i), *p = param_of(x);

		if (p && weir_rank(p) >= 2) in_layer = true;
		else if (!p && !input && is_float(x) && weir_node(x).recorded) input = x;
	}
	if (!in_layer) return;
	f->input_asked = true;
	f->when.asked = weir_node(input).index;
	if (input) weir_retain_grad(input);
}

static void on_forward(const weir_event *e, void *user)
{
	weir_flow *f = user;
	record *r;

	if (!weir_node(e->node).recorded) return;
	f->when.idle = false;
	forget_old(f, e->index);
	if (!(r = weir__flow_record(f, e->index))) return;
	r->out_norm = e->norm;
	r->out = e->stats;
	r->flags = e->fp_flags;
	r->has_out = is_float(e->node);
	ask_input(f, e);
}

/* What a norm tells: not finite, zero, or where a number of the type would be near its end. */
static unsigned alarm_of(const weir_tensor *t, double norm)
{
	if (!is_finite(norm)) return ALARM_NONFINITE | (param_of(t) ? ALARM_SPOILT : 0u);
	if (norm == 0) return ALARM_ZERO;
	return norm < (weir_dtype_of(t) == WEIR_F32 ? 0x1p-116 : 0x1p-1002) ? ALARM_TINY : 0;
}

static bool note_norm(weir_flow *f, int64_t index, double norm)
{
	void *list = f->norm;

	while (f->norms <= index) {
		if (!weir__flow_grow(f->w, &list, f->norms, &f->norm_capacity, sizeof *f->norm)) return false;
		f->norm = list;
		f->norm[f->norms++] = UNKNOWN;
	}
	f->norm[index] = norm;
	return true;
}

/* sum: counts of what the accumulator will hold, where that is more than this gradient. */
static void note_gradient(weir_flow *f, const weir_event *e, double norm, const weir_stats *sum)
{
	record *r = weir__flow_record(f, e->index), before;

	if (!r) return;
	before = *r;
	r->delta_norm = norm;
	r->delta = e->stats;
	r->has_delta = true;
	if (!f->when.whole && value_of(e->value))
		weir__stats(weir_dtype_of(e->value), value_of(e->value), weir_numel(e->value), &r->delta, 1);
	weir__flow_births_gradient(f, e->index, e);
	if (weir__flow_nonfinite(&r->delta) && param_of(e->node)) weir__flow_births_early(f);
	if (sum) r->delta = *sum;
	if (!f->passes.on_tape || !before.has_delta) return;
	r->born |= before.born;
	if (sum) return;
	weir__flow_add_counts(&r->delta, &before.delta);
	if (before.delta.zeros < r->delta.zeros) r->delta.zeros = before.delta.zeros;
}

/* A loss or a norm that is not finite, zero or tiny: then the step is measured as a whole although it was to be thin. Values are looked
 * at, and from here on the gradients' counts are taken; those before were finite. */
static void raise_alarm(weir_flow *f, unsigned kinds, int64_t index)
{
	kinds &= ~f->when.known;
	if (!kinds) return;
	if (!f->when.alarm) {
		weir__flow_look_at_values(f, f->pass.root, true);
		weir__flow_take_norms(f, index + 1, f->pass.root);
		weir__births_overflow(f, f->pass.root);
	}
	f->when.alarm |= kinds;
	if (kinds & (ALARM_NONFINITE | ALARM_SPOILT)) weir__births_look_at_leaves(f);
}

/* Of every pass, so that a loss made of gradients is seen, too; but only nodes of the forward pass. */
static void on_backward(const weir_event *e, void *user)
{
	weir_flow *f = user;
	double norm = e->norm;
	weir_stats sum;
	bool begins, more;

	f->when.idle = false;
	forget_old(f, INT64_MAX);
	begin_gradients(f);
	if ((begins = weir__flow_births_pass(f, e))) {
		weir__flow_pass_begins(f, e);
		weir__flow_values_pass(f, e->index);
	}
	if (begins && weir_numel(e->node) == 1 && !is_finite(weir_item(e->node))) {
		if (!f->when.whole) raise_alarm(f, ALARM_NONFINITE | ALARM_SPOILT, e->index);
		else if (weir_node(e->node).order) weir__flow_look_at_values(f, e->index, true);
	}
	if (e->order > 1 && weir_node(e->node).order) return;
	if (e->index != f->when.asked)
		f->when.shape =
			f->when.shape * 1099511628211u + (uint64_t)e->index + ((uint64_t)(uintptr_t)e->op << 20);
	more = weir__flow_accumulated(f, e, &norm, &sum);
	if (!note_norm(f, e->index, norm)) return;
	if (!f->when.whole) raise_alarm(f, alarm_of(e->node, norm), e->index);
	if (f->when.whole || f->when.alarm) note_gradient(f, e, norm, more ? &sum : NULL);
}

void weir_flow_options_init(weir_flow_options *o)
{
	*o = (weir_flow_options){
		.input_gradient = true,
		.every = 16,
		.budget = 0.01,
		.window = 64,
#define WEIR_RULE(name, value, reason) .name = value,
#include "flow/rules.def"
	};
}

static void destroy(void *object)
{
	weir_flow *f = object;
	weir_ctx *w = f->w;

	weir__flow_stretch_free(f);
	weir__flow_values_free(f);
	weir__flow_passes_free(f);
	weir__flow_units_free(f);
	weir__flow_spikes_free(f);
	weir__flow_loss_free(f);
	weir__flow_births_free(f);
	weir__flow_record_free(f);
	weir__flow_whatif_free(f);
	if (f->wholes) weir__pool_give(w, f->wholes, (size_t)f->wholes_capacity * sizeof *f->wholes);
	if (f->norm) weir__pool_give(w, f->norm, (size_t)f->norm_capacity * sizeof *f->norm);
	for (int64_t i = 0; i < f->n_names; i++) weir__text_free(w, f->names[i].text);
	if (f->names) weir__pool_give(w, f->names, (size_t)f->names_capacity * sizeof *f->names);
	if (f->slot) weir__pool_give(w, f->slot, (size_t)f->slots * sizeof *f->slot);
	if (f->layers) weir__pool_give(w, f->layers, (size_t)f->capacity * sizeof *f->layers);
	if (f->rec) weir__pool_give(w, f->rec, (size_t)f->rec_capacity * sizeof *f->rec);
	weir__pool_give(w, f, sizeof *f);
}

/* A threshold that is NaN, or not above 0, would never fire, or always, in silence. */
static bool sensible(weir_ctx *w, const weir_flow_options *o)
{
	const double above_0[] = {
#define WEIR_RULE(name, value, reason) o->name,
#include "flow/rules.def"
	};
	bool good = o->depth >= 0 && o->every >= 1 && o->budget >= 0 && o->stretch >= 0 && o->window >= 1 &&
		    o->epoch >= 0 && o->classes >= 0 && o->vanishing < o->exploding && o->loss_smoothing <= 1;

	for (size_t i = 0; i < sizeof above_0 / sizeof *above_0; i++) good = good && above_0[i] > 0;
	if (!good)
		weir_fail(
			w, WEIR_ERR_ARGUMENT,
			"weir_flow_watch: an option makes no sense: every and window must be 1 or more, thresholds above 0, "
			"vanishing below exploding, loss_smoothing at most 1, all else 0 or more; weir_flow_options_init() fills in the defaults");
	return good;
}

weir_flow *weir_flow_watch(weir_ctx *w, const weir_flow_options *o)
{
	size_t size = sizeof(weir_flow);
	weir_flow *f;
	weir_hook_options h;

	if (!weir_ok(w) || (o && !sensible(w, o)) || !(f = weir__pool_take(w, &size))) return NULL;
	memset(f, 0, sizeof *f);
	f->w = w;
	f->frees = weir_frees_values(w);
	if (o) f->options = *o;
	else weir_flow_options_init(&f->options);
	if (f->options.every > never) f->options.every = never; /* so that numbers of steps don't overflow */
	f->sum.step = f->options.first_step;
	f->sum.loss = f->sum.gain_per_layer = f->sum.bits_per_layer = f->sum.r2 = UNKNOWN;
	f->sum.total_gain = f->sum.input_delta_norm = UNKNOWN;
	f->sum.q_star = f->sum.chi1 = f->sum.xi = f->sum.actual_bits = f->sum.bound_bits = f->sum.slack_bits = UNKNOWN;
	f->sum.f32 = f->sum.bf16 = f->sum.f16 = (weir_flow_budget){ UNKNOWN, UNKNOWN, UNKNOWN };
	f->sum.param_norm = f->sum.param_grad_norm = f->sum.update_norm = f->sum.own_share = UNKNOWN;
	f->sum.train_loss = f->sum.validation_loss = f->sum.penalty = UNKNOWN;
	f->sum.noise = (weir_flow_noise){ 0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN };
	f->sum.curvature = (weir_flow_curvature){ UNKNOWN, UNKNOWN, 0, UNKNOWN, UNKNOWN };
	f->sum.measured = f->sum.step - 1;
	f->life = weir_mark(w).life;
	weir_hook_options_init(&h);
	h.wants = WEIR_WANT_NORM | WEIR_WANT_STATS | WEIR_WANT_FLAGS;
	h.user = f;
	h.forward = true;
	h.observe = on_forward;
	f->forward = weir_hook_add(w, NULL, &h);
	h.forward = false;
	h.all_orders = true;
	h.observe = on_backward;
	f->backward = weir_hook_add(w, NULL, &h);
	f->owned = weir_ok(w) ? weir__own(w, f, destroy) : NULL;
	f->when.begin = weir__clock();
	weir__flow_begin_step(f);
	if (!weir_ok(w)) {
		weir_hook_remove(f->forward);
		weir_hook_remove(f->backward);
		destroy(f);
		return NULL;
	}
	return f;
}

void weir_flow_stop(weir_flow *f)
{
	weir_owned *owned;
	weir_ctx *w;

	if (!f) return;
	w = f->w;
	owned = f->owned;
	weir_hook_remove(f->forward);
	weir_hook_remove(f->backward);
	weir__disown(w, owned);
	destroy(f);
	weir__pool_give(w, owned, sizeof *owned);
}

/* ---- one step ---- */

static unsigned seen(const weir_flow *f)
{
	unsigned kinds = f->loss_bad ? ALARM_NONFINITE | ALARM_SPOILT : 0;

	for (int64_t i = 0; i < f->norms; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		if (!t || (i < f->records ? !f->rec[i].has_delta : f->norm[i] != f->norm[i])) continue;
		kinds |= alarm_of(t, f->norm[i]);
	}
	return kinds;
}

static void measure_whole(weir_flow *f, int64_t root)
{
	if (!weir__flow_record(f, root) || !weir__flow_layers(f, root)) return;
	f->sum.measured = f->sum.step;
	f->loss_bad = weir__flow_nonfinite(&f->rec[root].out);
	weir__flow_measure(f);
	weir__flow_softmax(f);
	weir__flow_theory(f);
	weir__flow_stretch(f);
	weir__flow_births(f, root);
	f->when.known = seen(f);
	f->when.measured_shape = f->when.shape;
}

/* The present norms into the layers of the measured step. */
static void measure_thin(weir_flow *f)
{
	if (!weir__flow_same_layers(f)) return;
	for (int64_t i = 0; i < f->count; i++) {
		layer *l = &f->layers[i];
		bool none = !(l->public.delta_norm > 0);

		l->public.delta_norm = l->last < f->norms ? f->norm[l->last] : UNKNOWN;
		if (none && l->public.delta_norm > 0) f->when.arrived = true;
	}
}

bool weir__flow_same_layers(const weir_flow *f)
{
	return f->count && f->when.shape == f->when.measured_shape;
}

bool weir_flow_step(weir_flow *f, weir_tensor *loss)
{
	weir_ctx *w;
	int64_t root;
	weir_fp_state saved;
	int64_t began = weir__clock();
	bool whole;

	if (!f || !weir_ok(f->w) || f->stopped) return false;
	w = f->w;
	root = weir_node(loss).index;
	if (root < 0 || weir_tape_at(w, root) != loss) {
		weir_fail(
			w, WEIR_ERR_STALE,
			"weir_flow_step: the loss is not on the present tape; call it after weir_backward() and before "
			"weir_tape_reset()");
		return false;
	}
	if (weir_numel(loss) != 1) {
		weir_fail(
			w, WEIR_ERR_SHAPE,
			"weir_flow_step: the loss has %lld elements, but a loss is one number; hand in the sum or mean that "
			"weir_backward() began with",
			(long long)weir_numel(loss));
		return false;
	}
	saved = weir__fp_enter(true); /* the caller's flags stay his */
	forget_old(f, INT64_MAX);
	f->sum.step = f->options.first_step + f->steps;
	weir__flow_passes_end(f);
	f->sum.loss = !weir_node(loss).released ? weir_item(loss) : UNKNOWN;
	if (f->passes.several) f->sum.loss += f->passes.loss;
	f->sum.subnormals_ieee = weir_ieee_subnormals(w);
	if (!is_finite(f->sum.loss)) f->when.alarm |= (ALARM_NONFINITE | ALARM_SPOILT) & ~f->when.known;
	whole = f->when.whole || f->when.alarm ||
		(f->when.requested && !f->frees); /* values are gone: the next step is */
	if (whole && !f->when.whole) {
		weir__flow_look_at_values(f, root, false);
		weir__flow_take_norms(f, 0, root);
	}
	weir__flow_loss(f);
	if (whole) measure_whole(f, root);
	else measure_thin(f);
	weir__flow_units(f, whole);
	weir__flow_spikes(f);
	if (whole) weir__flow_judge(f);
	if (!f->steps) f->verdict_first = f->sum.verdict;
	weir__flow_record_step(f, whole);
	weir__flow_settle(f, whole, began);
	if (!whole && f->sum.verdict == WEIR_FLOW_NONFINITE && is_finite(f->sum.loss) &&
	    is_finite(f->sum.param_grad_norm))
		f->when.requested = true; /* it is over */
	if (f->when.arrived && f->sum.verdict != WEIR_FLOW_HEALTHY)
		f->when.requested = true; /* perhaps it was for want of that */
	if (f->when.partial && (f->when.alarm & ALARM_TINY) && !f->sum.first_subnormal[1].found)
		f->when.requested = true; /* the next step tells where */
	f->steps++;
	weir__flow_begin_step(f);
	weir__fp_leave(saved);
	if (f->options.stop && f->sum.verdict > WEIR_FLOW_HEALTHY && weir_ok(w))
		f->stopped = f->options.stop(f, f->options.user);
	return weir_ok(w) && !f->stopped;
}

/* ---- what a program asks ---- */

bool weir_flow_stopped(const weir_flow *f)
{
	return f && f->stopped;
}

void weir_flow_set_stretch(weir_flow *f, int iterations)
{
	if (f) f->options.stretch = iterations;
}

int64_t weir_flow_whole_count(const weir_flow *f)
{
	return f ? f->n_wholes : 0;
}

const weir_flow_whole *weir_flow_whole_at(const weir_flow *f, int64_t i)
{
	return f && i >= 0 && i < f->n_wholes ? &f->wholes[i] : NULL;
}

int64_t weir_flow_layer_count(const weir_flow *f)
{
	return f ? f->count : 0;
}

const weir_flow_layer *weir_flow_layer_at(const weir_flow *f, int64_t i)
{
	return f && i >= 0 && i < f->count ? &f->layers[i].public : NULL;
}

const weir_flow_summary *weir_flow_summary_of(const weir_flow *f)
{
	return f ? &f->sum : NULL;
}

weir_verdict weir_flow_verdict(const weir_flow *f)
{
	return f ? f->sum.verdict : WEIR_FLOW_NONE;
}

bool weir_flow_node_of(const weir_flow *f, int64_t index, weir_flow_node *out)
{
	const record *r = f && index >= 0 && index < f->records ? &f->rec[index] : NULL;

	if (!r || (!r->has_out && !r->has_delta)) return false;
	*out = (weir_flow_node){ r->out_norm, r->delta_norm, r->out, r->delta };
	return true;
}
