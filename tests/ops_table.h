/* ops_table.h: the rows of the table test: per operation its operands, how it is applied, and what it computes, in double. */
#ifndef WEIR_TESTS_OPS_TABLE_H
#define WEIR_TESTS_OPS_TABLE_H

#include <math.h>
#include <string.h>

#include "ops/elementwise.h"
#include "ops/shape.h"

enum { MAX_IN = 3, R = 5, C = 7 }; /* most operands are [R, C] */

typedef enum kind { REAL, INDEX, MASK } kind;

typedef struct operand {
	kind kind;
	int rank;
	int64_t shape[4];
	double low, high; /* REAL: the range; INDEX: 0 .. high; MASK: high is 1 */
} operand;

typedef struct row row;
struct row {
	const char *name, *op; /* op: the operation that it is the row of */
	int n;
	operand in[MAX_IN];
	weir_tensor *(*apply)(weir_tensor *const *x);
	void (*reference)(const row *r, double *const *in, double *out);
	double ulps; /* room for the value, in ULP of the element, or of the largest where not elementwise */
	bool elementwise, gradients, linear;
	int64_t grow[4];  /* extents of real operands in the threads test are multiplied by these */
	bool grow_first;  /* only the first operand grows */
	int empty;        /* this axis from the end is 0 in the empty test; 0: none */
	bool empty_error; /* empty is refused */
	bool distinct;    /* operands far apart from each other: where ties have no derivative */
	double apart;     /* keeps away from 0 by this much */
	double terms;     /* what a gradient element sums up, for the room between fused and rule */
	double step;      /* first step of the differences, where the default is too long */
	double (*of)(double a, double b, double c); /* element-wise reference */
};

/* Tables: a line per operation, which clang-format would take apart. */
/* clang-format off */

/* ---- references ---- */

static void each(const row *r, double *const *in, double *out)
{
	for (int i = 0; i < R * C; i++) out[i] = r->of(in[0][i], r->n > 1 ? in[1][i] : 0, r->n > 2 ? in[2][i] : 0);
}

#define OF(name, expression) \
	static double of_##name(double a, double b, double c) \
	{ \
		(void)a, (void)b, (void)c; \
		return expression; \
	}
OF(add, a + b) OF(mul, a * b) OF(div, a / b) OF(neg, -a) OF(affine, 1.5 * a - 0.25) OF(pow, pow(a, 2.5)) OF(cube, a * a * a) OF(exp, exp(a)) OF(log, log(a))
OF(sqrt, sqrt(a)) OF(abs, fabs(a)) OF(tanh, tanh(a)) OF(sigmoid, 1 / (1 + exp(-a))) OF(relu, a > 0 ? a : 0) OF(erf, erf(a)) OF(max, a > b ? a : b)
OF(min, a < b ? a : b) OF(where, a != 0 ? b : c) OF(eq, a == b) OF(ne, a != b) OF(lt, a < b) OF(le, a <= b) OF(gt, a > b) OF(ge, a >= b)
OF(leaky, a > 0 ? a : 0.25 * a) OF(clamp, a < 0.125 ? 0.125 : a)
OF(same, a) OF(cast, (double)(float)a) OF(softplus, a > 0 ? a + log1p(exp(-a)) : log1p(exp(a))) OF(cdf, 0.5 * erfc(-a / sqrt(2)))
OF(gelu, a * of_cdf(a, 0, 0)) OF(silu, a / (1 + exp(-a)))
OF(pdf, exp(-a * a / 2) / sqrt(2 * acos(-1.0))) OF(tanh_vjp, a / (cosh(b) * cosh(b)))

