/* test_reduce.c: kernels/reduce.h against a scalar statement of its order, bit by bit, once per instruction set of the processor.
 *
 * The program runs itself in a child with WEIR_ISA set for each set, so that equal to the reference means equal to each other.
 * Long: many small tests, and their reference. */
#include "kernels/reduce.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/cpu.h"
#include "kernels/fpenv.h"
#include "kernels/threads.h"

enum { MOST = 200000, OUTS = 2 * MOST };

static const int threads[] = { 1, 2, 3, 8 };
static const int64_t lengths[] = { 1,    2,    15,   16,   17,   31,   127,   128,   129,    1000,
				   4095, 4096, 4097, 8191, 8192, 8193, 12289, 20481, 100003, MOST };
static uint64_t state = 1;
static double logical[MOST];
static union memory {
	float f[2 * MOST];
	double d[2 * MOST];
	int32_t i[2 * MOST];
	int64_t l[2 * MOST];
	uint8_t u[2 * MOST];
} memory, got, again;

static uint64_t draw(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return state >> 17;
}

static double uniform(void)
{
	return (double)(draw() % 2000001) / 1000000.0 - 1.0;
}

/* What the values are like. */
enum { PLAIN, WILD, ZEROS, SPECIAL, KINDS };

static float make(int kind)
{
	double v = uniform();

	if (kind == WILD) v = ldexp(v, (int)(draw() % 260) - 140);
	if (kind == ZEROS && draw() % 8) v = draw() % 2 ? 0.0 : -0.0;
	if (kind == SPECIAL && draw() % 64 == 0)
		v = draw() % 3 ? (double)INFINITY : draw() % 2 ? -(double)INFINITY : (double)NAN;
	return (float)v;
}

static bool same(double a, double b)
{
	return isnan(a) || isnan(b) ? isnan(a) && isnan(b) : memcmp(&a, &b, sizeof(a)) == 0;
}

#define assert_same(a, b, what, n)                                                                                   \
	do {                                                                                                         \
		double a_ = (a), b_ = (b);                                                                           \
		if (!same(a_, b_))                                                                                   \
			fail_msg("%s, n %lld: got %.17g (%a), must be %.17g (%a)", what, (long long)(n), a_, a_, b_, \
				 b_);                                                                                \
	} while (0)

/* ---- the reference: the order of reduce.h, said in scalars ---- */

static double ref_fold(const double *lane, int count)
{
	double half[8] = { 0 };

	if (count == 1) return lane[0];
	for (int l = 0; l < count / 2; l++) half[l] = lane[l] + lane[l + count / 2];
	return ref_fold(half, count / 2);
}

static double ref_chunks(const double *chunk, int64_t m)
{
	int64_t p = 1;

	if (m == 1) return chunk[0];
	while (2 * p < m) p *= 2;
	return ref_chunks(chunk, p) + ref_chunks(chunk + p, m - p);
}

static double ref_sum(const double *v, int64_t n, bool square)
{
	static double chunk[MOST / 4096 + 1];
	int64_t m = 0;

	for (int64_t c = 0; c < n; c += 4096, m++) {
		double lane[16] = { 0 };

		for (int64_t i = c; i < n && i < c + 4096; i++) lane[i % 16] += square ? v[i] * v[i] : v[i];
		chunk[m] = ref_fold(lane, 16);
	}
	return m ? ref_chunks(chunk, m) : 0.0;
}

/* weir__sumsq for f32, as its comment says. */
static double ref_fast(const float *x, int64_t n)
{
	static double chunk[MOST / 4096 + 1];
	int64_t m = 0;

	for (int64_t c = 0; c < n; c += 4096, m++) {
		double lane[16] = { 0 };

		for (int64_t b = c; b < n && b < c + 4096; b += 128) {
			float p[16] = { 0 };
			bool zero[16], redo = false;

			for (int l = 0; l < 16; l++) zero[l] = true;
			for (int64_t i = b; i < n && i < b + 128; i++) {
				uint32_t bits;

				memcpy(&bits, &x[i], 4);
				p[i % 16] = fmaf(x[i], x[i], p[i % 16]);
				if (bits << 1) zero[i % 16] = false;
			}
			for (int l = 0; l < 16; l++)
				if (!zero[l] && !(p[l] >= 1e-25f && p[l] <= 1e30f)) redo = true;
			for (int l = 0; l < 16 && !redo; l++) lane[l] += (double)p[l];
			for (int64_t i = b; redo && i < n && i < b + 128; i++)
				lane[i % 16] += (double)x[i] * (double)x[i];
		}
		chunk[m] = ref_fold(lane, 16);
	}
	return m ? ref_chunks(chunk, m) : 0.0;
}

