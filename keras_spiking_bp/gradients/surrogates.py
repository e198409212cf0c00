"""Surrogate derivatives: smooth functions that stand in for the derivative of a spike."""

from __future__ import annotations

import inspect
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
    for `d spikes / d potential`, a tensor of the shape and dtype of `u`, and `get_config` its arguments. A custom
    subclass that is registered (`keras.saving.register_keras_serializable`) is saved with a model.

    Example:
        >>> @keras.saving.register_keras_serializable(package="mine")
        ... class Box(surrogates.Surrogate):
        ...     def __call__(self, u):
        ...         return tf.cast(tf.abs(u) < 0.5, u.dtype)
        >>> cell = LIFCell(keras.layers.Dense(3), surrogate=Box())
    """

    def __call__(self, u: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments of its constructor.

        Raises:
            NotImplementedError: if there are some, and the subclass has no `get_config`: they would be lost.
        """
        self._check_complete({})
        return {}

    def _check_complete(self, config: dict[str, Any]) -> None:
        """Rejects a configuration that lacks an argument, which a saved model would lose."""
        variadic = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
        parameters = inspect.signature(type(self)).parameters.values()
        if lost := [p.name for p in parameters if p.kind not in variadic and p.name not in config]:
            raise NotImplementedError(
                f"{type(self).__name__} must have a `get_config` that returns the arguments of its `__init__`. It "
                f"lacks {lost}"
            )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Surrogate:
        return cls(**config)

    def __repr__(self) -> str:
        try:
            config = self.get_config()
        except NotImplementedError:
            return f"{type(self).__name__}(...)"
        arguments = ", ".join(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value!r}" for name, value in config.items()
        )
        return f"{type(self).__name__}({arguments})"


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

    def get_config(self) -> dict[str, float]:
        return {"width": self.width}


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

    def get_config(self) -> dict[str, float]:
        return {"alpha": self.alpha}


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

    def get_config(self) -> dict[str, float]:
        return {"slope": self.slope}


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

    def get_config(self) -> dict[str, float]:
        return {"slope": self.slope}


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class Scaled(Surrogate):
    """`surrogate(u / scale) / scale`: the same for potentials and a threshold `scale` times as large.

    `scaled` gives a surrogate that computes less, where there is one.

    Args:
        surrogate: as in `LIFCell`, but not None.
        scale: > 0, a number, or an array with one for each neuron that broadcasts to `u`.

    Raises:
        ValueError: if `surrogate` is None or unknown, or `scale` is not above 0.

    Example:
        >>> surrogates.Scaled("triangle", 2.0)(tf.constant([-3.0, -1.0, 0.0, 1.0])).numpy().tolist()
        [0.0, 0.25, 0.5, 0.25]
    """

    def __init__(self, surrogate: Surrogate | str, scale: Any):
        found = get(surrogate)
        if found is None:
            raise ValueError("`surrogate` must be a surrogate to scale. Received: surrogate=None")
        self.surrogate = found
        self.scale = checked(check_positive, "scale", scale)

    def __call__(self, u: tf.Tensor) -> tf.Tensor:
        scale = tf.cast(self.scale, u.dtype)
        return self.surrogate(u / scale) / scale

    def get_config(self) -> dict[str, Any]:
        return {"surrogate": keras.saving.serialize_keras_object(self.surrogate), "scale": plain(self.scale)}

    def __repr__(self) -> str:
        return f"Scaled({self.surrogate!r}, scale={shown(self.scale)})"


_BY_NAME = {"triangle": Triangle, "atan": ATan, "sigmoid": Sigmoid, "fast_sigmoid": FastSigmoid}

#: The names that `get` accepts.
NAMES = tuple(_BY_NAME)


def scaled(surrogate: Surrogate | str, scale: Any) -> Surrogate:
    """As `Scaled`, but of the class of `surrogate` where this is possible: it computes less.

    `from_nir(surrogate=...)` uses it for neurons whose potential here is not that of the graph.

    Args:
        surrogate: as in `LIFCell`, but not None.
        scale: > 0, such as the threshold of the neurons: a number, or an array as in `Scaled`.

    Raises:
        ValueError: if `surrogate` is None or unknown, or `scale` is not above 0.

    Example:
        >>> surrogates.scaled("triangle", 2.0)
        Triangle(width=2)
    """
    found, scale = get(surrogate), checked(check_positive, "scale", scale)
    if isinstance(scale, np.ndarray):
        if (scale != scale.flat[0]).any():
            return Scaled(surrogate, scale)
        scale = float(scale.flat[0])
    if type(found) is Triangle:
        return Triangle(found.width * scale)
    if type(found) is ATan:
        return ATan(found.alpha / scale)
    if type(found) is Sigmoid:
        return Sigmoid(found.slope / scale)
    return Scaled(surrogate, scale)


def get(identifier: Any) -> Surrogate | None:
    """A surrogate from its name, its configuration, or itself; None stays None (the paper's derivative).

    Args:
        identifier: `"triangle"`, `"atan"`, `"sigmoid"` or `"fast_sigmoid"` (default arguments), a `Surrogate`, one
            serialized by `keras.saving.serialize_keras_object`, or None.

    Raises:
        ValueError: if it is none of these.
        NotImplementedError: if it has arguments that its `get_config` does not return: it could not be saved.

    Example:
        >>> surrogates.get("triangle")
        Triangle(width=1)
    """
    if identifier is None:
        return None
    if isinstance(identifier, Surrogate):
        config = identifier.get_config()  # now: else only a `save` after training fails
        if getattr(type(identifier).from_config, "__func__", None) is vars(Surrogate)["from_config"].__func__:
            identifier._check_complete(config)  # its own `from_config` may take other names
        return identifier
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    if isinstance(identifier, dict):
        found = keras.saving.deserialize_keras_object(identifier)
        if isinstance(found, Surrogate):
            return found
    raise ValueError(
        f"`surrogate` must be None, one of {list(NAMES)}, or an instance of surrogates.Surrogate, such as "
        f"surrogates.Triangle(width=1.0). Received: surrogate={identifier!r}"
    )
