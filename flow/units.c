/* units.c: the census of dead units.
 *
 * A unit is one index of the last axis of a layer's last activation. In a step it passes something where, for any sample, f'(z) is not
 * 0, or its output is not finite (which is another fault). Dead is a unit that passed nothing in any step of an epoch; idle in one
 * batch is not dead.
 *
 * Looking is cheap because it ends: at the beginning of an epoch all units are candidates, and a unit that was seen to pass something is
 * none any more. The first step clears most of them, and a layer without candidates costs nothing. For relu a look is reading its output;
 * for other activations f' is the vjp of ones. But in a deep ReLU network half the units are idle for good, and to read them all in every
 * step costs some hundredths of it (50 layers of 128, batch 64: 4 %). So where options.budget holds, a layer that still has candidates after
 * the first two steps of an epoch is looked at in every 16th step only (32nd, by vjp): a unit that answers to one sample in a hundred is
 * then taken for dead once in 25 epochs of 50 batches of 64. Without a budget every step is looked at.
 *
 * All calls of a layer's name in a step are one: a unit of a cell lives if it does in any time step. Steps count that could be seen: a thin
 * step whose graph is not that of the last whole one is left out. Where backward releases values it is looked at when a pass begins (values.c). */
#include "flow/flow.h"

#include <string.h>

typedef struct unit {
	int64_t died, revived;
	bool dead;
} unit;

/* The units of all layers of one name. */
typedef struct group {
	int64_t count; /* of units; 0: none seen so far */
	unit *units;
	int64_t *candidate; /* units that passed nothing in this epoch so far, ascending */
	int64_t candidates;
	int64_t begin;    /* first step of this epoch that it was seen in; -1: none so far */
	int64_t n_dead;   /* at the end of the last epoch; -1: not known */
	uint64_t *passed; /* scratch, one per unit */
} group;

typedef struct weir__census {
	group **by_name; /* by index into the flow's names; NULL where no such layer has an activation */
	int64_t names, names_capacity;
	group **of; /* by layer; NULL: no activation */
	bool *relu; /* by layer */
	int64_t layers, of_capacity, relu_capacity;
	int64_t steps; /* of this epoch */
} weir__census;

/* ---- groups ---- */

static size_t group_bytes(int64_t count)
{
	return (size_t)count * (sizeof(unit) + sizeof(int64_t) + sizeof(uint64_t));
}

static void begin_epoch(group *g)
{
	for (int64_t u = 0; u < g->count; u++) g->candidate[u] = u;
	g->candidates = g->count;
	g->begin = -1;
}

/* Forgets its units, and has room for so many. */
static bool resize(weir_ctx *w, group *g, int64_t count)
{
	size_t bytes = group_bytes(count);
	char *p = weir__pool_take(w, &bytes);

	if (!p) return false;
	if (g->units) weir__pool_give(w, g->units, group_bytes(g->count));
	g->units = (unit *)(void *)p;
	g->candidate = (int64_t *)(void *)(p + (size_t)count * sizeof(unit));
	g->passed = (uint64_t *)(void *)(p + (size_t)count * (sizeof(unit) + sizeof(int64_t)));
	g->count = count;
	g->n_dead = -1;
	for (int64_t u = 0; u < count; u++) g->units[u] = (unit){ -1, -1, false };
	begin_epoch(g);
	return true;
}

static group *group_of_name(weir_flow *f, int64_t name)
{
	weir__census *c = f->census;
	void *list = c->by_name;
	size_t bytes = sizeof(group);

	while (c->names <= name) {
		if (!weir__flow_grow(f->w, &list, c->names, &c->names_capacity, sizeof *c->by_name)) return NULL;
		c->by_name = list;
		c->by_name[c->names++] = NULL;
	}
	if (c->by_name[name] || !(c->by_name[name] = weir__pool_take(f->w, &bytes))) return c->by_name[name];
	*c->by_name[name] = (group){ .begin = -1, .n_dead = -1 };
	return c->by_name[name];
}

/* ---- who belongs to which layer: again after every whole measurement ---- */

static bool room_for_layers(weir_flow *f)
{
	weir__census *c = f->census;
	void *of = c->of, *relu = c->relu;

	while (c->of_capacity < f->count) {
		if (!weir__flow_grow(f->w, &of, c->of_capacity, &c->of_capacity, sizeof *c->of)) return false;
		c->of = of;
	}
	while (c->relu_capacity < f->count) {
		if (!weir__flow_grow(f->w, &relu, c->relu_capacity, &c->relu_capacity, sizeof *c->relu)) return false;
		c->relu = relu;
	}
	return true;
}

