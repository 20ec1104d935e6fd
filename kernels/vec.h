/* The vector vocabulary that every kernel body is written in.
 *
 * A body (kernels/body_*.c) is compiled once per instruction set, each time into its own object file, with exactly one of
 * WEIR_KERN_GENERIC, WEIR_KERN_AVX2, WEIR_KERN_AVX512 defined, and names what it defines with KERN() of table.h. The lane counts
 * are the same everywhere, so that a body's order of operations, and with it every bit of its result, does not depend on the
 * instruction set:
 *
 *   vf  16 lanes of float      mf  its mask      vi  16 lanes of int32_t
 *   vd   8 lanes of double     md  its mask      vl   8 lanes of int64_t
 *
 * Below, V stands for vf or vd, T for its element, M for its mask, I for the integer vector of the same shape.
 *
 *   memory      V_load(p) V_store(p, v)              any alignment
 *               V_load_n(p, n, fill)                 lanes at or past n are `fill` and touch no memory; 0 <= n <= lanes
 *               V_store_n(p, v, n)                   writes n lanes
 *               V_columns(r, p, stride)              half as many vectors as one has lanes: lane i of r[j] is p[i * stride + j]
 *               I_load I_store                       whole vectors of integers
 *               M_load_u8(p) M_store_u8(p, m)        one byte per lane; set where the byte is not 0; written as 1 or 0
 *               M_load_u8_n(p, n) M_store_u8_n(p, m, n)
 *               V_loaded(v)                          v, read as a whole vector
 *   arithmetic  V_set1 V_zero V_add V_sub V_mul V_div V_sqrt
 *               V_fma(a, b, c) = a b + c, V_fnma(a, b, c) = c - a b       one rounding
 *   signs       V_neg V_abs V_copysign(magnitude, sign)                   on the bits: no flag, NaN and subnormals kept
 *               V_and V_or V_xor                                          on the bits
 *   compare     V_lt V_le V_gt V_ge V_eq V_ne V_isnan -> M                quiet: a NaN raises no flag; ne(NaN, .) is true
 *               V_max(a, b) = a > b ? a : b,  V_min(a, b) = a < b ? a : b    compare and select: b if either is NaN
 *   masks       V_blend(m, a, b) = m ? a : b         also I_blend
 *               M_and M_or M_xor M_not M_andnot(a, b) = a and not b
 *               M_any M_all M_first(n)               M_first: lanes below n
 *               M_bits(m) -> unsigned                lane i is bit i
 *               vd_load_f32(p) vd_load_f32_n(p, n, fill)             eight floats as doubles
 *               vd_store_f32(p, v) vd_store_f32_n(p, v, n)           one rounding
 *   convert     vf_to_vd_lo vf_to_vd_hi              lanes 0..7 and 8..15
 *               vd_pair_to_vf(lo, hi)                one rounding
 *               vf_from_vi                           one rounding
 *               vd_from_small(vl)                    exact for |lane| < 2^51
 *   bits        vf_as_vi vi_as_vf vd_as_vl vl_as_vd  the same bits, other type
 *   integers    I_set1 I_iota I_add I_sub I_and I_or I_xor I_max I_eq I_gt
 *               I_shl(v, n) I_shr(v, n) I_sar(v, n)  n a constant; shr fills with 0, sar with the sign
 *
 * There is no horizontal sum: a reduction stores its lanes and adds them in the order it promises. */
#ifndef WEIR_KERNELS_VEC_H
#define WEIR_KERNELS_VEC_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define VF_LANES 16
#define VD_LANES 8

/* VEC: a word of the vocabulary, always inline where a word is an instruction or a loop that becomes some. Generic kernels for a target
 * without FMA call a function per lane, and there the compiler decides: inlining everything gains nothing and costs minutes under a sanitizer.
 * VEC_LONG: a long function made of words. VEC_RARE: one that is seldom called, kept out of its caller's loop. */
#if !defined(__GNUC__)
#define VEC static inline
#define VEC_LONG VEC
#elif defined(WEIR_KERN_AVX2) || defined(WEIR_KERN_AVX512) || defined(__FP_FAST_FMA)
#define VEC static inline __attribute__((always_inline, unused))
#define VEC_LONG VEC
#else
#define VEC static inline __attribute__((unused))
#define VEC_LONG static __attribute__((noinline, unused))
#endif

#if defined(__GNUC__)
#define VEC_RARE static __attribute__((noinline, cold, unused))
#else
#define VEC_RARE static
#endif

#if defined(WEIR_KERN_AVX512)
#include "kernels/vec_avx512.h"
#elif defined(WEIR_KERN_AVX2)
#include "kernels/vec_avx2.h"
#else
#include "kernels/vec_generic.h"
#endif

/* The rest follows from the words above, once for all. */

VEC vf vf_zero(void)
{
	return vf_set1(0.0f);
}
VEC vd vd_zero(void)
{
	return vd_set1(0.0);
}

/* A vector just loaded, kept out of the memory operand of a selection: AVX-512 would read it under the mask, which waits for the mask, and
 * a pass over memory takes half as long again. */
VEC vf vf_loaded(vf v)
{
#if defined(WEIR_KERN_AVX512) && defined(__GNUC__) && defined(__OPTIMIZE__)
	__asm__("" : "+v"(v));
#endif
	return v;
}
VEC vd vd_loaded(vd v)
{
#if defined(WEIR_KERN_AVX512) && defined(__GNUC__) && defined(__OPTIMIZE__)
	__asm__("" : "+v"(v));
#endif
	return v;
}

VEC vf vf_max(vf a, vf b)
{
	return vf_blend(vf_gt(a, b), a, b);
}
VEC vf vf_min(vf a, vf b)
{
	return vf_blend(vf_lt(a, b), a, b);
}
VEC vd vd_max(vd a, vd b)
{
	return vd_blend(vd_gt(a, b), a, b);
}
VEC vd vd_min(vd a, vd b)
{
	return vd_blend(vd_lt(a, b), a, b);
}

VEC vf vf_neg(vf a)
{
	return vf_xor(a, vf_set1(-0.0f));
}
VEC vd vd_neg(vd a)
{
	return vd_xor(a, vd_set1(-0.0));
}
VEC vf vf_abs(vf a)
{
	return vi_as_vf(vi_and(vf_as_vi(a), vi_set1(INT32_MAX)));
}
VEC vd vd_abs(vd a)
{
	return vl_as_vd(vl_and(vd_as_vl(a), vl_set1(INT64_MAX)));
}

VEC vf vf_copysign(vf magnitude, vf sign)
{
	return vf_or(vf_abs(magnitude), vf_and(sign, vf_set1(-0.0f)));
}

VEC vd vd_copysign(vd magnitude, vd sign)
{
	return vd_or(vd_abs(magnitude), vd_and(sign, vd_set1(-0.0)));
}

VEC bool mf_any(mf m)
{
	return mf_bits(m) != 0;
}
VEC bool md_any(md m)
{
	return md_bits(m) != 0;
}
VEC bool mf_all(mf m)
{
	return mf_bits(m) == 0xffffu;
}
VEC bool md_all(md m)
{
	return md_bits(m) == 0xffu;
}

/* 1.5 * 2^52: added to a double below 2^51 it rounds to an integer, which then stands in the low bits. */
#define VD_MAGIC 6755399441055744.0

VEC vd vd_from_small(vl a)
{
	vd magic = vd_set1(VD_MAGIC);

	return vd_sub(vl_as_vd(vl_add(a, vd_as_vl(magic))), magic);
}

#endif
