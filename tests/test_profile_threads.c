/* test_profile_threads.c: what a profile tells of the pieces of parallel regions: one event each, on the line of time of the thread that ran it,
 * within the span that asked for it; and nothing of them in the table. */
#include "tests/ops_check.h"

#include <stdatomic.h>

#include <weir/weir.h>

#include "engine/profile.h"
#include "kernels/threads.h"
#include "tests/profile_check.h"

enum { THREADS = 2 };

/* A task whose pieces wait for each other, so that none of them runs twice on one thread. */
typedef struct meeting {
	atomic_int here;
	atomic_bool missed;
} meeting;

static void meet(void *arg, int64_t begin, int64_t end)
{
	enum { PATIENCE = 20 }; /* seconds */
	int64_t until = weir__clock() + (int64_t)PATIENCE * 1000000000;
	meeting *m = arg;

	atomic_fetch_add(&m->here, (int)(end - begin));
	while (atomic_load(&m->here) < THREADS && weir__clock() < until) continue;
	if (atomic_load(&m->here) < THREADS) atomic_store(&m->missed, true);
}

static void a_line_for_each_thread(void **state)
{
	weir_ctx *w = open_quiet(true);
	read_event *list = calloc(MOST, sizeof *list);
	const read_event *on[1 + THREADS] = { NULL };
	meeting m = { 0 };
	char *text;
	int events;

	(void)state;
	weir__parallel(THREADS, THREADS, 1, meet, &m); /* nobody watches */
	assert_true(weir_profile_begin(w, "meeting.json"));
	atomic_store(&m.here, 0);
	weir__parallel(THREADS, THREADS, 1, meet, &m); /* nor outside of spans */
	atomic_store(&m.here, 0);
	weir__span_begin(w);
	weir__parallel(THREADS, THREADS, 1, meet, &m);
	weir__span_end(w, WEIR_SPAN_CALL, "meeting");
	assert_true(weir_profile_end(w));
	assert_false(atomic_load(&m.missed));
	assert_null(weir__region_watch);
	events = read_events("meeting.json", list);
	assert_int_equal(events, 1 + THREADS);
	assert_int_equal(count(list, events, "piece", "meeting"), THREADS);
	assert_string_equal(list[0].cat, "call");
	assert_int_equal(list[0].thread, 1);
	for (int i = 1; i <= THREADS; i++) {
		assert_in_range(list[i].thread, 1, THREADS);
		on[list[i].thread] = &list[i];
		if (!(list[i].begin >= list[0].begin && list[i].end <= list[0].end + 1e-6))
			fail_msg("a piece is from %g to %g, its span from %g to %g", list[i].begin, list[i].end,
				 list[0].begin, list[0].end);
	}
	assert_non_null(on[1]);
	assert_non_null(on[2]);
	if (!(on[1]->begin < on[2]->end && on[2]->begin < on[1]->end))
		fail_msg("pieces that met do not overlap: %g to %g, %g to %g", on[1]->begin, on[1]->end, on[2]->begin,
			 on[2]->end);
	text = content("meeting.json");
	assert_non_null(strstr(text, "\"host\""));
	assert_non_null(strstr(text, "\"worker 1\""));
	assert_null(strstr(text, "\"worker 2\""));
	free(text);
	free(list);
	close_clean(w);
}

/* The events of one thread; how many. */
static int of_thread(const read_event *list, int n, int thread, read_event *out)
{
	int found = 0;

	for (int i = 0; i < n; i++) {
		if (list[i].thread == thread) out[found++] = list[i];
	}
	return found;
}

static const read_event *span_around(const read_event *list, int n, const read_event *piece)
{
	for (int i = 0; i < n; i++) {
		const read_event *e = &list[i];

		if (strcmp(e->cat, "piece") != 0 && !strcmp(e->name, piece->name) && e->begin <= piece->begin &&
		    e->end >= piece->end - 1e-6)
			return e;
	}
	return NULL;
}

static void of_operations(void **state)
{
	enum { SIDE = 256, TIMES = 5 };
	weir_ctx *w = open_quiet(true);
	weir_tensor *x = weir_param_new(w, "x", WEIR_F32, 2, (int64_t[]){ SIDE, SIDE });
	read_event *list = calloc(MOST, sizeof *list), *own = calloc(MOST, sizeof *own);
	weir_profile_row rows[32];
	double shares = 0;
	int64_t n;
	int events, pieces;
	uint64_t calls = 0;

	(void)state;
	weir__threads_gate = 1;
	assert_true(weir_profile_begin(w, "operations.json"));
	for (int i = 0; i < TIMES; i++) {
		weir_tape_reset(w);
		weir_backward(weir_sum_all(weir_exp(weir_matmul(x, x))));
		weir_zero_grad(x);
		if (i == 1) calls = weir_memory_of(w).allocator_calls;
	}
	assert_int_equal(weir_memory_of(w).allocator_calls, calls);
	n = weir_profile_rows(w, rows, 32);
	for (int64_t i = 0; i < n; i++) {
		shares += rows[i].share;
		assert_string_not_equal(rows[i].kind, "piece");
		if (!strcmp(rows[i].name, "exp")) assert_int_equal(rows[i].calls, TIMES);
	}
	if (!(shares > 0 && shares <= 1)) fail_msg("the shares add up to %g", shares);
	assert_true(weir_profile_end(w));
	weir__threads_gate = 0;
	events = read_events("operations.json", list);
	pieces = count(list, events, "piece", NULL);
	if (pieces < 4 * TIMES || pieces % THREADS) fail_msg("there are %d pieces", pieces);
	assert_true(count(list, events, "piece", "matmul") >= 2 * TIMES);
	assert_true(count(list, events, "piece", "exp") >= TIMES);
	for (int i = 0; i < events; i++) {
		if (!strcmp(list[i].cat, "piece") && !span_around(list, events, &list[i]))
			fail_msg("no span is around piece %d, of %s", i, list[i].name);
	}
	for (int thread = 1; thread <= THREADS; thread++) check_nesting(own, of_thread(list, events, thread, own));
	free(list);
	free(own);
	close_clean(w);
}

static weir_tensor *end_profile(weir_module *m, weir_tensor *x)
{
	weir_profile_end(weir_module_context(m));
	return weir_neg(x);
}

/* A profile that ends inside of a span watches no region after it. */
static void ended_within(void **state)
{
	static const weir_module_type ending = { .kind = "ending", .forward = end_profile };
	weir_ctx *w = open_quiet(true);
	weir_module *m = weir_module_new(w, &ending, NULL, 0);
	meeting met = { 0 };

	(void)state;
	assert_true(weir_profile_begin(w, "ended.json"));
	weir_forward(m, weir_scalar(w, WEIR_F32, 1));
	assert_null(weir__region_watch);
	weir__parallel(THREADS, THREADS, 1, meet, &met);
	assert_false(atomic_load(&met.missed));
	close_clean(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_for_each_thread),
		cmocka_unit_test(of_operations),
		cmocka_unit_test(ended_within),
	};

	return cmocka_run_group_tests_name("profile_threads", tests, NULL, NULL);
}
