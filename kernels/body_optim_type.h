/* The update kernels for one type: see body_optim.c and vec_type.h. No include guard: it is taken twice. */
#include "kernels/vec_type.h"

#undef I
#undef NAMED
#undef BITS
#undef OF_BITS
#undef MAX_BITS
#if WEIR_REAL_F64
#define I vl
#define NAMED(name) name##_f64
#define BITS vd_as_vl
#define OF_BITS vl_as_vd
#define MAX_BITS vl_max
#else
#define I vi
#define NAMED(name) name##_f32
#define BITS vf_as_vi
#define OF_BITS vi_as_vf
#define MAX_BITS vi_max
#endif

/* The bits of the largest magnitude so far, lane by lane: they compare like the magnitudes, and a NaN's are above all others. */
VEC I NAMED(see)(I top, V x)
{
	return MAX_BITS(top, BITS(VV(abs)(x)));
}

VEC double NAMED(largest_of)(I top)
{
	R lane[LANES], most = 0;

	VV(store)(lane, OF_BITS(top));
	for (int i = 0; i < LANES; i++) {
		if (isnan(lane[i])) return __builtin_nan("");
		most = lane[i] > most ? lane[i] : most;
	}
	return (double)most;
}

VEC V NAMED(get)(const R *p, int64_t n)
{
	return n >= LANES ? VV(load)(p) : VV(load_n)(p, n, 0);
}

VEC void NAMED(put)(R *p, V x, int64_t n)
{
	if (n >= LANES) VV(store)(p, x);
	else VV(store_n)(p, x, n);
}

/* g / norm * limit in f64. The quotient first: it lies in [-1, 1] at every exponent of g. */
VEC V NAMED(clipped)(V g, vd norm, vd limit)
{
#if WEIR_REAL_F64
	return vd_mul(vd_div(g, norm), limit);
#else
	vd lo = vd_mul(vd_div(vf_to_vd_lo(g), norm), limit), hi = vd_mul(vd_div(vf_to_vd_hi(g), norm), limit);

	return vd_pair_to_vf(lo, hi);
#endif
}

void K(clip)(void *x, int64_t n, double norm, double limit)
{
	R *g = x;
	vd by = vd_set1(norm), to = vd_set1(limit);

	for (int64_t i = 0; i < n; i += LANES)
		NAMED(put)(g + i, NAMED(clipped)(NAMED(get)(g + i, n - i), by, to), n - i);
}

/* A step of SGD: what each vector of it needs. */
typedef struct NAMED(sgd) {
	const R *g, *w, *v; /* v: NULL without momentum */
	R *w_out, *v_out;
	V decay, shrink, rate, momentum, gain;
	vd norm, limit;
	bool clip, first, nesterov;
	I w_top, v_top;
} NAMED(sgd);

VEC void NAMED(sgd_at)(NAMED(sgd) * s, int64_t i, int64_t n)
{
	V w = NAMED(get)(s->w + i, n), g = NAMED(get)(s->g + i, n);

	if (s->clip) g = NAMED(clipped)(g, s->norm, s->limit);
	g = VV(fma)(s->decay, w, g);
	if (s->v) {
		V v = s->first ? g : VV(fma)(s->momentum, NAMED(get)(s->v + i, n), VV(mul)(s->gain, g));

		NAMED(put)(s->v_out + i, v, n);
		s->v_top = NAMED(see)(s->v_top, v);
		g = s->nesterov ? VV(fma)(s->momentum, v, g) : v;
	}
	w = VV(fnma)(s->rate, g, VV(mul)(s->shrink, w));
	NAMED(put)(s->w_out + i, w, n);
	s->w_top = NAMED(see)(s->w_top, w);
}

void K(sgd_step)(const weir_update *u, int64_t n, double *largest)
{
	NAMED(sgd)
	s = {
		.g = u->g,
		.w = u->w,
		.v = u->s[0],
		.w_out = u->w_out,
		.v_out = u->s_out[0],
		.decay = VV(set1)((R)u->decay),
		.shrink = VV(set1)((R)u->shrink),
		.rate = VV(set1)((R)u->rate),
		.momentum = VV(set1)((R)u->keep1),
		.gain = VV(set1)((R)u->gain1),
		.norm = vd_set1(u->norm),
		.limit = vd_set1(u->limit),
		.clip = u->norm > 0,
		.first = u->first,
		.nesterov = u->nesterov,
		.w_top = BITS(VV(zero)()),
		.v_top = BITS(VV(zero)()),
	};
	int64_t i = 0;

	for (; n - i >= LANES; i += LANES) NAMED(sgd_at)(&s, i, LANES);
	if (i < n) NAMED(sgd_at)(&s, i, n - i);
	largest[0] = NAMED(largest_of)(s.w_top);
	largest[1] = NAMED(largest_of)(s.v_top);
	largest[2] = 0;
}

