/* types.h: the plain types that every floor of Weir shares. */
#ifndef WEIR_TYPES_H
#define WEIR_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define WEIR_API __attribute__((visibility("default")))
#define WEIR_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define WEIR_API
#define WEIR_PRINTF(fmt, first)
#endif

/* Axes that a tensor can have at most. */
#define WEIR_MAX_RANK 8

/* Element types. Every operation works in f32 and f64; i32 and i64 hold indices and labels, u8 holds masks (0 or 1). */
typedef enum weir_dtype { WEIR_F32, WEIR_F64, WEIR_I32, WEIR_I64, WEIR_U8, WEIR_DTYPE_COUNT } weir_dtype;

/* What a kernel does with its destination: nothing, overwrite it, or add to it. */
typedef enum weir_dst_mode { WEIR_DST_SKIP, WEIR_DST_WRITE, WEIR_DST_ADD } weir_dst_mode;

/* Counts over the elements of one tensor. largest is the largest finite magnitude. */
typedef struct weir_stats {
	double largest;
	int64_t zeros, subnormals, pos_inf, neg_inf, nan;
} weir_stats;

/* The floating-point exceptions that an operation raised. */
enum {
	WEIR_FP_INVALID = 1,   /* inf - inf, 0 * inf, inf / inf: a NaN was made */
	WEIR_FP_DIVZERO = 2,   /* 1 / 0: an inf was made from finite values */
	WEIR_FP_OVERFLOW = 4,  /* a finite result was too large: an inf was made */
	WEIR_FP_UNDERFLOW = 8, /* a result was too small: a subnormal or zero was made */
};

#endif
