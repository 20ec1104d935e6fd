/* report.c: what the measurements say: medians, least and largest, and how many times as fast Weir is, as the median of the ratios of
 * neighbouring measurements. */
#include "bench/conductor.h"
#include "bench/bench.h"

#include <time.h>
#include <unistd.h>

static const char *const unit_names[] = { "GFLOP/s", "steps/s", "ms", "ns", "times the bare step", "ms", "MB" };

static bool more_is_better(unit u)
{
	return u == GFLOPS || u == RATE;
}

/* A measurement in the row's unit. */
static double shown(const row *r, double x)
{
	switch (r->unit) {
	case GFLOPS: return r->work / x * 1e-9;
	case RATE: return 1 / x;
	case MS:
	case START: return 1e3 * x;
	case NS: return 1e9 * x / r->work;
	case TIMES: return x;
	case PEAK: return 1e-6 * x;
	}
	return x;
}

typedef struct spread {
	double median, least, most;
} spread;

static spread spread_of(double *x, int n)
{
	qsort(x, (size_t)n, sizeof *x, by_size);
	return (spread){ n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2, x[0], x[n - 1] };
}

static spread values_of(const row *r, const series *s)
{
	double x[MAX_REPEATS];

	for (int i = 0; i < s->n; i++) x[i] = shown(r, s->sample[i]);
	return spread_of(x, s->n);
}

/* How many times as good as this peer; NaN where one of the two did not play. */
static double against(const result *r, int peer)
{
	double x[MAX_REPEATS];
	int n = r->of[0].n < r->of[peer].n ? r->of[0].n : r->of[peer].n;

	if (!n) return NAN;
	for (int i = 0; i < n; i++) x[i] = r->of[peer].sample[i] / r->of[0].sample[i];
	return spread_of(x, n).median;
}

/* Against the best of them. */
static double against_best(const result *r, int players)
{
	double best = NAN;

	for (int i = 1; i < players; i++) best = fmin(best, against(r, i));
	return best;
}

static double goal_of(const result *r)
{
	return r->row->goal[r->threads - 1];
}

static bool reached(const result *r)
{
	double value = values_of(r->row, &r->of[0]).median;

	return more_is_better(r->row->unit) ? value >= goal_of(r) : value <= goal_of(r);
}

/* Three digits, as people write them. */
static const char *number(double x, char *text)
{
	int places = x >= 100 ? 0 : x >= 10 ? 1 : x >= 1 ? 2 : 3;

	sprintf(text, "%.*f", places, x);
	return text;
}

static const char *spread_text(const spread *s, char *text)
{
	char a[32], b[32], c[32];

	sprintf(text, "%s (%s–%s)", number(s->median, a), number(s->least, b), number(s->most, c));
	return text;
}

static void head(const result *r)
{
	char text[32];

	printf("%s/%s: %s; %d thread%s; %s", r->row->family, r->row->name, r->row->text, r->threads,
	       r->threads > 1 ? "s" : "", unit_names[r->row->unit]);
	if (goal_of(r) > 0) printf("; goal %s", number(goal_of(r), text));
	if (r->row->floor > 0) printf("; at least %g of the best peer", r->row->floor);
	printf("\n");
}

void report_row(const results *all, const result *r)
{
	head(r);
	for (int i = 0; i < all->player_count; i++) {
		char text[128];
		spread v;
		double ratio = i ? against(r, i) : (double)NAN;

		if (!r->of[i].n) continue;
		v = values_of(r->row, &r->of[i]);
		printf("  %-14s %-28s", all->players[i].name, spread_text(&v, text));
		if (ratio == ratio && r->row->unit != TIMES) printf(" Weir is %.2f of it", ratio);
		printf("\n");
	}
	fflush(stdout);
}

/* ---- the machine ------------------------------------------------------------------------------------------------- */

static void processor(char *name, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[256];

	snprintf(name, size, "unknown processor");
	while (f && fgets(line, sizeof line, f)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) != 0 || !colon) continue;
		snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
		break;
	}
	if (f) fclose(f);
}

static void today(char *text, size_t size)
{
	time_t t = time(NULL);

	strftime(text, size, "%Y-%m-%d", gmtime(&t));
}

