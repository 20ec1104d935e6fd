/* bits_ops.c: a checksum of value and gradients of every row of the table test: the same for every build, instruction set and number
 * of threads, in IEEE and in flush mode. */
#include <weir/weir.h>

#include <stdio.h>

#include "tests/ops_table.h"
#include "kernels/threads.h"

/* NaNs count as equal whatever their sign and payload. */
static uint64_t fold(uint64_t h, const weir_tensor *t)
{
	for (int64_t i = 0; i < weir_numel(t); i++) {
		double v = weir_get(t, i);
		uint64_t bits;

		if (v != v) v = NAN;
		memcpy(&bits, &v, sizeof bits);
		if (v != v) bits = 0x7ff8;
		h = (h ^ bits) * UINT64_C(1099511628211);
		h ^= h >> 29;
	}
	return h;
}

static bool checksum(const row *r, weir_dtype t, bool ieee, bool big, uint64_t *h)
{
	weir_tensor *xs[MAX_IN], *targets[MAX_IN], *g[MAX_IN], *y;
	weir_options o;
	weir_ctx *w;

	weir_options_init(&o);
	o.ieee_subnormals = ieee;
	w = weir_open(&o);
	row_operands(w, r, t, big, xs);
	y = r->apply(xs);
	*h = fold(*h, y);
	if (r->gradients) {
		int n = row_reals(r, xs, targets);
		weir_tensor *gy = weir_uniform(w, weir_dtype_of(y), weir_rank(y), weir_shape(y), 0.5, 1.5);

		weir_vjp(y, gy, targets, n, g, 0);
		for (int i = 0; i < n; i++) *h = fold(*h, g[i]);
		weir_vjp(y, gy, targets, n, g, WEIR_CREATE_GRAPH);
		for (int i = 0; i < n; i++) *h = fold(*h, g[i]);
	}
	return weir_close(w) == 0;
}

int main(void)
{
	bool ok = true;

	weir__threads_gate = 1e4; /* so that small work runs on threads, too */
	for (int i = 0; i < row_count; i++) {
		for (int t = 0; t < 2; t++) {
			uint64_t h = UINT64_C(14695981039346656037);

			ok = checksum(&rows[i], (weir_dtype)t, true, false, &h) && ok;
			ok = checksum(&rows[i], (weir_dtype)t, false, true, &h) && ok;
			printf("%s %s %016llx\n", rows[i].name, weir_dtype_name((weir_dtype)t), (unsigned long long)h);
		}
	}
	return !ok;
}
