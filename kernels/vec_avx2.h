/* The vocabulary of kernels/vec.h on AVX2 with FMA: a vector is two registers, .a the lower lanes and .b the upper ones.
 * A mask is a vector whose lanes are all ones or all zeros.
 * Long, because it is one list of small functions. */
#ifndef WEIR_KERNELS_VEC_AVX2_H
#define WEIR_KERNELS_VEC_AVX2_H

#include <immintrin.h>

typedef struct {
	__m256 a, b;
} vf;
typedef struct {
	__m256d a, b;
} vd;
typedef struct {
	__m256i a, b;
} vi;
typedef struct {
	__m256i a, b;
} vl;
typedef struct {
	__m256 a, b;
} mf;
typedef struct {
	__m256d a, b;
} md;

/* The two halves of a function of one or two vectors. */
#define VEC_1(R, name, V, op)                   \
	VEC R name(V x)                         \
	{                                       \
		return (R){ op(x.a), op(x.b) }; \
	}
#define VEC_2(R, name, V, op)                             \
	VEC R name(V x, V y)                              \
	{                                                 \
		return (R){ op(x.a, y.a), op(x.b, y.b) }; \
	}
#define VEC_CMP(R, name, V, op, how)                                \
	VEC R name(V x, V y)                                        \
	{                                                           \
		return (R){ op(x.a, y.a, how), op(x.b, y.b, how) }; \
	}

VEC vf vf_set1(float x)
{
	return (vf){ _mm256_set1_ps(x), _mm256_set1_ps(x) };
}
VEC vd vd_set1(double x)
{
	return (vd){ _mm256_set1_pd(x), _mm256_set1_pd(x) };
}
VEC vi vi_set1(int32_t x)
{
	return (vi){ _mm256_set1_epi32(x), _mm256_set1_epi32(x) };
}
VEC vl vl_set1(int64_t x)
{
	return (vl){ _mm256_set1_epi64x(x), _mm256_set1_epi64x(x) };
}

VEC vi vi_iota(void)
{
	return (vi){ _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15) };
}

VEC vl vl_iota(void)
{
	return (vl){ _mm256_setr_epi64x(0, 1, 2, 3), _mm256_setr_epi64x(4, 5, 6, 7) };
}

VEC vf vi_as_vf(vi x)
{
	return (vf){ _mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b) };
}
VEC vd vl_as_vd(vl x)
{
	return (vd){ _mm256_castsi256_pd(x.a), _mm256_castsi256_pd(x.b) };
}
VEC vi vf_as_vi(vf x)
{
	return (vi){ _mm256_castps_si256(x.a), _mm256_castps_si256(x.b) };
}
VEC vl vd_as_vl(vd x)
{
	return (vl){ _mm256_castpd_si256(x.a), _mm256_castpd_si256(x.b) };
}

VEC_2(vi, vi_add, vi, _mm256_add_epi32)
VEC_2(vi, vi_sub, vi, _mm256_sub_epi32)
VEC_2(vi, vi_and, vi, _mm256_and_si256)
VEC_2(vi, vi_or, vi, _mm256_or_si256)
VEC_2(vi, vi_xor, vi, _mm256_xor_si256)
VEC_2(vi, vi_max, vi, _mm256_max_epi32)
VEC_2(vl, vl_add, vl, _mm256_add_epi64)
VEC_2(vl, vl_sub, vl, _mm256_sub_epi64)
VEC_2(vl, vl_and, vl, _mm256_and_si256)
VEC_2(vl, vl_or, vl, _mm256_or_si256)
VEC_2(vl, vl_xor, vl, _mm256_xor_si256)

VEC vi vi_shl(vi x, int n)
{
	return (vi){ _mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n) };
}
VEC vi vi_shr(vi x, int n)
{
	return (vi){ _mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n) };
}
VEC vi vi_sar(vi x, int n)
{
	return (vi){ _mm256_srai_epi32(x.a, n), _mm256_srai_epi32(x.b, n) };
}
VEC vl vl_shl(vl x, int n)
{
	return (vl){ _mm256_slli_epi64(x.a, n), _mm256_slli_epi64(x.b, n) };
}
VEC vl vl_shr(vl x, int n)
{
	return (vl){ _mm256_srli_epi64(x.a, n), _mm256_srli_epi64(x.b, n) };
}

