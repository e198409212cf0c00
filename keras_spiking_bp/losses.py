"""The loss of the paper: squared errors, summed over classes and over the batch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class SumSquaredError(keras.losses.Loss):
    """`sum((y_pred - y_true) ** 2)` over the classes, and over the batch (`reduction="sum"`).

    Source: the authors' code (the paper has a factor 1/2). The paper's learning rates go with the sum over the batch.

    Args:
        reduction: Keras' own; `"sum"` by default.
        name, dtype: Keras' own.

    Shapes: `y_true`, one-hot, and `y_pred` (B, classes).

    Raises:
        ValueError: if the shapes of `y_true` and `y_pred` differ.

    Example:
        >>> float(SumSquaredError()([[0.0, 1.0]], [[0.5, 0.5]]))
        0.5
    """

    def __init__(self, reduction: str = "sum", name: str = "sum_squared_error", dtype: Any = None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if len(y_true.shape) != len(y_pred.shape) or y_true.shape[-1] != y_pred.shape[-1]:
            raise ValueError(
                f"`y_true` must be one-hot, of the shape of y_pred {tuple(y_pred.shape)}. Received: y_true of shape "
                f"{tuple(y_true.shape)}. For integer labels use SparseSumSquaredError"
            )
        return ops.sum(ops.square(y_pred - y_true), axis=-1)


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class SparseSumSquaredError(SumSquaredError):
    """`SumSquaredError` for integer labels: `sum((y_pred - one_hot(y_true)) ** 2)`.

    Args: as `SumSquaredError`.

    Shapes: `y_true` (B,) or (B, 1), integers from 0 to classes - 1; `y_pred` (B, classes).

    Raises:
        ValueError: if `y_true` has another shape.

    Example:
        >>> float(SparseSumSquaredError()([1], [[0.5, 0.5]]))
        0.5
    """

    def __init__(self, reduction: str = "sum", name: str = "sparse_sum_squared_error", dtype: Any = None):
        super().__init__(reduction=reduction, name=name, dtype=dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, -1)
        if len(y_true.shape) != len(y_pred.shape) - 1:
            raise ValueError(
                f"`y_true` must be integer labels, of the shape of y_pred {tuple(y_pred.shape)} without its last "
                f"dimension. Received: y_true of shape {tuple(y_true.shape)}. For one-hot labels use SumSquaredError"
            )
        labels = ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
        return super().call(labels, y_pred)
