/* dataset_csv.c: a data set from a file of numbers: the file into memory, the text into numbers, the columns into features and
 * labels or targets. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/number.h"
#include "engine/text.h"
#include "io/csv.h"
#include "io/dataset.h"

static const char who[] = "weir_dataset_csv";

struct file {
	char *data;
	size_t size;
};

static bool io_error(weir_ctx *w, const char *path, const char *step, int number)
{
	char text[128];

	if (strerror_r(number, text, sizeof(text)) != 0) memcpy(text, "unknown error", 14);
	weir_fail(w, WEIR_ERR_IO, "%s: %s: %s: %s (errno %d)", who, path, step, text, number);
	return false;
}

static void free_file(weir_ctx *w, struct file *f)
{
	weir__free(w, f->data, f->size + 1);
}

static bool read_open_file(weir_ctx *w, const char *path, int fd, struct file *f)
{
	struct stat s;
	size_t done = 0;

	if (fstat(fd, &s) != 0) return io_error(w, path, "looking at the file", errno);
	if (!S_ISREG(s.st_mode)) {
		weir_fail(w, WEIR_ERR_IO, "%s: %s: this is no regular file", who, path);
		return false;
	}
	f->size = (size_t)s.st_size;
	f->data = weir__alloc(w, f->size + 1, WEIR_ALIGN);
	if (!f->data) return false;
	while (done < f->size) {
		ssize_t n = read(fd, f->data + done, f->size - done < 1 << 30 ? f->size - done : 1 << 30);

		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) {
			if (n < 0) io_error(w, path, "reading", errno);
			else weir_fail(w, WEIR_ERR_IO, "%s: %s: the file became shorter while it was read", who, path);
			free_file(w, f);
			return false;
		}
		done += (size_t)n;
	}
	return true;
}

static bool read_file(weir_ctx *w, const char *path, struct file *f)
{
	int fd;
	bool ok;

	do fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer would block here */
	while (fd < 0 && errno == EINTR);
	if (fd < 0) return io_error(w, path, "opening the file", errno);
	ok = read_open_file(w, path, fd, f);
	close(fd);
	return ok;
}

static void *grow(void *user, void *p, size_t old_size, size_t new_size)
{
	void *q = new_size ? weir__alloc(user, new_size, WEIR_ALIGN) : NULL;

	if (new_size && !q) return NULL;
	if (p && q) memcpy(q, p, old_size < new_size ? old_size : new_size);
	weir__free(user, p, old_size);
	return q;
}

void weir_csv_options_init(weir_csv_options *o)
{
	*o = (weir_csv_options){
		.header = WEIR_CSV_HEADER_AUTO, .delimiter = ',', .dtype = WEIR_F32, .target_column = -1, .scale = 1
	};
}

static bool check_options(weir_ctx *w, const weir_csv_options *o)
{
	char text[WEIR__NUMBER_MAX];

	weir__format_double(text, sizeof(text), o->scale, 'g', 0);
	if ((unsigned)o->header > WEIR_CSV_HEADER_FIRST_LINE)
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: header is %d; use one of weir_csv_header", who, (int)o->header);
	else if (!o->delimiter || !strchr(",;:|\t ", o->delimiter))
		weir_fail(w, WEIR_ERR_ARGUMENT,
			  "%s: delimiter is character %d; it must be one of , ; : | tab and space", who, o->delimiter);
	else if (o->dtype != WEIR_F32 && o->dtype != WEIR_F64)
		weir_fail(w, WEIR_ERR_DTYPE, "%s: dtype is %s; the features of a data set are f32 or f64", who,
			  weir_dtype_name(o->dtype));
	else if (o->targets < 0 || o->classes < 0 || (o->targets && o->classes))
		weir_fail(w, WEIR_ERR_ARGUMENT,
			  "%s: targets is %lld and classes is %lld; neither may be negative, and one must be 0", who,
			  (long long)o->targets, (long long)o->classes);
	else if (strchr("ni", text[text[0] == '-']))
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: scale is %s; it must be finite", who, text);
	else return true;
	return false;
}

/* One place of a table, for messages. */
static bool wrong_cell(weir_ctx *w, weir_status status, const char *path, const weir__csv *t, int64_t row,
		       int64_t column, const char *what)
{
	char text[WEIR__NUMBER_MAX];

	weir__format_double(text, sizeof(text), t->values[row * t->columns + column], 'g', 0);
	weir_fail(w, status, "%s: %s: line %lld, column %lld: %s %s", who, path, (long long)(t->first_line + row),
		  (long long)column + 1, text, what);
	return false;
}

