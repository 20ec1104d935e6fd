/* csv.c: see csv.h. One cell is read at a time; the first line is read twice, once to find out what it is. */
#include "io/csv.h"

#include <string.h>

#include "engine/number.h"

enum { SHOWN = 40 }; /* bytes of a cell in a message */

typedef enum cell_end { END_CELL, END_LINE, END_FILE } cell_end;

struct cell {
	const char *s; /* without spaces and quotes around */
	size_t n;
	cell_end end;
};

struct reader {
	const weir__csv_format *format;
	const char *s;
	size_t n, at;
	int64_t line, column; /* of the cell that is read, from 1 */
	int64_t top;          /* the first line that is not empty: it says how many columns there are */
	weir__text *error;
};

/* Begins a message with the place, without the column where that is 0. */
static void place(struct reader *r, int64_t line, int64_t column)
{
	weir__text_clear(r->error);
	weir__text_str(r->error, r->format->name);
	weir__text_str(r->error, ": line ");
	weir__text_int(r->error, line);
	if (column) {
		weir__text_str(r->error, ", column ");
		weir__text_int(r->error, column);
	}
	weir__text_str(r->error, ": ");
}

static bool wrong(struct reader *r, const char *what)
{
	place(r, r->line, r->column);
	weir__text_str(r->error, what);
	return false;
}

/* A message of the whole file. */
static bool wrong_file(struct reader *r, const char *what)
{
	weir__text_clear(r->error);
	weir__text_str(r->error, r->format->name);
	weir__text_str(r->error, ": ");
	weir__text_str(r->error, what);
	return false;
}

static bool is_blank(const struct reader *r, char c)
{
	return (c == ' ' || c == '\t') && c != r->format->delimiter;
}

static void skip_blanks(struct reader *r)
{
	while (r->at < r->n && is_blank(r, r->s[r->at])) r->at++;
}

/* What ends the cell that was read; r->at goes behind it. */
static bool read_end(struct reader *r, struct cell *c)
{
	char next;

	if (r->at == r->n) {
		c->end = END_FILE;
		return true;
	}
	next = r->s[r->at++];
	if (next == '\r') {
		if (r->at == r->n || r->s[r->at] != '\n')
			return wrong(r, "a carriage return without a line feed; lines must end in LF or CRLF");
		r->at++;
		next = '\n';
	}
	c->end = next == '\n' ? END_LINE : END_CELL;
	return true;
}

static bool read_quoted(struct reader *r, struct cell *c)
{
	int64_t line = r->line;

	c->s = r->s + ++r->at;
	for (;; r->at++) {
		if (r->at == r->n) {
			r->line = line;
			return wrong(r, "a quote is opened here and never closed");
		}
		if (r->s[r->at] == '\n') r->line++;
		if (r->s[r->at] == '\0') return wrong(r, "a NUL byte; this is no text file");
		if (r->s[r->at] != '"') continue;
		if (r->at + 1 == r->n || r->s[r->at + 1] != '"') break;
		r->at++; /* two quotes stand for one */
	}
	c->n = (size_t)(r->s + r->at++ - c->s);
	while (c->n && is_blank(r, *c->s)) c->s++, c->n--;
	while (c->n && is_blank(r, c->s[c->n - 1])) c->n--;
	skip_blanks(r);
	if (r->at < r->n && r->s[r->at] != r->format->delimiter && r->s[r->at] != '\n' && r->s[r->at] != '\r')
		return wrong(r, "something follows a closing quote; the cell must end there");
	return true;
}

/* Reads the cell at r->at, in line r->line; moves behind it and what ends it. */
static bool read_cell(struct reader *r, struct cell *c)
{
	r->column++;
	skip_blanks(r);
	if (r->at < r->n && r->s[r->at] == '"') return read_quoted(r, c) && read_end(r, c);
	c->s = r->s + r->at;
	while (r->at < r->n && r->s[r->at] != r->format->delimiter && r->s[r->at] != '\n' && r->s[r->at] != '\r')
		if (r->s[r->at++] == '\0') return wrong(r, "a NUL byte; this is no text file");
	c->n = (size_t)(r->s + r->at - c->s);
	while (c->n && is_blank(r, c->s[c->n - 1])) c->n--;
	return read_end(r, c);
}

static bool is_number(const struct cell *c)
{
	double x;
	size_t used;

	return weir__parse_double(c->s, c->n, WEIR__PARSE_NONFINITE, &x, &used) != WEIR__PARSED_NONE && used == c->n;
}

static bool read_value(struct reader *r, const struct cell *c, double *value)
{
	size_t used;
	weir__parsed parsed = weir__parse_double(c->s, c->n, 0, value, &used);

	if (parsed == WEIR__PARSED && used == c->n) return true;
	if (c->n == 0) return wrong(r, "the cell is empty; every cell after the header must be a number");
	place(r, r->line, r->column);
	weir__text_quoted(r->error, c->s, c->n, SHOWN);
	if (!is_number(c)) weir__text_str(r->error, " is not a number; every cell after the header must be one");
	else if (parsed == WEIR__PARSED_RANGE)
		weir__text_str(r->error, " is too large for a double; the largest is 1.797e308");
	else weir__text_str(r->error, " is not finite; training needs finite numbers");
	return false;
}

