/* gate.c: whether a piece of work deserves threads. Three measures answer, from the roughest to the surest.
 *
 * What a region costs. An empty one of OpenMP's team takes 0.3 µs between processors that share a cache and 1 µs between processors that don't,
 * one of the library's own team a third of that; and where the signal takes longer, so does the data that the pieces hand to each other. So the
 * least work worth a region is in proportion, until more is known. Processors of a virtual machine move: the team is timed again.
 *
 * What a turn takes. What a region does to the caches is felt outside of it: products of 64 x 128 x 128 gain a tenth from a far processor
 * one by one, and a deep network that consists of them loses a third, since each finds its operands in the other's cache. So turns are timed
 * as a whole, a turn being what happens from one reset of the tape to the next, a training step. Now and then some are done with another gate, the
 * next that would make a difference to this program, and the gate that gave the shorter turns stays. Turns of unlike work are not compared: a
 * short batch or an evaluation between two steps is passed over, until nothing else comes.
 *
 * What regions lose. Where something else wants the processors, a thread can lose its own in the middle of a piece, and the region
 * waits for a time slice. The time lost so is measured too, and regions then rest for many times as long, so that two threads are
 * hardly slower than one on the busiest machine. */
#include "kernels/gate.h"

#include <limits.h>
#include <math.h>

enum {
	LATE = 20000,          /* ns that a worker is charged which was woken for nothing */
	DEBT = 500000,         /* ns lost that make regions rest; being cold after a rest costs less */
	CREDIT = 1000000,      /* ns won that make the last rest forgotten, and the most that is counted */
	REST = 32,             /* the rest is so many times what was lost, and twice the last one at least */
	MOST_REST = 200000000, /* ns */
	PINGS = 12,            /* empty regions in a measurement, of which the fastest counts */
	TURNS = 3,             /* at least so many are compared with as many, */
	SPELL = 2000000,       /* for so many ns at least; */
	OFTEN = 8,             /* then the gate is left alone for so many times as many, */
	SELDOM = 128,          /* and more each time when it stays as it is, up to this, */
	MOST_APART = 1 << 24,  /* and this many */
	STRANGE = 16,          /* after so many turns of other work in a row, those are the ones to compare */
};

/* The least work of a region, for each ns that an empty one takes. */
static const double WORTH = 4000;
/* The least work of a region anywhere: what makes a team. That of a product of 64 x 64 x 64. */
static const double LEAST = 0x1p19;
/* After so much work the team is timed again: not more often than every 70 ms. */
static const double AGAIN = 1e10;
/* Another gate must be better by so much. */
static const double BETTER = 0.97;

double weir__threads_gate = 0;

/* Of a comparison. APART: none is under way. */
typedef enum phase { APART, BEFORE, AFTER } phase;

/* Turns with the gate as it is, then as it might be. */
typedef struct comparison {
	phase phase;
	double work; /* of each turn, within an eighth */
	int64_t shortest[2];
	int64_t spent;    /* ns, in this phase; turns, too, */
	int turns, apart; /* and how many are to be spent APART */
	int strange;      /* turns of other work since the last one of this */
	int factor;
	double gate; /* as it was */
	bool up;     /* the last one tried was higher */
} comparison;

/* What a host thread knows of its regions. */
typedef struct experience {
	int pieces;         /* of the team that was timed; 0: none was */
	int64_t ping;       /* ns that an empty region takes */
	double gate;        /* the least work that is worth one */
	double since_timed; /* work */
	struct {
		int64_t begun;  /* 0: unknown */
		double work;    /* asked for so far */
		uint64_t sizes; /* of what was asked for: bit i for 2^i up to 2^(i + 1) */
	} turn;
	comparison c;
	int64_t won; /* ns, against doing the pieces one after the other; negative: lost */
	bool resting;
	int64_t rest, rest_until;
} experience;

static _Thread_local experience mine;

/* ---- what is asked ----------------------------------------------------------------------------------------------- */

static int octave(double work)
{
	return work < 0x1p62 ? 63 - __builtin_clzll((unsigned long long)work) : 62;
}

int weir__threads_for(int threads, double flops)
{
	double least = mine.gate > LEAST ? mine.gate : LEAST;

	if (threads > 1 && flops >= LEAST) {
		mine.since_timed += flops;
		mine.turn.work += flops;
		mine.turn.sizes |= (uint64_t)1 << octave(flops);
	}
	if (mine.resting && weir__clock() >= mine.rest_until) mine.resting = false; /* no region may come that asks */
	if (mine.resting) least = (double)INFINITY;
	if (weir__threads_gate > 0) least = weir__threads_gate;
	return flops < least ? 1 : threads;
}

/* ---- what a turn takes ------------------------------------------------------------------------------------------- */

static void start_phase(comparison *c, phase next)
{
	c->phase = next;
	c->spent = c->turns = 0;
	if (next != APART) c->shortest[next == AFTER] = INT64_MAX;
}

