/* profile.c: keeping a profile.
 *
 * Every span is booked twice: on the row of its kind and name, which is a line of the table, and as an event. Events stand one after the other, in
 * the order they began, in one block of memory that is asked for once: what finds no room there is counted, and stands in the table only. So
 * keeping a profile makes no call of the allocator and can't fail. A row's time is its own: without the spans inside. */
#include "engine/profile_kept.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/op.h"
#include "engine/safe_write.h"
#include "engine/tape.h"
#include "kernels/threads.h"

/* ---- booking ---- */

static void *take(weir_profile *p, size_t size)
{
	void *at = p->room ? p->room + p->used : NULL;

	size = (size + 7) & ~(size_t)7;
	if (!at || size > WEIR_PROFILE_BYTES - p->used) return NULL;
	p->used += size;
	return at;
}

/* Names that find no row of their own share one. */
static uint32_t row_of(weir_profile *p, weir_span_kind kind, const char *name)
{
	uint32_t h = 2166136261u + (uint32_t)kind;
	weir_span_row *r;

	for (const char *c = name; *c && c - name < WEIR_PROFILE_NAME - 1; c++) h = (h ^ (unsigned char)*c) * 16777619u;
	for (h %= WEIR_PROFILE_SLOTS; p->slot[h]; h = (h + 1) % WEIR_PROFILE_SLOTS) {
		r = &p->rows[p->slot[h] - 1];
		if (r->kind == kind && !strncmp(r->name, name, WEIR_PROFILE_NAME - 1)) return p->slot[h] - 1;
	}
	if (p->n_rows == WEIR_PROFILE_ROWS - 1) name = "more", kind = WEIR_SPAN_CALL;
	if (p->n_rows == WEIR_PROFILE_ROWS) return WEIR_PROFILE_ROWS - 1;
	r = &p->rows[p->n_rows];
	r->kind = kind;
	strncpy(r->name, name, WEIR_PROFILE_NAME - 1);
	p->slot[h] = ++p->n_rows;
	return p->n_rows - 1;
}

/* NULL where there is no room for another. */
static weir_span_event *event_new(weir_profile *p)
{
	weir_span_event *e = take(p, sizeof *e);

	if (e) {
		*e = (weir_span_event){ .begin = 0 };
		*(p->last ? &p->last->next : &p->first) = e;
		p->last = e;
	} else if (p->room) {
		p->dropped++;
	}
	return e;
}

/* Workers are numbered as they come, from 1. */
static uint8_t worker_number(weir_profile *p, const void *thread)
{
	int i = 0;

	while (i < p->workers && p->worker[i] != thread) i++;
	if (i == UINT8_MAX) return UINT8_MAX;
	if (i == p->workers) p->worker[p->workers++] = thread;
	return (uint8_t)(i + 1);
}

/* The workers' times come from the host thread when they are through, so events have one writer. */
static void book_pieces(weir_region_watch *watch, int pieces)
{
	weir_profile *p = (weir_profile *)watch;
	const weir_span_event *of = p->stack[p->depth - 1].e;
	const weir_piece_time *t = watch->piece;

	for (int i = 0; of && i < pieces; i++) {
		weir_span_event *e = event_new(p);

		if (!e) continue;
		e->of = of;
		e->begin = t[i].begin - p->start;
		e->end = t[i].end - p->start;
		e->worker = t[i].thread == t->thread ? 0 : worker_number(p, t[i].thread);
	}
}

/* Regions belong to the profile while one of its spans is open on the thread that runs them. */
static void watch_regions(weir_profile *p)
{
	if (p->room) weir__region_watch = p->depth ? &p->regions : NULL;
}

void weir__profile_push(weir_ctx *w)
{
	weir_profile *p = w->profile;
	weir_span_event *e;

	if (p->depth == WEIR_PROFILE_DEEP) {
		p->too_deep++;
		return;
	}
	e = event_new(p);
	p->stack[p->depth] = (weir_span_frame){ .e = e, .begin = weir__clock() - p->start };
	if (e) e->begin = p->stack[p->depth].begin;
	p->depth++;
	watch_regions(p);
}

static size_t bytes_of(const weir_tensor *t)
{
	return (size_t)t->numel * weir__size_of(t->dtype);
}

/* What of memory the kernels must read and write at least. Forward: result and operands. Gradient: the result's, what the rule keeps, and
 * that of each operand that needs one. A view touches none, and what was made on the way costs none. */
static int64_t traffic(const weir_tensor *y, weir_span_kind kind, unsigned need)
{
	bool forward = kind == WEIR_SPAN_FORWARD;
	size_t bytes = bytes_of(y);

	if ((y->op->flags & WEIR_OP_VIEW) || kind == WEIR_SPAN_FUSED) return 0;
	if (!forward && (y->op->keeps & WEIR_KEEP_OUT)) bytes += bytes_of(y);
	for (int i = 0; i < y->nin; i++) {
		if (forward || weir__keeps_in(y->op, i)) bytes += bytes_of(y->in[i]);
		if (need >> (i < 32 ? i : 31) & 1) bytes += bytes_of(y->in[i]);
	}
	return (int64_t)bytes;
}

/* Multiply-adds: a product's gradient to either operand is a product of the same size. */
static int64_t products(const weir_tensor *y, weir_span_kind kind, unsigned need)
{
	int64_t n = y->op->multiply_adds ? y->op->multiply_adds(y) : 0;

	return kind == WEIR_SPAN_FORWARD ? n : n * ((need & 1) + (need >> 1 & 1));
}

