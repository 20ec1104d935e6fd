/* table.c: fills the tables of kernels from kern.def.
 *
 * The generic table comes first and is complete everywhere; at run time a better one is laid over it
 * (cpu.c). The file includes itself once per instruction set, with KERN() naming that set's symbols. All
 * bodies are compiled for every set, so every table is complete; a set with only some kernels of its own
 * would name the generic symbols for the rest. */
#ifndef KERN
#include "kernels/table.h"

enum { DTYPE_f32 = WEIR_F32, DTYPE_f64 = WEIR_F64, DTYPE_i32 = WEIR_I32, DTYPE_i64 = WEIR_I64, DTYPE_u8 = WEIR_U8 };

const weir_map_info weir__map_info[WEIR_MAP_COUNT] = {
#define MAP(name, inputs, output) { #name, inputs, output },
#include "kernels/kern.def"
};

#define KERN(name) weir__##name##_generic
#define ISA "generic"
#include "kernels/table.c"

#if WEIR_X86_KERNELS
#define KERN(name) weir__##name##_avx2
#define ISA "avx2"
#include "kernels/table.c"

#define KERN(name) weir__##name##_avx512
#define ISA "avx512"
#include "kernels/table.c"
#endif

#else /* one instruction set */

#define MAP(name, inputs, output) extern weir_map_fn KERN(map_##name##_f32), KERN(map_##name##_f64);
#define CAST(from, to) extern weir_cast_fn KERN(cast_##from##_##to);
#define PAIR(name, result, args)             \
	extern result KERN(name##_f32) args; \
	extern result KERN(name##_f64) args;
#define ONE(name, result, args) extern result KERN(name) args;
#define GEMM(type) extern const struct weir_gemm_kernel KERN(gemm_##type);
#include "kernels/kern.def"

const weir_kernels KERN(kernels) = {
	.isa = ISA,
#define MAP(name, inputs, output) .map[WEIR_MAP_##name] = { KERN(map_##name##_f32), KERN(map_##name##_f64) },
#define CAST(from, to) .cast[DTYPE_##from][DTYPE_##to] = KERN(cast_##from##_##to),
#define PAIR(name, result, args) .name = { KERN(name##_f32), KERN(name##_f64) },
#define ONE(name, result, args) .name = KERN(name),
#define GEMM(type) .gemm[DTYPE_##type] = &KERN(gemm_##type),
#include "kernels/kern.def"
};

#undef KERN
#undef ISA
#endif
