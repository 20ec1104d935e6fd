/* test_safetensors.c: saving and loading weights; malformed files by name, every truncation, every changed byte.
 * Long for its table of malformed headers, named as the list of cases names them. */
#include <weir/nn.h>
#include <weir/safetensors.h>

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char path[] = "model.safetensors";
static weir_ctx *w;
static char message[1200];

static void on_error(weir_ctx *ctx, weir_status status, const char *text, void *user)
{
	(void)ctx, (void)status, (void)user;
	snprintf(message, sizeof(message), "%s", text);
}

static int setup(void **unused)
{
	weir_options o;

	(void)unused;
	weir_options_init(&o);
	o.handler = on_error;
	o.threads = 1;
	w = weir_open(&o);
	message[0] = '\0';
	return weir_ok(w) ? 0 : -1;
}

static int teardown(void **unused)
{
	(void)unused;
	weir_close(w);
	unlink(path);
	return 0;
}

static void expect_ok(void)
{
	if (!weir_ok(w)) fail_msg("%s", weir_error_text(w));
}

static void expect_error(const char *name, weir_status status, const char *text)
{
	if (weir_error(w) != status || !strstr(message, text))
		fail_msg("%s:\n  got  %s: %s\n  want %s: ...%s...", name, weir_status_name(weir_error(w)), message,
			 weir_status_name(status), text);
	weir_clear_error(w);
	message[0] = '\0';
}

