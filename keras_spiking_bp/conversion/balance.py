"""What one spike of each layer of neurons represents, from the activations of the ANN on sample data."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.conversion.graph import POOL, RELU, Graph, Node

METHODS = ("max", "percentile", "mse")
_BATCH = 50


def balanced(
    graph: Graph,
    images: np.ndarray,
    method: str,
    percentile: float,
    num_steps: int,
    initial_membrane: float,
    reset_mechanism: str,
    verbose: int = 0,
) -> dict[str, float]:
    """The norm of each layer of neurons, by the name of its node in a graph in normal form."""
    neurons = [node for node in graph if node.kind in (RELU, POOL)]
    percentile = percentile if method == "percentile" else 100.0
    statistics: dict[str, Any] = {
        node.name: Histogram() if method == "mse" else Largest(percentile, len(images) * math.prod(node.shape))
        for node in neurons
    }
    progress = keras.utils.Progbar(math.ceil(len(images) / _BATCH) * len(neurons), verbose=verbose, unit_name="layer")
    for start in range(0, len(images), _BATCH):
        for node, tensor in values_of(graph, images[start : start + _BATCH]):
            if node.name not in statistics:
                continue
            values = np.abs(tensor.numpy().ravel(), dtype="float32")  # a zero may have a sign
            if not math.isfinite(float(values.sum(dtype="float64"))):
                raise ValueError(f"The layer {name_of(graph, node)!r} gives infinity or NaN on `sample_data`")
            statistics[node.name].add(values)
            progress.add(1)
    norms = {}
    for node in neurons:
        if method == "mse":
            norm = statistics[node.name].least_error(num_steps, initial_membrane, reset_mechanism)
        else:
            norm = statistics[node.name].percentile()
        if norm == 0:
            raise ValueError(
                f"The layer {name_of(graph, node)!r} gives 0 for {percentile:g} % of its activations on `sample_data`. "
                "Give more data, or method='max' if it fires on some"
            )
        # "max" is that of a ReLU, if it has one, whether the data reach it or not
        norms[node.name] = node.maximum if method == "max" and math.isfinite(node.maximum) else norm
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


class Histogram:
    """Float32 numbers >= 0 by the upper 16 of their bits, which are in the order of the numbers."""

    def __init__(self):
        self.bins, self.maximum = np.zeros(2**15, np.int64), 0.0

    def add(self, values: np.ndarray) -> None:
        self.maximum = max(self.maximum, float(values.max()))
        self.bins += np.bincount(values.view(np.int32) >> 16, minlength=len(self.bins))

    def least_error(self, num_steps: int, initial_membrane: float, reset_mechanism: str = "subtract") -> float:
        """The best of 400 thresholds up to the largest number, by the squared error of spike counts over `num_steps`.

        A neuron with threshold `norm` that gets `x` at each step and starts at `initial_membrane * norm`, represents

            q(x) = norm / num_steps * clip(floor(num_steps * x / norm + initial_membrane), 0, num_steps)

        with a reset by subtraction. With a reset to zero it first fires when `initial_membrane * norm` and its inputs
        reach `norm`, then each time that its inputs alone do.
        """
        bins = np.flatnonzero(self.bins)
        middle = np.where(bins == 0, 0, (bins << 16) + 2**15).astype(np.int32)
        numbers, counts = middle.view(np.float32).astype(float), self.bins[bins]
        candidates = self.maximum * np.arange(1, 401) / 400

        def counts_with(norm: float) -> np.ndarray:
            if reset_mechanism == "subtract":
                return np.clip(np.floor(num_steps * numbers / norm + initial_membrane), 0, num_steps)
            with np.errstate(divide="ignore", invalid="ignore"):  # 0 never fires
                first, between = np.ceil((1 - initial_membrane) * norm / numbers), np.ceil(norm / numbers)
                return np.where(first <= num_steps, 1 + np.floor((num_steps - first) / between), 0)

        def error(norm: float) -> float:
            return float((counts * (numbers - norm / num_steps * counts_with(norm)) ** 2).sum())

        return float(min(candidates, key=error)) if self.maximum > 0 else 0.0


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
