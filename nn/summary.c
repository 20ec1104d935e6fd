/* summary.c: a table of a module's layers, and the memory that training it will take. */
#include "nn/module.h"

#include <string.h>

#include "engine/text.h"

enum { COLUMNS = 6, CELL = 48 };

/* What one forward of one module did. */
typedef struct row {
	const weir_module *m;
	int64_t products;
	int rank; /* of its last result, or -1 */
	int64_t shape[WEIR_MAX_RANK];
	size_t activations;
} row;

typedef struct measuring {
	weir_nn_trace trace; /* first, so that a pointer to it is one to this */
	row *rows;
	int64_t n, deep;
	int64_t start; /* tape's length and bytes of values when the last module began or ended */
	size_t values;
	const weir_module **running; /* from the root on */
	weir_memory_plan plan;
} measuring;

static row *row_of(measuring *s, const weir_module *m)
{
	for (int64_t i = 0; i < s->n; i++) {
		if (s->rows[i].m == m) return &s->rows[i];
	}
	return NULL;
}

/* Books what was made since the last call on the innermost module that runs. */
static void book(measuring *s)
{
	weir_ctx *w = s->trace.ctx;
	row *r = s->deep ? row_of(s, s->running[s->deep - 1]) : NULL;

	for (int64_t i = s->start; i < weir_tape_length(w) && r; i++) {
		const weir_tensor *t = weir_tape_at(w, i);

		if (t && t->op->multiply_adds) r->products += t->op->multiply_adds(t);
	}
	if (r && w->memory.values > s->values) r->activations += w->memory.values - s->values;
	s->start = weir_tape_length(w);
	s->values = w->memory.values;
}

static void before(weir_nn_trace *trace, weir_module *m)
{
	measuring *s = (measuring *)trace;

	book(s);
	if (s->deep < s->n) s->running[s->deep++] = m;
}

