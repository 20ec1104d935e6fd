/* Softplus, the normal distribution's function and density, gelu and silu for double: element-wise kernels for one instruction set, see vec.h. Those for float stand
 * in body_map_f32.c.
 *
 *   softplus     max(x, 0) + ln(1 + e^-|x|)
 *   normal_cdf   Φ(x) = e^(-x²/2) M(|x|) below 0, 1 - that above; M is smooth and of moderate size, so that Φ keeps
 *                all its digits however small it is: 1 + erf(x / √2) would lose them
 *   normal_pdf   φ(x) = e^(-x²/2) / √(2π), the square in two words
 *   gelu         x Φ(x), silu x / (1 + e^-x); 0 at -inf
 *
 * The rules of body_math.h hold: harmless stand-ins, so that no undeserved flag is raised. */
#include "kernels/table.h"

#include "kernels/body_math.h"

/* x below 0, -min(x, bound) above: the exponent of e^-|x|, kept from underflow where it would not show beside x. */
VEC vd minus_abs(vd x, double bound)
{
	return vd_blend(vd_gt(x, vd_zero()), vd_neg(vd_min(x, vd_set1(bound))), x);
}

/* a + b rounded; *lo is the rest, exactly. */
VEC vd add_parts(vd a, vd b, vd *lo)
{
	vd sum = vd_add(a, b), b_in = vd_sub(sum, a);

	*lo = vd_add(vd_sub(a, vd_sub(sum, b_in)), vd_sub(b, b_in));
	return sum;
}

/* What 1 + e loses of an e in 0 .. 1 when it is rounded to u, as part of ln(1 + e). */
VEC_LONG vd log1p_rest(vd e, vd u)
{
	return vd_div(vd_sub(e, vd_sub(u, vd_set1(1.0))), u);
}

VEC_LONG vd vd_softplus(vd x)
{
	md far = vd_gt(x, vd_set1(60.0)), none = vd_isnan(x);
	vd e = vd_exp(vd_blend(none, vd_zero(), minus_abs(x, 60.0))), u = vd_add(e, vd_set1(1.0));
	vd s = vd_blend(far, vd_zero(), vd_max(x, vd_zero())), hi, lo, y, y_lo;

	log_parts(u, &hi, &lo);
	y = add_parts(s, hi, &y_lo);
	y = vd_add(y, vd_add(y_lo, vd_add(lo, log1p_rest(e, u))));
	return vd_blend(md_or(far, none), x, y);
}

VEC_LONG vd vd_softplus_vjp(vd gy, vd x)
{
	return times_sigmoid(gy, x);
}

/* e^(t²/2) Φ(-t) (1 + t) is c + s q(s), s = (t - 4) / (t + 4); q for 0 <= t <= 40, from interpolation at Chebyshev
 * nodes, good to 2^-55 of the whole. */
#define TAIL_C 0x1.e361ea6fba141p-2
#define TAIL_C_LOW 0x1.0056da7994176p-56

VEC_LONG vd tail_rest(vd s)
{
	vd p = vd_set1(-0x1.d1ed38b290d44p-31);

	STEP(p, s, -0x1.bc764d1cf41d9p-30);
	STEP(p, s, 0x1.be360c0148772p-28);
	STEP(p, s, 0x1.34957e790116ep-26);
	STEP(p, s, -0x1.5e2b3ff8911ebp-26);
	STEP(p, s, -0x1.df32c175aa290p-24);
	STEP(p, s, 0x1.116d9b6b3e8b1p-29);
	STEP(p, s, 0x1.28ab49174b8b8p-21);
	STEP(p, s, 0x1.b1ea0c334776cp-22);
	STEP(p, s, -0x1.5ebffed13d0d5p-19);
	STEP(p, s, -0x1.cca36f91572c7p-19);
	STEP(p, s, 0x1.c93f50a038872p-17);
	STEP(p, s, 0x1.648406b483e91p-16);
	STEP(p, s, -0x1.707baf89de793p-14);
	STEP(p, s, -0x1.8c11b3487afbbp-14);
	STEP(p, s, 0x1.6c5382f830651p-11);
	STEP(p, s, -0x1.2b7f5df1ce2f6p-12);
	STEP(p, s, -0x1.47d5fc743c4b6p-8);
	STEP(p, s, 0x1.25dd7205fd279p-6);
	STEP(p, s, -0x1.07c3c2582c1cdp-5);
	STEP(p, s, 0x1.d4969f10e013bp-6);
	STEP(p, s, 0x1.cabd72a60f8edp-7);
	STEP(p, s, -0x1.8c18f2086e34ap-4);
	return p;
}

