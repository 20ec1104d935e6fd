/* slope.c: slope over depth, total gain, the bound along the way, and how deep such a network may become. */
#include "flow/verdict.h"

/* Layers whose gradients can be compared: all of the gradient passes their outputs (see way.c). A layer behind the last waist, an output's
 * softmax, is one of them. */
static bool comparable(const weir_flow *f, const way *y, int64_t l)
{
	int64_t at = f->layers[l].last;

	return y->n && (at > y->at[y->n - 1].node || (f->rec[at].way & 2));
}

typedef struct points {
	double n, sx, sy, sxx, sxy, syy, largest;
	double first, end; /* depths */
} points;

/* Sums over the layers: of the coordinates in the first pass, of the products around their means in the second. */
static void take(const weir_flow *f, const way *y, bool all, bool second, points *s)
{
	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;
		double x = (double)p->depth, b;

		/* Where numbers underflow, rounding makes the norm, not the layer. */
		if (!usable(p->delta_norm) || p->subnormals || !(all || comparable(f, y, i))) continue;
		b = weir__flow_log2(p->delta_norm);
		if (second) {
			x -= s->sx / s->n, b -= s->sy / s->n;
			s->sxx += x * x, s->sxy += x * b, s->syy += b * b;
		} else {
			s->first = s->n > 0 && s->first < x ? s->first : x;
			s->end = s->n > 0 && s->end > x ? s->end : x;
			s->n += 1, s->sx += x, s->sy += b;
			s->largest = b * b > s->largest ? b * b : s->largest;
		}
	}
}

/* A gradient that ends at one layer, where it was well above the smallest numbers, has no slope. */
static bool breaks_off(const weir_flow *f)
{
	for (int64_t i = 0; i < f->count; i++) {
		const weir_flow_layer *p = &f->layers[i].public;
		double least = weir_dtype_of(weir_tape_at(f->w, f->layers[i].last)) == WEIR_F32 ? 0x1p-110 : 0x1p-990;

		if (p->gain == 0 && p->delta_norm > least && p->delta_norm < 1 / least) return true;
	}
	return false;
}

/* Those that can be compared, if they reach over half of the depth: else, as in a recurrent cell with two states, they are what stands around
 * the network's body, and every layer is taken. */
void weir__flow_slope(weir_flow *f, const way *y)
{
	weir_flow_summary *s = &f->sum;
	points p = { .n = 0 }, whole = { .n = 0 };
	bool all = false;

	s->gain_per_layer = s->bits_per_layer = s->r2 = UNKNOWN;
	if (breaks_off(f)) return;
	take(f, y, all, false, &p);
	take(f, y, true, false, &whole);
	if (p.n < 2 || 2 * (p.end - p.first) < whole.end - whole.first) {
		all = true;
		p = whole;
	}
	if (p.n < 2) return;
	take(f, y, all, true, &p);
	if (p.sxx <= 0) return;
	s->bits_per_layer = -p.sxy / p.sxx; /* backward is against the numbering */
	s->gain_per_layer = weir__flow_exp2(s->bits_per_layer);
	s->r2 = p.syy > 1e-24 * p.n * (1 + p.largest) ? p.sxy * p.sxy / (p.sxx * p.syy) : 1;
}

/* The bound along the way: log₂ of the product of the layers' stretching factors, from below. */
static double bound(const weir_flow *f, int64_t last)
{
	double bits = 0;

	for (int64_t l = last; l >= 0;) {
		int64_t in = f->layers[l].input, before = in >= 0 ? f->rec[in].from : -1;
		double stretch = f->layers[l].public.stretch_low;

		if (!usable(stretch)) return UNKNOWN;
		bits += weir__flow_log2(stretch);
		l = before < l ? before : -1;
	}
	return bits;
}

bool weir__flow_total(weir_flow *f)
{
	weir_flow_summary *s = &f->sum;
	int64_t first, last = weir__flow_deepest(f, &first), in;
	double far, near;

	s->total_gain = s->input_delta_norm = s->actual_bits = s->bound_bits = s->slack_bits = UNKNOWN;
	if (last < 0) return false;
	in = f->layers[first].input;
	near = f->layers[last].public.delta_norm;
	if (in >= 0) s->input_delta_norm = f->rec[in].delta_norm;
	far = s->input_delta_norm == s->input_delta_norm ? s->input_delta_norm : f->layers[first].public.delta_norm;
	if (near > 0) s->total_gain = far / near;
	if (usable(s->total_gain)) s->actual_bits = weir__flow_log2(s->total_gain);
	s->bound_bits = bound(f, last);
	s->slack_bits = s->bound_bits - s->actual_bits;
	return near != 0;
}

/* ---- depth budget ---- */

/* Layers until a number of `from` bits is at `to` bits, at this slope per layer. */
static double layers_until(double from, double to, double slope, bool down)
{
	if (!(slope == slope) || !(from == from)) return UNKNOWN;
	if (down ? from < to : from >= to) return 0;
	if (down ? slope >= 0 : slope <= 0) return __builtin_inf();
	return (to - from) / slope;
}

static weir_flow_budget budget(double bits, double slope, double normal, double least, double most)
{
	return (weir_flow_budget){ .subnormal = layers_until(bits, normal, slope, true),
				   .zero = layers_until(bits, least, slope, true),
				   .overflow = layers_until(bits, most, slope, false) };
}

/* From the root mean square element of the gradient at the input, or at the first layer's output where that is not known. */
void weir__flow_budgets(weir_flow *f)
{
	weir_flow_summary *s = &f->sum;
	int64_t first, last = weir__flow_deepest(f, &first), at = last < 0 ? -1 : f->layers[first].input;
	double norm = s->input_delta_norm, n, bits = UNKNOWN;

	if (last >= 0 && !(norm == norm)) {
		at = f->layers[first].last;
		norm = f->layers[first].public.delta_norm;
	}
	if (at >= 0 && norm == 0) {
		bits = -__builtin_inf();
	} else if (at >= 0 && usable(norm)) {
		n = (double)weir_numel(weir_tape_at(f->w, at));
		bits = weir__flow_log2(norm) - 0.5 * weir__flow_log2(n);
	}
	s->f32 = budget(bits, s->bits_per_layer, -126, -149, 128);
	s->bf16 = budget(bits, s->bits_per_layer, -126, -133, 128);
	s->f16 = budget(bits, s->bits_per_layer, -14, -24, 15.99929536);
}
