/* train.c: `weir train`: training with the instrument on, and what the loss itself tells. */
#include "tools/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/tool.h"

/* ---- signs: what a practitioner reads off the loss ---- */

void signs_init(signs *g, int64_t classes)
{
	*g = (signs){ .guess = classes > 1 ? log((double)classes) : 0, .classes = classes, .best = INFINITY };
}

void signs_see(signs *g, double loss)
{
	g->steps++;
	if (!isfinite(loss)) {
		g->broken = true;
		return;
	}
	g->smooth = g->steps == 1 ? loss : 0.95 * g->smooth + 0.05 * loss;
	if (g->guess > 0 && fabs(g->smooth - g->guess) < 0.02 * g->guess) g->flat++;
	else g->flat = 0;
	if (g->smooth < g->best) g->best = g->smooth;
	if (g->steps == 1) g->first = loss;
	if (loss > 3 * g->best && loss > 2 * g->first) g->jumps++;
}

const char *signs_text(const signs *g, const weir_flow *f, char *text, size_t size)
{
	const weir_flow_summary *s = f ? weir_flow_summary_of(f) : NULL;
	const weir_flow_birth *b = s && s->first_inf.found ? &s->first_inf : s && s->first_nan.found ? &s->first_nan : NULL;

	text[0] = 0;
	if (g->broken) {
		size_t n = (size_t)snprintf(text, size, "loss NaN or inf at step %lld", (long long)g->steps);

		if (b && n < size)
			snprintf(text + n, size - n, "; first %s: %s (%s%s%s%s)", b == &s->first_inf ? "inf" : "NaN", b->layer, b->op, b->here[0] ? ", " : "", b->here,
				 b->backward ? ", backward" : "");
	} else if (g->flat >= 200) {
		snprintf(text, size, "loss %.3f = ln %lld (guessing), unchanged for %lld steps: a sign of vanishing gradients", g->smooth, (long long)g->classes,
			 (long long)g->flat);
	} else if (g->jumps >= 5) {
		snprintf(text, size, "loss unstable: a sign of exploding gradients");
	}
	return text;
}

/* ---- progress ---- */

typedef struct progress {
	bool terminal;
	double begin, shown;
	int64_t total, last_line;
} progress;

static void show(progress *p, int64_t step, double loss, double accuracy, double grad, bool end)
{
	double now = seconds(), rate = (double)step / (now - p->begin + 1e-9), left = (double)(p->total - step) / rate;
	int64_t every = p->total >= 10 ? p->total / 10 : 1;

	if (p->terminal) {
		if (!end && now - p->shown < 0.1) return;
		p->shown = now;
		fprintf(stderr, "\r\033[Kstep %lld/%lld  loss %.4f  accuracy %5.1f %%  |g| %.2e  %.0f steps/s  %.0f s left%s", (long long)step, (long long)p->total, loss,
			100 * accuracy, grad, rate, left, end ? "\n" : "");
		return;
	}
	if (!end && step % every) return;
	if (p->last_line == step) return;
	p->last_line = step;
	printf("step %6lld  loss %.4f", (long long)step, loss);
	if (!isnan(accuracy)) printf("  accuracy %5.1f %%", 100 * accuracy);
	printf("  |g| %.2e\n", grad);
	fflush(stdout);
}

bool train_run(setup *s, weir_flow *f, signs *g, double max_seconds, bool quiet)
{
	const char *term = getenv("TERM");
	progress p = { .terminal = isatty(2) && term && strcmp(term, "dumb"), .begin = seconds(), .total = s->o->steps };
	double loss = NAN, accuracy = NAN, grad = NAN;
	int64_t step = 0;
	bool ok = true;

	while (ok && step < s->o->steps && !stop_signal && (max_seconds <= 0 || seconds() - p.begin < max_seconds)) {
		ok = setup_step(s, f, true, &loss, &accuracy, &grad);
		if (!ok) break;
		step++;
		signs_see(g, loss);
		if (!quiet) show(&p, step, loss, accuracy, grad, g->broken);
		if (g->broken) break;
	}
	if (!quiet && step && !g->broken) show(&p, step, loss, accuracy, grad, true);
	return ok;
}

static void figures(const char *name, double loss, double accuracy)
{
	printf("%-11s loss %.4f", name, loss);
	if (!isnan(accuracy)) printf("  accuracy %.1f %%", 100 * accuracy);
	printf("\n");
}

int command_train(const options *o)
{
	setup s;
	weir_flow *f = NULL;
	signs g;
	char text[1024];
	double loss = NAN, accuracy = NAN;
	bool ok = setup_make(&s, o);

	if (ok) {
		printf("%s; %lld training examples, %lld for validation\n", s.text, (long long)weir_dataset_size(s.train), (long long)weir_dataset_size(s.validation));
		fflush(stdout);
		signs_init(&g, weir_dataset_classes(s.all));
		f = setup_watch(&s);
		ok = f && train_run(&s, f, &g, 0, false);
		if (signs_text(&g, f, text, sizeof text)[0]) printf("%s\n", text);
		if (ok && !g.broken) printf("gradient    %s, %.3g per layer\n", weir_verdict_name(weir_flow_verdict(f)), weir_flow_summary_of(f)->gain_per_layer);
		weir_flow_stop(f);
		if (ok && !g.broken && setup_evaluate(&s, s.train, &loss, &accuracy)) figures("train", loss, accuracy);
		if (ok && !g.broken && setup_evaluate(&s, s.validation, &loss, &accuracy)) figures("validation", loss, accuracy);
		ok = ok && weir_ok(s.w);
	}
	setup_free(&s);
	return ok && !g.broken ? 0 : EXIT_FAILED;
}
