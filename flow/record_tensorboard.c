/* record_tensorboard.c: an event file that TensorBoard shows: events.out.tfevents.SECONDS.HOST.weir in a folder, which is made where there is none.
 *
 * A record is a length (u64, little endian), the masked CRC-32C of those 8 bytes, the payload, and the masked CRC-32C of the payload. The
 * payload is an Event in protocol buffers' encoding, written by hand below. One event per step, written with one call.
 *
 * Scalars: loss, grad_norm, verdict (its number in weir_verdict), gain_per_layer, total_gain, own_share; train_loss and validation_loss when told;
 * per layer delta/NAME, gain/NAME, on whole measurements update_ratio/NAME. A value that is not finite, also as an f32, is left out and
 * counted: nonfinite/NAME, written on whole measurements and wherever it is above 0: inf and NaN in the layer's output and gradient, at
 * least 1 where its norm was left out; nonfinite/loss and nonfinite/grad_norm are 1 where those were left out.
 * Histograms, on whole measurements, of log2 |x|, each bucket a power of two wide: weights/PARAMETER, gradients/PARAMETER. The latter is what
 * weir_grad_of() gives at the end of the step: accumulated where the user accumulates, clipped where he clipped, none where it is gone.
 * Zeros and what is not finite have no logarithm and are left out; sum and sum of squares are taken from the buckets' middles. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "flow/record.h"

enum { LOWEST = -1074, EXPONENTS = 1074 + 1024, TRIES = 100, LONGEST_PATH = 4096 };

/* Wire types. */
enum { VARINT, FIXED64, BYTES, FIXED32 = 5 };

typedef struct board {
	uint32_t crc[256];
	weir__text summary; /* the Values of this step */
	double train_loss, validation_loss;
	int64_t bucket[EXPONENTS]; /* magnitudes from 2^(LOWEST + i) up to twice that */
	int first, last;           /* buckets that are not empty; first > last: none */
	double smallest, largest;  /* magnitudes */
	int64_t count;
} board;

/* ---- the encoding ---- */

static void little(weir__text *t, uint64_t x, int bytes)
{
	unsigned char b[8];

	for (int i = 0; i < bytes; i++) b[i] = (unsigned char)(x >> 8 * i);
	weir__text_bytes(t, b, (size_t)bytes);
}

static size_t varint_size(uint64_t x)
{
	size_t n = 1;

	while (x >>= 7) n++;
	return n;
}

static void varint(weir__text *t, uint64_t x)
{
	unsigned char b[10];
	size_t n = 0;

	for (; x >= 128; x >>= 7) b[n++] = (unsigned char)(x | 128);
	b[n++] = (unsigned char)x;
	weir__text_bytes(t, b, n);
}

static void key(weir__text *t, unsigned field, unsigned type)
{
	varint(t, field << 3 | type);
}

static void put_double(weir__text *t, unsigned field, double x)
{
	uint64_t bits;

	memcpy(&bits, &x, sizeof bits);
	key(t, field, FIXED64);
	little(t, bits, 8);
}

/* A piece of a tag or its rest. */
static void put_text(weir__text *t, const char *s)
{
	weir__text_bytes(t, s, strlen(s));
}

static uint32_t masked(const board *b, const void *data, size_t n)
{
	uint32_t c = weir__crc32c(b->crc, data, n);

	return (c >> 15 | c << 17) + 0xa282ead8u;
}

/* r->text holds 12 free bytes and the payload. */
static void frame(board *b, weir__text *t)
{
	unsigned char head[8];
	uint64_t n = t->length - 12;
	uint32_t crc;

	if (t->truncated) return;
	for (int i = 0; i < 8; i++) head[i] = (unsigned char)(n >> 8 * i);
	memcpy(t->data, head, 8);
	crc = masked(b, head, 8);
	for (int i = 0; i < 4; i++) t->data[8 + i] = (char)(unsigned char)(crc >> 8 * i);
	little(t, masked(b, t->data + 12, n), 4);
}

static void begin_event(weir__text *t, double time)
{
	weir__text_clear(t);
	weir__text_repeat(t, 0, 12);
	put_double(t, 1, time);
}

/* ---- scalars ---- */

/* A tag is group/name, and #call for all calls but the first. */
typedef struct tag {
	const char *group, *name;
	char call[24];
	size_t length;
} tag;

static tag tag_of(const char *group, const char *name, int64_t call)
{
	tag g = { .group = group, .name = name };
	weir__text t;

	weir__text_fixed(&t, g.call, sizeof g.call);
	if (call > 1) weir__text_format(&t, "#%lld", (long long)call);
	g.length = strlen(group) + strlen(name) + strlen(g.call);
	return g;
}

