/* test_number.c: the number formatter and parser against libc in the C locale. Long, because both share
 * the hard cases and the random numbers. */
#include "engine/number.h"

#include <fenv.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PATTERNS = 250000, BUFFER = 1600 };

static const char *const hard[] = {
	"0",
	"-0",
	"1",
	"0.1",
	"0.5",
	"1.5",
	"2.5",
	"0.25",
	"9.5",
	"99.5",
	"0.05",
	"0.15",
	"123456789",
	"1e15",
	"1e16",
	"1e17",
	"1e21",
	"1e22",
	"1e23",
	"8.5e22",
	"9007199254740991",
	"9007199254740992",
	"9007199254740993",
	"9007199254740994",
	"9007199254740995",
	"18014398509481985",
	"4.9406564584124654e-324",
	"5e-324",
	"2.4703282292062327e-324",
	"2.4703282292062328e-324",
	"7.4109846876186981e-324",
	"2.2250738585072011e-308",
	"2.2250738585072012e-308",
	"2.2250738585072014e-308",
	"2.225073858507201e-308",
	"1.7976931348623157e308",
	"1.7976931348623158e308",
	"5.684341886080801e-14",
	"5.684341886080802e-14",
	"5.6843418860808015e-14",
	"9.5367431640625e-07",
	"6.103515625e-05",
	"1.1920928955078125e-07",
	"3.5844466002796428e+298",
	"7.2057594037927933e16",
	"1.152921504606847e18",
	"6.9294956446009195e15",
	"3.4028234663852886e38",
	"1.401298464324817e-45",
	"1.1754943508222875e-38",
	"1e-400",
	"1e-323",
	"1e-5",
	"0.0001",
	"0.00012345678901234567",
	"123456.7890625",
	"6631236846766476e-316",
	"104308485241983990666713401708072175773165034278682e-26",
	"0.500000000000000166533453693773481063544750213623046875",
	"3.50860140614594e-310",
	"179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096330286416"
	"692887910946555547851940402630657488671505820681908902000708383676273854845817711531764475730270069855571366959"
	"622842914819860834936475292719074168444365510704342711559699508093042880.0",
	"12345678901234567890123456789012345678901234567890e-100",
	"00000000000000000000000000000000000000001.5e0000000001",
	".000000000000000000000000000000000000000000000000000000000000000000000000015e60",
	"1.",
	".5",
	"+3",
	"1e+0005",
	"9223372036854775807",
	"9223372036854775808",
	"18446744073709551615",
	"18446744073709551616",
	"1e27",
	"1e28",
	"1e-27",
	"1e-28",
	"9999999999999999999e27",
	"9999999999999999999e-27",
	"99999999999999999999",
};

static uint64_t state = 1;

