/* profile.c: keeping a profile and writing it in Chrome's trace format, which chrome://tracing and Perfetto open.
 *
 * Every span is booked twice: on the row of its kind and name, which is a line of the table, and as an event. Events stand one after the other, in
 * the order they began, in one block of memory that is asked for once: what finds no room there is counted, and stands in the table only. So
 * keeping a profile makes no call of the allocator and can't fail. A row's time is its own: without the spans inside. */
#include "engine/profile.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/json_write.h"
#include "engine/op.h"
#include "engine/safe_write.h"
#include "engine/tape.h"
#include "kernels/cpu.h"

enum {
	BYTES = 1 << 25, /* for events; pages that are not reached take no memory */
	TEXT = 1 << 17,  /* behind them: for what is being written */
	FLUSH = TEXT / 2,
	DEEP = 128, /* spans inside one another */
	ROWS = 256,
	SLOTS = 4 * ROWS,
	SHAPES = 4, /* result and operands that an event shows */
	NAME = 48,
};

static const char *const kinds[WEIR_SPAN_KINDS] = { "forward",  "fused", "composed", "gradient",
						    "backward", "hooks", "module",   "call" };

typedef struct event {
	struct event *next;
	int64_t begin, end; /* ns since the profile began; end 0: not over */
	uint32_t row, scope;
	uint8_t shapes, rank[SHAPES];
	uint8_t here; /* bytes of the source line, which stands behind the shapes with its NUL; 0: none */
	int64_t products, bytes;
	int64_t *extent; /* of the result, then of the operands */
} event;

typedef struct row {
	char name[NAME];
	weir_span_kind kind;
	int64_t calls, own, products, bytes;
} row;

typedef struct frame {
	int64_t begin, inner; /* inner: time in spans inside */
	event *e;
} frame;

struct weir_profile {
	char *path;
	size_t size;
	bool environments; /* WEIR_PROFILE asked for it */
	int64_t start;
	frame stack[DEEP];
	int depth, too_deep;
	row rows[ROWS];
	uint32_t n_rows, slot[SLOTS]; /* hash table of row numbers + 1 */
	char *room;                   /* NULL: no events */
	size_t used;
	event *first, *last;
	int64_t dropped, inside; /* events without room; time in spans that are in no other */
};

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- booking ---- */

static void *take(struct weir_profile *p, size_t size)
{
	void *at = p->room ? p->room + p->used : NULL;

	size = (size + 7) & ~(size_t)7;
	if (!at || size > BYTES - p->used) return NULL;
	p->used += size;
	return at;
}

/* Names beyond the last row's share that row. */
static uint32_t row_of(struct weir_profile *p, weir_span_kind kind, const char *name)
{
	uint32_t h = 2166136261u + (uint32_t)kind;
	row *r;

	for (const char *c = name; *c && c - name < NAME - 1; c++) h = (h ^ (unsigned char)*c) * 16777619u;
	for (h %= SLOTS; p->slot[h]; h = (h + 1) % SLOTS) {
		r = &p->rows[p->slot[h] - 1];
		if (r->kind == kind && !strncmp(r->name, name, NAME - 1)) return p->slot[h] - 1;
	}
	if (p->n_rows == ROWS) return ROWS - 1;
	r = &p->rows[p->n_rows];
	r->kind = kind;
	strncpy(r->name, name, NAME - 1);
	p->slot[h] = ++p->n_rows;
	return p->n_rows - 1;
}

void weir__profile_push(weir_ctx *w)
{
	struct weir_profile *p = w->profile;
	event *e;

	if (p->depth == DEEP) {
		p->too_deep++;
		return;
	}
	if ((e = take(p, sizeof *e))) {
		*e = (event){ .begin = 0 };
		*(p->last ? &p->last->next : &p->first) = e;
		p->last = e;
	} else if (p->room) {
		p->dropped++;
	}
	p->stack[p->depth] = (frame){ .e = e, .begin = now() - p->start };
	if (e) e->begin = p->stack[p->depth].begin;
	p->depth++;
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

static void note_shapes(struct weir_profile *p, event *e, const weir_tensor *y)
{
	size_t n = y->here ? strlen(y->here) : 0, extents = y->rank;
	int shapes = y->nin < SHAPES - 1 ? y->nin : SHAPES - 1;
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
	struct weir_profile *p = w->profile;
	frame *f;
	row *r;
	uint32_t number, call;
	int64_t spent;

	if (p->too_deep) {
		p->too_deep--;
		return;
	}
	if (!p->depth) return; /* began before the profile did */
	f = &p->stack[--p->depth];
	spent = now() - p->start - f->begin;
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
	f->e->scope = y ? y->scope : weir__scope_now(w, &call);
	if (!y) return;
	f->e->products = products(y, kind, need);
	f->e->bytes = traffic(y, kind, need);
	note_shapes(p, f->e, y);
}

/* ---- beginning and ending ---- */

static void drop(weir_ctx *w)
{
	struct weir_profile *p = w->profile;

	weir__free(w, p->room, BYTES + TEXT);
	if (p->path) weir__text_free(w, p->path);
	weir__pool_give(w, p, sizeof *p);
	w->profile = NULL;
}

static bool complain(weir_ctx *w, const char *who, const char *path, const weir__write_error *e)
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

	if (!weir__safe_open(&file, path)) complain(w, "weir_profile_begin", path, &file.error);
	weir__safe_abandon(&file);
	return weir_ok(w);
}

