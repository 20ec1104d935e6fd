/* The element-wise kernels in one type: included by body_map.c for float and for double.
 *
 * Each is a loop that loads a vector of every input, evaluates an expression of a, b, c and stores it; the last, partial vector goes the same
 * way under a mask, its idle lanes being 1, on which no kernel raises an exception. Because every load of a group comes before its store, y may
 * be one of the inputs itself where the element sizes are equal. */
#include "kernels/vec_type.h"

#define LOAD(from) VV(loaded)(whole ? VV(load)((from) + i) : VV(load_n)((from) + i, n - i, (R)1))
#define LOAD_MASK(from) (whole ? MM(load_u8)((from) + i) : MM(load_u8_n)((from) + i, n - i))
#define STORE(value)                                     \
	do {                                             \
		V result = (value);                      \
		if (whole) VV(store)(to + i, result);    \
		else VV(store_n)(to + i, result, n - i); \
	} while (0)

#define KERNEL(name) void K(map_##name)(void *y, const void *const *x, int64_t n, const double *p)
#define EACH_GROUP for (int64_t i = 0, whole = n >= LANES; i < n; i += LANES, whole = n - i >= LANES)

#define MAP_1(name, expr)               \
	KERNEL(name)                    \
	{                               \
		R *to = y;              \
		const R *x0 = x[0];     \
		(void)p;                \
		EACH_GROUP              \
		{                       \
			V a = LOAD(x0); \
			STORE(expr);    \
		}                       \
	}

#define MAP_2(name, expr)                             \
	KERNEL(name)                                  \
	{                                             \
		R *to = y;                            \
		const R *x0 = x[0], *x1 = x[1];       \
		(void)p;                              \
		EACH_GROUP                            \
		{                                     \
			V a = LOAD(x0), b = LOAD(x1); \
			STORE(expr);                  \
		}                                     \
	}

#define MAP_3(name, expr)                                           \
	KERNEL(name)                                                \
	{                                                           \
		R *to = y;                                          \
		const R *x0 = x[0], *x1 = x[1], *x2 = x[2];         \
		(void)p;                                            \
		EACH_GROUP                                          \
		{                                                   \
			V a = LOAD(x0), b = LOAD(x1), c = LOAD(x2); \
			STORE(expr);                                \
		}                                                   \
	}

#define COMPARE(name)                                               \
	KERNEL(name)                                                \
	{                                                           \
		uint8_t *to = y;                                    \
		const R *x0 = x[0], *x1 = x[1];                     \
		(void)p;                                            \
		EACH_GROUP                                          \
		{                                                   \
			V a = LOAD(x0), b = LOAD(x1);               \
			M result = VV(name)(a, b);                  \
			if (whole) MM(store_u8)(to + i, result);    \
			else MM(store_u8_n)(to + i, result, n - i); \
		}                                                   \
	}

/* ---- forward ---- */

KERNEL(copy)
{
	(void)p;
	if (n > 0 && y != x[0]) memcpy(y, x[0], (size_t)n * sizeof(R));
}

KERNEL(fill)
{
	R *to = y;
	V value = VV(set1)((R)p[0]);

	(void)x;
	EACH_GROUP STORE(value);
}

MAP_2(add, VV(add)(a, b))
MAP_2(sub, VV(sub)(a, b))
MAP_2(mul, VV(mul)(a, b))
MAP_2(div, VV(div)(a, b))
MAP_1(neg, VV(neg)(a))
MAP_1(abs, VV(abs)(a))
MAP_1(sqrt, VV(sqrt)(a))
MAP_1(relu, VV(blend)(VV(le)(a, VV(zero)()), VV(zero)(), a)) /* NaN <= 0 is false: NaN stays */

#if WEIR_REAL_F64 /* those of float: body_map_f32.c */
MAP_1(exp, VV(exp)(a))
MAP_1(log, VV(log)(a))
MAP_1(tanh, VV(tanh)(a))
MAP_1(sigmoid, VV(sigmoid)(a))
MAP_1(erf, VV(erf)(a))
MAP_2(tanh_vjp, VV(tanh_vjp)(a, b))
MAP_2(sigmoid_vjp, VV(sigmoid_vjp)(a, b))
MAP_2(erf_vjp, VV(erf_vjp)(a, b))
MAP_3(norm_vjp, VV(norm_vjp)(a, b, c))
#endif

