"""Calibration of biases: each layer of neurons is matched to the mean activations of the ANN."""

import math
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells import LIFCell, MaxPoolingCell, ReadoutCell
from keras_spiking_bp.cells.block import Block
from keras_spiking_bp.cells.composite import JOINS
from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.cells.synapse import current_of, output_of
from keras_spiking_bp.conversion.balance import values_of
from keras_spiking_bp.conversion.fold import add_to_bias, with_bias
from keras_spiking_bp.conversion.graph import AFFINE, AVERAGE, RELU, Graph, Node
from keras_spiking_bp.conversion.write import Placed
from keras_spiking_bp.utils.layer_kinds import MOVING, PADDING

#: Layers that leave each channel where it is, and add nothing to it.
_KEEPING = (*(kind for kind in MOVING if kind not in (*PADDING, keras.layers.Permute)), *AVERAGE)


def images_for(graph: Graph, images: np.ndarray, num_steps: int) -> np.ndarray:
    """The first images, 128 at most, of which `correct_biases` holds 2 GiB or less over all steps; at least one."""
    size = {name: math.prod(graph.shape_of(name)) for name in (INPUT, *graph.nodes)}
    # numbers for each image and step: inputs, currents before and after the bias, spikes apart and joined, a shortcut
    held = size[INPUT] + 6 * max(size.values())
    return images[: max(1, min(128, 2**29 // (num_steps * held)))]


def give_biases(graph: Graph) -> None:
    """Adds a bias to each layer that `correct_biases` may change."""
    for node in graph:
        if node.kind == RELU or node.name == graph.output:
            holder = _holder(graph, node.name)
            if holder is not None:
                holder.layer = with_bias(holder.layer, graph.shape_of(holder.sources[0]))


def means(graph: Graph, images: np.ndarray, norms: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The mean of each channel of the ANN, of what spikes can represent: activations up to the norm."""
    channel_means = {}
    for node, value in values_of(graph, images):
        if node.name == graph.output:
            channel_means[node.name] = _of_channels(value)
        elif node.kind == RELU:
            channel_means[node.name] = _of_channels(tf.minimum(value, norms[node.name]))
    return channel_means


def correct_biases(
    placed: list[Placed], graph: Graph, currents: tf.Tensor, expected: Mapping[str, np.ndarray], verbose: int = 0
) -> None:
    """Corrects the biases layer by layer: each layer sees the corrected spikes of the layers before it.

        bias <- bias + mean over images, places and steps of (activation of the ANN - norm * spikes)

    `currents` (B, T, ...) are those of the encoder, and `expected` the `means`, both of the same images.
    """
    batch, block = currents.shape[0], Block(currents.shape[1])
    values = {INPUT: block.fold(tf.cast(currents, tf.float32))}
    waiting = [name for part in placed for name in part.sources]
    progress = keras.utils.Progbar(len(placed), verbose=verbose, unit_name="layer")

    def fired(cell: LIFCell | MaxPoolingCell, current: tf.Tensor) -> tf.Tensor:
        return tf.cast(block.run(cell.fire, current, cell.initial_state(batch))[0], tf.float32)

    for part in placed:
        inputs = [values[name] for name in part.sources]
        cell, node = part.layer, part.node or ""
        holder = _holder(graph, node) if node else None
        if isinstance(cell, LIFCell):
            current = current_of(cell.synapse, inputs[0])
            value = fired(cell, current)
            if holder is not None and node in expected:
                missing = expected[node] / part.unit - _of_channels(value)
                del value  # so that it is not held beside the spikes with the new bias
                add_to_bias(holder.layer, missing)
                current += tf.cast(missing, tf.float32)
                value = fired(cell, current)
            del current
        elif isinstance(cell, MaxPoolingCell):
            value = fired(cell, cell.current(inputs[0], block))
        elif isinstance(cell, ReadoutCell):
            value = current_of(cell.synapse, inputs[0])
            if holder is not None:
                add_to_bias(holder.layer, expected[node] - _of_channels(value))
        elif isinstance(cell, JOINS):
            value = cell(inputs)
        else:
            value = output_of(cell, inputs[0])
        values[cell.name] = value
        for name in part.sources:
            waiting.remove(name)
            if name not in waiting:
                del values[name]
        progress.add(1)


def _of_channels(value: tf.Tensor) -> np.ndarray:
    return tf.reduce_mean(value, axis=list(range(value.shape.rank - 1))).numpy()


def _holder(graph: Graph, name: str) -> Node | None:
    """The node whose bias adds to the currents of neurons, or to the result, and to nothing else; None if none does."""
    node = graph.nodes[name]
    if node.kind == AFFINE and name == graph.output:
        return _with_weights(graph, name)
    before = node.sources[0]
    return _with_weights(graph, before) if node.kind == RELU and graph.taken_once(before) else None


def _with_weights(graph: Graph, name: str) -> Node | None:
    node = graph.nodes.get(name)
    if node is None or (node.kind == AFFINE and node.layer.weights):
        return node
    if not isinstance(node.layer, (keras.layers.Add, *_KEEPING)):
        return None
    same = [s for s in node.sources if graph.taken_once(s) and graph.shape_of(s)[-1:] == node.shape[-1:]]
    return next((holder for source in same if (holder := _with_weights(graph, source)) is not None), None)
