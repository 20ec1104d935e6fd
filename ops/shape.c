/* shape.c: see shape.h. */
#include "ops/shape.h"

#include <string.h>

bool weir__take_extents(weir_ctx *w, const char *who, int rank, const int64_t *shape, weir_extents_attr *attr)
{
	*attr = (weir_extents_attr){ .rank = rank };
	if (rank < 0 || rank > WEIR_MAX_RANK) {
		weir_fail(w, WEIR_ERR_LIMIT, "%s: rank %d; a tensor has 0 to %d axes", who, rank, WEIR_MAX_RANK);
		return false;
	}
	if (rank && !shape) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: the list is NULL, but %d numbers are to be read from it", who,
			  rank);
		return false;
	}
	if (rank) memcpy(attr->extent, shape, (size_t)rank * sizeof *shape);
	return true;
}

weir_dense weir__dense_begin(const weir_tensor *t)
{
	weir_dense d = { .ctx = t->ctx, .data = weir__at(t) };
	weir_strided from = { d.data, t->stride };
	int64_t stride[WEIR_MAX_RANK];

	if (t->contiguous || !t->numel) return d;
	d.data = d.scratch = weir__scratch_alloc(t->ctx, (size_t)t->numel * weir__size_of(t->dtype), &d.got);
	if (!d.scratch) return d;
	weir__dense_strides(t->rank, t->shape, stride);
	weir__copy((weir_dtype)t->dtype, t->rank, t->shape, d.scratch, stride, &from, t->ctx->threads);
	return d;
}

void weir__dense_end(weir_dense *d)
{
	if (d->scratch) weir__scratch_free(d->ctx, d->scratch, d->got);
	d->scratch = NULL;
}

void weir__dense_strides(int rank, const int64_t *shape, int64_t *stride)
{
	int64_t step = 1;

	for (int i = rank; i-- > 0; step *= shape[i]) stride[i] = step;
}

void weir__zero(weir_ctx *w, weir_dtype t, int64_t n, void *data)
{
	const double zero = 0.0;

	weir__map(WEIR_MAP_fill, t, 1, &n, data, WEIR_DST_WRITE, NULL, &zero, w->threads);
}

weir_blocks weir__blocks(int rank, const int64_t *shape, int axis)
{
	weir_blocks b = { 1, shape[axis], 1 };

	for (int i = 0; i < rank; i++) {
		if (i < axis) b.outer *= shape[i];
		if (i > axis) b.inner *= shape[i];
	}
	return b;
}

weir_place_in weir__place_in(int rank, const int64_t *shape, int axis, int64_t begin, int64_t step)
{
	weir_place_in p;

	weir__dense_strides(rank, shape, p.stride);
	p.offset = begin * p.stride[axis];
	p.stride[axis] *= step;
	return p;
}
