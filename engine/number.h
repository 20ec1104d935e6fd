/* number.h: numbers to text and text to numbers, the same in every locale and in every floating-point environment.
 *
 * Everything here works on the bits of a number with integer arithmetic: rounding mode, flush-to-zero and
 * LC_NUMERIC do not matter, no flag is raised, nothing is allocated. */
#ifndef WEIR_ENGINE_NUMBER_H
#define WEIR_ENGINE_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that hold the shortest form of any f32 or f64, and any int64_t, with its NUL. */
#define WEIR__NUMBER_MAX 32

/* Write x into buf, at most cap bytes with the NUL that always ends them (cap 0 writes nothing). Return the length
 * that the whole text needs without the NUL. All forms are correctly rounded, half to even on the exact value.
 *
 *   'g'  the shortest digits that read back as the same f64; digits is ignored. 0.1, 100, 1.5e-07, 1e+16
 *   'e'  like %.*e      'f'  like %.*f      'p'  like %.*g      (digits < 0 means 6)
 *
 * nan, inf and -inf are spelled so; a NaN has no sign. */
size_t weir__format_double(char *buf, size_t cap, double x, char style, int digits);

/* The shortest digits that read back as the same f32. */
size_t weir__format_float(char *buf, size_t cap, float x);

size_t weir__format_int64(char *buf, size_t cap, int64_t x);

typedef enum weir__parsed {
	WEIR__PARSED,       /* a number was read */
	WEIR__PARSED_NONE,  /* no number stands there; *out is 0 and *used is 0 */
	WEIR__PARSED_RANGE, /* a number too large for the type; *out is the nearest infinity or limit */
} weir__parsed;

enum {
	WEIR__PARSE_NONFINITE = 1, /* inf, infinity and nan are accepted, in any case of letters */
};

/* Read a decimal number from the first bytes of s[0..n): [+-] digits [. digits] [e [+-] digits], with a digit before
 * or after the point. Correctly rounded whatever the number of digits; what is too small becomes 0 or a
 * subnormal. No leading space, no hexadecimal: of "0x10" the 0 is read. used, if not NULL, gets the bytes that belong
 * to the number: compare it with n to know whether something follows. */
weir__parsed weir__parse_double(const char *s, size_t n, unsigned flags, double *out, size_t *used);

/* The same, rounded once to f32. */
weir__parsed weir__parse_float(const char *s, size_t n, unsigned flags, float *out, size_t *used);

/* Read [+-] digits. */
weir__parsed weir__parse_int64(const char *s, size_t n, int64_t *out, size_t *used);

#endif
