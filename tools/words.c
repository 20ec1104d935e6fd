/* words.c: what is said of a wrong word: the word, and the nearest right one. */
#include "tools/tool.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORD = 62, FAR = 99, FEW = 8 };

/* Distance of two words: insertions, deletions, replacements, and neighbours that changed places. */
static int distance(const char *a, const char *b)
{
	int row[3][WORD + 2] = { { 0 } };
	int n = (int)strlen(b), m = (int)strlen(a);

	if (n > WORD || m > WORD) return FAR;
	for (int j = 0; j <= n; j++) row[1][j] = j;
	for (int i = 1; i <= m; i++) {
		int *now = row[2];

		now[0] = i;
		for (int j = 1; j <= n; j++) {
			int best = row[1][j - 1] + (a[i - 1] != b[j - 1]);

			if (row[1][j] + 1 < best) best = row[1][j] + 1;
			if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && row[0][j - 2] + 1 < best)
				best = row[0][j - 2] + 1;
			now[j] = best;
		}
		memcpy(row[0], row[1], sizeof row[0]);
		memcpy(row[1], row[2], sizeof row[1]);
	}
	return row[1][n];
}

/* Near enough to have been meant: nearer than half of the word's own length. */
static bool is_near(int d, const char *word)
{
	return d < 4 && 2 * d <= (int)strlen(word);
}

static void list(const char *const *choices, int n, int best)
{
	fprintf(stderr, "the nearest is \"%s\", of", choices[best]);
	for (int i = 0; i < n; i++) fprintf(stderr, "%s %s", i ? "," : "", choices[i]);
}

void complain(const char *what, const char *word, const char *const *choices, int n)
{
	int best = -1, nearest = FAR;

	for (int i = 0; i < n; i++) {
		int d = distance(word, choices[i]);

		if (d >= nearest) continue;
		nearest = d;
		best = i;
	}
	fprintf(stderr, "weir: %s \"%s\"; ", what, word);
	if (best < 0) fputs("weir --help lists what there is", stderr);
	else if (is_near(nearest, word)) fprintf(stderr, "did you mean \"%s\"?", choices[best]);
	else if (n > FEW) fprintf(stderr, "the nearest is \"%s\"; weir --help lists all", choices[best]);
	else list(choices, n, best);
	fputc('\n', stderr);
}

/* The name in path's folder that is nearest to path's; false where there is none. */
static bool nearest_file(const char *path, char *name, size_t size)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	char folder[1024];
	int nearest = FAR;
	DIR *dir;

	if (slash && (size_t)(slash - path) + 2 > sizeof folder) return false;
	snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
	if (!(dir = opendir(folder))) return false;
	for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
		int d = e->d_name[0] == '.' ? FAR : distance(base, e->d_name);

		if (d >= nearest) continue;
		nearest = d;
		snprintf(name, size, "%s%s", slash ? folder : "", e->d_name);
	}
	closedir(dir);
	return is_near(nearest, base);
}

bool readable(const char *option, const char *path)
{
	struct stat st;
	char near_one[2048];
	int why = access(path, R_OK) ? errno : !stat(path, &st) && S_ISDIR(st.st_mode) ? EISDIR : 0;

	if (!why) return true;
	fprintf(stderr, "weir: %s: \"%s\": %s", option, path, strerror(why));
	if (why == ENOENT && nearest_file(path, near_one, sizeof near_one))
		fprintf(stderr, "; did you mean \"%s\"?", near_one);
	fputc('\n', stderr);
	return false;
}

int recorder_kind(const char *path)
{
	static const struct {
		const char *end;
		weir_flow_recorder kind;
	} ends[] = { { ".jsonl", WEIR_FLOW_JSON_LINES }, { ".ring", WEIR_FLOW_RING }, { "/", WEIR_FLOW_TENSORBOARD } };
	size_t n = strlen(path);
	struct stat st;

	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		size_t m = strlen(ends[i].end);

		if (n >= m && !strcmp(path + n - m, ends[i].end)) return (int)ends[i].kind;
	}
	return !stat(path, &st) && S_ISDIR(st.st_mode) ? (int)WEIR_FLOW_TENSORBOARD : -1;
}

bool writable(const char *option, const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[1024];
	struct stat st;
	int why = 0;

	if (slash && (size_t)(slash - path) + 2 > sizeof folder) return true; /* the writer will tell */
	snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
	if (!path[0]) why = ENOENT;
	else if (!stat(path, &st)) why = S_ISDIR(st.st_mode) ? EISDIR : access(path, W_OK) ? errno : 0;
	else if (stat(folder, &st)) why = errno;
	else if (access(folder, W_OK)) why = errno;
	if (!why) return true;
	fprintf(stderr, "weir: %s: \"%s\": %s\n", option, path, strerror(why));
	return false;
}
