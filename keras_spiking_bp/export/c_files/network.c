/* The operations of a spiking network. Which ones this network has is in weights.c. */
#include "weights.h"

#include <stddef.h>

#ifdef __GNUC__
#define INLINED static inline __attribute__((always_inline))
#else
#define INLINED static inline
#endif

#if NETWORK_INT8
static int32_t saturated(int64_t x) {
  if ((uint64_t)x + 0x80000000u <= UINT32_MAX) return (int32_t)x;
  return x > 0 ? INT32_MAX : INT32_MIN;
}

/* x / 2^bits, rounded to the nearest integer, halves up; unsigned, since >> of negative numbers is up to the compiler. */
static int64_t shifted(int64_t x, int bits) {
  const uint64_t half = (uint64_t)1 << bits >> 1, above = (uint64_t)1 << 63;
  return (int64_t)(((uint64_t)x + half + above) >> bits) - (int64_t)(above >> bits);
}

static int32_t sum(int32_t a, int32_t b) {
  const uint32_t wrapped = (uint32_t)a + (uint32_t)b;
  if (((wrapped ^ (uint32_t)a) & (wrapped ^ (uint32_t)b)) >> 31) return a < 0 ? INT32_MIN : INT32_MAX;
  return (int32_t)wrapped;
}
static int32_t leaked(int32_t x, int32_t beta) { return (int32_t)shifted((int64_t)x * beta, 16); }
static int32_t charged(int32_t bias, int32_t current) { return saturated((int64_t)current * 256 + bias); }
#else
static float sum(float a, float b) { return a + b; }
static float leaked(float x, float beta) { return x * beta; }
static float charged(float bias, float current) { return bias + current; }
#endif

enum { MOST = 32 };

/* What is not zero at one place of a source. */
typedef struct {
  int number;
  int32_t weights[MOST], target[MOST]; /* where those of its channel start */
  network_value value[MOST];
} Events;

static void add_event(const Connection *c, Events *events, int channel, network_value value) {
  const int inputs = c->channels / c->groups, group = channel / inputs, i = events->number++;
  events->target[i] = c->out_channels / c->groups * group;
  events->weights[i] = channel % inputs * c->out_channels + events->target[i];
  events->value[i] = value;
}

/* Adds what events bring to the same targets, eight at a time: their sums stay in registers. */
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define LOAD(k) sums[k] = target[k];
#define ADD(k) sums[k] += from[k] * value;
#define STORE(k) target[k] = sums[k];
static void add_weights(const Events *events, const network_weight *weights, network_value *target, int outputs) {
  for (; outputs >= 8; outputs -= 8, weights += 8, target += 8) {
    network_value sums[8];
    EACH(LOAD)
    for (int i = 0; i < events->number; i++) {
      const network_weight *from = weights + events->weights[i];
      const network_value value = events->value[i];
      EACH(ADD)
    }
    EACH(STORE)
  }
  for (int k = 0; k < outputs; k++)
    for (int i = 0; i < events->number; i++) target[k] += weights[events->weights[i] + k] * events->value[i];
}

/* Adds what events at one place of the source bring to the currents of all their targets. */
static void scatter(const Connection *c, int y, int x, const Events *events, network_value *currents) {
  const int outputs = c->out_channels / c->groups; /* of a group */
  const int top = y + c->padding[0], left = x + c->padding[1];
  /* where there is a stride there is no dilation: the weights that meet a target are `stride` apart */
  for (int i = top % c->stride[0], row = top / c->stride[0]; i < c->kernel[0] && row >= 0;
       i += c->stride[0], row -= c->dilation[0]) {
    if (row >= c->out_size[0]) continue;
    for (int j = left % c->stride[1], column = left / c->stride[1]; j < c->kernel[1] && column >= 0;
         j += c->stride[1], column -= c->dilation[1]) {
      if (column >= c->out_size[1]) continue;
      network_value *target = currents + (row * c->out_size[1] + column) * c->target_channels + c->target_offset;
      const size_t place = (size_t)(i * c->kernel[1] + j) * (c->channels / c->groups) * c->out_channels;
      if (c->weights == NULL)
        for (int e = 0; e < events->number; e++)
          target[events->target[e]] += c->gain[events->target[e]] * events->value[e];
      else if (c->groups == 1)
        add_weights(events, c->weights + place, target, outputs);
      else
        for (int e = 0; e < events->number; e++)
          for (int k = 0; k < outputs; k++)
            target[events->target[e] + k] += c->weights[place + events->weights[e] + k] * events->value[e];
    }
  }
}

