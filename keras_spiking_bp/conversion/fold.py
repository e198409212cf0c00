"""Synapses with new weights: batch normalisation folded in, scaled to the units of spikes."""

from __future__ import annotations

import keras
import numpy as np

from keras_spiking_bp.conversion.stages import WEIGHTED, Synapse
from keras_spiking_bp.layer_graph import copy_of

_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


def folded(synapse: Synapse, shape: tuple[int, ...], called: str) -> keras.layers.Layer:
    """A layer of its own that computes what `synapse` does in inference, without an activation.

        gamma * (W x + b - mean) / sqrt(variance + epsilon) + beta

    Args:
        synapse: what to copy.
        shape: shape of its input, without the batch.
        called: name of the new layer.
    """
    layers = [_copy(layer, synapse.normalisation is not None) for layer in synapse.layers]
    if not layers:
        layers = [keras.layers.Identity()]
    whole = layers[0] if len(layers) == 1 else keras.Sequential(layers)
    whole.name = called
    whole.build((None, *shape))
    for new, old in zip(layers, synapse.layers, strict=False):
        if isinstance(old, WEIGHTED):
            assign_folded(new, old, synapse.normalisation)
    return whole


def scaled(layer: keras.layers.Layer, weights: float, bias: float) -> keras.layers.Layer:
    """`layer` itself, its weights and biases multiplied; a `Rescaling` behind it where it has none."""
    parts = layer.layers if isinstance(layer, keras.Sequential) else [layer]
    for part in parts:
        if isinstance(part, WEIGHTED):
            part.kernel.assign(part.kernel * weights)
            if part.use_bias:
                part.bias.assign(part.bias * bias)
            return layer
    if weights == 1:
        return layer
    return keras.Sequential([layer, keras.layers.Rescaling(weights)], name=layer.name)


def _copy(layer: keras.layers.Layer, with_bias: bool) -> keras.layers.Layer:
    if not isinstance(layer, WEIGHTED):
        return copy_of(layer)
    return copy_of(layer, activation=None, activity_regularizer=None, use_bias=layer.use_bias or with_bias)


def assign_folded(
    new: keras.layers.Layer, old: keras.layers.Layer, norm: keras.layers.BatchNormalization | None
) -> None:
    """Gives `new` the kernel and bias of `old` with the normalisation behind it."""
    kernel = np.asarray(old.kernel, "float32")
    bias = np.asarray(old.bias, "float32") if old.use_bias else 0.0
    if norm is not None:
        factor = 1.0 / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
        if norm.scale:
            factor = factor * np.asarray(norm.gamma)
        bias = (bias - np.asarray(norm.moving_mean)) * factor
        if norm.center:
            bias = bias + np.asarray(norm.beta)
        # the outputs of a depthwise convolution are (input channel, multiplier), the last two axes of its kernel
        kernel = kernel * (factor.reshape(kernel.shape[-2:]) if isinstance(old, _DEPTHWISE) else factor)
    new.kernel.assign(kernel)
    if new.use_bias:
        new.bias.assign(bias)
