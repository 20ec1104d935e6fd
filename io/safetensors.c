/* safetensors.c: lists of tensors, and loading them; saving is in safetensors_save.c. Clients of the public API and of jansson.
 *
 * Memory comes from the tape, between a mark and a rewind, so that it counts and ends like any other. Errors wait until the
 * rewind is done, which an error would make do nothing. */
#include "io/safetensors.h"

#include <string.h>

weir_named weir__st_array_at(void *user, int64_t i)
{
	return ((const weir__st_array *)user)->list[i];
}

void weir__st_report(weir_ctx *w, const char *who, const char *path, const weir__st_error *e)
{
	if (e->status) weir_fail(w, e->status, "%s: %s: %s", who, path, e->text);
}

bool weir__st_check_call(weir_ctx *w, const char *who, const char *path, int64_t n, const void *list)
{
	if (!weir_ok(w)) return false;
	if (path && n >= 0 && (list || n == 0)) return true;
	if (n < 0) weir_fail(w, WEIR_ERR_ARGUMENT, "%s: n is %lld; it must be 0 or more", who, (long long)n);
	else weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %s is NULL", who, path ? "the list" : "path");
	return false;
}

uint64_t weir__st_bytes(const weir_tensor *t)
{
	return (uint64_t)weir_numel(t) * weir_dtype_size(weir_dtype_of(t));
}

bool weir__st_no_memory(weir__st_error *e)
{
	return weir__st_fail(e, WEIR_ERR_MEMORY, "out of memory");
}

bool weir__st_check_name(json_t *names, const char *name, int64_t i, weir__st_error *e)
{
	weir__st_quoted quoted;
	json_t *text;
	size_t length = name ? strlen(name) : 0;

	if (!length) return weir__st_fail(e, WEIR_ERR_ARGUMENT, "tensor %lld of the list has no name", (long long)i);
	weir__st_quote(name, &quoted);
	if (length > WEIR__ST_NAME_MAX)
		return weir__st_fail(e, WEIR_ERR_LIMIT, "tensor %s has a name of %zu bytes; at most %d are allowed",
				     quoted.s, length, WEIR__ST_NAME_MAX);
	if (!strcmp(name, "__metadata__"))
		return weir__st_fail(e, WEIR_ERR_ARGUMENT, "a tensor can't have the name __metadata__");
	if (json_object_get(names, name))
		return weir__st_fail(e, WEIR_ERR_ARGUMENT, "two tensors of the list have the name %s", quoted.s);
	text = json_string(name);
	if (!text) return weir__st_fail(e, WEIR_ERR_ARGUMENT, "the name %s is not UTF-8", quoted.s);
	json_decref(text);
	return json_object_set_new(names, name, json_integer(i)) == 0 || weir__st_no_memory(e);
}

bool weir__st_check_tensor(weir_ctx *w, const weir_named *named, weir__st_error *e)
{
	weir__st_quoted quoted;

	weir__st_quote(named->name, &quoted);
	if (!named->tensor) return weir__st_fail(e, WEIR_ERR_ARGUMENT, "tensor %s of the list is NULL", quoted.s);
	if (weir_context(named->tensor) != w)
		return weir__st_fail(e, WEIR_ERR_CONTEXT, "tensor %s of the list belongs to another context", quoted.s);
	weir_data(named->tensor);
	return weir_ok(w);
}

/* ---- loading ---- */

/* Where the numbers of one tensor of the list come from and go to. */
struct target {
	weir_tensor *tensor;
	uint64_t begin; /* in the data of the file */
	uint64_t bytes;
	void *data; /* of the tensor, once it may be written */
};

static uint64_t begin_of(const json_t *tensor)
{
	return (uint64_t)json_integer_value(json_array_get(json_object_get(tensor, "data_offsets"), 0));
}

