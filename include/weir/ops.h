/* ops.h: what can be computed. Every operation takes tensors, returns a tensor of the tape, and has a gradient of any order.
 *
 * Unless a line says otherwise: operands are f32 or f64, all of one type; two operands broadcast (axes are aligned from the
 * last, an extent of 1 is repeated); a negative axis counts from the end; a wrong shape, type or axis is an error that returns
 * the bad tensor. In a program these names are macros that also note the source line; (weir_relu)(x) is the plain function. */
#ifndef WEIR_OPS_H
#define WEIR_OPS_H

#include <weir/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- element by element ---- */
WEIR_API weir_tensor *weir_add(weir_tensor *a, weir_tensor *b);                /* a + b */
WEIR_API weir_tensor *weir_sub(weir_tensor *a, weir_tensor *b);                /* a - b */
WEIR_API weir_tensor *weir_mul(weir_tensor *a, weir_tensor *b);                /* a · b, element by element */
WEIR_API weir_tensor *weir_div(weir_tensor *a, weir_tensor *b);                /* a / b */
WEIR_API weir_tensor *weir_neg(weir_tensor *x);                                /* -x */
WEIR_API weir_tensor *weir_affine(weir_tensor *x, double scale, double shift); /* scale · x + shift, rounded once */
WEIR_API weir_tensor *weir_pow(weir_tensor *x, double p);                      /* x^p; x < 0 needs a whole p */
WEIR_API weir_tensor *weir_exp(weir_tensor *x);                                /* eˣ */
WEIR_API weir_tensor *weir_log(weir_tensor *x);                                /* ln x */
WEIR_API weir_tensor *weir_sqrt(weir_tensor *x);                               /* √x, derivative 0 at 0 */
WEIR_API weir_tensor *weir_abs(weir_tensor *x);                                /* |x|, derivative 0 at 0 */
WEIR_API weir_tensor *weir_tanh(weir_tensor *x);
WEIR_API weir_tensor *weir_sigmoid(weir_tensor *x);                  /* 1 / (1 + e⁻ˣ) */
WEIR_API weir_tensor *weir_relu(weir_tensor *x);                     /* max(x, 0), derivative 0 at 0 */
WEIR_API weir_tensor *weir_leaky_relu(weir_tensor *x, double slope); /* x > 0 ? x : slope · x; derivative slope at 0 */
WEIR_API weir_tensor *weir_clamp(weir_tensor *x, double low,
				 double high);       /* min(max(x, low), high); derivative 1 on the bounds */
WEIR_API weir_tensor *weir_erf(weir_tensor *x);      /* 2/√π ∫₀ˣ e^(-t²) dt */
WEIR_API weir_tensor *weir_softplus(weir_tensor *x); /* ln(1 + eˣ) */
WEIR_API weir_tensor *weir_gelu(weir_tensor *x);     /* x Φ(x), Φ the normal distribution's (exact form) */
WEIR_API weir_tensor *weir_silu(weir_tensor *x);     /* x sigmoid(x) */
WEIR_API weir_tensor *weir_maximum(weir_tensor *a, weir_tensor *b); /* NaN wins; a tie gives each half the gradient */
WEIR_API weir_tensor *weir_minimum(weir_tensor *a, weir_tensor *b);
WEIR_API weir_tensor *weir_where(weir_tensor *c, weir_tensor *a, weir_tensor *b); /* c ? a : b; c is u8 */
/* Comparisons give u8 masks; false where either is NaN, but for ne. No gradient passes. */
WEIR_API weir_tensor *weir_eq(weir_tensor *a, weir_tensor *b);
WEIR_API weir_tensor *weir_ne(weir_tensor *a, weir_tensor *b);
WEIR_API weir_tensor *weir_lt(weir_tensor *a, weir_tensor *b);
WEIR_API weir_tensor *weir_le(weir_tensor *a, weir_tensor *b);
WEIR_API weir_tensor *weir_gt(weir_tensor *a, weir_tensor *b);
WEIR_API weir_tensor *weir_ge(weir_tensor *a, weir_tensor *b);
/* To another type, any to any; from float to integer towards zero, saturating, NaN to 0. Gradient between floats. */
WEIR_API weir_tensor *weir_cast(weir_tensor *x, weir_dtype dtype);
WEIR_API weir_tensor *weir_detach(weir_tensor *x); /* x, but no gradient passes */

