/* safetensors_save.c: a list of tensors into a file: sorted, the header made by jansson, the data as it lies in memory. */
#include "io/safetensors.h"

#include <string.h>

/* One tensor to be written. */
struct item {
	const char *name; /* a key of names */
	weir_tensor *tensor;
	int rank; /* of its type in the file: larger comes first */
};

static bool item_before(const struct item *a, const struct item *b)
{
	return a->rank != b->rank ? a->rank > b->rank : strcmp(a->name, b->name) < 0;
}

static void sift(struct item *heap, int64_t root, int64_t n)
{
	struct item moved = heap[root];

	for (int64_t child; (child = 2 * root + 1) < n; root = child) {
		if (child + 1 < n && item_before(&heap[child], &heap[child + 1])) child++;
		if (!item_before(&moved, &heap[child])) break;
		heap[root] = heap[child];
	}
	heap[root] = moved;
}

static void sort(struct item *items, int64_t n)
{
	for (int64_t i = n / 2; i-- > 0;) sift(items, i, n);
	for (int64_t i = n; i-- > 1;) {
		struct item first = items[0];

		items[0] = items[i];
		items[i] = first;
		sift(items, 0, i);
	}
}

/* Takes the list in. False without a message where a tensor can't be used: the engine has reported it. */
static bool collect(weir_ctx *w, int64_t n, weir_named_at *at, void *user, json_t *names, struct item *items,
		    weir__st_error *e)
{
	static const int rank[WEIR_DTYPE_COUNT] = {
		[WEIR_I64] = 5, [WEIR_F64] = 4, [WEIR_F32] = 3, [WEIR_I32] = 2, [WEIR_U8] = 1
	};

	for (int64_t i = 0; i < n; i++) {
		weir_named named = at(user, i);

		if (!weir__st_check_name(names, named.name, i, e)) return false;
		if (!weir__st_check_tensor(w, &named, e)) return false;
		items[i].tensor = named.tensor;
		items[i].rank = rank[weir_dtype_of(named.tensor)];
		items[i].name = json_object_iter_key(json_object_iter_at(names, named.name));
	}
	sort(items, n);
	return true;
}

static json_t *entry_of(const weir_tensor *t, uint64_t begin)
{
	json_t *shape = json_array();

	for (int axis = 0; shape && axis < weir_rank(t); axis++) {
		if (json_array_append_new(shape, json_integer(weir_shape(t)[axis])) == 0) continue;
		json_decref(shape);
		shape = NULL;
	}
	return shape ? json_pack("{s:s, s:o, s:[I, I]}", "dtype", weir__st_dtype(weir_dtype_of(t)), "shape", shape,
				 "data_offsets", (json_int_t)begin, (json_int_t)(begin + weir__st_bytes(t)))
		     : NULL;
}

static json_t *metadata_of(const char *const *metadata, weir__st_error *e)
{
	json_t *object = json_object();

	for (; object && metadata[0]; metadata += 2) {
		json_t *value = metadata[1] ? json_string(metadata[1]) : NULL;

		if (value && json_object_set_new(object, metadata[0], value) == 0) continue;
		json_decref(object);
		weir__st_fail(e, WEIR_ERR_ARGUMENT, "metadata must be pairs of a key and a value in UTF-8");
		return NULL;
	}
	if (!object) weir__st_no_memory(e);
	return object;
}

/* The header as JSON; keys stand in the order of the data. */
static json_t *header_of(const struct item *items, int64_t n, const char *const *metadata, weir__st_error *e)
{
	json_t *header = json_object();
	uint64_t at = 0;

	if (header && metadata && metadata[0] &&
	    json_object_set_new(header, "__metadata__", metadata_of(metadata, e)) != 0) {
		weir__st_no_memory(e); /* unless there is a better reason */
		json_decref(header);
		return NULL;
	}
	for (int64_t i = 0; header && i < n; i++) {
		if (json_object_set_new(header, items[i].name, entry_of(items[i].tensor, at)) != 0) {
			json_decref(header);
			header = NULL;
		}
		at += weir__st_bytes(items[i].tensor);
	}
	if (!header) weir__st_no_memory(e);
	return header;
}

