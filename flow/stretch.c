/* stretch.c: the largest singular value of Jacobians.
 *
 * Power iteration: v ← J v / ‖J v‖, v ← Jᵀ v / ‖Jᵀ v‖. Either norm is a lower bound of sigma_max, whenever it stops. Where J is known
 * to consist of independent blocks, as it does over the samples of a batch, each block has an iteration of its own, in the same
 * products; the largest of them counts. */
#include <string.h>

#include "flow/jacobian.h"
#include "kernels/fpenv.h"
#include "kernels/reduce.h"

enum { LAYER_ROWS = 256 }; /* up to which a layer's Jacobian is formed for its upper bound */

/* Length of the noise that is added to a warm start of length 1: it finds a direction that the old vector has nothing of, and costs the
 * first estimate its square. */
static const double fresh = 1.0 / 256;

/* ---- power iteration ---- */

static double block_norm(const double *v, int64_t n)
{
	return weir__norm2(WEIR_F64, v, n, 1);
}

/* Each block to norm 1; one that is zero stays so. Returns the largest norm; NaN where one is not finite. before: the blocks' norms of
 * last time, replaced by these; *grew: the most that one of them grew by, as a share. Both may be NULL. */
static double normalise(double *v, int64_t n, int64_t blocks, double *before, double *grew)
{
	double most = 0;

	if (grew) *grew = 0;

	for (int64_t b = 0; b < blocks; b++, v += n / blocks) {
		double norm = block_norm(v, n / blocks);

		if (!is_finite(norm)) return UNKNOWN;
		if (norm > most) most = norm;
		if (grew && norm - before[b] > *grew * norm) *grew = 1 - before[b] / norm;
		if (before) before[b] = norm;
		for (int64_t i = 0; norm > 0 && i < n / blocks; i++) v[i] /= norm;
	}
	return most;
}

static void begin(double *v, int64_t n, int64_t blocks, bool warm)
{
	int64_t size = n / blocks;

	for (int64_t b = 0; b < blocks; b++, v += size) {
		double norm = warm ? block_norm(v, size) : 0, share;
		bool use = norm > 0 && is_finite(norm);

		share = use ? fresh / __builtin_sqrt((double)size / 3) : 1;
		for (int64_t i = 0; i < size; i++)
			v[i] = (use ? v[i] / norm : 0) + share * weir__flow_noise((uint64_t)(b * size + i));
	}
}

/* Ends when no block grows any more: the one that ends up largest need not be ahead at first. u: ny numbers, and one per block. */
static bool iterate(jacobian *j, int iterations, double tolerance, double *v, double *u, weir_flow_interval *out)
{
	double *norms = u + j->ny, grew, noise = j->y && weir_dtype_of(j->y) == WEIR_F32 ? 0x1p-22 : 0x1p-50;

	normalise(v, j->nx, j->blocks, NULL, NULL);
	out->low = 0;
	for (int i = 1; i <= iterations; i++) {
		double forth, back;

		if (!weir__jacobian_apply_safely(j, false, v, u)) return false;
		forth = normalise(u, j->ny, j->blocks, norms, NULL);
		if (!weir__jacobian_apply_safely(j, true, u, v)) return false;
		back = normalise(v, j->nx, j->blocks, norms, &grew);
		out->iterations = i;
		if (forth != forth || back != back) {
			out->low = UNKNOWN;
			return true;
		}
		out->low = forth > out->low ? forth : out->low;
		out->low = back > out->low ? back : out->low;
		if (grew <= 0.5 * tolerance + noise) break; /* noise: of rounding */
	}
	return true;
}

/* Of an open j. v: nx numbers. */
static bool measure(jacobian *j, int iterations, double tolerance, int64_t most, double *v, bool warm,
		    weir_flow_interval *out)
{
	size_t bytes;
	double *u;
	bool ok;

	if (!weir__jacobian_find_blocks(j)) return false;
	bytes = (size_t)(j->ny + j->blocks) * sizeof(double);
	if (!(u = weir__pool_take(j->w, &bytes))) return false;
	begin(v, j->nx, j->blocks, warm);
	ok = iterate(j, iterations, tolerance, v, u, out);
	weir__pool_give(j->w, u, bytes);
	if (!ok || out->low != out->low || !weir__jacobian_bound(j, most, &out->high)) return ok;
	if (!is_finite(out->high)) out->high = UNKNOWN;
	if (out->low > out->high) out->low = out->high; /* by rounding, where both are sigma_max itself */
	return true;
}

