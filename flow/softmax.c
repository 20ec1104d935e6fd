/* softmax.c: how far the softmaxes inside of a network are shut, as attention's are whose logits are too large.
 *
 * The Jacobian of a row p is diag(p) - p pᵀ, with trace Σ p (1 - p): 1 - 1/n for an even row of n, 0 for one that is all in one place, which
 * passes no gradient to its logits whatever these are. So a row's slope is Σ p (1 - p) / (1 - 1/n), between 0 and 1; it has no unit.
 *
 * n counts the entries that may have a share. Masked ones may not: those whose logit is -inf, and those that what was added to, or put in the
 * place of, the scores (a constant -1e9) would make 0 alone. A row with a single entry left, as the first one under a causal mask, has
 * no slope and does not count.
 *
 * Inside of the network is a softmax whose result goes on into a product of matrices with a parameter, or with what hangs on layers, as
 * attention's values do. One that ends the network in a loss is no fault when it is sure of itself. The Jacobian of log_softmax by itself is
 * I - 1 pᵀ, which never shuts: it counts where e to the power of it is taken. */
#include <string.h>

#include "flow/verdict.h"

enum { INSIDE = 1, LEARNED = 128 }; /* of record.way, which way.c clears before it begins */
enum {
	ROWS = 256, /* of a softmax that are looked at: their share that is shut is known to 3 % */
	PRIME = 1000003,
	SIDE = 8,
};

/* ---- which ---- */

static bool is(const weir_tensor *t, const char *op)
{
	return t && !strcmp(weir_node(t).op, op);
}

/* The logits of which t is the softmax, or NULL. */
static weir_tensor *logits_of(const weir_tensor *t)
{
	if (is(t, "softmax")) return weir_input(t, 0);
	return is(t, "exp") && is(weir_input(t, 0), "log_softmax") ? weir_input(weir_input(t, 0), 0) : NULL;
}

/* Where a pass is only about to begin, because it will release the values: will it have one? A mask that is made in a layer's scope does not. */
static bool has_gradient(const weir_flow *f, const weir_tensor *t)
{
	int64_t at = weir_node(t).index;

	return at >= 0 && at < f->records && (f->rec[at].has_delta || (f->rec[at].way & LEARNED));
}

/* Does t multiply its operand k, as a matrix, by what is learned? */
static bool multiplies(const weir_flow *f, const weir_tensor *t, int k)
{
	const weir_tensor *other = weir_input(t, !k);
	int64_t at = other ? weir_node(other).index : -1;

	if (!is(t, "matmul") && !(is(t, "linear") && k < 2)) return false;
	return param_of(other) || (at >= 0 && f->rec[at].from >= 0 && has_gradient(f, other));
}

/* Marks the nodes that hang on a parameter, or on the input whose gradient is asked for. */
static void mark_learned(weir_flow *f)
{
	for (int64_t i = 0; i < f->records; i++) {
		weir_tensor *t = weir_tape_at(f->w, i);
		bool learned = t && (i == f->when.asked || param_of(t));

		for (int k = 0; t && is_float(t) && k < weir_node(t).inputs; k++)
			learned = learned || has_gradient(f, weir_input(t, k));
		f->rec[i].way = learned ? LEARNED : 0;
	}
}

/* Marks the nodes whose values go on into such a product. Returns whether a softmax is among them. */
static bool mark(weir_flow *f)
{
	bool any = false;

	mark_learned(f);
	for (int64_t i = f->records - 1; i >= 0; i--) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		if (!takes_part(t) || !has_gradient(f, t)) continue;
		any = any || ((f->rec[i].way & INSIDE) && logits_of(t));
		for (int k = 0; k < weir_node(t).inputs; k++) {
			int64_t at = weir_node(weir_input(t, k)).index;

			if (at >= 0 && ((f->rec[i].way & INSIDE) || multiplies(f, t, k))) f->rec[at].way |= INSIDE;
		}
	}
	return any;
}

/* ---- rows ---- */

