"""Cells and layers connected as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_spiking_bp.cells.base import Cell
from keras_spiking_bp.cells.composite import CELL_INPUT, JOINS, CompositeCell, Node
from keras_spiking_bp.cells.synapse import check_synapse

#: The name of the input.
INPUT = "input"


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class GraphCell(CompositeCell):
    """Runs cells and stateless Keras layers, connected as a graph, within the same time step.

    Each takes the outputs of one or more before it. The output of a stateless layer such as a convolution is a current:
    it may go to several cells, and is computed once. `keras.layers.Add` and `keras.layers.Concatenate` take several
    outputs. A residual block is thus an `Add` of two currents followed by neurons, and a linear bottleneck a
    convolution followed by none.

    Args:
        nodes: list of pairs `(layer, sources)` in execution order. `sources` is a list of the names of the layers whose
            outputs the layer takes, `"input"` for the input of the step; or one name. The last pair holds a cell, whose
            output is that of the graph.

    Shapes: inputs as the first layers accept them, outputs as the last cell returns them.

    Raises:
        TypeError: if an entry is not a layer.
        ValueError: if two layers have the same name, a source is not an earlier layer, the output of a layer is unused,
            a layer other than `Add` and `Concatenate` takes several outputs, the last layer is not a cell, a
            `ReadoutCell` is not the last, or a layer has an `activity_regularizer`.

    Example:
        >>> cell = GraphCell([
        ...     (LIFCell(keras.layers.Dense(8), name="left"), "input"),
        ...     (LIFCell(keras.layers.Dense(8), name="right"), "input"),
        ...     (keras.layers.Concatenate(name="both"), ["left", "right"]),
        ...     (ReadoutCell(keras.layers.Dense(3)), "both"),
        ... ])
        >>> SpikingRNN(cell)(np.ones((2, 5, 4), "float32")).shape
        TensorShape([2, 3])
    """

    def __init__(self, nodes: Sequence[tuple[keras.layers.Layer, Sequence[str] | str]], **kwargs: Any):
        super().__init__(**kwargs)
        self.layers: list[keras.layers.Layer] = []
        self.sources: list[list[str]] = []
        names = {INPUT}
        for i, (layer, sources) in enumerate(nodes):
            sources = [sources] if isinstance(sources, str) else list(sources)
            _check(i, layer, sources, names)
            names.add(layer.name)
            self.layers.append(layer)
            self.sources.append(sources)
        self.track_for_checkpoints(self.layers)
        if not self.layers or not isinstance(self.layers[-1], Cell):
            last = self.layers[-1] if self.layers else None
            raise ValueError(f"`nodes` must end in a cell, such as ReadoutCell. Received: {last!r}")
        for i, layer in enumerate(self.layers[:-1]):
            if isinstance(layer, Cell) and layer.emits == "potential":
                raise ValueError(f"`nodes` must have a readout at the end only. Received: nodes[{i}]={layer!r}")
        used = {name for sources in self.sources for name in sources}
        lost = [layer.name for layer in self.layers[:-1] if layer.name not in used]
        if lost:
            raise ValueError(f"`nodes` must lead to the last one. Received: {lost}, whose outputs no other takes")

    def nodes(self) -> list[Node]:
        names = [layer.name for layer in self.layers]
        return [
            Node(layer, tuple(CELL_INPUT if name == INPUT else names.index(name) for name in sources), layer.name)
            for layer, sources in zip(self.layers, self.sources, strict=True)
        ]

    def parts(self) -> list[keras.layers.Layer]:
        return list(self.layers)

    def get_config(self) -> dict[str, Any]:
        layers = [keras.saving.serialize_keras_object(layer) for layer in self.layers]
        return {**super().get_config(), "nodes": [list(node) for node in zip(layers, self.sources, strict=True)]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> GraphCell:
        config = dict(config)
        nodes = [
            (keras.saving.deserialize_keras_object(layer, custom_objects=custom_objects), sources)
            for layer, sources in config.pop("nodes")
        ]
        return cls(nodes, **config)


def _check(i: int, layer: keras.layers.Layer, sources: list[str], names: set[str]) -> None:
    """Rejects a pair of `nodes` that cannot be connected; `names` are those of earlier layers."""
    if not isinstance(layer, Cell):
        check_synapse(f"nodes[{i}]", layer)
    if layer.name in names:
        raise ValueError(f"`nodes` must have names of their own, other than 'input'. Received: {layer.name!r} twice")
    if not sources or not names.issuperset(sources):
        raise ValueError(
            f"`nodes[{i}]` ({layer.name!r}) must take outputs of layers before it, {sorted(names)}. Received: {sources}"
        )
    if isinstance(layer, JOINS) is (len(sources) == 1):
        raise ValueError(
            f"`nodes[{i}]` must take one output, or be an Add or Concatenate and take several. "
            f"Received: {layer.name!r} ({type(layer).__name__}) with {sources}"
        )
