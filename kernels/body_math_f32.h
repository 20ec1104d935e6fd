/* The functions of body_math.h for float: double lanes inside, one rounding at the end. Included by body_math.h only.
 * A name ending in _24 is such an inside: double lanes in and out, good to some 30 bits.
 *
 * A vector whose lanes are all ordinary (neither NaN nor so large that the result leaves the range) takes a way without
 * stand-ins and selections, which are a third of the instructions. The other way, _any, does the same operations on an
 * ordinary lane, so a lane's bits don't depend on its neighbours. */

/* -|x| */
VEC vf minus_magnitude(vf x)
{
	return vf_or(x, vf_set1(-0.0f));
}

/* Whether |x| < bound in every lane. */
VEC bool all_within(vf x, float bound)
{
	return mf_all(vf_lt(vf_abs(x), vf_set1(bound)));
}

/* (2^f - 1) / f for |f| <= 1/2, to 2^-32. */
VEC_LONG vd exp2m1_over(vd f)
{
	vd p = vd_set1(0x1.ffcbdd822c7e1p-17);

	STEP(p, f, 0x1.443f81c4f984dp-13);
	STEP(p, f, 0x1.5d88bdd859605p-10);
	STEP(p, f, 0x1.3b2a1c16bda22p-7);
	STEP(p, f, 0x1.c6b08cb12d958p-5);
	STEP(p, f, 0x1.ebfbe04547a90p-3);
	STEP(p, f, 0x1.62e42fefd33f9p-1);
	return p;
}

/* e^x, |x| <= 700. */
VEC_LONG vd vd_exp_24(vd x)
{
	vd t = vd_fma(x, vd_set1(LOG2_E), vd_set1(VD_MAGIC));
	vd f = vd_fma(x, vd_set1(LOG2_E), minus_whole_of(t));
	vd y = vd_fma(f, exp2m1_over(f), vd_set1(1.0));

	return vl_as_vd(vl_add(vd_as_vl(y), vl_shl(vd_as_vl(t), 52)));
}

/* ln(1 + f) / f for sqrt(1/2) <= 1 + f <= sqrt(2), to 2^-33. */
VEC_LONG vd log1p_over(vd f)
{
	vd p = vd_set1(-0x1.ea4d6e8f3b753p-5);

	STEP(p, f, 0x1.b7aa9aba2abb9p-4);
	STEP(p, f, -0x1.bdb1d90c839b6p-4);
	STEP(p, f, 0x1.c36cd9ef90a73p-4);
	STEP(p, f, -0x1.fc565dd87f1f5p-4);
	STEP(p, f, 0x1.249130008dc6fp-3);
	STEP(p, f, -0x1.556952f1342dep-3);
	STEP(p, f, 0x1.999a31bb3d36dp-3);
	STEP(p, f, -0x1.ffffa6b397789p-3);
	STEP(p, f, 0x1.5555541cecd6dp-2);
	STEP(p, f, -0x1.0000001c6672fp-1);
	STEP(p, f, 0x1.000000002666dp+0);
	return p;
}

/* ln x for normal positive x. */
VEC_LONG vd vd_log_24(vd x)
{
	vd k, f = vd_sub(split_exponent(x, &k), vd_set1(1.0));

	return vd_fma(k, vd_set1(LN_2), vd_mul(f, log1p_over(f)));
}

VEC_RARE vf exp_any(vf x)
{
	mf finite = vf_lt(vf_abs(x), vf_set1(INFINITY));
	vf z = vf_min(vf_max(vf_blend(finite, x, vf_zero()), vf_set1(-105.0f)), vf_set1(89.0f));
	vf y = vd_pair_to_vf(vd_exp_24(vf_to_vd_lo(z)), vd_exp_24(vf_to_vd_hi(z)));

	return vf_blend(finite, y, vf_blend(vf_lt(x, vf_zero()), vf_zero(), x));
}

VEC vf vf_exp(vf x)
{
	if (!all_within(x, 87.0f)) return exp_any(x);
	return vd_pair_to_vf(vd_exp_24(vf_to_vd_lo(x)), vd_exp_24(vf_to_vd_hi(x)));
}

VEC vf vf_log(vf x)
{
	mf ordinary = mf_and(vf_gt(x, vf_zero()), vf_lt(x, vf_set1(INFINITY)));
	vf z = vf_blend(ordinary, x, vf_set1(1.0f));
	vd lo = vd_log_24(vf_to_vd_lo(z)), hi = vd_log_24(vf_to_vd_hi(z));

	if (!mf_all(ordinary)) {
		lo = log_of_special(vf_to_vd_lo(x), lo);
		hi = log_of_special(vf_to_vd_hi(x), hi);
	}
	return vd_pair_to_vf(lo, hi);
}

