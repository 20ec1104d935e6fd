/* units.c: the census of dead units. */
#include "flow/flow.h"

void weir__flow_units(weir_flow *f, bool whole)
{
	(void)f, (void)whole;
}

void weir__flow_units_free(weir_flow *f)
{
	(void)f;
}
