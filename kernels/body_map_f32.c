/* Element-wise kernels of float that compute in double, a group of vectors at a time: those of body_math_f32.h, and softplus, the normal distribution's function and
 * density, gelu and silu with their gradients, which for double stand in body_special.c.
 *
 *   softplus     max(x, 0) + ln(1 + e^-|x|), the logarithm as e^-|x| times a quotient of polynomials
 *   normal_cdf   Q below 0, 1 - Q above: Q = Φ(-|x|) = e^(-x²/2) M(|x|), M a quotient of polynomials, so that Q keeps its digits however small it is
 *   gelu         max(x, 0) - |x| Q
 *   silu         x / (1 + e^-x)
 *
 * The rules of body_math.h hold: harmless stand-ins, so that no undeserved flag is raised. */
#include "kernels/table.h"

#include "kernels/body_math.h"

/* ln(1 + e) for 0 <= e <= 1, to 2^-34. */
VEC_LONG vg log1p_24(vg e)
{
	vg n = vg_set1(0x1.1f6cca3893293p+2), d = vg_add(e, vg_set1(0x1.a09e2c5fdbdb4p+4));

	VG_STEP(n, e, 0x1.ed49ad09c4cfdp+5);
	VG_STEP(d, e, 0x1.17b6e33c4f989p+7);
	VG_STEP(n, e, 0x1.65c938cb17441p+7);
	VG_STEP(d, e, 0x1.ecca2774be02bp+7);
	VG_STEP(n, e, 0x1.0e01dd8eaf28cp+7);
	VG_STEP(d, e, 0x1.0e01dd8ed8eb2p+7);
	return vg_div(vg_mul(n, e), d);
}

/* a is |x|, bounded. */
VEC_LONG vg softplus_24(vg x, vg a)
{
	return vg_add(vg_max(x, vg_set1(0.0)), log1p_24(decay_24(a)));
}

VEC_RARE vg softplus_any(vg x)
{
	return with_ends(x, softplus_24(x, vg_min(vg_abs(no_end(x)), vg_set1(EXP_BOUND))));
}

VEC vg vg_softplus(vg x)
{
	return all_within(x, EXP_BOUND) ? softplus_24(x, vg_abs(x)) : softplus_any(x);
}

VEC vg vg_softplus_vjp(vg gy, vg x)
{
	if (!all_within(x, EXP_BOUND)) return vg_blend(vg_isnan(x), x, vg_mul(gy, sigmoid_any(x)));
	return vg_mul(gy, sigmoid_24(x, vg_abs(x)));
}

/* Up to here e^(-t²/2) can be formed, and from 20 on nothing that it is a factor of is other than 0. */
#define BELL_BOUND 37.0

/* e^(-t²/2), t <= BELL_BOUND */
VEC_LONG vg bell_24(vg t)
{
	return exp2_24(vg_mul(t, t), -0.5 * LOG2_E);
}

/* e^(t²/2) Φ(-t) = n / d: 1/2 at 0, right to 2^-33 for t <= 13.2, where Φ leaves the range of floats; to 2^-25 at 20, where t beside it is what counts. The
 * degrees are those of 1 / (t √(2π)), as which it ends. */
VEC_LONG void tail_parts(vg t, vg *numerator, vg *denominator)
{
	vg n = vg_set1(0x1.988425d2361e4p-2), d = vg_add(t, vg_set1(0x1.a78a1a62f795cp+3));

	VG_STEP(n, t, 0x1.51f038997239ep+2);
	VG_STEP(d, t, 0x1.4af4f4db3732dp+6);
	VG_STEP(n, t, 0x1.04dd2c2537ee1p+5);
	VG_STEP(d, t, 0x1.2e6ddda11f708p+8);
	VG_STEP(n, t, 0x1.cd9213155f5a2p+6);
	VG_STEP(d, t, 0x1.4efb49cb9b8a6p+9);
	VG_STEP(n, t, 0x1.d671c7ba767e1p+7);
	VG_STEP(d, t, 0x1.a5933c9f85b77p+9);
	VG_STEP(n, t, 0x1.d31e1403d5a36p+7);
	VG_STEP(d, t, 0x1.d31e1403d5a36p+8);
	*numerator = n;
	*denominator = d;
}

