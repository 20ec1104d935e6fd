/* gemm_batch.c: many products of one form, whole products shared out among threads. See gemm.h. */
#include "kernels/gemm_plan.h"

#include "kernels/cpu.h"
#include "kernels/threads.h"

typedef struct many {
	const weir_gemm_batch *batch;
	weir_gemm_plan p;
	int64_t count;
	size_t each; /* bytes of workspace of one thread */
	int teams;   /* so many products run side by side, on one thread each; or 1, and each on all threads */
} many;

static void plan_many(many *all, weir_dtype t, const weir_gemm_batch *batch, int threads)
{
	const weir_gemm *g = &batch->g;
	double flops = 2.0 * (double)g->m * (double)g->n * (double)g->k;

	*all = (many){ .batch = batch, .count = 1, .teams = 1 };
	for (int i = 0; i < batch->rank; i++) all->count *= batch->shape[i];
	threads = threads < 1 ? 1 : threads > WEIR__MAX_THREADS ? WEIR__MAX_THREADS : threads;
	/* a product of its own team wins where some threads would have no product */
	if (weir__threads_for(threads, flops) == 1 || all->count % threads == 0 || all->count >= 4 * threads)
		all->teams = weir__threads_for((int)weir__min(threads, all->count), flops * (double)all->count);
	weir__gemm_plan(&all->p, weir__kernels(), t, g, all->teams > 1 ? 1 : threads);
	all->each = weir__gemm_bytes(&all->p);
}

static const void *along(const void *p, int64_t bytes)
{
	return p ? (const char *)p + bytes : NULL;
}

/* Products begin..end, their indices counted up like an odometer's digits. */
static void do_products(const many *all, int64_t begin, int64_t end, char *workspace)
{
	const weir_gemm_batch *batch = all->batch;
	int64_t index[WEIR_MAX_RANK] = { 0 }, rest = begin, a = 0, b = 0;
	weir_gemm_plan p = all->p;

	for (int i = batch->rank - 1; i >= 0; rest /= batch->shape[i--]) index[i] = rest % batch->shape[i];
	for (int i = 0; i < batch->rank; i++) a += index[i] * batch->a_stride[i], b += index[i] * batch->b_stride[i];
	for (int64_t n = begin; n < end; n++) {
		weir__gemm_point(&p, along(batch->g.a, a * p.size), along(batch->g.b, b * p.size),
				 (char *)batch->g.c + n * batch->c_stride * p.size);
		weir__gemm_run(&p, workspace);
		for (int i = batch->rank - 1; i >= 0; i--) {
			bool stays = ++index[i] < batch->shape[i];
			int64_t step = stays ? 1 : 1 - batch->shape[i];

			a += step * batch->a_stride[i];
			b += step * batch->b_stride[i];
			if (stays) break;
			index[i] = 0;
		}
	}
}

static void some_products(void *arg, int64_t begin, int64_t end)
{
	const many *all = arg;

	for (int64_t team = begin; team < end; team++)
		do_products(all, all->count * team / all->teams, all->count * (team + 1) / all->teams,
			    all->p.workspace + (size_t)team * all->each);
}

static bool nothing(const weir_gemm_batch *batch)
{
	for (int i = 0; i < batch->rank; i++)
		if (batch->shape[i] <= 0) return true;
	return batch->g.m <= 0 || batch->g.n <= 0 || batch->g.mode == WEIR_DST_SKIP;
}

size_t weir__gemm_batch_workspace(weir_dtype t, const weir_gemm_batch *batch, int threads)
{
	many all;

	if (nothing(batch)) return 0;
	plan_many(&all, t, batch, threads);
	return (size_t)all.teams * all.each;
}

void weir__gemm_batch(weir_dtype t, const weir_gemm_batch *batch, void *workspace, int threads)
{
	many all;

	if (nothing(batch)) return;
	plan_many(&all, t, batch, threads);
	all.p.workspace = workspace;
	if (all.teams == 1) do_products(&all, 0, all.count, workspace);
	else weir__parallel(all.teams, all.teams, 1, some_products, &all);
}
