/* demo.c: `weir demo`: where the gradient of a deep sigmoid network dies, beside the same network with ReLU and with He
 * initialisation; then both extremes trained side by side. */
#include <math.h>
#include <string.h>

#include "tools/train.h"

typedef struct cell {
	weir_act act;
	tool_init init;
	const char *name;
	weir_flow_summary summary;
} cell;

static options with(const options *base, const cell *c)
{
	options o = *base;

	o.act = c->act;
	o.init = c->init;
	o.lr = c->act == WEIR_ACT_RELU ? 0.02 : 0.1;
	return o;
}

/* Measures one step as initialised; report: print the table; dot: write the picture. */
static bool measure(const options *base, cell *c, bool report, const char *dot)
{
	options o = with(base, c);
	setup s;
	weir_flow *f = NULL;
	double loss;
	bool ok;

	o.ieee = true;
	ok = setup_make(&s, &o);
	if (ok) f = setup_watch(&s);
	ok = ok && f && setup_step(&s, f, false, &loss, NULL, NULL);
	if (ok) c->summary = *weir_flow_summary_of(f);
	if (ok && report) ok = weir_flow_report(f, stdout, WEIR_FLOW_TABLE, s.text);
	if (ok && dot) ok = weir_dot_write_flow(s.w, f, dot);
	setup_free(&s);
	return ok;
}

typedef struct trained {
	double train, validation, loss;
	int64_t steps;
	char sign[512];
} trained;

static bool train(const options *base, const cell *c, double limit, trained *t)
{
	options o = with(base, c);
	setup s;
	weir_flow *f = NULL;
	signs g;
	double loss;
	bool ok;

	o.ieee = false;
	ok = setup_make(&s, &o);
	if (ok) {
		signs_init(&g, weir_dataset_classes(s.all));
		f = setup_watch(&s);
		ok = f && train_run(&s, f, &g, limit, false);
		signs_text(&g, f, t->sign, sizeof t->sign);
		t->steps = g.steps;
		weir_flow_stop(f);
	}
	ok = ok && setup_evaluate(&s, s.train, &t->loss, &t->train) && setup_evaluate(&s, s.validation, &loss, &t->validation);
	setup_free(&s);
	return ok;
}

int command_demo(const options *o)
{
	cell cells[] = {
		{ WEIR_ACT_SIGMOID, INIT_GLOROT, "sigmoid, Glorot", { 0 } },
		{ WEIR_ACT_SIGMOID, INIT_HE, "sigmoid, He", { 0 } },
		{ WEIR_ACT_RELU, INIT_GLOROT, "ReLU, Glorot", { 0 } },
		{ WEIR_ACT_RELU, INIT_HE, "ReLU, He", { 0 } },
	};
	enum { LIMIT = 20 }; /* seconds of training each, at most */
	trained worst = { 0 }, best = { 0 };

	printf("1. A deep sigmoid network on handwritten digits, as initialised\n\n");
	if (!measure(o, &cells[0], true, "sigmoid-glorot.dot")) return EXIT_FAILED;
	for (int i = 1; i < 4; i++) {
		if (!measure(o, &cells[i], false, i == 3 ? "relu-he.dot" : NULL)) return EXIT_FAILED;
	}
	printf("\n2. The same network, two activations, two initialisations\n\n");
	printf("%-18s %-12s %-14s %-12s %s\n", "network", "per layer", "total", "verdict", "cause");
	for (int i = 0; i < 4; i++) {
		const weir_flow_summary *s = &cells[i].summary;

		printf("%-18s %-12.3f %-14.2e %-12s %s\n", cells[i].name, s->gain_per_layer, s->total_gain, weir_verdict_name(s->verdict), s->cause ? s->cause : "-");
	}
	printf("\n3. The first and the last of them trained, with the instrument on\n\n%s\n", cells[0].name);
	fflush(stdout);
	if (!train(o, &cells[0], LIMIT, &worst)) return EXIT_FAILED;
	if (worst.sign[0]) printf("%s\n", worst.sign);
	printf("%s\n", cells[3].name);
	fflush(stdout);
	if (stop_signal || !train(o, &cells[3], LIMIT, &best)) return EXIT_FAILED;
	if (best.sign[0]) printf("%s\n", best.sign);
	printf("\n%-18s %-8s %-10s %-16s %s\n", "network", "steps", "loss", "train accuracy", "validation accuracy");
	printf("%-18s %-8lld %-10.4f %-16.1f %.1f %%\n", cells[0].name, (long long)worst.steps, worst.loss, 100 * worst.train, 100 * worst.validation);
	printf("%-18s %-8lld %-10.4f %-16.1f %.1f %%\n", cells[3].name, (long long)best.steps, best.loss, 100 * best.train, 100 * best.validation);
	printf("\npictures of both graphs, coloured by the gradient: sigmoid-glorot.dot relu-he.dot\n");
	return 0;
}
