/* softmax.c: shares the rows of softmax.h among threads; the work is in body_softmax.c. */
#include "kernels/softmax.h"

#include "kernels/cpu.h"
#include "kernels/threads.h"

typedef struct job {
	const weir_kernels *k;
	int d; /* index into the kernel table */
	int64_t n, size;
	const char *x, *gy, *labels, *g;
	char *y;
	int64_t gstep;
	bool wide, add;
} job;

/* About what an element costs, as weir__threads_for() counts. */
enum { COST = 64 };

static job new_job(weir_dtype t, int64_t n, const void *x, void *y)
{
	return (job){ .k = weir__kernels(), .d = t == WEIR_F64, .n = n, .size = t == WEIR_F64 ? 8 : 4, .x = x, .y = y };
}

static void run(job *j, weir_task_fn *fn, int64_t rows, int threads)
{
	if (rows > 0 && j->n > 0)
		weir__parallel(weir__threads_for(threads, (double)rows * (double)j->n * COST), rows, 1, fn, j);
}

static void softmax(void *arg, int64_t begin, int64_t end)
{
	const job *j = arg;
	int64_t at = begin * j->n * j->size;

	j->k->softmax[j->d](j->y + at, j->x + at, end - begin, j->n);
}

void weir__softmax(weir_dtype t, int64_t rows, int64_t n, const void *x, void *y, int threads)
{
	job j = new_job(t, n, x, y);

	run(&j, softmax, rows, threads);
}

static void log_softmax(void *arg, int64_t begin, int64_t end)
{
	const job *j = arg;
	int64_t at = begin * j->n * j->size;

	j->k->log_softmax[j->d](j->y + at, j->x + at, end - begin, j->n);
}

void weir__log_softmax(weir_dtype t, int64_t rows, int64_t n, const void *x, void *y, int threads)
{
	job j = new_job(t, n, x, y);

	run(&j, log_softmax, rows, threads);
}

static void softmax_vjp(void *arg, int64_t begin, int64_t end)
{
	const job *j = arg;
	int64_t at = begin * j->n * j->size;

	j->k->softmax_vjp[j->d](j->y + at, j->x + at, j->gy + at, end - begin, j->n, j->add);
}

void weir__softmax_vjp(weir_dtype t, int64_t rows, int64_t n, const void *y, const void *gy, void *gx,
		       weir_dst_mode mode, int threads)
{
	job j = new_job(t, n, y, gx);

	if (mode == WEIR_DST_SKIP) return;
	j.gy = gy;
	j.add = mode == WEIR_DST_ADD;
	run(&j, softmax_vjp, rows, threads);
}

static void log_softmax_vjp(void *arg, int64_t begin, int64_t end)
{
	const job *j = arg;
	int64_t at = begin * j->n * j->size;

	j->k->log_softmax_vjp[j->d](j->y + at, j->x + at, j->gy + at, end - begin, j->n, j->add);
}

void weir__log_softmax_vjp(weir_dtype t, int64_t rows, int64_t n, const void *y, const void *gy, void *gx,
			   weir_dst_mode mode, int threads)
{
	job j = new_job(t, n, y, gx);

	if (mode == WEIR_DST_SKIP) return;
	j.gy = gy;
	j.add = mode == WEIR_DST_ADD;
	run(&j, log_softmax_vjp, rows, threads);
}

static void cross_entropy(void *arg, int64_t begin, int64_t end)
{
	const job *j = arg;
	const char *labels = j->labels + begin * (j->wide ? 8 : 4);

	j->k->cross_entropy[j->d](j->y + begin * j->size, j->x + begin * j->n * j->size, labels, j->wide, end - begin,
				  j->n);
}

void weir__cross_entropy(weir_dtype t, int64_t rows, int64_t n, const void *x, weir_dtype lt, const void *labels,
			 void *loss, int threads)
{
	job j = new_job(t, n, x, loss);

	j.labels = labels;
	j.wide = lt == WEIR_I64;
	run(&j, cross_entropy, rows, threads);
}

static void cross_entropy_vjp(void *arg, int64_t begin, int64_t end)
{
	const job *j = arg;
	const char *labels = j->labels + begin * (j->wide ? 8 : 4), *g = j->g + begin * j->gstep * j->size;
	int64_t at = begin * j->n * j->size;

	j->k->cross_entropy_vjp[j->d](j->y + at, j->x + at, labels, j->wide, g, j->gstep, end - begin, j->n, j->add);
}

void weir__cross_entropy_vjp(weir_dtype t, int64_t rows, int64_t n, const void *x, weir_dtype lt, const void *labels,
			     const void *g, int64_t gstep, void *gx, weir_dst_mode mode, int threads)
{
	job j = new_job(t, n, x, gx);

	if (mode == WEIR_DST_SKIP) return;
	j.labels = labels;
	j.wide = lt == WEIR_I64;
	j.g = g;
	j.gstep = gstep;
	j.add = mode == WEIR_DST_ADD;
	run(&j, cross_entropy_vjp, rows, threads);
}
