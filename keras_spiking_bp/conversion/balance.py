"""What one spike of each layer of neurons represents, from the activations of the ANN on sample data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.conversion.distribution import Distribution
from keras_spiking_bp.conversion.graph import POOL, RELU, Graph, Node

#: How the norm of a layer is chosen.
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
    """The norm of each layer of neurons, by the name of its node.

    Args:
        graph: in normal form.
        images: as the ANN accepts them, (N, ...).
        method, percentile, num_steps, initial_membrane, reset_mechanism: as in `convert_to_snn`.
        verbose: 1 shows a progress bar over batches and layers.

    Raises:
        ValueError: if a layer is silent on all images, or has infinity or NaN.
    """
    distributions = {node.name: Distribution() for node in graph if node.kind in (RELU, POOL)}
    exact = method == "percentile" and percentile < 100
    passes = 2 if exact else 1
    batches = math.ceil(len(images) / _BATCH)
    progress = keras.utils.Progbar(passes * batches * len(distributions), verbose=verbose, unit_name="layer")

    def go_through(take: Callable[[Distribution, np.ndarray], None]) -> None:
        for start in range(0, len(images), _BATCH):
            for node, value in values_of(graph, images[start : start + _BATCH]):
                if node.name in distributions:
                    value = value.numpy()
                    if not np.isfinite(value).all():
                        raise ValueError(f"The layer {name_of(graph, node)!r} gives infinity or NaN on `sample_data`")
                    take(distributions[node.name], value)
                    progress.add(1)

    go_through(Distribution.add)
    if exact:
        for distribution in distributions.values():
            distribution.look_for(percentile)
        go_through(Distribution.add_again)
    norms, share = {}, f"{percentile:g} %" if exact else "all"
    for name, distribution in distributions.items():
        node = graph.nodes[name]
        if method == "mse":
            norm = distribution.least_error(num_steps, initial_membrane, reset_mechanism)
        elif exact:
            norm = distribution.percentile(percentile)
        elif method == "max" and math.isfinite(node.maximum):  # of a ReLU, whether the data reach it or not
            norm = node.maximum
        else:
            norm = distribution.maximum
        if not (norm > 0 and distribution.maximum > 0):
            raise ValueError(
                f"The layer {name_of(graph, node)!r} gives 0 for {share} of its activations on `sample_data`: there is "
                "nothing to balance its threshold by. Give more data, or method='max' if it fires on some"
            )
        norms[name] = norm
    return norms


def largest_input(graph: Graph, images: np.ndarray) -> float:
    """The largest absolute value of the images that the first layer receives."""
    starts = range(0, len(images), _BATCH)
    return max(float(tf.reduce_max(tf.abs(graph.prepared(images[start : start + _BATCH])))) for start in starts)


def values_of(graph: Graph, images: np.ndarray) -> Iterator[tuple[Node, tf.Tensor]]:
    """The value of each node of the ANN for a batch, in order; values no longer needed are freed."""
    values = {INPUT: graph.prepared(images)}
    waiting = {name: len(graph.takers(name)) for name in (INPUT, *graph.nodes)}
    for node in graph:
        value = values[node.name] = _value(node, [values[name] for name in node.sources])
        yield node, value
        for name in set(node.sources):
            waiting[name] -= 1
            if not waiting[name]:
                del values[name]


def name_of(graph: Graph, node: Node) -> str:
    """The name of the ANN layer to use in a message about a layer of neurons."""
    source = graph.source(node)
    return source.of if node.kind == RELU and source is not None else node.of


def _value(node: Node, inputs: list[tf.Tensor]) -> tf.Tensor:
    if node.kind == RELU:
        return tf.clip_by_value(inputs[0], 0.0, node.maximum) if math.isfinite(node.maximum) else tf.nn.relu(inputs[0])
    return node.layer(inputs if len(inputs) > 1 else inputs[0])
