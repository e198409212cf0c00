"""Affine layers with new weights: batch normalisation folded in, inputs and outputs in other units."""

from typing import Any

import keras
import numpy as np

from keras_spiking_bp.cells import folding
from keras_spiking_bp.cells.batch_norm import normalizations
from keras_spiking_bp.utils.layer_kinds import computes_otherwise, parts_of
from keras_spiking_bp.utils.layers import copy_of, free_weights, use_assigned
from keras_spiking_bp.utils.validation import named

#: Affine layers with a kernel.
WEIGHTED = (
    keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)  # fmt: skip
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_EPSILON = 2.0**-10  # so that 1 - epsilon + epsilon is 1 in float32


def without_normalization(synapse: keras.layers.Layer) -> keras.layers.Layer:
    """A new built layer that computes what `synapse` does in inference; itself if there is nothing to fold.

        kernel <- factor * kernel,    bias <- factor * (bias - mean) + beta

    with `factor = gamma / sqrt(variance + epsilon)` and the moving statistics.
    """
    norms = normalizations(synapse)
    if not norms:
        return synapse
    parts = parts_of(synapse)
    before = dict(zip(parts, [None, *parts], strict=False))
    for norm in norms:
        why = _why_not_foldable(before[norm], norm) if norm in parts else f"it is inside of {named(synapse)}"
        if why is not None:
            raise ValueError(
                f"The batch normalisation {norm.name!r} cannot be folded: {why}. It must stand right behind a Dense, "
                "Conv or DepthwiseConv layer without activation, in one keras.Sequential with it"
            )
    norm_of = {before[norm]: norm for norm in norms}
    olds = [part for part in parts if part not in norms]
    changes = [{"use_bias": True, **free_weights(old)} if old in norm_of else {} for old in olds]
    layers = [copy_of(old, dtype=old.dtype_policy, **change) for old, change in zip(olds, changes, strict=True)]
    whole = layers[0] if len(layers) == 1 else keras.Sequential(layers, name=synapse.name)
    whole.build(synapse.input_shape)
    for new, old in zip(layers, olds, strict=True):
        if old not in norm_of:
            _copy_all(old, new)
        else:
            new.kernel.assign(old.kernel)
            new.bias.assign(old.bias if old.use_bias else np.zeros(new.bias.shape, "float32"))
            fold_backwards(new, norm_of[old])
    return whole


def _why_not_foldable(before: Any, norm: keras.layers.BatchNormalization) -> str | None:
    if not isinstance(before, WEIGHTED):
        return "there is no layer before it" if before is None else f"it stands behind {before.name!r}"
    for part, kinds in ((before, WEIGHTED), (norm, (keras.layers.BatchNormalization,))):
        otherwise = computes_otherwise(part, kinds)
        if otherwise is not None:
            return f"{part.name!r} is unknown: {otherwise}"
    return folding.why_not_folded(before, norm)


def _copy_all(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    for old, new in zip(source.variables, target.variables, strict=True):
        new.assign(old)
    use_assigned(target)


def channel_affine(factor: np.ndarray, shift: np.ndarray, shape: tuple[int, ...], name: str) -> keras.layers.Layer:
    """A built layer that computes `factor * x + shift`, both (C,), on (..., C): a frozen batch normalisation."""
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
    of_kernel = np.asarray(factor)
    if of_kernel.ndim and isinstance(layer, _DEPTHWISE):  # their outputs are (input channel, multiplier)
        of_kernel = of_kernel.reshape(layer.kernel.shape[-2:])
    layer.kernel.assign(np.asarray(layer.kernel) * of_kernel)
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
    factor, shift = folding.factor_and_shift(norm)
    scale_outputs(layer, factor)
    add_to_bias(layer, shift)


def fold_forwards(norm: keras.layers.BatchNormalization, layer: keras.layers.Layer) -> None:
    """Folds `norm` into the layer after it, which has a bias and no padding."""
    factor, shift = folding.factor_and_shift(norm)
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


def _per_input(layer: keras.layers.Layer, factor: np.ndarray | float) -> np.ndarray:
    """A factor per input channel, shaped to multiply the kernel."""
    if not np.ndim(factor):
        return np.asarray(factor)
    groups = getattr(layer, "groups", 1)
    if isinstance(layer, _DEPTHWISE) or groups == 1:
        return np.asarray(factor)[:, None]
    return np.repeat(np.reshape(factor, (groups, -1)).T, layer.kernel.shape[-1] // groups, axis=1)
