/* layer_norm.c: shares the rows of layer_norm.h among threads; the work is in body_layer_norm.c.
 *
 * The gradients of weight and bias sum over rows in 16 lanes per chunk of 4,096 rows. A lane has a row of sums of its own, so threads
 * share out lanes: each takes the rows of its lanes, forms their gx, and adds to the lane's sums while they stay in the first-level cache. */
#include "kernels/layer_norm.h"

#include <string.h>

#include "kernels/cpu.h"
#include "kernels/reduce.h"
#include "kernels/threads.h"

typedef struct job {
	const weir_kernels *k;
	int d; /* index into the kernel table */
	int64_t rows, n, size;
	const char *x, *gy;
	const void *weight, *bias;
	char *y;      /* or gx */
	double *sums; /* of each lane: n of weight's, n of bias's; NULL: not asked for */
	double eps;
	bool add;
} job;

/* About what an element costs, as weir__threads_for() counts. */
enum { COST = 32 };

static job new_job(weir_dtype t, int64_t rows, int64_t n, const void *x, const void *weight, double eps)
{
	return (job){ .k = weir__kernels(),
		      .d = t == WEIR_F64,
		      .rows = rows,
		      .n = n,
		      .size = t == WEIR_F64 ? 8 : 4,
		      .x = x,
		      .weight = weight,
		      .eps = eps };
}

static int threads_of(const job *j, int threads)
{
	return weir__threads_for(threads, (double)j->rows * (double)j->n * COST);
}

static void forward(void *arg, int64_t begin, int64_t end)
{
	const job *j = arg;
	int64_t at = begin * j->n * j->size;

	j->k->layer_norm[j->d](j->y + at, j->x + at, j->weight, j->bias, j->eps, end - begin, j->n);
}

void weir__layer_norm(weir_dtype t, int64_t rows, int64_t n, const void *x, const void *weight, const void *bias,
		      double eps, void *y, int threads)
{
	job j = new_job(t, rows, n, x, weight, eps);

	j.bias = bias;
	j.y = y;
	if (n > 0) weir__parallel(threads_of(&j, threads), rows, 1, forward, &j);
}

static void rows_vjp(const job *j, int64_t first, int64_t rows, int64_t step, double *sums)
{
	int64_t at = first * j->n * j->size;

	j->k->layer_norm_vjp[j->d](j->y ? j->y + at : NULL, sums, j->x + at, j->weight, j->gy + at, j->eps, rows,
				   step * j->n, j->n, j->add);
}

static void vjp_rows(void *arg, int64_t begin, int64_t end)
{
	rows_vjp(arg, begin, end - begin, 1, NULL);
}

static void vjp_lanes(void *arg, int64_t begin, int64_t end)
{
	const job *j = arg;

	for (int64_t l = begin; l < end; l++) {
		double *sums = j->sums + l * 2 * j->n;

		memset(sums, 0, (size_t)(2 * j->n) * sizeof *sums);
		if (l < j->rows) rows_vjp(j, l, (j->rows - l + WEIR_LANES - 1) / WEIR_LANES, WEIR_LANES, sums);
	}
}

/* All lanes' sums into those of lane 0, as reduce.h says. */
static void fold(double *sums, int64_t width)
{
	for (int64_t h = WEIR_LANES / 2 * width; h >= width; h /= 2)
		for (int64_t i = 0; i < h; i++) sums[i] += sums[i + h];
}

static void put(weir_dtype t, void *y, int64_t i, double v, weir_dst_mode mode)
{
	bool add = mode == WEIR_DST_ADD;

	if (t == WEIR_F64) ((double *)y)[i] = add ? ((double *)y)[i] + v : v;
	else ((float *)y)[i] = add ? ((float *)y)[i] + (float)v : (float)v;
}

/* The trees over the chunks. */
static void finish(weir_dtype t, const double *sums, int64_t chunks, int64_t n, const weir_layer_norm_grads *g)
{
	for (int64_t i = 0; i < 2 * n; i++) {
		weir_dst_mode mode = i < n ? g->weight_mode : g->bias_mode;
		weir_tree tree;

		if (mode == WEIR_DST_SKIP) continue;
		weir__tree_begin(&tree);
		for (int64_t c = 0; c < chunks; c++) weir__tree_add(&tree, sums[c * 2 * n + i]);
		put(t, i < n ? g->weight : g->bias, i < n ? i : i - n, weir__tree_sum(&tree), mode);
	}
}

/* The sums of each chunk, and behind them the lanes of the one in hand. */
size_t weir__layer_norm_workspace(int64_t rows, int64_t n)
{
	int64_t chunks = (rows + WEIR_CHUNK - 1) / WEIR_CHUNK;

	return (size_t)((chunks + WEIR_LANES) * 2 * n) * sizeof(double);
}

void weir__layer_norm_vjp(weir_dtype t, int64_t rows, int64_t n, const void *x, const void *weight, const void *gy,
			  double eps, const weir_layer_norm_grads *g, void *work, int threads)
{
	job j = new_job(t, rows, n, x, weight, eps);
	int64_t chunks = (rows + WEIR_CHUNK - 1) / WEIR_CHUNK, width = 2 * n;
	double *sums = work;

	j.gy = gy;
	j.y = g->x_mode == WEIR_DST_SKIP ? NULL : g->x;
	j.add = g->x_mode == WEIR_DST_ADD;
	if (n <= 0) return;
	if (g->weight_mode == WEIR_DST_SKIP && g->bias_mode == WEIR_DST_SKIP) {
		if (j.y) weir__parallel(threads_of(&j, threads), rows, 1, vjp_rows, &j);
		return;
	}
	j.sums = sums + chunks * width;
	for (int64_t c = 0; c < chunks; c++) {
		int64_t step = WEIR_CHUNK * n * j.size;

		j.rows = rows - c * WEIR_CHUNK < WEIR_CHUNK ? rows - c * WEIR_CHUNK : WEIR_CHUNK;
		weir__parallel(threads_of(&j, threads), WEIR_LANES, 1, vjp_lanes, &j);
		fold(j.sums, width);
		memcpy(sums + c * width, j.sums, (size_t)width * sizeof *sums);
		j.x += step;
		j.gy += step;
		if (j.y) j.y += step;
	}
	finish(t, sums, chunks, n, g);
}