static int four_zeros(const network_signal *s) { return (s[0] == 0) & (s[1] == 0) & (s[2] == 0) & (s[3] == 0); }

/* Adds what all events of a source bring. */
static void from_signals(const Connection *c, const network_signal *source, network_value *currents) {
  Events events = {0};
  for (int y = 0; y < c->size[0]; y++)
    for (int x = 0; x < c->size[1]; x++, source += c->channels) {
      for (int channel = 0; channel < c->channels; channel++) {
        while (channel + 4 <= c->channels && four_zeros(source + channel)) channel += 4;
        if (channel < c->channels && source[channel]) add_event(c, &events, channel, source[channel]);
        if (events.number == MOST || (events.number && channel + 1 >= c->channels)) {
          scatter(c, y, x, &events, currents);
          events.number = 0;
        }
      }
    }
}

static void from_input(const Connection *c, const network_input *source, network_value *currents) {
  Events events = {0};
  for (int y = 0; y < c->size[0]; y++)
    for (int x = 0; x < c->size[1]; x++)
      for (int channel = 0; channel < c->channels; channel++, source++) {
        if (*source) add_event(c, &events, channel, *source);
        if (events.number == MOST || (events.number && channel + 1 == c->channels)) {
          scatter(c, y, x, &events, currents);
          events.number = 0;
        }
      }
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

/* Integrate, fire, reset, leak. `plain`: neurons without synaptic or constant currents, and not signed. */
INLINED uint32_t fire(Network *network, const Operation *o, const int plain) {
  network_value *membrane = network->values + o->membrane;
  network_value *synaptic = o->synaptic_beta ? network->values + o->synaptic : NULL;
  const network_value *constant = constant_of(network, o), *currents = network->currents;
  const network_value *bias = o->bias, *threshold = o->threshold;
  const network_leak *beta = o->beta;
  int16_t *net = network->counts + o->counts;
  network_signal *signals = network->signals + o->signals;
  const int size = o->size, period = o->period, to_zero = o->resets_to_zero;
  uint32_t fired = 0;
  for (int i = 0, c = 0; i < size; i++, c = c + 1 == period ? 0 : c + 1) {
    network_value current = charged(bias[c], currents[i]);
    if (!plain && constant) current = sum(current, constant[i]);
    if (!plain && synaptic) current = synaptic[i] = sum(leaked(synaptic[i], o->synaptic_beta[c]), current);
    network_value v = sum(membrane[i], current);
    if (!plain && o->kind == READOUT) {
      membrane[i] = leaked(v, beta[c]);
      continue;
    }
    int spike = v > threshold[c];
    if (!plain && o->is_signed) {
      if (v < 0 && net[i] > 0) spike = -1;
      if (net[i] < INT16_MAX || spike < 0) net[i] = (int16_t)(net[i] + spike);
    }
    if (spike) {
      fired++;
      v = to_zero ? 0 : spike > 0 ? sum(v, -threshold[c]) : sum(v, threshold[c]);
    }
    signals[i] = (network_signal)spike;
    membrane[i] = leaked(v, beta[c]);
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
    const float y = x > limit ? limit : x >= -limit ? x : -limit; /* of NaN -limit */
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
      network->values[o->constant + j] = saturated(shifted((int64_t)network->currents[j] * 256, NETWORK_INPUT_BITS));
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
    else if (o->kind == NEURONS && !o->synaptic_beta && !o->is_signed && !constant_of(network, o))
      fired += fire(network, o, 1);
    else
      fired += fire(network, o, 0);
  }
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
  return network_output(network, best) - second > margin ? best : -1;
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
