/* body_reduce.c: the inner loops of reduce.c, compiled once per instruction set. reduce.h states the order.
 *
 * Sums, and the largest and smallest of a row are in the vector vocabulary. Those of columns, and counts, are integer code in plain C, which compilers
 * vectorise and which can't differ in a bit. */
#include <string.h>

#include "kernels/body_rows.h"
#include "kernels/table.h"

/* What a value adds. For f32 the square is exact, so a product and a sum are what an FMA would give, and fast without FMA hardware. */
VEC vg term(vg v, bool square)
{
	return square ? vg_mul(v, v) : v;
}

/* Elements at .. at + n - 1, the first of which goes to lane 0. A masked-off lane adds +0, which changes no lane: none is -0. */
ROW lanes run(lanes to, const void *x, int64_t at, int64_t n, bool wide, bool square)
{
	for (; n >= VG_LANES; n -= VG_LANES, at += VG_LANES)
		add_up(&to, term(load(x, at, VG_LANES, 0.0, wide), square));
	if (n) add_up(&to, term(load(x, at, n, 0.0, wide), square));
	return to;
}

/* A column sum adds up to AT_ONCE rows of a lane while its sums are in registers: rows r, r + 16, ... of a block of rows. Those of
 * the lane that comes AHEAD lanes later are asked for: a strip of rows far apart is nothing that the processor foresees. */
enum { AT_ONCE = 4, AHEAD = 4 };

/* Values of `rows` rows 16 apart, the first at x, added to their lane. The first rows of a chunk start their lanes at +0. */
ROW void rows_to_lane(double *to, bool fresh, const void *x, int64_t at, int64_t stride, int64_t rows, int64_t n,
		      bool wide, bool square)
{
	vg have = fresh ? vg_set1(0.0) : load(to, 0, VG_LANES, 0.0, true);

	for (int64_t r = 0; r < rows; r++, at += 16 * stride) {
		prefetch(x, at + AHEAD * stride, wide);
		have = vg_add(have, term(load(x, at, n, 0.0, wide), square));
	}
	store(to, 0, VG_LANES, have, true);
}

/* A lane's rows of one block. Most blocks are full, and most vectors whole. */
ROW void block_to_lane(double *to, bool fresh, const void *x, int64_t at, int64_t stride, int64_t rows, int64_t cols,
		       bool wide, bool square)
{
	int64_t c = 0;

	for (; rows == AT_ONCE && cols - c >= VG_LANES; c += VG_LANES)
		rows_to_lane(to + c, fresh, x, at + c, stride, AT_ONCE, VG_LANES, wide, square);
	for (; c < cols; c += VG_LANES) rows_to_lane(to + c, fresh, x, at + c, stride, rows, cols - c, wide, square);
}

