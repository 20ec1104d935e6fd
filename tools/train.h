/* train.h: the training loop, which `weir train` and `weir demo` share, and what the loss itself tells. */
#ifndef WEIR_TOOLS_TRAIN_H
#define WEIR_TOOLS_TRAIN_H

#include "tools/tool.h"

/* What the loss has shown so far. */
typedef struct signs {
	double lr;
	int64_t classes, steps;
	int64_t flat; /* steps up to the last at the loss of guessing; 0: it is not */
	bool jumped;  /* at some time */
	step last;
} signs;

void signs_init(signs *g, int64_t classes, double lr);
/* The sign in words, or "". f names the place of the first inf or NaN. */
const char *signs_text(const signs *g, const weir_flow *f, char *text, size_t size);

/* Trains for the options' steps, or until max_seconds (0: no limit) or a signal, with progress. False after an error. */
bool train_run(setup *s, weir_flow *f, signs *g, double max_seconds);

#endif
