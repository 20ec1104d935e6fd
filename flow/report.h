/* report.h: the forms of a report. */
#ifndef WEIR_FLOW_REPORT_H
#define WEIR_FLOW_REPORT_H

#include "engine/json_write.h"
#include "flow/flow.h"

void weir__flow_json(const weir_flow *f, FILE *file, const char *model);
void weir__flow_say_whatif(const weir_flow *f, weir__text *t, FILE *file); /* report_whatif.c */
void weir__flow_json_whatif(const weir_flow *f, weir__json *j);

#endif
