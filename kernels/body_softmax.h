/* body_softmax.h: what the rows of body_softmax.c are made of: the maximum, the exponentials, their sum and its logarithm. softmax.h has the
 * formulas. */
#ifndef WEIR_KERNELS_BODY_SOFTMAX_H
#define WEIR_KERNELS_BODY_SOFTMAX_H

#include <math.h>

#include "kernels/body_math.h"
#include "kernels/body_rows.h"

/* The largest that is not NaN; -inf if there is none. */
ROW double row_max(const void *x, int64_t n, bool wide)
{
	double r = -(double)INFINITY, m[16];

	if (wide) {
		vd a = vd_set1(r), b = a;

		for (int64_t i = 0; i < n; i += VG_LANES) {
			vg v = load(x, i, n - i, r, true);

			a = vd_max(v.v[0], a);
			b = vd_max(v.v[1], b);
			if (VG == 4) {
				a = vd_max(v.v[VG - 2], a);
				b = vd_max(v.v[VG - 1], b);
			}
		}
		vd_store(m, a);
		vd_store(m + 8, b);
	} else {
		vf a = vf_set1((float)r), b = a, c = a, d = a; /* four, or each comparison would wait for the last */
		const float *p = x;
		int64_t i = 0;

		for (; n - i >= 64; i += 64) {
			a = vf_max(vf_load(p + i), a);
			b = vf_max(vf_load(p + i + 16), b);
			c = vf_max(vf_load(p + i + 32), c);
			d = vf_max(vf_load(p + i + 48), d);
		}
		for (; i < n; i += 16) a = vf_max(n - i >= 16 ? vf_load(p + i) : vf_load_n(p + i, n - i, (float)r), a);
		a = vf_max(vf_max(a, b), vf_max(c, d));
		vd_store(m, vf_to_vd_lo(a));
		vd_store(m + 8, vf_to_vd_hi(a));
	}
	for (int l = 0; l < 16; l++) r = m[l] > r ? m[l] : r;
	return r;
}

/* What a row without a finite maximum holds: -inf only, or a NaN too. */
ROW bool has_nan(const void *x, int64_t n, bool wide)
{
	for (int64_t i = 0; i < n; i++)
		if (isnan(get(x, i, wide))) return true;
	return false;
}

/* e^d for d <= 0 in float, where -inf and NaN may be among them. */
VEC_RARE vg exp_below_any(vg d)
{
	mg inside = vg_lt(vg_set1(-EXP_BOUND), d);
	vg e = exp_24(vg_blend(inside, d, vg_set1(0.0)));

	return vg_blend(inside, e, vg_blend(vg_isnan(d), d, vg_set1(0.0)));
}

VEC vg exp_below(vg d)
{
	return mg_all(vg_lt(vg_set1(-EXP_BOUND), d)) ? exp_24(d) : exp_below_any(d);
}

/* exp(x - m) for x <= m, and where it is 1 because x is m. */
typedef struct gap {
	vg e, e_lo; /* for double, what e is off by */
	mg top;
} gap;

/* e^d, d = x - m in double: the rounding of the difference goes into the exponential. */
ROW vd exp_gap_f64(vd x, vd m, vd d, vd *e_lo)
{
	vd one = vd_set1(1.0), t, hi, lo, y, y_lo, e;
	md inside = vd_gt(d, vd_set1(-746.0));
	md plain = vd_gt(vd_abs(d), vd_set1(0x1p-60)); /* nearer to 0 the result is 1, and squares underflow */
	vd a = vd_blend(md_and(inside, plain), x, m);
	vd s = vd_sub(a, m), back = vd_add(s, m);
	vd rest = vd_sub(vd_sub(a, back), vd_add(m, vd_sub(s, back))); /* a - m = s + rest */

	exp_parts(s, rest, &t, &hi, &lo);
	y = vd_add(one, hi);
	lo = vd_add(vd_add(vd_sub(one, y), hi), lo);
	y_lo = vd_sub(y, vd_add(y, lo));
	y = vd_add(y, lo);
	y_lo = vd_add(y_lo, lo);
	e = scale_by_halves(y, t);
	*e_lo = vd_mul(vd_blend(vd_gt(d, vd_set1(-600.0)), y_lo, vd_zero()),
		       power_of_two(vd_max(t, vd_set1(VD_MAGIC - 900.0))));
	return vd_blend(inside, e, vd_blend(vd_isnan(d), d, vd_zero()));
}

ROW gap exp_gap(vg x, vd m, bool wide)
{
	vg d = vg_sub(x, vg_of(m));
	gap r = { .top = vg_eq(d, vg_set1(0.0)) };

	if (!wide) r.e = exp_below(d);
	for (int i = 0; i < VG && wide; i++) r.e.v[i] = exp_gap_f64(x.v[i], m, d.v[i], &r.e_lo.v[i]);
	return r;
}

/* to + lo += v + v_lo, for double: what an addition loses goes to lo. */
ROW void add_parts(vd *to, vd *lo, vd v, vd v_lo)
{
	vd s = vd_add(*to, v), back = vd_sub(s, *to);
	vd lost = vd_add(vd_sub(*to, vd_sub(s, back)), vd_sub(v, back));

	*to = s;
	*lo = vd_add(*lo, vd_add(lost, v_lo));
}

