/* random.c: counter-based random numbers, Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC 2011).
 *
 * Number i of stream s under a seed is a function of (seed, s, i) alone: no state, no order, nothing that threads could change. */
#include "engine/context.h"
#include "kernels/cpu.h"
#include "engine/random.h"

void weir__philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
	uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];

	for (int round = 0; round < 10; round++) {
		uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;

		c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
		c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
		c1 = (uint32_t)b;
		c3 = (uint32_t)a;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

uint64_t weir_random_stream(weir_ctx *w)
{
	return weir_ok(w) ? w->streams++ : 0;
}

/* Each block of the generator gives two numbers of 64 bits. */
uint64_t weir_random_bits(const weir_ctx *w, uint64_t stream, uint64_t index)
{
	uint64_t seed = w->options.seed, block = index >> 1;
	uint32_t counter[4] = { (uint32_t)block, (uint32_t)(block >> 32), (uint32_t)stream, (uint32_t)(stream >> 32) };
	uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) }, out[4];
	unsigned half = (unsigned)(index & 1) * 2;

	weir__philox(counter, key, out);
	return (uint64_t)out[half + 1] << 32 | out[half];
}

double weir_random_uniform(const weir_ctx *w, uint64_t stream, uint64_t index)
{
	return (double)(weir_random_bits(w, stream, index) >> 11) * 0x1p-53;
}

static double polynomial(const double *c, int n, double x)
{
	double y = c[n - 1];

	for (int i = n - 2; i >= 0; i--) y = y * x + c[i];
	return y;
}

static double natural_log(double x)
{
	const void *in[1] = { &x };
	double y;

	weir__kernels()->map[WEIR_MAP_log][1](&y, in, 1, NULL);
	return y;
}

/* The normal distribution's quantile (Wichura, algorithm AS 241, PPND16, Applied Statistics 37, 1988), relative accuracy about 1e-16. */
double weir__normal_quantile(double p)
{
	static const double a[8] = { 3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
				     1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
				     3.3430575583588128105e+4, 2.5090809287301226727e+3 };
	static const double b[8] = { 1.0,
				     4.2313330701600911252e+1,
				     6.8718700749205790830e+2,
				     5.3941960214247511077e+3,
				     2.1213794301586595867e+4,
				     3.9307895800092710610e+4,
				     2.8729085735721942674e+4,
				     5.2264952788528545610e+3 };
	static const double c[8] = { 1.42343711074968357734e0,  4.63033784615654529590e0, 5.76949722146069140550e0,
				     3.64784832476320460504e0,  1.27045825245236838258e0, 2.41780725177450611770e-1,
				     2.27238449892691845833e-2, 7.74545014278341407640e-4 };
	static const double d[8] = { 1.0,
				     2.05319162663775882187e0,
				     1.67638483018380384940e0,
				     6.89767334985100004550e-1,
				     1.48103976427480074590e-1,
				     1.51986665636164571966e-2,
				     5.47593808499534494600e-4,
				     1.05075007164441684324e-9 };
	static const double e[8] = { 6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
				     2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
				     2.71155556874348757815e-5, 2.01033439929228813265e-7 };
	static const double f[8] = { 1.0,
				     5.99832206555887937690e-1,
				     1.36929880922735805310e-1,
				     1.48753612908506148525e-2,
				     7.86869131145613259100e-4,
				     1.84631831751005468180e-5,
				     1.42151175831644588870e-7,
				     2.04426310338993978564e-15 };
	double q = p - 0.5, r, x;

	if (q >= -0.425 && q <= 0.425) {
		r = 0.180625 - q * q;
		return q * (polynomial(a, 8, r) / polynomial(b, 8, r));
	}
	r = __builtin_sqrt(-natural_log(q < 0 ? p : 1 - p));
	x = r <= 5 ? polynomial(c, 8, r - 1.6) / polynomial(d, 8, r - 1.6)
		   : polynomial(e, 8, r - 5) / polynomial(f, 8, r - 5);
	return q < 0 ? -x : x;
}

double weir_random_normal(const weir_ctx *w, uint64_t stream, uint64_t index)
{
	weir_fp_state saved = weir__fp_enter(true);
	double x = weir__normal_quantile(((double)(weir_random_bits(w, stream, index) >> 12) + 0.5) * 0x1p-52);

	weir__fp_leave(saved);
	return x;
}
