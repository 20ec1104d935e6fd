/* test_random.c: the generator against published answers, the quantile against closed forms, streams. */
#include "tests/ops_check.h"

#include "engine/random.h"
#include "kernels/cpu.h"

static double quantile_of(double p)
{
	double x;

	weir__kernels()->normal_quantile(&x, &p, 1);
	return x;
}

/* Known answers of Random123's kat_vectors for philox4x32-10. */
static void philox(void **state)
{
	static const struct {
		uint32_t counter[4], key[2], out[4];
	} known[] = {
		{ { 0 }, { 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
		{ { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff },
		  { 0xffffffff, 0xffffffff },
		  { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
		{ { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
		  { 0xa4093822, 0x299f31d0 },
		  { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		const uint32_t *c = known[i].counter, *k = known[i].key, *o = known[i].out;
		uint64_t block = (uint64_t)c[1] << 32 | c[0], stream = (uint64_t)c[3] << 32 | c[2], out[2];

		weir__kernels()->random_blocks(out, (uint64_t)k[1] << 32 | k[0], stream, block, 1);
		assert_int_equal(out[0], (uint64_t)o[1] << 32 | o[0]);
		assert_int_equal(out[1], (uint64_t)o[3] << 32 | o[2]);
	}
}

static void quantile(void **state)
{
	(void)state;
	for (double p = 1e-300; p < 1; p = p < 0.01 ? p * 7.3 : p + 0.00731) {
		double x = quantile_of(p), back = 0.5 * erfc(-x / sqrt(2)),
		       slope = exp(-x * x / 2) / sqrt(2 * acos(-1.0));

		if (fabs(back - p) > 1e-13 * p + 4e-16 * fabs(x) * slope * fabs(x) + 1e-16)
			fail_msg("quantile(%g) = %.17g, back %.17g", p, x, back);
	}
	assert_true(quantile_of(0.5) == 0);
	assert_true(quantile_of(0.25) == -quantile_of(0.75));
	assert_true(near_by(quantile_of(0.975), 1.9599639845400545, 1e-15));
}

/* A number is the same drawn alone or among others, wherever these begin and end, on every instruction set. */
static void alone_or_not(void **state)
{
	enum { MOST = 300 };
	static const char *const sets[] = { "generic", "avx2", "avx512" };
	static const int counts[] = { 1, 2, 7, 8, 9, 127, 128, 129, 255, MOST };
	weir_ctx *w = open_quiet(true);

	(void)state;
	for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
		const weir_kernels *k = weir__kernels_for(sets[s]);

		for (size_t c = 0; k && c < 2 * sizeof counts / sizeof *counts; c++) {
			uint64_t first = (uint64_t)c % 2 + 1000 * (c / 2), stream = c;
			double normal[MOST + 1], uniform[MOST + 1];
			int n = counts[c / 2];

			normal[n] = uniform[n] = 77;
			k->random_normal(normal, weir_seed(w), stream, first, n);
			k->random_uniform(uniform, weir_seed(w), stream, first, n);
			for (int i = 0; i < n; i++) {
				double x = weir_random_normal(w, stream, first + (uint64_t)i),
				       u = weir_random_uniform(w, stream, first + (uint64_t)i);

				if (normal[i] != x || uniform[i] != u)
					fail_msg("%s: number %d of %d: normal %.17g and %.17g, uniform %.17g and %.17g",
						 sets[s], i, n, normal[i], x, uniform[i], u);
			}
			assert_true(normal[n] == 77 && uniform[n] == 77);
		}
	}
	close_clean(w);
}

/* Nor does it hang on what was drawn before: in order, backwards, by jumps, from streams and contexts by turns, at the end of the numbers. */
static void in_any_order(void **state)
{
	enum { N = 500, WALKS = 6 };
	static const int step[WALKS] = { 1, -1, 2, 3, 64, 65 };
	static const uint64_t begins[] = { 0, 7, UINT64_MAX - 3 * N, UINT64_MAX - N / 2 };
	weir_options o;
	weir_ctx *w[2];

	(void)state;
	weir_options_init(&o);
	o.handler = NULL;
	for (int i = 0; i < 2; i++) o.seed = (uint64_t)i, w[i] = weir_open(&o);
	for (size_t b = 0; b < sizeof begins / sizeof *begins; b++) {
		for (int walk = 0; walk < WALKS; walk++) {
			uint64_t at = begins[b] + (step[walk] < 0 ? N : 0);

			for (int i = 0; i < N; i++, at += (uint64_t)(int64_t)step[walk]) {
				const weir_ctx *c = w[i / 100 % 2];
				uint64_t stream = i < 200 ? 4 : (uint64_t)i % 3;
				double one[2] = { weir_random_normal(c, stream, at),
						  weir_random_uniform(c, stream, at) },
				       want[2];

				weir__kernels()->random_normal(&want[0], weir_seed(c), stream, at, 1);
				weir__kernels()->random_uniform(&want[1], weir_seed(c), stream, at, 1);
				if (one[0] != want[0] || one[1] != want[1])
					fail_msg(
						"stream %d, walk %d, number %llu: %.17g and %.17g, must be %.17g and %.17g",
						(int)stream, walk, (unsigned long long)at, one[0], one[1], want[0],
						want[1]);
			}
		}
	}
	for (int i = 0; i < 2; i++) close_clean(w[i]);
}

static void moments(void **state)
{
	enum { N = 200000 };
	weir_ctx *w = open_quiet(true);
	uint64_t a = weir_random_stream(w), b = weir_random_stream(w);
	double sum = 0, square = 0, cross = 0, u = 0;

	(void)state;
	assert_int_not_equal(a, b);
	for (uint64_t i = 0; i < N; i++) {
		double x = weir_random_normal(w, a, i), y = weir_random_normal(w, b, i),
		       v = weir_random_uniform(w, b, i);

		assert_true(v >= 0 && v < 1);
		sum += x;
		square += x * x;
		cross += x * y;
		u += v;
	}
	assert_true(fabs(sum / N) < 5 / sqrt(N) && fabs(square / N - 1) < 8 / sqrt(N) && fabs(cross / N) < 5 / sqrt(N));
	assert_true(fabs(u / N - 0.5) < 2 / sqrt(N));
	close_clean(w);
}

/* One seed, one sequence, whatever the threads; another seed, another one. */
static void seeds(void **state)
{
	double first[64], other[64];

	(void)state;
	for (int run = 0; run < 3; run++) {
		weir_options o;
		weir_ctx *w;

		weir_options_init(&o);
		o.handler = NULL;
		o.seed = run == 2 ? 1 : 0;
		o.threads = run + 1;
		w = weir_open(&o);
		assert_true(weir_read_f64(weir_normal(w, WEIR_F32, SHAPE(64), 2, 3), run ? other : first, 64));
		if (run == 1) assert_memory_equal(first, other, sizeof first);
		if (run == 2) assert_memory_not_equal(first, other, sizeof first);
		close_clean(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(philox),       cmocka_unit_test(quantile),
					    cmocka_unit_test(alone_or_not), cmocka_unit_test(in_any_order),
					    cmocka_unit_test(moments),      cmocka_unit_test(seeds) };

	return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
