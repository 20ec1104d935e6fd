/* matrix.c: see matrix.h. */
#include "ops/matrix.h"

#include <string.h>

#include "kernels/cpu.h"
#include "kernels/gemm_plan.h"
#include "kernels/map.h"

/* True where one stride leads from row to row through all leading axes. */
static bool even(const weir_tensor *t, int64_t *stride)
{
	int64_t extent = 1;

	for (int i = t->rank - 2; i >= 0; i--) {
		if (t->shape[i] == 1) continue;
		if (extent == 1) *stride = t->stride[i];
		else if (t->stride[i] != *stride * extent) return false;
		extent *= t->shape[i];
	}
	return true;
}

bool weir__matrix_of(const weir_tensor *t, bool packed, weir_matrix *m)
{
	weir_strided x = { weir__at(t), t->stride };
	int64_t stride[WEIR_MAX_RANK], step = 1, rows = 1;

	for (int i = 0; i < t->rank - 1; i++) rows *= t->shape[i];
	/* field by field: a copy of a structure just filled waits until the stores have left the pipeline */
	m->data = weir__at(t);
	m->rows = rows;
	m->columns = m->row_stride = t->rank ? t->shape[t->rank - 1] : 1;
	m->column_stride = 1;
	m->copy = NULL;
	m->copy_size = 0;
	if (!t->numel || t->contiguous) return true;
	if (!packed && even(t, &m->row_stride)) {
		m->column_stride = t->stride[t->rank - 1];
		return true;
	}
	m->row_stride = m->columns;
	for (int i = t->rank - 1; i >= 0; i--) {
		stride[i] = step;
		step *= t->shape[i];
	}
	m->data = m->copy = weir__scratch_alloc(t->ctx, (size_t)t->numel * weir__size_of(t->dtype), &m->copy_size);
	if (!m->copy) return false;
	weir__copy((weir_dtype)t->dtype, t->rank, t->shape, m->copy, stride, &x, t->ctx->threads);
	return true;
}

void weir__matrix_free(const weir_tensor *t, weir_matrix *m)
{
	if (m->copy) weir__scratch_free(t->ctx, m->copy, m->copy_size);
	m->copy = NULL;
}

static void run(weir_ctx *w, int dtype, const weir_gemm *g)
{
	weir_gemm_plan p;
	size_t got = 0, bytes;
	void *work;

	weir__gemm_plan(&p, weir__kernels(), (weir_dtype)dtype, g, w->threads);
	bytes = weir__gemm_bytes(&p);
	work = bytes ? weir__scratch_alloc(w, bytes, &got) : NULL;
	if (bytes && !work) return;
	weir__gemm_run(&p, work);
	if (work) weir__scratch_free(w, work, got);
}

static weir_gemm product(const weir_matrix *a, const weir_matrix *b, const void *bias, void *c, weir_dst_mode mode)
{
	return (weir_gemm){
		.m = a->rows,
		.n = b->columns,
		.k = a->columns,
		.a = a->data,
		.ars = a->row_stride,
		.acs = a->column_stride,
		.b = b->data,
		.brs = b->row_stride,
		.bcs = b->column_stride,
		.c = c,
		.crs = b->columns,
		.mode = mode,
		.bias = bias,
		.act = WEIR_MAP_COUNT,
	};
}

void weir__product(weir_ctx *w, int dtype, const weir_matrix *a, const weir_matrix *b, const void *bias,
		   const weir_grad_dst *dst)
{
	weir_gemm g = product(a, b, bias, dst->data, dst->mode);

	g.squares = dst->squares;
	run(w, dtype, &g);
}

void weir__product_act(weir_ctx *w, int dtype, const weir_matrix *a, const weir_matrix *b, const void *bias, void *c,
		       weir_epilogue *e)
{
	weir_gemm g = product(a, b, bias, c, WEIR_DST_WRITE);

	if (e) {
		e->value = weir__storage_new(w, (size_t)(g.m * g.n) * weir__size_of(dtype));
		if (!e->value) return;
		g.act = e->act;
		g.act_out = e->value->data;
		g.act_rs = g.n;
	}
	run(w, dtype, &g);
}

void weir__products(const weir_tensor *ta, const weir_matrix *a, const weir_tensor *tb, const weir_matrix *b, void *c,
		    weir_dst_mode mode)
{
	weir_ctx *w = ta->ctx;
	weir_dtype t = (weir_dtype)ta->dtype;
	weir_gemm_batch batch = { .g = product(a, b, NULL, c, mode),
				  .rank = ta->rank - 2,
				  .shape = ta->shape,
				  .a_stride = ta->stride,
				  .b_stride = tb->stride,
				  .c_stride = a->rows * b->columns };
	size_t got = 0, bytes = weir__gemm_batch_workspace(t, &batch, w->threads);
	void *work = bytes ? weir__scratch_alloc(w, bytes, &got) : NULL;

	if (bytes && !work) return;
	weir__gemm_batch(t, &batch, work, w->threads);
	if (work) weir__scratch_free(w, work, got);
}

/* t with these leading axes. */
static weir_tensor *lead(weir_tensor *t, int rank, int64_t *shape)
{
	memcpy(shape + rank - 2, t->shape + t->rank - 2, 2 * sizeof *shape);
	return weir_expand(t, rank, shape);
}

bool weir__broadcast_leading(weir_tensor **a, weir_tensor **b)
{
	int ra = (*a)->rank, rb = (*b)->rank, rank = ra > rb ? ra : rb;
	int64_t shape[WEIR_MAX_RANK];

	for (int i = 3; i <= rank; i++) {
		int64_t ea = i <= ra ? (*a)->shape[ra - i] : 1, eb = i <= rb ? (*b)->shape[rb - i] : 1;

		if (ea != eb && ea != 1 && eb != 1) return false;
		shape[rank - i] = ea == 1 ? eb : ea;
	}
	*a = lead(*a, rank, shape);
	*b = lead(*b, rank, shape);
	return true;
}

int64_t weir__multiply_adds(const weir_tensor *y)
{
	const weir_tensor *x = y->in[0];

	return x->rank ? y->numel * x->shape[x->rank - 1] : 0;
}

weir_tensor *weir__flat(weir_tensor *t)
{
	int64_t shape[2] = { 1, t->rank ? t->shape[t->rank - 1] : 1 };

	if (t->rank == 2) return t;
	for (int i = 0; i < t->rank - 1; i++) shape[0] *= t->shape[i];
	return weir_reshape(t, 2, shape);
}

weir_tensor *weir__along(const weir_op *op, weir_tensor *x, int axis)
{
	weir_ctx *w = weir__ctx_of(x);
	char who[64];
	weir_scratch s;
	int a;

	snprintf(who, sizeof who, "%s", weir__who(w, op));
	if (!weir__usable(x, who) || !weir__axis(w, who, x, axis, &a)) return weir__bad(x);
	if (a == x->rank - 1) return weir__apply(op, &x, 1, NULL);
	s = weir__scratch_begin(x, who);
	x = weir_transpose(x, a, -1);
	x = weir__apply(op, &x, 1, NULL);
	return weir__scratch_end(&s, weir_transpose(x, a, -1));
}
