/* json_read.h: a strict reader of JSON for tests: json_find() returns the text of one value, after the whole document was checked. */
#ifndef WEIR_TESTS_JSON_READ_H
#define WEIR_TESTS_JSON_READ_H

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Each function returns what stands behind the thing it reads, or NULL where it is wrong. */
static const char *json_value(const char *s);

static const char *json_space(const char *s)
{
	while (*s == ' ' || *s == '\n' || *s == '\t' || *s == '\r') s++;
	return s;
}

static const char *json_string(const char *s)
{
	if (*s++ != '"') return NULL;
	for (; *s != '"'; s++) {
		if ((unsigned char)*s < ' ') return NULL;
		if (*s == '\\' && !strchr("\"\\/bfnrtu", *++s)) return NULL;
	}
	return s + 1;
}

static const char *json_number(const char *s)
{
	if (*s == '-') s++;
	if (*s == '0' && isdigit((unsigned char)s[1])) return NULL;
	if (!isdigit((unsigned char)*s)) return NULL;
	while (isdigit((unsigned char)*s)) s++;
	if (*s == '.') {
		if (!isdigit((unsigned char)*++s)) return NULL;
		while (isdigit((unsigned char)*s)) s++;
	}
	if (*s == 'e' || *s == 'E') {
		s++;
		if (*s == '+' || *s == '-') s++;
		if (!isdigit((unsigned char)*s)) return NULL;
		while (isdigit((unsigned char)*s)) s++;
	}
	return s;
}

static const char *json_members(const char *s, char close)
{
	s = json_space(s + 1);
	if (*s == close) return s + 1;
	for (;; s++) {
		s = json_space(s);
		if (close == '}') {
			if (!(s = json_string(s))) return NULL;
			s = json_space(s);
			if (*s++ != ':') return NULL;
		}
		if (!(s = json_value(json_space(s)))) return NULL;
		s = json_space(s);
		if (*s == close) return s + 1;
		if (*s != ',') return NULL;
	}
}

static const char *json_value(const char *s)
{
	switch (*s) {
	case '{': return json_members(s, '}');
	case '[': return json_members(s, ']');
	case '"': return json_string(s);
	case 't': return strncmp(s, "true", 4) ? NULL : s + 4;
	case 'f': return strncmp(s, "false", 5) ? NULL : s + 5;
	case 'n': return strncmp(s, "null", 4) ? NULL : s + 4;
	default: return json_number(s);
	}
}

/* The member of an object or the entry of an array that a component of the path names: "layers", "3". */
static const char *json_member(const char *s, const char *name, size_t n)
{
	long i = *s == '[' ? strtol(name, NULL, 10) : -1;
	char close = *s == '[' ? ']' : '}';

	if (*s != '[' && *s != '{') return NULL;
	s = json_space(s + 1);
	for (long k = 0; *s != close; k++) {
		const char *key = s;
		int found = k == i;

		if (close == '}') {
			s = json_string(s);
			found = (size_t)(s - key) == n + 2 && !strncmp(key + 1, name, n);
			s = json_space(json_space(s) + 1);
		}
		if (found) return s;
		s = json_space(json_value(s));
		if (*s == ',') s = json_space(s + 1);
	}
	return NULL;
}

/* The value at a path such as "layers.3.gain" of a document, which must be right from beginning to end; NULL if it is not there. */
static const char *json_find(const char *document, const char *path)
{
	const char *s = json_space(document), *end = json_value(s);

	if (!end || *json_space(end)) return NULL;
	while (s && *path) {
		size_t n = strcspn(path, ".");

		s = json_member(s, path, n);
		path += n + (path[n] == '.');
	}
	return s;
}

#endif
