/* scaling.c: how the time of a step and the memory at its peak grow with width, batch, depth and nodes. Where one of them grew faster than
 * the work does, there would be a cliff: the exponent of growth from one point to the next stands in the table, beside that of the
 * work. What a point computes is compared with the reference before it is timed. */
#include "bench/scaling.h"

#include <unistd.h>

static const sweep sweeps[] = {
	{ "width", "4 layers of this width, batch 64", "train relu 64 %lldx5", 8, 2048, 64, 2, 2 },
	{ "batch", "MLP 784-256-128-10", "train relu %lld 784 256 128 10", 1, 4096, 64, 2, 1 },
	{ "depth", "layers of 32, batch 16", "train relu 16 32 32x%lld", 1, 10000, 100, 0, 1 },
	{ "nodes", "scalar products on one tape", "chain mul %lld", 10, 10000000, 10000, 0, 1 },
};

static int64_t next(const sweep *s, int64_t x)
{
	int64_t lead = x;

	if (s->step) return x * s->step;
	while (lead >= 10) lead /= 10;
	return lead == 1 ? 3 * x : x / 3 * 10; /* 1, 3, 10, 30, ... */
}

/* Of several runs, or of one where it takes long, after two that are not counted: the headers of a tape outlive it by one step, so the
 * second step still takes fresh memory. */
static double shortest(player *p, double aim, int repeats)
{
	double best = INFINITY, spent = 0, warm;
	int64_t units;

	player_run(p, 0, 1);
	warm = player_run(p, 0, 1);
	units = warm > 0 ? (int64_t)(aim / warm) + 1 : 1;
	for (int i = 0; i < repeats && spent < 10 * aim; i++) {
		double t = player_run(p, 0, units);

		best = fmin(best, t / (double)units);
		spent += t;
	}
	return best < INFINITY ? best : (double)NAN; /* the player is gone */
}

/* Would the next point of a curve need more memory than is free? */
static bool too_large(const curve *c, double x)
{
	double free_bytes = (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
	const point *last = &c->at[c->n - 1];

	return c->n && last->bytes * x / last->x > 0.8 * free_bytes;
}

static bool prepare(player *weir, const sweep *s, int64_t x)
{
	char work[ROW_LENGTH];

	snprintf(work, sizeof work, s->ask, (long long)x);
	return player_begin(weir, 0, work) && reference_agrees(weir, 0, work);
}

bool scaling_check(player *weir)
{
	bool good = player_start(weir, 1);
	int points = 0;

	for (int i = 0; i < SWEEPS; i++) {
		const sweep *s = &sweeps[i];

		for (int64_t x = s->first; good && x <= s->quick; x = next(s, x), points++) good = prepare(weir, s, x);
	}
	player_stop(weir);
	printf("%d points of the curves, %s\n", points, good ? "all right" : "FAILED");
	return good;
}

/* A process for each point, so that its peak is its own. */
static bool measure(player *weir, const sweep *s, int64_t x, double aim, int repeats, point *out)
{
	bool good = player_start(weir, 1);

	if (good && prepare(weir, s, x)) {
		out->x = (double)x;
		out->seconds = shortest(weir, aim, repeats);
		out->bytes = player_peak(weir);
	} else {
		good = false;
	}
	player_stop(weir);
	return good && out->seconds == out->seconds;
}

static double exponent(double y, double y_before, double x, double x_before)
{
	return log(y / y_before) / log(x / x_before);
}

static void line(FILE *f, const char *format, const point *p, const point *before)
{
	double grows = before ? exponent(p->seconds, before->seconds, p->x, before->x) : (double)NAN;
	double swells = before ? exponent(p->bytes, before->bytes, p->x, before->x) : (double)NAN;
	char a[16] = "", b[16] = "";

	if (before) snprintf(a, sizeof a, "%.2f", grows), snprintf(b, sizeof b, "%.2f", swells);
	fprintf(f, format, p->x, 1e3 * p->seconds, 1 / p->seconds, 1e9 * p->seconds / p->x, a, 1e-6 * p->bytes, b);
}

static void table(FILE *f, const curve *c)
{
	fprintf(f, "\n%s: %s. The work grows with exponent %g.\n\n", c->sweep->name, c->sweep->text,
		c->sweep->exponent);
	fprintf(f, "| %s | ms per step | steps/s | ns / %s | growth | peak, MB | growth |\n", c->sweep->name,
		c->sweep->name);
	fprintf(f, "| --- | --- | --- | --- | --- | --- | --- |\n");
	for (int i = 0; i < c->n; i++)
		line(f, "| %.0f | %.4g | %.4g | %.4g | %s | %.1f | %s |\n", &c->at[i], i ? &c->at[i - 1] : NULL);
}

void scaling_table(FILE *f, const curve *curves)
{
	for (int i = 0; i < SWEEPS; i++) table(f, &curves[i]);
}

bool scaling(player *weir, double aim, int repeats, curve *curves)
{
	for (int i = 0; i < SWEEPS; i++) {
		const sweep *s = &sweeps[i];
		curve *c = &curves[i];

		*c = (curve){ .sweep = s };
		printf("%s: %s\n%10s %12s %12s %12s %7s %10s %7s\n", s->name, s->text, "", "ms per step", "steps/s",
		       "ns each", "growth", "peak, MB", "growth");
		for (int64_t x = s->first; x <= s->last && c->n < MAX_POINTS && !too_large(c, (double)x);
		     x = next(s, x)) {
			if (!measure(weir, s, x, aim, repeats, &c->at[c->n])) return false;
			line(stdout, "%10.0f %12.4g %12.4g %12.4g %7s %10.1f %7s\n", &c->at[c->n],
			     c->n ? &c->at[c->n - 1] : NULL);
			fflush(stdout);
			c->n++;
		}
	}
	return true;
}
