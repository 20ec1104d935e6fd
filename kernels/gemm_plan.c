/* gemm_plan.c: decides how a matrix product is cut. See gemm_plan.h; docs/kernels.md has the reasons and the pictures.
 *
 * Nothing here changes a bit of the result: whatever the cut, each element is the same chain. The numbers were measured
 * on AVX-512 machines with 48 KB of first-level and 1 to 2 MB of second-level cache. */
#include "kernels/gemm_plan.h"

#include "kernels/cpu.h"
#include "kernels/threads.h"

enum {
	LINE = 64,
	STREAM_K = 128,         /* the block of k where B is read once, in place */
	ONCE_K = 256,           /* the same, packed on the way */
	K_OF = 16,              /* a block of k ends with a cache line, where it can */
	TURN_WIDTH = 4,         /* the widest tile, in vectors, on a B that must be turned: its panel stays in cache */
	B_BYTES = 512 * 1024,   /* a block of B, for the second-level cache */
	PLACED_ROWS = 256,      /* so few rows of A are not worth a copy of B */
	SUM_BYTES = 256 * 1024, /* of partial sums in the workspace */
	SUM_ROWS = 256,         /* so many rows of them, where there are so many */
	SET_BYTES = 4096,       /* lines at this distance share a few sets of a cache */
	CROWDED_ROWS = 8,       /* so many of them stay in the first-level cache */
};

/* Estimates, in multiply-adds of one vector: of reading a vector of an operand whose lanes lie next to each other,
 * of turning one of the other kind, and of turning and writing a column of a tile of a flipped product. */
static const double READ = 2.0, TURN = 7.0, SCATTER = 8.0;

/* Up to a multiple of a power of two. */
static int64_t round_up(int64_t a, int64_t power)
{
	return (a + power - 1) & -power;
}

/* The size of equal pieces of n, as few as possible, of at most `most`. */
static int64_t even(int64_t n, int64_t most)
{
	return n <= most ? n : weir__ceil_div(n, weir__ceil_div(n, most));
}

/* Rows times vectors of a product as the multipliers see it: with fewer than eight chains they wait. */
static double tiles(const weir_gemm_kernel *kernel, int64_t m, int64_t n)
{
	int64_t rows = weir__min(m, kernel->mr), vectors = weir__ceil_div(n, kernel->lanes);
	double chains = (double)(rows * weir__min(vectors, kernel->widths[rows]));

	return (double)m * (double)vectors * (chains < 8 ? 8 / chains : 1);
}

/* C = A B with lanes along the columns of B, per step of k. */
static double cost(const weir_gemm_kernel *kernel, int64_t m, int64_t n, int64_t b_lane)
{
	return tiles(kernel, m, n) + (b_lane == 1 ? 0 : TURN * (double)weir__ceil_div(n, kernel->lanes));
}

/* Is C' = B' A' cheaper? Not where all of B is read in place. */
static bool better_flipped(const weir_gemm_kernel *kernel, const weir_gemm *g)
{
	if (g->bcs == 1 && g->n == round_up(g->n, kernel->lanes)) return false;

	double scatter = SCATTER * (double)g->m * (double)weir__ceil_div(g->n, kernel->mr) / (double)(g->k + 1);

	return cost(kernel, g->n, g->m, g->ars) + scatter < cost(kernel, g->m, g->n, g->bcs);
}

/* What the slowest thread has to do under a grid of gm x gn rectangles, per step of k. Reading counts however small the operand is: lines that
 * two threads have read, the next one to write them must call back. */
static double grid_cost(const weir_gemm_plan *p, int gm, int gn)
{
	const weir_gemm_kernel *kernel = p->kernel;
	int64_t rows = weir__ceil_div(p->m, gm), cols = weir__ceil_div(weir__ceil_div(p->n, p->nr), gn) * p->nr;
	double a = (double)weir__ceil_div(rows, kernel->lanes), b = (double)weir__ceil_div(cols, kernel->lanes);

	return tiles(kernel, rows, cols) + (p->b.lane == 1 ? READ : TURN) * b + READ * a;
}

static void choose_grid(weir_gemm_plan *p, int threads)
{
	double best = 0;

	p->threads = p->grid_m = p->grid_n = 1;
	threads = threads < 1 ? 1 : threads > WEIR__MAX_THREADS ? WEIR__MAX_THREADS : threads;
	if (weir__threads_for(threads, 2.0 * (double)p->m * (double)p->n * (double)p->k) == 1) return;
	for (int gm = 1; gm <= threads; gm++) {
		if (threads % gm) continue;
		/* a cut through rows costs a second pass for their squares: some 3 % where k is that of a batch */
		double estimate = grid_cost(p, gm, threads / gm) * (p->g->squares && gm < threads ? 1.03 : 1.0);

		if (best > 0 && estimate > best)
			continue; /* where it makes no difference, rows: C is written in longer runs */
		best = estimate;
		p->grid_m = gm;
		p->grid_n = threads / gm;
	}
	p->threads = threads;
}

/* Do the lanes of an operand that is read in place lie so that their lines push each other out of the cache? */
static bool crowded(const weir_gemm_plan *p, const weir_gemm_operand *x)
{
	return x->step == 1 && x->lane * p->size % SET_BYTES == 0;
}

