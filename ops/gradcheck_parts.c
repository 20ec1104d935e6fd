/* gradcheck_parts.c: see gradcheck.h. */
#include "ops/gradcheck.h"

#include <string.h>

#include "engine/text.h"

void weir__ridders_add(weir__ridders *e, double difference, double good_enough)
{
	double factor = 4.0, diagonal = e->count ? e->row[e->count - 1] : 0.0, before = e->row[0], next = difference;

	if (e->done) return;
	if (difference - difference != 0.0) { /* inf or NaN: not defined that far out */
		e->count = 0;
		return;
	}
	e->row[0] = difference;
	for (int j = 1; j <= e->count; j++, factor *= 4.0) {
		double left = e->row[j - 1], up = before, error;

		next = (left * factor - up) / (factor - 1.0);
		error = weir__size(next - left) > weir__size(next - up) ? weir__size(next - left)
									: weir__size(next - up);
		if (error <= e->error) {
			e->error = error;
			e->best = next;
		}
		before = e->row[j];
		e->row[j] = next;
	}
	if (e->count++ && weir__size(next - diagonal) >= 2.0 * e->error)
		e->done = e->error <= good_enough * weir__size(e->best);
}

void weir__gradcheck_log(FILE *file, const weir__derivative *d, int inputs, const char *name)
{
	char line[256];
	weir__text t;

	weir__text_fixed(&t, line, sizeof line);
	weir__text_format(&t, "gradcheck: order %d: %s %lld by ", d->order, d->order == 2 ? "gradient" : "result",
			  (long long)d->output);
	if (d->tensor == inputs) weir__text_str(&t, "gy");
	else weir__text_format(&t, "x%d", d->tensor);
	if (d->element >= 0) weir__text_format(&t, "[%lld]", (long long)d->element);
	else weir__text_str(&t, " along a direction");
	if (name[0]) weir__text_format(&t, " (%s)", name);
	weir__text_str(&t, ": analytic ");
	weir__text_double(&t, d->analytic, 'p', 10);
	weir__text_str(&t, ", numeric ");
	weir__text_double(&t, d->numeric, 'p', 10);
	weir__text_str(&t, " +- ");
	weir__text_double(&t, d->numeric_error, 'p', 2);
	weir__text_str(&t, ", error ");
	weir__text_double(&t, d->analytic - d->numeric, 'p', 3);
	weir__text_str(&t, "\n");
	fwrite(t.data, 1, t.length, file);
}

/* k or 1/k where a is about b times that, for k = 2 .. 100; else 0. */
static int factor(double a, double b, bool *inverse)
{
	*inverse = weir__size(a) < weir__size(b);
	for (int k = 2; k <= 100; k++)
		if (weir__size(*inverse ? a * k - b : a - b * k) <= 1e-4 * weir__size(*inverse ? b : a)) return k;
	return 0;
}

/* The likeliest reason for a wrong number first. */
static const char *reason(const weir_gradcheck_result *r, int inputs, bool f32, bool kink)
{
	double a = r->analytic, n = r->numeric, larger = weir__size(a) > weir__size(n) ? weir__size(a) : weir__size(n);

	if (a - a != 0.0) return "the gradient by the tape is not finite here";
	if (n - n != 0.0)
		return "the differences are not finite: f is not defined around x; move xs, or take a smaller step";
	if (f32 && r->worst < 0.1)
		return "f32: differences are good to about 1e-3 only; check in f64, or with a larger tolerance";
	if (kink || r->numeric_error > 1e-3 * weir__size(r->signed_error))
		return "the differences do not settle: a kink or a jump near x, or a step that does not suit f";
	if (weir__size(a + n) <= 1e-4 * larger) return "analytic is -numeric: a sign is flipped";
	if (r->order == 2 && r->tensor == inputs)
		return "order 1 is right, order 2 is not: the rule takes the incoming gradient for a constant";
	if (weir__size(n) <= 1e-6 * weir__size(a))
		return "f does not change with this x, but the tape gives a gradient";
	if (r->order == 2)
		return "order 1 is right, order 2 is not: the rule takes something that depends on x for a constant";
	if (weir__size(a) <= 1e-6 * weir__size(n)) return "the tape gives 0 where f changes: a dependence on x is lost";
	return "";
}

void weir__gradcheck_advise(weir_gradcheck_result *r, int inputs, bool f32, bool kink, double tolerance)
{
	const char *why = reason(r, inputs, f32, kink);
	bool inverse;
	int k = factor(r->analytic, r->numeric, &inverse);
	weir__text t;

	weir__text_fixed(&t, r->advice, sizeof r->advice);
	if (r->passed) {
		weir__text_str(&t, r->checked ? "right: the largest relative error is "
					      : "nothing to check: no floating-point elements");
		if (r->checked) weir__text_double(&t, r->worst, 'p', 2);
		if (r->checked && r->worst > 0.1 * tolerance)
			weir__text_str(&t, ", close to the tolerance; look at the log");
	} else if (why[0]) {
		weir__text_str(&t, why);
	} else if (k) {
		weir__text_format(&t, "analytic is numeric %s %d: a factor is missing or applied twice",
				  inverse ? "/" : "*", k);
	} else {
		weir__text_str(&t, "the rule is wrong by no simple factor; the log shows which elements");
	}
}
