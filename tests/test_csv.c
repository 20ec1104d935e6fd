/* test_csv.c: tables of numbers, and texts that are none. */
#include "io/csv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t held, largest;
static bool refuse;

static void *grow(void *user, void *p, size_t old_size, size_t new_size)
{
	(void)user;
	held += new_size - old_size;
	if (new_size > largest) largest = new_size;
	if (new_size == 0) {
		free(p);
		return NULL;
	}
	if (refuse) {
		held -= new_size - old_size;
		return NULL;
	}
	return realloc(p, new_size);
}

static char message[512];
static const weir__csv_format plain = { .name = "data.csv", .delimiter = ',', .header = WEIR_CSV_HEADER_AUTO };

/* Reads from memory of exactly n bytes, so that a sanitizer sees every byte read too many. */
static bool parse(const weir__csv_format *format, const char *s, size_t n, weir__csv *table)
{
	char *exact = malloc(n ? n : 1);
	weir__text error;
	bool ok;

	assert_non_null(exact);
	memcpy(exact, s, n);
	weir__text_fixed(&error, message, sizeof(message));
	largest = 0;
	ok = weir__csv_parse(format, exact, n, grow, NULL, table, &error);
	free(exact);
	if (!ok) {
		assert_int_equal(held, 0);
		assert_null(table->values);
		assert_int_not_equal(strlen(message), 0);
	}
	if (largest > 4 * n + 8) fail_msg("%zu bytes of values for %zu of text", largest, n);
	return ok;
}

static void drop(weir__csv *t)
{
	grow(NULL, t->values, t->bytes, 0);
	assert_int_equal(held, 0);
}

static void test_accepted(void **unused)
{
	static const struct {
		const char *text;
		int64_t rows, columns, first_line;
		double values[6];
	} cases[] = {
		{ "1,2,3\n4,5,6\n", 2, 3, 1, { 1, 2, 3, 4, 5, 6 } },
		{ "1,2,3\n4,5,6", 2, 3, 1, { 1, 2, 3, 4, 5, 6 } },
		{ "1,2,3\r\n4,5,6\r\n", 2, 3, 1, { 1, 2, 3, 4, 5, 6 } },
		{ "a,b,c\n1,2,3\n4,5,6\n", 2, 3, 2, { 1, 2, 3, 4, 5, 6 } },
		{ "\xef\xbb\xbf"
		  "1,2\n3,4\n",
		  2,
		  2,
		  1,
		  { 1, 2, 3, 4 } },
		{ "\xef\xbb\xbfx,y\r\n3,4\r\n", 1, 2, 2, { 3, 4 } },
		{ "1,2\n3,4\n\n\n", 2, 2, 1, { 1, 2, 3, 4 } },
		{ "1,2\r\n3,4\r\n\r\n  \r\n\t", 2, 2, 1, { 1, 2, 3, 4 } },
		{ "\n\n1,2\n3,4\n", 2, 2, 3, { 1, 2, 3, 4 } },
		{ "x,y\n\n1,2\n", 1, 2, 3, { 1, 2 } },
		{ "7", 1, 1, 1, { 7 } },
		{ "7\n8\n9\n", 3, 1, 1, { 7, 8, 9 } },
		{ " 1 ,\t2\t\n3 , 4 \n", 2, 2, 1, { 1, 2, 3, 4 } },
		{ "\"1\",\"2\"\n3,\" 4 \"\n", 2, 2, 1, { 1, 2, 3, 4 } },
		{ "\"a, b\",\"c \"\"d\"\"\"\n1,2\n", 1, 2, 2, { 1, 2 } },
		{ "\"two\nlines\",y\n1,2\n", 1, 2, 3, { 1, 2 } },
		{ "-1.5,+2e3,.5,1.,1e-400,0\n", 1, 6, 1, { -1.5, 2000, 0.5, 1, 0, 0 } },
		{ "label,1x1,1x2\n5,0,255\n", 1, 3, 2, { 5, 0, 255 } },
		{ "x\n9007199254740993\n", 1, 1, 2, { 9007199254740992.0 } },
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		weir__csv t;

		if (!parse(&plain, cases[i].text, strlen(cases[i].text), &t)) fail_msg("case %zu: %s", i, message);
		if (t.rows != cases[i].rows || t.columns != cases[i].columns || t.first_line != cases[i].first_line)
			fail_msg("case %zu: %lld x %lld from line %lld", i, (long long)t.rows, (long long)t.columns,
				 (long long)t.first_line);
		for (int64_t k = 0; k < t.rows * t.columns; k++)
			if (t.values[k] != cases[i].values[k])
				fail_msg("case %zu: value %lld is %g", i, (long long)k, t.values[k]);
		drop(&t);
	}
}

#define MALFORMED(text, want)                \
	{                                    \
		text, sizeof(text) - 1, want \
	}

