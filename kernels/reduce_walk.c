/* reduce_walk.c: walks strided memory in logical order, chunk by chunk, and puts chunks together by the tree of reduce.h.
 *
 * Outputs are taken in blocks of up to 256 along the last axis that stays, by one of three walks:
 *
 *   COLUMNS  neighbouring outputs are neighbours in memory (column sums): 16 lanes for each column
 *   ROWS     each output reduces one contiguous row of a chunk or less
 *   SINGLE   one output per block; what doesn't lie in contiguous runs is packed in pieces, then takes the same inner loop */
#include "kernels/reduce_walk.h"

#include <string.h>

#include "kernels/threads.h"

enum { PARTS = 1024 };

typedef void lanes_fn(double *lane, const void *x, int64_t n);

/* Keeps the buffers of one function out of its caller's frame. */
#if defined(__GNUC__)
#define OWN_FRAME __attribute__((noinline))
#else
#define OWN_FRAME
#endif

void weir__red_seek(const weir_red_job *j, weir_red_cursor *c, const char *base, int64_t i)
{
	c->p = base;
	for (int a = j->rrank - 1; a >= 0; a--) {
		c->at[a] = a ? i % j->rshape[a] : i;
		if (a) i /= j->rshape[a];
		c->p += c->at[a] * j->rstride[a] * j->size;
	}
	c->left = j->rshape[j->rrank - 1] - c->at[j->rrank - 1];
}

/* k <= left */
static void advance(const weir_red_job *j, weir_red_cursor *c, int64_t k)
{
	int a = j->rrank - 1;

	c->p += k * j->rstride[a] * j->size;
	c->at[a] += k;
	c->left -= k;
	for (; a && c->at[a] == j->rshape[a]; a--) {
		c->p += (j->rstride[a - 1] - j->rshape[a] * j->rstride[a]) * j->size;
		c->at[a] = 0;
		c->at[a - 1]++;
	}
	if (!c->left) c->left = j->rshape[j->rrank - 1];
}

/* Copies the next n elements to buf. */
static void pack(const weir_red_job *j, weir_red_cursor *c, char *buf, int64_t n)
{
	int64_t step = j->rstride[j->rrank - 1] * j->size;

	for (int64_t take; n; n -= take) {
		take = c->left < n ? c->left : n;
		if (step == j->size) {
			memcpy(buf, c->p, (size_t)(take * j->size));
		} else if (j->size == 4) {
			for (int64_t i = 0; i < take; i++) memcpy(buf + 4 * i, c->p + i * step, 4);
		} else if (j->size == 8) {
			for (int64_t i = 0; i < take; i++) memcpy(buf + 8 * i, c->p + i * step, 8);
		} else {
			for (int64_t i = 0; i < take; i++) buf[i] = c->p[i * step];
		}
		buf += take * j->size;
		advance(j, c, take);
	}
}

const void *weir__red_piece(const weir_red_job *j, weir_red_cursor *c, void *buf, int64_t n, int64_t *got)
{
	const char *p = c->p;
	char *b = buf;
	bool scaled = j->scale[0] != 1.0 || j->scale[1] != 1.0;

	if (!scaled && j->rstride[j->rrank - 1] == 1 && (c->left >= n || c->left >= 256)) {
		*got = c->left >= n ? n : c->left & ~(int64_t)15;
		advance(j, c, *got);
		return p;
	}
	*got = n < WEIR_RED_PIECE ? n : WEIR_RED_PIECE;
	pack(j, c, buf, *got);
	for (int64_t i = 0; scaled && i < *got; i++) {
		double v;

		memcpy(&v, b + 8 * i, sizeof(v));
		v = v * j->scale[0] * j->scale[1];
		memcpy(b + 8 * i, &v, sizeof(v));
	}
	return buf;
}

/* The n <= 4096 elements at the cursor, for one output. */
OWN_FRAME static weir_part single_chunk(const weir_red_job *j, weir_red_cursor *c, int64_t n)
{
	_Alignas(64) char buf[WEIR_RED_PIECE * 8];
	_Alignas(64) double lane[WEIR_LANES] = { 0 };
	lanes_fn *add = j->square ? j->k->lanes_sumsq[j->d] : j->k->lanes_sum[j->d];
	bool smallest = j->op == WEIR_RED_amin;
	weir_part r = { .key = smallest ? INT64_MAX : INT64_MIN };

	for (int64_t got; n; n -= got) {
		const void *p = weir__red_piece(j, c, buf, n, &got);

		if (j->keyed) {
			int64_t key = (smallest ? j->k->key_min : j->k->key_max)[j->d](p, got);

			if (smallest ? key < r.key : key > r.key) r.key = key;
		} else if (j->fast) {
			j->k->lanes_sumsq_fast(lane, p, got);
		} else {
			add(lane, p, got);
		}
	}
	if (!j->keyed) r.sum = weir__fold(lane);
	return r;
}

