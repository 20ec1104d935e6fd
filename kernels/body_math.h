/* exp, log, tanh, sigmoid, erf, pow and the slopes their gradients need, in the vocabulary of vec.h.
 *
 *   body_math_f64.h   vd_exp vd_log vd_tanh vd_sigmoid vd_erf vd_pow, vd_tanh_vjp vd_sigmoid_vjp vd_erf_vjp vd_pow_vjp; pow in body_pow.h
 *   body_math_f32.h   for floats: the same names with vg_, for groups of vectors (vec_group.h), but vf_pow and vf_pow_vjp
 *
 * float works in double lanes and rounds once, so its error is that of the rounding and subnormal results need no care. double
 * carries a second word where a rounding would show: in the exponential below a quotient, in the logarithm below a power.
 * tests/slow_ulp.c measures the errors over all floats: 0.505 ULP at most; double stays below 1.3, pow below 0.6.
 *
 * Two rules hold throughout. Every lane runs the same instructions: a lane that an approximation can't take (NaN, inf, the wrong
 * sign) gets a harmless stand-in first and its true value by selection afterwards, so no exception flag is raised that the
 * function itself doesn't deserve. And the flags a function does deserve (log(0), a negative base) come from an
 * operation on that lane.
 *
 * The polynomials are minimax fits, made with Sollya's fpminimax and remez; the comment at each says of what and how good. */
#ifndef WEIR_KERNELS_BODY_MATH_H
#define WEIR_KERNELS_BODY_MATH_H

#include <math.h> /* macros only */

#include "kernels/vec.h"

/* One step of Horner's rule. */
#define STEP(p, x, c) (p) = vd_fma((p), (x), vd_set1(c))

#define LOG2_E 0x1.71547652b82fep+0
#define LN_2 0x1.62e42fefa39efp-1
#define LN_2_LOW 0x1.abc9e3b39803fp-56
#define TWO_OVER_SQRT_PI 0x1.20dd750429b6dp+0
#define ONE_OVER_SQRT_2PI 0x1.9884533d43651p-2

/* Whole numbers are kept as the double t = VD_MAGIC + k: the addition rounds to k, and k stands in t's low bits. */
VEC vd whole_of(vd t)
{
	return vd_sub(t, vd_set1(VD_MAGIC));
}

VEC vd minus_whole_of(vd t)
{
	return vd_sub(vd_set1(VD_MAGIC), t);
}

/* 2^k, -1022 <= k <= 1023. */
VEC vd power_of_two(vd t)
{
	return vl_as_vd(vl_add(vl_shl(vd_as_vl(t), 52), vd_as_vl(vd_set1(1.0))));
}

/* y 2^k for a y between 1/2 and 2 and -1100 <= k <= 1030: in two halves, so that a subnormal result is rounded once. */
VEC_LONG vd scale_by_halves(vd y, vd t)
{
	vd half = vd_fma(whole_of(t), vd_set1(0.5), vd_set1(VD_MAGIC));
	vd rest = vd_add(vd_sub(t, half), vd_set1(VD_MAGIC));

	return vd_mul(vd_mul(y, power_of_two(half)), power_of_two(rest));
}

/* y 2^k for any y and -4000 <= k <= 0. */
VEC_LONG vd scale_by_quarters(vd y, vd t)
{
	vd k = whole_of(t);
	vd quarter = vd_fma(k, vd_set1(0.25), vd_set1(VD_MAGIC));
	vd rest = vd_add(vd_fnma(whole_of(quarter), vd_set1(3.0), k), vd_set1(VD_MAGIC));
	vd s = power_of_two(quarter);

	return vd_mul(vd_mul(vd_mul(vd_mul(y, s), s), s), power_of_two(rest));
}

/* x = m 2^k with sqrt(1/2) <= m < sqrt(2), for a normal positive x. */
VEC vd split_exponent(vd x, vd *k)
{
	vl from_root = vl_sub(vd_as_vl(x), vl_set1(0x3fe6a09e667f3bcd)); /* the bits of sqrt(1/2) */
	vl biased = vl_add(from_root, vl_set1(INT64_C(1024) << 52));
	vl word = vl_or(vl_shr(biased, 52), vd_as_vl(vd_set1(0x1p52)));

	*k = vd_sub(vl_as_vd(word), vd_set1(0x1p52 + 1024.0));
	return vl_as_vd(vl_sub(vd_as_vl(x), vl_and(from_root, vl_set1((int64_t)0xfff0000000000000))));
}

#include "kernels/body_math_f64.h"
#include "kernels/body_pow.h"
#include "kernels/body_math_f32.h"

#endif
