"""From a graph with norms to the cells of a spiking network."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_spiking_bp.cells import Cell, GraphCell, IFCell, MaxPoolingCell, ReadoutCell, SequentialCell
from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.conversion.fold import WEIGHTED, channel_affine, scale_inputs, scale_outputs
from keras_spiking_bp.conversion.graph import AFFINE, JOIN, MAXIMUM, POOL, RELU, Graph, Node
from keras_spiking_bp.utils.layer_kinds import PADDING
from keras_spiking_bp.utils.layers import unique_name

#: What a value of 1 represents: a number, or one per channel.
Unit: TypeAlias = Any


@dataclasses.dataclass
class Placed:
    """A cell, or a layer without neurons, in its place in the spiking network.

    `sources` are the names of the layers whose outputs it takes. `node` is that of the graph whose value it gives, None
    if it only converts a value to another unit. `unit` is what an output of 1 represents.
    """

    layer: keras.layers.Layer
    sources: list[str]
    node: str | None
    unit: Unit


def written(graph: Graph, norms: Mapping[str, float], unit: float, **neuron: Any) -> list[Placed]:
    """The layers of the spiking network, in execution order; those of a graph in normal form are scaled for it.

    `norms` are what one spike of each layer of neurons represents, `unit` what an encoder output of 1 does.
    """
    writer = _Writer(graph, norms, unit, neuron)
    for node in graph:
        writer.write(node)
    writer.readout()
    return writer.placed


def network(placed: list[Placed]) -> Cell:
    """One cell of all of them, in sequence or as a graph."""
    before = [INPUT, *(part.layer.name for part in placed)]
    if all(part.sources == [name] for part, name in zip(placed, before, strict=False)):
        return SequentialCell([part.layer for part in placed], name="network")
    return GraphCell([(part.layer, part.sources) for part in placed], name="network")


class _Writer:
    def __init__(self, graph: Graph, norms: Mapping[str, float], unit: float, neurons: dict[str, Any]):
        self.graph, self.norms, self.neurons = graph, norms, neurons
        self.placed: list[Placed] = []
        self.called = {INPUT: INPUT}  # by node name: the layer that gives its value
        self.units: dict[str, Unit] = {INPUT: unit}
        self.numbers: dict[str, int] = {}
        self.merged = {node.name for node in graph if self._merged(node)}

    def write(self, node: Node) -> None:
        if node.name in self.merged:
            return
        if node.kind == RELU:
            source = node.sources[0]
            self._place_neurons(node, self.graph.nodes[source] if source in self.merged else None)
        elif node.kind == POOL:
            self._place_neurons(node, node)
        elif node.kind == MAXIMUM:
            cell = MaxPoolingCell(node.layer, of="counts", name=self._name("pool"))
            self._place(cell, [self.called[node.sources[0]]], node, self.units[node.sources[0]])
        elif node.kind == JOIN:
            self._join(node)
        elif node.name != self.graph.output:
            layer, sources, unit = self._affine(node)
            self._place(layer, sources, node, unit)

    def readout(self) -> None:
        """The result: the last value, integrated, in the unit of the ANN."""
        last = self.graph.nodes[self.graph.output]
        layer, sources, unit = self._affine(last) if last.kind == AFFINE else self._nothing(last.name)
        if np.ndim(unit) or unit != 1:
            layer = keras.Sequential([layer, self._rescaling(unit, last.shape, "unit")], name=layer.name)
        self._place(ReadoutCell(layer, beta=1.0, name="readout"), sources, last, 1.0)

    def _place(self, layer: keras.layers.Layer, sources: list[str], node: Node | None, unit: Unit) -> str:
        layer.name = unique_name(layer.name, {INPUT, *(part.layer.name for part in self.placed)})
        self.placed.append(Placed(layer, sources, node.name if node else None, unit))
        if node is not None:
            self.called[node.name], self.units[node.name] = layer.name, unit
        return layer.name

    def _place_neurons(self, node: Node, synapse: Node | None) -> None:
        layer, sources, unit = self._affine(synapse) if synapse else self._nothing(node.sources[0])
        norm = self.norms[node.name]
        threshold = norm / unit
        if synapse is None or not synapse.layer.weights:
            # spikes of saturated neurons add up to the threshold exactly, and it must be exceeded
            threshold = threshold * (1 - 2**-20)
        threshold = threshold.astype("float32") if np.ndim(threshold) else float(threshold)
        kind = "pool" if node.kind == POOL else "relu"
        if synapse is not None and isinstance(synapse.layer, WEIGHTED):
            kind = "fc" if isinstance(synapse.layer, keras.layers.Dense) else "conv"
        surrogate = self.neurons["surrogate"]
        neurons = {**self.neurons, "surrogate": None if surrogate is None else surrogate.scaled(threshold)}
        cell = IFCell(layer, threshold, dropout=node.dropout, name=self._name(kind), **neurons)
        self._place(cell, sources, node, norm)

    def _affine(self, node: Node) -> tuple[keras.layers.Layer, list[str], Unit]:
        """The layer of an affine node with padding before it; its sources; its unit."""
        layer, source = node.layer, node.sources[0]
        if not layer.weights:
            return self._moved(node)
        padding = self.graph.nodes[source] if source in self.merged else None
        unit = self.wanted(node)
        if padding is not None:
            source = padding.sources[0]
        scale_inputs(layer, self.units[source])
        scale_outputs(layer, 1 / unit)
        if padding is not None:
            layer = keras.Sequential([padding.layer, layer], name=layer.name)
            layer.build((None, *self.graph.shape_of(source)))
        return layer, [self.called[source]], unit

    def _moved(self, node: Node) -> tuple[keras.layers.Layer, list[str], Unit]:
        """A layer without weights: units pass, those of channels to their new positions."""
        source, layer = node.sources[0], node.layer
        called, unit = self.called[source], self.units[source]
        if np.ndim(unit) and isinstance(layer, keras.layers.Flatten):
            unit = np.tile(unit, node.shape[0] // len(unit))
        elif np.ndim(unit) and isinstance(layer, (keras.layers.Reshape, keras.layers.Permute)):
            called, unit = self._in_unit(source, 1.0), 1.0
        return layer, [called], unit

    def _nothing(self, source: str) -> tuple[keras.layers.Layer, list[str], Unit]:
        return keras.layers.Identity(dtype="float32"), [self.called[source]], self.units[source]

    def _join(self, node: Node) -> None:
        if self.graph.spikes(node.name):  # a concatenation
            units = [np.broadcast_to(self.units[name], self.graph.shape_of(name)[-1:]) for name in node.sources]
            of_channels = np.concatenate(units).astype("float32")
            one = float(of_channels[0]) if (of_channels == of_channels[0]).all() else of_channels
            self._place(node.layer, [self.called[name] for name in node.sources], node, one)
        else:
            unit = self.wanted(node)
            self._place(node.layer, [self._in_unit(name, unit) for name in node.sources], node, unit)

    def _in_unit(self, source: str, unit: float) -> str:
        """The name of the layer that gives a value in this unit."""
        factor = self.units[source] / unit
        if not np.ndim(factor) and factor == 1:
            return self.called[source]
        layer = self._rescaling(factor, self.graph.shape_of(source), f"{self.called[source]}_current")
        return self._place(layer, [self.called[source]], None, unit)

    @staticmethod
    def _rescaling(factor: Unit, shape: tuple[int, ...], name: str) -> keras.layers.Layer:
        if not np.ndim(factor):
            return keras.layers.Rescaling(float(factor), name=name, dtype="float32")
        return channel_affine(factor, np.zeros_like(factor), shape, name)

    def wanted(self, node: Node) -> float:
        """The unit in which a current is consumed: the norm of neurons, so that their threshold is 1."""
        if not self.graph.taken_once(node.name):
            return 1.0
        (taker,) = self.graph.takers(node.name)
        if taker.kind == RELU:
            return self.norms[taker.name]
        passes = taker.kind in (JOIN, MAXIMUM) or (taker.kind == AFFINE and not taker.layer.weights)
        return self.wanted(taker) if passes else 1.0

    def _merged(self, node: Node) -> bool:
        """Whether a node is part of another layer: a synapse, or the padding before one with weights."""
        if node.kind != AFFINE or not self.graph.taken_once(node.name):
            return False
        (taker,) = self.graph.takers(node.name)
        if taker.kind == RELU:
            return True
        return isinstance(node.layer, PADDING) and taker.kind == AFFINE and bool(taker.layer.weights)

    def _name(self, kind: str) -> str:
        self.numbers[kind] = self.numbers.get(kind, 0) + 1
        return f"{kind}{self.numbers[kind]}"
