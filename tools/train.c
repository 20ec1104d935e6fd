/* train.c: `weir train`: training with the instrument on, and what the loss itself tells. */
#include "tools/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- signs: what a practitioner reads off the loss ---- */

void signs_init(signs *g, int64_t classes, double lr)
{
	*g = (signs){ .classes = classes, .lr = lr };
}

static void signs_see(signs *g, const weir_flow *f, const step *r)
{
	const weir_flow_summary *s = weir_flow_summary_of(f);

	g->steps++;
	g->last = *r;
	g->flat = s->loss_sign == WEIR_LOSS_GUESSING ? s->loss_sign_steps : 0;
	g->jumped = g->jumped || s->loss_sign == WEIR_LOSS_JUMPING;
}

/* "; first inf: mlp.12.linear (linear, x.c:41)" */
static void place(char *text, size_t size, const weir_flow_summary *s)
{
	const weir_flow_birth *b = s->first_inf.found ? &s->first_inf : &s->first_nan;

	if (!b->found || (b == &s->first_inf && s->first_nan.found && s->first_nan.step < b->step)) b = &s->first_nan;
	if (!b->found) return;
	snprintf(text, size, "; first %s: %s%s (%s%s%s)", b == &s->first_inf ? "inf" : "NaN",
		 b->backward ? "gradient of " : "", b->layer, b->op, b->here[0] ? ", " : "", b->here);
}

const char *signs_text(const signs *g, const weir_flow *f, char *text, size_t size)
{
	long long steps = g->steps;
	size_t n;

	text[0] = 0;
	if (g->last.broken) {
		if (isnan(g->last.loss)) snprintf(text, size, "loss NaN at step %lld", steps);
		else if (isinf(g->last.loss)) snprintf(text, size, "loss inf at step %lld", steps);
		else if (!isfinite(g->last.grad_norm))
			snprintf(text, size, "gradient not finite at step %lld, loss %.3g", steps, g->last.loss);
		else
			snprintf(text, size, "update not finite at step %lld: gradient %.3g, learning rate %g", steps,
				 g->last.grad_norm, g->lr);
		n = strlen(text);
		if (f) place(text + n, size - n, weir_flow_summary_of(f));
	} else if (g->flat) {
		snprintf(text, size,
			 "loss %.3f = ln %lld (guessing), unchanged for %lld steps: a sign of vanishing gradients",
			 log((double)g->classes), (long long)g->classes, (long long)g->flat);
	} else if (g->jumped) {
		snprintf(text, size, "loss unstable: a sign of exploding gradients");
	}
	return text;
}

/* ---- progress ---- */

/* 0.1234, 1.4e+07, nan: as the number deserves. */
static void print_loss(FILE *to, double x)
{
	if (isnan(x)) fputs("  loss nan", to);
	else fprintf(to, fabs(x) < 1e4 ? "  loss %.4f" : "  loss %.4g", x);
}

typedef struct progress {
	bool terminal;
	double begin, shown;
	int64_t total, last;
} progress;

static void show(progress *p, int64_t number, const step *r, bool end)
{
	double now = seconds(), rate = (double)number / (now - p->begin + 1e-9);
	int64_t every = p->total >= 10 ? p->total / 10 : 1;
	FILE *to = p->terminal ? stderr : stdout;

	if (p->terminal ? !end && now - p->shown < 0.1 : (!end && number % every) || p->last == number) return;
	p->shown = now;
	p->last = number;
	if (p->terminal) fprintf(to, "\r\033[Kstep %lld/%lld", (long long)number, (long long)p->total);
	else fprintf(to, "step %6lld", (long long)number);
	print_loss(to, r->loss);
	if (!isnan(r->accuracy)) fprintf(to, "  accuracy %5.1f %%", 100 * r->accuracy);
	if (isnan(r->grad_norm)) fputs("  |g| nan", to);
	else fprintf(to, "  |g| %.2e", r->grad_norm);
	fprintf(to, "  %.0f steps/s", rate);
	if (p->terminal) fprintf(to, "  %.0f s left%s", (double)(p->total - number) / rate, end ? "\n" : "");
	else fputc('\n', to);
	fflush(to);
}