bool weir_flow_stretch(weir_tensor *x, weir_tensor *y, int iterations, double tolerance, int64_t most, double *v,
		       weir_flow_interval *out)
{
	weir_ctx *w = weir_context(y);
	size_t bytes;
	weir_fp_state saved;
	double *own = NULL;
	jacobian j;
	bool ok;

	if (out) *out = (weir_flow_interval){ UNKNOWN, UNKNOWN, 0 };
	if (!weir_ok(w)) return false;
	if (!x || !out) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_flow_stretch: %s is NULL", x ? "out" : "x");
		return false;
	}
	if (iterations < 1) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_flow_stretch: iterations is %d; at least one is needed",
			  iterations);
		return false;
	}
	if (!weir_numel(x) || !weir_numel(y)) return weir_ok(w);
	saved = weir__fp_enter(true);
	ok = weir__jacobian_open(&j, x, y);
	bytes = (size_t)j.nx * sizeof *own;
	if (ok && !v) ok = (own = weir__pool_take(w, &bytes)) != NULL;
	ok = ok && measure(&j, iterations, tolerance, most, v ? v : own, v != NULL, out);
	if (own) weir__pool_give(w, own, bytes);
	weir__jacobian_close(&j);
	weir__fp_leave(saved);
	return ok && weir_ok(w);
}

/* ---- layers ---- */

/* Where a layer's iteration ended last. */
typedef struct warm {
	const char *name; /* the flow's */
	int64_t call, n;
	double *v;
	size_t bytes;
} warm;

struct weir__stretch {
	weir_ctx *c; /* where dense layers are computed: hooks, tape and errors of the user's have no part in it */
	warm *list;
	int64_t count, capacity;
	int64_t *slot; /* hash table: 1 + index into list, 0 empty */
	int64_t slots; /* a power of two */
};

static struct weir__stretch *state_of(weir_flow *f)
{
	size_t size = sizeof *f->stretch;
	weir_options o;

	if (f->stretch) return f->stretch;
	if (!(f->stretch = weir__pool_take(f->w, &size))) return NULL;
	memset(f->stretch, 0, sizeof *f->stretch);
	weir_options_init(&o);
	o.threads = weir_threads(f->w);
	o.ieee_subnormals = true;
	o.check_stale = false; /* nothing here is used after its tape */
	o.handler = NULL;
	f->stretch->c = weir_open(&o);
	return f->stretch;
}

static int64_t *slot_of(const struct weir__stretch *s, const char *name, int64_t call)
{
	uint64_t h = ((uint64_t)(uintptr_t)name ^ (uint64_t)call << 40) * UINT64_C(0x9e3779b97f4a7c15);

	for (h >>= 20;; h++) {
		int64_t *slot = &s->slot[h & (uint64_t)(s->slots - 1)];
		const warm *e = *slot ? &s->list[*slot - 1] : NULL;

		if (!e || (e->name == name && e->call == call)) return slot;
	}
}

static bool more_slots(weir_flow *f, struct weir__stretch *s)
{
	int64_t slots = s->slots ? 2 * s->slots : 128, *old = s->slot;
	size_t bytes = (size_t)slots * sizeof *s->slot, was = (size_t)s->slots * sizeof *s->slot;
	int64_t *slot = weir__pool_take(f->w, &bytes);

	if (!slot) return false;
	memset(slot, 0, (size_t)slots * sizeof *slot);
	s->slot = slot;
	s->slots = slots;
	for (int64_t i = 0; i < s->count; i++) *slot_of(s, s->list[i].name, s->list[i].call) = i + 1;
	if (old) weir__pool_give(f->w, old, was);
	return true;
}

/* The entry of layer number i. */
static warm *entry_of(weir_flow *f, int64_t i)
{
	const weir_flow_layer *p = &f->layers[i].public;
	struct weir__stretch *s = f->stretch;
	void *list = s->list;
	int64_t *slot;

	if (2 * (s->count + 1) > s->slots && !more_slots(f, s)) return NULL;
	slot = slot_of(s, p->name, p->call);
	if (*slot) return &s->list[*slot - 1];
	if (!weir__flow_grow(f->w, &list, s->count, &s->capacity, sizeof *s->list)) return NULL;
	s->list = list;
	s->list[s->count] = (warm){ .name = p->name, .call = p->call };
	*slot = ++s->count;
	return &s->list[s->count - 1];
}

/* Room for n numbers; *fits: they are those of last time. */
static double *warm_vector(weir_flow *f, int64_t i, int64_t n, bool *fits)
{
	warm *e = entry_of(f, i);

	if (!e) return NULL;
	*fits = e->v && e->n == n;
	if (*fits) return e->v;
	if (e->v) weir__pool_give(f->w, e->v, e->bytes);
	e->bytes = (size_t)n * sizeof *e->v;
	e->v = weir__pool_take(f->w, &e->bytes);
	e->n = e->v ? n : 0;
	return e->v;
}

