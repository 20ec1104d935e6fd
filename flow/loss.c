/* loss.c: what the loss itself tells while training, as a practitioner reads it off the curve. Numbers are those of rules.def.
 *
 *   guessing    its running mean has been within guess_share of ln(classes) for guess_steps steps: that is the loss of giving every class
 *               the same probability, so nothing is learnt
 *   jumping     `jumps` times it was jump_best times above the best that its running mean had reached, and jump_first times above where it
 *               began; until calm_steps steps pass without such a jump. Only for losses above 0, where "3 times" means something
 *   non-finite  it is inf or NaN
 *
 * Values that are not finite are left out of the running mean. */
#include "flow/flow.h"

typedef struct weir__loss_story {
	double guess; /* ln(classes), or 0 */
	double first, smooth, best;
	bool begun;
	int64_t flat;       /* steps at guess */
	int64_t jumps;      /* so far */
	int64_t calm;       /* steps since the last one */
	int64_t jumping;    /* steps since they are JUMPS */
	int64_t not_finite; /* steps in a row */
} weir__loss_story;

static weir__loss_story *story_of(weir_flow *f)
{
	size_t bytes = sizeof *f->story;

	if (f->story || !(f->story = weir__pool_take(f->w, &bytes))) return f->story;
	*f->story = (weir__loss_story){ .best = __builtin_inf() };
	if (f->options.classes > 1) f->story->guess = 0.69314718055994531 * weir__flow_log2((double)f->options.classes);
	return f->story;
}

static void see_jump(weir__loss_story *s, const weir_flow_options *o, double loss)
{
	if (s->best > 0 && loss > o->jump_best * s->best && loss > o->jump_first * s->first) {
		s->jumps++;
		s->calm = 0;
	} else if ((double)++s->calm >= o->calm_steps) {
		s->jumps = 0;
	}
	s->jumping = (double)s->jumps >= o->jumps ? s->jumping + 1 : 0;
}

static void see(weir__loss_story *s, const weir_flow_options *o, double loss)
{
	s->not_finite = is_finite(loss) ? 0 : s->not_finite + 1;
	if (s->not_finite) return;
	if (!s->begun) s->first = s->smooth = loss;
	s->begun = true;
	s->smooth += o->loss_smoothing * (loss - s->smooth);
	s->flat = s->guess > 0 && __builtin_fabs(s->smooth - s->guess) < o->guess_share * s->guess ? s->flat + 1 : 0;
	if (s->smooth < s->best) s->best = s->smooth;
	see_jump(s, o, loss);
}

void weir__flow_loss(weir_flow *f)
{
	weir__loss_story *s = story_of(f);
	bool guessing;

	if (!s) return;
	see(s, &f->options, f->sum.loss);
	guessing = s->flat && (double)s->flat >= f->options.guess_steps;
	f->sum.loss_sign = s->not_finite ? WEIR_LOSS_NONFINITE
			   : guessing    ? WEIR_LOSS_GUESSING
			   : s->jumping  ? WEIR_LOSS_JUMPING
					 : WEIR_LOSS_PLAIN;
	f->sum.loss_sign_steps = s->not_finite ? s->not_finite : guessing ? s->flat : s->jumping;
}

void weir__flow_loss_free(weir_flow *f)
{
	if (f->story) weir__pool_give(f->w, f->story, sizeof *f->story);
}

void weir_flow_validation(weir_flow *f, double train_loss, double validation_loss, double penalty)
{
	if (!f) return;
	f->sum.train_loss = train_loss;
	f->sum.validation_loss = validation_loss;
	f->sum.penalty = penalty;
}

const char *weir_loss_sign_name(weir_loss_sign s)
{
	static const char *const names[] = { "plain", "guessing", "jumping", "non-finite" };

	return (unsigned)s < sizeof names / sizeof *names ? names[s] : "?";
}
