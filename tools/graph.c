/* graph.c: `weir graph`: the computation graph of one step in DOT. */
#include "tools/tool.h"

#include <string.h>

int command_graph(const options *o)
{
	setup s;
	weir_flow *f = NULL;
	double loss;
	bool ok = setup_make(&s, o);

	for (int64_t i = 0; ok && i < o->steps && !stop_signal; i++) ok = setup_step(&s, NULL, true, &loss, NULL, NULL);
	if (ok) f = setup_watch(&s);
	ok = ok && f && setup_step(&s, f, false, &loss, NULL, NULL);
	if (ok) ok = o->out && strcmp(o->out, "-") ? weir_dot_write_flow(s.w, f, o->out) : weir_dot_print(s.w, f, stdout);
	if (ok && o->out && strcmp(o->out, "-")) fprintf(stderr, "%s\n%s: verdict %s; dot -Tsvg %s > graph.svg\n", s.text, o->out, weir_verdict_name(weir_flow_verdict(f)), o->out);
	setup_free(&s);
	return ok ? 0 : EXIT_FAILED;
}
