/* tree.c: children, names and parameters of modules. Walks are loops, so that no depth of nesting runs out of stack. */
#include "nn/module.h"

#include <string.h>

#include "engine/text.h"

weir_module *weir__module_next(const weir_module *root, const weir_module *m)
{
	if (m->children) return m->child[0];
	while (m != root && m->place + 1 >= m->parent->children) m = m->parent;
	return m == root ? NULL : m->parent->child[m->place + 1];
}

/* "a.b", or NULL after reporting. */
static char *join(weir_ctx *w, const char *a, const char *b)
{
	size_t na = strlen(a), nb = strlen(b), size = na + nb + 2;
	char *text = weir__pool_take(w, &size);

	if (!text) return NULL;
	memcpy(text, a, na);
	text[na] = '.';
	memcpy(text + na + 1, b, nb + 1);
	return text;
}

static void replace_text(weir_ctx *w, char **at, char *text)
{
	if (!text) return;
	if (*at) weir__text_free(w, *at);
	*at = text;
}

static void name_parameter(weir_module *m, const weir_module_param_slot *p)
{
	char *full = join(m->nn->ctx, m->path, p->name);

	if (!full) return;
	weir_set_name(p->t, full);
	weir__text_free(m->nn->ctx, full);
}

/* Paths, scopes and parameter names of m and all below from their names. */
static void rename_tree(weir_module *root)
{
	weir_ctx *w = root->nn->ctx;

	for (weir_module *m = root; m; m = weir__module_next(root, m)) {
		replace_text(w, &m->path, m->parent ? join(w, m->parent->path, m->name) : weir__text_copy(w, m->name));
		replace_text(w, &m->scope,
			     m->numbered && !m->type->container ? join(w, m->path, m->type->kind)
								: weir__text_copy(w, m->path));
		for (int64_t i = 0; i < m->params; i++) name_parameter(m, &m->param[i]);
	}
}

static bool has_child(const weir_module *m, const char *name)
{
	for (int64_t i = 0; i < m->children; i++) {
		if (strcmp(m->child[i]->name, name) == 0) return true;
	}
	return false;
}

/* What speaks against m adopting child under name. */
static bool can_add(const weir_module *m, const char *name, const weir_module *child)
{
	weir_ctx *w = m->nn->ctx;
	const weir_module *root = m;

	while (root->parent) root = root->parent;
	if (weir_module_context(child) != w)
		weir_fail(w, WEIR_ERR_CONTEXT, "weir_module_add: %s and the child %s belong to two contexts", m->path,
			  child->path);
	else if (child->parent)
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_module_add: %s is already a child of %s; a module has one parent",
			  child->path, child->parent->path);
	else if (child == root)
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_module_add: %s can't be a child of %s, which is below it",
			  child->path, m->path);
	else if (name && (!*name || strlen(name) > 255 || strchr(name, '.')))
		weir_fail(
			w, WEIR_ERR_ARGUMENT,
			"weir_module_add: the name of a child of %s is empty, longer than 255 bytes, or has a dot, which separates names",
			m->path);
	else if (name && has_child(m, name))
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_module_add: %s already has a child %s", m->path, name);
	else return true;
	return false;
}

weir_module *weir_module_add(weir_module *m, const char *name, weir_module *child)
{
	weir_ctx *w = weir_module_context(m);
	char *text;
	weir_number_text number;

	if (!weir__module_usable(m, "weir_module_add", "m") ||
	    !weir__module_usable(child, "weir_module_add", "child") || !can_add(m, name, child))
		return weir__module_bad(w);
	if (!name) {
		weir__text t;

		weir__text_fixed(&t, number.s, sizeof(number.s));
		weir__text_int(&t, m->children);
		if (has_child(m, number.s)) {
			weir_fail(w, WEIR_ERR_ARGUMENT,
				  "weir_module_add: %s already has a child %s; give this one a name", m->path,
				  number.s);
			return weir__module_bad(w);
		}
	}
	text = weir__text_copy(w, name ? name : number.s);
	if (!text || !weir__nn_room(w, &m->child, m->children, &m->child_room, sizeof(*m->child))) {
		if (text) weir__text_free(w, text);
		return weir__module_bad(w);
	}
	replace_text(w, &child->name, text);
	child->numbered = !name;
	child->parent = m;
	child->place = m->children;
	m->child[m->children++] = child;
	m->nn->version++;
	rename_tree(child);
	return child;
}

int64_t weir_module_count(const weir_module *m)
{
	return m ? m->children : 0;
}

