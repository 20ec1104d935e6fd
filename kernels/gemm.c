/* gemm.c: carries out a matrix product as gemm_plan.c has cut it: blocks, packing, tiles, epilogue. docs/kernels.md has
 * the pictures.
 *
 * C is cut into a grid of rectangles, one per thread, and each is done alone, with its own packed copies of
 * what it needs of A and B, so that threads never wait for each other. Within a rectangle:
 *
 *   for each block of columns (nc), of rows (mc), of k (kc):
 *     pack what of the block of B can't be read in place           second-level cache
 *     for each panel of rows (at most mr): pack it, or don't       first-level cache
 *       for each panel of columns (nr): one tile                   registers
 *       after the last block of k: the activation, on rows that are still in cache
 *
 * Partial sums between blocks of k stand in C itself, or in the workspace: where C must keep its old value for the
 * addition at the end, and where the product is done flipped, as C' = B' A'. Then they are turned on their way to C. */
#include "kernels/gemm_plan.h"

#include "kernels/cpu.h"
#include "kernels/threads.h"

/* One thread's rectangle and where it stands in it. */
typedef struct place {
	const weir_gemm_plan *p;
	char *a, *b, *sums;                    /* the workspace of this thread */
	int64_t i0, rows, j0, cols, p0, steps; /* the block */
	bool first, last;                      /* of the blocks of k */
	weir_squares_walk walk;
} place;

static const char *at(const weir_gemm_plan *p, const weir_gemm_operand *x, int64_t lane, int64_t step)
{
	return x->p + (lane * x->lane + step * x->step) * p->size;
}

/* Do these columns of B lie where they can be read? */
static bool placed(const weir_gemm_plan *p, int64_t cols)
{
	return p->b_turned || (p->b_placed && !(cols & (p->kernel->lanes - 1)));
}

/* How many columns come next where so many are left: all that can be read in place, or a panel. A last vector that must be
 * packed takes its tile with it, unless that is to be kept small because one panel of rows reads it. */
static int64_t next_columns(const weir_gemm_plan *p, int64_t left)
{
	int64_t last = left & (p->kernel->lanes - 1), whole = last && !p->b_once ? left & -p->nr : left - last;

	return p->b_placed && whole ? whole : weir__min(p->nr, left);
}

static void pack_b(const place *s, int64_t j, int64_t cols, char *to)
{
	const weir_gemm_plan *p = s->p;

	p->kernel->pack(to, (int)p->nr, at(p, &p->b, j, s->p0), p->b.lane, p->b.step, cols, s->steps);
}

/* Columns of B from j on, packed or in place. */
static const char *panel_b(const place *s, int64_t j, int64_t cols)
{
	const weir_gemm_plan *p = s->p;

	if (placed(p, cols)) return at(p, &p->b, j, s->p0);
	if (p->b_once) pack_b(s, j, cols, s->b);
	return p->b_once || p->b_placed ? s->b : s->b + (j - s->j0) * s->steps * p->size;
}

static char *in_c(const place *s, int64_t i, int64_t j)
{
	return s->p->c + (i * s->p->g->crs + j) * s->p->size;
}

static char *in_sums(const place *s, int64_t i, int64_t j)
{
	return s->sums + ((i - s->i0) * s->p->nc + (j - s->j0)) * s->p->size;
}

/* The tiles of the panel of rows i..i+rows. */
static void do_panel(const place *s, int64_t i, int64_t rows)
{
	const weir_gemm_plan *p = s->p;
	const weir_gemm *g = p->g;
	const weir_gemm_kernel *kernel = p->kernel;
	weir_gemm_tile t; /* filled field by field: to clear it first takes long where a tile doesn't */
	bool to_sums = p->sums_apart && !(s->last && !p->flipped);

	t.k = s->steps;
	t.rows = rows;
	t.turned = p->b_turned;
	t.bias = NULL;
	t.to_rs = to_sums ? p->nc : g->crs;
	t.from_rs = p->sums_apart ? p->nc : g->crs;
	t.add = s->last && !to_sums && g->mode == WEIR_DST_ADD;
	t.a = at(p, &p->a, i, s->p0), t.a_rs = p->a.lane, t.a_ks = p->a.step;
	if (p->a_packed) {
		kernel->pack(s->a, kernel->lanes_a, t.a, t.a_rs, t.a_ks, rows, s->steps);
		t.a = s->a, t.a_rs = 1, t.a_ks = kernel->lanes_a;
	}
	for (int64_t j = s->j0; j < s->j0 + s->cols; j += t.cols) {
		t.cols = next_columns(p, s->j0 + s->cols - j);
		t.b = panel_b(s, j, t.cols);
		t.b_stride = p->b_turned ? p->b.lane : placed(p, t.cols) ? p->b.step : p->nr;
		t.to = to_sums ? in_sums(s, i, j) : in_c(s, i, j);
		t.from = s->first ? NULL : p->sums_apart ? in_sums(s, i, j) : in_c(s, i, j);
		if (s->last && !to_sums && g->bias) t.bias = (const char *)g->bias + j * p->size;
		kernel->tile(&t);
	}
}