static void note_shapes(weir_profile *p, weir_span_event *e, const weir_tensor *y)
{
	size_t n = y->here ? strlen(y->here) : 0, extents = y->rank;
	int shapes = y->nin < WEIR_PROFILE_SHAPES - 1 ? y->nin : WEIR_PROFILE_SHAPES - 1;
	int64_t *at;

	for (int i = 0; i < shapes; i++) extents += y->in[i]->rank;
	if (n > UINT8_MAX) n = UINT8_MAX;
	if (!(at = take(p, extents * sizeof *at + n + 1))) return;
	e->extent = at;
	for (int i = -1; i < shapes; i++) {
		const weir_tensor *t = i < 0 ? y : y->in[i];

		e->rank[e->shapes++] = t->rank;
		for (int k = 0; k < t->rank; k++) *at++ = t->shape[k];
	}
	e->here = (uint8_t)n;
	if (n) memcpy(at, y->here, n);
	((char *)at)[n] = 0;
}

void weir__profile_pop(weir_ctx *w, weir_span_kind kind, const char *name, const weir_tensor *y, unsigned need)
{
	weir_profile *p = w->profile;
	weir_span_frame *f;
	weir_span_row *r;
	uint32_t number, call;
	int64_t spent;

	if (p->too_deep) {
		p->too_deep--;
		return;
	}
	if (!p->depth) return; /* began before the profile did */
	f = &p->stack[--p->depth];
	watch_regions(p);
	spent = weir__clock() - p->start - f->begin;
	number = row_of(p, kind, name);
	r = &p->rows[number];
	r->calls++;
	r->own += spent - f->inner;
	*(p->depth ? &p->stack[p->depth - 1].inner : &p->inside) += spent;
	if (y && weir_is_bad(y)) y = NULL;
	if (y) r->products += products(y, kind, need);
	if (y) r->bytes += traffic(y, kind, need);
	if (!f->e) return;
	f->e->end = f->begin + spent;
	f->e->row = number;
	f->e->scope = y ? y->scope : weir__scope_now(&w->scopes, &call);
	if (!y) return;
	f->e->products = products(y, kind, need);
	f->e->bytes = traffic(y, kind, need);
	note_shapes(p, f->e, y);
}

/* ---- beginning and ending ---- */

static void drop(weir_ctx *w)
{
	weir_profile *p = w->profile;

	if (weir__region_watch == &p->regions) weir__region_watch = NULL;
	weir__free(w, p->room, WEIR_PROFILE_BYTES + WEIR_PROFILE_TEXT);
	if (p->path) weir__text_free(w, p->path);
	weir__pool_give(w, p, sizeof *p);
	w->profile = NULL;
}

bool weir__profile_complain(weir_ctx *w, const char *who, const char *path, const weir__write_error *e)
{
	char text[128];

	if (strerror_r(e->number, text, sizeof text) != 0) memcpy(text, "unknown error", 14);
	weir_fail(w, WEIR_ERR_IO, "%s: %s: %s: %s", who, path, weir__write_step_text(e->step), text);
	return false;
}

/* A path that can't be written is told before the work, not after it. */
static bool can_write(weir_ctx *w, const char *path)
{
	weir__safe_file file;

	if (!weir__safe_open(&file, path)) weir__profile_complain(w, "weir_profile_begin", path, &file.error);
	weir__safe_abandon(&file);
	return weir_ok(w);
}

static bool inherited(const weir_profile *p)
{
	return p->process != getpid();
}

bool weir_profile_begin(weir_ctx *w, const char *path)
{
	size_t size = sizeof(weir_profile);
	weir_profile *p;

	if (weir__in_hook(w, "weir_profile_begin")) return false;
	if (w->profile && (w->profile->environments || inherited(w->profile)) && !weir_profile_end(w)) return false;
	if (w->profile) {
		weir_fail(w, WEIR_ERR_ARGUMENT,
			  "weir_profile_begin: a profile is being kept already; weir_profile_end() ends it");
		return false;
	}
	if ((path && !can_write(w, path)) || !(p = weir__pool_take(w, &size))) return false;
	memset(p, 0, sizeof *p);
	p->regions.seen = book_pieces;
	p->process = getpid();
	w->profile = p;
	if (path && (p->path = weir__text_copy(w, path)))
		p->room = weir__alloc(w, WEIR_PROFILE_BYTES + WEIR_PROFILE_TEXT, WEIR_ALIGN);
	if (path && !p->room) drop(w);
	else p->start = weir__clock();
	return weir_ok(w);
}

void weir__profile_from_environment(weir_ctx *w)
{
	static atomic_flag taken = ATOMIC_FLAG_INIT;
	const char *path = getenv("WEIR_PROFILE");

	if (path && *path && !atomic_flag_test_and_set(&taken) && weir_profile_begin(w, path))
		w->profile->environments = true;
}

bool weir_profile_end(weir_ctx *w)
{
	bool good;

	if (!w || !w->profile) {
		weir_fail(w ? w : weir__nowhere(), WEIR_ERR_ARGUMENT, "weir_profile_end: no profile is being kept");
		return false;
	}
	if (w->in_hook) return !weir__in_hook(w, "weir_profile_end");
	good = !w->profile->path || inherited(w->profile) || weir__profile_write(w);
	drop(w);
	return good;
}
