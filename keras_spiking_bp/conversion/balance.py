"""What one spike of each layer of neurons represents, from the activations of the ANN on sample data."""

import math
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.conversion.graph import POOL, RELU, Graph, Node

_BATCH = 50


def balanced(graph: Graph, images: np.ndarray, percentile: float, verbose: int = 0) -> dict[str, float]:
    """The norm of each layer of neurons, by the name of its node in a graph in normal form."""
    neurons = [node for node in graph if node.kind in (RELU, POOL)]
    largest = {node.name: Largest(percentile, len(images) * math.prod(node.shape)) for node in neurons}
    progress = keras.utils.Progbar(math.ceil(len(images) / _BATCH) * len(neurons), verbose=verbose, unit_name="layer")
    for start in range(0, len(images), _BATCH):
        for node, tensor in values_of(graph, images[start : start + _BATCH]):
            if node.name not in largest:
                continue
            values = np.abs(tensor.numpy().ravel(), dtype="float32")  # a zero may have a sign
            if not math.isfinite(float(values.sum(dtype="float64"))):
                raise ValueError(f"The layer {name_of(graph, node)!r} gives infinity or NaN on `sample_data`")
            largest[node.name].add(values)
            progress.add(1)
    norms = {}
    for node in neurons:
        norm = largest[node.name].percentile()
        if norm == 0:
            raise ValueError(
                f"The layer {name_of(graph, node)!r} gives 0 for {percentile:g} % of its activations on `sample_data`. "
                "Give more data, or percentile=100 if it fires on some"
            )
        # at 100 the maximum of a ReLU, if it has one, whether the data reach it or not
        norms[node.name] = node.maximum if percentile == 100 and math.isfinite(node.maximum) else norm
    return norms


class Largest:
    """The largest of `number` numbers, from which a percentile follows; they come in batches."""

    def __init__(self, percentile: float, number: int):
        place = percentile / 100 * (number - 1)
        self.kept, self.share = number - math.floor(place), place - math.floor(place)
        self.values = np.zeros(0, "float32")

    def add(self, values: np.ndarray) -> None:
        values = np.concatenate([self.values, values])
        self.values = values if len(values) <= self.kept else np.partition(values, -self.kept)[-self.kept :]

    def percentile(self) -> float:
        """As `numpy.percentile` of all numbers."""
        low, high = (float(value) for value in np.sort(self.values)[[0, min(1, self.kept - 1)]])
        return low + self.share * (high - low)


def values_of(graph: Graph, images: np.ndarray) -> Iterator[tuple[Node, tf.Tensor]]:
    """The value of each node of the ANN for a batch, in order; values no longer needed are freed."""
    values = {INPUT: graph.prepared(images)}
    waiting = {name: len(graph.takers(name)) for name in (INPUT, *graph.nodes)}
    for node in graph:
        inputs = [values[name] for name in node.sources]
        if node.kind != RELU:
            value = node.layer(inputs if len(inputs) > 1 else inputs[0])
        elif math.isfinite(node.maximum):
            value = tf.clip_by_value(inputs[0], 0.0, node.maximum)
        else:
            value = tf.nn.relu(inputs[0])
        values[node.name] = value
        yield node, value
        for name in set(node.sources):
            waiting[name] -= 1
            if not waiting[name]:
                del values[name]


def name_of(graph: Graph, node: Node) -> str:
    """The name of the ANN layer to use in a message about a layer of neurons."""
    source = graph.source(node)
    return source.of if node.kind == RELU and source is not None else node.of
