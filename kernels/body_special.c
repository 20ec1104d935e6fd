/* Softplus, and the normal distribution's function and density, which gelu is made of: element-wise kernels for one
 * instruction set, see vec.h.
 *
 *   softplus     max(x, 0) + ln(1 + e^-|x|)
 *   normal_cdf   Φ(x) = e^(-x²/2) M(|x|) below 0, 1 - that above; M is smooth and of moderate size, so that Φ keeps
 *                all its digits however small it is: 1 + erf(x / √2) would lose them
 *   normal_pdf   φ(x) = e^(-x²/2) / √(2π), the square in two words
 *
 * The rules of body_math.h hold: float in double lanes and rounded once; harmless stand-ins, so that no undeserved
 * flag is raised. */
#include "kernels/table.h"

#include "kernels/body_math.h"

#define ONE_OVER_SQRT_2PI 0x1.9884533d43651p-2

/* ---- double ---- */

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
	return vd_mul(gy, vd_sigmoid(x));
}

/* e^(t²/2) Φ(-t) (1 + t) is c + s q(s), s = (t - 4) / (t + 4); q for 0 <= t <= 40, from interpolation at Chebyshev
 * nodes, good to 2^-54 of the whole. */
#define TAIL_C 0x1.e361ea6fba141p-2
#define TAIL_C_LOW -0x1.236a450a94d60p-57

VEC_LONG vd tail_rest(vd s)
{
	vd p = vd_set1(0x1.0e2df6e64ff2ap-28);

	STEP(p, s, 0x1.96130d29def18p-27);
	STEP(p, s, -0x1.2bb45f5ccb50fp-26);
	STEP(p, s, -0x1.b3a24860c3cd5p-24);
	STEP(p, s, 0x1.706841ee82d4bp-31);
	STEP(p, s, 0x1.238d03680dc72p-21);
	STEP(p, s, 0x1.b1aa7218ae61bp-22);
	STEP(p, s, -0x1.5dff2d75afa92p-19);
	STEP(p, s, -0x1.cc90a03d4fe91p-19);
	STEP(p, s, 0x1.c92ce8bf9a12dp-17);
	STEP(p, s, 0x1.6482da643a6e0p-16);
	STEP(p, s, -0x1.707b1d8c1bcb3p-14);
	STEP(p, s, -0x1.8c11a03349ffep-14);
	STEP(p, s, 0x1.6c53801de619bp-11);
	STEP(p, s, -0x1.2b7f5e9c007f1p-12);
	STEP(p, s, -0x1.47d5fc6bcfa92p-8);
	STEP(p, s, 0x1.25dd72062e5e4p-6);
	STEP(p, s, -0x1.07c3c25839055p-5);
	STEP(p, s, 0x1.d4969f10de85cp-6);
	STEP(p, s, 0x1.cabd72a610884p-7);
	STEP(p, s, -0x1.8c18f2086e33cp-4);
	return p;
}

VEC vd tail_argument(vd t)
{
	return vd_div(vd_sub(t, vd_set1(4.0)), vd_add(t, vd_set1(4.0)));
}

/* From Φ(-|x|): what Φ is, its ends and NaN included. */
VEC vd from_tail(vd x, vd tail)
{
	vd y = vd_blend(vd_lt(x, vd_zero()), tail, vd_sub(vd_set1(1.0), tail));

	return vd_blend(vd_isnan(x), x, vd_blend(vd_eq(x, vd_set1(-(double)INFINITY)), vd_zero(), y));
}

/* |x|, bounded where Φ(-|x|) or 1 - Φ(-|x|) no longer changes; 0 for -inf, whose Φ is no underflow. */
VEC vd tail_place(vd x, double below, double above)
{
	vd t = vd_min(vd_blend(vd_lt(x, vd_zero()), vd_set1(below), vd_set1(above)), vd_abs(x));

	return vd_blend(vd_eq(x, vd_set1(-(double)INFINITY)), vd_zero(), t);
}

