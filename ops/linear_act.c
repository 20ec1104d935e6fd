/* linear_act, act_apply: an activation chosen by a number, alone or behind a linear layer. Composed.
 *
 *   shape      that of weir_linear(x, weight, bias); act_apply: that of x
 *   gradient   that of its parts: the two nodes that weir_linear() and the activation record, with their two events
 *   numerics   the same bits as the two calls: the product's epilogue runs the activation's kernel on rows just finished
 */
#include "ops/common.h"

weir_tensor *weir_act_apply(weir_tensor *x, weir_act act)
{
	switch (act) {
	case WEIR_ACT_IDENTITY: return x;
	case WEIR_ACT_SIGMOID: return weir_sigmoid(x);
	case WEIR_ACT_TANH: return weir_tanh(x);
	case WEIR_ACT_RELU: return weir_relu(x);
	case WEIR_ACT_GELU: return weir_gelu(x);
	case WEIR_ACT_SILU: return weir_silu(x);
	}
	return weir_fail(weir__ctx_of(x), WEIR_ERR_ARGUMENT, "weir_act_apply: %d is no activation; see weir_act",
			 (int)act);
}

/* Activations that are one operation with one kernel. */
static weir_map kernel_of(weir_act act)
{
	switch (act) {
	case WEIR_ACT_SIGMOID: return WEIR_MAP_sigmoid;
	case WEIR_ACT_TANH: return WEIR_MAP_tanh;
	case WEIR_ACT_RELU: return WEIR_MAP_relu;
	case WEIR_ACT_GELU: return WEIR_MAP_gelu;
	case WEIR_ACT_SILU: return WEIR_MAP_silu;
	default: return WEIR_MAP_COUNT;
	}
}

/* Both nodes as always, but the second finds its value computed. */
static weir_tensor *in_one_pass(weir_ctx *w, weir_tensor *x, weir_tensor *weight, weir_tensor *bias, weir_act act)
{
	weir_epilogue e = { kernel_of(act), NULL };
	weir_tensor *y;

	w->epilogue = &e;
	y = weir_linear(x, weight, bias);
	w->epilogue = NULL;
	w->given = e.value;
	y = weir_act_apply(y, act);
	if (w->given) weir__storage_drop(w, w->given); /* after an error */
	w->given = NULL;
	return y;
}

weir_tensor *weir_linear_act(weir_tensor *x, weir_tensor *weight, weir_tensor *bias, weir_act act)
{
	weir_scratch s = weir__scratch_begin(x, "weir_linear_act");

	if (weir_ok(s.ctx) && kernel_of(act) != WEIR_MAP_COUNT && weir__may_fuse(s.ctx))
		return weir__scratch_end(&s, in_one_pass(s.ctx, x, weight, bias, act));
	return weir__scratch_end(&s, weir_act_apply(weir_linear(x, weight, bias), act));
}
