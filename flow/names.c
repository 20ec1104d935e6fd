/* names.c: what a layer is called: the part of a module path that names it, and a lasting copy of it, found by hashing. */
#include "flow/flow.h"

#include <string.h>

#include "engine/text.h"

size_t weir__flow_name_length(const char *path, int depth)
{
	size_t two = 0;
	int parts = 0;

	for (size_t i = 0, begin = 0;; i++) {
		bool number = i > begin;

		if (path[i] && path[i] != '.') continue;
		for (size_t j = begin; j < i; j++) number = number && path[j] >= '0' && path[j] <= '9';
		if (++parts <= 2) two = i;
		if (depth ? parts == depth || !path[i] : number) return i;
		if (!path[i]) return two;
		begin = i + 1;
	}
}

size_t weir__flow_clean(char *to, size_t size, const char *text, size_t n)
{
	size_t length = 0, wide;

	for (size_t i = 0; i < n; i += wide ? wide : 1) {
		unsigned char c = (unsigned char)text[i], next = i + 1 < n ? (unsigned char)text[i + 1] : 0;
		bool control = c < ' ' || c == 0x7f || (c == 0xc2 && next < 0xa0);

		wide = c < 0x80 ? 1 : weir__utf8(text + i, n - i);
		if (length + (control || !wide ? 1 : wide) >= size) break;
		if (control || !wide) to[length++] = '?';
		else
			for (size_t k = 0; k < wide; k++) to[length++] = text[i + k];
	}
	to[length] = 0;
	return length;
}

static uint64_t hash(const char *s, size_t n)
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * UINT64_C(1099511628211);
	return h ^ h >> 32;
}

static int64_t *slot_of(const weir_flow *f, const char *text, size_t n)
{
	int64_t h = (int64_t)(hash(text, n) & (uint64_t)(f->slots - 1));

	for (;; h = (h + 1) & (f->slots - 1)) {
		const layer_name *name = f->slot[h] ? &f->names[f->slot[h] - 1] : NULL;

		if (!name || (name->length == n && !memcmp(name->text, text, n))) return &f->slot[h];
	}
}

static bool more_slots(weir_flow *f)
{
	int64_t slots = f->slots ? 2 * f->slots : 128, *old = f->slot;
	size_t bytes = (size_t)slots * sizeof *f->slot, was = (size_t)f->slots * sizeof *f->slot;
	int64_t *slot = weir__pool_take(f->w, &bytes);

	if (!slot) return false;
	memset(slot, 0, (size_t)slots * sizeof *slot);
	f->slot = slot;
	f->slots = slots;
	for (int64_t i = 0; i < f->n_names; i++) *slot_of(f, f->names[i].text, f->names[i].length) = i + 1;
	if (old) weir__pool_give(f->w, old, was);
	return true;
}

layer_name *weir__flow_intern(weir_flow *f, const char *text, size_t n)
{
	char name[512];
	void *list = f->names;
	int64_t *slot;

	n = weir__flow_clean(name, sizeof name, text, n);
	if (2 * (f->n_names + 1) > f->slots && !more_slots(f)) return NULL;
	slot = slot_of(f, name, n);
	if (*slot) return &f->names[*slot - 1];
	if (!weir__flow_grow(f->w, &list, f->n_names, &f->names_capacity, sizeof *f->names)) return NULL;
	f->names = list;
	f->names[f->n_names] =
		(layer_name){ .text = weir__text_copy(f->w, name), .length = n, .layer = -1, .grouping = -1 };
	if (!f->names[f->n_names].text) return NULL;
	*slot = ++f->n_names;
	return &f->names[f->n_names - 1];
}
