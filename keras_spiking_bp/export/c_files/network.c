/* The operations of a spiking network. Which ones this network has is in weights.c. */
#include "weights.h"

#include <stddef.h>

#if NETWORK_INT8
static int32_t saturated(int64_t x) {
  return (int32_t)(x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : x);
}

/* x / 2^bits, rounded to the nearest integer, halves up. */
static int64_t shifted(int64_t x, int bits) {
  const int64_t one = (int64_t)1 << bits, y = x + one / 2;
  return y >= 0 ? y / one : -((one - 1 - y) / one);
}

static int32_t sum(int32_t a, int64_t b) { return saturated(a + b); }
static int32_t leaked(int32_t x, int32_t beta) { return (int32_t)shifted((int64_t)x * beta, 16); }
static int64_t charge(int32_t current) { return (int64_t)current * 256; }
#else
static float sum(float a, float b) { return a + b; }
static float leaked(float x, float beta) { return x * beta; }
static float charge(float current) { return current; }
#endif

/* Adds what `value` at one place of the source brings to the currents of all its targets. */
static void scatter(const Connection *c, int y, int x, int channel, network_value value, network_value *currents) {
  const int outputs = c->out_channels / c->groups;       /* of a group */
  const int inputs = c->channels / c->groups;
  const int group = channel / inputs;
  for (int i = 0; i < c->kernel[0]; i++) {
    const int row = y + c->padding[0] - i * c->dilation[0];
    if (row < 0 || row % c->stride[0] || row / c->stride[0] >= c->out_size[0]) continue;
    for (int j = 0; j < c->kernel[1]; j++) {
      const int column = x + c->padding[1] - j * c->dilation[1];
      if (column < 0 || column % c->stride[1] || column / c->stride[1] >= c->out_size[1]) continue;
      const int place = row / c->stride[0] * c->out_size[1] + column / c->stride[1];
      const int first = group * outputs;
      network_value *target = currents + place * c->target_channels + c->target_offset + first;
      if (c->weights == NULL) {
        for (int k = 0; k < outputs; k++) target[k] += c->gain[first + k] * value;
        continue;
      }
      const network_weight *weights =
          c->weights + ((size_t)(i * c->kernel[1] + j) * inputs + channel % inputs) * c->out_channels + first;
      if (value == 1) {
        for (int k = 0; k < outputs; k++) target[k] += weights[k];
      } else {
        for (int k = 0; k < outputs; k++) target[k] += weights[k] * value;
      }
    }
  }
}

/* Adds what all events of a source bring. */
static void from_signals(const Connection *c, const network_signal *source, network_value *currents) {
  for (int y = 0; y < c->size[0]; y++)
    for (int x = 0; x < c->size[1]; x++)
      for (int channel = 0; channel < c->channels; channel++, source++)
        if (*source) scatter(c, y, x, channel, *source, currents);
}

static void from_input(const Connection *c, const network_input *source, network_value *currents) {
  for (int y = 0; y < c->size[0]; y++)
    for (int x = 0; x < c->size[1]; x++)
      for (int channel = 0; channel < c->channels; channel++, source++)
        if (*source) scatter(c, y, x, channel, *source, currents);
}

static void clear(network_value *values, int number) {
  for (int i = 0; i < number; i++) values[i] = 0;
}

/* The currents from the input, with its bits behind the point. */
static void input_currents(Network *network, const Operation *o) {
  clear(network->currents, o->size);
  for (int i = 0; i < o->number; i++)
    if (o->connections[i].source < 0) from_input(&o->connections[i], network->input, network->currents);
}

/* The currents of this step, from signals. */
static void gather(Network *network, const Operation *o) {
  if (o->from_input && !NETWORK_CONSTANT_INPUT) {
    input_currents(network, o);
#if NETWORK_INT8
    if (NETWORK_INPUT_BITS)
      for (int i = 0; i < o->size; i++)
        network->currents[i] = (int32_t)shifted(network->currents[i], NETWORK_INPUT_BITS);
#endif
  } else {
    clear(network->currents, o->size);
  }
  for (int i = 0; i < o->number; i++)
    if (o->connections[i].source >= 0)
      from_signals(&o->connections[i], network->signals + o->connections[i].source, network->currents);
}

/* Of the input that is the same at all steps, or NULL. */
static const network_value *constant_of(const Network *network, const Operation *o) {
  return NETWORK_CONSTANT_INPUT && o->from_input ? network->values + o->constant : NULL;
}

/* Integrate, fire, reset, leak. */
static uint32_t fire(Network *network, const Operation *o) {
  network_value *membrane = network->values + o->membrane;
  network_value *synaptic = o->synaptic_beta ? network->values + o->synaptic : NULL;
  const network_value *constant = constant_of(network, o);
  int16_t *net = network->counts + o->counts;
  network_signal *signals = network->signals + o->signals;
  uint32_t fired = 0;
  for (int i = 0, c = 0; i < o->size; i++, c = c + 1 == o->period ? 0 : c + 1) {
    network_value current = sum(o->bias[c], charge(network->currents[i]));
    if (constant) current = sum(current, constant[i]);
    if (synaptic) current = synaptic[i] = sum(leaked(synaptic[i], o->synaptic_beta[c]), current);
    network_value v = sum(membrane[i], current);
    if (o->kind == READOUT) {
      membrane[i] = leaked(v, o->beta[c]);
      continue;
    }
    int spike = v > o->threshold[c];
    if (o->is_signed) {
      if (v < 0 && net[i] > 0) spike = -1;
      net[i] = (int16_t)(net[i] + spike);
    }
    if (spike) {
      fired++;
      v = o->resets_to_zero ? 0 : spike > 0 ? sum(v, -o->threshold[c]) : sum(v, o->threshold[c]);
    }
    signals[i] = (network_signal)spike;
    membrane[i] = leaked(v, o->beta[c]);
  }
  return fired;
}

