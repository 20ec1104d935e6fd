/* digits_data.h: the digits that ship with the library (origin and licence: digits_data.c). */
#ifndef WEIR_IO_DIGITS_DATA_H
#define WEIR_IO_DIGITS_DATA_H

enum {
	WEIR__DIGITS_ROWS = 1797,
	WEIR__DIGITS_PIXELS = 64, /* 8 rows of 8 */
	WEIR__DIGITS_CLASSES = 10,
	WEIR__DIGITS_MAX = 16, /* a pixel is 0 .. 16 */
};

/* Pixels and label of digit row, 0 .. WEIR__DIGITS_ROWS - 1. */
void weir__digits_row(int row, unsigned char pixels[64], int *label);

#endif
