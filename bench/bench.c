/* bench.c: the conductor. Plays every row of rows.def with Weir and with every peer that is there, by turns (A B A B ...), so that whatever
 * else the machine does hits all of them, and compares what each computes with the reference first. `bench --help`. */
#include "bench/scaling.h"
#include "bench/bench.h"

#include <limits.h>
#include <libgen.h>
#include <unistd.h>

#define ROW(name, family, unit, work, floor, goal1, goal2, ask, bare, text) \
	{ name, family, unit, work, floor, { goal1, goal2 }, ask, bare, text },
const row rows[] = {
#include "bench/rows.def"
};
#undef ROW
const int row_count = sizeof rows / sizeof *rows;

typedef struct options {
	const char *rows, *against, *json, *docs, *svg;
	bool check, list, scaling;
	int repeats, threads; /* threads: 0 is all counts */
	double seconds;
} options;

typedef struct stage {
	options o;
	player players[MAX_PLAYERS];
	int count, threads; /* threads: of the processes that run at the moment */
	bool failed;
} stage;

/* Is name one of the list "a,b,c"? */
static bool among(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = list; p; p = strchr(p, ','), p = p ? p + 1 : NULL) {
		if (!strncmp(p, name, n) && (p[n] == ',' || !p[n])) return true;
	}
	return false;
}

static bool chosen(const options *o, const row *r)
{
	char whole[64];

	snprintf(whole, sizeof whole, "%s/%s", r->family, r->name);
	return !o->rows || among(o->rows, r->family) || among(o->rows, whole);
}

static bool asked_for(const stage *s, int i)
{
	if (i == 0 || !s->o.against) return true;
	return among(s->o.against, s->players[i].name);
}

/* Sets up and checks; false where this contestant has no such work. */
static bool prepare(stage *s, player *p, int slot, const char *work)
{
	if (!p->pid || p->out || !player_begin(p, slot, work)) return false;
	if (reference_agrees(p, slot, work)) return true;
	s->failed = true;
	return false;
}

/* ---- a row ------------------------------------------------------------------------------------------------------- */

/* As many units as take some o.seconds. */
static int64_t calibrate(const stage *s, player *p, int slot)
{
	double aim = s->o.seconds, t = player_run(p, slot, 1);
	int64_t units = 1;

	while (t < aim / 2 && units < INT64_MAX / 100) {
		units = (int64_t)((double)units * fmin(aim / fmax(t, aim / 100), 100)) + 1;
		t = player_run(p, slot, units);
	}
	return units;
}

static void rest(void)
{
	usleep(20000); /* until the threads of the one before have gone to sleep */
}

static void play_speed(stage *s, result *r)
{
	const double most = 10; /* seconds of one contestant, where a unit takes long */
	double spent[MAX_PLAYERS] = { 0 };
	int64_t units[MAX_PLAYERS] = { 0 };

	for (int i = 0; i < s->count; i++) {
		if (prepare(s, &s->players[i], 0, r->row->ask)) units[i] = calibrate(s, &s->players[i], 0);
		rest();
	}
	for (int n = 0; n < s->o.repeats; n++) {
		for (int i = 0; i < s->count; i++) {
			double t;

			if (!units[i] || (spent[i] > most && units[i] == 1)) continue;
			t = player_run(&s->players[i], 0, units[i]);
			spent[i] += t;
			r->of[i].sample[r->of[i].n++] = t / (double)units[i];
			rest();
		}
	}
	for (int i = 0; i < s->count; i++) {
		if (units[i]) player_ask(&s->players[i], "end 0");
	}
}

/* One repetition of `ask` against `bare`: both made anew, in alternating order, so that where they happen to lie in memory evens
 * out, and run by turns in short blocks. */
