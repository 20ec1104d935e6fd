/* main.c: the command `weir`. One file per command: flow.c, train.c, graph.c, info.c, demo.c. Data goes to standard output, talk to
 * standard error; a wrong call is one line and exit 2, a failure exit 1. */
#include "tools/tool.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

volatile int stop_signal;

static void on_signal(int number)
{
	if (stop_signal) _exit(128 + number); /* a second one leaves at once */
	stop_signal = number;
}

void catch_signals(void)
{
	struct sigaction a;

	memset(&a, 0, sizeof a);
	a.sa_handler = on_signal;
	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	signal(SIGPIPE, SIG_IGN);
}

double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const struct {
	const char *name;
	int (*run)(const options *o);
} commands[] = {
	{ "flow", command_flow }, { "train", command_train }, { "graph", command_graph }, { "info", command_info }, { "demo", command_demo },
};

int main(int argc, char **argv)
{
	enum { COUNT = sizeof commands / sizeof *commands };
	const char *names[COUNT], *word = argc > 1 ? argv[1] : "--help";
	options o;
	int status;

	if (!strcmp(word, "--version")) {
		printf("weir %s\n", WEIR_VERSION);
		return 0;
	}
	if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
		options_help(stdout, argc > 2 ? argv[2] : NULL);
		return 0;
	}
	for (int i = 0; i < COUNT; i++) {
		names[i] = commands[i].name;
		if (strcmp(word, commands[i].name)) continue;
		for (int a = 2; a < argc; a++) {
			if (strcmp(argv[a], "--help") && strcmp(argv[a], "-h")) continue;
			options_help(stdout, word);
			return 0;
		}
		if (!options_parse(&o, argc, argv)) return EXIT_USAGE;
		catch_signals();
		status = commands[i].run(&o);
		options_free(&o);
		return stop_signal ? 128 + stop_signal : status;
	}
	complain("unknown command", word, names, COUNT);
	return EXIT_USAGE;
}
