/* gemm.c: drives the register tiles of body_gemm.c over a matrix product: blocking, packing, sharing out
 * among threads, epilogue.
 *
 * C is cut into a grid of rectangles, one per thread, and each is done alone, with its own packed copies of
 * what it needs of A and B, so that threads never wait for each other. Within a rectangle:
 *
 *   for each block of columns (nc), of rows (mc), of k (kc):
 *     pack the block of B into panels of nr columns              second-level cache
 *     for each panel of mr rows: pack it                         first-level cache
 *       for each panel of B: one tile                            registers
 *       after the last block of k: the activation, on rows that are still in cache
 *
 * Partial sums between blocks of k stand in C itself, or in the workspace where C must keep its old value
 * for the addition at the end.
 *
 * A product with few columns (n below a panel's width) is done as its transpose, C' = B' A', which is the
 * same chain for every element: the rows of A become the lanes. Letters: M N K as in gemm.h, of the product
 * as it is carried out. */
#include "kernels/gemm.h"

#include "kernels/cpu.h"
#include "kernels/threads.h"

enum {
	LINE = 64,
	STREAM_K = 128,       /* the block of k where B is read once, in place */
	ONCE_K = 256,         /* the same, packed on the way */
	B_BYTES = 512 * 1024, /* a packed block of B */
	SUM_ROWS = 256,       /* rows of partial sums in the workspace */
};

/* What packing an element costs, in multiply-adds of one lane. Only the shape of the grid hangs on it. */
static const double PACK_COST = 8.0;

typedef struct matrix {
	const char *p;
	int64_t lane, step; /* strides in elements: along the rows of A or columns of B, and along k */
} matrix;

typedef struct plan {
	const weir_gemm_kernel *kernel;
	const weir_gemm *g;
	weir_map_fn *act;
	int64_t size; /* of an element */
	int64_t m, n, k;
	matrix a, b;
	int64_t crs, ccs;
	bool flipped;
	int threads, grid_m, grid_n;
	int64_t kc, nc, mc;
	bool b_once;     /* each panel of B serves one panel of A: read in place, or packed just before it is used */
	bool sums_apart; /* partial sums stand in the workspace */
	bool squares;    /* those of C are taken panel by panel */
	size_t a_bytes, b_bytes, sum_bytes; /* of one thread */
	char *workspace;
} plan;

static int64_t min_i(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
	return a / b + (a % b != 0);
}

static int64_t round_up(int64_t a, int64_t b)
{
	return ceil_div(a, b) * b;
}

/* n cut into as few equal blocks of at most `most` as possible, each a multiple of `of`. */
static int64_t even_block(int64_t n, int64_t most, int64_t of)
{
	int64_t blocks = ceil_div(n, most);

	return blocks < 1 ? of : round_up(ceil_div(n, blocks), of);
}

/* What the slowest thread has to do under a grid of gm x gn rectangles. */
static double grid_cost(const plan *p, int gm, int gn)
{
	double rows = (double)ceil_div(p->m, gm);
	double cols = (double)(ceil_div(ceil_div(p->n, p->kernel->nr), gn) * p->kernel->nr);

	return (rows * cols + PACK_COST * (rows + cols)) * (double)p->k;
}

static void choose_grid(plan *p, int threads)
{
	double best = 0;

	p->threads = p->grid_m = p->grid_n = 1;
	threads = threads < 1 ? 1 : threads > WEIR__MAX_THREADS ? WEIR__MAX_THREADS : threads;
	if (weir__threads_for(threads, 2.0 * (double)p->m * (double)p->n * (double)p->k) == 1) return;
	for (int gm = 1; gm <= threads; gm++) {
		if (threads % gm) continue;
		/* a cut through rows costs a second pass for their squares: some 3 % where k is that of a batch */
		double cost = grid_cost(p, gm, threads / gm) * (p->g->squares && gm < threads ? 1.03 : 1.0);

		if (best > 0 && cost >= best) continue;
		best = cost;
		p->grid_m = gm;
		p->grid_n = threads / gm;
	}
	p->threads = threads;
}

/* The share of lanes and rows of whole tiles that m x n fills. */
static double filled(const weir_gemm_kernel *kernel, int64_t m, int64_t n)
{
	int64_t rows = m < 4 ? 4 : m; /* fewer rows leave the multipliers waiting for each other */

	return (double)m / (double)rows * ((double)n / (double)round_up(n, kernel->nr));
}

