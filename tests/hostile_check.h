/* hostile_check.h: what the tests of the instrument against hostile use share: everything that it can write, checked for form. */
#ifndef WEIR_TESTS_HOSTILE_CHECK_H
#define WEIR_TESTS_HOSTILE_CHECK_H

#include "tests/flow_check.h"

#include <unistd.h>

#include "engine/text.h"
#include "tests/json_read.h"

static MAY_BE_UNUSED double small_ratio(const weir_tensor *p, void *user)
{
	(void)user;
	return weir_rank(p) > 1 ? 1e-3 : NAN;
}

static MAY_BE_UNUSED bool never_stop(const weir_flow *f, void *user)
{
	(void)f, (void)user;
	return false;
}

/* All that can be measured, in every `every`th step. */
static MAY_BE_UNUSED weir_flow_options all_options(int64_t every)
{
	weir_flow_options o;

	weir_flow_options_init(&o);
	o.every = every;
	o.budget = 0;
	o.stretch = 2;
	o.window = 8;
	o.epoch = 2;
	o.classes = 3;
	o.update_ratio = small_ratio;
	o.stop = never_stop;
	return o;
}

static MAY_BE_UNUSED weir_flow *watch_everything(weir_ctx *w, int64_t every)
{
	weir_flow_options o = all_options(every);

	return weir_flow_watch(w, &o);
}

static MAY_BE_UNUSED char *whole_file(FILE *file)
{
	long n;
	char *text;

	fflush(file);
	n = ftell(file);
	rewind(file);
	assert_true(n >= 0);
	text = malloc((size_t)n + 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, (size_t)n, file), (size_t)n);
	text[n] = 0;
	fclose(file);
	return text;
}

static MAY_BE_UNUSED void assert_utf8(const char *what, const char *s, bool lines)
{
	const char *end = s + strlen(s);

	for (size_t n; s < end; s += n) {
		unsigned char c = (unsigned char)*s;

		n = weir__utf8(s, (size_t)(end - s));
		if (!n) fail_msg("%s: byte 0x%02x is no UTF-8: %.40s", what, c, s);
		if (c == 0x7f || (c < ' ' && !(lines && c == '\n')))
			fail_msg("%s: a control character, 0x%02x: %.40s", what, c, s);
	}
}

/* A report in one of its forms, to be freed. */
static MAY_BE_UNUSED char *report_text(const weir_flow *f, weir_flow_form form)
{
	FILE *file = tmpfile();

	assert_non_null(file);
	assert_true(weir_flow_report(f, file, form, NULL));
	return whole_file(file);
}

/* Braces balanced outside of strings, strings closed. */
static MAY_BE_UNUSED void assert_dot(const char *s)
{
	const char *all = s;
	int depth = 0;
	bool quoted = false;

	for (; *s; s++) {
		if (quoted && *s == '\\' && s[1]) s++;
		else if (*s == '"') quoted = !quoted;
		else if (!quoted && *s == '{') depth++;
		else if (!quoted && *s == '}') assert_true(--depth >= 0);
		else if (quoted && *s == '\n') fail_msg("a string is not closed: %.60s", s > all + 50 ? s - 50 : all);
	}
	assert_false(quoted);
	assert_int_equal(depth, 0);
	assert_true(s - all > 2 && !strcmp(s - 2, "}\n"));
}

/* All forms of what f knows, and the picture: well-formed, and no number that the form has none for. */
static MAY_BE_UNUSED void check_outputs(weir_ctx *w, const weir_flow *f)
{
	static const char *const never[] = { "\"nan", "\"-nan", "\"inf", "\"-inf", ",nan", ",-nan",
					     ",inf",  ",-inf",  "Mnan",  "Minf",   "M-",   "L-" };
	char *text = report_text(f, WEIR_FLOW_TABLE);
	FILE *file;

	assert_utf8("table", text, true);
	assert_non_null(strstr(text, "VERDICT"));
	free(text);
	text = report_text(f, WEIR_FLOW_JSON);
	assert_utf8("JSON", text, true);
	if (!json_find(text, "")) fail_msg("this is no JSON:\n%s", text);
	assert_non_null(json_find(text, "verdict"));
	free(text);
	text = report_text(f, WEIR_FLOW_HTML);
	assert_utf8("HTML", text, true);
	for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
		const char *at = strstr(strstr(text, "</style>"), never[i]);

		if (at) fail_msg("in the page: %.60s", at > text + 30 ? at - 30 : text);
	}
	free(text);
	assert_non_null(file = tmpfile());
	assert_true(weir_dot_print(w, f, file));
	text = whole_file(file);
	assert_utf8("DOT", text, true);
	assert_dot(text);
	free(text);
}

/* Every line by itself is JSON. */
static MAY_BE_UNUSED int64_t check_json_lines(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text, *line, *end;
	int64_t n = 0;

	assert_non_null(file);
	fseek(file, 0, SEEK_END);
	text = whole_file(file);
	for (line = text; *line; line = end + 1, n++) {
		end = strchr(line, '\n');
		if (!end) fail_msg("the last line is not ended: %.60s", line);
		*end = 0;
		assert_utf8(path, line, false);
		if (!json_find(line, "")) fail_msg("%s: this is no JSON: %s", path, line);
	}
	free(text);
	return n;
}

#endif
