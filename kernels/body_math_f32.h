/* The functions of body_math.h for float: double lanes inside, one rounding at the end. Included by body_math.h only.
 *
 * They take and give groups of doubles (vec_group.h) that were floats and will be floats again: vg_exp(x) is e^x to some 30 bits. Those with a name in _24 want
 * arguments within stated bounds.
 *
 * A group whose lanes are all ordinary (neither NaN nor so large that an approximation can't take them) goes a way without stand-ins and selections. The
 * other way, _any, does the same operations on an ordinary lane, so a lane's bits don't depend on its neighbours. */
#include "kernels/vec_group.h"

/* One step of Horner's rule. */
#define VG_STEP(p, x, c) (p) = vg_fma((p), (x), vg_set1(c))

/* Beyond this e^-x is 0 in float, and still far from 0 in double. */
#define EXP_BOUND 700.0

/* Whether |x| < bound in every lane. */
VEC bool all_within(vg x, double bound)
{
	return mg_all(vg_lt(vg_abs(x), vg_set1(bound)));
}

/* y 2^k, for a y near 1 and t = VD_MAGIC + k. */
VEC vd vd_times_power(vd y, vd t)
{
	return vl_as_vd(vl_add(vd_as_vl(y), vl_shl(vd_as_vl(t), 52)));
}

VG_LIFT_1(vg, vg_minus_whole_of, minus_whole_of, vg)
VG_LIFT_1(vg, vg_power_of_two, power_of_two, vg)
VG_LIFT_2(vg, vg_times_power, vd_times_power, vg)
VG_LIFT_2(vg, vg_log_of_special, log_of_special, vg)

/* 0 instead of -inf and NaN, so that nothing underflows in their lanes. */
VEC vg no_end(vg x)
{
	return vg_blend(vg_lt(vg_set1(-(double)INFINITY), x), x, vg_set1(0.0));
}

/* What a result is at its ends: NaN of NaN, 0 of -inf. */
VEC vg with_ends(vg x, vg y)
{
	mg at_end = vg_eq(x, vg_set1(-(double)INFINITY));

	return vg_blend(vg_isnan(x), x, vg_blend(at_end, vg_set1(0.0), y));
}

/* (2^f - 1) / f for |f| <= 1/2, to 2^-32. */
VEC_LONG vg exp2m1_over(vg f)
{
	vg p = vg_set1(0x1.ffcbdd822c7e1p-17);

	VG_STEP(p, f, 0x1.443f81c4f984dp-13);
	VG_STEP(p, f, 0x1.5d88bdd859605p-10);
	VG_STEP(p, f, 0x1.3b2a1c16bda22p-7);
	VG_STEP(p, f, 0x1.c6b08cb12d958p-5);
	VG_STEP(p, f, 0x1.ebfbe04547a90p-3);
	VG_STEP(p, f, 0x1.62e42fefd33f9p-1);
	return p;
}

/* 2^(c x), |c x| <= 1020. */
VEC_LONG vg exp2_24(vg x, double c)
{
	vg t = vg_fma(x, vg_set1(c), vg_set1(VD_MAGIC));
	vg f = vg_fma(x, vg_set1(c), vg_minus_whole_of(t));

	return vg_times_power(vg_fma(f, exp2m1_over(f), vg_set1(1.0)), t);
}

/* e^x, |x| <= EXP_BOUND. */
VEC_LONG vg exp_24(vg x)
{
	return exp2_24(x, LOG2_E);
}

/* e^-a, |a| <= EXP_BOUND. */
VEC_LONG vg decay_24(vg a)
{
	return exp2_24(a, -LOG2_E);
}

VEC_RARE vg exp_any(vg x)
{
	mg finite = vg_lt(vg_abs(x), vg_set1((double)INFINITY));
	vg z = vg_blend(finite, x, vg_set1(0.0));
	vg y = exp_24(vg_min(vg_max(z, vg_set1(-EXP_BOUND)), vg_set1(EXP_BOUND)));

	return vg_blend(finite, y, vg_blend(vg_lt(x, vg_set1(0.0)), vg_set1(0.0), x));
}

VEC vg vg_exp(vg x)
{
	return all_within(x, EXP_BOUND) ? exp_24(x) : exp_any(x);
}

/* ln(1 + f) / f for sqrt(1/2) <= 1 + f <= sqrt(2), to 2^-33. */
VEC_LONG vg log1p_over(vg f)
{
	vg p = vg_set1(-0x1.ea4d6e8f3b753p-5);

	VG_STEP(p, f, 0x1.b7aa9aba2abb9p-4);
	VG_STEP(p, f, -0x1.bdb1d90c839b6p-4);
	VG_STEP(p, f, 0x1.c36cd9ef90a73p-4);
	VG_STEP(p, f, -0x1.fc565dd87f1f5p-4);
	VG_STEP(p, f, 0x1.249130008dc6fp-3);
	VG_STEP(p, f, -0x1.556952f1342dep-3);
	VG_STEP(p, f, 0x1.999a31bb3d36dp-3);
	VG_STEP(p, f, -0x1.ffffa6b397789p-3);
	VG_STEP(p, f, 0x1.5555541cecd6dp-2);
	VG_STEP(p, f, -0x1.0000001c6672fp-1);
	VG_STEP(p, f, 0x1.000000002666dp+0);
	return p;
}

