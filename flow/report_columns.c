/* report_columns.c: the columns of the table, and other pieces of text that the terminal and the page both show. */
#include "flow/report.h"

#include <string.h>

/* ---- numbers ---- */

void weir__report_number(weir__text *t, double x, char style, int digits)
{
	if (x == x) weir__text_double(t, x, style, digits);
	else weir__text_str(t, "-");
}

void weir__report_ratio(weir__text *t, double x)
{
	double size = x < 0 ? -x : x;

	if (size < 10 && (size >= 1e-3 || size == 0)) weir__report_number(t, x, 'f', 4);
	else if (size >= 10 && size < 1e5) weir__report_number(t, x, 'p', 4);
	else weir__report_number(t, x, 'e', 1);
}

void weir__report_depth_scale(weir__text *t, double xi)
{
	if (xi < 0) weir__text_str(t, "none");
	else if (xi > 0 && !is_finite(xi)) weir__text_str(t, "unlimited");
	else weir__report_number(t, xi, 'p', 3);
}

void weir__report_fixed_point(weir__text *t, double q)
{
	if (q > 0 && !is_finite(q)) weir__text_str(t, "none");
	else weir__report_number(t, q, 'p', 3);
}

void weir__report_power(weir__text *t, double bits)
{
	if (bits != bits || (bits > -1022 && bits < 1023)) {
		weir__report_number(t, bits == bits ? weir__flow_exp2(bits) : UNKNOWN, 'e', 2);
	} else if (!is_finite(bits)) {
		weir__text_str(t, bits > 0 ? "inf" : "0");
	} else {
		weir__text_str(t, "10^");
		weir__text_double(t, bits * 0.30102999566398120, 'f', 1);
	}
}

void weir__report_thousands(weir__text *t, int64_t n)
{
	if (n >= 1000) {
		weir__report_thousands(t, n / 1000);
		weir__text_format(t, ",%03d", (int)(n % 1000));
	} else {
		weir__text_int(t, n);
	}
}

void weir__report_name(weir__text *t, const weir_flow_layer *p)
{
	weir__text_str(t, p->name);
	if (p->call > 1) weir__text_format(t, " #%lld", (long long)p->call);
}

/* ---- columns ---- */

static void delta(weir__text *t, const weir_flow_layer *p)
{
	if (p->nonfinite) weir__text_str(t, p->delta_norm == p->delta_norm ? "inf" : "nan");
	else weir__report_number(t, p->delta_norm, 'e', 2);
}

static void gain(weir__text *t, const weir_flow_layer *p)
{
	weir__report_ratio(t, p->gain);
}

static void theory(weir__text *t, const weir_flow_layer *p)
{
	weir__report_ratio(t, p->theory_gain);
}

static void stretch(weir__text *t, const weir_flow_layer *p)
{
	weir__report_ratio(t, p->stretch_low);
}

static void alignment(weir__text *t, const weir_flow_layer *p)
{
	weir__report_number(t, p->alignment, 'f', 2);
}

static void param_grad(weir__text *t, const weir_flow_layer *p)
{
	weir__report_number(t, p->param_grad_norm, 'e', 2);
}

static void weight(weir__text *t, const weir_flow_layer *p)
{
	weir__report_number(t, p->weight_norm, 'p', 4);
}

static void slope(weir__text *t, const weir_flow_layer *p)
{
	weir__report_ratio(t, p->act_slope == p->act_slope ? p->act_slope : p->softmax_slope);
}

static void saturated(weir__text *t, const weir_flow_layer *p)
{
	weir__report_number(t, 100 * (p->act_slope == p->act_slope ? p->saturated : p->softmax_shut), 'f', 1);
}

static void dead(weir__text *t, const weir_flow_layer *p)
{
	if (p->units > 0 && p->dead_units >= 0)
		weir__text_format(t, "%lld/%lld", (long long)p->dead_units, (long long)p->units);
	else weir__text_str(t, "-");
}

static void out(weir__text *t, const weir_flow_layer *p)
{
	if (p->out_nonfinite) weir__text_str(t, p->out_norm == p->out_norm ? "inf" : "nan");
	else weir__report_number(t, p->out_norm, 'p', 4);
}

static void out_gain(weir__text *t, const weir_flow_layer *p)
{
	weir__report_ratio(t, p->out_gain);
}

static void zeros(weir__text *t, const weir_flow_layer *p)
{
	weir__report_number(t, 100 * p->out_zeros, 'f', 1);
}

static void update(weir__text *t, const weir_flow_layer *p)
{
	weir__report_number(t, p->update_ratio, 'e', 1);
}

static const struct {
	const char *name, *legend;
	void (*print)(weir__text *t, const weir_flow_layer *p);
} columns[] = {
	{ "|delta|", "gradient at the layer's output", delta },
	{ "gain", "what the layer multiplies it by on its way back; 1 passes it unchanged", gain },
	{ "theory", "gain by mean-field theory", theory },
	{ "smax", "the most its Jacobian can stretch a gradient", stretch },
	{ "align", "gain / smax", alignment },
	{ "|dW|", "gradient of its parameters", param_grad },
	{ "|W|", "its weights (Frobenius)", weight },
	{ "rms f'", "slope of its activation: W and f' make the gain", slope },
	{ "sat%", "outputs at less than 1 % of the largest slope", saturated },
	{ "dead", "units that passed nothing for an epoch", dead },
	{ "rms out", "its output", out },
	{ "out gain", "what it multiplies its input by", out_gain },
	{ "zero%", "zeros in its output", zeros },
	{ "upd/w", "|last update| / |W|", update },
};
_Static_assert(sizeof columns / sizeof *columns == WEIR__COLUMNS, "report.h tells their number");

