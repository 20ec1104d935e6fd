/* softmax.c: a softmax written down as in the book fails for scores that a network does produce; weir_softmax() does not.
 *
 * A forward hook on the context is told about every value as it is computed. It asks for statistics, and remembers the first
 * operation whose result is not finite: that one is to blame, not the NaN at the end. */
#include <weir/weir.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
	const char *op, *here;
	int64_t bad;
} first;

static void look(const weir_event *e, void *user)
{
	first *f = user;
	int64_t bad = e->stats.nan + e->stats.pos_inf + e->stats.neg_inf;

	if (!f->op && bad) *f = (first){ e->op, e->here, bad };
}

static weir_tensor *naive_softmax(weir_tensor *x)
{
	weir_tensor *e = weir_exp(x);

	return weir_div(e, weir_sum_all(e));
}

static void show(const char *title, weir_tensor *p, const first *f)
{
	printf("  %-16s", title);
	for (int64_t i = 0; i < weir_numel(p); i++) {
		double v = weir_get(p, i);

		if (isnan(v)) printf("  %6s", "nan"); /* the sign of a NaN means nothing */
		else printf("  %6.4f", v);
	}
	if (f->op) printf("   first not finite: %s at %s, %d of its elements", f->op, f->here, (int)f->bad);
	printf("\n");
}

int main(void)
{
	static const float scores[3][3] = { { 1, 2, 3 }, { 1000, 1001, 1002 }, { -1002, -1001, -1000 } };
	static const char *const culprit[3] = { NULL, "exp", "div" }; /* eˣ is too large; 0 / 0 */
	weir_ctx *w = weir_open(NULL);
	weir_hook_options o;
	first seen = { 0 };
	int wrong = 0;

	weir_hook_options_init(&o);
	o.forward = true;
	o.observe = look;
	o.user = &seen;
	o.wants = WEIR_WANT_STATS;
	weir_hook_add(w, NULL, &o);

	for (int i = 0; i < 3; i++) {
		weir_tensor *x = weir_from(w, WEIR_F32, 1, (int64_t[]){ 3 }, scores[i]);

		printf("scores %.0f %.0f %.0f\n", scores[i][0], scores[i][1], scores[i][2]);
		seen = (first){ 0 };
		show("naive", naive_softmax(x), &seen);
		wrong += culprit[i] ? !seen.op || strcmp(seen.op, culprit[i]) : seen.op != NULL;
		seen = (first){ 0 };
		x = weir_softmax(x, 0);
		show("weir_softmax()", x, &seen);
		wrong += seen.op || fabs(weir_get(x, 0) - 0.0900306) > 1e-6 || fabs(weir_get(x, 2) - 0.6652410) > 1e-6;
	}
	if (wrong) printf("%d results are not as expected\n", wrong);
	return weir_close(w) || wrong;
}
