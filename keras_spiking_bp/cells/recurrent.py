"""Recurrent layers of spiking neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp import surrogates
from keras_spiking_bp.cells.base import CellOfParts, State, nearest
from keras_spiking_bp.cells.lif import LIFCell
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.cells.synapse import build_part, build_synapse, check_synapse, current_of, total_of
from keras_spiking_bp.validation import check_static_shape


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class RecurrentCell(CellOfParts):
    """A layer of neurons that also receives its own previous spikes, through a second synapse.

        I[t] = cell.synapse(inputs[t]) + recurrent(spikes[t-1])

    Before the first step there are no spikes; a bias of `recurrent` acts at every step. Dropout of `cell` acts on the
    spikes fed back, too. Requires `gradient="bptt"`: the chain rule on totals has no order of spikes. (`RLeaky` and,
    with `LIFCell(synaptic_beta=...)`, `RSynaptic` in snnTorch; `Linear -> CubaLIF` with an edge back in NIR.)

    Args:
        cell: a `LIFCell`: the synapse of the inputs, and the neurons. One without a surrogate gets `"atan"`: with the
            paper's derivative recurrent neurons do not learn.
        recurrent: a Keras layer from the spikes of `cell` to the shape of its current, such as
            `keras.layers.Dense(units, use_bias=False)` with as many units as neurons (all to all), or a convolution.

    Raises:
        TypeError: if `cell` is not a `LIFCell` or `recurrent` not a layer without neurons.
        ValueError: if `recurrent` returns another shape, or `cell` is already in a `RecurrentCell`.

    Example:
        >>> cell = RecurrentCell(LIFCell(keras.layers.Dense(20)), keras.layers.Dense(20))
        >>> layer = SpikingRNN(cell, gradient="bptt", return_sequences=True)
        >>> layer(np.ones((2, 5, 4), "float32")).shape
        TensorShape([2, 5, 20])
    """

    part_names = ("cell", "recurrent")

    def __init__(self, cell: LIFCell, recurrent: keras.layers.Layer, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(cell, LIFCell):
            raise TypeError(f"`cell` must be a LIFCell. Received: cell={cell!r} (type {type(cell).__name__})")
        if cell.feeds_back:
            raise ValueError(f"`cell` must not be in another RecurrentCell already. Received: cell={cell!r}")
        check_synapse("recurrent", recurrent)
        self.cell, self.recurrent = cell, recurrent  # in this order, which is that of the weights
        self.cell.feeds_back = True
        self.cell.surrogate = cell.surrogate or surrogates.ATan()

    def neurons(self) -> list[NeuronCell]:
        return [self.cell]

    def sources(self, before: Sequence[keras.layers.Layer] = ()) -> list[list[keras.layers.Layer]]:
        return [[*nearest([self.cell.synapse], before), self.recurrent]]

    def affine_parts(self) -> list[tuple[keras.layers.Layer, tuple[int, ...]]]:
        return [*self.cell.affine_parts(), (self.recurrent, self.output_shape_of_step)]

    def build(self, input_shape: tuple) -> None:
        self.input_shape_of_step = check_static_shape("input_shape", input_shape[1:])
        self.output_shape_of_step = build_part(self.cell, self.input_shape_of_step)
        _, back = build_synapse(self.recurrent, (None, *self.output_shape_of_step))
        if back != self.output_shape_of_step:
            raise ValueError(
                "`recurrent` must give a current of the shape that the synapse of `cell` gives. Received: "
                f"{back} from {self.recurrent.name!r}, {self.output_shape_of_step} from {self.cell.synapse.name!r}"
            )
        self.built = True

    def step(self, inputs: tf.Tensor, states: list[State]) -> tuple[tf.Tensor, list[State]]:
        """One time step."""
        (state,) = states
        current = current_of(self.cell.synapse, inputs) + current_of(self.recurrent, state["fed_back"])
        spikes, new = self.cell.fire(current, state)
        return spikes, [new]

    def accumulate(
        self, total_inputs: tf.Tensor, states: list[State], num_steps: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """The spike counts of the window, for the statistics of batch normalisation; their derivative is unused.

        The spikes fed back are those of all steps but the last, and of the step before the window.
        """
        (state,) = states
        count = state["spike_count"] * state.get("keep", 1.0)
        net = total_of(self.cell.synapse, total_inputs, num_steps, training)
        net += total_of(self.recurrent, state["first_fed_back"] + count - state["fed_back"], num_steps, training)
        return self.cell.count_spikes(net, state, num_steps)


def recurrent_cells(cell: keras.layers.Layer) -> list[RecurrentCell]:
    """The recurrent cells in a cell tree."""
    return [part for part in cell._flatten_layers() if isinstance(part, RecurrentCell)]
