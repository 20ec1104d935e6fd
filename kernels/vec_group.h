/* Groups: the vectors of double that are worked on side by side.
 *
 * A polynomial is a chain in which each step waits for the one before, four cycles long on most processors, while two steps can begin in each. So the functions
 * of float, which compute in double, are written for a group of vectors, operation by operation: the instructions of one fill the waiting of the others. As many
 * as leave no value without a register; an element's bits don't depend on it.
 *
 *   vg   a group of VG vd: VG_LANES values      mg   its mask
 *
 * Every word does what vec.h says of its vd_ or md_ twin, to each vector. vg_load() and vg_store() read and write floats; idle lanes are `fill`. */
#ifndef WEIR_KERNELS_VEC_GROUP_H
#define WEIR_KERNELS_VEC_GROUP_H

#include "kernels/vec.h"

#if defined(WEIR_KERN_AVX512)
#define VG 4
#define VG_EACH(term, ...)                                                                                     \
	{                                                                                                      \
		{                                                                                              \
			term(0, __VA_ARGS__), term(1, __VA_ARGS__), term(2, __VA_ARGS__), term(3, __VA_ARGS__) \
		}                                                                                              \
	}
#else
#define VG 2
#define VG_EACH(term, ...)                                         \
	{                                                          \
		{                                                  \
			term(0, __VA_ARGS__), term(1, __VA_ARGS__) \
		}                                                  \
	}
#endif
#define VG_LANES (VG * VD_LANES)

typedef struct vg {
	vd v[VG];
} vg;
typedef struct mg {
	md v[VG];
} mg;

#define VG_OF_1(i, f) f(a.v[i])
#define VG_OF_2(i, f) f(a.v[i], b.v[i])
#define VG_OF_3(i, f) f(a.v[i], b.v[i], c.v[i])

/* A function of vectors, made one of groups. */
#define VG_LIFT_1(R, name, f, A)               \
	VEC R name(A a)                        \
	{                                      \
		return (R)VG_EACH(VG_OF_1, f); \
	}
#define VG_LIFT_2(R, name, f, A)               \
	VEC R name(A a, A b)                   \
	{                                      \
		return (R)VG_EACH(VG_OF_2, f); \
	}
#define VG_LIFT_3(R, name, f, A, B)            \
	VEC R name(A a, B b, B c)              \
	{                                      \
		return (R)VG_EACH(VG_OF_3, f); \
	}

VG_LIFT_1(vg, vg_neg, vd_neg, vg)
VG_LIFT_1(vg, vg_abs, vd_abs, vg)
VG_LIFT_2(vg, vg_add, vd_add, vg)
VG_LIFT_2(vg, vg_sub, vd_sub, vg)
VG_LIFT_2(vg, vg_mul, vd_mul, vg)
VG_LIFT_2(vg, vg_div, vd_div, vg)
VG_LIFT_2(vg, vg_min, vd_min, vg)
VG_LIFT_2(vg, vg_max, vd_max, vg)
VG_LIFT_2(vg, vg_copysign, vd_copysign, vg)
VG_LIFT_3(vg, vg_fma, vd_fma, vg, vg)
VG_LIFT_3(vg, vg_fnma, vd_fnma, vg, vg)
VG_LIFT_3(vg, vg_blend, vd_blend, mg, vg)
VG_LIFT_1(mg, vg_isnan, vd_isnan, vg)
VG_LIFT_2(mg, vg_lt, vd_lt, vg)
VG_LIFT_2(mg, vg_eq, vd_eq, vg)
VG_LIFT_2(mg, vg_ne, vd_ne, vg)
VG_LIFT_2(mg, mg_and, md_and, mg)
VG_LIFT_2(mg, mg_or, md_or, mg)

#define VG_SAME(i, f) f
/* The same vector everywhere. */
VEC vg vg_of(vd a)
{
	return (vg)VG_EACH(VG_SAME, a);
}

VEC vg vg_set1(double x)
{
	return vg_of(vd_set1(x));
}

/* Something for each vector, i being its number: loops would keep groups in memory. */
#if VG == 4
#define VG_DO(what)      \
	do {             \
		what(0); \
		what(1); \
		what(2); \
		what(3); \
	} while (0)
#else
#define VG_DO(what)      \
	do {             \
		what(0); \
		what(1); \
	} while (0)
#endif

VEC bool mg_any(mg m)
{
	md any = m.v[0];

#define OR(i) any = md_or(any, m.v[i])
	VG_DO(OR);
#undef OR
	return md_any(any);
}

VEC bool mg_all(mg m)
{
	md all = m.v[0];

#define AND(i) all = md_and(all, m.v[i])
	VG_DO(AND);
#undef AND
	return md_all(all);
}

/* How many of n values fall to vector i. */
VEC int64_t vg_share(int64_t n, int64_t i)
{
	n -= i * VD_LANES;
	return n < 0 ? 0 : n < VD_LANES ? n : VD_LANES;
}

VEC vg vg_load(const float *p)
{
#define LOAD(i, f) f(p + (i)*VD_LANES)
	return (vg)VG_EACH(LOAD, vd_load_f32);
#undef LOAD
}

VEC void vg_store(float *p, vg a)
{
#define STORE(i) vd_store_f32(p + (i)*VD_LANES, a.v[i])
	VG_DO(STORE);
#undef STORE
}

VEC vg vg_load_n(const float *p, int64_t n, float fill)
{
	vg a = vg_set1((double)fill);

#define LOAD(i) \
	if (vg_share(n, i)) a.v[i] = vd_load_f32_n(p + (i)*VD_LANES, vg_share(n, i), fill)
	VG_DO(LOAD);
#undef LOAD
	return a;
}

VEC void vg_store_n(float *p, vg a, int64_t n)
{
#define STORE(i) \
	if (vg_share(n, i)) vd_store_f32_n(p + (i)*VD_LANES, a.v[i], vg_share(n, i))
	VG_DO(STORE);
#undef STORE
}

/* The like for doubles; any n. */
VEC vg vg_load_f64(const double *p, int64_t n, double fill)
{
	vg a = vg_set1(fill);

#define LOAD(i)                                                \
	if (n >= VG_LANES) a.v[i] = vd_load(p + (i)*VD_LANES); \
	else if (vg_share(n, i)) a.v[i] = vd_load_n(p + (i)*VD_LANES, vg_share(n, i), fill)
	VG_DO(LOAD);
#undef LOAD
	return a;
}

VEC void vg_store_f64(double *p, vg a, int64_t n)
{
#define STORE(i)                                               \
	if (n >= VG_LANES) vd_store(p + (i)*VD_LANES, a.v[i]); \
	else if (vg_share(n, i)) vd_store_n(p + (i)*VD_LANES, a.v[i], vg_share(n, i))
	VG_DO(STORE);
#undef STORE
}

VEC vd vd_rounded(vd a)
{
	return vf_to_vd_lo(vd_pair_to_vf(a, a));
}

/* Each value as a float holds it. */
VG_LIFT_1(vg, vg_rounded, vd_rounded, vg)

#endif
