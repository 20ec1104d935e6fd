/* tool.h: what the files of the command `weir` share.
 *
 *   main.c     the commands        flow.c train.c graph.c info.c demo.c   one each
 *   options.c  the command line    words.c  the nearest right word        model.c  mlp:64-32x20-10
 *   setup.c    from options to context, data, network, optimiser         data.c   the data sets
 *
 * Data goes to standard output, talk to standard error; a wrong call is one line and exit 2, a failure one line and exit 1,
 * a verdict that was to be feared exit 3. */
#ifndef WEIR_TOOLS_TOOL_H
#define WEIR_TOOLS_TOOL_H

#include <weir/weir.h>

#include <signal.h>
#include <stdio.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_VERDICT = 3, MAX_LAYERS = 20000, MAX_RECORDS = 8 };

typedef enum tool_command {
	COMMAND_FLOW = 1,
	COMMAND_TRAIN = 2,
	COMMAND_GRAPH = 4,
	COMMAND_INFO = 8,
	COMMAND_DEMO = 16
} tool_command;
typedef enum tool_init { INIT_GLOROT, INIT_HE, INIT_ORTHOGONAL, INIT_DIAGONAL } tool_init;
typedef enum tool_norm { NORM_NONE, NORM_LAYER } tool_norm;
typedef enum tool_residual { RESIDUAL_NONE, RESIDUAL_PLAIN, RESIDUAL_SCALED } tool_residual;
typedef enum tool_loss { LOSS_DEFAULT, LOSS_CE, LOSS_MSE, LOSS_SUM } tool_loss;
typedef enum tool_opt { OPT_SGD, OPT_ADAM, OPT_ADAMW } tool_opt;
typedef enum tool_data { DATA_DEFAULT, DATA_DIGITS, DATA_RANDOM, DATA_ONES, DATA_FILE } tool_data;

/* All options of all commands. */
typedef struct options {
	tool_command command;
	const char *model; /* "mlp:64-32x20-10" */
	int64_t *width;    /* of every layer's input, then the output's: layers + 1 numbers */
	int64_t layers;
	weir_act act;
	tool_init init;
	double diagonal;
	tool_norm norm;
	tool_residual residual;
	tool_loss loss;
	double l2, weight_decay, clip, lr, momentum;
	tool_opt opt;
	int64_t batch; /* 0: all */
	int64_t steps;
	uint64_t seed;
	weir_dtype dtype;
	int threads; /* 0: chosen by size */
	bool ieee;
	tool_data data;
	const char *file; /* of DATA_FILE */
	const char *out;  /* -o, or NULL for standard output */
	bool json;
	const char *record[MAX_RECORDS]; /* where recorders write */
	int records;
	const char *read, *html; /* flow: a ring file to print, a page to write; or NULL */
	const char *profile;     /* where the steps' time goes is written there, or NULL */
	unsigned fail_on;        /* bit 1 << weir_verdict: ends with EXIT_VERDICT */
	int stretch;             /* flow: power iterations for stretching factors; -1: by the number of layers */
	bool whatif;
	int64_t whatif_steps;
	bool expand; /* graph: every block drawn */
	bool noise, curvature;
} options;

/* False after one line on standard error. word is argv[1]. */
bool options_parse(options *o, tool_command command, int argc, char **argv);
void options_free(options *o);
void options_help(FILE *file);

/* Fills width and layers from model. False after one line on standard error. */
bool model_parse(options *o);

/* One line on standard error: what is wrong with word, and the nearest of the n choices, or all of them. */
void complain(const char *what, const char *word, const char *const *choices, int n);
/* The same for a file that can't be read: the reason, and the nearest name in its folder. Returns true where it can be read. */
bool readable(const char *option, const char *path);
/* True where a file can be made at path; else after one line on standard error. */
bool writable(const char *option, const char *path);
/* What a recorder at path writes, by its name: FILE.jsonl, FILE.ring, FOLDER/ (or one that is there); -1: it tells nothing. */
int recorder_kind(const char *path);

/* Context, data, network and optimiser that the options describe. */
typedef struct setup {
	const options *o;
	weir_ctx *w;
	weir_dataset *all, *train, *validation;
	weir_module *net;
	weir_optim *optim;
	int64_t batch;
	int64_t done;    /* updates */
	bool updating;   /* an update that would not be finite is no error but a finding */
	bool unrecorded; /* a recorder could not write; that was told, and training goes on */
	char text[1024]; /* the model spelled out and the number of parameters: what every report begins with */
} setup;

/* One training step's figures. */
typedef struct step {
	double loss, accuracy, grad_norm; /* accuracy: NaN without classes */
	weir_tensor *x, *y, *loss_node;   /* on the tape, until the next step */
	bool broken;                      /* loss, gradient or update are not finite; nothing was updated */
} step;

/* False after one line on standard error; setup_status() then is what to exit with. Either way setup_free() follows. */
bool setup_make(setup *s, const options *o);
int setup_status(const setup *s, bool made);
void setup_free(setup *s);
/* Loss of the network on x, y; logits, if not NULL, gets the output. */
weir_tensor *setup_loss(const setup *s, weir_tensor *x, weir_tensor *y, weir_tensor **logits);
/* Mean loss, and accuracy, over a whole set, without gradients. */
bool setup_evaluate(const setup *s, weir_dataset *set, double *loss, double *accuracy);
/* One forward and backward on the next batch of the training data, watched by f if not NULL; update: with an optimiser step. */
bool setup_step(setup *s, weir_flow *f, bool update, step *r);
/* With the recorders that were asked for; NULL after an error. */
weir_flow *setup_watch(setup *s);
/* The next step is measured as a whole. */
void setup_request(const setup *s, weir_flow *f);
/* What to exit with after all went well: whether the verdict was to be feared, whether everything was recorded. */
int setup_judge(const setup *s, const weir_flow *f);
/* Fills all, train, validation. */
bool data_load(setup *s);
bool data_is_digits(const options *o);

int command_flow(const options *o);
int command_train(const options *o);
int command_graph(const options *o);
int command_info(const options *o);
int command_demo(const options *o);

/* Set by SIGINT and SIGTERM: end the step, then the command. */
extern volatile sig_atomic_t stop_signal;
double seconds(void);

#endif