/* AVX2 has no such shift for 64 bits: flip the sign bit, shift in zeros, and take the flipped bit off again. */
VEC vl vl_sar(vl x, int n)
{
	vl sign = vl_set1(INT64_MIN);

	return vl_sub(vl_shr(vl_xor(x, sign), n), vl_shr(sign, n));
}

VEC mf vi_as_mf(vi x)
{
	return (mf){ _mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b) };
}
VEC md vl_as_md(vl x)
{
	return (md){ _mm256_castsi256_pd(x.a), _mm256_castsi256_pd(x.b) };
}

VEC mf vi_eq(vi x, vi y)
{
	return vi_as_mf((vi){ _mm256_cmpeq_epi32(x.a, y.a), _mm256_cmpeq_epi32(x.b, y.b) });
}
VEC mf vi_gt(vi x, vi y)
{
	return vi_as_mf((vi){ _mm256_cmpgt_epi32(x.a, y.a), _mm256_cmpgt_epi32(x.b, y.b) });
}
VEC md vl_eq(vl x, vl y)
{
	return vl_as_md((vl){ _mm256_cmpeq_epi64(x.a, y.a), _mm256_cmpeq_epi64(x.b, y.b) });
}
VEC md vl_gt(vl x, vl y)
{
	return vl_as_md((vl){ _mm256_cmpgt_epi64(x.a, y.a), _mm256_cmpgt_epi64(x.b, y.b) });
}

VEC mf mf_first(int64_t n)
{
	return vi_gt(vi_set1((int32_t)n), vi_iota());
}
VEC md md_first(int64_t n)
{
	return vl_gt(vl_set1(n), vl_iota());
}

VEC_2(mf, mf_and, mf, _mm256_and_ps)
VEC_2(mf, mf_or, mf, _mm256_or_ps)
VEC_2(mf, mf_xor, mf, _mm256_xor_ps)
VEC_2(md, md_and, md, _mm256_and_pd)
VEC_2(md, md_or, md, _mm256_or_pd)
VEC_2(md, md_xor, md, _mm256_xor_pd)
VEC mf mf_andnot(mf x, mf y)
{
	return (mf){ _mm256_andnot_ps(y.a, x.a), _mm256_andnot_ps(y.b, x.b) };
}
VEC md md_andnot(md x, md y)
{
	return (md){ _mm256_andnot_pd(y.a, x.a), _mm256_andnot_pd(y.b, x.b) };
}
VEC mf mf_not(mf x)
{
	return mf_xor(x, vi_as_mf(vi_set1(-1)));
}
VEC md md_not(md x)
{
	return md_xor(x, vl_as_md(vl_set1(-1)));
}

VEC unsigned mf_bits(mf m)
{
	return (unsigned)_mm256_movemask_ps(m.a) | (unsigned)_mm256_movemask_ps(m.b) << 8;
}
VEC unsigned md_bits(md m)
{
	return (unsigned)_mm256_movemask_pd(m.a) | (unsigned)_mm256_movemask_pd(m.b) << 4;
}

VEC vf vf_blend(mf m, vf x, vf y)
{
	return (vf){ _mm256_blendv_ps(y.a, x.a, m.a), _mm256_blendv_ps(y.b, x.b, m.b) };
}

VEC vd vd_blend(md m, vd x, vd y)
{
	return (vd){ _mm256_blendv_pd(y.a, x.a, m.a), _mm256_blendv_pd(y.b, x.b, m.b) };
}

VEC vi vi_blend(mf m, vi x, vi y)
{
	return vf_as_vi(vf_blend(m, vi_as_vf(x), vi_as_vf(y)));
}
VEC vl vl_blend(md m, vl x, vl y)
{
	return vd_as_vl(vd_blend(m, vl_as_vd(x), vl_as_vd(y)));
}

VEC vl vl_max(vl x, vl y)
{
	return vl_blend(vl_gt(x, y), x, y);
}

