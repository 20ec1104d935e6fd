/* json_write.c: the streaming JSON writer of json_write.h.
 *
 * The level of each open bracket says what it is and whether it has a member yet; from that alone follow
 * comma, newline and indentation, and whether a call is allowed at all. */
#include "engine/json_write.h"

#include <errno.h>
#include <string.h>

#include "engine/number.h"

enum { OBJECT = 1, FLAT = 2, FILLED = 4 };

static void put(weir__json *j, const char *s, size_t n)
{
	if (j->error || n == 0) return;
	if (j->file) {
		errno = 0;
		if (fwrite(s, 1, n, j->file) == n) return;
		j->error = WEIR__JSON_IO;
		j->error_number = errno ? errno : EIO;
	} else {
		weir__text_bytes(j->text, s, n);
		if (j->text->truncated) j->error = WEIR__JSON_TRUNCATED;
	}
}

static void put_text(weir__json *j, const char *s)
{
	put(j, s, strlen(s));
}

static void break_line(weir__json *j)
{
	put_text(j, "\n");
	for (int i = 0; i < j->depth; i++) put_text(j, "  ");
}

/* What stands before a member of the innermost bracket: a comma, a line break. */
static void separate(weir__json *j)
{
	unsigned char *level = &j->level[j->depth - 1];
	bool pretty = j->flags & WEIR__JSON_PRETTY;

	if (*level & FILLED) put_text(j, pretty && (*level & FLAT) ? ", " : ",");
	if (pretty && !(*level & FLAT)) break_line(j);
	*level |= FILLED;
}

/* Called before each value; false when none may stand here. */
static bool before_value(weir__json *j)
{
	if (j->error) return false;
	if (j->depth == 0) {
		if (j->some && !(j->flags & WEIR__JSON_LINES)) j->error = WEIR__JSON_MISUSE;
		j->some = true;
	} else if (j->level[j->depth - 1] & OBJECT) {
		if (!j->keyed) j->error = WEIR__JSON_MISUSE;
		j->keyed = false;
	} else {
		separate(j);
	}
	return !j->error;
}

static void after_value(weir__json *j)
{
	if (j->depth == 0 && (j->flags & (WEIR__JSON_PRETTY | WEIR__JSON_LINES))) put_text(j, "\n");
}

static void scalar(weir__json *j, const char *s, size_t n)
{
	if (!before_value(j)) return;
	put(j, s, n);
	after_value(j);
}

static void begin(weir__json *j, const char *bracket, unsigned char level)
{
	if (!before_value(j)) return;
	if (j->depth == WEIR__JSON_DEPTH) {
		j->error = WEIR__JSON_TOO_DEEP;
		return;
	}
	put_text(j, bracket);
	if (j->depth && (j->level[j->depth - 1] & FLAT)) level |= FLAT;
	j->level[j->depth++] = level;
}

/* The bytes of s that need no escape. */
static size_t plain(const weir__json *j, const char *s, size_t n)
{
	size_t i = 0, size;

	while (i < n) {
		unsigned char c = (unsigned char)s[i];

		if (c < ' ' || c == '"' || c == '\\' || (c == '<' && (j->flags & WEIR__JSON_HTML))) break;
		size = weir__utf8(s + i, n - i);
		if (!size) break;
		if (size == 3 && (j->flags & WEIR__JSON_HTML) && c == 0xe2 && (unsigned char)s[i + 1] == 0x80 &&
		    ((unsigned char)s[i + 2] | 1) == 0xa9)
			break; /* U+2028 and U+2029 */
		i += size;
	}
	return i;
}

static void put_unicode(weir__json *j, unsigned c)
{
	static const char hex[] = "0123456789abcdef";
	char escape[6] = { '\\', 'u', hex[c >> 12 & 15], hex[c >> 8 & 15], hex[c >> 4 & 15], hex[c & 15] };

	put(j, escape, sizeof(escape));
}