const char *weir__column_name(int column)
{
	return columns[column].name;
}

const char *weir__column_legend(int column)
{
	return columns[column].legend;
}

void weir__column_cell(weir__text *t, const weir_flow_layer *p, int column)
{
	columns[column].print(t, p);
}

unsigned weir__columns_shown(const weir_flow *f)
{
	unsigned shown = 0;
	char buf[64];
	weir__text t;

	weir__text_fixed(&t, buf, sizeof buf);
	for (int c = 0; c < WEIR__COLUMNS; c++) {
		for (int64_t i = 0; i < f->count && !(shown >> c & 1); i++) {
			columns[c].print(&t, &f->layers[i].public);
			if (strcmp(buf, "-") != 0) shown |= 1u << c;
			weir__text_clear(&t);
		}
	}
	return shown;
}

void weir__report_remarks(weir__text *t, const weir_flow_layer *p)
{
	weir__text_str(t, p->op);
	if (p->out_nonfinite) weir__text_str(t, "   output not finite");
	if (p->nonfinite) weir__text_str(t, "   gradient not finite");
	if (p->out_subnormals) weir__text_str(t, "   output subnormal");
	if (p->subnormals) weir__text_str(t, "   gradient subnormal");
	if (p->out_zeros == 1) weir__text_str(t, "   output all zero");
	if (p->zeros == 1) weir__text_str(t, "   gradient all zero");
	if (p->spike) weir__text_str(t, "   spike");
}

/* Comparisons with what is not known are false. */
bool weir__report_odd(const weir_flow *f, const weir_flow_layer *p)
{
	const weir_flow_options *o = &f->options;

	return p->nonfinite || p->out_nonfinite || p->act_slope == 0 ||
	       (p->units > 0 && (double)p->dead_units >= o->dead_units * (double)p->units) ||
	       p->act_slope < o->saturated_slope * p->act_slope_limit || p->saturated >= o->saturated_share ||
	       p->softmax_shut >= o->shut_rows;
}

/* ---- what follows from it ---- */

static void end_of_range(weir__text *t, const char *what, double layers, const char *more, bool *some)
{
	if (!is_finite(layers)) return;
	if (*some) weir__text_str(t, ", ");
	weir__text_str(t, what);
	if (layers > 0) {
		weir__text_str(t, " after ~");
		weir__text_double(t, layers, layers < 1e6 ? 'f' : 'e', layers < 1e6 ? 0 : 1);
		if (!*some) weir__text_str(t, more);
	} else {
		weir__text_str(t, " already");
	}
	*some = true;
}

bool weir__report_budget(weir__text *t, const weir_flow_budget *b, const char *more)
{
	bool some = false;

	end_of_range(t, "subnormal", b->subnormal, more, &some);
	end_of_range(t, "zero", b->zero, more, &some);
	end_of_range(t, "overflow", b->overflow, more, &some);
	return some;
}

void weir__report_birth(weir__text *t, const char *thing, const weir_flow_birth *b)
{
	weir__text_format(t, "first %s: %s%s (%s%s%s)", thing, b->backward ? "gradient of " : "", b->layer, b->op,
			  b->here[0] ? ", " : "", b->here);
	if (b->depth)
		weir__text_format(t, ", layer %lld from the %s", (long long)b->depth, b->backward ? "output" : "input");
	weir__text_format(t, ", step %lld", (long long)b->step);
}

void weir__report_origin(weir__text *t, const weir_flow_birth *b)
{
	if (!b->shape || !b->shape[0]) return;
	weir__text_format(t, "%s, element %lld = ", b->shape, (long long)b->element);
	weir__text_double(t, b->value, 'p', 4);
	if (b->operands && b->operands[0]) weir__text_format(t, ", from %s", b->operands);
	if (b->propagators > 0)
		weir__text_format(t, "; passed on by %lld operation%s", (long long)b->propagators,
				  b->propagators > 1 ? "s" : "");
}

void weir__report_path(weir__text *t, const weir_flow_birth *b)
{
	enum { ENDS = 4 };
	int64_t n = b->path ? b->path_length : 0;

	for (int64_t i = 0; i < n; i++) {
		if (i) weir__text_str(t, " > ");
		if (i == ENDS && n > 2 * ENDS + 1) {
			weir__text_format(t, "... %lld more ... > ", (long long)(n - 2 * ENDS));
			i = n - ENDS;
		}
		weir__text_str(t, b->path[i]);
	}
}

bool weir__report_birth_at(const weir_flow_summary *s, int i, const weir_flow_birth **b, const char **what,
			   const char **thing)
{
	const struct {
		const weir_flow_birth *birth;
		const char *what, *thing;
	} all[] = {
		{ &s->first_inf, "overflow", "inf" },
		{ &s->first_nan, "NaN", "NaN" },
		{ &s->first_overflow, "overflow", "inf that is gone again before the loss" },
		{ &s->first_subnormal[0], "underflow", "subnormal" },
		{ &s->first_zero[0], "zero", "nothing but zeros" },
		{ &s->first_subnormal[1], "underflow", "subnormal" },
		{ &s->first_zero[1], "zero", "nothing but zeros" },
	};

	if (i >= (int)(sizeof all / sizeof *all)) return false;
	*b = all[i].birth;
	*what = all[i].what;
	*thing = all[i].thing;
	return true;
}
