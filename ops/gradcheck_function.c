/* gradcheck_function.c: the function that a gradient check differentiates, and its Jacobian by the tape; see
 * gradcheck.c. */
#include "ops/gradcheck.h"

#include <string.h>

static weir_tensor *leaf(weir__check *c, weir_dtype dtype, int rank, const int64_t *shape, const double *values)
{
	weir_tensor *t = weir_zeros(c->w, dtype, rank, shape);

	weir_write_f64(t, values, t->numel);
	return t;
}

bool weir__check_apply(weir__check *c, const double *point, unsigned flags)
{
	weir_tensor *y;

	c->vars = c->substitutes = 0;
	for (int i = 0; i < c->n; i++) {
		weir_tensor *x = c->xs[i];

		c->args[i] = x;
		if (!weir__is_float(x->dtype)) continue;
		c->args[i] = leaf(c, (weir_dtype)x->dtype, x->rank, x->shape, point);
		if (x->flags & WEIR_T_KEPT) {
			c->kept[c->substitutes] = x;
			c->stand_in[c->substitutes++] = c->args[i];
		}
		c->number[c->vars] = i;
		c->var[c->vars++] = c->args[i];
		point += x->numel;
	}
	if (!weir_substitute_begin(c->w, c->kept, c->stand_in, c->substitutes)) return false;
	y = c->f(c->args, c->n, c->user);
	weir_substitute_end(c->w);
	if (!weir_ok(c->w) || !weir__usable(y, "weir_gradcheck")) return false;
	if (!weir__is_float(y->dtype) || (c->y_numel >= 0 && y->numel != c->y_numel)) {
		weir_fail(c->w, WEIR_ERR_ARGUMENT,
			  "weir_gradcheck: f must return f32 or f64, and always of the same shape");
		return false;
	}
	if (c->y_numel < 0) {
		c->y_dtype = (weir_dtype)y->dtype;
		c->y_rank = y->rank;
		c->y_numel = y->numel;
		memcpy(c->y_shape, y->shape, y->rank * sizeof *y->shape);
	}
	c->part[0] = y;
	c->parts = 1;
	if (c->order == 2) {
		c->parts = c->vars;
		c->number[c->vars] = c->n;
		c->var[c->vars] = leaf(c, c->y_dtype, c->y_rank, c->y_shape, point);
		weir_vjp(y, c->var[c->vars], c->var, c->vars, c->part, flags | WEIR_ALLOW_UNUSED);
		c->vars++;
	}
	return weir_ok(c->w);
}

static int64_t part_numel(const weir__check *c, int i)
{
	return c->order == 2 ? c->var[i]->numel : c->y_numel;
}

bool weir__check_values(weir__check *c, const double *point, double *out)
{
	weir_place mark = weir_mark(c->w);

	if (!weir__check_apply(c, point, 0)) return false;
	for (int i = 0; i < c->parts; out += part_numel(c, i++)) {
		memset(out, 0, (size_t)part_numel(c, i) * sizeof *out);
		if (c->part[i]) weir_read_f64(c->part[i], out, part_numel(c, i));
	}
	weir_rewind(c->w, mark, NULL, 0);
	return weir_ok(c->w);
}

/* Adds the gradient of weight · (result i) by all inputs to row. */
static void add_gradient(weir__check *c, int i, const double *weight, double *row, double *scratch)
{
	weir_place mark = weir_mark(c->w);
	weir_tensor *gy = leaf(c, (weir_dtype)c->part[i]->dtype, c->part[i]->rank, c->part[i]->shape, weight);

	weir_vjp(c->part[i], gy, c->var, c->vars, c->g, WEIR_ALLOW_UNUSED);
	for (int k = 0; weir_ok(c->w) && k < c->vars; row += c->var[k++]->numel) {
		if (!c->g[k]) continue;
		weir_read_f64(c->g[k], scratch, c->var[k]->numel);
		for (int64_t j = 0; j < c->var[k]->numel; j++) row[j] += scratch[j];
	}
	weir_rewind(c->w, mark, NULL, 0);
}

bool weir__check_jacobian(weir__check *c)
{
	weir_place mark = weir_mark(c->w);
	double *row = c->jacobian, *weight = c->weight;

	memset(row, 0, (size_t)(c->rows * c->inputs) * sizeof *row);
	if (!weir__check_apply(c, c->x, WEIR_CREATE_GRAPH)) return false;
	for (int i = 0; i < c->parts; weight += part_numel(c, i++)) {
		int64_t n = part_numel(c, i);

		if (!c->o->full && c->part[i]) add_gradient(c, i, weight, row, c->moved);
		memset(c->plus, 0, (size_t)n * sizeof *c->plus);
		for (int64_t k = 0; c->o->full && k < n; k++, row += c->inputs) {
			if (!c->part[i]) continue;
			c->plus[k] = weight[k]; /* not 1, for which 1² is 1: a rule must be linear in gy */
			add_gradient(c, i, c->plus, row, c->moved);
			c->plus[k] = 0.0;
			for (int64_t j = 0; j < c->inputs; j++) row[j] /= weight[k];
		}
	}
	weir_rewind(c->w, mark, NULL, 0);
	return weir_ok(c->w);
}
