/* dataset_make.c: the examples of a data set: their memory, what they must hold, and those that come from memory. */
#include "io/dataset.h"

#include <string.h>

#include "engine/number.h"
#include "io/digits_data.h"

void weir__examples_free(weir_ctx *w, weir_examples *e)
{
	weir__free(w, e->x, e->x_bytes);
	weir__free(w, e->y, e->y_bytes);
	weir__pool_give(w, e, sizeof(*e));
}

weir_examples *weir__examples_new(weir_ctx *w, const char *who, const weir_examples *like)
{
	int64_t shape[2] = { like->n, like->features }, numel = weir__numel(2, shape), outputs;
	size_t size = sizeof(weir_examples);
	weir_examples *e;

	shape[1] = like->regression ? like->targets : 1;
	outputs = weir__numel(2, shape);
	if (like->dtype != WEIR_F32 && like->dtype != WEIR_F64) {
		weir_fail(w, WEIR_ERR_DTYPE, "%s: dtype is %s; the features of a data set are f32 or f64", who,
			  weir_dtype_name(like->dtype));
		return NULL;
	}
	if (numel < 0 || outputs < 0) {
		weir_fail(w, WEIR_ERR_SHAPE,
			  "%s: %lld examples of %lld features and %lld targets; none may be negative, nor too many for "
			  "memory",
			  who, (long long)like->n, (long long)like->features, (long long)shape[1]);
		return NULL;
	}
	e = weir__pool_take(w, &size);
	if (!e) return NULL;
	*e = *like;
	e->sets = 0;
	e->x_bytes = (size_t)(numel ? numel : 1) * weir__size_of((int)like->dtype);
	e->y_bytes = (size_t)(outputs ? outputs : 1) *
		     (like->regression ? weir__size_of((int)like->dtype) : sizeof(int64_t));
	e->x = weir__alloc(w, e->x_bytes, WEIR_ALIGN);
	e->y = e->x ? weir__alloc(w, e->y_bytes, WEIR_ALIGN) : NULL;
	if (e->y) return e;
	weir__examples_free(w, e);
	return NULL;
}

/* The first of n numbers that is not finite, or -1; told by its bits, so that no floating-point mode matters. */
static int64_t first_nonfinite(weir_dtype dtype, const void *data, int64_t n)
{
	const float *f = data;
	const double *d = data;

	for (int64_t i = 0; i < n; i++) {
		if (dtype == WEIR_F32) {
			uint32_t bits;

			memcpy(&bits, &f[i], sizeof(bits));
			if ((bits & 0x7f800000) == 0x7f800000) return i;
		} else {
			uint64_t bits;

			memcpy(&bits, &d[i], sizeof(bits));
			if (bits << 1 >= UINT64_C(0x7ff) << 53) return i;
		}
	}
	return -1;
}

static bool check_finite(weir_ctx *w, const char *who, const weir_examples *e, const char *name, const void *data,
			 int64_t columns)
{
	int64_t i = first_nonfinite(e->dtype, data, e->n * columns);
	char text[WEIR__NUMBER_MAX];

	if (i < 0) return true;
	if (e->dtype == WEIR_F32) weir__format_float(text, sizeof(text), ((const float *)data)[i]);
	else weir__format_double(text, sizeof(text), ((const double *)data)[i], 'g', 0);
	weir_fail(w, WEIR_ERR_NONFINITE, "%s: %s[%lld, %lld] is %s; a data set holds finite numbers only", who, name,
		  (long long)(i / columns), (long long)(i % columns), text);
	return false;
}

static bool check_labels(weir_ctx *w, const char *who, weir_examples *e)
{
	const int64_t *label = e->y;
	int64_t largest = -1;

	if (e->classes < 0) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: classes is %lld; it must be 0 (as the labels say) or more", who,
			  (long long)e->classes);
		return false;
	}
	for (int64_t i = 0; i < e->n; i++) {
		if (label[i] < 0 || label[i] > INT32_MAX) {
			weir_fail(w, WEIR_ERR_INDEX, "%s: label %lld is %lld; labels count from 0 and stay below 2^31",
				  who, (long long)i, (long long)label[i]);
			return false;
		}
		if (e->classes && label[i] >= e->classes) {
			weir_fail(w, WEIR_ERR_INDEX, "%s: label %lld is %lld, but there are %lld classes: 0 to %lld",
				  who, (long long)i, (long long)label[i], (long long)e->classes,
				  (long long)e->classes - 1);
			return false;
		}
		if (label[i] > largest) largest = label[i];
	}
	if (!e->classes) e->classes = largest + 1;
	return true;
}