/* a beats b as the largest (sign 1) or smallest (sign -1), with a total order on zeros. */
static bool beats(double a, double b, int sign)
{
	if (isnan(b)) return false;
	if (isnan(a)) return true;
	if (a == 0 && b == 0) return signbit(a) != signbit(b) && (signbit(a) ? -1 : 1) == sign;
	return sign > 0 ? a > b : a < b;
}

static double ref(weir_red op, const double *v, int64_t n)
{
	int64_t best = 0;

	switch (op) {
	case WEIR_RED_sum: return ref_sum(v, n, false);
	case WEIR_RED_mean: return ref_sum(v, n, false) / (double)n;
	case WEIR_RED_sumsq: return ref_sum(v, n, true);
	case WEIR_RED_norm: return sqrt(ref_sum(v, n, true));
	default: break;
	}
	for (int64_t i = 1; i < n; i++) {
		if (op == WEIR_RED_argmax && v[i] == 0 && v[best] == 0) continue;
		if (beats(v[i], v[best], op == WEIR_RED_amin ? -1 : 1)) best = i;
	}
	return op == WEIR_RED_argmax ? (double)best : v[best];
}

static double result_at(weir_red op, weir_dtype t, int64_t o)
{
	if (op == WEIR_RED_argmax) return (double)got.l[o];
	return t == WEIR_F64 ? got.d[o] : (double)got.f[o];
}

static double rounded(weir_red op, weir_dtype t, double r)
{
	return t == WEIR_F64 || op == WEIR_RED_argmax ? r : (double)(float)r;
}

/* ---- tests ---- */

static void contiguous(void **unused)
{
	(void)unused;
	for (int mode = 0; mode < 2; mode++) {
		weir_fp_state saved = weir__fp_enter(mode);

		for (int kind = 0; kind < KINDS; kind++)
			for (size_t l = 0; l < sizeof(lengths) / sizeof(*lengths); l++) {
				int64_t n = lengths[l], one = 1;

				for (int64_t i = 0; i < n; i++) logical[i] = (double)(memory.f[i] = make(kind));
				for (weir_red op = WEIR_RED_sum; op <= WEIR_RED_argmax; op++) {
					double r = rounded(op, WEIR_F32, ref(op, logical, n));

					for (int k = 0; k < (n > 1000 ? 4 : 1); k++) {
						weir__reduce(op, WEIR_F32, 0, NULL, NULL, 1, &n, &one, memory.f, &got,
							     WEIR_DST_WRITE, threads[k]);
						assert_same(result_at(op, WEIR_F32, 0), r, "f32", n);
					}
				}
				if (kind == WILD)
					for (int64_t i = 0; i < n; i++)
						logical[i] = ldexp(uniform(), (int)(draw() % 700) - 400);
				memcpy(memory.d, logical, (size_t)n * 8);
				for (weir_red op = WEIR_RED_sum; op <= WEIR_RED_argmax; op++) {
					double r = ref(op, logical, n);

					for (int k = 0; k < (n > 1000 ? 4 : 1); k++) {
						weir__reduce(op, WEIR_F64, 0, NULL, NULL, 1, &n, &one, memory.d, &got,
							     WEIR_DST_WRITE, threads[k]);
						if (op == WEIR_RED_norm && !(r > 1e-130 && r < 1e150)) continue;
						assert_same(result_at(op, WEIR_F64, 0), r, "f64", n);
					}
				}
			}
		weir__fp_leave(saved);
	}
}

/* A tensor of 4 axes in some layout, some of them reduced. */
typedef struct layout {
	int64_t shape[4], stride[4];
	int reduced[4];
} layout;

