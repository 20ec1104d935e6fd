/* init.c: initialisers. Every number is made in f64 of the context's seed, the number of the stream and the place of the element,
 * and rounded once: threads, instruction sets and compilers change nothing.
 *
 * Orthogonal: the vectors of a Gaussian matrix are orthonormalised one after the other. That is the Q of its QR decomposition
 * with a positive diagonal of R, which is uniformly distributed over all orthogonal matrices; a Householder QR would
 * need its signs mended for that (Mezzadri 2007). */
#include <math.h>
#include <string.h>

#include "engine/number.h"
#include "engine/random.h"
#include "ops/common.h"

/* Fan-in, fan-out. */
static void fans(const weir_tensor *t, double *in, double *out)
{
	double rest = 1;

	for (int i = 2; i < t->rank; i++) rest *= (double)t->shape[i];
	*out = (double)t->shape[0] * rest;
	*in = (double)t->shape[1] * rest;
}

static void fill_random(weir_tensor *t, weir_draw draw, double spread)
{
	weir__random_fill(t, weir_random_stream(t->ctx), draw, -0.0, spread);
}

static void fill_diagonal(weir_tensor *t, double c)
{
	int64_t rows = t->shape[0], columns = t->shape[1];

	memset(weir__at(t), 0, (size_t)t->numel * weir__size_of(t->dtype));
	for (int64_t i = 0; i < rows && i < columns; i++) weir__set(t, i * columns + i, c);
}

/* ---- orthogonal ---------------------------------------------------------------------------------------------- */

/* Eight partial sums in a fixed order, which compilers turn into vector instructions without changing it. */
static double dot(const double *a, const double *b, int64_t n)
{
	double s[8] = { 0 };
	int64_t i = 0;

	for (; i + 8 <= n; i += 8) {
		for (int l = 0; l < 8; l++) s[l] += a[i + l] * b[i + l];
	}
	for (; i < n; i++) s[i & 7] += a[i] * b[i];
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

static void subtract(double *a, double f, const double *b, int64_t n)
{
	for (int64_t i = 0; i < n; i++) a[i] -= f * b[i];
}

/* Takes from v what lies along the count unit vectors q. Once leaves an error where v was nearly along them, twice does not
 * (Giraud et al. 2005). */
static void take_away(double *v, const double *q, int64_t count, int64_t n)
{
	for (int pass = 0; pass < 2; pass++) {
		for (int64_t j = 0; j < count; j++) subtract(v, dot(q + j * n, v, n), q + j * n, n);
	}
}

/* count orthonormal vectors of n >= count numbers. */
static void orthonormal(weir_ctx *w, double *q, int64_t count, int64_t n)
{
	uint64_t stream = weir_random_stream(w), index = 0;

	for (int64_t k = 0; k < count;) {
		double *v = q + k * n, before, after;

		weir__random_numbers(w, stream, index, WEIR_DRAW_NORMAL, v, n);
		index += (uint64_t)n;
		before = dot(v, v, n);
		take_away(v, q, k, n);
		after = dot(v, v, n);
		if (!(after > 1e-20 * before)) continue; /* as good as dependent: draw another */
		for (int64_t i = 0; i < n; i++) v[i] /= sqrt(after);
		k++;
	}
}

static void fill_orthogonal(weir_tensor *t, double scale)
{
	int64_t rows = t->shape[0], columns = rows ? t->numel / rows : 0, count = rows < columns ? rows : columns;
	size_t got;
	double *q;

	if (!t->numel) return;
	q = weir__scratch_alloc(t->ctx, (size_t)t->numel * sizeof(*q), &got);
	if (!q) return;
	orthonormal(t->ctx, q, count, t->numel / count);
	for (int64_t i = 0; i < t->numel; i++)
		weir__set(t, i, scale * (rows <= columns ? q[i] : q[i % columns * rows + i / columns]));
	weir__scratch_free(t->ctx, q, got);
}

/* ---- the choice ---------------------------------------------------------------------------------------------- */

static bool can_fill(weir_tensor *t, weir_init_kind kind, double scale)
{
	weir_ctx *w = weir__ctx_of(t);
	weir_text_buf text;
	char number[WEIR__NUMBER_MAX];

	if (!weir__usable(t, "weir_init_fill")) return false;
	if ((unsigned)kind >= WEIR_INIT_KIND_COUNT)
		weir_fail(w, WEIR_ERR_ARGUMENT,
			  "weir_init_fill: there is no initialiser number %d; it is one of enum weir_init_kind",
			  (int)kind);
	else if (!weir__is_float(t->dtype))
		weir_fail(w, WEIR_ERR_DTYPE, "weir_init_fill: t is %s; weights are f32 or f64",
			  weir__describe(t, &text));
	else if (t->nin || !t->contiguous)
		weir_fail(w, WEIR_ERR_ARGUMENT,
			  "weir_init_fill: t is %s, the result of %s; only parameters and leaves are filled",
			  weir__describe(t, &text), t->op->name);
	else if (!__builtin_isfinite(scale)) {
		weir__format_double(number, sizeof number, scale, 'g', 0);
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_init_fill: scale is %s; it must be finite", number);
	} else if (kind != WEIR_INIT_ZEROS && t->rank < 2)
		weir_fail(w, WEIR_ERR_SHAPE,
			  "weir_init_fill: t is %s; all initialisers but zeros need two axes or more, [out, in, ...]",
			  weir__describe(t, &text));
	else if (kind == WEIR_INIT_DIAGONAL && t->rank != 2)
		weir_fail(w, WEIR_ERR_SHAPE, "weir_init_fill: t is %s; a diagonal needs two axes, [out, in]",
			  weir__describe(t, &text));
	else return true;
	return false;
}

bool weir_init_fill(weir_tensor *t, weir_init_kind kind, double scale)
{
	weir_ctx *w = weir__ctx_of(t);
	double in = 1, out = 1;

	if (!t) weir_fail(w, WEIR_ERR_ARGUMENT, "weir_init_fill: t is NULL");
	if (!can_fill(t, kind, scale) || !weir_data_mut(t, "weir_init_fill")) return false;
	if (t->rank > 1) fans(t, &in, &out);
	weir__enter(w);
	switch (kind) {
	case WEIR_INIT_ZEROS: memset(weir__at(t), 0, (size_t)t->numel * weir__size_of(t->dtype)); break;
	case WEIR_INIT_GLOROT: fill_random(t, WEIR_DRAW_SYMMETRIC, scale * sqrt(6 / (in + out))); break;
	case WEIR_INIT_GLOROT_NORMAL: fill_random(t, WEIR_DRAW_NORMAL, scale * sqrt(2 / (in + out))); break;
	case WEIR_INIT_HE: fill_random(t, WEIR_DRAW_NORMAL, scale * sqrt(2 / in)); break;
	case WEIR_INIT_HE_UNIFORM: fill_random(t, WEIR_DRAW_SYMMETRIC, scale * sqrt(6 / in)); break;
	case WEIR_INIT_ORTHOGONAL: fill_orthogonal(t, scale); break;
	case WEIR_INIT_DIAGONAL: fill_diagonal(t, scale); break;
	case WEIR_INIT_KIND_COUNT: break;
	}
	weir__leave(w);
	return weir_ok(w);
}
