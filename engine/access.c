/* access.c: creating leaves, and reading, writing and naming tensors. It is long because it is a list of small functions, one beside the other. */
#include <string.h>

#include "engine/op.h"
#include "engine/random.h"
#include "engine/tape.h"

static bool check_shape(weir_ctx *w, const char *who, weir_dtype dtype, int rank, const int64_t *shape)
{
	weir_text_buf text;

	if (!weir_ok(w)) return false;
	if ((unsigned)dtype >= WEIR_DTYPE_COUNT) {
		weir_fail(w, WEIR_ERR_DTYPE, "%s: there is no element type number %d", who, (int)dtype);
	} else if (rank < 0 || rank > WEIR_MAX_RANK) {
		weir_fail(w, WEIR_ERR_LIMIT, "%s: rank %d; a tensor has 0 to %d axes", who, rank, WEIR_MAX_RANK);
	} else if (rank && !shape) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: shape is NULL, but the rank is %d", who, rank);
	} else if (weir__numel(rank, shape) < 0) {
		weir_fail(w, WEIR_ERR_SHAPE,
			  "%s: shape %s: extents must be 0 or more and their product must fit in memory", who,
			  weir__shape_text(rank, shape, &text));
	} else {
		return true;
	}
	return false;
}

static weir_tensor *leaf(weir_ctx *w, const char *who, weir_dtype dtype, int rank, const int64_t *shape)
{
	weir_tensor *t;

	if (!w) return weir__bad_of(weir__nowhere());
	if (!check_shape(w, who, dtype, rank, shape)) return w->bad;
	t = weir__tensor_new(w, &weir__op_input, (int)dtype, rank, shape);
	if (!weir_is_bad(t) && weir_is_recording(w)) t->flags |= WEIR_T_RECORDED;
	return t;
}

weir_tensor *weir_zeros(weir_ctx *w, weir_dtype dtype, int rank, const int64_t *shape)
{
	weir_tensor *t = leaf(w, "weir_zeros", dtype, rank, shape);

	if (!weir_is_bad(t)) memset(t->store->data, 0, t->store->size);
	return t;
}

static void fill(weir_tensor *t, double value)
{
	if (weir_is_bad(t)) return;
	if (weir__is_float(t->dtype)) {
		weir__enter(t->ctx);
		weir__map(WEIR_MAP_fill, (weir_dtype)t->dtype, 1, &t->numel, weir__at(t), WEIR_DST_WRITE, NULL, &value,
			  t->ctx->threads);
		weir__leave(t->ctx);
		return;
	}
	for (int64_t i = 0; i < t->numel; i++) weir__set(t, i, value);
}

/* Reading and writing numbers is exact: subnormals stay, whatever the context's mode. The caller's flags stay untouched. */
static void set_all(weir_tensor *t, const double *src, int64_t n)
{
	weir_fp_state saved = weir__fp_enter(true);

	for (int64_t i = 0; i < n; i++) weir__set(t, i, src[i]);
	weir__fp_leave(saved);
}

static void get_all(const weir_tensor *t, int64_t first, double *dst, int64_t n)
{
	weir_fp_state saved = weir__fp_enter(true);

	for (int64_t i = 0; i < n; i++) dst[i] = weir__get(t, first + i);
	weir__fp_leave(saved);
}

weir_tensor *weir_full(weir_ctx *w, weir_dtype dtype, int rank, const int64_t *shape, double value)
{
	weir_tensor *t = leaf(w, "weir_full", dtype, rank, shape);

	fill(t, value);
	return t;
}

weir_tensor *weir_scalar(weir_ctx *w, weir_dtype dtype, double value)
{
	weir_tensor *t = leaf(w, "weir_scalar", dtype, 0, NULL);

	if (!weir_is_bad(t)) set_all(t, &value, 1);
	return t;
}

weir_tensor *weir__constant(const weir_tensor *like, double value)
{
	return weir_scalar(like->ctx, (weir_dtype)like->dtype, value);
}

