/* table.h: the table of kernels, one instance per instruction set, made from kern.def.
 *
 * A body file (body_*.c) is compiled once per instruction set with one of WEIR_KERN_GENERIC, WEIR_KERN_AVX2,
 * WEIR_KERN_AVX512 defined, includes this header for the prototypes and names what it defines with KERN().
 * Everybody else takes the table from weir__kernels() in cpu.h. */
#ifndef WEIR_KERNELS_TABLE_H
#define WEIR_KERNELS_TABLE_H

#include <stdint.h>
#include <weir/types.h>

/* Instruction sets beyond the generic one that this build has objects for. */
#if defined(__x86_64__) && !defined(WEIR_NO_X86_KERNELS)
#define WEIR_X86_KERNELS 1
#else
#define WEIR_X86_KERNELS 0
#endif

/* The symbol of a kernel in the instruction set being compiled. */
#if defined(WEIR_KERN_GENERIC)
#define WEIR__KERN(name) weir__##name##_generic
#elif defined(WEIR_KERN_AVX2)
#define WEIR__KERN(name) weir__##name##_avx2
#elif defined(WEIR_KERN_AVX512)
#define WEIR__KERN(name) weir__##name##_avx512
#endif
#ifdef WEIR__KERN
#define KERN(name) WEIR__KERN(name)
#endif

/* The most columns that are summed side by side. */
enum { WEIR_COLUMNS = 256 };

/* WEIR_MAP_copy, WEIR_MAP_add, … */
typedef enum weir_map {
#define MAP(name, inputs, output) WEIR_MAP_##name,
#include "kernels/kern.def"
	WEIR_MAP_COUNT
} weir_map;

/* y[i] = f(x[0][i], x[1][i], …) for i < n. All contiguous, y overlaps no x; p are the parameters or NULL. */
typedef void weir_map_fn(void *y, const void *const *x, int64_t n, const double *p);

/* y[i] = (to)x[i] for i < n, contiguous, no overlap. */
typedef void weir_cast_fn(void *y, const void *x, int64_t n);

/* One register tile of a matrix product: see gemm.h. */
struct weir_gemm_kernel;

/* One step of an optimiser: see optim.h. */
struct weir_update;

/* What a MAP line says. */
typedef struct weir_map_info {
	const char *name;
	const char *inputs; /* "TT", "BTT", … */
	char output;        /* 'T' or 'B' */
} weir_map_info;

extern const weir_map_info weir__map_info[WEIR_MAP_COUNT];

/* Index [2]: 0 is f32, 1 is f64, as in weir_dtype. */
typedef struct weir_kernels {
	const char *isa; /* "generic", "avx2", "avx512" */
	weir_map_fn *map[WEIR_MAP_COUNT][2];
	weir_cast_fn *cast[WEIR_DTYPE_COUNT][WEIR_DTYPE_COUNT]; /* [from][to] */
	const struct weir_gemm_kernel *gemm[2];
#define PAIR(name, result, args) result(*name[2]) args;
#define ONE(name, result, args) result(*name) args;
#include "kernels/kern.def"
} weir_kernels;

extern const weir_kernels weir__kernels_generic;
#if WEIR_X86_KERNELS
extern const weir_kernels weir__kernels_avx2, weir__kernels_avx512;
#endif

#ifdef KERN
#define MAP(name, inputs, output) weir_map_fn KERN(map_##name##_f32), KERN(map_##name##_f64);
#define CAST(from, to) weir_cast_fn KERN(cast_##from##_##to);
#define PAIR(name, result, args)      \
	result KERN(name##_f32) args; \
	result KERN(name##_f64) args;
#define ONE(name, result, args) result KERN(name) args;
#define GEMM(type) extern const struct weir_gemm_kernel KERN(gemm_##type);
#include "kernels/kern.def"
#endif

#endif
