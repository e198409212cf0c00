"""Parameters of neurons, such as `beta`: one number for a layer, or one for each of its neurons; fixed, or learned."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.utils.validation import check_positive

#: Lower bound of a learned parameter.
SMALLEST = 1e-3

#: A parameter as a cell stores it: fixed, a float or an array that broadcasts against the neurons; or learned.
Parameter: TypeAlias = float | np.ndarray | keras.Variable


def beta_from_tau(tau: float) -> float:
    """The decay per step of a time constant: `beta = exp(-1 / tau)`, `tau` in time steps.

    The paper's `tau_m = 100` gives 0.990.

    Example:
        >>> round(beta_from_tau(100.0), 5)
        0.99005
    """
    return math.exp(-1.0 / check_positive("tau", tau))


def checked(check: Callable[[str, Any], float], name: str, value: Any) -> float | np.ndarray:
    """A number that passes `check(name, number)`, or an array (float32) of numbers that do."""
    if not isinstance(value, (list, tuple)) and np.ndim(value) == 0:
        return check(name, value.item() if isinstance(value, np.ndarray) else value)
    array = np.array(value, "float32")
    for extreme in (array.min(), array.max()):  # NaN is both
        check(name, float(extreme))
    return array


def check_fits(cell: str, name: str, value: Parameter, shape: Sequence[int]) -> None:
    """Raises a ValueError if an array does not broadcast to the shape of the neurons."""
    if not isinstance(value, np.ndarray):
        return
    sizes = zip(reversed(value.shape), reversed(shape), strict=False)
    if value.ndim > len(shape) or any(size not in (1, of_neurons) for size, of_neurons in sizes):
        raise ValueError(
            f"`{name}` of {cell!r} must be a number, or an array that broadcasts to the shape of its neurons, "
            f"{tuple(shape)}, whose channels are last. Received: an array of shape {value.shape}"
        )
    if value.ndim == len(shape) > 1 and value.size == value.shape[0] == shape[-1] > 1:
        raise ValueError(  # (C, 1, 1) is one number for each channel in PyTorch
            f"`{name}` of {cell!r}, for neurons of the shape {tuple(shape)}, could have a number for each row or for "
            f"each channel. Received: an array of shape {value.shape}. For channels give it the shape "
            f"{tuple(shape[-1:])}; for rows, give an array of the full shape of the neurons"
        )


def plain(value: Parameter) -> float | list:
    """A fixed parameter, as in a config."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def configured(value: Parameter, first: float | list) -> float | list:
    """A parameter as in a config: its value; of a learned one, which is a weight, the `first` one."""
    return first if isinstance(value, keras.Variable) else plain(value)


def now(value: Parameter) -> float | np.ndarray | tf.Tensor:
    """Value to compute with; for a learned parameter, a tensor read now, within its bounds."""
    if not isinstance(value, keras.Variable):
        return value
    return tf.clip_by_value(tf.convert_to_tensor(value), *_bounds(value))


def in_numpy(value: Parameter) -> float | np.ndarray:
    """The current value, within its bounds."""
    if not isinstance(value, keras.Variable):
        return value
    low, high = _bounds(value)
    return np.clip(keras.ops.convert_to_numpy(value), np.float32(low), np.float32(high))


def is_one(value: Any) -> bool:
    """Whether a parameter is fixed at 1 for all neurons."""
    return isinstance(value, float) and value == 1.0


def log(value: float | np.ndarray | tf.Tensor) -> Any:
    """The natural logarithm."""
    if tf.is_tensor(value):
        return tf.math.log(value)
    return np.log(value, dtype="float32") if isinstance(value, np.ndarray) else math.log(value)


def shown(value: Parameter) -> str:
    """A parameter as text: its value, or from the smallest to the largest."""
    low, high = np.min(in_numpy(value)), np.max(in_numpy(value))
    learned = " (learned)" if isinstance(value, keras.Variable) else ""
    return (f"{low:g}" if low == high else f"{low:g} to {high:g}") + learned


def _bounds(value: keras.Variable) -> tuple[float, float]:
    # a learned parameter may be beyond them: the averages of `use_ema` are of values before the constraint
    return value.constraint.low, value.constraint.high


class _Within(keras.constraints.Constraint):
    """Keeps a weight in [low, high]. A class: Keras up to 3.14 takes no function."""

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high

    def __call__(self, value):
        return keras.ops.clip(value, self.low, self.high)


def check_learnable(name: str, value: float | np.ndarray) -> None:
    """Rejects a start below the bound of a learned parameter, which would be another value from the first step on."""
    if np.min(value) < SMALLEST:
        raise ValueError(f"`{name}` must be at least {SMALLEST} to be learned. Received: {name}={value!r}")


def learned_beta(layer: keras.layers.Layer, start: float | np.ndarray) -> keras.Variable:
    """A weight `beta` of `layer`, kept in [0.001, 1]."""
    return _weight(layer, "beta", start, _Within(SMALLEST, 1.0))


def learned_threshold(layer: keras.layers.Layer, start: float | np.ndarray) -> keras.Variable:
    """A weight `threshold` of `layer`, kept at 0.001 or above."""
    return _weight(layer, "threshold", start, _Within(SMALLEST, math.inf))


def _weight(layer: keras.layers.Layer, name: str, start: float | np.ndarray, constraint: _Within) -> keras.Variable:
    value = np.asarray(start, "float32")
    # without autocast: float32 in a wrapper of mixed precision too, as the potentials
    how = {"initializer": lambda *_, **__: value, "constraint": constraint, "autocast": False}
    return layer.add_weight(name=name, shape=value.shape, **how)
