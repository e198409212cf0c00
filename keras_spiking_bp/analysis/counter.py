"""Spikes and operations of each step, counted while a network runs."""

import numpy as np
import tensorflow as tf

from keras_spiking_bp.rnn.connections import INPUT, Connection
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.rnn.time_loop import Trace, run_window
from keras_spiking_bp.rnn.window import without_masked
from keras_spiking_bp.utils.broadcasting import per_step


def counter(
    layer: SpikingRNN, paths: tuple[Connection, ...], fans: tuple[np.ndarray, ...]
) -> tf.types.experimental.PolymorphicFunction:
    """A function from inputs over time, and their mask, to what happens.

    In each step, (B, T, ...): `outputs`, `spikes`, `operations`, and `steps`, the number so far that no mask skips. For
    each sample, (B, ...): `totals` of the spikes of each layer, and whether its input `is_spikes`.
    """
    cell, neurons = layer.cell, layer.cell.neurons()
    spiking = [neuron.emits == "spikes" for neuron in neurons]

    def of_step(inputs, before, after):
        """The spikes of each layer, and the operations that they cause, of each sample."""
        sent, fed_back = {INPUT: inputs != 0}, {}
        for neuron, fires, old, new in zip(neurons, spiking, before, after, strict=True):
            sent[neuron.name] = new["spike_count"] != old["spike_count"] if fires else new["membrane"] != 0
            if "fed_back" in old:
                fed_back[neuron.name] = old["fed_back"] != 0
        fired = [sent[name] for name, fires in zip(sent, (True, *spiking), strict=True) if fires]
        operations = [  # float64: spike counts times fan-outs exceed what float32 can hold
            _sum_of_sample(tf.cast((fed_back if path.delayed else sent)[path.source], tf.float64) * fan)
            for path, fan in zip(paths, fans, strict=False)  # no `fans` where operations cannot be counted
        ]
        none = tf.zeros((tf.shape(inputs)[0], 0), tf.float64)
        sums = [_sum_of_sample(tf.cast(x, tf.float32)) for x in fired]
        return [tf.stack(sums, 1), tf.stack(operations, 1) if operations else none]

    @tf.function(autograph=False)
    def count(sequences, mask=None):
        if sequences.dtype.is_bool or sequences.dtype.is_unsigned:  # lack what is needed below
            sequences = tf.cast(sequences, tf.float32)
        sequences, mask = without_masked(sequences, mask, layer.name)
        sums = cell.emits == "spikes"
        start = [neuron.initial_state(tf.shape(sequences)[0], recorded=True) for neuron in neurons]
        how = {"keep_outputs": True, "zero_output_for_mask": sums, "unroll": False, "differentiable": False}
        window = run_window(cell, sequences, start, mask, trace=Trace(of_step, (tf.float32, tf.float64)), **how)
        exists = tf.ones(tf.shape(sequences)[:2], tf.int32) if mask is None else tf.cast(mask, tf.int32)
        steps = tf.cumsum(exists, axis=1)
        outputs = tf.cumsum(window.outputs, axis=1) if sums else window.outputs
        outputs /= per_step(tf.cast(tf.maximum(steps, 1), tf.float32), outputs)
        spikes, operations = (of * tf.cast(exists[..., None], of.dtype) for of in window.traces)
        totals = {  # max pooling passes on spikes of -1 too
            neuron.name: state.get("fired", state["spike_count"])
            for neuron, state, fires in zip(neurons, window.states, spiking, strict=True)
            if fires
        }
        is_spikes = tf.reshape((sequences == 0) | (tf.abs(sequences) == 1), (tf.shape(steps)[0], -1))
        of_steps = {"outputs": outputs, "spikes": spikes, "operations": operations, "steps": steps}
        return {**of_steps, "totals": totals, "is_spikes": tf.reduce_all(is_spikes, 1)}

    return count


def _sum_of_sample(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.reshape(x, (tf.shape(x)[0], -1)), 1)