/* Φ(-t) */
VEC_LONG vg tail_24(vg t)
{
	vg e = bell_24(t), n, d;

	tail_parts(t, &n, &d);
	return vg_div(vg_mul(n, e), d);
}

/* |x|, bounded, for the normal distribution; 0 where the result is not a matter of it. */
VEC vg tail_place(vg x)
{
	return vg_min(vg_abs(no_end(x)), vg_set1(BELL_BOUND));
}

VEC_LONG vg normal_cdf_24(vg x, vg t)
{
	vg q = tail_24(t);

	return vg_blend(vg_lt(x, vg_set1(0.0)), q, vg_sub(vg_set1(1.0), q));
}

VEC_RARE vg normal_cdf_any(vg x)
{
	return with_ends(x, normal_cdf_24(x, tail_place(x)));
}

VEC vg vg_normal_cdf(vg x)
{
	return all_within(x, BELL_BOUND) ? normal_cdf_24(x, vg_abs(x)) : normal_cdf_any(x);
}

VEC_LONG vg normal_slope_24(vg gy, vg e)
{
	return vg_mul(vg_mul(gy, vg_set1(ONE_OVER_SQRT_2PI)), e);
}

VEC_RARE vg normal_cdf_vjp_any(vg gy, vg x)
{
	mg at_end = vg_eq(vg_abs(x), vg_set1((double)INFINITY));
	vg e = vg_blend(at_end, vg_set1(0.0), bell_24(tail_place(x)));

	return vg_blend(vg_isnan(x), x, normal_slope_24(gy, e));
}

VEC vg vg_normal_cdf_vjp(vg gy, vg x)
{
	return all_within(x, BELL_BOUND) ? normal_slope_24(gy, bell_24(x)) : normal_cdf_vjp_any(gy, x);
}

VEC vg vg_normal_pdf(vg x)
{
	return vg_normal_cdf_vjp(vg_set1(1.0), x);
}

/* The order of the arguments of max keeps the sign of a zero. */
VEC_LONG vg gelu_24(vg x, vg t)
{
	return vg_fnma(t, tail_24(t), vg_max(vg_set1(0.0), x));
}

VEC_RARE vg gelu_any(vg x)
{
	return with_ends(x, gelu_24(x, tail_place(x)));
}

VEC vg vg_gelu(vg x)
{
	return all_within(x, BELL_BOUND) ? gelu_24(x, vg_abs(x)) : gelu_any(x);
}

/* gy (Φ(x) + x φ(x)): with r = e^(-t²/2) (M(t) - t / √(2π)) that is gy r below 0, gy (1 - r) above. */
VEC_LONG vg gelu_slope_24(vg gy, vg x, vg t)
{
	vg e = bell_24(t), n, d, r;

	tail_parts(t, &n, &d);
	r = vg_mul(vg_fnma(t, vg_set1(ONE_OVER_SQRT_2PI), vg_div(n, d)), e);
	return vg_mul(gy, vg_blend(vg_lt(x, vg_set1(0.0)), r, vg_sub(vg_set1(1.0), r)));
}

VEC_RARE vg gelu_vjp_any(vg gy, vg x)
{
	return with_ends(x, gelu_slope_24(gy, x, tail_place(x)));
}

VEC vg vg_gelu_vjp(vg gy, vg x)
{
	return all_within(x, BELL_BOUND) ? gelu_slope_24(gy, x, vg_abs(x)) : gelu_vjp_any(gy, x);
}

/* x s(x); a is |x|, bounded. */
VEC_LONG vg silu_24(vg x, vg a)
{
	vg e = decay_24(a), one = vg_set1(1.0);

	return vg_div(vg_mul(x, vg_blend(vg_lt(x, vg_set1(0.0)), e, one)), vg_add(one, e));
}

VEC_RARE vg silu_any(vg x)
{
	vg z = vg_max(no_end(x), vg_set1(-EXP_BOUND));

	return with_ends(x, silu_24(z, vg_min(vg_abs(z), vg_set1(EXP_BOUND))));
}

VEC vg vg_silu(vg x)
{
	return all_within(x, EXP_BOUND) ? silu_24(x, vg_abs(x)) : silu_any(x);
}