weir_tensor *weir_from(weir_ctx *w, weir_dtype dtype, int rank, const int64_t *shape, const void *data)
{
	weir_tensor *t = leaf(w, "weir_from", dtype, rank, shape);

	if (weir_is_bad(t)) return t;
	if (!data && t->numel) return weir_fail(w, WEIR_ERR_ARGUMENT, "weir_from: data is NULL");
	if (t->numel) memcpy(t->store->data, data, t->store->size);
	return t;
}

/* A leaf of a + b · the numbers of a new stream. */
static weir_tensor *draw_leaf(weir_ctx *w, const char *who, weir_dtype dtype, int rank, const int64_t *shape, double a,
			      double b, weir_draw draw)
{
	weir_tensor *t;
	uint64_t stream;

	if (weir_ok(w) && dtype != WEIR_F32 && dtype != WEIR_F64)
		return weir_fail(w, WEIR_ERR_DTYPE, "%s: random numbers are drawn in f32 or f64, not in %s", who,
				 weir_dtype_name(dtype));
	t = leaf(w, who, dtype, rank, shape);
	if (weir_is_bad(t)) return t;
	weir__enter(w);
	stream = weir_random_stream(w);
	weir__random_fill(t, stream, draw, a, b);
	weir__leave(w);
	return t;
}

weir_tensor *weir_uniform(weir_ctx *w, weir_dtype dtype, int rank, const int64_t *shape, double low, double high)
{
	return draw_leaf(w, "weir_uniform", dtype, rank, shape, low, high - low, WEIR_DRAW_UNIFORM);
}

weir_tensor *weir_normal(weir_ctx *w, weir_dtype dtype, int rank, const int64_t *shape, double mean, double std)
{
	return draw_leaf(w, "weir_normal", dtype, rank, shape, mean, std, WEIR_DRAW_NORMAL);
}

weir_tensor *weir_param_new(weir_ctx *w, const char *name, weir_dtype dtype, int rank, const int64_t *shape)
{
	weir_tensor *t;

	if (!w) return weir__bad_of(weir__nowhere());
	if (!check_shape(w, "weir_param_new", dtype, rank, shape)) return w->bad;
	if (!weir__is_float((int)dtype))
		return weir_fail(w, WEIR_ERR_DTYPE, "weir_param_new: %s is %s; a parameter is f32 or f64",
				 name ? name : "", weir_dtype_name(dtype));
	t = weir__kept_new(w, (int)dtype, rank, shape);
	if (weir_is_bad(t)) return t;
	t->kept->param = true;
	t->store = weir__storage_new(w, (size_t)t->numel * weir__size_of((int)dtype));
	if (t->store) memset(t->store->data, 0, t->store->size);
	if (!t->store || (name && weir_is_bad(weir_set_name(t, name)))) {
		weir_drop(t);
		return w->bad;
	}
	return t;
}

/* ---- looking ---- */

size_t weir_dtype_size(weir_dtype dtype)
{
	return (unsigned)dtype < WEIR_DTYPE_COUNT ? weir__size_of((int)dtype) : 0;
}

const char *weir_dtype_name(weir_dtype dtype)
{
	static const char *const names[] = { "f32", "f64", "i32", "i64", "u8" };

	return (unsigned)dtype < WEIR_DTYPE_COUNT ? names[dtype] : "?";
}

weir_ctx *weir_context(const weir_tensor *t)
{
	return weir__ctx_of(t);
}

bool weir_is_bad(const weir_tensor *t)
{
	return !t || (t->flags & WEIR_T_BAD);
}

weir_dtype weir_dtype_of(const weir_tensor *t)
{
	return t ? (weir_dtype)t->dtype : WEIR_F32;
}

int weir_rank(const weir_tensor *t)
{
	return t ? t->rank : 0;
}

int64_t weir_extent(const weir_tensor *t, int axis)
{
	int a;

	if (!weir__alive(t, "weir_extent") || !weir__axis(t->ctx, "weir_extent", t, axis, &a)) return 0;
	return t->shape[a];
}

const int64_t *weir_shape(const weir_tensor *t)
{
	return t ? t->shape : NULL;
}

const int64_t *weir_strides(const weir_tensor *t)
{
	return t ? t->stride : NULL;
}