static uint64_t next(void) /* splitmix64 */
{
	uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t bits_of(double x)
{
	uint64_t b;

	memcpy(&b, &x, sizeof(b));
	return b;
}

static double from_bits(uint64_t b)
{
	double x;

	memcpy(&x, &b, sizeof(x));
	return x;
}

/* Every bit pattern, or a number of everyday size, or one with few digits. */
static double any_number(void)
{
	double x;

	switch (next() % 4) {
	case 0: return (double)(int64_t)(next() >> (next() % 64)) / 1024.0;
	case 1: x = (double)(next() % 100000) * 1e-4; return next() % 2 ? x : -x;
	default:
		do x = from_bits(next());
		while (!isfinite(x));
		return x;
	}
}

static void check_format(double x, char style, int digits)
{
	char mine[BUFFER], theirs[BUFFER];
	const char *pattern = style == 'e' ? "%.*e" : style == 'f' ? "%.*f" : "%.*g";
	size_t length = weir__format_double(mine, sizeof(mine), x, style, digits);
	int want = snprintf(theirs, sizeof(theirs), pattern, digits, x);

	if (strcmp(mine, theirs) != 0) fail_msg("%a as %%.%d%c: got %s, libc %s", x, digits, style, mine, theirs);
	if (length != (size_t)want) fail_msg("%a as %%.%d%c: length %zu, libc %d", x, digits, style, length, want);
}

static void check_parse(const char *s)
{
	double got, want = strtod(s, NULL);
	size_t used, n = strlen(s);
	weir__parsed result = weir__parse_double(s, n, 0, &got, &used);
	float gotf, wantf = strtof(s, NULL);
	weir__parsed resultf = weir__parse_float(s, n, 0, &gotf, &used);

	if (bits_of(got) != bits_of(want)) fail_msg("%s: got %a, strtod %a", s, got, want);
	if (result != (isinf(want) ? WEIR__PARSED_RANGE : WEIR__PARSED)) fail_msg("%s: result %d", s, result);
	if (memcmp(&gotf, &wantf, sizeof(gotf)) != 0) fail_msg("%s: got %a, strtof %a", s, (double)gotf, (double)wantf);
	if (resultf != (isinf(wantf) ? WEIR__PARSED_RANGE : WEIR__PARSED)) fail_msg("%s: f32 result %d", s, resultf);
	if (used != n) fail_msg("%s: used %zu of %zu bytes", s, used, n);
}

static void round_trip(const char *s, double x)
{
	double back;
	size_t used;

	if (weir__parse_double(s, strlen(s), 0, &back, &used) != WEIR__PARSED || bits_of(back) != bits_of(x) || s[used])
		fail_msg("%s: reads back as %a instead of %a", s, back, x);
	back = strtod(s, NULL);
	if (bits_of(back) != bits_of(x)) fail_msg("%s: strtod reads %a instead of %a", s, back, x);
}

static int digits_of(const char *s, uint64_t *value)
{
	int n = 0, zeros = 0;

	*value = 0;
	for (; *s && *s != 'e'; s++) {
		if (*s < '0' || *s > '9' || (*s == '0' && n == 0)) continue;
		zeros = *s == '0' ? zeros + 1 : 0;
		*value = *value * 10 + (uint64_t)(*s - '0');
		n++;
	}
	for (; zeros; zeros--, n--) *value /= 10;
	return n;
}

/* No text with one digit less reads back as x; of those with as many, libc's correctly rounded one is the same if it
 * reads back. */
static void check_shortest(double x, bool narrow)
{
	char mine[WEIR__NUMBER_MAX], theirs[64], shorter[64];
	uint64_t value, other;
	size_t length = narrow ? weir__format_float(mine, sizeof(mine), (float)x)
			       : weir__format_double(mine, sizeof(mine), x, 'g', 0);
	int n;

	assert_in_range(length, 1, WEIR__NUMBER_MAX - 1);
	assert_int_equal(length, strlen(mine));
	if (narrow) {
		float back;
		size_t used;

		weir__parse_float(mine, length, 0, &back, &used);
		if (used != length || bits_of((double)back) != bits_of(x) ||
		    bits_of((double)strtof(mine, NULL)) != bits_of(x))
			fail_msg("%s: f32 %a reads back as %a", mine, x, (double)back);
	} else {
		round_trip(mine, x);
	}
	n = digits_of(mine, &value);
	if (n > (narrow ? 9 : 17)) fail_msg("%s has %d digits", mine, n);
	if (n > 0) {
		snprintf(theirs, sizeof(theirs), "%.*e", n - 1, x);
		if ((narrow ? (double)strtof(theirs, NULL) : strtod(theirs, NULL)) == x) {
			digits_of(theirs, &other);
			if (other != value)
				fail_msg("%a: %s is not the closest with %d digits, %s is", x, mine, n, theirs);
		}
	}
	if (n < 2) return;
	snprintf(shorter, sizeof(shorter), "%.*e", n - 2, x);
	digits_of(shorter, &other);
	for (int step = -1; step <= 1; step++) {
		const char *e = strchr(shorter, 'e');
		uint64_t first = 0;
		int count = 0;
		double back;

		for (const char *c = shorter; c < e; c++)
			if (*c >= '0' && *c <= '9') first = first * 10 + (uint64_t)(*c - '0'), count++;
		snprintf(theirs, sizeof(theirs), "%s%llue%d", x < 0 ? "-" : "",
			 (unsigned long long)(first + (uint64_t)step), atoi(e + 1) - count + 1);
		back = narrow ? (double)strtof(theirs, NULL) : strtod(theirs, NULL);
		if (back == x) fail_msg("%a: %s could be %s", x, mine, theirs);
	}
}

static void test_formats(void **unused)
{
	(void)unused;
	for (int i = 0; i < PATTERNS; i++) {
		double x = any_number();
		int digits = (int)(next() % 24);

		check_format(x, 'e', digits);
		check_format(x, 'f', digits);
		check_format(x, 'p', digits);
	}
}

static void test_formats_hard(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < sizeof(hard) / sizeof(*hard); i++) {
		double x = strtod(hard[i], NULL);

		for (int digits = -1; digits < 1100; digits += digits < 40 ? 1 : 97)
			for (const char *style = "efp"; *style; style++) {
				if (!isinf(x)) {
					check_format(x, *style, digits);
					check_format(-x, *style, digits);
				}
			}
	}
}

