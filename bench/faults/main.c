/* main.c: runs the networks of networks.c with the loss times 1, 1e-4 and 1e4, and scores what this library and four other tools say of them.
 *
 *   faults              the table; exit 1 unless our score reaches the bars
 *   faults --list       every network and what each said of it as well
 *   faults --markdown   the table for the documentation
 *   faults --seed N     other weights and data
 *   faults --free-values   what we say where weir_options.free_values is on, beside what we say where it is off; exit 1 unless it is
 *                       the same
 *
 * Verdict: of a planted fault, the right kind is among what is said. Layer: and the range said for it is right too: exactly the layer, or at
 * least three quarters of the layers where all of them share in it. Alarm: anything is said of a healthy network. Tools that do
 * not say where miss the layer. */
#include "bench/faults/faults.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OURS = RIVALS, TOOLS, KINDS = WEIR_FLOW_NONFINITE + 1, SCALES = 3 };

static const double scales[SCALES] = { 1, 1e-4, 1e4 };

typedef struct score {
	int verdict[KINDS], layer[KINDS],
		found[KINDS]; /* by the kind that was wanted; found: anything was said at all */
	int alarms, changed;  /* networks on which the kinds said change with the scale of the loss */
} score;

static const char *tool_name(int tool)
{
	return tool == OURS ? "Weir" : rival_names[tool];
}

/* Does the range cover the answer? */
static bool covers(const network *n, int first, int last, int layer)
{
	if (n->where == EXACTLY || n->where == LAST_BITS) return first == layer && last == layer;
	return n->where == MOST && first >= 0 && 4 * (last - first + 1) >= 3 * n->depth;
}

static bool right_layer(const network *n, const opinion *o, double scale)
{
	int layer = n->where == LAST_BITS ? layer_of_last_bits(n, scale) : n->layer;

	return o->says[n->want] && covers(n, o->first[n->want], o->last[n->want], layer);
}

/* Number of the module that layer i belongs to; in a recurrent network the step. */
static int number_of(const run *r, int64_t i)
{
	const weir_flow_layer *p = weir_flow_layer_at(r->flow, i);
	int k = p ? module_number(p->name) : -1;

	if (p && !strcmp(p->name, "cell.head")) return r->n->depth - 1;

	return k >= 0 || !p ? k : (int)p->call - 1;
}

static void ask_ours(const run *r, opinion *o)
{
	const weir_flow_summary *s = weir_flow_summary_of(r->flow);

	*o = (opinion){ .says = { false } };
	if (s->verdict <= WEIR_FLOW_HEALTHY) return;
	o->says[s->verdict] = true;
	o->first[s->verdict] = number_of(r, s->first_layer);
	o->last[s->verdict] = number_of(r, s->last_layer);
}

/* Where the range alone does not tell: the birth that the summary names. */
static bool our_layer(const run *r, const opinion *o, double scale)
{
	const weir_flow_summary *s = weir_flow_summary_of(r->flow);
	const network *n = r->n;
	const weir_flow_birth *b = s->first_inf.found ? &s->first_inf : &s->first_nan;
	int layer = n->where == LAST_BITS ? layer_of_last_bits(n, scale) : 0;

	if (n->where == AT_INPUT) return o->says[n->want] && b->found && !strcmp(b->op, "input");
	if (n->where == AT_LOSS) return o->says[n->want] && b->found && !b->number && !strcmp(b->op, "log");
	if (n->where != LAST_BITS) return right_layer(n, o, scale);
	if (n->want == WEIR_FLOW_VANISHING) b = &s->first_zero[1];
	return o->says[n->want] && b->found && b->backward && number_of(r, b->number - 1) == layer &&
	       o->first[n->want] <= layer && o->last[n->want] >= layer;
}

static bool speaks(const opinion *o)
{
	for (int k = 0; k < KINDS; k++) {
		if (o->says[k]) return true;
	}
	return false;
}

