/* cpu.c: asks the processor once and chooses the table of kernels. See cpu.h. */
#include "kernels/cpu.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if WEIR_X86_KERNELS
#include <cpuid.h>
#endif

static weir_cpu cpu;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Atomic(const weir_kernels *) chosen;

#if WEIR_X86_KERNELS

typedef struct regs {
	unsigned a, b, c, d;
} regs;

static regs leaf(unsigned number, unsigned sub)
{
	regs r = { 0, 0, 0, 0 };

	if (!__get_cpuid_count(number, sub, &r.a, &r.b, &r.c, &r.d)) r = (regs){ 0, 0, 0, 0 };
	return r;
}

static bool bit(unsigned word, int n)
{
	return word >> n & 1;
}

/* The state that the operating system saves on a switch: XCR0. */
static unsigned saved_state(void)
{
	unsigned low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low;
}

/* The name's 48 bytes without the blanks around it. */
static void read_name(void)
{
	char text[49] = "";
	size_t begin = 0, end;

	if (leaf(0x80000000u, 0).a < 0x80000004u) return;
	for (unsigned i = 0; i < 3; i++) {
		regs r = leaf(0x80000002u + i, 0);

		memcpy(text + 16 * i, &r, 16);
	}
	while (text[begin] == ' ') begin++;
	end = strlen(text);
	while (end > begin && text[end - 1] == ' ') end--;
	memcpy(cpu.name, text + begin, end - begin);
}

/* Intel's leaf 4 and AMD's leaf 0x8000001D list the caches in one format. */
static void read_caches(void)
{
	unsigned number = bit(leaf(0x80000001u, 0).c, 22) ? 0x8000001Du : 4u;

	for (unsigned i = 0; i < 16; i++) {
		regs r = leaf(number, i);
		unsigned type = r.a & 31, level = r.a >> 5 & 7;
		int64_t bytes =
			(int64_t)((r.b >> 22) + 1) * ((r.b >> 12 & 1023) + 1) * ((r.b & 4095) + 1) * ((int64_t)r.c + 1);

		if (type == 0) return;
		if (type == 2) continue; /* instructions */
		if (level == 1) cpu.l1d_bytes = bytes;
		if (level == 2) cpu.l2_bytes = bytes;
		if (level == 3) cpu.l3_bytes = bytes;
	}
}

static void read_cpu(void)
{
	regs zero = leaf(0, 0), one = leaf(1, 0), seven = leaf(7, 0), more = leaf(7, 1);
	unsigned state = bit(one.c, 27) ? saved_state() : 0;
	bool ymm = (state & 0x06) == 0x06, zmm = (state & 0xe6) == 0xe6;

	memcpy(cpu.vendor, &zero.b, 4);
	memcpy(cpu.vendor + 4, &zero.d, 4);
	memcpy(cpu.vendor + 8, &zero.c, 4);
	cpu.f16c = ymm && bit(one.c, 29);
	cpu.avx2 = ymm && bit(one.c, 28) && bit(one.c, 12) && cpu.f16c && bit(seven.b, 5);
	cpu.avx512 = cpu.avx2 && zmm && bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 30) && bit(seven.b, 31);
	cpu.avx512_bf16 = cpu.avx512 && bit(more.a, 5);
	cpu.avx512_vnni = cpu.avx512 && bit(seven.c, 11);
	read_name();
	read_caches();
}

#else

static void read_cpu(void)
{
}

#endif

const weir_kernels *weir__kernels_for(const char *isa)
{
	weir__cpu();
	if (strcmp(isa, "generic") == 0) return &weir__kernels_generic;
#if WEIR_X86_KERNELS
	if (strcmp(isa, "avx2") == 0) return cpu.avx2 ? &weir__kernels_avx2 : NULL;
	if (strcmp(isa, "avx512") == 0) return cpu.avx512 ? &weir__kernels_avx512 : NULL;
#endif
	return NULL;
}

/* The sets from plain to rich: each that the processor has and the cap allows is laid over the one before. */
static void choose(void)
{
	static const char *const sets[] = { "generic", "avx2", "avx512" };
	int count = (int)(sizeof sets / sizeof *sets), cap = count;
	const char *wish = getenv("WEIR_ISA");
	const weir_kernels *best = &weir__kernels_generic;
	bool usable[] = { true, false, false };

	read_cpu();
	usable[1] = cpu.avx2;
	usable[2] = cpu.avx512;
	if (wish && *wish) {
		strncpy(cpu.isa_wish, wish, sizeof cpu.isa_wish - 1);
		for (int i = 0; i < count; i++)
			if (strcmp(wish, sets[i]) == 0) cap = i + 1;
		cpu.isa_ignored = cap == count && strcmp(wish, sets[count - 1]) != 0;
	}
#if WEIR_X86_KERNELS
	const weir_kernels *tables[] = { &weir__kernels_generic, &weir__kernels_avx2, &weir__kernels_avx512 };

	for (int i = 0; i < cap; i++)
		if (usable[i]) best = tables[i];
#else
	(void)usable;
#endif
	atomic_store_explicit(&chosen, best, memory_order_release);
}

const weir_cpu *weir__cpu(void)
{
	pthread_once(&once, choose);
	return &cpu;
}

const weir_kernels *weir__kernels(void)
{
	const weir_kernels *k = atomic_load_explicit(&chosen, memory_order_acquire);

	if (k) return k;
	pthread_once(&once, choose);
	return atomic_load_explicit(&chosen, memory_order_acquire);
}
