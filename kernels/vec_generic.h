/* The vocabulary of kernels/vec.h in plain C: a vector is an array, an operation a loop of fixed length that the compiler may
 * turn into whatever vectors the target has.
 *
 * A mask lane is all ones or all zeros and selects on the bits, not with ?: on floats, which compilers turn into the
 * target's min and max: on x86 those flush a subnormal where a selection keeps it. Comparisons see 0 in place of a NaN, because
 * compilers make signalling instructions even of the quiet macros of C99. */
#ifndef WEIR_KERNELS_VEC_GENERIC_H
#define WEIR_KERNELS_VEC_GENERIC_H

#include <math.h>

typedef struct {
	float v[VF_LANES];
} vf;
typedef struct {
	double v[VD_LANES];
} vd;
typedef struct {
	int32_t v[VF_LANES];
} vi;
typedef struct {
	int64_t v[VD_LANES];
} vl;
typedef vi mf;
typedef vl md;

#define VEC_EACH(R, lanes, expr)                           \
	R r;                                               \
	for (int i = 0; i < (lanes); i++) r.v[i] = (expr); \
	return r

#define VEC_FLOAT(V, T, I, IT, M, lanes, fma_fn, sqrt_expr)                                  \
	VEC I V##_as_##I(V a)                                                                \
	{                                                                                    \
		I r;                                                                         \
		memcpy(&r, &a, sizeof r);                                                    \
		return r;                                                                    \
	}                                                                                    \
	VEC V I##_as_##V(I a)                                                                \
	{                                                                                    \
		V r;                                                                         \
		memcpy(&r, &a, sizeof r);                                                    \
		return r;                                                                    \
	}                                                                                    \
	VEC V V##_set1(T x)                                                                  \
	{                                                                                    \
		VEC_EACH(V, lanes, x);                                                       \
	}                                                                                    \
	VEC V V##_load(const T *p)                                                           \
	{                                                                                    \
		V r;                                                                         \
		memcpy(&r, p, sizeof r);                                                     \
		return r;                                                                    \
	}                                                                                    \
	VEC void V##_store(T *p, V a)                                                        \
	{                                                                                    \
		memcpy(p, &a, sizeof a);                                                     \
	}                                                                                    \
	VEC V V##_load_n(const T *p, int64_t n, T fill)                                      \
	{                                                                                    \
		VEC_EACH(V, lanes, i < n ? p[i] : fill);                                     \
	}                                                                                    \
	VEC void V##_store_n(T *p, V a, int64_t n)                                           \
	{                                                                                    \
		for (int i = 0; i < n; i++) p[i] = a.v[i];                                   \
	}                                                                                    \
	VEC void V##_columns(V *r, const T *p, int64_t stride)                               \
	{                                                                                    \
		for (int i = 0; i < (lanes); i++)                                            \
			for (int j = 0; j < (lanes) / 2; j++) r[j].v[i] = p[i * stride + j]; \
	}                                                                                    \
	VEC V V##_add(V a, V b)                                                              \
	{                                                                                    \
		VEC_EACH(V, lanes, a.v[i] + b.v[i]);                                         \
	}                                                                                    \
	VEC V V##_sub(V a, V b)                                                              \
	{                                                                                    \
		VEC_EACH(V, lanes, a.v[i] - b.v[i]);                                         \
	}                                                                                    \
	VEC V V##_mul(V a, V b)                                                              \
	{                                                                                    \
		VEC_EACH(V, lanes, a.v[i] * b.v[i]);                                         \
	}                                                                                    \
	VEC V V##_div(V a, V b)                                                              \
	{                                                                                    \
		VEC_EACH(V, lanes, a.v[i] / b.v[i]);                                         \
	}                                                                                    \
	VEC V V##_sqrt(V a)                                                                  \
	{                                                                                    \
		VEC_EACH(V, lanes, sqrt_expr);                                               \
	}                                                                                    \
	VEC_LONG V V##_fma(V a, V b, V c)                                                    \
	{                                                                                    \
		VEC_EACH(V, lanes, fma_fn(a.v[i], b.v[i], c.v[i]));                          \
	}                                                                                    \
	VEC_LONG V V##_fnma(V a, V b, V c)                                                   \
	{                                                                                    \
		VEC_EACH(V, lanes, fma_fn(-a.v[i], b.v[i], c.v[i]));                         \
	}                                                                                    \
	VEC M V##_unordered(V a, V b)                                                        \
	{                                                                                    \
		VEC_EACH(M, lanes, isunordered(a.v[i], b.v[i]) ? -1 : 0);                    \
	}                                                                                    \
	VEC V V##_clear(M m, V a)                                                            \
	{                                                                                    \
		return I##_as_##V(I##_clear(m, V##_as_##I(a)));                              \
	}                                                                                    \
	VEC M V##_ordered_lt(V a, V b)                                                       \
	{                                                                                    \
		VEC_EACH(M, lanes, a.v[i] < b.v[i] ? -1 : 0);                                \
	}                                                                                    \
	VEC M V##_ordered_le(V a, V b)                                                       \
	{                                                                                    \
		VEC_EACH(M, lanes, a.v[i] <= b.v[i] ? -1 : 0);                               \
	}                                                                                    \
	VEC M V##_lt(V a, V b)                                                               \
	{                                                                                    \
		M nan = V##_unordered(a, b);                                                 \
		return V##_ordered_lt(V##_clear(nan, a), V##_clear(nan, b));                 \
	}                                                                                    \
	VEC M V##_le(V a, V b)                                                               \
	{                                                                                    \
		M nan = V##_unordered(a, b);                                                 \
		return I##_clear(nan, V##_ordered_le(V##_clear(nan, a), V##_clear(nan, b))); \
	}                                                                                    \
	VEC M V##_gt(V a, V b)                                                               \
	{                                                                                    \
		return V##_lt(b, a);                                                         \
	}                                                                                    \
	VEC M V##_ge(V a, V b)                                                               \
	{                                                                                    \
		return V##_le(b, a);                                                         \
	}                                                                                    \
	VEC M V##_eq(V a, V b)                                                               \
	{                                                                                    \
		VEC_EACH(M, lanes, a.v[i] == b.v[i] ? -1 : 0);                               \
	}                                                                                    \
	VEC M V##_ne(V a, V b)                                                               \
	{                                                                                    \
		VEC_EACH(M, lanes, a.v[i] == b.v[i] ? 0 : -1);                               \
	}                                                                                    \
	VEC M V##_isnan(V a)                                                                 \
	{                                                                                    \
		return V##_unordered(a, a);                                                  \
	}

