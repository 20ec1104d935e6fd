/* info.c: `weir info`: what the numbers of this machine stand on. */
#include "tools/tool.h"

#include <stdlib.h>

#include "kernels/cpu.h"
#include "kernels/threads.h"

int command_info(const options *o)
{
	const weir_cpu *cpu = weir__cpu();
	setup s = { .o = o };
	weir_options w;

	weir_options_init(&w);
	w.threads = o->threads;
	s.w = weir_open(&w);
	printf("weir      %s\n", weir_build_info());
	printf("cpu       %s%s%s\n", cpu->vendor, cpu->name[0] ? ", " : "", cpu->name);
	printf("features  %s%s%s%s\n", cpu->avx2 ? "avx2 fma " : "", cpu->avx512 ? "avx512 " : "", cpu->avx512_bf16 ? "avx512-bf16 " : "",
	       !cpu->avx2 ? "none that kernels use" : "");
	printf("kernels   %s%s%s\n", weir_kernels_in_use(), cpu->isa_wish[0] ? ", WEIR_ISA=" : "", cpu->isa_wish);
	if (cpu->isa_ignored) printf("          WEIR_ISA is ignored: it is generic, avx2 or avx512\n");
	printf("caches    L1d %lld KiB, L2 %lld KiB, L3 %lld KiB\n", (long long)cpu->l1d_bytes / 1024, (long long)cpu->l2_bytes / 1024,
	       (long long)cpu->l3_bytes / 1024);
	printf("threads   %d\n", weir_threads(s.w));
	printf("floating  round to nearest; subnormals flushed to zero inside the library's calls (weir_options.ieee_subnormals,\n"
	       "          --subnormals ieee: kept); the caller's mode and flags are restored by every call\n");
	printf("same bits for any number of threads and any of the kernels generic, avx2, avx512\n");
	weir_close(s.w);
	return 0;
}
