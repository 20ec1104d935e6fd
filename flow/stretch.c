/* stretch.c: sigma_max of Jacobians. */
#include "flow/flow.h"

void weir__flow_stretch(weir_flow *f)
{
	(void)f;
}

void weir__flow_stretch_free(weir_flow *f)
{
	(void)f;
}