/* Outside [LOW, HIGH] squares are taken of values times UP or DOWN, powers of two. */
#if WEIR_REAL_F64
#define HIGH 0x1p480
#define DOWN 0x1p-600
#define LOW 0x1p-400
#define UP 0x1p700
#else
#define HIGH 0x1p60f
#define DOWN 0x1p-80f
#define LOW 0x1p-40f
#define UP 0x1p100f
#endif

/* √(a x² + b y²) for a + b of about 1. */
VEC V NAMED(blend_norm)(V a, V x, V b, V y)
{
	V big = VV(max)(VV(abs)(x), VV(abs)(y)), one = VV(set1)(1);
	M high = VV(gt)(big, VV(set1)(HIGH)), low = VV(lt)(big, VV(set1)(LOW));
	V scale = VV(blend)(high, VV(set1)(DOWN), VV(blend)(low, VV(set1)(UP), one));
	V back = VV(blend)(high, VV(set1)(1 / DOWN), VV(blend)(low, VV(set1)(1 / UP), one));

	x = VV(mul)(x, scale);
	y = VV(mul)(y, scale);
	return VV(mul)(VV(sqrt)(VV(fma)(VV(mul)(a, x), x, VV(mul)(VV(mul)(b, y), y))), back);
}

#undef HIGH
#undef DOWN
#undef LOW
#undef UP

/* A step of Adam: what each vector of it needs. */
typedef struct NAMED(adam) {
	const R *g, *w, *m, *r;
	R *w_out, *m_out, *r_out;
	V decay, shrink, rate, keep1, gain1, keep2, gain2, root, eps;
	vd norm, limit;
	bool clip;
	I w_top, m_top, r_top;
} NAMED(adam);

VEC void NAMED(adam_at)(NAMED(adam) * s, int64_t i, int64_t n)
{
	V w = NAMED(get)(s->w + i, n), g = NAMED(get)(s->g + i, n), m, r, under;

	if (s->clip) g = NAMED(clipped)(g, s->norm, s->limit);
	g = VV(fma)(s->decay, w, g);
	m = VV(fma)(s->keep1, NAMED(get)(s->m + i, n), VV(mul)(s->gain1, g));
	r = NAMED(blend_norm)(s->keep2, NAMED(get)(s->r + i, n), s->gain2, g);
	under = VV(fma)(s->root, r, s->eps);
	under = VV(blend)(VV(eq)(under, VV(zero)()), VV(set1)(1), under);
	w = VV(fnma)(s->rate, VV(div)(m, under), VV(mul)(s->shrink, w));
	NAMED(put)(s->m_out + i, m, n);
	NAMED(put)(s->r_out + i, r, n);
	NAMED(put)(s->w_out + i, w, n);
	s->m_top = NAMED(see)(s->m_top, m);
	s->r_top = NAMED(see)(s->r_top, r);
	s->w_top = NAMED(see)(s->w_top, w);
}

void K(adam_step)(const weir_update *u, int64_t n, double *largest)
{
	NAMED(adam)
	s = {
		.g = u->g,
		.w = u->w,
		.m = u->s[0],
		.r = u->s[1],
		.w_out = u->w_out,
		.m_out = u->s_out[0],
		.r_out = u->s_out[1],
		.decay = VV(set1)((R)u->decay),
		.shrink = VV(set1)((R)u->shrink),
		.rate = VV(set1)((R)u->rate),
		.keep1 = VV(set1)((R)u->keep1),
		.gain1 = VV(set1)((R)u->gain1),
		.keep2 = VV(set1)((R)u->keep2),
		.gain2 = VV(set1)((R)u->gain2),
		.root = VV(set1)((R)u->root),
		.eps = VV(set1)((R)u->eps),
		.norm = vd_set1(u->norm),
		.limit = vd_set1(u->limit),
		.clip = u->norm > 0,
		.w_top = BITS(VV(zero)()),
		.m_top = BITS(VV(zero)()),
		.r_top = BITS(VV(zero)()),
	};
	int64_t i = 0;

	for (; n - i >= LANES; i += LANES) NAMED(adam_at)(&s, i, LANES);
	if (i < n) NAMED(adam_at)(&s, i, n - i);
	largest[0] = NAMED(largest_of)(s.w_top);
	largest[1] = NAMED(largest_of)(s.m_top);
	largest[2] = NAMED(largest_of)(s.r_top);
}
