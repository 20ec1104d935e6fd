/* flow.h: the instrument. Watches what flows through a context, through public hooks alone, and says where the gradient vanishes or
 * explodes, and why.
 *
 * Layers. What stands under one module path is a layer: "mlp.3", with all that is below it. An activation directly behind it, a
 * module of its own or a call in the user's loop, belongs to it, and so does a residual addition around it. Every call of a module is
 * a layer of its own, so that a cell that is called for each time step is measured through time. Without modules or scopes, each
 * operation that reads a parameter of rank 2 or more begins a layer; without such parameters, every node is one.
 *
 * Layers come from the input side to the output side. Their depth is their distance from the inputs along the graph, from 1: in a chain
 * it is their number. All norms are Euclidean, in f64, right at every exponent of f32 and f64.
 * It is long because it is all that the instrument shows. */
#ifndef WEIR_FLOW_H
#define WEIR_FLOW_H

#include <weir/engine.h>
#include <weir/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_flow weir_flow;

/* Every threshold is a ratio, with its reason in flow/rules.def; weir_flow_options_init() fills in the defaults. */
typedef struct weir_flow_options {
	int depth; /* path components that name a layer, and nothing is joined; 0: up to the first number ("mlp.3"), else two */
	bool input_gradient; /* also measure dL/dx at the first layer's input, which its gain needs */
	int64_t first_step;  /* number of the first step that it will see; default 0 */

	/* How much is measured. Norms of all gradients: on every step. All else: on the first step, on every `every`th, on request
	 * (weir_flow_request), and where a gradient becomes non-finite, zero or tiny. */
	int64_t every; /* default 16; 1: every step */
	/* Share of a step's time that measuring may cost: whole measurements move apart until it holds. Norms are not given up: where steps are so
	 * short (below some 0.2 ms) that these alone cost more, whole measurements get a quarter of the budget. Default 0.01; 0: no limit. */
	double budget;
	int stretch; /* power iterations for each layer's stretching factor in a whole measurement; default 0: none */
	int64_t window; /* steps that a spike is judged against; default 64 */
	int64_t epoch; /* steps of an epoch, over which dead units are counted; default 0: weir_flow_epoch() ends one */
	int64_t classes; /* of a cross-entropy loss, whose guess is ln(classes); default 0: not one */

	/* Thresholds of the verdict. */
	double vanishing; /* gain, in all or between any two nodes that all of the gradient passes, below which it vanishes; default 0.01 */
	double exploding;  /* above which it explodes; default 100 */
	double dead_share; /* share of zeros in an activation's output from which it is dead; default 0.999 */
	double dead_units; /* share of a layer's units that pass nothing for a whole epoch; default 0.9 */
	double saturated_slope; /* rms f' below this share of the most that the activation can have is saturation; default 0.03 */
	double saturated_share; /* share of outputs with f' below 1 % of its most, from which a layer is saturated; default 0.8 */
	double shut_rows; /* share of a layer's rows of softmax that pass nothing back, from which it is saturated; default 0.8 */
	double spike; /* deviations (1.4826 MAD of the log norm) from the median that make a spike; default 10 */

	/* What the loss itself tells (weir_loss_sign). */
	double loss_smoothing; /* weight of a step in the loss's running mean; default 0.05 */
	double guess_share; /* distance from ln(classes), of this, up to which the running mean is a guess's; default 0.02 */
	double guess_steps; /* steps for which it is, from which it is guessing; default 200 */
	double jump_best;   /* times the best running mean so far, above which a loss has jumped; default 3 */
	double jump_first;  /* times the first loss, above which it must be, too; default 2 */
	double jumps;       /* from which it is jumping; default 5 */
	double calm_steps;  /* without a jump, after which those before are forgotten; default 200 */

	/* Thresholds of the cause and of the range of layers to blame. */
	double flat_slope; /* largest f' seen below which the activation is the cause; default 0.5 */
	double flat_derivative; /* share of the most that f' can be, below which an output counts as saturated; default 0.01 */
	double flat_softmax; /* slope of a row of softmax, of that of an even one, below which it passes nothing back; default 1e-6 */
	double fair_share; /* of a stretch's average slope that a layer at its end must make to belong to it; default 0.5 */
	double main_share;  /* of the whole slope that a part must make to be blamed alone; default 0.7 */
	double fair_gain;   /* gain per layer, or one over it, up to which depth is the cause; default 1.1 */
	double large_input; /* root mean square of the input from which the data's scale is the cause; default 10 */

	/* ‖last update‖ / ‖W‖ of a parameter, asked in whole measurements: of a weight for each layer that it is in, of every
	 * parameter for update_norm, from which those without a finite one are left out; NULL: not reported. */
	double (*update_ratio)(const weir_tensor *param, void *user);
	/* Called at the end of each step that ends in a verdict other than healthy; true asks for the end of training: weir_flow_step()
	 * returns false from then on, weir_flow_stopped() true. NULL: never. */
	bool (*stop)(const weir_flow *f, void *user);
	void *user; /* of both */
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
	double delta_norm; /* ‖dL/d output‖; over several backwards the root of the sum of squares */
	double gain; /* ‖dL/d input‖ / ‖dL/d output‖: what the layer multiplies the gradient by on its way back */
	double weight_norm;     /* ‖W‖, Frobenius, over its parameters of rank 2 and more */
	double act_slope;       /* root mean square of f'(z) over the layer's last activation */
	double act_slope_max;   /* largest |f'(z)| */
	double act_slope_limit; /* the largest that this activation can have; NaN where not known */
	double saturated;       /* share of its outputs with |f'(z)| below 1 % of that limit */
	/* Of softmaxes inside of the layer, as attention's: rows (of each softmax at most 256, from everywhere) with two entries and more that no mask leaves out; the mean of their slopes
	 * Σ p (1 - p) / (1 - 1/n), the trace of the Jacobian beside that of an even row of as many entries: 1 for this, 0 where all is in one
	 * place; and the share of rows with a slope below options.flat_softmax. Logits that are given by their log_softmax count where e to the
	 * power of it is taken. A softmax that ends in the loss does not. */
	int64_t softmax_rows;
	double softmax_slope, softmax_shut;
	double theory_gain; /* of mean-field theory for the activation, the weights' actual variance and the layer's input: √chi1 */
	/* Interval of sigma_max of the layer's Jacobian: from power iteration, from √(‖J‖₁ ‖J‖∞) (NaN above 256 rows). Once the optimiser has
	 * changed the weights, they are of the new ones, and known for layers act(x Wᵀ + b) only. */
	double stretch_low, stretch_high;
	double alignment; /* gain / stretch_low: how much of the most that the layer can do it does to this gradient */
	int64_t units,
		dead_units; /* units of its last activation, and those that passed nothing in the last epoch; -1: not known */
	double delta_median,
		delta_spread;   /* median and 1.4826 MAD of log₂ ‖delta‖ over the window, finite values only */
	int64_t spikes;         /* steps so far whose ‖delta‖ was a spike */
	bool spike;             /* this step's is */
	double param_grad_norm; /* ‖dL/d parameters‖ as accumulated, before any clipping; NaN for calls of a module that is called several times: the
				 * sum over them is weir_flow_whole's */
	double update_ratio;    /* largest of its parameters' */
	double out_zeros;       /* share of exact zeros in the output */
	double zeros;           /* share of exact zeros in the gradient at the output */
	int64_t subnormals, nonfinite;         /* counts in the gradient at the output */
	int64_t out_subnormals, out_nonfinite; /* counts in the output */
} weir_flow_layer;

