"""An ordinary network as a graph of affine maps, rectifications, maxima and joins: what conversion works on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.utils.layer_graph import unique_name

#: Kinds of nodes. An average with its own neurons is `POOL`; `END` is a softmax or sigmoid.
AFFINE, RELU, MAXIMUM, JOIN, POOL, END = "affine", "relu", "maximum", "join", "pool", "end"
#: Affine layers with a kernel.
WEIGHTED = (
    keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)  # fmt: skip
PADDING = (keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D)
AVERAGE = (
    keras.layers.AveragePooling1D, keras.layers.AveragePooling2D, keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
)  # fmt: skip
#: Affine layers that pass values on unchanged, in place or moved.
MOVING = (
    *PADDING, keras.layers.Cropping1D, keras.layers.Cropping2D, keras.layers.Flatten, keras.layers.Reshape,
    keras.layers.Permute,
)  # fmt: skip


@dataclasses.dataclass
class Node:
    """One operation.

    Attributes:
        name: its name in the graph.
        kind: one of the kinds above.
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
    """Nodes in execution order.

    Attributes:
        shape: of the input of the first nodes, without the batch.
        front: layers before all nodes, which prepare images; None if there are none.
        nodes: the nodes, by name.
        output: name of the node whose value is the result.
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
        shape: Any = shapes[0] if kind in (RELU, END) else built(layer, shapes if kind == JOIN else shapes[0])
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


def built(layer: keras.layers.Layer, shape: Any) -> tuple:
    """Builds a layer; the shape of its output."""
    if not layer.built:
        layer.build(shape)
    return tuple(layer.compute_output_shape(shape))
