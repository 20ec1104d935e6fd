/* info.c: `weir info`: what the numbers of this machine stand on. */
#include "tools/tool.h"

#include "kernels/cpu.h"

int command_info(const options *o)
{
	const weir_cpu *cpu = weir__cpu();
	weir_options w;
	weir_ctx *ctx;

	weir_options_init(&w);
	w.threads = o->threads;
	ctx = weir_open(&w);
	printf("weir      %s\n", weir_build_info());
	printf("cpu       %s%s%s\n", cpu->vendor, cpu->name[0] ? ", " : "", cpu->name);
	printf("features  %s%s%s%s\n", cpu->avx2 ? "avx2 fma " : "", cpu->avx512 ? "avx512 " : "",
	       cpu->avx512_bf16 ? "avx512-bf16 " : "", !cpu->avx2 ? "none that kernels use" : "");
	printf("kernels   %s%s%s\n", weir_kernels_in_use(), cpu->isa_wish[0] ? ", WEIR_ISA=" : "", cpu->isa_wish);
	if (cpu->isa_ignored) printf("          WEIR_ISA is ignored: it is generic, avx2 or avx512\n");
	printf("caches    L1d %lld KiB, L2 %lld KiB, L3 %lld KiB\n", (long long)cpu->l1d_bytes / 1024,
	       (long long)cpu->l2_bytes / 1024, (long long)cpu->l3_bytes / 1024);
	printf("threads   %d\n", weir_threads(ctx));
	printf("floating  round to nearest; subnormals flushed to zero inside the library's calls, kept with --subnormals ieee\n"
	       "          (weir_options.ieee_subnormals); the caller's mode and flags are restored by every call\n"
	       "bits      the same for any number of threads and for the kernels generic, avx2 and avx512\n");
	weir_close(ctx);
	return 0;
}
