/* Random numbers, many at once, for one instruction set: see vec.h.
 *
 * The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC 2011): number i of stream s under a
 * seed is a function of (seed, s, i) alone, with no state, no order, nothing that threads could change. Its arithmetic is on integers, so plain
 * loops over lanes, which compilers make vectors of, give the same bits everywhere.
 *
 * The normal distribution's quantile is Wichura's (algorithm AS 241, PPND16, Applied Statistics 37, 1988), relative accuracy about 1e-16: one rational
 * function in the middle, two more of √(-ln p) in the tails. Tails are one number in seven: they are collected, and done together. */
#include "kernels/table.h"

#include "kernels/body_math.h"

enum {
	BLOCKS = 64,
	NUMBERS = 2 * BLOCKS
}; /* worked on at a time; a block of the generator gives two numbers of 64 bits */

/* ---- the generator ---- */

typedef struct philox {
	uint32_t c[4][BLOCKS];
} philox;

static void make(philox *g, uint64_t seed, uint64_t stream, uint64_t block, int n)
{
	uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);

	for (int i = 0; i < n; i++) {
		uint64_t at = block + (uint64_t)i;

		g->c[0][i] = (uint32_t)at;
		g->c[1][i] = (uint32_t)(at >> 32);
		g->c[2][i] = (uint32_t)stream;
		g->c[3][i] = (uint32_t)(stream >> 32);
	}
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < n; i++) {
			uint64_t a = (uint64_t)0xD2511F53u * g->c[0][i], b = (uint64_t)0xCD9E8D57u * g->c[2][i];

			g->c[0][i] = (uint32_t)(b >> 32) ^ g->c[1][i] ^ k0;
			g->c[2][i] = (uint32_t)(a >> 32) ^ g->c[3][i] ^ k1;
			g->c[1][i] = (uint32_t)b;
			g->c[3][i] = (uint32_t)a;
		}
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
}

void KERN(random_blocks)(uint64_t *out, uint64_t seed, uint64_t stream, uint64_t block, int64_t blocks)
{
	philox g;

	for (int64_t at = 0; at < blocks; at += BLOCKS) {
		int n = blocks - at < BLOCKS ? (int)(blocks - at) : BLOCKS;

		make(&g, seed, stream, block + (uint64_t)at, n);
		for (int i = 0; i < n; i++) {
			out[2 * (at + i)] = (uint64_t)g.c[1][i] << 32 | g.c[0][i];
			out[2 * (at + i) + 1] = (uint64_t)g.c[3][i] << 32 | g.c[2][i];
		}
	}
}

/* Numbers first .. first + n - 1, n at most NUMBERS, from where it returns on. */
static const uint64_t *numbers(uint64_t room[NUMBERS + 2], uint64_t seed, uint64_t stream, uint64_t first, int n)
{
	int odd = (int)(first & 1);

	KERN(random_blocks)(room, seed, stream, first >> 1, (odd + n + 1) / 2);
	return room + odd;
}

static int chunk(int64_t left)
{
	return left < NUMBERS ? (int)left : NUMBERS;
}

void KERN(random_uniform)(double *out, uint64_t seed, uint64_t stream, uint64_t first, int64_t n)
{
	uint64_t room[NUMBERS + 2];

	for (int64_t at = 0; at < n; at += NUMBERS) {
		int some = chunk(n - at);
		const uint64_t *bits = numbers(room, seed, stream, first + (uint64_t)at, some);

		for (int i = 0; i < some; i++) out[at + i] = (double)(int64_t)(bits[i] >> 11) * 0x1p-53;
	}
}

/* ---- the quantile ---- */

static const double middle_over[8] = { 3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
				       1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
				       3.3430575583588128105e+4, 2.5090809287301226727e+3 };
static const double middle_under[8] = { 1.0,
					4.2313330701600911252e+1,
					6.8718700749205790830e+2,
					5.3941960214247511077e+3,
					2.1213794301586595867e+4,
					3.9307895800092710610e+4,
					2.8729085735721942674e+4,
					5.2264952788528545610e+3 };
static const double tail_over[8] = { 1.42343711074968357734e0,  4.63033784615654529590e0, 5.76949722146069140550e0,
				     3.64784832476320460504e0,  1.27045825245236838258e0, 2.41780725177450611770e-1,
				     2.27238449892691845833e-2, 7.74545014278341407640e-4 };
