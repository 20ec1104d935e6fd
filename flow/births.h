/* births.h: what the files about births share. */
#ifndef WEIR_FLOW_BIRTHS_H
#define WEIR_FLOW_BIRTHS_H

#include "engine/text.h"
#include "flow/flow.h"

enum kind { INF, NOT_A_NUMBER, SUBNORMAL, ZERO, KINDS };

/* Bits of record.bad. */
enum {
	BAD_OUT = 1,    /* its value is not finite and reaches the loss or a parameter */
	BAD_DELTA = 2,  /* so does its gradient */
	RULE = 4,       /* its gradient rule met bad values */
	LOOKED = 8,     /* a leaf whose value was counted */
	TAINTED = 16,   /* hangs on the overflow that is looked at */
	HAS_OUT = 32,   /* its value has what is being followed */
	HAS_DELTA = 64, /* so has its gradient */
};

/* What births_rule.c found out about a gradient while it passed. */
typedef struct finding {
	int64_t node; /* whose gradient it is */
	enum kind kind;
	int64_t of;    /* the same, or a node made of gradients, which no record is kept of, through which it came */
	int64_t maker; /* the reader whose rule made it; -1: not known */
	bool sum;      /* not any one reader's, but the addition of several */
	int64_t element;
	double value;
	char operands[384];
} finding;

enum { PER_KIND = 8, PATH_END = 8, PATH_MOST = 2 * PATH_END + 1 };

typedef struct birth_lasting {
	char shape[128], operands[384];
	char entry[PATH_MOST][160];
	const char *path[PATH_MOST];
} birth_lasting;

struct weir__birth_more {
	birth_lasting text[BIRTHS];
	int64_t step; /* that all below is of */
	bool leaves;  /* were looked at */
	int64_t overflow;
	uint32_t early_life; /* of the tape on which births were noted before the step's end, and which: */
	bool early_inf, early_nan;
	int findings;
	finding list[KINDS * PER_KIND];
};

/* A gradient that was born: of which node, and whose rule made it. */
typedef struct birth_origin {
	int64_t node, maker;
} birth_origin;

/* Where a birth spreads from: a value, or the gradient of a node. */
typedef struct birth_place {
	int64_t node; /* whose value or gradient was born bad */
	bool backward;
	int64_t maker; /* the operation to name first */
} birth_place;

/* This step's, made where it is missing; NULL after reporting. */
struct weir__birth_more *weir__births_more(weir_flow *f);

/* births_element.c: element is a row-major number. */
bool weir__births_readable(const weir_tensor *t);
bool weir__births_same_shape(const weir_tensor *a, const weir_tensor *b);
double weir__births_value(const weir_tensor *t, int64_t element);
bool weir__births_is(double value, weir_dtype dtype, enum kind kind);
double weir__births_largest(const weir_tensor *t);                               /* magnitude: inf and NaN win */
int64_t weir__births_first(const weir_tensor *t, enum kind kind, double *value); /* -1: none, or not readable */
/* The first element where t has it and no operand has; -1: none, or t does not work element by element. */
int64_t weir__births_made_here(const weir_tensor *t, enum kind kind);
/* Is what is not finite in t what operand k has? True where that is not known. */
bool weir__births_carries(const weir_tensor *t, int k);
bool weir__births_reads(const weir_op *op, int k); /* Does the rule of op read the value of operand k? */

/* births_text.c */
void weir__births_shape(const weir_tensor *t, char *to, size_t size);
/* From what op made t's element; or, with its gradient, from what the rule of t made the element of an operand's. */
void weir__births_operands(weir_tensor *t, const weir_tensor *gradient, int64_t element, char *to, size_t size);

/* births_note.c: fill all of b but the way. which: BIRTH_... Return where the way goes, or NULL after reporting. */
birth_lasting *weir__births_note_value(weir_flow *f, weir_flow_birth *b, int which, int64_t i, enum kind kind);
birth_lasting *weir__births_note_gradient(weir_flow *f, weir_flow_birth *b, int which, birth_origin from,
					  enum kind kind);

/* births_path.c. rule[k]: nodes whose gradient rule met bad values and made the gradient of born[k]; n of them. */
void weir__births_spread(weir_flow *f, int64_t root, birth_place at, const int64_t *rule, const int64_t *born, int n,
			 birth_lasting *to, weir_flow_birth *b);

/* births_rule.c */
unsigned weir__births_kinds(const weir_stats *s, int64_t n); /* bits 1 << kind */
const finding *weir__births_finding(const weir_flow *f, int64_t node, enum kind kind);
void weir__births_look_at_leaf(weir_flow *f, const weir_tensor *t);
/* births_overflow.c: weir__births_overflow in flow/flow.h */

#endif
