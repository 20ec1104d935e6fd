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

		for (int64_t i = 0; i < n; i += 16) {
			lanes v = load(x, i, n - i, r, true);

			a = vd_max(v.lo, a);
			b = vd_max(v.hi, b);
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

/* exp(x - m) for x <= m, and where it is 1 because x is m. */
typedef struct gap {
	vd e, e_lo; /* for double, what e is off by; else 0 */
	md top;
} gap;

/* For double the rounding of the difference goes into the exponential. */
ROW gap exp_gap(vd x, vd m, bool wide)
{
	vd d = vd_sub(x, m), one = vd_set1(1.0);
	md inside = vd_gt(d, vd_set1(wide ? -746.0 : -700.0));
	gap r = { .e_lo = vd_zero(), .top = vd_eq(d, vd_zero()) };

	if (wide) {
		md plain = vd_gt(vd_abs(d), vd_set1(0x1p-60)); /* nearer to 0 the result is 1, and squares underflow */
		vd a = vd_blend(md_and(inside, plain), x, m), t, hi, lo, y, y_lo;
		vd s = vd_sub(a, m), back = vd_add(s, m);
		vd rest = vd_sub(vd_sub(a, back), vd_add(m, vd_sub(s, back))); /* a - m = s + rest */

		exp_parts(s, rest, &t, &hi, &lo);
		y = vd_add(one, hi);
		lo = vd_add(vd_add(vd_sub(one, y), hi), lo);
		y_lo = vd_sub(y, vd_add(y, lo));
		y = vd_add(y, lo);
		y_lo = vd_add(y_lo, lo);
		r.e = scale_by_halves(y, t);
		r.e_lo = vd_mul(vd_blend(vd_gt(d, vd_set1(-600.0)), y_lo, vd_zero()),
				power_of_two(vd_max(t, vd_set1(VD_MAGIC - 900.0))));
	} else if (md_all(inside)) {
		r.e = vd_exp_24(d);
		return r;
	} else {
		r.e = vd_exp_24(vd_blend(inside, d, vd_zero()));
	}
	r.e = vd_blend(inside, r.e, vd_blend(vd_isnan(d), d, vd_zero()));
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
	const vd m = vd_set1(max), zero = vd_zero(), one = vd_set1(1.0);
	weir_tree tree;
	lanes ones = zeros(), rest = zeros(), rest_lo = zeros();
	sums r = { .rest_lo = 0.0 };

	weir__tree_begin(&tree);
	for (int64_t i = 0; i < n; i += 16) {
		lanes v = load(x, i, n - i, -(double)INFINITY, wide);
		gap lo = exp_gap(v.lo, m, wide), hi = exp_gap(v.hi, m, wide);

		if (y) store(y, i, n - i, (lanes){ lo.e, hi.e }, wide);
		v = (lanes){ lo.e, hi.e };
		if (md_any(md_or(lo.top, hi.top))) {
			ones.lo = vd_add(ones.lo, vd_blend(lo.top, one, zero));
			ones.hi = vd_add(ones.hi, vd_blend(hi.top, one, zero));
			v.lo = vd_blend(lo.top, zero, lo.e);
			v.hi = vd_blend(hi.top, zero, hi.e);
		}
		if (wide) {
			add_parts(&rest.lo, &rest_lo.lo, v.lo, lo.e_lo);
			add_parts(&rest.hi, &rest_lo.hi, v.hi, hi.e_lo);
			continue;
		}
		rest.lo = vd_add(rest.lo, v.lo);
		rest.hi = vd_add(rest.hi, v.hi);
		if (i % WEIR_CHUNK == WEIR_CHUNK - 16 || i + 16 >= n) {
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
	vd hi, lo;
} inverse;

ROW inverse inverse_of(sums s)
{
	double lost, total = total_of(s, &lost);
	vd hi = vd_div(vd_set1(1.0), vd_set1(total));
	vd rest = vd_sub(vd_fnma(hi, vd_set1(total), vd_set1(1.0)), vd_mul(hi, vd_set1(lost)));

	return (inverse){ hi, vd_mul(hi, rest) };
}

ROW vd scaled(vd e, inverse by, bool wide)
{
	return wide ? vd_fma(e, by.hi, vd_mul(e, by.lo)) : vd_mul(e, by.hi);
}

/* (x - m) - log s, with the rounding of x - m for double. */
ROW vd log_of(vd x, vd m, vd log_s, bool wide)
{
	vd d = vd_sub(x, m);

	if (wide) {
		md finite = vd_gt(d, vd_set1(-(double)INFINITY));
		vd a = vd_blend(finite, x, m), s = vd_sub(a, m), back = vd_add(s, m);
		vd rest = vd_sub(vd_sub(a, back), vd_add(m, vd_sub(s, back)));

		log_s = vd_sub(log_s, rest);
	}
	return vd_sub(d, log_s);
}

/* exp of a log-probability. (Above 700 there is none: what comes out is large, inf or NaN.) */
ROW vd exp_of(vd y, bool wide)
{
	md inside = vd_lt(vd_abs(y), vd_set1(700.0));

	if (wide) return vd_exp(y);
	if (md_all(inside)) return vd_exp_24(y);
	return vd_blend(inside, vd_exp_24(vd_blend(inside, y, vd_zero())),
			vd_blend(vd_lt(y, vd_zero()), vd_zero(), vd_abs(y)));
}

#endif
