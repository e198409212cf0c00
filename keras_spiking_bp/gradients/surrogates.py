"""Surrogate derivatives: what stands in for the derivative of a spike."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.utils.neuron_parameters import checked, plain, shown
from keras_spiking_bp.utils.validation import check_positive


class Surrogate:
    """Base class of all surrogates: functions of the distance to the threshold.

    With `u = potential - threshold`, the potential before the reset, `__call__(u)` of a subclass returns the substitute
    for `d spikes / d potential`, a tensor of the shape and dtype of `u`. Its public attributes are the arguments of its
    constructor; one that is registered (`keras.saving.register_keras_serializable`) is saved with a model.

    Example:
        >>> @keras.saving.register_keras_serializable(package="mine")
        ... class Box(surrogates.Surrogate):
        ...     def __init__(self, width=0.5):
        ...         self.width = width
        ...     def __call__(self, u):
        ...         return tf.cast(tf.abs(u) < self.width, u.dtype) / (2 * self.width)
        >>> cell = LIFCell(keras.layers.Dense(3), surrogate=Box())
    """

    def __call__(self, u: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def scaled(self, scale: Any) -> Surrogate:
        """`surrogate(u / scale) / scale`: the same for potentials and a threshold `scale` times as large.

        Args:
            scale: > 0, such as the threshold: a number, or an array of one per neuron that broadcasts to `u`.

        Raises:
            ValueError: if `scale` is not above 0.

        Example:
            >>> surrogates.Triangle().scaled(2.0)
            Triangle(width=2)
        """
        scale = checked(check_positive, "scale", scale)
        if isinstance(scale, np.ndarray):
            if (scale != scale.flat[0]).any():
                return _Scaled(self, scale)
            scale = float(scale.flat[0])
        return self._scaled(scale)

    def _scaled(self, scale: float) -> Surrogate:
        """By a number: a class that computes less, where there is one."""
        return _Scaled(self, scale)

    def get_config(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Surrogate:
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value!r}"
            for name, value in self.get_config().items()
        )
        return f"{type(self).__name__}({arguments})"


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class Bounded(Surrogate):
    """The slope of a spike count between its bounds: `1 / threshold`, or 0 where a neuron fired at every step or has no
    charge left (`gradients.slopes.within_bounds`).

    Close to DSR (Meng et al., CVPR 2022, arXiv 2205.00459). It is a derivative of the count, not of a single spike: for
    `gradient="accumulated"` alone.

    Example:
        >>> cell = LIFCell(keras.layers.Dense(3), threshold=2.0, reset_mechanism="subtract", surrogate="bounded")
    """

    def _scaled(self, scale: float) -> Surrogate:
        return self


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class Triangle(Surrogate):
    """`max(0, 1 - |u| / width) / width`.

    SpikingJelly's `PiecewiseQuadratic(alpha=1 / width)`.

    Args:
        width: distance to the threshold at which it becomes 0, > 0.

    Raises:
        ValueError: if `width` is not above 0.

    Example:
        >>> surrogates.Triangle(width=2.0)(tf.constant([-3.0, -1.0, 0.0, 1.0])).numpy().tolist()
        [0.0, 0.25, 0.5, 0.25]
    """

    def __init__(self, width: float = 1.0):
        self.width = check_positive("width", width)

    @property
    def height(self) -> float:
        """Its value at the threshold."""
        return 1.0 / self.width

    @property
    def fall(self) -> float:
        """What it loses per unit of distance."""
        return 1.0 / self.width**2

    def __call__(self, u: tf.Tensor) -> tf.Tensor:
        distance = tf.abs(u)
        return tf.nn.relu(self.height - (distance if self.width == 1 else self.fall * distance))

    def _scaled(self, scale: float) -> Surrogate:
        return Triangle(self.width * scale)


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class ATan(Surrogate):
    """`alpha / 2 / (1 + (pi / 2 * alpha * u)^2)`, the derivative of an arc tangent.

    snnTorch's `atan(alpha)`, SpikingJelly's `ATan(alpha)`.

    Args:
        alpha: twice the largest value, > 0.

    Raises:
        ValueError: if `alpha` is not above 0.

    Example:
        >>> surrogates.ATan()(tf.constant([0.0])).numpy().tolist()
        [1.0]
    """

    def __init__(self, alpha: float = 2.0):
        self.alpha = check_positive("alpha", alpha)

    def __call__(self, u: tf.Tensor) -> tf.Tensor:
        return self.alpha / 2 / (1.0 + tf.square(math.pi / 2 * self.alpha * u))

    def _scaled(self, scale: float) -> Surrogate:
        return ATan(self.alpha / scale)


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class Sigmoid(Surrogate):
    """`slope * s * (1 - s)` with `s = sigmoid(slope * u)`.

    snnTorch's `sigmoid(slope)`, SpikingJelly's `Sigmoid(alpha=slope)`.

    Args:
        slope: four times the largest value, > 0.

    Raises:
        ValueError: if `slope` is not above 0.

    Example:
        >>> surrogates.Sigmoid(slope=4.0)(tf.constant([0.0])).numpy().tolist()
        [1.0]
    """

    def __init__(self, slope: float = 25.0):
        self.slope = check_positive("slope", slope)

    def __call__(self, u: tf.Tensor) -> tf.Tensor:
        s = tf.sigmoid(self.slope * u)
        return self.slope * s * (1.0 - s)

    def _scaled(self, scale: float) -> Surrogate:
        return Sigmoid(self.slope / scale)


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class FastSigmoid(Surrogate):
    """`1 / (1 + slope * |u|)^2`.

    snnTorch's `fast_sigmoid(slope)`.

    Args:
        slope: how fast it falls, > 0.

    Raises:
        ValueError: if `slope` is not above 0.

    Example:
        >>> surrogates.FastSigmoid(slope=1.0)(tf.constant([-1.0, 0.0])).numpy().tolist()
        [0.25, 1.0]
    """

    def __init__(self, slope: float = 25.0):
        self.slope = check_positive("slope", slope)

    def __call__(self, u: tf.Tensor) -> tf.Tensor:
        return 1.0 / tf.square(1.0 + self.slope * tf.abs(u))


@keras.saving.register_keras_serializable(package="keras_spiking_bp", name="Scaled")
class _Scaled(Surrogate):
    """`surrogate(u / scale) / scale`."""

    def __init__(self, surrogate: Any, scale: Any):
        self.surrogate: Any = get(surrogate)
        self.scale = checked(check_positive, "scale", scale)

    def __call__(self, u: tf.Tensor) -> tf.Tensor:
        scale = tf.cast(self.scale, u.dtype)
        return self.surrogate(u / scale) / scale

    def get_config(self) -> dict[str, Any]:
        return {"surrogate": keras.saving.serialize_keras_object(self.surrogate), "scale": plain(self.scale)}

    def __repr__(self) -> str:
        return f"{self.surrogate!r}.scaled({shown(self.scale)})"


_BY_NAME = {
    "bounded": Bounded,
    "triangle": Triangle,
    "atan": ATan,
    "sigmoid": Sigmoid,
    "fast_sigmoid": FastSigmoid,
}

#: The names that `get` accepts.
NAMES = tuple(_BY_NAME)


def get(identifier: Any) -> Surrogate | None:
    """A surrogate from its name, its configuration, or itself; None stays None (the paper's derivative).

    Args:
        identifier: `"bounded"`, `"triangle"`, `"atan"`, `"sigmoid"` or `"fast_sigmoid"` (default arguments), a
            `Surrogate`, one serialized by `keras.saving.serialize_keras_object`, or None.

    Raises:
        ValueError: if it is none of these.
        TypeError: if its configuration does not make it again: it could not be loaded.

    Example:
        >>> surrogates.get("triangle")
        Triangle(width=1)
    """
    if identifier is None:
        return None
    if isinstance(identifier, Surrogate):
        type(identifier).from_config(identifier.get_config())  # now: else only `load_model` after training fails
        return identifier
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    if isinstance(identifier, dict):
        surrogate = keras.saving.deserialize_keras_object(identifier)
        if isinstance(surrogate, Surrogate):
            return surrogate
    raise ValueError(
        f"`surrogate` must be None, one of {list(NAMES)}, or an instance of surrogates.Surrogate, such as "
        f"surrogates.Triangle(width=1.0). Received: surrogate={identifier!r}"
    )