VEC vd tail_argument(vd t)
{
	return vd_div(vd_sub(t, vd_set1(4.0)), vd_add(t, vd_set1(4.0)));
}

/* Φ(x) for a finite x, given Φ(-|x|). */
VEC vd cdf_of_tail(vd x, vd tail)
{
	return vd_blend(vd_lt(x, vd_zero()), tail, vd_sub(vd_set1(1.0), tail));
}

/* From Φ(-|x|): what Φ is, its ends and NaN included. */
VEC vd from_tail(vd x, vd tail)
{
	vd y = cdf_of_tail(x, tail);

	return vd_blend(vd_isnan(x), x, vd_blend(vd_eq(x, vd_set1(-(double)INFINITY)), vd_zero(), y));
}

/* |x|, bounded where Φ(-|x|) or 1 - Φ(-|x|) no longer changes; 0 for -inf, whose Φ is no underflow. */
VEC vd tail_place(vd x, double below, double above)
{
	vd t = vd_min(vd_blend(vd_lt(x, vd_zero()), vd_set1(below), vd_set1(above)), vd_abs(x));

	return vd_blend(vd_eq(x, vd_set1(-(double)INFINITY)), vd_zero(), t);
}

/* e^(t²/2) Φ(-t), and in *lo what its rounding lost. */
VEC_LONG vd tail_over(vd t, vd *lo)
{
	vd s = tail_argument(t), n_lo, n = add_parts(vd_set1(TAIL_C), vd_mul(s, tail_rest(s)), &n_lo);
	vd d_lo, d = add_parts(t, vd_set1(1.0), &d_lo);

	return quotient_parts(n, vd_add(n_lo, vd_set1(TAIL_C_LOW)), d, d_lo, lo);
}

/* e^(-t²/2) = 2^k (1 + hi + lo), the square in two words. */
VEC_LONG void bell_parts(vd t, vd *k, vd *hi, vd *lo)
{
	vd half = vd_set1(-0.5), square = vd_mul(t, t), square_lo = vd_fma(t, t, vd_neg(square));

	exp_parts(vd_mul(square, half), vd_mul(square_lo, half), k, hi, lo);
}

/* by Φ(-|x|): the factor comes in before the last power of two, so that it meets no subnormal. */
VEC_LONG vd times_tail(vd by, vd x)
{
	vd t = tail_place(x, 40.0, 9.0), m_lo, m = tail_over(t, &m_lo), k, hi, lo, y, y_lo;

	bell_parts(zero_if_tiny(t), &k, &hi, &lo);
	y = vd_fma(m, hi, m);
	y_lo = vd_add(vd_fma(m, hi, vd_sub(m, y)), vd_fma(m, lo, vd_fma(m_lo, hi, m_lo)));
	return scale_by_halves(vd_mul(by, vd_add(y, y_lo)), k);
}

VEC_LONG vd vd_normal_cdf(vd x)
{
	return from_tail(x, times_tail(vd_set1(1.0), x));
}

/* gy φ(x). Only at ±inf is φ itself 0, which is no underflow. */
VEC_LONG vd vd_normal_cdf_vjp(vd gy, vd x)
{
	md inf = vd_eq(vd_abs(x), vd_set1((double)INFINITY));
	vd a = zero_if_tiny(vd_blend(inf, vd_zero(), vd_min(vd_set1(57.0), vd_abs(x))));
	vd c = vd_blend(inf, vd_zero(), vd_set1(ONE_OVER_SQRT_2PI));
	vd k, hi, lo, q, bounded;

	bell_parts(a, &k, &hi, &lo);
	bounded = vd_max(k, vd_set1(VD_MAGIC - 60.0));
	q = vd_mul(vd_fma(vd_add(hi, lo), c, c), power_of_two(bounded));
	q = scale_by_quarters(vd_mul(gy, q), vd_add(vd_sub(k, bounded), vd_set1(VD_MAGIC)));
	return vd_blend(vd_isnan(x), x, q);
}

VEC_LONG vd vd_normal_pdf(vd x)
{
	return vd_normal_cdf_vjp(vd_set1(1.0), x);
}

