/* var: y = Σ (x - mean)² / (count - correction) over some axes. Composed.
 *
 *   shape      x's without the reduced axes, or with extents of 1 there (keepdim)
 *   gradient   that of its parts: gx = gy · 2 (x - mean) / (count - correction)
 *   numerics   two passes over x shifted by its rounded mean. The shift takes no part in the gradient, as the variance
 *              doesn't depend on it; what its rounding left is the mean of the shifted data, subtracted again. A standard
 *              deviation whose variance would overflow: weir_norm(x - mean) / √(count - correction)
 */
#include "ops/axes.h"

weir_tensor *weir_var(weir_tensor *x, int n, const int *axes, bool keepdim, int correction)
{
	static const char who[] = "weir_var";
	weir_ctx *w = weir__ctx_of(x);
	weir_scratch s;
	weir_tensor *y;
	weir_text_buf text;
	uint32_t mask;
	int64_t count = 1;

	if (!weir__usable(x, who) || !weir__axes(w, who, x, n, axes, &mask)) return weir__bad(x);
	for (int i = 0; i < x->rank; i++)
		if (mask >> i & 1) count *= x->shape[i];
	if (correction < 0 || count - correction <= 0)
		return weir_fail(w, WEIR_ERR_SHAPE,
				 "%s: %lld elements with correction %d: x is %s; the correction must be 0 or more and "
				 "smaller than the number of elements",
				 who, (long long)count, correction, weir__describe(x, &text));
	s = weir__scratch_begin(x, who);
	x = weir_sub(x, weir_detach(weir_mean(x, n, axes, true)));
	x = weir_sub(x, weir_mean(x, n, axes, true));
	y = weir_mean(weir_mul(x, x), n, axes, keepdim);
	if (correction) y = weir_affine(y, (double)count / (double)(count - correction), 0.0);
	return weir__scratch_end(&s, y);
}
