/* random.h: the generator itself, for tests and initialisers. */
#ifndef WEIR_ENGINE_RANDOM_H
#define WEIR_ENGINE_RANDOM_H

#include <stdint.h>

void weir__philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
double weir__normal_quantile(double p); /* for 0 < p < 1 */

#endif
