/* birth_check.h: a birth as one text, which the tests compare. */
#ifndef WEIR_TESTS_BIRTH_CHECK_H
#define WEIR_TESTS_BIRTH_CHECK_H

#include "tests/flow_check.h"

/* "forward net.log (log) [3] f32 [0] = -inf; mul[0] = 0; net.log log > sum > loss; 2 others", or "none". */
static MAY_BE_UNUSED const char *birth_text(const weir_flow_birth *b)
{
	static char text[4][8192];
	static int turn;
	char *t = text[turn = (turn + 1) % 4];
	size_t n;

	if (!b->found) return "none";
	n = (size_t)snprintf(t, sizeof text[0], "%s %s (%s) %s [%lld] = %.4g; %s; ",
			     b->backward ? "backward" : "forward", b->layer, b->op, b->shape, (long long)b->element,
			     isnan(b->value) ? (double)NAN : b->value, b->operands);
	for (int64_t i = 0; i < b->path_length; i++)
		n += (size_t)snprintf(t + n, sizeof text[0] - n, "%s%s", i ? " > " : "", b->path[i]);
	snprintf(t + n, sizeof text[0] - n, "; %lld others", (long long)b->propagators);
	return t;
}

/* The shape and type of p, filled with v. */
static MAY_BE_UNUSED weir_tensor *like(weir_tensor *p, double v)
{
	return weir_full(weir_context(p), weir_dtype_of(p), weir_rank(p), weir_shape(p), v);
}

/* Linear layers of 2 units with weights diag(c). */
static MAY_BE_UNUSED weir_module *chain(weir_ctx *w, int layers, double c)
{
	weir_module *net = weir_list_new(w, "mlp");

	for (int i = 0; i < layers; i++)
		weir_list_add(net,
			      weir_linear_with(w, 2, 2,
					       &(weir_linear_options){
						       .init = WEIR_INIT_DIAGONAL, .init_scale = c, .bias = true }));
	return net;
}

#endif