bool train_run(setup *s, weir_flow *f, signs *g, double max_seconds)
{
	const char *term = getenv("TERM");
	progress p = { .terminal = isatty(2) && term && strcmp(term, "dumb"),
		       .begin = seconds(),
		       .total = s->o->steps };
	step r = { .broken = false };

	while (g->steps < s->o->steps && !r.broken && !stop_signal &&
	       (max_seconds <= 0 || seconds() - p.begin < max_seconds)) {
		if (g->steps + 1 == s->o->steps) setup_request(s, f); /* what is said in the end is of the end */
		if (!setup_step(s, f, true, &r)) return false;
		signs_see(g, f, &r);
		show(&p, g->steps, &r, false);
	}
	if (g->steps) show(&p, g->steps, &r, true);
	return true;
}

/* ---- the command ---- */

static void figures(const char *name, double loss, double accuracy)
{
	printf("%-10s", name);
	print_loss(stdout, loss);
	if (!isnan(accuracy)) printf("  accuracy %.1f %%", 100 * accuracy);
	printf("\n");
}

static void gradient_line(const weir_flow *f)
{
	const weir_flow_summary *v = weir_flow_summary_of(f);
	/* Where layers pass nothing, or hardly anything, the slope over the others is no gain that anyone should rely on. */
	bool slope =
		v->verdict != WEIR_FLOW_DEAD && v->verdict != WEIR_FLOW_SATURATED && v->verdict != WEIR_FLOW_NONFINITE;

	printf("%-11s %s", "gradient", weir_verdict_name(v->verdict));
	if (v->cause) printf(" (%s)", v->cause);
	if (!slope) {
		printf(": %s", v->evidence);
	} else {
		if (!isnan(v->gain_per_layer)) printf(", gain %.3g per layer", v->gain_per_layer);
		if (!isnan(v->total_gain)) printf(", %.2e in all", v->total_gain);
	}
	printf("\n");
}

/* Losses over both sets; with a penalty in them, also what it is and the gap without it. */
static void evaluate(const setup *s, weir_flow *f)
{
	double loss[2] = { NAN, NAN }, accuracy, penalty = 0;

	if (setup_evaluate(s, s->train, &loss[0], &accuracy)) figures("train", loss[0], accuracy);
	if (setup_evaluate(s, s->validation, &loss[1], &accuracy)) figures("validation", loss[1], accuracy);
	if (s->o->l2 > 0) {
		weir_no_grad_begin(s->w);
		penalty = weir_item(weir_l2_penalty(s->net, s->o->l2));
		weir_no_grad_end(s->w);
		printf("gap         validation - train %.4g, L2 penalty %.4g in both\n", loss[1] - loss[0], penalty);
	}
	weir_flow_validation(f, loss[0] - penalty, loss[1] - penalty, penalty);
}

/* A file that can't be written is no reason to keep back what the training came to. */
static void show_profile(setup *s)
{
	enum { ROWS = 12 };

	weir_profile_print(s->w, ROWS, stdout);
	if (weir_profile_end(s->w)) return;
	weir_clear_error(s->w);
	s->unrecorded = true;
}

int command_train(const options *o)
{
	setup s;
	weir_flow *f;
	signs g;
	char text[1536];
	int status = 0;
	bool ok;

	if (!setup_make(&s, o)) {
		status = setup_status(&s, false);
		setup_free(&s);
		return status;
	}
	printf("%s; %lld training examples, %lld for validation\n", s.text, (long long)weir_dataset_size(s.train),
	       (long long)weir_dataset_size(s.validation));
	fflush(stdout);
	signs_init(&g, weir_dataset_classes(s.all), o->lr);
	f = setup_watch(&s);
	ok = f && (!o->profile || weir_profile_begin(s.w, o->profile)) && train_run(&s, f, &g, 0);
	if (ok && o->profile) show_profile(&s);
	if (ok && signs_text(&g, f, text, sizeof text)[0]) printf("%s\n", text);
	if (ok && g.steps) gradient_line(f);
	if (ok && !g.last.broken) evaluate(&s, f);
	if (ok) status = setup_judge(&s, f);
	weir_flow_stop(f);
	ok = ok && weir_ok(s.w) && (!g.last.broken || status == EXIT_VERDICT);
	setup_free(&s);
	return ok ? status : EXIT_FAILED;
}
