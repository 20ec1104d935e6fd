/* reduce.c: the reductions of reduce.h: which walk takes them, what becomes of a sum, and second tries on scaled values.
 * Long, because every way that a sum can end is one small function here. */
#include "kernels/reduce.h"

#include <math.h>
#include <string.h>

#include "kernels/fpenv.h"
#include "kernels/reduce_walk.h"
#include "kernels/threads.h"

/* 2^e for a normal result. */
static double two_to(int e)
{
	int64_t bits = (int64_t)(e + 1023) << 52;
	double r;

	memcpy(&r, &bits, sizeof(r));
	return r;
}

static void count_all(const weir_red_job *j, const char *base, int64_t *count)
{
	_Alignas(64) char buf[WEIR_RED_PIECE * 8];
	int64_t got;
	weir_red_cursor c;

	weir__red_seek(j, &c, base, 0);
	for (int64_t n = j->n; n; n -= got) {
		const void *p = weir__red_piece(j, &c, buf, n < 1 << 20 ? n : 1 << 20, &got);

		j->k->count[j->d](count, p, got);
	}
}

/* Flags as they were: a sum that is taken again must not leave an overflow that its result doesn't have. */
static void restore_flags(unsigned before)
{
	if (weir__fp_flags() == before) return;
	weir__fp_clear();
	weir__fp_raise(before);
}

/* A second try in f64 on values scaled by 2^-64, after a plain sum that is not finite. */
static double mean_again(const weir_red_job *j, const char *base, unsigned flags, int threads)
{
	weir_red_job again = *j;
	weir_part r;

	again.walk = WEIR_RED_SINGLE;
	again.scale[0] = two_to(-64);
	weir__red_whole(&again, base, 1, &r, threads);
	if (isfinite(r.sum)) restore_flags(flags);
	return r.sum / (double)j->n * two_to(64);
}

/* A second try in f64 on values scaled to a largest magnitude in [1, 2). */
static double norm_again(const weir_red_job *j, const char *base, unsigned flags, int threads)
{
	weir_red_job again = *j;
	int64_t count[6] = { 0 };
	int e, half;
	weir_part r;

	count_all(j, base, count);
	if (count[5]) return (double)NAN;
	if (count[3] || count[4]) return (double)INFINITY;
	if (!count[0]) return 0.0;
	e = (int)(count[0] >> 52 ? count[0] >> 52 : 1) - 1023;
	for (int64_t m = count[0]; !(m >> 52); m *= 2) e--;
	half = e / 2;
	again.walk = WEIR_RED_SINGLE;
	again.scale[0] = two_to(-half);
	again.scale[1] = two_to(half - e);
	weir__red_whole(&again, base, 1, &r, threads);
	restore_flags(flags);
	return sqrt(r.sum) * two_to(half) * two_to(e - half);
}

static double norm_of(const weir_red_job *j, const char *base, double sumsq, unsigned flags, int threads)
{
	bool safe = !j->d || !j->n || weir__sumsq_safe(sumsq);

	return safe ? sqrt(sumsq) : norm_again(j, base, flags, threads);
}

/* Whether a value has the given key of a largest one, -0 taken as +0. */
static bool has_key(const weir_red_job *j, const char *p, int64_t key)
{
	uint64_t bits = 0, most = j->d ? INT64_MAX : INT32_MAX, inf = j->d ? 0x7ff0000000000000 : 0x7f800000;

	if (j->d) {
		memcpy(&bits, p, 8);
	} else {
		uint32_t low;

		memcpy(&low, p, 4);
		bits = low;
	}
	if (key == (int64_t)most) return (bits & most) > inf;
	if (!key) return !(bits & most);
	return (bits & most) == ((uint64_t)(key < 0 ? ~key : key) & most) && (bits > most) == (key < 0);
}

/* Where the largest, whose key is given, stands first. The keys of -0 and +0 are -1 and 0. */
static int64_t first_of(const weir_red_job *j, const char *base, int64_t key)
{
	_Alignas(64) char buf[WEIR_RED_PIECE * 8];
	int64_t got, at = 0;
	weir_red_cursor c;

	weir__red_seek(j, &c, base, 0);
	for (; at < j->n; at += got) {
		int64_t left = j->n - at < WEIR_RED_PIECE ? j->n - at : WEIR_RED_PIECE;
		const char *p = weir__red_piece(j, &c, buf, left, &got);
		int64_t here = j->k->key_max[j->d](p, got);

		if (here != key && (key || here != -1)) continue;
		for (int64_t i = 0; i < got; i++)
			if (has_key(j, p + i * j->size, key)) return at + i;
	}
	return -1;
}

