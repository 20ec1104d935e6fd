/* test_softmax_kernel.c: kernels/softmax.h against long double, and against itself: threads, instruction sets, modes.
 *
 * The program runs itself in a child with WEIR_ISA set for each instruction set; a child sends a checksum of all its results to the
 * parent, which compares them.
 * Long: many small tests, and their reference. */
#include "kernels/softmax.h"

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

enum { MOST = 60000 };

typedef union memory {
	float f[MOST];
	double d[MOST];
} memory;

static memory x, y, gy, gx, more;
static int32_t label4[MOST];
static int64_t label8[MOST];
static uint64_t state = 1, checksum = 14695981039346656037u;
static const weir_dtype types[] = { WEIR_F32, WEIR_F64 };

static double uniform(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (double)(state >> 11) * 0x1p-52 - 1.0;
}

static size_t size_of(weir_dtype t)
{
	return t == WEIR_F64 ? 8 : 4;
}

static double at(const memory *m, weir_dtype t, int64_t i)
{
	return t == WEIR_F64 ? m->d[i] : (double)m->f[i];
}

static void put(memory *m, weir_dtype t, int64_t i, double v)
{
	if (t == WEIR_F64) m->d[i] = v;
	else m->f[i] = (float)v;
}

static void digest(const memory *m, weir_dtype t, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		double v = at(m, t, i);
		uint64_t b = 0x7ff8000000000000u;

		if (!isnan(v)) memcpy(&b, &v, sizeof(b));
		checksum = (checksum ^ b) * 1099511628211u;
	}
}

/* The distance in units of the last place of the exact value, in t. */
static double ulps(weir_dtype t, double got, long double exact)
{
	int e, digits = t == WEIR_F64 ? 53 : 24, least = t == WEIR_F64 ? -1073 : -148;

	frexpl(exact, &e);
	if (exact == 0 || e - digits < least - 1) e = least - 1 + digits;
	return (double)(fabsl((long double)got - exact) / ldexpl(1.0L, e - digits));
}

static double worst[2][6];

static void check(weir_dtype t, int what, double got, long double exact, long double size, double limit, int64_t n)
{
	static const char *const name[] = { "softmax",     "log_softmax",     "cross_entropy",
					    "softmax_vjp", "log_softmax_vjp", "cross_entropy_vjp" };
	double u = size == 0 ? ulps(t, got, exact)
			     : ulps(t, got, exact) * (double)(ldexpl(1.0L, ilogbl(exact)) / ldexpl(1.0L, ilogbl(size)));

	if (u > worst[t][what]) worst[t][what] = u;
	if (!(u <= limit))
		fail_msg("%s %s, n %lld: got %.17g, is %.17Lg: %.2f ULP, limit %.2f", name[what],
			 t == WEIR_F64 ? "f64" : "f32", (long long)n, got, exact, u, limit);
}