VEC vf vf_load(const float *p)
{
	return (vf){ _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8) };
}
VEC vd vd_load(const double *p)
{
	return (vd){ _mm256_loadu_pd(p), _mm256_loadu_pd(p + 4) };
}

VEC vi vi_load(const int32_t *p)
{
	return (vi){ _mm256_loadu_si256((const __m256i *)(const void *)p),
		     _mm256_loadu_si256((const __m256i *)(const void *)(p + 8)) };
}

VEC vl vl_load(const int64_t *p)
{
	return (vl){ _mm256_loadu_si256((const __m256i *)(const void *)p),
		     _mm256_loadu_si256((const __m256i *)(const void *)(p + 4)) };
}

VEC void vf_store(float *p, vf v)
{
	_mm256_storeu_ps(p, v.a);
	_mm256_storeu_ps(p + 8, v.b);
}

VEC void vd_store(double *p, vd v)
{
	_mm256_storeu_pd(p, v.a);
	_mm256_storeu_pd(p + 4, v.b);
}

VEC void vi_store(int32_t *p, vi v)
{
	_mm256_storeu_si256((__m256i *)(void *)p, v.a);
	_mm256_storeu_si256((__m256i *)(void *)(p + 8), v.b);
}

VEC void vl_store(int64_t *p, vl v)
{
	_mm256_storeu_si256((__m256i *)(void *)p, v.a);
	_mm256_storeu_si256((__m256i *)(void *)(p + 4), v.b);
}

VEC __m256 vf_halves(const float *p0, const float *p1)
{
	return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p0)), _mm_loadu_ps(p1), 1);
}

VEC __m256d vd_halves(const double *p0, const double *p1)
{
	return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p0)), _mm_loadu_pd(p1), 1);
}

/* Four columns of eight rows: rows i and 4 + i share a register, and squares of four by four are turned. */
VEC void vec_avx2_turn_f32(__m256 *r, const float *p, int64_t stride)
{
	__m256 x[4], a, b, c, d;

	for (int i = 0; i < 4; i++) x[i] = vf_halves(p + i * stride, p + (4 + i) * stride);
	a = _mm256_unpacklo_ps(x[0], x[1]), b = _mm256_unpacklo_ps(x[2], x[3]);
	c = _mm256_unpackhi_ps(x[0], x[1]), d = _mm256_unpackhi_ps(x[2], x[3]);
	r[0] = _mm256_shuffle_ps(a, b, 0x44);
	r[1] = _mm256_shuffle_ps(a, b, 0xee);
	r[2] = _mm256_shuffle_ps(c, d, 0x44);
	r[3] = _mm256_shuffle_ps(c, d, 0xee);
}

VEC void vf_columns(vf *r, const float *p, int64_t stride)
{
	for (int j = 0; j < 8; j += 4) {
		__m256 upper[4], lower[4];

		vec_avx2_turn_f32(upper, p + j, stride);
		vec_avx2_turn_f32(lower, p + 8 * stride + j, stride);
		for (int i = 0; i < 4; i++) r[j + i] = (vf){ upper[i], lower[i] };
	}
}

/* Two columns of four rows. */
VEC void vec_avx2_turn_f64(__m256d *r, const double *p, int64_t stride)
{
	__m256d x = vd_halves(p, p + 2 * stride), y = vd_halves(p + stride, p + 3 * stride);

	r[0] = _mm256_unpacklo_pd(x, y);
	r[1] = _mm256_unpackhi_pd(x, y);
}

VEC void vd_columns(vd *r, const double *p, int64_t stride)
{
	for (int j = 0; j < 4; j += 2) {
		__m256d upper[2], lower[2];

		vec_avx2_turn_f64(upper, p + j, stride);
		vec_avx2_turn_f64(lower, p + 4 * stride + j, stride);
		for (int i = 0; i < 2; i++) r[j + i] = (vd){ upper[i], lower[i] };
	}
}

VEC vf vf_load_n(const float *p, int64_t n, float fill)
{
	mf m = mf_first(n);
	vf v = { _mm256_maskload_ps(p, _mm256_castps_si256(m.a)), _mm256_maskload_ps(p + 8, _mm256_castps_si256(m.b)) };

	return vf_blend(m, v, vf_set1(fill));
}

