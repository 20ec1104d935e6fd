/* dataset.c: what a data set does: splitting, minibatches. Where its examples come from: dataset_make.c, dataset_csv.c.
 *
 * A pass goes through the rows in an order that is drawn when the pass begins and that depends on the context's seed, the
 * set's own random stream and the number of the pass alone: rewinding repeats it. */
#include "io/dataset.h"

#include <string.h>

#include "engine/number.h"
#include "engine/profile.h"

/* Where there is no context to say so, or no memory for a set that says so. Never written to. */
static weir_dataset nowhere = { .bad = true };

/* ---- beginning and end ---- */

static void destroy_bad(void *object)
{
	weir_dataset *set = object;

	weir__pool_give(set->ctx, set, sizeof(*set));
}

weir_dataset *weir__dataset_bad(weir_ctx *w)
{
	size_t size = sizeof(weir_dataset);
	weir_dataset *set;

	if (!w || w == weir__nowhere()) return &nowhere;
	for (weir_owned *o = w->owned; o; o = o->next)
		if (o->destroy == destroy_bad) return o->object; /* one is enough */
	set = weir__pool_take(w, &size);
	if (!set) return &nowhere;
	*set = (weir_dataset){ .ctx = w, .bad = true };
	if (weir__own(w, set, destroy_bad)) return set;
	weir__pool_give(w, set, sizeof(*set));
	return &nowhere;
}

static void free_rows(weir_ctx *w, int64_t *rows, int64_t n)
{
	weir__free(w, rows, (size_t)(n ? n : 1) * sizeof(*rows));
}

static int64_t *new_rows(weir_ctx *w, int64_t n)
{
	return weir__alloc(w, (size_t)(n ? n : 1) * sizeof(int64_t), WEIR_ALIGN);
}

static void free_set(weir_dataset *set)
{
	weir_ctx *w = set->ctx;

	if (set->rows) free_rows(w, set->rows, set->n);
	if (set->order) free_rows(w, set->order, set->n);
	if (--set->examples->sets == 0) weir__examples_free(w, set->examples);
	weir__pool_give(w, set, sizeof(*set));
}

static void destroy_set(void *object)
{
	free_set(object);
}

/* A set over n of the examples; takes rows over, also when it fails and returns NULL. */
static weir_dataset *new_set(weir_ctx *w, weir_examples *e, int64_t n, int64_t *rows)
{
	size_t size = sizeof(weir_dataset);
	weir_dataset *set = weir__pool_take(w, &size);

	if (!set) {
		if (rows) free_rows(w, rows, n);
		if (e->sets == 0) weir__examples_free(w, e);
		return NULL;
	}
	*set = (weir_dataset){ .ctx = w, .examples = e, .n = n, .rows = rows, .drawn = -1 };
	e->sets++;
	set->order = new_rows(w, n);
	set->owned = set->order ? weir__own(w, set, destroy_set) : NULL;
	if (!set->owned) {
		free_set(set);
		return NULL;
	}
	set->stream = weir_random_stream(w);
	return set;
}

weir_dataset *weir__dataset_over(weir_ctx *w, weir_examples *e)
{
	weir_dataset *set = new_set(w, e, e->n, NULL);

	return set ? set : weir__dataset_bad(w);
}

void weir_dataset_drop(weir_dataset *set)
{
	weir_ctx *w;
	weir_owned *owned;

	if (!set || set->bad) return;
	w = set->ctx;
	owned = set->owned;
	weir__disown(w, owned);
	weir__pool_give(w, owned, sizeof(*owned));
	free_set(set);
}

/* set can be used; who: "weir_dataset_next". */
static bool usable(const weir_dataset *set, const char *who)
{
	weir_ctx *w = weir_dataset_context(set);

	if (!weir_ok(w)) return false;
	if (!set->bad) return true;
	weir_fail(w, WEIR_ERR_ARGUMENT, "%s: this is the data set of a call that failed", who);
	return false;
}

/* ---- order ---- */