/* One row against long double. */
static void check_row(weir_dtype t, int64_t n, int64_t start, double g)
{
	static long double e[MOST];
	long double max = -INFINITY, rest = 0, s, log_s, dot = 0, sum = 0, dot_size = 0, sum_size = 0,
		    normal = t == WEIR_F64 ? DBL_MIN : FLT_MIN;
	int64_t k = 0, label = label8[0];
	double loss;

	for (int64_t i = 0; i < n; i++)
		if ((long double)at(&x, t, start + i) > max) max = at(&x, t, start + i);
	for (int64_t i = 0; i < n; i++) {
		e[i] = expl(at(&x, t, start + i) - max);
		if ((long double)at(&x, t, start + i) == max) k++;
		else rest += e[i];
	}
	s = (long double)k + rest;
	log_s = k == 1 ? log1pl(rest) : logl(s);
	weir__softmax(t, 1, n, (char *)&x + (size_t)start * size_of(t), &y, 1);
	for (int64_t i = 0; i < n; i++)
		if (e[i] / s >= normal) check(t, 0, at(&y, t, i), e[i] / s, 0, 2.0, n);
	weir__softmax_vjp(t, 1, n, &y, &gy, &gx, WEIR_DST_WRITE, 1);
	for (int64_t i = 0; i < n; i++) {
		dot += (long double)at(&y, t, i) * at(&gy, t, i);
		dot_size += (long double)at(&y, t, i) * fabs(at(&gy, t, i));
	}
	for (int64_t i = 0; i < n; i++) {
		long double p = at(&y, t, i), v = p * (at(&gy, t, i) - dot),
			    size = p * (fabs(at(&gy, t, i)) + dot_size);

		if (fabsl(v) >= normal) check(t, 3, at(&gx, t, i), v, size, t == WEIR_F64 ? 3.0 : 1.0, n);
	}
	weir__log_softmax(t, 1, n, (char *)&x + (size_t)start * size_of(t), &y, 1);
	for (int64_t i = 0; i < n; i++) {
		long double v = (at(&x, t, start + i) - max) - log_s;

		if (fabsl(v) >= normal) check(t, 1, at(&y, t, i), v, 0, 2.0, n);
	}
	weir__log_softmax_vjp(t, 1, n, &y, &gy, &gx, WEIR_DST_WRITE, 1);
	for (int64_t i = 0; i < n; i++) {
		sum += at(&gy, t, i);
		sum_size += fabs(at(&gy, t, i));
	}
	for (int64_t i = 0; i < n; i++) {
		long double p = expl(at(&y, t, i)), v = at(&gy, t, i) - p * sum,
			    size = fabs(at(&gy, t, i)) + p * sum_size;

		if (fabsl(v) >= normal) check(t, 4, at(&gx, t, i), v, size, t == WEIR_F64 ? 3.0 : 1.0, n);
	}
	weir__cross_entropy(t, 1, n, (char *)&x + (size_t)start * size_of(t), WEIR_I64, label8, &loss, 1);
	if (t == WEIR_F32) {
		float l;

		memcpy(&l, &loss, 4);
		loss = (double)l;
	}
	check(t, 2, loss, log_s - (at(&x, t, start + label) - max), 0, 2.0, n);
	put(&more, t, 0, g);
	weir__cross_entropy_vjp(t, 1, n, (char *)&x + (size_t)start * size_of(t), WEIR_I64, label8, &more, 0, &gx,
				WEIR_DST_WRITE, 1);
	for (int64_t i = 0; i < n; i++) {
		long double v = e[i] / s;

		if (i == label) v = (at(&x, t, start + i) - max == 0 ? (long double)(k - 1) + rest : s - e[i]) / -s;
		v *= at(&more, t, 0);
		if (fabsl(v) >= normal) check(t, 5, at(&gx, t, i), v, 0, t == WEIR_F64 ? 3.0 : 2.0, n);
	}
}

static void accuracy(void **unused)
{
	static const int64_t lengths[] = { 1, 2, 3, 7, 10, 16, 17, 33, 100, 1000, 4097, 9000 };
	static const double scales[] = { 0, 1e-6, 0.1, 1, 5, 20, 40, 1e4 }, shifts[] = { 0, 3, 1e4, -1e4 };
	bool all = strcmp(weir__kernels()->isa, "generic") == 0; /* the others have the same bits: long rows once */
	weir_fp_state saved = weir__fp_enter(true);

	(void)unused;
	for (int d = 0; d < 2; d++)
		for (size_t l = 0; l < (all ? 12 : 9); l++)
			for (size_t s = 0; s < 8; s++)
				for (size_t h = 0; h < 4; h++) {
					int64_t n = lengths[l];

					for (int64_t i = 0; i < n; i++) {
						put(&x, types[d], i, uniform() * scales[s] + shifts[h]);
						put(&gy, types[d], i, uniform());
					}
					label8[0] = (int64_t)((uniform() + 1.0) * 0.499 * (double)n);
					check_row(types[d], n, 0, uniform());
				}
	for (int gap = 0; gap < 100; gap++) { /* one entry far above the others: a small loss, a probability near 1 */
		for (int d = 0; d < 2; d++) {
			for (int i = 0; i < 5; i++) put(&x, types[d], i, (i == 3 ? gap : 0) + 0.1 * i);
			for (int label = 0; label < 5; label++) {
				label8[0] = label;
				check_row(types[d], 5, 0, 0.7);
			}
		}
	}
	weir__fp_leave(saved);
}

/* Everything about rows rows of n, for the checksum and against other numbers of threads. */
static void all_of(weir_dtype t, int64_t rows, int64_t n, int threads, bool add, memory out[6])
{
	weir_dst_mode mode = add ? WEIR_DST_ADD : WEIR_DST_WRITE;

	weir__softmax(t, rows, n, &x, &out[0], threads);
	weir__log_softmax(t, rows, n, &x, &out[1], threads);
	weir__softmax_vjp(t, rows, n, &out[0], &gy, &out[2], mode, threads);
	weir__log_softmax_vjp(t, rows, n, &out[1], &gy, &out[3], mode, threads);
	weir__cross_entropy(t, rows, n, &x, WEIR_I32, label4, &out[4], threads);
	weir__cross_entropy_vjp(t, rows, n, &x, WEIR_I64, label8, &gy, 1, &out[5], mode, threads);
}