#define VEC_INT(I, T, U, lanes)                                             \
	VEC I I##_set1(T x)                                                 \
	{                                                                   \
		VEC_EACH(I, lanes, x);                                      \
	}                                                                   \
	VEC I I##_iota(void)                                                \
	{                                                                   \
		VEC_EACH(I, lanes, i);                                      \
	}                                                                   \
	VEC I I##_load(const T *p)                                          \
	{                                                                   \
		I r;                                                        \
		memcpy(&r, p, sizeof r);                                    \
		return r;                                                   \
	}                                                                   \
	VEC void I##_store(T *p, I a)                                       \
	{                                                                   \
		memcpy(p, &a, sizeof a);                                    \
	}                                                                   \
	VEC I I##_add(I a, I b)                                             \
	{                                                                   \
		VEC_EACH(I, lanes, (T)((U)a.v[i] + (U)b.v[i]));             \
	}                                                                   \
	VEC I I##_sub(I a, I b)                                             \
	{                                                                   \
		VEC_EACH(I, lanes, (T)((U)a.v[i] - (U)b.v[i]));             \
	}                                                                   \
	VEC I I##_and(I a, I b)                                             \
	{                                                                   \
		VEC_EACH(I, lanes, a.v[i] & b.v[i]);                        \
	}                                                                   \
	VEC I I##_or(I a, I b)                                              \
	{                                                                   \
		VEC_EACH(I, lanes, a.v[i] | b.v[i]);                        \
	}                                                                   \
	VEC I I##_xor(I a, I b)                                             \
	{                                                                   \
		VEC_EACH(I, lanes, a.v[i] ^ b.v[i]);                        \
	}                                                                   \
	VEC I I##_max(I a, I b)                                             \
	{                                                                   \
		VEC_EACH(I, lanes, a.v[i] > b.v[i] ? a.v[i] : b.v[i]);      \
	}                                                                   \
	VEC I I##_shl(I a, int n)                                           \
	{                                                                   \
		VEC_EACH(I, lanes, (T)((U)a.v[i] << n));                    \
	}                                                                   \
	VEC I I##_shr(I a, int n)                                           \
	{                                                                   \
		VEC_EACH(I, lanes, (T)((U)a.v[i] >> n));                    \
	}                                                                   \
	VEC I I##_sar(I a, int n)                                           \
	{                                                                   \
		VEC_EACH(I, lanes, a.v[i] >> n);                            \
	}                                                                   \
	VEC I I##_clear(I m, I a)                                           \
	{                                                                   \
		VEC_EACH(I, lanes, a.v[i] & ~m.v[i]);                       \
	}                                                                   \
	VEC I I##_eq(I a, I b)                                              \
	{                                                                   \
		VEC_EACH(I, lanes, a.v[i] == b.v[i] ? -1 : 0);              \
	}                                                                   \
	VEC I I##_gt(I a, I b)                                              \
	{                                                                   \
		VEC_EACH(I, lanes, a.v[i] > b.v[i] ? -1 : 0);               \
	}                                                                   \
	VEC I I##_blend(I m, I a, I b)                                      \
	{                                                                   \
		VEC_EACH(I, lanes, (m.v[i] & a.v[i]) | (~m.v[i] & b.v[i])); \
	}

