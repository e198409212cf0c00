"""The residual block: two currents into one layer of neurons."""

from __future__ import annotations

from typing import Any

import keras

from keras_spiking_bp.cells.base import Cell
from keras_spiking_bp.cells.composite import CELL_INPUT, CompositeCell, Node
from keras_spiking_bp.cells.lif import LIFCell
from keras_spiking_bp.cells.synapse import check_synapse


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class ResidualCell(CompositeCell):
    """A body of cells and a shortcut around it, whose currents sum in one layer of LIF neurons.

        I[t] = junction.synapse(body(inputs[t])) + shortcut(inputs[t])

    There is no neuron on the shortcut (arXiv 1903.06379, residual networks).

    Args:
        body: a cell that emits spikes, such as `LIFCell(Conv2D(...))`.
        junction: a `LIFCell`; its synapse is the last of the main path, its neurons get both currents.
        shortcut: a Keras layer from the inputs to the shape of the junction's current; None for the identity.

    Raises:
        TypeError: if `shortcut` is not a layer without neurons.
        ValueError: if the two currents differ in shape.

    Example:
        >>> conv = lambda: keras.layers.Conv2D(4, 3, padding="same", use_bias=False)
        >>> block = ResidualCell(body=LIFCell(conv()), junction=LIFCell(conv()))
        >>> SpikingRNN(block)(np.ones((1, 5, 8, 8, 4), "float32")).shape
        TensorShape([1, 8, 8, 4])
    """

    part_names = ("body", "junction", "shortcut")

    def __init__(
        self,
        body: Cell,
        junction: LIFCell,
        shortcut: keras.layers.Layer | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.body = body
        self.junction = junction
        self.shortcut = None if shortcut is None else check_synapse("shortcut", shortcut)

    def nodes(self) -> list[Node]:
        nodes = [Node(self.body, (CELL_INPUT,), self.body.name)]
        if self.shortcut is not None:
            nodes.append(Node(self.shortcut, (CELL_INPUT,), f"{self.junction.name}_shortcut"))
        return [*nodes, Node(self.junction, (0, CELL_INPUT if self.shortcut is None else 1), self.junction.name)]