static void same_bits(void **unused)
{
	static const int64_t shapes[][2] = { { 1, 1 },    { 3, 2 },    { 64, 10 },   { 50, 17 },
					     { 7, 1000 }, { 2, 9000 }, { 1, 20000 }, { 1500, 10 } };
	static const int threads[] = { 1, 2, 3, 8 };
	static memory out[6], again[6];

	(void)unused;
	state = 2; /* the same in every child */
	for (int mode = 0; mode < 2; mode++) {
		weir_fp_state saved = weir__fp_enter(mode);

		for (int d = 0; d < 2; d++)
			for (size_t s = 0; s < sizeof(shapes) / sizeof(*shapes); s++) {
				int64_t rows = shapes[s][0], n = shapes[s][1];
				weir_dtype t = types[d];

				for (int64_t i = 0; i < rows * n; i++) {
					double wild = uniform();

					put(&x, t, i,
					    wild > 0.99     ? -(double)INFINITY
					    : wild < -0.999 ? uniform() * 300
							    : uniform() * 10);
					put(&gy, t, i, uniform());
				}
				for (int64_t r = 0; r < rows; r++) label8[r] = label4[r] = (int32_t)(r * 7 % n);
				all_of(t, rows, n, 1, false, out);
				for (int i = 0; i < 6; i++) digest(&out[i], t, i == 4 ? rows : rows * n);
				for (size_t k = 1; k < 4; k++) {
					all_of(t, rows, n, threads[k], false, again);
					for (int i = 0; i < 6; i++)
						assert_memory_equal(&again[i], &out[i],
								    (size_t)(i == 4 ? rows : rows * n) * size_of(t));
				}
				for (int i = 2; i < 6; i++) /* adding is one addition of the same result */
					for (int64_t j = 0; j < rows * n; j++) put(&again[i], t, j, 0.25 * (double)j);
				all_of(t, rows, n, 2, true, again);
				for (int i = 2; i < 6; i++)
					for (int64_t j = 0; j < rows * n && i != 4; j++) {
						double was = 0.25 * (double)j, v = at(&out[i], t, j);
						double sum = t == WEIR_F64 ? was + v : (double)((float)was + (float)v),
						       got = at(&again[i], t, j);

						if (got != sum && !(isnan(got) && isnan(sum)))
							fail_msg("adding, %d: got %.17g, must be %.17g", i, got, sum);
					}
				memcpy(&again[0], &x, sizeof(x)); /* in place */
				weir__softmax(t, rows, n, &again[0], &again[0], 2);
				assert_memory_equal(&again[0], &out[0], (size_t)(rows * n) * size_of(t));
				memcpy(&again[1], &x, sizeof(x));
				weir__log_softmax(t, rows, n, &again[1], &again[1], 2);
				assert_memory_equal(&again[1], &out[1], (size_t)(rows * n) * size_of(t));
			}
		weir__fp_leave(saved);
	}
}

/* A row's value must not depend on the rows around it or on its alignment. */
static void position(void **unused)
{
	(void)unused;
	for (int d = 0; d < 2; d++) {
		weir_dtype t = types[d];
		size_t size = 37 * size_of(t);

		for (int i = 0; i < 37 * 20; i++) put(&x, t, i, uniform() * 8);
		weir__softmax(t, 20, 37, &x, &y, 2);
		for (size_t r = 0; r < 20; r++) {
			weir__softmax(t, 1, 37, (char *)&x + r * size, &more, 1);
			assert_memory_equal(&more, (char *)&y + r * size, size);
		}
	}
}