static double repeat_pair(stage *s, player *p, const row *r, int n)
{
	enum { BLOCKS = 8 };
	const char *work[2] = { r->ask, r->bare };
	double seconds[2] = { 0 };
	int first = n % 2;
	int64_t units;

	for (int i = 0; i < 2; i++) {
		int slot = i ? !first : first;

		if (!(n ? player_begin(p, slot, work[slot]) : prepare(s, p, slot, work[slot]))) return NAN;
	}
	units = calibrate(s, p, 0) / BLOCKS + 1;
	player_run(p, 1, units);
	for (int i = 0; i < 2 * BLOCKS; i++) {
		int slot = (i + i / 2 + first) % 2;

		seconds[slot] += player_run(p, slot, units);
	}
	player_ask(p, "end 0");
	player_ask(p, "end 1");
	return seconds[0] / seconds[1];
}

static void play_pair(stage *s, result *r)
{
	for (int n = 0; n < 2 * s->o.repeats; n++) {
		for (int i = 0; i < s->count; i++) {
			double ratio = n && !r->of[i].n ? (double)NAN : repeat_pair(s, &s->players[i], r->row, n);

			if (ratio == ratio) r->of[i].sample[r->of[i].n++] = ratio;
			rest();
		}
	}
}

/* Start and memory: a new process every time. */
static void play_fresh(stage *s, result *r)
{
	enum { STEPS = 20 };

	for (int n = 0; n < s->o.repeats; n++) {
		for (int i = 0; i < s->count; i++) {
			player p = s->players[i];
			double start = now(), got;

			if (!s->players[i].pid || p.out || (n && !r->of[i].n)) continue;
			p.pid = 0, p.to = p.from = NULL;
			if (!player_start(&p, r->threads)) continue;
			if (player_begin(&p, 0, r->row->ask)) {
				got = player_run(&p, 0, 1);
				got = now() - start + 0 * got;
				if (r->row->unit == PEAK) player_run(&p, 0, STEPS), got = player_peak(&p);
				if (got == got) r->of[i].sample[r->of[i].n++] = got;
			}
			player_stop(&p);
		}
	}
}

/* Computes and compares; no time is judged. */
static void play_check(stage *s, result *r)
{
	for (int i = 0; i < s->count; i++) {
		player *p = &s->players[i];

		if (!prepare(s, p, 0, r->row->ask)) {
			s->failed |= i == 0;
			continue;
		}
		r->of[i].sample[r->of[i].n++] = player_run(p, 0, 1);
		player_ask(p, "end 0");
	}
}

static void play(stage *s, result *r)
{
	if (s->o.check) play_check(s, r);
	else if (r->row->unit == TIMES) play_pair(s, r);
	else if (r->row->unit == START || r->row->unit == PEAK) play_fresh(s, r);
	else play_speed(s, r);
	if (!r->of[0].n) s->failed = true;
}

static void start_all(stage *s, int threads)
{
	for (int i = 0; i < s->count; i++) {
		if (asked_for(s, i)) player_start(&s->players[i], threads);
	}
}

/* How to get the peers that are not there. */
static void name_missing(const stage *s)
{
	static const char *const known[][2] = { { "PyTorch", "make bench-peers" },
						{ "OpenBLAS", "make bench-peers" },
						{ "oneDNN", "make bench-peers" },
						{ "ggml", "make bench GGML=its source tree" },
						{ "KANN", "make bench KANN=its source tree" },
						{ "DyNet", "make bench DYNET=its source tree" } };

	for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
		bool there = s->o.against != NULL;

		for (int i = 1; i < s->count; i++) there = there || !strcmp(s->players[i].name, known[k][0]);
		if (!there) printf("left out: %s (%s)\n", known[k][0], known[k][1]);
	}
}

