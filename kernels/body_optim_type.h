/* The update kernels for one type: see body_optim.c and vec_type.h. No include guard: it is taken twice. */
#include "kernels/vec_type.h"

#undef TOP
#undef NAMED
#if WEIR_REAL_F64
#define NAMED(name) name##_f64
#define TOP top_f64
#else
#define NAMED(name) name##_f32
#define TOP top_f32
#endif

/* The largest magnitude so far, lane by lane, and where a NaN was seen. */
typedef struct TOP {
	V most;
	M nan;
} TOP;

VEC TOP NAMED(see)(TOP t, V x)
{
	x = VV(abs)(x);
	t.nan = MM(or)(t.nan, VV(isnan)(x));
	t.most = VV(max)(x, t.most);
	return t;
}

VEC double NAMED(largest_of)(TOP t)
{
	R lane[LANES], most = 0;

	if (MM(any)(t.nan)) return __builtin_nan("");
	VV(store)(lane, t.most);
	for (int i = 0; i < LANES; i++) most = lane[i] > most ? lane[i] : most;
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

void K(sgd_step)(const weir_update *u, int64_t n, double *largest)
{
	const R *gs = u->g, *ws = u->w, *vs = u->s[0];
	R *ws_out = u->w_out, *vs_out = u->s_out[0];
	V decay = VV(set1)((R)u->decay), shrink = VV(set1)((R)u->shrink), rate = VV(set1)((R)u->rate);
	V momentum = VV(set1)((R)u->keep1), gain = VV(set1)((R)u->gain1);
	vd norm = vd_set1(u->norm), limit = vd_set1(u->limit);
	TOP w_top = { VV(zero)(), MM(first)(0) }, v_top = w_top;

	for (int64_t i = 0; i < n; i += LANES) {
		V w = NAMED(get)(ws + i, n - i), g = NAMED(get)(gs + i, n - i);

		if (u->norm > 0) g = NAMED(clipped)(g, norm, limit);
		g = VV(fma)(decay, w, g);
		if (vs) {
			V v = u->first ? g : VV(fma)(momentum, NAMED(get)(vs + i, n - i), VV(mul)(gain, g));

			NAMED(put)(vs_out + i, v, n - i);
			v_top = NAMED(see)(v_top, v);
			g = u->nesterov ? VV(fma)(momentum, v, g) : v;
		}
		w = VV(fnma)(rate, g, VV(mul)(shrink, w));
		NAMED(put)(ws_out + i, w, n - i);
		w_top = NAMED(see)(w_top, w);
	}
	largest[0] = NAMED(largest_of)(w_top);
	largest[1] = NAMED(largest_of)(v_top);
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

void K(adam_step)(const weir_update *u, int64_t n, double *largest)
{
	const R *gs = u->g, *ws = u->w, *ms = u->s[0], *rs = u->s[1];
	R *ws_out = u->w_out, *ms_out = u->s_out[0], *rs_out = u->s_out[1];
	V decay = VV(set1)((R)u->decay), shrink = VV(set1)((R)u->shrink), rate = VV(set1)((R)u->rate);
	V keep1 = VV(set1)((R)u->keep1), gain1 = VV(set1)((R)u->gain1), keep2 = VV(set1)((R)u->keep2);
	V gain2 = VV(set1)((R)u->gain2), root = VV(set1)((R)u->root), eps = VV(set1)((R)u->eps);
	vd norm = vd_set1(u->norm), limit = vd_set1(u->limit);
	TOP w_top = { VV(zero)(), MM(first)(0) }, m_top = w_top, r_top = w_top;

	for (int64_t i = 0; i < n; i += LANES) {
		V w = NAMED(get)(ws + i, n - i), g = NAMED(get)(gs + i, n - i), m, r, under;

		if (u->norm > 0) g = NAMED(clipped)(g, norm, limit);
		g = VV(fma)(decay, w, g);
		m = VV(fma)(keep1, NAMED(get)(ms + i, n - i), VV(mul)(gain1, g));
		r = NAMED(blend_norm)(keep2, NAMED(get)(rs + i, n - i), gain2, g);
		under = VV(fma)(root, r, eps);
		under = VV(blend)(VV(eq)(under, VV(zero)()), VV(set1)(1), under);
		w = VV(fnma)(rate, VV(div)(m, under), VV(mul)(shrink, w));
		NAMED(put)(ms_out + i, m, n - i);
		NAMED(put)(rs_out + i, r, n - i);
		NAMED(put)(ws_out + i, w, n - i);
		m_top = NAMED(see)(m_top, m);
		r_top = NAMED(see)(r_top, r);
		w_top = NAMED(see)(w_top, w);
	}
	largest[0] = NAMED(largest_of)(w_top);
	largest[1] = NAMED(largest_of)(m_top);
	largest[2] = NAMED(largest_of)(r_top);
}
