/* test_text.c: the text builder, in a fixed buffer and growing. */
#include "engine/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Counts what it holds, and refuses to hold more than limit bytes. */
struct memory {
	size_t held, limit;
};

static void *grow(void *user, void *p, size_t old_size, size_t new_size)
{
	struct memory *m = user;

	assert_int_equal(p == NULL, old_size == 0);
	if (new_size > m->limit) return NULL;
	m->held += new_size - old_size;
	if (new_size == 0) {
		free(p);
		return NULL;
	}
	return realloc(p, new_size);
}

static void write_all(weir__text *t)
{
	static const int64_t shape[] = { 64, 784 };

	weir__text_str(t, "x is ");
	weir__text_shape(t, 2, shape);
	weir__text_str(t, NULL);
	weir__text_str(t, " at ");
	weir__text_int(t, INT64_MIN);
	weir__text_bytes(t, ", ", 2);
	weir__text_double(t, 0.1, 'g', 0);
	weir__text_str(t, ", ");
	weir__text_double(t, 0.1, 'e', 2);
	weir__text_str(t, ", ");
	weir__text_float(t, 0.1f);
	weir__text_format(t, ", %d %s", 7, "seven");
	weir__text_shape(t, 0, NULL);
	weir__text_repeat(t, '-', 3);
}

static const char all[] = "x is [64, 784] at -9223372036854775808, 0.1, 1.00e-01, 0.1, 7 seven[]---";

static void test_pieces(void **unused)
{
	char buf[256];
	weir__text t;

	(void)unused;
	weir__text_fixed(&t, buf, sizeof(buf));
	assert_string_equal(buf, "");
	write_all(&t);
	assert_string_equal(buf, all);
	assert_int_equal(t.length, strlen(all));
	assert_false(t.truncated);
	weir__text_clear(&t);
	assert_string_equal(buf, "");
	weir__text_str(&t, "again");
	assert_string_equal(buf, "again");
}

/* Every size of buffer: as much as fits, then "...", and no byte behind the end. */
static void test_truncation(void **unused)
{
	char buf[256];
	weir__text t;

	(void)unused;
	for (size_t cap = 1; cap <= sizeof(all); cap++) {
		memset(buf, '#', sizeof(buf));
		weir__text_fixed(&t, buf, cap);
		write_all(&t);
		assert_int_equal(buf[cap], '#');
		assert_int_equal(t.length, strlen(buf));
		assert_int_equal(t.truncated, cap < sizeof(all));
		if (cap == sizeof(all)) {
			assert_string_equal(buf, all);
		} else {
			size_t dots = cap > 3 ? 3 : cap - 1;

			assert_int_equal(t.length, cap - 1);
			assert_memory_equal(buf, all, cap - 1 - dots);
			assert_memory_equal(buf + cap - 1 - dots, "...", dots);
		}
		weir__text_str(&t, "more");
		assert_true(strlen(buf) < cap);
	}
}

static void test_truncation_keeps_characters_whole(void **unused)
{
	char buf[32];
	weir__text t;

	(void)unused;
	for (size_t cap = 1; cap < 14; cap++) {
		size_t i = 0, n;

		weir__text_fixed(&t, buf, cap);
		weir__text_str(&t, "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80-\xe2\x82\xac");
		for (; (n = weir__utf8(buf + i, strlen(buf + i))) > 0; i += n) continue;
		if (buf[i]) fail_msg("cap %zu: \"%s\" is not UTF-8", cap, buf);
		assert_true(t.truncated);
	}
}

static void test_growing(void **unused)
{
	struct memory m = { 0, SIZE_MAX };
	weir__text t;

	(void)unused;
	weir__text_growing(&t, grow, &m);
	assert_string_equal(t.data, "");
	weir__text_clear(&t);
	for (int i = 0; i < 1000; i++) write_all(&t);
	assert_int_equal(t.length, 1000 * strlen(all));
	for (size_t i = 0; i < 1000; i++) assert_memory_equal(t.data + i * strlen(all), all, strlen(all));
	assert_false(t.truncated);
	weir__text_double(&t, 1e300, 'f', 700); /* longer than the builder's own buffer */
	assert_int_equal(t.length, 1000 * strlen(all) + 1002);
	weir__text_format(&t, "%1000d", 5);
	assert_int_equal(t.length, 1000 * strlen(all) + 2002);
	assert_int_equal(strlen(t.data), t.length);
	weir__text_drop(&t);
	assert_int_equal(m.held, 0);
	assert_string_equal(t.data, "");
}

