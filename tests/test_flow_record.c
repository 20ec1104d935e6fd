/* test_flow_record.c: what is written at every step: read back, compared with the instrument's numbers, and what happens when it can't be.
 * It is longer than most because each of the three forms is read back by itself. */
#include "tests/flow_check.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flow/record.h"
#include "tests/json_read.h"

typedef struct bench {
	weir_ctx *w;
	weir_flow *f;
	weir_module *net;
} bench;

static bench make(int layers)
{
	bench b;
	weir_options options;

	weir_options_init(&options);
	options.handler = NULL;
	options.check_stale = false; /* which takes memory for good */
	b.w = weir_open(&options);
	b.net = weir_sequential_new(b.w, "net");
	for (int i = 0; i < layers; i++) {
		weir_linear_options o;

		weir_linear_options_init(&o);
		o.init = WEIR_INIT_DIAGONAL;
		o.init_scale = 0.75;
		weir_module_add(b.net, NULL, weir_linear_with(b.w, 4, 4, &o));
		weir_module_add(b.net, NULL, weir_act_new(b.w, WEIR_ACT_TANH));
	}
	b.f = weir_flow_watch(b.w, NULL);
	return b;
}

static bool run(const bench *b, double input)
{
	weir_tensor *loss;

	weir_tape_reset(b->w);
	for (int64_t i = 0; i < weir_module_parameter_count(b->net); i++)
		weir_zero_grad(weir_module_parameter(b->net, i));
	loss = weir_sum_all(weir_forward(b->net, weir_full(b->w, WEIR_F32, 2, (int64_t[]){ 2, 4 }, input)));
	weir_backward(loss);
	return weir_flow_step(b->f, loss);
}

static void finish(bench *b)
{
	weir_flow_stop(b->f);
	close_fine(b->w);
}

static char *slurp(const char *path, size_t *size)
{
	static char text[1 << 21];
	FILE *file = fopen(path, "rb");
	size_t n;

	if (!file) fail_msg("%s is not there", path);
	n = fread(text, 1, sizeof text - 1, file);
	text[n] = 0;
	fclose(file);
	if (size) *size = n;
	return text;
}

