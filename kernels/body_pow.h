/* Powers, for double: a logarithm in two words below an exponential. Included by body_math.h only. */

/* The same, less its first term 2/3 and divided by z, to 2^-55. */
VEC_LONG vd log_rest_2(vd z)
{
	vd p = vd_set1(0x1.daa559ed8cce9p-4);

	STEP(p, z, 0x1.e01971bc08f3ap-4);
	STEP(p, z, 0x1.111551154f755p-3);
	STEP(p, z, 0x1.3b13a9cbb9294p-3);
	STEP(p, z, 0x1.745d173ce41bap-3);
	STEP(p, z, 0x1.c71c71c74c77ap-3);
	STEP(p, z, 0x1.24924924922fep-2);
	STEP(p, z, 0x1.999999999999ap-2);
	return p;
}

/* ln x in two words, right to about 2^-65 of itself, for positive finite x. ln(m) = 2 s + s^3 (2/3 + z ...), s = (m - 1) / (m + 1). */
VEC_LONG void log_parts(vd x, vd *hi, vd *lo)
{
	vd two_thirds = vd_set1(0x1.5555555555555p-1), two_thirds_lo = vd_set1(0x1.5555555555555p-55);
	vd k, m = split_any(x, &k);
	vd f = vd_sub(m, vd_set1(1.0));
	vd d = vd_add(f, vd_set1(2.0)), d_lo = vd_add(vd_sub(vd_set1(2.0), d), f);
	vd inverse = vd_div(vd_set1(1.0), d);
	vd s = vd_mul(f, inverse);
	vd s_lo = vd_mul(vd_fnma(s, d_lo, vd_fnma(s, d, f)), inverse);
	vd z = vd_mul(s, s), z_lo = vd_fma(vd_add(s, s), s_lo, vd_fma(s, s, vd_neg(z)));
	vd tail = vd_mul(z, log_rest_2(z));
	vd u = vd_add(two_thirds, tail), u_lo = vd_add(vd_add(vd_sub(two_thirds, u), tail), two_thirds_lo);
	vd c = vd_mul(s, z), c_lo = vd_fma(s, z_lo, vd_fma(s_lo, z, vd_fma(s, z, vd_neg(c))));
	vd v = vd_mul(c, u), v_lo = vd_fma(c, u_lo, vd_fma(c_lo, u, vd_fma(c, u, vd_neg(v))));
	vd s2 = vd_add(s, s), s2_lo = vd_add(s_lo, s_lo);
	vd w = vd_add(s2, v), w_lo = vd_add(vd_add(vd_sub(s2, w), v), vd_add(s2_lo, v_lo));
	vd a = vd_mul(k, vd_set1(LN_2)), a_lo = vd_fma(k, vd_set1(LN_2_LOW), vd_fma(k, vd_set1(LN_2), vd_neg(a)));
	vd y = vd_add(a, w), y_lo = vd_add(vd_add(vd_sub(a, y), w), vd_add(w_lo, a_lo));

	*hi = vd_add(y, y_lo);
	*lo = vd_add(vd_sub(y, *hi), y_lo);
}

/* What pow needs to know of its exponent, once per call. */
typedef struct pow_plan {
	double p;       /* as given */
	double bounded; /* the same between 2^-70 and 2^70 in size: beyond, every x != 1 gives 1, 0 or inf either way */
	bool finite, whole, odd;
} pow_plan;

VEC pow_plan pow_plan_of(double p)
{
	pow_plan plan = { .p = p, .bounded = 1.0, .finite = isfinite(p), .whole = true };

	if (plan.finite) {
		double size = p < 0.0 ? -p : p, bounded = size < 0x1p-70 ? 0x1p-70 : size > 0x1p70 ? 0x1p70 : size;

		plan.bounded = p < 0.0 ? -bounded : bounded;
		if (size < 0x1p53) {
			plan.whole = (double)(int64_t)p == p;
			plan.odd = plan.whole && ((int64_t)p & 1);
		}
	}
	return plan;
}

/* Where the base is 0, inf, NaN, or negative under a broken exponent; y elsewhere. The sign of an odd power comes later. */
VEC_LONG vd pow_of_special(vd x, vd y, const pow_plan *plan)
{
	vd ax = vd_abs(x), one = vd_set1(1.0);
	md end = md_or(vd_eq(ax, vd_zero()), vd_eq(ax, vd_set1((double)INFINITY)));
	vd base = vd_blend(end, ax, one);

	y = vd_blend(end, plan->p > 0.0 ? base : vd_div(one, base), y);
	if (!plan->whole) {
		md broken = md_andnot(vd_lt(x, vd_zero()), end);
		vd zero = vd_blend(broken, vd_zero(), one);

		y = vd_blend(broken, vd_div(zero, zero), y);
	}
	return vd_blend(vd_isnan(x), x, y);
}

/* An exponent of inf or NaN. */
VEC_LONG vd pow_of_no_number(vd x, double p)
{
	vd ax = vd_abs(x), one = vd_set1(1.0);
	vd above = vd_set1(p > 0.0 ? p : 0.0), below = vd_set1(p > 0.0 ? 0.0 : -p);

	if (p != p) return vd_blend(vd_eq(x, one), one, vd_set1(p));
	x = vd_blend(vd_isnan(x), x, vd_blend(vd_gt(ax, one), above, below));
	return vd_blend(vd_eq(ax, one), one, x);
}

/* x^p = e^(p ln x), as C's pow in every special case. */
VEC_LONG vd vd_pow(vd x, const pow_plan *plan)
{
	vd ax = vd_abs(x), p = vd_set1(plan->bounded), y, y_lo, t, hi, lo;
	md ordinary = positive_and_finite(plan->whole ? ax : x), inside;

	if (plan->p == 0.0) return vd_set1(1.0);
	if (!plan->finite) return pow_of_no_number(x, plan->p);
	log_parts(vd_blend(ordinary, ax, vd_set1(1.0)), &hi, &lo);
	y = vd_mul(hi, p);
	y_lo = vd_fma(lo, p, vd_fma(hi, p, vd_neg(y)));
	inside = md_and(vd_gt(y, vd_set1(-760.0)), vd_lt(y, vd_set1(720.0)));
	y = vd_blend(inside, y, vd_blend(vd_lt(y, vd_zero()), vd_set1(-760.0), vd_set1(720.0)));
	exp_parts(y, vd_blend(inside, y_lo, vd_zero()), &t, &hi, &lo);
	y = vd_add(vd_set1(1.0), hi);
	y = vd_add(y, vd_add(vd_add(vd_sub(vd_set1(1.0), y), hi), lo));
	y = scale_by_halves(y, t);
	if (!md_all(ordinary)) y = pow_of_special(x, y, plan);
	return plan->odd ? vd_xor(y, vd_and(x, vd_set1(-0.0))) : y;
}

/* gy p x^(p - 1), 0 where gy is 0; plan is that of p - 1. */
VEC_LONG vd vd_pow_vjp(vd gy, vd x, double p, const pow_plan *plan)
{
	vd base = vd_blend(vd_eq(gy, vd_zero()), vd_set1(1.0), x);

	return vd_mul(gy, vd_mul(vd_set1(p), vd_pow(base, plan)));
}