weir_module *weir_module_at(const weir_module *m, int64_t i)
{
	weir_ctx *w = weir_module_context(m);

	if (!weir__module_usable(m, "weir_module_at", "m")) return weir__module_bad(w);
	if (i >= 0 && i < m->children) return m->child[i];
	weir_fail(w, WEIR_ERR_INDEX, "weir_module_at: %s has %lld children, there is no number %lld", m->path,
		  (long long)m->children, (long long)i);
	return weir__module_bad(w);
}

weir_module *weir_module_find(weir_module *m, const char *path)
{
	if (!path || !weir__module_usable(m, "weir_module_find", "m")) return NULL;
	for (weir_module *at = weir__module_next(m, m); at; at = weir__module_next(m, at)) {
		size_t skip = strlen(m->path) + 1;

		if (strcmp(at->path + skip, path) == 0 || strcmp(at->scope + skip, path) == 0) return at;
	}
	return NULL;
}

/* ---- parameters ---------------------------------------------------------------------------------------------- */

weir_tensor *weir_module_param(weir_module *m, const char *name, weir_dtype dtype, int rank, const int64_t *shape)
{
	weir_ctx *w = weir_module_context(m);
	weir_module_param_slot p;

	if (!weir__module_usable(m, "weir_module_param", "m")) return weir__bad_of(w);
	if (!name || !*name || strlen(name) > 255 || strchr(name, '.'))
		return weir_fail(
			w, WEIR_ERR_ARGUMENT,
			"weir_module_param: the name of a parameter of %s is missing, longer than 255 bytes, or has a dot",
			m->path);
	for (int64_t i = 0; i < m->params; i++) {
		if (strcmp(m->param[i].name, name) == 0)
			return weir_fail(w, WEIR_ERR_ARGUMENT, "weir_module_param: %s already has a parameter %s",
					 m->path, name);
	}
	if (!weir__nn_room(w, &m->param, m->params, &m->param_room, sizeof(*m->param))) return weir__bad_of(w);
	p.t = weir_param_new(w, name, dtype, rank, shape);
	if (weir_is_bad(p.t)) return p.t;
	p.name = weir__text_copy(w, name);
	if (!p.name) {
		weir_drop(p.t);
		return weir__bad_of(w);
	}
	m->param[m->params++] = p;
	m->nn->version++;
	name_parameter(m, &p);
	return p.t;
}

/* The list is kept until a tree changes: asking for parameter i in a loop is not a walk each time. */
static bool collect(weir_module *root)
{
	weir_ctx *w = root->nn->ctx;

	root->alls = 0;
	for (weir_module *m = root; m; m = weir__module_next(root, m)) {
		for (int64_t i = 0; i < m->params; i++) {
			if (!weir__nn_room(w, &root->all, root->alls, &root->all_room, sizeof(*root->all))) {
				root->alls = 0;
				return false;
			}
			root->all[root->alls++] = m->param[i].t;
		}
	}
	root->all_version = root->nn->version;
	return true;
}

weir_tensor *const *weir__module_all(const weir_module *m, int64_t *n)
{
	weir_module *root = (weir_module *)m; /* the list is no part of what m is */

	*n = 0;
	if (!m || m->bad) return NULL;
	if (m->all_version != m->nn->version && !collect(root)) return NULL;
	*n = m->alls;
	return m->all;
}

weir_tensor *weir_module_parameter(const weir_module *m, int64_t i)
{
	int64_t n;
	weir_tensor *const *all = weir__module_all(m, &n);

	return i >= 0 && i < n ? all[i] : NULL;
}

int64_t weir_module_parameter_count(const weir_module *m)
{
	int64_t n;

	weir__module_all(m, &n);
	return n;
}

int64_t weir_module_weights(const weir_module *m)
{
	int64_t n, sum = 0;
	weir_tensor *const *all = weir__module_all(m, &n);

	for (int64_t i = 0; i < n; i++) sum += weir_numel(all[i]);
	return sum;
}

void weir_module_freeze(weir_module *m, bool frozen)
{
	int64_t n;
	weir_tensor *const *all;

	if (!weir__module_usable(m, "weir_module_freeze", "m")) return;
	all = weir__module_all(m, &n);
	for (int64_t i = 0; i < n; i++) weir_freeze(all[i], frozen);
}

void weir_train(weir_module *m, bool training)
{
	if (!weir__module_usable(m, "weir_train", "m")) return;
	for (weir_module *at = m; at; at = weir__module_next(m, at)) at->training = training;
}

bool weir_training(const weir_module *m)
{
	return m && m->training;
}