static void check_layout(const layout *a, weir_dtype t, weir_red op, const void *base)
{
	int64_t os[4], od[4], rs[4], rd[4], outer = 1, n = 1;
	int orank = 0, rrank = 0;
	static double v[MOST];

	for (int x = 0; x < 4; x++) {
		if (a->reduced[x]) {
			rs[rrank] = a->shape[x], rd[rrank++] = a->stride[x], n *= a->shape[x];
		} else {
			os[orank] = a->shape[x], od[orank++] = a->stride[x], outer *= a->shape[x];
		}
	}
	assert_true(n <= MOST && outer <= OUTS);
	weir__reduce(op, t, orank, os, od, rrank, rs, rd, base, &got, WEIR_DST_WRITE, 1);
	for (int k = 1; k < 4; k++) {
		weir__reduce(op, t, orank, os, od, rrank, rs, rd, base, &again, WEIR_DST_WRITE, threads[k]);
		assert_memory_equal(&again, &got, (size_t)outer * (t == WEIR_F32 && op != WEIR_RED_argmax ? 4 : 8));
	}
	for (int64_t o = 0; o < outer; o++) {
		int64_t start = 0, rest = o;

		for (int x = orank - 1; x >= 0; rest /= os[x--]) start += rest % os[x] * od[x];
		for (int64_t i = 0; i < n; i++) {
			int64_t at = start;

			rest = i;
			for (int x = rrank - 1; x >= 0; rest /= rs[x--]) at += rest % rs[x] * rd[x];
			v[i] = t == WEIR_F64 ? ((const double *)base)[at] : (double)((const float *)base)[at];
		}
		assert_same(result_at(op, t, o), rounded(op, t, ref(op, v, n)), "layout", n);
	}
}

static void layouts(void **unused)
{
	static const layout fixed[] = {
		{ { 1, 1, 300, 200 }, { 0, 0, 200, 1 }, { 0, 0, 1, 0 } }, /* columns */
		{ { 1, 1, 9000, 3 }, { 0, 0, 3, 1 }, { 0, 0, 1, 0 } },    /* a few long columns */
		{ { 1, 1, 4500, 65 }, { 0, 0, 65, 1 }, { 0, 0, 1, 0 } },  /* one column over a block, several chunks */
		{ { 1, 1, 300, 200 }, { 0, 0, 200, 1 }, { 0, 0, 0, 1 } }, /* rows */
		{ { 1, 1, 7, 9000 }, { 0, 0, 9000, 1 }, { 0, 0, 0, 1 } }, /* long rows */
		{ { 20, 8, 7, 7 }, { 392, 49, 7, 1 }, { 1, 0, 1, 1 } },   /* a channel's gradient */
		{ { 40, 3, 18, 18 }, { 972, 324, 18, 1 }, { 1, 0, 1, 1 } }, /* the same over several chunks */
		{ { 10, 20, 30, 4 }, { 2400, 120, 4, 1 }, { 1, 1, 0, 0 } }, /* all but the last axes */
		{ { 4, 30, 20, 10 }, { 1, 4, 120, 2400 }, { 0, 0, 1, 1 } }, /* transposed */
		{ { 5, 1, 600, 33 }, { 0, 7, 0, 1 }, { 1, 1, 1, 0 } },      /* broadcast */
		{ { 1, 1, 5000, 8 }, { 0, 0, 0, 0 }, { 0, 0, 1, 0 } },      /* one value */
		{ { 6, 50, 1, 70 }, { 3500, 70, 1, 1 }, { 0, 0, 1, 0 } },   /* over an axis of one */
	};

	(void)unused;
	for (int64_t i = 0; i < 2 * MOST; i++) memory.f[i] = make(i % 5 ? PLAIN : WILD);
	for (size_t f = 0; f < sizeof(fixed) / sizeof(*fixed); f++)
		for (weir_red op = WEIR_RED_sum; op <= WEIR_RED_argmax; op++)
			check_layout(&fixed[f], WEIR_F32, op, memory.f);
	for (int64_t i = 0; i < 2 * MOST; i++) memory.d[i] = uniform();
	for (size_t f = 0; f < sizeof(fixed) / sizeof(*fixed); f++)
		for (weir_red op = WEIR_RED_sum; op <= WEIR_RED_argmax; op++)
			check_layout(&fixed[f], WEIR_F64, op, memory.d);
	for (int round = 0; round < 600; round++) { /* any shape, order of axes, gap, direction */
		static const int64_t some[] = { 1, 1, 2, 3, 5, 8, 16, 17, 20 };
		layout a;
		int order[4] = { 0, 1, 2, 3 };
		int64_t step = 1 + (int64_t)(draw() % 3 == 0), offset = 0;

		for (int x = 3; x > 0; x--) {
			int y = (int)(draw() % (unsigned)(x + 1)), z = order[x];

			order[x] = order[y];
			order[y] = z;
		}
		for (int x = 0; x < 4; x++) {
			a.shape[x] = some[draw() % 9];
			a.reduced[x] = draw() % 2;
		}
		for (int x = 3; x >= 0; x--) {
			int y = order[x];

			a.stride[y] = draw() % 8 == 0 ? 0 : step;
			step *= a.shape[y] + (int64_t)(draw() % 4 == 0);
			if (draw() % 8 == 0) {
				offset += (a.shape[y] - 1) * a.stride[y];
				a.stride[y] = -a.stride[y];
			}
		}
		if (step > MOST) continue;
		check_layout(&a, WEIR_F64, (weir_red)(round % 7), memory.d + offset);
	}
}

