/* theory.c: mean-field theory. */
#include "flow/flow.h"

void weir__flow_theory(weir_flow *f)
{
	(void)f;
}
