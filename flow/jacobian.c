/* jacobian.c: products with Jacobians.
 *
 * Jᵀ u is a vjp. It is linear in u, so its derivative with respect to u, whatever u, is J: the vjp is recorded once, and a vjp
 * through that record is J v. A dense layer needs no tape: J is diag(f') W for each row of its input, and its weights may have
 * been changed since the forward pass, after which a vjp is an error. */
#include "flow/jacobian.h"

#include <string.h>

#include "kernels/reduce.h"

enum { QUIET = WEIR_NO_HOOKS | WEIR_ALLOW_UNUSED };

double weir__flow_noise(uint64_t i)
{
	uint64_t h = i * UINT64_C(0x9e3779b97f4a7c15) + UINT64_C(0x243f6a8885a308d3);

	h = (h ^ h >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	h = (h ^ h >> 27) * UINT64_C(0x94d049bb133111eb);
	h ^= h >> 31;
	return (double)(h >> 11) * 0x1p-52 - 1;
}

static bool make_room(jacobian *j, weir_ctx *w)
{
	j->scale = 1;
	j->room_bytes = (size_t)(j->nx + j->ny) * sizeof *j->room;
	j->room = weir__pool_take(w, &j->room_bytes);
	return j->room != NULL;
}

/* ---- a piece of tape ---- */

enum { FROM_X = 1, TO_Y = 2 };

/* Marks the nodes from first to last that lead from the one to the other, through operations that pass gradients on. */
static void mark_way(weir_ctx *w, int64_t first, int64_t last, uint8_t *way)
{
	way[0] = FROM_X;
	for (int64_t i = first + 1; i <= last; i++) {
		const weir_tensor *t = weir_tape_at(w, i);
		bool passes = t && weir_node(t).recorded && is_float(t) && !(weir_op_of(t)->flags & WEIR_OP_STOP);

		for (int k = 0; passes && k < weir_node(t).inputs; k++) {
			int64_t at = weir_node(weir_input(t, k)).index;

			if (at >= first && at < i && way[at - first]) way[i - first] = FROM_X;
		}
	}
	way[last - first] |= TO_Y;
	for (int64_t i = last; i > first; i--) {
		const weir_tensor *t = weir_tape_at(w, i);

		for (int k = 0; way[i - first] == (FROM_X | TO_Y) && k < weir_node(t).inputs; k++) {
			int64_t at = weir_node(weir_input(t, k)).index;

			if (at >= first && at < i) way[at - first] |= TO_Y;
		}
	}
}

bool weir__jacobian_intact(weir_ctx *w, weir_tensor *x, weir_tensor *y)
{
	int64_t first = weir_node(x).index, last = weir_node(y).index, n = last - first + 1;
	size_t bytes = (size_t)(n > 0 ? n : 1);
	bool intact = first >= 0 && n > 0;
	uint8_t *way;

	if (!intact || !(way = weir__pool_take(w, &bytes))) return false;
	memset(way, 0, (size_t)n);
	mark_way(w, first, last, way);
	for (int64_t i = first + 1; i <= last && intact; i++) {
		const weir_tensor *t = weir_tape_at(w, i);

		if (way[i - first] == (FROM_X | TO_Y)) intact = weir_op_of(t)->vjp && weir_is_intact(t);
	}
	weir__pool_give(w, way, bytes);
	return intact;
}

static weir_tensor *zeros_like(weir_ctx *w, const weir_tensor *t)
{
	return weir_zeros(w, weir_dtype_of(t), weir_rank(t), weir_shape(t));
}

bool weir__jacobian_open(jacobian *j, weir_tensor *x, weir_tensor *y)
{
	*j = (jacobian){ .w = weir_context(y), .x = x, .y = y, .nx = weir_numel(x), .ny = weir_numel(y), .blocks = 1 };
	if (!weir_ok(j->w)) return false;
	for (; !weir_is_recording(j->w); j->lifted++) weir_no_grad_end(j->w);
	j->place = weir_mark(j->w);
	if (!make_room(j, j->w)) return false;
	j->u = zeros_like(j->w, y);
	return weir_vjp(y, j->u, &x, 1, &j->pulled, QUIET | WEIR_CREATE_GRAPH);
}

static weir_tensor *along_tape(jacobian *j, bool transposed, weir_tensor *t)
{
	weir_tensor *r = NULL;

	if (transposed) weir_vjp(j->y, t, &j->x, 1, &r, QUIET);
	else if (j->pulled) weir_vjp(j->pulled, t, &j->u, 1, &r, QUIET);
	return r;
}

/* ---- a dense layer ---- */

/* f', by a vjp of ones through what follows the product. */
static bool copy_slope(jacobian *j, const dense *d, weir_tensor *out, int64_t rows)
{
	weir_ctx *w = weir_context(out);
	weir_place place = weir_mark(w);
	weir_tensor *one, *slope = NULL, *product = d->product;
	size_t bytes = (size_t)weir_numel(out) * sizeof(double);
	double *v = weir__pool_take(w, &bytes);
	bool ok = false;

	if (!v) return false;
	weir_no_grad_begin(w);
	one = weir_full(w, weir_dtype_of(out), weir_rank(out), weir_shape(out), 1);
	weir_no_grad_end(w);
	if (weir_vjp(out, one, &product, 1, &slope, QUIET)) {
		j->slope = weir_zeros(j->w, WEIR_F64, 2, (int64_t[]){ rows, d->out });
		ok = !slope ||
		     (weir_read_f64(slope, v, weir_numel(slope)) && weir_write_f64(j->slope, v, weir_numel(slope)));
	}
	weir_rewind(w, place, NULL, 0);
	weir__pool_give(w, v, bytes);
	return ok && weir_ok(j->w);
}

static bool copy_weight(jacobian *j, const dense *d)
{
	weir_ctx *w = weir_context(d->weight);
	size_t bytes = (size_t)weir_numel(d->weight) * sizeof(double);
	double *v = weir__pool_take(w, &bytes);
	bool ok;

	if (!v) return false;
	j->weight = weir_zeros(j->w, WEIR_F64, 2, weir_shape(d->weight));
	ok = weir_read_f64(d->weight, v, weir_numel(d->weight)) && weir_write_f64(j->weight, v, weir_numel(d->weight));
	weir__pool_give(w, v, bytes);
	return ok;
}

bool weir__jacobian_open_dense(jacobian *j, weir_ctx *c, const dense *d, weir_tensor *out)
{
	bool bare = out == d->product;
	int64_t rows = bare ? 1 : weir_numel(out) / d->out; /* without f' they are all alike */

	*j = (jacobian){
		.w = c, .dense = true, .turned = d->turned, .nx = rows * d->in, .ny = rows * d->out, .blocks = rows
	};
	if (!weir_ok(c) || weir_node(d->weight).released || weir_numel(out) != weir_numel(d->product) ||
	    (!bare && !weir__jacobian_intact(weir_context(out), d->product, out)))
		return false;
	weir_no_grad_begin(c);
	j->lifted = -1;
	j->place = weir_mark(c);
	return make_room(j, c) && copy_weight(j, d) && (bare || copy_slope(j, d, out, rows));
}

static weir_tensor *through_layer(jacobian *j, bool transposed, weir_tensor *t)
{
	if (transposed && j->slope) t = weir_mul(t, j->slope);
	t = transposed == j->turned ? weir_linear(t, j->weight, NULL) : weir_matmul(t, j->weight);
	return !transposed && j->slope ? weir_mul(t, j->slope) : t;
}

static bool bound_dense(const jacobian *j, double *bound)
{
	int64_t in = j->nx / j->blocks, out = j->ny / j->blocks;
	weir_place place = weir_mark(j->w);
	weir_tensor *w = weir_abs(j->weight), *slope = j->slope ? weir_abs(j->slope) : NULL, *columns, *rows;

	if (!slope) slope = weir_full(j->w, WEIR_F64, 2, (int64_t[]){ 1, out }, 1);
	if (j->turned) w = weir_transpose(w, 0, 1);
	columns = weir_amax(weir_matmul(slope, w), 1, (int[]){ 1 }, false);
	rows = weir_amax(weir_mul(slope, weir_sum(w, 1, (int[]){ 1 }, false)), 1, (int[]){ 1 }, false);
	*bound = in && out ? weir_item(weir_amax(weir_mul(weir_sqrt(columns), weir_sqrt(rows)), 0, NULL, false)) : 0;
	weir_rewind(j->w, place, NULL, 0);
	return weir_ok(j->w);
}

/* ---- both ---- */

void weir__jacobian_close(jacobian *j)
{
	if (j->room) weir__pool_give(j->w, j->room, j->room_bytes);
	if (j->lifted || j->room) weir_rewind(j->w, j->place, NULL, 0);
	for (; j->lifted > 0; j->lifted--) weir_no_grad_begin(j->w);
	for (; j->lifted < 0; j->lifted++) weir_no_grad_end(j->w);
}

bool weir__jacobian_apply(jacobian *j, bool transposed, const double *in, double *out)
{
	int64_t n = transposed ? j->ny : j->nx, m = transposed ? j->nx : j->ny;
	weir_place place = weir_mark(j->w);
	weir_tensor *t, *r;
	bool ok;

	for (int64_t i = 0; i < n; i++) j->room[i] = in[i] * j->scale;
	weir_no_grad_begin(j->w);
	if (j->dense) t = weir_zeros(j->w, WEIR_F64, 2, (int64_t[]){ j->blocks, n / j->blocks });
	else t = zeros_like(j->w, transposed ? j->y : j->x);
	weir_no_grad_end(j->w);
	weir_write_f64(t, j->room, n);
	r = j->dense ? through_layer(j, transposed, t) : along_tape(j, transposed, t);
	if (!r) memset(out, 0, (size_t)m * sizeof *out);
	ok = weir_ok(j->w) && (!r || weir_read_f64(r, out, m));
	weir_rewind(j->w, place, NULL, 0);
	for (int64_t i = 0; ok && i < m; i++) out[i] /= j->scale;
	return ok;
}

bool weir__jacobian_apply_safely(jacobian *j, bool transposed, const double *in, double *out)
{
	bool narrow = !j->dense && weir_dtype_of(j->x) == WEIR_F32 && weir_dtype_of(j->y) == WEIR_F32;
	double far = narrow ? 0x1p70 : 0x1p500, was = j->scale, norm;
	int64_t m = transposed ? j->nx : j->ny;

	if (!weir__jacobian_apply(j, transposed, in, out)) return false;
	norm = weir__norm2(WEIR_F64, out, m, 1) * j->scale;
	if (norm >= 1 / far && norm <= far) return true;
	j->scale = norm < 1 ? was * far : was / far;
	if (!is_finite(norm)) j->scale = was / far;
	if (!(j->scale >= 1 / far && j->scale <= far)) {
		j->scale = was;
		return true;
	}
	if (!weir__jacobian_apply(j, transposed, in, out)) return false;
	norm = weir__norm2(WEIR_F64, out, m, 1);
	if (norm > 0 && is_finite(norm)) return true;
	j->scale = was; /* it was not the scale: J is zero, or not finite */
	return true;
}

/* ---- independent blocks ---- */

/* Do places with (or without) this bit reach only such ones? */
static bool probe(jacobian *j, int64_t blocks, int64_t bit, bool with, bool *alone)
{
	double *u = j->room + j->nx, *v = j->room; /* both are read before they are written */
	int64_t rows = j->ny / blocks, columns = j->nx / blocks;

	for (int64_t i = 0; i < j->ny; i++) u[i] = ((i / rows & bit) != 0) == with ? weir__flow_noise((uint64_t)i) : 0;
	if (!weir__jacobian_apply(j, true, u, v)) return false;
	for (int64_t i = 0; i < j->nx && *alone; i++) *alone = ((i / columns & bit) != 0) == with || v[i] == 0;
	return true;
}

bool weir__jacobian_find_blocks(jacobian *j)
{
	int64_t size[WEIR_MAX_RANK + 1] = { 1 };
	int axes = 0;

	if (j->dense) return true;
	while (axes < weir_rank(j->x) && axes < weir_rank(j->y) && weir_shape(j->x)[axes] == weir_shape(j->y)[axes]) {
		size[axes + 1] = size[axes] * weir_shape(j->x)[axes];
		axes++;
	}
	for (; axes; axes--) {
		bool alone = true;

		if (size[axes] < 2 || size[axes] == size[axes - 1]) continue;
		for (int64_t bit = 1; bit < size[axes] && alone; bit *= 2) {
			if (!probe(j, size[axes], bit, true, &alone)) return false;
			if (alone && !probe(j, size[axes], bit, false, &alone)) return false;
		}
		if (!alone) continue;
		j->blocks = size[axes];
		return true;
	}
	return true;
}

/* Row i of every block at once, column sums into sum. */
static bool form(jacobian *j, double *u, double *row, double *sum, double *row_most)
{
	int64_t rows = j->ny / j->blocks, columns = j->nx / j->blocks;

	memset(u, 0, (size_t)j->ny * sizeof *u);
	memset(sum, 0, (size_t)j->nx * sizeof *sum);
	memset(row_most, 0, (size_t)j->blocks * sizeof *row_most);
	for (int64_t i = 0; i < rows; i++) {
		for (int64_t b = 0; b < j->blocks; b++) u[b * rows + i] = 1;
		if (!weir__jacobian_apply(j, true, u, row)) return false;
		for (int64_t b = 0; b < j->blocks; b++) {
			double total = 0;

			for (int64_t k = b * columns; k < (b + 1) * columns; k++) {
				double x = row[k] < 0 ? -row[k] : row[k];

				total += x;
				sum[k] += x;
			}
			if (!(total <= row_most[b])) row_most[b] = total;
			u[b * rows + i] = 0;
		}
	}
	return true;
}

bool weir__jacobian_bound(jacobian *j, int64_t most, double *bound)
{
	int64_t columns = j->nx / j->blocks;
	size_t bytes = (size_t)(j->ny + 2 * j->nx + j->blocks) * sizeof(double);
	double *u, *sum, *row_most;
	bool ok;

	*bound = UNKNOWN;
	if (j->dense) return bound_dense(j, bound);
	if (j->ny / j->blocks > most) return true;
	if (!(u = weir__pool_take(j->w, &bytes))) return false;
	sum = u + j->ny + j->nx;
	row_most = sum + j->nx;
	ok = form(j, u, u + j->ny, sum, row_most);
	*bound = 0;
	for (int64_t b = 0; ok && b < j->blocks; b++) {
		double most_column = 0, value;

		for (int64_t k = b * columns; k < (b + 1) * columns; k++) {
			if (!(sum[k] <= most_column)) most_column = sum[k];
		}
		value = __builtin_sqrt(most_column) * __builtin_sqrt(row_most[b]);
		if (!(value <= *bound)) *bound = value;
	}
	weir__pool_give(j->w, u, bytes);
	return ok;
}