static void spill(const char *path, const void *data, size_t n)
{
	FILE *file = fopen(path, "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, n, file), n);
	fclose(file);
}

/* Line number k, cut out of text in its place. */
static char *line(char *text, int k)
{
	char *end;

	while (k--) {
		if (!(text = strchr(text, '\n'))) fail_msg("so many lines there are not");
		text++;
	}
	if (!(end = strchr(text, '\n'))) fail_msg("the line has no end: %.80s", text);
	*end = 0;
	return text;
}

static int lines_of(const char *t)
{
	int n = 0;

	for (; *t; t++) n += *t == '\n';
	return n;
}

static void assert_number(const char *json, const char *path, double want)
{
	const char *v = json_find(json, path);

	if (!v) fail_msg("%s is not there, or the line is wrong:\n%.2000s", path, json);
	if (isfinite(want) ? strtod(v, NULL) != want || !strncmp(v, "null", 4) : strncmp(v, "null", 4) != 0)
		fail_msg("%s is %.30s, want %.17g", path, v, want);
}

static void assert_text(const char *json, const char *path, const char *want)
{
	const char *v = json_find(json, path);

	if (!v || v[0] != '"' || strncmp(v + 1, want, strlen(want)) != 0 || v[1 + strlen(want)] != '"')
		fail_msg("%s is %.40s, want \"%s\"", path, v ? v : "not there", want);
}

/* ---- JSON lines ---- */

static void json_lines(void **state)
{
	bench b = make(3);
	char *text;
	double loss[4], delta[4], gain[4];

	(void)state;
	assert_true(weir_flow_record(b.f, WEIR_FLOW_JSON_LINES, "a.jsonl"));
	for (int i = 0; i < 4; i++) {
		assert_true(run(&b, 0.5 + i));
		loss[i] = weir_flow_summary_of(b.f)->loss;
		delta[i] = weir_flow_layer_at(b.f, 1)->delta_norm;
		gain[i] = weir_flow_layer_at(b.f, 1)->gain;
		text = slurp("a.jsonl", NULL); /* it is all there after each step */
		assert_int_equal(lines_of(text), 2 + i);
	}
	text = slurp("a.jsonl", NULL);
	text = line(text, 0);
	assert_text(text, "schema", "weir.flow.steps/1");
	assert_text(text, "layers.2", "net.4");
	assert_number(text, "calls.2", 1);
	assert_text(text, "ops.0", "linear tanh");
	for (int i = 0; i < 4; i++) {
		text = line(slurp("a.jsonl", NULL), 1 + i);
		assert_number(text, "step", i);
		assert_number(text, "loss", loss[i]);
		assert_number(text, "delta.1", delta[i]);
		assert_number(text, "gain.1", gain[i]);
		assert_null(json_find(text, "delta.3"));
		assert_int_equal(json_find(text, "measured")[0], i ? 'f' : 't');
		assert_true((json_find(text, "weight_norm") != NULL) == !i);
		assert_true(strtod(json_find(text, "time"), NULL) > 1e9);
		assert_true(strtod(json_find(text, "grad_norm"), NULL) > 0);
		assert_null(json_find(text, "loss_is"));
		assert_null(json_find(text, "births"));
	}
	finish(&b);
}

/* The names come again where the layers are others; a step whose layers were not looked at has none. */
static void changing_layers(void **state)
{
	bench b = make(3), other = b;
	char *text;

	(void)state;
	other.net = weir_sequential_new(b.w, "other");
	weir_module_add(other.net, NULL, weir_linear_new(b.w, 4, 2, WEIR_INIT_HE));
	assert_true(weir_flow_record(b.f, WEIR_FLOW_JSON_LINES, "b.jsonl"));
	run(&b, 1);
	run(&other, 1);
	weir_tape_reset(b.w);
	weir_flow_request(b.f);
	run(&other, 1);
	weir_tape_reset(b.w);
	weir_flow_request(b.f);
	run(&other, 1);
	assert_int_equal(lines_of(slurp("b.jsonl", NULL)), 6);
	text = line(slurp("b.jsonl", NULL), 2);
	assert_number(text, "delta", NAN);
	assert_number(text, "gain", NAN);
	text = line(slurp("b.jsonl", NULL), 3);
	assert_text(text, "layers.0", "other.0");
	assert_null(json_find(text, "layers.1"));
	text = line(slurp("b.jsonl", NULL), 4);
	assert_null(json_find(text, "delta.1"));
	assert_number(text, "step", 2);
	finish(&b);
}

static void broken_numbers(void **state)
{
	bench b = make(2);
	weir_tensor *weight;
	char *text;

	(void)state;
	assert_true(weir_flow_record(b.f, WEIR_FLOW_JSON_LINES, "c.jsonl"));
	assert_true(weir_flow_record(b.f, WEIR_FLOW_RING, "c.ring"));
	assert_true(weir_flow_record(b.f, WEIR_FLOW_TENSORBOARD, "c.board"));
	run(&b, 1);
	weight = weir_module_parameter(b.net, 0);
	((float *)weir_data_mut(weight, NULL))[0] = NAN;
	assert_true(run(&b, 1));
	assert_true(run(&b, 1));
	text = line(slurp("c.jsonl", NULL), 2);
	assert_number(text, "loss", NAN);
	assert_text(text, "loss_is", "nan");
	assert_text(text, "verdict", "non-finite");
	assert_text(text, "births.0.what", "first_nan");
	assert_number(text, "births.0.step", 1);
	assert_true(strtod(json_find(text, "nonfinite_layers"), NULL) >= 1);
	text = line(slurp("c.jsonl", NULL), 3);
	assert_null(json_find(text, "births")); /* told once */
	finish(&b);
}

/* An overflow that the loss does not show is told, too. */
static void overflow_in_lines(void **state)
{
	bench b = make(1);
	weir_tensor *x, *loss;
	const char *text;

	(void)state;
	assert_true(weir_flow_record(b.f, WEIR_FLOW_JSON_LINES, "o.jsonl"));
	for (int step = 0; step < 2; step++) {
		weir_tape_reset(b.w);
		weir_flow_request(b.f);
		x = weir_affine(weir_forward(b.net, weir_full(b.w, WEIR_F32, 2, (int64_t[]){ 2, 4 }, 0.5)), 1e30, 0);
		loss = weir_sum_all(weir_div(weir_full(b.w, WEIR_F32, 2, (int64_t[]){ 2, 4 }, 1),
					     weir_affine(weir_mul(x, x), 1, 1)));
		weir_backward(loss);
		assert_true(weir_flow_step(b.f, loss));
	}
	text = line(slurp("o.jsonl", NULL), 1);
	assert_text(text, "births.0.what", "first_overflow");
	assert_text(text, "births.0.op", "mul");
	assert_null(json_find(line(slurp("o.jsonl", NULL), 2), "births"));
	finish(&b);
}

/* ---- errors ---- */

static void can_not_begin(void **state)
{
	bench b = make(2);
	size_t n;

	(void)state;
	mkdir("folder", 0777);
	assert_false(weir_flow_record(b.f, WEIR_FLOW_JSON_LINES, "folder"));
	assert_error(b.w, WEIR_ERR_IO, "weir_flow_record: folder: Is a directory");
	assert_false(weir_flow_record(b.f, WEIR_FLOW_JSON_LINES, "none/x.jsonl"));
	assert_error(b.w, WEIR_ERR_IO, "none/x.jsonl: No such file");
	assert_false(weir_flow_record(b.f, WEIR_FLOW_RING, "folder"));
	assert_error(b.w, WEIR_ERR_IO, "folder: Is a directory");
	assert_false(weir_flow_record(b.f, WEIR_FLOW_RING, "none/x.ring"));
	assert_error(b.w, WEIR_ERR_IO, "none/x.ring");
	spill("precious", "my thesis", 9);
	assert_false(weir_flow_record(b.f, WEIR_FLOW_RING, "precious"));
	assert_error(b.w, WEIR_ERR_IO, "precious: is there and is no ring file");
	assert_string_equal(slurp("precious", &n), "my thesis");
	assert_false(weir_flow_record(b.f, WEIR_FLOW_TENSORBOARD, "precious"));
	assert_error(b.w, WEIR_ERR_IO, "precious: Not a directory");
	assert_false(weir_flow_record(b.f, WEIR_FLOW_TENSORBOARD, "precious/below"));
	assert_error(b.w, WEIR_ERR_IO, "precious");
	assert_false(weir_flow_record(b.f, WEIR_FLOW_JSON_LINES, ""));
	assert_error(b.w, WEIR_ERR_ARGUMENT, "path is empty");
	assert_false(weir_flow_record(b.f, WEIR_FLOW_JSON_LINES, NULL));
	assert_error(b.w, WEIR_ERR_ARGUMENT, "path is empty");
	assert_false(weir_flow_record(b.f, (weir_flow_recorder)9, "x"));
	assert_error(b.w, WEIR_ERR_ARGUMENT, "does not exist");
	assert_false(weir_flow_record(NULL, WEIR_FLOW_RING, "x"));
	assert_true(run(&b, 1));
	finish(&b);
}

/* A full disk is reported once; then the recorder is silent, the others and the numbers go on. */
static void full_disk(void **state)
{
	bench b = make(2), same = make(2);

	(void)state;
	if (access("/dev/full", W_OK)) skip();
	assert_true(weir_flow_record(b.f, WEIR_FLOW_JSON_LINES, "/dev/full"));
	assert_true(weir_flow_record(b.f, WEIR_FLOW_JSON_LINES, "d.jsonl"));
	assert_false(run(&b, 1));
	assert_error(b.w, WEIR_ERR_IO, "weir_flow_record: /dev/full: No space left on device");
	assert_true(run(&b, 2));
	assert_int_equal(lines_of(slurp("d.jsonl", NULL)), 3);
	run(&same, 1);
	run(&same, 2);
	assert_true(weir_flow_layer_at(b.f, 0)->delta_norm == weir_flow_layer_at(same.f, 0)->delta_norm);
	finish(&b);
	finish(&same);
}

/* After the first steps, none of them asks for memory. */
static void steady(void **state)
{
	bench b = make(5);
	uint64_t calls = 0;

	(void)state;
	weir_flow_stop(b.f);
	b.f = watch_all(b.w);
	assert_true(weir_flow_record(b.f, WEIR_FLOW_JSON_LINES, "e.jsonl"));
	assert_true(weir_flow_record(b.f, WEIR_FLOW_TENSORBOARD, "e.board/one/two/"));
	assert_true(weir_flow_record(b.f, WEIR_FLOW_RING, "e.ring"));
	for (int i = 0; i < 200; i++) {
		assert_true(run(&b, 0.1 + i % 5));
		if (i == 40) calls = weir_memory_of(b.w).allocator_calls;
	}
	assert_int_equal(weir_memory_of(b.w).allocator_calls, calls);
	finish(&b);
}

/* ---- the ring ---- */

static const char *read_ring(weir_ctx *w, const char *path, bool json)
{
	static char text[1 << 20];
	FILE *file = tmpfile();
	size_t n;

	assert_non_null(file);
	if (!weir_flow_read_ring(w, path, file, json)) fail_msg("%s", weir_error_text(w));
	rewind(file);
	n = fread(text, 1, sizeof text - 1, file);
	text[n] = 0;
	fclose(file);
	return text;
}

static void ring(void **state)
{
	bench b = make(3);
	char text[1 << 12];
	double loss[30];

	(void)state;
	spill("f.ring", "", 0); /* an empty file is in nobody's way */
	assert_true(weir_flow_record(b.f, WEIR_FLOW_RING, "f.ring"));
	assert_string_equal(read_ring(b.w, "f.ring", true), "");
	assert_non_null(strstr(read_ring(b.w, "f.ring", false), "0 steps\n"));
	for (int i = 0; i < 30; i++) {
		assert_true(run(&b, 0.1 * i));
		loss[i] = weir_flow_summary_of(b.f)->loss;
	}
	assert_int_equal(lines_of(read_ring(b.w, "f.ring", true)), 30); /* while it is written */
	for (int i = 0; i < 30; i++) {
		const char *l = line((char *)(uintptr_t)read_ring(b.w, "f.ring", true), i);

		snprintf(text, sizeof text, "%s", l);
		assert_number(text, "number", i + 1);
		assert_number(text, "step", i);
		assert_number(text, "loss", loss[i]);
		assert_number(text, "first_inf", NAN);
		assert_text(text, "lowest", "net.0");
		assert_text(text, "highest", "net.4");
	}
	assert_number(text, "gain_per_layer", weir_flow_summary_of(b.f)->gain_per_layer);
	assert_number(text, "lowest_delta", weir_flow_layer_at(b.f, 0)->delta_norm);
	assert_non_null(strstr(read_ring(b.w, "f.ring", false), "30 steps\nstep  "));
	assert_true(weir_flow_record(b.f, WEIR_FLOW_RING, "f.ring")); /* over an old one */
	run(&b, 1);
	assert_int_equal(lines_of(read_ring(b.w, "f.ring", true)), 1);
	finish(&b);
	b.w = weir_open(NULL);
	assert_int_equal(lines_of(read_ring(b.w, "f.ring", true)), 1);
	close_fine(b.w);
}

enum { HEADER = 4096, RECORD = 512, RECORDS = 1000 };

static void ring_wraps_and_tears(void **state)
{
	bench b = make(1);
	char *file, copy[200];
	size_t size;

	(void)state;
	assert_true(weir_flow_record(b.f, WEIR_FLOW_RING, "g.ring"));
	for (int i = 0; i < RECORDS + 7; i++) run(&b, 1);
	assert_int_equal(lines_of(read_ring(b.w, "g.ring", true)), RECORDS);
	snprintf(copy, sizeof copy, "%s", line((char *)(uintptr_t)read_ring(b.w, "g.ring", true), 0));
	assert_true(!strncmp(copy, "{\"number\":8,\"step\":7,", 21));

	/* half of the next record, number 1,008, in the place of number 8 */
	file = slurp("g.ring", &size);
	assert_int_equal(size, HEADER + RECORDS * RECORD);
	memset(file + HEADER + 7 * RECORD + 16, 0x55, RECORD / 2);
	spill("g2.ring", file, size);
	assert_non_null(strstr(read_ring(b.w, "g2.ring", false), "999 steps; 1 left out, only half written\n"));
	assert_true(!strncmp(read_ring(b.w, "g2.ring", true), "{\"number\":9,\"step\":8,", 21));

	/* every single byte of a record is under its checksum */
	for (int i = 0; i < RECORD; i += 13) {
		file = slurp("g.ring", &size);
		file[HEADER + 3 * RECORD + i] ^= 1;
		spill("g2.ring", file, size);
		if (lines_of(read_ring(b.w, "g2.ring", true)) != RECORDS - 1) fail_msg("byte %d was not missed", i);
	}
	finish(&b);
}

static void refuse(weir_ctx *w, const void *data, size_t n, const char *part)
{
	FILE *file = tmpfile();

	spill("bad.ring", data, n);
	assert_false(weir_flow_read_ring(w, "bad.ring", file, false));
	assert_int_equal(ftell(file), 0);
	fclose(file);
	if (!strstr(weir_error_text(w), part)) fail_msg("\"%s\" has no \"%s\"", weir_error_text(w), part);
	assert_error(w, WEIR_ERR_FORMAT, "weir_flow_read_ring: bad.ring: ");
}

static void bad_rings(void **state)
{
	bench b = make(1);
	char *file;
	size_t size;

	(void)state;
	assert_true(weir_flow_record(b.f, WEIR_FLOW_RING, "h.ring"));
	run(&b, 1);
	file = slurp("h.ring", &size);
	refuse(b.w, file, 0, "no ring file");
	refuse(b.w, file, 5, "no ring file");
	refuse(b.w, "weirrinh and more than that", 27, "no ring file");
	refuse(b.w, file, 8, "it has 8 bytes, a ring file has 516096; it is truncated");
	refuse(b.w, file, size - 1, "it is truncated");
	refuse(b.w, file, size + 1, "something else");
	file[20] ^= 1;
	refuse(b.w, file, size, "header is damaged");
	file[20] ^= 1;
	file[8] ^= 5; /* 04030201 */
	file[11] ^= 5;
	refuse(b.w, file, size, "byte order");
	assert_false(weir_flow_read_ring(b.w, "not.there", stdout, false));
	assert_error(b.w, WEIR_ERR_IO, "weir_flow_read_ring: not.there: No such file");
	assert_false(weir_flow_read_ring(b.w, ".", stdout, false));
	assert_error(b.w, WEIR_ERR_IO, "weir_flow_read_ring: .: Is a directory");
	assert_false(weir_flow_read_ring(b.w, NULL, stdout, false));
	assert_error(b.w, WEIR_ERR_ARGUMENT, "path");
	finish(&b);
}

/* ---- event files ---- */

static uint32_t crc_bit_by_bit(const unsigned char *p, size_t n)
{
	uint32_t c = 0xffffffffu;

	for (size_t i = 0; i < n; i++) {
		c ^= p[i];
		for (int k = 0; k < 8; k++) c = c >> 1 ^ (c & 1 ? 0x82f63b78u : 0);
	}
	return ~c;
}

static void checksum(void **state)
{
	uint32_t table[256];

	(void)state;
	weir__crc32c_table(table);
	assert_int_equal(weir__crc32c(table, "123456789", 9), 0xe3069283u);
	assert_int_equal(crc_bit_by_bit((const unsigned char *)"123456789", 9), 0xe3069283u);
	assert_int_equal(weir__crc32c(table, "", 0), 0);
}

static const char *event_file(const char *folder)
{
	static char path[512];
	const struct dirent *e;
	DIR *d = opendir(folder);

	path[0] = 0;
	assert_non_null(d);
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.') continue;
		assert_int_equal(path[0], 0); /* it is the only one */
		assert_non_null(strstr(e->d_name, "tfevents"));
		snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
	}
	closedir(d);
	return path;
}

