/* module.c: modules begin and end here. The tree is in tree.c, running it in forward.c. */
#include "nn/module.h"

#include <string.h>

#include "engine/number.h"

/* Stands in where there is no memory for a weir_nn. */
static const weir_module_type bad_type = { .kind = "bad" };
static weir_module nowhere = { .type = &bad_type, .bad = true, .name = "", .path = "", .scope = "" };

bool weir__nn_room(weir_ctx *w, void *array, int64_t count, int64_t *room, size_t size)
{
	int64_t more = *room ? *room * 2 : 4;
	void *old, *p;
	size_t bytes;

	if (count < *room) return true;
	bytes = (size_t)more * size;
	p = weir__pool_take(w, &bytes);
	if (!p) return false;
	memcpy(&old, array, sizeof(old));
	if (old) {
		memcpy(p, old, (size_t)count * size);
		weir__pool_give(w, old, (size_t)*room * size);
	}
	memcpy(array, &p, sizeof(p));
	*room = more;
	return true;
}

void weir__nn_free(weir_ctx *w, void *p, size_t size)
{
	if (p) weir__pool_give(w, p, size);
}

const char *weir__number(double x, weir_number_text *buf)
{
	weir__format_double(buf->s, sizeof(buf->s), x, 'g', 0);
	return buf->s;
}

/* Memory of m but for its parameters, which are the engine's. */
static void free_module(weir_module *m)
{
	weir_nn *nn = m->nn;
	weir_ctx *w = nn->ctx;

	if (m->data && m->type->destroy) m->type->destroy(m->data);
	weir__nn_free(w, m->data, m->data_size);
	for (int64_t i = 0; i < m->params; i++) weir__text_free(w, m->param[i].name);
	weir__nn_free(w, m->param, (size_t)m->param_room * sizeof(*m->param));
	weir__nn_free(w, m->child, (size_t)m->child_room * sizeof(*m->child));
	weir__nn_free(w, m->all, (size_t)m->all_room * sizeof(*m->all));
	if (m->name) weir__text_free(w, m->name);
	if (m->path) weir__text_free(w, m->path);
	if (m->scope) weir__text_free(w, m->scope);
	if (m->prev) m->prev->next = m->next;
	else if (nn->modules == m) nn->modules = m->next;
	if (m->next) m->next->prev = m->prev;
	weir__pool_give(w, m, sizeof(*m));
}

static void free_nn(void *object)
{
	weir_nn *nn = object;

	weir__optims_free(nn);
	while (nn->modules) free_module(nn->modules);
	weir__pool_give(nn->ctx, nn, sizeof(*nn));
}

weir_nn *weir__nn(weir_ctx *w)
{
	size_t size = sizeof(weir_nn);
	weir_nn *nn;

	for (const weir_owned *o = w->owned; o; o = o->next) {
		if (o->destroy == free_nn) return o->object;
	}
	if (w == weir__nowhere()) return NULL;
	nn = weir__pool_take(w, &size);
	if (!nn) return NULL;
	memset(nn, 0, sizeof(*nn));
	nn->ctx = w;
	nn->dtype = WEIR_F32;
	nn->version = 1;
	nn->bad = nowhere;
	nn->bad.nn = nn;
	nn->owned = weir__own(w, nn, free_nn);
	if (nn->owned) return nn;
	weir__pool_give(w, nn, sizeof(*nn));
	return NULL;
}

weir_module *weir__module_bad(weir_ctx *w)
{
	weir_nn *nn = w ? weir__nn(w) : NULL;

	return nn ? &nn->bad : &nowhere;
}

bool weir__module_usable(const weir_module *m, const char *who, const char *arg)
{
	weir_ctx *w = weir_module_context(m);

	if (!weir_ok(w)) return false;
	if (!m) weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %s is NULL", who, arg);
	else if (m->bad) weir_fail(w, WEIR_ERR_ARGUMENT, "%s: %s is the module of a call that failed", who, arg);
	else return true;
	return false;
}

static bool good_name(const char *name)
{
	size_t n = 0;

	for (; name[n]; n++) {
		if ((unsigned char)name[n] < 0x20 || name[n] == 0x7f || n >= 255) return false;
	}
	return n > 0;
}

