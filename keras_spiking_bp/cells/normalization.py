"""The statistics of batch normalisation inside synapses."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf


def normalizes(layer: keras.layers.Layer) -> bool:
    """Whether a layer is, or contains, a batch normalisation."""
    return any(isinstance(part, keras.layers.BatchNormalization) for part in layer._flatten_layers())


def has_one_pass(layer: keras.layers.Layer, inputs: tf.Tensor) -> bool:
    """Whether `in_one_pass` knows this layer: a stock batch normalisation of the channels of images."""
    return (
        type(layer) is keras.layers.BatchNormalization
        and inputs.shape.rank == 4
        and layer.axis in (-1, 3)
        and inputs.dtype in (tf.float32, tf.bfloat16, tf.float16)
    )


def in_one_pass(layer: keras.layers.BatchNormalization, inputs: tf.Tensor) -> tf.Tensor:
    """A batch normalisation in inference, by one operation: Keras' own reads and writes the images several times."""
    mean, variance = (tf.cast(v.value, tf.float32) for v in (layer.moving_mean, layer.moving_variance))
    return tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.cast(layer.gamma.value, tf.float32) if layer.scale else tf.ones_like(mean),
        offset=tf.cast(layer.beta.value, tf.float32) if layer.center else tf.zeros_like(mean),
        mean=mean,
        variance=variance,
        epsilon=layer.epsilon,
        is_training=False,
    ).y


def learning_normalizations(cell: keras.layers.Layer) -> list[keras.layers.BatchNormalization]:
    """The batch normalisations of a cell tree whose moving statistics follow the data, in the order of the walk."""
    return [
        layer
        for layer in cell._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable and layer.momentum < 1
    ]


def untouched(layers: list[keras.layers.BatchNormalization]) -> tf.Tensor:
    """Whether all of them still have the statistics that they were made with: mean 0 and variance 1, exactly."""
    means = [tf.reduce_all(layer.moving_mean.value == 0.0) for layer in layers]
    variances = [tf.reduce_all(layer.moving_variance.value == 1.0) for layer in layers]
    return tf.reduce_all(tf.stack([*means, *variances]))


def take_statistics(
    layers: list[keras.layers.BatchNormalization], walk: Callable[[], None], walks: int | None = None
) -> None:
    """Makes the moving statistics those of one batch, layer by layer.

    `walk` runs the network with the moving statistics as they are and updates those of each layer once. The update
    `moving <- momentum * moving + (1 - momentum) * batch` is undone but for `batch`. A layer gets the right values once
    the layers before it have theirs: as many walks as layers, if `walks` does not say otherwise.
    """
    variables = [(v, layer.momentum) for layer in layers for v in (layer.moving_mean, layer.moving_variance)]

    def one_more(i: tf.Tensor) -> tuple[tf.Tensor]:
        before = [tf.identity(variable.value) for variable, _ in variables]
        walk()
        for (variable, momentum), old in zip(variables, before, strict=True):
            variable.assign((variable.value - momentum * old) / (1.0 - momentum))
        return (i + 1,)

    if not layers:
        return
    walks = len(layers) if walks is None else walks
    tf.while_loop(lambda i: i < walks, one_more, (tf.constant(0),), parallel_iterations=1)
