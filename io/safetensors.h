/* safetensors.h: what the files of weir-io share.
 *
 * A file is: the length N of the header as 8 bytes, little end first; N bytes of JSON, { "name": { "dtype": "F32", "shape": [2, 3],
 * "data_offsets": [begin, end] }, ... }; then the data, in which the ranges follow each other without gap or overlap. */
#ifndef WEIR_IO_SAFETENSORS_H
#define WEIR_IO_SAFETENSORS_H

#include <weir/safetensors.h>

#include <jansson.h>

enum {
	WEIR__ST_HEADER_MAX = 100000000,
	WEIR__ST_NAME_MAX = 65535,
	WEIR__ST_DEPTH = 3, /* the file, a tensor, its shape */
	WEIR__ST_PREFIX = 8,
};

/* An error that waits until what was taken from the tape is given back. */
typedef struct weir__st_error {
	weir_status status; /* WEIR_OK: the engine has reported it already, or there is none */
	char text[800];
} weir__st_error;

/* Fills e, if it is the first; false. */
bool weir__st_fail(weir__st_error *e, weir_status status, const char *format, ...) WEIR_PRINTF(3, 4);
/* The same, beginning with "byte N: ", and N counted from the beginning of the file. */
bool weir__st_fail_at(weir__st_error *e, weir_status status, uint64_t byte, const char *format, ...) WEIR_PRINTF(4, 5);

/* A name between quotes, made safe for a message. */
typedef struct weir__st_quoted {
	char s[96];
} weir__st_quoted;
const char *weir__st_quote(const char *name, weir__st_quoted *buf);
const char *weir__st_shape(int rank, const int64_t *shape, weir__st_quoted *buf);

/* The file's word for a type, "F32". */
const char *weir__st_dtype(weir_dtype dtype);

typedef struct weir__st_entry {
	json_t *tensor;
	const char *name;
	uint64_t begin, end; /* in the data */
} weir__st_entry;

typedef struct weir__st_info {
	weir_dtype dtype;
	int rank;
	int64_t shape[WEIR_MAX_RANK];
} weir__st_info;

/* A file that has been checked. Its memory is on the tape, above the place where opening began. */
typedef struct weir__st_file {
	int fd;
	uint64_t size, data; /* of the file; where the data begins */
	const char *text;    /* the header, length bytes */
	uint64_t length;
	json_t *root;
	weir__st_entry *entries; /* by their place in the data */
	int64_t count;
} weir__st_file;

/* Opens and checks everything but the data. False after an error. weir__st_close in any case. */
bool weir__st_open(weir__st_file *f, weir_ctx *w, const char *path, weir__st_error *e);
void weir__st_close(weir__st_file *f);
/* The parts of it that look at the header: as text, before it is parsed; its tensors, which fills entries. */
bool weir__st_check_text(const weir__st_file *f, weir__st_error *e);
bool weir__st_check_tensors(weir__st_file *f, weir_ctx *w, weir__st_error *e);
/* Type and shape of a tensor of a checked file. */
weir__st_info weir__st_info_of(const json_t *tensor);
/* Reads size bytes at offset of the file. */
bool weir__st_read(const weir__st_file *f, uint64_t offset, void *dst, uint64_t size, weir__st_error *e);
/* Whether this machine begins with the big end; turns numbers of that size round if it does. */
bool weir__st_swaps(void);
void weir__st_swap(void *data, uint64_t bytes, size_t size);

/* A list given as an array; weir__st_array_at walks through it. */
typedef struct weir__st_array {
	const weir_named *list;
	int64_t n;
} weir__st_array;
weir_named weir__st_array_at(void *user, int64_t i);

/* Checks for calls that are given a list; the engine has reported where e stays empty. */
bool weir__st_check_call(weir_ctx *w, const char *who, const char *path, int64_t n, const void *list);
/* A name that a tensor can have in a file, and that no other of the list has; names remembers them. */
bool weir__st_check_name(json_t *names, const char *name, int64_t i, weir__st_error *e);
/* A tensor of this context whose value can be read. */
bool weir__st_check_tensor(weir_ctx *w, const weir_named *named, weir__st_error *e);
bool weir__st_no_memory(weir__st_error *e);
/* Reports what waited. */
void weir__st_report(weir_ctx *w, const char *who, const char *path, const weir__st_error *e);

uint64_t weir__st_bytes(const weir_tensor *t);

/* Memory that ends with the tape, 64-byte aligned; NULL after the engine has reported. */
void *weir__st_memory(weir_ctx *w, uint64_t bytes);

#endif
