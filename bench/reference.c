/* reference.c: the results that any contestant must get, computed the plainest way in double precision. */
#include "bench/conductor.h"

#include <float.h>

/* ---- a multilayer perceptron, its loss and gradient ---------------------------------------------------------------- */

typedef struct net {
	int layers;
	char act;
	int64_t batch, size; /* size: numbers in all parameters */
	const int64_t *width;
	double *p, *g, *v,
		*a; /* parameters: W [out, in], b [out] for each layer; gradient; momentum or direction; activations */
	double *d, *dx; /* gradient at a layer's output and input */
} net;

static void *room(int64_t n)
{
	void *p = calloc((size_t)n, sizeof(double));

	if (!p) exit(1);
	return p;
}

static void net_make(net *t, const ask *q)
{
	int64_t units = 0, widest = 0, at = 0;

	*t = (net){ .layers = q->count - 2, .act = q->word[0], .batch = q->n[0], .width = q->n + 1 };
	if (!strcmp(q->kind, "hvp")) t->act = 't';
	for (int i = 0; i <= t->layers; i++) {
		units += t->width[i];
		if (t->width[i] > widest) widest = t->width[i];
		if (i < t->layers) t->size += (t->width[i] + 1) * t->width[i + 1];
	}
	t->p = room(t->size), t->g = room(t->size), t->v = room(t->size);
	t->a = room(t->batch * units), t->d = room(t->batch * widest), t->dx = room(t->batch * widest);
	for (int64_t i = 0; i < t->batch * t->width[0]; i++) t->a[i] = datum(DATA_X, i);
	for (int l = 0; l < t->layers; l++) {
		int64_t n = t->width[l] * t->width[l + 1];

		for (int64_t i = 0; i < n; i++)
			t->p[at + i] =
				(float)(weight_bound(t->act, t->width[l]) * datum((uint32_t)(DATA_WEIGHTS + l), i));
		at += n + t->width[l + 1];
	}
}

static void net_free(net *t)
{
	double *all[] = { t->p, t->g, t->v, t->a, t->d, t->dx };

	for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* What is too small for single precision is zero, as it is there: behind 1,000 narrow layers of ReLU nothing else is left, and a unit
 * at zero passes no gradient. */
static double activate(char act, double z)
{
	double y = act == 'r' ? fmax(z, 0) : act == 't' ? tanh(z) : 1 / (1 + exp(-z));

	return fabs(y) < FLT_MIN ? 0 : y;
}

static double slope(char act, double y)
{
	return act == 'r' ? y > 0 : act == 't' ? 1 - y * y : y * (1 - y);
}

static void forward(const net *t, int l, const double *p, const double *x, double *y)
{
	int64_t in = t->width[l], out = t->width[l + 1];

	for (int64_t i = 0; i < t->batch; i++) {
		for (int64_t o = 0; o < out; o++) {
			double z = p[in * out + o];

			for (int64_t k = 0; k < in; k++) z += x[i * in + k] * p[o * in + k];
			y[i * out + o] = l + 1 < t->layers ? activate(t->act, z) : z;
		}
	}
}

/* From d at the layer's output; leaves it at its input. */
static void backward(net *t, int l, const double *p, double *g, const double *x, const double *y)
{
	int64_t in = t->width[l], out = t->width[l + 1];
	double *other = t->d;

	memset(g, 0, (size_t)((in + 1) * out) * sizeof *g);
	memset(t->dx, 0, (size_t)(t->batch * in) * sizeof *t->dx);
	for (int64_t i = 0; i < t->batch; i++) {
		for (int64_t o = 0; o < out; o++) {
			double d = t->d[i * out + o] * (l + 1 < t->layers ? slope(t->act, y[i * out + o]) : 1);

			g[in * out + o] += d;
			for (int64_t k = 0; k < in; k++) g[o * in + k] += d * x[i * in + k];
			for (int64_t k = 0; k < in; k++) t->dx[i * in + k] += d * p[o * in + k];
		}
	}
	t->d = t->dx;
	t->dx = other;
}

/* Cross-entropy of logits z with label i % classes, and its gradient in d. */
static double loss_of(const net *t, const double *z)
{
	int64_t classes = t->width[t->layers];
	double loss = 0;

	for (int64_t i = 0; i < t->batch; i++, z += classes) {
		double *d = t->d + i * classes, sum = 0;

		for (int64_t c = 0; c < classes; c++) sum += exp(z[c]);
		for (int64_t c = 0; c < classes; c++) d[c] = exp(z[c]) / sum / (double)t->batch;
		d[i % classes] -= 1 / (double)t->batch;
		loss += (log(sum) - z[i % classes]) / (double)t->batch;
	}
	return loss;
}

static double net_gradient(net *t)
{
	double *p = t->p, *x = t->a, *g;
	double loss;

	for (int l = 0; l < t->layers; l++) {
		forward(t, l, p, x, x + t->batch * t->width[l]);
		x += t->batch * t->width[l];
		p += (t->width[l] + 1) * t->width[l + 1];
	}
	loss = loss_of(t, x);
	g = t->g + t->size;
	for (int l = t->layers - 1; l >= 0; l--) {
		double *y = x;

		x -= t->batch * t->width[l];
		p -= (t->width[l] + 1) * t->width[l + 1];
		g -= (t->width[l] + 1) * t->width[l + 1];
		backward(t, l, p, g, x, y);
	}
	return loss;
}

static double norm(const double *x, int64_t n)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
	return sqrt(sum);
}