static void ref_sum(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R * C; i++) out[i / C] += in[0][i];
}
static void ref_mean(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R * C; i++) out[i % C] += in[0][i] / R;
}
static void ref_amax(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R * C; i++) out[i / C] = i % C ? fmax(out[i / C], in[0][i]) : in[0][i];
}
static void ref_amin(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R * C; i++) out[i / C] = i % C ? fmin(out[i / C], in[0][i]) : in[0][i];
}
static void ref_argmax(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R * C; i++)
		if (in[0][i] > in[0][i / C * C + (int)out[i / C]]) out[i / C] = i % C;
}
static void ref_norm(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R * C; i++) out[0] += in[0][i] * in[0][i];
	out[0] = sqrt(out[0]);
}
static void ref_expand(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < 3 * R * C; i++) out[i] = in[0][i / C % R];
}
static void ref_permute(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R * C; i++) out[i] = in[0][i % R * C + i / R];
}
static void ref_slice(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R; i++)
		for (int j = 0; j < 3; j++) out[3 * i + j] = in[0][C * i + 1 + 2 * j];
}
static void ref_unslice(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R; i++)
		for (int j = 0; j < C; j++) out[16 * i + 1 + 2 * j] = in[0][C * i + j];
}
static void ref_concat(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R; i++)
		for (int j = 0; j < 2 * C; j++) out[2 * C * i + j] = in[j / C][C * i + j % C];
}
static void ref_gather(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R; i++)
		for (int j = 0; j < 4; j++) out[4 * i + j] = in[0][C * i + (int)in[1][j]];
}
static void ref_scatter(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R; i++)
		for (int j = 0; j < C; j++) out[9 * i + (int)in[1][j]] += in[0][C * i + j];
}
static void ref_matmul(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R; i++)
		for (int j = 0; j < 6; j++)
			for (int k = 0; k < C; k++) out[6 * i + j] += in[0][C * i + k] * in[1][6 * k + j];
}
static void ref_linear(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R; i++)
		for (int j = 0; j < 6; j++) {
			for (int k = 0; k < C; k++) out[6 * i + j] += in[0][C * i + k] * in[1][C * j + k];
			out[6 * i + j] += in[2][j];
		}
}
static double log_sum(const double *x)
{
	double m = x[0], s = 0;

	for (int j = 1; j < C; j++) m = fmax(m, x[j]);
	for (int j = 0; j < C; j++) s += exp(x[j] - m);
	return m + log(s);
}
static void ref_softmax(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R * C; i++) out[i] = exp(in[0][i] - log_sum(in[0] + i / C * C));
}
static void ref_layer_norm(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R; i++) {
		const double *x = in[0] + C * i;
		double mean = 0, variance = 0;

		for (int j = 0; j < C; j++) mean += x[j] / C;
		for (int j = 0; j < C; j++) variance += (x[j] - mean) * (x[j] - mean) / C;
		for (int j = 0; j < C; j++) out[C * i + j] = (x[j] - mean) / sqrt(variance + 0.1) * in[1][j] + in[2][j];
	}
}
static void ref_log_softmax(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R * C; i++) out[i] = in[0][i] - log_sum(in[0] + i / C * C);
}
static void ref_cross_entropy(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R; i++) out[0] += (log_sum(in[0] + C * i) - in[0][C * i + (int)in[1][i]]) / R;
}
static void ref_mse(const row *r, double *const *in, double *out)
{
	(void)r;
	for (int i = 0; i < R * C; i++) out[0] += (in[0][i] - in[1][i]) * (in[0][i] - in[1][i]) / (R * C);
}

/* ---- how each is applied ---- */

#define APPLY(name, expression) \
	static weir_tensor *do_##name(weir_tensor *const *x) \
	{ \
		return expression; \
	}
