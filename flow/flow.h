/* flow.h: what the files of the instrument share.
 *
 *   flow.c     hooks note norms and counts by place on the tape; a step turns them into layers and a verdict
 *   schedule.c what is measured when, and what that costs
 *   look.c     a step that was not to be measured, measured after all
 *   names.c    what a layer is called
 *   layers.c   which nodes make a layer, where a layer's input comes from
 *   measure.c  a layer's numbers           wholes.c   modules called many times
 *   softmax.c  how far softmaxes are shut
 *   dense.c    layers that are act(x · Wᵀ + b)
 *   theory.c   mean-field theory            stretch.c  sigma_max of Jacobians, the bound: products with them are jacobian.c's
 *   units.c    the census of dead units     spikes.c   median and MAD of the log norms
 *   passes.c   several backward passes in one step
 *   values.c   what needs values that are gone when the step ends
 *   loss.c     what the loss itself tells, validation
 *   births.c   who made the first inf, NaN, subnormal, zero. births_rule.c looks while gradients pass, births_overflow.c for what is
 *              gone again, births_path.c where it spread to; births_note.c births_text.c births_element.c say it in words
 *   way.c      the nodes that all of the gradient passes            side.c  chains of layers beside them
 *   slope.c    slope, total, bound, depth budget
 *   verdict.c  the verdict, cause.c its cause, by rules.def
 *   noise.c curvature.c                     on request
 *   whatif.c   repairs, tried on copies. repairs.c plans one, repairs_copy.c makes the copy, whatif_steps.c trains it,
 *              whatif_advice.c says in which order
 *   report.c   the table of a report: report_columns.c report_lines.c; the other forms: report_json.c, report_html.c with
 *              report_diagrams.c report_plot.c; report_whatif.c the trials, in all of them
 *   dot.c      the tape as a picture: dot_place.c dot_fold.c
 *   record.c   what is written at every step: record_jsonl.c record_tensorboard.c record_ring.c, which record_ring_read.c reads */
#ifndef WEIR_FLOW_FLOW_H
#define WEIR_FLOW_FLOW_H

#include <weir/flow.h>
#include "engine/memory.h"

#define UNKNOWN __builtin_nan("")

/* One node's record of the step. Norms are NaN where nothing was measured. */
typedef struct record {
	double out_norm, delta_norm;
	weir_stats out, delta;
	unsigned flags; /* of the floating-point unit that the operation raised */
	bool has_out, has_delta;
	uint8_t bad;   /* births.c: which of its value and gradient reach the loss or a parameter, and the like */
	uint8_t above; /* births_rule.c: kinds that the gradients of its readers have */
	uint8_t born;  /* kinds that its own gradient has, and theirs have not */
	uint8_t way;   /* way.c: all of the gradient passes it; verdict.c: it is a gate, the output */
	int64_t reader; /* way.c: the last node that reads it on that way, or -1; in stretch.c, which comes before, a layer */
	int64_t layer;   /* it is part of, or -1 */
	int64_t from;    /* the layer that its value comes from: its own, else that of its deepest operand; or -1 */
	int64_t counted; /* layer that counted this parameter last, or -1 */
	int64_t taken;   /* values.c: what was taken while values were there, or -1 */
} record;

enum { WEIR__FLOW_OPS = 96 };

typedef struct layer {
	weir_flow_layer public; /* first, so that a pointer to it is one to the layer */
	char ops[WEIR__FLOW_OPS];
	const char *scope;        /* of its first node: where that is called again, the layer is, too */
	int64_t call;             /* of that scope */
	int64_t first, last;      /* its nodes lie between them */
	int64_t input;            /* node that its input comes from, or -1 */
	int64_t z, a;             /* the last activation: from node z to node a, or -1 */
	int64_t chain_z, chain_a; /* element-wise nodes that may become one */
	bool bent;                /* and have */
	int64_t softmax;          /* its last softmax that counts, or -1 */
	double softmax_spread;    /* standard deviation of that one's logits in their rows, where it is shut */
} layer;

/* A layer's name, or its operations, kept as long as the flow; and where a layer of that name stood last. */
typedef struct layer_name {
	char *text;
	size_t length;
	int64_t layer, calls;
	int64_t grouping; /* for which both hold */
} layer_name;