KERNEL(affine)
{
	R *to = y;
	const R *x0 = x[0];
	V scale = VV(set1)((R)p[0]), shift = VV(set1)((R)p[1]);

	EACH_GROUP
	{
		V a = LOAD(x0);

		STORE(VV(fma)(a, scale, shift));
	}
}

/* A lane that stays what it is takes no part in the product, which could overflow. */
KERNEL(leaky_relu)
{
	R *to = y;
	const R *x0 = x[0];
	V slope = VV(set1)((R)p[0]);

	EACH_GROUP
	{
		V a = LOAD(x0);
		M above = VV(gt)(a, VV(zero)());

		STORE(VV(blend)(above, a, VV(fma)(VV(blend)(above, VV(zero)(), a), slope, VV(zero)())));
	}
}

KERNEL(clamp)
{
	R *to = y;
	const R *x0 = x[0];
	V low = VV(set1)((R)p[0]), high = VV(set1)((R)p[1]);

	EACH_GROUP
	{
		V a = LOAD(x0);

		STORE(VV(blend)(VV(lt)(a, low), low, VV(blend)(VV(gt)(a, high), high, a)));
	}
}

/* The powers that are one operation come out of that operation: it rounds once and is quick. */
static MAP_1(pow_half, VV(sqrt)(VV(blend)(VV(eq)(a, VV(set1)((R)-INFINITY)), VV(set1)((R)INFINITY),
					  VV(add)(a, VV(zero)())))) static MAP_1(pow_minus_1,
										 VV(div)(VV(set1)((R)1),
											 a)) static MAP_1(pow_2,
													  VV(mul)(a, a))

	KERNEL(pow)
{
	R *to = y;
	const R *x0 = x[0];
	pow_plan plan = pow_plan_of(p[0]);

	if (p[0] == 0.0) {
		K(map_fill)(y, x, n, (const double[]){ 1.0 });
	} else if (p[0] == 1.0) {
		K(map_copy)(y, x, n, p);
	} else if (p[0] == 2.0) {
		K(map_pow_2)(y, x, n, p);
	} else if (p[0] == 0.5) {
		K(map_pow_half)(y, x, n, p);
	} else if (p[0] == -1.0) {
		K(map_pow_minus_1)(y, x, n, p);
	} else {
		EACH_GROUP
		{
			V a = LOAD(x0);

			STORE(VV(pow)(a, &plan));
		}
	}
}

/* NaN if either is. Between two equals the bits decide: "and" makes +0 of +0 and -0, "or" makes -0. */
VEC V VV(larger)(V a, V b, bool want_larger)
{
	M a_wins = want_larger ? VV(gt)(a, b) : VV(lt)(a, b);
	V equal = want_larger ? VV(and)(a, b) : VV(or)(a, b);
	V r = VV(blend)(VV(eq)(a, b), equal, VV(blend)(a_wins, a, b));

	return VV(blend)(VV(isnan)(a), a, r);
}

MAP_2(maximum, VV(larger)(a, b, true))
MAP_2(minimum, VV(larger)(a, b, false))

KERNEL(where)
{
	R *to = y;
	const uint8_t *x0 = x[0];
	const R *x1 = x[1], *x2 = x[2];

	(void)p;
	EACH_GROUP
	{
		M c = LOAD_MASK(x0);
		V a = LOAD(x1), b = LOAD(x2);

		STORE(VV(blend)(c, a, b));
	}
}

COMPARE(eq)
COMPARE(ne)
COMPARE(lt)
COMPARE(le)
COMPARE(gt)
COMPARE(ge)

/* ---- gradients: a is gy, b and c what the rule keeps ---- */

/* a / b, 0 where a is 0. */
VEC V VV(quotient_or_0)(V a, V b)
{
	return VV(div)(a, VV(blend)(VV(eq)(a, VV(zero)()), VV(set1)((R)1), b));
}

VEC V VV(abs_vjp)(V gy, V x)
{
	V r = VV(blend)(VV(lt)(x, VV(zero)()), VV(neg)(gy), VV(zero)());

	return VV(blend)(VV(isnan)(x), x, VV(blend)(VV(gt)(x, VV(zero)()), gy, r));
}

VEC V VV(relu_vjp)(V gy, V x)
{
	return VV(blend)(VV(gt)(x, VV(zero)()), gy, VV(blend)(VV(isnan)(x), x, VV(zero)()));
}

