/* What weights.c holds: the operations of a step, in order, and their numbers. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "network.h"

#if NETWORK_INT8
typedef int32_t network_leak; /* beta * 2^16 */
#else
typedef float network_leak;
#endif

/* From a source to the currents of an operation: a convolution, of which all other kinds are cases. */
typedef struct {
  const network_weight *weights; /* (kernel, kernel, channels / groups, out_channels), or NULL: `gain` for each output */
  const network_value *gain;
  int32_t source; /* where its signals start; -1: the input */
  int32_t size[2], channels;
  int32_t out_size[2], out_channels, target_channels, target_offset; /* the last differ for parts that are joined */
  int32_t kernel[2], stride[2], padding[2], dilation[2], groups;     /* padding: before the first row and column */
} Connection;

enum { NEURONS, READOUT, PASS, MAXIMUM };

typedef struct {
  int32_t kind, size, period; /* parameters repeat after `period` neurons */
  const Connection *connections;
  int32_t number, from_input; /* connections in all; whether one is from the input */
  int32_t membrane, synaptic, constant, signals, counts; /* where its states start in those of the network */
  int32_t is_signed, resets_to_zero, counted;
  const network_value *bias, *threshold, *start;
  const network_leak *beta, *synaptic_beta;
} Operation;

extern const Operation network_operations[NETWORK_OPERATIONS];
extern const float network_output_units[NETWORK_OUTPUT_UNITS];

#endif