/* The text of a birth, which outlives the tape. */
typedef struct birth_text {
	char layer[512], op[64], here[512];
} birth_text;

enum {
	BIRTH_INF,
	BIRTH_NAN,
	BIRTH_OVERFLOW,
	BIRTH_SUBNORMAL,
	BIRTH_ZERO = BIRTH_SUBNORMAL + 2,
	BIRTHS = BIRTH_ZERO + 2
};

/* When what is measured. A thin step takes the norms of gradients only, into norm[]; a whole one all else, into rec[]. */
typedef struct schedule {
	bool whole;                     /* this step's, decided before it began */
	bool requested;                 /* weir_flow_request */
	bool idle;                      /* no event of this step was seen yet */
	bool timed;                     /* this thin step's hooks run under the clock */
	unsigned alarm;                 /* what this thin step's norms made necessary: bits of enum alarm */
	unsigned known;                 /* what the last whole measurement saw already */
	int64_t next;                   /* step of the next whole measurement */
	int64_t cycle;                  /* steps since the last one */
	bool looked;                    /* the values of this step were looked at, although no hook saw them */
	bool partial;                   /* so were its gradients, but for those before the alarm */
	bool arrived;                   /* in a thin step: a gradient, where there was none or zero before */
	bool begun;                     /* this step's first gradient has come */
	uint64_t shape, measured_shape; /* of the nodes that got a gradient: in this step, in the measured one */
	int64_t asked;                  /* node whose gradient whole steps alone ask for: no part of the shape; or -1 */
	int64_t begin;                  /* end of the last step, nanoseconds */
	double hooks;                   /* hook seconds by then */
	double hooks_thin;              /* seconds in the hooks of a thin step, */
	double cost_thin;               /* of all that is measured in one, */
	double thin;                    /* and of the rest of it: each the least since the last whole measurement */
	double cost_whole, cost_last;   /* the cheaper one of the last two whole measurements, and the last */
	double wall, cost;              /* over all steps */
} schedule;

/* SPOILT: the loss, or the gradient of a parameter, is not finite; other gradients may be, and do no harm. */
enum alarm { ALARM_NONFINITE = 1, ALARM_ZERO = 2, ALARM_TINY = 4, ALARM_SPOILT = 8 };

/* Of gradients, by tape index; NaN where there is none. */
typedef struct weir_norms {
	double *norm;
	int64_t count, capacity;
} weir_norms;

/* passes.c. All of this step. */
typedef struct weir_passes {
	bool begun, recorded; /* there is a pass at hand; it makes the graph of a later one */
	double value, loss;   /* of its root; the sum of those of the passes before it */
	int64_t on_tape;      /* passes before it over this tape */
	int64_t tapes;        /* tapes before this one */
	weir_norms tape;      /* of the passes over this tape before the one at hand */
	weir_norms earlier;   /* of earlier tapes */
	uint64_t shape;       /* of these */
	bool several;         /* at the step's end: there were passes before the last */
	struct weir_param_norm {
		const weir_tensor *param;
		double norm; /* of its accumulated gradient */
	} * params;          /* in the order that their gradients came */
	int64_t n_params, params_capacity;
} weir_passes;

struct weir_flow {
	weir_ctx *w;
	weir_flow_options options;
	weir_owned *owned;
	weir_hook *forward, *backward;

	double *norm; /* of gradients, by tape index, on every step; NaN where there is none */
	int64_t norms, norm_capacity;
	record *rec; /* by tape index, of a step that is measured as a whole */
	int64_t records, rec_capacity;
	uint32_t life;    /* of the tape that they are of */
	bool input_asked; /* the gradient of the first layer's input was asked for on this tape */
	schedule when;
	struct {
		int64_t root, last; /* nodes of its first and its latest event */
		uint32_t life;
		double seed; /* the gradient that it began with; NaN where that is more than one number */
	} pass;              /* the backward pass that runs, or ran last */
	weir_passes passes;
	bool stopped; /* options.stop asked for it */
	bool frees;   /* backward releases values: weir_options.free_values */

	bool layers_go_on; /* layers.c: some begin behind the node at hand */
	int64_t grouping;  /* counts the times that nodes were grouped into layers */
	layer *layers;
	int64_t count, capacity;
	layer_name *names;
	int64_t *slot; /* hash table: 1 + index into names, 0 empty */
	int64_t n_names, names_capacity, slots;