/* The first operation that made something: an inf, a NaN, a subnormal, nothing but zeros. An operation whose operands had it already is
 * no maker but passes it on. In the backward pass it is the operation whose gradient rule made it. Strings live as long as the flow. */
typedef struct weir_flow_birth {
	bool found;
	bool backward;     /* made by the operation's gradient rule instead of its result */
	const char *layer; /* module path of the operation, else its layer's, else its name */
	const char *op;   /* backward, where it was the sum of the gradients from several readers that made it: "add" */
	const char *here; /* source line, or "" */
	int64_t index;    /* on the tape */
	int64_t number;   /* of its layer in the report, from 1; 0: in none */
	int64_t depth; /* layers passed until then, its own included: from the inputs forward, from the outputs backward; 0: in none */
	int64_t step;
	const char *shape; /* of the tensor that it was born in, "[64, 128] f32" */
	int64_t element; /* the first one that has it, row-major; -1 where the value is gone, or only a flag tells of it */
	double value;    /* that element: inf, NaN, the subnormal, 0; NaN where the element is -1 */
	/* What it was made from, one line: element by element where that is possible ("a[0, 5] = 3e+38, b[0, 5] = 10"), else by
	 * largest magnitudes ("x [64, 2] largest 3e+38, fc.weight [2, 2] largest 10"); backward with "gradient", the one that came in. */
	const char *operands;
	/* The way from there to the loss, or to the first parameter that it spoils, the maker first: "mlp.3 linear", "mlp.3 relu", ...
	 * "loss". Of a long one the first 8 and the last 8, and between them "... 123 more". Empty where it gets to neither. */
	int64_t path_length;
	const char *const *path;
	/* Operations beside the maker that have it, too: that pass it on, as a value or as a gradient. */
	int64_t propagators;
} weir_flow_birth;

