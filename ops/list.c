/* list.c: all primitive operations, for tools and tests: those of ops.def and the private ones that gradient rules
 * use and that have a gradient. */
#include "ops/elementwise.h"
#include "ops/shape.h"

static const weir_op *const list[] = {
#define WEIR_PRIMITIVE(ret, name, params, args, knows) &weir_op_##name,
#define WEIR_COMPOSED(ret, name, params, args, knows)
#include "ops/ops.def"
#undef WEIR_PRIMITIVE
#undef WEIR_COMPOSED
	&weir_op_unslice, &weir_op_normal_cdf, &weir_op_normal_pdf, &weir_op_tanh_vjp, NULL,
};

const weir_op *const *weir_op_list(void)
{
	return list;
}