static void test_shortest(void **unused)
{
	(void)unused;
	for (int i = 0; i < PATTERNS; i++) check_shortest(any_number(), false);
	for (size_t i = 0; i < sizeof(hard) / sizeof(*hard); i++)
		if (isfinite(strtod(hard[i], NULL))) check_shortest(strtod(hard[i], NULL), false);
	for (int e = -1074; e < 1024; e++) {
		check_shortest(ldexp(1, e), false);
		check_shortest(nextafter(ldexp(1, e), 0), false);
		check_shortest(-nextafter(ldexp(1, e), INFINITY), false);
	}
}

static void test_shortest_float(void **unused)
{
	(void)unused;
	for (int i = 0; i < PATTERNS; i++) {
		uint32_t bits = (uint32_t)next();
		float x;

		memcpy(&x, &bits, sizeof(x));
		if (isfinite(x)) check_shortest((double)x, true);
	}
	for (int e = -149; e < 128; e++) check_shortest(ldexp(1, e), true);
}

static void test_layout(void **unused)
{
	static const struct {
		double x;
		const char *text;
	} cases[] = {
		{ 0.0, "0" },
		{ -0.0, "-0" },
		{ 1.0, "1" },
		{ 100.0, "100" },
		{ 0.1, "0.1" },
		{ -2.5, "-2.5" },
		{ 1e15, "1000000000000000" },
		{ 1e16, "1e+16" },
		{ 1e-4, "0.0001" },
		{ 1e-5, "1e-05" },
		{ 1.5e-7, "1.5e-07" },
		{ 5e-324, "5e-324" },
		{ DBL_MAX, "1.7976931348623157e+308" },
		{ 9007199254740993.0, "9007199254740992" },
		{ 0.3, "0.3" },
		{ 5.684341886080802e-14, "5.684341886080802e-14" },
		{ 123.456, "123.456" },
		{ 1e23, "1e+23" },
		{ NAN, "nan" },
		{ -NAN, "nan" },
		{ INFINITY, "inf" },
		{ -INFINITY, "-inf" },
	};
	char buf[WEIR__NUMBER_MAX];

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		weir__format_double(buf, sizeof(buf), cases[i].x, 'g', 0);
		assert_string_equal(buf, cases[i].text);
	}
	weir__format_float(buf, sizeof(buf), 0.1f);
	assert_string_equal(buf, "0.1");
	weir__format_float(buf, sizeof(buf), FLT_MAX);
	assert_string_equal(buf, "3.4028235e+38");
	weir__format_float(buf, sizeof(buf), 1e-45f);
	assert_string_equal(buf, "1e-45");
	weir__format_float(buf, sizeof(buf), 16777216.0f);
	assert_string_equal(buf, "16777216");
	weir__format_double(buf, sizeof(buf), -INFINITY, 'f', 3);
	assert_string_equal(buf, "-inf");
}

