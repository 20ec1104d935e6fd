/* record_ring.c: the last 1,000 steps in a file that is mapped into memory, and the reader of such files.
 *
 * What was written there is the kernel's, so it is there whatever ends the process, also SIGKILL. A record that was being written at that
 * moment is recognised by its checksum and left out; it stood in the place of the oldest one.
 *
 *   file     header (4,096 bytes), 1,000 records (of 512 bytes each)
 *   record   number n, counted from 1, stands in place (n - 1) mod 1,000; all zeros: never written
 *
 * Numbers are in the byte order of the machine, which the header tells. A new ring is made beside an old one of the same name and renamed over
 * it, for to shorten a file that another process has mapped would end that process. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/json_write.h"
#include "flow/record.h"
#include "kernels/fpenv.h"

enum { RECORDS = 1000, HEADER = 4096, ORDER = 0x01020304, VERSION = 1, NAME = 96, LONGEST_PATH = 4096 };

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

typedef struct ring {
	uint32_t crc[256];
	char *map;
	uint64_t number; /* of the last record */
	ring_record now;
} ring;

static uint32_t record_crc(const uint32_t table[256], const ring_record *r)
{
	return weir__crc32c(table, (const char *)r + sizeof r->crc, sizeof *r - sizeof r->crc);
}

/* ---- writing ---- */

static void set_name(char name[NAME], const char *text)
{
	weir__text t;

	weir__text_fixed(&t, name, NAME);
	weir__text_str(&t, text);
}

static void extremes(const weir_flow *f, ring_record *now)
{
	now->low_delta = now->high_delta = UNKNOWN;
	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		if (!is_finite(p->delta_norm)) continue;
		if (!(now->low_delta <= p->delta_norm)) {
			now->low_delta = p->delta_norm;
			set_name(now->low, p->name);
		}
		if (!(now->high_delta >= p->delta_norm)) {
			now->high_delta = p->delta_norm;
			set_name(now->high, p->name);
		}
	}
}

static void step(weir_flow *f, weir__recorder *r, const weir__step *st)
{
	const weir_flow_summary *s = &f->sum;
	ring *g = r->own;
	ring_record *now = &g->now;

	memset(now, 0, sizeof *now);
	now->number = ++g->number;
	now->step = s->step;
	now->time = st->time;
	now->verdict = s->verdict;
	now->loss = s->loss;
	now->grad_norm = st->grad_norm;
	now->total_gain = s->total_gain;
	now->gain_per_layer = s->gain_per_layer;
	now->nonfinite = s->nonfinite;
	if (st->layers) extremes(f, now);
	else now->low_delta = now->high_delta = UNKNOWN;
	if (s->first_inf.found) set_name(now->first_inf, s->first_inf.layer);
	if (s->first_nan.found) set_name(now->first_nan, s->first_nan.layer);
	now->crc = record_crc(g->crc, now);
	memcpy(g->map + HEADER + (now->number - 1) % RECORDS * sizeof *now, now, sizeof *now);
}

static void finish(weir_flow *f, weir__recorder *r)
{
	ring *g = r->own;

	(void)f;
	if (g && g->map) munmap(g->map, SIZE);
}

/* What stands at path may be replaced: nothing, an empty file, a ring. */
static bool replaceable(weir_flow *f, const char *path)
{
	char begin[sizeof magic];
	struct stat st;
	ssize_t n;
	int fd;

	if (stat(path, &st)) {
		if (errno == ENOENT) return true;
		weir__record_fail(f, path, strerror(errno));
		return false;
	}
	if (!S_ISREG(st.st_mode)) {
		weir__record_fail(f, path, S_ISDIR(st.st_mode) ? strerror(EISDIR) : "a ring must be a regular file");
		return false;
	}
	if ((fd = weir__record_open(f, path, O_RDWR)) < 0) return false;
	n = read(fd, begin, sizeof begin);
	close(fd);
	if (n == 0 || (n == sizeof begin && !memcmp(begin, magic, sizeof begin))) return true;
	weir__record_fail(f, path, "is there and is no ring file; it stays as it is");
	return false;
}

/* The room is taken on the disk at once: a mapped page that finds none later would end the process. */
static char *make(weir_flow *f, int fd, const char *path)
{
	int why = posix_fallocate(fd, 0, SIZE);
	char *map;

	if (why) {
		weir__record_fail(f, path, strerror(why));
		return NULL;
	}
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED) return map;
	weir__record_fail(f, path, strerror(errno));
	return NULL;
}

static void write_header(ring *g)
{
	ring_header h = { .order = ORDER, .version = VERSION, .record_size = sizeof(ring_record), .records = RECORDS };
	struct timespec now;

	memcpy(h.magic, magic, sizeof magic);
	clock_gettime(CLOCK_REALTIME, &now);
	h.begun = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	h.crc = weir__crc32c(g->crc, &h, offsetof(ring_header, crc));
	memcpy(g->map, &h, sizeof h);
}

bool weir__record_ring(weir_flow *f, weir__recorder *r)
{
	char name[LONGEST_PATH];
	weir__text t;
	ring *g;

	r->step = step;
	r->close = finish;
	if (!replaceable(f, r->path) || !(g = weir__record_own(f, r, sizeof *g))) return false;
	weir__crc32c_table(g->crc);
	weir__text_fixed(&t, name, sizeof name);
	weir__text_format(&t, "%s.tmp.%lld", r->path, (long long)getpid());
	if (t.truncated) {
		weir__record_fail(f, r->path, strerror(ENAMETOOLONG));
		return false;
	}
	if ((r->fd = weir__record_open(f, name, O_RDWR | O_CREAT | O_TRUNC)) < 0) return false;
	if ((g->map = make(f, r->fd, r->path))) {
		write_header(g);
		if (!rename(name, r->path)) return true;
		weir__record_fail(f, r->path, strerror(errno));
	}
	unlink(name);
	return false;
}

/* ---- reading ---- */

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
	static const ring_record zeros;

	return !memcmp(r, &zeros, sizeof zeros);
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

static void number(weir__json *j, const char *key, double x)
{
	weir__json_key(j, key);
	weir__json_double(j, x);
}

/* An empty name is null. */
static void text(weir__json *j, const char *key, const char *s)
{
	weir__json_key(j, key);
	weir__json_string(j, s[0] ? s : NULL);
}

static void json_line(weir__json *j, const ring_record *r)
{
	weir__json_begin_object(j);
	weir__json_key(j, "number");
	weir__json_int(j, (int64_t)r->number);
	weir__json_key(j, "step");
	weir__json_int(j, r->step);
	number(j, "time", 1e-9 * (double)r->time);
	number(j, "loss", r->loss);
	if (!is_finite(r->loss)) text(j, "loss_is", r->loss != r->loss ? "nan" : r->loss > 0 ? "inf" : "-inf");
	number(j, "grad_norm", r->grad_norm);
	text(j, "verdict", verdict_name(r));
	number(j, "gain_per_layer", r->gain_per_layer);
	number(j, "total_gain", r->total_gain);
	weir__json_key(j, "nonfinite");
	weir__json_int(j, r->nonfinite);
	text(j, "lowest", r->low);
	number(j, "lowest_delta", r->low_delta);
	text(j, "highest", r->high);
	number(j, "highest_delta", r->high_delta);
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
