/* test_flow_hostile_alloc.c: the instrument when memory runs out: every block that it, or anything under it, asks the pool for is refused
 * once, and then all from some block on. No crash, no block lost, an error that sticks, and once that is cleared the same context and flow
 * go on. Linked so that the pool's functions come through here (see CMakeLists.txt): every block is then one of the C library's, in
 * which a sanitizer sees what is read or written behind its end or after it was given back. */
#include "tests/flow_check.h"

#include <dirent.h>
#include <unistd.h>

#include "engine/memory.h"

/* ---- a pool that refuses ---- */

typedef struct block {
	uintptr_t sign;
	weir_ctx *w;
	struct block *next, *prev;
} block;

enum { HEAD = 64 };

static block live = { .next = &live, .prev = &live };
static int64_t live_count, asked, refuse_at = -1;
static bool for_ever;

void *__real_weir__pool_take(weir_ctx *w, size_t *size);
void __real_weir__pool_give(weir_ctx *w, void *p, size_t size);
void __real_weir__pool_free(weir_ctx *w);
char *__real_weir__text_copy(weir_ctx *w, const char *text);
void *__real_weir__alloc(weir_ctx *w, size_t size, size_t align);
void *__wrap_weir__pool_take(weir_ctx *w, size_t *size);
void __wrap_weir__pool_give(weir_ctx *w, void *p, size_t size);
void __wrap_weir__pool_free(weir_ctx *w);
char *__wrap_weir__text_copy(weir_ctx *w, const char *text);
void *__wrap_weir__alloc(weir_ctx *w, size_t size, size_t align);

static bool refused(weir_ctx *w)
{
	int64_t i = asked++;

	if (refuse_at < 0 || (for_ever ? i < refuse_at : i != refuse_at)) return false;
	weir_fail(w, WEIR_ERR_MEMORY, "refused: block %lld", (long long)i);
	return true;
}

static block *block_of(void *p)
{
	block *b = (block *)(void *)((char *)p - HEAD);

	return b->sign == ~(uintptr_t)p ? b : NULL;
}

static void unlink_block(block *b)
{
	b->prev->next = b->next;
	b->next->prev = b->prev;
	b->sign = 0;
	live_count--;
	free(b);
}

void *__wrap_weir__pool_take(weir_ctx *w, size_t *size)
{
	block *b;

	if (refused(w)) return NULL;
	if (*size > (size_t)1 << 40) return __real_weir__pool_take(w, size);
	b = aligned_alloc(HEAD, HEAD + (*size + HEAD - 1) / HEAD * HEAD);
	if (!b) abort();
	*b = (block){ ~(uintptr_t)((char *)b + HEAD), w, live.next, &live };
	live.next->prev = b;
	live.next = b;
	live_count++;
	memset((char *)b + HEAD, 0xa5, *size);
	return (char *)b + HEAD;
}

void __wrap_weir__pool_give(weir_ctx *w, void *p, size_t size)
{
	if (!p) return;
	if (block_of(p)) unlink_block(block_of(p));
	else __real_weir__pool_give(w, p, size);
}

void __wrap_weir__pool_free(weir_ctx *w)
{
	for (block *b = live.next, *next; b != &live; b = next) {
		next = b->next;
		if (b->w == w) unlink_block(b);
	}
	__real_weir__pool_free(w);
}

char *__wrap_weir__text_copy(weir_ctx *w, const char *text)
{
	return refused(w) ? NULL : __real_weir__text_copy(w, text);
}

void *__wrap_weir__alloc(weir_ctx *w, size_t size, size_t align)
{
	return refused(w) ? NULL : __real_weir__alloc(w, size, align);
}

/* ---- what is tried ---- */

typedef struct bench {
	weir_ctx *w;
	weir_module *m, *cell;
	weir_flow *f;
	FILE *sink;
} bench;

static double ratio(const weir_tensor *p, void *user)
{
	(void)user;
	return 1e-3 * (double)weir_rank(p);
}

static bool go_on(const weir_flow *f, void *user)
{
	(void)f, (void)user;
	return false;
}

static weir_tensor *input(weir_ctx *w, int64_t rows)
{
	weir_tensor *x = weir_zeros(w, WEIR_F64, 2, (int64_t[]){ rows, 5 });
	double v[64];

	for (int64_t i = 0; i < 5 * rows; i++) v[i] = noise((int)i, 3);
	weir_write_f64(x, v, 5 * rows);
	return x;
}

static weir_tensor *labels(weir_ctx *w, int64_t rows)
{
	int64_t v[16];

	for (int64_t i = 0; i < rows; i++) v[i] = i % 3;
	return weir_from(w, WEIR_I64, 1, &rows, v);
}

