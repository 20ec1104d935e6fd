/* safetensors_file.c: opening and reading a safetensors file, and what is said when that fails. Reading is by pread: a file that
 * shrinks meanwhile is an error, where a mapping would be a signal. */
#include "io/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- messages ---- */

static bool fail(weir__st_error *e, weir_status status, const uint64_t *byte, const char *format, va_list args)
{
	int n = 0;

	if (e->status) return false;
	e->status = status;
	e->text[0] = '\0';
	if (byte) n = snprintf(e->text, sizeof(e->text), "byte %llu: ", (unsigned long long)*byte);
	vsnprintf(e->text + n, sizeof(e->text) - (size_t)n, format, args);
	return false;
}

bool weir__st_fail(weir__st_error *e, weir_status status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fail(e, status, NULL, format, args);
	va_end(args);
	return false;
}

bool weir__st_fail_at(weir__st_error *e, weir_status status, uint64_t byte, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fail(e, status, &byte, format, args);
	va_end(args);
	return false;
}

static bool io_error(weir__st_error *e, const char *step, int number)
{
	char text[128];

	if (strerror_r(number, text, sizeof(text)) != 0) memcpy(text, "unknown error", 14);
	return weir__st_fail(e, WEIR_ERR_IO, "%s: %s (errno %d)", step, text, number);
}

const char *weir__st_quote(const char *name, weir__st_quoted *buf)
{
	size_t at = 1;

	buf->s[0] = '"';
	for (; *name && at < sizeof(buf->s) - 8; name++) {
		unsigned char c = (unsigned char)*name;

		if (c >= ' ' && c != 0x7f && c != '"' && c != '\\') buf->s[at++] = *name;
		else at += (size_t)snprintf(buf->s + at, 5, "\\x%02x", c);
	}
	while (*name && at > 1 && ((unsigned char)buf->s[at - 1] & 0xc0) == 0x80) at--; /* no half of a character */
	if (*name && at > 1 && (unsigned char)buf->s[at - 1] >= 0xc0) at--;
	snprintf(buf->s + at, sizeof(buf->s) - at, *name ? "...\"" : "\"");
	return buf->s;
}

const char *weir__st_shape(int rank, const int64_t *shape, weir__st_quoted *buf)
{
	size_t at = 1;

	buf->s[0] = '[';
	for (int i = 0; i < rank && at < sizeof(buf->s) - 24; i++)
		at += (size_t)snprintf(buf->s + at, sizeof(buf->s) - at, i ? ", %lld" : "%lld", (long long)shape[i]);
	snprintf(buf->s + at, sizeof(buf->s) - at, "]");
	return buf->s;
}

/* ---- the file ---- */

bool weir__st_read(const weir__st_file *f, uint64_t offset, void *dst, uint64_t size, weir__st_error *e)
{
	char *at = dst;

	while (size) {
		ssize_t n = pread(f->fd, at, size < 1 << 30 ? size : 1 << 30, (off_t)offset);

		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return io_error(e, "reading", errno);
		if (n == 0)
			return weir__st_fail_at(e, WEIR_ERR_IO, offset, "the file became shorter while it was read");
		at += n;
		offset += (uint64_t)n;
		size -= (uint64_t)n;
	}
	return true;
}

bool weir__st_swaps(void)
{
	const uint16_t one = 1;
	unsigned char first;

	memcpy(&first, &one, 1);
	return first == 0;
}

void weir__st_swap(void *data, uint64_t bytes, size_t size)
{
	unsigned char *at = data;

	if (!weir__st_swaps()) return;
	for (uint64_t i = 0; size > 1 && i < bytes; i += size) {
		for (size_t a = 0, b = size - 1; a < b; a++, b--) {
			unsigned char c = at[i + a];

			at[i + a] = at[i + b];
			at[i + b] = c;
		}
	}
}

void *weir__st_memory(weir_ctx *w, uint64_t bytes)
{
	int64_t n = (int64_t)(bytes ? bytes : 1);
	weir_tensor *t = weir_zeros(w, WEIR_U8, 1, &n);

	return weir_is_bad(t) ? NULL : weir_data_mut(t, "weir_safetensors");
}

static bool open_regular(weir__st_file *f, const char *path, weir__st_error *e)
{
	struct stat s;

	do f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer would block here */
	while (f->fd < 0 && errno == EINTR);
	if (f->fd < 0) return io_error(e, "opening the file", errno);
	if (fstat(f->fd, &s) != 0) return io_error(e, "looking at the file", errno);
	if (!S_ISREG(s.st_mode)) return weir__st_fail(e, WEIR_ERR_IO, "this is no regular file");
	f->size = (uint64_t)s.st_size;
	return true;
}

static bool read_header(weir__st_file *f, weir_ctx *w, weir__st_error *e)
{
	unsigned char prefix[WEIR__ST_PREFIX];
	char *text;

	if (f->size < WEIR__ST_PREFIX)
		return weir__st_fail_at(e, WEIR_ERR_FORMAT, f->size,
					"the file has %llu bytes; it begins with 8 bytes that give the "
					"length of its header",
					(unsigned long long)f->size);
	if (!weir__st_read(f, 0, prefix, WEIR__ST_PREFIX, e)) return false;
	for (int i = WEIR__ST_PREFIX; i-- > 0;) f->length = f->length << 8 | prefix[i];
	if (f->length > WEIR__ST_HEADER_MAX)
		return weir__st_fail_at(e, WEIR_ERR_LIMIT, 0,
					"the header would have %llu bytes; at most %d are allowed",
					(unsigned long long)f->length, WEIR__ST_HEADER_MAX);
	if (f->length > f->size - WEIR__ST_PREFIX)
		return weir__st_fail_at(
			e, WEIR_ERR_FORMAT, 0,
			"the header should have %llu bytes, but only %llu follow; the file is truncated",
			(unsigned long long)f->length, (unsigned long long)(f->size - WEIR__ST_PREFIX));
	if (f->length == 0)
		return weir__st_fail_at(e, WEIR_ERR_FORMAT, 0, "the header is empty; it must at least be {}");
	f->data = WEIR__ST_PREFIX + f->length;
	f->text = text = weir__st_memory(w, f->length);
	return text && weir__st_read(f, WEIR__ST_PREFIX, text, f->length, e) && weir__st_check_text(f, e);
}

static bool parse_header(weir__st_file *f, weir__st_error *e)
{
	json_error_t why;
	uint64_t byte;

	f->root = json_loadb(f->text, f->length, JSON_REJECT_DUPLICATES, &why);
	if (f->root) return true; /* an object: check_text saw that it begins with { */
	if (json_error_code(&why) == json_error_out_of_memory)
		return weir__st_fail(e, WEIR_ERR_MEMORY, "out of memory");
	for (char *c = why.text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
	byte = WEIR__ST_PREFIX + (uint64_t)(why.position > 0 ? why.position : 0);
	return weir__st_fail_at(e, WEIR_ERR_FORMAT, byte, "the header is no valid %s: %s",
				json_error_code(&why) == json_error_invalid_utf8 ? "UTF-8" : "JSON", why.text);
}

bool weir__st_open(weir__st_file *f, weir_ctx *w, const char *path, weir__st_error *e)
{
	*f = (weir__st_file){ .fd = -1 };
	return open_regular(f, path, e) && read_header(f, w, e) && parse_header(f, e) &&
	       weir__st_check_tensors(f, w, e);
}

void weir__st_close(weir__st_file *f)
{
	if (f->fd >= 0) close(f->fd);
	json_decref(f->root);
	f->fd = -1;
	f->root = NULL;
}
