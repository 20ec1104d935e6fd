/* contestant.c: the contestant's side of the protocol. */
#include "bench/contestant.h"
#include "bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct slot {
	const kind *kind;
	void *state;
} slot;

static void end(slot *s)
{
	if (s->kind) s->kind->end(s->state);
	*s = (slot){ 0 };
}

bool ask_parse(const char *text, int threads, ask *a)
{
	int at = 0, step = 0;

	if (sscanf(text, "%15s %15s%n", a->kind, a->word, &at) != 2) return false;
	a->threads = threads;
	a->count = 0;
	for (long long n, times; sscanf(text + at, "%lld%n", &n, &step) == 1;) {
		at += step;
		times = 1;
		if (sscanf(text + at, "x%lld%n", &times, &step) == 1) at += step; /* "128x51" is 128, 51 times */
		while (times-- > 0 && a->count < MAX_NUMBERS) a->n[a->count++] = n;
	}
	return a->count > 0;
}

static bool begin(slot *s, const kind *kinds, const ask *a)
{
	end(s);
	for (const kind *k = kinds; k->name; k++) {
		if (strcmp(k->name, a->kind) != 0) continue;
		s->state = k->begin(a);
		if (s->state) s->kind = k;
		return s->state != NULL;
	}
	return false;
}

static void answer(slot *s, const char *verb, int64_t units)
{
	double values[MAX_VALUES];

	if (!s->kind) {
		printf("nothing begun");
	} else if (!strcmp(verb, "check")) {
		int n = s->kind->check(s->state, values);

		for (int i = 0; i < n; i++) printf("%s%.9g", i ? " " : "", values[i]);
	} else {
		double start = now();

		s->kind->run(s->state, units);
		printf("%.9g", now() - start);
	}
}

int serve(int argc, char **argv, const char *name, const kind *kinds)
{
	static char line[ROW_LENGTH];
	static ask a;
	slot slots[SLOTS] = { { 0 } };
	int threads = argc > 1 ? atoi(argv[1]) : 1;

	printf("%s\n", name);
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		char verb[8] = "";
		int at = 0, place = 0;
		slot *s;

		if (sscanf(line, "%7s %d%n", verb, &at, &place) < 2 || at < 0 || at >= SLOTS) return 1;
		s = &slots[at];
		if (!strcmp(verb, "begin")) {
			printf(ask_parse(line + place, threads, &a) && begin(s, kinds, &a) ? "ready" : "no");
		} else if (!strcmp(verb, "end")) {
			end(s);
			printf("ended");
		} else {
			answer(s, verb, strtoll(line + place, NULL, 10));
		}
		printf("\n");
		fflush(stdout);
	}
	for (int i = 0; i < SLOTS; i++) end(&slots[i]);
	return 0;
}