static weir_tensor *loss_on(weir_ctx *w, weir_tensor *x, weir_tensor *y, void *user)
{
	bench *b = user;
	weir_tensor *h = weir_forward(b->cell, x);

	(void)w;
	h = weir_forward(b->cell, h);
	return weir_cross_entropy(weir_forward(b->m, h), y);
}

static weir_tensor *loss_of(bench *b)
{
	return loss_on(b->w, input(b->w, 4), labels(b->w, 4), b);
}

static bench *setup(void)
{
	static bench b;

	b = (bench){ .w = open_ieee(WEIR_F64), .sink = fopen("/dev/null", "w") };
	assert_non_null(b.sink);
	b.m = weir_sequential_new(b.w, "mlp");
	weir_module_add(b.m, NULL, weir_linear_new(b.w, 5, 6, WEIR_INIT_HE));
	weir_module_add(b.m, NULL, weir_relu_new(b.w));
	weir_module_add(b.m, NULL, weir_linear_new(b.w, 6, 6, WEIR_INIT_GLOROT));
	weir_module_add(b.m, NULL, weir_sigmoid_new(b.w));
	weir_module_add(b.m, NULL, weir_linear_new(b.w, 6, 3, WEIR_INIT_GLOROT));
	b.cell = weir_linear_new(b.w, 5, 5, WEIR_INIT_GLOROT);
	assert_fine(b.w);
	return &b;
}

static void watch(bench *b, int64_t every)
{
	weir_flow_options o;

	weir_flow_options_init(&o);
	o.every = every;
	o.budget = 0;
	o.stretch = 2;
	o.window = 8;
	o.epoch = 2;
	o.classes = 3;
	o.update_ratio = ratio;
	o.stop = go_on;
	b->f = weir_flow_watch(b->w, &o);
}

static void step(bench *b)
{
	weir_tensor *loss;

	weir_tape_reset(b->w);
	loss = loss_of(b);
	weir_backward(loss);
	weir_flow_step(b->f, loss);
}

static void reports(bench *b)
{
	weir_flow_report(b->f, b->sink, WEIR_FLOW_TABLE, NULL);
	weir_flow_report(b->f, b->sink, WEIR_FLOW_JSON, "a net");
	weir_flow_report(b->f, b->sink, WEIR_FLOW_HTML, "a net");
}

/* The calls go on after an error, as a caller's do who looks once at the end. */
static void steps(bench *b)
{
	watch(b, 1);
	for (int i = 0; i < 3; i++) step(b);
	reports(b);
	weir_flow_epoch(b->f);
}

static void thin_steps(bench *b)
{
	watch(b, 2);
	step(b);
	step(b);
	weir_flow_request(b->f);
	step(b);
	step(b);
}

/* An overflow, which is traced, in a step that was to be thin. */
static void broken_steps(bench *b)
{
	weir_tensor *p = weir_module_parameter(b->m, 0), *loss;

	watch(b, 3);
	step(b);
	for (int i = 0; i < 2; i++) {
		weir_tape_reset(b->w);
		loss = loss_of(b);
		loss = weir_mul(loss,
				i ? weir_exp(weir_affine(weir_sum_all(p), 0, 1000)) : weir_affine(loss, 0, 1e-310));
		weir_backward(loss);
		weir_flow_step(b->f, loss);
	}
	reports(b);
	weir_dot_print(b->w, b->f, b->sink);
}

static int entries(const char *folder, bool remove_them)
{
	DIR *d = opendir(folder);
	int n = 0;

	if (!d) return 0;
	for (struct dirent *e; (e = readdir(d)); n++) {
		char path[512];

		snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
		if (remove_them && e->d_name[0] != '.') assert_int_equal(unlink(path), 0);
	}
	closedir(d);
	return n;
}

static void recorders(bench *b)
{
	entries("hostile.board", true);
	watch(b, 1);
	weir_flow_record(b->f, WEIR_FLOW_JSON_LINES, "hostile.jsonl");
	weir_flow_record(b->f, WEIR_FLOW_TENSORBOARD, "hostile.board");
	weir_flow_record(b->f, WEIR_FLOW_RING, "hostile.ring");
	step(b);
	step(b);
	weir_flow_read_ring(b->w, "hostile.ring", b->sink, true);
	weir_flow_read_ring(b->w, "hostile.ring", b->sink, false);
}

