"""What remains of a spiking network without time: its ANN, with firing rates rounded to spikes for ReLU."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

import keras_spiking_bp as ksbp


class RoundedReLU(keras.layers.Layer):
    """The firing rate of neurons without leak, with reset by subtraction, on a constant current I.

        spike_count = ceil(num_steps * I / threshold + initial_membrane) - 1, between 0 and num_steps
        rate = spike_count / num_steps

    with the derivative of `surrogate="bounded"`: 1 / threshold where the count is between its bounds, else 0.

    Args:
        num_steps: the time steps T.
        threshold, initial_membrane: as of `LIFCell`.

    Shapes: currents (B, ...), rates of the same shape, float32.
    """

    def __init__(self, num_steps: int, threshold: float, initial_membrane: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_steps, self.threshold, self.initial_membrane = num_steps, threshold, initial_membrane

    def call(self, currents: tf.Tensor) -> tf.Tensor:
        charge = self.num_steps * currents / self.threshold + self.initial_membrane
        count = tf.clip_by_value(tf.math.ceil(charge) - 1.0, 0.0, float(self.num_steps))
        within = tf.cast((charge > 0) & (count < self.num_steps), currents.dtype)
        line = tf.stop_gradient(within) * currents / self.threshold
        return line + tf.stop_gradient(count / self.num_steps - line)


def rounded_counterpart(model: keras.Model, **neuron: Any) -> keras.Model:
    """The `ann_counterpart` of a model with `RoundedReLU(**neuron)` for ReLU, and its weights.

    Without leak and with reset by subtraction it differs from the spiking network, in inference, only in that no spike
    comes too early or too late to count.
    """
    ann = ksbp.ann_counterpart(model)

    def replaced(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.layers.ReLU):
            return RoundedReLU(**neuron, dtype="float32", name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    rounded = keras.models.clone_model(ann, clone_function=replaced)
    rounded.set_weights(ann.get_weights())
    return rounded
