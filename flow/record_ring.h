/* record_ring.h: the file of the last 1,000 steps: record_ring.c writes it, record_ring_read.c reads it.
 *
 *   file     header (4,096 bytes), 1,000 records (of 512 bytes each)
 *   record   number n, counted from 1, stands in place (n - 1) mod 1,000; all zeros: never written
 *
 * Numbers are in the byte order of the machine, which the header tells. */
#ifndef WEIR_FLOW_RECORD_RING_H
#define WEIR_FLOW_RECORD_RING_H

#include "flow/record.h"

enum { RECORDS = 1000, HEADER = 4096, ORDER = 0x01020304, VERSION = 1, NAME = 96 };

static const char magic[8] = { 'w', 'e', 'i', 'r', 'r', 'i', 'n', 'g' };

typedef struct ring_header {
	char magic[8];
	uint32_t order, version, record_size, records;
	int64_t begun; /* nanoseconds since 1970 */
	uint32_t crc;  /* of all before it */
} ring_header;

typedef struct ring_record {
	uint32_t crc; /* of all behind it */
	uint32_t verdict;
	uint64_t number;
	int64_t step, time, nonfinite;
	double loss, grad_norm, total_gain, gain_per_layer, low_delta, high_delta;
	char low[NAME], high[NAME], first_inf[NAME], first_nan[NAME]; /* names, ended by a zero */
	char room[40];
} ring_record;
_Static_assert(sizeof(ring_record) == 512, "the format says so");

enum { SIZE = HEADER + RECORDS * (int)sizeof(ring_record) };

static inline uint32_t record_crc(const uint32_t table[256], const ring_record *r)
{
	return weir__crc32c(table, (const char *)r + sizeof r->crc, sizeof *r - sizeof r->crc);
}

#endif
