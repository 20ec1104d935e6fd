/* record.c: what is written at every step. */
#include "flow/flow.h"

void weir__flow_record_step(weir_flow *f, bool whole)
{
	(void)f, (void)whole;
}

void weir__flow_record_free(weir_flow *f)
{
	(void)f;
}