static void print_opinion(const char *name, const opinion *o)
{
	printf("    %-14s", name);
	for (int k = 0; k < KINDS; k++) {
		if (!o->says[k]) continue;
		printf(" %s", weir_verdict_name((weir_verdict)k));
		if (o->first[k] >= 0) printf(" %d..%d", o->first[k], o->last[k]);
	}
	printf("%s\n", speaks(o) ? "" : " -");
}

/* One network at one scale; opinions are left in o. */
static void judge(const network *n, double scale, score *scores, opinion *o, bool list)
{
	run r;

	run_network(&r, n, scale);
	for (int tool = 0; tool < TOOLS; tool++) {
		score *s = &scores[tool];
		bool right, layer;

		if (tool == OURS) ask_ours(&r, &o[tool]);
		else ask_rival(tool, &r, &o[tool]);
		right = o[tool].says[n->want];
		layer = tool == OURS ? our_layer(&r, &o[tool], scale) : right_layer(n, &o[tool], scale);
		s->alarms += n->want == WEIR_FLOW_HEALTHY && speaks(&o[tool]);
		s->found[n->want] += speaks(&o[tool]);
		s->verdict[n->want] += right;
		s->layer[n->want] += layer;
		if (tool != OURS || (!list && (n->want == WEIR_FLOW_HEALTHY ? !speaks(&o[tool]) : right && layer)))
			continue;
		printf("%s%s: loss x %g: want %s, %s\n", list ? "" : "MISSED ", network_text(n), scale,
		       weir_verdict_name(n->want), n->why);
		for (int k = 0; k < TOOLS && list; k++) print_opinion(tool_name(k), &o[k]);
		if (!list) {
			const weir_flow_summary *f = weir_flow_summary_of(r.flow);

			print_opinion(tool_name(tool), &o[tool]);
			printf("    total %.3g, %.3g per layer, %s: %s\n", f->total_gain, f->gain_per_layer,
			       f->cause ? f->cause : "-", f->evidence);
		}
	}
	run_close(&r);
}

static int sum(const int *counts)
{
	int s = 0;

	for (int k = WEIR_FLOW_VANISHING; k < KINDS; k++) s += counts[k];
	return s;
}

static void table(const score *scores, const int *cases, bool markdown)
{
	const char *row = markdown ? "| %s | %.1f %% | %.1f %% | %.1f %% | %d of %d | %d of %d |\n"
				   : "%-14s %9.1f %% %9.1f %% %9.1f %% %8d of %-5d %6d of %d\n";
	int planted = sum(cases);

	if (markdown)
		printf("| rules | fault noticed | right verdict | right layer | false alarms | verdict changes with the loss's unit |\n"
		       "| --- | ---: | ---: | ---: | ---: | ---: |\n");
	else
		printf("%-14s %11s %11s %11s %17s %12s\n", "rules", "noticed", "verdict", "layer", "false alarms",
		       "fickle");
	for (int tool = TOOLS; tool-- > 0;) {
		const score *s = &scores[tool];

		printf(row, tool_name(tool), 100.0 * sum(s->found) / planted, 100.0 * sum(s->verdict) / planted,
		       100.0 * sum(s->layer) / planted, s->alarms, cases[WEIR_FLOW_HEALTHY], s->changed, network_count);
	}
}

static void by_kind(const score *scores, const int *cases, bool markdown)
{
	printf(markdown ? "\n| right verdict |" : "\n%-14s", "right verdict");
	for (int k = WEIR_FLOW_VANISHING; k < KINDS; k++)
		printf(markdown ? " %s (%d) |" : "%12s %4d", weir_verdict_name((weir_verdict)k), cases[k]);
	printf(markdown ? "\n| --- | ---: | ---: | ---: | ---: | ---: |\n" : "\n");
	for (int tool = TOOLS; tool-- > 0;) {
		printf(markdown ? "| %s |" : "%-14s", tool_name(tool));
		for (int k = WEIR_FLOW_VANISHING; k < KINDS; k++)
			printf(markdown ? " %d |" : "%17d", scores[tool].verdict[k]);
		printf("\n");
	}
}

