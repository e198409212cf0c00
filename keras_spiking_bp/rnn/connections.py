"""Connections in a network of cells."""

from __future__ import annotations

import collections
import dataclasses

import keras

from keras_spiking_bp.cells import Cell
from keras_spiking_bp.cells.composite import CELL_INPUT
from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.cells.walk import flat
from keras_spiking_bp.utils.layer_kinds import ONE_TO_ONE, POOLING, parts_of

#: The target of the paths that leave the last neurons.
OUTPUT = "(output)"


@dataclasses.dataclass(frozen=True)
class Connection:
    """A path from one layer of neurons to the next.

    Attributes:
        source: name of the sending neurons, or `INPUT`.
        target: name of the neurons whose current it adds to.
        layers: what a spike passes through, in order, with each `Add` and `Concatenate`; empty for the identity.
        source_shape: shape of the output of the source, without the batch.
        delayed: whether spikes arrive in the next step: those fed back in a `RecurrentCell`.
        sums: shapes of the outputs of the `Add` among the layers, in order.
        number: of this path among those with the same source and target, from 1.
    """

    source: str
    target: str
    layers: tuple[keras.layers.Layer, ...]
    source_shape: tuple[int, ...]
    delayed: bool = False
    sums: tuple[tuple[int, ...], ...] = ()
    number: int = 1

    @property
    def name(self) -> str:
        return f"{self.source} -> {self.target}" + (f" ({self.number})" if self.number > 1 else "")

    def is_pooling(self) -> bool:
        """Whether it has no weights to multiply with: pooling, or the identity."""
        parts = [part for layer in self.layers for part in parts_of(layer)]
        return not any(part.weights for part in parts if not isinstance(part, ONE_TO_ONE))


def paths_of(cell: Cell, input_shape: tuple[int, ...]) -> tuple[list[Connection], list[Connection]]:
    """All connections of a built cell, in traversal order; and the paths from its last neurons on."""
    found: list[Connection] = []
    ends = [Connection(INPUT, "", (), tuple(input_shape))]
    nodes, start, paths = flat(cell), ends, []  # type: ignore[var-annotated]
    for node in nodes:
        before = [path for i in node.inputs for path in (start if i == CELL_INPUT else paths[i])]
        if isinstance(node.layer, NeuronCell):
            found += [dataclasses.replace(path, target=node.name) for path in before]
            ends = [Connection(node.name, "", (), node.shape)]
        else:
            through = [dataclasses.replace(path, layers=(*path.layers, node.layer)) for path in before]
            if node.delayed_to is not None:
                target = nodes[node.delayed_to].name
                found += [dataclasses.replace(path, target=target, delayed=True) for path in through]
                paths.append([])
                continue
            if isinstance(node.layer, keras.layers.Add):
                through = [dataclasses.replace(path, sums=(*path.sums, node.shape)) for path in through]
            ends = through
        paths.append(ends)
    return found, ends


def connections(cell: Cell, input_shape: tuple[int, ...]) -> list[Connection]:
    """All connections of a built cell, in traversal order, for counting synapses.

    Pooling behind the last neurons is a connection to `OUTPUT`.

    Args:
        cell: a cell, such as that of a `SpikingRNN`.
        input_shape: shape of one time step of its input, without the batch.
    """
    found, ends = paths_of(cell, input_shape)
    found += [dataclasses.replace(end, target=OUTPUT) for end in ends if _pools(end)]
    _check_joins(cell, input_shape, found)
    behind = [layer.name for end in ends for layer in end.layers if layer.weights]
    if behind:
        raise ValueError(f"The layers {behind} lead to no neurons. Put a ReadoutCell around the last one")
    of_name: collections.Counter[str] = collections.Counter()
    for i, path in enumerate(found):
        of_name[path.name] += 1
        found[i] = dataclasses.replace(path, number=of_name[path.name])
    return found


def _pools(path: Connection) -> bool:
    return any(type(part) in POOLING for layer in path.layers for part in parts_of(layer))


def _check_joins(cell: Cell, input_shape: tuple[int, ...], paths: list[Connection]) -> None:
    """Rejects joins that repeat values, and layers whose synapses depend on where a spike stands in a join."""
    nodes = flat(cell)
    refused = {}
    for node in nodes:
        shapes = [tuple(input_shape) if i == CELL_INPUT else nodes[i].shape for i in node.inputs]
        if isinstance(node.layer, keras.layers.Add) and len(set(shapes)) > 1:
            refused[node.name] = f"it repeats the smaller of the shapes {shapes}"
        if isinstance(node.layer, keras.layers.Concatenate) and node.layer.axis not in (-1, len(shapes[0])):
            refused[node.name] = "it must join channels, the last axis"
    for path in paths:
        parts = [part for layer in path.layers for part in parts_of(layer)]
        first = next((i for i, part in enumerate(parts) if isinstance(part, keras.layers.Concatenate)), len(parts))
        for part in parts[first:]:
            if _moves_channels(part) or getattr(part, "groups", 1) > 1:
                refused[part.name] = "behind a Concatenate, they depend on where the channel of a spike stands there"
    for name, why in refused.items():
        raise ValueError(f"The synapses of the layer {name!r} cannot be counted: {why}")


def _moves_channels(part: keras.layers.Layer) -> bool:
    """Whether other axes become the channels."""
    if isinstance(part, keras.layers.Permute):
        return part.dims[-1] != len(part.dims)
    return isinstance(part, keras.layers.Reshape) and tuple(part.target_shape) != (-1,)