#define SUMS(name, type, wide, square)                                                                               \
	void KERN(lanes_##name##_##type)(double *lane, const void *x, int64_t n)                                     \
	{                                                                                                            \
		lanes to = { vd_load(lane), vd_load(lane + 8) };                                                     \
		to = run(to, x, 0, n, wide, square);                                                                 \
		vd_store(lane, to.lo);                                                                               \
		vd_store(lane + 8, to.hi);                                                                           \
	}                                                                                                            \
	void KERN(rows_##name##_##type)(double *out, const void *x, int64_t rows, int64_t stride, int64_t n)         \
	{                                                                                                            \
		for (int64_t r = 0; r < rows; r++) {                                                                 \
			out[r] = fold(run(zeros(), x, r * stride, n, wide, square));                                 \
		}                                                                                                    \
	}                                                                                                            \
	void KERN(columns_##name##_##type)(double(*lane)[WEIR_COLUMNS], const void *x, int64_t rows, int64_t stride, \
					   int64_t cols, int64_t first)                                              \
	{                                                                                                            \
		for (int64_t block = 0; block < rows; block += 16 * AT_ONCE) {                                       \
			int64_t left = rows - block < 16 * AT_ONCE ? rows - block : 16 * AT_ONCE;                    \
			for (int64_t l = 0; l < 16 && l < left; l++) {                                               \
				int64_t r = block + l;                                                               \
				block_to_lane(lane[(first + r) % 16], first + r < 16, x, r * stride, stride,         \
					      (left - l + 15) / 16, cols, wide, square);                             \
			}                                                                                            \
		}                                                                                                    \
	}

SUMS(sum, f32, false, false)
SUMS(sum, f64, true, false)
SUMS(sumsq, f32, false, true)
SUMS(sumsq, f64, true, true)

void KERN(columns_fold)(double *out, double (*lane)[WEIR_COLUMNS], int64_t cols)
{
	for (int64_t c = 0; c < cols; c += 8) {
		vd f[16];

		for (int l = 0; l < 16; l++) f[l] = vd_load(lane[l] + c);
		for (int h = 8; h; h /= 2)
			for (int l = 0; l < h; l++) f[l] = vd_add(f[l], f[l + h]);
		vd_store(out + c, f[0]);
	}
}

VEC vf vf_relu_vjp(vf gy, vf x)
{
	return vf_blend(vf_gt(x, vf_zero()), vf_loaded(gy), vf_blend(vf_isnan(x), x, vf_zero()));
}

/* The f32 chains of one block of 128 elements, of which n are there; the missing ones are zeros. any: all bits that were set. */
ROW vf block_chain(const float *x, int64_t n, vi *any)
{
	vf p = vf_zero();

	*any = vi_set1(0);
	for (int64_t i = 0; i < 128 && i < n; i += 16) {
		vf v = n - i >= 16 ? vf_load(x + i) : vf_load_n(x + i, n - i, 0.0f);

		p = vf_fma(v, v, p);
		*any = vi_or(*any, vf_as_vi(v));
	}
	return p;
}

/* Whether the f32 chains of a block are good: each in range, or of zeros only. */
VEC bool in_range(vf p, vi any)
{
	mf good = mf_and(vf_ge(p, vf_set1(1e-25f)), vf_le(p, vf_set1(1e30f)));

	return mf_all(mf_or(good, vi_eq(vi_shl(any, 1), vi_set1(0))));
}

VEC lanes add_chains(lanes to, vf p)
{
	return (lanes){ vd_add(to.lo, vf_to_vd_lo(p)), vd_add(to.hi, vf_to_vd_hi(p)) };
}

/* See weir__sumsq. Lanes of zeros are told apart without a branch: half of a ReLU's gradient is zeros, here and there a whole lane of them,
 * and a branch that can't be foreseen costs more than the block. Returns whether a block was redone. */
bool KERN(lanes_sumsq_fast)(double *lane, const float *x, int64_t n)
{
	lanes to = { vd_load(lane), vd_load(lane + 8) };
	bool redone = false;

	for (; n > 0; n -= 128, x += 128) {
		vi any;
		vf p = n >= 128 ? block_chain(x, 128, &any) : block_chain(x, n, &any);

		if (in_range(p, any)) {
			to = add_chains(to, p);
		} else {
			to = run(to, x, 0, n < 128 ? n : 128, false, true);
			redone = true;
		}
	}
	vd_store(lane, to.lo);
	vd_store(lane + 8, to.hi);
	return redone;
}

/* One block of it: the rule, and the chains of what it reads and writes. */
ROW void relu_block(lanes *of_y, lanes *of_gy, float *y, const float *gy, const float *x, bool both)
{
	vf p = vf_zero(), q = vf_zero();
	vi any_p = vi_set1(0), any_q = vi_set1(0);

	for (int i = 0; i < 128; i += 16) {
		vf g = vf_load(gy + i), v = vf_relu_vjp(g, vf_load(x + i));

		vf_store(y + i, v);
		p = vf_fma(v, v, p);
		any_p = vi_or(any_p, vf_as_vi(v));
		if (!both) continue;
		q = vf_fma(g, g, q);
		any_q = vi_or(any_q, vf_as_vi(g));
	}
	*of_y = in_range(p, any_p) ? add_chains(*of_y, p) : run(*of_y, y, 0, 128, false, true);
	if (both) *of_gy = in_range(q, any_q) ? add_chains(*of_gy, q) : run(*of_gy, gy, 0, 128, false, true);
}

/* A pass that waits for memory has time to square what it writes, and what it reads. */
void KERN(relu_vjp_sumsq)(double *lane, double *gy_lane, float *y, const float *gy, const float *x, int64_t n)
{
	lanes to = { vd_load(lane), vd_load(lane + 8) }, from = zeros();

	if (gy_lane) {
		from = (lanes){ vd_load(gy_lane), vd_load(gy_lane + 8) };
		for (; n >= 128; n -= 128, y += 128, gy += 128, x += 128) relu_block(&to, &from, y, gy, x, true);
		vd_store(gy_lane, from.lo);
		vd_store(gy_lane + 8, from.hi);
	} else {
		for (; n >= 128; n -= 128, y += 128, gy += 128, x += 128) relu_block(&to, &from, y, gy, x, false);
	}
	vd_store(lane, to.lo);
	vd_store(lane + 8, to.hi);
	if (!n) return;
	KERN(map_relu_vjp_f32)(y, (const void *[]){ gy, x }, n, NULL);
	KERN(lanes_sumsq_fast)(lane, y, n);
	if (gy_lane) KERN(lanes_sumsq_fast)(gy_lane, gy, n);
}

/* Keys: the bits as a signed integer that grows with the value. Every NaN gets the same key, at the end that wins. */
#define KEY(I, bits, INF, nan_key) \
	((bits & (I)~SIGN_##I) > INF ? (nan_key) : (I)(bits ^ ((bits >> (8 * sizeof(I) - 1)) & (I)~SIGN_##I)))

#define SIGN_int32_t INT32_MIN
#define SIGN_int64_t INT64_MIN
#define INF_int32_t 0x7f800000
#define INF_int64_t 0x7ff0000000000000
#define NORMAL_int32_t 0x00800000
#define NORMAL_int64_t 0x0010000000000000

enum { WIDE = 32 };

VEC int32_t bits_int32_t(const void *x, int64_t i)
{
	int32_t b;

	memcpy(&b, (const char *)x + 4 * i, sizeof(b));
	return b;
}

VEC int64_t bits_int64_t(const void *x, int64_t i)
{
	int64_t b;

	memcpy(&b, (const char *)x + 8 * i, sizeof(b));
	return b;
}

/* The keys of a vector. */
VEC vi keys_f32(vf x, int32_t nan_key)
{
	vi b = vf_as_vi(x), rest = vi_set1(INT32_MAX);
	mf none = vi_gt(vi_and(b, rest), vi_set1(INF_int32_t));

	return vi_blend(none, vi_set1(nan_key), vi_xor(b, vi_and(vi_sar(b, 31), rest)));
}

VEC vl keys_f64(vd x, int64_t nan_key)
{
	vl b = vd_as_vl(x), rest = vl_set1(INT64_MAX);
	md none = vl_gt(vl_and(b, rest), vl_set1(INF_int64_t));

	return vl_blend(none, vl_set1(nan_key), vl_xor(b, vl_and(vl_sar(b, 63), rest)));
}

/* The largest or the smallest key of contiguous values: four at a time, or each comparison would wait for the last. What is missing
 * at the end is the first value once more. */
#define KEY_OF(name, type, T, V, I, IT, LANES, wins, BEATS, START, NAN_KEY)                      \
	VEC I name##_##type(I best, I k)                                                         \
	{                                                                                        \
		return I##_blend(wins, k, best);                                                 \
	}                                                                                        \
	int64_t KERN(key_##name##_##type)(const void *x, int64_t n)                              \
	{                                                                                        \
		const T *p = x;                                                                  \
		I a = I##_set1(START), b = a, c = a, d = a;                                      \
		IT key[LANES];                                                                   \
		int64_t i = 0;                                                                   \
		for (; n - i >= 4 * LANES; i += 4 * LANES) {                                     \
			a = name##_##type(a, keys_##type(V##_load(p + i), NAN_KEY));             \
			b = name##_##type(b, keys_##type(V##_load(p + i + LANES), NAN_KEY));     \
			c = name##_##type(c, keys_##type(V##_load(p + i + 2 * LANES), NAN_KEY)); \
			d = name##_##type(d, keys_##type(V##_load(p + i + 3 * LANES), NAN_KEY)); \
		}                                                                                \
		for (; i < n; i += LANES) {                                                      \
			V v = n - i >= LANES ? V##_load(p + i) : V##_load_n(p + i, n - i, *p);   \
			a = name##_##type(a, keys_##type(v, NAN_KEY));                           \
		}                                                                                \
		I##_store(key, name##_##type(name##_##type(a, b), name##_##type(c, d)));         \
		for (i = 1; i < LANES; i++) key[0] = key[i] BEATS key[0] ? key[i] : key[0];      \
		return key[0];                                                                   \
	}

KEY_OF(max, f32, float, vf, vi, int32_t, VF_LANES, vi_gt(k, best), >, INT32_MIN, INT32_MAX)
KEY_OF(max, f64, double, vd, vl, int64_t, VD_LANES, vl_gt(k, best), >, INT64_MIN, INT64_MAX)
KEY_OF(min, f32, float, vf, vi, int32_t, VF_LANES, vi_gt(best, k), <, INT32_MAX, INT32_MIN)
KEY_OF(min, f64, double, vd, vl, int64_t, VD_LANES, vl_gt(best, k), <, INT64_MAX, INT64_MIN)

#define COLUMN_KEYS(name, type, I, BEATS, START, NAN_KEY)                                                            \
	void KERN(columns_##name##_##type)(int64_t * key, const void *x, int64_t rows, int64_t stride, int64_t cols) \
	{                                                                                                            \
		I best[WEIR_COLUMNS], v[WEIR_COLUMNS];                                                               \
		for (int64_t c = 0; c < cols; c++) best[c] = START;                                                  \
		for (int64_t r = 0; r < rows; r++) {                                                                 \
			memcpy(v, (const I *)x + r * stride, (size_t)cols * sizeof(I));                              \
			for (int64_t c = 0; c < cols; c++) {                                                         \
				I k = KEY(I, v[c], INF_##I, NAN_KEY);                                                \
				best[c] = k BEATS best[c] ? k : best[c];                                             \
			}                                                                                            \
		}                                                                                                    \
		for (int64_t c = 0; c < cols; c++) key[c] = best[c] BEATS key[c] ? best[c] : key[c];                 \
	}

COLUMN_KEYS(max, f32, int32_t, >, INT32_MIN, INT32_MAX)
COLUMN_KEYS(max, f64, int64_t, >, INT64_MIN, INT64_MAX)
COLUMN_KEYS(min, f32, int32_t, <, INT32_MAX, INT32_MIN)
COLUMN_KEYS(min, f64, int64_t, <, INT64_MAX, INT64_MIN)

/* count[0] the bits of the largest finite magnitude; [1..5] zeros, subnormals, +inf, -inf, NaN are added to. n < 2^31. */
#define COUNT(type, I)                                                                                \
	void KERN(count_##type)(int64_t * count, const void *x, int64_t n)                            \
	{                                                                                             \
		I most[WIDE] = { 0 }, zero[WIDE] = { 0 }, small[WIDE] = { 0 }, special[WIDE] = { 0 }; \
		int64_t specials = 0, i = 0;                                                          \
		for (; i + WIDE <= n; i += WIDE) {                                                    \
			I v[WIDE];                                                                    \
			memcpy(v, (const I *)x + i, sizeof(v));                                       \
			for (int l = 0; l < WIDE; l++) {                                              \
				I a = v[l] & (I)~SIGN_##I;                                            \
				I f = a < INF_##I ? a : 0;                                            \
				most[l] = f > most[l] ? f : most[l];                                  \
				zero[l] += a == 0;                                                    \
				small[l] += a < NORMAL_##I;                                           \
				special[l] += a >= INF_##I;                                           \
			}                                                                             \
		}                                                                                     \
		for (; i < n; i++) {                                                                  \
			I a = bits_##I(x, i) & (I)~SIGN_##I;                                          \
			if (a < INF_##I && a > most[0]) most[0] = a;                                  \
			zero[0] += a == 0;                                                            \
			small[0] += a < NORMAL_##I;                                                   \
			special[0] += a >= INF_##I;                                                   \
		}                                                                                     \
		for (int l = 0; l < WIDE; l++) {                                                      \
			if (most[l] > count[0]) count[0] = most[l];                                   \
			count[1] += zero[l];                                                          \
			count[2] += small[l] - zero[l];                                               \
			specials += special[l];                                                       \
		}                                                                                     \
		for (i = 0; specials && i < n; i++) {                                                 \
			I b = bits_##I(x, i), a = b & (I)~SIGN_##I;                                   \
			if (a < INF_##I) continue;                                                    \
			count[a > INF_##I ? 5 : b < 0 ? 4 : 3]++;                                     \
			specials--;                                                                   \
		}                                                                                     \
	}

COUNT(f32, int32_t)
COUNT(f64, int64_t)
