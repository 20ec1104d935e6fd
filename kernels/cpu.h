/* cpu.h: what the processor can do, and the table of kernels that follows from it.
 *
 * Decided once per process, from feature bits and never from a model number, and safe to ask from any
 * thread. The environment variable WEIR_ISA=generic|avx2|avx512 caps the choice; it can't raise it. */
#ifndef WEIR_KERNELS_CPU_H
#define WEIR_KERNELS_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/table.h"

typedef struct weir_cpu {
	char vendor[13];                       /* "AuthenticAMD"; "" where there is no way to ask */
	char name[49];                         /* "AMD EPYC …" */
	bool avx2;                             /* AVX2, FMA and F16C, in the processor and the operating system */
	bool avx512;                           /* AVX-512 F, DQ, BW and VL, the same, and avx2 */
	bool f16c, avx512_bf16, avx512_vnni;   /* usable, as above */
	int64_t l1d_bytes, l2_bytes, l3_bytes; /* data caches; 0 where not known */
	bool isa_ignored;                      /* WEIR_ISA was set to a word that means nothing */
	char isa_wish[16];                     /* the start of what WEIR_ISA was set to, or "" */
} weir_cpu;

const weir_cpu *weir__cpu(void);

/* The best table for this processor under the cap of WEIR_ISA. */
const weir_kernels *weir__kernels(void);

/* The table of one instruction set, whatever WEIR_ISA says; NULL where this processor or build lacks it or
 * the name is not known. For tests. */
const weir_kernels *weir__kernels_for(const char *isa);

#endif