	weir_flow_summary sum;
	weir_verdict verdict_first; /* of the first step */
	birth_text text[BIRTHS];
	bool loss_bad; /* the loss is not finite */
	int64_t steps;

	struct weir__census *census;      /* units.c */
	struct weir__window *window;      /* spikes.c */
	struct weir__loss_story *story;   /* loss.c */
	struct weir__stretch *stretch;    /* stretch.c: warm vectors */
	struct weir__taken *taken;        /* values.c */
	struct weir__recorder *recorders; /* record.c */
	struct weir__birth_more *more;    /* births.c: operands and paths */
	weir_flow_whole *wholes;          /* wholes.c */
	int64_t n_wholes, wholes_capacity;
	struct weir__whatif *whatif; /* whatif.c */
};

static inline bool is_float(const weir_tensor *t)
{
	return weir_dtype_of(t) == WEIR_F32 || weir_dtype_of(t) == WEIR_F64;
}

static inline bool is_leaf(const weir_tensor *t)
{
	return weir_node(t).inputs == 0;
}

static inline bool is_finite(double x)
{
	return x - x == 0;
}

/* The parameter that t stands for, directly or as a view; or NULL. */
static inline weir_tensor *param_of(const weir_tensor *t)
{
	weir_tensor *p;

	while (t && !is_leaf(t) && (weir_op_of(t)->flags & WEIR_OP_VIEW)) t = weir_input(t, 0);
	p = weir_origin_of((weir_tensor *)(uintptr_t)t);
	return p && weir_is_param(p) ? p : NULL;
}

/* A node that layers are made of: on the user's forward pass, of a floating type. */
static inline bool takes_part(const weir_tensor *t)
{
	weir_node_info info = weir_node(t);

	return t && info.recorded && !info.order && info.inputs && is_float(t);
}

static inline bool weir__flow_nonfinite(const weir_stats *s)
{
	return s->pos_inf + s->neg_inf + s->nan > 0;
}

/* √(a² + b²) without overflow; a NaN in a means "none so far". */
static inline double add_norm(double a, double b)
{
	double big, small;

	if (a != a || b != b) return b;
	big = a > b ? a : b;
	small = a > b ? b : a;
	return big > 0 && is_finite(big) ? big * __builtin_sqrt(1 + small / big * (small / big)) : big;
}

/* Where its value can be read: contiguous, and still there. */
static inline const void *value_of(const weir_tensor *t)
{
	return t && weir_numel(t) && weir_is_contiguous(t) && !weir_node(t).released ? weir_data(t) : NULL;
}

/* Number of the step that runs; summary.step is that of the last one until this ends. */
static inline int64_t weir__flow_step_now(const weir_flow *f)
{
	return f->options.first_step + f->steps;
}

/* What the hooks are to do in the step that begins now. */
void weir__flow_begin_step(weir_flow *f);
/* At its end: what it cost, began and ended when, and when the next whole measurement is due. */
void weir__flow_settle(weir_flow *f, bool whole, int64_t began);
record *weir__flow_record(weir_flow *f, int64_t index);
bool weir__flow_grow(weir_ctx *w, void **list, int64_t count, int64_t *capacity, size_t size);
/* Length of the part of path that names the layer; depth as in weir_flow_options. */
size_t weir__flow_name_length(const char *path, int depth);
/* The lasting entry of a name, made where it is new; until the next call. NULL after reporting. */
layer_name *weir__flow_intern(weir_flow *f, const char *text, size_t n);
/* The first n bytes of a name as they may be shown: cut at a whole character to fit into size bytes, and '?' for control characters, which
 * would work on a terminal, and for what is no UTF-8. Returns the length; to[] is ended by a zero. */
