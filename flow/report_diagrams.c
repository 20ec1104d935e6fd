/* report_diagrams.c: what the page's diagrams show: norms, gains, and what is left of the gradient against the most that could be. */
#include "flow/report.h"

/* log2, with what has none at the edges. */
static double bits(double x)
{
	return x > 0 ? is_finite(x) ? weir__flow_log2(x) : x : x == 0 ? -__builtin_inf() : UNKNOWN;
}

static double delta_bits(const weir_flow_layer *p)
{
	return p->nonfinite ? __builtin_inf() : bits(p->delta_norm);
}

static bool some(const double *y, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		if (y[i] == y[i]) return true;
	}
	return false;
}

static void plot_delta(const weir_flow *f, FILE *file, double *y)
{
	int64_t n = f->count;

	for (int64_t i = 0; i < n; i++) y[i] = delta_bits(&f->layers[i].public);
	if (!some(y, n)) return;
	weir__report_plot(file, &(weir__plot){ "Norm of the gradient at each layer's output", "|delta|", true, 1, n,
					       UNKNOWN, &(weir__series){ "|delta|", y }, 1 });
}

static void plot_gain(const weir_flow *f, FILE *file, double *y)
{
	int64_t n = f->count;
	double low = 1, high = 1;
	const weir__series series[] = { { "gain", y }, { "theory", y + n }, { "smax", y + 2 * n } };
	weir__series known[3];
	int count = 0;
	bool wide;

	for (int64_t i = 0; i < n; i++) {
		const weir_flow_layer *p = &f->layers[i].public;

		y[i] = p->gain;
		y[n + i] = p->theory_gain;
		y[2 * n + i] = p->stretch_low;
	}
	for (int64_t i = 0; i < 3 * n; i++) {
		if (y[i] < low) low = y[i];
		if (y[i] > high && is_finite(y[i])) high = y[i];
	}
	wide = high > 8 * low;
	for (int64_t i = 0; wide && i < 3 * n; i++) y[i] = bits(y[i]);
	for (int s = 0; s < 3; s++) {
		if (some(series[s].y, n)) known[count++] = series[s];
	}
	if (count)
		weir__report_plot(file, &(weir__plot){ "Gain: what each layer multiplies the gradient by", "gain", wide,
						       1, n, wide ? 0 : 1, known, count });
}

/* From the output back, in a chain: what is left of the gradient, and the most that could be. */
static void plot_bound(const weir_flow *f, FILE *file, double *y)
{
	int64_t n = f->count;
	double *actual = y, *bound = y + n + 1, last;
	const weir__series series[] = { { "actual", actual }, { "bound, the product of smax", bound } };

	for (int64_t i = 0; i < n; i++) {
		if (f->layers[i].public.depth != i + 1) return;
	}
	last = n ? delta_bits(&f->layers[n - 1].public) : UNKNOWN;
	if (!is_finite(last)) return;
	bound[n] = actual[n] = 0;
	for (int64_t i = n - 1; i >= 0; i--) {
		actual[i] = (i ? delta_bits(&f->layers[i - 1].public) : bits(f->sum.input_delta_norm)) - last;
		bound[i] = bound[i + 1] + bits(f->layers[i].public.stretch_low);
	}
	weir__report_plot(file, &(weir__plot){ "What is left of the last layer's gradient", "share", true, 0, n + 1, 0,
					       series, some(bound, n) ? 2 : 1 });
}

void weir__report_diagrams(const weir_flow *f, FILE *file)
{
	size_t bytes = 3 * (size_t)(f->count + 1) * sizeof(double);
	double *y;

	if (!f->count || !(y = weir__pool_take(f->w, &bytes))) return;
	plot_delta(f, file, y);
	plot_gain(f, file, y);
	plot_bound(f, file, y);
	weir__pool_give(f->w, y, bytes);
}
