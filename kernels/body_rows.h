/* body_rows.h: rows a group at a time (vec_group.h), for float and double alike.
 *
 * `wide` (double) is a constant wherever these functions are called, so each kernel keeps one side of every branch. Float runs
 * in f64 from load to store and rounds there, once. */
#ifndef WEIR_KERNELS_BODY_ROWS_H
#define WEIR_KERNELS_BODY_ROWS_H

#include "kernels/reduce.h"
#include "kernels/vec_group.h"

/* For functions of some length. Without optimisation each keeps a frame of its own: inlined into one, they would take 200 KB of stack. */
#if defined(__OPTIMIZE__) || !defined(__GNUC__)
#define ROW VEC
#else
#define ROW static __attribute__((unused))
#endif

/* The sixteen lanes of a sum (reduce.h). */
typedef struct lanes {
	vd lo, hi;
} lanes;

VEC lanes zeros(void)
{
	return (lanes){ vd_zero(), vd_zero() };
}

/* Values that follow each other in a row go to the lanes in turn. */
VEC void add_up(lanes *s, vg a)
{
#define ADD(i) *((i) % 2 ? &s->hi : &s->lo) = vd_add((i) % 2 ? s->hi : s->lo, a.v[i])
	VG_DO(ADD);
#undef ADD
}

/* a b to each lane, in one rounding. */
VEC void add_products(lanes *s, vg a, vg b)
{
#define ADD(i) *((i) % 2 ? &s->hi : &s->lo) = vd_fma(a.v[i], b.v[i], (i) % 2 ? s->hi : s->lo)
	VG_DO(ADD);
#undef ADD
}

/* Values at .. at + n - 1 of x; lanes from n on hold fill. */
ROW vg load(const void *x, int64_t at, int64_t n, double fill, bool wide)
{
	const float *p = (const float *)x + at;

	if (wide) return vg_load_f64((const double *)x + at, n, fill);
	return n >= VG_LANES ? vg_load(p) : vg_load_n(p, n, (float)fill);
}

ROW void store(void *y, int64_t at, int64_t n, vg a, bool wide)
{
	float *p = (float *)y + at;

	if (wide) vg_store_f64((double *)y + at, a, n);
	else if (n >= VG_LANES) vg_store(p, a);
	else vg_store_n(p, a, n);
}

VEC void add_floats(float *p, int64_t n, vf v)
{
	if (n >= VF_LANES) vf_store(p, vf_add(vf_load(p), v));
	else vf_store_n(p, vf_add(vf_load_n(p, n, 0.0f), v), n);
}

/* Stores, or rounds and adds what is there. */
ROW void put(void *y, int64_t at, int64_t n, vg a, bool add, bool wide)
{
	float *p = (float *)y + at;

	if (add && wide) a = vg_add(load(y, at, n, 0.0, true), a);
	if (!add || wide) {
		store(y, at, n, a, wide);
		return;
	}
#define PUT(i)                                \
	if ((i) % 2 == 0 && n > (i)*VD_LANES) \
	add_floats(p + (i)*VD_LANES, n - (i)*VD_LANES, vd_pair_to_vf(a.v[i], a.v[((i) + 1) % VG]))
	VG_DO(PUT);
#undef PUT
}

/* Asks for the group at x[at], which need not exist: the next row comes from memory while this one is in work. */
VEC void prefetch(const void *x, int64_t at, bool wide)
{
#if defined(__GNUC__)
	uintptr_t p = (uintptr_t)x + (uintptr_t)at * (wide ? 8 : 4);

	for (int line = 0; line < VG_LANES * (wide ? 8 : 4); line += 64)
		__builtin_prefetch((const void *)(p + (uintptr_t)line));
#else
	(void)x, (void)at, (void)wide;
#endif
}

VEC double get(const void *x, int64_t at, bool wide)
{
	return wide ? ((const double *)x)[at] : (double)((const float *)x)[at];
}

VEC void set(void *y, int64_t at, double v, bool wide)
{
	if (wide) ((double *)y)[at] = v;
	else ((float *)y)[at] = (float)v;
}

/* One value everywhere in a row. */
ROW void put_all(void *y, int64_t n, double v, bool add, bool wide)
{
	for (int64_t i = 0; i < n; i += VG_LANES) put(y, i, n - i, vg_set1(v), add, wide);
}

/* One chunk's lanes, added up as reduce.h says. */
VEC double fold(lanes v)
{
	double f[16];

	vd_store(f, v.lo);
	vd_store(f + 8, v.hi);
	return weir__fold(f);
}

/* The first lane of a function of one number. */
VEC double first(vd v)
{
	double f[8];

	vd_store(f, v);
	return f[0];
}

/* The kernel of kern.def in both types, by way of name_rows(..., wide). */
#define ROWS_BOTH(name, params, ...)             \
	void KERN(name##_f32) params             \
	{                                        \
		name##_rows(__VA_ARGS__, false); \
	}                                        \
	void KERN(name##_f64) params             \
	{                                        \
		name##_rows(__VA_ARGS__, true);  \
	}

#endif
