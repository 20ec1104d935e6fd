/* graph.c: `weir graph`: the computation graph of one step in DOT. */
#include "tools/tool.h"

int command_graph(const options *o)
{
	setup s;
	weir_flow *f = NULL;
	weir_dot_options d;
	step r = { .broken = false };
	bool made = setup_make(&s, o), ok = made;
	int status;

	if (ok) ok = (f = setup_watch(&s)) != NULL;
	for (int64_t i = 0; ok && i < o->steps && !r.broken && !stop_signal; i++) ok = setup_step(&s, f, true, &r);
	if (ok && !r.broken) {
		setup_request(&s, f);
		ok = setup_step(&s, f, false, &r);
	}
	weir_dot_options_init(&d);
	d.flow = f;
	if (o->expand) d.fold = 0;
	if (ok && o->out) {
		ok = weir_dot_write_with(s.w, &d, o->out);
		if (ok)
			fprintf(stderr, "%s\nverdict %s; to draw it: dot -Tsvg %s -o graph.svg\n", s.text,
				weir_verdict_name(weir_flow_verdict(f)), o->out);
	} else if (ok) {
		printf("/* %s\n   verdict %s */\n", s.text, weir_verdict_name(weir_flow_verdict(f)));
		ok = weir_dot_print_with(s.w, &d, stdout);
	}
	status = ok ? 0 : setup_status(&s, made);
	setup_free(&s);
	return status;
}