/* Layers until numbers of a type leave its range, at the measured slope from the measured gradient at the input; INFINITY where it never
 * does, 0 where it has. Of the root mean square element of the gradient. */
typedef struct weir_flow_budget {
	double subnormal; /* becomes subnormal */
	double zero;      /* becomes 0 */
	double overflow;
} weir_flow_budget;

/* What the loss itself tells while training. */
typedef enum weir_loss_sign {
	WEIR_LOSS_PLAIN,    /* nothing */
	WEIR_LOSS_GUESSING, /* flat at ln(classes): a sign of vanishing gradients */
	WEIR_LOSS_JUMPING,  /* far above what was reached already, again and again: exploding */
	WEIR_LOSS_NONFINITE
} weir_loss_sign;

/* A module that was called several times in the step, as a cell is for each time step: all of its calls together. */
typedef struct weir_flow_whole {
	const char *name;
	int64_t calls;
	int64_t first_layer, last_layer; /* its first and last call, as indices of layers */
	double gain; /* ‖dL/d input of the first call‖ / ‖dL/d output of the last‖; NaN where calls stand side by side */
	double gain_per_call; /* its calls-th root */
	double param_grad_norm, weight_norm;
} weir_flow_whole;

/* Of per-sample gradients; see weir_flow_noise_of(). */
typedef struct weir_flow_noise {
	int64_t samples;
	double grad_norm;   /* ‖mean gradient‖ */
	double mean_square; /* mean of ‖g_i‖² */
	double variance;    /* trace of the samples' covariance, unbiased */
	double noise_scale; /* variance / unbiased ‖mean gradient‖²: the batch size where noise and signal balance; McCandlish et al. 2018 */
	double norm_min, norm_median, norm_max; /* of ‖g_i‖ */
} weir_flow_noise;

/* Of the Hessian; see weir_flow_curvature_of(). */
typedef struct weir_flow_curvature {
	double top;      /* eigenvalue of largest magnitude, signed */
	double residual; /* ‖Hv - top v‖ / |top| */
	int iterations;
	double trace, trace_error; /* estimate and its standard error */
} weir_flow_curvature;