void report_machine(FILE *f)
{
	char cpu[256], date[16];

	processor(cpu, sizeof cpu);
	today(date, sizeof date);
	fprintf(f, "%s, %s, %ld processors", date, cpu, sysconf(_SC_NPROCESSORS_ONLN));
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static void json_series(FILE *f, const results *all, const result *r, int i)
{
	spread v = values_of(r->row, &r->of[i]);
	double ratio = i ? against(r, i) : (double)NAN;

	fprintf(f,
		"\n    {\"family\": \"%s\", \"row\": \"%s\", \"threads\": %d, \"contestant\": \"%s\", \"unit\": \"%s\", ",
		r->row->family, r->row->name, r->threads, all->players[i].name, unit_names[r->row->unit]);
	fprintf(f, "\"median\": %.6g, \"min\": %.6g, \"max\": %.6g, ", v.median, v.least, v.most);
	if (ratio == ratio && r->row->unit != TIMES) fprintf(f, "\"weir_is\": %.4g, ", ratio);
	fprintf(f, "\"samples\": [");
	for (int k = 0; k < r->of[i].n; k++) fprintf(f, "%s%.6g", k ? ", " : "", shown(r->row, r->of[i].sample[k]));
	fprintf(f, "]}");
}

bool report_json(const results *all, const char *path)
{
	FILE *f = fopen(path, "w");
	char cpu[256], date[16];
	const char *gap = "";

	if (!f) return perror(path), false;
	processor(cpu, sizeof cpu);
	today(date, sizeof date);
	fprintf(f, "{\"date\": \"%s\", \"processor\": \"%s\",\n  \"contestants\": {", date, cpu);
	for (int i = 0; i < all->player_count; i++) {
		if (!*all->players[i].greeting) continue;
		fprintf(f, "%s\"%s\": \"%s\"", gap, all->players[i].name, all->players[i].greeting);
		gap = ", ";
	}
	fprintf(f, "},\n  \"results\": [");
	gap = "";
	for (int n = 0; n < all->count; n++) {
		for (int i = 0; i < all->player_count; i++) {
			if (!all->list[n].of[i].n) continue;
			fprintf(f, "%s", gap);
			json_series(f, all, &all->list[n], i);
			gap = ",";
		}
	}
	fprintf(f, "\n  ]}\n");
	return fclose(f) == 0;
}

/* ---- Markdown ---------------------------------------------------------------------------------------------------- */

static bool plays_in(const results *all, int i, const char *family)
{
	for (int n = 0; n < all->count; n++) {
		if (!strcmp(all->list[n].row->family, family) && all->list[n].of[i].n) return true;
	}
	return false;
}

static void markdown_row(FILE *f, const results *all, const result *r)
{
	double best = against_best(r, all->player_count);
	char text[128];

	fprintf(f, "| %s | %d |", r->row->text, r->threads);
	for (int i = 0; i < all->player_count; i++) {
		spread v;

		if (!plays_in(all, i, r->row->family)) continue;
		if (!r->of[i].n) fprintf(f, " – |");
		else v = values_of(r->row, &r->of[i]), fprintf(f, " %s |", spread_text(&v, text));
	}
	if (r->row->unit == TIMES || best != best) fprintf(f, " – |");
	else if (r->row->floor <= 0) fprintf(f, " %.2f |", best);
	else fprintf(f, best < r->row->floor ? " **%.2f** (%g) |" : " %.2f (%g) |", best, r->row->floor);
	if (goal_of(r) > 0) fprintf(f, reached(r) ? " %s |\n" : " **%s** |\n", number(goal_of(r), text));
	else fprintf(f, " – |\n");
}

static void markdown_head(FILE *f, const results *all, const char *family)
{
	fprintf(f, "| work | threads |");
	for (int i = 0; i < all->player_count; i++) {
		if (plays_in(all, i, family)) fprintf(f, " %s |", all->players[i].name);
	}
	fprintf(f, " of the best peer (floor) | goal |\n| --- | --- |");
	for (int i = 0; i < all->player_count; i++) {
		if (plays_in(all, i, family)) fprintf(f, " --- |");
	}
	fprintf(f, " --- | --- |\n");
}

static void markdown_foot(FILE *f, const results *all, const result *any)
{
	const char *gap = " ";

	fprintf(f, "\n%s%s; medians of %d (least–most). ", unit_names[any->row->unit],
		any->row->unit == NS ? " per element or node" : "", any->of[0].n);
	report_machine(f);
	fprintf(f, ";");
	for (int i = 0; i < all->player_count; i++) {
		if (!plays_in(all, i, any->row->family)) continue;
		fprintf(f, "%s%s", gap, all->players[i].greeting);
		gap = ", ";
	}
	fprintf(f, ".\n");
}

static bool markdown(FILE *f, const char *family, const void *user)
{
	const results *all = user;
	const result *any = NULL;

	if (!plays_in(all, 0, family)) return false;
	markdown_head(f, all, family);
	for (int i = 0; i < row_count; i++) {
		for (int n = 0; n < all->count; n++) {
			const result *r = &all->list[n];

			if (r->row != &rows[i] || strcmp(rows[i].family, family) != 0) continue;
			markdown_row(f, all, r);
			any = r;
		}
	}
	markdown_foot(f, all, any);
	return true;
}

bool report_blocks(const char *path, bool (*write)(FILE *f, const char *family, const void *user), const void *user)
{
	char line[4096], family[32], other[1024];
	FILE *in = fopen(path, "r"), *out;
	bool skip = false;

	if (!in) return perror(path), false;
	snprintf(other, sizeof other, "%s.new", path);
	out = fopen(other, "w");
	if (!out) return perror(other), fclose(in), false;
	while (fgets(line, sizeof line, in)) {
		if (!strncmp(line, "<!-- end -->", 12)) skip = false;
		if (!skip) fputs(line, out);
		if (sscanf(line, "<!-- bench %31s -->", family) == 1) skip = write(out, family, user);
	}
	fclose(in);
	if (fclose(out) != 0 || rename(other, path) != 0) return perror(path), false;
	return true;
}

bool report_docs(const results *all, const char *path)
{
	return report_blocks(path, markdown, all);
}