VEC vd vd_load_n(const double *p, int64_t n, double fill)
{
	md m = md_first(n);
	vd v = { _mm256_maskload_pd(p, _mm256_castpd_si256(m.a)), _mm256_maskload_pd(p + 4, _mm256_castpd_si256(m.b)) };

	return vd_blend(m, v, vd_set1(fill));
}

VEC void vf_store_n(float *p, vf v, int64_t n)
{
	mf m = mf_first(n);

	_mm256_maskstore_ps(p, _mm256_castps_si256(m.a), v.a);
	_mm256_maskstore_ps(p + 8, _mm256_castps_si256(m.b), v.b);
}

VEC void vd_store_n(double *p, vd v, int64_t n)
{
	md m = md_first(n);

	_mm256_maskstore_pd(p, _mm256_castpd_si256(m.a), v.a);
	_mm256_maskstore_pd(p + 4, _mm256_castpd_si256(m.b), v.b);
}

VEC vd vd_load_f32(const float *p)
{
	return (vd){ _mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4)) };
}

VEC void vd_store_f32(float *p, vd v)
{
	_mm_storeu_ps(p, _mm256_cvtpd_ps(v.a));
	_mm_storeu_ps(p + 4, _mm256_cvtpd_ps(v.b));
}

/* By way of whole vectors in memory: they are the ends of arrays. */
VEC vd vd_load_f32_n(const float *p, int64_t n, float fill)
{
	float f[8] = { fill, fill, fill, fill, fill, fill, fill, fill };

	memcpy(f, p, (size_t)n * sizeof *p);
	return vd_load_f32(f);
}

VEC void vd_store_f32_n(float *p, vd v, int64_t n)
{
	float f[8];

	vd_store_f32(f, v);
	memcpy(p, f, (size_t)n * sizeof *p);
}

VEC_2(vf, vf_add, vf, _mm256_add_ps)
VEC_2(vf, vf_sub, vf, _mm256_sub_ps)
VEC_2(vf, vf_mul, vf, _mm256_mul_ps)
VEC_2(vf, vf_div, vf, _mm256_div_ps)
VEC_1(vf, vf_sqrt, vf, _mm256_sqrt_ps)
VEC_2(vf, vf_and, vf, _mm256_and_ps)
VEC_2(vf, vf_or, vf, _mm256_or_ps)
VEC_2(vf, vf_xor, vf, _mm256_xor_ps)
VEC vf vf_fma(vf x, vf y, vf z)
{
	return (vf){ _mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b) };
}
VEC vf vf_fnma(vf x, vf y, vf z)
{
	return (vf){ _mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b) };
}

VEC_2(vd, vd_add, vd, _mm256_add_pd)
VEC_2(vd, vd_sub, vd, _mm256_sub_pd)
VEC_2(vd, vd_mul, vd, _mm256_mul_pd)
VEC_2(vd, vd_div, vd, _mm256_div_pd)
VEC_1(vd, vd_sqrt, vd, _mm256_sqrt_pd)
VEC_2(vd, vd_and, vd, _mm256_and_pd)
VEC_2(vd, vd_or, vd, _mm256_or_pd)
VEC_2(vd, vd_xor, vd, _mm256_xor_pd)
VEC vd vd_fma(vd x, vd y, vd z)
{
	return (vd){ _mm256_fmadd_pd(x.a, y.a, z.a), _mm256_fmadd_pd(x.b, y.b, z.b) };
}
VEC vd vd_fnma(vd x, vd y, vd z)
{
	return (vd){ _mm256_fnmadd_pd(x.a, y.a, z.a), _mm256_fnmadd_pd(x.b, y.b, z.b) };
}

