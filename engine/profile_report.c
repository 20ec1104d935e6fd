/* profile_report.c: a profile as a file in Chrome's trace format, and as a table. */
#include <string.h>

#include "engine/json_write.h"
#include "engine/profile_kept.h"
#include "engine/safe_write.h"
#include "kernels/cpu.h"
#include "kernels/threads.h"

enum {
	FLUSH = WEIR_PROFILE_TEXT / 2, /* of text that waits to be written */
	HOST = 1,                      /* the line of time of the thread that has the context; workers' follow */
};

static const char *const kinds[WEIR_SPAN_KINDS] = { "forward",  "fused", "composed", "gradient",
						    "backward", "hooks", "module",   "call" };

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

static void put_shapes(weir__json *j, const weir_span_event *e)
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

static void put_event(writer *o, const weir_span_event *e)
{
	const weir_span_event *named = e->of ? e->of : e;
	const weir_span_row *r = &o->w->profile->rows[named->row];
	const char *scope = weir__scope_path(o->w, named->scope);
	weir__json *j = &o->j;

	weir__json_begin_object(j);
	weir__json_put_string(j, "name", r->kind == WEIR_SPAN_MODULE && scope[0] ? scope : r->name);
	weir__json_put_string(j, "cat", e->of ? "piece" : kinds[r->kind]);
	weir__json_put_string(j, "ph", "X"); /* a complete event; times are in microseconds */
	weir__json_put_double(j, "ts", (double)e->begin / 1e3);
	weir__json_put_double(j, "dur", (double)(e->end - e->begin) / 1e3);
	weir__json_put_int(j, "pid", 1);
	weir__json_put_int(j, "tid", HOST + e->worker);
	weir__json_put_object(j, "args");
	if (scope[0]) weir__json_put_string(j, "scope", scope);
	if (e->shapes) put_shapes(j, e);
	if (e->products) weir__json_put_int(j, "flops", 2 * e->products);
	if (e->bytes) weir__json_put_int(j, "bytes", e->bytes);
	weir__json_end(j);
	weir__json_end(j);
	if (o->text.length > FLUSH) flush(o);
}

static void put_thread(weir__json *j, int worker)
{
	char name[32];
	weir__text text;

	weir__text_fixed(&text, name, sizeof name);
	if (worker) weir__text_format(&text, "worker %d", worker);
	else weir__text_str(&text, "host");
	weir__json_begin_object(j);
	weir__json_put_string(j, "name", "thread_name");
	weir__json_put_string(j, "ph", "M"); /* says something of the trace: here, what a line of time is called */
	weir__json_put_int(j, "pid", 1);
	weir__json_put_int(j, "tid", HOST + worker);
	weir__json_put_object(j, "args");
	weir__json_put_string(j, "name", name);
	weir__json_end(j);
	weir__json_end(j);
}

static void put_document(writer *o)
{
	const weir_profile *p = o->w->profile;
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
	for (int i = 0; i <= p->workers; i++) put_thread(j, i);
	for (const weir_span_event *e = p->first; e; e = e->next) {
		if (e->of ? e->of->end : e->end) put_event(o, e);
	}
	weir__json_end(j);
	weir__json_end(j);
	weir__json_finish(j);
	flush(o);
}

bool weir__profile_write(weir_ctx *w)
{
	weir_profile *p = w->profile;
	writer o = { .w = w };

	weir__text_fixed(&o.text, p->room + WEIR_PROFILE_BYTES, WEIR_PROFILE_TEXT);
	weir__json_to_text(&o.j, &o.text, 0);
	if (weir__safe_open(&o.file, p->path)) put_document(&o);
	if (weir__safe_commit(&o.file)) return true;
	return weir__profile_complain(w, "weir_profile_end", p->path, &o.file.error);
}

/* ---- the table ---- */

/* Rows with the most time of their own come first. */
static bool comes_before(const weir_span_row *a, const weir_span_row *b)
{
	return a->own != b->own ? a->own > b->own : a < b;
}

/* The row that follows `last` in that order, or the first one where last is NULL; NULL at the end. */
static const weir_span_row *next_row(const weir_profile *p, const weir_span_row *last)
{
	const weir_span_row *best = NULL;

	for (uint32_t i = 0; i < p->n_rows; i++) {
		const weir_span_row *r = &p->rows[i];

		if ((!last || comes_before(last, r)) && (!best || comes_before(r, best))) best = r;
	}
	return best;
}

/* whole: ns since the profile began. */
static weir_profile_row row_shown(const weir_span_row *r, double whole)
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
	const weir_profile *p = w ? w->profile : NULL;
	const weir_span_row *r = NULL;
	double whole;

	if (!p) return 0;
	whole = (double)(weir__clock() - p->start);
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

static bool put_row(FILE *file, const weir_span_row *of, const char *kind, const weir_profile *p)
{
	weir_profile_row r = row_shown(of, (double)(weir__clock() - p->start));
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

static void add_row(weir_span_row *sum, const weir_span_row *r)
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
	const weir_profile *p = w ? w->profile : NULL;
	weir_span_row rest = { .name = "others" }, outside = { .name = "outside" };
	const weir_span_row *last = NULL;
	bool good;

	if (!p || !file) {
		weir_fail(w ? w : weir__nowhere(), WEIR_ERR_ARGUMENT, "weir_profile_print: %s",
			  p ? "file is NULL" : "no profile is being kept");
		return false;
	}
	outside.own = weir__clock() - p->start;
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
