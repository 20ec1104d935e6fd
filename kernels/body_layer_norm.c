/* body_layer_norm.c: the rows of layer_norm.h, compiled once per instruction set. */
#include <math.h>

#include "kernels/body_rows.h"
#include "kernels/table.h"

/* What a row is normalised by. A value is scaled by `by`, which is 1 for float; then x̂ = ((x by - k) - rest) r. */
typedef struct norm {
	vd by, k, rest, r;
	double slope; /* 1 / √(v + eps) */
} norm;

/* The sums over a row: of d and d², and for the gradients of g and g d. */
typedef struct row_sums {
	double d, square, g, along;
} row_sums;

/* The lanes below n; 0 in the others. */
VEC vg lanes_below(vg a, int64_t n)
{
#define BELOW(i) \
	if (n < VG_LANES) a.v[i] = vd_blend(md_first(vg_share(n, i)), a.v[i], vd_zero())
	VG_DO(BELOW);
#undef BELOW
	return a;
}

/* x by - k */
VEC vg from_centre(vg x, const norm *m, bool wide)
{
	return vg_sub(wide ? vg_mul(x, vg_of(m->by)) : x, vg_of(m->k));
}

VEC vg normalised(vg x, const norm *m, bool wide)
{
	x = from_centre(x, m, wide);
	return vg_mul(wide ? vg_sub(x, vg_of(m->rest)) : x, vg_of(m->r));
}

/* gy weight */
VEC vg weighted(vg gy, const void *weight, int64_t at, int64_t n, bool wide)
{
	return vg_mul(gy, load(weight, at, n, 0.0, wide));
}

