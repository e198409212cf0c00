"""The statistics of batch normalisation in synapses, taken from data."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_spiking_bp.cells.batch_norm import BatchStatistics, learning_normalizations
from keras_spiking_bp.rnn.time_loop import run_window


def take_statistics(layer: Any, sequences: tf.Tensor, mask: tf.Tensor | None = None) -> None:
    """Sets the moving statistics of batch normalisation in synapses to those of the given data.

    Args:
        layer: the `SpikingRNN`.
        sequences, mask: as in the call of the layer.
    """
    sequences, before, mask = layer.checked_inputs(sequences, None, mask)
    if learning_normalizations(layer.cell):
        statistics = BatchStatistics(momentum=0.0)
        states = [
            neuron.initial_state(tf.shape(sequences)[0], state)
            for neuron, state in zip(layer.cell.neurons(), before.neurons, strict=True)
        ]
        run_window(
            layer.cell, sequences, states, mask,
            keep_outputs=False, zero_output_for_mask=False, unroll=False, differentiable=False, statistics=statistics,
        )  # fmt: skip
