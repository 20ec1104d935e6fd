/* spikes.c: median and MAD of the log norms. */
#include "flow/flow.h"

void weir__flow_spikes(weir_flow *f)
{
	(void)f;
}

void weir__flow_spikes_free(weir_flow *f)
{
	(void)f;
}
