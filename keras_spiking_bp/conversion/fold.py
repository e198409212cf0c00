"""Affine layers with new weights: batch normalisation folded in, inputs and outputs in other units."""

from __future__ import annotations

import keras
import numpy as np

from keras_spiking_bp.cells import folding
from keras_spiking_bp.utils.layer_copies import copy_of

_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_EPSILON = 2.0**-10  # so that 1 - epsilon + epsilon is 1 in float32


def factor_and_shift_arrays(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """`folding.factor_and_shift` as arrays."""
    factor, shift = folding.factor_and_shift(norm)
    return factor.numpy(), shift.numpy()


def channel_affine(factor: np.ndarray, shift: np.ndarray, shape: tuple[int, ...], name: str) -> keras.layers.Layer:
    """A built layer that computes `factor * x + shift` per channel: a frozen batch normalisation.

    Args:
        factor, shift: per channel, (C,).
        shape: of the input, without the batch.
        name: of the layer.
    """
    layer = keras.layers.BatchNormalization(epsilon=_EPSILON, trainable=False, dtype="float32", name=name)
    layer.build((None, *shape))
    layer.moving_variance.assign(np.full(shape[-1], 1.0 - _EPSILON, "float32"))
    layer.gamma.assign(factor)
    layer.beta.assign(shift)
    return layer


def scale_outputs(layer: keras.layers.Layer, factor: np.ndarray | float) -> None:
    """Multiplies a layer's output by a factor: a number, or one per channel."""
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.gamma.assign(np.asarray(layer.gamma) * factor)
        layer.beta.assign(np.asarray(layer.beta) * factor)
        return
    kernel = np.asarray(layer.kernel)
    layer.kernel.assign(kernel * _per_output(layer, factor))
    if layer.use_bias:
        layer.bias.assign(np.asarray(layer.bias) * factor)


def scale_inputs(layer: keras.layers.Layer, factor: np.ndarray | float) -> None:
    """Makes a layer return for `x` what it did for `factor * x`: a number, or one per channel."""
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.gamma.assign(np.asarray(layer.gamma) * factor)
    else:
        layer.kernel.assign(np.asarray(layer.kernel) * _per_input(layer, factor))


def fold_backwards(layer: keras.layers.Layer, norm: keras.layers.BatchNormalization) -> None:
    """Folds `norm` into the layer before it, which has a bias."""
    factor, shift = factor_and_shift_arrays(norm)
    scale_outputs(layer, factor)
    add_to_bias(layer, shift)


def fold_forwards(norm: keras.layers.BatchNormalization, layer: keras.layers.Layer) -> None:
    """Folds `norm` into the layer after it, which has a bias and no padding."""
    factor, shift = factor_and_shift_arrays(norm)
    products = np.asarray(layer.kernel) * _per_input(layer, shift)
    inputs = tuple(range(products.ndim - (2 if isinstance(layer, _DEPTHWISE) else 1)))
    add_to_bias(layer, products.sum(inputs).reshape(-1))
    scale_inputs(layer, factor)


def add_to_bias(layer: keras.layers.Layer, shift: np.ndarray) -> None:
    """Adds a number per channel to the output of a layer."""
    bias = layer.beta if isinstance(layer, keras.layers.BatchNormalization) else layer.bias
    bias.assign(np.asarray(bias) + shift)


def with_bias(layer: keras.layers.Layer, shape: tuple[int, ...]) -> keras.layers.Layer:
    """The layer itself if it has a bias, else a copy with one of zeros; `shape` is that of its input."""
    if isinstance(layer, keras.layers.BatchNormalization) or layer.use_bias:
        return layer
    new = copy_of(layer, use_bias=True, bias_initializer="zeros")
    new.build((None, *shape))
    new.kernel.assign(layer.kernel)
    return new


def assign_folded(new: keras.layers.Layer, old: keras.layers.Layer, norm: keras.layers.BatchNormalization) -> None:
    """Gives `new`, which has a bias, the kernel and bias of `old` with `norm` folded in.

    gamma * (W x + b - mean) / sqrt(variance + epsilon) + beta
    """
    new.kernel.assign(old.kernel)
    new.bias.assign(old.bias if old.use_bias else np.zeros(new.bias.shape, "float32"))
    fold_backwards(new, norm)


def _per_output(layer: keras.layers.Layer, factor: np.ndarray | float) -> np.ndarray:
    """A factor per output channel, shaped to multiply the kernel."""
    if np.ndim(factor) and isinstance(layer, _DEPTHWISE):  # their outputs are (input channel, multiplier)
        return np.reshape(factor, layer.kernel.shape[-2:])
    return np.asarray(factor)


def _per_input(layer: keras.layers.Layer, factor: np.ndarray | float) -> np.ndarray:
    """A factor per input channel, shaped to multiply the kernel."""
    if not np.ndim(factor):
        return np.asarray(factor)
    groups = getattr(layer, "groups", 1)
    if isinstance(layer, _DEPTHWISE) or groups == 1:
        return np.asarray(factor)[:, None]
    return np.repeat(np.reshape(factor, (groups, -1)).T, layer.kernel.shape[-1] // groups, axis=1)