static void adding_and_nothing(void **unused)
{
	int64_t n = 5, none = 0, one = 1, shape[2] = { 3, 2 }, stride[2] = { 2, 1 };
	float x[6] = { 1, 2, 3, 4, 5, 6 }, y[3] = { 10, 20, 30 };
	double z = 1;

	(void)unused;
	weir__reduce(WEIR_RED_sum, WEIR_F32, 1, shape, stride, 1, shape + 1, stride + 1, x, y, WEIR_DST_ADD, 2);
	assert_true(y[0] == 13 && y[1] == 27 && y[2] == 41);
	weir__reduce(WEIR_RED_amax, WEIR_F32, 1, shape, stride, 1, shape + 1, stride + 1, x, y, WEIR_DST_ADD, 2);
	assert_true(y[0] == 15 && y[1] == 31 && y[2] == 47);
	weir__reduce(WEIR_RED_sum, WEIR_F32, 1, shape, stride, 1, shape + 1, stride + 1, x, y, WEIR_DST_SKIP, 2);
	assert_true(y[0] == 15 && y[1] == 31 && y[2] == 47);
	for (weir_red op = WEIR_RED_sum; op <= WEIR_RED_argmax; op++) {
		got.l[0] = 77;
		weir__reduce(op, WEIR_F64, 0, NULL, NULL, 1, &none, &one, NULL, &got, WEIR_DST_WRITE, 2);
		if (op == WEIR_RED_argmax) assert_int_equal(got.l[0], -1);
		else if (op == WEIR_RED_sum || op == WEIR_RED_sumsq || op == WEIR_RED_norm)
			assert_same(got.d[0], 0.0, "empty", op);
		else assert_true(isnan(got.d[0]));
		weir__reduce(op, WEIR_F64, 1, &none, &one, 1, &n, &one, NULL, NULL, WEIR_DST_WRITE, 2);
	}
	for (weir_dtype t = WEIR_I32; t <= WEIR_U8; t++) {
		got.l[0] = -1;
		weir__reduce(WEIR_RED_sum, t, 0, NULL, NULL, 1, &none, &one, NULL, &got, WEIR_DST_WRITE, 2);
		assert_true(t == WEIR_I32 ? got.i[0] == 0 : got.l[0] == 0);
	}
	weir__reduce(WEIR_RED_sum, WEIR_F64, 0, NULL, NULL, 0, NULL, NULL, &z, &got, WEIR_DST_WRITE, 1);
	assert_same(got.d[0], 1.0, "rank 0", 1);
	assert_same(weir__sumsq(WEIR_F32, NULL, 0, 2), 0.0, "sumsq", 0);
	assert_same(weir__norm2(WEIR_F64, NULL, 0, 2), 0.0, "norm2", 0);
}

static void integers(void **unused)
{
	int64_t n = 70000, one = 1, s4 = 0, s8 = 0, s1 = 0, rows = 350, cols = 200, down = 200;

	(void)unused;
	for (int64_t i = 0; i < n; i++) s4 += memory.i[i] = (int32_t)draw() >> 8;
	weir__reduce(WEIR_RED_sum, WEIR_I32, 0, NULL, NULL, 1, &n, &one, &memory, &got, WEIR_DST_WRITE, 2);
	assert_int_equal(got.i[0], (int32_t)(uint32_t)(uint64_t)s4);
	for (int64_t i = 0; i < n; i++) s8 += memory.l[i] = (int64_t)draw() - 1000000;
	got.l[0] = -5;
	weir__reduce(WEIR_RED_sum, WEIR_I64, 0, NULL, NULL, 1, &n, &one, &memory, &got, WEIR_DST_ADD, 2);
	assert_int_equal(got.l[0], s8 - 5);
	for (int64_t i = 0; i < n; i++) s1 += memory.u[i] = draw() % 2;
	weir__reduce(WEIR_RED_sum, WEIR_U8, 1, &cols, &one, 1, &rows, &down, &memory, &got, WEIR_DST_WRITE, 2);
	for (int64_t i = 0; i < cols; i++) s1 -= got.l[i];
	assert_int_equal(s1, 0);
}

