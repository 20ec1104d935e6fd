/* model.c: the short form of a model: mlp:64-32x20-10 has 64 inputs, 20 hidden layers of 32, and 10 outputs. */
#include "tools/tool.h"

#include <stdlib.h>
#include <string.h>

#include "engine/number.h"

enum { MAX_WIDTH = 1000000 };

static bool wrong(const char *text, size_t at, const char *rule)
{
	fprintf(stderr,
		"weir: model \"%s\", character %zu: %s; a model is written mlp:64-32x20-10: 64 inputs, 20 hidden layers of 32, "
		"10 outputs\n",
		text, at + 1, rule);
	return false;
}

static bool unknown_kind(const char *text)
{
	const char *colon = strchr(text, ':');

	fprintf(stderr, "weir: unknown model \"%s\"; did you mean \"mlp:%s\"?\n", text,
		colon && colon[1]                  ? colon + 1
		: text[0] >= '0' && text[0] <= '9' ? text
						   : "64-32x20-10");
	return false;
}

/* A whole number without sign, from 1 to high; moves *at behind it. */
static bool number(const char *text, size_t *at, int64_t high, int64_t *out)
{
	size_t used = 0;

	if (text[*at] < '0' || text[*at] > '9') return false;
	if (weir__parse_int64(text + *at, strlen(text + *at), out, &used) != WEIR__PARSED || *out < 1 || *out > high)
		return false;
	*at += used;
	return true;
}

bool model_parse(options *o)
{
	const char *text = o->model;
	size_t at = 4;
	int64_t count = 0, capacity = 0;

	if (strncmp(text, "mlp:", 4)) return unknown_kind(text);
	for (;; at++) {
		int64_t width, times = 1;

		if (!number(text, &at, MAX_WIDTH, &width))
			return wrong(text, at, "a width from 1 to 1000000 should stand here");
		if (text[at] == 'x') {
			at++;
			if (!number(text, &at, MAX_LAYERS, &times))
				return wrong(text, at, "how many such layers, 1 to 20000, should stand here");
		}
		if (count + times > MAX_LAYERS + 1) return wrong(text, at, "more than 20000 layers");
		if (count + times > capacity) {
			int64_t *bigger;

			capacity = 2 * (count + times);
			if (!(bigger = realloc(o->width, (size_t)capacity * sizeof *bigger)))
				return wrong(text, at, "out of memory");
			o->width = bigger;
		}
		while (times-- > 0) o->width[count++] = width;
		if (!text[at]) break;
		if (text[at] != '-') return wrong(text, at, "\"-\" should stand here");
	}
	if (count < 2) return wrong(text, at, "the outputs are missing");
	o->layers = count - 1;
	return true;
}
