"""Recurrent layers of spiking neurons."""

from __future__ import annotations

from typing import Any

import keras

from keras_spiking_bp.cells.batch_norm import normalizations
from keras_spiking_bp.cells.composite import CELL_INPUT, CompositeCell, Node
from keras_spiking_bp.cells.lif import LIFCell
from keras_spiking_bp.cells.synapse import check_synapse
from keras_spiking_bp.gradients import surrogates
from keras_spiking_bp.utils.validation import named


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class RecurrentCell(CompositeCell):
    """A layer of neurons that also receives its own previous spikes, through a second synapse.

        I[t] = cell.synapse(inputs[t]) + recurrent(spikes[t-1])

    Before the first step there are no spikes; a bias of `recurrent` acts at every step. Dropout of `cell` acts on the
    spikes fed back, too. Requires `gradient="bptt"`: the chain rule on totals has no order of spikes. (`RLeaky` and,
    with `LIFCell(synaptic_beta=...)`, `RSynaptic` in snnTorch; `Linear -> CubaLIF` with an edge back in NIR.)

    Args:
        cell: a `LIFCell`: the synapse of the inputs, and the neurons. One without a surrogate gets
            `"fast_sigmoid"`: with the paper's derivative recurrent neurons do not learn.
        recurrent: a Keras layer from the spikes of `cell` to the shape of its current, such as
            `keras.layers.Dense(units, use_bias=False)` with as many units as neurons (all to all), or a convolution.

    Raises:
        TypeError: if `recurrent` is not a layer without neurons.
        ValueError: if `recurrent` returns another shape, or has a batch normalisation.

    Example:
        >>> cell = RecurrentCell(LIFCell(keras.layers.Dense(20)), keras.layers.Dense(20))
        >>> layer = SpikingRNN(cell, gradient="bptt", return_sequences=True)
        >>> layer(np.ones((2, 5, 4), "float32")).shape
        TensorShape([2, 5, 20])
    """

    part_names = ("cell", "recurrent")

    def __init__(self, cell: LIFCell, recurrent: keras.layers.Layer, **kwargs: Any):
        super().__init__(**kwargs)
        check_synapse("recurrent", recurrent)
        if normalizations(recurrent):
            raise ValueError(
                "`recurrent` must have no batch normalisation: the spikes that come back are not known before the "
                f"steps that need its statistics. Received: {named(recurrent)}"
            )
        self.cell, self.recurrent = cell, recurrent  # in this order, which is that of the weights
        self.cell.feeds_back = True
        self.cell.surrogate = cell.surrogate or surrogates.FastSigmoid()

    def nodes(self) -> list[Node]:
        return [
            Node(self.cell, (CELL_INPUT,), self.cell.name),
            Node(self.recurrent, (0,), f"{self.cell.name}_recurrent", delayed_to=0),
        ]


def recurrent_cells(cell: keras.layers.Layer) -> list[RecurrentCell]:
    """The recurrent cells in a cell tree."""
    return [part for part in cell._flatten_layers() if isinstance(part, RecurrentCell)]