static void test_cap(void **unused)
{
	char buf[64], whole[64];

	(void)unused;
	for (const char *style = "gefp"; *style; style++) {
		size_t n = weir__format_double(whole, sizeof(whole), -123.4567e-30, *style, 33);

		for (size_t cap = 0; cap <= n + 1; cap++) {
			memset(buf, '#', sizeof(buf));
			assert_int_equal(weir__format_double(buf, cap, -123.4567e-30, *style, 33), n);
			if (cap) {
				assert_memory_equal(buf, whole, cap - 1);
				assert_int_equal(buf[cap - 1], 0);
			}
			assert_int_equal(buf[cap], '#');
		}
	}
	assert_int_equal(weir__format_double(buf, 4, NAN, 'g', 0), 3);
	assert_string_equal(buf, "nan");
	assert_int_equal(weir__format_double(buf, 8, 1.0, 'f', 1000000000), 1000000002);
	assert_string_equal(buf, "1.00000");
	assert_int_equal(weir__format_double(NULL, 0, 1.5, 'g', 0), 3);
}

static void test_parse_hard(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < sizeof(hard) / sizeof(*hard); i++) check_parse(hard[i]);
}

static void test_parse_random(void **unused)
{
	char s[128];

	(void)unused;
	for (int i = 0; i < PATTERNS; i++) {
		double x = any_number();
		size_t at = 0, digits;

		snprintf(s, sizeof(s), "%.*e", (int)(next() % 40), x);
		check_parse(s);
		if (next() % 2) s[at++] = '-';
		digits = 1 + next() % 45;
		for (size_t k = 0, point = next() % (digits + 1); k < digits; k++) {
			if (k == point) s[at++] = '.';
			s[at++] = (char)('0' + next() % 10);
		}
		if (next() % 2) snprintf(s + at, sizeof(s) - at, "e%d", (int)(next() % 700) - 360);
		else s[at] = '\0';
		check_parse(s);
	}
}

/* Exactly halfway between two neighbours, and a little to either side. */
static void test_parse_halfway(void **unused)
{
	char s[BUFFER];

	(void)unused;
	for (int i = 0; i < 20000; i++) {
		double low = fabs(any_number()), high = nextafter(low, INFINITY);
		uint64_t last;
		char *e;

		if (low == 0 || isinf(high)) continue;
		if (i % 2) {
			low = (double)fabsf((float)low);
			high = (double)nextafterf((float)low, INFINITY);
			if (!(low > 0) || isinf(high)) continue;
		}
		/* the middle is exact in a long double of 64 bits or more */
		if (snprintf(s, sizeof(s), "%.800Le", ((long double)low + (long double)high) / 2) < 800) fail();
		check_parse(s);
		e = strchr(s, 'e');
		e[-1] = '1';
		check_parse(s);
		e[-1] = '0';
		for (last = 0; e[-1 - (int64_t)last] == '0';) last++;
		e[-1 - (int64_t)last]--;
		memset(e - last, '9', last);
		check_parse(s);
	}
}

static void test_parse_long(void **unused)
{
	enum { ZEROS = 100000 };
	char *s = malloc(ZEROS + 64);
	double x;
	size_t used;

	(void)unused;
	assert_non_null(s);
	memcpy(s, "0.", 2);
	memset(s + 2, '0', ZEROS);
	memcpy(s + 2 + ZEROS, "25e100000", 10);
	check_parse(s);
	s[0] = '2';
	memcpy(s + 2 + ZEROS, "25e-100000", 11);
	check_parse(s);
	memset(s, '7', ZEROS);
	memcpy(s + ZEROS, "e-99999", 8);
	check_parse(s);
	memcpy(s + ZEROS, "e-100320", 9);
	check_parse(s);
	memcpy(s, "9007199254740993", 16);
	s[16] = '.';
	memset(s + 17, '0', ZEROS);
	s[17 + ZEROS] = '\0';
	check_parse(s);
	s[17 + ZEROS] = '1';
	s[18 + ZEROS] = '\0';
	check_parse(s);
	memcpy(s, "1e99999999999999999999999", 26);
	check_parse(s);
	memcpy(s, "1e-99999999999999999999999", 27);
	check_parse(s);
	memcpy(s, "0e99999999999999999999999", 26);
	assert_int_equal(weir__parse_double(s, 25, 0, &x, &used), WEIR__PARSED);
	assert_true(x == 0 && used == 25);
	free(s);
}

