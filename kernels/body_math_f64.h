/* The functions of body_math.h for double. Included by body_math.h only.
 *
 * A name ending in _hi and one in _lo are one number in two words: hi is the sum rounded, lo the rest. */

/* (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2, to 2^-59. */
VEC_LONG vd exp_rest(vd r)
{
	vd p = vd_set1(0x1.1f86f0b035526p-29);

	STEP(p, r, 0x1.af4ecab92d52fp-26);
	STEP(p, r, 0x1.27e4cfaf0e60fp-22);
	STEP(p, r, 0x1.71de01acf7607p-19);
	STEP(p, r, 0x1.a01a01ab9882bp-16);
	STEP(p, r, 0x1.a01a01ac1de81p-13);
	STEP(p, r, 0x1.6c16c16c156a5p-10);
	STEP(p, r, 0x1.1111111110051p-7);
	STEP(p, r, 0x1.5555555555557p-5);
	STEP(p, r, 0x1.5555555555557p-3);
	STEP(p, r, 0x1.0000000000000p-1);
	return p;
}

/* e^x - 1 after taking whole multiples of ln 2 off x + x_lo: e^(x + x_lo) = 2^k (1 + hi + lo), |hi| < 0.42, right to about 2^-59. */
VEC_LONG void exp_parts(vd x, vd x_lo, vd *t, vd *hi, vd *lo)
{
	vd k, a, c, r, r_lo, tail;

	*t = vd_fma(x, vd_set1(LOG2_E), vd_set1(VD_MAGIC));
	k = whole_of(*t);
	a = vd_fnma(k, vd_set1(LN_2), x); /* exact */
	c = vd_fnma(k, vd_set1(LN_2_LOW), x_lo);
	r = vd_add(a, c);
	r_lo = vd_add(vd_sub(a, r), c);
	tail = vd_fma(vd_mul(r, r), exp_rest(r), vd_fma(r_lo, r, r_lo));
	*hi = vd_add(r, tail);
	*lo = vd_add(vd_sub(r, *hi), tail);
}

/* (n + n_lo) / (d + d_lo), off by little more than the last rounding, of which *lo is the rest. */
VEC_LONG vd quotient_parts(vd n, vd n_lo, vd d, vd d_lo, vd *lo)
{
	vd inverse = vd_div(vd_set1(1.0), d);
	vd q = vd_mul(n, inverse);
	vd rest = vd_add(vd_fnma(q, d, n), vd_fnma(q, d_lo, n_lo));
	vd y = vd_fma(rest, inverse, q);

	*lo = vd_fma(rest, inverse, vd_sub(q, y));
	return y;
}

VEC_LONG vd divide_parts(vd n, vd n_lo, vd d, vd d_lo)
{
	vd lo;

	return quotient_parts(n, n_lo, d, d_lo, &lo);
}

/* 0 for an x too small to matter, whose products could underflow. */
VEC vd zero_if_below(double bound, vd x)
{
	return vd_blend(vd_lt(vd_abs(x), vd_set1(bound)), vd_zero(), x);
}

/* The same where only x^2 matters, beside 1. */
VEC vd zero_if_tiny(vd x)
{
	return zero_if_below(0x1p-30, x);
}

VEC_LONG vd vd_exp(vd x)
{
	md finite = vd_lt(vd_abs(x), vd_set1((double)INFINITY));
	vd z = vd_min(vd_max(vd_blend(finite, x, vd_zero()), vd_set1(-746.0)), vd_set1(710.0));
	vd t = vd_fma(z, vd_set1(LOG2_E), vd_set1(VD_MAGIC));
	vd k = whole_of(t);
	vd r = vd_fnma(k, vd_set1(LN_2_LOW), vd_fnma(k, vd_set1(LN_2), z));
	vd slope = vd_fma(r, exp_rest(r), vd_set1(1.0));
	vd y = scale_by_halves(vd_fma(r, slope, vd_set1(1.0)), t);

	return vd_blend(finite, y, vd_blend(vd_lt(x, vd_zero()), vd_zero(), x));
}

/* (2 artanh(s) - 2 s) / s^3 for |s| < 0.1716 as a function of z = s^2, to 2^-51. */
VEC_LONG vd log_rest(vd z)
{
	vd p = vd_set1(0x1.2b5f5b2f9f871p-3);

	STEP(p, z, 0x1.39fdcbbceb4c6p-3);
	STEP(p, z, 0x1.7462b925fa03ep-3);
	STEP(p, z, 0x1.c71c62d649d8cp-3);
	STEP(p, z, 0x1.2492492dfb9b8p-2);
	STEP(p, z, 0x1.99999999952b9p-2);
	STEP(p, z, 0x1.5555555555558p-1);
	return p;
}

