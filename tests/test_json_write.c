/* test_json_write.c: the JSON writer: what it writes, byte for byte, and what it refuses. */
#include "engine/json_write.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char buf[8192];
static weir__text text;

static weir__json start(unsigned flags)
{
	weir__json j;

	weir__text_fixed(&text, buf, sizeof(buf));
	weir__json_to_text(&j, &text, flags);
	return j;
}

static void expect(weir__json *j, const char *want)
{
	weir__json_error error = weir__json_finish(j);

	if (error) fail_msg("error %d after %s", error, buf);
	assert_string_equal(buf, want);
}

static void document(weir__json *j)
{
	weir__json_begin_object(j);
	weir__json_key(j, "name");
	weir__json_string(j, "fc1.weight");
	weir__json_key(j, "shape");
	weir__json_begin_row(j);
	weir__json_int(j, 64);
	weir__json_int(j, 784);
	weir__json_end(j);
	weir__json_key(j, "layers");
	weir__json_begin_array(j);
	weir__json_begin_object(j);
	weir__json_key(j, "norm");
	weir__json_double(j, 0.1);
	weir__json_key(j, "none");
	weir__json_begin_object(j);
	weir__json_end(j);
	weir__json_end(j);
	weir__json_begin_array(j);
	weir__json_end(j);
	weir__json_null(j);
	weir__json_bool(j, true);
	weir__json_end(j);
	weir__json_key(j, "last");
	weir__json_bool(j, false);
	weir__json_end(j);
}

static const char compact[] =
	"{\"name\":\"fc1.weight\",\"shape\":[64,784],\"layers\":[{\"norm\":0.1,\"none\":{}},[],null,true],"
	"\"last\":false}";
static const char pretty[] = "{\n"
			     "  \"name\": \"fc1.weight\",\n"
			     "  \"shape\": [64, 784],\n"
			     "  \"layers\": [\n"
			     "    {\n"
			     "      \"norm\": 0.1,\n"
			     "      \"none\": {}\n"
			     "    },\n"
			     "    [],\n"
			     "    null,\n"
			     "    true\n"
			     "  ],\n"
			     "  \"last\": false\n"
			     "}\n";

static void test_document(void **unused)
{
	weir__json j = start(0);

	(void)unused;
	document(&j);
	expect(&j, compact);
	j = start(WEIR__JSON_PRETTY);
	document(&j);
	expect(&j, pretty);
}

static void test_row_of_rows(void **unused)
{
	weir__json j = start(WEIR__JSON_PRETTY);

	(void)unused;
	weir__json_begin_row(&j);
	for (int i = 0; i < 2; i++) {
		weir__json_begin_array(&j);
		weir__json_int(&j, i);
		weir__json_int(&j, -i);
		weir__json_end(&j);
	}
	weir__json_begin_object(&j);
	weir__json_key(&j, "a");
	weir__json_int(&j, 1);
	weir__json_key(&j, "b");
	weir__json_int(&j, 2);
	weir__json_end(&j);
	weir__json_end(&j);
	expect(&j, "[[0, 0], [1, -1], {\"a\": 1, \"b\": 2}]\n");
}

static void test_numbers(void **unused)
{
	weir__json j = start(0);

	(void)unused;
	weir__json_begin_array(&j);
	weir__json_int(&j, INT64_MIN);
	weir__json_int(&j, INT64_MAX);
	weir__json_double(&j, -0.0);
	weir__json_double(&j, 5e-324);
	weir__json_double(&j, 1e22);
	weir__json_float(&j, 0.1f);
	weir__json_double(&j, (double)0.1f);
	weir__json_double(&j, NAN);
	weir__json_double(&j, INFINITY);
	weir__json_float(&j, -INFINITY);
	weir__json_end(&j);
	expect(&j, "[-9223372036854775808,9223372036854775807,-0,5e-324,1e+22,0.1,0.10000000149011612,null,null,null]");
}

