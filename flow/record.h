/* record.h: what the recorders share.
 *
 *   record.c        the list, opening and closing, writing, the checksum
 *   record_jsonl.c  one JSON object per line         record_tensorboard.c  event files
 *   record_ring.h .c record_ring_read.c   the last steps in shared memory, and their reader */
#ifndef WEIR_FLOW_RECORD_H
#define WEIR_FLOW_RECORD_H

#include "engine/text.h"
#include "flow/flow.h"

/* What is known about a step, besides the summary and the layers. */
typedef struct weir__step {
	bool whole;
	bool layers;      /* their numbers are of this step's graph */
	int64_t time;     /* nanoseconds since 1970 */
	double grad_norm; /* over all parameters */
} weir__step;

typedef struct weir__recorder weir__recorder;
struct weir__recorder {
	weir__recorder *next;
	char *path; /* of the file that is written, for messages */
	int fd;     /* -1: it has stopped */
	void (*step)(weir_flow *f, weir__recorder *r, const weir__step *s);
	void (*close)(weir_flow *f, weir__recorder *r); /* its own things; may be NULL */
	weir__text text;                                /* what goes out at once; keeps its memory */
	void *own;                                      /* own_bytes of the pool, cleared */
	size_t own_bytes;
};

/* Each fills in fd, step, close, own and maybe another path; false after reporting. path: as the caller gave it. */
bool weir__record_jsonl(weir_flow *f, weir__recorder *r);
bool weir__record_tensorboard(weir_flow *f, weir__recorder *r);
bool weir__record_ring(weir_flow *f, weir__recorder *r);

/* NULL after reporting. */
void *weir__record_own(weir_flow *f, weir__recorder *r, size_t bytes);
bool weir__record_path(weir_flow *f, weir__recorder *r, const char *path); /* r->path becomes a copy of it */
/* A file for reading and writing or only writing; -1 after reporting IO. */
int weir__record_open(weir_flow *f, const char *path, int flags);
/* Room for so many more bytes, so that later lines that are longer don't ask for memory. */
void weir__record_reserve(weir__text *t, size_t bytes);
/* Writes r->text to the file and empties it; where that fails the recorder stops, after reporting. */
void weir__record_write(weir_flow *f, weir__recorder *r);
void weir__record_fail(weir_flow *f, const char *path, const char *what); /* reports IO: path: what */

/* CRC-32C (polynomial 0x1edc6f41, reflected) of n bytes; table is filled by the first function. */
void weir__crc32c_table(uint32_t table[256]);
uint32_t weir__crc32c(const uint32_t table[256], const void *data, size_t n);

#endif