static void after(weir_nn_trace *trace, weir_module *m, weir_tensor *y)
{
	measuring *s = (measuring *)trace;
	row *r = row_of(s, m);

	book(s);
	if (s->deep) s->deep--;
	if (!r || !weir_ok(trace->ctx)) return;
	r->rank = y->rank;
	memcpy(r->shape, y->shape, y->rank * sizeof(*y->shape));
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

/* "12345678" as "12,345,678", so that the eye finds the thousands. */
static void put_count(weir__text *t, int64_t x)
{
	char digits[32];
	weir__text d;

	weir__text_fixed(&d, digits, sizeof(digits));
	weir__text_int(&d, x);
	for (size_t i = 0; i < d.length; i++) {
		if (i && (d.length - i) % 3 == 0) weir__text_str(t, ",");
		weir__text_bytes(t, &digits[i], 1);
	}
}

static void put_bytes(weir__text *t, size_t bytes)
{
	static const char *const units[] = { " B", " KiB", " MiB", " GiB", " TiB" };
	double x = (double)bytes;
	int unit = 0;

	for (; x >= 1024 && unit < 4; unit++) x /= 1024;
	weir__text_double(t, x, 'f', unit ? 1 : 0);
	weir__text_str(t, units[unit]);
}

typedef struct cells {
	char s[COLUMNS][CELL];
} cells;

static int64_t weights_of_own(const weir_module *m)
{
	int64_t n = 0;

	for (int64_t i = 0; i < m->params; i++) n += m->param[i].t->numel;
	return n;
}

static void fill(cells *c, const row *r)
{
	weir__text t[COLUMNS];
	char about[256] = "";

	for (int i = 0; i < COLUMNS; i++) weir__text_fixed(&t[i], c->s[i], CELL);
	weir__text_str(&t[0], r->m->path);
	weir__text_str(&t[1], r->m->type->kind);
	if (r->m->type->describe) r->m->type->describe(r->m, about, sizeof(about));
	about[sizeof(about) - 1] = 0;
	if (about[0]) {
		weir__text_str(&t[1], " ");
		weir__text_str(&t[1], about);
	}
	if (r->rank >= 0) weir__text_shape(&t[2], r->rank, r->shape);
	else weir__text_str(&t[2], "not run");
	if (r->m->params) put_count(&t[3], weights_of_own(r->m));
	if (r->products) put_count(&t[4], r->products);
	if (r->activations) put_bytes(&t[5], r->activations);
}

/* Columns 0 to 2 to the left, numbers to the right, nothing behind the last. Width is counted in bytes: a name outside ASCII is a little
 * short. */
static void put_line(weir__text *t, const cells *c, const size_t *width)
{
	size_t blanks = 0;

	for (int i = 0; i < COLUMNS; i++) {
		size_t n = strlen(c->s[i]);

		if (i > 2) blanks += width[i] - n;
		if (n) {
			weir__text_repeat(t, ' ', blanks);
			weir__text_str(t, c->s[i]);
			blanks = 0;
		}
		blanks += 2 + (i <= 2 ? width[i] - n : 0);
	}
	weir__text_str(t, "\n");
}

static void widen(size_t *width, const cells *c)
{
	for (int i = 0; i < COLUMNS; i++) {
		if (strlen(c->s[i]) > width[i]) width[i] = strlen(c->s[i]);
	}
}

static void put_sums(weir__text *t, const measuring *s, const int64_t *shape, int rank)
{
	static const char *const optimisers[] = { "; peak with SGD ", ", momentum ", ", Adam " };
	int64_t weights = 0, products = 0;

	for (int64_t i = 0; i < s->n; i++) {
		weights += weights_of_own(s->rows[i].m);
		products += s->rows[i].products;
	}
	weir__text_str(t, "input ");
	weir__text_shape(t, rank, shape);
	weir__text_str(t, "; ");
	put_count(t, weights);
	weir__text_str(t, " parameters, ");
	put_count(t, products);
	weir__text_str(t, " multiply-adds forward\nmemory: ");
	weir__text_str(t, "parameters ");
	put_bytes(t, s->plan.parameters);
	weir__text_str(t, ", gradients ");
	put_bytes(t, s->plan.gradients);
	weir__text_str(t, ", activations ");
	put_bytes(t, s->plan.activations);
	for (int moments = 0; moments < 3; moments++) {
		weir_memory_plan plan = s->plan;

		weir__plan_moments(s->rows[0].m, moments, &plan);
		weir__text_str(t, optimisers[moments]);
		put_bytes(t, plan.peak);
	}
	weir__text_str(t, "\n");
}

static void *grow(void *user, void *p, size_t old_size, size_t new_size)
{
	void *bigger = NULL;
	size_t size = new_size;

	if (new_size && !(bigger = weir__pool_take(user, &size))) return NULL;
	if (bigger && old_size) memcpy(bigger, p, old_size < new_size ? old_size : new_size);
	if (p) weir__pool_give(user, p, old_size);
	return bigger;
}

static bool print(const measuring *s, int rank, const int64_t *shape, FILE *file)
{
	static const cells head = { { "layer", "kind", "output", "parameters", "multiply-adds", "activations" } };
	weir_ctx *w = s->trace.ctx;
	size_t width[COLUMNS] = { 0 };
	weir__text t;
	cells c;
	bool good;

	weir__text_growing(&t, grow, w);
	widen(width, &head);
	for (int64_t i = 0; i < s->n; i++) {
		fill(&c, &s->rows[i]);
		widen(width, &c);
	}
	put_line(&t, &head, width);
	for (int64_t i = 0; i < s->n; i++) {
		fill(&c, &s->rows[i]);
		put_line(&t, &c, width);
	}
	put_sums(&t, s, shape, rank);
	good = weir_ok(w) && fwrite(t.data, 1, t.length, file) == t.length;
	if (weir_ok(w) && !good) weir_fail(w, WEIR_ERR_IO, "weir_summary: the file can't be written");
	weir__text_drop(&t);
	return good;
}

bool weir_summary(weir_module *m, int rank, const int64_t *shape, FILE *file)
{
	weir_ctx *w = weir_module_context(m);
	measuring s = { .trace = { w, before, after } };
	size_t rows_got, running_got;
	bool good = false;

	if (!weir__module_usable(m, "weir_summary", "m")) return false;
	if (!file) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_summary: file is NULL");
		return false;
	}
	for (weir_module *at = m; at; at = weir__module_next(m, at)) s.n++;
	s.rows = weir__scratch_alloc(w, (size_t)s.n * sizeof(*s.rows), &rows_got);
	s.running = s.rows ? weir__scratch_alloc(w, (size_t)s.n * sizeof(*s.running), &running_got) : NULL;
	if (s.running) {
		s.n = 0;
		for (weir_module *at = m; at; at = weir__module_next(m, at))
			s.rows[s.n++] = (row){ .m = at, .rank = -1 };
		s.start = weir_tape_length(w);
		s.values = w->memory.values;
		good = weir__try_step(m, rank, shape, &s.trace, &s.plan) && print(&s, rank, shape, file);
		weir__scratch_free(w, s.running, running_got);
	}
	if (s.rows) weir__scratch_free(w, s.rows, rows_got);
	return good;
}
