/* scaling_svg.c: the curves as a picture: above the time of a step, below the memory at its peak, a column for each sweep, both axes
 * logarithmic. Dashed: the slope of the work, through the last point. */
#include "bench/scaling.h"

enum { PANEL_W = 250, PANEL_H = 190, LEFT = 58, TOP = 34, GAP = 22, FOOT = 46 };

typedef struct frame {
	double x0, y0;       /* lower left corner, in the picture */
	double low_x, low_y; /* decades there */
	double per_x, per_y; /* of the picture per decade */
	int decades_x, decades_y;
} frame;

static double value(const point *p, bool memory)
{
	return memory ? 1e-6 * p->bytes : 1e3 * p->seconds;
}

static frame frame_of(const curve *c, int column, bool memory)
{
	double low = INFINITY, high = -INFINITY;
	frame f;

	for (int i = 0; i < c->n; i++) {
		low = fmin(low, log10(value(&c->at[i], memory)));
		high = fmax(high, log10(value(&c->at[i], memory)));
	}
	f.low_y = floor(low), f.low_x = floor(log10(c->at[0].x));
	f.decades_y = (int)(ceil(high + 1e-9) - f.low_y);
	f.decades_x = (int)(ceil(log10(c->at[c->n - 1].x) - 1e-9) - f.low_x);
	f.x0 = LEFT + column * (PANEL_W + LEFT);
	f.y0 = TOP + PANEL_H + memory * (PANEL_H + GAP);
	f.per_x = (double)PANEL_W / f.decades_x, f.per_y = (double)PANEL_H / f.decades_y;
	return f;
}

static double at_x(const frame *f, double x)
{
	return f->x0 + (log10(x) - f->low_x) * f->per_x;
}

static double at_y(const frame *f, double y)
{
	return f->y0 - (log10(y) - f->low_y) * f->per_y;
}

/* 0.001 .. 1,000, then 10k, 1M. */
static const char *decade(double exponent, char *text, size_t size)
{
	int e = (int)exponent;

	if (e < 0) snprintf(text, size, "%.*f", -e, pow(10, e));
	else snprintf(text, size, "%.0f%s", pow(10, e % 3), e >= 6 ? "M" : e >= 3 ? "k" : "");
	return text;
}

static void axes(FILE *out, const frame *f, bool labels)
{
	char text[32];

	fprintf(out, "<rect class=\"box\" x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\"/>\n", f->x0, f->y0 - PANEL_H,
		PANEL_W, PANEL_H);
	for (int i = 0; i <= f->decades_y; i++) {
		double y = f->y0 - i * f->per_y;

		fprintf(out, "<path class=\"grid\" d=\"M%.1f %.1fh%d\"/>", f->x0, y, PANEL_W);
		fprintf(out, "<text class=\"y\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", f->x0 - 6, y + 4,
			decade(f->low_y + i, text, sizeof text));
	}
	for (int i = 0; i <= f->decades_x; i++) {
		double x = f->x0 + i * f->per_x;

		fprintf(out, "<path class=\"grid\" d=\"M%.1f %.1fv-%d\"/>", x, f->y0, PANEL_H);
		if (labels)
			fprintf(out, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", x, f->y0 + 16,
				decade(f->low_x + i, text, sizeof text));
	}
}

/* From the last point down along the slope, to the frame's edge. */
static void slope(FILE *out, const curve *c, const frame *f, bool memory)
{
	const point *last = &c->at[c->n - 1];
	double y = log10(value(last, memory)), x = log10(last->x), down = (y - f->low_y) / c->sweep->exponent;

	down = fmin(down, x - log10(c->at[0].x));
	fprintf(out, "<path class=\"work\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", at_x(f, last->x),
		at_y(f, value(last, memory)), at_x(f, pow(10, x - down)),
		at_y(f, pow(10, y - down * c->sweep->exponent)));
}

static void panel(FILE *out, const curve *c, int column, bool memory)
{
	frame f = frame_of(c, column, memory);

	axes(out, &f, memory);
	slope(out, c, &f, memory);
	fprintf(out, "<path class=\"%s\" d=\"", memory ? "memory" : "time");
	for (int i = 0; i < c->n; i++)
		fprintf(out, "%s%.1f %.1f", i ? "L" : "M", at_x(&f, c->at[i].x), at_y(&f, value(&c->at[i], memory)));
	fprintf(out, "\"/>\n");
	for (int i = 0; i < c->n; i++)
		fprintf(out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>", memory ? "memory" : "time",
			at_x(&f, c->at[i].x), at_y(&f, value(&c->at[i], memory)));
	if (!memory)
		fprintf(out, "\n<text class=\"head\" x=\"%.1f\" y=\"%d\">%s</text>", f.x0 + PANEL_W / 2.0, TOP - 12,
			c->sweep->text);
	else fprintf(out, "\n<text x=\"%.1f\" y=\"%.1f\">%s</text>", f.x0 + PANEL_W / 2.0, f.y0 + 36, c->sweep->name);
	fprintf(out, "\n");
}

bool scaling_svg(const curve *curves, const char *path)
{
	const int width = SWEEPS * (PANEL_W + LEFT) + GAP, height = TOP + 2 * PANEL_H + GAP + FOOT;
	FILE *out = fopen(path, "w");

	if (!out) return perror(path), false;
	fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n",
		width, height, width, height);
	fprintf(out,
		"<style>text{font:12px sans-serif;text-anchor:middle;fill:#333}.y{text-anchor:end}.head{font-weight:bold}"
		".box,.grid{fill:none;stroke:#ddd}.work{fill:none;stroke:#999;stroke-dasharray:4 4}"
		".time{stroke:#1f5fa8;fill:#1f5fa8}.memory{stroke:#b4541a;fill:#b4541a}"
		"path.time,path.memory{fill:none;stroke-width:1.6}</style>\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n");
	fprintf(out, "<text transform=\"translate(14 %d) rotate(-90)\">ms per step</text>\n", TOP + PANEL_H / 2);
	fprintf(out, "<text transform=\"translate(14 %d) rotate(-90)\">peak memory, MB</text>\n",
		TOP + PANEL_H + GAP + PANEL_H / 2);
	for (int i = 0; i < SWEEPS; i++) {
		panel(out, &curves[i], i, false);
		panel(out, &curves[i], i, true);
	}
	fprintf(out, "</svg>\n");
	return fclose(out) == 0;
}