bool weir__examples_check(weir_ctx *w, const char *who, weir_examples *e)
{
	if (!check_finite(w, who, e, "x", e->x, e->features)) return false;
	return e->regression ? check_finite(w, who, e, "y", e->y, e->targets) : check_labels(w, who, e);
}

weir_dataset *weir_dataset_digits(weir_ctx *w)
{
	return weir_dataset_digits_as(w, WEIR_F32);
}

weir_dataset *weir_dataset_digits_as(weir_ctx *w, weir_dtype dtype)
{
	weir_examples *e;

	if (!weir_ok(w)) return weir__dataset_bad(w);
	e = weir__examples_new(w, "weir_dataset_digits_as",
			       &(weir_examples){ .n = WEIR__DIGITS_ROWS,
						 .features = WEIR__DIGITS_PIXELS,
						 .classes = WEIR__DIGITS_CLASSES,
						 .dtype = dtype,
						 .x_name = "images",
						 .y_name = "labels" });
	if (!e) return weir__dataset_bad(w);
	for (int row = 0; row < WEIR__DIGITS_ROWS; row++) {
		unsigned char pixels[WEIR__DIGITS_PIXELS];
		int label;

		weir__digits_row(row, pixels, &label);
		((int64_t *)e->y)[row] = label;
		for (int i = 0; i < WEIR__DIGITS_PIXELS; i++) { /* to [0, 1], exactly: the largest is a power of two */
			int at = row * WEIR__DIGITS_PIXELS + i;

			if (dtype == WEIR_F32) ((float *)e->x)[at] = (float)pixels[i] * (1.0f / WEIR__DIGITS_MAX);
			else ((double *)e->x)[at] = (double)pixels[i] * (1.0 / WEIR__DIGITS_MAX);
		}
	}
	return weir__dataset_over(w, e);
}

static weir_dataset *from_arrays(weir_ctx *w, const char *who, const weir_examples *like, const void *x, const void *y)
{
	int64_t per_row = like->regression ? like->targets : 1;
	weir_examples *e;

	if (!weir_ok(w)) return weir__dataset_bad(w);
	if ((like->n > 0 && like->features > 0 && !x) || (like->n > 0 && per_row > 0 && !y)) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %s is NULL", who, x ? (like->regression ? "y" : "labels") : "x");
		return weir__dataset_bad(w);
	}
	e = weir__examples_new(w, who, like);
	if (!e) return weir__dataset_bad(w);
	if (e->n && e->features) memcpy(e->x, x, e->x_bytes);
	if (e->n && per_row) memcpy(e->y, y, e->y_bytes);
	if (weir__examples_check(w, who, e)) return weir__dataset_over(w, e);
	weir__examples_free(w, e);
	return weir__dataset_bad(w);
}

weir_dataset *weir_dataset_arrays(weir_ctx *w, int64_t n, int64_t features, weir_dtype dtype, const void *x,
				  int64_t classes, const int64_t *labels)
{
	weir_examples like = {
		.n = n, .features = features, .classes = classes, .dtype = dtype, .x_name = "inputs", .y_name = "labels"
	};

	return from_arrays(w, "weir_dataset_arrays", &like, x, labels);
}

weir_dataset *weir_dataset_regression(weir_ctx *w, int64_t n, int64_t features, int64_t targets, weir_dtype dtype,
				      const void *x, const void *y)
{
	weir_examples like = { .n = n,
			       .features = features,
			       .targets = targets,
			       .dtype = dtype,
			       .regression = true,
			       .x_name = "inputs",
			       .y_name = "targets" };

	return from_arrays(w, "weir_dataset_regression", &like, x, y);
}