typedef struct weir_flow_summary {
	int64_t step;
	int64_t measured; /* the last step that was measured as a whole; layers and verdict are of it, norms and gains of `step` */
	double loss; /* over several backwards, their sum */
	bool subnormals_ieee;
	int64_t parameters;      /* numbers in all parameters on the tape */
	double input_delta_norm; /* ‖dL/dx‖ at the first layer's input */
	double gain_per_layer; /* from the least squares of log₂ ‖delta‖ over the depth; NaN for fewer than two layers */
	double bits_per_layer; /* its log₂ */
	double r2;
	double total_gain;             /* ‖dL/dx‖ / ‖delta at the last layer's output‖ */
	int64_t nonfinite, subnormals; /* over all layers' gradients */
	/* Mean-field theory for the most frequent activation and the median of the weights' variances: fixed point of the mean square of
	 * z, slope of the gradient's mean square per layer, and the depth scale -1 / ln chi1 (layers); see weir_flow_theory(). */
	double q_star, chi1, xi;
	/* Along the way of total_gain: log₂ of the actual gain, of the bound ∏ sigma_max (from below), and their difference. */
	double actual_bits, bound_bits, slack_bits;
	weir_flow_budget f32, bf16, f16;
	weir_loss_sign loss_sign;
	int64_t loss_sign_steps;                         /* that it has held for */
	double param_norm, param_grad_norm, update_norm; /* over all parameters; the last from update_ratio, else NaN */
	bool grad_spike,
		loss_spike; /* this step's norm of all parameter gradients; its loss, which is one upwards only */
	int64_t grad_spikes, loss_spikes;
	/* As told by weir_flow_validation(); NaN before. */
	double train_loss, validation_loss, penalty;
	/* As told by weir_flow_tell(); their numbers are NaN before. */
	weir_flow_noise noise;
	weir_flow_curvature curvature;
	double own_share; /* measuring's share of the time between the ends of steps; NaN before the third step */
	weir_verdict verdict;
	/* "activation", "initial weights", "depth", "learning rate", "data scale", "scale of the logits", or NULL. */
	const char *cause;
	int64_t first_layer, last_layer; /* the range the verdict speaks of, as indices of layers */
	char evidence[256];              /* one line: what the verdict rests on */
	/* Over all steps so far. Only an inf or NaN that reaches the loss or a parameter's gradient counts: a masked one does no harm. */
	weir_flow_birth first_inf, first_nan;
	/* The first overflow or division by zero of a forward pass whose inf is gone again before the loss, which is finite but hangs on
	 * it: 1 / (1 + x²) where x² is inf. Not one that where() leaves out. It does not change the verdict. */
	weir_flow_birth first_overflow;
	/* The same for underflow, inside of layers: the first subnormal number, and the first tensor of nothing but zeros;
	 * [0] forward, [1] backward. Where a gradient becomes subnormal in a step that was not to be measured, the next one is, and tells. */
	weir_flow_birth first_subnormal[2], first_zero[2];
} weir_flow_summary;

typedef enum weir_flow_form {
	WEIR_FLOW_TABLE,
	WEIR_FLOW_JSON,
	WEIR_FLOW_HTML /* one page that needs nothing else */
} weir_flow_form;

WEIR_API void weir_flow_options_init(weir_flow_options *o);
/* Begins to watch; o may be NULL. Owned by the context. Observing changes no bit of any result. NULL after an error: ARGUMENT where every or
 * window is below 1, a threshold not above 0, vanishing not below exploding, or another number negative. */
WEIR_API weir_flow *weir_flow_watch(weir_ctx *w, const weir_flow_options *o);
WEIR_API void weir_flow_stop(weir_flow *f); /* before weir_close */
/* Ends a step: call after weir_backward(loss) (and the optimiser's step, if there is one), before the tape is reset. Returns whether to go
 * on: false after an error, or after options.stop asked for the end. All backwards since the last call are of this step, as those of
 * micro-batches whose gradients add up: norms are then root sums of squares, those of parameters the accumulated gradient's, the loss is their sum.
 * Errors: STALE where the loss is not on the present tape, SHAPE where it is not one number. */
WEIR_API bool weir_flow_step(weir_flow *f, weir_tensor *loss);
WEIR_API bool weir_flow_stopped(const weir_flow *f);
/* The next step is measured as a whole. Call it before its forward pass. */
WEIR_API void weir_flow_request(weir_flow *f);
/* options.stretch from now on: for a measurement that is asked for, and not in those of training. */
WEIR_API void weir_flow_set_stretch(weir_flow *f, int iterations);
/* Ends an epoch: its census of units becomes the layers' dead_units. */
WEIR_API void weir_flow_epoch(weir_flow *f);
/* Losses over whole sets, without the L2 term, and this term, for the report; NaN where unknown. */
WEIR_API void weir_flow_validation(weir_flow *f, double train_loss, double validation_loss, double penalty);
/* The last step's numbers. */
WEIR_API int64_t weir_flow_layer_count(const weir_flow *f);
WEIR_API const weir_flow_layer *weir_flow_layer_at(const weir_flow *f, int64_t i); /* until the next step */
WEIR_API const weir_flow_summary *weir_flow_summary_of(const weir_flow *f);
WEIR_API weir_verdict weir_flow_verdict(const weir_flow *f);
WEIR_API const char *weir_verdict_name(weir_verdict v);     /* "vanishing"; static */
WEIR_API const char *weir_loss_sign_name(weir_loss_sign s); /* "guessing"; static */
WEIR_API int64_t weir_flow_whole_count(const weir_flow *f); /* modules called several times in the measured step */
WEIR_API const weir_flow_whole *weir_flow_whole_at(const weir_flow *f, int64_t i);
/* One unit (last axis) of a layer's last activation. died: the step from which it passed nothing; revived: the step at which it passed
 * something again after having been dead; -1: never. False where the layer has no such unit. To hold options.budget, units that are idle in the
 * first steps of an epoch are looked at in some of the others only; a budget of 0 looks at all. */