/* Beyond -40 Φ is 0, as at -inf. */
VEC_LONG vd vd_gelu(vd x)
{
	md below = vd_lt(x, vd_zero());
	vd tail = times_tail(vd_blend(below, vd_max(x, vd_set1(-40.0)), vd_set1(1.0)), x);
	vd y = vd_blend(below, tail, vd_mul(x, vd_sub(vd_set1(1.0), tail)));

	return vd_blend(vd_eq(x, vd_set1(-(double)INFINITY)), vd_zero(), y);
}

VEC_LONG vd vd_silu(vd x)
{
	return times_sigmoid(vd_max(x, vd_set1(-755.0)), x);
}

/* gy (Φ(x) + x φ(x)), as gy e^(-x²/2) (M + x c) below 0 and gy + gy e^(-x²/2) (x c - M) above, which is gy beyond 10. Below, gy comes in before
 * the last powers of two. */
VEC_LONG vd vd_gelu_vjp(vd gy, vd x)
{
	md below = vd_lt(x, vd_zero()), inf = vd_eq(x, vd_set1(-(double)INFINITY)), none = vd_isnan(x);
	vd z = vd_min(vd_max(vd_blend(md_or(inf, none), vd_zero(), x), vd_set1(-57.0)), vd_set1(10.0)), t = vd_abs(z);
	vd m_lo, m = tail_over(t, &m_lo), k, hi, lo, slope, bounded, rest;

	slope = vd_fma(z, vd_set1(ONE_OVER_SQRT_2PI), vd_blend(below, m, vd_neg(m)));
	bell_parts(zero_if_tiny(t), &k, &hi, &lo);
	bounded = vd_max(k, vd_set1(VD_MAGIC - 60.0));
	slope = vd_mul(vd_fma(slope, vd_add(hi, lo), slope), power_of_two(bounded));
	slope = vd_blend(inf, vd_zero(), vd_blend(below, slope, vd_add(vd_set1(1.0), slope)));
	rest = vd_blend(below, vd_sub(k, bounded), vd_zero());
	slope = scale_by_quarters(vd_mul(gy, slope), vd_add(rest, vd_set1(VD_MAGIC)));
	return vd_blend(none, x, slope);
}

/* gy s(x) (1 + x s(-x)): 0 beyond -1000, 1 beyond 60. */
VEC_LONG vd vd_silu_vjp(vd gy, vd x)
{
	vd z = vd_blend(vd_gt(x, vd_set1(60.0)), vd_set1(60.0), x), one = vd_set1(1.0);

	return times_sigmoid(vd_mul(gy, vd_fma(vd_max(z, vd_set1(-1000.0)), vd_sigmoid(vd_neg(z)), one)), z);
}

/* ---- the kernels: the last, partial vector goes the same way under a mask, its idle lanes being 1 ---- */

#define MAP_1(name)                                                                                    \
	void KERN(map_##name##_f64)(void *y, const void *const *x, int64_t n, const double *p)         \
	{                                                                                              \
		double *to = y;                                                                        \
		const double *x0 = x[0];                                                               \
		int64_t i = 0;                                                                         \
                                                                                                       \
		(void)p;                                                                               \
		for (; n - i >= VD_LANES; i += VD_LANES) vd_store(to + i, vd_##name(vd_load(x0 + i))); \
		if (i < n) vd_store_n(to + i, vd_##name(vd_load_n(x0 + i, n - i, 1)), n - i);          \
	}

#define MAP_2(name)                                                                                             \
	void KERN(map_##name##_f64)(void *y, const void *const *x, int64_t n, const double *p)                  \
	{                                                                                                       \
		double *to = y;                                                                                 \
		const double *x0 = x[0], *x1 = x[1];                                                            \
		int64_t i = 0;                                                                                  \
                                                                                                                \
		(void)p;                                                                                        \
		for (; n - i >= VD_LANES; i += VD_LANES)                                                        \
			vd_store(to + i, vd_##name(vd_load(x0 + i), vd_load(x1 + i)));                          \
		if (i < n)                                                                                      \
			vd_store_n(to + i, vd_##name(vd_load_n(x0 + i, n - i, 1), vd_load_n(x1 + i, n - i, 1)), \
				   n - i);                                                                      \
	}

MAP_1(softplus)
MAP_1(normal_cdf)
MAP_1(normal_pdf)
MAP_2(softplus_vjp)
MAP_2(normal_cdf_vjp)
MAP_1(gelu)
MAP_1(silu)
MAP_2(gelu_vjp)
MAP_2(silu_vjp)