static plan make_plan(const weir_kernels *kernels, weir_dtype t, const weir_gemm *g, int threads)
{
	plan p = { .kernel = kernels->gemm[t == WEIR_F64], .g = g, .size = t == WEIR_F64 ? 8 : 4, .k = g->k };
	const weir_gemm_kernel *kernel = p.kernel;

	if (g->act != WEIR_MAP_COUNT) p.act = kernels->map[g->act][t == WEIR_F64];
	p.flipped = g->n < kernel->nr && g->m > g->n && filled(kernel, g->n, g->m) > 1.25 * filled(kernel, g->m, g->n);
	if (p.flipped) {
		p.m = g->n, p.n = g->m;
		p.a = (matrix){ g->b, g->bcs, g->brs };
		p.b = (matrix){ g->a, g->ars, g->acs };
		p.crs = 1, p.ccs = g->crs;
	} else {
		p.m = g->m, p.n = g->n;
		p.a = (matrix){ g->a, g->ars, g->acs };
		p.b = (matrix){ g->b, g->bcs, g->brs };
		p.crs = g->crs, p.ccs = 1;
	}
	choose_grid(&p, threads);

	int64_t rows = ceil_div(p.m, p.grid_m), cols = ceil_div(ceil_div(p.n, kernel->nr), p.grid_n) * kernel->nr;

	p.b_once = rows <= kernel->mr;
	p.kc = even_block(p.k, !p.b_once ? kernel->max_k : p.b.lane == 1 ? STREAM_K : ONCE_K, 1);
	p.nc = even_block(cols, p.b_once ? cols : B_BYTES / p.size / p.kc / kernel->nr * kernel->nr, kernel->nr);
	p.sums_apart = g->mode == WEIR_DST_ADD && p.kc < p.k;
	p.mc = p.sums_apart ? even_block(rows, SUM_ROWS, 1) : rows;
	p.squares = weir__squares_of(g->squares, t, g->c, g->m * g->n) && g->crs == g->n && !p.flipped && p.nc >= p.n;
	p.a_bytes = (size_t)round_up(kernel->lanes_a * p.kc * p.size, LINE);
	p.b_bytes = (size_t)round_up((p.b_once ? kernel->nr : p.nc) * p.kc * p.size, LINE);
	p.sum_bytes = p.sums_apart ? (size_t)round_up(p.mc * p.nc * p.size, LINE) : 0;
	return p;
}

/* One thread's rectangle and where it stands in it. */
typedef struct place {
	const plan *p;
	char *a, *b, *sums;                    /* the workspace of this thread */
	int64_t i0, rows, j0, cols, p0, steps; /* the block */
	bool first, last;                      /* of the blocks of k */
	weir_squares_walk walk;
} place;

static const char *at(const plan *p, const matrix *x, int64_t lane, int64_t step)
{
	return x->p + (lane * x->lane + step * x->step) * p->size;
}

/* The tiles of the panel of rows i..i+rows. */
static void do_panel(const place *s, int64_t i, int64_t rows)
{
	const plan *p = s->p;
	const weir_gemm *g = p->g;
	const weir_gemm_kernel *kernel = p->kernel;
	weir_gemm_tile t = { .k = s->steps, .rows = rows, .a = s->a, .to_rs = p->crs, .to_cs = p->ccs };
	char *c = g->c, *sums = s->sums;

	kernel->pack(s->a, kernel->lanes_a, at(p, &p->a, i, s->p0), p->a.lane, p->a.step, rows, rows, s->steps);
	for (int64_t j = s->j0; j < s->j0 + s->cols; j += kernel->nr) {
		int64_t in_c = i * p->crs + j * p->ccs, in_sums = (i - s->i0) * p->nc + (j - s->j0);

		t.cols = min_i(kernel->nr, s->j0 + s->cols - j);
		t.b = s->b + (j - s->j0) * s->steps * p->size;
		t.b_step = kernel->nr;
		if (p->b_once && p->b.lane == 1 && t.cols == kernel->nr) {
			t.b = at(p, &p->b, j, s->p0);
			t.b_step = p->b.step;
		} else if (p->b_once) {
			kernel->pack(s->b, kernel->nr, at(p, &p->b, j, s->p0), p->b.lane, p->b.step, t.cols, kernel->nr,
				     s->steps);
			t.b = s->b;
		}
		t.to = c + in_c * p->size;
		if (p->sums_apart && !s->last) t.to = sums + in_sums * p->size, t.to_rs = p->nc, t.to_cs = 1;
		if (!s->first && p->sums_apart) t.from = sums + in_sums * p->size, t.from_rs = p->nc, t.from_cs = 1;
		else if (!s->first) t.from = t.to, t.from_rs = p->crs, t.from_cs = p->ccs;
		t.add = s->last && g->mode == WEIR_DST_ADD;
		if (s->last && g->bias) {
			t.bias = (const char *)g->bias + (p->flipped ? i : j) * p->size;
			t.bias_rs = p->flipped;
			t.bias_cs = !p->flipped;
		}
		kernel->tile(&t);
	}
}

