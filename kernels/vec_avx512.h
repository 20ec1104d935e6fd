/* The vocabulary of kernels/vec.h on AVX-512 (F, DQ, BW, VL): one register per vector, mask registers for masks.
 * Shifts are macros, because without optimisation the compiler wants to see the constant.
 * Long, because it is one list of small functions. */
#ifndef WEIR_KERNELS_VEC_AVX512_H
#define WEIR_KERNELS_VEC_AVX512_H

#include <immintrin.h>

typedef __m512 vf;
typedef __m512d vd;
typedef __m512i vi;
typedef __m512i vl;
typedef __mmask16 mf;
typedef __mmask8 md;

VEC vf vf_set1(float x)
{
	return _mm512_set1_ps(x);
}
VEC vd vd_set1(double x)
{
	return _mm512_set1_pd(x);
}
VEC vi vi_set1(int32_t x)
{
	return _mm512_set1_epi32(x);
}
VEC vl vl_set1(int64_t x)
{
	return _mm512_set1_epi64(x);
}
VEC vi vi_iota(void)
{
	return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
VEC vl vl_iota(void)
{
	return _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
}

VEC mf mf_first(int64_t n)
{
	return (mf)((1u << n) - 1u);
}
VEC md md_first(int64_t n)
{
	return (md)((1u << n) - 1u);
}

VEC vf vf_load(const float *p)
{
	return _mm512_loadu_ps(p);
}
VEC vd vd_load(const double *p)
{
	return _mm512_loadu_pd(p);
}
VEC vi vi_load(const int32_t *p)
{
	return _mm512_loadu_si512(p);
}
VEC vl vl_load(const int64_t *p)
{
	return _mm512_loadu_si512(p);
}
VEC void vf_store(float *p, vf v)
{
	_mm512_storeu_ps(p, v);
}
VEC void vd_store(double *p, vd v)
{
	_mm512_storeu_pd(p, v);
}
VEC void vi_store(int32_t *p, vi v)
{
	_mm512_storeu_si512(p, v);
}
VEC void vl_store(int64_t *p, vl v)
{
	_mm512_storeu_si512(p, v);
}

VEC vf vf_load_n(const float *p, int64_t n, float fill)
{
	return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mf_first(n), p);
}

VEC vd vd_load_n(const double *p, int64_t n, double fill)
{
	return _mm512_mask_loadu_pd(_mm512_set1_pd(fill), md_first(n), p);
}

VEC void vf_store_n(float *p, vf v, int64_t n)
{
	_mm512_mask_storeu_ps(p, mf_first(n), v);
}
VEC void vd_store_n(double *p, vd v, int64_t n)
{
	_mm512_mask_storeu_pd(p, md_first(n), v);
}

VEC vd vd_load_f32(const float *p)
{
	return _mm512_cvtps_pd(_mm256_loadu_ps(p));
}
VEC vd vd_load_f32_n(const float *p, int64_t n, float fill)
{
	return _mm512_cvtps_pd(_mm256_mask_loadu_ps(_mm256_set1_ps(fill), md_first(n), p));
}
VEC void vd_store_f32(float *p, vd v)
{
	_mm256_storeu_ps(p, _mm512_cvtpd_ps(v));
}
VEC void vd_store_f32_n(float *p, vd v, int64_t n)
{
	_mm256_mask_storeu_ps(p, md_first(n), _mm512_cvtpd_ps(v));
}

/* Rows i and 8 + i share a register; squares of four by four are turned, then put in their places. */
VEC void vf_columns(vf *r, const float *p, int64_t stride)
{
	const __m512i left = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
	const __m512i right = _mm512_setr_epi32(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
	vf x[8];

	for (int i = 0; i < 8; i++, p += stride)
		x[i] = _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(p)), _mm256_loadu_ps(p + 8 * stride),
					  1);
	for (vf *q = x; q < x + 8; q += 4) {
		vf a = _mm512_unpacklo_ps(q[0], q[1]), b = _mm512_unpacklo_ps(q[2], q[3]);
		vf c = _mm512_unpackhi_ps(q[0], q[1]), d = _mm512_unpackhi_ps(q[2], q[3]);

		q[0] = _mm512_shuffle_ps(a, b, 0x44);
		q[1] = _mm512_shuffle_ps(a, b, 0xee);
		q[2] = _mm512_shuffle_ps(c, d, 0x44);
		q[3] = _mm512_shuffle_ps(c, d, 0xee);
	}
	for (int j = 0; j < 4; j++) {
		r[j] = _mm512_permutex2var_ps(x[j], left, x[4 + j]);
		r[4 + j] = _mm512_permutex2var_ps(x[j], right, x[4 + j]);
	}
}