/* -expm1(-2 a) / (2 + expm1(-2 a)), a >= 0. */
VEC_LONG vd tanh_24(vd a)
{
	vd scale = vd_set1(-2.0 * LOG2_E), one = vd_set1(1.0);
	vd t = vd_fma(a, scale, vd_set1(VD_MAGIC));
	vd f = vd_fma(a, scale, minus_whole_of(t));
	vd s = power_of_two(t);
	vd n = vd_fnma(s, vd_mul(f, exp2m1_over(f)), vd_sub(one, s));

	return vd_div(n, vd_sub(vd_set1(2.0), n));
}

VEC_RARE vf tanh_any(vf x)
{
	vf a = vf_min(vf_abs(x), vf_set1(10.0f));
	vf y = vd_pair_to_vf(tanh_24(vf_to_vd_lo(a)), tanh_24(vf_to_vd_hi(a)));

	return vf_blend(vf_isnan(x), x, vf_copysign(y, x));
}

VEC vf vf_tanh(vf x)
{
	vf a = vf_abs(x);

	if (!all_within(x, 10.0f)) return tanh_any(x);
	return vf_copysign(vd_pair_to_vf(tanh_24(vf_to_vd_lo(a)), tanh_24(vf_to_vd_hi(a))), x);
}

/* below is -|x|, bounded. */
VEC_LONG vd sigmoid_24(vd x, vd below)
{
	vd e = vd_exp_24(below), one = vd_set1(1.0);

	return vd_div(vd_blend(vd_lt(x, vd_zero()), e, one), vd_add(one, e));
}

VEC_RARE vf sigmoid_any(vf x)
{
	mf at_end = vf_eq(x, vf_set1(-INFINITY));
	vf b = vf_neg(vf_blend(at_end, vf_zero(), vf_min(vf_abs(x), vf_set1(105.0f))));
	vf y = vd_pair_to_vf(sigmoid_24(vf_to_vd_lo(x), vf_to_vd_lo(b)), sigmoid_24(vf_to_vd_hi(x), vf_to_vd_hi(b)));

	return vf_blend(vf_isnan(x), x, vf_blend(at_end, vf_zero(), y));
}

VEC vf vf_sigmoid(vf x)
{
	vf b = minus_magnitude(x);

	if (!all_within(x, 87.0f)) return sigmoid_any(x);
	return vd_pair_to_vf(sigmoid_24(vf_to_vd_lo(x), vf_to_vd_lo(b)), sigmoid_24(vf_to_vd_hi(x), vf_to_vd_hi(b)));
}

/* erf(a) / a for 0 <= a <= 4 as a function of t = a^2 / 8 - 1, to 2^-31. */
VEC_LONG vd erf_over(vd t)
{
	vd p = vd_set1(0x1.713d464e96460p-14);

	STEP(p, t, -0x1.ff52f32fdbf80p-13);
	STEP(p, t, 0x1.a23ee99e9fb9ep-13);
	STEP(p, t, -0x1.60b28ca69b4f3p-12);
	STEP(p, t, 0x1.6538a75854541p-10);
	STEP(p, t, -0x1.7af40d37f63e1p-9);
	STEP(p, t, 0x1.3bf43c80fcf17p-8);
	STEP(p, t, -0x1.1346fb2b0a6f0p-7);
	STEP(p, t, 0x1.d662fe4e90050p-7);
	STEP(p, t, -0x1.71863227cff82p-6);
	STEP(p, t, 0x1.0ed7aa0b60225p-5);
	STEP(p, t, -0x1.76c1fe0ea34cep-5);
	STEP(p, t, 0x1.ea969cd6336d3p-5);
	STEP(p, t, -0x1.32183270c38a4p-4);
	STEP(p, t, 0x1.717f14289620fp-4);
	STEP(p, t, -0x1.b92e7482acb5dp-4);
	STEP(p, t, 0x1.0dabae7e2fba4p-3);
	STEP(p, t, -0x1.69a0cd1eb6d4fp-3);
	STEP(p, t, 0x1.6a0407821a310p-2);
	return p;
}

VEC_LONG vd erf_24(vd a)
{
	return vd_mul(a, erf_over(vd_fma(vd_mul(a, a), vd_set1(0.125), vd_set1(-1.0))));
}