typedef struct weir_flow_unit {
	bool dead;
	int64_t died, revived;
} weir_flow_unit;
WEIR_API bool weir_flow_unit_of(const weir_flow *f, int64_t layer, int64_t unit, weir_flow_unit *out);
/* Writes the last step's report: a table for people, or one JSON object of schema weir.flow/1 (docs in flow/report_json.c). model, the
 * network in words, begins it; NULL: the number of layers and parameters does. Returns false after an error: IO. */
WEIR_API bool weir_flow_report(const weir_flow *f, FILE *file, weir_flow_form form, const char *model);

/* The numbers of one tape node at the last step; false where it has none. */
typedef struct weir_flow_node {
	double out_norm, delta_norm; /* Euclidean; NaN where not measured */
	weir_stats out, delta;
} weir_flow_node;
WEIR_API bool weir_flow_node_of(const weir_flow *f, int64_t tape_index, weir_flow_node *out);

/* ---- theory -------------------------------------------------------------------------------------------------- */

/* Mean-field theory of wide random networks (Poole et al. 2016, Schoenholz et al. 2017). Weights of variance sigma_w² / fan_in, biases of
 * variance sigma_b². q ← sigma_w² E f(√q Z)² + sigma_b², Z standard normal; chi1 = sigma_w² E f'(√q* Z)²: what a layer multiplies the
 * mean square of the gradient by; 1 is critical. xi = -1 / ln chi1. */
typedef struct weir_flow_field {
	double q_star; /* the fixed point reached from q = 1; INFINITY where q grows without bound; where every q is one (ReLU at 2), 1 */
	double chi1, xi;
	bool converged;
} weir_flow_field;
WEIR_API weir_flow_field weir_flow_theory(weir_act act, double sigma_w2, double sigma_b2);
/* E f(√q Z)² and E f'(√q Z)². */
WEIR_API void weir_flow_moments(weir_act act, double q, double *value2, double *slope2);
/* The sigma_w² at which chi1 is 1, for this sigma_b². Sigmoid's is above 100. NaN where there is none: gelu's and silu's chi1 jumps over 1,
 * when q leaves for infinity, where biases are small. */
WEIR_API double weir_flow_critical(weir_act act, double sigma_b2);

/* ---- on request: Jacobians, noise, curvature ------------------------------------------------------------------- */

/* Interval of the largest singular value of the Jacobian dy/dx on the present tape, for any operations between x and y. From below: power
 * iteration on vjp and jvp, at most `iterations`, until one changes it by less than this share. From above: √(‖J‖₁ ‖J‖∞) of the
 * explicit Jacobian, NaN where it has more than `most` rows to form; where leading axes, as that of a batch, are found to be independent of
 * each other, these are the rows of one place there. Both NaN where the Jacobian is not finite. v: a warm start of weir_numel(x) numbers, read and left there; may be
 * NULL. Calls no hooks, leaves the tape as it was. Returns weir_ok(). */
typedef struct weir_flow_interval {
	double low, high;
	int iterations;
} weir_flow_interval;
WEIR_API bool weir_flow_stretch(weir_tensor *x, weir_tensor *y, int iterations, double tolerance, int64_t most,
				double *v, weir_flow_interval *out);

/* Per-sample gradients. loss(w, x, y, user) builds the mean loss of a batch; the first axis of x and y counts samples. n_params
 * parameters. Runs one forward and backward per sample on w's tape, from a mark, and rewinds; calls no hooks; accumulators
 * stay as they are. */
typedef weir_tensor *weir_flow_loss(weir_ctx *w, weir_tensor *x, weir_tensor *y, void *user);
/* norms: room for one number per sample, ‖g_i‖, or NULL. Returns weir_ok(). */
WEIR_API bool weir_flow_noise_of(weir_ctx *w, weir_tensor *x, weir_tensor *y, weir_flow_loss *loss, void *user,
				 weir_tensor *const *params, int64_t n_params, double *norms, weir_flow_noise *out);

