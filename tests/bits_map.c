/* A checksum of every element-wise kernel's results in both floating-point modes, NaNs taken as one. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/fpenv.h"
#include "kernels/threads.h"

enum { N = 5003 };

static uint64_t state;

static uint64_t random_bits(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * UINT64_C(2685821657736338717);
}

static double any_value(void)
{
	uint64_t bits = random_bits();
	double v = (double)(int64_t)bits * 0x1p-63; /* -1..1 */

	switch (bits & 3) {
	case 0: return 10 * v;
	case 1: return 800 * v;
	case 2: return v * ldexp(1.0, (int)(random_bits() % 250) - 150);
	default: return v * ldexp(1.0, (int)(random_bits() % 2000) - 1070);
	}
}

static uint64_t checksum(weir_map id, int f64, const double *p)
{
	static double x[3][N], y[N];
	static float x32[3][N], y32[N];
	static uint8_t bytes[N], out[N];
	const weir_map_info *info = &weir__map_info[id];
	const void *in[3] = { 0 };
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	state = 1 + (uint64_t)f64;
	for (int i = 0; i < N; i++) {
		bytes[i] = random_bits() >> 60 & 1;
		for (int a = 0; a < 3; a++) {
			x[a][i] = any_value();
			x32[a][i] = (float)x[a][i];
		}
	}
	for (int a = 0; info->inputs[a]; a++)
		in[a] = info->inputs[a] == 'B' ? (const void *)bytes : f64 ? (const void *)x[a] : (const void *)x32[a];
	weir__kernels()->map[id][f64](info->output == 'B' ? (void *)out : f64 ? (void *)y : (void *)y32, in, N, p);
	for (int i = 0; i < N; i++) {
		double v = info->output == 'B' ? (double)out[i] : f64 ? y[i] : (double)y32[i];
		uint64_t bits;

		if (isnan(v)) v = 12345;
		memcpy(&bits, &v, 8);
		sum = (sum ^ bits) * UINT64_C(0x100000001b3);
	}
	return sum;
}

int main(void)
{
	static const double params[][2] = { { 1.25, -0.5 }, { 0.5 }, { 2 }, { 3 }, { -1.7 } };

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	for (int id = 0; id < WEIR_MAP_COUNT; id++) {
		bool some = id == WEIR_MAP_pow || id == WEIR_MAP_pow_vjp;

		for (int variant = 0; variant < 4; variant++) {
			weir_fp_state saved = weir__fp_enter(variant & 1);

			printf("%s %s %s", weir__map_info[id].name, variant & 2 ? "f64" : "f32",
			       variant & 1 ? "ieee" : "flush");
			for (int i = 0; i < (some ? 5 : 1); i++) {
				uint64_t sum = checksum((weir_map)id, variant >> 1, params[i]);

				printf(" %016llx", (unsigned long long)sum);
			}
			printf("\n");
			weir__fp_leave(saved);
		}
	}
	return 0;
}
