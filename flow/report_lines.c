/* report_lines.c: which layers get a line of their own, so that the table of a thousand layers can be read.
 *
 * Layers that do the same operations, or blocks of up to eight that do, make a run. Of a long run the first and the last block stand
 * there, and every layer whose gain is off the run's median by more than a factor of two, or that is odd by itself (inf, NaN, dead,
 * saturated). In a short table only what is the same to three digits is left out. Many odd ones in a row are treated
 * likewise; where all of this leaves too many lines, the factor grows. */
#include "flow/report.h"

#include <string.h>

enum {
	SHORT = 40,   /* layers up to which only equal ones are left out */
	MOST = 76,    /* lines of a longer table */
	RUN = 8,      /* layers that a run has at least */
	PERIOD = 8,   /* layers that a block has at most */
	IN_A_ROW = 7, /* odd ones, from which the middle ones are left out */
	FEW = 4,      /* alike ones, from which they are */
};

static const double equal = 1e-3, far = 1e300; /* bits */

/* What becomes of a layer. */
enum fate {
	OWN_LINE,
	OFF,     /* the same, for its gain is off */
	STRANGE, /* the same, for it is odd by itself */
	ALIKE,   /* left out */
	TOO_MANY /* off or odd, and left out */
};

typedef struct plan {
	const weir_flow *f;
	double *off;  /* how far a layer's gain is off the median, in bits */
	double *sort; /* room */
	unsigned char *fate;
	int64_t count;
} plan;

static const weir_flow_layer *at(const plan *p, int64_t i)
{
	return &p->f->layers[i].public;
}

static bool same_kind(const plan *p, int64_t a, int64_t b)
{
	return !strcmp(at(p, a)->op, at(p, b)->op);
}

/* The period of the longest run that begins at i; *end: behind it. */
static int run_at(const plan *p, int64_t i, int64_t *end)
{
	int best = 0;

	*end = i + 1;
	for (int period = 1; period <= PERIOD; period++) {
		int64_t j = i + period;

		while (j < p->count && same_kind(p, j, j - period)) j++;
		if (j > p->count || j - i < RUN || j - i < 3 * period || j <= *end) continue;
		*end = j;
		best = period;
	}
	return best;
}

/* The middle one of n numbers, which are put in another order. */
static double median(double *x, int64_t n)
{
	int64_t low = 0, high = n - 1, middle = n / 2;

	while (low < high) {
		double pivot = x[low + (high - low) / 2];
		int64_t i = low, j = high;

		while (i <= j) {
			while (x[i] < pivot) i++;
			while (x[j] > pivot) j--;
			if (i > j) break;
			double swap = x[i];
			x[i++] = x[j];
			x[j--] = swap;
		}
		if (middle <= j) high = j;
		else if (middle >= i) low = i;
		else break;
	}
	return x[middle];
}

/* Layers first, first + step, ... before end: how far each one's gain is off their median. */
static void compare(plan *p, int64_t first, int64_t step, int64_t end)
{
	int64_t n = 0;
	double middle;

	for (int64_t i = first; i < end; i += step) {
		double gain = at(p, i)->gain;

		p->off[i] = gain > 0 && is_finite(gain) ? weir__flow_log2(gain) : far;
		if (p->off[i] < far) p->sort[n++] = p->off[i];
	}
	if (!n) { /* none has a gain: they are alike in that */
		for (int64_t i = first; i < end; i += step) p->off[i] = 0;
		return;
	}
	middle = median(p->sort, n);
	for (int64_t i = first; i < end; i += step) {
		if (p->off[i] < far) p->off[i] = p->off[i] > middle ? p->off[i] - middle : middle - p->off[i];
	}
}

/* Too few alike ones in a row are not left out; of too many that are off, or odd, the first and last two stay. */
static void even_out(plan *p, int64_t begin, int64_t end)
{
	for (int64_t i = begin, j; i < end; i = j) {
		for (j = i + 1; j < end && p->fate[j] == p->fate[i]; j++) {}
		if (p->fate[i] == ALIKE && j - i < FEW) memset(p->fate + i, OWN_LINE, (size_t)(j - i));
	}
	for (int64_t i = begin, j; i < end && p->count > SHORT; i = j) {
		for (j = i + 1; j < end && p->fate[j] == p->fate[i]; j++) {}
		if (p->fate[i] != ALIKE && j - i >= IN_A_ROW) memset(p->fate + i + 2, TOO_MANY, (size_t)(j - i - 4));
	}
}