/* The beginning of a Value in the summary, the rest of which has so many bytes. */
static void begin_value(weir__text *t, const tag *g, size_t rest)
{
	key(t, 1, BYTES);
	varint(t, 1 + varint_size(g->length) + g->length + rest);
	key(t, 1, BYTES);
	varint(t, g->length);
	put_text(t, g->group);
	put_text(t, g->name);
	put_text(t, g->call);
}

/* Returns whether it could be written: it is finite, as an f32, too. */
static bool scalar(board *b, const char *group, const char *name, int64_t call, double x)
{
	float single = (float)x;
	uint32_t bits;
	tag g;

	if (!is_finite((double)single)) return false;
	g = tag_of(group, name, call);
	memcpy(&bits, &single, sizeof bits);
	begin_value(&b->summary, &g, 5);
	key(&b->summary, 2, FIXED32);
	little(&b->summary, bits, 4);
	return true;
}

static void of_step(board *b, const weir_flow_summary *s, const weir__step *st)
{
	if (!scalar(b, "loss", "", 1, s->loss)) scalar(b, "nonfinite/", "loss", 1, 1);
	if (!scalar(b, "grad_norm", "", 1, st->grad_norm)) scalar(b, "nonfinite/", "grad_norm", 1, 1);
	scalar(b, "verdict", "", 1, (double)s->verdict);
	scalar(b, "gain_per_layer", "", 1, s->gain_per_layer);
	scalar(b, "total_gain", "", 1, s->total_gain);
	scalar(b, "own_share", "", 1, s->own_share);
	if (s->train_loss != b->train_loss) scalar(b, "train_loss", "", 1, s->train_loss);
	if (s->validation_loss != b->validation_loss) scalar(b, "validation_loss", "", 1, s->validation_loss);
	b->train_loss = s->train_loss;
	b->validation_loss = s->validation_loss;
}

static void of_layer(board *b, const weir_flow_layer *p, bool whole)
{
	bool left_out = p->nonfinite > 0 || p->delta_norm == p->delta_norm;
	int64_t bad = whole ? p->nonfinite + p->out_nonfinite : 0;

	if (scalar(b, "delta/", p->name, p->call, p->delta_norm)) left_out = false;
	scalar(b, "gain/", p->name, p->call, p->gain);
	if (whole) scalar(b, "update_ratio/", p->name, p->call, p->update_ratio);
	if (left_out && !bad) bad = 1;
	if (whole || bad) scalar(b, "nonfinite/", p->name, p->call, (double)bad);
}

/* ---- histograms ---- */

/* The power of two at or below a magnitude that is not zero, as an index of buckets; -1 for zero and what is not finite. */
static int bucket_of(double x)
{
	uint64_t bits;
	int e;

	memcpy(&bits, &x, sizeof bits);
	bits &= UINT64_MAX >> 1;
	e = (int)(bits >> 52);
	if (e == 2047 || !bits) return -1;
	if (e) return e - 1023 - LOWEST;
	return 63 - __builtin_clzll(bits); /* subnormal */
}

static void count(board *b, double x)
{
	int i = bucket_of(x);

	if (i < 0) return;
	if (x < 0) x = -x;
	b->bucket[i]++;
	b->count++;
	if (i < b->first) b->first = i;
	if (i > b->last) b->last = i;
	if (!(b->smallest <= x)) b->smallest = x;
	if (!(b->largest >= x)) b->largest = x;
}

static void count_all(board *b, weir_dtype type, const void *data, int64_t n)
{
	b->first = EXPONENTS;
	b->last = -1;
	b->count = 0;
	b->smallest = b->largest = UNKNOWN;
	for (int64_t i = 0; i < n; i++)
		count(b, type == WEIR_F32 ? (double)((const float *)data)[i] : ((const double *)data)[i]);
}

static void histogram(board *b, const char *group, const char *name, const weir_tensor *x)
{
	const void *data = x && is_float(x) ? value_of(x) : NULL;
	weir__text *t = &b->summary;
	double sum = 0, squares = 0;
	size_t packed, size;
	tag g = tag_of(group, name, 1);

	if (!data) return;
	count_all(b, weir_dtype_of(x), data, weir_numel(x));
	if (!b->count) return;
	for (int i = b->first; i <= b->last; i++) {
		double middle = i + LOWEST + 0.5;

		sum += (double)b->bucket[i] * middle;
		squares += (double)b->bucket[i] * middle * middle;
	}
	packed = 8 * (size_t)(b->last - b->first + 1);
	size = 5 * 9 + 2 * (1 + varint_size(packed) + packed);
	begin_value(t, &g, 1 + varint_size(size) + size);
	key(t, 5, BYTES);
	varint(t, size);
	put_double(t, 1, weir__flow_log2(b->smallest));
	put_double(t, 2, weir__flow_log2(b->largest));
	put_double(t, 3, (double)b->count);
	put_double(t, 4, sum);
	put_double(t, 5, squares);
	for (unsigned field = 6; field <= 7; field++) {
		key(t, field, BYTES);
		varint(t, packed);
		for (int i = b->first; i <= b->last; i++) {
			double v = field == 6 ? i + LOWEST + 1 : (double)b->bucket[i];
			uint64_t bits;

			memcpy(&bits, &v, sizeof bits);
			little(t, bits, 8);
		}
	}
	memset(b->bucket + b->first, 0, (size_t)(b->last - b->first + 1) * sizeof *b->bucket);
}

