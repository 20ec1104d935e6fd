/* body_softmax.c: the rows of softmax.h, compiled once per instruction set. */
#include "kernels/body_narrow.h"
#include "kernels/table.h"

ROW void softmax_rows(void *y, const void *x, int64_t rows, int64_t n, bool wide)
{
	int64_t size = wide ? 8 : 4;

	for (; rows > 0; rows--, x = (const char *)x + n * size, y = (char *)y + n * size) {
		double max = row_max(x, n, wide);
		inverse by;

		if (max == -(double)INFINITY) {
			put_all(y, n, has_nan(x, n, wide) ? (double)NAN : 0.0, false, wide);
			continue;
		}
		by = inverse_of(row_sums(y, x, n, max, wide));
		for (int64_t i = 0; i < n; i += 16) {
			lanes e = load(y, i, n - i, 0.0, wide);

			prefetch(x, n + i, wide);
			e.lo = scaled(e.lo, by, wide);
			e.hi = scaled(e.hi, by, wide);
			store(y, i, n - i, e, wide);
		}
	}
}

ROW void log_softmax_rows(void *y, const void *x, int64_t rows, int64_t n, bool wide)
{
	int64_t size = wide ? 8 : 4;

	for (; rows > 0; rows--, x = (const char *)x + n * size, y = (char *)y + n * size) {
		double max = row_max(x, n, wide);
		vd log_s, m = vd_set1(max);

		if (max == -(double)INFINITY) {
			put_all(y, n, has_nan(x, n, wide) ? (double)NAN : -(double)INFINITY, false, wide);
			continue;
		}
		log_s = vd_set1(log_sum(row_sums(NULL, x, n, max, wide)));
		for (int64_t i = 0; i < n; i += 16) {
			lanes v = load(x, i, n - i, max, wide);

			prefetch(x, n + i, wide);
			v.lo = log_of(v.lo, m, log_s, wide);
			v.hi = log_of(v.hi, m, log_s, wide);
			store(y, i, n - i, v, wide);
		}
	}
}

ROW void softmax_vjp_rows(void *gx, const void *y, const void *gy, int64_t rows, int64_t n, bool add, bool wide)
{
	int64_t size = wide ? 8 : 4;

	for (; rows > 0; rows--) {
		weir_tree tree;
		vd dot;

		weir__tree_begin(&tree);
		for (int64_t c = 0; c < n; c += WEIR_CHUNK) {
			int64_t end = n - c < WEIR_CHUNK ? n : c + WEIR_CHUNK;
			lanes sum = zeros();

			for (int64_t i = c; i < end; i += 16) {
				lanes p = load(y, i, end - i, 0.0, wide), g = load(gy, i, end - i, 0.0, wide);

				sum.lo = vd_add(sum.lo, vd_mul(p.lo, g.lo));
				sum.hi = vd_add(sum.hi, vd_mul(p.hi, g.hi));
			}
			weir__tree_add(&tree, fold(sum));
		}
		dot = vd_set1(weir__tree_sum(&tree));
		for (int64_t i = 0; i < n; i += 16) {
			lanes p = load(y, i, n - i, 0.0, wide), g = load(gy, i, n - i, 0.0, wide);

			prefetch(y, n + i, wide);
			prefetch(gy, n + i, wide);
			g.lo = vd_mul(p.lo, vd_sub(g.lo, dot));
			g.hi = vd_mul(p.hi, vd_sub(g.hi, dot));
			put(gx, i, n - i, g, add, wide);
		}
		y = (const char *)y + n * size;
		gy = (const char *)gy + n * size;
		gx = (char *)gx + n * size;
	}
}

ROW void log_softmax_vjp_rows(void *gx, const void *y, const void *gy, int64_t rows, int64_t n, bool add, bool wide)
{
	const vd none = vd_set1(-(double)INFINITY);
	int64_t size = wide ? 8 : 4;

	for (; rows > 0; rows--) {
		weir_tree tree;
		bool alive = false;
		vd sum;

		weir__tree_begin(&tree);
		for (int64_t c = 0; c < n; c += WEIR_CHUNK) {
			int64_t end = n - c < WEIR_CHUNK ? n : c + WEIR_CHUNK;
			lanes part = zeros();

			for (int64_t i = c; i < end; i += 16) {
				lanes g = load(gy, i, end - i, 0.0, wide);

				part.lo = vd_add(part.lo, g.lo);
				part.hi = vd_add(part.hi, g.hi);
			}
			weir__tree_add(&tree, fold(part));
		}
		sum = vd_set1(weir__tree_sum(&tree));
		for (int64_t i = 0; i < n && !alive; i += 16) {
			lanes p = load(y, i, n - i, -(double)INFINITY, wide);

			alive = md_any(md_or(vd_ne(p.lo, none), vd_ne(p.hi, none)));
		}
		if (!alive) put_all(gx, n, 0.0, add, wide);
		for (int64_t i = 0; i < n && alive; i += 16) {
			lanes p = load(y, i, n - i, 0.0, wide), g = load(gy, i, n - i, 0.0, wide);

			prefetch(y, n + i, wide);
			prefetch(gy, n + i, wide);
			g.lo = vd_sub(g.lo, vd_mul(exp_of(p.lo, wide), sum));
			g.hi = vd_sub(g.hi, vd_mul(exp_of(p.hi, wide), sum));
			put(gx, i, n - i, g, add, wide);
		}
		y = (const char *)y + n * size;
		gy = (const char *)gy + n * size;
		gx = (char *)gx + n * size;
	}
}

