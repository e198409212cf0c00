"""Spikes and operations of each step, counted while a network runs."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.connections import INPUT, Connection
from keras_spiking_bp.loop_weights import weights_prepared
from keras_spiking_bp.rnn import SpikingRNN
from keras_spiking_bp.validation import finite


def counter(
    layer: SpikingRNN, paths: tuple[Connection, ...], fans: tuple[np.ndarray, ...]
) -> tf.types.experimental.PolymorphicFunction:
    """A function from inputs over time to outputs, spikes and operations of each step, and total spike counts."""
    cell = layer.cell
    spiking = [neuron.emits == "spikes" for neuron in cell.neurons()]
    names = [neuron.name for neuron, fires in zip(cell.neurons(), spiking, strict=True) if fires]

    def per_sample_sum(x):
        return tf.reduce_sum(tf.reshape(x, (tf.shape(x)[0], -1)), 1)

    @tf.function
    def count(sequences):
        if sequences.dtype.is_bool or sequences.dtype.is_unsigned:  # lack what is needed below
            sequences = tf.cast(sequences, tf.float32)
        if sequences.dtype.is_floating:
            sequences = finite("sequences", sequences, layer.name)
        batch_size, num_steps = tf.shape(sequences)[0], tf.shape(sequences)[1]
        states = [neuron.initial_state(batch_size, recorded=True) for neuron in cell.neurons()]
        arrays = [tf.TensorArray(dtype, num_steps) for dtype in (tf.float32, tf.float32, tf.float64)]

        def step(t, states, seen, outputs, spikes, operations):
            now = tf.cast(t + 1, tf.float32)
            inputs = tf.gather(sequences, t, axis=1)
            output, new = cell.step(inputs, states)
            fired = {INPUT: tf.cast(inputs != 0, tf.float32)}
            counted = [(s, before) for s, before, fires in zip(new, states, spiking, strict=True) if fires]
            for name, (state, before) in zip(names, counted, strict=True):
                fired[name] = tf.cast(state["spike_count"] != before["spike_count"], tf.float32)
            sent = {
                neuron.name: tf.cast(state["membrane"] != 0, tf.float32)
                for neuron, state, fires in zip(cell.neurons(), new, spiking, strict=True)
                if not fires
            }
            seen = seen + tf.cast(output, tf.float32)
            shown = seen if cell.emits == "spikes" else tf.cast(output, tf.float32)
            fed_back = {
                neuron.name: tf.cast(state["fed_back"] != 0, tf.float32)
                for neuron, state in zip(cell.neurons(), states, strict=True)
                if "fed_back" in state
            }
            reached = [  # float64: spike counts times fan-outs exceed what float32 can hold
                per_sample_sum(tf.cast((fed_back if path.delayed else fired | sent)[path.source], tf.float64) * fan)
                for path, fan in (zip(paths, fans, strict=True) if fans else ())
            ]
            return (
                t + 1,
                new,
                seen,
                outputs.write(t, shown / now),
                spikes.write(t, tf.stack([per_sample_sum(x) for x in fired.values()], 1)),
                operations.write(t, tf.stack(reached, 1) if reached else tf.zeros((batch_size, 0), tf.float64)),
            )

        zeros = tf.zeros((batch_size, *cell.output_shape_of_step))
        with weights_prepared(cell):  # as in the window: in a lower precision, folded weights round differently
            _, states, _, *arrays = tf.while_loop(
                lambda t, *_: t < num_steps,
                step,
                (tf.constant(0), states, zeros, *arrays),
                maximum_iterations=num_steps,
            )
        outputs, spikes, operations = (keras.ops.swapaxes(array.stack(), 0, 1) for array in arrays)
        totals = [  # max pooling passes on spikes of -1 too
            state.get("fired", state["spike_count"]) for state, fires in zip(states, spiking, strict=True) if fires
        ]
        is_spikes = tf.reduce_all((sequences == 0) | (tf.abs(sequences) == 1))
        return outputs, spikes, operations, dict(zip(names, totals, strict=True)), is_spikes

    return count