/* Rows of few floats go by the block, unless one of them is not finite: the others must not show it. */
static void narrow_blocks(void **unused)
{
	enum { ROWS = 29 };
	static memory loss, loss_again;

	(void)unused;
	for (int64_t n = 1; n <= 18; n++) {
		for (int64_t i = 0; i < ROWS * n; i++)
			put(&x, WEIR_F32, i, (double)(float)(uniform() * (i % 5 ? 2 : 400)));
		for (int64_t r = 0; r < ROWS; r++) {
			label4[r] = (int32_t)(r * 5 % n);
			put(&gy, WEIR_F32, r, uniform());
			if (r % 3 == 0)
				x.f[r * n + n - 1] = x.f[r * n]; /* often the largest twice, where n is 2 or 3 */
		}
		weir__cross_entropy(WEIR_F32, ROWS, n, &x, WEIR_I32, label4, &loss, 1);
		weir__cross_entropy_vjp(WEIR_F32, ROWS, n, &x, WEIR_I32, label4, &gy, 1, &gx, WEIR_DST_WRITE, 1);
		for (int64_t r = 0; r < ROWS; r += 4) x.f[r * n] = NAN; /* at least one in every eight */
		weir__cross_entropy(WEIR_F32, ROWS, n, &x, WEIR_I32, label4, &loss_again, 1);
		weir__cross_entropy_vjp(WEIR_F32, ROWS, n, &x, WEIR_I32, label4, &gy, 1, &more, WEIR_DST_WRITE, 1);
		for (int64_t r = 0; r < ROWS; r++) {
			if (r % 4 == 0) {
				assert_true(isnan(loss_again.f[r]));
				continue;
			}
			if (loss.f[r] != loss_again.f[r])
				fail_msg("loss of row %d of %d: %a by the block, %a by itself", (int)r, (int)n,
					 (double)loss.f[r], (double)loss_again.f[r]);
			for (int64_t i = r * n; i < (r + 1) * n; i++)
				if (gx.f[i] != more.f[i])
					fail_msg("gradient of row %d of %d: %a by the block, %a by itself", (int)r,
						 (int)n, (double)gx.f[i], (double)more.f[i]);
		}
	}
}

/* The dot product and the sum inside the gradients, in the order of reduce.h. */
static double ordered(const double *v, int64_t n)
{
	double chunk[16];
	int64_t m = 0;

	for (int64_t c = 0; c < n; c += 4096) {
		double lane[16] = { 0 };

		for (int64_t i = c; i < n && i < c + 4096; i++) lane[i % 16] += v[i];
		for (int h = 8; h; h /= 2)
			for (int l = 0; l < h; l++) lane[l] += lane[l + h];
		chunk[m++] = lane[0];
	}
	return m == 1 ? chunk[0] : m == 2 ? chunk[0] + chunk[1] : (chunk[0] + chunk[1]) + chunk[2];
}

static void order(void **unused)
{
	static const int64_t lengths[] = { 1, 5, 16, 100, 4096, 5000, 12000 };
	static double v[MOST];

	(void)unused;
	for (int d = 0; d < 2; d++)
		for (size_t l = 0; l < 7; l++) {
			int64_t n = lengths[l];
			weir_dtype t = types[d];
			double dot, sum;

			for (int64_t i = 0; i < n; i++) {
				put(&y, t, i, uniform() + 1.0);
				put(&gy, t, i, uniform());
				v[i] = at(&y, t, i) * at(&gy, t, i);
			}
			dot = ordered(v, n);
			weir__softmax_vjp(t, 1, n, &y, &gy, &gx, WEIR_DST_WRITE, 1);
			for (int64_t i = 0; i < n; i++) {
				put(&more, t, 0, at(&y, t, i) * (at(&gy, t, i) - dot));
				assert_true(at(&gx, t, i) == at(&more, t, 0));
				v[i] = at(&gy, t, i);
				put(&y, t, i, 0.0);
			}
			sum = ordered(v, n);
			weir__log_softmax_vjp(t, 1, n, &y, &gy, &gx, WEIR_DST_WRITE, 1);
			for (int64_t i = 0; i < n; i++) {
				put(&more, t, 0, at(&gy, t, i) - sum);
				assert_true(at(&gx, t, i) == at(&more, t, 0));
			}
		}
}

static void set_row(weir_dtype t, double a, double b, double c)
{
	put(&x, t, 0, a);
	put(&x, t, 1, b);
	put(&x, t, 2, c);
	for (int i = 0; i < 3; i++) put(&gy, t, i, 1.0 + i);
}

static void must_be(const memory *m, weir_dtype t, double a, double b, double c)
{
	double v[3] = { a, b, c };

	for (int i = 0; i < 3; i++) {
		double r = t == WEIR_F64 ? v[i] : (double)(float)v[i], got = at(m, t, i);

		if (got != r && !(isnan(got) && isnan(r))) fail_msg("entry %d: got %.17g, must be %.17g", i, got, r);
	}
}

