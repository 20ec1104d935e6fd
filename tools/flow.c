/* flow.c: `weir flow`: one step watched, as a table, as JSON or as a page; with --steps, after training so long. With --read, what a
 * ring file holds. */
#include "tools/tool.h"

#include <stdlib.h>
#include <string.h>

#include "engine/safe_write.h"

static int read_ring(const options *o)
{
	weir_ctx *w = weir_open(NULL);
	bool ok = weir_flow_read_ring(w, o->read, stdout, o->json); /* its error is told by the context */

	weir_close(w);
	return ok ? 0 : EXIT_FAILED;
}

static bool write_page(const setup *s, const weir_flow *f)
{
	weir__write_error e = { WEIR__STEP_NONE, 0 };
	char *page = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&page, &size);
	bool ok = file && weir_flow_report(f, file, WEIR_FLOW_HTML, s->text);

	if (file && fclose(file)) ok = false;
	if (ok) e = weir__safe_write_file(s->o->html, page, size);
	if (e.step)
		fprintf(stderr, "weir: --html: \"%s\": %s: %s\n", s->o->html, weir__write_step_text(e.step),
			strerror(e.number));
	else if (!ok && weir_ok(s->w)) fputs("weir: out of memory\n", stderr);
	free(page);
	return ok && !e.step;
}

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

static weir_tensor *loss_of(weir_ctx *w, weir_tensor *x, weir_tensor *y, void *user)
{
	(void)w;
	return setup_loss(user, x, y, NULL);
}

/* What costs many passes and is measured where it is asked for. */
static bool more(setup *s, weir_flow *f, const step *r)
{
	enum { ITERATIONS = 100, PROBES = 16 };
	int64_t n = weir_module_parameter_count(s->net);
	weir_tensor **params = calloc((size_t)n + 1, sizeof *params);
	weir_flow_noise noise;
	weir_flow_curvature curvature;
	bool ok = params != NULL;

	if (!ok) fputs("weir: out of memory\n", stderr);
	for (int64_t i = 0; ok && i < n; i++) params[i] = weir_module_parameter(s->net, i);
	if (ok && s->o->curvature &&
	    (ok = weir_flow_curvature_of(r->loss_node, params, n, ITERATIONS, 1e-4, PROBES, &curvature)))
		weir_flow_tell(f, NULL, &curvature);
	if (ok && s->o->noise && (ok = weir_flow_noise_of(s->w, r->x, r->y, loss_of, s, params, n, NULL, &noise)))
		weir_flow_tell(f, &noise, NULL);
	free(params);
	return ok;
}

int command_flow(const options *o)
{
	setup s;
	weir_flow *f = NULL;
	step r = { .broken = false };
	bool made, ok;
	int status;

	if (o->read) return read_ring(o);
	made = ok = setup_make(&s, o);
	if (ok) ok = (f = setup_watch(&s)) != NULL;
	for (int64_t i = 0; ok && i < o->steps && !r.broken && !stop_signal; i++) ok = setup_step(&s, f, true, &r);
	if (ok && !r.broken) { /* a broken step is the one to report */
		setup_request(&s, f);
		ok = setup_step(&s, f, false, &r);
	}
	if (ok && !r.broken && (o->noise || o->curvature)) ok = more(&s, f, &r);
	if (ok && o->whatif) ok = whatif(&s, f, r.loss_node);
	if (ok) ok = weir_flow_report(f, stdout, o->json ? WEIR_FLOW_JSON : WEIR_FLOW_TABLE, s.text);
	if (ok && o->html) ok = write_page(&s, f);
	status = ok ? setup_judge(&s, f) : setup_status(&s, made);
	setup_free(&s);
	return status;
}