size_t weir__flow_clean(char *to, size_t size, const char *text, size_t n);
bool weir__flow_bends(const weir_tensor *t);        /* an operation that is an activation, or the heart of one */
bool weir__flow_layers(weir_flow *f, int64_t root); /* groups nodes 0 .. root into layers */
void weir__flow_measure(weir_flow *f);              /* fills their numbers */
void weir__flow_wholes(weir_flow *f);               /* after measure */
/* measure.c: f' of the layer's activation. again: by tape index, values that were gone and are computed again; or NULL. */
void weir__flow_act(const weir_flow *f, layer *l, weir_tensor *const *again);
/* values.c: where a backward pass begins; in an alarm, with what look.c computed again; into the layer, if anything was taken. */
void weir__flow_values_pass(weir_flow *f, int64_t root);
void weir__flow_values_again(weir_flow *f, int64_t root, weir_tensor *const *again);
void weir__flow_values_give(const weir_flow *f, layer *l);
void weir__flow_values_free(weir_flow *f);
/* passes.c: at a pass's first event; when the tape of this step's passes is gone; before the step's first gradient; at its end. */
void weir__flow_pass_begins(weir_flow *f, const weir_event *e);
void weir__flow_tape_ends(weir_flow *f);
void weir__flow_passes_forget(weir_flow *f);
void weir__flow_passes_end(weir_flow *f);
void weir__flow_passes_free(weir_flow *f);
/* Of a parameter's event: *norm becomes that of what its accumulator will hold. True where that is more than the event's gradient; then these are
 * its counts. */
bool weir__flow_accumulated(weir_flow *f, const weir_event *e, double *norm, weir_stats *counts);
void weir__flow_add_counts(weir_stats *to, const weir_stats *s); /* but for zeros */
void weir__flow_softmax(weir_flow *f);     /* whole, after measure; fills softmax_rows, _slope, _shut */
void weir__flow_softmax_now(weir_flow *f); /* the same from the values, which must be there */
void weir__flow_births(weir_flow *f, int64_t root);
/* In the hook: at every event (true where a pass begins); and with the counts of index's gradient in its record, e NULL where the
 * gradient is gone. */
bool weir__flow_births_pass(weir_flow *f, const weir_event *e);
void weir__flow_births_gradient(weir_flow *f, int64_t index, const weir_event *e);
/* look.c: once in a step, all values that no hook saw; and from node to down to node from the norms of gradients without counts.
 * inside: of a backward hook, where parameters are what the forward pass read. */
void weir__flow_look_at_values(weir_flow *f, int64_t root, bool inside);
void weir__flow_take_norms(weir_flow *f, int64_t from, int64_t to);
void weir__flow_births_early(weir_flow *f);
void weir__births_look_at_leaves(weir_flow *f); /* births_rule.c */
void weir__births_overflow(weir_flow *f, int64_t root);
void weir__flow_judge(weir_flow *f);

/* The parts below have the same three calls at most: at a whole measurement (after layers and measure, before births and
 * judge), at the end of every step (whole ones too, after judge), and at the end of the flow. A part whose state is NULL has not begun. */
void weir__flow_theory(weir_flow *f);          /* theory.c: whole; fills theory_gain, q_star, chi1, xi */
void weir__flow_stretch(weir_flow *f);         /* stretch.c: whole; fills stretch_low, stretch_high, alignment */
void weir__flow_stretch_factors(weir_flow *f); /* alone, without what gradients tell of them */
void weir__flow_stretch_free(weir_flow *f);
void weir__flow_units(
	weir_flow *f,
	bool whole); /* units.c: every step while the tape stands; the layers are of the last measured step */
void weir__flow_units_look(weir_flow *f, bool whole); /* while its values stand, where backward releases them */
void weir__flow_units_free(weir_flow *f);
void weir__flow_spikes(weir_flow *f); /* spikes.c: every step */
void weir__flow_spikes_free(weir_flow *f);
/* Of n numbers, none NaN; of two in the middle their mean; NaN for n = 0. Changes their order. */
double weir__flow_median(double *v, int64_t n);
void weir__flow_loss(weir_flow *f); /* loss.c: every step, before judge: sum.loss is this step's */
void weir__flow_loss_free(weir_flow *f);
void weir__flow_births_free(weir_flow *f);
void weir__flow_record_step(weir_flow *f, bool whole); /* record.c: every step, last */
void weir__flow_record_free(weir_flow *f);
void weir__flow_whatif_free(weir_flow *f);
/* Does the present tape have the layers of the last measured step? Then layers[].first, .last, .z, .a, .input are nodes of it. */
bool weir__flow_same_layers(const weir_flow *f);
double weir__flow_log2(double x);
double weir__flow_exp2(double x);

#endif
