"""Encodes images, or series of values, as inputs over time."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.randomness import SavesItsSeed
from keras_spiking_bp.validation import (
    check_float_dtype,
    check_fraction,
    check_positive,
    check_positive_int,
    check_seed,
    finite,
)

#: Limit of images times `scale`, which 8-bit images exceed.
LARGEST = 16.0


class Encoder(keras.layers.Layer):
    """Base encoder: from images (B, ...) to inputs over time (B, num_steps, ...)."""

    largest: float | None = None  # limit of |scale * image|; None: no limit

    def __init__(self, num_steps: int, scale: float = 1.0, **kwargs: Any):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.num_steps = check_positive_int("num_steps", num_steps)
        self.scale = check_positive("scale", scale)

    def _checked(self, images: tf.Tensor) -> tf.Tensor:
        check_float_dtype("images", images.dtype)
        images = finite("images", images, self.name)
        if self.largest is None:
            return images
        # a functional model casts integers to its own dtype before any layer sees them
        message = (
            f"`images` in encoder {self.name!r}, times scale={self.scale}, must not exceed {self.largest} in absolute "
            "value: divide 8-bit images by 255 first (for packaged weights, scale them as models.model_card says)"
        )
        highest = self.scale * tf.reduce_max(tf.abs(tf.cast(images, tf.float32)))
        with tf.control_dependencies([tf.debugging.assert_less_equal(highest, self.largest, message)]):
            return tf.identity(images)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], self.num_steps, *input_shape[1:])

    def compute_output_spec(self, images: Any) -> keras.KerasTensor:
        check_float_dtype("images", images.dtype)
        return keras.KerasTensor(self.compute_output_shape(images.shape), dtype=self.output_dtype)

    @property
    def output_dtype(self) -> str:
        """That of spikes: int8."""
        return "int8"

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_steps": self.num_steps, "scale": self.scale}


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class PoissonEncoder(SavesItsSeed, Encoder):
    """Signed Poisson rate code: at each step an independent spike with probability `min(scale * |x|, 1)`.

    A spike is `sign(x)`, so inputs may be negative (the paper's input code; its MNIST code has `scale=0.5`).

    Args:
        num_steps: number of time steps T, at least 1.
        scale: factor on the intensity, > 0.
        seed: integer for a repeatable stream, or None. The stream's position is saved with the model.

    Shapes: images (B, ...) of a floating dtype, within about [-1, 1]; spikes (B, T, ...) int8, each -1, 0 or 1.

    Raises:
        ValueError: if `num_steps` or `scale` is out of range.
        TypeError: if the images are integers.
        tf.errors.InvalidArgumentError: if the images have NaN or infinity, or values above 16 / scale, such as
            those of 8-bit images (not under XLA, which leaves checks out).

    Example:
        >>> spikes = PoissonEncoder(num_steps=100, seed=0)(np.array([[0.0, 1.0, -1.0]], "float32"))
        >>> spikes.numpy().sum(axis=1).tolist()
        [[0, 100, -100]]
    """

    largest = LARGEST

    def __init__(self, num_steps: int, scale: float = 1.0, seed: int | None = None, **kwargs: Any):
        super().__init__(num_steps, scale, **kwargs)
        self.seed = check_seed(seed)
        self.start_stream(self.seed)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.encode(images, self.next_seed())

    def encode(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The spikes drawn with a given seed; the layer's own stream does not advance.

        Args:
            images: as in the call of the layer.
            seed: integer pair, shape (2,), as for `tf.random.stateless_uniform`.

        Returns:
            Spikes (B, T, ...) int8. Those of an image depend only on the seed and its batch position.

        Example:
            >>> encoder = PoissonEncoder(num_steps=5)
            >>> images = np.full((2, 3), 0.5, "float32")
            >>> bool(np.all(encoder.encode(images, (1, 2)) == encoder.encode(images, (1, 2))))
            True
        """
        images = tf.cast(self._checked(tf.convert_to_tensor(images)), tf.float32)  # the dtype of the draws

        def spikes_of(image_and_index):
            image, index = image_and_index
            own_seed = tf.random.experimental.stateless_fold_in(seed, index)
            draws = tf.random.stateless_uniform(tf.concat([[self.num_steps], tf.shape(image)], 0), own_seed)
            return tf.cast(draws < self.scale * tf.abs(image), tf.int8) * tf.cast(tf.sign(image), tf.int8)

        # image by image: the float draws of a whole batch would take four times the memory of its spikes
        return tf.map_fn(
            spikes_of,
            (images, tf.range(tf.shape(images)[0])),
            fn_output_signature=tf.TensorSpec((self.num_steps, *images.shape[1:]), tf.int8),
            parallel_iterations=None if tf.executing_eagerly() else 2,
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class ConstantEncoder(Encoder):
    """Constant current: the image itself, times `scale`, at each step. No randomness.

    Args:
        num_steps: number of time steps T, at least 1.
        scale: factor on the intensity, > 0.
        largest: limit of the currents' absolute values, > 0; None for no limit. The packaged network of CIFAR-10 has
            one, so that 8-bit images raise an error.

    Shapes: images (B, ...) of a floating dtype; currents (B, T, ...) float32.

    Raises:
        ValueError: if `num_steps`, `scale` or `largest` is out of range.
        TypeError: if the images are integers. (A model casts them to floats before any layer sees them.)
        tf.errors.InvalidArgumentError: if the images have NaN, infinity or values above the limit (not under XLA, which
            leaves checks out).

    Example:
        >>> ConstantEncoder(num_steps=3)(np.array([[0.25]], "float32")).numpy().tolist()
        [[[0.25], [0.25], [0.25]]]
    """

    def __init__(self, num_steps: int, scale: float = 1.0, largest: float | None = None, **kwargs: Any):
        super().__init__(num_steps, scale, **kwargs)
        self.largest = None if largest is None else check_positive("largest", largest)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        currents = self.scale * self._checked(images)
        return tf.repeat(currents[:, None], self.num_steps, axis=1)

    @property
    def output_dtype(self) -> str:
        """That of the layer: its outputs are currents."""
        return self.compute_dtype

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "largest": self.largest}


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
        num_steps: number of time steps T, at least 1.
        scale: factor on the intensity, > 0.
        threshold: above 0 and below 1.
        linear: which of the codes to use.
        tau: time constant in steps, > 0; None for the one with which the threshold fires in the last step; with
            `linear=True` a value of 0 would, but it is first raised to the threshold.
        clip: whether values below the threshold never fire.

    Shapes: images (B, ...) of a floating dtype; spikes (B, T, ...) int8, 0 or 1.

    Raises:
        ValueError: if an argument is out of its range.
        TypeError: if the images are integers.
        tf.errors.InvalidArgumentError: if the images have NaN or infinity, or values above 16 / scale, such as
            those of 8-bit images (not under XLA, which leaves checks out).

    Example:
        >>> spikes = LatencyEncoder(num_steps=5, linear=True)(np.array([[1.0, 0.5, 0.02]], "float32"))
        >>> spikes.numpy().argmax(axis=1).tolist()
        [[0, 2, 4]]
    """

    largest = LARGEST
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
        self.linear = bool(linear)
        self.tau = None if tau is None else check_positive("tau", tau)
        self.clip = bool(clip)

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


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class DeltaEncoder(keras.layers.Layer):
    """Changes of a series of values: a spike where it rises by at least the threshold from one step to the next.

    Source: snnTorch's `spikegen.delta`.

    Args:
        threshold: smallest change that causes a spike, > 0.
        falls: whether a fall by at least the threshold gives a spike of -1.
        from_zero: whether the series is 0 before its first step; otherwise the first step has no spikes.

    Shapes: series (B, T, ...) of a floating dtype; spikes (B, T, ...) int8, each 0 or 1, or -1.

    Raises:
        ValueError: if `threshold` is not above 0, or the series has no time axis.
        TypeError: if the series is of integers.
        tf.errors.InvalidArgumentError: if it has NaN or infinity.

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

    def call(self, series: tf.Tensor) -> tf.Tensor:
        self._check(series)
        series = finite("series", series, self.name)
        first = tf.zeros_like(series[:, :1]) if self.from_zero else series[:, :1]
        change = series - tf.concat([first, series[:, :-1]], axis=1)
        spikes = tf.cast(change >= self.threshold, tf.int8)
        if self.falls:  # LiteRT cannot subtract int8
            spikes = tf.where(change <= -self.threshold, tf.constant(-1, tf.int8), spikes)
        return spikes

    def compute_output_spec(self, series: Any) -> keras.KerasTensor:
        self._check(series)
        return keras.KerasTensor(series.shape, dtype="int8")

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return tuple(input_shape)

    @staticmethod
    def _check(series: Any) -> None:
        check_float_dtype("series", series.dtype)
        if len(series.shape) < 2:
            raise ValueError(f"`series` must have the shape (batch, time steps, ...). Received: {tuple(series.shape)}")

    def get_config(self) -> dict[str, Any]:
        own = {"threshold": self.threshold, "falls": self.falls, "from_zero": self.from_zero}
        return {**super().get_config(), **own}
