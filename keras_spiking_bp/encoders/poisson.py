"""Poisson rate code."""

from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.encoders.base import Encoder
from keras_spiking_bp.utils.randomness import SavesItsSeed, draws_below
from keras_spiking_bp.utils.validation import check_seed


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class PoissonEncoder(SavesItsSeed, Encoder):
    """Signed Poisson rate code: at each step an independent spike with probability `min(scale * |x|, 1)`, rounded up
    to 16 bits.

    A spike is `sign(x)`, so inputs may be negative (the paper's input code; its MNIST code has `scale=0.5`). No
    gradient passes to the images: layers before this one are not trained (`ConstantEncoder` passes one on).

    Args:
        num_steps: number of time steps T, at least 1.
        scale: factor on the intensity, > 0.
        seed: integer for a repeatable stream, or None. The stream's position is saved with the model.

    Shapes: images (B, ...) of a floating dtype, within about [-1, 1]; spikes (B, T, ...) int8, each -1, 0 or 1. Most
    layers of Keras outside of cells need floats: put `keras.layers.Rescaling(1.0)` in between.

    Raises:
        TypeError: if the images are integers. (A model casts them to floats before any layer sees them.)
        tf.errors.InvalidArgumentError: if the images have NaN or infinity, or values above 15 / scale, such as
            those of 8-bit images (not under XLA, which leaves checks out).

    Example:
        >>> spikes = PoissonEncoder(num_steps=100, seed=0)(np.array([[0.0, 1.0, -1.0]], "float32"))
        >>> spikes.numpy().sum(axis=1).tolist()
        [[0, 100, -100]]
    """

    def __init__(self, num_steps: int, scale: float = 1.0, seed: int | None = None, **kwargs: Any):
        super().__init__(num_steps, scale, **kwargs)
        self.seed = check_seed(seed)
        self.start_stream(self.seed)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.encode(images, self.next_seed())

    def encode(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The spikes drawn with a given seed, an integer pair; the layer's own stream does not advance.

        Those of an image depend only on the seed and its batch position.
        """
        images = tf.expand_dims(tf.cast(self._checked(tf.convert_to_tensor(images)), tf.float32), 1)
        shape = tf.concat([tf.shape(images)[:1], [self.num_steps], tf.shape(images)[2:]], 0)
        fired = draws_below(tf.minimum(self.scale * tf.abs(images), 1.0), shape, seed)
        spikes = tf.cast(fired, tf.int8) * tf.cast(tf.sign(images), tf.int8)  # zero where the probability is
        return tf.ensure_shape(spikes, (images.shape[0], self.num_steps, *images.shape[2:]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}