/* What log gives where x is not positive and finite, with the flags that go with it; y elsewhere. */
VEC_LONG vd log_of_special(vd x, vd y)
{
	md negative = vd_lt(x, vd_zero()), zero = vd_eq(x, vd_zero());
	md outside = md_or(negative, zero);
	vd n = vd_blend(zero, vd_set1(-1.0), vd_zero());
	vd d = vd_blend(outside, vd_zero(), vd_set1(1.0));

	y = vd_blend(outside, vd_div(n, d), y); /* 0: -1 / 0, below: 0 / 0 */
	return vd_blend(md_or(vd_isnan(x), vd_eq(x, vd_set1((double)INFINITY))), x, y);
}

VEC md positive_and_finite(vd x)
{
	return md_and(vd_gt(x, vd_zero()), vd_lt(x, vd_set1((double)INFINITY)));
}

/* split_exponent for subnormal x too. */
VEC vd split_any(vd x, vd *k)
{
	md small = vd_lt(x, vd_set1(0x1p-1022));
	vd m = split_exponent(vd_mul(x, vd_blend(small, vd_set1(0x1p54), vd_set1(1.0))), k);

	*k = vd_sub(*k, vd_blend(small, vd_set1(54.0), vd_zero()));
	return m;
}

/* ln(1 + f) = f - (f^2 / 2 - s (f^2 / 2 + rest)), s = f / (2 + f): the correction to f is small, and so is its rounding. */
VEC_LONG vd vd_log(vd x)
{
	md ordinary = positive_and_finite(x);
	vd k, m = split_any(vd_blend(ordinary, x, vd_set1(1.0)), &k);
	vd f = vd_sub(m, vd_set1(1.0));
	vd s = vd_div(f, vd_add(f, vd_set1(2.0)));
	vd z = vd_mul(s, s);
	vd half = vd_mul(vd_mul(f, f), vd_set1(0.5));
	vd inner = vd_fma(s, vd_fma(z, log_rest(z), half), vd_mul(k, vd_set1(LN_2_LOW)));
	vd y = vd_fma(k, vd_set1(LN_2), vd_sub(f, vd_sub(half, inner)));

	return md_all(ordinary) ? y : log_of_special(x, y);
}

/* -expm1(-2 |x|) / (2 + expm1(-2 |x|)). */
VEC_LONG vd vd_tanh(vd x)
{
	vd ax = vd_abs(x);
	md small = vd_lt(ax, vd_set1(0x1p-28));
	vd a = vd_blend(small, vd_zero(), vd_min(ax, vd_set1(22.0)));
	vd t, hi, lo, s, s1, s1_lo, e, e_lo, d, d_lo, y;

	exp_parts(vd_mul(a, vd_set1(-2.0)), vd_zero(), &t, &hi, &lo);
	s = power_of_two(t);
	hi = vd_mul(hi, s);
	s1 = vd_sub(s, vd_set1(1.0));
	s1_lo = vd_sub(s, vd_add(s1, vd_set1(1.0)));
	e = vd_add(s1, hi); /* expm1 */
	e_lo = vd_fma(s, lo, vd_add(vd_add(vd_sub(s1, e), hi), s1_lo));
	d = vd_add(vd_set1(2.0), e);
	d_lo = vd_add(vd_add(vd_sub(vd_set1(2.0), d), e), e_lo);
	y = vd_copysign(divide_parts(e, e_lo, d, d_lo), x);
	return vd_blend(md_or(small, vd_isnan(x)), x, y);
}

/* The parts of e^-a for a >= 0: n + n_lo with 2^k still to be multiplied, and d + d_lo = 1 + e^-a. bounded is t, but 2^-60 at least. */
VEC_LONG void logistic_parts(vd a, vd *t, vd *bounded, vd *n, vd *n_lo, vd *d, vd *d_lo)
{
	vd one = vd_set1(1.0);
	vd hi, lo, s, e;

	exp_parts(vd_neg(a), vd_zero(), t, &hi, &lo);
	*n = vd_add(one, hi);
	*n_lo = vd_add(vd_add(vd_sub(one, *n), hi), lo);
	*bounded = vd_max(*t, vd_set1(VD_MAGIC - 60.0));
	s = power_of_two(*bounded);
	e = vd_mul(*n, s);
	*d = vd_add(one, e);
	*d_lo = vd_fma(*n_lo, s, vd_add(vd_sub(one, *d), e));
}