/* Sums and averages as they are, without neurons. */
static void pass(Network *network, const Operation *o) {
  const network_value *constant = constant_of(network, o);
  network_signal *signals = network->signals + o->signals;
  for (int i = 0, c = 0; i < o->size; i++, c = c + 1 == o->period ? 0 : c + 1)
    signals[i] = (network_signal)(network->currents[i] + (constant ? constant[i] : 0) + (o->bias ? o->bias[c] : 0));
}

/* The maximum of a window: of the spikes, or what it gains of their counts, which are in `membrane`. */
static void maximum(Network *network, const Operation *o) {
  const Connection *c = o->connections;
  const network_signal *source = network->signals + c->source;
  network_value *seen = o->counted ? network->values + o->membrane : NULL;
  const int number = c->size[0] * c->size[1] * c->channels;
  for (int i = 0; seen && i < number; i++) seen[i] += source[i];
  for (int y = 0; y < c->out_size[0]; y++)
    for (int x = 0; x < c->out_size[1]; x++)
      for (int channel = 0; channel < c->channels; channel++) {
        network_value now = 0, before = 0;
        int first = 1;
        for (int i = 0; i < c->kernel[0]; i++)
          for (int j = 0; j < c->kernel[1]; j++) {
            const int row = y * c->stride[0] + i - c->padding[0], column = x * c->stride[1] + j - c->padding[1];
            if (row < 0 || column < 0 || row >= c->size[0] || column >= c->size[1]) continue;
            const int place = (row * c->size[1] + column) * c->channels + channel;
            const network_value value = seen ? seen[place] : source[place];
            const network_value old = seen ? seen[place] - source[place] : 0;
            if (first || value > now) now = value;
            if (first || old > before) before = old;
            first = 0;
          }
        network->signals[o->signals + (y * c->out_size[1] + x) * c->channels + channel] =
            (network_signal)(now - before);
      }
}

static void take(Network *network, const float *input) {
  for (int i = 0; i < NETWORK_INPUTS; i++) {
#if NETWORK_INT8
    const float x = input[i] * (float)(1 << NETWORK_INPUT_BITS), limit = NETWORK_INPUT_LIMIT;
    const float y = x > limit ? limit : x < -limit ? -limit : x;
    network->input[i] = (network_input)(y < 0 ? y - 0.5f : y + 0.5f);
#else
    network->input[i] = input[i];
#endif
  }
  for (int i = 0; NETWORK_CONSTANT_INPUT && i < NETWORK_OPERATIONS; i++) {
    const Operation *o = &network_operations[i];
    if (!o->from_input) continue;
    input_currents(network, o);
    for (int j = 0; j < o->size; j++)
#if NETWORK_INT8
      network->values[o->constant + j] = saturated(shifted(charge(network->currents[j]), NETWORK_INPUT_BITS));
#else
      network->values[o->constant + j] = network->currents[j];
#endif
  }
}

void network_reset(Network *network) {
  clear(network->values, NETWORK_VALUES);
  for (int i = 0; i < NETWORK_SIGNALS; i++) network->signals[i] = 0;
  for (int i = 0; i < NETWORK_COUNTS; i++) network->counts[i] = 0;
  for (int i = 0; i < NETWORK_OPERATIONS; i++) {
    const Operation *o = &network_operations[i];
    for (int j = 0; o->start && j < o->size; j++) network->values[o->membrane + j] = o->start[j % o->period];
  }
  network->step = 0;
}

uint32_t network_step(Network *network, const float *input) {
  uint32_t fired = 0;
  if (input) take(network, input);
  for (int i = 0; i < NETWORK_OPERATIONS; i++) {
    const Operation *o = &network_operations[i];
    if (o->kind == MAXIMUM) {
      maximum(network, o);
      continue;
    }
    gather(network, o);
    if (o->kind == PASS)
      pass(network, o);
    else
      fired += fire(network, o);
  }
  network->step++;
  return fired;
}

float network_output(const Network *network, int i) {
  const Operation *last = &network_operations[NETWORK_OUTPUT];
  const float unit = network_output_units[i % NETWORK_OUTPUT_UNITS];
  if (last->kind == READOUT) return unit * (float)network->values[last->membrane + i];
  return unit * (float)network->signals[last->signals + i];
}

int network_decide(const Network *network, float margin) {
  int best = 0;
  float second = -3.0e38f;
  for (int i = 1; i < NETWORK_OUTPUTS; i++) {
    const float output = network_output(network, i), largest = network_output(network, best);
    if (output > largest) {
      second = largest;
      best = i;
    } else if (output > second) {
      second = output;
    }
  }
  return network_output(network, best) - second >= margin * (float)network->step ? best : -1;
}

/* A hash of 32 bits (Wellons' lowbias32). */
static uint32_t mixed(uint32_t x) {
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

void network_poisson(const float *image, uint32_t seed, uint32_t step, float *spikes) {
  const uint32_t key = mixed(mixed(seed) + step);
  for (uint32_t i = 0; i < NETWORK_INPUTS; i++) {
    const float drawn = (float)(mixed(mixed(key + i) ^ key) >> 8) / 16777216.0f;
    const float rate = NETWORK_SCALE * image[i];
    spikes[i] = drawn < rate ? 1.0f : drawn < -rate ? -1.0f : 0.0f;
  }
}
