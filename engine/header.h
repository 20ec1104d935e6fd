/* header.h: how a header is made: a place, its fields, its entry on the tape. Inline, for those who make one per node. */
#ifndef WEIR_ENGINE_HEADER_H
#define WEIR_ENGINE_HEADER_H

#include "engine/tape.h"

/* With room for shape and strides. */
static inline size_t weir__header_bytes(int rank)
{
	return sizeof(weir_tensor) + 2 * (size_t)rank * sizeof(int64_t);
}

/* Fills a header's place; strides are those of a contiguous tensor, shape is one that weir__numel accepts. Every field is named: then each is
 * stored once, where a partial list would have the compiler clear all of the header first by a slow loop. */
static inline void weir__header_init(weir_tensor *t, weir_ctx *w, const weir_op *op, int dtype, int rank,
				     const int64_t *shape)
{
	int64_t step = 1, numel = 1;

	*t = (weir_tensor){ .ctx = w,
			    .store = NULL,
			    .offset = 0,
			    .numel = 0,
			    .shape = (int64_t *)(t + 1),
			    .stride = (int64_t *)(t + 1) + rank,
			    .op = op,
			    .attr = NULL,
			    .in = NULL,
			    .in_version = NULL,
			    .name = NULL,
			    .here = NULL,
			    .kept = NULL,
			    .life = w->life,
			    .version = 0,
			    .index = -1,
			    .origin = -1,
			    .scope = 0,
			    .call = 0,
			    .flags = 0,
			    .dtype = (uint8_t)dtype,
			    .rank = (uint8_t)rank,
			    .contiguous = 1,
			    .order = 0,
			    .nin = 0 };
	for (int i = rank - 1; i >= 0; i--) {
		t->shape[i] = shape[i];
		t->stride[i] = step;
		numel *= shape[i];
		if (shape[i]) step *= shape[i];
	}
	t->numel = numel;
}

/* The bad tensor after reporting. */
static inline weir_tensor *weir__onto_tape(weir_ctx *w, weir_tensor *t)
{
	if (weir__tape_push(w, t)) return t;
	t->life = WEIR_LIFE_DEAD;
	return w->bad;
}

#endif