static bool assign(weir_flow *f)
{
	weir__census *c = f->census;

	c->layers = 0;
	if (!room_for_layers(f)) return false;
	for (int64_t i = 0; i < f->count; i++) {
		const layer *l = &f->layers[i];
		const layer_name *name;

		c->of[i] = NULL;
		c->relu[i] = false;
		if (l->z < 0) continue;
		c->relu[i] = !strcmp(weir_node(weir_tape_at(f->w, l->a)).op, "relu") &&
			     weir_node(weir_input(weir_tape_at(f->w, l->a), 0)).index == l->z;
		name = weir__flow_intern(f, l->public.name, strlen(l->public.name));
		if (!name || !(c->of[i] = group_of_name(f, name - f->names))) return false;
	}
	c->layers = f->count;
	return true;
}

/* ---- one look ---- */

enum {
	ROWS = 16,    /* read candidate by candidate before whole rows are */
	AT_FIRST = 2, /* steps of an epoch that are all looked at */
	PACE = 16,    /* after them, every so many */
	PACE_VJP = 32,
};

/* Bits of element i that are 0 for 0 and -0 alone. */
static inline uint64_t bits_of(const void *data, bool wide, int64_t i)
{
	return wide ? ((const uint64_t *)data)[i] << 1 : (uint64_t)(((const uint32_t *)data)[i] << 1);
}

/* A bit of a unit's passed[] is set where any of these rows is not zero. Whole rows: faster where many candidates remain. */
static void whole_rows(group *g, const void *data, bool wide, int64_t from, int64_t rows)
{
	for (int64_t u = 0; u < g->count; u++) g->passed[u] = 0;
	for (int64_t r = from; r < rows; r++) {
		if (wide) {
			const uint64_t *x = (const uint64_t *)data + r * g->count;

			for (int64_t u = 0; u < g->count; u++) g->passed[u] |= x[u] << 1;
		} else {
			const uint32_t *x = (const uint32_t *)data + r * g->count;

			for (int64_t u = 0; u < g->count; u++) g->passed[u] |= x[u] << 1;
		}
	}
}

static void passes(group *g, int64_t u, int64_t step)
{
	unit *p = &g->units[u];

	if (!p->dead) return;
	p->dead = false;
	p->revived = step;
}

/* Clears the candidates whose column in these rows holds anything but zeros. */
static void look(group *g, const void *data, bool wide, int64_t rows, int64_t step)
{
	int64_t r = 0;

	for (; r < rows && g->candidates && (r < ROWS || 8 * g->candidates < g->count); r++) {
		int64_t left = 0;

		for (int64_t k = 0; k < g->candidates; k++) {
			int64_t u = g->candidate[k];

			if (bits_of(data, wide, r * g->count + u)) passes(g, u, step);
			else g->candidate[left++] = u;
		}
		g->candidates = left;
	}
	if (r < rows && g->candidates) {
		int64_t left = 0;

		whole_rows(g, data, wide, r, rows);
		for (int64_t k = 0; k < g->candidates; k++) {
			int64_t u = g->candidate[k];

			if (g->passed[u]) passes(g, u, step);
			else g->candidate[left++] = u;
		}
		g->candidates = left;
	}
}

/* The same for outputs that are not finite. Few candidates are left when this is asked. */
static void look_nonfinite(group *g, const void *data, bool wide, int64_t rows, int64_t step)
{
	int64_t left = 0;

	for (int64_t k = 0; k < g->candidates; k++) {
		int64_t u = g->candidate[k];
		bool bad = false;

		for (int64_t r = 0; r < rows && !bad; r++) {
			uint64_t b = bits_of(data, wide, r * g->count + u);

			bad = wide ? b >= UINT64_C(0x7ff) << 53 : b >= UINT64_C(0xff) << 24;
		}
		if (bad) passes(g, u, step);
		else g->candidate[left++] = u;
	}
	g->candidates = left;
}

static void look_by_vjp(weir_flow *f, group *g, weir_tensor *z, weir_tensor *a, int64_t rows)
{
	weir_ctx *w = f->w;
	bool wide = weir_dtype_of(a) == WEIR_F64;
	weir_place place = weir_mark(w);
	weir_tensor *one, *slope = NULL;

	weir_no_hooks_begin(w);
	weir_no_grad_begin(w);
	one = weir_full(w, weir_dtype_of(a), weir_rank(a), weir_shape(a), 1);
	weir_no_grad_end(w);
	if (weir_vjp(a, one, &z, 1, &slope, WEIR_NO_HOOKS | WEIR_ALLOW_UNUSED) && slope && value_of(slope)) {
		look(g, weir_data(slope), wide, rows, weir__flow_step_now(f));
		if (value_of(a)) look_nonfinite(g, weir_data(a), wide, rows, weir__flow_step_now(f));
	}
	weir_rewind(w, place, NULL, 0);
	weir_no_hooks_end(w);
}

