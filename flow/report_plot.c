/* report_plot.c: one diagram of the page, as inline SVG: curves over the layers, on a linear or a logarithmic axis.
 *
 * Units of the drawing are pixels at its natural size; the page scales it. Colours and pens are the page's style sheet. */
#include <string.h>

#include "flow/report.h"

enum {
	WIDTH = 900,
	HEIGHT = 280,
	LEFT = 68,
	RIGHT = 14,
	TOP = 12,
	BOTTOM = 40,
	TICKS = 7, /* on an axis, at most about so many */
	DOTS = 120 /* points up to which each one is a dot with its number */
};

static const double log10_of_2 = 0.30102999566398120;

/* One axis: from low to high, in decades where it is logarithmic. */
typedef struct axis {
	double low, high;
	double begin, length; /* in the drawing */
} axis;

typedef struct drawing {
	FILE *file;
	const weir__plot *p;
	axis x, y;
	weir__text t;
	char buf[512];
} drawing;

static void put(drawing *d)
{
	fwrite(d->t.data, 1, d->t.length, d->file);
	weir__text_clear(&d->t);
}

static double place(const axis *a, double v)
{
	return a->begin + (v - a->low) / (a->high - a->low) * a->length;
}

static void coordinate(drawing *d, double v)
{
	weir__text_double(&d->t, v, 'f', 1);
}

/* A value on the y axis: decades or itself. */
static double value(const weir__plot *p, double y)
{
	return p->logarithmic ? y * log10_of_2 : y;
}

static double down(double x)
{
	double whole = (double)(int64_t)x;

	return whole > x ? whole - 1 : whole;
}

/* 1, 2 or 5 times a power of ten, so that a range has few ticks. */
static double tick_step(double range, bool whole)
{
	static const double times[] = { 1, 2, 5 };
	double power = 1;

	while (!whole && range / power < TICKS && power > 1e-300) power /= 10;
	while (range / power > 1e4) power *= 10;
	for (;; power *= 10) {
		for (int i = 0; i < 3; i++) {
			if (range / (power * times[i]) <= TICKS) return power * times[i];
		}
	}
}

static void see(axis *a, double v)
{
	if (!is_finite(v)) return;
	if (!(a->low <= v)) a->low = v;
	if (!(a->high >= v)) a->high = v;
}

static void limits(drawing *d)
{
	const weir__plot *p = d->p;
	double room, size;

	d->x = (axis){ (double)p->first, (double)(p->first + p->count - 1), LEFT + 8, WIDTH - LEFT - RIGHT - 16 };
	d->y = (axis){ UNKNOWN, UNKNOWN, HEIGHT - BOTTOM, -(HEIGHT - TOP - BOTTOM) };
	for (int s = 0; s < p->n_series; s++) {
		for (int64_t i = 0; i < p->count; i++) see(&d->y, value(p, p->series[s].y[i]));
	}
	see(&d->y, value(p, p->line));
	if (!(d->y.low <= d->y.high)) d->y.low = d->y.high = p->logarithmic ? 0 : 1;
	room = 0.06 * (d->y.high - d->y.low);
	size = d->y.high > -d->y.low ? d->y.high : -d->y.low;
	if (!(room > 1e-3 * size)) room = d->p->logarithmic ? 0.3 : size > 0 ? 0.1 * size : 0.5; /* ticks that differ */
	d->y.low -= room;
	d->y.high += room;
	if (d->x.low >= d->x.high) {
		d->x.low -= 1;
		d->x.high += 1;
	}
}

/* ---- axes ---- */

static void label(drawing *d, double x, double y, const char *class)
{
	weir__text_format(&d->t, "<text class=\"%s\" x=\"", class);
	coordinate(d, x);
	weir__text_str(&d->t, "\" y=\"");
	coordinate(d, y);
	weir__text_str(&d->t, "\">");
}

/* 10 to a whole power: 0.01, 1, 100, and beyond 10 with the exponent raised. */
static void power_of_ten(drawing *d, int64_t e)
{
	static const char *const raised[] = { "⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹" };
	char digits[24];
	weir__text t;

	weir__text_fixed(&t, digits, sizeof digits);
	if (e > -3 && e < 4) {
		weir__text_str(&d->t, e < 0 ? "0." : "1");
		weir__text_repeat(&d->t, '0', (size_t)(e < 0 ? -e - 1 : e));
		weir__text_str(&d->t, e < 0 ? "1" : "");
		return;
	}
	weir__text_str(&d->t, e < 0 ? "10⁻" : "10");
	weir__text_int(&t, e < 0 ? -e : e);
	for (const char *c = digits; *c; c++) weir__text_str(&d->t, raised[*c - '0']);
}

static void line_across(drawing *d, double y, const char *class)
{
	weir__text_format(&d->t, "<path class=\"%s\" d=\"M%d,", class, LEFT);
	coordinate(d, y);
	weir__text_format(&d->t, "H%d\"/>", WIDTH - RIGHT);
}

/* A tick at v on the axis; its number, where it is no power of ten. */
static void y_tick(drawing *d, double v, double number, bool power)
{
	double y = place(&d->y, v);

	if (v < d->y.low || v > d->y.high) return;
	line_across(d, y, "grid");
	label(d, LEFT - 6, y + 4, "tick end");
	if (power) power_of_ten(d, (int64_t)(v < 0 ? v - 0.5 : v + 0.5));
	else weir__report_number(&d->t, number, 'p', 4);
	weir__text_str(&d->t, "</text>\n");
	put(d);
}