static void test_malformed(void **unused)
{
	static const struct {
		const char *text;
		size_t n;
		const char *want;
	} cases[] = {
		MALFORMED("", "data.csv: the file is empty; it must have a row of numbers at least"),
		MALFORMED("\n\r\n  \n", "data.csv: the file is empty; it must have a row of numbers at least"),
		MALFORMED("\xef\xbb\xbf", "data.csv: the file is empty; it must have a row of numbers at least"),
		MALFORMED("a,b\n", "data.csv: there is no row of numbers after the header"),
		MALFORMED("a,b\n\n\n", "data.csv: there is no row of numbers after the header"),
		MALFORMED(
			"1,2,3\n4,5,abc\n",
			"data.csv: line 2, column 3: \"abc\" is not a number; every cell after the header must be one"),
		MALFORMED(
			"x,y\n1,2\n3,4\n5,6x\n",
			"data.csv: line 4, column 2: \"6x\" is not a number; every cell after the header must be one"),
		MALFORMED("1,2\na,b\n",
			  "data.csv: line 2, column 1: \"a\" is not a number; every cell after the header must be one"),
		MALFORMED(
			"1,abc\n2,3\n",
			"data.csv: line 1: \"abc\" is not a number, and other cells of the line are; where it is a header, "
			"set header to WEIR_CSV_HEADER_FIRST_LINE"),
		MALFORMED(
			"1,2\n3,\n",
			"data.csv: line 2, column 2: the cell is empty; every cell after the header must be a number"),
		MALFORMED(
			"1,2\n,4\n",
			"data.csv: line 2, column 1: the cell is empty; every cell after the header must be a number"),
		MALFORMED(
			"1,2\n3,\"\"\n",
			"data.csv: line 2, column 2: the cell is empty; every cell after the header must be a number"),
		MALFORMED(
			"1,2\n3,0x10\n",
			"data.csv: line 2, column 2: \"0x10\" is not a number; every cell after the header must be one"),
		MALFORMED("1,2\n3,1e400\n",
			  "data.csv: line 2, column 2: \"1e400\" is too large for a double; the largest is 1.797e308"),
		MALFORMED("1,2\n3,-1e400\n",
			  "data.csv: line 2, column 2: \"-1e400\" is too large for a double; the largest is 1.797e308"),
		MALFORMED("1,nan\n3,4\n",
			  "data.csv: line 1, column 2: \"nan\" is not finite; training needs finite numbers"),
		MALFORMED("1,2\n-inf,4\n",
			  "data.csv: line 2, column 1: \"-inf\" is not finite; training needs finite numbers"),
		MALFORMED("nan,inf\n3,4\n",
			  "data.csv: line 1, column 1: \"nan\" is not finite; training needs finite numbers"),
		MALFORMED("1,2\n3,4,5\n", "data.csv: line 2: 3 cells, but line 1 has 2; all lines must have as many"),
		MALFORMED("1,2,3\n4,5\n", "data.csv: line 2: 2 cells, but line 1 has 3; all lines must have as many"),
		MALFORMED("x,y,z\n\n1,2,3\n4\n",
			  "data.csv: line 4: 1 cell, but line 1 has 3; all lines must have as many"),
		MALFORMED("x,y,z\n1,2\n", "data.csv: line 2: 2 cells, but line 1 has 3; all lines must have as many"),
		MALFORMED("1,2\n3,4,\n", "data.csv: line 2: 3 cells, but line 1 has 2; all lines must have as many"),
		MALFORMED("1,2\n\n3,4\n",
			  "data.csv: line 2: the line is empty; only the end of the file may have empty lines"),
		MALFORMED("1\n \n3\n",
			  "data.csv: line 2: the line is empty; only the end of the file may have empty lines"),
		MALFORMED("1,2\n3,\0004\n", "data.csv: line 2, column 2: a NUL byte; this is no text file"),
		MALFORMED("1,2\n\0\0", "data.csv: line 2, column 1: a NUL byte; this is no text file"),
		MALFORMED("1,\"2\0\"\n", "data.csv: line 1, column 2: a NUL byte; this is no text file"),
		MALFORMED(
			"1,2\r3,4\r",
			"data.csv: line 1, column 2: a carriage return without a line feed; lines must end in LF or CRLF"),
		MALFORMED(
			"1,2\n3,4\r",
			"data.csv: line 2, column 2: a carriage return without a line feed; lines must end in LF or CRLF"),
		MALFORMED("1,2\n3,\"4\n", "data.csv: line 2, column 2: a quote is opened here and never closed"),
		MALFORMED("\"", "data.csv: line 1, column 1: a quote is opened here and never closed"),
		MALFORMED("1,\"2\"3\n",
			  "data.csv: line 1, column 2: something follows a closing quote; the cell must end there"),
		MALFORMED(
			"1,2\n3,\"4\"\"5\"\n",
			"data.csv: line 2, column 2: \"4\\x22\\x225\" is not a number; every cell after the header must be one"),
		MALFORMED(
			"1,2\n3,4 5\n",
			"data.csv: line 2, column 2: \"4 5\" is not a number; every cell after the header must be one"),
		MALFORMED(
			"1,2\n3,--4\n",
			"data.csv: line 2, column 2: \"--4\" is not a number; every cell after the header must be one"),
		MALFORMED(
			"1,2\n3,1e\n",
			"data.csv: line 2, column 2: \"1e\" is not a number; every cell after the header must be one"),
		MALFORMED(
			"1;2\n3;4\n",
			"data.csv: line 2, column 1: \"3;4\" is not a number; every cell after the header must be one"),
		MALFORMED(
			"1,2\n3,\xff\x01\n",
			"data.csv: line 2, column 2: \"\\xff\\x01\" is not a number; every cell after the header must be one"),
		MALFORMED(
			"1,2\n3,aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee\n",
			"data.csv: line 2, column 2: \"aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd...\" is not a number; every cell after "
			"the header must be one"),
		MALFORMED("\"two\nlines\",y\n1,x\n",
			  "data.csv: line 3, column 2: \"x\" is not a number; every cell after the header must be one"),
		MALFORMED("\xff\xfe"
			  "1\0,\0",
			  "data.csv: the text is UTF-16; save it as UTF-8"),
		MALFORMED("\xfe\xff\0001", "data.csv: the text is UTF-16; save it as UTF-8"),
		MALFORMED("\x1f\x8b\x08", "data.csv: the file is compressed by gzip; unpack it first"),
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		weir__csv t;

		if (parse(&plain, cases[i].text, cases[i].n, &t))
			fail_msg("case %zu is accepted; expected: %s", i, cases[i].want);
		if (strcmp(message, cases[i].want) != 0)
			fail_msg("case %zu:\n  got  %s\n  want %s", i, message, cases[i].want);
	}
}

