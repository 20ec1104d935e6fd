/* body_narrow.h: cross entropy of rows of few floats, eight rows at a time.
 *
 * A row of ten classes fills neither a vector nor the time that its maximum, its sum and its logarithm wait for each other. So eight rows
 * are turned: a vector holds one column of them, and what is done along a row is done from vector to vector. Element for element it is
 * what body_softmax.h does, in the same order, so the bits are those of a row by itself. Blocks with an inf or a NaN are left to it. */
#ifndef WEIR_KERNELS_BODY_NARROW_H
#define WEIR_KERNELS_BODY_NARROW_H

#include "kernels/body_softmax.h"

enum { NARROW = 16, BLOCK = VD_LANES }; /* columns, rows */

typedef struct narrow {
	double x[NARROW][BLOCK], e[NARROW][BLOCK]; /* [column][row]; behind the last row it stands again */
	int64_t label[BLOCK];
	vd max, k, rest; /* as in body_softmax.h, of each row */
} narrow;

ROW int64_t label_at(const void *labels, int64_t row, bool wide_label)
{
	return wide_label ? ((const int64_t *)labels)[row] : ((const int32_t *)labels)[row];
}

/* Reads a block. False: an entry is inf or NaN. */
ROW bool narrow_read(narrow *b, const float *x, const void *labels, bool wide_label, int64_t rows, int64_t n)
{
	vl most = vl_set1(0);

	for (int64_t r = 0; r < BLOCK; r++) {
		int64_t row = r < rows ? r : rows - 1;

		b->label[r] = label_at(labels, row, wide_label);
		for (int64_t c = 0; c < n; c++) b->x[c][r] = (double)x[row * n + c];
	}
	b->max = vd_load(b->x[0]);
	for (int64_t c = 0; c < n; c++) {
		vd v = vd_load(b->x[c]);

		b->max = vd_max(v, b->max);
		most = vl_max(most, vd_as_vl(vd_abs(v)));
	}
	return md_all(vd_lt(vl_as_vd(most), vd_set1((double)INFINITY)));
}

/* The exponentials, and their sum in the order of reduce.h: lanes without a column hold 0. */
ROW void narrow_sums(narrow *b, int64_t n)
{
	vd lane[NARROW];

	b->k = vd_zero();
	for (int64_t c = 0; c < n; c += VG) {
		vg x = vg_of(b->max);
		gap g;

#define READ(i) \
	if (c + (i) < n) x.v[i] = vd_load(b->x[c + (i)])
		VG_DO(READ);
#undef READ
		g = exp_gap(x, b->max, false);
#define COUNT_IN(i)                                                                 \
	if (c + (i) < n) {                                                          \
		vd_store(b->e[c + (i)], g.e.v[i]);                                  \
		b->k = vd_add(b->k, vd_blend(g.top.v[i], vd_set1(1.0), vd_zero())); \
		lane[c + (i)] = vd_blend(g.top.v[i], vd_zero(), g.e.v[i]);          \
	}
		VG_DO(COUNT_IN);
#undef COUNT_IN
	}
	for (int64_t h = NARROW / 2, live = n; h; h /= 2) {
		for (int64_t l = 0; l + h < live; l++) lane[l] = vd_add(lane[l], lane[l + h]);
		live = live < h ? live : h;
	}
	b->rest = lane[0];
}

/* k + rest = total + lost. */
ROW vd narrow_total(const narrow *b, vd *lost)
{
	vd total = vd_add(b->k, b->rest);

	*lost = vd_blend(vd_gt(b->k, b->rest), vd_sub(b->rest, vd_sub(total, b->k)),
			 vd_sub(b->k, vd_sub(total, b->rest)));
	return total;
}

/* The label's entry in each row. */
ROW vd narrow_own(const narrow *b, double (*column)[BLOCK])
{
	double own[BLOCK];

	for (int r = 0; r < BLOCK; r++) own[r] = column[b->label[r]][r];
	return vd_load(own);
}

ROW void narrow_loss(narrow *b, float *loss, int64_t rows)
{
	vd hi, lo, lost, total = narrow_total(b, &lost);
	double of[BLOCK];

	log_parts(total, &hi, &lo);
	hi = vd_add(hi, vd_add(lo, vd_div(lost, total)));
	vd_store(of, vd_neg(vd_sub(vd_sub(narrow_own(b, b->x), b->max), hi)));
	for (int64_t r = 0; r < rows; r++) loss[r] = (float)of[r];
}

/* slope: that of each row's loss. */
ROW void narrow_gradient(narrow *b, float *gx, vd slope, int64_t rows, int64_t n)
{
	const vd one = vd_set1(1.0);
	vd lost, total = narrow_total(b, &lost), by = vd_div(one, total), own = vd_sub(total, narrow_own(b, b->e));
	double of_label[BLOCK];

	own = vd_blend(vd_eq(narrow_own(b, b->x), b->max), vd_add(vd_sub(b->k, one), b->rest), own);
	vd_store(of_label, vd_mul(vd_div(own, vd_neg(total)), slope));
	for (int64_t c = 0; c < n; c++) {
		vd e = vd_load(b->e[c]);

		e = vf_to_vd_lo(vd_pair_to_vf(e, e)); /* rounded, as where it stands in gx in between */
		vd_store(b->e[c], vd_mul(vd_mul(e, by), slope));
	}
	for (int64_t r = 0; r < rows; r++, gx += n) {
		for (int64_t c = 0; c < n; c++) gx[c] = (float)b->e[c][r];
		gx[b->label[r]] = (float)of_label[r];
	}
}

#endif