/* Forgets what turns have shown. */
static void start_anew(experience *e)
{
	e->gate = WORTH * (double)e->ping;
	e->c.factor = 0;
	e->c.apart = OFTEN * TURNS;
	start_phase(&e->c, APART);
}

/* The nearest gate above that runs more of the turn's work on one thread, or the nearest below that shares more of it. 0: none. */
static double next_gate(const experience *e, bool up)
{
	for (int i = 0; i < 63; i++) {
		int size = up ? i : 62 - i;
		double bound = (double)((uint64_t)1 << (up ? size + 1 : size));

		if (!(e->turn.sizes >> size & 1)) continue;
		if (up ? bound > e->gate : bound < e->gate) return bound;
	}
	return 0;
}

/* Tries the gate on the other side of the present one than last time; where there is none, on the same. */
static void try_another(experience *e)
{
	double gate = next_gate(e, !e->c.up);

	if (gate > 0) e->c.up = !e->c.up;
	else gate = next_gate(e, e->c.up);
	start_phase(&e->c, AFTER);
	e->c.gate = e->gate;
	e->gate = gate;
}

static void decide(experience *e)
{
	comparison *c = &e->c;
	bool better = (double)c->shortest[1] < BETTER * (double)c->shortest[0];

	if (!better) e->gate = c->gate;
	c->factor = better || c->factor < OFTEN ? OFTEN : c->factor < SELDOM ? 4 * c->factor : SELDOM;
	c->apart = c->turns < MOST_APART / c->factor ? c->factor * c->turns : MOST_APART;
	start_phase(c, APART);
}

static void compare(experience *e, int64_t took)
{
	comparison *c = &e->c;

	c->spent += took;
	c->turns++;
	if (took < c->shortest[c->phase == AFTER]) c->shortest[c->phase == AFTER] = took;
	if (c->turns < TURNS || c->spent < SPELL) return;
	if (c->phase == BEFORE) try_another(e);
	else decide(e);
}

static bool unlike(const experience *e)
{
	double d = e->turn.work - e->c.work;

	return d > e->c.work / 8 || -d > e->c.work / 8;
}

void weir__gate_turn(void)
{
	experience *e = &mine;
	comparison *c = &e->c;
	bool counts = e->turn.work > 0 && e->pieces && !e->resting && !(weir__threads_gate > 0);
	bool strange = counts && unlike(e);
	int64_t now = c->phase != APART ? weir__clock() : 0;

	if (counts) c->strange = strange ? c->strange + 1 : 0;
	if (c->strange >= STRANGE || (strange && c->work <= 0)) {
		c->strange = 0;
		c->work = e->turn.work;
		start_anew(e);
	} else if (!counts || strange) {
		; /* its time says nothing */
	} else if (c->phase == APART) {
		if (++c->turns >= c->apart) start_phase(c, BEFORE);
	} else if (e->turn.begun) {
		compare(e, now - e->turn.begun);
	}
	e->turn.begun = now;
	e->turn.work = 0;
	e->turn.sizes = 0;
}

/* ---- what a region costs ----------------------------------------------------------------------------------------- */

static void nothing(void *arg, int64_t begin, int64_t end)
{
	(void)arg, (void)begin, (void)end;
}

static void time_team(experience *e, int pieces)
{
	weir_region r = { .pieces = pieces, .n = pieces, .grain = 1, .grains = pieces, .fn = nothing };
	int64_t fastest = INT64_MAX;

	for (int i = 0; i < PINGS; i++) {
		int64_t took = weir__team_ping(&r);

		if (took < fastest) fastest = took;
	}
	e->since_timed = 0;
	if (e->pieces == pieces && fastest < 2 * e->ping && e->ping < 2 * fastest) return;
	e->pieces = pieces;
	e->ping = fastest;
	start_anew(e);
}

void weir__gate_enter(void)
{
	experience *e = &mine;

	if (e->resting && weir__clock() >= e->rest_until) e->resting = false;
	if (e->since_timed >= AGAIN && e->pieces && !e->resting) time_team(e, e->pieces);
}

void weir__gate_team(int pieces)
{
	if (mine.pieces < pieces) time_team(&mine, pieces);
}

/* ---- what regions lose ------------------------------------------------------------------------------------------- */

/* The pieces are alike, so one after the other they would take what the caller's takes, times their number. */
void weir__gate_learn(const weir_region_times *t, int pieces)
{
	experience *e = &mine;

	e->won += (t->done - t->begun) * pieces - (t->end - t->begun) - (t->taken ? LATE : 0);
	if (e->won > CREDIT) {
		e->won = CREDIT;
		e->rest = 0;
	} else if (e->won < -DEBT) {
		e->rest = 2 * e->rest > REST * -e->won ? 2 * e->rest : REST * -e->won;
		if (e->rest > MOST_REST) e->rest = MOST_REST;
		e->rest_until = t->end + e->rest;
		e->resting = true;
		e->won = 0;
		start_anew(e);
	}
}
