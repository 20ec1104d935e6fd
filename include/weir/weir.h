/* weir.h: all of Weir but weir-io (see <weir/safetensors.h>). */
#ifndef WEIR_WEIR_H
#define WEIR_WEIR_H

#include <weir/version.h>
#include <weir/types.h>
#include <weir/engine.h>
#include <weir/ops.h>
#include <weir/nn.h>
#include <weir/flow.h>
#include <weir/io.h>

#endif