/* ---- reductions. axes: a list of n axes; n = 0 reduces all. keepdim leaves extents of 1. ---- */
WEIR_API weir_tensor *weir_sum(weir_tensor *x, int n, const int *axes, bool keepdim);
WEIR_API weir_tensor *weir_sum_all(weir_tensor *x); /* rank 0 */
WEIR_API weir_tensor *weir_mean(weir_tensor *x, int n, const int *axes, bool keepdim);
WEIR_API weir_tensor *weir_mean_all(weir_tensor *x);
WEIR_API weir_tensor *weir_amax(weir_tensor *x, int n, const int *axes, bool keepdim); /* ties share the gradient */
WEIR_API weir_tensor *weir_amin(weir_tensor *x, int n, const int *axes, bool keepdim);
WEIR_API weir_tensor *weir_argmax(weir_tensor *x, int axis, bool keepdim); /* i64, the first of equals; no gradient */
/* Σ (x - mean)² / (count - correction): 0 for the population's, 1 for the sample's. */
WEIR_API weir_tensor *weir_var(weir_tensor *x, int n, const int *axes, bool keepdim, int correction);
WEIR_API weir_tensor *weir_norm(weir_tensor *x, int n, const int *axes,
				bool keepdim); /* √Σx², safe at every size; gradient 0 at 0 */

/* ---- shape. These are views where strides allow. ---- */
WEIR_API weir_tensor *weir_expand(weir_tensor *x, int rank, const int64_t *shape);  /* broadcasts x to shape */
WEIR_API weir_tensor *weir_reshape(weir_tensor *x, int rank, const int64_t *shape); /* one extent may be -1 */
WEIR_API weir_tensor *weir_permute(weir_tensor *x, int n,
				   const int *order);               /* axis i of the result is axis order[i] of x */
WEIR_API weir_tensor *weir_transpose(weir_tensor *x, int a, int b); /* swaps two axes */
WEIR_API weir_tensor *weir_slice(weir_tensor *x, int axis, int64_t begin, int64_t end,
				 int64_t step); /* begin, end may be negative; step > 0 */
WEIR_API weir_tensor *weir_concat(weir_tensor *const *xs, int n, int axis);
/* y[..., j, ...] = x[..., index[j], ...]: index is i32 or i64 of rank 1; the gradient adds where an index repeats. */
WEIR_API weir_tensor *weir_gather(weir_tensor *x, int axis, weir_tensor *index);
/* The transpose of gather: y has extent along axis and y[..., index[j], ...] += x[..., j, ...]. */
WEIR_API weir_tensor *weir_scatter_add(weir_tensor *x, int axis, weir_tensor *index, int64_t extent);

/* ---- products ---- */
/* [..., M, K] · [..., K, N] = [..., M, N]; leading axes broadcast. Each element is one chain of fused multiply-adds over k. */
WEIR_API weir_tensor *weir_matmul(weir_tensor *a, weir_tensor *b);
/* x [..., in] · weightᵀ [in, out] + bias [out] = [..., out]; weight is [out, in]; bias may be NULL. */
WEIR_API weir_tensor *weir_linear(weir_tensor *x, weir_tensor *weight, weir_tensor *bias);
typedef enum weir_act {
	WEIR_ACT_IDENTITY,
	WEIR_ACT_SIGMOID,
	WEIR_ACT_TANH,
	WEIR_ACT_RELU,
	WEIR_ACT_GELU,
	WEIR_ACT_SILU
} weir_act;
/* act(linear(x, weight, bias)) in one pass over memory where act allows; recorded as the nodes that the two calls would record. */
WEIR_API weir_tensor *weir_linear_act(weir_tensor *x, weir_tensor *weight, weir_tensor *bias, weir_act act);
WEIR_API weir_tensor *weir_act_apply(weir_tensor *x, weir_act act);

/* (x - mean) / √(variance + eps) · weight + bias over the last axis of x [..., n]; weight and bias are [n], neither NULL, eps is above 0. The
 * variance is the population's. Right for entries of any size: 1e20 · (1, -1, 1, -1) becomes (1, -1, 1, -1). Ba et al. 2016. */
