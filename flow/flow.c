/* flow.c: watching. Two context hooks note the norm and the counts of every value and every gradient, by place on the tape;
 * weir_flow_step() turns these notes into layers, births and a verdict. */
#include "flow/flow.h"

#include <string.h>

#include "kernels/cpu.h"
#include "kernels/fpenv.h"

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

static const record nothing = { .out_norm = UNKNOWN, .delta_norm = UNKNOWN, .layer = -1, .from = -1, .counted = -1 };

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
		f->life = life;
		f->records = 0;
		f->input_asked = false;
	} else if (index < f->records) {
		f->records = index;
		while (index-- > 0 && is_leaf(weir_tape_at(f->w, index))) f->rec[index] = nothing;
	}
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
	if (input) weir_retain_grad(input);
}

static void on_forward(const weir_event *e, void *user)
{
	weir_flow *f = user;
	record *r;

	if (!weir_node(e->node).recorded) return;
	forget_old(f, e->index);
	if (!(r = weir__flow_record(f, e->index))) return;
	r->out_norm = e->norm;
	r->out = e->stats;
	r->has_out = is_float(e->node);
	ask_input(f, e);
}

/* Of every pass, so that a loss made of gradients is seen, too; but only nodes of the forward pass. The last pass counts. */
static void on_backward(const weir_event *e, void *user)
{
	weir_flow *f = user;
	record *r;

	if (weir_node(e->node).order) return;
	forget_old(f, INT64_MAX);
	if (!(r = weir__flow_record(f, e->index))) return;
	r->delta_norm = e->norm;
	r->delta = e->stats;
	r->has_delta = true;
}

void weir_flow_options_init(weir_flow_options *o)
{
	*o = (weir_flow_options){
		.input_gradient = true,
#define WEIR_RULE(name, value, reason) RULE_##name(value)
#define RULE_vanishing(value) .vanishing = value,
#define RULE_exploding(value) .exploding = value,
#define RULE_dead_share(value) .dead_share = value,
#define RULE_saturated_slope(value) .saturated_slope = value,
#define RULE_flat_slope(value)
#define RULE_fair_gain(value)
#define RULE_large_input(value)
#include "flow/rules.def"
	};
}

static void destroy(void *object)
{
	weir_flow *f = object;
	weir_ctx *w = f->w;

	for (int64_t i = 0; i < f->n_names; i++) weir__text_free(w, f->names[i].text);
	if (f->names) weir__pool_give(w, f->names, (size_t)f->names_capacity * sizeof *f->names);
	if (f->slot) weir__pool_give(w, f->slot, (size_t)f->slots * sizeof *f->slot);
	if (f->layers) weir__pool_give(w, f->layers, (size_t)f->capacity * sizeof *f->layers);
	if (f->rec) weir__pool_give(w, f->rec, (size_t)f->rec_capacity * sizeof *f->rec);
	weir__pool_give(w, f, sizeof *f);
}

weir_flow *weir_flow_watch(weir_ctx *w, const weir_flow_options *o)
{
	size_t size = sizeof(weir_flow);
	weir_flow *f;
	weir_hook_options h;

	if (!weir_ok(w) || !(f = weir__pool_take(w, &size))) return NULL;
	memset(f, 0, sizeof *f);
	f->w = w;
	if (o) f->options = *o;
	else weir_flow_options_init(&f->options);
	f->sum.step = f->options.first_step;
	f->sum.loss = f->sum.gain_per_layer = f->sum.bits_per_layer = f->sum.r2 = UNKNOWN;
	f->sum.total_gain = f->sum.input_delta_norm = UNKNOWN;
	f->life = weir_mark(w).life;
	weir_hook_options_init(&h);
	h.wants = WEIR_WANT_NORM | WEIR_WANT_STATS;
	h.user = f;
	h.forward = true;
	h.observe = on_forward;
	f->forward = weir_hook_add(w, NULL, &h);
	h.forward = false;
	h.all_orders = true;
	h.observe = on_backward;
	f->backward = weir_hook_add(w, NULL, &h);
	f->owned = weir__own(w, f, destroy);
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

bool weir_flow_step(weir_flow *f, weir_tensor *loss)
{
	weir_ctx *w;
	int64_t root;
	weir_fp_state saved;

	if (!f || !weir_ok(f->w)) return false;
	w = f->w;
	root = weir_node(loss).index;
	if (root < 0 || weir_tape_at(w, root) != loss) {
		weir_fail(
			w, WEIR_ERR_STALE,
			"weir_flow_step: the loss is not on the present tape; call it after weir_backward() and before "
			"weir_tape_reset()");
		return false;
	}
	saved = weir__fp_enter(true); /* the caller's flags stay his */
	forget_old(f, INT64_MAX);
	f->sum.step = f->options.first_step + f->steps;
	f->sum.loss = weir_numel(loss) == 1 && !weir_node(loss).released ? weir_item(loss) : UNKNOWN;
	f->sum.subnormals_ieee = weir_ieee_subnormals(w);
	if (weir__flow_record(f, root) && weir__flow_layers(f, root)) {
		f->loss_bad = weir__flow_nonfinite(&f->rec[root].out);
		weir__flow_measure(f);
		weir__flow_births(f, root);
		weir__flow_judge(f);
	}
	weir__fp_leave(saved);
	if (!f->steps++) f->verdict_first = f->sum.verdict;
	return weir_ok(w);
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