VEC vd vd_exponent(vd x)
{
	vd k;

	return split_exponent(x, &k), k;
}

VEC vd vd_mantissa(vd x)
{
	vd k;

	return split_exponent(x, &k);
}

VG_LIFT_1(vg, vg_exponent, vd_exponent, vg)
VG_LIFT_1(vg, vg_mantissa, vd_mantissa, vg)

/* ln x for normal positive x. */
VEC_LONG vg log_24(vg x)
{
	vg f = vg_sub(vg_mantissa(x), vg_set1(1.0));

	return vg_fma(vg_exponent(x), vg_set1(LN_2), vg_mul(f, log1p_over(f)));
}

VEC mg positive_and_finite_24(vg x)
{
	return mg_and(vg_lt(vg_set1(0.0), x), vg_lt(x, vg_set1((double)INFINITY)));
}

VEC_RARE vg log_any(vg x)
{
	return vg_log_of_special(x, log_24(vg_blend(positive_and_finite_24(x), x, vg_set1(1.0))));
}

VEC vg vg_log(vg x)
{
	return mg_all(positive_and_finite_24(x)) ? log_24(x) : log_any(x);
}

/* -expm1(-2 a) / (2 + expm1(-2 a)), 0 <= a <= EXP_BOUND / 2. */
VEC_LONG vg tanh_24(vg a)
{
	vg scale = vg_set1(-2.0 * LOG2_E), one = vg_set1(1.0);
	vg t = vg_fma(a, scale, vg_set1(VD_MAGIC));
	vg f = vg_fma(a, scale, vg_minus_whole_of(t));
	vg s = vg_power_of_two(t);
	vg n = vg_fnma(s, vg_mul(f, exp2m1_over(f)), vg_sub(one, s));

	return vg_div(n, vg_sub(vg_set1(2.0), n));
}

VEC_RARE vg tanh_any(vg x)
{
	vg y = tanh_24(vg_min(vg_abs(x), vg_set1(EXP_BOUND / 2)));

	return vg_blend(vg_isnan(x), x, vg_copysign(y, x));
}

VEC vg vg_tanh(vg x)
{
	return all_within(x, EXP_BOUND / 2) ? vg_copysign(tanh_24(vg_abs(x)), x) : tanh_any(x);
}

/* a is |x|, bounded. */
VEC_LONG vg sigmoid_24(vg x, vg a)
{
	vg e = decay_24(a), one = vg_set1(1.0);

	return vg_div(vg_blend(vg_lt(x, vg_set1(0.0)), e, one), vg_add(one, e));
}

VEC_RARE vg sigmoid_any(vg x)
{
	return with_ends(x, sigmoid_24(x, vg_min(vg_abs(no_end(x)), vg_set1(EXP_BOUND))));
}

VEC vg vg_sigmoid(vg x)
{
	return all_within(x, EXP_BOUND) ? sigmoid_24(x, vg_abs(x)) : sigmoid_any(x);
}

/* erf(a) / a for 0 <= a <= 4 as a function of t = a^2 / 8 - 1, to 2^-31. */
VEC_LONG vg erf_over(vg t)
{
	vg p = vg_set1(0x1.713d464e96460p-14);

	VG_STEP(p, t, -0x1.ff52f32fdbf80p-13);
	VG_STEP(p, t, 0x1.a23ee99e9fb9ep-13);
	VG_STEP(p, t, -0x1.60b28ca69b4f3p-12);
	VG_STEP(p, t, 0x1.6538a75854541p-10);
	VG_STEP(p, t, -0x1.7af40d37f63e1p-9);
	VG_STEP(p, t, 0x1.3bf43c80fcf17p-8);
	VG_STEP(p, t, -0x1.1346fb2b0a6f0p-7);
	VG_STEP(p, t, 0x1.d662fe4e90050p-7);
	VG_STEP(p, t, -0x1.71863227cff82p-6);
	VG_STEP(p, t, 0x1.0ed7aa0b60225p-5);
	VG_STEP(p, t, -0x1.76c1fe0ea34cep-5);
	VG_STEP(p, t, 0x1.ea969cd6336d3p-5);
	VG_STEP(p, t, -0x1.32183270c38a4p-4);
	VG_STEP(p, t, 0x1.717f14289620fp-4);
	VG_STEP(p, t, -0x1.b92e7482acb5dp-4);
	VG_STEP(p, t, 0x1.0dabae7e2fba4p-3);
	VG_STEP(p, t, -0x1.69a0cd1eb6d4fp-3);
	VG_STEP(p, t, 0x1.6a0407821a310p-2);
	return p;
}

