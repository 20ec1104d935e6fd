/* flow.c: watching. Two context hooks note the norm and the counts of every value and every gradient, by place on the tape;
 * weir_flow_step() turns these notes into layers (layers.c) and a verdict (verdict.c). */
#include "flow/flow.h"

#include <string.h>
#include <time.h>

#include "kernels/fpenv.h"

/* Whole numbers, so that taking the time raises no floating-point flag. */
int64_t weir__flow_nanoseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
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

/* The record of a node, made where it is new. Forward goes up the tape, so a smaller index than before means another tape. */
record *weir__flow_record(weir_flow *f, int64_t index)
{
	void *list = f->rec;

	while (f->records <= index) {
		if (!weir__flow_grow(f->w, &list, f->records, &f->rec_capacity, sizeof *f->rec)) return NULL;
		f->rec = list;
		f->rec[f->records++] = (record){ .out_norm = UNKNOWN, .delta_norm = UNKNOWN };
	}
	return &f->rec[index];
}

/* A text of the tape copied to where it lasts. */
static const char *lasting(char *to, size_t size, const char *text)
{
	snprintf(to, size, "%s", text);
	return to;
}

static void note_birth(weir_flow *f, const weir_event *e)
{
	weir_flow_birth *births[2] = { &f->sum.first_inf, &f->sum.first_nan };
	int64_t counts[2] = { e->stats.pos_inf + e->stats.neg_inf, e->stats.nan };

	for (int i = 0; i < 2; i++) {
		if (births[i]->found || !counts[i]) continue;
		*births[i] = (weir_flow_birth){
			.found = true, .backward = e->backward, .index = e->index, .step = f->steps,
			.layer = lasting(f->first_layer[i], sizeof f->first_layer[i], e->scope[0] ? e->scope : e->name),
			.op = lasting(f->first_op[i], sizeof f->first_op[i], e->op),
			.here = lasting(f->first_here[i], sizeof f->first_here[i], e->here),
		};
	}
}

/* The first operation of a tape that belongs to a layer: its input's gradient is the instrument's dL/dx. */
static void ask_input(weir_flow *f, const weir_event *e)
{
	weir_tensor *x = weir_input(e->node, 0);

	if (f->input_asked || !f->options.input_gradient || !e->scope[0] || !x) return;
	f->input_asked = true;
	if (weir_node(x).recorded && is_float(x) && !weir_is_param(weir_origin_of(x))) weir_retain_grad(x);
}

static void on_forward(const weir_event *e, void *user)
{
	weir_flow *f = user;
	int64_t begin = weir__flow_nanoseconds();
	record *r;

	if (e->index < f->records) {
		f->records = e->index;
		f->input_asked = f->input_asked && e->index > 0;
	}
	if ((r = weir__flow_record(f, e->index))) {
		r->out_norm = e->norm;
		r->out = e->stats;
		r->has_out = true;
		note_birth(f, e);
		ask_input(f, e);
	}
	f->measured += weir__flow_nanoseconds() - begin;
}

static void on_backward(const weir_event *e, void *user)
{
	weir_flow *f = user;
	int64_t begin = weir__flow_nanoseconds();
	record *r = weir__flow_record(f, e->index);

	if (r) {
		r->delta_norm = e->norm;
		r->delta = e->stats;
		r->has_delta = true;
		note_birth(f, e);
	}
	f->measured += weir__flow_nanoseconds() - begin;
}

void weir_flow_options_init(weir_flow_options *o)
{
	*o = (weir_flow_options){ .input_gradient = true, .vanishing = 0.01, .exploding = 100, .dead_share = 0.999, .saturated_slope = 0.1 };
}

static void destroy(void *object)
{
	weir_flow *f = object;
	weir_ctx *w = f->w;

	for (int64_t i = 0; i < f->n_names; i++) weir__text_free(w, f->names[i]);
	if (f->names) weir__pool_give(w, f->names, (size_t)f->names_capacity * sizeof *f->names);
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
	f->sum.loss = f->sum.gain_per_layer = f->sum.bits_per_layer = f->sum.r2 = f->sum.total_gain = f->sum.input_delta_norm = UNKNOWN;
	weir_hook_options_init(&h);
	h.wants = WEIR_WANT_NORM | WEIR_WANT_STATS;
	h.user = f;
	h.forward = true;
	h.observe = on_forward;
	f->forward = weir_hook_add(w, NULL, &h);
	h.forward = false;
	h.observe = on_backward;
	f->backward = weir_hook_add(w, NULL, &h);
	f->owned = weir__own(w, f, destroy);
	f->began = weir__flow_nanoseconds();
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
	int64_t begin = weir__flow_nanoseconds(), now;
	int64_t root;
	weir_fp_state saved;

	if (!f || !weir_ok(f->w)) return false;
	w = f->w;
	root = weir_node(loss).index;
	if (root < 0 || weir_tape_at(w, root) != loss) {
		weir_fail(w, WEIR_ERR_STALE, "weir_flow_step: the loss is not on the present tape; call it after weir_backward() and before weir_tape_reset()");
		return false;
	}
	f->sum.step = f->steps;
	f->sum.loss = weir_numel(loss) == 1 && !weir_node(loss).released ? weir_item(loss) : UNKNOWN;
	f->sum.subnormals_ieee = weir_ieee_subnormals(w);
	saved = weir__fp_enter(true); /* the caller's flags stay his */
	weir__flow_layers(f, root);
	weir__flow_judge(f);
	now = weir__flow_nanoseconds();
	f->measured += now - begin;
	f->sum.own_share = now > f->began ? (double)f->measured / (double)(now - f->began) : 0;
	weir__fp_leave(saved);
	f->began = now;
	f->measured = 0;
	f->steps++;
	f->input_asked = false;
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