static void put(const void *data, size_t n)
{
	FILE *f;

	unlink(path); /* a file that is cut and written anew makes some file systems wait for the disk */
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static char *slurp(size_t *n)
{
	FILE *f = fopen(path, "r");
	char *data = malloc(1 << 20);

	assert_non_null(f);
	assert_non_null(data);
	*n = fread(data, 1, 1 << 20, f);
	fclose(f);
	return data;
}

static void expect_begins(const char *data, const char *want)
{
	if (memcmp(data, want, strlen(want)) != 0) fail_msg("got %.100s, want %s", data, want);
}

/* A file of this header and that many bytes of data, 1, 2, 3, ... */
static void put_header(const char *header, size_t length, size_t bytes)
{
	unsigned char *file = calloc(1, 8 + length + bytes + 1);

	assert_non_null(file);
	for (int i = 0; i < 8; i++) file[i] = (unsigned char)((uint64_t)length >> (8 * i));
	memcpy(file + 8, header, length);
	for (size_t i = 0; i < bytes; i++) file[8 + length + i] = (unsigned char)(i + 1);
	put(file, 8 + length + bytes);
	free(file);
}

static weir_tensor *leaf(weir_dtype dtype, int rank, const int64_t *shape, const void *data)
{
	weir_tensor *t = weir_keep(weir_from(w, dtype, rank, shape, data));

	expect_ok();
	return t;
}

/* ---- round trips ---- */

static const int64_t vector4[] = { 4 }, matrix23[] = { 2, 3 }, empty3[] = { 0, 3 };
static const uint32_t f32_bits[] = { 0x7fc00001, 0x00000001, 0x80000000, 0x7f7fffff };
static const uint64_t f64_bits[] = { 0x7ff0000000000001, 1, 0x8000000000000000, 0xffefffffffffffff,
				     0x3ff0000000000000, 0 };
static const int64_t i64_values[] = { INT64_MIN, 9007199254740993, -1, 0 };
static const int32_t i32_values[] = { INT32_MIN, -1, 7, INT32_MAX };
static const uint8_t u8_values[] = { 0, 1, 128, 255 };

static int make_list(weir_named list[8])
{
	const float pi = 3.14159274f;
	int n = 0;

	list[n++] = (weir_named){ "b.f32", leaf(WEIR_F32, 1, vector4, f32_bits) };
	list[n++] = (weir_named){ "a.f64", leaf(WEIR_F64, 2, matrix23, f64_bits) };
	list[n++] = (weir_named){ "i64", leaf(WEIR_I64, 1, vector4, i64_values) };
	list[n++] = (weir_named){ "i32", leaf(WEIR_I32, 1, vector4, i32_values) };
	list[n++] = (weir_named){ "u8", leaf(WEIR_U8, 1, vector4, u8_values) };
	list[n++] = (weir_named){ "scalar", leaf(WEIR_F32, 0, NULL, &pi) };
	list[n++] = (weir_named){ "empty", leaf(WEIR_F32, 2, empty3, NULL) };
	list[n++] = (weir_named){ "odd \"name\"\\\n\t\xc3\xa4\xf0\x9f\x98\x80", leaf(WEIR_F64, 0, NULL, f64_bits) };
	return n;
}

static size_t bytes_of(const weir_tensor *t)
{
	return (size_t)weir_numel(t) * weir_dtype_size(weir_dtype_of(t));
}

/* Fills with ones and zeros by turns, so that loading is seen to change everything. */
static void blank(weir_named *list, int n)
{
	for (int i = 0; i < n; i++) memset(weir_data_mut(list[i].tensor, "test"), 0x5a, bytes_of(list[i].tensor));
}

static void test_round_trip(void **unused)
{
	weir_named list[8], back[8];
	int n = make_list(list), m = make_list(back);
	int64_t length = weir_tape_length(w);
	size_t size, again;
	char *first, *second;

	(void)unused;
	assert_true(weir_safetensors_save(w, path, list, n, NULL));
	blank(back, m);
	assert_true(weir_safetensors_load(w, path, back, m, 0));
	for (int i = 0; i < n; i++)
		assert_memory_equal(weir_data(list[i].tensor), weir_data(back[i].tensor), bytes_of(list[i].tensor));
	assert_int_equal(weir_tape_length(w), length);
	first = slurp(&size);
	assert_int_equal((8 + (unsigned char)first[0] + 256 * (unsigned char)first[1]) % 8,
			 0); /* the data is aligned */
	expect_begins(first + 8, "{\"i64\":{\"dtype\":\"I64\",\"shape\":[4],\"data_offsets\":[0,32]},\"a.f64\":{");
	for (int i = 0; i < n / 2; i++) { /* the order of the list does not matter */
		weir_named t = back[i];

		back[i] = back[n - 1 - i];
		back[n - 1 - i] = t;
	}
	assert_true(weir_safetensors_save(w, path, back, n, NULL));
	second = slurp(&again);
	assert_int_equal(size, again);
	assert_memory_equal(first, second, size);
	free(first);
	free(second);
	expect_ok();
}

static void test_metadata_and_no_tensors(void **unused)
{
	const char *metadata[] = { "format", "pt", "note", "\xc3\xa4<\"", NULL }, *odd[] = { "key", NULL },
		   *bad[] = { "key", "\xff", NULL };
	size_t n;
	char *file;

	(void)unused;
	assert_true(weir_safetensors_save(w, path, NULL, 0, metadata));
	file = slurp(&n);
	expect_begins(file + 8, "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"\xc3\xa4<\\\"\"}}");
	free(file);
	assert_true(weir_safetensors_load(w, path, NULL, 0, 0));
	assert_true(weir_safetensors_save(w, path, NULL, 0, NULL));
	file = slurp(&n);
	assert_int_equal(n, 16);
	assert_memory_equal(file, "\x08\0\0\0\0\0\0\0{}      ", 16);
	free(file);
	assert_false(weir_safetensors_save(w, path, NULL, 0, odd));
	expect_error("odd", WEIR_ERR_ARGUMENT, "metadata must be pairs");
	assert_false(weir_safetensors_save(w, path, NULL, 0, bad));
	expect_error("bad", WEIR_ERR_ARGUMENT, "metadata must be pairs");
}

static void test_strided(void **unused)
{
	weir_tensor *t = leaf(WEIR_F64, 2, matrix23, f64_bits), *out;
	const int64_t turned[] = { 3, 2 };
	weir_named list[1] = { { "t", weir_transpose(t, 0, 1) } };
	double sum = 0;

	(void)unused;
	expect_ok();
	assert_true(weir_safetensors_save(w, path, list, 1, NULL));
	out = weir_safetensors_read(w, path, "t");
	expect_ok();
	assert_int_equal(weir_extent(out, 0), turned[0]);
	for (int64_t i = 0; i < 6; i++) {
		double a = weir_get(out, i), b = weir_get(list[0].tensor, i);

		assert_memory_equal(&a, &b, 8);
		sum += a == a ? a : 0;
	}
	assert_true(sum != 0);
	assert_string_equal(weir_name(out), "t");
	assert_false(weir_safetensors_load(w, path, list, 1, 0));
	expect_error("view", WEIR_ERR_ARGUMENT,
		     "is the result of an operation; only parameters, kept tensors and leaves can be loaded");
}

/* What another program wrote: spaces, any order of keys and of ranges, escapes in names. */
static void test_foreign_file(void **unused)
{
	static const char header[] =
		"{ \"\\u0062\" : {\"shape\": [2], \"data_offsets\":[4, 8],\"dtype\":\"U8\" }, \"__metadata__\":{\"a\":\"b\"},"
		"\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]},"
		"\"a\":{\"dtype\":\"U8\",\"shape\":[1,4,1],\"data_offsets\":[0,4]} }   ";
	static const char fixed[] =
		"{ \"\\u0062\" : {\"shape\": [2, 2], \"data_offsets\":[4, 8],\"dtype\":\"U8\" }, \"__metadata__\":{\"a\":\"b\"},"
		"\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]},"
		"\"a\":{\"dtype\":\"U8\",\"shape\":[1,4,1],\"data_offsets\":[0,4]} }   ";
	const uint8_t want[] = { 5, 6, 7, 8 };

	(void)unused;
	put_header(header, sizeof(header) - 1, 8);
	assert_true(weir_is_bad(weir_safetensors_read(w, path, "a")));
	expect_error("foreign", WEIR_ERR_FORMAT, "tensor \"b\" has 4 bytes of data, but its shape and dtype need 2");
	put_header(fixed, sizeof(fixed) - 1, 8);
	assert_memory_equal(weir_data(weir_safetensors_read(w, path, "b")), want, 4);
	assert_int_equal(weir_rank(weir_safetensors_read(w, path, "a")), 3);
	assert_int_equal(weir_numel(weir_safetensors_read(w, path, "e")), 0);
	expect_ok();
	assert_true(weir_is_bad(weir_safetensors_read(w, path, "c")));
	expect_error("c", WEIR_ERR_FORMAT, "weir_safetensors_read: model.safetensors: tensor \"c\" is not in the file");
	assert_true(weir_is_bad(weir_safetensors_read(w, path, "__metadata__")));
	expect_error("metadata", WEIR_ERR_FORMAT, "is not in the file");
}

static void test_module(void **unused)
{
	weir_module *a = weir_sequential_new(w, "mlp"), *b = weir_sequential_new(w, "other");
	size_t n;
	char *file;

	(void)unused;
	for (int i = 0; i < 2; i++) {
		weir_module_add(i ? b : a, NULL, weir_linear_new(w, 3, 2, WEIR_INIT_HE));
		weir_module_add(i ? b : a, "out", weir_linear_new(w, 2, 2, WEIR_INIT_HE));
	}
	expect_ok();
	assert_true(weir_module_save(a, path));
	file = slurp(&n);
	expect_begins(file + 8, "{\"0.bias\":{"); /* without the name of the root */
	free(file);
	assert_memory_not_equal(weir_data(weir_module_parameter(a, 0)), weir_data(weir_module_parameter(b, 0)), 24);
	assert_true(weir_module_load(b, path));
	assert_int_equal(weir_module_parameter_count(a), 4);
	for (int64_t i = 0; i < 4; i++) {
		const weir_tensor *p = weir_module_parameter(a, i), *q = weir_module_parameter(b, i);

		assert_memory_equal(weir_data(p), weir_data(q), bytes_of(p));
	}
	weir_module_add(b, "more", weir_linear_new(w, 2, 2, WEIR_INIT_HE));
	assert_false(weir_module_load(b, path));
	expect_error("more", WEIR_ERR_FORMAT, "tensor \"more.weight\" of the list is not in the file");
}

/* ---- list against file ---- */

static void test_mismatches(void **unused)
{
	const float ones[] = { 1, 1, 1, 1, 1, 1 };
	weir_tensor *a = leaf(WEIR_F32, 1, vector4, ones), *b = leaf(WEIR_F32, 2, matrix23, ones),
		    *d = leaf(WEIR_F64, 1, vector4, f64_bits);
	weir_tensor *i32 = leaf(WEIR_I32, 1, vector4, ones), *wide = leaf(WEIR_F32, 1, (const int64_t[]){ 6 }, ones);
	weir_named saved[] = { { "a", a }, { "b", b } }, list[3];
	float before[4];

	(void)unused;
	assert_true(weir_safetensors_save(w, path, saved, 2, NULL));
	assert_true(weir_write(a, f32_bits, sizeof(f32_bits)));
	memcpy(before, f32_bits, sizeof(before));
	list[0] = saved[0];

	list[1] = (weir_named){ "c", b };
	assert_false(weir_safetensors_load(w, path, list, 2, 0));
	expect_error("missing", WEIR_ERR_FORMAT,
		     "weir_safetensors_load: model.safetensors: tensor \"c\" of the list is not in the file");
	assert_false(weir_safetensors_load(w, path, list, 1, 0));
	expect_error("unknown", WEIR_ERR_FORMAT, "tensor \"b\" of the file is none of the 1 in the list");
	list[1] = (weir_named){ "b", d };
	assert_false(weir_safetensors_load(w, path, list, 2, 0));
	expect_error("dtype", WEIR_ERR_DTYPE, "tensor \"b\" is f32 in the file, but f64 here");
	list[1].tensor = i32; /* as wide as f32 */
	assert_false(weir_safetensors_load(w, path, list, 2, 0));
	expect_error("dtype", WEIR_ERR_DTYPE, "tensor \"b\" is f32 in the file, but i32 here");
	list[1].tensor = wide; /* as many numbers */
	assert_false(weir_safetensors_load(w, path, list, 2, 0));
	expect_error("shape", WEIR_ERR_SHAPE, "tensor \"b\" is [2, 3] in the file, but [6] here");
	list[1] = (weir_named){ "a", b };
	assert_false(weir_safetensors_load(w, path, list, 2, 0));
	expect_error("twice", WEIR_ERR_ARGUMENT, "two tensors of the list have the name \"a\"");
	list[1] = (weir_named){ "b", NULL };
	assert_false(weir_safetensors_load(w, path, list, 2, 0));
	expect_error("NULL", WEIR_ERR_ARGUMENT, "tensor \"b\" of the list is NULL");
	list[1] = (weir_named){ NULL, b };
	assert_false(weir_safetensors_load(w, path, list, 2, 0));
	expect_error("no name", WEIR_ERR_ARGUMENT, "tensor 1 of the list has no name");
	assert_memory_equal(weir_data(a), before, sizeof(before)); /* nothing was changed by any of them */

	list[1] = (weir_named){ "c", b };
	memset(weir_data_mut(b, "test"), 0, 24);
	assert_true(weir_safetensors_load(w, path, list, 2, WEIR_LOAD_SOME | WEIR_LOAD_EXTRAS));
	assert_memory_equal(weir_data(a), ones, sizeof(before));
	assert_true(weir_get(b, 0) == 0);
	assert_true(weir_safetensors_load(w, path, list, 1, WEIR_LOAD_EXTRAS));
	expect_ok();
}

static void test_calls(void **unused)
{
	static char huge[65537];
	weir_tensor *a = leaf(WEIR_F32, 1, vector4, f32_bits);
	weir_named list[] = { { "a", a }, { "b", a } };
	weir_ctx *other;
	weir_options o;

	(void)unused;
	assert_false(weir_safetensors_save(w, NULL, list, 1, NULL));
	expect_error("path", WEIR_ERR_ARGUMENT, "weir_safetensors_save: path is NULL");
	assert_false(weir_safetensors_load(w, path, NULL, 1, 0));
	expect_error("list", WEIR_ERR_ARGUMENT, "weir_safetensors_load: the list is NULL");
	assert_false(weir_safetensors_load_each(w, path, 1, NULL, NULL, 0));
	expect_error("list", WEIR_ERR_ARGUMENT, "weir_safetensors_load: the list is NULL");
	assert_false(weir_safetensors_save(w, path, list, -1, NULL));
	expect_error("n", WEIR_ERR_ARGUMENT, "n is -1");
	assert_true(weir_is_bad(weir_safetensors_read(w, path, NULL)));
	expect_error("name", WEIR_ERR_ARGUMENT, "weir_safetensors_read: name is NULL");
	list[1].name = "";
	assert_false(weir_safetensors_save(w, path, list, 2, NULL));
	expect_error("S37", WEIR_ERR_ARGUMENT, "tensor 1 of the list has no name");
	list[1].name = "__metadata__";
	assert_false(weir_safetensors_save(w, path, list, 2, NULL));
	expect_error("reserved", WEIR_ERR_ARGUMENT, "a tensor can't have the name __metadata__");
	list[1].name = "x\xed\xa0\x80";
	assert_false(weir_safetensors_save(w, path, list, 2, NULL));
	expect_error("S38", WEIR_ERR_ARGUMENT, "is not UTF-8");
	memset(huge, 'n', 65536);
	list[1].name = huge;
	assert_false(weir_safetensors_save(w, path, list, 2, NULL));
	expect_error("S37", WEIR_ERR_LIMIT, "has a name of 65536 bytes; at most 65535 are allowed");
	huge[65535] = '\0'; /* the other side of the limit */
	assert_true(weir_safetensors_save(w, path, list, 2, NULL));
	assert_true(weir_safetensors_load(w, path, list, 2, 0));
	list[1] = (weir_named){ "b", weir_fail(w, WEIR_ERR_ARGUMENT, "earlier") };
	weir_clear_error(w);
	assert_false(weir_safetensors_save(w, path, list, 2, NULL));
	expect_error("bad", WEIR_ERR_ARGUMENT, "bad tensor");
	weir_options_init(&o);
	o.handler = on_error;
	other = weir_open(&o);
	assert_false(weir_safetensors_save(other, path, list, 1, NULL));
	assert_int_equal(weir_error(other), WEIR_ERR_CONTEXT);
	weir_close(other);
	assert_false(weir_safetensors_save(w, "missing/file", list, 1, NULL));
	expect_error("folder", WEIR_ERR_IO, "missing/file: opening the folder: No such file");
	assert_false(weir_safetensors_save(NULL, path, list, 1, NULL));
	assert_true(weir_is_bad(weir_safetensors_read(NULL, path, "a")));
	if (access("/dev/full", F_OK) == 0) {
		assert_false(weir_safetensors_save(w, "/dev/full", list, 1, NULL));
		expect_error("full", WEIR_ERR_IO, "/dev/full: writing: No space left on device");
	}
}

/* A save that fails leaves the old file. */
static void test_failed_save(void **unused)
{
	weir_tensor *a = leaf(WEIR_F32, 1, vector4, f32_bits);
	weir_named list[] = { { "a", a }, { "a", a } };
	size_t n;
	char *file;

	(void)unused;
	put("old", 3);
	assert_false(weir_safetensors_save(w, path, list, 2, NULL));
	expect_error("twice", WEIR_ERR_ARGUMENT,
		     "weir_safetensors_save: model.safetensors: two tensors of the list have the name \"a\"");
	file = slurp(&n);
	assert_int_equal(n, 3);
	free(file);
}

/* ---- malformed files ---- */

#define CASE(name, header, bytes, status, want)                                  \
	{                                                                        \
		name, header, sizeof(header) - 1, bytes, WEIR_ERR_##status, want \
	}
#define T(dtype, shape, offsets) "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static const struct {
	const char *name, *header;
	size_t length, bytes;
	weir_status status;
	const char *want;
} headers[] = {
	CASE("S6 no header", "", 0, FORMAT, "byte 0: the header is empty"),
	CASE("S7", "\xff", 0, FORMAT, "byte 8: the header begins with byte 0xff; it must begin with {"),
	CASE("S8", "{", 0, FORMAT, "byte 9: the header is no valid JSON"),
	CASE("S9 space first", "\t\n{}\r ", 0, FORMAT, "byte 8: the header begins with byte 0x09"),
	CASE("S10 byte order mark", "\xef\xbb\xbf{}", 0, FORMAT, "byte 8: the header begins with byte 0xef"),
	CASE("S11 zeros as padding", "{}\0\0\0\0\0\0", 0, FORMAT, "the header is no valid JSON"),
	CASE("S12 two documents", "{}{}", 0, FORMAT, "the header is no valid JSON"),
	CASE("S12 more behind", "{}x", 0, FORMAT, "the header is no valid JSON"),
	CASE("S13 array", "[]", 0, FORMAT, "the header begins with byte 0x5b; it must begin with {"),
	CASE("S13 null", "null", 0, FORMAT, "it must begin with {"),
	CASE("S13 number", "1", 0, FORMAT, "it must begin with {"),
	CASE("S14 name twice",
	     "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"U8\",\"shape\":[4],"
	     "\"data_offsets\":[0,4]}}",
	     4, FORMAT, "duplicate object key"),
	CASE("S14 name twice, empty",
	     "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"\\u0061\":{\"dtype\":\"U8\","
	     "\"shape\":[0],\"data_offsets\":[0,0]}}",
	     0, FORMAT, "duplicate object key"),
	CASE("S15", "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, FORMAT,
	     "duplicate object key"),
	CASE("S17 no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,4]}}", 4, FORMAT,
	     "byte 9: tensor \"a\" has no shape"),
	CASE("S17 no dtype", "{\"a\":{\"shape\":[4],\"data_offsets\":[0,4]}}", 4, FORMAT,
	     "byte 9: tensor \"a\" has no dtype"),
	CASE("S17 no offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[4]}}", 4, FORMAT,
	     "byte 9: tensor \"a\" has no data_offsets"),
	CASE("S18 unknown key", "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4],\"x\":1}}", 4, FORMAT,
	     "tensor \"a\" has an unknown key \"x\""),
	CASE("entry is no object", "{\"a\":[1]}", 0, FORMAT, "tensor \"a\" is no object"),
	CASE("S19 unknown dtype", T("\"F31\"", "[1]", "[0,4]"), 4, DTYPE,
	     "tensor \"a\" has dtype \"F31\", which is unknown"),
	CASE("S19 lower case", T("\"f32\"", "[1]", "[0,4]"), 4, DTYPE,
	     "has dtype \"f32\", which is unknown; supported are F32"),
	CASE("S19 empty", T("\"\"", "[1]", "[0,4]"), 4, DTYPE, "has dtype \"\", which is unknown"),
	CASE("S19 number", T("3", "[1]", "[0,4]"), 4, FORMAT, "has a dtype that is no string"),
	CASE("S19 null", T("null", "[1]", "[0,4]"), 4, FORMAT, "has a dtype that is no string"),
	CASE("S20 {}", T("\"U8\"", "{}", "[0,4]"), 4, FORMAT, "has a shape that is no array"),
	CASE("S20 \"2\"", T("\"U8\"", "\"2\"", "[0,4]"), 4, FORMAT, "has a shape that is no array"),
	CASE("S20 [-1]", T("\"U8\"", "[-1]", "[0,4]"), 4, FORMAT, "byte 36: a minus in the header"),
	CASE("S20 [1.0]", T("\"U8\"", "[1.0]", "[0,4]"), 4, FORMAT,
	     "has extent 0 of its shape that is no whole number"),
	CASE("S20 [1e2]", T("\"U8\"", "[4,1e2]", "[0,4]"), 4, FORMAT,
	     "has extent 1 of its shape that is no whole number"),
	CASE("S20 [\"2\"]", T("\"U8\"", "[\"2\"]", "[0,4]"), 4, FORMAT, "that is no whole number"),
	CASE("S20 [true]", T("\"U8\"", "[true]", "[0,4]"), 4, FORMAT, "that is no whole number"),
	CASE("S20 [null]", T("\"U8\"", "[null]", "[0,4]"), 4, FORMAT, "that is no whole number"),
	CASE("S21 rank 9", T("\"U8\"", "[1,1,1,1,1,1,1,1,4]", "[0,4]"), 4, LIMIT,
	     "has rank 9; at most 8 axes are allowed"),
	CASE("S22", T("\"U8\"", "[2,18446744073709551614]", "[0,4]"), 4, FORMAT, "too big"),
	CASE("S23", T("\"I32\"", "[2,9223372036854775807]", "[0,4]"), 4, FORMAT,
	     "has a shape of too many bytes: the product overflows"),
	CASE("S23 to zero", T("\"U8\"", "[4294967296,4294967296]", "[0,0]"), 0, FORMAT, "the product overflows"),
	CASE("S23 behind an empty axis", T("\"U8\"", "[0,9223372036854775807,4]", "[0,0]"), 0, FORMAT,
	     "the product overflows"),
	CASE("S25", T("\"U8\"", "[18446744073709551616]", "[0,4]"), 4, FORMAT, "too big"),
	CASE("S26 one", T("\"U8\"", "[4]", "[0]"), 4, FORMAT, "has data_offsets that are not two whole numbers"),
	CASE("S26 three", T("\"U8\"", "[4]", "[0,4,8]"), 4, FORMAT, "has data_offsets that are not two whole numbers"),
	CASE("S26 backwards", T("\"U8\"", "[4]", "[4,0]"), 4, FORMAT, "begins at 4 and ends at 0, before it begins"),
	CASE("S26 negative", T("\"U8\"", "[4]", "[-1,3]"), 4, FORMAT, "a minus in the header"),
	CASE("S26 real", T("\"U8\"", "[4]", "[0.0,4]"), 4, FORMAT, "has data_offsets that are not two whole numbers"),
	CASE("S26 no array", T("\"U8\"", "[4]", "4"), 4, FORMAT, "has data_offsets that are not two whole numbers"),
	CASE("S27", T("\"U8\"", "[4]", "[1,5]"), 5, FORMAT,
	     "tensor \"a\" begins at 1, but the data before it ends at 0; there must be no gap"),
	CASE("gap",
	     "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],"
	     "\"data_offsets\":[5,9]}}",
	     9, FORMAT, "byte 61: tensor \"b\" begins at 5, but the data before it ends at 4"),
	CASE("S29",
	     "{\"a\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]},\"b\":{\"dtype\":\"U8\",\"shape\":[16],"
	     "\"data_offsets\":[8,24]}}",
	     24, FORMAT, "tensor \"b\" begins at 8, inside of another that ends at 16; tensors must not overlap"),
	CASE("S31", T("\"U8\"", "[8]", "[0,8]"), 4, FORMAT,
	     "byte 9: tensor \"a\" ends at 8 but the data has 4 bytes; the file is truncated"),
	CASE("S31 far", T("\"U8\"", "[9223372036854775807]", "[0,9223372036854775807]"), 4, FORMAT,
	     "the file is truncated"),
	CASE("S32 one short", T("\"F32\"", "[2]", "[0,8]"), 7, FORMAT,
	     "ends at 8 but the data has 7 bytes; the file is truncated"),
	CASE("S32 two short", T("\"F32\"", "[2]", "[0,8]"), 6, FORMAT,
	     "ends at 8 but the data has 6 bytes; the file is truncated"),
	CASE("S33", T("\"F32\"", "[2]", "[0,8]"), 9, FORMAT, "1 bytes follow the last tensor; the file must end there"),
	CASE("S33 no tensors", "{}", 3, FORMAT, "byte 10: 3 bytes follow the last tensor"),
	CASE("S34", T("\"F32\"", "[2]", "[0,7]"), 7, FORMAT, "has 7 bytes of data, but its shape and dtype need 8"),
	CASE("S34 empty", T("\"F32\"", "[0]", "[0,4]"), 4, FORMAT,
	     "has 4 bytes of data, but its shape and dtype need 0"),
	CASE("S35", T("\"F4\"", "[3]", "[0,2]"), 2, DTYPE, "has dtype \"F4\", which this version does not read"),
	CASE("S36 array", "{\"__metadata__\":[]}", 0, FORMAT, "byte 9: __metadata__ is no object"),
	CASE("S36 number", "{\"__metadata__\":{\"k\":1}}", 0, FORMAT, "__metadata__: the value of \"k\" is no string"),
	CASE("S36 null", "{\"__metadata__\":{\"k\":null}}", 0, FORMAT, "__metadata__: the value of \"k\" is no string"),
	CASE("S36 object", "{\"__metadata__\":{\"k\":{}}}", 0, FORMAT, "__metadata__: the value of \"k\" is no string"),
	CASE("S37 empty name", "{\"\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, FORMAT,
	     "has an empty name"),
	CASE("S37 NUL", "{\"a\\u0000\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, FORMAT,
	     "NUL byte in object key"),
	CASE("S38 overlong", "{\"\xc0\x80\":{}}", 0, FORMAT, "UTF-8"),
	CASE("S38 surrogate", "{\"\xed\xa0\x80\":{}}", 0, FORMAT, "UTF-8"),
	CASE("S38 above", "{\"\xf5\x80\x80\x80\":{}}", 0, FORMAT, "UTF-8"),
	CASE("S38 lone escape", "{\"\\ud800\":{}}", 0, FORMAT, "Unicode"),
	CASE("S39 depth", "{\"a\":{\"dtype\":\"U8\",\"shape\":[[[[[[[[[[[[]]]]]]]]]]]],\"data_offsets\":[0,0]}}", 0,
	     LIMIT, "byte 36: the header is nested deeper than 3"),
	CASE("S40 01", T("\"U8\"", "[04]", "[0,4]"), 4, FORMAT, "the header is no valid JSON"),
	CASE("S40 +1", T("\"U8\"", "[+4]", "[0,4]"), 4, FORMAT, "the header is no valid JSON"),
	CASE("S40 1.", T("\"U8\"", "[4.]", "[0,4]"), 4, FORMAT, "the header is no valid JSON"),
	CASE("S40 .5", T("\"U8\"", "[.4]", "[0,4]"), 4, FORMAT, "the header is no valid JSON"),
	CASE("S40 0x10", T("\"U8\"", "[0x4]", "[0,4]"), 4, FORMAT, "the header is no valid JSON"),
	CASE("S40 NaN", T("\"U8\"", "[NaN]", "[0,4]"), 4, FORMAT, "the header is no valid JSON"),
	CASE("S40 -0", T("\"U8\"", "[4]", "[-0,4]"), 4, FORMAT, "a minus in the header"),
	CASE("S46 BF16", T("\"BF16\"", "[2]", "[0,4]"), 4, DTYPE,
	     "has dtype \"BF16\", which this version does not read; supported are"),
	CASE("S46 F8", T("\"F8_E4M3\"", "[4]", "[0,4]"), 4, DTYPE,
	     "has dtype \"F8_E4M3\", which this version does not read"),
	CASE("comma at the end", "{\"a\":1,}", 0, FORMAT, "the header is no valid JSON"),
	CASE("comment", "{/**/}", 0, FORMAT, "the header is no valid JSON"),
	CASE("unclosed text", "{\"a", 0, FORMAT, "the header is no valid JSON"),
	CASE("unclosed escape", "{\"\\u12", 0, FORMAT, "the header is no valid JSON"),
	CASE("escape at the end", "{\"\\", 0, FORMAT, "the header is no valid JSON"),
};