static void test_options(void **unused)
{
	weir__csv_format f = plain;
	weir__csv t;

	(void)unused;
	f.header = WEIR_CSV_HEADER_FIRST_LINE;
	assert_true(parse(&f, "label,0,1\n5,6,7\n", 16, &t));
	assert_int_equal(t.rows, 1);
	drop(&t);
	assert_true(parse(&f, "1,2\n5,6\n", 8, &t)); /* numbers may be names */
	assert_int_equal(t.rows, 1);
	drop(&t);
	f.header = WEIR_CSV_HEADER_NONE;
	assert_false(parse(&f, "a,b\n5,6\n", 8, &t));
	assert_string_equal(
		message, "data.csv: line 1, column 1: \"a\" is not a number; every cell after the header must be one");
	f.delimiter = ';';
	assert_true(parse(&f, "1;2\n3; 4\n", 9, &t));
	assert_int_equal(t.columns, 2);
	drop(&t);
	f.delimiter = '\t';
	assert_true(parse(&f, "1\t 2\n", 5, &t));
	assert_int_equal(t.columns, 2);
	drop(&t);
	assert_false(parse(&f, "1\t2\t\n", 5, &t));
	assert_string_equal(
		message, "data.csv: line 1, column 3: the cell is empty; every cell after the header must be a number");
	f = plain;
	f.most_values = 4;
	assert_true(parse(&f, "1,2\n3,4\n\n", 9, &t));
	drop(&t);
	assert_false(parse(&f, "1,2\n3,4\n5,6\n", 12, &t));
	assert_string_equal(message, "data.csv: the table has up to 6 numbers, the limit is 4");
}

static void test_no_memory(void **unused)
{
	weir__csv t;

	(void)unused;
	refuse = true;
	assert_false(parse(&plain, "1,2\n3,4\n", 8, &t));
	refuse = false;
	assert_string_equal(message, "data.csv: no memory for up to 4 numbers");
}

/* Every cut and every changed byte of a file: accepted or refused, nothing read outside, nothing lost. */
static void test_mutations(void **unused)
{
	static const char seed[] = "\xef\xbb\xbf\"a, \"\"b\"\"\",c\r\n1.5,-2e3\r\n \"3\" ,4\r\n\r\n";
	static const char bytes[] = "\0\n\r\t \",;.-+eE019xn\x80\xff";
	char changed[sizeof(seed)];
	size_t n = sizeof(seed) - 1;
	weir__csv t;
	int accepted = 0, refused = 0;

	(void)unused;
	for (size_t cut = 0; cut <= n; cut++) {
		bool ok = parse(&plain, seed, cut, &t);

		if (ok) drop(&t);
		accepted += ok;
		refused += !ok;
	}
	for (size_t i = 0; i < n; i++) {
		for (size_t b = 0; b < sizeof(bytes) - 1; b++) {
			bool ok;

			memcpy(changed, seed, n);
			changed[i] = bytes[b];
			ok = parse(&plain, changed, n, &t);
			if (ok) drop(&t);
			accepted += ok;
			refused += !ok;
		}
	}
	assert_true(accepted > 50 && refused > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),  cmocka_unit_test(test_malformed), cmocka_unit_test(test_options),
		cmocka_unit_test(test_no_memory), cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
