/* rows.h: Weir's work for the conductor, one file per family. */
#ifndef WEIR_BENCH_ROWS_H
#define WEIR_BENCH_ROWS_H

#include "bench/contestant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/weir.h>

extern const kind bench_gemm, bench_train, bench_norms, bench_hvp, bench_adamw, bench_chain, bench_map;

weir_ctx *bench_open(const ask *a); /* a context with that many threads */
void *bench_zeroed(size_t size);    /* calloc, or the end of the program */
/* A leaf of f32, kept, that holds scale · datum(stream, i). */
weir_tensor *bench_leaf(weir_ctx *w, int rank, const int64_t *shape, uint32_t stream, double scale);
int bench_samples(const weir_tensor *t, double *values);
/* An MLP with the weights that the protocol says; widths are n[1..], a->n[0] is the batch. */
weir_module *bench_mlp(weir_ctx *w, const ask *a, weir_act act, char letter);
weir_tensor *bench_labels(weir_ctx *w, int64_t batch, int64_t classes);
void bench_die(const weir_ctx *w); /* says the context's error and ends the program, where there is one */

#endif
