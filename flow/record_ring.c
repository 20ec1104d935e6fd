/* record_ring.c: the last 1,000 steps in a file that is mapped into memory; its form stands in record_ring.h.
 *
 * What was written there is the kernel's, so it is there whatever ends the process, also SIGKILL. A record that was being written at that
 * moment is recognised by its checksum and left out by the reader; it stood in the place of the oldest one. A new ring is made beside an old
 * one of the same name and renamed over it, for to shorten a file that another process has mapped would end that process. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "flow/record_ring.h"

enum { LONGEST_PATH = 4096 };

typedef struct ring {
	uint32_t crc[256];
	char *map;
	uint64_t number; /* of the last record */
	ring_record now;
} ring;

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
