"""Time to first spike."""

import math
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.encoders.base import Encoder
from keras_spiking_bp.utils.validation import check_fraction, check_positive


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class LatencyEncoder(Encoder):
    """Time to first spike: each value fires once, larger values earlier.

    The step, from 0, of a value `x = scale * image`, clipped to [0, 1], rounded to nearest:

        tau * ln(x / (x - threshold))     when a leaky neuron with current x would reach the threshold
        tau * (1 - x)                     with `linear=True`

    Values at or below the threshold fire like one just above it (1e-7); with `clip=True` those below never fire. Steps
    beyond the last are dropped. Source: snnTorch's `spikegen.latency`, whose `normalize=True` is `tau=None` if the data
    have a value at or below the threshold.

    Args:
        num_steps, scale: as of `PoissonEncoder`.
        threshold: above 0 and below 1.
        linear, clip: as above.
        tau: time constant in steps, > 0; None for the one with which the threshold fires in the last step; with
            `linear=True` a value of 0 would, but it is first raised to the threshold.

    Shapes: images (B, ...) of a floating dtype; spikes (B, T, ...) int8, 0 or 1.

    Example:
        >>> spikes = LatencyEncoder(num_steps=5, linear=True)(np.array([[1.0, 0.5, 0.02]], "float32"))
        >>> spikes.numpy().argmax(axis=1).tolist()
        [[0, 2, 4]]
    """

    _NEAR = 1e-7  # above the threshold

    def __init__(
        self,
        num_steps: int,
        scale: float = 1.0,
        threshold: float = 0.01,
        linear: bool = False,
        tau: float | None = None,
        clip: bool = False,
        **kwargs: Any,
    ):
        super().__init__(num_steps, scale, **kwargs)
        self.threshold = check_fraction("threshold", threshold)
        self.linear, self.clip = bool(linear), bool(clip)
        self.tau = None if tau is None else check_positive("tau", tau)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        x = tf.clip_by_value(self.scale * tf.cast(self._checked(images), tf.float32), 0.0, 1.0)
        tau = self.tau
        if self.linear:
            tau = self.num_steps - 1 if tau is None else tau
            steps = tau * (1.0 - tf.maximum(x, self.threshold))
        else:
            if tau is None:
                tau = (self.num_steps - 1) / math.log((self.threshold + self._NEAR) / self._NEAR)
            above = tf.maximum(x - self.threshold, self._NEAR)
            steps = tau * tf.math.log((above + self.threshold) / above)
        steps = tf.cast(tf.round(steps), tf.int32)
        if self.clip:
            steps = tf.where(x < self.threshold, self.num_steps, steps)
        return tf.one_hot(steps, self.num_steps, axis=1, dtype=tf.int8)  # zeros where a step is beyond the last

    def get_config(self) -> dict[str, Any]:
        own = {"threshold": self.threshold, "linear": self.linear, "tau": self.tau, "clip": self.clip}
        return {**super().get_config(), **own}
