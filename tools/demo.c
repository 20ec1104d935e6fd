/* demo.c: `weir demo`: where the gradient of a deep sigmoid network dies, beside the same network with ReLU and with He
 * initialisation; then the worst and the best of them trained side by side. */
#include "tools/train.h"

#include <math.h>
#include <string.h>

enum { LIMIT = 20 }; /* seconds of training each, at most */

typedef struct cell {
	weir_act act;
	tool_init init;
	const char *name, *dot; /* dot: where its picture goes, or NULL */
	weir_flow_summary summary;
} cell;

static options with(const options *base, const cell *c)
{
	options o = *base;

	o.act = c->act;
	o.init = c->init;
	return o;
}

/* Measures one step as initialised, and draws it; report: prints the table. */
static bool measure(const options *base, cell *c, bool report)
{
	options o = with(base, c);
	setup s;
	weir_flow *f = NULL;
	step r;
	bool ok;

	o.ieee = true;
	ok = setup_make(&s, &o);
	if (ok) f = setup_watch(&s);
	ok = ok && f && setup_step(&s, f, false, &r);
	if (ok) c->summary = *weir_flow_summary_of(f);
	if (ok && report) ok = weir_flow_report(f, stdout, WEIR_FLOW_TABLE, s.text);
	if (ok && c->dot) ok = weir_dot_write_flow(s.w, f, c->dot);
	setup_free(&s);
	return ok;
}

typedef struct trained {
	double train, validation, loss;
	int64_t steps;
} trained;

static bool train(const options *base, const cell *c, trained *t)
{
	options o = with(base, c);
	setup s;
	weir_flow *f = NULL;
	signs g;
	char sign[1536];
	double loss;
	bool ok;

	printf("%s\n", c->name);
	fflush(stdout);
	o.ieee = false;
	ok = setup_make(&s, &o);
	if (ok) {
		signs_init(&g, weir_dataset_classes(s.all), o.lr);
		f = setup_watch(&s);
		ok = f && train_run(&s, f, &g, LIMIT);
		if (ok && signs_text(&g, f, sign, sizeof sign)[0]) printf("%s\n", sign);
		t->steps = g.steps;
		weir_flow_stop(f);
	}
	ok = ok && setup_evaluate(&s, s.train, &t->loss, &t->train) &&
	     setup_evaluate(&s, s.validation, &loss, &t->validation);
	setup_free(&s);
	fflush(stdout);
	return ok && !stop_signal;
}

static void table(const cell *cells, int n)
{
	printf("%-18s %-12s %-12s %-12s %s\n", "network", "per layer", "in all", "verdict", "cause");
	for (int i = 0; i < n; i++) {
		const weir_flow_summary *s = &cells[i].summary;

		printf("%-18s %-12.3f %-12.2e %-12s %s\n", cells[i].name, s->gain_per_layer, s->total_gain,
		       weir_verdict_name(s->verdict), s->cause ? s->cause : "-");
	}
	printf("per layer: what a layer multiplies the gradient by on its way back; in all: what is left of it at the input\n");
}

static void result(const cell *c, const trained *t)
{
	printf("%-18s %-8lld %-10.4f %-16.1f %.1f\n", c->name, (long long)t->steps, t->loss, 100 * t->train,
	       100 * t->validation);
}

int command_demo(const options *o)
{
	cell cells[] = {
		{ WEIR_ACT_SIGMOID, INIT_GLOROT, "sigmoid, Glorot", "sigmoid-glorot.dot", { 0 } },
		{ WEIR_ACT_SIGMOID, INIT_HE, "sigmoid, He", NULL, { 0 } },
		{ WEIR_ACT_RELU, INIT_GLOROT, "ReLU, Glorot", NULL, { 0 } },
		{ WEIR_ACT_RELU, INIT_HE, "ReLU, He", "relu-he.dot", { 0 } },
	};
	trained worst = { 0 }, best = { 0 };

	printf("1. A deep sigmoid network on handwritten digits, as initialised\n\n");
	for (int i = 0; i < 4; i++) {
		if (stop_signal || !measure(o, &cells[i], i == 0)) return EXIT_FAILED;
	}
	printf("\n2. The same network with two activations and two initialisations\n\n");
	table(cells, 4);
	printf("\n3. The worst and the best of them trained, with the instrument on\n\n");
	if (!train(o, &cells[0], &worst) || !train(o, &cells[3], &best)) return EXIT_FAILED;
	printf("\n%-18s %-8s %-10s %-16s %s\n", "network", "steps", "loss", "train, % right", "validation, % right");
	result(&cells[0], &worst);
	result(&cells[3], &best);
	printf("\nboth graphs, coloured by their gradients: %s %s\n", cells[0].dot, cells[3].dot);
	return 0;
}
