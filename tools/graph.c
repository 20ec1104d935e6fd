/* graph.c: `weir graph`: the computation graph of one step in DOT. */
#include "tools/tool.h"

int command_graph(const options *o)
{
	setup s;
	weir_flow *f = NULL;
	step r = { .broken = false };
	bool made = setup_make(&s, o), ok = made;
	int status;

	if (ok) ok = (f = setup_watch(&s)) != NULL;
	for (int64_t i = 0; ok && i < o->steps && !r.broken && !stop_signal; i++) ok = setup_step(&s, f, true, &r);
	if (ok && !r.broken) ok = setup_step(&s, f, false, &r);
	if (ok && o->out) {
		ok = weir_dot_write_flow(s.w, f, o->out);
		if (ok)
			fprintf(stderr, "%s\nverdict %s; to draw it: dot -Tsvg %s -o graph.svg\n", s.text,
				weir_verdict_name(weir_flow_verdict(f)), o->out);
	} else if (ok) {
		printf("/* %s\n   verdict %s */\n", s.text, weir_verdict_name(weir_flow_verdict(f)));
		ok = weir_dot_print(s.w, f, stdout);
	}
	status = ok ? 0 : setup_status(&s, made);
	setup_free(&s);
	return status;
}