/* The n <= 4096 rows at the cursor, for each of cols neighbouring outputs. */
OWN_FRAME static void columns_chunk(const weir_red_job *j, weir_red_cursor *c, int64_t n, int64_t cols, weir_part *out)
{
	_Alignas(64) double lane[WEIR_LANES][WEIR_RED_WIDTH];
	double sum[WEIR_RED_WIDTH];
	int64_t key[WEIR_RED_WIDTH], take;
	bool smallest = j->op == WEIR_RED_amin;

	for (int64_t l = 0; l < cols; l++) key[l] = smallest ? INT64_MAX : INT64_MIN;
	for (int64_t l = n; l < WEIR_LANES && !j->keyed; l++)
		memset(lane[l], 0, (size_t)((cols + 7) / 8 * 8) * sizeof(double));
	for (int64_t i = 0; i < n; i += take) {
		const void *p = c->p;
		int64_t stride = j->rstride[j->rrank - 1];

		take = c->left < n - i ? c->left : n - i;
		advance(j, c, take);
		if (j->keyed) (smallest ? j->k->columns_min : j->k->columns_max)[j->d](key, p, take, stride, cols);
		else (j->square ? j->k->columns_sumsq : j->k->columns_sum)[j->d](lane, p, take, stride, cols, i);
	}
	if (!j->keyed) j->k->columns_fold(sum, lane, cols);
	for (int64_t l = 0; l < cols; l++)
		out[l] = j->keyed ? (weir_part){ .key = key[l] } : (weir_part){ .sum = sum[l] };
}

static void join(const weir_red_job *j, weir_part *a, const weir_part *b, int64_t cols)
{
	for (int64_t l = 0; l < cols; l++) {
		if (!j->keyed) a[l].sum += b[l].sum;
		else if (j->op == WEIR_RED_amin ? b[l].key < a[l].key : b[l].key > a[l].key) a[l].key = b[l].key;
	}
}

/* The tree over parts that come one after the other; see weir_tree. */
typedef struct stack {
	weir_part *top;
	int depth;
	int64_t pushed;
} stack;

static void close_pairs(const weir_red_job *j, stack *s, int64_t cols, bool all)
{
	int64_t k = ++s->pushed;

	for (s->depth++; s->depth > 1 && (all || !(k & 1)); k >>= 1, s->depth--)
		join(j, s->top + (s->depth - 2) * cols, s->top + (s->depth - 1) * cols, cols);
}

/* The subtree of chunks c0 to c1 - 1, for cols outputs. */
OWN_FRAME static void subtree(const weir_red_job *j, const char *base, int64_t cols, int64_t c0, int64_t c1,
			      weir_part *out)
{
	weir_part top[WEIR_RED_LEVELS * WEIR_RED_WIDTH];
	stack s = { .top = top };
	weir_red_cursor c;

	if (j->walk == WEIR_RED_ROWS) {
		double sum[WEIR_RED_WIDTH];

		(j->square ? j->k->rows_sumsq : j->k->rows_sum)[j->d](sum, base, cols, j->ostride[j->orank - 1], j->n);
		for (int64_t l = 0; l < cols; l++) out[l].sum = sum[l];
		return;
	}
	weir__red_seek(j, &c, base, c0 * WEIR_CHUNK);
	for (int64_t i = c0; i < c1; i++) {
		int64_t n = i + 1 < j->chunks ? WEIR_CHUNK : j->n - i * WEIR_CHUNK;

		if (j->walk == WEIR_RED_COLUMNS) columns_chunk(j, &c, n, cols, top + s.depth * cols);
		else top[s.depth] = single_chunk(j, &c, n);
		close_pairs(j, &s, cols, i + 1 == c1);
	}
	memcpy(out, top, (size_t)cols * sizeof(*out));
}

/* The same, shared by threads in groups of a power of two of chunks. */
typedef struct shared {
	const weir_red_job *j;
	const char *base;
	int64_t cols, group;
	weir_part *out;
} shared;

static void shared_groups(void *arg, int64_t begin, int64_t end)
{
	const shared *s = arg;

	for (int64_t g = begin; g < end; g++) {
		int64_t c0 = g * s->group, c1 = c0 + s->group < s->j->chunks ? c0 + s->group : s->j->chunks;

		subtree(s->j, s->base, s->cols, c0, c1, s->out + g * s->cols);
	}
}

void weir__red_whole(const weir_red_job *j, const char *base, int64_t cols, weir_part *out, int threads)
{
	weir_part parts[PARTS];
	shared s = { j, base, cols, 1, parts };
	stack tree = { .top = parts };
	int64_t groups;

	threads = weir__threads_for(threads, (double)j->n * (double)cols * (double)j->size);
	if (threads < 2 || j->chunks < 2) {
		subtree(j, base, cols, 0, j->chunks, out);
		return;
	}
	while ((j->chunks + s.group - 1) / s.group * cols > PARTS) s.group *= 2;
	groups = (j->chunks + s.group - 1) / s.group;
	weir__parallel(threads, groups, 1, shared_groups, &s);
	for (int64_t g = 0; g < groups; g++) {
		if (tree.depth != g) memcpy(parts + tree.depth * cols, parts + g * cols, (size_t)cols * sizeof(*parts));
		close_pairs(j, &tree, cols, g + 1 == groups);
	}
	memcpy(out, parts, (size_t)cols * sizeof(*out));
}
