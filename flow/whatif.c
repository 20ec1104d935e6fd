/* whatif.c: repairs tried on copies. */
#include "flow/flow.h"

void weir__flow_whatif_free(weir_flow *f)
{
	(void)f;
}