static bool check_fits(const weir_named *named, const json_t *tensor, weir__st_error *e)
{
	const weir_tensor *t = named->tensor;
	weir__st_info info = weir__st_info_of(tensor);
	weir__st_quoted name, theirs, ours;

	weir__st_quote(named->name, &name);
	if (weir_node(t).inputs || !weir_is_contiguous(t))
		return weir__st_fail(
			e, WEIR_ERR_ARGUMENT,
			"tensor %s of the list is %s; only parameters, kept tensors and leaves can be loaded", name.s,
			weir_node(t).inputs ? "the result of an operation" : "not contiguous");
	if (info.dtype != weir_dtype_of(t))
		return weir__st_fail(e, WEIR_ERR_DTYPE, "tensor %s is %s in the file, but %s here", name.s,
				     weir_dtype_name(info.dtype), weir_dtype_name(weir_dtype_of(t)));
	if (info.rank != weir_rank(t) ||
	    memcmp(info.shape, weir_shape(t), (size_t)info.rank * sizeof(*info.shape)) != 0)
		return weir__st_fail(e, WEIR_ERR_SHAPE, "tensor %s is %s in the file, but %s here", name.s,
				     weir__st_shape(info.rank, info.shape, &theirs),
				     weir__st_shape(weir_rank(t), weir_shape(t), &ours));
	return true;
}

/* The first tensor of the file that the list has not. */
static bool unknown(const weir__st_file *f, const json_t *names, int64_t n, weir__st_error *e)
{
	weir__st_quoted quoted;
	int64_t i = 0;

	while (i < f->count && json_object_get(names, f->entries[i].name)) i++;
	return i == f->count ||
	       weir__st_fail(e, WEIR_ERR_FORMAT,
			     "tensor %s of the file is none of the %lld in the list; to pass over such "
			     "tensors use WEIR_LOAD_EXTRAS",
			     weir__st_quote(f->entries[i].name, &quoted), (long long)n);
}

/* Finds each tensor of the list in the file; fills targets and the sum of their bytes. */
static bool match(const weir__st_file *f, weir_ctx *w, int64_t n, weir_named_at *at, void *user, unsigned flags,
		  json_t *names, struct target *targets, uint64_t *sum, weir__st_error *e)
{
	weir__st_quoted quoted;

	for (int64_t i = 0; i < n; i++) {
		weir_named named = at(user, i);
		const json_t *tensor;

		if (!weir__st_check_name(names, named.name, i, e) || !weir__st_check_tensor(w, &named, e)) return false;
		tensor = json_object_get(f->root, named.name);
		if (!tensor && (flags & WEIR_LOAD_SOME)) continue; /* its target stays empty */
		if (!tensor)
			return weir__st_fail(
				e, WEIR_ERR_FORMAT,
				"tensor %s of the list is not in the file; to leave such tensors as they are use "
				"WEIR_LOAD_SOME",
				weir__st_quote(named.name, &quoted));
		if (!check_fits(&named, tensor, e)) return false;
		targets[i] = (struct target){ .tensor = named.tensor,
					      .begin = begin_of(tensor),
					      .bytes = weir__st_bytes(named.tensor) };
		*sum += targets[i].bytes;
	}
	return (flags & WEIR_LOAD_EXTRAS) || unknown(f, names, n, e);
}

/* Everything is read before anything is written. */
static bool fill(const weir__st_file *f, weir_ctx *w, struct target *targets, int64_t n, uint64_t sum,
		 weir__st_error *e)
{
	char *data = weir__st_memory(w, sum), *from = data;

	if (!data) return false;
	for (int64_t i = 0; i < n; i++) {
		struct target *t = &targets[i];

		if (!t->bytes) continue;
		if (!weir__st_read(f, f->data + t->begin, from, t->bytes, e)) return false;
		weir__st_swap(from, t->bytes, weir_dtype_size(weir_dtype_of(t->tensor)));
		from += t->bytes;
	}
	for (int64_t i = 0; i < n; i++) {
		if (targets[i].bytes && !(targets[i].data = weir_data_mut(targets[i].tensor, "weir_safetensors_load")))
			return false;
	}
	for (int64_t i = 0; i < n; data += targets[i++].bytes) {
		if (targets[i].bytes) memcpy(targets[i].data, data, targets[i].bytes);
	}
	return true;
}

