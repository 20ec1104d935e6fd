/* births_text.c: what a birth was made from, in one line: for operations element by element the operands' elements at that place, seen
 * through broadcasting; for all others the operands' shapes and largest magnitudes. */
#include "flow/births.h"

#include <string.h>

enum { NAME_MOST = 64, OPERANDS_MOST = 4 };

void weir__births_shape(const weir_tensor *t, char *to, size_t size)
{
	weir__text text;

	weir__text_fixed(&text, to, size);
	weir__text_shape(&text, weir_rank(t), weir_shape(t));
	weir__text_str(&text, " ");
	weir__text_str(&text, weir_dtype_name(weir_dtype_of(t)));
}

static void number(weir__text *text, double v)
{
	weir__text_double(text, v, 'p', 4);
}

static void separate(weir__text *text)
{
	if (text->length) weir__text_str(text, ", ");
}

/* Its own name, else the operation that it comes from. */
static void name(weir__text *text, const weir_tensor *t)
{
	const char *s = weir_name(t);
	char clean[NAME_MOST + 1];
	size_t n;

	if (!s[0] && param_of(t)) s = weir_name(param_of(t));
	if (!s[0]) s = weir_node(t).op;
	n = strlen(s);
	weir__text_bytes(text, clean, weir__flow_clean(clean, sizeof clean, s, n));
	if (n > NAME_MOST) weir__text_str(text, "...");
}

/* "x[0, 5] = 3e+38"; no number where the value is gone. */
static void write_element(weir__text *text, const weir_tensor *t, int64_t i)
{
	int64_t at[WEIR_MAX_RANK], rest = i;

	for (int axis = weir_rank(t); axis-- > 0;) {
		at[axis] = rest % weir_shape(t)[axis];
		rest /= weir_shape(t)[axis];
	}
	if (weir_rank(t)) weir__text_shape(text, weir_rank(t), at);
	if (!weir__births_readable(t)) return;
	weir__text_str(text, " = ");
	number(text, weir__births_value(t, i));
}

/* "x [64, 2] largest 3e+38" */
static void write_whole(weir__text *text, const weir_tensor *t)
{
	weir__text_str(text, " ");
	weir__text_shape(text, weir_rank(t), weir_shape(t));
	if (!is_float(t)) {
		weir__text_str(text, " ");
		weir__text_str(text, weir_dtype_name(weir_dtype_of(t)));
	} else if (weir__births_readable(t)) {
		weir__text_str(text, " largest ");
		number(text, weir__births_largest(t));
	}
}

/* What a broadcast view repeats, and which of its elements. */
static const weir_tensor *below_expand(const weir_tensor *t, int64_t *i)
{
	while (!strcmp(weir_node(t).op, "expand")) {
		const weir_tensor *x = weir_input(t, 0);
		int64_t from = 0, scale = 1, rest = *i;

		for (int k = 1; k <= weir_rank(x); k++) {
			int64_t extent = weir_shape(x)[weir_rank(x) - k], wide = weir_shape(t)[weir_rank(t) - k];

			from += (extent == 1 ? 0 : rest % wide) * scale;
			rest /= wide;
			scale *= extent;
		}
		*i = from;
		t = x;
	}
	return t;
}

/* ", p = -1": the numbers that an operation has beside its operands. */
static void attributes(weir__text *text, const weir_tensor *t)
{
	const weir_field *field = weir_op_of(t)->fields;
	const char *attr = weir_attr(t);

	for (; field && attr && field->name; field++) {
		double v;

		if (field->type != WEIR_FIELD_DOUBLE) continue;
		memcpy(&v, attr + field->offset, sizeof v);
		separate(text);
		weir__text_str(text, field->name);
		weir__text_str(text, " = ");
		number(text, v);
	}
}

static void write_operand(weir__text *text, const weir_tensor *x, const weir_tensor *like, int64_t element, bool single)
{
	separate(text);
	if (single && weir__births_same_shape(x, like)) {
		x = below_expand(x, &element);
		if (!strcmp(weir_node(x).op, "neg") &&
		    !weir__births_readable(x)) { /* of weir_sub(), which keeps no value */
			weir__text_str(text, "minus ");
			x = below_expand(weir_input(x, 0), &element);
		}
		name(text, x);
		write_element(text, x, element);
	} else {
		name(text, x);
		write_whole(text, x);
	}
}

void weir__births_operands(weir_tensor *t, const weir_tensor *gradient, int64_t element, char *to, size_t size)
{
	const weir_op *op = weir_op_of(t);
	bool single = element >= 0 && (op->flags & WEIR_OP_ELEMENTWISE);
	weir__text text;
	int listed = 0;

	weir__text_fixed(&text, to, size);
	if (gradient) {
		weir__text_str(&text, "gradient");
		if (single) write_element(&text, gradient, element);
		else write_whole(&text, gradient);
	}
	for (int k = 0; k < weir_node(t).inputs; k++) {
		if (gradient && !weir__births_reads(op, k)) continue;
		if (listed++ == OPERANDS_MOST) {
			weir__text_str(&text, ", ...");
			break;
		}
		write_operand(&text, weir_input(t, k), t, element, single);
	}
	if (gradient && (op->keeps & WEIR_KEEP_OUT)) {
		separate(&text);
		weir__text_str(&text, "result");
		if (single) write_element(&text, t, element);
		else write_whole(&text, t);
	}
	attributes(&text, t);
}