bool weir_profile_begin(weir_ctx *w, const char *path)
{
	size_t size = sizeof(struct weir_profile);
	struct weir_profile *p;

	if (weir__in_hook(w, "weir_profile_begin")) return false;
	if (w->profile && w->profile->environments && !weir_profile_end(w)) return false;
	if (w->profile) {
		weir_fail(w, WEIR_ERR_ARGUMENT,
			  "weir_profile_begin: a profile is being kept already; weir_profile_end() ends it");
		return false;
	}
	if ((path && !can_write(w, path)) || !(p = weir__pool_take(w, &size))) return false;
	memset(p, 0, sizeof *p);
	w->profile = p;
	if (path && (p->path = weir__text_copy(w, path))) p->room = weir__alloc(w, BYTES + TEXT, WEIR_ALIGN);
	if (path && !p->room) drop(w);
	else p->start = now();
	return weir_ok(w);
}

void weir__profile_from_environment(weir_ctx *w)
{
	static atomic_flag taken = ATOMIC_FLAG_INIT;
	const char *path = getenv("WEIR_PROFILE");

	if (path && *path && !atomic_flag_test_and_set(&taken) && weir_profile_begin(w, path))
		w->profile->environments = true;
}

/* ---- the file ---- */

typedef struct writer {
	weir_ctx *w;
	weir__safe_file file;
	weir__text text;
	weir__json j;
} writer;

static void flush(writer *o)
{
	weir__safe_write(&o->file, o->text.data, o->text.length);
	weir__text_clear(&o->text);
}

static void put_shapes(weir__json *j, const event *e)
{
	const int64_t *at = e->extent;

	weir__json_put_array(j, "shapes"); /* of the result, and of the operands */
	for (int i = 0; i < e->shapes; i++) {
		weir__json_begin_row(j);
		for (int k = 0; k < e->rank[i]; k++) weir__json_int(j, *at++);
		weir__json_end(j);
	}
	weir__json_end(j);
	if (e->here) weir__json_put_string(j, "source", (const char *)at);
}

static void put_event(writer *o, const event *e)
{
	const row *r = &o->w->profile->rows[e->row];
	const char *scope = weir__scope_path(o->w, e->scope);
	weir__json *j = &o->j;

	weir__json_begin_object(j);
	weir__json_put_string(j, "name", r->name);
	weir__json_put_string(j, "cat", kinds[r->kind]);
	weir__json_put_string(j, "ph", "X"); /* a complete event; times are in microseconds */
	weir__json_put_double(j, "ts", (double)e->begin / 1e3);
	weir__json_put_double(j, "dur", (double)(e->end - e->begin) / 1e3);
	weir__json_put_int(j, "pid", 1);
	weir__json_put_int(j, "tid", 1);
	weir__json_put_object(j, "args");
	if (scope[0]) weir__json_put_string(j, "scope", scope);
	if (e->shapes) put_shapes(j, e);
	if (e->products) weir__json_put_int(j, "flops", 2 * e->products);
	if (e->bytes) weir__json_put_int(j, "bytes", e->bytes);
	weir__json_end(j);
	weir__json_end(j);
	if (o->text.length > FLUSH) flush(o);
}

static void put_document(writer *o)
{
	const struct weir_profile *p = o->w->profile;
	weir__json *j = &o->j;

	weir__json_begin_object(j);
	weir__json_put_string(j, "displayTimeUnit", "ns");
	weir__json_put_object(j, "otherData");
	weir__json_put_string(j, "weir", weir_build_info());
	weir__json_put_string(j, "kernels", weir_kernels_in_use());
	weir__json_put_int(j, "threads", o->w->threads);
	weir__json_put_int(j, "dropped", p->dropped);
	weir__json_end(j);
	weir__json_put_array(j, "traceEvents");
	for (const event *e = p->first; e; e = e->next) {
		if (e->end) put_event(o, e);
	}
	weir__json_end(j);
	weir__json_end(j);
	weir__json_finish(j);
	flush(o);
}

static bool write_file(weir_ctx *w)
{
	struct weir_profile *p = w->profile;
	writer o = { .w = w };

	weir__text_fixed(&o.text, p->room + BYTES, TEXT);
	weir__json_to_text(&o.j, &o.text, 0);
	if (weir__safe_open(&o.file, p->path)) put_document(&o);
	if (weir__safe_commit(&o.file)) return true;
	return complain(w, "weir_profile_end", p->path, &o.file.error);
}

