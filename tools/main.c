/* main.c: the command `weir`. One file per command: flow.c, train.c, graph.c, info.c, demo.c. */
#include "tools/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
	if (stop_signal) _exit(128 + number); /* a second one leaves at once */
	stop_signal = number;
}

static void catch_signals(void)
{
	struct sigaction a, now;

	memset(&a, 0, sizeof a);
	a.sa_handler = on_signal;
	if (!sigaction(SIGINT, NULL, &now) && now.sa_handler != SIG_IGN)
		sigaction(SIGINT, &a, NULL); /* not in the background */
	sigaction(SIGTERM, &a, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Whoever closed a standard stream before calling: a file opened later must not take its number. Writing to it fails, as it should. */
static void hold_standard_streams(void)
{
	for (int fd = 0; fd < 3; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)!open("/dev/null", fd ? O_RDONLY : O_WRONLY);
	}
}

double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What was printed has arrived, or it is a failure. */
static int finish(int status)
{
	if (fflush(stdout) || ferror(stdout)) {
		int why = errno;

		if (status == 0)
			fprintf(stderr, "weir: standard output: %s\n",
				why ? strerror(why) : "not everything could be written");
		return status ? status : EXIT_FAILED;
	}
	return status;
}

static const struct {
	const char *name;
	tool_command command;
	int (*run)(const options *o);
} commands[] = {
	{ "flow", COMMAND_FLOW, command_flow },    { "train", COMMAND_TRAIN, command_train },
	{ "graph", COMMAND_GRAPH, command_graph }, { "info", COMMAND_INFO, command_info },
	{ "demo", COMMAND_DEMO, command_demo },
};

static int help(void)
{
	options_help(stdout);
	return finish(0);
}

static bool is_help(const char *word)
{
	return !strcmp(word, "--help") || !strcmp(word, "-h");
}

static int run(int which, int argc, char **argv)
{
	options o;
	int status = EXIT_USAGE;

	for (int a = 2; a < argc; a++) {
		if (is_help(argv[a])) return help();
	}
	if (options_parse(&o, commands[which].command, argc, argv)) status = finish(commands[which].run(&o));
	options_free(&o);
	return stop_signal ? 128 + stop_signal : status;
}

int main(int argc, char **argv)
{
	enum { COUNT = sizeof commands / sizeof *commands };
	const char *names[COUNT], *word = argc > 1 ? argv[1] : "--help";

	hold_standard_streams();
	catch_signals();
	if (!strcmp(word, "--version")) {
		printf("weir %s\n", WEIR_VERSION);
		return finish(0);
	}
	if (is_help(word) || !strcmp(word, "help")) return help();
	for (int i = 0; i < COUNT; i++) {
		names[i] = commands[i].name;
		if (!strcmp(word, names[i])) return run(i, argc, argv);
	}
	complain(word[0] == '-' ? "a command comes before" : "unknown command", word, names, COUNT);
	return EXIT_USAGE;
}
