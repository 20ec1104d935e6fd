/* whatif_advice.c: the order of trials, and what they advise, from what was measured alone. */
#include "flow/whatif.h"

#include "engine/text.h"

/* The network as it is; what mends the verdict; what does not; what changed nothing; what failed. */
static int class_of(const weir_flow_trial *t)
{
	if (t->repair == WEIR_REPAIR_NONE) return 0;
	if (!t->ok) return 4;
	if (!t->changed) return 3;
	return t->verdict == WEIR_FLOW_HEALTHY ? 1 : 2;
}

/* Less is better; not known is worst. */
static double distance(const weir_flow_trial *t, bool steps)
{
	double d = steps ? t->loss_after : t->gain_per_layer > 0 ? weir__flow_log2(t->gain_per_layer) : UNKNOWN;

	if (d != d) return __builtin_inf();
	return steps || d > 0 ? d : -d;
}

static bool before(const weir_flow_trial *a, const weir_flow_trial *b, bool steps)
{
	int x = class_of(a), y = class_of(b);

	return x != y ? x < y : distance(a, steps) < distance(b, steps);
}

void weir__whatif_sort(weir__whatif *s)
{
	for (int64_t i = 1; i < s->trials; i++) {
		weir_flow_trial t = s->trial[i];
		int64_t j = i;

		for (; j > 0 && before(&t, &s->trial[j - 1], s->steps > 0); j--) s->trial[j] = s->trial[j - 1];
		s->trial[j] = t;
	}
}

static void say_trial(weir__text *t, const weir_flow_trial *p, bool steps)
{
	weir__text_str(t, p->name);
	weir__text_str(t, " (total ");
	weir__text_double(t, p->total_gain, 'e', 1);
	weir__text_str(t, ", ");
	weir__text_double(t, p->gain_per_layer, 'f', 3);
	weir__text_str(t, " per layer");
	if (steps) {
		weir__text_str(t, ", then loss ");
		weir__text_double(t, p->loss_after, 'p', 3);
	}
	weir__text_str(t, ")");
}

/* The trial with the lowest loss after the steps, if that is below the network's as it is; else NULL. */
static const weir_flow_trial *lowest_loss(const weir__whatif *s)
{
	const weir_flow_trial *best = &s->trial[0];

	for (int64_t i = 1; s->steps && i < s->trials; i++) {
		const weir_flow_trial *t = &s->trial[i];

		if (class_of(t) <= 2 && distance(t, true) < distance(best, true)) best = t;
	}
	return best == &s->trial[0] ? NULL : best;
}

static void say_loss(weir__text *t, const weir__whatif *s, const weir_flow_trial *best)
{
	weir__text_format(t, "after %lld steps the lowest loss is ", (long long)s->steps);
	weir__text_double(t, best->loss_after, 'p', 3);
	weir__text_str(t, " with ");
	weir__text_str(t, best->name);
	weir__text_str(t, ", as it is ");
	weir__text_double(t, s->trial[0].loss_after, 'p', 3);
}

/* A verdict that this pass does not show by itself, as that of units which were dead for an epoch, is no case of nothing to mend. */
static void say_healthy(weir__text *t, weir_verdict verdict)
{
	if (verdict <= WEIR_FLOW_HEALTHY) {
		weir__text_str(t, "nothing to mend");
		return;
	}
	weir__text_str(t, "this pass alone is healthy, so no repair can be tried against what made the verdict ");
	weir__text_str(t, weir_verdict_name(verdict));
}

void weir__whatif_advise(weir__whatif *s, weir_verdict verdict)
{
	const weir_flow_trial *none = &s->trial[0], *first = s->trials > 1 ? &s->trial[1] : none,
			      *lowest = lowest_loss(s);
	bool steps = s->steps > 0;
	weir__text t;

	weir__text_fixed(&t, s->advice, sizeof s->advice);
	if (!none->ok) {
		weir__text_str(&t, "the network as it is could not be tried");
	} else if (none->verdict == WEIR_FLOW_HEALTHY) {
		say_healthy(&t, verdict);
		if (lowest) {
			weir__text_str(&t, "; ");
			say_loss(&t, s, lowest);
		}
	} else if (class_of(first) == 1) {
		say_trial(&t, first, steps);
		if (s->trials > 2 && class_of(first + 1) == 1) {
			weir__text_str(&t, ", or ");
			say_trial(&t, first + 1, steps);
		}
	} else {
		weir__text_str(&t, "nothing that was tried mends it");
		if (lowest) {
			weir__text_str(&t, "; ");
			say_loss(&t, s, lowest);
		} else if (class_of(first) == 2 && !steps) {
			weir__text_str(&t, "; nearest is ");
			say_trial(&t, first, steps);
		}
	}
}
