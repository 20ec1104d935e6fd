/* record_ring_read.c: what a ring file holds (record_ring.h), oldest step first, as a table or as JSON lines. A line of these has
 *   {"number" (of the record, from 1), "step", "time", "loss", "loss_is", "grad_norm", "verdict", "gain_per_layer", "total_gain", "nonfinite",
 *    "lowest", "lowest_delta", "highest", "highest_delta" (layers with the smallest and largest finite norm), "first_inf", "first_nan" (layers)}
 * as record_jsonl.c explains them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/json_write.h"
#include "flow/record_ring.h"
#include "kernels/fpenv.h"

typedef struct found {
	ring_record *record; /* by number, oldest first */
	int64_t count, damaged;
} found;

static bool refuse(weir_ctx *w, weir_status status, const char *path, const char *what)
{
	weir_fail(w, status, "weir_flow_read_ring: %s: %s", path, what);
	return false;
}

static bool check_header(weir_ctx *w, const char *path, const uint32_t table[256], const ring_header *h)
{
	if (memcmp(h->magic, magic, sizeof magic) != 0) return refuse(w, WEIR_ERR_FORMAT, path, "this is no ring file");
	if (h->order != ORDER)
		return refuse(w, WEIR_ERR_FORMAT, path,
			      "its header is damaged, or it was written on a machine of another byte order");
	if (h->crc != weir__crc32c(table, h, offsetof(ring_header, crc)))
		return refuse(w, WEIR_ERR_FORMAT, path, "its header is damaged");
	if (h->version == VERSION && h->record_size == sizeof(ring_record) && h->records == RECORDS) return true;
	weir_fail(w, WEIR_ERR_FORMAT, "weir_flow_read_ring: %s: its version is %lu, this library reads %d", path,
		  (unsigned long)h->version, VERSION);
	return false;
}

/* The whole file into bytes. */
static bool read_file(weir_ctx *w, const char *path, char *bytes)
{
	size_t n = 0;
	ssize_t got = 1;
	int fd;
	char more;

	do fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	while (fd < 0 && errno == EINTR);
	if (fd < 0) return refuse(w, WEIR_ERR_IO, path, strerror(errno));
	while (n < SIZE && got) {
		got = read(fd, bytes + n, SIZE - n);
		if (got < 0 && errno != EINTR) {
			refuse(w, WEIR_ERR_IO, path, strerror(errno));
			close(fd);
			return false;
		}
		if (got > 0) n += (size_t)got;
	}
	got = n == SIZE ? read(fd, &more, 1) : 0;
	close(fd);
	if (n < sizeof magic || memcmp(bytes, magic, sizeof magic) != 0)
		return refuse(w, WEIR_ERR_FORMAT, path, "this is no ring file");
	if (n == SIZE && !got) return true;
	weir_fail(w, WEIR_ERR_FORMAT, "weir_flow_read_ring: %s: it has %s%lld bytes, a ring file has %d; it is %s",
		  path, got ? "more than " : "", (long long)n, SIZE, got ? "something else" : "truncated");
	return false;
}

static bool whole_record(const uint32_t table[256], const ring_record *r, int64_t place)
{
	return r->number && (r->number - 1) % RECORDS == (uint64_t)place && r->crc == record_crc(table, r) &&
	       memchr(r->low, 0, NAME) && memchr(r->high, 0, NAME) && memchr(r->first_inf, 0, NAME) &&
	       memchr(r->first_nan, 0, NAME);
}

static bool never_written(const ring_record *r)
{
	static const char zeros[sizeof *r];

	return !memcmp((const char *)r, zeros, sizeof zeros);
}

/* Copies those that are whole, in the order of their numbers: they lie so from behind the newest one on. */
static void sort_out(found *in, const uint32_t table[256], ring_record *all)
{
	int64_t newest = -1, n = 0;
	bool whole[RECORDS];

	in->damaged = 0;
	for (int64_t i = 0; i < RECORDS; i++) {
		whole[i] = whole_record(table, &all[i], i);
		in->damaged += !whole[i] && !never_written(&all[i]);
		if (whole[i] && (newest < 0 || all[i].number > all[newest].number)) newest = i;
	}
	for (int64_t k = 1; newest >= 0 && k <= RECORDS; k++) {
		int64_t i = (newest + k) % RECORDS;

		if (whole[i] && all[newest].number - all[i].number < RECORDS) in->record[n++] = all[i];
	}
	in->count = n;
}

/* ---- printing ---- */

static const char *verdict_name(const ring_record *r)
{
	return weir_verdict_name((weir_verdict)r->verdict);
}

/* An empty name is null. */
static void text(weir__json *j, const char *key, const char *s)
{
	weir__json_put_string(j, key, s[0] ? s : NULL);
}