static void order_of_zeros_and_nan(void **unused)
{
	static const struct {
		float x[3], largest, smallest;
		int64_t at;
	} rows[] = {
		{ { -0.0f, 0.0f, -0.0f }, 0.0f, -0.0f, 0 },
		{ { -1.0f, -0.0f, 0.0f }, 0.0f, -1.0f, 1 },
		{ { 1.0f, NAN, NAN }, NAN, NAN, 1 },
		{ { -NAN, INFINITY, 1.0f }, NAN, NAN, 0 },
		{ { -INFINITY, -INFINITY, -INFINITY }, -INFINITY, -INFINITY, 0 },
		{ { 1e-40f, 2e-40f, -3e-40f }, 2e-40f, -3e-40f, 1 },
		{ { 7.0f, 9.0f, 9.0f }, 9.0f, 7.0f, 1 },
	};
	int64_t n = 3, one = 1, two = 2;

	(void)unused;
	for (int mode = 0; mode < 2; mode++) {
		weir_fp_state saved = weir__fp_enter(mode);

		for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++) {
			float x[6], y[2];
			int64_t at;

			for (int i = 0; i < 6; i++) memcpy(&x[i], &rows[r].x[i / 2], 4);
			weir__reduce(WEIR_RED_amax, WEIR_F32, 0, NULL, NULL, 1, &n, &one, rows[r].x, y, WEIR_DST_WRITE,
				     1);
			if (!isnan(rows[r].largest)) assert_memory_equal(y, &rows[r].largest, 4);
			if (isnan(rows[r].largest)) assert_true(isnan(y[0]));
			weir__reduce(WEIR_RED_amin, WEIR_F32, 1, &two, &one, 1, &n, &two, x, y, WEIR_DST_WRITE, 1);
			if (!isnan(rows[r].smallest)) assert_memory_equal(&y[1], &rows[r].smallest, 4);
			if (isnan(rows[r].smallest)) assert_true(isnan(y[1]));
			weir__reduce(WEIR_RED_argmax, WEIR_F32, 0, NULL, NULL, 1, &n, &two, x, &at, WEIR_DST_WRITE, 1);
			assert_int_equal(at, rows[r].at);
		}
		assert_int_equal(weir__fp_flags(), 0);
		weir__fp_leave(saved);
	}
}

static void fast_norm(void **unused)
{
	static const float scale[] = { 1.0f, 1e-12f, 1e-13f, 1e-20f, 1e13f, 3e14f, 1e19f };

	(void)unused;
	for (int mode = 0; mode < 2; mode++) {
		weir_fp_state saved = weir__fp_enter(mode);

		for (int kind = 0; kind < KINDS; kind++)
			for (size_t s = 0; s < sizeof(scale) / sizeof(*scale); s++)
				for (size_t l = 0; l < sizeof(lengths) / sizeof(*lengths); l++) {
					int64_t n = lengths[l];
					double exact = 0, r;

					for (int64_t i = 0; i < n; i++) {
						memory.f[i] = make(kind) * scale[s];
						if (kind == ZEROS && i % 16 == 5) memory.f[i] = 0;
						exact += (double)memory.f[i] * (double)memory.f[i];
					}
					r = ref_fast(memory.f, n);
					weir__fp_clear();
					for (int k = 0; k < (n > 4096 ? 4 : 1); k += 3)
						assert_same(weir__sumsq(WEIR_F32, memory.f, n, threads[k]), r, "sumsq",
							    n);
					assert_same(weir__norm2(WEIR_F32, memory.f, n, 3), sqrt(r), "norm2", n);
					assert_int_equal(weir__fp_flags(), 0);
					if (kind != SPECIAL && !isinf(exact) && !(fabs(r - exact) <= 5e-7 * exact))
						fail_msg("sumsq, n %lld: got %.17g, is %.17g", (long long)n, r, exact);
				}
		weir__fp_leave(saved);
	}
}