static void test_parse_grammar(void **unused)
{
	static const struct {
		const char *s;
		weir__parsed result;
		size_t used;
		double value;
	} cases[] = {
		{ "", WEIR__PARSED_NONE, 0, 0 },
		{ "+", WEIR__PARSED_NONE, 0, 0 },
		{ "-", WEIR__PARSED_NONE, 0, 0 },
		{ ".", WEIR__PARSED_NONE, 0, 0 },
		{ "-.", WEIR__PARSED_NONE, 0, 0 },
		{ "e5", WEIR__PARSED_NONE, 0, 0 },
		{ ".e5", WEIR__PARSED_NONE, 0, 0 },
		{ " 1", WEIR__PARSED_NONE, 0, 0 },
		{ "--1", WEIR__PARSED_NONE, 0, 0 },
		{ "abc", WEIR__PARSED_NONE, 0, 0 },
		{ "inf", WEIR__PARSED_NONE, 0, 0 },
		{ "nan", WEIR__PARSED_NONE, 0, 0 },
		{ "0x10", WEIR__PARSED, 1, 0 },
		{ "1e", WEIR__PARSED, 1, 1 },
		{ "1e+", WEIR__PARSED, 1, 1 },
		{ "1ex", WEIR__PARSED, 1, 1 },
		{ "1.5.2", WEIR__PARSED, 3, 1.5 },
		{ "1,5", WEIR__PARSED, 1, 1 },
		{ "1 2", WEIR__PARSED, 1, 1 },
		{ "1E2", WEIR__PARSED, 3, 100 },
		{ "1f", WEIR__PARSED, 1, 1 },
		{ "1e-400", WEIR__PARSED, 6, 0 },
		{ "1e400", WEIR__PARSED_RANGE, 5, INFINITY },
		{ "-1e400", WEIR__PARSED_RANGE, 6, -INFINITY },
		{ "1.7976931348623159e308", WEIR__PARSED_RANGE, 22, INFINITY },
	};
	static const char *const nonfinite[] = { "inf", "-inf", "+Inf", "INFINITY", "-infinity", "nan", "NaN", "-nan" };
	double x;
	size_t used;

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		weir__parsed result = weir__parse_double(cases[i].s, strlen(cases[i].s), 0, &x, &used);

		if (result != cases[i].result || used != cases[i].used || x != cases[i].value)
			fail_msg("\"%s\": result %d, used %zu, value %g", cases[i].s, result, used, x);
	}
	for (size_t i = 0; i < sizeof(nonfinite) / sizeof(*nonfinite); i++) {
		const char *s = nonfinite[i];
		double want = strtod(s, NULL);

		assert_int_equal(weir__parse_double(s, strlen(s), WEIR__PARSE_NONFINITE, &x, &used), WEIR__PARSED);
		assert_int_equal(used, strlen(s));
		if (isnan(want) ? !isnan(x) : x != want) fail_msg("%s: got %g", s, x);
	}
	assert_int_equal(weir__parse_double("infx", 4, WEIR__PARSE_NONFINITE, &x, &used), WEIR__PARSED);
	assert_int_equal(used, 3);
	assert_int_equal(weir__parse_double("12345", 3, 0, &x, NULL), WEIR__PARSED); /* n bounds the reading */
	assert_true(x == 123);
}

