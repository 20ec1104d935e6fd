/* gradcheck.h: the parts of a gradient check: extrapolated differences, its log, and how to read its result. */
#ifndef WEIR_OPS_GRADCHECK_H
#define WEIR_OPS_GRADCHECK_H

#include "ops/common.h"

static inline double weir__size(double x)
{
	return x < 0.0 ? -x : x;
}

/* Neville's scheme for one derivative from differences with steps h, h/2, h/4, ... */
enum { WEIR__LEVELS = 8 };
typedef struct weir__ridders {
	double row[WEIR__LEVELS];
	double best,
		error; /* so far: the extrapolated derivative, and how much its neighbours in the scheme differ from it */
	double bend;   /* how much the slopes to the two sides differ, at the last step */
	bool stays_bent; /* and that is not because the step is large */
	int count;
	bool done;
} weir__ridders;

static inline weir__ridders weir__ridders_new(void)
{
	return (weir__ridders){ .best = __builtin_nan(""), .error = __builtin_inf() };
}

/* Adds the next difference. Done when it gets worse, and is good enough. */
void weir__ridders_add(weir__ridders *e, double difference, double good_enough);

/* One order of one check. */
typedef struct weir__check {
	weir_ctx *w;
	weir_function *f;
	void *user;
	weir_tensor *const *xs;
	int n, order;
	const weir_gradcheck_options *o;
	weir_gradcheck_result *r;

	weir_tensor **args;             /* what f is given: n */
	weir_tensor **kept, **stand_in; /* kept xs and their copies: substitutes */
	weir_tensor **var;              /* inputs of F: copies of the floating xs, then v */
	weir_tensor **part;             /* results of F: y, or a gradient for each x */
	weir_tensor **g;
	int *number; /* number[i]: which of xs var[i] is; n for v */
	int vars, parts, substitutes;

	weir_dtype y_dtype;
	int y_rank;
	int64_t y_shape[WEIR_MAX_RANK], y_numel;
	int64_t inputs, outputs; /* elements of F's inputs and results */
	int64_t rows;            /* derivatives for each direction: outputs, or 1 where they are weighted into one */

	double *x, *moved, *along;            /* inputs: the point, a point nearby, a direction */
	double *base, *plus, *minus, *weight; /* outputs */
	double *jacobian;                     /* rows x inputs, by the tape */
	weir__ridders *numeric;               /* rows */
	bool kink;                            /* f has a kink at the worst derivative */
} weir__check;

/* F at a point into out. False after an error. */
bool weir__check_values(weir__check *c, const double *point, double *out);
/* Fills c->jacobian by the tape. c->moved and c->plus are scratch. False after an error. */
bool weir__check_jacobian(weir__check *c);
/* F's results stay on the tape, in c->part; the first call finds out y's shape. False after an error. */
bool weir__check_apply(weir__check *c, const double *point, unsigned flags);

/* One derivative: of result number `output` by element `element` (-1: along a direction) of input number `tensor`. */
typedef struct weir__derivative {
	int order, tensor;
	int64_t element, output;
	double analytic, numeric, numeric_error;
} weir__derivative;

/* One line. inputs: how many f has; a tensor with that number is the incoming gradient. */
void weir__gradcheck_log(FILE *file, const weir__derivative *d, int inputs, const char *name);

/* Fills r->advice from its numbers. */
void weir__gradcheck_advise(weir_gradcheck_result *r, int inputs, bool f32, bool kink, double tolerance);

#endif