int64_t weir_numel(const weir_tensor *t)
{
	return t ? t->numel : 0;
}

bool weir_is_contiguous(const weir_tensor *t)
{
	return t && t->contiguous;
}

const char *weir_name(const weir_tensor *t)
{
	if (!t) return "";
	return t->name ? t->name : t->kept && t->kept->name ? t->kept->name : "";
}

weir_tensor *weir_set_name(weir_tensor *t, const char *name)
{
	weir_ctx *w = weir__ctx_of(t);
	char *copy;

	if (!weir__alive(t, "weir_set_name")) return w->bad;
	if (!name) name = "";
	if (strlen(name) > 65535)
		return weir_fail(w, WEIR_ERR_LIMIT, "weir_set_name: a name of %zu bytes; at most 65535 are allowed",
				 strlen(name));
	if (t->flags & WEIR_T_KEPT) {
		if (!(copy = weir__text_copy(w, name))) return w->bad;
		weir__text_free(w, t->kept->name);
		t->kept->name = copy;
		return t;
	}
	if (!(copy = weir__arena_take(&w->arena[w->arena_now], strlen(name) + 1))) return w->bad;
	t->name = strcpy(copy, name);
	return t;
}

/* ---- values ---- */

int64_t weir__element_offset(const weir_tensor *t, int64_t i)
{
	int64_t offset = 0;

	if (t->contiguous) return i;
	for (int axis = t->rank - 1; axis >= 0; axis--) {
		offset += i % t->shape[axis] * t->stride[axis];
		i /= t->shape[axis];
	}
	return offset;
}

double weir__get(const weir_tensor *t, int64_t i)
{
	const char *p = (const char *)weir__at(t) + weir__element_offset(t, i) * (int64_t)weir__size_of(t->dtype);

	switch (t->dtype) {
	case WEIR_F32: return (double)*(const float *)(const void *)p;
	case WEIR_F64: return *(const double *)(const void *)p;
	case WEIR_I32: return (double)*(const int32_t *)(const void *)p;
	case WEIR_I64: return (double)*(const int64_t *)(const void *)p;
	default: return (double)*(const uint8_t *)p;
	}
}

/* A double to an integer type: towards zero, saturating, NaN to 0. The largest i64 is not a double, hence two limits. */
static int64_t to_integer(double v, double low, double high, int64_t top)
{
	if (v != v) return 0;
	if (v >= high) return top;
	return v <= low ? (int64_t)low : (int64_t)v;
}

void weir__set(weir_tensor *t, int64_t i, double v)
{
	char *p = (char *)weir__at(t) + weir__element_offset(t, i) * (int64_t)weir__size_of(t->dtype);

	switch (t->dtype) {
	case WEIR_F32: *(float *)(void *)p = (float)v; break;
	case WEIR_F64: *(double *)(void *)p = v; break;
	case WEIR_I32: *(int32_t *)(void *)p = (int32_t)to_integer(v, -2147483648.0, 2147483647.0, INT32_MAX); break;
	case WEIR_I64:
		*(int64_t *)(void *)p = to_integer(v, -9223372036854775808.0, 9223372036854775808.0, INT64_MAX);
		break;
	default: *(uint8_t *)p = (uint8_t)to_integer(v, 0, 255, 255); break;
	}
}

const void *weir_data(const weir_tensor *t)
{
	return weir__usable(t, "weir_data") ? weir__at(t) : NULL;
}

static bool writable(weir_tensor *t, const char *who)
{
	weir_text_buf text;

	if (!weir__usable(t, who)) return false;
	if (!(t->flags & WEIR_T_SHARED)) return true;
	weir_fail(t->ctx, WEIR_ERR_ARGUMENT, "%s: %s is shared from another context, which alone may write to it", who,
		  weir__describe(t, &text));
	return false;
}

void *weir_data_mut(weir_tensor *t, const char *writer)
{
	if (!writer) writer = "weir_data_mut";
	if (!writable(t, writer)) return NULL;
	t->store->version++;
	t->store->writer = writer;
	return weir__at(t);
}

static double nan_value(void)
{
	return __builtin_nan("");
}

