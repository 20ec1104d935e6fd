/* linear.c: y = act(x · Wᵀ + b) over the last axis. in and out are its extents before and after. */
#include "nn/module.h"

#include "engine/text.h"

typedef struct linear {
	weir_tensor *weight; /* [out, in] */
	weir_tensor *bias;   /* [out], or NULL */
	int64_t in, out;
	weir_act act;
} linear;

static weir_tensor *forward(weir_module *m, weir_tensor *x)
{
	const linear *l = weir_module_data(m);

	if (l->act == WEIR_ACT_IDENTITY) return weir_linear(x, l->weight, l->bias);
	return weir_linear_act(x, l->weight, l->bias, l->act);
}

static void describe(const weir_module *m, char *text, size_t size)
{
	static const char *const acts[] = { "", ", sigmoid", ", tanh", ", relu", ", gelu", ", silu" };
	const linear *l = weir_module_data(m);
	weir__text t;

	weir__text_fixed(&t, text, size);
	weir__text_format(&t, "in=%lld, out=%lld%s%s", (long long)l->in, (long long)l->out, l->bias ? "" : ", no bias",
			  acts[l->act]);
}

static const weir_module_type type = { .kind = "linear", .forward = forward, .describe = describe };

void weir_linear_options_init(weir_linear_options *o)
{
	if (o)
		*o = (weir_linear_options){
			.init = WEIR_INIT_GLOROT, .init_scale = 1, .bias = true, .act = WEIR_ACT_IDENTITY
		};
}

weir_module *weir_linear_with(weir_ctx *w, int64_t in, int64_t out, const weir_linear_options *o)
{
	weir_linear_options defaults;
	weir_module *m;
	weir_dtype dtype;
	linear *l;

	weir_linear_options_init(&defaults);
	if (!o) o = &defaults;
	if (in < 0 || out < 0 || (unsigned)o->act > WEIR_ACT_SILU) {
		weir_fail(
			w, WEIR_ERR_ARGUMENT,
			"weir_linear_new: in is %lld, out is %lld, act is number %d; extents are 0 or more, act is one of enum weir_act",
			(long long)in, (long long)out, (int)o->act);
		return weir__module_bad(w);
	}
	m = weir_module_new(w, &type, NULL, sizeof(linear));
	if (weir_module_is_bad(m)) return m;
	l = weir_module_data(m);
	dtype = m->nn->dtype;
	l->in = in;
	l->out = out;
	l->act = o->act;
	l->weight = weir_module_param(m, "weight", dtype, 2, (int64_t[]){ out, in });
	weir_init_fill(l->weight, o->init, o->init_scale);
	if (o->bias) l->bias = weir_module_param(m, "bias", dtype, 1, &out);
	return weir__module_finish(m);
}

weir_module *weir_linear_new(weir_ctx *w, int64_t in, int64_t out, weir_init_kind init)
{
	weir_linear_options o;

	weir_linear_options_init(&o);
	o.init = init;
	return weir_linear_with(w, in, out, &o);
}
