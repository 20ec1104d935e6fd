/* profile_check.h: a profile's file, read back. */
#ifndef WEIR_TESTS_PROFILE_CHECK_H
#define WEIR_TESTS_PROFILE_CHECK_H

#include "tests/ops_check.h"

#include "tests/json_read.h"

enum { MOST = 4000 };

static char *content(const char *path)
{
	FILE *f = fopen(path, "rb");
	char *text = calloc(1, 1 << 22);

	if (!f) fail_msg("%s is not there", path);
	assert_true(fread(text, 1, (1 << 22) - 1, f) > 0);
	fclose(f);
	return text;
}

/* One event as it was read. */
typedef struct read_event {
	char name[64], cat[32], scope[64], source[64];
	int thread;
	double begin, end;
	double flops, bytes;
} read_event;

static void text_at(const char *event, const char *path, char *out, size_t size)
{
	const char *s = json_find(event, path);

	out[0] = 0;
	if (s && *s == '"') snprintf(out, size, "%.*s", (int)strcspn(s + 1, "\""), s + 1);
}

static double number_at(const char *event, const char *path)
{
	const char *s = json_find(event, path);

	return s ? strtod(s, NULL) : 0;
}

/* Up to MOST of them; how many. What names the threads is left out. */
static int read_events(const char *path, read_event *list)
{
	char *text = content(path);
	const char *s = json_find(text, "traceEvents");
	int n = 0;

	if (!s) fail_msg("%s is no JSON, or has no traceEvents: %.200s", path, text);
	for (s = json_space(s + 1); *s != ']';) {
		const char *end = json_value(s);
		char *one = strndup(s, (size_t)(end - s));
		read_event *e = &list[n];

		assert_true(n < MOST - 1);
		text_at(one, "name", e->name, sizeof e->name);
		text_at(one, "cat", e->cat, sizeof e->cat);
		text_at(one, "args.scope", e->scope, sizeof e->scope);
		text_at(one, "args.source", e->source, sizeof e->source);
		e->begin = number_at(one, "ts");
		e->end = e->begin + number_at(one, "dur");
		e->flops = number_at(one, "args.flops");
		e->bytes = number_at(one, "args.bytes");
		e->thread = (int)number_at(one, "tid");
		if (strcmp(e->name, "thread_name") != 0) {
			assert_true(!strncmp(json_find(one, "ph"), "\"X\"", 3));
			n++;
		}
		free(one);
		s = json_space(end);
		if (*s == ',') s = json_space(s + 1);
	}
	free(text);
	return n;
}

static int count(const read_event *list, int n, const char *cat, const char *name)
{
	int found = 0;

	for (int i = 0; i < n; i++) found += !strcmp(list[i].cat, cat) && (!name || !strcmp(list[i].name, name));
	return found;
}

/* Events begin in order, and each lies inside of, or behind, the ones before it. */
static void check_nesting(const read_event *list, int n)
{
	double open[256];
	int depth = 0;

	for (int i = 0; i < n; i++) {
		const read_event *e = &list[i];

		if (i && e->begin < list[i - 1].begin)
			fail_msg("event %d (%s) begins at %g, the one before at %g", i, e->name, e->begin,
				 list[i - 1].begin);
		while (depth && open[depth - 1] <= e->begin) depth--;
		if (depth && e->end > open[depth - 1] + 1e-6)
			fail_msg("event %d (%s) ends at %g, the one around it at %g", i, e->name, e->end,
				 open[depth - 1]);
		assert_true(depth < 256 && e->end >= e->begin);
		open[depth++] = e->end;
	}
}

#endif