static void every_exponent(void **unused)
{
	weir_fp_state saved = weir__fp_enter(true);
	int64_t n = 2, one = 1;

	(void)unused;
	for (int e = -149; e <= 125; e++) {
		float x[2] = { ldexpf(3.0f, e), ldexpf(-4.0f, e) }, y;

		assert_same(weir__norm2(WEIR_F32, x, 2, 2), ldexp(5.0, e), "f32 norm2 of 3, 4 times 2^", e);
		weir__reduce(WEIR_RED_norm, WEIR_F32, 0, NULL, NULL, 1, &n, &one, x, &y, WEIR_DST_WRITE, 1);
		assert_same((double)y, ldexp(5.0, e), "f32 norm of 3, 4 times 2^", e);
	}
	for (int e = -1074; e <= 1021; e++) {
		double x[2] = { ldexp(3.0, e), ldexp(-4.0, e) }, y;

		weir__fp_clear();
		assert_same(weir__norm2(WEIR_F64, x, 2, 2), ldexp(5.0, e), "f64 norm2 of 3, 4 times 2^", e);
		assert_int_equal(weir__fp_flags(), 0);
		weir__reduce(WEIR_RED_norm, WEIR_F64, 0, NULL, NULL, 1, &n, &one, x, &y, WEIR_DST_WRITE, 1);
		assert_same(y, ldexp(5.0, e), "f64 norm of 3, 4 times 2^", e);
		if (e > -300) assert_int_equal(weir__fp_flags(), 0);
	}
	weir__fp_leave(saved);
}

static void hard_rows(void **unused)
{
	float a[2] = { 3e30f, 4e30f }, b[2] = { 3e-30f, 4e-30f }, c[2] = { 3e38f, 3e38f }, y;
	double d[2] = { 3e200, 4e200 }, e[3] = { 1.7e308, 1.7e308, 1.7e308 }, z,
	       inf[3] = { 1, -(double)INFINITY, 1e300 };
	int64_t n = 2, three = 3, one = 1, many = 20000000, still = 0;
	float ones = 1.0f;

	(void)unused;
	for (int mode = 0; mode < 2; mode++) {
		weir_fp_state saved = weir__fp_enter(mode);

		assert_true((float)weir__norm2(WEIR_F32, a, 2, 1) == 5e30f);
		assert_true((float)weir__norm2(WEIR_F32, b, 2, 1) == 5e-30f);
		assert_true(fabs(weir__norm2(WEIR_F64, d, 2, 1) - 5e200) <= DBL_EPSILON * 5e200);
		weir__reduce(WEIR_RED_mean, WEIR_F32, 0, NULL, NULL, 1, &n, &one, c, &y, WEIR_DST_WRITE, 1);
		assert_true(y == 3e38f);
		weir__fp_clear();
		weir__reduce(WEIR_RED_mean, WEIR_F64, 0, NULL, NULL, 1, &three, &one, e, &z, WEIR_DST_WRITE, 1);
		assert_true(fabs(z - 1.7e308) <= DBL_EPSILON * 1.7e308);
		assert_int_equal(weir__fp_flags(), 0);
		weir__reduce(WEIR_RED_mean, WEIR_F64, 0, NULL, NULL, 1, &three, &one, inf, &z, WEIR_DST_WRITE, 1);
		assert_true(z == -(double)INFINITY);
		weir__reduce(WEIR_RED_norm, WEIR_F64, 0, NULL, NULL, 1, &three, &one, inf, &z, WEIR_DST_WRITE, 1);
		assert_true(z == (double)INFINITY);
		assert_true(weir__norm2(WEIR_F64, inf, 3, 2) == (double)INFINITY);
		inf[0] = (double)NAN;
		assert_true(isnan(weir__norm2(WEIR_F64, inf, 3, 2)));
		weir__reduce(WEIR_RED_mean, WEIR_F64, 0, NULL, NULL, 1, &three, &one, inf, &z, WEIR_DST_WRITE, 1);
		assert_true(isnan(z));
		inf[0] = 1;
		weir__fp_leave(saved);
	}
	weir__reduce(WEIR_RED_sum, WEIR_F32, 0, NULL, NULL, 1, &many, &still, &ones, &y, WEIR_DST_WRITE, 2);
	assert_true(y == 2e7f);
}