/* Odd in every operation, so the sign needs no care. */
VEC_LONG vg erf_24(vg x)
{
	return vg_mul(x, erf_over(vg_fma(vg_mul(x, x), vg_set1(0.125), vg_set1(-1.0))));
}

VEC_RARE vg erf_any(vg x)
{
	vg y = erf_24(vg_min(vg_abs(x), vg_set1(4.0)));

	return vg_blend(vg_isnan(x), x, vg_copysign(y, x));
}

VEC vg vg_erf(vg x)
{
	return all_within(x, 4.0) ? erf_24(x) : erf_any(x);
}

/* gy e / d^2: sigmoid's slope where e = e^-a and d = 1 + e, tanh's where e = e^-2a and d = (1 + e) / 2. */
VEC_LONG vg logistic_slope_24(vg gy, vg e, vg d)
{
	return vg_mul(gy, vg_div(e, vg_mul(d, d)));
}

VEC vg sigmoid_slope_24(vg gy, vg e)
{
	return logistic_slope_24(gy, e, vg_add(e, vg_set1(1.0)));
}

VEC vg tanh_slope_24(vg gy, vg e)
{
	return logistic_slope_24(gy, e, vg_fma(e, vg_set1(0.5), vg_set1(0.5)));
}

/* e^-a for a >= 0: 0 for inf, whose products are no underflow, and 1 for NaN, whose products raise nothing. */
VEC_LONG vg decay_any(vg a)
{
	vg z = vg_min(vg_blend(vg_isnan(a), vg_set1(0.0), a), vg_set1(EXP_BOUND));

	return vg_blend(vg_eq(a, vg_set1((double)INFINITY)), vg_set1(0.0), decay_24(z));
}

VEC_RARE vg sigmoid_vjp_any(vg gy, vg x)
{
	return vg_blend(vg_isnan(x), x, sigmoid_slope_24(gy, decay_any(vg_abs(x))));
}

VEC vg vg_sigmoid_vjp(vg gy, vg x)
{
	if (!all_within(x, EXP_BOUND)) return sigmoid_vjp_any(gy, x);
	return sigmoid_slope_24(gy, decay_24(vg_abs(x)));
}

VEC_RARE vg tanh_vjp_any(vg gy, vg x)
{
	return vg_blend(vg_isnan(x), x, tanh_slope_24(gy, decay_any(vg_abs(vg_add(x, x)))));
}

VEC vg vg_tanh_vjp(vg gy, vg x)
{
	if (!all_within(x, EXP_BOUND / 2)) return tanh_vjp_any(gy, x);
	return tanh_slope_24(gy, exp2_24(vg_abs(x), -2.0 * LOG2_E));
}

VEC_RARE vg erf_vjp_any(vg gy, vg x)
{
	vg e = decay_any(vg_mul(x, x));

	return vg_blend(vg_isnan(x), x, vg_mul(vg_mul(gy, vg_set1(TWO_OVER_SQRT_PI)), e));
}

VEC vg vg_erf_vjp(vg gy, vg x)
{
	if (!all_within(x, 26.0)) return erf_vjp_any(gy, x);
	return vg_mul(vg_mul(gy, vg_set1(TWO_OVER_SQRT_PI)), decay_24(vg_mul(x, x)));
}

/* ---- those of a vector of floats ---- */

VEC vf vf_pow(vf x, const pow_plan *plan)
{
	return vd_pair_to_vf(vd_pow(vf_to_vd_lo(x), plan), vd_pow(vf_to_vd_hi(x), plan));
}

VEC vf vf_pow_vjp(vf gy, vf x, double p, const pow_plan *plan)
{
	return vd_pair_to_vf(vd_pow_vjp(vf_to_vd_lo(gy), vf_to_vd_lo(x), p, plan),
			     vd_pow_vjp(vf_to_vd_hi(gy), vf_to_vd_hi(x), p, plan));
}

/* -gy a / b^2: both products are exact; 0 where gy is 0. */
VEC_LONG vd div_vjp_b_24(vd gy, vd a, vd b)
{
	md zero = vd_eq(gy, vd_zero());

	a = vd_blend(zero, vd_set1(1.0), a);
	b = vd_blend(zero, vd_set1(1.0), b);
	return vd_neg(vd_div(vd_mul(gy, a), vd_mul(b, b)));
}

VEC vf vf_div_vjp_b(vf gy, vf a, vf b)
{
	return vd_pair_to_vf(div_vjp_b_24(vf_to_vd_lo(gy), vf_to_vd_lo(a), vf_to_vd_lo(b)),
			     div_vjp_b_24(vf_to_vd_hi(gy), vf_to_vd_hi(a), vf_to_vd_hi(b)));
}