static const double tail_under[8] = { 1.0,
				      2.05319162663775882187e0,
				      1.67638483018380384940e0,
				      6.89767334985100004550e-1,
				      1.48103976427480074590e-1,
				      1.51986665636164571966e-2,
				      5.47593808499534494600e-4,
				      1.05075007164441684324e-9 };
static const double far_over[8] = { 6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
				    2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
				    2.71155556874348757815e-5, 2.01033439929228813265e-7 };
static const double far_under[8] = { 1.0,
				     5.99832206555887937690e-1,
				     1.36929880922735805310e-1,
				     1.48753612908506148525e-2,
				     7.86869131145613259100e-4,
				     1.84631831751005468180e-5,
				     1.42151175831644588870e-7,
				     2.04426310338993978564e-15 };

VEC_LONG vd polynomial(const double *c, vd x)
{
	vd y = vd_set1(c[7]);

	for (int i = 6; i >= 0; i--) y = vd_add(vd_mul(y, x), vd_set1(c[i]));
	return y;
}

/* Of p in one of the tails, without its sign. */
VEC_LONG vd tail_quantile(vd p)
{
	vd r = vd_sqrt(vd_neg(vd_log(p))), near_by = vd_sub(r, vd_set1(1.6)), beyond = vd_sub(r, vd_set1(5.0));
	md far = vd_gt(r, vd_set1(5.0));
	vd x = vd_div(polynomial(tail_over, near_by), polynomial(tail_under, near_by));

	if (!md_any(far)) return x;
	beyond = vd_blend(far, beyond, vd_zero());
	return vd_blend(far, vd_div(polynomial(far_over, beyond), polynomial(far_under, beyond)), x);
}

/* y and p have room for n rounded up to whole vectors; p is filled up with what lies between 0 and 1. */
static void quantile(double *y, const double *p, int n)
{
	double tail[NUMBERS + VD_LANES];
	int place[NUMBERS + VD_LANES], tails = 0;

	for (int i = 0; i < n; i += VD_LANES) {
		vd q = vd_sub(vd_load(p + i), vd_set1(0.5));
		md middle = vd_le(vd_abs(q), vd_set1(0.425));
		vd r = vd_blend(middle, vd_sub(vd_set1(0.180625), vd_mul(q, q)), vd_zero());

		vd_store(y + i, vd_mul(q, vd_div(polynomial(middle_over, r), polynomial(middle_under, r))));
		for (unsigned bits = ~md_bits(middle) & 0xffu; bits; bits &= bits - 1) {
			int at = i + __builtin_ctz(bits);

			place[tails] = at;
			tail[tails++] = p[at] < 0.5 ? p[at] : 1 - p[at];
		}
	}
	for (int i = tails; i < tails + VD_LANES; i++) tail[i] = 0.01;
	for (int i = 0; i < tails; i += VD_LANES) vd_store(tail + i, tail_quantile(vd_load(tail + i)));
	for (int i = 0; i < tails; i++) y[place[i]] = p[place[i]] < 0.5 ? -tail[i] : tail[i];
}

void KERN(normal_quantile)(double *y, const double *p, int64_t n)
{
	double in[NUMBERS + VD_LANES], out[NUMBERS + VD_LANES];

	for (int64_t at = 0; at < n; at += NUMBERS) {
		int some = chunk(n - at);

		memcpy(in, p + at, (size_t)some * sizeof *in);
		for (int i = some; i < some + VD_LANES; i++) in[i] = 0.5;
		quantile(out, in, some);
		memcpy(y + at, out, (size_t)some * sizeof *out);
	}
}

void KERN(random_normal)(double *out, uint64_t seed, uint64_t stream, uint64_t first, int64_t n)
{
	double p[NUMBERS + VD_LANES], y[NUMBERS + VD_LANES];
	uint64_t room[NUMBERS + 2];

	for (int64_t at = 0; at < n; at += NUMBERS) {
		int some = chunk(n - at);
		const uint64_t *bits = numbers(room, seed, stream, first + (uint64_t)at, some);

		for (int i = 0; i < some; i++) p[i] = ((double)(int64_t)(bits[i] >> 12) + 0.5) * 0x1p-52;
		for (int i = some; i < some + VD_LANES; i++) p[i] = 0.5;
		quantile(y, p, some);
		memcpy(out + at, y, (size_t)some * sizeof *out);
	}
}
