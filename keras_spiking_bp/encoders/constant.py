"""Constant current."""

from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.encoders.base import LARGEST, Encoder
from keras_spiking_bp.utils.validation import check_positive


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class ConstantEncoder(Encoder):
    """Constant current: the image itself, times `scale`, at each step. No randomness.

    Args:
        num_steps, scale: as of `PoissonEncoder`.
        largest: limit of the currents' absolute values, > 0: 8-bit images raise an error. None for no limit, as for
            measurements in units of their own.

    Shapes: images (B, ...) of a floating dtype; currents (B, T, ...) float32.

    Example:
        >>> ConstantEncoder(num_steps=3)(np.array([[0.25]], "float32")).numpy().tolist()
        [[[0.25], [0.25], [0.25]]]
    """

    def __init__(self, num_steps: int, scale: float = 1.0, largest: float | None = LARGEST, **kwargs: Any):
        super().__init__(num_steps, scale, **kwargs)
        self.output_dtype = self.compute_dtype  # currents
        self.largest = None if largest is None else check_positive("largest", largest)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        currents = self.scale * self._checked(images)
        sequences = tf.repeat(currents[:, None], self.num_steps, axis=1)
        sequences._of_each_step = currents  # as Keras does with masks: so the first layer computes them once
        return sequences

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "largest": self.largest}
