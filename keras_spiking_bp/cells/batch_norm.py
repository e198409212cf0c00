"""Batch normalisation inside synapses: what is accepted, its fast form, and its statistics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from keras_spiking_bp.cells.block import Block
from keras_spiking_bp.utils.layer_kinds import parts_of
from keras_spiking_bp.utils.randomness import seeds_of
from keras_spiking_bp.utils.scopes import Held
from keras_spiking_bp.utils.validation import named


def normalizations(layer: keras.layers.Layer) -> list[keras.layers.BatchNormalization]:
    """The batch normalisations in a layer, itself included, in traversal order."""
    return [part for part in layer._flatten_layers() if isinstance(part, keras.layers.BatchNormalization)]


def check_normalizations(name: str, layer: keras.layers.Layer) -> None:
    """Rejects a synapse with a batch normalisation that the loop over time cannot treat as it must."""
    for part in parts_of(layer):
        norms = normalizations(part)
        for norm in norms:
            if getattr(norm, "renorm", False):
                raise ValueError(f"`{name}` must have no batch normalisation with renorm=True. Received: {named(norm)}")
            if norm.variable_dtype in ("float16", "bfloat16"):
                raise ValueError(
                    f"`{name}` must have a batch normalisation with float32 variables, such as with "
                    f"dtype='mixed_bfloat16': {norm.variable_dtype} is too coarse for its statistics. Received: "
                    f"{named(norm)}"
                )
        if norms and any(seeds_of(one) for one in part._flatten_layers()):
            raise ValueError(
                f"`{name}` must not hold a batch normalisation and random numbers in one layer, {named(part)}: in the "
                "loop over time the former is in inference mode, and so would be the latter. A keras.Sequential may"
            )


def has_one_pass(layer: keras.layers.Layer, inputs: tf.Tensor, training: bool) -> bool:
    """Whether `in_one_pass` supports this layer: stock batch normalisation of image channels."""
    return (
        type(layer) in (keras.layers.BatchNormalization, FusedBatchNormalization)
        and inputs.shape.rank == 4
        and layer.axis in (-1, 3)
        and inputs.dtype in (tf.float32, tf.bfloat16, tf.float16)
        and not (training and layer.synchronized)
    )


def in_one_pass(layer: keras.layers.BatchNormalization, inputs: tf.Tensor, training: bool) -> tf.Tensor:
    """Batch normalisation in one operation: Keras' own reads and writes the images several times."""
    mean, variance = (tf.cast(v.value, tf.float32) for v in (layer.moving_mean, layer.moving_variance))
    learns = training and layer.trainable
    done = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.cast(layer.gamma.value, tf.float32) if layer.scale else tf.ones_like(mean),
        offset=tf.cast(layer.beta.value, tf.float32) if layer.center else tf.zeros_like(mean),
        mean=[] if learns else mean,
        variance=[] if learns else variance,
        epsilon=layer.epsilon,
        is_training=learns,
    )
    if learns:
        values = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
        of_batch = (done.batch_mean, done.batch_variance * (values - 1.0) / values)  # Keras' variance is biased
        for moving, old, new in zip(
            (layer.moving_mean, layer.moving_variance), (mean, variance), of_batch, strict=True
        ):
            updated = old * layer.momentum + tf.stop_gradient(new) * (1.0 - layer.momentum)
            moving.assign(tf.where(values > 0, updated, old))  # an empty batch has none
    return done.y


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalisation, of image channels by `in_one_pass`."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        if mask is None and has_one_pass(self, inputs, bool(training)):
            return in_one_pass(self, inputs, bool(training))
        return super().call(inputs, training=training, mask=mask)


def in_keras_own(layer: keras.layers.Layer, inputs: tf.Tensor, training: bool) -> tf.Tensor:
    """A layer that is, or contains, a batch normalisation. An empty batch changes no statistics.

    A device gets one where the last batch is smaller than the number of devices: Keras' statistics, and its gradient of
    gamma, would become NaN (not if synchronized with those of other devices).
    """
    norms = normalizations(layer)
    if not training or inputs.shape[0] or any(norm.synchronized for norm in norms):
        return layer(inputs, training=training)
    statistics = [statistic for norm in norms for statistic in (norm.moving_mean, norm.moving_variance)]
    before = [tf.identity(statistic.value) for statistic in statistics]
    samples = tf.shape(inputs)[0]
    missing = tf.cast(samples == 0, tf.int32)
    padded = tf.pad(inputs, [(0, missing), *[(0, 0)] * (inputs.shape.rank - 1)])
    outputs = layer(padded, training=True)[:samples]
    for statistic, old in zip(statistics, before, strict=True):
        statistic.assign(tf.where(samples > 0, statistic.value, old))
    return outputs


def learning_normalizations(layer: keras.layers.Layer) -> list[keras.layers.BatchNormalization]:
    """The batch normalisations in a layer that normalise by the batch in training, in traversal order."""
    return [norm for norm in normalizations(layer) if norm.trainable]


def untouched(norm: keras.layers.BatchNormalization) -> bool:
    """Whether it still has its initial statistics: mean 0 and variance 1, exactly."""
    return bool(tf.reduce_all(norm.moving_mean.value == 0.0)) and bool(tf.reduce_all(norm.moving_variance.value == 1.0))


def moving_statistics(layers: list[keras.layers.BatchNormalization]) -> list[keras.Variable]:
    """Mean and variance of each."""
    return [variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)]


class BatchStatistics:
    """Batch normalisation of a whole window by the statistics of the batch: those of its mean input over time.

    Args:
        momentum: of the moving statistics; None for that of each layer.
    """

    def __init__(self, momentum: float | None = None):
        self._momentum = momentum
        self._batch: dict[int, tf.Tensor] = {}  # by the id of a moving statistic

    @contextlib.contextmanager
    def taken(self, layer: keras.layers.Layer) -> Iterator[None]:
        """Within it, a call of a layer in training mode takes them; then the moving statistics are updated."""
        norms = learning_normalizations(layer)
        variables = moving_statistics(norms)
        with Held(variables, [variable.value for variable in variables]) as scope, _without_momentum(norms):
            yield
            values = [scope.get_current_value(variable) for variable in variables]
        for i, (variable, value) in enumerate(zip(variables, values, strict=True)):
            self._batch[id(variable)] = value
            momentum = norms[i // 2].momentum if self._momentum is None else self._momentum
            variable.assign(momentum * variable + (1.0 - momentum) * tf.stop_gradient(value))

    def in_place(self, layer: keras.layers.Layer) -> contextlib.AbstractContextManager:
        """Within it, they are the moving statistics of a layer."""
        variables = moving_statistics(learning_normalizations(layer))
        return Held(variables, [self._batch[id(variable)] for variable in variables])

    def normalize(self, layer: keras.layers.Layer, inputs: tf.Tensor, block: Block) -> tf.Tensor:
        """Calls a layer that is, or contains, a batch normalisation, with a derivative by the statistics."""
        with self.taken(layer):
            in_keras_own(layer, block.mean(inputs), training=True)
        with self.in_place(layer):
            return layer(inputs, training=False)


@contextlib.contextmanager
def _without_momentum(layers: list[keras.layers.BatchNormalization]) -> Iterator[None]:
    """Within it, an update of these layers is the batch's value itself: the difference of sums would round it."""
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
