/* ops_products.h: the reference of matrix products, and operands in several layouts. */
#ifndef WEIR_TESTS_OPS_PRODUCTS_H
#define WEIR_TESTS_OPS_PRODUCTS_H

#include "tests/ops_reference.h"

/* What layout a matrix [..., r, c] is drawn in; the values are as if contiguous. */
enum { PLAIN, TRANSPOSED, SLICED, REPEATED, LAYOUTS };

static inline weir_tensor *draw_as(weir_ctx *w, weir_dtype dtype, int layout, int rank, const int64_t *shape)
{
	int64_t s[WEIR_MAX_RANK];
	weir_tensor *t;

	memcpy(s, shape, (size_t)rank * sizeof *s);
	switch (layout) {
	case TRANSPOSED:
		s[rank - 1] = shape[rank - 2];
		s[rank - 2] = shape[rank - 1];
		return weir_transpose(draw(w, dtype, rank, s, -1, 1), -1, -2);
	case SLICED:
		s[rank - 1] = 3 * s[rank - 1] + 1;
		s[rank - 2] += 2;
		t = weir_slice(draw(w, dtype, rank, s, -1, 1), rank - 1, 1, s[rank - 1], 3);
		return weir_slice(t, rank - 2, 2, s[rank - 2], 1);
	case REPEATED: s[0] = 1; return weir_expand(draw(w, dtype, rank, s, -1, 1), rank, shape);
	default: return draw(w, dtype, rank, s, -1, 1);
	}
}

/* acc + a b in one rounding of the type. */
static inline double step(weir_dtype dtype, double a, double b, double acc)
{
	return dtype == WEIR_F32 ? (double)fmaf((float)a, (float)b, (float)acc) : fma(a, b, acc);
}

/* c [m, n] = a [m, k] · b [k, n] by the stated chain; element (i, p) of a is a[i * ars + p * acs]. */
static inline void chain(weir_dtype dtype, int64_t m, int64_t n, int64_t k, const double *a, int64_t ars, int64_t acs,
			 const double *b, int64_t brs, int64_t bcs, double *c)
{
	for (int64_t i = 0; i < m; i++) {
		for (int64_t j = 0; j < n; j++) {
			double acc = 0;

			for (int64_t p = 0; p < k; p++)
				acc = step(dtype, a[i * ars + p * acs], b[p * brs + j * bcs], acc);
			c[i * n + j] = acc;
		}
	}
}

static inline void expect_bits(const weir_tensor *t, const double *want)
{
	double *got = read_all(t);

	for (int64_t i = 0; i < weir_numel(t); i++) {
		if (same(got[i], want[i])) continue;
		print_error("element %lld: got %.17g, want %.17g\n", (long long)i, got[i], want[i]);
		fail();
	}
	free(got);
}

#endif