/* act_out = act(c) on finished elements: rows and columns of the product as it was asked for. */
static void activate(const plan *p, int64_t i, int64_t rows, int64_t j, int64_t cols)
{
	const weir_gemm *g = p->g;

	if (cols == g->crs && cols == g->act_rs) cols *= rows, rows = 1;
	for (int64_t r = i; r < i + rows; r++) {
		const void *x = (const char *)g->c + (r * g->crs + j) * p->size;

		p->act((char *)g->act_out + (r * g->act_rs + j) * p->size, &x, cols, NULL);
	}
}

static void do_block(place *s)
{
	const plan *p = s->p;
	const weir_gemm_kernel *kernel = p->kernel;
	int64_t panel = even_block(s->rows, kernel->mr, 1);

	for (int64_t j = 0; j < s->cols && !p->b_once; j += kernel->nr)
		kernel->pack(s->b + j * s->steps * p->size, kernel->nr, at(p, &p->b, s->j0 + j, s->p0), p->b.lane,
			     p->b.step, min_i(kernel->nr, s->cols - j), kernel->nr, s->steps);
	for (int64_t i = s->i0; i < s->i0 + s->rows; i += panel) {
		int64_t rows = min_i(panel, s->i0 + s->rows - i);

		do_panel(s, i, rows);
		if (s->last && p->act && !p->flipped) activate(p, i, rows, s->j0, s->cols);
		if (s->last && p->squares) weir__squares_upto(&s->walk, (i + rows) * p->n);
	}
	if (s->last && p->act && p->flipped) activate(p, s->j0, s->cols, s->i0, s->rows);
}

static void do_rectangle(const plan *p, int id)
{
	int64_t gm = id / p->grid_n, gn = id % p->grid_n, panels = ceil_div(p->n, p->kernel->nr);
	int64_t i1 = p->m * (gm + 1) / p->grid_m, j1 = min_i(panels * (gn + 1) / p->grid_n * p->kernel->nr, p->n);
	int64_t i0 = p->m * gm / p->grid_m, j0 = panels * gn / p->grid_n * p->kernel->nr;
	place s = { .p = p, .a = p->workspace + (size_t)id * (p->a_bytes + p->b_bytes + p->sum_bytes) };

	if (p->squares) weir__squares_begin(&s.walk, p->g->squares, i0 * p->n, i1 * p->n);
	s.b = s.a + p->a_bytes;
	s.sums = s.b + p->b_bytes;
	for (s.j0 = j0; s.j0 < j1; s.j0 += p->nc)
		for (s.i0 = i0; s.i0 < i1; s.i0 += p->mc)
			for (s.p0 = 0, s.last = false; !s.last; s.p0 += p->kc) {
				s.cols = min_i(p->nc, j1 - s.j0);
				s.rows = min_i(p->mc, i1 - s.i0);
				s.steps = min_i(p->kc, p->k - s.p0);
				s.first = s.p0 == 0;
				s.last = s.p0 + p->kc >= p->k;
				do_block(&s);
			}
}

static void task(void *arg, int64_t begin, int64_t end)
{
	for (int64_t id = begin; id < end; id++) do_rectangle(arg, (int)id);
}

size_t weir__gemm_workspace_with(const weir_kernels *kernels, weir_dtype t, const weir_gemm *g, int threads)
{
	plan p;

	if (g->m <= 0 || g->n <= 0) return 0;
	p = make_plan(kernels, t, g, threads);
	return (size_t)p.threads * (p.a_bytes + p.b_bytes + p.sum_bytes);
}

void weir__gemm_with(const weir_kernels *kernels, weir_dtype t, const weir_gemm *g, void *workspace, int threads)
{
	plan p;

	if (g->m <= 0 || g->n <= 0 || g->mode == WEIR_DST_SKIP) return;
	p = make_plan(kernels, t, g, threads);
	p.workspace = workspace;
	weir__parallel(p.threads, p.threads, 1, task, &p);
	if (!p.squares) return;
	for (int gm = 1; gm < p.grid_m; gm++) weir__squares_seam(g->squares, p.m * gm / p.grid_m * p.n);
	g->squares->done = true;
}

size_t weir__gemm_workspace(weir_dtype t, const weir_gemm *g, int threads)
{
	return weir__gemm_workspace_with(weir__kernels(), t, g, threads);
}

void weir__gemm(weir_dtype t, const weir_gemm *g, void *workspace, int threads)
{
	weir__gemm_with(weir__kernels(), t, g, workspace, threads);
}