/* The Hessian of loss (one element, on the present tape) with respect to n_params parameters: the eigenvalue of largest magnitude by power
 * iteration, the trace by Hutchinson's estimator with `probes` random signs, both by Hessian-vector products. */
WEIR_API bool weir_flow_curvature_of(weir_tensor *loss, weir_tensor *const *params, int64_t n_params, int iterations,
				     double tolerance, int probes, weir_flow_curvature *out);

/* Puts what was measured on request into the summary and so into reports, until it is told again. Either may be NULL. */
WEIR_API void weir_flow_tell(weir_flow *f, const weir_flow_noise *noise, const weir_flow_curvature *curvature);

/* ---- what-if --------------------------------------------------------------------------------------------------- */

/* The list of repairs, written once: name, text.
 *
 *   initialisation  draws every parameter anew that a layer multiplies its input by, from options.seed: He et al. 2015, normal; Glorot and
 *                   Bengio 2010, uniform; orthogonal, Saxe et al. 2013; LSUV, Mishkin and Matas 2016: orthogonal, then scaled so that the
 *                   product has variance 1 on this batch. Biases become 0. Looked-up rows (embeddings) and frozen parameters stay.
 *   activation      in place of the last one of every hidden layer, one that feeds another layer
 *   normalisation   (z - mean) / sqrt(variance + 1e-5) over the last axis, in front of that activation; without one, behind the layer
 *   residual        adds a hidden layer's input to its output where shapes are equal and it is not added already; the plain sum, or the
 *                   output over the root of the number of layers
 *   CLIP L2 LOWER_LR   another training step; tried only where options.steps asks for steps */
#define WEIR_REPAIRS(X)                            \
	X(NONE, "as it is")                        \
	X(HE, "He initialisation")                 \
	X(GLOROT, "Glorot initialisation")         \
	X(ORTHOGONAL, "orthogonal initialisation") \
	X(LSUV, "LSUV initialisation")             \
	X(RELU, "ReLU")                            \
	X(TANH, "tanh")                            \
	X(GELU, "GELU")                            \
	X(RELU_HE, "ReLU + He initialisation")     \
	X(LAYER_NORM, "layer normalisation")       \
	X(RESIDUAL, "residual")                    \
	X(RESIDUAL_SCALED, "residual, 1/sqrt(L)")  \
	X(CLIP, "clipping")                        \
	X(L2, "L2 penalty")                        \
	X(LOWER_LR, "learning rate / 10")          \
	X(CUSTOM, "the caller's own")

typedef enum weir_repair {
#define WEIR_REPAIR_ENUM_(name, text) WEIR_REPAIR_##name,
	WEIR_REPAIRS(WEIR_REPAIR_ENUM_)
#undef WEIR_REPAIR_ENUM_
		WEIR_REPAIR_COUNT
} weir_repair;
WEIR_API const char *weir_repair_name(weir_repair r); /* "ReLU + He initialisation"; static */

/* Builds a candidate of the caller's own in context w, on copies of what he needs, and returns its loss. Called once. */
typedef weir_tensor *weir_flow_model(weir_ctx *w, void *user);

typedef struct weir_flow_whatif_options {
	uint32_t
		repairs; /* bit 1 << weir_repair for each to try; default all but CUSTOM, which needs model; any other bit is an error */
	int64_t steps; /* training steps on the same batch, with plain gradient descent; default 0: one forward and backward */
	double lr;              /* of these steps; default 0.01 */
	double clip;            /* norm that CLIP clips to; default 1 */
	double l2;              /* lambda that L2 adds for parameters of rank 2 and more; default 1e-3 */
	uint64_t seed;          /* of fresh weights */
	weir_flow_model *model; /* tried as CUSTOM, whether or not repairs names it; NULL: none */
	const char *model_name; /* its name in the report; copied; NULL: "the caller's own" */
	void *user;
} weir_flow_whatif_options;

/* What one repair did. NaN where it was not measured: where it found nothing to change, nothing was; CLIP, L2 and LOWER_LR don't change
 * the slope of one pass, and are judged over steps only. */