static void test_malformed_headers(void **unused)
{
	weir_tensor *a = leaf(WEIR_U8, 1, vector4, u8_values);
	weir_named list[] = { { "a", a } };

	(void)unused;
	for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++) {
		int64_t length = weir_tape_length(w);

		put_header(headers[i].header, headers[i].length, headers[i].bytes);
		assert_false(weir_safetensors_load(w, path, list, 1, WEIR_LOAD_SOME | WEIR_LOAD_EXTRAS));
		expect_error(headers[i].name, headers[i].status, headers[i].want);
		assert_int_equal(weir_tape_length(w), length); /* nothing is left behind */
		assert_memory_equal(weir_data(a), u8_values, 4);
	}
	put_header(T("\"U8\"", "[4]", "[0,4]"), sizeof(T("\"U8\"", "[4]", "[0,4]")) - 1,
		   4); /* and the right one is read */
	assert_true(weir_safetensors_load(w, path, list, 1, 0));
	assert_true(weir_get(a, 3) == 4);
}

static void test_malformed_files(void **unused)
{
	static const struct {
		const char *name, *file;
		size_t n;
		weir_status status;
		const char *want;
	} cases[] = {
		{ "S1", "", 0, WEIR_ERR_FORMAT, "byte 0: the file has 0 bytes" },
		{ "S2", "\0\0\0\0\0\0\0", 7, WEIR_ERR_FORMAT, "byte 7: the file has 7 bytes; it begins with 8 bytes" },
		{ "S3", "\x3c\0\0\0\0\0\0\0", 8, WEIR_ERR_FORMAT,
		  "byte 0: the header should have 60 bytes, but only 0 follow" },
		{ "S4", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, WEIR_ERR_LIMIT,
		  "would have 18446744073709551615 bytes; at most 100000000" },
		{ "S5", "\x01\xe1\xf5\x05\0\0\0\0{}", 10, WEIR_ERR_LIMIT,
		  "would have 100000001 bytes; at most 100000000" },
		{ "S5, the other side", "\x00\xe1\xf5\x05\0\0\0\0{}", 10, WEIR_ERR_FORMAT,
		  "should have 100000000 bytes, but only 2 follow" },
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		put(cases[i].file, cases[i].n);
		assert_false(weir_safetensors_load(w, path, NULL, 0, 0));
		expect_error(cases[i].name, cases[i].status, cases[i].want);
	}
	unlink(path);
	assert_false(weir_safetensors_load(w, path, NULL, 0, 0));
	expect_error("missing", WEIR_ERR_IO,
		     "weir_safetensors_load: model.safetensors: opening the file: No such file or directory");
	assert_false(weir_safetensors_load(w, ".", NULL, 0, 0));
	expect_error("S43 folder", WEIR_ERR_IO, ".: this is no regular file");
	assert_false(weir_safetensors_load(w, "/dev/zero", NULL, 0, 0));
	expect_error("S43 device", WEIR_ERR_IO, "this is no regular file");
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_false(weir_safetensors_load(w, path, NULL, 0, 0));
	expect_error("S43 pipe", WEIR_ERR_IO, "this is no regular file");
}