static uint64_t little(const unsigned char *p, int bytes)
{
	uint64_t x = 0;

	for (int i = 0; i < bytes; i++) x |= (uint64_t)p[i] << 8 * i;
	return x;
}

/* Framing and checksums; what is inside is read by check_record.sh with programs of others. */
static int records_of(const char *path)
{
	size_t size, at = 0;
	const unsigned char *p = (const unsigned char *)slurp(path, &size);
	int n = 0;

	for (; at < size; n++) {
		size_t length = little(p + at, 8);

		assert_true(at + 16 + length <= size);
		for (int k = 0; k < 2; k++) {
			uint32_t c = k ? crc_bit_by_bit(p + at + 12, length) : crc_bit_by_bit(p + at, 8);

			c = (c >> 15 | c << 17) + 0xa282ead8u;
			assert_int_equal(c, (uint32_t)little(p + at + (k ? 12 + length : 8), 4));
		}
		at += 16 + length;
	}
	return n;
}

static void event_files(void **state)
{
	bench b = make(3);

	(void)state;
	if (system("rm -rf board")) skip();
	assert_true(weir_flow_record(b.f, WEIR_FLOW_TENSORBOARD, "board/run"));
	assert_int_equal(records_of(event_file("board/run")), 1);
	for (int i = 0; i < 20; i++) {
		run(&b, 1);
		assert_int_equal(records_of(event_file("board/run")), 2 + i);
	}
	finish(&b);
	b = make(3);
	assert_true(weir_flow_record(b.f, WEIR_FLOW_TENSORBOARD, "board/other"));
	assert_true(weir_flow_record(b.f, WEIR_FLOW_TENSORBOARD, "board/other")); /* a second one in the same second */
	finish(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_lines),
		cmocka_unit_test(changing_layers),
		cmocka_unit_test(broken_numbers),
		cmocka_unit_test(overflow_in_lines),
		cmocka_unit_test(can_not_begin),
		cmocka_unit_test(full_disk),
		cmocka_unit_test(steady),
		cmocka_unit_test(ring),
		cmocka_unit_test(ring_wraps_and_tears),
		cmocka_unit_test(bad_rings),
		cmocka_unit_test(checksum),
		cmocka_unit_test(event_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
