/* safetensors_header.c: checking the header of a safetensors file.
 *
 * Nothing of the file is believed: every size is compared with the file's before memory is asked for, numbers are exact
 * integers, depth and names are limited, and the ranges must cover the data once, without gap or overlap. */
#include "io/safetensors.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- types ---- */

static const char *const words[WEIR_DTYPE_COUNT] = {
	[WEIR_F32] = "F32", [WEIR_F64] = "F64", [WEIR_I32] = "I32", [WEIR_I64] = "I64", [WEIR_U8] = "U8",
};

const char *weir__st_dtype(weir_dtype dtype)
{
	return words[dtype];
}

/* The type of a word, or WEIR_DTYPE_COUNT. */
static weir_dtype dtype_of(const char *word)
{
	int i = 0;

	while (i < WEIR_DTYPE_COUNT && strcmp(words[i], word)) i++;
	return (weir_dtype)i;
}

static bool known_elsewhere(const char *word)
{
	static const char *const others[] = { "BOOL",    "I8",  "I16",     "U16",     "U32",
					      "U64",     "F16", "BF16",    "F8_E4M3", "F8_E5M2",
					      "F8_E8M0", "F4",  "F6_E2M3", "F6_E3M2", "C64" };

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		if (!strcmp(others[i], word)) return true;
	return false;
}

weir__st_info weir__st_info_of(const json_t *tensor)
{
	const json_t *shape = json_object_get(tensor, "shape");
	weir__st_info info = { .dtype = dtype_of(json_string_value(json_object_get(tensor, "dtype"))),
			       .rank = (int)json_array_size(shape) };

	for (int i = 0; i < info.rank; i++) info.shape[i] = json_integer_value(json_array_get(shape, (size_t)i));
	return info;
}

/* ---- the text of the header ---- */

/* Where key number k of the outermost object begins in the file: for messages only, of a header that parsed. */
static uint64_t key_byte(const weir__st_file *f, int64_t k)
{
	int depth = 0;
	bool key = true; /* the next string of depth 1 is one */

	for (uint64_t i = 0; i < f->length; i++) {
		char c = f->text[i];

		if (c == '{' || c == '[') depth++;
		else if (c == '}' || c == ']') depth--;
		else if (c == ',' && depth == 1) key = true;
		if (c != '"') continue;
		if (depth == 1 && key && k-- == 0) return WEIR__ST_PREFIX + i;
		key = false;
		for (i++; i < f->length && f->text[i] != '"'; i++) i += f->text[i] == '\\';
	}
	return WEIR__ST_PREFIX;
}

/* What the reader of JSON would let pass, or answer with deep recursion. */
bool weir__st_check_text(const weir__st_file *f, weir__st_error *e)
{
	int depth = 0;

	if (f->text[0] != '{')
		return weir__st_fail_at(e, WEIR_ERR_FORMAT, WEIR__ST_PREFIX,
					"the header begins with byte 0x%02x; it must begin with {",
					(unsigned)(unsigned char)f->text[0]);
	for (uint64_t i = 0; i < f->length; i++) {
		char c = f->text[i];

		if ((c == '{' || c == '[') && ++depth > WEIR__ST_DEPTH)
			return weir__st_fail_at(e, WEIR_ERR_LIMIT, WEIR__ST_PREFIX + i,
						"the header is nested deeper than %d", WEIR__ST_DEPTH);
		if (c == '}' || c == ']') depth--;
		if (c == '-')
			return weir__st_fail_at(e, WEIR_ERR_FORMAT, WEIR__ST_PREFIX + i,
						"a minus in the header; extents and offsets are whole "
						"numbers from 0 up");
		if (c != '"') continue;
		for (i++; i < f->length && f->text[i] != '"'; i++) i += f->text[i] == '\\';
	}
	return true;
}

/* ---- one tensor ---- */

/* The entry that is checked, and how to say where. */
struct at {
	const weir__st_file *f;
	weir__st_error *e;
	const char *name;
	int64_t key; /* its number in the header */
};

static bool wrong(const struct at *at, weir_status status, const char *format, ...) WEIR_PRINTF(3, 4);

static bool wrong(const struct at *at, weir_status status, const char *format, ...)
{
	weir__st_quoted name;
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return weir__st_fail_at(at->e, status, key_byte(at->f, at->key), "tensor %s %s",
				weir__st_quote(at->name, &name), text);
}