static void on_request(bench *b)
{
	weir_tensor *params[2] = { weir_module_parameter(b->m, 0), weir_module_parameter(b->m, 1) }, *x, *y, *loss;
	double norms[4];
	weir_flow_noise n;
	weir_flow_curvature c;
	weir_flow_interval s;

	x = input(b->w, 4);
	y = weir_tanh(weir_forward(b->cell, x));
	weir_flow_stretch(x, y, 3, 1e-3, 64, NULL, &s);
	weir_flow_noise_of(b->w, input(b->w, 4), labels(b->w, 4), loss_on, b, params, 2, norms, &n);
	loss = loss_of(b);
	weir_flow_curvature_of(loss, params, 2, 2, 1e-3, 2, &c);
	weir_dot_print_with(b->w, NULL, b->sink);
	weir_dot_write(b->w, "hostile.dot");
}

static void whatif(bench *b)
{
	weir_flow_whatif_options o;
	weir_tensor *loss;

	watch(b, 1);
	loss = loss_of(b);
	weir_backward(loss);
	weir_flow_step(b->f, loss);
	weir_flow_whatif_options_init(&o);
	o.repairs = 1u << WEIR_REPAIR_RELU_HE | 1u << WEIR_REPAIR_LSUV | 1u << WEIR_REPAIR_LAYER_NORM |
		    1u << WEIR_REPAIR_RESIDUAL_SCALED;
	weir_flow_whatif(b->f, loss, &o);
	weir_flow_report(b->f, b->sink, WEIR_FLOW_JSON, NULL);
}

/* Once more with all the memory it wants. */
static void assert_usable(bench *b, const char *what, int64_t i)
{
	weir_clear_error(b->w);
	weir_tape_reset(b->w);
	if (!b->f) watch(b, 1);
	weir_flow_request(b->f);
	step(b);
	reports(b);
	if (!weir_ok(b->w))
		fail_msg("%s, block %lld refused: afterwards: %s", what, (long long)i, weir_error_text(b->w));
	assert_true(weir_flow_layer_count(b->f) >= 4);
	assert_int_equal(weir_flow_summary_of(b->f)->measured, weir_flow_summary_of(b->f)->step);
	weir_flow_stop(b->f);
	b->f = NULL;
	weir_tape_reset(b->w);
	assert_fine(b->w);
}

static int64_t run(bench *b, void (*what)(bench *b), int64_t at)
{
	asked = 0;
	refuse_at = at;
	what(b);
	refuse_at = -1;
	return asked;
}

/* stride: 1 for every block. */
static void refuse_each(void (*what)(bench *b), const char *name, bool always, int64_t stride)
{
	bench *b = setup();
	int64_t blocks, before, i, errors = 0;
	int files;

	for_ever = always;
	run(b, what, -1);
	assert_fine(b->w);
	assert_usable(b, name, -1);
	blocks = run(b, what, -1);
	assert_usable(b, name, -1);
	before = live_count;
	files = entries("/proc/self/fd", false);
	for (i = 0; i < blocks; i += stride) {
		run(b, what, i);
		errors += !weir_ok(b->w);
		if (!weir_ok(b->w) && weir_error(b->w) != WEIR_ERR_MEMORY)
			fail_msg("%s, block %lld refused: %s", name, (long long)i, weir_error_text(b->w));
		assert_usable(b, name, i);
		assert_int_equal(entries("/proc/self/fd", false), files);
		if (live_count != before)
			fail_msg("%s, block %lld of %lld refused: %lld blocks are live, before it were %lld", name,
				 (long long)i, (long long)blocks, (long long)live_count, (long long)before);
	}
	if (getenv("SHOW")) print_message("%s: %lld blocks, %lld errors\n", name, (long long)blocks, (long long)errors);
	assert_true(blocks > 30);
	assert_true(errors > 0);
	fclose(b->sink);
	assert_int_equal(weir_close(b->w), 0);
	assert_int_equal(live_count, 0);
}

#define EACH(what, stride)                                    \
	static void what##_once(void **state)                 \
	{                                                     \
		(void)state;                                  \
		refuse_each(what, #what, false, stride);      \
	}                                                     \
	static void what##_from_there_on(void **state)        \
	{                                                     \
		(void)state;                                  \
		refuse_each(what, #what, true, 3 * (stride)); \
	}
EACH(steps, 1)
EACH(thin_steps, 1)
EACH(broken_steps, 1)
EACH(recorders, 1)
EACH(on_request, 1)
EACH(whatif, 3)

#define BOTH(what) cmocka_unit_test(what##_once), cmocka_unit_test(what##_from_there_on)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { BOTH(steps),     BOTH(thin_steps), BOTH(broken_steps),
					    BOTH(recorders), BOTH(on_request), BOTH(whatif) };

	if (argc > 1) cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
