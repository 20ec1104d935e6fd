/* test_digits_data.c: the digits are what the original file says, by counts and checksum. */
#include "io/digits_data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* FNV-1a over all values of the CSV, row after row, the label after its pixels. */
static void test_checksum(void **unused)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	long sum = 0;

	(void)unused;
	for (int row = 0; row < WEIR__DIGITS_ROWS; row++) {
		unsigned char pixels[64];
		int label;

		weir__digits_row(row, pixels, &label);
		for (int i = 0; i < 64; i++) {
			if (pixels[i] > WEIR__DIGITS_MAX) fail_msg("row %d, pixel %d is %d", row, i, pixels[i]);
			hash = (hash ^ pixels[i]) * UINT64_C(0x100000001b3);
			sum += pixels[i];
		}
		hash = (hash ^ (unsigned)label) * UINT64_C(0x100000001b3);
	}
	assert_int_equal(sum, 561718);
	assert_true(hash == UINT64_C(0x776869cce3795967));
}

static void test_classes(void **unused)
{
	static const int want[WEIR__DIGITS_CLASSES] = { 178, 182, 177, 183, 181, 182, 181, 179, 174, 180 };
	int count[WEIR__DIGITS_CLASSES] = { 0 };

	(void)unused;
	for (int row = 0; row < WEIR__DIGITS_ROWS; row++) {
		unsigned char pixels[64];
		int label;

		weir__digits_row(row, pixels, &label);
		assert_in_range(label, 0, WEIR__DIGITS_CLASSES - 1);
		count[label]++;
	}
	for (int i = 0; i < WEIR__DIGITS_CLASSES; i++) assert_int_equal(count[i], want[i]);
}

static void test_first_and_last(void **unused)
{
	static const unsigned char first[64] = {
		0, 0,  5, 13, 9,  1, 0,  0, 0,  0,  13, 15, 10, 15, 5, 0,  0,  3, 15, 2, 0,  11,
		8, 0,  0, 4,  12, 0, 0,  8, 8,  0,  0,  5,  8,  0,  0, 9,  8,  0, 0,  4, 11, 0,
		1, 12, 7, 0,  0,  2, 14, 5, 10, 12, 0,  0,  0,  0,  6, 13, 10, 0, 0,  0,
	};
	unsigned char pixels[64];
	int label;

	(void)unused;
	weir__digits_row(0, pixels, &label);
	assert_memory_equal(pixels, first, 64);
	assert_int_equal(label, 0);
	weir__digits_row(WEIR__DIGITS_ROWS - 1, pixels, &label);
	assert_int_equal(label, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_checksum),
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_first_and_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
