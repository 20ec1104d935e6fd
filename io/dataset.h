/* dataset.h: what a data set is inside: an order of passage over examples, which sets that were split share. */
#ifndef WEIR_IO_DATASET_H
#define WEIR_IO_DATASET_H

#include <weir/io.h>
#include "engine/context.h"

/* The numbers. Classification has labels, classes >= 0 and targets 0; regression has y, classes 0 and targets. */
typedef struct weir_examples {
	int64_t n, features, classes, targets;
	weir_dtype dtype;
	bool regression;
	void *x, *y; /* n * features; n * targets, or i64 labels */
	size_t x_bytes, y_bytes;
	const char *x_name, *y_name; /* static; what the tensors are called */
	int sets;                    /* data sets that look into it */
} weir_examples;

struct weir_dataset {
	weir_ctx *ctx;
	weir_owned *owned;
	weir_examples *examples;
	int64_t n;
	int64_t *rows;  /* which examples, or NULL for all in their order */
	int64_t *order; /* rows, shuffled for the pass that drawn says */
	int64_t at, epoch, drawn;
	uint64_t stream; /* of random numbers, for the shuffling */
	bool bad;
};

/* The set that a failed constructor returns; w may be NULL. */
weir_dataset *weir__dataset_bad(weir_ctx *w);

/* Memory for examples of these extents, with x and y still to be filled; NULL after reporting, with who. */
weir_examples *weir__examples_new(weir_ctx *w, const char *who, const weir_examples *like);
void weir__examples_free(weir_ctx *w, weir_examples *e);

/* Checks that all numbers are finite and all labels in range (and fills classes where it is 0). False after reporting. */
bool weir__examples_check(weir_ctx *w, const char *who, weir_examples *e);

/* A set over all examples, which it takes over, also when it fails and returns the bad one. */
weir_dataset *weir__dataset_over(weir_ctx *w, weir_examples *e);

#endif
