"""The statistics of batch normalisation in synapses, taken from data."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_spiking_bp.cells.base import Cell
from keras_spiking_bp.cells.batch_norm import (
    learning_normalizations,
    moving_statistics,
    statistics_of_batch,
    untouched,
)
from keras_spiking_bp.rnn import derivative
from keras_spiking_bp.rnn.carried import Carried
from keras_spiking_bp.rnn.time_loop import changes_variables


def take_statistics(
    layer: Any,
    sequences: tf.Tensor,
    initial_state: list[tf.Tensor] | None = None,
    mask: tf.Tensor | None = None,
    runs: int | None = None,
) -> None:
    """Sets the moving statistics of batch normalisation in synapses to those of the given data, layer by layer.

    The network runs once for each such layer: each run corrects the statistics of one more layer. Does nothing if no
    such layer learns.

    Args:
        layer: the `SpikingRNN`.
        sequences, initial_state, mask: as in the call of the layer.
        runs: how many times the network runs; None for as many as all statistics need. 1 suffices for those after
            layers whose statistics are correct.
    """
    sequences, before, mask = layer.checked_inputs(sequences, initial_state, mask)
    if layers := learning_normalizations(layer.cell):
        values = _of_batch(layer.cell, sequences, before, mask, runs)
        for variable, value in zip(moving_statistics(layers), values, strict=True):
            variable.assign(value)


def take_first(cell: Cell, sequences: tf.Tensor, before: Carried, mask: tf.Tensor | None) -> None:
    """In the first training step: with mean 0 and variance 1 the last layers of a deep network are dead.

    Of the layers of which no statistics have been taken yet; on several devices each takes those of its share of the
    batch. It does not if one of these layers has `synchronized=True`, or a custom layer changes variables in its call.
    """
    layers = learning_normalizations(cell)
    if not layers:
        return
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    if several and (any(norm.synchronized for norm in layers) or changes_variables(cell)):
        return  # replicas cannot exchange values, nor update variables, within a cond
    first, variables = untouched(layers), moving_statistics(layers)
    values = tf.cond(
        tf.reduce_any(first),
        lambda: _of_batch(cell, sequences, before, mask, only=first),
        lambda: [tf.identity(variable.value) for variable in variables],
    )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _of_batch(
    cell: Cell,
    sequences: tf.Tensor,
    before: Carried,
    mask: tf.Tensor | None,
    runs: int | None = None,
    only: tf.Tensor | None = None,
) -> list[tf.Tensor]:
    def once() -> None:
        window = derivative.run(cell, sequences, before, mask, False, None, recorded=True)
        cell.accumulate(window.total_input, window.states, tf.maximum(window.num_steps, 1.0), training=True)

    return statistics_of_batch(cell, once, runs, only)
