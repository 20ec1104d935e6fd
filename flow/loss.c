/* loss.c: what the loss itself tells. */
#include "flow/flow.h"

void weir__flow_loss(weir_flow *f)
{
	(void)f;
}

void weir__flow_loss_free(weir_flow *f)
{
	(void)f;
}
