/* flow.h: the instrument. Watches what flows through a context, through public hooks alone, and says where the gradient vanishes or
 * explodes, and why.
 *
 * Layers. What stands under one module path is a layer: "mlp.3", with all that is below it. An activation directly behind it, a
 * module of its own or a call in the user's loop, belongs to it, and so does a residual addition around it. Every call of a module is
 * a layer of its own, so that a cell that is called for each time step is measured through time. Without modules or scopes, each
 * operation that reads a parameter of rank 2 or more begins a layer; without such parameters, every node is one.
 *
 * Layers come from the input side to the output side. Their depth is their distance from the inputs along the graph, from 1: in a chain
 * it is their number. All norms are Euclidean, in f64, right at every exponent of f32 and f64. */
#ifndef WEIR_FLOW_H
#define WEIR_FLOW_H

#include <weir/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_flow weir_flow;

typedef struct weir_flow_options {
	int depth; /* path components that name a layer, and nothing is joined; 0: up to the first number ("mlp.3"), else two */
	bool input_gradient; /* also measure dL/dx at the first layer's input, which its gain needs */
	double vanishing;    /* total gain below which the verdict is vanishing; default 0.01 */
	double exploding;    /* above which it is exploding; default 100 */
	double dead_share;   /* share of zeros in an activation's output from which it is dead; default 0.999 */
	double saturated_slope; /* rms f' below this share of the most that the activation can have is saturation; default 0.1 */
	int64_t first_step; /* number of the first step that it will see; default 0 */
	/* ‖last update‖ / ‖W‖ of a parameter, asked once per layer, parameter and step; NULL: not reported. */
	double (*update_ratio)(const weir_tensor *param, void *user);
	void *user;
} weir_flow_options;

typedef enum weir_verdict {
	WEIR_FLOW_NONE, /* nothing measured yet, or no gradient to judge */
	WEIR_FLOW_HEALTHY,
	WEIR_FLOW_VANISHING,
	WEIR_FLOW_EXPLODING,
	WEIR_FLOW_DEAD,
	WEIR_FLOW_SATURATED,
	WEIR_FLOW_NONFINITE
} weir_verdict;

/* One layer at one step. NaN where there is no such number (no activation, 0/0, not measured). Strings live as long as the flow. */
typedef struct weir_flow_layer {
	const char *name;  /* "mlp.3" */
	const char *op;    /* its operations, "linear sigmoid" */
	int64_t call;      /* which call of this module in the step it is, from 1 */
	int64_t depth;     /* layers on the way from the inputs to its output, itself included */
	double out_norm;   /* root mean square of the output: ‖a‖ / √n */
	double out_gain;   /* what the layer multiplies it by */
	double delta_norm; /* ‖dL/d output‖ */
	double gain; /* ‖dL/d input‖ / ‖dL/d output‖: what the layer multiplies the gradient by on its way back */
	double weight_norm;                    /* ‖W‖, Frobenius, over its parameters of rank 2 and more */
	double act_slope;                      /* root mean square of f'(z) over the layer's last activation */
	double act_slope_max;                  /* largest |f'(z)| */
	double act_slope_limit;                /* the largest that this activation can have; NaN where not known */
	double param_grad_norm;                /* ‖dL/d parameters‖, before any clipping */
	double update_ratio;                   /* largest of its parameters' */
	double out_zeros;                      /* share of exact zeros in the output */
	double zeros;                          /* share of exact zeros in the gradient at the output */
	int64_t subnormals, nonfinite;         /* counts in the gradient at the output */
	int64_t out_subnormals, out_nonfinite; /* counts in the output */
} weir_flow_layer;

/* The first operation that made something: an inf, a NaN, a subnormal, nothing but zeros. An operation whose operands had it already is
 * no maker but passes it on. In the backward pass it is the operation whose gradient rule made it. Strings live as long as the flow. */
typedef struct weir_flow_birth {
	bool found;
	bool backward;     /* made by the operation's gradient rule instead of its result */
	const char *layer; /* module path of the operation, else its layer's, else its name */
	const char *op;
	const char *here; /* source line, or "" */
	int64_t index;    /* on the tape */
	int64_t number;   /* of its layer in the report, from 1; 0: in none */
	int64_t depth; /* layers passed until then, its own included: from the inputs forward, from the outputs backward; 0: in none */
	int64_t step;
} weir_flow_birth;

