"""The base of the encoders for images."""

from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.utils.validation import check_float_dtype, check_positive, check_positive_int, finite

#: Limit of images times `scale`, which 8-bit images exceed, and the digits of scikit-learn (0 to 16).
LARGEST = 15.0


class Encoder(keras.layers.Layer):
    """Base encoder: from images (B, ...) to inputs over time (B, num_steps, ...)."""

    largest: float | None = LARGEST  # limit of |scale * image|; None: no limit
    output_dtype = "int8"  # spikes

    def __init__(self, num_steps: int, scale: float = 1.0, **kwargs: Any):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.num_steps = check_positive_int("num_steps", num_steps)
        self.scale = check_positive("scale", scale)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("num_steps", "scale") and getattr(self, "built", False) and value != getattr(self, name):
            raise ValueError(  # graphs that were traced since would keep the old value
                f"`{name}` of the encoder {self.name!r} is fixed, {getattr(self, name)}, since the layer is built. "
                f"Received: {name}={value!r}. Make a second model around the same network: "
                f"model.get_layer('time')({type(self).__name__}({name}={value!r}, ...)(images))"
            )
        super().__setattr__(name, value)

    def _checked(self, images: tf.Tensor) -> tf.Tensor:
        check_float_dtype("images", images.dtype)
        images = finite("images", images, self.name)
        if self.largest is None:
            return images
        # a functional model casts integers to its own dtype before any layer sees them
        message = (
            f"`images` in encoder {self.name!r}, times scale={self.scale}, must not exceed {self.largest} in absolute "
            "value: divide 8-bit images by 255 first (for packaged weights see models.model_card; for other inputs a "
            "ConstantEncoder has the argument `largest`)"
        )
        highest = self.scale * tf.reduce_max(tf.abs(tf.cast(images, tf.float32)))
        with tf.control_dependencies([tf.debugging.assert_less_equal(highest, self.largest, message)]):
            return tf.identity(images)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], self.num_steps, *input_shape[1:])

    def compute_output_spec(self, images: Any) -> keras.KerasTensor:
        check_float_dtype("images", images.dtype)
        return keras.KerasTensor(self.compute_output_shape(images.shape), dtype=self.output_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_steps": self.num_steps, "scale": self.scale}