/* The upper 64 bits of a product: for random bits a, a number from 0 to b - 1. */
static uint64_t scaled(uint64_t a, uint64_t b)
{
	uint64_t al = a & UINT32_MAX, ah = a >> 32, bl = b & UINT32_MAX, bh = b >> 32, mid = ah * bl + (al * bl >> 32);

	return ah * bh + (mid >> 32) + (((mid & UINT32_MAX) + al * bh) >> 32);
}

/* Fisher and Yates, with random numbers first, first + 1, ... of a stream. */
static void shuffle(weir_ctx *w, uint64_t stream, uint64_t first, int64_t *rows, int64_t n)
{
	for (int64_t i = n - 1; i > 0; i--) {
		uint64_t k = scaled(weir_random_bits(w, stream, first + (uint64_t)i), (uint64_t)i + 1);
		int64_t row = rows[i];

		rows[i] = rows[k];
		rows[k] = row;
	}
}

static void list_rows(const weir_dataset *set, int64_t *rows)
{
	for (int64_t i = 0; i < set->n; i++) rows[i] = set->rows ? set->rows[i] : i;
}

bool weir_dataset_split(weir_dataset *set, double fraction, weir_dataset **train, weir_dataset **validation)
{
	const char *who = "weir_dataset_split";
	weir_ctx *w = weir_dataset_context(set);
	int64_t *rows, *part[2], n[2];
	weir_dataset *made[2] = { NULL, NULL };

	if (train) *train = weir__dataset_bad(w);
	if (validation) *validation = weir__dataset_bad(w);
	if (!usable(set, who)) return false;
	if (!train || !validation || !(fraction > 0 && fraction < 1)) {
		char text[WEIR__NUMBER_MAX];

		weir__format_double(text, sizeof(text), fraction, 'g', 0);
		if (!train || !validation)
			weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %s is NULL", who, train ? "validation" : "train");
		else weir_fail(w, WEIR_ERR_ARGUMENT, "%s: fraction is %s; it must lie between 0 and 1", who, text);
		return false;
	}
	weir__enter(w);
	n[0] = (int64_t)(fraction * (double)set->n + 0.5);
	weir__leave(w);
	n[1] = set->n - n[0];
	if (n[0] < 1 || n[1] < 1) {
		weir_fail(w, WEIR_ERR_ARGUMENT,
			  "%s: of %lld examples, %lld would go to train and %lld to validation; neither may be empty",
			  who, (long long)set->n, (long long)n[0], (long long)n[1]);
		return false;
	}
	rows = new_rows(w, set->n);
	if (!rows) return false;
	list_rows(set, rows);
	shuffle(w, weir_random_stream(w), 0, rows, set->n);
	for (int i = 0; i < 2; i++) {
		part[i] = made[0] || i == 0 ? new_rows(w, n[i]) : NULL;
		if (!part[i]) continue;
		memcpy(part[i], rows + (i ? n[0] : 0), (size_t)n[i] * sizeof(*rows));
		made[i] = new_set(w, set->examples, n[i], part[i]);
	}
	free_rows(w, rows, set->n);
	if (!made[1]) {
		weir_dataset_drop(made[0]);
		return false;
	}
	*train = made[0];
	*validation = made[1];
	return true;
}

/* ---- minibatches ---- */

/* Copies the examples of n rows into new tensors. */
static bool collect(weir_dataset *set, const int64_t *rows, int64_t n, weir_tensor **x, weir_tensor **y)
{
	const weir_examples *e = set->examples;
	const int64_t xs[2] = { n, e->features }, ys[2] = { n, e->targets };
	size_t row = (size_t)e->features * weir__size_of((int)e->dtype);
	size_t out = e->regression ? (size_t)e->targets * weir__size_of((int)e->dtype) : sizeof(int64_t);
	weir_tensor *tx = weir_zeros(set->ctx, e->dtype, 2, xs);
	weir_tensor *ty = weir_zeros(set->ctx, e->regression ? e->dtype : WEIR_I64, e->regression ? 2 : 1, ys);

	if (weir_is_bad(tx) || weir_is_bad(ty)) return false;
	if (weir_is_bad(weir_set_name(tx, e->x_name)) || weir_is_bad(weir_set_name(ty, e->y_name))) return false;
	for (int64_t i = 0; i < n; i++) {
		size_t from = (size_t)(rows ? rows[i] : i), to = (size_t)i;

		if (row) memcpy((char *)weir__at(tx) + to * row, (const char *)e->x + from * row, row);
		if (out) memcpy((char *)weir__at(ty) + to * out, (const char *)e->y + from * out, out);
	}
	*x = tx;
	*y = ty;
	return true;
}

