/* body_layer_norm.c: the rows of layer_norm.h, compiled once per instruction set. */
#include <math.h>

#include "kernels/body_rows.h"
#include "kernels/table.h"

/* What a row is normalised by. A value is scaled by `by`, which is 1 for float; then x̂ = ((x by - k) - rest) r. */
typedef struct norm {
	vd by, k, rest, r;
	double slope; /* 1 / √(v + eps) */
} norm;

/* The lanes below n; 0 in the others. */
VEC lanes lanes_below(lanes v, int64_t n)
{
	if (n >= 16) return v;
	return (lanes){ vd_blend(md_first(n < 8 ? n : 8), v.lo, vd_zero()),
			vd_blend(md_first(n < 8 ? 0 : n - 8), v.hi, vd_zero()) };
}

/* x by - k */
VEC lanes from_centre(lanes v, const norm *m, bool wide)
{
	if (wide) v = (lanes){ vd_mul(v.lo, m->by), vd_mul(v.hi, m->by) };
	return (lanes){ vd_sub(v.lo, m->k), vd_sub(v.hi, m->k) };
}

VEC lanes normalised(lanes v, const norm *m, bool wide)
{
	v = from_centre(v, m, wide);
	if (wide) v = (lanes){ vd_sub(v.lo, m->rest), vd_sub(v.hi, m->rest) };
	return (lanes){ vd_mul(v.lo, m->r), vd_mul(v.hi, m->r) };
}

/* Σd, and Σd² where square is not NULL. */
ROW double sum_from_centre(const void *x, int64_t n, const norm *m, double *square, bool wide)
{
	weir_tree sum, squares;

	weir__tree_begin(&sum);
	weir__tree_begin(&squares);
	for (int64_t c = 0; c < n; c += WEIR_CHUNK) {
		int64_t end = n - c < WEIR_CHUNK ? n : c + WEIR_CHUNK;
		lanes s = zeros(), q = zeros();

		for (int64_t i = c; i < end; i += 16) {
			lanes d = lanes_below(from_centre(load(x, i, end - i, 0.0, wide), m, wide), end - i);

			s = (lanes){ vd_add(s.lo, d.lo), vd_add(s.hi, d.hi) };
			if (square) q = (lanes){ vd_fma(d.lo, d.lo, q.lo), vd_fma(d.hi, d.hi, q.hi) };
		}
		weir__tree_add(&sum, fold(s));
		if (square) weir__tree_add(&squares, fold(q));
	}
	if (square) *square = weir__tree_sum(&squares);
	return weir__tree_sum(&sum);
}

/* The power of two for a row of double: 1 unless its largest is far out. (inf and NaN make the row NaN whatever it is.) */
static double scale_of(const double *x, int64_t n)
{
	vd most = vd_zero();
	double m[8], r = 0.0;

	for (int64_t i = 0; i < n; i += 8)
		most = vd_max(vd_abs(n - i >= 8 ? vd_load(x + i) : vd_load_n(x + i, n - i, 0.0)), most);
	vd_store(m, most);
	for (int l = 0; l < 8; l++) r = m[l] > r ? m[l] : r;
	return r > 0x1p+400 ? 0x1p-700 : r < 0x1p-400 ? 0x1p+400 : 1.0;
}

ROW norm norm_of(const void *x, int64_t n, double eps, bool wide)
{
	double scale = wide ? scale_of(x, n) : 1.0, k = get(x, 0, wide), count = (double)n, sum, square, rest, v, e, r;
	norm m = { .by = vd_set1(scale), .k = vd_zero() };

	if (wide) k = sum_from_centre(x, n, &m, NULL, wide) / count;
	m.k = vd_set1(k);
	sum = sum_from_centre(x, n, &m, &square, wide);
	rest = sum / count;
	v = (square - sum * rest) / count;
	v = v < 0.0 ? 0.0 : v;
	e = scale * scale * eps;
	r = v + e == 0.0 ? 0.0 : 1.0 / __builtin_sqrt(v + e); /* 0: all are alike, x̂ is 0 */
	m.slope = v == 0.0 ? 1.0 / __builtin_sqrt(eps) : r * scale;
	if (!wide) m.k = vd_set1(k + rest);
	m.rest = vd_set1(rest);
	m.r = vd_set1(r);
	return m;
}

ROW void layer_norm_rows(void *y, const void *x, const void *weight, const void *bias, double eps, int64_t rows,
			 int64_t n, bool wide)
{
	int64_t size = wide ? 8 : 4;

	for (; rows > 0; rows--, x = (const char *)x + n * size, y = (char *)y + n * size) {
		norm m = norm_of(x, n, eps, wide);

		for (int64_t i = 0; i < n; i += 16) {
			lanes v = normalised(load(x, i, n - i, 0.0, wide), &m, wide);
			lanes w = load(weight, i, n - i, 0.0, wide), b = load(bias, i, n - i, 0.0, wide);

			prefetch(x, n + i, wide);
			store(y, i, n - i, (lanes){ vd_fma(v.lo, w.lo, b.lo), vd_fma(v.hi, w.hi, b.hi) }, wide);
		}
	}
}