static void test_no_memory(void **unused)
{
	struct memory m = { 0, 0 };
	weir__text t;

	(void)unused;
	weir__text_growing(&t, grow, &m);
	write_all(&t);
	weir__text_double(&t, 1e300, 'f', 700);
	weir__text_format(&t, "%1000d", 5);
	assert_string_equal(t.data, "");
	assert_true(t.truncated);
	weir__text_drop(&t);

	m.limit = 300;
	weir__text_growing(&t, grow, &m);
	for (int i = 0; i < 10; i++) write_all(&t);
	assert_true(t.truncated);
	assert_int_equal(t.length, 255);
	assert_string_equal(t.data + 252, "...");
	weir__text_drop(&t);
	assert_int_equal(m.held, 0);
}

static void test_long_pieces_into_little_room(void **unused)
{
	char buf[40];
	weir__text t;

	(void)unused;
	weir__text_fixed(&t, buf, sizeof(buf));
	weir__text_str(&t, "n: ");
	weir__text_double(&t, 1e300, 'f', 700);
	assert_string_equal(buf, "n: 100000000000000005250476025520442...");
	weir__text_fixed(&t, buf, sizeof(buf));
	weir__text_str(&t, "n: ");
	weir__text_format(&t, "%-1000dx", 123);
	assert_string_equal(buf, "n: 123                              ...");
	weir__text_fixed(&t, buf, sizeof(buf));
	weir__text_repeat(&t, '=', 1000);
	assert_string_equal(buf, "====================================...");
}

static void test_quoted(void **unused)
{
	static const struct {
		const char *s;
		size_t n, limit;
		const char *want;
	} cases[] = {
		{ "abc", 3, 10, "\"abc\"" },
		{ "", 0, 10, "\"\"" },
		{ "a\"b\\c", 5, 10, "\"a\\x22b\\x5cc\"" },
		{ "a\0b\n\x7f", 5, 10, "\"a\\x00b\\x0a\\x7f\"" },
		{ "\xc3\xa4\xff\xc3", 4, 10, "\"\xc3\xa4\\xff\\xc3\"" },
		{ "abcdef", 6, 4, "\"abcd...\"" },
		{ "abc\xc3\xa4", 5, 4, "\"abc...\"" },
		{ "\xc0\x80\xed\xa0\x80", 5, 10, "\"\\xc0\\x80\\xed\\xa0\\x80\"" },
	};
	char buf[64];
	weir__text t;

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		weir__text_fixed(&t, buf, sizeof(buf));
		weir__text_quoted(&t, cases[i].s, cases[i].n, cases[i].limit);
		assert_string_equal(buf, cases[i].want);
	}
}

/* Every code point, and what no code point looks like. */
static void test_utf8(void **unused)
{
	static const char *const bad[] = {
		"\x80",
		"\xbf",
		"\xc0\x80",
		"\xc1\xbf",
		"\xc3",
		"\xc3z",
		"\xe0\x9f\xbf",
		"\xe2\x82",
		"\xed\xa0\x80",
		"\xed\xbf\xbf",
		"\xf0\x8f\xbf\xbf",
		"\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80",
		"\xf8\x88\x80\x80\x80",
		"\xfe",
		"\xff",
	};

	(void)unused;
	for (unsigned c = 0; c <= 0x10ffff; c++) {
		char s[4];
		size_t n = 0;

		if (c >= 0xd800 && c <= 0xdfff) continue;
		if (c < 0x80) {
			s[n++] = (char)c;
		} else if (c < 0x800) {
			s[n++] = (char)(0xc0 | c >> 6);
			s[n++] = (char)(0x80 | (c & 63));
		} else if (c < 0x10000) {
			s[n++] = (char)(0xe0 | c >> 12);
			s[n++] = (char)(0x80 | (c >> 6 & 63));
			s[n++] = (char)(0x80 | (c & 63));
		} else {
			s[n++] = (char)(0xf0 | c >> 18);
			s[n++] = (char)(0x80 | (c >> 12 & 63));
			s[n++] = (char)(0x80 | (c >> 6 & 63));
			s[n++] = (char)(0x80 | (c & 63));
		}
		if (weir__utf8(s, n) != n || weir__utf8(s, n - 1) != 0) fail_msg("U+%04X", c);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (weir__utf8(bad[i], strlen(bad[i]))) fail_msg("case %zu is accepted", i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_truncation_keeps_characters_whole),
		cmocka_unit_test(test_growing),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_long_pieces_into_little_room),
		cmocka_unit_test(test_quoted),
		cmocka_unit_test(test_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