static bool check_results(const weir_dataset *set, const char *who, weir_tensor **x, weir_tensor **y)
{
	weir_ctx *w = weir_dataset_context(set);

	if (x) *x = weir__bad_of(w);
	if (y) *y = weir__bad_of(w);
	if (!usable(set, who)) return false;
	if (x && y) return true;
	weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %s is NULL", who, x ? "y" : "x");
	return false;
}

bool weir_dataset_next(weir_dataset *set, int64_t batch, weir_tensor **x, weir_tensor **y)
{
	bool collected;

	if (!check_results(set, "weir_dataset_next", x, y)) return false;
	if (batch < 1 || set->n == 0) {
		if (batch < 1)
			weir_fail(set->ctx, WEIR_ERR_ARGUMENT, "weir_dataset_next: batch is %lld; it must be 1 or more",
				  (long long)batch);
		else weir_fail(set->ctx, WEIR_ERR_ARGUMENT, "weir_dataset_next: the data set has no examples");
		return false;
	}
	if (set->drawn != set->epoch) {
		list_rows(set, set->order);
		shuffle(set->ctx, set->stream, (uint64_t)set->epoch * (uint64_t)set->n, set->order, set->n);
		set->drawn = set->epoch;
	}
	if (batch > set->n - set->at) batch = set->n - set->at;
	weir__span_begin(set->ctx);
	collected = collect(set, set->order + set->at, batch, x, y);
	weir__span_end(set->ctx, WEIR_SPAN_CALL, "weir_dataset_next");
	if (!collected) return false;
	set->at += batch;
	if (set->at == set->n) {
		set->at = 0;
		set->epoch++;
	}
	return true;
}

bool weir_dataset_all(weir_dataset *set, weir_tensor **x, weir_tensor **y)
{
	return check_results(set, "weir_dataset_all", x, y) && collect(set, set->rows, set->n, x, y);
}

bool weir_dataset_rewind(weir_dataset *set, int64_t epoch)
{
	if (!usable(set, "weir_dataset_rewind")) return false;
	if (epoch < 0) {
		weir_fail(set->ctx, WEIR_ERR_ARGUMENT, "weir_dataset_rewind: epoch is %lld; epochs count from 0",
			  (long long)epoch);
		return false;
	}
	set->epoch = epoch;
	set->at = 0;
	return true;
}

/* ---- looking ---- */

weir_ctx *weir_dataset_context(const weir_dataset *set)
{
	return set && set->ctx ? set->ctx : weir__nowhere();
}

bool weir_dataset_is_bad(const weir_dataset *set)
{
	return !set || set->bad;
}

int64_t weir_dataset_size(const weir_dataset *set)
{
	return weir_dataset_is_bad(set) ? 0 : set->n;
}

int64_t weir_dataset_features(const weir_dataset *set)
{
	return weir_dataset_is_bad(set) ? 0 : set->examples->features;
}

int64_t weir_dataset_classes(const weir_dataset *set)
{
	return weir_dataset_is_bad(set) ? 0 : set->examples->classes;
}

int64_t weir_dataset_targets(const weir_dataset *set)
{
	return weir_dataset_is_bad(set) ? 0 : set->examples->targets;
}

weir_dtype weir_dataset_dtype(const weir_dataset *set)
{
	return weir_dataset_is_bad(set) ? WEIR_F32 : set->examples->dtype;
}

int64_t weir_dataset_epoch(const weir_dataset *set)
{
	return weir_dataset_is_bad(set) ? 0 : set->epoch;
}