/* gy for the one that was taken, half of it for each of two equals. */
VEC V VV(share)(V gy, V a, V b, bool of_larger)
{
	M taken = of_larger ? VV(gt)(a, b) : VV(lt)(a, b), equal = VV(eq)(a, b);
	V half = VV(mul)(VV(blend)(equal, gy, VV(zero)()), VV(set1)((R)0.5));

	return VV(blend)(VV(isnan)(a), a, VV(blend)(VV(isnan)(b), b, VV(blend)(taken, gy, half)));
}

MAP_2(log_vjp, VV(quotient_or_0)(a, b))
MAP_2(sqrt_vjp,
      VV(quotient_or_0)(VV(blend)(VV(eq)(b, VV(zero)()), VV(zero)(), a), VV(add)(b, b))) /* 0 where y is 0, too */
MAP_2(abs_vjp, VV(abs_vjp)(a, b))
MAP_2(not_below, VV(blend)(VV(lt)(a, b), VV(zero)(), VV(set1)((R)1)))
MAP_2(not_above, VV(blend)(VV(gt)(a, b), VV(zero)(), VV(set1)((R)1)))
MAP_2(relu_vjp, VV(relu_vjp)(a, b))
MAP_3(div_vjp_b, VV(div_vjp_b)(a, b, c))
MAP_3(maximum_vjp_a, VV(share)(a, b, c, true))
MAP_3(maximum_vjp_b, VV(share)(a, c, b, true))
MAP_3(minimum_vjp_a, VV(share)(a, b, c, false))
MAP_3(minimum_vjp_b, VV(share)(a, c, b, false))
MAP_3(add_mul, VV(add)(a, VV(mul)(b, c)))

KERNEL(leaky_relu_vjp)
{
	R *to = y;
	const R *x0 = x[0], *x1 = x[1];
	V slope = VV(set1)((R)p[0]);

	EACH_GROUP
	{
		V gy = LOAD(x0), a = LOAD(x1);
		M above = VV(gt)(a, VV(zero)()), none = VV(isnan)(a);
		V below = VV(mul)(VV(blend)(MM(or)(above, none), VV(zero)(), gy), slope);

		STORE(VV(blend)(none, a, VV(blend)(above, gy, below)));
	}
}

KERNEL(clamp_vjp)
{
	R *to = y;
	const R *x0 = x[0], *x1 = x[1];
	V low = VV(set1)((R)p[0]), high = VV(set1)((R)p[1]);

	EACH_GROUP
	{
		V gy = LOAD(x0), a = LOAD(x1);
		M out = MM(or)(VV(lt)(a, low), VV(gt)(a, high));

		STORE(VV(blend)(VV(isnan)(a), a, VV(blend)(out, VV(zero)(), gy)));
	}
}

/* 2 (gy x): 2 x could overflow. */
VEC V VV(pow_2_vjp)(V gy, V x)
{
	V r = VV(mul)(gy, VV(blend)(VV(eq)(gy, VV(zero)()), VV(zero)(), x));

	return VV(add)(r, r);
}

static MAP_2(pow_2_vjp, VV(pow_2_vjp)(a, b))

	KERNEL(pow_vjp)
{
	R *to = y;
	const R *x0 = x[0], *x1 = x[1];
	pow_plan plan = pow_plan_of(p[0] - 1.0);

	if (p[0] == 0.0) {
		K(map_fill)(y, x, n, (const double[]){ 0.0 });
	} else if (p[0] == 2.0) {
		K(map_pow_2_vjp)(y, x, n, p);
	} else {
		EACH_GROUP
		{
			V gy = LOAD(x0), a = LOAD(x1);

			STORE(VV(pow_vjp)(gy, a, p[0], &plan));
		}
	}
}

KERNEL(where_vjp_a)
{
	R *to = y;
	const R *x0 = x[0];
	const uint8_t *x1 = x[1];

	(void)p;
	EACH_GROUP
	{
		V gy = LOAD(x0);
		M c = LOAD_MASK(x1);

		STORE(VV(blend)(c, gy, VV(zero)()));
	}
}

KERNEL(where_vjp_b)
{
	R *to = y;
	const R *x0 = x[0];
	const uint8_t *x1 = x[1];

	(void)p;
	EACH_GROUP
	{
		V gy = LOAD(x0);
		M c = LOAD_MASK(x1);

		STORE(VV(blend)(c, VV(zero)(), gy));
	}
}

#undef LOAD
#undef LOAD_MASK
#undef STORE
#undef KERNEL
#undef EACH_GROUP
#undef MAP_1
#undef MAP_2
#undef MAP_3
#undef COMPARE
