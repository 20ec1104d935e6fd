/* schedule.c: what is measured when, and what that costs. Norms are taken on every step; whole measurements stand so far apart that all of
 * measuring stays within the budget. */
#include "flow/flow.h"

#include "kernels/threads.h"

enum {
	LONGEST = 4096, /* steps between two whole measurements */
	TIMED = 4,      /* steps after one whose hooks run under the clock */
};

/* What a thin step cost. The least of several is what it costs where nothing else gets in between. */
static void settle_thin(schedule *s, double hooks, double cost, double rest)
{
	if (s->timed && (!s->cycle || hooks < s->hooks_thin)) s->hooks_thin = hooks;
	if (!s->cycle || cost < s->cost_thin) s->cost_thin = cost;
	if (!s->cycle || rest < s->thin) s->thin = rest > 0 ? rest : 0;
}

/* Steps until whole measurements cost no more than thin steps leave of the budget, or than a quarter of it. */
static int64_t distance(const schedule *s, const weir_flow_options *o)
{
	double left, steps;

	if (o->every <= 1) return 1;
	if (o->budget <= 0 || !(s->thin > 0)) return o->every;
	left = o->budget * s->thin - s->cost_thin;
	if (left < 0.25 * o->budget * s->thin) left = 0.25 * o->budget * s->thin;
	steps = s->cost_whole / left;
	return steps < (double)o->every ? o->every : steps < LONGEST ? (int64_t)steps : LONGEST;
}

/* What this step cost, and when the next whole measurement is due. Hooks that ran without the clock cost what those under it did. */
void weir__flow_settle(weir_flow *f, bool whole, int64_t began)
{
	schedule *s = &f->when;
	int64_t end = weir__clock();
	double own = 1e-9 * (double)(end - began), wall = 1e-9 * (double)(end - s->begin),
	       hooks = s->whole || s->timed ? weir_hook_seconds(f->w) - s->hooks : s->hooks_thin, cost = own + hooks;

	if (f->steps) { /* before it there is no end of a step to count from */
		s->wall += wall;
		s->cost += cost;
	}
	if (f->steps >= 2 && s->wall > 0) f->sum.own_share = s->cost / s->wall;
	s->begin = end;
	if (whole) {
		s->cost_whole = s->cost_last > 0 && s->cost_last < cost ? s->cost_last : cost;
		s->cost_last = cost;
		s->cycle = 0;
		s->next = f->steps + distance(s, &f->options);
	} else {
		settle_thin(s, hooks, cost, wall - cost);
		s->cycle++;
	}
}

/* What the hooks are to do in the step that begins now. */
void weir__flow_begin_step(weir_flow *f)
{
	schedule *s = &f->when;

	s->whole = !f->steps || s->requested || f->steps >= s->next;
	s->requested = s->looked = s->partial = s->begun = s->arrived = false;
	s->alarm = 0;
	s->idle = true;
	if (s->whole) {
		s->asked = -1;
		f->input_asked = false; /* on a tape that goes on, or was rewound, of the next forward pass */
	}
	s->timed = !s->whole && s->cycle < TIMED;
	weir_hook_pause(f->forward, !s->whole);
	weir_hook_set_wants(f->backward, s->whole ? WEIR_WANT_NORM | WEIR_WANT_STATS : WEIR_WANT_NORM);
	weir_hook_clock(f->w, s->whole || s->timed);
	s->hooks = weir_hook_seconds(f->w);
}

void weir_flow_request(weir_flow *f)
{
	if (!f) return;
	f->when.requested = true;
	if (f->when.idle) weir__flow_begin_step(f);
}
