/* activation.c: modules without parameters that apply one function: the activations, and softmax. */
#include "nn/module.h"

#include "engine/text.h"

static weir_tensor *forward_sigmoid(weir_module *m, weir_tensor *x)
{
	(void)m;
	return weir_sigmoid(x);
}

static weir_tensor *forward_tanh(weir_module *m, weir_tensor *x)
{
	(void)m;
	return weir_tanh(x);
}

static weir_tensor *forward_relu(weir_module *m, weir_tensor *x)
{
	(void)m;
	return weir_relu(x);
}

static weir_tensor *forward_gelu(weir_module *m, weir_tensor *x)
{
	(void)m;
	return weir_gelu(x);
}

static weir_tensor *forward_silu(weir_module *m, weir_tensor *x)
{
	(void)m;
	return weir_silu(x);
}

static weir_tensor *forward_identity(weir_module *m, weir_tensor *x)
{
	(void)m;
	return x;
}

static const weir_module_type types[] = {
	[WEIR_ACT_IDENTITY] = { .kind = "identity", .forward = forward_identity },
	[WEIR_ACT_SIGMOID] = { .kind = "sigmoid", .forward = forward_sigmoid },
	[WEIR_ACT_TANH] = { .kind = "tanh", .forward = forward_tanh },
	[WEIR_ACT_RELU] = { .kind = "relu", .forward = forward_relu },
	[WEIR_ACT_GELU] = { .kind = "gelu", .forward = forward_gelu },
	[WEIR_ACT_SILU] = { .kind = "silu", .forward = forward_silu },
};

weir_module *weir_act_new(weir_ctx *w, weir_act act)
{
	if ((unsigned)act < sizeof(types) / sizeof(*types)) return weir_module_new(w, &types[act], NULL, 0);
	weir_fail(w, WEIR_ERR_ARGUMENT, "weir_act_new: there is no activation number %d; it is one of enum weir_act",
		  (int)act);
	return weir__module_bad(w);
}

weir_module *weir_sigmoid_new(weir_ctx *w)
{
	return weir_act_new(w, WEIR_ACT_SIGMOID);
}

weir_module *weir_tanh_new(weir_ctx *w)
{
	return weir_act_new(w, WEIR_ACT_TANH);
}

weir_module *weir_relu_new(weir_ctx *w)
{
	return weir_act_new(w, WEIR_ACT_RELU);
}

weir_module *weir_gelu_new(weir_ctx *w)
{
	return weir_act_new(w, WEIR_ACT_GELU);
}

weir_module *weir_silu_new(weir_ctx *w)
{
	return weir_act_new(w, WEIR_ACT_SILU);
}

weir_module *weir_identity_new(weir_ctx *w)
{
	return weir_act_new(w, WEIR_ACT_IDENTITY);
}

/* ---- softmax ---- */

static weir_tensor *forward_softmax(weir_module *m, weir_tensor *x)
{
	const int *axis = weir_module_data(m);

	return weir_softmax(x, *axis);
}

static void describe_softmax(const weir_module *m, char *text, size_t size)
{
	const int *axis = weir_module_data(m);
	weir__text t;

	weir__text_fixed(&t, text, size);
	weir__text_format(&t, "axis=%d", *axis);
}

static const weir_module_type softmax_type = { .kind = "softmax",
					       .forward = forward_softmax,
					       .describe = describe_softmax };

weir_module *weir_softmax_new(weir_ctx *w, int axis)
{
	weir_module *m = weir_module_new(w, &softmax_type, NULL, sizeof(int));

	if (!weir_module_is_bad(m)) *(int *)weir_module_data(m) = axis;
	return m;
}