double weir_item(const weir_tensor *t)
{
	weir_text_buf text;

	double v = nan_value();

	if (!weir__usable(t, "weir_item")) return v;
	if (t->numel == 1) {
		get_all(t, 0, &v, 1);
		return v;
	}
	weir_fail(t->ctx, WEIR_ERR_SHAPE, "weir_item: %s has %lld elements; weir_get() reads one of many",
		  weir__describe(t, &text), (long long)t->numel);
	return nan_value();
}

static bool in_range(const weir_tensor *t, const char *who, int64_t i)
{
	weir_text_buf text;

	if (!weir__usable(t, who)) return false;
	if (i >= 0 && i < t->numel) return true;
	weir_fail(t->ctx, WEIR_ERR_INDEX, "%s: element %lld of %s, which has %lld", who, (long long)i,
		  weir__describe(t, &text), (long long)t->numel);
	return false;
}

double weir_get(const weir_tensor *t, int64_t i)
{
	double v = nan_value();

	if (in_range(t, "weir_get", i)) get_all(t, i, &v, 1);
	return v;
}

static bool sizes_equal(const weir_tensor *t, const char *who, const char *what, int64_t have, int64_t want)
{
	weir_text_buf text;

	if (have == want) return true;
	weir_fail(t->ctx, WEIR_ERR_SHAPE, "%s: %s is %lld, but %s takes %lld", who, what, (long long)have,
		  weir__describe(t, &text), (long long)want);
	return false;
}

static bool buffer_given(const weir_tensor *t, const char *who, const void *buffer)
{
	if (buffer || !t->numel) return true;
	weir_fail(t->ctx, WEIR_ERR_ARGUMENT, "%s: the buffer is NULL", who);
	return false;
}

bool weir_read(const weir_tensor *t, void *dst, size_t bytes)
{
	size_t size;

	if (!weir__usable(t, "weir_read") || !buffer_given(t, "weir_read", dst)) return false;
	size = weir__size_of(t->dtype);
	if (!sizes_equal(t, "weir_read", "bytes", (int64_t)bytes, t->numel * (int64_t)size)) return false;
	if (t->contiguous && bytes) memcpy(dst, weir__at(t), bytes);
	for (int64_t i = 0; !t->contiguous && i < t->numel; i++)
		memcpy((char *)dst + (size_t)i * size,
		       (const char *)weir__at(t) + weir__element_offset(t, i) * (int64_t)size, size);
	return true;
}

bool weir_read_f64(const weir_tensor *t, double *dst, int64_t n)
{
	if (!weir__usable(t, "weir_read_f64") || !buffer_given(t, "weir_read_f64", dst) ||
	    !sizes_equal(t, "weir_read_f64", "n", n, t->numel))
		return false;
	get_all(t, 0, dst, n);
	return true;
}

static bool leaf_to_write(weir_tensor *t, const char *who)
{
	weir_text_buf text;

	if (!writable(t, who)) return false;
	if (!t->nin && t->contiguous) return true;
	weir_fail(t->ctx, WEIR_ERR_ARGUMENT,
		  "%s: %s is the result of %s; only leaves, kept tensors and parameters are written", who,
		  weir__describe(t, &text), t->op->name);
	return false;
}

bool weir_write(weir_tensor *t, const void *src, size_t bytes)
{
	if (!leaf_to_write(t, "weir_write") || !buffer_given(t, "weir_write", src)) return false;
	if (!sizes_equal(t, "weir_write", "bytes", (int64_t)bytes, t->numel * (int64_t)weir__size_of(t->dtype)))
		return false;
	if (bytes) memcpy(weir_data_mut(t, "weir_write"), src, bytes);
	return true;
}

bool weir_write_f64(weir_tensor *t, const double *src, int64_t n)
{
	if (!leaf_to_write(t, "weir_write_f64") || !buffer_given(t, "weir_write_f64", src) ||
	    !sizes_equal(t, "weir_write_f64", "n", n, t->numel))
		return false;
	weir_data_mut(t, "weir_write_f64");
	set_all(t, src, n);
	return true;
}