typedef struct weir_flow_summary {
	int64_t step;
	double loss;
	bool subnormals_ieee;
	int64_t parameters;      /* numbers in all parameters on the tape */
	double input_delta_norm; /* ‖dL/dx‖ at the first layer's input */
	double gain_per_layer; /* from the least squares of log₂ ‖delta‖ over the depth; NaN for fewer than two layers */
	double bits_per_layer; /* its log₂ */
	double r2;
	double total_gain;             /* ‖dL/dx‖ / ‖delta at the last layer's output‖ */
	int64_t nonfinite, subnormals; /* over all layers' gradients */
	weir_verdict verdict;
	const char *cause; /* "activation", "initial weights", "depth", "learning rate", "data scale", or NULL */
	int64_t first_layer, last_layer; /* the range the verdict speaks of, as indices of layers */
	char evidence[256];              /* one line: what the verdict rests on */
	/* Over all steps so far. Only an inf or NaN that reaches the loss or a parameter's gradient counts: a masked one does no harm. */
	weir_flow_birth first_inf, first_nan;
	/* The same for underflow, inside of layers: the first subnormal number, and the first tensor of nothing but zeros;
	 * [0] forward, [1] backward. */
	weir_flow_birth first_subnormal[2], first_zero[2];
} weir_flow_summary;

typedef enum weir_flow_form { WEIR_FLOW_TABLE, WEIR_FLOW_JSON } weir_flow_form;

WEIR_API void weir_flow_options_init(weir_flow_options *o);
/* Begins to watch; o may be NULL. Owned by the context. Observing changes no bit of any result. NULL after an error. */
WEIR_API weir_flow *weir_flow_watch(weir_ctx *w, const weir_flow_options *o);
WEIR_API void weir_flow_stop(weir_flow *f); /* before weir_close */
/* Ends a step: call after weir_backward(loss) (and the optimiser's step, if there is one), before the tape is reset. Returns weir_ok(). */
WEIR_API bool weir_flow_step(weir_flow *f, weir_tensor *loss);
/* The last step's numbers. */
WEIR_API int64_t weir_flow_layer_count(const weir_flow *f);
WEIR_API const weir_flow_layer *weir_flow_layer_at(const weir_flow *f, int64_t i); /* until the next step */
WEIR_API const weir_flow_summary *weir_flow_summary_of(const weir_flow *f);
WEIR_API weir_verdict weir_flow_verdict(const weir_flow *f);
WEIR_API const char *weir_verdict_name(weir_verdict v); /* "vanishing"; static */
/* Writes the last step's report: a table for people, or one JSON object of schema weir.flow/1 (docs in flow/report_json.c). model, the
 * network in words, begins it; NULL: the number of layers and parameters does. Returns false after an error: IO. */
WEIR_API bool weir_flow_report(const weir_flow *f, FILE *file, weir_flow_form form, const char *model);

/* The numbers of one tape node at the last step; false where it has none. */
typedef struct weir_flow_node {
	double out_norm, delta_norm; /* Euclidean; NaN where not measured */
	weir_stats out, delta;
} weir_flow_node;
WEIR_API bool weir_flow_node_of(const weir_flow *f, int64_t tape_index, weir_flow_node *out);

/* Writes the present tape as a DOT graph: one cluster per module path, each node with operation, name, shape and ‖g‖. With a flow
 * (may be NULL) filled by log₂ gain from blue (shrinks) over white to red (grows), pen width by log ‖delta‖, the way of a
 * NaN in red. Written safely: a temporary file first, then renamed. Returns weir_ok(). */
WEIR_API bool weir_dot_write_flow(weir_ctx *w, const weir_flow *f, const char *path);
/* The last tape, coloured by the gradients of its last backward: needs no flow. */
WEIR_API bool weir_dot_write(weir_ctx *w, const char *path);
/* The same to a stream. */
WEIR_API bool weir_dot_print(weir_ctx *w, const weir_flow *f, FILE *file);

#ifdef __cplusplus
}
#endif

#endif