static void big_norms(void **unused)
{
	(void)unused;
	for (int64_t i = 0; i < MOST; i++) memory.d[i] = uniform() * 1e250;
	for (int64_t i = 0; i < MOST; i++) logical[i] = memory.d[i] * ldexp(1.0, -830); /* 1e250 < 2^831 */
	for (int k = 0; k < 4; k++) {
		double r = weir__norm2(WEIR_F64, memory.d, MOST, threads[k]),
		       exact = sqrt(ref_sum(logical, MOST, true));

		assert_true(fabs(r - ldexp(exact, 830)) <= 4 * DBL_EPSILON * r);
		assert_same(r, weir__norm2(WEIR_F64, memory.d, MOST, 1), "threads", MOST);
	}
}

static void counts(void **unused)
{
	(void)unused;
	for (int mode = 0; mode < 2; mode++) {
		weir_fp_state saved = weir__fp_enter(mode);

		for (size_t l = 0; l < sizeof(lengths) / sizeof(*lengths); l++)
			for (int d = 0; d < 2; d++) {
				int64_t n = lengths[l];
				weir_stats s, want = { 0 };
				uint64_t most = 0;

				for (int64_t i = 0; i < n; i++) {
					uint64_t sign = draw() % 2, magnitude,
						 inf = d ? 0x7ff0000000000000u : 0x7f800000u;
					uint64_t normal = d ? 0x0010000000000000u : 0x00800000u;

					switch (draw() % (n > 2000 ? 2000 : 9)) {
					case 0: magnitude = 0; break;
					case 1: magnitude = inf; break;
					case 2: magnitude = inf + 1 + draw() % 1000; break;
					case 3: magnitude = 1 + draw() % (normal - 1); break;
					case 4: magnitude = normal; break;
					default:
						magnitude =
							l % 2 ? draw() % (normal + 5) : (draw() << 20 ^ draw()) % inf;
						break;
					}
					want.zeros += !magnitude;
					want.subnormals += magnitude && magnitude < normal;
					want.pos_inf += magnitude == inf && !sign;
					want.neg_inf += magnitude == inf && sign;
					want.nan += magnitude > inf;
					if (magnitude < inf && magnitude > most) most = magnitude;
					if (d) memory.l[i] = (int64_t)(magnitude | sign << 63);
					else memory.i[i] = (int32_t)(uint32_t)(magnitude | sign << 31);
				}
				if (d) {
					memcpy(&want.largest, &most, 8);
				} else {
					int e = (int)(most >> 23 ? most >> 23 : 1) - 150;

					want.largest =
						ldexp((double)((most & 0x7fffff) | (most >> 23 ? 0x800000u : 0u)), e);
				}
				for (int k = 0; k < 4; k++) {
					weir__stats(d ? WEIR_F64 : WEIR_F32, &memory, n, &s, threads[k]);
					assert_memory_equal(&s, &want, sizeof(s));
				}
			}
		assert_int_equal(weir__fp_flags(), 0);
		weir__fp_leave(saved);
	}
}

static int run_group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(contiguous),     cmocka_unit_test(layouts),   cmocka_unit_test(adding_and_nothing),
		cmocka_unit_test(integers),       cmocka_unit_test(fast_norm), cmocka_unit_test(order_of_zeros_and_nan),
		cmocka_unit_test(every_exponent), cmocka_unit_test(hard_rows), cmocka_unit_test(big_norms),
		cmocka_unit_test(counts),
	};

	return cmocka_run_group_tests_name(weir__kernels()->isa, tests, NULL, NULL);
}

int main(void)
{
	static const char *const sets[] = { "generic", "avx2", "avx512" };
	const char *cap = getenv("WEIR_ISA");
	int failed = 0;

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	for (int i = 0; i < 3 && (i == 0 || !cap || strcmp(cap, sets[i - 1]) != 0); i++) {
		pid_t child = fork();
		int status = 1;

		if (child == 0) {
			setenv("WEIR_ISA", sets[i], 1);
			if (strcmp(weir__kernels()->isa, sets[i]) != 0) _exit(0); /* this processor lacks it */
			status = run_group();
			fflush(NULL);
			_exit(status != 0);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0) failed = 1;
	}
	return failed;
}