/* A key as a value, with one NaN for every NaN. */
static float key_f32(const weir_red_job *j, int64_t key)
{
	int32_t k = (int32_t)key;
	float r;

	if (!j->n || k == (j->op == WEIR_RED_amin ? INT32_MIN : INT32_MAX)) return NAN;
	if (k < 0) k ^= INT32_MAX;
	memcpy(&r, &k, sizeof(r));
	return r;
}

static double key_f64(const weir_red_job *j, int64_t key)
{
	double r;

	if (!j->n || key == (j->op == WEIR_RED_amin ? INT64_MIN : INT64_MAX)) return (double)NAN;
	if (key < 0) key ^= INT64_MAX;
	memcpy(&r, &key, sizeof(r));
	return r;
}

/* What becomes of the plain sum of an output. */
static double result(const weir_red_job *j, const char *base, double sum, unsigned flags, int threads)
{
	if (j->op == WEIR_RED_norm) return norm_of(j, base, sum, flags, threads);
	if (j->op != WEIR_RED_mean) return sum;
	if (!j->n) return (double)NAN;
	if (j->d && !isfinite(sum)) return mean_again(j, base, flags, threads);
	return sum / (double)j->n;
}

static void finish(const weir_red_job *j, int64_t o, const char *base, weir_part v, unsigned flags, int threads)
{
	bool add = j->mode == WEIR_DST_ADD;

	if (j->op == WEIR_RED_argmax) {
		((int64_t *)j->y)[o] = j->n ? first_of(j, base, v.key) : -1;
	} else if (j->d) {
		double *y = (double *)j->y + o, r;

		r = j->keyed ? key_f64(j, v.key) : result(j, base, v.sum, flags, threads);
		*y = add ? *y + r : r;
	} else {
		float *y = (float *)j->y + o, r;

		r = j->keyed ? key_f32(j, v.key) : (float)result(j, base, v.sum, flags, threads);
		*y = add ? *y + r : r;
	}
}

/* Sums of integers: modulo 2^64 in any order, then cut to size. */
static void integer_sum(const weir_red_job *j, int64_t o, const char *base)
{
	char buf[WEIR_RED_PIECE * 8];
	uint64_t sum = 0;
	int64_t got;
	weir_red_cursor c;

	if (j->n) weir__red_seek(j, &c, base, 0);
	for (int64_t n = j->n; n; n -= got) {
		const uint8_t *p = weir__red_piece(j, &c, buf, n, &got);

		for (int64_t i = 0; i < got; i++) {
			int32_t v4 = 0;
			int64_t v8 = 0;

			if (j->t == WEIR_U8) v8 = p[i];
			else if (j->t == WEIR_I64) memcpy(&v8, p + 8 * i, 8);
			else memcpy(&v4, p + 4 * i, 4);
			sum += (uint64_t)v4 + (uint64_t)v8;
		}
	}
	if (j->t == WEIR_I32) {
		int32_t *y = (int32_t *)j->y + o;

		*y = (int32_t)(uint32_t)(sum + (j->mode == WEIR_DST_ADD ? (uint64_t)*y : 0));
	} else {
		int64_t *y = (int64_t *)j->y + o;

		*y = (int64_t)(sum + (j->mode == WEIR_DST_ADD ? (uint64_t)*y : 0));
	}
}

static void block(const weir_red_job *j, int64_t b, int threads)
{
	int64_t last = j->oshape[j->orank - 1], width = j->width;
	int64_t row = b / j->across, first = b % j->across * width;
	int64_t cols = last - first < width ? last - first : width, o = row * last + first;
	int64_t step = j->ostride[j->orank - 1] * j->size;
	const char *base = j->x;
	unsigned flags = weir__fp_flags();
	weir_part parts[WEIR_RED_WIDTH];

	if (j->n) base += first * step; /* else there may be no x */
	for (int a = j->orank - 2; a >= 0 && j->n; row /= j->oshape[a--])
		base += row % j->oshape[a] * j->ostride[a] * j->size;
	if (j->t != WEIR_F32 && j->t != WEIR_F64) {
		integer_sum(j, o, base);
		return;
	}
	for (int64_t l = 0; l < cols; l++) parts[l].key = 0;
	if (j->n) weir__red_whole(j, base, cols, parts, threads);
	for (int64_t l = 0; l < cols; l++) finish(j, o + l, j->n ? base + l * step : base, parts[l], flags, threads);
}

