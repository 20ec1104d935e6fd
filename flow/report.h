/* report.h: what the forms of a report share.
 *
 *   report.c          the terminal form           report_json.c   the JSON form
 *   report_columns.c  the columns of the table    report_html.c   the page
 *   report_lines.c    which layers get a line of    report_diagrams.c report_plot.c   its diagrams
 *                     their own */
#ifndef WEIR_FLOW_REPORT_H
#define WEIR_FLOW_REPORT_H

#include "engine/json_write.h"
#include "engine/text.h"
#include "flow/flow.h"

enum { WEIR__COLUMNS = 14 };

/* ---- report_columns.c ---- */

/* A number that may be unknown: then a dash. */
void weir__report_number(weir__text *t, double x, char style, int digits);
/* A ratio, with digits where it has them: 0.2331, 12.3, 7.6e-06. */
void weir__report_ratio(weir__text *t, double x);
/* 2^bits: 2.2e-03, and beyond the range of a double 10^-1234. */
void weir__report_power(weir__text *t, double bits);
/* 22,474 */
/* Of mean-field theory. Where the gradient grows with depth there is no scale that it falls over; where q grows, no fixed point: "none". */
void weir__report_depth_scale(weir__text *t, double xi);
void weir__report_fixed_point(weir__text *t, double q);
void weir__report_thousands(weir__text *t, int64_t n);
void weir__report_name(weir__text *t, const weir_flow_layer *p); /* "rnn.cell #3" */
const char *weir__column_name(int column);
const char *weir__column_legend(int column);
void weir__column_cell(weir__text *t, const weir_flow_layer *p, int column);
/* Which columns have a number in some layer: a bit each. */
unsigned weir__columns_shown(const weir_flow *f);
/* The layer's operations, and what is wrong with its numbers. */
void weir__report_remarks(weir__text *t, const weir_flow_layer *p);
/* Inf or NaN, nothing passed, saturated: to be seen whatever stands around it. */
bool weir__report_odd(const weir_flow *f, const weir_flow_layer *p);
/* The budget of one type, "subnormal after ~50 more such layers, zero after ~61"; false where there is no end to it. */
bool weir__report_budget(weir__text *t, const weir_flow_budget *b, const char *more);
/* "first inf: gradient of mlp.3.linear (linear, x.c:41), layer 5 from the output, step 0" */
void weir__report_birth(weir__text *t, const char *thing, const weir_flow_birth *b);
/* "[64, 128] f32, element 5 = inf, from a[5] = 3e+38, b[5] = 10", and the way from there; empty where not known. */
void weir__report_origin(weir__text *t, const weir_flow_birth *b);
void weir__report_path(weir__text *t, const weir_flow_birth *b);
/* The births of a summary, one after the other: false behind the last. what: "overflow"; thing: "inf". */
bool weir__report_birth_at(const weir_flow_summary *s, int i, const weir_flow_birth **b, const char **what,
			   const char **thing);

/* ---- report_lines.c ---- */

/* Layers first .. last: one of its own line, or several that are left out. */
typedef struct weir__line {
	int64_t first, last;
	int period; /* of the blocks that they repeat; 0: no such thing, there are just too many */
} weir__line;

typedef struct weir__lines {
	weir__line *line;
	int64_t count;
	size_t bytes;
} weir__lines;

/* False after an error: MEMORY. */
bool weir__report_lines(const weir_flow *f, weir__lines *out);
void weir__report_lines_free(const weir_flow *f, weir__lines *lines);
/* "... 996 more like it, mlp.2 to mlp.997, gain 0.9811 to 1.021" */
void weir__report_left_out(const weir_flow *f, const weir__line *line, weir__text *t);

/* ---- the other forms ---- */

void weir__flow_json(const weir_flow *f, FILE *file, const char *model);
void weir__flow_html(const weir_flow *f, FILE *file, const char *model);

/* HTML's and SVG's text: & < > " escaped, what is no UTF-8 replaced. */
void weir__html_text(FILE *file, const char *s);

/* report_plot.c: series over the layers, as SVG. Their y, count numbers each: from layer `first` on; on a logarithmic axis they are log2
 * already. NaN: not known, a gap; -inf and inf stand at the lower and upper edge. */
typedef struct weir__series {
	const char *name;
	const double *y;
} weir__series;

typedef struct weir__plot {
	const char *title, *axis;
	bool logarithmic;
	int64_t first, count;
	double line; /* a dashed one across, in units of y; NaN: none */
	const weir__series *series;
	int n_series; /* at most three */
} weir__plot;
void weir__report_plot(FILE *file, const weir__plot *p);
void weir__report_diagrams(const weir_flow *f, FILE *file);
void weir__flow_say_whatif(const weir_flow *f, weir__text *t, FILE *file); /* report_whatif.c */
void weir__flow_json_whatif(const weir_flow *f, weir__json *j);

#endif