ROW void cross_entropy_rows(void *loss, const void *x, const void *labels, bool wide_label, int64_t rows, int64_t n,
			    bool wide)
{
	for (int64_t r = 0; r < rows; r++, x = (const char *)x + n * (wide ? 8 : 4)) {
		double max = row_max(x, n, wide), at = get(x, label_at(labels, r, wide_label), wide), l;

		if (max == -(double)INFINITY) {
			l = has_nan(x, n, wide) ? (double)NAN : (double)INFINITY;
		} else {
			l = log_sum(row_sums(NULL, x, n, max, wide));
			l = -first(log_of(vd_set1(at), vd_set1(max), vd_set1(l), wide));
		}
		set(loss, r, l, wide);
	}
}

ROW void cross_entropy_vjp_rows(void *gx, const void *x, const void *labels, bool wide_label, const void *g,
				int64_t gstep, int64_t rows, int64_t n, bool add, bool wide)
{
	int64_t size = wide ? 8 : 4;

	for (int64_t r = 0; r < rows; r++, x = (const char *)x + n * size, gx = (char *)gx + n * size) {
		int64_t label = label_at(labels, r, wide_label);
		double max = row_max(x, n, wide), total, lost, old, own;
		vd m = vd_set1(max), slope = vd_set1(get(g, r * gstep, wide));
		inverse by;
		gap here;
		sums s;

		if (max == -(double)INFINITY) {
			put_all(gx, n, has_nan(x, n, wide) ? (double)NAN : 0.0, add, wide);
			continue;
		}
		s = row_sums(add ? NULL : gx, x, n, max, wide);
		by = inverse_of(s);
		total = total_of(s, &lost);
		here = exp_gap(vd_set1(get(x, label, wide)), m, wide);
		own = md_any(here.top) ? s.k - 1.0 + s.rest : total - first(here.e);
		own = own / -total * get(g, r * gstep, wide);
		old = add ? get(gx, label, wide) : 0.0;
		for (int64_t i = 0; i < n; i += 16) {
			lanes e;

			if (add) {
				e = load(x, i, n - i, max, wide);
				e.lo = exp_gap(e.lo, m, wide).e;
				e.hi = exp_gap(e.hi, m, wide).e;
				if (!wide) {
					vf v = vd_pair_to_vf(e.lo, e.hi); /* as stored in the other mode */

					e = (lanes){ vf_to_vd_lo(v), vf_to_vd_hi(v) };
				}
			} else {
				e = load(gx, i, n - i, 0.0, wide);
			}
			e.lo = vd_mul(scaled(e.lo, by, wide), slope);
			e.hi = vd_mul(scaled(e.hi, by, wide), slope);
			put(gx, i, n - i, e, add, wide);
		}
		if (!wide) own = (double)(float)own;
		set(gx, label, add ? old + own : own, wide);
	}
}

ROWS_BOTH(softmax, (void *y, const void *x, int64_t rows, int64_t n), y, x, rows, n)
ROWS_BOTH(log_softmax, (void *y, const void *x, int64_t rows, int64_t n), y, x, rows, n)
ROWS_BOTH(softmax_vjp, (void *gx, const void *y, const void *gy, int64_t rows, int64_t n, bool add), gx, y, gy, rows, n,
	  add)
ROWS_BOTH(log_softmax_vjp, (void *gx, const void *y, const void *gy, int64_t rows, int64_t n, bool add), gx, y, gy,
	  rows, n, add)

/* Rows that come next: all, or a block of narrow ones. */
ROW int64_t next_rows(int64_t left, int64_t n)
{
	return n > NARROW || left < BLOCK ? left : BLOCK;
}

void KERN(cross_entropy_f32)(void *loss, const void *x, const void *labels, bool wide_label, int64_t rows, int64_t n)
{
	const float *from = x;
	float *to = loss;

	for (int64_t some; rows > 0; rows -= some, from += some * n, to += some) {
		narrow b;

		some = next_rows(rows, n);
		if (n <= NARROW && narrow_read(&b, from, labels, wide_label, some, n)) {
			narrow_sums(&b, n);
			narrow_loss(&b, to, some);
		} else {
			cross_entropy_rows(to, from, labels, wide_label, some, n, false);
		}
		labels = (const char *)labels + some * (wide_label ? 8 : 4);
	}
}

void KERN(cross_entropy_f64)(void *loss, const void *x, const void *labels, bool wide_label, int64_t rows, int64_t n)
{
	cross_entropy_rows(loss, x, labels, wide_label, rows, n, true);
}

/* The slopes of a block. */
ROW vd slopes(const float *g, int64_t gstep, int64_t rows)
{
	double slope[BLOCK];

	for (int64_t r = 0; r < BLOCK; r++) slope[r] = (double)g[(r < rows ? r : rows - 1) * gstep];
	return vd_load(slope);
}

void KERN(cross_entropy_vjp_f32)(void *gx, const void *x, const void *labels, bool wide_label, const void *g,
				 int64_t gstep, int64_t rows, int64_t n, bool add)
{
	const float *from = x, *slope = g;
	float *to = gx;

	for (int64_t some; rows > 0; rows -= some, from += some * n, to += some * n, slope += some * gstep) {
		narrow b;

		some = next_rows(rows, n);
		if (n <= NARROW && !add && narrow_read(&b, from, labels, wide_label, some, n)) {
			narrow_sums(&b, n);
			narrow_gradient(&b, to, slopes(slope, gstep, some), some, n);
		} else {
			cross_entropy_vjp_rows(to, from, labels, wide_label, slope, gstep, some, n, add, false);
		}
		labels = (const char *)labels + some * (wide_label ? 8 : 4);
	}
}

void KERN(cross_entropy_vjp_f64)(void *gx, const void *x, const void *labels, bool wide_label, const void *g,
				 int64_t gstep, int64_t rows, int64_t n, bool add)
{
	cross_entropy_vjp_rows(gx, x, labels, wide_label, g, gstep, rows, n, add, true);
}
