/* A spiking network, run where its spikes are. Written by keras_spiking_bp; `README.md` beside it says how to use it.

       static Network network;
       network_reset(&network);
       network_step(&network, input);            one time step
       network_output(&network, i);              after any step
*/
#ifndef NETWORK_H
#define NETWORK_H

#include <stdint.h>

@SIZES@
#if NETWORK_INT8
typedef int8_t network_weight;
typedef int16_t network_input;
typedef int32_t network_value; /* currents in units of the scale of their weights, potentials in 1/256 of these */
#else
typedef float network_weight;
typedef float network_input;
typedef float network_value;
#endif

/* The states of one sample. */
typedef struct {
  network_value values[NETWORK_VALUES];     /* potentials, synaptic currents, the constant input of the first layers */
  network_value currents[NETWORK_CURRENTS]; /* of the layer that is being computed */
  network_signal signals[NETWORK_SIGNALS];  /* spikes of the last step, and what lies between layers */
  network_input input[NETWORK_INPUTS];
  int16_t counts[NETWORK_COUNTS]; /* of signed neurons: spikes so far */
} Network;

/* Brings all neurons to rest, before the first step of a sample. */
void network_reset(Network *network);

/* One time step; returns how many spikes were fired in it.
   `input`: NETWORK_INPUTS numbers, channels last. With NETWORK_CONSTANT_INPUT, NULL at later steps: the same again. */
uint32_t network_step(Network *network, const float *input);

/* Output i < NETWORK_OUTPUTS after a step: the membrane potential of the readout, or the last spikes. */
float network_output(const Network *network, int i);

/* The largest output, if it is ahead of all others by `margin`; else -1. */
int network_decide(const Network *network, float margin);

/* The spikes of a step, 0 to T - 1, of a Poisson code of an image: its sign with probability NETWORK_SCALE |image|, or 0.
   The same as keras_spiking_bp.export.poisson_spikes. */
void network_poisson(const float *image, uint32_t seed, uint32_t step, float *spikes);

#endif