static void blocks(void *arg, int64_t begin, int64_t end)
{
	for (int64_t b = begin; b < end; b++) block(arg, b, 1);
}

/* Axes of size 1 go, neighbours that are one run in memory become one axis. At least one axis is left. */
static int collapse(int rank, const int64_t *shape, const int64_t *stride, int64_t *s, int64_t *d)
{
	int r = 0;

	for (int a = 0; a < rank; a++) {
		if (shape[a] == 1) continue;
		if (r && d[r - 1] == stride[a] * shape[a]) {
			s[r - 1] *= shape[a];
			d[r - 1] = stride[a];
		} else {
			s[r] = shape[a];
			d[r++] = stride[a];
		}
	}
	if (r) return r;
	s[0] = d[0] = 1;
	return 1;
}

static int64_t product(int rank, const int64_t *shape)
{
	int64_t n = 1;

	for (int a = 0; a < rank; a++) n *= shape[a];
	return n;
}

static weir_red_job new_job(weir_red op, weir_dtype t, const void *x, int64_t n)
{
	return (weir_red_job){
		.k = weir__kernels(),
		.op = op,
		.t = t,
		.d = t == WEIR_F64,
		.walk = WEIR_RED_SINGLE,
		.keyed = op == WEIR_RED_amax || op == WEIR_RED_amin || op == WEIR_RED_argmax,
		.square = op == WEIR_RED_sumsq || op == WEIR_RED_norm,
		.scale = { 1.0, 1.0 },
		.size = t == WEIR_U8                     ? 1
			: t == WEIR_F64 || t == WEIR_I64 ? 8
							 : 4,
		.n = n,
		.chunks = (n + WEIR_CHUNK - 1) / WEIR_CHUNK,
		.x = x,
	};
}

/* Into blocks of neighbouring outputs: wide ones, whose rows are long runs of memory, but narrower where threads would have none. */
static void cut(weir_red_job *j, int64_t last, int threads)
{
	j->width = j->walk == WEIR_RED_SINGLE ? 1 : WEIR_RED_WIDTH;
	while (j->width > WEIR_RED_WIDTH / 4 && j->outer / last * ((last + j->width - 1) / j->width) < threads)
		j->width /= 2;
	j->across = (last + j->width - 1) / j->width;
	j->blocks = j->outer / last * j->across;
}

void weir__reduce(weir_red op, weir_dtype t, int orank, const int64_t *oshape, const int64_t *ostride, int rrank,
		  const int64_t *rshape, const int64_t *rstride, const void *x, void *y, weir_dst_mode mode,
		  int threads)
{
	weir_red_job j = new_job(op, t, x, product(rrank, rshape));
	int64_t last, in;

	j.outer = product(orank, oshape);
	if (mode == WEIR_DST_SKIP || !j.outer) return;
	j.y = y;
	j.mode = mode;
	j.orank = collapse(orank, oshape, ostride, j.oshape, j.ostride);
	j.rrank = collapse(rrank, rshape, rstride, j.rshape, j.rstride);
	last = j.oshape[j.orank - 1];
	in = j.rstride[j.rrank - 1];
	if (op == WEIR_RED_argmax || (t != WEIR_F32 && t != WEIR_F64)) j.walk = WEIR_RED_SINGLE;
	else if (j.ostride[j.orank - 1] == 1 && last > 1 && (in != 1 || j.n == 1) &&
		 j.chunks < (int64_t)1 << WEIR_RED_LEVELS)
		j.walk = WEIR_RED_COLUMNS;
	else if (j.rrank == 1 && in == 1 && j.n <= WEIR_CHUNK && !j.keyed) j.walk = WEIR_RED_ROWS;
	threads = weir__threads_for(threads, (double)j.outer * (double)j.n * (double)j.size);
	cut(&j, last, threads);
	if (j.blocks >= threads || j.chunks < 2) {
		weir__parallel(threads, j.blocks, 1, blocks, &j);
	} else {
		for (int64_t b = 0; b < j.blocks; b++) block(&j, b, threads);
	}
}

