/* profile_kept.h: what a profile keeps, for the two files that fill it (profile.c) and show it (profile_report.c). */
#ifndef WEIR_ENGINE_PROFILE_KEPT_H
#define WEIR_ENGINE_PROFILE_KEPT_H

#include <sys/types.h>

#include "engine/profile.h"
#include "engine/safe_write.h"
#include "kernels/threads.h"

enum {
	WEIR_PROFILE_BYTES = 1 << 25, /* for events; pages that are not reached take no memory */
	WEIR_PROFILE_TEXT = 1 << 17,  /* behind them: for what is being written */
	WEIR_PROFILE_DEEP = 128,      /* spans inside one another */
	WEIR_PROFILE_ROWS = 256,
	WEIR_PROFILE_SLOTS = 4 * WEIR_PROFILE_ROWS,
	WEIR_PROFILE_SHAPES = 4, /* result and operands that an event shows */
	WEIR_PROFILE_NAME = 48,
};

typedef struct weir_span_event {
	struct weir_span_event *next;
	int64_t begin, end; /* ns since the profile began; end 0: not over */
	uint32_t row, scope;
	uint8_t shapes, rank[WEIR_PROFILE_SHAPES];
	uint8_t here;   /* bytes of the source line, which stands behind the shapes with its NUL; 0: none */
	uint8_t worker; /* which one ran the piece; 0: the host thread did */
	int64_t products, bytes;
	int64_t *extent;                  /* of the result, then of the operands */
	const struct weir_span_event *of; /* a piece of a parallel region: the span that it is part of; else NULL */
} weir_span_event;

typedef struct weir_span_row {
	char name[WEIR_PROFILE_NAME];
	weir_span_kind kind;
	int64_t calls, own, products, bytes;
} weir_span_row;

typedef struct weir_span_frame {
	int64_t begin, inner; /* inner: time in spans inside */
	weir_span_event *e;
} weir_span_frame;

typedef struct weir_profile {
	weir_region_watch regions; /* first: what is told of regions is told to this */
	const void *worker[WEIR__MAX_THREADS];
	int workers;
	char *path;
	bool environments; /* WEIR_PROFILE asked for it */
	pid_t process; /* that began it, whose file it is: a child of fork() inherits it and leaves the file alone */
	int64_t start;
	weir_span_frame stack[WEIR_PROFILE_DEEP];
	int depth, too_deep;
	weir_span_row rows[WEIR_PROFILE_ROWS];
	uint32_t n_rows, slot[WEIR_PROFILE_SLOTS]; /* hash table of row numbers + 1 */
	char *room;                                /* NULL: no events */
	size_t used;
	weir_span_event *first, *last;
	int64_t dropped, inside; /* events without room; time in spans that are in no other */
} weir_profile;

/* False after reporting IO. */
bool weir__profile_write(weir_ctx *w);
bool weir__profile_complain(weir_ctx *w, const char *who, const char *path, const weir__write_error *e);

#endif
