/* player.c: a contestant as a running program, asked and answering through two pipes. */
#include "bench/conductor.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

static void become(const player *p, int threads, const int *in, const int *out)
{
	char count[16];

	snprintf(count, sizeof count, "%d", threads);
	setenv("OMP_NUM_THREADS", count, 1);
	unsetenv("OPENBLAS_CORETYPE"); /* peers choose their kernels themselves */
	unsetenv("OPENBLAS_L2_SIZE");
	dup2(in[0], 0);
	dup2(out[1], 1);
	execl(p->path, p->path, count, (char *)NULL);
	_exit(127);
}

static const char *hear(player *p)
{
	static char line[ROW_LENGTH];

	if (!p->from || !fgets(line, sizeof line, p->from)) {
		if (!p->out) fprintf(stderr, "%s is gone\n", p->name);
		p->out = true;
		return NULL;
	}
	line[strcspn(line, "\n")] = 0;
	return line;
}

bool player_start(player *p, int threads)
{
	int in[2], out[2];
	const char *greeting;

	if (p->out) return false;
	if (pipe(in) || pipe(out)) return false;
	/* No contestant holds another's pipe, or that one would never see the end of its input. */
	for (int i = 0; i < 2; i++) fcntl(in[i], F_SETFD, FD_CLOEXEC), fcntl(out[i], F_SETFD, FD_CLOEXEC);
	p->pid = fork();
	if (p->pid < 0) return false;
	if (p->pid == 0) become(p, threads, in, out);
	close(in[0]), close(out[1]);
	p->to = fdopen(in[1], "w");
	p->from = fdopen(out[0], "r");
	greeting = hear(p);
	if (!greeting || !strncmp(greeting, "no ", 3)) {
		if (greeting && !*p->greeting) printf("left out: %s: %s\n", p->name, greeting + 3);
		player_stop(p);
		p->out = true;
		return false;
	}
	snprintf(p->greeting, sizeof p->greeting, "%.127s", greeting);
	return true;
}

void player_stop(player *p)
{
	if (p->to) fclose(p->to);
	if (p->from) fclose(p->from);
	p->to = p->from = NULL;
	if (p->pid > 0) waitpid(p->pid, NULL, 0);
	p->pid = 0;
}

const char *player_ask(player *p, const char *fmt, ...)
{
	va_list args;

	if (!p->to) return NULL;
	va_start(args, fmt);
	vfprintf(p->to, fmt, args);
	va_end(args);
	fputc('\n', p->to);
	fflush(p->to);
	return hear(p);
}

bool player_begin(player *p, int slot, const char *work)
{
	const char *answer = player_ask(p, "begin %d %s", slot, work);

	return answer && !strcmp(answer, "ready");
}

double player_run(player *p, int slot, int64_t units)
{
	const char *answer = player_ask(p, "run %d %lld", slot, (long long)units);

	return answer ? strtod(answer, NULL) : (double)NAN;
}

/* Not getrusage's maximum: a child's begins at what its parent held. */
double player_peak(const player *p)
{
	char line[256];
	double kib = NAN;
	FILE *f;

	snprintf(line, sizeof line, "/proc/%d/status", (int)p->pid);
	f = fopen(line, "r");
	if (!f) return NAN;
	while (fgets(line, sizeof line, f)) sscanf(line, "VmHWM: %lf", &kib);
	fclose(f);
	return kib * 1024;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const player *)a)->name, ((const player *)b)->name);
}

int players_find(const char *folder, player *players)
{
	char path[900];
	struct dirent *e;
	int n = 1;
	DIR *d;

	signal(SIGPIPE, SIG_IGN); /* a contestant that is gone is seen when its answer is missing */
	memset(players, 0, MAX_PLAYERS * sizeof *players);
	snprintf(players->name, sizeof players->name, "Weir");
	snprintf(players->path, sizeof players->path, "%s/rows", folder);
	snprintf(path, sizeof path, "%s/peers", folder);
	d = opendir(path);
	while (d && (e = readdir(d)) && n < MAX_PLAYERS) {
		player *p = &players[n];

		if ((size_t)snprintf(p->path, sizeof p->path, "%s/%s", path, e->d_name) >= sizeof p->path) continue;
		snprintf(p->name, sizeof p->name, "%.31s", e->d_name);
		if (e->d_name[0] != '.' && e->d_type != DT_DIR && access(p->path, X_OK) == 0) n++;
	}
	if (d) closedir(d);
	qsort(players + 1, (size_t)n - 1, sizeof *players, by_name);
	if (n < MAX_PLAYERS) memset(&players[n], 0, sizeof *players);
	return n;
}