/* The sixteen lanes of add_parts, folded as reduce.h says. */
ROW double fold_parts(lanes v, lanes v_lo, double *lo)
{
	double f[16], g[16];

	vd_store(f, v.lo);
	vd_store(f + 8, v.hi);
	vd_store(g, v_lo.lo);
	vd_store(g + 8, v_lo.hi);
	for (int h = 8; h; h /= 2)
		for (int l = 0; l < h; l++) {
			double s = f[l] + f[l + h], back = s - f[l];

			g[l] += (f[l] - (s - back)) + (f[l + h] - back) + g[l + h];
			f[l] = s;
		}
	*lo = g[0];
	return f[0];
}

/* The parts of s. */
typedef struct sums {
	double k, rest, rest_lo;
} sums;

ROW sums sums_of(void *y, const void *x, int64_t n, double max, bool wide)
{
	const vd m = vd_set1(max);
	const vg zero = vg_set1(0.0), one = vg_set1(1.0);
	weir_tree tree;
	lanes ones = zeros(), rest = zeros(), rest_lo = zeros();
	sums r = { .rest_lo = 0.0 };

	weir__tree_begin(&tree);
	for (int64_t i = 0; i < n; i += VG_LANES) {
		gap g = exp_gap(load(x, i, n - i, -(double)INFINITY, wide), m, wide);

		if (y) store(y, i, n - i, g.e, wide);
		if (mg_any(g.top)) {
			add_up(&ones, vg_blend(g.top, one, zero));
			g.e = vg_blend(g.top, zero, g.e);
		}
		if (wide) {
			for (int l = 0; l < VG; l += 2) {
				add_parts(&rest.lo, &rest_lo.lo, g.e.v[l], g.e_lo.v[l]);
				add_parts(&rest.hi, &rest_lo.hi, g.e.v[l + 1], g.e_lo.v[l + 1]);
			}
			continue;
		}
		add_up(&rest, g.e);
		if (i % WEIR_CHUNK == WEIR_CHUNK - VG_LANES || i + VG_LANES >= n) {
			weir__tree_add(&tree, fold(rest));
			rest = zeros();
		}
	}
	r.k = fold(ones);
	r.rest = wide ? fold_parts(rest, rest_lo, &r.rest_lo) : weir__tree_sum(&tree);
	return r;
}

static sums sums_f32(void *y, const void *x, int64_t n, double max)
{
	return sums_of(y, x, n, max, false);
}

static sums sums_f64(void *y, const void *x, int64_t n, double max)
{
	return sums_of(y, x, n, max, true);
}

/* s of a row with the finite maximum max; the exponentials go to y unless it is NULL. */
ROW sums row_sums(void *y, const void *x, int64_t n, double max, bool wide)
{
	return wide ? sums_f64(y, x, n, max) : sums_f32(y, x, n, max);
}

/* k + rest = total + lost. */
ROW double total_of(sums s, double *lost)
{
	double total = s.k + s.rest;

	*lost = (s.k > s.rest ? s.rest - (total - s.k) : s.k - (total - s.rest)) + s.rest_lo;
	return total;
}

/* log(k + rest). What the addition loses counts: it is all there is where k = 1 and the rest is tiny. */
ROW double log_sum(sums s)
{
	double lost, total = total_of(s, &lost);
	vd hi, lo;

	if (!isfinite(total)) return total;
	log_parts(vd_set1(total), &hi, &lo);
	return first(hi) + (first(lo) + lost / total);
}

/* 1 / (k + rest) in two words, for double; in one for float, which has digits to spare. */
typedef struct inverse {
	vg hi, lo;
} inverse;

ROW inverse inverse_of(sums s)
{
	double lost, total = total_of(s, &lost);
	vd hi = vd_div(vd_set1(1.0), vd_set1(total));
	vd rest = vd_sub(vd_fnma(hi, vd_set1(total), vd_set1(1.0)), vd_mul(hi, vd_set1(lost)));

	return (inverse){ vg_of(hi), vg_of(vd_mul(hi, rest)) };
}

ROW vg scaled(vg e, inverse by, bool wide)
{
	return wide ? vg_fma(e, by.hi, vg_mul(e, by.lo)) : vg_mul(e, by.hi);
}

/* (x - m) - log s, with the rounding of x - m for double. */
ROW vg log_of(vg x, vg m, vg log_s, bool wide)
{
	vg d = vg_sub(x, m);

	if (wide) {
		mg finite = vg_lt(vg_set1(-(double)INFINITY), d);
		vg a = vg_blend(finite, x, m), s = vg_sub(a, m), back = vg_add(s, m);
		vg rest = vg_sub(vg_sub(a, back), vg_add(m, vg_sub(s, back)));

		log_s = vg_sub(log_s, rest);
	}
	return vg_sub(d, log_s);
}

VEC_RARE vg exp_of_any(vg y)
{
	mg inside = vg_lt(vg_abs(y), vg_set1(EXP_BOUND));

	return vg_blend(inside, exp_24(vg_blend(inside, y, vg_set1(0.0))),
			vg_blend(vg_lt(y, vg_set1(0.0)), vg_set1(0.0), vg_abs(y)));
}

VG_LIFT_1(vg, exp_of_f64, vd_exp, vg)

/* exp of a log-probability. (Above EXP_BOUND there is none: what comes out for float is large, inf or NaN.) */
ROW vg exp_of(vg y, bool wide)
{
	if (wide) return exp_of_f64(y);
	return all_within(y, EXP_BOUND) ? exp_24(y) : exp_of_any(y);
}

#endif
