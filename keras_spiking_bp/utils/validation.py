"""Checks of arguments: each error names the argument, the value and what is allowed."""

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf


def asserted(conditions: tf.Tensor, message: list, *tensors: tf.Tensor) -> list[tf.Tensor]:
    """`tensors`, available only after all `conditions` are verified (a graph has no implicit order)."""
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(conditions), message)]):
        return [tf.identity(tensor) for tensor in tensors]


def is_number(value: Any) -> bool:
    """Whether it is a finite real number."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _number(allowed: str, accepts: Callable[[float], bool]) -> Callable[[str, Any], float]:
    """A check of a finite real number; `{}` in what is allowed stands for the name of the argument."""

    def check(name: str, value: Any) -> float:
        if not (is_number(value) and accepts(value)):
            raise ValueError(f"`{name}` must be a number {allowed.format(name)}. Received: {name}={value!r}")
        return float(value)

    return check


#: A decay per step (the derivative takes its logarithm).
check_beta = _number("with 0 < {} <= 1 (1 means no leak)", lambda value: 0 < value <= 1)
check_positive = _number("above 0", lambda value: value > 0)
#: A potential whose inverse, a factor of the derivative, is far from the limits of float32.
check_threshold = _number("from 1e-30 to 1e30", lambda value: 1e-30 <= value <= 1e30)
check_rate = _number("with 0 <= {} < 1", lambda value: 0 <= value < 1)
check_share = _number("with 0 <= {} <= 1", lambda value: 0 <= value <= 1)
check_fraction = _number("above 0 and below 1", lambda value: 0 < value < 1)


def check_positive_int(name: str, value: Any) -> int:
    """An integer of at least 1."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"`{name}` must be an integer of at least 1. Received: {name}={value!r}")
    return int(value)


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """One of a few names."""
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {list(allowed)}. Received: {name}={value!r}")
    return value


def check_layer(name: str, value: Any) -> None:
    """A Keras layer (an instance, not its class)."""
    if not isinstance(value, keras.layers.Layer):
        raise TypeError(
            f"`{name}` must be an instance of keras.layers.Layer, such as keras.layers.Dense(10, use_bias=False). "
            f"Received: {name}={value!r} (type {type(value).__name__})"
        )


def named(layer: keras.layers.Layer) -> str:
    """A layer as errors call it: its name and its class."""
    return f"{layer.name!r} ({type(layer).__name__})"


def check_no_added_loss(layer: keras.layers.Layer) -> None:
    """Checks that a layer of the time loop added no loss: `fit` cannot read it inside the loop."""
    for part in layer._flatten_layers():
        losses = part._get_own_losses()
        if losses:
            raise ValueError(
                f"The layer {named(part)} must not call `add_loss`: it is called at each time step. Received: "
                f"{len(losses)} in one call. Penalties on firing rates are LIFCell(activity_regularizer=...), those on "
                "weights the layer's own, such as kernel_regularizer"
            )


def finite(name: str, values: tf.Tensor, layer: str) -> tf.Tensor:
    """The same values, available only after they are verified: a NaN would become the absence of spikes."""
    # not the gradients: a `LossScaleOptimizer` skips those that are not finite
    message = f"`{name}` of {layer!r} has NaN or infinity"
    total = tf.reduce_sum(tf.cast(tf.stop_gradient(values), tf.float32))  # CheckNumerics of all takes 8 times longer
    # an error in a graph begins with the name of the operation, and ends with the message
    verified = tf.debugging.check_numerics(total, message, name=f"{name}_has_NaN_or_infinity")
    with tf.control_dependencies([verified]):
        return tf.identity(values)


def check_finite_weights(model: keras.layers.Layer) -> None:
    """The weights of a trained network: NaN would become the absence of spikes."""
    for variable in model.variables:
        if not is_finite(variable):
            raise ValueError(f"`model` must have finite weights. Received: NaN or infinity in {variable.path!r}")


def is_finite(variable: keras.Variable) -> bool:
    """Whether all its values are finite numbers."""
    return bool(keras.ops.all(keras.ops.isfinite(keras.ops.cast(variable.value, "float32"))))


def check_static_shape(name: str, shape: Sequence[int | None]) -> tuple[int, ...]:
    """The shape of one sample (without the batch), every entry known."""
    known = tuple(size for size in shape if size is not None)
    if len(known) < len(shape):
        raise ValueError(
            f"`{name}` must be known in every dimension but the batch and the time steps, since each neuron has a "
            f"membrane potential. Received: {name}={tuple(shape)}. Give the full shape, as in keras.Input((28, 28, 1))"
        )
    return known


def check_image_shape(name: str, shape: Any, smallest: int) -> None:
    """Height, width and channels, the first two at least `smallest`."""
    sizes = check_positive_ints(name, shape)
    if len(sizes) != 3 or min(sizes[:2]) < smallest:
        raise ValueError(
            f"`{name}` must be (height, width, channels), such as (28, 28, 1), of at least {smallest} x {smallest} "
            f"pixels, since each pooling layer halves them. Received: {name}={shape!r}"
        )


def check_positive_ints(name: str, values: Any) -> list[int]:
    """A sequence of integers of at least 1."""
    try:
        return [check_positive_int(name, value) for value in values]
    except (TypeError, ValueError) as error:
        message = f"`{name}` must be a sequence of integers of at least 1. Received: {name}={values!r}"
        raise ValueError(message) from error


def check_seed(seed: Any) -> int | None:
    """An integer of 64 bits, or None for a random one."""
    if seed is None:
        return None
    if not isinstance(seed, numbers.Integral) or isinstance(seed, bool) or not -(2**63) <= int(seed) < 2**63:
        raise ValueError(f"`seed` must be an integer of 64 bits or None. Received: seed={seed!r}")
    return int(seed)


def check_mask(mask: Any, sequences: Any) -> None:
    """The steps to skip of sequences (B, T, ...)."""
    if mask.shape.rank != 2 or not mask.shape.is_compatible_with(sequences.shape[:2]):
        raise ValueError(
            "`mask` must have the shape (batch, time steps) of the sequences, "
            f"{tuple(sequences.shape[:2])}. Received: mask of shape {tuple(mask.shape)}"
        )


def check_float_dtype(name: str, dtype: Any) -> None:
    """Real-valued data, as an encoder takes it."""
    if not keras.backend.is_float_dtype(dtype):
        raise TypeError(
            f"`{name}` must have a floating-point dtype, scaled to about [0, 1] or [-1, 1]: divide 8-bit images by 255 "
            f"first. Received: {name} of dtype {keras.backend.standardize_dtype(dtype)}"
        )


def check_float32_policy(what: str, policy: keras.DTypePolicy) -> None:
    """The dtype policy of what holds membrane potentials."""
    if policy.compute_dtype != "float32" or policy.variable_dtype != "float32":
        raise ValueError(
            f"`dtype` of {what} must be 'float32' (the membrane potential needs it). Received: dtype={policy.name!r}. "
            "Give a lower precision to the synapse layer instead, such as "
            "keras.layers.Conv2D(..., dtype='mixed_bfloat16')"
        )
