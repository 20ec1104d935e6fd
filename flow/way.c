/* way.c: the waists of the way that the gradient takes, and where along them it shrinks or grows.
 *
 * Norms can be compared between two nodes only if all of the gradient passes both. In a chain every layer's output is such a node. Of a residual
 * block it is the sum, not what stands in the branch; of attention the block's output, not the queries. A node is a waist if
 * no operation behind it reads anything from before it; one pass over the tape, which is in order, finds them all.
 *
 * The judgement begins at the last layer's own output: before a softmax or sigmoid that ends the network, because an output that is
 * sure of itself passes little, which is what training is for. And it ends behind a normalisation of the data: before that the
 * gradient is in units of one over the data's. */
#include "flow/verdict.h"

#include <string.h>

enum { ON_WAY = 1, WAIST = 2 };

int64_t weir__flow_deepest(const weir_flow *f, int64_t *first)
{
	int64_t last = -1;

	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		if (p->delta_norm == p->delta_norm && (last < 0 || p->depth >= f->layers[last].public.depth)) last = i;
	}
	for (*first = last; *first >= 0;) {
		int64_t in = f->layers[*first].input;

		if (in < 0 || f->rec[in].from < 0 || f->rec[in].from >= *first) break;
		*first = f->rec[in].from;
	}
	return last;
}

/* ---- which nodes ---- */

static bool has_parameters(const weir_flow_layer *p)
{
	return p->weight_norm == p->weight_norm || p->param_grad_norm == p->param_grad_norm;
}

/* The layer that gives the network's outputs: one that only bends them, a softmax, is no layer of it. */
static int64_t output_layer(const weir_flow *f, int64_t last, int64_t first)
{
	int64_t l = last;

	while (l != first && !has_parameters(&f->layers[l].public)) {
		int64_t in = f->layers[l].input, before = in >= 0 ? f->rec[in].from : -1;

		if (before < 0 || before >= l) return last;
		l = before;
	}
	return has_parameters(&f->layers[l].public) ? l : last;
}

/* Marks what the gradient passes between the start and the root, and notes each node's last reader. What reads the start itself only behind the
 * layers (the target of an autoencoder, a second network) is no way around them, but has a share in the gradient there: true where there is
 * such a reader. */
static bool mark(weir_flow *f, int64_t start, int64_t end)
{
	bool shared = false;

	for (int64_t i = 0; i < f->records; i++) {
		f->rec[i].way = 0;
		f->rec[i].reader = -1;
	}
	f->rec[start].way = ON_WAY;
	for (int64_t i = start + 1; i < f->records; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		if (!t || !weir_node(t).recorded || weir_node(t).order || !f->rec[i].has_delta) continue;
		for (int k = 0; k < weir_node(t).inputs; k++) {
			int64_t at = weir_node(weir_input(t, k)).index;

			shared = shared || (at == start && i > end);
			if (at < start || !f->rec[at].way || (at == start && i > end)) continue;
			f->rec[i].way = ON_WAY;
			f->rec[at].reader = i;
		}
	}
	return shared;
}

/* Does node i, on its way, read a parameter? */
static bool reads_parameter(const weir_flow *f, int64_t i)
{
	const weir_tensor *t = weir_tape_at(f->w, i);

	for (int k = 0; t && k < weir_node(t).inputs; k++) {
		if (param_of(weir_input(t, k))) return true;
	}
	return false;
}

static bool is_normalisation(const weir_flow *f, int64_t i)
{
	const char *op = weir_node(weir_tape_at(f->w, i)).op;

	return !strcmp(op, "norm") || !strcmp(op, "var") || !strcmp(op, "layer_norm");
}

/* ---- the list ---- */

static bool add(weir_flow *f, way *y, waist at)
{
	const record *r = &f->rec[at.node];
	waist *before = y->n ? &y->at[y->n - 1] : NULL;
	bool narrow = weir_dtype_of(weir_tape_at(f->w, at.node)) == WEIR_F32;
	void *list = y->at;

	/* Counts are of the value that a replacing hook left; of several tapes, of the last. */
	at.zero =
		r->delta_norm == 0 || (!f->passes.several && r->delta.zeros == weir_numel(weir_tape_at(f->w, at.node)));
	at.bits = at.zero ? (narrow ? -165 : -1090) : weir__flow_log2(r->delta_norm);
	if (before && at.first < 0) { /* between two layers: the one before has it */
		at.first = before->first;
		at.last = before->last;
		if (y->n == 1) return true;
		y->n--;
		before = &y->at[y->n - 1];
	}
	at.gain = before ? before->bits - at.bits : 0;
	if (!weir__flow_grow(f->w, &list, y->n, &y->capacity, sizeof *y->at)) return false;
	y->at = list;
	y->at[y->n++] = at;
	return true;
}

/* The waists between start and end, which are none inside of a layer, but for the last one, which is in the output layer where this reads
 * its last parameter. */
