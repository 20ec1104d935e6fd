/* test_memory.c: the one block for what operations need while they run, and the pool that begins anew. */
#include "tests/ops_check.h"

#include "engine/context.h"

/* One after the other they share a block that grows to the largest; inside of one another, and small ones, are the pool's. */
static void scratch(void **state)
{
	weir_ctx *w = open_quiet(true);
	size_t got[3], held;
	void *a, *b, *c;

	(void)state;
	a = weir__scratch_alloc(w, 300000, &got[0]);
	weir__scratch_free(w, a, got[0]);
	held = weir_memory_of(w).held;
	for (size_t bytes = 4096; bytes < 300000; bytes = bytes * 5 / 4) {
		b = weir__scratch_alloc(w, bytes, &got[1]);
		assert_ptr_equal(b, a);
		memset(b, 1, bytes);
		weir__scratch_free(w, b, got[1]);
	}
	assert_int_equal(weir_memory_of(w).held, held);
	a = weir__scratch_alloc(w, 10000, &got[0]);
	b = weir__scratch_alloc(w, 10000, &got[1]);
	c = weir__scratch_alloc(w, 100, &got[2]);
	assert_true(a && b && c && a != b);
	memset(a, 1, got[0]);
	memset(b, 2, got[1]);
	memset(c, 3, got[2]);
	assert_true(((char *)a)[9999] == 1 && ((char *)b)[0] == 2);
	weir__scratch_free(w, a, got[0]);
	weir__scratch_free(w, c, got[2]);
	weir__scratch_free(w, b, got[1]);
	assert_ptr_equal(weir__scratch_alloc(w, 10000, &got[0]), a);
	weir__scratch_free(w, a, got[0]);
	held = weir_memory_of(w).held;
	a = weir__scratch_alloc(w, 2000000, &got[0]); /* the smaller one goes back */
	memset(a, 1, 2000000);
	weir__scratch_free(w, a, got[0]);
	assert_true(weir_memory_of(w).held < held + 2000000);
	close_clean(w);
}

/* Larger than the limit allows: an error, and then the context goes on with what it can have. */
static void scratch_fails(void **state)
{
	weir_options o;
	weir_ctx *w;
	size_t got;
	void *a;

	(void)state;
	weir_options_init(&o);
	o.handler = NULL;
	o.memory_limit = 4 << 20;
	w = weir_open(&o);
	a = weir__scratch_alloc(w, 100000, &got);
	weir__scratch_free(w, a, got);
	assert_null(weir__scratch_alloc(w, 5 << 20, &got));
	expect_error(w, WEIR_ERR_MEMORY, "out of memory", NULL);
	assert_null(weir__scratch_alloc(w, SIZE_MAX - 100, &got));
	expect_error(w, WEIR_ERR_MEMORY, "out of memory", NULL);
	a = weir__scratch_alloc(w, 200000, &got);
	assert_non_null(a);
	memset(a, 1, 200000);
	weir__scratch_free(w, a, got);
	close_clean(w);
}

static void take(weir_ctx *w, void **p, size_t *size, size_t bytes)
{
	*size = bytes;
	*p = weir__pool_take(w, size);
	assert_non_null(*p);
	memset(*p, 1, *size);
}

/* What is new and free goes back to the allocator; what was there, or is in use, stays. */
static void anew(void **state)
{
	enum { SIZES = 5 };
	static const size_t sizes[SIZES] = { 64, 700, 5000, 5000, 90000 };
	weir_ctx *w = open_quiet(true);
	weir_pool_aside aside;
	void *old[SIZES], *new[SIZES], *again[SIZES];
	size_t got[SIZES], held, kept;

	(void)state;
	for (int i = 0; i < SIZES; i++) take(w, &old[i], &got[i], sizes[i]);
	for (int i = 0; i < SIZES - 1; i++) weir__pool_give(w, old[i], got[i]); /* the last is in use */
	held = weir_memory_of(w).held;
	weir__pool_set_aside(w, &aside);
	assert_int_equal(aside.bytes, 64 + 768 + 2 * (5120 + 64));
	assert_int_equal(weir__memory_needed(w, &aside), held - aside.bytes);
	for (int i = 0; i < SIZES; i++) {
		take(w, &new[i], &got[i], sizes[i]);
		for (int k = 0; k < SIZES; k++) assert_ptr_not_equal(new[i], old[k]);
	}
	assert_int_equal(weir__memory_needed(w, &aside), held - aside.bytes + 2 * (5120 + 64) + 98304 + 64);
	for (int i = 0; i < SIZES; i++) {
		if (i != 3) weir__pool_give(w, new[i], got[i]);
	}
	weir__pool_give(w, old[4], got[4]); /* an old one, given back meanwhile */
	weir__pool_bring_back(w, &aside);
	kept = weir_memory_of(w).held;
	assert_int_equal(kept, held + 5120 + 64); /* new[3] is in use */
	for (int i = 0; i < SIZES; i++) take(w, &again[i], &got[i], sizes[i]);
	assert_int_equal(weir_memory_of(w).held, kept);
	assert_ptr_equal(again[4], old[4]);
	close_clean(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(scratch), cmocka_unit_test(scratch_fails),
					    cmocka_unit_test(anew) };

	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