/* by times 1 / (1 + e^-|x|) above 0 and e^-|x| / (1 + e^-|x|) below; the factor comes in before the last powers of two. */
VEC_LONG vd times_sigmoid(vd by, vd x)
{
	md below = vd_lt(x, vd_zero());
	vd a = zero_if_below(0x1p-60, vd_min(vd_abs(x), vd_blend(below, vd_set1(755.0), vd_set1(40.0))));
	md at_end = vd_eq(x, vd_set1(-(double)INFINITY));
	vd t, bounded, n, n_lo, d, d_lo, y, zero;

	logistic_parts(vd_blend(at_end, vd_zero(), a), &t, &bounded, &n, &n_lo, &d, &d_lo);
	n = vd_blend(below, n, vd_set1(1.0));
	n_lo = vd_blend(below, n_lo, vd_zero());
	t = vd_blend(below, t, vd_set1(VD_MAGIC));
	y = scale_by_halves(vd_mul(by, divide_parts(n, n_lo, d, d_lo)), t);
	zero = vd_mul(vd_blend(at_end, by, vd_zero()), vd_zero());
	return vd_blend(vd_isnan(x), x, vd_blend(at_end, zero, y));
}

VEC_LONG vd vd_sigmoid(vd x)
{
	return times_sigmoid(vd_set1(1.0), x);
}

/* gy factor e^-a / (1 + e^-a)^2, a >= 0, factor a power of two up to 4. Multiplies gy in before the last powers of two: a large gy keeps
 * what would be lost to underflow. */
VEC_LONG vd logistic_slope(vd gy, vd a, double factor)
{
	md finite = vd_lt(a, vd_set1((double)INFINITY));
	vd t, bounded, n, n_lo, d, d_lo, d2, d2_lo, q;

	a = vd_blend(finite, zero_if_tiny(vd_min(a, vd_set1(1460.0))), vd_zero());
	logistic_parts(a, &t, &bounded, &n, &n_lo, &d, &d_lo);
	d2 = vd_mul(d, d);
	d2_lo = vd_fma(vd_add(d, d), d_lo, vd_fma(d, d, vd_neg(d2)));
	q = vd_mul(divide_parts(n, n_lo, d2, d2_lo), vd_mul(power_of_two(bounded), vd_set1(factor)));
	q = vd_blend(finite, q, vd_zero());
	return scale_by_quarters(vd_mul(gy, q), vd_add(vd_sub(t, bounded), vd_set1(VD_MAGIC)));
}

VEC_LONG vd vd_sigmoid_vjp(vd gy, vd x)
{
	return vd_blend(vd_isnan(x), x, logistic_slope(gy, vd_abs(x), 1.0));
}

VEC_LONG vd vd_tanh_vjp(vd gy, vd x)
{
	vd a = vd_abs(x), near = vd_min(a, vd_set1(1000.0));

	a = vd_blend(vd_lt(a, vd_set1(1000.0)), vd_add(near, near), a);
	return vd_blend(vd_isnan(x), x, logistic_slope(gy, a, 4.0));
}

/* erf(x) / x - 1 for |x| <= 1 as a function of z = x^2, to 2^-55. */
VEC_LONG vd erf_near(vd z)
{
	vd p = vd_set1(-0x1.ac1a4196e3b8fp-31);

	STEP(p, z, 0x1.d73d744d56d18p-27);
	STEP(p, z, -0x1.5c0bc3130e26fp-23);
	STEP(p, z, 0x1.b9807f233887fp-20);
	STEP(p, z, -0x1.f4ca5bb2856d7p-17);
	STEP(p, z, 0x1.f9a2bb4bba0e4p-14);
	STEP(p, z, -0x1.c02db03ff6859p-11);
	STEP(p, z, 0x1.565bccf908894p-8);
	STEP(p, z, -0x1.b82ce311f7069p-6);
	STEP(p, z, 0x1.ce2f21a040b02p-4);
	STEP(p, z, -0x1.812746b0379b5p-2);
	STEP(p, z, 0x1.06eba8214db68p-3);
	return p;
}