static bool collect(weir_flow *f, way *y, int64_t start, int64_t output)
{
	int64_t reach = -1, inside = -1, end = f->layers[output].last, first = -1, last = -1;
	waist final = { .node = -1 };
	bool normalised = false;

	for (int64_t i = start; i <= end; i++) {
		record *r = &f->rec[i];
		int64_t l = r->layer;

		if (!r->way) continue;
		if (l >= 0 && i > start) {
			if (f->layers[l].last > inside) inside = f->layers[l].last;
			if (first < 0 || l < first) first = l;
			if (l > last) last = l;
		}
		normalised = normalised || (y->n == 1 && is_normalisation(f, i));
		if (reach <= i && is_finite(r->delta_norm)) {
			waist at = { .node = i, .first = first, .last = last };

			r->way |= WAIST;
			if (l == output && reads_parameter(f, i)) final = at;
			if (inside <= i && !(l == output && final.node >= 0)) {
				if (!add(f, y, at)) return false;
				first = last = -1;
				y->from = y->n == 2 && normalised && is_leaf(weir_tape_at(f->w, start)) ? 1 : y->from;
			}
		}
		if (r->reader > reach) reach = r->reader;
	}
	return final.node < 0 || add(f, y, final);
}

bool weir__flow_way(weir_flow *f, way *y)
{
	int64_t first, last = weir__flow_deepest(f, &first), start, output;

	*y = (way){ .n = 0 };
	if (last < 0) return true;
	output = output_layer(f, last, first);
	start = f->layers[first].input;
	if (start < 0 || !(f->rec[start].delta_norm == f->rec[start].delta_norm)) start = f->layers[first].last;
	if (mark(f, start, f->layers[last].last)) {
		start = f->layers[first].last;
		mark(f, start, f->layers[last].last);
	}
	return collect(f, y, start, output);
}

void weir__flow_way_free(weir_flow *f, way *y)
{
	if (y->at) weir__pool_give(f->w, y->at, (size_t)y->capacity * sizeof *y->at);
	*y = (way){ .n = 0 };
}

/* ---- where it shrinks or grows ---- */

/* The stretch with the largest sum of sign · gain - toll. */
static void best_stretch(const way *y, double sign, double toll, int64_t *lo, int64_t *hi)
{
	double best = 0, sum = 0;
	int64_t begin = y->from + 1;

	*lo = *hi = begin;
	for (int64_t i = begin; i < y->n; i++) {
		if (sum <= 0) {
			sum = 0;
			begin = i;
		}
		sum += sign * y->at[i].gain - toll;
		if (i > y->from + 1 && sum <= best) continue;
		best = sum;
		*lo = begin;
		*hi = i;
	}
}

static double sum_of(const way *y, int64_t lo, int64_t hi)
{
	double sum = 0;

	for (int64_t i = lo; i <= hi; i++) sum += y->at[i].gain;
	return sum;
}

/* The stretch to blame: from the one that makes the most of it, what does less than a fair share of the average is taken away at the ends,
 * as long as most of it remains. One bad layer among good ones is left alone; a common slope takes in nearly all, however noisy. */
static void blame(const weir_flow *f, const way *y, double sign, int64_t *lo, int64_t *hi)
{
	double whole, sum, toll = 0;

	best_stretch(y, sign, toll, lo, hi);
	whole = sum = sign * sum_of(y, *lo, *hi);
	for (int64_t round = 0; round < y->n; round++) {
		double more = f->options.fair_share * sum / (double)(*hi - *lo + 1);
		int64_t a, b;

		if (!(more > toll)) break;
		toll = more;
		best_stretch(y, sign, toll, &a, &b);
		sum = sign * sum_of(y, a, b);
		if (sum < f->options.main_share * whole) break;
		*lo = a;
		*hi = b;
	}
	if (sign > 0 || *lo == *hi) return;
	while (*lo > y->from + 1 && y->at[*lo - 1].zero)
		--*lo; /* what would come behind a slope that ended in nothing */
}

/* The first time, from the loss on, that it has fallen or risen too far from where it was before. */
static weir_verdict on_the_way(const way *y, double low, double high)
{
	double top = y->at[y->n - 1].bits, bottom = top;

	for (int64_t i = y->n - 1; i >= y->from; i--) {
		double b = y->at[i].bits;

		if (b - top < low) return WEIR_FLOW_VANISHING;
		if (b - bottom > high) return WEIR_FLOW_EXPLODING;
		if (b > top) top = b;
		if (b < bottom) bottom = b;
	}
	return WEIR_FLOW_HEALTHY;
}

weir_verdict weir__flow_judge_way(const weir_flow *f, const way *y, int64_t *lo, int64_t *hi)
{
	double low = weir__flow_log2(f->options.vanishing), high = weir__flow_log2(f->options.exploding), all;
	weir_verdict v;

	if (y->n - y->from < 2) return WEIR_FLOW_HEALTHY;
	all = y->at[y->from].bits - y->at[y->n - 1].bits;
	v = all < low ? WEIR_FLOW_VANISHING : all > high ? WEIR_FLOW_EXPLODING : on_the_way(y, low, high);
	if (v != WEIR_FLOW_HEALTHY) blame(f, y, v == WEIR_FLOW_VANISHING ? -1 : 1, lo, hi);
	return v;
}