/* gy s(x) (1 + x s(-x)) over one denominator. */
VEC_LONG vg silu_slope_24(vg gy, vg x, vg a)
{
	vg e = decay_24(a), one = vg_set1(1.0), d = vg_add(one, e);
	mg negative = vg_lt(x, vg_set1(0.0));
	vg own = vg_blend(negative, e, one), other = vg_blend(negative, one, e);

	return vg_mul(gy, vg_div(vg_mul(own, vg_fma(x, other, d)), vg_mul(d, d)));
}

VEC_RARE vg silu_vjp_any(vg gy, vg x)
{
	vg z = vg_max(no_end(x), vg_set1(-EXP_BOUND));

	z = vg_min(z, vg_set1(EXP_BOUND));
	return with_ends(x, silu_slope_24(gy, z, vg_abs(z)));
}

VEC vg vg_silu_vjp(vg gy, vg x)
{
	if (!all_within(x, EXP_BOUND)) return silu_vjp_any(gy, x);
	return silu_slope_24(gy, x, vg_abs(x));
}

/* gy x / y, 0 where y is 0: the product is exact. */
VEC vg vg_norm_vjp(vg gy, vg x, vg y)
{
	mg zero = vg_eq(y, vg_set1(0.0));

	return vg_div(vg_mul(vg_blend(zero, vg_set1(0.0), gy), x), vg_blend(zero, vg_set1(1.0), y));
}

/* ---- the kernels: the last, partial group goes the same way under a mask, its idle lanes being 1 ---- */

#define MAP_1(name)                                                                                    \
	void KERN(map_##name##_f32)(void *y, const void *const *x, int64_t n, const double *p)         \
	{                                                                                              \
		float *to = y;                                                                         \
		const float *x0 = x[0];                                                                \
		int64_t i = 0;                                                                         \
                                                                                                       \
		(void)p;                                                                               \
		for (; n - i >= VG_LANES; i += VG_LANES) vg_store(to + i, vg_##name(vg_load(x0 + i))); \
		if (i < n) vg_store_n(to + i, vg_##name(vg_load_n(x0 + i, n - i, 1)), n - i);          \
	}

#define MAP_2(name)                                                                                             \
	void KERN(map_##name##_f32)(void *y, const void *const *x, int64_t n, const double *p)                  \
	{                                                                                                       \
		float *to = y;                                                                                  \
		const float *x0 = x[0], *x1 = x[1];                                                             \
		int64_t i = 0;                                                                                  \
                                                                                                                \
		(void)p;                                                                                        \
		for (; n - i >= VG_LANES; i += VG_LANES)                                                        \
			vg_store(to + i, vg_##name(vg_load(x0 + i), vg_load(x1 + i)));                          \
		if (i < n)                                                                                      \
			vg_store_n(to + i, vg_##name(vg_load_n(x0 + i, n - i, 1), vg_load_n(x1 + i, n - i, 1)), \
				   n - i);                                                                      \
	}

#define MAP_3(name)                                                                                     \
	void KERN(map_##name##_f32)(void *y, const void *const *x, int64_t n, const double *p)          \
	{                                                                                               \
		float *to = y;                                                                          \
		const float *x0 = x[0], *x1 = x[1], *x2 = x[2];                                         \
		int64_t i = 0;                                                                          \
                                                                                                        \
		(void)p;                                                                                \
		for (; n - i >= VG_LANES; i += VG_LANES)                                                \
			vg_store(to + i, vg_##name(vg_load(x0 + i), vg_load(x1 + i), vg_load(x2 + i))); \
		if (i < n)                                                                              \
			vg_store_n(to + i,                                                              \
				   vg_##name(vg_load_n(x0 + i, n - i, 1), vg_load_n(x1 + i, n - i, 1),  \
					     vg_load_n(x2 + i, n - i, 1)),                              \
				   n - i);                                                              \
	}

MAP_1(exp)
MAP_1(log)
MAP_1(tanh)
MAP_1(sigmoid)
MAP_1(erf)
MAP_1(softplus)
MAP_1(normal_cdf)
MAP_1(normal_pdf)
MAP_1(gelu)
MAP_1(silu)
MAP_2(tanh_vjp)
MAP_2(sigmoid_vjp)
MAP_2(erf_vjp)
MAP_2(softplus_vjp)
MAP_2(normal_cdf_vjp)
MAP_2(gelu_vjp)
MAP_2(silu_vjp)
MAP_3(norm_vjp)
