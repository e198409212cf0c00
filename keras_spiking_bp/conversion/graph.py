"""An ordinary network as a graph of affine maps, rectifications, maxima and joins, and its normal form for neurons."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.conversion.fold import WEIGHTED, fold_backwards, fold_forwards, with_bias
from keras_spiking_bp.utils.layer_kinds import AVERAGE_POOLING, GLOBAL_AVERAGE_POOLING, MOVING
from keras_spiking_bp.utils.layers import unique_name

#: Kinds of nodes. An average with its own neurons is `POOL`; `END` is a softmax or sigmoid.
AFFINE, RELU, MAXIMUM, JOIN, POOL, END = "affine", "relu", "maximum", "join", "pool", "end"
AVERAGE = (*AVERAGE_POOLING, *GLOBAL_AVERAGE_POOLING)


@dataclasses.dataclass
class Node:
    """One operation.

    Attributes:
        layer: a layer with its own weights that computes it, None for a `RELU`; a `JOIN` has several sources.
        sources: names of the nodes whose values it takes, `INPUT` for the input.
        shape: of its value, without the batch.
        of: name of the layer of the ANN that it comes from.
        maximum: of a `RELU` that saturates, else infinity.
        dropout: of a `RELU`, the rate of a `Dropout` after it.
    """

    name: str
    kind: str
    layer: Any
    sources: list[str]
    shape: tuple[int, ...]
    of: str
    maximum: float = math.inf
    dropout: float = 0.0


class Graph:
    """Nodes in execution order, and the `front` layers before them, which prepare images.

    `shape` is that of the input of the first nodes; `output` the name of the node whose value is the result.
    """

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape
        self.front: keras.Sequential | None = None
        self.nodes: dict[str, Node] = {}
        self.output = INPUT

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self.nodes.values()))

    def prepared(self, images: np.ndarray) -> tf.Tensor:
        """Images after the `front` layers."""
        x = tf.constant(images)
        return x if self.front is None else self.front(x, training=False)

    def add(self, kind: str, layer: Any, sources: list[str], of: str, **more: Any) -> Node:
        """Adds a node after all others; builds its layer."""
        shapes: list[Any] = [(None, *self.shape_of(name)) for name in sources]
        shape = shapes if kind == JOIN else shapes[0]
        if layer is not None:
            if not layer.built:
                layer.build(shape)
            shape = layer.compute_output_shape(shape)
        name = unique_name(of, {INPUT, *self.nodes})
        self.nodes[name] = Node(name, kind, layer, list(sources), tuple(shape[1:]), of, **more)
        return self.nodes[name]

    def shape_of(self, name: str) -> tuple[int, ...]:
        return self.shape if name == INPUT else self.nodes[name].shape

    def source(self, node: Node) -> Node | None:
        """The node whose value `node` takes, the first of several; None for the input."""
        return self.nodes.get(node.sources[0])

    def takers(self, name: str) -> list[Node]:
        return [node for node in self.nodes.values() if name in node.sources]

    def taken_once(self, name: str) -> bool:
        """Whether the value is used exactly once, and is not the result."""
        return name != self.output and sum(node.sources.count(name) for node in self.nodes.values()) == 1

    def drop(self, node: Node) -> None:
        """Removes a node with one source."""
        for taker in self.takers(node.name):
            taker.sources = [node.sources[0] if name == node.name else name for name in taker.sources]
        if self.output == node.name:
            self.output = node.sources[0]
        del self.nodes[node.name]

    def spikes(self, name: str) -> bool:
        """Whether a value consists of spikes: numbers above 0, after neurons; else it is a current."""
        if name == INPUT:
            return False
        node = self.nodes[name]
        if node.kind in (RELU, POOL):
            return True
        passes = node.kind == MAXIMUM or isinstance(node.layer, (*MOVING, keras.layers.Concatenate))
        return passes and all(self.spikes(source) for source in node.sources)


def normal_form(graph: Graph) -> None:
    """Rewrites a graph for neurons, in passes that change the graph, but not what it computes."""
    drop_second_relu(graph)
    fold_normalization_backwards(graph)
    relu_before_maximum(graph)
    fold_normalization_forwards(graph)
    neurons_for_averages(graph)


def drop_second_relu(graph: Graph) -> None:
    """A ReLU after a ReLU does nothing, even with pooling or reshaping in between."""
    for node in graph:
        if node.kind != RELU:
            continue
        before = graph.source(node)
        while before is not None and (before.kind == MAXIMUM or isinstance(before.layer, (*MOVING, *AVERAGE))):
            before = graph.source(before)
        if before is not None and before.kind == RELU and before.maximum <= node.maximum:
            graph.drop(node)


def fold_normalization_backwards(graph: Graph) -> None:
    """Folds batch normalisation into a layer with weights directly before it."""
    for node in graph:
        before = graph.source(node)
        if not _normalizes(node) or before is None or not isinstance(before.layer, WEIGHTED):
            continue
        if graph.taken_once(before.name):
            before.layer = with_bias(before.layer, graph.shape_of(before.sources[0]))
            fold_backwards(before.layer, node.layer)
            graph.drop(node)


def relu_before_maximum(graph: Graph) -> None:
    """Moves a ReLU after a maximum before it, so that it pools spikes: the result is the same.

    Without its dropout: a maximum over values of which some are dropped is another one.
    """
    for node in graph:
        takers = graph.takers(node.name)
        rectified = takers and all(taker.kind == RELU for taker in takers) and node.name != graph.output
        if node.kind != MAXIMUM or not rectified or graph.spikes(node.name):
            continue
        first = takers[0]
        if any(taker.maximum != first.maximum for taker in takers):
            continue
        for taker in takers:
            graph.drop(taker)
        first.dropout = 0.0
        _insert_before(graph, node, first)


def fold_normalization_forwards(graph: Graph) -> None:
    """Folds batch normalisation into the one layer with weights after it, unless that pads with zeros first."""
    for node in graph:
        if not _normalizes(node) or not graph.taken_once(node.name):
            continue
        (taker,) = graph.takers(node.name)
        if isinstance(taker.layer, WEIGHTED) and getattr(taker.layer, "padding", "valid") == "valid":
            taker.layer = with_bias(taker.layer, node.shape)
            fold_forwards(node.layer, taker.layer)
            graph.drop(node)


def neurons_for_averages(graph: Graph) -> None:
    """Adds neurons to average pooling of spikes, unless all its values go to an `Add` as currents, or to the end."""
    for node in graph:
        if isinstance(node.layer, AVERAGE) and graph.spikes(node.sources[0]) and not _is_added(graph, node.name):
            node.kind = POOL if node.name != graph.output else AFFINE


def _is_added(graph: Graph, name: str) -> bool:
    """Whether all paths of a value reach an `Add`, with no neurons before."""
    takers = graph.takers(name)
    return bool(takers) and all(
        isinstance(taker.layer, keras.layers.Add) or (taker.kind != RELU and _is_added(graph, taker.name))
        for taker in takers
    )


def _normalizes(node: Node) -> bool:
    return isinstance(node.layer, keras.layers.BatchNormalization)


def _insert_before(graph: Graph, node: Node, new: Node) -> None:
    new.sources, new.shape = list(node.sources), graph.shape_of(node.sources[0])
    node.sources = [new.name]
    nodes = {}
    for name, old in graph.nodes.items():
        if name == node.name:
            nodes[new.name] = new
        nodes[name] = old
    graph.nodes = nodes
