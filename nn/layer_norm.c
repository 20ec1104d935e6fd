/* layer_norm.c: the module around weir_layer_norm(). */
#include "nn/module.h"

#include "engine/text.h"

typedef struct layer_norm {
	weir_tensor *weight, *bias; /* [features] */
	int64_t features;
	double eps;
} layer_norm;

static weir_tensor *forward(weir_module *m, weir_tensor *x)
{
	const layer_norm *l = weir_module_data(m);

	return weir_layer_norm(x, l->weight, l->bias, l->eps);
}

static void describe(const weir_module *m, char *text, size_t size)
{
	const layer_norm *l = weir_module_data(m);
	weir__text t;

	weir__text_fixed(&t, text, size);
	weir__text_format(&t, "features=%lld, eps=", (long long)l->features);
	weir__text_double(&t, l->eps, 'p', 4);
}

static const weir_module_type type = { .kind = "layer_norm", .forward = forward, .describe = describe };

weir_module *weir_layer_norm_new(weir_ctx *w, int64_t features, double eps)
{
	weir_module *m;
	layer_norm *l;
	weir_number_text number;

	if (features < 1 || !(weir__is_size(eps) && eps > 0)) {
		weir_fail(w, WEIR_ERR_ARGUMENT,
			  "weir_layer_norm_new: features is %lld, eps is %s; features must be 1 or more, eps above 0",
			  (long long)features, weir__number(eps, &number));
		return weir__module_bad(w);
	}
	m = weir_module_new(w, &type, NULL, sizeof(layer_norm));
	if (weir_module_is_bad(m)) return m;
	l = weir_module_data(m);
	l->features = features;
	l->eps = eps;
	l->weight = weir_module_param(m, "weight", m->nn->dtype, 1, &features);
	l->bias = weir_module_param(m, "bias", m->nn->dtype, 1, &features);
	for (int64_t i = 0; weir_ok(w) && i < features; i++) weir__set(l->weight, i, 1);
	return weir__module_finish(m);
}