typedef struct rows {
	const weir_tensor *p, *z;
	const void *to;    /* the probabilities */
	const void *from;  /* the logits, or NULL where they are gone */
	const void *plain; /* what they were before a mask, or NULL */
	int64_t n, count;
} rows;

static double at(const weir_tensor *t, const void *data, int64_t i)
{
	return weir_dtype_of(t) == WEIR_F32 ? (double)((const float *)data)[i] : ((const double *)data)[i];
}

/* The scores that z was made from by joining something constant to them, or NULL. */
static const void *below_mask(const weir_flow *f, const weir_tensor *z)
{
	const weir_tensor *scores = NULL;

	if (!is(z, "add") && !is(z, "where")) return NULL;
	for (int k = 0; k < weir_node(z).inputs; k++) {
		const weir_tensor *x = weir_input(z, k);

		if (!has_gradient(f, x)) continue;
		if (scores) return NULL;
		scores = x;
	}
	if (!scores || weir_numel(scores) != weir_numel(z) || weir_dtype_of(scores) != weir_dtype_of(z)) return NULL;
	return value_of(scores);
}

/* A view that was given back, as that of a softmax along another axis than the last, made again: the caller rewinds the tape. */
static weir_tensor *readable(weir_tensor *z)
{
	weir_tensor *x = weir_input(z, 0);

	if (!weir_node(z).released) return z;
	if (!x || weir_node(x).released || !(weir_op_of(z)->flags & WEIR_OP_VIEW)) return NULL;
	return weir_op_apply(weir_op_of(z), &x, 1, weir_attr(z));
}

static bool open_rows(const weir_flow *f, weir_tensor *p, weir_tensor *z, rows *r)
{
	*r = (rows){ .p = p, .z = z, .to = weir_rank(p) ? value_of(p) : NULL };
	if (!r->to) return false;
	r->n = weir_extent(p, -1);
	r->count = weir_numel(p) / r->n;
	if ((z = readable(z))) r->z = z;
	if (z) r->from = weir_data(z);
	if (r->from && weir_is_contiguous(z)) r->plain = below_mask(f, z);
	return true;
}

/* Where row i of the logits, which may be a view, begins. */
static int64_t begin_of(const weir_tensor *z, int64_t i)
{
	int64_t place = 0;

	for (int axis = weir_rank(z) - 1; axis-- > 0;) {
		place += i % weir_shape(z)[axis] * weir_strides(z)[axis];
		i /= weir_shape(z)[axis];
	}
	return place;
}

static int64_t step_of(const weir_tensor *z)
{
	return weir_strides(z)[weir_rank(z) - 1];
}

/* What a mask adds at most to the scores of a row. */
static double top_of_mask(const rows *r, int64_t from)
{
	double top = -__builtin_inf();

	for (int64_t k = 0; r->plain && k < r->n; k++) {
		double d = at(r->z, r->from, from + k) - at(r->z, r->plain, from + k);

		if (d > top) top = d;
	}
	return top;
}

/* Is the logit at this place of the row that begins at `from` masked? top: NaN before it was asked for. */
static bool left_out(const rows *r, int64_t from, int64_t place, double *top)
{
	double z = at(r->z, r->from, place), least = weir_dtype_of(r->z) == WEIR_F32 ? 104 : 746; /* e^-least is 0 */

	if (z == -__builtin_inf()) return true;
	if (!r->plain) return false;
	if (*top != *top) *top = top_of_mask(r, from);
	return z - at(r->z, r->plain, place) < *top - least;
}

/* Entries of row i that are 0 by a mask; all that are 0 where the logits are gone. */
static int64_t masked(const rows *r, int64_t i)
{
	int64_t from = begin_of(r->z, i), step = step_of(r->z), n = 0;
	double top = UNKNOWN;

	for (int64_t k = 0; k < r->n; k++) {
		if (at(r->p, r->to, i * r->n + k) == 0) n += !r->from || left_out(r, from, from + k * step, &top);
	}
	return n;
}

