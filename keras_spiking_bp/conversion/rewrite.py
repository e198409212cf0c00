"""Rewrites a graph to its normal form for neurons: each pass changes the graph, but not what it computes."""

from __future__ import annotations

import keras

from keras_spiking_bp.conversion.fold import fold_backwards, fold_forwards, with_bias
from keras_spiking_bp.conversion.graph import AFFINE, AVERAGE, MAXIMUM, MOVING, POOL, RELU, WEIGHTED, Graph, Node


def normal_form(graph: Graph) -> None:
    """All passes, in order."""
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
        first, *others = takers
        if any(other.maximum != first.maximum for other in others):
            continue
        for taker in takers:
            graph.drop(taker)
        first.dropout = 0.0
        _insert_before(graph, node, first)


def fold_normalization_forwards(graph: Graph) -> None:
    """Folds batch normalisation into the one layer with weights after it, if that has no padding.

    Before padding it remains: zeros are padded after it, which no weights can represent.
    """
    for node in graph:
        if not _normalizes(node) or not graph.taken_once(node.name):
            continue
        (taker,) = graph.takers(node.name)
        if isinstance(taker.layer, WEIGHTED) and getattr(taker.layer, "padding", "valid") == "valid":
            taker.layer = with_bias(taker.layer, node.shape)
            fold_forwards(node.layer, taker.layer)
            graph.drop(node)


def neurons_for_averages(graph: Graph) -> None:
    """Adds neurons to average pooling of spikes, so that its output is spikes.

    None where all its values go to an `Add` as currents, as in a shortcut, or at the end.
    """
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
    """Inserts `new` before `node`."""
    new.sources, new.shape = list(node.sources), graph.shape_of(node.sources[0])
    node.sources = [new.name]
    nodes = {}
    for name, old in graph.nodes.items():
        if name == node.name:
            nodes[new.name] = new
        nodes[name] = old
    graph.nodes = nodes
