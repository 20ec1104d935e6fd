/* squares.c: see squares.h. */
#include "kernels/squares.h"

#include <string.h>

#include "kernels/threads.h"

enum {
	BLOCK = 128,  /* of weir__sumsq; a multiple of its lanes */
	SHORT = 2048, /* fewer elements wait for more: half of a first-level cache keeps them */
};

static void add(const weir_squares *s, double *lane, int64_t at, int64_t n)
{
	const weir_kernels *k = weir__kernels();

	if (s->t == WEIR_F32) k->lanes_sumsq_fast(lane, (const float *)s->y + at, n);
	else k->lanes_sumsq[1](lane, (const double *)s->y + at, n);
}

void weir__squares_begin(weir_squares_walk *k, const weir_squares *s, int64_t begin, int64_t end)
{
	k->s = s;
	k->at = weir__chunks(begin) * WEIR_CHUNK;
	k->end = end < s->n ? end / WEIR_CHUNK * WEIR_CHUNK : s->n;
	memset(k->lane, 0, sizeof k->lane);
}

void weir__squares_upto(weir_squares_walk *k, int64_t written)
{
	int64_t to = written < k->end ? written / BLOCK * BLOCK : k->end;

	if (to < k->end && to - k->at < SHORT) return;
	while (k->at < to) {
		int64_t chunk = k->at / WEIR_CHUNK, end = (chunk + 1) * WEIR_CHUNK;

		if (end > k->end) end = k->end;
		add(k->s, k->lane, k->at, (to < end ? to : end) - k->at);
		k->at = to < end ? to : end;
		if (k->at < end) return;
		k->s->chunk[chunk] = weir__fold(k->lane);
		memset(k->lane, 0, sizeof k->lane);
	}
}

void weir__squares_seam(const weir_squares *s, int64_t i)
{
	int64_t begin = i / WEIR_CHUNK * WEIR_CHUNK;
	weir_squares_walk k;

	if (i == begin) return;
	weir__squares_begin(&k, s, begin, begin + WEIR_CHUNK);
	weir__squares_upto(&k, s->n);
}

double weir__squares_norm(const weir_squares *s, int threads)
{
	weir_tree tree;
	double sum;

	weir__tree_begin(&tree);
	for (int64_t c = 0; c < weir__chunks(s->n); c++) weir__tree_add(&tree, s->chunk[c]);
	sum = weir__tree_sum(&tree);
	if (s->t == WEIR_F64 && !weir__sumsq_safe(sum)) return weir__norm2(s->t, s->y, s->n, threads);
	return __builtin_sqrt(sum);
}

double weir__squares_rate(void)
{
	enum { TRIES = 5, ROUNDS = 16 };
	_Alignas(64) float y[WEIR_CHUNK / 2];
	weir_squares s = { .t = WEIR_F32, .y = y, .n = WEIR_CHUNK / 2, .chunk = (double[1]){ 0 } };
	int64_t best = 0;

	for (int i = 0; i < WEIR_CHUNK / 2; i++) y[i] = 1.0f;
	for (int i = 0; i < TRIES; i++) {
		int64_t begin = weir__clock(), took;

		for (int r = 0; r < ROUNDS; r++) {
			weir_squares_walk k;

			weir__squares_begin(&k, &s, 0, s.n);
			weir__squares_upto(&k, s.n);
		}
		took = weir__clock() - begin;
		if (!i || took < best) best = took;
	}
	return 1e-9 * (double)best / ROUNDS / (double)s.n;
}
