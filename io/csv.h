/* csv.h: a table of numbers as comma-separated text.
 *
 * Lines end in LF or CRLF; a UTF-8 byte order mark, a first line of names, spaces and quotes around numbers, and
 * empty lines at the end are accepted. Everything else must be a finite decimal number, the same count in each line. */
#ifndef WEIR_IO_CSV_H
#define WEIR_IO_CSV_H

#include <weir/io.h>
#include "engine/text.h"

typedef struct weir__csv_format {
	const char *name; /* of the file, for messages */
	char delimiter;
	weir_csv_header header;
	int64_t most_values; /* a table with more is refused; 0: no limit */
} weir__csv_format;

typedef struct weir__csv {
	double *values; /* rows * columns, row after row */
	size_t bytes;   /* of values, for giving them back: grow(user, values, bytes, 0) */
	int64_t rows, columns;
	int64_t first_line; /* where the first row stands, counted from 1 */
} weir__csv;

/* Reads data[0..n). The values come from grow in one piece, in size no more than 8 bytes for every 2 of the text. On an
 * error nothing is held, and the text says what is wrong, with line and column (counted in cells from 1):
 * data.csv: line 7, column 3: "abc" is not a number; ... */
bool weir__csv_parse(const weir__csv_format *format, const char *data, size_t n, weir__grow_fn *grow, void *user,
		     weir__csv *table, weir__text *error);

#endif