static void histograms(board *b, weir_ctx *w)
{
	for (int64_t i = 0; i < weir_tape_length(w); i++) {
		const weir_tensor *t = weir_tape_at(w, i), *param = t && is_leaf(t) ? param_of(t) : NULL;
		char name[512];

		if (!param) continue;
		weir__flow_clean(name, sizeof name, weir_name(param), strlen(weir_name(param)));
		histogram(b, "weights/", name, param);
		histogram(b, "gradients/", name, weir_grad_of(param));
	}
}

/* ---- the recorder ---- */

static void step(weir_flow *f, weir__recorder *r, const weir__step *st)
{
	board *b = r->own;
	weir__text *t = &r->text;

	weir__text_clear(&b->summary);
	of_step(b, &f->sum, st);
	for (int64_t i = 0; st->layers && i < f->count; i++) of_layer(b, &f->layers[i].public, st->whole);
	if (st->whole) histograms(b, f->w);
	begin_event(t, 1e-9 * (double)st->time);
	key(t, 2, VARINT);
	varint(t, (uint64_t)f->sum.step);
	key(t, 5, BYTES);
	varint(t, b->summary.length);
	weir__text_bytes(t, b->summary.data, b->summary.length);
	t->truncated |= b->summary.truncated;
	frame(b, t);
	weir__record_write(f, r);
}

static void finish(weir_flow *f, weir__recorder *r)
{
	(void)f;
	if (r->own) weir__text_drop(&((board *)r->own)->summary);
}

/* The folder, and those above it. */
static bool make_folder(weir_flow *f, const char *path)
{
	char part[LONGEST_PATH];
	size_t n = strlen(path);
	struct stat st;

	if (n >= sizeof part) {
		weir__record_fail(f, path, strerror(ENAMETOOLONG));
		return false;
	}
	for (size_t i = 1; i <= n; i++) {
		if (path[i] && path[i] != '/') continue;
		memcpy(part, path, i);
		part[i] = 0;
		if (!mkdir(part, 0777) || (!stat(part, &st) && S_ISDIR(st.st_mode))) continue;
		weir__record_fail(f, part, strerror(errno == EEXIST ? ENOTDIR : errno));
		return false;
	}
	return true;
}

static void host_name(char *name, size_t size)
{
	if (gethostname(name, size)) name[0] = 0;
	name[size - 1] = 0;
	for (char *c = name; *c; c++) {
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '-'))
			*c = '_';
	}
	if (!name[0]) memcpy(name, "host", 5);
}

/* A file that is not there yet, whatever else is recorded in this second. */
static bool make_file(weir_flow *f, weir__recorder *r, long long now)
{
	char folder[LONGEST_PATH], name[LONGEST_PATH + 512], host[256];
	size_t n = strlen(r->path);
	weir__text t;

	memcpy(folder, r->path, n + 1);
	while (n > 1 && folder[n - 1] == '/') folder[--n] = 0;
	host_name(host, sizeof host);
	for (int i = 0; i < TRIES; i++) {
		weir__text_fixed(&t, name, sizeof name);
		weir__text_format(&t, "%s/events.out.tfevents.%lld.%s", folder, now, host);
		if (i) weir__text_format(&t, ".%d", i);
		weir__text_str(&t, ".weir");
		if (access(name, F_OK)) break;
	}
	r->fd = weir__record_open(f, name, O_WRONLY | O_CREAT | O_EXCL);
	return r->fd >= 0 && weir__record_path(f, r, name);
}

bool weir__record_tensorboard(weir_flow *f, weir__recorder *r)
{
	static const char version[] = "brain.Event:2";
	struct timespec now;
	board *b;

	r->step = step;
	r->close = finish;
	if (!(b = weir__record_own(f, r, sizeof *b))) return false;
	weir__crc32c_table(b->crc);
	weir__text_growing(&b->summary, r->text.grow, r->text.user);
	b->train_loss = b->validation_loss = UNKNOWN;
	clock_gettime(CLOCK_REALTIME, &now);
	if (!make_folder(f, r->path) || !make_file(f, r, (long long)now.tv_sec)) return false;
	begin_event(&r->text, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
	key(&r->text, 3, BYTES);
	varint(&r->text, sizeof version - 1);
	put_text(&r->text, version);
	frame(b, &r->text);
	weir__record_write(f, r);
	return r->fd >= 0;
}
