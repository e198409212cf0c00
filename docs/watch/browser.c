/* One sample of a network in WebAssembly: where the page finds its numbers, and what it may call. */
#include "weights.h"

#define EXPORTED(name) __attribute__((export_name(#name))) name

static Network network;
static uint32_t steps;
static float image[NETWORK_INPUTS], input[NETWORK_INPUTS];

float *EXPORTED(image_at)(void) { return image; }
float *EXPORTED(input_at)(void) { return input; }
const network_signal *EXPORTED(spikes_at)(int layer) { return network.signals + network_operations[layer].signals; }

void EXPORTED(reset)(void) {
  network_reset(&network);
  steps = 0;
}
void EXPORTED(poisson)(uint32_t seed) { network_poisson(image, seed, steps, input); }
void EXPORTED(step)(void) {
  network_step(&network, input);
  steps++;
}
float EXPORTED(output)(int i) { return network_output(&network, i); }
