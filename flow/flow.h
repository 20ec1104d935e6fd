/* flow.h: what the files of the instrument share. */
#ifndef WEIR_FLOW_FLOW_H
#define WEIR_FLOW_FLOW_H

#include <weir/flow.h>
#include "engine/memory.h"

#define UNKNOWN __builtin_nan("")

/* One node's record of the step. Norms are NaN where nothing was measured. */
typedef struct record {
	double out_norm, delta_norm;
	weir_stats out, delta;
	bool has_out, has_delta;
} record;

enum { WEIR_FLOW_OPS = 96 };

typedef struct layer {
	weir_flow_layer public; /* first, so that a pointer to it is one to the layer */
	char *name;
	char ops[WEIR_FLOW_OPS];
	int64_t first, last;    /* tape indices of its last call */
	int64_t call;
	int64_t input;          /* node its input comes from, or -1 */
	int64_t z, a;           /* the last activation: from node z to node a, or -1 */
} layer;

struct weir_flow {
	weir_ctx *w;
	weir_flow_options options;
	weir_owned *owned;
	weir_hook *forward, *backward;

	record *rec;            /* by tape index */
	int64_t records, rec_capacity;
	bool input_asked;       /* the gradient of the first input was asked for on this tape */

	layer *layers;
	int64_t count, capacity;
	char **names;           /* every layer name ever seen */
	int64_t n_names, names_capacity;

	weir_flow_summary sum;
	char first_layer[2][512], first_op[2][64], first_here[2][512]; /* texts of the births, which outlive the tape */
	int64_t steps;
	int64_t measured, began; /* nanoseconds spent measuring in this step, and when the step began */
};

static inline bool is_float(const weir_tensor *t)
{
	return weir_dtype_of(t) == WEIR_F32 || weir_dtype_of(t) == WEIR_F64;
}

record *weir__flow_record(weir_flow *f, int64_t index);
bool weir__flow_grow(weir_ctx *w, void **list, int64_t count, int64_t *capacity, size_t size);
void weir__flow_layers(weir_flow *f, int64_t root);  /* groups nodes 0 .. root into layers and fills their numbers */
void weir__flow_judge(weir_flow *f);                 /* slope, total, verdict, cause */
int64_t weir__flow_nanoseconds(void);

#endif