/* gy weight */
VEC lanes weighted(lanes gy, const void *weight, int64_t at, int64_t n, bool wide)
{
	lanes w = load(weight, at, n, 0.0, wide);

	return (lanes){ vd_mul(gy.lo, w.lo), vd_mul(gy.hi, w.hi) };
}

/* Σg/n and Σgx̂/n of a row. Idle lanes have g = 0, but an x̂ of inf or NaN only where the whole row has. */
ROW void means_of(const void *x, const void *weight, const void *gy, int64_t n, const norm *m, vd *mean, vd *along,
		  bool wide)
{
	weir_tree sum, dot;

	weir__tree_begin(&sum);
	weir__tree_begin(&dot);
	for (int64_t c = 0; c < n; c += WEIR_CHUNK) {
		int64_t end = n - c < WEIR_CHUNK ? n : c + WEIR_CHUNK;
		lanes s = zeros(), p = zeros();

		for (int64_t i = c; i < end; i += 16) {
			lanes v = normalised(load(x, i, end - i, 0.0, wide), m, wide);
			lanes g = weighted(load(gy, i, end - i, 0.0, wide), weight, i, end - i, wide);

			s = (lanes){ vd_add(s.lo, g.lo), vd_add(s.hi, g.hi) };
			p = (lanes){ vd_fma(g.lo, v.lo, p.lo), vd_fma(g.hi, v.hi, p.hi) };
		}
		weir__tree_add(&sum, fold(s));
		weir__tree_add(&dot, fold(p));
	}
	*mean = vd_set1(weir__tree_sum(&sum) / (double)n);
	*along = vd_set1(weir__tree_sum(&dot) / (double)n);
}

/* to[0..n) += v */
VEC void add_to(double *to, int64_t n, lanes v)
{
	if (n >= 16) {
		vd_store(to, vd_add(vd_load(to), v.lo));
		vd_store(to + 8, vd_add(vd_load(to + 8), v.hi));
	} else {
		lanes have = load(to, 0, n, 0.0, true);

		store(to, 0, n, (lanes){ vd_add(have.lo, v.lo), vd_add(have.hi, v.hi) }, true);
	}
}

/* sums: n of weight's, n of bias's, or NULL; gx may be NULL. Row r is at r stride. */
ROW void layer_norm_vjp_rows(void *gx, double *sums, const void *x, const void *weight, const void *gy, double eps,
			     int64_t rows, int64_t stride, int64_t n, bool add, bool wide)
{
	for (int64_t r = 0; r < rows; r++) {
		int64_t at = r * stride * (wide ? 8 : 4);
		const char *xr = (const char *)x + at, *gr = (const char *)gy + at;
		char *to = gx ? (char *)gx + at : NULL;
		norm m = norm_of(xr, n, eps, wide);
		vd mean = vd_zero(), along = vd_zero(), slope = vd_set1(m.slope);

		if (to) means_of(xr, weight, gr, n, &m, &mean, &along, wide);
		for (int64_t i = 0; i < n; i += 16) {
			lanes v = normalised(load(xr, i, n - i, 0.0, wide), &m, wide);
			lanes g = load(gr, i, n - i, 0.0, wide);

			prefetch(xr, stride + i, wide);
			prefetch(gr, stride + i, wide);
			if (sums) {
				add_to(sums + i, n - i, (lanes){ vd_mul(g.lo, v.lo), vd_mul(g.hi, v.hi) });
				add_to(sums + n + i, n - i, g);
			}
			if (!to) continue;
			g = weighted(g, weight, i, n - i, wide);
			g.lo = vd_mul(vd_fnma(v.lo, along, vd_sub(g.lo, mean)), slope);
			g.hi = vd_mul(vd_fnma(v.hi, along, vd_sub(g.hi, mean)), slope);
			put(to, i, n - i, g, add, wide);
		}
	}
}

ROWS_BOTH(layer_norm,
	  (void *y, const void *x, const void *weight, const void *bias, double eps, int64_t rows, int64_t n), y, x,
	  weight, bias, eps, rows, n)
ROWS_BOTH(layer_norm_vjp,
	  (void *gx, double *sums, const void *x, const void *weight, const void *gy, double eps, int64_t rows,
	   int64_t stride, int64_t n, bool add),
	  gx, sums, x, weight, gy, eps, rows, stride, n, add)
