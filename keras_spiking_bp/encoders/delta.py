"""Changes of a series of values."""

from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.utils.broadcasting import per_step
from keras_spiking_bp.utils.validation import check_float_dtype, check_mask, check_positive, finite


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class DeltaEncoder(keras.layers.Layer):
    """Changes of a series of values: a spike where it rises by at least the threshold from one step to the next.

    It keeps no values: of a series in chunks, put the last step of the chunk before in front, and drop the first
    spikes. Source: snnTorch's `spikegen.delta`.

    Args:
        threshold: smallest change that causes a spike, > 0.
        falls: whether a fall by at least the threshold gives a spike of -1.
        from_zero: whether the series is 0 before its first step; otherwise the first step has no spikes.

    Shapes: series (B, T, ...) of a floating dtype; spikes (B, T, ...) int8, each 0 or 1, or -1. With a `mask` (B, T),
    as of `keras.layers.Masking`, the steps where it is False have no spikes, and the others those of the series without
    these steps.

    Raises:
        tf.errors.InvalidArgumentError: if it has NaN or infinity in steps that are not masked (not under XLA).

    Example:
        >>> DeltaEncoder(1.0, falls=True)(np.array([[1.0, 2.0, 0.0, 2.0, 2.5]], "float32")).numpy().tolist()
        [[1, 1, -1, 1, 0]]
    """

    def __init__(self, threshold: float = 0.1, falls: bool = False, from_zero: bool = True, **kwargs: Any):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.threshold = check_positive("threshold", threshold)
        self.falls, self.from_zero = bool(falls), bool(from_zero)
        self.supports_masking = True

    def call(self, series: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        check_float_dtype("series", series.dtype)
        if mask is None:
            return self._spikes(series)
        mask = tf.cast(mask, tf.bool)
        check_mask(mask, series)
        exists = per_step(mask, series)
        existing_first = tf.argsort(tf.cast(~mask, tf.int32), axis=1, stable=True)
        series = tf.where(exists, series, tf.zeros_like(series))
        spikes = self._spikes(tf.gather(series, existing_first, axis=1, batch_dims=1))
        spikes = tf.gather(spikes, tf.argsort(existing_first, axis=1), axis=1, batch_dims=1)
        return tf.where(exists, spikes, tf.zeros_like(spikes))

    def _spikes(self, series: tf.Tensor) -> tf.Tensor:
        series = finite("series", series, self.name)
        first = tf.zeros_like(series[:, :1]) if self.from_zero else series[:, :1]
        change = series - tf.concat([first, series[:, :-1]], axis=1)
        spikes = tf.cast(change >= self.threshold, tf.int8)
        if self.falls:  # LiteRT cannot subtract int8
            spikes = tf.where(change <= -self.threshold, tf.constant(-1, tf.int8), spikes)
        return spikes

    def compute_output_spec(self, series: Any, mask: Any = None) -> keras.KerasTensor:
        check_float_dtype("series", series.dtype)
        return keras.KerasTensor(series.shape, dtype="int8")

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        own = {"threshold": self.threshold, "falls": self.falls, "from_zero": self.from_zero}
        return {**super().get_config(), **own}
