/* body_rows.h: sixteen values at a time as two vd, for float and double alike.
 *
 * `wide` (double) is a constant wherever these functions are called, so each kernel keeps one side of every branch. Float runs
 * in f64 from load to store and rounds there, once. */
#ifndef WEIR_KERNELS_BODY_ROWS_H
#define WEIR_KERNELS_BODY_ROWS_H

#include "kernels/reduce.h"
#include "kernels/vec.h"

/* For functions of some length. Without optimisation each keeps a frame of its own: inlined into one, they would take 200 KB of stack. */
#if defined(__OPTIMIZE__) || !defined(__GNUC__)
#define ROW VEC
#else
#define ROW static __attribute__((unused))
#endif

typedef struct lanes {
	vd lo, hi;
} lanes;

VEC lanes zeros(void)
{
	return (lanes){ vd_zero(), vd_zero() };
}

/* Values at .. at + n - 1 of x; lanes from n on hold fill. */
ROW lanes load(const void *x, int64_t at, int64_t n, double fill, bool wide)
{
	if (wide) {
		const double *p = (const double *)x + at;

		if (n >= 16) return (lanes){ vd_load(p), vd_load(p + 8) };
		if (n > 8) return (lanes){ vd_load(p), vd_load_n(p + 8, n - 8, fill) };
		return (lanes){ vd_load_n(p, n, fill), vd_set1(fill) };
	} else {
		const float *p = (const float *)x + at;
		vf v = n >= 16 ? vf_load(p) : vf_load_n(p, n, (float)fill);

		return (lanes){ vf_to_vd_lo(v), vf_to_vd_hi(v) };
	}
}

ROW void store(void *y, int64_t at, int64_t n, lanes v, bool wide)
{
	if (wide) {
		double *p = (double *)y + at;

		if (n >= 16) {
			vd_store(p, v.lo);
			vd_store(p + 8, v.hi);
		} else {
			vd_store_n(p, v.lo, n < 8 ? n : 8);
			if (n > 8) vd_store_n(p + 8, v.hi, n - 8);
		}
	} else {
		float *p = (float *)y + at;
		vf r = vd_pair_to_vf(v.lo, v.hi);

		if (n >= 16) vf_store(p, r);
		else vf_store_n(p, r, n);
	}
}

/* Stores, or rounds and adds what is there. */
ROW void put(void *y, int64_t at, int64_t n, lanes v, bool add, bool wide)
{
	if (!add) {
		store(y, at, n, v, wide);
	} else if (wide) {
		lanes old = load(y, at, n, 0.0, true);

		store(y, at, n, (lanes){ vd_add(old.lo, v.lo), vd_add(old.hi, v.hi) }, true);
	} else {
		float *p = (float *)y + at;
		vf r = vd_pair_to_vf(v.lo, v.hi);

		if (n >= 16) vf_store(p, vf_add(vf_load(p), r));
		else vf_store_n(p, vf_add(vf_load_n(p, n, 0.0f), r), n);
	}
}

/* Asks for the line at x[at], which need not exist: the next row comes from memory while this one is in work. */
VEC void prefetch(const void *x, int64_t at, bool wide)
{
#if defined(__GNUC__)
	uintptr_t p = (uintptr_t)x + (uintptr_t)at * (wide ? 8 : 4);

	__builtin_prefetch((const void *)p);
	if (wide) __builtin_prefetch((const void *)(p + 64));
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
	for (int64_t i = 0; i < n; i += 16) put(y, i, n - i, (lanes){ vd_set1(v), vd_set1(v) }, add, wide);
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