/* n contiguous values to one result. */
static weir_red_job flat_job(weir_red op, weir_dtype t, const void *x, int64_t n)
{
	weir_red_job j = new_job(op, t, x, n);

	j.orank = j.rrank = 1;
	j.oshape[0] = j.ostride[0] = j.rstride[0] = 1;
	j.rshape[0] = n;
	return j;
}

static double flat_chunk(const weir_kernels *k, weir_dtype t, const char *x, int64_t n)
{
	_Alignas(64) double lane[WEIR_LANES] = { 0 };

	if (t == WEIR_F32) k->lanes_sumsq_fast(lane, (const float *)(const void *)x, n);
	else k->lanes_sumsq[1](lane, x, n);
	return weir__fold(lane);
}

/* On one thread without a job, which would cost a short array more than its squares. */
static double flat_sumsq(weir_dtype t, const void *x, int64_t n, int threads)
{
	const weir_kernels *k = weir__kernels();
	int64_t size = t == WEIR_F32 ? 4 : 8;
	weir_red_job j;
	weir_part r;
	weir_tree tree;

	if (n <= 0) return 0;
	if (n <= WEIR_CHUNK) return flat_chunk(k, t, x, n);
	if (weir__threads_for(threads, (double)n * (double)size) > 1) {
		j = flat_job(WEIR_RED_sumsq, t, x, n);
		j.fast = t == WEIR_F32;
		weir__red_whole(&j, j.x, 1, &r, threads);
		return r.sum;
	}
	weir__tree_begin(&tree);
	for (int64_t i = 0; i < n; i += WEIR_CHUNK)
		weir__tree_add(&tree,
			       flat_chunk(k, t, (const char *)x + i * size, n - i < WEIR_CHUNK ? n - i : WEIR_CHUNK));
	return weir__tree_sum(&tree);
}

double weir__sumsq(weir_dtype t, const void *x, int64_t n, int threads)
{
	unsigned flags = weir__fp_flags();
	double r = flat_sumsq(t, x, n, threads);

	restore_flags(flags);
	return r;
}

double weir__norm2(weir_dtype t, const void *x, int64_t n, int threads)
{
	unsigned flags = weir__fp_flags();
	double sum = flat_sumsq(t, x, n, threads), r = sqrt(sum);

	if (t == WEIR_F64 && n > 0 && !weir__sumsq_safe(sum)) {
		weir_red_job j = flat_job(WEIR_RED_norm, t, x, n);

		r = norm_again(&j, x, flags, threads);
	}
	restore_flags(flags);
	return r;
}

typedef struct counting {
	const weir_red_job *j;
	int64_t size, count[64][6];
} counting;

static void count_parts(void *arg, int64_t begin, int64_t end)
{
	counting *c = arg;

	for (int64_t i = begin; i < end; i++) {
		int64_t from = i * c->size, to = from + c->size < c->j->n ? from + c->size : c->j->n;

		for (int64_t n; from < to; from += n) {
			n = to - from < 1 << 30 ? to - from : 1 << 30;
			c->j->k->count[c->j->d](c->count[i], c->j->x + from * c->j->size, n);
		}
	}
}

void weir__stats(weir_dtype t, const void *x, int64_t n, weir_stats *out, int threads)
{
	weir_red_job j = flat_job(WEIR_RED_amax, t, x, n);
	counting c = { .j = &j, .size = n > 64 * WEIR_CHUNK ? (n + 63) / 64 : WEIR_CHUNK };
	int64_t parts = (n + c.size - 1) / c.size; /* at most 64; a short one would cost more than it counts */
	int64_t most = 0;

	*out = (weir_stats){ 0 };
	weir__parallel(weir__threads_for(threads, (double)n * (double)j.size), parts, 1, count_parts, &c);
	for (int64_t i = 0; i < parts; i++) {
		if (c.count[i][0] > most) most = c.count[i][0];
		out->zeros += c.count[i][1];
		out->subnormals += c.count[i][2];
		out->pos_inf += c.count[i][3];
		out->neg_inf += c.count[i][4];
		out->nan += c.count[i][5];
	}
	if (j.d) {
		memcpy(&out->largest, &most, sizeof(most));
	} else if (most >> 23) { /* f32 to f64 by hand, which no mode can flush */
		most = (most << 29) + ((int64_t)(1023 - 127) << 52);
		memcpy(&out->largest, &most, sizeof(most));
	} else {
		out->largest = (double)most * 0x1p-149;
	}
}