/* extents in the threads test differ from [R, C] */
#define EXTENT(t, axis) weir_extent(t, axis)
APPLY(add, weir_add(x[0], x[1])) APPLY(mul, weir_mul(x[0], x[1])) APPLY(div, weir_div(x[0], x[1])) APPLY(neg, weir_neg(x[0]))
APPLY(affine, weir_affine(x[0], 1.5, -0.25)) APPLY(pow, weir_pow(x[0], 2.5)) APPLY(cube, weir_pow(x[0], 3)) APPLY(exp, weir_exp(x[0]))
APPLY(log, weir_log(x[0])) APPLY(sqrt, weir_sqrt(x[0])) APPLY(abs, weir_abs(x[0])) APPLY(tanh, weir_tanh(x[0])) APPLY(sigmoid, weir_sigmoid(x[0]))
APPLY(relu, weir_relu(x[0])) APPLY(erf, weir_erf(x[0])) APPLY(max, weir_maximum(x[0], x[1])) APPLY(min, weir_minimum(x[0], x[1]))
APPLY(where, weir_where(x[0], x[1], x[2])) APPLY(eq, weir_eq(x[0], x[1])) APPLY(ne, weir_ne(x[0], x[1])) APPLY(lt, weir_lt(x[0], x[1]))
APPLY(le, weir_le(x[0], x[1])) APPLY(gt, weir_gt(x[0], x[1])) APPLY(ge, weir_ge(x[0], x[1])) APPLY(detach, weir_detach(x[0]))
APPLY(cast_down, weir_cast(x[0], WEIR_F32)) APPLY(cast_up, weir_cast(x[0], WEIR_F64))
APPLY(sum, weir_sum(x[0], 1, (int[]){ 1 }, false)) APPLY(mean, weir_mean(x[0], 1, (int[]){ 0 }, true))
APPLY(amax, weir_amax(x[0], 1, (int[]){ -1 }, false)) APPLY(amin, weir_amin(x[0], 1, (int[]){ -1 }, true))
APPLY(argmax, weir_argmax(x[0], 1, false)) APPLY(norm, weir_norm(x[0], 0, NULL, false))
APPLY(expand, weir_expand(x[0], 3, (int64_t[]){ 3, EXTENT(x[0], 0), C })) APPLY(reshape, weir_reshape(x[0], 3, (int64_t[]){ -1, 1, EXTENT(x[0], 0) }))
APPLY(permute, weir_permute(x[0], 2, (int[]){ 1, 0 })) APPLY(slice, weir_slice(x[0], 1, 1, 6, 2))
APPLY(unslice, weir__unslice(x[0], 1, 1, 2, 2 * EXTENT(x[0], 1) + 2)) APPLY(concat, weir_concat(x, 2, 1)) APPLY(gather, weir_gather(x[0], 1, x[1]))
APPLY(scatter, weir_scatter_add(x[0], 1, x[1], 9)) APPLY(matmul, weir_matmul(x[0], x[1])) APPLY(linear, weir_linear(x[0], x[1], x[2]))
APPLY(softmax, weir_softmax(x[0], -1)) APPLY(log_softmax, weir_log_softmax(x[0], 1)) APPLY(cross_entropy, weir_cross_entropy(x[0], x[1]))
APPLY(layer_norm, weir_layer_norm(x[0], x[1], x[2], 0.1)) APPLY(mse, weir_mse(x[0], x[1])) APPLY(leaky, weir_leaky_relu(x[0], 0.25)) APPLY(clamp, weir_clamp(x[0], 0.125, 5)) APPLY(softplus, weir_softplus(x[0])) APPLY(gelu, weir_gelu(x[0])) APPLY(silu, weir_silu(x[0])) APPLY(cdf, weir__normal_cdf(x[0])) APPLY(pdf, weir__normal_pdf(x[0]))
APPLY(tanh_vjp, weir__tanh_vjp(x[0], x[1]))

/* ---- the rows ---- */

