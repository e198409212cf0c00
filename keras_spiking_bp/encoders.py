"""From images to inputs over time."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.randomness import SavesItsSeed
from keras_spiking_bp.validation import check_float_dtype, check_positive, check_positive_int


class Encoder(keras.layers.Layer):
    """Base of the encoders: images (B, ...) to inputs over time (B, num_steps, ...)."""

    def __init__(self, num_steps: int, scale: float = 1.0, **kwargs: Any):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.num_steps = check_positive_int("num_steps", num_steps)
        self.scale = check_positive("scale", scale)

    def _checked(self, images: tf.Tensor) -> tf.Tensor:
        check_float_dtype("images", images.dtype)
        return tf.debugging.check_numerics(images, f"`images` in encoder {self.name!r} have NaN or infinity")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_steps": self.num_steps, "scale": self.scale}


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class PoissonEncoder(SavesItsSeed, Encoder):
    """Signed Poisson rate code: at each step an independent spike with probability `min(scale * |x|, 1)`.

    A spike is `sign(x)`, so that inputs may be negative (the paper's input code; its MNIST code has `scale=0.5`).

    Args:
        num_steps: number of time steps T, at least 1.
        scale: factor on the intensity, > 0.
        seed: integer for a repeatable stream, or None. The stream's position is saved with the model.

    Shapes: images (B, ...) of a floating dtype, to about [-1, 1]; spikes (B, T, ...) int8, each -1, 0 or 1.

    Raises:
        ValueError: if `num_steps` or `scale` is out of range.
        TypeError: if the images are integers.
        tf.errors.InvalidArgumentError: if the images have NaN or infinity.

    Example:
        >>> spikes = PoissonEncoder(num_steps=100, seed=0)(np.array([[0.0, 1.0, -1.0]], "float32"))
        >>> spikes.numpy().sum(axis=1).tolist()
        [[0, 100, -100]]
    """

    def __init__(self, num_steps: int, scale: float = 1.0, seed: int | None = None, **kwargs: Any):
        super().__init__(num_steps, scale, **kwargs)
        self.seed = seed
        self.start_stream(seed)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.encode(images, self.next_seed())

    def encode(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The spikes that a given seed draws; the layer's own stream stays where it is.

        Args:
            images: as in the call of the layer.
            seed: integer pair, shape (2,), as for `tf.random.stateless_uniform`.

        Returns:
            Spikes (B, T, ...) int8. Those of an image depend on the seed and its place in the batch only.

        Example:
            >>> encoder = PoissonEncoder(num_steps=5)
            >>> images = np.full((2, 3), 0.5, "float32")
            >>> bool(np.all(encoder.encode(images, (1, 2)) == encoder.encode(images, (1, 2))))
            True
        """
        images = self._checked(tf.convert_to_tensor(images))

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

    def compute_output_spec(self, images: Any) -> keras.KerasTensor:
        check_float_dtype("images", images.dtype)
        shape = (images.shape[0], self.num_steps, *images.shape[1:])
        return keras.KerasTensor(shape, dtype="int8")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class ConstantEncoder(Encoder):
    """Constant current: the image itself, times `scale`, at each step. No randomness.

    Args:
        num_steps: number of time steps T, at least 1.
        scale: factor on the intensity, > 0.

    Shapes: images (B, ...) of a floating dtype; currents (B, T, ...) float32.

    Raises:
        ValueError: if `num_steps` or `scale` is out of range.
        TypeError: if the images are integers.
        tf.errors.InvalidArgumentError: if the images have NaN or infinity.

    Example:
        >>> ConstantEncoder(num_steps=3)(np.array([[0.25]], "float32")).numpy().tolist()
        [[[0.25], [0.25], [0.25]]]
    """

    def call(self, images: tf.Tensor) -> tf.Tensor:
        currents = self.scale * self._checked(images)
        return tf.repeat(currents[:, None], self.num_steps, axis=1)

    def compute_output_spec(self, images: Any) -> keras.KerasTensor:
        check_float_dtype("images", images.dtype)
        shape = (images.shape[0], self.num_steps, *images.shape[1:])
        return keras.KerasTensor(shape, dtype=self.compute_dtype)
