/* common.h: what every file of an operation includes. */
#ifndef WEIR_OPS_COMMON_H
#define WEIR_OPS_COMMON_H

#include <weir/ops.h>
#include "engine/op.h"

/* weir_op_<name> of every primitive. */
#define WEIR_PRIMITIVE(ret, name, params, args, ctx) extern const weir_op weir_op_##name;
#define WEIR_COMPOSED(ret, name, params, args, ctx)
#include "ops/ops.def"
#undef WEIR_PRIMITIVE
#undef WEIR_COMPOSED

/* Broadcasting: puts expand views before operands, so that all have one shape. Leaves equal shapes alone. False after reporting;
 * who: "weir_mul". Operands must have been checked by weir__usable. */
bool weir__broadcast2(const char *who, weir_tensor **a, weir_tensor **b);
bool weir__broadcast3(const char *who, weir_tensor **a, weir_tensor **b, weir_tensor **c);

#endif
