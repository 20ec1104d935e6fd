/* The update kernels of optim.h, for one instruction set: see vec.h. Their text stands in body_optim_type.h, which is taken once for
 * float and once for double. */
#include <math.h>

#include "kernels/optim.h"
#include "kernels/table.h"
#include "kernels/vec.h"

#define WEIR_REAL_F64 0
#include "kernels/body_optim_type.h"
#undef WEIR_REAL_F64

#define WEIR_REAL_F64 1
#include "kernels/body_optim_type.h"
