/* print.c: a tensor as text. */
#include "engine/op.h"
#include "engine/text.h"

enum { EDGE = 3, SHOWN = 8 }; /* of an axis longer than SHOWN, EDGE elements at either end are shown */

static void number(weir__text *text, const weir_tensor *t, int64_t i)
{
	if (t->dtype == WEIR_F32) weir__text_float(text, (float)weir__get(t, i));
	else if (t->dtype == WEIR_F64) weir__text_double(text, weir__get(t, i), 'g', 0);
	else if (t->dtype == WEIR_I64)
		weir__text_int(text, *((const int64_t *)weir__at(t) + weir__element_offset(t, i)));
	else weir__text_int(text, (int64_t)weir__get(t, i));
}

static void flush(weir__text *text, FILE *file)
{
	fwrite(text->data, 1, text->length, file);
	weir__text_clear(text);
}

/* Axis by axis; first is the row-major index of the first element, block how many elements one step along axis skips. Depth: the rank. */
static void axis_text(weir__text *text, FILE *file, const weir_tensor *t, int axis, int64_t first)
{
	int64_t block = 1, n;

	if (axis == t->rank) {
		number(text, t, first);
		return;
	}
	for (int a = axis + 1; a < t->rank; a++) block *= t->shape[a];
	n = t->shape[axis];
	weir__text_str(text, "[");
	for (int64_t i = 0; i < n; i++) {
		if (i) weir__text_str(text, axis + 1 == t->rank ? ", " : ",\n");
		if (i && axis + 1 < t->rank) weir__text_repeat(text, ' ', (size_t)axis + 1);
		if (n > SHOWN && i == EDGE) {
			weir__text_str(text, "...");
			i = n - EDGE - 1;
			continue;
		}
		axis_text(text, file, t, axis + 1, first + i * block);
		if (text->length > 512) flush(text, file);
	}
	weir__text_str(text, "]");
}

void weir_print(const weir_tensor *t, FILE *file)
{
	char buf[1024];
	weir__text text;
	weir_text_buf about;
	weir_fp_state saved;

	if (!file || !weir__usable(t, "weir_print")) return;
	saved = weir__fp_enter(true);
	weir__text_fixed(&text, buf, sizeof buf);
	weir__text_str(&text, weir__describe(t, &about));
	weir__text_str(&text, "\n");
	axis_text(&text, file, t, 0, 0);
	weir__text_str(&text, "\n");
	flush(&text, file);
	weir__fp_leave(saved);
}
