/* faults.h: a benchmark of networks whose fault was planted, or that have none, so that the answer is known from theory or by construction.
 *
 *   networks.c  the list: what each network is, what must be said of it, and why
 *   build.c     makes one of them
 *   run.c       trains it, plants its fault, runs the step to judge
 *   rivals.c    the rules of other tools, as published
 *   main.c      runs all, with the loss in three units, and scores */
#ifndef WEIR_BENCH_FAULTS_H
#define WEIR_BENCH_FAULTS_H

#include <weir/weir.h>

typedef enum family {
	PLAIN,         /* linear, activation, one after the other */
	NORMED,        /* linear, layer norm, activation */
	RESIDUAL,      /* skip · x + branch · act(linear(x)) */
	PRE_NORM,      /* x + act(linear(norm(x))) */
	HIGHWAY,       /* (1 - g) x + g act(linear(x)), g = sigmoid(linear(x) + gate) */
	RECURRENT,     /* h = act(U h + V x_t + b) over `depth` steps, loss behind the last */
	LSTM,          /* over `depth` steps, the forget gate's bias is `gate` */
	ATTENTION,     /* softmax(q kᵀ / √C) v, without a way around */
	HAND_RESIDUAL, /* skip · x + branch · W2 act(W1 x), of parameters and operations alone: no module, no scope */
	HAND_ATTENTION, /* x + branch · attention(x), likewise */
	TRANSFORMER,    /* embedding, then x + attention(norm(x)), x + mlp(norm(x)) */
	FAMILIES
} family;

typedef enum fault {
	NO_FAULT,
	SCALED,      /* weights of layer `at` times `by` */
	COMPENSATED, /* and those of the next one divided by it */
	ALL_HIDDEN,  /* weights of all layers but the last times `by` */
	BIASED,      /* biases of layer `at` are `by` */
	BAD_WEIGHT,  /* one weight of layer `at` is `by` */
	BAD_INPUT,   /* one number of the input is `by` */
	LOG_OF_RELU, /* behind layer `at`: ln of its output, which has zeros */
	EXP,         /* e to the `by` times its output */
	ROOT,        /* every other unit times 0, all to the power ½: finite values whose derivatives are not */
	MASKED_ROOT, /* its output to the power ½: an infinite derivative where ReLU, which selects, lets nothing back */
	OVER_NORM,   /* its output times 0, divided by its norm */
	MASKED_LOG,  /* where(z > 0, a + 0 ln z, a): a NaN that where() leaves out */
	UNUSED_NAN,  /* ln of a negative number beside the network that the loss does not read */
	LOG_OF_LOSS, /* ln of a loss that is 0 */
	ROUND_F16,   /* the gradients that flow are rounded to f16, as if they were kept in it */
	ROUND_BF16
} fault;

typedef enum loss_kind { CROSS_ENTROPY, MSE, SUM, AUTOENCODER, SIGMOID_CE, LOG_SOFTMAX, TWO_HEADS } loss_kind;

typedef enum where {
	NOWHERE,   /* healthy */
	MOST,      /* at least three quarters of the layers */
	EXACTLY,   /* this one layer */
	AT_INPUT,  /* born in the data */
	AT_LOSS,   /* born behind the layers */
	LAST_BITS, /* where a gradient that shrinks or grows by `scale` per layer leaves the range of the type */
} where;

/* 0 stands for the default that is named. */
typedef struct network {
	family family;
	int depth, width;
	int waist; /* width in the middle; 0: as `width` */
	weir_act act;
	weir_init_kind init;
	double scale; /* of the initialisation; 1 */
	double skip, branch, gate;
	int heads;   /* of attention; 1 */
	bool causal; /* of attention: a token looks at itself and at those before it */
	weir_dtype dtype;
	int batch;     /* 16 */
	double input;  /* root mean square of the data; 1 */
	bool positive; /* data without a sign, as pixels are */
	loss_kind loss;
	int steps; /* of Adam before it is judged */
	double lr; /* 1e-2 */
	fault fault;
	int at;
	double by;
	uint64_t seed;
	weir_verdict want;
	where where;
	int layer;
	const char *why;
} network;

extern const network networks[];
extern const int network_count;
extern uint64_t faults_seed;    /* on top of each network's own */
extern bool faults_free_values; /* run with weir_options.free_values */

/* A network that was run: everything that any tool may look at. */
typedef struct run {
	weir_ctx *w;
	weir_module *net;
	weir_flow *flow;
	weir_tensor *loss, *x, *y;
	const network *n;
	double node_norm[8192]; /* of each node's gradient, NaN where it has none */
	int64_t nodes;
} run;

enum { CLASSES = 10, TOKENS = 8, WORDS = 20 };

/* build.c */
double or_else(double x, double otherwise); /* otherwise where x is 0 */
int batch_of(const network *n);
bool is_by_hand(const network *n);
void make_network(run *r);
weir_tensor *run_layer(const run *r, int i, weir_tensor *x);
weir_tensor *recur(const run *r); /* all steps and the head */
void set_fault(const run *r, int layer, fault kind);

/* Makes it, trains it, plants the fault, and runs the step to judge with the loss in other units. Ends the program after an error. */
void run_network(run *r, const network *n, double loss_scale);
void run_close(run *r);
/* The number of module "net.K" that a path belongs to, or -1. */
int module_number(const char *path);
const char *network_text(const network *n);
/* The layer whose gradient rule leaves nothing, or inf, by exact arithmetic. */
int layer_of_last_bits(const network *n, double loss_scale);
double round_to(double x, fault type);

/* What a tool says: which kinds of fault, at which layers (numbers K). */
typedef struct opinion {
	bool says[WEIR_FLOW_NONFINITE + 1];
	int first[WEIR_FLOW_NONFINITE + 1], last[WEIR_FLOW_NONFINITE + 1]; /* -1: it does not say where */
} opinion;

enum { SAGEMAKER, AUTOTRAINER, DEEPDIAGNOSIS, TORCHLENS, RIVALS };
extern const char *const rival_names[RIVALS];
void ask_rival(int rival, run *r, opinion *o);

#endif