/* d, and as asked the others. `to` is a row that will be written: asked for while there is time. Idle lanes have d = g = 0. */
ROW row_sums sums_of(const void *x, const void *weight, const void *gy, const void *to, int64_t n, const norm *m,
		     bool square, bool wide)
{
	weir_tree tree[4];
	row_sums r = { 0, 0, 0, 0 };

	for (int t = 0; t < 4; t++) weir__tree_begin(&tree[t]);
	for (int64_t c = 0; c < n; c += WEIR_CHUNK) {
		int64_t end = n - c < WEIR_CHUNK ? n : c + WEIR_CHUNK;
		lanes part[4] = { zeros(), zeros(), zeros(), zeros() };

		for (int64_t i = c; i < end; i += VG_LANES) {
			vg d = lanes_below(from_centre(load(x, i, end - i, 0.0, wide), m, wide), end - i);

			add_up(&part[0], d);
			if (square) add_products(&part[1], d, d);
			if (gy) {
				vg g = weighted(load(gy, i, end - i, 0.0, wide), weight, i, end - i, wide);

				prefetch(to, i, wide);
				add_up(&part[2], g);
				add_products(&part[3], g, d);
			}
		}
		weir__tree_add(&tree[0], fold(part[0]));
		if (square) weir__tree_add(&tree[1], fold(part[1]));
		if (!gy) continue;
		weir__tree_add(&tree[2], fold(part[2]));
		weir__tree_add(&tree[3], fold(part[3]));
	}
	r.d = weir__tree_sum(&tree[0]);
	if (square) r.square = weir__tree_sum(&tree[1]);
	if (gy) {
		r.g = weir__tree_sum(&tree[2]);
		r.along = weir__tree_sum(&tree[3]);
	}
	return r;
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

/* Where gy is not NULL, *mean is Σg/n and *along Σgx̂/n, from Σgd: what that loses where the mean is far from k is what the variance loses. */
ROW norm norm_of(const void *x, const void *weight, const void *gy, const void *to, int64_t n, double eps, double *mean,
		 double *along, bool wide)
{
	double scale = wide ? scale_of(x, n) : 1.0, k = get(x, 0, wide), count = (double)n, rest, v, e, r;
	norm m = { .by = vd_set1(scale), .k = vd_zero() };
	row_sums s;

	if (wide) k = sums_of(x, NULL, NULL, NULL, n, &m, false, wide).d / count;
	m.k = vd_set1(k);
	s = sums_of(x, weight, gy, to, n, &m, true, wide);
	rest = s.d / count;
	v = (s.square - s.d * rest) / count;
	v = v < 0.0 ? 0.0 : v;
	e = scale * scale * eps;
	r = v + e == 0.0 ? 0.0 : 1.0 / __builtin_sqrt(v + e); /* 0: all are alike, x̂ is 0 */
	m.slope = v == 0.0 ? 1.0 / __builtin_sqrt(eps) : r * scale;
	if (!wide) m.k = vd_set1(k + rest);
	m.rest = vd_set1(rest);
	m.r = vd_set1(r);
	*mean = s.g / count;
	*along = (s.along - rest * s.g) * r / count;
	return m;
}

ROW void layer_norm_rows(void *y, const void *x, const void *weight, const void *bias, double eps, int64_t rows,
			 int64_t n, bool wide)
{
	int64_t size = wide ? 8 : 4;

	for (; rows > 0; rows--, x = (const char *)x + n * size, y = (char *)y + n * size) {
		double mean, along;
		norm m = norm_of(x, NULL, NULL, NULL, n, eps, &mean, &along, wide);

		for (int64_t i = 0; i < n; i += VG_LANES) {
			vg v = normalised(load(x, i, n - i, 0.0, wide), &m, wide);
			vg w = load(weight, i, n - i, 0.0, wide), b = load(bias, i, n - i, 0.0, wide);

			prefetch(x, n + i, wide);
			store(y, i, n - i, vg_fma(v, w, b), wide);
		}
	}
}

/* A row on its way back. */
typedef struct back {
	const char *x, *gy;
	char *gx; /* or NULL */
	norm m;
	vd mean, along, slope;
} back;

/* Row number r, its means taken. */
ROW back begin_back(void *gx, const void *x, const void *weight, const void *gy, double eps, int64_t at, int64_t n,
		    bool wide)
{
	double mean, along;
	back b = { .x = (const char *)x + at, .gy = (const char *)gy + at, .gx = gx ? (char *)gx + at : NULL };

	b.m = norm_of(b.x, weight, b.gx ? b.gy : NULL, b.gx, n, eps, &mean, &along, wide);
	b.mean = vd_set1(mean);
	b.along = vd_set1(along);
	b.slope = vd_set1(b.m.slope);
	return b;
}

/* gx of the group at i, and what it adds to the sums of weight and bias. The row that comes next is `ahead` further on. */
ROW void back_group(const back *b, int64_t i, int64_t n, vg weight, vg *of_weight, vg *of_bias, int64_t ahead, bool add,
		    bool wide)
{
	vg v = normalised(load(b->x, i, n - i, 0.0, wide), &b->m, wide), g = load(b->gy, i, n - i, 0.0, wide);

	prefetch(b->x, ahead + i, wide);
	prefetch(b->gy, ahead + i, wide);
	*of_weight = vg_fma(g, v, *of_weight);
	*of_bias = vg_add(*of_bias, g);
	if (!b->gx) return;
	g = vg_fnma(v, vg_of(b->along), vg_sub(vg_mul(g, weight), vg_of(b->mean)));
	put(b->gx, i, n - i, vg_mul(g, vg_of(b->slope)), add, wide);
}

/* Two rows at a time, unless q is NULL, which halves the traffic of the sums. */
ROW void end_back(const back *p, const back *q, double *sums, const void *weight, int64_t ahead, int64_t n, bool add,
		  bool wide)
{
	back first = *p, second = q ? *q : *p;

	for (int64_t i = 0; i < n; i += VG_LANES) {
		vg w = load(weight, i, n - i, 0.0, wide), of_weight = vg_set1(0.0), of_bias = of_weight;

		if (sums) {
			of_weight = load(sums, i, n - i, 0.0, true);
			of_bias = load(sums, n + i, n - i, 0.0, true);
		}
		back_group(&first, i, n, w, &of_weight, &of_bias, ahead, add, wide);
		if (q) back_group(&second, i, n, w, &of_weight, &of_bias, ahead, add, wide);
		if (sums) {
			store(sums, i, n - i, of_weight, true);
			store(sums, n + i, n - i, of_bias, true);
		}
	}
}

/* sums: n of weight's, n of bias's, or NULL; gx may be NULL. Row r is at r stride. */
ROW void layer_norm_vjp_rows(void *gx, double *sums, const void *x, const void *weight, const void *gy, double eps,
			     int64_t rows, int64_t stride, int64_t n, bool add, bool wide)
{
	int64_t bytes = stride * (wide ? 8 : 4), r = 0;

	for (; r + 1 < rows; r += 2) {
		back p = begin_back(gx, x, weight, gy, eps, r * bytes, n, wide);
		back q = begin_back(gx, x, weight, gy, eps, (r + 1) * bytes, n, wide);

		end_back(&p, &q, sums, weight, 2 * stride, n, add, wide);
	}
	if (r < rows) {
		back p = begin_back(gx, x, weight, gy, eps, r * bytes, n, wide);

		end_back(&p, NULL, sums, weight, stride, n, add, wide);
	}
}

ROWS_BOTH(layer_norm,
	  (void *y, const void *x, const void *weight, const void *bias, double eps, int64_t rows, int64_t n), y, x,
	  weight, bias, eps, rows, n)
ROWS_BOTH(layer_norm_vjp,
	  (void *gx, double *sums, const void *x, const void *weight, const void *gy, double eps, int64_t rows,
	   int64_t stride, int64_t n, bool add),
	  gx, sums, x, weight, gy, eps, rows, stride, n, add)