/* Σ p (1 - p), in a few sums side by side, and the number of zeros. */
#define TRACE_OF(type)                                                                                      \
	static double trace_of_##type(const type *p, int64_t n, int64_t *zeros)                             \
	{                                                                                                   \
		double sum[SIDE] = { 0 }, all = 0;                                                          \
		int64_t k = 0, none = 0;                                                                    \
                                                                                                            \
		for (; k + SIDE <= n; k += SIDE) {                                                          \
			for (int j = 0; j < SIDE; j++) sum[j] += (double)p[k + j] * (1 - (double)p[k + j]); \
		}                                                                                           \
		for (; k < n; k++) all += (double)p[k] * (1 - (double)p[k]);                                \
		for (int j = 0; j < SIDE; j++) all += sum[j];                                               \
		for (k = 0; k < n; k++) none += p[k] == 0;                                                  \
		*zeros = none;                                                                              \
		return all;                                                                                 \
	}
TRACE_OF(float)
TRACE_OF(double)

/* The slope of row i; NaN where it has none. */
static double slope_of(const rows *r, int64_t i)
{
	int64_t zeros, left = r->n;
	double sum = weir_dtype_of(r->p) == WEIR_F32 ? trace_of_float((const float *)r->to + i * r->n, r->n, &zeros)
						     : trace_of_double((const double *)r->to + i * r->n, r->n, &zeros);

	if (zeros) left -= masked(r, i);
	return left > 1 ? sum / (1 - 1 / (double)left) : UNKNOWN;
}

/* Of many rows some from everywhere: by steps of a prime, so that no period of samples, heads or places is met. */
static int64_t chosen(const rows *r, int64_t i)
{
	return r->count > ROWS ? i * PRIME % r->count : i;
}

/* Adds the rows of one softmax to those of its layer. Sums; means are made of them at the end. */
static void add(const weir_flow *f, layer *l, const rows *r)
{
	weir_flow_layer *to = &l->public;

	for (int64_t i = 0; i < r->count && i < ROWS; i++) {
		double s = slope_of(r, chosen(r, i));

		if (s != s) continue;
		if (!to->softmax_rows++) to->softmax_slope = to->softmax_shut = 0;
		to->softmax_slope += s;
		to->softmax_shut += s < f->options.flat_softmax;
	}
}

static void add_all(weir_flow *f)
{
	rows r;

	for (int64_t i = 0; i < f->records; i++) {
		weir_tensor *t = weir_tape_at(f->w, i), *z;
		int64_t l = f->rec[i].layer >= 0 ? f->rec[i].layer : f->rec[i].from;

		if (l < 0 || !(f->rec[i].way & INSIDE) || !(z = logits_of(t)) || !has_gradient(f, z)) continue;
		if (!open_rows(f, t, z, &r)) continue;
		add(f, &f->layers[l], &r);
		f->layers[l].softmax = i;
	}
}

/* Reading makes views on the tape, which no hook shall see, and takes them back. */
static weir_place begin(weir_ctx *w)
{
	weir_no_hooks_begin(w);
	weir_no_grad_begin(w);
	return weir_mark(w);
}

static void end(weir_ctx *w, weir_place place)
{
	weir_rewind(w, place, NULL, 0);
	weir_no_grad_end(w);
	weir_no_hooks_end(w);
}

/* Standard deviation of the logits in their rows, masked ones left out; NaN where they can't be read. */
static double spread_of(const rows *r)
{
	double all = 0, count = 0;

	for (int64_t i = 0; r->from && i < r->count && i < ROWS; i++) {
		int64_t from = begin_of(r->z, chosen(r, i)), step = step_of(r->z);
		double top = UNKNOWN, sum = 0, squares = 0, n = 0;

		for (int64_t k = 0; k < r->n; k++) {
			double z = at(r->z, r->from, from + k * step);

			if (left_out(r, from, from + k * step, &top)) continue;
			sum += z, squares += z * z, n += 1;
		}
		if (n < 2) continue;
		all += squares - sum * sum / n;
		count += n;
	}
	return count > 0 ? __builtin_sqrt(all / count) : UNKNOWN;
}

