"""Calibration of biases: each layer of neurons is matched to the mean activations of the ANN."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells import LIFCell, MaxPoolingCell, ReadoutCell
from keras_spiking_bp.cells.composite import JOINS
from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.cells.synapse import current_of, output_of
from keras_spiking_bp.conversion.balance import values_of
from keras_spiking_bp.conversion.fold import add_to_bias, with_bias
from keras_spiking_bp.conversion.graph import AFFINE, AVERAGE, JOIN, MOVING, PADDING, RELU, Graph
from keras_spiking_bp.conversion.write import Placed

_MOST_IMAGES = 128
_MOST_NUMBERS = 2**29  # in float32, in all tensors held at once: 2 GiB
#: Layers that leave each channel where it is, and add nothing to it.
_KEEPING = (*(kind for kind in MOVING if kind not in (*PADDING, keras.layers.Permute)), *AVERAGE)


def images_for(graph: Graph, images: np.ndarray, num_steps: int) -> np.ndarray:
    """As many of the first images as `correct_biases` can hold in memory over all steps, at least one."""
    return images[: max(1, min(_MOST_IMAGES, _MOST_NUMBERS // (num_steps * numbers_at_once(graph))))]


def numbers_at_once(graph: Graph) -> int:
    """About how many numbers `correct_biases` holds at once for each image and step.

    Neurons hold their inputs, their current before and after the bias, and their spikes, step by step and joined; a
    shortcut is held beside them.
    """
    size = {name: int(np.prod(graph.shape_of(name))) for name in (INPUT, *graph.nodes)}
    return size[INPUT] + 6 * max(size.values())


def give_biases(graph: Graph) -> None:
    """Adds a bias to each layer that `correct_biases` may change."""
    for node in graph:
        if node.kind == RELU or node.name == graph.output:
            holder = _holder(graph, node.name)
            if holder is not None:
                of = graph.nodes[holder]
                of.layer = with_bias(of.layer, graph.shape_of(of.sources[0]))


def means(graph: Graph, images: np.ndarray, norms: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The mean of each channel of the ANN, of what spikes can represent: activations up to the norm."""
    found = {}
    for node, value in values_of(graph, images):
        if node.name == graph.output:
            found[node.name] = _of_channels(value)
        elif node.kind == RELU:
            found[node.name] = _of_channels(tf.minimum(value, norms[node.name]))
    return found


def correct_biases(
    placed: list[Placed], graph: Graph, currents: tf.Tensor, expected: Mapping[str, np.ndarray], verbose: int = 0
) -> None:
    """Corrects the biases layer by layer: each layer sees the corrected spikes of the layers before it.

        bias <- bias + mean over images, places and steps of (activation of the ANN - norm * spikes)

    Args:
        placed: the layers of the spiking network, built.
        graph: source of the layers.
        currents: output of the encoder for the images, (B, T, ...).
        expected: `means` of the same images.
        verbose: 1 shows a progress bar.
    """
    batch, num_steps = currents.shape[:2]
    values = {INPUT: _by_step(currents)}
    waiting = [name for part in placed for name in part.sources]
    progress = keras.utils.Progbar(len(placed), verbose=verbose, unit_name="layer")

    def apart(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(x, (num_steps, batch, *x.shape[1:]))

    for part in placed:
        given = [values[name] for name in part.sources]
        cell, holder = part.layer, None if part.node is None else _holder(graph, part.node)
        if isinstance(cell, LIFCell):
            current = current_of(cell.synapse, given[0])
            value = _over_time(lambda x, state, cell=cell: cell.fire(x, state[0]), cell, apart(current))
            if holder is not None and part.node is not None and part.node in expected:
                missing = expected[part.node] - part.unit * _of_channels(value)
                del value  # so that it is not held beside the spikes with the new bias
                add_to_bias(graph.nodes[holder].layer, missing / part.unit)
                current += tf.cast(missing / part.unit, tf.float32)
                value = _over_time(lambda x, state, cell=cell: cell.fire(x, state[0]), cell, apart(current))
            del current
        elif isinstance(cell, MaxPoolingCell):
            value = _over_time(cell.step, cell, apart(given[0]))
        elif isinstance(cell, ReadoutCell):
            value = current_of(cell.synapse, given[0])
            if holder is not None and part.node is not None:
                add_to_bias(graph.nodes[holder].layer, expected[part.node] - _of_channels(value))
        elif isinstance(cell, JOINS):
            value = cell(given)
        else:
            value = output_of(cell, given[0])
        values[cell.name] = value
        for name in part.sources:
            waiting.remove(name)
            if name not in waiting:
                del values[name]
        progress.add(1)


def _by_step(currents: tf.Tensor) -> tf.Tensor:
    """(B, T, ...) as (T * B, ...), in float32."""
    by_step = keras.ops.swapaxes(currents, 0, 1)
    return tf.cast(tf.reshape(by_step, (-1, *currents.shape[2:])), tf.float32)


def _over_time(step: Callable[..., Any], cell: LIFCell | MaxPoolingCell, inputs: tf.Tensor) -> tf.Tensor:
    """Output of neurons for the inputs of all steps (T, B, ...), as (T * B, ...)."""
    state, outputs = cell.initial_state(inputs.shape[1]), []
    for x in inputs:
        output, state = step(x, [state])
        state = state[0] if isinstance(state, list) else state
        outputs.append(tf.cast(output, tf.float32))
    return tf.concat(outputs, 0)


def _of_channels(value: tf.Tensor) -> np.ndarray:
    return tf.reduce_mean(value, axis=list(range(value.shape.rank - 1))).numpy()


def _holder(graph: Graph, name: str) -> str | None:
    """The node whose bias adds to the currents of neurons, or to the result, and to nothing else; None if none does."""
    node = graph.nodes[name]
    if node.kind == AFFINE and name == graph.output:
        return _with_weights(graph, name)
    before = node.sources[0]
    return _with_weights(graph, before) if node.kind == RELU and graph.taken_once(before) else None


def _with_weights(graph: Graph, name: str) -> str | None:
    node = graph.nodes.get(name)
    if node is None:
        return None
    if node.kind == AFFINE and node.layer.weights:
        return name
    channels = node.shape[-1:]
    if (node.kind == JOIN and isinstance(node.layer, keras.layers.Add)) or isinstance(node.layer, _KEEPING):
        same = [
            source for source in node.sources if graph.taken_once(source) and graph.shape_of(source)[-1:] == channels
        ]
        return next((holder for source in same if (holder := _with_weights(graph, source)) is not None), None)
    return None