/* ---- with and without values ---- */

static int say_birth(char *text, size_t size, const weir_flow_birth *b)
{
	return b->found ? snprintf(text, size, "; %s %s, %s", b->backward ? "backward" : "forward", b->op, b->layer)
			: 0;
}

/* What the instrument says: kind, range, cause, evidence, births. */
static void say(char *text, size_t size, const network *n, double scale, bool free_values)
{
	const weir_flow_summary *s;
	int k;
	run r;

	faults_free_values = free_values;
	run_network(&r, n, scale);
	s = weir_flow_summary_of(r.flow);
	k = snprintf(text, size, "%s %d..%d, %s: %s", weir_verdict_name(s->verdict), number_of(&r, s->first_layer),
		     number_of(&r, s->last_layer), s->cause ? s->cause : "-", s->evidence);
	k += say_birth(text + k, size - (size_t)k, &s->first_inf);
	k += say_birth(text + k, size - (size_t)k, &s->first_nan);
	k += say_birth(text + k, size - (size_t)k, &s->first_overflow);
	k += say_birth(text + k, size - (size_t)k, &s->first_zero[1]);
	say_birth(text + k, size - (size_t)k, &s->first_subnormal[1]);
	run_close(&r);
}

static int compare(void)
{
	static char kept[4096], freed[4096];
	int differ = 0;

	for (int i = 0; i < SCALES * network_count; i++) {
		const network *n = &networks[i / SCALES];
		double scale = scales[i % SCALES];

		say(kept, sizeof kept, n, scale, false);
		say(freed, sizeof freed, n, scale, true);
		if (!strcmp(kept, freed)) continue;
		differ++;
		printf("%s: loss x %g:\n    kept   %s\n    freed  %s\n", network_text(n), scale, kept, freed);
	}
	printf("%d of %d differ where values are freed\n", differ, SCALES * network_count);
	return differ ? 1 : 0;
}

int main(int argc, char **argv)
{
	bool list = argc > 1 && !strcmp(argv[1], "--list"), markdown = argc > 1 && !strcmp(argv[1], "--markdown"), good;
	static score scores[TOOLS];
	static opinion first[TOOLS], o[TOOLS];
	int cases[KINDS] = { 0 }, planted;

	if (argc == 2 && !strcmp(argv[1], "--free-values")) return compare();
	if (argc > 2 && !strcmp(argv[1], "--seed")) {
		faults_seed = strtoull(argv[2], NULL, 10);
	} else if (argc > 1 && !list && !markdown) {
		fprintf(stderr, "faults: \"%s\": the options are --list, --markdown, --seed N and --free-values\n",
			argv[1]);
		return 2;
	}
	for (int i = 0; i < network_count; i++) {
		bool changed[TOOLS] = { false };

		for (int k = 0; k < SCALES; k++) {
			judge(&networks[i], scales[k], scores, k ? o : first, list);
			cases[networks[i].want]++;
			for (int tool = 0; k && tool < TOOLS; tool++)
				changed[tool] =
					changed[tool] || memcmp(o[tool].says, first[tool].says, sizeof o[tool].says);
		}
		for (int tool = 0; tool < TOOLS; tool++) scores[tool].changed += changed[tool];
	}
	planted = sum(cases);
	if (!markdown)
		printf("%d networks, each with the loss times 1, 1e-4 and 1e4: %d planted faults, %d healthy\n",
		       network_count, planted, cases[WEIR_FLOW_HEALTHY]);
	table(scores, cases, markdown);
	by_kind(scores, cases, markdown);
	good = sum(scores[OURS].verdict) >= 0.98 * planted && sum(scores[OURS].layer) >= 0.95 * planted &&
	       !scores[OURS].alarms;
	if (!good)
		fprintf(stderr, "faults: below the bars: 98 %% right verdicts, 95 %% right layers, no false alarm\n");
	return good ? 0 : 1;
}