static void json_line(weir__json *j, const ring_record *r)
{
	weir__json_begin_object(j);
	weir__json_put_int(j, "number", (int64_t)r->number);
	weir__json_put_int(j, "step", r->step);
	weir__json_put_double(j, "time", 1e-9 * (double)r->time);
	weir__json_put_double(j, "loss", r->loss);
	if (!is_finite(r->loss)) text(j, "loss_is", r->loss != r->loss ? "nan" : r->loss > 0 ? "inf" : "-inf");
	weir__json_put_double(j, "grad_norm", r->grad_norm);
	text(j, "verdict", verdict_name(r));
	weir__json_put_double(j, "gain_per_layer", r->gain_per_layer);
	weir__json_put_double(j, "total_gain", r->total_gain);
	weir__json_put_int(j, "nonfinite", r->nonfinite);
	text(j, "lowest", r->low);
	weir__json_put_double(j, "lowest_delta", r->low_delta);
	text(j, "highest", r->high);
	weir__json_put_double(j, "highest_delta", r->high_delta);
	text(j, "first_inf", r->first_inf);
	text(j, "first_nan", r->first_nan);
	weir__json_end(j);
}

static void cell(weir__text *t, double x, char style, int digits)
{
	size_t from = t->length;

	if (x == x) weir__text_double(t, x, style, digits);
	else weir__text_str(t, "-");
	weir__text_repeat(t, ' ', t->length - from < 10 ? 10 - (t->length - from) : 1);
}

static void word(weir__text *t, const char *s, size_t width)
{
	size_t n = strlen(s);

	weir__text_str(t, s);
	weir__text_repeat(t, ' ', n < width ? width - n : 1);
}

static void end_line(weir__text *t, FILE *file)
{
	while (t->length && t->data[t->length - 1] == ' ') t->length--;
	fwrite(t->data, 1, t->length, file);
	fputc('\n', file);
	weir__text_clear(t);
}

static void table_line(weir__text *t, const ring_record *r)
{
	char buf[24];
	weir__text step_text;

	weir__text_fixed(&step_text, buf, sizeof buf);
	weir__text_int(&step_text, r->step);
	word(t, buf, 10);
	if (r->loss == r->loss) cell(t, r->loss, 'p', 5);
	else word(t, "nan", 10);
	cell(t, r->grad_norm, 'e', 2);
	word(t, verdict_name(r), 12);
	cell(t, r->gain_per_layer, 'p', 4);
	cell(t, r->total_gain, 'e', 2);
	cell(t, r->low_delta, 'e', 2);
	word(t, r->low[0] ? r->low : "-", 16);
	cell(t, r->high_delta, 'e', 2);
	weir__text_str(t, r->high[0] ? r->high : "-");
	if (r->nonfinite) weir__text_format(t, "   non-finite %lld", (long long)r->nonfinite);
	if (r->first_inf[0]) weir__text_format(t, "   first inf: %s", r->first_inf);
	if (r->first_nan[0]) weir__text_format(t, "   first NaN: %s", r->first_nan);
}

static void print(const found *in, FILE *file, bool json)
{
	char buf[1024];
	weir__text t;
	weir__json j;

	if (json) {
		weir__json_to_file(&j, file, WEIR__JSON_LINES);
		for (int64_t i = 0; i < in->count; i++) json_line(&j, &in->record[i]);
		weir__json_finish(&j);
		return;
	}
	weir__text_fixed(&t, buf, sizeof buf);
	weir__text_format(&t, "%lld step%s", (long long)in->count, in->count == 1 ? "" : "s");
	if (in->damaged) weir__text_format(&t, "; %lld left out, only half written", (long long)in->damaged);
	end_line(&t, file);
	weir__text_str(&t, "step      loss      |g|       verdict     gain      total     lowest |delta|           "
			   "highest |delta|");
	end_line(&t, file);
	for (int64_t i = 0; i < in->count; i++) {
		table_line(&t, &in->record[i]);
		end_line(&t, file);
	}
}

bool weir_flow_read_ring(weir_ctx *w, const char *path, FILE *file, bool json)
{
	size_t bytes = 2 * (size_t)SIZE;
	weir_fp_state saved;
	uint32_t table[256];
	ring_header h;
	found in;
	char *all;

	if (!weir_ok(w)) return false;
	if (!path || !file) return refuse(w, WEIR_ERR_ARGUMENT, "", "path or file is NULL");
	if (!(all = weir__pool_take(w, &bytes))) return false;
	saved = weir__fp_enter(true);
	weir__crc32c_table(table);
	if (read_file(w, path, all)) {
		memcpy(&h, all, sizeof h);
		if (check_header(w, path, table, &h)) {
			in.record = (ring_record *)(void *)(all + SIZE);
			sort_out(&in, table, (ring_record *)(void *)(all + HEADER));
			print(&in, file, json);
			if (fflush(file) || ferror(file)) refuse(w, WEIR_ERR_IO, path, "the list could not be written");
		}
	}
	weir__fp_leave(saved);
	weir__pool_give(w, all, bytes);
	return weir_ok(w);
}