/* A hundred thousand tensors in one range, and as many that are right. */
static void test_many(void **unused)
{
	enum { N = 100000 };
	char *header = malloc(80 * N);
	size_t at;

	(void)unused;
	assert_non_null(header);
	for (int right = 0; right < 2; right++) {
		at = 0;
		header[at++] = '{';
		for (int i = 0; i < N; i++) {
			int begin = right ? (i * 7919) % N : 0; /* in no order */

			at += (size_t)snprintf(header + at, 80,
					       "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
					       i ? "," : "", i, begin, begin + 1);
		}
		header[at++] = '}';
		put_header(header, at, right ? N : 1);
		if (right) {
			assert_true(weir_safetensors_load(w, path, NULL, 0, WEIR_LOAD_EXTRAS));
		} else {
			assert_false(weir_safetensors_load(w, path, NULL, 0, WEIR_LOAD_EXTRAS));
			expect_error("S30", WEIR_ERR_FORMAT, "begins at 0, inside of another that ends at 1");
		}
	}
	free(header);
}

static void test_long_name(void **unused)
{
	enum { NAME = 65536 };
	static char header[NAME + 80];

	(void)unused;
	for (int too_long = 0; too_long < 2; too_long++) {
		int length = NAME - 1 + too_long, at = 2;

		memcpy(header, "{\"", 2);
		memset(header + at, 'n', (size_t)length);
		at += length;
		at += snprintf(header + at, 60, "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
		put_header(header, (size_t)at, 0);
		if (!too_long) {
			assert_true(weir_safetensors_load(w, path, NULL, 0, WEIR_LOAD_EXTRAS));
			continue;
		}
		assert_false(weir_safetensors_load(w, path, NULL, 0, WEIR_LOAD_EXTRAS));
		expect_error("S37", WEIR_ERR_LIMIT, "nnn...\" has a name of 65536 bytes; at most 65535 are allowed");
	}
}

/* ---- every truncation, every changed bit and byte ---- */

static void test_truncations(void **unused)
{
	weir_named list[8];
	int n = make_list(list);
	size_t size;
	char *file;

	(void)unused;
	assert_true(weir_safetensors_save(w, path, list, n, NULL));
	file = slurp(&size);
	for (size_t cut = 0; cut < size; cut++) {
		int64_t length = weir_tape_length(w);

		put(file, cut);
		if (weir_safetensors_load(w, path, list, n, 0))
			fail_msg("the first %zu of %zu bytes are loaded", cut, size);
		if (weir_error(w) != WEIR_ERR_FORMAT) fail_msg("%zu bytes: %s", cut, message);
		weir_clear_error(w);
		assert_int_equal(weir_tape_length(w), length);
	}
	put(file, size);
	assert_true(weir_safetensors_load(w, path, list, n, 0));
	free(file);
}

static void test_mutations(void **unused)
{
	weir_named list[8], fresh[8];
	int n = make_list(list);
	size_t size, header;
	char *file;
	long refused = 0, loaded = 0;

	(void)unused;
	make_list(fresh);
	assert_true(weir_safetensors_save(w, path, list, n, (const char *const[]){ "k", "v", NULL }));
	file = slurp(&size);
	header = 8 + (unsigned char)file[0] + 256 * (size_t)(unsigned char)file[1];
	for (size_t i = 0; i < size; i++) {
		for (int bit = 0; bit < 8; bit++) {
			bool ok;

			file[i] = (char)(file[i] ^ 1 << bit);
			put(file, size);
			ok = weir_safetensors_load(w, path, fresh, n, 0);
			file[i] = (char)(file[i] ^ 1 << bit);
			loaded += ok;
			refused += !ok;
			if (i >= header && !ok) fail_msg("byte %zu, bit %d of the data: %s", i, bit, message);
			if (ok && i < header) { /* the metadata, or a space: the tensors are right */
				for (int k = 0; k < n; k++)
					assert_memory_equal(weir_data(fresh[k].tensor), weir_data(list[k].tensor),
							    bytes_of(list[k].tensor));
			}
			weir_clear_error(w);
		}
	}
	assert_true(refused > 3000 && loaded > 900);
	free(file);
}

/* ---- memory ---- */

struct faults {
	long left; /* calls until one fails; -1: none */
	size_t held, largest;
};

static void *faulty_alloc(void *user, size_t size, size_t align)
{
	struct faults *f = user;
	void *p = f->left == 0 ? NULL : aligned_alloc(align, (size + align - 1) / align * align);

	if (f->left >= 0) f->left--;
	if (p) f->held += size;
	if (size > f->largest) f->largest = size;
	return p;
}

static void faulty_free(void *user, void *p, size_t size)
{
	((struct faults *)user)->held -= size;
	free(p);
}

static weir_named big_at(void *user, int64_t i)
{
	static char name[32];

	snprintf(name, sizeof(name), "t%lld", (long long)i);
	return (weir_named){ name, ((weir_tensor **)user)[i] };
}

static void test_out_of_memory(void **unused)
{
	enum { N = 6 };
	int failures = 0;
	bool ok = false;

	(void)unused;
	for (int call = 0; !ok; call++) { /* until none is left to fail */
		struct faults f = { -1, 0, 0 };
		weir_tensor *list[N];
		weir_options o;
		const int64_t shape[] = { 20000 };
		weir_ctx *c;

		weir_options_init(&o);
		o.handler = on_error;
		o.threads = 1;
		o.allocator = (weir_allocator){ faulty_alloc, faulty_free, &f };
		c = weir_open(&o);
		for (int i = 0; i < N; i++) list[i] = weir_keep(weir_full(c, WEIR_F64, 1, shape, i));
		weir_tape_reset(c);
		assert_true(weir_ok(c));
		f.left = call;
		f.largest = 0;
		ok = weir_safetensors_save_each(c, path, N, big_at, list, NULL) &&
		     weir_safetensors_load_each(c, path, N, big_at, list, 0);
		failures += !ok;
		if (!ok) assert_int_equal(weir_error(c), WEIR_ERR_MEMORY);
		f.left = -1;
		weir_clear_error(c);
		weir_tape_reset(c);
		assert_true(weir_safetensors_save_each(c, path, N, big_at, list, NULL));
		assert_true(weir_safetensors_load_each(c, path, N, big_at, list, 0));
		for (int i = 0; i < N; i++) assert_true(weir_get(list[i], 19999) == i);
		if (f.largest > N * 20000 * 8 * 5 / 4 + 1024 * 1024) fail_msg("%zu bytes at once", f.largest);
		weir_close(c);
		if (f.held) fail_msg("call %d: %zu bytes are lost", call, f.held);
	}
	assert_true(failures > 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_round_trip),
		TEST(test_metadata_and_no_tensors),
		TEST(test_strided),
		TEST(test_foreign_file),
		TEST(test_module),
		TEST(test_mismatches),
		TEST(test_calls),
		TEST(test_failed_save),
		TEST(test_malformed_headers),
		TEST(test_malformed_files),
		TEST(test_many),
		TEST(test_long_name),
		TEST(test_truncations),
		TEST(test_mutations),
		TEST(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