/* Passes over empty lines. True if a line with something in it follows. */
static bool skip_empty_lines(struct reader *r)
{
	for (;;) {
		size_t p = r->at;

		while (p < r->n && is_blank(r, r->s[p])) p++;
		if (p < r->n && r->s[p] == '\r' && p + 1 < r->n && r->s[p + 1] == '\n') p++;
		if (p < r->n && r->s[p] != '\n') return true;
		if (p == r->n) return false;
		r->at = p + 1;
		r->line++;
	}
}

/* Looks at the first line: columns, and whether it is a header. r stays at its beginning. */
static bool read_first_line(struct reader *r, int64_t *columns, bool *header)
{
	struct reader first = *r;
	struct cell c, text = { 0 };
	int64_t numbers = 0;

	do {
		if (!read_cell(&first, &c)) return false;
		if (is_number(&c)) numbers++;
		else if (!text.s) text = c;
	} while (c.end == END_CELL);
	*columns = first.column;
	*header = r->format->header == WEIR_CSV_HEADER_FIRST_LINE ||
		  (r->format->header == WEIR_CSV_HEADER_AUTO && numbers == 0);
	if (r->format->header != WEIR_CSV_HEADER_AUTO || numbers == 0 || numbers == *columns) return true;
	place(r, r->line, 0);
	weir__text_quoted(r->error, text.s, text.n, SHOWN);
	weir__text_str(r->error, " is not a number, and other cells of the line are; where it is a header, "
				 "set header to WEIR_CSV_HEADER_FIRST_LINE");
	return false;
}

/* Reads one line, first to count its cells, then, where values is not NULL, for their values. */
static bool read_line(struct reader *r, int64_t columns, double *values)
{
	struct reader ahead = *r;
	struct cell c;

	ahead.column = r->column = 0;
	do
		if (!read_cell(&ahead, &c)) return false;
	while (c.end == END_CELL);
	if (ahead.column != columns) {
		place(r, r->line, 0);
		weir__text_int(r->error, ahead.column);
		weir__text_str(r->error, ahead.column == 1 ? " cell, but line " : " cells, but line ");
		weir__text_int(r->error, r->top);
		weir__text_str(r->error, " has ");
		weir__text_int(r->error, columns);
		weir__text_str(r->error, "; all lines must have as many");
		return false;
	}
	for (int64_t i = 0; values && i < columns; i++) {
		double value;

		if (!read_cell(r, &c) || !read_value(r, &c, &value)) return false;
		values[i] = value;
	}
	*r = ahead;
	if (c.end == END_LINE) r->line++;
	return true;
}

/* No more numbers than this can stand in the rest. */
static int64_t most_cells(const struct reader *r)
{
	size_t n = r->n;
	int64_t count = 1;

	while (n > r->at && (r->s[n - 1] == '\n' || r->s[n - 1] == '\r' || r->s[n - 1] == ' ')) n--;
	for (size_t i = r->at; i < n; i++) count += r->s[i] == r->format->delimiter || r->s[i] == '\n';
	return count;
}

static bool read_rows(struct reader *r, weir__csv *t)
{
	for (;;) {
		int64_t line = r->line;

		if (!skip_empty_lines(r)) return true;
		if (r->line != line && t->rows) {
			place(r, line, 0);
			weir__text_str(r->error, "the line is empty; only the end of the file may have empty lines");
			return false;
		}
		if (t->rows == 0) t->first_line = r->line;
		if (!read_line(r, t->columns, t->values + t->rows * t->columns)) return false;
		t->rows++;
	}
}

/* What other programs write that looks like text and is none. */
static bool check_start(struct reader *r)
{
	const unsigned char *u = (const unsigned char *)r->s;

	if (r->n >= 2 && ((u[0] == 0xff && u[1] == 0xfe) || (u[0] == 0xfe && u[1] == 0xff)))
		return wrong_file(r, "the text is UTF-16; save it as UTF-8");
	if (r->n >= 2 && u[0] == 0x1f && u[1] == 0x8b)
		return wrong_file(r, "the file is compressed by gzip; unpack it first");
	if (r->n >= 3 && u[0] == 0xef && u[1] == 0xbb && u[2] == 0xbf) r->at = 3;
	if (!skip_empty_lines(r)) return wrong_file(r, "the file is empty; it must have a row of numbers at least");
	return true;
}

bool weir__csv_parse(const weir__csv_format *format, const char *data, size_t n, weir__grow_fn *grow, void *user,
		     weir__csv *table, weir__text *error)
{
	struct reader r = { .format = format, .s = data, .n = n, .line = 1, .error = error };
	bool header;
	int64_t cells;

	*table = (weir__csv){ 0 };
	if (!check_start(&r)) return false;
	r.top = r.line;
	if (!read_first_line(&r, &table->columns, &header)) return false;
	if (header && !read_line(&r, table->columns, NULL)) return false;
	cells = most_cells(&r);
	if (format->most_values && cells > format->most_values) {
		wrong_file(&r, "the table has up to ");
		weir__text_int(error, cells);
		weir__text_str(error, " numbers, the limit is ");
		weir__text_int(error, format->most_values);
		return false;
	}
	table->bytes = (size_t)cells * sizeof(double);
	table->values = grow(user, NULL, 0, table->bytes);
	if (!table->values) {
		wrong_file(&r, "no memory for up to ");
		weir__text_int(error, cells);
		weir__text_str(error, " numbers");
	} else if (read_rows(&r, table)) {
		if (table->rows) return true;
		wrong_file(&r, "there is no row of numbers after the header");
	}
	if (table->values) grow(user, table->values, table->bytes, 0);
	*table = (weir__csv){ 0 };
	return false;
}
