/* The same layers as an ordinary network, in place of network.c: a step computes all products, with ReLU for neurons.

   With int8 weights the activations are int8 too, as in quantised files; their scale is not calibrated: it changes the
   outputs, not the cost. No groups, no maximum. */
#include "weights.h"

#include <stddef.h>
#include <string.h>

#if NETWORK_INT8
typedef int8_t activation;
#else
typedef float activation;
#endif

static activation inputs[NETWORK_INPUTS], signals[NETWORK_SIGNALS];
static network_value sums[NETWORK_CURRENTS];

/* Adds the products of one place, eight sums at a time, as network.c does with its events. */
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define LOAD(k) of[k] = target[k];
#define ADD(k) of[k] += from[k] * value;
#define STORE(k) target[k] = of[k];
__attribute__((noinline)) static void add_products(
    const activation *source, int channels, const network_weight *weights, network_value *target, int outputs) {
  const int each = outputs;
  for (; outputs >= 8; outputs -= 8, weights += 8, target += 8) {
    network_value of[8];
    const network_weight *from = weights;
    EACH(LOAD)
    for (int i = 0; i < channels; i++, from += each) {
      const network_value value = source[i];
      EACH(ADD)
    }
    EACH(STORE)
  }
  for (int k = 0; k < outputs; k++)
    for (int i = 0; i < channels; i++) target[k] += weights[i * each + k] * source[i];
}

static void connect(const Connection *c) {
  const activation *source = c->source < 0 ? inputs : signals + c->source;
  network_value *target = sums;
  for (int y = 0; y < c->out_size[0]; y++)
    for (int x = 0; x < c->out_size[1]; x++, target += c->out_channels)
      for (int i = 0; i < c->kernel[0]; i++) {
        const int row = y * c->stride[0] - c->padding[0] + i * c->dilation[0];
        if (row < 0 || row >= c->size[0]) continue;
        for (int j = 0; j < c->kernel[1]; j++) {
          const int column = x * c->stride[1] - c->padding[1] + j * c->dilation[1];
          if (column < 0 || column >= c->size[1]) continue;
          const activation *from = source + (row * c->size[1] + column) * c->channels;
          if (c->weights == NULL) /* the window of each channel */
            for (int k = 0; k < c->channels; k++) target[k] += c->gain[k] * from[k];
          else
            add_products(from, c->channels, c->weights + (size_t)(i * c->kernel[1] + j) * c->channels * c->out_channels,
                         target, c->out_channels);
        }
      }
}

void network_reset(Network *network) {
  memset(signals, 0, sizeof signals);
}

uint32_t network_step(Network *network, const float *input) {
  for (int i = 0; i < NETWORK_INPUTS; i++) {
    const float x = input[i] * (NETWORK_INT8 ? 32 : NETWORK_SCALE);
    inputs[i] = (activation)(!NETWORK_INT8 ? x : x > 127 ? 127 : x >= -127 ? x : -127);
  }
  for (int i = 0; i < NETWORK_OPERATIONS; i++) {
    const Operation *o = &network_operations[i];
    for (int j = 0, c = 0; j < o->size; j++, c = c + 1 == o->period ? 0 : c + 1) sums[j] = o->bias ? o->bias[c] : 0;
    for (int j = 0; j < o->number; j++) connect(&o->connections[j]);
    if (o->kind == READOUT) {
      memcpy(network->values + o->membrane, sums, sizeof *sums * (size_t)o->size);
      continue;
    }
    for (int j = 0; j < o->size; j++) {
      network_value sum = sums[j];
#if NETWORK_INT8
      sum = (network_value)(((int64_t)sum * 1518500250 + (1ll << 37)) >> 38);
      if (sum > 127) sum = 127;
#endif
      signals[o->signals + j] = (activation)(sum < 0 ? 0 : sum);
    }
  }
  return 0;
}

float network_output(const Network *network, int i) {
  const float sum = (float)network->values[network_operations[NETWORK_OUTPUT].membrane + i];
  return network_output_units[i % NETWORK_OUTPUT_UNITS] * sum;
}

int network_decide(const Network *network, float margin) {
  (void)network, (void)margin;
  return -1;
}

void network_poisson(const float *image, uint32_t seed, uint32_t step, float *spikes) {
  (void)image, (void)seed, (void)step, (void)spikes;
}
