/* tool.h: what the files of the command `weir` share. */
#ifndef WEIR_TOOLS_TOOL_H
#define WEIR_TOOLS_TOOL_H

#include <weir/weir.h>

enum { EXIT_USAGE = 2, EXIT_FAILED = 1, MAX_WIDTHS = 64, MAX_LAYERS = 20000 };

typedef enum tool_init { INIT_GLOROT, INIT_HE, INIT_ORTHOGONAL, INIT_DIAGONAL } tool_init;
typedef enum tool_norm { NORM_NONE, NORM_LAYER } tool_norm;
typedef enum tool_residual { RESIDUAL_NONE, RESIDUAL_PLAIN, RESIDUAL_SCALED } tool_residual;
typedef enum tool_loss { LOSS_DEFAULT, LOSS_CE, LOSS_MSE, LOSS_SUM } tool_loss;
typedef enum tool_opt { OPT_SGD, OPT_ADAM, OPT_ADAMW } tool_opt;
typedef enum tool_data { DATA_DEFAULT, DATA_DIGITS, DATA_RANDOM, DATA_ONES, DATA_FILE } tool_data;

/* All options of all commands. */
typedef struct options {
	const char *command;
	const char *model;       /* "mlp:64-32x20-10" */
	int64_t *width;          /* of every layer's input, then the output's: layers + 1 numbers */
	int64_t layers;
	weir_act act;
	tool_init init;
	double diagonal;
	tool_norm norm;
	tool_residual residual;
	tool_loss loss;
	double l2, weight_decay, clip, lr, momentum;
	tool_opt opt;
	int64_t batch;           /* 0: all */
	int64_t steps;
	uint64_t seed;
	weir_dtype dtype;
	int threads;
	bool ieee;
	tool_data data;
	const char *file;        /* of DATA_FILE */
	const char *out;         /* -o */
	bool json;
} options;

/* False after one line on standard error. */
bool options_parse(options *o, int argc, char **argv);
void options_free(options *o);
void options_help(FILE *file, const char *command);
/* One line on standard error: "weir: message", naming the nearest of choices (n of them) where one is near. */
void complain(const char *what, const char *word, const char *const *choices, int n);

/* Context, data, network and optimiser that the options describe. */
typedef struct setup {
	const options *o;
	weir_ctx *w;
	weir_dataset *all, *train, *validation;
	weir_module *net;
	weir_optim *optim;
	int64_t batch;
	char text[512];          /* what every report begins with */
} setup;

bool setup_make(setup *s, const options *o);
void setup_free(setup *s);
/* Loss of the network on x, y; logits, if not NULL, gets the output. */
weir_tensor *setup_loss(const setup *s, weir_tensor *x, weir_tensor *y, weir_tensor **logits);
/* Mean loss, and accuracy (NaN for regression), over a whole set, without gradients. */
bool setup_evaluate(const setup *s, weir_dataset *set, double *loss, double *accuracy);
/* One forward and backward on the next batch of the training data, watched by f if not NULL; update: with an optimiser step. */
bool setup_step(setup *s, weir_flow *f, bool update, double *loss, double *accuracy, double *grad_norm);
weir_flow *setup_watch(setup *s);

int command_flow(const options *o);
int command_train(const options *o);
int command_graph(const options *o);
int command_info(const options *o);
int command_demo(const options *o);

/* Set by SIGINT and SIGTERM: end the step, then the command. */
extern volatile int stop_signal;
void catch_signals(void);
double seconds(void);

#endif
