/* data.c: the data sets of the command: digits, random numbers, ones, a CSV file. */
#include "tools/tool.h"

#include <stdlib.h>
#include <string.h>

enum { MADE = 512 }; /* examples of --data random */

bool data_is_digits(const options *o)
{
	return o->data == DATA_DIGITS || (o->data == DATA_DEFAULT && o->width[0] == 64 && o->width[o->layers] == 10);
}

static bool has_labels(const options *o)
{
	return o->loss == LOSS_CE || (o->loss != LOSS_MSE && (data_is_digits(o) || o->data == DATA_FILE));
}

static void store(void *to, weir_dtype dtype, int64_t i, double v)
{
	if (dtype == WEIR_F32) ((float *)to)[i] = (float)v;
	else ((double *)to)[i] = v;
}

/* n examples: standard normal numbers or ones, labels at random or 0. */
static weir_dataset *made_data(const setup *s, int64_t n, bool ones)
{
	const options *o = s->o;
	int64_t in = o->width[0], out = o->width[o->layers];
	size_t size = weir_dtype_size(o->dtype);
	void *x = calloc((size_t)n, (size_t)in * size), *y = calloc((size_t)n, (size_t)out * size);
	int64_t *label = calloc((size_t)n, sizeof *label);
	uint64_t a = weir_random_stream(s->w), b = weir_random_stream(s->w);
	weir_dataset *set = NULL;

	if (x && y && label) {
		for (int64_t i = 0; i < n * in; i++)
			store(x, o->dtype, i, ones ? 1 : weir_random_normal(s->w, a, (uint64_t)i));
		for (int64_t i = 0; i < n * out; i++)
			store(y, o->dtype, i, ones ? 1 : weir_random_normal(s->w, b, (uint64_t)i));
		for (int64_t i = 0; i < n && !ones; i++)
			label[i] = (int64_t)(weir_random_bits(s->w, b, (uint64_t)i) % (uint64_t)out);
		set = has_labels(o) ? weir_dataset_arrays(s->w, n, in, o->dtype, x, out, label)
				    : weir_dataset_regression(s->w, n, in, out, o->dtype, x, y);
	} else {
		weir_fail(s->w, WEIR_ERR_MEMORY, "weir: out of memory for %lld examples of %lld numbers", (long long)n,
			  (long long)in);
	}
	free(x);
	free(y);
	free(label);
	return set;
}

static weir_dataset *file_data(const setup *s)
{
	const options *o = s->o;
	weir_csv_options csv;

	weir_csv_options_init(&csv);
	csv.dtype = o->dtype;
	csv.targets = has_labels(o) ? 0 : o->width[o->layers];
	csv.target_column = csv.targets ? -csv.targets : csv.target_column;
	return weir_dataset_csv(s->w, o->file, &csv);
}

static const char *plural(long long n)
{
	return n == 1 ? "" : "s";
}

static void check(const setup *s)
{
	const options *o = s->o;
	long long in = o->width[0], out = o->width[o->layers];
	long long features = weir_dataset_features(s->all), classes = weir_dataset_classes(s->all);

	if (features != in)
		weir_fail(s->w, WEIR_ERR_SHAPE,
			  "weir: model \"%s\" has %lld input%s, but the data has %lld feature%s; write mlp:%lld-...",
			  o->model, in, plural(in), features, plural(features), features);
	else if (classes > out)
		weir_fail(s->w, WEIR_ERR_SHAPE,
			  "weir: model \"%s\" has %lld output%s, but the data has %lld classes; write mlp:...-%lld",
			  o->model, out, plural(out), classes, classes);
	else if (o->loss == LOSS_MSE && classes)
		weir_fail(s->w, WEIR_ERR_ARGUMENT,
			  "weir: --loss mse needs targets, but the data has class labels; write --loss ce");
}

bool data_load(setup *s)
{
	const options *o = s->o;

	if (!weir_ok(s->w)) return false;
	if (data_is_digits(o)) s->all = weir_dataset_digits_as(s->w, o->dtype);
	else if (o->data == DATA_FILE) s->all = file_data(s);
	else s->all = made_data(s, o->data == DATA_ONES ? o->batch ? o->batch : 1 : MADE, o->data == DATA_ONES);
	if (weir_ok(s->w)) check(s);
	if (!weir_ok(s->w)) return false;
	s->train = s->validation = s->all;
	if (o->data == DATA_ONES || weir_dataset_size(s->all) < 3) return true; /* nothing to split */
	return weir_dataset_split(s->all, 0.8, &s->train, &s->validation);
}