VEC_LONG vd vd_normal_cdf(vd x)
{
	vd t = tail_place(x, 40.0, 9.0), small = zero_if_tiny(t), s = tail_argument(t), half = vd_set1(-0.5);
	vd square = vd_mul(small, small), square_lo = vd_fma(small, small, vd_neg(square));
	vd n_lo, n = add_parts(vd_set1(TAIL_C), vd_mul(s, tail_rest(s)), &n_lo), d_lo,
		 d = add_parts(t, vd_set1(1.0), &d_lo);
	vd m = divide_parts(n, vd_add(n_lo, vd_set1(TAIL_C_LOW)), d, d_lo);
	vd k, hi, lo;

	exp_parts(vd_mul(square, half), vd_mul(square_lo, half), &k, &hi, &lo);
	return from_tail(x, scale_by_halves(vd_fma(m, vd_add(hi, lo), m), k));
}

/* gy φ(x). Only at ±inf is φ itself 0, which is no underflow. */
VEC_LONG vd vd_normal_cdf_vjp(vd gy, vd x)
{
	md inf = vd_eq(vd_abs(x), vd_set1((double)INFINITY));
	vd a = zero_if_tiny(vd_blend(inf, vd_zero(), vd_min(vd_set1(57.0), vd_abs(x))));
	vd square = vd_mul(a, a), square_lo = vd_fma(a, a, vd_neg(square)), half = vd_set1(-0.5);
	vd c = vd_blend(inf, vd_zero(), vd_set1(ONE_OVER_SQRT_2PI));
	vd k, hi, lo, q, bounded;

	exp_parts(vd_mul(square, half), vd_mul(square_lo, half), &k, &hi, &lo);
	bounded = vd_max(k, vd_set1(VD_MAGIC - 60.0));
	q = vd_mul(vd_fma(vd_add(hi, lo), c, c), power_of_two(bounded));
	q = scale_by_quarters(vd_mul(gy, q), vd_add(vd_sub(k, bounded), vd_set1(VD_MAGIC)));
	return vd_blend(vd_isnan(x), x, q);
}

VEC_LONG vd vd_normal_pdf(vd x)
{
	return vd_normal_cdf_vjp(vd_set1(1.0), x);
}

/* ---- float ---- */

VEC_LONG vd softplus_24(vd x)
{
	vd minus_inf = vd_set1(-(double)INFINITY);
	vd z = vd_blend(vd_eq(x, minus_inf), vd_zero(), minus_abs(x, 60.0));
	vd e = vd_exp_24(vd_blend(vd_lt(z, vd_set1(-110.0)), vd_set1(-110.0), z)), u = vd_add(e, vd_set1(1.0));
	vd y = vd_add(vd_max(x, vd_zero()), vd_add(vd_log_24(u), log1p_rest(e, u)));

	return vd_blend(vd_isnan(x), x, vd_blend(vd_eq(x, minus_inf), vd_zero(), y));
}

VEC vf vf_softplus(vf x)
{
	return vd_pair_to_vf(softplus_24(vf_to_vd_lo(x)), softplus_24(vf_to_vd_hi(x)));
}

/* Past -250 even the largest float times the slope is 0. */
VEC_LONG vd softplus_slope_24(vd gy, vd x)
{
	vd slope = sigmoid_24(x, vd_neg(vd_min(vd_set1(250.0), vd_abs(x))));

	slope = vd_blend(vd_eq(x, vd_set1(-(double)INFINITY)), vd_zero(), slope);
	return vd_blend(vd_isnan(x), x, vd_mul(gy, slope));
}

VEC vf vf_softplus_vjp(vf gy, vf x)
{
	return vd_pair_to_vf(softplus_slope_24(vf_to_vd_lo(gy), vf_to_vd_lo(x)),
			     softplus_slope_24(vf_to_vd_hi(gy), vf_to_vd_hi(x)));
}