static bool check_name(const struct at *at, size_t length)
{
	if (length == 0) return wrong(at, WEIR_ERR_FORMAT, "has an empty name");
	if (length > WEIR__ST_NAME_MAX)
		return wrong(at, WEIR_ERR_LIMIT, "has a name of %zu bytes; at most %d are allowed", length,
			     WEIR__ST_NAME_MAX);
	return true;
}

static bool check_keys(const struct at *at, json_t *tensor)
{
	static const char *const need[] = { "dtype", "shape", "data_offsets" };
	weir__st_quoted quoted;
	const char *key;
	json_t *value;

	if (!json_is_object(tensor))
		return wrong(at, WEIR_ERR_FORMAT, "is no object; it must be {\"dtype\", \"shape\", \"data_offsets\"}");
	for (size_t i = 0; i < 3; i++)
		if (!json_object_get(tensor, need[i])) return wrong(at, WEIR_ERR_FORMAT, "has no %s", need[i]);
	json_object_foreach(tensor, key, value)
	{
		if (strcmp(key, need[0]) && strcmp(key, need[1]) && strcmp(key, need[2]))
			return wrong(at, WEIR_ERR_FORMAT,
				     "has an unknown key %s; it must have dtype, shape and data_offsets only",
				     weir__st_quote(key, &quoted));
	}
	return true;
}

/* Bytes of a tensor by type and shape. */
static bool check_type(const struct at *at, const json_t *tensor, uint64_t *bytes)
{
	const json_t *word = json_object_get(tensor, "dtype"), *shape = json_object_get(tensor, "shape");
	weir__st_quoted quoted;
	weir_dtype dtype;
	bool empty = false;

	if (!json_is_string(word)) return wrong(at, WEIR_ERR_FORMAT, "has a dtype that is no string");
	dtype = dtype_of(json_string_value(word));
	if (dtype == WEIR_DTYPE_COUNT)
		return wrong(at, WEIR_ERR_DTYPE, "has dtype %s, which %s; supported are F32 F64 I32 I64 U8",
			     weir__st_quote(json_string_value(word), &quoted),
			     known_elsewhere(json_string_value(word)) ? "this version does not read" : "is unknown");
	if (!json_is_array(shape)) return wrong(at, WEIR_ERR_FORMAT, "has a shape that is no array");
	if (json_array_size(shape) > WEIR_MAX_RANK)
		return wrong(at, WEIR_ERR_LIMIT, "has rank %zu; at most %d axes are allowed", json_array_size(shape),
			     WEIR_MAX_RANK);
	*bytes = weir_dtype_size(dtype);
	for (size_t i = 0; i < json_array_size(shape); i++) {
		const json_t *extent = json_array_get(shape, i);

		if (!json_is_integer(extent))
			return wrong(at, WEIR_ERR_FORMAT, "has extent %zu of its shape that is no whole number", i);
		if (json_integer_value(extent) == 0) empty = true;
		else if (__builtin_mul_overflow(*bytes, (uint64_t)json_integer_value(extent), bytes) ||
			 *bytes > INT64_MAX)
			return wrong(at, WEIR_ERR_FORMAT, "has a shape of too many bytes: the product overflows");
	}
	if (empty) *bytes = 0;
	return true;
}

static bool check_range(const struct at *at, const json_t *tensor, uint64_t bytes, weir__st_entry *entry)
{
	const json_t *range = json_object_get(tensor, "data_offsets"), *begin = json_array_get(range, 0),
		     *end = json_array_get(range, 1);
	uint64_t size = at->f->size - at->f->data;

	if (json_array_size(range) != 2 || !json_is_integer(begin) || !json_is_integer(end))
		return wrong(at, WEIR_ERR_FORMAT, "has data_offsets that are not two whole numbers");
	entry->begin = (uint64_t)json_integer_value(begin);
	entry->end = (uint64_t)json_integer_value(end);
	if (entry->end < entry->begin)
		return wrong(at, WEIR_ERR_FORMAT, "begins at %llu and ends at %llu, before it begins",
			     (unsigned long long)entry->begin, (unsigned long long)entry->end);
	if (entry->end - entry->begin != bytes)
		return wrong(at, WEIR_ERR_FORMAT, "has %llu bytes of data, but its shape and dtype need %llu",
			     (unsigned long long)(entry->end - entry->begin), (unsigned long long)bytes);
	if (entry->end > size)
		return wrong(at, WEIR_ERR_FORMAT, "ends at %llu but the data has %llu bytes; the file is truncated",
			     (unsigned long long)entry->end, (unsigned long long)size);
	return true;
}