static void test_strings(void **unused)
{
	static const struct {
		const char *s;
		size_t n;
		unsigned flags;
		const char *want;
	} cases[] = {
		{ "", 0, 0, "\"\"" },
		{ "a\"b\\c/", 6, 0, "\"a\\\"b\\\\c/\"" },
		{ "\b\f\n\r\t", 5, 0, "\"\\b\\f\\n\\r\\t\"" },
		{ "\0\x01\x1f\x7f", 4, 0, "\"\\u0000\\u0001\\u001f\x7f\"" },
		{ "</script>", 9, 0, "\"</script>\"" },
		{ "</script>", 9, WEIR__JSON_HTML, "\"\\u003c/script>\"" },
		{ "a\xe2\x80\xa8 b\xe2\x80\xa9", 9, WEIR__JSON_HTML, "\"a\\u2028 b\\u2029\"" },
		{ "a\xe2\x80\xa8", 4, 0, "\"a\xe2\x80\xa8\"" },
		{ "\xe2\x80\xa7\xe2\x80\xaa", 6, WEIR__JSON_HTML, "\"\xe2\x80\xa7\xe2\x80\xaa\"" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, 0, "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"" },
		{ "x\xffy", 3, 0, "\"x\\ufffdy\"" },
		{ "\xc0\x80", 2, 0, "\"\\ufffd\\ufffd\"" },
		{ "\xed\xa0\x80", 3, 0, "\"\\ufffd\\ufffd\\ufffd\"" },
		{ "\xf4\x90\x80\x80", 4, 0, "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
		{ "ab\xe2\x82", 4, 0, "\"ab\\ufffd\\ufffd\"" },
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		weir__json j = start(cases[i].flags);
		char keyed[128];

		weir__json_string_n(&j, cases[i].s, cases[i].n);
		expect(&j, cases[i].want);
		j = start(cases[i].flags);
		weir__json_begin_object(&j);
		weir__json_key_n(&j, cases[i].s, cases[i].n);
		weir__json_string(&j, NULL);
		weir__json_end(&j);
		snprintf(keyed, sizeof(keyed), "{%s:null}", cases[i].want);
		expect(&j, keyed);
	}
}

static void test_lines(void **unused)
{
	weir__json j = start(WEIR__JSON_LINES);

	(void)unused;
	for (int i = 0; i < 2; i++) {
		weir__json_begin_object(&j);
		weir__json_key(&j, "step");
		weir__json_int(&j, i);
		weir__json_end(&j);
	}
	weir__json_null(&j);
	expect(&j, "{\"step\":0}\n{\"step\":1}\nnull\n");
	j = start(WEIR__JSON_LINES);
	expect(&j, "");
}

static void test_depth(void **unused)
{
	weir__json j = start(0);

	(void)unused;
	for (int i = 0; i < WEIR__JSON_DEPTH; i++) weir__json_begin_array(&j);
	for (int i = 0; i < WEIR__JSON_DEPTH; i++) weir__json_end(&j);
	assert_int_equal(weir__json_finish(&j), WEIR__JSON_OK);
	assert_int_equal(text.length, 2 * WEIR__JSON_DEPTH);
	j = start(0);
	for (int i = 0; i < WEIR__JSON_DEPTH + 1; i++) weir__json_begin_array(&j);
	assert_int_equal(weir__json_finish(&j), WEIR__JSON_TOO_DEEP);
}

/* Each line is a way to call it wrongly: o object, a array, e end, k key, v value. */
static void test_misuse(void **unused)
{
	static const struct {
		const char *calls;
		weir__json_error error;
	} cases[] = {
		{ "", WEIR__JSON_UNFINISHED }, { "o", WEIR__JSON_UNFINISHED }, { "ae", WEIR__JSON_OK },
		{ "aea", WEIR__JSON_MISUSE },  { "vv", WEIR__JSON_MISUSE },    { "e", WEIR__JSON_MISUSE },
		{ "aee", WEIR__JSON_MISUSE },  { "ov", WEIR__JSON_MISUSE },    { "oo", WEIR__JSON_MISUSE },
		{ "okk", WEIR__JSON_MISUSE },  { "oke", WEIR__JSON_MISUSE },   { "k", WEIR__JSON_MISUSE },
		{ "ak", WEIR__JSON_MISUSE },   { "okvv", WEIR__JSON_MISUSE },  { "okv", WEIR__JSON_UNFINISHED },
		{ "okvkoee", WEIR__JSON_OK },  { "ovkve", WEIR__JSON_MISUSE },
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		weir__json j = start(0);

		for (const char *c = cases[i].calls; *c; c++) {
			if (*c == 'o') weir__json_begin_object(&j);
			else if (*c == 'a') weir__json_begin_array(&j);
			else if (*c == 'e') weir__json_end(&j);
			else if (*c == 'k') weir__json_key(&j, "k");
			else weir__json_int(&j, 1);
		}
		if (weir__json_finish(&j) != cases[i].error) fail_msg("\"%s\": error %d", cases[i].calls, j.error);
	}
}

static void test_truncated(void **unused)
{
	weir__json j;
	char small[16];

	(void)unused;
	weir__text_fixed(&text, small, sizeof(small));
	weir__json_to_text(&j, &text, 0);
	document(&j);
	assert_int_equal(weir__json_finish(&j), WEIR__JSON_TRUNCATED);
	assert_int_equal(strlen(small), sizeof(small) - 1);
}

static void test_file(void **unused)
{
	FILE *f = tmpfile();
	weir__json j;
	size_t n;

	(void)unused;
	assert_non_null(f);
	weir__json_to_file(&j, f, WEIR__JSON_PRETTY);
	document(&j);
	assert_int_equal(weir__json_finish(&j), WEIR__JSON_OK);
	rewind(f);
	n = fread(buf, 1, sizeof(buf) - 1, f);
	buf[n] = '\0';
	assert_string_equal(buf, pretty);
	fclose(f);
}

static void test_full_device(void **unused)
{
	FILE *f = fopen("/dev/full", "w");
	weir__json j;

	(void)unused;
	if (!f) skip();
	weir__json_to_file(&j, f, 0);
	document(&j);
	assert_int_equal(weir__json_finish(&j), WEIR__JSON_IO);
	assert_int_equal(j.error_number, ENOSPC);
	fclose(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_document),    cmocka_unit_test(test_row_of_rows), cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_strings),     cmocka_unit_test(test_lines),       cmocka_unit_test(test_depth),
		cmocka_unit_test(test_misuse),      cmocka_unit_test(test_truncated),   cmocka_unit_test(test_file),
		cmocka_unit_test(test_full_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
