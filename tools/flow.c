/* flow.c: `weir flow`: one step watched, as a table or as JSON. */
#include "tools/tool.h"

#include <math.h>

int command_flow(const options *o)
{
	setup s;
	weir_flow *f = NULL;
	double loss, accuracy;
	bool ok = setup_make(&s, o);

	for (int64_t i = 0; ok && i < o->steps && !stop_signal; i++) {
		ok = setup_step(&s, NULL, true, &loss, NULL, NULL);
		if (ok && !isfinite(loss)) break; /* the report says where */
	}
	if (ok) f = setup_watch(&s);
	ok = ok && f && setup_step(&s, f, false, &loss, &accuracy, NULL);
	if (ok) ok = weir_flow_report(f, stdout, o->json ? WEIR_FLOW_JSON : WEIR_FLOW_TABLE, s.text);
	setup_free(&s);
	return ok ? 0 : EXIT_FAILED;
}
