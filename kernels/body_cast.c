/* Conversions between element types, for one instruction set.
 *
 * One conversion is one rounding at most, so plain loops give the same bits everywhere and the compiler may vectorise them as it can.
 * Towards integers: truncation towards zero, saturation at the ends of the type, NaN to 0, no exception flags. Between integers: saturation.
 * Towards a float: rounded to nearest. */
#include <math.h> /* macros only */
#include <string.h>

#include "kernels/table.h"

/* gcc 12 at -O3 would convert first and choose afterwards, and so raise flags for what is out of range. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-loop-if-convert")
#endif

#define C_f32 float
#define C_f64 double
#define C_i32 int32_t
#define C_i64 int64_t
#define C_u8 uint8_t

#define CAST_LOOP(from, to, expr)                                        \
	void KERN(cast_##from##_##to)(void *y, const void *x, int64_t n) \
	{                                                                \
		C_##to *o = y;                                           \
		const C_##from *a = x;                                   \
		for (int64_t i = 0; i < n; i++) {                        \
			C_##from v = a[i];                               \
			o[i] = (expr);                                   \
		}                                                        \
	}

#define CAST_SAME(type)                                                          \
	void KERN(cast_##type##_##type)(void *y, const void *x, int64_t n)       \
	{                                                                        \
		if (n > 0 && y != x) memcpy(y, x, (size_t)n * sizeof(C_##type)); \
	}

/* The ends are powers of two that the type can't hold, or 255; the comparisons are the quiet ones. */
#define TO_INT(T, low_end, high_end, low, high) \
	(isgreaterequal(v, (high_end)) ? (high) : islessequal(v, (low_end)) ? (low) : v == v ? (T)v : (T)0)
#define TO_I32 TO_INT(int32_t, -0x1p31f, 0x1p31f, INT32_MIN, INT32_MAX)
#define TO_I64 TO_INT(int64_t, -0x1p63f, 0x1p63f, INT64_MIN, INT64_MAX)
#define TO_U8 TO_INT(uint8_t, 0.0f, 255.0f, 0, 255)

CAST_SAME(f32)
CAST_SAME(f64)
CAST_SAME(i32)
CAST_SAME(i64)
CAST_SAME(u8)

CAST_LOOP(f32, f64, (double)v)
CAST_LOOP(f32, i32, TO_I32)
CAST_LOOP(f32, i64, TO_I64)
CAST_LOOP(f32, u8, TO_U8)

CAST_LOOP(f64, f32, (float)v)
CAST_LOOP(f64, i32, TO_I32)
CAST_LOOP(f64, i64, TO_I64)
CAST_LOOP(f64, u8, TO_U8)

CAST_LOOP(i32, f32, (float)v)
CAST_LOOP(i32, f64, (double)v)
CAST_LOOP(i32, i64, (int64_t)v)
CAST_LOOP(i32, u8, (uint8_t)(v<0 ? 0 : v> 255 ? 255 : v))

CAST_LOOP(i64, f32, (float)v)
CAST_LOOP(i64, f64, (double)v)
CAST_LOOP(i64, i32, (int32_t)(v<INT32_MIN ? INT32_MIN : v> INT32_MAX ? INT32_MAX : v))
CAST_LOOP(i64, u8, (uint8_t)(v<0 ? 0 : v> 255 ? 255 : v))

CAST_LOOP(u8, f32, (float)v)
CAST_LOOP(u8, f64, (double)v)
CAST_LOOP(u8, i32, (int32_t)v)
CAST_LOOP(u8, i64, (int64_t)v)