static void test_int64(void **unused)
{
	static const struct {
		const char *s;
		weir__parsed result;
		size_t used;
		int64_t value;
	} cases[] = {
		{ "0", WEIR__PARSED, 1, 0 },
		{ "-0", WEIR__PARSED, 2, 0 },
		{ "+7x", WEIR__PARSED, 2, 7 },
		{ "", WEIR__PARSED_NONE, 0, 0 },
		{ "-", WEIR__PARSED_NONE, 0, 0 },
		{ "x", WEIR__PARSED_NONE, 0, 0 },
		{ "007", WEIR__PARSED, 3, 7 },
		{ "9007199254740993", WEIR__PARSED, 16, 9007199254740993 },
		{ "9223372036854775807", WEIR__PARSED, 19, INT64_MAX },
		{ "-9223372036854775808", WEIR__PARSED, 20, INT64_MIN },
		{ "9223372036854775808", WEIR__PARSED_RANGE, 19, INT64_MAX },
		{ "-9223372036854775809", WEIR__PARSED_RANGE, 20, INT64_MIN },
		{ "99999999999999999999999", WEIR__PARSED_RANGE, 23, INT64_MAX },
		{ "18446744073709551617", WEIR__PARSED_RANGE, 20, INT64_MAX },
		{ "1.5", WEIR__PARSED, 1, 1 },
	};
	char buf[WEIR__NUMBER_MAX], want[WEIR__NUMBER_MAX];

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int64_t x;
		size_t used;
		weir__parsed result = weir__parse_int64(cases[i].s, strlen(cases[i].s), &x, &used);

		if (result != cases[i].result || used != cases[i].used || x != cases[i].value)
			fail_msg("\"%s\": result %d, used %zu, value %lld", cases[i].s, result, used, (long long)x);
	}
	for (int i = 0; i < 1000; i++) {
		int64_t x = i == 0 ? INT64_MIN : i == 1 ? INT64_MAX : (int64_t)next() >> (next() % 64);
		size_t n = weir__format_int64(buf, sizeof(buf), x);

		snprintf(want, sizeof(want), "%lld", (long long)x);
		assert_string_equal(buf, want);
		assert_int_equal(n, strlen(want));
	}
}

/* A locale with a decimal comma, where the machine has one, changes nothing. */
static void test_locale(void **unused)
{
	static const char *const names[] = { "de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "fr_FR", "ru_RU.UTF-8", "C.UTF-8" };
	char buf[WEIR__NUMBER_MAX];
	double x;
	size_t used;

	(void)unused;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names) && !setlocale(LC_ALL, names[i]); i++) continue;
	weir__format_double(buf, sizeof(buf), 0.5, 'g', 0);
	weir__parse_double("0.5", 3, 0, &x, &used);
	setlocale(LC_ALL, "C");
	assert_string_equal(buf, "0.5");
	assert_true(x == 0.5 && used == 3);
}

/* Rounding modes and sticky flags of the caller neither matter nor change. */
static void test_environment(void **unused)
{
	static const int modes[] = { FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO };
	static const char *const texts[] = { "0.1", "1.7976931348623157e+308", "5e-324", "1e+23", "123456.789" };
	char buf[WEIR__NUMBER_MAX];

	(void)unused;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		for (size_t m = 0; m < sizeof(modes) / sizeof(*modes); m++) {
			double x, want = strtod(texts[i], NULL);
			int raised;

			fesetround(modes[m]);
			feclearexcept(FE_ALL_EXCEPT);
			weir__parse_double(texts[i], strlen(texts[i]), 0, &x, NULL);
			weir__format_double(buf, sizeof(buf), x, 'g', 0);
			raised = fetestexcept(FE_ALL_EXCEPT);
			fesetround(FE_TONEAREST);
			if (bits_of(x) != bits_of(want)) fail_msg("%s: got %a", texts[i], x);
			assert_string_equal(buf, texts[i]);
			assert_int_equal(raised, 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),       cmocka_unit_test(test_formats_hard),
		cmocka_unit_test(test_shortest),      cmocka_unit_test(test_shortest_float),
		cmocka_unit_test(test_layout),        cmocka_unit_test(test_cap),
		cmocka_unit_test(test_parse_hard),    cmocka_unit_test(test_parse_random),
		cmocka_unit_test(test_parse_halfway), cmocka_unit_test(test_parse_long),
		cmocka_unit_test(test_parse_grammar), cmocka_unit_test(test_int64),
		cmocka_unit_test(test_locale),        cmocka_unit_test(test_environment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
