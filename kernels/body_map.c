/* The element-wise kernels of kern.def, for one instruction set: see vec.h. The text of each stands in body_map_type.h, which is taken
 * once for float and once for double. */
#include "kernels/table.h"

#include "kernels/body_math.h"

#define WEIR_REAL_F64 0
#include "kernels/body_map_type.h"
#undef WEIR_REAL_F64

#define WEIR_REAL_F64 1
#include "kernels/body_map_type.h"
