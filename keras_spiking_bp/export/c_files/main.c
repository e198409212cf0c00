/* Runs one sample: raw float32 numbers on standard input, the outputs after each step on standard output, a line a step.

       main [--margin M] [--seed S]

   With a Poisson code the input is the image, and S seeds its spikes; else it is what the network sees at each step,
   one step after the other (of a constant input: once). Stops where the decision is ahead by the margin. */
#include "network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Network network;
static float input[NETWORK_INPUTS];
#if NETWORK_POISSON
static float spikes[NETWORK_INPUTS];
#endif

int main(int argc, char **argv) {
  float margin = -1;
  unsigned long seed = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (!strcmp(argv[i], "--margin")) margin = strtof(argv[i + 1], NULL);
    if (!strcmp(argv[i], "--seed")) seed = strtoul(argv[i + 1], NULL, 10);
  }
  network_reset(&network);
  for (uint32_t step = 0; step < NETWORK_STEPS; step++) {
    const float *now = input;
    const int more = step == 0 || !(NETWORK_CONSTANT_INPUT || NETWORK_POISSON);
    if (more && fread(input, sizeof(float), NETWORK_INPUTS, stdin) != NETWORK_INPUTS) break;
#if NETWORK_POISSON
    network_poisson(input, (uint32_t)seed, step, spikes);
    now = spikes;
#else
    (void)seed;
    if (!more) now = NULL;
#endif
    network_step(&network, now);
    for (int i = 0; i < NETWORK_OUTPUTS; i++)
      printf("%.9g%c", (double)network_output(&network, i), i + 1 < NETWORK_OUTPUTS ? ' ' : '\n');
    if (margin >= 0 && network_decide(&network, margin) >= 0) break;
  }
  return 0;
}