#define VEC_MASK(M, I, T, lanes)                                                       \
	VEC M M##_first(int64_t n)                                                     \
	{                                                                              \
		VEC_EACH(M, lanes, i < n ? -1 : 0);                                    \
	}                                                                              \
	VEC M M##_and(M a, M b)                                                        \
	{                                                                              \
		return I##_and(a, b);                                                  \
	}                                                                              \
	VEC M M##_or(M a, M b)                                                         \
	{                                                                              \
		return I##_or(a, b);                                                   \
	}                                                                              \
	VEC M M##_xor(M a, M b)                                                        \
	{                                                                              \
		return I##_xor(a, b);                                                  \
	}                                                                              \
	VEC M M##_not(M a)                                                             \
	{                                                                              \
		VEC_EACH(M, lanes, ~a.v[i]);                                           \
	}                                                                              \
	VEC M M##_andnot(M a, M b)                                                     \
	{                                                                              \
		VEC_EACH(M, lanes, a.v[i] & ~b.v[i]);                                  \
	}                                                                              \
	VEC M M##_load_u8(const uint8_t *p)                                            \
	{                                                                              \
		VEC_EACH(M, lanes, p[i] ? -1 : 0);                                     \
	}                                                                              \
	VEC M M##_load_u8_n(const uint8_t *p, int64_t n)                               \
	{                                                                              \
		VEC_EACH(M, lanes, i < n && p[i] ? -1 : 0);                            \
	}                                                                              \
	VEC void M##_store_u8(uint8_t *p, M m)                                         \
	{                                                                              \
		for (int i = 0; i < (lanes); i++) p[i] = (uint8_t)(m.v[i] & 1);        \
	}                                                                              \
	VEC void M##_store_u8_n(uint8_t *p, M m, int64_t n)                            \
	{                                                                              \
		for (int i = 0; i < n; i++) p[i] = (uint8_t)(m.v[i] & 1);              \
	}                                                                              \
	VEC unsigned M##_bits(M m)                                                     \
	{                                                                              \
		unsigned bits = 0;                                                     \
		for (int i = 0; i < (lanes); i++) bits |= (unsigned)(m.v[i] & 1) << i; \
		return bits;                                                           \
	}

#define VEC_SELECT(V, I, M)                                                    \
	VEC V V##_and(V a, V b)                                                \
	{                                                                      \
		return I##_as_##V(I##_and(V##_as_##I(a), V##_as_##I(b)));      \
	}                                                                      \
	VEC V V##_or(V a, V b)                                                 \
	{                                                                      \
		return I##_as_##V(I##_or(V##_as_##I(a), V##_as_##I(b)));       \
	}                                                                      \
	VEC V V##_xor(V a, V b)                                                \
	{                                                                      \
		return I##_as_##V(I##_xor(V##_as_##I(a), V##_as_##I(b)));      \
	}                                                                      \
	VEC V V##_blend(M m, V a, V b)                                         \
	{                                                                      \
		return I##_as_##V(I##_blend(m, V##_as_##I(a), V##_as_##I(b))); \
	}

VEC_INT(vi, int32_t, uint32_t, VF_LANES)
VEC_INT(vl, int64_t, uint64_t, VD_LANES)
/* A float's square root by way of double is correctly rounded (53 >= 2 * 24 + 2). */
VEC_FLOAT(vf, float, vi, int32_t, mf, VF_LANES, fmaf, (float)sqrt((double)a.v[i]))
VEC_FLOAT(vd, double, vl, int64_t, md, VD_LANES, fma, sqrt(a.v[i]))
VEC_MASK(mf, vi, int32_t, VF_LANES)
VEC_MASK(md, vl, int64_t, VD_LANES)
VEC_SELECT(vf, vi, mf)
VEC_SELECT(vd, vl, md)

VEC vd vf_to_vd_lo(vf a)
{
	VEC_EACH(vd, VD_LANES, (double)a.v[i]);
}
VEC vd vf_to_vd_hi(vf a)
{
	VEC_EACH(vd, VD_LANES, (double)a.v[i + VD_LANES]);
}
VEC vd vd_load_f32(const float *p)
{
	VEC_EACH(vd, VD_LANES, (double)p[i]);
}
VEC vd vd_load_f32_n(const float *p, int64_t n, float fill)
{
	VEC_EACH(vd, VD_LANES, (double)(i < n ? p[i] : fill));
}
VEC void vd_store_f32_n(float *p, vd a, int64_t n)
{
	for (int64_t i = 0; i < n; i++) p[i] = (float)a.v[i];
}
VEC void vd_store_f32(float *p, vd a)
{
	vd_store_f32_n(p, a, VD_LANES);
}
VEC vf vf_from_vi(vi a)
{
	VEC_EACH(vf, VF_LANES, (float)a.v[i]);
}

VEC vf vd_pair_to_vf(vd lo, vd hi)
{
	vf r;

	for (int i = 0; i < VD_LANES; i++) {
		r.v[i] = (float)lo.v[i];
		r.v[i + VD_LANES] = (float)hi.v[i];
	}
	return r;
}

#undef VEC_EACH
#undef VEC_FLOAT
#undef VEC_INT
#undef VEC_MASK
#undef VEC_SELECT

#endif