#define X(low, high) { REAL, 2, { R, C }, low, high }
#define ELEMENT1(name, op, function, low, high, ulps, ...) \
	{ #name, op, 1, { X(low, high) }, do_##function, each, ulps, true, .gradients = true, .grow = { 64, 96 }, .empty = 1, .terms = 4, .of = of_##name, __VA_ARGS__ }
#define ELEMENT2(name, op, low, high, ulps, ...) \
	{ #name, op, 2, { X(low, high), X(low, high) }, do_##name, each, ulps, true, .gradients = true, .grow = { 64, 96 }, .empty = 1, .terms = 4, .of = of_##name, __VA_ARGS__ }
#define COMPARE(name) \
	{ #name, #name, 2, { X(-1, 1), X(-1, 1) }, do_##name, each, 0, true, .grow = { 64, 96 }, .empty = 2, .of = of_##name }
#define WHOLE(name, room, ...) .apply = do_##name, .reference = ref_##name, .ulps = room, .gradients = true, __VA_ARGS__
#define BIG .grow = { 64, 96 }

static const row rows[] = {
	ELEMENT2(add, "add", -2, 2, 1, .linear = true),
	ELEMENT2(mul, "mul", -2, 2, 1),
	ELEMENT2(div, "div", 0.5, 2, 1),
	ELEMENT1(neg, "neg", neg, -2, 2, 0, .linear = true),
	ELEMENT1(affine, "affine", affine, -2, 2, 4, .linear = true),
	ELEMENT1(pow, "pow", pow, 0.3, 3, 2),
	ELEMENT1(cube, "pow", cube, -2, 2, 2),
	ELEMENT1(exp, "exp", exp, -4, 4, 2),
	ELEMENT1(log, "log", log, 0.2, 5, 2),
	ELEMENT1(sqrt, "sqrt", sqrt, 0.2, 5, 1),
	ELEMENT1(abs, "abs", abs, -2, 2, 0, .linear = true, .apart = 0.3),
	ELEMENT1(tanh, "tanh", tanh, -3, 3, 3),
	ELEMENT1(sigmoid, "sigmoid", sigmoid, -6, 6, 3),
	ELEMENT1(relu, "relu", relu, -2, 2, 0, .linear = true, .apart = 0.3),
	ELEMENT1(leaky, "leaky_relu", leaky, -2, 2, 1, .linear = true, .apart = 0.3),
	ELEMENT1(clamp, "clamp", clamp, -2, 2, 0, .linear = true, .apart = 0.3),
	ELEMENT1(erf, "erf", erf, -2, 2, 3),
	ELEMENT1(softplus, "softplus", softplus, -6, 6, 3),
	ELEMENT1(gelu, "gelu", gelu, -6, 6, 16),
	ELEMENT1(silu, "silu", silu, -6, 6, 4),
	ELEMENT1(cdf, "normal_cdf", cdf, -4, 4, 16),
	ELEMENT1(pdf, "normal_pdf", pdf, -4, 4, 16),
	ELEMENT2(tanh_vjp, "tanh_vjp", -3, 3, 16),
	ELEMENT2(max, "maximum", -2, 2, 0, .linear = true, .distinct = true),
	ELEMENT2(min, "minimum", -2, 2, 0, .linear = true, .distinct = true),
	{ "where", "where", 3, { { MASK, 2, { R, C }, 0, 1 }, X(-2, 2), X(-2, 2) }, do_where, each, 0, true, .gradients = true, .linear = true,
	  .empty = 1, .terms = 1, .of = of_where },
	COMPARE(eq), COMPARE(ne), COMPARE(lt), COMPARE(le), COMPARE(gt), COMPARE(ge),
	{ "detach", "detach", 1, { X(-2, 2) }, do_detach, each, 0, true, .grow = { 64, 96 }, .empty = 1, .of = of_same },
	{ "cast down", "cast", 1, { X(-2, 2) }, do_cast_down, each, 1, true, .grow = { 64, 96 }, .empty = 1, .of = of_cast },
	{ "cast up", "cast", 1, { X(-2, 2) }, do_cast_up, each, 0, true, .gradients = true, .linear = true, .grow = { 64, 96 }, .empty = 1, .of = of_same },
	{ "sum", "sum", 1, { X(-2, 2) }, WHOLE(sum, 2, BIG, .linear = true, .empty = 1) },
	{ "mean", "sum", 1, { X(-2, 2) }, WHOLE(mean, 2, BIG, .linear = true, .empty = 2, .empty_error = true) },
	{ "amax", "amax", 1, { X(-2, 2) }, WHOLE(amax, 0, BIG, .linear = true, .distinct = true, .empty = 1, .empty_error = true) },
	{ "amin", "amin", 1, { X(-2, 2) }, WHOLE(amin, 0, BIG, .linear = true, .distinct = true, .empty = 1, .empty_error = true) },
	{ "argmax", "argmax", 1, { X(-2, 2) }, .apply = do_argmax, .reference = ref_argmax, .grow = { 64, 96 }, .empty = 1, .empty_error = true },
	{ "norm", "norm", 1, { X(-2, 2) }, WHOLE(norm, 2, BIG, .empty = 1, .terms = 4) },
	{ "expand", "expand", 1, { { REAL, 2, { R, 1 }, -2, 2 } }, WHOLE(expand, 0, .linear = true, .grow = { 4096 }, .empty = 2, .terms = 8) },
	{ "reshape", "reshape", 1, { X(-2, 2) }, do_reshape, each, 0, .gradients = true, .linear = true, .grow = { 64, 96 }, .of = of_same },
	{ "permute", "permute", 1, { X(-2, 2) }, WHOLE(permute, 0, BIG, .linear = true, .empty = 1) },
	{ "slice", "slice", 1, { X(-2, 2) }, WHOLE(slice, 0, BIG, .linear = true, .empty = 2) },
	{ "unslice", "unslice", 1, { X(-2, 2) }, WHOLE(unslice, 0, BIG, .linear = true, .empty = 2) },
	{ "concat", "concat", 2, { X(-2, 2), X(-2, 2) }, WHOLE(concat, 0, BIG, .linear = true, .empty = 1) },
	{ "gather", "gather", 2, { X(-2, 2), { INDEX, 1, { 4 }, 0, C - 1 } }, WHOLE(gather, 0, BIG, .linear = true) },
	{ "scatter_add", "scatter_add", 2, { X(-2, 2), { INDEX, 1, { C }, 0, 8 } }, WHOLE(scatter, 2, .linear = true, .grow = { 4096, 1 }) },
	{ "matmul", "matmul", 2, { X(-2, 2), { REAL, 2, { C, 6 }, -2, 2 } }, WHOLE(matmul, 8, .terms = 8, .grow = { 2048, 1 }, .grow_first = true) },
	{ "linear", "linear", 3, { X(-2, 2), { REAL, 2, { 6, C }, -2, 2 }, { REAL, 1, { 6 }, -2, 2 } }, WHOLE(linear, 8, .terms = 8, .grow = { 2048, 1 }, .grow_first = true) },
	{ "layer_norm", "layer_norm", 3, { X(-2, 2), { REAL, 1, { C }, -2, 2 }, { REAL, 1, { C }, -2, 2 } },
	  WHOLE(layer_norm, 4, .terms = 16, .grow = { 2048, 1 }, .grow_first = true, .empty = 2) },
	{ "softmax", "softmax", 1, { X(-3, 3) }, WHOLE(softmax, 4, BIG, .terms = 8, .empty = 2) },
	{ "log_softmax", "log_softmax", 1, { X(-3, 3) }, WHOLE(log_softmax, 4, BIG, .terms = 8, .empty = 2) },
	{ "cross_entropy", "cross_entropy", 2, { X(-3, 3), { INDEX, 1, { R }, 0, C - 1 } },
	  WHOLE(cross_entropy, 4, .terms = 8, .grow = { 1, 20000 }, .empty = 2, .empty_error = true) },
	{ "mse", "mse", 2, { X(-2, 2), X(-2, 2) }, WHOLE(mse, 4, BIG, .terms = 4, .empty = 1, .empty_error = true) },
};
static const int row_count = (int)(sizeof rows / sizeof *rows);

/* clang-format on */

/* ---- operands ---- */

static inline uint64_t row_bits(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *state >> 11;
}

/* Draws the operands of a row, the real ones in type t; big: for the threads test. */
static inline void row_operands(weir_ctx *w, const row *r, weir_dtype t, bool big, weir_tensor **xs)
{
	uint64_t state = 7;

	for (int i = 0; i < r->n; i++) {
		const operand *p = &r->in[i];
		weir_dtype type = p->kind == REAL ? t : p->kind == MASK ? WEIR_U8 : WEIR_I64;
		int64_t shape[WEIR_MAX_RANK];
		char *data;

		for (int a = 0; a < p->rank; a++)
			shape[a] =
				p->shape[a] *
				(big && p->kind == REAL && r->grow[a] && (i == 0 || !r->grow_first) ? r->grow[a] : 1);
		xs[i] = weir_zeros(w, type, p->rank, shape);
		data = weir_data_mut(xs[i], NULL);
		for (int64_t k = 0; k < weir_numel(xs[i]); k++) {
			double v = p->low + (p->high - p->low) * ((double)row_bits(&state) * 0x1p-53);

			v = v < 0 ? v - r->apart : v + r->apart;
			if (r->distinct) v += 10.0 * (double)((k * 7 + i * 3) % 11);
			switch (type) {
			case WEIR_F32: ((float *)(void *)data)[k] = (float)v; break;
			case WEIR_F64: ((double *)(void *)data)[k] = v; break;
			case WEIR_I64:
				((int64_t *)(void *)data)[k] = (int64_t)(row_bits(&state) % (uint64_t)(p->high + 1));
				break;
			default: data[k] = (char)(row_bits(&state) & 1); break;
			}
		}
	}
}

/* The real operands, for gradients. */
static inline int row_reals(const row *r, weir_tensor *const *xs, weir_tensor **out)
{
	int n = 0;

	for (int i = 0; i < r->n; i++) {
		if (r->in[i].kind == REAL) out[n++] = xs[i];
	}
	return n;
}

#endif