static void special_rows(void **unused)
{
	const double inf = (double)INFINITY, nan = (double)NAN;

	(void)unused;
	for (int mode = 0; mode < 2; mode++) {
		weir_fp_state saved = weir__fp_enter(mode);

		for (int d = 0; d < 2; d++) {
			weir_dtype t = types[d];
			double big = d ? 1.7e308 : 3e38, third = 1.0 / 3.0, log3 = 1.0986122886681098;

			label8[0] = 1;
			put(&more, t, 0, 2.0);
			for (int sign = -1; sign < 2; sign++) { /* equal entries, however large */
				weir__fp_clear();
				set_row(t, sign * big, sign * big, sign * big);
				weir__softmax(t, 1, 3, &x, &y, 1);
				must_be(&y, t, third, third, third);
				weir__log_softmax(t, 1, 3, &x, &y, 1);
				must_be(&y, t, -log3, -log3, -log3);
				weir__cross_entropy_vjp(t, 1, 3, &x, WEIR_I64, label8, &more, 0, &gx, WEIR_DST_WRITE,
							1);
				must_be(&gx, t, 2 * third, -4 * third, 2 * third);
				assert_int_equal(weir__fp_flags(), 0);
			}
			set_row(t, big, -big, 0); /* the largest difference */
			weir__softmax(t, 1, 3, &x, &y, 1);
			must_be(&y, t, 1, 0, 0);
			weir__log_softmax(t, 1, 3, &x, &y, 1);
			must_be(&y, t, 0, -2 * big, -big);
			if (!d)
				assert_int_equal(weir__fp_flags() & ~(unsigned)WEIR_FP_OVERFLOW,
						 0); /* -6e38 is -inf in f32 */
			weir__fp_clear();

			set_row(t, -inf, 1, -inf); /* masked */
			weir__softmax(t, 1, 3, &x, &y, 1);
			must_be(&y, t, 0, 1, 0);
			weir__softmax_vjp(t, 1, 3, &y, &gy, &gx, WEIR_DST_WRITE, 1);
			must_be(&gx, t, 0, 0, 0);
			weir__log_softmax(t, 1, 3, &x, &y, 1);
			must_be(&y, t, -inf, 0, -inf);
			weir__log_softmax_vjp(t, 1, 3, &y, &gy, &gx, WEIR_DST_WRITE, 1);
			must_be(&gx, t, 1, -4, 3);
			weir__cross_entropy(t, 1, 3, &x, WEIR_I64, label8, &y, 1);
			assert_true(at(&y, t, 0) == 0.0);
			label8[0] = 2;
			weir__cross_entropy(t, 1, 3, &x, WEIR_I64, label8, &y, 1);
			assert_true(at(&y, t, 0) == inf);
			weir__cross_entropy_vjp(t, 1, 3, &x, WEIR_I64, label8, &more, 0, &gx, WEIR_DST_WRITE, 1);
			must_be(&gx, t, 0, 2, -2);

			set_row(t, -inf, -inf, -inf); /* all masked */
			weir__softmax(t, 1, 3, &x, &y, 1);
			must_be(&y, t, 0, 0, 0);
			weir__softmax_vjp(t, 1, 3, &y, &gy, &gx, WEIR_DST_WRITE, 1);
			must_be(&gx, t, 0, 0, 0);
			weir__log_softmax(t, 1, 3, &x, &y, 1);
			must_be(&y, t, -inf, -inf, -inf);
			weir__log_softmax_vjp(t, 1, 3, &y, &gy, &gx, WEIR_DST_WRITE, 1);
			must_be(&gx, t, 0, 0, 0);
			weir__cross_entropy(t, 1, 3, &x, WEIR_I64, label8, &y, 1);
			assert_true(at(&y, t, 0) == inf);
			weir__cross_entropy_vjp(t, 1, 3, &x, WEIR_I64, label8, &more, 0, &gx, WEIR_DST_WRITE, 1);
			must_be(&gx, t, 0, 0, 0);
			assert_int_equal(weir__fp_flags(), 0);

			for (int what = 0; what < 3; what++) { /* +inf and NaN: the whole row */
				set_row(t, what == 0 ? inf : nan, what == 2 ? -inf : 1, what == 2 ? -inf : 2);
				weir__softmax(t, 1, 3, &x, &y, 1);
				must_be(&y, t, nan, nan, nan);
				weir__log_softmax(t, 1, 3, &x, &y, 1);
				must_be(&y, t, nan, nan, nan);
				weir__cross_entropy(t, 1, 3, &x, WEIR_I64, label8, &y, 1);
				assert_true(isnan(at(&y, t, 0)));
				weir__cross_entropy_vjp(t, 1, 3, &x, WEIR_I64, label8, &more, 0, &gx, WEIR_DST_WRITE,
							1);
				must_be(&gx, t, nan, nan, nan);
			}
			weir__softmax(t, 5, 0, NULL, NULL, 2);
			weir__softmax(t, 0, 5, NULL, NULL, 2);
			weir__softmax_vjp(t, 1, 3, &y, &gy, NULL, WEIR_DST_SKIP, 1);
		}
		weir__fp_leave(saved);
	}
}

