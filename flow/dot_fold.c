/* dot_fold.c: which repeated blocks of a picture are drawn once.
 *
 * A block is what stands in the tape's order under one module up to its first number ("mlp.3"), or one call of it. Blocks are alike where
 * operations, types, shapes and connections are, and where both or neither hold an inf or NaN. Of a run of alike blocks, also of
 * patterns of up to PERIODS blocks, the first and the last are drawn, and a box ×N in place of those between. */
#include "flow/dot.h"

#include <string.h>

enum { PERIODS = 4 };

typedef struct block {
	int64_t first, last; /* nodes */
	uint64_t signature;
} block;

typedef struct blocks {
	weir_ctx *w;
	block *list;
	int64_t count, capacity;
} blocks;

static uint64_t mix(uint64_t h, uint64_t x)
{
	h ^= x + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
	return h * 0xff51afd7ed558ccdu;
}

/* What node t of the block that begins at node first adds to its signature. */
static uint64_t describe(uint64_t h, const weir_tensor *t, int64_t first)
{
	h = mix(h, (uint64_t)(uintptr_t)weir_op_of(t));
	h = mix(h, (uint64_t)weir_dtype_of(t) * 16 + (uint64_t)weir_rank(t));
	for (int a = 0; a < weir_rank(t); a++) h = mix(h, (uint64_t)weir_extent(t, a));
	for (int k = 0; k < weir_node(t).inputs; k++) {
		int64_t at = weir_node(weir_input(t, k)).index;

		h = mix(h, at >= first ? (uint64_t)(at - first) + 2 : 1);
	}
	return h;
}

static block *begin_block(blocks *b, int64_t node)
{
	void *list = b->list;

	if (!weir__flow_grow(b->w, &list, b->count, &b->capacity, sizeof *b->list)) return NULL;
	b->list = list;
	b->list[b->count] = (block){ .first = node, .last = node };
	return &b->list[b->count++];
}

/* Does node i, of a place with a block's name n bytes long, go on with the block that began with node first? */
static bool goes_on(const blocks *b, const weir__dot_place *at, int64_t first, int64_t i, size_t n)
{
	weir_node_info a = weir_node(weir_tape_at(b->w, first)), c = weir_node(weir_tape_at(b->w, i));

	if (weir__flow_name_length(at[first].path, 0) != n || memcmp(at[first].path, at[i].path, n)) return false;
	return !c.inputs || !a.inputs || c.call <= a.call;
}

static bool find_blocks(blocks *b, const weir__dot_place *at, const bool *bad, int64_t nodes)
{
	block *now = NULL;

	for (int64_t i = 0; i < nodes; i++) {
		const weir_tensor *t = weir_tape_at(b->w, i);
		size_t n;

		if (!weir__dot_shown(t) || (is_leaf(t) && !at[i].length)) continue;
		n = at[i].length ? weir__flow_name_length(at[i].path, 0) : 0;
		if (n > at[i].length) n = at[i].length;
		if (!now || !n || !goes_on(b, at, now->first, i, n)) {
			if (!(now = begin_block(b, i))) return false;
			now->signature = n ? 0 : mix(1, (uint64_t)i); /* outside of modules: like nothing else */
		}
		now->last = i;
		now->signature = mix(describe(now->signature, t, now->first), bad[i]);
	}
	return true;
}

/* How many blocks from k on repeat with this period. */
static int64_t run_length(const blocks *b, int64_t k, int64_t period)
{
	int64_t n = period;

	while (k + n < b->count && b->list[k + n].signature == b->list[k + n - period].signature) n++;
	return n / period * period;
}

static bool fold(weir__dot_folds *f, const blocks *b, weir__dot_place *at, int64_t first, int64_t last, int64_t times)
{
	void *list = f->list;
	int64_t from = b->list[first].first, to = b->list[last].last;

	if (!weir__flow_grow(b->w, &list, f->count, &f->capacity, sizeof *f->list)) return false;
	f->list = list;
	f->list[f->count] = (weir__dot_fold){ .first = from, .last = to, .times = times };
	for (int64_t i = from; i <= to; i++) {
		if (at[i].length) at[i].fold = f->count;
	}
	f->count++;
	return true;
}

bool weir__dot_find_folds(weir_ctx *w, weir__dot_place *at, const bool *bad, int64_t n, int64_t least,
			  weir__dot_folds *f)
{
	blocks b = { .w = w };
	bool ok;

	*f = (weir__dot_folds){ .list = NULL };
	for (int64_t i = 0; i < n; i++) at[i].fold = at[i].drawn_to = at[i].drawn_from = -1;
	if (least < 3) return true; /* first, last, and what is between them */
	ok = find_blocks(&b, at, bad, n);
	for (int64_t k = 0; ok && k < b.count;) {
		int64_t period = 1, length = run_length(&b, k, 1);

		for (int64_t p = 2; p <= PERIODS; p++) {
			int64_t more = run_length(&b, k, p);

			if (more / p >= least && more > 2 * length) length = more, period = p;
		}
		if (length / period >= least) {
			ok = fold(f, &b, at, k + period, k + length - period - 1, length / period - 2);
			k += length;
		} else {
			k++;
		}
	}
	if (b.list) weir__pool_give(w, b.list, (size_t)b.capacity * sizeof *b.list);
	return ok;
}