static void put_string(weir__json *j, const char *s, size_t n)
{
	static const char special[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
	size_t size;

	put_text(j, "\"");
	for (size_t i = 0; i < n && !j->error; i += size) {
		const char *at;

		size = plain(j, s + i, n - i);
		put(j, s + i, size);
		if (size) continue;
		size = weir__utf8(s + i, n - i);
		at = s[i] ? strchr(special, s[i]) : NULL;
		if (at) {
			put(j, "\\", 1);
			put(j, letter + (at - special), 1);
		} else if (size == 1) {
			put_unicode(j, (unsigned char)s[i]);
		} else if (size == 3) {
			put_unicode(j, 0x2000u | ((unsigned char)s[i + 2] & 63u));
		} else {
			put_unicode(j, 0xfffd);
			size = 1;
		}
	}
	put_text(j, "\"");
}

void weir__json_to_file(weir__json *j, FILE *file, unsigned flags)
{
	*j = (weir__json){ .file = file, .flags = flags };
}

void weir__json_to_text(weir__json *j, weir__text *text, unsigned flags)
{
	*j = (weir__json){ .text = text, .flags = flags };
}

void weir__json_begin_object(weir__json *j)
{
	begin(j, "{", OBJECT);
}

void weir__json_begin_array(weir__json *j)
{
	begin(j, "[", 0);
}

void weir__json_begin_row(weir__json *j)
{
	begin(j, "[", FLAT);
}

void weir__json_end(weir__json *j)
{
	unsigned char level;

	if (j->error) return;
	if (j->depth == 0 || j->keyed) {
		j->error = WEIR__JSON_MISUSE;
		return;
	}
	level = j->level[--j->depth];
	if ((level & FILLED) && !(level & FLAT) && (j->flags & WEIR__JSON_PRETTY)) break_line(j);
	put_text(j, level & OBJECT ? "}" : "]");
	after_value(j);
}

void weir__json_key(weir__json *j, const char *key)
{
	weir__json_key_n(j, key, strlen(key));
}

void weir__json_key_n(weir__json *j, const char *key, size_t n)
{
	if (j->error) return;
	if (j->depth == 0 || !(j->level[j->depth - 1] & OBJECT) || j->keyed) {
		j->error = WEIR__JSON_MISUSE;
		return;
	}
	separate(j);
	put_string(j, key, n);
	put_text(j, j->flags & WEIR__JSON_PRETTY ? ": " : ":");
	j->keyed = true;
}

void weir__json_string(weir__json *j, const char *s)
{
	if (s) weir__json_string_n(j, s, strlen(s));
	else weir__json_null(j);
}

void weir__json_string_n(weir__json *j, const char *s, size_t n)
{
	if (!before_value(j)) return;
	put_string(j, s, n);
	after_value(j);
}

void weir__json_int(weir__json *j, int64_t x)
{
	char buf[WEIR__NUMBER_MAX];

	scalar(j, buf, weir__format_int64(buf, sizeof(buf), x));
}

/* Digits, or null for inf, -inf and nan, which alone contain an n. */
static void number(weir__json *j, const char *s, size_t n)
{
	if (memchr(s, 'n', n)) weir__json_null(j);
	else scalar(j, s, n);
}

void weir__json_double(weir__json *j, double x)
{
	char buf[WEIR__NUMBER_MAX];

	number(j, buf, weir__format_double(buf, sizeof(buf), x, 'g', 0));
}

void weir__json_float(weir__json *j, float x)
{
	char buf[WEIR__NUMBER_MAX];

	number(j, buf, weir__format_float(buf, sizeof(buf), x));
}

void weir__json_bool(weir__json *j, bool x)
{
	scalar(j, x ? "true" : "false", x ? 4 : 5);
}

void weir__json_null(weir__json *j)
{
	scalar(j, "null", 4);
}

weir__json_error weir__json_finish(weir__json *j)
{
	if (!j->error && (j->depth || (!j->some && !(j->flags & WEIR__JSON_LINES)))) j->error = WEIR__JSON_UNFINISHED;
	if (j->file) {
		errno = 0;
		if (fflush(j->file) != 0 && !j->error) {
			j->error = WEIR__JSON_IO;
			j->error_number = errno ? errno : EIO;
		}
	}
	return j->error;
}

void weir__json_put_double(weir__json *j, const char *key, double x)
{
	weir__json_key(j, key);
	weir__json_double(j, x);
}

void weir__json_put_int(weir__json *j, const char *key, int64_t x)
{
	weir__json_key(j, key);
	weir__json_int(j, x);
}

void weir__json_put_string(weir__json *j, const char *key, const char *s)
{
	weir__json_key(j, key);
	weir__json_string(j, s);
}

void weir__json_put_bool(weir__json *j, const char *key, bool x)
{
	weir__json_key(j, key);
	weir__json_bool(j, x);
}

void weir__json_put_object(weir__json *j, const char *key)
{
	weir__json_key(j, key);
	weir__json_begin_object(j);
}

void weir__json_put_array(weir__json *j, const char *key)
{
	weir__json_key(j, key);
	weir__json_begin_array(j);
}
