/* header.h: how a header is made: a place, its fields, its entry on the tape. Inline, for those who make one per node. */
#ifndef WEIR_ENGINE_HEADER_H
#define WEIR_ENGINE_HEADER_H

#include "engine/tape.h"

/* With room for shape and strides. */
static inline size_t weir__header_bytes(int rank)
{
	return sizeof(weir_tensor) + 2 * (size_t)rank * sizeof(int64_t);
}

/* Fills a header's place, but for what weir__header_alone fills; strides are those of a contiguous tensor, shape is one that weir__numel accepts.
 * Field by field, so that each is stored once: what is written as one struct is cleared as a whole first. */
static inline void weir__header_init(weir_tensor *t, weir_ctx *w, const weir_op *op, int dtype, int rank,
				     const int64_t *shape)
{
	int64_t step = 1, numel = 1;

	t->ctx = w;
	t->store = NULL;
	t->offset = 0;
	t->shape = (int64_t *)(t + 1);
	t->stride = (int64_t *)(t + 1) + rank;
	t->op = op;
	t->attr = NULL;
	t->name = NULL;
	t->kept = NULL;
	t->life = w->life;
	t->version = 0;
	t->index = -1;
	t->flags = 0;
	t->dtype = (uint8_t)dtype;
	t->rank = (uint8_t)rank;
	t->contiguous = 1;
	for (int i = rank - 1; i >= 0; i--) {
		t->shape[i] = shape[i];
		t->stride[i] = step;
		numel *= shape[i];
		if (shape[i]) step *= shape[i];
	}
	t->numel = numel;
}

/* The rest, of a tensor that no operation made. */
static inline void weir__header_alone(weir_tensor *t)
{
	t->in = NULL;
	t->in_version = NULL;
	t->nin = 0;
	t->here = NULL;
	t->scope = t->call = 0;
	t->origin = -1;
	t->order = 0;
}

/* The bad tensor after reporting. */
static inline weir_tensor *weir__onto_tape(weir_ctx *w, weir_tensor *t)
{
	if (weir__tape_push(w, t)) return t;
	t->life = WEIR_LIFE_DEAD;
	return w->bad;
}

#endif