static void choose_tile(weir_gemm_plan *p, int64_t rows)
{
	int64_t most = p->kernel->mr, width;

	p->b_placed = p->b.lane == 1 && rows <= PLACED_ROWS;
	p->b_turned = p->b.lane != 1 && p->b.step == 1 && rows <= p->kernel->turned;
	/* fewer rows read B more often, which counts where it isn't packed */
	if (rows > most && !p->b_placed && crowded(p, &p->a)) most = weir__min(most, CROWDED_ROWS);
	p->panel = even(rows, most);
	width = p->kernel->widths[p->panel];
	if (p->b_turned) width = crowded(p, &p->b) ? 1 : 2;
	else if (p->b.lane != 1) width = weir__min(width, TURN_WIDTH);
	p->nr = p->kernel->lanes * width;
}

/* The block of k, a multiple of a cache line where it is cut: as long as a panel of A stays in the first-level cache, or B
 * whole in the second. */
static int64_t steps(const weir_gemm_plan *p, int64_t cols, bool once)
{
	int64_t most = p->kernel->max_k;

	if (once) most = p->b_turned ? p->k : p->b_placed ? STREAM_K : ONCE_K;
	else if (p->k > most && B_BYTES / (cols * p->size) > most) most = B_BYTES / (cols * p->size);
	return p->k > most ? round_up(even(p->k, most), K_OF) : p->k;
}

/* Sums that stand apart stay in the cache. B is packed again for each block of rows, so they are tall. */
static void cut_sums(weir_gemm_plan *p, int64_t rows, int64_t cols)
{
	int64_t tall = weir__min(rows, SUM_ROWS), fit;

	p->nc = weir__min(p->nc, round_up(even(cols, SUM_BYTES / (tall * p->size)), p->nr));
	fit = SUM_BYTES / (p->nc * p->size);
	p->mc = even(rows, fit > tall ? fit : tall);
}

/* What is packed, the blocks, and room for both, of a thread with rows x cols of C; cols is a multiple of nr. */
static void choose_blocks(weir_gemm_plan *p, int64_t rows, int64_t cols)
{
	bool once = rows <= p->panel, placed = p->b_placed, turned = p->b_turned;
	int64_t of_k, held;

	p->b_once = once;
	p->a_packed = cols > 2 * p->nr && p->a.step != 1 && p->a.lane != 1;
	p->kc = steps(p, cols, once);
	of_k = p->kc * p->size;
	p->nc = once || cols * of_k <= B_BYTES ? cols : round_up(even(cols, B_BYTES / of_k), p->nr);
	p->mc = rows;
	p->sums_apart = p->flipped || (p->g->mode == WEIR_DST_ADD && p->kc < p->k);
	if (p->sums_apart && rows * p->nc * p->size > SUM_BYTES) cut_sums(p, rows, cols);
	held = once || placed ? p->nr : p->nc;
	if (turned || (placed && p->n == round_up(p->n, p->kernel->lanes))) held = 0;
	p->a_bytes = p->a_packed ? (size_t)round_up(p->kernel->lanes_a * of_k, LINE) : 0;
	p->b_bytes = (size_t)round_up(held * of_k, LINE);
	p->sum_bytes = p->sums_apart ? (size_t)round_up(p->mc * p->nc * p->size, LINE) : 0;
}

/* Field by field: a copy of a structure just filled waits until the stores have left the pipeline. */
void weir__gemm_point(weir_gemm_plan *p, const void *a, const void *b, void *c)
{
	weir_gemm_operand *rows = p->flipped ? &p->b : &p->a, *columns = p->flipped ? &p->a : &p->b;

	rows->p = a;
	columns->p = b;
	rows->step = p->g->acs;
	columns->step = p->g->brs;
	rows->lane = p->k ? p->g->ars : 0; /* without steps there may be no memory */
	columns->lane = p->k ? p->g->bcs : 0;
	p->c = c;
}

void weir__gemm_plan(weir_gemm_plan *p, const weir_kernels *kernels, weir_dtype t, const weir_gemm *g, int threads)
{
	bool wide = t == WEIR_F64;

	*p = (weir_gemm_plan){ .kernel = kernels->gemm[wide], .g = g, .size = wide ? 8 : 4, .k = g->k };
	if (g->m <= 0 || g->n <= 0 || g->mode == WEIR_DST_SKIP) return;
	if (g->act != WEIR_MAP_COUNT) p->act = kernels->map[g->act][wide];
	p->flipped = better_flipped(p->kernel, g);
	p->m = p->flipped ? g->n : g->m;
	p->n = p->flipped ? g->m : g->n;
	weir__gemm_point(p, g->a, g->b, g->c);
	choose_tile(p, p->m);
	choose_grid(p, threads);

	int64_t rows = p->m, cols = p->n;

	if (p->threads > 1) {
		rows = weir__ceil_div(rows, p->grid_m);
		choose_tile(p, rows);
		cols = weir__ceil_div(weir__ceil_div(cols, p->nr), p->grid_n) * p->nr;
	}
	choose_blocks(p, rows, round_up(cols, p->nr));
	p->squares =
		weir__squares_of(g->squares, t, g->c, g->m * g->n) && g->crs == g->n && !p->flipped && p->nc >= p->n;
}