WEIR_API weir_tensor *weir_layer_norm(weir_tensor *x, weir_tensor *weight, weir_tensor *bias, double eps);

/* ---- softmax and losses ---- */
/* e^(x - max) / Σ e^(x - max) along axis. Right for any finite x; entries of -inf give 0; a row of only -inf gives zeros. */
WEIR_API weir_tensor *weir_softmax(weir_tensor *x, int axis);
WEIR_API weir_tensor *weir_log_softmax(weir_tensor *x, int axis);
/* Mean over the batch of -ln softmax(logits)[label]. logits [B, C], labels [B] of i32 or i64 in 0 .. C-1. */
WEIR_API weir_tensor *weir_cross_entropy(weir_tensor *logits, weir_tensor *labels);
WEIR_API weir_tensor *weir_mse(weir_tensor *x, weir_tensor *target); /* mean of (x - target)², same shape */

/* ---- composed ---- */
WEIR_API weir_tensor *weir_square(weir_tensor *x); /* x² */

/* ---- initialisers ------------------------------------------------------------------------------------------ */

/* For a weight [out, in, ...]: fan_in = in · rest, fan_out = out · rest. */
typedef enum weir_init_kind {
	WEIR_INIT_ZEROS,
	WEIR_INIT_GLOROT,        /* uniform ±√(6 / (fan_in + fan_out)); Glorot and Bengio 2010 */
	WEIR_INIT_GLOROT_NORMAL, /* normal, variance 2 / (fan_in + fan_out) */
	WEIR_INIT_HE,            /* normal, variance 2 / fan_in; He et al. 2015 */
	WEIR_INIT_HE_UNIFORM,    /* uniform ±√(6 / fan_in) */
	WEIR_INIT_ORTHOGONAL, /* [out, in · rest] with orthonormal rows, or columns where out is larger; Saxe et al. 2013 */
	WEIR_INIT_DIAGONAL, /* [out, in]: scale where row = column, else 0 */
	WEIR_INIT_KIND_COUNT
} weir_init_kind;

/* Overwrites a parameter or leaf of f32 or f64, from a new random stream where the kind is random; scale multiplies. Every number is
 * computed in f64 and rounded once. Rank 2 or more, but for ZEROS; exactly 2 for DIAGONAL. Returns weir_ok(). */
WEIR_API bool weir_init_fill(weir_tensor *t, weir_init_kind kind, double scale);

/* ---- gradient check ------------------------------------------------------------------------------------------
 * Compares the gradients of f (any operations of xs; one or more elements out) with central differences, extrapolated (Ridders
 * 1982). Give f64: in f32 the differences themselves are good to about 1e-3 only. */
typedef weir_tensor *weir_function(weir_tensor *const *xs, int n, void *user);

typedef struct weir_gradcheck_options {
	int order;        /* 1: first derivatives; 2: also the derivative of the gradient */
	bool full;        /* every element; false: one random direction per tensor (cheap, for large ones) */
	double step;      /* first step of the differences, relative to the size of x; default 1e-2 */
	double tolerance; /* largest relative error that passes; default 1e-7 */
	FILE *log;        /* every element with its signed error, where not NULL */
} weir_gradcheck_options;

typedef struct weir_gradcheck_result {
	bool passed;
	double worst;        /* largest |analytic - numeric| / max(|analytic|, |numeric|, scale) */
	double signed_error; /* analytic - numeric there */
	double analytic, numeric;
	double numeric_error; /* how far the differences themselves can be trusted there */
	int order, tensor;    /* where */
	int64_t element;      /* -1 for a direction */
	int64_t checked;      /* derivatives compared */
	char advice[160];     /* how to read these numbers, in words */
} weir_gradcheck_result;

WEIR_API void weir_gradcheck_options_init(weir_gradcheck_options *o);
WEIR_API weir_gradcheck_result weir_gradcheck(weir_function *f, void *user, weir_tensor *const *xs, int n,
					      const weir_gradcheck_options *o);

/* All primitive operations, ended by NULL, for tools and tests. */
WEIR_API const weir_op *const *weir_op_list(void);

#ifdef __cplusplus
}
#endif

#include <weir/here.h>

#endif