VEC void vd_columns(vd *r, const double *p, int64_t stride)
{
	const __m512i left = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
	const __m512i right = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
	vd x[4], y[4];

	for (int i = 0; i < 4; i++, p += stride)
		x[i] = _mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_loadu_pd(p)), _mm256_loadu_pd(p + 4 * stride),
					  1);
	for (int i = 0; i < 4; i += 2) {
		y[i] = _mm512_unpacklo_pd(x[i], x[i + 1]);
		y[i + 1] = _mm512_unpackhi_pd(x[i], x[i + 1]);
	}
	for (int j = 0; j < 2; j++) {
		r[j] = _mm512_permutex2var_pd(y[j], left, y[2 + j]);
		r[2 + j] = _mm512_permutex2var_pd(y[j], right, y[2 + j]);
	}
}

VEC vf vf_add(vf a, vf b)
{
	return _mm512_add_ps(a, b);
}
VEC vf vf_sub(vf a, vf b)
{
	return _mm512_sub_ps(a, b);
}
VEC vf vf_mul(vf a, vf b)
{
	return _mm512_mul_ps(a, b);
}
VEC vf vf_div(vf a, vf b)
{
	return _mm512_div_ps(a, b);
}
VEC vf vf_sqrt(vf a)
{
	return _mm512_sqrt_ps(a);
}
VEC vf vf_fma(vf a, vf b, vf c)
{
	return _mm512_fmadd_ps(a, b, c);
}
VEC vf vf_fnma(vf a, vf b, vf c)
{
	return _mm512_fnmadd_ps(a, b, c);
}
VEC vf vf_and(vf a, vf b)
{
	return _mm512_and_ps(a, b);
}
VEC vf vf_or(vf a, vf b)
{
	return _mm512_or_ps(a, b);
}
VEC vf vf_xor(vf a, vf b)
{
	return _mm512_xor_ps(a, b);
}

VEC vd vd_add(vd a, vd b)
{
	return _mm512_add_pd(a, b);
}
VEC vd vd_sub(vd a, vd b)
{
	return _mm512_sub_pd(a, b);
}
VEC vd vd_mul(vd a, vd b)
{
	return _mm512_mul_pd(a, b);
}
VEC vd vd_div(vd a, vd b)
{
	return _mm512_div_pd(a, b);
}
VEC vd vd_sqrt(vd a)
{
	return _mm512_sqrt_pd(a);
}
VEC vd vd_fma(vd a, vd b, vd c)
{
	return _mm512_fmadd_pd(a, b, c);
}
VEC vd vd_fnma(vd a, vd b, vd c)
{
	return _mm512_fnmadd_pd(a, b, c);
}
VEC vd vd_and(vd a, vd b)
{
	return _mm512_and_pd(a, b);
}
VEC vd vd_or(vd a, vd b)
{
	return _mm512_or_pd(a, b);
}
VEC vd vd_xor(vd a, vd b)
{
	return _mm512_xor_pd(a, b);
}

VEC mf vf_lt(vf a, vf b)
{
	return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
VEC mf vf_le(vf a, vf b)
{
	return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
}
VEC mf vf_gt(vf a, vf b)
{
	return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
VEC mf vf_ge(vf a, vf b)
{
	return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}
VEC mf vf_eq(vf a, vf b)
{
	return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
VEC mf vf_ne(vf a, vf b)
{
	return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ);
}
VEC mf vf_isnan(vf a)
{
	return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
}

VEC md vd_lt(vd a, vd b)
{
	return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ);
}
VEC md vd_le(vd a, vd b)
{
	return _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ);
}
VEC md vd_gt(vd a, vd b)
{
	return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ);
}
VEC md vd_ge(vd a, vd b)
{
	return _mm512_cmp_pd_mask(a, b, _CMP_GE_OQ);
}
VEC md vd_eq(vd a, vd b)
{
	return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ);
}
VEC md vd_ne(vd a, vd b)
{
	return _mm512_cmp_pd_mask(a, b, _CMP_NEQ_UQ);
}
VEC md vd_isnan(vd a)
{
	return _mm512_cmp_pd_mask(a, a, _CMP_UNORD_Q);
}

VEC vf vf_blend(mf m, vf a, vf b)
{
	return _mm512_mask_blend_ps(m, b, a);
}
VEC vd vd_blend(md m, vd a, vd b)
{
	return _mm512_mask_blend_pd(m, b, a);
}
VEC vi vi_blend(mf m, vi a, vi b)
{
	return _mm512_mask_blend_epi32(m, b, a);
}
VEC vl vl_blend(md m, vl a, vl b)
{
	return _mm512_mask_blend_epi64(m, b, a);
}

VEC mf mf_and(mf a, mf b)
{
	return (mf)(a & b);
}
VEC mf mf_or(mf a, mf b)
{
	return (mf)(a | b);
}
VEC mf mf_xor(mf a, mf b)
{
	return (mf)(a ^ b);
}
VEC mf mf_not(mf a)
{
	return (mf)~a;
}
VEC mf mf_andnot(mf a, mf b)
{
	return (mf)(a & ~b);
}
VEC unsigned mf_bits(mf m)
{
	return m;
}

