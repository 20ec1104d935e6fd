/* gather_rows.c: the loops of gather and scatter_add, and the check of their index. See gather.h.
 *
 * Work is split by columns (an outer block and a place within inner), never along the index: each sum is taken by
 * one thread in the order of the index, so the result does not depend on the number of threads. */
#include "ops/gather.h"
#include "kernels/threads.h"

#include <string.h>

bool weir__index_shape(weir_shaping *s, int64_t given_axis, int *axis)
{
	const weir_tensor *x = s->in[0], *index = s->in[1];
	const char *who = weir__who(s->ctx, s->op);
	weir_text_buf text;

	if (!weir__axis(s->ctx, who, x, (int)given_axis, axis)) return false;
	if (index->dtype != WEIR_I32 && index->dtype != WEIR_I64) {
		weir_fail(s->ctx, WEIR_ERR_DTYPE, "%s: index is %s; it must be i32 or i64", who,
			  weir__describe(index, &text));
		return false;
	}
	if (index->rank != 1) {
		weir_fail(s->ctx, WEIR_ERR_SHAPE, "%s: index is %s; it must have one axis", who,
			  weir__describe(index, &text));
		return false;
	}
	return weir__copy_shape(s, x);
}

int64_t *weir__index_begin(const weir_tensor *y, const weir_tensor *index, int64_t extent, int axis, size_t *got)
{
	int64_t *list = weir__scratch_alloc(y->ctx, (size_t)(index->numel + 1) * sizeof *list, got);

	for (int64_t j = 0; list && j < index->numel; j++) {
		const char *at =
			(const char *)weir__at(index) + j * index->stride[0] * (int64_t)weir__size_of(index->dtype);
		int32_t narrow;

		if (index->dtype == WEIR_I32) {
			memcpy(&narrow, at, sizeof narrow);
			list[j] = narrow;
		} else {
			memcpy(&list[j], at, sizeof *list);
		}
		if (list[j] < 0 || list[j] >= extent) {
			weir_fail(
				y->ctx, WEIR_ERR_INDEX,
				"%s: index %lld at place %lld is out of range: axis %d has extent %lld, so it must lie in 0 .. %lld",
				weir__who(y->ctx, y->op), (long long)list[j], (long long)j, axis, (long long)extent,
				(long long)extent - 1);
			weir__scratch_free(y->ctx, list, *got);
			return NULL;
		}
	}
	return list;
}

typedef struct rows {
	const char *from;
	char *to;
	const int64_t *index;
	int64_t n, from_extent, to_extent, inner; /* n: of the index */
	weir_dtype t;
	bool scatter, add;
} rows;

static void add_run(weir_dtype t, void *to, const void *from, int64_t n)
{
	if (t == WEIR_F32) {
		float *y = to;
		const float *x = from;

		for (int64_t i = 0; i < n; i++) y[i] += x[i];
	} else {
		double *y = to;
		const double *x = from;

		for (int64_t i = 0; i < n; i++) y[i] += x[i];
	}
}

/* Columns begin .. end - 1, where column c is place c % inner of block c / inner. */
static void columns(void *arg, int64_t begin, int64_t end)
{
	const rows *r = arg;
	int64_t size = (int64_t)weir__size_of((int)r->t);

	while (begin < end) {
		int64_t o = begin / r->inner, i = begin % r->inner,
			run = r->inner - i < end - begin ? r->inner - i : end - begin;

		for (int64_t j = 0; j < r->n; j++) {
			int64_t source = r->scatter ? j : r->index[j], target = r->scatter ? r->index[j] : j;
			const char *from = r->from + ((o * r->from_extent + source) * r->inner + i) * size;
			char *to = r->to + ((o * r->to_extent + target) * r->inner + i) * size;

			if (r->add) add_run(r->t, to, from, run);
			else memcpy(to, from, (size_t)(run * size));
		}
		begin += run;
	}
}

static void run(weir_ctx *w, rows *r, int64_t outer)
{
	int64_t all = outer * r->inner;
	double size = (double)weir__size_of((int)r->t);

	if (!all || !r->n) return;
	/* Each element is read and written. A grain is a cache line of columns. */
	weir__parallel(weir__threads_for(w->threads, 2 * size * (double)all * (double)r->n), all, 64 / (int64_t)size,
		       columns, r);
}

void weir__gather_rows(weir_ctx *w, weir_dtype t, weir_blocks b, const void *from, void *to, const int64_t *index,
		       int64_t n, weir_dst_mode mode)
{
	rows r = { .from = from,
		   .to = to,
		   .index = index,
		   .n = n,
		   .from_extent = b.extent,
		   .to_extent = n,
		   .inner = b.inner,
		   .t = t,
		   .add = mode == WEIR_DST_ADD };

	run(w, &r, b.outer);
}

void weir__scatter_rows(weir_ctx *w, weir_dtype t, weir_blocks b, const void *from, void *to, const int64_t *index,
			int64_t n)
{
	rows r = { .from = from,
		   .to = to,
		   .index = index,
		   .n = n,
		   .from_extent = n,
		   .to_extent = b.extent,
		   .inner = b.inner,
		   .t = t,
		   .scatter = true,
		   .add = true };

	run(w, &r, b.outer);
}
