/* linear_act, act_apply: an activation chosen by a number, alone or behind a linear layer. Composed.
 *
 *   shape      that of weir_linear(x, weight, bias); act_apply: that of x
 *   gradient   that of its parts: the two nodes that weir_linear() and the activation record, with their two events
 */
#include "ops/common.h"

weir_tensor *weir_act_apply(weir_tensor *x, weir_act act)
{
	switch (act) {
	case WEIR_ACT_IDENTITY: return weir__usable(x, "weir_act_apply") ? x : weir__bad(x);
	case WEIR_ACT_SIGMOID: return weir_sigmoid(x);
	case WEIR_ACT_TANH: return weir_tanh(x);
	case WEIR_ACT_RELU: return weir_relu(x);
	case WEIR_ACT_GELU: return weir_gelu(x);
	case WEIR_ACT_SILU: return weir_silu(x);
	}
	return weir_fail(weir__ctx_of(x), WEIR_ERR_ARGUMENT, "weir_act_apply: %d is no activation; see weir_act",
			 (int)act);
}

weir_tensor *weir_linear_act(weir_tensor *x, weir_tensor *weight, weir_tensor *bias, weir_act act)
{
	weir_scratch s = weir__scratch_begin(x, "weir_linear_act");

	return weir__scratch_end(&s, weir_act_apply(weir_linear(x, weight, bias), act));
}
