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
		for (int64_t i = 0; i < n; i += VG_LANES) {
			vg e = load(y, i, n - i, 0.0, wide);

			prefetch(x, n + i, wide);
			store(y, i, n - i, scaled(e, by, wide), wide);
		}
	}
}

ROW void log_softmax_rows(void *y, const void *x, int64_t rows, int64_t n, bool wide)
{
	int64_t size = wide ? 8 : 4;

	for (; rows > 0; rows--, x = (const char *)x + n * size, y = (char *)y + n * size) {
		double max = row_max(x, n, wide);
		vg log_s, m = vg_set1(max);

		if (max == -(double)INFINITY) {
			put_all(y, n, has_nan(x, n, wide) ? (double)NAN : -(double)INFINITY, false, wide);
			continue;
		}
		log_s = vg_set1(log_sum(row_sums(NULL, x, n, max, wide)));
		for (int64_t i = 0; i < n; i += VG_LANES) {
			vg v = load(x, i, n - i, max, wide);

			prefetch(x, n + i, wide);
			store(y, i, n - i, log_of(v, m, log_s, wide), wide);
		}
	}
}

ROW void softmax_vjp_rows(void *gx, const void *y, const void *gy, int64_t rows, int64_t n, bool add, bool wide)
{
	int64_t size = wide ? 8 : 4;

	for (; rows > 0; rows--) {
		weir_tree tree;
		vg dot;

		weir__tree_begin(&tree);
		for (int64_t c = 0; c < n; c += WEIR_CHUNK) {
			int64_t end = n - c < WEIR_CHUNK ? n : c + WEIR_CHUNK;
			lanes sum = zeros();

			for (int64_t i = c; i < end; i += VG_LANES) {
				vg p = load(y, i, end - i, 0.0, wide), g = load(gy, i, end - i, 0.0, wide);

				add_up(&sum, vg_mul(p, g));
			}
			weir__tree_add(&tree, fold(sum));
		}
		dot = vg_set1(weir__tree_sum(&tree));
		for (int64_t i = 0; i < n; i += VG_LANES) {
			vg p = load(y, i, n - i, 0.0, wide), g = load(gy, i, n - i, 0.0, wide);

			prefetch(y, n + i, wide);
			prefetch(gy, n + i, wide);
			put(gx, i, n - i, vg_mul(p, vg_sub(g, dot)), add, wide);
		}
		y = (const char *)y + n * size;
		gy = (const char *)gy + n * size;
		gx = (char *)gx + n * size;
	}
}

ROW void log_softmax_vjp_rows(void *gx, const void *y, const void *gy, int64_t rows, int64_t n, bool add, bool wide)
{
	const vg none = vg_set1(-(double)INFINITY);
	int64_t size = wide ? 8 : 4;

	for (; rows > 0; rows--) {
		weir_tree tree;
		bool alive = false;
		vg sum;

		weir__tree_begin(&tree);
		for (int64_t c = 0; c < n; c += WEIR_CHUNK) {
			int64_t end = n - c < WEIR_CHUNK ? n : c + WEIR_CHUNK;
			lanes part = zeros();

			for (int64_t i = c; i < end; i += VG_LANES) {
				add_up(&part, load(gy, i, end - i, 0.0, wide));
			}
			weir__tree_add(&tree, fold(part));
		}
		sum = vg_set1(weir__tree_sum(&tree));
		for (int64_t i = 0; i < n && !alive; i += VG_LANES) {
			alive = mg_any(vg_ne(load(y, i, n - i, -(double)INFINITY, wide), none));
		}
		if (!alive) put_all(gx, n, 0.0, add, wide);
		for (int64_t i = 0; i < n && alive; i += VG_LANES) {
			vg p = load(y, i, n - i, 0.0, wide), g = load(gy, i, n - i, 0.0, wide);

			prefetch(y, n + i, wide);
			prefetch(gy, n + i, wide);
			put(gx, i, n - i, vg_sub(g, vg_mul(exp_of(p, wide), sum)), add, wide);
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
			l = -first(log_of(vg_set1(at), vg_set1(max), vg_set1(l), wide).v[0]);
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
		vd m = vd_set1(max);
		vg slope = vg_set1(get(g, r * gstep, wide));
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
		here = exp_gap(vg_set1(get(x, label, wide)), m, wide);
		own = mg_any(here.top) ? s.k - 1.0 + s.rest : total - first(here.e.v[0]);
		own = own / -total * get(g, r * gstep, wide);
		old = add ? get(gx, label, wide) : 0.0;
		for (int64_t i = 0; i < n; i += VG_LANES) {
			vg e;

			if (add) {
				e = exp_gap(load(x, i, n - i, max, wide), m, wide).e;
				if (!wide) e = vg_rounded(e); /* as stored in the other mode */
			} else {
				e = load(gx, i, n - i, 0.0, wide);
			}
			e = vg_mul(scaled(e, by, wide), slope);
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