VEC md md_and(md a, md b)
{
	return (md)(a & b);
}
VEC md md_or(md a, md b)
{
	return (md)(a | b);
}
VEC md md_xor(md a, md b)
{
	return (md)(a ^ b);
}
VEC md md_not(md a)
{
	return (md)~a;
}
VEC md md_andnot(md a, md b)
{
	return (md)(a & ~b);
}
VEC unsigned md_bits(md m)
{
	return m;
}

VEC mf mf_load_u8(const uint8_t *p)
{
	__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);

	return _mm_test_epi8_mask(v, v);
}

VEC mf mf_load_u8_n(const uint8_t *p, int64_t n)
{
	__m128i v = _mm_maskz_loadu_epi8(mf_first(n), p);

	return _mm_test_epi8_mask(v, v);
}

VEC md md_load_u8_n(const uint8_t *p, int64_t n)
{
	__m128i v = _mm_maskz_loadu_epi8((__mmask16)md_first(n), p);

	return (md)_mm_test_epi8_mask(v, v);
}

VEC md md_load_u8(const uint8_t *p)
{
	return md_load_u8_n(p, 8);
}

VEC void mf_store_u8(uint8_t *p, mf m)
{
	_mm_storeu_si128((__m128i *)(void *)p, _mm_maskz_set1_epi8(m, 1));
}

VEC void mf_store_u8_n(uint8_t *p, mf m, int64_t n)
{
	_mm_mask_storeu_epi8(p, mf_first(n), _mm_maskz_set1_epi8(m, 1));
}

VEC void md_store_u8_n(uint8_t *p, md m, int64_t n)
{
	_mm_mask_storeu_epi8(p, (__mmask16)md_first(n), _mm_maskz_set1_epi8((__mmask16)m, 1));
}

VEC void md_store_u8(uint8_t *p, md m)
{
	md_store_u8_n(p, m, 8);
}

VEC vd vf_to_vd_lo(vf a)
{
	return _mm512_cvtps_pd(_mm512_castps512_ps256(a));
}
VEC vd vf_to_vd_hi(vf a)
{
	return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
}

VEC vf vd_pair_to_vf(vd lo, vd hi)
{
	return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(lo)), _mm512_cvtpd_ps(hi), 1);
}

VEC vf vf_from_vi(vi a)
{
	return _mm512_cvtepi32_ps(a);
}

VEC vi vf_as_vi(vf a)
{
	return _mm512_castps_si512(a);
}
VEC vf vi_as_vf(vi a)
{
	return _mm512_castsi512_ps(a);
}
VEC vl vd_as_vl(vd a)
{
	return _mm512_castpd_si512(a);
}
VEC vd vl_as_vd(vl a)
{
	return _mm512_castsi512_pd(a);
}

VEC vi vi_add(vi a, vi b)
{
	return _mm512_add_epi32(a, b);
}
VEC vi vi_sub(vi a, vi b)
{
	return _mm512_sub_epi32(a, b);
}
VEC vi vi_and(vi a, vi b)
{
	return _mm512_and_si512(a, b);
}
VEC vi vi_or(vi a, vi b)
{
	return _mm512_or_si512(a, b);
}
VEC vi vi_xor(vi a, vi b)
{
	return _mm512_xor_si512(a, b);
}
VEC vi vi_max(vi a, vi b)
{
	return _mm512_max_epi32(a, b);
}
VEC mf vi_eq(vi a, vi b)
{
	return _mm512_cmpeq_epi32_mask(a, b);
}
VEC mf vi_gt(vi a, vi b)
{
	return _mm512_cmpgt_epi32_mask(a, b);
}
#define vi_shl(v, n) _mm512_slli_epi32((v), (n))
#define vi_shr(v, n) _mm512_srli_epi32((v), (n))
#define vi_sar(v, n) _mm512_srai_epi32((v), (n))

VEC vl vl_add(vl a, vl b)
{
	return _mm512_add_epi64(a, b);
}
VEC vl vl_sub(vl a, vl b)
{
	return _mm512_sub_epi64(a, b);
}
VEC vl vl_and(vl a, vl b)
{
	return _mm512_and_si512(a, b);
}
VEC vl vl_or(vl a, vl b)
{
	return _mm512_or_si512(a, b);
}
VEC vl vl_xor(vl a, vl b)
{
	return _mm512_xor_si512(a, b);
}
VEC vl vl_max(vl a, vl b)
{
	return _mm512_max_epi64(a, b);
}
VEC md vl_eq(vl a, vl b)
{
	return _mm512_cmpeq_epi64_mask(a, b);
}
VEC md vl_gt(vl a, vl b)
{
	return _mm512_cmpgt_epi64_mask(a, b);
}
#define vl_shl(v, n) _mm512_slli_epi64((v), (n))
#define vl_shr(v, n) _mm512_srli_epi64((v), (n))
#define vl_sar(v, n) _mm512_srai_epi64((v), (n))

#endif