/* Rows i..end of the flipped product are complete, and go to C. */
static void turn(const place *s, int64_t i, int64_t end)
{
	const weir_gemm_plan *p = s->p;
	const weir_gemm *g = p->g;
	weir_gemm_turn t = { .rows = end - i,
			     .cols = s->cols,
			     .from = in_sums(s, i, s->j0),
			     .from_rs = p->nc,
			     .to = in_c(s, s->j0, i),
			     .to_rs = g->crs,
			     .add = g->mode == WEIR_DST_ADD,
			     .bias = g->bias ? (const char *)g->bias + i * p->size : NULL };

	p->kernel->turn(&t);
}

/* act_out = act(c) on finished elements: rows and columns of the product as it was asked for. */
static void activate(const weir_gemm_plan *p, int64_t i, int64_t rows, int64_t j, int64_t cols)
{
	const weir_gemm *g = p->g;

	if (cols == g->crs && cols == g->act_rs) cols *= rows, rows = 1;
	for (int64_t r = i; r < i + rows; r++) {
		const void *x = p->c + (r * g->crs + j) * p->size;

		p->act((char *)g->act_out + (r * g->act_rs + j) * p->size, &x, cols, NULL);
	}
}

static void do_block(place *s)
{
	const weir_gemm_plan *p = s->p;
	int64_t end = s->i0 + s->rows, turned = s->i0;

	for (int64_t j = 0, cols; j < s->cols && !p->b_once; j += cols) {
		cols = next_columns(p, s->cols - j);
		if (!placed(p, cols)) pack_b(s, s->j0 + j, cols, p->b_placed ? s->b : s->b + j * s->steps * p->size);
	}
	for (int64_t i = s->i0; i < end; i += p->panel) {
		int64_t rows = weir__min(p->panel, end - i);

		do_panel(s, i, rows);
		if (s->last && p->flipped) {
			int64_t upto = i + rows < end ? i + rows - (i + rows - turned) % p->kernel->lanes : end;

			if (upto > turned) turn(s, turned, upto);
			turned = upto;
		}
		if (s->last && p->act && !p->flipped) activate(p, i, rows, s->j0, s->cols);
		if (s->last && p->squares) weir__squares_upto(&s->walk, (i + rows) * p->n);
	}
	if (s->last && p->act && p->flipped) activate(p, s->j0, s->cols, s->i0, s->rows);
}

/* Rows i0..i1 and columns j0..j1, by thread `id`. */
static void do_rectangle(const weir_gemm_plan *p, int id, int64_t i0, int64_t i1, int64_t j0, int64_t j1)
{
	place s; /* its walk, which is large, is filled where there is one */

	s.p = p;
	s.a = p->workspace + (size_t)id * (p->a_bytes + p->b_bytes + p->sum_bytes);
	if (p->squares) weir__squares_begin(&s.walk, p->g->squares, i0 * p->n, i1 * p->n);
	s.b = s.a + p->a_bytes;
	s.sums = s.b + p->b_bytes;
	for (s.j0 = j0; s.j0 < j1; s.j0 += p->nc)
		for (s.i0 = i0; s.i0 < i1; s.i0 += p->mc)
			for (s.p0 = 0, s.last = false; !s.last; s.p0 += p->kc) {
				s.cols = weir__min(p->nc, j1 - s.j0);
				s.rows = weir__min(p->mc, i1 - s.i0);
				s.steps = weir__min(p->kc, p->k - s.p0);
				s.first = s.p0 == 0;
				s.last = s.p0 + p->kc >= p->k;
				do_block(&s);
			}
}

static void task(void *arg, int64_t begin, int64_t end)
{
	const weir_gemm_plan *p = arg;
	int64_t panels = weir__ceil_div(p->n, p->nr);

	for (int64_t id = begin; id < end; id++) {
		int64_t gm = id / p->grid_n, gn = id % p->grid_n;

		do_rectangle(p, (int)id, p->m * gm / p->grid_m, p->m * (gm + 1) / p->grid_m,
			     panels * gn / p->grid_n * p->nr, weir__min(panels * (gn + 1) / p->grid_n * p->nr, p->n));
	}
}

void weir__gemm_run(weir_gemm_plan *p, void *workspace)
{
	p->workspace = workspace;
	if (p->threads == 1) do_rectangle(p, 0, 0, p->m, 0, p->n);
	else weir__parallel(p->threads, p->threads, 1, task, p);
	if (!p->squares) return;
	for (int gm = 1; gm < p->grid_m; gm++) weir__squares_seam(p->g->squares, p->m * gm / p->grid_m * p->n);
	p->g->squares->done = true;
}