static int train(const ask *q, double *values)
{
	int n = 0;
	net t;

	net_make(&t, q);
	while (n < CHECK_STEPS) {
		values[n++] = net_gradient(&t);
		for (int64_t i = 0; i < t.size; i++) {
			t.v[i] = MOMENTUM * t.v[i] + t.g[i];
			t.p[i] -= LEARNING_RATE * t.v[i];
		}
	}
	if (!strcmp(q->kind, "norms")) {
		double *g = t.g;

		for (int l = 0; l < t.layers; l++) {
			int64_t out = t.width[l + 1], weights = t.width[l] * out;

			values[n] += norm(g, weights) + norm(g + weights, out);
			g += weights + out;
		}
		n++;
	}
	net_free(&t);
	return n;
}

/* Central differences of the gradient along v. */
static int hvp(const ask *q, double *values)
{
	const double h = 1e-5;
	int64_t at = 0, first;
	net t;

	net_make(&t, q);
	first = t.width[0] * t.width[1];
	for (int l = 0; l < t.layers; l++) {
		int64_t out = t.width[l + 1], n = t.width[l] * out;

		for (int64_t i = 0; i < n; i++) t.v[at + i] = datum((uint32_t)(DATA_VECTOR + 2 * l), i);
		for (int64_t i = 0; i < out; i++) t.v[at + n + i] = datum((uint32_t)(DATA_VECTOR + 2 * l + 1), i);
		at += n + out;
	}
	for (int sign = 1; sign >= -1; sign -= 2) {
		for (int64_t i = 0; i < t.size; i++) t.p[i] += (sign > 0 ? 1 : -2) * h * t.v[i];
		net_gradient(&t);
		for (int i = 0; i < SAMPLES; i++) values[i] += sign * t.g[sample_at(i, first)] / (2 * h);
	}
	net_free(&t);
	return SAMPLES;
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

static int gemm(const ask *q, double *values)
{
	int64_t m = q->n[0], k = q->n[1], n = q->n[2];

	for (int s = 0; s < SAMPLES; s++) {
		int64_t at = sample_at(s, m * n), i = at / n, j = at % n;

		for (int64_t l = 0; l < k; l++) {
			values[s] += datum(DATA_A, !strcmp(q->word, "tn") ? l * m + i : i * k + l) *
				     datum(DATA_B, !strcmp(q->word, "nt") ? j * k + l : l * n + j);
		}
	}
	return SAMPLES;
}

static int adamw(const ask *q, double *values)
{
	double total = 0, scale = 1;

	for (int64_t t = 0; t < q->n[0]; t++) {
		for (int64_t i = 0; i < q->n[1]; i++) total += pow(datum((uint32_t)(DATA_TENSOR_GRAD + t), i), 2);
	}
	for (int s = 0; s < SAMPLES; s++) {
		int64_t at = sample_at(s, q->n[1]);
		double w = datum(DATA_WEIGHTS, at), m = 0, v = 0;

		for (int i = 0; i < CHECK_STEPS; i++) {
			double g;

			scale = fmin(1, clip_to(i) / sqrt(total));
			g = scale * datum(DATA_TENSOR_GRAD, at);
			m = 0.9 * m + 0.1 * g;
			v = 0.999 * v + 0.001 * g * g;
			w -= ADAM_RATE * ADAM_DECAY * w;
			w -= ADAM_RATE * m / (1 - pow(0.9, i + 1)) / (sqrt(v / (1 - pow(0.999, i + 1))) + 1e-8);
		}
		values[s] = w;
	}
	return SAMPLES;
}

static int chain(const ask *q, double *values)
{
	values[0] = !strcmp(q->word, "scale") ? 1 : (double)q->n[0] + 1;
	return 1;
}

/* Layer normalisation of one row x of n at element i; with gy its gradient there. */
static double normalised(const double *x, const double *gy, int64_t n, int64_t i)
{
	double mean = 0, var = 0, mean_g = 0, mean_gx = 0, rate;

	for (int64_t k = 0; k < n; k++) mean += x[k] / (double)n;
	for (int64_t k = 0; k < n; k++) var += (x[k] - mean) * (x[k] - mean) / (double)n;
	rate = 1 / sqrt(var + 1e-5);
	if (!gy) return (x[i] - mean) * rate;
	for (int64_t k = 0; k < n; k++) {
		mean_g += gy[k] / (double)n;
		mean_gx += gy[k] * (x[k] - mean) * rate / (double)n;
	}
	return rate * (gy[i] - mean_g - (x[i] - mean) * rate * mean_gx);
}

static double map_at(const char *name, int64_t at)
{
	enum { ROW = 1024 };
	double x = 4 * datum(DATA_X, at), x_row[ROW], gy[ROW], sum = 0;

	for (int64_t k = 0; k < ROW; k++) {
		x_row[k] = 4 * datum(DATA_X, at / ROW * ROW + k);
		gy[k] = datum(DATA_GRAD, at / ROW * ROW + k);
		sum += exp(x_row[k]);
	}
	if (!strcmp(name, "relu")) return fmax(x, 0);
	if (!strcmp(name, "sigmoid")) return 1 / (1 + exp(-x));
	if (!strcmp(name, "tanh")) return tanh(x);
	if (!strcmp(name, "exp")) return exp(x);
	if (!strcmp(name, "gelu")) return x * 0.5 * erfc(-x / sqrt(2));
	if (!strcmp(name, "softmax")) return exp(x) / sum;
	return normalised(x_row, !strcmp(name, "layernorm") ? NULL : gy, ROW, at % ROW);
}

static int map(const ask *q, double *values)
{
	for (int i = 0; i < SAMPLES; i++) values[i] = map_at(q->word, sample_at(i, q->n[0]));
	return SAMPLES;
}

static int reference_values(const char *text, double *values, double *tolerance)
{
	static const struct {
		const char *kind;
		int (*f)(const ask *q, double *values);
		double tolerance;
	} all[] = { { "gemm", gemm, 1e-5 },   { "train", train, 1e-5 }, { "norms", train, 1e-4 }, { "hvp", hvp, 1e-3 },
		    { "adamw", adamw, 1e-6 }, { "chain", chain, 1e-9 }, { "map", map, 1e-5 } };
	static ask q;

	if (!ask_parse(text, 1, &q)) return 0;
	for (int i = 0; i < MAX_VALUES; i++) values[i] = 0;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		if (strcmp(all[i].kind, q.kind) != 0) continue;
		*tolerance = all[i].tolerance;
		return all[i].f(&q, values);
	}
	return 0;
}

bool reference_agrees(player *p, int slot, const char *work)
{
	static char known[ROW_LENGTH]; /* a reference takes up to some seconds; all contestants are compared with it */
	static double want[MAX_VALUES], tolerance;
	static int n;
	double largest = 0, got = 0;
	const char *answer = player_ask(p, "check %d", slot);
	char *rest;

	if (strcmp(known, work) != 0) n = reference_values(work, want, &tolerance);
	snprintf(known, sizeof known, "%s", work);
	for (int i = 0; i < n; i++) largest = fmax(largest, fabs(want[i]));
	for (int i = 0; i < n; i++) {
		got = answer ? strtod(answer, &rest) : (double)NAN;
		if (!answer || rest == answer || !(fabs(got - want[i]) <= tolerance * largest)) {
			printf("WRONG: %s, %s: value %d is %.9g, must be %.9g\n", p->name, work, i + 1, got, want[i]);
			return false;
		}
		answer = rest;
	}
	return n > 0;
}