static bool check_metadata(const weir__st_file *f, json_t *metadata, int64_t key, weir__st_error *e)
{
	weir__st_quoted quoted;
	const char *name;
	json_t *value;

	if (!json_is_object(metadata))
		return weir__st_fail_at(e, WEIR_ERR_FORMAT, key_byte(f, key), "__metadata__ is no object");
	json_object_foreach(metadata, name, value)
	{
		if (!json_is_string(value))
			return weir__st_fail_at(e, WEIR_ERR_FORMAT, key_byte(f, key),
						"__metadata__: the value of %s is no string",
						weir__st_quote(name, &quoted));
	}
	return true;
}

/* ---- all tensors together ---- */

static bool before(const weir__st_entry *a, const weir__st_entry *b)
{
	return a->begin != b->begin ? a->begin < b->begin : a->end < b->end;
}

static void sift(weir__st_entry *heap, int64_t root, int64_t n)
{
	weir__st_entry moved = heap[root];

	for (int64_t child; (child = 2 * root + 1) < n; root = child) {
		if (child + 1 < n && before(&heap[child], &heap[child + 1])) child++;
		if (!before(&moved, &heap[child])) break;
		heap[root] = heap[child];
	}
	heap[root] = moved;
}

/* Heap sort: no memory, and no input that makes it slow. */
static void sort(weir__st_entry *entries, int64_t n)
{
	for (int64_t i = n / 2; i-- > 0;) sift(entries, i, n);
	for (int64_t i = n; i-- > 1;) {
		weir__st_entry first = entries[0];

		entries[0] = entries[i];
		entries[i] = first;
		sift(entries, 0, i);
	}
}

/* The number of a name among the keys of the header. */
static int64_t key_number(const weir__st_file *f, const char *name)
{
	const char *key;
	json_t *value;
	int64_t k = 0;

	json_object_foreach(f->root, key, value)
	{
		if (key == name) break;
		k++;
	}
	return k;
}

static bool check_cover(const weir__st_file *f, weir__st_error *e)
{
	uint64_t at = 0, size = f->size - f->data;

	for (int64_t i = 0; i < f->count; i++) {
		const weir__st_entry *t = &f->entries[i];
		struct at place = { f, e, t->name, 0 };

		if (t->begin == at) {
			at = t->end;
			continue;
		}
		place.key = key_number(f, t->name);
		if (t->begin < at)
			return wrong(&place, WEIR_ERR_FORMAT,
				     "begins at %llu, inside of another that ends at %llu; tensors must not overlap",
				     (unsigned long long)t->begin, (unsigned long long)at);
		return wrong(&place, WEIR_ERR_FORMAT,
			     "begins at %llu, but the data before it ends at %llu; there must be no gap",
			     (unsigned long long)t->begin, (unsigned long long)at);
	}
	if (at < size)
		return weir__st_fail_at(e, WEIR_ERR_FORMAT, f->data + at,
					"%llu bytes follow the last tensor; the file must end there",
					(unsigned long long)(size - at));
	return true;
}

bool weir__st_check_tensors(weir__st_file *f, weir_ctx *w, weir__st_error *e)
{
	size_t keys = json_object_size(f->root);
	int64_t number = 0;
	const char *name;
	json_t *tensor;

	/* A tensor takes 50 bytes of header and more: what this asks for is smaller than the file. */
	f->entries = weir__st_memory(w, keys * sizeof(*f->entries));
	if (!f->entries) return false;
	json_object_foreach(f->root, name, tensor)
	{
		struct at at = { f, e, name, number++ };
		weir__st_entry *entry = &f->entries[f->count];
		uint64_t bytes = 0;

		if (!strcmp(name, "__metadata__")) {
			if (!check_metadata(f, tensor, at.key, e)) return false;
			continue;
		}
		if (!check_name(&at, strlen(name)) || !check_keys(&at, tensor) || !check_type(&at, tensor, &bytes))
			return false;
		if (!check_range(&at, tensor, bytes, entry)) return false;
		entry->name = name;
		entry->tensor = tensor;
		f->count++;
	}
	sort(f->entries, f->count);
	return check_cover(f, e);
}
