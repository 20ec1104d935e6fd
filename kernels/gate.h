/* gate.h: whether regions pay: what threads.c asks and tells. The answer is weir__threads_for() of threads.h. */
#ifndef WEIR_KERNELS_GATE_H
#define WEIR_KERNELS_GATE_H

#include "kernels/team.h"

/* Before a region, or where one might be, if the calling thread may have a team at all: times the one it has, when that is due. */
void weir__gate_enter(void);

/* weir__threads_turn() */
void weir__gate_turn(void);

/* A team of that many pieces is there; times it if that is new. */
void weir__gate_team(int pieces);

/* What became of a region of so many pieces. */
void weir__gate_learn(const weir_region_times *t, int pieces);

#endif
