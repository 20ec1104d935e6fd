/* json_write.h: JSON, written as it comes, to a file or into a text.
 *
 * Calls nest as the document does: begin_object, key, value, …, end. Nothing is kept but the open brackets, so a
 * document may be of any length. The first thing that goes wrong is remembered and makes the rest do
 * nothing; weir__json_finish tells. Strings are UTF-8; what is not becomes U+FFFD. NaN and infinities are not JSON:
 * they become null, and a reader who must tell them apart needs a field of its own. */
#ifndef WEIR_ENGINE_JSON_WRITE_H
#define WEIR_ENGINE_JSON_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/text.h"

#define WEIR__JSON_DEPTH 64

enum {
	WEIR__JSON_PRETTY = 1, /* a line for each member, two spaces for each level, a newline at the end */
	WEIR__JSON_HTML = 2,   /* safe inside <script>: <, U+2028 and U+2029 are escaped */
	WEIR__JSON_LINES = 4,  /* any number of documents, each ended by a newline */
};

typedef enum weir__json_error {
	WEIR__JSON_OK,
	WEIR__JSON_IO,        /* writing to the file failed; json.error_number is errno */
	WEIR__JSON_TRUNCATED, /* the text has no more room */
	WEIR__JSON_TOO_DEEP,  /* more than WEIR__JSON_DEPTH open brackets */
	WEIR__JSON_MISUSE, /* a member without a key, a key outside an object or without a value, a second document */
	WEIR__JSON_UNFINISHED, /* brackets are open at the end, or nothing was written */
} weir__json_error;

typedef struct weir__json {
	FILE *file;
	weir__text *text;
	unsigned flags;
	weir__json_error error;
	int error_number;
	int depth;
	bool keyed, some; /* a key waits for its value; a document was written */
	unsigned char level[WEIR__JSON_DEPTH];
} weir__json;

/* Neither takes the file or the text over. */
void weir__json_to_file(weir__json *j, FILE *file, unsigned flags);
void weir__json_to_text(weir__json *j, weir__text *text, unsigned flags);

void weir__json_begin_object(weir__json *j);
void weir__json_begin_array(weir__json *j);
void weir__json_begin_row(weir__json *j); /* an array whose members share a line, even when pretty */
void weir__json_end(weir__json *j);       /* the innermost object or array */

void weir__json_key(weir__json *j, const char *key);
void weir__json_key_n(weir__json *j, const char *key, size_t n);

void weir__json_string(weir__json *j, const char *s); /* NULL becomes null */
void weir__json_string_n(weir__json *j, const char *s, size_t n);
void weir__json_int(weir__json *j, int64_t x);
void weir__json_double(weir__json *j, double x); /* the shortest digits that read back the same */
void weir__json_float(weir__json *j, float x);   /* the same for f32 */
void weir__json_bool(weir__json *j, bool x);
void weir__json_null(weir__json *j);

/* Ends the document, flushes the file and returns the first error. */
weir__json_error weir__json_finish(weir__json *j);

/* Members of the object that is open: key and value, or key and what is to be filled and ended. */
void weir__json_put_double(weir__json *j, const char *key, double x);
void weir__json_put_int(weir__json *j, const char *key, int64_t x);
void weir__json_put_string(weir__json *j, const char *key, const char *s);
void weir__json_put_bool(weir__json *j, const char *key, bool x);
void weir__json_put_object(weir__json *j, const char *key);
void weir__json_put_array(weir__json *j, const char *key);

#endif