static bool open_layer(weir_flow *f, int64_t i, jacobian *j)
{
	const layer *l = &f->layers[i];
	weir_tensor *x = weir_tape_at(f->w, l->input), *y = weir_tape_at(f->w, l->last);
	dense d;

	*j = (jacobian){ .w = f->w };
	if (weir__flow_dense(f, i, &d)) return weir__jacobian_open_dense(j, f->stretch->c, &d, y);
	if (!x || !y || !is_float(x) || !weir_node(x).recorded || !weir_numel(x) || !weir_numel(y)) return false;
	return weir__jacobian_intact(f->w, x, y) && weir__jacobian_open(j, x, y);
}

enum { SEVERAL = -2 };

/* Notes with every node which layer the operations are of that read it and have a gradient; -1: there are none. */
static void note_readers(weir_flow *f)
{
	for (int64_t i = 0; i < f->records; i++) f->rec[i].reader = -1;
	for (int64_t i = 0; i < f->records; i++) {
		const weir_tensor *t = weir_tape_at(f->w, i);

		for (int k = 0; t && f->rec[i].has_delta && k < weir_node(t).inputs; k++) {
			int64_t at = weir_node(weir_input(t, k)).index,
				l = f->rec[i].layer < 0 ? SEVERAL : f->rec[i].layer;

			if (at >= 0)
				f->rec[at].reader = f->rec[at].reader == -1 || f->rec[at].reader == l ? l : SEVERAL;
		}
	}
}

/* Is layer l the only one that reads its input? Then its measured gain is the stretch of one direction. */
static bool reads_alone(const weir_flow *f, int64_t l)
{
	int64_t in = f->layers[l].input;

	return in >= 0 && (f->rec[in].reader == l || f->rec[in].reader == -1);
}

/* The iteration stops early where singular values lie close together; the gradient itself may have been stretched more. */
static void include_gain(const weir_flow *f, int64_t l, weir_flow_layer *p)
{
	if (p->gain > p->stretch_low && !(p->gain > p->stretch_high) && reads_alone(f, l)) p->stretch_low = p->gain;
}

static void measure_layer(weir_flow *f, int64_t i)
{
	weir_flow_layer *p = &f->layers[i].public;
	weir_flow_interval r = { UNKNOWN, UNKNOWN, 0 };
	jacobian j;
	bool fits;
	double *v;

	if (open_layer(f, i, &j) && (v = warm_vector(f, i, j.nx, &fits)) &&
	    !measure(&j, f->options.stretch, 1e-4, LAYER_ROWS, v, fits, &r))
		r = (weir_flow_interval){ UNKNOWN, UNKNOWN, 0 };
	weir__jacobian_close(&j);
	weir_clear_error(f->stretch->c); /* out of memory there: no number */
	p->stretch_low = r.low;
	p->stretch_high = r.high;
}

void weir__flow_stretch_factors(weir_flow *f)
{
	for (int64_t i = 0; i < f->count; i++) {
		weir_flow_layer *p = &f->layers[i].public;

		p->stretch_low = p->stretch_high = UNKNOWN;
		weir__flow_values_give(f, &f->layers[i]);
	}
	if (f->options.stretch < 1 || !state_of(f)) return;
	for (int64_t i = 0; i < f->count && weir_ok(f->w); i++) {
		if (f->layers[i].public.stretch_low != f->layers[i].public.stretch_low) measure_layer(f, i);
	}
}

void weir__flow_stretch(weir_flow *f)
{
	bool any = f->options.stretch >= 1;

	weir__flow_stretch_factors(f);
	if (any) note_readers(f);
	for (int64_t i = 0; i < f->count; i++) {
		weir_flow_layer *p = &f->layers[i].public;

		if (any) include_gain(f, i, p);
		p->alignment = is_finite(p->gain / p->stretch_low) ? p->gain / p->stretch_low : UNKNOWN;
	}
}

void weir__flow_stretch_free(weir_flow *f)
{
	struct weir__stretch *s = f->stretch;

	if (!s) return;
	for (int64_t i = 0; i < s->count; i++) {
		if (s->list[i].v) weir__pool_give(f->w, s->list[i].v, s->list[i].bytes);
	}
	if (s->list) weir__pool_give(f->w, s->list, (size_t)s->capacity * sizeof *s->list);
	if (s->slot) weir__pool_give(f->w, s->slot, (size_t)s->slots * sizeof *s->slot);
	weir_clear_error(s->c);
	weir_close(s->c);
	weir__pool_give(f->w, s, sizeof *s);
	f->stretch = NULL;
}