VEC_RARE vf erf_any(vf x)
{
	vf a = vf_min(vf_abs(x), vf_set1(4.0f));
	vf y = vd_pair_to_vf(erf_24(vf_to_vd_lo(a)), erf_24(vf_to_vd_hi(a)));

	return vf_blend(vf_isnan(x), x, vf_copysign(y, x));
}

/* Odd in every operation, so the sign needs no care. */
VEC vf vf_erf(vf x)
{
	if (!all_within(x, 4.0f)) return erf_any(x);
	return vd_pair_to_vf(erf_24(vf_to_vd_lo(x)), erf_24(vf_to_vd_hi(x)));
}

VEC vf vf_pow(vf x, const pow_plan *plan)
{
	return vd_pair_to_vf(vd_pow(vf_to_vd_lo(x), plan), vd_pow(vf_to_vd_hi(x), plan));
}

/* gy e / (1 + e)^2 */
VEC vd logistic_slope_of(vd gy, vd e)
{
	vd d = vd_add(vd_set1(1.0), e);

	return vd_mul(gy, vd_div(e, vd_mul(d, d)));
}

/* gy e^-a / (1 + e^-a)^2. Past a = 250 even the largest float times it is 0; only at inf is the slope itself 0. */
VEC_LONG vd logistic_slope_24(vd gy, vd a)
{
	vd e = vd_exp_24(vd_neg(vd_min(a, vd_set1(250.0)))), d = vd_add(vd_set1(1.0), e);

	e = vd_blend(vd_lt(a, vd_set1((double)INFINITY)), e, vd_zero());
	return vd_mul(gy, vd_div(e, vd_mul(d, d)));
}

VEC_RARE vf sigmoid_vjp_any(vf gy, vf x)
{
	vf a = vf_abs(x);
	vd lo = logistic_slope_24(vf_to_vd_lo(gy), vf_to_vd_lo(a)),
	   hi = logistic_slope_24(vf_to_vd_hi(gy), vf_to_vd_hi(a));

	return vf_blend(vf_isnan(x), x, vd_pair_to_vf(lo, hi));
}

VEC vf vf_sigmoid_vjp(vf gy, vf x)
{
	vf b = minus_magnitude(x);

	if (!all_within(x, 250.0f)) return sigmoid_vjp_any(gy, x);
	return vd_pair_to_vf(logistic_slope_of(vf_to_vd_lo(gy), vd_exp_24(vf_to_vd_lo(b))),
			     logistic_slope_of(vf_to_vd_hi(gy), vd_exp_24(vf_to_vd_hi(b))));
}

VEC vd tanh_slope_24(vd gy, vd a)
{
	return vd_mul(logistic_slope_24(gy, vd_add(a, a)), vd_set1(4.0));
}

VEC_RARE vf tanh_vjp_any(vf gy, vf x)
{
	vf a = vf_abs(x);
	vd lo = tanh_slope_24(vf_to_vd_lo(gy), vf_to_vd_lo(a)), hi = tanh_slope_24(vf_to_vd_hi(gy), vf_to_vd_hi(a));

	return vf_blend(vf_isnan(x), x, vd_pair_to_vf(lo, hi));
}

VEC vf vf_tanh_vjp(vf gy, vf x)
{
	vd four = vd_set1(4.0);
	vf b;

	if (!all_within(x, 125.0f)) return tanh_vjp_any(gy, x);
	b = minus_magnitude(vf_add(x, x));
	return vd_pair_to_vf(vd_mul(logistic_slope_of(vf_to_vd_lo(gy), vd_exp_24(vf_to_vd_lo(b))), four),
			     vd_mul(logistic_slope_of(vf_to_vd_hi(gy), vd_exp_24(vf_to_vd_hi(b))), four));
}

VEC_LONG vd erf_slope_24(vd gy, vd a)
{
	vd b = vd_min(a, vd_set1(17.0)), e = vd_exp_24(vd_neg(vd_mul(b, b)));

	e = vd_blend(vd_lt(a, vd_set1((double)INFINITY)), e, vd_zero());
	return vd_mul(vd_mul(gy, vd_set1(TWO_OVER_SQRT_PI)), e);
}

VEC vf vf_erf_vjp(vf gy, vf x)
{
	vf a = vf_abs(x);
	vd lo = erf_slope_24(vf_to_vd_lo(gy), vf_to_vd_lo(a)), hi = erf_slope_24(vf_to_vd_hi(gy), vf_to_vd_hi(a));

	return vf_blend(vf_isnan(x), x, vd_pair_to_vf(lo, hi));
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
