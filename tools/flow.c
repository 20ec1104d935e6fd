/* flow.c: `weir flow`: one step watched, as a table or as JSON; with --steps, after training so long. */
#include "tools/tool.h"

/* Tries repairs on the loss that was just measured, the last on the tape. */
static bool whatif(const setup *s, weir_flow *f, weir_tensor *loss)
{
	weir_flow_whatif_options o;

	weir_flow_whatif_options_init(&o);
	o.steps = s->o->whatif_steps;
	o.seed = s->o->seed;
	o.lr = s->o->lr;
	if (s->o->clip > 0) o.clip = s->o->clip;
	if (s->o->l2 > 0) o.l2 = s->o->l2;
	return weir_flow_whatif(f, loss, &o);
}

int command_flow(const options *o)
{
	setup s;
	weir_flow *f = NULL;
	step r = { .broken = false };
	bool made = setup_make(&s, o), ok = made;
	int status;

	if (ok) ok = (f = setup_watch(&s)) != NULL;
	for (int64_t i = 0; ok && i < o->steps && !r.broken && !stop_signal; i++) ok = setup_step(&s, f, true, &r);
	if (ok && !r.broken) ok = setup_step(&s, f, false, &r); /* a broken step is the one to report */
	if (ok && o->whatif) ok = whatif(&s, f, r.loss_node);
	if (ok) ok = weir_flow_report(f, stdout, o->json ? WEIR_FLOW_JSON : WEIR_FLOW_TABLE, s.text);
	status = ok ? 0 : setup_status(&s, made);
	setup_free(&s);
	return status;
}