VEC_CMP(mf, vf_lt, vf, _mm256_cmp_ps, _CMP_LT_OQ)
VEC_CMP(mf, vf_le, vf, _mm256_cmp_ps, _CMP_LE_OQ)
VEC_CMP(mf, vf_gt, vf, _mm256_cmp_ps, _CMP_GT_OQ)
VEC_CMP(mf, vf_ge, vf, _mm256_cmp_ps, _CMP_GE_OQ)
VEC_CMP(mf, vf_eq, vf, _mm256_cmp_ps, _CMP_EQ_OQ)
VEC_CMP(mf, vf_ne, vf, _mm256_cmp_ps, _CMP_NEQ_UQ)
VEC_CMP(md, vd_lt, vd, _mm256_cmp_pd, _CMP_LT_OQ)
VEC_CMP(md, vd_le, vd, _mm256_cmp_pd, _CMP_LE_OQ)
VEC_CMP(md, vd_gt, vd, _mm256_cmp_pd, _CMP_GT_OQ)
VEC_CMP(md, vd_ge, vd, _mm256_cmp_pd, _CMP_GE_OQ)
VEC_CMP(md, vd_eq, vd, _mm256_cmp_pd, _CMP_EQ_OQ)
VEC_CMP(md, vd_ne, vd, _mm256_cmp_pd, _CMP_NEQ_UQ)
VEC mf vf_isnan(vf x)
{
	return vf_ne(x, x);
}
VEC md vd_isnan(vd x)
{
	return vd_ne(x, x);
}

VEC vd vf_to_vd_lo(vf x)
{
	return (vd){ _mm256_cvtps_pd(_mm256_castps256_ps128(x.a)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1)) };
}

VEC vd vf_to_vd_hi(vf x)
{
	return (vd){ _mm256_cvtps_pd(_mm256_castps256_ps128(x.b)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1)) };
}

VEC vf vd_pair_to_vf(vd lo, vd hi)
{
	return (vf){ _mm256_set_m128(_mm256_cvtpd_ps(lo.b), _mm256_cvtpd_ps(lo.a)),
		     _mm256_set_m128(_mm256_cvtpd_ps(hi.b), _mm256_cvtpd_ps(hi.a)) };
}

VEC vf vf_from_vi(vi x)
{
	return (vf){ _mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b) };
}

/* Bytes come and go through a general register; a partial group through a copy of its n bytes. */
VEC mf mf_load_u8(const uint8_t *p)
{
	__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
	vi wide = { _mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8)) };

	return vi_gt(wide, vi_set1(0));
}

VEC md md_load_u8(const uint8_t *p)
{
	__m128i v = _mm_loadl_epi64((const __m128i *)(const void *)p);
	vl wide = { _mm256_cvtepu8_epi64(v), _mm256_cvtepu8_epi64(_mm_srli_si128(v, 4)) };

	return vl_gt(wide, vl_set1(0));
}

VEC mf mf_load_u8_n(const uint8_t *p, int64_t n)
{
	uint8_t b[16] = { 0 };

	memcpy(b, p, (size_t)n);
	return mf_load_u8(b);
}

VEC md md_load_u8_n(const uint8_t *p, int64_t n)
{
	uint8_t b[8] = { 0 };

	memcpy(b, p, (size_t)n);
	return md_load_u8(b);
}

VEC void mf_store_u8(uint8_t *p, mf m)
{
	__m256i a = _mm256_castps_si256(m.a), b = _mm256_castps_si256(m.b);
	__m128i x = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
	__m128i y = _mm_packs_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));

	_mm_storeu_si128((__m128i *)(void *)p, _mm_and_si128(_mm_packs_epi16(x, y), _mm_set1_epi8(1)));
}

VEC void md_store_u8(uint8_t *p, md m)
{
	__m256i a = _mm256_castpd_si256(m.a), b = _mm256_castpd_si256(m.b);
	__m128i x = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
	__m128i y = _mm_packs_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));
	__m128i w = _mm_packs_epi16(_mm_packs_epi32(x, y), _mm_setzero_si128());

	_mm_storel_epi64((__m128i *)(void *)p, _mm_and_si128(w, _mm_set1_epi8(1)));
}

VEC void mf_store_u8_n(uint8_t *p, mf m, int64_t n)
{
	uint8_t b[16];

	mf_store_u8(b, m);
	memcpy(p, b, (size_t)n);
}

VEC void md_store_u8_n(uint8_t *p, md m, int64_t n)
{
	uint8_t b[8];

	md_store_u8(b, m);
	memcpy(p, b, (size_t)n);
}

#undef VEC_1
#undef VEC_2
#undef VEC_CMP

#endif
