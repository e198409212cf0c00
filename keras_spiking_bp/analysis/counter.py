"""Spikes and operations of each step, counted while a network runs."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.rnn.connections import INPUT, Connection
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.rnn.loop_weights import weights_prepared
from keras_spiking_bp.rnn.window_input import without_masked
from keras_spiking_bp.utils.broadcasting import per_sample, per_step


def counter(
    layer: SpikingRNN, paths: tuple[Connection, ...], fans: tuple[np.ndarray, ...]
) -> tf.types.experimental.PolymorphicFunction:
    """A function from inputs over time, and their mask, to what happens in each step, and total spike counts.

    In each step, all (B, T, ...): outputs, spikes, operations, and the number of steps so far that no mask skips.
    """
    cell = layer.cell
    spiking = [neuron.emits == "spikes" for neuron in cell.neurons()]
    names = [neuron.name for neuron, fires in zip(cell.neurons(), spiking, strict=True) if fires]

    def per_sample_sum(x):
        return tf.reduce_sum(tf.reshape(x, (tf.shape(x)[0], -1)), 1)

    @tf.function
    def count(sequences, mask=None):
        if sequences.dtype.is_bool or sequences.dtype.is_unsigned:  # lack what is needed below
            sequences = tf.cast(sequences, tf.float32)
        sequences, mask = without_masked(sequences, mask, layer.name)
        batch_size, num_steps = tf.shape(sequences)[0], tf.shape(sequences)[1]
        exists = tf.ones((batch_size, num_steps), tf.int32) if mask is None else tf.cast(mask, tf.int32)
        states = [neuron.initial_state(batch_size, recorded=True) for neuron in cell.neurons()]
        arrays = [tf.TensorArray(dtype, num_steps) for dtype in (tf.float32, tf.float32, tf.float64)]

        def step(t, states, seen, outputs, spikes, operations):
            inputs = tf.gather(sequences, t, axis=1)
            output, new = cell.step(inputs, states)
            total = tf.cast(output, tf.float32) + (seen if cell.emits == "spikes" else 0.0)
            if mask is not None:
                total, new = keras.tree.map_structure(
                    lambda now, old: tf.where(per_sample(mask[:, t], now), now, old), (total, new), (seen, states)
                )
            fired = {INPUT: tf.cast(inputs != 0, tf.float32)}
            counted = [(s, before) for s, before, fires in zip(new, states, spiking, strict=True) if fires]
            for name, (state, before) in zip(names, counted, strict=True):
                fired[name] = tf.cast(state["spike_count"] != before["spike_count"], tf.float32)
            sent = {
                neuron.name: tf.cast(state["membrane"] != 0, tf.float32)
                for neuron, state, fires in zip(cell.neurons(), new, spiking, strict=True)
                if not fires
            }
            fed_back = {
                neuron.name: tf.cast(state["fed_back"] != 0, tf.float32)
                for neuron, state in zip(cell.neurons(), states, strict=True)
                if "fed_back" in state
            }
            operations_now = [  # float64: spike counts times fan-outs exceed what float32 can hold
                per_sample_sum(tf.cast((fed_back if path.delayed else fired | sent)[path.source], tf.float64) * fan)
                for path, fan in (zip(paths, fans, strict=True) if fans else ())
            ]
            sums = tf.stack([per_sample_sum(x) for x in fired.values()], 1)
            reached = tf.stack(operations_now, 1) if fans else tf.zeros((batch_size, 0), tf.float64)
            here = exists[:, t, None]
            return (
                t + 1,
                new,
                total,
                outputs.write(t, total),
                spikes.write(t, sums * tf.cast(here, sums.dtype)),
                operations.write(t, reached * tf.cast(here, reached.dtype)),
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
        steps = tf.cumsum(exists, axis=1)
        outputs /= per_step(tf.cast(tf.maximum(steps, 1), tf.float32), outputs)
        totals = [  # max pooling passes on spikes of -1 too
            state.get("fired", state["spike_count"]) for state, fires in zip(states, spiking, strict=True) if fires
        ]
        is_spikes = tf.reduce_all((sequences == 0) | (tf.abs(sequences) == 1))
        return outputs, spikes, operations, steps, dict(zip(names, totals, strict=True)), is_spikes

    return count