static void forget(layer *l)
{
	l->public.softmax_rows = 0;
	l->public.softmax_slope = l->public.softmax_shut = l->softmax_spread = UNKNOWN;
	l->softmax = -1;
}

void weir__flow_softmax_now(weir_flow *f)
{
	weir_place place = begin(f->w);
	rows r;

	for (int64_t i = 0; i < f->count; i++) forget(&f->layers[i]);
	if (mark(f)) add_all(f);
	for (int64_t i = 0; i < f->count; i++) {
		layer *l = &f->layers[i];
		weir_flow_layer *p = &l->public;
		weir_tensor *y = weir_tape_at(f->w, l->softmax);
		double n = (double)p->softmax_rows;

		if (!p->softmax_rows) continue;
		p->softmax_slope /= n;
		p->softmax_shut /= n;
		if (p->softmax_shut > 0 && open_rows(f, y, logits_of(y), &r)) l->softmax_spread = spread_of(&r);
	}
	end(f->w, place);
}

void weir__flow_softmax(weir_flow *f)
{
	if (!f->frees) {
		weir__flow_softmax_now(f);
		return;
	}
	for (int64_t i = 0; i < f->count; i++) {
		forget(&f->layers[i]);
		weir__flow_values_give(f, &f->layers[i]);
	}
}

/* ---- what follows from it ---- */

/* Over all calls of the module: one step of a decoder may well look at one place alone. */
bool weir__flow_is_shut(const weir_flow *f, int64_t l)
{
	const weir_flow_layer *p = &f->layers[l].public;
	double all = 0, shut = 0;

	if (!(p->softmax_rows > 0)) return false;
	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *q = &f->layers[i].public;

		if (q->name != p->name || !q->softmax_rows) continue;
		all += (double)q->softmax_rows;
		shut += (double)q->softmax_rows * q->softmax_shut;
	}
	return shut >= f->options.shut_rows * all;
}

/* Is x, or what it is a view of, made by a constant factor? */
static bool has_factor(const weir_tensor *x)
{
	while (x && !is_leaf(x) && (weir_op_of(x)->flags & WEIR_OP_VIEW)) x = weir_input(x, 0);
	return is(x, "affine") || is(x, "mul") || is(x, "div");
}

/* The length of the products that the logits are; 0 where they are none, or are multiplied by something else beside. */
static int64_t length_of_products(const weir_flow *f, const weir_tensor *z)
{
	while (z && !is(z, "matmul")) {
		const weir_tensor *next = NULL;

		if (is_leaf(z) || has_factor(z)) return 0;
		for (int k = 0; k < weir_node(z).inputs; k++) {
			if (!has_gradient(f, weir_input(z, k))) continue;
			if (next) return 0;
			next = weir_input(z, k);
		}
		z = next;
	}
	if (!z || has_factor(weir_input(z, 0)) || has_factor(weir_input(z, 1))) return 0;
	return weir_extent(weir_input(z, 0), -1);
}

const char *weir__flow_shut_cause(const weir_flow *f, int64_t l, weir__text *t)
{
	const weir_flow_layer *p = &f->layers[l].public;
	weir_tensor *y = weir_tape_at(f->w, f->layers[l].softmax);
	int64_t d = length_of_products(f, logits_of(y));
	double spread = f->layers[l].softmax_spread, root = __builtin_sqrt((double)d);

	weir__text_double(t, 100 * p->softmax_shut, 'p', 3);
	weir__text_format(t, " %% of %lld rows of softmax pass nothing back to their logits",
			  (long long)p->softmax_rows);
	if (spread == spread) {
		weir__text_str(t, ", whose standard deviation is ");
		weir__text_double(t, spread, 'p', 3);
	}
	if (!(d > 1 && spread / root <= f->options.large_input)) return "initial weights";
	weir__text_format(t, ": products of length %lld that are not divided by its root", (long long)d);
	return "scale of the logits";
}
