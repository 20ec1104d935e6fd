/* record.c: what is written at every step: the list of recorders, and what they have in common. In steady state none of them allocates. */
#include "flow/record.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- the checksum ---- */

void weir__crc32c_table(uint32_t table[256])
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int bit = 0; bit < 8; bit++) c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
		table[i] = c;
	}
}

uint32_t weir__crc32c(const uint32_t table[256], const void *data, size_t n)
{
	const unsigned char *p = data;
	uint32_t c = 0xffffffffu;

	for (size_t i = 0; i < n; i++) c = c >> 8 ^ table[(c ^ p[i]) & 255];
	return c ^ 0xffffffffu;
}

/* ---- files ---- */

void weir__record_fail(weir_flow *f, const char *path, const char *what)
{
	weir_fail(f->w, WEIR_ERR_IO, "weir_flow_record: %s: %s", path, what);
}

int weir__record_open(weir_flow *f, const char *path, int flags)
{
	int fd;

	do fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0666);
	while (fd < 0 && errno == EINTR);
	if (fd < 0) weir__record_fail(f, path, strerror(errno));
	return fd;
}

static void stop(weir__recorder *r)
{
	close(r->fd);
	r->fd = -1;
}

void weir__record_write(weir_flow *f, weir__recorder *r)
{
	const char *at = r->text.data;
	size_t n = r->text.length;

	if (r->text.truncated) { /* for want of memory, which was reported */
		stop(r);
		return;
	}
	while (n) {
		ssize_t done = write(r->fd, at, n);

		if (done < 0 && errno == EINTR) continue;
		if (done <= 0) {
			weir__record_fail(f, r->path, done < 0 ? strerror(errno) : "nothing more can be written");
			stop(r);
			return;
		}
		at += done;
		n -= (size_t)done;
	}
	weir__text_clear(&r->text);
}

void weir__record_reserve(weir__text *t, size_t bytes)
{
	size_t length = t->length;

	weir__text_repeat(t, 0, bytes);
	if (t->truncated) return;
	t->length = length;
	t->data[length] = 0;
}

bool weir__record_path(weir_flow *f, weir__recorder *r, const char *path)
{
	char *copy = weir__text_copy(f->w, path);

	if (!copy) return false;
	if (r->path) weir__text_free(f->w, r->path);
	r->path = copy;
	return true;
}

void *weir__record_own(weir_flow *f, weir__recorder *r, size_t bytes)
{
	r->own_bytes = bytes;
	if ((r->own = weir__pool_take(f->w, &r->own_bytes))) memset(r->own, 0, bytes);
	return r->own;
}

/* ---- the list ---- */

static void *grow(void *user, void *p, size_t old_size, size_t new_size)
{
	weir_ctx *w = user;
	void *bigger = new_size ? weir__alloc(w, new_size, 16) : NULL;

	if (new_size && !bigger) return NULL;
	if (bigger && old_size) memcpy(bigger, p, old_size);
	if (old_size) weir__free(w, p, old_size);
	return bigger;
}

static void discard(weir_flow *f, weir__recorder *r)
{
	if (r->close) r->close(f, r);
	if (r->fd >= 0 && close(r->fd) && errno != EINTR) weir__record_fail(f, r->path, strerror(errno));
	if (r->own) weir__pool_give(f->w, r->own, r->own_bytes);
	if (r->path) weir__text_free(f->w, r->path);
	weir__text_drop(&r->text);
	weir__pool_give(f->w, r, sizeof *r);
}

bool weir_flow_record(weir_flow *f, weir_flow_recorder kind, const char *path)
{
	static bool (*const begin[])(weir_flow *, weir__recorder *) = {
		[WEIR_FLOW_JSON_LINES] = weir__record_jsonl,
		[WEIR_FLOW_TENSORBOARD] = weir__record_tensorboard,
		[WEIR_FLOW_RING] = weir__record_ring,
	};
	size_t size = sizeof(weir__recorder);
	weir__recorder *r, **end;

	if (!f || !weir_ok(f->w)) return false;
	if (!path || !path[0] || (unsigned)kind >= sizeof begin / sizeof *begin) {
		weir_fail(f->w, WEIR_ERR_ARGUMENT, "weir_flow_record: %s",
			  path && path[0] ? "this kind of recorder does not exist" : "path is empty");
		return false;
	}
	if (!(r = weir__pool_take(f->w, &size))) return false;
	memset(r, 0, sizeof *r);
	r->fd = -1;
	weir__text_growing(&r->text, grow, f->w);
	if (!weir__record_path(f, r, path) || !begin[kind](f, r)) {
		discard(f, r);
		return false;
	}
	for (end = &f->recorders; *end;) end = &(*end)->next;
	*end = r;
	return true;
}

/* ---- one step ---- */

/* The norm of all parameters' gradients, from the norms by place on the tape; without overflow. */
static double gradient_norm(const weir_flow *f)
{
	double largest = 0, sum = 0;
	bool some = false;

	if (f->sum.param_grad_norm == f->sum.param_grad_norm) return f->sum.param_grad_norm;
	for (int pass = 0; pass < 2; pass++) {
		for (int64_t i = 0; i < f->norms; i++) {
			const weir_tensor *t = weir_tape_at(f->w, i);
			double n = f->norm[i];

			if (!t || !is_leaf(t) || !param_of(t)) continue;
			if (n != n && !(i < f->records && f->rec[i].has_delta)) continue; /* it has none */
			if (!is_finite(n)) return n;
			some = true;
			if (!pass) largest = n > largest ? n : largest;
			else if (largest > 0) sum += n / largest * (n / largest);
		}
	}
	return some ? largest * __builtin_sqrt(sum) : UNKNOWN;
}

void weir__flow_record_step(weir_flow *f, bool whole)
{
	struct timespec now;
	weir__step s = { .whole = whole, .layers = whole || weir__flow_same_layers(f) };

	if (!f->recorders) return;
	clock_gettime(CLOCK_REALTIME, &now);
	s.time = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	s.grad_norm = gradient_norm(f);
	for (weir__recorder *r = f->recorders; r; r = r->next) {
		if (r->fd >= 0) r->step(f, r, &s);
	}
}

void weir__flow_record_free(weir_flow *f)
{
	while (f->recorders) {
		weir__recorder *r = f->recorders;

		f->recorders = r->next;
		discard(f, r);
	}
}