/* A shift by a whole number that the entries take exactly changes no bit of softmax. */
static void shifts(void **unused)
{
	(void)unused;
	for (int d = 0; d < 2; d++)
		for (int shift = -10000; shift <= 10000; shift += 10000) {
			for (int i = 0; i < 300; i++) put(&x, types[d], i, shift + (i * 37 % 300) / 64.0);
			weir__softmax(types[d], 1, 300, &x, shift == -10000 ? &y : &more, 1);
			if (shift > -10000) assert_memory_equal(&more, &y, 300 * size_of(types[d]));
		}
}

/* No flags from ordinary rows, masked lanes included. */
static void flags(void **unused)
{
	static memory out[6];
	weir_fp_state saved = weir__fp_enter(true);

	(void)unused;
	for (int d = 0; d < 2; d++)
		for (int64_t n = 1; n < 40; n++) {
			for (int64_t i = 0; i < n; i++) {
				put(&x, types[d], i,
				    i % 5 == 4   ? -(double)INFINITY
				    : i % 7 == 2 ? 1e-200
						 : uniform() * 20);
				put(&gy, types[d], i, uniform());
			}
			label8[0] = label4[0] = 0;
			weir__fp_clear();
			all_of(types[d], 1, n, 1, false, out);
			if (weir__fp_flags()) fail_msg("n %lld, type %d: flags %u", (long long)n, d, weir__fp_flags());
		}
	weir__fp_leave(saved);
}

static int run_group(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accuracy),      cmocka_unit_test(same_bits), cmocka_unit_test(position),
		cmocka_unit_test(narrow_blocks), cmocka_unit_test(order),     cmocka_unit_test(special_rows),
		cmocka_unit_test(shifts),        cmocka_unit_test(flags),
	};
	int failed = cmocka_run_group_tests_name(weir__kernels()->isa, tests, NULL, NULL);

	printf("checksum %016llx\n", (unsigned long long)checksum);
	for (int d = 0; d < 2; d++) {
		printf("largest error, ULP, f%d:", 32 << d);
		for (int i = 0; i < 6; i++) printf(" %.3f", worst[d][i]);
		printf("\n");
	}
	return failed;
}

int main(void)
{
	static const char *const sets[] = { "generic", "avx2", "avx512" };
	const char *cap = getenv("WEIR_ISA");
	uint64_t sums[3] = { 0 };
	int failed = 0, fd[2];

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	if (pipe(fd)) return 1;
	for (int i = 0; i < 3 && (i == 0 || !cap || strcmp(cap, sets[i - 1]) != 0); i++) {
		pid_t child = fork();
		int status = 1;

		if (child == 0) {
			setenv("WEIR_ISA", sets[i], 1);
			if (strcmp(weir__kernels()->isa, sets[i]) == 0) { /* else this processor lacks it */
				status = run_group();
				fflush(NULL);
			} else {
				status = 0;
				checksum = 0;
			}
			if (write(fd[1], &checksum, sizeof(checksum)) != sizeof(checksum)) status = 1;
			_exit(status != 0);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0) failed = 1;
		if (status == 0 && read(fd[0], &sums[i], sizeof(sums[i])) != sizeof(sums[i])) failed = 1;
		if (sums[i] && sums[i] != sums[0]) {
			printf("%s gives other bits than generic: %016llx, %016llx\n", sets[i],
			       (unsigned long long)sums[i], (unsigned long long)sums[0]);
			failed = 1;
		}
	}
	return failed;
}