/* e^(a^2) erfc(a) for 1 <= a <= 6 as a function of t = (a - 3.5) / 2.5; e^(-a^2) times it is good to 2^-56. */
VEC_LONG vd erfc_scaled(vd t)
{
	vd p = vd_set1(0x1.bf49cdf19afc0p-14);

	STEP(p, t, 0x1.714a2c3f2c07ep-11);
	STEP(p, t, 0x1.16f15e2254deep-9);
	STEP(p, t, 0x1.dba3dacf419d0p-9);
	STEP(p, t, 0x1.da7c939a4c9adp-9);
	STEP(p, t, 0x1.973f5da64d8f8p-10);
	STEP(p, t, -0x1.5ce6fe07754bfp-11);
	STEP(p, t, -0x1.a7bf1a280dd1ap-10);
	STEP(p, t, -0x1.5a70fe649e331p-11);
	STEP(p, t, -0x1.23d429a54a307p-11);
	STEP(p, t, 0x1.f90fd0247c9f2p-11);
	STEP(p, t, -0x1.79fe5263eebfdp-10);
	STEP(p, t, 0x1.71c33bcfd75d2p-9);
	STEP(p, t, -0x1.49b9dec69b94ep-8);
	STEP(p, t, 0x1.216157b095d2fp-7);
	STEP(p, t, -0x1.f18336c5c42d7p-7);
	STEP(p, t, 0x1.a1b82b43a8aa5p-6);
	STEP(p, t, -0x1.562748698125fp-5);
	STEP(p, t, 0x1.10eccdaed4bafp-4);
	STEP(p, t, -0x1.a72747a5a79fep-4);
	STEP(p, t, 0x1.3e0a99a0dfd7dp-3);
	return p;
}

/* Within 1 a polynomial, beyond 1 - e^(-x^2) times another. */
VEC_LONG vd vd_erf(vd x)
{
	vd ax = vd_abs(x);
	md near = vd_le(ax, vd_set1(1.0));
	vd small = vd_blend(near, x, vd_zero()), s = zero_if_tiny(small);
	vd a = vd_min(vd_max(ax, vd_set1(1.0)), vd_set1(6.0));
	vd minus_square = vd_neg(vd_mul(a, a));
	vd t = vd_fma(minus_square, vd_set1(LOG2_E), vd_set1(VD_MAGIC));
	vd k = whole_of(t);
	vd r = vd_fnma(k, vd_set1(LN_2_LOW), vd_fnma(k, vd_set1(LN_2), minus_square));
	vd e = vd_fma(r, vd_fma(r, exp_rest(r), vd_set1(1.0)), vd_set1(1.0));
	vd scaled = vd_mul(erfc_scaled(vd_mul(vd_sub(a, vd_set1(3.5)), vd_set1(0.4))), power_of_two(t));
	vd far = vd_copysign(vd_fnma(e, scaled, vd_set1(1.0)), x);
	vd y = vd_blend(near, vd_fma(small, erf_near(vd_mul(s, s)), small), far);

	return vd_blend(vd_isnan(x), x, y);
}

/* gy 2/sqrt(pi) e^(-x^2), the square in two words. */
VEC_LONG vd vd_erf_vjp(vd gy, vd x)
{
	md finite = vd_lt(vd_abs(x), vd_set1((double)INFINITY));
	vd a = vd_blend(finite, zero_if_tiny(vd_min(vd_abs(x), vd_set1(40.0))), vd_zero());
	vd square = vd_mul(a, a), square_lo = vd_fma(a, a, vd_neg(square));
	vd t, hi, lo, q, bounded;

	exp_parts(vd_neg(square), vd_neg(square_lo), &t, &hi, &lo);
	bounded = vd_max(t, vd_set1(VD_MAGIC - 60.0));
	q = vd_mul(vd_fma(vd_add(hi, lo), vd_set1(TWO_OVER_SQRT_PI), vd_set1(TWO_OVER_SQRT_PI)), power_of_two(bounded));
	q = vd_blend(finite, q, vd_zero());
	q = scale_by_quarters(vd_mul(gy, q), vd_add(vd_sub(t, bounded), vd_set1(VD_MAGIC)));
	return vd_blend(vd_isnan(x), x, q);
}

/* -gy (a / b) / b, without the square, which could overflow; 0 where gy is 0. */
VEC_LONG vd vd_div_vjp_b(vd gy, vd a, vd b)
{
	md zero = vd_eq(gy, vd_zero());

	a = vd_blend(zero, vd_set1(1.0), a);
	b = vd_blend(zero, vd_set1(1.0), b);
	return vd_neg(vd_div(vd_mul(gy, vd_div(a, b)), b));
}

/* gy x / y, 0 where y is 0. The quotient first: for |x| <= y it is no larger than 1. */
VEC_LONG vd vd_norm_vjp(vd gy, vd x, vd y)
{
	md zero = vd_eq(y, vd_zero());

	return vd_mul(vd_div(x, vd_blend(zero, vd_set1(1.0), y)), vd_blend(zero, vd_zero(), gy));
}