typedef struct weir_flow_trial {
	weir_repair repair;
	const char *name;
	bool changed; /* it found something to change in this network */
	bool ok;      /* nothing failed; false: error says what did */
	double total_gain, gain_per_layer;
	weir_verdict verdict;    /* WEIR_FLOW_NONE where not measured */
	double loss;             /* of the first pass */
	double loss_after;       /* after the steps, without the L2 term; NaN where they broke off */
	double update_norm;      /* mean ‖update‖ over the steps that were made */
	int64_t nonfinite_steps; /* steps that were not made because a loss or gradient was not finite, which ends them */
	double operations; /* arithmetic ones of a forward pass, of which backward has about twice as many: for each product of matrices
				  * two per pair of numbers, for all else one per element. No clock: the same on every machine, however busy */
	double cost; /* that, over that of the network as it is */
	char error[160];
} weir_flow_trial;

WEIR_API void weir_flow_whatif_options_init(weir_flow_whatif_options *o);
/* Tries repairs on copies of the recorded loss, in contexts of their own: weights, gradients, optimiser, tape and random streams of the user
 * stay as they are. Call it when loss was computed, best after weir_flow_step(f, loss), before the tape is reset. o may be NULL. The
 * first trial is the network as it is; then come those that mend its verdict, then the others, both by the distance of the gain per layer
 * from 1, or with steps by the loss after them; at the end those that changed nothing, or failed. Memory: two copies of the
 * parameters and the tape; with steps a third of the tape. Returns false after an error that lets no trial run. */
WEIR_API bool weir_flow_whatif(weir_flow *f, weir_tensor *loss, const weir_flow_whatif_options *o);
WEIR_API int64_t weir_flow_trial_count(const weir_flow *f); /* of the last weir_flow_whatif(); 0 before */
WEIR_API const weir_flow_trial *weir_flow_trial_at(const weir_flow *f, int64_t i);
/* What they say, in one line: "ReLU + He initialisation (total 9.4e-01, 0.993 per layer)"; "" before. */
WEIR_API const char *weir_flow_advice(const weir_flow *f);

/* ---- recorders -------------------------------------------------------------------------------------------------- */

/* What is written at the end of every step. Non-finite numbers are null, or left out and counted, where a format has none. */
typedef enum weir_flow_recorder {
	WEIR_FLOW_JSON_LINES, /* path: a file; one JSON object per line (docs in flow/record_jsonl.c) */
	WEIR_FLOW_TENSORBOARD, /* path: a folder; an event file of scalars, and of log₂ magnitude histograms on whole measurements */
	WEIR_FLOW_RING /* path: a file in shared memory with the last 1,000 steps, readable after a kill -9 */
} weir_flow_recorder;
/* Any number; until weir_flow_stop(). Returns false after an error: IO. */
WEIR_API bool weir_flow_record(weir_flow *f, weir_flow_recorder kind, const char *path);
/* Writes what a ring file holds, oldest step first, as a table or as JSON lines. w carries the errors: IO, FORMAT. */
WEIR_API bool weir_flow_read_ring(weir_ctx *w, const char *path, FILE *file, bool json);

/* ---- pictures --------------------------------------------------------------------------------------------------- */

typedef struct weir_dot_options {
	const weir_flow *flow; /* its numbers; NULL: those of the last backward, as far as a hook had them measured */
	int64_t fold; /* from so many alike blocks in a row on, only the first and the last are drawn, and ×N between; 0: all; default 24 */
} weir_dot_options;
WEIR_API void weir_dot_options_init(weir_dot_options *o);
/* Writes the present tape as a DOT graph: one cluster per module path, each node with operation, name, shape and ‖g‖; filled by log₂ gain
 * from blue (shrinks) over white to red (grows), pen width by log ‖delta‖, the way of a NaN in red. o may be NULL. Written safely: a
 * temporary file first, then renamed. Returns weir_ok(). */
WEIR_API bool weir_dot_write_with(weir_ctx *w, const weir_dot_options *o, const char *path);
/* The same to a stream. */
WEIR_API bool weir_dot_print_with(weir_ctx *w, const weir_dot_options *o, FILE *file);
/* With a flow (may be NULL) and all else as by default. */
WEIR_API bool weir_dot_write_flow(weir_ctx *w, const weir_flow *f, const char *path);
WEIR_API bool weir_dot_print(weir_ctx *w, const weir_flow *f, FILE *file);
WEIR_API bool weir_dot_write(weir_ctx *w, const char *path);

#ifdef __cplusplus
}
#endif

#endif