bool weir_profile_end(weir_ctx *w)
{
	bool good;

	if (!w || !w->profile) {
		weir_fail(w ? w : weir__nowhere(), WEIR_ERR_ARGUMENT, "weir_profile_end: no profile is being kept");
		return false;
	}
	if (w->in_hook) return !weir__in_hook(w, "weir_profile_end");
	good = !w->profile->path || write_file(w);
	drop(w);
	return good;
}

/* ---- the table ---- */

/* Rows with the most time of their own come first. */
static bool comes_before(const row *a, const row *b)
{
	return a->own != b->own ? a->own > b->own : a < b;
}

/* The row that follows `last` in that order, or the first one where last is NULL; NULL at the end. */
static const row *next_row(const struct weir_profile *p, const row *last)
{
	const row *best = NULL;

	for (uint32_t i = 0; i < p->n_rows; i++) {
		const row *r = &p->rows[i];

		if ((!last || comes_before(last, r)) && (!best || comes_before(r, best))) best = r;
	}
	return best;
}

/* whole: ns since the profile began. */
static weir_profile_row row_shown(const row *r, double whole)
{
	return (weir_profile_row){ .name = r->name,
				   .kind = kinds[r->kind],
				   .calls = r->calls,
				   .seconds = 1e-9 * (double)r->own,
				   .share = (double)r->own / whole,
				   .flops = 2 * (double)r->products,
				   .bytes = (double)r->bytes };
}

int64_t weir_profile_rows(const weir_ctx *w, weir_profile_row *rows, int64_t n)
{
	const struct weir_profile *p = w ? w->profile : NULL;
	const row *r = NULL;
	double whole;

	if (!p) return 0;
	whole = (double)(now() - p->start);
	for (int64_t i = 0; i < n && (r = next_row(p, r)); i++) rows[i] = row_shown(r, whole);
	return p->n_rows;
}

/* A number of so many digits behind the point, right-aligned; 0 is left out. */
static void put_cell(weir__text *line, double x, int digits, size_t width)
{
	char room[32] = "";
	weir__text cell;

	weir__text_fixed(&cell, room, sizeof room);
	if (x > 0) weir__text_double(&cell, x, 'f', digits);
	weir__text_repeat(line, ' ', cell.length < width ? width - cell.length : 1);
	weir__text_str(line, room);
}

static bool put_row(FILE *file, const row *of, const char *kind, const struct weir_profile *p)
{
	weir_profile_row r = row_shown(of, (double)(now() - p->start));
	double seconds = r.seconds > 0 ? r.seconds : 1;
	char room[256];
	weir__text line;

	weir__text_fixed(&line, room, sizeof room);
	weir__text_format(&line, "%-22.22s %-8s", r.name, kind);
	put_cell(&line, (double)r.calls, 0, 10);
	put_cell(&line, 1e3 * r.seconds, 3, 11);
	put_cell(&line, 100 * r.share, 1, 7);
	put_cell(&line, r.calls ? 1e6 * r.seconds / (double)r.calls : 0, 2, 12);
	put_cell(&line, 1e-9 * r.flops / seconds, 1, 9);
	put_cell(&line, 1e-9 * r.bytes / seconds, 1, 8);
	while (line.length && room[line.length - 1] == ' ') line.length--;
	room[line.length++] = '\n';
	return fwrite(room, 1, line.length, file) == line.length;
}

static void add_row(row *sum, const row *r)
{
	sum->calls += r->calls;
	sum->own += r->own;
	sum->products += r->products;
	sum->bytes += r->bytes;
}

bool weir_profile_print(weir_ctx *w, int64_t n, FILE *file)
{
	static const char head[] =
		"span                   kind         calls     own ms  share     mean us  GFLOP/s    GB/s\n";
	const struct weir_profile *p = w ? w->profile : NULL;
	row rest = { .name = "others" }, outside = { .name = "outside" };
	const row *last = NULL;
	bool good;

	if (!p || !file) {
		weir_fail(w ? w : weir__nowhere(), WEIR_ERR_ARGUMENT, "weir_profile_print: %s",
			  p ? "file is NULL" : "no profile is being kept");
		return false;
	}
	outside.own = now() - p->start;
	good = fwrite(head, 1, sizeof head - 1, file) == sizeof head - 1;
	for (int64_t i = 0; good && (last = next_row(p, last)); i++) {
		if (!n || i < n) good = put_row(file, last, kinds[last->kind], p);
		else add_row(&rest, last);
	}
	if (rest.calls) good = good && put_row(file, &rest, "", p);
	outside.own -= p->inside;
	good = good && put_row(file, &outside, "", p);
	if (!good) weir_fail(w, WEIR_ERR_IO, "weir_profile_print: the file can't be written");
	return good;
}
