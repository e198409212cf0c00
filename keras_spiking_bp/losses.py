"""The paper's loss, squared errors summed over classes and over the batch."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_spiking_bp.utils.validation import asserted, finite


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class SumSquaredError(keras.losses.Loss):
    """`sum((y_pred - y_true) ** 2)` over the classes, and over the batch (`reduction="sum"`).

    Source: the authors' code (the paper has a factor 1/2), whose learning rates assume a sum over the batch. What `fit`
    and `evaluate` show is the mean of these sums: compare losses of equal batch sizes only.

    Shapes: `y_true`, one-hot or any targets, and `y_pred` (B, classes); of a network with one output (B, 1), `y_true`
    may be (B,).

    Raises:
        tf.errors.InvalidArgumentError: if `y_true` has NaN or infinity, or, where its shape is unknown in the graph,
            another one than `y_pred` (not in a graph that XLA compiles).

    Example:
        >>> float(SumSquaredError()([[0.0, 1.0]], [[0.5, 0.5]]))
        0.5
    """

    def __init__(self, reduction: str = "sum", name: str = "sum_squared_error", dtype: Any = None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if y_pred.shape[-1] == 1 and tf.TensorShape(y_true.shape).is_compatible_with(y_pred.shape[:-1]):
            y_true = ops.expand_dims(y_true, -1)
        if len(y_true.shape) != len(y_pred.shape) or not tf.TensorShape(y_true.shape).is_compatible_with(y_pred.shape):
            raise ValueError(
                f"`y_true` must be numbers or one-hot labels, of the shape of y_pred {tuple(y_pred.shape)}. Received: "
                f"y_true of shape {tuple(y_true.shape)}. For integer labels use SparseSumSquaredError"
            )
        if not all(tf.TensorShape(shape).is_fully_defined() for shape in (y_true.shape, y_pred.shape)):
            shapes = tf.shape(y_true), tf.shape(y_pred)
            message = ["`y_true` must be of the shape of y_pred. Received: shapes of both", *shapes]
            (y_true,) = asserted(shapes[0] == shapes[1], message, y_true)
        if y_true.dtype.is_floating:
            y_true = finite("y_true", y_true, self.name)
        return ops.sum(ops.square(y_pred - y_true), axis=-1)


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class SparseSumSquaredError(SumSquaredError):
    """`SumSquaredError` for integer labels: `sum((y_pred - one_hot(y_true)) ** 2)`, with the same arguments.

    Shapes: `y_true` (B,) or (B, 1), integers from 0 to classes - 1; `y_pred` (B, classes).

    Raises:
        tf.errors.InvalidArgumentError: if it has other labels (in a graph that XLA compiles, the loss is NaN).

    Example:
        >>> float(SparseSumSquaredError()([1], [[0.5, 0.5]]))
        0.5
    """

    def __init__(self, reduction: str = "sum", name: str = "sparse_sum_squared_error", dtype: Any = None):
        super().__init__(reduction=reduction, name=name, dtype=dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_pred = ops.convert_to_tensor(y_pred)
        return super().call(_one_hot(y_true, y_pred, y_pred.shape[-1], "use SumSquaredError"), y_pred)


def _one_hot(y_true: Any, y_pred: Any, classes: int, instead: str) -> Any:
    """Integer labels (B,) or (B, 1) as (B, classes), in the dtype of `y_pred`."""
    y_true = ops.convert_to_tensor(y_true)
    if classes == 1:
        raise ValueError(
            f"`y_pred` must have at least two outputs, one for each class. Received: y_pred of shape "
            f"{tuple(y_pred.shape)}. For two classes and one output use SumSquaredError, with numbers as targets"
        )
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
        y_true = ops.squeeze(y_true, -1)
    if len(y_true.shape) != len(y_pred.shape) - 1:
        raise ValueError(
            f"`y_true` must be integer labels, of the shape of y_pred {tuple(y_pred.shape)} without its last "
            f"dimension. Received: y_true of shape {tuple(y_true.shape)}. For one-hot labels {instead}"
        )
    labels = ops.cast(y_true, "int32")
    known = (labels >= 0) & (labels < classes) & (ops.cast(labels, y_true.dtype) == y_true)
    message = f"`y_true` must hold integer labels from 0 to {classes - 1}. Received: labels from, and to,"
    (labels,) = asserted(known, [message, tf.reduce_min(y_true), tf.reduce_max(y_true)], labels)
    one_hot = ops.one_hot(labels, classes, dtype=y_pred.dtype)
    return ops.where(known[..., None], one_hot, float("nan"))  # XLA leaves the check out