weir_module *weir_module_new(weir_ctx *w, const weir_module_type *type, const char *name, size_t data_size)
{
	weir_nn *nn = w ? weir__nn(w) : NULL;
	weir_module *m;
	size_t size = sizeof(*m);

	if (!nn || !weir_ok(w)) {
		if (!w) weir_fail(weir__nowhere(), WEIR_ERR_ARGUMENT, "weir_module_new: w is NULL");
		return weir__module_bad(w);
	}
	if (!type || !type->kind || !good_name(type->kind)) {
		weir_fail(w, WEIR_ERR_ARGUMENT,
			  "weir_module_new: type has no kind; it needs a name such as \"linear\"");
		return &nn->bad;
	}
	if (name && !good_name(name)) {
		weir_fail(w, WEIR_ERR_ARGUMENT,
			  "weir_module_new: a %s's name is empty, longer than 255 bytes, or has control characters",
			  type->kind);
		return &nn->bad;
	}
	m = weir__pool_take(w, &size);
	if (!m) return &nn->bad;
	memset(m, 0, sizeof(*m));
	m->nn = nn;
	m->type = type;
	m->training = true;
	m->next = nn->modules;
	if (m->next) m->next->prev = m;
	nn->modules = m;
	m->name = weir__text_copy(w, name ? name : type->kind);
	m->path = weir__text_copy(w, m->name);
	m->scope = weir__text_copy(w, m->name);
	m->data_size = size = data_size;
	if (data_size) m->data = weir__pool_take(w, &size);
	if (m->data) memset(m->data, 0, data_size);
	if (m->name && m->path && m->scope && (m->data || !data_size)) return m;
	weir__nn_free(w, m->data, m->data_size);
	m->data = NULL; /* never used: nothing for destroy */
	free_module(m);
	return &nn->bad;
}

weir_module *weir__module_finish(weir_module *m)
{
	weir_nn *nn = m->nn;
	weir_status status = nn->ctx->status;

	if (!status) return m;
	for (int64_t i = 0; i < m->children; i++) m->child[i]->parent = NULL;
	nn->ctx->status = WEIR_OK; /* or nothing could be dropped */
	for (int64_t i = 0; i < m->params; i++) weir_drop(m->param[i].t);
	nn->ctx->status = status;
	nn->version++;
	free_module(m);
	return &nn->bad;
}

void weir_module_drop(weir_module *m)
{
	weir_ctx *w = weir_module_context(m);
	weir_module *at;

	if (!weir__module_usable(m, "weir_module_drop", "m")) return;
	if (m->parent) {
		weir_fail(w, WEIR_ERR_ARGUMENT,
			  "weir_module_drop: %s is a child of %s; drop the root of the tree, %s is freed with it",
			  m->path, m->parent->path, m->path);
		return;
	}
	for (at = m; at; at = weir__module_next(m, at)) {
		if (at->running) {
			weir_fail(w, WEIR_ERR_ARGUMENT, "weir_module_drop: the forward of %s is running", at->path);
			return;
		}
	}
	weir__optims_forget(m->nn, m);
	for (at = m; at; at = weir__module_next(m, at)) {
		for (int64_t i = 0; i < at->params; i++) weir_drop(at->param[i].t);
	}
	m->nn->version++;
	for (at = m; at;) { /* children before parents */
		weir_module *up = at->parent;

		if (at->children) {
			at = at->child[at->children - 1];
			continue;
		}
		if (up) up->children--;
		free_module(at);
		at = up;
	}
}

/* ---- questions ---------------------------------------------------------------------------------------------- */

void *weir_module_data(const weir_module *m)
{
	return m ? m->data : NULL;
}

const weir_module_type *weir_module_type_of(const weir_module *m)
{
	return m ? m->type : &bad_type;
}

weir_ctx *weir_module_context(const weir_module *m)
{
	return m && m->nn ? m->nn->ctx : weir__nowhere();
}

const char *weir_module_path(const weir_module *m)
{
	return m ? m->path : "";
}

const char *weir_module_scope(const weir_module *m)
{
	return m ? m->scope : "";
}

bool weir_module_is_bad(const weir_module *m)
{
	return !m || m->bad;
}

void weir_module_dtype(weir_ctx *w, weir_dtype dtype)
{
	weir_nn *nn = w && weir_ok(w) ? weir__nn(w) : NULL;

	if (!nn) return;
	if (dtype != WEIR_F32 && dtype != WEIR_F64)
		weir_fail(w, WEIR_ERR_DTYPE, "weir_module_dtype: weights are f32 or f64, not %s",
			  weir_dtype_name(dtype));
	else nn->dtype = dtype;
}