static void settle_run(plan *p, int64_t begin, int64_t end, int period, double limit)
{
	int64_t ends = period > 1 ? period : 2;

	for (int phase = 0; phase < period; phase++) compare(p, begin + phase, period, end);
	for (int64_t i = begin; i < end; i++) {
		bool at_end = i < begin + ends || i >= end - ends;

		p->fate[i] = at_end                             ? OWN_LINE
			     : weir__report_odd(p->f, at(p, i)) ? STRANGE
			     : p->off[i] > limit                ? OFF
								: ALIKE;
	}
	even_out(p, begin + ends, end - ends);
}

/* Lines that stand for several layers of one run end where the next run begins. */
static void emit(weir__lines *out, int64_t i, int fate, int period, bool fresh)
{
	weir__line *l = out->count ? &out->line[out->count - 1] : NULL;

	if (fate < ALIKE || !l || fresh) out->line[out->count++] = (weir__line){ i, i, fate == TOO_MANY ? 0 : period };
	else l->last = i;
}

static void lay_out(plan *p, weir__lines *out, double limit)
{
	int64_t end;

	out->count = 0;
	memset(p->fate, OWN_LINE, (size_t)p->count);
	for (int64_t i = 0; i < p->count; i = end) {
		int period = run_at(p, i, &end);

		if (period) settle_run(p, i, end, period, limit);
		for (int64_t k = i; k < end; k++)
			emit(out, k, p->fate[k], period, k == i || p->fate[k] != p->fate[k - 1]);
	}
}

/* Whatever they are: the ends. */
static void cut(weir__lines *out)
{
	int64_t half = MOST / 2;
	weir__line rest = { out->line[half].first, out->line[out->count - half - 1].last, 0 };

	memmove(out->line + half + 1, out->line + out->count - half, (size_t)half * sizeof *out->line);
	out->line[half] = rest;
	out->count = 2 * half + 1;
}

bool weir__report_lines(const weir_flow *f, weir__lines *out)
{
	plan p = { .f = f, .count = f->count };
	size_t n = (size_t)f->count + 1, room = n * (2 * sizeof(double) + 1);

	*out = (weir__lines){ .bytes = n * sizeof *out->line };
	if (!(out->line = weir__pool_take(f->w, &out->bytes))) return false;
	if (!(p.off = weir__pool_take(f->w, &room))) {
		weir__report_lines_free(f, out);
		return false;
	}
	p.sort = p.off + n;
	p.fate = (unsigned char *)(p.sort + n);
	lay_out(&p, out, f->count > SHORT ? 1 : equal);
	for (double limit = 2; f->count > SHORT && out->count > MOST && limit < 64; limit *= 2) lay_out(&p, out, limit);
	if (f->count > SHORT && out->count > MOST + 1) cut(out);
	weir__pool_give(f->w, p.off, room);
	return true;
}

void weir__report_lines_free(const weir_flow *f, weir__lines *lines)
{
	if (lines->line) weir__pool_give(f->w, lines->line, lines->bytes);
	lines->line = NULL;
}

void weir__report_left_out(const weir_flow *f, const weir__line *line, weir__text *t)
{
	double low = UNKNOWN, high = UNKNOWN;

	for (int64_t i = line->first; i <= line->last; i++) {
		double g = f->layers[i].public.gain;

		if (g == g && !(low <= g)) low = g;
		if (g == g && !(high >= g)) high = g;
	}
	weir__text_str(t, "... ");
	weir__report_thousands(t, line->last - line->first + 1);
	weir__text_str(t, " more");
	if (line->period == 1) weir__text_str(t, " like it");
	else if (line->period) weir__text_format(t, " in blocks of %d like these", line->period);
	weir__text_str(t, ", ");
	weir__report_name(t, &f->layers[line->first].public);
	weir__text_str(t, " to ");
	weir__report_name(t, &f->layers[line->last].public);
	if (low != low) return;
	weir__text_str(t, ", gain ");
	weir__report_ratio(t, low);
	if (!(high > low * (1 + equal))) return;
	weir__text_str(t, " to ");
	weir__report_ratio(t, high);
}