static bool load(weir_ctx *w, const char *path, int64_t n, weir_named_at *at, void *user, unsigned flags,
		 weir__st_error *e)
{
	json_t *names = json_object();
	struct target *targets;
	weir__st_file f;
	uint64_t sum = 0;
	bool ok;

	if (!names) weir__st_no_memory(e);
	ok = weir__st_open(&f, w, path, e) && names && (targets = weir__st_memory(w, (uint64_t)n * sizeof(*targets))) &&
	     match(&f, w, n, at, user, flags, names, targets, &sum, e) && fill(&f, w, targets, n, sum, e);
	weir__st_close(&f);
	json_decref(names);
	return ok;
}

bool weir_safetensors_load_each(weir_ctx *w, const char *path, int64_t n, weir_named_at *at, void *user, unsigned flags)
{
	const char *who = "weir_safetensors_load";
	weir__st_error e = { .status = WEIR_OK };
	weir_place mark;
	bool ok;

	if (!weir__st_check_call(w, who, path, n, at ? path : NULL)) return false;
	mark = weir_mark(w);
	ok = load(w, path, n, at, user, flags, &e);
	weir_rewind(w, mark, NULL, 0);
	weir__st_report(w, who, path, &e);
	return ok;
}

bool weir_safetensors_load(weir_ctx *w, const char *path, const weir_named *list, int64_t n, unsigned flags)
{
	weir__st_array array = { list, n };

	if (!weir__st_check_call(w, "weir_safetensors_load", path, n, list)) return false;
	return weir_safetensors_load_each(w, path, n, weir__st_array_at, &array, flags);
}

/* ---- one tensor ---- */

static weir_tensor *read_one(weir_ctx *w, const char *path, const char *name, weir__st_error *e)
{
	weir_tensor *t = NULL;
	weir__st_quoted quoted;
	weir__st_file f;
	const json_t *tensor = NULL;

	if (weir__st_open(&f, w, path, e)) {
		tensor = strcmp(name, "__metadata__") ? json_object_get(f.root, name) : NULL;
		if (!tensor)
			weir__st_fail(e, WEIR_ERR_FORMAT, "tensor %s is not in the file",
				      weir__st_quote(name, &quoted));
	}
	if (tensor) {
		weir__st_info info = weir__st_info_of(tensor);
		void *data;

		t = weir_zeros(w, info.dtype, info.rank, info.shape);
		data = weir_data_mut(t, NULL);
		if (weir__st_bytes(t) &&
		    (!data || !weir__st_read(&f, f.data + begin_of(tensor), data, weir__st_bytes(t), e)))
			t = NULL;
		else weir__st_swap(data, weir__st_bytes(t), weir_dtype_size(info.dtype));
	}
	weir__st_close(&f);
	return t;
}

weir_tensor *weir_safetensors_read(weir_ctx *w, const char *path, const char *name)
{
	const char *who = "weir_safetensors_read";
	weir__st_error e = { .status = WEIR_OK };
	weir_tensor *t;
	weir_place mark;

	if (!weir_ok(w))
		return weir_fail(w, WEIR_ERR_ARGUMENT, "%s: w is NULL",
				 who); /* the bad tensor; the first error stays */
	if (!path || !name) return weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %s is NULL", who, path ? "name" : "path");
	mark = weir_mark(w);
	t = read_one(w, path, name, &e);
	weir_rewind(w, mark, &t, 1);
	if (e.status) return weir_fail(w, e.status, "%s: %s: %s", who, path, e.text);
	return t && weir_ok(w) ? weir_set_name(t, name) : weir_fail(w, WEIR_ERR_INTERNAL, "%s: %s", who, path);
}
