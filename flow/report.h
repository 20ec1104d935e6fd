/* report.h: the forms of a report. */
#ifndef WEIR_FLOW_REPORT_H
#define WEIR_FLOW_REPORT_H

#include "flow/flow.h"

void weir__flow_json(const weir_flow *f, FILE *file, const char *model);

#endif
