/* text.h: text that is put together piece by piece, for messages, tables and files.
 *
 * A weir__text writes into a buffer of the caller, which it never outgrows, or into memory that a callback enlarges.
 * Either way data is a string at all times. What does not fit is cut off at a whole UTF-8 character, the text
 * ends in "...", and truncated stays set: nothing has to be checked along the way. */
#ifndef WEIR_ENGINE_TEXT_H
#define WEIR_ENGINE_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/types.h>

/* Memory by callback: p is NULL at first (old_size 0), new_size 0 frees and returns NULL. NULL for a new_size above 0
 * means that there is no more; p is then as it was. */
typedef void *weir__grow_fn(void *user, void *p, size_t old_size, size_t new_size);

typedef struct weir__text {
	char *data; /* always ends in NUL, once there is any room */
	size_t length, cap;
	bool truncated;
	weir__grow_fn *grow;
	void *user;
} weir__text;

/* Write into buf; cap counts the NUL and is at least 1. */
void weir__text_fixed(weir__text *t, char *buf, size_t cap);

/* Write into memory from grow. data is "" at first, and still "" when there is no memory at all. */
void weir__text_growing(weir__text *t, weir__grow_fn *grow, void *user);

/* Give the memory of a growing text back. */
void weir__text_drop(weir__text *t);

/* Empty again, with its room kept. */
void weir__text_clear(weir__text *t);

void weir__text_str(weir__text *t, const char *s); /* NULL appends nothing */
void weir__text_bytes(weir__text *t, const void *data, size_t n);
void weir__text_repeat(weir__text *t, char c, size_t count);
void weir__text_int(weir__text *t, int64_t x);
void weir__text_double(weir__text *t, double x, char style, int digits); /* as weir__format_double */
void weir__text_float(weir__text *t, float x);                           /* shortest */
void weir__text_shape(weir__text *t, int rank, const int64_t *shape);    /* [64, 784]; [] for a scalar */

/* Bytes from outside between double quotes: at most limit of them, then "...; control characters, quotes, backslashes
 * and what is not UTF-8 as \xHH. */
void weir__text_quoted(weir__text *t, const char *s, size_t n, size_t limit);

/* vsnprintf for integers and text; never for floating-point numbers, which would follow the locale. */
void weir__text_format(weir__text *t, const char *format, ...) WEIR_PRINTF(2, 3);
void weir__text_vformat(weir__text *t, const char *format, va_list args);

/* The bytes (1 to 4) of the UTF-8 character that begins s[0..n), or 0 if none does. */
size_t weir__utf8(const char *s, size_t n);

#endif