/* Writes v as number i of data; false where dtype can't hold it. */
static bool store(weir_dtype dtype, void *data, int64_t i, double v)
{
	uint64_t bits;

	if (dtype == WEIR_F32) {
		float f = (float)v;

		memcpy((float *)data + i, &f, sizeof(f));
		v = (double)f;
	} else {
		memcpy((double *)data + i, &v, sizeof(v));
	}
	memcpy(&bits, &v, sizeof(bits));
	return (bits << 1) >> 53 != 0x7ff;
}

/* Moves the numbers of t to where they belong; first is the column where labels or targets begin. */
static bool distribute(weir_ctx *w, const char *path, const weir_csv_options *o, const weir__csv *t, int64_t first,
		       weir_examples *e)
{
	const char *const large = e->dtype == WEIR_F32 ? "is too large for f32; use WEIR_F64, or a smaller scale"
						       : "is too large when multiplied by scale";
	int64_t last = first + (e->regression ? e->targets : 1);

	for (int64_t row = 0; row < t->rows; row++) {
		int64_t feature = 0;

		for (int64_t c = 0; c < t->columns; c++) {
			double v = t->values[row * t->columns + c];

			if (c < first || c >= last) {
				if (!store(e->dtype, e->x, row * e->features + feature++, v * o->scale))
					return wrong_cell(w, WEIR_ERR_NONFINITE, path, t, row, c, large);
			} else if (e->regression) {
				if (!store(e->dtype, e->y, row * e->targets + c - first, v))
					return wrong_cell(w, WEIR_ERR_NONFINITE, path, t, row, c,
							  "is too large for f32; use WEIR_F64");
			} else {
				if (!(v >= 0 && v <= INT32_MAX) || (double)(int64_t)v != v)
					return wrong_cell(
						w, WEIR_ERR_INDEX, path, t, row, c,
						"is not a label; labels are whole numbers from 0 to 2^31 - 1 (for regression set targets)");
				if (e->classes && v >= (double)e->classes)
					return wrong_cell(w, WEIR_ERR_INDEX, path, t, row, c,
							  "is not below the number of classes that the options give");
				((int64_t *)e->y)[row] = (int64_t)v;
			}
		}
	}
	return true;
}

static weir_examples *examples_of(weir_ctx *w, const char *path, const weir_csv_options *o, const weir__csv *t)
{
	int64_t outputs = o->targets ? o->targets : 1, first = o->target_column;
	weir_fp_state fp;
	weir_examples *e;
	bool ok;

	if (first < 0) first = outputs > t->columns || first < -t->columns ? -1 : t->columns + first + 1 - outputs;
	if (first < 0 || first > t->columns || outputs > t->columns - first) {
		weir_fail(
			w, WEIR_ERR_ARGUMENT,
			"%s: %s: the table has %lld columns; %lld of them can't be the target where target_column is %lld",
			who, path, (long long)t->columns, (long long)outputs, (long long)o->target_column);
		return NULL;
	}
	e = weir__examples_new(w, who,
			       &(weir_examples){ .n = t->rows,
						 .features = t->columns - outputs,
						 .classes = o->classes,
						 .targets = o->targets,
						 .regression = o->targets > 0,
						 .dtype = o->dtype,
						 .x_name = "inputs",
						 .y_name = o->targets ? "targets" : "labels" });
	if (!e) return NULL;
	fp = weir__fp_enter(true); /* what the file says is kept as it is, subnormal or not */
	ok = distribute(w, path, o, t, first, e);
	weir__fp_leave(fp);
	if (ok && weir__examples_check(w, who, e)) return e;
	weir__examples_free(w, e);
	return NULL;
}

weir_dataset *weir_dataset_csv(weir_ctx *w, const char *path, const weir_csv_options *o)
{
	weir_csv_options defaults;
	weir_examples *e = NULL;
	weir__csv table;
	weir__text error;
	char message[WEIR_MESSAGE];
	struct file f;

	if (!weir_ok(w)) return weir__dataset_bad(w);
	if (!path) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "%s: path is NULL", who);
		return weir__dataset_bad(w);
	}
	weir_csv_options_init(&defaults);
	if (!o) o = &defaults;
	if (!check_options(w, o) || !read_file(w, path, &f)) return weir__dataset_bad(w);
	weir__text_fixed(&error, message, sizeof(message));
	if (weir__csv_parse(&(weir__csv_format){ .name = path, .delimiter = o->delimiter, .header = o->header }, f.data,
			    f.size, grow, w, &table, &error)) {
		e = examples_of(w, path, o, &table);
		grow(w, table.values, table.bytes, 0);
	} else {
		weir_fail(w, WEIR_ERR_FORMAT, "%s: %s", who, message);
	}
	free_file(w, &f);
	return e ? weir__dataset_over(w, e) : weir__dataset_bad(w);
}