static void see(weir_flow *f, int64_t i)
{
	const layer *l = &f->layers[i];
	group *g = f->census->of[i];
	weir_tensor *z, *a;
	int64_t units;
	bool relu = f->census->relu[i];

	if (g->begin >= 0 && !g->candidates) return;
	z = weir_tape_at(f->w, l->z);
	a = weir_tape_at(f->w, l->a);
	units = a && weir_rank(a) ? weir_extent(a, -1) : 0;
	if (!z || !units || !weir_numel(a) || weir_numel(z) != weir_numel(a) || !value_of(a)) return;
	if (!relu && weir_node(z).released) return;
	if (g->count != units && (g->begin >= 0 || !resize(f->w, g, units)))
		return; /* another width than this epoch's */
	if (g->begin < 0) g->begin = weir__flow_step_now(f);
	if (!g->candidates) return;
	if (relu) look(g, weir_data(a), weir_dtype_of(a) == WEIR_F64, weir_numel(a) / units, weir__flow_step_now(f));
	else look_by_vjp(f, g, z, a, weir_numel(a) / units);
}

/* Is this a step to look at layer i? The same ones whatever is measured beside. */
static bool due(const weir_flow *f, int64_t i)
{
	const weir__census *c = f->census;

	return c->of[i] &&
	       (f->options.budget <= 0 || c->steps < AT_FIRST || (c->steps + i) % (c->relu[i] ? PACE : PACE_VJP) == 0);
}

/* ---- epochs ---- */

static void end_group(group *g)
{
	if (!g || !g->count) return;
	g->n_dead = g->begin < 0 ? -1 : g->candidates;
	for (int64_t k = 0; g->begin >= 0 && k < g->candidates; k++) {
		unit *p = &g->units[g->candidate[k]];

		if (!p->dead) p->died = g->begin;
		p->dead = true;
	}
	begin_epoch(g);
}

/* What the report shows. */
static void publish(weir_flow *f)
{
	for (int64_t i = 0; i < f->count; i++) {
		const group *g = i < f->census->layers ? f->census->of[i] : NULL;
		weir_flow_layer *p = &f->layers[i].public;

		p->units = g && g->count ? g->count : -1;
		p->dead_units = g && g->count ? g->n_dead : -1;
	}
}

void weir_flow_epoch(weir_flow *f)
{
	weir__census *c = f ? f->census : NULL;

	if (!c || !c->steps) return;
	for (int64_t i = 0; i < c->names; i++) end_group(c->by_name[i]);
	c->steps = 0;
	publish(f);
}

static bool have_census(weir_flow *f)
{
	size_t bytes = sizeof *f->census;

	if (f->census) return true;
	if (!(f->census = weir__pool_take(f->w, &bytes))) return false;
	*f->census = (weir__census){ .steps = 0 };
	return true;
}

void weir__flow_units_look(weir_flow *f, bool whole)
{
	if (!have_census(f) || (whole && !assign(f))) return;
	for (int64_t i = 0; i < f->census->layers; i++) {
		if (due(f, i)) see(f, i);
	}
}

void weir__flow_units(weir_flow *f, bool whole)
{
	if (!have_census(f)) return;
	if (f->frees) {
		if (whole && !assign(f)) return;
	} else if (whole || weir__flow_same_layers(f)) {
		weir__flow_units_look(f, whole);
	}
	if (whole) publish(f);
	if (++f->census->steps == f->options.epoch) weir_flow_epoch(f);
}

void weir__flow_units_free(weir_flow *f)
{
	weir__census *c = f->census;

	if (!c) return;
	for (int64_t i = 0; i < c->names; i++) {
		group *g = c->by_name[i];

		if (g && g->units) weir__pool_give(f->w, g->units, group_bytes(g->count));
		if (g) weir__pool_give(f->w, g, sizeof *g);
	}
	if (c->by_name) weir__pool_give(f->w, c->by_name, (size_t)c->names_capacity * sizeof *c->by_name);
	if (c->of) weir__pool_give(f->w, c->of, (size_t)c->of_capacity * sizeof *c->of);
	if (c->relu) weir__pool_give(f->w, c->relu, (size_t)c->relu_capacity * sizeof *c->relu);
	weir__pool_give(f->w, c, sizeof *c);
}

bool weir_flow_unit_of(const weir_flow *f, int64_t number, int64_t u, weir_flow_unit *out)
{
	const weir__census *c = f ? f->census : NULL;
	const group *g = c && number >= 0 && number < c->layers && number < f->count ? c->of[number] : NULL;

	if (!g || u < 0 || u >= g->count) return false;
	*out = (weir_flow_unit){ g->units[u].dead, g->units[u].died, g->units[u].revived };
	return true;
}