/* e^(t²/2) Φ(-t) (1 + t) of the same s, for 0 <= t <= 15, to 2^-34. */
VEC_LONG vd tail_24(vd s)
{
	vd p = vd_set1(0x1.4313c2ce7de22p-17);

	STEP(p, s, 0x1.d0a23934ed494p-17);
	STEP(p, s, -0x1.6ccd741218d22p-14);
	STEP(p, s, -0x1.76537abe94047p-14);
	STEP(p, s, 0x1.6cad50a94cac6p-11);
	STEP(p, s, -0x1.2d33efd851f93p-12);
	STEP(p, s, -0x1.47db6743ef20dp-8);
	STEP(p, s, 0x1.25de79ece2526p-6);
	STEP(p, s, -0x1.07c3a990e8762p-5);
	STEP(p, s, 0x1.d4968d724575dp-6);
	STEP(p, s, 0x1.cabd6e2df07dap-7);
	STEP(p, s, -0x1.8c18f1f1b74dfp-4);
	STEP(p, s, 0x1.e361ea6ff6601p-2);
	return p;
}

VEC_LONG vd normal_cdf_24(vd x)
{
	vd t = tail_place(x, 15.0, 6.0), m = vd_div(tail_24(tail_argument(t)), vd_add(t, vd_set1(1.0)));

	return from_tail(x, vd_mul(m, vd_exp_24(vd_mul(vd_mul(t, t), vd_set1(-0.5)))));
}

VEC vf vf_normal_cdf(vf x)
{
	return vd_pair_to_vf(normal_cdf_24(vf_to_vd_lo(x)), normal_cdf_24(vf_to_vd_hi(x)));
}

VEC_LONG vd normal_slope_24(vd gy, vd x)
{
	vd a = vd_min(vd_set1(24.0), vd_abs(x)), e = vd_exp_24(vd_mul(vd_mul(a, a), vd_set1(-0.5)));

	e = vd_blend(vd_eq(vd_abs(x), vd_set1((double)INFINITY)), vd_zero(), e);
	return vd_blend(vd_isnan(x), x, vd_mul(vd_mul(gy, vd_set1(ONE_OVER_SQRT_2PI)), e));
}

VEC vf vf_normal_cdf_vjp(vf gy, vf x)
{
	return vd_pair_to_vf(normal_slope_24(vf_to_vd_lo(gy), vf_to_vd_lo(x)),
			     normal_slope_24(vf_to_vd_hi(gy), vf_to_vd_hi(x)));
}

VEC vf vf_normal_pdf(vf x)
{
	return vf_normal_cdf_vjp(vf_set1(1.0f), x);
}

/* ---- the kernels: the last, partial vector goes the same way under a mask, its idle lanes being 1 ---- */

#define MAP_1(name, type, T, V, lanes)                                                              \
	void KERN(map_##name##_##type)(void *y, const void *const *x, int64_t n, const double *p)   \
	{                                                                                           \
		T *to = y;                                                                          \
		const T *x0 = x[0];                                                                 \
		int64_t i = 0;                                                                      \
                                                                                                    \
		(void)p;                                                                            \
		for (; n - i >= lanes; i += lanes) V##_store(to + i, V##_##name(V##_load(x0 + i))); \
		if (i < n) V##_store_n(to + i, V##_##name(V##_load_n(x0 + i, n - i, 1)), n - i);    \
	}

#define MAP_2(name, type, T, V, lanes)                                                                                \
	void KERN(map_##name##_##type)(void *y, const void *const *x, int64_t n, const double *p)                     \
	{                                                                                                             \
		T *to = y;                                                                                            \
		const T *x0 = x[0], *x1 = x[1];                                                                       \
		int64_t i = 0;                                                                                        \
                                                                                                                      \
		(void)p;                                                                                              \
		for (; n - i >= lanes; i += lanes) V##_store(to + i, V##_##name(V##_load(x0 + i), V##_load(x1 + i))); \
		if (i < n)                                                                                            \
			V##_store_n(to + i, V##_##name(V##_load_n(x0 + i, n - i, 1), V##_load_n(x1 + i, n - i, 1)),   \
				    n - i);                                                                           \
	}

#define BOTH(MAP, name) MAP(name, f32, float, vf, VF_LANES) MAP(name, f64, double, vd, VD_LANES)

BOTH(MAP_1, softplus)
BOTH(MAP_1, normal_cdf)
BOTH(MAP_1, normal_pdf)
BOTH(MAP_2, softplus_vjp)
BOTH(MAP_2, normal_cdf_vjp)