static void stop_all(stage *s)
{
	for (int i = 0; i < s->count; i++) player_stop(&s->players[i]);
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

static void help(void)
{
	puts("bench [OPTIONS]: Weir beside its peers\n"
	     "  --list               the rows\n"
	     "  --rows LIST          families or rows of these only, such as mlp,gemm/64\n"
	     "  --threads N          1 or 2 only; default: both\n"
	     "  --against LIST       these peers only; none: Weir alone\n"
	     "  --repeat N           measurements of each; default 7\n"
	     "  --seconds S          that each takes; default 0.1\n"
	     "  --json FILE          all measurements\n"
	     "  --docs FILE          replaces the tables of the families played, between their markers\n"
	     "  --check              compute each row once, and small points of --scaling, and compare with the reference;\n"
	     "                       no time is measured\n"
	     "  --scaling            time and memory against width, batch, depth, nodes, of Weir alone\n"
	     "  --svg FILE           with --scaling: the picture");
}

static bool parse(int argc, char **argv, options *o)
{
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;

		if (!strcmp(a, "--check")) o->check = true;
		else if (!strcmp(a, "--list")) o->list = true;
		else if (!strcmp(a, "--scaling")) o->scaling = true;
		else if (!v) return false;
		else if (++i, !strcmp(a, "--rows")) o->rows = v;
		else if (!strcmp(a, "--against")) o->against = v;
		else if (!strcmp(a, "--json")) o->json = v;
		else if (!strcmp(a, "--docs")) o->docs = v;
		else if (!strcmp(a, "--svg")) o->svg = v;
		else if (!strcmp(a, "--repeat")) o->repeats = atoi(v);
		else if (!strcmp(a, "--threads")) o->threads = atoi(v);
		else if (!strcmp(a, "--seconds")) o->seconds = strtod(v, NULL);
		else return false;
	}
	return o->repeats >= 1 && 2 * o->repeats <= MAX_REPEATS && o->threads >= 0 && o->threads <= THREAD_COUNTS &&
	       o->seconds > 0;
}

static bool play_all(stage *s, results *all)
{
	for (int threads = 1; threads <= THREAD_COUNTS; threads++) {
		if (s->o.threads && s->o.threads != threads) continue;
		start_all(s, threads);
		for (int i = 0; i < row_count; i++) {
			result *r = &all->list[all->count];

			if (!chosen(&s->o, &rows[i]) || rows[i].goal[threads - 1] == ONE_THREAD) continue;
			r->row = &rows[i];
			r->threads = threads;
			play(s, r);
			all->count++;
			if (!s->o.check) report_row(all, r);
		}
		stop_all(s);
	}
	return all->count > 0;
}

static bool write_scaling(FILE *f, const char *family, const void *user)
{
	if (strcmp(family, "scaling") != 0) return false;
	scaling_table(f, user);
	fprintf(f, "\nThe shortest of several steps, 1 thread. ");
	report_machine(f);
	fprintf(f, ".\n");
	return true;
}

static bool scale(stage *s)
{
	static curve curves[SWEEPS];

	return scaling(&s->players[0], s->o.seconds, s->o.repeats, curves) &&
	       (!s->o.svg || scaling_svg(curves, s->o.svg)) &&
	       (!s->o.docs || report_blocks(s->o.docs, write_scaling, curves));
}

int main(int argc, char **argv)
{
	static stage s = { .o = { .repeats = 7, .seconds = 0.1 } };
	char self[PATH_MAX] = "";
	results all = { .players = s.players };

	if (argc > 1 && !strcmp(argv[1], "--help")) return help(), 0;
	if (!parse(argc, argv, &s.o)) return help(), 2;
	for (int i = 0; s.o.list && i < row_count; i++)
		printf("%s/%-16s %s\n", rows[i].family, rows[i].name, rows[i].text);
	if (s.o.list) return 0;
	if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) snprintf(self, sizeof self, "%s", argv[0]);
	all.player_count = s.count = players_find(dirname(self), s.players);
	if (s.o.scaling) return !(s.o.check ? scaling_check(&s.players[0]) : scale(&s));
	all.list = calloc((size_t)(row_count * THREAD_COUNTS), sizeof *all.list);
	if (!all.list) return 1;
	name_missing(&s);
	if (!play_all(&s, &all)) {
		fprintf(stderr, "there is no row %s; --list lists them\n", s.o.rows);
		return 2;
	}
	if (s.o.check && !s.o.rows && !scaling_check(&s.players[0])) s.failed = true;
	if (s.o.json && !report_json(&all, s.o.json)) s.failed = true;
	if (s.o.docs && !report_docs(&all, s.o.docs)) s.failed = true;
	if (s.o.check) printf("%d checks, %s\n", all.count, s.failed ? "FAILED" : "all right");
	free(all.list);
	return s.failed;
}