static int count_bytes(const char *buffer, size_t size, void *sum)
{
	(void)buffer;
	*(uint64_t *)sum += size;
	return 0;
}

static int write_bytes(const char *buffer, size_t size, void *file)
{
	return weir_file_write(file, buffer, size) ? 0 : -1;
}

static bool write_header(weir_file *file, const json_t *header, weir__st_error *e)
{
	static const char spaces[] = "       ";
	unsigned char prefix[WEIR__ST_PREFIX];
	uint64_t length = 0, pad;

	if (json_dump_callback(header, count_bytes, &length, JSON_COMPACT) != 0) return weir__st_no_memory(e);
	pad = (WEIR__ST_PREFIX - length % WEIR__ST_PREFIX) % WEIR__ST_PREFIX; /* so that the data is aligned */
	length += pad;
	if (length > WEIR__ST_HEADER_MAX)
		return weir__st_fail(e, WEIR_ERR_LIMIT, "the header would have %llu bytes; at most %d are allowed",
				     (unsigned long long)length, WEIR__ST_HEADER_MAX);
	for (int i = 0; i < WEIR__ST_PREFIX; i++) prefix[i] = (unsigned char)(length >> (8 * i));
	if (!weir_file_write(file, prefix, WEIR__ST_PREFIX)) return false;
	if (json_dump_callback(header, write_bytes, file, JSON_COMPACT) != 0) return weir__st_no_memory(e);
	return weir_file_write(file, spaces, pad);
}

static bool write_data(weir_ctx *w, weir_file *file, const weir_tensor *t)
{
	const uint64_t bytes = weir__st_bytes(t);
	const void *data = weir_data(t);
	void *copy;

	if (!bytes) return true;
	if (weir_is_contiguous(t) && !weir__st_swaps()) return data && weir_file_write(file, data, bytes);
	copy = weir__st_memory(w, bytes);
	if (!copy || !weir_read(t, copy, bytes)) return false;
	weir__st_swap(copy, bytes, weir_dtype_size(weir_dtype_of(t)));
	return weir_file_write(file, copy, bytes);
}

static bool save(weir_ctx *w, const char *path, int64_t n, weir_named_at *at, void *user, const char *const *metadata,
		 weir__st_error *e)
{
	json_t *names = json_object(), *header = NULL;
	struct item *items = weir__st_memory(w, (uint64_t)n * sizeof(*items));
	weir_file *file;
	bool ok = false;

	if (!names) weir__st_no_memory(e);
	if (names && items && collect(w, n, at, user, names, items, e)) header = header_of(items, n, metadata, e);
	if (header) {
		file = weir_file_create(w, path);
		ok = write_header(file, header, e);
		for (int64_t i = 0; ok && i < n; i++) ok = write_data(w, file, items[i].tensor);
		if (ok) ok = weir_file_commit(file);
		else weir_file_abandon(file);
	}
	json_decref(header);
	json_decref(names);
	return ok;
}

bool weir_safetensors_save_each(weir_ctx *w, const char *path, int64_t n, weir_named_at *at, void *user,
				const char *const *metadata)
{
	const char *who = "weir_safetensors_save";
	weir__st_error e = { .status = WEIR_OK };
	weir_place mark;
	bool ok;

	if (!weir__st_check_call(w, who, path, n, at ? path : NULL)) return false;
	mark = weir_mark(w);
	ok = save(w, path, n, at, user, metadata, &e);
	weir_rewind(w, mark, NULL, 0);
	weir__st_report(w, who, path, &e);
	return ok;
}

bool weir_safetensors_save(weir_ctx *w, const char *path, const weir_named *list, int64_t n,
			   const char *const *metadata)
{
	weir__st_array array = { list, n };

	if (!weir__st_check_call(w, "weir_safetensors_save", path, n, list)) return false;
	return weir_safetensors_save_each(w, path, n, weir__st_array_at, &array, metadata);
}
