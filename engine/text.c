/* text.c: the text builder of text.h. Everything passes through weir__text_bytes, which alone makes room and cuts. */
#include "engine/text.h"

#include <stdio.h>
#include <string.h>

#include "engine/number.h"

static char nothing[1]; /* what a growing text shows before it has memory; never written to */

void weir__text_fixed(weir__text *t, char *buf, size_t cap)
{
	*t = (weir__text){ .data = buf, .cap = cap };
	buf[0] = '\0';
}

void weir__text_growing(weir__text *t, weir__grow_fn *grow, void *user)
{
	*t = (weir__text){ .data = nothing, .grow = grow, .user = user };
}

void weir__text_drop(weir__text *t)
{
	if (t->grow && t->cap) t->grow(t->user, t->data, t->cap, 0);
	*t = (weir__text){ .data = nothing, .grow = t->grow, .user = t->user };
}

void weir__text_clear(weir__text *t)
{
	t->length = 0;
	t->truncated = false;
	if (t->cap) t->data[0] = '\0';
}

/* Makes room for n more bytes and the NUL. */
static bool reserve(weir__text *t, size_t n)
{
	size_t cap = t->cap < 128 ? 256 : t->cap;
	void *p;

	if (n < t->cap - t->length) return true;
	if (!t->grow || n >= SIZE_MAX / 4 - t->length) return false;
	while (cap <= t->length + n) cap *= 2;
	p = t->grow(t->user, t->cap ? t->data : NULL, t->cap, cap);
	if (!p) return false;
	t->data = p;
	t->cap = cap;
	return true;
}

size_t weir__utf8(const char *s, size_t n)
{
	const unsigned char *u = (const unsigned char *)s;
	size_t size;

	if (n == 0) return 0;
	if (u[0] < 0x80) return 1;
	size = u[0] >= 0xc2 && u[0] <= 0xdf ? 2 : (u[0] & 0xf0) == 0xe0 ? 3 : u[0] >= 0xf0 && u[0] <= 0xf4 ? 4 : 0;
	if (!size || n < size) return 0;
	for (size_t i = 1; i < size; i++)
		if ((u[i] & 0xc0) != 0x80) return 0;
	if (u[0] == 0xe0 && u[1] < 0xa0) return 0; /* longer than need be */
	if (u[0] == 0xed && u[1] > 0x9f) return 0; /* a surrogate */
	if (u[0] == 0xf0 && u[1] < 0x90) return 0;
	if (u[0] == 0xf4 && u[1] > 0x8f) return 0; /* above U+10FFFF */
	return size;
}

/* Fills the buffer as far as it goes and ends it in "...". */
static void cut(weir__text *t, const char *s, size_t n)
{
	size_t room, keep, tail;

	t->truncated = true;
	if (!t->cap) return;
	room = t->cap - 1 - t->length;
	if (room > n) room = n;
	memcpy(t->data + t->length, s, room);
	t->length += room;
	tail = t->cap > 3 ? 3 : t->cap - 1;
	keep = t->cap - 1 - tail;
	if (keep > t->length) keep = t->length;
	while (keep > 0 && keep < t->length && ((unsigned char)t->data[keep] & 0xc0) == 0x80) keep--;
	memcpy(t->data + keep, "...", tail);
	t->length = keep + tail;
	t->data[t->length] = '\0';
}

void weir__text_bytes(weir__text *t, const void *data, size_t n)
{
	if (t->truncated || n == 0) return;
	if (!reserve(t, n)) {
		cut(t, data, n);
		return;
	}
	memcpy(t->data + t->length, data, n);
	t->length += n;
	t->data[t->length] = '\0';
}

void weir__text_str(weir__text *t, const char *s)
{
	if (s) weir__text_bytes(t, s, strlen(s));
}

void weir__text_repeat(weir__text *t, char c, size_t count)
{
	char some[64];

	memset(some, c, sizeof(some));
	for (; count > sizeof(some) && !t->truncated; count -= sizeof(some)) weir__text_bytes(t, some, sizeof(some));
	weir__text_bytes(t, some, count < sizeof(some) ? count : sizeof(some));
}

void weir__text_int(weir__text *t, int64_t x)
{
	char buf[WEIR__NUMBER_MAX];

	weir__text_bytes(t, buf, weir__format_int64(buf, sizeof(buf), x));
}

void weir__text_double(weir__text *t, double x, char style, int digits)
{
	char buf[512];
	size_t n = weir__format_double(buf, sizeof(buf), x, style, digits);

	if (n < sizeof(buf)) {
		weir__text_bytes(t, buf, n);
	} else if (!t->truncated && reserve(t, n)) {
		t->length += weir__format_double(t->data + t->length, t->cap - t->length, x, style, digits);
	} else {
		weir__text_bytes(t, buf, sizeof(buf) - 1);
		if (!t->truncated) cut(t, "", 0);
	}
}

void weir__text_float(weir__text *t, float x)
{
	char buf[WEIR__NUMBER_MAX];

	weir__text_bytes(t, buf, weir__format_float(buf, sizeof(buf), x));
}

void weir__text_shape(weir__text *t, int rank, const int64_t *shape)
{
	weir__text_str(t, "[");
	for (int i = 0; i < rank; i++) {
		if (i) weir__text_str(t, ", ");
		weir__text_int(t, shape[i]);
	}
	weir__text_str(t, "]");
}

void weir__text_quoted(weir__text *t, const char *s, size_t n, size_t limit)
{
	static const char hex[] = "0123456789abcdef";
	size_t i = 0;

	weir__text_str(t, "\"");
	while (i < n) {
		size_t size = weir__utf8(s + i, n - i);
		unsigned char c = (unsigned char)s[i];

		if (i + (size ? size : 1) > limit) {
			weir__text_str(t, "...");
			break;
		}
		if (size && c >= ' ' && c != 0x7f && c != '"' && c != '\\') {
			weir__text_bytes(t, s + i, size);
			i += size;
		} else {
			char escape[4] = { '\\', 'x', hex[c >> 4], hex[c & 15] };

			weir__text_bytes(t, escape, sizeof(escape));
			i++;
		}
	}
	weir__text_str(t, "\"");
}

void weir__text_vformat(weir__text *t, const char *format, va_list args)
{
	char buf[256];
	va_list again;
	int n;

	va_copy(again, args);
	n = vsnprintf(buf, sizeof(buf), format, args);
	if (n >= 0 && (size_t)n < sizeof(buf)) {
		weir__text_bytes(t, buf, (size_t)n);
	} else if (n >= 0 && !t->truncated && reserve(t, (size_t)n)) {
		vsnprintf(t->data + t->length, t->cap - t->length, format, again);
		t->length += (size_t)n;
	} else if (n >= 0 && !t->truncated && t->cap) {
		size_t room = t->cap - t->length; /* as much as there is room for, then the sign that it was cut */

		vsnprintf(t->data + t->length, room, format, again);
		t->length += room - 1;
		cut(t, "", 0);
	}
	va_end(again);
}

void weir__text_format(weir__text *t, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	weir__text_vformat(t, format, args);
	va_end(args);
}
