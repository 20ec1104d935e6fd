/* io.h: data sets and files.
 *
 * A data set holds n examples of some features each, with a class label or a row of target values for every one. It belongs to
 * the context until weir_close() or its own weir_dataset_drop(). After an error a constructor returns a bad data set, never
 * NULL: what it gives are bad tensors. */
#ifndef WEIR_IO_H
#define WEIR_IO_H

#include <weir/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_dataset weir_dataset;

/* ---- make ------------------------------------------------------------------------------------------------ */

/* 1,797 handwritten digits, 8 · 8 pixels in [0, 1] (f32), labels 0 .. 9; ships with the library. Optical Recognition of
 * Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC BY 4.0. */
WEIR_API weir_dataset *weir_dataset_digits(weir_ctx *w);
WEIR_API weir_dataset *weir_dataset_digits_as(weir_ctx *w, weir_dtype dtype); /* the same in f32 or f64 */

/* From memory, which is copied. x: n · features numbers of type dtype (f32 or f64), row after row, all finite. Labels
 * from 0 up; there are classes of them, or as many as the largest says where classes is 0. */
WEIR_API weir_dataset *weir_dataset_arrays(weir_ctx *w, int64_t n, int64_t features, weir_dtype dtype, const void *x,
					   int64_t classes, const int64_t *labels);
/* For regression: y has n · targets numbers of type dtype, all finite. */
WEIR_API weir_dataset *weir_dataset_regression(weir_ctx *w, int64_t n, int64_t features, int64_t targets,
					       weir_dtype dtype, const void *x, const void *y);

typedef enum weir_csv_header {
	WEIR_CSV_HEADER_AUTO, /* the first line is one if no cell of it is a number */
	WEIR_CSV_HEADER_NONE,
	WEIR_CSV_HEADER_FIRST_LINE,
} weir_csv_header;

typedef struct weir_csv_options {
	weir_csv_header header;
	char delimiter;
	weir_dtype dtype;      /* of the features and targets: f32 or f64 */
	int64_t targets;       /* 0: one column holds class labels; k > 0: k columns hold regression targets */
	int64_t target_column; /* the first of them; -1: they are the last columns, -2: one more follows, ... */
	int64_t classes;       /* 0: as many as the largest label says */
	double scale;          /* features are multiplied by it: 1.0 / 255 for bytes */
} weir_csv_options;

/* Header auto, comma, f32, labels in the last column, classes 0, scale 1. */
WEIR_API void weir_csv_options_init(weir_csv_options *o);
/* From a file of numbers. o may be NULL for the defaults. Errors: IO; FORMAT, with line and column; NONFINITE for a number too
 * large for dtype; INDEX for a label that is none; MEMORY. */
WEIR_API weir_dataset *weir_dataset_csv(weir_ctx *w, const char *path, const weir_csv_options *o);

/* Two new sets of disjoint examples, drawn by the context's seed: round(fraction · n) in train, the rest in validation.
 * 0 < fraction < 1; neither may be empty. set stays as it is; the examples are shared, not copied. */
WEIR_API bool weir_dataset_split(weir_dataset *set, double fraction, weir_dataset **train, weir_dataset **validation);

WEIR_API void weir_dataset_drop(weir_dataset *set); /* before weir_close(); sets split from it live on */

/* ---- look ------------------------------------------------------------------------------------------------ */

WEIR_API weir_ctx *weir_dataset_context(const weir_dataset *set);
WEIR_API bool weir_dataset_is_bad(const weir_dataset *set);  /* the set of a failed call */
WEIR_API int64_t weir_dataset_size(const weir_dataset *set); /* examples */
WEIR_API int64_t weir_dataset_features(const weir_dataset *set);
WEIR_API int64_t weir_dataset_classes(const weir_dataset *set); /* 0 for regression */
WEIR_API int64_t weir_dataset_targets(const weir_dataset *set); /* 0 for classification */
WEIR_API weir_dtype weir_dataset_dtype(const weir_dataset *set);

/* ---- use ------------------------------------------------------------------------------------------------- */

/* The next minibatch, as tensors of the tape: x [B, features]; y [B] i64 labels, or [B, targets]. An epoch is one pass over all
 * examples in an order drawn anew from the seed; B is batch, but for the last minibatch of an epoch, which has the rest.
 * A failing call sets both to the bad tensor. */
WEIR_API bool weir_dataset_next(weir_dataset *set, int64_t batch, weir_tensor **x, weir_tensor **y);
/* All examples in their own order. */
WEIR_API bool weir_dataset_all(weir_dataset *set, weir_tensor **x, weir_tensor **y);
/* Passes completed: one more from the call on that gave the last examples of a pass. */
WEIR_API int64_t weir_dataset_epoch(const weir_dataset *set);
/* To the beginning of pass epoch, which comes in the same order as the first time. */
WEIR_API bool weir_dataset_rewind(weir_dataset *set, int64_t epoch);

/* ---- files ----------------------------------------------------------------------------------------------- */

/* A file that replaces another only when it is complete: written beside path, synced, renamed over it. Until commit the old
 * file is untouched, and so it stays after any error. A link to a file stays a link; a device or pipe is written directly. Never
 * NULL; ends with commit or abandon, and weir_close() abandons what is left. Errors: IO. */
typedef struct weir_file weir_file;
WEIR_API weir_file *weir_file_create(weir_ctx *w, const char *path);
WEIR_API bool weir_file_write(weir_file *f, const void *data, size_t bytes);
WEIR_API bool weir_file_commit(
	weir_file *f); /* false after an error of this step or one before; f is gone either way */
WEIR_API void weir_file_abandon(weir_file *f); /* f is gone, the old file stays */

#ifdef __cplusplus
}
#endif

#endif