/* On a logarithmic axis: powers of ten; over few of these also 2 and 5 times them; within one, plain numbers. */
static void logarithmic_ticks(drawing *d)
{
	double range = d->y.high - d->y.low, step = tick_step(range, true), low, high;

	if (range >= 2.5) {
		for (double v = down(d->y.low / step) * step; v <= d->y.high; v += step) y_tick(d, v, 0, true);
	} else if (range >= 0.9) {
		for (double v = down(d->y.low); v <= d->y.high; v++) {
			double power = weir__flow_exp2(v / log10_of_2);

			y_tick(d, v, 0, true);
			y_tick(d, v + log10_of_2, 2 * power, false);
			y_tick(d, v + 1 - log10_of_2, 5 * power, false);
		}
	} else {
		low = weir__flow_exp2(d->y.low / log10_of_2);
		high = weir__flow_exp2(d->y.high / log10_of_2);
		step = tick_step(high - low, false);
		for (double v = down(low / step) * step; v <= high; v += step) {
			if (v > 0) y_tick(d, weir__flow_log2(v) * log10_of_2, v, false);
		}
	}
}

static void linear_ticks(drawing *d)
{
	double step = tick_step(d->y.high - d->y.low, false);

	for (double v = down(d->y.low / step) * step; v <= d->y.high; v += step)
		y_tick(d, v, v < step / 1e6 && v > -step / 1e6 ? 0 : v, false);
}

static void y_axis(drawing *d)
{
	if (d->p->logarithmic) logarithmic_ticks(d);
	else linear_ticks(d);
	if (d->p->line == d->p->line) line_across(d, place(&d->y, value(d->p, d->p->line)), "line");
	weir__text_format(&d->t, "<text class=\"name\" transform=\"translate(14,%d) rotate(-90)\">",
			  TOP + (HEIGHT - TOP - BOTTOM) / 2);
	put(d);
	weir__html_text(d->file, d->p->axis);
	weir__text_str(&d->t, "</text>\n");
	put(d);
}

static void x_axis(drawing *d)
{
	double step = tick_step(d->x.high - d->x.low, true);

	if (d->x.high - d->x.low <= 2 * TICKS) step = 1;
	for (double v = down(d->x.low / step) * step; v <= d->x.high; v += step) {
		double x = place(&d->x, v);

		if (v < (double)d->p->first || v > (double)(d->p->first + d->p->count - 1)) continue;
		weir__text_str(&d->t, "<path class=\"axis\" d=\"M");
		coordinate(d, x);
		weir__text_format(&d->t, ",%dv5\"/>", HEIGHT - BOTTOM);
		label(d, x, HEIGHT - BOTTOM + 17, "tick middle");
		weir__text_int(&d->t, (int64_t)v);
		weir__text_str(&d->t, "</text>\n");
		put(d);
	}
	weir__text_format(&d->t,
			  "<path class=\"axis\" d=\"M%d,%dV%dH%d\"/><text class=\"name\" x=\"%d\" y=\"%d\">layer "
			  "(input side to output side)</text>\n",
			  LEFT, TOP, HEIGHT - BOTTOM, WIDTH - RIGHT, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6);
	put(d);
}

/* ---- curves ---- */

/* Moves to the first point behind a gap, draws to the others. */
static void curve(drawing *d, int s)
{
	const weir__series *series = &d->p->series[s];
	bool drawing_on = false;

	weir__text_format(&d->t, "<path class=\"curve s%d\" d=\"", s);
	for (int64_t i = 0; i < d->p->count; i++) {
		double v = value(d->p, series->y[i]);

		if (!is_finite(v)) {
			drawing_on = false;
			continue;
		}
		weir__text_str(&d->t, drawing_on ? "L" : "M");
		coordinate(d, place(&d->x, (double)(d->p->first + i)));
		weir__text_str(&d->t, ",");
		coordinate(d, place(&d->y, v));
		put(d);
		drawing_on = true;
	}
	weir__text_str(&d->t, "\"/>\n");
	put(d);
}

static void dot(drawing *d, int s, int64_t i)
{
	double y = d->p->series[s].y[i], v = value(d->p, y);
	bool inside = is_finite(v);

	if (y != y || (inside && d->p->count > DOTS)) return;
	if (!inside) v = v > 0 ? d->y.high : d->y.low;
	weir__text_format(&d->t, "<circle class=\"%s s%d\" cx=\"", inside ? "dot" : "bad", s);
	coordinate(d, place(&d->x, (double)(d->p->first + i)));
	weir__text_str(&d->t, "\" cy=\"");
	coordinate(d, place(&d->y, v));
	weir__text_format(&d->t, "\" r=\"%d\"><title>layer %lld: ", inside ? 3 : 4, (long long)(d->p->first + i));
	if (!inside) weir__text_str(&d->t, y > 0 ? "not finite" : "zero");
	else if (d->p->logarithmic) weir__report_power(&d->t, y);
	else weir__text_double(&d->t, y, 'p', 4);
	weir__text_str(&d->t, "</title></circle>\n");
	put(d);
}

void weir__report_plot(FILE *file, const weir__plot *p)
{
	drawing d = { .file = file, .p = p };

	weir__text_fixed(&d.t, d.buf, sizeof d.buf);
	limits(&d);
	fputs("<figure><figcaption>", file);
	weir__html_text(file, p->title);
	for (int s = 0; s < p->n_series; s++) {
		weir__text_format(&d.t, " <span class=\"key s%d\">", s);
		put(&d);
		weir__html_text(file, p->series[s].name);
		fputs("</span>", file);
	}
	weir__text_format(&d.t, "</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
	put(&d);
	weir__html_text(file, p->title);
	fputs("\">\n", file);
	y_axis(&d);
	x_axis(&d);
	for (int s = 0; s < p->n_series; s++) curve(&d, s);
	for (int s = 0; s < p->n_series; s++) {
		for (int64_t i = 0; i < p->count; i++) dot(&d, s, i);
	}
	fputs("</svg></figure>\n", file);
}
