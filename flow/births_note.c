/* births_note.c: writing a birth down, in words that outlive the tape. */
#include "flow/births.h"

#include <string.h>

static const char *lasting(char *to, size_t size, const char *text)
{
	weir__flow_clean(to, size, text, strlen(text));
	return to;
}

static void note(weir_flow *f, weir_flow_birth *b, int which, int64_t i, bool backward)
{
	weir_node_info info = weir_node(weir_tape_at(f->w, i));
	weir_tensor *param = param_of(weir_tape_at(f->w, i));
	birth_text *text = &f->text[which];
	int64_t l = f->rec[i].layer, deepest = 0;
	const char *name = param           ? weir_name(param)
			   : info.scope[0] ? info.scope
			   : l >= 0        ? f->layers[l].public.name
					   : info.name;

	for (int64_t k = 0; k < f->count; k++) {
		if (f->layers[k].public.depth > deepest) deepest = f->layers[k].public.depth;
	}
	*b = (weir_flow_birth){
		.found = true,
		.backward = backward,
		.index = i,
		.number = l + 1,
		.step = weir__flow_step_now(f),
		.layer = lasting(text->layer, sizeof text->layer, name),
		.op = lasting(text->op, sizeof text->op, info.op),
		.here = lasting(text->here, sizeof text->here, info.here),
		.shape = "",
		.element = -1,
		.value = UNKNOWN,
		.operands = "",
	};
	if (l >= 0) b->depth = backward ? deepest - f->layers[l].public.depth + 1 : f->layers[l].public.depth;
}

static birth_lasting *lasting_of(weir_flow *f, int which, const weir_tensor *t, weir_flow_birth *b)
{
	struct weir__birth_more *m = weir__births_more(f);
	birth_lasting *to = m ? &m->text[which] : NULL;

	if (!to) return NULL;
	weir__births_shape(t, to->shape, sizeof to->shape);
	to->operands[0] = 0;
	b->shape = to->shape;
	b->operands = to->operands;
	return to;
}

birth_lasting *weir__births_note_value(weir_flow *f, weir_flow_birth *b, int which, int64_t i, enum kind kind)
{
	weir_tensor *t = weir_tape_at(f->w, i);
	birth_lasting *to;
	int64_t here;

	note(f, b, which, i, false);
	if (!(to = lasting_of(f, which, t, b))) return NULL;
	b->element = weir__births_first(t, kind, &b->value);
	if (b->element >= 0 && (here = weir__births_made_here(t, kind)) > b->element) {
		b->element = here;
		b->value = weir__births_value(t, here);
	}
	if (!is_leaf(t)) weir__births_operands(t, NULL, b->element, to->operands, sizeof to->operands);
	return to;
}

birth_lasting *weir__births_note_gradient(weir_flow *f, weir_flow_birth *b, int which, birth_origin from,
					  enum kind kind)
{
	const finding *found = weir__births_finding(f, from.node, kind);
	birth_lasting *to;

	note(f, b, which, from.maker, true);
	if (!(to = lasting_of(f, which, weir_tape_at(f->w, found ? found->of : from.node), b)) || !found) return to;
	if (found->sum) b->op = lasting(f->text[which].op, sizeof f->text[which].op, "add");
	b->element = found->element;
	b->value = found->value;
	lasting(to->operands, sizeof to->operands, found->operands);
	return to;
}
